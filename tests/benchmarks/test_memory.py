from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.memory import Memory, Stage, measure_memory, report_of
from inktex.core.bundle import Bundle, Variant
from inktex.core.errors import DataError, InktexError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")


def test_a_process_for_every_way(
    tiny_bundle: Bundle, both: list[Variant], formulas: list[Formula]
) -> None:
    rows = measure_memory(
        tiny_bundle, formulas, variants=both[:1], beams=(1, 3), passes=2, workers=2
    )
    assert [(row.variant, row.beams) for row in rows] == [
        ("onnxruntime fp32", 1),
        ("onnxruntime fp32", 3),
    ]
    assert all(row.loaded_ms > 0 for row in rows)
    for row in rows:
        names = [stage.name for stage in row.stages]
        assert names == ["python", "imported", "loaded", "first", "second", "pass 1", "pass 2"]
        assert [stage.formulas for stage in row.stages] == [0, 0, 0, 0, 0, 10, 20]
        times = [stage.at_ms for stage in row.stages]
        assert times == sorted(times)
        assert times[0] > 0
        peaks = [stage.peak for stage in row.stages]
        assert peaks == sorted(peaks)
        assert row.peak == peaks[-1]
        assert row["imported"].peak > row["python"].peak + 10_000_000, "nothing was imported"
        if sys.platform == "linux":
            assert row.growth is not None
            assert abs(row.growth) < 20_000_000
    json.dumps([row.to_dict() for row in rows])
    assert "N = 10 formulas, k = 2 passes" in report_of(rows)


def test_growth_is_from_the_first_pass_to_the_last() -> None:
    stages = [Stage("pass 1", 9.0, 100, 300, 10), Stage("pass 2", 12.0, 140, 310, 20)]
    assert Memory("fp32", 1, stages).growth == 40
    assert Memory("fp32", 1, [Stage("pass 1", 9.0, None, 300, 10)]).growth is None


def test_nothing_that_can_be_read(tiny_bundle: Bundle, both: list[Variant]) -> None:
    broken = Formula("broken.json", b"{")
    with pytest.raises(DataError, match="found none"):
        measure_memory(tiny_bundle, [broken], variants=both[:1], beams=(1,), passes=1)


def test_a_process_that_fails_says_why(tiny_bundle: Bundle, formulas: list[Formula]) -> None:
    missing = [replace(tiny_bundle.manifest.variants[0], precision="fp64")]
    with pytest.raises(InktexError, match=r"ended with status 1 and said: .*'fp64'"):
        measure_memory(tiny_bundle, formulas[:1], variants=missing, beams=(1,), passes=1)
