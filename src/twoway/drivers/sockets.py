"""Sockets that Python holds: those of control connections, and those that keep a UDP port until it is needed.

A socket stays in the network namespace that it was opened in. Python cannot enter one for a single thread, so there the
packet plane opens it and hands the descriptor over.
"""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Self

from twoway.drivers.native import _native
from twoway.errors import PlaneError

if TYPE_CHECKING:
    from types import TracebackType

    from twoway.control.configuration import Address


def open_socket(family: int, kind: socket.SocketKind, netns: str | None) -> socket.socket:
    """A non-blocking TCP or UDP socket of `family` 4 or 6, in a namespace or here. Raises `PlaneError`, `OSError`."""
    domain = socket.AF_INET6 if family == 6 else socket.AF_INET
    if netns is None:
        opened = socket.socket(domain, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    else:
        stream = kind is socket.SOCK_STREAM
        opened = socket.socket(domain, kind, fileno=_native.open_socket(netns, ipv6=family == 6, stream=stream))
        opened.setblocking(False)
    return opened


def scope_of(address: Address) -> int:
    """The interface index of a link-local address, else 0."""
    scope = address.scope_id if isinstance(address, IPv6Address) else None
    if not scope:
        return 0
    return int(scope) if scope.isdigit() else socket.if_nametoindex(scope)


def host_of(address: Address) -> str:
    """The numeric address without its scope."""
    return str(address).partition("%")[0]


_TCP_SAVE_SYN, _TCP_SAVED_SYN = 27, 28
"""linux/tcp.h: keep the headers of each SYN, and give those of the accepted connection once."""
_MOST_SYN_OCTETS = 256


def keep_syn(listener: socket.socket) -> None:
    """Have `syn_traffic_class` know what a connection began with, where the kernel can."""
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)


def syn_traffic_class(accepted: socket.socket) -> int:
    """Traffic class octet of the client's SYN; 0 where the kernel does not know, as with a SYN cookie."""
    try:
        header = accepted.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, _MOST_SYN_OCTETS)
    except OSError:
        return 0
    if len(header) < 2:
        return 0
    return header[1] if header[0] >> 4 == 4 else (header[0] & 0xF) << 4 | header[1] >> 4


class ReservedPort:
    """A UDP port held by a socket that nothing is read from, until the packet plane opens its own."""

    def __init__(self, address: str, number: int, netns: str | None) -> None:
        wanted = ip_address(address)
        self._socket = open_socket(wanted.version, socket.SOCK_DGRAM, netns)
        where: tuple[str, int] | tuple[str, int, int, int] = (host_of(wanted), number)
        if wanted.version == 6:
            where = (host_of(wanted), number, 0, scope_of(wanted))
        try:
            self._socket.bind(where)
        except OSError as error:
            self._socket.close()
            text = f"[{host_of(wanted)}]:{number}" if wanted.version == 6 else f"{wanted}:{number}"
            raise PlaneError("bind", text, error.errno or 0) from None
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let the packet plane have it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def reserve_port(address: str, number: int, netns: str | None) -> ReservedPort:
    """Hold a port of this address, any if `number` is 0. Raises `PlaneError`."""
    return ReservedPort(address, number, netns)
