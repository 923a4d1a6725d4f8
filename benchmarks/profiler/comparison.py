"""Profiles side by side: machines, or versions of inktex."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...core.errors import DataError
from ..report import MB, heading, table
from .noise import Interval
from .profile import Profile

_MEMORY_GROWTH = 1.05  # of a peak: less comes and goes with the order of allocations


@dataclass(frozen=True)
class Change:
    """A configuration in another profile than the first.

    Attributes:
        name: of that profile.
        p50, p90: its times for each of the first profile's; None where one has no stream.
        memory: its peak memory for each of the first's; None where one does not tell.
    """

    label: str
    name: str
    p50: Interval | None
    p90: Interval | None
    memory: float | None

    @property
    def verdict(self) -> str:
        """ "slower" and "faster" only beyond noise."""
        times = [each for each in (self.p50, self.p90) if each is not None]
        slower = any(each.separates and each.value > 1 for each in times)
        faster = any(each.separates and each.value < 1 for each in times)
        found = []
        if slower:
            found.append(f"REGRESSION: slower{' in one of them' if faster else ''}")
        elif faster:
            found.append("faster")
        elif not times:
            found.append("no times in both")
        elif all(each.factor is None for each in times):
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
        first = self.profiles[0]
        return [
            _change(label, name, first, profile)
            for label in _labels([first])
            for name, profile in zip(self.names[1:], self.profiles[1:], strict=True)
            if _measured(first, profile, label)
        ]

    def __str__(self) -> str:
        return "\n\n".join(self._sections())

    def _sections(self) -> Iterator[str]:
        for name, profile in zip(self.names, self.profiles, strict=True):
            marks = " (INTERRUPTED)" if profile.interrupted else ""
            marks += " (THROTTLED)" if profile.watched and profile.watched.throttled else ""
            yield f"{name}{marks}\n{heading(profile.environment, profile.bundle)}"
        yield table(
            ("configuration", "ms p50, p90 of", *self.names),
            [
                [label, name, *(_time(profile, label, name) for profile in self.profiles)]
                for label in _labels(self.profiles)
                for name in ("p50", "p90")
            ],
        )
        header = ("configuration", f"for each of {self.names[0]}", "p50", "p90", "peak memory", "")
        yield table(header, [_cells(each) for each in self.changes])
        if not self.changes:
            yield (
                "no configuration was measured in both, one formula after the other (`--part "
                "stream`) or in fresh processes (`--part start`), which is what is compared"
            )
        for name, profile in zip(self.names, self.profiles, strict=True):
            missing = [each for each in _labels(self.profiles) if each not in _labels([profile])]
            if missing:
                yield f"not in {name}: {'; '.join(missing)}"


def _labels(profiles: Sequence[Profile]) -> list[str]:
    """Of all configurations whose times or memory they tell, in their order."""
    found: dict[str, None] = {}
    for profile in profiles:
        found |= dict.fromkeys(each.label for each in profile.measurements)
        found |= dict.fromkeys(each.label for each in profile.cold_starts)
    return list(found)


def _measured(one: Profile, other: Profile, label: str) -> bool:
    """Whether both tell the times, or the memory, of a configuration."""
    timed = [{each.label for each in profile.measurements} for profile in (one, other)]
    started = [{each.label for each in profile.cold_starts} for profile in (one, other)]
    return any(all(label in labels for labels in both) for both in (timed, started))


def _time(profile: Profile, label: str, name: str) -> str:
    return next(
        (each.spread[name].text() for each in profile.measurements if each.label == label), ""
    )


def _cells(change: Change) -> list[str]:
    memory = "" if change.memory is None else f"{change.memory:.2f}"
    return [
        change.label,
        change.name,
        *("" if each is None else each.text(3) for each in (change.p50, change.p90)),
        memory,
        change.verdict,
    ]


def _change(label: str, name: str, first: Profile, other: Profile) -> Change:
    peaks, spreads = [], []
    for profile in (first, other):
        peaks.append({each.label: each.peak_bytes / MB for each in profile.cold_starts}.get(label))
        spreads.append({each.label: each.spread for each in profile.measurements}.get(label))
    before, after = spreads
    times: list[Interval | None] = [None, None]
    if before is not None and after is not None:
        times = [after[each].over(before[each]) for each in ("p50", "p90")]
    memory = peaks[1] / peaks[0] if peaks[0] and peaks[1] else None
    return Change(label, name, times[0], times[1], memory)
