from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inktex.core.errors import InputError, VocabularyError
from inktex.core.grammar import GrammarConstraint, GrammarState
from inktex.core.latex import normalize
from inktex.core.latex_tree import layout_tree
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

TOKENS = ["x", "1", "+", "(", "[", "]", "{", "}", "_", "^", r"\frac", r"\sqrt", r"\sum", r"\limits"]


def vocabulary_of(*tokens: str, brief: bool = False) -> Vocabulary:
    return Vocabulary((*SPECIAL_TOKENS, *tokens), brief)


def accepts(grammar: GrammarConstraint, caption: list[str], tokens_left: int | None = None) -> bool:
    """Whether the automaton lets `caption` and then `<eos>` be written within `tokens_left`."""
    vocabulary = grammar.vocabulary
    left = len(caption) + 1 if tokens_left is None else tokens_left
    state = grammar.start()
    for token in [*vocabulary.encode(caption), vocabulary.eos]:
        if left < state.shortest or not grammar.allowed(state, left)[token]:
            return False
        state, left = grammar.advance(state, token), left - 1
    return True


class Reader:
    """An independent judge: the convention as a recursive descent, nothing shared with grammar.py.

    formula := item+ ;  item := atom [`_` group] [`^` group] ;  group := `{` formula `}`
    """

    def __init__(self, caption: list[str]) -> None:
        self.rest = list(caption)

    def next(self) -> str:
        return self.rest[0] if self.rest else ""

    def take(self, token: str | None = None) -> str:
        if not self.rest or (token is not None and self.rest[0] != token):
            raise ValueError(f"expected {token!r}, found {self.rest[:1]}")
        return self.rest.pop(0)

    def formula(self, until: tuple[str, ...], no_brackets: bool = False) -> None:
        self.item(no_brackets)
        while self.next() not in until:
            self.item(no_brackets)

    def group(self) -> None:
        self.take("{")
        self.formula(until=("}",))
        self.take("}")

    def item(self, no_brackets: bool) -> None:
        token = self.take()
        limits = False
        if token in ("{", "}", "_", "^", r"\limits", *SPECIAL_TOKENS):
            raise ValueError(f"{token} is no item")
        if no_brackets and token in ("[", "]"):
            raise ValueError("a bracket in the index of a root")
        if token == r"\frac":
            self.group()
            self.group()
        elif token == r"\hat":
            self.group()
        elif token == r"\sqrt":
            if self.next() == "[":
                self.take()
                self.formula(until=("]",), no_brackets=True)
                self.take("]")
            self.group()
        elif token in (r"\sum", r"\int", r"\lim"):
            if self.next() in ("_", "^"):
                raise ValueError(rf"a script of {token} without \limits")
            if self.next() == r"\limits":
                self.take()
                limits = True
        scripts = 0
        for script in ("_", "^"):
            if self.next() == script:
                self.take()
                self.group()
                scripts += 1
        if limits and not scripts:
            raise ValueError(r"\limits without a script")


def is_well_formed(caption: list[str]) -> bool:
    reader = Reader(caption)
    try:
        reader.formula(until=("",))
    except ValueError:
        return False
    return not reader.rest


