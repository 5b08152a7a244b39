"""Whatever is wanted, refused and done by others: the kernel comes to have what is wanted as far as it takes it,
another's route is never touched, and packets are never without a route that was there and is to stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from twoway.routes.policy.reconciliation import DISCARD, Hop, Hops, Reconciliation, Slot

from .kernel_model import OURS, THEIRS, Slot4, Slot6

if TYPE_CHECKING:
    from twoway.routes.policy.reconciliation import Request

_ROUNDS = 60
GATEWAYS = ("a", "b", "c", "d")


@st.composite
def hops(draw: st.DrawFn) -> Hops | None:
    chosen = draw(st.lists(st.sampled_from(GATEWAYS), unique=True, max_size=4))
    if not chosen:
        return draw(st.sampled_from([None, DISCARD]))
    return tuple(Hop(gateway, draw(st.sampled_from([0, 1])), draw(st.sampled_from([1, 1, 3]))) for gateway in chosen)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), hops()),
        st.tuples(st.just("break"), st.sampled_from(GATEWAYS)),
        st.tuples(st.just("mend"), st.sampled_from(GATEWAYS)),
        st.tuples(st.just("add"), st.sampled_from(GATEWAYS)),
        st.tuples(st.just("prepend"), st.sampled_from(GATEWAYS)),
        st.tuples(st.just("delete"), st.integers(0, 3)),
        st.tuples(st.just("withdraw"), st.integers(0, 3)),
    ),
    max_size=25,
)


def carry_out(route: Reconciliation, kernel: Slot4 | Slot6) -> None:
    """Ask until there is nothing left to ask, looking on at each step."""
    for _ in range(_ROUNDS):
        if route.doubtful:
            route.see(kernel.dump())
        asked = route.requests()
        if not asked:
            return
        for request in asked:
            before, theirs = served(kernel), kernel.theirs()
            answer = kernel.ask(request)
            route.answered(request, answer)
            assert kernel.theirs() == theirs
            if isinstance(kernel, Slot4) or not theirs:
                look(route, request, before, served(kernel))
    raise AssertionError(f"no end: {route.found} {route.wanted} {asked}")


def served(kernel: Slot4 | Slot6) -> set[str]:
    """The gateways that packets of ours may take; `-` where they are discarded."""
    if isinstance(kernel, Slot4):
        ours = [found for protocol, found in kernel.routes if protocol == OURS][:1]
        return {str(hop.gateway) for found in ours for hop in found} or {"-" for _ in ours}
    return {"-" if hop is None else str(hop.gateway) for protocol, hop in kernel.hops if protocol == OURS}


def look(route: Reconciliation, request: Request, before: set[str], after: set[str]) -> None:
    """Nothing that is wanted, and not refused, is missing for a moment."""
    stays = {"-"} if route.wanted == DISCARD else {str(hop.gateway) for hop in route.wanted or ()}
    if before & stays:
        assert after & stays, (request, before, after)


def others(route: Reconciliation, kernel: Slot4 | Slot6, event: str, value: object) -> None:
    """What befalls the kernel's table without us, and what is heard of it."""
    if event == "break":  # as when its interface goes
        kernel.broken.add(str(value))
        if isinstance(kernel, Slot4):
            kernel.routes = [one for one in kernel.routes if all(hop.gateway != value for hop in one[1])]
        else:
            kernel.hops = [one for one in kernel.hops if one[1] is None or one[1].gateway != value]
    elif event == "mend":
        kernel.broken.discard(str(value))
    elif event in ("add", "prepend") and isinstance(kernel, Slot4):
        if (THEIRS, (Hop(str(value), 1, 0),)) not in kernel.routes:
            place = 0 if event == "prepend" else len(kernel.routes)
            kernel.routes.insert(place, (THEIRS, (Hop(str(value), 1, 0),)))
            route.joined(behind=event == "add")
    elif event in ("add", "prepend") and isinstance(kernel, Slot6):
        if all(hop is None or hop.gateway != value for _, hop in kernel.hops):
            kernel.hops.append((THEIRS, Hop(str(value), 1)))
            route.joined(behind=True)
    else:
        table = kernel.routes if isinstance(kernel, Slot4) else kernel.hops
        protocol = OURS if event == "delete" else THEIRS
        of_them = [one for one in table if one[0] == protocol]
        if isinstance(value, int) and value < len(of_them):
            table.remove(of_them[value])  # type: ignore[arg-type]  # it is of that table


def run(kernel: Slot4 | Slot6, events: list[tuple[str, object]]) -> None:
    route = Reconciliation(Slot(4 if isinstance(kernel, Slot4) else 6, "p", 254, 0), kernel.dump())
    for event, value in events:
        if event == "want":
            route.want(value)  # type: ignore[arg-type]  # next hops
        else:
            others(route, kernel, event, value)
            route.see(kernel.dump())
            if event in ("mend", "withdraw"):
                route.retry()
        carry_out(route, kernel)
        assert route.see(kernel.dump()) is False
    route.retry()
    carry_out(route, kernel)
    wanted = route.wanted
    taken = {str(hop.gateway) for hop in wanted or ()} - kernel.broken
    if isinstance(kernel, Slot6) and kernel.theirs():
        return  # in another's slot there is no room
    expected = {"-"} if wanted == DISCARD else taken
    assert served(kernel) == expected
    if wanted and len(taken) > 1:
        weights = {hop.gateway: hop.weight for hop in wanted if hop.gateway not in kernel.broken}
        found = kernel.dump()[0]
        assert {hop.gateway: hop.weight for hop in found} == weights


@given(EVENTS)
def test_ipv4(events: list[tuple[str, object]]) -> None:
    run(Slot4(), events)


@given(EVENTS)
def test_ipv6(events: list[tuple[str, object]]) -> None:
    run(Slot6(), events)


@given(EVENTS, st.lists(st.sampled_from(GATEWAYS), unique=True, min_size=1, max_size=3))
def test_ipv4_behind_and_before_another(events: list[tuple[str, object]], gateways: list[str]) -> None:
    left = (OURS, tuple(Hop(gateway, 1, 1 if len(gateways) > 1 else 0) for gateway in gateways))
    run(Slot4([left, (THEIRS, (Hop("z", 1, 0),))]), events)


@given(EVENTS)
def test_ipv6_with_what_was_left_of_an_earlier_run(events: list[tuple[str, object]]) -> None:
    run(Slot6([(OURS, Hop("a", 1)), (OURS, Hop("c", 1))]), events)
