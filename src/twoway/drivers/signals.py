"""Waiting for the packet plane and for signals at once, without ever polling.

Theory of operation. Python runs a signal handler only between bytecodes, so a handler alone cannot end a wait for a
file descriptor without a race. `signal.set_wakeup_fd` closes it: the C-level handler writes the signal's number into a
pipe the moment it arrives, and the pipe is waited for beside the packet plane's descriptor. The Python-level handlers
do nothing; they are there because the wake-up descriptor only serves signals that have one.
"""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The pipe has the news already."""


class SignalWait:
    """A context in which the given signals are values to wait for, not interruptions. Main thread only."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._previous: dict[signal.Signals, signal._HANDLER] = {}
        self._read = self._write = self._previous_wakeup = -1

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._numbers:
            self._previous[number] = signal.signal(number, _ignore)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        os.close(self._read)
        os.close(self._write)

    def wait(self, timeout_ns: int | None = None, *, descriptor: int | None = None) -> list[int]:
        """Sleep until a signal comes, `descriptor` is readable or the time is up. The signals, in order."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        # Rounded up: waking a moment before the time would make the caller wait again for nothing.
        poll.poll(None if timeout_ns is None else max(0, -(-timeout_ns // 1_000_000)))
        try:
            return [number for number in os.read(self._read, 256) if number in self._previous]
        except BlockingIOError:
            return []
