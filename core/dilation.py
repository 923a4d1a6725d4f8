"""Dilation: what becomes of a drawing when its pen grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]


def dilated(image: ByteImage, size: int) -> ByteImage:
    """The maximum over size x size windows around every pixel, `[h, w]` as the image; paper, 0,
    lies beyond it."""
    around = (size // 2, size - size // 2)
    return largest_in_windows(np.pad(image, around), size)[:, : image.shape[1]]


def largest_in_windows(image: ByteImage, size: int) -> ByteImage:
    """The maximum over the size x size windows that begin at each pixel, by doubling the window
    along each axis.

    To numpy all rows are one, which is quicker: what begins in the last size - 1 columns is
    meaningless, and the last size rows are left out.

    Args:
        image: `[h, w]`, contiguous.

    Returns:
        `[h - size, w]`
    """
    rows, columns = image.shape
    flat = image.ravel()
    for stride in (columns, 1):
        reach = 1
        while reach < size:
            shift = min(reach, size - reach)
            flat = np.maximum(flat[: -shift * stride], flat[shift * stride :])
            reach += shift
    rows -= size
    return flat[: rows * columns].reshape(rows, columns)
