from __future__ import annotations

import signal
import threading

import pytest

from inktex.training.interruption import SIGNALS, Interruption


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_interrupts(
    first: signal.Signals, second: signal.Signals
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with Interruption() as interruption:
        seen = [interruption.requested]
        signal.raise_signal(first)
        seen.append(interruption.requested)
        assert seen == [False, True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(second)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_in_another_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with Interruption() as interruption:
            seen.extend([interruption.requested, signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, before]
