"""How long a training lasts: a time, or a number of epochs or steps."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from ..core.errors import InputError
from .checkpoint import Progress

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """An amount of one unit: "s" (seconds by the clock), "cpu_s" (seconds that the cores of this
    machine worked for the training, all of its threads added up), "epochs" or "steps"."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "150m", "2.5h", "60cpu-m", "40epochs" or "1000steps".

        Raises:
            InputError: the text is none of these.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*((?:cpu-)?[smh]|epochs?|steps?)", text.strip())
        if match is None or float(match[1]) <= 0:
            raise InputError(
                "expected a budget such as 150m, 2.5h, 60cpu-m, 40epochs or 1000steps, found "
                f"{text!r}"
            )
        amount, unit = float(match[1]), match[2]
        seconds = _UNITS_S.get(unit.removeprefix("cpu-"))
        if seconds:
            return cls(amount * seconds, "cpu_s" if unit.startswith("cpu-") else "s")
        return cls(amount, unit.rstrip("s") + "s")

    def times(self, factor: float) -> Budget:
        """So many times as much."""
        return Budget(self.amount * factor, self.unit)

    def __str__(self) -> str:
        """As `parse` reads it."""
        amount = f"{self.amount:f}".rstrip("0").rstrip(".")  # without an exponent
        return amount + self.unit.replace("cpu_s", "cpu-s")

    def share(self, progress: Progress, steps_per_epoch: int) -> float:
        """How much of it is used, 0..1."""
        used = {
            "s": progress.elapsed_s,
            "cpu_s": progress.cpu_s,
            "steps": progress.steps,
            "epochs": progress.steps / steps_per_epoch,
        }[self.unit]
        return min(used / self.amount, 1.0)


class Stopwatch:
    """Tells how long a training has taken, the time before it was resumed included."""

    def __init__(self, progress: Progress) -> None:
        self._began_s = time.monotonic() - progress.elapsed_s
        self._cpu_began_s = time.process_time() - progress.cpu_s

    def read(self) -> tuple[float, float]:
        """Seconds by the clock, and of the processor in all threads of this process."""
        return time.monotonic() - self._began_s, time.process_time() - self._cpu_began_s
