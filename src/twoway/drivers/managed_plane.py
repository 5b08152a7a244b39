"""Negotiated test-sessions on the packet plane: what `plane` is for sessions without a control connection.

Theory of operation. A `NegotiatedSession` becomes the native specification. There are two planes: one for
Session-Senders and one for what answers or receives. Each has few workers for all its sessions and one descriptor,
which the loop watches; news of a session calls its `news`.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from twoway import _native
from twoway.analysis.result import Event, Result, SessionDescription
from twoway.config import defaults
from twoway.control.codec import interval_ns
from twoway.control.owamp_codec import PacketRecords, SkipRange
from twoway.control.registry import Protocol as ControlProtocol
from twoway.control.registry import SlotType
from twoway.drivers.plane import COALESCE_NS, MAX_EVENTS, local_clock, sender_spec
from twoway.drivers.sockets import host_of, scope_of
from twoway.path import PLAIN
from twoway.session import SessionSpec
from twoway.tlvs import NO_TLVS

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway._native import IntervalSummary as IntervalSummary
    from twoway._native import RecordBatch as RecordBatch
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
            octets = session.server_octets.to_bytes(2) if session.server_octets else None
            native = self._plane.open_sender(
                sender_spec(spec).negotiated(
                    symmetrical_size=session.symmetrical_size,
                    server_octets=octets,
                    reflected=session.reflected_octets,
                )
            )
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
    header = 14 if session.keys is None else 48
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
        payload_len=header + agreed.padding_length,
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
    return SessionDescription(
        protocol=session.protocol.value,
        target=target,
        address=far[0],
        port=far[1],
        local_address=near[0],
        local_port=near[1],
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
        tlvs=(),
        reply_dscp=None,
        path=str(spec.path),
        return_path=None,
        obtained=obtained,
    )


def _nothing() -> object:
    """Nobody waits yet."""
    return None


class SessionSender:
    """One Session-Sender of a negotiated session."""

    def __init__(self, native: _native.Sender, description: SessionDescription, percentiles: tuple[float, ...]) -> None:
        self._native = native
        self._percentiles = percentiles
        self._events: list[Event] = []
        self._finished = False
        self.description = description
        self.number = native.id
        self.news: Callable[[], object] = _nothing
        """Called when there are samples or events, or it has finished."""
        self.forget: Callable[[], object] = _nothing

    @property
    def finished(self) -> bool:
        """Whether the last `take` was the last one."""
        return self._finished

    @property
    def coalesce_ns(self) -> int:
        """How long to let samples gather before the next `take`."""
        return COALESCE_NS if self.description.interval_ns * 10 < COALESCE_NS else 0

    def start(self, start_ns: int | None = None) -> None:
        """Begin the schedule now, or when the wall clock reads that."""
        if start_ns is None:
            self._native.start()
        else:
            self._native.start_at(start_ns)

    def stop(self) -> None:
        """Send no more, and go on waiting for replies."""
        self._native.stop()

    def abort(self) -> None:
        """Stop at once: packets still awaited become pending."""
        self._native.abort()

    def progress(self) -> tuple[int, tuple[SkipRange, ...]]:
        """Next Seqno and skip ranges (RFC 4656 section 3.8)."""
        next_seqno, ranges = self._native.progress()
        return next_seqno, tuple(SkipRange(first, last) for first, last in ranges)

    def take(self) -> SampleBatch:
        """The samples since the last call."""
        # In this order: what `finished` promises is in this batch.
        self._finished = self._native.finished
        if self._finished:
            self.forget()
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

    def result(self, *, interrupted: bool, summary: IntervalSummary | None = None) -> Result:
        """The result so far; `summary` if another one knows better."""
        self.take_events()
        return result_of(
            self.description,
            summary or self.summary(),
            self._percentiles,
            events=tuple(self._events),
            interrupted=interrupted,
        )

    # As a Server's, in OWAMP.

    @property
    def obtained(self) -> dict[str, str]:
        """Option -> what stands instead."""
        return self._native.obtained

    @property
    def running(self) -> bool:
        """Whether it may still send."""
        return not self._native.finished

    def counters(self) -> dict[str, int]:
        """What it has done."""
        return {"sent": self.summary().counter("sent")}

    def close(self) -> None:
        """End it. Its socket goes with the last reference."""
        self._native.abort()
        self.forget()


def result_of(
    description: SessionDescription,
    summary: IntervalSummary,
    percentiles: tuple[float, ...],
    *,
    events: tuple[Event, ...] = (),
    interrupted: bool,
) -> Result:
    """A result of now."""
    return Result(
        session=description,
        summary=summary,
        clock=local_clock(),
        events=events,
        started_ns=summary.start_ns,
        ended_ns=summary.end_ns,
        interrupted=interrupted,
        percentiles=percentiles,
    )


class SessionReflector:
    """One Session-Reflector of a negotiated session."""

    def __init__(self, native: _native.ManagedReflector) -> None:
        self._native = native
        self.number = native.id
        self.news: Callable[[], object] = _nothing
        """Called when it has ended."""
        self.forget: Callable[[], object] = _nothing

    @property
    def obtained(self) -> dict[str, str]:
        """Option -> what stands instead."""
        return self._native.obtained

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._native.end == "running"

    @property
    def end(self) -> str:
        """Why it has ended: `running`, `stopped`, `refwait`, `closed` or `failed`."""
        return self._native.end

    def start(self, start_ns: int | None = None) -> None:
        """Reflect. A Session-Sender may be early by its clock, so the Start Time is not waited for."""
        del start_ns
        self._native.start()

    def stop(self) -> None:
        """Stop-Sessions came: reflect for the Timeout still (RFC 5357 section 3.8)."""
        self._native.stop()

    def counters(self) -> dict[str, int]:
        """Disposition -> packets."""
        return self._native.counters()

    def close(self) -> None:
        """End it now."""
        self._native.close()
        self.forget()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a Session-Receiver recorded."""

    batch: RecordBatch
    outcome: str
    """`running`, `complete`, `abandoned` or `invalid`."""
    next_seqno: int
    skip_ranges: tuple[SkipRange, ...]

    @property
    def records(self) -> PacketRecords:
        """As Fetch-Session sends them."""
        return PacketRecords(self.batch.octets())

    def summary(self, start_ns: int) -> IntervalSummary:
        """In numbers."""
        ranges = [(skipped.first, skipped.last) for skipped in self.skip_ranges]
        return self.batch.summary(skip_ranges=ranges, start_ns=start_ns, end_ns=max(start_ns, time.time_ns()))

    def between(self, begin: int, end: int) -> Recorded:
        """The packets numbered from `begin` to `end`."""
        return replace(self, batch=self.batch.between(begin, end))


