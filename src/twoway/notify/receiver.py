"""One receiver of notices: its queue, its rate limit, and the patience with which it is tried again.

Theory of operation. `post` puts a notice into a bounded queue and returns; one task takes notices out, opens the outlet
when there is something to say, and hands them over one by one. When that fails, the notice stays at the head of the
queue and is tried again after a pause that doubles from one second to a minute. A queue that is full gives up its
oldest notice, but no end of a condition as long as there is anything else. Every notice posted is in the end counted
once: sent, suppressed (over the rate limit), or dropped (the queue was full, or the receiver did not take it before the
end).

The receiver is degraded from a failure until a message has gone through; while it is, what is said about a degraded
receiver is kept from it, so that a dead receiver's troubles never feed its own queue.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from twoway.analysis.notices import Notice, State
from twoway.errors import TwowayError, one_line

from .limit import RateLimit, summary_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

QUEUE = 1000
"""Notices that wait for a receiver."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


class Outlet(Protocol):
    """The way from a notice to a receiver: encoding and transport. Failures raise `OSError` or `TwowayError`."""

    label: str
    """What it is called where people read of it, such as `syslog udp 192.0.2.1:514`."""

    def wants(self, notice: Notice) -> bool:
        """Whether such a notice is for this receiver at all."""

    async def open(self) -> None:
        """Get ready to deliver. Called before the first notice, and again after `close`."""

    async def deliver(self, notice: Notice, *, careful: bool) -> None:
        """Hand over one. `careful`: wait until it is as sure as it can be that it arrived."""

    def close(self) -> None:
        """Let go of everything; may be called at any time."""


class Waiting:
    """Notices in order, of which a full queue gives up the oldest that is no end of a condition, else the oldest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        self._ends: deque[tuple[int, Notice]] = deque()
        self._others: deque[tuple[int, Notice]] = deque()

    def __len__(self) -> int:
        return len(self._ends) + len(self._others)

    def put(self, notice: Notice) -> Notice | None:
        """Add the newest. Returns the one that was given up for it, if any."""
        given_up = None
        if len(self) >= self._most:
            _, given_up = (self._others or self._ends).popleft()
        self._number += 1
        (self._ends if notice.state is State.CLEARED else self._others).append((self._number, notice))
        return given_up

    def take(self) -> Notice:
        """Remove the oldest. Raises `IndexError` if there is none."""
        ends_first = self._ends and (not self._others or self._ends[0][0] < self._others[0][0])
        return (self._ends if ends_first else self._others).popleft()[1]

    def clear(self) -> None:
        """Remove them all."""
        self._ends.clear()
        self._others.clear()


class Receiver:
    """See the module. `on_change` is called with True when it becomes degraded and False when it is well again."""

    def __init__(
        self, outlet: Outlet, rate_limit: int, on_change: Callable[[Receiver, bool], None], queue: int = QUEUE
    ) -> None:
        self.label = outlet.label
        self.limit = RateLimit(rate_limit)
        self.degraded = False
        self.last_error = ""
        self._outlet = outlet
        self._on_change = on_change
        self._queue = Waiting(queue)
        self._at_hand: Notice | None = None
        self._news = asyncio.Event()
        self._closing = False
        self._sent = self._dropped = self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"notices to {self.label}")

    def post(self, notice: Notice) -> None:
        """Queue a notice, if it is for this receiver and within its limit. Never blocks."""
        about_receivers = notice.name == "receiver-degraded"
        if self._closing or not self._outlet.wants(notice) or (about_receivers and self.degraded):
            return
        now_ns = time.monotonic_ns()
        if self.limit.admit(notice, now_ns):
            self._put(notice)
        self._news.set()

    async def close(self, bound_s: float) -> None:
        """Deliver what is queued, within the bound, and end. What is left then is counted as dropped."""
        self._closing = True
        self._news.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=bound_s)
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._outlet.close()
        self._dropped += self.queued
        self._queue.clear()
        self._at_hand = None

    @property
    def queued(self) -> int:
        """Notices that are not delivered yet."""
        return len(self._queue) + (self._at_hand is not None)

    def state(self) -> Mapping[str, int | str]:
        """For `twoway show health`."""
        return {
            "receiver": self.label,
            "state": "degraded" if self.degraded else "ok",
            "sent": self._sent,
            "queued": self.queued,
            "suppressed": self.limit.suppressed,
            "dropped": self._dropped,
            "failures": self._failures,
            "last_error": self.last_error,
        }

    def _put(self, notice: Notice) -> None:
        given_up = self._queue.put(notice)
        if given_up is not None:
            self._drop(given_up)

    def _drop(self, notice: Notice) -> None:
        self._dropped += 1
        self.limit.lost(notice)

    async def _run(self) -> None:
        opened = proven = False
        pause_s = FIRST_PAUSE_S
        while True:
            await self._something_to_say()
            if not self.queued:
                return
            if self._at_hand is None:
                self._at_hand = self._queue.take()
            try:
                if not opened:
                    await self._outlet.open()
                    opened = True
                    proven = False
                await self._outlet.deliver(self._at_hand, careful=not proven)
            except (OSError, TwowayError) as error:
                self._outlet.close()
                opened = False
                self._failed(error)
                if await self._closed_within(pause_s):
                    return
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            except Exception as error:  # noqa: BLE001  (a notice that cannot be said must not silence those after it)
                self._drop(self._at_hand)
                self._at_hand = None
                self._failed(error)
                continue
            pause_s = FIRST_PAUSE_S
            proven = True
            self._at_hand = None
            self._sent += 1
            self._recovered()
            await asyncio.sleep(0)  # a queue full of notices is worked off between other things, not before them

    async def _something_to_say(self) -> None:
        """Until there is a notice in the queue, or the end has come. Summaries of what was left out come up here."""
        while True:
            self._news.clear()
            now_ns = time.monotonic_ns()
            left_out = self.limit.take_summary(now_ns)
            if left_out is not None:
                self._summarise(left_out)
            if self.queued or self._closing:
                return
            due_ns = self.limit.summary_due_ns()
            try:
                await asyncio.wait_for(self._news.wait(), None if due_ns is None else (due_ns - now_ns) / 1e9)
            except TimeoutError:
                continue

    def _summarise(self, left_out: Mapping[str, int]) -> None:
        summary = Notice(
            at_ns=time.time_ns(),
            name="notices-suppressed",
            state=State.ONCE,
            message=summary_text(left_out),
            count=sum(left_out.values()),
        )
        if self._outlet.wants(summary):
            self._put(summary)

    async def _closed_within(self, pause_s: float) -> bool:
        """Pause, and whether the end came meanwhile: then nobody waits for a receiver that is away."""
        deadline = time.monotonic() + pause_s
        while not self._closing and (left_s := deadline - time.monotonic()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left_s)
            except TimeoutError:
                break
        return self._closing

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        # Asyncio's own words for an errno say less than the kernel's.
        words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        self.last_error = one_line(words) or type(error).__name__
        if not self.degraded:
            self.degraded = True
            self._on_change(self, True)

    def _recovered(self) -> None:
        if self.degraded:
            self.degraded = False
            self._on_change(self, False)
