"""The trail of a pen: what its drawing does not show, in channels beside it.

Where strokes cross, which of them goes which way, and where the pen came from: a drawing leaves
this to be guessed, ink tells it. Recognizers of ink that read points one after the other have it
(Zhang et al., 2019, TAP); here it is drawn where the pen went, so that one convolutional encoder
sees both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHANNELS = 3
"""Of a trail: how far along its stroke a point is, and the direction of the pen, x and y."""

_STEP_PX = 0.75  # between two points of a trail
_REACH = 3  # points before and after, between which the direction is taken
_WORD = 4  # bytes, of which the first `CHANNELS` are a pixel's: one number is quickly moved


def pen_trail(strokes: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.uint8]:
    """Draw where the pen went, and how.

    Args:
        strokes: arrays [n, 2] of x and y in pixels, as for `rendering.draw_strokes`.
        height, width: of the drawing.

    Returns:
        uint8 [CHANNELS, height, width]. 0 where the pen was not; 1 to 255 where it was, of the
        last stroke there: from 0 to 1 along the stroke; -1 to 1 of what has a sign.
    """
    x, y, first, last = _evenly(strokes)
    numbers = np.arange(len(x))
    before, after = np.maximum(numbers - _REACH, first), np.minimum(numbers + _REACH, last)
    dx, dy = x[after] - x[before], y[after] - y[before]
    unit = 127 / np.maximum(np.hypot(dx, dy), 1e-6)
    seen = np.zeros((len(x), _WORD), np.uint8)
    seen[:, 0] = np.rint(1 + 254 * (numbers - first) / np.maximum(last - first, 1))
    seen[:, 1] = np.rint(128 + dx * unit)
    seen[:, 2] = np.rint(128 + dy * unit)
    # the four pixels around a point
    left, top = ((each - 0.5).astype(np.int64) for each in (x, y))
    corner = np.clip(top, 0, height - 2) * width + np.clip(left, 0, width - 2)
    pixels = (corner[:, None] + np.array([0, 1, width, width + 1])).ravel()
    words = np.zeros(height * width, np.uint32)
    words[pixels] = seen.view(np.uint32).ravel().repeat(4)  # of several at one pixel the last
    return words.view(np.uint8).reshape(height, width, _WORD).transpose(2, 0, 1)[:CHANNELS]


def _evenly(
    strokes: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Points at even distances along strokes, of a dot one.

    Returns:
        float64 [m] twice, their x and y; int64 [m] twice, which is the first point of their stroke,
        and which the last
    """
    sizes = np.array([len(stroke) for stroke in strokes])
    ends = np.cumsum(sizes) - 1
    begins = ends - sizes + 1
    x, y = np.ascontiguousarray(np.concatenate(strokes).T)  # numpy is slow along columns
    moved = np.hypot(np.diff(x), np.diff(y))
    moved[begins[1:] - 1] = 0  # the pen is up
    drawn = np.concatenate([[0.0], np.cumsum(moved)])
    lengths = drawn[ends] - drawn[begins]
    counts = np.ceil(lengths / _STEP_PX).astype(np.int64) + 1
    # strictly growing: a little more from point to point and, so that the end of a stroke is told
    # from the beginning of the next, from stroke to stroke
    drawn += 1e-9 * np.arange(len(drawn)) + 1e-3 * np.repeat(np.arange(len(strokes)), sizes)
    made = np.cumsum(counts)
    first, last = (made - counts).repeat(counts), (made - 1).repeat(counts)
    step = lengths / np.maximum(counts - 1, 1)
    where = drawn[begins].repeat(counts) + (np.arange(len(first)) - first) * step.repeat(counts)
    return np.interp(where, drawn, x), np.interp(where, drawn, y), first, last
