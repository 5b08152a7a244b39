"""The daemon with a packet plane that does what a test says."""

from __future__ import annotations

import asyncio
import errno
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.notices import Condition, Notice, State
from twoway.analysis.result import Event
from twoway.config.plan import Limit, Thresholds
from twoway.daemon import connection as connection_module
from twoway.daemon import daemon as daemon_module
from twoway.daemon import names as names_module
from twoway.daemon import pacing as pacing_module
from twoway.daemon import session as session_module
from twoway.daemon.connection import LightConnection
from twoway.daemon.daemon import Daemon
from twoway.daemon.seams import NoStore
from twoway.daemon.session import WatchedSession
from twoway.drivers.resolve import Address
from twoway.drivers.session_plane import News, OwnFault
from twoway.errors import PlaneError, ResolveError, StoreError

from ..drivers.serving import eventually
from .faked import FakeCollection, FakeCollections, FakePlane, FakeProbes, FakeSender
from .plans import MS, connection, light, plan
from .test_own_faults import HOUR, SECOND, MadeClocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from twoway.config.plan import Plan, SessionKey, SessionPlan


class MadeStore(NoStore):
    """Remembers what is put."""

    def __init__(self) -> None:
        self.seconds: list[tuple[int, Sequence[tuple[SessionKey, bytes]]]] = []
        self.saved: dict[SessionKey, bytes] = {}
        self.kept: dict[SessionKey, bytes] = {}
        self.raised: dict[Condition, None] = {}
        self.probes: list[tuple[SessionKey, object]] = []

    def put_second(self, second: int, packed: Sequence[tuple[SessionKey, bytes]], /) -> None:
        self.seconds.append((second, packed))

    def put_collections(self, key: SessionKey, packed: bytes, /) -> None:
        self.saved[key] = packed

    async def collections(self) -> Mapping[SessionKey, bytes]:
        return self.kept

    def put_history(self, key: SessionKey, rows: object, _at_ns: int, /) -> None:
        self.probes.append((key, rows))

    def put_notice(self, notice: Notice, /) -> None:
        if notice.state is State.RAISED:
            self.raised[notice.condition] = None
        elif notice.state is State.CLEARED:
            self.raised.pop(notice.condition, None)

    async def conditions(self) -> Sequence[Condition]:
        return list(self.raised)


class Scene:
    """A daemon, its plane, and what it told."""

    def __init__(self, daemon: Daemon, plane: FakePlane, clocks: MadeClocks, store: MadeStore) -> None:
        self.daemon = daemon
        self.plane = plane
        self.clocks = clocks
        self.store = store
        self.next: Plan | Sequence[str] = daemon.plan

    async def second(self) -> None:
        """A second passes, and is looked at."""
        self.clocks.pass_()
        collector = self.daemon._collector  # noqa: SLF001  (time is made here)
        assert collector is not None
        await collector.second()

    def into(self, number: int = 0) -> FakeCollections:
        into = self.plane.senders[number].collections
        assert into is not None
        return into

    async def ends(self, test: FakeCollection, number: int = 0) -> None:
        """A test of the session of this Session-Sender ends."""
        into = self.into(number)
        into.finished.append(test)
        into.known["last-test"] = test
        self.plane.news.append((self.plane.senders[number], News.TESTS))
        await self.second()

    def told(self, *names: str) -> list[tuple[str, str]]:
        """(name, state) of the notices of test-sessions and connections, or of these names."""
        notices = [seen for seen in self.daemon.notices(None, 1000) if seen.name in names or not names]
        return [(seen.name, seen.state.value) for seen in notices if seen.name not in ("started", "stopping")]

    def last(self, name: str) -> Notice:
        return [seen for seen in self.daemon.notices(None, 1000) if seen.name == name][-1]

    async def until(self, what: str) -> None:
        """Wait until the only session has this status."""
        await eventually(lambda: self.daemon.client_tests()[0].status == what)


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    fake = FakePlane()
    monkeypatch.setattr(daemon_module, "SessionPlane", lambda **_: fake)
    monkeypatch.setattr(session_module, "collections", FakeCollections)
    monkeypatch.setattr(daemon_module, "_SECOND_S", 3600.0)
    monkeypatch.setattr(connection_module, "_RETRY_S", 0.01)
    return fake


