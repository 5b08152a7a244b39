"""What tests come to moves routes; everybody is told, with the reason; reloads and ends lose nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.notices import State
from twoway.config.route_plan import DampingPlan, HookPlan, InstancePlan
from twoway.daemon.own_faults import SystemClocks
from twoway.routes import tracking as tracking_module
from twoway.routes.kernel.lock import RoutesError
from twoway.routes.tracking import Tracking

from ..drivers.serving import eventually
from .faked import FakeInstaller, install
from .made import LOSS, A, B, S, hop, route, routes, track

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twoway.analysis.notices import Notice
    from twoway.analysis.views import RouteView
    from twoway.config.route_plan import RoutesPlan

MS = 1_000_000
UP_A, UP_B = "192.0.2.1", "198.51.100.1"
PREFIX = "203.0.113.0/24"
KEY = ("", PREFIX)


def two(**options: object) -> RoutesPlan:
    """A primary and a backup."""
    made = routes(route(PREFIX, hop(UP_A, track(A)), hop(UP_B, track(B), preference=2), tag=7))
    return replace(made, **options)  # type: ignore[arg-type]  # a test's own words


class Scene:
    """Tracking, who keeps the routes, and what was told."""

    def __init__(self, plan: RoutesPlan, installers: list[FakeInstaller]) -> None:
        self.notices: list[Notice] = []
        self.tracking = Tracking(plan, self.notices.append, SystemClocks())
        self.installers = installers

    @property
    def installer(self) -> FakeInstaller:
        return self.installers[-1]

    def told(self) -> list[tuple[str, str, str]]:
        told = [(notice.name, notice.state.value, notice.message) for notice in self.notices]
        self.notices.clear()
        return told

    def names(self) -> list[str]:
        return [f"{name} {state}" for name, state, _ in self.told()]

    def wants(self) -> tuple[str, ...]:
        return self.installer.wanted[KEY]

    async def hears(self, test: tuple[str, str], passed: bool | None, reason: str = "test 1 failed: loss") -> None:
        self.tracking.hear_verdict(test, passed, reason)
        await asyncio.sleep(0)

    def view(self) -> RouteView:
        return next(iter(self.tracking.views()))


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> type[FakeInstaller]:
    made = install()
    monkeypatch.setattr(tracking_module, "Installer", made)
    return made


@pytest.fixture
def scene_of(kind: type[FakeInstaller]) -> Callable[[RoutesPlan], Scene]:
    return lambda plan: Scene(plan, kind.made)


SceneOf = "Callable[[RoutesPlan], Scene]"


async def test_a_route_moves_to_the_backup_and_back_and_everybody_hears_why(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    assert scene.installer.started
    assert scene.wants() == ()
    assert scene.told() == []
    await scene.hears(A, True, "test 1 passed")
    assert scene.wants() == (UP_A,)
    await scene.hears(B, True, "test 1 passed")
    assert scene.wants() == (UP_A,)
    scene.told()
    await scene.hears(A, False, "test 2 failed: 3 of 10 probes lost")
    assert scene.wants() == (UP_B,)
    why = "isp-a/edge: test 2 failed: 3 of 10 probes lost"
    assert scene.told() == [
        ("next-hop-changed", "once", f"next hop {UP_A} of {PREFIX} is down: {why}"),
        ("route-changed", "once", f"{PREFIX}: {UP_A} -> {UP_B}: {UP_A} is out: {why}"),
    ]
    view = scene.view()
    assert (view.state, view.kernel, view.changes) == ("active", [UP_B], 2)
    first, second = view.next_hops
    assert (first.state, first.used, first.active, first.flaps, first.reason) == ("down", False, False, 1, why)
    assert (second.state, second.used, second.active) == ("up", True, True)
    await scene.hears(A, True, "test 3 passed")
    assert scene.wants() == (UP_A,)
    await scene.tracking.close()
    assert scene.installer.closed is False


async def test_a_route_without_a_good_next_hop_is_an_alarm_until_there_is_one(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    await scene.hears(A, True)
    scene.told()
    await scene.hears(B, False)
    await scene.hears(A, False)
    assert scene.wants() == ()
    assert scene.names()[-2:] == ["route-changed once", "route-unavailable raised"]
    await scene.hears(A, False)
    assert scene.names() == []
    assert scene.view().state == "inactive"
    await scene.hears(B, True)
    assert "route-unavailable cleared" in scene.names()
    await scene.tracking.close()


async def test_one_that_never_was_good_is_an_alarm_too(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    await scene.hears(A, False)
    assert scene.names() == ["next-hop-changed once"], "of the other nobody knows yet"
    await scene.hears(B, False)
    assert "route-unavailable raised" in scene.names()
    await scene.tracking.close()


async def test_a_backup_that_is_not_needed_is_no_alarm(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(routes(route(PREFIX, hop(UP_B, track(A, inverted=True)))))
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.hears(A, False)
    assert scene.wants() == (UP_B,)
    await scene.hears(A, True)
    assert scene.wants() == ()
    assert not [name for name in scene.names() if "unavailable" in name]
    assert scene.view().next_hops[0].use_when == "fail"
    await scene.tracking.close()


async def test_a_window_is_heard_by_its_limits(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(routes(route(PREFIX, hop(UP_A, replace(track(A), window=LOSS)))))
    await scene.tracking.open()
    for good, value, hops in ((True, 0.02, (UP_A,)), (None, None, (UP_A,)), (False, 0.34, ())):
        scene.tracking.hear_window(A, LOSS, [(good, value)], "")
        await asyncio.sleep(0)
        assert scene.wants() == hops
    assert scene.view().next_hops[0].reason == "isp-a/edge: loss 34% over 10s, limit 10%"
    scene.tracking.hear_window(A, LOSS, [(True, 0.0)], "")
    scene.tracking.hear_window(A, LOSS, None, "disturbed by this host")
    await asyncio.sleep(0)
    assert scene.wants() == (), "who was disturbed says nothing, and what was before it was never looked at"
    assert scene.view().next_hops[0].votes == {"isp-a/edge": "disturbed by this host"}
    scene.tracking.hear_window(A, LOSS, [(True, 0.0)], "")
    await asyncio.sleep(0)
    scene.tracking.unreachable(A, "no control connection")
    await asyncio.sleep(0)
    assert scene.wants() == ()
    scene.tracking.cancelled(A, "its test is not run now")
    await asyncio.sleep(0)
    assert scene.wants() == (), "a cancelled test changes nothing"
    await scene.tracking.close()


async def test_delays_end_by_themselves(scene_of: Callable[..., Scene]) -> None:
    judged = track(A, down_delay_ns=30 * MS, up_delay_ns=20 * MS)
    scene = scene_of(routes(route(PREFIX, hop(UP_A, judged))))
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.hears(A, False)
    assert scene.wants() == (UP_A,)
    assert scene.view().next_hops[0].turning == "down"
    await eventually(lambda: scene.wants() == ())
    await scene.hears(A, True)
    assert scene.wants() == ()
    await eventually(lambda: scene.wants() == (UP_A,))
    await scene.tracking.close()


async def test_flapping_is_told_and_ends(scene_of: Callable[..., Scene]) -> None:
    damping = DampingPlan(half_life_ns=100 * MS, reuse=1400, suppress=1500, max_suppress_ns=S)
    scene = scene_of(routes(route(PREFIX, hop(UP_A, track(A, damping=damping)))))
    await scene.tracking.open()
    for passed in (True, False, True, False):
        await scene.hears(A, passed)
    assert "route-suppressed raised" in scene.names()
    await scene.hears(A, True)
    assert scene.wants() == ()
    assert scene.view().next_hops[0].state == "suppressed"
    await eventually(lambda: scene.wants() == (UP_A,))
    assert "route-suppressed cleared" in scene.names()
    await scene.tracking.close()


async def test_many_routes_that_move_at_once_are_one_notice_of_the_next_hop(scene_of: Callable[..., Scene]) -> None:
    judged = track(A)
    scene = scene_of(routes(*(route(f"10.{n}.0.0/16", hop(f"192.0.2.{n + 1}", judged)) for n in range(40))))
    await scene.tracking.open()
    await scene.hears(A, True)
    assert len(scene.installer.wanted) == 40, "the kernel is asked before everybody is told"
    assert all(scene.installer.wanted.values())
    told = scene.told()
    assert 0 < len([name for name, _, _ in told if name == "route-changed"]) < 40
    await eventually(lambda: scene.tracking._telling is None)  # noqa: SLF001  (nothing else shows that it is done)
    told += scene.told()
    (turned,) = [message for name, _, message in told if name == "next-hop-changed"]
    assert turned.endswith("192.0.2.16 of 40 routes is up: isp-a/edge: test 1 failed: loss")
    assert len([name for name, _, _ in told if name == "route-changed"]) == 40
    await scene.tracking.close()


async def test_what_is_still_to_be_told_at_the_end_is_told(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(routes(*(route(f"10.{n}.0.0/16", hop(UP_A, track(A))) for n in range(200))))
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.tracking.close()
    assert scene.names().count("route-changed once") == 200
    assert scene.tracking.view().changes == 200


async def test_a_held_route_stays_until_it_is_released(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.hears(B, True)
    scene.told()
    assert scene.tracking.hold(KEY, [UP_B]) == f"{PREFIX} is held: {UP_B}"
    assert scene.names() == ["route-changed once", "route-held raised"]
    assert scene.wants() == (UP_B,)
    await scene.hears(B, False)
    assert scene.wants() == (UP_B,)
    assert scene.view().held
    assert scene.tracking.release(KEY) == f"{PREFIX} is released: {UP_A}"
    assert "route-held cleared" in scene.names()
    assert scene.wants() == (UP_A,)
    with pytest.raises(KeyError):
        scene.tracking.hold(KEY, ["192.0.2.99"])
    with pytest.raises(KeyError):
        scene.tracking.release(("blue", PREFIX))
    assert not scene.view().held
    assert scene.tracking.hold(KEY, []) == f"{PREFIX} is held: without a next hop"
    assert scene.wants() == ()
    await scene.tracking.close()


async def test_what_the_kernel_refuses_is_an_alarm_and_shown(
    scene_of: Callable[..., Scene], kind: type[FakeInstaller]
) -> None:
    scene = scene_of(routes(route(PREFIX, hop(UP_A, None), hop(UP_B, None))))
    await scene.tracking.open()
    scene.installer.refused_hops = {UP_B: "Nexthop has invalid gateway"}
    scene.installer.listener.kernel_changed(KEY)
    (name, state, message) = scene.told()[-1]
    assert (name, state) == ("route-refused", State.RAISED.value)
    assert message == f"{PREFIX}: the kernel does not take it: {UP_B}: Nexthop has invalid gateway"
    view = scene.view()
    assert (view.state, view.kernel) == ("degraded", [UP_A])
    assert [(one.used, one.active, one.refused) for one in view.next_hops] == [
        (True, True, None),
        (True, False, "Nexthop has invalid gateway"),
    ]
    assert view.next_hops[0].state == "untracked"
    scene.installer.refused_hops = {}
    scene.installer.listener.kernel_changed(KEY)
    assert scene.names() == ["route-refused cleared"]
    assert kind.made == [scene.installer]
    await scene.tracking.close()


async def test_what_others_do_is_told_and_counted(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    scene.installer.listener.foreign_change(KEY, f"{UP_A} became nothing")
    scene.installer.listener.trouble("No buffer space available")
    scene.installer.listener.overrun(3)
    assert scene.told() == [
        ("route-foreign-change", "once", f"{PREFIX}: somebody else changed it: {UP_A} became nothing; it is put right"),
        (
            "route-refused",
            "once",
            "the kernel's routes could not be read or changed: No buffer space available",
        ),
        (
            "routes-overrun",
            "once",
            "the kernel's routes change faster than they are followed, 3 times so far: all of them are read again",
        ),
    ]
    assert scene.tracking.view().foreign_changes == 1
    await scene.tracking.close()


async def test_a_dry_run_says_what_it_would_do(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(routes(route(PREFIX, hop(UP_A, track(A)), dry_run=True)))
    await scene.tracking.open()
    await scene.hears(A, True, "test 1 passed")
    assert scene.told()[-1] == (
        "route-changed",
        "once",
        f"{PREFIX}: dry run: nothing -> {UP_A}: {UP_A} is in: isp-a/edge: test 1 passed",
    )
    assert [view.state for view in scene.tracking.views()] == ["dry-run"]
    await scene.tracking.close()


async def test_what_an_earlier_run_left_is_in_use_until_something_is_known(
    scene_of: Callable[..., Scene], kind: type[FakeInstaller]
) -> None:
    kind.left = {KEY: [UP_B]}
    scene = scene_of(two())
    await scene.tracking.open()
    assert scene.wants() == (UP_B,)
    assert scene.told() == []
    await scene.hears(A, True)
    assert scene.wants() == (UP_A,)
    await scene.tracking.close()


async def test_a_reload_in_the_middle_of_a_delay_loses_nothing(scene_of: Callable[..., Scene]) -> None:
    def delayed(metric: int, delay_ns: int) -> RoutesPlan:
        judged = track(A, down_delay_ns=delay_ns)
        return routes(route(PREFIX, hop(UP_A, judged), hop(UP_B, track(B), preference=2), metric=metric))

    scene = scene_of(delayed(1, 3600 * S))
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.hears(B, True)
    await scene.hears(A, False)
    scene.tracking.hold(KEY, None)
    await scene.tracking.prepare(delayed(2, 3601 * S))
    await scene.tracking.change(delayed(2, 3601 * S))
    assert scene.wants() == (UP_A,)
    view = scene.view()
    assert view.held
    assert view.next_hops[0].turning == "down"
    await scene.tracking.prepare(delayed(2, 0))
    await scene.tracking.change(delayed(2, 0))
    assert scene.view().next_hops[0].state == "down"
    scene.tracking.release(KEY)
    assert scene.wants() == (UP_B,)
    assert len(scene.installers) == 1
    await scene.tracking.close()


async def test_another_protocol_number_moves_everything(
    scene_of: Callable[..., Scene], kind: type[FakeInstaller]
) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.tracking.prepare(two(protocol=95))
    await scene.tracking.change(two(protocol=95))
    first, second = kind.made
    assert (first.closed, second.protocol) == (True, 95)
    assert second.wanted == {KEY: (UP_A,)}
    await scene.tracking.close()


async def test_what_a_reload_cannot_open_changes_nothing(
    scene_of: Callable[..., Scene], kind: type[FakeInstaller]
) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    blue = InstancePlan("blue", netns="blue")
    more = replace(
        two(instances=(InstancePlan(""), blue)),
        routes=(*two().routes, replace(two().routes[0], instance="blue")),
    )
    kind.refuse_to_open = [RoutesError("there is no namespace blue")]
    with pytest.raises(RoutesError):
        await scene.tracking.prepare(more)
    await scene.tracking.abandon()
    assert scene.tracking.plan == two()
    await scene.tracking.prepare(more)
    await scene.tracking.abandon()
    assert [one.closed for one in kind.made] == [None, None, False]
    await scene.tracking.prepare(more)
    await scene.tracking.change(more)
    assert [view.table for view in scene.tracking.views()] == ["main", "blue:main"]
    await scene.tracking.prepare(two())
    await scene.tracking.change(two())
    assert [one.closed for one in kind.made] == [None, None, False, True]
    await scene.tracking.close()
    assert kind.made[0].closed is False


async def test_a_namespace_that_a_reload_adds_goes_on_with_what_an_earlier_run_left_there(
    scene_of: Callable[..., Scene], kind: type[FakeInstaller]
) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    blue = InstancePlan("blue", netns="blue")
    more = replace(
        two(instances=(InstancePlan(""), blue)),
        routes=(*two().routes, replace(two().routes[0], instance="blue")),
    )
    kind.left = {("blue", PREFIX): [UP_B]}
    await scene.tracking.prepare(more)
    await scene.tracking.change(more)
    assert kind.made[1].wanted == {("blue", PREFIX): (UP_B,)}
    assert kind.made[0].wanted == {KEY: ()}
    assert "route-changed once" not in scene.names()
    await scene.tracking.close()


async def test_one_namespace_that_cannot_be_opened_closes_those_that_were(
    scene_of: Callable[..., Scene], kind: type[FakeInstaller]
) -> None:
    plan = two(instances=(InstancePlan(""), InstancePlan("blue", netns="blue")))
    plan = replace(plan, routes=(*plan.routes, replace(plan.routes[0], instance="blue")))
    kind.refuse_to_open = []
    scene = scene_of(plan)
    opened: list[str] = []
    original = kind.open

    async def one_only(self: FakeInstaller) -> None:
        if opened:
            raise RoutesError("another has it")
        opened.append("")
        await original(self)

    kind.open = one_only  # type: ignore[method-assign]  # the second is refused
    with pytest.raises(RoutesError):
        await scene.tracking.open()
    assert kind.made[0].closed is False


async def test_what_is_no_longer_configured_is_cleared(scene_of: Callable[..., Scene]) -> None:
    scene = scene_of(two())
    await scene.tracking.open()
    await scene.hears(A, False)
    await scene.hears(B, False)
    scene.told()
    scene.tracking.hold(KEY, None)
    other = routes(route("10.0.0.0/8", hop(UP_A, track(A))))
    await scene.tracking.prepare(other)
    await scene.tracking.change(other)
    assert "route-held cleared" in scene.names()
    assert scene.installer.kept == [("", "10.0.0.0/8")]
    await scene.tracking.close(withdraw=True)
    assert scene.installer.closed is True


async def test_the_command_hears_of_routes_that_go_at_the_end(scene_of: Callable[..., Scene], tmp_path: Path) -> None:
    out, script = tmp_path / "out", tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$TWOWAY_EVENT $TWOWAY_PREVIOUS_NEXT_HOPS" >>{out}\n')
    script.chmod(0o755)
    scene = scene_of(two(hook=HookPlan((str(script),), 10 * S, 8), withdraw_on_exit=True))
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.tracking.close()
    assert out.read_text().splitlines() == ["changed ", f"unavailable {UP_A}"]


async def test_the_command_hears_of_what_the_kernel_has(scene_of: Callable[..., Scene], tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$TWOWAY_EVENT $TWOWAY_PREFIX $TWOWAY_NEXT_HOPS" >>{out}\n')
    script.chmod(0o755)
    scene = scene_of(two(hook=HookPlan((str(script),), 10 * S, 8)))
    await scene.tracking.open()
    await scene.hears(A, True)
    await scene.hears(B, False)
    await scene.hears(A, False)
    await scene.tracking.prepare(two(hook=HookPlan((str(script), "again"), 10 * S, 8)))
    await scene.tracking.change(two(hook=HookPlan((str(script), "again"), 10 * S, 8)))
    await scene.hears(B, True)
    await scene.tracking.close()
    assert out.read_text().splitlines() == [
        f"changed {PREFIX} {UP_A}",
        f"unavailable {PREFIX} ",
        f"changed {PREFIX} {UP_B}",
    ]
    counted = scene.tracking.view()
    assert (counted.hook_runs, counted.hook_failures, counted.hook_dropped) == (3, 0, 0)


async def test_ten_thousand_decisions_are_made_in_turns(scene_of: Callable[..., Scene]) -> None:
    """At no turn of the event loop are more decided than the kernel is asked about, and others have theirs between."""
    count = 10_000
    prefixes = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(count)]
    scene = scene_of(routes(*(route(prefix, hop(UP_A, track(A))) for prefix in prefixes)))
    await scene.tracking.open()
    wanted = scene.installer.wanted
    scene.tracking.hear_verdict(A, True, "test 1 passed")
    turns: list[int] = []
    while not turns or turns[-1] < count:
        await asyncio.sleep(0)
        turns.append(sum(hops == (UP_A,) for hops in wanted.values()))
        assert len(turns) <= count
    steps = [after - before for before, after in zip([0, *turns], turns, strict=False)]
    assert max(steps) <= tracking_module._DECIDED_AT_ONCE  # noqa: SLF001  (what is shown)
    assert len([step for step in steps if step]) >= count // tracking_module._DECIDED_AT_ONCE  # noqa: SLF001  (likewise)
    assert list(wanted) == [("", prefix) for prefix in prefixes]
    assert scene.tracking.view().changes == count
    # The end in the middle of another: what is told is what was decided.
    scene.told()
    scene.tracking.hear_verdict(A, False, "test 2 failed")
    await asyncio.sleep(0)
    await scene.tracking.close()
    out = [message for _, _, message in scene.told() if f": {UP_A} -> nothing: " in message]
    assert len(out) == sum(hops == () for hops in wanted.values()) == tracking_module._DECIDED_AT_ONCE  # noqa: SLF001  (likewise)
