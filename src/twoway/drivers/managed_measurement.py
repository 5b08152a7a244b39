"""Negotiated measurements that outlast their control connection.

    measurement = ManagedMeasurement("192.0.2.1", [SessionRequest(count=None)], plane=plane)
    task = asyncio.create_task(measurement.run())
    ...
    print(measurement.result(measurement.sessions[0]).summary.counter("received"))

Theory of operation. What was asked for is a `MeasuredSession`; behind it stand as many test-sessions as there were
control connections, one after the other, because a test-session ends with its connection (RFC 4656 and RFC 5357 section
3.8). When the connection is lost, or the Server says that it has no room for now, the same is asked for again at every
test interval, and a new test-session goes on with the packets that are left. Summaries merge exactly, so one result
covers all of it.

What is not sent during an outage was never scheduled: it is in no counter, least of all in the loss. The outage itself
is in the result, from when until when and why. A schedule of so many packets is therefore longer by its outages; one
with a duration ends when that is over, with so many packets fewer. Sequence numbers begin anew with each test-session.

Nothing here has a thread or polls: any number of these share one loop, and one `SenderPlane` if they are given it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twoway.analysis.result import Event, Outage
from twoway.config import defaults
from twoway.config.managed import ControlOptions
from twoway.control.registry import Accept
from twoway.control.rules import Rule
from twoway.drivers.control_client import ControlClient
from twoway.drivers.plane import MAX_EVENTS, result_of
from twoway.errors import (
    ControlConnectionError,
    PermissionRefused,
    PlaneError,
    RemoteControlError,
    RemoteProtocolError,
    ResolveError,
    SessionRefusedError,
    TwowayError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from twoway.analysis.result import Result, SessionDescription
    from twoway.config.managed import SessionRequest
    from twoway.drivers.managed_ends import IntervalSummary, Recorded, SampleBatch
    from twoway.drivers.managed_plane import ReceiverPlane, SenderPlane
    from twoway.drivers.managed_session import TestSession

_SETTLE_NS = defaults.NANOS
"""How long an aborted session may take to end: its worker has only to wake up."""
_FOR_NOW = (Accept.INTERNAL_ERROR, Accept.TEMPORARY_LIMIT)
"""Refusals that need not be the last word (RFC 4656 section 3.3)."""
_MAX_OUTAGES = 1000
"""Outages told one by one."""


def may_pass(error: TwowayError) -> bool:
    """Whether the same attempt may succeed later, with nothing changed at this end."""
    if isinstance(error, SessionRefusedError):
        return error.accept in _FOR_NOW
    if isinstance(error, PlaneError):
        # A missing privilege stays missing; a missing address, route or descriptor may be there again.
        return bool(error.errno) and not isinstance(error, PermissionRefused)
    if isinstance(error, RemoteControlError):
        # Half a message is what a Server leaves that goes down.
        return error.rule == Rule.TRUNCATED.counter
    return isinstance(error, ControlConnectionError | ResolveError)


class MeasuredSession:
    """One test-session as asked for, over all the test-sessions that it has come to."""

    def __init__(self, request: SessionRequest) -> None:
        self.request = request
        self.test_session: TestSession | None = None
        """The one that runs; None during an outage, and before and after the measurement."""
        self.recorded: Recorded | None = None
        """OWAMP: every packet's record, of the last test-session whose records could be had."""
        self.refusal: SessionRefusedError | None = None
        """OWAMP: why the Server did not send what it received."""
        self.events: list[Event] = []
        """At most 10,000, the first."""
        self._last: TestSession | None = None
        self._test_sessions = 0
        self._unfetched: dict[TestSession, tuple[int, IntervalSummary]] = {}
        """What is known of it without the Server: packets passed, and a summary."""
        self._past: IntervalSummary | None = None
        self._past_interval: IntervalSummary | None = None
        self._passed = 0

    @property
    def accepted(self) -> bool:
        """Whether a Server has ever accepted it: what follows is not known before."""
        return self._last is not None

    @property
    def sid(self) -> bytes:
        """SID of the present test-session, or of the last."""
        return self._latest.sid

    @property
    def direction(self) -> str:
        """`two-way`, `forward` or `backward`."""
        return self._latest.direction

    @property
    def description(self) -> SessionDescription:
        """What is measured, and with what; ports are those of the present test-session, or of the last."""
        description = self._latest.description
        return replace(description, count=self.request.count) if self.request.count is not None else description

    @property
    def _latest(self) -> TestSession:
        if self._last is None:
            raise RuntimeError("no Server has accepted this session yet")
        return self._last

    def summary(self) -> IntervalSummary:
        """Everything so far."""
        running = (session.summary() for session in self._running)
        unfetched = (summary for _, summary in self._unfetched.values())
        return _merged(self._past, *unfetched, *running) or self._latest.summary()

    def take_interval(self) -> IntervalSummary | None:
        """What came since the last call; None where nothing ran, and with OWAMP, whose numbers are known at the end."""
        past, self._past_interval = self._past_interval, None
        return _merged(past, *(session.take_interval() for session in self._running))

    @property
    def _running(self) -> tuple[TestSession, ...]:
        return () if self.test_session is None else (self.test_session,)

    # What the measurement does with it.

    def remaining(self) -> int | None:
        """Packets left to send; None: until stopped."""
        return None if self.request.count is None else max(0, self.request.count - self._passed)

    @property
    def unfetched(self) -> tuple[tuple[TestSession, int], ...]:
        """OWAMP: test-sessions whose connection was lost before the Server sent what it received: packets passed."""
        return tuple((session, passed) for session, (passed, _) in self._unfetched.items())

    def next_request(self, at_most: int | None) -> SessionRequest | None:
        """What to ask the Server for now: what is left. None if nothing is, `at_most` being what time is left for."""
        bounds = [count for count in (self.remaining(), at_most) if count is not None]
        if bounds and not min(bounds):
            return None
        request = replace(self.request, count=min(bounds, default=None))
        if self._test_sessions:
            passed = request.start_ns is not None and 0 < request.start_ns <= time.time_ns()
            # The same seed again would repeat the beginning of the schedule instead of going on with it.
            seed = None if request.seed is None else (request.seed + self._test_sessions) % 2**64
            request = replace(request, start_ns=None if passed else request.start_ns, seed=seed)
        return request

    def begin(self, session: TestSession) -> None:
        """The Server has accepted it."""
        self.test_session = self._last = session
        self._test_sessions += 1

    def note(self, event: Event) -> None:
        """Keep an event."""
        if len(self.events) < MAX_EVENTS:
            self.events.append(event)

    def end(self) -> None:
        """Its test-session has come to rest, and its samples and events were taken."""
        session, self.test_session = self.test_session, None
        if session is None:
            return
        passed = session.slots_passed
        self._passed += passed
        self._past_interval = _merged(self._past_interval, session.take_interval())
        self.recorded = session.recorded or self.recorded
        self.refusal = session.refusal
        if session.direction == "forward" and session.started and session.recorded is None and session.refusal is None:
            self._unfetched[session] = (passed, session.summary())
        else:
            self._past = _merged(self._past, session.summary())

    def fetched(self, session: TestSession, recorded: Recorded | None) -> None:
        """The Server was asked for what it received before the outage; None if it knows nothing of it."""
        _, known = self._unfetched.pop(session)
        if recorded is not None:
            session.fetched(recorded)
            self.recorded, known = recorded, session.summary()
        self._past = _merged(self._past, known)