@asynccontextmanager
async def running(plan: Plan, plane: FakePlane, store: MadeStore | None = None) -> AsyncIterator[Scene]:
    clocks, store = MadeClocks(), store or MadeStore()
    daemon = Daemon(plan, configuration="twoway.yaml", read_plan=lambda: scene.next, store=store, clocks=clocks)
    scene = Scene(daemon, plane, clocks, store)
    await daemon.open()
    try:
        yield scene
    finally:
        await daemon.close()


KEY = ("near", "probe")


async def test_sessions_begin_apart_and_in_groups_of_a_test(plane: FakePlane) -> None:
    sessions = [light(str(number), interval_ns=100 * MS, test_interval_ns=SECOND) for number in range(50)]
    async with running(plan(connection(*sessions)), plane) as scene:
        await eventually(lambda: len(plane.senders) == 50)
        assert [sender.group for sender in plane.senders] == [(5, SECOND)] * 50
        starts = [sender.started_ns - scene.clocks.monotonic for sender in plane.senders if sender.started_ns]
        assert starts[0] == 0
        gaps = [later - earlier for earlier, later in zip(sorted(starts), sorted(starts)[1:], strict=False)]
        assert 0 <= min(starts) <= max(starts) < 100 * MS
        assert min(gaps) > MS / 2  # 2 ms would be even
        assert {test.status for test in scene.daemon.client_tests()} == {"testing"}
        assert scene.daemon.health().sessions == {"testing": 50}
    assert plane.closed
    assert all(sender.aborted for sender in plane.senders)


async def test_what_every_session_saw_is_kept_each_second_and_once_more_at_the_end(plane: FakePlane) -> None:
    async with running(plan(connection(light("a"), light("b"))), plane) as scene:
        await scene.second()
        second, seen = scene.store.seconds[-1]
        assert second == scene.clocks.wall // SECOND - 1
        assert seen == [(("near", "a"), b"second of 0"), (("near", "b"), b"second of 1")]
        store = scene.store
    # The second that was cut short, and what came while the sessions were ended.
    assert [key for _, seen in store.seconds[1:] for key, _ in seen] == [("near", "a"), ("near", "b")] * 2


async def test_a_threshold_that_is_met_is_told_with_figures_and_cleared_by_the_next_good_test(plane: FakePlane) -> None:
    thresholds = Thresholds(rtt=Limit(150_000), own_faults=True)
    session = light(thresholds=thresholds, traps=frozenset({"rtt-exceeded"}))
    async with running(plan(connection(session)), plane) as scene:
        await scene.ends(FakeCollection(1, rtt_ns=(100_000, 150_000)))
        assert scene.told() == [("rtt-exceeded", "raised")]
        notice = scene.last("rtt-exceeded")
        assert notice.message == ("near probe to 127.0.0.1:862: test 1: greatest round-trip time 150 µs, rtt is 150 µs")
        assert (notice.threshold_ns, notice.value_ns, notice.trap) == (150_000, 150_000, True)
        assert notice.figures is not None
        assert notice.figures.rtt == (100_000, 150_000, 125_000, 25_000)
        results = scene.daemon.results(KEY)
        assert (results.verdict, results.alarms) == ("fail", ("rtt-exceeded",))
        assert results.verdict_reasons == ("greatest round-trip time 150 µs, rtt is 150 µs",)
        await scene.ends(FakeCollection(2))
        assert scene.told() == [("rtt-exceeded", "raised"), ("rtt-exceeded", "cleared")]
        results = scene.daemon.results(KEY)
        assert (results.verdict, results.alarms) == ("pass", ())
        assert (results.tests_run, results.tests_passed, results.tests_failed) == (2, 1, 1)


async def test_a_probe_raises_before_its_test_ends(plane: FakePlane) -> None:
    session = light(thresholds=Thresholds(successive_loss=3, total_loss=0, own_faults=True))
    async with running(plan(connection(session)), plane) as scene:
        into = scene.into()
        assert into.watched["loss_run"] == 3
        into.known["current-test"] = FakeCollection(4, complete=False)
        into.seen = FakeProbes(loss_run=3, longest_loss_run=3)
        plane.news.append((plane.senders[0], News.PROBES))
        await scene.second()
        assert scene.told() == [("probe-failure", "raised")]
        into.seen = FakeProbes()
        await scene.ends(FakeCollection(4))
        assert scene.told() == [("probe-failure", "raised")]
        await scene.ends(FakeCollection(5))
        assert scene.told() == [("probe-failure", "raised"), ("probe-failure", "cleared")]


