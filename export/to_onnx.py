"""A module to one self-contained ONNX file, with its interface written into it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ..core.errors import ExportError
from ..core.interface import GraphSpec
from ..core.quiet import quiet

OPSET = 18
"""The newest that all runtimes here, ONNX Runtime Mobile and TensorRT 10 among them, read."""


def to_onnx(module: nn.Module, examples: Mapping[str, Tensor], spec: GraphSpec) -> onnx.ModelProto:
    """Trace a module and check that the graph has the interface that was asked for.

    Args:
        module: takes its inputs by position, in the order of `spec.inputs`.
        examples: an example of every input. Sizes of dynamic axes must differ from 1, or they
            would be frozen.
        spec: names, dtypes and axes; a string is the name of a dynamic axis.

    Raises:
        ExportError: torch cannot trace the module with these axes dynamic, or a name, dtype or
            axis came out different, or a constant was put outside.
    """
    axes: dict[str, Any] = {}

    def dynamic(shape: tuple[int | str, ...]) -> dict[int, Any]:
        for name in shape:
            if isinstance(name, str) and name not in axes:
                axes[name] = torch.export.Dim.DYNAMIC
        return {i: axes[name] for i, name in enumerate(shape) if isinstance(name, str)}

    shapes = {each.name: dynamic(each.shape) for each in spec.inputs}
    try:
        with quiet():
            program = torch.onnx.export(
                module.eval(),
                tuple(examples[each.name] for each in spec.inputs),
                dynamo=True,
                opset_version=OPSET,
                input_names=[each.name for each in spec.inputs],
                output_names=[each.name for each in spec.outputs],
                dynamic_shapes=by_parameter(module, list(shapes.values())),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).partition("## Exception summary")[2].strip() or str(error)
        raise ExportError(
            f"torch cannot write {type(module).__name__} as ONNX: {reason}"
        ) from error
    assert program is not None
    model = program.model_proto
    _name_axes(model, spec)
    check_interface(model, spec)
    documentation = {
        each.name: {"dtype": each.dtype, "shape": each.shape}
        for each in (*spec.inputs, *spec.outputs)
    }
    onnx.helper.set_model_props(model, {"inktex.tensors": json.dumps(documentation)})
    model.doc_string = (module.__doc__ or "").strip()
    _without_traces(model)
    onnx.checker.check_model(model)
    return model


def by_parameter(module: nn.Module, shapes: list[dict[int, Any]]) -> tuple[Any, ...]:
    """The axes of every input, those that `*tensors` takes together as one tuple."""
    parameters = inspect.signature(module.forward).parameters.values()
    alone = sum(each.kind is not inspect.Parameter.VAR_POSITIONAL for each in parameters)
    together = (tuple(shapes[alone:]),) if alone < len(parameters) else ()
    return (*shapes[:alone], *together)


def check_interface(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Compare a graph with the interface it should have.

    Raises:
        ExportError: a name, dtype or axis differs, or data lies outside the file.
    """
    for wanted, found in ((spec.inputs, model.graph.input), (spec.outputs, model.graph.output)):
        names = [each.name for each in found]
        if names != [each.name for each in wanted]:
            raise ExportError(f"expected tensors {[each.name for each in wanted]}, found {names}")
        for each, value in zip(wanted, found, strict=True):
            kind = value.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
            shape = tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim)
            if dtype != each.dtype or shape != each.shape:
                raise ExportError(
                    f"{each.name}: expected {each.dtype} {list(each.shape)}, found {dtype} "
                    f"{list(shape)}; an axis frozen in tracing wants an example size above 1"
                )
    outside = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    if outside:
        raise ExportError(f"expected all weights in one file, found outside: {outside[:3]}")


def _name_axes(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Give dynamic axes the names of the interface, where tracing kept them dynamic."""
    wanted = {each.name: each.shape for each in (*spec.inputs, *spec.outputs)}
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(
            value.type.tensor_type.shape.dim, wanted.get(value.name, ()), strict=False
        ):
            if isinstance(name, str) and not axis.HasField("dim_value"):
                axis.dim_param = name
    # what shape inference said of the tensors between knows the axes by other names
    del model.graph.value_info[:]


def _without_traces(model: onnx.ModelProto) -> None:
    """Drop stack traces and other notes of the exporter: half of a step graph's bytes."""
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
