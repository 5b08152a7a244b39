"""Scapy's STAMP layer (scapy.contrib.stamp): it decodes what we send as we mean it, and we what it builds.

Flags of TLVs are compared as octets: Scapy 2.8 names them from the least significant bit, so what it calls U is 0x01,
while RFC 8972 section 4 draws U as the first, most significant bit.
"""

import json
import socket
import subprocess
import time
import tomllib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest
from scapy.contrib.stamp import (
    ErrorEstimate,
    STAMPSessionReflectorTestUnauthenticated,
    STAMPSessionSenderTestUnauthenticated,
    STAMPTestTLV,
)

from twoway._native import catalogue, decode_test_packet

from .relay import LOOPBACK, TWOWAY, Recorded, ReflectorProcess

_NTP_UNIX_S: Final = 2_208_988_800
_BOUND_S: Final = 20.0
_RESIDENCE_S: Final = 20e-6
"""More than the floating-point seconds of Scapy's layer lose."""
_U: Final = 0x80
VECTORS: Final = Path(__file__).resolve().parents[2] / "vectors"


def _ntp_ns(raw: Any) -> int:  # noqa: ANN401  # Scapy has no types
    """Scapy keeps an NTP timestamp as its 64 bits, or as seconds since 1900 in fixed point."""
    value = int(raw) if isinstance(raw, int) else round(Fraction(raw) * 2**32)
    return (value >> 32) * 10**9 + ((value & 0xFFFF_FFFF) * 10**9 >> 32) - _NTP_UNIX_S * 10**9


@pytest.mark.parametrize("kind", ["stamp", "stamp_padded", "stamp_ptp"])
def test_requests(kind: str, request: pytest.FixtureRequest) -> None:
    recorded: Recorded = request.getfixturevalue(kind)
    for octets, sample in zip(recorded.exchange.requests, recorded.samples, strict=True):
        packet = STAMPSessionSenderTestUnauthenticated(octets)
        assert packet.seq == sample["sequence"]
        assert packet.ssid == (0 if kind == "stamp_ptp" else 4660)
        assert packet.mbz == 0
        estimate = packet.err_estimate
        assert bool(estimate.Z) is (kind == "stamp_ptp")
        assert estimate.multiplier > 0
        assert bool(estimate.S) == recorded.section("clock")["local_synchronized"]
        if kind == "stamp_ptp":
            seconds, nanoseconds = divmod(int(packet.ts), 2**32)
            written_ns = seconds * 10**9 + nanoseconds
        else:
            written_ns = _ntp_ns(packet.ts)
        # The packet says when it was to leave; the result has the kernel's stamp of when it left.
        assert abs(sample["t1_ns"] - written_ns) < 10**8
        padding = [(int(tlv.flags), tlv.type, tlv.len, len(tlv.value)) for tlv in packet.tlv_objects]
        # RFC 8972 sections 4 and 4.1: the Session-Sender sets U; 56 octets less the header are the padding.
        assert padding == ([(_U, 1, 52, 52)] if kind == "stamp_padded" else [])


@pytest.mark.parametrize("kind", ["stamp", "stamp_padded", "stamp_ptp"])
def test_replies(kind: str, request: pytest.FixtureRequest) -> None:
    recorded: Recorded = request.getfixturevalue(kind)
    clock = recorded.section("clock")
    packets = zip(recorded.exchange.requests, recorded.exchange.replies, recorded.samples, strict=True)
    for asked, octets, sample in packets:
        packet = STAMPSessionReflectorTestUnauthenticated(octets)
        assert (packet.seq, packet.seq_sender) == (sample["reflector_sequence"], sample["sequence"])
        assert packet.ttl_sender == sample["sender_ttl"] == 77
        assert packet.ssid == (0 if kind == "stamp_ptp" else 4660)
        assert (packet.mbz1, packet.mbz2) == (0, 0)
        assert bytes(packet)[28:38] == asked[4:14], "the Session-Sender's timestamp and Error Estimate, copied"
        estimate = packet.err_estimate
        assert bool(estimate.S) == clock["far_synchronized"]
        assert estimate.Z == 0, "the reflector has its own format, whatever the request's"
        assert abs(_ntp_ns(packet.ts_rx) - sample["t2_ns"]) <= 1
        assert abs(_ntp_ns(packet.ts) - sample["t3_ns"]) <= 1
        if clock["far_error_ns"] is not None:
            error_ns = estimate.multiplier * 2.0 ** (estimate.scale - 32) * 1e9
            assert clock["far_error_ns"] == pytest.approx(error_ns, rel=0.01, abs=1)
        if kind == "stamp_padded":
            (tlv,) = packet.tlv_objects
            assert (int(tlv.flags), tlv.type, tlv.len) == (0, 1, 52), "Extra Padding is honoured: U is cleared"


