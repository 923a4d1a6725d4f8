"""The canonical offline rendering of CROHME: strokes in, the published test bitmap out.

The recipe was recovered by fitting to the 2133 published bitmaps of CROHME 2014 and 2016 and
reproduces 2132 of them bit for bit from the distributed InkML (the one left, UN_124_em_538, was
drawn for a mean height of 107, where its strokes have exactly 108):

1. Coordinates become integers: in files with decimals all are multiplied by 10, 100 or 1000 (as
   many decimals as the file has, three at the most) and rounded.
2. Scale = 28 / int(mean height of the strokes taller than 0.1 x the tallest).
3. Points are scaled in float32, truncated towards zero and shifted to the margin.
4. Polylines of one pixel, Bresenham's, ties broken in the direction of the pen; then a 3 x 3
   dilation. From the outermost points to the edges: 13 pixels left and top, 12 right and bottom.

numpy only: neither Pillow's nor OpenCV's lines break ties in this way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .dilation import dilated
from .errors import InputError
from .ink import FloatArray

IntArray = NDArray[np.int64]
ByteImage = NDArray[np.uint8]

STROKE_HEIGHT = 28  # pixels that a stroke of mean height gets
TALL = 0.1  # strokes at most this share of the tallest (dots, bars) have no say in the scale
MARGIN_BEFORE = 13  # from the left and top edge to the outermost point
MARGIN_AFTER = 12  # from the outermost point to the right and bottom edge
MAX_PIXELS = 64_000_000
MAX_COORDINATE = 1e15
_LEAST_EXTENT = 1e-12  # ink of a smaller extent is a dot
_DECIMAL_UNITS = (1.0, 10.0, 100.0, 1000.0)
_EXACT_FLOAT32 = 2.0**24
_CHUNK = 1 << 20  # line pixels computed at a time


def canonical_bitmap(strokes: Sequence[FloatArray]) -> ByteImage:
    """Draw strokes as the published offline bitmaps of CROHME are drawn.

    Where the recipe says nothing: strokes that are all flat are scaled by their width instead
    of their height, a single dot is not scaled, and a mean height under one unit is not rounded.

    Args:
        strokes: each float [n, 2], n >= 1: x to the right, y down, in the recorder's units.
            Ink read from a file rounded to fewer decimals than the recorder's may come out
            a few pixels different.

    Returns:
        uint8 [h, w], 255 where there is ink, 0 elsewhere.

    Raises:
        InputError: no strokes, a stroke of another shape or with NaN, infinity or coordinates
            above 1e15, or ink so flat and wide that its bitmap would exceed 64 million pixels.
    """
    units = _integer_units(_checked(strokes))
    scale = np.float32(_scale(units))
    points = [np.trunc(stroke.astype(np.float32) * scale) for stroke in units]
    low = np.min([p.min(axis=0) for p in points], axis=0).astype(np.float64)
    high = np.max([p.max(axis=0) for p in points], axis=0).astype(np.float64)
    width, height = high - low + 1 + MARGIN_BEFORE + MARGIN_AFTER
    if width * height > MAX_PIXELS:
        raise InputError(
            f"expected ink whose canonical bitmap has at most {MAX_PIXELS:,} pixels, found "
            f"{width:.4g} x {height:.4g}; check the coordinates for outliers"
        )
    placed = [(p - low).astype(np.int64) + MARGIN_BEFORE for p in points]
    return dilated(draw_polylines(placed, int(height), int(width)), 3)


def draw_polylines(polylines: Sequence[IntArray], height: int, width: int) -> ByteImage:
    """Draw lines of one pixel from point to point, as skimage.draw.line does.

    Along the longer axis a line has one pixel a step; along the shorter one it is rounded to the
    nearest, ties away from the segment's first point (Bresenham, 1965).

    Args:
        polylines: each int64 [n, 2], n >= 1, as x (0..width-1), y (0..height-1). One point is
            drawn as one pixel.
        height: rows of the bitmap.
        width: columns of the bitmap.

    Returns:
        uint8 [height, width], 255 on the lines, 0 elsewhere.
    """
    bitmap = np.zeros((height, width), np.uint8)
    if not polylines:
        return bitmap
    # A polyline of one point is a segment from it to itself.
    start = np.concatenate([p[:-1] if len(p) > 1 else p for p in polylines])
    end = np.concatenate([p[1:] if len(p) > 1 else p for p in polylines])
    steps = np.abs(end - start).max(axis=1)
    ends = np.cumsum(steps + 1)
    first = 0
    while first < len(start):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        here = slice(first, last)
        pixels = _line_pixels(start[here], end[here], steps[here])
        bitmap[pixels[:, 1], pixels[:, 0]] = 255
        first = last
    return bitmap


def _checked(strokes: Sequence[FloatArray]) -> list[FloatArray]:
    if len(strokes) == 0:
        raise InputError("expected ink of one stroke or more, found none; check the source")
    arrays = []
    for index, stroke in enumerate(strokes):
        array = np.asarray(stroke, np.float64)
        if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
            raise InputError(
                f"expected stroke {index} as points [n, 2], n >= 1, found shape {array.shape}; "
                "give each stroke as an array of x, y"
            )
        if not np.isfinite(array).all():
            raise InputError(
                f"expected finite coordinates, found NaN or infinity in stroke {index}; remove it"
            )
        if np.abs(array).max() > MAX_COORDINATE:
            raise InputError(
                f"expected coordinates up to {MAX_COORDINATE:g}, found {np.abs(array).max():g} in "
                f"stroke {index}; check for outliers"
            )
        arrays.append(array)
    return arrays


def _integer_units(strokes: list[FloatArray]) -> list[FloatArray]:
    """The same strokes in the smallest decimal unit they use: whole numbers, still float64."""
    flat = np.concatenate(strokes)
    factor = next((f for f in _DECIMAL_UNITS if _is_whole(flat * f)), _DECIMAL_UNITS[-1])
    units = [np.rint(stroke * factor) for stroke in strokes]
    is_tiny = np.ptp(np.rint(flat * factor), axis=0).max() < STROKE_HEIGHT and factor > 1
    if is_tiny:  # ink in a unit square, say, would be rounded away
        units = strokes
    if is_tiny or np.abs(flat).max() * factor >= _EXACT_FLOAT32:
        # Far from the origin float32 would fold points together. No published file gets here.
        origin = flat.min(axis=0) if is_tiny else np.rint(flat.min(axis=0) * factor)
        units = [unit - origin for unit in units]
    return units


def _is_whole(values: FloatArray) -> bool:
    # Doubles of decimal fractions are off by a few parts in 1e16 of their size.
    off = np.abs(values - np.rint(values))
    return bool((off <= 1e-9 + 1e-14 * np.abs(values)).all())


def _scale(strokes: list[FloatArray]) -> float:
    """Pixels per unit."""
    extents = np.array([np.ptp(stroke, axis=0) for stroke in strokes])
    for sizes in (extents[:, 1], extents[:, 0]):  # heights; widths where all is flat
        if sizes.max() > _LEAST_EXTENT:
            mean = float(sizes[sizes > TALL * sizes.max()].mean())
            return STROKE_HEIGHT / (int(mean) or mean)
    return 1.0


def _line_pixels(start: IntArray, end: IntArray, steps: IntArray) -> IntArray:
    """All pixels of segments: start, end [n, 2] and their numbers of steps [n] -> [pixels, 2]."""
    count = steps + 1
    segment = np.repeat(np.arange(len(steps)), count)
    step = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
    longest = np.maximum(steps, 1)[segment][:, None]
    delta = (end - start)[segment]
    # round(step * |delta| / longest), ties up, in whole numbers
    travelled = (2 * step[:, None] * np.abs(delta) + longest) // (2 * longest)
    pixels: IntArray = start[segment] + np.sign(delta) * travelled
    return pixels
