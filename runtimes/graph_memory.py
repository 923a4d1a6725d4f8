"""What an encoder says of an image, without the cells that nobody may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.interface import Interface

MASKED = -5e3  # a cell with less bias than this has weight 0 in float32: exp(-5000)


@dataclass(frozen=True)
class GraphMemory:
    """What is known of one image before the first token.

    Attributes:
        arrays: by tensor name, batch 1; masked cells are left out.
        sizes: of its dynamic axes, by name: how many cells are left, or rows and columns.
        kept: bool `[cells]`, which cells of the image are left; None where all are.
        shape: height and width of the image, in pixels.
        padded: those of the image that the encoder saw.
    """

    arrays: dict[str, Any]
    sizes: dict[str, int]
    kept: NDArray[np.bool_] | None
    shape: tuple[int, int] = (0, 0)
    padded: tuple[int, int] = (0, 0)


def compact_memories(interface: Interface, arrays: Mapping[str, NDArray[Any]]) -> list[GraphMemory]:
    """The memory of each image without the cells that are masked: three to five times smaller.

    Args:
        arrays: the outputs of the encoder for a batch; what has an axis "cells" is of all cells,
            or of those that an image of the batch leaves unmasked.
    """
    count = len(next(iter(arrays.values())))
    if not interface.memory_bias:
        return [_memory_of(interface, arrays, number, None, {}) for number in range(count)]
    allowed: NDArray[np.bool_] = arrays[interface.memory_bias].reshape(count, -1) > MASKED
    left: NDArray[np.bool_] = np.any(allowed, axis=0)
    if not left.any():
        left = np.ones_like(left)
    memories = []
    for number, inked in enumerate(allowed):
        # of an image without ink nothing may be attended to, and something must be
        kept = inked if inked.any() else left
        masks = {int(left.sum()): kept[left], len(left): kept}
        memories.append(_memory_of(interface, arrays, number, kept, masks))
    return memories


def _memory_of(
    interface: Interface,
    arrays: Mapping[str, NDArray[Any]],
    number: int,
    kept: NDArray[np.bool_] | None,
    masks: Mapping[int, NDArray[np.bool_]],
) -> GraphMemory:
    """The memory of one image of a batch.

    Args:
        kept: bool `[cells]`, which cells of the image are kept; None for all.
        masks: the same of as many cells as a tensor may have: all, or those that the encoder left
            of the batch.
    """
    found: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for spec in interface.memory:
        array = arrays[spec.name][number : number + 1]
        shape = interface.step[spec.name].shape
        if masks and "cells" in shape:
            axis = shape.index("cells")
            mask = masks[array.shape[axis]]
            array = array if mask.all() else np.compress(mask, array, axis=axis)
        found[spec.name] = np.ascontiguousarray(array)
        sizes |= {
            name: size
            for name, size in zip(shape, array.shape, strict=True)
            if isinstance(name, str)
        }
    return GraphMemory(found, sizes, None if kept is None or kept.all() else kept)
