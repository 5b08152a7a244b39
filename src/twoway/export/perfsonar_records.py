"""Packet records in perfSONAR's terms: 64-bit timestamps with S bit and error in seconds, as its formats print them.

A packet that perfSONAR would hold for lost is a record without arrival. It knows no late packets: a first reply after
the timeout is lost, and replies to it are not recorded; nor are packets that were never sent, or whose fate was still
open when the measurement was interrupted (RFC 4656 section 3.8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twoway.analysis.samples import DUPLICATE, LOST, Flag, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from twoway.analysis.result import Result
    from twoway.analysis.samples import Batch, Column

NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900, where NTP counts from, to 1970 (RFC 868)."""
NEVER = 0
"""The timestamp of what did not happen."""
NO_TTL = 255
"""TTL where none is known (RFC 4656 section 4.2)."""
PRESUMED_ERROR_S = 2.0**-32
"""Error that a lost packet's departure claims: Multiplier 1, Scale 0 (RFC 4656 section 3.9)."""

_NANOS = 1_000_000_000
_FRACTION = 1 << 32
_ERA = (1 << 64) - 1


class Stamp(NamedTuple):
    """A moment by one clock."""

    timestamp: int
    """NTP format: 32 bits of seconds since 1900, 32 bits of fraction. `NEVER` if it did not happen."""
    synchronized: bool
    error_s: float

    @property
    def happened(self) -> bool:
        """Whether there is a moment at all."""
        return self.timestamp != NEVER


class OneWayRecord(NamedTuple):
    """One packet, or a further copy of it, as an OWAMP Session-Receiver recorded it (RFC 4656 section 4.2)."""

    sequence: int
    sent: Stamp
    received: Stamp
    ttl: int
    scheduled: int
    """Timestamp at which it was to leave."""


class TwoWayRecord(NamedTuple):
    """One packet with its reply, or a further reply to it."""

    sequence: int
    sent: Stamp
    reached: Stamp
    """Arrival at the Session-Reflector."""
    ttl: int
    """As the Session-Reflector saw it."""
    reflector_sequence: int
    reflected: Stamp
    """Departure from the Session-Reflector."""
    returned: Stamp
    returned_ttl: int
    scheduled: int
    """Timestamp at which it was to leave."""


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """What perfSONAR's formats say of a test-session beside its packets."""

    twoway: bool
    sid: bytes
    from_host: str
    from_address: str
    from_port: int
    to_host: str
    to_address: str
    to_port: int
    dscp: int
    timeout: int
    """An interval: 32 bits of seconds, 32 bits of fraction."""
    padding_octets: int
    packets: int
    """Packets asked for."""
    packets_per_s: float
    """Mean rate of the schedule."""
    started: int
    """Timestamp of its start, for want of packets."""
    finished: bool
    """Whether it ended as planned."""


