"""The self-supervised attention network: between encoder and decoder, every inked cell looks at the
others.

After "Mask & Match" (Mitra et al., 2025), which states that such a network is trained without
labels under progressive spatial masking, and no more. Its shape here, a transformer among the cells
that hold ink, is our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .cell_encoder import CellEncoder
from .places import grid_encoding
from .transformer_decoder import MASKED
from .transformer_recognizer import holds_ink


class AttentionLayer(nn.Module):
    """Attention among cells, then feed-forward; normalised before each."""

    def __init__(self, features: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.qkv = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)
        self.feed_norm = nn.LayerNorm(features)
        self.feed_in = nn.Linear(features, hidden)
        self.feed_out = nn.Linear(hidden, features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [b, cells, d], bias [b, cells], 0 where a cell may be looked at -> [b, cells, d]"""
        parts = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [b, heads, cells, d/heads] each
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias[:, None, None]
        mixed = torch.softmax(scores, dim=-1) @ value
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        hidden = torch.relu(self.feed_in(self.feed_norm(x)))
        added: Tensor = self.dropout(self.feed_out(hidden))
        return x + added


class SelfAttentionNetwork(nn.Module):
    """Cells to cells that know of each other.

    Args:
        features, heads, hidden, layers: shape of the transformer; without layers it only adds the
            places.
        dropout: probability.
    """

    def __init__(self, features: int, heads: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.randn(features) * 0.02)
        self.layers = nn.ModuleList(
            AttentionLayer(features, heads, hidden, dropout) for _ in range(layers)
        )

    def forward(
        self, cells: Tensor, places: Tensor, bias: Tensor, masked: Tensor | None = None
    ) -> Tensor:
        """Let the cells look at each other.

        Args:
            cells: [b, cells, d]
            places: encodings of where they are, [1, cells, d].
            bias: [b, cells], 0 where a cell may be looked at, `MASKED` elsewhere.
            masked: bool [b, cells], True for cells whose features nobody may see, not even they
                themselves: only their place is known.

        Returns:
            [b, cells, d]
        """
        if masked is not None:
            cells = torch.where(masked[:, :, None], self.mask_token.to(cells.dtype), cells)
        x = cells + places
        for layer in self.layers:
            x = layer(x, bias)
        return x


class AttentiveEncoder(CellEncoder):
    """A convolutional encoder, a projection, and attention among the cells with ink.

    Attributes:
        trunk: images [b, inputs, h, w] -> features [b, channels, h/cell, w/cell]
        projection: to the width of the attention network
        attention: the self-supervised attention network
        cell: height and width of a cell, in pixels.
    """

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        features: int,
        attention: SelfAttentionNetwork,
        cell: int,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection = nn.Conv2d(channels, features, 1)
        self.attention = attention
        self.cell = cell

    def attend(self, features: Tensor, inked: Tensor, masked: Tensor | None = None) -> Tensor:
        """From the trunk's features on.

        Args:
            features: [b, channels, h, w] of the trunk.
            inked: bool [b, h * w], the cells that hold ink; the others are not looked at.
            masked: bool [b, h * w], the cells whose features are hidden.

        Returns:
            [b, d, h, w]
        """
        projected: Tensor = self.projection(features)
        _, d, height, width = projected.shape
        places = grid_encoding(height, width, d, features.device).flatten(1).T[None]
        # a choice between two numbers has no shape where CoreML's converter knows no size
        bias = (~inked).to(projected.dtype) * MASKED
        cells = projected.flatten(2).transpose(1, 2)
        attended: Tensor = self.attention(cells, places.to(cells.dtype), bias, masked)
        return attended.transpose(1, 2).reshape(projected.shape)

    def forward(self, images: Tensor) -> Tensor:
        """images [b, inputs, h, w], ink 1 on 0 -> features [b, d, h/cell, w/cell]"""
        return self.attend(self.trunk(images), holds_ink(images, self.cell))