@pytest.mark.parametrize("fault", [OwnFault.SOCKET_DROPS, OwnFault.LATE_DEPARTURES, OwnFault.MISSED_SLOTS])
async def test_what_this_host_disturbed_neither_raises_nor_clears(plane: FakePlane, fault: OwnFault) -> None:
    lossy = {"lost": 1, "bursts": 1}
    async with running(
        plan(connection(light(thresholds=Thresholds()), light("other", thresholds=Thresholds()))), plane
    ) as scene:
        await scene.ends(FakeCollection(1, counts=lossy))
        assert scene.told("probe-failure", "test-failure") == [("probe-failure", "raised"), ("test-failure", "raised")]
        plane.faults[0] = fault
        now = scene.clocks.wall
        spoilt = now, now + SECOND // 2
        await scene.ends(FakeCollection(2, *spoilt))
        assert scene.daemon.results(KEY).alarms == ("probe-failure", "test-failure")
        assert scene.daemon.results(KEY).verdict == "pass"
        assert scene.daemon.results(KEY).tests_disturbed == 1
        # The other session was not disturbed: the packet plane saw it in one alone.
        await scene.ends(FakeCollection(1, *spoilt, counts=lossy), 1)
        assert scene.daemon.results(("near", "other")).alarms == ("probe-failure", "test-failure")
        assert scene.last("own-fault").state.value == "raised"
        assert fault.name is not None
        assert scene.daemon.health().own_faults[fault.name.lower()] == 2


async def test_a_test_that_knows_itself_disturbed_counts_as_that_unless_own_faults_are_judged(plane: FakePlane) -> None:
    sessions = light("a", thresholds=Thresholds()), light("b", thresholds=Thresholds(own_faults=True))
    async with running(plan(connection(*sessions)), plane) as scene:
        for number in (0, 1):
            await scene.ends(FakeCollection(1, counts={"lost": 2, "late_departures": 1}), number)
        assert scene.daemon.results(("near", "a")).alarms == ()
        assert scene.daemon.results(("near", "a")).verdict_reasons[-1] == (
            "this host disturbed the test, so it raised nothing"
        )
        assert scene.daemon.results(("near", "b")).alarms == ("probe-failure", "test-failure")
        assert not any("disturbed" in reason for reason in scene.daemon.results(("near", "b")).verdict_reasons)
        assert [scene.daemon.results(session.key).tests_disturbed for session in sessions] == [1, 1]


async def test_a_test_of_which_nothing_left_a_frozen_host_is_disturbed(plane: FakePlane) -> None:
    counts = {"sent": 0, "lost": 0, "not_sent": 5, "missed_slots": 5}
    async with running(plan(connection(light(thresholds=Thresholds()))), plane) as scene:
        # What never left has no times: those of the test are when that was noticed, after the second was over.
        noticed = scene.clocks.wall + 3 * SECOND
        unsent = FakeCollection(1, noticed, noticed, counts=counts, rtt_ns=())
        await scene.ends(unsent)
        results = scene.daemon.results(KEY)
        assert (results.tests_disturbed, results.verdict, results.alarms) == (1, "fail", ())
        await scene.ends(replace(unsent, test=2, counts={**counts, "missed_slots": 0}))
        # That no packet left is the network's fault now: an interface that is gone, say.
        assert scene.daemon.results(KEY).alarms == ("test-failure",)


