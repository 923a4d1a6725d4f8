"""A bundle on CoreML, on a Mac; phones and tablets take the same files from Swift."""

from __future__ import annotations

import platform
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
    graphs = Graphs(
        _Graph(coremltools, bundle, variant.encoder, interface.encoder, units.ALL),
        _Graph(coremltools, bundle, variant.step, interface.step, units.CPU_ONLY),
    )
    return GraphModel(bundle.manifest, graphs, variant.limits, image_sizes=variant.image_sizes)


class _Graph:
    """One package, compiled; CoreML lets many threads predict at once."""

    def __init__(
        self, coremltools: Any, bundle: Bundle, name: str, spec: GraphSpec, units: Any
    ) -> None:
        for file in bundle.manifest.files:
            if file.startswith(f"{name}/"):
                bundle.read(file)  # is as the manifest says
        try:
            self._model = coremltools.models.MLModel(str(bundle.path / name), compute_units=units)
        except Exception as error:  # CoreML's, without a common kind
            raise BundleError(
                f"{bundle.path}: CoreML refuses the package {name!r}: {error}; export the bundle "
                "again, for this version of macOS"
            ) from error
        self._spec = spec

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        given = {
            each.name: inputs[each.name].astype(np.int32 if each.dtype == "int64" else np.float32)
            for each in self._spec.inputs
        }
        found = self._model.predict(given)
        return {each.name: np.asarray(found[each.name], each.dtype) for each in self._spec.outputs}
