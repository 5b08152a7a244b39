"""What `twoway show` prints: Junos's listings, aligned. Each function takes views and gives lines.

Delays choose their unit by row, wall times are UTC. A value that cannot be known is `-`. `width` is that of a terminal:
sentences and the last column of a table go on below themselves, and a table of delays has as many percentiles as there
is room for. None: nothing is broken, for programs that read lines.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twoway.analysis.metrics import BY_NAME, Kind, Section, in_section
from twoway.analysis.notices import NOTICES
from twoway.export.quantities import NANOS, duration, endpoint, percent, plural, scale_for, setting
from twoway.export.text import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from twoway.analysis.views import (
        CollectionView,
        ControlView,
        HealthView,
        MeasurementView,
        ProbeView,
        ResultsView,
        RoutesView,
        TestView,
    )

_GAP = "  "
COLLECTIONS = {
    "current-test": "Current test",
    "last-test": "Last test",
    "moving-average": "Moving average",
    "all-tests": "All tests",
}
MEASUREMENTS = {
    "rtt": "Round trip time",
    "rtt-jitter": "Round trip jitter",
    "egress": "Egress delay",
    "egress-with-offset": "Egress with offset",
    "egress-jitter": "Egress jitter",
    "ingress": "Ingress delay",
    "ingress-with-offset": "Ingress with offset",
    "ingress-jitter": "Ingress jitter",
}
"""Junos's labels, without the unit."""


_INDENT = " " * 4
_NARROWEST = 36
"""Columns that text needs to be worth breaking."""
_SHORT = 24
_NO_BREAK = "\u00a0"
_LABEL = re.compile(r" *\w[\w -]{0,14}: +")
"""Before what a line says."""


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = (), width: int | None = None
) -> list[str]:
    """Columns as wide as they have to be; those in `right` are numbers. The last column is never padded; where it does
    not fit in `width` it is broken, or stands below the others."""
    cells = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    numbers = frozenset(right)
    before = sum(widths[:-1]) + len(_GAP) * (len(head) - 1)
    lines = []
    for row in cells:
        last, below = _last(row[-1], before, width)
        lines.append(
            _GAP.join(
                cell.rjust(size) if column in numbers else cell.ljust(size)
                for column, (cell, size) in enumerate(zip((*row[:-1], last), widths, strict=True))
            ).rstrip()
        )
        lines += below
    return lines


def _last(text: str, before: int, width: int | None) -> tuple[str, list[str]]:
    """What of the last column stands in its row, behind so many others, and the lines below it."""
    if width is None or before + len(text) <= width:
        return text, []
    if width - before >= _NARROWEST:
        first, *more = _wrap(text, width - before)
        return first, [f"{' ' * before}{line}" for line in more]
    return "", _wrap(text, width, first=_INDENT, others=_INDENT)


