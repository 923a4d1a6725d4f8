from __future__ import annotations

import json
import lzma
import re
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inktex.core.dilation import dilated
from inktex.core.errors import InputError
from inktex.core.ink import FloatArray
from inktex.core.raster import ByteImage, canonical_bitmap, draw_polylines

TRACE = re.compile(rb"<trace\s[^>]*>([^<]*)</trace>")

# Drawn for a mean height of 107 units, where its strokes have 108: no recipe gives both.
ODD_ONE = "UN_124_em_538"


def drawing(*rows: str) -> ByteImage:
    return np.array([[255 * (pixel == "#") for pixel in row] for row in rows], np.uint8)


def stroke(*points: tuple[float, float]) -> FloatArray:
    return np.array(points, np.float64)


def published(root: Path, year: int) -> dict[str, bytes]:
    with ZipFile(root / "crohme" / "images" / f"{year}.zip") as archive:
        return {Path(name).stem: archive.read(name) for name in archive.namelist()}


def pixels(png: bytes) -> ByteImage:
    return np.asarray(Image.open(BytesIO(png)).convert("L"))


def traces(inkml: bytes) -> list[FloatArray]:
    """The strokes of a CROHME file as distributed, to all of its decimals."""
    return [
        np.array([[float(value) for value in point.split()[:2]] for point in text.split(b",")])
        for text in TRACE.findall(inkml)
    ]


@pytest.mark.parametrize(("year", "step"), [(2014, 3), (2016, 6)])
def test_distributed_ink_gives_the_published_bitmaps_bit_for_bit(
    data_root: Path, year: int, step: int
) -> None:
    bitmaps = published(data_root, year)
    different = []
    with ZipFile(data_root / "crohme" / "inkml" / f"{year}.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".inkml"))
        # The files of RIT_2014 from 150 on are those with decimals: all of them.
        chosen = {*names[::step], *(n for n in names if re.search(r"RIT_2014_(1[5-9]|2)\d", n))}
        for name in sorted(chosen):
            expected = pixels(bitmaps[Path(name).stem])
            if not np.array_equal(canonical_bitmap(traces(archive.read(name))), expected):
                different.append(Path(name).stem)
    assert set(different) <= {ODD_ONE}


def test_rounded_ink_gives_nearly_all_published_bitmaps(data_root: Path) -> None:
    # The compact form keeps at most two decimals: 22 of all 2133 come out different.
    bitmaps = published(data_root, 2014)
    same = total = 0
    with lzma.open(data_root / "crohme" / "strokes" / "2014.jsonl.xz", "rt") as lines:
        for line in list(lines)[::4]:
            record = json.loads(line)
            strokes = [np.reshape(np.array(flat, float), (-1, 2)) for flat in record["strokes"]]
            drawn = canonical_bitmap(strokes)
            same += np.array_equal(drawn, pixels(bitmaps[record["id"]]))
            total += 1
    assert total > 200
    assert same / total >= 0.97


def test_margins_and_scale_of_one_stroke() -> None:
    bitmap = canonical_bitmap([stroke((100, 40), (100, 96))])
    # 56 units become 28 pixels: 29 rows with both ends, dilated to 31, three pixels wide.
    assert bitmap.shape == (29 + 25, 1 + 25)
    rows, columns = np.nonzero(bitmap)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 42, 12, 14)
    assert np.unique(bitmap).tolist() == [0, 255]
    assert bitmap.dtype == np.uint8


def test_flat_strokes_have_no_say_in_the_scale() -> None:
    tall = stroke((0, 0), (0, 100))
    with_bar = canonical_bitmap([tall, stroke((0, 50), (20, 60))])  # 10 is not more than a tenth
    assert with_bar.shape[0] == canonical_bitmap([tall]).shape[0]
    with_half = canonical_bitmap([tall, stroke((0, 0), (20, 50))])
    assert with_half.shape[0] == 25 + 1 + int(100 * 28 / 75)


def test_mean_height_is_truncated_in_the_unit_of_the_file() -> None:
    strokes = [stroke((0, 0), (0, 1000)), stroke((1000, 0), (1000, 1001))]  # mean 1000.5
    assert canonical_bitmap(strokes).shape[1] == 25 + 1 + 28
    halves = [s / 2 for s in strokes]  # one decimal: 5002 tenths, not 500 units
    assert canonical_bitmap(halves).shape[1] == 25 + 1 + int(5000 * 28 / 5002)


def test_points_are_truncated_towards_zero() -> None:
    assert canonical_bitmap([stroke((-0.9, 0), (0.9, 28))]).shape[1] == 25 + 1


