"""Measurements that outlast their control connection: over loopback, with Servers that go and come back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from twoway.config.managed import ControlOptions, SessionRequest
from twoway.config.server import ServerOptions
from twoway.drivers.control_client import ControlClient
from twoway.drivers.managed_measurement import ManagedMeasurement, MeasuredSession, may_pass, measure_managed
from twoway.drivers.managed_plane import ReceiverPlane, SenderPlane
from twoway.drivers.server import Server
from twoway.errors import (
    ConfigError,
    ControlConnectionError,
    PlaneError,
    RemoteControlError,
    ResolveError,
    SessionRefusedError,
)

from .serving import answered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twoway.analysis.result import Event

MS = 1_000_000
PATIENCE_S = 20
RECONNECT_NS = 20 * MS
SECRET = b"correct horse"


@asynccontextmanager
async def serving(protocol: str = "twamp", port: int = 0, **changes: object) -> AsyncIterator[Server]:
    settings: dict[str, object] = {"listen": ((protocol, "127.0.0.1", port, 0),), **changes}
    async with Server(ServerOptions(**settings)) as server:  # type: ignore[arg-type]  # fields by name
        yield server


def port_of(server: Server) -> int:
    return server.local_addresses[0][2]


def request(**changes: object) -> SessionRequest:
    settings: dict[str, object] = {
        "count": 40,
        "interval_ns": 2 * MS,
        "timeout_ns": 500 * MS,
        "start_ns": 0,
        **changes,
    }
    return SessionRequest(**settings)  # type: ignore[arg-type]  # fields by name


async def eventually(what: Callable[[], bool]) -> None:
    """Poll until it holds, which must be soon."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():  # noqa: ASYNC110  (what is awaited is another end's state, which has no event)
            await asyncio.sleep(0.005)


