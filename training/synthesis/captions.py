"""New captions: parts of real ones put together anew, and rows as a grammar writes them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .kinds import BRACKETS, CAPITAL, DIGIT, GREEK, JOINTS, LETTER, PAIRS, kind
from .samples import matched
from .tree import LINE, ROLES, Node, Row, caption

_RENAMED = (LETTER, CAPITAL, GREEK)
_START = ""
_DEEPEST = 4  # rows within rows that the grammar writes
_TRIES = 20

_Shape = tuple[str, tuple[str, ...]]
"""A token and the roles of what hangs on it."""


@dataclass(frozen=True)
class Writing:
    """What captions are made of.

    Attributes:
        grammar: share of the captions that the grammar writes; the others are recombined.
        exchanges: mean number of parts of a real caption that are exchanged for parts of others.
        renaming: share of the letters, and of the digits, that become others.
        longest: tokens of a caption.
    """

    grammar: float = 0.2
    exchanges: float = 1.5
    renaming: float = 0.3
    longest: int = 60


class Captions:
    """Writes new captions that resemble real ones.

    The grammar is that of the trees: which symbol follows which in a row of its role, and which
    scripts a symbol has; a Markov chain in each row (as in stochastic tree grammars).

    Args:
        rows: of real formulas by role; those of role `LINE` are whole formulas.
        writing: what is made of them.
    """

    def __init__(self, rows: Mapping[str, Sequence[Row]], writing: Writing) -> None:
        self.rows, self.writing = rows, writing
        self.operands = {
            role: [part for row in rows.get(role, ()) for part in _operands(row)] for role in ROLES
        }
        fitting = [row for row in rows[LINE] if length(row) <= writing.longest]
        self.short = fitting or [min(rows[LINE], key=length)]
        self.followers = _followers(rows)
        self.names = _names(rows)

    def caption(self, rng: Generator) -> Row:
        """A new formula of at most `longest` tokens, where any real one has as few."""
        for _ in range(_TRIES):
            if rng.random() < self.writing.grammar:
                row = self._written(LINE, 0, rng)
            else:
                row = self._recombined(rng)
            row = self._renamed(row, rng)
            if length(row) <= self.writing.longest:
                return row
        return self._some(self.short, rng, 1)[0]

    def _some(self, rows: Sequence[Row], rng: Generator, size: int) -> list[Row]:
        return [rows[number] for number in rng.integers(len(rows), size=size)]

    def _recombined(self, rng: Generator) -> Row:
        (row,) = self._some(self.rows[LINE], rng, 1)
        for _ in range(rng.poisson(self.writing.exchanges)):
            row = self._exchanged(row, LINE, int(rng.integers(_count(row))), count(), rng)
        return row

    def _exchanged(
        self, row: Row, role: str, place: int, visited: Iterator[int], rng: Generator
    ) -> Row:
        """The row, with something else in the one row in it that is visited at `place`."""
        if next(visited) == place:
            return self._changed(row, role, rng)
        return tuple(
            node.with_parts(
                [self._exchanged(part, inner, place, visited, rng) for inner, part in node.parts()]
            )
            for node in row
        )

    def _changed(self, row: Row, role: str, rng: Generator) -> Row:
        """Another row of this role, or one operand exchanged for another that stood in its role."""
        spans = _spans(row)
        if role != LINE and (not spans or rng.random() < 0.5):
            return self._some(self.rows[role], rng, 1)[0]
        if not spans or not self.operands[role]:
            return row
        first, last = spans[rng.integers(len(spans))]
        (new,) = self._some(self.operands[role], rng, 1)
        return row[:first] + new + row[last:]

    def _written(self, role: str, depth: int, rng: Generator) -> Row:
        """A row as the grammar writes it."""
        for _ in range(_TRIES):
            row: list[Node] = []
            state = _START
            while (node := self._next(role, state, depth, rng)) is not None:
                row.append(node)
                state = node.token
                if len(row) > self.writing.longest:
                    break
            paired = {place for pair in matched([node.token for node in row]) for place in pair}
            row = [
                node
                for place, node in enumerate(row)
                if node.token not in BRACKETS or place in paired
            ]
            if row:
                return tuple(row)
        return self._some(self.rows[role], rng, 1)[0]

    def _next(self, role: str, state: str, depth: int, rng: Generator) -> Node | None:
        choices, cumulated = self.followers[role, state]
        for _ in range(_TRIES):
            node = choices[int(np.searchsorted(cumulated, rng.random(), side="right"))]
            if node is None:
                return None
            parts = node.parts()
            if not parts:
                return node
            if depth < _DEEPEST:
                return node.with_parts([self._written(inner, depth + 1, rng) for inner, _ in parts])
        return None

    def _renamed(self, row: Row, rng: Generator) -> Row:
        """Some letters become others, the same everywhere; some digits too, each by itself."""
        names: dict[str, str] = {}

        def other(token: str) -> str:
            sort = kind(token)
            if sort == DIGIT and rng.random() < self.writing.renaming:
                return self._name(sort, rng)
            if sort in _RENAMED:
                if token not in names:
                    chosen = rng.random() < self.writing.renaming
                    names[token] = self._name(sort, rng) if chosen else token
                return names[token]
            return token

        def walk(part: Row) -> Row:
            return tuple(
                replace(
                    node.with_parts([walk(inner) for _, inner in node.parts()]),
                    token=other(node.token),
                )
                for node in part
            )

        return walk(row)

    def _name(self, sort: str, rng: Generator) -> str:
        names, cumulated = self.names[sort]
        return names[int(np.searchsorted(cumulated, rng.random(), side="right"))]


def length(row: Row) -> int:
    """How many tokens its caption has."""
    return sum(1 for _ in caption(row))


def _count(row: Row) -> int:
    """How many rows there are in a row, with itself."""
    return 1 + sum(_count(part) for node in row for _, part in node.parts())


def _spans(row: Row) -> list[tuple[int, int]]:
    """(first, last + 1) of every operand: what stands between operators and relations, outside of
    brackets."""
    spans, first, depth = [], 0, 0
    for place, node in enumerate(row):
        depth += (node.token in PAIRS) - (node.token in PAIRS.values())
        if depth == 0 and kind(node.token) in JOINTS:
            spans.append((first, place))
            first = place + 1
    spans.append((first, len(row)))
    return [(start, end) for start, end in spans if start < end]


def _operands(row: Row) -> list[Row]:
    return [row[first:last] for first, last in _spans(row)]


def _followers(
    rows: Mapping[str, Sequence[Row]],
) -> dict[tuple[str, str], tuple[list[Node | None], NDArray[np.float64]]]:
    """By role and the token before: what follows, None at the end, with cumulated shares.

    Symbols that have the same parts are one: which rows these are is another question.
    """
    counts: dict[tuple[str, str], Counter[_Shape | None]] = defaultdict(Counter)
    shapes: dict[_Shape, Node] = {}
    for role, known in rows.items():
        for row in known:
            state = _START
            for node in row:
                shape = (node.token, tuple(inner for inner, _ in node.parts()))
                shapes.setdefault(shape, node)
                counts[role, state][shape] += 1
                state = node.token
            counts[role, state][None] += 1
    return {
        key: (
            [None if shape is None else shapes[shape] for shape in counter],
            _cumulated(list(counter.values())),
        )
        for key, counter in counts.items()
    }


def _names(rows: Mapping[str, Sequence[Row]]) -> dict[str, tuple[list[str], NDArray[np.float64]]]:
    """By sort: the tokens of it, with cumulated shares; the rare ones more often than they are."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for known in rows.values():
        for row in known:
            for node in row:
                counts[kind(node.token)][node.token] += 1
    return {
        sort: (list(counter), _cumulated(np.sqrt(list(counter.values()))))
        for sort, counter in counts.items()
    }


def _cumulated(weights: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.cumsum(np.asarray(weights, np.float64))
    cumulated: NDArray[np.float64] = total / total[-1]
    cumulated[-1] = 1.0
    return cumulated
