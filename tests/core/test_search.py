from __future__ import annotations

import heapq
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inktex.core.errors import InktexError, InputError
from inktex.core.grammar import GrammarConstraint
from inktex.core.search import beam_search, greedy
from inktex.core.step_model import StepModel
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

from .fake_models import (
    EOS,
    SIX,
    SOS,
    AtOnce,
    PrefixModel,
    Rows,
    markov_model,
    random_model,
)

FORMULA_TOKENS = ["x", "1", "[", "]", "{", "}", "_", "^", "\\frac", "\\sqrt", "\\sum", "\\limits"]
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *FORMULA_TOKENS))


def all_sequences(vocabulary_size: int, most: int) -> list[tuple[int, ...]]:
    letters = [token for token in range(vocabulary_size) if token not in (SOS, EOS)]
    return [
        tokens for count in range(most + 1) for tokens in itertools.product(letters, repeat=count)
    ]


def by_score(
    model: PrefixModel, sequences: list[tuple[int, ...]], length_penalty: float
) -> list[tuple[float, tuple[int, ...]]]:
    """(score, tokens) of every sequence, best first."""
    found = []
    for tokens in sequences:
        log_prob = sum(
            float(model.chances(tokens[:position])[token])
            for position, token in enumerate((*tokens, EOS))
        )
        found.append((log_prob / (len(tokens) + 1) ** length_penalty, tokens))
    return sorted(found, reverse=True)


