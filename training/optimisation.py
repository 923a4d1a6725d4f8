"""Learning rate, optimiser and averaged weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .recipe import Optimisation


def learning_rate(share: float, settings: Optimisation) -> float:
    """Linear warm-up, then half a cosine down to zero; `share` of the budget is 0..1."""
    if share < settings.warmup:
        return settings.learning_rate * (share + 1e-3) / (settings.warmup + 1e-3)
    fall = (share - settings.warmup) / (1 - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * fall))


def adamw(network: nn.Module, settings: Optimisation) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101); vectors are not decayed."""
    parameters = list(network.parameters())
    decayed = [each for each in parameters if each.ndim > 1]
    others = [each for each in parameters if each.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )


def ramped_average(decay: float) -> Any:
    """An exponential moving average that follows fast at first, when weights change fast."""

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor | int) -> None:
        present = min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.detach(), 1 - present)
            else:
                average.copy_(value)

    return update
