"""The row of the dashboard about tracked routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana import BANDS, GOOD_BELOW_ONE, GREEN, ORANGE, TIMELINE, Panel, Query, graph, stat, steps, words
from promql import DAEMONS, IF_ANY, per_minute

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROUTE = "prefix, routing_instance"
_HOP = f"{_ROUTE}, next_hop"
_NAMED = "{{prefix}} {{routing_instance}} {{next_hop}}"
_UNUSUAL = steps((None, GREEN), (1, ORANGE))


def _count(metric: str, value: int) -> str:
    return f"count({metric}{{{DAEMONS}}} == {value}) or vector(0)"


def panels() -> Iterator[Panel]:
    """All of it."""
    yield stat(
        "In the kernel's table",
        "Tracked routes that the kernel has.",
        "short",
        Query(_count("twoway_route_active", 1)),
    )
    yield stat(
        "Unavailable",
        "Tracked routes of which no next hop is good, but for backups that are not needed.",
        "short",
        Query(_count("twoway_route_unavailable", 1)),
        defaults=GOOD_BELOW_ONE,
    )
    yield stat(
        "Not as decided",
        "The kernel refuses a next hop, or others changed a route: `twoway show routes` says why.",
        "short",
        Query(_count("twoway_route_degraded", 1)),
        defaults=GOOD_BELOW_ONE,
    )
    yield stat(
        "Held",
        "For maintenance: they do not follow their tests.",
        "short",
        Query(_count("twoway_route_held", 1)),
        defaults=_UNUSUAL,
    )
    yield stat(
        "Last change",
        "Of any tracked route.",
        "dateTimeFromNow",
        Query(f"1000 * max(twoway_route_last_change_timestamp_seconds{{{DAEMONS}}})"),
    )
    yield Panel(
        "state-timeline",
        "Next hops in use",
        "Which of them the kernel had, and when. Of many routes, those that changed in the time shown.",
        (
            Query(
                f"max by ({_HOP}) (twoway_route_next_hop_active{{{DAEMONS}}})"
                f" and on ({_ROUTE})"
                f" max by ({_ROUTE}) (changes(twoway_route_changes_total{{{DAEMONS}}}[$__range])) > 0",
                _NAMED,
            ),
        ),
        24,
        options=TIMELINE,
        custom=BANDS,
        defaults={
            **words((0, "not in use", ORANGE), (1, "in use", GREEN)),
            "color": {"mode": "thresholds"},
            **steps((None, ORANGE), (1, GREEN)),
        },
    )
    yield graph(
        "Next hops by what their tests say",
        "Good ones and bad ones; a next hop that was suppressed for flapping is among the bad.",
        "short",
        Query(_count("twoway_route_next_hop_up", 1), "good"),
        Query(_count("twoway_route_next_hop_up", 0), "bad"),
        width=8,
    )
    yield graph(
        "Flaps: the ten worst, and their penalty",
        "How often next hops went down in an hour, and what damping counts for it.",
        "short",
        Query(f"topk(10, sum by ({_HOP}) (increase(twoway_route_next_hop_flaps_total{{{DAEMONS}}}[1h])) > 0)", _NAMED),
        Query(f"topk(10, max by ({_HOP}) (twoway_route_next_hop_penalty{{{DAEMONS}}}) > 0)", f"penalty {_NAMED}"),
        width=8,
        overrides=(
            {
                "matcher": {"id": "byRegexp", "options": "penalty .*"},
                "properties": [{"id": "custom.axisPlacement", "value": "right"}],
            },
        ),
    )
    yield graph(
        "Changes, the kernel, and the hook",
        "Decisions, requests to the kernel and refusals, changes by others, runs of the hook: a minute.",
        "short",
        Query(per_minute("twoway_route_tracking_total", DAEMONS, "event") + IF_ANY, "{{event}}"),
        width=8,
    )
