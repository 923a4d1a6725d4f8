r"""What makes a formula two-dimensional: fractions, roots, scripts, big operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .errors import InputError
from .latex_tables import LIMITS
from .latex_tree import Atom, Row, layout_tree

FRACTIONS, ROOTS, SCRIPTS, BIG_OPERATORS = "fractions", "roots", "scripts", "big operators"
STRUCTURES = (FRACTIONS, ROOTS, SCRIPTS, BIG_OPERATORS)
"""All that `structures` tells apart."""

_OPERATORS = LIMITS | frozenset(
    {r"\prod", r"\coprod", r"\iint", r"\iiint", r"\oint", r"\bigcup", r"\bigcap", r"\bigsqcup"}
    | {r"\bigvee", r"\bigwedge", r"\bigoplus", r"\bigotimes", r"\bigodot", r"\biguplus"}
    | {r"\limsup", r"\liminf"}
)


def structures(tokens: Sequence[str]) -> frozenset[str]:
    r"""Which of `STRUCTURES` a formula has; empty for a plain row of symbols.

    The limits of a big operator (a sum, a product, an integral, a limit) are no scripts: they
    come with it. Tokens that are no well-formed formula are looked at one by one.

    >>> sorted(structures(r"\sum \limits _ { i } \frac { 1 } { i }".split()))
    ['big operators', 'fractions']
    >>> sorted(structures("x _ { 1 } + 2".split()))
    ['scripts']
    """
    try:
        row = layout_tree(tokens)
    except InputError:
        row = tuple(Atom(token) for token in tokens)
    return frozenset(_found(row))


def _found(row: Row) -> Iterator[str]:
    for atom in row:
        if atom.head == r"\frac":
            yield FRACTIONS
        elif atom.head == r"\sqrt":
            yield ROOTS
        if atom.head in _OPERATORS:
            yield BIG_OPERATORS
        elif atom.sub is not None or atom.sup is not None or atom.head in ("_", "^"):
            yield SCRIPTS
        for part in (*atom.arguments, atom.sub, atom.sup):
            if part is not None:
                yield from _found(part)
