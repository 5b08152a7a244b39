"""What test-sessions come to reaches tracked routes at once, and what this host did to them does not."""

from __future__ import annotations

import asyncio
import builtins
import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.config.plan import Thresholds
from twoway.daemon import tracked as tracked_module
from twoway.daemon.daemon import Daemon
from twoway.daemon.roles import RolesError
from twoway.drivers.session_plane import News, OwnFault
from twoway.errors import PlaneError
from twoway.routes import tracking as tracking_module
from twoway.routes.kernel.lock import RoutesError

from ..drivers.serving import eventually
from ..routes.faked import FakeInstaller, install
from ..routes.made import LOSS, S, hop, route, routes, track
from .faked import FakeCollection, FakePlane
from .plans import connection, light, managed, plan
from .scene import Scene, plane_of, running
from .test_own_faults import SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from twoway.config.plan import Plan, SessionPlan
    from twoway.config.route_plan import RoutesPlan, WindowPlan

PREFIX, UP = "203.0.113.0/24", "192.0.2.1"
KEY = ("", PREFIX)
MET, NOT_MET = (2, 0.34), (1, 0.0)


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    fake = plane_of(monkeypatch)
    monkeypatch.setattr(tracked_module, "_PAUSE_S", 0.001)
    return fake


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> type[FakeInstaller]:
    made = install()
    monkeypatch.setattr(tracking_module, "Installer", made)
    return made


def judging(session: str = "probe", *, window: WindowPlan | None = None, connection: str = "near") -> RoutesPlan:
    return routes(route(PREFIX, hop(UP, replace(track((connection, session)), window=window))))


def tracking(wanted: RoutesPlan | None, *sessions: SessionPlan) -> Plan:
    careful = [replace(session, thresholds=Thresholds()) for session in sessions]
    return replace(plan(connection(*careful)), routes=wanted)


async def turn() -> None:
    """The event loop comes round."""
    for _ in range(3):
        await asyncio.sleep(0)


async def wants(kind: type[FakeInstaller], *hops: str) -> None:
    await turn()
    assert kind.made[-1].wanted[KEY] == hops


async def alert(scene: Scene, news: News, *found: list[tuple[int, float | None]], number: int = 0) -> None:
    """And wait until others may come."""
    scene.plane.alert(scene.plane.senders[number], news, *found)
    await eventually(lambda: scene.plane.alerted is not None)


async def ends(scene: Scene, lost: int = 0, **counts: int) -> None:
    """A test has ended, and the packet plane says so at once."""
    test = FakeCollection(counts={"lost": lost, **counts}, start_ns=scene.clocks.wall, end_ns=scene.clocks.wall)
    scene.into().finished.append(test)
    await alert(scene, News.TESTS)


async def test_only_what_decides_is_followed(plane: FakePlane) -> None:
    async with running(tracking(judging(window=LOSS), light("probe"), light("other")), plane):
        assert [sender.followed for sender in plane.senders] == [
            ((10 * S, (("loss_ratio", 0.1, 0.1, False),)),),
            None,
        ]


async def test_without_routes_nothing_is_watched(plane: FakePlane) -> None:
    async with running(tracking(None, light()), plane):
        assert plane.alerted is None
        assert plane.senders[0].followed is None


