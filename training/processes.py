"""How many processes train together, and which of them speaks."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from ..core.errors import DataError, RuntimeUnavailable


@dataclass(frozen=True)
class Processes:
    """The processes that train one network, each on batches of its own.

    Attributes:
        local: on each machine.
        machines: how many of these.
    """

    local: int = 1
    machines: int = 1

    @property
    def count(self) -> int:
        """All of them."""
        return self.local * self.machines

    @classmethod
    def present(cls, devices: int | None = None) -> Processes:
        """Those that `torchrun` started, or else `devices` on this machine, by default one.

        Raises:
            DataError: `devices` or the machines contradict what `torchrun` says.
        """
        if not TorchElasticEnvironment.detect():
            return cls(devices or 1)
        local, total = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        if devices not in (None, local):
            raise DataError(
                f"expected the {local} processes that torchrun started on this machine, was asked "
                f"for {devices}; leave --devices out, torchrun --nproc-per-node says how many"
            )
        if total % local:
            raise DataError(
                f"expected as many processes on every machine, found {total} in all and {local} "
                "here; give every torchrun the same --nproc-per-node"
            )
        return cls(local, total // local)


def check_accelerator(accelerator: str, count: int) -> None:
    """Raise RuntimeUnavailable where fewer GPUs than asked for can train here.

    Args:
        accelerator: "gpu", "cpu", or "auto", which is a GPU where there is one.
        count: processes on this machine, each of which takes a GPU of its own.
    """
    found = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if accelerator == "cpu" or (accelerator == "auto" and not found):
        return
    if found < count:
        wanted = "a GPU" if count == 1 else f"{count} GPUs"
        raise RuntimeUnavailable(
            f"expected {wanted} that torch {torch.__version__} can use, found {found or 'none'}; "
            "ask for fewer --devices, take --accelerator cpu, or install the build of torch that "
            "is made for your GPU"
        )


@rank_zero_only
def say(text: object) -> None:
    """Print a line, in the first process only."""
    print(text, flush=True)
