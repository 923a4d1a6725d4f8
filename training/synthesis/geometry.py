"""How people lay out formulas: the lines that symbols stand on, and what hangs where.

Every row of a formula has a line of its own: a height `y` and a size. A symbol stands on it as its
label says, from `top` to `bottom` in sizes from the line, more or less. Which lines the rows of
real formulas have, and which symbols stand how, is one least-squares problem with two kinds of
unknowns, solved for one after the other until both hold still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..inkset import Expression
from .tree import ROLES, Row

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ROUNDS = 12
_PRIOR = 0.3  # weight of the size that the row around expects, beside that of one digit of 0.5
_SPREAD = 0.1  # sizes: no label is thought to stand truer on its line
_SMALLEST = 0.3  # of the expected size
_FLATTEST = 0.1  # of the highest symbol: what is less says nothing of the size


class Box(NamedTuple):
    """What some ink takes up, y down."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def moved(self, x: float, y: float) -> Box:
        """The same elsewhere, by x and y."""
        return Box(self.left + x, self.top + y, self.right + x, self.bottom + y)

    def scaled(self, factor: float) -> Box:
        """The same, seen from (0, 0) at another scale."""
        return Box(*(factor * side for side in self))


class Line(NamedTuple):
    """Where a row stands: the middle of its digits, and their height."""

    y: float
    size: float


@dataclass(frozen=True)
class LaidRow:
    """A row of a real formula.

    Attributes:
        role: one of `ROLES`.
        expression: number of the formula.
        nodes: of the row.
        boxes: of the own ink of each node.
        parent: number of the row that it hangs in, -1 for the whole formula.
        line: where it stands.
    """

    role: str
    expression: int
    nodes: Row
    boxes: tuple[Box, ...]
    parent: int
    line: Line


def box_of(strokes: Sequence[NDArray[np.floating]]) -> Box:
    """The box of some strokes, arrays [n, 2]."""
    low = np.min([stroke.min(axis=0) for stroke in strokes], axis=0)
    high = np.max([stroke.max(axis=0) for stroke in strokes], axis=0)
    return Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around some."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return Box(min(left), min(top), max(right), max(bottom))


def middle(box: Box) -> float:
    """Half-way from left to right."""
    return (box.left + box.right) / 2


def laid_rows(expressions: Sequence[Expression], trees: Sequence[Row]) -> list[LaidRow]:
    """All rows of some formulas, each after the row that it hangs in, on their lines.

    Args:
        trees: of each expression, by `written_tree`.
    """
    rows: list[LaidRow] = []
    unknown = Line(0.0, 1.0)

    def walk(number: int, role: str, row: Row, parent: int) -> None:
        strokes = expressions[number].strokes
        boxes = tuple(box_of([strokes[index] for index in node.strokes]) for node in row)
        own = len(rows)
        rows.append(LaidRow(role, number, row, boxes, parent, unknown))
        for node in row:
            for part, inner in node.parts():
                walk(number, part, inner, own)

    for number, tree in enumerate(trees):
        walk(number, ROLES[0], tree, -1)
    if not rows:
        return []
    y, size = _lines(rows)
    return [
        LaidRow(row.role, row.expression, row.nodes, row.boxes, row.parent, Line(*line))
        for row, *line in zip(rows, y.tolist(), size.tolist(), strict=True)
    ]


def _lines(rows: Sequence[LaidRow]) -> tuple[FloatArray, FloatArray]:
    """y [rows] and size [rows] of all lines"""
    counts = [len(row.nodes) for row in rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    tokens = [node.token for row in rows for node in row.nodes]
    names, label = np.unique(tokens, return_inverse=True)
    spans = np.array([(box.top, box.bottom) for row in rows for box in row.boxes])  # [symbols, 2]
    parent = np.array([row.parent for row in rows])
    role = np.array([ROLES.index(row.role) for row in rows])
    members = [np.flatnonzero(label == number) for number in range(len(names))]
    digits = np.flatnonzero(np.isin(tokens, list("0123456789")))
    if not len(digits):
        digits = np.arange(len(tokens))

    formula = np.array([row.expression for row in rows])
    typical = _typical(spans[:, 1] - spans[:, 0], formula[owner])[formula]
    size = typical
    y = np.bincount(owner, spans.mean(axis=1)) / counts
    for _ in range(_ROUNDS):
        relative = (spans - y[owner, None]) / size[owner, None]
        middle = float(np.median(relative[digits].mean(axis=1)))
        height = float(np.median(np.ptp(relative[digits], axis=1))) or 1.0
        relative = (relative - middle) / height
        place = np.array([np.median(relative[each], axis=0) for each in members])  # [labels, 2]
        off = np.abs(relative - place[label]).mean(axis=1)
        spread = np.array([np.median(off[each]) for each in members])
        weight = (_SPREAD / (spread + _SPREAD))[label] ** 2
        expected = _expected(size, typical, parent, role)
        y, size = _fit(owner, len(rows), spans, place[label], weight, expected)
    return y, size


def _typical(heights: FloatArray, formula: IntArray) -> FloatArray:
    """[formulas]: the median height of the symbols that are not flat; 1 where all are"""
    order = np.argsort(formula, kind="stable")
    found = []
    for mine in np.split(heights[order], np.cumsum(np.bincount(formula))[:-1]):
        tall = mine[mine > _FLATTEST * mine.max(initial=0.0)]
        found.append(float(np.median(tall)) if len(tall) else 1.0)
    return np.array(found)


def _expected(
    size: FloatArray, typical: FloatArray, parent: IntArray, role: IntArray
) -> FloatArray:
    """[rows]: the size that a row should have by the one around it, or by the whole formula"""
    around = np.where(parent < 0, typical, size[parent])
    ratio = size / around
    usual = np.ones(len(ROLES))
    for number in np.unique(role):
        usual[number] = np.median(ratio[role == number])
    expected: FloatArray = around * usual[role]
    return expected


def _fit(
    owner: IntArray,
    count: int,
    spans: FloatArray,
    places: FloatArray,
    weights: FloatArray,
    expected: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """The lines with the least weighted squares of spans - (y + size * places), in expected sizes.

    Args:
        owner: [symbols], the row of each.
        spans, places: [symbols, 2], top and bottom, as written and relative to a line.
    """

    def total(values: FloatArray) -> FloatArray:
        sums: FloatArray = np.bincount(owner, values, minlength=count).astype(np.float64)
        return sums

    ones = total(2 * weights)
    place, square = total(weights * places.sum(axis=1)), total(weights * (places**2).sum(axis=1))
    span = total(weights * spans.sum(axis=1))
    product = total(weights * (spans * places).sum(axis=1))
    # ones * y + place * size = span;  place * y + (square + prior) * size = product + prior * e
    square, product = square + _PRIOR, product + _PRIOR * expected
    size = (ones * product - place * span) / (ones * square - place**2)
    size = np.maximum(size, _SMALLEST * expected)
    return (span - place * size) / ones, size
