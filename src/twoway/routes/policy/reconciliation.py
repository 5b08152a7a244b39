"""From what the kernel's table has of a route to what it should have, request by request. Pure.

Theory of operation. A route has a *slot*: family, prefix, table and priority. The kernel lets several routes share one,
whoever they are of; ours are told by their protocol number. Nothing here may ever touch another's route, and at no
moment may packets be without a route that is to stay. In one step NLM_F_REPLACE puts other next hops into the place of
the old ones, which is also the only change that others who follow the table understand (zebra takes a deletion that
comes last for the end of a route). What it replaces, both families differ in; so it is asked for only where it takes
nothing but ours, which `replaceable` says.

IPv4 keeps the routes of a slot in a list, of which the first is used, each with all of its next hops (`fib_trie.c`).

- A new route goes to the front with NLM_F_CREATE alone; with NLM_F_EXCL it is refused where there is another already.
- NLM_F_REPLACE takes the first route. As long as that is not surely ours, the new one is put before the old one, which
  is deleted after that, by protocol and next hops.
- A deletion takes the first route that it fits, and fits more than what it names: by one next hop it fits whatever
  begins with that, by several whatever these begin with (`fib_nh_match`). So next hops are put in an order in which the
  new route is not taken for an old one; where there is none, the old route is turned round first.

IPv6 keeps next hops one by one, and those of one slot are used together, whoever they are of (`ip6_fib.c`).

- So the first next hop of ours is only ever added where there is nothing (NLM_F_EXCL): in another's slot we would share
  its packets, and it ours. Until that has gone, the route is refused.
- NLM_F_REPLACE takes all next hops with a gateway, another's among them. As long as they are not surely all ours,
  further ones are appended, and those that go are deleted, each by its gateway and protocol: first what comes, then
  what goes. A deletion without a gateway takes a route with all its siblings; one that discards is told by its
  interface, the loopback.
- A dump lists all next hops of a slot under the protocol of the first. So ours may be listed with another's, which a
  deletion finds out, or not at all behind another's: what should be there and is not listed is deleted to be sure.

Whoever drives this sends what `requests` gives, says to `answered` what became of each, and asks again until there is
nothing left. Next hops that the kernel refuses are left out, so that the others work; `retry` forgets refusals.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Slot(NamedTuple):
    """Where a route is in the kernel."""

    family: int
    """4 or 6."""
    prefix: str
    table: int
    priority: int


@dataclass(frozen=True, slots=True)
class Hop:
    """A next hop as the kernel has it."""

    gateway: str | None
    index: int
    """Of its interface; 0 where the kernel finds it by the gateway."""
    weight: int = 1
    """0: not known, as the kernel does not tell that of one that is alone."""
    onlink: bool = False

    def fits(self, other: Hop) -> bool:
        """Whether a deletion that names this would take the other."""
        gateways = self.gateway is None or self.gateway == other.gateway
        return gateways and (not self.index or not other.index or self.index == other.index)

    def is_of(self, wanted: Hop) -> bool:
        """Whether it is what was wanted, whose interface may have been left to the kernel; but for the weight."""
        return self.gateway == wanted.gateway and (not wanted.index or self.index == wanted.index)


Hops = tuple[Hop, ...]
DISCARD: Hops = ()
"""A route that discards packets has no next hop."""


class How(Enum):
    """What is asked of the kernel."""

    FIRST = "add where there is nothing"
    BEFORE = "add before what is there"
    REPLACE = "put in the place of what is there"
    APPEND = "add to what is there"
    DELETE = "delete"


class Request(NamedTuple):
    """One message to the kernel."""

    how: How
    slot: Slot
    hops: Hops
    """Next hops; `DISCARD` for a route that discards."""


class Refusal(NamedTuple):
    """Why the kernel does not take a next hop."""

    errno: int
    text: str
    """What the kernel says, or else the number's name."""


OCCUPIED = "another's route has its place (same prefix, table and metric)"
_GONE = (errno.ESRCH, errno.ENOENT)


