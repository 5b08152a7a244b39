"""Clients that want much or take their time: half-open connections, an octet a minute, a thousand at once, ports.

Time passes when the test says so, but for what the kernel and the packet plane do.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from twoway import measure_managed
from twoway.control.registry import Accept
from twoway.drivers.managed_plane import timestamp_of

from .hostile import (
    ACCEPT,
    ACK,
    ASK,
    ASK_ONE_WAY,
    GREETING,
    MESSAGES,
    START,
    STOP,
    Client,
    acknowledged,
    bystander,
    clear,
    drained,
    set_up,
)
from .serving import MS, FakeClock, eventually, options, received, request, serving, target


async def test_slots_of_all_ones_are_never_waited_for() -> None:
    """They are read past, not kept; that no message lasts longer than half a minute ends it."""
    clock = FakeClock()
    async with serving("owamp", clock=clock) as server:
        with Client(server) as client:
            await client.get_ready()
            octets = bytearray(clear(ASK_ONE_WAY))
            octets[4:8] = b"\xff" * 4
            await client.say(bytes(octets) + bytes(1 << 20))
            await eventually(lambda: drained(client))
            clock.pass_by(31)
            await client.closed()
            assert (await client.event()).name == "violated:message_too_slow"


async def test_a_client_whose_machine_is_gone_is_noticed_by_keepalive() -> None:
    """Its kernel says nothing when the connection ends, and afterwards knows nothing of it."""
    async with serving(tcp_keepidle_s=1, tcp_keepintvl_s=1, tcp_keepcnt=1) as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            await client.run_session()
            # With nothing under way, nothing but keepalive can notice.
            await eventually(lambda: acknowledged(client))
            tcp_repair = 19
            try:
                client.socket.setsockopt(socket.IPPROTO_TCP, tcp_repair, 1)
            except PermissionError:
                pytest.skip("TCP_REPAIR, to vanish without a word, needs CAP_NET_ADMIN: run as root")
            client.socket.close()
            assert server.connections == 2
            await eventually(lambda: server.connections == 1)
        assert server.counters()["connection_closed:lost"] == 1


async def test_half_open_connections_have_half_a_minute() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        clients = [Client(server) for _ in range(60)]
        for client in clients:
            await client.hear(GREETING)
        clock.pass_by(29)
        assert server.connections == 61
        clock.pass_by(2)
        await eventually(lambda: server.connections == 1)
        assert server.counters()["violated:message_too_slow"] == 60
        for client in clients:
            assert await client.closed() == b""
            client.socket.close()


@pytest.mark.parametrize("message", ["set-up", "request", "start"])
async def test_an_octet_a_minute_is_too_slow(message: str) -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        with Client(server) as client:
            if message == "set-up":
                await client.hear(GREETING)
            else:
                await client.get_ready()
                # Nothing is owed between commands: SERVWAIT is much longer.
                clock.pass_by(600)
            await client.say(MESSAGES[message][:1])
            await eventually(lambda: drained(client))
            clock.pass_by(29)
            assert server.connections == 2
            clock.pass_by(31)
            assert await client.closed() == b""
            assert (await client.event()).name == "violated:message_too_slow"


async def test_a_thousand_connections_at_once_of_one_address() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        crowd = []
        told = []
        for _ in range(1000):
            crowd.append(Client(server))
            told.append(await crowd[-1].hear(GREETING))
        assert server.counters()["connections"] == 1001
        assert server.connections == server.options.maximum_connections_per_client == 64
        assert server.counters()["maximum_connections"] == 1000 - 63
        # Those that have a place lose it, as they say nothing; the others were told that there is none.
        clock.pass_by(31)
        await eventually(lambda: server.connections == 1)
        assert [await client.closed() for client in crowd] == [b""] * 1000
        assert sum(not any(octets[12:16]) for octets in told) == 1000 - 63
        for client in crowd:
            client.socket.close()
        (managed,) = await measure_managed(target(server), [request()], options())
        assert managed.result.summary.counter("received") == 5


async def test_a_client_that_reads_nothing_is_not_read() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        with Client(server) as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            await client.get_ready()
            commands = clear(*[START] * 128)
            said, answered = 0, -1
            # Until the Server reads no more, and its kernel takes no more.
            while True:
                try:
                    async with asyncio.timeout(0.2):
                        await asyncio.get_running_loop().sock_sendall(client.socket, commands)
                        await asyncio.sleep(0)
                except TimeoutError:
                    if answered == (answered := server.counters()["command_refused:nothing_to_start"]):
                        break
                said += len(commands)
                assert said < 1 << 28
            stuck = server.counters()["command_refused:nothing_to_start"]
            assert stuck * ACK < 1 << 24
            clock.pass_by(899)
            assert server.connections == 2
            clock.pass_by(2)
            await eventually(lambda: server.counters().get("connection_closed:servwait") == 1)
            # Its last octets are waited for no longer than a moment.
            clock.pass_by(6)
            await eventually(lambda: server.connections == 1)


async def test_more_commands_at_once_than_may_wait() -> None:
    async with serving() as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            with suppress(ConnectionError):
                await client.say(clear(*[START] * 65536))
            await client.closed()
            await eventually(lambda: "violated:too_much_unread" in server.counters())
            told = [event for event in server.take_events() if event.name.startswith("violated")]
            assert [event.section for event in told] == ["RFC 4656 section 6.5"]


async def test_a_range_of_ports_that_others_hold() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        first.bind(("127.0.0.1", 15041))
        second.bind(("127.0.0.1", 15042))
        async with serving(port_range=(15040, 15042)) as server, bystander(server):
            with Client(server) as client:
                await client.get_ready()
                await client.say(clear(ASK))
                assert (await client.hear(ACCEPT))[0] == Accept.TEMPORARY_LIMIT
                event = await client.event()
                assert (event.name, event.section) == ("no_port", "RFC 4656 section 6.5")
                second.close()
                assert await client.run_session() == 15042


async def test_a_clock_that_steps_ends_nothing_before_its_time() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            clock.pass_by(-100_000)
            await client.run_session()
            clock.pass_by(100_000 + 899)
            # Its session runs, and had no packet: REFWAIT is that of the packet plane, whose clock did not step.
            assert len(server.sessions()) == 2
            await client.say(clear(STOP))
            await eventually(lambda: any(state.state == "stopping" for state in server.sessions()))
            clock.pass_by(2)
            await eventually(lambda: len(server.sessions()) == 1)
            assert not server.take_events()


@pytest.mark.parametrize("days", [-10_000, -1, 1, 10_000])
async def test_a_wall_clock_that_is_wrong_is_no_reason_not_to_reflect(days: int) -> None:
    """Start Time is the client's; a Session-Reflector answers what comes, from the start on (RFC 5357 section 4.2)."""
    async with serving() as server:
        with Client(server) as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.setblocking(False)
            start_time = timestamp_of(time.time_ns() + days * 86400 * 1000 * MS)
            await client.get_ready()
            await client.say(clear(replace(ASK, sender_port=sender.getsockname()[1], start_time=start_time), START))
            accepted = await client.hear(ACCEPT + ACK)
            assert accepted[::ACCEPT] == bytes(2)
            # An Error Estimate of Multiplier 0 would be none (RFC 4656 section 4.1.2).
            sender.sendto(bytes(13) + b"\1" + bytes(27), ("127.0.0.1", int.from_bytes(accepted[2:4])))
            assert len(await received(sender, 41)) == 41


