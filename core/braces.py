r"""Braces that a caption can do without: `x ^ 2` for `x ^ { 2 }`.

The convention (see latex.py) puts every argument into braces. TeX asks for them only where an
argument is more than one symbol, and a decoder that leaves out the others has a fifth fewer tokens
to write.
"""

from __future__ import annotations

from collections.abc import Sequence

from .latex_tables import ALONE, ARGUMENTS, SYNONYMS


def stands_alone(token: str) -> bool:
    r"""Whether a token needs no braces as an argument: a letter, a digit, `\alpha`, `\infty`, …"""
    return token in ALONE or (len(token) == 1 and token.isalnum())


def needed(caption: Sequence[str]) -> list[int]:
    r"""The places of all tokens but the braces that can be spared.

    >>> caption = r"\frac { x ^ { 2 } } { n } + 1".split()
    >>> [caption[place] for place in needed(caption)]
    ['\\frac', '{', 'x', '^', '2', '}', 'n', '+', '1']
    """
    spared = {
        brace
        for place in _arguments(caption)
        if tuple(caption[place : place + 3 : 2]) == ("{", "}") and stands_alone(caption[place + 1])
        for brace in (place, place + 2)
    }
    return [place for place in range(len(caption)) if place not in spared]


def restored(tokens: Sequence[str]) -> list[str]:
    r"""The caption, every argument in braces.

    >>> " ".join(restored(r"\frac { x ^ 2 } n + 1".split()))
    '\\frac { x ^ { 2 } } { n } + 1'
    """
    bare = {place for place in _arguments(tokens) if tokens[place] != "{"}
    caption: list[str] = []
    for place, token in enumerate(tokens):
        caption += ("{", token, "}") if place in bare else (token,)
    return caption


def _arguments(tokens: Sequence[str]) -> list[int]:
    """Where arguments begin: a brace, or a symbol that is all of one."""
    found: list[int] = []
    outer: list[tuple[int, str]] = []  # arguments that follow a group, and what closes it
    awaited = 0
    root = False  # the index of a root may come first
    for place, token in enumerate(tokens):
        if root and token == "[":
            outer.append((awaited, "]"))
            awaited = 0
        elif awaited:
            found.append(place)
            awaited -= 1
            if token == "{":
                outer.append((awaited, "}"))
                awaited = 0
        elif token == "{":  # a group that is no argument: its end closes nothing else
            outer.append((0, "}"))
        elif outer and token == outer[-1][1]:
            awaited, _ = outer.pop()
        elif token in ("^", "_"):
            awaited = 1
        else:
            awaited = ARGUMENTS.get(SYNONYMS.get(token, token), 0)
        root = token == r"\sqrt" and awaited > 0
    return found
