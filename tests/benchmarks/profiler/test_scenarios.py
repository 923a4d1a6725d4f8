from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.profiler import cold_start, offline
from inktex.benchmarks.profiler.bundle_contender import BundleContender, RuntimePrecision, choices
from inktex.benchmarks.profiler.cold_start import measure_cold_starts
from inktex.benchmarks.profiler.contender import Configuration
from inktex.benchmarks.profiler.live_ink import measure_live_ink
from inktex.benchmarks.profiler.offline import idle_watts, measure_batches, measure_offline
from inktex.benchmarks.profiler.single_stream import Effort, measure_streams
from inktex.benchmarks.profiler.stages import StagedReader
from inktex.benchmarks.profiler.watch import Watch
from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError, RuntimeUnavailable
from inktex.core.recognizer import Recognizer
from inktex.runtimes import load


@pytest.fixture
def contenders(tiny_bundle: Bundle) -> list[BundleContender]:
    return [
        BundleContender(tiny_bundle, Configuration("inktex", "onnxruntime", "fp32", 1, beams))
        for beams in (1, 2)
    ]


class Meter:
    """Ten joules more every time it is asked."""

    name = "made up"

    def __init__(self) -> None:
        self.total = 0.0

    def joules(self) -> float:
        self.total += 10
        return self.total


def test_offline_counts_formulas_and_joules(
    contenders: list[BundleContender], formulas: list[Formula], tmp_path: Path
) -> None:
    watch = Watch([Meter()], root=tmp_path)
    found, interrupted = measure_offline(
        contenders, formulas[:4], processors=2, seconds=0, repeats=2, watch=watch
    )
    assert not interrupted
    assert [(each.label[-6:], each.workers) for each in found] == [
        ("greedy", 1), ("greedy", 2), ("beam 2", 1), ("beam 2", 2),
    ]  # fmt: skip
    for each in found:
        assert each.formulas == 8
        assert each.per_second.value > 0
        assert each.joules["made up"].value == pytest.approx(2.5)
    assert idle_watts(watch, 0.01)["made up"] == pytest.approx(1000)
    assert idle_watts(Watch(root=tmp_path)) == {}


def test_offline_no_worker_waits_for_the_end_of_a_round(
    contenders: list[BundleContender], tmp_path: Path
) -> None:
    later = Event()
    slow, quick = count(1), count(1)
    waited: list[bool] = []

    def read(formula: Formula) -> None:
        if formula.name == "quick" and next(quick) == 2:
            later.set()
        elif formula.name == "slow" and next(slow) == 1:
            waited.append(later.wait(10))  # for the next round

    work = offline._Work(contenders[0], 2, read)
    both = [Formula(name, [[[0, 0], [1, 1]]]) for name in ("slow", "quick")]
    work.run(both, 0.2, Watch(root=tmp_path))
    assert waited == [True]
    assert work.rounds[0].formulas % 2 == 0


def test_batches_hold_every_image(
    contenders: list[BundleContender], formulas: list[Formula], tiny_bundle: Bundle
) -> None:
    found = measure_batches(contenders, formulas[:5], tiny_bundle.manifest.preprocessing, 1)
    assert [each.images for each in found] == [1, 2, 4]
    assert {each.label for each in found} == {"onnxruntime fp32, 1 thread"}
    assert all(each.image_ms > 0 for each in found)


def test_live_ink_reads_after_every_stroke(
    contenders: list[BundleContender], formulas: list[Formula]
) -> None:
    (greedy, beam), interrupted = measure_live_ink(contenders, formulas[:3])
    assert not interrupted
    strokes = sum(len(each.source) for each in formulas[:3])
    assert (greedy.formulas, greedy.strokes, beam.strokes) == (3, strokes, strokes)
    assert greedy.last_ms.count == 3
    assert greedy.times_once > 1
    image = Formula("x.png", b"\x89PNG\r\n\x1a\n")
    assert measure_live_ink(contenders, [image]) == ([], False)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, int], None]:
    """Has somebody press Ctrl-C at the nth call of a method or function."""

    def stop(where: Any, name: str, call: int) -> None:
        calls, own = count(1), getattr(where, name)

        def called(*arguments: Any, **settings: Any) -> Any:
            if next(calls) == call:
                raise KeyboardInterrupt
            return own(*arguments, **settings)

        monkeypatch.setattr(where, name, called)

    return stop


