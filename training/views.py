"""Views of ink without captions: each time drawn otherwise, and where its ink lies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.rendering import DEFAULT_RENDERING, Rendering
from .augmentation import Augmentation
from .batches import INK_THRESHOLD, draw
from .inkset import Expression
from .recognizer import STRIDE
from .stream import Buckets, drawn_sizes


class View(NamedTuple):
    """Some drawings, drawn in one way.

    images: float32 [b, 1, h, w], ink 1 on 0, sides multiples of `STRIDE`
    boxes: float32 [b, 4], left, top, right and bottom of the ink, in pixels
    """

    images: Tensor
    boxes: Tensor


def view(drawings: Sequence[NDArray[np.uint8]]) -> View:
    """Pad drawings, uint8 [h, w] with ink 255 on 0, to one size."""
    # twice the stride: fewer distinct sizes, so that kernels are chosen less often
    height, width = (
        -(-max(drawing.shape[axis] for drawing in drawings) // step) * step
        for axis, step in ((0, STRIDE), (1, 2 * STRIDE))
    )
    images = np.zeros((len(drawings), 1, height, width), np.float32)
    for image, drawing in zip(images, drawings, strict=True):
        image[0, : drawing.shape[0], : drawing.shape[1]] = drawing
    boxes = np.array([ink_box(drawing) for drawing in drawings], np.float32)
    return View(torch.from_numpy(images / 255), torch.from_numpy(boxes))


def ink_box(drawing: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the ink, in pixels; the last two lie behind it."""
    ink = drawing >= INK_THRESHOLD * drawing.max()
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class ViewStream:
    """An endless stream of views that can start anywhere and is the same for the same seed.

    Args:
        expressions: their captions are not read.
        augmentation: bends the strokes; its own range of sizes is not used.
        scale: range of the factor on the size, drawn evenly on a logarithmic scale. All drawings
            of a view share it, so that they stay of one size; two views of a batch differ.
        batch_size, max_pixels: the most in a view, before scaling.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        augmentation: Augmentation,
        scale: tuple[float, float],
        batch_size: int,
        max_pixels: int,
        seed: int,
        rendering: Rendering = DEFAULT_RENDERING,
    ) -> None:
        self.expressions = expressions
        self.augmentation = augmentation
        self.scale = scale
        self.rendering = rendering
        self.buckets = Buckets(drawn_sizes(expressions, rendering), batch_size, max_pixels)
        self.seed = seed

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch, as numbers of expressions: every one once."""
        return self.buckets.plan(np.random.default_rng([self.seed, number]))

    def batches(self, skip: int = 0, views: int = 2) -> Iterator[tuple[int, tuple[View, ...]]]:
        """(epoch, views of one batch), from the batch after `skip` on"""
        plans = ((epoch, batch) for epoch in itertools.count() for batch in self.epoch(epoch))
        for number, (epoch, batch) in enumerate(plans):
            if number >= skip:
                yield epoch, self.draw(batch, views, number)

    def draw(self, batch: Sequence[int], views: int, number: int) -> tuple[View, ...]:
        """Draw the expressions of batch `number` of the stream."""
        rng = np.random.default_rng([self.seed, 1, number])
        drawn = []
        for _ in range(views):
            scale = float(np.exp(rng.uniform(*np.log(self.scale))))
            drawings = [
                draw(self.expressions[index], self.augmentation, rng, scale, self.rendering)
                for index in batch
            ]
            drawn.append(view([drawing.image for drawing in drawings]))
        return tuple(drawn)
