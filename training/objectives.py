"""What training minimises, and what it is told of the parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import DataError
from .batches import DIRECTIONS, Batch, Part
from .settings import added, check_counts, check_shares, check_weights
from .transformer_recognizer import Cells, TransformerRecognizer
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
    alignment: float = added(0.0, before=0.0)

    def __post_init__(self) -> None:
        check_shares(self, "label_smoothing")
        check_weights(self, "alignment")

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
        ink = ink_of(batch, *attention.shape[2:])
        alignment = alignment_loss([(attention.flatten(2), ink)])
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
        mutual: `divergence` of what the two directions say of the same token; where it has a weight
        distillation: `distance` from what a teacher expects; where there is one

    Attributes:
        label_smoothing: share of a target that is spread over all tokens.
        alignment, symbols: weights of the two auxiliary losses.
        mutual: weight of the part by which the directions learn from each other, as the decoders of
            ABM do (Bian et al., 2022, arXiv:2112.03603).
        distillation: weight of the part by which it learns from a teacher (`inktex train
            --teacher`).
        temperature: by which the logits of both are divided for that.
        aligned_layers: decoder layers, from the last, that the alignment pulls.
    """

    label_smoothing: float = 0.1
    alignment: float = 0.3
    symbols: float = 0.5
    mutual: float = added(0.0, before=0.0)
    distillation: float = added(1.0, before=0.0)
    temperature: float = added(1.0, before=1.0)
    aligned_layers: int = 3

    def __post_init__(self) -> None:
        check_shares(self, "label_smoothing")
        check_weights(self, "alignment", "symbols", "mutual", "distillation")
        check_counts(self, "aligned_layers", least=0)
        if not self.temperature > 0:
            raise DataError(f"temperature must be above 0, found {self.temperature}")

    def __call__(
        self,
        network: TransformerRecognizer,
        batch: Batch,
        teacher: Callable[[Batch], Tensor] | None = None,
    ) -> Losses:
        """Both directions in one pass; `network` has a symbol head.

        Args:
            teacher: to the logits of every token, as a `Teacher`; without one there is no
                distillation.
        """
        cells = network.inked_cells(batch.images, max(part.cells for part in batch.parts))
        memory = network.decoder.remember(cells.features, cells.places, cells.bias)
        logits, attentions = network.decoder.read(
            [batch.inputs[part.rows, :, : part.tokens] for part in batch.parts],
            memory.split([(part.images, part.cells) for part in batch.parts]),
        )
        targets = torch.cat(
            [batch.targets[part.rows, :, : part.tokens].flatten() for part in batch.parts]
        )
        tokens = token_loss(logits, targets, self.label_smoothing)
        inks = [_ink_of_part(batch, cells, part) for part in batch.parts]
        assert network.symbol_head is not None
        symbols = _symbol_loss(network.symbol_head(cells.features).float(), inks, batch)
        aligned = []
        for part, ink, layers in zip(batch.parts, inks, attentions, strict=True):
            # behind the end it points to the end of the batch, which no more than that of the part
            # has ink
            mirror = batch.mirror[part.rows, : part.tokens].clamp(max=part.tokens - 1)
            mirrored = ink.gather(1, mirror[:, :, None].expand(-1, -1, part.cells))
            both = torch.stack([ink, mirrored], dim=1)  # [b, directions, t, cells]
            first = max(len(layers) - self.aligned_layers, 0)
            aligned += [(each.mean(dim=1, dtype=torch.float32), both) for each in layers[first:]]
        alignment = alignment_loss(aligned) if aligned else tokens.new_zeros(())
        total = tokens + self.alignment * alignment + self.symbols * symbols
        parts = {"tokens": tokens, "alignment": alignment, "symbols": symbols}
        if self.mutual:
            parts["mutual"] = _mutual_loss(logits, batch)
            total = total + self.mutual * parts["mutual"]
        if self.distillation and teacher is not None:
            parts["distillation"] = distance(teacher(batch), logits, self.temperature, targets != 0)
            total = total + self.distillation * parts["distillation"]
        return Losses(total, parts)