def _built(sequence: int, tlvs: Sequence[object]) -> bytes:
    seconds = time.time() + _NTP_UNIX_S
    return bytes(
        STAMPSessionSenderTestUnauthenticated(
            seq=sequence,
            ts=seconds,
            err_estimate=ErrorEstimate(S=1, Z=0, scale=5, multiplier=9),
            ssid=7,
            tlv_objects=tlvs,
        )
    )


def test_we_decode_what_scapy_builds() -> None:
    octets = _built(99, [STAMPTestTLV(flags=_U, type=1, len=3, value=b"abc"), STAMPTestTLV(flags=0, type=200, len=0)])
    decoded = decode_test_packet(
        octets,
        format="stamp",
        role="sender",
        stamp_key=None,
        twamp_aes_key=None,
        twamp_hmac_key=None,
        near_ns=time.time_ns(),
    )
    fields = decoded.fields
    assert (fields["sequence"], fields["ssid"], fields["error_estimate"]) == (99, 7, 0x8509)
    assert fields["timestamp_ns"] is not None
    assert abs(fields["timestamp_ns"] - time.time_ns()) < 60 * 10**9
    assert decoded.tlvs == [(0x80, 1, b"abc"), (0, 200, b"")]


def test_our_reflector_answers_what_scapy_builds() -> None:
    with ReflectorProcess() as reflector, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_BOUND_S)
        tlvs = [
            STAMPTestTLV(flags=_U, type=1, len=4, value=b"abcd"),
            STAMPTestTLV(flags=_U, type=250, len=2, value=b"xy"),
        ]
        asked = _built(5, tlvs)
        sender.sendto(asked, (LOOPBACK, reflector.port))
        octets = sender.recv(2000)
    assert len(octets) == len(asked)
    packet = STAMPSessionReflectorTestUnauthenticated(octets)
    assert (packet.seq, packet.seq_sender, packet.ssid) == (5, 5, 7)
    returned = [(int(tlv.flags), tlv.type, bytes(tlv.value)) for tlv in packet.tlv_objects]
    assert returned == [(0, 1, b"abcd"), (_U, 250, b"xy")], "what is not known comes back with U"


