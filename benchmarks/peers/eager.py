"""The plain PyTorch model of a recipe, run as published code runs it.

Eager PyTorch in float32, the memory tiled over the beams, and nothing carried from step to step
that published code does not carry:

- transformers (`edge`, `mask_and_match`) re-feed the whole prefix in every step, through all layers
  and project the memory again, for every beam, as CoMER does (Zhao and Gao, 2022,
  arXiv:2207.04410);
- recurrent decoders (`coverage`, `abm`) carry hidden state and coverage, and in every step make
  the keys and run the coverage convolutions layer by layer, as ABM does (Bian et al., 2022,
  arXiv:2112.03603).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.manifest import Preprocessing
from ...core.vocabulary import Vocabulary
from ..formulas import Formula
from ..profiler.contender import Configuration, Reader, Reading
from .step_reading import StepReader, seen_at

if TYPE_CHECKING:
    from ...training.recipe import Recipe
    from ...training.recognizer import Recognizer
    from ...training.recurrent_recognizer import RecurrentRecognizer
    from ...training.transformer_recognizer import TransformerRecognizer

RUNTIME = "PyTorch eager"


@dataclass(frozen=True)
class EagerPeer:
    """A recipe's network in eager PyTorch.

    Attributes:
        recipe: by name.
        weights: a checkpoint; None for random weights, seeded.
        vocabulary, preprocessing: of the bundle that it is compared with; the former is used where
            there is no checkpoint, of the latter all but the scale.
    """

    recipe: str
    weights: Path | None
    vocabulary: Vocabulary
    preprocessing: Preprocessing
    beams: int = 1
    threads: int = 1

    @property
    def configuration(self) -> Configuration:
        """Named after the recipe."""
        return Configuration(self.recipe, RUNTIME, "fp32", self.threads, self.beams)

    @property
    def trained(self) -> bool:
        """Whether it has weights."""
        return self.weights is not None

    def load(self) -> Reader:
        """Build the network; torch is given its threads anew at every reading, since all who take
        part share it."""
        import torch

        network, vocabulary, recipe = self._network()
        read = StepReader(
            stepwise(network),
            vocabulary,
            seen_at(self.preprocessing, recipe.rendering),
            beams=self.beams,
            max_length=network.max_length,
            forced=not self.trained,
        )

        def reader(formula: Formula) -> Reading:
            torch.set_num_threads(self.threads)
            return read(formula)

        return reader

    def _network(self) -> tuple[Recognizer, Vocabulary, Recipe]:
        import torch

        from ...training.checkpoint import Checkpoint
        from ...training.recipes import named

        if self.weights is not None:
            checkpoint = Checkpoint.load(self.weights)
            return checkpoint.trained_network(), checkpoint.vocabulary, checkpoint.recipe
        recipe = named(self.recipe)
        torch.manual_seed(0)
        return recipe.model.build(self.vocabulary).eval(), self.vocabulary, recipe


def stepwise(network: Recognizer) -> PrefixModel | RecurrentModel:
    """A network as published code runs it; the network is changed by this."""
    from ...training.transformer_recognizer import TransformerRecognizer

    if isinstance(network, TransformerRecognizer):
        return PrefixModel(network)
    return RecurrentModel(network)


class PrefixModel:
    """A `StepModel` of a transformer that begins anew in every step. Its memory are the features of
    all cells, its state the prefix, [beams, steps]."""

    def __init__(self, network: TransformerRecognizer) -> None:
        self._network = network
        self.vocabulary_size = len(network.decoder.embedding.weight)

    def encode(self, images: NDArray[np.float32]) -> list[Any]:
        """images [b, 1, h, w] -> cells, one an image"""
        import torch

        with torch.inference_mode():
            return [self._network.all_cells(image[None]) for image in torch.from_numpy(images)]

    def start(self, memory: Any, beams: int) -> Any:
        """Nothing is written."""
        import torch

        return torch.zeros((beams, 0), dtype=torch.int64)

    def step(
        self, tokens: NDArray[np.int64], memory: Any, state: Any
    ) -> tuple[NDArray[np.float32], Any]:
        """The whole decoder over the whole prefix."""
        import torch

        prefix = torch.cat([state, torch.from_numpy(tokens)[:, None]], dim=1)
        decoder, beams = self._network.decoder, len(prefix)
        with torch.inference_mode():
            features, places, bias, _ = memory
            tiled = decoder.remember(features.repeat(beams, 1, 1), places, bias.repeat(beams, 1))
            logits, _ = decoder(prefix, tiled)
            log_probs = torch.log_softmax(logits[:, -1], dim=-1)
        return log_probs.numpy(), prefix

    def reorder(self, state: Any, order: NDArray[np.int64]) -> Any:
        """The rows of the prefix."""
        return state[order]


class RecurrentModel:
    """A `StepModel` of a recurrent decoder that makes its keys in every step, and runs the
    convolutions over the coverage layer by layer. Its memory are features and the first hidden
    state."""

    def __init__(self, network: Recognizer) -> None:
        from torch import nn

        from ...training.recurrent_recognizer import RecurrentRecognizer

        assert isinstance(network, RecurrentRecognizer)
        self._network: RecurrentRecognizer = network
        aggregation = network.decoder.aggregation
        if aggregation is not None:  # called as it stands, not folded into one convolution
            network.decoder.aggregation = nn.Sequential(aggregation)
        self.vocabulary_size = network.decoder.classifier.out_features

    def encode(self, images: NDArray[np.float32]) -> list[Any]:
        """images [b, 1, h, w] -> features and hidden state, one an image"""
        import torch

        decoder = self._network.decoder
        with torch.inference_mode():
            features = self._network.encoder(torch.from_numpy(images))
            initial = torch.tanh(decoder.initial(features.mean(dim=(2, 3))))
        return [(features[n : n + 1], initial[n : n + 1]) for n in range(len(images))]

    def start(self, memory: Any, beams: int) -> Any:
        """No step was made; zeros."""
        features, initial = memory
        rows, columns = features.shape[2:]
        zeros: Callable[..., Any] = features.new_zeros
        return 0, (zeros(beams, initial.shape[1]), zeros(beams, 1, rows, columns))

    def step(
        self, tokens: NDArray[np.int64], memory: Any, state: Any
    ) -> tuple[NDArray[np.float32], Any]:
        """One step of the decoder."""
        import torch

        from ...training.recurrent_decoder import Memory, State

        decoder, beams = self._network.decoder, len(tokens)
        position, tensors = state
        with torch.inference_mode():
            features, initial = (each.repeat(beams, *[1] * (each.ndim - 1)) for each in memory)
            tiled = Memory(features, decoder.keys(features), initial)
            log_probs, following = decoder.step(
                torch.from_numpy(tokens), torch.tensor([position]), tiled, State(*tensors)
            )
        return log_probs.numpy(), (position + 1, tuple(following))

    def reorder(self, state: Any, order: NDArray[np.int64]) -> Any:
        """The rows of both tensors."""
        position, tensors = state
        return position, tuple(each[order] for each in tensors)
