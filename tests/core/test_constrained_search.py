"""Searches under the grammar: every result is a complete formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inktex.core.grammar import GrammarConstraint
from inktex.core.search import beam_search, greedy
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

from .fake_models import (
    EOS,
    FORMULAS,
    SOS,
    PrefixModel,
    all_sequences,
    by_score,
    random_model,
)

seeds = st.integers(0, 2**32 - 1)
penalties = st.sampled_from([0.0, 0.6, 1.0, 1.5])


def is_well_formed(tokens: list[str]) -> bool:
    """The convention for the tokens above, as a recursive descent of its own."""
    rest = [*tokens, "<end>"]

    def group(opening: str, closing: str) -> bool:
        return rest.pop(0) == opening and row(closing) and rest.pop(0) == closing

    def row(closing: str) -> bool:
        return item(closing) and (rest[0] == closing or row(closing))

    def item(closing: str) -> bool:
        token = rest.pop(0)
        if token in ("{", "}", "_", "^", "\\limits", "<end>") or (closing == "]" and token == "["):
            return False
        if token == "\\frac" and not (group("{", "}") and group("{", "}")):
            return False
        if token == "\\sqrt":
            if rest[0] == "[" and not group("[", "]"):
                return False
            if not group("{", "}"):
                return False
        limits = token == "\\sum" and rest[0] == "\\limits"
        if limits:
            rest.pop(0)
        scripts = 0
        for script in "_^":
            if rest[0] == script:
                rest.pop(0)
                if not group("{", "}"):
                    return False
                scripts += 1
        return limits == bool(scripts) if token == "\\sum" else True

    return row("<end>") and rest == ["<end>"]


@settings(max_examples=40)
@given(
    seed=seeds,
    sharpness=st.sampled_from([0.5, 2.0, 8.0]),
    beams=st.integers(1, 5),
    max_length=st.integers(2, 40),
    length_penalty=penalties,
)
def test_every_result_under_the_grammar_is_a_complete_formula(
    seed: int, sharpness: float, beams: int, max_length: int, length_penalty: float
) -> None:
    model = random_model(seed, len(FORMULAS), sharpness)
    grammar = GrammarConstraint(FORMULAS)
    found = beam_search(
        model,
        "image 0",
        beams=beams,
        sos=SOS,
        eos=EOS,
        max_length=max_length,
        length_penalty=length_penalty,
        nbest=beams,
        constraint=grammar,
    )
    found.append(
        greedy(model, "image 0", sos=SOS, eos=EOS, max_length=max_length, constraint=grammar)
    )
    for one in found:
        assert one.finished
        assert len(one.tokens) + 1 == len(one.token_log_probs) <= max_length
        assert one.log_prob == pytest.approx(sum(one.token_log_probs))
        assert is_well_formed(FORMULAS.decode(one.tokens)), FORMULAS.decode(one.tokens)
        # The model's own probabilities, not those of what the grammar left.
        for position, token in enumerate((*one.tokens, EOS)):
            own = model.chances(one.tokens[:position])[token]
            assert one.token_log_probs[position] == pytest.approx(float(own))


def test_without_the_grammar_the_same_models_write_malformed_formulas() -> None:
    """Or the test above would prove nothing."""
    malformed = 0
    for seed in range(20):
        model = random_model(seed, len(FORMULAS))
        found = greedy(model, "image 0", sos=SOS, eos=EOS, max_length=20)
        malformed += not is_well_formed(FORMULAS.decode(found.tokens))
    assert malformed >= 15


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_wide_beam_under_the_grammar_finds_the_best_formulas(length_penalty: float) -> None:
    vocabulary = Vocabulary((*SPECIAL_TOKENS, "x", "^", "{", "}"))
    formulas = [
        tokens
        for tokens in all_sequences(len(vocabulary), 6)
        if 0 not in tokens and is_well_formed(vocabulary.decode(tokens))
    ]
    assert len(formulas) == 10  # x to xxxxxx, x^{x}, xx^{x}, x^{xx}, x^{x}x
    for seed in range(20):
        model = random_model(seed, len(vocabulary))
        expected = by_score(model, formulas, length_penalty)
        found = beam_search(
            model,
            "image 0",
            beams=100,
            sos=SOS,
            eos=EOS,
            max_length=7,
            length_penalty=length_penalty,
            nbest=5,
            constraint=GrammarConstraint(vocabulary),
        )
        assert [one.tokens for one in found] == [tokens for _, tokens in expected[:5]]


def test_the_grammar_wins_over_a_probability_of_zero() -> None:
    # The model only ever opens: x ^ { x ^ { x ..., and rules out all else.
    vocabulary = Vocabulary((*SPECIAL_TOKENS, "x", "^", "{", "}"))
    nothing = np.full(len(vocabulary), -np.inf, dtype=np.float32)

    def chances(prefix: tuple[int, ...]) -> npt.NDArray[np.float32]:
        log_probs = nothing.copy()
        log_probs[vocabulary.index["x^{"[len(prefix) % 3]]] = 0.0
        return log_probs

    model = PrefixModel(chances, len(vocabulary))
    grammar = GrammarConstraint(vocabulary)
    found = greedy(model, "image 0", sos=SOS, eos=EOS, max_length=12, constraint=grammar)
    # 5 tokens before the end the grammar takes over: another script would not fit.
    assert " ".join(vocabulary.decode(found.tokens)) == "x ^ { x ^ { x x x } }"
    assert np.isfinite(found.log_prob)
    (best,) = beam_search(
        model, "image 0", beams=3, sos=SOS, eos=EOS, max_length=12, constraint=grammar
    )
    assert best.finished
    assert is_well_formed(vocabulary.decode(best.tokens))
