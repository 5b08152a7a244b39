"""Many test-sessions on one native plane, for the daemon: a few threads and one descriptor for all of them.

Theory of operation. What happens for each session and second is done natively and in bulk. Samples go from a
Session-Sender to its `Collections` in `collect`, which names only the sessions that somebody should look at: one whose
test ended, one of whose probes met a limit, one that has events or has ended. What a second brought is taken packed,
for all sessions in one call, by `take_intervals`. So a quiet session costs Python nothing but its number and octets.

Nothing here waits, but `take_intervals` and `summaries`, whose answer the workers give between packets: a loop that
must not wait some tens of milliseconds calls them in a thread.
"""

from __future__ import annotations

import asyncio
from enum import IntFlag
from typing import TYPE_CHECKING

from twoway.analysis.result import Event
from twoway.drivers.descriptors import leave_some
from twoway.drivers.native import _native
from twoway.drivers.plane import sender_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway._native import Collection as Collection
    from twoway._native import Collections as Collections
    from twoway._native import HistoryBatch as HistoryBatch
    from twoway._native import IntervalSummary as IntervalSummary
    from twoway._native import Probes as Probes
    from twoway._native import SampleBatch as SampleBatch
    from twoway._native import Sender, SenderSpec
    from twoway.session import SessionSpec

_GRID_NS = 1_000_000
LATE_NS = 1_000_000
"""A departure this much after its moment is a fault of this host, not of the network."""


class News(IntFlag):
    """Why a session should be looked at: bits of the names in `catalogue()["news"]`."""

    TESTS = 1
    """`Collections.take_finished` has tests."""
    PROBES = 2
    """A probe met a limit of `Collections.watch`; `Collections.probes` tells."""
    EVENTS = 4
    """`take_events` has some."""
    FINISHED = 8
    """Its last probe is decided, and everything is in its collections."""
    SAMPLES = 16
    """It has samples and no collections to put them into."""
    LIMITS = 32
    """A limit that is looked out for stands otherwise (`PlaneSession.follow`)."""


class OwnFault(IntFlag):
    """What this host did to its own measurement: bits of the names in `catalogue()["own_faults"]`."""

    MISSED_SLOTS = 1
    SEND_ERRORS = 2
    SOCKET_DROPS = 4
    SAMPLES_DROPPED = 8
    CLOCK_STEPS = 16
    LATE_DEPARTURES = 32


PackedInterval = tuple[int, bytes, int]
"""What one session saw in a span: its number, the packed summary (`unpack_summary` opens it), `OwnFault` bits."""


Limit = tuple[str, float, float, bool]
"""Name of a metric, value that is met, value below which it is met no more, whether the greatest value counts."""
Window = tuple[int, tuple[Limit, ...]]
"""Length in ns, and limits for what became known within it."""
Finding = tuple[int, float | None]
"""How a limit stands (0 not known, 1 not met, 2 met), and the value that says so."""


def collections(*, probe_count: int, moving_average_size: int, history_size: int) -> Collections:
    """Collections without a probe. `probe_count` 0: tests end when `cut` says so."""
    return _native.Collections(
        probe_count=probe_count, moving_average_size=moving_average_size, history_size=history_size
    )


def unpack_summary(octets: bytes) -> IntervalSummary:
    """A packed summary. Raises `WireError`."""
    return _native.IntervalSummary.unpack(octets)


def merge_packed(packed: Sequence[bytes]) -> IntervalSummary:
    """Packed summaries as one. Raises `WireError`."""
    return _native.IntervalSummary.merge_packed(packed)


