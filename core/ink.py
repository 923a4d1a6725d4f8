"""Ink: the strokes of one expression, and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Symbol:
    """One written symbol: which strokes make it, and which leaf of the layout tree it is."""

    label: str
    strokes: tuple[int, ...]
    node: str | None = None


@dataclass(frozen=True)
class MathNode:
    """One element of a MathML layout tree; a leaf has `text`, an inner node has `children`."""

    tag: str
    node: str | None = None
    text: str | None = None
    children: tuple[MathNode, ...] = ()


@dataclass(frozen=True)
class Ink:
    """The handwriting of one expression.

    strokes: each float64 [points, 2] with points >= 1, x to the right and y DOWN, in the
        recorder's units, all finite
    symbols: which strokes make which symbol; empty where nobody segmented the ink
    truth: LaTeX as annotated
    tree: MathML layout tree, whose leaves' xml ids are those in `symbols`
    """

    strokes: tuple[FloatArray, ...]
    symbols: tuple[Symbol, ...] = ()
    truth: str | None = None
    tree: MathNode | None = None
    writer: str = ""
    identifier: str = ""
