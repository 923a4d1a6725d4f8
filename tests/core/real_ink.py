"""Real handwriting for tests."""

from __future__ import annotations

import json
import lzma
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def sampled(data_root: Path, name: str, step: int, count: int) -> list[list[Points]]:
    """The strokes of every `step`-th formula of a data set, `count` of them."""
    with lzma.open(data_root / "crohme" / "strokes" / f"{name}.jsonl.xz", "rt") as file:
        lines = list(islice(file, 0, step * count, step))
    return [
        [np.array(flat, float).reshape(-1, 2) for flat in json.loads(line)["strokes"]]
        for line in lines
    ]