class PlaneSession:
    """One Session-Sender of a `SessionPlane`. Its socket goes with the last reference to it."""

    __slots__ = ("collections", "native", "number")

    def __init__(self, native: Sender, into: Collections | None) -> None:
        self.native = native
        self.number = native.id
        self.collections = into
        """Where its samples go."""

    def start(self) -> None:
        """Send the first packet now."""
        self.native.start()

    def start_at_monotonic(self, monotonic_ns: int, *, in_step: bool = False) -> None:
        """Send the first packet then, or up to a millisecond later: those that share a whole millisecond share a wake,
        without which ten thousand sessions of 1 packet/s take twice the processor time. With `in_step`, what has passed
        means a whole number of intervals later."""
        self.native.start_at_monotonic(-(-monotonic_ns // _GRID_NS) * _GRID_NS, in_step=in_step)

    def stop(self) -> None:
        """Send no more, and go on waiting for replies as long as they may be in time."""
        self.native.stop()

    def abort(self) -> None:
        """Stop at once: packets still awaited become pending, not lost."""
        self.native.abort()

    def collect(self) -> None:
        """Move what it has by now into its collections; after its end these belong to another, if there is one."""
        self.native.collect()

    @property
    def finished(self) -> bool:
        """Whether its last packet is decided."""
        return self.native.finished

    @property
    def local_address(self) -> tuple[str, int]:
        """Address and port that it sends from."""
        return self.native.local_address

    @property
    def obtained(self) -> dict[str, str]:
        """What was asked for but obtained in lesser form: option -> what stands instead."""
        return self.native.obtained

    def summary(self) -> IntervalSummary:
        """Everything since it began. Waits for its worker."""
        return self.native.summary()

    def follow(self, windows: Sequence[Window], *, late_ns: int, before: PlaneSession | None = None) -> None:
        """Have tests that end, and limits of these windows that are met or met no more, told at once
        (`SessionPlane.watch_alerts`). `before` sent the probes of the same test-session: what it saw goes on here."""
        self.native.follow(windows, late_ns=late_ns, before=None if before is None else before.native)

    def follow_no_more(self) -> None:
        """Nobody acts on it any more."""
        self.native.follow_no_more()

    def findings(self) -> list[list[Finding]]:
        """How the limits stood last, window by window."""
        return self.native.findings()

    def take_events(self) -> list[Event]:
        """What befell it since the last call, each kind once."""
        return [Event(*event) for event in self.native.take_events()]


class SessionPlane:
    """Session-Senders of many test-sessions on `workers` threads."""

    def __init__(self, *, workers: int = 1, busy_poll: bool = False) -> None:
        self._plane = _native.Plane(workers=workers, busy_poll=busy_poll)
        self._sessions: dict[int, PlaneSession] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alerts_loop: asyncio.AbstractEventLoop | None = None

    def open(
        self, spec: SessionSpec, *, group: tuple[int, int] | None = None, into: Collections | None = None
    ) -> PlaneSession:
        """Open a Session-Sender that waits to be started. Raises `ConfigError` and `PlaneError`.

        `group`: (count, pause_ns): after each `count` packets the next one waits for `pause_ns`. Its samples go `into`
        these collections, whose open tests are interrupted.
        """
        return self.open_native(sender_spec(spec), group=group, into=into)

    def open_native(
        self, wanted: SenderSpec, *, group: tuple[int, int] | None = None, into: Collections | None = None
    ) -> PlaneSession:
        """As `open`, for a specification that has what was negotiated."""
        if group is not None:
            wanted = wanted.grouped(*group)
        leave_some()
        native = self._plane.open_sender(wanted)
        if into is not None:
            native.attach(into)
        session = PlaneSession(native, into)
        self._sessions[session.number] = session
        return session

    def forget(self, session: PlaneSession) -> None:
        """Its news are of no more interest."""
        self._sessions.pop(session.number, None)

    def watch(self, callback: Callable[[], object]) -> None:
        """Call `callback` on the running loop when there are news; it should `collect`, which ends them."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._plane.fileno(), callback)

    def watch_alerts(self, callback: Callable[[], object]) -> None:
        """Call `callback` on the running loop when there are alerts; it should `take_alerts`, which ends them."""
        self._alerts_loop = asyncio.get_running_loop()
        self._alerts_loop.add_reader(self._plane.alert_fileno(), callback)

    def watch_alerts_no_more(self) -> None:
        """Idempotent."""
        if self._alerts_loop is not None:
            self._alerts_loop.remove_reader(self._plane.alert_fileno())
            self._alerts_loop = None

    def take_alerts(self) -> list[tuple[PlaneSession, News, list[list[Finding]]]]:
        """What followed sessions have to tell since the last call, with how their limits stand."""
        alerts = ((self._sessions.get(id_), News(news), found) for id_, news, found in self._plane.take_alerts())
        return [(session, news, found) for session, news, found in alerts if session is not None]

    def collect(self) -> list[tuple[PlaneSession, News]]:
        """Move all samples into collections; the sessions that somebody should look at, and why."""
        looked = ((self._sessions.get(number), News(news)) for number, news in self._plane.collect())
        return [(session, news) for session, news in looked if session is not None]

    def take_intervals(
        self, sessions: Sequence[PlaneSession] | None = None, *, late_ns: int = LATE_NS
    ) -> list[PackedInterval]:
        """What each session (or each of `sessions`) saw since the last call. Waits for the workers."""
        ids = None if sessions is None else [session.number for session in sessions]
        return self._plane.take_intervals(ids, late_ns=late_ns)

    def summaries(self, sessions: Sequence[PlaneSession] | None = None) -> list[tuple[int, bytes]]:
        """(number, packed summary since it began) of each session. Waits for the workers."""
        return self._plane.summaries(None if sessions is None else [session.number for session in sessions])

    def close(self) -> None:
        """Stop the workers and close the sockets. Idempotent."""
        if self._loop is not None:
            self._loop.remove_reader(self._plane.fileno())
            self._loop = None
        self.watch_alerts_no_more()
        self._sessions.clear()
        self._plane.close()
