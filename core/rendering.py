"""The recognizer's own view of a formula: one scale, one pen, whatever it was written with.

A formula is scaled so that its typical stroke has one height and drawn with a pen of one width,
anti-aliased, so that one pixel of the encoder's input means the same everywhere. Both are the
recognizer's own: a `Rendering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .components import component_boxes
from .dilation import dilated, largest_in_windows
from .errors import InputError
from .trail import CHANNELS, pen_trail

SYMBOL_PX = 16.0
PEN_PX = 1.75
MARGIN_PX = 8
"""Blank paper on every side, in pixels of the rendering."""
MAX_SIDE_PX = 2048
"""A formula whose rendering would be longer is drawn smaller."""

_LARGEST_PX = 256.0
_SUPERSAMPLING = 4
_FLAT = 0.1
_LEAST = 1e-300  # what is smaller is a dot: its reciprocal would be infinite
_INK = 96
_WIDEST_PEN = 4.0 / 1.75  # for each of the rendering's pen: the widest that `edge` is trained with

FloatArray = NDArray[np.float64]
ByteImage = NDArray[np.uint8]


@dataclass(frozen=True)
class Rendering:
    """How large a recognizer sees a formula.

    Attributes:
        symbol_px: height of a typical stroke, in pixels.
        pen_px: width of the pen, in pixels.
        trail: whether it sees, beside the drawing of ink, the trail of the pen; of an image,
            whose pen nobody knows, it is blank.

    Raises:
        InputError: one of them is not above 0 and at most 256.
    """

    symbol_px: float = SYMBOL_PX
    pen_px: float = PEN_PX
    trail: bool = False

    def __post_init__(self) -> None:
        for name in ("symbol_px", "pen_px"):
            value = getattr(self, name)
            if not 0 < value <= _LARGEST_PX:
                raise InputError(
                    f"expected a {name} above 0 and at most {_LARGEST_PX:g}, found {value}"
                )

    @property
    def channels(self) -> int:
        """What a pixel has: the drawing, and the trail's where it is seen."""
        return 1 + CHANNELS * self.trail


DEFAULT_RENDERING = Rendering()
CANONICAL = Rendering(28.0, 3.0)
"""That of the published bitmaps of CROHME, and so of most published recognizers."""


def typical_height(widths: FloatArray, heights: FloatArray) -> float:
    """The mean height of the strokes (or connected parts) that are not flat.

    A part is flat when it is less than 0.1 times as high as the highest one: bars, dots and
    minus signs say nothing of the scale. Where all parts are flat (a lone minus sign), their
    mean width is taken.

    Args:
        widths, heights: [n] extents of the parts, in any one unit.

    Returns:
        The typical height in that unit; 1.0 where there is no extent at all (a single dot).
    """
    flat = (heights <= 0.2 * widths).all()
    chosen = widths if flat else heights[heights > _FLAT * heights.max()]
    typical = float(chosen.sum()) / len(chosen)
    return typical if typical > _LEAST else 1.0


def normalized_strokes(
    strokes: Sequence[FloatArray], symbol_px: float = SYMBOL_PX
) -> list[FloatArray]:
    """The strokes moved and scaled to pixels of the rendering.

    Args:
        strokes: arrays [n, 2] of x (right) and y (down), in the recorder's units.
        symbol_px: height that the typical stroke gets, in pixels.

    Returns:
        Arrays [n, 2] in pixels; the least x and y are `MARGIN_PX`.

    Raises:
        InputError: there is no stroke, or the coordinates span no finite range.
    """
    points, ends = _normalized(strokes, symbol_px)
    return [points[begin:end] for begin, end in pairwise(ends)]


def drawn_size(strokes: Sequence[FloatArray]) -> tuple[int, int]:
    """Height and width of the image that `draw_strokes` makes of these strokes."""
    return _drawn_size(_limits(np.concatenate(strokes))[1])


def draw_strokes(strokes: Sequence[FloatArray], pen_px: float = PEN_PX) -> ByteImage:
    """Draw strokes that are in pixels already, anti-aliased.

    Args:
        strokes: arrays [n, 2] of x and y in pixels, as `normalized_strokes` gives them.
        pen_px: width of the pen, in pixels.

    Returns:
        uint8 [h, w], ink 255 on 0, with `MARGIN_PX` of paper to the right and below.
    """
    return _drawn(*_joined(strokes), pen_px)


