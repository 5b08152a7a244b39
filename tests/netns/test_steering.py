"""Test packets take the path they are told: captures at every node of a network with three ways through it prove it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .frame import UdpFrame
from .measured import PingDocument
from .programs import TWOWAY, Finished, Program, ReflectorProgram, as_user, run_twoway, skip_unless_reachable, until
from .steered_network import (
    C_POP,
    D_POP,
    SERVER_POP,
    TO_C,
    TO_D,
    Capture,
    LabelSwitch,
    SteeredNetwork,
    device,
)

COUNT = 20
_DSCP_EF = 46 << 2


@pytest.fixture(scope="module")
def shared() -> Iterator[SteeredNetwork]:
    """A network that no test changes."""
    with SteeredNetwork() as network:
        yield network


@pytest.fixture(scope="module")
def reflected(shared: SteeredNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteeredNetwork]:
    """The same with a Session-Reflector at the server."""
    with ReflectorProgram(shared.server, tmp_path_factory.mktemp("reflector")):
        yield shared


@pytest.fixture(scope="module")
def switched(
    reflected: SteeredNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SteeredNetwork, dict[str, LabelSwitch]]]:
    """The same with label-switching routers."""
    with reflected.label_switching(tmp_path_factory.mktemp("switches")) as switches:
        yield reflected, switches


def ping_command(network: SteeredNetwork, *options: str, user: str | None = None) -> list[str]:
    return network.client.command(*as_user(user), TWOWAY, "ping", "--json", "--samples", *options)


def _ping(network: SteeredNetwork, *options: str, user: str | None = None) -> Finished:
    return run_twoway(ping_command(network, "-c", str(COUNT), "-i", "5ms", "-W", "300ms", *options, user=user))


def _measured(finished: Finished) -> PingDocument:
    assert finished.code in (0, 1), finished.stderr
    return PingDocument(finished.json)


def _answered(finished: Finished) -> PingDocument:
    document = _measured(finished)
    assert document.counters("sent", "received") == {"sent": COUNT, "received": COUNT}
    assert document.sample_sources() == {("kernel", "kernel")}
    return document


def test_plain_packets_go_by_b(reflected: SteeredNetwork) -> None:
    for family in (4, 6):
        with Capture(reflected) as capture:
            _answered(_ping(reflected, reflected.target[family]))
            assert capture.read().seen() == {"b": (COUNT, COUNT)}


def test_a_segment_leads_there_and_nothing_back(reflected: SteeredNetwork) -> None:
    """SRv6 needs no privilege: this is measured by a user who has none."""
    skip_unless_reachable("nobody")
    path = f"srv6:{reflected.sid('c')}"
    with Capture(reflected) as capture:
        document = _answered(_ping(reflected, "--path", path, reflected.target[6], user="nobody"))
        assert capture.read().seen() == {"b": (0, COUNT), "c": (COUNT, 0)}
    session = document.document["session"]
    assert isinstance(session, dict)
    assert session["requested"]["path"] == path
    # Before the segment's node the header leads on, behind it it is used up.
    left = {node: {frame.segments_left for frame in capture.frames[node, "out"]} for node in ("a", "server")}
    assert left == {"a": {1}, "server": {0}}


def test_segments_are_passed_in_their_order(reflected: SteeredNetwork) -> None:
    path = f"srv6:{reflected.sid('d')},{reflected.sid('c')},{reflected.sid('b', 3)}"
    with Capture(reflected) as capture:
        _answered(_ping(reflected, "--path", path, reflected.target[6]))
        # b, the last one, takes what plain routing brings back, too.
        assert capture.read().seen() == {"b": (COUNT, COUNT), "c": (COUNT, 0), "d": (COUNT, 0)}
    # From one to the next it is by way of e, which sees each packet three times.
    assert capture.count("e", "out") == 3 * COUNT
    times = zip(*(capture.stamps_ns[node, "out"] for node in "dcb"), strict=True)
    assert all(first < second < third for first, second, third in times)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("label", "pops", "node"), [(TO_C, C_POP, "c"), (TO_D, D_POP, "d")])
def test_labels_lead_there_and_nothing_back(
    switched: tuple[SteeredNetwork, dict[str, LabelSwitch]], family: int, label: int, pops: int, node: str
) -> None:
    network, _ = switched
    with Capture(network) as capture:
        path = f"mpls:{label},{SERVER_POP}"
        document = _answered(_ping(network, "-D", "ef", "--path", path, network.target[family]))
        assert capture.read().seen() == {"b": (0, COUNT), node: (COUNT, 0)}
    stacks = {at: {tuple(frame.label_entries) for frame in capture.frames[at, "out"]} for at in ("a", node, "e")}
    # Traffic Class 5 is that of EF; TTLs fall by one at each label-switching router.
    assert stacks == {
        "a": {((label, 5, 0, 255), (SERVER_POP, 5, 1, 255))},
        node: {((pops, 5, 0, 254), (SERVER_POP, 5, 1, 255))},
        "e": {((SERVER_POP, 5, 1, 253),)},
    }
    assert {frame.traffic_class for frame in capture.frames["server", "out"]} == {_DSCP_EF}
    assert {sample["sender_ttl"] for sample in document.samples()} == {252}


def test_no_reply_is_lost_on_the_ordinary_socket_of_a_labelled_path_with_authentication(
    switched: tuple[SteeredNetwork, dict[str, LabelSwitch]], tmp_path: Path
) -> None:
    network, _ = switched
    keys = tmp_path / "keys"
    keys.write_text("k hex:00112233445566778899aabbccddeeff\n", encoding="ascii")
    keys.chmod(0o600)
    with ReflectorProgram(network.server, tmp_path, "-l", ":8620", "--auth-key-file", str(keys), port=8620):
        target = f"{network.target[4]}:8620"
        path = f"mpls:{TO_C},{SERVER_POP}"
        done = _ping(network, "--auth-key-file", str(keys), "-s", "1001", "--path", path, target)
    _answered(done)


def test_a_label_that_nobody_knows_is_loss(switched: tuple[SteeredNetwork, dict[str, LabelSwitch]]) -> None:
    reflected, _ = switched
    with Capture(reflected) as capture:
        document = _measured(_ping(reflected, "--path", "mpls:99999,18001", reflected.target[4]))
        assert capture.read().seen() == {}
    assert document.counters("sent", "received", "lost_unattributed") == {
        "sent": COUNT,
        "received": 0,
        "lost_unattributed": COUNT,
    }


def test_a_next_hop_that_does_not_answer_is_told_and_nothing_is_sent(reflected: SteeredNetwork) -> None:
    done = _ping(reflected, "--path", "mpls:16003@10.98.0.77", reflected.target[4])
    document = _measured(done)
    assert done.code == 1
    assert document.counters("sent", "not_sent") == {"sent": 0, "not_sent": COUNT}
    events = document.document["events"]
    assert isinstance(events, list)
    assert {event["name"] for event in events} == {"next_hop_unresolved"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--path", "mpls:16003@10.98.7.2"], "10.98.7.2 is on no link of this host, so it cannot be the next hop"),
        (["--path", "mpls:16003%to-b"], "there is no interface to-b"),
        (["--path", "link:lo"], "lo has no Ethernet frames"),
        (["--path", "mpls:16003@10.98.0.2%to-a%to-b"], "is no name of an interface"),
        (["--path", "srv6:fdc0:c::1"], "srv6 leads IPv6 packets"),
    ],
)
def test_paths_that_cannot_be_are_refused_in_one_line(shared: SteeredNetwork, options: list[str], words: str) -> None:
    done = _ping(shared, *options, shared.target[4])
    assert done.code == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_labels_need_a_privilege_that_is_named(shared: SteeredNetwork) -> None:
    skip_unless_reachable("nobody")
    done = _ping(shared, "--path", "mpls:16003", shared.target[4], user="nobody")
    assert done.code == 2
    assert "CAP_NET_RAW" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_host_without_ipv6_is_told_so() -> None:
    with SteeredNetwork() as network:
        network.client.sysctl({"net/ipv6/conf/all/disable_ipv6": "1"})
        done = _ping(network, "--path", f"srv6:{network.sid('c')}", network.target[6])
        assert done.code == 2
        assert len(done.stderr.splitlines()) == 1
        assert "connect" in done.stderr


def test_a_reflector_whose_kernel_takes_no_segments_is_reached_only_without_them(tmp_path: Path) -> None:
    """SRv6 is off in a kernel unless switched on. A last segment that pops the header spares the far end."""
    with SteeredNetwork() as network:
        network.server.sysctl({"net/ipv6/conf/all/seg6_enabled": "0", f"net/ipv6/conf/{device('e')}/seg6_enabled": "0"})
        with ReflectorProgram(network.server, tmp_path):
            lost = _measured(_ping(network, "--path", f"srv6:{network.sid('c')}", network.target[6]))
            assert lost.counters("sent", "received") == {"sent": COUNT, "received": 0}
            with Capture(network) as capture:
                _answered(_ping(network, "--path", f"srv6:{network.sid('c', 2)}", network.target[6]))
                assert capture.read().seen() == {"b": (0, COUNT), "c": (COUNT, 0)}
            assert {frame.segments_left for frame in capture.frames["server", "out"]} == {None}


def _frames_to(capture: Capture, node: str) -> set[bytes]:
    """Destination addresses of the frames that came in at a node on their way out."""
    return {bytes(frame.octets[:6]) for frame in capture.read().frames.get((node, "out"), [])}


def _until_frames(capture: Capture, mac: bytes, what: str) -> None:
    until(lambda: mac in _frames_to(capture, "a"), what)


def test_frames_follow_the_next_hop_when_its_address_and_when_the_route_changes(tmp_path: Path) -> None:
    with SteeredNetwork() as network, ReflectorProgram(network.server, tmp_path):
        client, a = network.client, network.nodes["a"]
        first = a.mac(device("client"))
        command = ping_command(
            network, "-c", "2000", "-i", "5ms", "-W", "100ms", "--path", "mpls:16003", network.target[4]
        )
        with Capture(network, "a") as capture, Program(command, tmp_path, "ping") as ping:
            _until_frames(capture, first, "frames reach a")
            second = bytes([2, 0, 0, 0, 0x0A, 0x02])
            a.ip(f"link set {device('client')} address {second.hex(':')}")
            client.ip(
                f"neighbour replace {network.address['a', 'client'][4]} lladdr {second.hex(':')} dev {device('a')}"
            )
            _until_frames(capture, second, "frames reach a at its new address")
            # Another link, and the route moves there.
            client.ip(
                f"link add other type veth peer name {device('client')}2 netns {a.name}",
                "link set other up",
                "address add 10.97.0.1/24 dev other",
            )
            third = bytes([2, 0, 0, 0, 0x0A, 0x03])
            a.ip(
                f"link set {device('client')}2 address {third.hex(':')}",
                f"link set {device('client')}2 up",
                f"address add 10.97.0.2/24 dev {device('client')}2",
            )
            with Capture(network, "a") as later:
                later.add(a, "a", f"{device('client')}2")
                client.ip("route replace default via 10.97.0.2")
                _until_frames(later, third, "frames reach a on its other link")
            ping.signal(signal.SIGINT)
            ping.wait()


def test_frames_wait_for_an_interface_that_is_down_and_go_on(tmp_path: Path) -> None:
    with SteeredNetwork() as network, ReflectorProgram(network.server, tmp_path):
        command = ping_command(
            network, "-c", "4000", "-i", "5ms", "-W", "100ms", "--path", "mpls:16003", network.target[6]
        )
        with Program(command, tmp_path, "ping") as ping:
            with Capture(network, "a") as capture:
                until(lambda: capture.read().count("a", "out") > 0, "frames reach a")
            network.client.ip(f"link set {device('a')} down")
            network.client.ip(f"link set {device('a')} up")
            # IPv6 addresses and routes go with the interface.
            network.client.ip(
                f"address add {network.source[6]}/64 dev {device('a')} nodad",
                f"route add default via {network.address['a', 'client'][6]}",
            )
            with Capture(network, "a") as capture:
                until(lambda: capture.read().count("a", "out") > 0, "frames reach a again")
            ping.signal(signal.SIGINT)
            ping.wait()
        document = PingDocument(Finished(0, ping.stdout, "").json)
        assert document.counter("not_sent") > 0
        assert document.counter("sent") > 0


def test_a_frame_is_read_beneath_labels_and_through_segments() -> None:
    """The harness itself: what is no UDP beneath them is not taken for it."""
    assert UdpFrame.parse(bytes(14)) is None
    assert UdpFrame.parse(b"\0" * 12 + b"\x88\x47" + b"\0" * 40) is None
