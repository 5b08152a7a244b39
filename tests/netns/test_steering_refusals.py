"""What a steered probe cannot do is a named error or a counted outcome; a reflector that cannot or may not says U."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .measured import PingDocument
from .programs import TWOWAY, Finished, Program, ReflectorProgram, run_twoway, until
from .steered_network import SERVER_POP, TO_C, Capture, SteeredNetwork, device
from .test_steering import ping_command

COUNT = 10


@pytest.fixture
def network() -> Iterator[SteeredNetwork]:
    with SteeredNetwork() as made:
        yield made


@pytest.fixture
def reflected(network: SteeredNetwork, tmp_path: Path) -> Iterator[SteeredNetwork]:
    with ReflectorProgram(network.server, tmp_path):
        yield network


def _ping(network: SteeredNetwork, *options: str) -> Finished:
    return run_twoway(ping_command(network, "-c", str(COUNT), "-i", "5ms", "-W", "300ms", *options))


def _not_sent(finished: Finished, event: str) -> None:
    """Nothing left, and the report says why."""
    document = PingDocument(finished.json)
    assert finished.code == 1
    assert document.counters("sent", "not_sent", "lost") == {"sent": 0, "not_sent": COUNT, "lost": 0}
    events = document.document["events"]
    assert isinstance(events, list)
    assert event in {each["name"] for each in events}


def _second_link(network: SteeredNetwork) -> None:
    """Another link between client and a, without IPv6 at the client."""
    a = network.nodes["a"]
    network.client.ip(f"link add other type veth peer name other2 netns {a.name}")
    network.client.sysctl({"net/ipv6/conf/other/disable_ipv6": "1"})
    network.client.ip("link set other up", "address add 10.77.0.1/24 dev other")
    a.ip("link set other2 up")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("srv6:2001:db8::1,16003", "'16003' is a label: the segments of srv6 are IPv6 addresses"),
        ("srv6:10.0.0.1", "'10.0.0.1' is no IPv6 address"),
        ("srv6:" + ",".join(["2001:db8::1"] * 127), "127 segments are more than the 126 that a routing header holds"),
        ("mpls:16003,2001:db8::1", "'2001:db8::1' is an address: the segments of mpls are labels"),
        ("mpls:16003,1048576", "label 1048576 is not from 16 to 1048575"),
        ("mpls:16003,3", "label 3 is reserved"),
        ("mpls:" + ",".join(["16003"] * 31), "31 labels are more than 30"),
    ],
    ids=["mixed", "ipv4", "too-long", "mixed-labels", "out-of-range", "reserved", "too-many-labels"],
)
def test_a_list_that_cannot_be_is_one_line(network: SteeredNetwork, path: str, reason: str) -> None:
    done = _ping(network, "--path", path, network.target[6])
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr
    back = _ping(network, "--return-path", path, network.target[6])
    assert (back.code, back.stdout) == (2, "")
    assert reason in back.stderr


def test_a_list_that_no_link_can_carry_is_not_sent(reflected: SteeredNetwork) -> None:
    """126 segments are 2024 octets, and every link here takes 1500."""
    segments = ",".join([reflected.sid("c")] * 126)
    _not_sent(_ping(reflected, "--path", f"srv6:{segments}", reflected.target[6]), "send_error")


@pytest.mark.parametrize("path", ["link:other", f"mpls:{TO_C},{SERVER_POP}%other"])
def test_an_interface_without_ipv6_is_named_by_what_does_not_lead_there(network: SteeredNetwork, path: str) -> None:
    _second_link(network)
    done = _ping(network, "--path", path, network.target[6])
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"find next hop {network.target[6]}: " in done.stderr


def test_an_interface_without_a_neighbour_or_down_sends_nothing_and_says_so(reflected: SteeredNetwork) -> None:
    _second_link(reflected)
    path = ("--path", "link:other@10.77.0.2", reflected.target[4])
    _not_sent(_ping(reflected, *path), "next_hop_unresolved")
    reflected.client.ip("link set other down")
    _not_sent(_ping(reflected, *path), "interface_down")


def test_a_reflector_whose_kernel_takes_no_segments_still_sends_by_them(
    network: SteeredNetwork, tmp_path: Path
) -> None:
    network.server.sysctl({"net/ipv6/conf/all/seg6_enabled": "0", f"net/ipv6/conf/{device('e')}/seg6_enabled": "0"})
    with ReflectorProgram(network.server, tmp_path, "--return-path-allow", "fd98::/16"), Capture(network) as capture:
        done = _ping(network, "--return-path", f"srv6:{network.sid('c')}", network.target[6])
        assert capture.read().seen() == {"b": (COUNT, 0), "c": (0, COUNT)}
    assert PingDocument(done.json).counters("received", "return_path_refused") == {
        "received": COUNT,
        "return_path_refused": 0,
    }


def test_whoever_proves_a_key_is_obeyed_and_nobody_else(network: SteeredNetwork, tmp_path: Path) -> None:
    """The default: no allow list."""
    keys = tmp_path / "keys"
    keys.write_text("k1 text:a key of both ends\n", encoding="ascii")
    keys.chmod(0o600)
    back = ("--return-path", f"srv6:{network.sid('d')}", network.target[6])
    with ReflectorProgram(network.server, tmp_path, "--auth-key-file", str(keys)), Capture(network) as capture:
        for options in (("--auth-key-file", str(keys)), ("--auth-key-file", str(keys), "--tlv-hmac")):
            document = PingDocument(_ping(network, *options, *back).json)
            assert document.counters("received", "return_path_refused") == {
                "received": COUNT,
                "return_path_refused": 0,
            }
        document = PingDocument(_ping(network, *back).json)
        assert document.counters("received", "return_path_refused", "tlv_unrecognized") == {
            "received": COUNT,
            "return_path_refused": COUNT,
            "tlv_unrecognized": COUNT,
        }
        assert capture.read().seen() == {"b": (3 * COUNT, COUNT), "d": (0, 2 * COUNT)}


def test_frames_have_our_address_of_the_moment_and_outlive_their_interface(
    reflected: SteeredNetwork, tmp_path: Path
) -> None:
    client, a = reflected.client, reflected.nodes["a"]
    command = client.command(
        TWOWAY, "ping", "-q", "-c", "4000", "-i", "5ms", "-W", "100ms", "--path", "mpls:16003", reflected.target[4]
    )

    def senders(capture: Capture) -> set[bytes]:
        return {bytes(frame.octets[6:12]) for frame in capture.read().frames.get(("a", "out"), [])}

    with Program(command, tmp_path, "ping") as ping:
        with Capture(reflected, "a") as capture:
            first = client.mac(device("a"))
            until(lambda: first in senders(capture), "frames reach a")
            second = bytes([2, 0, 0, 0, 0x0C, 0x02])
            client.ip(f"link set {device('a')} address {second.hex(':')}")
            until(lambda: second in senders(capture), "frames have our new address")
        client.ip(f"link delete {device('a')}")
        client.ip(
            f"link add {device('a')} type veth peer name {device('client')} netns {a.name}",
            f"address add {reflected.source[4]}/24 dev {device('a')}",
        )
        a.ip(
            f"address add {reflected.address['a', 'client'][4]}/24 dev {device('client')}",
            f"link set {device('client')} up",
        )
        client.ip(f"link set {device('a')} up", f"route add default via {reflected.address['a', 'client'][4]}")
        third = client.mac(device("a"))
        with Capture(reflected, "a") as capture:
            until(lambda: third in senders(capture), "frames leave by the interface that was made anew")
        ping.signal(signal.SIGINT)
        ping.wait()
