"""Keeps the routes of one network namespace as they are wanted.

Theory of operation. Each route has a `Reconciliation`. Whatever may have made a difference marks routes as *due*: other
next hops are wanted, the kernel told of a change, a pause after a refusal is over. One task takes all that are due,
asks for what they need in one batch, hands out the answers, and goes on until none of them has anything left to ask. So
ten thousand routes that move at once are a few long batches, and a route that changes while a batch is under way is
taken up again behind it.

What the kernel says by itself is believed only as a hint to look: notifications are lost when the buffer overruns, say
nothing of IPv4 routes that went with their interface, and mix next hops of several owners (IPv6). So a hint about one
of our routes, about an interface or an address, and an overrun each lead to a look at all routes of our protocol, a
moment later, so that many hints are one look.

What the kernel refuses is tried again after a pause that doubles, and at once when an interface or an address has
changed. Nothing here decides anything: which next hops are wanted is said by `want`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twoway.config.planning_routes import MAIN_TABLE
from twoway.errors import TwowayError
from twoway.routes.kernel import messages
from twoway.routes.kernel.lock import ProtocolLock, RoutesError
from twoway.routes.kernel.netlink import AskingSocket, ListeningSocket
from twoway.routes.policy.reconciliation import DISCARD, Hop, Hops, Reconciliation, Refusal, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twoway.config.route_plan import InstancePlan, NextHopPlan, RouteKey, RoutePlan
    from twoway.routes.kernel.messages import LinkSeen, RouteSeen
    from twoway.routes.policy.reconciliation import Request

_LOOK_S = 0.02
"""Hints that come within this are one look."""
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""Before a refused route is tried again: the first time, and at most."""
_SILENCE_S = 60.0
"""Overruns are told no more often."""
_ROUNDS = 100
"""Batches until a route is given up for now; 16 next hops that are tried one by one need 20."""
_AT_ONCE = 256
"""Routes of one round, some 10 ms: others get their turn on the event loop in between."""


_WORDS = {errno.EPERM: Refusal(errno.EPERM, "not permitted: changing routes needs CAP_NET_ADMIN")}
"""What the kernel says in fewer words than help."""


class Status(NamedTuple):
    """What is true of a route in the kernel."""

    in_kernel: tuple[str, ...] | None
    """Next hops that packets take, by name where they are configured; None: there is no route of ours."""
    refusals: Mapping[str, str]
    """Next hop -> why it is not there; the empty name stands for the route as a whole."""
    dead: tuple[str, ...] = ()
    """Next hops in the kernel whose link is down."""


class Listener(Protocol):
    """Who hears of what becomes of routes."""

    def kernel_changed(self, key: RouteKey) -> None:
        """The status of a route is another now."""

    def foreign_change(self, key: RouteKey, what: str) -> None:
        """Somebody else deleted or altered a route."""

    def trouble(self, what: str) -> None:
        """The kernel could not be asked or read; it is tried again."""

    def overrun(self, count: int) -> None:
        """The kernel has told of more than could be read, so many times by now; all of it is read again."""


class _Kept:
    """One route that is kept."""

    __slots__ = ("pause_s", "plan", "reconciliation", "retry_at", "told", "wanted")

    def __init__(self, plan: RoutePlan, old: _Kept | None) -> None:
        self.plan = plan
        self.reconciliation: Reconciliation | None = None
        """None as long as its table is not known."""
        self.wanted: tuple[NextHopPlan, ...] | None = None
        self.pause_s = _PAUSE_S
        self.retry_at: float | None = None
        """When a refused route is tried again, by the loop's clock."""
        self.told: Status | None = None
        if old is not None:
            self.reconciliation, self.wanted, self.told = old.reconciliation, old.wanted, old.told


