from __future__ import annotations

import sys
from dataclasses import replace

import onnx
import pytest

from inktex.core.errors import ExportError, RuntimeUnavailable
from inktex.core.interface import TensorSpec
from inktex.export.targets import TARGETS, GraphSource, variants_for

from ..training import synthetic


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> GraphSource:
    bundle = synthetic.bundle(tmp_path_factory)
    variant = bundle.variant("onnxruntime")
    encoder, step = (
        onnx.load_from_string(bundle.read(name)) for name in (variant.encoder, variant.step)
    )
    return GraphSource(encoder, step, bundle.manifest.interface, 24, synthetic.network())


def test_each_target_has_its_variant_and_files(graphs: GraphSource) -> None:
    variants, files = variants_for(["openvino", "onnx", "openvino", "ort"], graphs)
    assert [(each.target, each.precision) for each in variants] == [
        ("openvino", "fp32"),
        ("onnxruntime", "fp32"),
        ("ort", "fp32"),
    ]
    assert sorted(files) == [
        "encoder.fp32.onnx",
        "encoder.fp32.openvino/graph.bin",
        "encoder.fp32.openvino/graph.xml",
        "encoder.fp32.ort",
        "step.fp32.onnx",
        "step.fp32.openvino/graph.bin",
        "step.fp32.openvino/graph.xml",
        "step.fp32.ort",
    ]


@pytest.mark.parametrize("names", [[], ["tensorflow"], ["onnx", "openvin"]])
def test_an_unknown_target_is_told_those_that_there_are(
    graphs: GraphSource, names: list[str]
) -> None:
    with pytest.raises(ExportError, match=f"expected targets out of {', '.join(TARGETS)}, found"):
        variants_for(names, graphs)


def test_openvino_must_give_the_interface(graphs: GraphSource) -> None:
    interface = graphs.interface
    other = replace(
        interface.encoder,
        inputs=(TensorSpec("images", "float32", ("batch", 3, "height", "width")),),
    )
    wrong = graphs._replace(interface=replace(interface, encoder=other))
    with pytest.raises(ExportError, match="for OpenVINO, found"):
        variants_for(["openvino"], wrong)


def test_what_is_needed_is_named(graphs: GraphSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailable, match="pip install openvino"):
        variants_for(["openvino"], graphs)
