"""Hypotheses of a beam search ranked anew, by a decoder that can write from either end.

A decoder trained in both directions gives every formula two probabilities, of which each is blind
to other things: from left to right nothing is known of what follows. Ranking by both is the
approximate joint search of Liu et al. (2016, doi:10.18653/v1/N16-1046), which BTTR brought to
handwritten mathematics (Zhao et al., 2021, arXiv:2105.02412).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .search import Hypothesis
from .step_model import Memory, State, StepModel

_LEAST = -1e4  # as a search takes what is impossible


def rescored(
    model: StepModel[Memory, State],
    memory: Memory,
    hypotheses: Sequence[Hypothesis],
    *,
    sos: int,
    eos: int,
    length_penalty: float = 1.0,
    nbest: int = 1,
) -> list[Hypothesis]:
    """The best hypotheses by the mean of their log-probabilities in both directions.

    Where one is wanted, only those are read from the end that could still come first: most
    formulas need one pass of one row.

    Args:
        model: whose decoder also writes from right to left, from `<eos>` to `<sos>`.
        memory: of the image that was read.
        hypotheses: what a search found, best first.
        length_penalty: as of the search.
        nbest: how many are wanted.

    Returns:
        Up to `nbest` hypotheses, best first, their `score` the mean of both directions, divided by
        `length**length_penalty`. What the search cut off comes last, as it was.
    """
    finished = [each for each in hypotheses if each.finished]
    if not finished:
        return list(hypotheses[:nbest])

    def read_from_the_end(some: Sequence[Hypothesis]) -> list[Hypothesis]:
        tokens = [each.tokens for each in some]
        backward = backward_log_probs(model, memory, tokens, sos=sos, eos=eos)
        return [
            replace(each, score=_score(each, other, length_penalty))
            for each, other in zip(some, backward, strict=True)
        ]

    if nbest == 1:
        best = read_from_the_end(finished[:1])
        # a log-probability is never positive, so that zero flatters the others most
        rivals = [
            each for each in finished[1:] if _score(each, 0.0, length_penalty) > best[0].score
        ]
        found = best + (read_from_the_end(rivals) if rivals else [])
    else:
        found = read_from_the_end(finished)
    found.sort(key=lambda each: -each.score)
    cut_off = [each for each in hypotheses if not each.finished]
    return (found + cut_off)[:nbest]


def backward_log_probs(
    model: StepModel[Memory, State],
    memory: Memory,
    formulas: Sequence[Sequence[int]],
    *,
    sos: int,
    eos: int,
) -> list[float]:
    """How likely it is that each formula is written from its end to its beginning.

    Args:
        formulas: tokens of each, left to right, without `<sos>` and `<eos>`.

    Returns:
        The natural log-probability of each, `<sos>` at its end included.
    """
    # the longest first, so that those which end leave the rows behind
    order = sorted(range(len(formulas)), key=lambda number: -len(formulas[number]))
    written = [(*reversed(formulas[number]), sos) for number in order]
    totals = np.zeros(len(written))
    state = model.start(memory, len(written))
    last = np.full(len(written), eos, np.int64)
    for step in range(len(written[0])):
        log_probs, state = model.step(last, memory, state)
        rows = len(last)
        last = np.array([tokens[step] for tokens in written[:rows]], np.int64)
        totals[:rows] += np.maximum(log_probs[np.arange(rows), last], _LEAST)
        left = sum(len(tokens) > step + 1 for tokens in written[:rows])
        if 0 < left < rows:
            state = model.reorder(state, np.arange(left))
            last = last[:left]
    found = np.empty_like(totals)
    found[order] = totals
    return [float(total) for total in found]


def _score(hypothesis: Hypothesis, backward: float, length_penalty: float) -> float:
    length = len(hypothesis.token_log_probs)
    return (hypothesis.log_prob + backward) / 2 / float(length**length_penalty)
