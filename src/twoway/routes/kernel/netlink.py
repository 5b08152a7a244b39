"""Two sockets of rtnetlink(7) for a network namespace: one asks, one listens.

Theory of operation. Requests go out many to a datagram, each with its own sequence number, and each is acknowledged by
itself: ten thousand are a hundred datagrams. So many at a time are under way as the receive buffer surely has room for
acknowledgements. What is listened for are routes, addresses and interfaces; the kernel drops what the buffer has no
room for and says so once (ENOBUFS): then nothing is known any more, and whoever listens has to look at everything
again.

Notifications of what this process did itself bear the port of the asking socket and are passed over unread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

from twoway.errors import TwowayError
from twoway.routes.kernel import messages
from twoway.routes.kernel.messages import NLMSG_DONE, NLMSG_ERROR
from twoway.routes.kernel.namespace import open_socket
from twoway.routes.policy.reconciliation import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from twoway.routes.policy.reconciliation import Request

# linux/netlink.h, asm-generic/socket.h, linux/rtnetlink.h
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_SO_RCVBUFFORCE = 33
_NETLINK_ROUTE = 0
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""
_BUFFER = 8 << 20
_AT_ONCE = 128
"""Requests under way: their acknowledgements occupy 128 KiB of the buffer at most."""
_LARGEST = 1 << 18
"""Longest datagram: the kernel gives dumps in pieces of 32 KiB."""
_PATIENCE_S = 10.0
_DUMPS = 10
"""Times that a dump is begun anew because the table changed meanwhile."""
_MOST_SEQUENCES = 2**31
_AT_A_TURN = 64
"""Datagrams of notifications that are read before others get a turn on the event loop."""


class NetlinkError(TwowayError):
    """The kernel does not answer, or not as it should."""


def _socket(netns: str | None) -> socket.socket:
    made = open_socket(netns, socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return made


class AskingSocket:
    """For requests. Raises `OSError` when it cannot be opened."""

    def __init__(self, netns: str | None) -> None:
        self._socket = _socket(netns)
        for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self.port: int = self._socket.getsockname()[0]
        self._sequence = 0
        self._turn = asyncio.Lock()

    def _next(self) -> int:
        self._sequence = self._sequence % _MOST_SEQUENCES + 1
        return self._sequence

    async def ask(self, requests: Sequence[Request], protocol: int) -> list[Refusal | None]:
        """Have requests carried out, in their order; what became of each. Raises `NetlinkError` and `OSError`."""
        answers: list[Refusal | None] = []
        async with self._turn:
            for begin in range(0, len(requests), _AT_ONCE):
                answers += await self._some(requests[begin : begin + _AT_ONCE], protocol)
        return answers

    async def _some(self, requests: Sequence[Request], protocol: int) -> list[Refusal | None]:
        numbers = [self._next() for _ in requests]
        octets = [messages.route_request(one, protocol, n) for one, n in zip(requests, numbers, strict=True)]
        await asyncio.get_running_loop().sock_sendall(self._socket, b"".join(octets))
        waiting = dict.fromkeys(numbers)
        found: dict[int, Refusal | None] = {}
        async with self._patience():
            while waiting:
                for kind, _, sequence, _, message in messages.split(await self._receive()):
                    if kind == NLMSG_ERROR and sequence in waiting:
                        del waiting[sequence]
                        found[sequence] = _refusal(message)
        return [found[number] for number in numbers]

    async def dump(
        self, wanted: Callable[[int], bytes], keep: Callable[[memoryview], bool] = lambda _message: True
    ) -> list[memoryview]:
        """The messages that answer a question, which is made for a sequence number, as far as they are to be kept.
        Raises `NetlinkError`."""
        async with self._turn, self._patience():
            for _ in range(_DUMPS):
                found = await self._dump(wanted(number := self._next()), number, keep)
                if found is not None:
                    return found
        raise NetlinkError("the kernel's table changes too fast to be read")

    async def _dump(self, question: bytes, number: int, keep: Callable[[memoryview], bool]) -> list[memoryview] | None:
        """None if it was interrupted by a change."""
        await asyncio.get_running_loop().sock_sendall(self._socket, question)
        found: list[memoryview] = []
        whole = True
        while True:
            for kind, flags, sequence, _, message in messages.split(await self._receive()):
                if sequence != number:
                    continue
                whole = whole and not flags & messages.NLM_F_DUMP_INTR
                if kind == NLMSG_DONE:
                    return found if whole else None
                if kind == NLMSG_ERROR:
                    refusal = _refusal(message)
                    raise NetlinkError(f"reading the kernel's table: {'' if refusal is None else refusal.text}")
                if keep(message):
                    found.append(message)

    async def _receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, _LARGEST)

    @contextlib.asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                yield
        except TimeoutError:
            raise NetlinkError(f"the kernel has not answered a request for {_PATIENCE_S:g} s") from None

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


def _refusal(message: memoryview) -> Refusal | None:
    number, said = messages.error_of(message)
    if not number:
        return None
    return Refusal(number, said.rstrip(".") or os.strerror(number))


class ListeningSocket:
    """For notifications, from the moment that it is made. Raises `OSError` when it cannot be opened."""

    def __init__(
        self,
        netns: str | None,
        tell: Callable[[int, memoryview], None],
        overrun: Callable[[], None],
        skip_port: int,
    ) -> None:
        """`tell` is called on the running loop with the type and the octets of each message, but for those that the
        socket `skip_port` caused; `overrun` when some were lost."""
        self._socket = _socket(netns)
        self._socket.bind((0, _GROUPS))
        self._tell = tell
        self._overrun = overrun
        self._skip_port = skip_port
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(_AT_A_TURN):
            try:
                datagram = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self._overrun()
                    continue
                return
            for kind, _, _, port, message in messages.split(datagram):
                if port != self._skip_port or not port:
                    self._tell(kind, message)

    def close(self) -> None:
        """Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
