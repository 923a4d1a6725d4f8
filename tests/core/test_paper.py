from __future__ import annotations

import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from inktex.core.errors import InputError
from inktex.core.paper import ByteImage, FloatImage, find_ink
from inktex.core.raster import canonical_bitmap


def drawing(seed: int, pen: int = 3, shape: tuple[int, int] = (160, 420)) -> ByteImage:
    """A row of random scrawls, ink 255 on 0, with a margin of paper."""
    generator = np.random.default_rng(seed)
    height, width = shape
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for left in range(20, width - 50, 50):
        points = generator.uniform((left, 25), (left + 40, height - 25), (4, 2))
        draw.line([tuple(p) for p in points.tolist()], fill=255, width=pen)
    return np.asarray(image)


def photo(
    ink: ByteImage,
    light: Callable[[FloatImage, FloatImage], FloatImage],
    *,
    paper: float = 215,
    contrast: float = 0.8,
    noise: float = 0,
    quality: int = 0,
) -> ByteImage:
    """Ink as a camera may see it: paper lit by light(x, y), x and y from 0 to 1."""
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]].astype(np.float32)
    seen = paper * (1 - contrast * (ink / 255)) * light(x / ink.shape[1], y / ink.shape[0])
    seen = seen + np.random.default_rng(1).normal(0, noise, ink.shape)
    gray = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    if quality:
        buffer = io.BytesIO()
        Image.fromarray(gray).save(buffer, "JPEG", quality=quality)
        gray = np.asarray(Image.open(buffer))
    return gray


def even(x: FloatImage, y: FloatImage) -> FloatImage:
    return np.ones_like(x)


def slanting(x: FloatImage, y: FloatImage) -> FloatImage:
    return 1 - 0.28 * (x + y)


def vignette(x: FloatImage, y: FloatImage) -> FloatImage:
    return 1 - ((x - 0.5) ** 2 + (y - 0.5) ** 2)


def agreement(one: ByteImage, other: ByteImage) -> float:
    a, b = one > 127, other > 127
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("pen", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_a_clean_drawing_comes_through_unchanged(seed: int, pen: int) -> None:
    ink = drawing(seed, pen)
    np.testing.assert_array_equal(find_ink(ink), ink)
    np.testing.assert_array_equal(find_ink(255 - ink), ink)


def test_smooth_edges_come_through_unchanged() -> None:
    for seed in range(4):
        ink = np.asarray(Image.fromarray(drawing(seed, 8)).reduce(4))
        assert len(np.unique(ink)) > 10
        np.testing.assert_array_equal(find_ink(ink), ink)
        np.testing.assert_array_equal(find_ink(255 - ink), ink)


def test_the_published_bitmaps_come_through_unchanged(data_root: Path) -> None:
    with lzma.open(data_root / "crohme" / "strokes" / "2016.jsonl.xz", "rt") as lines:
        for line in list(lines)[::60]:
            flat = json.loads(line)["strokes"]
            ink = canonical_bitmap([np.reshape(np.array(s, float), (-1, 2)) for s in flat])
            np.testing.assert_array_equal(find_ink(ink), ink)
            np.testing.assert_array_equal(find_ink(255 - ink), ink)
            rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
            cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            np.testing.assert_array_equal(find_ink(cropped), cropped)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 8),
    st.sampled_from([even, slanting, vignette]),
    st.floats(0.3, 0.9),
    st.floats(0, 8),
)
def test_polarity_does_not_matter(
    seed: int,
    pen: int,
    light: Callable[[FloatImage, FloatImage], FloatImage],
    contrast: float,
    noise: float,
) -> None:
    gray = photo(drawing(seed, pen), light, contrast=contrast, noise=noise)
    np.testing.assert_array_equal(find_ink(gray), find_ink(255 - gray))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(60, 255), st.integers(12, 60))
