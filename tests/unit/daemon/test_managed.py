"""Control connections that are kept up, with a real Server on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ports import free_port
from twoway.config.plan import Thresholds
from twoway.daemon import connection as connection_module
from twoway.daemon import daemon as daemon_module
from twoway.daemon import managed as managed_module
from twoway.daemon.daemon import Daemon
from twoway.drivers.control_client import ControlClient

from ..drivers.serving import PATIENCE_S, eventually, serving, target
from .plans import connection, managed, plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twoway.config.managed import SessionRequest
    from twoway.config.plan import Plan
    from twoway.drivers.managed_session import TestSession

KEY = ("far", "probe")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts and seconds follow each other quickly."""
    monkeypatch.setattr(managed_module, "_LEAST_PAUSE_S", 0.02)
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.02)


@asynccontextmanager
async def running(asked: Plan) -> AsyncIterator[Daemon]:
    daemon = Daemon(asked, read_plan=lambda: asked)
    await daemon.open()
    try:
        yield daemon
    finally:
        await daemon.close()


def told(daemon: Daemon) -> list[str]:
    return [seen.name for seen in daemon.notices(None, 1000) if seen.name not in ("started", "stopping", "own-fault")]


def status(daemon: Daemon) -> str:
    return daemon.client_connections()[0].status


def away() -> str:
    """Where nobody listens."""
    return f"127.0.0.1:{free_port()}"


async def test_a_connection_comes_up_and_its_tests_pass() -> None:
    async with serving() as server, running(plan(connection(managed(target=target(server))))) as daemon:
        await eventually(lambda: daemon.results(KEY).tests_passed >= 2)
        (view,) = daemon.client_connections()
        assert (view.status, view.mode, view.retries, view.active_tests) == ("testing", "unauthenticated", 0, 1)
        assert f"{view.server_address}:{view.server_port}" == target(server)
        (test,) = daemon.client_tests()
        assert (test.protocol, test.status, test.reflector_address) == ("twamp", "testing", "127.0.0.1")
        (session,) = server.sessions()
        assert session.receiver == (test.reflector_address, test.reflector_port)
        assert told(daemon) == ["control-connection-up"]
        assert daemon.summary(KEY).counter("received") > 0
    assert server.connections == 0


async def test_a_server_that_is_away_is_tried_each_interval_and_each_time_is_a_failed_test() -> None:
    asked = managed(target=away(), thresholds=Thresholds(own_faults=True))
    async with running(plan(connection(asked))) as daemon:
        await eventually(lambda: daemon.client_connections()[0].retries >= 3)
        assert status(daemon) in ("waiting", "connecting")
        results = daemon.results(KEY)
        assert results.verdict == "fail"
        assert results.tests_failed >= 3
        assert "could not be negotiated" in results.verdict_reasons[0]
        assert results.alarms == ("test-failure",)
        # Told once, however often it is tried.
        assert sorted(told(daemon)) == ["control-connection-closed", "test-failure"]


async def test_names_that_hang_hold_up_no_server_that_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "ATTEMPTS", 1)
    asked, answer = threading.Event(), threading.Event()

    def hang(host: str, *_: object) -> list[object]:
        assert host == "far.example"
        asked.set()
        answer.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        async with serving() as server:
            near = connection(managed(connection="near", target=target(server)), test_start="manual")
            async with running(plan(connection(managed(target="far.example:862")), near)) as daemon:
                await asyncio.to_thread(asked.wait, PATIENCE_S)
                await daemon.start("near", None)
                await eventually(lambda: daemon.results(("near", "probe")).tests_passed >= 1)
                assert status(daemon) == "connecting"
    finally:
        answer.set()


async def test_control_failure_can_be_off() -> None:
    asked = managed(target=away(), thresholds=Thresholds(control_failure=False))
    async with running(plan(connection(asked))) as daemon:
        await eventually(lambda: daemon.client_connections()[0].retries >= 2)
        assert daemon.results(KEY).verdict == "unknown"
        assert told(daemon) == ["control-connection-closed"]


async def test_a_server_that_restarts_is_found_again_and_results_go_on() -> None:
    where = away()
    host, _, port = where.partition(":")
    listen = (("twamp", host, int(port), 0),)
    async with running(plan(connection(managed(target=where)))) as daemon:
        async with serving(listen=listen):
            await eventually(lambda: daemon.results(KEY).tests_passed >= 2)
            received = daemon.summary(KEY).counter("received")
        await eventually(lambda: "control-connection-closed" in told(daemon)[1:])
        await eventually(lambda: status(daemon) in ("waiting", "connecting"))
        passed = daemon.results(KEY).tests_passed
        async with serving(listen=listen):
            await eventually(lambda: daemon.results(KEY).tests_passed >= passed + 2)
            assert daemon.summary(KEY).counter("received") > received
            assert daemon.results(KEY).alarms == ()
            history = daemon.history(KEY)
            assert {probe.test for probe in history} >= {passed, passed + 1}
    assert told(daemon).count("control-connection-up") == 2


