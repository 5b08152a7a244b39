"""Replies take the path they are asked to (RFC 9503): requests made by hand, captures at every node.

The requests are octets of this test's own reading of the RFC, so that a wrong reading common to both ends would show.
"""

import ipaddress
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .probe import Probe, Received
from .programs import ReflectorProgram, skip_unless_reachable, until
from .stamp import request
from .steered_network import (
    BACK_BY_C,
    BACK_BY_D,
    C_BACK,
    CLIENT_POP,
    D_BACK,
    Capture,
    LabelSwitch,
    SteeredNetwork,
    device,
)

BASE = 44
COUNT = 10
_U = 0x80
_RETURN_PATH, _CONTROL_CODE, _ADDRESS, _LABELS, _SEGMENTS = 10, 1, 2, 3, 4
_ALLOW = ("--return-path-allow", "10.98.0.0/16", "--return-path-allow", "fd98::/16")


def _tlv(kind: int, value: bytes) -> bytes:
    """The Session-Sender sets U (RFC 8972 section 4)."""
    return struct.pack("!BBH", _U, kind, len(value)) + value


def _segments(*sids: str) -> bytes:
    return _tlv(_SEGMENTS, b"".join(ipaddress.IPv6Address(sid).packed for sid in sids))


def _labels(*labels: int) -> bytes:
    entries = [label << 12 | (0x100 if place + 1 == len(labels) else 0) | 255 for place, label in enumerate(labels)]
    return _tlv(_LABELS, struct.pack(f"!{len(entries)}I", *entries))


def _address(address: str) -> bytes:
    return _tlv(_ADDRESS, ipaddress.ip_address(address).packed)


def _ask(probe: Probe, address: str, *sub_tlvs: bytes, count: int = COUNT, port: int = 862) -> list[Received]:
    """So many requests, one after the other, each with its reply."""
    chain = _tlv(_RETURN_PATH, b"".join(sub_tlvs))
    return [probe.exchange(request(number, size=BASE) + chain, address, port) for number in range(count)]


def _flags(replies: Sequence[Received]) -> set[tuple[int, int]]:
    """(flags, type) of the TLV of each reply."""
    return {(reply.octets[BASE], reply.octets[BASE + 1]) for reply in replies}


OBEYED, REFUSED = {(0, _RETURN_PATH)}, {(_U, _RETURN_PATH)}


@pytest.fixture(scope="module")
def shared() -> Iterator[SteeredNetwork]:
    with SteeredNetwork() as network:
        # Replies with a routing header are taken by the requester only if its kernel takes them.
        yield network


@pytest.fixture(scope="module")
def obeying(shared: SteeredNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteeredNetwork]:
    """A Session-Reflector at the server that obeys the client."""
    with ReflectorProgram(shared.server, tmp_path_factory.mktemp("reflector"), *_ALLOW):
        yield shared


@pytest.fixture(scope="module")
def switched(obeying: SteeredNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LabelSwitch]]:
    with obeying.label_switching(tmp_path_factory.mktemp("switches")) as switches:
        yield switches


@pytest.fixture
def probe(shared: SteeredNetwork) -> Iterator[Probe]:
    with Probe(shared.client, 6) as made:
        yield made


@pytest.fixture
def probe4(shared: SteeredNetwork) -> Iterator[Probe]:
    with Probe(shared.client, 4) as made:
        yield made


def test_segments_lead_back(obeying: SteeredNetwork, probe: Probe) -> None:
    with Capture(obeying) as capture:
        replies = _ask(probe, obeying.target[6], _segments(obeying.sid("c")))
        assert capture.read().seen() == {"b": (COUNT, 0), "c": (0, COUNT)}
    assert _flags(replies) == OBEYED
    assert {reply.source for reply in replies} == {(obeying.target[6], 862)}
    assert {frame.segments_left for frame in capture.frames["client", "back"]} == {0}


def test_several_segments_lead_back_in_their_order(obeying: SteeredNetwork, probe: Probe) -> None:
    with Capture(obeying) as capture:
        sids = (obeying.sid("d"), obeying.sid("c"))
        replies = _ask(probe, obeying.target[6], _segments(*sids))
        assert capture.read().seen() == {"b": (COUNT, 0), "c": (0, COUNT), "d": (0, COUNT)}
        times = zip(*(capture.stamps_ns[node, "back"] for node in "dc"), strict=True)
        assert all(first < second for first, second in times)
    assert _flags(replies) == OBEYED


