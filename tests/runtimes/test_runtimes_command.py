from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import inktex.runtimes
from inktex.core.bundle import Bundle, Variant, write_bundle
from inktex.core.cli import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["runtimes", *map(str, arguments)])


def test_runtimes_machine_and_choice_are_told(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inktex.runtimes, "DEFAULT_BUNDLE", tiny_bundle.path)
    done = run()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("onnxruntime  ")
    assert lines[2].startswith("openvino")
    assert "processors to use" in done.stdout
    assert lines[-2] == "auto:    onnxruntime fp32, there is no other to choose from"
    assert lines[-1].startswith("cache:   ")
    found = json.loads(run("--json").stdout)
    assert found["auto"] == "onnxruntime fp32"
    assert found["variants"] == ["onnxruntime fp32"]
    assert [each["name"] for each in found["runtimes"]][:3] == ["onnxruntime", "ort", "openvino"]
    assert found["machine"]["processors"] >= 1


def test_a_bundle_that_nothing_here_runs(tmp_path: Path, tiny_bundle: Bundle) -> None:
    [variant] = tiny_bundle.manifest.variants
    elsewhere = Variant("tensorrt", "fp16", variant.encoder, variant.step)
    manifest = replace(tiny_bundle.manifest, variants=(elsewhere,))
    bundle = write_bundle(tmp_path / "b", manifest, tiny_bundle.contents())
    done = run("--bundle", bundle.path)
    assert done.exit_code == 0
    assert "no runtime here runs" in done.stdout.splitlines()[-2]
    assert json.loads(run("--bundle", bundle.path, "--json").stdout)["auto"] is None
    assert run("--bundle", tmp_path / "none").exit_code == 2


def test_the_fastest_is_measured_once_and_anew_if_asked(
    two_variants: Bundle, own_cache: Path
) -> None:
    first = run("--bundle", two_variants.path)
    assert first.exit_code == 0, first.output
    auto = next(line for line in first.stdout.splitlines() if line.startswith("auto:"))
    assert "the fastest here: " in auto
    assert ", against " in auto
    [remembered] = own_cache.rglob("*.json")
    said = json.loads(remembered.read_text())
    remembered.write_text(json.dumps({**said, "why": "so I say"}))
    assert "so I say" in run("--bundle", two_variants.path).stdout
    assert "so I say" not in run("--bundle", two_variants.path, "--measure").stdout
