r"""LaTeX as tokens, as a layout tree, and as the text a user pastes.

Recognizers write, and the published tables compare, token sequences in one convention (that of the
CROHME captions used by CoMER, Zhao & Gao, ECCV 2022): every argument and every script braced,
subscript before superscript, `\limits` after a `\sum`, `\int` or `\lim` that carries scripts,
`\prime` for `'`, one spelling per symbol, nothing that is only spacing, size or font.

    text --tokenize--> tokens --layout_tree--> tree --normalize--> tokens --to_latex--> text

Two formulas have equal layout trees if and only if their normalised tokens are equal: `\limits`,
the order of scripts, redundant braces and spelling do not count, all else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .errors import InputError
from .latex_spelling import distance_end
from .latex_tables import LIMITS
from .latex_tree import KEPT_GROUP, Atom, Row, layout_tree

_TOKEN = re.compile(
    r"\\(?P<edge>begin|end)\s*\{\s*(?P<environment>[A-Za-z]+\*?)\s*\}"
    r"|\\(?P<relation>[lg]t)(?P<letter>[A-Za-z])(?![A-Za-z])"  # CROHME writes `P\gtp` for P > p
    r"|(?P<dropped>\$|\\[()\[\]]|\\?\s+)"  # math delimiters and white space
    r"|(?P<token>\\[A-Za-z]+|\\.|[^\\])",
    re.DOTALL,
)
_WORD = re.compile(r"\\[A-Za-z]+")


def tokenize(latex: str) -> list[str]:
    r"""The tokens of a LaTeX formula: commands, `\begin{name}`, `\end{name}` and single characters.

    White space and the delimiters `$`, `\(`, `\)`, `\[`, `\]` are left out, the rest is unchanged.

    >>> tokenize(r"$\frac12 x^{2}\le\{y\}$")
    ['\\frac', '1', '2', 'x', '^', '{', '2', '}', '\\le', '\\{', 'y', '\\}']

    Raises:
        InputError: the text ends in a single backslash.
    """
    tokens: list[str] = []
    position = 0
    while position < len(latex):
        match = _TOKEN.match(latex, position)
        if match is None:
            raise InputError(
                f"LaTeX at character {position}: expected a command after the backslash, "
                "found the end of the text; complete the command or remove the backslash"
            )
        position = match.end()
        if match["edge"]:
            tokens.append(f"\\{match['edge']}{{{match['environment']}}}")
        elif match["relation"]:
            tokens += ["\\" + match["relation"], match["letter"]]
        elif match["token"]:
            tokens.append(match["token"])
    return tokens


def normalize(tokens: Sequence[str]) -> list[str]:
    r"""The same formula in the convention of the captions. Idempotent.

    >>> " ".join(normalize(tokenize(r"\sum^n_{i=1} f'(\frac12)")))
    '\\sum \\limits _ { i = 1 } ^ { n } f ^ { \\prime } ( \\frac { 1 } { 2 } )'

    Raises:
        InputError: as `layout_tree`.
    """
    written = list(_row(layout_tree(tokens)))
    for place in range(len(written) - 1, 0, -1):
        if written[place - 1] == r"\\" and distance_end(written, place) > place:
            written[place : place + 1] = ["{", "[", "}"]  # or it would be read as a distance
    return written


def to_latex(tokens: Sequence[str]) -> str:
    r"""Compact LaTeX to show or paste: spaces only where needed, and no `\limits`.

    Works token by token, so that it never raises; well-formed tokens give LaTeX that compiles in
    math mode, and `normalize(tokenize(text))` gives back tokens that were normalised. `\limits` is
    left out because the tokens say nothing about where the ink had the limits.

    >>> to_latex(r"\sum \limits _ { i } \frac { \sin x } { 2 }".split())
    '\\sum_{i}\\frac{\\sin x}{2}'
    """
    parts: list[str] = []
    for token in tokens:
        if token == r"\limits":
            continue
        before = parts[-1] if parts else ""
        # A letter would extend the command before it; `\\` would take `[` for a distance.
        if (token[:1].isalpha() and _WORD.fullmatch(before)) or before == r"\\":
            parts.append(" ")
        parts.append(token)
    return "".join(parts)


def _row(row: Row) -> Iterator[str]:
    for atom in row:
        yield from _atom(atom)


def _atom(atom: Atom) -> Iterator[str]:
    head, arguments = atom.head, atom.arguments
    if head == "":
        yield from ("{", "}")
    elif head == KEPT_GROUP:
        yield from _braced(arguments[0])
    elif head.startswith(r"\begin{"):
        yield head
        yield from _row(arguments[0])
        yield head.replace(r"\begin", r"\end", 1)
    else:
        yield head
        if head == r"\sqrt" and len(arguments) == 2:
            index = list(_row(arguments[0]))
            yield from ("[", *(("{", *index, "}") if "]" in index else index), "]")
            arguments = arguments[1:]
        for argument in arguments:
            yield from _braced(argument)
    if head in LIMITS and (atom.sub is not None or atom.sup is not None):
        yield r"\limits"
    for mark, script in (("_", atom.sub), ("^", atom.sup)):
        if script is not None:
            yield mark
            yield from _braced(script)


def _braced(row: Row) -> Iterator[str]:
    yield "{"
    yield from _row(row)
    yield "}"


def trimmed(text: str) -> str:
    r"""A caption without the white space around it; a control space at its end stays whole.

    >>> trimmed(r" x \ "), trimmed(" x "), trimmed(r" a \\ ")
    ('x \\ ', 'x', 'a \\\\')
    """
    kept = text.strip()
    backslashes = len(kept) - len(kept.rstrip("\\"))
    return f"{kept} " if backslashes % 2 and not text.endswith("\\") else kept
