r"""From tokens as people write them to tokens that say what is in the ink, before any parsing.

Here goes what leaves no ink (fonts, spaces, sizes), and what LaTeX can say in more than one order:
`{a \over b}`, `{\cal L}`, `\operatorname{sin}`. Every token keeps its position in what was given,
so that errors can name it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .latex_tables import (
    ANGLES,
    CALLIGRAPHIC,
    DELIMITER_SIZES,
    DIVISIONS,
    DOUBLE_BARS,
    FUNCTIONS,
    INKLESS,
    INKLESS_ARGUMENTS,
    STANDING,
    STARRED,
    STRUCTURE,
    SWITCHES,
    SYMBOLS,
    SYNONYMS,
    UPRIGHT,
)

Placed: TypeAlias = "tuple[int, str]"  # a token and its position

_SEPARATORS = ("&", r"\\")
_STANDS = [["[", where, "]"] for where in "tcb"]
_IN_LENGTH = frozenset("-.0123456789mcinptexu")
_LENGTH = re.compile(r"-?([0-9]+(\.[0-9]+)?|\.[0-9]+)(mm|cm|in|pt|ex|em|mu)")
_LONGEST_FUNCTION = max(map(len, FUNCTIONS))
# A pair of `\left` and `\right` bounds an infix command as braces do. They are moved inside their
# delimiters, where the row between them begins and ends.
_LEFT, _RIGHT = r"\left", r"\right"


def spelled(tokens: Sequence[str]) -> list[Placed]:
    r"""(position, token) of all that leaves ink or gives it its place, infix commands resolved.

    >>> " ".join(token for _, token in spelled(r"\left ( a \, \over b \right ) \cal L".split()))
    '( \\frac { a } { b } ) \\mathcal { L }'
    """
    return _without_infix(_without_switches(list(_inked(tokens))))


def distance_end(tokens: Sequence[str], place: int) -> int:
    r"""Behind the distance in brackets that begins at `place`, as after `\\`; `place` without one.

    >>> distance_end(["[", "2", "m", "m", "]", "x"], 0), distance_end(["[", "a", "]"], 0)
    (5, 0)
    """
    if _at(tokens, place) == "[":
        for end in range(place + 1, len(tokens)):
            if tokens[end] == "]":
                return end + 1 if _LENGTH.fullmatch("".join(tokens[place + 1 : end])) else place
            if not _IN_LENGTH.issuperset(tokens[end]):
                break
    return place


def _inked(tokens: Sequence[str]) -> Iterator[Placed]:
    """What leaves ink or structure, with `_LEFT` and `_RIGHT` inside their delimiters."""
    inked, level = _next_inked(tokens), _next_level(tokens)
    place = 0
    while place < len(tokens):
        position, token = place, STRUCTURE.get(tokens[place], tokens[place])
        place += 1
        if token in STARRED and _at(tokens, place) == "*":
            place += 1
        if token in UPRIGHT and (end := _function_end(tokens, place, token in SWITCHES, inked)):
            letters = filter(_is_letter, tokens[place:end])
            yield position, "\\" + "".join(letters)
            place = end
        elif token in DELIMITER_SIZES:
            delimiter = _at(tokens, place)
            if delimiter == ".":  # no ink
                delimiter = ""
                place += 1
            if token == _RIGHT:
                yield position, _RIGHT
            if delimiter in ANGLES:
                yield place, ANGLES[delimiter]
                place += 1
            elif token == _LEFT and _is_delimiter(delimiter):
                yield from ((place, part) for part in _bars(delimiter))
                place += 1
            if token == _LEFT:
                yield position, _LEFT
        elif token in INKLESS_ARGUMENTS and level[place] > place + 1:
            place = level[place]
        elif token not in INKLESS:
            yield from ((position, part) for part in _bars(token))
            if token == r"\\" and tokens[position] != r"\cr":
                place = distance_end(tokens, place)
            elif token in STANDING and list(tokens[place : place + 3]) in _STANDS:
                place += 3


def _at(tokens: Sequence[str], place: int) -> str:
    return tokens[place] if place < len(tokens) else ""


def _is_letter(token: str) -> bool:
    return len(token) == 1 and token.isalpha()


def _bars(token: str) -> tuple[str, ...]:
    return ("{", "|", "|", "}") if token in DOUBLE_BARS else (token,)


def _is_delimiter(token: str) -> bool:
    if len(token) == 1:
        return token not in "{}^_&'"
    return token in SYMBOLS or token in SYNONYMS or token in DOUBLE_BARS


# What follows a token is looked up, not searched for: a caption of nothing but such tokens would
# be searched to its end as often as it is long.
def _next_inked(tokens: Sequence[str]) -> list[int]:
    """For every place, that or the next one whose token is not INKLESS; at last, the end."""
    found = [len(tokens)] * (len(tokens) + 1)
    for place in range(len(tokens) - 1, -1, -1):
        found[place] = found[place + 1] if tokens[place] in INKLESS else place
    return found


def _next_level(tokens: Sequence[str]) -> list[int]:
    """For every place, the next one that as many braces are open at: where a group begins, the
    place behind it; 0 where there is none."""
    found = [0] * (len(tokens) + 1)
    later = {0: len(tokens)}  # the next place, by the braces open at it, as many as at the end
    depth = 0
    for place in range(len(tokens) - 1, -1, -1):
        depth -= (tokens[place] == "{") - (tokens[place] == "}")
        found[place] = later.get(depth, 0)
        later[depth] = place
    return found


def _function_end(tokens: Sequence[str], place: int, switch: bool, inked: Sequence[int]) -> int:
    """Behind the letters in braces that spell a function, 0 where they spell none; after a switch
    also behind letters that a closing brace follows."""
    braced = _at(tokens, place) == "{"
    if not braced and not switch:
        return 0
    name = "\\"
    end = inked[place + braced]
    while end < len(tokens) and len(name) <= _LONGEST_FUNCTION:
        token = tokens[end]
        if token == "}":
            return end + braced if name in FUNCTIONS else 0
        if not _is_letter(token):
            return 0
        name += token
        end = inked[end + 1]
    return 0


def _without_switches(tokens: list[Placed]) -> list[Placed]:
    r"""`{ \cal L }` as `{ \mathcal { L } }`; a switch over more than letters stays, for the parser
    to refuse."""
    result: list[Placed] = []
    place = 0
    while place < len(tokens):
        position, token = tokens[place]
        end = place + 1
        while token == CALLIGRAPHIC and end < len(tokens) and _is_letter(tokens[end][1]):
            end += 1
        ends = end == len(tokens) or tokens[end][1] == "}"
        if end > place + 1 and ends:
            result += [(position, r"\mathcal"), (position, "{"), *tokens[place + 1 : end]]
            result.append((position, "}"))
            place = end
        else:
            result.append((position, token))
            place += 1
    return result


@dataclass
class _Group:
    """An open group: what opened it, where its row begins, and what is to close its division."""

    opened_by: str
    start: int
    closing: tuple[str, ...] = ()


def _without_infix(tokens: list[Placed]) -> list[Placed]:
    r"""`a \over b` as `\frac { a } { b }`: it takes the row up to braces, `&`, `\\`, `\left`.

    A second infix command in one row, or one of which the convention knows no prefix form, is left
    for the parser to refuse.
    """
    written: list[Placed] = []
    groups = [_Group("", 0)]

    def close_division(position: int) -> None:
        written.extend((position, token) for token in groups[-1].closing)
        groups[-1].closing = ()

    for position, token in tokens:
        group = groups[-1]
        if token in DIVISIONS and not group.closing:
            before, between, group.closing = DIVISIONS[token]
            written[group.start : group.start] = [(position, each) for each in before]
            written += [(position, each) for each in between]
            continue
        if token == _LEFT:
            groups.append(_Group(token, len(written)))
            continue
        if token == _RIGHT:
            if group.opened_by == _LEFT:
                close_division(position)
                groups.pop()
            continue
        if token == "}" or token.startswith(r"\end{"):
            while groups[-1].opened_by == _LEFT:  # without its `\right`
                close_division(position)
                groups.pop()
            close_division(position)
            opened = groups.pop() if len(groups) > 1 else groups[0]
            written.append((position, token))
            if opened.opened_by == "{" and groups[-1].opened_by == r"\begin{array}":
                first = groups[-1].start == opened.start - 1
                groups[-1].start = len(written) if first else groups[-1].start
            continue
        if token in _SEPARATORS:
            close_division(position)
        written.append((position, token))
        if token in _SEPARATORS:
            groups[-1].start = len(written)
        elif token == "{" or token.startswith(r"\begin{"):
            groups.append(_Group(token, len(written)))
    while groups:
        close_division(len(tokens))
        groups.pop()
    return written