def render_ink(
    strokes: Sequence[FloatArray], rendering: Rendering = DEFAULT_RENDERING
) -> ByteImage:
    """Draw ink at the scale and with the pen of a recognizer.

    Args:
        strokes: arrays [n, 2] of x (right) and y (down), in any unit.
        rendering: the recognizer's.

    Returns:
        uint8 [h, w], ink 255 on 0.

    Raises:
        InputError: as `normalized_strokes`.
    """
    return _drawn(*_normalized(strokes, rendering.symbol_px), rendering.pen_px)


def ink_channels(strokes: Sequence[FloatArray], rendering: Rendering) -> ByteImage:
    """All that a recognizer sees of ink: uint8 [channels, h, w], the first as `render_ink` draws
    it, the others `pen_trail`'s; raises as `render_ink`."""
    if not rendering.trail:
        return render_ink(strokes, rendering)[None]
    placed = normalized_strokes(strokes, rendering.symbol_px)
    image = draw_strokes(placed, rendering.pen_px)
    return np.concatenate([image[None], pen_trail(placed, *image.shape)])


def normalize_image(image: ByteImage, rendering: Rendering = DEFAULT_RENDERING) -> ByteImage:
    """Bring a drawing of any size and pen to the scale and pen of a recognizer.

    The connected parts of the drawing stand in for the strokes of ink: their typical height is
    scaled to that of the rendering. A pen that would come out much thinner or thicker than those
    the recognizer was trained on is widened or narrowed first.

    Args:
        image: uint8 [h, w], ink bright on 0, as `load_image` gives it.
        rendering: the recognizer's.

    Returns:
        uint8 [h, w], ink 255 on 0, with `MARGIN_PX` of paper around the pen's path.

    Raises:
        InputError: there is no ink in the image.
    """
    ink = image >= _INK
    boxes = component_boxes(ink)
    if len(boxes) == 0:
        raise InputError(
            f"expected an image with ink on it, found none in {image.shape[1]} x "
            f"{image.shape[0]} pixels; check that the formula is in the picture"
        )
    pen = _pen_width(ink)
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    paths = np.maximum(boxes[:, 2:] - boxes[:, :2] - pen, 0.0)
    scale = rendering.symbol_px / typical_height(paths[:, 0], paths[:, 1])
    scale = min(scale, MAX_SIDE_PX / max(right - left, bottom - top))
    around = int(np.ceil(pen)) + max(round(rendering.pen_px / scale), 1)
    cropped = np.pad(image[top:bottom, left:right], around)
    # the rendering's pen is a square, whose lines are 4/pi times as wide as its sides on average
    cropped = _with_pen(cropped, pen * np.pi / 4, rendering.pen_px / scale)
    size = [max(round(side * scale), 1) for side in cropped.shape]
    # of a drawing in black and white, means of one pixel or two (BOX) would move its edges
    resampling = Image.Resampling.HAMMING if scale < 1 else Image.Resampling.BICUBIC
    scaled = Image.fromarray(cropped).resize((size[1], size[0]), resampling)
    margin = MARGIN_PX - round((around + pen / 2) * scale)
    return _framed(np.asarray(scaled), margin)


def _pen_width(ink: NDArray[np.bool_]) -> float:
    """The width of the pen in pixels: the area of a line is its length times the pen's width,
    and its outline, counted in sides of pixels, is 4/pi times twice its length on average."""
    padded = np.pad(ink, 1).astype(np.int8)
    sides = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    return float(max(2 * ink.sum() / sides * 4 / np.pi, 1.0))


def _with_pen(image: ByteImage, pen: float, wanted: float) -> ByteImage:
    """Widen or narrow a pen that is far from the wanted one, both in pixels of this image."""
    wider = round(wanted - pen)
    if wider >= 1:
        return dilated(image, wider + 1)
    narrower = min(round(pen - _WIDEST_PEN * wanted), round(pen - 2))
    if narrower >= 1:
        return 255 - dilated(255 - image, narrower + 1)
    return image


def _framed(image: ByteImage, margin: int) -> ByteImage:
    """Add a margin of paper, or take one away where it is negative."""
    if margin >= 0:
        return np.pad(image, margin)
    return image[-margin : image.shape[0] + margin, -margin : image.shape[1] + margin]