def plain_beam_search(
    model: PrefixModel, beams: int, max_length: int, length_penalty: float
) -> list[tuple[float, tuple[int, ...]]]:
    """Beam search as it reads in a textbook, to the end: no early stop, no arrays, no state."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...]]] = []
    for length in range(1, max_length + 1):
        grown = [
            (log_prob + float(chance), (*tokens, token))
            for log_prob, tokens in live
            for token, chance in enumerate(model.chances(tokens))
            if token != SOS
        ]
        best = heapq.nlargest(beams - len(done), grown)
        done += [
            (log_prob / length**length_penalty, tokens[:-1])
            for log_prob, tokens in best
            if tokens[-1] == EOS
        ]
        live = [one for one in best if one[1][-1] != EOS]
    return sorted(done, reverse=True)


seeds = st.integers(0, 2**32 - 1)
penalties = st.sampled_from([0.0, 0.6, 1.0, 1.5])


def test_the_fake_is_a_step_model() -> None:
    model: StepModel[str, Rows] = random_model(0, 6)
    (memory,) = model.encode(np.zeros((1, 1, 16, 16), dtype=np.float32))
    assert greedy(model, memory, sos=SOS, eos=EOS, max_length=9) == greedy(
        model, memory, sos=SOS, eos=EOS, max_length=9
    )


@settings(max_examples=40)
@given(seed=seeds, length_penalty=penalties, nbest=st.integers(1, 7))
def test_a_wide_beam_finds_the_true_best_readings(
    seed: int, length_penalty: float, nbest: int
) -> None:
    model = random_model(seed, 6)
    expected = by_score(model, all_sequences(6, 3), length_penalty)
    found = beam_search(
        model,
        "image 0",
        beams=2000,
        sos=SOS,
        eos=EOS,
        max_length=4,
        length_penalty=length_penalty,
        nbest=nbest,
    )
    assert [one.tokens for one in found] == [tokens for _, tokens in expected[:nbest]]
    np.testing.assert_allclose([one.score for one in found], [s for s, _ in expected[:nbest]])
    assert all(one.finished for one in found)


@settings(max_examples=40)
@given(
    seed=seeds,
    sharpness=st.sampled_from([0.5, 2.0, 6.0]),
    beams=st.integers(1, 6),
    length_penalty=penalties,
    data=st.data(),
)
def test_stopping_early_changes_nothing(
    seed: int, sharpness: float, beams: int, length_penalty: float, data: st.DataObject
) -> None:
    nbest = data.draw(st.integers(1, beams))
    model = random_model(seed, 6, sharpness)
    expected = plain_beam_search(model, beams, 12, length_penalty)[:nbest]
    found = beam_search(
        model,
        "image 0",
        beams=beams,
        sos=SOS,
        eos=EOS,
        max_length=12,
        length_penalty=length_penalty,
        nbest=nbest,
    )
    finished = [one for one in found if one.finished]
    assert [one.tokens for one in finished] == [tokens for _, tokens in expected]
    np.testing.assert_allclose([one.score for one in finished], [score for score, _ in expected])


def test_the_search_stops_as_soon_as_no_beam_can_win() -> None:
    sure = [
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.98, 0.02],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.98, 0.01, 0.01],
        [0.0, 0.0, 0.5, 0.25, 0.25],
    ]
    model = markov_model(sure)
    search: dict[str, Any] = {"beams": 3, "sos": SOS, "eos": EOS, "length_penalty": 1.0}
    # The best ends after 2 steps with log_prob 2 log 0.98 = -0.0404 over 2. The others start with
    # log 0.02 = -3.9 and less: divided by at most 100 they may still win, by at most 200 too.
    (best,) = beam_search(model, "image 0", max_length=100, **search)
    assert best.tokens == (3,)
    assert len(model.rows) == 2
    # With up to 1000 tokens the bound is too weak to stop there.
    beam_search(model, "image 0", max_length=1000, **search)
    assert len(model.rows) > 2


@pytest.mark.parametrize(("lag", "rows"), [(2.0, [1, 1, 1]), (5.0, [1, 2, 2]), (1e9, [1, 3, 3])])
def test_what_lags_behind_is_given_up(lag: float, rows: list[int]) -> None:
    """The first token is one of three, 0.951 : 0.048 : 0.001, and repeats itself."""
    first = [0.0, 0.0, 0.0, 0.951, 0.048, 0.001]
    repeated = np.eye(6).tolist()[3:]
    model = markov_model([first, first, first, *repeated])
    search: dict[str, Any] = {"beams": 3, "sos": SOS, "eos": EOS, "max_length": 3, "nbest": 3}
    found = beam_search(model, "image 0", **search, lag=lag)
    assert model.rows == rows
    assert [each.tokens for each in found] == [(3, 3, 3), (4, 4, 4), (5, 5, 5)][: rows[-1]]


@given(seed=seeds, sharpness=st.sampled_from([0.5, 2.0]), lag=st.floats(0.1, 6.0))
def test_the_rest_is_searched_as_before(seed: int, sharpness: float, lag: float) -> None:
    """A lag beyond all differences drops nothing; what is left by another is counted right."""
    search: dict[str, Any] = {"beams": 4, "sos": SOS, "eos": EOS, "max_length": 8, "nbest": 4}
    model = random_model(seed, 6, sharpness)
    full = beam_search(model, "image 0", **search)
    assert beam_search(model, "image 0", **search, lag=1e6) == full
    few = beam_search(model, "image 0", **search, lag=lag)
    assert 1 <= len(few) <= len(full)
    for each in few:
        expected = sum(
            float(model.chances(each.tokens[:position])[token])
            for position, token in enumerate((*each.tokens, EOS)[: len(each.token_log_probs)])
        )
        assert each.log_prob == pytest.approx(expected, rel=1e-5)


def test_rows_are_cut_down_as_hypotheses_end() -> None:
    runs = []
    for seed in range(10):
        model = random_model(seed, 8, sharpness=1.0)
        beam_search(model, "image 0", beams=4, sos=SOS, eos=EOS, max_length=30, nbest=4)
        runs.append(model.rows)
    for rows in runs:
        assert rows[0] == 1
        assert rows[1:] == sorted(rows[1:], reverse=True)
    assert max(max(rows) for rows in runs) == 4
    assert min(rows[-1] for rows in runs) == 1


@given(seed=seeds, sharpness=st.sampled_from([0.5, 3.0]), constrained=st.booleans())
def test_one_beam_is_greedy(seed: int, sharpness: float, constrained: bool) -> None:
    model = random_model(seed, len(VOCABULARY), sharpness)
    constraint = GrammarConstraint(VOCABULARY) if constrained else None
    (one,) = beam_search(
        model, "image 0", beams=1, sos=SOS, eos=EOS, max_length=15, constraint=constraint
    )
    assert one == greedy(model, "image 0", sos=SOS, eos=EOS, max_length=15, constraint=constraint)


def test_greedy_takes_the_likeliest_token_each_time() -> None:
    model = markov_model(
        [
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.1, 0.6, 0.3],
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.2, 0.1, 0.7],
            [0.0, 0.0, 0.8, 0.1, 0.1],
        ]
    )
    found = greedy(model, "image 0", sos=SOS, eos=EOS, max_length=9)
    assert found.tokens == (3, 4)
    assert found.finished
    np.testing.assert_allclose(found.token_log_probs, np.log([0.6, 0.7, 0.8]), rtol=1e-6)
    assert found.log_prob == pytest.approx(np.log(0.6 * 0.7 * 0.8))
    assert found.score == pytest.approx(np.log(0.6 * 0.7 * 0.8) / 3)


def test_a_hypothesis_that_runs_out_of_length_is_marked() -> None:
    # 3 goes on for ever; 4 would end at once, but is 19 times less likely.
    endless = markov_model(
        [
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.95, 0.05],
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0],
        ]
    )
    found = greedy(endless, "image 0", sos=SOS, eos=EOS, max_length=6)
    assert (found.tokens, found.finished) == ((3,) * 6, False)
    assert len(found.token_log_probs) == 6
    assert found.log_prob == pytest.approx(np.log(0.95))

    both = beam_search(endless, "image 0", beams=2, sos=SOS, eos=EOS, max_length=6, nbest=2)
    assert [(one.tokens, one.finished) for one in both] == [((4,), True), ((3,) * 6, False)]


def test_equal_probabilities_are_decided_by_rank_and_token_number() -> None:
    size = 40
    flat = np.full(size, -np.log(size), dtype=np.float32)
    model = PrefixModel(lambda prefix: flat if not prefix else np.roll(flat, 1), size)
    assert greedy(model, "image 0", sos=SOS, eos=EOS, max_length=3).tokens == (0, 0, 0)
    found = beam_search(model, "image 0", beams=4, sos=SOS, eos=EOS, max_length=2, nbest=4)
    # Step 1 keeps 0, <eos>, 3, 4; step 2 fills the three places left from the first row.
    assert [one.tokens for one in found] == [(), (0,), (0, 0), (0, 3)]


def test_ties_at_the_border_of_the_beam_go_to_the_lower_token() -> None:
    size = 300
    levels = np.random.default_rng(0).integers(1, 4, size).astype(np.float32)
    model = PrefixModel(lambda prefix: -levels, size)
    # After one step all but <eos> are unfinished, and are returned in the order of the beam.
    found = beam_search(model, "image 0", beams=150, sos=SOS, eos=EOS, max_length=1, nbest=150)
    ranked = sorted((level, token) for token, level in enumerate(levels) if token != SOS)[:150]
    assert levels[ranked[-1][1]] == levels[ranked[-2][1]] == 2
    expected = [(token,) for _, token in ranked if token != EOS]
    assert [one.tokens for one in found if not one.finished] == expected


def test_hypotheses_are_all_different() -> None:
    model = random_model(11, 7)
    found = beam_search(model, "image 0", beams=20, sos=SOS, eos=EOS, max_length=8, nbest=20)
    assert len({(one.tokens, one.finished) for one in found}) == 20


def test_what_rounding_left_above_zero_counts_as_zero() -> None:
    rounded = np.array([-9, -9, -9, 1e-4, 2e-4], dtype=np.float32)
    end = np.array([-9, -9, 0, -9, -9], dtype=np.float32)
    model = PrefixModel(lambda prefix: end if prefix else rounded, 5)
    found = greedy(model, "image 0", sos=SOS, eos=EOS, max_length=3)
    assert (found.tokens, found.token_log_probs) == ((3,), (0.0, 0.0))
    assert beam_search(model, "image 0", beams=1, sos=SOS, eos=EOS, max_length=3) == [found]


def test_sos_is_never_written() -> None:
    table = np.full((4, 4), 0.05)
    table[:, SOS] = 0.85
    model = markov_model(table.tolist())
    found = beam_search(model, "image 0", beams=3, sos=SOS, eos=EOS, max_length=4, nbest=3)
    assert all(SOS not in one.tokens for one in found)
    assert SOS not in greedy(model, "image 0", sos=SOS, eos=EOS, max_length=4).tokens


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
    model = random_model(seed, len(VOCABULARY), sharpness)
    grammar = GrammarConstraint(VOCABULARY)
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
        assert is_well_formed(VOCABULARY.decode(one.tokens)), VOCABULARY.decode(one.tokens)
        # The model's own probabilities, not those of what the grammar left.
        for position, token in enumerate((*one.tokens, EOS)):
            own = model.chances(one.tokens[:position])[token]
            assert one.token_log_probs[position] == pytest.approx(float(own))


def test_without_the_grammar_the_same_models_write_malformed_formulas() -> None:
    """Or the test above would prove nothing."""
    malformed = 0
    for seed in range(20):
        model = random_model(seed, len(VOCABULARY))
        found = greedy(model, "image 0", sos=SOS, eos=EOS, max_length=20)
        malformed += not is_well_formed(VOCABULARY.decode(found.tokens))
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


def broken_model(value: float, step: int) -> PrefixModel:
    """Returns `value` as one log-probability of one row in the given step."""
    sound = random_model(3, 6, sharpness=0.1)

    def chances(prefix: tuple[int, ...]) -> npt.NDArray[np.float32]:
        log_probs = sound.chances(prefix)
        log_probs[2] = -np.inf  # never ends by itself
        if len(prefix) + 1 == step:
            log_probs[4] = value
        return log_probs

    return PrefixModel(chances, 6)


@pytest.mark.parametrize(
    ("value", "found"), [(float("nan"), "NaN"), (7.5, "up to 7.5"), (float("inf"), "up to inf")]
)
@pytest.mark.parametrize("step", [1, 3])
def test_what_is_no_log_probability_is_an_error(value: float, found: str, step: int) -> None:
    model = broken_model(value, step)
    message = rf"step {step} of the model should return log-probabilities .* returned {found}"
    with pytest.raises(InktexError, match=message):
        greedy(model, "image 0", sos=SOS, eos=EOS, max_length=5)
    with pytest.raises(InktexError, match=message):
        beam_search(model, "image 0", beams=3, sos=SOS, eos=EOS, max_length=5)


def test_a_model_that_rules_everything_out_is_an_error() -> None:
    model = PrefixModel(lambda prefix: np.full(6, -np.inf, dtype=np.float32), 6)
    with pytest.raises(InktexError, match="every token probability zero"):
        greedy(model, "image 0", sos=SOS, eos=EOS, max_length=5)
    with pytest.raises(InktexError, match="every token probability zero"):
        beam_search(model, "image 0", beams=3, sos=SOS, eos=EOS, max_length=5)


def test_a_model_of_another_width_is_an_error() -> None:
    model = random_model(0, 6)
    model.vocabulary_size = 7
    with pytest.raises(InktexError, match=r"shape \(1, 7\), and returned \(1, 6\)"):
        greedy(model, "image 0", sos=SOS, eos=EOS, max_length=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, "1 <= nbest <= beams; found nbest 1, beams 0"),
        ({"beams": 2, "nbest": 3}, "found nbest 3, beams 2"),
        ({"nbest": 0}, "found nbest 0"),
        ({"max_length": 0}, "max_length >= 1"),
        ({"length_penalty": -1.0}, "length penalty >= 0"),
        ({"length_penalty": float("nan")}, "length penalty >= 0"),
        ({"lag": 0.0}, "lag > 0"),
        ({"lag": float("nan")}, "lag > 0"),
        ({"constraint": GrammarConstraint(VOCABULARY)}, "vocabulary of 15 tokens and the model"),
        (
            {"constraint": GrammarConstraint(SIX), "max_length": 1},
            "at least 2 tokens",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"beams": 2, "sos": SOS, "eos": EOS, "max_length": 5} | options
    with pytest.raises(InputError, match=message):
        beam_search(random_model(0, 6), "image 0", **arguments)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("constrained", [False, True])
def test_a_draft_changes_nothing_but_the_steps(seed: int, constrained: bool) -> None:
    model = random_model(seed, len(SIX))
    constraint = GrammarConstraint(SIX) if constrained else None
    search = {"sos": SOS, "eos": EOS, "max_length": 12, "constraint": constraint}
    plain = greedy(model, "image 0", **search)  # type: ignore[arg-type]
    steps = len(model.rows)
    right = plain.tokens
    rng = np.random.default_rng(seed)
    other = tuple(rng.integers(3, 6, 7).tolist())
    drafts = [(), right, right[:2], (*right, 3), (*right[:1], 5, *right[1:]), other, other * 9]
    for draft in drafts:
        at_once = AtOnce(model)
        found = greedy(at_once, "image 0", draft=draft, **search)  # type: ignore[arg-type]
        assert found == plain
        alike = 0
        while alike < min(len(draft), len(right)) and draft[alike] == right[alike]:
            alike += 1
        assert at_once.nodes == ([min(len(draft) + 1, 12)] if draft else [])
        # the tree says what comes after `<sos>` and after every token that is right
        assert len(at_once.rows) == (max(steps - alike - 1, 0) if draft else steps)
        assert at_once.resumed == (len(at_once.rows) > 0 and bool(draft))


def test_a_model_that_reads_no_trees_leaves_a_draft_alone() -> None:
    model = random_model(3, len(SIX))
    search = {"sos": SOS, "eos": EOS, "max_length": 12}
    plain = greedy(model, "image 0", **search)  # type: ignore[arg-type]
    for each in (model, AtOnce(model, reads_trees=False)):
        found = greedy(each, "image 0", draft=plain.tokens, **search)  # type: ignore[arg-type]
        assert found == plain
        assert len(each.rows) == len(plain.token_log_probs)


def test_a_draft_that_is_too_long_to_be_read_at_once_is_left_alone() -> None:
    at_once = AtOnce(random_model(3, len(SIX)))
    greedy(at_once, "image 0", sos=SOS, eos=EOS, max_length=500, draft=(3,) * 450)
    assert at_once.nodes == []
