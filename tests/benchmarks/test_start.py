from __future__ import annotations

import json
from pathlib import Path

import pytest

from inktex.benchmarks.formulas import Formula, write_files
from inktex.benchmarks.start import measure_start
from inktex.core.bundle import Bundle
from inktex.core.errors import DataError
from inktex.runtimes import load


def test_fresh_processes_give_the_answer(
    tiny_bundle: Bundle, formulas: list[Formula], tmp_path: Path
) -> None:
    [file] = write_files(formulas[:1], tmp_path)
    report = measure_start(tiny_bundle, file, precisions=("fp32", "int8"), beam=1, runs=1)
    assert [row.name for row in report.rows] == [
        "python",
        "python, its libraries",
        "inktex recognize, fp32",
        "inktex recognize, int8",
    ]
    assert all(len(row.runs_ms) == 1 and min(row.runs_ms) > 0 for row in report.rows)
    assert report.answer == load(tiny_bundle)(file, beam=1).latex
    json.dumps(report.to_dict())


def test_a_file_that_cannot_be_read(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ended with status 1: .*nowhere\.inkml"):
        measure_start(tiny_bundle, tmp_path / "nowhere.inkml", precisions=("fp32",), runs=1)
