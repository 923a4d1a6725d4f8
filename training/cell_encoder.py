"""What encoders of a grid of cells have in common: they can be asked for some cells alone."""

from __future__ import annotations

from torch import Tensor, nn


class CellEncoder(nn.Module):
    """Images [b, channels, h, w], ink 1 on 0 -> features [b, d, rows, columns] of cells."""

    def at_cells(self, images: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """The same features [b, n, d] of some cells alone, given their rows and columns, int64
        [n]."""
        return as_rows(picked(self(images), row, column))


def picked(features: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """features [b, c, h, w] -> [b, c, 1, n], those of some cells"""
    # channels last, as runtimes compute convolutions of 8 bits: so nothing is laid out anew
    cells = features.permute(0, 2, 3, 1).flatten(1, 2)
    found = cells.index_select(1, row * features.shape[3] + column)
    return found[:, None].permute(0, 3, 1, 2)


def as_rows(features: Tensor) -> Tensor:
    """[b, c, 1, n] -> [b, n, c]"""
    return features[:, :, 0].transpose(1, 2)


def quotient(numbers: Tensor, by: int) -> Tensor:
    """Small whole numbers divided, int64 [n] rounded down; in ONNX with a third of the operators of
    `//`."""
    return (numbers / by).long()
