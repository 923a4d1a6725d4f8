from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from inktex.core.errors import InputError
from inktex.core.raster import canonical_bitmap
from inktex.core.rendering import (
    MARGIN_PX,
    MAX_SIDE_PX,
    PEN_PX,
    SYMBOL_PX,
    Rendering,
    draw_strokes,
    normalize_image,
    normalized_strokes,
    render_ink,
    typical_height,
)

from .real_ink import Points, sampled

Pixels = NDArray[np.uint8]


def stroke(*points: tuple[float, float]) -> Points:
    return np.array(points, np.float64)


# x + 1 with a 2 above, in units of its own
FORMULA = [
    stroke((0, 0), (7, 9), (14, 20)),
    stroke((14, 0), (6, 11), (0, 20)),
    stroke((20, -10), (23, -13), (26, -10), (20, -2), (27, -2)),
    stroke((32, 11), (46, 11)),
    stroke((39, 4), (39, 18)),
    stroke((54, 4), (58, 0), (58, 20)),
]


def inked_box(image: Pixels, threshold: int = 128) -> tuple[int, int, int, int]:
    """left, top, right, bottom (exclusive) of what is at least this dark"""
    rows = np.flatnonzero((image >= threshold).any(axis=1))
    columns = np.flatnonzero((image >= threshold).any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def likeness(one: Pixels, other: Pixels) -> float:
    """Correlation of two drawings brought to one size, 1 where they are the same.

    They are blurred by two pixels first, so that a shift by one counts little.
    """
    resized = Image.fromarray(other).resize(one.shape[::-1], Image.Resampling.BILINEAR)
    blurred = []
    for image in (one, np.asarray(resized)):
        soft = np.pad(image / 255, 4)
        for axis in (0, 1):
            soft = np.mean([np.roll(soft, shift, axis) for shift in range(-2, 3)], axis=0)
        blurred.append(soft.ravel())
    a, b = blurred
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


# --- ink


@given(exponent=st.integers(-12, 12))
def test_a_scale_by_a_power_of_two_changes_nothing(exponent: int) -> None:
    scaled = [each * 2.0**exponent for each in FORMULA]
    np.testing.assert_array_equal(render_ink(scaled), render_ink(FORMULA))


@given(x=st.integers(-1000, 1000), y=st.integers(-1000, 1000))
def test_a_shift_by_whole_units_changes_nothing(x: int, y: int) -> None:
    moved = [each + np.array([x, y]) for each in FORMULA]
    np.testing.assert_array_equal(render_ink(moved), render_ink(FORMULA))


@given(scale=st.floats(1e-6, 1e6), x=st.floats(-10, 10))
def test_any_other_scale_changes_next_to_nothing(scale: float, x: float) -> None:
    one, other = render_ink([(each + x) * scale for each in FORMULA]), render_ink(FORMULA)
    assert all(abs(a - b) <= 1 for a, b in zip(one.shape, other.shape, strict=True))
    assert likeness(one, other) > 0.99


def test_the_image_is_bytes_with_a_margin_on_every_side() -> None:
    image = render_ink(FORMULA)
    assert image.dtype == np.uint8
    assert image.ndim == 2
    assert image.max() == 255
    left, top, right, bottom = inked_box(image, 1)
    for gap in (left, top, image.shape[1] - right, image.shape[0] - bottom):
        assert MARGIN_PX - 2 <= gap <= MARGIN_PX
    strokes = normalized_strokes(FORMULA)
    np.testing.assert_allclose(np.concatenate(strokes).min(axis=0), MARGIN_PX)


def test_a_typical_stroke_gets_its_height() -> None:
    strokes = normalized_strokes(FORMULA)
    heights = [np.ptp(each[:, 1]) for each in strokes if np.ptp(each[:, 1]) > 0]
    assert np.mean(heights) == pytest.approx(SYMBOL_PX)
    doubled = normalized_strokes(FORMULA, symbol_px=2 * SYMBOL_PX)
    np.testing.assert_allclose(doubled[3] - MARGIN_PX, 2 * (strokes[3] - MARGIN_PX))


def test_flat_parts_say_nothing_of_the_scale() -> None:
    def height(widths: list[float], heights: list[float]) -> float:
        return typical_height(np.array(widths), np.array(heights))

    assert height([10, 10], [20, 10]) == 15
    assert height([10, 10, 90, 3], [20, 10, 0, 1]) == 15  # a bar and a dot
    assert height([30], [0]) == 30  # a lone minus is as wide as a symbol is high
    assert height([30, 10], [2, 1]) == 20
    assert height([0], [0]) == 1.0  # a dot has no size
    assert height([0.0], [7.0]) == 7.0


def test_the_pen_has_its_width() -> None:
    bar = draw_strokes([stroke((20.0, 20.0), (120.0, 20.0))]).astype(float) / 255
    assert bar[:, 40:100].sum(axis=0).mean() == pytest.approx(PEN_PX, abs=0.1)
    wide = draw_strokes([stroke((20.0, 20.0), (120.0, 20.0))], pen_px=3.0).astype(float) / 255
    assert wide[:, 40:100].sum(axis=0).mean() == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    "dot", [stroke((7, 7)), stroke((7, 7), (7, 7), (7, 7)), stroke((1e6, -1e6))]
)
def test_a_dot_is_a_spot_of_the_pen(dot: Points) -> None:
    image = render_ink([dot])
    assert image.shape == (2 * MARGIN_PX + 1, 2 * MARGIN_PX + 1)
    left, top, right, bottom = inked_box(image)
    assert 1 <= right - left <= 3
    assert 1 <= bottom - top <= 3
    assert abs((left + right) / 2 - MARGIN_PX) <= 1
    assert image.sum() / 255 == pytest.approx(PEN_PX**2, abs=1)


