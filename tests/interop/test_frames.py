"""Frames and routing headers as Scapy reads them, and as Wireshark does."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrSegmentRouting
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

from twoway._native import make_frame, make_routing_header
from twoway.path import MOST_LABELS, MOST_SEGMENTS

if TYPE_CHECKING:
    from pathlib import Path

_MACS = (b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02")
_ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)
_PORT = st.integers(1, 0xFFFF)
_OCTET = st.integers(0, 0xFF)
_SEGMENT = st.ip_addresses(v=6, network="2001:db8::/32").map(str)


def _checksum(packet: Ether) -> int:
    """What Scapy makes the UDP checksum when it fills it in itself."""
    copy = Ether(bytes(packet))
    del copy[UDP].chksum
    return int(Ether(bytes(copy))[UDP].chksum)


@given(
    addresses=_ADDRESSES,
    ports=st.tuples(_PORT, _PORT),
    labels=st.lists(st.integers(0, 0xFFFFF), max_size=MOST_LABELS),
    marks=st.tuples(_OCTET, _OCTET),
    payload=st.binary(max_size=200),
)
def test_scapy_reads_a_frame_as_it_was_meant(
    addresses: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
    ports: tuple[int, int],
    labels: list[int],
    marks: tuple[int, int],
    payload: bytes,
) -> None:
    dscp_ecn, ttl = marks
    source, destination = map(str, addresses)
    octets = make_frame(
        payload,
        source_mac=_MACS[0],
        destination_mac=_MACS[1],
        labels=labels,
        source=(source, ports[0]),
        destination=(destination, ports[1]),
        dscp_ecn=dscp_ecn,
        ttl=ttl,
    )
    frame = Ether(octets)
    assert (frame.src, frame.dst) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    inner = frame.payload
    for place, label in enumerate(labels):
        assert isinstance(inner, MPLS)
        bottom = place + 1 == len(labels)
        assert (inner.label, inner.cos, inner.s, inner.ttl) == (label, dscp_ecn >> 5, int(bottom), ttl)
        inner = inner.payload
    if isinstance(inner, IP):
        assert (inner.src, inner.dst, inner.tos, inner.ttl) == (source, destination, dscp_ecn, ttl)
        given_checksum = inner.chksum
        del inner.chksum
        assert IP(bytes(inner)).chksum == given_checksum
    else:
        assert isinstance(inner, IPv6)
        assert tuple(map(ipaddress.ip_address, (inner.src, inner.dst))) == addresses
        assert (inner.tc, inner.hlim) == (dscp_ecn, ttl)
        assert inner.fl
    assert (inner[UDP].sport, inner[UDP].dport) == ports
    assert bytes(inner[UDP].payload) == payload
    assert inner[UDP].chksum == _checksum(Ether(octets))


@given(st.lists(_SEGMENT, min_size=1, max_size=MOST_SEGMENTS))
def test_scapy_reads_a_routing_header_as_it_was_meant(segments: list[str]) -> None:
    header = IPv6ExtHdrSegmentRouting(make_routing_header(segments))
    assert (header.type, header.segleft, header.lastentry) == (4, len(segments), len(segments))
    assert list(header.addresses) == ["::", *reversed(segments)]


@pytest.mark.parametrize(("source", "destination"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
@pytest.mark.parametrize("labels", [[], [16001], [16001, 24005, 1048575]])
def test_wireshark_finds_nothing_wrong(
    tmp_path: Path, source: str, destination: str, labels: list[int], request: pytest.FixtureRequest
) -> None:
    if shutil.which("tshark") is None:
        pytest.skip(f"{request.node.name}: the program tshark is not installed (Debian package tshark)")
    frames = [
        make_frame(
            bytes(range(size)),
            source_mac=_MACS[0],
            destination_mac=_MACS[1],
            labels=labels,
            source=(source, 40000),
            destination=(destination, 50000),
            dscp_ecn=0xB8,
            ttl=64,
        )
        for size in (14, 45, 112)
    ]
    pcap = tmp_path / "frames.pcap"
    wrpcap(str(pcap), [Ether(frame) for frame in frames], linktype=1)
    command = ["tshark", "-n", "-r", str(pcap), "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]
    command += ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    for name in ("mpls.label", "mpls.exp", "mpls.ttl", "udp.checksum.status", "ip.checksum.status", "udp.length"):
        command += ["-e", name]
    printed = subprocess.run(
        [*command, "-e", "_ws.malformed"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    rows = [line.split("|") for line in printed.splitlines()]
    ip_status = "1" if "." in source else ""
    stack = [",".join(map(str, labels)), ",".join("5" for _ in labels), ",".join("64" for _ in labels)]
    assert rows == [[*stack, "1", ip_status, str(8 + size), ""] for size in (14, 45, 112)]


@pytest.mark.parametrize("count", [1, 2, 15])
def test_wireshark_reads_a_routing_header_as_it_was_meant(
    tmp_path: Path, count: int, request: pytest.FixtureRequest
) -> None:
    if shutil.which("tshark") is None:
        pytest.skip(f"{request.node.name}: the program tshark is not installed (Debian package tshark)")
    segments = [f"2001:db8::{number:x}" for number in range(1, count + 1)]
    header = bytearray(make_routing_header(segments))
    # As the kernel fills in what is its: what comes next, and the destination in the last place of the list.
    header[0] = 17
    header[8:24] = ipaddress.ip_address("2001:db8::ff").packed
    udp = UDP(sport=40000, dport=862) / Raw(bytes(44))
    packet = IPv6(src="2001:db8::100", dst=segments[0], nh=43) / Raw(bytes(header)) / udp
    pcap = tmp_path / "routing.pcap"
    wrpcap(str(pcap), [packet], linktype=101)
    command = ["tshark", "-n", "-r", str(pcap), "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]
    names = ("type", "segleft", "len_oct", "srh.last_entry", "srh.addr", "nxt", "invalid_length", "invalid_segleft")
    for name in names:
        command += ["-e", f"ipv6.routing.{name}"]
    printed = subprocess.run(
        [*command, "-e", "udp.dstport", "-e", "_ws.malformed"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    addresses = ",".join(["2001:db8::ff", *reversed(segments)])
    wanted = ["4", str(count), str(8 + 16 * (count + 1)), str(count), addresses, "17", "", "", "862", ""]
    assert printed.rstrip("\n").split("|") == wanted
