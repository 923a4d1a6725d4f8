"""The trail of a pen: what its drawing does not show, in channels beside it.

Where strokes cross, which of them goes which way, and what was written together: a drawing leaves
this to be guessed, ink tells it. Recognizers of ink that read points one after the other have it
(Zhang et al., 2019, TAP); here it is drawn where the pen went, so that one convolutional encoder
sees both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHANNELS = 5
"""Of a trail: how far along its stroke a point is; the direction of the pen, x and y; and the
number of its stroke as a place on a circle, x and y."""

_STEP_PX = 0.75  # between two points of a trail
_REACH = 3  # points before and after, between which the direction is taken
_ROUND = 5  # strokes once around the circle, so that those written one after the other differ
_PEN = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # the pixels that a point fills, x and y


def pen_trail(strokes: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.uint8]:
    """Draw where the pen went, and how.

    Args:
        strokes: arrays [n, 2] of x and y in pixels, as for `rendering.draw_strokes`.
        height, width: of the drawing.

    Returns:
        uint8 [CHANNELS, height, width]. 0 where the pen was not; 1 to 255 where it was, of the
        last stroke there: from 0 to 1 along the stroke; -1 to 1 of what has a sign.
    """
    points, stroke, along = _evenly(strokes)
    numbers = np.arange(len(points))
    first, end = (np.searchsorted(stroke, stroke, side) for side in ("left", "right"))
    before, after = np.maximum(numbers - _REACH, first), np.minimum(numbers + _REACH, end - 1)
    direction = points[after] - points[before]
    direction /= np.maximum(np.hypot(direction[:, 0], direction[:, 1]), 1e-6)[:, None]
    place = stroke % _ROUND * (2 * np.pi / _ROUND)
    signed = np.stack([*direction.T, np.cos(place), np.sin(place)])
    values = np.rint(1 + 254 * np.vstack([along[None], (1 + signed) / 2])).astype(np.uint8)
    trail = np.zeros((CHANNELS, height, width), np.uint8)
    corners = np.floor(points - 0.5).astype(np.int64)
    pixels = (corners[:, None] + _PEN).reshape(-1, 2)
    x, y = np.clip(pixels[:, 0], 0, width - 1), np.clip(pixels[:, 1], 0, height - 1)
    trail[:, y, x] = values.repeat(len(_PEN), axis=1)  # of several at one pixel the last
    return trail


def _evenly(
    strokes: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Points at even distances along strokes, of a dot one.

    Returns:
        float64 [m, 2]; int64 [m], the number of their stroke, from 0 on; float64 [m], how much of
        it is drawn by then, 0 to 1
    """
    points = np.concatenate(strokes)
    sizes = np.array([len(stroke) for stroke in strokes])
    ends = np.cumsum(sizes) - 1
    begins = ends - sizes + 1
    moved = np.hypot(*np.diff(points, axis=0).T)
    moved[begins[1:] - 1] = 0  # the pen is up
    drawn = np.concatenate([[0.0], np.cumsum(moved)])
    lengths = drawn[ends] - drawn[begins]
    counts = np.ceil(lengths / _STEP_PX).astype(np.int64) + 1
    # strictly growing: a little more from point to point and, so that the end of a stroke is told
    # from the beginning of the next, from stroke to stroke
    drawn += 1e-9 * np.arange(len(drawn)) + 1e-3 * np.repeat(np.arange(len(strokes)), sizes)
    firsts = np.cumsum(counts) - counts
    stroke = np.repeat(np.arange(len(strokes)), counts)
    share = (np.arange(len(stroke)) - firsts[stroke]) / np.maximum(counts - 1, 1)[stroke]
    where = drawn[begins][stroke] + share * lengths[stroke]
    even = np.stack([np.interp(where, drawn, axis) for axis in points.T], axis=1)
    return even, stroke, share
