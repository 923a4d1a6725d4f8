from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from inktex.core.bundle import Bundle, golden_npz, write_bundle
from inktex.core.errors import BundleError, ExportError
from inktex.export.parity import compare_with_golden, compare_with_torch
from inktex.export.parity_report import (
    TOLERANCES,
    Agreement,
    Differences,
    ParityReport,
    TensorError,
    Tolerance,
)
from inktex.quantization.quantizers import FORMS
from inktex.training.checkpoint import Checkpoint

from ..training.synthetic import checkpoint as made_checkpoint
from ..training.synthetic import expressions

STATES = {
    f"next_{name}_{layer}"
    for name in ("cache_keys", "cache_values", "coverage")
    for layer in (0, 1)
}
OUTPUTS = {
    *(f"memory_{name}_{layer}" for name in ("keys", "values") for layer in (0, 1)),
    "memory_bias",
    "log_probs",
    *STATES,
}


def with_changed_weights(
    bundle: Bundle, path: Path, graph: str, change: Callable[[np.ndarray], np.ndarray]
) -> Bundle:
    """The bundle with the largest tensor of a graph changed, and a manifest that vouches for it."""
    model = onnx.load_from_string(bundle.read(graph))
    weights = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    tensor = max(weights, key=lambda each: int(np.prod(each.dims)))
    array = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    files = {**bundle.contents(), graph: model.SerializeToString()}
    return write_bundle(path, bundle.manifest, files)


def shaken(array: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.1, array.shape)
    return array + noise.astype(np.float32)


def test_a_fresh_export_agrees_with_torch_on_shapes_and_on_ink(
    bundle: Bundle, checkpoint: Checkpoint
) -> None:
    [variant] = bundle.manifest.variants
    report = compare_with_torch(bundle, variant, checkpoint, expressions(4))
    assert report.passed
    assert {each.name for each in report.tensors} == OUTPUTS
    assert all(0 <= each.mean_abs <= each.max_abs < 2e-3 for each in report.tensors)
    assert any(each.max_abs > 0 for each in report.tensors)  # two computations, not one
    assert (report.agreement.sequences, report.agreement.equal) == (4, 4)
    text = str(report)
    assert "4 of 4 sequences equal" in text
    assert text.startswith("onnxruntime fp32, against torch, 6 random shapes and 4 formulas:\n")
    assert "100.0 % of the tokens before the first difference, 100.0 % equal after" in text
    assert text.endswith("\n  passed")
    assert report.agreement.tokens == report.agreement.forced == report.agreement.prefix > 0


def test_a_fresh_export_agrees_with_its_golden_arrays(bundle: Bundle) -> None:
    report = compare_with_golden(bundle, bundle.manifest.variants[0])
    assert report.passed
    assert {each.name for each in report.tensors} == OUTPUTS - STATES
    assert (report.agreement.sequences, report.agreement.equal) == (1, 1)


@pytest.mark.parametrize("graph", ["encoder.fp32.onnx", "step.fp32.onnx"])
def test_changed_weights_are_found(
    bundle: Bundle, checkpoint: Checkpoint, tmp_path: Path, graph: str
) -> None:
    changed = with_changed_weights(bundle, tmp_path / "changed", graph, shaken)
    [variant] = changed.manifest.variants
    report = compare_with_torch(changed, variant, checkpoint, shapes=2)
    assert not report.passed
    assert str(report).endswith("FAILED")
    assert not compare_with_golden(changed, variant).passed


