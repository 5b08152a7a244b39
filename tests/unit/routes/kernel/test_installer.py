"""The keeper of a namespace's routes, before a made kernel."""

from __future__ import annotations

import asyncio
import errno
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from properties.kernel_model import OURS, THEIRS, Slot4, Slot6
from twoway.config.planning_routes import MAIN_TABLE
from twoway.config.route_plan import InstancePlan, NextHopPlan, RoutePlan
from twoway.routes.kernel import installer as installer_module
from twoway.routes.kernel.installer import Installer, Status
from twoway.routes.kernel.lock import RoutesError
from twoway.routes.kernel.netlink import NetlinkError
from twoway.routes.policy.reconciliation import DISCARD, OCCUPIED, Hop, How, Slot

from ...drivers.serving import eventually
from ..made import hop, route
from .made import Heard, MadeAsking, MadeKernel, MadeListening, MadeLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

A, B = hop("192.0.2.1", None), hop("198.51.100.1", None)
MAIN = InstancePlan("")
ROUTE = route("203.0.113.0/24", A, B)
SLOT = Slot(4, ROUTE.prefix, MAIN_TABLE, ROUTE.priority)
SIX = route("2001:db8::/32", hop("fe80::1%wan0", None), hop("fe80::2%wan0", None))
SLOT6 = Slot(6, SIX.prefix, MAIN_TABLE, SIX.priority)
KEY, KEY6 = ROUTE.key, SIX.key


class Scene:
    """An installer, its kernel, and what it said."""

    def __init__(self, kernel: MadeKernel) -> None:
        self.kernel = kernel
        self.heard = Heard()
        self.installer = Installer(None, OURS, self.heard, restore=True)
        self.instances = {"": MAIN}

    def keep(self, *routes: RoutePlan) -> None:
        self.installer.keep(routes, self.instances)

    def status(self, key: tuple[str, str] = KEY) -> Status:
        return self.installer.status(key)

    async def is_so(self, what: Callable[[], bool]) -> None:
        await eventually(what)

    async def has(self, slot: Slot, *groups: Sequence[NextHopPlan]) -> None:
        """Wait until the kernel has these routes of ours in a slot, by their gateways."""
        wanted = [sorted(str(one.gateway) for one in group) for group in groups]
        await eventually(
            lambda: [sorted(str(one.gateway) for one in hops) for hops in self.kernel.ours(slot)] == wanted
        )

    async def looks(self) -> None:
        """Wait until it has read the kernel's table once more."""
        before = self.kernel.dumps[26]
        await eventually(lambda: self.kernel.dumps[26] >= before + 2)
        await asyncio.sleep(0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> MadeKernel:
    made = MadeKernel("lo", "wan0", "wan1")

    def listening(_netns: object, tell: object, overrun: object, _port: int) -> MadeListening:
        made.listening = MadeListening(tell, overrun)  # type: ignore[arg-type]  # as the installer gives them
        return made.listening

    monkeypatch.setattr(installer_module, "AskingSocket", lambda _netns: MadeAsking(made))
    monkeypatch.setattr(installer_module, "ListeningSocket", listening)
    monkeypatch.setattr(installer_module, "ProtocolLock", lambda *_: MadeLock())
    monkeypatch.setattr(installer_module, "_PAUSE_S", 0.02)
    monkeypatch.setattr(installer_module, "_LOOK_S", 0.001)
    return made


@asynccontextmanager
async def keeping(kernel: MadeKernel, *routes: RoutePlan, restore: bool = True) -> AsyncIterator[Scene]:
    scene = Scene(kernel)
    scene.installer.restore = restore
    await scene.installer.open()
    scene.keep(*routes)
    scene.installer.start()
    try:
        yield scene
    finally:
        await scene.installer.close(withdraw=False)


async def test_what_is_wanted_comes_and_goes(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A, B))
        await scene.has(SLOT, (A, B))
        assert scene.status() == Status(("192.0.2.1", "198.51.100.1"), {})
        scene.installer.want(KEY, (B,))
        await scene.has(SLOT, (B,))
        scene.installer.want(KEY, ())
        await scene.has(SLOT)
        assert scene.status() == Status(None, {})
        assert [request.how for request in kernel.asked] == [How.FIRST, How.REPLACE, How.DELETE]
        await scene.is_so(lambda: len(scene.heard.changed) == 3)
        assert scene.installer.requests == 3
    assert not scene.heard.foreign


