from __future__ import annotations

import numpy as np
import pytest

from inktex.training.inkset import Expression
from inktex.training.synthesis.geometry import Box, LaidRow, box_of, laid_rows, middle, union
from inktex.training.synthesis.tree import written_tree

from .formulas import box, fraction, pair, power, written


def laid(expressions: list[Expression]) -> list[LaidRow]:
    trees = []
    for each in expressions:
        tree = written_tree(each)
        assert tree is not None
        trees.append(tree)
    return laid_rows(expressions, trees)


def test_boxes() -> None:
    one, other = Box(0, 0, 2, 1), Box(1, -1, 4, 0.5)
    assert union([one, other]) == Box(0, -1, 4, 1)
    assert (one.width, one.height, middle(other)) == (2, 1, 2.5)
    assert one.moved(1, 2).scaled(2) == Box(2, 4, 6, 6)
    assert box_of([box(0, 0, 2, 1), box(1, -1, 4, 0.5)]) == Box(0, -1, 4, 1)


def test_every_row_stands_on_the_line_that_it_was_written_on() -> None:
    """A line is the middle of the digits, its size their height, wherever and how large."""
    rng = np.random.default_rng(0)
    lines = [(float(10 ** rng.uniform(0, 3)), float(rng.uniform(-50, 50))) for _ in range(20)]
    rows = laid([pair(size, y=y) for size, y in lines])
    assert [row.line.size for row in rows] == pytest.approx([size for size, _ in lines], rel=1e-3)
    assert [row.line.y for row in rows] == pytest.approx([y for _, y in lines], abs=1e-2)


def test_a_letter_below_the_line_does_not_move_it() -> None:
    """`y` reaches below the digits: by its label, not by its line."""

    def beside(token: str, top: float, bottom: float) -> Expression:
        return written(f"1 {token}", [box(0, -5, 2, 5), box(3, top, 6, bottom)])

    rows = laid([beside("y", -2, 9)] * 5 + [beside("2", -5, 5)] * 5)
    assert [row.line.y for row in rows] == pytest.approx([0.0] * 10, abs=0.05)
    assert [row.line.size for row in rows] == pytest.approx([10.0] * 10, rel=0.03)


def test_an_exponent_has_a_line_of_its_own() -> None:
    rows = laid([power(size, 0.6) for size in (8, 10, 12, 14)] + [pair()] * 4)
    inner = [row for row in rows if row.role == "superscript"]
    assert len(inner) == 4
    for row in inner:
        outer = rows[row.parent]
        # one symbol alone is thought of as a little like what the others are
        assert row.line.size == pytest.approx(0.6 * outer.line.size, rel=0.15)
        assert outer.line.y - row.line.y == pytest.approx(0.5 * outer.line.size, rel=0.15)


def test_a_row_of_nothing_but_a_bar_takes_the_size_that_is_expected() -> None:
    rows = laid([fraction(10, 0.8)] * 5 + [pair()] * 5)
    outer = rows[0]
    assert outer.role == "line"
    assert 5 < outer.line.size < 20
    assert [row.role for row in rows[1:3]] == ["numerator", "denominator"]
    assert [row.line.size for row in rows[1:3]] == pytest.approx([8, 8], rel=0.05)


def test_nothing_has_no_rows() -> None:
    assert laid_rows([], []) == []
