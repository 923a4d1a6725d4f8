"""An ONNX graph as TensorRT likes it: half precision inside, whatever a GPU is asked to build."""

from __future__ import annotations

import onnx

from ..core.errors import ExportError
from ..core.quiet import quiet


def to_tensorrt(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, computed in float16 between inputs and outputs of the types they had.

    TensorRT takes precisions from the graph alone (TensorRT for RTX and TensorRT 11 know no other
    way, TensorRT 10 does so when asked), so that they stand in the file: what is proved of it with
    ONNX Runtime holds for every engine, up to rounding.

    Raises:
        ExportError: the graph cannot be written so, or TensorRT does not take it.
    """
    half = to_float16(with_all_cells(model))
    ask_the_parser(half)
    return half


def with_all_cells(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, whose shapes do not depend on what is in the images: what would choose the
    cells with ink chooses all, the others masked by the bias as ever."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    for node in model.graph.node:
        in_order = _all_in_order(*node.input, *node.output) if node.op_type == "NonZero" else [node]
        copy.graph.node.extend(in_order)
    return copy


def _all_in_order(mask: str, numbers: str) -> list[onnx.NodeProto]:
    """What gives `NonZero` of a mask [n], all of which is true."""
    make = onnx.helper.make_node
    zero, one, axes, count, row = (
        f"{numbers}_{part}" for part in ("zero", "one", "axes", "count", "row")
    )
    return [
        make("Constant", [], [zero], value_int=0),
        make("Constant", [], [one], value_int=1),
        make("Constant", [], [axes], value_ints=[0]),
        make("Size", [mask], [count]),
        make("Range", [zero, count, one], [row]),
        make("Unsqueeze", [row, axes], [numbers]),
    ]


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, computed in float16 between inputs and outputs of the types they had.

    Raises:
        ExportError: the graph cannot be written so.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with quiet():  # it tells that small weights become zero
        # the converter writes into the model that it is given, and leaves the casts unsorted
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        sorted_ = OnnxModel(convert_float_to_float16(copy, keep_io_types=True))
        sorted_.topological_sort()
    half: onnx.ModelProto = sorted_.model
    try:
        onnx.checker.check_model(half, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{model.graph.name} cannot be written in float16: {error}") from error
    return half


def ask_the_parser(model: onnx.ModelProto) -> None:
    """Where TensorRT is installed its parser is asked, node by node, whether it takes a graph; no
    GPU is needed for that.

    Raises:
        ExportError: it does not.
    """
    from ..runtimes.tensorrt_engines import parsed, tensorrt

    try:
        library = tensorrt()
    except ImportError:
        return
    parsed(library, model.SerializeToString(), model.graph.name)
