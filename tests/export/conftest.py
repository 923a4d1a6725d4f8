from __future__ import annotations

import pytest

from inktex.core.bundle import Bundle
from inktex.training.checkpoint import Checkpoint

from ..training import synthetic


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny recognizer, not trained, as the exporter writes it. Not to be changed."""
    return synthetic.bundle(tmp_path_factory)


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """What `bundle` was exported from."""
    return synthetic.checkpoint()
