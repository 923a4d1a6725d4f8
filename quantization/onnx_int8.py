"""INT8 for ONNX Runtime on CPUs: the encoder statically, the weights of the step dynamically."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
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

from ..core.bundle import Bundle, write_bundle
from ..core.errors import QuantizationError
from ..core.manifest import Variant
from ..core.preparation import prepare_image
from ..training.inkset import Expression
from .ranges import activation_ranges

MIN_SAMPLES = 16
STATIC_OPERATORS = ("Conv", "MatMul")
"""Not `Add`: with the residual stream in float32 less is lost, at the same speed."""


def add_int8(
    bundle: Bundle,
    path: Path,
    expressions: Sequence[Expression],
    samples: int,
    seed: int,
    keep_fp32: bool = True,
) -> Bundle:
    """Write a bundle with an INT8 variant for ONNX Runtime, preferred over the others.

    Args:
        expressions: to calibrate with, of which `samples` are drawn.
        keep_fp32: whether the float32 graphs go into the result too.

    Raises:
        QuantizationError: too few samples, or an INT8 variant is there already.
    """
    if any(each.precision == "int8" for each in bundle.manifest.variants):
        raise QuantizationError(
            f"{bundle.path}: expected a bundle without INT8, found one that has it; "
            "quantise the bundle that `inktex export` wrote"
        )
    source = bundle.variant("onnxruntime", "fp32")
    if min(samples, len(expressions)) < MIN_SAMPLES:
        raise QuantizationError(
            f"expected at least {MIN_SAMPLES} formulas to calibrate with, found "
            f"{min(samples, len(expressions))}; give more ink"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(expressions), min(samples, len(expressions)), replace=False)
    images = [
        prepare_image(expressions[index].source, bundle.manifest.preprocessing)
        for index in drawn.tolist()
    ]
    variant = Variant("onnxruntime", "int8", "encoder.int8.onnx", "step.int8.onnx")
    files: dict[str, bytes | Path] = {
        name: file
        for name, file in bundle.contents().items()
        if keep_fp32 or name == bundle.manifest.golden
    }
    files[variant.encoder] = static_int8(bundle.read(source.encoder), images, seed)
    files[variant.step] = dynamic_int8(bundle.read(source.step))
    provenance = {
        **bundle.manifest.provenance,
        "quantization": {
            "encoder": f"static, U8S8, per channel, least squared error: {STATIC_OPERATORS}",
            "step": "dynamic: MatMul and Gemm",
            "samples": len(images),
            "seed": seed,
        },
    }
    kept = bundle.manifest.variants if keep_fp32 else ()
    manifest = replace(bundle.manifest, variants=(variant, *kept), provenance=provenance)
    return write_bundle(path, manifest, files)


def static_int8(graph: bytes, images: Sequence[NDArray[np.float32]], seed: int = 0) -> bytes:
    """A convolutional graph with unsigned 8-bit activations and signed 8-bit weights, which is
    what x86 multiplies fast.

    Args:
        graph: an ONNX model with one input.
        images: to calibrate with, float32 [1, 1, h, w] each.
        seed: of the activations drawn for the ranges.
    """
    with _Folder(graph) as folder:
        prepared = folder / "prepared.onnx"
        # shapes are symbolic, so only what the optimiser folds is wanted
        quant_pre_process(folder / "graph.onnx", prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        ranges = activation_ranges(model, images, STATIC_OPERATORS, seed)
        overrides = {
            name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
            for name, (low, high) in ranges.items()
        }
        quantize_static(
            prepared,
            folder / "int8.onnx",
            # the ranges are known; one image is what the tool insists on
            _Images(model.graph.input[0].name, images[:1]),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(STATIC_OPERATORS),
            extra_options={"TensorQuantOverrides": overrides},
        )
        return (folder / "int8.onnx").read_bytes()


def dynamic_int8(graph: bytes) -> bytes:
    """A step graph whose weights are 8-bit, and whose activations become so while it runs.

    Only `MatMul` and `Gemm`: quantised element-wise operators are slower than in float.
    """
    with _Folder(graph) as folder:
        model = onnx.load(folder / "graph.onnx")
        del model.graph.value_info[:]
        onnx.save(model, folder / "bare.onnx")
        quantize_dynamic(
            folder / "bare.onnx",
            folder / "int8.onnx",
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return (folder / "int8.onnx").read_bytes()


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """A list of images, in the form that ONNX Runtime's tool reads."""

    def __init__(self, name: str, images: Sequence[NDArray[np.float32]]) -> None:
        self._inputs: Iterator[dict[str, NDArray[np.float32]]] = iter(
            [{name: image} for image in images]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)


class _Folder:
    """A folder for a while with `graph.onnx` in it; ONNX Runtime's tools work on files, and warn
    through the root logger of what they themselves ask for."""

    def __init__(self, graph: bytes) -> None:
        self._graph = graph

    def __enter__(self) -> Path:
        self._level = logging.root.level
        logging.root.setLevel(logging.ERROR)
        self._temporary = tempfile.TemporaryDirectory(prefix="inktex-")
        folder = Path(self._temporary.name)
        (folder / "graph.onnx").write_bytes(self._graph)
        return folder

    def __exit__(self, *_: object) -> None:
        logging.root.setLevel(self._level)
        self._temporary.cleanup()
