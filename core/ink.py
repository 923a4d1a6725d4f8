"""Ink: the strokes of one expression, and what is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

FloatArray = NDArray[np.float64]

MAX_COORDINATE = 1e9
"""Coordinates beyond this (either sign) are taken for damage, whatever the recorder's units."""


@dataclass(frozen=True)
class Symbol:
    r"""One written symbol of an expression.

    Attributes:
        label: what it is, as annotated: `x`, `\alpha`, and `-` for the bar of a fraction.
        strokes: indices into `Ink.strokes`, as annotated (not always in order of writing).
        node: xml id of the element of the layout tree that it is.
    """

    label: str
    strokes: tuple[int, ...]
    node: str | None = None


@dataclass(frozen=True)
class MathNode:
    """One element of a MathML layout tree.

    Attributes:
        tag: the element's name without namespace: `mi`, `msup`, `mfrac`.
        node: its xml id, which `Symbol.node` repeats.
        text: what a leaf holds.
        children: what an inner element holds.
    """

    tag: str
    node: str | None = None
    text: str | None = None
    children: tuple[MathNode, ...] = ()


@dataclass(frozen=True, eq=False)
class Ink:
    """The handwriting of one expression.

    Attributes:
        strokes: float64 [points, 2] each, points >= 1, x to the right and y DOWN, in the
            recorder's units, all finite. A dot is a stroke of one point.
        symbols: which strokes make which symbol; empty where nobody segmented the ink.
        truth: LaTeX as annotated.
        tree: MathML layout tree, whose ids are those in `symbols`.
        writer: who wrote it, "" when unknown.
        identifier: the name under which data sets speak of it, "" when unknown.
        split: the part of its data set that it names, such as "train", "" when it names none.

    Raises:
        InputError: no strokes, a stroke of another shape, type or range, a symbol whose strokes
            are not there.
    """

    strokes: tuple[FloatArray, ...]
    symbols: tuple[Symbol, ...] = ()
    truth: str | None = None
    tree: MathNode | None = None
    writer: str = ""
    identifier: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.strokes, tuple | list):
            raise InputError(
                f"expected a tuple of strokes, found {type(self.strokes).__name__}; a single "
                "array is one stroke"
            )
        if not self.strokes:
            raise InputError("expected ink with at least one stroke, found none: nothing to read")
        for number, stroke in enumerate(self.strokes):
            if not isinstance(stroke, np.ndarray):
                raise InputError(
                    f"stroke {number}: expected an array [points, 2] of x and y, found "
                    f"{type(stroke).__name__}"
                )
            if stroke.ndim != 2 or stroke.shape[1] != 2 or not len(stroke):
                raise InputError(
                    f"stroke {number}: expected an array [points, 2] of x and y with at least one "
                    f"point, found {list(stroke.shape)}"
                )
            if stroke.dtype != np.float64:
                raise InputError(f"stroke {number}: expected float64, found {stroke.dtype}")
        # NaN fails the comparison too
        if not np.abs(np.concatenate(self.strokes)).max() <= MAX_COORDINATE:
            number, found = _first_beyond(self.strokes)
            raise InputError(
                f"stroke {number}: expected finite coordinates within ±{MAX_COORDINATE:g}, found "
                f"{found}: the recording is damaged"
            )
        for symbol in self.symbols:
            if not all(0 <= index < len(self.strokes) for index in symbol.strokes):
                raise InputError(
                    f"symbol {symbol.label!r}: expected indices of the {len(self.strokes)} "
                    f"strokes, found {list(symbol.strokes)}"
                )


def without_empty(
    strokes: Sequence[FloatArray], symbols: Sequence[Symbol]
) -> tuple[tuple[FloatArray, ...], tuple[Symbol, ...]]:
    """The strokes that have a point, and the symbols with their indices among these.

    Symbols none of whose strokes has a point are dropped too, as is an index of no stroke.
    """
    new = {old: number for number, old in enumerate(i for i, s in enumerate(strokes) if len(s))}
    moved = [
        Symbol(symbol.label, tuple(new[i] for i in symbol.strokes if i in new), symbol.node)
        for symbol in symbols
    ]
    return tuple(strokes[old] for old in new), tuple(each for each in moved if each.strokes)


def identifier_of(name: str) -> str:
    """A file's name without folders and without `.inkml` or `.json`."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return last.removesuffix(".inkml").removesuffix(".json")


def _first_beyond(strokes: Sequence[FloatArray]) -> tuple[int, float]:
    """The first coordinate that is too large, and the number of its stroke."""
    return next(
        (number, value)
        for number, stroke in enumerate(strokes)
        for value in stroke.ravel().tolist()
        if not abs(value) <= MAX_COORDINATE
    )
