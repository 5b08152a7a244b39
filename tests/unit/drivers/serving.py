"""A Server on loopback for tests, clients by hand, and time that passes when it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from twoway.config.managed import ControlOptions, SessionRequest
from twoway.config.server import ServerOptions
from twoway.drivers.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from twoway.analysis.result import Summary

SECRET = b"correct horse"
MODES = ("unauthenticated", "authenticated", "encrypted", "mixed")
MS = 1_000_000
PATIENCE_S = 20
FEATURES = ("individual-session-control", "reflect-octets", "symmetrical-size", "dscp-ecn-monitoring")


@asynccontextmanager
async def serving(
    protocol: str = "twamp", host: str = "127.0.0.1", clock: FakeClock | None = None, **changes: object
) -> AsyncIterator[Server]:
    settings: dict[str, object] = {
        "listen": ((protocol, host, 0, 0),),
        "modes": MODES,
        "secrets": (("alice", SECRET),),
        **changes,
    }
    async with Server(ServerOptions(**settings), clock=clock) as server:  # type: ignore[arg-type]  # fields by name
        yield server


def target(server: Server) -> str:
    _, host, port = server.local_addresses[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def options(mode: str = "unauthenticated", protocol: str = "twamp", *features: str) -> ControlOptions:
    return ControlOptions(
        protocol=protocol,
        modes=(mode,),
        features=features,
        required=features,
        key_id="alice",
        passphrase=lambda: SECRET,
    )


def request(**changes: object) -> SessionRequest:
    settings: dict[str, object] = {"count": 5, "interval_ns": 5 * MS, "timeout_ns": 500 * MS, "start_ns": 0, **changes}
    return SessionRequest(**settings)  # type: ignore[arg-type]  # fields by name


@contextmanager
def no_surprises() -> Iterator[None]:
    """Nothing that happens meanwhile may raise where only the loop would see it."""
    loop = asyncio.get_running_loop()
    surprises: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: surprises.append(context))
    yield
    loop.set_exception_handler(None)
    assert not surprises


def answered(summary: Summary, count: int) -> int:
    """All of `count` packets came back, but those that this host says that it let pass unsent; how many did."""
    sent = summary.counter("sent")
    assert sent + summary.counter("not_sent") == count
    assert summary.counter("received") == sent > 0
    return sent


async def eventually(what: Callable[[], bool]) -> None:
    """Poll until it holds, which must be soon."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():  # noqa: ASYNC110  (what is awaited is another end's state, which has no event)
            await asyncio.sleep(0.005)


def up_to_ready(server: Server) -> socket.socket:
    """A client in the clear, by hand."""
    _, host, port = server.local_addresses[0]
    connection = socket.create_connection((host, port), PATIENCE_S)
    connection.setblocking(False)
    return connection


async def received(connection: socket.socket, count: int) -> bytes:
    octets = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(octets) < count:
            piece = await asyncio.get_running_loop().sock_recv(connection, count - len(octets))
            if not piece:
                break
            octets += piece
    return octets


SET_UP = struct.pack("!I80x64x16x", 1)


class FakeClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._calls: list[FakeCall] = []

    def now_ns(self) -> int:
        return self._now_ns

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> FakeCall:
        call = FakeCall(deadline_ns, callback)
        self._calls.append(call)
        return call

    def pass_by(self, seconds: int) -> None:
        """So much later, having called what was due."""
        self._now_ns += seconds * 1000 * MS
        for call in [call for call in self._calls if call.deadline_ns <= self._now_ns]:
            self._calls.remove(call)
            if not call.cancelled:
                call.callback()


class FakeCall:
    """One call that is due."""

    def __init__(self, deadline_ns: int, callback: Callable[[], None]) -> None:
        self.deadline_ns = deadline_ns
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
