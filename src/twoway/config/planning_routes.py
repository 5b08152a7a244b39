"""What the statements of tracked routes come to, and what they must not say together. Pure.

A test is named as CONTROL-CONNECTION/TEST-SESSION and must be one of those that could be planned. `track` is gathered
here: each of its statements from where it is written nearest to the next hop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from twoway.config.model.route_values import canonical_prefix, next_hop_of
from twoway.config.model.routes import AmountLimit, Track
from twoway.config.route_plan import (
    MOST_NEXT_HOPS,
    MOST_ROUTES,
    MOST_WINDOW_PROBES,
    DampingPlan,
    HookPlan,
    InstancePlan,
    LimitPlan,
    NextHopPlan,
    RoutePlan,
    RoutesPlan,
    TrackPlan,
    WindowPlan,
)
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from twoway.config.document import Path as Place
    from twoway.config.model.client import Client
    from twoway.config.model.routes import Damping, Hook, Limits, NextHop, Route, Routes, RoutesInstance
    from twoway.config.plan import ConnectionPlan, SessionPlan
    from twoway.config.planner import Planner
    from twoway.config.route_plan import TestKey

MAIN_TABLE = 254
"""RT_TABLE_MAIN of linux/rtnetlink.h."""

METRICS: Mapping[str, str] = {
    "loss": "loss_ratio",
    "loss_forward": "loss_forward_ratio",
    "loss_backward": "loss_backward_ratio",
    "lost": "lost",
    "lost_forward": "lost_forward",
    "lost_backward": "lost_backward",
    "late": "late",
    "duplicates": "duplicates",
    "reordered": "reordered_round_trip",
    "rtt": "round_trip",
    "forward": "forward",
    "backward": "backward",
    "residence": "residence",
    "pdv": "pdv_round_trip",
    "pdv_forward": "pdv_forward",
    "pdv_backward": "pdv_backward",
    "ipdv": "ipdv_round_trip",
    "ipdv_forward": "ipdv_forward",
    "ipdv_backward": "ipdv_backward",
    "jitter": "jitter_round_trip_ns",
    "jitter_forward": "jitter_forward_ns",
    "jitter_backward": "jitter_backward_ns",
    "remarked_forward": "remarked_forward",
    "remarked_backward": "remarked_backward",
    "direct_loss_forward": "direct_loss_forward_ratio",
    "direct_loss_backward": "direct_loss_backward_ratio",
}
"""Statement of `limits` -> the metric it is about."""
RATIO_METRICS: Mapping[str, str] = {
    "late": "late_ratio",
    "duplicates": "duplicates_ratio",
    "reordered": "reordered_ratio",
}
"""The same where the statement's value is a share."""
TOLD_BY: Mapping[str, tuple[str, str]] = {
    "remarked_forward": ("class-of-service", "cos=DSCP"),
    "remarked_backward": ("class-of-service", "cos=DSCP"),
    "direct_loss_forward": ("direct-measurement", "direct-measurement"),
    "direct_loss_backward": ("direct-measurement", "direct-measurement"),
}
"""Statement of `limits` -> the TLV that alone can tell, by its registered name and as a test-session asks for it."""


