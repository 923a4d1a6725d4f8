"""Telling ink from paper: polarity, uneven light, noise and contrast of a gray image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import InputError

ByteImage = NDArray[np.uint8]
FloatImage = NDArray[np.float32]

MIN_SIDE = 3
"""Pixels that both sides of an image must have."""
MIN_CONTRAST, MIN_CONTRAST_NOISY = 0.03, 0.08
"""How much less light than the paper ink must reflect to count, as a share of the paper's."""
MIN_LEVELS = 5
"""By how many gray levels ink must differ from the paper, however dark that is."""

_PATCHES = 24  # of paper along the longer side
_MIN_PATCH_PX = 16
_PAPER_QUANTILE = 0.8  # of a patch is paper even where ink covers most of it
_EVEN_LIGHT = 2  # gray levels between the patches
_PATCH_SAMPLES = 4096
_SAMPLES = 1 << 18
_SIGNIFICANT = 5.0  # standard deviations of the noise
_FLOOR = 0.6  # of the threshold is taken for paper
_LEAST_NOISY = 12  # pixels that must stand out of noise
_RINGING = 0.04  # of the ink's depth: lossy compression leaves less than that around strokes

_NO_INK = "expected ink on paper, found no ink; check that the page is written, exposure and focus"


def find_ink(gray: ByteImage) -> ByteImage:
    """Tell ink from paper.

    The paper is the majority, or what touches the border where light and dark are about even.
    Its brightness is estimated patch by patch and divided out (ink is what reflects less light
    than the paper around it), noise is cut off, and the darkest ink becomes 255.

    Args:
        gray: uint8 [h, w], 0 black to 255 white, ink dark or light.

    Returns:
        uint8 [h, w], ink up to 255, paper 0: gray itself or 255 - gray for a clean drawing that
        uses the whole range; the same for gray and for 255 - gray.

    Raises:
        InputError: a side shorter than `MIN_SIDE`, or nothing that stands out from the paper as
            strokes do.
    """
    height, width = gray.shape
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"expected an image of {MIN_SIDE} x {MIN_SIDE} pixels or more, found "
            f"{width} x {height}; check the source"
        )
    if gray.min() == gray.max():
        raise InputError(_NO_INK)
    dark = ~gray if _is_ink_light(gray) else gray
    paper = _paper(dark)
    excess = paper - dark.astype(np.float32)  # of the paper's light over the pixel's
    depth = _depth_in_noise(excess, paper) if _noise(excess) > 0 else _depth_drawn(excess, paper)
    depth *= 255
    ink: ByteImage = np.rint(np.clip(depth, 0, 255, out=depth), out=depth).astype(np.uint8)
    return ink


def _depth_drawn(excess: FloatImage, paper: FloatImage) -> FloatImage:
    """Share of the darkest ink's depth, for paper without noise: [h, w], <= 0 on paper."""
    if not _is_drawn(excess > np.maximum(MIN_CONTRAST * paper, MIN_LEVELS)):
        raise InputError(_NO_INK)
    excess /= paper
    excess /= excess.max()
    faint = np.count_nonzero((excess > 0) & (excess <= _RINGING))
    if faint > 0.25 * np.count_nonzero(excess > _RINGING):
        excess -= np.float32(_RINGING)
        excess /= np.float32(1 - _RINGING)
    return excess


