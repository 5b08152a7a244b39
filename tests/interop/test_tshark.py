"""Wireshark's TWAMP-Test dissector (Debian's tshark) on what both programs sent.

It tells a request from a reply by the length alone (41 octets or more is a reply), so requests are kept shorter here,
and STAMP is judged by its replies, whose layout TWAMP's is (RFC 8762 section 4.6).
"""

import datetime as dt
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest
from scapy.contrib.stamp import STAMPSessionReflectorTestUnauthenticated
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import wrpcap

from twoway._native import catalogue

from .relay import Recorded

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
_SENDER_PORT, _REFLECTOR_PORT = 40_000, 862
_SENDER_FIELDS = ("seq_number", "timestamp", "error_estimate")
_REFLECTOR_FIELDS = (
    *_SENDER_FIELDS,
    "mbz1",
    "receive_timestamp",
    "sender_seq_number",
    "sender_timestamp",
    "sender_error_estimate",
    "sender_ttl",
)


@pytest.fixture(autouse=True)
def _needs_tshark(request: pytest.FixtureRequest) -> None:
    if shutil.which("tshark") is None:
        pytest.skip(f"{request.node.name}: the program tshark is not installed (Debian package tshark)")


def _wall_ns(text: str) -> int:
    """Of an absolute time as tshark prints it in UTC: "Nov 23, 2026 06:34:11.123456789 UTC"."""
    whole, fraction = text.removesuffix(" UTC").rsplit(".", 1)
    moment = dt.datetime.strptime(whole, "%b %d, %Y %H:%M:%S").replace(tzinfo=dt.UTC)
    return int(moment.timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def _decode(folder: Path, packets: list[bytes], *, replies: bool) -> list[dict[str, str]]:
    """Each packet's fields by tshark's names, as text."""
    pcap = folder / "packets.pcap"
    source, destination = (_REFLECTOR_PORT, _SENDER_PORT) if replies else (_SENDER_PORT, _REFLECTOR_PORT)
    header = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=source, dport=destination)
    frames = [header / Raw(octets) for octets in packets]
    wrpcap(str(pcap), frames, linktype=101)  # LINKTYPE_RAW: starts with the IP header
    names = _REFLECTOR_FIELDS if replies else _SENDER_FIELDS
    command = ["tshark", "-n", "-r", str(pcap), "-d", f"udp.port=={_REFLECTOR_PORT},twamp.test", "-T", "fields"]
    command += ["-E", "separator=|"]
    for name in names:
        command += ["-e", f"twamp.test.{name}"]
    done = subprocess.run(
        [*command, "-e", "_ws.malformed"],
        env={**os.environ, "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    decoded = []
    for line in done.stdout.splitlines():
        *values, malformed = line.split("|")
        assert not malformed
        decoded.append(dict(zip(names, values, strict=True)))
    assert len(decoded) == len(packets)
    return decoded


def _check_replies(recorded: Recorded, decoded: list[dict[str, str]], requests: list[bytes]) -> None:
    """The dissector's values are those of the JSON result."""
    clock = recorded.section("clock")
    for fields, sample, request in zip(decoded, recorded.samples, requests, strict=True):
        assert int(fields["sender_seq_number"]) == sample["sequence"]
        assert int(fields["seq_number"]) == sample["reflector_sequence"]
        assert abs(_wall_ns(fields["receive_timestamp"]) - sample["t2_ns"]) <= 1
        assert abs(_wall_ns(fields["timestamp"]) - sample["t3_ns"]) <= 1
        assert int(fields["sender_ttl"]) == sample["sender_ttl"] == 77
        assert int(fields["sender_error_estimate"], 0) == int.from_bytes(request[12:14])
        estimate = int(fields["error_estimate"], 0)
        assert bool(estimate & 0x8000) == clock["far_synchronized"]
        assert not estimate & 0x4000
        if clock["far_error_ns"] is not None:
            error_ns = (estimate & 0xFF) * 2.0 ** ((estimate >> 8 & 0x3F) - 32) * 1e9
            assert clock["far_error_ns"] == pytest.approx(error_ns, rel=0.01, abs=1)


@pytest.mark.parametrize("kind", ["light", "light_padded"])
def test_light_requests(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    recorded: Recorded = request.getfixturevalue(kind)
    decoded = _decode(tmp_path, recorded.exchange.requests, replies=False)
    for fields, sample, octets in zip(decoded, recorded.samples, recorded.exchange.requests, strict=True):
        assert int(fields["seq_number"]) == sample["sequence"]
        # The packet says when it was to leave; the result has the kernel's stamp of when it left.
        assert abs(sample["t1_ns"] - _wall_ns(fields["timestamp"])) < 10**8
        assert int(fields["error_estimate"], 0) == int.from_bytes(octets[12:14])


@pytest.mark.parametrize("kind", ["light", "light_padded", "stamp", "stamp_padded"])
def test_replies(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    recorded: Recorded = request.getfixturevalue(kind)
    decoded = _decode(tmp_path, recorded.exchange.replies, replies=True)
    _check_replies(recorded, decoded, recorded.exchange.requests)
    for fields in decoded:
        # RFC 8972 section 3 puts the SSID where TWAMP has two MBZ octets.
        assert int(fields["mbz1"], 0) == (4660 if kind.startswith("stamp") else 0)


def test_echoed_departure(tmp_path: Path, light: Recorded) -> None:
    requests = _decode(tmp_path, light.exchange.requests, replies=False)
    replies = _decode(tmp_path, light.exchange.replies, replies=True)
    assert [each["sender_timestamp"] for each in replies] == [each["timestamp"] for each in requests]


def _dissected_by_name() -> set[str]:
    """TLVs that the TWAMP-Test dissector has fields for, by a word of their names."""
    done = subprocess.run(["tshark", "-G", "fields"], capture_output=True, text=True, timeout=60, check=True)
    fields = [line.split("\t")[2] for line in done.stdout.splitlines() if line.startswith("F\t")]
    return {field for field in fields if field.startswith("twamp.test.") and "tlv" in field}


NOT_DISSECTED: Final = (
    "access-report",
    "class-of-service",
    "destination-node-address",
    "direct-measurement",
    "extra-padding",
    "follow-up-telemetry",
    "hmac",
    "location",
    "micro-session-id",
    "reflected-fixed-header",
    "reflected-ipv6-extension-header",
    "reflected-test-packet-control",
    "return-path",
    "timestamp-information",
)
"""What Wireshark 4.0 has no fields for: all TLVs are padding to it."""


def test_tlvs_are_padding_to_wireshark(tmp_path: Path) -> None:
    """Every one, with all its octets; a version that knows more fails here."""
    types = {name: code for name, (code, _) in catalogue()["tlv_types"].items()}
    assert tuple(sorted(types)) == NOT_DISSECTED
    assert _dissected_by_name() == set(), "this Wireshark dissects TLVs: compare what it says of them"
    entries = tomllib.loads((VECTORS / "tlvs.toml").read_text(encoding="utf-8"))["tlv"]
    chains = [bytes.fromhex(entry["reply"]) for entry in entries if "reply" in entry]
    there = {
        tlv.type for chain in chains for tlv in STAMPSessionReflectorTestUnauthenticated(bytes(44) + chain).tlv_objects
    }
    assert there >= set(types.values())
    pcap = tmp_path / "tlvs.pcap"
    header = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=_REFLECTOR_PORT, dport=_SENDER_PORT)
    wrpcap(str(pcap), [header / Raw(bytes(44) + chain) for chain in chains], linktype=101)
    command = ["tshark", "-n", "-r", str(pcap), "-d", f"udp.port=={_REFLECTOR_PORT},twamp.test", "-T", "fields"]
    command += ["-E", "separator=|", "-e", "twamp.test.padding", "-e", "_ws.malformed"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    # Its TWAMP replies have 41 octets: the last three of STAMP's 44 are padding to it, too.
    assert printed.splitlines() == [f"{(bytes(3) + chain).hex()}|" for chain in chains]
