"""The plain PyTorch model of a recipe, or of CoMER, run as published code runs it.

Eager PyTorch in float32, the memory tiled over the beams, and nothing carried from step to step
that published code does not carry:

- transformers (`edge`, `mask_and_match`, `comer`) re-feed the whole prefix in every step, through
  all layers and project the memory again, for every beam, as CoMER does (Zhao and Gao, 2022,
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

from ...core.errors import DataError
from ...core.manifest import Preprocessing
from ...core.rendering import CANONICAL, Rendering
from ...core.vocabulary import Vocabulary
from ..formulas import Formula
from ..profiler.contender import Configuration, Reader, Reading
from .step_reading import StepReader, seen_at

if TYPE_CHECKING:
    from ...training.prefix_network import PrefixNetwork
    from ...training.recognizer import Recognizer
    from ...training.recurrent_recognizer import RecurrentRecognizer

RUNTIME = "PyTorch eager"
COMER = "comer"


@dataclass(frozen=True)
class EagerPeer:
    """A recipe's network in eager PyTorch.

    Attributes:
        recipe: by name, or `COMER`, of which there are no weights here.
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
        part share it.

        Raises:
            CheckpointError: there is no checkpoint, or it is damaged.
            DataError: it is of another recipe.
        """
        import torch

        network, vocabulary, rendering = self._network()
        read = StepReader(
            stepwise(network),
            vocabulary,
            seen_at(self.preprocessing, rendering),
            beams=self.beams,
            max_length=network.max_length,
            forced=not self.trained,
        )

        def reader(formula: Formula) -> Reading:
            torch.set_num_threads(self.threads)
            return read(formula)

        return reader

    def _network(self) -> tuple[Recognizer | PrefixNetwork, Vocabulary, Rendering]:
        from ...training.checkpoint import Checkpoint

        if self.weights is not None:
            checkpoint = Checkpoint.load(self.weights)
            recipe = checkpoint.recipe
            if recipe.name != self.recipe:
                raise DataError(
                    f"{self.weights}: expected a checkpoint of {self.recipe}, found one of "
                    f"{recipe.name}; say --peer {recipe.name},from={self.weights}, or give another"
                )
            return checkpoint.trained_network(), checkpoint.vocabulary, recipe.rendering
        network, rendering = untrained(self.recipe, self.vocabulary)
        return network, self.vocabulary, rendering


def untrained(name: str, vocabulary: Vocabulary) -> tuple[Recognizer | PrefixNetwork, Rendering]:
    """A recipe's network, or CoMER, with random weights, seeded; and how large it sees a formula.

    Raises:
        DataError: there is no such recipe.
    """
    import torch

    from ...training.comer import Comer
    from ...training.recipes import named

    torch.manual_seed(0)
    if name == COMER:
        return Comer(len(vocabulary)).eval(), CANONICAL
    recipe = named(name)
    return recipe.build(vocabulary).eval(), recipe.rendering


def stepwise(network: Recognizer | PrefixNetwork) -> PrefixModel | RecurrentModel:
    """A network as published code runs it; the network is changed by this."""
    from ...training.prefix_network import prefix_network
    from ...training.recurrent_recognizer import RecurrentRecognizer

    if isinstance(network, RecurrentRecognizer):
        return RecurrentModel(network)
    return PrefixModel(prefix_network(network))


class PrefixModel:
    """A `StepModel` of a transformer that begins anew in every step. Its memory is what its encoder
    gives, its state the prefix, [beams, steps]."""

    def __init__(self, network: PrefixNetwork) -> None:
        self._network = network
        self.vocabulary_size = network.vocabulary_size

    def encode(self, images: NDArray[np.float32]) -> list[Any]:
        """images [b, channels, h, w] -> memories, one an image"""
        import torch

        with torch.inference_mode():
            return [self._network.encode(image[None]) for image in torch.from_numpy(images)]

    def start(self, memory: Any, beams: int) -> Any:
        """Nothing is written."""
        import torch

        return torch.zeros((beams, 0), dtype=torch.int64)

    def step(
        self, tokens: NDArray[np.int64], memory: Any, state: Any
    ) -> tuple[NDArray[np.float32], Any]:
        """The whole decoder over the whole prefix, the memory repeated for every beam."""
        import torch

        prefix = torch.cat([state, torch.from_numpy(tokens)[:, None]], dim=1)
        with torch.inference_mode():
            tiled = [each.repeat(len(prefix), *[1] * (each.ndim - 1)) for each in memory]
            log_probs = torch.log_softmax(self._network.read(prefix, *tiled)[:, -1], dim=-1)
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
        """images [b, channels, h, w] -> features and hidden state, one an image"""
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