def recorded_of(records: PacketRecords, next_seqno: int, skip_ranges: tuple[SkipRange, ...]) -> Recorded:
    """What another Session-Receiver recorded, as Fetch-Session brought it."""
    batch = _native.RecordBatch.parse(records.octets, near_ns=time.time_ns())
    return Recorded(batch, "complete", next_seqno, skip_ranges)


class SessionReceiver:
    """One Session-Receiver of a negotiated session."""

    def __init__(self, native: _native.SessionReceiver) -> None:
        self._native = native
        self.number = native.id
        self.news: Callable[[], object] = _nothing
        """Called when every packet is received or lost, and when it has ended."""
        self.forget: Callable[[], object] = _nothing

    @property
    def obtained(self) -> dict[str, str]:
        """Option -> what stands instead."""
        return self._native.obtained

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._native.end == "running"

    @property
    def decided(self) -> bool:
        """Whether every packet of the schedule is received or lost."""
        return self._native.decided

    def start(self, start_ns: int | None = None) -> None:
        """The schedule begins now, or when the wall clock reads that."""
        if start_ns is None:
            self._native.start()
        else:
            self._native.start_at(start_ns)

    def stop(self) -> None:
        """Nothing: OWAMP's Stop-Sessions is `complete`."""

    def complete(self, next_seqno: int, skip_ranges: tuple[SkipRange, ...]) -> str:
        """The Session-Sender's account is here. The outcome: `complete` or `invalid`."""
        return self._native.complete(next_seqno, [(skipped.first, skipped.last) for skipped in skip_ranges])

    def abandon(self) -> str:
        """There will be no account."""
        return self._native.abandon()

    def recorded(self) -> Recorded:
        """The records so far, or for good."""
        batch, outcome, next_seqno, ranges = self._native.recorded()
        return Recorded(batch, outcome, next_seqno, tuple(SkipRange(first, last) for first, last in ranges))

    def summary(self) -> IntervalSummary:
        """The records so far in numbers."""
        return self._native.summary()

    def counters(self) -> dict[str, int]:
        """Disposition -> packets."""
        return self._native.counters()

    def close(self) -> None:
        """End it now."""
        self._native.close()
        self.forget()


FarEnd = SessionReflector | SessionReceiver | SessionSender
"""What a Server runs for a session."""