def token_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in nats, mean over all tokens but `<pad>`.

    Args:
        logits: […, vocabulary]
        targets: int64 […]
        label_smoothing: share of a target that is spread over all tokens.
    """
    return functional.cross_entropy(
        logits.float().flatten(0, -2),
        targets.flatten(),
        ignore_index=0,
        label_smoothing=label_smoothing,
    )


def alignment_loss(attentions: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """-log of the attention on the token's own ink, mean over tokens with ink.

    Args:
        attentions: […, cells], of which a token's sums to 1, each with how much of the token's ink
            lies in a cell, likewise […, cells].
    """
    told, count = [], []
    for attention, ink in attentions:
        own = (ink > 0).float()
        known = own.amax(dim=-1) > 0
        mass = (attention.float() * own).sum(dim=-1)
        told.append(torch.where(known, (mass + 1e-6).log(), 0.0).sum())
        count.append(known.sum())
    return -torch.stack(told).sum() / torch.stack(count).sum().clamp(min=1)


def divergence(
    left: Tensor, right: Tensor, temperature: float = 1.0, known: Tensor | None = None
) -> Tensor:
    """The mean of the two distances, of left from right and of right from left."""
    one, other = (distance(*pair, temperature, known) for pair in ((left, right), (right, left)))
    return (one + other) / 2


def distance(
    told: Tensor, said: Tensor, temperature: float = 1.0, known: Tensor | None = None
) -> Tensor:
    """The Kullback-Leibler divergence KL(told || said), mean over tokens, times the square of the
    temperature, so that gradients keep their size (Hinton, Vinyals and Dean, 2015,
    arXiv:1503.02531).

    Args:
        told, said: logits [tokens, vocabulary].
        known: bool [tokens], those that count; by default all.
    """
    if known is None:
        known = torch.ones(len(told), dtype=torch.bool, device=told.device)
    wanted, found = (
        functional.log_softmax(each.float() / temperature, dim=1) for each in (told, said)
    )
    each = functional.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=1)
    return temperature**2 * torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


def from_the_right(right: Tensor, mirror: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What is said from right to left of the token that each step from left to right writes.

    Of a caption of n tokens, step t from left to right goes with step n - 1 - t from right to
    left; `<eos>` and `<sos>` behind the ends have no partner.

    Args:
        right: logits [b, t, vocabulary].
        mirror: int64 [b, t], as of a `Batch`.
        targets: int64 [b, t], from left to right.

    Returns:
        those logits [b, t, vocabulary], and bool [b, t], whether the step writes a token of the
        caption.
    """
    said = right.gather(1, mirror[:, :, None].expand(-1, -1, right.shape[2]))
    # it does where another target, at least <eos>, follows
    return said, functional.pad(targets[:, 1:] != 0, (0, 1))


def ink_of(batch: Batch, rows: int, columns: int) -> Tensor:
    """[b, t, rows * columns], the ink of each left-to-right target token in the cells of a grid
    that is as fine as that of the batch, or coarser."""
    height, width = (side // CELL for side in batch.images.shape[2:])
    grid = (rows, height // rows, columns, width // columns)
    return batch.ink.reshape(*batch.ink.shape[:2], *grid).sum(dim=(3, 5)).flatten(2)


def _ink_of_part(batch: Batch, cells: Cells, part: Part) -> Tensor:
    """[b, t, cells], how much ink of a part's left-to-right target tokens lies in its cells"""
    kept = cells.numbers[part.rows, : part.cells]
    ink = batch.ink[part.rows, : part.tokens].gather(2, kept[:, None].expand(-1, part.tokens, -1))
    return ink * (cells.bias[part.rows, None, : part.cells] == 0)


def _symbol_loss(logits: Tensor, inks: Sequence[Tensor], batch: Batch) -> Tensor:
    """Cross-entropy against the share of each token in the ink of a cell.

    Args:
        logits: [b, cells, vocabulary]
        inks: [b, t, cells] of each part of the batch.
    """
    log_probs = torch.split(
        functional.log_softmax(logits, dim=-1), [part.images for part in batch.parts]
    )
    costs, counts = [], []
    for part, ink, each in zip(batch.parts, inks, log_probs, strict=True):
        targets = batch.targets[part.rows, 0, None, : part.tokens].expand(-1, part.cells, -1)
        of_tokens = each[:, : part.cells].gather(2, targets).transpose(1, 2)
        total = ink.sum(dim=1, keepdim=True)
        costs.append(-(ink / total.clamp(min=1e-6) * of_tokens).sum())
        counts.append((total > 0).sum())
    return torch.stack(costs).sum() / torch.stack(counts).sum().clamp(min=1)


def _mutual_loss(logits: Tensor, batch: Batch) -> Tensor:
    """The divergence of the directions, mean over tokens.

    Args:
        logits: [n, vocabulary] of all parts, as `CoverageTransformer.read` gives them.
    """
    lefts, rights, known = [], [], []
    shapes = [(part.images, DIRECTIONS, part.tokens) for part in batch.parts]
    sizes = [math.prod(shape) for shape in shapes]
    for part, shape, each in zip(
        batch.parts, shapes, torch.split(logits.float(), sizes), strict=True
    ):
        left, right = each.reshape(*shape, -1).unbind(dim=1)
        mirror = batch.mirror[part.rows, : part.tokens].clamp(max=part.tokens - 1)
        said, written = from_the_right(right, mirror, batch.targets[part.rows, 0, : part.tokens])
        lefts.append(left.flatten(0, 1))
        rights.append(said.flatten(0, 1))
        known.append(written.flatten())
    return divergence(torch.cat(lefts), torch.cat(rights), known=torch.cat(known))
