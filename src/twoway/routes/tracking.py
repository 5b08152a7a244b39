"""Tracked routes as the daemon has them: what tests come to goes in, the kernel's tables follow, and everybody is told.

Theory of operation. `policy` decides and `kernel` carries out; here they are connected, and time is kept: a timer of
the event loop stands for the next delay or penalty that ends. Whatever is heard is looked at once at the end of the
loop's turn, however much of it there was, so that a test that ends for a hundred routes is one batch. A test that ends
for ten thousand is many: so many routes as the kernel is asked about at once are decided, and then others have their
turn, the kernel's first routes among them.

A decision is posted as a notice with its reason, and so kept in the store; what the kernel makes of it is told apart.
Of many decisions only the first are told at once and the others bit by bit, as the kernel is to have them first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol

from twoway.analysis.notices import Notice, State
from twoway.analysis.views import NextHopView, RoutesView, RouteView
from twoway.routes.hooks import Change, Hook
from twoway.routes.kernel.installer import Installer
from twoway.routes.policy.judgement import Vote
from twoway.routes.policy.moment import Moment
from twoway.routes.policy.policy import Policy
from twoway.routes.policy.windows import Finding, vote_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from twoway.config.route_plan import InstancePlan, RouteKey, RoutePlan, RoutesPlan, TestKey, WindowPlan
    from twoway.routes.kernel.installer import Status
    from twoway.routes.policy.election import Decision, TrackedRoute
    from twoway.routes.policy.judgement import Judgement

_MANY = 16
"""Routes that a message names before it only counts."""
_DECIDED_AT_ONCE = 256
"""Routes that are decided at each turn of the event loop, some 4 ms: as many as the kernel is asked about."""
_TOLD_AT_ONCE = 25
"""Routes of which something is told at each turn of the event loop: a tenth of those that the kernel is asked about."""


class Clocks(Protocol):
    """The time."""

    def wall_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...


class Tracking:
    """All tracked routes. `open` and `close` are its life."""

    def __init__(self, plan: RoutesPlan, post: Callable[[Notice], None], clocks: Clocks) -> None:
        self.plan = plan
        self._post = post
        self._clocks = clocks
        self._policy = Policy(plan)
        self._installers: dict[str | None, Installer] = {}
        self._prepared: dict[str | None, Installer] = {}
        self._hook: Hook | None = None
        self._counted = [0, 0, 0]
        """Runs, failures and drops of hooks that a reload has ended."""
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._untold: deque[tuple[RouteKey, Decision | None, str]] = deque()
        """What is still to be told: of which route, what was decided (None: whether it is available), and why."""
        self._telling: asyncio.Handle | None = None
        self._raised: dict[tuple[str, RouteKey], str] = {}
        """Conditions that are raised: notice and route -> what was said."""
        self._suppressed: set[Judgement] = set()
        self._in_kernel: dict[RouteKey, tuple[str, ...]] = {}
        self._foreign_changes = 0
        self._changes = 0
        self._sources: Mapping[TestKey, str] = {}

    def now(self) -> Moment:
        """By both clocks."""
        return Moment(self._clocks.monotonic_ns(), self._clocks.wall_ns())

    # Its life.

    async def open(self) -> None:
        """`prepare` and `begin`. Raises `RoutesError`, and then nothing is open."""
        await self.prepare(self.plan)
        self.begin()

    def begin(self) -> None:
        """Take over what the kernel has of ours, and act, under the plan that was prepared first."""
        self._installers, self._prepared = self._prepared, {}
        instances = _instances(self.plan)
        for netns, installer in self._installers.items():
            routes = _of(self.plan, netns)
            self._policy.adopt(installer.found(routes, instances))
            installer.keep(routes, instances)
        self._begin_hook(self.plan)
        decisions = self._policy.begin(self.now())
        for key in self._policy.routes:
            self._want(key)
        for key, route in self._policy.routes.items():
            self._in_kernel[key] = route.names(route.in_use)
        self._tell_decisions(decisions)
        for installer in self._installers.values():
            installer.start()
        self._schedule()

    async def _opened(self, plan: RoutesPlan, but: Iterable[str | None] = ()) -> dict[str | None, Installer]:
        """Installers for the namespaces of a plan that are not among `but`. Raises `RoutesError`."""
        opened: dict[str | None, Installer] = {}
        known = set(but)
        for netns in dict.fromkeys(_instances(plan)[route.instance].netns for route in plan.routes):
            if netns in known:
                continue
            installer = Installer(netns, plan.protocol, _Ear(self, netns), restore=plan.restore)
            try:
                await installer.open()
            except BaseException:
                for one in opened.values():
                    await one.close(withdraw=False)
                raise
            opened[netns] = installer
        return opened

    async def close(self, *, withdraw: bool | None = None) -> None:
        """End: routes stay or are withdrawn, as configured unless `withdraw` says which. Idempotent."""
        withdraw = self.plan.withdraw_on_exit if withdraw is None else withdraw
        for handle in (self._timer, self._soon, self._telling):
            if handle is not None:
                handle.cancel()
        self._timer = self._soon = self._telling = None
        self._tell_all()
        for installer in (*self._installers.values(), *self._prepared.values()):
            await installer.close(withdraw=withdraw)
        self._installers, self._prepared = {}, {}
        await self._end_hook()

    def _begin_hook(self, plan: RoutesPlan) -> None:
        self._hook = None if plan.hook is None else Hook(plan.hook, self._hook_failed)

    async def _end_hook(self) -> None:
        hook, self._hook = self._hook, None
        if hook is not None:
            await hook.close()
            for number, count in enumerate((hook.runs, hook.failures, hook.dropped)):
                self._counted[number] += count

    # Another plan.

    async def prepare(self, plan: RoutesPlan) -> None:
        """Open what another plan needs beside what is open. Raises `RoutesError`, and then nothing has changed."""
        same = plan.protocol == self.plan.protocol
        self._prepared = await self._opened(plan, self._installers if same else ())

    async def abandon(self) -> None:
        """The other plan is not taken over."""
        prepared, self._prepared = self._prepared, {}
        for installer in prepared.values():
            await installer.close(withdraw=False)

    async def change(self, plan: RoutesPlan) -> None:
        """Go on under the plan that was prepared."""
        now = self.now()
        before, old = self._installers, self.plan
        prepared, self._prepared = self._prepared, {}
        self.plan = plan
        instances = _instances(plan)
        wanted = dict.fromkeys(instances[route.instance].netns for route in plan.routes)
        stays = {} if plan.protocol != old.protocol else {n: one for n, one in before.items() if n in wanted}
        self._installers = {**stays, **prepared}
        found = {k: v for netns, one in prepared.items() for k, v in one.found(_of(plan, netns), instances).items()}
        self._in_kernel = {key: tuple(names) for key, names in found.items()} | self._in_kernel
        decisions = self._policy.change(plan, now, found)
        for netns, installer in self._installers.items():
            installer.restore = plan.restore
            installer.keep(_of(plan, netns), instances)
        for key in self._policy.routes:
            self._want(key)
        for installer in prepared.values():
            installer.start()
        if plan.hook != old.hook:
            await self._end_hook()
            self._begin_hook(plan)
        for netns, installer in before.items():
            if self._installers.get(netns) is not installer:
                await installer.close(withdraw=True)
        self._tell_all()
        for name, key in [one for one in self._raised if one[1] not in self._policy.routes]:
            self._clear(name, key, "it is no longer configured")
        self._in_kernel = {key: hops for key, hops in self._in_kernel.items() if key in self._policy.routes}
        self._suppressed &= set(self._policy.judgements.values())
        self._tell_decisions(decisions)
        self._advance()

    # What is heard.

    def sources(self, sources: Mapping[TestKey, str]) -> None:
        """How each test measures, for who looks."""
        self._sources = sources

    def hear_verdict(self, test: TestKey, passed: bool | None, reason: str) -> None:
        """A test has ended; None: it counts for nothing."""
        self._hear(test, None, Vote(passed, reason))

    def hear_window(
        self, test: TestKey, window: WindowPlan, found: Sequence[tuple[bool | None, float | None]] | None, why: str
    ) -> None:
        """How each limit of a window stands: whether it is good, and the value. None: nobody knows, and why."""
        vote = Vote(None, why) if found is None else vote_of(window, [Finding(*one) for one in found])
        self._hear(test, window, vote)

    def unreachable(self, test: TestKey, reason: str) -> None:
        """A test could not be negotiated, which is bad whatever it is judged by."""
        for window in self._policy.windows_heard(test):
            self._hear(test, window, Vote(good=False, reason=reason))

    def _hear(self, test: TestKey, window: WindowPlan | None, vote: Vote) -> None:
        self._policy.hear(test, window, vote, self.now())
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._advance)

    def cancelled(self, test: TestKey, why: str) -> None:
        """A test is not run any more, for now: it says nothing."""
        for window in self._policy.windows_heard(test):
            self._hear(test, window, Vote(good=None, reason=why))

    def _advance(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        now = self.now()
        turned, decisions, unmoved = self._policy.advance(now, _DECIDED_AT_ONCE)
        for decision in decisions:
            self._want(decision.key)
        self._tell_turned(turned, now)
        self._tell_decisions(decisions)
        self._untold.extend((key, None, why) for key, why in unmoved)
        self._tell_soon()
        if self._policy.pending:
            self._soon = asyncio.get_running_loop().call_soon(self._advance)
        self._schedule()

    def _schedule(self) -> None:
        due_ns = self._policy.due_ns()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ns is not None:
            wait_s = max(0.0, (due_ns - self._clocks.monotonic_ns()) / 1e9)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._advance)

    def _want(self, key: RouteKey) -> None:
        route = self._policy.routes[key]
        hops = [hop for place, hop in enumerate(route.plan.next_hops) if place in route.in_use]
        self._installer(route.plan).want(key, hops)

    def _installer(self, plan: RoutePlan) -> Installer:
        return self._installers[_instances(self.plan)[plan.instance].netns]

    # Requests.

    def hold(self, key: RouteKey, names: Sequence[str] | None) -> str:
        """Keep a route as it is, or in use with these next hops; what came of it. Raises `KeyError`."""
        decision = self._policy.hold(key, names, self.now())
        route = self._policy.routes[key]
        self._after_request(key, decision)
        what = ", ".join(route.names(route.in_use)) or "without a next hop"
        self._raise("route-held", key, f"held as it is: {what}", route.names(route.in_use))
        return f"{_name(key)} is held: {what}"

    def release(self, key: RouteKey) -> str:
        """End a hold. Raises `KeyError`."""
        decision = self._policy.release(key, self.now())
        self._after_request(key, decision)
        self._clear("route-held", key, "released on request")
        route = self._policy.routes[key]
        return f"{_name(key)} is released: {', '.join(route.names(route.in_use)) or 'no next hop is good'}"

    def _after_request(self, key: RouteKey, decision: Decision | None) -> None:
        self._want(key)
        if decision is not None:
            self._tell_decisions([decision])
        self._advance()

    # What is told.

    def _say(
        self,
        name: str,
        key: RouteKey | None,
        state: State,
        message: str,
        hops: Sequence[str] = (),
        at_ns: int | None = None,
    ) -> None:
        where = "" if key is None else _name(key)
        self._post(
            Notice(
                at_ns=self._clocks.wall_ns() if at_ns is None else at_ns,
                name=name,
                state=state,
                message=f"{where}: {message}" if where else message,
                route=where or None,
                next_hops=", ".join(hops) or None,
                trap=name in self.plan.traps,
            )
        )

    def _raise(self, name: str, key: RouteKey, message: str, hops: Sequence[str] = ()) -> None:
        """A condition begins, or is said anew with other words."""
        if self._raised.get((name, key)) != message:
            self._raised[name, key] = message
            self._say(name, key, State.RAISED, message, hops)

    def _clear(self, name: str, key: RouteKey, message: str, hops: Sequence[str] = ()) -> None:
        if self._raised.pop((name, key), None) is not None:
            self._say(name, key, State.CLEARED, message, hops)

    def _tell_turned(self, turned: Sequence[Judgement], now: Moment) -> None:
        for judgement in turned:
            routes = self._policy.routes_of(judgement)
            hops = self._policy.hops_of(judgement)[:_MANY]
            about = f"next hop {', '.join(hops)} of {_counted(routes)}"
            self._say("next-hop-changed", None, State.ONCE, f"{about} is {judgement.word}: {judgement.reason}", hops)
            penalty = judgement.penalty
            if penalty is not None and penalty.suppressed and judgement not in self._suppressed:
                self._suppressed.add(judgement)
                figure = f"penalty {penalty.value(now.monotonic_ns):.0f}"
                self._say(
                    "route-suppressed", None, State.RAISED, f"{about} flaps: it is kept out of use, {figure}", hops
                )
            elif judgement in self._suppressed and (penalty is None or not penalty.suppressed):
                self._suppressed.discard(judgement)
                self._say("route-suppressed", None, State.CLEARED, f"{about} is no longer kept out of use", hops)

    def _tell_decisions(self, decisions: Sequence[Decision]) -> None:
        self._changes += len(decisions)
        self._untold.extend((decision.key, decision, decision.reason) for decision in decisions)
        self._tell_soon()

    def _tell_soon(self) -> None:
        """The first at once, unless others wait already."""
        if self._telling is None:
            self._tell_some()

    def _tell_some(self) -> None:
        for _ in range(min(_TOLD_AT_ONCE, len(self._untold))):
            self._tell_next()
        self._telling = asyncio.get_running_loop().call_soon(self._tell_some) if self._untold else None

    def _tell_all(self) -> None:
        while self._untold:
            self._tell_next()

    def _tell_next(self) -> None:
        key, decision, why = self._untold.popleft()
        route = self._policy.routes.get(key)
        if decision is not None:
            before, after = (", ".join(hops) or "nothing" for hops in (decision.before, decision.after))
            would = "dry run: " if route is not None and route.plan.dry_run else ""
            message = f"{would}{before} -> {after}: {why}"
            self._say("route-changed", key, State.ONCE, message, decision.after, decision.at_ns)
        if route is not None:
            self._tell_available(route, why)

    def _tell_available(self, route: TrackedRoute, why: str) -> None:
        key = route.plan.key
        if route.in_use:
            names = route.names(route.in_use)
            self._clear("route-unavailable", key, f"{', '.join(names)} is good", names)
        elif route.unavailable and ("route-unavailable", key) not in self._raised:
            self._raise("route-unavailable", key, f"no next hop is good: {why}")

    # What the kernel says (`kernel.installer.Listener`).

    def kernel_changed(self, key: RouteKey) -> None:
        """The status of a route is another now."""
        route = self._policy.routes.get(key)
        installer = None if route is None else self._installers.get(_instances(self.plan)[route.plan.instance].netns)
        if route is None or installer is None:
            return
        status = installer.status(key)
        if status.refusals and not route.plan.dry_run:
            words = "; ".join(f"{hop}: {why}" if hop else why for hop, why in status.refusals.items())
            self._raise("route-refused", key, f"the kernel does not take it: {words}", status.in_kernel or ())
        else:
            self._clear("route-refused", key, "the kernel has taken it", status.in_kernel or ())
        hops = status.in_kernel or ()
        before = self._in_kernel.get(key, ())
        self._in_kernel[key] = hops
        if hops != before and self._hook is not None and not route.plan.dry_run:
            self._hook.post(self._change(route, before, hops))

    def _change(self, route: TrackedRoute, before: Sequence[str], after: Sequence[str]) -> Change:
        key, plan = route.plan.key, route.plan
        return Change(
            {
                "TWOWAY_EVENT": "changed" if after else "unavailable",
                "TWOWAY_PREFIX": plan.prefix,
                "TWOWAY_INSTANCE": plan.instance,
                "TWOWAY_TABLE": table_name(_instances(self.plan)[plan.instance]),
                "TWOWAY_NEXT_HOPS": " ".join(after),
                "TWOWAY_PREVIOUS_NEXT_HOPS": " ".join(before),
                "TWOWAY_METRIC": str(plan.priority),
                "TWOWAY_TAG": str(plan.tag),
                "TWOWAY_REASON": route.reason,
                "TWOWAY_TIME": f"{self._clocks.wall_ns() / 1e9:.6f}",
            },
            _name(key),
        )

    def foreign_change(self, key: RouteKey, what: str) -> None:
        """Somebody else deleted or altered a route."""
        self._foreign_changes += 1
        outcome = "it is put right" if self.plan.restore else "it is left so until the next decision"
        self._say("route-foreign-change", key, State.ONCE, f"somebody else changed it: {what}; {outcome}")

    def trouble(self, netns: str | None, what: str) -> None:
        """The kernel could not be asked or read."""
        where = "" if netns is None else f" in network namespace {netns}"
        self._say("route-refused", None, State.ONCE, f"the kernel's routes{where} could not be read or changed: {what}")

    def overrun(self, netns: str | None, count: int) -> None:
        """The kernel has told of more than could be read; everything is read again."""
        where = "" if netns is None else f" in network namespace {netns}"
        times = f", {count} times so far" if count > 1 else ""
        what = f"the kernel's routes{where} change faster than they are followed{times}: all of them are read again"
        self._say("routes-overrun", None, State.ONCE, what)

    def _hook_failed(self, what: str) -> None:
        self._say("route-hook-failed", None, State.ONCE, f"the command that is run at a change: {what}")

    # What it shows.

    def view(self) -> RoutesView:
        """Its counters."""
        hook = self._hook
        ran = (
            self._counted
            if hook is None
            else [
                count + now for count, now in zip(self._counted, (hook.runs, hook.failures, hook.dropped), strict=True)
            ]
        )
        return RoutesView(
            protocol=self.plan.protocol,
            changes=self._changes,
            requests=sum(one.requests for one in self._installers.values()),
            refused=sum(one.refused for one in self._installers.values()),
            foreign_changes=self._foreign_changes,
            overruns=sum(one.overruns for one in self._installers.values()),
            hook_runs=ran[0],
            hook_failures=ran[1],
            hook_dropped=ran[2],
            raised=dict(Counter(name for name, _ in self._raised)),
        )

    def views(self) -> Iterator[RouteView]:
        """Every route, each as it is when it is asked for; what a reload takes away meanwhile is left out."""
        for key in list(self._policy.routes):
            route = self._policy.routes.get(key)
            instance = None if route is None else _instances(self.plan).get(route.plan.instance)
            if route is None or instance is None:
                continue
            installer = self._installers.get(instance.netns)
            if installer is not None:
                yield self._view(route, installer.status(key), instance, self._clocks.monotonic_ns())

    def _view(self, route: TrackedRoute, status: Status, instance: InstancePlan, now_ns: int) -> RouteView:
        plan = route.plan
        used = set(route.names(route.in_use))
        there = set(status.in_kernel or ())
        state = "dry-run" if plan.dry_run else "degraded" if there != used else "active" if used else "inactive"
        return RouteView(
            destination=plan.prefix,
            instance=plan.instance,
            table=table_name(instance),
            metric=plan.metric,
            preference=plan.preference,
            tag=plan.tag,
            priority=plan.priority,
            state=state,
            held=route.pinned is not None,
            dry_run=plan.dry_run,
            no_preempt=plan.no_preempt,
            kernel=None if status.in_kernel is None else list(status.in_kernel),
            refused=status.refusals.get(""),
            reason=route.reason,
            changed_ns=route.changed_ns,
            changes=route.changes,
            next_hops=[
                self._next_hop(route, place, hop.name in used, status, now_ns)
                for place, hop in enumerate(plan.next_hops)
            ],
        )

    def _next_hop(self, route: TrackedRoute, place: int, used: bool, status: Status, now_ns: int) -> NextHopView:
        plan, judgement = route.plan.next_hops[place], route.judgements[place]
        turning = None if judgement is None else judgement.turning
        tests = () if judgement is None else judgement.plan.tests
        sources = dict.fromkeys(self._sources.get(test, "") for test in tests)
        penalty = None if judgement is None else judgement.penalty
        return NextHopView(
            next_hop=plan.name,
            sla_source=", ".join(source for source in sources if source),
            tests=["/".join(test) for test in tests],
            require=0 if judgement is None else judgement.plan.require,
            use_when="fail" if judgement is not None and judgement.plan.inverted else "pass",
            state="untracked" if judgement is None else judgement.word,
            used=used,
            active=plan.name in (status.in_kernel or ()),
            dead=plan.name in status.dead,
            refused=status.refusals.get(plan.name),
            preference=plan.preference,
            weight=plan.weight,
            reason="no test decides about it" if judgement is None else judgement.reason,
            changed_ns=None if judgement is None else judgement.changed_ns,
            flaps=0 if judgement is None else judgement.flaps,
            penalty=0 if penalty is None else round(penalty.value(now_ns)),
            turning=None if turning is None else "up" if turning[0] else "down",
            turns_in_ns=None if turning is None else max(0, turning[1] - now_ns),
            votes={}
            if judgement is None
            else {"/".join(test): vote.reason for test, vote in zip(tests, judgement.votes, strict=True)},
        )


class _Ear:
    """What one namespace says goes to the tracking."""

    def __init__(self, tracking: Tracking, netns: str | None) -> None:
        self.kernel_changed = tracking.kernel_changed
        self.foreign_change = tracking.foreign_change
        self._tracking, self._netns = tracking, netns

    def trouble(self, what: str) -> None:
        """The kernel could not be asked or read."""
        self._tracking.trouble(self._netns, what)

    def overrun(self, count: int) -> None:
        """The kernel has told of more than could be read."""
        self._tracking.overrun(self._netns, count)


def _instances(plan: RoutesPlan) -> dict[str, InstancePlan]:
    return {instance.name: instance for instance in plan.instances}


def _of(plan: RoutesPlan, netns: str | None) -> list[RoutePlan]:
    """The routes of one network namespace."""
    instances = _instances(plan)
    return [route for route in plan.routes if instances[route.instance].netns == netns]


def _name(key: RouteKey) -> str:
    """A route as people name it."""
    instance, prefix = key
    return f"{prefix}@{instance}" if instance else prefix


def table_name(instance: InstancePlan) -> str:
    """A routing table as people name it."""
    name = instance.vrf or ("main" if instance.table is None else str(instance.table))
    return name if instance.netns is None else f"{instance.netns}:{name}"


def _counted(routes: Sequence[TrackedRoute]) -> str:
    """Routes by name, or how many they are."""
    if len(routes) == 1:
        return _name(routes[0].plan.key)
    return f"{len(routes)} routes"
