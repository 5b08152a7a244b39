"""The daemon with real packets on loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.config.plan import Limit, Thresholds
from twoway.config.reflection import Reflection
from twoway.config.server import ServerOptions
from twoway.daemon import daemon as daemon_module
from twoway.daemon.daemon import Daemon
from twoway.daemon.roles import RolesError
from twoway.drivers.reflector import Reflector

from ..drivers.serving import eventually
from .plans import connection, light, plan
from .scene import MadeStore
from .test_managed import away

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twoway.config.plan import Plan
    from twoway.daemon.seams import Store

KEY = ("near", "probe")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds follow each other quickly."""
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.02)


@asynccontextmanager
async def running(*plans: Plan, store: Store | None = None) -> AsyncIterator[Daemon]:
    """A daemon; each reload goes on to the next plan."""
    later = iter(plans[1:])
    daemon = Daemon(plans[0], read_plan=lambda: next(later), store=store)
    await daemon.open()
    try:
        yield daemon
    finally:
        await daemon.close()


def where(reflector: Reflector) -> str:
    host, port = reflector.local_addresses[0]
    return f"{host}:{port}"


async def test_tests_pass_and_everything_is_shown() -> None:
    with Reflector(listen=["127.0.0.1:0"], stateful=True) as reflector:
        session = light(target=where(reflector), moving_average_size=7, history_size=12)
        async with running(plan(connection(session))) as daemon:
            await eventually(lambda: daemon.results(KEY).tests_passed >= 3)
            results = daemon.results(KEY)
            assert (results.verdict, results.tests_failed, results.timestamps) == ("pass", 0, "kernel")
            views = {view.collection: view for view in results.collections}
            assert set(views) == {"current-test", "last-test", "moving-average", "all-tests"}
            last = views["last-test"]
            assert (last.sent, last.received, last.lost, last.loss_ratio) == (5, 5, 0, 0.0)
            assert last.test is not None
            assert last.test >= 3
            kinds = {line.type: line for line in last.measurements}
            # Whether the clock here is synchronised, and so can carry a one-way delay, is the machine's affair.
            known = "" if last.one_way_unknown is None else "-with-offset"
            one_way = [f"egress{known}", "egress-jitter", f"ingress{known}", "ingress-jitter"]
            assert list(kinds) == ["rtt", "rtt-jitter", *one_way]
            assert (daemon.history(KEY)[-1].egress_ns is None) == (known != "")
            assert kinds["rtt"].samples == 5
            # T3 is written before the reply leaves, so that a round trip on loopback may come out below nothing.
            assert -100_000 < kinds["rtt"].min_ns <= kinds["rtt"].percentiles["p50"] <= kinds["rtt"].max_ns < 10**9
            assert kinds["rtt"].peak_to_peak_ns == kinds["rtt"].max_ns - kinds["rtt"].min_ns
            history = daemon.history(KEY)
            assert len(history) == 12
            assert [probe.status for probe in history] == ["response-received"] * 12
            numbers = [probe.sequence for probe in history]
            assert numbers == list(range(numbers[0], numbers[0] + 12))
            assert [probe.test for probe in history] == [number // 5 + 1 for number in numbers]
            assert len(daemon.history(KEY, limit=3)) == 3
            assert results.last_probe is not None
            assert results.last_probe.t4_source == "kernel"
            glance = daemon.glance(KEY)
            assert (glance.status, glance.verdict, glance.last_status) == ("testing", "pass", "response-received")
            assert glance.clock["local_synchronized"] in (0, 1)
            summary = daemon.summary(KEY)
            assert summary.counter("received") >= 15
            assert summary.counter("lost_unattributed") == 0


async def test_lost_probes_fail_tests_and_the_end_of_the_loss_clears() -> None:
    target = away()
    async with running(plan(connection(light(target=target, thresholds=Thresholds(own_faults=True))))) as daemon:
        await eventually(lambda: daemon.results(KEY).tests_failed >= 1)
        results = daemon.results(KEY)
        assert results.alarms == ("probe-failure", "test-failure")
        assert results.verdict_reasons[-1] == "5 probes lost in the test, total-loss is 1"
        assert daemon.glance(KEY).last_status == "request-timed-out"
        with Reflector(listen=[target]):
            await eventually(lambda: daemon.results(KEY).alarms == ())
            assert daemon.results(KEY).verdict == "pass"


async def test_a_threshold_that_each_probe_exceeds_is_raised() -> None:
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        thresholds = Thresholds(rtt=Limit(1), own_faults=True)
        async with running(plan(connection(light(target=where(reflector), thresholds=thresholds)))) as daemon:
            await eventually(lambda: daemon.results(KEY).alarms == ("rtt-exceeded",))
            await eventually(lambda: daemon.results(KEY).tests_failed >= 2)
            assert daemon.notice_counts()["rtt-exceeded", "raised"] == 1


async def test_a_reload_does_not_disturb_even_the_sequence_numbers_of_what_is_equal() -> None:
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        kept, other = light("kept", target=where(reflector)), light("other", target=where(reflector))
        adjusted = replace(kept, history_size=500, thresholds=Thresholds(rtt=Limit(10**10), own_faults=True))
        fresh = light("fresh", target=where(reflector))
        async with running(plan(connection(kept, other)), plan(connection(adjusted, fresh))) as daemon:
            await eventually(lambda: daemon.results(("near", "kept")).tests_passed >= 2)
            port = daemon.client_tests()[0].sender_port
            assert (await daemon.reload()).ok
            await eventually(lambda: daemon.results(("near", "fresh")).tests_passed >= 2)
            assert daemon.client_tests()[0].sender_port == port
            history = [probe.sequence for probe in daemon.history(("near", "kept"))]
            assert len(history) > 10
            assert history == list(range(history[0], history[0] + len(history)))
            summary = daemon.summary(("near", "kept"))
            assert summary.counter("lost_unattributed") == 0
            # A busy host may leave out some, and then says so.
            assert bool(summary.counter("missed_slots")) <= bool(daemon.health().own_faults["missed_slots"])


async def test_persistent_results_go_on_after_a_restart() -> None:
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        asked = plan(connection(light(target=where(reflector), persistent=True)))
        first, second = MadeStore(), MadeStore()
        async with running(asked, store=first) as daemon:
            await eventually(lambda: daemon.results(KEY).tests_passed >= 3)
        second.kept = dict(first.saved)
        async with running(asked, store=second) as daemon:
            results = daemon.results(KEY)
            before = results.tests_passed
            assert before >= 3
            assert {view.collection for view in results.collections} >= {"last-test", "all-tests"}
            history = daemon.history(KEY)
            assert len(history) >= 15
            await eventually(lambda: daemon.results(KEY).tests_passed >= before + 1)
            assert max(probe.test for probe in daemon.history(KEY)) > max(probe.test for probe in history)


async def test_so_many_tests_are_sent_to_the_packet() -> None:
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        async with running(plan(connection(light(target=where(reflector), test_count=3)))) as daemon:
            await eventually(lambda: daemon.client_tests()[0].status == "stopped")
            assert daemon.results(KEY).tests_passed == 3
            assert daemon.summary(KEY).counter("sent") == 15
            assert reflector.counters()["test_packet:reflected"] == 15


async def test_a_continuous_session_has_tests_of_an_interval() -> None:
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        session = light(target=where(reflector), probe_count=0, test_interval_ns=100_000_000)
        async with running(plan(connection(session))) as daemon:
            await eventually(lambda: daemon.results(KEY).tests_passed >= 3)
            last = next(view for view in daemon.results(KEY).collections if view.collection == "last-test")
            assert 2 <= last.sent <= 12


# Roles.


async def test_every_role_that_cannot_begin_is_named_and_nothing_stays_open() -> None:
    with Reflector(listen=["127.0.0.1:0"]) as free:
        taken = where(free)
    async with running(plan(server=ServerOptions(listen=(("twamp", "127.0.0.1", 0, 0),)))) as other:
        host, port = other._roles.server.local_addresses[0][1:]  # type: ignore[union-attr]  # noqa: SLF001  (it has one)
        asked = plan(
            server=ServerOptions(listen=(("twamp", host, port, 0),)),
            reflections=(Reflection(listen=(taken,)), Reflection(listen=("192.0.2.1:862",))),
        )
        daemon = Daemon(asked)
        with pytest.raises(RolesError) as failed:
            await daemon.open()
        assert len(failed.value.reasons) == 2
        assert failed.value.reasons[0].startswith("light server: bind 192.0.2.1:862: ")
        assert failed.value.reasons[1].startswith(f"server: control connection with {host}:{port}: listen: ")
        await daemon.close()
    with Reflector(listen=[taken]):
        pass


async def test_a_reload_that_cannot_open_a_role_changes_nothing() -> None:
    server = ServerOptions(listen=(("twamp", "127.0.0.1", 0, 0),))
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        target = where(reflector)
        before = plan(connection(light(target=target)), server=server)
        impossible = plan(
            connection(light("other", target=target)),
            server=replace(server, port_range=(30_000, 30_100)),
            reflections=(Reflection(listen=("192.0.2.1:862",)),),
        )
        async with running(before, impossible) as daemon:
            listening = daemon._roles.server  # noqa: SLF001  (whether it is the same)
            answer = await daemon.reload()
            assert not answer.ok
            assert answer.affected[0].startswith("bind 192.0.2.1:862")
            assert daemon._roles.server is listening  # noqa: SLF001  (as above)
            assert daemon.keys() == [KEY]
            assert daemon.health().reload_errors == answer.affected
            await eventually(lambda: daemon.results(KEY).tests_passed >= 1)


async def test_a_reload_that_needs_the_addresses_of_what_runs_gives_them_back_if_it_fails() -> None:
    target, other = away(), away()
    host, _, port = other.partition(":")
    server = ServerOptions(listen=(("twamp", host, int(port), 0),))
    before = plan(connection(light(target=target)), server=server, reflections=(Reflection(listen=(target,)),))
    with Reflector(listen=["127.0.0.1:0"]) as taken:
        impossible = plan(
            connection(light(target=target)),
            server=replace(server, maximum_sessions=7),
            reflections=(Reflection(listen=(target, where(taken))),),
        )
        async with running(before, impossible) as daemon:
            await eventually(lambda: daemon.results(KEY).tests_passed >= 1)
            answer = await daemon.reload()
            assert not answer.ok
            assert answer.affected[0].startswith(f"bind {where(taken)}")
            assert list(daemon.reflector_counters()) == [target]
            passed = daemon.results(KEY).tests_passed
            await eventually(lambda: daemon.results(KEY).tests_passed >= passed + 2)
            _, writer = await asyncio.open_connection(host, int(port))
            await eventually(lambda: len(daemon.server_connections()) == 1)
            writer.close()


async def test_a_reload_changes_a_server_and_reflectors_in_place() -> None:
    target = away()
    host, _, port = target.partition(":")
    options = ServerOptions(listen=(("twamp", host, int(port), 0),))
    old = plan(server=options, reflections=(Reflection(listen=(target,)),))
    new = plan(
        connection(light(target=target)),
        server=replace(options, maximum_sessions=1000),
        reflections=(Reflection(listen=(target,), stateful=True),),
    )
    async with running(old, new, plan()) as daemon:
        assert (await daemon.reload()).ok
        server = daemon._roles.server  # noqa: SLF001  (what it was made of)
        assert server is not None
        assert server.options.maximum_sessions == 1000
        assert list(daemon.reflector_counters()) == [target]
        await eventually(lambda: daemon.reflector_counters()[target]["test_packet:reflected"] >= 5)
        assert (await daemon.reload()).ok
        assert (daemon.reflector_counters(), daemon.server_counters(), daemon.client_tests()) == ({}, {}, [])


async def test_an_operator_sees_and_closes_control_connections_of_the_server() -> None:
    from ..drivers.serving import up_to_ready

    async with running(plan(server=ServerOptions(listen=(("twamp", "127.0.0.1", 0, 0),)))) as daemon:
        server = daemon._roles.server  # noqa: SLF001  (its address)
        assert server is not None
        with up_to_ready(server) as client:
            await eventually(lambda: len(daemon.server_connections()) == 1)
            (view,) = daemon.server_connections()
            assert (view.client_address, view.client_port) == client.getsockname()
            assert (view.server_address, view.server_port) == client.getpeername()
            with pytest.raises(KeyError):
                await daemon.clear("server-control", "77")
            assert (await daemon.clear("server-control", view.name)).affected == [view.name]
            assert daemon.server_connections() == []
            assert daemon.server_counters()["closed_by_operator"] == 1