async def test_a_route_without_next_hops_may_discard(kernel: MadeKernel) -> None:
    discarding = NextHopPlan("discard", None, None, None, preference=2)
    plan = route(ROUTE.prefix, A, discarding)
    async with keeping(kernel, plan) as scene:
        scene.installer.want(KEY, (discarding,))
        await scene.is_so(lambda: kernel.ours(SLOT) == [DISCARD])
        assert scene.status().in_kernel == ("discard",)


async def test_what_an_earlier_run_left_is_found_and_the_rest_of_it_goes(kernel: MadeKernel) -> None:
    left = kernel.slot(SLOT)
    orphan = Slot(4, "10.0.0.0/8", MAIN_TABLE, 7)
    assert isinstance(left, Slot4)
    left.routes.append((OURS, (Hop("192.0.2.1", 2, 0),)))
    kernel.slots[orphan] = Slot4([(OURS, (Hop("192.0.2.1", 2, 0),)), (THEIRS, (Hop("192.0.2.9", 2, 0),))])
    scene = Scene(kernel)
    await scene.installer.open()
    assert scene.installer.found([ROUTE, SIX], scene.instances) == {KEY: ["192.0.2.1"]}
    scene.keep(ROUTE)
    scene.installer.want(KEY, (A,))
    scene.installer.start()
    await scene.has(orphan)
    await scene.installer.close(withdraw=False)
    assert [request.how for request in kernel.asked] == [How.DELETE], "what is there already is not touched"
    theirs = kernel.slot(orphan)
    assert isinstance(theirs, Slot4)
    assert len(theirs.theirs()) == 1


async def test_a_dry_run_touches_nothing(kernel: MadeKernel) -> None:
    left = kernel.slot(SLOT)
    assert isinstance(left, Slot4)
    left.routes.append((OURS, (Hop("192.0.2.1", 2, 0),)))
    async with keeping(kernel, route(SIX.prefix, A, dry_run=True)) as scene:
        scene.installer.want(KEY6, (A,))
        await scene.is_so(lambda: bool(scene.heard.changed))
    assert kernel.asked == []


async def test_what_somebody_else_deletes_is_put_right_and_told(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE, SIX) as scene:
        scene.installer.want(KEY, (A,))
        scene.installer.want(KEY6, SIX.next_hops)
        await scene.has(SLOT, (A,))
        await scene.has(SLOT6, SIX.next_hops)
        kernel.take_ours(SLOT)
        await scene.has(SLOT, (A,))
        kernel.take_ours(SLOT6)
        await scene.has(SLOT6, SIX.next_hops)
        assert scene.heard.foreign == [
            (KEY, "192.0.2.1 became nothing"),
            (KEY6, "fe80::1%wan0, fe80::2%wan0 became nothing"),
        ]


async def test_or_only_told_until_the_next_decision(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE, restore=False) as scene:
        scene.installer.want(KEY, (A,))
        await scene.has(SLOT, (A,))
        kernel.take_ours(SLOT)
        await scene.is_so(lambda: scene.status() == Status(None, {}))
        assert len(scene.heard.foreign) == 1
        assert kernel.ours(SLOT) == []
        assert scene.heard.changed[-1] == KEY
        scene.installer.want(KEY, (A, B))
        await scene.has(SLOT, (A, B))


async def test_anothers_route_in_the_same_place_is_never_touched(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        await scene.has(SLOT, (A,))
        kernel.put_theirs(SLOT, (Hop("192.0.2.99", 2, 0),))
        await scene.looks()
        scene.installer.want(KEY, (B,))
        await scene.has(SLOT, (B,))
        scene.installer.want(KEY, None)
        await scene.has(SLOT)
    there = kernel.slot(SLOT)
    assert isinstance(there, Slot4)
    assert there.theirs() == [(Hop("192.0.2.99", 2, 0),)]


async def test_the_place_of_another_is_taken_when_it_is_free(kernel: MadeKernel) -> None:
    kernel.put_theirs(SLOT6, (Hop("fe80::9", 2),))
    async with keeping(kernel, SIX) as scene:
        scene.installer.want(KEY6, SIX.next_hops[:1])
        await scene.is_so(lambda: scene.status(KEY6).refusals == {"": OCCUPIED})
        there = kernel.slot(SLOT6)
        assert isinstance(there, Slot6)
        there.hops.clear()
        kernel.say(SLOT6, (Hop("fe80::9", 2),), THEIRS, gone=True)
        await scene.has(SLOT6, SIX.next_hops[:1])
        assert scene.status(KEY6).refusals == {}


async def test_a_next_hop_that_the_kernel_refuses_is_left_out_and_tried_again(kernel: MadeKernel) -> None:
    kernel.broken.add("198.51.100.1")
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A, B))
        await scene.has(SLOT, (A,))
        assert scene.status() == Status(("192.0.2.1",), {"198.51.100.1": "ENETUNREACH"})
        await scene.is_so(lambda: scene.installer.refused >= 4)
        kernel.broken.clear()
        await scene.has(SLOT, (A, B))
        await scene.is_so(lambda: scene.status() == Status(("192.0.2.1", "198.51.100.1"), {}))


