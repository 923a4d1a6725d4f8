"""Decoding in torch: whole batches, to watch a training, or one formula at a time with the searches
of `core`, to read as an exported bundle reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..core import recognizer
from ..core.manifest import Decoding, Manifest, Variant
from ..core.rendering import DEFAULT_RENDERING, Rendering
from ..core.vocabulary import Vocabulary
from .inkset import Expression
from .objectives import CrossEntropy
from .preprocessing import preprocessing
from .recognizer import Recognizer
from .stream import evaluation_batches


@torch.inference_mode()
def greedy_captions(
    network: Recognizer,
    expressions: Sequence[Expression],
    vocabulary: Vocabulary,
    max_length: int | None = None,
    batch_size: int = 32,
    max_pixels: int = 800_000,
    rendering: Rendering = DEFAULT_RENDERING,
) -> list[list[str]]:
    """The tokens that the network writes for each expression, left to right.

    Args:
        max_length: steps after which a caption is cut off; the network's own limit by default.
        rendering: that the network was trained with.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    limit = min(max_length or network.max_length, network.max_length)
    captions: list[list[str]] = [[] for _ in expressions]
    # what they should read is not asked: there may be tokens in it that cannot be written
    drawn = [replace(each, caption=(), ink=()) for each in expressions]
    for indices, batch in evaluation_batches(drawn, vocabulary, batch_size, max_pixels, rendering):
        memory = network.remember(batch.images.to(device))
        state = network.start(memory, len(indices))
        tokens = torch.full((len(indices),), vocabulary.sos, device=device)
        written = []
        ended = torch.zeros(len(indices), dtype=torch.bool, device=device)
        for position in range(limit):
            log_probs, state = network.step(
                tokens, torch.tensor([position], device=device), memory, state
            )
            tokens = log_probs.argmax(dim=1)
            written.append(tokens)
            ended |= tokens == vocabulary.eos
            if bool(ended.all()):
                break
        for index, row in zip(indices, torch.stack(written, dim=1).tolist(), strict=True):
            captions[index] = vocabulary.decode(row)
    network.train(was_training)
    return captions


@torch.inference_mode()
def caption_loss(
    network: Recognizer,
    expressions: Sequence[Expression],
    vocabulary: Vocabulary,
    batch_size: int = 32,
    max_pixels: int = 800_000,
    rendering: Rendering = DEFAULT_RENDERING,
) -> float:
    """Cross-entropy of the next token, left to right after the right ones, in nats: the mean over
    all tokens and `<eos>`. It tells trainings apart long before they read a formula.

    Formulas with a token that is not in the vocabulary, or too many, are left out; NaN where none
    is left.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    known = [
        each
        for each in expressions
        if vocabulary.index.keys() >= set(each.caption)
        and len(vocabulary.written(each.caption)) < network.max_length
    ]
    total, count = 0.0, 0
    for _, batch in evaluation_batches(known, vocabulary, batch_size, max_pixels, rendering):
        tokens = int((batch.targets[:, 0] != vocabulary.pad).sum())
        losses = CrossEntropy()(network, batch.to(device))
        total += tokens * float(losses.total)
        count += tokens
    network.train(was_training)
    return total / count if count else math.nan


class TorchState(NamedTuple):
    """The state of some beams.

    tensors: the network's own state
    position: steps made
    """

    tensors: Any
    position: int


class TorchModel:
    """A `core.step_model.StepModel` of a network, as torch runs it.

    Args:
        network: in evaluation mode; it stays on its device.
    """

    def __init__(self, network: Recognizer) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        interface = network.interface()
        specs = [interface.step[state.input] for state in interface.state]
        self._beam_axes = [spec.shape.index("beams") for spec in specs]
        self.vocabulary_size = int(interface.step[interface.log_probs].shape[1])

    @torch.inference_mode()
    def encode(self, images: NDArray[np.float32]) -> list[Any]:
        """images [b, channels, h, w], ink 1 on 0 -> one memory an image, of its inked cells"""
        tensor = torch.from_numpy(images).to(self.device)
        # one by one: in a batch an image would be padded to the most inked cells of all
        return [self.network.remember(image[None]) for image in tensor]

    @torch.inference_mode()
    def start(self, memory: Any, beams: int) -> TorchState:
        """The state of `beams` rows before the first token."""
        return TorchState(self.network.start(memory, beams), 0)

    @torch.inference_mode()
    def step(
        self, tokens: NDArray[np.int64], memory: Any, state: TorchState
    ) -> tuple[NDArray[np.float32], TorchState]:
        """tokens int64 [beams] -> log-probabilities [beams, vocabulary] and the next state"""
        log_probs, tensors = self.network.step(
            torch.from_numpy(tokens).to(self.device),
            torch.tensor([state.position], device=self.device),
            memory,
            state.tensors,
        )
        return log_probs.float().cpu().numpy(), TorchState(tensors, state.position + 1)

    @torch.inference_mode()
    def reorder(self, state: TorchState, order: NDArray[np.int64]) -> TorchState:
        """The state whose row i is row `order[i]` of `state`."""
        index = torch.from_numpy(order).to(self.device)
        tensors = self.network.state_type(
            *(
                tensor.index_select(axis, index)
                for tensor, axis in zip(state.tensors, self._beam_axes, strict=True)
            )
        )
        return TorchState(tensors, state.position)


def reader(
    network: Recognizer, vocabulary: Vocabulary, rendering: Rendering = DEFAULT_RENDERING
) -> recognizer.Recognizer:
    """The network as a recognizer of ink and images, without a bundle: prepared, searched and
    answered as by the bundle that it would be exported to, in float32.

    Args:
        network: in evaluation mode.
        rendering: that it was trained with.
    """
    manifest = Manifest(
        vocabulary=vocabulary,
        interface=network.interface(),
        preprocessing=preprocessing(rendering),
        decoding=Decoding(max_length=network.max_length),
        variants=(Variant("torch", "fp32", "encoder", "step"),),
        provenance={},
        licence="",
    )
    return recognizer.Recognizer(TorchModel(network), manifest)
