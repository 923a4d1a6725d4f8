"""How long a training lasts: a time, or a number of epochs or steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.errors import InputError
from .checkpoint import Progress

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """An amount of one unit: "s" (seconds), "epochs" or "steps"."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "150m", "2.5h", "40epochs" or "1000steps".

        Raises:
            InputError: the text is none of these.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|epochs?|steps?)", text.strip())
        if match is None or float(match[1]) <= 0:
            raise InputError(
                f"expected a budget such as 150m, 2.5h, 40epochs or 1000steps, found {text!r}"
            )
        amount, unit = float(match[1]), match[2]
        if unit in _UNITS_S:
            return cls(amount * _UNITS_S[unit], "s")
        return cls(amount, unit.rstrip("s") + "s")

    def share(self, progress: Progress, steps_per_epoch: int) -> float:
        """How much of it is used, 0..1."""
        used = {
            "s": progress.elapsed_s,
            "steps": progress.steps,
            "epochs": progress.steps / steps_per_epoch,
        }[self.unit]
        return min(used / self.amount, 1.0)
