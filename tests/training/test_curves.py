from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inktex.core.errors import DataError
from inktex.training.curves import draw_curves

ROWS = [
    {"step": 1.0, "epoch": 0.0, "elapsed_s": 1.0, "rate": 1e-3, "tokens": 4.0},
    {"step": 2.0, "epoch": 0.0, "elapsed_s": 2.0, "rate": 5e-4, "tokens": 3.0, "exp_rate": 10.0},
    {"step": 3.0, "epoch": 1.0, "elapsed_s": 3.0, "rate": 1e-4, "tokens": 2.0, "exp_rate": 60.0},
]


def drawn(path: Path) -> NDArray[np.int64]:
    """Coloured pixels in the upper, middle and lower third of the picture."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.int64)
    assert pixels.shape == (1200, 1000, 3)
    coloured = np.ptp(pixels, axis=2) > 60
    counts: NDArray[np.int64] = coloured.reshape(3, 400, 1000).sum(axis=(1, 2))
    return counts


def test_each_third_has_its_curve(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves(ROWS, path)
    assert [each.name for each in tmp_path.iterdir()] == ["curves.png"]
    every = drawn(path)
    assert (every > 500).all()
    draw_curves([{**row, "symbols": 1.0} for row in ROWS], path)
    more = drawn(path)
    assert more[0] > 1.2 * every[0]  # one loss more
    assert more[1] == every[1]
    draw_curves(ROWS[:1], path)
    assert (drawn(path)[1:] < 100).all()  # one point is no line, and nothing was validated


def test_without_rows_there_is_no_picture(tmp_path: Path) -> None:
    draw_curves([], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        draw_curves(ROWS, tmp_path / "nowhere" / "curves.png")
