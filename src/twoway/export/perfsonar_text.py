"""perfSONAR's report for people: a line per packet where wanted (`-v`), and a summary.

The formats of the numbers are C's, as its scripts' patterns expect them: three significant digits, in the unit asked
for. A number that there is none of is `nan`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.export.perfsonar_records import NTP_EPOCH_S, OneWayRecord, TwoWayRecord, seconds_between
from twoway.export.perfsonar_statistics import (
    NETWORK,
    ONE_WAY,
    Delay,
    twoway_delays_s,
    twoway_errors_s,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twoway.export.perfsonar_records import RecordedSession
    from twoway.export.perfsonar_statistics import Statistics

NO_HOP_TTL = 255
"""TTL that a Session-Sender gives its packets (RFC 4656 section 4.1.2)."""

_DELAY_NAMES = {
    Delay.WHOLE: "round-trip time",
    Delay.FORWARD: "send time",
    Delay.BACKWARD: "reflect time",
    Delay.PROCESSING: "reflector processing time",
}
_JITTER_NAMES = {Delay.WHOLE: "two-way", Delay.FORWARD: "send", Delay.BACKWARD: "reflect"}


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit that a report is in."""

    name: str
    per_second: int

    def number(self, seconds: float | None) -> str:
        """Three significant digits."""
        return "nan" if seconds is None else f"{seconds * self.per_second:.3g}"

    def long(self, seconds: float) -> str:
        """Seven significant digits, always with an exponent."""
        return f"{seconds * self.per_second:e}"


UNITS = {"n": Unit("ns", 10**9), "u": Unit("us", 10**6), "m": Unit("ms", 10**3), "s": Unit("", 1)}
"""By the letter of `-n`. Seconds have no name: perfSONAR prints none."""


def unix_time(timestamp: int) -> float:
    """A timestamp as seconds since 1970."""
    return timestamp / 2**32 - NTP_EPOCH_S


def header(session: RecordedSession) -> list[str]:
    """What stands above the lines of packets and above the summary."""
    name = "twping" if session.twoway else "owping"
    ends = f"[{session.from_host}]:{session.from_port} to [{session.to_host}]:{session.to_port}"
    return ["", f"--- {name} statistics from {ends} ---", f"SID:\t{session.sid.hex()}"]


def packet_lines(
    records: Sequence[OneWayRecord | TwoWayRecord], unit: Unit, limit: int | None, *, unix: bool
) -> Iterator[str]:
    """A line for each record, for no more than the first `limit`; `unix` adds the moments."""
    for record in records[:limit]:
        if isinstance(record, TwoWayRecord):
            yield _twoway_line(record, unit, unix=unix)
        else:
            yield _oneway_line(record, unit, unix=unix)


def _lost_line(sequence: int) -> str:
    return f"seq_no={sequence:<10} *LOST*"


def _oneway_line(record: OneWayRecord, unit: Unit, *, unix: bool) -> str:
    if not record.received.happened:
        return _lost_line(record.sequence)
    delay_s = seconds_between(record.sent.timestamp, record.received.timestamp)
    error_s = record.sent.error_s + record.received.error_s
    if not (record.sent.synchronized and record.received.synchronized):
        return f"seq_no={record.sequence:<10} delay={unit.number(delay_s)} {unit.name}\t(unsync)"
    claim = f"(sync, err={unit.number(error_s)} {unit.name})"
    if not unix:
        return f"seq_no={record.sequence:<10} delay={unit.number(delay_s)} {unit.name}\t{claim}"
    moments = f"sent={unix_time(record.sent.timestamp):f} recv={unix_time(record.received.timestamp):f}"
    return f"seq_no={record.sequence} delay={unit.long(delay_s)} {unit.name} {claim} {moments}"


def _twoway_line(record: TwoWayRecord, unit: Unit, *, unix: bool) -> str:
    if not record.returned.happened:
        return _lost_line(record.sequence)
    delays_s = twoway_delays_s(record)
    named = (
        ("fwd_delay", delays_s[Delay.FORWARD]),
        ("bck_delay", delays_s[Delay.BACKWARD]),
        ("delay", delays_s[Delay.WHOLE]),
        ("proc_delay", delays_s[Delay.PROCESSING]),
    )
    claim = f"(err={unit.number(twoway_errors_s(record)[Delay.WHOLE])} {unit.name})"
    if not unix:
        words = " ".join(f"{name}={unit.number(delay_s)} {unit.name}" for name, delay_s in named)
        return f"seq_no={record.sequence:<10} {words}\t{claim}"
    words = " ".join(f"{name}={unit.long(delay_s)} {unit.name}" for name, delay_s in named)
    stamps = (
        ("sent", record.sent),
        ("recv", record.reached),
        ("reflected", record.reflected),
        ("recv", record.returned),
    )
    moments = " ".join(f"{name}={unix_time(stamp.timestamp):f}" for name, stamp in stamps)
    return f"seq_no={record.sequence} {words} {claim} {moments}"


