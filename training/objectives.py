"""What training minimises, and what it is told of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import DataError
from .batches import DIRECTIONS, Batch
from .transformer_recognizer import TransformerRecognizer
from .two_scale_encoder import CELL


class Losses(NamedTuple):
    """The scalar to minimise, and its parts by name for the log."""

    total: Tensor
    parts: Mapping[str, Tensor]


class Objective(Protocol):
    """What is minimised, as a frozen dataclass of its settings."""

    def __call__(self, network: Any, batch: Batch) -> Losses:
        """Run the network on a batch, with teacher forcing."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """The next token, from left to right.

    The parts:
        tokens: cross-entropy of the next token, nats, mean over tokens
        alignment: as `alignment_loss`; where it has a weight

    Attributes:
        label_smoothing: share of a target that is spread over all tokens.
        alignment: weight of the part that pulls the attention onto the ink of each token, of a
            recurrent decoder; needs data that tells the strokes of each symbol.
    """

    label_smoothing: float = 0.0
    alignment: float = 0.0

    def __call__(self, network: Any, batch: Batch) -> Losses:
        """`network` is a recognizer whose `decoder` takes tokens and a memory, and gives logits
        and attention.

        Raises:
            DataError: the attention of a decoder that is not recurrent is to be aligned.
        """
        logits, attention = network.decoder(batch.inputs[:, 0], network.remember(batch.images))
        tokens = token_loss(logits, batch.targets[:, 0], self.label_smoothing)
        if not self.alignment:
            return Losses(tokens, {"tokens": tokens})
        if not isinstance(attention, Tensor):
            raise DataError(
                f"objective.alignment: expected a recurrent decoder, found {type(network).__name__}"
                " without one; leave it at 0, or train the recipe edge, which is aligned"
            )
        alignment = alignment_loss(attention.flatten(2), ink_of(batch, *attention.shape[2:]))
        return Losses(
            tokens + self.alignment * alignment, {"tokens": tokens, "alignment": alignment}
        )


@dataclass(frozen=True)
class AlignedCrossEntropy:
    """The next token in both directions, and where its ink is.

    The alignment supervision uses the strokes of each symbol, which online data sets tell; at
    inference neither it nor the symbol head exists.

    The parts:
        tokens: cross-entropy of the next token, nats, mean over tokens and directions
        alignment: -log of the attention on the token's own ink, mean over tokens with ink
        symbols: cross-entropy of the symbol whose ink lies in a cell, mean over inked cells

    Attributes:
        label_smoothing: share of a target that is spread over all tokens.
        alignment, symbols: weights of the two auxiliary losses.
        aligned_layers: decoder layers, from the last, that the alignment pulls.
    """

    label_smoothing: float = 0.1
    alignment: float = 0.3
    symbols: float = 0.5
    aligned_layers: int = 3

    def __call__(self, network: TransformerRecognizer, batch: Batch) -> Losses:
        """Both directions in one pass; `network` has a symbol head."""
        cells = network.inked_cells(batch.images, batch.inked)
        memory = network.decoder.remember(cells.features, cells.places, cells.bias)
        logits, attentions = network.decoder(batch.inputs.flatten(0, 1), memory, DIRECTIONS)
        tokens = token_loss(logits, batch.targets.flatten(0, 1), self.label_smoothing)
        kept = cells.numbers[:, None].expand(-1, batch.mirror.shape[1], -1)
        ink = batch.ink.gather(2, kept) * (cells.bias == 0)[:, None]  # [b, t, kept cells]
        assert network.symbol_head is not None
        symbols = _symbol_loss(
            network.symbol_head(cells.features).float(), ink, batch.targets[:, 0]
        )
        mirrored = ink.gather(1, batch.mirror[:, :, None].expand(-1, -1, ink.shape[2]))
        both = torch.stack([ink, mirrored], dim=1).flatten(0, 1)  # [b * 2, t, cells]
        alignment = logits.new_zeros((), dtype=torch.float32)
        aligned = attentions[max(len(attentions) - self.aligned_layers, 0) :]
        for attention in aligned:
            alignment = alignment + alignment_loss(attention.float().mean(dim=1), both)
        alignment = alignment / max(len(aligned), 1)
        return Losses(
            tokens + self.alignment * alignment + self.symbols * symbols,
            {"tokens": tokens, "alignment": alignment, "symbols": symbols},
        )


def token_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in nats, mean over all tokens but `<pad>`.

    Args:
        logits: [b, t, vocabulary]
        targets: int64 [b, t]
        label_smoothing: share of a target that is spread over all tokens.
    """
    return functional.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=0,
        label_smoothing=label_smoothing,
    )


def alignment_loss(attention: Tensor, ink: Tensor) -> Tensor:
    """-log of the attention on the token's own ink, mean over tokens with ink.

    Args:
        attention: [b, t, cells], of which a token's sums to 1.
        ink: [b, t, cells], how much of the token's ink lies in a cell.
    """
    own = (ink > 0).float()
    known = own.amax(dim=2) > 0
    mass = (attention.float() * own).sum(dim=2)
    told = torch.where(known, (mass + 1e-6).log(), 0.0)
    return -told.sum() / known.sum().clamp(min=1)


def ink_of(batch: Batch, rows: int, columns: int) -> Tensor:
    """[b, t, rows * columns], the ink of each left-to-right target token in the cells of a grid
    that is as fine as that of the batch, or coarser."""
    height, width = (side // CELL for side in batch.images.shape[2:])
    grid = (rows, height // rows, columns, width // columns)
    return batch.ink.reshape(*batch.ink.shape[:2], *grid).sum(dim=(3, 5)).flatten(2)


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
