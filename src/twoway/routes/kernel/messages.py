"""Routes and links as octets of rtnetlink(7), by pyroute2's classes: what we ask, and what we are told.

Ten thousand routes that are moved at once differ in their destinations only. So a message is encoded once for each
shape, and destination and sequence number are written into a copy: pyroute2 takes 70 µs for a message, a copy 1 µs.
What is read is parsed once for each shape, too. A test compares copies with messages that were encoded whole.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from twoway.routes.policy.reconciliation import DISCARD, Hop, Hops, How, Request, Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port of the sender."""
# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
_RTA_DST = 1
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RT_SCOPE_NOWHERE = 0, 253, 255
_RT_TABLE_COMPAT = 252
_RTM_F_CLONED = 0x200
_RTNH_F_DEAD, _RTNH_F_ONLINK, _RTNH_F_LINKDOWN = 0x1, 0x4, 0x10
_IFF_UP = 0x1  # linux/if.h
_LOOPBACK = 1
"""LOOPBACK_IFINDEX of include/net/net_namespace.h, in every namespace."""
_ROUTE = struct.Struct("=BBBBBBBBI")
"""`struct rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type, flags."""
_ATTRIBUTE = struct.Struct("=HH")
"""`struct rtattr`: length, type."""
_DESTINATION_AT = HEADER.size + _ROUTE.size + 4
"""Behind the header of its attribute, which is the first."""
_SEQUENCE_AT = 8

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104  (destinations)
_HOW = {
    How.FIRST: NLM_F_CREATE | NLM_F_EXCL,
    How.BEFORE: NLM_F_CREATE,
    How.REPLACE: NLM_F_REPLACE,
    How.APPEND: NLM_F_CREATE | NLM_F_APPEND,
    How.DELETE: 0,
}


class RouteSeen(NamedTuple):
    """A route as the kernel told of it."""

    slot: Slot
    protocol: int
    hops: Hops
    gone: bool
    dead: frozenset[Hop] = frozenset()
    """Next hops that the kernel does not use now, as their link is down."""


class LinkSeen(NamedTuple):
    """An interface as the kernel told of it."""

    ifindex: int
    name: str
    up: bool
    gone: bool
    vrf_table: int | None
    """If it is a VRF device: its table."""


# What we ask.


def route_request(request: Request, protocol: int, sequence: int) -> bytes:
    """A request as octets."""
    address, _, length = request.slot.prefix.partition("/")
    slot = request.slot
    octets = bytearray(
        _template(request.how, slot.family, int(length), slot.table, slot.priority, request.hops, protocol)
    )
    if int(length):
        packed = socket.inet_pton(_FAMILIES[slot.family], address)
        octets[_DESTINATION_AT : _DESTINATION_AT + len(packed)] = packed
    octets[_SEQUENCE_AT : _SEQUENCE_AT + 4] = sequence.to_bytes(4, "little" if _LITTLE else "big")
    return bytes(octets)


_LITTLE = struct.pack("=H", 1)[0] == 1


@lru_cache(maxsize=4096)
def _template(how: How, family: int, length: int, table: int, priority: int, hops: Hops, protocol: int) -> bytes:
    anywhere = _ANYWHERE[family]
    return encoded(Request(how, Slot(family, f"{anywhere}/{length}", table, priority), hops), protocol, 0)


def encoded(request: Request, protocol: int, sequence: int) -> bytes:
    """A request as octets, made whole."""
    how, slot, hops = request
    address, _, length = slot.prefix.partition("/")
    message = rtmsg()
    message["header"]["type"] = RTM_DELROUTE if how is How.DELETE else RTM_NEWROUTE
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | _HOW[how]
    message["header"]["sequence_number"] = sequence
    message["family"] = _FAMILIES[slot.family]
    message["dst_len"] = int(length)
    message["table"] = slot.table if slot.table < 256 else _RT_TABLE_COMPAT
    message["proto"] = protocol
    message["scope"] = _scope(how, slot, hops)
    message["type"] = _RTN_UNICAST if hops else _RTN_BLACKHOLE
    attributes: list[tuple[str, Any]] = [("RTA_DST", address)] if int(length) else []
    attributes += [("RTA_TABLE", slot.table), ("RTA_PRIORITY", slot.priority)]
    # IPv6 takes a next hop's weight in this form only, and one without a gateway only in the other.
    several = len(hops) > 1 or (slot.family == 6 and how is not How.DELETE and hops and hops[0].gateway is not None)
    if several:
        attributes.append(("RTA_MULTIPATH", [_next_hop(hop) for hop in hops]))
    elif hops:
        (hop,) = hops
        message["flags"] = _RTNH_F_ONLINK if hop.onlink and how is not How.DELETE else 0
        attributes += [("RTA_GATEWAY", hop.gateway)] if hop.gateway is not None else []
        attributes += [("RTA_OIF", hop.index)] if hop.index else []
    elif slot.family == 6 and how is How.DELETE:
        attributes.append(("RTA_OIF", _LOOPBACK))  # of a route that discards; else it would take any other
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


