"""The report for people, and the lines that ping has: one per packet, a status line, an interim line.

Rows come from the table of metrics; this file knows only how a section looks. What is 0 and means nothing by that is
left out; what cannot be known says why. Durations choose their unit by row; lines that scripts parse stay in
milliseconds, as ping's.
"""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING

from twoway.analysis import reading
from twoway.analysis.metrics import BY_NAME, Kind, Metric, Section, in_section, parts
from twoway.analysis.reading import Spread, Unknown, percentile_name
from twoway.analysis.result import CONTROL_EVENTS
from twoway.analysis.timestamps import SOURCES, STAMPS, fell_back
from twoway.export.packet_lines import PacketLines
from twoway.export.quantities import (
    MILLISECONDS,
    NANOS,
    duration,
    endpoint,
    moment,
    percent,
    plural,
    scale_for,
    setting,
    traffic_class,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from twoway.analysis.result import Result, SessionDescription, Summary

__all__ = ["PacketLines", "interim_line", "report", "status_line"]

PROTOCOLS = {"stamp": "STAMP", "light": "TWAMP Light", "twamp": "TWAMP", "owamp": "OWAMP"}
_INDENT = "  "
_GAP = "  "
_LABEL = 20
"""A longer label of a note does not widen the column of labels."""


def report(result: Result, percentiles: Sequence[float] | None = None) -> str:
    """Everything about a measurement, in aligned columns; ends with ping's two closing lines. No newline at the end.

    `percentiles` (0 to 100) are the result's own where None; minimum, median and maximum are always there.
    """
    asked = result.percentiles if percentiles is None else percentiles
    one_way = result.session.protocol == "owamp"
    blocks = [
        _head(result),
        _packets(result.summary),
        _one_way_delay(result.summary, asked) if one_way else _delay(result.summary, asked),
        _marks(result),
        _tlvs(result.summary),
        # What it tells is of replies, which OWAMP has none of.
        [] if one_way else _tool(result),
        [f"--- {result.session.target} ping statistics ---", *_closing(result)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def status_line(summary: Summary) -> str:
    """One line about a running measurement, for a terminal to rewrite in place."""
    sent = summary.counter("sent")
    words = [f"{sent} sent", f"{summary.counter('received')} received", *_loss_words(summary)]
    words += [f"{count} {name}" for name in ("late", "duplicates") if (count := _count(name, summary))]
    rtt = _rtt(summary, ("median", "p99", "max"))
    return ", ".join(words) + (f"; rtt median/p99/max {rtt}" if rtt else "")


def interim_line(summary: Summary) -> str:
    """What ping prints on Ctrl-\\ (SIGQUIT): `97/100 packets, 3% loss, min/avg/p99/max = …`."""
    words = [f"{summary.counter('received')}/{summary.counter('sent')} packets", *_loss_words(summary)]
    rtt = _rtt(summary, ("min", "mean", "p99", "max"))
    return ", ".join(words) + (f", min/avg/p99/max = {rtt}" if rtt else "")


def _count(name: str, summary: Summary) -> int:
    value = BY_NAME[name].number(summary)
    return 0 if isinstance(value, Unknown) else int(value)


def _loss_words(summary: Summary) -> list[str]:
    ratio = BY_NAME["loss_ratio"].number(summary)
    return [] if isinstance(ratio, Unknown) else [f"{percent(ratio)} loss"]


def _rtt(summary: Summary, statistics: Iterable[str]) -> str:
    """Round-trip statistics as `0.212/0.250/0.300 ms`, empty if there are none."""
    spread = BY_NAME["round_trip"].spread(summary)
    if isinstance(spread, Unknown):
        return ""
    return "/".join(MILLISECONDS.number(spread.statistic(name) or 0) for name in statistics) + " ms"


def _head(result: Result) -> list[str]:
    session = result.session
    target = endpoint(session.address, session.port)
    if session.target not in (session.address, target):
        target = f"{session.target} ({target})"
    rhythm = f"every {setting(session.interval_ns)}"
    if session.schedule == "poisson":
        rhythm = f"{setting(session.interval_ns)} apart on average (Poisson)"
    ended = ", interrupted" if result.interrupted else ""
    protocol = PROTOCOLS.get(session.protocol, session.protocol)
    span = setting(rounded(result.ended_ns - result.started_ns))
    size = f"{session.payload_len} octets {rhythm}, timeout {setting(session.timeout_ns)}"
    lines = [
        f"{protocol} to {target} from {endpoint(session.local_address, session.local_port)}",
        f"{moment(result.started_ns)}, {span}{ended}: {size}",
    ]
    details = [f"SSID {session.ssid}"] if session.ssid else []
    if session.format.endswith("authenticated"):
        details.append("authenticated")
    if session.path != "plain":
        details.append(f"by {session.path}")
    if session.return_path is not None:
        details.append(f"back by {session.return_path}")
    if session.tlvs:
        details.append(f"asks for {', '.join(session.tlvs)}")
    return [*lines, *([", ".join(details)] if details else []), *_outages(result)]


def _outages(result: Result) -> list[str]:
    """How long there was no control connection, and why the first time."""
    if not result.outages:
        return []
    total_ns = sum((outage.ended_ns or result.ended_ns) - outage.began_ns for outage in result.outages)
    still = "" if result.outages[-1].ended_ns is not None else ", the last one to the end"
    many = f"in {plural(len(result.outages), 'outage')}{still}"
    lines = [f"nothing sent for {setting(rounded(max(0, total_ns)))} {many}: {result.outages[0].reason}"]
    summary = result.summary
    unknown = summary.counter("sent") - reading.total(summary, "received", "late", "pending", "lost")
    if unknown > 0 and any(event.name == "results_lost" for event in result.events):
        lines.append(f"nothing known of {plural(unknown, 'packet')}: {CONTROL_EVENTS['results_lost']}")
    return lines


def rounded(value_ns: int) -> int:
    """A span without digits that nobody reads: to 0.1 s, or to 1 ms below a second."""
    step = 100_000_000 if value_ns >= NANOS else 1_000_000
    return max(value_ns and 1_000_000, round(value_ns / step) * step)


# Packets


def _packets(summary: Summary) -> list[str]:
    rows: list[tuple[str, str, str]] = []
    for metric in in_section(Section.PACKETS):
        if metric.kind is Kind.COUNTER and metric.part_of is None:
            value = metric.number(summary)
            if isinstance(value, Unknown):
                rows.append((metric.label, "-", value.why))
            elif value or metric.always:
                rows.append((metric.label, str(value), _shares(metric, summary)))
        if metric.name == "late" and reading.total(summary, "late", "lost"):
            rows.append(_loss_row(summary))
    bursts = BY_NAME["loss_bursts"]
    if tally := bursts.tally(summary):
        lengths = ", ".join(f"{count} of {plural(length, 'packet')}" for length, count in sorted(tally.items())[-6:])
        more = "" if len(tally) <= 6 else "the longest: "
        rows.append((bursts.label, str(sum(tally.values())), more + lengths))
    return ["Packets", *_columns(rows, right=(1,))]


def _shares(metric: Metric, summary: Summary) -> str:
    """`forward 2, backward 1`: what a counter is made of."""
    words = []
    for part in parts(metric.name):
        value = part.number(summary)
        if not isinstance(value, Unknown) and value:
            words.append(f"{part.label} {value}")
    if metric.name == "lost" and summary.counter("lost_unattributed") and (why := reading.no_direction(summary)):
        words[-1] += f": {why}"
    return ", ".join(words)


def _loss_row(summary: Summary) -> tuple[str, str, str]:
    ratio, *by_direction = (BY_NAME[name] for name in ("loss_ratio", "loss_forward_ratio", "loss_backward_ratio"))
    value = ratio.number(summary)
    notes = ["lost and late"] if summary.counter("late") else []
    for metric in by_direction:
        share = metric.number(summary)
        if not isinstance(share, Unknown):
            notes.append(f"{metric.direction} {percent(share, 3)}")
    return (ratio.label, value.why if isinstance(value, Unknown) else percent(value, 3), ", ".join(notes))


# Delay and its variation


def _delay(summary: Summary, percentiles: Sequence[float]) -> list[str]:
    round_trip = BY_NAME["round_trip"].spread(summary)
    if isinstance(round_trip, Unknown):
        return [f"Delay: {round_trip.why}"]
    statistics = ["min", "mean", "median", *(percentile_name(p) for p in percentiles if p != 50), "max", "stddev"]
    table: list[tuple[str, list[str] | str]] = [
        (f"Delay (n={round_trip.count})", ["", *(name.replace("stddev", "deviation") for name in statistics)]),
        *_spread_rows(Section.DELAY, summary, statistics),
        ("Variation", []),
        *_spread_rows(Section.VARIATION, summary, statistics),
    ]
    bound = BY_NAME["one_way_error_bound_ns"]
    if words := _error_bound(summary):
        table.insert(table.index(("Variation", [])), (_INDENT + bound.label, words))
    if words := _jitter(summary):
        table.append((_INDENT + "RFC 3550 jitter", words))
    return _with_notes(table)


def _one_way_delay(summary: Summary, percentiles: Sequence[float]) -> list[str]:
    """OWAMP: from the Session-Sender to the Session-Receiver, whichever of them is here."""
    count = summary.distribution("forward").count
    if not count:
        return ["Delay: no packet came"]
    statistics = ["min", "mean", "median", *(percentile_name(p) for p in percentiles if p != 50), "max", "stddev"]
    table: list[tuple[str, list[str] | str]] = [
        (f"Delay (n={count})", ["", *(name.replace("stddev", "deviation") for name in statistics)]),
        *_spread_rows(Section.DELAY, summary, statistics, one_way=True),
        ("Variation", []),
        *_spread_rows(Section.VARIATION, summary, statistics, one_way=True),
    ]
    return _with_notes(table)


def _spread_rows(
    section: Section, summary: Summary, statistics: list[str], *, one_way: bool = False
) -> Iterator[tuple[str, list[str] | str]]:
    """A row of statistics for each distribution, then one for each reason why others have none."""
    reasons: dict[str, list[str]] = {}
    for metric in in_section(section):
        if metric.kind is Kind.DISTRIBUTION and metric.shown and (not one_way or metric.direction == "forward"):
            spread = metric.spread(summary)
            if isinstance(spread, Unknown):
                reasons.setdefault(spread.why, []).append(metric.label)
            else:
                yield (_INDENT + metric.label, _statistics(spread, statistics))
    for why, labels in reasons.items():
        yield (_INDENT + ", ".join(labels), why)


def _with_notes(table: Sequence[tuple[str, list[str] | str]]) -> list[str]:
    """Aligned rows of a label with either cells (unit to the left, numbers to the right) or a note in their place."""
    label_width = max(len(label) for label, cells in table if isinstance(cells, list) or len(label) <= _LABEL)
    rows = [cells for _, cells in table if isinstance(cells, list) and cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for label, cells in table:
        if isinstance(cells, list):
            unit = [cell.ljust(widths[0]) for cell in cells[:1]]
            cells = _GAP.join([*unit, *(cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=False))])
        lines.append(f"{label.ljust(label_width)}{_GAP}{cells}".rstrip())
    return lines


def _statistics(spread: Spread, statistics: Iterable[str]) -> list[str]:
    """The unit that fits, then each statistic in it."""
    scale = scale_for(max(abs(spread.statistic("median") or 0), spread.statistic("stddev") or 0))
    values = (spread.statistic(name) for name in statistics)
    return [scale.unit, *("-" if value is None else scale.number(value) for value in values)]


def _error_bound(summary: Summary) -> str:
    bound = BY_NAME["one_way_error_bound_ns"].number(summary)
    if isinstance(bound, Unknown):
        return ""
    ends = ((end, summary.fact(f"{end}_error_ns")) for end in ("local", "far"))
    shares = " + ".join(f"{end} {duration(error)}" for end, error in ends if error is not None)
    medians = [BY_NAME[name].spread(summary) for name in ("forward", "backward")]
    smallest = min((abs(m.statistic("median") or 0) for m in medians if isinstance(m, Spread)), default=None)
    note = ", more than the delay itself" if smallest is not None and bound > smallest else ""
    if stepped := summary.counter("clock_step_affected"):
        note += f"; {plural(stepped, 'packet')} in flight while the clock here stepped"
    return f"±{duration(bound)} ({shares}){note}"


def _jitter(summary: Summary) -> str:
    words = []
    for metric in in_section(Section.VARIATION):
        if metric.kind is Kind.FACT:
            value = metric.number(summary)
            if not isinstance(value, Unknown):
                words.append(f"{metric.direction} {duration(value)}")
    return ", ".join(words)


# Marks on the packets


def _marks(result: Result) -> list[str]:
    if reading.total(result.summary, "received", "late") == 0:
        return []
    session, summary = result.session, result.summary
    rows = [
        ("Marks", "sent", "at the far end", "returned"),
        (_INDENT + "TTL", str(session.ttl), *(_tally_words(BY_NAME[n].tally(summary)) for n in _TTLS)),
        (
            _INDENT + "DSCP/ECN",
            traffic_class(session.dscp_ecn),
            _traffic_words(BY_NAME["far_dscp_ecn"].tally(summary), session.dscp_ecn),
            _traffic_words(BY_NAME["returned_dscp_ecn"].tally(summary), _replies_with(session)),
        ),
    ]
    return _columns(rows, indent="")


_TTLS = ("far_ttl", "returned_ttl")


def _tally_words(tally: dict[int, int], render: Callable[[int], str] = str) -> str:
    """The value that all packets had, or each with its number of packets, the most frequent first."""
    if not tally:
        return "not reported"
    if len(tally) == 1:
        return render(next(iter(tally)))
    ordered = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{render(value)} x{count}" for value, count in ordered[:4]]
    return ", ".join([*words, *([f"{len(ordered) - 4} more"] if len(ordered) > 4 else [])])


def _traffic_words(tally: dict[int, int], sent: int) -> str:
    return _tally_words(tally, traffic_class) + (" (changed)" if set(tally) - {sent} else "")


def _replies_with(session: SessionDescription) -> int:
    """The traffic class octet that replies should come with."""
    return session.dscp_ecn if session.reply_dscp is None else session.reply_dscp << 2


# What TLVs told


def _tlvs(summary: Summary) -> list[str]:
    """A row for each metric of a TLV that was asked for, and nothing where none was."""
    rows: list[tuple[str, str, str]] = []
    for metric in in_section(Section.TLVS):
        value = metric.value(summary)
        if metric.part_of is not None or isinstance(value, (Unknown, dict)):
            continue
        note = ""
        match value:
            case Spread():
                scale = scale_for(max(abs(value.statistic("median") or 0), value.statistic("stddev") or 0))
                words = (f"{name} {scale.show(value.statistic(name) or 0)}" for name in ("min", "median", "p99", "max"))
                rows.append((metric.label, "", ", ".join(words)))
                continue
            case float():
                shown = percent(value, 3)
            case int() if metric.kind is Kind.COUNTER:
                if not value:
                    continue
                shown, note = str(value), _shares(metric, summary)
            case _:
                shown = str(value)
        rows.append((metric.label, shown, note))
    return ["TLVs", *_columns(rows)] if rows else []


# The tool itself


def _tool(result: Result) -> list[str]:
    summary, session = result.summary, result.session
    rows: list[tuple[str, str]] = []
    for stamp, what in STAMPS.items():
        rows.append((f"{stamp.upper()} {what}", _stamp_words(summary, session, stamp)))
    rows.append(("T2, T3", _far_words(summary)))
    lateness = BY_NAME["send_lateness"]
    spread = lateness.spread(summary)
    if isinstance(spread, Unknown):
        rows.append((lateness.label, spread.why))
    else:
        scale = scale_for(spread.statistic("p99") or 0)
        words = (f"{name} {scale.show(spread.statistic(name) or 0)}" for name in ("median", "p99", "max"))
        rows.append((lateness.label, ", ".join(words)))
    rows += _own_counters(summary)
    rows.append(("local clock", _clock_words(result)))
    rows += [("clock step", f"{'+' * (step > 0)}{duration(step)} at {moment(at)}") for at, step in summary.clock_steps]
    rows += [("not granted", f"{option}: {instead}") for option, instead in sorted(session.obtained.items())]
    if result.events:
        rows.append(("events", _event_words(result)))
    return ["This tool", *_columns(rows)]


def _stamp_words(summary: Summary, session: SessionDescription, stamp: str) -> str:
    counts = {source: summary.counter(f"{stamp}_{source}") for source in SOURCES}
    words = ", ".join(f"{source} x{count}" for source, count in counts.items() if count) or "no replies"
    lesser = fell_back(session.timestamps, summary, stamp)
    return words + (f": {plural(lesser, 'packet')} fell back from {session.timestamps}" if lesser else "")


def _far_words(summary: Summary) -> str:
    """What is known of T2 and T3, which the reflector takes."""
    if reading.total(summary, "received", "late") == 0:
        return "no replies"
    error = summary.fact("far_error_ns")
    claim = "gives no error" if error is None else f"error at most {duration(error)}"
    state = {None: "synchronisation unknown", 0: "not synchronised", 1: "synchronised"}[
        summary.fact("far_synchronized")
    ]
    return f"the reflector's claim: {state}, {claim}"


def _own_counters(summary: Summary) -> Iterator[tuple[str, str]]:
    """Counters of this end's faults, and of what is wrong with either clock, where they are not 0."""
    stamps = {f"{stamp}_{source}" for stamp in STAMPS for source in SOURCES}
    for section in (Section.TOOL, Section.CLOCK):
        for metric in in_section(section):
            if metric.kind is not Kind.COUNTER or metric.name in stamps or metric.part_of is not None:
                continue
            value = metric.number(summary)
            if metric.name == "far_unsynchronized" and value == reading.total(summary, "received", "late"):
                continue  # all of them: said with T2 and T3
            if isinstance(value, Unknown) or not (value or metric.always):
                continue
            words = metric.description.rstrip(".")
            note = _shares(metric, summary) or (words[0].lower() + words[1:])
            yield (metric.label, f"{value}: {note}" if value else "0")


def _clock_words(result: Result) -> str:
    synchronized, error_ns = result.clock.get("synchronized"), result.clock.get("error_ns")
    state = {None: "state unknown", 0: "not synchronised", 1: "synchronised"}[synchronized]
    return state + ("" if error_ns is None or not synchronized else f", error at most {duration(error_ns)}")


def _event_words(result: Result) -> str:
    counts = Counter((event.name, event.errno) for event in result.events)
    words = []
    for (name, number), count in counts.items():
        code = f" ({errno.errorcode.get(number, str(number))})" if number else ""
        words.append(f"{name.replace('_', ' ')}{code} x{count}")
    return ", ".join(words)


# ping's closing lines


def _closing(result: Result) -> list[str]:
    """The two lines that scripts read, in the words of iputils' ping."""
    summary = result.summary
    words = [f"{summary.counter('sent')} packets transmitted", f"{summary.counter('received')} received"]
    if copies := _count("duplicates", summary):
        words.append(f"+{copies} duplicates")
    ratio = BY_NAME["loss_ratio"].number(summary)
    if not isinstance(ratio, Unknown):
        words.append(f"{percent(ratio)} packet loss")
    words.append(f"time {max(0, result.ended_ns - result.started_ns) // 1_000_000}ms")
    rtt = _rtt(summary, ("min", "mean", "max", "stddev"))
    return [", ".join(words), *([f"rtt min/avg/max/mdev = {rtt}"] if rtt else [])]


def _columns(rows: Sequence[Sequence[str]], right: tuple[int, ...] = (), indent: str = _INDENT) -> list[str]:
    """Rows with their columns aligned, without blanks at the end."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append((indent + _GAP.join(cells)).rstrip())
    return lines
