"""Learning rate, optimiser and averaged weights."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import TrainingError
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
    # one launch in place of dozens; a processor gains nothing by it
    fused = parameters[0].is_cuda or None
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
        return torch.optim.Adam(groups, lr=rate, fused=fused)
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=fused)


def check_finite(network: nn.Module, step: int, last: Path) -> None:
    """Raise TrainingError where a step has left weights that are no numbers.

    Asked before anything is written, so that what was learnt before stays; not at every step, as
    a processor would wait for its accelerator each time.

    Args:
        step: made so far.
        last: the checkpoint to resume from; it need not be there yet.
    """
    finite = torch.stack([each.detach().isfinite().all() for each in network.parameters()])
    if finite.all():
        return
    kept = f"{last} is of before it, and stays" if last.is_file() else "nothing was saved before it"
    raise TrainingError(
        f"expected weights that are numbers, found others after step {step}: the training has "
        f"diverged ({kept}); begin it again with a lower --set optimisation.learning_rate, or with "
        "optimisation.precision=fp32"
    )


class MovingAverage(nn.Module):
    """An exponential moving average of a network's weights and buffers, which follows fast at
    first, when weights change fast.

    torch's `AveragedModel` keeps its count on the device, where to read it, three times a step,
    makes the processor wait for all that was launched.

    Args:
        decay: share of the average that stays in an update, later on.

    Attributes:
        module: the averaged network.
        updates: made so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Follow the network, by `min(decay, (1 + updates) / (10 + updates))`."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        averages, values = _tensors(self.module), _tensors(network)
        floats = [number for number, each in enumerate(averages) if each.is_floating_point()]
        # all at once: one by one they would be hundreds of launches on an accelerator
        torch._foreach_lerp_(
            [averages[number] for number in floats], [values[number] for number in floats], 1 - kept
        )
        for average, value in zip(averages, values, strict=True):
            if not average.is_floating_point():
                average.copy_(value)
        self.updates += 1


def _tensors(network: nn.Module) -> list[Tensor]:
    return [each.detach() for each in (*network.parameters(), *network.buffers())]
