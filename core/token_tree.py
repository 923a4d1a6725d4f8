"""Sequences of tokens as one tree, which a decoder can read at once (tree attention; Miao et al.,
2024, arXiv:2305.09781)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .interface import TREE_ANCESTORS, TREE_POSITIONS, TREE_TOKENS

MOST_NODES = 256
"""Of a tree that a search has read. What is read at once takes memory for every node and cell; few
formulas are as long."""


@dataclass(frozen=True)
class TokenTree:
    """Tokens, each behind the one that it follows.

    Attributes:
        tokens: int64 `[nodes]`.
        positions: int64 `[nodes]`, how many tokens are before each on its path; 0 for a root.
        ancestors: float32 `[nodes, nodes]`, 1 where the column is on the path to the row, the row
            itself included, else 0.
        paths: of each sequence, int64, its nodes from the first to the last.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    ancestors: NDArray[np.float32]
    paths: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> TokenTree:
        """The tree of some sequences: what several begin with is in it once."""
        nodes: dict[tuple[int, ...], int] = {}
        paths = [
            np.array(
                [
                    nodes.setdefault(tuple(sequence[: end + 1]), len(nodes))
                    for end in range(len(sequence))
                ],
                np.int64,
            )
            for sequence in sequences
        ]
        ancestors = np.zeros((len(nodes), len(nodes)), np.float32)
        for path in paths:
            ancestors[np.ix_(path, path)] = np.tri(len(path))
        return cls(
            np.array([beginning[-1] for beginning in nodes], np.int64),
            np.array([len(beginning) - 1 for beginning in nodes], np.int64),
            ancestors,
            tuple(paths),
        )

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """What a graph for trees takes, by the names of its inputs."""
        return {
            TREE_TOKENS: self.tokens,
            TREE_POSITIONS: self.positions,
            TREE_ANCESTORS: self.ancestors,
        }