async def test_a_session_that_is_refused_keeps_no_other_from_running() -> None:
    sessions = [managed(name) for name in ("a", "b", "c")]
    async with serving(maximum_sessions=2) as server:
        asked = connection(*sessions, target=target(server))
        async with running(plan(asked)) as daemon:
            await eventually(lambda: len(server.sessions()) == 2)
            await eventually(lambda: [test.status for test in daemon.client_tests()].count("testing") == 2)
            await eventually(lambda: daemon.results(("far", "c")).tests_failed >= 2)
            refused = daemon.client_tests()[2]
            assert refused.status == "failed"
            assert "Accept 5" in str(refused.reason)
            assert told(daemon).count("session-failed") == 1
            await eventually(lambda: daemon.results(("far", "a")).tests_passed >= 1)
            # Room is made: the one that was refused gets it.
            fewer = connection(*sessions[1:], target=target(server))
            daemon._read_plan = lambda: plan(fewer)  # noqa: SLF001  (the file says so now)
            assert (await daemon.reload()).ok
            await eventually(lambda: [test.status for test in daemon.client_tests()] == ["testing", "testing"])


async def test_so_many_tests_are_run_and_the_connection_is_closed() -> None:
    async with serving() as server, running(plan(connection(managed(target=target(server), test_count=2)))) as daemon:
        await eventually(lambda: status(daemon) == "stopped")
        assert daemon.results(KEY).tests_passed == 2
        assert daemon.summary(KEY).counter("sent") == 10
        await eventually(lambda: server.connections == 0)
        assert server.counts["connections"] == 1
        assert told(daemon) == ["control-connection-up"]


async def test_a_request_starts_and_stops_a_manual_connection() -> None:
    async with serving() as server:
        asked = connection(managed(target=target(server)), test_start="manual")
        async with running(plan(asked)) as daemon:
            assert status(daemon) == "idle"
            assert (await daemon.start("far", 1000)).ok
            await eventually(lambda: daemon.results(KEY).tests_passed >= 1)
            assert (await daemon.stop("far")).ok
            assert status(daemon) == "stopped"
            await eventually(lambda: server.connections == 0)
            assert (await daemon.start(None, 1)).ok
            await eventually(lambda: status(daemon) == "stopped")
            assert server.counts["connections"] == 2


@pytest.mark.parametrize("features", [(), ("individual-session-control",)])
async def test_a_reload_adds_and_removes_sessions_and_disturbs_no_other(features: tuple[str, ...]) -> None:
    async with serving(features=features) as server:
        where = target(server)
        kept, gone, new = (managed(name, target=where) for name in ("kept", "gone", "new"))
        asked = [plan(connection(kept, gone))]
        daemon = Daemon(asked[0], read_plan=lambda: asked[-1])
        await daemon.open()
        try:
            await eventually(lambda: len(server.sessions()) == 2)
            await eventually(lambda: status(daemon) == "testing")
            before = daemon.client_tests()[0]
            sequence = daemon.results(("far", "kept")).tests_run
            asked.append(plan(connection(kept, new)))
            assert (await daemon.reload()).ok
            await eventually(lambda: daemon.results(("far", "new")).tests_passed >= 1)
            after = daemon.client_tests()[0]
            assert (after.sender_port, after.reflector_port) == (before.sender_port, before.reflector_port)
            assert after.packets >= before.packets
            assert daemon.results(("far", "kept")).tests_run >= sequence
            assert [test.name for test in daemon.client_tests()] == ["kept", "new"]
            assert server.connections == 2
        finally:
            await daemon.close()


@pytest.mark.parametrize("asked_for", [1, 2, 3])
async def test_a_session_that_a_reload_takes_away_while_it_is_negotiated_does_not_run(
    asked_for: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its turn, while it is being asked for, or when the Server has accepted it already."""
    reached, go_on, requests = asyncio.Event(), asyncio.Event(), 0
    original = ControlClient.request_session

    async def request_session(client: ControlClient, request: SessionRequest) -> TestSession:
        nonlocal requests
        requests += 1
        if requests == asked_for:
            reached.set()
            await go_on.wait()
        return await original(client, request)

    monkeypatch.setattr(ControlClient, "request_session", request_session)
    async with serving() as server:
        where = target(server)
        first, gone, last = (managed(name, target=where) for name in ("first", "gone", "last"))
        asked = [plan(connection(first, gone, last))]
        daemon = Daemon(asked[0], read_plan=lambda: asked[-1])
        await daemon.open()
        try:
            await eventually(reached.is_set)
            asked.append(plan(connection(first, last)))
            assert (await daemon.reload()).ok
            go_on.set()
            await eventually(lambda: daemon.results(("far", "last")).tests_passed >= 1)
            assert [test.status for test in daemon.client_tests()] == ["testing", "testing"]
            assert (daemon.client_connections()[0].retries, server.counts["connections"]) == (0, 1)
            assert told(daemon) == ["configuration-reloaded", "control-connection-up"]
            assert daemon._shared is not None  # noqa: SLF001  (nothing else shows who sends)
            assert {session.plan.name for _, session in daemon._shared.running.values()} == {"first", "last"}  # noqa: SLF001
        finally:
            go_on.set()
            await daemon.close()


async def test_a_thousand_that_went_at_once_do_not_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "ATTEMPTS", 3)
    connected: list[asyncio.StreamWriter] = []

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    sessions = [managed(connection=f"far{number}", target=f"{host}:{port}") for number in range(20)]
    async with running(plan(*(connection(session) for session in sessions))) as daemon:
        await eventually(lambda: len(connected) == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(connected) == 3
        assert daemon.health().sessions == {"connecting": 20}
        connected[0].close()
        await eventually(lambda: len(connected) == 4)
    server.close()
    for writer in connected:
        writer.close()
