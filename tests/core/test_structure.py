from __future__ import annotations

import doctest

import pytest

from inktex.core import structure as module
from inktex.core.structure import BIG_OPERATORS, FRACTIONS, ROOTS, SCRIPTS, structures


def test_the_examples_in_the_docstring() -> None:
    found = doctest.testmod(module)
    assert (found.attempted, found.failed) == (2, 0)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", set()),
        (r"x + \alpha = ( 2 )", set()),
        ("x ^ { 2 }", {SCRIPTS}),
        ("x _ { i }", {SCRIPTS}),
        (r"f ^ { \prime } ( x )", {SCRIPTS}),
        (r"\frac { 1 } { 2 }", {FRACTIONS}),
        (r"\frac { 1 } { 2 } ^ { 3 }", {FRACTIONS, SCRIPTS}),
        (r"\sqrt { 2 }", {ROOTS}),
        (r"\sqrt [ 3 ] { x }", {ROOTS}),
        (r"\sqrt { \frac { x ^ { 2 } } { 2 } }", {ROOTS, FRACTIONS, SCRIPTS}),
        (r"\sum \limits _ { i = 1 } ^ { n } i", {BIG_OPERATORS}),
        (r"\prod _ { i } i", {BIG_OPERATORS}),
        (r"\sum \limits _ { i } x _ { i }", {BIG_OPERATORS, SCRIPTS}),
        (r"\int \limits _ { x ^ { 2 } } f", {BIG_OPERATORS, SCRIPTS}),
        (r"\lim \limits _ { n } \frac { 1 } { n }", {BIG_OPERATORS, FRACTIONS}),
        (r"\begin{matrix} a & x ^ { 2 } \end{matrix}", {SCRIPTS}),
        # no formula: token by token
        (r"\frac { 1", {FRACTIONS}),
        ("x ^ {", {SCRIPTS}),
        (r"\sqrt } \int", {ROOTS, BIG_OPERATORS}),
    ],
)
def test_what_formulas_are_made_of(caption: str, expected: set[str]) -> None:
    assert structures(caption.split()) == expected
