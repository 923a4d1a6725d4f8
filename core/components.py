"""The connected parts of a drawing, by their boxes; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int64]


def component_boxes(ink: NDArray[np.bool_]) -> Boxes:
    """The boxes of the 8-connected components.

    Runs of ink in neighbouring rows that touch are joined; the least number of a run spreads
    through its component with pointer jumping (Shiloach and Vishkin, 1982).

    Args:
        ink: bool [h, w].

    Returns:
        int64 [n, 4]: left, top, right, bottom of each component, right and bottom exclusive, in
        order of their first run, from the top.
    """
    edges = np.diff(np.pad(ink, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    if len(rows) == 0:
        return np.zeros((0, 4), np.int64)
    pitch = ink.shape[1] + 2
    below = (rows + 1) * pitch
    first = np.searchsorted(rows * pitch + ends, below + starts, side="left")
    last = np.searchsorted(rows * pitch + starts, below + ends, side="right")
    touching = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), touching)
    offsets = np.arange(len(upper)) - np.repeat(np.cumsum(touching) - touching, touching)
    lower = np.repeat(first, touching) + offsets
    labels = np.arange(len(rows))
    while True:
        least = np.minimum(labels[upper], labels[lower])
        spread = labels.copy()
        # to the roots, so that whole components move, not single runs
        np.minimum.at(spread, labels[upper], least)
        np.minimum.at(spread, labels[lower], least)
        spread = spread[spread]
        if np.array_equal(spread, labels):
            break
        labels = spread
    _, component = np.unique(labels, return_inverse=True)
    boxes = np.empty((component.max() + 1, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = np.iinfo(np.int64).max, 0
    np.minimum.at(boxes[:, 0], component, starts)
    np.minimum.at(boxes[:, 1], component, rows)
    np.maximum.at(boxes[:, 2], component, ends)
    np.maximum.at(boxes[:, 3], component, rows + 1)
    return boxes