def summary(statistics: Statistics, unit: Unit, percentiles: Sequence[float]) -> list[str]:
    """The report, which ends with an empty line. `percentiles` are 0 to 100, in the order asked for."""
    session = statistics.session
    lines: list[str] = []
    if statistics.clocks_differ:
        lines += ["", "Directional delays may be inaccurate due to out of sync clocks!"]
    lines += header(session)
    lines += [f"first:\t{_local_time(statistics.start)}", f"last:\t{_local_time(statistics.end)}"]
    share = 100 * statistics.lost / statistics.sent if statistics.sent else 0.0
    sent = f"{statistics.sent} sent, {statistics.lost} lost ({share:.3f}%)"
    if session.twoway:
        copies = f"{statistics.forward_duplicates} send duplicates, {statistics.backward_duplicates} reflect duplicates"
    else:
        copies = f"{statistics.forward_duplicates} duplicates"
    lines.append(f"{sent}, {copies}")
    lines += _delay_lines(statistics, unit)
    if percentiles:
        lines.append("Percentiles:")
        for percentile in percentiles:
            reached = unit.number(statistics.percentile_s(percentile / 100))
            lines.append(f"\t{percentile:.1f}: {reached} {unit.name}")
    lines.append(_hops_line(statistics, Delay.FORWARD, "send " if session.twoway else ""))
    if session.twoway:
        lines.append(_hops_line(statistics, Delay.BACKWARD, "reflect "))
    else:
        lines += _reordering_lines(statistics)
    return [*lines, ""]


def _delay_lines(statistics: Statistics, unit: Unit) -> Iterator[str]:
    twoway = statistics.session.twoway
    for delay in NETWORK if twoway else ONE_WAY:
        values = statistics.delays[delay]
        median_s = statistics.percentile_s(0.5, delay)
        numbers = "/".join(unit.number(value_s) for value_s in (values.least_s, median_s, values.most_s))
        claim = f"err={unit.number(values.error_s)} {unit.name}" if statistics.synchronized else "unsync"
        name = _DELAY_NAMES[delay] if twoway else "one-way delay"
        yield f"{name} min/median/max = {numbers} {unit.name}, ({claim})"
    if twoway:
        values = statistics.delays[Delay.PROCESSING]
        numbers = f"{unit.number(values.least_s)}/{unit.number(values.most_s)}"
        yield f"{_DELAY_NAMES[Delay.PROCESSING]} min/max = {numbers} {unit.name}"
    for delay in NETWORK if twoway else ONE_WAY:
        name = _JITTER_NAMES[delay] if twoway else "one-way"
        yield f"{name} jitter = {unit.number(statistics.jitter_s(delay))} {unit.name} (P95-P50)"


def _hops_line(statistics: Statistics, direction: Delay, name: str) -> str:
    ttls = statistics.ttls[direction]
    if not ttls:
        return f"{name}TTL not reported"
    fewest, most = NO_HOP_TTL - max(ttls), NO_HOP_TTL - min(ttls)
    if len(ttls) == 1:
        return f"{name}hops = {fewest} (consistently)"
    return f"{name}hops takes {len(ttls)} values; min hops = {fewest}, max hops = {most}"


def _reordering_lines(statistics: Statistics) -> Iterator[str]:
    n = 1
    while n <= statistics.reordering_limit and (packets := statistics.reordered[n]):
        yield f"{n}-reordering = {100 * packets / statistics.arrived:f}%"
        n += 1
    if n > statistics.reordering_limit:
        yield f"{n}-reordering not handled"
    else:
        yield "no reordering" if n == 1 else f"no {n}-reordering"


def _local_time(timestamp: int) -> str:
    """A timestamp as local time to the millisecond, which is how the originals print it."""
    milliseconds = (timestamp - (NTP_EPOCH_S << 32)) * 1000 + (1 << 31) >> 32
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(milliseconds // 1000))
    return f"{moment}.{milliseconds % 1000:03}"