def test_steered_and_ordinary_replies_do_not_touch_each_other(obeying: SteeredNetwork, probe: Probe) -> None:
    """One socket sends both: the routing header is on it for one reply only."""
    by_c = _tlv(_RETURN_PATH, _segments(obeying.sid("c")))
    by_d = _tlv(_RETURN_PATH, _segments(obeying.sid("d")))
    with Capture(obeying) as capture:
        for number in range(3 * COUNT):
            # All at once, so that they meet in one batch.
            probe.send(request(number, size=BASE) + (by_c, b"", by_d)[number % 3], obeying.target[6])
        replies = [probe.receive() for _ in range(3 * COUNT)]
        assert capture.read().seen() == {"b": (3 * COUNT, COUNT), "c": (0, COUNT), "d": (0, COUNT)}
    assert sorted(len(reply.octets) for reply in replies) == sorted([BASE, BASE + len(by_c), BASE + len(by_d)] * COUNT)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("label", "pops", "node"), [(BACK_BY_C, C_BACK, "c"), (BACK_BY_D, D_BACK, "d")], ids=["c", "d"]
)
def test_labels_lead_back(
    obeying: SteeredNetwork, switched: dict[str, LabelSwitch], family: int, label: int, pops: int, node: str
) -> None:
    del switched  # running is all that is asked of them
    with Probe(obeying.client, family) as probe, Capture(obeying) as capture:
        probe.set_header(traffic_class=46 << 2)
        replies = _ask(probe, obeying.target[family], _labels(label, CLIENT_POP))
        assert capture.read().seen() == {"b": (COUNT, 0), node: (0, COUNT)}
    assert _flags(replies) == OBEYED
    assert {reply.source for reply in replies} == {(obeying.target[family], 862)}
    assert {(reply.ttl, reply.traffic_class) for reply in replies} == {(252, 46 << 2)}
    stacks = {at: {tuple(frame.label_entries) for frame in capture.frames[at, "back"]} for at in ("e", node, "a")}
    assert stacks == {
        "e": {((label, 5, 0, 255), (CLIENT_POP, 5, 1, 255))},
        node: {((pops, 5, 0, 254), (CLIENT_POP, 5, 1, 255))},
        "a": {((CLIENT_POP, 5, 1, 253),)},
    }


def test_a_return_address_gets_the_reply(obeying: SteeredNetwork) -> None:
    network = obeying
    network.client.ip("address add 10.98.0.77/24 dev " + device("a"))
    with (
        Probe(network.client, 4, "10.98.0.77", 50_001) as other,
        Probe(network.client, 4, network.source[4], 50_001) as probe,
        Capture(network, "client") as capture,
    ):
        probe.send(request(1, size=BASE) + _tlv(_RETURN_PATH, _address("10.98.0.77")), network.target[4])
        reply = other.receive()
        assert capture.read().count("client", "back") == 1
    assert _flags([reply]) == OBEYED


def test_segments_and_an_address_go_together(obeying: SteeredNetwork) -> None:
    obeying.client.ip("address add fd98:0::77/64 nodad dev " + device("a"))
    with (
        Probe(obeying.client, 6, "fd98:0::77", 50_001) as other,
        Probe(obeying.client, 6, obeying.source[6], 50_001) as probe,
        Capture(obeying) as capture,
    ):
        chain = _tlv(_RETURN_PATH, _address("fd98:0::77") + _segments(obeying.sid("d")))
        probe.send(request(1, size=BASE) + chain, obeying.target[6])
        reply = other.receive()
        assert capture.read().seen() == {"b": (1, 0), "d": (0, 1)}
    assert _flags([reply]) == OBEYED


def test_the_same_link_is_that_of_arrival(tmp_path: Path) -> None:
    """By a second link between e and the server come the requests; plain replies would take the first."""
    same_link = _tlv(_CONTROL_CODE, struct.pack("!I", 1))
    with SteeredNetwork() as network, ReflectorProgram(network.server, tmp_path, *_ALLOW):
        e, server = network.nodes["e"], network.server
        e.ip(
            f"link add second type veth peer name second netns {server.name}",
            "link set second up",
            "address add fd98:9::1/64 dev second nodad",
        )
        server.ip("link set second up", "address add fd98:9::2/64 dev second nodad")
        e.ip(f"route add {network.target[6]}/128 via fd98:9::2")
        with Probe(network.client, 6) as probe, Capture(network, "e") as capture:
            capture.add(e, "second", "second")
            assert _flags(_ask(probe, network.target[6])) == {(0x40, _RETURN_PATH)}, "an empty one is malformed"
            plain = capture.read().count("e", "back")
            assert (plain, capture.count("second", "back")) == (COUNT, 0)
            # There is no way back by that link yet: the reply comes nevertheless, and says that it could not.
            assert _flags(_ask(probe, network.target[6], same_link, count=3)) == REFUSED
            assert capture.read().count("second", "back") == 0
            server.ip("route add default via fd98:9::1 metric 4096")
            # What is known of a link holds for a second.
            until(lambda: _flags(_ask(probe, network.target[6], same_link, count=1)) == OBEYED, "the link is obeyed")
            first, second = capture.read().count("e", "back"), capture.count("second", "back")
            assert _flags(_ask(probe, network.target[6], same_link)) == OBEYED
            assert (capture.read().count("e", "back"), capture.count("second", "back")) == (first, second + COUNT)