def test_ties_break_in_the_direction_of_the_pen() -> None:
    there = draw_polylines([np.array([[0, 0], [2, 1]])], 2, 3)
    back = draw_polylines([np.array([[2, 1], [0, 0]])], 2, 3)
    np.testing.assert_array_equal(there, drawing("#..", ".##"))
    np.testing.assert_array_equal(back, drawing("##.", "..#"))


def test_polylines_of_one_point_and_of_none() -> None:
    np.testing.assert_array_equal(draw_polylines([np.array([[1, 0]])], 2, 3), drawing(".#.", "..."))
    assert not draw_polylines([], 2, 3).any()


def test_dilation_reaches_the_border_and_does_not_wrap() -> None:
    np.testing.assert_array_equal(dilated(drawing("#...", "...."), 3), drawing("##..", "##.."))


points = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), min_size=1, max_size=6)


@given(st.lists(points, min_size=1, max_size=4))
def test_lines_are_connected_thin_and_within_half_a_pixel(
    polylines: list[list[tuple[int, int]]],
) -> None:
    arrays = [np.array(polyline, np.int64) for polyline in polylines]
    together = draw_polylines(arrays, 31, 41)
    union = np.zeros_like(together)
    for array in arrays:
        for a, b in zip(array, array[min(1, len(array) - 1) :], strict=False):
            line = draw_polylines([np.array([a, b])], 31, 41)
            longest = int(np.abs(b - a).max())
            assert np.count_nonzero(line) == longest + 1
            y, x = np.nonzero(line)
            along = np.abs(np.stack([x, y], 1) - a).max(axis=1)[:, None] / max(1, longest)
            exact = a + along * (b - a)
            assert np.abs(np.stack([x, y], 1) - exact).max() <= 0.5
            union |= line
    np.testing.assert_array_equal(together, union)


@settings(max_examples=50)
@given(st.lists(points, min_size=1, max_size=4), st.integers(1, 8))
def test_scale_of_the_recorder_does_not_matter(
    polylines: list[list[tuple[int, int]]], exponent: int
) -> None:
    # Powers of two, so that nothing is rounded; heights are made equal, so that no mean is.
    strokes = [np.array([(0, 0), *polyline, (0, 32)], float) for polyline in polylines]
    np.testing.assert_array_equal(
        canonical_bitmap(strokes), canonical_bitmap([s * 2**exponent for s in strokes])
    )


@pytest.mark.parametrize(
    ("strokes", "shape"),
    [
        ([stroke((5, 5))], (26, 26)),
        ([stroke((5, 5), (5, 5), (5, 5))], (26, 26)),
        ([stroke((0, 3), (50, 3))], (26, 25 + 29)),  # flat: scaled by its width
        ([stroke((0, 0), (0.3, 0.9))], (25 + 29, 25 + 10)),  # the unit square
        ([stroke((7, 7), (7.0003, 7.0009))], (25 + 29, 25 + 10)),
        ([stroke((0, 0), (3e-300, 9e-300))], (26, 26)),
        ([stroke((0, 0), (3e-7, 9e-7))], (25 + 29, 25 + 10)),
        ([stroke((1e9, 1e9), (1e9 + 30, 1e9 + 90))], (25 + 29, 25 + 10)),  # far from the origin
    ],
)
def test_ink_that_the_recipe_says_nothing_of(
    strokes: list[FloatArray], shape: tuple[int, int]
) -> None:
    height, width = canonical_bitmap(strokes).shape
    assert abs(height - shape[0]) <= 1
    assert abs(width - shape[1]) <= 1


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], "one stroke or more"),
        ([np.zeros((0, 2))], "stroke 0"),
        ([np.zeros((3, 2)), np.zeros((3, 3))], "stroke 1"),
        ([np.zeros(4)], "stroke 0"),
        ([stroke((0, 0), (np.nan, 1))], "NaN or infinity"),
        ([stroke((0, 0), (np.inf, 1))], "NaN or infinity"),
        ([stroke((0, 0), (1e300, 1))], "outliers"),
        ([stroke((-1e308, 0), (1e308, 1e308))], "outliers"),
        ([stroke((0, 0), (1e7, 1))], "64,000,000 pixels"),
    ],
)
def test_ink_that_cannot_be_drawn_is_refused(strokes: list[FloatArray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        canonical_bitmap(strokes)


def test_many_long_lines_are_drawn_in_bounded_memory() -> None:
    zigzag = np.tile(np.array([[0, 0], [999, 999]], np.int64), (1500, 1))  # 3 million pixels
    bitmap = draw_polylines([zigzag], 1000, 1000)
    np.testing.assert_array_equal(bitmap, np.eye(1000, dtype=np.uint8) * 255)