async def test_pauses_between_tries_double_up_to_a_bound(kernel: MadeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer_module, "_PAUSE_S", 0.001)
    monkeypatch.setattr(installer_module, "_LONGEST_PAUSE_S", 0.008)
    kernel.refusal = errno.ENOSPC
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        kept = scene.installer._kept[KEY]  # noqa: SLF001  (nothing else shows how long it waits)
        pauses: list[float] = []
        while len(pauses) < 6:
            await scene.is_so(lambda: scene.installer.refused > len(pauses))
            pauses.append(kept.pause_s)
            await asyncio.sleep(0)
        assert pauses == sorted(pauses)
        assert pauses[-1] == 0.008
        assert scene.status().refusals == {"192.0.2.1": "ENOSPC"}
        kernel.refusal = None
        await scene.has(SLOT, (A,))
        await scene.is_so(lambda: kept.pause_s == 0.001)


async def test_it_is_tried_at_once_when_an_address_has_changed(
    kernel: MadeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer_module, "_PAUSE_S", 3600.0)
    kernel.broken.add("192.0.2.1")
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        await scene.is_so(lambda: bool(scene.status().refusals))
        kernel.broken.clear()
        kernel.links_changed()
        await scene.has(SLOT, (A,))


async def test_an_interface_comes_and_goes(kernel: MadeKernel) -> None:
    plan = route(ROUTE.prefix, hop("ppp0", None))
    async with keeping(kernel, plan) as scene:
        scene.installer.want(KEY, plan.next_hops)
        await scene.is_so(lambda: scene.status() == Status(None, {"ppp0": "there is no interface ppp0"}))
        kernel.interfaces.append("ppp0")
        kernel.links_changed()
        await scene.is_so(lambda: kernel.ours(SLOT) == [(Hop(None, 4, 0),)])
        assert scene.status() == Status(("ppp0",), {})
        kernel.interfaces[3] = ""
        kernel.slots.clear()  # the kernel says nothing of routes that go with their interface
        kernel.links_changed()
        await scene.is_so(lambda: scene.status() == Status(None, {"ppp0": "there is no interface ppp0"}))
        kernel.interfaces.append("ppp0")
        kernel.links_changed()
        await scene.is_so(lambda: kernel.ours(SLOT) == [(Hop(None, 5, 0),)])
    assert scene.heard.foreign == []


async def test_a_vrf_comes_and_goes(kernel: MadeKernel) -> None:
    scene = Scene(kernel)
    scene.instances = {"": MAIN, "blue": InstancePlan("blue", vrf="vrf-blue")}
    plan = RoutePlan(instance="blue", prefix=ROUTE.prefix, next_hops=(A,))
    await scene.installer.open()
    assert scene.installer.found([plan], scene.instances) == {}
    scene.keep(plan)
    scene.installer.start()
    scene.installer.want(plan.key, (A,))
    assert scene.status(plan.key) == Status(None, {"": "there is no VRF vrf-blue"})
    kernel.vrfs["vrf-blue"] = 1001
    kernel.links_changed()
    await scene.has(SLOT._replace(table=1001), (A,))
    kernel.vrfs["vrf-blue"] = 1002
    kernel.links_changed()
    await scene.has(SLOT._replace(table=1002), (A,))
    await scene.has(SLOT._replace(table=1001))
    await scene.installer.close(withdraw=False)


