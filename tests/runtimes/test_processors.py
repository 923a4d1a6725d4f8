from __future__ import annotations

import os
from pathlib import Path

import pytest

from inktex.runtimes.processors import MOST_THREADS, available_processors, default_threads


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def system(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """A root with /proc/self/cgroup and files below /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        file = root / name if name.startswith("proc") else root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_affinity_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_processors(tmp_path) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert available_processors(tmp_path) == 1


def test_without_affinity_all_processors_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_processors(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_processors(tmp_path) == 1


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", 8),
        ("300000 100000\n", 3),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("nonsense", 8),
    ],
)
def test_version_2(tmp_path: Path, limit: str, expected: int) -> None:
    root = system(tmp_path, "0::/a/b\n", {"a/b/cpu.max": limit})
    assert available_processors(root) == expected


def test_an_outer_group_limits_too(tmp_path: Path) -> None:
    limits = {"a/b/cpu.max": "500000 100000", "a/cpu.max": "200000 100000"}
    assert available_processors(system(tmp_path, "0::/a/b\n", limits)) == 2


def test_in_a_container_only_the_root_is_mounted(tmp_path: Path) -> None:
    root = system(tmp_path, "0::/docker/0123abcd\n", {"cpu.max": "200000 100000"})
    assert available_processors(root) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, mount: str) -> None:
    lines = "3:cpuset:/\n2:cpu,cpuacct:/pod/x\n1:name=systemd:/\n"
    place = f"{mount}/pod/x"
    limits = {f"{place}/cpu.cfs_quota_us": "250000", f"{place}/cpu.cfs_period_us": "100000"}
    assert available_processors(system(tmp_path, lines, limits)) == 2


def test_version_1_without_a_quota(tmp_path: Path) -> None:
    limits = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert available_processors(system(tmp_path, "1:cpu:/\n", limits)) == 8


def test_the_default_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= default_threads() <= MOST_THREADS
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert default_threads() == 1
