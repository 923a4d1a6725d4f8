"""Where something was made and by which command, to stand beside it."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from pathlib import Path


def command_line() -> str:
    """The command that runs, to be repeated."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def processor_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    name = said("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else ""
    return name or platform.processor() or platform.machine()


def said(*command: str) -> str:
    """What a command prints, "" where it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