@pytest.mark.parametrize("size", [1, 3, 7, 9, 15])
def test_a_drawing_is_the_mean_of_a_larger_one(size: int) -> None:
    strokes = normalized_strokes([*FORMULA, stroke((60, 3)), stroke((70, 9), (70, 9))])
    image = draw_strokes(strokes, size / 4)
    large = Image.new("L", (4 * image.shape[1], 4 * image.shape[0]))
    pen = ImageDraw.Draw(large)
    for each in strokes:
        points = (4 * each).astype(int).ravel().tolist()
        pen.point(points, 255)
        pen.line(points, 255)
    plain = large.filter(ImageFilter.MaxFilter(size)).reduce(4)
    np.testing.assert_array_equal(image, np.asarray(plain))


def test_a_pen_wider_than_the_margin_leaves_the_paper() -> None:
    image = draw_strokes([stroke((20.0, 20.0), (60.0, 20.0))], 50.0)
    assert image.shape == (29, 69)
    assert image[:, :60].min() == 255
    assert draw_strokes([stroke((8.0, 8.0))], 0.01).sum() == 16  # the thinnest


@pytest.mark.parametrize("slope", [0.0, 0.05, -0.05])
@pytest.mark.parametrize("unit", [0.01, 1.0, 300.0])
def test_a_lone_minus_is_as_wide_as_a_symbol_is_high(slope: float, unit: float) -> None:
    image = render_ink([stroke((0, 0), (unit, slope * unit))])
    left, top, right, bottom = inked_box(image)
    assert SYMBOL_PX <= right - left <= SYMBOL_PX + 3
    assert bottom - top <= 4


def test_a_long_formula_is_drawn_smaller() -> None:
    row = [each + np.array([60 * number, 0]) for number in range(200) for each in FORMULA]
    image = render_ink(row)
    assert MAX_SIDE_PX < image.shape[1] <= MAX_SIDE_PX + 2 * MARGIN_PX + 1
    assert image.shape[0] < 40


def test_ink_of_any_unit_is_drawn() -> None:
    for unit in (1e-320, 5e-310, 1e-300, 1e-200, 1e200, 1e300):
        with np.errstate(under="ignore"):
            image = render_ink([each * unit for each in FORMULA])
        assert image.max() == 255
        assert max(image.shape) < 200


@pytest.mark.parametrize(
    "strokes",
    [
        [],
        [stroke((0, 0), (np.nan, 1))],
        [stroke((0, 0), (np.inf, 1))],
        [stroke((-1e308, 0), (1e308, 1))],
    ],
)
def test_what_has_no_extent_is_refused(strokes: list[Points]) -> None:
    with pytest.raises(InputError, match="expected ink"), np.errstate(invalid="ignore"):
        render_ink(strokes)


# --- images


