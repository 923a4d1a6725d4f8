"""A module as a CoreML program, for iPhone, iPad and Mac."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import ExportError, RuntimeUnavailable
from ..core.interface import GraphSpec, TensorSpec
from ..core.quiet import quiet

IMAGE_SIZES = tuple(
    (height, width)
    for height in (48, 64, 80, 96, 112, 128, 160, 224)
    for width in (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024, 1280)
)
"""Heights and widths that images are padded to. The Neural Engine wants sizes that it knows before,
at most 128 of them; of CROHME's formulas 99.9 % fit into these, with 8 % more pixels."""

_TESTED = (2, 4)  # numpy from this version on breaks coremltools 9


def to_coreml(
    module: nn.Module,
    examples: Mapping[str, Tensor],
    spec: GraphSpec,
    limits: Mapping[str, int],
    image_sizes: Sequence[tuple[int, int]] = (),
    kept: Mapping[str, Sequence[int]] = MappingProxyType({}),
    compress: Callable[[Any], Any] = lambda model: model,
) -> dict[str, bytes]:
    """The files of an ML package, by their paths in it: weights and arithmetic in float16, inputs
    and outputs in float32, tokens and position in int32; for iOS 16 and macOS 13 or later.

    Args:
        module, examples, spec: as `to_onnx` takes them.
        limits: greatest size of every dynamic axis; one of 1 becomes fixed.
        image_sizes: of (height, width), where the module takes images: no others are.
        kept: names and shapes of the module's buffers that are the program's own state, in
            float16, for iOS 18 and macOS 15 or later.
        compress: makes of coremltools' model another one with smaller weights.

    Raises:
        RuntimeUnavailable: coremltools is not installed, or not with a numpy that it works with.
        ExportError: coremltools cannot convert the module.
    """
    with quiet_coremltools():
        coremltools = loaded_coremltools()
        try:
            inputs = tuple(_narrowed(examples[each.name], each, limits) for each in spec.inputs)
            trace: Any = torch.jit.trace
            with torch.no_grad():
                traced = trace(module.eval(), inputs, check_trace=False, strict=False)
            model = coremltools.convert(
                traced,
                inputs=[
                    coremltools.TensorType(
                        name=each.name,
                        shape=_shape(coremltools, each.shape, limits, image_sizes),
                        dtype=np.int32 if each.dtype == "int64" else np.float32,
                    )
                    for each in spec.inputs
                ],
                outputs=[
                    coremltools.TensorType(name=each.name, dtype=np.float32)
                    for each in spec.outputs
                ],
                states=[
                    coremltools.StateType(
                        wrapped_type=coremltools.TensorType(shape=tuple(shape), dtype=np.float16),
                        name=name,
                    )
                    for name, shape in kept.items()
                ]
                or None,
                convert_to="mlprogram",
                minimum_deployment_target=coremltools.target.iOS18
                if kept
                else coremltools.target.iOS16,
                compute_precision=coremltools.transform.FP16ComputePrecision(op_selector=_in_half),
                skip_model_load=True,
            )
            model = compress(model)
        except Exception as error:  # the converter has no common error
            raise ExportError(
                f"{type(module).__name__} cannot be written for CoreML: {error}"
            ) from error
        with tempfile.TemporaryDirectory(prefix="inktex-") as place:
            package = Path(place) / "graph.mlpackage"
            model.save(str(package))
            return {
                path.relative_to(package).as_posix(): path.read_bytes()
                for path in sorted(package.rglob("*"))
                if path.is_file()
            }


def _narrowed(example: Tensor, spec: TensorSpec, limits: Mapping[str, int]) -> Tensor:
    """An example with size 1 where an axis is fixed to it."""
    for axis, size in enumerate(spec.shape):
        if isinstance(size, str) and limits.get(size) == 1:
            example = example.narrow(axis, 0, 1)
    return example


def _in_half(operation: Any) -> bool:
    """All but the logarithm of a probability: what is below 6e-8 would become minus infinity."""
    if operation.op_type == "softmax":
        return all(each.op_type != "log" for each in operation.outputs[0].child_ops)
    return bool(operation.op_type != "log")


def _shape(
    coremltools: Any,
    axes: Sequence[int | str],
    limits: Mapping[str, int],
    image_sizes: Sequence[tuple[int, int]],
) -> Any:
    if image_sizes and "height" in axes:
        shapes = [[1, axes[1], *size] for size in image_sizes]
        return coremltools.EnumeratedShapes(shapes, default=shapes[0])
    sizes: list[Any] = []
    for axis in axes:
        most = axis if isinstance(axis, int) else limits[axis]
        flexible = isinstance(axis, str) and most > 1
        sizes.append(coremltools.RangeDim(1, most, default=min(32, most)) if flexible else most)
    return coremltools.Shape(sizes)


def loaded_coremltools() -> Any:
    """The module `coremltools`.

    Raises:
        RuntimeUnavailable: it is not installed, or not with a numpy that it works with.
    """
    try:
        import coremltools
    except ImportError as error:
        raise RuntimeUnavailable(
            f"coremltools cannot be loaded ({error}); install it with "
            "`pip install coremltools 'numpy<2.4'`"
        ) from error
    if tuple(map(int, np.__version__.split(".")[:2])) >= _TESTED:
        raise RuntimeUnavailable(
            f"coremltools {coremltools.__version__} needs numpy below "
            f"{'.'.join(map(str, _TESTED))}, found {np.__version__}; "
            "run `pip install 'numpy<2.4'`"
        )
    return coremltools


@contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Without what coremltools tells of itself: versions it was not tested with, progress."""
    with quiet(), open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        yield
