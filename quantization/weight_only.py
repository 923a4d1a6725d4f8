"""ONNX graphs whose weights alone are of few bits: small to download, and as fast as float32.

The weights become float32 again when a runtime loads the graph, by operators as old as the graph
itself, which every runtime folds into constants. OpenVINO keeps those of 8 bits as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .onnx_int8 import layers_of

OPERATORS = ("Conv", "MatMul", "Gemm")
BLOCK = 32
"""Weights of 4 bits that share a scale."""
_LEAST = 1024  # fewer weights are not worth their operators
_SHARES = np.linspace(0.7, 1.0, 16)


def weights8(model: onnx.ModelProto, kept: Collection[str] = ()) -> onnx.ModelProto:
    """Weights of 8 bits with a scale for each output channel.

    Args:
        kept: layers, as `layers_of` names them, that stay in float32.
    """
    return _rewritten(model, kept, _eight)


def weights4(model: onnx.ModelProto, kept: Collection[str] = ()) -> onnx.ModelProto:
    """Weights of 4 bits, two in a byte, with a scale for every 32; each scale loses the least
    squared error.

    Args:
        kept: layers, as `layers_of` names them, that stay in float32.
    """
    return _rewritten(model, kept, _four)


@dataclass
class _Parts:
    """What takes the place of a weight: constants, and nodes that make it of them."""

    name: str
    constants: list[onnx.TensorProto] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def constant(self, array: NDArray[np.generic]) -> str:
        name = f"{self.name}.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self.name}.{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def end(self) -> None:
        """The last node gives the weight."""
        self.nodes[-1].output[0] = self.name


Rewrite = Callable[[_Parts, NDArray[np.float32], int], None]
"""A weight and its axis of outputs -> its parts."""


def _rewritten(model: onnx.ModelProto, kept: Collection[str], rewrite: Rewrite) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    arrays = {each.name: each for each in graph.initializer}
    parts = []
    for name, axis in _weights(result, kept):
        part = _Parts(name)
        rewrite(part, numpy_helper.to_array(arrays[name]), axis)
        part.end()
        parts.append(part)
    gone = {part.name for part in parts}
    left = [each for each in graph.initializer if each.name not in gone]
    nodes = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*left, *(each for part in parts for each in part.constants)])
    graph.node.extend([*(each for part in parts for each in part.nodes), *nodes])
    onnx.checker.check_model(result)
    return result


def _weights(model: onnx.ModelProto, kept: Collection[str]) -> Iterator[tuple[str, int]]:
    """Names of the weights to quantise, with their axis of outputs (of a table: of rows)."""
    layers = layers_of(model, OPERATORS)
    left = {layers[layer] for layer in kept if layer in layers}
    sizes = {each.name: list(each.dims) for each in model.graph.initializer
             if each.data_type == onnx.TensorProto.FLOAT}  # fmt: skip
    axes: dict[str, int] = {}
    refused: set[str] = set()
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            if name not in sizes or len(sizes[name]) < 2 or np.prod(sizes[name]) < _LEAST:
                continue
            if node.op_type == "Gather" and number == 0:
                axis = 0
            elif node.op_type in OPERATORS and number == 1 and node.name not in left:
                transposed = any(each.name == "transB" and each.i for each in node.attribute)
                axis = 0 if node.op_type == "Conv" or transposed else 1
            else:
                refused.add(name)
                continue
            axes[name] = axis
    yield from ((name, axis) for name, axis in axes.items() if name not in refused)


def _eight(parts: _Parts, weight: NDArray[np.float32], axis: int) -> None:
    others = tuple(each for each in range(weight.ndim) if each != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    codes = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
    exact = parts.node("Cast", parts.constant(codes), to=onnx.TensorProto.FLOAT)
    parts.node("Mul", exact, parts.constant(scale))


def _four(parts: _Parts, weight: NDArray[np.float32], axis: int) -> None:
    first = np.moveaxis(weight, axis, 0)
    flat = np.ascontiguousarray(first).reshape(-1)
    blocks = np.pad(flat, (0, -flat.size % (2 * BLOCK))).reshape(-1, BLOCK)
    scale = _scales(blocks)
    codes = (np.clip(np.round(blocks / scale), -8, 7) + 8).astype(np.uint8).reshape(2, -1)
    packed = parts.constant(codes[0] | codes[1] << 4)
    low = parts.node("BitwiseAnd", packed, parts.constant(np.array(15, np.uint8)))
    high = parts.node("BitShift", packed, parts.constant(np.array(4, np.uint8)), direction="RIGHT")
    both = parts.node("Concat", low, high, axis=0)
    number = parts.node("Cast", both, to=onnx.TensorProto.FLOAT)
    signed = parts.node("Sub", number, parts.constant(np.array(8, np.float32)))
    rows = parts.node("Reshape", signed, parts.constant(np.array([-1, BLOCK])))
    exact = parts.node("Cast", parts.constant(scale.astype(np.float16)), to=onnx.TensorProto.FLOAT)
    values = parts.node("Mul", rows, exact)
    every = parts.node("Reshape", values, parts.constant(np.array([-1])))
    whole = parts.node(
        "Slice", every, parts.constant(np.array([0])), parts.constant(np.array([flat.size]))
    )
    shaped = parts.node("Reshape", whole, parts.constant(np.array(first.shape)))
    order = list(np.argsort([axis, *(each for each in range(weight.ndim) if each != axis)]))
    parts.node("Transpose", shaped, perm=[int(each) for each in order])


def _scales(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """For every row the scale, as float16 holds it, that loses the least squared error."""
    # the greatest in absolute value becomes -8, which has no counterpart
    rows = np.arange(len(blocks))
    most = -blocks[rows, np.abs(blocks).argmax(axis=1)] / 8
    most = np.where(np.abs(most) < 1e-6, 1e-6, most)
    best = np.zeros_like(most)
    least = np.full(len(blocks), np.inf, np.float32)
    for share in _SHARES:
        scale = (most * share).astype(np.float16).astype(np.float32)
        scale = np.where(scale == 0, np.float32(1e-7), scale)
        codes = np.clip(np.round(blocks / scale[:, None]), -8, 7)
        error = ((codes * scale[:, None] - blocks) ** 2).sum(axis=1)
        better = error < least
        best, least = np.where(better, scale, best), np.where(better, error, least)
    return best[:, None].astype(np.float32)