def _wrap(text: str, width: int, first: str = "", others: str = "") -> list[str]:
    """Lines of this width, with their indents. No word is broken: an address that is too long is still one."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )


def _sentence(text: str, width: int | None) -> list[str]:
    """A line, or several: below what follows its label, or indented further. Short phrases stay together."""
    indent = len(text) - len(text.lstrip())
    if width is None or width - indent < _NARROWEST:
        return [text]
    label = _LABEL.match(text)
    hang = label.end() if label and width - label.end() >= _NARROWEST else indent + len(_INDENT)
    phrases = text[indent:].split(", ")
    whole = ", ".join(each.replace(" ", _NO_BREAK) if len(each) <= _SHORT else each for each in phrases)
    return [line.replace(_NO_BREAK, " ") for line in _wrap(whole, width, first=" " * indent, others=" " * hang)]


def instant(at_ns: int | None) -> str:
    """A wall time to the microsecond: `2026-01-02 03:04:05.000006`."""
    if at_ns is None:
        return "-"
    seconds, ns = divmod(at_ns, NANOS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{ns // 1000:06d}"


def _span(ns: int) -> str:
    """A long time in its two greatest units: `3d 4h`."""
    seconds = max(0, ns) // NANOS
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _time(value_ns: float | None) -> str:
    return "-" if value_ns is None else duration(value_ns)


def _words(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")


def control_info(views: Sequence[ControlView], width: int | None) -> list[str]:
    """`show client|server control-info`."""
    if not views:
        return ["No control connections."]
    rows = [
        (
            view.name,
            endpoint(view.client_address, view.client_port) if view.client_address else "-",
            endpoint(view.server_address, view.server_port) if view.server_address else "-",
            str(view.active_tests),
            view.status,
            view.mode,
            str(view.retries),
            f"{instant(view.since_ns)[:19]} UTC",
            view.reason or "",
        )
        for view in views
    ]
    head = ("Control name", "Client", "Server", "Tests", "Status", "Auth mode", "Retries", "Since", "Reason")
    return table(head, rows, (3, 6), width)


def test_info(views: Sequence[TestView], width: int | None) -> list[str]:
    """`show client|server test-info`."""
    if not views:
        return ["No test-sessions."]
    rows = [
        (
            view.connection,
            view.name,
            PROTOCOLS.get(view.protocol, view.protocol),
            endpoint(view.sender_address, view.sender_port) if view.sender_address else "-",
            endpoint(view.reflector_address, view.reflector_port) if view.reflector_address else "-",
            view.status,
            str(view.packets),
            view.reason or "",
        )
        for view in views
    ]
    head = ("Control name", "Test name", "Protocol", "Sender", "Reflector", "Status", "Packets", "Reason")
    return table(head, rows, (6,), width)


def results_brief(views: Sequence[ResultsView], width: int | None) -> list[str]:
    """A line for each test-session: its last test, or the current one before there is a last, and what is wrong."""
    if not views:
        return ["No results."]
    rows = []
    for view in views:
        last = _collection(view, "last-test") or _collection(view, "current-test")
        found = {} if last is None else {m.type: m for m in last.measurements}
        rtt, jitter = found.get("rtt"), found.get("rtt-jitter")
        rows.append(
            (
                view.connection,
                view.session,
                view.target,
                view.verdict.upper(),
                "-" if last is None else str(last.sent),
                "-" if last is None or last.loss_ratio is None else percent(last.loss_ratio, 4),
                _time(None if rtt is None else rtt.mean_ns),
                _time(None if rtt is None else rtt.max_ns),
                _time(None if jitter is None else jitter.mean_ns),
                ", ".join(view.alarms),
                "; ".join(view.verdict_reasons) if view.verdict == "fail" else "",
            )
        )
    head = ("Control name", "Test name", "Target", "Result", "Sent", "Loss", "RTT", "Max", "Jitter", "Alarms", "Reason")
    return table(head, rows, (4, 5, 6, 7, 8), width)


def _collection(view: ResultsView, name: str) -> CollectionView | None:
    return next((c for c in view.collections if c.collection == name and c.sent), None)


def results(view: ResultsView, width: int | None) -> list[str]:
    """`show client probe-results`: everything of one test-session."""
    size = "continuous" if view.probe_count == 0 else f"{plural(view.probe_count, 'probe')} a test"
    source = f" from {view.source}" if view.source else ""
    protocol = PROTOCOLS.get(view.protocol, view.protocol)
    reasons = f": {'; '.join(view.verdict_reasons)}" if view.verdict_reasons else ""
    if view.verdict == "unknown":
        reasons = ": no test has been judged yet"
    # A failed one has it among its reasons.
    flag = ", disturbed by this host" * (view.last_test_disturbed and view.verdict == "pass")
    disturbed = f", {view.tests_disturbed} disturbed by this host" if view.tests_disturbed else ""
    lines = [
        f"Control name: {view.connection}, test name: {view.session}",
        f"  Target: {view.target}{source}, {protocol}, {size}, timestamps {view.timestamps or 'not known yet'}",
        f"  Result: {view.verdict.upper()}{reasons}{flag}",
        f"  Tests:  {view.tests_run} run, {view.tests_passed} passed, {view.tests_failed} failed{disturbed}",
    ]
    if view.path is not None or view.forward_path != "plain" or view.return_path is not None:
        name = "" if view.path is None else f"{view.path}, "
        back = "" if view.return_path is None else f", back {view.return_path}"
        lines.insert(2, f"  Path:   {name}{view.forward_path}{back}")
    if view.tlvs:
        lines.append(f"  TLVs:   {', '.join(view.tlvs)}")
    if told := _told(view.told):
        lines.append(f"  Told:   {told}")
    if view.alarms:
        lines.append(f"  Alarms: {', '.join(view.alarms)}")
    if clock := _clock(view.clock):
        lines.append(f"  Clocks: {clock}")
    if view.last_probe is not None:
        lines += _last_probe(view.last_probe)
    lines = [part for line in lines for part in _sentence(line, width)]
    shown = [c for c in view.collections if c.sent or c.collection != "moving-average"]
    percentiles = list(dict.fromkeys(name for c in shown for m in c.measurements for name in m.percentiles))
    last = next((c.test for c in shown if c.collection == "last-test"), None)
    for collection in shown:
        if collection.collection == "current-test" and collection.test is not None and collection.test == last:
            lines.append("  Current test: none is under way")
            continue
        lines += _collection_lines(collection, percentiles, width)
    return lines


def _told(values: Mapping[str, Any]) -> str:
    """What came of TLVs, by the metrics' labels: what nothing told, and counters of what never was, are left out."""
    words = []
    for name, value in values.items():
        metric = BY_NAME.get(name)
        if metric is None or value is None or (isinstance(value, int) and not value):
            continue
        if isinstance(value, dict):
            value = f"median {_time(value['median_ns'])}, max {_time(value['max_ns'])}"
        elif isinstance(value, float):
            value = percent(value, 3)
        words.append(f"{metric.label} {value}")
    return ", ".join(words)


