"""Expressions to batches: drawn on the fly, bucketed by size, with the cells of every token."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import DataError
from ..core.rendering import (
    DEFAULT_RENDERING,
    PEN_PX,
    Rendering,
    draw_strokes,
    drawn_size,
    normalized_strokes,
)
from ..core.vocabulary import Vocabulary
from .augmentation import Augmentation, bend, bend_image, turn
from .inkset import Expression
from .recognizer import STRIDE
from .splicing import all_joints, with_splices
from .synthesis.captions import Writing
from .synthesis.synthesizer import Synthesizer
from .two_scale_encoder import CELL

DIRECTIONS = 2
INK_THRESHOLD = 0.15
"""A cell is attended to when one of its pixels is at least this dark."""
_WIDTH_STEP = 32
_MOST_ROWS = 16
_ROW_BATCHES = 6  # that a row of formulas of about the same height must fill
_OWN_SCALE = 0.06  # standard deviation of the size of one formula within its batch, as a logarithm


class Batch(NamedTuple):
    """What the trainer sees.

    images: float32 [b, 1, h, w], ink 1 on 0
    inputs: int64 [b, 2, t], left to right after `<sos>`, and right to left after `<eos>`
    targets: int64 [b, 2, t], `<pad>` behind the end; the right-to-left row ends with `<sos>`
    ink: float32 [b, t, cells], how much ink of the left-to-right target token lies in a cell
    mirror: int64 [b, t], the place in `ink` of the right-to-left target token
    inked: the greatest number of cells with ink in an image; None where nobody counted them
    """

    images: Tensor
    inputs: Tensor
    targets: Tensor
    ink: Tensor
    mirror: Tensor
    inked: int | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch there."""
        images, inputs, targets, ink, mirror = (each.to(device) for each in self[:5])
        return Batch(images, inputs, targets, ink, mirror, self.inked)

    def expanded(self) -> Batch:
        """The batch of a `collate_compact` as a network sees it."""
        return self._replace(images=self.images.float() / 255, ink=self.ink.float())


class Drawing(NamedTuple):
    """image uint8 [h, w], and the strokes in its pixels, arrays [n, 2]; none of an image"""

    image: NDArray[np.uint8]
    strokes: list[NDArray[np.float64]]


def draw(
    expression: Expression,
    augmentation: Augmentation | None = None,
    rng: Generator | None = None,
    scale: float = 1.0,
    rendering: Rendering = DEFAULT_RENDERING,
) -> Drawing:
    """Draw an expression as a recognizer sees it, or bent by an augmentation.

    Args:
        scale: factor on the size of the symbols.
        rendering: the recognizer's.
    """
    if expression.image is not None:
        return Drawing(_drawn_image(expression, augmentation, rng, scale, rendering), [])
    raw = [stroke.astype(np.float64) for stroke in expression.strokes]
    if augmentation is None:
        strokes = normalized_strokes(raw, rendering.symbol_px * scale)
        return Drawing(draw_strokes(strokes, rendering.pen_px), strokes)
    assert rng is not None
    symbols = [indices for indices in expression.ink if indices]
    bent = bend(normalized_strokes(raw), symbols, rng, augmentation)
    own = np.exp(rng.normal(0, _OWN_SCALE))
    strokes = normalized_strokes(bent, rendering.symbol_px * scale * own)
    return Drawing(draw_strokes(strokes, _pen(augmentation, rng, rendering)), strokes)


def _drawn_image(
    expression: Expression,
    augmentation: Augmentation | None,
    rng: Generator | None,
    scale: float,
    rendering: Rendering,
) -> NDArray[np.uint8]:
    assert expression.image is not None
    stored = expression.rendering
    scale *= rendering.symbol_px / stored.symbol_px
    if augmentation is None:
        if scale == 1:
            return expression.image
        return bend_image(expression.image, stored.pen_px, scale * np.eye(2))
    assert rng is not None
    whole = turn(rng, augmentation) * scale * np.exp(rng.normal(0, _OWN_SCALE))
    return bend_image(expression.image, stored.pen_px, whole, _pen(augmentation, rng, rendering))