def test_an_interrupted_offline_keeps_its_rounds(
    contenders: list[BundleContender],
    formulas: list[Formula],
    tmp_path: Path,
    stop_at: Callable[[Any, str, int], None],
) -> None:
    stop_at(offline._Work, "run", 4)  # of two configurations, in turns: a, b, b
    found, interrupted = measure_offline(
        contenders,
        formulas[:4],
        processors=1,
        seconds=0,
        repeats=3,
        watch=Watch([Meter()], root=tmp_path),
    )
    assert interrupted
    assert [(each.label[-6:], each.formulas) for each in found] == [("greedy", 4), ("beam 2", 8)]


def test_interrupted_live_ink_keeps_finished_formulas(
    contenders: list[BundleContender],
    formulas: list[Formula],
    stop_at: Callable[[Any, str, int], None],
) -> None:
    strokes = len(formulas[0].source)
    # each reads one formula first that does not count, and then the first by all strokes
    stop_at(StagedReader, "__call__", 2 + 2 * strokes + 2)
    found, interrupted = measure_live_ink(contenders, formulas[:3])
    assert interrupted
    assert [(each.formulas, each.strokes) for each in found] == [(1, strokes)] * 2


def test_interrupted_starts_keep_the_processes_that_ended(
    tiny_bundle: Bundle, formulas: list[Formula], stop_at: Callable[[Any, str, int], None]
) -> None:
    stop_at(cold_start, "probe", 2)
    ways = [Configuration("inktex", "onnxruntime", "fp32", 1, beams) for beams in (1, 2)]
    found, interrupted = measure_cold_starts(tiny_bundle, ways, formulas[:2], 2)
    assert interrupted
    assert [(each.label[-6:], each.processes) for each in found] == [("greedy", 1)]


def test_beams_share_a_recognizer_as_long_as_one_holds_it(
    contenders: list[BundleContender], formulas: list[Formula]
) -> None:
    greedy, beam = (replace(each, shared=contenders[0].shared) for each in contenders)
    readers = [each.load() for each in (greedy, beam)]
    assert len(greedy.shared) == 1
    alone = contenders[1].load()
    assert readers[1](formulas[0]).tokens == alone(formulas[0]).tokens
    readers.clear()
    assert len(greedy.shared) == 0


def test_every_repeat_loads_anew(
    contenders: list[BundleContender], formulas: list[Formula], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def count(*arguments: Any) -> Recognizer:
        loaded.append(arguments)
        return load(*arguments)

    monkeypatch.setattr("inktex.benchmarks.profiler.bundle_contender.load", count)
    both = [replace(each, shared=contenders[0].shared) for each in contenders]
    measure_streams(both, formulas[:2], Effort(samples=2, seconds=0, repeats=3, warm_up=1))
    assert len(loaded) == 3


def test_what_can_run_here(tiny_bundle: Bundle) -> None:
    fp32, int8 = RuntimePrecision("onnxruntime", "fp32"), RuntimePrecision("onnxruntime", "int8")
    assert choices(tiny_bundle, ("all",), ("all",)) == ([fp32, int8], [])
    assert choices(tiny_bundle, ("onnxruntime:cpu",), ("int8",)) == (
        [RuntimePrecision("onnxruntime:cpu", "int8")], [],
    )  # fmt: skip
    found, left_out = choices(tiny_bundle, ("onnxruntime", "onnxruntime:nowhere"), ("int8",))
    assert found == [int8]
    assert "onnxruntime:nowhere int8 is left out" in left_out[0]
    with pytest.raises(BundleError, match="found only onnxruntime int8"):
        choices(tiny_bundle, ("openvino",), ("fp32",))
    manifest = replace(
        tiny_bundle.manifest,
        variants=(replace(tiny_bundle.manifest.variants[0], target="npu"),),
    )
    with pytest.raises(RuntimeUnavailable, match="can run here: npu int8 is left out"):
        choices(replace(tiny_bundle, manifest=manifest), ("all",), ("all",))
