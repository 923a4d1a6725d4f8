"""Formulas written by a machine, whose geometry is known to the digit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inktex.training.inkset import Expression

Points = NDArray[np.float32]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """A stroke with these extents."""
    return np.array([(left, top), (right, bottom)], np.float32)


def written(
    caption: str, strokes: Sequence[Points], writer: str = "", name: str = "made"
) -> Expression:
    """A formula of a caption whose inked tokens, those that are no mark, are a stroke each."""
    tokens = tuple(caption.split())
    ink: list[tuple[int, ...]] = []
    number = 0
    for token in tokens:
        inked = token not in ("{", "}", "^", "_", "\\limits", "[", "]")
        ink.append((number,) if inked else ())
        number += inked
    assert number == len(strokes)
    return Expression(name, writer, tokens, tuple(strokes), tuple(ink))


def pair(size: float = 10.0, x: float = 0.0, y: float = 0.0, writer: str = "") -> Expression:
    """Two digits of height `size` on the line of height `y`: 1 2"""
    low, high = y - size / 2, y + size / 2
    return written(
        "1 2",
        [box(x, low, x + 0.2 * size, high), box(x + 0.5 * size, low, x + size, high)],
        writer,
    )


def power(size: float = 10.0, ratio: float = 0.6, writer: str = "") -> Expression:
    """1 ^ { 2 }: the exponent's line stands at the top of the base, a tenth of a size behind."""
    inner = ratio * size
    return written(
        "1 ^ { 2 }",
        [
            box(0, -size / 2, 0.2 * size, size / 2),
            box(0.3 * size, -(size + inner) / 2, 0.3 * size + inner / 2, -(size - inner) / 2),
        ],
        writer,
    )


def fraction(size: float = 10.0, ratio: float = 0.8) -> Expression:
    r"""\frac { 1 } { 2 }: a bar from 0 to one size, 0.2 of it between bar and both numbers."""
    inner, gap = ratio * size, 0.2 * size
    left, right = 0.4 * size, 0.4 * size + 0.2 * inner
    return written(
        "\\frac { 1 } { 2 }",
        [
            box(0, 0, size, 0),
            box(left, -gap - inner, right, -gap),
            box(left, gap, left + 0.5 * inner, gap + inner),
        ],
    )


def root(size: float = 10.0, digits: int = 1) -> Expression:
    r"""\sqrt { 1 … }: the sign reaches 0.5 sizes to the left of it, 0.2 out everywhere else."""
    numbers = [
        box(number * 0.4 * size, -size / 2, (number * 0.4 + 0.2) * size, size / 2)
        for number in range(digits)
    ]
    sign = box(-0.5 * size, -0.7 * size, float(numbers[-1][1, 0]) + 0.2 * size, 0.7 * size)
    return written("\\sqrt { " + "1 " * digits + "}", [sign, *numbers])


def brackets(size: float = 10.0) -> Expression:
    """( 1 ): brackets a tenth of a size higher and lower than the digit."""
    low, high = -0.6 * size, 0.6 * size
    return written(
        "( 1 )",
        [
            box(0, low, 0.2 * size, high),
            box(0.4 * size, -size / 2, 0.6 * size, size / 2),
            box(0.8 * size, low, size, high),
        ],
    )
