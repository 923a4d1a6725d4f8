"""What training minimises: the next token in both directions, and where its ink is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .batches import DIRECTIONS, Batch
from .network import RecognizerNetwork


class Losses(NamedTuple):
    """Each a scalar.

    tokens: cross-entropy of the next token, nats, mean over tokens and directions
    alignment: -log of the attention that falls on the token's own ink, mean over tokens with ink
    symbols: cross-entropy of the symbol whose ink lies in a cell, mean over inked cells
    """

    tokens: Tensor
    alignment: Tensor
    symbols: Tensor


def losses(
    network: RecognizerNetwork, batch: Batch, label_smoothing: float, aligned_layers: int
) -> Losses:
    """Run the network on a batch with teacher forcing.

    The alignment supervision uses the strokes of each symbol, which online data sets tell; at
    inference neither it nor the symbol head exists.

    Args:
        label_smoothing: share of the target spread over all tokens.
        aligned_layers: how many layers, counted from the last, are pulled onto the ink.
    """
    cells = network.inked_cells(batch.images)
    memory = network.decoder.remember(cells.features, cells.places, cells.bias)
    logits, attentions = network.decoder(batch.inputs.flatten(0, 1), memory, DIRECTIONS)
    tokens = functional.cross_entropy(
        logits.float().flatten(0, 1),
        batch.targets.flatten(),
        ignore_index=0,
        label_smoothing=label_smoothing,
    )
    kept = cells.numbers[:, None].expand(-1, batch.mirror.shape[1], -1)
    ink = batch.ink.gather(2, kept) * (cells.bias == 0)[:, None]  # [b, t, kept cells]
    symbols = _symbol_loss(network.symbol_head(cells.features).float(), ink, batch.targets[:, 0])
    mirrored = ink.gather(1, batch.mirror[:, :, None].expand(-1, -1, ink.shape[2]))
    own = (torch.stack([ink, mirrored], dim=1).flatten(0, 1) > 0).float()  # [b * 2, t, cells]
    known = own.amax(dim=2) > 0
    alignment = logits.new_zeros((), dtype=torch.float32)
    aligned = attentions[max(len(attentions) - aligned_layers, 0) :]
    for attention in aligned:
        mass = (attention.float().mean(dim=1) * own).sum(dim=2)[known]
        alignment = alignment - (mass + 1e-6).log().sum() / known.sum().clamp(min=1)
    return Losses(tokens, alignment / max(len(aligned), 1), symbols)


def _symbol_loss(logits: Tensor, ink: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against the share of each token in the ink of a cell.

    Args:
        logits: [b, cells, vocabulary]
        ink: [b, t, cells]
        targets: int64 [b, t]
    """
    log_probs = functional.log_softmax(logits, dim=-1)
    index = targets[:, None].expand(-1, log_probs.shape[1], -1)
    of_tokens = log_probs.gather(2, index).transpose(1, 2)  # [b, t, cells]
    total = ink.sum(dim=1, keepdim=True)
    shares = ink / total.clamp(min=1e-6)
    return -(shares * of_tokens).sum() / (total > 0).sum().clamp(min=1)