def test_no_reply_is_none_and_is_counted(shared: SteeredNetwork, tmp_path: Path, probe: Probe) -> None:
    with (
        ReflectorProgram(shared.server, tmp_path, "-l", ":8620", *_ALLOW, port=8620, name="quiet") as reflector,
        Capture(shared, "server", "client") as capture,
    ):
        chain = _tlv(_RETURN_PATH, _tlv(_CONTROL_CODE, bytes(4)))
        for number in range(COUNT):
            probe.send(request(number, size=BASE) + chain, shared.target[6], 8620)
        # One that is answered comes after them.
        probe.exchange(request(COUNT, size=BASE), shared.target[6], 8620)
        counters = reflector.ask_counters()
        assert capture.read().count("client", "back") == 0  # the capture counts port 862
    assert counters == {"test_packet:reflected": 1, "no_reply_requested:not_answered": COUNT}


@pytest.mark.parametrize(
    "path",
    [
        _segments("ff02::1"),
        _segments("::1"),
        _segments(*["fdc0:c::1"] * 17),
        _labels(3, CLIENT_POP),
        _labels(BACK_BY_C, 1),
        _labels(*[BACK_BY_C] * 17),
        _tlv(_SEGMENTS, b""),
        _tlv(_LABELS, b""),
        _address("ff02::1"),
    ],
    ids=["multicast", "loopback", "17-segments", "label-3", "label-1", "17-labels", "none", "no-label", "group"],
)
def test_what_cannot_be_done_is_answered_with_u_and_not_with_silence(
    obeying: SteeredNetwork, probe: Probe, path: bytes
) -> None:
    with Capture(obeying) as capture:
        replies = _ask(probe, obeying.target[6], path, count=3)
        assert capture.read().seen() == {"b": (3, 3)}
    assert _flags(replies) == REFUSED


def test_an_ipv4_reply_takes_no_segments(obeying: SteeredNetwork, probe4: Probe) -> None:
    assert _flags(_ask(probe4, obeying.target[4], _segments(obeying.sid("c")), count=3)) == REFUSED


def test_a_stranger_is_not_obeyed(shared: SteeredNetwork, tmp_path: Path, probe: Probe) -> None:
    with ReflectorProgram(shared.server, tmp_path, "-l", ":8621", port=8621, name="strict") as reflector:
        for path in (_segments(shared.sid("c")), _labels(BACK_BY_C), _address("fd98:0::77")):
            assert _flags(_ask(probe, shared.target[6], path, count=2, port=8621)) == REFUSED
        # A worker publishes its own counters once a second.
        until(lambda: reflector.ask_own_counters()["return_paths_refused"] == 6, "six refusals are counted")


def test_without_the_privilege_segments_are_obeyed_and_labels_are_not(
    shared: SteeredNetwork, tmp_path: Path, probe: Probe
) -> None:
    skip_unless_reachable("nobody")
    with ReflectorProgram(shared.server, tmp_path, "-l", ":8622", *_ALLOW, port=8622, name="user", user="nobody") as it:
        assert _flags(_ask(probe, shared.target[6], _segments(shared.sid("c")), port=8622)) == OBEYED
        assert _flags(_ask(probe, shared.target[6], _labels(BACK_BY_C, CLIENT_POP), port=8622)) == REFUSED
        it.ask_counters()
    assert "CAP_NET_RAW" in it.stdout


def test_a_crowd_of_requesters_finds_its_next_hops_within_bounds(
    obeying: SteeredNetwork, switched: dict[str, LabelSwitch]
) -> None:
    """Next hops are looked up a bounded number of times a second: the others are told U, and nobody gets no reply."""
    del switched
    client = obeying.client
    many = [f"10.98.0.{host}" for host in range(100, 250)]
    client.ip(*(f"address add {address}/24 dev {device('a')}" for address in many))
    told = []
    for address in many:
        with Probe(client, 4, address) as probe:
            (reply,) = _ask(probe, obeying.target[4], _labels(BACK_BY_C, CLIENT_POP), count=1)
            told.append(_flags([reply]) == OBEYED)
    client.ip(*(f"address delete {address}/24 dev {device('a')}" for address in many))
    assert told.count(True) >= 64