def _normalized(strokes: Sequence[FloatArray], symbol_px: float) -> tuple[FloatArray, list[int]]:
    """As `normalized_strokes`, all points together, and where strokes begin and the last ends."""
    if not strokes:
        raise InputError("expected ink with at least one stroke, found none; write something")
    points, ends = _joined(strokes)
    axes = np.ascontiguousarray(points.T)  # numpy is slow along columns
    low = np.minimum.reduceat(axes, ends[:-1], axis=1)  # [2, strokes]
    high = np.maximum.reduceat(axes, ends[:-1], axis=1)
    origin = low.min(axis=1)
    sides = zip(high.max(axis=1).tolist(), origin.tolist(), strict=True)
    width, height = (most - least for most, least in sides)
    if not (isfinite(width) and isfinite(height)):
        raise InputError(
            f"expected ink of a finite extent, found {width:g} x {height:g}; "
            "remove the points that lie far outside"
        )
    sizes = high - low
    scale = symbol_px / typical_height(sizes[0], sizes[1])
    if max(width, height) * scale > MAX_SIDE_PX:
        scale = MAX_SIDE_PX / max(width, height)
    return (points - origin) * scale + MARGIN_PX, ends


def _drawn(points: FloatArray, ends: Sequence[int], pen_px: float) -> ByteImage:
    """As `draw_strokes`, of the points of all strokes together."""
    limits = _limits(points)
    image = np.zeros(_drawn_size(limits[1]), np.uint8)
    corners = (points * _SUPERSAMPLING).astype(np.int32)
    size = max(round(pen_px * _SUPERSAMPLING), 1)
    before, after = size // 2, (size - 1) // 2
    # only the pixels that the pen touches
    (left, top), (right, bottom) = (limits * _SUPERSAMPLING).astype(np.int32).tolist()
    left, top = (max(each - after, 0) // _SUPERSAMPLING for each in (left, top))
    right, bottom = ((each + before) // _SUPERSAMPLING + 1 for each in (right, bottom))
    touched = image[top:bottom, left:right]
    height, width = (side * _SUPERSAMPLING for side in touched.shape)
    # the windows of the last pixels end beyond them; four bytes are one number in `_shades`
    canvas = Image.new("L", (width + -(-size // 4) * 4, height + size))
    pen = ImageDraw.Draw(canvas)
    corners += before - np.array([left, top], np.int32) * _SUPERSAMPLING
    path = corners.ravel().tolist()
    for begin, end in pairwise(ends):
        if end - begin == 1:
            pen.point(path[2 * begin : 2 * end], fill=1)
        else:
            pen.line(path[2 * begin : 2 * end], fill=1)
    windows = largest_in_windows(np.asarray(canvas), size)
    touched[:] = _shades(windows)[:, : touched.shape[1]]
    return image


def _joined(strokes: Sequence[FloatArray]) -> tuple[FloatArray, list[int]]:
    """All points, [n, 2], and where strokes begin and the last one ends: one call on all points
    takes the time of one on a few."""
    return np.concatenate(strokes), list(accumulate(map(len, strokes), initial=0))


def _limits(points: FloatArray) -> FloatArray:
    """The least and the greatest x and y of points [n, 2]: [2, 2]"""
    axes = np.ascontiguousarray(points.T)  # numpy is slow along columns
    return np.array([axes.min(axis=1), axes.max(axis=1)])


def _drawn_size(most: FloatArray) -> tuple[int, int]:
    """Height and width of the image of points whose greatest x and y these are."""
    right, bottom = most.tolist()
    return int(bottom) + 1 + MARGIN_PX, int(right) + 1 + MARGIN_PX


def _shades(ink: ByteImage) -> NDArray[np.uint32]:
    """The mean of every 4 x 4 pixels, times 255; ink is 1 on 0.

    Four pixels side by side are added up as the bytes of one number.
    """
    words = ink.view(np.uint32).reshape(len(ink) // 4, 4, -1)
    shades: NDArray[np.uint32] = words.sum(axis=1, dtype=np.uint32)
    shades *= 0x01010101
    shades >>= 20  # 16 times the sum of the four bytes; what was below does not reach so far
    shades -= shades > 128  # 255 / 16 of the sum, rounded
    return shades
