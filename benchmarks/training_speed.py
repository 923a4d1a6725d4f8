"""How many formulas a second a training learns from, and how many a plain loop does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..core.errors import DataError
from ..core.progress import Progress

HEADER = ("recipe", "precision", "formulas a second", "plain loop", "ratio", "from .. to")
TRAINED, PLAIN = "trained", "plain"


@dataclass(frozen=True)
class Speed:
    """Formulas a second of a recipe, in every process of both forms.

    Attributes:
        precision: what the training chose.
        trained, plain: turn by turn.
    """

    recipe: str
    precision: str
    trained: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Of the two, turn by turn."""
        return [one / other for one, other in zip(self.trained, self.plain, strict=True)]

    def cells(self) -> list[str]:
        """The cells of the row, as `HEADER` names them."""
        return [
            self.recipe,
            self.precision,
            f"{median(self.trained):.1f}",
            f"{median(self.plain):.1f}",
            f"{median(self.ratios):.2f}",
            f"{min(self.ratios):.2f} .. {max(self.ratios):.2f}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return {**asdict(self), "ratio": median(self.ratios)}


def measure_training_speed(
    data: Path,
    recipes: Sequence[str],
    settings: Sequence[str] = (),
    *,
    turns: int,
    seconds: float,
    threads: int,
) -> Iterator[Speed]:
    """Train each recipe for some seconds in fresh processes, both forms turn by turn; each as soon
    as it is done.

    Args:
        settings: `NAME=VALUE`, for all of them.

    Raises:
        DataError: a process failed.
    """
    with Progress(2 * turns * len(recipes), "trainings") as progress:
        for recipe in recipes:
            speeds: dict[str, list[float]] = {TRAINED: [], PLAIN: []}
            precision = ""
            for _ in range(turns):
                for form, measured in speeds.items():
                    told = _probe(data, recipe, form, settings, seconds, threads)
                    measured.append(told["formulas_a_second"])
                    precision = told["precision"] if form == TRAINED else precision
                    progress.advance()
            yield Speed(recipe, precision, *map(tuple, speeds.values()))


def _probe(
    data: Path, recipe: str, form: str, settings: Sequence[str], seconds: float, threads: int
) -> dict[str, Any]:
    from ..training.allocator import KEEPING

    environment = {name: value for name, value in os.environ.items() if name not in KEEPING}
    environment["OMP_NUM_THREADS"] = str(threads)
    if form == TRAINED:
        environment.update(KEEPING)
    command = [sys.executable, "-m", f"{__package__}.training_probe"]
    done = subprocess.run(
        [*command, str(data), recipe, form, str(seconds), *settings],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise DataError(f"the process that trains {recipe} failed and said: {said[-1]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
