"""What a person meets at `twoway ping`: exit codes, signals, one-line errors, and a path that fails and comes back."""

import json
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .forwarder import read_tap, tap_socket
from .frame import icmp_kind
from .measured import PingDocument
from .probe import Probe
from .programs import (
    TWOWAY,
    ForwarderProgram,
    Program,
    ReflectorProgram,
    as_user,
    run_twoway,
    skip_unless_reachable,
    until,
)
from .stamp import NTP_UNIX, request
from .topology import CLIENT_DEVICE, SERVER, SERVER_DEVICE, Topology

_UNREACHABLE = {4: (3, 3), 6: (1, 4)}
"""ICMP type and code of "port unreachable" (RFC 792, RFC 4443 section 3.1)."""


@pytest.fixture
def path(topology: Topology, tmp_path: Path) -> Iterator[Topology]:
    """The topology with frames flowing."""
    with ForwarderProgram(topology.middle, tmp_path):
        yield topology


def _ping(path: Topology, *options: str, user: str | None = None) -> list[str]:
    return path.client.command(*as_user(user), TWOWAY, "ping", *options)


def _one_line(text: str, command: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith(f"twoway {command}: ")
    assert "Traceback" not in text
    return lines[0]


def test_exit_code_0_with_replies(path: Topology, tmp_path: Path) -> None:
    with ReflectorProgram(path.server, tmp_path):
        done = run_twoway(_ping(path, "-c", "3", "-i", "10ms", "-W", "200ms", SERVER[4]))
    assert (done.code, done.stderr) == (0, "")
    # A line per packet or a status line, then the report.
    assert "3" in done.stdout


def test_exit_code_1_without_replies(path: Topology) -> None:
    # No reflector, and nothing says so: the firewall of many a network.
    with Probe(path.server, 4, port=862):
        done = run_twoway(_ping(path, "-c", "3", "-i", "10ms", "-W", "50ms", "--json", SERVER[4]))
    assert done.code == 1
    result = PingDocument(json.loads(done.stdout))
    assert result.counters("sent", "received", "lost_unattributed") == {
        "sent": 3,
        "received": 0,
        "lost_unattributed": 3,
    }


@pytest.mark.parametrize(("condition", "code"), [("loss>1%", 3), ("loss>20%", 0), ("rtt-p99>10s", 0)])
def test_exit_code_3_when_a_condition_holds(topology: Topology, tmp_path: Path, condition: str, code: int) -> None:
    scenario = tmp_path / "lossy.toml"
    scenario.write_text(
        'description = "a tenth is lost"\n[measurement]\ncount = 20\ninterval = "5ms"\ntimeout = "50ms"\n'
        '[[impairment]]\ndirection = "forward"\naction = "drop"\npackets = "5, 15"\n[expected]\n',
        encoding="utf-8",
    )
    with ForwarderProgram(topology.middle, tmp_path, scenario), ReflectorProgram(topology.server, tmp_path):
        options = ["-c", "20", "-i", "5ms", "-W", "50ms", "-q", "--fail-if", condition]
        done = run_twoway(_ping(topology, *options, SERVER[4]))
    assert done.code == code, done.stderr
    assert (condition in done.stderr) == (code == 3)


def test_interrupt_prints_the_report(path: Topology, tmp_path: Path) -> None:
    with (
        ReflectorProgram(path.server, tmp_path),
        Program(_ping(path, "-i", "10ms", "--json", SERVER[4]), tmp_path, "ping") as ping,
        path.client.inside(lambda: tap_socket(CLIENT_DEVICE)) as tap,
    ):
        until(lambda: read_tap(tap) is not None, "a packet leaves")
        until(_frames(tap, 20), "20 frames pass")
        ping.signal(signal.SIGINT)
        assert ping.wait() == 0
        result = PingDocument(json.loads(ping.stdout))
        assert ping.stderr == ""
    result.check_accounting()
    assert result.counter("received") >= 5
    assert result.counters("lost_forward", "lost_backward", "lost_unattributed", "late") == {
        "lost_forward": 0,
        "lost_backward": 0,
        "lost_unattributed": 0,
        "late": 0,
    }, "a packet on its way is pending, not lost"


def _frames(tap: object, count: int) -> Callable[[], bool]:
    """Whether `count` more frames have passed the tap."""
    seen = 0

    def passed() -> bool:
        nonlocal seen
        while read_tap(tap) is not None:  # type: ignore[arg-type]  # a socket; the fixture's type is its protocol
            seen += 1
        return seen >= count

    return passed


def test_interrupt_in_text_mode_and_an_interim_line_before(path: Topology, tmp_path: Path) -> None:
    with (
        ReflectorProgram(path.server, tmp_path),
        Program(_ping(path, "-i", "10ms", "-q", SERVER[4]), tmp_path, "ping") as ping,
        path.client.inside(lambda: tap_socket(CLIENT_DEVICE)) as tap,
    ):
        until(_frames(tap, 10), "10 frames pass")
        ping.signal(signal.SIGQUIT)
        until(lambda: ping.stderr.endswith("\n"), "an interim line")
        assert len(ping.stderr.splitlines()) == 1
        until(_frames(tap, 10), "the measurement goes on")
        assert ping.running
        ping.signal(signal.SIGINT)
        assert ping.wait() == 0
        assert "Traceback" not in ping.stderr
        assert len(ping.stdout.splitlines()) > 5, "the report"


@pytest.mark.parametrize("version", [4, 6])
def test_a_reflector_that_starts_late(path: Topology, tmp_path: Path, version: int) -> None:
    """ICMP port unreachable while running is an event, not the end; what came before it is lost."""
    options = ["-c", "60", "-i", "20ms", "-W", "300ms", "--json"]
    with (
        path.client.inside(lambda: tap_socket(CLIENT_DEVICE)) as tap,
        Program(_ping(path, *options, SERVER[version]), tmp_path, "ping") as ping,
    ):

        def refused() -> bool:
            while (tapped := read_tap(tap)) is not None:
                if icmp_kind(tapped.octets) == _UNREACHABLE[version]:
                    return True
            return False

        until(refused, "ICMP port unreachable")
        with ReflectorProgram(path.server, tmp_path):
            assert ping.wait(60) == 0
        result = PingDocument(json.loads(ping.stdout))
        assert ping.stderr == ""
    result.check_accounting()
    assert result.counter("send_errors") == 0, "an error that ICMP left at the socket costs no packet"
    assert result.counter("sent") + result.counter("missed_slots") == 60
    assert result.counter("icmp_errors") >= 1
    assert result.counter("received") >= 1
    lost = result.counter("lost_unattributed") + result.counter("lost_forward")
    assert result.counter("received") + lost == result.counter("sent")
    assert lost >= 1


@pytest.mark.parametrize("version", [4, 6])
def test_an_interface_that_goes_down_and_comes_back(path: Topology, tmp_path: Path, version: int) -> None:
    # IPv6 addresses vanish with the interface unless told to stay.
    path.client.sysctl({f"net/ipv6/conf/{name}/keep_addr_on_down": "1" for name in ("all", CLIENT_DEVICE)})
    options = ["-i", "10ms", "-W", "200ms", "--ndjson"]
    with (
        ReflectorProgram(path.server, tmp_path),
        Program(_ping(path, *options, SERVER[version]), tmp_path, "ping") as ping,
    ):
        until(lambda: ping.stdout.count("\n") > 10 or not ping.running, "packets are measured")
        path.client.ip(f"link set {CLIENT_DEVICE} down")
        events = ("interface_down", "send_error")
        until(lambda: any(event in ping.stdout for event in events) or not ping.running, "an event is told")
        path.client.ip(f"link set {CLIENT_DEVICE} up")
        with path.client.inside(lambda: tap_socket(CLIENT_DEVICE)) as tap:
            until(_frames(tap, 30), "frames pass again")
        assert ping.running, ping.stderr
        ping.signal(signal.SIGINT)
        assert ping.wait() == 0
        assert ping.stderr == ""
        last = json.loads(ping.stdout.splitlines()[-1])
    result = PingDocument(last.get("result", last))
    result.check_accounting()
    assert result.counter("received") >= 15
    assert result.counter("not_sent") >= 1, "a packet that the kernel refused was not sent, and is not lost"


def _fake_reply(octets: bytes, sequence: int) -> bytes:
    """A STAMP reply to the request `octets`, with T2 = T3 = T1."""
    stamp = octets[4:12]
    head = sequence.to_bytes(4) + stamp + bytes.fromhex("0080") + octets[14:16] + stamp
    return head + octets[0:4] + stamp + octets[12:14] + bytes(2) + b"\xff" + bytes(3)


def test_hostile_replies_are_counted_by_reason(path: Topology, tmp_path: Path) -> None:
    """Every reply datagram is exactly one of: first copy, duplicate, rejected (by reason)."""
    source = random.Random(5)  # noqa: S311  # garbage that is the same each time
    with Probe(path.server, 4, port=862) as reflector:
        options = ["-c", "5", "-i", "5ms", "-W", "300ms", "--json", "--reflector-mode", "stateful"]
        with Program(_ping(path, *options, SERVER[4]), tmp_path, "ping") as ping:
            answered = 0
            for sequence in range(5):
                asked = reflector.receive()
                assert asked.octets[:4] == sequence.to_bytes(4)
                good = _fake_reply(asked.octets, sequence)
                changed = bytearray(good)
                changed[30] ^= 1
                answers = [
                    b"",
                    good[:37],
                    source.randbytes(20),
                    good[:24] + (1000).to_bytes(4) + good[28:],
                    bytes(changed),
                    good,
                    good,
                    good + source.randbytes(33),
                ]
                for answer in answers:
                    reflector.send(answer, asked.source[0], asked.source[1])
                answered += len(answers)
            assert ping.wait() == 0
            result = PingDocument(json.loads(ping.stdout))
            assert ping.stderr == ""
    wanted = {
        "received": 5,
        "duplicates_backward": 10,
        "rejected_short": 15,
        "rejected_unknown_sequence": 5,
        "rejected_mismatch": 5,
    }
    assert result.counters(*wanted) == wanted
    assert sum(wanted.values()) == answered
    result.check_accounting()


def test_a_reply_from_elsewhere_is_not_taken(path: Topology, tmp_path: Path) -> None:
    """Only the address and port that was asked can answer."""
    with (
        Probe(path.server, 4, port=862) as reflector,
        Probe(path.server, 4, port=863) as other,
        Program(_ping(path, "-c", "1", "-W", "100ms", "--json", SERVER[4]), tmp_path, "ping") as ping,
    ):
        asked = reflector.receive()
        other.send(_fake_reply(asked.octets, 0), *asked.source)
        assert ping.wait() == 1
        assert PingDocument(json.loads(ping.stdout)).counter("received") == 0


def test_an_unprivileged_user_can_measure(path: Topology, tmp_path: Path) -> None:
    skip_unless_reachable("nobody")
    with ReflectorProgram(path.server, tmp_path):
        done = run_twoway(_ping(path, "-c", "5", "-i", "10ms", "-W", "200ms", "--json", SERVER[6], user="nobody"))
    assert done.code == 0, done.stderr
    result = PingDocument(json.loads(done.stdout))
    assert result.counters("received", "t1_kernel", "t4_kernel") == {"received": 5, "t1_kernel": 5, "t4_kernel": 5}


def test_the_namespace_option(path: Topology, tmp_path: Path) -> None:
    """Both programs run outside, where no such address exists; their sockets are in the namespaces."""
    with Program(
        [TWOWAY, "reflector", "--json", "--netns", path.server.name, "--listen", f"{SERVER[4]}:862"],
        tmp_path,
        "reflector",
    ) as reflector:
        with Probe(path.client, 4) as probe:

            def answered() -> bool:
                probe.send(request(), SERVER[4])
                return probe.take() is not None

            until(lambda: answered() or not reflector.running, "the reflector answers")
        command = [TWOWAY, "ping", "--netns", path.client.name, "-c", "3", "-i", "10ms", "-W", "300ms", "--json"]
        done = run_twoway([*command, SERVER[4]])
        assert done.code == 0, done.stderr
        result = PingDocument(json.loads(done.stdout))
        assert result.counter("received") + result.counter("missed_slots") == 3
        assert reflector.stop() == 0


def test_names_for_a_namespace_by_path(path: Topology, tmp_path: Path) -> None:
    with ReflectorProgram(path.server, tmp_path):
        command = [TWOWAY, "ping", "--netns", f"/run/netns/{path.client.name}", "-c", "1", "-W", "300ms", SERVER[6]]
        assert run_twoway(command).code == 0


def test_a_link_local_target_with_its_scope(path: Topology, tmp_path: Path) -> None:
    target = path.server.link_local(SERVER_DEVICE)
    with ReflectorProgram(path.server, tmp_path):
        options = ["-c", "3", "-i", "10ms", "-W", "300ms", "--json"]
        done = run_twoway(_ping(path, *options, f"[{target}%{CLIENT_DEVICE}]:862"))
    assert done.code == 0, done.stderr
    result = PingDocument(json.loads(done.stdout))
    assert result.counter("received") == 3
    session = result.document["session"]
    assert isinstance(session, dict)
    assert str(session["local_address"]).startswith("fe80::")


@pytest.mark.parametrize("version", [4, 6])
def test_the_source_that_was_asked_for(path: Topology, version: int) -> None:
    second = {4: "10.99.0.11", 6: "fd99::11"}[version]
    length = {4: "24", 6: "64 nodad"}[version].split()
    path.client.ip(" ".join(["address add", f"{second}/{length[0]} dev {CLIENT_DEVICE}", *length[1:]]))
    with Probe(path.server, version, port=862) as reflector:
        options = ["-c", "1", "-W", "100ms", "-S", second, "--source-port", "4321", "-I", CLIENT_DEVICE]
        done = run_twoway(_ping(path, *options, "-t", "9", "-Q", "0xb9", "-s", "200", SERVER[version]))
        asked = reflector.receive()
    assert done.code == 1
    assert asked.source == (second, 4321)
    assert (asked.ttl, asked.traffic_class, len(asked.octets)) == (9, 0xB9, 200)


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("ping", ["-c", "1", "no-such-host.invalid"], ["no-such-host.invalid"]),
        ("ping", ["-c", "1", "-I", "nosuch0", SERVER[4]], ["nosuch0", "no such interface"]),
        ("ping", ["-c", "1", "--vrf", "nosuch-vrf", SERVER[4]], ["nosuch-vrf"]),
        ("ping", ["-c", "1", "--netns", "nosuch-netns", SERVER[4]], ["nosuch-netns"]),
        ("ping", ["-c", "1", "-S", "192.0.2.77", SERVER[4]], ["192.0.2.77"]),
        ("ping", ["-c", "1", "--auth-key-file", "/nonexistent/keys", SERVER[4]], ["/nonexistent/keys"]),
        ("ping", ["-c", "1", "[fe80::1]:862"], ["fe80::1"]),
        ("ping", ["-c", "0", SERVER[4]], ["-c"]),
        ("ping", ["-c", "1", "-i", "0", SERVER[4]], ["-i"]),
        ("ping", ["-c", "1", f"{SERVER[4]}:99999"], ["99999"]),
        ("ping", ["-c", "1", "-4", SERVER[6]], [SERVER[6]]),
        ("ping", ["-c", "1", "--fail-if", "nonsense", SERVER[4]], ["nonsense"]),
        ("ping", ["-c", "1", "-s", "13", SERVER[4]], ["13"]),
        ("ping", ["-c", "1", "--no-such-option", SERVER[4]], ["--no-such-option"]),
        ("reflector", ["--listen", "192.0.2.77:862"], ["192.0.2.77"]),
        ("reflector", ["--netns", "nosuch-netns"], ["nosuch-netns"]),
        ("reflector", ["--interface", "nosuch0"], ["nosuch0"]),
        ("reflector", ["--vrf", "nosuch-vrf"], ["nosuch-vrf"]),
        ("reflector", ["--allow", "10.0.0.0/33"], ["10.0.0.0/33"]),
        ("reflector", ["--require-auth"], ["--auth-key-file"]),
    ],
)
def test_an_error_is_one_line_that_names_what_it_is_about(
    topology: Topology, command: str, options: list[str], words: list[str]
) -> None:
    done = run_twoway(topology.client.command(TWOWAY, command, *options))
    assert done.code == 2, done.stdout
    assert done.stdout == ""
    line = _one_line(done.stderr, command)
    for word in words:
        assert word in line