class Told:
    """What a measurement tells while it runs."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.samples = 0

    def on_event(self, session: MeasuredSession, event: Event) -> None:
        assert session.request is not None
        self.events.append(event)

    def on_samples(self, session: MeasuredSession, batch: object) -> None:
        assert session.request is not None
        self.samples += len(batch)  # type: ignore[arg-type]  # a batch has rows

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


def received(session: MeasuredSession) -> int:
    return session.summary().counter("received") if session.accepted else 0


class Relay:
    """A path for TCP that can be cut: both ends then lose their connection, and neither is to blame."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.up = True

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, far_writer}
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        for end in (writer, far_writer):
            end.transport.abort()
            self._writers.discard(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(65536):
            writer.write(octets)
        writer.transport.abort()


async def test_a_server_that_starts_anew_is_measured_to_the_last_packet() -> None:
    told = Told()
    async with serving() as server:
        port = port_of(server)
        measurement = ManagedMeasurement(
            f"127.0.0.1:{port}",
            [request(), request(count=60)],
            reconnect_ns=RECONNECT_NS,
            on_samples=told.on_samples,
            on_event=told.on_event,
        )
        running = asyncio.create_task(measurement.run())
        await eventually(lambda: all(received(session) >= 3 for session in measurement.sessions))
    await eventually(lambda: "reconnect_failed" in told.names)
    assert not measurement.connected
    async with serving(port=port) as server:
        await running
        assert server.counters()["set_up"] == 1
    for session, count in zip(measurement.sessions, (40, 60), strict=True):
        result = measurement.result(session)
        summary = result.summary
        assert summary.counter("sent") + summary.counter("not_sent") == count
        assert result.session.count == count
        assert not result.interrupted
        (outage,) = result.outages
        assert outage.ended_ns is not None
        assert result.started_ns < outage.began_ns < outage.ended_ns <= result.ended_ns
        assert [event.name for event in result.events if event.errno == 0] == [
            "connection_lost",
            "reconnect_failed",
            "reconnected",
        ]
        assert "nothing listens there" in result.events[-2].detail
    # Each packet had its row, those of before the outage and those after it.
    assert told.samples == sum(
        session.summary().counter(name)
        for session in measurement.sessions
        for name in ("sent", "duplicates_forward", "duplicates_backward", "duplicates_unattributed")
    )


async def test_the_spans_of_a_long_measurement_add_up_across_an_outage() -> None:
    async with serving() as server, Relay(port_of(server)) as relay:
        measurement = ManagedMeasurement(relay.target, [request(count=None)], reconnect_ns=RECONNECT_NS)
        running = asyncio.create_task(measurement.run())
        (session,) = measurement.sessions
        spans = []

        def some_more(enough: int) -> bool:
            span = session.take_interval()
            if span is not None:
                spans.append(span)
            return sum(span.counter("received") for span in spans) >= enough

        await eventually(lambda: some_more(5))
        relay.cut()
        await eventually(lambda: bool(measurement.outages))
        await eventually(lambda: some_more(20))
        measurement.stop()
        await running
        some_more(0)
        result = measurement.result(session)
        assert result.interrupted
        assert result.session.count is None
        for name in ("sent", "received", "pending"):
            assert sum(span.counter(name) for span in spans) == result.summary.counter(name)


async def test_without_reconnecting_a_lost_connection_is_the_end() -> None:
    async with serving() as server, Relay(port_of(server)) as relay:
        measurement = ManagedMeasurement(relay.target, [request(count=None)], reconnect_ns=0)
        running = asyncio.create_task(measurement.run())
        await eventually(lambda: received(measurement.sessions[0]) >= 3)
        relay.cut()
        with pytest.raises(ControlConnectionError):
            await running
        result = measurement.result(measurement.sessions[0])
        assert result.interrupted
        assert result.outages == ()
        assert result.summary.counter("received") >= 3


async def test_a_server_without_room_is_asked_again() -> None:
    told = Told()
    async with serving(maximum_sessions=1) as server:
        target = f"127.0.0.1:{port_of(server)}"
        holder = await ControlClient.connect(target)
        await holder.request_session(request())
        measurement = ManagedMeasurement(target, [request(count=3)], reconnect_ns=RECONNECT_NS, on_event=told.on_event)
        running = asyncio.create_task(measurement.run())
        await eventually(lambda: server.counters().get("maximum_sessions", 0) >= 2)
        holder.close()
        await running
        answered(measurement.result(measurement.sessions[0]).summary, 3)
        # The same reason is told once, however often it was met.
        assert told.names == ["connection_lost", "reconnected"]
        assert "Accept 5" in told.events[0].detail


async def test_a_refusal_for_good_ends_it() -> None:
    options = ControlOptions(modes=("encrypted",), key_id="alice", passphrase=lambda: SECRET)
    async with serving(secrets=(("alice", SECRET),)) as server:
        port = port_of(server)
        measurement = ManagedMeasurement(f"127.0.0.1:{port}", [request(count=None)], options, reconnect_ns=RECONNECT_NS)
        running = asyncio.create_task(measurement.run())
        await eventually(lambda: received(measurement.sessions[0]) >= 3)
    async with serving(port=port, secrets=(("alice", b"battery staple"),)):
        with pytest.raises(SessionRefusedError, match="KeyID or its secret"):
            await running
    result = measurement.result(measurement.sessions[0])
    assert result.interrupted
    assert result.outages[-1].ended_ns is None
    assert result.summary.counter("received") >= 3


async def test_what_a_first_attempt_meets_is_raised_at_once() -> None:
    async with serving() as server:
        port = port_of(server)
    with pytest.raises(ControlConnectionError, match="nothing listens"):
        await ManagedMeasurement(f"127.0.0.1:{port}", [request()]).connect()


async def test_it_can_be_stopped_while_the_server_is_away() -> None:
    async with serving() as server:
        port = port_of(server)
    measurement = ManagedMeasurement(f"127.0.0.1:{port}", [request()], reconnect_ns=3600 * 1000 * MS)
    running = asyncio.create_task(measurement.run())
    await eventually(lambda: bool(measurement.outages))
    measurement.stop()
    await running
    assert not measurement.sessions[0].accepted


@pytest.mark.parametrize("server_sends", [False, True])
async def test_owamp_fetches_after_the_outage_what_came_before_it(server_sends: bool) -> None:
    told = Told()
    async with serving("owamp") as server, Relay(port_of(server)) as relay:
        measurement = ManagedMeasurement(
            relay.target,
            [request(count=100, server_sends=server_sends)],
            ControlOptions(protocol="owamp"),
            reconnect_ns=RECONNECT_NS,
            on_event=told.on_event,
        )
        running = asyncio.create_task(measurement.run())
        (session,) = measurement.sessions
        await eventually(lambda: session.test_session is not None and _came(server, session) >= 10)
        relay.cut()
        await running
        summary = measurement.result(session).summary
        # Of what was under way when the connection was lost nobody knows.
        not_sent = summary.counter("not_sent")
        assert 90 <= summary.counter("received") + not_sent <= summary.counter("sent") + not_sent <= 100
        assert "connection_lost" in told.names
        assert "reconnected" in told.names
        assert "results_lost" not in told.names


def _came(server: Server, session: MeasuredSession) -> int:
    """Packets that the Session-Receiver has had, at whichever end it is."""
    here = session.test_session
    if here is not None and here.direction == "backward":
        return here.summary().counter("received")
    return sum(sum(state.packets.values()) for state in server.sessions())


async def test_owamp_says_so_if_the_server_has_forgotten() -> None:
    told = Told()
    async with serving("owamp") as server:
        port = port_of(server)
        measurement = ManagedMeasurement(
            f"127.0.0.1:{port}",
            [request(count=60)],
            ControlOptions(protocol="owamp"),
            reconnect_ns=RECONNECT_NS,
            on_event=told.on_event,
        )
        running = asyncio.create_task(measurement.run())
        (session,) = measurement.sessions
        await eventually(lambda: session.test_session is not None and _came(server, session) >= 5)
    async with serving("owamp", port=port):
        await running
    assert "connection_lost" in told.names
    assert "results_lost" in told.names
    summary = measurement.result(session).summary
    assert summary.counter("sent") + summary.counter("not_sent") == 60
    assert 0 < summary.counter("received") <= 55


async def test_a_duration_ends_although_the_server_is_away() -> None:
    async with serving() as server, Relay(port_of(server)) as relay:
        measurement = ManagedMeasurement(
            relay.target, [request(count=None)], reconnect_ns=RECONNECT_NS, duration_ns=300 * MS
        )
        running = asyncio.create_task(measurement.run())
        await eventually(lambda: received(measurement.sessions[0]) >= 3)
        relay.up = False
        relay.cut()
        await running
        result = measurement.result(measurement.sessions[0])
        assert result.interrupted
        assert result.outages[-1].ended_ns is None
        assert result.summary.counter("sent") + result.summary.counter("not_sent") <= 151


async def test_a_duration_ends_a_session_without_count() -> None:
    async with serving() as server:
        measurement = ManagedMeasurement(
            f"127.0.0.1:{port_of(server)}", [request(count=None, schedule="poisson")], duration_ns=60 * MS
        )
        await measurement.run()
        result = measurement.result(measurement.sessions[0])
        assert not result.interrupted
        assert result.summary.counter("received") > 0
        await eventually(lambda: server.counters().get("connection_closed:peer") == 1)


async def test_many_measurements_share_their_threads() -> None:
    async with serving(maximum_connections=200, maximum_connections_per_client=200, maximum_sessions=200) as server:
        target = f"127.0.0.1:{port_of(server)}"
        plane, receivers = SenderPlane(), ReceiverPlane()
        before = _threads()
        measurements = [
            ManagedMeasurement(target, [request(count=20, interval_ns=50 * MS)], plane=plane, receivers=receivers)
            for _ in range(100)
        ]
        running = asyncio.gather(*(measurement.run() for measurement in measurements))
        await eventually(lambda: server.counters().get("set_up", 0) >= 50)
        assert _threads() <= before
        await running
        for measurement in measurements:
            summary = measurement.result(measurement.sessions[0]).summary
            assert summary.counter("sent") + summary.counter("not_sent") == 20
        # One that ends early leaves the plane to the others.
        client = await ControlClient.connect(target, plane=plane, receivers=receivers)
        client.close()
        (managed,) = await measure_managed(target, [request(count=3)])
        answered(managed.result.summary, 3)
        after = ManagedMeasurement(target, [request(count=3)], plane=plane, receivers=receivers)
        await after.run()
        answered(after.result(after.sessions[0]).summary, 3)
        plane.close()
        receivers.close()


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ControlConnectionError("192.0.2.1:862", "reset"), True),
        (ResolveError("example.net", "no answer"), True),
        (PlaneError("bind", "192.0.2.1", 99), True),
        (PlaneError("bind", "192.0.2.1", 13), False),
        (PlaneError("read summary", "192.0.2.1", 0, "the packet plane is closed"), False),
        (SessionRefusedError("request a test-session", "192.0.2.1:862", 2, ""), True),
        (SessionRefusedError("request a test-session", "192.0.2.1:862", 5, ""), True),
        (SessionRefusedError("request a test-session", "192.0.2.1:862", 1, ""), False),
        (SessionRefusedError("request a test-session", "192.0.2.1:862", 3, ""), False),
        (SessionRefusedError("request a test-session", "192.0.2.1:862", 4, ""), False),
        (RemoteControlError("hmac", "an HMAC does not match", "RFC 4656 section 3.2"), False),
        (RemoteControlError("truncated", "the connection ended inside a message", "RFC 4656 section 3"), True),
        (ConfigError("count", "none"), False),
    ],
)
def test_what_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes  # type: ignore[arg-type]  # all of them are ours
