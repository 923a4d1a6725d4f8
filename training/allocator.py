"""glibc's allocator, told to keep what it was given, and now and then to let go of it.

By itself it gives freed tensors back to the system and faults them in again at every step, which
takes a third to a half of the time of a training. But batches of ever new sizes leave holes, and
what is kept grows, to gigabytes in an hour.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

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


class _HeapFigures(ctypes.Structure):
    """glibc's `struct mallinfo2`; of its ten numbers one matters here."""

    _fields_ = (
        ("before", ctypes.c_size_t * 7),
        ("used", ctypes.c_size_t),  # uordblks: bytes of the heap in use
        ("after", ctypes.c_size_t * 2),
    )


def release_free_memory(kept: int = 2 << 30) -> None:
    """Give the holes in the heap back to the system, where more than `kept` bytes are in memory
    that nobody uses.

    Does nothing where the C library is not glibc 2.33 or later.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    try:
        figures, trim = library.mallinfo2, library.malloc_trim
    except AttributeError:
        return
    figures.restype = _HeapFigures
    pages = int(Path("/proc/self/statm").read_text().split()[1])  # in memory
    if pages * os.sysconf("SC_PAGE_SIZE") - figures().used > kept:
        trim(ctypes.c_size_t(0))
