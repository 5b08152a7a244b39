"""Plans of tracked routes for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.config.route_plan import (
    InstancePlan,
    LimitPlan,
    NextHopPlan,
    RoutePlan,
    RoutesPlan,
    TrackPlan,
    WindowPlan,
)
from twoway.routes.policy.judgement import Vote
from twoway.routes.policy.moment import Moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twoway.config.route_plan import TestKey

S = 1_000_000_000
EPOCH_NS = 1_800_000_000 * S
A, B, C = ("isp-a", "edge"), ("isp-b", "edge"), ("isp-c", "edge")
LOSS = WindowPlan(10 * S, (LimitPlan("loss_ratio", 0.1, 0.1),))
GOOD, BAD, NONE = Vote(good=True, reason="passed"), Vote(good=False, reason="failed"), Vote()


def at(seconds: float) -> Moment:
    return Moment(round(seconds * S), EPOCH_NS + round(seconds * S))


def track(*tests: TestKey, require: int | None = None, **options: object) -> TrackPlan:
    return TrackPlan(
        tests=tests,
        require=len(tests) if require is None else require,
        window=None,
        **options,  # type: ignore[arg-type]  # a test's own words
    )


def hop(name: str, judged: TrackPlan | None, preference: int = 1, **options: object) -> NextHopPlan:
    gateway, _, interface = name.partition("%")
    return NextHopPlan(
        name=name,
        gateway=gateway if gateway[0].isdigit() or ":" in gateway else None,
        interface=interface or (None if gateway[0].isdigit() or ":" in gateway else gateway),
        track=judged,
        preference=preference,
        **options,  # type: ignore[arg-type]  # a test's own words
    )


def route(prefix: str, *hops: NextHopPlan, **options: object) -> RoutePlan:
    return RoutePlan(instance="", prefix=prefix, next_hops=hops, **options)  # type: ignore[arg-type]  # as above


def routes(*made: RoutePlan, instances: Iterable[InstancePlan] = (InstancePlan(""),), **options: object) -> RoutesPlan:
    return RoutesPlan(routes=made, instances=tuple(instances), **options)  # type: ignore[arg-type]  # as above
