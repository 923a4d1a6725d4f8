from __future__ import annotations

import subprocess
import sys

import pytest

from inktex.benchmarks.resident import resident

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less")

HOLD = """
import sys
from inktex.benchmarks.resident import resident
before = resident()
block = bytearray(b"x") * 64_000_000
held = resident()
del block
after = resident()
print(*(value for each in (before, held, after) for value in (each.now, each.peak)), flush=True)
sys.stdin.read()
"""


def test_the_memory_of_this_process_and_of_another() -> None:
    ballast = bytearray(b"x") * 64_000_000  # must not show in the other process
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        values = [int(value) for value in process.stdout.readline().split()]
        seen = resident(process.pid)
        process.stdin.close()
        process.wait()
        with pytest.raises(ProcessLookupError):
            resident(process.pid)
    (before, start_peak), (held, held_peak), (after, peak) = zip(
        values[::2], values[1::2], strict=True
    )
    about = 2_000_000  # Linux counts pages for each processor apart, and adds them up now and then
    assert held - before > 64_000_000 - about
    assert held - after > 64_000_000 - about
    assert abs(peak - held) < about
    assert abs(held_peak - held) < about
    assert seen.peak >= peak
    assert start_peak < len(ballast), "the peak of the process that started it was counted"
