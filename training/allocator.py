"""glibc's allocator, told to keep what it was given.

It gives freed tensors back to the system and faults them in again at every step, which takes a
third to a half of the time of a training.
"""

from __future__ import annotations

import os
import sys

KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}
"""Variables that are read once, when a process starts."""


def restart_keeping_memory() -> None:
    """Start this process anew with `KEEPING`, unless one of them is set already."""
    if sys.platform == "linux" and not KEEPING.keys() & os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **KEEPING})
