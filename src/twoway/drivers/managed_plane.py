"""Negotiated test-sessions on the packet plane: what `plane` is for sessions without a control connection.

Theory of operation. A `NegotiatedSession` becomes the native specification. All Session-Senders of a control connection
share one plane and so one worker and one descriptor, which the loop watches; news of a session calls its `news`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Self

from twoway import _native
from twoway.analysis.result import Event, Result, SessionDescription
from twoway.config import defaults
from twoway.control.registry import Protocol
from twoway.drivers.plane import COALESCE_NS, MAX_EVENTS, local_clock, sender_spec
from twoway.errors import PlaneError
from twoway.session import SessionSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from twoway._native import IntervalSummary as IntervalSummary
    from twoway._native import SampleBatch as SampleBatch
    from twoway.config.managed import SessionRequest
    from twoway.control.configuration import Address
    from twoway.control.negotiated import NegotiatedSession

_NTP_EPOCH_S = 2_208_988_800
"""1970 in the seconds of NTP, which count from 1900 (RFC 5905 section 6)."""


def timestamp_of(wall_ns: int) -> int:
    """A moment in the 64 bits of an NTP timestamp."""
    return ((wall_ns << 32) // defaults.NANOS + (_NTP_EPOCH_S << 32)) & (2**64 - 1)


def wall_ns_of(timestamp: int, near_ns: int) -> int:
    """The moment of an NTP timestamp, of the era that brings it nearest to `near_ns`."""
    ahead = (timestamp - timestamp_of(near_ns)) & (2**64 - 1)
    if ahead >> 63:
        ahead -= 1 << 64
    return near_ns + (ahead * defaults.NANOS >> 32)


def scope_of(address: Address) -> int:
    """The interface index of a link-local address, else 0."""
    scope = address.scope_id if isinstance(address, IPv6Address) else None
    if not scope:
        return 0
    return int(scope) if scope.isdigit() else socket.if_nametoindex(scope)


def host_of(address: Address) -> str:
    """The numeric address without its scope."""
    return str(address).partition("%")[0]


class ReservedPort:
    """A UDP port held by a socket that nothing is read from, until the packet plane opens its own."""

    def __init__(self, address: str, number: int) -> None:
        wanted = ip_address(address)
        self._socket = socket.socket(
            socket.AF_INET6 if wanted.version == 6 else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        )
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


def reserve_port(address: str, number: int) -> ReservedPort:
    """Hold a port of this address, any if `number` is 0. Raises `PlaneError`."""
    return ReservedPort(address, number)


class SenderPlane:
    """The Session-Senders of one control connection."""

    def __init__(self, *, busy_poll: bool = False) -> None:
        self._plane = _native.Plane(workers=1, busy_poll=busy_poll)
        self._senders: dict[int, SessionSender] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._plane.fileno(), self._news)
        self._closed = False

    def _news(self) -> None:
        for number in self._plane.acknowledge():
            sender = self._senders.get(number)
            if sender is not None:
                sender.news()

    def open(
        self, session: NegotiatedSession, request: SessionRequest, target: str, *, interface: str | None
    ) -> SessionSender:
        """Open a Session-Sender that waits to be started. Raises `ConfigError` and `PlaneError`."""
        spec = session_spec(session, request, interface)
        sender = SessionSender(self._plane.open_sender(sender_spec(spec)), spec, session, request, target)
        self._senders[sender.number] = sender
        return sender

    def close(self) -> None:
        """Stop the worker and close the sockets. Idempotent."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._plane.fileno())
            self._plane.close()


