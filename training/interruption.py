"""Ctrl-C, or being asked to end, as a request: what is under way is ended and saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C; and what `kill`, containers and batch systems send before they lose patience."""


class Interruption:
    """While it lasts, the first of `SIGNALS` is noted and a second one interrupts at once.

    Outside the main thread, where Python gives no signals, nothing is ever noted.

    Attributes:
        requested: whether one has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def listen(self) -> None:
        """Again, where a library has put handlers of its own in the place of these."""
        for each in self._before:
            signal.signal(each, self._note)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
