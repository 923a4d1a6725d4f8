from __future__ import annotations

import time

import pytest

from inktex.core.errors import InputError
from inktex.training.budget import Budget, Stopwatch
from inktex.training.checkpoint import Progress


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", Budget(90, "s")),
        ("150m", Budget(9000, "s")),
        ("2.5h", Budget(9000, "s")),
        ("60cpu-m", Budget(3600, "cpu_s")),
        ("1.5 cpu-h", Budget(5400, "cpu_s")),
        ("40epochs", Budget(40, "epochs")),
        ("1epoch", Budget(1, "epochs")),
        ("0.5 epochs", Budget(0.5, "epochs")),
        (" 1000steps ", Budget(1000, "steps")),
        ("1step", Budget(1, "steps")),
        ("12345678steps", Budget(12_345_678, "steps")),
        ("300h", Budget(1_080_000, "s")),
    ],
)
def test_a_budget_is_read_and_written(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected
    assert Budget.parse(str(expected.times(0.25))).times(4) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "150",
        "m",
        "-5m",
        "0m",
        "0.0epochs",
        "1d",
        "10 minutes",
        "1e3s",
        "5m5s",
        "nan s",
        "5cpu",
        "cpu-m",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a budget such as 150m"):
        Budget.parse(text)


def test_the_share_used_is_of_the_unit_and_at_most_one() -> None:
    progress = Progress(steps=30, batches=60, elapsed_s=45.0, cpu_s=60.0)
    assert Budget(90, "s").share(progress, 10) == pytest.approx(0.5)
    assert Budget(240, "cpu_s").share(progress, 10) == pytest.approx(0.25)
    assert Budget(120, "steps").share(progress, 10) == pytest.approx(0.25)
    assert Budget(4, "epochs").share(progress, 10) == pytest.approx(0.75)
    assert Budget(10, "s").share(progress, 10) == 1.0


def test_a_stopwatch_goes_on_and_tells_work_from_waiting() -> None:
    watch = Stopwatch(Progress(elapsed_s=100.0, cpu_s=50.0))
    time.sleep(0.2)
    waited_s, idle_s = watch.read()
    assert 100.2 <= waited_s < 105
    assert 50.0 <= idle_s < 50.15
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass
    assert watch.read()[1] >= idle_s + 0.2
