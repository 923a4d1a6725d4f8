"""8 bits for OpenVINO by its own quantiser, NNCF: to compare with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from ..core.errors import RuntimeUnavailable
from ..core.quiet import quiet
from ..runtimes.graph_model import Arrays, Graph

T = TypeVar("T")


def nncf_int8(model: onnx.ModelProto, images: Sequence[NDArray[np.float32]]) -> Any:
    """An encoder as OpenVINO's model in 8 bits, as NNCF finds best: activations asymmetric,
    weights symmetric, biases corrected.

    Args:
        images: to calibrate with, float32 [1, channels, h, w] each; all are used.

    Raises:
        RuntimeUnavailable: openvino or nncf is not installed.
    """
    openvino, nncf = _libraries()
    with _quiet():
        return nncf.quantize(
            openvino.Core().read_model(model.SerializeToString(), b""),
            nncf.Dataset(list(images)),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
        )


def nncf_controlled(
    model: onnx.ModelProto,
    images: Sequence[NDArray[np.float32]],
    samples: Sequence[T],
    right: Callable[[Graph, Sequence[T]], list[bool]],
    max_drop: float,
) -> Any:
    """As `nncf_int8`, with NNCF's own accuracy control: it takes operators back to float until the
    share of samples that are read right falls by no more.

    Args:
        right: for an encoder and some samples which of them are read right.
        max_drop: in points.
    """
    openvino, nncf = _libraries()

    def validate(compiled: Any, data: Iterable[T]) -> tuple[float, list[float]]:
        names = [each.get_any_name() for each in compiled.outputs]

        def encoder(inputs: Mapping[str, Any]) -> Arrays:
            found = compiled(dict(inputs))
            return {name: np.array(found[name]) for name in names}

        found = [float(each) for each in right(encoder, list(data))]
        return sum(found) / len(found), found

    with _quiet():
        return nncf.quantize_with_accuracy_control(
            openvino.Core().read_model(model.SerializeToString(), b""),
            nncf.Dataset(list(images)),
            nncf.Dataset(list(samples)),
            validate,
            max_drop=max_drop / 100,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
        )


def _libraries() -> tuple[Any, Any]:
    try:
        with _quiet():
            import nncf
            import openvino
    except ImportError as error:
        raise RuntimeUnavailable(
            f"NNCF cannot be loaded ({error}); install it with `pip install openvino nncf`"
        ) from error
    return openvino, nncf


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice, and with progress where it does not mix with results."""
    with quiet(), redirect_stdout(sys.stderr):
        yield
