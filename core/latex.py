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
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from .errors import InputError

# Commands whose scripts the convention sets above and below.
LIMITS = frozenset({r"\sum", r"\int", r"\lim"})

# Commands that take braced arguments, and how many; `\sqrt` may have an index before its argument.
ARGUMENTS: dict[str, int] = {
    **dict.fromkeys((r"\frac", r"\binom", r"\overset", r"\underset", r"\stackrel"), 2),
    **dict.fromkeys((r"\sqrt", r"\hat", r"\widehat", r"\bar", r"\overline", r"\underline"), 1),
    **dict.fromkeys((r"\tilde", r"\widetilde", r"\vec", r"\dot", r"\ddot", r"\dddot"), 1),
    **dict.fromkeys((r"\overrightarrow", r"\overleftarrow", r"\overbrace", r"\underbrace"), 1),
    **dict.fromkeys((r"\check", r"\breve", r"\acute", r"\grave", r"\mathring", r"\boxed"), 1),
    **dict.fromkeys((r"\mathbb", r"\mathcal", r"\mathfrak", r"\mathscr"), 1),
}

# Other spellings of a symbol.
SYNONYMS: dict[str, str] = {
    r"\le": r"\leq",
    r"\ge": r"\geq",
    r"\ne": r"\neq",
    r"\lt": "<",
    r"\gt": ">",
    r"\to": r"\rightarrow",
    r"\gets": r"\leftarrow",
    r"\dots": r"\ldots",
    r"\dotsc": r"\ldots",
    r"\dotso": r"\ldots",
    r"\dotsb": r"\cdots",
    r"\dotsm": r"\cdots",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\vert": "|",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\mid": "|",
    r"\colon": ":",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\land": r"\wedge",
    r"\lor": r"\vee",
    r"\lnot": r"\neg",
    r"\owns": r"\ni",
    "'": r"\prime",
    "−": "-",  # U+2212, as pasted from documents
}

# One symbol in LaTeX, two in ink and in the captions.
DOUBLE_BARS = frozenset({r"\parallel", r"\|", r"\Vert", r"\lVert", r"\rVert"})

# Before a delimiter they only size it, and `.` after them is no ink.
DELIMITER_SIZES = frozenset(
    {r"\left", r"\right", r"\middle"}
    | {rf"\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", *"lrm")}
)

# What leaves no ink of its own: the placing of limits (the convention decides it), spaces, fonts.
INKLESS = (
    frozenset({r"\limits", r"\nolimits", r"\displaystyle", r"\textstyle", r"\scriptstyle"})
    | frozenset({r"\!", r"\,", r"\:", r"\;", r"\>", "\\ ", r"\quad", r"\qquad", r"\enspace", "~"})
    | frozenset({r"\thinspace", r"\negthinspace", r"\mbox", r"\hbox", r"\vtop", r"\text"})
    | frozenset({r"\textrm", r"\textit", r"\textbf", r"\textnormal", r"\operatorname", r"\rm"})
    | frozenset({r"\mathrm", r"\mathit", r"\mathbf", r"\mathsf", r"\mathtt", r"\mathnormal"})
    | frozenset({r"\bf", r"\it", r"\boldsymbol", r"\bm", r"\strut"})
)

# Infix commands would need everything before them re-read; nothing we import writes them.
INFIX = frozenset({r"\over", r"\atop", r"\choose", r"\above", r"\brace", r"\brack"})

MAX_DEPTH = 64  # nested rows and commands; the deepest formula of CROHME train, 2014, 2016 has 11

_SCRIPTS = ("^", "_")
_SEPARATORS = ("&", r"\\")
_KEPT_GROUP = "{"

_TOKEN = re.compile(
    r"\\(?P<edge>begin|end)\s*\{\s*(?P<environment>[A-Za-z]+\*?)\s*\}"
    r"|\\(?P<relation>[lg]t)(?P<letter>[A-Za-z])(?![A-Za-z])"  # CROHME writes `P\gtp` for P > p
    r"|(?P<dropped>\$|\\[()\[\]]|\\?\s+)"  # math delimiters and white space
    r"|(?P<token>\\[A-Za-z]+|\\.|[^\\])",
    re.DOTALL,
)
_WORD = re.compile(r"\\[A-Za-z]+")


