"""The messages that OWAMP-Control alone has: schedules, Stop-Sessions with skip ranges, Fetch-Session.

Read `codec` first: messages, segments and readers are explained there. Sections: Request-Session RFC 4656 3.5 and 3.6,
Stop-Sessions 3.8, Fetch-Session and its answer 3.9. Lists that a peer makes long are read in pieces of bounded size;
those beyond the limits are read and forgotten where the RFC wants the connection to live on (schedule slots), and end
the connection where there is nothing else to do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, overload

from twoway.control.codec import BLOCK, Field, Reader, Segments, StartSessions, UnknownCommand
from twoway.control.registry import Accept, OwampCommand
from twoway.control.rules import Rule, violate

if TYPE_CHECKING:
    from twoway.control.configuration import Limits

_REQUEST = struct.Struct("!BBBBIIHH16s16s16sIQQI8x")
_SLOT = struct.Struct("!B7xQ")
_STOP_HEADER = struct.Struct("!BBxxI8x")
_STOP_RECORD = struct.Struct("!16sII")
_SKIP_RANGE = struct.Struct("!II")
_FETCH = struct.Struct("!B7xII16s")
_FETCH_ACK = struct.Struct("!BBxxIII")
_RECORD = struct.Struct("!IHHQQB")

PIECE: Final = 256 * BLOCK
"""Octets that are read or written at once of a list."""
WHOLE_SESSION: Final = (0, 0xFFFFFFFF)
"""Begin Seq and End Seq of a complete session (RFC 4656 section 3.9)."""
LOST_SEND_ERROR: Final = 0x0001
"""Send Error Estimate of a packet that never came: Multiplier 1, Scale 64 in six bits, S 0 (RFC 4656 section 3.9)."""


@dataclass(frozen=True, slots=True)
class ScheduleSlot:
    """One step of a send schedule (RFC 4656 section 3.6)."""

    kind: int
    """A `SlotType`, if it is one that is known."""
    parameter: int
    """An interval: the mean, or the delay."""


@dataclass(frozen=True, slots=True)
class RequestSession:
    """Request-Session (RFC 4656 section 3.5)."""

    ip_version: int
    conf_sender: bool
    """Whether the Server shall configure the Session-Sender."""
    conf_receiver: bool
    """Whether the Server shall configure the Session-Receiver."""
    packets: int
    sender_port: int
    receiver_port: int
    sender_address: bytes
    """16 octets; an IPv4 address is in the first four."""
    receiver_address: bytes
    sid: bytes
    """Of the receiver's making: zero unless that is the client."""
    padding_length: int
    start_time: int
    """A timestamp."""
    timeout: int
    """An interval: a packet later than this is lost."""
    type_p: int
    slots: tuple[ScheduleSlot, ...]
    slots_announced: int = -1
    """Number of Schedule Slots as received, if more than could be kept; -1: as many as there are in `slots`."""

    def segments(self) -> Segments:
        """96 octets and an HMAC, the slots and an HMAC."""
        head = _REQUEST.pack(
            OwampCommand.REQUEST_SESSION,
            self.ip_version,
            self.conf_sender,
            self.conf_receiver,
            len(self.slots),
            self.packets,
            self.sender_port,
            self.receiver_port,
            self.sender_address,
            self.receiver_address,
            self.sid,
            self.padding_length,
            self.start_time,
            self.timeout,
            self.type_p,
        )
        return head, b"".join(_SLOT.pack(slot.kind, slot.parameter) for slot in self.slots)


@dataclass(frozen=True, slots=True)
class SkipRange:
    """Packets that were never sent, from `first` to `last` (RFC 4656 section 3.8)."""

    first: int
    last: int


def ordered(skip_ranges: Iterable[SkipRange]) -> bool:
    """Whether ranges are in order, do not overlap and are not empty (RFC 4656 sections 3.8 and 3.9)."""
    end = -1
    for skipped in skip_ranges:
        if not end < skipped.first <= skipped.last:
            return False
        end = skipped.last
    return True


@dataclass(frozen=True, slots=True)
class SendRecord:
    """What a Session-Sender sent: a session description record of Stop-Sessions (RFC 4656 section 3.8)."""

    sid: bytes
    next_seqno: int
    """The sequence number that would have been next."""
    skip_ranges: tuple[SkipRange, ...] = ()

    def octets(self) -> bytes:
        """The record, filled to whole blocks with zeros."""
        octets = _STOP_RECORD.pack(self.sid, self.next_seqno, len(self.skip_ranges)) + _ranges_octets(self.skip_ranges)
        return _padded(octets)


@dataclass(frozen=True, slots=True)
class OwampStopSessions:
    """OWAMP's Stop-Sessions, which each side sends (RFC 4656 section 3.8)."""

    accept: Accept
    records: tuple[SendRecord, ...]

    def segments(self) -> Segments:
        """A block, the records and an HMAC."""
        header = _STOP_HEADER.pack(OwampCommand.STOP_SESSIONS, self.accept, len(self.records))
        return (header + b"".join(record.octets() for record in self.records),)


