"""Receivers that are away, peers that flap or go all at once, a clock that steps: what a running daemon makes of it."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ports import free_port
from twoway.drivers.reflector import Reflector
from twoway.drivers.summaries import PackedSummaries
from twoway.store import Reader, schema

from .service import PATIENCE_S, Service, configuration, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOUR_NS = 3600 * 10**9


@contextlib.contextmanager
def ready(file: Path, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    with running(file, environment=environment) as service:
        service.hears("READY=1")
        yield service


def add(file: Path, statements: Mapping[str, object]) -> Path:
    """More top-level statements, as JSON, which YAML reads."""
    file.write_text(file.read_text() + "".join(f"{name}: {json.dumps(value)}\n" for name, value in statements.items()))
    return file


class Listener:
    """A syslog receiver over TCP that comes late."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.octets = b""
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                while more := connection.recv(65536):
                    self.octets += more

    def close(self) -> None:
        self._socket.close()


def test_receivers_that_are_away_cost_no_probe_and_get_what_waits_when_they_come(tmp_path: Path) -> None:
    late, never = free_port(), free_port()
    notifications = {
        "syslog": [{"transport": "tcp", "address": f"127.0.0.1:{late}"}, {"address": f"127.0.0.1:{never}"}],
        "snmp": [{"address": f"127.0.0.1:{never}", "inform": True}],
    }
    file = add(configuration(tmp_path, free_port()), {"notifications": notifications})
    with ready(file) as service:

        def receivers() -> dict[str, Any]:
            return {each["receiver"].split()[-1]: each for each in service.ask("/v1/health")["receivers"]}

        name = f"127.0.0.1:{late}"
        service.eventually(lambda: receivers()[name]["state"] == "degraded", "it is missed")
        service.await_tests()
        assert not service.blames_the_network()
        assert "receiver-degraded raised" in service.told("receiver-degraded")
        assert f"{name} degraded: sent 0, queued 1" in service.shows("health")
        assert "Connection refused" in receivers()[name]["last_error"]
        came = Listener(late)
        try:
            service.eventually(lambda: receivers()[name]["state"] == "ok", "it is told")
            service.eventually(lambda: b" started " in came.octets, "what waited arrives")
            assert receivers()[name]["dropped"] == 0
            assert service.end(signal.SIGTERM)[1] == ""
        finally:
            came.close()


def test_a_peer_that_flaps_is_told_of_in_pairs(tmp_path: Path) -> None:
    port = free_port()
    quick = "          timeout: 100ms\n          thresholds: {own-faults: on, successive-loss: 0, total-loss: 5}\n"
    file = configuration(tmp_path, port, quick, reflect=False)
    file.write_text(
        file.read_text().replace("persistent-results: true", "persistent-results: true\n      test-interval: 20ms")
    )
    with ready(file) as service:
        for _ in range(4):
            service.eventually(lambda: service.results()["alarms"] == ["test-failure"])
            with Reflector(listen=[f"127.0.0.1:{port}"], stateful=True):
                service.eventually(lambda: service.results()["alarms"] == [])
        service.eventually(lambda: service.results()["alarms"] == ["test-failure"])
        told = service.told("test-failure")
        assert told == ["test-failure raised", "test-failure cleared"] * 4 + ["test-failure raised"]
        results = service.results()
        assert results["tests_run"] == results["tests_passed"] + results["tests_failed"]
        assert service.end(signal.SIGTERM)[1] == ""