def _clock(clock: Mapping[str, int | None]) -> str:
    words = []
    for end in ("local", "far"):
        synchronized, error = clock.get(f"{end}_synchronized"), clock.get(f"{end}_error_ns")
        if synchronized is not None:
            known = "" if error is None or not synchronized else f" within {duration(error)}"
            words.append(f"{end} {'synchronised' if synchronized else 'not synchronised'}{known}")
    bound = clock.get("one_way_error_bound_ns")
    if words and bound is None:
        words.append("one-way delays include their offset")
    return ", ".join(words)


def _fate(probe: ProbeView) -> str:
    """What became of a probe, and whether this host had a hand in it."""
    if probe.disturbed and probe.sent_ns is None:
        return "not sent in time by this host"
    return _words(probe.status) + ", disturbed by this host" * probe.disturbed


def _last_probe(probe: ProbeView) -> list[str]:
    lines = [f"  Last probe: {probe.sequence} (test {probe.test}), {_fate(probe)}"]
    if probe.sent_ns is None:
        return lines if probe.disturbed else [f"{lines[0]}: it could not be sent"]
    stamps = "/".join(stamp or "-" for stamp in (probe.t1_source, probe.t4_source))
    came = "no reply" if probe.received_ns is None else f"received {instant(probe.received_ns)[11:]}"
    lines.append(f"    Sent {instant(probe.sent_ns)} UTC, {came}, stamped by {stamps}")
    if probe.rtt_ns is not None:
        jitters = (probe.rtt_jitter_ns, probe.egress_jitter_ns, probe.ingress_jitter_ns)
        lines.append(
            f"    RTT {_time(probe.rtt_ns)}, egress {_time(probe.egress_ns)}, ingress {_time(probe.ingress_ns)}, "
            f"jitter {' / '.join(map(_time, jitters))}"
        )
    return lines