@dataclass(frozen=True, slots=True)
class FetchSession:
    """Fetch-Session (RFC 4656 section 3.9)."""

    begin: int
    end: int
    sid: bytes

    def segments(self) -> Segments:
        """32 octets and an HMAC."""
        return (_FETCH.pack(OwampCommand.FETCH_SESSION, self.begin, self.end, self.sid),)


@dataclass(frozen=True, slots=True)
class FetchAck:
    """Fetch-Ack (RFC 4656 section 3.9)."""

    accept: Accept
    finished: bool = False
    next_seqno: int = 0
    skip_ranges: int = 0
    records: int = 0

    def segments(self) -> Segments:
        """16 octets and an HMAC."""
        return (_FETCH_ACK.pack(self.accept, self.finished, self.next_seqno, self.skip_ranges, self.records),)


@dataclass(frozen=True, slots=True)
class PacketRecord:
    """One packet as the Session-Receiver saw it (RFC 4656 section 3.9)."""

    sequence: int
    send_error: int
    """Send Error Estimate, 16 bits."""
    receive_error: int
    send_timestamp: int
    receive_timestamp: int
    """0: the packet never came."""
    ttl: int

    def octets(self) -> bytes:
        """All 25 of them."""
        return _RECORD.pack(
            self.sequence, self.send_error, self.receive_error, self.send_timestamp, self.receive_timestamp, self.ttl
        )

    @property
    def lost(self) -> bool:
        """Whether it is the record of a packet that never came."""
        return self.receive_timestamp == 0


class PacketRecords(Sequence[PacketRecord]):
    """Packet records as the octets that they were on the wire, 25 for each; decoded when looked at."""

    __slots__ = ("octets",)

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __len__(self) -> int:
        return len(self.octets) // _RECORD.size

    @overload
    def __getitem__(self, index: int) -> PacketRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PacketRecord]: ...
    def __getitem__(self, index: int | slice) -> PacketRecord | Sequence[PacketRecord]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return PacketRecord(*_RECORD.unpack_from(self.octets, at * _RECORD.size))

    def __iter__(self) -> Iterator[PacketRecord]:
        for fields in _RECORD.iter_unpack(self.octets):
            yield PacketRecord(*fields)

    def __eq__(self, other: object) -> bool:
        return self.octets == other.octets if isinstance(other, PacketRecords) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.octets)

    def __repr__(self) -> str:
        return f"<{len(self)} packet records>"


@dataclass(frozen=True, slots=True)
class FetchedSession:
    """A Fetch-Ack and the data that follow it, if it is an acceptance."""

    ack: FetchAck
    request: RequestSession | None
    skip_ranges: tuple[SkipRange, ...] = ()
    records: PacketRecords = field(default_factory=lambda: PacketRecords(b""))


OwampCommandMessage = RequestSession | StartSessions | OwampStopSessions | FetchSession | UnknownCommand


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % BLOCK)


def _ranges_octets(skip_ranges: Iterable[SkipRange]) -> bytes:
    return b"".join(_SKIP_RANGE.pack(skipped.first, skipped.last) for skipped in skip_ranges)


def skip_ranges_segment(skip_ranges: Iterable[SkipRange]) -> bytes:
    """Second part of the data after Fetch-Ack, before its HMAC."""
    return _padded(_ranges_octets(skip_ranges))


def record_octets(count: int) -> int:
    """Octets that so many packet records take, with the zeros that fill the last block."""
    length = count * _RECORD.size
    return length + -length % BLOCK


def record_pieces(records: Iterable[PacketRecord]) -> Iterator[bytes]:
    """Third part of the data after Fetch-Ack, before its HMAC, in pieces of whole blocks."""
    kept = bytearray()
    for record in records:
        kept += record.octets()
        if len(kept) >= PIECE:
            whole = len(kept) // BLOCK * BLOCK
            yield bytes(kept[:whole])
            del kept[:whole]
    if kept:
        yield _padded(bytes(kept))


def read_owamp_command(limits: Limits) -> Reader[OwampCommandMessage]:
    """Whatever a Control-Client or Fetch-Client says after set-up."""
    block = yield BLOCK
    match block[0]:
        case OwampCommand.REQUEST_SESSION:
            return (yield from _read_request(block, limits))
        case OwampCommand.START_SESSIONS:
            yield Field.HMAC
            return StartSessions()
        case OwampCommand.STOP_SESSIONS:
            return (yield from _read_stop(block, limits))
        case OwampCommand.FETCH_SESSION:
            _, begin, end, sid = _FETCH.unpack(block + (yield BLOCK))
            yield Field.HMAC
            return FetchSession(begin, end, sid)
        case number:
            return UnknownCommand(number)


