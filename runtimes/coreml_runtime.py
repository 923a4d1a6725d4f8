"""A bundle on CoreML, on a Mac; phones and tablets take the same files from Swift."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Bundle
from ..core.errors import BundleError, RuntimeUnavailable
from ..core.interface import GraphSpec
from ..core.manifest import Manifest, Variant
from .graph_memory import GraphMemory
from .graph_model import Arrays, Graph, GraphModel, Graphs, GraphState
from .processors import checked_threads


def coreml_model(bundle: Bundle, variant: Variant, threads: int | None = None) -> GraphModel:
    """A `StepModel` of a variant whose graphs are ML packages.

    The encoder may run on the Neural Engine, the GPU or the processor, as CoreML decides; a step is
    over before another unit than the processor has begun.

    Args:
        threads: checked, and of no use: CoreML has its own.

    Raises:
        RuntimeUnavailable: this is no Mac, or coremltools is not installed.
        BundleError: a package that CoreML refuses.
        InputError: fewer than one thread.
    """
    encoder, step = _packages(bundle, variant, threads)
    return GraphModel(
        bundle.manifest, Graphs(encoder, step), variant.limits, image_sizes=variant.image_sizes
    )


def keeping_coreml_model(
    bundle: Bundle, variant: Variant, threads: int | None = None
) -> KeepingModel:
    """The same of a variant whose step keeps its caches to itself, for one beam; raises as
    `coreml_model`, and where macOS is older than 15."""
    encoder, step = _packages(bundle, variant, threads)
    return KeepingModel(bundle.manifest, encoder, step, variant)


class KeepingStep(Protocol):
    """A step that keeps some fields of the state.

    Attributes:
        kept: their names.
    """

    kept: tuple[str, ...]

    def make_state(self) -> Any:
        """Those fields, at the start."""
        ...

    def __call__(self, inputs: Mapping[str, Any], state: Any) -> Arrays:
        """The other inputs to the other outputs, by name."""
        ...


class Kept(NamedTuple):
    """Fields of the state that lie inside of CoreML.

    value: CoreML's handle
    shape: of one of them; a cache has room for all tokens
    """

    value: Any
    shape: tuple[float, ...]


class KeepingModel(GraphModel):
    """A `StepModel` of one beam over a step that keeps some fields of its state."""

    def __init__(
        self, manifest: Manifest, encoder: Graph, step: KeepingStep, variant: Variant
    ) -> None:
        graphs = Graphs(encoder, self._run)
        super().__init__(manifest, graphs, variant.limits, image_sizes=variant.image_sizes)
        self._step = step
        self._kept = [each for each in self.interface.state if each.input in step.kept]

    def start(self, memory: GraphMemory, beams: int) -> GraphState:
        state, value = super().start(memory, beams), self._step.make_state()
        sizes = {"beams": 1.0, "length": inf}
        kept = {}
        for each in self._kept:
            axes = self.interface.step[each.input].shape
            shape = tuple(sizes[size] if isinstance(size, str) else size for size in axes)
            kept[each.input] = Kept(value, shape)
        return state._replace(arrays={**state.arrays, **kept})

    def _run(self, inputs: Mapping[str, Any]) -> Arrays:
        given = {name: array for name, array in inputs.items() if not isinstance(array, Kept)}
        found = self._step(given, inputs[self._kept[0].input].value)
        return {**found, **{each.output: inputs[each.input] for each in self._kept}}


def _packages(bundle: Bundle, variant: Variant, threads: int | None) -> tuple[_Package, _Package]:
    checked_threads(threads)
    if platform.system() != "Darwin":
        raise RuntimeUnavailable(
            "CoreML runs on macOS, iOS and iPadOS only; here `inktex verify` runs the packages "
            "operation by operation"
        )
    try:
        import coremltools
    except ImportError as error:
        raise RuntimeUnavailable(
            f"coremltools cannot be loaded ({error}); install it with "
            "`pip install coremltools 'numpy<2.4'`"
        ) from error
    interface, units = bundle.manifest.interface, coremltools.ComputeUnit
    return (
        _Package(coremltools, bundle, variant.encoder, interface.encoder, units.ALL),
        _Package(coremltools, bundle, variant.step, interface.step, units.CPU_ONLY),
    )


class _Package:
    """One package, compiled; CoreML lets many threads predict at once."""

    def __init__(
        self, coremltools: Any, bundle: Bundle, name: str, spec: GraphSpec, units: Any
    ) -> None:
        for file in bundle.manifest.files:
            if file.startswith(f"{name}/"):
                bundle.read(file)  # is as the manifest says
        try:
            self._model = coremltools.models.MLModel(str(bundle.path / name), compute_units=units)
            description = self._model.get_spec().description
        except Exception as error:  # CoreML's, without a common kind
            raise BundleError(
                f"{bundle.path}: CoreML refuses the package {name!r}: {error}; export the bundle "
                "again, for this version of macOS"
            ) from error
        self.kept = tuple(each.name for each in description.state)
        self._dtypes = {each.name: each.dtype for each in spec.inputs}
        self._inputs = [each.name for each in description.input]
        self._outputs = [each.name for each in description.output]

    def make_state(self) -> Any:
        return self._model.make_state()

    def __call__(self, inputs: Mapping[str, NDArray[Any]], state: Any = None) -> Arrays:
        given = {
            name: inputs[name].astype(np.int32 if self._dtypes[name] == "int64" else np.float32)
            for name in self._inputs
        }
        found = self._model.predict(given, **({} if state is None else {"state": state}))
        return {name: np.asarray(found[name], np.float32) for name in self._outputs}
