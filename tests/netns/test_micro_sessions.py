"""A session by each member of a LAG (RFC 9534): packets keep to their member, and its faults to its figures."""

from pathlib import Path
from typing import Any, Self

import pytest

from .daemon_program import DaemonProgram
from .forwarder import read_tap, tap_socket
from .frame import UdpFrame
from .lag_network import LAG, MEMBERS, LagNetwork
from .measured import PingDocument
from .programs import TWOWAY, Finished, ReflectorProgram, as_user, run_twoway, skip_unless_reachable, until

COUNT = 20
IDS = ("--micro-session", "m1=11", "--micro-session", "m2=12", "--micro-session", "m3=13")
REFLECTOR_PORT = 862


class MemberTaps:
    """Test packets that come in at the members of both hosts, from now on; a context manager."""

    def __init__(self, network: LagNetwork) -> None:
        hosts = {"out": network.server, "back": network.client}
        self._taps = {
            (way, member): host.inside(lambda member=member: tap_socket(member))  # type: ignore[misc]
            for way, host in hosts.items()
            for member in MEMBERS
        }

    def counts(self) -> dict[str, tuple[int, int]]:
        """Test packets (out, back) by member."""
        found = dict.fromkeys(self._taps, 0)
        for (way, member), tap in self._taps.items():
            while (tapped := read_tap(tap)) is not None:
                frame = None if tapped.outgoing else UdpFrame.parse(tapped.octets)
                if frame is not None and REFLECTOR_PORT in (frame.source[1], frame.destination[1]):
                    found[way, member] += 1
        return {member: (found["out", member], found["back", member]) for member in MEMBERS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tap in self._taps.values():
            tap.close()


def ping(network: LagNetwork, lag: str, *options: str, family: int = 6) -> Finished:
    quick = ("-c", str(COUNT), "-i", "5ms", "-W", "200ms", "--json")
    command = network.client.command(TWOWAY, "ping", *quick, "--lag", lag, *options, network.target[family])
    return run_twoway(command)


def documents(finished: Finished) -> dict[str, PingDocument]:
    assert finished.code in (0, 1), finished.stderr
    paths = finished.json["paths"]
    assert isinstance(paths, list)
    return {path["name"]: PingDocument(path) for path in paths}


def received(finished: Finished) -> dict[str, int]:
    return {name: document.counter("received") for name, document in documents(finished).items()}


@pytest.mark.parametrize("family", [4, 6])
def test_each_member_has_a_session_whose_packets_keep_to_it(tmp_path: Path, family: int) -> None:
    with (
        LagNetwork() as network,
        ReflectorProgram(network.server, tmp_path, *IDS) as reflector,
        MemberTaps(network) as taps,
    ):
        done = ping(network, LAG, family=family)
        assert received(done) == dict.fromkeys(MEMBERS, COUNT)
        assert taps.counts() == dict.fromkeys(MEMBERS, (COUNT, COUNT))
        assert reflector.stop() == 0
        assert reflector.counters() == {"test_packet:reflected": 3 * COUNT}
    for name, document in documents(done).items():
        session: Any = document.document["session"]
        assert session["requested"]["path"] == f"link:{name}"
        assert document.counter("t1_kernel") == COUNT
        assert document.counter("rejected_micro_session") == 0


def test_members_are_named_and_numbered_by_hand(tmp_path: Path) -> None:
    with LagNetwork() as network, ReflectorProgram(network.server, tmp_path, *IDS) as reflector:
        # m2 is said to be the reflector's m3: its packets are discarded, and counted (RFC 9534 section 3.2).
        done = ping(network, "m1=1:11,m2=2:13")
        assert done.code == 1
        assert received(done) == {"m1": COUNT, "m2": 0}
        assert reflector.stop() == 0
        assert reflector.counters() == {"test_packet:reflected": COUNT, "micro_session_mismatch:dropped": COUNT}


def test_one_member_alone(tmp_path: Path) -> None:
    with LagNetwork() as network, ReflectorProgram(network.server, tmp_path, *IDS), MemberTaps(network) as taps:
        assert received(ping(network, "m3=7")) == {"m3": COUNT}
        assert taps.counts() == {"m1": (0, 0), "m2": (0, 0), "m3": (COUNT, COUNT)}


def test_a_reply_by_another_member_is_none(tmp_path: Path) -> None:
    """A reflector that knows nothing of members replies as it is routed, which is by the first of them."""
    with LagNetwork() as network, ReflectorProgram(network.server, tmp_path), MemberTaps(network) as taps:
        done = ping(network, LAG)
        assert done.code == 1
        assert taps.counts() == {"m1": (COUNT, 3 * COUNT), "m2": (COUNT, 0), "m3": (COUNT, 0)}
    assert received(done) == {"m1": COUNT, "m2": 0, "m3": 0}
    rejected = {name: document.counter("rejected_micro_session") for name, document in documents(done).items()}
    assert rejected == {"m1": 0, "m2": COUNT, "m3": COUNT}


def test_loss_on_a_member_is_that_of_its_session(tmp_path: Path) -> None:
    scenario = tmp_path / "impaired.toml"
    scenario.write_text(
        'description = "m3"\n[measurement]\ncount = 20\ninterval = "5ms"\ntimeout = "200ms"\n[expected]\n'
        '[[impairment]]\ndirection = "forward"\naction = "drop"\npackets = "every 2"\n'
    )
    with (
        LagNetwork(wired=True) as network,
        network.forwarder(tmp_path, scenario),
        ReflectorProgram(network.server, tmp_path, *IDS),
    ):
        done = ping(network, LAG)
    assert received(done) == {"m1": COUNT, "m2": COUNT, "m3": COUNT // 2}
    differences: Any = done.json["differences"]
    assert {(each["path"], each["compared"]) for each in differences if each["significant"]} >= {("m3", "loss")}


def test_a_member_that_comes_back_is_known_again(tmp_path: Path) -> None:
    with LagNetwork() as network, ReflectorProgram(network.server, tmp_path, *IDS):
        assert received(ping(network, "m1,m2"))["m2"] == COUNT
        network.server.ip("link delete m2", f"link add m2 type veth peer name m2 netns {network.client.name}")
        for host in (network.client, network.server):
            network.enlist(host, "m2")
        until(lambda: received(ping(network, "m1,m2"))["m2"] == COUNT, "the reflector knows the new m2")


def test_a_reflector_that_may_not_look_at_members_says_so() -> None:
    skip_unless_reachable("nobody")
    with LagNetwork() as network:
        command = [*as_user("nobody"), TWOWAY, "reflector", "--listen", "[::]:8620", *IDS]
        done = run_twoway(network.server.command(*command))
    assert (done.code, done.stdout) == (2, "")
    assert "open packet socket to see by which link packets come: Operation not permitted" in done.stderr
    assert "CAP_NET_RAW" in done.stderr


@pytest.mark.parametrize(
    ("lag", "message"),
    [
        ("m1", "m1 has no members: name them, as in eth1,eth2"),
        ("nothing", "list member links nothing: No such device"),
        ("m1,m1", "two members have the name m1"),
        ("m1=5,m2=5", "two members have the number 5"),
        ("m1=0", "'0' is no number from 1 to 65535 of a member"),
        ("m1,nothing", "find next hop"),
        ("", "'' is no name of an interface"),
    ],
)
def test_what_is_no_lag_is_refused_in_one_line(lag: str, message: str) -> None:
    with LagNetwork() as network:
        done = ping(network, lag)
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


@pytest.mark.parametrize("far", ["reflector", "daemon"])
def test_the_daemon_measures_members_as_paths(tmp_path: Path, far: str) -> None:
    session = {
        "target": "fd97::2",
        "probe-count": 5,
        "probe-interval": "20ms",
        "timeout": "100ms",
        "path": {
            name: {"forward": {"interface": name}, "micro-session-id": number} for number, name in enumerate(MEMBERS, 1)
        },
    }
    connections = {"near": {"control-type": "light", "test-count": 2, "test-session": {"lag": session}}}
    members = {"light": {"tlvs": {"micro-session": {name: 10 + number for number, name in enumerate(MEMBERS, 1)}}}}
    folder = tmp_path / "far"
    folder.mkdir()
    sent: dict[str, tuple[int, int]] = {}
    with LagNetwork() as network:
        reflector = (
            ReflectorProgram(network.server, folder, *IDS)
            if far == "reflector"
            else DaemonProgram(network.server, folder, {}, members)
        )
        with reflector, MemberTaps(network) as taps, DaemonProgram(network.client, tmp_path, connections) as daemon:
            for name in MEMBERS:
                daemon.await_tests(2, f"lag:{name}")
                total = daemon.collection("all-tests", f"lag:{name}")
                assert (total["sent"] + total["not_sent"], total["received"]) == (10, total["sent"])
                sent[name] = total["sent"], total["received"]
                assert daemon.results(f"lag:{name}")["tlvs"] == ["micro-session-id"]
            assert taps.counts() == sent
