"""Where something is, as features: positions of tokens and cells (Vaswani et al., 2017,
arXiv:1706.03762)."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoid(positions: Tensor, features: int) -> Tensor:
    """Positions [n] -> encodings [n, features] (Vaswani et al., 2017, arXiv:1706.03762)."""
    rates = torch.exp(
        torch.arange(0, features, 2, device=positions.device) * (-9.210340371976184 / features)
    )
    angles = positions[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def grid_encoding(height: int, width: int, features: int, device: torch.device) -> Tensor:
    """Encodings [features, height, width]: half of the features tell the row, half the column."""
    half = features // 2
    rows = sinusoid(torch.arange(height, device=device), half)
    columns = sinusoid(torch.arange(width, device=device), half)
    return torch.cat(
        [
            rows.T[:, :, None].expand(half, height, width),
            columns.T[:, None, :].expand(half, height, width),
        ]
    )


def cell_encoding(row: Tensor, column: Tensor, height: int, width: int, features: int) -> Tensor:
    """Encodings [n, features] of some cells of that grid, given their rows and columns [n]."""
    half = features // 2
    rows = sinusoid(torch.arange(height, device=row.device), half)
    columns = sinusoid(torch.arange(width, device=row.device), half)
    return torch.cat([rows.index_select(0, row), columns.index_select(0, column)], dim=1)
