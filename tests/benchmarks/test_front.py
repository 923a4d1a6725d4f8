from __future__ import annotations

import pytest

from inktex.benchmarks.front import HEADER, Point, _times, front, plot
from inktex.benchmarks.profiler.contender import Reading


def point(arm: str, milliseconds: float, loss: float) -> Point:
    return Point(arm, 4_000_000, 6_000_000, 3.0, 0.5, milliseconds, 1.0, loss, 60.0)


POINTS = [point("b", 9.0, 0.40), point("a", 7.0, 0.45), point("c", 9.5, 0.42), point("d", 12, 0.39)]


def test_the_front_holds_those_that_none_beats() -> None:
    assert [each.arm for each in front(POINTS)] == ["a", "b", "d"]
    equal = [point("x", 7.0, 0.45), point("y", 7.0, 0.44)]
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
    assert POINTS[0].cells()[-4:] == ["9.00", "1.000", "0.400", "60.0"]
    assert len(POINTS[0].cells()) == len(HEADER)
