"""Contrastive pre-training: two views of the same ink must be told apart from other ink.

After "Mask & Match" (Mitra et al., 2025) and the same first author's work on handwriting: a global
loss, Barlow Twins, on the pooled features, and a local one, InfoNCE, on a grid of half-overlapping
patches of early features. Neither paper says more, so the rest is ours:

- patches of two views correspond by their relative place in the box around the ink, whatever its
  size; those that are blank in either view are left out, being all alike
- features are pooled over the cells that hold ink
- both losses see the features through a projection of two layers (as in SimCLR and Barlow Twins),
  which is thrown away
- the global loss is divided by the width of that projection, so that the two weights tell
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import DataError
from .objectives import Losses
from .recognizer import STRIDE
from .transformer_decoder import MASKED
from .transformer_recognizer import holds_ink
from .views import View


@dataclass(frozen=True)
class Contrast:
    """Settings of the contrastive stage; those without "ours" are published.

    Attributes:
        scale: range of the size of a view.
        local: weight of the local loss; the global one gets the rest.
        redundancy: weight of the off-diagonal terms of Barlow Twins.
        temperature: of InfoNCE.
        grid: patches along each side of the ink.
        early_stride: the local loss takes the last features at this stride, in pixels (ours).
        projection: width of the projections; 0 is none (ours).
    """

    scale: tuple[float, float] = (0.7, 1.4)
    local: float = 0.6
    redundancy: float = 5e-3
    temperature: float = 0.5
    grid: int = 5
    early_stride: int = 4
    projection: int = 128

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise DataError(f"contrast.scale must be a range above 0, found {list(self.scale)}")
        if not 0 <= self.local <= 1:
            raise DataError(f"contrast.local must be a share from 0 to 1, found {self.local}")
        if self.temperature <= 0 or self.grid < 1:
            raise DataError(
                "contrast.temperature must be above 0 and contrast.grid 1 or more, found "
                f"{self.temperature} and {self.grid}"
            )


def barlow_twins(first: Tensor, second: Tensor, redundancy: float = 5e-3) -> Tensor:
    """Features of two views should agree, and no two features say the same.

    sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2, where C is the correlation of the
    features of one view with those of the other, over the batch (Zbontar et al., 2021,
    arXiv:2103.03230).

    Args:
        first, second: float32 [b, d], row by row of the same drawings.

    Returns:
        A scalar, d where nothing agrees.
    """
    correlation = _standardised(first).T @ _standardised(second) / len(first)
    own = torch.diagonal(correlation)
    others = correlation.square().sum() - own.square().sum()
    return (1 - own).square().sum() + redundancy * others


def info_nce(first: Tensor, second: Tensor, kept: Tensor, temperature: float = 0.5) -> Tensor:
    """Each patch should find itself in the other view, among all patches of the same image.

    The cross-entropy of that choice by cosine similarity, in both directions (van den Oord et
    al., 2018, arXiv:1807.03748).

    Args:
        first, second: float32 [b, patches, d] of two views.
        kept: bool [b, patches], False for patches that are left out.

    Returns:
        Nats, the mean over the kept patches; 0 where none is kept.
    """
    first, second = functional.normalize(first, dim=2), functional.normalize(second, dim=2)
    scores = first @ second.transpose(1, 2) / temperature
    bias = torch.where(kept, 0.0, MASKED)
    there = functional.log_softmax(scores + bias[:, None, :], dim=2)
    back = functional.log_softmax(scores + bias[:, :, None], dim=1)
    right = torch.diagonal(there + back, dim1=1, dim2=2) / 2
    return -(right * kept).sum() / kept.sum().clamp(min=1)


def patch_means(features: Tensor, boxes: Tensor, grid: int) -> Tensor:
    """Mean features of half-overlapping patches that cover a box.

    A patch is 2 / (grid + 1) of the box wide and high; the next begins half of that further on.

    Args:
        features: float32 [b, c, h, w]
        boxes: float32 [b, 4], left, top, right and bottom, in cells of the features.
        grid: patches along each side.

    Returns:
        [b, grid * grid, c], row by row
    """
    height, width = features.shape[2:]
    columns = _shares(boxes[:, 0], boxes[:, 2], width, grid)
    rows = _shares(boxes[:, 1], boxes[:, 3], height, grid)
    return torch.einsum("bih,bchw,bjw->bijc", rows, features, columns).flatten(1, 2)


def _shares(low: Tensor, high: Tensor, cells: int, grid: int) -> Tensor:
    """From `low` [b] to `high` [b] along one side: [b, grid, cells], how much of each patch lies in
    each cell, 1 in all"""
    step = ((high - low) / (grid + 1))[:, None]
    starts = low[:, None] + step * torch.arange(grid, device=low.device)
    edges = torch.arange(cells, device=low.device)
    ends = torch.minimum((starts + 2 * step)[:, :, None], edges + 1)
    amounts = (ends - torch.maximum(starts[:, :, None], edges)).clamp(min=0)
    return amounts / amounts.sum(dim=2, keepdim=True).clamp(min=1e-6)


def effective_rank(features: Tensor) -> float:
    """How many directions the features [n, d] use: the exponential of the entropy of their
    singular values, about the mean (Roy and Vetterli, 2007); 1 is a line."""
    values = torch.linalg.svdvals(features - features.mean(dim=0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def spread(features: Tensor) -> float:
    """How far features [n, d] lie about their mean, against how far they lie about zero, 0..1;
    0 is a collapse: all drawings look the same."""
    about_mean = (features - features.mean(dim=0)).norm()
    return float(about_mean / features.norm().clamp(min=1e-12))


class Embeddings(NamedTuple):
    """What an encoder makes of a view.

    pooled: float32 [b, c], the mean of the features over the cells with ink
    patches: float32 [b, patches, c'], the means of early features
    inked: bool [b, patches], does the patch hold ink?
    """

    pooled: Tensor
    patches: Tensor
    inked: Tensor


class ContrastiveTask(nn.Module):
    """The encoder, and the losses that teach it.

    Attributes:
        views: of each drawing that a batch has to hold.
        encoder: images [b, 1, h, w] -> features [b, c, h/s, w/s]
    """

    views = 2

    def __init__(self, encoder: nn.Module, settings: Contrast) -> None:
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.early, early_channels, channels = _early_features(encoder, settings.early_stride)
        self.local_head = _projection(early_channels, settings.projection)
        self.global_head = _projection(channels, settings.projection)

    def embed(self, view: View) -> Embeddings:
        """Run the encoder and gather its features."""
        with _outputs(self.encoder.get_submodule(self.early)) as outputs:
            features = self.encoder(view.images).float()
        early = outputs[-1].float()
        inked = holds_ink(view.images, view.images.shape[3] // features.shape[3])
        boxes = view.boxes / (view.images.shape[3] // early.shape[3])
        grid = self.settings.grid
        with _full_precision(features):
            pooled = (features.flatten(2) * inked[:, None]).sum(dim=2)
            pooled = pooled / inked.sum(dim=1, keepdim=True).clamp(min=1)
            ink = patch_means(view.images, view.boxes, grid)[:, :, 0]
            return Embeddings(pooled, patch_means(early, boxes, grid), ink > 0)

    def losses(self, first: Embeddings, second: Embeddings) -> Losses:
        """The weighted sum, and its parts.

        local: nats
        global: of Barlow Twins, divided by the number of features
        """
        with _full_precision(first.pooled):
            local = info_nce(
                self.local_head(first.patches),
                self.local_head(second.patches),
                first.inked & second.inked,
                self.settings.temperature,
            )
            pooled = self.global_head(first.pooled), self.global_head(second.pooled)
            whole = barlow_twins(*pooled, self.settings.redundancy) / pooled[0].shape[1]
        weight = self.settings.local
        return Losses(weight * local + (1 - weight) * whole, {"local": local, "global": whole})

    def forward(self, views: Sequence[View], share: float) -> Losses:
        """The losses on two views; they are the same at any `share` of the stage."""
        first, second = map(self.embed, views)
        return self.losses(first, second)

    @torch.no_grad()
    def measure(self, batches: Iterable[Sequence[View]]) -> dict[str, float]:
        """Mean losses, and the effective rank and the spread of the pooled features."""
        pooled, parts = [], []
        for views in batches:
            first, second = map(self.embed, views)
            parts.append(self.losses(first, second).parts)
            pooled.append(first.pooled)
        means = {
            f"validation_{name}": float(torch.stack([each[name] for each in parts]).mean())
            for name in parts[0]
        }
        features = torch.cat(pooled)
        return {**means, "rank": effective_rank(features), "spread": spread(features)}


def _standardised(features: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the batch, as a batch norm without weights gives them."""
    centred = features - features.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + 1e-5).sqrt()


