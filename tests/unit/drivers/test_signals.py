"""Signals as values to wait for."""

from __future__ import annotations

import os
import signal

from twoway.drivers.signals import SignalWait


def test_a_signal_ends_the_wait_and_is_told() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with SignalWait((signal.SIGUSR1, signal.SIGUSR2)) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.wait(5_000_000_000) == [signal.SIGUSR1]
        os.kill(os.getpid(), signal.SIGUSR2)
        assert signals.wait() == [signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR1) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_readable_descriptor_ends_the_wait() -> None:
    with SignalWait((signal.SIGUSR1,)) as signals:
        descriptor = os.eventfd(1, os.EFD_NONBLOCK)
        try:
            assert signals.wait(descriptor=descriptor) == []
        finally:
            os.close(descriptor)


def test_the_time_ends_the_wait() -> None:
    with SignalWait((signal.SIGUSR1,)) as signals:
        assert signals.wait(1) == []
        assert signals.wait(0) == []
