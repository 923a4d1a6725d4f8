from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from inktex.benchmarks.training_speed import HEADER, Speed
from inktex.training.inkset import save_inkset

from ..training import synthetic
from ..training.command_line import SETTINGS


def test_the_ratio_is_that_of_the_turns() -> None:
    speed = Speed("edge", "bf16", (10.0, 40.0, 30.0), (5.0, 10.0, 15.0))
    assert speed.ratios == [2.0, 4.0, 2.0]
    assert speed.cells() == ["edge", "bf16", "30.0", "10.0", "2.00", "2.00 .. 4.00"]
    assert len(speed.cells()) == len(HEADER)


def test_both_forms_are_timed(tmp_path: Path, inktex: Callable[..., Result]) -> None:
    data, report = tmp_path / "data.inkset", tmp_path / "report.json"
    save_inkset(data, synthetic.expressions(40))
    options = ("--turns", "1", "--seconds", "1", "--threads", "1", "--json", report)
    done = inktex("benchmark", "training-speed", data, "--recipes", "edge", *options, *SETTINGS)
    assert done.exit_code == 0, done.output
    [row] = json.loads(report.read_text())["table"]
    assert row["trained"][0] > 0
    assert row["plain"][0] > 0
    assert row["ratio"] == pytest.approx(row["trained"][0] / row["plain"][0])


def test_a_failure_is_told(tmp_path: Path, inktex: Callable[..., Result]) -> None:
    done = inktex("benchmark", "training-speed", tmp_path / "none.inkset", "--recipes", "edge")
    assert done.exit_code == 2
    assert "the process that trains edge failed and said" in done.stderr
