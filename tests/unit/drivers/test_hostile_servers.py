"""Servers that mean no good, or cannot do better, against our Control-Client.

Whoever called gets one error, which names the rule and its section where one was broken; the connection is closed; what
was measured until then is kept. Another connection of the same process must not notice.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from twoway.control import codec
from twoway.drivers import control_client
from twoway.drivers.control_client import ControlClient
from twoway.errors import ControlConnectionError, RemoteControlError, SessionRefusedError, TwowayError

from .serving import MS, PATIENCE_S, FakeClock, eventually, no_surprises, options, request, serving, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ALL_ONES = 0xFFFFFFFF
SID = b"sixteen octets!!"
SET_UP_RESPONSE, REQUEST, COMMAND = 164, 112, 32
"""Octets of what a Control-Client says."""


def greeting(modes: int = 15, count: int = 1024) -> bytes:
    return codec.ServerGreeting(modes, bytes(16), bytes(16), count).octets()


def server_start(accept: int = 0) -> bytes:
    return bytes(15) + bytes([accept]) + bytes(32)


def accept_session(accept: int = 0, port: int = 9, sid: bytes = SID) -> bytes:
    return struct.pack("!BxH16s12x16x", accept, port, sid)


def start_ack(accept: int = 0) -> bytes:
    return bytes([accept]) + bytes(31)


@dataclass(frozen=True)
class Case:
    """What a Server says when so many octets have come, and what the Control-Client makes of it."""

    name: str
    script: Sequence[tuple[int, bytes]]
    error: type[TwowayError]
    words: str
    """Of the error: the rule's name if one was broken, else of its text."""
    goodbye: str = ""
    """`fin` or `reset` at the end; else nothing more comes."""
    mode: str = "unauthenticated"

    def __str__(self) -> str:
        return self.name


WEB = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html></html>".ljust(64)
GREETED = [(0, greeting())]
READY = [*GREETED, (SET_UP_RESPONSE, server_start())]
ACCEPTED = [*READY, (REQUEST, accept_session())]
STARTED = [*ACCEPTED, (COMMAND, start_ack())]
CASES = [
    Case("nothing", [], ControlConnectionError, "closed by the far end", "fin"),
    Case("a reset", [], ControlConnectionError, "the transport failed", "reset"),
    Case("no mode", [(0, greeting(0))], ControlConnectionError, "the Server offers no mode (RFC 4656 section 3.1)"),
    Case("another mode", [(0, greeting(2))], ControlConnectionError, "no mode that is acceptable here (RFC 4656"),
    Case("half a greeting", [(0, greeting()[:63])], RemoteControlError, "truncated", "fin"),
    Case("a web server", [(0, WEB)], ControlConnectionError, "no mode that is acceptable here"),
    *(
        Case(f"count {count}", [(0, greeting(15, count))], ControlConnectionError, words, mode="encrypted")
        for count, words in (
            (0, "Count is smaller than the least that is acceptable (RFC 4656 section 3.1)"),
            (512, "Count is smaller than the least that is acceptable (RFC 4656 section 3.1)"),
            (1025, "Count is not a power of 2 (RFC 4656 section 3.1)"),
            (65536, "Count is larger than the most that is acceptable (RFC 5357 section 6)"),
            (ALL_ONES, "Count is larger than the most that is acceptable (RFC 5357 section 6)"),
        )
    ),
    *(
        Case(f"set-up, Accept {n}", [*GREETED, (164, server_start(n))], SessionRefusedError, f"answered Accept {told}")
        for n, told in ((1, 1), (3, 3), (4, 4), (5, 5), (6, 6), (7, 1), (255, 1))
    ),
    Case("half a Server-Start", [*GREETED, (164, server_start()[:47])], RemoteControlError, "truncated", "fin"),
    Case("more than Server-Start", [*GREETED, (164, server_start() + b"x")], RemoteControlError, "unexpected_octets"),
    *(
        Case(f"request, Accept {n}", [*READY, (112, accept_session(n))], SessionRefusedError, f"answered Accept {told}")
        for n, told in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 1), (255, 1))
    ),
    Case("no port", [*READY, (REQUEST, accept_session(port=0))], RemoteControlError, "port_zero"),
    Case("half an Accept-Session", [*READY, (112, accept_session()[:40])], RemoteControlError, "truncated", "fin"),
    Case("two Accept-Sessions", [*READY, (112, accept_session() * 2)], RemoteControlError, "unexpected_octets"),
    Case("reset after the request", [*READY, (REQUEST, b"")], ControlConnectionError, "transport failed", "reset"),
    *(
        Case(f"start, Accept {n}", [*ACCEPTED, (32, start_ack(n))], SessionRefusedError, f"answered Accept {told}")
        for n, told in ((1, 1), (3, 3), (255, 1))
    ),
    Case("half a Start-Ack", [*ACCEPTED, (COMMAND, start_ack()[:16])], RemoteControlError, "truncated", "fin"),
    Case("two Start-Acks", [*ACCEPTED, (COMMAND, start_ack() * 2)], RemoteControlError, "unexpected_octets"),
    Case("an octet in mid-test", [*STARTED, (0, b"x")], RemoteControlError, "unexpected_octets"),
    Case("a flood in mid-test", [*STARTED, (0, bytes(1 << 22))], RemoteControlError, "unexpected_octets"),
    Case("the end in mid-test", STARTED, ControlConnectionError, "closed by the far end", "fin"),
    Case("a reset in mid-test", STARTED, ControlConnectionError, "the transport failed", "reset"),
]


