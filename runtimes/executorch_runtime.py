"""A bundle on ExecuTorch, on the processor, through its Python bindings, which take torch tensors.

An app on a phone runs the same files through ExecuTorch's own libraries, without Python and torch.
"""

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
from ..core.quiet import quiet
from .graph_model import Arrays, GraphModel, Graphs
from .processors import checked_threads


def executorch_model(bundle: Bundle, variant: Variant, threads: int | None = None) -> GraphModel:
    """A `StepModel` of a variant whose graphs are ExecuTorch programs.

    Args:
        threads: ExecuTorch has one pool for the whole process and sets its size by itself; the
            number is only checked.

    Raises:
        RuntimeUnavailable: executorch is not installed.
        BundleError: a program that ExecuTorch refuses, or that is not as the manifest says.
        InputError: fewer than one thread.
    """
    graphs = executorch_graphs(bundle, variant, threads)
    return GraphModel(bundle.manifest, graphs, variant.limits)


def executorch_graphs(bundle: Bundle, variant: Variant, threads: int | None = None) -> Graphs:
    """The two programs of a variant, loaded; raises as `executorch_model`."""
    checked_threads(threads)
    interface = bundle.manifest.interface
    return Graphs(
        _Program(bundle, variant.encoder, interface.encoder),
        _Program(bundle, variant.step, interface.step),
    )


class _Program:
    """One program; calls from several threads take turns, as its memory is planned for one."""

    def __init__(self, bundle: Bundle, name: str, spec: GraphSpec) -> None:
        try:
            with quiet():
                import torch
                from executorch.runtime import Runtime
        except ImportError as error:
            raise RuntimeUnavailable(
                f"ExecuTorch cannot be loaded ({error}); install it with `pip install executorch`"
            ) from error
        self._torch = torch
        self._inputs = [each.name for each in spec.inputs]
        self._outputs = [each.name for each in spec.outputs]
        self._turn = threading.Lock()
        try:
            # kept: the method reads its weights out of it
            self._program = Runtime.get().load_program(bundle.read(name))
            self._method: Any = self._program.load_method("forward")
        except RuntimeError as error:
            raise BundleError(
                f"{bundle.path}: ExecuTorch refuses the program {name!r}: {error}; export the "
                "bundle again, or upgrade executorch"
            ) from error
        found = self._method.metadata
        sizes = (found.num_inputs(), found.num_outputs())
        if sizes != (len(self._inputs), len(self._outputs)):
            raise BundleError(
                f"{bundle.path}: expected {len(self._inputs)} inputs and {len(self._outputs)} "
                f"outputs of {name!r}, as the manifest says, found {sizes[0]} and {sizes[1]}; "
                "export the bundle again"
            )

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        tensors = [
            self._torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in self._inputs
        ]
        with self._turn:
            outputs = self._method.execute(tensors)  # copies, which the next call leaves alone
        return {name: tensor.numpy() for name, tensor in zip(self._outputs, outputs, strict=True)}