@pytest.mark.parametrize(
    "caption",
    [
        "x",
        "x ^ { 2 }",
        "x _ { 1 } ^ { 2 }",
        "x ^ { x ^ { 2 } }",
        r"\frac { 1 } { 2 } ^ { x }",
        r"\sqrt { x }",
        r"\sqrt [ 1 + 2 ] { x } ^ { 2 }",
        r"\sqrt [ \frac { 1 } { ] } ] { x }",
        r"\sum \limits _ { x = 1 } ^ { 2 } x",
        r"\sum \limits ^ { 2 } x",
        r"\prod _ { x } ^ { 2 }",
        r"\sum x",
        r"\sum \sum \limits _ { x } \sum",
        r"\int \limits _ { \lim \limits _ { x } } ^ { 2 } \int x",
        r"[ x ) ^ { 2 } ( ] | ] _ { 1 }",
        r"\hat { x } _ { 1 }",
    ],
)
def test_well_formed_captions_are_accepted(caption: str) -> None:
    tokens = caption.split()
    assert is_well_formed(tokens)
    grammar = GrammarConstraint(Vocabulary.from_captions([tokens]))
    assert accepts(grammar, tokens)
    assert grammar.accepts(grammar.vocabulary.encode(tokens))


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "x ^ { 2",
        "x }",
        "{ x }",
        "x ^ 2",
        "x ^ { }",
        "x ^",
        "^ { 2 }",
        "x ^ { ^ { 2 } }",
        "x _ { 1 } _ { 2 }",
        "x ^ { 1 } ^ { 2 }",
        "x ^ { 1 } _ { 2 }",
        "x _ { 1 } ^ { 2 } _ { 1 }",
        r"\frac { 1 }",
        r"\frac { 1 } { }",
        r"\frac { 1 } x",
        r"\frac 1 2",
        r"\frac { 1 } { 2 } { 3 }",
        r"\frac { 1 } ^ { 2 } { 3 }",
        r"\sqrt",
        r"\sqrt x",
        r"\sqrt { }",
        r"\sqrt [ ] { x }",
        r"\sqrt [ 2 ] x",
        r"\sqrt [ 2 ]",
        r"\sqrt [ 2 { x }",
        r"\sqrt [ x ^ { 2 ] } ] { x",
        r"\sqrt [ [ ] { x }",
        r"x \limits _ { 1 }",
        r"\prod \limits _ { 1 }",
        r"\sum _ { 1 }",
        r"\sum \limits x",
        r"\sum \limits",
        r"\sum \limits \limits _ { 1 }",
        r"\sum _ { 1 } \limits ^ { 2 }",
        r"\sum \limits _ { 1 } \limits ^ { 2 }",
        r"\limits _ { 1 }",
        r"\hat x",
        r"\hat { x } { x }",
    ],
)
def test_malformed_captions_are_refused(caption: str) -> None:
    tokens = caption.split()
    # Everything is in the vocabulary, so that only the order can be at fault.
    vocabulary = Vocabulary.from_captions([tokens, TOKENS, [r"\hat", "2", "3"]])
    assert not is_well_formed(tokens)
    grammar = GrammarConstraint(vocabulary)
    assert not accepts(grammar, tokens)
    assert not grammar.accepts(vocabulary.encode(tokens))


@pytest.mark.parametrize(
    ("tokens", "start", "length"),
    [
        (["x", "_", "^", "{", "}"], [], 7),
        ([r"\frac", "x", "^", "{", "}"], [r"\frac"], 7),
        (["x", r"\frac", "{", "}"], [], 8),
        ([r"\sqrt", "x", "[", "]", "{", "}"], [r"\sqrt"], 6),
        ([r"\sum", r"\limits", "_", "^", "{", "}"], [r"\sum"], 6),
        ([r"\sum", r"\limits", "x", "_", "{", "}"], [], 6),
        ([r"\sqrt", "x", "[", "]"], [], 5),
        ([r"\hat", r"\frac", r"\sqrt", "_", r"\limits", r"\sum", "x"], [], 5),
    ],
)
def test_the_language_is_exactly_that_of_the_independent_reader(
    tokens: list[str], start: list[str], length: int
) -> None:
    """Every string of up to `length` tokens after `start`, and every limit, not just the fitting.

    Walking only along `allowed` must reach all well-formed captions that fit, and no others; and
    it must never come to a place where nothing is allowed.
    """
    grammar = GrammarConstraint(vocabulary_of(*tokens))
    eos = grammar.vocabulary.eos

    def written(state: GrammarState, left: int) -> list[list[int]]:
        choices = grammar.allowed(state, left).nonzero()[0].tolist()
        assert choices, "a dead end"
        found: list[list[int]] = []
        for token in choices:
            if token == eos:
                found.append([])
            else:
                endings = written(grammar.advance(state, token), left - 1)
                found += [[token, *ending] for ending in endings]
        return found

    state = grammar.start()
    for token in grammar.vocabulary.encode(start):
        state = grammar.advance(state, token)
    walked = {
        tuple(start + grammar.vocabulary.decode(ending)) for ending in written(state, length + 1)
    }
    expected = {
        (*start, *ending)
        for count in range(length + 1)
        for ending in itertools.product(tokens, repeat=count)
        if is_well_formed([*start, *ending])
    }
    assert expected
    assert walked == expected


