"""Does an ONNX graph reach outside its own file? Answered without the onnx package.

A tensor of an ONNX graph may name another file, anywhere on the disk, that holds its data
(`TensorProto.external_data`); a runtime follows that name without a question. This module reads
protobuf's wire format (https://protobuf.dev/programming-guides/encoding) just far enough to visit
every tensor: initializers, sparse initializers, attributes of nodes, subgraphs, functions and
training graphs. What it does not understand it refuses, so that a file it passes cannot mean
something else to a laxer reader.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import BundleError

# Message -> {field number: message of that field}, from onnx/onnx.proto.
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "Function": {7: "Node", 11: "Attribute"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_self_contained(graph: bytes, name: str = "the graph") -> None:
    """Pass an ONNX model whose tensors all lie inside `graph`, refuse any other.

    Raises:
        BundleError: a tensor lies in another file, or `graph` is not an ONNX model.
    """
    found_graph = False
    waiting = [("Model", memoryview(graph))]  # a list, not recursion: nesting may be hostile
    while waiting:
        kind, message = waiting.pop()
        tensor, external = "", False
        for number, wire_type, value in _fields(message, name):
            child = _CHILDREN[kind].get(number)
            if child is not None:
                if not isinstance(value, memoryview):
                    raise _damaged(name)
                found_graph = found_graph or child == "Graph"
                waiting.append((child, value))
            elif kind == "Tensor" and number == _TENSOR_NAME and isinstance(value, memoryview):
                tensor = bytes(value[:80]).decode("utf-8", "replace")
            elif kind == "Tensor" and number == _TENSOR_EXTERNAL_DATA:
                external = True
            elif kind == "Tensor" and number == _TENSOR_DATA_LOCATION:
                external = external or wire_type != _VARINT or value != 0
        if external:
            raise BundleError(
                f"{name}: expected a graph in one file, found the tensor {tensor!r} stored as "
                "external data; export it again with external_data=False"
            )
    if not found_graph:
        raise _damaged(name)


def _fields(message: memoryview, name: str) -> Iterator[tuple[int, int, int | memoryview]]:
    """(field number, wire type, value) of each field; fixed-size values come as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at, name)
        number, wire_type = key >> 3, key & 7
        if number == 0 or key >= 1 << 32:
            raise _damaged(name)
        if wire_type == _VARINT:
            value, at = _varint(message, at, name)
            yield number, wire_type, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(message, at, name)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:  # groups: deprecated, and never written for ONNX
            raise _damaged(name)
        if size > len(message) - at:
            raise _damaged(name)
        yield number, wire_type, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int, name: str) -> tuple[int, int]:
    """The number that starts at `at`, and where the next thing starts."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _damaged(name)


def _damaged(name: str) -> BundleError:
    return BundleError(
        f"{name}: expected an ONNX model, found bytes that are none; "
        "the file is damaged or of another kind: export it again"
    )
