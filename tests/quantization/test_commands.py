from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inktex.core.bundle import Bundle
from inktex.core.cli import main
from inktex.training.inkset import save_inkset

from ..training.synthetic import expressions


def quantize(bundle: Path, output: Path, *arguments: str | Path) -> Result:
    words = ["quantize", bundle, "-o", output, *arguments]
    return CliRunner().invoke(main, [str(each) for each in words])


@pytest.mark.parametrize("only", [False, True])
def test_a_bundle_is_quantised(bundle: Bundle, tmp_path: Path, only: bool) -> None:
    ink, output = tmp_path / "made.inkset", tmp_path / "int8"
    save_inkset(ink, expressions(18))
    flags = ["--only"] if only else []
    result = quantize(bundle.path, output, "--calibration", ink, "--samples", "17", *flags)
    assert result.exit_code == 0, result.output
    made = Bundle.open(output)
    assert [each.precision for each in made.manifest.variants] == ["int8", "fp32"][: 2 - only]
    told: dict[str, Any] = dict(made.manifest.provenance)
    assert told["quantization"]["samples"] == 17
    for name in made.manifest.files:
        assert name in result.output


def test_what_is_missing_is_told(bundle: Bundle, tmp_path: Path) -> None:
    ink = tmp_path / "few.inkset"
    save_inkset(ink, expressions(5))
    result = quantize(bundle.path, tmp_path / "int8", "--calibration", ink)
    assert result.exit_code == 2
    assert "at least 16 formulas" in result.output
    result = quantize(bundle.path, tmp_path / "int8", "--calibration", tmp_path / "none.inkset")
    assert result.exit_code == 2
    assert "found none" in result.output
    result = quantize(tmp_path, tmp_path / "int8", "--calibration", ink)
    assert result.exit_code == 2
    assert "expected a bundle" in result.output
    assert not (tmp_path / "int8").exists()


def test_a_form_that_is_there_is_told_before_anything_is_made(
    bundle: Bundle, tmp_path: Path
) -> None:
    ink = tmp_path / "made.inkset"
    save_inkset(ink, expressions(16))
    half = ("--calibration", ink, "--samples", "16", "--to", "fp16")
    assert quantize(bundle.path, tmp_path / "both", *half).exit_code == 0
    twice = quantize(tmp_path / "both", tmp_path / "twice", *half)
    assert (twice.exit_code, "a bundle without onnx fp16" in twice.output) == (2, True)
    assert "onnx fp16: float16" not in twice.output  # which is said where it is made
    alone = quantize(tmp_path / "both", tmp_path / "alone", *half, "--only")
    assert alone.exit_code == 0, alone.output


def test_accuracy_is_controlled_and_told(bundle: Bundle, tmp_path: Path) -> None:
    ink, output = tmp_path / "made.inkset", tmp_path / "int8"
    save_inkset(ink, expressions(60))
    # the weights alone: nothing is made faster
    form = ("--to", "weights8", "--calibration", ink, "--samples", "16", "--forced", "2")
    result = quantize(bundle.path, output, *form, "--max-drop", "100")
    assert result.exit_code == 0, result.output
    small, exact = Bundle.open(output).manifest.variants
    told: Any = small.exp_rate["quantization"]
    assert told["drop"] <= told["max_drop"] == 100
    assert not exact.exp_rate
    report: Any = Bundle.open(output).manifest.provenance["quantization"]
    assert report["validated_on"] == told["count"] > 0
    control = report["variants"]["onnx weights8"]
    assert control["held"] is True
    assert control["kept"] == []
    assert "encoder.stem.0.0" in [each["layer"] for each in control["layers"]]
    assert f"of {told['count']} formulas" in result.output
    assert not (tmp_path / "int8.quantizing").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "int3"], "expected some of int8"),
        (["--targets", "abacus"], "expected some of onnx"),
        (["--targets", "coreml"], "expected some of weights8"),
        (["--max-drop", "-1"], "points of ExpRate from 0 to 100"),
        (["--max-drop", "1"], "with --validation"),
    ],
)
def test_what_cannot_be_quantised_to_is_told(
    bundle: Bundle, tmp_path: Path, arguments: list[str], told: str
) -> None:
    ink = tmp_path / "made.inkset"
    save_inkset(ink, [replace(each, caption=(), ink=()) for each in expressions(18)])
    result = quantize(bundle.path, tmp_path / "int8", "--calibration", ink, *arguments)
    assert result.exit_code == 2, result.output
    assert told in result.output
    assert not (tmp_path / "int8").exists()


def test_a_bundle_is_no_calibration(bundle: Bundle, tmp_path: Path) -> None:
    result = quantize(bundle.path, tmp_path / "int8", "--calibration", bundle.path)
    assert result.exit_code == 2
    assert "found the bundle" in result.output


def test_a_bundle_does_not_take_the_place_of_what_is_in_use(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ink, empty = tmp_path / "made.inkset", tmp_path / "empty"
    save_inkset(ink, expressions(18))
    found = quantize(bundle.path, bundle.path, "--calibration", ink, "--only")
    assert (found.exit_code, "float32 graphs would be lost" in found.output) == (2, True)
    empty.mkdir()
    monkeypatch.chdir(empty)
    found = quantize(bundle.path, Path(), "--calibration", ink)
    assert (found.exit_code, "this command was called in" in found.output) == (2, True)
    assert not list(empty.iterdir())
    found = quantize(bundle.path, empty / "x", "--calibration", ink, "--validation", ink)
    assert (found.exit_code, "expected --max-drop with it" in found.output) == (2, True)
