"""What a bundle can be quantised to: for each runtime the forms that it is fast, or small, with."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx
import torch
from torch import nn

from ..core.errors import QuantizationError
from ..core.interface import GraphSpec
from ..core.manifest import Variant
from ..export.graphs import EncoderGraph, StepGraph
from ..export.targets import (
    Files,
    coreml_variant,
    example_inputs,
    limits_of,
    onnx_variant,
    openvino_variant,
    ort_variant,
)
from ..export.to_executorch import to_executorch
from ..export.to_openvino import openvino_files, to_openvino
from ..export.to_tensorrt import ask_the_parser, to_float16, to_tensorrt, with_all_cells
from . import coreml_weights, executorch_int8
from .nncf_int8 import nncf_int8
from .onnx_int8 import (
    DYNAMIC_OPERATORS,
    NARROW,
    SIGNED,
    STATIC_OPERATORS,
    SYMMETRIC,
    UNSIGNED,
    UNSIGNED_INPUTS,
    Scheme,
    dynamic_int8,
    layers_of,
    static_int8,
)
from .source import QuantizationSource
from .weight_only import OPERATORS, weights4, weights8


@dataclass(frozen=True)
class Quantizer:
    """One form for one runtime.

    Attributes:
        name: target and precision, "onnx int8".
        form: how, for people and reports.
        layers: that can be kept in float32; none where only weights are rounded all alike.
        make: layers to keep -> the variant and its files.
        stand_in: another form with these layers and the same arithmetic, which is made in seconds
            where this one takes minutes: it tells which layers hurt.
    """

    name: str
    form: str
    layers: tuple[str, ...]
    make: Callable[[Collection[str]], tuple[Variant, Files]]
    stand_in: Quantizer | None = None


def _onnx(source: QuantizationSource, precision: str, scheme: Scheme) -> Quantizer:
    """For ONNX Runtime: the encoder statically, the weights of the step dynamically."""

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        left, bits = _of_step(source, kept), scheme.weight_bits
        tree = source.tree and dynamic_int8(source.tree, left, weight_bits=bits)
        return onnx_variant(precision, *_int8_graphs(source, scheme, kept), tree)

    form = f"encoder {scheme.name}, per channel; step dynamic, weights of {scheme.weight_bits} bits"
    return Quantizer(f"onnx {precision}", form, _int8_layers(source), make)


def _ort(source: QuantizationSource, precision: str, scheme: Scheme) -> Quantizer:
    """For ONNX Runtime Mobile: as for ONNX Runtime."""

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        graphs = _int8_graphs(source, scheme, kept)
        return ort_variant(precision, *graphs, signed=scheme is SIGNED)

    stand_in = _onnx(source, precision, scheme)
    return Quantizer(f"ort {precision}", stand_in.form, stand_in.layers, make, stand_in)


def _int8_layers(source: QuantizationSource) -> tuple[str, ...]:
    """Of both graphs, those that `_int8_graphs` quantises."""
    encoder = layers_of(source.encoder, STATIC_OPERATORS)
    return (*encoder, *layers_of(source.step, DYNAMIC_OPERATORS))


def _int8_graphs(
    source: QuantizationSource, scheme: Scheme, kept: Collection[str]
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The encoder, statically, and the step, dynamically."""
    encoder = layers_of(source.encoder, STATIC_OPERATORS)
    left = [each for each in kept if each in encoder]
    return (
        static_int8(source.encoder, source.ranges(scheme.symmetric), scheme, left),
        dynamic_int8(source.step, _of_step(source, kept), weight_bits=scheme.weight_bits),
    )


def _of_step(source: QuantizationSource, kept: Collection[str]) -> list[str]:
    """Of some layers, those of the step."""
    step = layers_of(source.step, DYNAMIC_OPERATORS)
    return [each for each in kept if each in step]


def _onnx_dynamic(source: QuantizationSource) -> Quantizer:
    """For ONNX Runtime: the weights of both, without calibration."""
    operators = ("Conv", *DYNAMIC_OPERATORS)
    encoder = layers_of(source.encoder, operators)
    step = layers_of(source.step, DYNAMIC_OPERATORS)

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        left = [each for each in kept if each in step]
        return onnx_variant(
            "dynamic8",
            dynamic_int8(source.encoder, [each for each in kept if each in encoder], operators),
            dynamic_int8(source.step, left),
            source.tree and dynamic_int8(source.tree, left),
        )

    return Quantizer("onnx dynamic8", "encoder and step dynamic", (*encoder, *step), make)


