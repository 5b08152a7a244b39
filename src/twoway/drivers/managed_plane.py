"""Negotiated test-sessions on the packet plane: what `plane` is for sessions without a control connection.

Theory of operation. A `NegotiatedSession` becomes the native specification. There are two planes: one for
Session-Senders and one for what answers or receives. Each has few workers for all its sessions and one descriptor,
which the loop watches; news of a session calls its `news`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twoway.config import defaults
from twoway.control.codec import interval_ns
from twoway.control.registry import Protocol as ControlProtocol
from twoway.control.registry import SlotType
from twoway.drivers import plane
from twoway.drivers.managed_ends import SessionReceiver, SessionReflector, SessionSender
from twoway.drivers.native import _native
from twoway.drivers.plane import header_len, sender_spec
from twoway.drivers.sockets import host_of, scope_of
from twoway.path import PLAIN
from twoway.session import SessionSpec
from twoway.tlvs import NO_TLVS

if TYPE_CHECKING:
    from twoway.analysis.result import SessionDescription
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


class Planes(Protocol):
    """What both native planes have."""

    def fileno(self) -> int: ...
    def acknowledge(self) -> list[int]: ...
    def close(self) -> None: ...


class _Watch:
    """A native plane's descriptor on the running loop: its news reach the sessions that they are about."""

    def __init__(self, plane: Planes) -> None:
        self._plane = plane
        self._sessions: dict[int, SessionSender | SessionReceiver | SessionReflector] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(plane.fileno(), self._news)
        self._closed = False

    def _news(self) -> None:
        for number in self._plane.acknowledge():
            session = self._sessions.get(number)
            if session is not None:
                session.news()

    def add(self, session: SessionSender | SessionReceiver | SessionReflector) -> None:
        self._sessions[session.number] = session
        session.forget = lambda: self._sessions.pop(session.number, None)

    def close(self) -> None:
        """Stop the workers and close the sockets. Idempotent."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._plane.fileno())
            self._plane.close()


@dataclass(frozen=True, slots=True)
class Place:
    """Where sockets are opened."""

    interface: str | None = None
    """Device or VRF."""
    netns: str | None = None
    """Network namespace: a name of `ip netns`, or a path."""


class SenderPlane:
    """Session-Senders: of one control connection, of any number that share it, or of a Server.

    It is made on a running loop, whose it stays.
    """

    def __init__(self, *, busy_poll: bool = False) -> None:
        self._plane = _native.Plane(workers=1, busy_poll=busy_poll)
        self._watch = _Watch(self._plane)

    def open(self, session: NegotiatedSession, request: SessionRequest, target: str, place: Place) -> SessionSender:
        """Open a Session-Sender that waits to be started. Raises `ConfigError` and `PlaneError`."""
        spec = session_spec(session, request, place)
        if session.protocol is ControlProtocol.OWAMP:
            native = self._plane.open_one_way_sender(_one_way_spec(session, spec))
        else:
            native = self._plane.open_sender(two_way_spec(session, spec))
        sender = SessionSender(native, describe(session, spec, target, native.obtained), request.percentiles)
        self._watch.add(sender)
        return sender

    def close(self) -> None:
        """Stop the worker and close the sockets. Idempotent."""
        self._watch.close()


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """How packets are answered and received, beside what was negotiated."""

    place: Place
    timestamps: str = defaults.TIMESTAMPS
    clock_format: str = defaults.CLOCK_FORMAT
    receive_buffer: int = defaults.SENDER_RECEIVE_BUFFER
    refwait_ns: int = 0
    """REFWAIT (RFC 5357 section 4.2); 0: never."""


class ReceiverPlane:
    """Session-Reflectors (TWAMP) and Session-Receivers (OWAMP). Made on a running loop."""

    def __init__(self, *, workers: int = 1) -> None:
        self._plane = _native.ManagedPlane(workers=workers)
        self._watch = _Watch(self._plane)

    def open_reflector(self, session: NegotiatedSession, settings: ReceiverSettings) -> SessionReflector:
        """Open a Session-Reflector that waits to be started. Raises `ConfigError` and `PlaneError`."""
        agreed, (receiver, sender) = session.request, _ends(session)
        keys = session.keys
        spec = _native.ManagedReflectorSpec(
            local=host_of(receiver),
            local_port=agreed.receiver_port,
            scope_id=scope_of(receiver),
            interface=settings.place.interface,
            netns=settings.place.netns,
            sender=host_of(sender),
            sender_port=agreed.sender_port,
            format=session.packet_format,
            twamp_aes_key=None if keys is None else keys.aes,
            twamp_hmac_key=None if keys is None else keys.hmac,
            timestamp_format=settings.clock_format if session.ptp_timestamps else "ntp",
            symmetrical_size=session.symmetrical_size,
            dscp_ecn_monitoring=session.dscp_ecn_monitoring,
            dscp_ecn=agreed.dscp << 2,
            ttl=defaults.TTL,
            timeout_ns=agreed.timeout_ns,
            refwait_ns=settings.refwait_ns or None,
            timestamps=settings.timestamps,
            receive_buffer=settings.receive_buffer,
        )
        reflector = SessionReflector(self._plane.open_reflector(spec))
        self._watch.add(reflector)
        return reflector

    def open_receiver(
        self, session: NegotiatedSession, settings: ReceiverSettings, record_capacity: int
    ) -> SessionReceiver:
        """Open a Session-Receiver that waits to be started. Raises `ConfigError` and `PlaneError`."""
        agreed, (receiver, sender) = session.request, _ends(session)
        keys = session.keys
        spec = _native.SessionReceiverSpec(
            local=host_of(receiver),
            local_port=agreed.receiver_port,
            scope_id=scope_of(receiver),
            interface=settings.place.interface,
            netns=settings.place.netns,
            sender=host_of(sender),
            sender_port=agreed.sender_port,
            format=session.packet_format,
            twamp_aes_key=None if keys is None else keys.aes,
            twamp_hmac_key=None if keys is None else keys.hmac,
            sid=session.sid,
            slots=_slots(session),
            packets=agreed.packets,
            timeout_ns=agreed.timeout_ns,
            record_capacity=record_capacity,
            timestamps=settings.timestamps,
            receive_buffer=settings.receive_buffer,
        )
        opened = SessionReceiver(self._plane.open_receiver(spec))
        self._watch.add(opened)
        return opened

    def counters(self) -> dict[str, int]:
        """What no session has counted."""
        return self._plane.counters()

    def close(self) -> None:
        """Stop the workers and close the sockets. Idempotent."""
        self._watch.close()


def _ends(session: NegotiatedSession) -> tuple[Address, Address]:
    """Receiver and sender address."""
    receiver, sender = session.request.receiver_address, session.request.sender_address
    if receiver is None or sender is None:
        raise ValueError("a negotiated session has both addresses")
    return receiver, sender


def _slots(session: NegotiatedSession) -> list[tuple[int, int]]:
    return [(slot.kind, slot.parameter) for slot in session.request.slots]


def schedule_ns(session: NegotiatedSession) -> list[int]:
    """When each packet of an OWAMP session is due, after its start."""
    return _native.owamp_schedule(sid=session.sid, slots=_slots(session), packets=session.request.packets).tolist()


def session_spec(session: NegotiatedSession, request: SessionRequest, place: Place) -> SessionSpec:
    """The complete Session-Sender of a negotiated session. Raises `ConfigError`."""
    agreed, (target, source) = session.request, _ends(session)
    one_way = session.protocol is ControlProtocol.OWAMP
    return SessionSpec(
        target=host_of(target),
        target_port=agreed.receiver_port,
        scope_id=scope_of(target),
        source=host_of(source),
        source_port=agreed.sender_port,
        interface=place.interface,
        netns=place.netns,
        format=session.packet_format,
        stamp_key=None,
        twamp_aes_key=None if session.keys is None else session.keys.aes,
        twamp_hmac_key=None if session.keys is None else session.keys.hmac,
        ssid=0,
        timestamp_format=request.clock_format,
        payload_len=header_len(session.packet_format) + agreed.padding_length,
        fill=request.fill,
        count=agreed.packets if one_way else request.count,
        schedule=_schedule(session) if one_way else request.schedule,
        interval_ns=_mean_gap_ns(session) if one_way else request.interval_ns,
        seed=int.from_bytes(os.urandom(8), "big") if request.seed is None else request.seed,
        timeout_ns=request.timeout_ns,
        dscp_ecn=request.dscp << 2 | request.ecn,
        ttl=request.ttl,
        timestamps=request.timestamps,
        reflector_mode=request.reflector_mode,
        dscp_ecn_monitoring=session.dscp_ecn_monitoring,
        sample_capacity=request.sample_capacity,
        receive_buffer=request.receive_buffer,
        path=PLAIN if one_way else request.path,
        tlvs=NO_TLVS,
        tlv_key=None,
        payload_grows=False,
        next_hop_patience_ns=0,
        require_ssid=False,
    )


def two_way_spec(session: NegotiatedSession, spec: SessionSpec) -> _native.SenderSpec:
    """As the packet plane wants it. Raises `ConfigError`."""
    return sender_spec(spec).negotiated(
        symmetrical_size=session.symmetrical_size,
        server_octets=session.server_octets.to_bytes(2) if session.server_octets else None,
        reflected=session.reflected_octets,
    )


def _one_way_spec(session: NegotiatedSession, spec: SessionSpec) -> _native.OneWaySenderSpec:
    return _native.OneWaySenderSpec(
        target=spec.target,
        target_port=spec.target_port,
        scope_id=spec.scope_id,
        source=spec.source,
        source_port=spec.source_port,
        interface=spec.interface,
        netns=spec.netns,
        format=spec.format,
        twamp_aes_key=spec.twamp_aes_key,
        twamp_hmac_key=spec.twamp_hmac_key,
        timestamp_format=spec.timestamp_format,
        payload_len=spec.payload_len,
        fill=spec.fill,
        sid=session.sid,
        slots=_slots(session),
        packets=session.request.packets,
        seed=spec.seed,
        timeout_ns=spec.timeout_ns,
        dscp_ecn=spec.dscp_ecn,
        ttl=spec.ttl,
        timestamps=spec.timestamps,
        receive_buffer=spec.receive_buffer,
    )


def _schedule(session: NegotiatedSession) -> str:
    exponential = any(slot.kind == SlotType.EXPONENTIAL for slot in session.request.slots)
    return "poisson" if exponential else "periodic"


def _mean_gap_ns(session: NegotiatedSession) -> int:
    slots = session.request.slots
    return max(1, sum(interval_ns(slot.parameter) for slot in slots) // max(1, len(slots)))


def describe(
    session: NegotiatedSession, spec: SessionSpec, target: str, obtained: dict[str, str]
) -> SessionDescription:
    """What is measured: the far end is the one that is not ours."""
    agreed, (receiver, sender) = session.request, _ends(session)
    far, near = (host_of(receiver), agreed.receiver_port), (host_of(sender), agreed.sender_port)
    if agreed.server_sends:
        far, near = near, far
    return plane.describe(
        spec, session.protocol.value, target, far=far, near=near, payload_len=spec.payload_len, obtained=obtained
    )
