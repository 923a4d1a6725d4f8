from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inktex.benchmarks.profiler.cold_start import ColdStart
from inktex.benchmarks.profiler.comparison import Comparison
from inktex.benchmarks.profiler.contender import Configuration
from inktex.benchmarks.profiler.noise import Interval
from inktex.benchmarks.profiler.profile import Profile
from inktex.benchmarks.profiler.run import baselines
from inktex.benchmarks.profiler.terminal import as_text
from inktex.benchmarks.profiler.watch import Watched
from inktex.core.errors import DataError

LAW = {
    "what": "steps", "label": "a", "x": "x", "y": "y", "fixed": 1.0, "slope": 1.0,
    "exponent": None, "explained": None, "points": [],
}  # fmt: skip


def p50_of(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["measurements"][0]["spread"]["p50"]
    return found


def test_a_profile_comes_back_from_json_as_it_was(
    profile: Callable[..., Profile], tmp_path: Path
) -> None:
    written = profile(1.0, 2.0)
    written.save(tmp_path / "a.json")
    assert Profile.load(tmp_path / "a.json") == written


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(schema=0), "expected schema 1, found 0"),
        (lambda content: content.pop("kind"), "found another"),
        (lambda content: content.pop("effort"), "the file is damaged"),
        (lambda content: content["data"].update(formulas="four"), "the file is damaged"),
        (lambda content: content.update(idle_watts=[]), "the file is damaged"),
        (lambda content: content["environment"].pop("cpu"), "the file is damaged"),
        (lambda content: content["measurements"][0]["spread"].pop("p90"), "the file is damaged"),
        (lambda content: p50_of(content).update(value=0), "an interval of 0.0"),
        (lambda content: p50_of(content).update(value=float("nan")), "an interval of nan"),
        (lambda content: p50_of(content).update(factor=0.5), "an interval of"),
        (lambda content: p50_of(content).update(value=10**400), "the file is damaged"),
        (lambda content: content.update(growth=[LAW]), "points of 'steps'"),
    ],
)
def test_other_json_is_refused(
    profile: Callable[..., Profile],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    said: str,
) -> None:
    content = profile(1.0).to_dict()
    change(content)
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        Profile.load(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read"):
        Profile.load(tmp_path / "nowhere.json")


def test_the_tables_say_what_was_measured(profile: Callable[..., Profile]) -> None:
    text = as_text(replace(profile(1.0, 2.0, 2.0), interrupted=True))
    assert "INTERRUPTED" in text
    assert "a note" in text
    row = "| b fp32, 1 thread, greedy | a fp32, 1 thread, greedy | 2.000 | 2.000 | 2.000 |"
    assert f"{row} 2.000 to 2.000 |" in text
    assert (
        "| 2 | b fp32, 1 thread, greedy; c fp32, 1 thread, greedy | cannot be separated |" in text
    )
    assert "| 100.0 | 0.0 |" in text


def test_regressions_are_flagged_beyond_noise(profile: Callable[..., Profile]) -> None:
    before = profile(1.0, 1.0, 1.0)
    after = profile(1.5, 1.01, 0.5)
    slower, same, faster = Comparison(("before", "after"), (before, after)).changes
    assert (slower.verdict, slower.regressed) == ("REGRESSION: slower", True)
    assert slower.p50 is not None
    assert slower.p50.value == pytest.approx(1.5)
    assert (same.verdict, same.regressed) == ("cannot be separated", False)
    assert (faster.verdict, faster.regressed) == ("faster", False)
    assert "REGRESSION" in str(Comparison(("before", "after"), (before, after)))


def test_slower_in_one_of_its_times_is_a_regression(profile: Callable[..., Profile]) -> None:
    before, after = profile(1.0), profile(0.9)
    slow = profile(3.0).measurements[0].spread["p90"]
    after.measurements[0].spread["p90"] = slow
    [change] = Comparison(("before", "after"), (before, after)).changes
    assert (change.verdict, change.regressed) == ("REGRESSION: slower in one of them", True)


def test_memory_is_compared_where_no_times_are(profile: Callable[..., Profile]) -> None:
    before, after = profile(1.0), profile(1.0)
    for each, megabytes in ((before, 100), (after, 110)):
        told = each.measurements.pop()
        size = megabytes * 2**20
        each.cold_starts = [
            ColdStart(told.label, 1, 1.0, 1.0, 1.0, 1.0, None, Interval(3.0, None), size, size)
        ]
    [change] = Comparison(("before", "after"), (before, after)).changes
    assert change.verdict == "no times in both; REGRESSION: more memory"
    assert "no times in both" in str(Comparison(("before", "after"), (before, after)))


def test_what_is_in_one_only_and_throttling_are_told(profile: Callable[..., Profile]) -> None:
    after = profile(1.0)
    after.watched = Watched("unknown", [], ["the processor is hot"], [])
    text = str(Comparison(("before", "after"), (profile(1.0, 1.0), after)))
    assert "\nafter (THROTTLED)\n" in text
    assert "not in after: b fp32, 1 thread, greedy" in text
    assert "not in before" not in text


def test_other_ink_is_refused(profile: Callable[..., Profile]) -> None:
    other = profile(1.0)
    other.data = replace(other.data, fingerprint="0" * 16)
    with pytest.raises(DataError, match="of the same ink"):
        Comparison(("a", "b"), (profile(1.0), other))


def test_a_baseline_is_the_likest_that_is_named() -> None:
    ways = [
        Configuration("inktex", runtime, precision, 1, beams)
        for runtime, precision in (("ort", "fp32"), ("ort", "int8"), ("vino", "fp32"))
        for beams in (1, 5)
    ]
    usual = baselines(ways, ())
    assert usual[ways[3].label] is ways[1]
    assert usual[ways[4].label] is ways[0]
    assert baselines(ways, ("fp32",))[ways[5].label] is ways[5]
    assert baselines(ways, ("int8", "greedy"))[ways[5].label] is ways[2]
    with pytest.raises(DataError, match="expected words that name something measured"):
        baselines(ways, ("fp16",))
