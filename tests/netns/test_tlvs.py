"""STAMP TLVs between our two ends over real links: what the far end sees, tells and refuses, and what becomes of it."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from .measured import PingDocument, reflector_document
from .programs import TWOWAY, Finished, ForwarderProgram, ReflectorProgram, run_twoway, skip_unless_reachable
from .stamp import request
from .topology import CLIENT, CLIENT_DEVICE, SERVER, SERVER_SECOND, Topology

COUNT = 10
_KEY = "k1 text:a key of both ends\n"
_BOUND_S = 20.0


@pytest.fixture
def path(topology: Topology, tmp_path: Path) -> Iterator[Topology]:
    """The topology with frames flowing, and a key for both ends."""
    keys = tmp_path / "keys"
    keys.write_text(_KEY, encoding="ascii")
    keys.chmod(0o600)
    with ForwarderProgram(topology.middle, tmp_path):
        yield topology


def _ping(path: Topology, *options: str) -> Finished:
    return run_twoway(
        path.client.command(TWOWAY, "ping", "--json", "-c", str(COUNT), "-i", "10ms", "-W", "500ms", *options)
    )


def _answered(finished: Finished) -> PingDocument:
    assert finished.code == 0, finished.stderr
    document = PingDocument(finished.json)
    assert document.counters("sent", "received") == {"sent": COUNT, "received": COUNT}
    assert document.counters("tlv_malformed", "tlv_integrity_failed") == {"tlv_malformed": 0, "tlv_integrity_failed": 0}
    return document


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("authenticated", [False, True])
def test_what_the_far_end_tells(path: Topology, tmp_path: Path, family: int, authenticated: bool) -> None:
    asked = ("location", "timestamps", "cos=af41", "direct", "follow-up", "access-report=3gpp:available")
    options = [word for tlv in asked for word in ("--tlv", tlv)]
    if authenticated:
        options += ["--auth-key-file", str(tmp_path / "keys")]
    reflector = ("--stateful", "--location", "all", "--sync-source", "ptp", "--auth-key-file", str(tmp_path / "keys"))
    with ReflectorProgram(path.server, tmp_path, *reflector):
        document = _answered(_ping(path, "-D", "ef", *options, SERVER[family]))
    facts = {name: document.fact(name) for name in ("location_source_port", "location_destination_port")}
    session = document.document["session"]
    assert isinstance(session, dict)
    assert facts == {"location_source_port": session["local_port"], "location_destination_port": 862}
    tlvs = document.document["tlvs"]
    assert isinstance(tlvs, dict)
    assert (tlvs["location_source"], tlvs["location_destination"]) == (CLIENT[family], SERVER[family])
    assert tlvs["location_source_mac"] == path.client.mac(CLIENT_DEVICE).hex(":")
    assert (tlvs["far_sync_source_in"], tlvs["far_timestamp_out"]) == ("ptp", "software-local")
    # Nothing on the way changes a code point, and the far end's policy permits every one.
    remarked = ("remarked_forward", "remarked_backward", "dscp_refused", "location_changes", "tlv_unrecognized")
    assert document.counters(*remarked) == dict.fromkeys(remarked, 0)
    assert document.tally("returned_dscp_ecn") == {34 << 2: COUNT}
    # The first reply has none before it to tell of, and the first one that tells of a count has none to compare with.
    assert document.counter("followed_up") + document.counter("not_followed_up") == COUNT
    assert document.counter("followed_up") >= COUNT - 2
    direct = ("direct_sent", "direct_received", "direct_reflected", "direct_returned")
    assert document.counters(*direct) == dict.fromkeys(direct, COUNT - 1)
    assert document.counters("access_reports_acknowledged", "access_reports_abandoned") == {
        "access_reports_acknowledged": 1,
        "access_reports_abandoned": 0,
    }


def test_departures_are_told_of_after_somebody_had_several_replies(path: Topology, tmp_path: Path) -> None:
    keys = ("--auth-key-file", str(tmp_path / "keys"))
    allowed = ("--control-allow", f"{CLIENT[4]}/32")
    with ReflectorProgram(path.server, tmp_path, "--stateful", *keys, *allowed) as reflector:
        several = _answered(_ping(path, *keys, "--tlv-hmac", "--tlv", "control=4@1ms", SERVER[4]))
        assert several.counter("further_expected") == 3 * COUNT
        document = _answered(_ping(path, "--tlv", "follow-up", SERVER[4]))
        assert document.counter("followed_up") == COUNT - 1
        assert reflector.ask_own_counters()["transmit_stamps_lost"] == 0


@pytest.mark.parametrize("family", [4, 6])
def test_another_node_is_known_by_its_address(path: Topology, tmp_path: Path, family: int) -> None:
    with ReflectorProgram(path.server, tmp_path, "-l", f"{_host(SERVER[family])}:862"):
        ours = _answered(_ping(path, "--ssid", "5", "--tlv", f"node={SERVER[family]}", SERVER[family]))
        other = _answered(_ping(path, "--ssid", "5", "--tlv", f"node={CLIENT[family]}", SERVER[family]))
    assert (ours.counter("other_node"), other.counter("other_node")) == (0, COUNT)
    # A second address of the reflector's is its own as well (RFC 9503 section 3).
    with ReflectorProgram(path.server, tmp_path, "-l", f"{_host(SERVER[family])}:862"):
        second = _ping(path, "--ssid", "5", "--tlv", f"node={SERVER_SECOND[family]}", SERVER[family])
    # The reply comes from the address that was meant, which a connected socket does not take for an answer.
    assert (second.code, PingDocument(second.json).counter("received")) == (1, 0)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize("family", [4, 6])
def test_a_fixed_header_comes_back(path: Topology, tmp_path: Path, family: int) -> None:
    with ReflectorProgram(path.server, tmp_path, "--reflect-headers"):
        document = _answered(_ping(path, "-D", "ef", "--tlv", "fixed-header", SERVER[family]))
    assert document.tally("far_dscp_ecn") == {46 << 2: COUNT}
    assert document.counters("headers_reflected", "headers_refused") == {
        "headers_reflected": COUNT,
        "headers_refused": 0,
    }


def test_headers_are_not_told_by_default_or_without_the_privilege(path: Topology, tmp_path: Path) -> None:
    skip_unless_reachable("nobody")
    with ReflectorProgram(path.server, tmp_path):
        document = _answered(_ping(path, "--tlv", "fixed-header", SERVER[4]))
    assert document.counters("headers_refused", "tlv_unrecognized") == {
        "headers_refused": COUNT,
        "tlv_unrecognized": COUNT,
    }
    options = ("--reflect-headers", "-l", f"{SERVER[4]}:8620")
    with ReflectorProgram(path.server, tmp_path, *options, port=8620, user="nobody") as reflector:
        document = _answered(_ping(path, "--tlv", "fixed-header", f"{SERVER[4]}:8620"))
        assert reflector.stop() == 0
        assert "CAP_NET_RAW" in reflector.stdout + reflector.stderr
    # C, not U: it is done here, and could not be done this time.
    assert document.counters("headers_refused", "tlv_unrecognized") == {"headers_refused": COUNT, "tlv_unrecognized": 0}


def test_extension_headers_come_back_as_they_arrived(path: Topology, tmp_path: Path) -> None:
    # An experimental option that is skipped (RFC 4727 section 3.1) in both, by the kernel's own sender.
    hop_by_hop, destination = bytes([0, 1, 0x1E, 12, *range(12)]), bytes([0, 0, 0x1E, 4, 9, 8, 7, 6])
    tlvs = b"".join(
        struct.pack("!BBH", 0x80, kind, length) + bytes(length) for kind, length in ((247, 40), (246, 16), (246, 8))
    )
    sent = request(7, size=44) + tlvs + struct.pack("!BBH", 0x80, 246, 24) + bytes(24)
    with (
        ReflectorProgram(path.server, tmp_path, "--reflect-headers"),
        path.client.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
    ):
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, hop_by_hop)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, destination)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0xB8)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 77)
        sender.settimeout(_BOUND_S)
        sender.sendto(sent, (SERVER[6], 862))
        reply = sender.recv(2048)
    assert len(reply) == len(sent)
    flags = [reply[at] for at in (44, 88, 108, 120)]
    assert flags == [0, 0, 0, 0x10], "a header of 24 octets there was none: C"
    fixed = reply[48:88]
    assert (fixed[0] >> 4, fixed[6:8]) == (6, bytes([0, 77]))
    assert (int.from_bytes(fixed[:2], "big") >> 4) & 0xFF == 0xB8
    assert fixed[8:24] == socket.inet_pton(socket.AF_INET6, CLIENT[6])
    assert fixed[24:40] == socket.inet_pton(socket.AF_INET6, SERVER[6])
    assert int.from_bytes(fixed[4:6], "big") == len(hop_by_hop) + len(destination) + 8 + len(sent)
    # The kernel fills in what comes next: destination options, then UDP.
    assert reply[92:108] == bytes([60, *hop_by_hop[1:]])
    assert reply[112:120] == bytes([17, *destination[1:]])
    assert reply[124:] == bytes(24)


def test_several_replies_to_one_request(path: Topology, tmp_path: Path) -> None:
    keys = ("--auth-key-file", str(tmp_path / "keys"))
    control = ("--tlv", "control=4x300@2ms", "--tlv-hmac")
    allowed = ("--stateful", "--control-allow", "10.99.0.0/24", "--control-rate", "1M", *keys)
    with ReflectorProgram(path.server, tmp_path, *allowed) as reflector:
        document = _answered(_ping(path, *keys, *control, SERVER[4]))
        assert reflector.ask_counters() == {"test_packet:reflected_larger": COUNT}
        assert reflector_document(reflector.stdout)["own_counters"]["further_replies"] == 3 * COUNT
    expected = {"further_expected": 3 * COUNT, "further_replies": 3 * COUNT, "control_refused": 0}
    assert document.counters(*expected) == expected
    with ReflectorProgram(path.server, tmp_path, "--stateful", *keys):
        document = _answered(_ping(path, *keys, *control, SERVER[4]))
    expected = {"further_expected": 0, "further_replies": 0, "control_refused": COUNT}
    assert document.counters(*expected) == expected


def test_tlvs_of_a_stranger_are_not_used(path: Topology, tmp_path: Path) -> None:
    """RFC 8972 section 4.8: with an HMAC TLV that does not verify, every TLV comes back with I."""
    strange = tmp_path / "strange"
    strange.write_text("k1 text:another key\n", encoding="ascii")
    strange.chmod(0o600)
    with ReflectorProgram(path.server, tmp_path, "--auth-key-file", str(tmp_path / "keys")):
        done = _ping(path, "--auth-key-file", str(strange), "--tlv-hmac", "--tlv", "location", SERVER[4])
    document = PingDocument(done.json)
    assert document.counters("received", "tlv_integrity_failed") == {"received": COUNT, "tlv_integrity_failed": COUNT}
    tlvs = document.document["tlvs"]
    assert isinstance(tlvs, dict)
    assert tlvs["location_source"] is None
