"""Ethernet frames that carry IPv4 or IPv6 and UDP: reading, changing and building them.

Only what the impairing forwarder, the captures and the forging tests need. A label stack before the IP packet and a
segment routing header within it are read past; other extension headers and IPv4 options are not, and frames that have
them (or are fragments, or carry anything but UDP) are not recognised as UDP and pass unchanged.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Self, cast

ETHERNET_LEN = 14
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_MPLS = 0x8847
IPV4_LEN = 20
IPV6_LEN = 40
UDP_LEN = 8
PROTOCOL_ICMP = 1
PROTOCOL_UDP = 17
PROTOCOL_ROUTING = 43
ROUTING_TYPE_SEGMENTS = 4
PROTOCOL_ICMPV6 = 58


def internet_checksum(octets: bytes) -> int:
    """The ones' complement checksum of RFC 1071."""
    if len(octets) % 2:
        octets += b"\x00"
    total = sum(cast("tuple[int, ...]", struct.unpack(f"!{len(octets) // 2}H", octets)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@dataclass(slots=True)
class UdpFrame:
    """A whole frame that carries one unfragmented UDP datagram, changeable in place."""

    octets: bytearray
    version: int
    ip_offset: int = ETHERNET_LEN
    """Behind the label stack, where there is one."""
    udp_offset: int = ETHERNET_LEN + IPV4_LEN
    """Behind the segment routing header, where there is one."""

    @classmethod
    def parse(cls, frame: bytes) -> Self | None:
        """The frame as UDP over IP, or None when it is anything else."""
        try:
            return cls._parse(frame)
        except (struct.error, IndexError):
            return None

    @classmethod
    def _parse(cls, frame: bytes) -> Self | None:
        (ethertype,) = struct.unpack_from("!H", frame, 12)
        ip = ETHERNET_LEN
        if ethertype == ETHERTYPE_MPLS:
            while not frame[ip + 2] & 1:
                ip += 4
            ip += 4
            ethertype = ETHERTYPE_IPV4 if frame[ip] >> 4 == 4 else ETHERTYPE_IPV6
        if ethertype == ETHERTYPE_IPV4:
            (fragment,) = struct.unpack_from("!H", frame, ip + 6)
            plain = frame[ip] == 0x45 and not fragment & 0x3FFF
            version, protocol, udp = 4, frame[ip + 9] if plain else -1, ip + IPV4_LEN
        elif ethertype == ETHERTYPE_IPV6:
            version, protocol, udp = 6, frame[ip + 6], ip + IPV6_LEN
            if protocol == PROTOCOL_ROUTING and frame[udp + 2] == ROUTING_TYPE_SEGMENTS:
                protocol, udp = frame[udp], udp + 8 + 8 * frame[udp + 1]
        else:
            return None
        if protocol != PROTOCOL_UDP or len(frame) < udp + UDP_LEN:
            return None
        return cls(bytearray(frame), version, ip, udp)

    @property
    def labels(self) -> list[int]:
        """The label stack, top first."""
        entries = range(ETHERNET_LEN, self.ip_offset, 4)
        return [int(struct.unpack_from("!I", self.octets, at)[0]) >> 12 for at in entries]

    @property
    def label_entries(self) -> list[tuple[int, int, int, int]]:
        """(label, Traffic Class, bottom of stack, TTL) of each entry, top first."""
        words = [struct.unpack_from("!I", self.octets, at)[0] for at in range(ETHERNET_LEN, self.ip_offset, 4)]
        return [(word >> 12, word >> 9 & 7, word >> 8 & 1, word & 0xFF) for word in words]

    @property
    def segments_left(self) -> int | None:
        """Of the segment routing header, None where there is none."""
        header = self.ip_offset + IPV6_LEN
        return None if self.version == 4 or self.udp_offset == header else self.octets[header + 3]

    @property
    def final_destination(self) -> bytes:
        """Where the packet goes in the end: the last segment, or the destination itself."""
        if self.segments_left is not None:
            at = self.ip_offset + IPV6_LEN + 8
            return bytes(self.octets[at : at + 16])
        at, length = (self.ip_offset + 16, 4) if self.version == 4 else (self.ip_offset + 24, 16)
        return bytes(self.octets[at : at + length])

    @property
    def payload_offset(self) -> int:
        return self.udp_offset + UDP_LEN

    @property
    def payload(self) -> bytes:
        """The UDP payload, without Ethernet padding."""
        (udp_len,) = struct.unpack_from("!H", self.octets, self.udp_offset + 4)
        return bytes(self.octets[self.payload_offset : self.udp_offset + udp_len])

    @property
    def source(self) -> tuple[str, int]:
        return self._address(12 if self.version == 4 else 8), self._word(self.udp_offset)

    @property
    def destination(self) -> tuple[str, int]:
        return self._address(16 if self.version == 4 else 24), self._word(self.udp_offset + 2)

    @property
    def traffic_class(self) -> int:
        """The octet of DSCP and ECN (IPv4 TOS, IPv6 Traffic Class)."""
        if self.version == 4:
            return self.octets[self.ip_offset + 1]
        return (self._word(self.ip_offset) >> 4) & 0xFF

    @traffic_class.setter
    def traffic_class(self, value: int) -> None:
        if self.version == 4:
            self.octets[self.ip_offset + 1] = value
        else:
            word = self._word(self.ip_offset)
            struct.pack_into("!H", self.octets, self.ip_offset, (word & 0xF00F) | (value << 4))

    @property
    def ttl(self) -> int:
        """IPv4 TTL or IPv6 Hop Limit."""
        return self.octets[self.ip_offset + (8 if self.version == 4 else 7)]

    @ttl.setter
    def ttl(self, value: int) -> None:
        self.octets[self.ip_offset + (8 if self.version == 4 else 7)] = value

    def write_checksums(self) -> None:
        """Recompute the IPv4 header's and the UDP checksum.

        A frame taken from a veth may carry only the pseudo-header's sum (the kernel leaves the rest to a device that
        does not exist), so every forwarded frame needs this, changed or not.
        """
        (udp_len,) = struct.unpack_from("!H", self.octets, self.udp_offset + 4)
        ip = self.ip_offset
        if self.version == 4:
            struct.pack_into("!H", self.octets, ip + 10, 0)
            header = bytes(self.octets[ip : ip + IPV4_LEN])
            struct.pack_into("!H", self.octets, ip + 10, internet_checksum(header))
            source = header[12:16]
        else:
            source = bytes(self.octets[ip + 8 : ip + 24])
        addresses = source + self.final_destination
        struct.pack_into("!H", self.octets, self.udp_offset + 6, 0)
        datagram = bytes(self.octets[self.udp_offset : self.udp_offset + udp_len])
        pseudo = addresses + struct.pack("!IBBBB", udp_len, 0, 0, 0, PROTOCOL_UDP)
        checksum = internet_checksum(pseudo + datagram) or 0xFFFF
        struct.pack_into("!H", self.octets, self.udp_offset + 6, checksum)

    def _word(self, offset: int) -> int:
        return int(struct.unpack_from("!H", self.octets, offset)[0])

    def _address(self, offset: int) -> str:
        start = self.ip_offset + offset
        length = 4 if self.version == 4 else 16
        return str(ipaddress.ip_address(bytes(self.octets[start : start + length])))


def build_udp_frame(
    *,
    source_mac: bytes,
    destination_mac: bytes,
    source: tuple[str, int],
    destination: tuple[str, int],
    payload: bytes,
    ttl: int = 255,
    traffic_class: int = 0,
) -> bytes:
    """A complete frame with valid checksums; the family is that of the addresses."""
    source_ip = ipaddress.ip_address(source[0])
    destination_ip = ipaddress.ip_address(destination[0])
    udp_len = UDP_LEN + len(payload)
    if source_ip.version == 4:
        header = struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            traffic_class,
            IPV4_LEN + udp_len,
            0,
            0x4000,
            ttl,
            PROTOCOL_UDP,
            0,
            source_ip.packed,
            destination_ip.packed,
        )
        ethertype = ETHERTYPE_IPV4
    else:
        header = struct.pack(
            "!IHBB16s16s",
            (6 << 28) | (traffic_class << 20),
            udp_len,
            PROTOCOL_UDP,
            ttl,
            source_ip.packed,
            destination_ip.packed,
        )
        ethertype = ETHERTYPE_IPV6
    udp = struct.pack("!HHHH", source[1], destination[1], udp_len, 0)
    ethernet = destination_mac + source_mac + struct.pack("!H", ethertype)
    frame = UdpFrame.parse(ethernet + header + udp + payload)
    assert frame is not None
    frame.write_checksums()
    return bytes(frame.octets)


def icmp_kind(frame: bytes) -> tuple[int, int] | None:
    """(type, code) when the frame carries ICMP or ICMPv6, else None."""
    if len(frame) < ETHERNET_LEN + IPV4_LEN + 2:
        return None
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    if ethertype == ETHERTYPE_IPV4 and frame[ETHERNET_LEN + 9] == PROTOCOL_ICMP:
        offset = ETHERNET_LEN + IPV4_LEN
    elif ethertype == ETHERTYPE_IPV6 and frame[ETHERNET_LEN + 6] == PROTOCOL_ICMPV6:
        offset = ETHERNET_LEN + IPV6_LEN
    else:
        return None
    if len(frame) < offset + 2:
        return None
    return frame[offset], frame[offset + 1]
