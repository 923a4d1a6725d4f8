from __future__ import annotations

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
