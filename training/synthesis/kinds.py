"""What sort of symbol a token is: symbols of one sort keep the same distances, and swap places."""

from __future__ import annotations

from ...core.latex_tables import FUNCTIONS, LIMITS

LETTER, DIGIT, CAPITAL, GREEK = "letter", "digit", "capital", "Greek letter"
OPERATOR, RELATION, OPENING, CLOSING = "operator", "relation", "opening", "closing"
FRACTION, ROOT, FUNCTION, PUNCTUATION, OTHER = "fraction", "root", "function", "mark", "other"

PAIRS = {"(": ")", "[": "]", r"\{": r"\}"}
"""Brackets that open, and what closes them."""
BRACKETS = frozenset({*PAIRS, *PAIRS.values()})

JOINTS = frozenset({OPERATOR, RELATION})
"""Between them stand the operands of a row."""

_KINDS: dict[str, str] = {
    **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", LETTER),
    **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", CAPITAL),
    **dict.fromkeys("0123456789", DIGIT),
    **dict.fromkeys("+-/*", OPERATOR),
    **dict.fromkeys((r"\pm", r"\mp", r"\times", r"\div", r"\cdot"), OPERATOR),
    **dict.fromkeys("=<>", RELATION),
    **dict.fromkeys((r"\leq", r"\geq", r"\neq", r"\rightarrow", r"\in", r"\equiv"), RELATION),
    **dict.fromkeys((r"\approx", r"\sim", r"\subset"), RELATION),
    **dict.fromkeys(PAIRS, OPENING),
    **dict.fromkeys(PAIRS.values(), CLOSING),
    **dict.fromkeys((",", ".", "!", ":", ";", r"\ldots", r"\cdots", r"\prime"), PUNCTUATION),
    **dict.fromkeys((r"\alpha", r"\beta", r"\gamma", r"\delta", r"\epsilon", r"\eta"), GREEK),
    **dict.fromkeys((r"\theta", r"\kappa", r"\lambda", r"\mu", r"\nu", r"\xi", r"\pi"), GREEK),
    **dict.fromkeys((r"\rho", r"\sigma", r"\tau", r"\phi", r"\chi", r"\psi", r"\omega"), GREEK),
    r"\frac": FRACTION,
    r"\sqrt": ROOT,
}


def kind(token: str) -> str:
    """The sort of a token; a sum, an integral and a limit are each a sort of their own."""
    if token in LIMITS:
        return token
    return FUNCTION if token in FUNCTIONS else _KINDS.get(token, OTHER)
