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
from .step_model import Memory, State, StepModel, TreeModel
from .token_tree import MOST_NODES, TokenTree

_LEAST = -1e4  # as a search takes what is impossible
_MARGIN = 0.3
"""Of the score, which is nats a token where the length penalty is 1. On validation nine formulas
are gained by reading all hypotheses from the end, eight within this, with half of the rows."""


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

    Only those that are close behind the first are read from the end: for two formulas of five
    there is none.

    Args:
        model: whose decoder also writes from right to left, from `<eos>` to `<sos>`.
        memory: of the image that was read.
        hypotheses: what a search found, best first.
        length_penalty: as of the search.
        nbest: how many are wanted.

    Returns:
        Up to `nbest` hypotheses, best first: those read from the end, their `score` the mean of
        both directions divided by `length**length_penalty`; then the others, as they were.
    """
    near = [each for each in hypotheses if each.finished]
    near = [each for each in near if each.score >= near[0].score - _MARGIN]
    if len(near) < 2:
        return list(hypotheses[:nbest])
    tokens = [each.tokens for each in near]
    backward = backward_log_probs(model, memory, tokens, sos=sos, eos=eos)
    ranked = [
        replace(
            each,
            score=(each.log_prob + other) / 2 / len(each.token_log_probs) ** length_penalty,
        )
        for each, other in zip(near, backward, strict=True)
    ]
    ranked.sort(key=lambda each: -each.score)
    others = [each for each in hypotheses if each not in near]
    return (ranked + others)[:nbest]


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
    written = [(*reversed(formula), sos) for formula in formulas]
    if isinstance(model, TreeModel) and model.reads_trees:
        tree = TokenTree.of([(eos, *tokens[:-1]) for tokens in written])
        if len(tree.tokens) <= MOST_NODES:
            following, _ = model.read_tree(tree, memory)
            return [
                float(np.maximum(following[path, list(tokens)], _LEAST).sum(dtype=np.float64))
                for path, tokens in zip(tree.paths, written, strict=True)
            ]
    return _step_by_step(model, memory, written, eos)


def _step_by_step(
    model: StepModel[Memory, State], memory: Memory, formulas: Sequence[Sequence[int]], first: int
) -> list[float]:
    """How likely it is that each formula is written after the token `first`."""
    # the longest first, so that those which end leave the rows behind
    order = sorted(range(len(formulas)), key=lambda number: -len(formulas[number]))
    written = [formulas[number] for number in order]
    totals = np.zeros(len(written))
    state = model.start(memory, len(written))
    last = np.full(len(written), first, np.int64)
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
