from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inktex.training.inkset import save_inkset

from .synthetic import expressions


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads; and sums come out in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def inkset(tmp_path: Path) -> Path:
    path = tmp_path / "made.inkset"
    save_inkset(path, expressions(20))
    return path
