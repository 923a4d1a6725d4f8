"""8 bits for ExecuTorch with XNNPACK, by the quantiser that knows which patterns XNNPACK runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..core.errors import RuntimeUnavailable


def static_int8(
    images: Sequence[NDArray[np.float32]], kept: Collection[str]
) -> Callable[[nn.Module], nn.Module]:
    """What quantises an exported encoder: signed activations and weights, per channel, with ranges
    from histograms of the activations.

    Args:
        images: to calibrate with, float32 [1, 1, h, w] each.
        kept: modules of the network, by name, that stay in float32.

    Raises:
        RuntimeUnavailable: executorch or torchao is not installed.
    """

    def calibrate(module: nn.Module) -> None:
        for image in images:
            module(torch.from_numpy(image))

    return _quantiser(calibrate, kept, dynamic=False)


def dynamic_int8(kept: Collection[str]) -> Callable[[nn.Module], nn.Module]:
    """What quantises an exported step: weights of 8 bits, activations while it runs."""
    return _quantiser(lambda module: None, kept, dynamic=True)


def _quantiser(
    calibrate: Callable[[nn.Module], None], kept: Collection[str], dynamic: bool
) -> Callable[[nn.Module], nn.Module]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
                XNNPACKQuantizer,
                get_symmetric_quantization_config,
            )
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    except ImportError as error:
        raise RuntimeUnavailable(
            f"ExecuTorch's quantiser cannot be loaded ({error}); install it with "
            "`pip install executorch torchao`"
        ) from error
    modules = {f"network.{name}" for name in kept}

    def wanted(node: Any) -> bool:
        stack = node.meta.get("nn_module_stack") or {}
        return not any(path.split("'].")[-1] in modules for path, _ in stack.values())

    def quantize(module: nn.Module) -> nn.Module:
        config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
        quantizer = XNNPACKQuantizer().set_global(config)
        quantizer.set_filter_function(wanted)
        with torch.no_grad():
            watched = prepare_pt2e(module, quantizer)
            calibrate(watched)
            converted: nn.Module = convert_pt2e(watched)
        return converted

    return quantize
