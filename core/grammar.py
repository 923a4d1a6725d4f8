r"""The grammar of the evaluation convention (see latex.py), as a mask over the vocabulary.

A formula is a row of one or more items. An item is a symbol, `\frac { F } { F }`, `\sqrt { F }`,
`\sqrt [ F ] { F }` or another command with its braced arguments; at most one subscript `_ { F }`
and then at most one superscript `^ { F }` follow it. `\sum`, `\int` and `\lim` carry their scripts
after `\limits`, which stands nowhere else. Every F is a formula again. Delimiters `( [ |` are
symbols and need no partner; only directly in the index of a root `[` and `]` are no symbols, since
the first `]` ends the index. Where the vocabulary is brief, an argument may also be one symbol
without braces.

`GrammarConstraint` is the pushdown automaton that accepts exactly these captions. Told how many
tokens are left, it also keeps out what could no longer be closed in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, auto
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .braces import stands_alone
from .errors import InputError, VocabularyError
from .latex_tables import (
    ARGUMENTS,
    DELIMITER_SIZES,
    INFIX,
    INKLESS,
    LIMITS,
    MAX_DEPTH,
    SYNONYMS,
)
from .vocabulary import EOS, SPECIAL_TOKENS, Vocabulary

# Not in the convention, and wrong LaTeX where they stand alone: never written.
OUTSIDE = INFIX | INKLESS | DELIMITER_SIZES | frozenset({"'", "&", r"\\", "$", "%", "#"})

# Groups within groups, so many that nobody writes them; `layout_tree` counts two levels for each.
MAX_GROUPS = MAX_DEPTH // 2


class Kind(IntEnum):
    """What a token is to the grammar."""

    NEVER = auto()
    SYMBOL = auto()
    ALONE = auto()  # a symbol that may be an argument without braces
    BIG_OPERATOR = auto()
    LIMITS = auto()
    SUBSCRIPT = auto()
    SUPERSCRIPT = auto()
    ONE_ARGUMENT = auto()
    TWO_ARGUMENTS = auto()
    ROOT = auto()
    OPEN_BRACE = auto()
    CLOSE_BRACE = auto()
    OPEN_BRACKET = auto()
    CLOSE_BRACKET = auto()
    END = auto()


class Group(IntEnum):
    """What has been begun and not yet closed: an entry of the stack."""

    FORMULA = auto()  # the whole
    SUBSCRIPT = auto()
    SUPERSCRIPT = auto()
    ARGUMENT = auto()  # the last or only argument of a command
    FIRST_ARGUMENT = auto()  # another one follows
    INDEX = auto()  # of a root, above the ARGUMENT that follows it


class Place(IntEnum):
    """Where in the innermost group the next token will stand."""

    EMPTY = auto()  # the group has been opened and holds nothing
    AFTER_ITEM = auto()  # both scripts may follow
    AFTER_BIG_OPERATOR = auto()  # \limits may follow
    AFTER_LIMITS = auto()  # a script must follow
    AFTER_SUBSCRIPT = auto()  # a superscript may follow
    AFTER_SUPERSCRIPT = auto()  # no script may follow
    BEFORE_BRACE = auto()  # the group's brace must follow
    BEFORE_BRACE_OR_INDEX = auto()  # after \sqrt: its brace or a bracket
    END = auto()  # <eos> has been written


_CLOSED_BY = dict.fromkeys(Group, Kind.CLOSE_BRACE) | {
    Group.FORMULA: Kind.END,
    Group.INDEX: Kind.CLOSE_BRACKET,
}
# The fewest tokens that close a group which holds something; and, before that, the fewest that
# lead from a place to one where the group may be closed. With braces: not every vocabulary can do
# without.
_TO_CLOSE = dict.fromkeys(Group, 1) | {
    Group.FIRST_ARGUMENT: 4,  # } { x }
    Group.INDEX: 3,  # ] { x   (the last brace is counted by the ARGUMENT below)
}
_TO_FILL = dict.fromkeys(Place, 0) | {
    Place.EMPTY: 1,  # x
    Place.AFTER_LIMITS: 4,  # _ { x }
    Place.BEFORE_BRACE: 2,  # { x
    Place.BEFORE_BRACE_OR_INDEX: 2,
}
# What begins a group, at once or, as \limits, with the token that must come next.
_DEEPENS = frozenset(
    {Kind.SUBSCRIPT, Kind.SUPERSCRIPT, Kind.LIMITS}
    | {Kind.ONE_ARGUMENT, Kind.TWO_ARGUMENTS, Kind.ROOT}
)
# No token lengthens the shortest completion by more (\frac, by 6, and it takes 1 itself): with so
# many tokens to spare everything that the grammar allows is allowed.
_AMPLE = 7


class GrammarState(NamedTuple):
    """What the automaton knows of the tokens written so far; immutable and hashable.

    stack: the groups that are open, the innermost last
    place: in the innermost of them
    shortest: the fewest tokens, `<eos>` included, that complete the formula
    """

    stack: tuple[Group, ...]
    place: Place
    shortest: int


class GrammarConstraint:
    """Which tokens may come next, so that a search writes nothing but well-formed captions.

    Tokens that the grammar does not name are symbols; tokens it names may be absent from the
    vocabulary (without `\\limits`, `\\sum` and the like carry scripts as a symbol does). Never
    allowed are `<pad>`, `<sos>`, braces that belong to nothing, environments, and `OUTSIDE`.

    >>> vocabulary = Vocabulary(("<pad>", "<sos>", "<eos>", "^", "x", "{", "}"))
    >>> grammar = GrammarConstraint(vocabulary)
    >>> state = grammar.advance(grammar.start(), vocabulary.index["x"])
    >>> [vocabulary.tokens[token] for token in grammar.allowed(state, 9).nonzero()[0]]
    ['<eos>', '^', 'x']
    >>> [vocabulary.tokens[token] for token in grammar.allowed(state, 2).nonzero()[0]]
    ['<eos>', 'x']

    Raises:
        VocabularyError: the vocabulary holds no symbol, so no formula can be written with it.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._kinds = _kinds(vocabulary)
        self._kind_of = np.array(self._kinds)  # [vocab]
        self._masks: dict[tuple[Place, Group, bool, int], npt.NDArray[np.bool_]] = {}
        if not {Kind.SYMBOL, Kind.ALONE, Kind.BIG_OPERATOR} & set(self._kinds):
            raise VocabularyError(
                "the grammar needs at least one symbol, such as x, to write a formula; "
                f"this vocabulary holds only {' '.join(vocabulary.tokens)}"
            )

    def start(self) -> GrammarState:
        """The state before the first token."""
        return _state((Group.FORMULA,), Place.EMPTY)

    def allowed(self, state: GrammarState, tokens_left: int) -> npt.NDArray[np.bool_]:
        """The tokens that keep the formula well-formed and able to end in time.

        Args:
            state: after the tokens written so far.
            tokens_left: how many tokens may still be written, the next one and `<eos>` included.

        Returns:
            bool `[vocab]`, read-only and shared between calls; at least one is true, unless
            `<eos>` has been written.

        Raises:
            InputError: `tokens_left` is too few to complete the formula.
        """
        spare = tokens_left - state.shortest
        if spare < 0:
            raise InputError(
                f"completing the formula takes at least {state.shortest} tokens, <eos> included, "
                f"and {tokens_left} are left; allow more tokens (max_length)"
            )
        room = len(state.stack) < MAX_GROUPS
        key = (state.place, state.stack[-1], room, min(spare, _AMPLE))
        mask = self._masks.get(key)
        if mask is None:
            mask = self._masks[key] = self._mask(state, spare)
        return mask

    def _mask(self, state: GrammarState, spare: int) -> npt.NDArray[np.bool_]:
        """`allowed`, worked out: of the stack, only its top and whether it is full matter."""
        fitting = []
        for kind in Kind:
            following = _follow(state, kind)
            if following is not None and 1 + following.shortest - state.shortest <= spare:
                fitting.append(kind)
        mask = np.isin(self._kind_of, fitting)
        mask.setflags(write=False)
        return mask

    def after(self, state: GrammarState, token: int, tokens_left: int) -> GrammarState | None:
        """The state after one more token; None where `allowed` leaves the token out.

        Args:
            state, tokens_left: as for `allowed`, which raises where these are too few.
        """
        following = _follow(state, self._kinds[token])
        return following if following and following.shortest < tokens_left else None

    def accepts(self, caption: Iterable[int]) -> bool:
        """Whether a search can write these tokens, and `<eos>` after them."""
        state: GrammarState | None = self.start()
        for token in caption:
            state = state and _follow(state, self._kinds[token])
        return bool(state and _follow(state, Kind.END))

    def advance(self, state: GrammarState, token: int) -> GrammarState:
        """The state after one more token.

        Raises:
            InputError: the token may not stand here.
        """
        following = _follow(state, self._kinds[token])
        if following is None:
            written = self.vocabulary.tokens
            expected = np.flatnonzero(self.allowed(state, state.shortest + _AMPLE))
            raise InputError(
                f"the token {written[token]!r} cannot stand here; "
                f"expected one of: {' '.join(written[number] for number in expected) or 'nothing'}"
            )
        return following


