"""The daemon's second: what all sessions saw is taken in bulk, kept, and looked at where there is something to see.

Theory of operation. Samples go into collections natively (`SessionPlane.collect`), and what each session saw in the
second comes packed, for all at once (`take_intervals`), both in a thread of its own, as that takes its time and waits
for the workers of the plane. Samples are moved first and intervals taken second, so that whatever a test is judged by,
the own faults of its last second are known. A session costs Python a look-up and an entry in a list, unless a test of
it ended, a probe met a limit, or something befell it. Where there are thousands, others get their turn on the event
loop in between.

Sessions on which somebody acts are looked at as soon as there is something to see (`at_once`), with what is known of
the second that is under way.

What should survive a restart is saved for sessions whose tests have ended, a bounded number each second, the longest
unsaved first: few sessions are saved at each test end, ten thousand every other minute.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from twoway.aside import Aside
from twoway.config.defaults import NANOS
from twoway.daemon.own_faults import DISTURBING, LATE_NS
from twoway.drivers.session_plane import News, OwnFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twoway.config.plan import SessionKey
    from twoway.daemon.connection import Connection, Shared
    from twoway.daemon.own_faults import OwnFaults
    from twoway.daemon.seams import Store
    from twoway.daemon.session import WatchedSession
    from twoway.drivers.session_plane import PackedInterval, PlaneSession

_AT_ONCE = 500
"""Sessions of which a second is noted, or put into the store, before somebody looks at the clock: some 2 ms."""
_SAVES = 100
"""Sessions saved in one second at most."""
_FAULT_NAMES: Mapping[OwnFault, str] = {fault: str(fault.name).lower() for fault in OwnFault}


class Collector:
    """Takes everything once a second."""

    def __init__(
        self,
        shared: Shared,
        connections: Mapping[str, Connection],
        faults: OwnFaults,
        store: Store,
        completed: Callable[[Connection, WatchedSession], None],
    ) -> None:
        """`completed` is called for each session of which a test ended."""
        self._shared = shared
        self._connections = connections
        self._faults = faults
        self._store = store
        self._completed = completed
        self._thread = Aside("collect")
        self._news: list[tuple[PlaneSession, News]] = []
        self._unsaved: deque[WatchedSession] = deque()
        self._cut_ns: dict[WatchedSession, int] = {}

    async def second(self) -> None:
        """Take and look at what came since the last call."""
        start_ns, end_ns = self._faults.look()
        self._cut()
        self._shared.gone.clear()
        news, intervals = await self._thread.run(self._take)
        await self._keep_all(intervals, start_ns, end_ns)
        await self._keep_rows()
        for sender, what in news:
            await self._shared.pacing.step()
            self._look(sender, what)
        self._look_at_ended()
        for connection in list(self._connections.values()):
            connection.look()
        self.save(_SAVES)

    def at_once(self, alerts: Sequence[tuple[PlaneSession, News]]) -> None:
        """Look at these sessions now: tests of them ended, or a probe met a limit."""
        start_ns = self._faults.glance()
        ended = [sender for sender, what in alerts if what & News.TESTS]
        if ended:
            early = self._shared.plane.take_intervals(ended, late_ns=LATE_NS)
            faults: Counter[str] = Counter()
            self._shared.last_words += self._note(self._whose(early), start_ns, self._shared.clocks.wall_ns(), faults)
            self._faults.of_sessions(faults)
        for sender, what in alerts:
            self._look(sender, what & (News.TESTS | News.PROBES))

    def _take(self) -> tuple[list[tuple[PlaneSession, News]], list[PackedInterval]]:
        """In a thread: it takes some tens of milliseconds where there are thousands of sessions."""
        plane = self._shared.plane
        # News are told once: they wait for the next second if this one fails.
        self._news += plane.collect()
        intervals = plane.take_intervals(None, late_ns=LATE_NS)
        news, self._news = self._news, []
        return news, intervals

    async def _keep_all(self, intervals: list[PackedInterval], start_ns: int, end_ns: int) -> None:
        """What each session saw goes to the store."""
        taken = self._whose(intervals)  # before anybody else has a turn, and ends some of them
        faults: Counter[str] = Counter()
        seen, self._shared.last_words = self._shared.last_words, []
        for first in range(0, len(taken), _AT_ONCE):
            await self._shared.pacing.step()
            seen += self._note(taken[first : first + _AT_ONCE], start_ns, end_ns, faults)
        self._faults.of_sessions(faults)
        self._keep(seen, end_ns)

    def _keep(self, seen: list[tuple[SessionKey, bytes]], end_ns: int) -> None:
        if seen:
            # The span ends in this second of the clock; most of it was in the one before.
            self._store.put_second(max(0, end_ns // NANOS - 1), seen)

    def _whose(self, intervals: list[PackedInterval]) -> list[tuple[WatchedSession, bytes, int]]:
        """What was taken, with the session that saw it: one that has ended meanwhile, too."""
        running, gone = self._shared.running, self._shared.gone
        known = ((running.get(number) or gone.get(number), octets, bits) for number, octets, bits in intervals)
        return [(who[1], octets, bits) for who, octets, bits in known if who is not None]

    def _note(
        self, taken: list[tuple[WatchedSession, bytes, int]], start_ns: int, end_ns: int, faults: Counter[str]
    ) -> list[tuple[SessionKey, bytes]]:
        """What each session saw, by key; its own faults are added to `faults`."""
        now_ns = self._shared.clocks.wall_ns()
        seen: list[tuple[SessionKey, bytes]] = []
        for session, octets, bits in taken:
            session.saw(octets)
            seen.append((session.key, octets))
            if bits & DISTURBING:
                # What befell it is noticed when its worker wakes, which may be in the next second; and up to now, as
                # this host may have stood still since the second was over.
                session.pollute(start_ns - NANOS, max(end_ns, now_ns))
                for fault, name in _FAULT_NAMES.items():
                    if bits & fault & DISTURBING:
                        faults[name] += 1
        return seen

    async def _keep_rows(self) -> None:
        """Every probe of the sessions that want that goes to the store."""
        short = 0
        for _, session in list(self._shared.running.values()):
            if session.plan.raw:
                await self._shared.pacing.step()
                rows = session.take_rows()
                if rows is not None:
                    # Behind those of Session-Senders that have ended until now, one of which may have been this one's.
                    self._shared.last_rows.append((session.key, rows))
                    short += session.missed_rows() > 0
                if len(self._shared.last_rows) >= _AT_ONCE:
                    self._keep_last_rows()
        self._keep_last_rows()
        if short:
            self._faults.of_sessions({"samples_dropped": short})

    def _keep_last_rows(self) -> None:
        kept, self._shared.last_rows = self._shared.last_rows, []
        if kept:
            self._store.put_history(kept, self._shared.clocks.wall_ns())

    def _look_at_ended(self) -> None:
        """What a Session-Sender had seen until it was ended may have completed tests, which were judged then."""
        ended, self._shared.ended = self._shared.ended, {}
        for session, connection in ended.items():
            if self._connections.get(connection.plan.name) is connection:
                self._judged(connection, session)

    def _look(self, sender: PlaneSession, what: News) -> None:
        """Look at a session. News are told once: what goes wrong with one session must not cost the others theirs."""
        known = self._shared.running.get(sender.number)
        if known is None or known[1].sender is not sender:
            return
        try:
            self._see(*known, what)
        except Exception as error:  # noqa: BLE001  (as above; it is counted and told)
            self._faults.internal(error)

    def _see(self, connection: Connection, session: WatchedSession, what: News) -> None:
        if what & News.EVENTS:
            session.take_events()
        if what & News.PROBES:
            session.look_at_probes(self._faults.host)
        if what & (News.TESTS | News.FINISHED):
            self.take_tests(connection, session)
        if what & News.FINISHED:
            connection.finished(session)
        elif session.silent or (what & News.EVENTS and session.no_packet_leaves):
            connection.silent(session)

    def take_tests(self, connection: Connection, session: WatchedSession) -> None:
        """Judge the tests of a session that have ended."""
        if session.take_tests(self._faults.host):
            self._judged(connection, session)

    def _judged(self, connection: Connection, session: WatchedSession) -> None:
        if connection.sessions.get(session.plan.name) is not session:
            return  # a reload has ended it
        self._completed(connection, session)
        if session.plan.persistent and not session.dirty:
            session.dirty = True
            self._unsaved.append(session)

    def _cut(self) -> None:
        """End the tests of continuous sessions whose time is over."""
        now_ns, wall_ns = self._shared.clocks.monotonic_ns(), self._shared.clocks.wall_ns()
        running = {session for _, session in self._shared.running.values() if not session.plan.probe_count}
        for session in [known for known in self._cut_ns if known not in running]:
            del self._cut_ns[session]
        for session in running:
            due_ns = self._cut_ns.setdefault(session, now_ns + session.plan.test_interval_ns)
            if now_ns >= due_ns:
                session.collections.cut(wall_ns)
                # Tests end at whole intervals; those that were missed are not made up for.
                missed = (now_ns - due_ns) // session.plan.test_interval_ns
                self._cut_ns[session] = due_ns + (missed + 1) * session.plan.test_interval_ns

    def last(self) -> None:
        """Every session has stopped: keep what they saw last, and save all that should survive."""
        if self._shared.last_words:
            _, end_ns = self._faults.look()
            self._keep(self._shared.last_words, end_ns)
            self._shared.last_words = []
        self._keep_last_rows()
        self._look_at_ended()
        for connection in self._connections.values():
            for session in connection.sessions.values():
                self.take_tests(connection, session)
                if session.plan.persistent and not session.dirty:
                    session.dirty = True
                    self._unsaved.append(session)
        self.save(None)

    def save(self, most: int | None) -> None:
        """Save sessions that have something new, the longest unsaved first."""
        count = len(self._unsaved) if most is None else min(most, len(self._unsaved))
        for _ in range(count):
            session = self._unsaved.popleft()
            if session.dirty:  # else a reload has ended it
                session.dirty = False
                self._store.put_collections(session.key, session.pack())
