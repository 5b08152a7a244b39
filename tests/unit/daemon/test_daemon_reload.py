"""A daemon that gets another configuration."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.views import RequestView
from twoway.config.plan import Limit, Thresholds
from twoway.daemon import connection as connection_module
from twoway.daemon import daemon as daemon_module
from twoway.daemon import pacing as pacing_module
from twoway.daemon.connection import LightConnection
from twoway.daemon.session import WatchedSession

from ..drivers.serving import eventually
from .faked import FakeCollection, FakePlane
from .plans import MS, connection, light, plan
from .scene import KEY, Scene, plane_of, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.config.plan import Plan, SessionPlan


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    return plane_of(monkeypatch)


async def test_a_reload_leaves_what_is_equal_alone_and_ends_begins_and_adjusts_the_rest(plane: FakePlane) -> None:
    old = plan(connection(light("same"), light("other"), light("gone"), light("read")))
    async with running(old, plane) as scene:
        await scene.ends(FakeCollection(1, counts={"lost": 1}), 2)
        read = light("read", history_size=9, thresholds=Thresholds(rtt=Limit(77)))
        scene.next = plan(connection(light("same"), light("other", probe_count=9), light("new"), read))
        answer = await scene.daemon.reload()
        assert (answer.ok, answer.message) == (True, "test-sessions: 2 started, 2 stopped, 1 adjusted")
        assert [sender.aborted for sender in plane.senders] == [False, True, True, False, False, False]
        assert scene.into(3).sizes == (0, 9)
        assert scene.into(3).watched["rtt_ns"] == 77
        assert scene.daemon.keys() == [("near", name) for name in ("same", "other", "new", "read")]
        # Nothing of a session that is gone stays raised.
        assert scene.told("test-failure") == [("test-failure", "raised"), ("test-failure", "cleared")]
        assert scene.daemon.health().reload_ok


async def test_a_file_with_errors_changes_nothing_and_says_so_until_it_has_none(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        scene.next = ("twoway.yaml:3: a: is wrong", "twoway.yaml:9: b: is wrong, too")
        answer = await scene.daemon.reload()
        assert answer == RequestView(False, "twoway.yaml: 2 errors, nothing was changed", scene.next)
        assert not plane.senders[0].aborted
        health = scene.daemon.health()
        assert (health.reload_ok, health.reload_errors) == (False, scene.next)
        assert scene.told() == [("configuration-refused", "once")]
        scene.next = scene.daemon.plan
        assert (await scene.daemon.reload()).ok
        assert scene.daemon.health().reload_ok
        assert len(plane.senders) == 1


@pytest.mark.parametrize("per_connection", [1, 7, 420])
async def test_thousands_are_begun_and_ended_in_turns_between_which_others_have_theirs(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch, per_connection: int
) -> None:
    def asked(interval_ns: int) -> Plan:
        names = [str(number) for number in range(420)]
        parts = [names[first : first + per_connection] for first in range(0, len(names), per_connection)]
        return plan(*(connection(*(light(name, part[0], interval_ns=interval_ns) for name in part)) for part in parts))

    # A turn is over as soon as anybody looks at the clock.
    for module in (pacing_module, connection_module):
        monkeypatch.setattr(module, "TURN_S", 0)
    in_this_turn = [0]
    most: list[int] = []

    def counted(of: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            in_this_turn[0] += 1
            return of(*given, **named)

        return call

    async def others() -> None:
        while True:
            most.append(in_this_turn[0])
            in_this_turn[0] = 0
            await asyncio.sleep(0)

    for name in ("open", "forget"):
        monkeypatch.setattr(plane, name, counted(getattr(plane, name)))
    beside = asyncio.ensure_future(others())
    async with running(asked(10 * MS), plane) as scene:
        await eventually(lambda: len(plane.senders) == 420)
        for count, next_plan in (
            (840, asked(20 * MS)),
            (841, plan(connection(light()))),
            (1261, asked(10 * MS)),
        ):
            scene.next = next_plan
            assert (await scene.daemon.reload()).ok
            await eventually(lambda count=count: len(plane.senders) == count)  # type: ignore[misc]  # of this round
    beside.cancel()
    assert len(plane.forgotten) == 3 * 420 + 1
    assert max(most) <= 20


class BrokenError(Exception):
    """A fault of ours."""


def broken(*_: object, **__: object) -> None:
    raise BrokenError("on\npurpose")


def at_difference(patch: pytest.MonkeyPatch, _: Scene) -> None:
    patch.setattr(daemon_module, "difference", broken)


def at_receivers(patch: pytest.MonkeyPatch, scene: Scene) -> None:
    reconfigure = iter([broken])
    patch.setattr(
        scene.daemon._teller,  # noqa: SLF001  (what is broken)
        "reconfigure",
        lambda _: next(reconfigure, lambda: None)(),
    )


def at_roles(patch: pytest.MonkeyPatch, scene: Scene) -> None:
    patch.setattr(scene.daemon._roles, "change", broken)  # noqa: SLF001  (as above)


def at_routes(patch: pytest.MonkeyPatch, scene: Scene) -> None:
    patch.setattr(scene.daemon._tracked, "prepare", broken)  # noqa: SLF001  (as above)


def at_an_end(patch: pytest.MonkeyPatch, scene: Scene) -> None:
    patch.setattr(scene.daemon._connections["gone"], "close", broken)  # noqa: SLF001  (as above)


def at_a_change(patch: pytest.MonkeyPatch, _: Scene) -> None:
    end = WatchedSession.end
    patch.setattr(
        WatchedSession, "end", lambda self, seen: (broken if self.plan.name == "changed" else end)(self, seen)
    )


def at_an_adjustment(patch: pytest.MonkeyPatch, _: Scene) -> None:
    patch.setattr(WatchedSession, "adjust", broken)


def at_a_beginning(patch: pytest.MonkeyPatch, _: Scene) -> None:
    made = iter([broken])
    patch.setattr(daemon_module, "LightConnection", lambda *given: next(made, LightConnection)(*given))


def at_the_end_of_it(patch: pytest.MonkeyPatch, scene: Scene) -> None:
    patch.setattr(scene.daemon._tracked, "change", broken)  # noqa: SLF001  (as above)


@pytest.mark.parametrize(
    ("breaks", "disturbed"),
    [
        (at_difference, set()),
        (at_receivers, set()),
        (at_roles, set()),
        (at_routes, set()),
        (at_an_end, {"gone"}),
        (at_a_change, {"gone", "near"}),
        (at_an_adjustment, {"gone", "near"}),
        (at_a_beginning, {"gone", "near"}),
        (at_the_end_of_it, {"gone", "near"}),
    ],
)
async def test_a_fault_of_ours_in_a_reload_costs_the_reload_and_the_old_configuration_goes_on(
    plane: FakePlane,
    monkeypatch: pytest.MonkeyPatch,
    breaks: Callable[[pytest.MonkeyPatch, Scene], None],
    disturbed: set[str],
) -> None:
    def asked(adjusted: SessionPlan, changed: SessionPlan, third: str) -> Plan:
        same = connection(light("a", "same"))
        return plan(same, connection(adjusted, changed), connection(light("a", third)))

    old = asked(light("adjusted"), light("changed"), "gone")
    new = asked(light("adjusted", history_size=9), light("changed", probe_count=9), "new")
    async with running(old, plane) as scene:
        before = {key: scene.daemon._session(key).sender for key in list(scene.daemon.keys())}  # noqa: SLF001  (who sends)
        scene.next = new
        with monkeypatch.context() as patch:
            breaks(patch, scene)
            answer = await scene.daemon.reload()
        assert answer.affected == ("internal error: BrokenError: on purpose: please report this",)
        health = scene.daemon.health()
        assert (health.reload_ok, health.reload_errors) == (False, answer.affected)
        assert health.own_faults["internal_errors"] >= 1
        assert scene.daemon.plan is old
        assert scene.daemon.keys() == list(before)
        # Those that it has not come to are the same; the others are there again, each sent by one.
        after = {key: scene.daemon._session(key).sender for key in before}  # noqa: SLF001  (as above)
        assert {key[0] for key in before if after[key] is not before[key]} == disturbed
        assert [test.status for test in scene.daemon.client_tests()] == ["testing"] * 4
        assert sum(not sender.aborted for sender in plane.senders) == 4
        collections = [sender.collections for sender in plane.senders if not sender.aborted]
        assert [into.sizes for into in collections if into is not None] == [(0, 50)] * 4
        # And the next one succeeds.
        assert (await scene.daemon.reload()).ok
        assert scene.daemon.keys() == [("same", "a"), ("near", "adjusted"), ("near", "changed"), ("new", "a")]
        assert scene.daemon.health().reload_ok
        assert sum(not sender.aborted for sender in plane.senders) == 4


async def test_what_cannot_be_read_at_all_is_refused(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        scene.daemon._read_plan = broken  # type: ignore[assignment]  # noqa: SLF001  (as above)
        answer = await scene.daemon.reload()
        assert not answer.ok
        assert "BrokenError" in answer.affected[0]
        assert scene.daemon.health().own_faults["internal_errors"] == 1


async def test_an_alarm_whose_threshold_is_turned_off_is_cleared(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        await scene.ends(FakeCollection(1, counts={"lost": 1}))
        off = Thresholds(successive_loss=0, total_loss=0, control_failure=False)
        scene.next = plan(connection(replace(light(), thresholds=off)))
        await scene.daemon.reload()
        assert scene.daemon.results(KEY).alarms == ()
        assert "its threshold is off now" in scene.last("test-failure").message


async def test_a_file_that_is_slow_to_be_read_holds_up_no_other_request(plane: FakePlane) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> Plan:
        reading.set()
        go_on.wait(20)
        return asked

    asked = plan(connection(light()))
    async with running(asked, plane) as scene:
        scene.daemon._read_plan = slow  # noqa: SLF001  (the scene has no slow disk)
        reload = asyncio.ensure_future(scene.daemon.reload())
        await asyncio.to_thread(reading.wait, 20)
        assert (await asyncio.wait_for(scene.daemon.stop("near"), 20)).ok
        go_on.set()
        assert (await reload).ok
