"""Progressive spatial masking: what the masked cells hold must be told from the rest.

After "Mask & Match" (Mitra et al., 2025), which states that the masked share grows over the
training of the self-supervised attention network. What it leaves open is ours: only cells with ink
are masked, for blank paper would be told too easily; the ink of masked cells is wiped off, so that
the features of their neighbours do not tell it either; what is asked for are the features that the
encoder of the stage before, now frozen, gives of the whole drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import DataError
from .objectives import Losses
from .self_attention_network import AttentiveEncoder
from .transformer_recognizer import holds_ink
from .views import View


@dataclass(frozen=True)
class Masking:
    """Settings of the masking stage, all of them ours.

    Attributes:
        start, end: share of the inked cells that is masked, at the begin and the end of the
            stage, and on a line between; equal for a fixed share.
        wipe: whether the ink of masked cells is wiped off before the encoder sees the drawing;
            else only their features are hidden.
    """

    start: float = 0.15
    end: float = 0.6
    wipe: bool = True

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not 0 < getattr(self, name) < 1:
                raise DataError(
                    f"masking.{name} must be a share between 0 and 1, found {getattr(self, name)}"
                )

    def share(self, progress: float) -> float:
        """The masked share when `progress`, 0..1, of the stage is over."""
        return self.start + (self.end - self.start) * progress


def draw_masks(inked: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Choose cells to mask, evenly among those with ink.

    Args:
        inked: bool [b, cells]
        share: of the inked cells of each drawing; at least one is masked and one left, so none
            is masked where there is only one.
        generator: of torch on the processor; the default one when there is none.

    Returns:
        bool [b, cells]
    """
    counts = inked.sum(dim=1)
    wanted = torch.minimum((share * counts).round().clamp(min=1), counts - 1)
    lots = torch.rand(inked.shape, generator=generator).to(inked.device)
    places = lots.masked_fill(~inked, 2.0).argsort(dim=1).argsort(dim=1)
    return places < wanted[:, None]


class Reconstruction(NamedTuple):
    """What was asked for and what was found, cell by cell.

    found, wanted: float32 [masked cells, channels]
    """

    found: Tensor
    wanted: Tensor


class MaskingTask(nn.Module):
    """Projection and attention network of an encoder, and the loss that teaches them.

    Attributes:
        views: of each drawing that a batch has to hold.
        encoder: its trunk is not trained.
        head: the cell's features -> the trunk's, standardised
    """

    views = 1

    def __init__(self, encoder: AttentiveEncoder, settings: Masking) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.head = nn.Linear(encoder.projection.out_channels, encoder.projection.in_channels)

    def train(self, mode: bool = True) -> MaskingTask:
        """Also in training the trunk is as it will be used: it makes the targets."""
        super().train(mode)
        self.encoder.trunk.eval()
        return self

    def reconstruct(
        self, images: Tensor, share: float, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Mask a share of the inked cells of images [b, 1, h, w] and ask for them.

        The targets are standardised: mean 0 and variance 1 of each channel over the inked cells
        of the batch, so that whoever tells the mean tells 0.
        """
        inked = holds_ink(images, self.encoder.cell)
        masked = draw_masks(inked, share, generator)
        with torch.no_grad():
            whole = self.encoder.trunk(images)
            seen = self.encoder.trunk(self.wiped(images, masked)) if self.settings.wipe else whole
        cells = self.encoder.attend(seen, inked, masked).flatten(2).transpose(1, 2)
        targets = whole.float().flatten(2).transpose(1, 2)
        known = targets[inked]
        deviation, mean = torch.std_mean(known, dim=0, correction=0)
        wanted = (targets[masked] - mean) / (deviation + 1e-5)
        return Reconstruction(self.head(cells[masked]).float(), wanted)

    def wiped(self, images: Tensor, masked: Tensor) -> Tensor:
        """images [b, 1, h, w] without the ink of the masked cells [b, cells]"""
        cell = self.encoder.cell
        height, width = images.shape[2] // cell, images.shape[3] // cell
        paper = masked.reshape(-1, 1, height, width)
        paper = paper.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)
        return images.masked_fill(paper, 0.0)

    def forward(self, views: Sequence[View], share: float) -> Losses:
        """The loss at a share of the stage.

        reconstruction: smooth L1, mean over masked cells and channels
        masked: the share of the inked cells that was to be masked
        """
        wanted_share = self.settings.share(share)
        found, wanted = self.reconstruct(views[0].images, wanted_share)
        total = functional.smooth_l1_loss(found, wanted, reduction="sum") / max(wanted.numel(), 1)
        return Losses(
            total, {"reconstruction": total, "masked": torch.tensor(wanted_share).to(total)}
        )

    @torch.no_grad()
    def measure(self, batches: Iterable[Sequence[View]]) -> dict[str, float]:
        """The share of the variance of masked cells that is told, 1 at best and 0 for the mean,
        at the last share of the schedule and always with the same masks."""
        generator = torch.Generator().manual_seed(0)
        missed = total = 0.0
        for views in batches:
            found, wanted = self.reconstruct(views[0].images, self.settings.end, generator)
            missed += float((found - wanted).square().sum())
            total += float(wanted.square().sum())
        return {"explained": 1 - missed / max(total, 1e-12)}