def _pen(augmentation: Augmentation, rng: Generator, rendering: Rendering) -> float:
    """The width of a pen, in pixels of the rendering."""
    return rng.uniform(*augmentation.pen) * rendering.pen_px / PEN_PX


def ink_in_cells(
    drawing: Drawing, ink: Sequence[Sequence[int]], height: int, width: int
) -> NDArray[np.float32]:
    """How much ink of every token lies in every cell.

    Args:
        ink: the indices of the strokes of each token.
        height, width: of the padded image, in pixels.

    Returns:
        float32 [tokens, cells]: the length of the token's ink in the cell, in pixels.
    """
    rows, columns = height // CELL, width // CELL
    owners = [token for token, indices in enumerate(ink) for _ in indices]
    strokes = [drawing.strokes[index] for indices in ink for index in indices]
    if not strokes:
        return np.zeros((len(ink), rows * columns), np.float32)
    middles, lengths, numbers = _pieces(strokes)
    cells = (middles // CELL).astype(np.int64)
    places = np.clip(cells[:, 1], 0, rows - 1) * columns + np.clip(cells[:, 0], 0, columns - 1)
    places += np.array(owners)[numbers] * rows * columns
    amounts = np.bincount(places, lengths, len(ink) * rows * columns)
    return amounts.reshape(len(ink), -1).astype(np.float32)


def collate(
    expressions: Sequence[Expression], drawings: Sequence[Drawing], vocabulary: Vocabulary
) -> Batch:
    """Pad drawings and captions to one size."""
    return collate_compact(expressions, drawings, vocabulary).expanded()


def collate_compact(
    expressions: Sequence[Expression], drawings: Sequence[Drawing], vocabulary: Vocabulary
) -> Batch:
    """As `collate`, to travel between processes and to a device, in a third of the size: images
    are the bytes that were drawn, ink has half precision."""
    height = _ceil(max(drawing.image.shape[0] for drawing in drawings), STRIDE)
    width = _ceil(max(drawing.image.shape[1] for drawing in drawings), _WIDTH_STEP)
    steps = 1 + max(len(expression.caption) for expression in expressions)
    count = len(expressions)
    images = np.zeros((count, 1, height, width), np.uint8)
    inputs = np.full((count, DIRECTIONS, steps), vocabulary.pad, np.int64)
    targets = np.full((count, DIRECTIONS, steps), vocabulary.pad, np.int64)
    ink = np.zeros((count, steps, (height // CELL) * (width // CELL)), np.float16)
    mirror = np.full((count, steps), steps - 1, np.int64)
    for row, (expression, drawing) in enumerate(zip(expressions, drawings, strict=True)):
        image = drawing.image
        images[row, 0, : image.shape[0], : image.shape[1]] = image
        numbers = vocabulary.encode(expression.caption)
        length = len(numbers)
        inputs[row, 0, : length + 1] = [vocabulary.sos, *numbers]
        targets[row, 0, : length + 1] = [*numbers, vocabulary.eos]
        inputs[row, 1, : length + 1] = [vocabulary.eos, *numbers[::-1]]
        targets[row, 1, : length + 1] = [*numbers[::-1], vocabulary.sos]
        ink[row, :length] = ink_in_cells(drawing, expression.ink, height, width)
        mirror[row, :length] = np.arange(length - 1, -1, -1)
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(inputs),
        torch.from_numpy(targets),
        torch.from_numpy(ink),
        torch.from_numpy(mirror),
        _most_inked(images),
    )


def _most_inked(images: NDArray[np.uint8]) -> int:
    """Of images [b, 1, h, w], as `transformer_recognizer.holds_ink` counts.

    It gives a tensor its shape: asked of an accelerator, it would be an answer to wait for.
    """
    count, _, height, width = images.shape
    rows = images.reshape(count, height // CELL, CELL, width).max(axis=2)
    cells = rows.reshape(count, -1, CELL).max(axis=2) >= INK_THRESHOLD * 255
    return max(int(cells.sum(axis=1).max()), 1)


class Buckets:
    """Batches of expressions of about the same size, so that little paper is padded.

    Args:
        sizes: int [n, 2], height and width of each expression as drawn.
        batch_size: expressions in a batch.
        max_pixels: a batch of large expressions holds fewer, so that it has no more pixels.
    """

    def __init__(self, sizes: NDArray[np.int64], batch_size: int, max_pixels: int) -> None:
        self.sizes = sizes
        self.batch_size = batch_size
        self.max_pixels = max_pixels

    def plan(self, rng: Generator | None = None) -> list[list[int]]:
        """One epoch: every expression once, in random batches in random order.

        Without `rng` the plan is in order of size and always the same.
        """
        widths = self.sizes[:, 1].astype(np.float64)
        if rng is not None:
            widths = widths * np.exp(rng.uniform(-0.08, 0.08, len(widths)))
        heights = self.sizes[:, 0]
        count = len(heights) // (_ROW_BATCHES * self.batch_size)
        count = min(max(count, 1), _MOST_ROWS)
        by_height = np.argsort(heights, kind="stable")
        batches: list[list[int]] = []
        for members in np.array_split(by_height, count):
            batch: list[int] = []
            height = 0
            for member in members[np.argsort(widths[members], kind="stable")].tolist():
                height = max(height, int(self.sizes[member, 0]))
                pixels = (len(batch) + 1) * height * int(self.sizes[member, 1])
                if batch and (len(batch) == self.batch_size or pixels > self.max_pixels):
                    batches.append(batch)
                    batch, height = [], int(self.sizes[member, 0])
                batch.append(member)
            if batch:
                batches.append(batch)
        if rng is not None:
            batches = [batches[number] for number in rng.permutation(len(batches))]
        return batches


class TrainingStream:
    """An endless stream of batches that can start anywhere and is the same for the same seed.

    Args:
        longest: tokens that a formula made anew may have.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        vocabulary: Vocabulary,
        augmentation: Augmentation,
        batch_size: int,
        max_pixels: int,
        seed: int,
        longest: int,
        rendering: Rendering = DEFAULT_RENDERING,
    ) -> None:
        self.expressions = expressions
        self.vocabulary = vocabulary
        self.augmentation = augmentation
        self.batch_size, self.max_pixels = batch_size, max_pixels
        self.seed = seed
        self.longest = longest
        self.rendering = rendering

    @cached_property
    def _known(self) -> tuple[dict[int, list[int]], NDArray[np.int64]]:
        """Where each expression can be cut, and how large it is drawn: the same in every epoch."""
        return all_joints(self.expressions), drawn_sizes(self.expressions, self.rendering)

    @cached_property
    def synthesizer(self) -> Synthesizer | None:
        """What new formulas are made by; None where there are to be none, or where it is not known
        of any ink which strokes make which symbol. To make it takes seconds."""
        if not self.augmentation.synthetic:
            return None
        try:
            return Synthesizer(
                self.expressions, Writing(longest=min(self.longest, Writing.longest))
            )
        except DataError:
            return None

    def epoch(self, number: int) -> list[list[Expression]]:
        """The batches of an epoch: every expression once, some of them spliced with others, some
        left out for new ones."""
        rng = np.random.default_rng([self.seed, number])
        share = self.augmentation.splices
        cuts, sizes = self._known
        expressions = with_splices(self.expressions, share, self.longest, rng, cuts)
        if self.synthesizer:
            chosen = rng.random(len(expressions)) < self.augmentation.synthetic
            for index in np.flatnonzero(chosen).tolist():
                expressions[index] = self.synthesizer.expression(f"new {index}", rng)
        sizes = sizes.copy()
        for index, (made, plain) in enumerate(zip(expressions, self.expressions, strict=True)):
            if made is not plain:
                sizes[index] = _drawn_size(made, self.rendering)
        buckets = Buckets(sizes, self.batch_size, self.max_pixels)
        return [[expressions[index] for index in batch] for batch in buckets.plan(rng)]

    def plans(self, lane: int = 0, lanes: int = 1) -> Iterator[tuple[int, list[Expression]]]:
        """(epoch, expressions) for every batch of a lane, without end"""
        for epoch in itertools.count(lane, lanes):
            for batch in self.epoch(epoch):
                yield epoch, batch

    def batches(
        self, skip: int = 0, stride: int = 1, lane: int = 0, lanes: int = 1
    ) -> Iterator[tuple[int, Batch]]:
        """(epoch, compact batch): the one after `skip`, then every `stride`-th of a lane.

        Args:
            lane, lanes: of so many, which each plan every `lanes`-th epoch, so that none does what
                another has done; a lane alone has all epochs.
        """
        for number, (epoch, expressions) in enumerate(self.plans(lane, lanes)):
            if number >= skip and (number - skip) % stride == 0:
                rng = np.random.default_rng([self.seed, 1, number * lanes + lane])
                yield epoch, self.draw(expressions, rng)

    def draw(self, expressions: Sequence[Expression], rng: Generator) -> Batch:
        """Draw one compact batch; all its images share a scale, so that they stay of one size."""
        scale = float(np.exp(rng.uniform(-self.augmentation.scale, self.augmentation.scale)))
        drawings = [
            draw(each, self.augmentation, rng, scale, self.rendering) for each in expressions
        ]
        return collate_compact(expressions, drawings, self.vocabulary)


def drawn_sizes(
    expressions: Sequence[Expression], rendering: Rendering = DEFAULT_RENDERING
) -> NDArray[np.int64]:
    """int [n, 2]: height and width of each expression as drawn without augmentation"""
    return np.array([_drawn_size(each, rendering) for each in expressions], np.int64).reshape(-1, 2)


def _drawn_size(expression: Expression, rendering: Rendering) -> tuple[int, int]:
    if expression.image is not None:
        scale = rendering.symbol_px / expression.rendering.symbol_px
        height, width = (round(side * scale) for side in expression.image.shape)
        return height, width
    strokes = [stroke.astype(np.float64) for stroke in expression.strokes]
    return drawn_size(normalized_strokes(strokes, rendering.symbol_px))


def evaluation_batches(
    expressions: Sequence[Expression],
    vocabulary: Vocabulary,
    batch_size: int,
    max_pixels: int,
    rendering: Rendering = DEFAULT_RENDERING,
) -> Iterator[tuple[list[int], Batch]]:
    """(indices, batch) over all expressions, as they are, in order of size"""
    for indices in Buckets(drawn_sizes(expressions, rendering), batch_size, max_pixels).plan():
        chosen = [expressions[index] for index in indices]
        drawings = [draw(each, rendering=rendering) for each in chosen]
        yield indices, collate(chosen, drawings, vocabulary)


def _pieces(
    strokes: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The segments of strokes, cut into pieces of at most a pixel.

    Returns:
        float64 [n, 2], the middle of each piece; float64 [n], its length, of a dot one pixel;
        int64 [n], the number of its stroke
    """
    # a stroke of one point is a segment from it to itself
    starts = np.concatenate([each[:-1] if len(each) > 1 else each for each in strokes])
    ends = np.concatenate([each[1:] if len(each) > 1 else each for each in strokes])
    segments = [max(len(each) - 1, 1) for each in strokes]
    along = ends - starts
    lengths = np.hypot(along[:, 0], along[:, 1])
    strokes_of = np.repeat(np.arange(len(strokes)), segments)
    totals = np.bincount(strokes_of, lengths, len(strokes))
    dots = totals[strokes_of] == 0
    lengths = np.where(dots, 1.0 / np.array(segments)[strokes_of], lengths)
    counts = np.ceil(lengths).astype(np.int64)
    first = np.cumsum(counts) - counts
    segment = np.repeat(np.arange(len(starts)), counts)
    share = (np.arange(len(segment)) - first[segment] + 0.5) / counts[segment]
    middles = starts[segment] + along[segment] * share[:, None]
    return middles, (lengths / np.maximum(counts, 1))[segment], strokes_of[segment]


def _ceil(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
