from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from inktex.core.latex import normalize
from inktex.core.latex_tables import PLACING
from inktex.training.data_import import import_data
from inktex.training.import_settings import ImportSettings
from inktex.training.inkset import Expression
from inktex.training.stream import drawn_sizes
from inktex.training.synthesis.captions import Writing
from inktex.training.synthesis.synthesizer import Synthesizer

from .formulas import box, pair, written


def sources() -> list[Expression]:
    sums = [
        written(
            f"a + {number}",
            [box(0, -2, 4, 5), box(6, -2, 10, 2), box(12, -5, 14 + number, 5)],
            f"writer-{number}",
        )
        for number in range(1, 5)
    ]
    return [*sums, *[pair(writer="writer-5")] * 4]


def test_new_formulas_know_their_ink() -> None:
    for made in Synthesizer(sources()).expressions(50, seed=3):
        owned = [index for indices in made.ink for index in indices]
        assert owned == list(range(len(made.strokes)))
        for token, indices in zip(made.caption, made.ink, strict=True):
            assert bool(indices) == (token not in PLACING)
        assert all(stroke.dtype == np.float32 for stroke in made.strokes)
        assert all(np.isfinite(stroke).all() for stroke in made.strokes)


def test_they_depend_on_the_seed_and_not_on_the_count() -> None:
    synthesizer = Synthesizer(sources())
    some = list(synthesizer.expressions(5, seed=1))
    more = list(Synthesizer(sources()).expressions(9, seed=1))
    other = list(synthesizer.expressions(5, seed=2))
    assert [each.identifier for each in some] == [f"synthetic-1-{number}" for number in range(5)]
    for one, same in zip(some, more, strict=False):
        assert one.caption == same.caption
        assert all(map(np.array_equal, one.strokes, same.strokes))
    assert [each.caption for each in some] != [each.caption for each in other]


def test_a_formula_is_in_one_hand() -> None:
    """Every writer here has a `+` of a place of his own."""
    hands = [
        written("1 + 1", [box(0, -5, 2, 5), box(4, -1, 5 + 2 * k, 1), box(20, -5, 22, 5)], str(k))
        for k in range(4)
    ]
    writing = Writing(grammar=0, exchanges=3, renaming=0)
    for made in itertools.islice(Synthesizer(hands, writing).expressions(40, 0), 40):
        widths = {
            round(float(np.ptp(made.strokes[indices[0]][:, 0])) / 100, 1)
            for token, indices in zip(made.caption, made.ink, strict=True)
            if token == "+"
        }
        assert len(widths) <= 1


def test_new_formulas_look_like_the_real_ones(data_root: Path) -> None:
    """In length and size; nothing here measures how well they serve."""
    folder = data_root / "crohme" / "inkml"
    real, _ = import_data([folder / "2014.zip"], ImportSettings(None, None, ()))
    made = list(Synthesizer(real, Writing(renaming=0.1)).expressions(400, seed=0))
    for each in made:
        assert list(each.caption) == normalize(each.caption)
    assert len({each.caption for each in made} - {each.caption for each in real}) > 200
    lengths = [np.median([len(each.caption) for each in part]) for part in (made, real)]
    sizes = [np.median(drawn_sizes(part), axis=0) for part in (made, real)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.3)
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=0.25)
