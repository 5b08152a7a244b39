"""What `twping` and `owping` print of one test-session, in whichever of perfSONAR's formats was asked for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.export import perfsonar_machine, perfsonar_text
from twoway.export.perfsonar_statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twoway.export.perfsonar_records import OneWayRecord, RecordedSession, TwoWayRecord
    from twoway.export.perfsonar_text import Unit


@dataclass(frozen=True, slots=True)
class Style:
    """What to print, and how. `raw` goes before `machine`, that before the report for people."""

    raw: bool = False
    machine: bool = False
    packets: bool = False
    """A line for each packet above the report for people."""
    packets_limit: int | None = None
    """For no more packets than this."""
    unix: bool = False
    """Moments as seconds since 1970, too."""
    unit: Unit = perfsonar_text.UNITS["m"]
    percentiles: tuple[float, ...] = ()
    """0 to 100, in the order in which they are printed."""
    bucket_width_s: float = 0.0001
    part_packets: int = 0
    """Packets of each part that is reported by itself; 0: the session as a whole."""


def report_lines(
    session: RecordedSession, records: Sequence[OneWayRecord | TwoWayRecord], style: Style
) -> Iterator[str]:
    """All lines of one test-session, without newlines."""
    if style.raw:
        for record in records:
            yield perfsonar_machine.raw_line(record)
        return
    left = style.packets_limit
    for first, last, of_part in _parts(session.packets, records, style.part_packets):
        statistics = Statistics(session, of_part, style.bucket_width_s, first, last)
        if style.machine:
            yield from perfsonar_machine.machine_lines(statistics, unix=style.unix)
            continue
        if style.packets:
            yield from perfsonar_text.header(session)
            yield from perfsonar_text.packet_lines(statistics.records, style.unit, left, unix=style.unix)
            left = None if left is None else max(0, left - len(statistics.records))
        yield from perfsonar_text.summary(statistics, style.unit, style.percentiles)


def _parts(
    packets: int, records: Sequence[OneWayRecord | TwoWayRecord], part_packets: int
) -> Iterator[tuple[int, int, Sequence[OneWayRecord | TwoWayRecord]]]:
    """What is reported by itself: sequence numbers from (included) and to (not included), and their records."""
    if not 0 < part_packets < packets:
        yield 0, packets, records
        return
    by_part: defaultdict[int, list[OneWayRecord | TwoWayRecord]] = defaultdict(list)
    for record in records:
        by_part[record.sequence // part_packets].append(record)
    for number, first in enumerate(range(0, packets, part_packets)):
        yield first, min(first + part_packets, packets), by_part[number]
