"""Does an ONNX graph reach further than it may? Answered without the onnx package.

A tensor of an ONNX graph may name another file, anywhere on the disk, that holds its data
(`TensorProto.external_data`); a runtime follows that name without a question. This module reads
protobuf's wire format (https://protobuf.dev/programming-guides/encoding) just far enough to visit
every tensor: initializers, sparse initializers, attributes of nodes, subgraphs, functions and
training graphs. What it does not understand it refuses, so that a file it passes cannot mean
something else to a laxer reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

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
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME = 1, 2, 8
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class ExternalTensor:
    """A tensor whose data lies in another file.

    Attributes:
        data_type: as ONNX numbers them (`TensorProto.DataType`).
        entries: where its data lies, as ONNX has it: "location", "offset", "length".
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    entries: tuple[tuple[str, str], ...]

    def within(self, holders: Mapping[str, int]) -> bool:
        """Whether it lies in one of some files, of so many bytes, from its first to its last."""
        # each once: of two a runtime might take the other
        if sorted(key for key, _ in self.entries) != ["length", "location", "offset"]:
            return False
        found = dict(self.entries)
        places = [found["offset"], found["length"]]
        return all(each.isascii() and each.isdigit() for each in places) and (
            sum(map(int, places)) <= holders.get(found["location"], -1)
        )

    def data(self, holders: Mapping[str, bytes]) -> memoryview:
        """Its bytes, where it is `within` these files."""
        found = dict(self.entries)
        first = int(found["offset"])
        return memoryview(holders[found["location"]])[first : first + int(found["length"])]


def check_self_contained(
    graph: bytes, name: str = "the graph", holders: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Pass an ONNX model whose tensors all lie inside `graph`, or wholly inside files that may hold
    them; refuse any other.

    Args:
        holders: those files, as the graph names them, and their sizes in bytes.

    Raises:
        BundleError: a tensor lies elsewhere, or `graph` is not an ONNX model.
    """
    for tensor in external_tensors(graph, name):
        if not tensor.within(holders):
            where = ", ".join(f"{key} {value!r}" for key, value in tensor.entries) or "nowhere"
            raise BundleError(
                f"{name}: expected a graph in one file, found the tensor {tensor.name!r} stored as "
                f"external data ({where}); export it again with external_data=False"
            )


def external_tensors(graph: bytes, name: str = "the graph") -> list[ExternalTensor]:
    """The tensors of an ONNX model that lie in other files.

    Raises:
        BundleError: it is no ONNX model.
    """
    found: list[ExternalTensor] = []
    found_graph = False
    waiting = [("Model", memoryview(graph))]  # a list, not recursion: nesting may be hostile
    while waiting:
        kind, message = waiting.pop()
        if kind == "Tensor":
            tensor = _external(message, name)
            found += [tensor] if tensor else []
            continue
        for number, _, value in _fields(message, name):
            child = _CHILDREN[kind].get(number)
            if child is not None:
                if not isinstance(value, memoryview):
                    raise _damaged(name)
                found_graph = found_graph or child == "Graph"
                waiting.append((child, value))
    if not found_graph:
        raise _damaged(name)
    return found


def _external(message: memoryview, name: str) -> ExternalTensor | None:
    """A TensorProto, where it says that its data lies in another file."""
    tensor, data_type, external = "", 0, False
    dims: list[int] = []
    entries: list[tuple[str, str]] = []
    for number, wire_type, value in _fields(message, name):
        if number == _TENSOR_NAME and isinstance(value, memoryview):
            tensor = bytes(value[:200]).decode("utf-8", "replace")
        elif number == _TENSOR_DIMS and isinstance(value, memoryview):  # packed
            at = 0
            while at < len(value):
                size, at = _varint(value, at, name)
                dims.append(size)
        elif number == _TENSOR_DIMS and isinstance(value, int):
            dims.append(value)
        elif number == _TENSOR_DATA_TYPE and isinstance(value, int):
            data_type = value
        elif number == _TENSOR_EXTERNAL_DATA:
            external = True
            if not isinstance(value, memoryview):
                raise _damaged(name)
            entries.append(_entry(value, name))
        elif number == _TENSOR_DATA_LOCATION:
            external = external or wire_type != _VARINT or value != 0
    if not external:
        return None
    return ExternalTensor(tensor, data_type, tuple(dims), tuple(entries))


def _entry(message: memoryview, name: str) -> tuple[str, str]:
    """A StringStringEntryProto: a key and its value."""
    found = {_ENTRY_KEY: "", _ENTRY_VALUE: ""}
    for number, _, value in _fields(message, name):
        if number not in found or not isinstance(value, memoryview):
            raise _damaged(name)
        found[number] = bytes(value[:200]).decode("utf-8", "replace")
    return found[_ENTRY_KEY], found[_ENTRY_VALUE]


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
