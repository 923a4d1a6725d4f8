r"""The layout tree of a formula: what stands where, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from .errors import InputError
from .latex_spelling import spelled
from .latex_tables import (
    ARGUMENTS,
    CALLIGRAPHIC,
    DISPLAYS,
    INFIX,
    INKLESS_ARGUMENTS,
    MATRICES,
    MAX_DEPTH,
    NEGATIONS,
    SYNONYMS,
)

KEPT_GROUP = "{"

_SCRIPTS = ("^", "_")
_SEPARATORS = ("&", r"\\")


class Atom(NamedTuple):
    r"""One element of a row: a symbol or a command with its arguments, and the scripts on it.

    `head` is the token; `""` for scripts that stand on nothing, `"{"` for a group whose braces
    matter (`{ x ^ { 2 } } ^ { 3 }`), `"\begin{matrix}"` for rows and columns, whose only argument
    is its body (its delimiters are atoms beside it).
    """

    head: str
    arguments: tuple[Row, ...] = ()
    sub: Row | None = None
    sup: Row | None = None


Row: TypeAlias = "tuple[Atom, ...]"


def layout_tree(tokens: Sequence[str]) -> Row:
    r"""What stands where: a row of atoms, hashable and comparable (all of it nested tuples).

    Equal for two formulas if and only if they agree up to `\limits`, the order of scripts,
    redundant braces, spelling and what leaves no ink (see `latex_spelling.py`). As in the captions,
    a script after a group stands on the last symbol of the group, since braces are not in the ink;
    a group is kept only where that symbol already has such a script. Commands that no table names
    are taken for symbols.

    >>> layout_tree("x ^ 2 _ 1".split()) == layout_tree("{ x } _ { 1 } ^ { 2 }".split())
    True

    Raises:
        InputError: unbalanced braces, a missing argument, a double script, a second infix command
            such as `\over` in one row, rules between columns, or more than 64 levels; the message
            gives the position of the token.
    """
    return _Parser(tokens).formula()


class _Parser:
    """Recursive descent over tokens; every error names the position in the tokens it was given."""

    def __init__(self, tokens: Sequence[str]) -> None:
        if isinstance(tokens, str):
            raise InputError("expected a list of tokens, found a string; call tokenize() first")
        self.tokens = spelled(tokens)
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
                self.attach(atoms, self.item())
        self.depth -= 1
        return tuple(_negated(atoms))

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
            base = Atom(KEPT_GROUP, ((base,),))
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
        """A group, or one item without scripts."""
        token = self.peek()
        if token == "{":
            return self.group()
        closing = token is None or token == "}" or token.startswith(r"\end{")
        # An optional argument of another command than the root would be ink here.
        if (
            closing
            or token in _SCRIPTS
            or token in _SEPARATORS
            or (token == "[" and owner in ARGUMENTS)
        ):
            raise self.error(f"an argument of {owner}", "give it one in braces")
        self.depth += 1  # the braces that it has once normalised
        item = self.item()
        self.depth -= 1
        return item

    def item(self) -> Row:
        """An environment with its delimiters, or an atom, without the scripts that follow."""
        if (self.peek() or "").startswith(r"\begin{"):
            return self.environment()
        return (self.atom(),)

    def atom(self) -> Atom:
        """A symbol or a command with its arguments, without the scripts that follow."""
        token = self.peek() or ""
        if token in INFIX:
            raise self.error("a command before its arguments", r"write \frac{a}{b} or \binom{a}{b}")
        if token in INKLESS_ARGUMENTS:
            raise self.error(rf"braces after {token}", "complete them or remove the command")
        if token == CALLIGRAPHIC:
            raise self.error("a font over letters alone", r"write \mathcal{L}")
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
        for _ in range(ARGUMENTS.get(head, 0)):
            arguments.append(self.argument(head))
        self.depth -= 1
        return Atom(head, tuple(arguments))

    def environment(self) -> Row:
        r"""`\begin{matrix}` with the body as its argument, between the delimiters; only the body of
        an environment that leaves no ink."""
        head = self.take()
        name = head.removeprefix(r"\begin{").removesuffix("}")
        if name == "array":
            self.columns()
        body = self.row(lambda token: False)
        if self.peek() != rf"\end{{{name}}}":
            raise self.error(rf"'\end{{{name}}}'", "close the environment that was opened before")
        self.take()
        while body and body[-1].head == r"\\":
            body = body[:-1]
        if name in DISPLAYS:
            return body
        if name not in MATRICES:
            return (Atom(head, (body,)),)
        left, right = (tuple(map(Atom, delimiters)) for delimiters in MATRICES[name])
        return (*left, Atom(r"\begin{matrix}", (body,)), *right)

    def columns(self) -> None:
        """Leave out how the columns of an array are aligned."""
        if self.peek() != "{":
            raise self.error("the columns of the array in braces", r"write \begin{matrix}")
        start = self.next
        if any(atom.head == "|" for atom in self.group()):
            self.next = start
            raise self.error("columns without rules between them", "leave the rules out")


def _negated(atoms: Sequence[Atom]) -> Iterator[Atom]:
    r"""The atoms, a relation after `\not` under its own name where it has one."""
    crossing: Atom | None = None
    for atom in atoms:
        if crossing is not None:
            if atom.head in NEGATIONS and not atom.arguments:
                atom = atom._replace(head=NEGATIONS[atom.head])
            else:
                yield crossing
            crossing = None
        if atom == Atom(r"\not"):
            crossing = atom
        else:
            yield atom
    if crossing is not None:
        yield crossing
