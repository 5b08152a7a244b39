"""Control-connections of the client without a control connection: light ones, which only share a name and statements.

Theory of operation. A light test-session has no task: its Session-Sender runs on the packet plane, and what has to be
done in Python is done when it is opened, when its tests end, and when nothing comes back. Names are looked up in
threads of their own (`names`). What cannot be opened is tried again after a pause; a target that is silent is looked up
again, and its session opened anew only if that changes where packets go, or if the kernel does not let them out.

Many sessions do not send at the same moment: each start is put off by its part of the interval (`Starts`). The paths of
one test-session see the same moments instead: they take turns within each interval (`Turns`).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from twoway.analysis.notices import Notice, State
from twoway.analysis.views import STATUSES, ControlView, TestView
from twoway.config import defaults
from twoway.config.defaults import NANOS
from twoway.config.endpoint import parse_endpoint
from twoway.daemon.own_faults import DISTURBING, LATE_NS, NOTICED_NS, Spans
from twoway.daemon.pacing import TURN_S, Pacing
from twoway.daemon.seams import NoFollower
from twoway.daemon.session import NETWORK_ERRNOS, WatchedSession, samples_kept
from twoway.drivers.plane import session_spec
from twoway.drivers.resolve import numeric_family
from twoway.errors import PlaneError, TwowayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping

    from twoway.config.plan import ConnectionPlan, SessionKey, SessionPlan
    from twoway.daemon.bulletin import Bulletin
    from twoway.daemon.names import Names
    from twoway.daemon.own_faults import Clocks
    from twoway.daemon.seams import Follower
    from twoway.drivers.plane import IntervalSummary as IntervalSummary
    from twoway.drivers.resolve import Address
    from twoway.drivers.session_plane import PlaneSession, SampleBatch, SessionPlane

ATTEMPTS = 128
"""Control connections that are being made at once: a thousand peers that come back do not come at once for us."""
_RETRY_S = 5.0
_LONGEST_RETRY_S = 60.0
_LOOK_AGAIN_NS = 30 * NANOS
"""Between two looks at the way to a silent target."""
_OPENING_NS = NANOS // 20
"""For all paths of a test-session to be opened before the first one begins."""
_AT_ONCE = 20
"""Sessions that are opened before somebody looks at the clock: some 1 ms."""
_ENDED_AT_ONCE = 20
"""Sessions that are ended before somebody looks at the clock: some 1 ms."""
_LONGEST_TURN_NS = 60 * NANOS
"""A path waits no longer than this for the next test of the others."""


class Starts:
    """Spreads starts evenly over an interval, however many there are: multiples of the golden ratio."""

    def __init__(self) -> None:
        self._part = 0.0

    def delay_ns(self, interval_ns: int) -> int:
        """How long the next one is put off. The first is not."""
        delay = int(self._part * min(interval_ns, NANOS))
        self._part = (self._part + 0.618_033_988_749_895) % 1.0
        return delay


class Turns:
    """When the paths of one test-session send: one after the other within each interval, test by test.

    A path that begins later than the others, as its interface was not there, joins them at their next test, or at the
    next interval where a test takes long.
    """

    def __init__(self, begins_ns: int) -> None:
        self._begins_ns = begins_ns
        self.seed = int.from_bytes(os.urandom(8), "big")
        """For random departures at the same moments."""

    def start_ns(self, plan: SessionPlan, interval_ns: int, now_ns: int) -> int:
        """When the path of this plan is to begin."""
        if plan.lane is None:
            raise ValueError("a session with one path takes no turns")
        step_ns = (plan.probe_count - 1) * interval_ns + plan.test_interval_ns if plan.probe_count else interval_ns
        if step_ns > _LONGEST_TURN_NS:
            step_ns = interval_ns
        first_ns = self._begins_ns + interval_ns * plan.lane.place // plan.lane.of
        return first_ns + max(0, -(-(now_ns - first_ns) // step_ns)) * step_ns


@dataclass(slots=True)
class Shared:
    """What all connections of the daemon share."""

    plane: SessionPlane
    names: Names
    bulletin: Bulletin
    clocks: Clocks
    host: Spans = field(default_factory=Spans)
    """When this host disturbed every session."""
    kept: dict[SessionKey, bytes] = field(default_factory=dict)
    """States of sessions that do not run: as the store kept them, or as a reload left them."""
    unreadable: int = 0
    """How many of them could not be read."""
    running: dict[int, tuple[Connection, WatchedSession]] = field(default_factory=dict)
    """Number of a Session-Sender -> whose it is."""
    gone: dict[int, tuple[Connection, WatchedSession]] = field(default_factory=dict)
    """Those that have ended since a second began to be taken, in which they may be."""
    last_words: list[tuple[SessionKey, bytes]] = field(default_factory=list)
    """What sessions that have ended saw since the last second was taken, packed."""
    last_rows: list[tuple[SessionKey, SampleBatch]] = field(default_factory=list)
    """Probes of sessions that keep every one, as they came, which the store has not been given."""
    ended: dict[WatchedSession, Connection] = field(default_factory=dict)
    """Those of them of which a test was judged at their end."""
    starts: Starts = field(default_factory=Starts)
    pacing: Pacing = field(default_factory=Pacing)
    attempts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ATTEMPTS))
    follower: Follower = field(default_factory=NoFollower)

    def begin(self, connection: Connection, session: WatchedSession, sender: PlaneSession, to: tuple[str, int]) -> None:
        """A Session-Sender runs for a session."""
        session.begin(sender, to)
        self.running[sender.number] = (connection, session)

    def end(self, session: WatchedSession) -> None:
        """The session has no Session-Sender from now on; nothing that it saw is lost."""
        self.end_all((session,))

    def end_all(self, sessions: Iterable[WatchedSession]) -> None:
        """As `end`, for some: the workers, which answer between packets, are asked once for all of them."""
        senders = {session: sender for session in sessions if (sender := session.sender) is not None}
        if not senders:
            return
        for sender in senders.values():
            sender.abort()
        asked = list(senders.values())
        seen = {number: (octets, bits) for number, octets, bits in self.plane.take_intervals(asked, late_ns=LATE_NS)}
        everything = dict(self.plane.summaries(asked))
        for session, sender in senders.items():
            if sender.number in seen:
                octets, bits = seen[sender.number]
                self.last_words.append((session.key, octets))
                if bits & DISTURBING:
                    now_ns = self.clocks.wall_ns()
                    session.pollute(now_ns - NOTICED_NS, now_ns)
            session.end(everything.get(sender.number))
            rows = session.take_rows()
            if rows is not None:
                self.last_rows.append((session.key, rows))
            connection, _ = self.gone[sender.number] = self.running.pop(sender.number)
            if session.take_tests(self.host):
                self.ended[session] = connection
            self.plane.forget(sender)

    async def ended_in_turns(self, sessions: Mapping[str, WatchedSession]) -> AsyncIterator[WatchedSession]:
        """All of these, none of which has a Session-Sender any more; those that a reload takes away meanwhile are left
        out."""
        all_of_them = list(sessions.items())
        for first in range(0, len(all_of_them), _ENDED_AT_ONCE):
            await self.pacing.step()
            some = all_of_them[first : first + _ENDED_AT_ONCE]
            there = [session for name, session in some if sessions.get(name) is session]
            self.end_all(there)
            for session in there:
                yield session

    def session(self, plan: SessionPlan) -> WatchedSession:
        """A session that has not begun, with what survived of it."""
        session = WatchedSession(plan, self.bulletin, self.clocks, self.follower)
        kept = self.kept.pop(plan.key, None)
        if kept is not None and plan.persistent:
            self.unreadable += not session.restore(kept)
        return session

    async def made(self, plans: Iterable[SessionPlan]) -> dict[str, WatchedSession]:
        """Sessions that have not begun, by name."""
        sessions = {}
        for plan in plans:
            await self.pacing.step()
            sessions[plan.name] = self.session(plan)
        return sessions

    def retire(self, session: WatchedSession, why: str) -> None:
        """A session is no longer configured, or as another one, which may take up its results."""
        session.close(why)
        session.dirty = False
        if session.plan.persistent:
            self.kept[session.key] = session.pack()


class Connection(Protocol):
    """A control-connection of the client, as the daemon drives it."""

    plan: ConnectionPlan
    sessions: dict[str, WatchedSession]

    def start(self, tests: int | None) -> None:
        """Begin: `tests` tests of each session, None for as many as the plan has."""

    async def stop(self, reason: str) -> None:
        """End its tests; `start` may follow."""

    async def close(self, why: str) -> None:
        """End for good."""

    async def change(self, plan: ConnectionPlan, stop: Iterable[SessionPlan], start: Iterable[SessionPlan]) -> None:
        """Go on under another plan, with fewer and more sessions."""

    def finished(self, session: WatchedSession) -> None:
        """The Session-Sender of this session has ended by itself."""

    def silent(self, session: WatchedSession) -> None:
        """Nothing came back for some probes, or none could leave."""

    def look(self) -> None:
        """Once a second."""

    def view(self) -> ControlView: ...
    @property
    def status(self) -> str: ...


class Iterations:
    """When every test-session of a connection has completed a test."""

    def __init__(self) -> None:
        self._completed: set[str] = set()
        self.done = 0
        """Test iterations, since the daemon started."""

    def completed(self, session: str, of: Iterable[str]) -> bool:
        """A session completed a test: whether all have since the last time."""
        self._completed.add(session)
        if not self._completed.issuperset(of):
            return False
        self._completed.clear()
        self.done += 1
        return True


def tests_to_run(session: SessionPlan, tests: int | None) -> int:
    """How many: 0 for no end."""
    return session.test_count if tests is None else tests


def probes_to_send(session: SessionPlan, tests: int | None) -> int | None:
    """Packets of a session for so many tests; None for no end, as for a continuous session."""
    return tests_to_run(session, tests) * session.probe_count or None


def group_of(session: SessionPlan) -> tuple[int, int] | None:
    """After how many probes how long a pause is made."""
    return (session.probe_count, session.test_interval_ns) if session.probe_count else None


def joint_status(sessions: Iterable[WatchedSession]) -> str:
    """What a connection does whose sessions do this."""
    statuses = {session.status for session in sessions}
    return next((status for status in STATUSES if status in statuses), "idle")


def connection_notice(plan: ConnectionPlan, name: str, message: str, at_ns: int) -> Notice:
    """A notice about a whole connection."""
    return Notice(at_ns, name, State.ONCE, f"{plan.name}: {message}", connection=plan.name, trap=name in plan.traps)


def test_view(session: WatchedSession, protocol: str) -> TestView:
    """A session as `test-info` shows it."""
    sender = session.sender
    local = sender.local_address if sender is not None else ("", 0)
    far = session.target_address or ("", 0)
    everything = session.collections.collection("all-tests")
    return TestView(
        connection=session.plan.connection,
        name=session.plan.name,
        protocol=protocol,
        sender_address=local[0],
        sender_port=local[1],
        reflector_address=far[0],
        reflector_port=far[1],
        status=session.status,
        packets=0 if everything is None else everything.counter("sent"),
        reason=session.reason,
    )


class LightConnection:
    """Test-sessions without a control connection (STAMP, TWAMP Light)."""

    def __init__(self, plan: ConnectionPlan, shared: Shared, sessions: dict[str, WatchedSession]) -> None:
        self.plan = plan
        self._shared = shared
        self.sessions = sessions
        self.retries = 0
        self._tests: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: dict[str, asyncio.TimerHandle] = {}
        self._pause_s: dict[str, float] = {}
        self._look_after_ns: dict[str, int] = {}
        self._turns: dict[str, Turns] = {}
        """Of test-sessions with several paths."""
        self._later: asyncio.Handle | None = None
        self._to_open: deque[WatchedSession] = deque()

    @property
    def status(self) -> str:
        """The best that one of its sessions does."""
        return joint_status(self.sessions.values())

    def start(self, tests: int | None) -> None:
        """Begin: `tests` tests of each session, None for as many as the plan has."""
        self._tests = tests
        self._open_all(self.sessions.values())

    def _open_all(self, sessions: Iterable[WatchedSession]) -> None:
        """Open these: some now, the rest when the event loop has had a turn."""
        for session in sessions:
            session.be("connecting")
            self._to_open.append(session)
        if self._later is None:
            self._open_some()

    def _open_some(self) -> None:
        ends_s = time.monotonic() + TURN_S
        while self._to_open:
            for _ in range(min(_AT_ONCE, len(self._to_open))):
                session = self._to_open.popleft()
                if session.status == "connecting" and self._has(session):
                    self._open(session)
            if time.monotonic() >= ends_s:
                break
        self._later = asyncio.get_running_loop().call_soon(self._open_some) if self._to_open else None

    def _has(self, session: WatchedSession) -> bool:
        """Whether it is one of ours; it may have been taken away."""
        return self.sessions.get(session.plan.name) is session

    async def stop(self, reason: str) -> None:
        """End its tests at once; `start` may follow."""
        self._open_no_more()
        for session in list(self.sessions.values()):
            await self._shared.pacing.step()
            self._halt(session)
            session.recovered(reason)
            session.be("stopped", reason)

    async def close(self, why: str) -> None:
        """End for good."""
        self._open_no_more()
        while self.sessions:
            await self._shared.pacing.step()
            self._take_away(next(iter(self.sessions)), why)
        for task in list(self._tasks):
            task.cancel()

    async def change(self, plan: ConnectionPlan, stop: Iterable[SessionPlan], start: Iterable[SessionPlan]) -> None:
        """Go on under another plan, with fewer and more sessions."""
        self.plan = plan
        running = self.status not in ("stopped", "idle") or plan.test_start == "auto"
        for old in stop:
            await self._shared.pacing.step()
            self._take_away(old.name, "it is no longer configured")
        fresh = await self._shared.made(start)
        self.sessions = {
            wanted.name: fresh[wanted.name] if wanted.name in fresh else self.sessions[wanted.name]
            for wanted in plan.sessions
        }
        if running:
            self._open_all(fresh.values())

    def _take_away(self, name: str, why: str) -> None:
        session = self.sessions.pop(name)
        self._halt(session)
        self._shared.retire(session, why)

    def finished(self, session: WatchedSession) -> None:
        """All its probes are decided, or its Session-Sender could not go on."""
        asked = probes_to_send(session.plan, self._tests)
        self._shared.end(session)
        if asked is not None:
            session.be("stopped", "all its tests have been run")
        elif self._has(session):
            self._failed(session, "its Session-Sender ended")

    def silent(self, session: WatchedSession) -> None:
        """Look again at the way to the target, now and then."""
        now_ns = self._shared.clocks.monotonic_ns()
        if session.sender is None or now_ns < self._look_after_ns.get(session.plan.name, 0):
            return
        self._look_after_ns[session.plan.name] = now_ns + _LOOK_AGAIN_NS
        self._spawn(self._look_again(session))

    def look(self) -> None:
        """Nothing to look at: what happens to a session is told by the packet plane."""

    def view(self) -> ControlView:
        """As `control-info` shows it."""
        sessions = list(self.sessions.values())
        first = sessions[0] if sessions else None  # there are none while a reload exchanges them all
        local = first.sender.local_address if first is not None and first.sender is not None else ("", 0)
        far = (first.target_address if first is not None else None) or ("", 0)
        return ControlView(
            name=self.plan.name,
            client_address=local[0],
            client_port=local[1],
            server_address=far[0],
            server_port=far[1],
            active_tests=sum(session.sender is not None for session in sessions),
            status=self.status,
            mode="none",
            retries=self.retries,
            since_ns=max((session.since_ns for session in sessions), default=0),
            reason=next((session.reason for session in sessions if session.reason is not None), None),
        )

    # Opening.

    def _open(self, session: WatchedSession) -> None:
        """Open a session, at once where its target is an address."""
        self._forget_retry(session)
        measurement = session.plan.light
        if measurement is None:
            raise ValueError("a light connection has light sessions")
        self._shared.end(session)
        try:
            endpoint = parse_endpoint(measurement.target)
            address = self._shared.names.now(endpoint, defaults.PORT, measurement.family)
            if address is not None:
                self._begin(session, address)
                return
        except TwowayError as error:
            self._failed(session, error)
            return
        if session.status != "failed":
            session.be("connecting", f"resolving {endpoint.host}")
        self._spawn(self._find(session))

    async def _find(self, session: WatchedSession) -> None:
        measurement = session.plan.light
        if measurement is None or session.plan.name not in self.sessions:
            return
        try:
            endpoint = parse_endpoint(measurement.target)
            address = await self._shared.names.find(endpoint, defaults.PORT, measurement.family)
            if self.sessions.get(session.plan.name) is session and session.status != "stopped":
                self._begin(session, address)
        except TwowayError as error:
            if self.sessions.get(session.plan.name) is session and session.status != "stopped":
                self._failed(session, error)

    def _begin(self, session: WatchedSession, address: Address) -> None:
        """Open its Session-Sender. Raises `ConfigError` and `PlaneError`."""
        plan = session.plan
        if plan.light is None:
            raise ValueError("a light connection has light sessions")
        measurement = replace(
            plan.light,
            count=probes_to_send(plan, self._tests),
            duration_ns=None,
            sample_capacity=samples_kept(plan.light.interval_ns),
        )
        shared = self._shared
        turns = None if plan.lane is None else self._turns_of(plan.lane.session, measurement.interval_ns)
        if turns is not None:
            measurement = replace(measurement, seed=turns.seed)
        shared.end(session)
        sender = shared.plane.open(session_spec(measurement, address), group=group_of(plan), into=session.collections)
        session.recovered()
        shared.begin(self, session, sender, (address.host, address.port))
        self._pause_s.pop(plan.name, None)
        self._look_after_ns[plan.name] = shared.clocks.monotonic_ns() + _LOOK_AGAIN_NS
        now_ns = shared.clocks.monotonic_ns()
        if turns is None:
            sender.start_at_monotonic(now_ns + shared.starts.delay_ns(measurement.interval_ns))
        else:
            sender.start_at_monotonic(turns.start_ns(plan, measurement.interval_ns, now_ns), in_step=True)

    def _turns_of(self, session: str, interval_ns: int) -> Turns:
        """Of a test-session's paths; made anew when none of them is measured."""
        if not any(
            other.sender is not None and other.plan.lane is not None and other.plan.lane.session == session
            for other in self.sessions.values()
        ):
            self._turns.pop(session, None)
        if session not in self._turns:
            now_ns = self._shared.clocks.monotonic_ns() + _OPENING_NS
            self._turns[session] = Turns(now_ns + self._shared.starts.delay_ns(interval_ns))
        return self._turns[session]

    def _failed(self, session: WatchedSession, reason: str | TwowayError) -> None:
        """Try again later, each time after a longer pause."""
        session.failed(str(reason), by_network=isinstance(reason, PlaneError) and reason.errno in NETWORK_ERRNOS)
        self.retries += 1
        name = session.plan.name
        pause_s = self._pause_s.get(name, _RETRY_S)
        self._pause_s[name] = min(2 * pause_s, _LONGEST_RETRY_S)
        wait_s = pause_s * random.uniform(0.8, 1.2)  # noqa: S311  (it spreads load and guards nothing)
        self._retry[name] = asyncio.get_running_loop().call_later(wait_s, self._open, session)

    async def _look_again(self, session: WatchedSession) -> None:
        """The target is silent: open its session anew if it has moved, or if nothing can leave."""
        measurement = session.plan.light
        if measurement is None:
            return
        endpoint = parse_endpoint(measurement.target)
        try:
            address = await self._shared.names.find(endpoint, defaults.PORT, measurement.family)
        except TwowayError:
            return  # what is measured now is the best that is known
        if session.sender is None or self.sessions.get(session.plan.name) is not session:
            return
        moved = numeric_family(endpoint.host) is None and (address.host, address.port) != session.target_address
        if moved or session.no_packet_leaves:
            self._shared.end(session)
            try:
                self._begin(session, address)
            except TwowayError as error:
                self._failed(session, error)

    def _halt(self, session: WatchedSession) -> None:
        self._forget_retry(session)
        self._shared.end(session)

    def _open_no_more(self) -> None:
        self._to_open.clear()
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _forget_retry(self, session: WatchedSession) -> None:
        handle = self._retry.pop(session.plan.name, None)
        if handle is not None:
            handle.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
