from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from inktex.core.errors import BundleError
from inktex.core.external_data import check_self_contained


def tensor(name: str = "weights") -> TensorProto:
    return numpy_helper.from_array(np.arange(6, dtype=np.float32), name)


def external(location: str = "../../secret.bin") -> TensorProto:
    """A tensor whose data lies in another file."""
    found = tensor("outside")
    found.ClearField("raw_data")
    found.data_location = TensorProto.EXTERNAL
    entry = found.external_data.add()
    entry.key, entry.value = "location", location
    return found


def model(*initializers: TensorProto, **constant: Any) -> onnx.ModelProto:
    """A graph with initializers, and a Constant node with the attribute given."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    if constant:
        nodes.append(helper.make_node("Constant", [], ["c"], **constant))
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    return helper.make_model(helper.make_graph(nodes, "g", [value], [result], list(initializers)))


def in_subgraph() -> onnx.ModelProto:
    nothing = helper.make_graph([], "branch", [], [], [external()])
    return model(then_branch=nothing)


def in_function() -> onnx.ModelProto:
    found = model()
    node = helper.make_node("Constant", [], ["c"], value=external())
    found.functions.append(
        helper.make_function("own", "F", [], ["c"], [node], [helper.make_opsetid("", 18)])
    )
    return found


def in_function_default() -> onnx.ModelProto:
    found = in_function()
    del found.functions[0].node[:]
    found.functions[0].attribute_proto.append(helper.make_attribute("value", external()))
    return found


def in_sparse_initializer() -> onnx.ModelProto:
    found = model()
    sparse = found.graph.sparse_initializer.add()
    sparse.values.CopyFrom(external())
    return found


def in_training() -> onnx.ModelProto:
    found = model()
    found.training_info.add().algorithm.initializer.append(external())
    return found


def only_named() -> onnx.ModelProto:
    """The location is there, though the flag that makes it count is not."""
    outside = external()
    outside.data_location = TensorProto.DEFAULT
    return model(outside)


def only_flagged() -> onnx.ModelProto:
    outside = tensor()
    outside.data_location = TensorProto.EXTERNAL
    return model(outside)


def test_a_graph_in_one_file_passes() -> None:
    full = model(tensor(), value=tensor())
    full.graph.initializer.append(helper.make_tensor("floats", TensorProto.FLOAT, [2], [1.0, 2.0]))
    full.graph.initializer.append(helper.make_tensor("ints", TensorProto.INT64, [2], [-1, 1 << 62]))
    full.graph.initializer.append(helper.make_tensor("double", TensorProto.DOUBLE, [1], [0.5]))
    full.graph.initializer[0].data_location = TensorProto.DEFAULT
    check_self_contained(full.SerializeToString())


@pytest.mark.parametrize(
    "graph",
    [
        model(tensor(), external("weights.bin")),
        model(external("/etc/passwd")),
        model(external("*/_ORT_MEM_ADDR_/*")),
        model(value=external()),
        in_subgraph(),
        in_function(),
        in_function_default(),
        in_sparse_initializer(),
        in_training(),
        only_named(),
        only_flagged(),
    ],
    ids=lambda graph: "",
)
def test_external_data_is_refused_wherever_it_hides(graph: onnx.ModelProto) -> None:
    with pytest.raises(BundleError, match=r"step\.onnx: expected a graph in one file.*external"):
        check_self_contained(graph.SerializeToString(), "step.onnx")


def held(**entries: str) -> onnx.ModelProto:
    """A graph with a tensor of so many bytes in another file."""
    outside = tensor()
    outside.ClearField("raw_data")
    outside.ClearField("float_data")
    outside.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        outside.external_data.add(key=key, value=value)
    return model(outside)


def test_a_file_that_may_hold_weights_holds_them() -> None:
    graph = held(location="step.onnx", offset="90", length="10").SerializeToString()
    check_self_contained(graph, "tree.onnx", {"step.onnx": 100})
    with pytest.raises(BundleError, match=r"tree\.onnx: .*location 'step\.onnx'"):
        check_self_contained(graph, "tree.onnx")


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "step.onnx", "offset": "91", "length": "10"},
        {"location": "step.onnx", "offset": "-1", "length": "10"},
        {"location": "step.onnx", "offset": "0", "length": "1e1"},
        {"location": "step.onnx", "offset": "0", "length": "\u0661"},
        {"location": "step.onnx", "offset": "0"},
        {"location": "step.onnx", "length": "10"},
        {"location": "../step.onnx", "offset": "0", "length": "10"},
        {"location": "other.onnx", "offset": "0", "length": "10"},
        {"location": "step.onnx", "offset": "0", "length": "10", "checksum": "0"},
        {},
    ],
)
def test_what_reaches_past_the_file_that_holds_weights_is_refused(entries: dict[str, str]) -> None:
    with pytest.raises(BundleError, match="external data"):
        check_self_contained(held(**entries).SerializeToString(), "t", {"step.onnx": 100})


@pytest.mark.parametrize("place", [0, 3])
def test_a_second_location_is_refused(place: int) -> None:
    graph = held(location="step.onnx", offset="0", length="10")
    entries = graph.graph.initializer[0].external_data
    other = onnx.StringStringEntryProto(key="location", value="/etc/passwd")
    kept = [*entries]
    del entries[:]
    entries.extend([*kept[:place], other, *kept[place:]])
    with pytest.raises(BundleError, match="/etc/passwd"):
        check_self_contained(graph.SerializeToString(), "t", {"step.onnx": 100})


def test_a_second_graph_field_is_read_too() -> None:
    # protobuf merges a field that comes twice; so the second must not go unseen
    twice = model(tensor()).SerializeToString() + model(external()).SerializeToString()
    with pytest.raises(BundleError, match="'outside'"):
        check_self_contained(twice)


def test_deep_nesting_is_no_recursion() -> None:
    graph = helper.make_graph([], "g", [], [], [external()]).SerializeToString()

    def field(number: int, content: bytes) -> bytes:
        size, length = b"", len(content)
        while length > 0x7F:
            size += bytes([length & 0x7F | 0x80])
            length >>= 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + content

    for _ in range(3000):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    with pytest.raises(BundleError, match="external data"):
        check_self_contained(field(7, graph))


@pytest.mark.parametrize(
    "data",
    [b"", b"not a graph", b"PK\x03\x04", b"\x00" * 64, b"\x18\x00\x00\x00ORTM\x00\x00\x00\x00"],
)
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="damaged or of another kind"):
        check_self_contained(data)


@given(st.data())
def test_damaged_graphs_raise_nothing_but_bundle_errors(data: st.DataObject) -> None:
    graph = bytearray(model(tensor(), external(), value=tensor()).SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        graph[data.draw(st.integers(0, len(graph) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(graph)))
    try:
        check_self_contained(bytes(graph[:size]))
    except BundleError:
        return
    # What passes must not read as external data to protobuf either.
    try:
        parsed = onnx.load_from_string(bytes(graph[:size]))
    except Exception:
        return
    assert not any(
        each.external_data or each.data_location == TensorProto.EXTERNAL
        for each in parsed.graph.initializer
    )
