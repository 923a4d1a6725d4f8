"""Images of handwriting: any common file, array or Pillow image in, ink bright on black out.

`read_gray` decodes: format, size limits, depth, palette, alpha, orientation. `paper.find_ink`
then tells ink from paper.
"""

from __future__ import annotations

import math
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from .errors import InputError
from .paper import ByteImage, find_ink

MAX_PIXELS = 64_000_000
"""An image that claims more is refused before anything is decoded."""
MAX_WORKING_PIXELS = 1 << 22
"""A larger image (a photo of 12 megapixels, say) is reduced by a whole factor."""

_FORMATS = "PNG, JPEG, WebP or BMP"
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}
_ORIENTATION_TAG = 0x0112
_UNDECODABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def load_image(source: bytes | Image.Image | NDArray[Any], name: str = "image") -> ByteImage:
    """Read an image of handwriting, whatever it is stored as and written on.

    Ink may be dark on light or light on dark, the paper unevenly lit, the pencil pale. A clean
    drawing comes through unchanged: pixels of 0 and 255 stay 0 and 255 (swapped if need be).

    Args:
        source: the bytes of a file; a Pillow image; or an array [h, w], [h, w, 3] or [h, w, 4]
            (with alpha) of uint8, uint16, bool or float 0..1.
        name: what to call the image in error messages.

    Returns:
        uint8 [h, w], ink up to 255, paper 0. Same size as the source, after its EXIF rotation,
        unless that exceeds `MAX_WORKING_PIXELS`.

    Raises:
        InputError: bytes that are no image, an image that is too large, too small or damaged, an
            array of another type or shape, or no ink.
    """
    try:
        return find_ink(read_gray(source))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error.__cause__


def image_format(head: bytes) -> str | None:
    """Name the format by the first 16 bytes of a file: PNG, JPEG, WebP, BMP, or None of these."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    return "BMP" if head.startswith(b"BM") else None


def read_gray(source: bytes | Image.Image | NDArray[Any]) -> ByteImage:
    """Decode an image to uint8 [h, w], 0 black to 255 white, upright; see `load_image`."""
    orientation = 1
    if isinstance(source, np.ndarray):
        gray = _gray_of_array(source)
    elif isinstance(source, Image.Image):
        _check_size(*source.size)
        gray, orientation = _gray_of_image(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        gray, orientation = _gray_of_file(bytes(source))
    else:
        raise InputError(
            f"expected bytes, a Pillow image or an array, found {type(source).__name__}"
        )
    factor = _reduction(gray.shape[1], gray.shape[0])
    if factor > 1:
        gray = np.asarray(Image.fromarray(gray).reduce(factor))
    return _upright(gray, orientation)


# Files


def _not_an_image(head: bytes) -> InputError:
    if not head:
        return InputError(f"expected a {_FORMATS} image, found no bytes; check the source")
    if head[4:8] == b"ftyp":
        found = "an ISO media file such as HEIC or AVIF"
    elif head.startswith((b"GIF8", b"II*\0", b"MM\0*", b"%PDF")):
        found = {b"G": "GIF", b"I": "TIFF", b"M": "TIFF", b"%": "PDF"}[head[:1]]
    else:
        found = f"bytes that start with {head[:12]!r}"
    return InputError(f"expected a {_FORMATS} image, found {found}; convert or export it to PNG")


def _gray_of_file(data: bytes) -> tuple[ByteImage, int]:
    kind = image_format(data[:16])
    if kind is None:
        raise _not_an_image(data[:16])
    if kind == "WebP":  # its decoder allocates the canvas on opening
        _check_size(*_webp_size(data[:30]))
    try:
        # Not Image.open: it tries all formats, and warns of large images through global state.
        image = _PLUGINS[kind](BytesIO(data))
    except _UNDECODABLE as error:
        raise _damaged(kind, error) from error
    _check_size(*image.size)
    if kind == "JPEG" and image.mode in ("L", "RGB"):
        factor = _reduction(*image.size)
        # Decodes luminance alone, and at a half, quarter or eighth of the size where that is due.
        image.draft("L", (image.width // factor, image.height // factor))
    try:
        return _gray_of_image(image)
    except InputError as error:
        raise _damaged(kind, error.__cause__ or error) from error.__cause__


def _damaged(kind: str, error: BaseException) -> InputError:
    return InputError(
        f"expected a complete {kind} image, found a damaged one ({error}); save or send it again"
    )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height as the first 30 bytes of a WebP file state them (RFC 9649)."""
    head = head.ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", head[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"expected at most {MAX_PIXELS:,} pixels, found {width:,} x {height:,}; "
            "crop or reduce the image"
        )


