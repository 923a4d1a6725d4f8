"""What the seed of a training makes of its results: their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

from .study import Arm
from .studying import Outcome


@dataclass(frozen=True)
class Spread:
    """The same training with several seeds.

    Attributes:
        mean: what came of it, losses and scores as means.
        seeds: how many there are.
        validation_loss, validation, tests: standard deviations, of a sample; those of tests are of
            ExpRate in percent.
    """

    mean: Outcome
    seeds: int
    validation_loss: float
    validation: float
    tests: dict[str, float]

    def cells(self, tests: Sequence[str]) -> list[str]:
        """The cells of a row, as `header` names them."""
        exact = [100 * self.mean.tests[name]["exact"] for name in tests]
        return [
            self.mean.arm,
            str(self.seeds),
            f"{self.mean.validation_loss:.3f} ± {self.validation_loss:.3f}",
            f"{self.mean.validation:.1f} ± {self.validation:.1f}",
            *(
                f"{each:.1f} ± {self.tests[name]:.1f}"
                for name, each in zip(tests, exact, strict=True)
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The spread, ready for JSON."""
        return asdict(self)


def header(tests: Sequence[str]) -> list[str]:
    """The names of the columns of a table of spreads."""
    columns = ["arm", "seeds", "validation loss", "validation exact %"]
    return columns + [f"{name} exact %" for name in tests]


def spreads(arms: Sequence[Arm], outcomes: Sequence[Outcome]) -> list[Spread]:
    """Of every arm with all that repeat it, two or more in all.

    Args:
        arms, outcomes: of a study, one for one.
    """
    found = []
    for first in arms:
        alike = [
            outcome
            for arm, outcome in zip(arms, outcomes, strict=True)
            if first.name in (arm.name, arm.repeats)
        ]
        if first.repeats is not None or len(alike) < 2:
            continue
        losses = [each.validation_loss for each in alike]
        shares = [each.validation for each in alike]
        scores = {name: [each.tests[name]["exact"] for each in alike] for name in alike[0].tests}
        mean = replace(
            alike[0],
            validation_loss=fmean(losses),
            validation=fmean(shares),
            tests={name: {"exact": fmean(each)} for name, each in scores.items()},
        )
        deviations = {name: 100 * stdev(each) for name, each in scores.items()}
        found.append(Spread(mean, len(alike), stdev(losses), stdev(shares), deviations))
    return found
