"""`twoway server` and negotiated measurements across namespaces: both families, and a Server that starts anew."""

import json
import signal
import stat
from pathlib import Path

import pytest

from .measured import PingDocument
from .programs import TWOWAY, Program, run_twoway, until
from .topology import MIDDLE_DEVICES, SERVER, Topology, run

WORDS = "correct horse battery"


@pytest.fixture
def path(topology: Topology) -> Topology:
    """The topology with frames flowing through a bridge, as TCP needs its checksums completed."""
    run(*topology.middle.command("ip", "link", "add", "bridge", "type", "bridge"))
    for device in MIDDLE_DEVICES:
        run(*topology.middle.command("ip", "link", "set", device, "master", "bridge"))
    run(*topology.middle.command("ip", "link", "set", "bridge", "up"))
    return topology


@pytest.fixture
def secrets(tmp_path: Path) -> str:
    """A key file with one secret."""
    file = tmp_path / "secrets"
    file.write_text(f"alice text:{WORDS}\n", encoding="ascii")
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return str(file)


class ServerProgram(Program):
    """`twoway server` in the server's namespace, at its own ports."""

    def __init__(self, path: Topology, folder: Path, secrets: str, name: str = "server") -> None:
        options = ["--key-file", secrets, "--mode", "unauthenticated", "--mode", "encrypted", "--mode", "mixed", "-v"]
        super().__init__(path.server.command(TWOWAY, "server", *options), folder, name)
        until(lambda: "listening" in self.stdout, "the Server listens")


def ping(path: Topology, secrets: str, *options: str) -> list[str]:
    return path.client.command(TWOWAY, "ping", "--key-file", secrets, "-i", "10ms", "-W", "200ms", *options)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("mode", ["unauthenticated", "encrypted", "mixed"])
def test_twamp_across_a_path(path: Topology, tmp_path: Path, secrets: str, family: int, mode: str) -> None:
    with ServerProgram(path, tmp_path, secrets) as server:
        options = ("--protocol", "twamp", "--mode", mode, "-c", "5", "-D", "ef", "--json", SERVER[family])
        done = run_twoway(ping(path, secrets, *options))
        assert (done.code, done.stderr) == (0, "")
        assert PingDocument(json.loads(done.stdout)).counters("sent", "received") == {"sent": 5, "received": 5}
        assert server.stop() == 0
        for text in (server.stdout, server.stderr, done.stdout, *server.command):
            assert WORDS not in text


@pytest.mark.parametrize("family", [4, 6])
def test_owamp_across_a_path(path: Topology, tmp_path: Path, secrets: str, family: int) -> None:
    with ServerProgram(path, tmp_path, secrets):
        for direction in ("forward", "backward"):
            options = ("--protocol", "owamp", "--direction", direction, "-c", "5", "--json", SERVER[family])
            done = run_twoway(ping(path, secrets, *options))
            assert (done.code, done.stderr) == (0, "")
            assert PingDocument(json.loads(done.stdout)).counters("sent", "received") == {"sent": 5, "received": 5}


def test_a_server_that_starts_anew_in_mid_test(path: Topology, tmp_path: Path, secrets: str) -> None:
    with ServerProgram(path, tmp_path, secrets) as server:
        command = ping(path, secrets, "--protocol", "twamp", "--reconnect", "off", "-q", SERVER[4])
        with Program(command, tmp_path, "ping") as running:
            server.signal(signal.SIGUSR1)
            until(lambda: "Server on" in server.stdout, "the Server shows its counters")
            until(lambda: _reflecting(server), "a session runs")
            assert server.stop() == 0
            assert running.wait() == 2
            assert "closed by the far end" in running.stderr
            assert "0% packet loss" in running.stdout
    with ServerProgram(path, tmp_path, secrets, "again"):
        done = run_twoway(ping(path, secrets, "--protocol", "twamp", "-c", "3", SERVER[4]))
        assert done.code == 0


def test_a_measurement_outlasts_its_server(path: Topology, tmp_path: Path, secrets: str) -> None:
    command = ping(path, secrets, "--protocol", "twamp", "--reconnect", "100ms", "-c", "200", "--json", SERVER[4])
    with ServerProgram(path, tmp_path, secrets) as server, Program(command, tmp_path, "ping") as running:
        until(lambda: _reflecting(server), "a session runs")
        assert server.stop() == 0
        with ServerProgram(path, tmp_path, secrets, "again"):
            assert running.wait() == 0
    result = json.loads(running.stdout)
    assert sum(PingDocument(result).counters("sent", "not_sent").values()) == 200
    (outage,) = result["outages"]
    assert outage["began_ns"] < outage["ended_ns"]
    assert "closed by the far end" in outage["reason"]


def _reflecting(server: Program) -> bool:
    server.signal(signal.SIGUSR1)
    return "started: test_packet:reflected" in server.stdout