def _depth_in_noise(excess: FloatImage, paper: FloatImage) -> FloatImage:
    """The same for a photograph or scan; values above 1 are ink, too."""
    excess = _smooth(excess)
    excess -= np.median(_sample(excess))  # in noise the quantile lies above the paper
    least_levels = max(MIN_LEVELS, _SIGNIFICANT * _noise(excess))
    threshold = np.maximum(MIN_CONTRAST_NOISY * paper, least_levels)
    strong = excess > threshold
    least_pixels = max(_LEAST_NOISY, excess.size // 50_000)
    if np.count_nonzero(strong) < least_pixels or not _is_drawn(strong):
        raise InputError(_NO_INK)
    excess -= _FLOOR * threshold
    excess /= paper
    excess /= np.quantile(excess[strong], 0.9)
    return excess


def _is_ink_light(gray: ByteImage) -> bool:
    """Whether the ink is brighter than the paper; exactly opposite for 255 - gray.

    What deviates most from the local median is ink, to the side where more of it lies.
    """
    step = max(1, math.isqrt(gray.size // _SAMPLES))
    gray = gray[::step, ::step]
    patch = max(gray.shape) if _is_two_valued(gray) else max(64, -(-max(gray.shape) // 8))
    medians = np.pad(_patches(gray, patch, 0.5), 1, mode="edge")
    smooth = np.median(_windows(medians), axis=(2, 3))
    deviation = gray - _spread(smooth, patch, gray.shape)
    threshold = 0.25 * np.abs(deviation).max()
    light, dark = deviation > threshold, deviation < -threshold
    cubes = deviation**3  # ink deviates more than shadows, which may be larger
    is_light = bool(cubes[light].sum() > -cubes[dark].sum())
    ink = light if is_light else dark
    if ink.mean() > 0.35:
        border = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
        is_light ^= bool(border.mean() > 0.5)
    return is_light


def _paper(dark: ByteImage) -> FloatImage:
    """Brightness of the paper under dark ink: float32, >= 1, [h, w] or [1, 1] in even light."""
    if _is_two_valued(dark):
        return np.full((1, 1), dark.max(), np.float32)
    patch = max(_MIN_PATCH_PX, -(-max(dark.shape) // _PATCHES))
    patches = _closed(_patches(dark, patch, _PAPER_QUANTILE))
    if np.ptp(patches) <= _EVEN_LIGHT:
        return np.full((1, 1), max(1, np.median(patches)), np.float32)
    paper: FloatImage = np.maximum(_spread(patches, patch, dark.shape), 1)
    return paper


def _is_two_valued(gray: ByteImage) -> bool:
    return bool(((gray == gray.min()) | (gray == gray.max())).all())


def _patches(gray: ByteImage, patch: int, quantile: float) -> FloatImage:
    """A quantile of each patch x patch square: float32 [rows, columns]."""
    rows, columns = -(-gray.shape[0] // patch), -(-gray.shape[1] // patch)
    step = max(1, math.isqrt(patch * patch // _PATCH_SAMPLES))
    values = np.empty((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            square = gray[
                row * patch : (row + 1) * patch : step, column * patch : (column + 1) * patch : step
            ]
            rank = int(quantile * (square.size - 1))
            values[row, column] = np.partition(square, rank, axis=None)[rank]
    return values


def _closed(patches: FloatImage) -> FloatImage:
    """The minimum of the maximum over 3 x 3: a patch that is all ink takes on the paper around."""
    # Light that falls off goes on falling off outside, or the corners would be taken as too bright.
    padded = np.minimum(np.pad(patches, 2, mode="reflect", reflect_type="odd"), patches.max())
    closed: FloatImage = _windows(_windows(padded).max(axis=(2, 3))).min(axis=(2, 3))
    return closed


def _windows(values: FloatImage) -> FloatImage:
    """All 3 x 3 windows: [h, w] -> [h - 2, w - 2, 3, 3]."""
    return np.lib.stride_tricks.sliding_window_view(values, (3, 3))


def _spread(patches: FloatImage, patch: int, shape: tuple[int, ...]) -> FloatImage:
    """Interpolate between the centres of patches, and beyond the outermost: float32 [h, w]."""
    height, width = shape
    # One patch more on every side, on the straight line through the last two.
    padded = np.pad(patches, 1, mode="reflect", reflect_type="odd")
    box = (1, 1, 1 + width / patch, 1 + height / patch)
    spread = Image.fromarray(padded).resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(spread)


def _sample(depth: FloatImage) -> FloatImage:
    step = max(1, math.isqrt(depth.size // _SAMPLES))
    return depth[::step, ::step]


def _noise(depth: FloatImage) -> float:
    """Standard deviation of the paper, from the median deviation: ink does not move it."""
    sample = _sample(depth)
    return float(1.4826 * np.median(np.abs(sample - np.median(sample))))


def _smooth(depth: FloatImage) -> FloatImage:
    """[1 2 1] / 4 along both axes: leaves 3/8 of white noise and 3/4 of a stroke of 2 pixels."""
    for axis in (0, 1):
        edge = [(0, 0), (0, 0)]
        edge[axis] = (1, 1)
        padded = np.moveaxis(np.pad(depth, edge, mode="edge"), axis, 0)
        smooth = padded[1:-1] / np.float32(2)
        smooth += (padded[:-2] + padded[2:]) / np.float32(4)
        depth = np.moveaxis(smooth, 0, axis)
    return np.ascontiguousarray(depth)


def _is_drawn(ink: NDArray[np.bool_]) -> bool:
    """Whether pixels hang together as strokes do, rather than lie scattered as specks do."""
    count = np.count_nonzero(ink)
    if count == 0:
        return False
    pairs = (
        np.count_nonzero(ink[:, 1:] & ink[:, :-1])
        + np.count_nonzero(ink[1:] & ink[:-1])
        + np.count_nonzero(ink[1:, 1:] & ink[:-1, :-1])
        + np.count_nonzero(ink[1:, :-1] & ink[:-1, 1:])
    )
    # The share of ink pixels whose neighbour is ink: in scattered specks it is the share of all.
    together = pairs / (4 * count)
    return bool(together > max(0.1, min(0.8, 1.5 * count / ink.size)))