def _reduction(width: int, height: int) -> int:
    return max(1, math.ceil(math.sqrt(width * height / MAX_WORKING_PIXELS)))


# Pixels


def _gray_of_image(image: Image.Image) -> tuple[ByteImage, int]:
    """Decode a Pillow image of any mode: gray uint8 [h, w] and its EXIF orientation."""
    try:
        image.load()
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _gray_of_array(np.asarray(image)), _orientation(image)
        if image.mode == "La":  # of which Pillow makes nothing else
            image = image.convert("LA")
        if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "RGBa"):
            layers = image.convert("RGBA").convert("LA")
            gray = _composited(np.asarray(layers.getchannel(0)), np.asarray(layers.getchannel(1)))
        else:
            gray = np.asarray(image.convert("L"))
    except _UNDECODABLE as error:
        raise InputError(
            f"expected an image that decodes, found {error}; save it again as PNG"
        ) from error
    return gray, _orientation(image)


def _gray_of_array(array: NDArray[Any]) -> ByteImage:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(
            f"expected an array [h, w], or [h, w, c] of c = 1, 3 or 4, found shape {array.shape}; "
            "put the channels last"
        )
    _check_size(array.shape[1], array.shape[0])
    pixels = _bytes_of(array)
    if pixels.ndim == 2 or pixels.size == 0:
        return pixels.reshape(pixels.shape[:2]) if pixels.size == 0 else pixels
    gray = np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert("L"))
    return gray if pixels.shape[2] == 3 else _composited(gray, pixels[..., 3])


def _bytes_of(array: NDArray[Any]) -> ByteImage:
    """The same array as uint8, 255 for full intensity."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.size == 0:
        return array.astype(np.uint8)
    if array.dtype.kind not in "uif":
        raise InputError(
            f"expected uint8, uint16, bool or float 0..1, found {array.dtype}; convert it to one "
            "of these"
        )
    low, high = array.min(), array.max()
    if array.dtype.kind in "ui" and low >= 0 and high <= 1:
        return _bytes_of(array.astype(np.bool_))  # a mask: as shades of gray it would be all black
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # NaN fails too
            raise InputError(
                f"expected floats from 0 (black) to 1 (white), found {low:g} to {high:g}; "
                "divide by the maximum"
            )
        scaled: ByteImage = np.rint(array * 255).astype(np.uint8)
        return scaled
    if array.dtype.kind in "ui" and array.dtype.itemsize > 1 and low >= 0 and high < 1 << 16:
        # Sensors store 10, 12 or 14 bits in 16, and some writers 8.
        bits = max(8, int(high).bit_length())
        shifted: ByteImage = (array >> (bits - 8)).astype(np.uint8)
        return shifted
    raise InputError(
        f"expected uint8, uint16, bool or float 0..1, found {array.dtype} from {low} to {high}; "
        "convert it to one of these"
    )


def _composited(gray: ByteImage, alpha: ByteImage) -> ByteImage:
    """Lay gray [h, w] with alpha [h, w] on paper that its ink, light or dark, stands out from."""
    if alpha.size == 0 or alpha.min() == 255:
        return gray
    if alpha.max() == 0:
        return np.full_like(gray, 255)  # nothing but paper
    visible = alpha > alpha.max() // 2
    shown = np.sort(gray[visible])
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    middle = int(shown[len(shown) // 2])
    contrast = int(shown[len(shown) * 99 // 100]) - int(shown[len(shown) // 100])
    paper = 255 if middle < 128 else 0  # ink alone
    if len(shown) > 0.7 * box and contrast > 32:
        paper = middle  # a card with its own paper; only its surroundings are transparent
    share = alpha.astype(np.uint16)
    return ((gray * share + paper * (255 - share) + 127) // 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata, of any of many kinds, is no reason to refuse the pixels
        return 1


def _upright(gray: ByteImage, orientation: int) -> ByteImage:
    """Undo the EXIF orientation (1..8; 5..8 swap the axes)."""
    if orientation in (5, 6, 7, 8):
        gray = gray.T
    if orientation in (3, 4, 7, 8):
        gray = gray[::-1]
    if orientation in (2, 3, 6, 7):
        gray = gray[:, ::-1]
    return np.ascontiguousarray(gray)
