"""A run of the profiler: its parts one after the other, what is found kept when it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from ...core.bundle import Bundle
from ...core.errors import DataError, InputError
from ..formulas import spread
from ..report import command_line, describe
from .bundle_contender import BundleContender, choices
from .cold_start import measure_cold_starts
from .contender import Configuration, Contender
from .dataset import OWN_NAME, DataSet, load_data
from .measurement import ranking, ratios, summary
from .profile import DataFacts, Profile
from .single_stream import Effort, Stream, measure_streams

PARTS = ("stream", "start")
"""What a run is made of."""
_STARTED = 20  # formulas that a fresh process reads


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        data: ink, as `load_formulas` takes it; None for inktex's own.
        limit: use only so many formulas.
        runtimes, precisions: as `choices` takes them.
        threads, beams: of each.
        effort: of the single stream.
        constrain: keep to well-formed formulas.
        baseline: words that name a configuration, as `baselines` takes them.
        parts: out of `PARTS`.
    """

    data: Path | None = None
    limit: int | None = None
    runtimes: tuple[str, ...] = ("auto",)
    precisions: tuple[str, ...] = ("auto",)
    threads: tuple[int, ...] = (1,)
    beams: tuple[int, ...] = (1,)
    effort: Effort = field(default_factory=Effort)
    constrain: bool = True
    baseline: tuple[str, ...] = ()
    parts: tuple[str, ...] = PARTS


def profile_bundle(
    bundle: Bundle, plan: Plan, environment: dict[str, Any], peers: Sequence[Contender] = ()
) -> Profile:
    """Measure a bundle in all the ways of a plan, and peers beside it.

    Args:
        environment: the machine, as `report.environment` tells it.

    Raises:
        RuntimeUnavailable: nothing that was asked for can run here.
        BundleError: the bundle has no such variant.
        DataError: no formula can be read, or no configuration is the baseline.
    """
    data = load_data(plan.data, plan.limit, bundle.manifest.preprocessing)
    found, notes = choices(bundle, plan.runtimes, plan.precisions)
    own = [
        BundleContender(
            bundle,
            Configuration("inktex", each.runtime, each.precision, threads, beams),
            plan.constrain,
        )
        for each, threads, beams in product(found, plan.threads, plan.beams)
    ]
    contenders: list[Contender] = [*own, *peers]
    bases = baselines([each.configuration for each in contenders], plan.baseline)
    if data.source == OWN_NAME:
        notes.append(
            "inktex's own ink tells how fast it is, not how good: give ink with --data for that"
        )
    if data.skipped:
        notes.append(f"{data.skipped} formulas cannot be read and are left out")
    profile = Profile(
        command_line(),
        environment,
        describe(bundle),
        DataFacts(data.source, len(data.formulas), data.skipped, data.captioned, data.fingerprint),
        plan.effort,
        notes,
    )
    parts: dict[str, Callable[[], None]] = {
        "stream": lambda: _stream(profile, contenders, data, bases),
        "start": lambda: _start(profile, bundle, own, data),
    }
    for name, part in parts.items():
        if name not in plan.parts:
            continue
        try:
            part()
        except KeyboardInterrupt:
            profile.interrupted = True
        if profile.interrupted:
            break
    return profile


def baselines(
    configurations: Sequence[Configuration], words: Sequence[str]
) -> dict[str, Configuration]:
    """For every configuration, by its label, the one to compare it with: of those that `words`
    name the one that is most like it, of equals the first.

    Args:
        words: out of `Configuration.parts`, as ("onnxruntime", "fp32"); none for the system,
            runtime, precision and threads of the first configuration.

    Raises:
        DataError: no configuration has all of these words.
    """
    wanted = set(words) or set(configurations[0].parts[:-1])
    candidates = [each for each in configurations if wanted <= set(each.parts)]
    if not candidates:
        known = "; ".join(dict.fromkeys(", ".join(each.parts) for each in configurations))
        raise DataError(
            f"--baseline: expected words that name something measured ({known}), found "
            f"{', '.join(words)}"
        )

    def likeness(one: Configuration, other: Configuration) -> int:
        return sum(mine == theirs for mine, theirs in zip(one.parts, other.parts, strict=True))

    return {
        each.label: max(candidates, key=lambda other: likeness(each, other))
        for each in configurations
    }


def _stream(
    profile: Profile,
    contenders: Sequence[Contender],
    data: DataSet,
    bases: dict[str, Configuration],
) -> None:
    streams = measure_streams(contenders, data.formulas, profile.effort)
    profile.interrupted = streams.interrupted
    if len(streams.kept) < len(data.formulas):
        profile.notes.append(
            f"{len(data.formulas) - len(streams.kept)} formulas are left out, since not all who "
            "take part read them"
        )
    measured = [each for each in streams.each if each.repeats]
    if not measured:
        return
    by_label: dict[str, Stream] = {each.configuration.label: each for each in measured}
    profile.measurements = [summary(each, streams, data) for each in measured]
    profile.ratios = ratios(
        measured, {label: by_label[base.label] for label, base in bases.items()}
    )
    profile.ranking = ranking(measured)


def _start(profile: Profile, bundle: Bundle, own: Sequence[BundleContender], data: DataSet) -> None:
    try:
        profile.cold_starts = measure_cold_starts(
            bundle,
            [each.configuration for each in own],
            spread(list(data.formulas), _STARTED),
            profile.effort.repeats,
        )
    except InputError as error:
        profile.notes.append(f"no fresh process was measured: {error}")
