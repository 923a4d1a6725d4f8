"""Preparation: from handwriting in any form to the encoder's input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import BundleError, InputError
from .image import image_format, load_image
from .ink import Ink
from .ink_file import first_sign, read_ink
from .manifest import Preprocessing
from .rendering import (
    DEFAULT_RENDERING,
    MARGIN_PX,
    Rendering,
    ink_channels,
    normalize_image,
)

PREPROCESSING = "normalised-ink"
"""A procedure that this code knows to prepare images: `ink_channels` and `normalize_image`."""
WITH_TRAIL = "normalised-ink-and-trail"
"""The same for a recognizer that sees the trail of the pen, too."""
MAX_BYTES = 1 << 28
"""A longer file is refused before it is read to its end."""

FloatImages = NDArray[np.float32]
Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | Ink | Image.Image | NDArray[Any] | Sequence[Any]"
)
"""A path; the bytes of a file; ink; a Pillow image; an array, which is an image; or a list of
strokes, each `[n, 2]` of x (right) and y (down)."""


def prepare_image(source: Source, preprocessing: Preprocessing, name: str = "") -> FloatImages:
    """The encoder's input: rendered at the recognizer's scale, padded to the right and below.

    Returns:
        float32 `[1, channels, height, width]`: ink = 1, paper = 0, and the trail of the pen where
        the preprocessing asks for it, blank for an image; height and width are multiples of the
        preprocessing's `multiple`.

    Raises:
        InputError: a source that cannot be read, has no ink, or is too large.
        BundleError: a preprocessing that this version does not know.
    """
    multiple, padding, most = size_limits(preprocessing)
    rendering = rendering_of(preprocessing)
    pixels = _render(source, rendering, name)
    count, *sides = pixels.shape
    height, width = (-(-(side + padding) // multiple) * multiple for side in sides)
    if height * width > most:
        raise InputError(
            f"{_named(source, name)}: expected one formula, of at most {most} pixels at the "
            f"recognizer's scale, found {width} x {height}; cut the page into formulas"
        )
    image = np.zeros((1, rendering.channels, height, width), np.float32)
    drawn = image[0, :count, : sides[0], : sides[1]]
    np.divide(pixels, 255, out=drawn, dtype=np.float32)
    return image


def size_limits(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """What both sides of an image must be a multiple of, the paper added to the right and below
    before that, in pixels, and the most pixels an image may have.

    Raises:
        BundleError: a preprocessing that this version does not know.
    """
    if preprocessing.name not in (PREPROCESSING, WITH_TRAIL):
        raise BundleError(
            f"expected the preprocessing {PREPROCESSING!r} or {WITH_TRAIL!r}, found "
            f"{preprocessing.name!r}: the bundle is for another inktex; upgrade with "
            "`pip install --upgrade inktex`"
        )
    limits = []
    for key, least in (("multiple", 1), ("padding_px", 0), ("max_pixels", 1)):
        value = preprocessing.parameters.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise BundleError(
                f"preprocessing.parameters.{key}: expected a whole number >= {least}, found "
                f"{value!r}; export the bundle again"
            )
        limits.append(value)
    return limits[0], limits[1], limits[2]


def rendering_of(preprocessing: Preprocessing) -> Rendering:
    """The scale and the pen at which the recognizer wants to see a formula, and whether with the
    trail of the pen.

    Raises:
        BundleError: one of them is not a number, or of no use.
    """
    values = {}
    for key in ("symbol_px", "pen_px"):
        value = preprocessing.parameters.get(key, getattr(DEFAULT_RENDERING, key))
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not abs(value) < 1 << 32  # there are whole numbers that no float holds
        ):
            raise BundleError(
                f"preprocessing.parameters.{key}: expected a number of pixels, found "
                f"{value!r:.40}; export the bundle again"
            )
        values[key] = float(value)
    margin = preprocessing.parameters.get("margin_px", MARGIN_PX)
    if margin != MARGIN_PX:
        raise BundleError(
            f"preprocessing.parameters.margin_px: expected {MARGIN_PX}, found {margin!r}: the "
            "bundle is for another inktex; upgrade with `pip install --upgrade inktex`"
        )
    try:
        return Rendering(**values, trail=preprocessing.name == WITH_TRAIL)
    except InputError as error:
        raise BundleError(f"preprocessing.parameters: {error}; export the bundle again") from error


def _render(source: Source, rendering: Rendering, name: str) -> NDArray[np.uint8]:
    """The formula at the recognizer's scale, uint8 `[channels, h, w]`, ink 255 on 0; of an image
    one channel alone."""
    label = _named(source, name)
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise InputError("expected the path of a file, found an empty one")
        source = _read_file(Path(source), label)
    if isinstance(source, bytes):
        if _is_ink(source):
            source = read_ink(source, label)
        else:
            _check_is_image(source, label)
    try:
        if isinstance(source, Ink):
            return ink_channels(source.strokes, rendering)
        if isinstance(source, list | tuple):
            return ink_channels(_ink(source).strokes, rendering)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    if not isinstance(source, bytes | np.ndarray | Image.Image):
        raise InputError(
            f"{label}: expected a path, bytes, Ink, a Pillow image, an array or a list of strokes, "
            f"found {type(source).__name__}"
        )
    image = load_image(source, label)
    try:
        return normalize_image(image, rendering)[None]
    except InputError as error:
        raise InputError(f"{label}: {error}") from error


def _named(source: Source, name: str) -> str:
    if name:
        return name
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, Ink) and source.identifier:
        return source.identifier
    return "the ink" if isinstance(source, Ink | list | tuple) else "the input"


def _read_file(path: Path, label: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise InputError(f"{label}: expected a file, found a folder; name a file in it") from None
    except FileNotFoundError:
        raise InputError(f"{label}: expected a file, found nothing; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        hint = "; check its permissions" if isinstance(error, PermissionError) else ""
        raise InputError(f"{label}: cannot be read ({reason}){hint}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{label}: expected at most {MAX_BYTES:,} bytes, found more")
    return data


def _is_ink(data: bytes) -> bool:
    """Whether a file is text that begins as InkML or JSON does, in UTF-8 or UTF-16."""
    return first_sign(data) in (b"<", b"{", b"[")


def _check_is_image(data: bytes, label: str) -> None:
    if not data:
        raise InputError(f"{label}: expected ink or an image, found an empty file")
    if image_format(data[:16]) is None and all(
        byte >= 32 or byte in b"\t\n\r\f" for byte in data[:256]
    ):
        raise InputError(
            f"{label}: expected InkML, a JSON of strokes, or an image (PNG, JPEG, WebP, BMP), "
            f"found text that starts with {data[:24]!r}; export the handwriting as one of these"
        )


def _ink(source: Sequence[Any]) -> Ink:
    """A list of strokes as ink, which checks its coordinates."""
    strokes = []
    for number, each in enumerate(source):
        try:
            stroke = np.asarray(each, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            stroke = np.empty(0)
        else:
            if stroke.shape in ((0,), (0, 2)):
                continue  # of a pen that has just come down
        if stroke.ndim != 2 or stroke.shape[1] != 2:
            found = stroke.shape if stroke.size else getattr(each, "shape", type(each).__name__)
            more = stroke.ndim == 2 and stroke.shape[1] > 2
            raise InputError(
                f"expected a list of strokes, each an array [n, 2] of x and y, found {found} as "
                f"stroke {number}" + "; leave out time and pressure: stroke[:, :2]" * more
            )
        strokes.append(stroke)
    return Ink(tuple(strokes))