async def test_a_test_that_ends_is_heard_before_the_second_is_over(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    async with running(tracking(judging(), light()), plane) as scene:
        await ends(scene)
        await wants(kind, UP)
        await ends(scene, lost=1)
        await wants(kind)
        (view,) = scene.daemon.routes()
        assert view.next_hops[0].reason == (
            "near/probe: test 1 failed: 1 probe lost in a row, successive-loss is 1; "
            "1 probe lost in the test, total-loss is 1"
        )
        assert view.next_hops[0].sla_source == "stamp"
        health = scene.daemon.health()
        assert health.routes is not None
        assert health.routes.changes == 2
        assert scene.told("route-changed") == [("route-changed", "once")] * 2
    assert kind.made[-1].closed is False


async def test_a_limit_that_is_met_is_heard_at_once(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    async with running(tracking(judging(window=LOSS), light()), plane) as scene:
        await alert(scene, News.LIMITS, [NOT_MET])
        await wants(kind, UP)
        await alert(scene, News.LIMITS, [MET])
        await wants(kind)
        scene.plane.senders[0].found = [[(2, 0.5)]]
        (view,) = scene.daemon.routes()
        assert view.next_hops[0].votes == {"near/probe": "loss 50% over 10s, limit 10%"}, (
            "who looks sees the last value"
        )


async def test_alerts_that_come_close_together_are_taken_together(
    plane: FakePlane, kind: type[FakeInstaller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked_module, "_PAUSE_S", 0.05)
    async with running(tracking(judging(window=LOSS), light()), plane) as scene:
        plane.alert(plane.senders[0], News.LIMITS, [NOT_MET])
        assert plane.alerted is None
        plane.alert(plane.senders[0], News.LIMITS, [MET])
        plane.alert(plane.senders[0], News.LIMITS, [NOT_MET])
        await eventually(lambda: plane.alerted is not None)
        await wants(kind, UP)
        assert scene.daemon.health().routes is not None


async def test_a_window_that_this_host_disturbed_decides_nothing_until_it_is_over(
    plane: FakePlane, kind: type[FakeInstaller]
) -> None:
    async with running(tracking(judging(window=LOSS), light()), plane) as scene:
        await alert(scene, News.LIMITS, [NOT_MET])
        await wants(kind, UP)
        scene.clocks.pass_(SECOND // 2, step_ns=3600 * SECOND)
        await alert(scene, News.LIMITS, [MET])
        await wants(kind, UP)
        (view,) = scene.daemon.routes()
        assert view.next_hops[0].votes == {"near/probe": "disturbed by this host"}
        await scene.second()
        for _ in range(9):
            await scene.second()
            scene.daemon._tracked.second()  # noqa: SLF001  (as the daemon does each second)
            await wants(kind, UP)
        for _ in range(2):
            await scene.second()
            scene.daemon._tracked.second()  # noqa: SLF001
        await wants(kind)


async def test_unless_its_session_says_that_it_counts(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    wanted = replace(plan(connection(light(thresholds=Thresholds(own_faults=True)))), routes=judging(window=LOSS))
    async with running(wanted, plane) as scene:
        scene.clocks.pass_(SECOND // 2, step_ns=3600 * SECOND)
        await alert(scene, News.LIMITS, [NOT_MET])
        await wants(kind, UP)


@pytest.mark.parametrize("how", ["slots", "drops", "clock"])
async def test_a_test_that_this_host_disturbed_decides_nothing(
    plane: FakePlane, kind: type[FakeInstaller], how: str
) -> None:
    async with running(tracking(judging(), light()), plane) as scene:
        await ends(scene)
        await wants(kind, UP)
        counts: Mapping[str, int] = {"missed_slots": 1} if how == "slots" else {}
        if how == "drops":
            plane.faults = {0: int(OwnFault.SOCKET_DROPS)}
        if how == "clock":
            scene.clocks.pass_(SECOND // 2, step_ns=SECOND)
        await ends(scene, lost=1, **counts)
        await wants(kind, UP)
        assert scene.daemon.results(("near", "probe")).tests_disturbed == 1


async def test_what_was_taken_early_is_kept_with_the_second(plane: FakePlane) -> None:
    async with running(tracking(judging(), light()), plane) as scene:
        await ends(scene)
        await scene.second()
        ((_, seen),) = scene.store.seconds
        assert seen == [(("near", "probe"), b"second of 0")] * 2


async def test_another_session_sender_goes_on_where_the_last_ended(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    async with running(tracking(judging(window=LOSS), light()), plane) as scene:
        await alert(scene, News.LIMITS, [NOT_MET])
        before = plane.senders[0]
        (one,) = scene.daemon._connections.values()  # noqa: SLF001  (what a silent target leads to)
        one._open(one.sessions["probe"])  # type: ignore[attr-defined]  # noqa: SLF001
        assert plane.senders[1].before is before
        await wants(kind, UP)
        (view,) = scene.daemon.routes()
        assert view.next_hops[0].votes == {"near/probe": "loss 0% over 10s, limit 10%"}, "nothing was forgotten"
        await alert(scene, News.LIMITS, [MET])
        await wants(kind, UP)
        await alert(scene, News.LIMITS, [MET], number=1)
        await wants(kind)


async def test_a_test_that_is_stopped_says_nothing(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    async with running(tracking(judging(window=LOSS), light()), plane) as scene:
        await alert(scene, News.LIMITS, [NOT_MET])
        await scene.daemon.stop("near")
        await wants(kind, UP)
        (view,) = scene.daemon.routes()
        assert view.next_hops[0].votes == {"near/probe": "its test is not run now"}


@pytest.mark.parametrize(("number", "goes"), [(errno.ENODEV, True), (errno.EMFILE, False)])
async def test_a_test_whose_interface_is_gone_fails(
    plane: FakePlane, kind: type[FakeInstaller], number: int, goes: bool
) -> None:
    async with running(tracking(judging(window=LOSS), light()), plane) as scene:
        await alert(scene, News.LIMITS, [NOT_MET])
        plane.refusals = [PlaneError("bind to interface", "wan0", number)] * 1000
        (one,) = scene.daemon._connections.values()  # noqa: SLF001  (what a silent target leads to)
        one._open(one.sessions["probe"])  # type: ignore[attr-defined]  # noqa: SLF001
        await wants(kind, *(() if goes else (UP,)))
        plane.refusals = []
        await eventually(lambda: len(plane.senders) == 2)
        await alert(scene, News.LIMITS, [NOT_MET], number=1)
        await wants(kind, UP)


async def test_a_server_that_cannot_be_reached_fails(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    session = managed(target="127.0.0.1:1", thresholds=Thresholds(control_failure=True))
    wanted = replace(plan(connection(session)), routes=judging(connection="far"))
    async with running(wanted, plane) as scene:
        key = ("far", "probe")
        scene.daemon._tracked.verdict(key, True, "test 1 passed")  # noqa: SLF001  (what a test came to before)
        await wants(kind, UP)
        await eventually(lambda: kind.made[-1].wanted[KEY] == ())


async def test_a_reload_brings_routes_changes_them_and_takes_them_away(
    plane: FakePlane, kind: type[FakeInstaller]
) -> None:
    async with running(tracking(None, light("probe"), light("other")), plane) as scene:
        assert list(scene.daemon.routes()) == []
        with pytest.raises(KeyError, match=rf"tracked route {PREFIX}"):
            await scene.daemon.hold(PREFIX, "", None)
        scene.next = tracking(judging(window=LOSS), light("probe"), light("other"))
        answer = await scene.daemon.reload()
        assert answer.message == "no test-session differs; tracked routes differ"
        await alert(scene, News.LIMITS, [NOT_MET])
        await wants(kind, UP)
        scene.next = tracking(judging("other", window=LOSS), light("probe"), light("other"))
        assert (await scene.daemon.reload()).ok
        assert [sender.followed is None for sender in plane.senders] == [True, False]
        await wants(kind, UP)
        scene.next = tracking(None, light("probe"), light("other"))
        assert (await scene.daemon.reload()).ok
        assert kind.made[-1].closed is True
        assert plane.alerted is None
        assert plane.senders[1].followed is None
        assert scene.daemon.health().routes is None


async def test_a_reload_that_routes_refuse_changes_nothing(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    async with running(tracking(None, light()), plane) as scene:
        kind.refuse_to_open = [RoutesError("routes of protocol 94 are kept by process 7")]
        scene.next = tracking(judging(), light())
        answer = await scene.daemon.reload()
        assert (answer.ok, answer.affected) == (False, ("routes: routes of protocol 94 are kept by process 7",))
        assert list(scene.daemon.routes()) == []


async def test_a_reload_that_others_refuse_lets_go_what_routes_opened(
    plane: FakePlane, kind: type[FakeInstaller], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.left = {KEY: [UP]}
    async with running(tracking(None, light()), plane) as scene:

        async def refuse(*_: object) -> None:
            raise RolesError(("reflector: the port is taken",))

        monkeypatch.setattr(scene.daemon._roles, "change", refuse)  # noqa: SLF001
        scene.next = tracking(judging(), light())
        assert not (await scene.daemon.reload()).ok
        installer = kind.made[-1]
        assert (installer.closed, installer.started, installer.kept, installer.wanted) == (False, False, [], {})
        assert list(scene.daemon.routes()) == []
        assert plane.alerted is None


async def test_a_start_that_routes_refuse_leaves_nothing_open(plane: FakePlane, kind: type[FakeInstaller]) -> None:
    kind.refuse_to_open = [RoutesError("routes of protocol 94 are kept by process 7")]
    daemon = Daemon(tracking(judging(), light()))
    with pytest.raises(RolesError, match="routes: routes of protocol 94 are kept by process 7"):
        await daemon.open()
    assert plane.closed
    await daemon.close()


async def test_without_pyroute2_it_says_how_to_get_it(plane: FakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: object) -> ModuleType:
        if name == "twoway.routes.tracking":
            raise ModuleNotFoundError("No module named 'pyroute2'", name="pyroute2.netlink")
        return original(name, *rest)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(RolesError, match=r"pyroute2 is not installed: `pip install 'twoway\[routes\]'`"):
        await Daemon(tracking(judging(), light())).open()
    assert plane.closed


async def test_requests_name_what_there_is_not(plane: FakePlane) -> None:
    async with running(tracking(judging(), light()), plane) as scene:
        with pytest.raises(KeyError, match=r"tracked route 10\.0\.0\.0/8@blue"):
            await scene.daemon.release("10.0.0.0/8", "blue")
        with pytest.raises(KeyError, match=rf"next hop 192\.0\.2\.99 of tracked route {PREFIX}: "):
            await scene.daemon.hold(PREFIX, "", ["192.0.2.99"])
        assert (await scene.daemon.hold(PREFIX, "", [UP])).message == f"{PREFIX} is held: {UP}"
        assert (await scene.daemon.release(PREFIX, "")).ok


async def test_an_internal_error_is_counted_and_measuring_goes_on(
    plane: FakePlane, kind: type[FakeInstaller], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tracking(judging(window=LOSS), light()), plane) as scene:
        monkeypatch.setattr(scene.daemon._collector, "at_once", lambda _alerts: 1 / 0)  # noqa: SLF001
        await alert(scene, News.LIMITS | News.TESTS, [NOT_MET])
        await wants(kind, UP)
        assert scene.daemon.health().own_faults["internal_errors"] == 1
