"""New formulas from two: what stands left of an operator in one, and right of one in another.

Recombining written formulas gives the decoder contexts and lengths that the data set has not
(pattern generation after Le, Indurkhya and Nakagawa, 2019, doi:10.1016/j.patrec.2019.09.002, here
on strokes, with the operator as the joint: it stands on the line of both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..core.latex_tables import PLACING
from ..core.rendering import normalized_strokes
from .inkset import Expression

_JOINTS = frozenset({"+", "-", "=", "<", ">", "\\leq", "\\geq", "\\neq", "\\pm", "\\times"})
_OPENING = frozenset({"{", "(", "[", "\\{", "\\langle", "\\lfloor", "\\lceil", "\\begin{matrix}"})
_CLOSING = frozenset({"}", ")", "]", "\\}", "\\rangle", "\\rfloor", "\\rceil", "\\end{matrix}"})
_BAR = "|"


def joints(expression: Expression) -> list[int]:
    """Indices of the operators at which an expression can be cut.

    They stand outside all braces, brackets and matrices, with something on both sides. There are
    none where it is not known of every stroke and of every symbol which belong together, as in
    images.
    """
    if expression.image is not None:
        return []
    owned = [index for indices in expression.ink for index in indices]
    if len(owned) != len(expression.strokes) or set(owned) != set(range(len(owned))):
        return []
    depth, barred = 0, False
    found = []
    for number, (token, ink) in enumerate(zip(expression.caption, expression.ink, strict=True)):
        if not ink and token not in PLACING:
            return []
        depth += (token in _OPENING) - (token in _CLOSING)
        barred ^= token == _BAR
        if (
            depth == 0
            and not barred
            and token in _JOINTS
            and 0 < number < len(expression.caption) - 1
        ):
            found.append(number)
    return found


def splice(left: Expression, cut: int, right: Expression, other_cut: int) -> Expression:
    """`left` up to and with its operator at `cut`, then what follows the one in `right`.

    Both come to the same symbol size; the operators, of which that of `left` stays, are laid
    upon each other, centre on centre in height and right end on right end.
    """
    mine = _pixels(left)
    others = _pixels(right)
    end, other_end = _end(mine, left.ink[cut]), _end(others, right.ink[other_cut])
    strokes: list[NDArray[np.float32]] = []
    ink: list[tuple[int, ...]] = []
    for pixels, source, shift in (
        (mine, left.ink[: cut + 1], np.zeros(2)),
        (others, right.ink[other_cut + 1 :], end - other_end),
    ):
        for indices in source:
            ink.append(tuple(range(len(strokes), len(strokes) + len(indices))))
            strokes.extend((pixels[index] + shift).astype(np.float32) for index in indices)
    return Expression(
        f"{left.identifier}+{right.identifier}",
        left.writer,
        left.caption[: cut + 1] + right.caption[other_cut + 1 :],
        tuple(strokes),
        tuple(ink),
    )


def all_joints(expressions: Sequence[Expression]) -> dict[int, list[int]]:
    """The joints of those expressions that have some, by their numbers."""
    return {number: found for number, each in enumerate(expressions) if (found := joints(each))}


def with_splices(
    expressions: Sequence[Expression],
    share: float,
    longest: int,
    rng: Generator,
    cuts: Mapping[int, Sequence[int]] | None = None,
) -> list[Expression]:
    """The expressions, of which about `share` are replaced by splices of themselves with others.

    Args:
        share: of the expressions that can be cut, 0..1.
        longest: a splice of more tokens is not made.
        cuts: `all_joints(expressions)`, where that is known already.
    """
    cuts = all_joints(expressions) if cuts is None else cuts
    result = list(expressions)
    able = np.array(sorted(cuts), np.int64)
    for number in able[rng.random(len(able)) < share].tolist():
        other = int(rng.choice(able))
        cut, other_cut = int(rng.choice(cuts[number])), int(rng.choice(cuts[other]))
        length = cut + len(expressions[other].caption) - other_cut
        if length <= longest:
            result[number] = splice(expressions[number], cut, expressions[other], other_cut)
    return result


def _pixels(expression: Expression) -> list[NDArray[np.float64]]:
    return normalized_strokes([stroke.astype(np.float64) for stroke in expression.strokes])


def _end(strokes: Sequence[NDArray[np.float64]], indices: Sequence[int]) -> NDArray[np.float64]:
    """[2]: the right end of some strokes, half-way down"""
    points = np.concatenate([strokes[index] for index in indices])
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([high[0], (low[1] + high[1]) / 2])