async def test_a_block_of_ports_that_others_hold_is_stepped_over() -> None:
    """Half of the range is another program's: each session still has a port at once."""
    async with serving(port_range=(15100, 15499), maximum_sessions=200) as server:
        blocked = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
        try:
            for number, held in enumerate(blocked):
                held.bind(("127.0.0.1", 15100 + number))
            with Client(server) as client:
                await client.get_ready()
                await client.say(clear(*[ASK] * 64))
                answers = await client.hear(64 * ACCEPT)
                ports = {int.from_bytes(answers[at + 2 : at + 4]) for at in range(0, len(answers), ACCEPT)}
                assert len(ports) == 64
                assert min(ports) >= 15300
        finally:
            for held in blocked:
                held.close()


async def test_a_crowd_that_guesses_secrets() -> None:
    """Each guess costs a PBKDF2 on the thread of the control connections; test packets are reflected by others."""
    async with serving() as server, bystander(server):
        crowd = [Client(server) for _ in range(60)]
        for client in crowd:
            await client.say(set_up(4, b"alice", os.urandom(64)))
        for client in crowd:
            assert (await client.closed())[GREETING:] == bytes(15) + b"\1" + bytes(32)
            client.socket.close()
        await eventually(lambda: server.connections == 1)
        assert server.counters()["set_up_refused:key_id_unknown"] == 60
        assert [event.section for event in server.take_events()] == ["RFC 4656 section 3.1"] * 60