def _kinds(vocabulary: Vocabulary) -> list[Kind]:
    """The kind of every token; NEVER where the vocabulary lacks what must follow the token."""
    has_braces = "{" in vocabulary and "}" in vocabulary
    has_scripts = has_braces and ("_" in vocabulary or "^" in vocabulary)
    named = dict.fromkeys((*OUTSIDE, *SPECIAL_TOKENS), Kind.NEVER) | {EOS: Kind.END}
    if has_scripts and r"\limits" in vocabulary:
        named |= dict.fromkeys(LIMITS, Kind.BIG_OPERATOR) | {r"\limits": Kind.LIMITS}
    if "[" in vocabulary and "]" in vocabulary:
        named |= {"[": Kind.OPEN_BRACKET, "]": Kind.CLOSE_BRACKET}
    braced = {"{": Kind.OPEN_BRACE, "}": Kind.CLOSE_BRACE}
    braced |= {"_": Kind.SUBSCRIPT, "^": Kind.SUPERSCRIPT, r"\sqrt": Kind.ROOT}

    kinds = []
    for token in vocabulary.tokens:
        arguments = ARGUMENTS.get(SYNONYMS.get(token, token), 0)
        if token in named:
            kinds.append(named[token])
        elif token.startswith((r"\begin", r"\end")):
            kinds.append(Kind.NEVER)
        elif token in braced or arguments:
            counted = Kind.TWO_ARGUMENTS if arguments == 2 else Kind.ONE_ARGUMENT
            kinds.append(braced.get(token, counted) if has_braces else Kind.NEVER)
        else:
            alone = vocabulary.brief and stands_alone(token)
            kinds.append(Kind.ALONE if alone else Kind.SYMBOL)
    return kinds