async def test_a_fault_that_befell_a_session_while_its_second_was_taken_is_of_that_moment(plane: FakePlane) -> None:
    async with running(plan(connection(light(thresholds=Thresholds()))), plane) as scene:
        plane.faults[0] = OwnFault.SOCKET_DROPS
        over = scene.clocks.wall + SECOND
        plane.while_taken = lambda: scene.clocks.pass_(SECOND // 2)
        await scene.ends(FakeCollection(1, over + SECOND // 4, over + SECOND // 3, counts={"lost": 1}))
        assert (scene.daemon.results(KEY).tests_disturbed, scene.daemon.results(KEY).alarms) == (1, ())


async def test_a_clock_that_steps_by_an_hour_spoils_the_tests_of_its_second_alone(plane: FakePlane) -> None:
    async with running(plan(connection(light(thresholds=Thresholds()))), plane) as scene:
        scene.clocks.wall += HOUR
        now = scene.clocks.wall
        await scene.ends(FakeCollection(1, now, now + SECOND // 2, counts={"lost": 1}))
        assert scene.daemon.results(KEY).alarms == ()
        assert "+3600" in scene.last("own-fault").message
        now = scene.clocks.wall + 1
        await scene.ends(FakeCollection(2, now, now + SECOND // 2, counts={"lost": 1}))
        assert scene.daemon.results(KEY).alarms == ("probe-failure", "test-failure")
        # What is kept goes on with the new time.
        assert [second for second, _ in scene.store.seconds[-2:]] == [now // SECOND - 1, now // SECOND]


async def test_an_interrupted_test_has_no_verdict(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        await scene.ends(FakeCollection(1, complete=False, counts={"lost": 3}))
        assert scene.told() == []
        assert scene.daemon.results(KEY).verdict == "unknown"


async def test_completed_tests_and_iterations_are_told_to_those_who_asked(plane: FakePlane) -> None:
    sessions = light("a", traps=frozenset({"test-completion"})), light("b")
    asked = connection(*sessions, traps=frozenset({"test-iteration-done"}))
    async with running(plan(asked), plane) as scene:
        await scene.ends(FakeCollection(1), 0)
        assert scene.told() == [("test-completion", "once")]
        await scene.ends(FakeCollection(2), 0)
        await scene.ends(FakeCollection(1), 1)
        assert scene.told()[-1] == ("test-iteration-done", "once")
        assert scene.last("test-iteration-done").trap
        await scene.ends(FakeCollection(2), 1)
        assert len(scene.told("test-iteration-done")) == 1


# Opening, and what keeps it from that.


async def test_what_cannot_be_opened_is_told_once_tried_again_and_told_when_it_runs(plane: FakePlane) -> None:
    plane.refusals = [PlaneError("connect", "127.0.0.1:862", errno.ENETUNREACH) for _ in range(3)]
    async with running(plan(connection(light())), plane) as scene:
        assert scene.daemon.client_tests()[0].status == "failed"
        assert "no route" in str(scene.daemon.client_tests()[0].reason)
        await scene.until("testing")
        assert scene.told() == [("session-failed", "raised"), ("session-failed", "cleared")]
        assert scene.daemon.client_connections()[0].retries == 3


async def test_a_name_that_is_not_found_holds_up_nobody(plane: FakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asyncio.Event()

    async def find(_names: object, _endpoint: object, port: int, _family: int | None) -> Address:
        await found.wait()
        return Address("127.0.0.9", port, 0, 4)

    monkeypatch.setattr(names_module.Names, "find", find)
    async with running(plan(connection(light("a", target="far.example"), light("b"))), plane) as scene:
        assert [test.status for test in scene.daemon.client_tests()] == ["connecting", "testing"]
        found.set()
        await scene.until("testing")
        assert plane.senders[1].spec.target == "127.0.0.9"


async def test_a_name_that_is_unknown_is_a_failure_with_its_status(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(_names: object, _endpoint: object, _port: int, _family: int | None) -> Address:
        raise ResolveError("far.example", "no such name")

    monkeypatch.setattr(names_module.Names, "find", find)
    async with running(plan(connection(light(target="far.example"))), plane) as scene:
        await scene.until("failed")
        figures = scene.last("session-failed").figures
        assert figures is not None
        assert scene.daemon.client_tests()[0].reason == "resolve far.example: no such name"


async def test_a_name_that_is_found_twice_is_measured_once(plane: FakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asyncio.Event()

    async def find(_names: object, _endpoint: object, port: int, _family: int | None) -> Address:
        await found.wait()
        return Address("127.0.0.9", port, 0, 4)

    monkeypatch.setattr(names_module.Names, "find", find)
    async with running(plan(connection(light(target="far.example"))), plane) as scene:
        assert (await scene.daemon.stop("near")).ok
        assert (await scene.daemon.start("near", None)).ok
        found.set()
        await eventually(lambda: len(plane.senders) == 2)
        assert [sender.aborted for sender in plane.senders] == [True, False]


async def test_a_silent_target_that_has_moved_is_followed(plane: FakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ["127.0.0.8"]

    async def find(_names: object, _endpoint: object, port: int, _family: int | None) -> Address:
        return Address(where[0], port, 0, 4)

    monkeypatch.setattr(names_module.Names, "find", find)
    async with running(plan(connection(light(target="far.example"))), plane) as scene:
        await scene.until("testing")
        first = plane.senders[0]
        first.sent = 7
        scene.into().seen = FakeProbes(loss_run=3)
        where[0] = "127.0.0.9"
        # Not at once: a name is looked up now and then.
        plane.news.append((first, News.PROBES))
        await scene.second()
        assert not first.aborted
        scene.clocks.pass_(60 * SECOND)
        plane.news.append((first, News.PROBES))
        await scene.second()
        await eventually(lambda: len(plane.senders) == 2)
        assert first.aborted
        assert plane.senders[1].spec.target == "127.0.0.9"
        # The same session goes on: collections, and everything since the start.
        assert plane.senders[1].collections is first.collections
        plane.senders[1].sent = 2
        assert scene.daemon.summary(KEY).counter("sent") == 9


async def test_a_session_whose_packets_cannot_leave_is_opened_anew(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        scene.clocks.pass_(60 * SECOND)
        plane.senders[0].events = [Event(0, "send_error", errno.ENODEV)]
        plane.news.append((plane.senders[0], News.EVENTS))
        await scene.second()
        await eventually(lambda: len(plane.senders) == 2)
        assert plane.senders[0].aborted
        assert scene.daemon.client_tests()[0].status == "testing"


# Counts, requests and continuous sessions.


async def test_so_many_tests_are_run_and_no_more(plane: FakePlane) -> None:
    async with running(plan(connection(light(test_count=3))), plane) as scene:
        assert plane.senders[0].spec.count == 15
        plane.news.append((plane.senders[0], News.TESTS | News.FINISHED))
        await scene.second()
        test = scene.daemon.client_tests()[0]
        assert (test.status, test.reason) == ("stopped", "all its tests have been run")


async def test_a_manual_connection_waits_for_a_request_and_runs_as_often_as_that_says(plane: FakePlane) -> None:
    async with running(plan(connection(light(), test_start="manual")), plane) as scene:
        assert scene.daemon.client_connections()[0].status == "idle"
        assert plane.senders == []
        answer = await scene.daemon.start("near", 4)
        assert (answer.ok, answer.affected) == (True, ["near"])
        assert plane.senders[0].spec.count == 20
        again = await scene.daemon.start("near", None)
        assert (again.ok, again.message) == (False, "near runs already")
        plane.news.append((plane.senders[0], News.FINISHED))
        await scene.second()
        assert (await scene.daemon.start(None, None)).ok
        assert plane.senders[1].spec.count == 5


async def test_a_connection_that_was_stopped_can_be_started(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        assert (await scene.daemon.stop("near")).affected == ["near"]
        assert plane.senders[0].aborted
        assert scene.daemon.client_tests()[0].status == "stopped"
        assert (await scene.daemon.stop(None)).message == "nothing runs"
        assert (await scene.daemon.start("near", None)).ok
        assert plane.senders[1].spec.count is None
        assert plane.senders[1].collections is plane.senders[0].collections
        with pytest.raises(KeyError):
            await scene.daemon.start("nowhere", None)


async def test_continuous_sessions_are_cut_into_tests_by_the_clock(plane: FakePlane) -> None:
    async with running(plan(connection(light(probe_count=0, test_interval_ns=3 * SECOND))), plane) as scene:
        assert plane.senders[0].group is None
        for _ in range(8):
            await scene.second()
        assert len(scene.into().cuts) == 2
        scene.clocks.pass_(30 * SECOND)
        await scene.second()
        assert len(scene.into().cuts) == 3


# What survives.


async def test_persistent_results_come_back_and_others_do_not(plane: FakePlane) -> None:
    sessions = light("kept", persistent=True), light("lost")
    store = MadeStore()
    async with running(plan(connection(*sessions)), plane, store) as scene:
        for number in (0, 1):
            await scene.ends(FakeCollection(1, counts={"lost": 1}), number)
        assert set(store.saved) == {("near", "kept")}
    again = MadeStore()
    again.kept = dict(store.saved)
    plane.senders.clear()
    async with running(plan(connection(*sessions)), plane, again) as scene:
        results = scene.daemon.results(("near", "kept"))
        assert (results.verdict, results.tests_failed) == ("fail", 1)
        assert results.verdict_reasons == (
            "1 probe lost in a row, successive-loss is 1",
            "1 probe lost in the test, total-loss is 1",
        )
        assert scene.into(0).restored == b"tests 1"
        assert scene.daemon.results(("near", "lost")).verdict == "unknown"


async def test_results_of_another_target_and_octets_that_make_no_sense_are_not_taken_up(plane: FakePlane) -> None:
    store = MadeStore()
    async with running(plan(connection(light(persistent=True))), plane, store) as scene:
        await scene.ends(FakeCollection(1))
    packed = store.saved[KEY]
    other = plan(connection(light(persistent=True, target="127.0.0.2:862")))
    same = plan(connection(light(persistent=True)))
    damaged = [b"", packed[:3], packed[:20], b"\xff" + packed[1:], bytes(len(packed))]
    for asked, octets in ((other, packed), *((same, octets) for octets in damaged)):
        again = MadeStore()
        again.kept = {KEY: octets}
        async with running(asked, plane, again) as scene:
            assert scene.daemon.results(KEY).tests_run == 0
            # What nobody can read is told; what is of another target is no loss.
            lost = int(asked is same)
            assert scene.daemon.health().own_faults["states_lost"] == lost
            assert scene.told("state-lost") == [("state-lost", "once")] * lost
            if lost:
                assert scene.last("state-lost").message == (
                    "saved results of 1 test-session could not be read: they begin anew"
                )


async def test_a_store_that_cannot_be_read_at_the_start_is_told_by_what_is_lost(plane: FakePlane) -> None:
    class Unreadable(MadeStore):
        """A store that is there and says nothing."""

        async def collections(self) -> Mapping[SessionKey, bytes]:
            raise StoreError("here", "it is locked")

        async def notices(self, _limit: int, /) -> Sequence[Notice]:
            raise StoreError("here", "it is locked")

        async def conditions(self) -> Sequence[Condition]:
            raise StoreError("here", "it is locked")

    async with running(plan(connection(light(persistent=True))), plane, Unreadable()) as scene:
        await scene.until("testing")
        assert scene.daemon.health().own_faults["states_lost"] == 3
        messages = [seen.message for seen in scene.daemon.notices(None, 10) if seen.name == "state-lost"]
        assert [message.partition(" of before")[0] for message in messages] == [
            "events",
            "results and histories",
            "alarms",
        ]
        assert all("it is locked" in message for message in messages)


async def test_rows_of_alarms_and_events_that_cannot_be_read_are_told(plane: FakePlane) -> None:
    class Damaged(MadeStore):
        """A store with rows that make no sense."""

        def state(self) -> Mapping[str, int | str | bool]:
            return {"state": "ok", "unreadable": 3}

    async with running(plan(connection(light())), plane, Damaged()) as scene:
        assert scene.daemon.health().own_faults["states_lost"] == 3
        assert "3 rows" in scene.last("state-lost").message


async def test_every_probe_of_those_who_want_that_goes_to_the_store(plane: FakePlane) -> None:
    raw = light("raw", raw=True)
    async with running(plan(connection(raw, light("other"))), plane) as scene:
        assert [scene.into(number).rows_kept for number in (0, 1)] == [500, 0]
        for number in (0, 1):
            scene.into(number).fresh = [f"first of {number}"]
        await scene.second()
        await scene.second()
        assert scene.store.probes == [(raw.key, ["first of 0"])]
        into = scene.into()
        plane.senders[0].at_the_end = lambda: into.fresh.append("last")
        scene.next = plan(connection(replace(raw, raw=False), light("other", raw=True)))
        assert (await scene.daemon.reload()).ok
        assert [scene.into(number).rows_kept for number in (0, 1)] == [0, 500]
        scene.next = plan(connection(raw))
        assert (await scene.daemon.reload()).ok
        assert (await scene.daemon.stop(None)).ok
        await scene.second()
        assert scene.store.probes[1:] == [(("near", "other"), ["first of 1"]), (raw.key, ["last"])]


async def test_probes_that_nobody_could_take_in_time_are_counted(plane: FakePlane) -> None:
    async with running(plan(connection(light("one", raw=True), light("two", raw=True))), plane) as scene:

        async def second(*dropped: int) -> int:
            for number, count in enumerate(dropped):
                scene.into(number).fresh = ["a probe"]
                scene.into(number).rows_dropped += count
            await scene.second()
            return scene.daemon.health().own_faults["samples_dropped"]

        assert [await second(0, 0), await second(3, 1), await second(0, 5), await second(0, 0)] == [0, 2, 3, 3]
        assert "2 test-sessions" in scene.last("own-fault").message


async def test_a_test_that_was_complete_when_its_session_ended_is_judged(plane: FakePlane) -> None:
    async with running(plan(connection(light(thresholds=Thresholds(), persistent=True))), plane) as scene:
        into = scene.into()
        plane.senders[0].at_the_end = lambda: into.finished.append(FakeCollection(1, counts={"lost": 1}))
        assert (await scene.daemon.stop(None)).ok
        results = scene.daemon.results(KEY)
        assert (results.tests_failed, results.alarms) == (1, ("probe-failure", "test-failure"))
        await scene.second()
        assert list(scene.store.saved) == [KEY]


async def test_a_persistent_session_that_a_reload_begins_anew_goes_on_from_what_it_was_then(plane: FakePlane) -> None:
    old = light(persistent=True)
    async with running(plan(connection(old)), plane) as scene:
        for number in (1, 2):
            await scene.ends(FakeCollection(number))
        scene.next = plan(connection(light(persistent=True, interval_ns=30 * MS)))
        assert (await scene.daemon.reload()).ok
        assert scene.into(1) is not scene.into(0)
        assert scene.daemon.results(KEY).tests_passed == 2
        scene.next = plan(connection(light(persistent=True, probe_count=7)))
        assert (await scene.daemon.reload()).ok
        assert scene.daemon.results(KEY).tests_run == 0


async def test_clearing_begins_anew(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        await scene.ends(FakeCollection(1))
        assert (await scene.daemon.clear("results", "near")).affected == ["near probe"]
        assert (await scene.daemon.clear("history", None)).ok
        assert scene.into().cleared == ["results", "history"]
        assert scene.daemon.results(KEY).tests_run == 0
        assert (await scene.daemon.clear("events", None)).ok
        assert scene.daemon.notices(None, 10) == []
        assert not (await scene.daemon.clear("server-control", None)).ok
        with pytest.raises(KeyError):
            await scene.daemon.clear("everything", None)


# Reload.


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
        assert (answer.ok, answer.message) == (False, "\n".join(scene.next))
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
    patch.setattr(WatchedSession, "end", lambda self: (broken if self.plan.name == "changed" else end)(self))


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
        assert answer.message == "internal error: BrokenError: on purpose: please report this"
        health = scene.daemon.health()
        assert (health.reload_ok, health.reload_errors) == (False, (answer.message,))
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
        assert "BrokenError" in answer.message
        assert scene.daemon.health().own_faults["internal_errors"] == 1


async def test_an_alarm_whose_threshold_is_turned_off_is_cleared(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        await scene.ends(FakeCollection(1, counts={"lost": 1}))
        off = Thresholds(successive_loss=0, total_loss=0, control_failure=False)
        scene.next = plan(connection(replace(light(), thresholds=off)))
        await scene.daemon.reload()
        assert scene.daemon.results(KEY).alarms == ()
        assert "its threshold is off now" in scene.last("test-failure").message


async def test_one_second_that_fails_is_counted_and_the_next_one_comes(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.001)
    failures = [ValueError("no sense")]
    collect = plane.collect

    def fail_once() -> list[object]:
        if failures:
            raise failures.pop()
        return list(collect())

    monkeypatch.setattr(plane, "collect", fail_once)
    async with running(plan(connection(light())), plane) as scene:
        await eventually(lambda: bool(scene.store.seconds))
        assert scene.daemon.health().own_faults["internal_errors"] == 1
        assert "ValueError: no sense" in scene.last("own-fault").message


async def test_the_end_waits_for_the_second_that_is_under_way_and_keeps_it(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.001)
    taking, go_on = threading.Event(), threading.Event()

    def taken() -> None:
        taking.set()
        go_on.wait(20)
        plane.while_taken = lambda: None

    async with running(plan(connection(light())), plane) as scene:
        plane.while_taken = taken
        await asyncio.to_thread(taking.wait, 20)
        before = len(scene.store.seconds)
        closing = asyncio.ensure_future(scene.daemon.close())
        await asyncio.sleep(0)  # it has begun, and waits
        go_on.set()
        await closing
        # That second, the one that is taken at the end, and what its session saw until it was stopped.
        assert len(scene.store.seconds) == before + 3


async def test_what_was_taken_of_a_session_that_ends_meanwhile_is_kept(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, go_on = threading.Event(), threading.Event()
    take = plane.take_intervals

    def slow(senders: Sequence[FakeSender] | None = None, *, late_ns: int = 0) -> list[tuple[int, bytes, int]]:
        found = take(senders, late_ns=late_ns)
        if senders is None:
            taken.set()
            go_on.wait(20)
        return found

    async with running(plan(connection(light())), plane) as scene:
        with monkeypatch.context() as patch:
            patch.setattr(plane, "take_intervals", slow)
            second = asyncio.ensure_future(scene.second())
            await asyncio.to_thread(taken.wait, 20)
            assert (await scene.daemon.stop("near")).ok
            go_on.set()
            await second
        kept = [octets for _, packed in scene.store.seconds for _, octets in packed]
        # What the second had, and what it saw from then to its end.
        assert kept == [b"second of 0"] * 2


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


async def test_what_goes_wrong_with_one_session_costs_the_others_nothing(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plan(connection(light("a"), light("b"))), plane) as scene:
        for number in (0, 1):
            scene.into(number).finished.append(FakeCollection(1))
        plane.news += [(sender, News.TESTS) for sender in plane.senders]
        with monkeypatch.context() as broken:
            broken.setattr(scene.into(0), "take_finished", lambda: [1 / 0])
            await scene.second()
        assert scene.daemon.results(("near", "b")).tests_passed == 1
        assert scene.daemon.health().own_faults["internal_errors"] == 1
        assert "ZeroDivisionError" in scene.last("own-fault").message


async def test_what_fails_where_nobody_looks_is_counted_and_told(
    plane: FakePlane, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(plan(connection(light())), plane) as scene:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await eventually(lambda: scene.daemon.health().own_faults["internal_errors"] == 1)
        assert "ZeroDivisionError" in scene.last("own-fault").message
        assert "division by zero" in caplog.text
    assert asyncio.get_running_loop().get_exception_handler() is None


async def test_a_sign_of_life_that_fails_is_counted_and_seconds_go_on(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.001)
    daemon = Daemon(plan(connection(light())), beat=lambda _: 1 / 0)
    await daemon.open()
    await eventually(lambda: daemon.health().own_faults["internal_errors"] >= 3)
    await daemon.close()
    assert plane.closed


async def test_a_restart_raises_nothing_twice_and_clears_what_is_over(plane: FakePlane) -> None:
    names = ("stays", "well", "off", "gone")
    sessions = [light(name, thresholds=Thresholds()) for name in names]
    lossy = {"lost": 1, "bursts": 1}
    store, alarms = MadeStore(), ("probe-failure", "test-failure")
    async with running(plan(connection(*sessions)), plane, store) as scene:
        for number in range(len(names)):
            await scene.ends(FakeCollection(7, counts=lossy), number)
        assert len(store.raised) == 2 * len(names)
    again = FakePlane()
    sessions = [
        *sessions[:2],
        light("off", thresholds=Thresholds(total_loss=0, successive_loss=0, control_failure=False)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon_module, "SessionPlane", lambda **_: again)
        async with running(plan(connection(*sessions)), again, store) as scene:
            told = [(notice.name, notice.session) for notice in scene.daemon.notices(None, 100) if notice.session]
            assert sorted(told) == [(name, session) for name in alarms for session in ("gone", "off")]
            assert scene.told(*alarms) == [(name, "cleared") for name, _ in told]
            assert scene.daemon.results(("near", "stays")).alarms == alarms
            assert scene.daemon.results(("near", "off")).alarms == ()
            assert scene.daemon.alarms_raised() == 2
            # Tests may be numbered anew.
            await scene.ends(FakeCollection(1, counts=lossy), 0)
            await scene.ends(FakeCollection(1), 1)
            assert len(scene.told(*alarms)) == 6
            assert scene.daemon.results(("near", "stays")).alarms == alarms
            assert scene.daemon.results(("near", "well")).alarms == ()
            assert {condition.session for condition in store.raised} == {"stays"}


async def test_a_session_that_failed_before_a_restart_and_runs_after_it_is_cleared(
    plane: FakePlane,
) -> None:
    store = MadeStore()
    store.raised = dict.fromkeys(
        [Condition("session-failed", *KEY), Condition("own-fault"), Condition("receiver-degraded")]
    )
    async with running(plan(connection(light())), plane, store) as scene:
        assert scene.told() == [("receiver-degraded", "cleared"), ("session-failed", "cleared")]
        scene.clocks.pass_(61 * SECOND)
        await scene.second()
        assert scene.told("own-fault") == [("own-fault", "cleared")]
