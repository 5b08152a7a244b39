"""The ways to a receiver: connected UDP, TCP and a local datagram socket. Each carries one message at a time.

Theory of operation. A link is opened, carries messages until one of them fails, and is closed; `receiver.py` decides
when it is opened again. `send` returns when the kernel has taken the message, and waits no longer than a bound for
that: a receiver that never reads fails its link, and neither blocks the event loop nor piles up memory.

UDP has no answer, but a connected socket hears of a port where nobody listens (ICMP). It hears of that after the
message was sent, so the failure comes to light with the next message, unless the caller `settle`s: waits a while for
bad news.

What TCP had taken when the other end went is lost without anybody knowing which (RFC 6587 section 3.4.1 has nothing
against it). TCP_USER_TIMEOUT bounds how long the kernel goes on believing in an end that has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Protocol, cast

from twoway.aside import Aside
from twoway.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twoway.config.endpoint import Endpoint

BOUND_S = 10.0
"""Longest wait for a name, for a connection, and for a receiver to take a message."""
SETTLE_S = 1.0
"""How long bad news of a datagram is waited for, where that is asked for."""


class Link(Protocol):
    """One open way. Failures are `OSError` or `OutputError`, each with one line."""

    async def send(self, octets: bytes) -> None:
        """Hand over one message. Raises what is known to have gone wrong, with it or since the last one."""

    async def settle(self) -> None:
        """Wait for what might still go wrong with the last message."""

    def close(self) -> None:
        """Let go of it, at once."""


_Address = tuple[socket.AddressFamily, tuple[object, ...]]


class Resolver:
    """Turns one name into addresses, in a thread of its own, and never twice at the same time.

    A name has several where it has both families, and a receiver may listen at one of them only. Whoever asks again
    found nobody at the one it had, so another comes first then.
    """

    def __init__(self, endpoint: Endpoint, default_port: int, kind: socket.SocketKind) -> None:
        self._endpoint = endpoint
        self._port = endpoint.port or default_port
        self._kind = kind
        self._thread = Aside("resolve a receiver")
        self._running: asyncio.Task[list[_Address]] | None = None
        self._asked = 0

    async def addresses(self) -> list[_Address]:
        """Families and addresses to connect to, the one whose turn it is first. Raises `OutputError` for a name that
        has none, or none in time."""
        host = self._endpoint.host if self._endpoint.scope is None else f"{self._endpoint.host}%{self._endpoint.scope}"
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._found(host))
        running = self._running
        try:
            # Shielded: a resolver that hangs keeps its one thread, and the next attempt waits for the same answer.
            found = await asyncio.wait_for(asyncio.shield(running), BOUND_S)
        except TimeoutError:
            raise OutputError(host, f"the name was not resolved within {BOUND_S:g} s: is the resolver there?") from None
        except (OSError, UnicodeError) as error:
            self._running = None
            raise OutputError(host, f"the name cannot be resolved: {error}") from None
        self._running = None
        first = self._asked % len(found)
        self._asked += 1
        return found[first:] + found[:first]

    async def _found(self, host: str) -> list[_Address]:
        found = await self._thread.run(socket.getaddrinfo, host, self._port, type=self._kind)
        return [(family, address) for family, _, _, _, address in found]


class DatagramLink(asyncio.DatagramProtocol):
    """A connected datagram socket, of UDP or local."""

    def __init__(self, received: Callable[[bytes], None] | None, *, at_once: bool) -> None:
        self._received = received
        self._at_once = at_once  # whether the kernel knows the fate of a message when it takes it
        self._transport: asyncio.DatagramTransport | None = None
        self._failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def udp(cls, resolver: Resolver, received: Callable[[bytes], None] | None = None) -> DatagramLink:
        """To the address of a name whose turn it is; `received` gets what comes back."""
        (family, address), *_ = await resolver.addresses()
        return await cls._connected(family, address, received)

    @classmethod
    async def local(cls, path: str) -> DatagramLink:
        """To a socket of the file system, such as /dev/log."""
        return await cls._connected(socket.AF_UNIX, path, None)

    @classmethod
    async def _connected(
        cls, family: int, address: str | tuple[object, ...], received: Callable[[bytes], None] | None
    ) -> DatagramLink:
        opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.connect(address)
            loop = asyncio.get_running_loop()
            at_once = family == socket.AF_UNIX
            transport, link = await loop.create_datagram_endpoint(lambda: cls(received, at_once=at_once), sock=opened)
        except BaseException:
            opened.close()
            raise
        # Asyncio keeps what the kernel does not take; with this mark it says so at the first octet.
        transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined]  # typeshed has it on streams alone
        return link

    async def send(self, octets: bytes) -> None:
        if self._transport is None or self._failure.done():
            raise self._failure.result() if self._failure.done() else ConnectionError("the socket is closed")
        self._transport.sendto(octets)
        if not self._writable.is_set():
            await _bounded(self._writable.wait())
        if self._failure.done():
            raise self._failure.result()

    async def settle(self) -> None:
        if self._at_once:
            return
        with contextlib.suppress(TimeoutError):
            raise await asyncio.wait_for(asyncio.shield(self._failure), SETTLE_S)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, _address: object) -> None:
        if self._received is not None:
            self._received(data)

    def error_received(self, exc: Exception) -> None:
        self._fail(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(exc or ConnectionError("the socket is closed"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _fail(self, failure: Exception) -> None:
        if not self._failure.done():
            self._failure.set_result(failure)
        self._writable.set()


class StreamLink(asyncio.Protocol):
    """A TCP connection with octet counting: `LENGTH SP MESSAGE` (RFC 6587 section 3.4.1)."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._end: Exception | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def tcp(cls, resolver: Resolver) -> StreamLink:
        """To the first address of a name where somebody answers. Raises the last failure where nobody does."""
        *others, last = await resolver.addresses()
        for family, address in others:
            with contextlib.suppress(OSError):
                return await cls._connected(family, address)
        return await cls._connected(*last)

    @classmethod
    async def _connected(cls, family: socket.AddressFamily, address: tuple[object, ...]) -> StreamLink:
        loop = asyncio.get_running_loop()
        opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(BOUND_S * 1000))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await _bounded(loop.sock_connect(opened, address))
            transport, link = await loop.create_connection(cls, sock=opened)
        except BaseException:
            opened.close()
            raise
        transport.set_write_buffer_limits(high=0)
        return link

    async def send(self, octets: bytes) -> None:
        if self._end is not None or self._transport is None:
            raise self._end or ConnectionError("the connection is closed")
        self._transport.write(b"%d %b" % (len(octets), octets))
        if not self._writable.is_set():
            await _bounded(self._writable.wait())
        if self._end is not None:
            raise self._end

    async def settle(self) -> None:
        """Nothing to wait for: what TCP has taken is on its way."""

    def close(self) -> None:
        if self._transport is None:
            return
        if self._writable.is_set():
            self._transport.close()
        else:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> None:
        """A receiver never ends its side alone: it has gone, and what would be written now would be lost."""
        self._finish(ConnectionError("the receiver closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish(exc or ConnectionError("the connection is closed"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _finish(self, end: Exception) -> None:
        self._end = self._end or end
        self._writable.set()


async def _bounded(waiting: Awaitable[object]) -> None:
    try:
        await asyncio.wait_for(waiting, BOUND_S)
    except TimeoutError:
        raise TimeoutError(f"not taken within {BOUND_S:g} s") from None
