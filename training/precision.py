"""Which number format a training computes in: the faster one of the machine it runs on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TypeVar

import torch
from torch.nn import functional

from .processes import say
from .recipe import Recipe

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)

_REPETITIONS = 5
_MUCH_LONGER = 1.5  # beyond what such a measurement is off by


def with_precision(recipe: AnyRecipe, accelerator: str = "auto") -> AnyRecipe:
    """The recipe with "bf16" or "fp32" in place of "auto".

    On a processor both are tried: bfloat16 halves the time where there are instructions for it,
    and doubles it where they are only half there (seen on an Intel Xeon whose AMX was hidden), or
    takes ten times as long where there are none. Whoever asks for it there is told so.

    Args:
        accelerator: of Lightning: "cpu", "gpu" or "auto".
    """
    asked = recipe.optimisation.precision
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    if asked == "fp32" or (asked == "bf16" and on_gpu):
        return recipe
    if on_gpu:
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        longer = convolution_s(torch.bfloat16) / convolution_s(torch.float32)
        if asked == "bf16":
            if longer > _MUCH_LONGER:
                say(
                    f"bf16 takes {longer:.1f} times as long as fp32 on this processor; "
                    "optimisation.precision=auto takes the faster one"
                )
            return recipe
        bf16 = longer < 1
    optimisation = replace(recipe.optimisation, precision="bf16" if bf16 else "fp32")
    return replace(recipe, optimisation=optimisation)


def convolution_s(dtype: torch.dtype) -> float:
    """Seconds that a convolution and its gradients take on this processor, the least of some."""
    images = torch.ones(8, 64, 16, 64, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.ones(64, 64, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    images.requires_grad_()
    kernel.requires_grad_()
    least = float("inf")
    for _ in range(_REPETITIONS):
        began = time.perf_counter()
        functional.conv2d(images, kernel, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        least = min(least, time.perf_counter() - began)
    return least
