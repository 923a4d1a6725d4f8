from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from inktex.core.errors import InputError
from inktex.core.image import (
    MAX_PIXELS,
    MAX_WORKING_PIXELS,
    image_format,
    load_image,
    read_gray,
)
from inktex.core.paper import ByteImage

LOSSLESS = {"PNG": {}, "BMP": {}, "WEBP": {"lossless": True}}


def formula(height: int = 60, width: int = 90, pen: int = 3) -> ByteImage:
    """Ink 255 on 0 that looks different from each of the eight orientations."""
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    draw.line([(10, 10), (40, 45), (60, 12)], fill=255, width=pen)
    draw.line([(50, 50), (80, 50)], fill=255, width=pen)
    draw.ellipse([68, 8, 84, 30], outline=255, width=pen)
    return np.asarray(image)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100))


def agreement(one: ByteImage, other: ByteImage) -> float:
    """Intersection over union of the ink."""
    a, b = one > 127, other > 127
    return float((a & b).sum() / (a | b).sum())


# Formats and kinds of pixel


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_lossless_files_give_the_very_pixels(format: str, mode: str) -> None:
    ink = formula()
    page = Image.fromarray(255 - ink).convert(mode)
    loaded = load_image(encoded(page, format, **LOSSLESS[format]))
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, ink)


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("JPEG", "L", {"quality": 60}),
        ("JPEG", "RGB", {"quality": 60}),
        ("JPEG", "RGB", {"quality": 60, "progressive": True}),
        ("JPEG", "CMYK", {"quality": 60}),
        ("WEBP", "RGB", {"quality": 50}),
    ],
)
def test_lossy_files_give_the_strokes_on_black_paper(
    format: str, mode: str, options: dict[str, Any]
) -> None:
    ink = formula()
    loaded = load_image(encoded(Image.fromarray(255 - ink).convert(mode), format, **options))
    assert agreement(loaded, ink) > 0.95
    far = np.asarray(Image.fromarray(ink).resize((18, 12)).resize((90, 60))) == 0
    assert np.median(loaded[far]) == 0
    assert loaded[far].max() < 64


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_, np.float32, np.float64])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_arrays_of_every_type_and_shape(dtype: Any, channels: int) -> None:
    ink = formula()
    full = 1 if dtype in (np.bool_, np.float32, np.float64) else np.iinfo(dtype).max
    array = np.where(ink > 0, 0, full).astype(dtype)
    if channels:
        array = np.repeat(array[..., None], channels, axis=2)
    if channels == 4:
        array[..., 3] = full
    before = array.copy()
    np.testing.assert_array_equal(load_image(array), ink)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"])
def test_pillow_images_of_every_mode(mode: str) -> None:
    ink = formula()
    image = Image.fromarray(255 - ink)
    if mode.startswith("I"):
        image = Image.fromarray((255 - ink).astype(np.uint16) * 257)
    np.testing.assert_array_equal(load_image(image.convert(mode)), ink)


def test_colours_multiplied_by_their_transparency() -> None:
    ink = formula()
    image = Image.fromarray(255 - ink).convert("LA").convert("La")
    np.testing.assert_array_equal(load_image(image), ink)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_depths_stored_in_16_bits(bits: int) -> None:
    ink = formula()
    array = np.where(ink > 0, 0, 2**bits - 1).astype(np.uint16)
    np.testing.assert_array_equal(load_image(array), ink)
    np.testing.assert_array_equal(load_image(array.astype(">u2")), ink)
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(array))), ink)


# Transparency


@pytest.mark.parametrize("colour", [(0, 0, 0), (20, 30, 160), (255, 255, 255), (255, 240, 120)])
def test_ink_of_any_colour_on_transparency(colour: tuple[int, int, int]) -> None:
    ink = formula()
    layers = np.dstack([*(np.full_like(ink, value) for value in colour), ink])
    image = Image.fromarray(layers)
    np.testing.assert_array_equal(load_image(encoded(image)), ink)
    np.testing.assert_array_equal(load_image(layers), ink)
    # What is under full transparency does not matter.
    layers[ink == 0, :3] = 77
    np.testing.assert_array_equal(load_image(layers), ink)


@pytest.mark.parametrize("is_light", [False, True])
def test_smooth_edges_of_ink_on_transparency(is_light: bool) -> None:
    alpha = np.asarray(Image.fromarray(formula()).resize((180, 120), Image.Resampling.BILINEAR))
    colour = np.full_like(alpha, 255 * is_light)
    np.testing.assert_array_equal(load_image(np.dstack([colour] * 3 + [alpha])), alpha)


@pytest.mark.parametrize("paper", [255, 30])
def test_transparent_corners_of_a_page_are_paper(paper: int) -> None:
    ink = formula()
    gray = np.where(ink > 0, 255 - paper, paper).astype(np.uint8)
    alpha = np.full_like(ink, 255)
    alpha[:8, :8] = alpha[-8:, :8] = alpha[:8, -8:] = 0
    loaded = load_image(np.dstack([gray] * 3 + [alpha]))
    np.testing.assert_array_equal(loaded > 0, ink > 0)


