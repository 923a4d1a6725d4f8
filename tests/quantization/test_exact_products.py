"""Products of 8 bits are exact on every processor. x86 without VNNI adds two of them in 16 bits, in
which the largest have no place. On other processors only the two last tests would tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inktex.core.bundle import Bundle
from inktex.export.to_ort import to_ort
from inktex.quantization.onnx_int8 import (
    NARROW,
    SIGNED,
    UNSIGNED,
    UNSIGNED_INPUTS,
    Scheme,
    dynamic_int8,
    prepared,
    static_int8,
)
from inktex.quantization.quantizers import quantizer
from inktex.quantization.source import QuantizationSource, calibration_images
from inktex.runtimes.onnx_session import session_options

from ..training.synthetic import expressions

FEATURES = 64
IMAGES = np.ones((1, FEATURES, 64, 64), np.float32)
ROWS = np.ones((3, FEATURES), np.float32)


def product(operator: str, weights: tuple[int, ...], given: NDArray[np.float32]) -> onnx.ModelProto:
    """A product of what comes in with ones."""
    made = helper.make_graph(
        [helper.make_node(operator, ["images", "weight"], ["out"], name="product")],
        "product",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, given.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weights, np.float32), "weight")],
    )
    opset = [helper.make_opsetid("", 17)]
    return prepared(helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString())


def static(scheme: Scheme) -> onnx.ModelProto:
    model = product("Conv", (8, FEATURES, 3, 3), IMAGES)
    return static_int8(model, {"images": (0.0, 1.0), "out": (0.0, 9.0 * FEATURES)}, scheme)


def by_onnxruntime(graph: bytes, given: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(
        graph, session_options(1), providers=["CPUExecutionProvider"]
    )
    [found] = session.run(None, {"images": given})
    return np.asarray(found)


@pytest.mark.parametrize(
    ("scheme", "form"),
    [
        (UNSIGNED, onnx.ModelProto.SerializeToString),
        (SIGNED, onnx.ModelProto.SerializeToString),
        (NARROW, to_ort),
    ],
)
def test_of_an_encoder_on_onnxruntime(
    scheme: Scheme, form: Callable[[onnx.ModelProto], bytes]
) -> None:
    found = by_onnxruntime(form(static(scheme)), IMAGES)
    np.testing.assert_allclose(found[:, :, 1:-1, 1:-1], 9 * FEATURES, rtol=0.01)


@pytest.mark.parametrize(
    ("bits", "form"), [(8, onnx.ModelProto.SerializeToString), (NARROW.weight_bits, to_ort)]
)
def test_of_a_step_on_onnxruntime(bits: int, form: Callable[[onnx.ModelProto], bytes]) -> None:
    model = dynamic_int8(product("MatMul", (FEATURES, 8), ROWS), weight_bits=bits)
    np.testing.assert_allclose(by_onnxruntime(form(model), ROWS), FEATURES, rtol=0.01)


def test_of_an_encoder_on_openvino() -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.read_model(static(UNSIGNED_INPUTS).SerializeToString())
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    [found] = core.compile_model(model, "CPU", properties)(IMAGES).values()
    np.testing.assert_allclose(found[:, :, 1:-1, 1:-1], 9 * FEATURES, rtol=0.01)


def test_onnxruntime_is_told() -> None:
    assert session_options(1).get_session_config_entry("session.x64quantprecision") == "1"


def test_runtimes_that_cannot_be_told_have_weights_of_7_bits(bundle: Bundle) -> None:
    source = QuantizationSource(bundle, calibration_images(bundle, expressions(16), 16, 1))
    stand_in = quantizer("ort", "int8", source).stand_in
    assert stand_in is not None
    variant, files = stand_in.make(())
    graphs = [onnx.load_from_string(files[name]) for name in (variant.encoder, variant.step)]
    for graph in (*graphs, static_int8(source.encoder, source.ranges(), UNSIGNED_INPUTS)):
        weights = [
            numpy_helper.to_array(each)
            for each in graph.graph.initializer
            if each.data_type == TensorProto.INT8 and len(each.dims) > 1
        ]
        assert max(np.abs(each.astype(int)).max() for each in weights) == 64
