from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from inktex.benchmarks.quantization import (
    AWARE,
    CONTROLLED,
    Comparison,
    Row,
    Way,
    header,
    pareto,
    ways,
)
from inktex.benchmarks.quantization_report import layer_lines, origin_lines, plot, write_page
from inktex.core.bundle import write_bundle
from inktex.core.cli import main
from inktex.core.errors import DataError, QuantizationError
from inktex.training.inkset import save_inkset

from ..training import synthetic


def row(way: str, exact: float, total: float | None, size: float = 1.0) -> Row:
    sets = {"validation": {"exact": exact, "points": 0.0, "low": -1.0, "high": 1.0}}
    return Row(way, "made up", int(1e6 * size), size, sets, total, total, total)


ROWS = [
    row("onnx fp32", 0.6, 1.0),
    row("onnx int8", 0.59, 0.7, 0.27),
    row("onnx slow", 0.58, 0.9, 0.3),
    row("coreml weights8", 0.6, None, 0.26),
]


def test_what_is_beaten_in_all_is_not_on_the_front() -> None:
    assert [each.way for each in pareto(ROWS)] == ["onnx fp32", "onnx int8"]


def test_the_rows_of_a_table() -> None:
    found = ways(["onnx"], ["int8", "weights8"], ["mse", "minmax"], True, True)
    assert list(map(str, found)) == [
        "onnx fp32",
        "onnx int8 mse",
        "onnx int8 minmax",
        "onnx int8 mse controlled",
        "onnx int8 mse aware",
        "onnx weights8",
    ]
    assert found[3:5] == [
        Way("onnx", "int8", "mse", CONTROLLED),
        Way("onnx", "int8", "mse", AWARE),
    ]
    with pytest.raises(QuantizationError, match="found 'abacus'"):
        ways(["abacus"], ["all"], ["mse"], False, False)


def test_the_report_names_the_layers_that_hurt(tmp_path: Path) -> None:
    layer = {
        "layer": "encoder.<stem>",
        "agreement_share": 0.99,
        "agreement": {"divergence": 0.01},
        "drop": {"points": 1.5},
    }
    control = {"kept": ["encoder.<stem>"], "layers": [layer]}
    rows = [*ROWS, Row(**{**vars(ROWS[1]), "way": "onnx int8 controlled", "control": control})]
    png = plot(rows)
    (tmp_path / "plot.png").write_bytes(png)
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size == (1200, 650)
    write_page(tmp_path / "page.html", rows, {"tensorrt int8": "no <GPU>"}, ["a fact"], png)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    told = "99.00 % of tokens equal, divergence 1.0e-02, +1.50 points lost; kept in float32"
    for text in ("encoder.&lt;stem&gt;", told, "no &lt;GPU&gt;", "a fact", "data:image/png"):
        assert text in page
    assert layer_lines(rows)[1] == f"- encoder.<stem>: {told}"


def test_rows_of_several_calls_tell_theirs() -> None:
    assert origin_lines(ROWS) == []
    rows = [replace(each, origin="then, commit a") for each in ROWS[:2]]
    rows += [replace(each, origin="now, commit b") for each in ROWS[2:]]
    assert origin_lines(rows) == [
        "measured then, commit a: onnx fp32, onnx int8",
        "measured now, commit b: onnx slow, coreml weights8",
    ]


@pytest.fixture
def benchmark(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    bundle = synthetic.bundle(tmp_path_factory)
    save_inkset(tmp_path / "made.inkset", synthetic.expressions(60))

    def run(name: str, *arguments: object) -> Result:
        calibration = ("--calibration", tmp_path / "made.inkset")
        words = ["benchmark", name, bundle.path, *calibration, *arguments]
        return CliRunner().invoke(main, [str(each) for each in words])

    return run


def test_a_table_is_measured_and_resumed(
    tmp_path: Path, benchmark: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (
        *("-o", tmp_path / "table", "--targets", "onnx", "--precisions", "int8"),
        *("--methods", "mse", "--samples", 16, "--timed", 2, "--forced", 2, "--limit", 4),
        *("--set", f"again={tmp_path / 'made.inkset'}"),
    )
    result = benchmark("quantization", *arguments)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "table" / "rows.json").read_text())
    exact, int8 = written["rows"]
    assert (exact["way"], int8["way"]) == ("onnx fp32", "onnx int8 mse")
    assert exact["size_ratio"] == exact["total"] == 1
    assert exact["sets"]["again"]["points"] == 0
    # of a graph so small most is not weights
    assert int8["size_ratio"] == pytest.approx(int8["size"] / exact["size"]) != 1
    assert int8["encode"] > 0
    assert int8["peak_mb"] > 1
    assert header(["validation", "again"])[-1] in (tmp_path / "table" / "table.md").read_text()
    for name in ("pareto.png", "report.html"):
        assert (tmp_path / "table" / name).stat().st_size > 1000
    monkeypatch.setattr("inktex.benchmarks.quantization.Comparison._measured", None)
    again = benchmark("quantization", *arguments)
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "table" / "rows.json").read_text())["rows"] == written["rows"]
    fewer = benchmark("quantization", *arguments, "--precisions", "fp32")
    assert fewer.exit_code == 0, fewer.output
    assert "int8" not in fewer.output
    assert json.loads((tmp_path / "table" / "rows.json").read_text())["rows"] == written["rows"]


