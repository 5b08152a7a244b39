"""What one row of a `SampleBatch` says: names of its codes, and the table of its columns.

CSV, NDJSON, JSON and the plot iterate `COLUMNS`. The code points are the packet plane's (a test compares them with its
catalogue). A cell that cannot be known is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Column(Protocol):
    """One column of a batch: a read-only buffer of integers, as `twoway._native.Column`."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def tolist(self) -> list[int]: ...


class Batch(Protocol):
    """Per-packet results as columns of equal length, as `twoway._native.SampleBatch`."""

    @property
    def MISSING(self) -> int: ...  # noqa: N802  (the name of the packet plane's constant)
    @property
    def UNKNOWN(self) -> int: ...  # noqa: N802  (as above)
    def __len__(self) -> int: ...
    @property
    def sequence(self) -> Column: ...
    @property
    def status(self) -> Column: ...
    @property
    def flags(self) -> Column: ...
    @property
    def t1_ns(self) -> Column: ...
    @property
    def t2_ns(self) -> Column: ...
    @property
    def t3_ns(self) -> Column: ...
    @property
    def t4_ns(self) -> Column: ...
    @property
    def round_trip_ns(self) -> Column: ...
    @property
    def forward_ns(self) -> Column: ...
    @property
    def backward_ns(self) -> Column: ...
    @property
    def residence_ns(self) -> Column: ...
    @property
    def send_lateness_ns(self) -> Column: ...
    @property
    def reflector_sequence(self) -> Column: ...
    @property
    def t1_source(self) -> Column: ...
    @property
    def t3_source(self) -> Column: ...
    @property
    def t4_source(self) -> Column: ...
    @property
    def sender_ttl(self) -> Column: ...
    @property
    def returned_ttl(self) -> Column: ...
    @property
    def far_dscp_ecn(self) -> Column: ...
    @property
    def returned_dscp_ecn(self) -> Column: ...


class Status(IntEnum):
    """The fate of a packet, or what a further reply to it is. `catalogue()["sample_status"]`."""

    RECEIVED = 0
    LATE = 1
    LOST_FORWARD = 2
    LOST_BACKWARD = 3
    LOST_UNATTRIBUTED = 4
    DUPLICATE_FORWARD = 5
    DUPLICATE_BACKWARD = 6
    DUPLICATE_UNATTRIBUTED = 7
    NOT_SENT = 8
    PENDING = 9
    FURTHER_REPLY = 10


LOST = frozenset({Status.LOST_FORWARD, Status.LOST_BACKWARD, Status.LOST_UNATTRIBUTED})
DUPLICATE = frozenset({Status.DUPLICATE_FORWARD, Status.DUPLICATE_BACKWARD, Status.DUPLICATE_UNATTRIBUTED})


class Flag(IntFlag):
    """What is to be known beside a sample's values. `catalogue()["sample_flags"]`."""

    CLOCK_STEP = 1 << 0
    REORDERED = 1 << 1
    T1_FELL_BACK = 1 << 2
    T4_FELL_BACK = 1 << 3
    FAR_UNSYNCHRONIZED = 1 << 4
    FAR_ERROR_ESTIMATE_INVALID = 1 << 5
    SSID_ZERO = 1 << 6
    FAR_TIMESTAMPS_UNUSABLE = 1 << 7


class Source(IntEnum):
    """Who took a timestamp. `catalogue()["timestamp_source"]`."""

    NONE = 0
    USER = 1
    KERNEL = 2
    HARDWARE = 3


class Departure(IntEnum):
    """Where T3 comes from. `catalogue()["departure_source"]`."""

    NONE = 0
    REPLY = 1
    FOLLOW_UP = 2


STATUS_NAMES = tuple(status.name.lower() for status in Status)
FLAG_NAMES = tuple(str(flag.name).lower() for flag in Flag)
SOURCE_NAMES = tuple(source.name.lower() for source in Source)
DEPARTURE_NAMES = tuple(departure.name.lower() for departure in Departure)

Cell = int | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SampleColumn:
    """One column of the table."""

    name: str
    """Its name in the batch, in CSV and in JSON."""
    unit: str
    description: str
    optional: bool = True
    """Whether a cell may be unknown."""
    names: tuple[str, ...] | None = None
    """Names of the codes 0, 1, 2, …"""
    bits: tuple[str, ...] | None = None
    """Names of the bits 0, 1, 2, …"""

    def cells(self, batch: Batch) -> list[Cell]:
        """The column of `batch`, codes as names and unknown values as None."""
        column: Column = getattr(batch, self.name)
        values = column.tolist()
        if self.names is not None:
            names = self.names
            return [names[value] if value < len(names) else str(value) for value in values]
        if self.bits is not None:
            return [_bit_names(value, self.bits) for value in values]
        if not self.optional:
            return list(values)
        unknown = batch.MISSING if self.unit == "ns" else batch.UNKNOWN
        return [None if value == unknown else value for value in values]


def _bit_names(value: int, bits: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for bit, name in enumerate(bits) if value >> bit & 1) if value else ()


COLUMNS: tuple[SampleColumn, ...] = (
    SampleColumn("sequence", "number", "Session-Sender sequence number.", optional=False),
    SampleColumn("status", "name", "The packet's fate, or what this further reply is.", False, STATUS_NAMES),
    SampleColumn("flags", "names", "What is to be known beside the values.", False, None, FLAG_NAMES),
    SampleColumn("round_trip_ns", "ns", "(T4 - T1) - (T3 - T2)."),
    SampleColumn("forward_ns", "ns", "T2 - T1, with the offset between both clocks; may be negative."),
    SampleColumn("backward_ns", "ns", "T4 - T3, with the offset between both clocks; may be negative."),
    SampleColumn("residence_ns", "ns", "T3 - T2, the time inside the reflector."),
    SampleColumn(
        "send_lateness_ns",
        "ns",
        "Departure after the scheduled moment; of a packet not sent: how late it was when it was given up, absent if "
        "the kernel refused it.",
    ),
    SampleColumn("t1_ns", "ns", "Departure here, wall clock, since 1970-01-01 00:00 UTC."),
    SampleColumn("t2_ns", "ns", "Arrival at the reflector, by its wall clock."),
    SampleColumn("t3_ns", "ns", "Departure from the reflector, by its wall clock."),
    SampleColumn("t4_ns", "ns", "Arrival here, wall clock."),
    SampleColumn("reflector_sequence", "number", "Sequence number that the reflector gave its reply."),
    SampleColumn("t1_source", "name", "Who took T1.", False, SOURCE_NAMES),
    SampleColumn("t3_source", "name", "Where T3 comes from.", False, DEPARTURE_NAMES),
    SampleColumn("t4_source", "name", "Who took T4.", False, SOURCE_NAMES),
    SampleColumn("sender_ttl", "number", "TTL or hop limit that the reflector saw on our packet."),
    SampleColumn("returned_ttl", "number", "TTL or hop limit of the reply as it came here."),
    SampleColumn("far_dscp_ecn", "number", "Traffic class octet that the reflector saw (RFC 7750, Class of Service)."),
    SampleColumn("returned_dscp_ecn", "number", "Traffic class octet of the reply as it came here."),
)
"""The table. Order is the order of CSV columns."""

BY_NAME = {column.name: column for column in COLUMNS}


def rows(batch: Batch) -> Iterator[tuple[Cell, ...]]:
    """The rows of `batch`, each with a cell for every one of `COLUMNS`."""
    return zip(*(column.cells(batch) for column in COLUMNS), strict=True)
