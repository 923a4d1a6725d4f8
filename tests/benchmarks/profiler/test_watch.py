from __future__ import annotations

from pathlib import Path

import pytest

from inktex.benchmarks.profiler.watch import Watch, power_mode


def put(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two processors and a sensor."""
    cpus = tmp_path / "sys/devices/system/cpu"
    for number, khz in ((0, 3_000_000), (1, 800_000)):
        put(cpus / f"cpu{number}/cpufreq/scaling_cur_freq", khz)
        put(cpus / f"cpu{number}/cpufreq/scaling_governor", "powersave")
        put(cpus / f"cpu{number}/thermal_throttle/core_throttle_count", 3)
    put(tmp_path / "sys/class/thermal/thermal_zone0/type", "x86_pkg_temp")
    put(tmp_path / "sys/class/thermal/thermal_zone0/temp", 45_500)
    return tmp_path


def test_a_machine_that_keeps_cool(machine: Path) -> None:
    with Watch(root=machine) as watch:
        watch.look()
    found = watch.watched()
    assert found.power_mode == "governor powersave"
    assert [(each.unit, each.last) for each in found.gauges] == [("MHz", 3000.0), ("°C", 45.5)]
    assert (found.throttled, found.blind) == ([], [])


def test_a_machine_that_throttles_says_so(machine: Path) -> None:
    with Watch(root=machine) as watch:
        for _ in range(8):
            watch.look()
        cpus = machine / "sys/devices/system/cpu"
        put(cpus / "cpu0/cpufreq/scaling_cur_freq", 2_000_000)
        put(cpus / "cpu0/thermal_throttle/core_throttle_count", 9)
        for _ in range(8):
            watch.look()
        watch.end_of_steady_load()
    counted, slower = watch.watched().throttled
    assert "6 events" in counted
    assert "fell from 3000 to 2000 MHz" in slower


def test_a_file_that_cannot_be_read_any_more_costs_what_it_told_alone(machine: Path) -> None:
    cpus = machine / "sys/devices/system/cpu"
    with Watch(root=machine) as watch:
        put(cpus / "cpu0/thermal_throttle/core_throttle_count", 5)
        (cpus / "cpu1/thermal_throttle/core_throttle_count").unlink()
        (cpus / "cpu1/cpufreq/scaling_governor").unlink()
        (cpus / "cpu1/cpufreq/scaling_governor").mkdir()  # there, and no file
        (cpus / "cpu1/cpufreq/scaling_cur_freq").unlink()
        watch.look()
    found = watch.watched()
    assert found.power_mode == "governor powersave"
    assert found.gauges[0].last == 3000.0
    assert found.throttled == ["the processor reports 2 events of thermal throttling"]


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    with Watch(root=tmp_path) as watch:
        watch.look()
    found = watch.watched()
    assert found.gauges == []
    assert found.blind == ["frequency", "temperature", "throttling events"]
    assert (found.power_mode, found.throttled, watch.joules()) == ("unknown", [], {})


def test_the_mode_of_a_jetson(tmp_path: Path) -> None:
    put(tmp_path / "var/lib/nvpmodel/status", "pmode:0002")
    assert power_mode(tmp_path) == "nvpmodel pmode:0002"


class Faltering:
    """A source of energy that cannot be read at some looks."""

    name = "rails"

    def __init__(self, *bad: int) -> None:
        self.bad, self.looks = bad, 0

    def joules(self) -> float:
        self.looks += 1
        if self.looks in self.bad:
            raise OSError(5, "Input/output error")
        return float(self.looks)


def test_energy_that_cannot_be_read_for_a_moment(tmp_path: Path) -> None:
    watch = Watch([Faltering(2, 3)], root=tmp_path)
    assert [watch.joules() for _ in range(4)] == [{"rails": 1.0}, {}, {}, {"rails": 4.0}]
    with watch:
        pass
    assert "rails any more" not in watch.watched().blind


def test_energy_that_cannot_be_read_any_more(tmp_path: Path) -> None:
    watch = Watch([Faltering(*range(2, 7))], root=tmp_path)
    assert [watch.joules() for _ in range(8)] == [{"rails": 1.0}, *[{}] * 7]
    with watch:
        pass
    assert "rails any more" in watch.watched().blind