def test_our_sender_takes_what_scapy_answers() -> None:
    """A Session-Reflector made of Scapy's layer; the JSON result says what it put into its replies."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reflector:
        reflector.bind((LOOPBACK, 0))
        reflector.settimeout(_BOUND_S)
        port = reflector.getsockname()[1]
        command = [TWOWAY, "ping", "-c", "3", "-i", "5ms", "-W", "1s", "--ssid", "9", "--json", "--samples"]
        with subprocess.Popen([*command, f"{LOOPBACK}:{port}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ping:
            claimed: dict[int, tuple[int, int]] = {}
            for number in range(3):
                octets, sender = reflector.recvfrom(2000)
                asked = STAMPSessionSenderTestUnauthenticated(octets)
                came = time.time() + _NTP_UNIX_S
                answer = STAMPSessionReflectorTestUnauthenticated(
                    seq=1000 + number,
                    ts=came + _RESIDENCE_S,
                    err_estimate=ErrorEstimate(S=1, Z=0, scale=10, multiplier=200),
                    ssid=asked.ssid,
                    ts_rx=came,
                    seq_sender=asked.seq,
                    ts_sender=asked.ts,
                    err_estimate_sender=asked.err_estimate,
                    ttl_sender=33,
                )
                claimed[asked.seq] = (_ntp_ns(answer.ts_rx), _ntp_ns(answer.ts))
                reply = bytearray(bytes(answer))
                reply[28:38] = octets[4:14]  # Scapy's floating-point seconds lose the last bits of T1
                reflector.sendto(bytes(reply), sender)
            stdout, stderr = ping.communicate(timeout=_BOUND_S)
    assert ping.returncode == 0, stderr
    document = json.loads(stdout)
    assert document["packets"]["received"] == 3
    assert document["clock"]["far_synchronized"] is True
    assert document["clock"]["far_error_ns"] == pytest.approx(200 * 2.0 ** (10 - 32) * 1e9, rel=0.01)
    for sample in document["samples"]:
        assert sample["reflector_sequence"] == 1000 + sample["sequence"]
        assert sample["sender_ttl"] == 33
        assert sample["residence_ns"] == sample["t3_ns"] - sample["t2_ns"] > 0
        t2_ns, t3_ns = claimed[sample["sequence"]]
        # Scapy's timestamps are floating point: half a microsecond is the best that they can say.
        assert abs(sample["t2_ns"] - t2_ns) < 1_000
        assert abs(sample["t3_ns"] - t3_ns) < 1_000


def _tlv_vectors() -> list[object]:
    """(who sends, what follows the base packet) of each entry of `vectors/tlvs.toml`."""
    entries = tomllib.loads((VECTORS / "tlvs.toml").read_text(encoding="utf-8"))["tlv"]
    return [
        pytest.param(role, bytes.fromhex(entry[side]), id=f"{entry['name']}-{side}")
        for entry in entries
        for role, side in (("sender", "request"), ("reflector", "reply"))
        if side in entry
    ]


@pytest.mark.parametrize(("role", "chain"), _tlv_vectors())
def test_tlvs_of_every_type_are_the_same_to_both(role: str, chain: bytes) -> None:
    """Scapy has no fields for any Value: it says where each TLV begins and ends, its type and its flags."""
    layer = STAMPSessionSenderTestUnauthenticated if role == "sender" else STAMPSessionReflectorTestUnauthenticated
    base = bytes(layer(seq=3, ssid=7, err_estimate=ErrorEstimate(S=1, Z=0, scale=5, multiplier=9)))
    read = [(int(tlv.flags), tlv.type, bytes(tlv.value)) for tlv in layer(base + chain).tlv_objects]
    decoded = decode_test_packet(
        base + chain,
        format="stamp",
        role=role,
        stamp_key=None,
        twamp_aes_key=None,
        twamp_hmac_key=None,
        near_ns=time.time_ns(),
    )
    assert decoded.tlvs == read
    written = [STAMPTestTLV(flags=flags, type=kind, len=len(value), value=value) for flags, kind, value in read]
    assert b"".join(map(bytes, written)) == chain


def test_our_reflector_answers_every_type_that_scapy_builds() -> None:
    """Each alone, as the vectors' first entry of that type asks for it: it comes back in its place, and as long."""
    entries = tomllib.loads((VECTORS / "tlvs.toml").read_text(encoding="utf-8"))["tlv"]
    types = {code for code, _ in catalogue()["tlv_types"].values()}
    asked: dict[int, STAMPTestTLV] = {}
    for entry in entries:
        packet = STAMPSessionSenderTestUnauthenticated(_built(1, []) + bytes.fromhex(entry["request"]))
        for tlv in packet.tlv_objects:
            # One with no reply is no question to a Session-Reflector that obeys it; ours obeys no stranger.
            if tlv.type in types:
                asked.setdefault(tlv.type, tlv)
    assert set(asked) == types
    asked[9] = STAMPTestTLV(flags=_U, type=9, len=4, value=socket.inet_aton(LOOPBACK))
    with ReflectorProcess("--stateful", "--reflect-headers") as reflector:
        for number, (kind, tlv) in enumerate(sorted(asked.items())):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_BOUND_S)
                request = _built(number, [tlv])
                sender.sendto(request, (LOOPBACK, reflector.port))
                reply = sender.recv(2000)
            assert len(reply) == len(request), kind
            (returned,) = STAMPSessionReflectorTestUnauthenticated(reply).tlv_objects
            assert (returned.type, returned.len) == (kind, tlv.len)
            # No key verifies an HMAC TLV here, nobody is obeyed, and there is no member link nor extension header.
            expected = {8: 0x20, 10: _U, 11: _U, 12: _U, 246: 0x10}.get(kind, 0)
            assert int(returned.flags) == expected, kind