class Reconciliation:
    """One route: what the kernel has of it, and what it should have."""

    __slots__ = (
        "_hidden",
        "_strangers",
        "_trial",
        "_untried",
        "asked",
        "doubtful",
        "found",
        "occupied",
        "refusals",
        "replaceable",
        "slot",
        "wanted",
    )

    def __init__(self, slot: Slot, found: Iterable[Hops] = (), wanted: Hops | None = None) -> None:
        self._strangers: set[Hop] = set()
        """IPv6: next hops in our slot that are another's, which the kernel lists as if they were ours."""
        self._hidden: list[Hop] = []
        """IPv6: next hops of ours that are listed no more, and may still be there."""
        self.slot = slot
        self.found: list[Hops] = list(found) if slot.family == 4 else self._without_strangers(found)
        """IPv4: ours in the slot, in the kernel's order. IPv6: the next hops, and `DISCARD` if that is there."""
        self.wanted = wanted
        """None: nothing."""
        self.replaceable = False
        """NLM_F_REPLACE takes nothing but ours: IPv4, as that is the first of the slot; IPv6, as there is no other."""
        self.occupied = False
        """IPv4: another's route was in the slot."""
        self.refusals: dict[Hop | None, Refusal] = {}
        """Next hops that the kernel does not take; None stands for the route as a whole."""
        self.doubtful = False
        """An answer contradicts what is known of the slot: look again."""
        self.asked = 0
        """Requests so far."""
        self._trial: Hops | None = None
        """Next hops that were taken so far, while they are tried one by one."""
        self._untried: list[Hop] = []

    # What is known and wanted.

    def want(self, hops: Hops | None) -> None:
        """Other next hops from now on; refusals of those that stay stand."""
        if hops != self.wanted:
            self.wanted = hops
            kept = set(hops or ())
            self.refusals = {hop: refusal for hop, refusal in self.refusals.items() if hop in kept}
            self._trial, self._untried = None, []

    def see(self, found: Iterable[Hops]) -> bool:
        """What the kernel has of ours, just read; whether that is news."""
        self.doubtful = False
        seen = list(found) if self.slot.family == 4 else self._without_strangers(found)
        news = len(seen) != len(self.found) or not all(map(_same, seen, self.found))
        if self.slot.family == 6 and news:
            listed = [hop for hops in seen for hop in hops]
            known = [hop for hops in self.found for hop in hops]
            self._hidden += [hop for hop in known if not any(one.is_of(hop) for one in listed)]
        self.found = seen
        if self.slot.family == 6 and not news and not self._strangers:
            self.replaceable = self.replaceable or any(seen)  # who joins our next hops is among them
        if news:
            self._trial, self._untried = None, []
        return news

    def _without_strangers(self, found: Iterable[Hops]) -> list[Hops]:
        """IPv6: what is together in one slot as one, without what turned out to be another's."""
        groups = list(found)
        hops = tuple(hop for group in groups for hop in group)
        self._strangers = {hop for hop in hops if hop in self._strangers}
        ours = tuple(hop for hop in hops if hop not in self._strangers)
        return [*([ours] if ours else []), *([DISCARD] if DISCARD in groups else [])]

    def presume(self, *, first: bool, known: Iterable[Hop]) -> None:
        """At a start: whether what was found is the first of its slot (IPv4), and next hops that are ours if they are
        there (IPv6, where a dump does not tell)."""
        ours = tuple(known)
        if self.slot.family == 4:
            self.replaceable = first
        else:
            hops = [hop for hops in self.found for hop in hops]
            self.replaceable = bool(hops) and all(any(hop.is_of(one) for one in ours) for hop in hops)

    def joined(self, *, behind: bool) -> None:
        """Another's route has come into the slot; `behind`: it was appended."""
        self.occupied = True
        if self.slot.family == 6 or not behind:
            self.replaceable = False

    def doubt(self) -> None:
        """Who may have come into the slot meanwhile, nobody knows."""
        self.joined(behind=False)

    def retry(self) -> None:
        """Try again what was refused."""
        self.refusals = {}
        self._trial, self._untried = None, []

    @property
    def in_kernel(self) -> Hops | None:
        """The next hops that packets take, as far as is known; None: there is no route of ours."""
        if not self.found:
            return None
        return self.found[0]

    @property
    def settled(self) -> bool:
        """Whether the kernel has what it should have."""
        return _same(self.in_kernel, self.wanted)

    # What to do.

    def requests(self) -> list[Request]:
        """What to ask next; nothing: it is as good as it gets."""
        if self.doubtful or None in self.refusals:
            return []
        asked = self._requests_4() if self.slot.family == 4 else self._requests_6()
        self.asked += len(asked)
        return asked

    def _target(self) -> Hops | None:
        """What is wanted and not refused."""
        if self.wanted is None or self.wanted == DISCARD:
            return self.wanted
        if self._untried:
            return (*(self._trial or ()), self._untried[0])
        return tuple(hop for hop in self.wanted if hop not in self.refusals) or None

    def _requests_4(self) -> list[Request]:
        target, slot = self._target(), self.slot
        if target is None:
            return [Request(How.DELETE, slot, hops) for hops in self.found]
        if not self.found:
            return [Request(How.BEFORE if self.occupied else How.FIRST, slot, target)]
        place = next((place for place, hops in enumerate(self.found) if _same(hops, target)), None)
        if len(self.found) > 1:
            return [Request(How.DELETE, slot, self.found[self._superfluous(place)])]
        if place is None:
            return [self._in_place_of(self.found[0], target)]
        if self._untried:
            self._taken()  # what is tried next is there already
            return self._requests_4()
        return []

    def _superfluous(self, place: int | None) -> int:
        """Of several routes one that can go, and that a deletion really takes; `place` is that of the wanted one."""
        known = self.found
        others = (number for number in range(1, len(known)) if number != place)
        unused = [number for number in others if not any(_fits(known[number], one) for one in known[:number])]
        if place and not unused:
            return 0
        return unused[0] if unused else 0

    def _in_place_of(self, there: Hops, target: Hops) -> Request:
        """The request that puts next hops before those that are there, or into their place."""
        if self.replaceable:
            return Request(How.REPLACE, self.slot, target)
        turned = [target[number:] + target[:number] for number in range(max(1, len(target)))]
        safe = next((hops for hops in turned if not _fits(there, hops)), None)
        return Request(How.BEFORE, self.slot, safe if safe is not None else there[1:] + there[:1])

    def _requests_6(self) -> list[Request]:
        target, slot = self._target(), self.slot
        if self._hidden:
            return [Request(How.DELETE, slot, (hop,)) for hop in self._hidden]
        if not self.found:
            return [] if target is None else [Request(How.FIRST, slot, target)]
        there = self.found[0]
        discards = DISCARD in self.found
        if target and self.replaceable and not discards and all(hop.gateway for hop in (*target, *there)):
            return self._replacement(there, target)
        if there == DISCARD and target and not self.replaceable:
            return [Request(How.DELETE, slot, DISCARD)]  # or it would come behind another's
        if target == DISCARD:
            comes = [] if discards else [Request(How.APPEND, slot, DISCARD)]
            return comes + [Request(How.DELETE, slot, (hop,)) for hop in there]
        wanted = target or ()
        stays = [(one, hop) for hop in wanted for one in there if one.is_of(hop)]
        comes = [Request(How.APPEND, slot, (hop,)) for hop in wanted if not any(one.is_of(hop) for one in there)]
        again: list[Request] = []
        for one, hop in stays if len(stays) > 1 else ():
            if not _weigh_alike(one, hop):
                # It is refused as long as it is there with another weight; the others carry on meanwhile.
                again += [Request(How.DELETE, slot, (one,)), Request(How.APPEND, slot, (hop,))]
        goes = [Request(How.DELETE, slot, (hop,)) for hop in there if not any(hop.is_of(one) for one in wanted)]
        return comes + again + goes + ([Request(How.DELETE, slot, DISCARD)] if discards else [])

    def _replacement(self, there: Hops, target: Hops) -> list[Request]:
        """IPv6, where nobody else is."""
        if not _same(there, target):
            return [Request(How.REPLACE, self.slot, target)]
        if self._untried:
            self._taken()  # what is tried next is there already
            return self._requests_6()
        return []

    # What became of it.

    def answered(self, request: Request, error: Refusal | None) -> None:
        """The kernel did it, or said why not."""
        if request.how is How.DELETE:
            self._deleted(request, error)
        elif error is None:
            self._added(request)
        elif error.errno == errno.EEXIST:
            self._exists(request)
        elif request.how is How.REPLACE and error.errno in _GONE:
            self.found = []
            self.doubtful = True
        else:
            self._refused(request, error)

    def _deleted(self, request: Request, error: Refusal | None) -> None:
        if error is not None and error.errno not in _GONE:
            self.refusals[None] = error
            return
        if self.slot.family == 4:
            place = next((place for place, hops in enumerate(self.found) if _fits(request.hops, hops)), None)
            if place is not None:
                del self.found[place]
                self.replaceable = self.replaceable and place > 0  # who comes next in the slot, nobody knows
            return
        if request.hops and request.hops[0] in self._hidden:
            self._hidden.remove(request.hops[0])
            return
        self.doubtful = self.doubtful or not self.replaceable
        if request.hops == DISCARD:
            if DISCARD in self.found:
                self.found.remove(DISCARD)
            return
        if error is not None:
            self._strangers.update(request.hops)
        left = tuple(hop for hop in self.found[0] if hop not in request.hops)
        self.found = [*([left] if left else []), *self.found[1:]]

    def _added(self, request: Request) -> None:
        if request.how in (How.FIRST, How.BEFORE):
            self.replaceable = True
        if request.how is How.FIRST:
            self.found = [request.hops]
        elif request.how is How.REPLACE:
            self.found[0] = request.hops
        elif request.how is How.BEFORE:
            self.found.insert(0, request.hops)
        elif request.hops == DISCARD:
            self.found.append(DISCARD)
        else:
            hops = self.found[0] if self.found else DISCARD
            self.found = [(*hops, *request.hops), *self.found[1 if hops else 0 :]]
        if self._untried:
            self._taken()

    def _taken(self) -> None:
        """The next hop that was to be tried next is taken."""
        self._trial = (*(self._trial or ()), self._untried.pop(0))
        if self.slot.family == 6 and not self.replaceable:
            self._untried = []  # from here on each is added by itself
        self._end_trial()

    def _exists(self, request: Request) -> None:
        """There is such a route already."""
        if self.slot.family == 4 and request.how is How.FIRST:
            self.occupied = True
        elif self.slot.family == 6 and request.how is How.FIRST:
            self.refusals[None] = Refusal(errno.EEXIST, OCCUPIED)
        elif self.slot.family == 6 and request.hops == DISCARD:
            self.found.append(DISCARD)  # a dump leaves it out between next hops, which go now
        elif self.slot.family == 6:
            for hop in request.hops:
                self.refusals[hop] = Refusal(errno.EEXIST, OCCUPIED)
        else:
            self.doubtful = True

    def _refused(self, request: Request, error: Refusal) -> None:
        if request.hops == DISCARD:
            self.refusals[None] = error
        elif self._untried:
            self.refusals[self._untried.pop(0)] = error
            self._end_trial()
        elif len(request.hops) == 1:
            self.refusals[request.hops[0]] = error
        else:  # which of them it is about, only trying tells
            self._trial, self._untried = (), list(request.hops)

    def _end_trial(self) -> None:
        if not self._untried:
            self._trial = None


def _fits(named: Hops, hops: Hops) -> bool:
    """Whether a deletion that names some next hops would take the route that has others (IPv4)."""
    if not named or not hops:
        return named == hops
    if len(named) == 1:
        return named[0].fits(hops[0])
    return len(hops) <= len(named) and all(one.fits(hop) for one, hop in zip(named, hops, strict=False))


def _same(found: Hops | None, wanted: Hops | None) -> bool:
    """Whether these are the same next hops, in whatever order. The weight of one alone says nothing."""
    if found is None or wanted is None or len(found) != len(wanted):
        return found is wanted
    if len(wanted) == 1:
        return found[0].is_of(wanted[0])
    return all(any(one.is_of(hop) and _weigh_alike(one, hop) for one in found) for hop in wanted)


def _weigh_alike(one: Hop, other: Hop) -> bool:
    """Whether their weights are equal, as far as they are known."""
    return one.weight == other.weight or not (one.weight and other.weight)
