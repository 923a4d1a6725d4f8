"""Other hands for the same formula: strokes are bent before they are drawn, images as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..core.errors import DataError
from ..core.rendering import MARGIN_PX, MAX_SIDE_PX
from .settings import added, check_weights

FloatArray = NDArray[np.float64]
ByteImage = NDArray[np.uint8]

# Images are turned at twice their size, where a filter of three pixels is one pixel of the
# rendering, and a pen of the common width still has a core after it.
_SUPERSAMPLING = 2
_THINNEST = -0.5  # share of that pixel that may be taken from a pen
_INK = 32  # of 255: paler is the blur of an edge


@dataclass(frozen=True)
class Augmentation:
    """How far ink may be bent. Each value is a standard deviation or a range, as said.

    Of an image, whose strokes nobody knows, only scale, aspect, rotation, shear and pen change.

    Attributes:
        scale: the size is multiplied by exp(uniform(-scale, scale)).
        aspect: likewise for width against height.
        rotation: standard deviation, in degrees.
        shear: standard deviation of the slant, x += shear * y.
        symbol: standard deviation of the scale of each symbol by itself; its shift is half
            of that, in symbol sizes, its rotation 40 times that, in degrees.
        warp: amplitude of a smooth wave through the line, in typical heights.
        jitter: standard deviation of every point, in pixels where a symbol has `SYMBOL_PX`.
        pen: range of the width of the pen, in pixels where the rendering's has `PEN_PX`.
        splices: share of the formulas that are spliced with another, of those that can be.
        synthetic: share of the formulas of an epoch in whose place stand new ones, made of the
            symbols of all (see `synthesis`); none where no symbols are known.
        shift: the ink is moved by uniform(-shift, shift) pixels in both directions, to the margin
            of the rendering at most: a recognizer is not to count on where its cells begin.
        untraced: share of the formulas whose pen left no trail, as in an image; where a recognizer
            sees trails.
        backwards: of the others, share of the strokes that seem to be written from their end.
    """

    scale: float = 0.25
    aspect: float = 0.18
    rotation: float = 2.5
    shear: float = 0.12
    symbol: float = 0.07
    warp: float = 0.12
    jitter: float = 0.15
    pen: tuple[float, float] = (1.2, 2.6)
    splices: float = 0.4
    synthetic: float = added(0.0, before=0.0)
    shift: float = added(0.0, before=0.0)
    untraced: float = added(0.2, before=0.0)
    backwards: float = added(0.0, before=0.0)

    def __post_init__(self) -> None:
        for name in ("splices", "synthetic", "untraced", "backwards"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"{name} must be a share from 0 to 1, found {getattr(self, name)}")
        check_weights(self, "scale", "aspect", "rotation", "shear", "symbol", "warp", "jitter")
        if not 0 <= self.shift <= MARGIN_PX:
            raise DataError(f"shift must be from 0 to {MARGIN_PX} pixels, found {self.shift}")


def bend(
    strokes: Sequence[FloatArray],
    symbols: Sequence[Sequence[int]],
    rng: Generator,
    augmentation: Augmentation,
) -> list[FloatArray]:
    """Bend ink whose symbols have about `SYMBOL_PX`; its size stays about the same.

    Args:
        strokes: arrays [n, 2] of x and y.
        symbols: the indices of the strokes of each symbol, which are bent together; a stroke of
            two symbols is bent with the latter.
        rng: where the randomness comes from.
        augmentation: how far.
    """
    lengths = [len(stroke) for stroke in strokes]
    points = np.ascontiguousarray(np.concatenate(strokes).T)
    if symbols:
        points = _with_bent_symbols(points, lengths, symbols, rng, augmentation)
    whole = turn(rng, augmentation)
    amplitude = rng.uniform(-augmentation.warp, augmentation.warp, 2) * 16
    phase, wavelength = rng.uniform(0, 2 * np.pi, 2), rng.uniform(60, 300, 2)
    turned = whole @ points
    wave = amplitude[:, None] * np.sin(2 * np.pi * turned[0] / wavelength[:, None] + phase[:, None])
    noise = rng.normal(0, augmentation.jitter, points.T.shape)
    bent = (turned + wave).T + noise
    return [bent[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]


def _with_bent_symbols(
    points: FloatArray,
    lengths: Sequence[int],
    symbols: Sequence[Sequence[int]],
    rng: Generator,
    augmentation: Augmentation,
) -> FloatArray:
    """Each symbol scaled, turned and shifted by itself.

    Args:
        points: x and y, [2, n], of all strokes.
        lengths: how many of them each stroke has.
        symbols: as for `bend`; one at least.
    """
    begins = list(accumulate(lengths[:-1], initial=0))
    order = list(chain.from_iterable(symbols))
    firsts = list(accumulate(map(len, symbols[:-1]), initial=0))
    low = np.minimum.reduceat(points, begins, axis=1)[:, order]
    high = np.maximum.reduceat(points, begins, axis=1)[:, order]
    low = np.minimum.reduceat(low, firsts, axis=1)  # [2, symbols]
    high = np.maximum.reduceat(high, firsts, axis=1)
    centre, size = (low + high) / 2, np.minimum((high - low).max(axis=0), 40.0)
    drawn = rng.standard_normal((len(symbols), 5)).T
    grow = np.exp(augmentation.symbol * drawn[:2])
    angle = np.deg2rad(40 * augmentation.symbol * drawn[2])
    # a long bar turned by a few degrees would leave its place: the longer, the less
    angle *= np.minimum(1.0, 20.0 / np.maximum(size, 1.0))
    shift = augmentation.symbol / 2 * drawn[3:] * np.minimum(size, 16.0)
    own = _rotation(angle) * grow  # [2, 2, symbols]

    symbol_of_stroke = np.full(len(lengths), -1)
    for number, indices in enumerate(symbols):
        symbol_of_stroke[list(indices)] = number
    symbol_of = symbol_of_stroke.repeat(lengths)  # [n]
    offset = points - centre.take(symbol_of, axis=1)
    bent = (own.take(symbol_of, axis=2) * offset).sum(axis=1) + (centre + shift).take(symbol_of, 1)
    return np.where(symbol_of >= 0, bent, points)


def turn(rng: Generator, augmentation: Augmentation) -> FloatArray:
    """[2, 2]: what rotation, shear and aspect do to a point (x, y) of a formula."""
    aspect = np.exp(rng.uniform(-augmentation.aspect, augmentation.aspect) / 2)
    whole = _rotation(np.deg2rad(rng.normal(0, augmentation.rotation)))
    whole = whole @ np.array([[1.0, rng.normal(0, augmentation.shear)], [0.0, 1.0]])
    turned: FloatArray = whole @ np.diag([aspect, 1 / aspect])
    return turned


def bend_image(
    image: ByteImage, drawn_px: float, whole: FloatArray, pen_px: float | None = None
) -> ByteImage:
    """Turn and scale the drawing of a formula, and change its pen a little.

    Args:
        image: uint8 [h, w], ink bright on 0.
        drawn_px: width of the pen that it was drawn with, about.
        whole: [2, 2], what becomes of a point (x, y).
        pen_px: width that the pen is to come near to, in pixels; None leaves what scaling gives.

    Returns:
        uint8 [h', w'], the ink in the margin of the rendering, at most about `MAX_SIDE_PX` long.
    """
    height, width = image.shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    extent = np.ptp(corners @ whole.T, axis=0)
    whole = whole * min(1.0, MAX_SIDE_PX / float(extent.max()))
    low = (corners @ whole.T).min(axis=0)
    columns, rows = np.ceil(np.ptp(corners @ whole.T, axis=0) * _SUPERSAMPLING).astype(int) + 1
    back = np.linalg.inv(whole)
    (a, b), (d, e) = back / _SUPERSAMPLING
    c, f = back @ low
    drawn = Image.fromarray(image).transform(
        (int(columns), int(rows)),
        Image.Transform.AFFINE,
        (a, b, c, d, e, f),
        Image.Resampling.BILINEAR,
    )
    scaled_px = drawn_px * float(np.sqrt(abs(np.linalg.det(whole))))
    if pen_px is not None:
        change = pen_px - scaled_px
        pen = ImageFilter.MaxFilter(3) if change > 0 else ImageFilter.MinFilter(3)
        share = min(abs(max(change, _THINNEST)), 1.0)
        drawn = Image.blend(drawn, drawn.filter(pen), share)
    return _in_margin(np.asarray(drawn.reduce(_SUPERSAMPLING)), pen_px or scaled_px)


def _in_margin(image: ByteImage, pen_px: float) -> ByteImage:
    """The ink with as much paper around it as the rendering leaves; as it is without ink."""
    ink = image >= _INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return image
    cropped = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(cropped, max(MARGIN_PX - round(pen_px / 2), 0))


def _rotation(angle: float | FloatArray) -> FloatArray:
    """[2, 2], or of n angles [2, 2, n]"""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