def _scope(how: How, slot: Slot, hops: Hops) -> int:
    if how is How.DELETE:
        return _RT_SCOPE_NOWHERE
    on_link = slot.family == 4 and hops and all(hop.gateway is None for hop in hops)
    return _RT_SCOPE_LINK if on_link else _RT_SCOPE_UNIVERSE


def _next_hop(hop: Hop) -> dict[str, Any]:
    return {
        "hops": max(hop.weight, 1) - 1,
        "oif": hop.index,
        "flags": _RTNH_F_ONLINK if hop.onlink else 0,
        "attrs": [] if hop.gateway is None else [("RTA_GATEWAY", hop.gateway)],
    }


def routes_wanted(family: int, protocol: int, sequence: int) -> bytes:
    """Ask for all routes of a family that are of this protocol (0: of any), in all tables (needs
    NETLINK_GET_STRICT_CHK)."""
    message = rtmsg()
    message["header"]["type"] = RTM_GETROUTE
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    message["header"]["sequence_number"] = sequence
    message["family"] = _FAMILIES[family]
    message["proto"] = protocol
    message.encode()
    return bytes(message.data)


def links_wanted(sequence: int) -> bytes:
    """Ask for all interfaces."""
    message = ifinfmsg()
    message["header"]["type"] = RTM_GETLINK
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    message["header"]["sequence_number"] = sequence
    message.encode()
    return bytes(message.data)


# What we are told.

_marshal = MarshalRtnl()


def split(datagram: bytes) -> Iterator[tuple[int, int, int, int, memoryview]]:
    """The messages of a datagram: type, flags, sequence number, port, and the whole of it."""
    whole, at = memoryview(datagram), 0
    while at + HEADER.size <= len(whole):
        length, kind, flags, sequence, port = HEADER.unpack_from(whole, at)
        if length < HEADER.size or at + length > len(whole):
            return
        yield kind, flags, sequence, port, whole[at : at + length]
        at += (length + 3) & ~3


def route_head(message: memoryview) -> tuple[int, int, int, bool]:
    """Family, length of the destination, protocol, and whether it is a mere cache entry: without parsing the rest."""
    family, length, _, _, _, protocol, _, _, flags = _ROUTE.unpack_from(message, HEADER.size)
    return {socket.AF_INET: 4, socket.AF_INET6: 6}.get(family, 0), length, protocol, bool(flags & _RTM_F_CLONED)


def destination(message: memoryview) -> bytes:
    """The address of a route's destination, without parsing the rest; empty for a default route."""
    begin, end = _destination_in(message)
    return bytes(message[begin:end])


def _destination_in(message: memoryview) -> tuple[int, int]:
    """Where the address of the destination begins and ends; the same twice for a default route, which has none."""
    at = HEADER.size + _ROUTE.size
    while at + 4 <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < 4:
            break
        if kind == _RTA_DST:
            return at + 4, min(at + length, len(message))
        at += (length + 3) & ~3
    return at, at


def packed(prefix: str) -> bytes:
    """The same of a prefix as people write it."""
    network = ipaddress.ip_network(prefix)
    return network.network_address.packed if network.prefixlen else b""


def is_appended(message: memoryview) -> bool:
    """Whether a route was put behind those of the same slot."""
    return bool(HEADER.unpack_from(message)[2] & NLM_F_APPEND)


