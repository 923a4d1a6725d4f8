"""A bundle on OpenVINO, on the processor."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Bundle
from ..core.errors import BundleError, RuntimeUnavailable
from ..core.interface import GraphSpec
from ..core.manifest import Variant
from .graph_model import Arrays, GraphModel, Graphs
from .processors import checked_threads


def openvino_model(bundle: Bundle, variant: Variant, threads: int | None = None) -> GraphModel:
    """A `StepModel` of a variant whose graphs are OpenVINO IR.

    Args:
        threads: of the encoder, by default `default_threads()`; a step is too small to share out.

    Raises:
        RuntimeUnavailable: openvino is not installed.
        BundleError: a graph that OpenVINO refuses, or that is not as the manifest says.
        InputError: fewer than one thread.
    """
    graphs = openvino_graphs(bundle, variant, threads)
    return GraphModel(bundle.manifest, graphs, variant.limits)


def openvino_graphs(bundle: Bundle, variant: Variant, threads: int | None = None) -> Graphs:
    """The two graphs of a variant, compiled; raises as `openvino_model`."""
    threads = checked_threads(threads)
    try:
        import openvino
    except ImportError as error:
        raise RuntimeUnavailable(
            f"OpenVINO cannot be loaded ({error}); install it with `pip install openvino`"
        ) from error
    interface = bundle.manifest.interface
    core = openvino.Core()
    return Graphs(
        _Graph(core, bundle, variant.encoder, interface.encoder, threads),
        _Graph(core, bundle, variant.step, interface.step, 1),
    )


class _Graph:
    """One compiled graph; every thread that calls it has a request of its own."""

    def __init__(
        self,
        core: Any,
        bundle: Bundle,
        name: str,
        spec: GraphSpec,
        threads: int,
    ) -> None:
        import openvino

        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # another process may have that core
            # left to itself it computes in bfloat16 where the processor can
            "INFERENCE_PRECISION_HINT": "f32",
        }
        weights = np.frombuffer(bundle.read(f"{name}/graph.bin"), np.uint8)
        try:
            model = core.read_model(bundle.read(f"{name}/graph.xml"), weights.tobytes())
            self._compiled = core.compile_model(model, "CPU", properties)
        except RuntimeError as error:
            raise BundleError(
                f"{bundle.path}: OpenVINO refuses the graph {name!r}: {error}; export the bundle "
                "again, or upgrade openvino"
            ) from error
        there = {port.get_any_name() for port in (*model.inputs, *model.outputs)}
        wanted = {each.name for each in (*spec.inputs, *spec.outputs)}
        if not wanted <= there:
            raise BundleError(
                f"{bundle.path}: the tensors of {name!r} are not as the manifest says; missing: "
                f"{sorted(wanted - there)}; export the bundle again"
            )
        self._tensor = openvino.Tensor
        self._inputs = {port.get_any_name(): port for port in self._compiled.inputs}
        ports = {port.get_any_name(): port for port in self._compiled.outputs}
        self._outputs = {each.name: ports[each.name] for each in spec.outputs}
        self._of_thread = threading.local()

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
            self._of_thread.bound = {}
        bound: dict[str, NDArray[Any]] = self._of_thread.bound  # and kept: they are read in place
        for name, given in inputs.items():
            array = np.ascontiguousarray(given)
            # a memory stays the same from step to step: to bind it anew takes a sixth of a step
            if bound.get(name) is not array:
                shared = self._tensor(array, shared_memory=True)
                request.set_tensor(self._inputs[name], shared)
                bound[name] = array
        request.infer()
        # copies, which the next call leaves alone
        return {name: request.get_tensor(port).data.copy() for name, port in self._outputs.items()}
