"""8 bits for ExecuTorch with XNNPACK, by the quantiser that knows which patterns XNNPACK runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import RuntimeUnavailable
from ..core.quiet import quiet


def int8(
    examples: Sequence[Mapping[str, Tensor]], kept: Collection[str], convolutions: bool = True
) -> Callable[[nn.Module], nn.Module]:
    """What quantises an exported graph: convolutions statically, signed and per channel, with
    ranges from histograms of their inputs and outputs; products with 8-bit weights, whose
    activations become so while they run.

    Args:
        examples: inputs by name, to calibrate with; one is enough without convolutions.
        kept: modules of the network, by name, that stay in float32.
        convolutions: quantise them, too. A step's have no inputs to calibrate with before it runs.

    Raises:
        RuntimeUnavailable: executorch or torchao is not installed.
    """
    try:
        with quiet():
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
        if any("sym_size" in str(user.target) for user in node.users):
            # XNNPACK leaves an operator to others whose result is asked for its size, and they know
            # no 8 bits
            return False
        stack = node.meta.get("nn_module_stack") or {}
        return not any(path.split("'].")[-1] in modules for path, _ in stack.values())

    def quantize(module: nn.Module) -> nn.Module:
        quantizer = XNNPACKQuantizer().set_filter_function(wanted)
        dynamically = {torch.ops.aten.linear.default: True}
        if convolutions:
            dynamically[torch.ops.aten.conv2d.default] = False
        for operator, dynamic in dynamically.items():
            config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
            quantizer.set_operator_type(operator, config)
        with torch.no_grad():
            watched = prepare_pt2e(module, quantizer)
            for example in examples:
                watched(*example.values())
            converted: nn.Module = convert_pt2e(watched)
        return converted

    return quantize