def _merged(*summaries: IntervalSummary | None) -> IntervalSummary | None:
    merged: IntervalSummary | None = None
    for summary in summaries:
        if summary is not None:
            merged = summary if merged is None else merged.merge(summary)
    return merged


class ManagedMeasurement:
    """Test-sessions with one Server, taken up again after each outage until they are complete or stopped.

    `target` and `options` are as for `ControlClient.connect`. `reconnect_ns` is the time between two attempts, 0 for
    none: then the first lost connection ends the measurement. `duration_ns` ends it so long after its first packet.
    `plane` and `receivers` are to be shared between many. Without `on_samples` no samples are kept; `on_started` is
    called once, when the sessions run. What a callback raises ends `run`.
    """

    def __init__(
        self,
        target: str,
        requests: Sequence[SessionRequest],
        options: ControlOptions | None = None,
        *,
        reconnect_ns: int = defaults.RECONNECT_NS,
        duration_ns: int | None = None,
        plane: SenderPlane | None = None,
        receivers: ReceiverPlane | None = None,
        on_samples: Callable[[MeasuredSession, SampleBatch], None] | None = None,
        on_event: Callable[[MeasuredSession, Event], None] | None = None,
        on_started: Callable[[], None] | None = None,
    ) -> None:
        self.sessions = tuple(
            MeasuredSession(request if on_samples is not None else replace(request, sample_capacity=0))
            for request in requests
        )
        self.outages: list[Outage] = []
        """The first 1000; the last may still last."""
        self.mode = ""
        """Security mode of the connection, once there is or was one."""
        self._target = target
        self._options = options or ControlOptions()
        self._reconnect_ns = reconnect_ns
        self._duration_ns = duration_ns
        self._plane = plane
        self._receivers = receivers
        self._on_samples = on_samples
        self._on_event = on_event
        self._on_started = on_started
        self._client: ControlClient | None = None
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._deadline: float | None = None
        self._lost_at: float | None = None
        self._told = ""
        self._cut = True
        """Whether the last loss of the connection took packets that were still awaited, or to be sent."""
        self._interrupted = False
        self._ended_ns = 0

    @property
    def connected(self) -> bool:
        """Whether there is a control connection."""
        return self._client is not None and not self._client.closed

    def result(self, session: MeasuredSession) -> Result:
        """The result of one of the sessions so far, final once `run` has ended."""
        result = result_of(
            session.description,
            session.summary(),
            session.request.percentiles,
            events=tuple(session.events),
            interrupted=self._interrupted,
        )
        away = bool(self.outages) and self.outages[-1].ended_ns is None
        ended_ns = max(result.ended_ns, self._ended_ns or time.time_ns()) if away else result.ended_ns
        return replace(result, ended_ns=ended_ns, outages=tuple(self.outages))

    async def connect(self) -> None:
        """Connect, and have every session accepted that is not complete; one attempt.

        `run` does it too; who calls it first learns of a wrong address, key or privilege at once. Raises what
        `ControlClient.connect` and `request_session` raise.
        """
        client = await ControlClient.connect(self._target, self._options, plane=self._plane, receivers=self._receivers)
        try:
            self.mode = client.mode
            await self._fetch_rest(client)
            for session in self.sessions:
                request = session.next_request(self._packets_in_time(session.request))
                if request is not None:
                    session.begin(await client.request_session(request))
        except BaseException:
            for session in self.sessions:
                session.test_session = None
            client.close()
            raise
        self._client = client

    async def run(self) -> None:
        """Measure until every session is complete, the duration is over, or `stop`.

        Raises what ended it for good: with `reconnect_ns` a refusal that is final or a broken rule of the protocol,
        without it any loss of the connection. The results so far stay.
        """
        try:
            while not self._stopping.is_set():
                try:
                    if self._client is None:
                        await self._unless_stopped(self.connect())
                    if self._client is not None:
                        await self._measure(self._client)
                        return
                except TwowayError as error:
                    await self._lost(error)
                if not self._left():
                    self._interrupted = self._cut
                    return
                await self._next_attempt()
            self._interrupted = True
        except TwowayError:
            self._interrupted = self._cut
            raise
        finally:
            # Where a callback or a cancellation ended it.
            for session in self.sessions:
                await self._settle(session, tell=False)
            self.close()
            self._ended_ns = time.time_ns()

    def stop(self) -> None:
        """Have `run` end: packets still awaited become pending, and the Server is told."""
        self._stopping.set()

    def close(self) -> None:
        """Close the connection, if `run` does not. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # While there is a connection.

    async def _measure(self, client: ControlClient) -> None:
        """Run the sessions that were accepted until they have ended. Raises what ends the connection."""
        running = [session for session in self.sessions if session.test_session is not None]
        if not running:
            self._restored()
            return
        await client.start()
        started, self._on_started = self._on_started, None
        if started is not None:
            started()
        self._restored()
        if self._duration_ns is not None and self._deadline is None:
            self._deadline = self._loop.time() + self._duration_ns / defaults.NANOS
        stopped = asyncio.create_task(self._stopping.wait())
        following = [asyncio.create_task(self._follow(session, session.test_session)) for session in running]
        everything = asyncio.gather(*following)
        timer = None
        if self._deadline is not None:
            timer = self._loop.call_at(self._deadline, self._time_is_over)
        try:
            waited: list[asyncio.Future[list[None]] | asyncio.Task[bool]] = [everything, stopped]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not everything.done():
                self._interrupted = True
                for session in running:
                    if session.test_session is not None:
                        session.test_session.abort()
                # What was still on its way to us is shown, too.
                await asyncio.wait(following, timeout=_SETTLE_NS / defaults.NANOS)
            if everything.done():
                everything.result()
        finally:
            if timer is not None:
                timer.cancel()
            stopped.cancel()
            everything.cancel()
            await asyncio.gather(stopped, *following, return_exceptions=True)
        # TWAMP has its results; OWAMP has not, until both ends have stopped.
        if not client.closed or self._options.protocol == "owamp":
            await client.stop()
        for session in running:
            session.end()

    async def _follow(self, measured: MeasuredSession, session: TestSession | None) -> None:
        if session is None:
            return
        async for batch in session:
            self._samples(measured, batch)
            self._events(measured, session)
        self._events(measured, session)

    def _samples(self, measured: MeasuredSession, batch: SampleBatch) -> None:
        if self._on_samples is not None:
            self._on_samples(measured, batch)

    def _events(self, measured: MeasuredSession, session: TestSession) -> None:
        for event in session.take_events():
            self._event(measured, event)

    def _event(self, measured: MeasuredSession, event: Event) -> None:
        measured.note(event)
        if self._on_event is not None:
            self._on_event(measured, event)

    def _time_is_over(self) -> None:
        """The duration is over: what was sent is still awaited."""
        for session in self.sessions:
            if session.test_session is not None and session.test_session.direction == "two-way":
                session.test_session.stop()

    # While there is none.

    async def _lost(self, error: TwowayError) -> None:
        """Bring what was measured to safety. Raises `error` if there is no going on."""
        running = [session.test_session for session in self.sessions if session.test_session is not None]
        ran = any(session.started for session in running)
        self._cut = not ran or any(session.broken for session in running)
        for session in self.sessions:
            await self._settle(session, tell=True)
        self.close()
        # A Server that breaks a rule as it goes down may be back as a better one; one that does so from the start not.
        passes = may_pass(error) or (ran and isinstance(error, RemoteProtocolError))
        if not (self._reconnect_ns and passes):
            raise error
        if self._lost_at is None:
            self._lost_at = self._loop.time()
            if len(self.outages) < _MAX_OUTAGES:
                self.outages.append(Outage(time.time_ns(), None, str(error)))
            self._tell("connection_lost", str(error))
        elif str(error) != self._told:
            # The same reason again is told once.
            self._tell("reconnect_failed", str(error))
        self._told = str(error)

    async def _settle(self, measured: MeasuredSession, *, tell: bool) -> None:
        """Take what is left of a test-session that has lost its connection."""
        session = measured.test_session
        if session is None:
            return
        session.abort()
        deadline = self._loop.time() + _SETTLE_NS / defaults.NANOS
        while True:
            batch = session.take()
            if batch is not None and tell:
                self._samples(measured, batch)
            if tell:
                self._events(measured, session)
            if session.at_rest or self._loop.time() >= deadline:
                break
            await session.wait(_SETTLE_NS // 10)
        measured.end()

    async def _next_attempt(self) -> None:
        """Wait for the next test interval after the loss that is still to come."""
        since = self._loop.time() - (self._lost_at or self._loop.time())
        interval = self._reconnect_ns / defaults.NANOS
        try:
            async with asyncio.timeout(interval - since % interval):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _restored(self) -> None:
        if self._lost_at is None:
            return
        lasted = self._loop.time() - self._lost_at
        self._lost_at, self._told = None, ""
        if self.outages and self.outages[-1].ended_ns is None:
            self.outages[-1] = replace(self.outages[-1], ended_ns=time.time_ns())
        self._tell("reconnected", f"nothing was sent for {lasted:.1f} s")

    def _tell(self, name: str, detail: str) -> None:
        event = Event(time.time_ns(), name, 0, detail)
        for session in self.sessions:
            self._event(session, event)

    async def _fetch_rest(self, client: ControlClient) -> None:
        """OWAMP: what the Server received until the outage, if it still has it (RFC 4656 section 3.9)."""
        for measured in self.sessions:
            for session, passed in measured.unfetched:
                recorded = None
                try:
                    # By its numbers: as a whole only a session can be fetched that has ended normally.
                    recorded = await client.fetch(session.sid, 0, max(0, passed - 1))
                except SessionRefusedError as error:
                    self._event(measured, Event(time.time_ns(), "results_lost", 0, error.reason))
                measured.fetched(session, recorded)

    def _left(self) -> bool:
        """Whether there is anything to reconnect for."""
        return any(
            session.unfetched or session.next_request(self._packets_in_time(session.request)) is not None
            for session in self.sessions
        )

    def _packets_in_time(self, request: SessionRequest) -> int | None:
        """How many packets fit into what is left of the duration; None: that is for the clock to say."""
        if self._deadline is None:
            return None
        left_ns = max(0, round((self._deadline - self._loop.time()) * defaults.NANOS))
        if left_ns and request.schedule == "poisson" and self._options.protocol == "twamp":
            return None
        return -(-left_ns // request.interval_ns)

    async def _unless_stopped(self, attempt: Coroutine[None, None, None]) -> None:
        """Await it, or give it up when `stop` is called."""
        trying, stopped = asyncio.ensure_future(attempt), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((trying, stopped), return_when=asyncio.FIRST_COMPLETED)
            if trying.done():
                trying.result()
        finally:
            trying.cancel()
            stopped.cancel()
            await asyncio.gather(trying, stopped, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class ManagedResult:
    """What one test-session of `measure_managed` came to."""

    sid: bytes
    direction: str
    """`two-way`, `forward` or `backward`."""
    mode: str
    """Security mode of its connection."""
    result: Result
    batches: tuple[SampleBatch, ...]
    """Its samples, in order of arrival."""
    recorded: Recorded | None = None
    """OWAMP: every packet's record; after an outage those of the last test-session."""
    failure: Exception | None = None
    """What ended it before its time: the result is what was measured until then."""


