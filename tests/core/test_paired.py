from __future__ import annotations

import pytest

from inktex.core.errors import InputError
from inktex.core.paired import paired_drop


def test_a_drop_is_counted_by_formula() -> None:
    before = [True] * 60 + [False] * 40
    after = [False] * 5 + [True] * 58 + [False] * 37
    drop = paired_drop(before, after)
    assert (drop.lost, drop.won, drop.count) == (5, 3, 100)
    assert drop.points == pytest.approx(2)
    # the normal approximation: sqrt(5 + 3 - 0.04) of 100 formulas, times 1.96
    assert drop.low == pytest.approx(2 - 5.5, abs=1)
    assert drop.high == pytest.approx(2 + 5.5, abs=1)


def test_equal_readings_leave_no_doubt() -> None:
    drop = paired_drop([True, False], [True, False])
    assert (drop.points, drop.low, drop.high) == (0, 0, 0)


def test_the_seed_decides() -> None:
    before, after = [True, True, False] * 30, [True, False, True] * 30
    assert paired_drop(before, after, 1) == paired_drop(before, after, 1)


@pytest.mark.parametrize(("before", "after"), [([], []), ([True], [True, False])])
def test_other_formulas_are_refused(before: list[bool], after: list[bool]) -> None:
    with pytest.raises(InputError, match="the same formulas"):
        paired_drop(before, after)
