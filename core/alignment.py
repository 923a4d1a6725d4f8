"""Which token of a prediction stands for which token of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SAME, SUBSTITUTED, MISSING, EXTRA = "same", "substituted", "missing", "extra"
"""The kinds of a pair: equal tokens, one for another, overlooked, read though it is not there."""


class Pair(NamedTuple):
    """A token of the reference and the one that stands for it; None where there is none."""

    reference: str | None
    prediction: str | None

    @property
    def kind(self) -> str:
        """`SAME`, `SUBSTITUTED`, `MISSING` or `EXTRA`."""
        if self.reference == self.prediction:
            return SAME
        if self.prediction is None:
            return MISSING
        return EXTRA if self.reference is None else SUBSTITUTED


def align(reference: Sequence[str], prediction: Sequence[str]) -> list[Pair]:
    """Pair two captions off with the fewest token edits (Levenshtein, 1966).

    Among those alignments it is one that keeps the most tokens, so that `a b` read as `b c` is
    an `a` overlooked and a `c` too many, rather than two confusions; where even that leaves a
    choice, the later of equal tokens are paired.

    >>> [tuple(pair) for pair in align("x ^ 2".split(), "x 3".split())]
    [('x', 'x'), ('^', None), ('2', '3')]

    Returns:
        Pairs in order; without the Nones, their sides are the two captions.
    """
    rows, columns = len(reference), len(prediction)
    edit = rows + columns + 1  # dearer than all the tokens that could be kept
    costs = [[edit * j for j in range(columns + 1)]]
    for i, expected in enumerate(reference, start=1):
        row = [edit * i]
        for j, found in enumerate(prediction, start=1):
            diagonal = costs[i - 1][j - 1] + (-1 if expected == found else edit)
            row.append(min(diagonal, costs[i - 1][j] + edit, row[j - 1] + edit))
        costs.append(row)

    pairs: list[Pair] = []
    i, j = rows, columns
    while i or j:
        here = costs[i][j]
        if i and j:
            expected, found = reference[i - 1], prediction[j - 1]
            if here == costs[i - 1][j - 1] + (-1 if expected == found else edit):
                pairs.append(Pair(expected, found))
                i, j = i - 1, j - 1
                continue
        if i and here == costs[i - 1][j] + edit:
            pairs.append(Pair(reference[i - 1], None))
            i -= 1
        else:
            pairs.append(Pair(None, prediction[j - 1]))
            j -= 1
    return pairs[::-1]
