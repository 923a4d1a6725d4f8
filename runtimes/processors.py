"""How many processors this process may really use: affinity and cgroup quota, not the machine's.

A container limited to one processor of sixty-four still sees sixty-four; a runtime that starts a
thread for each is then several times slower than with one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import SupportsIndex

from ..core.errors import InputError

MOST_THREADS = 4
"""More threads than this gain nothing on graphs as small as a formula's."""
_MOST_ASKED = 1024  # ten times as many take all that a system has to give, and minutes


def default_threads() -> int:
    """The threads to use when nobody says: `available_processors`, at most `MOST_THREADS`."""
    return min(MOST_THREADS, available_processors())


def checked_threads(threads: int | None) -> int:
    """The threads that were asked for, or `default_threads()`.

    Raises:
        InputError: no whole number, fewer than one, or more than any machine has use for.
    """
    if threads is None:
        return default_threads()
    if not isinstance(threads, SupportsIndex):
        raise InputError(f"threads: expected a whole number, found {threads!r}")
    if threads < 1:
        raise InputError(f"threads: expected 1 or more, found {threads}")
    if threads > _MOST_ASKED:
        raise InputError(f"threads: expected at most {_MOST_ASKED}, found {threads}")
    return int(threads)


def available_processors(root: Path = Path("/")) -> int:
    """The processors that affinity and cgroup quotas (v1 and v2) leave to this process, >= 1.

    A quota of one and a half processors counts as one: a second thread would be stopped for half
    of every period, and the first would wait for it.

    Args:
        root: where `proc` and `sys` are mounted; for tests.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        count = os.cpu_count() or 1
    return max(1, min([count, *(int(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The quota, in processors, of every cgroup that this process is in, outer ones included."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)  # hierarchy:controllers:path
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        unified = not controllers
        if not unified and "cpu" not in controllers.split(","):
            continue
        mounts = ("",) if unified else (controllers, "cpu", "cpu,cpuacct", "cpuacct,cpu")
        group = PurePosixPath(path.lstrip("/"))
        # Inside a container the path may be the host's, and only the root is mounted: the
        # parents up to the root are looked at anyway, as each may have a quota of its own.
        for mount in dict.fromkeys(mounts):
            for place in (group, *group.parents):
                folder = root / "sys/fs/cgroup" / mount / place
                quota, period = _limits(folder, unified)
                if quota > 0 and period > 0:
                    yield quota / period


def _limits(folder: Path, unified: bool) -> tuple[float, float]:
    """(quota, period) in microseconds; a quota <= 0 means that there is none."""
    if unified:
        found = _read(folder / "cpu.max").split()
    else:
        found = [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    try:
        quota, period = (float(number) for number in found)
    except ValueError:  # "max", or no such file
        return 0.0, 0.0
    return quota, period


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
