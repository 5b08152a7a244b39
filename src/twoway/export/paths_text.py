"""The report on several paths that were measured at once: side by side, and how they differ from the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis.comparison import COMPARED
from twoway.analysis.metrics import BY_NAME
from twoway.analysis.reading import Spread, Unknown, percentile_name
from twoway.export.quantities import endpoint, moment, percent, scale_for, setting
from twoway.export.text import PROTOCOLS, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twoway.analysis.comparison import Difference, PathSetResult
    from twoway.analysis.result import Result, SessionDescription, Summary

_INDENT = "  "
_GAP = "  "
_COUNTED = ("sent", "received", "late", "lost", "not_sent", "duplicates", "reordered_round_trip", "icmp_errors")
"""Counters of the table; those that are 0 everywhere and say nothing by that are left out."""
_ALWAYS = ("sent", "received", "lost")
_SMALLEST_P = 0.001


def report(measured: PathSetResult, percentiles: Sequence[float] | None = None) -> str:
    """Everything about the paths, in aligned columns. No newline at the end."""
    results = measured.results
    first = next(iter(results.values()))
    asked = first.percentiles if percentiles is None else percentiles
    blocks = [
        _head(measured),
        _paths({name: result.session for name, result in results.items()}),
        _table("Packets", results, _packet_rows(results)),
        _table("Delay", results, _delay_rows(results, asked)),
        _events(results),
        _differences(measured),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def status_line(summaries: Mapping[str, Summary]) -> str:
    """One line about paths that are being measured: `a 97/100 0.212 ms, b 100/100 1.804 ms`."""
    words = []
    for name, summary in summaries.items():
        spread = BY_NAME["round_trip"].spread(summary)
        delay = "" if isinstance(spread, Unknown) else f" {_shown(spread.statistic('median') or 0)}"
        words.append(f"{name} {summary.counter('received')}/{summary.counter('sent')}{delay}")
    return ", ".join(words)


def heading(session: SessionDescription, paths: int) -> str:
    """What is measured, as ping's first line."""
    where = endpoint(session.address, session.port)
    name = where if session.target in (session.address, where) else f"{session.target} ({where})"
    return f"{PROTOCOLS[session.protocol]} to {name} on {paths} paths: {session.payload_len} octets of payload"


def _head(measured: PathSetResult) -> list[str]:
    results = list(measured.results.values())
    session = results[0].session
    rhythm = f"every {setting(session.interval_ns)}"
    if session.schedule == "poisson":
        rhythm = f"{setting(session.interval_ns)} apart on average (Poisson)"
    ended = ", interrupted" if any(result.interrupted for result in results) else ""
    span_ns = max(result.ended_ns for result in results) - min(result.started_ns for result in results)
    size = f"{session.payload_len} octets {rhythm} on each path, timeout {setting(session.timeout_ns)}"
    return [
        heading(session, len(results)).partition(": ")[0],
        f"{moment(results[0].started_ns)}, {setting(rounded(span_ns))}{ended}: {size}",
    ]


def _paths(sessions: Mapping[str, SessionDescription]) -> list[str]:
    rows = [
        [name, session.path, f"from {endpoint(session.local_address, session.local_port)}"]
        for name, session in sessions.items()
    ]
    return ["Paths", *_aligned(rows)]


def _packet_rows(results: Mapping[str, Result]) -> list[list[str]]:
    rows = []
    for name in _COUNTED:
        metric = BY_NAME[name]
        values = [metric.number(result.summary) for result in results.values()]
        if name in _ALWAYS or any(not isinstance(value, Unknown) and value for value in values):
            rows.append([metric.label, *("-" if isinstance(value, Unknown) else str(value) for value in values)])
    for name in ("loss_ratio", "loss_forward_ratio", "loss_backward_ratio"):
        metric = BY_NAME[name]
        values = [metric.number(result.summary) for result in results.values()]
        if name == "loss_ratio" or any(not isinstance(value, Unknown) and value for value in values):
            direction = "" if name == "loss_ratio" else f" {metric.direction}"
            cells = ["-" if isinstance(value, Unknown) else percent(value, 3) for value in values]
            rows.append([f"loss{direction}", *cells])
    return rows


def _delay_rows(results: Mapping[str, Result], percentiles: Sequence[float]) -> list[list[str]]:
    statistics = ["min", "median", *(percentile_name(p) for p in percentiles if p != 50), "max"]
    rows = []
    for name in ("round_trip", "forward", "backward"):
        metric = BY_NAME[name]
        spreads = [metric.spread(result.summary) for result in results.values()]
        if all(isinstance(spread, Unknown) for spread in spreads):
            continue
        rows += [
            [f"{metric.label} {statistic}", *(_statistic(spread, statistic) for spread in spreads)]
            for statistic in (statistics if name == "round_trip" else ["median"])
        ]
    return rows


def _statistic(spread: Spread | Unknown, name: str) -> str:
    value = None if isinstance(spread, Unknown) else spread.statistic(name)
    return "-" if value is None else _shown(value)


def _shown(value_ns: float) -> str:
    return scale_for(value_ns).show(value_ns)


def _events(results: Mapping[str, Result]) -> list[str]:
    rows = []
    for name, result in results.items():
        names = sorted({event.name.replace("_", " ") for event in result.events})
        lesser = [f"not granted: {option}: {instead}" for option, instead in sorted(result.session.obtained.items())]
        rows += [[name, words] for words in [*names, *lesser]]
    return ["What happened", *_aligned(rows)] if rows else []


def _differences(measured: PathSetResult) -> list[str]:
    rows = [_difference(difference) for difference in measured.differences if difference.pairs]
    if not rows:
        return [f"Difference from {measured.reference}: no packets of the same moment"]
    header = ["", "", "", "95 % between", "p", "pairs", ""]
    note = f"{measured.unpaired} slots could not be compared" if measured.unpaired else ""
    lines = [f"Difference from {measured.reference}", *_aligned([header, *rows], right=(2, 3, 4, 5))]
    return [*lines, *([_INDENT + note] if note else [])]


def _difference(difference: Difference) -> list[str]:
    numbers = [number for number in (difference.estimate, difference.low, difference.high) if number is not None]
    # One unit for all of a row.
    scale = scale_for(max(map(abs, numbers), default=0))

    def show(value: float) -> str:
        if difference.compared == "loss":
            return f"{value * 100:+.3g} %" if value else "0 %"
        return ("+" if value > 0 else "") + scale.show(value)

    estimate = "-" if difference.estimate is None else show(difference.estimate)
    between = "-" if difference.compared == "loss" else "too few"
    if difference.low is not None and difference.high is not None:
        between = f"{show(difference.low)} and {show(difference.high)}"
    p_value = difference.p_value
    chance = "-" if p_value is None else "<0.001" if p_value < _SMALLEST_P else f"{p_value:.3f}"
    verdict = "more than chance" if difference.significant else "may be chance"
    return [
        difference.path,
        COMPARED[difference.compared],
        estimate,
        between,
        chance,
        str(difference.pairs),
        verdict,
    ]


def _table(title: str, results: Mapping[str, Result], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    names = [title, *results]
    right = tuple(range(1, len(names)))
    body = [[_INDENT + label, *cells] for label, *cells in rows]
    return _aligned([names, *body], right=right, indent="")


def _aligned(rows: Sequence[Sequence[str]], right: tuple[int, ...] = (), indent: str = _INDENT) -> list[str]:
    """Rows with their columns aligned, without blanks at the end."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append((indent + _GAP.join(cells)).rstrip())
    return lines