def test_pale_ink_on_even_paper_gets_the_whole_range(
    seed: int, pen: int, paper: int, contrast: int
) -> None:
    ink = drawing(seed, pen)
    gray = np.where(ink > 0, paper - contrast, paper).astype(np.uint8)
    np.testing.assert_array_equal(find_ink(gray), ink)
    np.testing.assert_array_equal(find_ink(find_ink(gray)), ink)


@pytest.mark.parametrize("light", [even, slanting, vignette])
@pytest.mark.parametrize(
    ("contrast", "noise", "quality"),
    [(0.8, 0, 0), (0.8, 8, 0), (0.8, 6, 60), (0.8, 0, 30), (0.25, 3, 0), (0.25, 3, 75)],
)
def test_photographs_give_the_strokes_on_black_paper(
    light: Callable[[FloatImage, FloatImage], FloatImage],
    contrast: float,
    noise: float,
    quality: int,
) -> None:
    ink = drawing(5, 5)
    found = find_ink(photo(ink, light, contrast=contrast, noise=noise, quality=quality))
    assert agreement(found, ink) > 0.85
    far = np.asarray(Image.fromarray(255 - ink).reduce(6).resize(ink.shape[::-1])) == 255
    assert (found[far] > 100).mean() < 2e-4
    assert np.median(found[ink > 0]) > 200


@pytest.mark.parametrize("light", [even, slanting])
def test_chalk_on_a_board_is_ink(light: Callable[[FloatImage, FloatImage], FloatImage]) -> None:
    ink = drawing(6, 5)
    board = photo(ink, light, paper=70, contrast=-1.5, noise=4)
    assert agreement(find_ink(board), ink) > 0.8


@pytest.mark.parametrize("is_light", [False, True])
def test_ink_that_covers_half_is_told_by_the_border(is_light: bool) -> None:
    ink = np.zeros((60, 60), np.uint8)
    ink[6:54, 6:54] = 255  # 64 %
    ink[20:40, 20:40] = 0
    ink[25:35, 25:35] = 255
    np.testing.assert_array_equal(find_ink(ink if is_light else 255 - ink), ink)


def blank(light: Callable[[FloatImage, FloatImage], FloatImage], **how: float) -> ByteImage:
    quality = int(how.pop("quality", 0))
    return photo(np.zeros((300, 400), np.uint8), light, quality=quality, **how)


def scattered(share: float) -> ByteImage:
    specks = np.random.default_rng(2).random((200, 200)) < share
    return np.where(specks, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "gray",
    [
        np.full((50, 80), 255, np.uint8),
        np.zeros((50, 80), np.uint8),
        np.full((50, 80), 128, np.uint8),
        np.full((50, 80), 250, np.uint8) + np.eye(50, 80, dtype=np.uint8),  # a single level
        blank(even, noise=1),
        blank(even, noise=10),
        blank(slanting),
        blank(slanting, noise=8),
        blank(slanting, noise=8, quality=50),
        blank(vignette),
        blank(vignette, noise=3),
        blank(even, paper=5, noise=2),
        np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8),
        scattered(0.0005),
        scattered(0.02),
        scattered(0.1),
        scattered(0.5),
    ],
    ids=[
        "white", "black", "gray", "watermark", "faint noise", "noise", "slanting", "slanting noise",
        "slanting JPEG", "vignette", "vignette noise", "dark noise", "static", "dust", "pepper",
        "much pepper", "coins",
    ],
)  # fmt: skip
def test_paper_without_ink_is_refused(gray: ByteImage) -> None:
    for shown in (gray, 255 - gray):
        with pytest.raises(InputError, match="found no ink; check"):
            find_ink(shown)


def test_a_single_dot_is_ink() -> None:
    ink = np.zeros((28, 28), np.uint8)
    ink[13:16, 13:16] = 255
    np.testing.assert_array_equal(find_ink(ink), ink)


def test_an_image_is_not_written_to() -> None:
    gray = photo(drawing(7), slanting, noise=4)
    before = gray.copy()
    gray.setflags(write=False)
    find_ink(gray)
    np.testing.assert_array_equal(gray, before)
