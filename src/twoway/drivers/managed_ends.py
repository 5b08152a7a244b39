"""The ends of negotiated test-sessions: Session-Senders, Session-Reflectors and Session-Receivers, each as it runs.

`managed_plane` opens them; whoever holds one starts it, takes what it has and ends it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from twoway.control.owamp_codec import PacketRecords, SkipRange
from twoway.drivers.native import _native
from twoway.drivers.plane import Events, coalesce_ns, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway._native import IntervalSummary as IntervalSummary
    from twoway._native import RecordBatch as RecordBatch
    from twoway._native import SampleBatch as SampleBatch
    from twoway.analysis.result import Event, Result, SessionDescription


def _nothing() -> object:
    """Nobody waits yet."""
    return None


class _Opened(Protocol):
    """What every native end has."""

    @property
    def id(self) -> int: ...
    @property
    def obtained(self) -> dict[str, str]: ...


class _Answering(_Opened, Protocol):
    """What both native ends have that packets come to."""

    @property
    def end(self) -> str: ...
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None: ...


_Native = TypeVar("_Native", bound=_Opened)
_NativePort = TypeVar("_NativePort", bound=_Answering)


class _End(Generic[_Native]):
    """What every end has. A plane calls `news` when there is something to take, or it has ended."""

    def __init__(self, native: _Native) -> None:
        self._native = native
        self.number = native.id
        self.news: Callable[[], object] = _nothing
        self.forget: Callable[[], object] = _nothing

    @property
    def obtained(self) -> dict[str, str]:
        """Option -> what stands instead."""
        return self._native.obtained


class SessionSender(_End[_native.Sender]):
    """One Session-Sender of a negotiated session."""

    def __init__(self, native: _native.Sender, description: SessionDescription, percentiles: tuple[float, ...]) -> None:
        super().__init__(native)
        self._percentiles = percentiles
        self._events = Events(native)
        self._finished = False
        self.description = description

    @property
    def finished(self) -> bool:
        """Whether the last `take` was the last one."""
        return self._finished

    @property
    def coalesce_ns(self) -> int:
        """How long to let samples gather before the next `take`."""
        return coalesce_ns(self.description.interval_ns)

    def start(self, start_ns: int | None = None) -> None:
        """Begin the schedule now, or when the wall clock reads that."""
        if start_ns is None:
            self._native.start()
        else:
            self._native.start_at(start_ns)

    def stop(self) -> None:
        """Send no more, and go on waiting for replies."""
        self._native.stop()

    def abort(self) -> None:
        """Stop at once: packets still awaited become pending."""
        self._native.abort()

    def progress(self) -> tuple[int, tuple[SkipRange, ...]]:
        """Next Seqno and skip ranges (RFC 4656 section 3.8)."""
        next_seqno, ranges = self._native.progress()
        return next_seqno, tuple(SkipRange(first, last) for first, last in ranges)

    def take(self) -> SampleBatch:
        """The samples since the last call."""
        # In this order: what `finished` promises is in this batch.
        self._finished = self._native.finished
        if self._finished:
            self.forget()
        return self._native.drain()

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        return self._events.take()

    def summary(self) -> IntervalSummary:
        """Everything so far."""
        return self._native.summary()

    def take_interval(self) -> IntervalSummary:
        """What came since the last call."""
        return self._native.take_interval()

    def result(self, *, interrupted: bool, summary: IntervalSummary | None = None) -> Result:
        """The result so far; `summary` if another one knows better."""
        self.take_events()
        return result_of(
            self.description,
            summary or self.summary(),
            self._percentiles,
            events=self._events.kept,
            interrupted=interrupted,
        )

    # As a Server's, in OWAMP.

    @property
    def running(self) -> bool:
        """Whether it may still send."""
        return not self._native.finished

    def counters(self) -> dict[str, int]:
        """What it has done."""
        return {"sent": self.summary().counter("sent")}

    def close(self) -> None:
        """End it. Its socket goes with the last reference."""
        self._native.abort()
        self.forget()


class _Port(_End[_NativePort]):
    """What both ends have that packets come to."""

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._native.end == "running"

    @property
    def end(self) -> str:
        """Why it has ended: `running`, `stopped`, `refwait`, `closed` or `failed`."""
        return self._native.end

    def counters(self) -> dict[str, int]:
        """Disposition -> packets."""
        return self._native.counters()

    def close(self) -> None:
        """End it now."""
        self._native.close()
        self.forget()


class SessionReflector(_Port[_native.ManagedReflector]):
    """One Session-Reflector of a negotiated session."""

    def start(self, start_ns: int | None = None) -> None:
        """Reflect. A Session-Sender may be early by its clock, so the Start Time is not waited for."""
        del start_ns
        self._native.start()

    def stop(self) -> None:
        """Stop-Sessions came: reflect for the Timeout still (RFC 5357 section 3.8)."""
        self._native.stop()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a Session-Receiver recorded."""

    batch: RecordBatch
    outcome: str
    """`running`, `complete`, `abandoned` or `invalid`."""
    next_seqno: int
    skip_ranges: tuple[SkipRange, ...]

    @property
    def records(self) -> PacketRecords:
        """As Fetch-Session sends them."""
        return PacketRecords(self.batch.octets())

    def summary(self, start_ns: int) -> IntervalSummary:
        """In numbers."""
        ranges = [(skipped.first, skipped.last) for skipped in self.skip_ranges]
        return self.batch.summary(skip_ranges=ranges, start_ns=start_ns, end_ns=max(start_ns, time.time_ns()))

    def between(self, begin: int, end: int) -> Recorded:
        """The packets numbered from `begin` to `end`."""
        return replace(self, batch=self.batch.between(begin, end))


def recorded_of(records: PacketRecords, next_seqno: int, skip_ranges: tuple[SkipRange, ...]) -> Recorded:
    """What another Session-Receiver recorded, as Fetch-Session brought it."""
    batch = _native.RecordBatch.parse(records.octets, near_ns=time.time_ns())
    return Recorded(batch, "complete", next_seqno, skip_ranges)


class SessionReceiver(_Port[_native.SessionReceiver]):
    """One Session-Receiver of a negotiated session."""

    @property
    def decided(self) -> bool:
        """Whether every packet of the schedule is received or lost."""
        return self._native.decided

    def start(self, start_ns: int | None = None) -> None:
        """The schedule begins now, or when the wall clock reads that."""
        if start_ns is None:
            self._native.start()
        else:
            self._native.start_at(start_ns)

    def stop(self) -> None:
        """Nothing: OWAMP's Stop-Sessions is `complete`."""

    def complete(self, next_seqno: int, skip_ranges: tuple[SkipRange, ...]) -> str:
        """The Session-Sender's account is here. The outcome: `complete` or `invalid`."""
        return self._native.complete(next_seqno, [(skipped.first, skipped.last) for skipped in skip_ranges])

    def abandon(self) -> str:
        """There will be no account."""
        return self._native.abandon()

    def recorded(self) -> Recorded:
        """The records so far, or for good."""
        batch, outcome, next_seqno, ranges = self._native.recorded()
        return Recorded(batch, outcome, next_seqno, tuple(SkipRange(first, last) for first, last in ranges))

    def summary(self) -> IntervalSummary:
        """The records so far in numbers."""
        return self._native.summary()


FarEnd = SessionReflector | SessionReceiver | SessionSender
"""What a Server runs for a session."""
