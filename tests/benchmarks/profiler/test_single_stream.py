from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from inktex.benchmarks.profiler.dataset import DataSet
from inktex.benchmarks.profiler.measurement import ranking, ratio_of, summary
from inktex.benchmarks.profiler.single_stream import Effort, measure_streams
from inktex.core.errors import DataError

FEW = Effort(samples=16, seconds=0, repeats=2, warm_up=1)


def test_all_take_turns_in_whole_passes(made: Callable[..., Any], numbers: DataSet) -> None:
    order: list[str] = []
    contenders = [made(name, order=order) for name in "ab"]
    streams = measure_streams(contenders, numbers.formulas, FEW)
    assert not streams.interrupted
    assert [len(each.readings) for each in streams.each] == [16, 16]
    assert [each.loads for each in contenders] == [2, 2]
    # a warm-up; then a pass in which each is first in turn
    assert order[:2] == ["a 0", "b 0"]
    assert order[2:10] == ["a 0", "b 0", "b 1", "a 1", "a 2", "b 2", "b 3", "a 3"]


def test_so_long_at_least(made: Callable[..., Any], numbers: DataSet) -> None:
    # a pass takes 46 ms of made-up time, and each of the two repeats should take 100
    streams = measure_streams(
        [made("a")], numbers.formulas, Effort(samples=1, seconds=0.2, repeats=2)
    )
    assert [len(each.passes) for each in streams.each[0].repeats] == [3, 3]


def test_what_one_refuses_is_left_out_for_all(made: Callable[..., Any], numbers: DataSet) -> None:
    contenders = [made("a"), made("b", refused=("0", "2"))]
    streams = measure_streams(contenders, numbers.formulas, FEW)
    assert streams.kept == [1, 3]
    for stream in streams.each:
        assert {reading.tokens[-1] for reading in stream.readings} == {"1", "3"}
    with pytest.raises(DataError, match="too large"):
        measure_streams([made("a", refused=tuple("0123"))], numbers.formulas, FEW)


def test_so_many_at_least_of_what_all_read(made: Callable[..., Any], numbers: DataSet) -> None:
    contenders = [made("a"), made("b", refused=("0", "2"))]
    streams = measure_streams(contenders, numbers.formulas, replace(FEW, samples=15))
    assert [len(each.readings) for each in streams.each] == [16, 16]


@pytest.mark.parametrize(
    ("stop_at", "kept"),
    # in each repeat a warm-up, and then two passes of four
    [(1, 0), (2, 0), (6, 4), (10, 8), (11, 8), (15, 12)],
)
def test_an_interrupted_run_keeps_what_all_have_done(
    made: Callable[..., Any], numbers: DataSet, stop_at: int, kept: int
) -> None:
    contenders = [made("a"), made("b", 2.0, stop_at=stop_at)]
    streams = measure_streams(contenders, numbers.formulas, FEW)
    assert streams.interrupted
    a, b = streams.each
    assert len(a.readings) == len(b.readings) == kept
    if a.repeats:
        assert ratio_of(b, a).total.value == pytest.approx(2.0)
        assert summary(a, streams, numbers).total_ms.count == len(a.readings)


def test_a_summary_of_made_up_times(made: Callable[..., Any], numbers: DataSet) -> None:
    streams = measure_streams([made("a", noise=(0.0, 0.1))], numbers.formulas, FEW)
    found = summary(streams.each[0], streams, numbers)
    assert (found.total_ms.least, found.total_ms.most) == pytest.approx((10, 13 * 1.1))
    assert found.spread["p50"].factor is not None
    assert found.outside == pytest.approx(0.1)
    assert found.step_ms == pytest.approx(0.25 * found.total_ms.mean)
    assert found.tokens_per_second == pytest.approx(3e3 / found.total_ms.mean)
    assert found.accuracy is not None
    assert found.accuracy.exact == 1.0
    assert [(each.area, each.tokens) for each in found.points] == [
        (100, 3), (200, 3), (300, 3), (400, 3),
    ]  # fmt: skip
    untrained = measure_streams([made("a", trained=False)], numbers.formulas, FEW)
    assert summary(untrained.each[0], untrained, numbers).accuracy is None


def test_who_is_quicker_formula_by_formula_is_not_ranked_behind(
    made: Callable[..., Any], numbers: DataSet
) -> None:
    """With three formulas of four quicker, and the median of all slower."""
    streams = measure_streams([made("a"), made("b")], numbers.formulas, FEW)
    first, second = streams.each
    for repeat in second.repeats:
        for passed in repeat.passes:
            for place, factor in enumerate((1.15, 0.99, 0.99, 0.99)):
                passed[place] = replace(passed[place], total_ms=factor * passed[place].total_ms)
    assert ratio_of(second, first).total.value == pytest.approx(0.99)
    assert ranking([first, second]) == [[each.configuration.label for each in (first, second)]]


def test_what_noise_cannot_separate_shares_a_rank(
    made: Callable[..., Any], numbers: DataSet
) -> None:
    contenders = [
        made("slow", 3.0, noise=(0.0, 0.01)),
        made("a", 1.01, noise=(0.05, 0.0)),
        made("b", 1.0, noise=(0.0, 0.05)),
    ]
    streams = measure_streams(contenders, numbers.formulas, FEW)
    labels = [each.configuration.label for each in streams.each]
    ranks = ranking(streams.each)
    assert ranks == [[labels[2], labels[1]], [labels[0]]] or ranks == [
        [labels[1], labels[2]], [labels[0]],
    ]  # fmt: skip
