"""A module as an ExecuTorch program that XNNPACK runs: for Android and iOS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ExportError, RuntimeUnavailable
from ..core.interface import GraphSpec
from ..core.quiet import quiet
from ..training.recognizer import STRIDE
from .to_onnx import by_parameter


def to_executorch(
    module: nn.Module,
    examples: Mapping[str, Tensor],
    spec: GraphSpec,
    limits: Mapping[str, int],
    quantize: Callable[[nn.Module], nn.Module] | None = None,
) -> bytes:
    """The program, with one method, `forward`.

    Args:
        module, examples, spec: as `to_onnx` takes them.
        limits: greatest size of every dynamic axis; one of 1 becomes fixed.
        quantize: makes of the exported module another one with Q/DQ.

    Raises:
        RuntimeUnavailable: executorch is not installed.
        ExportError: the module cannot be exported, or lowered, with these axes dynamic.
    """
    with quiet():
        try:
            from executorch.backends.xnnpack.partition.config import (
                ALL_PARTITIONER_CONFIGS,
                generic_node_configs,
            )
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.backends.xnnpack.utils.configs import get_transform_passes
            from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
        except ImportError as error:
            raise RuntimeUnavailable(
                f"ExecuTorch cannot be loaded ({error}); install it with `pip install executorch`"
            ) from error
    # XNNPACK takes shapes with one dynamic size only, and its partitioner forgets to ask for
    # `unsqueeze`, which recurrent decoders do on shapes of beams, rows and columns
    known = [
        each
        for each in ALL_PARTITIONER_CONFIGS
        if each is not generic_node_configs.UnsqueezeCopyConfig
    ]
    dims: dict[str, Any] = {}
    for name, most in limits.items():
        # both sides of an image are multiples of the stride, which tracing wants to know
        step = STRIDE if name in ("height", "width") else 1
        dims[name] = None if most == 1 else step * torch.export.Dim(name, min=1, max=most // step)
    inputs = []
    shapes = []
    for each in spec.inputs:
        example = examples[each.name]
        for axis, size in enumerate(each.shape):
            if isinstance(size, str) and dims[size] is None:
                example = example.narrow(axis, 0, 1)
        inputs.append(example.contiguous())
        shapes.append(
            {
                axis: dims[size]
                for axis, size in enumerate(each.shape)
                if isinstance(size, str) and dims[size] is not None
            }
        )
    try:
        with quiet():
            axes = by_parameter(module, shapes)
            program = torch.export.export(
                module.eval(), tuple(inputs), dynamic_shapes=axes, strict=False
            )
            if quantize is not None:
                program = torch.export.export(
                    quantize(program.module()),
                    tuple(inputs),
                    dynamic_shapes=tuple(shapes),  # what it takes together is apart now
                    strict=False,
                )
            lowered = to_edge_transform_and_lower(
                program,
                # without them every product in a step copies its factors first, caches and all
                transform_passes=get_transform_passes(),
                partitioner=[XnnpackPartitioner(configs=known)],
                compile_config=EdgeCompileConfig(_check_ir_validity=False),
            )
            return bytes(lowered.to_executorch().buffer)
    except Exception as error:  # the exporters have no common error
        raise ExportError(
            f"{type(module).__name__} cannot be written for ExecuTorch: {error}"
        ) from error
