from __future__ import annotations

import heapq
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

from .fake_models import (
    EOS,
    FORMULAS,
    SIX,
    SOS,
    PrefixModel,
    Rows,
    all_sequences,
    by_score,
    markov_model,
    random_model,
)


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
    model = random_model(seed, len(FORMULAS), sharpness)
    constraint = GrammarConstraint(FORMULAS) if constrained else None
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
        ({"constraint": GrammarConstraint(FORMULAS)}, "vocabulary of 15 tokens and the model"),
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
