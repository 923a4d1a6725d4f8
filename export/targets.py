"""What a bundle can be made for: each target's files from the same recognizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import onnx
import torch
from torch import nn

from ..core.errors import ExportError
from ..core.interface import GraphSpec, Interface
from ..core.manifest import Variant
from ..training.recognizer import STRIDE, Recognizer
from .graphs import EncoderGraph, KeepingStepGraph, StepGraph
from .shared_weights import sharing
from .to_coreml import IMAGE_SIZES, to_coreml
from .to_executorch import to_executorch
from .to_openvino import to_openvino
from .to_ort import to_ort
from .to_tensorrt import to_tensorrt

Files = dict[str, bytes]

LIMITS = {"batch": 1, "height": 384, "width": 2048, "cells": 2048, "beams": 10}
"""The greatest sizes of the dynamic axes, where a target wants them declared. ExecuTorch plans its
memory for them, whatever is read: the encoder's 154 MB were 411 with a height of 1024. No formula
is drawn wider than this; none of CROHME's is higher than 352 pixels or has more than 708 cells with
ink, which are far fewer than cells. A batch would multiply all of it."""


class GraphSource(NamedTuple):
    """What targets are made from, in float32.

    encoder, step: the two graphs of a recognizer
    interface: what they take and give
    longest: tokens that can be written
    network: the recognizer itself, for targets that want torch's view of it
    tree: the third graph, where there is one
    """

    encoder: onnx.ModelProto
    step: onnx.ModelProto
    interface: Interface
    longest: int
    network: Recognizer
    tree: onnx.ModelProto | None = None


def _onnx(source: GraphSource) -> tuple[Variant, Files]:
    """For ONNX Runtime."""
    return onnx_variant("fp32", source.encoder, source.step, source.tree)


def onnx_variant(
    precision: str,
    encoder: onnx.ModelProto,
    step: onnx.ModelProto,
    tree: onnx.ModelProto | None,
) -> tuple[Variant, Files]:
    """The variant for ONNX Runtime. What the tree's weights have in common with the step's is
    written once."""
    names = (f"encoder.{precision}.onnx", f"step.{precision}.onnx")
    variant = Variant("onnxruntime", precision, *names)
    files = {
        variant.encoder: encoder.SerializeToString(),
        variant.step: step.SerializeToString(),
    }
    if tree is not None:
        variant = replace(variant, tree=f"tree.{precision}.onnx")
        shared = sharing(tree, files[variant.step], variant.step)
        files[variant.tree] = shared.SerializeToString()
    return variant, files


def _openvino(source: GraphSource) -> tuple[Variant, Files]:
    """For OpenVINO: a folder for each graph."""
    interface = source.interface
    encoder = to_openvino(source.encoder, interface.encoder)
    return openvino_variant("fp32", encoder, to_openvino(source.step, interface.step))


def openvino_variant(precision: str, encoder: Files, step: Files) -> tuple[Variant, Files]:
    """The variant for OpenVINO, of the files of `to_openvino`."""
    names = (f"encoder.{precision}.openvino", f"step.{precision}.openvino")
    return Variant("openvino", precision, *names), {
        f"{name}/{file}": data
        for name, files in zip(names, (encoder, step), strict=True)
        for file, data in files.items()
    }


def _ort(source: GraphSource) -> tuple[Variant, Files]:
    """For ONNX Runtime Mobile."""
    return ort_variant("fp32", source.encoder, source.step)


def ort_variant(
    precision: str, encoder: onnx.ModelProto, step: onnx.ModelProto, signed: bool = False
) -> tuple[Variant, Files]:
    """The variant for ONNX Runtime Mobile, `signed` as `to_ort` has it."""
    variant = Variant("ort", precision, f"encoder.{precision}.ort", f"step.{precision}.ort")
    return variant, {
        variant.encoder: to_ort(encoder, signed),
        variant.step: to_ort(step, signed),
    }


def _executorch(source: GraphSource) -> tuple[Variant, Files]:
    """For ExecuTorch with XNNPACK."""
    network = source.network
    limits = limits_of(source.interface, source.longest)
    variant = Variant("executorch", "fp32", "encoder.fp32.pte", "step.fp32.pte", limits=limits)
    parts: list[tuple[str, nn.Module, GraphSpec]] = [
        (variant.encoder, EncoderGraph(network), source.interface.encoder),
        (variant.step, StepGraph(network), source.interface.step),
    ]
    return variant, {
        name: to_executorch(module, example_inputs(spec), spec, limits)
        for name, module, spec in parts
    }


def limits_of(interface: Interface, max_length: int) -> dict[str, int]:
    """Greatest sizes of all dynamic axes of an interface, where a target wants them declared."""
    known = {
        **LIMITS,
        "length": max_length,
        "rows": LIMITS["height"] // STRIDE,
        "columns": LIMITS["width"] // STRIDE,
    }
    specs = (*interface.encoder.inputs, *interface.encoder.outputs, *interface.step.inputs)
    axes = {size for spec in specs for size in spec.shape if isinstance(size, str)}
    return {name: known[name] for name in known if name in axes}


def example_inputs(spec: GraphSpec) -> dict[str, torch.Tensor]:
    """Inputs of a graph with sizes that no fixed axis has, so that none is frozen by chance; an
    image has some ink."""
    sizes = {
        **{"batch": 2, "height": 3 * STRIDE, "width": 5 * STRIDE},
        **{"beams": 3, "cells": 37, "rows": 5, "columns": 7, "length": 21, "nodes": 11},
    }
    examples = {
        each.name: torch.zeros(
            [sizes[size] if isinstance(size, str) else size for size in each.shape],
            dtype=getattr(torch, each.dtype),
        )
        for each in spec.inputs
    }
    if "images" in examples:
        examples["images"][:, :, 8:20, 8:60] = 1.0
    return examples


def _tensorrt(source: GraphSource) -> tuple[Variant, Files]:
    """For TensorRT: ONNX from which engines are built on the device that runs them."""
    # caches and state are as long as the manifest allows; an adapter lets them grow
    limits = limits_of(source.interface, source.longest)
    variant = Variant("tensorrt", "fp16", "encoder.fp16.onnx", "step.fp16.onnx", limits=limits)
    return variant, {
        variant.encoder: to_tensorrt(source.encoder).SerializeToString(),
        variant.step: to_tensorrt(source.step).SerializeToString(),
    }


def _coreml(source: GraphSource, inside: bool = False) -> tuple[Variant, Files]:
    """For CoreML: an ML package for each graph."""
    return coreml_variant(source.network, source.interface, source.longest, inside=inside)


def coreml_variant(
    network: Recognizer,
    interface: Interface,
    longest: int,
    precision: str = "fp16",
    compress: Callable[[Any], Any] = lambda model: model,
    inside: bool = False,
) -> tuple[Variant, Files]:
    """The variant for CoreML, with the weights as `compress` leaves them (see `to_coreml`).

    Args:
        inside: for iOS 18: the same encoder, and a step for one beam that keeps its caches.
    """
    limits = limits_of(interface, longest)
    target, suffix, spec = "coreml", "", interface.step
    step: StepGraph | KeepingStepGraph = StepGraph(network)
    kept: dict[str, tuple[int, ...]] = {}
    if inside:
        target, suffix, limits = "coreml18", ".state", {**limits, "beams": 1}
        step = KeepingStepGraph(network)
        kept = step.kept
        outside = [each for each in interface.state if each.input not in kept]
        spec = GraphSpec(
            tuple(each for each in spec.inputs if each.name not in kept),
            (spec[interface.log_probs], *(spec[each.output] for each in outside)),
        )
    names = (f"encoder.{precision}.mlpackage", f"step.{precision}{suffix}.mlpackage")
    variant = Variant(target, precision, *names, limits=limits, image_sizes=IMAGE_SIZES)
    encoder = EncoderGraph(network), example_inputs(interface.encoder), interface.encoder
    packages = {
        variant.encoder: to_coreml(*encoder, limits, IMAGE_SIZES, compress=compress),
        variant.step: to_coreml(
            step, example_inputs(spec), spec, limits, kept=kept, compress=compress
        ),
    }
    return variant, {
        f"{name}/{file}": data
        for name, package in packages.items()
        for file, data in package.items()
    }


TARGETS: dict[str, Callable[[GraphSource], tuple[Variant, Files]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "ort": _ort,
    "executorch": _executorch,
    "tensorrt": _tensorrt,
    "coreml": _coreml,
    "coreml18": partial(_coreml, inside=True),
}


def check_targets(names: Sequence[str]) -> None:
    """Raise ExportError where there is no such target, or none is named."""
    unknown = [name for name in names if name not in TARGETS]
    if unknown or not names:
        raise ExportError(
            f"expected targets out of {', '.join(TARGETS)}, found {', '.join(unknown) or 'none'}"
        )


def variants_for(
    names: Sequence[str], source: GraphSource
) -> tuple[tuple[Variant, ...], dict[str, bytes]]:
    """The variants for some targets, in their order, and all their files.

    Raises:
        ExportError: there is no such target, or it cannot take the graphs.
        RuntimeUnavailable: what a target needs to be made is not installed.
    """
    check_targets(names)
    variants: list[Variant] = []
    files: Files = {}
    for name in dict.fromkeys(names):
        variant, made = TARGETS[name](source)
        variants.append(variant)
        files |= made
    return tuple(variants), files
