"""A run of the profiler: its parts one after the other, what is found kept when it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ...core.bundle import Bundle
from ...core.errors import DataError, InktexError, InputError, RuntimeUnavailable
from ...core.machine import command_line
from ...runtimes.catalogue import statuses
from ...runtimes.processors import available_processors
from ...training.split import spread
from ..formulas import Formula
from ..report import describe
from .bundle_contender import BundleContender, Shared, choices
from .cold_start import measure_cold_starts
from .contender import Configuration, Contender
from .dataset import OWN_NAME, load_data
from .energy import Nvml, energy_sources
from .growth import growths
from .live_ink import measure_live_ink
from .measurement import ranking, ratios, summary
from .offline import idle_watts, measure_batches, measure_offline
from .operators import TARGETS
from .profile import DataFacts, Profile
from .roofline import measure_roofline
from .single_stream import Effort, Stream, measure_streams
from .watch import Watch

PARTS = ("stream", "live", "start", "offline", "roofline")
"""What a run is made of, in this order."""
_FEW = 20  # formulas that a fresh process reads, and that are written live
_OFFLINE = 100
_BATCHED = 48
_COUNTED = 8
_TRIED = 3


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
        baselines: each of them words that name a configuration, as `baselines` takes them.
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
    baselines: tuple[tuple[str, ...], ...] = ((),)
    parts: tuple[str, ...] = PARTS


def profile_bundle(
    bundle: Bundle, plan: Plan, environment: dict[str, Any], peers: Sequence[Contender] = ()
) -> Profile:
    """Measure a bundle in all the ways of a plan, and peers beside it in the stream.

    Args:
        environment: the machine, as `report.environment` tells it.

    Raises:
        RuntimeUnavailable: nothing that was asked for can run here.
        BundleError: the bundle has no such variant.
        DataError: no formula can be read, or no configuration is the baseline.
    """
    return _Run(bundle, plan, environment, peers).all()


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


class _Run:
    """One run: every part writes what it finds into the profile.

    Attributes:
        own: the bundle's configurations; `contenders` are peers, too.
        readable: the formulas that all contenders read, once that is known.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan: Plan,
        environment: dict[str, Any],
        peers: Sequence[Contender],
    ) -> None:
        self.bundle, self.plan = bundle, plan
        data = self.data = load_data(plan.data, plan.limit, bundle.manifest.preprocessing)
        found, notes = choices(bundle, plan.runtimes, plan.precisions)
        shared: Shared = WeakValueDictionary()
        self.own = [
            BundleContender(
                bundle,
                Configuration("inktex", each.runtime, each.precision, threads, beams),
                plan.constrain,
                shared=shared,
            )
            for each, threads, beams in product(found, plan.threads, plan.beams)
        ]
        self.own = [each for each in self.own if not self._refused(each, notes)]
        self.contenders: list[Contender] = [*self.own, *peers]
        if not self.own:
            raise RuntimeUnavailable(
                f"{bundle.path}: nothing of what was asked for reads anything: {'; '.join(notes)}"
            )
        everything = [each.configuration for each in self.contenders]
        self.bases = [baselines(everything, words) for words in plan.baselines]
        self.readable = list(data.formulas)
        if data.source == OWN_NAME:
            notes.append(
                "inktex's own ink tells how fast it is, not how good: give ink with --data for that"
            )
        if data.skipped:
            notes.append(f"{data.skipped} formulas cannot be read and are left out")
        if any(not each.trained for each in peers):
            if not data.captioned:
                raise DataError(
                    "--random-weights: expected ink with captions, which tell how much to write, "
                    "found formulas without; give an ink set, or weights"
                )
            notes.append(
                "what is not trained has random weights, and writes as many tokens as the caption "
                "has: its time is real, its answers are not"
            )
        facts = DataFacts(
            data.source, len(data.formulas), data.skipped, data.captioned, data.fingerprint
        )
        versions = {each.name: each.version for each in statuses() if each.version}
        self.profile = Profile(
            command_line(),
            {**environment, "runtimes": versions},
            describe(bundle),
            facts,
            plan.effort,
            notes,
        )

    def _refused(self, contender: BundleContender, notes: list[str]) -> bool:
        """Whether a configuration reads nothing, as a runtime does that was exported for fewer
        beams; why is noted. It would have every formula left out for all."""
        reader = contender.load()
        for formula in self.data.formulas[:_TRIED]:
            try:
                reader(formula)
                return False
            except InputError as error:
                reason = str(error)
        notes.append(f"{contender.configuration.label} is left out: {reason}")
        return True

    def all(self) -> Profile:
        profile, gpus = self.profile, Nvml.found()
        parts: dict[str, Callable[[Watch], None]] = {
            "stream": self._stream,
            "live": self._live,
            "start": self._start,
            "offline": self._offline,
            "roofline": self._roofline,
        }
        with Watch(energy_sources(gpus=gpus), gpus) as watch:
            try:
                for name in PARTS:
                    if name in self.plan.parts and not profile.interrupted:
                        self._take(name, parts[name], watch)
            except KeyboardInterrupt:
                profile.interrupted = True
        profile.watched = watch.watched()
        return profile

    def _take(self, name: str, part: Callable[[Watch], None], watch: Watch) -> None:
        """A part; where another than the stream cannot be measured here, the rest still can."""
        try:
            part(watch)
        except InktexError as error:
            if name == PARTS[0]:
                raise
            self.profile.notes.append(f"{name} is not measured: {error}")

    def _stream(self, watch: Watch) -> None:
        profile, data = self.profile, self.data
        streams = measure_streams(self.contenders, data.formulas, self.plan.effort)
        watch.end_of_steady_load()
        profile.interrupted = streams.interrupted
        self.readable = [data.formulas[number] for number in streams.kept]
        if len(streams.kept) < len(data.formulas):
            profile.notes.append(
                f"{len(data.formulas) - len(streams.kept)} formulas are left out, since not all "
                "who take part read them"
            )
        measured = [each for each in streams.each if each.repeats]
        if not measured:
            return
        by_label: dict[str, Stream] = {each.configuration.label: each for each in measured}
        profile.measurements = [summary(each, streams, data) for each in measured]
        for bases in self.bases:
            found = ratios(measured, {label: by_label[base.label] for label, base in bases.items()})
            profile.ratios += [each for each in found if each not in profile.ratios]
        profile.ranking = ranking(measured)
        profile.growth = growths(profile.measurements)

    def _live(self, watch: Watch) -> None:
        profile = self.profile
        profile.live_ink, profile.interrupted = measure_live_ink(self.own, self._some())
        if not profile.live_ink and not profile.interrupted:
            profile.notes.append("no formula is ink: nothing was written live")

    def _start(self, watch: Watch) -> None:
        configurations = [each.configuration for each in self.own]
        repeats = self.plan.effort.repeats
        self.profile.cold_starts, self.profile.interrupted = measure_cold_starts(
            self.bundle, configurations, self._some(), repeats
        )

    def _offline(self, watch: Watch) -> None:
        profile, effort = self.profile, self.plan.effort
        profile.idle_watts = idle_watts(watch)
        if not profile.idle_watts:
            profile.notes.append(
                "this machine does not tell its energy (no RAPL that may be read, no rails of a "
                "Jetson, no NVIDIA GPU)"
            )
        profile.offline, profile.interrupted = measure_offline(
            self.own,
            self._some(_OFFLINE),
            processors=available_processors(),
            seconds=effort.seconds,
            repeats=effort.repeats,
            watch=watch,
        )
        if profile.interrupted:
            return
        preprocessing = self.bundle.manifest.preprocessing
        profile.batches = measure_batches(
            self.own, self._some(_BATCHED), preprocessing, effort.repeats
        )

    def _roofline(self, watch: Watch) -> None:
        alike = {
            (own.runtime, own.precision, own.threads): own
            for own in (each.configuration for each in self.own)
        }
        known = [own for own in alike.values() if own.runtime in TARGETS]
        if len(known) < len(alike):
            self.profile.notes.append(
                f"operations are counted on {' and '.join(TARGETS)} only, on the processor"
            )
        if known:
            self.profile.roofline = measure_roofline(self.bundle, known, self._some(_COUNTED))

    def _some(self, count: int = _FEW) -> list[Formula]:
        return spread(self.readable, count)
