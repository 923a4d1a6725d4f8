"""An ONNX graph in ONNX Runtime's own format, which its small builds for phones read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from ..core.errors import ExportError


def to_ort(model: onnx.ModelProto, signed: bool = False) -> bytes:
    """The graph, optimised once and for all, for any processor.

    Args:
        signed: keep activations of 8 bits that are signed, as Arm is fast with; else they become
            unsigned, as x86 is.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    options = onnxruntime.SessionOptions()
    # one level more would lay weights out for this processor, which another may not have
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.add_session_config_entry("session.qdqisint8allowed", str(int(signed)))
    options.log_severity_level = 4  # what goes wrong is raised
    with tempfile.TemporaryDirectory(prefix="inktex-") as place:
        path = Path(place) / "graph.ort"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has a dozen kinds and no common one
            raise ExportError(
                f"ONNX Runtime cannot write {model.graph.name} in its format: {error}"
            ) from error
        return path.read_bytes()
