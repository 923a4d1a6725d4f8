"""ONNX graphs in 8 bits: activations and weights (static), or weights while it runs (dynamic)."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..core.errors import QuantizationError
from ..core.quiet import quiet
from ..training.graph_weights import GraphWeights
from .ranges import Range

STATIC_OPERATORS = ("Conv", "MatMul")
"""Not `Add`: with the residual stream in float32 less is lost, at the same speed."""
DYNAMIC_OPERATORS = ("MatMul", "Gemm")
"""Quantised element-wise operators are slower than in float."""
QUANTIZED_OPERATORS = frozenset(
    (
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
        *("ConvInteger", "QLinearConv", "QLinearMatMul", "MatMulNBits"),
    )
)
_STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Scheme:
    """How a runtime wants the activations of a static graph; weights are signed, per channel.

    Attributes:
        activations: their type.
        symmetric: around 0, without zero points.
        inputs_only: whether only what goes into a product is quantised, not what comes out.
        weight_bits: 8, or 7 for runtimes that on x86 without VNNI add two products in 16 bits,
            where those of 8 bits are cut off.
    """

    activations: QuantType
    symmetric: bool = False
    inputs_only: bool = False
    weight_bits: int = 8

    @property
    def name(self) -> str:
        """For people and reports: "static U8S8"."""
        sign = "U8" if self.activations == QuantType.QUInt8 else "S8"
        return f"static {sign}S{self.weight_bits}" + (", symmetric" if self.symmetric else "")


UNSIGNED = Scheme(QuantType.QUInt8)
"""What ONNX Runtime multiplies fast on x86; `onnx_session.session_options` has it exact."""
NARROW = Scheme(QuantType.QUInt8, weight_bits=7)
"""The same for its own format, of which it cannot be told so any more."""
SIGNED = Scheme(QuantType.QInt8)
"""What it multiplies fast on Arm."""
UNSIGNED_INPUTS = Scheme(QuantType.QUInt8, inputs_only=True, weight_bits=7)
"""What OpenVINO multiplies fast, and loses least by: all 256 levels for what is never negative."""
SYMMETRIC = Scheme(QuantType.QInt8, symmetric=True, inputs_only=True)
"""What TensorRT takes: of what is never negative, 128 levels."""


def prepared(graph: bytes) -> onnx.ModelProto:
    """A graph with constants folded and shapes known, as the quantisers want it."""
    with _folder(graph) as folder:
        # shapes are symbolic, so only what the optimiser folds is wanted
        quant_pre_process(folder / "graph.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        return onnx.load(folder / "prepared.onnx")


def check_operators(graph: bytes, name: str) -> None:
    """See that a graph can be quantised before time is spent on it.

    Raises:
        QuantizationError: it is quantised already, or has an operator of another domain than
            ONNX's own, or one that ONNX does not know; the message names it.
    """
    model = onnx.load_from_string(graph)
    [version] = [each.version for each in model.opset_import if each.domain in _STANDARD_DOMAINS]
    for node in model.graph.node:
        told = f"{name}: the operator {node.op_type} ({node.name or node.output[0]})"
        if node.op_type in QUANTIZED_OPERATORS:
            raise QuantizationError(
                f"{told}: expected a graph in float32, found one that is quantised already; "
                "quantise the bundle that `inktex export` wrote"
            )
        if node.domain not in _STANDARD_DOMAINS or not onnx.defs.has(node.op_type, version):
            raise QuantizationError(
                f"{told}: expected the operators of ONNX {version}, found one of the domain "
                f"{node.domain or 'ai.onnx'!r} that the quantised runtimes reject; export the "
                "recognizer without it"
            )


def layers_of(model: onnx.ModelProto, operators: Collection[str]) -> dict[str, str]:
    """The products with a constant right factor, as the network calls them ("encoder.stem.0.0"),
    or as the graph does where the exporter has lost that name -> names of their nodes."""
    constants = {tensor.name for tensor in model.graph.initializer}
    fitting = {
        node.name
        for node in model.graph.node
        if node.op_type in operators and node.input[1] in constants
    }
    found: dict[str, str] = {}
    for product in GraphWeights(model.SerializeToString()).products():
        if product.node in fitting:
            names = [each for each in (product.weight_name, product.bias_name) if "." in each]
            layer = names[0].removeprefix("network.").rpartition(".")[0] if names else product.node
            found[product.node if layer in found else layer] = product.node
    return found


def static_int8(
    model: onnx.ModelProto, ranges: Mapping[str, Range], scheme: Scheme, kept: Collection[str] = ()
) -> onnx.ModelProto:
    """A graph with 8-bit activations and signed weights of 8 bits or 7, as Q/DQ.

    Args:
        model: by `prepared`, with one input.
        ranges: of all tensors before and behind its products.
        kept: layers, as `layers_of` names them, that stay in float32.

    Raises:
        QuantizationError: the model has no such layer.
    """
    nodes = _nodes(model, STATIC_OPERATORS, kept)
    if not nodes:
        return model
    products = {name for node in model.graph.node if node.name in nodes for name in node.output}
    # a ReLU behind a product is the range of what comes out: left in, it would be one more rounding
    # wherever two look at it
    rectifiers = [
        node.name
        for node in model.graph.node
        if node.op_type == "Relu" and node.input[0] in products and node.output[0] in ranges
    ]
    overrides = {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for name, (low, high) in ranges.items()
    }
    options = {
        "TensorQuantOverrides": overrides,
        "ActivationSymmetric": scheme.symmetric,
        "WeightSymmetric": True,
        "QuantizeBias": not scheme.symmetric,
    }
    if scheme.inputs_only:
        options["OpTypesToExcludeOutputQuantization"] = list(STATIC_OPERATORS)
    with _folder(model.SerializeToString()) as folder:
        quantize_static(
            folder / "graph.onnx",
            folder / "int8.onnx",
            # the ranges are known; one image is what the tool insists on
            _OneImage(model.graph.input[0]),
            quant_format=QuantFormat.QDQ,
            activation_type=scheme.activations,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=scheme.weight_bits == 7,
            op_types_to_quantize=[*STATIC_OPERATORS, "Relu"],
            nodes_to_quantize=[*nodes, *rectifiers],
            extra_options=options,
        )
        return onnx.load(folder / "int8.onnx")


def dynamic_int8(
    model: onnx.ModelProto,
    kept: Collection[str] = (),
    operators: Collection[str] = DYNAMIC_OPERATORS,
    weight_bits: int = 8,
) -> onnx.ModelProto:
    """A graph whose weights are 8-bit, and whose activations become so while it runs; tables of
    which rows are taken have 16 bits.

    Args:
        model: not yet quantised.
        kept: layers, as `layers_of` names them, that stay in float32.
        operators: types to quantise.
        weight_bits: as a `Scheme` has it.

    Raises:
        QuantizationError: the model has no such layer.
    """
    nodes = _nodes(model, operators, kept)
    if not nodes:
        return model
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    with _folder(bare.SerializeToString()) as folder:
        quantize_dynamic(
            folder / "graph.onnx",
            folder / "int8.onnx",
            op_types_to_quantize=list(operators),
            # the tool takes a `Gemm` apart, and gives the product in it a name of its own
            nodes_to_quantize=[*nodes, *(f"{node}_MatMul" for node in nodes)],
            per_channel=True,
            reduce_range=weight_bits == 7,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return with_half_tables(onnx.load(folder / "int8.onnx"))


def with_half_tables(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with float32 tables that `Gather` alone reads (an embedding, say) in float16:
    half of the size, and a row is soon widened."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    others = {name for node in model.graph.node if node.op_type != "Gather" for name in node.input}
    tables = {
        tensor.name: tensor
        for tensor in copy.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and len(tensor.dims) == 2
        and tensor.name not in others
    }
    for name, tensor in tables.items():
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, name))
    del copy.graph.node[:]
    for node in model.graph.node:
        taken = copy.graph.node.add()
        taken.CopyFrom(node)
        if node.op_type == "Gather" and node.input[0] in tables:
            taken.output[0] += "_half"
            widened = onnx.helper.make_node(
                "Cast", taken.output, node.output, to=onnx.TensorProto.FLOAT
            )
            copy.graph.node.append(widened)
    return copy


def _nodes(model: onnx.ModelProto, operators: Collection[str], kept: Collection[str]) -> list[str]:
    """The nodes to quantise: all but those of the layers that are kept."""
    known = layers_of(model, operators)
    unknown = sorted(set(kept) - set(known))
    if unknown:
        raise QuantizationError(
            f"expected layers out of {', '.join(known)}, found {', '.join(unknown)}"
        )
    return [node for layer, node in known.items() if layer not in kept]


class _OneImage(CalibrationDataReader):  # type: ignore[misc]
    """Blank paper, in the form that ONNX Runtime's tool reads."""

    def __init__(self, images: onnx.ValueInfoProto) -> None:
        channels = images.type.tensor_type.shape.dim[1].dim_value
        blank: dict[str, NDArray[np.float32]] = {
            images.name: np.zeros((1, channels, 64, 64), np.float32)
        }
        self._inputs: Iterator[dict[str, NDArray[np.float32]]] = iter([blank])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


@contextmanager
def _folder(graph: bytes) -> Iterator[Path]:
    """A folder for a while with `graph.onnx` in it: ONNX Runtime's tools work on files, and warn of
    what they themselves ask for."""
    with quiet(), tempfile.TemporaryDirectory(prefix="inktex-") as place:
        folder = Path(place)
        (folder / "graph.onnx").write_bytes(graph)
        yield folder
