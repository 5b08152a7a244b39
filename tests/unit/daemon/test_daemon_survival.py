"""What a daemon keeps, over its end and over that of its sessions."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.notices import Condition, Notice
from twoway.config.plan import Thresholds
from twoway.daemon import daemon as daemon_module
from twoway.errors import StoreError

from .faked import FakeCollection, FakePlane, FakeSender
from .plans import MS, connection, light, plan
from .scene import KEY, MadeStore, plane_of, running
from .test_own_faults import SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twoway.config.plan import SessionKey


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    return plane_of(monkeypatch)


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


async def test_probes_go_to_the_store_at_once_and_as_they_came(plane: FakePlane) -> None:
    sessions = [light(f"s{number}", raw=True) for number in range(3)]
    async with running(plan(connection(*sessions)), plane) as scene:
        for number in range(3):
            scene.into(number).fresh = [f"of {number}"]
        assert (await scene.daemon.stop(None)).ok
        assert (await scene.daemon.start(None, None)).ok
        for number in range(3):
            scene.into(number).fresh = [f"later of {number}"]
        await scene.second()
        assert scene.store.puts_of_probes == 1
        rows = [rows for _, rows in scene.store.probes]
        assert rows == [[f"{when}of {number}"] for when in ("", "later ") for number in range(3)]


async def test_the_packet_plane_is_asked_once_for_all_that_end_together(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plan(connection(*(light(f"s{number}") for number in range(3)))), plane) as scene:
        shared = scene.daemon._shared  # noqa: SLF001  (a control connection that is lost does this)
        assert shared is not None
        sessions = [session for _, session in shared.running.values()]
        for sender in plane.senders:
            sender.sent = 7
        asked: list[list[FakeSender]] = []
        intervals, summaries = plane.take_intervals, plane.summaries

        def intervals_asked(senders: Sequence[FakeSender], *, late_ns: int) -> list[tuple[int, bytes, int]]:
            asked.append(list(senders))
            return intervals(senders, late_ns=late_ns)

        def summaries_asked(senders: Sequence[FakeSender]) -> list[tuple[int, bytes]]:
            asked.append(list(senders))
            return summaries(senders)

        with monkeypatch.context() as patch:
            patch.setattr(plane, "take_intervals", intervals_asked)
            patch.setattr(plane, "summaries", summaries_asked)
            shared.end_all(sessions)
            shared.end_all(sessions)  # they have ended
        assert asked == [plane.senders, plane.senders]
        assert not shared.running
        assert [octets for _, octets in shared.last_words] == [b"second of 0", b"second of 1", b"second of 2"]
        assert [scene.daemon.summary(session.key).counter("sent") for session in sessions] == [7, 7, 7]


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