def plan_routes(planner: Planner, model: Routes, client: Client, connections: Sequence[ConnectionPlan]) -> RoutesPlan:
    """The tracked routes that could be planned, by tests of those connections of the client that could be."""
    tests = {session.key: session for connection in connections for session in connection.sessions}
    written = {
        (name, test if path is None else f"{test}:{path}")
        for name, connection in client.control_connection.items()
        for test, session in connection.test_session.items()
        for path in (session.path or (None,))
    }
    routes = _Routes(planner, model, tests, written - tests.keys())
    main = InstancePlan("")
    instances = [main]
    planned = routes.of(("routes",), main, model.route)
    for name, instance in model.routing_instance.items():
        place: Place = ("routes", "routing-instance", name)
        made = _instance(planner, place, name, instance)
        twin = next((one for one in instances if _same_table(one, made)), None)
        if twin is not None:
            planner.refuse(place, f"is the table of {twin.name or 'routes.route'} already")
            continue
        instances.append(made)
        planned += routes.of(place, made, instance.route)
    if len(planned) > MOST_ROUTES:
        planner.refuse(("routes",), f"{len(planned)} routes are more than {MOST_ROUTES}")
    if model.hook is not None and model.hook.command is None:
        planner.refuse(("routes", "hook", "command"), "there is none")
    return RoutesPlan(
        routes=tuple(planned[:MOST_ROUTES]),
        instances=tuple(instances),
        protocol=model.protocol,
        withdraw_on_exit=model.on_exit == "withdraw",
        restore=model.foreign_change == "restore",
        hook=_hook(model.hook),
        traps=frozenset(model.traps),
    )


def _hook(model: Hook | None) -> HookPlan | None:
    if model is None or model.command is None:
        return None
    return HookPlan(model.command, model.timeout, model.queue)


def _instance(planner: Planner, place: Place, name: str, model: RoutesInstance) -> InstancePlan:
    if model.vrf is not None and model.table is not None:
        planner.refuse((*place, "table"), f"the table is that of the VRF {model.vrf}: leave one of both out")
    if model.vrf is None and model.netns is None and model.table is None:
        planner.refuse(place, "names neither a vrf, nor a netns, nor a table")
    return InstancePlan(name, netns=model.netns, vrf=model.vrf, table=None if model.vrf is not None else model.table)


def _same_table(one: InstancePlan, other: InstancePlan) -> bool:
    tables = [None if plan.table == MAIN_TABLE and plan.vrf is None else plan.table for plan in (one, other)]
    return (one.netns, one.vrf, tables[0]) == (other.netns, other.vrf, tables[1])


