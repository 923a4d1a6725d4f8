"""Learning rate, optimiser and averaged weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .recipe import Optimisation


def learning_rate(share: float, settings: Optimisation) -> float:
    """Linear warm-up, then the schedule: half a cosine down to zero, or no change.

    Args:
        share: of the budget that is used, 0..1.
    """
    if share < settings.warmup:
        return settings.learning_rate * (share + 1e-3) / (settings.warmup + 1e-3)
    if settings.schedule == "constant":
        return settings.learning_rate
    fall = (share - settings.warmup) / (1 - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * fall))


def optimizer_of(network: nn.Module, settings: Optimisation) -> torch.optim.Optimizer:
    """The optimiser that the settings name; vectors are not decayed.

    "adamw" is AdamW (Loshchilov and Hutter, arXiv:1711.05101). "adam" (Kingma and Ba,
    arXiv:1412.6980) and "adadelta" (Zeiler, arXiv:1212.5701) add the decay to the gradient.
    """
    parameters = list(network.parameters())
    groups = [
        {
            "params": [each for each in parameters if each.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    if settings.optimizer == "adadelta":
        return torch.optim.Adadelta(groups, lr=rate, eps=1e-6)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate)
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


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