def _state(stack: tuple[Group, ...], place: Place) -> GrammarState:
    closing = 0 if place is Place.END else sum(_TO_CLOSE[group] for group in stack)
    return GrammarState(stack, place, _TO_FILL[place] + closing)


@lru_cache(1 << 12)  # a search asks at every token, and seldom anything new
def _follow(state: GrammarState, kind: Kind) -> GrammarState | None:
    """The transition function of the automaton; None where a token of this kind may not stand."""
    stack, place = state.stack, state.place
    group = stack[-1]

    if place is Place.END or kind is Kind.NEVER:
        return None
    if kind in _DEEPENS and len(stack) >= MAX_GROUPS:
        return None

    if place in (Place.BEFORE_BRACE, Place.BEFORE_BRACE_OR_INDEX):
        if kind is Kind.OPEN_BRACE:
            return _state(stack, Place.EMPTY)
        if kind is Kind.OPEN_BRACKET and place is Place.BEFORE_BRACE_OR_INDEX:
            room = len(stack) < MAX_GROUPS
            return _state((*stack, Group.INDEX), Place.EMPTY) if room else None
        return _close(stack) if kind is Kind.ALONE else None

    if kind is Kind.SUBSCRIPT:
        fits = place in (Place.AFTER_ITEM, Place.AFTER_LIMITS)
        return _state((*stack, Group.SUBSCRIPT), Place.BEFORE_BRACE) if fits else None
    if kind is Kind.SUPERSCRIPT:
        fits = place in (Place.AFTER_ITEM, Place.AFTER_LIMITS, Place.AFTER_SUBSCRIPT)
        return _state((*stack, Group.SUPERSCRIPT), Place.BEFORE_BRACE) if fits else None
    if place is Place.AFTER_LIMITS:
        return None
    if kind is Kind.LIMITS:
        fits = place is Place.AFTER_BIG_OPERATOR
        return _state(stack, Place.AFTER_LIMITS) if fits else None

    if kind is _CLOSED_BY[group]:
        return None if place is Place.EMPTY else _close(stack)
    if kind in (Kind.SYMBOL, Kind.ALONE):
        return _state(stack, Place.AFTER_ITEM)
    if kind in (Kind.OPEN_BRACKET, Kind.CLOSE_BRACKET):
        return None if group is Group.INDEX else _state(stack, Place.AFTER_ITEM)
    if kind is Kind.BIG_OPERATOR:
        return _state(stack, Place.AFTER_BIG_OPERATOR)
    if kind is Kind.ONE_ARGUMENT:
        return _state((*stack, Group.ARGUMENT), Place.BEFORE_BRACE)
    if kind is Kind.TWO_ARGUMENTS:
        return _state((*stack, Group.FIRST_ARGUMENT), Place.BEFORE_BRACE)
    if kind is Kind.ROOT:
        return _state((*stack, Group.ARGUMENT), Place.BEFORE_BRACE_OR_INDEX)
    return None  # <eos> or a brace that closes nothing, or a brace that opens nothing


def _close(stack: tuple[Group, ...]) -> GrammarState:
    """The state after the innermost group, which holds something, has been closed."""
    group, below = stack[-1], stack[:-1]
    if group is Group.FORMULA:
        return _state(stack, Place.END)
    if group is Group.SUBSCRIPT:
        return _state(below, Place.AFTER_SUBSCRIPT)
    if group is Group.SUPERSCRIPT:
        return _state(below, Place.AFTER_SUPERSCRIPT)
    if group is Group.FIRST_ARGUMENT:
        return _state((*below, Group.ARGUMENT), Place.BEFORE_BRACE)
    if group is Group.INDEX:
        return _state(below, Place.BEFORE_BRACE)
    return _state(below, Place.AFTER_ITEM)