@given(seed=st.integers(0, 2**32 - 1), tokens_left=st.integers(2, 40), brief=st.booleans())
def test_random_writing_always_ends_well_formed_and_in_time(
    seed: int, tokens_left: int, brief: bool
) -> None:
    generator = np.random.default_rng(seed)
    vocabulary = vocabulary_of(*TOKENS, r"\hat", brief=brief)
    grammar = GrammarConstraint(vocabulary)
    # Tokens that open something are preferred, so that the limit is what ends the formula.
    weights = np.ones(len(vocabulary))
    weights[vocabulary.encode([r"\frac", r"\sqrt", r"\sum", r"\limits", "_", "^", "["])] = 20
    state, caption = grammar.start(), []
    for left in range(tokens_left, 0, -1):
        chances = weights * grammar.allowed(state, left)
        token = int(generator.choice(len(vocabulary), p=chances / chances.sum()))
        state = grammar.advance(state, token)
        if token == vocabulary.eos:
            break
        caption.append(token)
    assert state.shortest == 0
    assert is_well_formed(vocabulary.decode(caption))


@pytest.mark.parametrize("brief", [False, True], ids=["all braces", "brief"])
@pytest.mark.parametrize("name", ["train", "2014", "2016"])
def test_every_caption_of_the_data_is_accepted(data_root: Path, name: str, brief: bool) -> None:
    lines = (data_root / "crohme" / "images" / f"{name}.tsv").read_text("utf-8").splitlines()
    captions = [line.split("\t")[1].split() for line in lines]
    vocabulary = replace(Vocabulary.from_captions(captions), brief=brief)
    grammar = GrammarConstraint(vocabulary)
    refused = [" ".join(caption) for caption in captions if not accepts(grammar, caption)]
    assert len(captions) > 900
    assert refused == []
    assert [vocabulary.decode(vocabulary.encode(caption)) for caption in captions] == captions
    share = sum(len(vocabulary.encode(caption)) for caption in captions) / sum(map(len, captions))
    assert share < 0.85 if brief else share == 1


def test_a_brief_vocabulary_needs_braces_only_around_more_than_a_symbol() -> None:
    vocabulary = vocabulary_of(*TOKENS, r"\neq", brief=True)
    grammar = GrammarConstraint(vocabulary)

    def choices(written: str) -> set[str]:
        state = grammar.start()
        for token in written.split():
            state = grammar.advance(state, vocabulary.index[token])
        return {vocabulary.tokens[token] for token in grammar.allowed(state, 20).nonzero()[0]}

    assert choices("x ^") == {"x", "1", "{"}
    assert choices(r"\sqrt") == {"x", "1", "{", "["}
    assert choices(r"\frac x") == {"x", "1", "{"}
    assert "<eos>" in choices(r"\frac x 1")
    assert "^" in choices("x _ 1")
    assert "_" not in choices("x ^ 1")
    assert choices(r"\sqrt [ 1 ]") == {"x", "1", "{"}
    assert accepts(grammar, [r"\frac", r"{", r"x", r"^", r"{", r"+", r"}", r"}", r"{", r"1", r"}"])


@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_in_the_convention(seed: int) -> None:
    """However long and deep: latex.py reads it, and has nothing to normalise."""
    generator = np.random.default_rng(seed)
    tokens = [r"\sum", r"\limits", "_", "^", "{", "}", r"\frac", r"\sqrt", r"\hat", "x", r"\prime"]
    vocabulary = vocabulary_of(*tokens)
    grammar = GrammarConstraint(vocabulary)
    state, caption = grammar.start(), []
    for left in range(int(generator.integers(2, 600)), 0, -1):
        token = int(generator.choice(grammar.allowed(state, left).nonzero()[0]))
        state = grammar.advance(state, token)
        caption.append(token)
        if token == vocabulary.eos:
            break
    written = vocabulary.decode(caption)
    assert normalize(written) == written


def test_nesting_is_bounded_and_can_always_be_closed() -> None:
    vocabulary = vocabulary_of("x", r"\sqrt", "{", "}", "[", "]", r"\sum", r"\limits", "_")
    grammar = GrammarConstraint(vocabulary)
    for deeper in [[r"\sqrt", "{"], [r"\sqrt", "[", "{"], [r"\limits", "_", r"\sum", "{"]]:
        openers = vocabulary.encode(deeper)
        closers = [*vocabulary.encode(["}"]), vocabulary.eos, *vocabulary.encode(["]", "{", "x"])]
        state, caption = grammar.start(), []
        # As deep as it goes in 120 tokens, then out again.
        for choices, most in ((openers, 120), (closers, 1000)):
            for _ in range(most):
                allowed = grammar.allowed(state, 1000)
                token = next((token for token in choices if allowed[token]), None)
                if token is None:
                    break
                state = grammar.advance(state, token)
                caption.append(token)
        assert state.shortest == 0
        written = vocabulary.decode(caption)
        assert 15 <= written.count("{") <= 32
        layout_tree(written)  # which refuses what is nested too deeply


