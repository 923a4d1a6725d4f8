from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError
from inktex.core.rendering import MARGIN_PX, PEN_PX, SYMBOL_PX
from inktex.export.checkpoint_bundle import WEIGHTS_LICENCE, export_bundle
from inktex.export.graphs import InkedEncoderGraph, StepGraph
from inktex.export.plain_graphs import graphs_of
from inktex.export.to_onnx import check_interface
from inktex.runtimes import load
from inktex.training.checkpoint import Checkpoint

from ..training.synthetic import expressions


def test_the_bundle_tells_all_that_a_runtime_needs(bundle: Bundle, checkpoint: Checkpoint) -> None:
    manifest = Bundle.open(bundle.path).manifest
    assert manifest.vocabulary == checkpoint.vocabulary
    # without the graph for trees, which only rescoring wants
    assert manifest.interface == replace(checkpoint.trained_network().interface(), tree=None)
    assert manifest.decoding.max_length == checkpoint.recipe.model.max_length
    assert manifest.licence == WEIGHTS_LICENCE
    parameters = manifest.preprocessing.parameters
    assert (parameters["symbol_px"], parameters["pen_px"]) == (SYMBOL_PX, PEN_PX)
    assert (parameters["margin_px"], parameters["multiple"]) == (MARGIN_PX, 16)
    assert [(each.target, each.precision) for each in manifest.variants] == [
        ("onnxruntime", "fp32")
    ]
    provenance: dict[str, Any] = dict(manifest.provenance)
    assert provenance["recipe"]["name"] == "edge"
    assert provenance["training"]["steps"] == 3
    assert provenance["data"] == {"train": {"expressions": 60}}
    assert provenance["torch"] == torch.__version__
    assert set(manifest.files) == {"encoder.fp32.onnx", "step.fp32.onnx", "golden.npz"}


def test_the_graphs_on_disk_have_the_interface_with_named_axes(bundle: Bundle) -> None:
    interface = bundle.manifest.interface
    for name, spec in (
        ("encoder.fp32.onnx", interface.encoder),
        ("step.fp32.onnx", interface.step),
    ):
        model = onnx.load_from_string(bundle.read(name))
        onnx.checker.check_model(model, full_check=True)
        check_interface(model, spec)
        assert "->" in model.doc_string
        assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
        assert not any(node.domain for node in model.graph.node)  # plain ONNX only


@pytest.mark.parametrize(
    ("batch", "height", "width"), [(1, 16, 16), (1, 16, 160), (2, 96, 32), (5, 48, 80)]
)
def test_the_encoder_takes_any_batch_and_size(
    bundle: Bundle, checkpoint: Checkpoint, batch: int, height: int, width: int
) -> None:
    images = np.random.default_rng(0).random((batch, 1, height, width), np.float32)
    images *= images > 0.9
    found = graphs_of(bundle, bundle.manifest.variants[0]).encoder({"images": images})
    with torch.inference_mode():
        expected = InkedEncoderGraph(checkpoint.trained_network())(torch.from_numpy(images))
    for (name, array), tensor in zip(found.items(), expected, strict=True):
        assert array.shape[0] == batch, name
        np.testing.assert_allclose(array, tensor.numpy(), atol=2e-4, err_msg=name)


@pytest.mark.parametrize(
    ("beams", "cells", "length"), [(1, 1, 1), (1, 50, 24), (4, 7, 9), (10, 2, 3)]
)
def test_the_step_takes_any_number_of_beams_cells_and_steps(
    bundle: Bundle, checkpoint: Checkpoint, beams: int, cells: int, length: int
) -> None:
    rng = np.random.default_rng(0)
    sizes = {"beams": beams, "cells": cells, "length": length, "batch": 1}
    inputs = {}
    for spec in bundle.manifest.interface.step.inputs:
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape]
        inputs[spec.name] = rng.normal(size=shape).astype(spec.dtype)
    inputs["tokens"] = rng.integers(3, 12, beams)
    inputs["position"] = np.array([length - 1])
    found = graphs_of(bundle, bundle.manifest.variants[0]).step(inputs)
    step = StepGraph(checkpoint.trained_network())
    with torch.inference_mode():
        expected = step(*(torch.from_numpy(array) for array in inputs.values()))
    for (name, array), tensor in zip(found.items(), expected, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), atol=2e-4, err_msg=name)
    np.testing.assert_allclose(np.exp(found["log_probs"]).sum(axis=1), 1, atol=1e-5)


def test_the_bundle_reads_ink(bundle: Bundle) -> None:
    recognizer = load(bundle)
    strokes = [stroke.astype(np.float64) for stroke in expressions(1)[0].strokes]
    result = recognizer(strokes)
    assert set(result.tokens) <= set(bundle.manifest.vocabulary.tokens)
    assert 0 <= result.confidence <= 1


def test_an_export_replaces_a_bundle_but_nothing_else(
    bundle: Bundle, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = iter(
        onnx.load_from_string(bundle.read(name)) for name in ("encoder.fp32.onnx", "step.fp32.onnx")
    )
    monkeypatch.setattr("inktex.export.checkpoint_bundle.to_onnx", lambda *_: next(graphs))
    path = tmp_path / "taken"
    path.mkdir()
    (path / "thesis.tex").write_text("all of it")
    with pytest.raises(BundleError, match="found something else"):
        export_bundle(checkpoint, path)
    assert (path / "thesis.tex").read_text() == "all of it"
