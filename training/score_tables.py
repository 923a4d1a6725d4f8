"""An analysis as short tables for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest

from ..core.alignment import EXTRA, MISSING, SUBSTITUTED
from ..core.metrics import Score
from .error_analysis import Analysis, Confusion, Group

_RATES = ("formulas", "exact %", "≤ 1 %", "≤ 2 %", "normalised %", "token errors %")
_CONFUSIONS = {SUBSTITUTED: "misread", MISSING: "overlooked", EXTRA: "not there"}


def score_tables(analysis: Analysis, most_confusions: int = 10) -> str:
    """The score, by length, by structure, and the most frequent confusions of each kind."""
    score = analysis.score
    low, high = (100 * bound for bound in score.exact_interval)
    lengths = [Group(f"{each.name} tokens", each.score) for each in analysis.by_length]
    sections = [[Group("all", score)], lengths, list(analysis.by_structure)]
    rows: list[Sequence[str]] = [("", *_RATES)]
    for section in sections:
        rows += [(group.name, *_cells(group.score)) for group in section]
        rows.append([""] * len(rows[0]))
    parts = [
        f"ExpRate {100 * score.exact:.2f} %, 95 % confidence interval {low:.1f} to {high:.1f} %",
        "\n".join(_aligned(rows[:-1], left={0})),
    ]
    missed = sum(analysis.misses.values())
    if missed:
        shares = ", ".join(
            f"{kind} {100 * count / missed:.0f} %" for kind, count in analysis.misses.items()
        )
        parts.append(f"of {missed} wrong readings: {shares}")
    if analysis.confusions:
        parts.append("\n".join(_confusions(analysis.confusions, most_confusions)))
    if analysis.unreadable:
        name, problem = next(iter(analysis.unreadable.items()))
        parts.append(
            f"{len(analysis.unreadable)} could not be read and count as wrong; the first is "
            f"{name}: {problem}"
        )
    return "\n\n".join(parts)


def _cells(score: Score) -> tuple[str, ...]:
    rates = (score.exact, score.within_1, score.within_2, score.normalized, score.token_error_rate)
    return (str(score.count), *(f"{100 * rate:.2f}" for rate in rates))


def _confusions(confusions: Sequence[Confusion], most: int) -> Iterator[str]:
    """The kinds side by side: what, and how often."""
    columns = [
        [(_named(each), str(each.count)) for each in confusions if each.kind == kind][:most]
        for kind in _CONFUSIONS
    ]
    header = [cell for name in _CONFUSIONS.values() for cell in (name, "times")]
    rows = [
        [cell for pair in row for cell in pair] for row in zip_longest(*columns, fillvalue=("", ""))
    ]
    return _aligned([header, *rows], left=range(0, len(header), 2))


def _named(confusion: Confusion) -> str:
    tokens = (confusion.reference, confusion.prediction)
    return " as ".join(token for token in tokens if token is not None)


def _aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> Iterator[str]:
    """Lines of columns of one width; those numbered `left` begin at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
