from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from inktex.training.allocator import KEEPING, restart_keeping_memory


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was started in place of this process."""
    calls: list[Any] = []
    for name in KEEPING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    return calls


def test_the_process_starts_anew_with_the_same_words(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    restart_keeping_memory()
    [(program, words, environment)] = started
    assert program == words[0] == sys.executable
    assert words[1:] == sys.orig_argv[1:]
    assert environment == {**os.environ, **KEEPING}


def test_once_is_enough_and_elsewhere_there_is_no_glibc(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    restart_keeping_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    restart_keeping_memory()
    assert not started


HOLES = """
import numpy
from inktex.benchmarks.resident import resident
from inktex.training.allocator import release_free_memory

blocks = [numpy.ones(1_000_000, numpy.uint8) for _ in range(200)]
del blocks[:-1:2]  # not the last one, which holds the end of the heap in its place
before = resident().now
release_free_memory(kept=500 << 20)
print(before - resident().now)
release_free_memory(kept=80 << 20)
print(before - resident().now)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is tuned on Linux alone")
def test_holes_in_the_heap_are_given_back_when_they_are_many() -> None:
    environment = {**os.environ, **KEEPING}
    done = subprocess.run(
        [sys.executable, "-c", HOLES], env=environment, capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    assert few < 5e6
    assert many > 80e6