class Atom(NamedTuple):
    r"""One element of a row: a symbol or a command with its arguments, and the scripts on it.

    `head` is the token; `""` for scripts that stand on nothing, `"{"` for a group whose braces
    matter (`{ x ^ { 2 } } ^ { 3 }`), `"\begin{matrix}"` and the like for an environment, whose only
    argument is its body.
    """

    head: str
    arguments: tuple[Row, ...] = ()
    sub: Row | None = None
    sup: Row | None = None


Row: TypeAlias = "tuple[Atom, ...]"


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


def layout_tree(tokens: Sequence[str]) -> Row:
    r"""What stands where: a row of atoms, hashable and comparable (all of it nested tuples).

    Equal for two formulas if and only if they agree up to `\limits`, the order of scripts,
    redundant braces, spelling and what leaves no ink. As in the captions, a script after a group
    stands on the last symbol of the group, since braces are not in the ink; a group is kept only
    where that symbol already has such a script.

    >>> layout_tree(tokenize("x^2_1")) == layout_tree(tokenize("{x}_{1}^{2}"))
    True

    Raises:
        InputError: unbalanced braces, a missing argument, a double script, an infix command such as
            `\over`, or more than 64 levels; the message gives the position of the token.
    """
    return _Parser(tokens).formula()


def normalize(tokens: Sequence[str]) -> list[str]:
    r"""The same formula in the convention of the captions. Idempotent.

    >>> " ".join(normalize(tokenize(r"\sum^n_{i=1} f'(\frac12)")))
    '\\sum \\limits _ { i = 1 } ^ { n } f ^ { \\prime } ( \\frac { 1 } { 2 } )'

    Raises:
        InputError: as `layout_tree`.
    """
    return list(_row(layout_tree(tokens)))


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


