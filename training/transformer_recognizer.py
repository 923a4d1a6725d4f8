"""The recognizer as a network: encoder, memory of inked cells, decoder, and the heads that only
training sees."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.attention import COVERAGE
from ..core.interface import (
    ALL_CELLS,
    TREE_ANCESTORS,
    TREE_POSITIONS,
    TREE_TOKENS,
    GraphSpec,
    Interface,
    StateSpec,
    TensorSpec,
)
from .batches import INK_THRESHOLD
from .cell_encoder import CellEncoder, quotient
from .places import cell_encoding, grid_encoding
from .recognizer import Recognizer
from .transformer_decoder import MASKED, CoverageTransformer, Memory, State


def holds_ink(images: Tensor, cell: int) -> Tensor:
    """images [b, channels, h, w] -> bool [b, cells]: does the cell of `cell` x `cell` pixels hold
    ink?"""
    if images.shape[1] > 1:
        images = images[:, :1]  # the trail of the pen is drawn on ink
    return functional.max_pool2d(images, cell).flatten(1) >= INK_THRESHOLD


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


class TransformerRecognizer(Recognizer):
    """A convolutional encoder and a transformer decoder that looks at the cells with ink.

    Attributes:
        encoder: images [b, image_channels, h, w] -> features [b, d, h/cell, w/cell]
        decoder: tokens and memory -> logits
        cell: height and width of a cell, in pixels.
        symbol_head: features of a cell -> the symbol whose ink lies in it (training only)
    """

    memory_type = Memory
    state_type = State

    def __init__(
        self,
        encoder: CellEncoder,
        decoder: CoverageTransformer,
        cell: int,
        symbol_head: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.cell = cell
        self.symbol_head = symbol_head
        self.max_length = decoder.max_length

    def inked(self, images: Tensor) -> Tensor:
        """images [b, image_channels, h, w] -> bool [b, cells]: does the cell hold ink?"""
        return holds_ink(images, self.cell)

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

    def inked_cells(self, images: Tensor, most: int | None = None) -> Cells:
        """Only the cells with ink, padded to the most that an image of the batch has.

        Equal to `all_cells` for the decoder, and 3 to 5 times fewer.

        Args:
            most: how many that are, where it is known; else it is counted.
        """
        everything = self.all_cells(images)
        inked = everything.bias == 0
        count = most or max(int(inked.sum(dim=1).max()), 1)
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
        """images [b, image_channels, h, w], ink 1 on 0, sides multiples of 16 -> memory of all
        cells"""
        cells = self.all_cells(images)
        return self.decoder.remember(cells.features, cells.places, cells.bias)

    def encode_inked(self, images: Tensor) -> Memory:
        bias = torch.where(self.inked(images), 0.0, MASKED)
        inked = (bias == 0).any(dim=0)
        index = (inked | ~inked.any()).nonzero().squeeze(1)
        height, width = (side // self.cell for side in images.shape[2:])
        row = quotient(index, width)
        column = index - row * width
        features = self.encoder.at_cells(images, row, column)
        places = cell_encoding(row, column, height, width, features.shape[2])[None]
        return self.decoder.remember(features, places.to(features.dtype), bias)

    def remember(self, images: Tensor) -> Memory:
        """images [b, image_channels, h, w] -> memory of the cells with ink"""
        cells = self.inked_cells(images)
        return self.decoder.remember(cells.features, cells.places, cells.bias)

    def start(self, memory: Memory, beams: int, length: int | None = None) -> State:
        return self.decoder.start(memory, beams, length)

    def step(
        self, tokens: Tensor, position: Tensor, memory: Memory, state: State
    ) -> tuple[Tensor, State]:
        return self.decoder.step(tokens, position, memory, state)

    def read_tree(
        self, tokens: Tensor, positions: Tensor, ancestors: Tensor, memory: Memory
    ) -> tuple[Tensor, State]:
        return self.decoder.read_tree(tokens, positions, ancestors, memory)

    def interface(self) -> Interface:
        layers, heads = len(self.decoder.layers), self.decoder.heads
        vocabulary, features = self.decoder.embedding.weight.shape
        width = features // heads
        memory = (heads, "cells", width)
        cache = ("length", "beams", heads, width)
        coverage = (1, heads, "beams", "cells")

        def tensor(name: str, *shape: int | str) -> TensorSpec:
            return TensorSpec(name, "float32", shape)

        def each(name: str, *shape: int | str) -> tuple[TensorSpec, ...]:
            return tuple(tensor(f"{name}_{number}", *shape) for number in range(layers))

        def remembered(batch: int | str, biased: str) -> tuple[TensorSpec, ...]:
            return (
                *each("memory_keys", batch, *memory),
                *each("memory_values", batch, *memory),
                tensor("memory_bias", batch, biased),
            )

        def state(prefix: str = "") -> tuple[TensorSpec, ...]:
            return (
                *each(f"{prefix}cache_keys", *cache),
                *each(f"{prefix}cache_values", *cache),
                *each(f"{prefix}{COVERAGE}", *coverage),
            )

        return Interface(
            encoder=GraphSpec(
                inputs=(tensor("images", "batch", self.image_channels, "height", "width"),),
                outputs=remembered("batch", ALL_CELLS),
            ),
            step=GraphSpec(
                inputs=(
                    TensorSpec("tokens", "int64", ("beams",)),
                    TensorSpec("position", "int64", (1,)),
                    *remembered(1, "cells"),
                    *state(),
                ),
                outputs=(tensor("log_probs", "beams", vocabulary), *state("next_")),
            ),
            state=tuple(
                StateSpec(before.name, after.name, length_axis=0, in_place=True)
                if "length" in before.shape
                else StateSpec(before.name, after.name)
                for before, after in zip(state(), state("next_"), strict=True)
            ),
            tree=GraphSpec(
                inputs=(
                    TensorSpec(TREE_TOKENS, "int64", ("nodes",)),
                    TensorSpec(TREE_POSITIONS, "int64", ("nodes",)),
                    tensor(TREE_ANCESTORS, "nodes", "nodes"),
                    *remembered(1, "cells"),
                ),
                outputs=(
                    tensor("log_probs", "nodes", vocabulary),
                    *each("next_cache_keys", "nodes", 1, heads, width),
                    *each("next_cache_values", "nodes", 1, heads, width),
                    *each(f"next_{COVERAGE}", 1, heads, "nodes", "cells"),
                ),
            ),
        )