def test_weights_that_are_no_numbers_are_found(
    bundle: Bundle, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """NaN is neither more nor less than any tolerance."""

    def spoilt(array: np.ndarray) -> np.ndarray:
        array.flat[0] = np.nan
        return array

    changed = with_changed_weights(bundle, tmp_path / "changed", "encoder.fp32.onnx", spoilt)
    [variant] = changed.manifest.variants
    assert not compare_with_torch(changed, variant, checkpoint, shapes=2).passed
    assert not compare_with_golden(changed, variant).passed


def test_another_checkpoint_is_found(bundle: Bundle) -> None:
    other = made_checkpoint(seed=1)
    report = compare_with_torch(
        bundle, bundle.manifest.variants[0], other, expressions(2), shapes=1
    )
    assert not report.passed


def test_golden_arrays_of_another_machine_are_found(bundle: Bundle, tmp_path: Path) -> None:
    arrays = bundle.golden()
    arrays["greedy"] = arrays["greedy"][:-1]
    files = {**bundle.contents(), "golden.npz": golden_npz(arrays)}
    changed = write_bundle(tmp_path / "changed", bundle.manifest, files)
    report = compare_with_golden(changed, changed.manifest.variants[0])
    assert not report.passed
    assert report.agreement.equal == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("encoder.images", None, "no 'encoder.images' with 4 axes"),
        ("encoder.images", np.zeros((3, 3)), "no 'encoder.images' with 4 axes"),
        ("greedy", None, "no 'greedy' with 1 axes"),
        ("greedy", np.array([10_000]), "tokens in 'greedy' that the vocabulary has not"),
        ("step.0.tokens", None, "no 'step.0.tokens' with 1 axes"),
        ("step.1.log_probs", np.array(["x"]), "no 'step.1.log_probs' with 2 axes"),
    ],
)
def test_golden_arrays_of_another_kind_are_told(
    bundle: Bundle, tmp_path: Path, name: str, value: np.ndarray | None, said: str
) -> None:
    arrays = bundle.golden()
    del arrays[name]
    if value is not None:
        arrays[name] = value
    files = {**bundle.contents(), "golden.npz": golden_npz(arrays)}
    changed = write_bundle(tmp_path / "changed", bundle.manifest, files)
    with pytest.raises(BundleError, match=f"found {said}"):
        compare_with_golden(changed, changed.manifest.variants[0])


def test_graphs_that_changed_places_are_told(bundle: Bundle, tmp_path: Path) -> None:
    files, one = bundle.contents(), bundle.variant("onnxruntime")
    files |= {one.encoder: bundle.read(one.step), one.step: bundle.read(one.encoder)}
    changed = write_bundle(tmp_path / "changed", bundle.manifest, files)
    with pytest.raises(BundleError, match="are not as the manifest says"):
        compare_with_golden(changed, changed.manifest.variants[0])


def test_agreement_counts_tokens_before_and_after_a_difference() -> None:
    found = Agreement.of([5, 6, 9, 8], [5, 6, 7, 8, 9], [5, 6, 9, 8, 9])
    assert found == Agreement(1, 0, 5, 4, 2)
    same = Agreement.of([5], [5], [5])
    assert same == Agreement(1, 1, 1, 1, 1)
    assert found + same == Agreement(2, 1, 6, 5, 3)
    assert Agreement.of([], [], []) == Agreement(1, 1, 0, 0, 0)
    assert Agreement.of([5, 6], [5], [5]).equal == 0


def test_what_passes_is_within_the_tolerance() -> None:
    def report(errors: list[float], equal: int, tolerance: Tolerance) -> ParityReport:
        tensors = tuple(TensorError(f"t{i}", error, 0.0) for i, error in enumerate(errors))
        return ParityReport("x", "y", tensors, Agreement(100, equal, 1, 1, 1), tolerance)

    strict = Tolerance(1e-3, 0.99)
    assert report([1e-3, 0.0], 99, strict).passed
    assert not report([1.1e-3, 0.0], 100, strict).passed
    assert not report([0.0, 0.0], 98, strict).passed
    assert not report([0.0, float("nan")], 100, strict).passed
    sequences_only = dataclasses.replace(strict, max_abs=None)
    assert report([50.0], 100, sequences_only).passed
    for broken in (float("nan"), float("inf")):
        assert not report([broken], 100, sequences_only).passed
    quantised = {precision for forms in FORMS.values() for precision in forms}
    assert set(TOLERANCES) == {"fp32", *quantised}


def test_a_precision_that_nobody_knows_is_told_at_once(bundle: Bundle) -> None:
    strange = dataclasses.replace(bundle.variant("onnxruntime"), precision="int4", encoder="none")
    said = r"expected a variant of fp32, .*onnxruntime int4"
    with pytest.raises(ExportError, match=said):
        compare_with_golden(bundle, strange)
    with pytest.raises(ExportError, match=said):
        compare_with_torch(bundle, strange, made_checkpoint())


def test_errors_are_gathered_by_name_and_none_is_lost() -> None:
    errors = Differences()
    errors.add("a", np.array([1.0, 2.0], np.float32), np.array([1.0, 2.5], np.float32))
    errors.add("a", np.array([[4.0]]), np.array([[3.0]]))
    errors.add("b", np.array([1.0]), np.array([1.0]))
    errors.add("b", np.array([np.nan]), np.array([1.0]))
    errors.add("c", np.ones((2, 3)), np.ones((1, 3)))  # would broadcast
    a, b, c = errors.summary()
    assert a == TensorError("a", 1.0, 0.5)
    assert np.isnan(b.max_abs)
    assert c.max_abs == np.inf
