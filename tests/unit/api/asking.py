"""A management API in a thread of its own, and clients that write octets by hand."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

    from twoway.api.service import ManagementApi
    from twoway.config.plan import ApiPlan

BOUND_S = 20


@dataclass(frozen=True)
class Answer:
    """One answer of the API."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def json(self) -> Any:  # noqa: ANN401  (JSON)
        return json.loads(self.body)


@dataclass
class Served:
    """Where it is, and what it counts."""

    address: Path | tuple[str, int]
    api: ManagementApi
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  (whatever it gives)
        """Something on the API's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(BOUND_S)

    def connect(self) -> socket.socket:
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, BOUND_S)
        client = socket.socket(socket.AF_UNIX)
        # Not `settimeout`: a socket that does not block is refused at once while the backlog is full (unix(7)).
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", BOUND_S, 0))
        client.connect(str(self.address))
        client.settimeout(BOUND_S)
        return client

    def ask(self, octets: bytes) -> Sequence[Answer]:
        """The answers to octets whose last request closes the connection."""
        with self.connect() as client:
            write(client, octets)
            return answers(rest(client))

    def get(self, target: str) -> Answer:
        (answer,) = self.ask(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return answer

    def connections(self) -> int:
        """Open, on all listeners."""

        async def count() -> int:
            return sum(len(one.state.connections) + len(one.state.tasks) for one in self.api._listenings)  # noqa: SLF001

        return int(self.run(count()))


def write(client: socket.socket, octets: bytes) -> None:
    """As much as it takes: whoever refuses a request need not read all of it."""
    try:
        client.sendall(octets)
    except (BrokenPipeError, ConnectionResetError):
        return


def rest(client: socket.socket) -> bytes:
    """What comes until the other end closes."""
    octets = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            octets += piece
    return octets


class _Octets:
    """What `http.client` reads from, in the place of a socket."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode
        return io.BytesIO(self._octets)  # type: ignore[return-value]  # what it needs of one


def answers(octets: bytes) -> Sequence[Answer]:
    """The answers in what came back, each complete."""
    found = []
    while octets:
        if octets.startswith(b"HTTP/1.1 100 "):
            octets = octets.partition(b"\r\n\r\n")[2]
            continue
        head, _, following = octets.partition(b"\r\n\r\n")
        response = http.client.HTTPResponse(_Octets(octets))  # type: ignore[arg-type]  # what it needs of one
        response.begin()
        body = response.read()
        found.append(Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body))
        if b"transfer-encoding" in head.lower():
            return found  # the last one of a connection, in these tests
        octets = following[len(body) :]
    return found


@contextmanager
def served(plan: ApiPlan, make: Callable[[ApiPlan], ManagementApi]) -> Iterator[Served]:
    """A management API until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Awaitable[None]) -> None:
        asyncio.run_coroutine_threadsafe(_awaited(coroutine), loop).result(BOUND_S)

    try:
        api = make(plan)
        run(api.start())
        try:
            yield Served(plan.socket, api, loop)
        finally:
            run(api.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND_S)
        loop.close()


async def _awaited(coroutine: Awaitable[None]) -> None:
    await coroutine


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll, with a bound."""
    end = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.001)
