from __future__ import annotations

import numpy as np
import pytest

from inktex.core.rescoring import backward_log_probs, rescored
from inktex.core.search import Hypothesis, beam_search

from .test_search import EOS, SIX, SOS, TreeModel, random_model

ONE, TWO, THREE = 3, 4, 5


def backward(model: TreeModel, formula: tuple[int, ...]) -> float:
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
def test_the_best_of_both_directions_comes_first(seed: int) -> None:
    model = random_model(seed, len(SIX))
    search = {"beams": 6, "nbest": 6, "sos": SOS, "eos": EOS, "max_length": 8}
    hypotheses = beam_search(model, "image 0", **search)  # type: ignore[arg-type]
    finished = [each for each in hypotheses if each.finished]

    def both(each: Hypothesis) -> float:
        return (each.log_prob + backward(model, each.tokens)) / 2 / len(each.token_log_probs)

    wanted = sorted(finished, key=both, reverse=True)
    every = rescored(model, "image 0", hypotheses, sos=SOS, eos=EOS, nbest=6)
    assert [each.tokens for each in every[: len(wanted)]] == [each.tokens for each in wanted]
    assert [each.score for each in every[: len(wanted)]] == pytest.approx(list(map(both, wanted)))
    assert every[len(wanted) :] == [each for each in hypotheses if not each.finished]
    [best] = rescored(model, "image 0", hypotheses, sos=SOS, eos=EOS)
    assert best == every[0]
    assert best.token_log_probs == next(
        each.token_log_probs for each in hypotheses if each.tokens == best.tokens
    )


def test_what_cannot_come_first_is_not_read_again() -> None:
    model = random_model(3, len(SIX))
    likely, hopeless = hypothesis((ONE, TWO), -0.1), hypothesis((THREE,), -500.0)
    [best] = rescored(model, "image 0", [likely, hopeless], sos=SOS, eos=EOS)
    assert best.tokens == (ONE, TWO)
    assert model.rows == [1, 1, 1]


def test_what_was_cut_off_stays_as_it_is() -> None:
    model = random_model(4, len(SIX))
    cut = [hypothesis((ONE, TWO), -1.0, finished=False), hypothesis((TWO,), -2.0, finished=False)]
    assert rescored(model, "image 0", cut, sos=SOS, eos=EOS, nbest=2) == cut
    assert np.isfinite(cut[0].score)
