from __future__ import annotations

import doctest
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inktex.core import vocabulary as module
from inktex.core.errors import InktexError, VocabularyError
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

POWER = ["x", "^", "{", "2", "}"]


def test_tokens_are_numbered_in_order_after_the_special_ones() -> None:
    words = Vocabulary.from_captions([POWER, ["x", "+", "\\alpha"], []])
    assert words.tokens == (*SPECIAL_TOKENS, "+", "2", "\\alpha", "^", "x", "{", "}")
    assert (words.pad, words.sos, words.eos) == (0, 1, 2)
    assert [words.tokens[n] for n in (words.pad, words.sos, words.eos)] == list(SPECIAL_TOKENS)
    assert len(words) == 10
    assert "x" in words
    assert "y" not in words


def test_special_tokens_in_captions_are_not_counted_twice() -> None:
    assert len(Vocabulary.from_captions([["<eos>", "x", "<pad>"]])) == 4


@given(st.lists(st.lists(st.sampled_from("xyz123+-{}^_"), max_size=8), max_size=5))
def test_what_is_encoded_is_decoded(captions: list[list[str]]) -> None:
    words = Vocabulary.from_captions(captions)
    for caption in captions:
        assert words.decode(words.encode(caption)) == caption
        assert words.decode([words.sos, *words.encode(caption), words.eos, 99999]) == caption


def test_a_brief_vocabulary_spares_braces_in_numbers_alone() -> None:
    words = replace(Vocabulary.from_captions([POWER]), brief=True)
    numbers = words.encode(POWER)
    assert [words.tokens[number] for number in numbers] == ["x", "^", "2"]
    assert words.written(POWER) == [0, 1, 3]
    assert words.decode([words.sos, *numbers, words.eos]) == POWER
    assert words.decode(Vocabulary(words.tokens).encode(POWER)) == POWER


def test_decoding_ends_at_the_first_end_and_skips_padding() -> None:
    words = Vocabulary.from_captions([POWER])
    x, two = words.encode(["x", "2"])
    assert words.decode([words.sos, words.pad, x, two, words.eos, x, x]) == ["x", "2"]
    assert words.decode([words.eos, x]) == []
    assert words.decode([]) == []


def test_an_unknown_token_says_which_and_what_to_do() -> None:
    words = Vocabulary.from_captions([POWER])
    with pytest.raises(VocabularyError, match=r"'\\\\Pi' is not among the 8 .*normalise"):
        words.encode(["x", "\\Pi"])
    assert issubclass(VocabularyError, InktexError)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        ((), "starts with <pad> <sos> <eos>"),
        (("x", "y", "z"), "this one starts with 'x y z'"),
        (("<sos>", "<pad>", "<eos>", "x"), "starts with <pad> <sos> <eos>"),
        ((*SPECIAL_TOKENS, "x", "y", "x", "y"), r"found twice: \['x', 'y'\]"),
        ((*SPECIAL_TOKENS, "<pad>"), r"found twice: \['<pad>'\]"),
    ],
)
def test_a_list_that_is_no_vocabulary_is_refused(tokens: tuple[str, ...], told: str) -> None:
    with pytest.raises(VocabularyError, match=told):
        Vocabulary(tokens)


def test_equal_tokens_make_equal_vocabularies() -> None:
    one, other = (Vocabulary.from_captions([POWER]) for _ in range(2))
    assert one.index["x"] == other.encode(["x"])[0]  # the index is made on demand
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != Vocabulary.from_captions([["x"]])


def test_the_example_in_the_docstring_is_right() -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
