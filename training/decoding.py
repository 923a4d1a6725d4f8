"""Greedy decoding of whole batches in torch, to watch a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..core.vocabulary import Vocabulary
from .batches import evaluation_batches
from .inkset import Expression
from .recognizer import Recognizer


@torch.inference_mode()
def greedy_captions(
    network: Recognizer,
    expressions: Sequence[Expression],
    vocabulary: Vocabulary,
    max_length: int | None = None,
    batch_size: int = 32,
    max_pixels: int = 800_000,
) -> list[list[str]]:
    """The tokens that the network writes for each expression, left to right.

    Args:
        max_length: steps after which a caption is cut off; the network's own limit by default.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    limit = min(max_length or network.max_length, network.max_length)
    captions: list[list[str]] = [[] for _ in expressions]
    for indices, batch in evaluation_batches(expressions, vocabulary, batch_size, max_pixels):
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