def timestamp_of(at_ns: int) -> int:
    """Nanoseconds since 1970 as a timestamp, rounded to nearest."""
    return ((at_ns + NTP_EPOCH_S * _NANOS) * _FRACTION + _NANOS // 2) // _NANOS & _ERA


def interval_of(duration_ns: int) -> int:
    """Nanoseconds as an interval of 32 bits of seconds and 32 bits of fraction, cut as perfSONAR cuts it."""
    return duration_ns * _FRACTION // _NANOS


def seconds_between(start: int, end: int) -> float:
    """`end` - `start` of two timestamps, across the end of an era too; negative if `end` is the earlier."""
    difference = (end - start) & _ERA
    return (difference - _ERA - 1 if difference >> 63 else difference) / _FRACTION


def error_of(error_estimate: int) -> float:
    """Seconds that a 16-bit Error Estimate claims (RFC 4656 section 4.1.2), in perfSONAR's 64-bit arithmetic."""
    multiplier, scale = error_estimate & 0xFF, error_estimate >> 8 & 0x3F
    return (multiplier << scale & _ERA) / _FRACTION


UNKNOWN_ERROR_S = error_of(0x3FFF)
"""Of an Error Estimate that says nothing: perfSONAR prints it in the same way."""


def stamp_of(timestamp: int, error_estimate: int) -> Stamp:
    """A moment as a test packet or a fetched record has it."""
    return Stamp(timestamp, bool(error_estimate >> 15), error_of(error_estimate))


def twoway_records(result: Result, batches: Iterable[Batch]) -> list[TwoWayRecord]:
    """The records of a TWAMP test-session, in the order in which perfSONAR would have come to know them.

    Clocks are known for the whole session: here by the kernel, there by the replies (the largest Error Estimate of
    them).
    """
    local = (result.summary.fact("local_synchronized") == 1, _error_s(result.summary.fact("local_error_ns")))
    far_error_s = _error_s(result.summary.fact("far_error_ns"))
    timeout_ns = result.session.timeout_ns
    known: list[tuple[int, TwoWayRecord]] = []
    late: set[int] = set()
    for row in _rows(batches):
        if row.status in (Status.NOT_SENT, Status.PENDING) or row.t1_ns is None:
            continue
        scheduled = timestamp_of(row.t1_ns - (row.lateness_ns or 0))
        if row.status == Status.LATE:
            late.add(row.sequence)
        if row.status == Status.LATE or row.status in LOST:
            never = Stamp(NEVER, *local)
            presumed = Stamp(timestamp_of(row.t1_ns), False, PRESUMED_ERROR_S)
            lost = TwoWayRecord(row.sequence, presumed, never, NO_TTL, 0, never, never, NO_TTL, scheduled)
            known.append((row.t1_ns + timeout_ns, lost))
            continue
        if None in (row.t2_ns, row.t3_ns, row.t4_ns):
            continue  # a reply whose times mean nothing: no format of perfSONAR's has a place for it
        t2_ns, t3_ns, t4_ns = row.t2_ns or 0, row.t3_ns or 0, row.t4_ns or 0
        if row.status in DUPLICATE and (row.sequence in late or t4_ns - row.t1_ns > timeout_ns):
            continue
        far = (not row.flags & (Flag.FAR_UNSYNCHRONIZED | Flag.FAR_ERROR_ESTIMATE_INVALID), far_error_s)
        record = TwoWayRecord(
            row.sequence,
            Stamp(timestamp_of(row.t1_ns), *local),
            Stamp(timestamp_of(t2_ns), *far),
            row.sender_ttl,
            row.reflector_sequence,
            Stamp(timestamp_of(t3_ns), *far),
            Stamp(timestamp_of(t4_ns), *local),
            row.returned_ttl,
            scheduled,
        )
        known.append((t4_ns, record))
    known.sort(key=lambda item: item[0])
    return [record for _, record in known]


def _error_s(error_ns: int | None) -> float:
    return UNKNOWN_ERROR_S if error_ns is None else error_ns / _NANOS


class _Row(NamedTuple):
    """The cells of a batch that records are made of."""

    sequence: int
    status: int
    flags: int
    t1_ns: int | None
    t2_ns: int | None
    t3_ns: int | None
    t4_ns: int | None
    lateness_ns: int | None
    reflector_sequence: int
    sender_ttl: int
    returned_ttl: int


def _rows(batches: Iterable[Batch]) -> Iterator[_Row]:
    for batch in batches:
        missing, unknown = batch.MISSING, batch.UNKNOWN
        moments = (batch.t1_ns, batch.t2_ns, batch.t3_ns, batch.t4_ns, batch.send_lateness_ns)
        times = zip(*([None if v == missing else v for v in column.tolist()] for column in moments), strict=True)
        marks = (batch.sequence, batch.status, batch.flags, batch.reflector_sequence)
        ttls = (batch.sender_ttl, batch.returned_ttl)
        numbers = zip(*(column.tolist() for column in (*marks, *ttls)), strict=True)
        for (sequence, status, flags, number, ttl, back), (t1, t2, t3, t4, lateness) in zip(
            numbers, times, strict=True
        ):
            yield _Row(
                sequence,
                status,
                flags,
                t1,
                t2,
                t3,
                t4,
                lateness,
                sequence if number == unknown else number,
                NO_TTL if ttl == unknown else ttl,
                NO_TTL if back == unknown else back,
            )


class RecordColumns(Protocol):
    """Records of an OWAMP test-session as columns, as `twoway._native.RecordBatch`."""

    @property
    def sequence(self) -> Column: ...
    @property
    def lost(self) -> Column: ...
    @property
    def send_timestamp(self) -> Column: ...
    @property
    def receive_timestamp(self) -> Column: ...
    @property
    def send_error_estimate(self) -> Column: ...
    @property
    def receive_error_estimate(self) -> Column: ...
    @property
    def ttl(self) -> Column: ...


def oneway_records(
    batch: RecordColumns, skip_ranges: Iterable[tuple[int, int]], scheduled_ns: Sequence[int]
) -> list[OneWayRecord]:
    """The records of an OWAMP test-session, in their order, without those of packets that were never sent.

    `scheduled_ns` is the wall time at which each packet was to leave; a number beyond the schedule, which only a Server
    that breaks the rules has, is taken for as it says.
    """
    skipped = tuple(skip_ranges)
    columns = (
        batch.sequence,
        batch.lost,
        batch.send_timestamp,
        batch.send_error_estimate,
        batch.receive_timestamp,
        batch.receive_error_estimate,
        batch.ttl,
    )
    return [
        OneWayRecord(
            sequence,
            stamp_of(sent, send_error),
            stamp_of(NEVER if lost else received, receive_error),
            ttl,
            timestamp_of(scheduled_ns[sequence]) if sequence < len(scheduled_ns) else sent,
        )
        for sequence, lost, sent, send_error, received, receive_error, ttl in zip(
            *(column.tolist() for column in columns), strict=True
        )
        if not any(first <= sequence <= last for first, last in skipped)
    ]
