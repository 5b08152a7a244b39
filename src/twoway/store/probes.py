"""Per-probe rows as octets: the columns of a `SampleBatch`, without a step of Python for each row.

Each column's octets are taken apart by significance, all lowest octets first and all highest last, which puts what
hardly changes (the upper octets of a wall time) together, and the whole is deflated: some 30 octets a probe.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import TYPE_CHECKING, Final

from twoway.store.blocks import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.analysis.samples import Batch, Column

_HEAD = struct.Struct("<BI")
_MAX_PROBES = 1 << 22
_FIRST: Final = (
    *("sequence", "status", "flags"),
    *("round_trip_ns", "forward_ns", "backward_ns", "residence_ns", "send_lateness_ns"),
    *("t1_ns", "t2_ns", "t3_ns", "t4_ns"),
    *("reflector_sequence", "t1_source", "t4_source"),
    *("sender_ttl", "returned_ttl", "far_dscp_ecn", "returned_dscp_ecn"),
)
COLUMNS: Final = {1: _FIRST, 2: (*_FIRST, "t3_source")}
"""The columns of each version, in their order in the octets."""
_VERSION = max(COLUMNS)
_OCTETS = {"q": 8, "Q": 8, "I": 4, "B": 1}


class Probes:
    """Rows read back: columns under the names of `analysis.samples`, which they satisfy as a `Batch`."""

    MISSING: Final = -(1 << 63)
    UNKNOWN: Final = 0xFFFFFFFF

    sequence: Column
    status: Column
    flags: Column
    t1_ns: Column
    t2_ns: Column
    t3_ns: Column
    t4_ns: Column
    round_trip_ns: Column
    forward_ns: Column
    backward_ns: Column
    residence_ns: Column
    send_lateness_ns: Column
    reflector_sequence: Column
    t1_source: Column
    t3_source: Column
    t4_source: Column
    sender_ttl: Column
    returned_ttl: Column
    far_dscp_ecn: Column
    returned_dscp_ecn: Column

    def __init__(self, columns: dict[str, array[int]], count: int) -> None:
        self._count = count
        for name, column in columns.items():
            setattr(self, name, column)

    def __len__(self) -> int:
        return self._count

    def part(self, begin: int, end: int | None = None) -> Probes:
        """The rows from `begin` up to `end`."""
        places = range(self._count)[begin:end]
        columns = {name: getattr(self, name)[begin:end] for name in COLUMNS[_VERSION]}
        return Probes(columns, len(places))


def pack(batch: Batch) -> bytes:
    """The rows of a batch."""
    parts = []
    formats = ""
    for name in COLUMNS[_VERSION]:
        view = memoryview(getattr(batch, name))
        octets, width = view.tobytes(), view.itemsize
        formats += view.format
        parts += [octets[place::width] for place in range(width)]
    return _HEAD.pack(_VERSION, len(batch)) + zlib.compress(b"".join((formats.encode(), *parts)))


def unpack(data: bytes) -> Probes:
    """Rows that `pack` made. Raises `UnreadableError`."""
    if len(data) < _HEAD.size:
        raise UnreadableError("it is too short")
    version, count = _HEAD.unpack_from(data)
    if version not in COLUMNS or count > _MAX_PROBES:
        raise UnreadableError(f"version {version} with {count} probes")
    names = COLUMNS[version]
    try:
        inflater = zlib.decompressobj()
        body = inflater.decompress(data[_HEAD.size :], len(names) * (1 + 8 * count) + 1)
    except zlib.error as error:
        raise UnreadableError(str(error)) from None
    if not inflater.eof:
        raise UnreadableError("it is cut short, or too large")
    formats, place = body[: len(names)].decode("latin-1"), len(names)
    columns = {}
    for name, code in zip(names, formats, strict=False):
        if code not in _OCTETS:
            raise UnreadableError("a column is of no known width")
        width = _OCTETS[code]
        octets = bytearray(width * count)
        place += len(octets)
        if len(body) < place:
            raise UnreadableError("its columns are cut short")
        for octet in range(width):
            begin = place - (width - octet) * count
            octets[octet::width] = body[begin : begin + count]
        columns[name] = array(code, bytes(octets))
    if place != len(body) or len(columns) != len(names):
        raise UnreadableError("its columns do not add up")
    if version == 1:
        # Before there was Follow-Up Telemetry, T3 was the reply's own.
        columns["t3_source"] = array("B", (t3_ns != Probes.MISSING for t3_ns in columns["t3_ns"]))
    return Probes(columns, count)


def join(parts: Sequence[Probes]) -> bytes:
    """The rows of several, one after the other, packed as one."""
    columns = {}
    for name in COLUMNS[_VERSION]:
        joined = array(getattr(parts[0], name).typecode)
        for part in parts:
            joined.extend(getattr(part, name))
        columns[name] = joined
    return pack(Probes(columns, sum(map(len, parts))))


def span_ns(batch: Batch) -> tuple[int, int] | None:
    """When the first and the last probe left, None where none did."""
    departures = [moment for moment in memoryview(batch.t1_ns).cast("B").cast("q") if moment != batch.MISSING]
    return (min(departures), max(departures)) if departures else None