def test_a_port_in_use_is_told(topology: Topology, tmp_path: Path) -> None:
    with ReflectorProgram(topology.server, tmp_path, "--listen", f"{SERVER[4]}:862"):
        done = run_twoway(topology.server.command(TWOWAY, "reflector", "--listen", f"{SERVER[4]}:862"))
    assert done.code == 2
    assert f"{SERVER[4]}:862" in _one_line(done.stderr, "reflector")


def test_a_source_port_in_use_is_told(topology: Topology) -> None:
    with Probe(topology.client, 4, port=4000):
        done = run_twoway(topology.client.command(TWOWAY, "ping", "-c", "1", "--source-port", "4000", SERVER[4]))
    assert done.code == 2
    assert "4000" in _one_line(done.stderr, "ping")


def test_no_privilege_for_port_862_is_told(topology: Topology) -> None:
    skip_unless_reachable("nobody")
    # The kernel may let anybody bind any port; here it shall not.
    topology.server.sysctl({"net/ipv4/ip_unprivileged_port_start": "1024"})
    done = run_twoway(topology.server.command(*as_user("nobody"), TWOWAY, "reflector"))
    assert done.code == 2
    line = _one_line(done.stderr, "reflector")
    assert "862" in line
    assert "CAP_NET_BIND_SERVICE" in line or "root" in line, "the remedy"