class _Routes:
    """Routes on their way into the plan; judgements that are equal become one."""

    def __init__(
        self,
        planner: Planner,
        model: Routes,
        tests: Mapping[TestKey, SessionPlan],
        refused: AbstractSet[TestKey],
    ) -> None:
        self._planner = planner
        self._model = model
        self._tests = tests
        self._refused = refused
        """Tests that there are, but something is wrong with them: that has been said."""
        self._tracks: dict[TrackPlan, TrackPlan] = {}

    def of(self, place: Place, instance: InstancePlan, routes: Mapping[str, Route]) -> list[RoutePlan]:
        """The routes of one table."""
        planned: dict[str, RoutePlan] = {}
        written: dict[str, str] = {}
        for text, route in routes.items():
            here = (*place, "route", text)
            prefix = canonical_prefix(text)
            if prefix in written:
                self._planner.refuse(here, f"is the prefix of {written[prefix]!r} already")
                continue
            written[prefix] = text
            made = self._route(here, instance, prefix, route)
            if made is not None:
                planned[prefix] = made
        return list(planned.values())

    def _route(self, place: Place, instance: InstancePlan, prefix: str, model: Route) -> RoutePlan | None:
        refuse = self._planner.refuse
        where = (*place, "next-hop")
        if not model.next_hop:
            refuse(where, "there is none: a route needs at least one")
        if len(model.next_hop) > MOST_NEXT_HOPS:
            refuse(where, f"{len(model.next_hop)} next hops are more than {MOST_NEXT_HOPS}")
        hops: dict[str, NextHopPlan] = {}
        complete = True
        for text, hop in model.next_hop.items():
            made = self._next_hop((*where, text), text, hop, model, prefix)
            if made is None:
                complete = False
                continue
            if made.name in hops:
                refuse((*where, text), f"is the next hop {made.name} already")
            else:
                hops[made.name] = made
        planned = tuple(hops.values())
        if not planned:
            return None
        if complete and not any(hop.track is not None for hop in planned):
            refuse(where, "no next hop names a test, so nothing decides about this route")
        self._check_together(where, planned, prefix)
        return RoutePlan(
            instance=instance.name,
            prefix=prefix,
            next_hops=planned,
            metric=model.metric,
            preference=model.preference,
            tag=model.tag,
            no_preempt=model.no_preempt,
            dry_run=model.dry_run or self._model.dry_run,
        )

    def _check_together(self, where: Place, hops: tuple[NextHopPlan, ...], prefix: str) -> None:
        """What the kernel would refuse of next hops that are used at once."""
        for preference in dict.fromkeys(hop.preference for hop in hops):
            beside = [hop for hop in hops if hop.preference == preference]
            if len(beside) == 1:
                continue
            for hop in beside:
                if hop.discards:
                    self._planner.refuse((*where, hop.name), "stands beside others: give it a preference of its own")
                elif hop.gateway is None and ":" in prefix:
                    self._planner.refuse(
                        (*where, hop.name),
                        "IPv6 uses several next hops at once only if each has a gateway: write ADDRESS%INTERFACE, "
                        "or give it a preference of its own",
                    )

    def _next_hop(self, place: Place, text: str, model: NextHop, route: Route, prefix: str) -> NextHopPlan | None:
        gateway, interface = next_hop_of(text)
        if gateway is not None and (":" in gateway) != (":" in prefix):
            self._planner.refuse(place, f"is not of the address family of {prefix}")
            return None
        if model.onlink and (gateway is None or interface is None):
            self._planner.refuse((*place, "onlink"), "is for a gateway with its interface: ADDRESS%INTERFACE")
        tests = self._resolved(place, route, model)
        if tests is None:
            return None
        track = self._track(place, tests, (model.track, route.track, self._model.track)) if tests else None
        if not tests and model.model_fields_set & {"track"}:
            self._planner.refuse((*place, "track"), "no test is named that it could be about")
        name = "discard" if gateway is None and interface is None else "%".join(filter(None, (gateway, interface)))
        return NextHopPlan(
            name=name,
            gateway=gateway,
            interface=interface,
            track=None if track is None else self._tracks.setdefault(track, track),
            preference=model.preference,
            weight=model.weight,
            onlink=model.onlink,
        )

    def _resolved(self, place: Place, route: Route, model: NextHop) -> tuple[TestKey, ...] | None:
        """The tests of a next hop, None where one of them is not known."""
        written = model.test or route.test
        where = (*place, "test") if model.test else (*place[:-2], "test")
        found = []
        for name in written:
            keys = [key for key in _splits(name) if key in self._tests]
            if not keys and any(key in self._refused for key in _splits(name)):
                return None
            if len(keys) != 1:
                self._planner.refuse(where, self._unknown(name) if not keys else f"{name} is the name of two tests")
                return None
            found.append(keys[0])
        return tuple(found)

    def _unknown(self, name: str) -> str:
        from difflib import get_close_matches

        known = [f"{connection}/{session}" for connection, session in self._tests]
        near = get_close_matches(name, known, n=1)
        return f"there is no test-session {name}" + (f": did you mean {near[0]}?" if near else "")

    # How tests decide.

    def _track(self, place: Place, tests: tuple[TestKey, ...], levels: tuple[Track, ...]) -> TrackPlan | None:
        nearest: dict[str, Any] = {
            name: getattr(next((level for level in levels if level.written(name)), levels[-1]), name)
            for name in Track.model_fields
        }
        track = Track.model_construct(**nearest)
        at = {name: _place_of(place, name, levels) for name in Track.model_fields}
        required = {"all": len(tests), "any": 1}.get(str(track.require), track.require)
        if not isinstance(required, int):
            raise TypeError(f"require is {track.require!r}")
        if required > len(tests):
            self._planner.refuse(at["require"], f"{required} is more than the {len(tests)} tests")
            return None
        window = None
        if track.limits is not None:
            window = self._window(at["limits"], track.limits, track.window, tests)
            if window is None:
                return None
        elif any(level.written("window") for level in levels[:2]):
            self._planner.refuse(at["window"], "only limits look back at a window, and there are none")
        return TrackPlan(
            tests=tests,
            require=required,
            window=window,
            up_delay_ns=track.up_delay,
            down_delay_ns=track.down_delay,
            damping=None if track.damping is None else self._damping(at["damping"], track.damping),
            initial=track.initial_state,
            inverted=track.use_when == "fail",
        )

    def _window(self, place: Place, model: Limits, window_ns: int, tests: Iterable[TestKey]) -> WindowPlan | None:
        limits = []
        for statement, metric in METRICS.items():
            one = getattr(model, statement)
            if not one.limit_value:
                continue
            recover = one.limit_value if one.recover is None else one.recover
            self._check_told((*place, statement.replace("_", "-")), statement, tests)
            where = (*place, statement.replace("_", "-"), "recover")
            if isinstance(one, AmountLimit) and isinstance(one.limit_value, float):
                metric = RATIO_METRICS[statement]
            if isinstance(one, AmountLimit) and type(recover) is not type(one.limit_value):
                self._planner.refuse(where, "is to be a share if the limit-value is one, and a number if that is one")
            elif recover > one.limit_value:
                self._planner.refuse(where, "is more than the limit-value, which would be met and not met at once")
            limits.append(LimitPlan(metric, float(one.limit_value), float(recover), getattr(one, "maximum", False)))
        if not limits:
            self._planner.refuse(place, "there is none: leave the statement out to go by the tests' own thresholds")
            return None
        for test in tests:
            probes = window_ns // _interval_ns(self._tests[test])
            if probes > MOST_WINDOW_PROBES:
                self._planner.refuse(
                    (*place[:-1], "window"),
                    f"holds {probes} probes of {'/'.join(test)}, more than {MOST_WINDOW_PROBES}",
                )
        return WindowPlan(window_ns, tuple(limits))

    def _check_told(self, place: Place, statement: str, tests: Iterable[TestKey]) -> None:
        """A limit about which no test says anything would leave its next hop as it is for ever."""
        told_by, asked = TOLD_BY.get(statement, (None, ""))
        for test in tests if told_by else ():
            if told_by not in self._tests[test].tlvs:
                self._planner.refuse(place, f"{'/'.join(test)} does not ask for it: its tlvs are to have {asked}")

    def _damping(self, place: Place, model: Damping) -> DampingPlan:
        if model.reuse >= model.suppress:
            self._planner.refuse((*place, "reuse"), f"{model.reuse} is not less than suppress {model.suppress}")
        ceiling = model.reuse * 2 ** min(model.max_suppress / model.half_life, 64.0)
        if ceiling <= model.suppress:
            self._planner.refuse(
                (*place, "max-suppress"),
                f"so short that no penalty can exceed {math.floor(ceiling)}, and suppress is {model.suppress}: "
                "nothing would ever be suppressed",
            )
        return DampingPlan(model.half_life, model.reuse, model.suppress, model.max_suppress)


def _splits(name: str) -> Iterator[TestKey]:
    """Every way to read a name; a slash may be part of either."""
    parts = name.split("/")
    for place in range(1, len(parts)):
        yield "/".join(parts[:place]), "/".join(parts[place:])


def _place_of(place: Place, name: str, levels: tuple[Track, ...]) -> Place:
    """Where a statement of `track` is written: in the next hop, the route or `routes`."""
    holders = (place, place[:-2], ("routes",))
    holder = next((holders[n] for n, level in enumerate(levels) if level.written(name)), place)
    return (*holder, "track", name.replace("_", "-"))


def _interval_ns(session: SessionPlan) -> int:
    """Between two probes."""
    request = session.light or session.managed
    if request is None:
        raise ConfigError("test", f"{session.name} sends nothing")
    return request.interval_ns