@asynccontextmanager
async def scripted(script: Sequence[tuple[int, bytes]], goodbye: str = "") -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A Server that follows its script: where it listens, and when its client has closed the connection."""
    closed = asyncio.Event()
    tasks: list[asyncio.Task[None] | None] = []
    writers: list[asyncio.StreamWriter] = []

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for count, octets in script:
            await reader.readexactly(count)
            writer.write(octets)
            await writer.drain()
        if goodbye == "reset":
            lingering = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
            writer.close()
        elif goodbye == "fin":
            writer.write_eof()
        while await reader.read(65536):
            pass

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await follow(reader, writer)
            finally:
                closed.set()
                writer.close()
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname()), closed
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*filter(None, tasks))


@asynccontextmanager
async def bystander() -> AsyncIterator[None]:
    """Another connection, to a Server that behaves, whose session goes on through all that happens."""
    async with serving() as server, await ControlClient.connect(target(server), options()) as client:
        session = await client.request_session(request(count=None))
        await client.start()
        await eventually(lambda: session.summary().counter("received") > 0)
        with no_surprises():
            yield
        before = session.summary().counter("received")
        await eventually(lambda: session.summary().counter("received") > before + 2)
        await client.stop()


async def measured(where: str, mode: str) -> None:
    """A measurement of one session that ends only by what the Server does."""
    async with await ControlClient.connect(where, options(mode)) as client:
        session = await client.request_session(request(count=None))
        await client.start()
        try:
            async for _ in session:
                pass
        finally:
            assert client.closed
            result = session.result()
            assert result.interrupted
            assert result.summary.counter("sent") >= 0
            with pytest.raises(TwowayError) as again:
                await client.stop()
            assert type(again.value) in (RemoteControlError, ControlConnectionError)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_what_a_server_says_ends_in_one_error(case: Case) -> None:
    async with bystander(), scripted(case.script, case.goodbye) as (where, closed):
        with pytest.raises(case.error) as caught:
            async with asyncio.timeout(PATIENCE_S):
                await measured(where, case.mode)
        if isinstance(caught.value, RemoteControlError):
            assert caught.value.rule == case.words
            assert caught.value.section.startswith("RFC ")
            assert caught.value.section in str(caught.value)
        else:
            assert case.words in str(caught.value)
        assert "\n" not in str(caught.value)
        async with asyncio.timeout(PATIENCE_S):
            await closed.wait()


async def test_one_sid_for_two_sessions() -> None:
    script = [*ACCEPTED, (REQUEST, accept_session(port=10))]
    async with bystander(), scripted(script) as (where, closed), await ControlClient.connect(where) as client:
        await client.request_session(request())
        with pytest.raises(RemoteControlError) as caught:
            await client.request_session(request())
        assert (caught.value.rule, caught.value.section) == ("sid_in_use", "RFC 4656 section 3.5")
        await closed.wait()


@pytest.mark.parametrize("field", ["skip ranges", "records"])
async def test_results_of_all_ones_are_never_waited_for(field: str) -> None:
    counts = (ALL_ONES, 0) if field == "skip ranges" else (0, ALL_ONES)
    ack = struct.pack("!BB2xIII", 0, 1, 5, *counts) + bytes(16)
    stop = bytes([3]) + bytes(31)
    # Ours has a record of 24 octets, filled to 32; the Server sent nothing.
    script = [(0, greeting()), (164, server_start()), (128 + 16, accept_session()), (32, start_ack())]
    script += [(64, stop), (48, ack)]
    wanted = options("unauthenticated", "owamp")
    async with bystander(), scripted(script) as (where, closed), await ControlClient.connect(where, wanted) as client:
        await client.request_session(request(count=1, slots=(("fixed", MS),)))
        await client.start()
        with pytest.raises(RemoteControlError) as caught:
            await client.stop()
        assert caught.value.rule == f"too_many_{field.replace(' ', '_')}"
        assert caught.value.section == "RFC 4656 section 6.5"
        await closed.wait()


@pytest.mark.parametrize(
    ("script", "begun"),
    [([], 0), ([], 1), (GREETED, 0), ([*GREETED, (164, b"\0")], 0), ([*READY, (REQUEST, b"\0")], 0)],
    ids=["no greeting", "an octet a minute", "no Server-Start", "an octet of Server-Start", "an octet of the answer"],
)
async def test_a_server_that_is_too_slow(
    script: Sequence[tuple[int, bytes]], begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bystander(), scripted([*script, (0, greeting()[:begun])]) as (where, closed):
        clock = FakeClock()
        monkeypatch.setattr(control_client, "LoopClock", lambda: clock)
        task = asyncio.create_task(measured(where, "unauthenticated"))
        # As far as it comes; the script never gives it what it waits for next.
        while not closed.is_set():
            await asyncio.sleep(0.01)
            clock.pass_by(1)
            assert clock.now_ns() < 120_000 * MS
        with pytest.raises(ControlConnectionError, match="no answer in time"):
            await task
        assert clock.now_ns() >= 30_000 * MS


async def test_a_server_that_restarts_in_mid_test() -> None:
    async with bystander():
        async with serving() as server:
            _, host, port = server.local_addresses[0]
            client = await ControlClient.connect(target(server), options("encrypted"))
            session = await client.request_session(request(count=None))
            await client.start()
            await eventually(lambda: session.summary().counter("received") >= 3)
        async with serving(listen=(("twamp", host, port, 0),)) as again:
            with pytest.raises(ControlConnectionError, match=r"closed by the far end|the transport failed"):
                async for _ in session:
                    pass
            result = session.result()
            assert result.interrupted
            assert result.summary.counter("received") >= 3
            # Lost is what was under way: a second of it, on a busy machine.
            assert result.summary.counter("sent") - result.summary.counter("received") <= 200
            client.close()
            async with await ControlClient.connect(f"{host}:{port}", options("encrypted")) as anew:
                session = await anew.request_session(request())
                await anew.start()
                async for _ in session:
                    pass
                await anew.stop()
                assert session.summary().counter("received") == 5
            assert again.counters()["connections"] == 1
