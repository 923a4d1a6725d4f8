"""Weights that two graphs of a bundle share, held by one of their files.

ONNX lets a tensor lie in another file, from a byte to a byte (`TensorProto.external_data`): here
in the very file of another graph, which holds the same weights for itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import numpy_helper

from ..core.external_data import external_tensors

_LEAST_BYTES = 256  # less is not worth an entry


def sharing(model: onnx.ModelProto, holder: bytes, location: str) -> onnx.ModelProto:
    """The graph without the weights that another file has, byte by byte, too.

    Args:
        holder: the contents of that file.
        location: its name, as seen from where the graph will lie.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        data = numpy_helper.to_array(tensor).tobytes()
        offset = holder.find(data) if len(data) >= _LEAST_BYTES else -1
        if offset < 0:
            continue
        for name in ("raw_data", "float_data", "int32_data", "int64_data"):
            tensor.ClearField(name)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": location, "offset": str(offset), "length": str(len(data))}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
    return result


def whole(graph: bytes, holders: Mapping[str, bytes]) -> onnx.ModelProto:
    """The graph with all its weights.

    Args:
        graph: one that a bundle has passed (`core.external_data`).
        holders: the files that hold its weights, by the names it has for them.
    """
    model = onnx.load_from_string(graph)
    elsewhere = {each.name: each for each in external_tensors(graph)}
    for tensor in model.graph.initializer:
        if tensor.name in elsewhere:
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = bytes(elsewhere[tensor.name].data(holders))
    return model
