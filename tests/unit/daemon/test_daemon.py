"""The daemon with a packet plane that does what a test says."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from twoway.analysis.result import Event
from twoway.config.plan import Limit, Thresholds
from twoway.daemon import daemon as daemon_module
from twoway.daemon import names as names_module
from twoway.daemon.daemon import Daemon
from twoway.drivers.resolve import Address
from twoway.drivers.session_plane import News, OwnFault
from twoway.errors import PlaneError, ResolveError
from twoway.export.prometheus import Exposition, expose

from ..drivers.serving import eventually
from .faked import FakeCollection, FakePlane, FakeProbes
from .plans import MS, connection, light, plan
from .scene import KEY, plane_of, running
from .test_own_faults import HOUR, SECOND


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    return plane_of(monkeypatch)


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
        reason = "greatest round-trip time 150 µs, threshold rtt is 150 µs"
        assert notice.message == f"near probe to 127.0.0.1:862: test 1: {reason}"
        assert (notice.threshold_ns, notice.value_ns, notice.trap) == (150_000, 150_000, True)
        assert notice.figures is not None
        assert notice.figures.rtt == (100_000, 150_000, 125_000, 25_000)
        results = scene.daemon.results(KEY)
        assert (results.verdict, results.alarms) == ("fail", ("rtt-exceeded",))
        assert results.verdict_reasons == (reason,)
        await scene.ends(FakeCollection(2, rtt_ns=(90_000, 100_000)))
        assert scene.told() == [("rtt-exceeded", "raised"), ("rtt-exceeded", "cleared")]
        notice = scene.last("rtt-exceeded")
        reason = "greatest round-trip time 100 µs, threshold rtt is 150 µs"
        assert notice.message == f"near probe to 127.0.0.1:862: test 2: {reason}"
        assert (notice.threshold_ns, notice.value_ns) == (150_000, 100_000)
        results = scene.daemon.results(KEY)
        assert (results.verdict, results.alarms) == ("pass", ())
        assert (results.tests_run, results.tests_passed, results.tests_failed) == (2, 1, 1)


async def test_a_probe_raises_before_its_test_ends(plane: FakePlane) -> None:
    session = light(thresholds=Thresholds(successive_loss=3, total_loss=0, own_faults=True))
    async with running(plan(connection(session)), plane) as scene:
        into = scene.into()
        assert into.watched["loss_run"] == 3
        into.known["current-test"] = FakeCollection(4, complete=False)
        into.seen = FakeProbes(loss_run=3, longest_loss_run=3, since_ns=scene.clocks.wall)
        plane.news.append((plane.senders[0], News.PROBES))
        await scene.second()
        assert scene.told() == [("probe-failure", "raised")]
        into.seen = FakeProbes()
        await scene.ends(FakeCollection(4))
        assert scene.told() == [("probe-failure", "raised")]
        await scene.ends(FakeCollection(5))
        assert scene.told() == [("probe-failure", "raised"), ("probe-failure", "cleared")]


async def test_losses_whose_replies_this_host_may_have_dropped_prove_nothing(plane: FakePlane) -> None:
    session = light(thresholds=Thresholds(successive_loss=2, total_loss=0))
    async with running(plan(connection(session)), plane) as scene:
        into = scene.into()
        plane.faults[0] = OwnFault.SOCKET_DROPS
        dropped = scene.clocks.wall
        await scene.second()
        del plane.faults[0]
        # That they are lost is known seconds after the replies were dropped.
        for _ in range(4):
            await scene.second()
        into.seen = FakeProbes(loss_run=2, longest_loss_run=2, since_ns=dropped)
        plane.news.append((plane.senders[0], News.PROBES))
        await scene.second()
        assert (scene.told("probe-failure"), into.runs_forgotten) == ([], 1)
        into.seen = FakeProbes(loss_run=2, longest_loss_run=2, since_ns=scene.clocks.wall)
        plane.news.append((plane.senders[0], News.PROBES))
        await scene.second()
        assert (scene.told("probe-failure"), into.runs_forgotten) == ([("probe-failure", "raised")], 1)


async def test_what_is_shown_of_a_collection_has_the_table_s_loss_and_no_delay_with_an_offset(plane: FakePlane) -> None:
    async with running(plan(connection(light())), plane) as scene:
        await scene.ends(FakeCollection(1, counts={"late": 1, "lost": 1}, offset_ns=(5, 7)))
        (shown,) = scene.daemon.results(KEY).collections
        # Two came in time, one late, one not at all.
        assert (shown.loss_ratio, scene.daemon.glance(KEY).loss_ratio) == (0.5, 0.5)
        assert [line.type for line in shown.measurements] == ["rtt", "egress-with-offset", "ingress-with-offset"]
        assert shown.one_way_unknown is not None
        await scene.ends(FakeCollection(2))
        (shown,) = scene.daemon.results(KEY).collections
        assert ([line.type for line in shown.measurements], shown.one_way_unknown) == (["rtt"], None)


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
        assert (scene.daemon.results(KEY).verdict, scene.daemon.results(KEY).last_test_disturbed) == ("pass", True)
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


async def test_results_that_are_cleared_set_no_counter_of_prometheus_back(plane: FakePlane) -> None:
    async with running(plan(connection(light(thresholds=Thresholds(own_faults=True)))), plane) as scene:

        def counted() -> list[str]:
            text = b"".join(expose(scene.daemon, Exposition.TEXT, scene.daemon.health())).decode()
            return [line.rpartition(",")[2] for line in text.splitlines() if line.startswith("twoway_tests_total{")]

        plane.faults[0] = OwnFault.MISSED_SLOTS
        await scene.ends(FakeCollection(1))
        await scene.ends(FakeCollection(2, counts={"lost": 1, "bursts": 1}))
        assert counted() == ['verdict="pass"} 1', 'verdict="fail"} 1']
        disturbed = scene.daemon.glance(KEY).tests_disturbed
        await scene.daemon.clear("results", None)
        assert counted() == ['verdict="pass"} 1', 'verdict="fail"} 1']
        assert scene.daemon.glance(KEY).tests_run == 0
        assert scene.daemon.glance(KEY).tests_forgotten == (1, 1, disturbed)
        await scene.ends(FakeCollection(3))
        assert counted() == ['verdict="pass"} 2', 'verdict="fail"} 1']


async def test_a_test_that_ended_in_a_second_that_fails_is_judged_in_the_next(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(plan(connection(light())), plane) as scene:
        scene.into().finished.append(FakeCollection(1))
        plane.news.append((plane.senders[0], News.TESTS))
        with monkeypatch.context() as broken:
            broken.setattr(plane, "take_intervals", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await scene.second()
        assert scene.daemon.results(KEY).tests_run == 0
        await scene.second()
        assert scene.daemon.results(KEY).tests_passed == 1


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


async def test_each_failure_is_told_once_and_written_where_it_was_also_amid_other_faults(
    plane: FakePlane, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(plan(connection(light())), plane) as scene:
        plane.faults[0] = OwnFault.MISSED_SLOTS
        await scene.second()
        assert scene.told("own-fault") == [("own-fault", "raised")]

        def fail() -> list[object]:
            raise LookupError("on purpose")

        with monkeypatch.context() as broken:
            broken.setattr(scene.into(), "take_finished", fail)
            for _ in range(2):
                plane.news.append((plane.senders[0], News.TESTS))
                await scene.second()
        assert scene.daemon.health().own_faults["internal_errors"] == 2
        assert scene.told("own-fault") == [("own-fault", "raised")] * 2
        assert "LookupError: on purpose" in scene.last("own-fault").message
        written = capfd.readouterr().err
        assert written.count("LookupError: on purpose") == 1
        assert "in fail" in written


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
