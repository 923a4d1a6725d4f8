"""Batch norms that were folded away, given back the statistics of what they see."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from .recognizer import Recognizer
from .two_scale_encoder import ConvNorm


class _Moments:
    """Sums over all positions, by channel: of the values, of their squares, of ones."""

    def __init__(self) -> None:
        self.sum = self.squares = torch.zeros((), dtype=torch.float64)
        self.count = 0

    def add(self, values: Tensor) -> None:
        """values [b, c, h, w]"""
        self.sum = self.sum + values.sum((0, 2, 3), dtype=torch.float64)
        self.squares = self.squares + values.double().square().sum((0, 2, 3))
        self.count += values.numel() // values.shape[1]


@torch.no_grad()
def measure_norms(network: Recognizer, fresh: Collection[str], images: Iterable[Tensor]) -> None:
    """Set mean and variance of batch norms to what their convolutions give, and scale and shift so
    that the network computes what it did before.

    A folded norm is an identity with a shift. In training it would divide by the spread of a
    batch and multiply by nothing: another function. With the spread in its scale, training goes
    on where it stood.

    Args:
        fresh: names of the tensors with fresh weights; norms with one of these are left alone.
        images: batches [b, channels, h, w] as in training.
    """
    blocks = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, ConvNorm) and not any(each.startswith(f"{name}.") for each in fresh)
    }
    moments = {name: _Moments() for name in blocks}
    hooks = [
        block[0].register_forward_hook(partial(_note, moments[name]))
        for name, block in blocks.items()
    ]
    was_training = network.training
    network.eval()
    encoder = network.get_submodule("encoder")
    for batch in images:
        encoder(batch)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for name, block in blocks.items():
        norm, found = block[1], moments[name]
        assert isinstance(norm, nn.BatchNorm2d)
        if found.count:
            _restate(norm, found)


@torch.no_grad()
def resize_kernels(network: Recognizer, names: Collection[str]) -> None:
    """Bring kernels to about the size of fresh ones, by one factor each, and have the batch norms
    behind them make up for it, so that the network computes what it did before.

    Folded, the kernel that sees the images is some twenty times as large as a fresh one, as most of
    an image is blank. An optimiser moves all weights by about as much, whatever their size: new
    channels beside such weights would stay unseen for thousands of steps, and the old ones still.

    Args:
        names: of the kernels; one that is not of a `ConvNorm` was not folded, and is left alone.
    """
    for name in names:
        block = network.get_submodule(name.removesuffix(".0.weight"))
        if not isinstance(block, ConvNorm):
            continue
        convolution, norm = block
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # Conv2d begins with a variance of a third of one over the inputs of an output
        factor = math.sqrt(convolution.out_channels / 3) / convolution.weight.norm()
        convolution.weight.mul_(factor)
        norm.running_mean.mul_(factor)
        norm.running_var.add_(norm.eps).mul_(factor**2).sub_(norm.eps)


def _note(moments: _Moments, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    moments.add(output)


def _restate(norm: nn.BatchNorm2d, found: _Moments) -> None:
    """The same function of a channel, around another mean and variance."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean = found.sum / found.count
    variance = (found.squares / found.count - mean.square()).clamp(min=0)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - scale * norm.running_mean.double()
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + scale * mean)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
