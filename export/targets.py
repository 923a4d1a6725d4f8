"""What a bundle can be made for: each target's files from the same two ONNX graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import onnx

from ..core.errors import ExportError
from ..core.interface import GraphSpec, Interface
from ..core.manifest import Variant
from .to_openvino import to_openvino
from .to_ort import to_ort

Files = dict[str, bytes]


class OnnxGraphs(NamedTuple):
    """The two graphs of a recognizer in float32, and what they take and give."""

    encoder: onnx.ModelProto
    step: onnx.ModelProto
    interface: Interface


def _onnx(graphs: OnnxGraphs) -> tuple[Variant, Files]:
    """For ONNX Runtime."""
    variant = Variant("onnxruntime", "fp32", "encoder.fp32.onnx", "step.fp32.onnx")
    return variant, {
        variant.encoder: graphs.encoder.SerializeToString(),
        variant.step: graphs.step.SerializeToString(),
    }


def _openvino(graphs: OnnxGraphs) -> tuple[Variant, Files]:
    """For OpenVINO: a folder for each graph."""
    variant = Variant("openvino", "fp32", "encoder.fp32.openvino", "step.fp32.openvino")
    parts: list[tuple[str, onnx.ModelProto, GraphSpec]] = [
        (variant.encoder, graphs.encoder, graphs.interface.encoder),
        (variant.step, graphs.step, graphs.interface.step),
    ]
    return variant, {
        f"{name}/{file}": data
        for name, model, spec in parts
        for file, data in to_openvino(model, spec).items()
    }


def _ort(graphs: OnnxGraphs) -> tuple[Variant, Files]:
    """For ONNX Runtime Mobile."""
    variant = Variant("ort", "fp32", "encoder.fp32.ort", "step.fp32.ort")
    return variant, {variant.encoder: to_ort(graphs.encoder), variant.step: to_ort(graphs.step)}


TARGETS: dict[str, Callable[[OnnxGraphs], tuple[Variant, Files]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "ort": _ort,
}


def variants_for(
    names: Sequence[str], graphs: OnnxGraphs
) -> tuple[tuple[Variant, ...], dict[str, bytes]]:
    """The variants for some targets, in their order, and all their files.

    Raises:
        ExportError: there is no such target, or it cannot take the graphs.
        RuntimeUnavailable: what a target needs to be made is not installed.
    """
    unknown = [name for name in names if name not in TARGETS]
    if unknown or not names:
        raise ExportError(
            f"expected targets out of {', '.join(TARGETS)}, found {', '.join(unknown) or 'none'}"
        )
    variants: list[Variant] = []
    files: Files = {}
    for name in dict.fromkeys(names):
        variant, made = TARGETS[name](graphs)
        variants.append(variant)
        files |= made
    return tuple(variants), files
