from __future__ import annotations

import numpy as np
import pytest

from inktex.core.rescoring import backward_log_probs, rescored
from inktex.core.search import Hypothesis, beam_search

from .fake_models import EOS, SIX, SOS, AtOnce, PrefixModel, random_model

ONE, TWO, THREE = 3, 4, 5


def backward(model: PrefixModel, formula: tuple[int, ...]) -> float:
    """What writing a formula from its end costs, one token at a time."""
    written = (*reversed(formula), SOS)
    # the fake leaves the first token, from which it starts, out of what it looks at
    return sum(float(model.chances(written[:n])[token]) for n, token in enumerate(written))


def hypothesis(tokens: tuple[int, ...], log_prob: float, finished: bool = True) -> Hypothesis:
    length = len(tokens) + finished
    return Hypothesis(tokens, log_prob, (log_prob / length,) * length, finished, log_prob / length)


def test_formulas_of_any_length_are_written_from_their_end_side_by_side() -> None:
    model = random_model(1, len(SIX))
    formulas = [(ONE, TWO), (THREE,), (), (TWO, TWO, ONE, THREE), (ONE, THREE)]
    found = backward_log_probs(model, "image 0", formulas, sos=SOS, eos=EOS)
    assert found == pytest.approx([backward(model, each) for each in formulas])
    assert model.rows == [5, 4, 3, 1, 1]


@pytest.mark.parametrize("seed", range(20))
def test_those_close_behind_are_ranked_by_both_directions(seed: int) -> None:
    model = random_model(seed, len(SIX), sharpness=0.5)
    search = {"beams": 6, "nbest": 6, "sos": SOS, "eos": EOS, "max_length": 8}
    hypotheses = beam_search(model, "image 0", **search)  # type: ignore[arg-type]
    finished = [each for each in hypotheses if each.finished]
    near = [each for each in finished if each.score >= finished[0].score - 0.3]

    def both(each: Hypothesis) -> float:
        return (each.log_prob + backward(model, each.tokens)) / 2 / len(each.token_log_probs)

    found = rescored(model, "image 0", hypotheses, sos=SOS, eos=EOS, nbest=6)
    others = [each for each in hypotheses if each not in near]
    if len(near) > 1:
        wanted = sorted(near, key=both, reverse=True)
        assert [each.tokens for each in found[: len(near)]] == [each.tokens for each in wanted]
        assert [each.score for each in found[: len(near)]] == pytest.approx([*map(both, wanted)])
        kept = {each.tokens: each.token_log_probs for each in hypotheses}
        assert all(each.token_log_probs == kept[each.tokens] for each in found)
        assert found[len(near) :] == others
    else:
        assert found == hypotheses
    assert rescored(model, "image 0", hypotheses, sos=SOS, eos=EOS) == found[:1]


def test_where_none_is_close_nothing_is_read_again() -> None:
    model = random_model(3, len(SIX))
    clear = [hypothesis((ONE, TWO), -0.1), hypothesis((THREE,), -5.0)]
    assert rescored(model, "image 0", clear, sos=SOS, eos=EOS) == clear[:1]
    assert model.rows == []
    close = [hypothesis((ONE, TWO), -0.1), hypothesis((THREE,), -0.2)]
    rescored(model, "image 0", close, sos=SOS, eos=EOS)
    assert model.rows == [2, 2, 1]


def test_what_was_cut_off_stays_as_it_is() -> None:
    model = random_model(4, len(SIX))
    cut = [hypothesis((ONE, TWO), -1.0, finished=False), hypothesis((TWO,), -2.0, finished=False)]
    assert rescored(model, "image 0", cut, sos=SOS, eos=EOS, nbest=2) == cut


@pytest.mark.parametrize("seed", range(10))
def test_read_at_once_hypotheses_are_as_likely_as_step_by_step(seed: int) -> None:
    model = random_model(seed, len(SIX))
    at_once = AtOnce(model)
    rng = np.random.default_rng(seed)
    formulas = [tuple(rng.integers(3, 6, length).tolist()) for length in (0, 1, 4, 4, 9)]
    expected = backward_log_probs(model, "image 0", formulas, sos=SOS, eos=EOS)
    found = backward_log_probs(at_once, "image 0", formulas, sos=SOS, eos=EOS)
    assert found == pytest.approx(expected)
    assert len(at_once.nodes) == 1
    assert at_once.rows == []
    at_once.reads_trees = False
    assert backward_log_probs(at_once, "image 0", formulas, sos=SOS, eos=EOS) == expected


def test_what_is_too_large_to_be_read_at_once_is_read_step_by_step() -> None:
    at_once = AtOnce(random_model(1, len(SIX)))
    formulas = [(ONE,) * 250, (TWO,) * 250]
    found = backward_log_probs(at_once, "image 0", formulas, sos=SOS, eos=EOS)
    assert at_once.nodes == []
    assert len(at_once.rows) == 251
    assert found == pytest.approx([backward(at_once, each) for each in formulas])
