from __future__ import annotations

import doctest

import pytest

from inktex.core import braces as module
from inktex.core.braces import needed, restored, stands_alone


def test_the_examples() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("caption", "brief"),
    [
        ("x ^ { 2 }", "x ^ 2"),
        ("x _ { i } ^ { 2 }", "x _ i ^ 2"),
        ("x ^ { 1 0 }", "x ^ { 1 0 }"),
        (r"\frac { 1 } { 2 }", r"\frac 1 2"),
        (r"\frac { a + b } { 2 }", r"\frac { a + b } 2"),
        (r"\sqrt { x }", r"\sqrt x"),
        (r"\sqrt [ 3 ] { x }", r"\sqrt [ 3 ] x"),
        (r"\sqrt [ n ^ { 2 } ] { x y }", r"\sqrt [ n ^ 2 ] { x y }"),
        (r"\hat { \alpha }", r"\hat \alpha"),
        (r"\sum \limits _ { i } ^ { \infty } x", r"\sum \limits _ i ^ \infty x"),
        (r"x ^ { \frac { 1 } { y ^ { 2 } } }", r"x ^ { \frac 1 { y ^ 2 } }"),
        # TeX would not take these as they stand
        (r"x ^ { + }", r"x ^ { + }"),
        (r"x _ { \neq }", r"x _ { \neq }"),
        (r"x ^ { \log }", r"x ^ { \log }"),
        ("{ x }", "{ x }"),  # no argument
        (r"\frac { { a } b } { c }", r"\frac { { a } b } c"),
        (r"\sqrt [ { 3 } ] { x }", r"\sqrt [ { 3 } ] x"),
    ],
)
def test_braces_around_one_symbol_are_spared_and_come_back(caption: str, brief: str) -> None:
    tokens = caption.split()
    written = [tokens[place] for place in needed(tokens)]
    assert written == brief.split()
    assert restored(written) == tokens


def test_what_has_all_its_braces_stays_as_it_is() -> None:
    caption = r"\frac { 1 } { \sqrt [ 3 ] { x } } ^ { 2 }"
    assert " ".join(restored(caption.split())) == caption


@pytest.mark.parametrize("text", ["", "x ^", r"\frac", r"\frac 1", "x ^ {", "} }", r"\sqrt [ 3"])
def test_what_was_cut_off_is_no_error(text: str) -> None:
    needed(text.split())
    restored(text.split())


def test_symbols_that_stand_alone() -> None:
    assert all(map(stands_alone, ["x", "7", r"\alpha", r"\infty", r"\prime"]))
    assert not any(map(stands_alone, ["+", "{", "^", r"\sum", r"\sin", r"\ldots", "(", "<eos>"]))
