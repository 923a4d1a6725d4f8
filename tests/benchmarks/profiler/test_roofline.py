from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.profiler.contender import Configuration
from inktex.benchmarks.profiler.operators import (
    GraphWork,
    Work,
    bytes_of,
    operations_of,
    profile_graphs,
)
from inktex.benchmarks.profiler.roofline import (
    DATA,
    Peak,
    dearest,
    measure_peak,
    measure_roofline,
    under_roof,
)
from inktex.core.bundle import Bundle


def shapes(*each: list[int]) -> list[dict[str, list[int]]]:
    return [{"float": shape} for shape in each]


@pytest.mark.parametrize(
    ("name", "inputs", "output", "operations"),
    [
        ("MatMul", ([2, 3, 5], [5, 7]), [2, 3, 7], 2 * 2 * 3 * 7 * 5),
        ("FusedMatMul", ([4, 8, 63], [4, 8, 9]), [4, 63, 9], 2 * 4 * 63 * 9 * 8),  # turned
        ("Conv", ([1, 6, 10, 10], [12, 3, 5, 5]), [1, 12, 10, 10], 2 * 1200 * 3 * 25),  # 2 groups
        ("QLinearConv", ([1], [], [], [8, 3, 3, 3], [], [], []), [1, 4, 4, 8], 2 * 128 * 27),
        ("Gemm", ([7, 5], [7, 5]), [5, 5], 2 * 5 * 5 * 7),  # turned, and as wide as it was high
        ("MatMul", ([4, 7], [7]), [4], 2 * 4 * 7),
        ("QLinearMatMul", ([2, 5, 7], [], []), [2, 5, 3], 2 * 30 * 7),
        ("MatMulNBits", ([3, 64], [16, 2, 16]), [3, 16], 2 * 48 * 64),
        ("ConvTranspose", ([1, 20, 16, 16], [20, 6, 3, 3]), [1, 6, 33, 33], 2 * 5120 * 54),
        ("Relu", ([9, 9],), [9, 9], 0),
    ],
)
def test_operations_are_counted_from_shapes(
    name: str, inputs: tuple[list[int], ...], output: list[int], operations: int
) -> None:
    arguments = {"input_type_shape": shapes(*inputs), "output_type_shape": shapes(output)}
    assert operations_of(name, arguments) == operations


def test_a_view_moves_nothing_and_a_lookup_only_what_it_finds() -> None:
    arguments: dict[str, Any] = {
        "output_size": "10", "activation_size": "100", "parameter_size": "1000",
    }  # fmt: skip
    assert bytes_of("Add", arguments) == 1110
    assert bytes_of("Reshape", arguments) == 0
    assert bytes_of("Gather", arguments) == 20


def test_the_roof_is_the_slower_of_products_and_bytes() -> None:
    products = Work(4, 3000.0, {"fp32": 200_000_000, "int8": 800_000_000}, 1_000_000)
    copies = Work(2, 1000.0, {"fp32": 0, "int8": 0}, 3_000_000)
    work = GraphWork("encode", 2, 16.0, {"MatMul": products, "Add": copies})
    found = under_roof("x", work, Peak(1, {"fp32": 100.0, "int8": 400.0}, {"1": 1.0, "67": 0.5}))
    assert (found.ms, found.megabytes, found.bound) == (8.0, 2.0, "products")
    assert found.operations == {"fp32": 100.0, "int8": 400.0}
    assert found.roof_ms == pytest.approx(2.0)  # 2 ms for each kind of product, two formulas
    assert found.share == pytest.approx(0.25)
    slow = under_roof("x", work, Peak(1, {"fp32": 1e3, "int8": 4e3}, {"1": 0.25}))
    assert slow.roof_ms == pytest.approx(8.0)
    assert slow.bound == "bytes"
    first, second = dearest("x", work)
    assert (first.name, first.calls, first.ms, first.share) == ("MatMul", 2.0, 1.5, 0.75)
    assert second.name == "Add"


def test_a_profile_counts_what_the_graph_has(tiny_bundle: Bundle, formulas: list[Formula]) -> None:
    encode, step = profile_graphs(tiny_bundle, tiny_bundle.variant("onnxruntime"), 1, formulas[:2])
    assert encode.operators["AveragePool"].calls == 2
    steps = step.operators["LogSoftmax"].calls
    assert steps >= 2
    assert step.ms > 0
    # of each step the projections [1, 8] x [8, 24] and [1, 8] x [8, tokens] at least
    tokens = len(tiny_bundle.manifest.vocabulary)
    products = sum(each.operations["fp32"] for each in step.operators.values())
    assert products >= steps * 2 * 8 * (24 + tokens)


def test_a_roofline_of_a_bundle(tiny_bundle: Bundle, formulas: list[Formula]) -> None:
    own = Configuration("inktex", "onnxruntime", "fp32", 1, 1)
    found = measure_roofline(tiny_bundle, [own], formulas[:1])
    assert [each.threads for each in found.peaks] == [1]
    assert [each.stage for each in found.reached] == ["encode", "step"]
    assert all(0 < each.share < 2 for each in found.reached)
    assert {each.stage for each in found.operators} == {"encode", "step"}


def test_the_peaks_are_those_of_a_product_and_a_copy() -> None:
    found = measure_peak(1)
    assert set(found.products) == {"fp32", "int8"}
    assert set(found.copies) == {"1", "67"}
    assert min(*found.products.values(), *found.copies.values()) > 0
    size = numpy_helper.from_array(np.array([512, 512], np.int64), "size")
    for name, operator, given, output, weight in (
        ("product_fp32", "MatMul", TensorProto.FLOAT, TensorProto.FLOAT, np.float32(0.5)),
        ("product_int8", "MatMulInteger", TensorProto.UINT8, TensorProto.INT32, np.int8(3)),
    ):
        filled = numpy_helper.from_array(np.array([weight]))
        nodes = [
            helper.make_node("ConstantOfShape", ["size"], ["b"], value=filled),
            helper.make_node(operator, ["a", "b"], ["c"]),
        ]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("a", given, ["rows", 512])],
            [helper.make_tensor_value_info("c", output, ["rows", 512])],
            [size],
        )
        assert onnx.load(DATA / f"{name}.onnx").graph == graph
    [node] = onnx.load(DATA / "copy.onnx").graph.node
    assert node.op_type == "Identity"