def drawn(symbol_px: float, pen_px: float) -> Pixels:
    """FORMULA drawn by another program: strokes of about this height, round pen, paper around."""
    scale = symbol_px / 20 * 4
    size = (int(80 * scale), int(60 * scale))
    image = Image.new("L", size)
    pen = ImageDraw.Draw(image)
    for each in FORMULA:
        points = [(float(x), float(y)) for x, y in (each + np.array([8, 20])) * scale]
        pen.line(points, 255, max(round(pen_px * 4), 1), joint="curve")
        radius = pen_px * 2
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return np.asarray(image.reduce(4))


@pytest.mark.parametrize("large_px", [100, 400])
def test_forty_pixels_and_four_hundred_give_the_same(large_px: int) -> None:
    small, large = drawn(40, 3), drawn(large_px, 3 * large_px / 40)
    one, other = normalize_image(small), normalize_image(large)
    assert all(abs(a - b) <= 2 for a, b in zip(one.shape, other.shape, strict=True))
    assert likeness(one, other) > 0.985
    assert likeness(one, render_ink(FORMULA)) > 0.95
    assert likeness(one, one[:, ::-1]) < 0.5  # as far as other drawings get


@pytest.mark.parametrize("pen_px", [1.0, 2.0, 4.0, 8.0, 12.0, 16.0])
def test_pens_come_out_as_ink_is_drawn_in_training(pen_px: float) -> None:
    """As wide as they are, but no thinner than the rendering's, and no wider than 4/1.75 of it."""
    image = normalize_image(drawn(60, pen_px))
    scale = SYMBOL_PX / 60
    reference = render_ink(FORMULA, Rendering(pen_px=min(max(pen_px * scale, PEN_PX), 4.0)))
    assert all(abs(a - b) <= 3 for a, b in zip(image.shape, reference.shape, strict=True))
    assert likeness(image, reference) > 0.92
    assert 0.7 < image.sum() / reference.sum() < 1.3


def test_paper_around_the_ink_does_not_matter() -> None:
    image = drawn(50, 3)
    left, top, right, bottom = inked_box(image, 1)
    tight = image[top:bottom, left:right]
    wide = np.pad(tight, ((5, 90), (200, 1)))
    np.testing.assert_array_equal(normalize_image(tight), normalize_image(wide))
    np.testing.assert_array_equal(normalize_image(tight), normalize_image(image))


def test_the_margin_is_that_of_ink() -> None:
    image = normalize_image(drawn(200, 15))
    left, top, right, bottom = inked_box(image)
    for gap in (left, top, image.shape[1] - right, image.shape[0] - bottom):
        assert MARGIN_PX - 3 <= gap <= MARGIN_PX + 2


def test_an_image_without_ink_is_refused() -> None:
    with pytest.raises(InputError, match="found none in 20 x 10 pixels"):
        normalize_image(np.zeros((10, 20), np.uint8))
    with pytest.raises(InputError, match="found none"):
        normalize_image(np.full((10, 20), 60, np.uint8))


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 3000), (3000, 1), (2, 2), (900, 900), (30, 5), (3, 4000)]
)
def test_a_block_of_ink_of_any_shape_is_drawn(shape: tuple[int, int]) -> None:
    image = normalize_image(np.full(shape, 255, np.uint8))
    assert image.dtype == np.uint8
    assert image.max() > 200
    assert max(image.shape) <= MAX_SIDE_PX + 2 * MARGIN_PX + 4


def test_canonical_bitmaps_come_out_as_their_ink_does(data_root: Path) -> None:
    """Of real handwriting: image and ink give the recognizer nearly the same."""
    ratios, likenesses = [], []
    for strokes in sampled(data_root, "2014", 19, 50):
        ink, image = render_ink(strokes), normalize_image(canonical_bitmap(strokes))
        ratios.append(np.array(image.shape) / ink.shape)
        likenesses.append(likeness(ink, image))
    assert np.all(np.abs(np.median(ratios, axis=0) - 1) < 0.06)
    assert np.mean(np.abs(np.array(ratios) - 1) < 0.2) > 0.95
    assert np.median(likenesses) > 0.96
    assert np.min(likenesses) > 0.8


def test_the_sizes_of_real_handwriting(data_root: Path) -> None:
    shapes = np.array([render_ink(strokes).shape for strokes in sampled(data_root, "2014", 19, 50)])
    height, width = np.median(shapes, axis=0)
    assert 35 < height < 100
    assert 80 < width < 300
