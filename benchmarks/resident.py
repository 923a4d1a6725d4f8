"""How much memory a process holds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import RuntimeUnavailable

_KIB = 1024


@dataclass(frozen=True)
class Resident:
    """Bytes of a process in memory (RSS), its libraries included.

    Attributes:
        now: at this moment; None where the system does not tell.
        peak: the most so far.
    """

    now: int | None
    peak: int


def resident(process: int | None = None) -> Resident:
    """The memory of this process, or on Linux of another that still runs.

    On Linux from `/proc/PID/status`. Its `VmHWM` is the peak of the program that runs, whereas
    `ru_maxrss` of a new process begins with the memory of the process that started it.

    Raises:
        RuntimeUnavailable: the system does not tell.
        ProcessLookupError: the process has ended.
    """
    status = Path("/proc") / ("self" if process is None else str(process)) / "status"
    system: str = sys.platform  # said so, or a type checker looks at its own system only
    if system == "linux":
        try:
            text = status.read_text()
        except FileNotFoundError:
            raise ProcessLookupError(f"no process {process}") from None
        values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if "VmHWM" not in values:  # ended, but not yet waited for
            raise ProcessLookupError(f"no process {process}")
        now, peak = (int(values[name].split()[0]) * _KIB for name in ("VmRSS", "VmHWM"))
        return Resident(now, peak)
    if process is None and system != "win32":
        import resource

        unit = 1 if system == "darwin" else _KIB
        return Resident(None, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    raise RuntimeUnavailable(
        f"the memory of a process cannot be measured on {system}; measure it on Linux"
    )
