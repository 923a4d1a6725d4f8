"""How far a long measurement is, and how long it will still take, on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO


class Progress:
    """Counts what is done. On a terminal one line, renewed; elsewhere a line every `every_s`.

    Nothing is said of what takes less than half a second.

    Args:
        total: how many there are to do.
        what: what is being counted.
        every_s: seconds between two lines where there is no terminal.
        stream: standard error by default.
    """

    def __init__(
        self, total: int, what: str, *, every_s: float = 15, stream: TextIO | None = None
    ) -> None:
        self.total = total
        self.what = what
        self.done = 0
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._every_s = 0.5 if self._terminal else every_s
        self._began = self._said = time.monotonic()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown and self._terminal:
            self._stream.write("\n")

    def advance(self, by: int = 1) -> None:
        """`by` more are done."""
        self.done += by
        now = time.monotonic()
        last = self.done >= self.total and self._shown
        if now - self._said < self._every_s and not last:
            return
        self._said = now
        self._shown = True
        elapsed_s = now - self._began
        left_s = elapsed_s / max(self.done, 1) * max(self.total - self.done, 0)
        text = (
            f"{self.what}: {self.done}/{self.total}, {clock(elapsed_s)} so far, "
            f"{clock(left_s)} left"
        )
        self._stream.write(f"\r\x1b[2K{text}" if self._terminal else f"{text}\n")
        self._stream.flush()


def clock(seconds: float) -> str:
    """A length of time, to read.

    >>> clock(7.4), clock(75), clock(3700)
    ('7 s', '1:15', '1:01:40')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
