"""INT8 for ONNX Runtime on CPUs: the encoder statically, the weights of the step dynamically."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..core.bundle import Bundle, write_bundle
from ..core.errors import QuantizationError
from ..core.manifest import Variant
from ..core.recognizer import prepare_image
from ..training.inkset import Expression

MIN_SAMPLES = 16


class InkReader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration images, one at a time, as the recognizer would see them."""

    def __init__(self, bundle: Bundle, expressions: Sequence[Expression]) -> None:
        self.name = bundle.manifest.interface.image
        self.images = self._prepared(bundle, expressions)

    def _prepared(
        self, bundle: Bundle, expressions: Sequence[Expression]
    ) -> Iterator[NDArray[np.float32]]:
        for expression in expressions:
            strokes = [stroke.astype(np.float64) for stroke in expression.strokes]
            yield prepare_image(strokes, bundle.manifest.preprocessing)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self.images, None)
        return None if image is None else {self.name: image}


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
    source = bundle.variant("onnxruntime", "fp32")
    if any(each.precision == "int8" for each in bundle.manifest.variants):
        raise QuantizationError(
            f"{bundle.path}: expected a bundle without INT8, found one that has it; "
            "quantise the bundle that `inktex export` wrote"
        )
    if min(samples, len(expressions)) < MIN_SAMPLES:
        raise QuantizationError(
            f"expected at least {MIN_SAMPLES} formulas to calibrate with, found "
            f"{min(samples, len(expressions))}; give more ink"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(expressions), min(samples, len(expressions)), replace=False)
    chosen = [expressions[index] for index in drawn.tolist()]
    encoder = static_int8(bundle.read(source.encoder), InkReader(bundle, chosen))
    step = dynamic_int8(bundle.read(source.step))
    variant = Variant("onnxruntime", "int8", "encoder.int8.onnx", "step.int8.onnx")
    kept = bundle.manifest.variants if keep_fp32 else ()
    files: dict[str, bytes | Path] = {
        name: file
        for name, file in bundle.contents().items()
        if keep_fp32 or name == bundle.manifest.golden
    }
    files |= {variant.encoder: encoder, variant.step: step}
    provenance = {
        **bundle.manifest.provenance,
        "quantization": {
            "encoder": "static, U8S8, per channel, min-max",
            "step": "dynamic, MatMul and Gemm",
            "samples": len(chosen),
            "seed": seed,
        },
    }
    manifest = replace(bundle.manifest, variants=(variant, *kept), provenance=provenance)
    return write_bundle(path, manifest, files)


def static_int8(graph: bytes, reader: CalibrationDataReader, **options: Any) -> bytes:
    """A convolutional graph with unsigned 8-bit activations and signed 8-bit weights.

    Unsigned by signed is what x86 multiplies fast.

    Args:
        options: passed on to ONNX Runtime's `quantize_static`.
    """
    with _Folder(graph) as folder:
        prepared = folder / "prepared.onnx"
        # shapes are symbolic, so only what the optimiser folds is wanted
        quant_pre_process(folder / "graph.onnx", prepared, skip_symbolic_shape=True)
        settings: dict[str, Any] = {
            "quant_format": QuantFormat.QDQ,
            "activation_type": QuantType.QUInt8,
            "weight_type": QuantType.QInt8,
            "per_channel": True,
            "calibrate_method": CalibrationMethod.MinMax,
            "op_types_to_quantize": ["Conv", "Add", "MatMul"],
        }
        quantize_static(prepared, folder / "int8.onnx", reader, **{**settings, **options})
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
