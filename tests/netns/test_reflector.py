"""What a Session-Reflector answers, and how: addresses, size, TTL, DSCP, refusals, limits, signals, privileges."""

import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .forwarder import read_tap, tap_socket
from .frame import UdpFrame, build_udp_frame
from .probe import Probe
from .programs import ForwarderProgram, ReflectorProgram, bound_ports, skip_unless_reachable, until
from .stamp import Reply, request
from .topology import (
    CLIENT,
    CLIENT_DEVICE,
    SERVER,
    SERVER_DEVICE,
    SERVER_SECOND,
    Topology,
)

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))


@pytest.fixture
def path(topology: Topology, tmp_path: Path) -> Iterator[Topology]:
    """The topology with frames flowing."""
    with ForwarderProgram(topology.middle, tmp_path):
        yield topology


def _key_file(folder: Path, content: str) -> str:
    path = folder / "keys"
    path.write_text(content, encoding="ascii")
    path.chmod(0o600)
    return str(path)


def _settled(reflector: ReflectorProgram, packets: int) -> dict[str, int]:
    """The counters once `packets` packets are in them."""
    latest: dict[str, int] = {}

    def counted() -> bool:
        latest.clear()
        latest.update(reflector.ask_counters())
        return sum(latest.values()) >= packets

    until(counted, f"{packets} packets are counted")
    assert sum(latest.values()) == packets, latest
    return latest


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("stateful", [False, True])
def test_reply_comes_from_the_address_that_was_asked(
    path: Topology, tmp_path: Path, version: int, *, stateful: bool
) -> None:
    options = ["--stateful"] if stateful else []
    with ReflectorProgram(path.server, tmp_path, *options), Probe(path.client, version) as probe:
        for sequence, address in enumerate((SERVER_SECOND[version], SERVER[version], SERVER_SECOND[version])):
            received = probe.exchange(request(sequence + 100), address)
            assert received.source == (address, 862)
            reply = Reply.parse(received.octets)
            assert reply.sender_sequence == sequence + 100
            # Two addresses of the reflector are two test-sessions.
            assert reply.sequence == ([0, 0, 1][sequence] if stateful else sequence + 100)


def test_reply_to_a_link_local_address_stays_on_its_link(path: Topology, tmp_path: Path) -> None:
    link_local = path.server.link_local(SERVER_DEVICE)
    index = path.client.inside(lambda: socket.if_nametoindex(CLIENT_DEVICE))
    with ReflectorProgram(path.server, tmp_path), Probe(path.client, 6) as probe:
        received = probe.exchange(request(), link_local, scope_id=index)
        assert received.source == (link_local, 862)


@pytest.mark.parametrize("version", [4, 6])
def test_header_of_the_reply(path: Topology, tmp_path: Path, version: int) -> None:
    """RFC 5357 section 4.2.1: TTL 255; the sender's TTL in the packet; DSCP as it came, ECN Not-ECT (RFC 7750 2.2)."""
    with ReflectorProgram(path.server, tmp_path), Probe(path.client, version) as probe:
        for ttl, traffic_class in ((255, 0), (64, 0xB8), (1, 0x2B)):
            probe.set_header(ttl=ttl, traffic_class=traffic_class)
            received = probe.exchange(request(), SERVER[version])
            assert (received.ttl, received.traffic_class) == (255, traffic_class & 0xFC)
            assert Reply.parse(received.octets).sender_ttl == ttl


@pytest.mark.parametrize("version", [4, 6])
def test_dscp_of_the_reply_as_set(path: Topology, tmp_path: Path, version: int) -> None:
    with ReflectorProgram(path.server, tmp_path, "--dscp", "46"), Probe(path.client, version) as probe:
        probe.set_header(traffic_class=0x28)
        assert probe.exchange(request(), SERVER[version]).traffic_class == 0xB8


