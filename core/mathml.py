"""From the MathML layout tree of annotated ink to LaTeX tokens in the evaluation convention.

CROHME's files give the layout of an expression as presentation MathML, in which every written
symbol is one element with an `xml:id`: a leaf, or the fraction or the root whose bar or sign it is.
`latex_tokens` keeps that id beside every token, which joins the caption to the ink.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html.entities import html5
from xml.etree.ElementTree import Element

from .errors import InputError
from .ink import MathNode
from .latex_tables import FUNCTIONS, LIMITS, MAX_DEPTH

Tokens = list[tuple[str, str | None]]

_ROWS = frozenset(("math", "mrow", "mstyle", "mpadded"))
_LEAVES = frozenset(("mi", "mn", "mo", "mtext", "mspace"))
_SUBSCRIPTED = frozenset(("msub", "munder", "msubsup", "munderover"))
_SUPERSCRIPTED = frozenset(("msup", "mover", "msubsup", "munderover"))
# How many children an element needs; a script may be missing, as in CROHME 2014.
_CHILDREN = {
    **dict.fromkeys(("msub", "munder", "msup", "mover"), (1, 2)),
    **dict.fromkeys(("mfrac", "mroot"), (2,)),
    **dict.fromkeys(("msubsup", "munderover"), (3,)),
}
_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"

_COMMANDS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega infty "
    "sin cos tan log lim sum int prod times div pm cdot cdots ldots leq geq neq in exists forall "
    "rightarrow prime"
)
_ALIASES = {
    # names of MathML's and HTML's entities, as the annotators left them
    "infin": "infty", "exist": "exists", "hellip": "ldots", "ctdot": "cdots", "sdot": "cdot",
    "middot": "cdot", "rarr": "rightarrow", "ge": "geq", "le": "leq", "ne": "neq",
    "plusmn": "pm", "divide": "div", "isin": "in",
    # of MfrDB's converter: `\l` of `\lim` was lost, and every arrow is called a vector
    "im": "lim", "vec": "rightarrow",
}  # fmt: skip


def _token_table() -> dict[str, str]:
    """What a leaf may hold -> its token, for all that are not written as they are."""
    table = {"\\lt": "<", "\\gt": ">", "'": "\\prime", "\u2212": "-", "\\": "\\backslash"}
    table |= {character: f"\\{character}" for character in "{}$%#&_"}  # LaTeX's own
    for name, command in {**{name: name for name in _COMMANDS.split()}, **_ALIASES}.items():
        for written in (name, f"\\{name}", html5.get(f"{name};")):
            if written:
                table[written] = f"\\{command}"
    return table


_TOKENS = _token_table()
_MARKS = frozenset("^~")  # accents, which LaTeX would take for a script and a space
# What stands over or under a symbol as a part of it, beside the characters that are made for that.
_ACCENTS = frozenset((*"^~-_.\u2013\u203e\u2190\u2194", r"\rightarrow", *"\u23b4\u23b5⏜⏝⏞⏟"))
_ACCENT_CATEGORIES = ("Mn", "Sk", "Lm")
# Function application, invisible times, separator and plus: structure, and no ink.
_INVISIBLE = dict.fromkeys(range(0x2061, 0x2065))


def read_mathml(element: Element) -> MathNode:
    """The layout tree under a `math` element, whatever its namespace; an element that says it
    carries an accent is none that `latex_tokens` can read."""
    # Without recursion: nested rows can be as deep as the expression is long.
    opened: list[tuple[Element, list[MathNode]]] = [(element, [])]
    while True:
        current, children = opened[-1]
        if len(children) < len(current):
            opened.append((current[len(children)], []))
            continue
        opened.pop()
        accented = "true" in (current.get("accent"), current.get("accentunder"))
        node = MathNode(
            tag=current.tag.rpartition("}")[2] + " accent" * accented,
            node=current.get(_XML_ID, current.get("id")),
            text=(current.text or "").strip() or None if not children else None,
            children=tuple(children),
        )
        if not opened:
            return node
        opened[-1][1].append(node)


def latex_tokens(tree: MathNode) -> Tokens:
    r"""The caption of a layout tree, in the convention of CoMER and its successors.

    Every script is braced, a subscript stands before a superscript, `\sum`, `\int` and `\lim` take
    `\limits` when they carry scripts; what stands under or over a symbol is a script of it. Where
    an annotator hung two subscripts on one symbol, which LaTeX forbids, the second is the subscript
    of the first; three dots in a row are `\cdots`.

    Returns:
        (token, xml id of the element whose ink it is) in reading order. The id is None for what
        is not written (braces, `^`, `_`, `\limits`, the brackets of a root's index). A token that
        was annotated in several parts has their ids separated by spaces, as in XML's IDREFS.

    Raises:
        InputError: an element that has no tokens in the convention (a table, an accent), that has
            not as many children as it needs, or that is nested more than 64 deep.

    >>> x, n = MathNode("mi", "x_1", "x"), MathNode("mi", "n_1", "n")
    >>> latex_tokens(MathNode("msup", children=(x, n)))
    [('x', 'x_1'), ('^', None), ('{', None), ('n', 'n_1'), ('}', None)]
    """
    return _row((tree,), 0)


def _row(nodes: Iterable[MathNode], depth: int) -> Tokens:
    """The tokens of elements beside each other."""
    if depth > MAX_DEPTH:
        raise InputError(f"expected MathML nested at most {MAX_DEPTH} deep, found more")
    items = _unrolled(nodes)
    tokens: Tokens = []
    position = 0
    while position < len(items):
        dots = items[position : position + 3]
        if [item.text for item in dots] == [".", ".", "."]:
            ids = " ".join(item.node for item in dots if item.node)
            tokens.append(("\\cdots", ids or None))
            position += 3
        else:
            tokens += _element(items[position], depth)
            position += 1
    return tokens


def _unrolled(nodes: Iterable[MathNode]) -> list[MathNode]:
    """The elements, with rows replaced by what is in them; empty ones are left out."""
    items: list[MathNode] = []
    waiting = list(nodes)[::-1]
    while waiting:
        node = waiting.pop()
        if node.tag in _ROWS:
            waiting += node.children[::-1]
        elif node.text or node.tag not in _LEAVES:
            items.append(node)
    return items


def _element(node: MathNode, depth: int) -> Tokens:
    """The tokens of one element that is not a row."""
    if node.tag in _LEAVES and node.text:
        return _leaf(node)
    _check_children(node)
    if node.tag == "mfrac":
        numerator, denominator = (_braced((child,), depth) for child in node.children)
        return [("\\frac", node.node), *numerator, *denominator]
    if node.tag == "msqrt":
        return [("\\sqrt", node.node), *_braced(node.children, depth)]
    if node.tag == "mroot":
        base, index = node.children
        if (node.node or "").startswith("\\sqrt"):  # MfrDB's converter puts the index first
            base, index = index, base
        bracketed = [("[", None), *_row((index,), depth + 1), ("]", None)]
        return [("\\sqrt", node.node), *bracketed, *_braced((base,), depth)]
    if node.tag in _SUBSCRIPTED or node.tag in _SUPERSCRIPTED:
        return _scripted(node, depth)
    raise InputError(
        f"expected MathML of rows, scripts, fractions and roots, found <{node.tag}> "
        f"(id {node.node!r}): the evaluation convention has no tokens for it"
    )


def _check_children(node: MathNode) -> None:
    expected = _CHILDREN.get(node.tag)
    if expected is not None and len(node.children) not in expected:
        raise InputError(
            f"expected <{node.tag}> (id {node.node!r}) to have {expected[-1]} children, "
            f"found {len(node.children)}: repair the annotation, or drop it"
        )


def _braced(nodes: Iterable[MathNode], depth: int) -> Tokens:
    return [("{", None), *_row(nodes, depth + 1), ("}", None)]


def _scripted(node: MathNode, depth: int) -> Tokens:
    """The tokens of a base and of all scripts hung on it, one inside another."""
    before: list[MathNode] = []
    subscripts: list[MathNode] = []
    superscripts: list[MathNode] = []
    base = [node]
    while base and base[-1].tag in _SUBSCRIPTED | _SUPERSCRIPTED:
        outer = base.pop()
        before += base
        _check_children(outer)
        main, *scripts_of = outer.children
        if outer.tag not in ("msub", "msup", "msubsup"):
            _check_scripts(outer, scripts_of)
        if outer.tag in _SUBSCRIPTED:
            subscripts += scripts_of[:1]
        if outer.tag in _SUPERSCRIPTED:
            superscripts += scripts_of[-1:]
        base = _unrolled((main,))
    tokens = _row((*before, *base), depth + 1)
    scripts: Tokens = []
    for mark, tag, hung in (("_", "msub", subscripts), ("^", "msup", superscripts)):
        if not hung:
            continue
        script, *inner = hung  # the outermost first
        for each in inner:
            script = MathNode(tag, children=(each, script))
        braced = _braced((script,), depth)
        if len(braced) > 2:
            scripts += [(mark, None), *braced]
    if scripts and tokens and tokens[-1][0] in LIMITS:
        tokens.append(("\\limits", None))
    return tokens + scripts


def _check_scripts(node: MathNode, scripts: Iterable[MathNode]) -> None:
    """Raise InputError where what stands over or under a symbol is an accent: which, a tree does
    not tell (a bar over one letter is another command than over two)."""
    for script in scripts:
        texts = [item.text or "" for item in _unrolled((script,))]
        if len(texts) != 1:
            continue
        mark = texts[0]
        is_made_for_it = len(mark) == 1 and unicodedata.category(mark) in _ACCENT_CATEGORIES
        if is_made_for_it or _ACCENTS & {mark, _TOKENS.get(mark)}:
            raise InputError(
                f"expected a script over or under a symbol, found {mark!r} in <{node.tag}> "
                f"(id {node.node!r}), which may be an accent; annotate LaTeX as well"
            )


def _leaf(leaf: MathNode) -> Tokens:
    text = (leaf.text or "").translate(_INVISIBLE)
    # CROHME's ids are a label and a number, `\infty_2`. Where the label is a command and the text
    # is another thing, the text was damaged on its way (`8`, `?`, a byte that is not UTF-8).
    label = _TOKENS.get((leaf.node or "").rpartition("_")[0], "")
    if label.startswith("\\"):
        return [(label, leaf.node)]
    if text in _TOKENS:
        return [(_TOKENS[text], leaf.node)]
    if leaf.tag in ("mi", "mo") and (function := "\\" + "".join(text.split())) in FUNCTIONS:
        return [(function, leaf.node)]
    if text in _MARKS:
        raise InputError(
            f"expected a symbol that the evaluation convention has a token for, found {text!r} in "
            f"<{leaf.tag}> (id {leaf.node!r}); leave the formula out"
        )
    if text.startswith("\\"):
        return [(text, leaf.node)]
    return [(character, leaf.node) for character in text if not character.isspace()]
