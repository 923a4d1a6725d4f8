"""Quantisation-aware training: the encoder computes as it will in 8 bits, and learns to bear it
(Jacob et al., 2018, arXiv:1712.05877).

Modules of the project's own, and not torchao's pt2e. That was tried (0.18): it exports the encoder
with dynamic sizes and prepares it, but what comes out refuses `train()` and `eval()`, which the
trainer calls, and adds 210 tensors to a state of 72. Here every name stays, so that a checkpoint is
as any other: it is resumed, averaged, evaluated, started from and exported like those, and `inktex
quantize` makes of it the same Q/DQ graphs.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional

from .recognizer import Recognizer
from .two_scale_encoder import ConvNorm

_QUANTILE = 0.9999
_LOOKED_AT = 1 << 14  # values of a batch that tell its range
_GOLDEN = (5**0.5 - 1) / 2


class QuantizedConvNorm(ConvNorm):
    """A convolution with its batch norm folded in, as it will be exported, whose input has the 256
    levels of an unsigned byte, and whose weights the 255 of a signed one for each output channel.

    The range of the input is that of its batch, but for outliers: so nothing is kept between
    batches, and a resumed training learns exactly what it would have learnt. The statistics of the
    norm stay as they are, its scale and shift learn. Gradients pass where nothing is clipped
    (straight-through).
    """

    @classmethod
    def of(cls, block: ConvNorm) -> QuantizedConvNorm:
        """The same layer, with the very parameters of `block`."""
        made = cls.__new__(cls)
        nn.Sequential.__init__(made, *block)
        return made

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] -> [b, c', h', w']"""
        convolution, norm = self
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = convolution.weight * scale[:, None, None, None]
        return functional.conv2d(
            rounded_activations(x),
            rounded_weights(weight),
            norm.bias - norm.running_mean * scale,
            convolution.stride,
            convolution.padding,
        )


def make_quantization_aware(network: Recognizer) -> None:
    """Have all convolutions of the encoder compute as in 8 bits; no tensor gets another name."""
    for name, module in list(network.named_modules()):
        if isinstance(module, ConvNorm) and name.startswith("encoder."):
            network.set_submodule(name, QuantizedConvNorm.of(module))


def rounded_activations(x: Tensor) -> Tensor:
    """The nearest of 256 levels, one of which is 0, between the extremes of most of the values."""
    x = x.float()
    with torch.no_grad():
        some = spread_values(x.detach())
        high = torch.quantile(some, _QUANTILE).clamp(min=0)
        low = torch.quantile(some, 1 - _QUANTILE).clamp(max=0)
        scale = ((high - low) / 255).clamp(min=1e-8)
        zero = (-low / scale).round().clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


def spread_values(x: Tensor) -> Tensor:
    """Some of the values of a tensor, [16384] of them or all, from everywhere in it.

    From one to the next it goes by the golden ratio of their number, and by a step without a common
    divisor with it. Every so-manieth value would not do: sides of images have many divisors, and
    all would come from a few columns, from the blank margin as likely as not.
    """
    flat = x.reshape(-1)
    size = flat.numel()
    if size <= _LOOKED_AT:
        return flat
    step = round(size * _GOLDEN)
    while gcd(step, size) > 1:
        step += 1
    return flat[torch.arange(_LOOKED_AT, device=x.device) * step % size]


def rounded_weights(weight: Tensor) -> Tensor:
    """The nearest of 255 levels around 0, for each output channel."""
    weight = weight.float()
    with torch.no_grad():
        scale = (weight.detach().abs().amax(dim=(1, 2, 3)) / 127).clamp(min=1e-8)
        zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)
