"""What differs between the repeats of a run, and so what cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, inf, log, sqrt
from statistics import fmean, stdev

# Student's t for 95 % by degrees of freedom; between two, that of the fewer.
_T = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
    10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000,
}  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A positive value and how far off it may be by chance, with a confidence of 95 %.

    Attributes:
        factor: the value lies between itself divided and multiplied by this; None where there
            was one repeat only, and nobody knows.
    """

    value: float
    factor: float | None

    def check(self) -> None:
        """Raise ValueError where this is none: what was read from a file may be anything."""
        if not 0 < self.value < inf or not (self.factor is None or 1 <= self.factor < inf):
            raise ValueError(f"an interval of {self.value} and {self.factor}")

    @property
    def low(self) -> float | None:
        """The lower end."""
        return None if self.factor is None else self.value / self.factor

    @property
    def high(self) -> float | None:
        """The upper end."""
        return None if self.factor is None else self.value * self.factor

    @property
    def separates(self) -> bool:
        """Of a ratio: whether it is surely not 1."""
        return self.factor is not None and not 1 / self.factor <= self.value <= self.factor

    def over(self, other: Interval) -> Interval:
        """This value for each of another, of which it is independent."""
        if self.factor is None or other.factor is None:
            return Interval(self.value / other.value, None)
        return Interval(self.value / other.value, exp(hypot(log(self.factor), log(other.factor))))

    def text(self, digits: int = 2) -> str:
        """To read: the value, and the per cent that it may be off.

        >>> Interval(12.345, 1.02).text(), Interval(12.345, None).text(1)
        ('12.35 ± 2.0 %', '12.3 ± ?')
        """
        off = "?" if self.factor is None else f"{100 * (self.factor - 1):.1f} %"
        return f"{self.value:.{digits}f} ± {off}"


def of_repeats(repeats: Sequence[float], value: float | None = None) -> Interval:
    """A value and its interval, from what each repeat gave.

    The logarithms of the repeats are taken for a sample of a normal distribution, since what
    disturbs a measurement of time multiplies it; so Student's t tells how far their mean may be
    off. Every repeat loads the model anew, so that where it came to lie in memory is part of it.

    Args:
        repeats: positive.
        value: that of all repeats together; by default their geometric mean.
    """
    logs = [log(each) for each in repeats]
    value = exp(fmean(logs)) if value is None else value
    if len(logs) < 2:
        return Interval(value, None)
    freedom = max(each for each in _T if each <= len(logs) - 1)
    return Interval(value, exp(_T[freedom] * stdev(logs) / sqrt(len(logs))))
