"""Whether one recognizer reads better than another, by the same formulas read with both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import InputError

RESAMPLES = 10_000


@dataclass(frozen=True)
class PairedDrop:
    """What ExpRate falls by, in points (hundredths of all formulas), from one to the other.

    Attributes:
        points: below 0 where it rises.
        low, high: its 95 % confidence interval.
        lost, won: formulas that only the first reads right, and only the second.
        count: formulas that both read.
    """

    points: float
    low: float
    high: float
    lost: int
    won: int
    count: int

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.points:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def paired_drop(before: Sequence[bool], after: Sequence[bool], seed: int = 0) -> PairedDrop:
    """Compare formula by formula, with the percentile bootstrap (Efron, 1979) over formulas.

    Args:
        before, after: for each formula whether it was read right.
        seed: of the resampling.

    >>> drop = paired_drop([True] * 90 + [False] * 10, [True] * 88 + [False] * 12)
    >>> round(drop.points, 6), drop.lost, drop.won
    (2.0, 2, 0)

    Raises:
        InputError: no formulas, or unequal numbers of them.
    """
    if not before or len(before) != len(after):
        raise InputError(
            f"expected the same formulas read by both, one or more, found {len(before)} and "
            f"{len(after)}"
        )
    count = len(before)
    lost = sum(one and not other for one, other in zip(before, after, strict=True))
    won = sum(other and not one for one, other in zip(before, after, strict=True))
    # drawing formulas with replacement draws how many of each of three kinds there are
    shares = [lost / count, won / count, 1 - (lost + won) / count]
    drawn = np.random.default_rng(seed).multinomial(count, shares, RESAMPLES)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / count, [2.5, 97.5])
    return PairedDrop(100 * (lost - won) / count, float(low), float(high), lost, won, count)