def session_spec(session: NegotiatedSession, request: SessionRequest, interface: str | None) -> SessionSpec:
    """The complete Session-Sender of a negotiated TWAMP session."""
    agreed = session.request
    target, source = agreed.receiver_address, agreed.sender_address
    if target is None or source is None:
        raise ValueError("a negotiated session has both addresses")
    header = 14 if session.keys is None else 48
    return SessionSpec(
        target=host_of(target),
        target_port=agreed.receiver_port,
        scope_id=scope_of(target),
        source=host_of(source),
        source_port=agreed.sender_port,
        interface=interface,
        netns=None,
        format=session.packet_format,
        stamp_key=None,
        twamp_aes_key=None if session.keys is None else session.keys.aes,
        twamp_hmac_key=None if session.keys is None else session.keys.hmac,
        ssid=0,
        timestamp_format=request.clock_format,
        payload_len=header + agreed.padding_length,
        fill=request.fill,
        count=request.count,
        schedule=request.schedule,
        interval_ns=request.interval_ns,
        seed=int.from_bytes(os.urandom(8), "big") if request.seed is None else request.seed,
        timeout_ns=request.timeout_ns,
        dscp_ecn=request.dscp << 2 | request.ecn,
        ttl=request.ttl,
        timestamps=request.timestamps,
        reflector_mode=request.reflector_mode,
        dscp_ecn_monitoring=session.dscp_ecn_monitoring,
        sample_capacity=request.sample_capacity,
        receive_buffer=request.receive_buffer,
    )


class SessionSender:
    """One Session-Sender of a negotiated session."""

    def __init__(
        self,
        native: _native.Sender,
        spec: SessionSpec,
        session: NegotiatedSession,
        request: SessionRequest,
        target: str,
    ) -> None:
        self._native = native
        self._spec = spec
        self._request = request
        self._events: list[Event] = []
        self._finished = False
        self.number = native.id
        self.news: Callable[[], None] = _nothing
        """Called when there are samples or events, or it has finished."""
        self.description = SessionDescription(
            protocol="owamp" if session.protocol is Protocol.OWAMP else "twamp",
            target=target,
            address=spec.target,
            port=spec.target_port,
            local_address=native.local_address[0],
            local_port=native.local_address[1],
            ssid=0,
            format=spec.format,
            dscp_ecn=spec.dscp_ecn,
            ttl=spec.ttl,
            payload_len=spec.payload_len,
            interval_ns=spec.interval_ns,
            schedule=spec.schedule,
            count=spec.count,
            timeout_ns=spec.timeout_ns,
            timestamps=spec.timestamps,
            reflector_mode=spec.reflector_mode,
            obtained=native.obtained,
        )

    @property
    def finished(self) -> bool:
        """Whether the last `take` was the last one."""
        return self._finished

    @property
    def coalesce_ns(self) -> int:
        """How long to let samples gather before the next `take`."""
        return COALESCE_NS if self._spec.interval_ns * 10 < COALESCE_NS else 0

    def start(self) -> None:
        """Send the first packet now."""
        self._native.start()

    def stop(self) -> None:
        """Send no more, and go on waiting for replies."""
        self._native.stop()

    def abort(self) -> None:
        """Stop at once: packets still awaited become pending."""
        self._native.abort()

    def take(self) -> SampleBatch:
        """The samples since the last call."""
        # In this order: what `finished` promises is in this batch.
        self._finished = self._native.finished
        return self._native.drain()

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        fresh = [Event(*event) for event in self._native.take_events()]
        self._events.extend(fresh[: MAX_EVENTS - len(self._events)])
        return fresh

    def summary(self) -> IntervalSummary:
        """Everything so far."""
        return self._native.summary()

    def take_interval(self) -> IntervalSummary:
        """What came since the last call."""
        return self._native.take_interval()

    def result(self, *, interrupted: bool) -> Result:
        """The result so far."""
        self.take_events()
        summary = self.summary()
        return Result(
            session=self.description,
            summary=summary,
            clock=local_clock(),
            events=tuple(self._events),
            started_ns=summary.start_ns,
            ended_ns=summary.end_ns,
            interrupted=interrupted,
            percentiles=self._request.percentiles,
        )


def _nothing() -> None:
    """Nobody waits yet."""
