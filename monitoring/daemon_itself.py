"""The row of the dashboard about the daemon: what disturbs it, what it keeps and tells, its Server and reflectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import (
    BARS,
    GREEN,
    LINE,
    RED,
    STACKED,
    Panel,
    Query,
    by_name,
    graph,
    stat,
    words,
)
from promql import DAEMONS, IF_ANY, per_minute, rate, sum_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_DONE = words((0, "no", RED), (1, "yes", GREEN))


def panels() -> Iterator[Panel]:
    """All of it."""
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