def test_only_rows_that_hang_on_what_is_new_are_measured_anew(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    benchmark: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[str] = []

    def measure(self: Comparison, way: Way) -> Row:
        if way.how == "controlled" and self._max_drop < 0.2:
            raise QuantizationError("it loses more")
        measured.append(str(way))
        return row(str(way), 0.5, 1.0)

    monkeypatch.setattr(Comparison, "_measured", measure)

    def ways_of(*arguments: object) -> list[str]:
        measured.clear()
        common = ("-o", tmp_path / "table", "--targets", "onnx", "--precisions", "int8")
        result = benchmark("quantization", *common, "--methods", "mse", "--samples", 16, *arguments)
        assert result.exit_code == 0, result.output
        return list(measured)

    assert ways_of() == ["onnx fp32", "onnx int8 mse"]
    assert ways_of("--max-drop", 0.5) == ["onnx int8 mse controlled"]
    assert ways_of("--max-drop", 0.5) == []
    assert ways_of("--max-drop", 0.1) == []
    told = (tmp_path / "table" / "table.md").read_text()
    assert "| onnx int8 mse controlled |" not in told  # what held 0.5 is no answer
    assert "onnx int8 mse controlled: it loses more" in told
    assert ways_of("--max-drop", 0.3) == ["onnx int8 mse controlled"]
    plain = synthetic.bundle(tmp_path_factory)
    assert ways_of("--aware", plain.path) == ["onnx int8 mse aware"]
    assert ways_of("--aware", plain.path) == []
    files = {name: plain.read(name) for name in plain.manifest.files}
    encoder = plain.variant("onnxruntime", "fp32").encoder
    trained = onnx.load_from_string(files[encoder])
    trained.doc_string = "of other weights"
    files[encoder] = trained.SerializeToString()
    other = write_bundle(tmp_path / "trained", plain.manifest, files)
    assert ways_of("--aware", other.path) == ["onnx int8 mse aware"]
    table = (tmp_path / "table" / "table.md").read_text()
    assert [table.count(f"| onnx {way} |") for way in ("fp32", "int8 mse controlled")] == [1, 1]


def test_the_number_of_samples_is_studied(tmp_path: Path, benchmark: Callable[..., Result]) -> None:
    path = tmp_path / "calibration.json"
    result = benchmark(
        "calibration", "--samples", "16,20", "--seeds", 1, "--limit", 3, "--json", path
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(path.read_text())["rows"]
    assert [(each["samples"], each["seed"]) for each in rows] == [(16, 1), (20, 1)]
    assert all(0 <= each["agreement"] <= 1 for each in rows)
    assert "| mse | 20 |" in result.output
    result = benchmark("calibration", "--samples", "16,5000", "--seeds", 1, "--limit", 3)
    assert (result.exit_code, "--samples: expected at most" in result.output) == (2, True)


def test_a_precision_that_no_target_has_is_refused() -> None:
    with pytest.raises(DataError, match=r"--precisions: expected some of all, .* found 'fp61'"):
        ways(["onnx", "ort"], ["int8", "fp61"], ["mse"], controlled=False, aware=False)


def test_a_set_without_a_name_is_refused(tmp_path: Path, benchmark: Callable[..., Result]) -> None:
    result = benchmark("quantization", "-o", tmp_path / "table", "--set", "2014.inkset")
    assert result.exit_code == 2
    assert "expected NAME=INKSET" in result.output