async def measure_managed(
    target: str,
    requests: Sequence[SessionRequest],
    options: ControlOptions | None = None,
    *,
    reconnect_ns: int = 0,
    keep_samples: bool = False,
    on_samples: Callable[[MeasuredSession, SampleBatch], None] | None = None,
) -> list[ManagedResult]:
    """Connect, request every session, start them together, wait until all have ended, stop them.

    A connection that is lost while sessions run ends them, and their results say so; with `reconnect_ns` they are taken
    up again at each such interval. Raises what `ControlClient.connect` and `request_session` raise.
    """
    kept: dict[int, list[SampleBatch]] = {}

    def keep(session: MeasuredSession, batch: SampleBatch) -> None:
        if on_samples is not None:
            on_samples(session, batch)
        if keep_samples:
            kept.setdefault(id(session), []).append(batch)

    measurement = ManagedMeasurement(
        target,
        requests,
        options,
        reconnect_ns=reconnect_ns,
        on_samples=keep if keep_samples or on_samples is not None else None,
    )
    failure: Exception | None = None
    await measurement.connect()
    try:
        await measurement.run()
    except (ControlConnectionError, RemoteProtocolError, SessionRefusedError) as error:
        failure = error
    return [
        ManagedResult(
            session.sid,
            session.direction,
            measurement.mode,
            measurement.result(session),
            tuple(kept.get(id(session), ())),
            session.recorded,
            failure or session.refusal,
        )
        for session in measurement.sessions
    ]
