"""The weights in an exported ONNX graph, in float32 or INT8, as torch would hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RuntimeUnavailable

Array = NDArray[np.float32]

_QUANTIZED = "_quantized"
# what stands between a product and the sum with its bias once the graph is quantised
_BETWEEN = ("QuantizeLinear", "DequantizeLinear", "Cast", "Mul")


class Product(NamedTuple):
    """A convolution or a matrix product with constant weights, and the constant added to it.

    weight: [outputs, inputs, …]
    bias: [outputs], None where none is added
    weight_name, bias_name: what the graph calls them, which is the exporter's own invention where
        it has reshaped them; "" for no bias
    """

    weight: Array
    bias: Array | None
    weight_name: str
    bias_name: str
    node: str


class GraphWeights:
    """The constants of a graph, dequantised where they are of 8 bits.

    Knows what the exporters of torch and the quantisers of ONNX Runtime write: constants as
    initialisers; 8-bit ones behind `DequantizeLinear`, or as factors of `MatMulInteger`.

    Args:
        data: an ONNX file.

    Attributes:
        constants: float32 arrays by name.

    Raises:
        RuntimeUnavailable: the package `onnx` is not installed.
    """

    def __init__(self, data: bytes) -> None:
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise RuntimeUnavailable(
                "starting from a bundle needs the package onnx, which is not installed; "
                "pip install 'inktex[export]'"
            ) from error
        graph = onnx.load_from_string(data).graph
        self._nodes = list(graph.node)
        self._attributes = {
            id(node): {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            for node in self._nodes
        }
        self._raw: dict[str, NDArray[Any]] = {
            each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer
        }
        self._values: dict[str, Array] = {
            name: array.astype(np.float32)
            for name, array in self._raw.items()
            if array.dtype in (np.float32, np.float16)
        }
        self._names = {name: name for name in self._values}
        self._followers: dict[str, list[Any]] = {}
        for node in self._nodes:
            for name in node.input:
                self._followers.setdefault(name, []).append(node)
            if node.op_type == "DequantizeLinear" and node.input[0] in self._raw:
                axis = self._attributes[id(node)].get("axis", 1)
                arrays = [self._raw[name] for name in node.input]
                self._values[node.output[0]] = _dequantized(*arrays, axis=axis)
                self._names[node.output[0]] = node.input[0].removesuffix(_QUANTIZED)
        self.constants = {self._names[name]: array for name, array in self._values.items()}

    def products(self) -> Iterator[Product]:
        """Every product with constant weights, in the order of the graph."""
        for node in self._nodes:
            found = self._weight(node)
            if found is None:
                continue
            weight, name = found
            if node.op_type in ("Conv", "Gemm"):
                added = node.input[2] if len(node.input) > 2 else ""
            else:
                added = self._added(node.output[0])
            bias = self._values.get(added)
            yield Product(
                weight,
                None if bias is None else bias.reshape(-1),
                name,
                self._names.get(added, ""),
                node.name,
            )

    def _weight(self, node: Any) -> tuple[Array, str] | None:
        """The constant factor of a product as [outputs, inputs, …], and its name."""
        if node.op_type == "MatMulInteger":
            name = node.input[1].removesuffix(_QUANTIZED)
            arrays = [self._raw.get(each) for each in (node.input[1], f"{name}_scale")]
            if arrays[0] is None or arrays[1] is None:
                return None
            zero = self._raw[node.input[3]] if len(node.input) > 3 else np.zeros((), np.int8)
            return _dequantized(arrays[0], arrays[1], zero, axis=1).T, name
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            return None
        left, right = (self._values.get(name) for name in node.input[:2])
        if right is not None and node.op_type == "Conv":
            return right, self._names[node.input[1]]
        if right is not None and right.ndim == 2:
            as_torch = self._attributes[id(node)].get("transB", 0)
            return right if as_torch else right.T, self._names[node.input[1]]
        if left is not None and left.ndim == 2 and node.op_type == "MatMul":
            return left, self._names[node.input[0]]
        return None

    def _added(self, name: str) -> str:
        """The constant that is added to a tensor right after it was made, or ""."""
        while len(followers := self._followers.get(name, [])) == 1:
            [node] = followers
            if node.op_type == "Add":
                others = [each for each in node.input if each in self._values]
                return others[0] if others else ""
            if node.op_type not in _BETWEEN:
                break
            name = node.output[0]
        return ""


def _dequantized(
    quantized: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], *, axis: int
) -> Array:
    """(quantized - zero) * scale, both of which are one number, or one for each index of an axis"""
    shape = [1] * quantized.ndim
    if scale.size > 1:
        shape[axis] = -1
    exact = quantized.astype(np.float32) - zero.astype(np.float32).reshape(shape)
    values: Array = exact * scale.astype(np.float32).reshape(shape)
    return values