@pytest.mark.parametrize("version", [4, 6])
def test_reply_is_as_large_as_the_request(path: Topology, tmp_path: Path, version: int) -> None:
    """Never larger, but for the octets by which the shortest reply exceeds a shorter request; those are counted."""
    sizes = [14, 15, 40, 41, 43, 44, 45, 48, 100, 112, 500, 1400, 1452]
    with ReflectorProgram(path.server, tmp_path) as reflector, Probe(path.client, version) as probe:
        for size in sizes:
            received = probe.exchange(request(size=size), SERVER[version])
            assert len(received.octets) == max(size, 44)
        larger = sum(size < 44 for size in sizes)
        assert _settled(reflector, len(sizes)) == {
            "test_packet:reflected_larger": larger,
            "test_packet:reflected": len(sizes) - larger,
        }


def test_a_fragmented_request_is_answered_whole(path: Topology, tmp_path: Path) -> None:
    with ReflectorProgram(path.server, tmp_path), Probe(path.client, 4) as probe:
        assert len(probe.exchange(request(size=4000), SERVER[4]).octets) == 4000


@pytest.mark.parametrize("version", [4, 6])
def test_the_largest_datagram_is_counted_once(path: Topology, tmp_path: Path, version: int) -> None:
    """Larger than any buffer for test packets: refused whole or answered whole, never answered in part."""
    with ReflectorProgram(path.server, tmp_path) as reflector, Probe(path.client, version) as probe:
        size = 65_507 if version == 4 else 65_487
        probe.send(request(size=size), SERVER[version])
        counters = _settled(reflector, 1)
        if counters == {"test_packet:reflected": 1}:
            assert len(probe.receive().octets) == size
        else:
            assert counters == {"truncated:dropped": 1}
        assert len(probe.exchange(request(), SERVER[version]).octets) == 44


def test_larger_replies_switched_off(path: Topology, tmp_path: Path) -> None:
    with ReflectorProgram(path.server, tmp_path, "--no-larger-replies") as reflector, Probe(path.client, 4) as probe:
        for size in (14, 43):
            probe.send(request(size=size), SERVER[4])
        assert len(probe.exchange(request(size=44), SERVER[4]).octets) == 44
        assert _settled(reflector, 3) == {"larger_reply_off:dropped": 2, "test_packet:reflected": 1}


def test_stamps_are_of_the_clock_that_both_ends_share(path: Topology, tmp_path: Path) -> None:
    import time

    from .stamp import wall_ns

    with ReflectorProgram(path.server, tmp_path), Probe(path.client, 4) as probe:
        before = time.time_ns()
        reply = Reply.parse(probe.exchange(request(), SERVER[4]).octets)
        after = time.time_ns()
    assert before <= wall_ns(reply.receive_timestamp) <= wall_ns(reply.timestamp) <= after
    assert reply.error_estimate & 0xFF, "a Multiplier of 0 is forbidden (RFC 4656 section 4.1.2)"


def test_authentication(path: Topology, tmp_path: Path) -> None:
    """Verified before anything else; a wrong key gets no reply and is counted (RFC 8762 section 4.4)."""
    keys = _key_file(tmp_path, f"first hex:{KEY.hex()}\n")
    with (
        ReflectorProgram(path.server, tmp_path, "--auth-key-file", keys, "--require-auth") as reflector,
        Probe(path.client, 4) as probe,
    ):
        changed = bytearray(request(key=KEY))
        changed[95] ^= 1
        for octets in (request(key=OTHER_KEY), bytes(changed), request(), request(key=KEY)[:111]):
            probe.send(octets, SERVER[4])
        received = probe.exchange(request(7, key=KEY), SERVER[4])
        assert Reply.parse(received.octets, KEY).sender_sequence == 7
        counters = _settled(reflector, 5)
        assert counters["bad_hmac:dropped"] == 2
        assert counters["test_packet:reflected"] == 1
        assert probe.take() is None


