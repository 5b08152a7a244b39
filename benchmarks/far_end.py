"""What the benchmark of tracked routes has at the other end: a Session-Reflector that does to each probe what it is
told and knows when each came, and an ear for the kernel's routes, in one loop with one clock.

It answers statelessly, as RFC 8762 section 4.3.1 and RFC 5357 appendix I have it, with the layout of RFC 8762 section
4.3.1 figure 5, and takes no kernel stamps: delays are not what is looked at.
"""

from __future__ import annotations

import contextlib
import heapq
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laboratory import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

NS_PER_MS = 1_000_000
_NTP_EPOCH_S = 2_208_988_800
"""From 1900 to 1970 (RFC 5905 section 6)."""
_REPLY = struct.Struct("!IQHHQI8s2s2xB3x")
"""Sequence number, T3, Error Estimate, SSID, T2, and of the probe: sequence number, timestamp, Error Estimate, TTL."""
_ERROR_ESTIMATE = 0x0001
"""Not synchronised; the multiplier must not be 0 (RFC 4656 section 4.1.2)."""
_LEAST_PROBE = 16
_RTMGRP_IPV4_ROUTE = 0x40
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_BUFFER = 64 << 20
"""Ten thousand notifications wait in it while the reader does something else."""
_LARGEST = 1 << 18


@dataclass(frozen=True, slots=True)
class Probe:
    """One that has come."""

    session: int
    sequence: int
    at_ns: int
    """By the monotonic clock, as it was read."""


class Answer:
    """Answer at once."""


@dataclass(frozen=True, slots=True)
class Later(Answer):
    """Answer after a pause."""

    pause_ns: int


class Silence(Answer):
    """Do not answer."""


AT_ONCE, NEVER = Answer(), Silence()


class FarEnd:
    """Sockets of as many sessions, each with a UDP port of its own, and one for rtnetlink; `close` ends it."""

    def __init__(self, far: str, near: str, address: str, first_port: int, sessions: int) -> None:
        """`far` is the namespace that is measured, `near` that in which routes are tracked."""
        from twoway.routes.kernel.namespace import open_socket

        self._sockets: dict[int, tuple[int, socket.socket]] = {}
        self._epoll = select.epoll()
        self._waiting: list[tuple[int, int, int, bytes, tuple[str, int]]] = []
        self._order = 0
        self.heard: Callable[[Probe], Answer] = lambda _: AT_ONCE
        """What is to become of each probe."""
        self.sent: Callable[[int, int], None] = lambda _session, _at_ns: None
        """Told of each answer that was put off: session and moment."""
        self.routed: Callable[[str, bool, int], None] = lambda _prefix, _there, _at_ns: None
        """Told of each change of a route of ours: prefix, whether it is there now, and the moment."""
        self.answered = 0
        for number in range(sessions):
            one = open_socket(far, socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((address, first_port + number))
            self._sockets[one.fileno()] = number, one
            self._epoll.register(one.fileno(), select.EPOLLIN)
        self._netlink = open_socket(near, socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._netlink.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._netlink.bind((0, _RTMGRP_IPV4_ROUTE))
        self._epoll.register(self._netlink.fileno(), select.EPOLLIN)

    def serve(self, enough: Callable[[], bool], patience_s: float, what: str) -> None:
        """Go on until it is enough; `UnavailableError` if that takes too long."""
        deadline = time.monotonic() + patience_s
        while not enough():
            if time.monotonic() > deadline:
                raise UnavailableError(f"not within {patience_s:g} s: {what}")
            self._turn()

    def serve_for(self, seconds: float) -> None:
        """Go on for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._turn()

    def _turn(self) -> None:
        wait_s = 0.01
        if self._waiting:
            wait_s = min(wait_s, max(0.0, (self._waiting[0][0] - time.monotonic_ns()) / 1e9))
        for descriptor, _ in self._epoll.poll(wait_s):
            if descriptor == self._netlink.fileno():
                self._read_routes()
            else:
                self._read_probes(*self._sockets[descriptor])
        while self._waiting and self._waiting[0][0] <= time.monotonic_ns():
            _, _, session, octets, address = heapq.heappop(self._waiting)
            one = next(one for number, one in self._sockets.values() if number == session)
            self._send(one, octets, address)
            self.sent(session, time.monotonic_ns())

    def _read_probes(self, session: int, one: socket.socket) -> None:
        while True:
            try:
                octets, address = one.recvfrom(2048)
            except BlockingIOError:
                return
            if len(octets) < _LEAST_PROBE:
                continue
            now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
            answer = self.heard(Probe(session, int.from_bytes(octets[:4]), now_ns))
            if isinstance(answer, Silence):
                continue
            reply = _reply(octets, wall_ns)
            if isinstance(answer, Later):
                self._order += 1
                heapq.heappush(self._waiting, (now_ns + answer.pause_ns, self._order, session, reply, address))
            else:
                self._send(one, reply, address)

    def _send(self, one: socket.socket, octets: bytes, address: tuple[str, int]) -> None:
        # Who probed may be gone: ECONNREFUSED of an earlier answer.
        with contextlib.suppress(OSError):
            one.sendto(octets, address)
            self.answered += 1

    def _read_routes(self) -> None:
        from twoway.config.route_plan import PROTOCOL
        from twoway.routes.kernel import messages

        while True:
            try:
                datagram = self._netlink.recv(_LARGEST)
            except BlockingIOError:
                return
            now_ns = time.monotonic_ns()
            for kind, _, _, _, message in messages.split(datagram):
                if kind not in (messages.RTM_NEWROUTE, messages.RTM_DELROUTE):
                    continue
                _, length, protocol, _ = messages.route_head(message)
                if protocol == PROTOCOL:
                    prefix = f"{socket.inet_ntoa(messages.destination(message))}/{length}"
                    self.routed(prefix, kind == messages.RTM_NEWROUTE, now_ns)

    def close(self) -> None:
        """Close all sockets."""
        for _, one in self._sockets.values():
            one.close()
        self._netlink.close()
        self._epoll.close()


def _reply(probe: bytes, wall_ns: int) -> bytes:
    """A stateless answer, as long as the probe."""
    seconds, nanos = divmod(wall_ns, 1_000_000_000)
    stamp = (seconds + _NTP_EPOCH_S << 32 | (nanos << 32) // 1_000_000_000) & (1 << 64) - 1
    number = int.from_bytes(probe[:4])
    head = _REPLY.pack(
        number, stamp, _ERROR_ESTIMATE, int.from_bytes(probe[14:16]), stamp, number, probe[4:12], probe[12:14], 64
    )
    return head + probe[len(head) :]
