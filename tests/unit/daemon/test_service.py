"""What a service manager hears."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from twoway.daemon.service import ServiceManager, Signals

from ..drivers.serving import eventually
from .plans import connection, light, plan
from .scene import plane_of, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from twoway.analysis.views import RequestView
    from twoway.config.plan import Plan


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(str(tmp_path / "notify"))
        yield listening, str(tmp_path / "notify")


def test_readiness_reload_and_end_are_told(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    service = ServiceManager({"NOTIFY_SOCKET": address})
    service.ready("all is well")
    assert listening.recv(1000) == b"READY=1\nSTATUS=all is well"
    service.reloading()
    kind, _, time = listening.recv(1000).decode().partition("\n")
    assert kind == "RELOADING=1"
    assert time.startswith("MONOTONIC_USEC=")
    assert int(time.partition("=")[2]) > 0
    service.stopping()
    assert listening.recv(1000).startswith(b"STOPPING=1")


def test_an_abstract_socket_is_found() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(f"\0twoway-test-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@twoway-test-{os.getpid()}"}).alive("here")
        assert listening.recv(1000) == b"WATCHDOG=1\nSTATUS=here"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_nobody_to_tell_is_no_error(address: str) -> None:
    ServiceManager({"NOTIFY_SOCKET": address} if address else {}).ready("nobody hears")


def test_the_watchdog_is_ours_only_if_it_says_so() -> None:
    assert ServiceManager({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30
    assert ServiceManager({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 30
    assert ServiceManager({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert ServiceManager({}).watchdog_s is None


async def test_many_hangups_are_one_more_reload_and_the_end_waits_for_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    refused: list[RequestView] = []
    go_on = threading.Event()
    async with running(plan(connection(light())), plane_of(monkeypatch)) as scene:

        def read() -> Plan | Sequence[str]:
            reads.append(len(reads))
            if len(reads) > 2:
                go_on.wait(20)  # a disk that does not answer
            return scene.next

        monkeypatch.setattr(scene.daemon, "_read_plan", read)
        signals = Signals()
        try:
            for _ in range(50):
                os.kill(os.getpid(), signal.SIGHUP)
            serving = asyncio.create_task(signals.serve(scene.daemon, ServiceManager({}), refused.append))
            await eventually(lambda: scene.told("configuration-reloaded") != [])
            assert len(reads) < 3
            async with asyncio.timeout(20):
                while len(reads) < 3:
                    os.kill(os.getpid(), signal.SIGHUP)
                    await asyncio.sleep(0)
            for _ in range(50):
                os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(serving, 20)
            assert (len(reads), refused) == (3, [])
        finally:
            go_on.set()
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(number)
