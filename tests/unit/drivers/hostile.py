"""A client by hand that says what it likes, and another client beside it that must not notice."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from twoway.control import codec
from twoway.control.owamp_codec import RequestSession, ScheduleSlot
from twoway.control.registry import Accept
from twoway.drivers.control_client import ControlClient

from .serving import PATIENCE_S, eventually, no_surprises, options, received, request, target, up_to_ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twoway.drivers.server import Server, ServerEvent

GREETING, SERVER_START, ACCEPT, ACK = 64, 48, 48, 32
"""Octets of what a Server says."""
ALL_ONES = 0xFFFFFFFF
ASK = codec.RequestTwSession(4, 4000, 0, bytes(16), bytes(16), 0, 0, 1 << 32, 0)
ASK_ONE_WAY = RequestSession(
    4, False, True, 5, 4000, 0, bytes(16), bytes(16), bytes(16), 0, 0, 1 << 32, 0, (ScheduleSlot(1, 1 << 32),)
)
START = codec.StartSessions()


class Sayable(Protocol):
    def segments(self) -> codec.Segments: ...


def clear(*messages: Sayable) -> bytes:
    """As said in the clear, where nobody looks at HMACs."""
    return b"".join(segment + bytes(16) for message in messages for segment in message.segments())


def set_up(mode: int, key_id: bytes = b"", token: bytes = bytes(64)) -> bytes:
    return codec.SetUpResponse(mode, key_id.ljust(80, b"\0"), token, bytes(16)).octets()


@asynccontextmanager
async def bystander(server: Server) -> AsyncIterator[None]:
    """Another client, whose session goes on through all that happens."""
    protocol = server.local_addresses[0][0]
    settings = options("unauthenticated", protocol)
    async with await ControlClient.connect(target(server), settings) as client:
        # OWAMP needs a count, and would wait for its Start Time.
        wanted = request(count=1_000_000, start_ns=time.time_ns()) if protocol == "owamp" else request(count=None)
        session = await client.request_session(wanted)
        await client.start()
        counter = "sent" if protocol == "owamp" else "received"
        await eventually(lambda: session.summary().counter(counter) > 0)
        with no_surprises():
            yield
        before = session.summary().counter(counter)
        await eventually(lambda: session.summary().counter(counter) > before + 2)
        assert not client.closed
        await client.stop()


class Client:
    """A client by hand, in the clear unless it says otherwise."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.socket = up_to_ready(server)
        self.name = "{}:{}".format(*self.socket.getsockname())

    async def say(self, octets: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_sendall(self.socket, octets)

    async def hear(self, count: int) -> bytes:
        octets = await received(self.socket, count)
        assert len(octets) == count
        return octets

    async def get_ready(self, mode: int = 1) -> None:
        await self.hear(GREETING)
        await self.say(set_up(mode))
        assert (await self.hear(SERVER_START))[15] == Accept.OK

    async def run_session(self) -> int:
        """Ask and start; the port of the session."""
        await self.say(clear(ASK, START))
        accepted = await self.hear(ACCEPT + ACK)
        assert (accepted[0], accepted[ACCEPT]) == (0, 0)
        return int.from_bytes(accepted[2:4])

    async def closed(self) -> bytes:
        """What the Server still says before it closes."""
        octets = b""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while piece := await asyncio.get_running_loop().sock_recv(self.socket, 65536):
                    octets += piece
            except ConnectionResetError:
                pass
        return octets

    async def event(self) -> ServerEvent:
        """The only thing that the Server has to tell of this client."""
        found: list[ServerEvent] = []

        def told() -> bool:
            found.extend(event for event in self.server.take_events() if event.peer == self.name)
            return bool(found)

        await eventually(told)
        (event,) = found
        assert event.section.startswith("RFC ")
        assert event.meaning
        assert self.server.counters()[event.name] == 1
        return event

    def vanish(self) -> None:
        """Go with a reset and no word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def drained(client: Client) -> bool:
    """Whether the Server has read all that the client said."""
    unsent = fcntl.ioctl(client.socket, termios.TIOCOUTQ, bytes(4))
    return not int.from_bytes(unsent, "little")


def acknowledged(client: Client) -> bool:
    """Whether the client's kernel has acknowledged all that the Server said."""
    ports = [f":{client.socket.getpeername()[1]:04X}", f":{client.socket.getsockname()[1]:04X}"]
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        local, remote, _, queues = line.split()[1:5]
        if [local[8:], remote[8:]] == ports:
            return queues.startswith("00000000:")
    return False


STOP = codec.StopSessions(Accept.OK, 1)
MESSAGES = {"set-up": set_up(1), "request": clear(ASK), "start": clear(START), "stop": clear(STOP)}
