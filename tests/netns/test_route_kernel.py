"""The models of the kernel's table, on which the tests of routes rest, beside the kernel that runs."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from properties.kernel_model import OURS, THEIRS, Slot4, Slot6
from twoway.routes.kernel import messages
from twoway.routes.kernel.netlink import AskingSocket
from twoway.routes.policy.reconciliation import DISCARD, Hop, Hops, How, Request, Slot

from .topology import Namespace

GATEWAYS = ("a", "b", "c")
_ADDRESS = {
    4: {"a": "10.9.0.2", "b": "10.9.0.3", "c": "10.9.0.4"},
    6: {"a": "fd09::2", "b": "fd09::3", "c": "fd09::4"},
}
_NAME = {family: {address: name for name, address in names.items()} for family, names in _ADDRESS.items()}
_numbers = itertools.count()
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Table:
    """A namespace with one interface, on whose network all gateways are."""

    def __init__(self) -> None:
        self.namespace = Namespace("table")
        self.namespace.sysctl({"net/ipv6/conf/default/accept_dad": "0"})
        self.namespace.ip(
            "link set lo up",
            "link add name here type bridge",
            "link set here up",
            "address add 10.9.0.1/24 dev here",
            "address add fd09::1/64 dev here nodad",
        )
        self.index = next(
            link.ifindex
            for link in map(messages.link_seen, asyncio.run(self._dump(messages.links_wanted)))
            if link is not None and link.name == "here"
        )

    async def _dump(self, wanted: Callable[[int], bytes]) -> list[memoryview]:
        asking = AskingSocket(self.namespace.name)
        try:
            return await asking.dump(wanted)
        finally:
            asking.close()

    def real(self, hops: Hops, family: int) -> Hops:
        """As the kernel is asked: addresses for names, and this interface's number for 1."""
        return tuple(
            replace(hop, gateway=_ADDRESS[family][str(hop.gateway)], index=self.index if hop.index else 0)
            for hop in hops
        )

    def named(self, hops: Hops, family: int) -> Hops:
        return tuple(replace(hop, gateway=_NAME[family][str(hop.gateway)], index=1) for hop in hops)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    made = Table()
    yield made
    made.namespace.delete()


@st.composite
def hops(draw: st.DrawFn, most: int = 3) -> Hops:
    chosen = draw(st.lists(st.sampled_from(GATEWAYS), unique=True, min_size=1, max_size=most))
    return tuple(Hop(gateway, draw(st.sampled_from([0, 1])), draw(st.sampled_from([1, 1, 3]))) for gateway in chosen)


ASKED4 = st.lists(st.tuples(st.sampled_from(How), hops() | st.just(DISCARD), st.booleans()), max_size=12)
ASKED6 = st.lists(
    st.one_of(
        st.tuples(st.just(How.FIRST), hops() | st.just(DISCARD), st.booleans()),
        st.tuples(st.sampled_from([How.APPEND, How.DELETE]), hops(most=1) | st.just(DISCARD), st.just(value=False)),
        st.tuples(st.just(How.REPLACE), hops(), st.just(value=False)),
        st.tuples(st.just(How.APPEND), hops(most=1), st.just(value=True)),
    ),
    max_size=12,
)


async def compared(table: Table, family: int, model: Slot4 | Slot6, asked: list[tuple[How, Hops, bool]]) -> None:
    """Ask both, and compare what they say and what they then have."""
    number = next(_numbers)
    prefix = f"198.18.{number // 256 % 256}.{number % 256}/32" if family == 4 else f"2001:db8:{number:x}::/48"
    slot = Slot(family, prefix, 254, 7)
    asking = AskingSocket(table.namespace.name)
    try:
        for how, wanted, theirs in asked:
            if theirs and how not in (How.FIRST, How.BEFORE, How.APPEND):
                continue
            if how is How.REPLACE and isinstance(model, Slot6) and any(hop is None for _, hop in model.hops):
                continue  # nobody asks for that
            request = Request(how, slot, wanted)
            protocol = THEIRS if theirs else OURS
            (answer,) = await asking.ask([request._replace(hops=table.real(wanted, family))], protocol)
            expected = _ask(model, request, protocol)
            said = None if answer is None else answer.errno
            assert said == expected, (request, protocol, answer, model)
            listed = await asking.dump(partial(messages.routes_wanted, family, OURS))
            seen = [one for one in map(messages.route_seen, listed) if one is not None and one.slot == slot]
            found = [table.named(one.hops, family) for one in seen]
            if family == 6:
                found.sort(key=lambda hops: not hops)  # a discard comes where it was added; nobody asks where that is
            assert found == model.dump(), (request, protocol, asked)
        every = [DISCARD, *(table.real((Hop(gateway, 1),), family) for gateway in GATEWAYS)]
        for protocol, what in itertools.product((OURS, THEIRS), every):
            while (await asking.ask([Request(How.DELETE, slot, what)], protocol))[0] is None:
                pass
    finally:
        asking.close()


def _ask(model: Slot4 | Slot6, request: Request, protocol: int) -> int | None:
    """errno of the model, None for done; what others ask is turned round, as the model only serves us."""
    if protocol == OURS:
        answer = model.ask(request)
        return None if answer is None else answer.errno
    _turn(model)
    answer = model.ask(request)
    _turn(model)
    return None if answer is None else answer.errno


def _turn(model: Slot4 | Slot6) -> None:
    """What is ours becomes theirs, and the other way round."""
    swap = {OURS: THEIRS, THEIRS: OURS}
    if isinstance(model, Slot4):
        model.routes = [(swap[owner], hops) for owner, hops in model.routes]
    else:
        model.hops = [(swap[owner], hop) for owner, hop in model.hops]


@MANY
@given(asked=ASKED4)
def test_ipv4(table: Table, asked: list[tuple[How, Hops, bool]]) -> None:
    asyncio.run(compared(table, 4, Slot4(), [one for one in asked if one[0] is not How.APPEND]))


@MANY
@given(asked=ASKED6)
def test_ipv6(table: Table, asked: list[tuple[How, Hops, bool]]) -> None:
    asyncio.run(compared(table, 6, Slot6(), asked))
