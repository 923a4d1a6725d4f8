"""A densely connected convolutional encoder: every layer adds a few channels to all before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .two_scale_encoder import ConvNorm


class BottleneckLayer(nn.Module):
    """A 1x1 convolution to four times `growth` channels, then a 3x3 one to `growth` of them.

    The norms stand behind their convolutions, as in the released code of ABM, and not before them
    as in the paper of DenseNet: so they fold away at export.
    """

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.narrow = ConvNorm(inputs, 4 * growth, kernel=1)
        self.grow = ConvNorm(4 * growth, growth)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] -> [b, c + growth, h, w]"""
        hidden = self.dropout(torch.relu(self.narrow(x)))
        added = self.dropout(torch.relu(self.grow(hidden)))
        return torch.cat([x, added], dim=1)


class Transition(nn.Sequential):
    """Fewer channels, and half the resolution."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__(
            ConvNorm(inputs, outputs, kernel=1), nn.ReLU(), nn.Dropout(dropout), nn.AvgPool2d(2)
        )


class DenseEncoder(nn.Module):
    """Images to features at stride 16 (DenseNet-B, Huang et al., 2017, arXiv:1608.06993).

    As in ABM (Bian et al., 2022, arXiv:2112.03603), whose sizes are the defaults: three dense
    blocks, with a transition between two of them.

    Args:
        stem: channels of the first convolution, 7x7 with stride 2; a max pool follows.
        growth: channels that a layer adds.
        layers: layers of each dense block.
        reduction: share of the channels that a transition keeps.
        dropout: probability, behind every convolution but the first.
        inputs: channels of the images.

    Attributes:
        channels: of the features; 684 by default.
    """

    def __init__(
        self,
        stem: int = 48,
        growth: int = 24,
        layers: tuple[int, int, int] = (16, 16, 16),
        reduction: float = 0.5,
        dropout: float = 0.2,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(inputs, stem, 7, stride=2, padding=3, bias=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        blocks: list[nn.Module] = []
        self.channels = stem
        for count in layers:
            if blocks:
                kept = int(self.channels * reduction)
                blocks.append(Transition(self.channels, kept, dropout))
                self.channels = kept
            for _ in range(count):
                blocks.append(BottleneckLayer(self.channels, growth, dropout))
                self.channels += growth
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """images [b, inputs, h, w], ink 1 on 0, sides multiples of 16 -> features [b, channels,
        h/16, w/16]"""
        features: Tensor = self.blocks(self.stem(images))
        return features
