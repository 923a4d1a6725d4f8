"""Greedy searches that are given a draft of what may come out."""

from __future__ import annotations

import numpy as np
import pytest

from inktex.core.grammar import GrammarConstraint
from inktex.core.search import greedy

from .fake_models import (
    EOS,
    SIX,
    SOS,
    AtOnce,
    random_model,
)


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
