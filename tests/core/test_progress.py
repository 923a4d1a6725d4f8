from __future__ import annotations

import doctest
import io

import pytest

from inktex.core import progress as module
from inktex.core.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_line_now_and_then_where_there_is_no_terminal(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(8, "formulas", every_s=15, stream=stream) as progress:
        for _ in range(8):
            clock.now += 10
            progress.advance()
    assert stream.getvalue().splitlines() == [
        "formulas: 2/8, 20 s so far, 1:00 left",
        "formulas: 4/8, 40 s so far, 40 s left",
        "formulas: 6/8, 1:00 so far, 20 s left",
        "formulas: 8/8, 1:20 so far, 0 s left",
    ]


def test_one_line_on_a_terminal(clock: Clock) -> None:
    stream = Terminal()
    with Progress(3, "formulas", stream=stream) as progress:
        for _ in range(3):
            clock.now += 1
            progress.advance()
    assert stream.getvalue().count("\n") == 1
    *_, last = stream.getvalue().split("\r\x1b[2K")
    assert last == "formulas: 3/3, 3 s so far, 0 s left\n"


def test_nothing_is_said_of_what_is_quick(clock: Clock) -> None:
    stream = Terminal()
    with Progress(3, "formulas", stream=stream) as progress:
        clock.now += 0.1
        progress.advance(3)
    assert stream.getvalue() == ""


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(module).failed == 0