def _when(view: CollectionView) -> str:
    """The span of a collection: what is not over has a beginning alone."""
    if view.collection in ("current-test", "all-tests") or view.ended_ns is None:
        return f"since {instant(view.started_ns)[:19]} UTC"
    start, end = instant(view.started_ns)[:19], instant(view.ended_ns)[:19]
    return f"{start} to {end[11:] if end[:10] == start[:10] else end} UTC"


def _collection_lines(view: CollectionView, percentiles: Sequence[str], width: int | None) -> list[str]:
    label = COLLECTIONS.get(view.collection, view.collection) + (f" {view.test}" if view.test is not None else "")
    if view.collection == "last-test" and not view.complete:
        label += " (interrupted)"
    if not view.sent:
        return [f"  {label}: nothing sent yet"]
    loss = "loss not known yet" if view.loss_ratio is None else f"{percent(view.loss_ratio, 4)} loss"
    words = [f"{plural(view.sent, 'probe')} sent", f"{view.received} received", loss]
    direction = [
        f"{name} {count}"
        for name, count in (
            ("egress", view.lost_egress),
            ("ingress", view.lost_ingress),
            ("direction unknown", view.lost_unattributed),
        )
        if count
    ]
    if view.lost:
        runs = f"{plural(view.bursts, 'run')}, the longest {view.longest_burst}"
        words.append(f"{view.lost} lost ({', '.join([*direction, runs])})")
    counts = (("late", view.late), ("duplicate", view.duplicates), ("reordered", view.reordered))
    words += [f"{count} {name}" for name, count in (*counts, ("not sent", view.not_sent)) if count]
    lines = _sentence(f"  {label}, {_when(view)}: {', '.join(words)}", width)
    if view.own_faults:
        faults = ", ".join(f"{_words(name)} {count}" for name, count in view.own_faults.items())
        lines += _sentence(f"    This host's own faults: {faults}", width)
    return lines + _spreads([each for each in view.measurements if each.samples], percentiles, width)


def _spreads(views: Sequence[MeasurementView], percentiles: Sequence[str], width: int | None) -> list[str]:
    """The delays of a collection."""
    if not views:
        return []

    def made(names: Sequence[str]) -> list[str]:
        head = ("", "Samples", "", "Min", "Mean", "Max", "Deviation", *names)
        rows = [_measurement(view, names) for view in views]
        return [f"    {line}" for line in table(head, rows, (1, *range(3, len(head))))]

    return _as_fits(made, percentiles, width)


def _as_fits(made: Callable[[Sequence[str]], list[str]], percentiles: Sequence[str], width: int | None) -> list[str]:
    """A table with as many percentiles as there is room for; p99 is the last to go, the others from the right."""
    names = list(percentiles)
    lines = made(names)
    while width is not None and names and max(map(len, lines)) > width:
        names.remove(next((name for name in reversed(names) if name != "p99"), names[-1]))
        lines = made(names)
    return lines


def _measurement(view: MeasurementView, percentiles: Sequence[str]) -> tuple[str, ...]:
    """Label, samples, unit, then numbers in that unit."""
    scale = scale_for(max(abs(view.mean_ns), view.stddev_ns))
    values = (view.min_ns, view.mean_ns, view.max_ns, view.stddev_ns)
    quantiles = (view.percentiles.get(name) for name in percentiles)
    return (
        MEASUREMENTS.get(view.type, view.type),
        str(view.samples),
        scale.unit,
        *(scale.number(value) for value in values),
        *("-" if value is None else scale.number(value) for value in quantiles),
    )


def history_brief(rows: Iterable[tuple[str, str, ProbeView]]) -> list[str]:
    """`show client history-results`: (connection, session, probe)."""
    cells = [
        (
            connection,
            session,
            str(probe.sequence),
            instant(probe.sent_ns),
            instant(probe.received_ns),
            _fate(probe),
            _time(probe.rtt_ns),
        )
        for connection, session, probe in rows
    ]
    if not cells:
        return ["No probes in the history."]
    head = ("Control name", "Test name", "Probe", "Sent (UTC)", "Received (UTC)", "Status", "RTT")
    return table(head, cells, (2, 6))


