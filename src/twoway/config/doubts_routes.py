"""What a configuration says of tracked routes that works, but hardly as somebody means it. Pure.

The most common mistake of all is a test whose probes take the route that they decide about: with the route they move to
the other next hop, are well there, and move it back.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from twoway.config.endpoint import parse_endpoint
from twoway.config.plan import Limit, Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.config.document import Path as Place
    from twoway.config.plan import ConnectionPlan, SessionPlan
    from twoway.config.route_plan import NextHopPlan, RoutePlan, RoutesPlan, TestKey, TrackPlan

    Warn = Callable[[Place, str], None]

_FEW_PROBES = 10
"""A window with less tells chance from quality badly."""
_FEW_LOST = 3
_RATIOS = ("loss_ratio", "loss_forward_ratio", "loss_backward_ratio")


def doubt_routes(routes: RoutesPlan, connections: Sequence[ConnectionPlan], warn: Warn) -> None:
    """Tell `warn` of everything doubtful."""
    tests = {session.key: (connection, session) for connection in connections for session in connection.sessions}
    for key in routes.windows():
        connection, _ = tests[key]
        if connection.test_start == "manual":
            warn(_session(key), "decides about a route, and does not run before `twoway request start`")
    judged: set[TrackPlan] = set()
    for route in routes.routes:
        place = _route(route)
        _order(route, place, warn)
        for hop in route.next_hops:
            if hop.track is None:
                continue
            for key in hop.track.tests:
                _path(route, hop, tests[key][1], (*place, "next-hop", hop.name), warn)
            if hop.track not in judged:  # whoever is judged alike is spoken of once
                judged.add(hop.track)
                _judgement(hop, tests, (*place, "next-hop", hop.name), warn)


def _route(route: RoutePlan) -> Place:
    instance: Place = ("routing-instance", route.instance) if route.instance else ()
    return ("routes", *instance, "route", route.prefix)


def _session(key: TestKey) -> Place:
    return ("client", "control-connection", key[0], "test-session", key[1])


def _order(route: RoutePlan, place: Place, warn: Warn) -> None:
    """A next hop behind one that is always good is never used."""
    always = min((hop.preference for hop in route.next_hops if hop.track is None), default=None)
    for hop in route.next_hops:
        if always is not None and hop.preference > always:
            first = next(one for one in route.next_hops if one.track is None and one.preference == always)
            warn((*place, "next-hop", hop.name), f"is never used: no test decides about {first.name} before it")


def _path(route: RoutePlan, hop: NextHopPlan, session: SessionPlan, place: Place, warn: Warn) -> None:
    """Probes that take the route that they decide about."""
    light = session.light
    if light is None or light.interface is not None or light.netns is not None or light.source is not None:
        return
    try:
        target = ip_address(parse_endpoint(light.target).host)
    except ValueError:
        return  # a name: who knows
    network = ip_network(route.prefix)
    on_link = hop.gateway is not None and target == ip_address(hop.gateway)
    if target.version == network.version and target in network and not hop.discards and not on_link:
        warn(
            (*place, "test"),
            f"probes of {'/'.join(session.key)} to {target} take this route themselves, and so any of its next hops: "
            "pin them to this one by the control-connection's routing-instance (an interface) or source-address",
        )


def _judgement(
    hop: NextHopPlan, tests: dict[TestKey, tuple[ConnectionPlan, SessionPlan]], place: Place, warn: Warn
) -> None:
    track = hop.track
    if track is None:
        return
    for key in track.tests:
        session = tests[key][1]
        if track.window is None:
            negotiated = session.managed is not None and session.thresholds.control_failure
            if not negotiated and _is_off(session.thresholds):
                warn((*place, "test"), f"{'/'.join(key)} cannot fail: its thresholds are all off")
            continue
        request = session.light or session.managed
        probes = 0 if request is None else track.window.window_ns // request.interval_ns
        where = (*place, "track", "window")
        if probes < _FEW_PROBES:
            warn(where, f"holds {probes} probes of {'/'.join(key)}: chance decides")
            continue
        for limit in track.window.limits:
            if limit.metric in _RATIOS and limit.limit * probes < _FEW_LOST:
                lost = max(1, -(-limit.limit * probes // 1))
                warn(
                    where,
                    f"holds {probes} probes of {'/'.join(key)}, of which {lost:.0f} lost "
                    f"meet{'s' * (lost == 1)} a limit of {limit.limit:.4g}: chance decides",
                )


def _is_off(thresholds: Thresholds) -> bool:
    """Whether no probe can fail a test."""
    fields = Thresholds.__dataclass_fields__
    limits = (value for name in fields if isinstance(value := getattr(thresholds, name), Limit))
    return not thresholds.successive_loss and not thresholds.total_loss and all(not one.limit_ns for one in limits)