class _Parser:
    """Recursive descent over tokens; every error names the position in the tokens it was given."""

    def __init__(self, tokens: Sequence[str]) -> None:
        if isinstance(tokens, str):
            raise InputError("expected a list of tokens, found a string; call tokenize() first")
        self.tokens = list(_inked(tokens))
        self.end = len(tokens)
        self.next = 0
        self.depth = 0

    def formula(self) -> Row:
        row = self.row(lambda token: False)
        if self.peek() is not None:
            raise self.error("an opening brace or \\begin before it", "remove it or open it")
        return row

    def peek(self) -> str | None:
        return self.tokens[self.next][1] if self.next < len(self.tokens) else None

    def take(self) -> str:
        token = self.tokens[self.next][1]
        self.next += 1
        return token

    def error(self, expected: str, remedy: str) -> InputError:
        token = self.peek()
        position = self.tokens[self.next][0] if token is not None else self.end
        found = "the end of the formula" if token is None else repr(token)
        return InputError(
            f"LaTeX at token {position}: expected {expected}, found {found}; {remedy}"
        )

    def row(self, closes: Callable[[str], bool]) -> Row:
        """Atoms up to a token that closes the row (it is not taken) or to the end."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} levels of nesting", "simplify the formula")
        atoms: list[Atom] = []
        while (token := self.peek()) is not None:
            if token == "}" or token.startswith(r"\end{") or closes(token):
                break
            if token in _SEPARATORS:
                atoms.append(Atom(self.take()))
            elif token == "{":
                self.attach(atoms, self.group())
            elif token in _SCRIPTS:
                self.attach(atoms, ())
            else:
                self.attach(atoms, (self.atom(),))
        self.depth -= 1
        return tuple(atoms)

    def attach(self, atoms: list[Atom], group: Row) -> None:
        """Append a group without its braces, the scripts that follow it put on its last atom."""
        if group and group[-1].head in _SEPARATORS:
            atoms.extend(group)
            group = ()
        base = group[-1] if group else Atom("")
        sub, sup = self.scripts(after_prime=base.head == r"\prime")
        if sub is None and sup is None:
            atoms.extend(group)
            return
        if (sub is not None and base.sub is not None) or (sup is not None and base.sup is not None):
            base = Atom(_KEPT_GROUP, ((base,),))
        atoms.extend(group[:-1])
        atoms.append(
            base._replace(
                sub=base.sub if sub is None else sub, sup=base.sup if sup is None else sup
            )
        )

    def scripts(self, *, after_prime: bool) -> tuple[Row | None, Row | None]:
        """The subscript and superscript that follow; primes join the superscript, in front."""
        sub: Row | None = None
        sup: Row | None = None
        primes: Row = ()
        while True:
            token = self.peek()
            if token == "_" and sub is None:
                self.take()
                sub = self.argument("_")
            elif token == "^" and sup is None:
                self.take()
                sup = self.argument("^")
            elif token == "'" and sup is None and not after_prime:
                self.take()
                primes += (Atom(r"\prime"),)
            elif token in _SCRIPTS or (token == "'" and not after_prime):
                kind = "subscript" if token == "_" else "superscript"
                raise self.error(f"one {kind} on a symbol", "put braces around the inner one")
            else:
                return sub or None, (primes + (sup or ())) or None

    def group(self) -> Row:
        self.take()
        row = self.row(lambda token: False)
        if self.peek() != "}":
            raise self.error("'}'", "close the group that was opened before")
        self.take()
        return row

    def argument(self, owner: str) -> Row:
        """A group, or one atom without scripts."""
        token = self.peek()
        if token == "{":
            return self.group()
        closing = token is None or token == "}" or token.startswith(r"\end{")
        if closing or token in _SCRIPTS or token in _SEPARATORS:
            raise self.error(f"an argument of {owner}", "give it one in braces")
        return (self.atom(),)

    def atom(self) -> Atom:
        """A symbol or a command with its arguments, without the scripts that follow."""
        token = self.peek() or ""
        if token in INFIX:
            raise self.error("a command before its arguments", r"write \frac{a}{b} or \binom{a}{b}")
        self.depth += 1  # as `\sqrt \sqrt \sqrt x` nests without a row
        if self.depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} levels of nesting", "simplify the formula")
        self.take()
        head = SYNONYMS.get(token, token)
        arguments: list[Row] = []
        if head == r"\sqrt" and self.peek() == "[":
            self.take()
            index = self.row(lambda token: token == "]")
            if self.peek() != "]":
                raise self.error("']'", r"close the index of \sqrt")
            self.take()
            if index:
                arguments.append(index)
        if head.startswith(r"\begin{"):
            head, body = self.environment(head)
            arguments.append(body)
        for _ in range(ARGUMENTS.get(head, 0)):
            arguments.append(self.argument(head))
        self.depth -= 1
        return Atom(head, tuple(arguments))

    def environment(self, head: str) -> tuple[str, Row]:
        r"""The normalised `\begin{name}` and the body, `\end{name}` taken."""
        name = head.removeprefix(r"\begin")
        if name == "{array}":
            self.argument(head)  # how the columns are aligned
        body = self.row(lambda token: False)
        if self.peek() != rf"\end{name}":
            raise self.error(rf"'\end{name}'", "close the environment that was opened before")
        self.take()
        return head.replace("{array}", "{matrix}"), body


def _inked(tokens: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(position, token) of all that leaves ink or structure."""
    for position, token in enumerate(tokens):
        sized = position > 0 and tokens[position - 1] in DELIMITER_SIZES
        if token in INKLESS or token in DELIMITER_SIZES or (token == "." and sized):
            continue
        for part in ("{", "|", "|", "}") if token in DOUBLE_BARS else (token,):
            yield position, part


def _row(row: Row) -> Iterator[str]:
    for atom in row:
        yield from _atom(atom)


def _atom(atom: Atom) -> Iterator[str]:
    head, arguments = atom.head, atom.arguments
    if head == "":
        yield from ("{", "}")
    elif head == _KEPT_GROUP:
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
