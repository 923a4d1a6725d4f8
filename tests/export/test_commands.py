from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from click.testing import CliRunner, Result

from inktex.core.bundle import Bundle, write_bundle
from inktex.core.cli import main
from inktex.core.confidence import Calibration
from inktex.quantization.quantized_bundle import Settings, quantize_bundle
from inktex.training.inkset import save_inkset
from inktex.training.warm_start import load_source

from ..training.synthetic import checkpoint_file, expressions
from .test_parity import shaken, with_changed_weights


def inktex(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def test_a_checkpoint_is_exported_and_verified(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the graphs of this checkpoint as they were traced already: that takes seconds
    traced = iter(bundle.read(name) for name in ("encoder.fp32.onnx", "step.fp32.onnx"))
    monkeypatch.setattr(
        "inktex.export.checkpoint_bundle.to_onnx", lambda *_: onnx.load_from_string(next(traced))
    )
    checkpoint, path = checkpoint_file(tmp_path), tmp_path / "exported"
    arguments = ("export", checkpoint, "-o", path, "--licence", "public domain")
    result = inktex(*arguments, "--padding", "8")
    assert result.exit_code == 0, result.output
    manifest = Bundle.open(path).manifest
    assert manifest.licence == "public domain"
    assert manifest.preprocessing.parameters["padding_px"] == 8
    for name in manifest.files:
        assert name in result.output
    save_inkset(tmp_path / "made.inkset", expressions(5))
    result = inktex(
        "verify",
        path,
        "--checkpoint",
        checkpoint,
        "--ink",
        tmp_path / "made.inkset",
        "--limit",
        "3",
    )
    assert result.exit_code == 0, result.output
    assert result.output.count("passed") == 2
    assert "3 of 3 sequences equal" in result.output
    told = inktex("verify", path, "--json").output
    [report] = json.loads(told)["reports"]
    assert report["passed"] is True
    assert report["agreement"]["equal"] == 1


def test_a_bundle_that_disagrees_is_refused_with_an_exit_status(
    bundle: Bundle, tmp_path: Path
) -> None:
    assert inktex("verify", bundle.path).exit_code == 0
    changed = with_changed_weights(bundle, tmp_path / "changed", "step.fp32.onnx", shaken)
    result = inktex("verify", changed.path)
    assert result.exit_code == 2
    assert "FAILED" in result.output
    assert "do not ship this bundle" in result.output


def test_a_checkpoint_averaged_with_itself_is_exported_as_it_is(
    bundle: Bundle, tmp_path: Path
) -> None:
    checkpoint, path = checkpoint_file(tmp_path), tmp_path / "averaged"
    result = inktex("export", checkpoint, "-o", path, "--average", checkpoint)
    assert result.exit_code == 0, result.output
    told = json.loads((path / "manifest.json").read_text())["provenance"]
    exported = bundle.manifest.provenance
    [averaged] = told["data"]["averaged"]
    assert averaged == {"data": exported["data"], "training": exported["training"]}
    result = inktex("verify", path, "--checkpoint", checkpoint)
    assert result.exit_code == 0, result.output
    result = inktex("export", checkpoint, "-o", path, "--average", tmp_path / "none")
    assert result.exit_code == 2
    assert "found no file" in result.output


def test_a_bundle_is_exported_again_for_other_runtimes(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default one, in INT8 only, as it ships: the same weights, told alike."""
    calibration = Calibration(0.5, 1.0, 1.0, 0.1, 0.0)
    small = quantize_bundle(
        bundle, tmp_path / "small", expressions(20), Settings(samples=16), keep_fp32=False
    )
    manifest = replace(
        small.manifest,
        confidence=calibration,
        decoding=replace(small.manifest.decoding, beams=3),
        licence="ours",
    )
    shipped = write_bundle(tmp_path / "shipped", manifest, small.contents())
    monkeypatch.setattr("inktex.runtimes.DEFAULT_BUNDLE", shipped.path)
    path = tmp_path / "again"
    result = inktex("export", "default", "-o", path, "--to", "onnx,openvino")
    assert result.exit_code == 0, result.output
    again = Bundle.open(path)
    kept = ("vocabulary", "interface", "preprocessing", "decoding", "licence", "confidence")
    for name in kept:
        assert getattr(again.manifest, name) == getattr(manifest, name)
    assert [each.precision for each in again.manifest.variants] == ["fp32", "fp32"]
    told = again.manifest.provenance
    assert told["recipe"] == manifest.provenance["recipe"]
    assert told["exported_from"] == {"precisions": ["int8"]}
    assert "quantization" not in told
    assert inktex("verify", path).exit_code == 0
    before, after = (load_source(each).tensors for each in (shipped.path, path))
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor)
    mean = tmp_path / "mean"
    result = inktex("export", path, "-o", mean, "--average", shipped.path)
    assert result.exit_code == 0, result.output
    averaged = Bundle.open(mean).manifest
    assert averaged.confidence is None  # it was calibrated with other weights
    told_of: Any = averaged.provenance["data"]
    [other] = told_of["averaged"]
    assert other["data"] == manifest.provenance["data"]
    result = inktex("export", path, "-o", path, "--padding", "4", "--beams", "2")
    assert result.exit_code == 0, result.output
    manifest = Bundle.open(path).manifest
    assert manifest.confidence is None  # it was calibrated with other paper around the ink
    assert manifest.decoding.beams == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ink", "x.inkset"], "add --checkpoint"),
        (["--precision", "int8"], "int8"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--checkpoint", "none.safetensors"], "found no file"),
    ],
)
def test_a_verification_that_cannot_be_says_why(
    bundle: Bundle, arguments: list[str], told: str
) -> None:
    result = inktex("verify", bundle.path, *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_what_is_no_bundle_or_checkpoint_is_told(tmp_path: Path) -> None:
    result = inktex("verify", tmp_path)
    assert result.exit_code == 2
    assert "expected a bundle" in result.output
    result = inktex("export", tmp_path / "none.safetensors", "-o", tmp_path / "bundle")
    assert result.exit_code == 2
    assert "expected a checkpoint" in result.output
    assert not (tmp_path / "bundle").exists()
