"""All tracked routes and what decides about them. Pure: who drives it hands in what tests say, and the time.

Theory of operation. A test's result goes to the judgements that it has a vote in, and only where one of those changes
do routes have to be looked at: those that have a next hop judged by it. `due_ns` says when delays or penalties come to
their end; `advance` is called then, and after anything was heard. It returns decisions; to carry them out is not its
business, and it goes on as if they were. A test may decide about ten thousand routes: so many as are asked for are
looked at, and the others when it is called again, each by what is known then.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from twoway.routes.policy.election import TrackedRoute
from twoway.routes.policy.judgement import Judgement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twoway.config.route_plan import RouteKey, RoutesPlan, TestKey, TrackPlan, WindowPlan
    from twoway.routes.policy.election import Decision
    from twoway.routes.policy.judgement import Vote
    from twoway.routes.policy.moment import Moment

Source = tuple["TestKey", "WindowPlan | None"]
"""A test, and what it is judged by."""


class Advance(NamedTuple):
    """What came of what was heard, and of the time that passed."""

    turned: list[Judgement]
    """Judgements that changed."""
    decisions: list[Decision]
    unmoved: list[tuple[RouteKey, str]]
    """Routes that a judgement is about and that stay as they are, and why it changed."""


class Policy:
    """The tracked routes."""

    def __init__(self, plan: RoutesPlan) -> None:
        self.routes: dict[RouteKey, TrackedRoute] = {}
        self.judgements: dict[TrackPlan, Judgement] = {}
        self._voices: dict[Source, list[tuple[Judgement, int]]] = {}
        """Where a test has a vote, and which."""
        self._routes_of: dict[Judgement, list[TrackedRoute]] = {}
        self._hops_of: dict[Judgement, dict[str, None]] = {}
        self._touched: dict[Judgement, None] = {}
        self._concerned: dict[TrackedRoute, str] = {}
        """Routes that are still to be looked at, and why the judgement changed."""
        self._due: list[tuple[int, int, Judgement]] = []
        self._scheduled: dict[Judgement, int] = {}
        """The one entry of `_due` that counts for a judgement."""
        self._order = 0
        self._take(plan, {}, {})

    def _take(
        self,
        plan: RoutesPlan,
        judgements: dict[TrackPlan, Judgement],
        routes: Mapping[RouteKey, TrackedRoute],
    ) -> None:
        """Build everything from a plan; what is in `judgements` and `routes` goes on."""
        self.judgements = {track: judgements.get(track) or Judgement(track) for track in plan.tracks()}
        self.routes = {}
        concerned = {route.plan.key: why for route, why in self._concerned.items()}
        hops_of: dict[Judgement, dict[str, None]] = defaultdict(dict)
        voices: dict[Source, list[tuple[Judgement, int]]] = defaultdict(list)
        routes_of: dict[Judgement, list[TrackedRoute]] = defaultdict(list)
        for judgement in self.judgements.values():
            for number, test in enumerate(judgement.plan.tests):
                voices[test, judgement.plan.window].append((judgement, number))
        for wanted in plan.routes:
            judged = tuple(None if hop.track is None else self.judgements[hop.track] for hop in wanted.next_hops)
            route = TrackedRoute(wanted, judged)
            self.routes[wanted.key] = route
            old = routes.get(wanted.key)
            if old is not None:
                _resume(route, old)
            for hop, one in zip(wanted.next_hops, judged, strict=True):
                if one is not None:
                    hops_of[one].setdefault(hop.name)
            for judgement in dict.fromkeys(one for one in judged if one is not None):
                routes_of[judgement].append(route)
        self._voices, self._routes_of, self._hops_of = dict(voices), dict(routes_of), dict(hops_of)
        self._concerned = {self.routes[key]: why for key, why in concerned.items() if key in self.routes}

    # What is heard.

    def hear(self, test: TestKey, window: WindowPlan | None, vote: Vote, now: Moment) -> None:
        """A test's vote. `advance` tells what comes of it."""
        for judgement, number in self._voices.get((test, window), ()):
            judgement.hear(number, vote.good, vote.reason, now)
            self._touched[judgement] = None

    def advance(self, now: Moment, most: int | None = None) -> Advance:
        """What changes now; at most so many routes are looked at, and the others when it is called again."""
        touched, self._touched = self._touched, {}
        while self._due and self._due[0][0] <= now.monotonic_ns:
            due_ns, _, judgement = heapq.heappop(self._due)
            if self._scheduled.get(judgement) == due_ns:
                touched[judgement] = None
        turned = []
        for judgement in touched:
            if self.judgements.get(judgement.plan) is not judgement:
                self._scheduled.pop(judgement, None)
                continue  # a reload has ended it
            if judgement.advance(now):
                turned.append(judgement)
                for route in self._routes_of.get(judgement, ()):
                    self._concerned.setdefault(route, judgement.reason)
            self._schedule(judgement)
        return self._decided(turned, now, most)

    def _decided(self, turned: list[Judgement], now: Moment, most: int | None) -> Advance:
        found = Advance(turned, [], [])
        for route in list(islice(self._concerned, most)):
            why = self._concerned.pop(route)
            decision = route.decide(now)
            if decision is not None:
                found.decisions.append(decision)
            else:
                found.unmoved.append((route.plan.key, why))
        return found

    @property
    def pending(self) -> bool:
        """Whether routes are still to be looked at: `advance` is to be called again."""
        return bool(self._concerned)

    def _schedule(self, judgement: Judgement) -> None:
        due_ns = judgement.due_ns()
        if due_ns is None:
            self._scheduled.pop(judgement, None)
        elif self._scheduled.get(judgement) != due_ns:
            self._scheduled[judgement] = due_ns
            self._order += 1
            heapq.heappush(self._due, (due_ns, self._order, judgement))

    def due_ns(self) -> int | None:
        """When `advance` is to be called if nothing is heard, by the monotonic clock."""
        while self._due and self._scheduled.get(self._due[0][2]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    # What a person asks for.

    def hold(self, key: RouteKey, names: Iterable[str] | None, now: Moment) -> Decision | None:
        """Keep a route as it is, or in use with these next hops alone, until it is released. Raises `KeyError` for a
        route or a next hop that there is not."""
        route = self.routes[key]
        if names is None:
            route.pinned = route.in_use
        else:
            known = {hop.name: place for place, hop in enumerate(route.plan.next_hops)}
            route.pinned = frozenset(known[name] for name in names)
        return route.decide(now, "held on request")

    def release(self, key: RouteKey, now: Moment) -> Decision | None:
        """End a hold; penalties are forgiven, and the best next hops are chosen whatever is in use. Raises
        `KeyError`."""
        route = self.routes[key]
        route.pinned = None
        for judgement in route.judgements:
            if judgement is not None:
                judgement.forgive()
                self._touched[judgement] = None
        return route.decide(now, "released on request", afresh=True)

    # Its beginning, and another plan.

    def adopt(self, found: Mapping[RouteKey, Iterable[str]]) -> None:
        """What the kernel's table has of ours from an earlier run: route -> names of next hops."""
        for key, names in found.items():
            if key in self.routes:
                self.routes[key].adopt(names)

    def begin(self, now: Moment) -> list[Decision]:
        """What is to be done before anything is heard: initial states, and next hops that are always good."""
        decisions = (route.decide(now) for route in self.routes.values())
        return [decision for decision in decisions if decision is not None]

    def change(
        self, plan: RoutesPlan, now: Moment, found: Mapping[RouteKey, Iterable[str]] | None = None
    ) -> list[Decision]:
        """Go on under another plan. Judgements that are equal go on as they are; others inherit from what judged the
        same next hop of the same route before. Routes that are new begin as the kernel has them (`found`, as in
        `adopt`)."""
        before_routes, before = self.routes, self.judgements
        self._take(plan, dict(before), before_routes)
        self.adopt({key: names for key, names in (found or {}).items() if key not in before_routes})
        fresh = {judgement for track, judgement in self.judgements.items() if track not in before}
        for key, route in self.routes.items():
            old = before_routes.get(key)
            if old is None:
                continue
            old_by_name = dict(zip((hop.name for hop in old.plan.next_hops), old.judgements, strict=True))
            for hop, judgement in zip(route.plan.next_hops, route.judgements, strict=True):
                ancestor = old_by_name.get(hop.name)
                if judgement in fresh and judgement is not None and ancestor is not None:
                    judgement.inherit(ancestor, now)
                    fresh.discard(judgement)
        self._touched = dict.fromkeys(self.judgements.values())
        return [one for route in self.routes.values() if (one := route.decide(now, None)) is not None]

    def routes_of(self, judgement: Judgement) -> list[TrackedRoute]:
        """The routes that it decides about."""
        return self._routes_of.get(judgement, [])

    def hops_of(self, judgement: Judgement) -> list[str]:
        """The next hops that it decides about, by name, each once."""
        return list(self._hops_of.get(judgement, ()))

    def windows_heard(self, test: TestKey) -> tuple[WindowPlan | None, ...]:
        """By what a test is judged; None: by what its tests come to."""
        return tuple(window for key, window in self._voices if key == test)


def _resume(route: TrackedRoute, old: TrackedRoute) -> None:
    """A route goes on under another plan: what is in use stays in use as far as it is still there."""
    route.adopt(old.names(old.in_use))
    route.reason, route.changed_ns, route.changes = old.reason, old.changed_ns, old.changes
    if old.pinned is not None:
        pinned = set(old.names(old.pinned))
        route.pinned = frozenset(n for n, hop in enumerate(route.plan.next_hops) if hop.name in pinned)