class Peers:
    """A Server and a Session-Reflector, each a process of its own."""

    def __init__(self, server_port: int, reflector_port: int) -> None:
        limits = [f"--maximum-{what}=1000" for what in ("sessions", "connections", "connections-per-client")]
        self._commands = (
            ["server", "--listen", f"twamp=127.0.0.1:{server_port}", *limits],
            ["reflector", "--stateful", "--listen", f"127.0.0.1:{reflector_port}"],
        )
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        for words in self._commands:
            command = [sys.executable, "-m", "twoway", *words]
            self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def __exit__(self, *_: object) -> None:
        """They go without a word, both at once."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(PATIENCE_S)
        self._processes.clear()


def test_a_thousand_peers_that_go_at_once_and_come_back(tmp_path: Path) -> None:
    half = 500
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most > 5 * half
    server_port, reflector_port = free_port(), free_port()
    probe = {"probe-count": 5, "probe-interval": "1s", "timeout": "1s"}
    connections: dict[str, Any] = {
        f"m{number}": {"target": "127.0.0.1", "destination-port": server_port, "test-session": {"probe": probe}}
        for number in range(half)
    }
    light = {**probe, "target": "127.0.0.1", "destination-port": reflector_port}
    for number in range(half):
        connections[f"l{number}"] = {"control-type": "light", "test-session": {"probe": light}}
    file = tmp_path / "twoway.yaml"
    document = {
        "client": {"control-connection": connections},
        "store": {"path": str(tmp_path / "store.sqlite")},
        "api": {"socket": str(tmp_path / "api.sock")},
    }
    file.write_text(json.dumps(document))
    peers = Peers(server_port, reflector_port)
    with ready(file) as service:

        def testing() -> int:
            return int(service.ask("/v1/health")["sessions"].get("testing", 0))

        with peers:
            service.eventually(lambda: testing() == 2 * half, "all run")
        service.eventually(lambda: testing() == half, "each control connection is missed")
        closed = service.told("control-connection-closed")
        assert len(closed) >= half
        service.eventually(
            lambda: (
                sum(event["name"] == "probe-failure" for event in service.ask("/v1/events?limit=10000")["events"])
                >= half
            ),
            "each light peer is missed",
        )
        with peers:
            service.eventually(lambda: testing() == 2 * half, "all run again")
            faults = service.ask("/v1/health")["own_faults"]
            assert faults["loop_lag"] == 0
            assert faults["internal_errors"] == 0
            assert faults["samples_dropped"] == 0
            store = service.store()
            assert store["state"] == "ok"
            assert not [name for name, count in store.items() if name.startswith("lost_") and count]
            assert service.end(signal.SIGTERM)[1] == ""


class SteppedClock:
    """The wall clock of a process that a test started; `stepped_clock.c` says what it is and what it is not."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "step"
        self._file.write_bytes(bytes(8))
        library = folder / "stepped_clock.so"
        source = Path(__file__).with_name("stepped_clock.c")
        command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        self.environment = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._file)}

    def is_off_by(self, step_ns: int) -> None:
        with self._file.open("r+b") as octets:
            octets.write(struct.pack("@q", step_ns))


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="a small limit is set by prlimit: install util-linux")
def test_more_test_sessions_than_descriptors_leave_some_to_ask_why(tmp_path: Path) -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    probe = {"target": "127.0.0.1", "destination-port": silent.getsockname()[1], "probe-interval": "1s"}
    many = {f"s{number}": probe for number in range(200)}
    document = {
        "client": {"control-connection": {"near": {"control-type": "light", "test-session": many}}},
        "store": {"path": str(tmp_path / "store.sqlite")},
        "api": {"socket": str(tmp_path / "api.sock")},
    }
    file = tmp_path / "twoway.yaml"
    file.write_text(json.dumps(document))
    with silent, running(file, before=("prlimit", "--nofile=128:128")) as service:
        service.hears("READY=1")

        def sessions() -> Counter[str]:
            return Counter(service.ask("/v1/health")["sessions"])

        service.eventually(lambda: sessions().total() == 200 and not sessions()["connecting"], "all are tried")
        assert 0 < sessions()["testing"] < 100
        assert sessions()["testing"] + sessions()["failed"] == 200
        failed = [each for each in service.ask("/v1/client/test-info")["sessions"] if each["status"] == "failed"]
        assert all("too many open files: raise the limit" in each["reason"] for each in failed)
        # Whoever asks, and however many at once, it answers.
        others = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        with contextlib.ExitStack() as stack:
            for other in others:
                stack.enter_context(other).connect(str(tmp_path / "api.sock"))
            assert sessions().total() == 200
        _, errors = service.end(signal.SIGTERM)
    assert errors == ""


@pytest.mark.skipif(shutil.which("cc") is None, reason="a stepped clock is compiled: install gcc")
def test_a_clock_that_steps_by_an_hour_and_back_fails_no_test(tmp_path: Path) -> None:
    port = free_port()
    more = "          offload-type: none\n          raw-history: on\n          thresholds: {rtt: 1s, max-rtt: 1s}\n"
    file = configuration(tmp_path, port, more, reflect=False)
    clock, start_ns = SteppedClock(tmp_path), time.time_ns()
    with Reflector(listen=[f"127.0.0.1:{port}"], stateful=True), ready(file, clock.environment) as service:

        def steps() -> int:
            return int(service.ask("/v1/health")["own_faults"]["clock_steps"])

        service.await_tests()
        for step_ns in (HOUR_NS, 0):
            before = steps()
            clock.is_off_by(step_ns)
            service.eventually(lambda: steps() > before, "it is seen")  # noqa: B023
            results = service.await_tests()
        assert not service.blames_the_network()
        (total,) = [each for each in results["collections"] if each["collection"] == "all-tests"]
        (round_trip,) = [each for each in total["measurements"] if each["type"] == "rtt"]
        assert round_trip["max_ns"] < 10**9
        raised = [each["message"] for each in service.ask("/v1/events")["events"] if each["name"] == "own-fault"]
        faults = service.ask("/v1/health")["own_faults"]
        # Faults that follow one another are told as one, by the first of them.
        busy = any(count for name, count in faults.items() if name != "clock_steps")
        assert raised if busy else ["the clock was stepped: by +3600" in message for message in raised] == [True]
        assert "clock steps" in service.shows("health")
        assert service.end(signal.SIGTERM)[1] == ""
    with contextlib.closing(Reader(schema.connect_read_only(tmp_path / "store.sqlite"), PackedSummaries())) as reader:
        probes = sum(len(batch.rows) for batch in reader.history(("near", "probe")))
        hour, everything = start_ns + HOUR_NS, time.time_ns() + 2 * HOUR_NS
        halves = [
            reader.summary(("near", "probe"), *window).summary for window in ((0, hour - 10**9), (hour, everything))
        ]
        counts = [0 if half is None else half.counter("sent") for half in halves]
        assert min(counts) > 0, "there are seconds of both times"
        assert sum(counts) == probes, "and nothing has expired"