def test_each_caption_needs_exactly_its_own_length() -> None:
    text = r"\frac { \sqrt [ 1 ] { x } } { \sum \limits _ { x } }"
    caption = text.split()
    grammar = GrammarConstraint(Vocabulary.from_captions([caption]))
    assert accepts(grammar, caption, len(caption) + 1)
    assert not accepts(grammar, caption, len(caption))


def test_special_tokens_and_tokens_outside_the_convention_are_never_allowed() -> None:
    outside = ["<pad>", "<sos>", "'", "&", r"\left", r"\\", r"\begin{matrix}", r"\over"]
    vocabulary = vocabulary_of("x", "{", "}", "^", *outside[2:])
    grammar = GrammarConstraint(vocabulary)
    state = grammar.start()
    for token in vocabulary.encode(["x", "^", "{", "x"]):
        allowed = grammar.allowed(state, 20)
        for never in outside:
            assert not allowed[vocabulary.index[never]], never
        state = grammar.advance(state, token)


def test_tokens_whose_continuation_is_missing_from_the_vocabulary_are_not_allowed() -> None:
    vocabulary = vocabulary_of("x", "^", "_", r"\frac", r"\sqrt", r"\sum", r"\limits", "{", "[")
    grammar = GrammarConstraint(vocabulary)
    state = grammar.advance(grammar.start(), vocabulary.index[r"\sum"])
    allowed = grammar.allowed(state, 99)
    assert {vocabulary.tokens[token] for token in allowed.nonzero()[0]} == {
        "<eos>",
        "x",
        r"\sum",
        "[",
    }


@given(seed=st.integers(0, 2**32 - 1), tokens_left=st.integers(2, 40))
def test_a_token_leads_on_where_it_is_allowed_and_nowhere_else(seed: int, tokens_left: int) -> None:
    generator = np.random.default_rng(seed)
    grammar = GrammarConstraint(vocabulary_of(*TOKENS, r"\hat"))
    state = grammar.start()
    for left in range(tokens_left, 0, -1):
        allowed = grammar.allowed(state, left)
        after = [grammar.after(state, token, left) for token in range(len(allowed))]
        assert [each is not None for each in after] == allowed.tolist()
        token = int(generator.choice(allowed.nonzero()[0]))
        state = grammar.advance(state, token)
        assert state == after[token]
        if token == grammar.vocabulary.eos:
            break


def test_nothing_follows_the_end() -> None:
    grammar = GrammarConstraint(vocabulary_of("x"))
    state = grammar.advance(grammar.advance(grammar.start(), 3), grammar.vocabulary.eos)
    assert state.shortest == 0
    assert not grammar.allowed(state, 5).any()
    with pytest.raises(InputError, match="cannot stand here; expected one of: nothing"):
        grammar.advance(state, 3)


def test_masks_are_shared_and_cannot_be_spoilt() -> None:
    grammar = GrammarConstraint(vocabulary_of("x", "(", "^", "{", "}"))
    one = grammar.advance(grammar.start(), 3)
    two = grammar.advance(one, 4)
    assert one == two
    assert hash(one) == hash(two)
    assert grammar.allowed(one, 50) is grammar.allowed(two, 60)
    with pytest.raises(ValueError, match="read-only"):
        grammar.allowed(one, 50)[0] = True


def test_errors_say_what_was_expected() -> None:
    grammar = GrammarConstraint(vocabulary_of("x", "^", "{", "}"))
    state = grammar.advance(grammar.advance(grammar.start(), 3), 4)
    with pytest.raises(InputError, match=r"'x' cannot stand here; expected one of: \{"):
        grammar.advance(state, 3)
    with pytest.raises(InputError, match="at least 4 tokens, <eos> included, and 3 are left"):
        grammar.allowed(state, 3)
    with pytest.raises(VocabularyError, match="at least one symbol"):
        GrammarConstraint(vocabulary_of("{", "}", "^"))