def test_keys_by_ssid(path: Topology, tmp_path: Path) -> None:
    keys = _key_file(tmp_path, f"one ssid=1 hex:{KEY.hex()}\ntwo ssid=2 hex:{OTHER_KEY.hex()}\n")
    with (
        ReflectorProgram(path.server, tmp_path, "--auth-key-file", keys, "--require-auth") as reflector,
        Probe(path.client, 4) as probe,
    ):
        for ssid, key in ((1, KEY), (2, OTHER_KEY)):
            reply = Reply.parse(probe.exchange(request(key=key, ssid=ssid), SERVER[4]).octets, key)
            assert reply.ssid == ssid
        probe.send(request(key=KEY, ssid=2), SERVER[4])
        probe.send(request(key=KEY, ssid=3), SERVER[4])
        assert _settled(reflector, 4) == {
            "test_packet:reflected": 2,
            "bad_hmac:dropped": 1,
            "unknown_key:dropped": 1,
        }


@pytest.mark.parametrize("version", [4, 6])
def test_allow_list(path: Topology, tmp_path: Path, version: int) -> None:
    """A source outside of every network is not answered, whatever it sends."""
    second = {4: "10.99.0.11", 6: "fd99::11"}[version]
    length = {4: 32, 6: 128}[version]
    nodad = " nodad" if version == 6 else ""
    path.client.ip(f"address add {second}/{length} dev {CLIENT_DEVICE}{nodad}")
    with (
        ReflectorProgram(
            path.server, tmp_path, "--allow", f"{second}/{length}", "--allow", "192.0.2.0/24"
        ) as reflector,
        Probe(path.client, version, CLIENT[version]) as stranger,
        Probe(path.client, version, second) as friend,
    ):
        stranger.send(request(), SERVER[version])
        stranger.send(b"x", SERVER[version])
        friend.exchange(request(), SERVER[version])
        assert _settled(reflector, 3) == {"not_allowed:dropped": 2, "test_packet:reflected": 1}
        assert stranger.take() is None


@pytest.mark.parametrize(("option", "reason"), [("--rate-limit", "global"), ("--rate-limit-per-source", "source")])
def test_rate_limits(path: Topology, tmp_path: Path, option: str, reason: str) -> None:
    sent = 200
    with (
        ReflectorProgram(path.server, tmp_path, option, "1", "--workers", "1") as reflector,
        Probe(path.client, 4) as probe,
    ):
        for sequence in range(sent):
            probe.send(request(sequence), SERVER[4])
        counters = _settled(reflector, sent)
        assert set(counters) == {"test_packet:reflected", f"rate_limited_{reason}:dropped"}
        # A small burst is granted at once, and one packet for each second that passed.
        assert 1 <= counters["test_packet:reflected"] <= 30
        replies = 0
        while probe.take() is not None:
            replies += 1
        assert replies == counters["test_packet:reflected"]


def test_rate_limit_per_source_leaves_other_sources_alone(path: Topology, tmp_path: Path) -> None:
    path.client.ip(f"address add 10.99.0.11/32 dev {CLIENT_DEVICE}")
    with (
        ReflectorProgram(path.server, tmp_path, "--rate-limit-per-source", "1") as reflector,
        Probe(path.client, 4, CLIENT[4]) as flood,
        Probe(path.client, 4, "10.99.0.11") as other,
    ):
        for sequence in range(100):
            flood.send(request(sequence), SERVER[4])
        other.exchange(request(), SERVER[4])
        _settled(reflector, 101)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("authenticated", [False, True])