def _onnx_weights(source: QuantizationSource, bits: int) -> Quantizer:
    """For ONNX Runtime: the weights alone."""
    rewrite = {8: weights8, 4: weights4}[bits]
    precision = f"weights{bits}"

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        return onnx_variant(
            precision,
            rewrite(source.encoder, kept),
            rewrite(source.step, kept),
            source.tree and rewrite(source.tree, kept),
        )

    layers = [*layers_of(source.encoder, OPERATORS), *layers_of(source.step, OPERATORS)]
    return Quantizer(f"onnx {precision}", f"weights alone, {bits} bits", tuple(layers), make)


def _onnx_half(source: QuantizationSource) -> Quantizer:
    """For ONNX Runtime: half precision, where it is native."""

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        return onnx_variant(
            "fp16",
            to_float16(source.encoder),
            to_float16(source.step),
            source.tree and to_float16(source.tree),
        )

    return Quantizer("onnx fp16", "float16", (), make)


def _openvino(source: QuantizationSource, precision: str) -> Quantizer:
    """For OpenVINO: the encoder as Q/DQ, the step with weights of 8 bits; or the weights alone;
    or half precision."""
    encoder = layers_of(source.encoder, STATIC_OPERATORS)
    step = layers_of(source.step, OPERATORS)
    forms: dict[str, tuple[str, tuple[str, ...]]] = {
        "int8": (
            f"encoder {UNSIGNED_INPUTS.name}, per channel; step weights alone",
            (*encoder, *step),
        ),
        "weights8": ("weights alone, 8 bits", (*encoder, *step)),
        "fp16": ("weights in float16", ()),
    }
    interface = source.bundle.manifest.interface

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        half = precision == "fp16"
        models = (source.encoder, source.step)
        if precision == "int8":
            left = [each for each in kept if each in encoder]
            models = (
                static_int8(source.encoder, source.ranges(), UNSIGNED_INPUTS, left),
                weights8(source.step, kept),
            )
        elif not half:
            models = (weights8(source.encoder, kept), weights8(source.step, kept))
        encoder, step = models
        return openvino_variant(
            precision,
            to_openvino(encoder, interface.encoder, half),
            to_openvino(step, interface.step, half),
        )

    return Quantizer(f"openvino {precision}", *forms[precision], make)


def _openvino_by_nncf(source: QuantizationSource) -> Quantizer:
    """For OpenVINO, by its own quantiser: to compare with."""

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        return nncf_variant(source, nncf_int8(source.encoder, source.images))

    return Quantizer("openvino int8-nncf", "encoder by NNCF; step weights alone", (), make)


def nncf_variant(source: QuantizationSource, encoder: Any) -> tuple[Variant, Files]:
    """The variant with an encoder that NNCF has made."""
    interface = source.bundle.manifest.interface
    step = to_openvino(weights8(source.step), interface.step)
    return openvino_variant("int8-nncf", openvino_files(encoder, interface.encoder), step)


def _tensorrt(source: QuantizationSource) -> Quantizer:
    """For TensorRT: the encoder as Q/DQ, all else of it in float32; the step in float16."""
    layers = tuple(layers_of(source.encoder, STATIC_OPERATORS))
    manifest = source.bundle.manifest

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        encoder = with_all_cells(
            static_int8(source.encoder, source.ranges(SYMMETRIC.symmetric), SYMMETRIC, kept)
        )
        ask_the_parser(encoder)
        limits = limits_of(manifest.interface, manifest.decoding.max_length)
        names = ("encoder.int8.tensorrt.onnx", "step.int8.tensorrt.onnx")
        return Variant("tensorrt", "int8", *names, limits=limits), {
            names[0]: encoder.SerializeToString(),
            names[1]: to_tensorrt(source.step).SerializeToString(),
        }

    return Quantizer(
        "tensorrt int8", f"encoder {SYMMETRIC.name}, per channel; step float16", layers, make
    )


