"""A convolutional encoder that looks at two scales: symbols at stride 8, structure at stride 16."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .cell_encoder import CellEncoder, as_rows, picked, quotient

CELL = 8
"""A cell of the memory is `CELL` x `CELL` pixels."""


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch norm (folded into one at export)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity (He et al., 2016, arXiv:1512.03385)."""

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)
        self.drop_path = drop_path
        norm = self.second[1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)  # every block starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, h, w] -> [b, c, h, w]"""
        branch = self.second(torch.relu(self.first(x)))
        if self.training and self.drop_path > 0:
            # stochastic depth (Huang et al., 2016, arXiv:1603.09382), drawn per image
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
            scale = kept.to(branch.dtype) / (1 - self.drop_path)
            return torch.relu(torch.addcmul(x, branch, scale))
        return torch.relu(x + branch)


class Stage(nn.Sequential):
    """Halve the resolution, then a row of residual blocks."""

    def __init__(self, inputs: int, channels: int, blocks: int, drop_path: float) -> None:
        super().__init__(
            ConvNorm(inputs, channels, stride=2),
            nn.ReLU(),
            *(ResidualBlock(channels, drop_path) for _ in range(blocks)),
        )


class TwoScaleEncoder(CellEncoder):
    """Images to features at stride 8, to which the features at stride 16 are added.

    Args:
        widths: channels at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
        features: channels of the result.
        drop_path: probability with which a residual branch is left out in training.
        inputs: channels of the images.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: Sequence[int],
        features: int,
        drop_path: float = 0.0,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        stem, fine, middle, coarse = widths
        self.stem = nn.Sequential(ConvNorm(inputs, stem, stride=2), nn.ReLU())
        self.fine = Stage(stem, fine, blocks[0], 0.0)
        self.middle = Stage(fine, middle, blocks[1], drop_path)
        self.coarse = Stage(middle, coarse, blocks[2], drop_path)
        self.from_middle = ConvNorm(middle, features, kernel=1)
        self.from_coarse = ConvNorm(coarse, features, kernel=1)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, images: Tensor) -> Tensor:
        """images [b, inputs, h, w], ink 1 on 0 -> features [b, d, h/8, w/8]"""
        middle = self.middle(self.fine(self.stem(images)))
        coarse = self.upsample(self.from_coarse(self.coarse(middle)))
        return torch.relu(self.from_middle(middle) + coarse)

    def at_cells(self, images: Tensor, row: Tensor, column: Tensor) -> Tensor:
        # what is behind the two scales sees one cell at a time
        middle = self.middle(self.fine(self.stem(images)))
        coarse = picked(self.coarse(middle), quotient(row, 2), quotient(column, 2))
        fine = self.from_middle(picked(middle, row, column))
        return as_rows(torch.relu(fine + self.from_coarse(coarse)))
