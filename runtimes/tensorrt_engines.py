"""Engines: what TensorRT makes of a graph for one GPU, made where it runs, and kept.

Works with TensorRT 10 (JetPack 6) and 11, and with TensorRT for RTX, whose engines are finished on
the GPU when they are loaded. Making one takes seconds to minutes, so it is kept in the cache folder
under everything that it depends on: an engine for another graph, GPU, driver, version or range of
sizes has another name, and is never loaded.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import DataError, ExportError
from ..core.interface import GraphSpec
from ..core.replacement import replacing
from .cache_folder import cache_folder

LIBRARIES = ("tensorrt", "tensorrt_rtx")
"""In order of preference; both have one interface."""

_SUFFIX = ".engine"
_WORKSPACE_BYTES = 1 << 30
_TYPICAL = {
    **{"batch": 1, "height": 96, "width": 256, "cells": 64, "beams": 1, "length": 32},
    **{"rows": 6, "columns": 16},
}
_LEAST = {"height": 16, "width": 16}
_BUCKETS: tuple[Mapping[str, int], ...] = (
    {"height": 96, "width": 320},
    {"height": 192, "width": 768},
)
"""The greatest sizes of most images; larger ones have a profile up to the limits."""

Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""By input: the least, the typical and the greatest shape of an optimisation profile."""


def tensorrt() -> ModuleType:
    """The library.

    Raises:
        ImportError: neither of `LIBRARIES` is here.
    """
    reasons = []
    for name in LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reasons.append(str(error))
    raise ImportError("; ".join(reasons))


def parsed(library: ModuleType, graph: bytes, name: str) -> tuple[Any, Any]:
    """A builder and the network that TensorRT reads from an ONNX file.

    Raises:
        ExportError: a node that TensorRT does not know, or cannot take as it is.
    """
    logger = library.Logger(library.Logger.ERROR)
    builder = library.Builder(logger)
    flags = 0
    strongly_typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if strongly_typed is not None:
        flags = 1 << int(strongly_typed)
    network = builder.create_network(flags)
    parser = library.OnnxParser(network, logger)
    if not parser.parse(graph):
        problems = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise ExportError(f"TensorRT {library.__version__} cannot take {name}: {problems}")
    return builder, network


def profiles(spec: GraphSpec, limits: Mapping[str, int]) -> list[Profile]:
    """The ranges of sizes that an engine is made for; each narrow one is faster than a wide one.

    Args:
        spec: the graph's interface.
        limits: the greatest size of every dynamic axis.
    """
    axes = {size for each in spec.inputs for size in each.shape if isinstance(size, str)}
    most = [limits]
    if "height" in axes:
        fit = [{**limits, **each} for each in _BUCKETS if _within(each, limits)]
        most = [*fit, limits]
    return [_profile(spec, each) for each in most]


def _within(sizes: Mapping[str, int], limits: Mapping[str, int]) -> bool:
    return all(size < limits[name] for name, size in sizes.items())


def _profile(spec: GraphSpec, most: Mapping[str, int]) -> Profile:
    def shape(sizes: Callable[[str], int], axes: Sequence[int | str]) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else sizes(size) for size in axes)

    return {
        each.name: (
            shape(lambda name: min(_LEAST.get(name, 1), most[name]), each.shape),
            shape(lambda name: min(_TYPICAL.get(name, 1), most[name]), each.shape),
            shape(lambda name: most[name], each.shape),
        )
        for each in spec.inputs
    }


def build(
    library: ModuleType,
    graph: bytes,
    name: str,
    ranges: Sequence[Profile],
    configure: Callable[[Any], None] = lambda config: None,
) -> bytes:
    """Make an engine.

    Args:
        ranges: by `profiles`.
        configure: called with the builder's configuration, for what only one GPU wants.

    Raises:
        ExportError: TensorRT cannot; its own messages stand on standard error.
    """
    builder, network = parsed(library, graph, name)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    for each in ranges:
        profile = builder.create_optimization_profile()
        for tensor, shapes in each.items():
            profile.set_shape(tensor, *shapes)
        config.add_optimization_profile(profile)
    configure(config)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(
            f"TensorRT {library.__version__} cannot make an engine of {name}; its messages are "
            "above; try another version, or another runtime"
        )
    return bytes(engine)


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        graph: SHA-256 of the ONNX file.
        library: name and version of TensorRT.
        gpu: of the GPU, whatever tells it from others: capability, processors, driver.
        ranges: the profiles.
    """

    graph: str
    library: str
    gpu: Mapping[str, int | str]
    ranges: Sequence[Profile]

    @property
    def name(self) -> str:
        """Of its file."""
        facts = [self.graph, self.library, dict(self.gpu), [dict(each) for each in self.ranges]]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40] + _SUFFIX


class EngineCache:
    """Engines in a folder, each made once.

    Args:
        folder: need not exist; by default `engines` in the cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "engines"

    def get(self, key: EngineKey, make: Callable[[], bytes], *, anew: bool = False) -> bytes:
        """The engine, from the folder, or made now and put there.

        Of several processes that want one, one makes it, and the others wait. Where the folder
        cannot be written to, a warning says so, and the engine is made every time.

        Args:
            anew: make it even if it is there, since what is there was refused.
        """
        path = self.folder / key.name
        found = None if anew else _read(path)
        if found is not None:
            return found
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = _locked(path.with_suffix(".lock"))
            with lock:
                found = None if anew else _read(path)  # another process may have been faster
                if found is None:
                    found = make()
                    with replacing(path) as partial:
                        partial.write_bytes(found)
        except (OSError, DataError) as error:  # no room, or not ours to write
            warnings.warn(
                f"engines cannot be kept in {self.folder} ({error}); each start makes them again: "
                "make room, or name a folder of your own with INKTEX_CACHE",
                RuntimeWarning,
                stacklevel=2,
            )
        return make() if found is None else found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() or None
    except OSError:
        return None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; on Windows all at once, which costs time but nothing else."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
