from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from inktex.benchmarks.profiler.energy import Nvml, PowerIntegral, Rails, Rapl, energy_sources
from inktex.benchmarks.profiler.watch import Watch


def put(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def package(root: Path, counted: int, span: int = 1_000_000) -> Path:
    folder = root / "sys/class/powercap/intel-rapl:0"
    put(folder / "name", "package-0")
    put(folder / "energy_uj", counted)
    put(folder / "max_energy_range_uj", span)
    return folder


def test_a_counter_that_begins_anew_loses_nothing(tmp_path: Path) -> None:
    folder = package(tmp_path, 900_000)
    put(tmp_path / "sys/class/powercap/intel-rapl:0:0/name", "core")  # a part of the package
    [source] = Rapl.found(tmp_path)
    assert source.name == "RAPL package-0"
    before = source.joules()
    put(folder / "energy_uj", 100_000)
    assert source.joules() - before == pytest.approx(0.2)
    put(folder / "energy_uj", 50_000)
    assert source.joules() - before == pytest.approx(1.15)


def test_a_counter_that_may_not_be_read_is_none(tmp_path: Path) -> None:
    (package(tmp_path, 1) / "energy_uj").write_text("")
    assert energy_sources(tmp_path, gpus=[]) == []


def test_power_is_integrated_by_trapezoids() -> None:
    meter = PowerIntegral()
    assert [meter.add(*each) for each in ((4.0, 10.0), (6.0, 11.0), (0.0, 13.0))] == [
        0.0, 5.0, 11.0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "name", "watts"),
    [
        (("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), "rails VDD_IN", 5.0),
        (("VDD_GPU_SOC", "VDD_CPU_CV"), "rails VDD_GPU_SOC + VDD_CPU_CV", 15.0),
    ],
)
def test_rails_of_a_jetson(
    tmp_path: Path, labels: tuple[str, ...], name: str, watts: float
) -> None:
    monitor = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    for number, label in enumerate(labels, start=1):
        put(monitor / f"in{number}_label", label)
        put(monitor / f"in{number}_input", 5000)
        put(monitor / f"curr{number}_input", 1000 * number)
    put(monitor / "in7_label", "Sum of shunt voltages")
    put(monitor / "in8_label", "NC")
    put(monitor / "in9_label", "a rail that cannot be read")
    [rails] = Rails.found(tmp_path)
    assert rails.name == name
    assert rails.watts() == watts
    first = rails.joules()
    assert rails.joules() > first


class Library:
    """NVML as it answers, of one GPU; `counts` is whether it counts energy, `tells` whether it
    says anything else."""

    def __init__(self, counts: bool, tells: bool = True) -> None:
        self.counts = counts
        self.tells = tells
        self.millijoules = 5000

    def __getattr__(self, name: str) -> Any:
        values = {
            "nvmlDeviceGetCount_v2": 1, "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetClockInfo": 1410, "nvmlDeviceGetPowerUsage": 70_000,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x40,
        }  # fmt: skip

        def call(*arguments: Any) -> int:
            if name.startswith("nvmlDeviceGet") and "Count" not in name and "Handle" not in name:
                told = self.counts if "Energy" in name else self.tells
                if not told:
                    return 3  # not supported
            if name == "nvmlDeviceGetTotalEnergyConsumption":
                arguments[-1]._obj.value = self.millijoules
            elif name == "nvmlDeviceGetMemoryInfo":
                arguments[-1]._obj[:] = [80 * 10**9, 79 * 10**9, 10**9]
            elif name in values:
                arguments[-1]._obj.value = values[name]
            return 0

        return call


def test_a_gpu_counts_or_its_power_is_integrated() -> None:
    library = Library(counts=True)
    [gpu] = Nvml.found(library)
    before = gpu.joules()
    library.millijoules = 7500
    assert gpu.joules() - before == 2.5
    assert (gpu.celsius(), gpu.megahertz(), gpu.used_mb(), gpu.throttled()) == (
        61.0, 1410.0, 1000.0, True,
    )  # fmt: skip
    [other] = Nvml.found(Library(counts=False))
    assert other.joules() == 0.0
    assert 0.0 < other.joules() < 70.0
    assert isinstance(gpu.device, ctypes.c_void_p)


def test_a_gpu_that_tells_nothing_is_no_source(tmp_path: Path) -> None:
    [gpu] = Nvml.found(Library(counts=False, tells=False))
    assert energy_sources(tmp_path, gpus=[gpu]) == []
    assert not gpu.throttled()
    with Watch(gpus=[gpu], root=tmp_path) as watch:
        watch.look()
    assert watch.watched().gauges == []
    assert energy_sources(tmp_path, gpus=Nvml.found(Library(counts=True)))[0].name == "GPU 0"
