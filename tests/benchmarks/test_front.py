from __future__ import annotations

import pytest

from inktex.benchmarks.front import Point, _times, front, plot
from inktex.benchmarks.profiler.contender import Reading


def point(arm: str, milliseconds: float, validation: float) -> Point:
    return Point(arm, 4_000_000, 6_000_000, 3.0, 0.5, milliseconds, 1.0, validation)


POINTS = [point("b", 9.0, 60.0), point("a", 7.0, 55.0), point("c", 9.5, 58.0), point("d", 12, 61)]


def test_the_front_holds_those_that_none_beats() -> None:
    assert [each.arm for each in front(POINTS)] == ["a", "b", "d"]
    equal = [point("x", 7.0, 55.0), point("y", 7.0, 56.0)]
    assert [each.arm for each in front(equal)] == ["y"]


def test_formulas_are_charged_for_their_captions_not_for_what_was_read() -> None:
    def reading(encode_ms: float, step_ms: float, steps: int) -> Reading:
        return Reading(99.0, (), steps, {"encode": encode_ms, "step": step_ms * steps})

    passes = [[reading(4.0, 0.5, 160), reading(6.0, 0.7, 2)], [reading(5.0, 0.6, 9)]]
    encode_ms, step_ms, formula_ms = _times(passes, [3, 7])
    assert encode_ms == pytest.approx(5.0)
    assert step_ms == pytest.approx(0.6)
    assert formula_ms == pytest.approx(((4 + 4 * 0.5) + (6 + 8 * 0.7) + (5 + 4 * 0.6)) / 3)


def test_the_plot_is_a_picture() -> None:
    assert plot(POINTS).startswith(b"\x89PNG")
    assert POINTS[0].cells() == ["b", "4.00", "6.00", "3.00", "0.500", "9.00", "1.000", "60.0"]
