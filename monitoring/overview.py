"""The row of the dashboard about all test-sessions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import (
    ANSWERED,
    BANDS,
    GOOD_BELOW_ONE,
    GREEN,
    LOSS_STEPS,
    RED,
    STACKED,
    TIMELINE,
    VERDICT,
    Panel,
    Query,
    by_name,
    graph,
    stat,
    steps,
    words,
)
from promql import DAEMONS, EACH, loss, per_minute, quantile, sum_of

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            by_name("Last probe", mappings=ANSWERED["mappings"], custom_cellOptions=cell),
            by_name("Last test", mappings=VERDICT["mappings"], custom_cellOptions=cell),
            by_name("Alarms", thresholds=GOOD_BELOW_ONE["thresholds"], custom_cellOptions=cell),
            by_name("Loss", unit="percentunit", thresholds=LOSS_STEPS["thresholds"], custom_cellOptions=cell),
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


def panels() -> Iterator[Panel]:
    """All of it."""
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
        defaults=GOOD_BELOW_ONE,
    )
    yield stat(
        "Alarms",
        "Alarms that are raised now, in all test-sessions.",
        "short",
        Query(f"sum(twoway_alarms{{{DAEMONS}}})"),
        defaults=GOOD_BELOW_ONE,
    )
    yield stat("Loss", "Of all test-sessions together.", "percentunit", Query(loss(DAEMONS)), defaults=LOSS_STEPS)
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
        options=TIMELINE,
        custom=BANDS,
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
