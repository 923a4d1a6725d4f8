from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from inktex.quantization.onnx_int8 import dynamic_int8
from inktex.training.graph_weights import GraphWeights, Product

HEADER = '<ir_version: 10, opset_import: ["": 18]> g '


def graph(text: str, **constants: NDArray[np.generic]) -> bytes:
    model = onnx.parser.parse_model(HEADER + text)
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    data: bytes = model.SerializeToString()
    return data


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def only(data: bytes) -> Product:
    [product] = GraphWeights(data).products()
    return product


@pytest.mark.parametrize(
    ("text", "transposed"),
    [
        ("(float[n,3] x) => (float[n,3] z) { y = MatMul (x, w) z = Add (y, shift) }", True),
        ("(float[n,3] x) => (float[n,3] z) { y = MatMul (x, w) z = Add (shift, y) }", True),
        ("(float[3,n] x) => (float[3,n] z) { y = MatMul (w, x) z = Add (y, shift) }", False),
        ("(float[n,3] x) => (float[n,3] z) { z = Gemm (x, w, shift) }", True),
        ("(float[n,3] x) => (float[n,3] z) { z = Gemm <transB=1> (x, w, shift) }", False),
    ],
)
def test_products_are_turned_as_torch_holds_them(text: str, transposed: bool) -> None:
    """Square weights, so that no shape gives the answer away."""
    weight, bias = drawn(3, 3), drawn(3)
    shape = (3, 1) if "float[3,n]" in text else (3,)
    product = only(graph(text, w=weight, shift=bias.reshape(shape)))
    np.testing.assert_array_equal(product.weight, weight.T if transposed else weight)
    assert product.bias is not None
    np.testing.assert_array_equal(product.bias, bias)
    assert (product.weight_name, product.bias_name) == ("w", "shift")


def test_what_is_added_later_or_is_no_constant_is_no_bias() -> None:
    text = "(float[n,3] x) => (float[n,3] z) { y = MatMul (x, w) r = Relu (y) z = Add (r, b) }"
    assert only(graph(text, w=drawn(3, 3), b=drawn(3))).bias is None
    text = "(float[n,3] x) => (float[n,3] z) { y = MatMul (x, w) z = Add (y, x) }"
    assert only(graph(text, w=drawn(3, 3))).bias is None
    text = "(float[n,3] x, float[3,3] v) => (float[n,3] y) { y = MatMul (x, v) }"
    assert not list(GraphWeights(graph(text)).products())


def test_eight_bits_of_convolutions_are_dequantised_by_channel() -> None:
    text = """(float[1,2,5,5] x) => (float[1,2,3,3] y) {
        weight = DequantizeLinear <axis=0> (w_quantized, s, z)
        bias = DequantizeLinear <axis=0> (b_quantized, t, u)
        y = Conv (x, weight, bias)
    }"""
    rng = np.random.default_rng(2)
    weight = rng.integers(-128, 128, (2, 2, 3, 3)).astype(np.int8)
    scale, zero = np.array([0.5, 0.01], np.float32), np.array([0, 3], np.int8)
    shift = np.array([100, -7], np.int32)
    data = graph(
        text,
        w_quantized=weight,
        s=scale,
        z=zero,
        b_quantized=shift,
        t=np.array([0.1, 2.0], np.float32),
        u=np.zeros(2, np.int32),
    )
    product = only(data)
    exact = (weight.astype(np.float32) - zero[:, None, None, None]) * scale[:, None, None, None]
    np.testing.assert_allclose(product.weight, exact, rtol=1e-6)
    assert product.bias is not None
    np.testing.assert_allclose(product.bias, [10.0, -14.0], rtol=1e-6)
    assert (product.weight_name, product.bias_name) == ("w", "b")
    assert set(GraphWeights(data).constants) == {"s", "t", "w", "b"}


def test_eight_bits_of_products_are_those_of_the_quantiser() -> None:
    text = "(float[n,4] x) => (float[n,3] z) { y = MatMul (x, w) z = Add (y, shift) }"
    weight, bias = drawn(4, 3), drawn(3)
    model = dynamic_int8(onnx.load_from_string(graph(text, w=weight, shift=bias)))
    assert any(node.op_type == "MatMulInteger" for node in model.graph.node)
    product = only(model.SerializeToString())
    steps = np.abs(weight).max(axis=0) / 127
    assert (np.abs(product.weight - weight.T) <= 0.51 * steps[:, None] + 1e-6).all()
    assert product.bias is not None
    np.testing.assert_array_equal(product.bias, bias)
    assert (product.weight_name, product.bias_name) == ("w", "shift")
