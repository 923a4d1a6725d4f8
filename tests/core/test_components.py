from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from inktex.core.components import component_boxes


def flooded(ink: NDArray[np.bool_]) -> list[list[int]]:
    """The boxes by filling one component after the other, pixel by pixel."""
    left = {(int(row), int(column)) for row, column in np.argwhere(ink)}
    boxes = []
    for start in sorted(left):
        if start not in left:
            continue
        component, ahead = set(), [start]
        left.discard(start)
        while ahead:
            row, column = ahead.pop()
            component.add((row, column))
            for near in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in left:
                    left.discard(near)
                    ahead.append(near)
        rows, columns = zip(*component, strict=True)
        boxes.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
    return boxes


@given(
    arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)),
)
def test_boxes_are_those_of_a_flood_fill_in_the_same_order(ink: NDArray[np.bool_]) -> None:
    assert component_boxes(ink).tolist() == flooded(ink)


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.45, 0.6]))
def test_large_tangled_drawings_too(seed: int, density: float) -> None:
    ink = np.random.default_rng(seed).random((24, 31)) < density
    assert component_boxes(ink).tolist() == flooded(ink)


def test_a_spiral_is_one_and_a_comb_is_joined_at_its_end() -> None:
    size = 41
    spiral = np.zeros((size, size), bool)
    row = column = 0
    turn, low, high = 0, 0, size - 1
    spiral[row, column] = True
    while high - low > 2:
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            end = high - low if turn < 3 else high - low - 2
            for _ in range(end):
                row, column = row + step[0], column + step[1]
                spiral[row, column] = True
            turn += 1
            if turn >= 3 and turn % 2:
                low, high = low + 1, high - 1
    assert component_boxes(spiral).tolist() == flooded(spiral)
    comb = np.zeros((50, 101), bool)
    comb[:, ::2] = True
    comb[-1] = True
    assert component_boxes(comb).tolist() == [[0, 0, 101, 50]]
    assert len(component_boxes(comb[:-1])) == 51


def test_corners_join_and_gaps_part() -> None:
    ink = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    assert component_boxes(ink).tolist() == [[0, 0, 2, 2], [3, 2, 4, 3]]


def test_right_and_left_edges_do_not_meet() -> None:
    """The end of one row is no neighbour of the beginning of the next."""
    ink = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1]], bool)
    assert len(component_boxes(ink)) == 3


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (40, 70)])
def test_blank_and_full_paper(shape: tuple[int, int]) -> None:
    boxes = component_boxes(np.zeros(shape, bool))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.int64
    if min(shape):
        assert component_boxes(np.ones(shape, bool)).tolist() == [[0, 0, shape[1], shape[0]]]