def history_detail(rows: Iterable[tuple[str, str, ProbeView]]) -> list[str]:
    """`show client history-results detail`: everything known of each probe."""
    cells = [
        (
            connection,
            session,
            str(probe.sequence),
            str(probe.test),
            instant(probe.sent_ns),
            "ok" if probe.rtt_ns is not None and not probe.disturbed else _fate(probe),
            *map(
                _time,
                (
                    probe.rtt_ns,
                    probe.egress_ns,
                    probe.ingress_ns,
                    probe.rtt_jitter_ns,
                    probe.egress_jitter_ns,
                    probe.ingress_jitter_ns,
                    probe.residence_ns,
                ),
            ),
            "/".join(stamp or "-" for stamp in (probe.t1_source, probe.t4_source)),
        )
        for connection, session, probe in rows
    ]
    if not cells:
        return ["No probes in the history."]
    names = ("Control name", "Test name", "Probe", "Test", "Sent (UTC)", "Status")
    delays = ("RTT", "Egress", "Ingress", "Jitter", "Egr. jitter", "Ingr. jitter", "In reflector")
    return table((*names, *delays, "T1/T4"), cells, (2, 3, *range(6, 13)))


def events(rows: Iterable[Mapping[str, object]], width: int | None) -> list[str]:
    """`show events`: the API's events."""
    cells = [
        (
            instant(int(str(row["at_ns"]))),
            str(row["severity"]),
            str(row["name"]) + ("" if row["state"] == "once" else f" {row['state']}"),
            str(row["message"]),
        )
        for row in rows
    ]
    head = ("Time (UTC)", "Severity", "Notice", "Message")
    return table(head, cells, width=width) if cells else ["No events."]


def notices(width: int | None) -> list[str]:
    """`show notices`: what the daemon can tell."""
    rows = [
        (kind.name, kind.severity.name.lower(), kind.scope.value, "yes" if kind.trap else "no", kind.meaning)
        for kind in NOTICES.values()
    ]
    return table(("Notice", "Severity", "About", "Trap", "Meaning"), rows, width=width)


def health(view: HealthView, now_ns: int, width: int | None) -> list[str]:
    """`show health`."""
    reload = "taken over" if view.reload_ok else "REFUSED, nothing was changed"
    steal = "" if view.cpu_steal_ratio is None else f", {percent(view.cpu_steal_ratio, 3)} of the processor stolen"
    loaded = instant(view.configuration_loaded_ns)[:19]
    lines = [
        f"twoway {view.version}, running for {_span(now_ns - view.started_ns)}, {view.rss_octets / 2**20:.0f} MiB",
        f"Configuration:  {view.configuration}, loaded {loaded} UTC; the last one offered was {reload}",
        *(f"                {error}" for error in view.reload_errors),
        f"Test-sessions:  {_counts(view.sessions) or 'none'}",
        f"Alarms:         {_alarms(view.alarms)}",
        f"Own faults:     {_counts({n: c for n, c in view.own_faults.items() if c}) or 'none'}",
        f"Event loop:     {setting(view.loop_lag_ns)} late at most in the last minute{steal}",
        f"Store:          {_store(view.store)}",
    ]
    for name, value in view.store.items():
        if value and name.startswith(("lost_", "unreadable", "set_aside")):
            lines.append(f"                {_words(name)} {value}")
    lines.append("Receivers:      " + ("" if view.receivers else "none"))
    for receiver in view.receivers:
        words = [f"{name} {receiver[name]}" for name in ("sent", "queued", "suppressed", "dropped") if name in receiver]
        error = f": {receiver['last_error']}" if receiver.get("last_error") else ""
        lines.append(f"  {receiver.get('receiver', '?')} {receiver.get('state', '')}: {', '.join(words)}{error}")
    if view.routes is not None:
        lines.append(f"Routes:         {_routes(view.routes)}")
    refused = {name: count for name, count in view.api.items() if count and name != "requests"}
    lines.append(f"API:            {plural(view.api.get('requests', 0), 'request')}{_after(_counts(refused))}")
    return [part.rstrip() for line in lines for part in _sentence(line, width)]


