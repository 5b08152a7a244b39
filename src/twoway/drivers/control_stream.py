"""One control connection's socket and timers, for either end's machine of `twoway.control`.

Theory of operation. The machine knows the protocol; here octets go in, octets come out, and the loop wakes it at the
deadline it names. After anything that may have changed it, `pump` runs once: events to the owner, octets to the
transport, reading on or off, the timer. Octets are only taken from the machine while the transport takes them, and the
machine says itself when it will not read on, so a peer that does not read us makes us stop reading it.

A connection that is over gets a moment for its last octets; after that the transport is aborted, so that a peer that
reads nothing keeps nothing. A machine may outlive its transport: a Server's stopped sessions go on for their Timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from twoway.config.defaults import NANOS

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

    from twoway.control.connection import TimerKey
    from twoway.control.events import Event

LINGER_NS = 5 * NANOS
"""For the last octets of a connection that is over."""


class Machine(Protocol):
    """What both ends' machines have (`twoway.control.connection.Connection`)."""

    @property
    def closed(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def reading(self) -> bool: ...
    def next_event(self) -> Event | None: ...
    def next_deadline_ns(self) -> int | None: ...
    def due(self, now_ns: int) -> tuple[TimerKey, ...]: ...
    def connection_made(self, now_ns: int) -> None: ...
    def receive_data(self, octets: bytes, now_ns: int) -> None: ...
    def receive_eof(self, now_ns: int, *, lost: bool = False) -> None: ...
    def data_to_send(self) -> bytes: ...
    def handle_timer(self, now_ns: int) -> None: ...
    def close(self, now_ns: int) -> None: ...


class Cancellable(Protocol):
    """What `Clock.call_at` returns."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """A clock that does not go back, and what it wakes."""

    def now_ns(self) -> int: ...
    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> Cancellable: ...


class LoopClock:
    """The running loop's own clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now_ns(self) -> int:
        """Nanoseconds since some moment."""
        return int(self._loop.time() * NANOS)

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> Cancellable:
        """Call back once, not before the deadline."""
        # A loop's clock is a float: a microsecond later is late enough never to be early.
        return self._loop.call_at(deadline_ns / NANOS + 1e-6, callback)


class ControlStream(asyncio.Protocol):
    """A transport and its machine. The owner is told of events, and that nothing is left to do."""

    def __init__(
        self,
        machine: Machine,
        clock: Clock,
        *,
        on_event: Callable[[Event], None],
        on_finished: Callable[[], None],
        before_timers: Callable[[tuple[TimerKey, ...]], None] | None = None,
        pauses: bool = True,
    ) -> None:
        """`pauses`: whether to stop reading while the machine wants nothing. Who must notice at once that the far end
        has gone reads on; the machine bounds what comes.
        """
        self.machine = machine
        self.clock = clock
        self._on_event = on_event
        self._on_finished = on_finished
        self._before_timers = before_timers
        self._transport: asyncio.Transport | None = None
        self._timer: Cancellable | None = None
        self._linger: Cancellable | None = None
        self._deadline_ns: int | None = None
        self._pauses = pauses
        self._writable = True
        self._reading = True
        self._pumping = False
        self._over = False

    @property
    def socket(self) -> TransportSocket | None:
        """That of the transport, for its options; None when there is none."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is connected."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self.machine.connection_made(self.clock.now_ns())
        self.pump()

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        self.machine.receive_data(data, self.clock.now_ns())
        self.pump()

    def eof_received(self) -> bool | None:
        """The far end will say no more; what we still have to say is sent."""
        self.machine.receive_eof(self.clock.now_ns())
        self.pump()
        return self._transport is not None and not self._transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is no more."""
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        self.machine.receive_eof(self.clock.now_ns(), lost=exc is not None)
        self.pump()

    def pause_writing(self) -> None:
        """The transport has enough."""
        self._writable = False

    def resume_writing(self) -> None:
        """The transport takes octets again."""
        self._writable = True
        self.pump()

    def close(self) -> None:
        """End the connection from our side, and its timers."""
        self.machine.close(self.clock.now_ns())
        self.pump()

    def abort(self) -> None:
        """End everything at once."""
        self.close()
        if self._transport is not None:
            self._transport.abort()
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()

    def pump(self) -> None:
        """Do what the machine wants done: after each call to it, but for those that the owner makes in an event."""
        if self._pumping:
            return
        self._pumping = True
        try:
            moved = True
            while moved:
                moved = False
                while (event := self.machine.next_event()) is not None:
                    self._on_event(event)
                    moved = True
                while self._writable and (octets := self.machine.data_to_send()):
                    moved = True
                    if self._transport is not None:
                        self._transport.write(octets)
        finally:
            self._pumping = False
        self._flow()
        self._arm()
        if self.machine.finished and self._transport is None and not self._over:
            self._over = True
            self._on_finished()

    def _flow(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.machine.closed:
            if self._writable:
                transport.close()
            if self._linger is None:
                self._linger = self.clock.call_at(self.clock.now_ns() + LINGER_NS, transport.abort)
            return
        if self._pauses and self.machine.reading is not self._reading:
            self._reading = self.machine.reading
            if self._reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _arm(self) -> None:
        deadline_ns = self.machine.next_deadline_ns()
        if deadline_ns == self._deadline_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._deadline_ns = deadline_ns
        self._timer = None if deadline_ns is None else self.clock.call_at(deadline_ns, self._expired)

    def _expired(self) -> None:
        self._timer = self._deadline_ns = None
        now_ns = self.clock.now_ns()
        if self._before_timers is not None:
            self._before_timers(self.machine.due(now_ns))
        self.machine.handle_timer(now_ns)
        self.pump()


def keep_alive(connection: socket.socket, idle_s: int, interval_s: int, count: int) -> None:
    """Have the kernel notice a peer that is gone (Junos: tcp-keepidle, tcp-keepintvl, tcp-keepcnt)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


def mark(connection: socket.socket, traffic_class: int) -> None:
    """Send with this traffic class octet, where the system lets us."""
    with contextlib.suppress(OSError):
        if connection.family == socket.AF_INET6:
            connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, traffic_class)
        # Also on an IPv6 socket, which may carry IPv4.
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, traffic_class)


def address_of(where: tuple[object, ...]) -> IPv4Address | IPv6Address:
    """A socket address's host, with the scope of a link-local one."""
    host, scope_id = str(where[0]), where[3] if len(where) > 3 else 0
    address = ip_address(host.partition("%")[0])
    if scope_id and address.version == 6 and address.is_link_local:
        return ip_address(f"{address}%{scope_id}")
    return address


def reason_of(error: OSError) -> str:
    """The kernel's word for an error of a TCP socket, and what to do about it."""
    remedies = {
        errno.ECONNREFUSED: "nothing listens there: is the Server running on this port?",
        errno.ECONNRESET: "the far end closed the connection: it may not serve this address",
        errno.ETIMEDOUT: "no answer: a firewall may drop the packets",
        errno.EADDRINUSE: "another program has this port: `ss -tlpn` shows which",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "no interface of this host has this address: `ip address` lists those it has",
    }
    import os

    number = error.errno or 0
    words = os.strerror(number) if number > 0 else str(error)
    return f"{words}: {remedies[number]}" if number in remedies else words
