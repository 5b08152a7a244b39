"""The row of the dashboard about what STAMP TLVs told of one test-session. Without TLVs it stays empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import BARS, Panel, Query, graph
from promql import IF_ANY, SESSION, per_minute, quantile, rate, sum_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def _counted_loss(direction: str) -> str:
    """What of the packets that one end counted as sent the other did not count."""
    counted = f'{SESSION},direction="{direction}",result='
    name = "twoway_direct_measurement_packets_total"
    received, sent = (sum_of(rate(name, f'{counted}"{result}"')) for result in ("received", "sent"))
    return f"1 - {received} / ({sent} > 0) or vector(0)"


def panels() -> Iterator[Panel]:
    """All of it."""
    yield graph(
        "Not as it was asked",
        "Replies a minute that did not do what a TLV asked, or cannot be trusted to, and those that show that a DSCP "
        "was changed on the way.",
        "short",
        Query(per_minute("twoway_tlv_replies_total", SESSION, "outcome") + IF_ANY, "{{outcome}}"),
        Query(per_minute("twoway_remarked_replies_total", SESSION, "direction") + IF_ANY, "remarked {{direction}}"),
        width=8,
        custom=BARS,
        defaults={"min": 0},
    )
    yield graph(
        "Loss by the counters of both ends",
        "Direct Measurement: what one end counted as sent, and the other did not count.",
        "percentunit",
        Query(_counted_loss("forward"), "there"),
        Query(_counted_loss("backward"), "back"),
        width=8,
        defaults={"min": 0},
    )
    yield graph(
        "Follow-Up Telemetry",
        "How wrong the T3 in the replies was, which the reflector's own transmit stamps replaced; and replies a minute "
        "that kept theirs.",
        "s",
        Query(quantile(0.5, "twoway_follow_up_correction_seconds", SESSION) + " or vector(0)", "corrected by, p50"),
        Query(quantile(0.99, "twoway_follow_up_correction_seconds", SESSION) + " or vector(0)", "corrected by, p99"),
        Query(
            per_minute("twoway_follow_up_replies_total", f'{SESSION},result="not_followed_up"') + " or vector(0)",
            "not followed up",
        ),
        width=8,
        overrides=(
            {
                "matcher": {"id": "byName", "options": "not followed up"},
                "properties": [{"id": "unit", "value": "short"}, {"id": "custom.axisPlacement", "value": "right"}],
            },
        ),
    )
    yield graph(
        "Location, access reports, further replies",
        "A minute: times that the last hop or the mapping of a NAT changed, access reports, and replies beyond "
        "the first to a probe.",
        "short",
        Query(per_minute("twoway_location_changes_total", SESSION) + " or vector(0)", "location changed"),
        Query(per_minute("twoway_access_reports_total", SESSION, "result") + IF_ANY, "access report {{result}}"),
        Query(per_minute("twoway_further_replies_total", SESSION, "result") + IF_ANY, "further replies {{result}}"),
        width=8,
        defaults={"min": 0},
    )
