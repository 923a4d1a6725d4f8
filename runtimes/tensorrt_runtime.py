"""A bundle on TensorRT, on an NVIDIA GPU: memories and states stay there between steps."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Bundle
from ..core.errors import BundleError, RuntimeUnavailable
from ..core.interface import GraphSpec
from ..core.manifest import Variant
from .cuda_store import Cuda, CudaStore, Device, DeviceArray
from .graph_model import GraphModel, Graphs
from .processors import checked_threads
from .tensorrt_engines import EngineCache, EngineKey, Profile, build, profiles, tensorrt


def tensorrt_model(bundle: Bundle, variant: Variant, threads: int | None = None) -> GraphModel:
    """A `StepModel` of a variant whose graphs are ONNX made for TensorRT.

    Engines that are not in the cache are made now, which takes seconds to minutes: see
    `inktex build-engine`.

    Args:
        threads: checked, and of no use: the GPU has its own.

    Raises:
        RuntimeUnavailable: no TensorRT, no GPU, or no memory on it.
        BundleError: a graph that TensorRT refuses.
        InputError: fewer than one thread.
    """
    checked_threads(threads)
    library = tensorrt_or_unavailable()
    store = CudaStore(Cuda())
    return GraphModel(
        bundle.manifest, graphs(library, store, bundle, variant), variant.limits, store
    )


def tensorrt_or_unavailable() -> ModuleType:
    """The library.

    Raises:
        RuntimeUnavailable: it is not installed.
    """
    try:
        return tensorrt()
    except ImportError as error:
        raise RuntimeUnavailable(
            f"TensorRT cannot be loaded ({error}); JetPack brings it, elsewhere install it with "
            "`pip install tensorrt-rtx polygraphy`"
        ) from error


def graphs(
    library: ModuleType,
    store: CudaStore,
    bundle: Bundle,
    variant: Variant,
    cache: EngineCache | None = None,
) -> Graphs:
    """The two graphs of a variant as engines, loaded; raises as `tensorrt_model`."""
    interface, limits = bundle.manifest.interface, variant.limits
    cache = cache or EngineCache()
    return Graphs(
        _Engine(library, store, bundle, variant.encoder, interface.encoder, limits, cache),
        _Engine(library, store, bundle, variant.step, interface.step, limits, cache),
    )


def engine_of(
    library: ModuleType,
    device: Device,
    bundle: Bundle,
    name: str,
    spec: GraphSpec,
    limits: Mapping[str, int],
    cache: EngineCache,
    *,
    anew: bool = False,
) -> bytes:
    """The engine of a graph for a device, from the cache, or made now.

    Raises:
        ExportError: TensorRT cannot make it.
    """
    ranges = profiles(spec, limits)
    version = f"{library.__name__} {library.__version__}"
    key = EngineKey(bundle.manifest.files[name].sha256, version, device.facts(), ranges)
    return cache.get(key, lambda: build(library, bundle.read(name), name, ranges), anew=anew)


class _Engine:
    """One graph; every thread that calls it has a context of its own.

    What goes in may lie on the host or on the device; what comes out lies on the device.
    """

    def __init__(
        self,
        library: ModuleType,
        store: CudaStore,
        bundle: Bundle,
        name: str,
        spec: GraphSpec,
        limits: Mapping[str, int],
        cache: EngineCache,
    ) -> None:
        self._store, self._spec, self._name = store, spec, name
        self._ranges: list[Profile] = profiles(spec, limits)
        self._runtime = library.Runtime(library.Logger(library.Logger.ERROR))
        arguments = (library, store.device, bundle, name, spec, limits, cache)
        self._engine = self._runtime.deserialize_cuda_engine(engine_of(*arguments))
        if self._engine is None:  # damaged on the disk, or made by something that lied
            again = engine_of(*arguments, anew=True)
            self._engine = self._runtime.deserialize_cuda_engine(again)
        if self._engine is None:
            raise BundleError(
                f"{bundle.path}: TensorRT {library.__version__} refuses its own engine of "
                f"{name!r}; its messages are on standard error; use another runtime"
            )
        self._of_thread = threading.local()

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = {
            each.name: self._on_device(inputs[each.name], each.dtype) for each in self._spec.inputs
        }
        context = self._context({name: array.shape for name, array in given.items()})
        for name, array in given.items():
            context.set_input_shape(name, array.shape)
            context.set_tensor_address(name, array.address)
        outputs = {}
        for each in self._spec.outputs:
            shape = tuple(context.get_tensor_shape(each.name))
            outputs[each.name] = DeviceArray(self._store.pool, shape, each.dtype)
            context.set_tensor_address(each.name, outputs[each.name].address)
        if not context.execute_async_v3(self._store.stream):
            raise RuntimeUnavailable(
                f"TensorRT could not run {self._name!r}; its messages are on standard error: is "
                "there memory left on the GPU?"
            )
        return outputs

    def _on_device(self, array: DeviceArray | NDArray[Any], dtype: str) -> DeviceArray:
        if isinstance(array, DeviceArray):
            return array
        return self._store.put(np.asarray(array, dtype))

    def _context(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """This thread's context for the narrowest profile that takes the shapes."""
        number = next(
            (
                number
                for number, ranges in enumerate(self._ranges)
                if all(_at_most(shape, ranges[name][2]) for name, shape in shapes.items())
            ),
            len(self._ranges) - 1,
        )
        contexts: dict[int, Any] = self._of_thread.__dict__.setdefault("contexts", {})
        if number not in contexts:
            context = self._engine.create_execution_context()
            if context is None:
                raise RuntimeUnavailable(
                    f"TensorRT has no memory to run {self._name!r}; free some on the GPU"
                )
            if number:
                context.set_optimization_profile_async(number, self._store.stream)
            contexts[number] = context
        return contexts[number]


def _at_most(shape: tuple[int, ...], most: tuple[int, ...]) -> bool:
    return all(size <= limit for size, limit in zip(shape, most, strict=True))