def read_stop_sessions(limits: Limits) -> Reader[OwampStopSessions]:
    """The one command that a Server sends (RFC 4656 section 3.4)."""
    block = yield BLOCK
    if block[0] != OwampCommand.STOP_SESSIONS:
        violate(Rule.COMMAND_UNEXPECTED, f"number {block[0]} from a Server")
    return (yield from _read_stop(block, limits))


def _read_request(block: bytes, limits: Limits) -> Reader[RequestSession]:
    rest = yield _REQUEST.size - BLOCK
    yield Field.HMAC
    (
        _,
        version,
        conf_sender,
        conf_receiver,
        slot_count,
        packets,
        sender_port,
        receiver_port,
        sender_address,
        receiver_address,
        sid,
        padding_length,
        start_time,
        timeout,
        type_p,
    ) = _REQUEST.unpack(block + rest)
    kept = slot_count <= limits.schedule_slots
    slots: list[ScheduleSlot] = []
    remaining = slot_count * BLOCK
    while remaining:
        piece = yield min(PIECE, remaining)
        remaining -= len(piece)
        if kept:
            slots += [ScheduleSlot(kind, parameter) for kind, parameter in _SLOT.iter_unpack(piece)]
    yield Field.HMAC
    return RequestSession(
        ip_version=version & 15,
        conf_sender=conf_sender != 0,
        conf_receiver=conf_receiver != 0,
        packets=packets,
        sender_port=sender_port,
        receiver_port=receiver_port,
        sender_address=sender_address,
        receiver_address=receiver_address,
        sid=sid,
        padding_length=padding_length,
        start_time=start_time,
        timeout=timeout,
        type_p=type_p,
        slots=tuple(slots),
        slots_announced=-1 if kept else slot_count,
    )


def _read_stop(block: bytes, limits: Limits) -> Reader[OwampStopSessions]:
    _, accept, count = _STOP_HEADER.unpack(block)
    if count > limits.sessions:
        violate(Rule.STOP_COUNT, f"{count} sessions")
    records = []
    skipped_in_all = 0
    for _ in range(count):
        # A record is whole blocks, and its fixed part one and a half: the next half block belongs to it as well.
        head = yield 2 * BLOCK
        sid, next_seqno, range_count = _STOP_RECORD.unpack_from(head)
        skipped_in_all += range_count
        if skipped_in_all > limits.skip_ranges:
            violate(Rule.TOO_MANY_SKIP_RANGES, f"{skipped_in_all}")
        length = range_count * _SKIP_RANGE.size
        octets = head[_STOP_RECORD.size :]
        missing = length - len(octets)
        if missing > 0:
            octets += yield missing + -missing % BLOCK
        ranges = tuple(SkipRange(*fields) for fields in _SKIP_RANGE.iter_unpack(octets[:length]))
        records.append(SendRecord(sid, next_seqno, ranges))
    yield Field.HMAC
    return OwampStopSessions(Accept.from_wire(accept), tuple(records))


def read_fetched_session(limits: Limits) -> Reader[FetchedSession]:
    """Fetch-Ack and all that follows it."""
    accept, finished, next_seqno, range_count, record_count = _FETCH_ACK.unpack((yield BLOCK))
    yield Field.HMAC
    meaning = Accept.from_wire(accept)
    if meaning is not Accept.OK:
        return FetchedSession(FetchAck(meaning), None)
    if range_count > limits.skip_ranges:
        violate(Rule.TOO_MANY_SKIP_RANGES, f"{range_count}")
    if record_count > limits.records:
        violate(Rule.TOO_MANY_RECORDS, f"{record_count}")
    block = yield BLOCK
    if block[0] != OwampCommand.REQUEST_SESSION:
        violate(Rule.FETCH_REQUEST)
    request = yield from _read_request(block, limits)
    if request.slots_announced >= 0:
        violate(Rule.TOO_MANY_SLOTS, f"{request.slots_announced}")
    octets = yield from _read_list(range_count * _SKIP_RANGE.size)
    skip_ranges = tuple(SkipRange(*fields) for fields in _SKIP_RANGE.iter_unpack(octets))
    if not ordered(skip_ranges):
        violate(Rule.SKIP_RANGES)
    records = PacketRecords((yield from _read_list(record_count * _RECORD.size)))
    ack = FetchAck(meaning, finished != 0, next_seqno, range_count, record_count)
    return FetchedSession(ack, request, skip_ranges, records)


def _read_list(length: int) -> Reader[bytes]:
    """So many octets, the zeros that fill the last block, and an HMAC. The octets grow only as they arrive."""
    octets = bytearray()
    remaining = length + -length % BLOCK
    while remaining:
        piece = yield min(PIECE, remaining)
        remaining -= len(piece)
        octets += piece
    yield Field.HMAC
    return bytes(octets[:length])
