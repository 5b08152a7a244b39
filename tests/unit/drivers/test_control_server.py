"""A Server and Control-Clients over loopback: every mode, several sessions, and clients that mean no good."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from twoway.config.managed import ControlOptions
from twoway.config.server import ServerOptions
from twoway.drivers import control_client
from twoway.drivers.control_client import ControlClient
from twoway.drivers.managed_measurement import measure_managed
from twoway.drivers.server import Server
from twoway.errors import ConfigError, ControlConnectionError, RemoteProtocolError, SessionRefusedError

from .serving import (
    FEATURES,
    MODES,
    MS,
    PATIENCE_S,
    SECRET,
    SET_UP,
    FakeClock,
    answered,
    eventually,
    options,
    received,
    request,
    serving,
    target,
    up_to_ready,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("mode", MODES)
async def test_twamp_in_every_mode_with_several_sessions(mode: str, host: str) -> None:
    async with serving(host=host) as server:
        results = await measure_managed(target(server), [request(), request(dscp=46)], options(mode), keep_samples=True)
        for managed in results:
            assert managed.mode == mode
            assert managed.failure is None
            assert managed.direction == "two-way"
            answered(managed.result.summary, 5)
            assert sum(len(batch) for batch in managed.batches) == 5
            assert managed.result.session.protocol == "twamp"
        await eventually(lambda: not server.sessions())
        assert server.counters()["session_ended:stopped"] == 2


@pytest.mark.parametrize("mode", MODES)
async def test_twamp_with_every_feature(mode: str) -> None:
    async with serving() as server:
        wanted = options(mode, "twamp", *FEATURES)
        asked = request(padding_length=128, padding_to_reflect=16, octets_to_reflect=0xBEEF, dscp=10, fill="random")
        (managed,) = await measure_managed(target(server), [asked], wanted)
        sent = answered(managed.result.summary, 5)
        assert managed.result.summary.counter("padding_changed") == 0
        assert managed.result.summary.dscp_ecns["far"] == {10 << 2: sent}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("mode", MODES[:3])
async def test_owamp_both_ways_in_every_mode(mode: str, host: str) -> None:
    async with serving("owamp", host) as server:
        both = [request(), request(server_sends=True, schedule="poisson"), request(slots=(("fixed", 2 * MS),))]
        results = await measure_managed(target(server), both, options(mode, "owamp"))
        assert [managed.direction for managed in results] == ["forward", "backward", "forward"]
        for managed in results:
            assert managed.failure is None
            assert managed.recorded is not None
            assert managed.recorded.outcome == "complete"
            assert len(managed.recorded.batch) == answered(managed.result.summary, 5)
        assert len(server.stored) == 2


async def test_sessions_one_by_one_with_individual_control() -> None:
    async with (
        serving() as server,
        await ControlClient.connect(target(server), options("encrypted", "twamp", FEATURES[0])) as client,
    ):
        first, second = [await client.request_session(request(count=None)) for _ in range(2)]
        await client.start([first])
        await first.wait(PATIENCE_S * 1000 * MS)
        await client.stop([first])
        await client.start([second])
        await client.stop([second])
        assert client.sessions == ()


async def test_the_port_wanted_is_given_if_it_is_free() -> None:
    async with (
        serving(port_range=(23000, 23009)) as server,
        await ControlClient.connect(target(server), options()) as client,
    ):
        sessions = [await client.request_session(request(receiver_port=23005)) for _ in range(2)]
        assert sessions[0].description.port == 23005
        assert sessions[1].description.port in range(23000, 23010)


async def test_a_used_up_port_range_is_a_limit_for_now() -> None:
    async with serving(port_range=(23020, 23021)) as server:
        async with await ControlClient.connect(target(server), options()) as client:
            for _ in range(2):
                await client.request_session(request())
            with pytest.raises(SessionRefusedError, match="Accept 5"):
                await client.request_session(request())
            assert server.counters()["no_port"] == 1
        await eventually(lambda: not server.sessions())
        (managed,) = await measure_managed(target(server), [request()], options())
        answered(managed.result.summary, 5)


@pytest.mark.parametrize(("limit", "accept"), [("maximum_sessions", 5), ("maximum_sessions_per_connection", 5)])
async def test_sessions_have_a_limit(limit: str, accept: int) -> None:
    changes: dict[str, Any] = {limit: 1}
    async with serving(**changes) as server, await ControlClient.connect(target(server), options()) as client:
        await client.request_session(request())
        with pytest.raises(SessionRefusedError, match=f"Accept {accept}"):
            await client.request_session(request())


async def test_sessions_of_one_address_have_a_limit_over_all_its_connections() -> None:
    async with serving(maximum_sessions_per_client=1) as server:
        async with (
            await ControlClient.connect(target(server), options()) as first,
            await ControlClient.connect(target(server), options()) as second,
        ):
            await first.request_session(request())
            with pytest.raises(SessionRefusedError, match="Accept 5"):
                await second.request_session(request())
            assert server.counters()["maximum_sessions_per_client"] == 1
        await eventually(lambda: not server.sessions())
        (managed,) = await measure_managed(target(server), [request()], options())
        answered(managed.result.summary, 5)


async def test_what_was_not_granted_is_said_of_each_session() -> None:
    async with (
        serving(timestamps="hardware") as server,
        await ControlClient.connect(target(server), options()) as client,
    ):
        await client.request_session(request())
        (state,) = server.sessions()
        assert state.obtained == {"timestamps": "kernel (hardware stamps need an interface: -I)"}


@pytest.mark.parametrize("limit", ["maximum_connections", "maximum_connections_per_client"])
async def test_connections_have_a_limit(limit: str) -> None:
    changes: dict[str, Any] = {limit: 2}
    async with serving(**changes) as server:
        held = [await ControlClient.connect(target(server), options()) for _ in range(2)]
        with pytest.raises(ControlConnectionError, match="offers no mode"):
            await ControlClient.connect(target(server), options())
        assert server.counters()[limit] == 1
        for client in held:
            client.close()
        await eventually(lambda: server.connections == 0)
        (managed,) = await measure_managed(target(server), [request()], options())
        answered(managed.result.summary, 5)


async def test_a_thousand_connections_of_one_client_leave_the_others_alone() -> None:
    async with serving(maximum_connections_per_client=8) as server:
        client = await ControlClient.connect(target(server), options())
        session = await client.request_session(request(count=200, interval_ns=5 * MS))
        await client.start()
        _, host, port = server.local_addresses[0]
        for _ in range(10):
            crowd = [await asyncio.open_connection(host, port) for _ in range(100)]
            for _, writer in crowd:
                writer.close()
        await eventually(lambda: server.counters()["connections"] == 1001)
        assert server.connections <= 8
        async for _ in session:
            pass
        await client.stop()
        summary = session.result().summary
        # A busy machine may miss slots; what was sent has come back.
        assert summary.counter("sent") > 0
        assert summary.counter("received") + summary.counter("late") == summary.counter("sent")
        client.close()


async def test_a_client_that_vanishes_takes_its_sessions_along() -> None:
    async with serving() as server:
        client = await ControlClient.connect(target(server), options())
        await client.request_session(request(count=None))
        await client.start()
        assert [state.state for state in server.sessions()] == ["started"]
        client.close()
        await eventually(lambda: not server.sessions() and server.connections == 0)
        assert server.counters()["session_ended:connection"] == 1


async def test_a_server_that_goes_in_mid_test_leaves_what_was_measured() -> None:
    async with serving() as server:
        client = await ControlClient.connect(target(server), options())
        session = await client.request_session(request(count=None))
        await client.start()
        await eventually(lambda: session.summary().counter("received") >= 3)
    with pytest.raises((ControlConnectionError, RemoteProtocolError)):
        async for _ in session:
            pass
    result = session.result()
    assert result.interrupted
    assert result.summary.counter("received") >= 3
    with pytest.raises(ControlConnectionError):
        await client.stop()
    client.close()


@pytest.mark.parametrize(("key_id", "secret"), [("alice", b"battery staple"), ("mallory", SECRET)])
async def test_a_wrong_secret_is_refused_and_told_nowhere(
    key_id: str, secret: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server:
        wanted = ControlOptions(modes=("encrypted",), key_id=key_id, passphrase=lambda: secret)
        with pytest.raises(SessionRefusedError, match="KeyID or its secret") as caught:
            await ControlClient.connect(target(server), wanted)
        (event,) = server.take_events()
        assert event.name == "set_up_refused:key_id_unknown"
        assert event.section == "RFC 4656 section 3.1"
        for text in (str(caught.value), repr(event), repr(server.options), repr(wanted), caplog.text):
            assert "horse" not in text
            assert "staple" not in text


@pytest.mark.parametrize(
    ("octets", "answer", "counted"),
    [
        (b"\x01" + bytes(31), 48, "violated:command_unknown"),
        (b"\x02" + bytes(31), 32, "command_refused:nothing_to_start"),
        (b"\x03" + bytes(31), 0, "violated:stop_count"),
        (b"\x03" + bytes(3) + b"\xff\xff\xff\xff" + bytes(24), 0, "violated:stop_count"),
        (
            struct.pack("!BBBBIIHH16x16x16xIQQI8x16x", 5, 4, 0, 0, 0, 0, 4000, 0, 0xFFFFFFFF, 0, 0, 0),
            48,
            "request_refused:padding_too_long",
        ),
    ],
)
async def test_bad_messages_are_counted_by_their_rule(octets: bytes, answer: int, counted: str) -> None:
    async with serving() as server:
        others = await ControlClient.connect(target(server), options())
        connection = up_to_ready(server)
        loop = asyncio.get_running_loop()
        await received(connection, 64)
        await loop.sock_sendall(connection, SET_UP)
        await received(connection, 48)
        await loop.sock_sendall(connection, octets)
        told = await received(connection, answer)
        assert len(told) == answer
        assert not answer or told[0] != 0
        await eventually(lambda: counted in server.counters())
        event = next(event for event in server.take_events() if event.name == counted)
        assert event.section.startswith("RFC ")
        connection.close()
        assert not others.closed
        await others.request_session(request())
        others.close()


async def test_half_a_message_is_truncated() -> None:
    async with serving() as server:
        connection = up_to_ready(server)
        await received(connection, 64)
        await asyncio.get_running_loop().sock_sendall(connection, SET_UP[:100])
        connection.shutdown(socket.SHUT_WR)
        await eventually(lambda: "violated:truncated" in server.counters())
        assert await received(connection, 1) == b""
        connection.close()


async def test_clients_of_other_networks_are_not_served() -> None:
    async with serving(allow=["192.0.2.0/24"]) as server:
        with pytest.raises(ControlConnectionError):
            await ControlClient.connect(target(server), options())
        assert server.counters()["not_allowed"] == 1


async def test_a_session_without_packets_ends_by_refwait() -> None:
    async with (
        serving(reflector_inactivity_timeout_ns=50 * MS) as server,
        await ControlClient.connect(target(server), options()) as client,
    ):
        await client.request_session(request(count=1, interval_ns=1))
        await client.start()
        await eventually(lambda: not server.sessions())
        await client.stop()
        ended = server.counters()
        assert ended.get("session_ended:refwait", 0) + ended.get("reflector_ended:refwait", 0) >= 1


async def test_only_one_of_two_lengths() -> None:
    with pytest.raises(ConfigError):
        control_client.SessionRequest(padding_length=1, payload_len=20)


@asynccontextmanager
async def serving_by(clock: FakeClock) -> AsyncIterator[Server]:
    settings = ServerOptions(listen=(("twamp", "127.0.0.1", 0, 0),))
    async with Server(settings, clock=clock) as server:
        yield server


async def test_one_octet_a_minute_is_too_slow() -> None:
    clock = FakeClock()
    async with serving_by(clock) as server:
        connection = up_to_ready(server)
        await received(connection, 64)
        clock.pass_by(29)
        await asyncio.get_running_loop().sock_sendall(connection, SET_UP[:1])
        assert server.connections == 1
        clock.pass_by(31)
        await eventually(lambda: server.connections == 0)
        assert server.counters()["violated:message_too_slow"] == 1
        connection.close()


async def test_an_idle_connection_ends_by_servwait() -> None:
    clock = FakeClock()
    async with serving_by(clock) as server:
        client = await ControlClient.connect(target(server))
        clock.pass_by(899)
        assert server.connections == 1
        clock.pass_by(2)
        await eventually(lambda: client.closed and server.connections == 0)
        assert server.counters()["connection_closed:servwait"] == 1
        client.close()