def _full_precision(tensor: Tensor) -> torch.autocast:
    """Without autocast: means and correlations in half precision would lose what they are about."""
    return torch.autocast(tensor.device.type, enabled=False)


def _projection(inputs: int, width: int) -> nn.Module:
    if width == 0:
        return nn.Identity()
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))


@contextmanager
def _outputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module gives out while this lasts, call by call."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@torch.no_grad()
def _early_features(encoder: nn.Module, stride: int) -> tuple[str, int, int]:
    """The name of the module that makes the last features at a stride, their channels, and those
    of the encoder's own features; found by a trial."""
    side = 4 * STRIDE
    found: list[tuple[str, int]] = []
    handles = []
    for name, module in encoder.named_modules():

        def note(_: nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
            if name and output.shape[2:] == (side // stride, side // stride):
                found.append((name, output.shape[1]))

        handles.append(module.register_forward_hook(note))
    was_training = encoder.training
    try:
        channels = encoder.eval()(torch.zeros(1, 1, side, side)).shape[1]
    finally:
        encoder.train(was_training)
        for handle in handles:
            handle.remove()
    if not found:
        raise DataError(
            f"contrast.early_stride: expected a stride at which {type(encoder).__name__} has "
            f"features, found {stride}"
        )
    return *found[-1], channels
