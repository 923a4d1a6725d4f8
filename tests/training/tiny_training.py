"""A tiny training, and how to compare what two of them have learnt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inktex.training import trainer
from inktex.training.budget import Budget
from inktex.training.budget_callback import Watch
from inktex.training.checkpoint import Checkpoint
from inktex.training.recipe import Recipe

from . import synthetic
from .synthetic import expressions

TRAIN, VALIDATION = expressions(14), expressions(60)[50:54]
OFTEN = Watch(every_s=0.0)
"""Validates after every step."""


def train(folder: Path, budget: str, recipe: Recipe | None = None, **options: Any) -> Checkpoint:
    return trainer.train(
        recipe or synthetic.recipe(),
        TRAIN,
        VALIDATION,
        Budget.parse(budget),
        folder,
        accelerator="cpu",
        **options,
    )


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different
