"""Profiles side by side: machines, or versions of inktex."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...core.errors import DataError
from ..report import MB, heading, table
from .measurement import Measurement
from .noise import Interval
from .profile import Profile

_MEMORY_GROWTH = 1.05  # of a peak: less comes and goes with the order of allocations


@dataclass(frozen=True)
class Change:
    """A configuration in another profile than the first.

    Attributes:
        name: of that profile.
        p50, p90: its times for each of the first profile's.
        memory: its peak memory for each of the first's; None where one does not tell.
    """

    label: str
    name: str
    p50: Interval
    p90: Interval
    memory: float | None

    @property
    def verdict(self) -> str:
        """ "slower" and "faster" only beyond noise."""
        slower = any(each.separates and each.value > 1 for each in (self.p50, self.p90))
        faster = any(each.separates and each.value < 1 for each in (self.p50, self.p90))
        found = []
        if slower:
            found.append("REGRESSION: slower" if not faster else "slower in one of them")
        elif faster:
            found.append("faster")
        elif self.p50.factor is None:
            found.append("unknown: one repeat")
        else:
            found.append("cannot be separated")
        if self.memory is not None and self.memory > _MEMORY_GROWTH:
            found.append("REGRESSION: more memory")
        return "; ".join(found)

    @property
    def regressed(self) -> bool:
        """Whether it is worse beyond noise."""
        return "REGRESSION" in self.verdict


@dataclass(frozen=True)
class Comparison:
    """Several profiles of the same ink.

    Attributes:
        names: of the profiles, the one that the others are compared with first.
    """

    names: tuple[str, ...]
    profiles: tuple[Profile, ...]

    def __post_init__(self) -> None:
        first = self.profiles[0].data
        for name, profile in zip(self.names, self.profiles, strict=True):
            if profile.data.fingerprint != first.fingerprint:
                raise DataError(
                    f"expected profiles of the same ink, found {first.formulas} formulas of "
                    f"{first.source} ({first.fingerprint}) in {self.names[0]} and "
                    f"{profile.data.formulas} of {profile.data.source} "
                    f"({profile.data.fingerprint}) in {name}; measure both on the same"
                )

    @property
    def changes(self) -> list[Change]:
        """Of all configurations that the first profile and another have measured."""
        return [
            _change(before, after, name, self.profiles[0], profile)
            for before in self.profiles[0].measurements
            for name, profile in zip(self.names[1:], self.profiles[1:], strict=True)
            for after in profile.measurements
            if after.label == before.label
        ]

    def __str__(self) -> str:
        return "\n\n".join(self._sections())

    def _sections(self) -> Iterator[str]:
        for name, profile in zip(self.names, self.profiles, strict=True):
            stopped = " (INTERRUPTED)" if profile.interrupted else ""
            yield f"{name}{stopped}\n{heading(profile.environment, profile.bundle)}"
        yield table(
            ("configuration", "ms p50, p90 of", *self.names),
            [
                [label, name, *(_time(profile, label, name) for profile in self.profiles)]
                for label in self._labels()
                for name in ("p50", "p90")
            ],
        )
        header = ("configuration", f"for each of {self.names[0]}", "p50", "p90", "peak memory", "")
        yield table(header, [_cells(each) for each in self.changes])
        if not self.changes:
            yield "no configuration was measured in both"

    def _labels(self) -> list[str]:
        return list(dict.fromkeys(each.label for one in self.profiles for each in one.measurements))


def _time(profile: Profile, label: str, name: str) -> str:
    return next(
        (each.spread[name].text() for each in profile.measurements if each.label == label), ""
    )


def _cells(change: Change) -> list[str]:
    memory = "" if change.memory is None else f"{change.memory:.2f}"
    return [
        change.label,
        change.name,
        change.p50.text(3),
        change.p90.text(3),
        memory,
        change.verdict,
    ]


def _change(
    before: Measurement, after: Measurement, name: str, first: Profile, other: Profile
) -> Change:
    peaks = [
        {each.label: each.peak_bytes / MB for each in profile.cold_starts}.get(before.label)
        for profile in (first, other)
    ]
    memory = peaks[1] / peaks[0] if peaks[0] and peaks[1] else None
    return Change(
        before.label,
        name,
        after.spread["p50"].over(before.spread["p50"]),
        after.spread["p90"].over(before.spread["p90"]),
        memory,
    )
