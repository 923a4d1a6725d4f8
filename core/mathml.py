"""From the MathML layout tree of annotated ink to LaTeX tokens in the evaluation convention."""

from __future__ import annotations

from .ink import MathNode

Tokens = list[tuple[str, "str | None"]]

_NAMES = {
    "<": "<", ">": ">", "\\lt": "<", "\\gt": ">", "{": "\\{", "}": "\\}", "'": "\\prime",
    "im": "\\lim", "ne": "\\neq", "ctdot": "\\cdots", "COMMA": ",",
}
_WORDS = frozenset(
    "alpha beta gamma Delta lambda mu phi pi sigma theta infty cos sin tan log lim exists forall "
    "in int pm prime rightarrow sum times div geq leq neq ldots cdots cdot".split()
)


def latex_tokens(tree: MathNode) -> Tokens:
    out: Tokens = []
    _write(tree, out)
    return out


def _token(leaf: MathNode) -> str:
    text = (leaf.text or "").strip()
    stem = (leaf.node or "").rpartition("_")[0]
    if stem in ("\\cdot", "\\cdots", "\\infty"):
        return stem
    if stem == "\\vec":
        return "\\rightarrow"
    if text in _NAMES:
        return _NAMES[text]
    if text in _WORDS:
        return "\\" + text
    return text


def _group(node: MathNode, out: Tokens) -> None:
    out.append(("{", None))
    _write(node, out)
    out.append(("}", None))


def _write(node: MathNode, out: Tokens) -> None:
    tag, kids = node.tag, node.children
    if not kids:
        if node.text:
            out.append((_token(node), node.node))
    elif tag == "mfrac":
        out.append(("\\frac", node.node))
        _group(kids[0], out)
        _group(kids[1], out)
    elif tag == "msqrt":
        out.append(("\\sqrt", node.node))
        out.append(("{", None))
        for kid in kids:
            _write(kid, out)
        out.append(("}", None))
    elif tag == "mroot":
        base, index = kids
        if (node.node or "").startswith("\\sqrt"):
            base, index = index, base
        out.append(("\\sqrt", node.node))
        out.append(("[", None))
        _write(index, out)
        out.append(("]", None))
        _group(base, out)
    elif tag in ("msub", "munder", "msup", "mover", "msubsup", "munderover"):
        start = len(out)
        _write(kids[0], out)
        if len(out) == start + 1 and out[start][0] in ("\\sum", "\\int", "\\lim"):
            out.append(("\\limits", None))
        marks = {"msub": "_", "munder": "_", "msup": "^", "mover": "^"}.get(tag, "_^")
        for mark, kid in zip(marks, kids[1:]):
            out.append((mark, None))
            _group(kid, out)
    else:
        for kid in kids:
            _write(kid, out)