def test_transparent_palette_and_colour_key() -> None:
    ink = formula()
    image = Image.new("P", (90, 60))
    image.putpalette([9, 9, 9, 250, 250, 250])
    image.paste(1, mask=Image.fromarray(ink))
    data = encoded(image, transparency=0)
    np.testing.assert_array_equal(load_image(data), ink)
    key = Image.fromarray(255 - ink).convert("RGB")
    np.testing.assert_array_equal(load_image(encoded(key, transparency=(255, 255, 255))), ink)
    gray = encoded(Image.fromarray(255 - ink), transparency=255)
    np.testing.assert_array_equal(load_image(gray), ink)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_exif_orientation_is_undone(format: str, orientation: int) -> None:
    ink = formula()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = LOSSLESS[format]
    data = encoded(Image.fromarray(255 - ink).convert("RGB"), format, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L")
    np.testing.assert_array_equal(load_image(data), 255 - np.asarray(upright))
    np.testing.assert_array_equal(
        load_image(Image.open(io.BytesIO(data))), 255 - np.asarray(upright)
    )


@pytest.mark.parametrize("orientation", [6, 8])
def test_exif_orientation_of_a_large_jpeg_that_is_reduced(orientation: int) -> None:
    ink = np.asarray(Image.fromarray(formula()).resize((4500, 3000)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encoded(Image.fromarray(255 - ink), "JPEG", exif=exif))
    assert loaded.shape == (2250, 1500)
    turned = np.rot90(ink[::2, ::2], -1 if orientation == 6 else 1)
    assert agreement(loaded, turned) > 0.95


def test_damaged_exif_does_not_matter() -> None:
    ink = formula()
    image = Image.fromarray(255 - ink)
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0garbage", b"Exif\0\0"):
        np.testing.assert_array_equal(load_image(encoded(image, exif=exif)), ink)


# Size and memory


def test_large_images_are_reduced_by_a_whole_factor() -> None:
    ink = np.asarray(Image.fromarray(formula()).resize((4500, 3000), Image.Resampling.NEAREST))
    loaded = load_image(255 - ink)
    assert loaded.shape == (1500, 2250)
    assert loaded.size <= MAX_WORKING_PIXELS
    assert agreement(loaded, ink[::2, ::2]) > 0.98


@pytest.mark.parametrize(
    "data",
    [
        png_header(50_000, 50_000),
        encoded(Image.new("L", (1, 1)), "BMP").replace(
            struct.pack("<ii", 1, 1), struct.pack("<ii", 50_000, 50_000), 1
        ),
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x4f\xc3\0" * 2,
        b"RIFF\0\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f",
        b"RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f",
        encoded(Image.new("L", (8, 8)), "JPEG").replace(
            b"\0\x08\0\x08\x01", b"\xff\0\xff\0\x01", 1
        ),
    ],
    ids=["PNG", "BMP", "WebP", "WebP lossless", "WebP lossy", "JPEG"],
)
def test_a_header_that_claims_too_many_pixels_is_refused_before_memory_is_spent(
    data: bytes,
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"at most 64,000,000 pixels, found \d+,\d+ x \d+,\d+"):
            load_image(data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_an_array_or_a_pillow_image_of_too_many_pixels_is_refused() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(InputError, match="at most 64,000,000 pixels"):
        load_image(np.broadcast_to(np.uint8(0), (side, side)))
    with pytest.raises(InputError, match="at most 64,000,000 pixels"):
        load_image(Image.open(io.BytesIO(png_header(8_001, 8_001))))


# Bad input


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found no bytes"),
        (b"x^2 + y^2 = 1\n", "bytes that start with b'x\\^2"),
        (b"GIF89a" + bytes(20), "found GIF"),
        (b"II*\0" + bytes(20), "found TIFF"),
        (b"%PDF-1.7\n", "found PDF"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC"),
    ],
)
def test_a_file_that_is_no_image_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_image(data, "formula.png")
    assert "formula.png: expected a PNG, JPEG, WebP or BMP image" in str(caught.value)
    with pytest.raises(InputError, match="image: expected a PNG"):
        load_image(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.95])
def test_truncated_files_are_refused(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format)
    with pytest.raises(InputError, match="complete"):
        load_image(data[: max(16, int(share * len(data)))])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_an_image_or_an_input_error(
    format: str, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(Image.fromarray(255 - formula()), format))
    for place, value in damage:
        data[place % len(data)] = value
    with contextlib.suppress(InputError):
        assert load_image(bytes(data)).ndim == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_mask_of_numbers_is_one_of_truth_values(dtype: Any) -> None:
    ink = formula()
    np.testing.assert_array_equal(load_image((ink == 0).astype(dtype)), ink)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (0, 5), (0, 5, 3)])
def test_images_of_a_pixel_or_two_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="3 x 3 pixels or more"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(9, np.uint8), r"found shape \(9,\)"),
        (np.zeros((3, 9, 9), np.uint8), "channels last"),
        (np.zeros((9, 9, 2), np.uint8), r"found shape \(9, 9, 2\)"),
        (np.full((9, 9), 255.0), "floats from 0 .* found 255 to 255"),
        (np.full((9, 9), np.nan), "floats from 0"),
        (np.full((9, 9), -1, np.int64), "found int64 from -1"),
        (np.zeros((9, 9), np.complex64), "found complex64"),
        (np.full((9, 9), None), "found object"),
    ],
)
def test_arrays_of_another_kind_are_refused(array: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_image(array)


def test_other_objects_are_refused() -> None:
    with pytest.raises(InputError, match="found list"):
        load_image([[0, 1]])  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0, 255])
def test_blank_pages_are_refused(alpha: int) -> None:
    page = np.full((40, 60, 4), 255, np.uint8)
    page[..., 3] = alpha
    with pytest.raises(InputError, match="blank: expected ink on paper, found no ink"):
        load_image(page, name="blank")


def test_format_is_told_by_content() -> None:
    for format, name in {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP", "BMP": "BMP"}.items():
        assert image_format(encoded(Image.new("L", (4, 4)), format)[:16]) == name
    assert image_format(b"<?xml version='1'") is None
    assert image_format(b"") is None


def test_gray_is_upright_and_not_inverted() -> None:
    gray = np.arange(200, dtype=np.uint8).reshape(10, 20)
    np.testing.assert_array_equal(read_gray(encoded(Image.fromarray(gray))), gray)