def _alarms(count: int) -> str:
    return f"in {plural(count, 'test-session')}: `twoway top --sort alarms`" if count else "none"


def _routes(view: RoutesView) -> str:
    counts = asdict(view)
    protocol, raised = counts.pop("protocol"), counts.pop("raised")
    now = "".join(f"{name} raised for {count}, " for name, count in raised.items())
    said = {name: count for name, count in counts.items() if count or name in ("changes", "requests")}
    return f"{now}protocol {protocol}, {_counts(said)}"


def _after(words: str) -> str:
    return f", {words}" if words else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_words(name)} {count}" for name, count in counts.items())


def _store(store: Mapping[str, int | str | bool]) -> str:
    words = [str(store.get("state", "off"))]
    if reason := store.get("reason"):
        words[0] += f" ({reason})"
    if isinstance(octets := store.get("octets"), int):
        words.append(f"{octets / 2**20:.1f} MiB")
    if path := store.get("path"):
        words.append(f"in {path}")
    return ", ".join(words)


def window(
    connection: str,
    session: str,
    start_ns: int,
    end_ns: int,
    metrics: Mapping[str, Mapping[str, Any]],
    width: int | None,
) -> list[str]:
    """`show client window`: the sections of a result document, as `export.json_result.metrics` makes them."""
    packets, ratios = metrics[Section.PACKETS], metrics[Section.RATIOS]
    lines = [
        f"Control name: {connection}, test name: {session}",
        f"  {instant(start_ns)[:19]} to {instant(end_ns)[:19]} UTC ({_span(end_ns - start_ns)})",
    ]
    counts = ((metric, packets.get(metric.name)) for metric in in_section(Section.PACKETS) if metric.shown)
    words = [
        f"{metric.label} {count}"
        for metric, count in counts
        if metric.part_of is None and isinstance(count, int) and (count or metric.always)
    ]
    loss = ratios.get("loss_ratio")
    lost = "loss not known" if loss is None else f"loss {percent(loss, 4)}"
    lines += _sentence(f"  {', '.join([*words, lost])}", width)
    if told := _told(metrics.get(Section.TLVS, {})):
        lines += _sentence(f"  TLVs told: {told}", width)
    spreads = [
        (metric.label, metrics[section][metric.name])
        for section in (Section.DELAY, Section.VARIATION)
        for metric in in_section(section)
        if metric.kind is Kind.DISTRIBUTION and metrics[section].get(metric.name) is not None
    ]
    if not spreads:
        return lines

    def made(percentiles: Sequence[str]) -> list[str]:
        rows = []
        for label, spread in spreads:
            scale = scale_for(max(abs(spread["mean_ns"] or 0), spread["stddev_ns"] or 0))
            names = ("min_ns", "mean_ns", "max_ns", "stddev_ns")
            values = [*(spread[name] for name in names), *(spread["percentiles_ns"].get(name) for name in percentiles)]
            numbers = ("-" if value is None else scale.number(value) for value in values)
            rows.append((label, str(spread["count"]), scale.unit, *numbers))
        head = ("", "Samples", "", "Min", "Mean", "Max", "Deviation", *percentiles)
        return [f"  {line}" for line in table(head, rows, (1, *range(3, len(head))))]

    percentiles = list(dict.fromkeys(name for _, spread in spreads for name in spread["percentiles_ns"]))
    return lines + _as_fits(made, percentiles, width)