@pytest.mark.parametrize("command", ["ping", "reflector"])
@pytest.mark.parametrize(
    ("mode", "content", "word"),
    [
        (0o644, "k hex:00ff", "0600"),
        (0o600, "k base64:AA==", "KEY-ID"),
        (0o600, "", "no key"),
        (0o600, "k hex:0", "hex"),
    ],
)
def test_a_bad_key_file_is_told_without_its_content(
    topology: Topology, tmp_path: Path, command: str, mode: int, content: str, word: str
) -> None:
    path = tmp_path / "keys"
    path.write_text(content, encoding="ascii")
    path.chmod(mode)
    options = ["--auth-key-file", str(path)] + ([SERVER[4]] if command == "ping" else [])
    done = run_twoway(topology.client.command(TWOWAY, command, *options))
    assert done.code == 2
    line = _one_line(done.stderr, command)
    assert str(path) in line
    assert word in line or "600" in line
    assert "00ff" not in line
    assert "AA==" not in line


def test_no_address_of_the_family_is_told(topology: Topology) -> None:
    done = run_twoway(topology.client.command(TWOWAY, "ping", "-c", "1", "-W", "100ms", "192.0.2.1"))
    # Without a route, the first packet cannot be sent: nothing was measured.
    assert done.code in (1, 2)
    assert "Traceback" not in done.stderr


def test_stamps_carry_the_moment(path: Topology, tmp_path: Path) -> None:
    """T1 on the wire is the wall clock's, in NTP format (RFC 8762 section 4.2.1)."""
    import time

    with (
        Probe(path.server, 4, port=862) as reflector,
        Program(_ping(path, "-c", "1", "-W", "50ms", SERVER[4]), tmp_path, "ping") as ping,
    ):
        asked = reflector.receive()
        seconds = int.from_bytes(asked.octets[4:8]) - NTP_UNIX
        assert abs(seconds - time.time()) < 30
        assert (asked.ttl, asked.traffic_class, len(asked.octets)) == (255, 0, 44)
        ping.wait()
