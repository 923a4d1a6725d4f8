"""Expressions to batches: drawn on the fly, with the cells of every token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..core.rendering import (
    DEFAULT_RENDERING,
    PEN_PX,
    Rendering,
    draw_strokes,
    normalized_strokes,
)
from ..core.trail import pen_trail
from ..core.vocabulary import Vocabulary
from .augmentation import Augmentation, bend, bend_image, turn
from .inkset import Expression
from .recognizer import STRIDE
from .two_scale_encoder import CELL

DIRECTIONS = 2
INK_THRESHOLD = 0.15
"""A cell is attended to when one of its pixels is at least this dark."""
_WIDTH_STEP = 32
_ALIGNED = 8  # numbers of 16 bits side by side that an accelerator reads at once
_PARTS = 2  # which spare a third of the tokens by cells; more spare little more, and launch more
_OWN_SCALE = 0.06  # standard deviation of the size of one formula within its batch, as a logarithm


class Part(NamedTuple):
    """Rows of a batch that stand together, and no more than they need of its padding.

    rows: which
    tokens: the most that one of them has, its end token included
    cells: the most with ink that one of them has, and what aligns their rows in memory
    """

    rows: slice
    tokens: int
    cells: int

    @property
    def images(self) -> int:
        """How many"""
        rows: int = self.rows.stop - self.rows.start
        return rows


class Batch(NamedTuple):
    """What the trainer sees.

    images: float32 [b, channels, h, w], ink 1 on 0, and the trail of the pen where it is seen
    inputs: int64 [b, 2, t], left to right after `<sos>`, and right to left after `<eos>`
    targets: int64 [b, 2, t], `<pad>` behind the end; the right-to-left row ends with `<sos>`
    ink: float32 [b, t, cells], how much ink of the left-to-right target token lies in a cell
    mirror: int64 [b, t], the place in `ink` of the right-to-left target token
    parts: all its rows, in order
    """

    images: Tensor
    inputs: Tensor
    targets: Tensor
    ink: Tensor
    mirror: Tensor
    parts: Sequence[Part]

    def to(self, device: torch.device) -> Batch:
        """The batch there. To CUDA its copy is under way, which what is computed of it awaits."""
        images, inputs, targets, ink, mirror = (
            each.to(device, non_blocking=device.type == "cuda") for each in self[:5]
        )
        return Batch(images, inputs, targets, ink, mirror, self.parts)

    def expanded(self) -> Batch:
        """The batch of a `collate_compact` as a network sees it."""
        return self._replace(images=self.images.float() / 255, ink=self.ink.float())


class Drawing(NamedTuple):
    """image uint8 [h, w]; the strokes in its pixels, arrays [n, 2], none of an image; and the trail
    of the pen, uint8 [channels, h, w], None where a recognizer does not see it"""

    image: NDArray[np.uint8]
    strokes: list[NDArray[np.float64]]
    trail: NDArray[np.uint8] | None = None


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
        image = _drawn_image(expression, augmentation, rng, scale, rendering)
        return Drawing(image, [], _trail(image, [], rendering))
    raw = [stroke.astype(np.float64) for stroke in expression.strokes]
    if augmentation is None:
        strokes = normalized_strokes(raw, rendering.symbol_px * scale)
        image = draw_strokes(strokes, rendering.pen_px)
        return Drawing(image, strokes, _trail(image, strokes, rendering))
    assert rng is not None
    symbols = [indices for indices in expression.ink if indices]
    bent = bend(normalized_strokes(raw), symbols, rng, augmentation)
    own = np.exp(rng.normal(0, _OWN_SCALE))
    strokes = normalized_strokes(bent, rendering.symbol_px * scale * own)
    if augmentation.shift:
        shift = rng.uniform(-augmentation.shift, augmentation.shift, 2)
        strokes = [stroke + shift for stroke in strokes]
    image = draw_strokes(strokes, _pen(augmentation, rng, rendering))
    told = _told(strokes, augmentation, rng) if rendering.trail else strokes
    return Drawing(image, strokes, _trail(image, told, rendering))


def _told(
    strokes: list[NDArray[np.float64]], augmentation: Augmentation, rng: Generator
) -> list[NDArray[np.float64]]:
    """The strokes as they were written, some of them from their end, or none, as of an image."""
    if rng.random() < augmentation.untraced:
        return []
    turned = rng.random(len(strokes)) < augmentation.backwards
    return [stroke[::-1] if each else stroke for stroke, each in zip(strokes, turned, strict=True)]


def _trail(
    image: NDArray[np.uint8], strokes: Sequence[NDArray[np.float64]], rendering: Rendering
) -> NDArray[np.uint8] | None:
    """What a recognizer sees beside the image; it is blank where no strokes are known."""
    if not rendering.trail:
        return None
    if not strokes:
        return np.zeros((rendering.channels - 1, *image.shape), np.uint8)
    return pen_trail(strokes, *image.shape)


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
    written = [vocabulary.written(expression.caption) for expression in expressions]
    steps = 1 + max(map(len, written))
    count = len(expressions)
    trail = drawings[0].trail
    channels = 1 if trail is None else 1 + len(trail)
    images = np.zeros((count, channels, height, width), np.uint8)
    inputs = np.full((count, DIRECTIONS, steps), vocabulary.pad, np.int64)
    targets = np.full((count, DIRECTIONS, steps), vocabulary.pad, np.int64)
    ink = np.zeros((count, steps, (height // CELL) * (width // CELL)), np.float16)
    mirror = np.full((count, steps), steps - 1, np.int64)
    for row, (expression, drawing) in enumerate(zip(expressions, drawings, strict=True)):
        rows, columns = drawing.image.shape
        images[row, 0, :rows, :columns] = drawing.image
        if drawing.trail is not None:
            images[row, 1:, :rows, :columns] = drawing.trail
        numbers = vocabulary.encode(expression.caption)
        length = len(numbers)
        inputs[row, 0, : length + 1] = [vocabulary.sos, *numbers]
        targets[row, 0, : length + 1] = [*numbers, vocabulary.eos]
        inputs[row, 1, : length + 1] = [vocabulary.eos, *numbers[::-1]]
        targets[row, 1, : length + 1] = [*numbers[::-1], vocabulary.sos]
        of_tokens = [expression.ink[place] for place in written[row]]
        ink[row, :length] = ink_in_cells(drawing, of_tokens, height, width)
        mirror[row, :length] = np.arange(length - 1, -1, -1)
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(inputs),
        torch.from_numpy(targets),
        torch.from_numpy(ink),
        torch.from_numpy(mirror),
        _parts([1 + len(each) for each in written], _inked(images[:, :1])),
    )


def _parts(tokens: Sequence[int], cells: NDArray[np.int64]) -> tuple[Part, ...]:
    """As many rows in each; the better where rows of about the same length stand together."""
    rows = np.array_split(np.arange(len(tokens)), min(_PARTS, len(tokens)))
    return tuple(
        Part(
            slice(int(each[0]), int(each[-1]) + 1),
            max(tokens[row] for row in each),
            _ceil(max(int(cells[each].max()), 1), _ALIGNED),
        )
        for each in rows
    )


def _inked(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many cells of each of the images [b, channels, h, w] hold ink, as
    `transformer_recognizer.holds_ink` has it.

    It gives tensors their shapes: asked of an accelerator, it would be an answer to wait for.
    """
    count, _, height, width = images.shape
    rows = images.reshape(count, height // CELL, CELL, width).max(axis=2)
    cells = rows.reshape(count, -1, CELL).max(axis=2) >= INK_THRESHOLD * 255
    counts: NDArray[np.int64] = cells.sum(axis=1)
    return counts


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
