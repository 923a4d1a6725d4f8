from __future__ import annotations

import copy
import json
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from inktex.core.errors import ExportError
from inktex.core.interface import GraphSpec, TensorSpec
from inktex.export.to_onnx import OPSET, check_interface, to_onnx


class Scaled(nn.Module):
    """images [batch, 1, height, width] -> features, twice as many."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.convolution(images))


SPEC = GraphSpec(
    inputs=(TensorSpec("images", "float32", ("batch", 1, "height", "width")),),
    outputs=(TensorSpec("features", "float32", ("batch", 2, "height", "width")),),
)


@pytest.fixture(scope="module")
def module() -> Scaled:
    torch.manual_seed(0)
    return Scaled()


@pytest.fixture(scope="module")
def exported(module: Scaled) -> onnx.ModelProto:
    return to_onnx(module, {"images": torch.rand(2, 1, 5, 7)}, SPEC)


@pytest.fixture
def model(exported: onnx.ModelProto) -> onnx.ModelProto:
    return copy.deepcopy(exported)


def shapes(values: object) -> list[tuple[int | str, ...]]:
    return [
        tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in values  # type: ignore[attr-defined]
    ]


def test_the_graph_has_the_interface_asked_for(model: onnx.ModelProto) -> None:
    assert [each.name for each in model.graph.input] == ["images"]
    assert [each.name for each in model.graph.output] == ["features"]
    assert shapes(model.graph.input) == [SPEC.inputs[0].shape]
    assert shapes(model.graph.output) == [SPEC.outputs[0].shape]
    assert {each.version for each in model.opset_import if each.domain == ""} == {OPSET}


def test_the_graph_computes_what_torch_does_at_any_size(
    model: onnx.ModelProto, module: Scaled
) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for shape in ((1, 1, 1, 1), (3, 1, 16, 4), (2, 1, 9, 31)):
        images = torch.rand(shape)
        [found] = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(found, module(images).detach().numpy(), atol=1e-6)


def test_the_graph_explains_itself_and_holds_nothing_else(model: onnx.ModelProto) -> None:
    notes = {each.key: each.value for each in model.metadata_props}
    assert list(notes) == ["inktex.tensors"]
    assert json.loads(notes["inktex.tensors"]) == {
        "images": {"dtype": "float32", "shape": ["batch", 1, "height", "width"]},
        "features": {"dtype": "float32", "shape": ["batch", 2, "height", "width"]},
    }
    assert "features, twice as many" in model.doc_string
    assert __file__ not in str(model)  # the exporter notes where each node comes from
    assert not any(node.metadata_props for node in model.graph.node)
    check_interface(model, SPEC)


class Pairs(nn.Module):
    """Gives batches of two, whatever it gets."""

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, 2, -1, 7)[:, :, :5]


class OnlyPairs(nn.Module):
    """Takes batches of two only."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([images, images + torch.ones(2, 1, 1, 1)], dim=1)


@pytest.mark.parametrize(
    ("frozen", "told"),
    [
        (Pairs(), r"features: expected float32 \['batch', 2, .*found float32 \[2, 2"),
        (OnlyPairs(), "(?s)cannot write OnlyPairs as ONNX: .*static shape of 2"),
    ],
)
def test_an_axis_frozen_in_tracing_is_refused(frozen: nn.Module, told: str) -> None:
    log = logging.getLogger("torch.onnx")
    level = log.level
    with pytest.raises(ExportError, match=told):
        to_onnx(frozen, {"images": torch.rand(2, 1, 10, 7)}, SPEC)
    assert log.level == level


def test_a_graph_with_another_interface_is_refused(model: onnx.ModelProto) -> None:
    axis = model.graph.output[0].type.tensor_type.shape.dim[2]
    axis.dim_value = 5
    with pytest.raises(ExportError, match=r"features: expected .*'height'.* found .*5"):
        check_interface(model, SPEC)
    axis.dim_param = "width"
    with pytest.raises(ExportError, match="features: expected"):
        check_interface(model, SPEC)
    axis.dim_param = "height"
    check_interface(model, SPEC)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(ExportError, match=r"images: expected float32 .* found float16"):
        check_interface(model, SPEC)
    model.graph.input[0].name = "pictures"
    with pytest.raises(ExportError, match=r"expected tensors \['images'\], found \['pictures'\]"):
        check_interface(model, SPEC)


def test_weights_outside_the_file_are_refused(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    with pytest.raises(ExportError, match=f"found outside: .*{tensor.name}"):
        check_interface(model, SPEC)
