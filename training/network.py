"""The recognizer as a network: encoder, memory of inked cells, decoder, and the heads that only
training sees."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .decoder import MASKED, CoverageTransformer, Memory, grid_encoding
from .encoder import CELL, TwoScaleEncoder

INK_THRESHOLD = 0.15
"""A cell is attended to when one of its pixels is at least this dark."""


class Cells(NamedTuple):
    """Features of the cells that the decoder may attend to.

    features: [b, cells, d]
    places: [b, cells, d] encodings of their places (batch 1 where all cells are kept)
    bias: [b, cells], 0 or `MASKED`
    numbers: [b, cells], the number of each cell in its grid, row by row
    """

    features: Tensor
    places: Tensor
    bias: Tensor
    numbers: Tensor


class RecognizerNetwork(nn.Module):
    """Images to memory to tokens.

    Attributes:
        encoder: images [b, 1, h, w] -> features [b, d, h/8, w/8]
        decoder: tokens and memory -> logits
        symbol_head: features of a cell -> the symbol whose ink lies in it (training only)
    """

    def __init__(
        self, encoder: TwoScaleEncoder, decoder: CoverageTransformer, features: int, vocabulary: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.symbol_head = nn.Linear(features, vocabulary)

    def inked(self, images: Tensor) -> Tensor:
        """images [b, 1, h, w] -> bool [b, cells]: does the cell hold ink?"""
        return functional.max_pool2d(images, CELL).flatten(1) >= INK_THRESHOLD

    def all_cells(self, images: Tensor) -> Cells:
        """All cells of the grid; those without ink are masked. For export: no data-dependent
        shape."""
        features = self.encoder(images)
        _, d, height, width = features.shape
        places = grid_encoding(height, width, d, images.device).flatten(1).T[None]
        bias = torch.where(self.inked(images), 0.0, MASKED)
        cells = features.flatten(2).transpose(1, 2)
        numbers = torch.arange(height * width, device=images.device)[None]
        return Cells(cells, places.to(cells.dtype), bias, numbers)

    def inked_cells(self, images: Tensor) -> Cells:
        """Only the cells with ink, padded to the most that an image of the batch has.

        Equal to `all_cells` for the decoder, and 3 to 5 times fewer.
        """
        everything = self.all_cells(images)
        inked = everything.bias == 0
        count = max(int(inked.sum(dim=1).max()), 1)
        # a stable sort keeps the inked cells in reading order and puts them first
        index = torch.argsort(~inked, dim=1, stable=True)[:, :count]
        spread = index[:, :, None].expand(-1, -1, everything.features.shape[2])
        return Cells(
            everything.features.gather(1, spread),
            everything.places.expand(len(images), -1, -1).gather(1, spread),
            everything.bias.gather(1, index),
            index,
        )

    def encode(self, images: Tensor) -> Memory:
        """images [b, 1, h, w], ink 1 on 0, sides multiples of 16 -> memory of all cells"""
        cells = self.all_cells(images)
        return self.decoder.remember(cells.features, cells.places, cells.bias)
