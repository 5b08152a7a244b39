"""Sending test packets by hand and seeing what comes back: for what our own Session-Sender never does."""

import socket
import struct
from dataclasses import dataclass
from typing import Final, Self

from .programs import BOUND_S, until
from .topology import Namespace

_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANCILLARY: Final = 256
IP_RECVTTL: Final = 12  # linux/in.h; Python's module does not have it


@dataclass(frozen=True, slots=True)
class Received:
    """One datagram with what its IP header said."""

    octets: bytes
    source: tuple[str, int]
    ttl: int
    traffic_class: int


class Probe:
    """A UDP socket in a namespace that sees TTL and traffic class. A context manager."""

    def __init__(self, namespace: Namespace, version: int, source: str | None = None, port: int = 0) -> None:
        self.version = version
        self.socket = namespace.socket(_FAMILY[version], socket.SOCK_DGRAM)
        if version == 4:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        self.socket.bind((source or ("0.0.0.0" if version == 4 else "::"), port))  # noqa: S104  # a namespace of its own
        self.socket.setblocking(False)

    def set_header(self, *, ttl: int | None = None, traffic_class: int | None = None) -> None:
        """TTL and traffic class of what is sent from now on."""
        level = socket.IPPROTO_IP if self.version == 4 else socket.IPPROTO_IPV6
        if ttl is not None:
            self.socket.setsockopt(level, socket.IP_TTL if self.version == 4 else socket.IPV6_UNICAST_HOPS, ttl)
        if traffic_class is not None:
            self.socket.setsockopt(level, socket.IP_TOS if self.version == 4 else socket.IPV6_TCLASS, traffic_class)

    def send(self, octets: bytes, address: str, port: int = 862, scope_id: int = 0) -> None:
        self.socket.sendto(octets, (address, port) if self.version == 4 else (address, port, 0, scope_id))

    def take(self) -> Received | None:
        """A datagram that is already here, or None."""
        try:
            octets, ancillary, _, address = self.socket.recvmsg(65_536, _ANCILLARY)
        except BlockingIOError:
            return None
        ttl = traffic_class = -1
        for level, kind, value in ancillary:
            number = value[0] if len(value) == 1 else struct.unpack("@i", value[:4])[0]
            if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
                ttl = number
            if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
                traffic_class = number
        return Received(octets, (address[0].split("%")[0], address[1]), ttl, traffic_class)

    def receive(self, bound_s: float = BOUND_S) -> Received:
        """The next datagram."""
        got: list[Received] = []

        def arrived() -> bool:
            datagram = self.take()
            if datagram is not None:
                got.append(datagram)
            return bool(got)

        until(arrived, "a reply", bound_s)
        return got[0]

    def exchange(self, octets: bytes, address: str, port: int = 862, scope_id: int = 0) -> Received:
        """Send one datagram and take the next that comes."""
        self.send(octets, address, port, scope_id)
        return self.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
