"""The graphs of a variant as functions of plain arrays, on its own runtime or a stand-in for it.

Adapters hide the graphs behind searches; to compare them tensor by tensor, they have to be bare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..core.bundle import Bundle
from ..core.errors import ExportError, RuntimeUnavailable
from ..core.interface import GraphSpec
from ..core.manifest import Variant
from ..core.step_model import StepModel
from ..runtimes import choose
from ..runtimes.executorch_runtime import executorch_graphs
from ..runtimes.graph_model import Arrays, Graph, GraphModel, Graphs
from ..runtimes.onnx_session import open_session
from ..runtimes.openvino_runtime import openvino_graphs
from ..runtimes.tensorrt_runtime import tensorrt_model
from .mil_interpreter import MilProgram


def told(bundle: Bundle, variant: Variant) -> str:
    """What a variant is called in a report, with what runs it where that is not its runtime."""
    name = f"{variant.target} {variant.precision}"
    if variant.target == "tensorrt" and _tensorrt(bundle, variant) is None:
        name += ", its ONNX graphs run by ONNX Runtime"
    if variant.target in ("coreml", "coreml18"):
        name += ", its programs run operation by operation"
    return name


def graphs_of(bundle: Bundle, variant: Variant) -> Graphs:
    """The two graphs of a variant on its runtime, on one thread, with plain arrays in and out.

    Those for TensorRT are run by ONNX Runtime where there is no TensorRT or no GPU: that proves
    the graphs, up to rounding, and not the engines. Programs of CoreML are run by an interpreter
    of ours, on a Mac too.

    Raises:
        ExportError: it is for a runtime of another project.
    """
    if variant.target not in _GRAPHS:
        raise ExportError(
            f"{bundle.path}: expected a variant for {', '.join(_GRAPHS)} to prove, found one for "
            f"{variant.target}; name the others with --runtime"
        )
    return _GRAPHS[variant.target](bundle, variant)


def plain_model(bundle: Bundle, variant: Variant, graphs: Graphs) -> GraphModel:
    """Graphs as `graphs_of` gives them, as a `StepModel`."""
    return GraphModel(bundle.manifest, graphs, variant.limits, image_sizes=variant.image_sizes)


def model_of(bundle: Bundle, variant: Variant) -> StepModel[Any, Any]:
    """A variant on its own adapter, or, where that cannot run here, its graphs as `graphs_of`
    runs them; on one thread.

    Raises:
        ExportError: nothing here can run it.
    """
    try:
        return choose(bundle, variant.target, variant.precision, threads=1)[1]
    except RuntimeUnavailable:
        return plain_model(bundle, variant, graphs_of(bundle, variant))


def _onnx_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    """Without the adapter's bindings."""
    interface = bundle.manifest.interface
    tree = None
    if variant.tree and interface.tree is not None:
        tree = _onnx_graph(bundle, variant.tree, interface.tree)
    encoder = _onnx_graph(bundle, variant.encoder, interface.encoder)
    return Graphs(encoder, _onnx_graph(bundle, variant.step, interface.step), tree)


def _onnx_graph(bundle: Bundle, name: str, spec: GraphSpec) -> Graph:
    session = open_session(bundle, name, spec, 1, "cpu")
    names = [each.name for each in spec.outputs]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _tensorrt(bundle: Bundle, variant: Variant) -> GraphModel | None:
    try:
        return tensorrt_model(bundle, variant)
    except RuntimeUnavailable:
        return None


def _tensorrt_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    model = _tensorrt(bundle, variant)
    if model is None:
        return _onnx_graphs(bundle, variant)
    store = model.store

    def on_host(graph: Graph) -> Graph:
        return lambda inputs: {name: store.get(each) for name, each in graph(inputs).items()}

    return Graphs(on_host(model.graphs.encoder), on_host(model.graphs.step))


def _coreml_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    return Graphs(*(MilProgram(bundle.path / name) for name in (variant.encoder, variant.step)))


def _keeping_coreml_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    """Caches go in and out of the step as they do elsewhere, so that it can be compared."""
    program = MilProgram(bundle.path / variant.step)
    fields = [
        each for each in bundle.manifest.interface.state if each.input in program.make_state()
    ]

    def step(inputs: Mapping[str, Any]) -> Arrays:
        state = program.make_state()
        parts = {}
        for each in fields:
            parts[each] = tuple(map(slice, inputs[each.input].shape))  # it has room for more
            state[each.input][parts[each]] = inputs[each.input]
        found: Arrays = dict(program(inputs, state))
        kept = {
            each.output: state[each.input][part].astype(np.float32) for each, part in parts.items()
        }
        names = [each.name for each in bundle.manifest.interface.step.outputs]
        return {name: {**found, **kept}[name] for name in names}

    return Graphs(MilProgram(bundle.path / variant.encoder), step)


_GRAPHS: dict[str, Callable[[Bundle, Variant], Graphs]] = {
    "onnxruntime": _onnx_graphs,
    "ort": _onnx_graphs,
    "openvino": partial(openvino_graphs, threads=1),
    "executorch": partial(executorch_graphs, threads=1),
    "tensorrt": _tensorrt_graphs,
    "coreml": _coreml_graphs,
    "coreml18": _keeping_coreml_graphs,
}