class Installer:
    """Of one network namespace. `open` and `close` are its life."""

    def __init__(self, netns: str | None, protocol: int, listener: Listener, *, restore: bool) -> None:
        self.netns = netns
        self._protocol = protocol
        self._listener = listener
        self.restore = restore
        """Whether what others did is put right."""
        self._kept: dict[RouteKey, _Kept] = {}
        self._tables: dict[str, InstancePlan] = {}
        self._by_slot: dict[Slot, RouteKey] = {}
        self._orphans: dict[Slot, Reconciliation] = {}
        """Routes of our protocol that nobody wants."""
        self._links: dict[int, LinkSeen] = {}
        self._names: dict[str, int] = {}
        self._due: dict[RouteKey, None] = {}
        self._dead: dict[Slot, frozenset[Hop]] = {}
        self._lengths: set[tuple[int, int]] = set()
        """Families and lengths of our prefixes."""
        self._found: dict[Slot, list[Hops]] = {}
        self._first: set[Slot] = set()
        """IPv4 slots of which our route was the first when that was last looked at."""
        self._order_due = False
        """Whether that is to be looked at again."""
        self._look_at: float | None = None
        """When to look at everything, by the loop's clock."""
        self._uncertain = False
        """Whether requests were sent of which nobody knows what became."""
        self._links_due = False
        """Whether interfaces or addresses have changed since the last look."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lock: ProtocolLock | None = None
        self._asking: AskingSocket | None = None
        self._listening: ListeningSocket | None = None
        self.requests = 0
        """Requests to the kernel so far."""
        self.refused = 0
        """Of those: refused."""
        self.overruns = 0
        """Times that notifications were lost."""
        self._overrun_told_at: float | None = None
        """When that was told, by the loop's clock."""

    # Its life.

    async def open(self) -> None:
        """Become the keeper of the protocol's routes, and read what there is. Raises `RoutesError`."""
        where = "" if self.netns is None else f" in network namespace {self.netns}"
        try:
            self._lock = ProtocolLock(self._protocol, self.netns)
            self._asking = AskingSocket(self.netns)
            self._listening = ListeningSocket(self.netns, self._hear, self._overrun, self._asking.port)
            await self._read_links()
            self._found = await self._read_routes()
            await self._read_order()
        except OSError as error:
            self._shut()
            raise RoutesError(f"routes{where}: {os.strerror(error.errno or 0)}") from None
        except TwowayError:
            self._shut()
            raise

    def found(self, routes: Iterable[RoutePlan], instances: Mapping[str, InstancePlan]) -> dict[RouteKey, list[str]]:
        """Which of these routes the kernel has from an earlier run, with which of their next hops."""
        found: dict[RouteKey, list[str]] = {}
        for route in routes:
            table = self._table(instances[route.instance])
            if table is None:
                continue
            slot = Slot(route.family, route.prefix, table, route.priority)
            hops = Reconciliation(slot, self._found.get(slot, ())).in_kernel
            if hops is not None:
                found[route.key] = [one.name for one in route.next_hops if self._is_among(one, hops)]
        return found

    def _is_among(self, plan: NextHopPlan, hops: Sequence[Hop]) -> bool:
        if plan.discards:
            return not hops
        wanted = self._hop(plan)
        return isinstance(wanted, Hop) and any(hop.is_of(wanted) for hop in hops)

    def start(self) -> None:
        """Begin to act: routes that nobody wanted so far go."""
        self._find_orphans()
        self._task = asyncio.create_task(self._run())
        self._wake.set()

    async def close(self, *, withdraw: bool) -> None:
        """End. Routes stay, or are withdrawn. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if withdraw and self._asking is not None:
            for key in self._kept:
                self.want(key, None)
            try:
                await self._look_anew()  # what was under way may have been carried out
                await self._settle()
            except (OSError, TwowayError) as error:
                self._listener.trouble(f"not all could be withdrawn: {_said(error)}")
        self._shut()

    def _shut(self) -> None:
        for part in (self._listening, self._asking, self._lock):
            if part is not None:
                part.close()
        self._listening = self._asking = self._lock = None

    @property
    def _ask(self) -> AskingSocket:
        if self._asking is None:
            raise RuntimeError("the installer has not been opened")
        return self._asking

    # What is wanted.

    def keep(self, routes: Iterable[RoutePlan], instances: Mapping[str, InstancePlan]) -> None:
        """These are the routes of this namespace from now on; those that are not among them are withdrawn."""
        before, self._kept = self._kept, {}
        self._tables = dict(instances)
        self._by_slot = {}
        for plan in routes:
            old = before.pop(plan.key, None)
            kept = self._kept[plan.key] = _Kept(plan, old)
            self._place(kept)
        for kept in before.values():
            self._abandon(kept)
        self._lengths = {(slot.family, int(slot.prefix.partition("/")[2])) for slot in self._by_slot}
        self._wake.set()

    def _place(self, kept: _Kept) -> None:
        """Give a route its slot; another one than before is filled before that is cleared."""
        table = self._table(self._tables[kept.plan.instance])
        old = kept.reconciliation
        if table is None:
            if old is not None:
                self._abandon(kept)
            return
        slot = Slot(kept.plan.family, kept.plan.prefix, table, kept.plan.priority)
        if old is None or old.slot != slot:
            if old is not None:
                self._abandon(kept)
            orphan = self._orphans.pop(slot, None)
            groups = orphan.found if orphan is not None else self._found.get(slot, [])
            kept.reconciliation = Reconciliation(slot, groups)
            configured = [hop for one in kept.plan.next_hops if isinstance(hop := self._hop(one), Hop)]
            kept.reconciliation.presume(first=orphan is None and slot in self._first, known=configured)
        self._by_slot[slot] = kept.plan.key
        self._resolve(kept)
        self._due[kept.plan.key] = None

    def _abandon(self, kept: _Kept) -> None:
        """Nobody wants what the kernel has of it any more."""
        route, kept.reconciliation = kept.reconciliation, None
        if route is not None:
            route.want(None)
            route.retry()
            self._orphans[route.slot] = route

    def want(self, key: RouteKey, hops: Sequence[NextHopPlan] | None) -> None:
        """The next hops that a route should have; None or nothing: it should not be there."""
        kept = self._kept[key]
        kept.wanted = tuple(hops) if hops else None
        self._resolve(kept)
        self._due[key] = None
        self._wake.set()

    def _resolve(self, kept: _Kept) -> None:
        """Next hops by name into what the kernel knows."""
        route = kept.reconciliation
        if route is None:
            return
        if kept.wanted is None:
            route.want(None)
        elif kept.wanted[0].discards:
            route.want(DISCARD)
        else:
            found = [self._hop(plan) for plan in kept.wanted]
            route.want(tuple(hop for hop in found if isinstance(hop, Hop)) or None)

    def _hop(self, plan: NextHopPlan) -> Hop | Refusal:
        """What a next hop is for the kernel, or that its interface is not there."""
        number = 0
        if plan.interface is not None:
            number = self._names.get(plan.interface, 0)
            if not number:
                return Refusal(errno.ENODEV, f"there is no interface {plan.interface}")
        return Hop(plan.gateway, number, plan.weight, plan.onlink)

    def _table(self, instance: InstancePlan) -> int | None:
        """The table of an instance; None: its VRF is not there."""
        if instance.vrf is None:
            return instance.table or MAIN_TABLE
        link = self._links.get(self._names.get(instance.vrf, 0))
        return None if link is None else link.vrf_table

    # What is true.

    def status(self, key: RouteKey) -> Status:
        """Of a route in the kernel. Raises `KeyError`."""
        kept = self._kept[key]
        route = kept.reconciliation
        if route is None:
            vrf = self._tables[kept.plan.instance].vrf
            return Status(None, {"": f"there is no VRF {vrf}"})
        names = {}
        refusals: dict[str, str] = {}
        for plan in kept.plan.next_hops:
            hop = self._hop(plan)
            wanted = kept.wanted is not None and plan in kept.wanted
            if isinstance(hop, Refusal):
                if wanted:
                    refusals[plan.name] = hop.text
                continue
            names[plan.name] = hop
            refusal = route.refusals.get(hop)
            if wanted and refusal is not None:
                refusals[plan.name] = refusal.text
        whole = route.refusals.get(None)
        if whole is not None:
            refusals[""] = whole.text
        hops = route.in_kernel
        if hops is None:
            return Status(None, refusals)
        if hops == DISCARD:
            return Status(("discard",), refusals)
        dead = self._dead.get(route.slot, frozenset())
        order = {plan.name: place for place, plan in enumerate(kept.plan.next_hops)}
        shown = [(order.get(name := self._shown(hop, names), len(order)), name, hop in dead) for hop in hops]
        shown.sort()  # the kernel's own order says nothing, and is another after each change
        return Status(tuple(name for _, name, _ in shown), refusals, tuple(name for _, name, down in shown if down))

    def _shown(self, hop: Hop, names: Mapping[str, Hop]) -> str:
        """A next hop in the kernel by its configured name, or else as an address."""
        for name, wanted in names.items():
            if hop.is_of(wanted):
                return name
        link = self._links.get(hop.index)
        device = None if link is None else link.name
        return "%".join(part for part in (hop.gateway, device) if part) or f"interface {hop.index}"

    # The task.

    async def _run(self) -> None:
        pause_s = _PAUSE_S
        while True:
            try:
                await self._sleep()
                if self._uncertain:
                    await self._look_anew()
                self._take_up_refused()
                await self._settle()
                if self._look_at is not None and self._look_at <= asyncio.get_running_loop().time():
                    await self._look()
                    await self._settle()
                pause_s = _PAUSE_S
            except Exception as error:  # noqa: BLE001  (routes are kept on, whatever went wrong once)
                self._listener.trouble(_said(error))
                self._uncertain = True
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._wake.set()

    async def _look_anew(self) -> None:
        """What was asked for last may have been carried out: nothing is taken for known, nor for another's doing."""
        self._links_due = True
        await self._look()
        self._due = dict.fromkeys(self._kept)
        self._uncertain = False

    async def _sleep(self) -> None:
        """Until something is to be done."""
        moments = [kept.retry_at for kept in self._kept.values() if kept.retry_at is not None]
        moments += [] if self._look_at is None else [self._look_at]
        timeout_s = max(0.0, min(moments) - asyncio.get_running_loop().time()) if moments else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        self._wake.clear()

    def _look_soon(self) -> None:
        if self._look_at is None:
            self._look_at = asyncio.get_running_loop().time() + _LOOK_S
        self._wake.set()

    def _take_up_refused(self) -> None:
        now = asyncio.get_running_loop().time()
        for key, kept in self._kept.items():
            if kept.retry_at is not None and kept.retry_at <= now:
                kept.retry_at = None
                if kept.reconciliation is not None:
                    kept.reconciliation.retry()
                self._due[key] = None

    async def _settle(self) -> None:
        """Have the kernel do everything that is due: what is to come before what is to go."""
        while self._due or self._orphans:
            keys = list(self._due)[:_AT_ONCE]
            for key in keys:
                del self._due[key]
            due = [kept for key in keys if (kept := self._kept.get(key)) is not None and not kept.plan.dry_run]
            await self._carry_out([kept.reconciliation for kept in due if kept.reconciliation is not None])
            for key in keys:
                if key in self._kept:
                    self._tell(key)
            if not self._due:
                orphans, self._orphans = self._orphans, {}
                await self._carry_out(list(orphans.values()))
            await asyncio.sleep(0)  # what the kernel answers at once, asyncio does not wait for

    async def _carry_out(self, routes: list[Reconciliation]) -> None:
        """Ask until none of these has anything left to ask."""
        for _ in range(_ROUNDS):
            asked = [(route, request) for route in routes for request in route.requests()]
            if not asked:
                break
            await self._batch(asked)
            routes = list(dict.fromkeys(route for route, _ in asked))
        if any(route.doubtful for route in routes):
            self._look_soon()

    async def _batch(self, asked: list[tuple[Reconciliation, Request]]) -> None:
        answers = await self._ask.ask([request for _, request in asked], self._protocol)
        self.requests += len(asked)
        for (route, request), answer in zip(asked, answers, strict=True):
            if answer is not None:
                self.refused += 1
                answer = _WORDS.get(answer.errno, answer)
            route.answered(request, answer)

    def _tell(self, key: RouteKey) -> None:
        """Say what became of a route, and when a refused one is tried again."""
        kept = self._kept[key]
        status = self.status(key)
        if status.refusals:
            if kept.retry_at is None:
                kept.retry_at = asyncio.get_running_loop().time() + kept.pause_s
                kept.pause_s = min(2 * kept.pause_s, _LONGEST_PAUSE_S)
        else:
            kept.retry_at, kept.pause_s = None, _PAUSE_S
        if status != kept.told:
            kept.told = status
            self._listener.kernel_changed(key)

    # What the kernel tells.

    def _overrun(self) -> None:
        self.overruns += 1
        now = asyncio.get_running_loop().time()
        if self._overrun_told_at is None or now - self._overrun_told_at >= _SILENCE_S:
            self._overrun_told_at = now
            self._listener.overrun(self.overruns)
        self._links_due = self._order_due = True
        for kept in self._kept.values():
            if kept.reconciliation is not None:
                kept.reconciliation.doubt()
        self._look_soon()

    def _hear(self, kind: int, message: memoryview) -> None:
        if kind in (messages.RTM_NEWROUTE, messages.RTM_DELROUTE):
            family, length, protocol, cached = messages.route_head(message)
            if not cached and (protocol == self._protocol or (family, length) in self._lengths):
                seen = messages.route_seen(message)
                if seen is not None:
                    self._heard(seen, behind=messages.is_appended(message))
        elif kind in (messages.RTM_NEWLINK, messages.RTM_DELLINK, messages.RTM_NEWADDR, messages.RTM_DELADDR):
            self._links_due = True
            self._look_soon()

    def _heard(self, seen: RouteSeen, *, behind: bool) -> None:
        """Somebody else changed a route of our protocol, or one in a slot of ours."""
        key = self._by_slot.get(seen.slot)
        if seen.protocol != self._protocol:
            route = None if key is None else self._kept[key].reconciliation
            if key is None or route is None:
                return
            if seen.gone:
                route.retry()  # its place may be free now
                self._due[key] = None
            else:
                route.joined(behind=behind)
        self._look_soon()

    async def _look(self) -> None:
        """Read interfaces and routes, and take up what differs from what was known."""
        links_due, self._links_due, self._look_at = self._links_due, False, None
        moved = links_due and await self._read_links()
        self._found = await self._read_routes()
        if self._order_due:
            self._order_due = False
            await self._read_order()
            for kept in self._kept.values():
                if kept.reconciliation is not None and kept.reconciliation.slot in self._first:
                    kept.reconciliation.replaceable = True
        for key, kept in self._kept.items():
            if moved:
                self._place(kept)
            route = kept.reconciliation
            if route is None:
                continue
            if links_due and route.refusals:  # an address or an interface may make up for it
                route.retry()
                kept.pause_s, kept.retry_at = _PAUSE_S, None
                self._due[key] = None
            self._compare(key, route, excused=links_due or route.doubtful)
        self._find_orphans()

    def _compare(self, key: RouteKey, route: Reconciliation, *, excused: bool) -> None:
        """What the kernel has of a route, with what was known; `excused`: something else explains a difference."""
        doubted, before = route.doubtful, route.in_kernel
        if not route.see(self._found.get(route.slot, ())):
            if doubted:
                self._due[key] = None
            return
        if not excused:
            self._listener.foreign_change(key, f"{self._shown_hops(before)} became {self._shown_hops(route.in_kernel)}")
        if excused or self.restore:
            self._due[key] = None
        else:
            self._tell(key)

    def _find_orphans(self) -> None:
        """Routes of our protocol that nobody wants go, unless nothing may be touched at all."""
        if all(kept.plan.dry_run for kept in self._kept.values()) and self._kept:
            return
        known = {route.slot for kept in self._kept.values() if (route := kept.reconciliation) is not None}
        for slot, groups in self._found.items():
            if slot not in known and slot not in self._orphans:
                self._orphans[slot] = Reconciliation(slot, groups)

    def _shown_hops(self, hops: Hops | None) -> str:
        if hops is None:
            return "nothing"
        return ", ".join(self._shown(hop, {}) for hop in hops) or "discard"

    async def _read_links(self) -> bool:
        """Whether an interface that matters is another one now, or there or not."""
        found = await self._ask.dump(messages.links_wanted)
        seen = [link for message in found if (link := messages.link_seen(message)) is not None]
        before = self._what_matters()
        self._links = {link.ifindex: link for link in seen}
        self._names = {link.name: link.ifindex for link in seen}
        return self._what_matters() != before

    def _what_matters(self) -> list[LinkSeen | None]:
        names = {instance.vrf for instance in self._tables.values()}
        names |= {hop.interface for kept in self._kept.values() for hop in kept.plan.next_hops}
        return [self._links.get(self._names.get(name, 0)) for name in sorted(name for name in names if name)]

    async def _read_routes(self) -> dict[Slot, list[Hops]]:
        """Every route of our protocol: the groups of next hops of each slot in their order."""
        found: dict[Slot, list[Hops]] = {}
        dead: dict[Slot, frozenset[Hop]] = {}
        for family in (4, 6):
            listed = await self._ask.dump(partial(messages.routes_wanted, family, self._protocol))
            for number, message in enumerate(listed, 1):
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                seen = messages.route_seen(message)
                if seen is not None and seen.protocol == self._protocol:
                    found.setdefault(seen.slot, []).append(seen.hops)
                    if seen.dead:
                        dead[seen.slot] = dead.get(seen.slot, frozenset()) | seen.dead
        self._dead = dead
        return found

    async def _read_order(self) -> None:
        """Of which IPv4 slots our route is the first. Whoever else has routes there is to be read, too."""
        slots = {slot for slot in self._found if slot.family == 4}
        self._first = set()
        if not slots:
            return
        destinations = {messages.packed(slot.prefix) for slot in slots}
        listed = await self._ask.dump(
            partial(messages.routes_wanted, 4, 0), lambda message: messages.destination(message) in destinations
        )
        first: dict[Slot, int] = {}
        for message in listed:
            seen = messages.route_seen(message)
            if seen is not None and seen.slot in slots:
                first.setdefault(seen.slot, seen.protocol)
        self._first = {slot for slot, protocol in first.items() if protocol == self._protocol}


def _said(error: Exception) -> str:
    """What went wrong, in words."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) if isinstance(error, TwowayError) else f"internal error: {type(error).__name__}: {error}"
