"""The daemon measures on while those who ask it behave as badly as they can."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from pathlib import Path

import pytest

from twoway.api.connection import MAX_CONNECTIONS
from twoway.api.service import ManagementApi
from twoway.config.plan import ApiPlan
from twoway.daemon import daemon as daemon_module
from twoway.daemon.daemon import Daemon
from twoway.drivers.reflector import Reflector

from ..drivers.serving import eventually
from .plans import connection, light, plan
from .test_loopback import where

SECOND = 10**9
SESSIONS = 20
ROUNDS = 150
HEAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
TARGETS = ("/metrics", "/v1/client/probe-results", "/v1/client/history-results", "/v1/health", "/v1/openapi.json")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds follow each other quickly."""
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.02)


def storm(path: Path, tcp: tuple[str, int]) -> None:
    """Silent crowds, rubbish, guesses of the token, answers that nobody reads, and hanging up amid it all."""
    chance = random.Random(9862)  # noqa: S311  (the same storm each time)
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS // 2):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(path))
            silent.sendall(HEAD[: chance.randrange(len(HEAD))])
        for _ in range(ROUNDS):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                target = chance.choice(TARGETS).encode()
                request = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n"
                octets = chance.choice(
                    [request * 5, HEAD + b"a: b\r\n" * 5000, chance.randbytes(5000), request + chance.randbytes(500)]
                )
                client.settimeout(0.01)
                with contextlib.suppress(OSError):
                    client.sendall(octets)
                    client.recv(chance.choice([1, 100, 1 << 16]))
            with socket.create_connection(tcp) as client, contextlib.suppress(OSError):
                guess = chance.randbytes(8).hex().encode()
                client.sendall(
                    b"POST /v1/request/stop HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + guess + b"\r\n\r\n"
                )
                client.recv(100)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_whatever_clients_do_no_probe_is_lost_and_nothing_is_left_of_them(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery\n")
    token.chmod(0o600)
    listeners = ApiPlan(tmp_path / "api.sock", listen=("127.0.0.1", 0), token_file=token)
    with Reflector(listen=["127.0.0.1:0"], stateful=True) as reflector:
        sessions = [light(f"s{n}", target=where(reflector), timeout_ns=2 * SECOND) for n in range(SESSIONS)]
        daemon = Daemon(plan(connection(*sessions)))
        await daemon.open()
        api = ManagementApi(listeners, daemon, None, dict)
        await api.start()
        try:
            keys = daemon.keys()
            await eventually(lambda: all(daemon.results(key).tests_passed for key in keys))
            before = {key: daemon.results(key).tests_passed for key in keys}
            descriptors = open_files()
            await asyncio.to_thread(storm, listeners.socket, api.local_addresses["listen"])
            await eventually(lambda: not any(one.state.connections for one in api._listenings))  # noqa: SLF001
            await eventually(lambda: all(daemon.results(key).tests_passed >= before[key] + 3 for key in keys))
            assert open_files() == descriptors
            for key in keys:
                summary = daemon.summary(key)
                lost = ("lost_forward", "lost_backward", "lost_unattributed", "late")
                assert {name: summary.counter(name) for name in lost} == dict.fromkeys(lost, 0)
            health = daemon.health()
            assert health.own_faults["loop_lag"] == 0
            assert health.sessions == {"testing": SESSIONS}
            assert api.counters["errors"] == 0
            assert api.counters["unauthorized"] == ROUNDS
            assert api.counters["malformed_requests"] > 0
        finally:
            await api.close()
            await daemon.close()