async def test_after_an_overrun_everything_is_looked_at(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        await scene.has(SLOT, (A,))
        listening = kernel.listening
        assert listening is not None
        kernel.listening = None
        kernel.take_ours(SLOT)  # nobody tells
        kernel.put_theirs(SLOT, (Hop("192.0.2.99", 2, 0),))
        for _ in range(3):
            listening.overrun()
        await scene.has(SLOT, (A,))
        assert scene.installer.overruns == 3
        assert scene.heard.overruns == [1], "however many there are, it is told now and then"
        scene.installer.want(KEY, (B,))
        await scene.has(SLOT, (B,))
    there = kernel.slot(SLOT)
    assert isinstance(there, Slot4)
    assert len(there.theirs()) == 1, "who came unnoticed is spared, too"


async def test_a_kernel_that_does_not_answer_is_asked_again(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE) as scene:
        kernel.failures += [OSError(errno.ENOBUFS, "No buffer space available")] * 2
        scene.installer.want(KEY, (A,))
        await scene.has(SLOT, (A,))
        assert len(scene.heard.troubles) == 2
        assert "No buffer space" in scene.heard.troubles[0]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EPERM, "not permitted: changing routes needs CAP_NET_ADMIN"), (errno.ENOMEM, "ENOMEM")],
)
async def test_what_the_kernel_refuses_altogether_is_shown(kernel: MadeKernel, number: int, words: str) -> None:
    kernel.refusal = number
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        await scene.is_so(lambda: scene.status() == Status(None, {"192.0.2.1": words}))
        kernel.refusal = None
        await scene.has(SLOT, (A,))
        await scene.is_so(lambda: scene.status().refusals == {})


async def test_other_routes_after_a_reload(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        await scene.has(SLOT, (A,))
        moved = route(ROUTE.prefix, A, metric=3)
        scene.keep(moved, SIX)
        await scene.has(SLOT._replace(priority=moved.priority), (A,))
        await scene.has(SLOT)
        order = [(request.how, request.slot.priority) for request in kernel.asked[1:]]
        assert order == [(How.FIRST, moved.priority), (How.DELETE, ROUTE.priority)], "what comes is there first"
        scene.keep(SIX)
        await scene.has(SLOT._replace(priority=moved.priority))


@pytest.mark.parametrize("withdraw", [True, False])
async def test_at_the_end_routes_go_or_stay(kernel: MadeKernel, withdraw: bool) -> None:
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        await scene.has(SLOT, (A,))
        await scene.installer.close(withdraw=withdraw)
        assert len(kernel.ours(SLOT)) == int(not withdraw)


async def test_what_is_under_way_at_the_end_goes_too(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE, SIX) as scene:
        kernel.unanswered = [None]
        scene.installer.want(KEY, (A,))
        scene.installer.want(KEY6, SIX.next_hops)
        await scene.has(SLOT6, SIX.next_hops)
        await scene.installer.close(withdraw=True)
        assert (kernel.ours(SLOT), kernel.ours(SLOT6)) == ([], [])


async def test_what_cannot_be_withdrawn_is_told(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE) as scene:
        scene.installer.want(KEY, (A,))
        await scene.has(SLOT, (A,))
        kernel.failures = [OSError(errno.ENOBUFS, "No buffer space available")]
        await scene.installer.close(withdraw=True)
        assert scene.heard.troubles == ["not all could be withdrawn: No buffer space available"]


async def test_what_was_done_without_an_answer_is_neither_refused_nor_somebody_elses(kernel: MadeKernel) -> None:
    async with keeping(kernel, ROUTE, SIX) as scene:
        kernel.unanswered = [NetlinkError("the kernel has not answered")]
        scene.installer.want(KEY, (A,))
        scene.installer.want(KEY6, SIX.next_hops)
        await scene.is_so(lambda: bool(scene.heard.changed))
        await scene.is_so(lambda: scene.status(KEY6).in_kernel is not None and scene.status().in_kernel is not None)
        assert scene.heard.troubles == ["the kernel has not answered"]
        assert scene.installer.refused == 0
        assert scene.heard.foreign == []
        assert (scene.status().refusals, scene.status(KEY6).refusals) == ({}, {})


async def test_an_internal_error_is_told_and_routes_are_kept_on(
    kernel: MadeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(kernel, ROUTE) as scene:
        with monkeypatch.context() as broken:
            broken.setattr(scene.installer, "_take_up_refused", lambda: 1 / 0)
            scene.installer.want(KEY, (A,))
            await scene.is_so(lambda: len(scene.heard.troubles) >= 2)
        await scene.has(SLOT, (A,))
        assert scene.heard.troubles[0] == "internal error: ZeroDivisionError: division by zero"


async def test_it_says_why_it_cannot_begin(kernel: MadeKernel) -> None:
    kernel.failures.append(PermissionError(errno.EPERM, "Operation not permitted"))
    scene = Scene(kernel)
    with pytest.raises(RoutesError, match=r"^routes: Operation not permitted$"):
        await scene.installer.open()
    await scene.installer.close(withdraw=True)
