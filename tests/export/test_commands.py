from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from inktex.core.bundle import Bundle
from inktex.core.cli import main
from inktex.training.inkset import save_inkset

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
