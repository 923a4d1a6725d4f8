"""Looks at the machine while it works: frequency, temperature, throttling, power mode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from types import TracebackType

from .energy import ROOT, EnergySource, Nvml

_EVERY_S = 0.2
_SLOWED = 0.9  # of the frequency in the first quarter of a load: less in the last is throttling
_LOST = 5  # looks in a row at which a source of energy could not be read: a second
_FEWEST = 12  # looks from which a trend can be told


@dataclass(frozen=True)
class Series:
    """What one gauge showed: at first, at least, at most, and at last; in `unit`."""

    name: str
    unit: str
    first: float
    least: float
    most: float
    last: float


@dataclass(frozen=True)
class Watched:
    """What became of the machine during a run.

    Attributes:
        power_mode: governor of the processor, Jetson's power mode; "unknown" where nothing tells.
        gauges: frequencies, temperatures, memory of GPUs.
        throttled: why this run is not to be trusted; empty where nothing was seen.
        blind: what this machine does not tell.
    """

    power_mode: str
    gauges: list[Series]
    throttled: list[str]
    blind: list[str]


@dataclass
class Gauge:
    """Something to look at again and again."""

    name: str
    unit: str
    look: Callable[[], float]
    seen: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        """Look once; what cannot be read now is left out."""
        with suppress(OSError, ValueError):
            self.seen.append(self.look())

    def series(self) -> Series | None:
        """None where nothing could be read."""
        if not self.seen:
            return None
        seen = self.seen
        return Series(self.name, self.unit, seen[0], min(seen), max(seen), seen[-1])


class Watch:
    """Looks at all gauges five times a second, in a thread of its own, as long as the `with` lasts.

    Energy that is integrated from power wants to be asked as often, so that it is asked here too.

    Args:
        root: where `sys` and `proc` are mounted; for tests.
    """

    def __init__(
        self,
        sources: Sequence[EnergySource] = (),
        gpus: Sequence[Nvml] = (),
        root: Path = ROOT,
    ) -> None:
        self._root = root
        self._sources = {each.name: each for each in sources}
        self._missed = dict.fromkeys(self._sources, 0)
        self._gpus = gpus
        self._clocks = _clocks(root)
        self._gauges = [*self._clocks, *_temperatures(root), *_of_gpus(gpus)]
        self._counts = _throttle_counts(root)
        self._throttled_gpus: set[str] = set()
        self._steady = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._counts_before = _numbers(self._counts)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def end_of_steady_load(self) -> None:
        """Until now the machine did the same all the time: had it been left to itself, it would
        have kept its frequency. What comes later may use more processors, or none."""
        self._steady = len(self._clocks[0].seen) if self._clocks else 0

    def joules(self) -> dict[str, float]:
        """What every source of energy has counted until now, by its name; one that cannot be read
        now is left out, and one that could not for a second, from then on: of the time between
        nobody knows."""
        found = {}
        with self._lock:
            for name, source in self._sources.items():
                if self._missed[name] < _LOST:
                    try:
                        found[name] = source.joules()
                        self._missed[name] = 0
                    except (OSError, ValueError):
                        self._missed[name] += 1
        return found

    def look(self) -> None:
        """At everything, once."""
        for gauge in self._gauges:
            gauge()
        self.joules()
        self._throttled_gpus.update(each.name for each in self._gpus if each.throttled())

    def watched(self) -> Watched:
        """What was seen."""
        found = [series for gauge in self._gauges if (series := gauge.series()) is not None]
        units = {each.unit for each in found}
        blind = [
            name
            for name, unit in (("frequency", "MHz"), ("temperature", "°C"))
            if unit not in units
        ]
        return Watched(
            power_mode(self._root),
            found,
            self._throttling(),
            [
                *blind,
                *([] if self._counts else ["throttling events"]),
                *(f"{name} any more" for name, missed in self._missed.items() if missed >= _LOST),
            ],
        )

    def _throttling(self) -> list[str]:
        reasons = []
        counted = _numbers(self._counts_before)  # of those that could be read before
        events = sum(count - self._counts_before[file] for file, count in counted.items())
        if events > 0:
            reasons.append(f"the processor reports {events} events of thermal throttling")
        for gauge in self._clocks:
            seen = gauge.seen[: self._steady]
            if len(seen) >= _FEWEST:
                share = len(seen) // 4
                before, after = median(seen[:share]), median(seen[-share:])
                if after < _SLOWED * before:
                    reasons.append(f"the {gauge.name} fell from {before:.0f} to {after:.0f} MHz")
        reasons += [f"{name} reports throttling" for name in sorted(self._throttled_gpus)]
        return reasons

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(_EVERY_S)


def power_mode(root: Path = ROOT) -> str:
    """How the machine is set up to save power: the governors of its processors, and the mode that
    `nvpmodel` keeps on a Jetson; "unknown" where nothing tells."""
    files = (root / "sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")
    governors = {text for each in files if (text := _text(each))}
    found = [f"governor {', '.join(sorted(governors))}"] if governors else []
    if jetson := _text(root / "var/lib/nvpmodel/status"):
        found.append(f"nvpmodel {jetson}")
    return "; ".join(found) or "unknown"


def _clocks(root: Path) -> list[Gauge]:
    """The frequency of the quickest processor; of those that are asleep it says nothing."""
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if files:
        return [
            Gauge(
                "frequency of the quickest processor",
                "MHz",
                lambda: max(_numbers(files).values()) / 1e3,
            )
        ]
    info = root / "proc/cpuinfo"
    if not info.is_file() or "cpu MHz" not in info.read_text():
        return []

    def quickest() -> float:
        lines = (line for line in info.read_text().splitlines() if line.startswith("cpu MHz"))
        return max(float(line.partition(":")[2]) for line in lines)

    return [Gauge("frequency of the quickest processor", "MHz", quickest)]


def _temperatures(root: Path) -> list[Gauge]:
    gauges = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        if name := _text(zone / "type"):
            gauges.append(Gauge(name, "°C", partial(_thousandth, zone / "temp")))
    return gauges


def _thousandth(file: Path) -> float:
    return int(file.read_text()) / 1e3


def _of_gpus(gpus: Sequence[Nvml]) -> list[Gauge]:
    return [
        gauge
        for gpu in gpus
        for gauge in (
            Gauge(gpu.name, "°C", gpu.celsius),
            Gauge(f"{gpu.name}, multiprocessors", "MHz", gpu.megahertz),
            Gauge(f"{gpu.name}, memory in use by all", "MB", gpu.used_mb),
        )
    ]


def _throttle_counts(root: Path) -> list[Path]:
    """Counters of Intel's processors."""
    folder = root / "sys/devices/system/cpu"
    return sorted(folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))


def _text(file: Path) -> str:
    """What stands in a file of the system; nothing where it cannot be read."""
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""


def _numbers(files: Iterable[Path]) -> dict[Path, int]:
    """The whole numbers in files of the system, of those that can be read now."""
    return {file: int(text) for file in files if (text := _text(file)).isdecimal()}
