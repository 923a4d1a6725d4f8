"""What training, decoding in torch and export know of a network, whatever its architecture."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..core.interface import Interface

STRIDE = 16
"""Height and width of all images are multiples of this many pixels."""


class Recognizer(nn.Module):
    """An encoder and a decoder that writes one token at a time; every method is to be written.

    Memory and state are tuples of tensors, with a property for each part. The memory is made once
    per image and holds everything that does not depend on the step. The state has fixed shapes and
    starts as zeros. Rows of the state are beams of one image, or images of one beam each.

    Attributes:
        max_length: the most steps that can be made.
        memory_type, state_type: of the tuples, which are made of their tensors one by one.
    """

    max_length: int
    memory_type: type[Any]
    state_type: type[Any]

    @property
    def image_channels(self) -> int:
        """Of the images: what the first convolution of the encoder takes."""
        parts = self.get_submodule("encoder").modules()
        return next(each for each in parts if isinstance(each, nn.Conv2d)).in_channels

    def encode(self, images: Tensor) -> Any:
        """images [b, image_channels, h, w], ink 1 on 0, sides multiples of `STRIDE` -> memory, for
        export: no shape depends on what is in the images."""
        raise NotImplementedError

    def encode_inked(self, images: Tensor) -> Any:
        """As `encode`, for runtimes that take shapes from what is in the images: where there is a
        bias, it is of all cells, but the rest only of those that an image of the batch leaves
        unmasked, in their order; of all where there is none."""
        return self.encode(images)

    def remember(self, images: Tensor) -> Any:
        """images [b, image_channels, h, w] -> a memory that reads the same as that of `encode`,
        but may leave out cells that nobody may look at."""
        raise NotImplementedError

    def start(self, memory: Any, beams: int, length: int | None = None) -> Any:
        """The state of `beams` rows before the first step, with room for `length` steps where
        there is a cache, by default `max_length`."""
        raise NotImplementedError

    def step(self, tokens: Tensor, position: Tensor, memory: Any, state: Any) -> tuple[Tensor, Any]:
        """One step for all rows.

        Args:
            tokens: int64 [beams], the tokens written last, `<sos>` at first.
            position: int64 [1], the number of steps made before.
            memory: of batch 1, shared by all rows, or of one image per row.

        Returns:
            log-probabilities [beams, vocabulary] and the next state.
        """
        raise NotImplementedError

    def read_tree(
        self, tokens: Tensor, positions: Tensor, ancestors: Tensor, memory: Any
    ) -> tuple[Tensor, Any]:
        """What may follow each node of a tree of tokens; only where the interface has a graph for
        it.

        Args:
            tokens, positions: int64 [nodes]; a position is the number of tokens before it.
            ancestors: [nodes, nodes], 1 where the column is on the path to the row, itself
                included.
            memory: of batch 1.

        Returns:
            log-probabilities [nodes, vocabulary], and the fields of a state for one beam, with the
            nodes in place of the length of a cache, or else of the beams: what each node writes
            into the cache, and what it adds to the rest.
        """
        raise NotImplementedError

    def interface(self) -> Interface:
        """Names, dtypes, shapes and dynamic axes of the graphs: the memory's and the state's
        tensors in their order."""
        raise NotImplementedError
