from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inktex.core.rendering import CANONICAL, Rendering, ink_channels, render_ink
from inktex.core.trail import CHANNELS, pen_trail

BAR = np.array([[4.0, 6.0], [20.0, 6.0]])
SIZE = (12, 26)


def at(trail: NDArray[np.uint8], x: int, y: int = 6) -> list[int]:
    return [int(value) for value in trail[:, y, x]]


def test_a_stroke_tells_how_far_it_has_come_and_where_it_goes() -> None:
    trail = pen_trail([BAR], *SIZE)
    assert trail.shape == (CHANNELS, *SIZE)
    assert trail.dtype == np.uint8
    along = trail[0, 6, 4:20].astype(int)
    assert along[0] <= 32
    assert (np.diff(along) >= 0).all()
    assert along[-1] >= 240
    assert at(trail, 12)[1:] == [255, 128]  # to the right


def test_the_other_way_round_is_another_trail_on_the_same_pixels() -> None:
    there, back = pen_trail([BAR], *SIZE), pen_trail([BAR[::-1]], *SIZE)
    np.testing.assert_array_equal(there[0] > 0, back[0] > 0)
    assert at(back, 12)[1:3] == [1, 128]
    assert at(there, 5)[0] < 64 < 192 < at(back, 5)[0]


def test_a_stroke_down_has_a_direction_of_its_own() -> None:
    assert at(pen_trail([BAR[:, ::-1]], 26, 12), 6, 12)[1:3] == [128, 255]


def test_the_last_of_two_strokes_is_seen_where_they_cross() -> None:
    across = BAR[:, ::-1] + np.array([6, 0])
    assert at(pen_trail([BAR, across], 26, 26), 12)[1:] == [128, 255]
    assert at(pen_trail([across, BAR], 26, 26), 12)[1:] == [255, 128]


def test_points_between_points_change_nothing() -> None:
    curve = np.stack([np.linspace(4, 40, 60), 20 + 8 * np.sin(np.linspace(0, 6, 60))], axis=1)
    between = np.empty((119, 2))
    between[::2], between[1::2] = curve, (curve[1:] + curve[:-1]) / 2
    one, other = (pen_trail([each, BAR], 40, 50).astype(int) for each in (curve, between))
    assert np.abs(one - other).max() <= 2


@pytest.mark.parametrize("dot", [[[5.0, 6.0]], [[5.0, 6.0], [5.0, 6.0]]])
def test_a_dot_goes_nowhere(dot: list[list[float]]) -> None:
    trail = pen_trail([np.array(dot), BAR + 10], 24, 40)
    assert 1 <= np.count_nonzero(trail[0, :10, :10]) <= 4
    assert at(trail, 5)[:3] == [1, 128, 128]


def test_a_recognizer_sees_the_trail_on_the_ink_and_nowhere_else() -> None:
    strokes = [10 * BAR, 10 * BAR[:, ::-1]]
    rendering = Rendering(28.0, 3.0, trail=True)
    seen = ink_channels(strokes, rendering)
    assert rendering.channels == len(seen) == 1 + CHANNELS
    np.testing.assert_array_equal(seen[0], render_ink(strokes, CANONICAL))
    drawn = seen[0] > 0
    assert not seen[1:, ~drawn].any()
    assert (seen[1] > 0).sum() >= 0.4 * drawn.sum()
    np.testing.assert_array_equal(ink_channels(strokes, CANONICAL), seen[:1])
