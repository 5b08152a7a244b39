"""What `twoway show routes` prints: tracked routes in the words of Junos's `show route sla-tracking`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from twoway.export.quantities import NANOS, plural
from twoway.export.show_text import instant, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twoway.analysis.views import NextHopView, RouteView

_NONE = ["No tracked routes."]


def brief(views: Sequence[RouteView]) -> list[str]:
    """A line for each next hop."""
    if not views:
        return _NONE
    rows = [
        (
            view.table,
            view.destination if number == 0 else "",
            str(view.metric) if number == 0 else "",
            str(view.preference) if number == 0 else "",
            str(view.tag) if number == 0 else "",
            hop.next_hop,
            hop.sla_source or "-",
            _tests(hop),
            _state(view, hop),
            _decided(hop),
            str(hop.flaps),
        )
        for view in views
        for number, hop in enumerate(view.next_hops)
    ]
    head = ("Routing table", "Destination", "Metric", "Preference", "Tag", "Next hop", "SLA source", "SLA test")
    return table((*head, "State", "Decided", "Flaps"), rows, (2, 3, 4, 10))


def detail(views: Sequence[RouteView]) -> list[str]:
    """Everything known of each route."""
    if not views:
        return _NONE
    lines: list[str] = []
    for name, routes in groupby(views, lambda view: view.table):
        lines.append(f"Routing table: {name}")
        for view in routes:
            lines += _route(view)
    return lines


def _route(view: RouteView) -> list[str]:
    words = [f"metric {view.metric}", f"preference {view.preference}", f"tag {view.tag}"]
    words.append(f"kernel's metric {view.priority}")
    words += ["no preempt"] if view.no_preempt else []
    instance = f", routing instance {view.instance}" if view.instance else ""
    changed = "" if view.changed_ns is None else f", last at {instant(view.changed_ns)[:19]} UTC"
    lines = [
        f"  Destination: {view.destination}{instance}, {', '.join(words)}",
        f"    State: {_in_use(view)}{', held' * view.held}; {plural(view.changes, 'change')}{changed}",
    ]
    if view.reason:
        lines.append(f"    Reason: {view.reason}")
    if view.refused is not None:
        lines.append(f"    The kernel does not take it: {view.refused}")
    rows = [
        (
            hop.next_hop,
            hop.sla_source or "-",
            _tests(hop),
            _state(view, hop),
            _decided(hop),
            str(hop.flaps),
            instant(hop.changed_ns)[:19],
        )
        for hop in view.next_hops
    ]
    head, *listed = table(_HOPS, rows, (5,))
    lines.append(f"    {head}")
    for hop, line in zip(view.next_hops, listed, strict=True):
        lines += [f"    {line}", *(f"      {name}: {text}" for name, text in _why(hop))]
    return lines


_HOPS = ("Next hop", "SLA source", "SLA test", "State", "Decided", "Flaps", "Changed (UTC)")


def _in_use(view: RouteView) -> str:
    """What packets take."""
    decided = ", ".join(hop.next_hop for hop in view.next_hops if hop.used)
    match view.state:
        case "dry-run":
            return f"dry run, {f'would be active by {decided}' if decided else 'would be inactive'}"
        case "degraded":
            return (
                f"degraded: {decided or 'nothing'} decided, the kernel has {', '.join(view.kernel or ()) or 'nothing'}"
            )
        case "active":
            return f"active by {decided}"
    if view.held:
        return "inactive"
    if any(hop.state == "unknown" for hop in view.next_hops):
        return "inactive: nothing is known yet"
    if all(hop.use_when == "fail" for hop in view.next_hops):
        return "inactive: a backup, which is not needed"
    return "inactive: no next hop is good"


def _why(hop: NextHopView) -> Iterator[tuple[str, str]]:
    """What made the next hop what it is, and what its tests say now."""
    if hop.refused is not None:
        yield "refused", hop.refused
    if hop.changed_ns is not None:
        yield "changed by", hop.reason
    for test, vote in hop.votes.items():
        yield "now", f"{test}: {vote}"


def _tests(hop: NextHopView) -> str:
    if not hop.tests:
        return "-"
    needed = "" if len(hop.tests) == 1 else f" ({hop.require} of {len(hop.tests)})"
    return f"{', '.join(hop.tests)}{needed}"


def _state(view: RouteView, hop: NextHopView) -> str:
    """What the kernel's table has."""
    if view.dry_run:
        return "would be active" if hop.used else "inactive"
    if hop.refused is not None or (hop.used and view.refused is not None):
        return "refused"
    if hop.active:
        return "link down" if hop.dead else "active"
    return "missing" if hop.used else "inactive"


def _decided(hop: NextHopView) -> str:
    """What its tests say, and what is going to change."""
    words = hop.state
    if hop.penalty:
        words += f", penalty {hop.penalty}"
    if hop.turning is not None and hop.turns_in_ns is not None:
        words += f", {hop.turning} in {hop.turns_in_ns / NANOS:.1f} s"
    return words
