"""`twoway server` and negotiated measurements across namespaces: both families, and a Server that starts anew."""

import json
import re
import signal
import socket
import stat
from pathlib import Path

import pytest

from .measured import PingDocument
from .programs import TWOWAY, Program, run_twoway, until
from .topology import CLIENT_DEVICE, MIDDLE_DEVICES, SERVER, Topology, run

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


def test_a_key_from_ikev2_in_files(path: Topology, tmp_path: Path) -> None:
    file = tmp_path / "derived"
    file.write_text(f"00112233445566ff 8899aabbccddeeff hex:{'5a' * 32}\n", encoding="ascii")
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    key = ["--ikev2-key-file", str(file)]
    with Program(path.server.command(TWOWAY, "server", *key), tmp_path, "server") as server:
        until(lambda: "listening" in server.stdout, "the Server listens")
        for mode in ("authenticated", "encrypted"):
            options = ["--protocol", "twamp", *key, "--mode", mode, "-c", "3", "-i", "10ms", "--json", SERVER[4]]
            done = run_twoway(path.client.command(TWOWAY, "ping", *options))
            assert (done.code, done.stderr) == (0, "")
            assert PingDocument(json.loads(done.stdout)).counters("received") == {"received": 3}
        file.write_text(f"00112233445566ff {'0' * 16} hex:{'5a' * 32}\n", encoding="ascii")
        done = run_twoway(path.client.command(TWOWAY, "ping", "--protocol", "twamp", *key, SERVER[4]))
        assert done.code == 2
        assert "Accept 6: it has no such IKEv2 security association" in done.stderr


@pytest.mark.parametrize("family", [4, 6])
def test_rfc5357_3_1_the_server_takes_over_the_dscp_of_the_syn(
    path: Topology, tmp_path: Path, secrets: str, family: int
) -> None:
    wide = socket.AF_INET6 if family == 6 else socket.AF_INET
    with (
        ServerProgram(path, tmp_path, secrets),
        path.client.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800 if family == 4 else 0x86DD)) as tap,
        path.client.socket(wide, socket.SOCK_STREAM) as client,
    ):
        tap.bind((CLIENT_DEVICE, 0x0800 if family == 4 else 0x86DD))
        tap.settimeout(10)
        if family == 6:
            client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 46 << 2)
        else:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)
        client.settimeout(10)
        client.connect((SERVER[family], 862))
        assert len(client.recv(64, socket.MSG_WAITALL)) == 64
        while True:
            packet = tap.recv(2048)[14:]
            tcp = packet[40:] if family == 6 else packet[20:]
            protocol = packet[6] if family == 6 else packet[9]
            # The greeting: TCP with data from the Server's port.
            if protocol == socket.IPPROTO_TCP and tcp[:2] == (862).to_bytes(2) and len(tcp) > (tcp[12] >> 4) * 4:
                break
        word = int.from_bytes(packet[:2])
        assert (word >> 4 if family == 6 else word) & 0xFF == 46 << 2


def lay_cable(path: Topology) -> None:
    """A second pair of devices, straight from the client to the server."""
    far_end = ["peer", "name", "cable1", "netns", path.server.name]
    run("ip", "link", "add", "cable0", "netns", path.client.name, "type", "veth", *far_end)
    path.client.ip("address add 10.98.0.1/24 dev cable0", "link set cable0 up")
    path.server.ip("address add 10.98.0.2/24 dev cable1", "link set cable1 up")


def test_an_interface_that_is_taken_away_and_comes_back(path: Topology, tmp_path: Path) -> None:
    lay_cable(path)
    with Program(path.server.command(TWOWAY, "server", "--interface", "cable1"), tmp_path, "server") as server:
        until(lambda: "listening" in server.stdout, "the Server listens")
        options = ["--protocol", "twamp", "--reconnect", "off", "-i", "10ms", "-q", "10.98.0.2"]
        with Program(path.client.command(TWOWAY, "ping", *options), tmp_path, "ping") as running:
            # Long enough for the last acknowledgement of the control connection to have been sent.
            until(lambda: _reflected(server) >= 30, "a session runs")
            path.client.ip("link delete cable0")
            before = _reflected(server)
            lay_cable(path)
            until(lambda: _reflected(server) > before, "the session's port hears again")
            # The control connection has outlived it, too: the stop is acknowledged by nobody else.
            running.signal(signal.SIGINT)
            assert running.wait() == 0
        until(lambda: "session_ended:stopped" in _counters(server), "the Server was told")
        options = ["--protocol", "twamp", "-i", "10ms", "-c", "3", "10.98.0.2"]
        assert run_twoway(path.client.command(TWOWAY, "ping", *options)).code == 0


def _counters(server: Program) -> str:
    """The newest that SIGUSR1 has shown."""
    server.signal(signal.SIGUSR1)
    return server.stdout.rpartition("Server on")[2]


def _reflected(server: Program) -> int:
    found = re.search(r"test_packet:reflected (\d+)", _counters(server))
    return int(found[1]) if found else 0


@pytest.mark.parametrize("protocol", ["twamp", "owamp"])
def test_both_ends_reach_into_their_namespaces(path: Topology, tmp_path: Path, secrets: str, protocol: str) -> None:
    command = [TWOWAY, "server", "--netns", path.server.name, "--key-file", secrets, "--light", "-v"]
    with Program(command, tmp_path, "server") as server:
        until(lambda: "listening" in server.stdout, "the Server listens")
        options = ["--netns", path.client.name, "--key-file", secrets, "-c", "3", "-i", "10ms", "-W", "200ms", "--json"]
        done = run_twoway([TWOWAY, "ping", "--protocol", protocol, "--direction", "both", *options, SERVER[6]])
        assert (done.code, done.stderr) == (0, "")
        for text in done.stdout.replace("}\n{", "}\0{").split("\0"):
            counted = PingDocument(json.loads(text)).counters("sent", "received", "not_sent")
            assert (counted["sent"] + counted["not_sent"], counted["received"]) == (3, counted["sent"])
        light = run_twoway([TWOWAY, "ping", "--netns", path.client.name, "-c", "1", SERVER[4]])
        assert light.code == 0


@pytest.mark.parametrize(
    "command",
    [["ping", "--protocol", "twamp", "--netns", "twoway-test-none", "::1"], ["server", "--netns", "twoway-test-none"]],
)
def test_a_namespace_that_is_not_there(command: list[str]) -> None:
    done = run_twoway([TWOWAY, *command])
    assert done.code == 2
    assert "open network namespace twoway-test-none" in done.stderr
    assert "`ip netns list`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _reflecting(server: Program) -> bool:
    server.signal(signal.SIGUSR1)
    return "started: test_packet:reflected" in server.stdout
