from __future__ import annotations

import doctest
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inktex.core import alignment as module
from inktex.core.alignment import EXTRA, MISSING, SAME, SUBSTITUTED, Pair, align
from inktex.core.metrics import edit_distance

captions = st.lists(st.sampled_from(["x", "y", "^", "{", "}"]), max_size=7)


def test_the_example_in_the_docstring() -> None:
    found = doctest.testmod(module)
    assert (found.attempted, found.failed) == (1, 0)


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ("", "", []),
        ("x", "x", [("x", "x")]),
        ("x", "X", [("x", "X")]),
        ("x", "", [("x", None)]),
        ("", "x", [(None, "x")]),
        ("x ^ { 2 }", "x 2", [("x", "x"), ("^", None), ("{", None), ("2", "2"), ("}", None)]),
        ("a + b", "a + + b", [("a", "a"), (None, "+"), ("+", "+"), ("b", "b")]),
        # rather than two confusions: one token less is lost
        ("a b", "b c", [("a", None), ("b", "b"), (None, "c")]),
    ],
)
def test_alignments_made_by_hand(
    reference: str, prediction: str, expected: list[tuple[str | None, str | None]]
) -> None:
    assert align(reference.split(), prediction.split()) == [Pair(*pair) for pair in expected]


def test_the_four_kinds() -> None:
    pairs = [Pair("x", "x"), Pair("x", "y"), Pair("x", None), Pair(None, "x")]
    assert [pair.kind for pair in pairs] == [SAME, SUBSTITUTED, MISSING, EXTRA]


@given(captions, captions)
def test_an_alignment_is_both_captions_with_the_fewest_edits(
    reference: list[str], prediction: list[str]
) -> None:
    pairs = align(reference, prediction)
    assert [pair.reference for pair in pairs if pair.reference is not None] == reference
    assert [pair.prediction for pair in pairs if pair.prediction is not None] == prediction
    assert sum(pair.kind != SAME for pair in pairs) == edit_distance(reference, prediction)


def kept_at_most(reference: tuple[str, ...], prediction: tuple[str, ...]) -> int:
    """The most equal pairs of all alignments with the fewest edits, all of them tried."""
    found = set()

    def walk(i: int, j: int, edits: int, kept: int) -> None:
        if i == len(reference) and j == len(prediction):
            found.add((edits, -kept))
        if i < len(reference) and j < len(prediction):
            same = reference[i] == prediction[j]
            walk(i + 1, j + 1, edits + (not same), kept + same)
        if i < len(reference):
            walk(i + 1, j, edits + 1, kept)
        if j < len(prediction):
            walk(i, j + 1, edits + 1, kept)

    walk(0, 0, 0, 0)
    return -min(found)[1]


def test_no_other_alignment_keeps_more_tokens() -> None:
    for reference, prediction in product(product("ab", repeat=3), product("abc", repeat=3)):
        kept = sum(pair.kind == SAME for pair in align(reference, prediction))
        assert kept == kept_at_most(reference, prediction), (reference, prediction)
