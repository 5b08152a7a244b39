"""The row of the dashboard about one test-session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import (
    ANSWERED,
    BARS,
    LOSS_STEPS,
    VERDICT,
    Panel,
    Query,
    graph,
    stat,
)
from promql import RANGE, SESSION, mean, per_minute, quantile, rate, share, sum_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def panels() -> Iterator[Panel]:
    """All of it."""
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
        "Last probe", "Of which it is known.", "short", Query(f"twoway_session_up{{{SESSION}}}"), defaults=ANSWERED
    )
    yield stat("Last test", "By its thresholds.", "short", Query(f"twoway_test_passed{{{SESSION}}}"), defaults=VERDICT)
    yield stat(
        "Loss of the last test",
        "Probes lost or late.",
        "percentunit",
        Query(f"twoway_last_test_loss_ratio{{{SESSION}}}"),
        width=5,
        defaults=LOSS_STEPS,
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
