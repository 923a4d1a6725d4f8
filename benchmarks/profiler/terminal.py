"""A profile in words: what the terminal and the page show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..report import lines_of
from .profile import Profile
from .tables import (
    Table,
    batch_table,
    cold_start_table,
    gauge_table,
    growth_table,
    latency_table,
    live_table,
    offline_table,
    ranking_table,
    ratio_table,
    roofline_tables,
    stage_table,
)


@dataclass(frozen=True)
class Section:
    """A heading, and the tables under it."""

    title: str
    tables: tuple[Table, ...]


def as_text(profile: Profile) -> str:
    """All of a profile in Markdown."""
    parts = ["\n".join(f"- {line}" for line in introduction(profile))]
    for section in sections(profile):
        parts += [f"## {section.title}", *map(str, section.tables)]
    return "\n\n".join(parts)


def introduction(profile: Profile) -> list[str]:
    """What was measured where, and what a reader has to know."""
    data, watched = profile.data, profile.watched
    lines = [
        *lines_of(profile.environment, profile.bundle),
        f"{data.formulas} formulas of {data.source} ({data.fingerprint})",
    ]
    if profile.interrupted:
        lines.append("INTERRUPTED: this is what had been measured")
    if watched is not None:
        lines.append(f"power mode: {watched.power_mode}")
        lines += [f"THROTTLED, do not trust this run: {each}" for each in watched.throttled]
        if watched.blind:
            lines.append(f"this machine does not tell: {', '.join(watched.blind)}")
    return [*lines, *(f"note: {each}" for each in profile.notes)]


def sections(profile: Profile) -> Iterator[Section]:
    """Those that hold something."""
    if profile.measurements:
        yield Section("One after the other", (latency_table(profile.measurements),))
        staged = [each for each in profile.measurements if each.stages_ms]
        if staged:
            yield Section("Where the time goes", (stage_table(staged),))
    if profile.ratios:
        yield Section("Ratios, formula by formula", (ratio_table(profile.ratios),))
    if len(profile.measurements) > 1:
        yield Section("The quickest first", (ranking_table(profile.ranking),))
    if profile.growth:
        yield Section("Growth", (growth_table(profile.growth),))
    if profile.live_ink:
        yield Section("Live, read anew after every stroke", (live_table(profile.live_ink),))
    if profile.cold_starts:
        yield Section("A fresh process", (cold_start_table(profile.cold_starts),))
    if profile.offline:
        yield Section("Offline", (offline_table(profile.offline, profile.idle_watts),))
    if profile.batches:
        yield Section("Batches of the encoder", (batch_table(profile.batches),))
    if profile.roofline is not None:
        yield Section("Under the roof", roofline_tables(profile.roofline))
    if profile.watched is not None and profile.watched.gauges:
        yield Section("The machine meanwhile", (gauge_table(profile.watched.gauges),))
