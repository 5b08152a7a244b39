"""perfSONAR's formats for programs: keys with values (`-M`), and one line of columns for each packet (`-R`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.export.perfsonar_records import OneWayRecord, TwoWayRecord
from twoway.export.perfsonar_statistics import NETWORK, ONE_WAY, Delay
from twoway.export.perfsonar_text import unix_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twoway.export.perfsonar_records import Stamp
    from twoway.export.perfsonar_statistics import Statistics

VERSION = "3.00"
"""Of the keys, as perfSONAR counts."""


def raw_line(record: OneWayRecord | TwoWayRecord) -> str:
    """One packet as `-R` prints it.

    OWAMP: `SEQNO STIME SS SERR RTIME RS RERR TTL`; TWAMP: `SSEQ STIME SS SERR SRTIME SRS SRERR STTL RSEQ RSTIME RSS
    RSERR RTIME RS RERR RTTL`. A time has 20 digits, an error is in seconds.
    """
    if isinstance(record, OneWayRecord):
        return f"{record.sequence} {_raw(record.sent)} {_raw(record.received)} {record.ttl}"
    there = f"{record.sequence} {_raw(record.sent)} {_raw(record.reached)} {record.ttl}"
    back = f"{record.reflector_sequence} {_raw(record.reflected)} {_raw(record.returned)} {record.returned_ttl}"
    return f"{there} {back}"


def _raw(stamp: Stamp) -> str:
    return f"{stamp.timestamp:020} {stamp.synchronized:d} {stamp.error_s:g}"


def machine_lines(statistics: Statistics, *, unix: bool) -> Iterator[str]:
    """What `-M` prints of a test-session or a part of it; `unix` adds times that count from 1970."""
    for key, value in _pairs(statistics, unix=unix):
        yield f"{key}\t{value}"
    if statistics.sent > statistics.lost:
        yield from _block("BUCKETS", statistics.bucket_rows())
    yield from _ttl_lines(statistics)
    yield ""
    if not statistics.session.twoway:
        yield from _block("NREORDERING", _reordering_rows(statistics))


def _block(name: str, rows: Iterable[tuple[int, ...]]) -> Iterator[str]:
    yield f"<{name}>"
    for row in rows:
        yield "".join(f"\t{number}" for number in row)
    yield f"</{name}>"


def _pairs(statistics: Statistics, *, unix: bool) -> Iterator[tuple[str, object]]:
    session = statistics.session
    yield "SUMMARY", VERSION
    yield "SID", session.sid.hex()
    yield "FROM_HOST", session.from_host
    yield "FROM_ADDR", session.from_address
    yield "FROM_PORT", session.from_port
    yield "TO_HOST", session.to_host
    yield "TO_ADDR", session.to_address
    yield "TO_PORT", session.to_port
    yield "START_TIME", f"{statistics.start:020}"
    yield "END_TIME", f"{statistics.end:020}"
    if unix:
        yield "UNIX_START_TIME", f"{unix_time(statistics.start):f}"
        yield "UNIX_END_TIME", f"{unix_time(statistics.end):f}"
    yield "DSCP", f"0x{session.dscp:02x}"
    yield "LOSS_TIMEOUT", session.timeout
    yield "PACKET_PADDING", session.padding_octets
    yield "SESSION_PACKET_COUNT", session.packets
    yield "SAMPLE_PACKET_COUNT", statistics.last - statistics.first
    yield "BUCKET_WIDTH", f"{statistics.bucket_width_s:g}"
    yield "SESSION_FINISHED", int(session.finished)
    yield "SENT", statistics.sent
    yield "SYNC", int(statistics.synchronized)
    yield from _result_pairs(statistics)


def _result_pairs(statistics: Statistics) -> Iterator[tuple[str, object]]:
    twoway = statistics.session.twoway
    with_buckets = NETWORK if twoway else ONE_WAY
    for delay in with_buckets:
        yield f"MAXERR{delay}", f"{statistics.delays[delay].error_s:g}"
    if twoway:
        yield "DUPS_FWD", statistics.forward_duplicates
        yield "DUPS_BCK", statistics.backward_duplicates
    else:
        yield "DUPS", statistics.forward_duplicates
    yield "LOST", statistics.lost
    for delay, values in statistics.delays.items():
        if values.least_s is not None:
            yield f"MIN{delay}", f"{values.least_s:g}"
    for delay in with_buckets:
        if (median_s := statistics.percentile_s(0.5, delay)) is not None:
            yield f"MEDIAN{delay}", f"{median_s:g}"
    for delay, values in statistics.delays.items():
        if values.most_s is not None:
            yield f"MAX{delay}", f"{values.most_s:g}"
    for delay in with_buckets:
        if (jitter_s := statistics.jitter_s(delay)) is not None:
            yield f"PDV{delay}", f"{jitter_s:g}"


def _ttl_lines(statistics: Statistics) -> Iterator[str]:
    directions = (Delay.FORWARD, Delay.BACKWARD) if statistics.session.twoway else (Delay.FORWARD,)
    for direction in directions:
        ttls = statistics.ttls[direction]
        suffix = direction if statistics.session.twoway else ""
        # Without any TTL these are the bounds of an empty range, as the originals print them.
        yield f"MINTTL{suffix}\t{min(ttls, default=255)}"
        yield f"MAXTTL{suffix}\t{max(ttls, default=0)}"
    values = sorted({ttl for direction in directions for ttl in statistics.ttls[direction]})
    if values:
        yield from _block(
            "TTLBUCKETS", ((ttl, *(statistics.ttls[direction][ttl] for direction in directions)) for ttl in values)
        )


def _reordering_rows(statistics: Statistics) -> list[tuple[int, int]]:
    rows: list[tuple[int, int]] = []
    while len(rows) < statistics.reordering_limit and (packets := statistics.reordered[len(rows) + 1]):
        rows.append((len(rows) + 1, packets))
    # The originals end a list with a row of none only where it is empty, or as long as they count.
    return rows if rows and len(rows) < statistics.reordering_limit else [*rows, (len(rows) + 1, 0)]
