"""An ONNX graph as OpenVINO's own format, the intermediate representation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx

from ..core.errors import ExportError, RuntimeUnavailable
from ..core.interface import GraphSpec


def to_openvino(model: onnx.ModelProto, spec: GraphSpec, half: bool = False) -> dict[str, bytes]:
    """The files of the graph, by name: `graph.xml` and `graph.bin`, weights as they are.

    Args:
        spec: the interface that it must have.
        half: whether weights in float32 are stored in float16.

    Raises:
        RuntimeUnavailable: openvino is not installed.
        ExportError: OpenVINO cannot read the graph, or gives it another interface.
    """
    try:
        import openvino

        # not public, but what OpenVINO's own converter runs; that converter reports its use
        # to Intel over the network, which an export here never does
        from openvino._offline_transformations import apply_moc_transformations
    except ImportError as error:
        raise RuntimeUnavailable(
            f"OpenVINO cannot be loaded ({error}); install it with `pip install openvino`"
        ) from error
    try:
        converted = openvino.Core().read_model(model.SerializeToString(), b"")
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot read {model.graph.name}: {error}") from error
    # shapes that are known are worked out here, not at every load: up to three fifths of the nodes.
    # Constants stay (`cf`), or weights of 8 bits would be stored as float32.
    apply_moc_transformations(converted, cf=False)
    return openvino_files(converted, spec, half)


def openvino_files(converted: Any, spec: GraphSpec, half: bool = False) -> dict[str, bytes]:
    """The files of OpenVINO's own model; arguments and errors as of `to_openvino`."""
    import openvino

    for wanted, ports in ((spec.inputs, converted.inputs), (spec.outputs, converted.outputs)):
        found = [_told(port) for port in ports]
        expected = [(each.name, each.dtype, _sizes(each.shape)) for each in wanted]
        if found != expected:
            raise ExportError(f"expected the tensors {expected} for OpenVINO, found {found}")
    with tempfile.TemporaryDirectory(prefix="inktex-") as place:
        path = Path(place) / "graph.xml"
        openvino.save_model(converted, path, compress_to_fp16=half)
        return {file.name: file.read_bytes() for file in sorted(Path(place).iterdir())}


def _told(port: Any) -> tuple[str, str, list[int]]:
    """Name, dtype and shape of an input or output, -1 where it is dynamic."""
    shape = [-1 if axis.is_dynamic else axis.get_length() for axis in port.partial_shape]
    return port.get_any_name(), port.element_type.to_dtype().name, shape


def _sizes(shape: tuple[int | str, ...]) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in shape]