def test_hostile_packets_are_counted_by_reason(
    path: Topology, tmp_path: Path, *, stateful: bool, authenticated: bool
) -> None:
    """Truncated, oversized, random, replayed and forged: each counted once, and the reflector goes on."""
    key = KEY if authenticated else None
    options = ["--stateful"] if stateful else []
    if authenticated:
        options += ["--auth-key-file", _key_file(tmp_path, f"k hex:{KEY.hex()}\n"), "--require-auth"]
    good = request(1, key=key)
    hostile = [good[:length] for length in range(len(good))]
    hostile += [good] * 5
    hostile += [secrets.token_bytes(length) for length in range(0, 300, 3)]
    hostile += [good + secrets.token_bytes(length) for length in (1, 2, 3, 4, 5, 100, 1300)]
    hostile += [request(2, key=key, size=9000), request(3, key=key, error_estimate=0), b"", bytes(14), bytes(44)]
    hostile += [good + bytes([0, 1, 0xFF, 0xFF]), good + bytes([0xFF] * 40), good + bytes(1000)]
    with (
        ReflectorProgram(path.server, tmp_path, "--workers", "1", *options) as reflector,
        Probe(path.client, 4) as probe,
    ):
        replied = 0
        for sent, octets in enumerate(hostile):
            probe.send(octets, SERVER[4])
            if sent % 20 == 0:
                _settled(reflector, sent + 1)
        counters = _settled(reflector, len(hostile))
        while (received := probe.take()) is not None:
            replied += 1
            if authenticated:
                Reply.parse(received.octets, key)
        answered = counters.get("test_packet:reflected", 0) + counters.get("test_packet:reflected_larger", 0)
        assert replied == answered
        assert counters["too_short:dropped"] >= 14
        if authenticated:
            assert answered <= 5 + 7 + 2 + 3
            # Random octets seldom look authenticated, where MBZ has to be zero: they are refused as what they seem.
            refused = counters.get("bad_hmac:dropped", 0) + counters["unauthenticated:dropped"]
            assert refused + counters["too_short:dropped"] == len(hostile) - answered
        last = Reply.parse(probe.exchange(request(99, key=key), SERVER[4]).octets, key)
        assert last.sender_sequence == 99
        assert reflector.stderr == "", "never a log line per packet"
        assert reflector.stop() == 0


def test_a_packet_from_its_own_address_is_dropped(path: Topology, tmp_path: Path) -> None:
    """Forged to come from the reflector's own socket: an answer would go to itself."""
    path.server.sysctl({f"net/ipv4/conf/{name}/{key}": value for name in ("all", SERVER_DEVICE) for key, value in
                        (("accept_local", "1"), ("rp_filter", "0"))})  # fmt: skip
    with ReflectorProgram(path.server, tmp_path) as reflector:
        for version in (4, 6):
            _inject(path, "mserver", (SERVER[version], 862), (SERVER[version], 862), request())
        counters = _settled(reflector, 2)
        assert counters == {"own_address:dropped": 2}


