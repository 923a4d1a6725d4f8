"""Where the machine tells how much energy it takes: RAPL, Jetson's rails, NVIDIA's NVML.

Each source gives joules since some moment. Where a machine tells power only, as Jetson's rails do,
power is integrated over time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

ROOT = Path("/")


class EnergySource(Protocol):
    """Counts energy.

    Attributes:
        name: what is counted, to read.
    """

    @property
    def name(self) -> str:
        """What is counted."""
        ...

    def joules(self) -> float:
        """Since some moment that stays the same. To be asked more often than once a minute."""
        ...


@dataclass
class Rapl:
    """A package of an x86 processor: the counter of the power capping framework of Linux, which
    starts from zero again where it reaches its range. Root alone may read it on most machines."""

    folder: Path
    _turns: int = 0
    _last: int = -1

    @property
    def name(self) -> str:
        """As Linux calls it: "RAPL package-0"."""
        return f"RAPL {(self.folder / 'name').read_text().strip()}"

    def joules(self) -> float:
        """From the counter, in microjoules, however often it began anew."""
        counted = int((self.folder / "energy_uj").read_text())
        if counted < self._last:
            self._turns += 1
        self._last = counted
        span = int((self.folder / "max_energy_range_uj").read_text())
        return (self._turns * span + counted) / 1e6

    @classmethod
    def found(cls, root: Path = ROOT) -> list[Rapl]:
        """The packages that may be read here, without their parts."""
        there = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        packages = [cls(each) for each in there if each.name.count(":") == 1]
        return [each for each in packages if _works(each)]


@dataclass
class PowerIntegral:
    """Energy as the integral of power over time, by trapezoids between the moments it is asked.

    >>> meter = PowerIntegral()
    >>> [meter.add(watts, at_s) for watts, at_s in ((10.0, 0.0), (20.0, 2.0), (20.0, 3.0))]
    [0.0, 30.0, 50.0]
    """

    total: float = 0.0
    _last: tuple[float, float] | None = None

    def add(self, watts: float, at_s: float) -> float:
        """Power at a moment -> joules until then."""
        if self._last is not None:
            before, then = self._last
            self.total += (watts + before) / 2 * (at_s - then)
        self._last = (watts, at_s)
        return self.total


@dataclass
class Rails:
    """The rails of a Jetson, measured by INA3221 monitors: millivolts times milliamperes of each.

    Where one of them is the input of the whole module, as on Orin, it alone counts; the others
    are parts of it.
    """

    channels: tuple[tuple[str, Path, Path], ...]
    _integral: PowerIntegral = field(default_factory=PowerIntegral)

    @property
    def name(self) -> str:
        """The rails that are counted."""
        return "rails " + " + ".join(label for label, _, _ in self.channels)

    def watts(self) -> float:
        """Now."""
        return sum(
            int(voltage.read_text()) * int(current.read_text()) / 1e6
            for _, voltage, current in self.channels
        )

    def joules(self) -> float:
        """Integrated between the calls: to be asked several times a second."""
        return self._integral.add(self.watts(), perf_counter())

    @classmethod
    def found(cls, root: Path = ROOT) -> list[Rails]:
        """Those of this machine."""
        channels: list[tuple[str, Path]] = []
        for monitor in sorted((root / "sys/bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*")):
            for label in sorted(monitor.glob("in*_label")):
                number = label.name.removeprefix("in").removesuffix("_label")
                name = label.read_text().strip()
                if "sum" not in name.lower():
                    channels.append((name, monitor / f"in{number}_input"))
        each_one = (
            (name, voltage, voltage.with_name(voltage.name.replace("in", "curr", 1)))
            for name, voltage in channels
        )
        measured = tuple(each for each in each_one if each[0] != "NC" and _works(cls((each,))))
        whole = tuple(each for each in measured if each[0].startswith("VDD_IN"))
        rails = cls(whole or measured)
        return [rails] if measured and _works(rails) else []


@dataclass
class Nvml:
    """An NVIDIA GPU, by its management library.

    Attributes:
        library: `libnvidia-ml`, loaded and started.
        device: its handle.
    """

    library: Any
    device: Any
    number: int = 0
    _integral: PowerIntegral = field(default_factory=PowerIntegral)
    _counts: bool = True

    def __post_init__(self) -> None:
        try:
            self._asked("nvmlDeviceGetTotalEnergyConsumption", kind=ctypes.c_ulonglong)
        except OSError:
            self._counts = False

    @property
    def name(self) -> str:
        """The number of the GPU."""
        return f"GPU {self.number}"

    def joules(self) -> float:
        """From its counter, in millijoules, since Volta; else integrated power."""
        if self._counts:
            counter = "nvmlDeviceGetTotalEnergyConsumption"
            return float(self._asked(counter, kind=ctypes.c_ulonglong).value) / 1e3
        watts = self._asked("nvmlDeviceGetPowerUsage").value / 1e3
        return self._integral.add(watts, perf_counter())

    def celsius(self) -> float:
        """Of the chip."""
        return float(self._asked("nvmlDeviceGetTemperature", 0).value)

    def megahertz(self) -> float:
        """Of its multiprocessors."""
        return float(self._asked("nvmlDeviceGetClockInfo", 1).value)

    def throttled(self) -> bool:
        """Whether heat or power slow it down: bits 2, 3, 5, 6 and 7 of its reasons (power cap,
        hardware slowdown, software and hardware thermal slowdown, power brake)."""
        name = "nvmlDeviceGetCurrentClocksThrottleReasons"
        try:
            return bool(self._asked(name, kind=ctypes.c_ulonglong).value & 0xEC)
        except OSError:
            return False

    def used_mb(self) -> float:
        """Of its memory, by all processes."""
        total_free_used = self._asked("nvmlDeviceGetMemoryInfo", kind=ctypes.c_ulonglong * 3)
        return float(total_free_used[2]) / 1e6

    def _asked(self, name: str, *arguments: int, kind: Any = ctypes.c_uint) -> Any:
        """What a function of NVML writes.

        Raises:
            OSError: this GPU does not tell.
        """
        found = kind()
        if code := getattr(self.library, name)(self.device, *arguments, ctypes.byref(found)):
            raise OSError(f"{name}: NVML gives the error {code}")
        return found

    @classmethod
    def found(cls, library: Any = None) -> list[Nvml]:
        """All GPUs here; none where the library cannot be loaded.

        Args:
            library: in place of NVIDIA's, for tests.
        """
        if library is None:
            try:
                library = ctypes.CDLL("libnvidia-ml.so.1")
            except OSError:
                return []
        count = ctypes.c_uint()
        if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        gpus = []
        for number in range(count.value):
            device = ctypes.c_void_p()
            if not library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)):
                gpus.append(cls(library, device, number))
        return gpus


def energy_sources(root: Path = ROOT, gpus: Sequence[Nvml] | None = None) -> list[EnergySource]:
    """All that this machine tells of its energy; on many, nothing.

    Args:
        root: where `sys` is mounted; for tests.
    """
    gpus = Nvml.found() if gpus is None else gpus
    return [*Rapl.found(root), *Rails.found(root), *filter(_works, gpus)]


def _works(source: EnergySource) -> bool:
    try:
        source.joules()
        return bool(source.name)
    except (OSError, ValueError):
        return False