def error_of(message: memoryview) -> tuple[int, str]:
    """Of NLMSG_ERROR: errno, 0 for done, and what the kernel says beside it."""
    (number,) = struct.unpack_from("=i", message, HEADER.size)
    _, _, flags, _, _ = HEADER.unpack_from(message)
    if not flags & NLM_F_ACK_TLVS:
        return -number, ""
    # The request's header is repeated, and unless that was asked not to be, the rest of it, too.
    (inner,) = struct.unpack_from("=I", message, HEADER.size + 4)
    at = HEADER.size + 4 + (HEADER.size if flags & NLM_F_CAPPED or not number else (inner + 3) & ~3)
    while at + 4 <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < 4:
            break
        if kind & 0x3FFF == NLMSGERR_ATTR_MSG:
            return -number, bytes(message[at + 4 : at + length]).rstrip(b"\0").decode(errors="replace")
        at += (length + 3) & ~3
    return -number, ""


def route_seen(message: memoryview) -> RouteSeen | None:
    """A route; None for an entry of the kernel's caches, and for another family."""
    family, length, protocol, cached = route_head(message)
    if not family or cached:
        return None
    begin, end = _destination_in(message)
    address = bytes(message[begin:end])
    shape = bytes(message[HEADER.size : begin]) + bytes(len(address)) + bytes(message[end:])
    kind = HEADER.unpack_from(message)[1]
    seen = _parsed(kind, shape)
    slot = Slot(family, f"{_address(family, address)}/{length}", seen.slot.table, seen.slot.priority)
    return RouteSeen(slot, protocol, seen.hops, seen.gone, seen.dead)


def _address(family: int, packed: bytes) -> str:
    """As `ipaddress` writes it: inet_ntop(3) writes some of IPv6 otherwise."""
    if not packed:
        return _ANYWHERE[family]
    return socket.inet_ntoa(packed) if family == 4 else str(ipaddress.IPv6Address(packed))


@lru_cache(maxsize=4096)
def _parsed(kind: int, body: bytes) -> RouteSeen:
    """A route of which everything but the destination is true."""
    (parsed,) = _marshal.parse(HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body)
    slot = Slot(0, "", parsed.get_attr("RTA_TABLE") or parsed["table"], parsed.get_attr("RTA_PRIORITY") or 0)
    hops, dead = _hops(parsed) if parsed["type"] == _RTN_UNICAST else (DISCARD, frozenset[Hop]())
    return RouteSeen(slot, parsed["proto"], hops, kind == RTM_DELROUTE, dead)


def _hops(parsed: Any) -> tuple[Hops, frozenset[Hop]]:  # noqa: ANN401  (pyroute2 has no types)
    several = parsed.get_attr("RTA_MULTIPATH")
    if several is None:
        one = Hop(_gateway(parsed), parsed.get_attr("RTA_OIF") or 0, 0, bool(parsed["flags"] & _RTNH_F_ONLINK))
        return (one,), frozenset([one]) if parsed["flags"] & (_RTNH_F_DEAD | _RTNH_F_LINKDOWN) else frozenset()
    hops, dead = [], set()
    for each in several:
        hop = Hop(_gateway(each), each["oif"], each["hops"] + 1, bool(each["flags"] & _RTNH_F_ONLINK))
        hops.append(hop)
        if each["flags"] & (_RTNH_F_DEAD | _RTNH_F_LINKDOWN):
            dead.add(hop)
    return tuple(hops), frozenset(dead)


def _gateway(part: Any) -> str | None:  # noqa: ANN401  (pyroute2 has no types)
    gateway = part.get_attr("RTA_GATEWAY")
    return None if gateway is None else str(ipaddress.ip_address(gateway))  # inet_ntop(3) writes some otherwise


def link_seen(message: memoryview) -> LinkSeen | None:
    """An interface; None for what is about something else."""
    (parsed,) = _marshal.parse(bytes(message))
    name = parsed.get_attr("IFLA_IFNAME")
    if name is None or parsed["family"] not in (0, socket.AF_UNSPEC):
        return None  # a bridge tells of its ports in messages of its own
    information = parsed.get_attr("IFLA_LINKINFO")
    table = None
    if information is not None and information.get_attr("IFLA_INFO_KIND") == "vrf":
        data = information.get_attr("IFLA_INFO_DATA")
        table = None if data is None else data.get_attr("IFLA_VRF_TABLE")
    gone = parsed["header"]["type"] == RTM_DELLINK
    return LinkSeen(parsed["index"], str(name), bool(parsed["flags"] & _IFF_UP), gone, table)
