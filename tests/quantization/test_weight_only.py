from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from inktex.quantization.weight_only import weights4, weights8

TEXT = """
<ir_version: 10, opset_import: ["": 18]>
g (float[n, 1, 8, 8] x, int64[n] t) => (float[n, 5] y)
{
    seen = Conv <pads = [1, 1, 1, 1]> (x, first_weight)
    deep = Conv (seen, second_weight)
    flat = Flatten (deep)
    wide = MatMul (flat, third_weight)
    row = Gather (table_weight, t)
    both = Add (wide, row)
    y = Gemm <transB = 1> (both, last_weight, b)
}
"""
SHAPES = {
    "network.first.weight": (7, 1, 3, 3),
    "network.second.weight": (130, 7, 8, 8),
    "network.third.weight": (130, 41),
    "network.table.weight": (30, 41),
    "network.last.weight": (5, 41),
    "b": (5,),
}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    made = onnx.parser.parse_model(TEXT)
    for name, shape in SHAPES.items():
        array = rng.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for node in made.graph.node:
        node.name = node.output[0]
        for number, name in enumerate(node.input):
            if name.endswith("_weight"):  # no dots in the language of the parser
                node.input[number] = f"network.{name.removesuffix('_weight')}.weight"
    return made


def run(model: onnx.ModelProto) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(1)
    inputs = {"x": rng.normal(size=(3, 1, 8, 8)).astype(np.float32), "t": np.array([2, 0, 29])}
    found: NDArray[np.float32] = session.run(None, inputs)[0]
    return found


@pytest.mark.parametrize(("rewrite", "error"), [(weights8, 0.02), (weights4, 0.2)])
def test_products_and_tables_compute_nearly_the_same(
    model: onnx.ModelProto, rewrite: object, error: float
) -> None:
    """Normal weights, whose greatest are 3 (of 32: 2) times their spread, lose 0.7 (7) % in each of
    three layers."""
    assert callable(rewrite)
    exact, found = run(model), run(rewrite(model))
    assert not np.array_equal(exact, found)
    assert np.linalg.norm(exact - found) < error * np.linalg.norm(exact)


@pytest.mark.parametrize(("rewrite", "share"), [(weights8, 0.3), (weights4, 0.2)])
def test_large_weights_get_small(model: onnx.ModelProto, rewrite: object, share: float) -> None:
    assert callable(rewrite)
    left = {each.name for each in rewrite(model).graph.initializer}
    assert left & set(SHAPES) == {"network.first.weight", "network.last.weight", "b"}
    assert rewrite(model).ByteSize() < share * model.ByteSize()


def test_layers_that_are_kept_stay(model: onnx.ModelProto) -> None:
    left = {each.name for each in weights8(model, ["second"]).graph.initializer}
    assert "network.second.weight" in left
    assert "network.third.weight" not in left