def _executorch(source: QuantizationSource) -> Quantizer:
    """For ExecuTorch with XNNPACK: convolutions of the encoder statically, products dynamically."""
    network = source.network
    encoder = [each for each in layers_of(source.encoder, STATIC_OPERATORS) if "." in each]
    step = [each for each in layers_of(source.step, DYNAMIC_OPERATORS) if "." in each]
    manifest = source.bundle.manifest
    interface = manifest.interface

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        limits = limits_of(interface, manifest.decoding.max_length)
        variant = Variant("executorch", "int8", "encoder.int8.pte", "step.int8.pte", limits=limits)
        images = [{interface.image: torch.from_numpy(image)} for image in source.images]
        # the step's activations have no ranges: what follows a coverage, which grows from zero in
        # every formula, stays in float32; but weights are looked at in a run, too
        blank = [example_inputs(interface.step)]

        def written(
            module: nn.Module, spec: GraphSpec, quantize: Callable[[nn.Module], nn.Module]
        ) -> bytes:
            return to_executorch(module, example_inputs(spec), spec, limits, quantize)

        return variant, {
            variant.encoder: written(
                EncoderGraph(network), interface.encoder, executorch_int8.int8(images, kept)
            ),
            variant.step: written(
                StepGraph(network),
                interface.step,
                executorch_int8.int8(blank, kept, convolutions=False),
            ),
        }

    form = "encoder's convolutions static S8S8, per channel, ranges of histograms; products dynamic"
    stand_in = _onnx(source, "int8-arm", SIGNED)
    return Quantizer("executorch int8", form, (*encoder, *step), make, stand_in)


_COREML: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "weights8": ("weights alone, 8 bits", coreml_weights.weights8),
    **{
        f"palette{bits}": (f"weights alone, a palette of {2**bits}", coreml_weights.palette(bits))
        for bits in (6, 4)
    },
}


def _coreml(source: QuantizationSource, precision: str, inside: bool = False) -> Quantizer:
    """For CoreML: the weights alone; `inside` as `coreml_variant` has it."""
    network = source.network
    manifest = source.bundle.manifest
    form, compress = _COREML[precision]

    def make(kept: Collection[str]) -> tuple[Variant, Files]:
        longest = manifest.decoding.max_length
        return coreml_variant(network, manifest.interface, longest, precision, compress, inside)

    return Quantizer(f"coreml{'18' * inside} {precision}", form, (), make)


FORMS: dict[str, dict[str, Callable[[QuantizationSource], Quantizer]]] = {
    "onnx": {
        "int8": partial(_onnx, precision="int8", scheme=UNSIGNED),
        "int8-arm": partial(_onnx, precision="int8-arm", scheme=SIGNED),
        "dynamic8": _onnx_dynamic,
        "weights8": partial(_onnx_weights, bits=8),
        "weights4": partial(_onnx_weights, bits=4),
        "fp16": _onnx_half,
    },
    "ort": {
        "int8": partial(_ort, precision="int8", scheme=NARROW),
        "int8-arm": partial(_ort, precision="int8-arm", scheme=SIGNED),
    },
    "openvino": {
        **{name: partial(_openvino, precision=name) for name in ("int8", "weights8", "fp16")},
        "int8-nncf": _openvino_by_nncf,
    },
    "tensorrt": {"int8": _tensorrt},
    "executorch": {"int8": _executorch},
    "coreml": {name: partial(_coreml, precision=name) for name in _COREML},
    "coreml18": {name: partial(_coreml, precision=name, inside=True) for name in _COREML},
}
"""By target, as `inktex export --to` names it, and precision."""


def quantizer(target: str, precision: str, source: QuantizationSource) -> Quantizer:
    """The quantizer for a target and a precision.

    Raises:
        QuantizationError: there is none, or it cannot take the graphs.
        RuntimeUnavailable: what it needs is not installed.
    """
    check_form(target, precision)
    return FORMS[target][precision](source)


def runtime_of(target: str) -> str:
    """The name of the runtime that runs a target."""
    return {"onnx": "onnxruntime"}.get(target, target)


def precisions_of(target: str) -> tuple[str, ...]:
    """What a target can be quantised to.

    Raises:
        QuantizationError: there is no such target.
    """
    if target not in FORMS:
        raise QuantizationError(f"--targets: expected some of {', '.join(FORMS)}, found {target!r}")
    return tuple(FORMS[target])


def check_form(target: str, precision: str) -> None:
    """Raise QuantizationError where a target has no such precision."""
    known = precisions_of(target)
    if precision not in known:
        raise QuantizationError(
            f"--to: expected some of {', '.join(known)} for {target}, found {precision!r}"
        )


def forms_of(targets: str, precisions: str) -> tuple[tuple[str, str], ...]:
    """The forms that two lists between commas ask for: every precision that a target has.

    Raises:
        QuantizationError: there is no such target, or a precision that no target of them has.
    """
    names, wanted = (
        list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        for text in (targets, precisions)
    )
    known = {name: precisions_of(name) for name in names}
    for precision in wanted:
        if not any(precision in each for each in known.values()):
            for name in names:
                check_form(name, precision)
    return tuple((name, each) for name in names for each in wanted if each in known[name])
