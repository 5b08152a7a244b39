"""Makes dashboard.json, which Grafana imports: `make docs` writes it, `make lint` fails while it is stale.

Expressions ask the daemon's own series and not the recording rules, so that the dashboard works without these. Where
one needs a histogram it asks for the native one `or` the classic buckets: whichever Prometheus has. `$__rate_interval`
is Grafana's: four scrapes or more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

from grafana import (
    BARS,
    BLUE,
    GREEN,
    LEGEND,
    LINE,
    ORANGE,
    RED,
    SOURCE,
    STACKED,
    Json,
    Panel,
    Query,
    by_name,
    graph,
    placed,
    stat,
    steps,
    variable,
    words,
)
from promql import (
    DAEMONS,
    EACH,
    IF_ANY,
    RANGE,
    SESSION,
    loss,
    mean,
    per_minute,
    quantile,
    rate,
    share,
    sum_of,
)
from stamp_tlvs import panels as _stamp_tlvs
from tracked_routes import panels as _tracked_routes

if TYPE_CHECKING:
    from collections.abc import Iterator

_GOOD_BELOW_ONE = steps((None, GREEN), (1, RED))
_VERDICT = words((0, "FAIL", RED), (1, "pass", GREEN))
_ANSWERED = words((0, "no answer", RED), (1, "answered", GREEN))
_DONE = words((0, "no", RED), (1, "yes", GREEN))


# The panels.

_LOSS_STEPS = steps((None, GREEN), (0.001, ORANGE), (0.01, RED))
_RTT = f'{DAEMONS},direction="roundtrip"'


def _table_of_sessions() -> Panel:
    def query(expression: str) -> Query:
        return Query(expression, instant=True, format="table")

    queries = (
        query(f"max by ({EACH}, target, protocol) (twoway_session_info{{{DAEMONS}}})"),
        query(f"max by ({EACH}) (twoway_session_up{{{DAEMONS}}})"),
        query(f"max by ({EACH}) (twoway_test_passed{{{DAEMONS}}})"),
        query(f"max by ({EACH}) (twoway_alarms{{{DAEMONS}}})"),
        query(loss(DAEMONS, "connection", "session")),
        query(quantile(0.5, "twoway_delay_seconds", _RTT, "connection", "session")),
        query(quantile(0.99, "twoway_delay_seconds", _RTT, "connection", "session")),
    )
    names = ("Value #A", "Last probe", "Last test", "Alarms", "Loss", "p50", "p99")
    shown = ("connection", "session", "target", "protocol")
    renamed = {f"Value #{chr(ord('A') + n)}": name for n, name in enumerate(names) if n}
    link = {
        "title": "In depth",
        "url": "/d/${__dashboard.uid}?${datasource:queryparam}&${instance:queryparam}"
        "&var-connection=${__data.fields.Connection}&var-session=${__data.fields.Session}&${__url_time_range}",
    }
    cell = {"type": "color-text"}
    return Panel(
        "table",
        "Test-sessions",
        "All of them, those with alarms first. Loss and delay are of the last moments, verdict and alarms of the last "
        "test, by the session's own thresholds. A click on a session shows it below.",
        queries,
        24,
        height=10,
        options={
            "showHeader": True,
            "cellHeight": "sm",
            "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
            "sortBy": [{"displayName": "Alarms", "desc": True}],
        },
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False},
        overrides=(
            by_name("Session", links=[link]),
            by_name("Last probe", mappings=_ANSWERED["mappings"], custom_cellOptions=cell),
            by_name("Last test", mappings=_VERDICT["mappings"], custom_cellOptions=cell),
            by_name("Alarms", thresholds=_GOOD_BELOW_ONE["thresholds"], custom_cellOptions=cell),
            by_name("Loss", unit="percentunit", thresholds=_LOSS_STEPS["thresholds"], custom_cellOptions=cell),
            by_name("p50", unit="s"),
            by_name("p99", unit="s"),
        ),
        transformations=(
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True, "Value #A": True},
                    "indexByName": {name: n for n, name in enumerate((*shown, *renamed))},
                    "renameByName": {**{name: name.capitalize() for name in shown}, **renamed},
                },
            },
        ),
    )


def _overview() -> Iterator[Panel]:
    yield stat(
        "Test-sessions by state",
        "How many there are in each state: all should be testing, but for those that were stopped.",
        "short",
        Query(f"{sum_of(f'twoway_sessions{{{DAEMONS}}}', 'status')} > 0", "{{status}}"),
        width=8,
    )
    yield stat(
        "Last test failed",
        "Test-sessions whose last test failed, by their own thresholds.",
        "short",
        Query(f"count(twoway_test_passed{{{DAEMONS}}} == 0) or vector(0)"),
        defaults=_GOOD_BELOW_ONE,
    )
    yield stat(
        "Alarms",
        "Alarms that are raised now, in all test-sessions.",
        "short",
        Query(f"sum(twoway_alarms{{{DAEMONS}}})"),
        defaults=_GOOD_BELOW_ONE,
    )
    yield stat("Loss", "Of all test-sessions together.", "percentunit", Query(loss(DAEMONS)), defaults=_LOSS_STEPS)
    yield stat(
        "Round trip, p99",
        "Of all test-sessions together.",
        "s",
        Query(quantile(0.99, "twoway_delay_seconds", _RTT)),
        options={"graphMode": "area"},
    )
    yield _table_of_sessions()
    yield graph(
        "Loss: the ten worst",
        "Probes lost or late, of those whose fate is known.",
        "percentunit",
        Query(f"topk(10, {loss(DAEMONS, 'connection', 'session')})", "{{connection}} {{session}}"),
        defaults={"min": 0},
    )
    yield graph(
        "Round trip, p99: the ten slowest",
        "99 of 100 probes were back earlier.",
        "s",
        Query(
            f"topk(10, {quantile(0.99, 'twoway_delay_seconds', _RTT, 'connection', 'session')})",
            "{{connection}} {{session}}",
        ),
        defaults={"min": 0},
    )
    yield Panel(
        "state-timeline",
        "Alarms",
        "When each was raised and cleared. What this host itself disturbed raises and clears none.",
        (Query(f"max by ({EACH}, name) (twoway_alarm_raised{{{DAEMONS}}})", "{{connection}} {{session}} {{name}}"),),
        14,
        options={
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.9,
            "legend": {**LEGEND, "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        custom={"fillOpacity": 80, "lineWidth": 0},
        defaults={**words((1, "raised", RED)), "color": {"mode": "thresholds"}, **steps((None, RED))},
    )
    yield graph(
        "Tests by verdict",
        "Tests that ended, a minute.",
        "short",
        Query(per_minute("twoway_tests_total", DAEMONS, "verdict"), "{{verdict}}"),
        width=10,
        custom=STACKED,
        overrides=(
            by_name("fail", color={"mode": "fixed", "fixedColor": RED}),
            by_name("pass", color={"mode": "fixed", "fixedColor": GREEN}),
        ),
    )


def _depth() -> Iterator[Panel]:
    rtt = f'{SESSION},direction="roundtrip"'
    yield stat(
        "What is measured",
        "Protocol, target, and who takes the timestamps.",
        "short",
        Query(f"twoway_session_info{{{SESSION}}}", "{{protocol}} to {{target}} ({{timestamping}})"),
        width=6,
        options={"textMode": "name"},
    )
    yield stat(
        "Last probe", "Of which it is known.", "short", Query(f"twoway_session_up{{{SESSION}}}"), defaults=_ANSWERED
    )
    yield stat("Last test", "By its thresholds.", "short", Query(f"twoway_test_passed{{{SESSION}}}"), defaults=_VERDICT)
    yield stat(
        "Loss of the last test",
        "Probes lost or late.",
        "percentunit",
        Query(f"twoway_last_test_loss_ratio{{{SESSION}}}"),
        width=5,
        defaults=_LOSS_STEPS,
    )
    yield stat(
        "Round trip of the last test",
        "Mean.",
        "s",
        Query(f"twoway_last_test_delay_seconds{{{SESSION}}}"),
        width=5,
        options={"graphMode": "area"},
    )
    yield graph(
        "Round trip",
        "(T4 - T1) - (T3 - T2): without the time inside the reflector. Only probes that were back in time.",
        "s",
        *(Query(quantile(q, "twoway_delay_seconds", rtt), f"p{100 * q:g}") for q in (0.5, 0.95, 0.99)),
        Query(f"{mean('twoway_delay_seconds', rtt)} or avg(twoway_last_test_delay_seconds{{{SESSION}}})", "mean"),
    )
    yield Panel(
        "heatmap",
        "Round trip, distribution",
        "How many probes took how long: two bands are two paths, a smear is a queue.",
        (
            Query(
                f"sum(increase(twoway_delay_seconds{{{rtt}}}{RANGE}))"
                f" or sum by (le) (increase(twoway_delay_seconds_bucket{{{rtt}}}{RANGE}))",
                "{{le}}",
                format="heatmap",
            ),
        ),
        12,
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "fill": "dark-orange",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
        },
        custom={"scaleDistribution": {"type": "linear"}, "hideFrom": {"legend": False, "tooltip": False, "viz": False}},
    )
    one_way = []
    for direction, way in (("forward", "there"), ("backward", "back")):
        which = f'{SESSION},direction="{direction}"'
        one_way += [Query(quantile(q, "twoway_delay_seconds", which), f"{way}, p{100 * q:g}") for q in (0.5, 0.99)]
    yield graph(
        "One way",
        "By both clocks, whose offset is in it: it is true where both are synchronised, within the sum of their "
        "errors (shown below). Its changes are true in any case.",
        "s",
        *one_way,
    )
    variation = [
        Query(
            quantile(q, "twoway_delay_variation_seconds", f'{SESSION},direction="{direction}"'),
            f"{words}, p{100 * q:g}",
        )
        for direction, words in (("roundtrip", "round trip"), ("forward", "there"), ("backward", "back"))
        for q in (0.01, 0.99)
    ]
    yield graph(
        "Variation",
        "Difference to the delay of the packet sent before (IPDV, RFC 5481), which no clock disturbs.",
        "s",
        *variation,
    )
    yield graph(
        "Loss by direction",
        "By the reflector's own numbering; where it has none, the direction is unknown. Late: back, but after the "
        "timeout.",
        "percentunit",
        Query(share(SESSION, 'direction="forward",result="lost"'), "lost there"),
        Query(share(SESSION, 'direction="backward",result="lost"'), "lost back"),
        Query(share(SESSION, 'direction="unattributed",result="lost"'), "lost, direction unknown"),
        Query(share(SESSION, 'result="late"'), "late"),
        width=8,
        custom=BARS,
        defaults={"min": 0},
    )
    runs = sum_of(rate("twoway_loss_burst_packets_count", SESSION))
    yield graph(
        "Bursts of loss",
        "Runs of lost packets (RFC 3357): how long they are, and how many a minute. One long run is an outage, many "
        "short ones a queue that overflows.",
        "short",
        Query(f"{sum_of(rate('twoway_loss_burst_packets_sum', SESSION))} / ({runs} > 0) or vector(0)", "mean length"),
        Query(
            f"histogram_quantile(0.95, {sum_of(rate('twoway_loss_burst_packets_bucket', SESSION), 'le')})"
            f" and on () {runs} > 0 or vector(0)",
            "length, p95",
        ),
        Query(f"60 * {runs}", "runs a minute"),
        width=8,
        defaults={"min": 0},
    )
    yield graph(
        "Duplicates, reordering, and what is no reply",
        "Packets a minute, by direction; rejected: datagrams that came and answer nothing in flight, by reason.",
        "short",
        Query(
            per_minute("twoway_packets_total", f'{SESSION},result=~"duplicate|reordered"', "result", "direction"),
            "{{result}} {{direction}}",
        ),
        Query(per_minute("twoway_packets_rejected_total", SESSION, "reason"), "rejected: {{reason}}"),
        width=8,
        defaults={"min": 0},
    )
    yield graph(
        "This host's own faults",
        "What was due and did not leave, replies that this host dropped, and tests that it disturbed: a minute. None "
        "of it is in the loss.",
        "short",
        Query(per_minute("twoway_packets_not_sent_total", SESSION, "reason"), "not sent: {{reason}}"),
        Query(per_minute("twoway_local_drops_total", SESSION, "where"), "dropped: {{where}}"),
        Query(per_minute("twoway_tests_disturbed_total", SESSION), "tests disturbed"),
        width=8,
        defaults={"min": 0},
    )
    yield graph(
        "Send lateness and stamps",
        "How long after its moment a probe left, which is in no delay; and probes of which the kernel or the card did "
        "not take a stamp, so that user space had to.",
        "s",
        Query(quantile(0.99, "twoway_send_lateness_seconds", SESSION), "lateness, p99"),
        Query(per_minute("twoway_timestamps_total", f'{SESSION},source="user"', "stamp"), "{{stamp}} by user space"),
        width=8,
        defaults={"min": 0},
        overrides=(
            {
                "matcher": {"id": "byRegexp", "options": ".*user space"},
                "properties": [{"id": "unit", "value": "short"}, {"id": "custom.axisPlacement", "value": "right"}],
            },
        ),
    )
    yield graph(
        "Error of the clocks",
        "What each end says of its clock. The sum bounds the error of each one-way delay; an end without a line does "
        "not know, or is not synchronised.",
        "s",
        Query(f"twoway_clock_error_seconds{{{SESSION}}}", "{{end}}"),
        Query(f"twoway_clock_synchronized{{{SESSION}}}", "{{end}} synchronised"),
        width=8,
        defaults={"min": 0},
        overrides=(
            {
                "matcher": {"id": "byRegexp", "options": ".*synchronised"},
                "properties": [
                    {"id": "unit", "value": "bool_yes_no"},
                    {"id": "custom.axisPlacement", "value": "right"},
                    {"id": "custom.fillOpacity", "value": 0},
                    {"id": "max", "value": 1},
                ],
            },
        ),
    )


def _daemon() -> Iterator[Panel]:
    yield stat(
        "Version",
        "What runs.",
        "short",
        Query(f"twoway_build_info{{{DAEMONS}}}", "{{version}}"),
        options={"textMode": "name"},
    )
    yield stat("Runs since", "", "dateTimeFromNow", Query(f"1000 * twoway_start_time_seconds{{{DAEMONS}}}"))
    yield stat(
        "Configuration taken over",
        "Whether the last one that was offered was good; else the one before still runs.",
        "short",
        Query(f"min(twoway_config_last_reload_successful{{{DAEMONS}}})"),
        defaults=_DONE,
    )
    yield stat(
        "Configuration of",
        "When the one that runs was taken over.",
        "dateTimeFromNow",
        Query(f"1000 * twoway_config_last_reload_success_timestamp_seconds{{{DAEMONS}}}"),
    )
    yield stat(
        "Results are kept",
        "No: the store is degraded.",
        "short",
        Query(f"min(twoway_store_up{{{DAEMONS}}})"),
        defaults=_DONE,
    )
    yield stat(
        "Receivers take notices",
        "Of syslog and SNMP.",
        "short",
        Query(f"min(twoway_receiver_up{{{DAEMONS}}})"),
        defaults=_DONE,
    )
    yield graph(
        "Own faults",
        "What disturbed measurements, in sessions and seconds, a minute.",
        "short",
        Query(per_minute("twoway_own_faults_total", DAEMONS, "fault"), "{{fault}}"),
        width=8,
        custom=STACKED,
    )
    yield graph(
        "Lag of the event loop, and stolen time",
        "Packets wait for neither; answers and verdicts do.",
        "s",
        Query(f"twoway_event_loop_lag_seconds{{{DAEMONS}}}", "lag {{instance}}"),
        Query(f"twoway_cpu_steal_ratio{{{DAEMONS}}}", "stolen {{instance}}"),
        width=8,
        defaults={"min": 0},
        overrides=(
            {
                "matcher": {"id": "byRegexp", "options": "stolen.*"},
                "properties": [
                    {"id": "unit", "value": "percentunit"},
                    {"id": "custom.axisPlacement", "value": "right"},
                ],
            },
        ),
    )
    yield graph(
        "Memory",
        "That is resident.",
        "bytes",
        Query(f"twoway_resident_memory_bytes{{{DAEMONS}}}", "{{instance}}"),
        width=8,
        defaults={"min": 0},
    )
    yield graph(
        "Control connections",
        "Those whose test-sessions run, those whose do not, and attempts that failed since.",
        "short",
        Query(f"sum(twoway_control_connection_up{{{DAEMONS}}})", "up"),
        Query(f"count(twoway_control_connection_up{{{DAEMONS}}} == 0) or vector(0)", "down"),
        Query(f"sum(twoway_control_connection_retries{{{DAEMONS}}})", "failed attempts"),
        Query(f"sum(twoway_control_connection_sessions{{{DAEMONS}}})", "test-sessions that run"),
        width=8,
    )
    yield graph(
        "Notices",
        "Raised, cleared and told, a minute.",
        "short",
        Query(per_minute("twoway_notices_total", DAEMONS, "name", "state") + IF_ANY, "{{name}} {{state}}"),
        width=8,
        custom=BARS,
    )
    yield graph(
        "Receivers of notices",
        "What became of notices, a minute.",
        "short",
        Query(per_minute("twoway_receiver_notices_total", DAEMONS, "receiver", "result"), "{{receiver}}: {{result}}"),
        width=8,
    )
    yield graph(
        "Store: size, and what is free",
        "On its file system.",
        "bytes",
        Query(f"twoway_store_size_bytes{{{DAEMONS}}}", "size {{instance}}"),
        Query(f"twoway_store_disk_free_bytes{{{DAEMONS}}}", "free {{instance}}"),
        width=8,
        custom={**LINE, "scaleDistribution": {"type": "log", "log": 10}},
    )
    yield graph(
        "Store: written, waiting, lost",
        "Rows a second; what waits is a number.",
        "short",
        Query(sum_of(rate("twoway_store_written_total", DAEMONS), "what"), "{{what}} written"),
        Query(f"sum(twoway_store_queue{{{DAEMONS}}})", "waiting"),
        Query(sum_of(rate("twoway_store_lost_total", DAEMONS), "reason") + IF_ANY, "lost: {{reason}}"),
        Query(sum_of(rate("twoway_store_faults_total", DAEMONS), "fault") + IF_ANY, "fault: {{fault}}"),
        width=8,
    )
    yield graph(
        "Asked",
        "Requests to the management API and what it refused, a minute; how long a scrape takes.",
        "short",
        Query(per_minute("twoway_api_total", DAEMONS, "event"), "{{event}}"),
        Query(f'scrape_duration_seconds{{job="twoway",{DAEMONS}}}', "scrape"),
        width=8,
        overrides=(by_name("scrape", unit="s", custom_axisPlacement="right"),),
    )
    yield graph(
        "Reflector: packets",
        "Of light Session-Reflectors, a second: each packet received is in one line.",
        "pps",
        Query(
            sum_of(rate("twoway_reflector_packets_total", DAEMONS), "reason", "action") + IF_ANY,
            "{{reason}} {{action}}",
        ),
        width=8,
        custom=STACKED,
    )
    yield graph(
        "Reflector: test-sessions, threads, own faults",
        "Test-sessions that stateful ones remember; what it counts of itself, a minute.",
        "short",
        Query(f"twoway_reflector_sessions{{{DAEMONS}}}", "test-sessions of {{reflector}}"),
        Query(f"twoway_reflector_workers{{{DAEMONS}}}", "threads of {{reflector}}"),
        Query(
            per_minute("twoway_reflector_events_total", f'{DAEMONS},event!="transmit_stamps"', "event") + IF_ANY,
            "{{event}}",
        ),
        width=8,
    )
    yield graph(
        "Server",
        "Control connections and test-sessions of the Server; what it counts, a minute.",
        "short",
        Query(f"twoway_server_connections{{{DAEMONS}}}", "control connections"),
        Query(f"twoway_server_sessions{{{DAEMONS}}}", "test-sessions"),
        Query(per_minute("twoway_server_events_total", DAEMONS, "event") + IF_ANY, "{{event}}"),
        width=8,
    )


ROWS = {
    "Overview": _overview,
    "$connection $session": _depth,
    "$connection $session: STAMP TLVs": _stamp_tlvs,
    "Tracked routes": _tracked_routes,
    "Daemon": _daemon,
}


def dashboard() -> Json:
    """The whole of it."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    described = f'twoway_session_info{{{DAEMONS},connection="$connection"}}'
    return {
        "uid": "twoway",
        "title": "twoway",
        "description": "Network paths as twoway measures them: all at once, one in depth, the routes that follow "
        "them, and the daemon itself.",
        "tags": ["twoway", "network"],
        "schemaVersion": 39,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {
            "list": [
                {
                    "name": "The daemon was started, or took a configuration over",
                    "datasource": SOURCE,
                    "enable": True,
                    "hide": False,
                    "iconColor": BLUE,
                    "expr": f"changes(twoway_config_last_reload_success_timestamp_seconds{{{DAEMONS}}}{RANGE}) > 0",
                }
            ]
        },
        "templating": {
            "list": [
                {**source, "refresh": 1, "regex": "", "multi": False, "includeAll": False, "skipUrlSync": False},
                variable("instance", "Daemon", "label_values(twoway_build_info, instance)", several=True),
                variable(
                    "connection", "Control connection", f"label_values(twoway_session_info{{{DAEMONS}}}, connection)"
                ),
                variable("session", "Test-session", f"label_values({described}, session)"),
            ]
        },
        "links": [],
        "panels": list(placed(ROWS)),
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("dashboard.json").write_text(text(), encoding="utf-8")
    sys.stdout.write("dashboard.json: written\n")