def _inject(path: Topology, port: str, source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> None:
    """Put a forged frame on the wire, out of a port of the middle namespace."""
    device, end = (SERVER_DEVICE, path.server) if port == "mserver" else (CLIENT_DEVICE, path.client)
    frame = build_udp_frame(
        source_mac=path.middle.mac(port),
        destination_mac=end.mac(device),
        source=source,
        destination=destination,
        payload=payload,
    )
    with path.middle.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((port, 0))
        sender.send(frame)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("kind", ["stamp", "light", "random", "authenticated"])
def test_two_reflectors_do_not_answer_each_other(
    topology: Topology, tmp_path: Path, kind: str, version: int, *, stateful: bool
) -> None:
    """One forged packet between two reflectors: the second one sees that it got a reply, and the exchange is over."""
    payload = {
        "stamp": request(1),
        "light": request(1, size=14),
        "random": request(1)[:14] + secrets.token_bytes(86),
        "authenticated": request(1, key=KEY),
    }[kind]
    options = ["--stateful"] if stateful else []
    if kind == "authenticated":
        options += ["--auth-key-file", _key_file(tmp_path, f"k hex:{KEY.hex()}\n")]
    with (
        ForwarderProgram(topology.middle, tmp_path) as forwarder,
        ReflectorProgram(topology.client, tmp_path, *options, name="first") as first,
        ReflectorProgram(topology.server, tmp_path, *options, name="second") as second,
    ):
        _inject(topology, "mserver", (CLIENT[version], 862), (SERVER[version], 862), payload)
        assert _settled(first, 1) == {"reply_shaped:dropped": 1}
        # By its own reply the first would have been asked again before this answer came through the same queues.
        with Probe(topology.client, version) as probe:
            probe.exchange(request(2), SERVER[version])
        assert sum(_settled(second, 2).values()) == 2
        assert sum(_settled(first, 1).values()) == 1
        forwarded = forwarder.report()
    assert len(forwarded["backward"]) == 2, "the reply to the forged packet, and the one to the probe"
    assert len(forwarded["forward"]) == 1, (
        "the probe; the forged packet itself was put on the wire behind the forwarder"
    )


def _take_udp(tap: socket.socket, frames: list[UdpFrame]) -> bool:
    """Add the UDP frames that came in to `frames`; never the end of waiting by itself."""
    while (tapped := read_tap(tap)) is not None:
        frame = UdpFrame.parse(tapped.octets)
        if frame is not None and not tapped.outgoing:
            frames.append(frame)
    return False


def test_usr1_prints_and_goes_on_and_term_drains(path: Topology, tmp_path: Path) -> None:
    with ReflectorProgram(path.server, tmp_path, "--workers", "1") as reflector, Probe(path.client, 4) as probe:
        probe.exchange(request(), SERVER[4])
        assert reflector.ask_counters() == {"test_packet:reflected": 1}
        probe.exchange(request(), SERVER[4])
        assert reflector.ask_counters() == {"test_packet:reflected": 2}
        waiting: list[UdpFrame] = []
        # Stopped, so that packets wait in its socket; then told to end before it goes on: it answers them first.
        reflector.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{reflector.process.pid}/stat")
        until(lambda: stat.read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "T", "it is stopped")
        with path.server.inside(lambda: tap_socket(SERVER_DEVICE)) as tap:
            for sequence in range(50):
                probe.send(request(sequence), SERVER[4])
            until(lambda: len(waiting) == 50 or _take_udp(tap, waiting), "50 packets have come")
        reflector.signal(signal.SIGTERM)
        reflector.signal(signal.SIGCONT)
        assert reflector.wait() == 0
        assert reflector.counters() == {"test_packet:reflected": 52}
        for sequence in range(50):
            assert Reply.parse(probe.receive().octets).sender_sequence == sequence


def test_interrupt_ends_like_term(path: Topology, tmp_path: Path) -> None:
    with ReflectorProgram(path.server, tmp_path) as reflector:
        reflector.signal(signal.SIGINT)
        assert reflector.wait() == 0
        assert "Traceback" not in reflector.stderr


def test_several_workers_and_addresses(path: Topology, tmp_path: Path) -> None:
    """Every worker counts; all listening addresses answer, others on the host do not."""
    listen = ["--listen", f"{SERVER[4]}:5000", "--listen", f"[{SERVER[6]}]:5001"]
    with (
        ReflectorProgram(path.server, tmp_path, "--workers", "3", *listen, port=5001) as reflector,
        Probe(path.client, 4) as probe4,
        Probe(path.client, 6) as probe6,
    ):
        assert bound_ports(reflector.process.pid) >= {5000, 5001}
        for _ in range(20):
            with Probe(path.client, 4) as probe:
                probe.exchange(request(), SERVER[4], 5000)
        probe6.exchange(request(), SERVER[6], 5001)
        probe4.send(request(), SERVER_SECOND[4], 5000)
        assert _settled(reflector, 21) == {"test_packet:reflected": 21}


def test_stateful_session_table_is_bounded(path: Topology, tmp_path: Path) -> None:
    with (
        ReflectorProgram(path.server, tmp_path, "--stateful", "--max-sessions", "10", "--workers", "1") as reflector,
        Probe(path.client, 4) as probe,
    ):
        sent = 0
        for ssid in range(1, 200):
            probe.send(request(ssid=ssid), SERVER[4])
            sent += 1
            if sent % 50 == 0:
                _settled(reflector, sent)
        counters = _settled(reflector, sent)
        assert set(counters) <= {"test_packet:reflected", "session_table_full:dropped"}
        assert counters["test_packet:reflected"] >= 10


def test_unprivileged_reflector_on_a_high_port(path: Topology, tmp_path: Path) -> None:
    skip_unless_reachable("nobody")
    with (
        ReflectorProgram(path.server, tmp_path, "--listen", "[::]:8620", port=8620, user="nobody") as reflector,
        Probe(path.client, 6) as probe,
    ):
        reply = Reply.parse(probe.exchange(request(), SERVER[6], 8620).octets)
        assert reply.receive_timestamp
        assert reflector.stop() == 0
