from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import inktex.runtimes
from inktex.core.bundle import Bundle, Manifest, Variant, write_bundle
from inktex.core.errors import BundleError, RuntimeUnavailable
from inktex.core.recognizer import Recognizer
from inktex.runtimes import load, runtimes
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel

STROKES = [[[0, 0], [10, 20]], [[10, 0], [0, 20]]]
FP32 = Variant("onnxruntime", "fp32", "encoder.onnx", "step.onnx")


@pytest.fixture
def with_variants(
    tmp_path: Path, tiny_manifest: Manifest, tiny_graphs: dict[str, bytes]
) -> Callable[..., Bundle]:
    def write(*variants: Variant) -> Bundle:
        return write_bundle(tmp_path / "b", replace(tiny_manifest, variants=variants), tiny_graphs)

    return write


def threads_of(recognizer: Recognizer) -> int:
    assert isinstance(recognizer.model, OnnxRuntimeModel)
    return recognizer.model.threads


def test_a_directory_or_a_bundle(tiny_bundle: Bundle) -> None:
    readings = {
        load(bundle)(STROKES).tokens
        for bundle in (tiny_bundle, tiny_bundle.path, str(tiny_bundle.path))
    }
    assert len(readings) == 1


def test_threads_reach_the_runtime(tiny_bundle: Bundle) -> None:
    assert threads_of(load(tiny_bundle, threads=3)) == 3


def test_onnx_runtime_is_found_by_its_entry_point() -> None:
    assert runtimes()["onnxruntime"].load() is OnnxRuntimeModel


def test_the_first_variant_that_can_run_is_taken(
    with_variants: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Variant] = []

    int8 = replace(FP32, precision="int8")
    elsewhere = Variant("tensorrt", "fp16", "encoder.onnx", "step.onnx")
    bundle = with_variants(elsewhere, int8, FP32)
    original = OnnxRuntimeModel.__init__

    def init(
        self: OnnxRuntimeModel, bundle: Bundle, variant: Variant, threads: int | None = None
    ) -> None:
        taken.append(variant)
        original(self, bundle, variant, threads)

    monkeypatch.setattr(OnnxRuntimeModel, "__init__", init)
    load(bundle)
    load(bundle, precision="fp32")
    load(bundle, runtime="onnxruntime", precision="int8")
    assert taken == [int8, FP32, int8]


def test_a_precision_that_is_not_there_lists_those_that_are(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="'int4', found only onnxruntime fp32"):
        load(tiny_bundle, precision="int4")
    with pytest.raises(BundleError, match="'openvino'"):
        load(tiny_bundle, runtime="openvino")


def test_a_runtime_that_is_not_installed_is_named(with_variants: Callable[..., Bundle]) -> None:
    bundle = with_variants(Variant("npu", "fp16", "encoder.onnx", "step.onnx"))
    with pytest.raises(RuntimeUnavailable, match=r"npu: not among .*onnxruntime"):
        load(bundle)


def test_why_a_runtime_cannot_run_is_told(
    with_variants: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party = EntryPoint("npu", "no_such_module:Model", inktex.runtimes.GROUP)
    monkeypatch.setattr(inktex.runtimes, "runtimes", lambda: {"npu": third_party})
    bundle = with_variants(Variant("npu", "int8", "encoder.onnx", "step.onnx"))
    with pytest.raises(RuntimeUnavailable, match="npu: No module named 'no_such_module'"):
        load(bundle)


def test_without_the_default_bundle_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inktex.runtimes, "DEFAULT_BUNDLE", tmp_path / "default")
    with pytest.raises(BundleError, match="expected the default bundle"):
        load()


def test_the_default_bundle_is_the_one_that_comes_along(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inktex.runtimes, "DEFAULT_BUNDLE", tiny_bundle.path)
    assert load()(STROKES).tokens == load(tiny_bundle)(STROKES).tokens
    assert os.fspath(inktex.runtimes.DEFAULT_BUNDLE) == os.fspath(tiny_bundle.path)
    monkeypatch.chdir(tmp_path)
    assert load("default").manifest == tiny_bundle.manifest
    (tmp_path / "default").mkdir()
    with pytest.raises(BundleError, match="expected a bundle"):
        load("default")  # what is there is meant


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_a_recognizer_that_is_gone_leaves_no_memory() -> None:
    """Ten recognizers, one after the other, in a process of their own."""
    code = """
import gc
from inktex.benchmarks.resident import resident
from inktex.runtimes import load
for number in range(10):
    recognizer = load(threads=1)
    recognizer([[[0, 0], [10, 20]], [[10, 0], [0, 20]]])
    if number == 1:
        before = resident().now or 0
    del recognizer
    gc.collect()
print((resident().now or 0) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 25_000_000  # one of them takes 40 MB


def test_several_bundles_live_in_one_process(tiny_bundle: Bundle) -> None:
    first, second = load(tiny_bundle), load()
    alone = first(STROKES).tokens
    assert second([[[0, 0], [10, 20]], [[10, 0], [0, 20]]]).tokens
    assert first(STROKES).tokens == alone
