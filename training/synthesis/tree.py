r"""Captions as trees whose symbols know their strokes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ...core.latex_tables import ARGUMENTS as COMMANDS
from ...core.latex_tables import LIMITS, PLACING
from ..inkset import Expression

LINE, INDEX, RADICAND = "line", "index", "radicand"
HALVES = ("numerator", "denominator")
SUBSCRIPT, SUPERSCRIPT = "subscript", "superscript"
LOWER_LIMIT, UPPER_LIMIT = "lower limit", "upper limit"
ROLES = (LINE, *HALVES, RADICAND, INDEX, SUBSCRIPT, SUPERSCRIPT, LOWER_LIMIT, UPPER_LIMIT)
"""Where a row stands: the whole formula, or a part of what it hangs on."""
ARGUMENTS = frozenset({*HALVES, RADICAND})
"""What belongs to the body of a symbol; the rest is smaller and stands around it."""
UPPER = frozenset({SUPERSCRIPT, UPPER_LIMIT, INDEX})
"""What hangs on the upper side."""


@dataclass(frozen=True)
class Node:
    r"""A symbol, or a command with its arguments, and the scripts on it.

    Attributes:
        token: what the caption calls it.
        arguments: the rows of `\frac` or `\sqrt`, an index of a root first.
        sub, sup: None where there is none.
        strokes: indices of its own strokes in the formula that it comes from; of a fraction its
            bar, of a root its sign.
    """

    token: str
    arguments: tuple[Row, ...] = ()
    sub: Row | None = None
    sup: Row | None = None
    strokes: tuple[int, ...] = ()

    def parts(self) -> list[tuple[str, Row]]:
        """(role, row) of all rows that hang on it, in the order of the caption."""
        arguments = HALVES if self.token == r"\frac" else (INDEX, RADICAND)
        found = list(zip(arguments[-len(self.arguments) :], self.arguments, strict=False))
        limits = self.token in LIMITS
        if self.sub is not None:
            found.append((LOWER_LIMIT if limits else SUBSCRIPT, self.sub))
        if self.sup is not None:
            found.append((UPPER_LIMIT if limits else SUPERSCRIPT, self.sup))
        return found

    def with_parts(self, rows: Sequence[Row]) -> Node:
        """The same with other rows, in the order of `parts`."""
        count = len(self.arguments)
        scripts = iter(rows[count:])
        return replace(
            self,
            arguments=tuple(rows[:count]),
            sub=None if self.sub is None else next(scripts),
            sup=None if self.sup is None else next(scripts),
        )


Row: TypeAlias = "tuple[Node, ...]"


def written_tree(expression: Expression) -> Row | None:
    """The tree of a formula; None where it has commands that are never laid out here (matrices,
    accents), scripts on nothing, or ink of which it is not known what it is."""
    owned = [index for indices in expression.ink for index in indices]
    if expression.image is not None or sorted(owned) != list(range(len(expression.strokes))):
        return None
    for token, ink in zip(expression.caption, expression.ink, strict=True):
        symbol = token not in PLACING and token not in "[]"
        if (symbol and not ink) or (token in COMMANDS and token not in (r"\frac", r"\sqrt")):
            return None
    try:
        return _Parser(expression).row(lambda token: False)
    except _UnusualError:
        return None


def caption(row: Row) -> Iterator[tuple[str, Node | None]]:
    """(token, node whose ink it is or None) in the evaluation convention"""
    for node in row:
        yield node.token, node
        arguments = node.arguments
        if node.token == r"\sqrt" and len(arguments) == 2:
            yield "[", None
            yield from caption(arguments[0])
            yield "]", None
            arguments = arguments[1:]
        for argument in arguments:
            yield from _braced(argument)
        if node.token in LIMITS and (node.sub is not None or node.sup is not None):
            yield r"\limits", None
        for mark, script in (("_", node.sub), ("^", node.sup)):
            if script is not None:
                yield mark, None
                yield from _braced(script)


def _braced(row: Row) -> Iterator[tuple[str, Node | None]]:
    yield "{", None
    yield from caption(row)
    yield "}", None


class _UnusualError(Exception):
    """Not one of the formulas that are laid out here."""


class _Parser:
    """Of captions in the convention: what they leave out need not be understood."""

    def __init__(self, expression: Expression) -> None:
        self.tokens, self.ink = expression.caption, expression.ink
        self.next = 0

    def peek(self) -> str | None:
        return self.tokens[self.next] if self.next < len(self.tokens) else None

    def take(self, expected: str) -> None:
        if self.peek() != expected:
            raise _UnusualError
        self.next += 1

    def row(self, closes: Callable[[str], bool]) -> Row:
        nodes: list[Node] = []
        while (token := self.peek()) is not None and not closes(token):
            nodes.append(self.node())
        if not nodes:
            raise _UnusualError
        return tuple(nodes)

    def group(self) -> Row:
        self.take("{")
        row = self.row(lambda token: token == "}")
        self.take("}")
        return row

    def node(self) -> Node:
        token, strokes = self.tokens[self.next], self.ink[self.next]
        if not strokes:
            raise _UnusualError
        self.next += 1
        arguments: list[Row] = []
        if token == r"\sqrt" and self.peek() == "[" and not self.ink[self.next]:
            self.take("[")
            arguments.append(self.row(lambda token: token == "]"))
            self.take("]")
        arguments += [self.group() for _ in range(COMMANDS.get(token, 0))]
        if self.peek() == r"\limits":
            self.take(r"\limits")
        scripts: dict[str, Row] = {}
        for mark in ("_", "^"):
            if self.peek() == mark:
                self.take(mark)
                scripts[mark] = self.group()
        return Node(token, tuple(arguments), scripts.get("_"), scripts.get("^"), strokes)
