"""How Linux keeps the routes of one slot, as far as it matters here: naive, for tests.

`Slot4` follows `fib_table_insert` and `fib_table_delete` (net/ipv4/fib_trie.c), `Slot6` `fib6_add_rt2node` and
`ip6_route_del` (net/ipv6/ip6_fib.c, route.c). A test in `tests/netns` compares both with the kernel that runs.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace

from twoway.routes.policy.reconciliation import DISCARD, Hop, Hops, How, Refusal, Request

OURS, THEIRS = 94, 4


def refused(number: int) -> Refusal:
    return Refusal(number, errno.errorcode[number])


@dataclass
class Slot4:
    """Routes of one prefix, table and priority: the first is used."""

    routes: list[tuple[int, Hops]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Gateways that cannot be reached."""

    def ask(self, request: Request) -> Refusal | None:
        hops = tuple(_resolved(hop) for hop in request.hops)
        if len(hops) == 1:
            hops = (replace(hops[0], weight=0),)
        if request.how is How.DELETE:
            for one in self.routes:
                if one[0] == OURS and _fits(request.hops, one[1]):
                    self.routes.remove(one)
                    return None
            return refused(errno.ESRCH)
        if any(hop.gateway in self.broken for hop in hops):
            return refused(errno.ENETUNREACH)
        if request.how is How.FIRST and self.routes:
            return refused(errno.EEXIST)
        if request.how is How.REPLACE:
            if not self.routes:
                return refused(errno.ENOENT)
            if (OURS, hops) in self.routes[1:]:
                return refused(errno.EEXIST)
            self.routes[0] = (OURS, hops)
            return None
        if (OURS, hops) in self.routes:
            return refused(errno.EEXIST)
        self.routes.insert(0, (OURS, hops))
        return None

    def dump(self) -> list[Hops]:
        return [hops for protocol, hops in self.routes if protocol == OURS]

    def theirs(self) -> list[Hops]:
        return [hops for protocol, hops in self.routes if protocol == THEIRS]


@dataclass
class Slot6:
    """Next hops of one prefix, table and metric: all are used, but for what discards.

    A dump leaves out what lies between next hops, and lists them under the protocol of the first.
    """

    hops: list[tuple[int, Hop | None]] = field(default_factory=list)
    """(protocol, next hop); None discards."""
    broken: set[str] = field(default_factory=set)

    def ask(self, request: Request) -> Refusal | None:
        asked: tuple[Hop | None, ...] = tuple(_resolved(hop) for hop in request.hops) or (None,)
        if request.how is How.DELETE:
            found = [
                (protocol, hop)
                for protocol, hop in self.hops
                if protocol == OURS and _key(hop) in {_key(one) for one in asked}
            ]
            if not found:
                return refused(errno.ESRCH)
            for one in found:
                self.hops.remove(one)
            return None
        if request.how is How.FIRST and self.hops:
            return refused(errno.EEXIST)
        if any(hop is not None and hop.gateway in self.broken for hop in asked):
            return refused(errno.EHOSTUNREACH)
        if request.how is How.REPLACE:
            return self._replace(asked)
        if any(_key(hop) == _key(one) for _, hop in self.hops for one in asked):
            return refused(errno.EEXIST)
        self.hops += [(OURS, hop) for hop in asked]
        return None

    def _replace(self, asked: tuple[Hop | None, ...]) -> Refusal | None:
        """All next hops with a gateway, whoever they are of; nobody asks for more here."""
        place = next((place for place, (_, hop) in enumerate(self.hops) if hop is not None), None)
        if place is None or None in asked:
            assert not self.hops, "a discard would be replaced"
            return refused(errno.ENOENT)
        rest = [one for one in self.hops if one[1] is None]
        self.hops = [*rest[:place], *((OURS, hop) for hop in asked), *rest[place:]]
        return None

    def dump(self) -> list[Hops]:
        """What a dump of our protocol has, with what discards at the end."""
        hops = [(protocol, hop) for protocol, hop in self.hops if hop is not None]
        listed = [tuple(hop for _, hop in hops)] if hops and hops[0][0] == OURS else []
        if len(hops) == 1 and listed:
            listed = [(replace(listed[0][0], weight=0),)]
        places = [place for place, (_, hop) in enumerate(self.hops) if hop is not None]
        discards = [place for place, one in enumerate(self.hops) if one == (OURS, None)]
        seen = [place for place in discards if not places or place < places[0] or place > places[-1]]
        return listed + [DISCARD] * len(seen)

    def theirs(self) -> list[Hop | None]:
        return [hop for protocol, hop in self.hops if protocol == THEIRS]


def _fits(named: Hops, hops: Hops) -> bool:
    """`fib_nh_match`: one next hop is compared with the first, several with as many as there are."""
    if not named or not hops:
        return not named and not hops
    if len(named) > 1 and len(hops) > len(named):
        return False
    compared = zip(named, hops[:1] if len(named) == 1 else hops, strict=False)
    return all(
        (one.gateway is None or one.gateway == hop.gateway) and one.index in (0, hop.index) for one, hop in compared
    )


def _key(hop: Hop | None) -> tuple[object, ...]:
    return () if hop is None else (hop.gateway, hop.index)


def _resolved(hop: Hop) -> Hop:
    """The kernel finds the interface of a gateway."""
    return hop if hop.index else replace(hop, index=1)
