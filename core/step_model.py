"""All that a search knows of a model: encode an image once, then write one token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from .token_tree import TokenTree

Memory = TypeVar("Memory")
State = TypeVar("State")


class StepModel(Protocol[Memory, State]):
    """A recognizer as one encoder and one decoder step; every runtime implements it.

    `Memory` is whatever the runtime keeps of one image (features, hoisted keys and values). It has
    no beams: all rows of a state share the one memory, which is never tiled.

    `State` is whatever it keeps of the tokens written so far, one row a beam. A state is used
    once: after it was given to `step` or `reorder` the search does not touch it again, so that an
    implementation may update it in place or swap two buffers.
    """

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model tells apart: the width of what `step` returns."""
        ...

    def encode(self, images: npt.NDArray[np.float32]) -> Sequence[Memory]:
        """Read a batch of images.

        Args:
            images: float32 `[batch, channels, height, width]`, ink = 1 on paper = 0.

        Returns:
            One memory an image, in order.
        """
        ...

    def start(self, memory: Memory, beams: int) -> State:
        """The state of `beams` equal rows before any token, not even `<sos>`, was read."""
        ...

    def step(
        self, tokens: npt.NDArray[np.int64], memory: Memory, state: State
    ) -> tuple[npt.NDArray[np.float32], State]:
        """Read one more token on every beam and say which may come next.

        Args:
            tokens: int64 `[beams]`, the last token of every beam; `<sos>` in the first step.
            memory: of the image that is read.
            state: `beams` rows; consumed.

        Returns:
            Natural log-probabilities of the next token, float32 `[beams, vocabulary_size]`, and
            the state that includes `tokens`.
        """
        ...

    def reorder(self, state: State, order: npt.NDArray[np.int64]) -> State:
        """The state whose row i is row `order[i]` of `state`, which is consumed.

        Args:
            state: `beams` rows.
            order: int64 `[beams']`, each in `0..beams - 1`; rows may be repeated or left out, so
                `beams'` may be larger or smaller than `beams`.
        """
        ...


@runtime_checkable
class LimitedModel(Protocol):
    """A step model that may have been made for so many beams and no more."""

    @property
    def most_beams(self) -> int | None:
        """How many rows a state may have; None for any number."""
        ...


@runtime_checkable
class TreeModel(StepModel[Memory, State], Protocol[Memory, State]):
    """A step model that may also read at once what is written already."""

    @property
    def reads_trees(self) -> bool:
        """Whether this one does."""
        ...

    def read_tree(self, tree: TokenTree, memory: Memory) -> tuple[npt.NDArray[np.float32], Any]:
        """Say what may come next after every node of a tree, as steps along its path would.

        Args:
            memory: of the image that is read.

        Returns:
            Natural log-probabilities of the token after each node, float32
            `[nodes, vocabulary_size]`, and what `resume` wants.
        """
        ...

    def resume(self, nodes: Any, path: npt.NDArray[np.int64], memory: Memory) -> State:
        """The state of one beam after some nodes, as steps along them would leave it.

        Args:
            nodes: what `read_tree` gave, of the same memory.
            path: int64 `[steps]`, the nodes from a root on; at least one.
        """
        ...
