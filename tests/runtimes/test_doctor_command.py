from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import inktex.runtimes
from inktex.core.bundle import Bundle, Manifest, Variant, golden_npz, write_bundle
from inktex.core.cli import main
from inktex.core.search import greedy
from inktex.runtimes import choose
from inktex.runtimes.self_test import examine


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Bundle, tiny_manifest: Manifest) -> Bundle:
    """The tiny bundle, with a golden image and what is read from it."""
    image = np.zeros((1, 1, 32, 48), np.float32)
    image[..., 4:20, 5:30] = 1
    model = choose(tiny_bundle)[1]
    found = greedy(model, model.encode(image)[0], sos=1, eos=2, max_length=24)
    tokens = np.array([number for number in found.tokens if number != 2])
    golden = golden_npz({"encoder.images": image, "greedy": tokens})
    files = {**tiny_bundle.contents(), "golden.npz": golden}
    return write_bundle(tmp_path / "b", replace(tiny_manifest, golden="golden.npz"), files)


def with_variants(bundle: Bundle, *variants: Variant) -> Bundle:
    manifest = replace(bundle.manifest, variants=variants)
    return write_bundle(bundle.path, manifest, bundle.contents())


def test_all_is_well(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inktex.runtimes, "DEFAULT_BUNDLE", bundle.path)
    done = run()
    assert done.exit_code == 0, done.output
    assert "every file is as its manifest says" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("ok      onnxruntime fp32: ")
    found = json.loads(run("--json").stdout)
    [finding] = found["findings"]
    assert finding["passed"] is True
    assert finding["load_ms"] > 0
    assert found["versions"].keys() >= {"python", "inktex", "numpy", "onnxruntime", "openvino"}


def test_another_reading_fails(bundle: Bundle) -> None:
    golden = {**bundle.golden(), "greedy": np.array([3, 4, 5])}
    files = {**bundle.contents(), "golden.npz": golden_npz(golden)}
    changed = write_bundle(bundle.path, bundle.manifest, files)
    done = run("--bundle", changed.path)
    assert done.exit_code == 1
    assert "FAILED  onnxruntime fp32: expected '+ 1 2', as torch read it" in done.stdout
    [variant] = bundle.manifest.variants
    rough = with_variants(changed, replace(variant, precision="int8"))
    assert run("--bundle", rough.path).exit_code == 0  # which may differ


def test_a_graph_that_does_not_load_fails_and_the_rest_goes_on(bundle: Bundle) -> None:
    [variant] = bundle.manifest.variants
    turned = replace(variant, precision="int8", encoder=variant.step, step=variant.encoder)
    findings = examine(with_variants(bundle, turned, variant))
    assert [each.passed for each in findings] == [False, True]
    assert "not as the manifest says" in findings[0].problem


def test_what_is_not_installed_is_no_failure(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import PackageNotFoundError, version

    from inktex.runtimes import catalogue

    def without_openvino(package: str) -> str:
        if package == "openvino":
            raise PackageNotFoundError
        return version(package)

    monkeypatch.setattr(catalogue, "version", without_openvino)
    [variant] = bundle.manifest.variants
    other = Variant("openvino", "fp32", variant.encoder, variant.step)
    done = run("--bundle", with_variants(bundle, other, variant).path)
    assert done.exit_code == 0, done.output
    assert "absent  openvino fp32: pip install openvino" in done.stdout


def test_without_golden_arrays_there_is_nothing_to_compare(tiny_bundle: Bundle) -> None:
    done = run("--bundle", tiny_bundle.path)
    assert done.exit_code == 2
    assert "expected golden inputs and outputs" in done.stderr
