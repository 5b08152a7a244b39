"""Octets of rtnetlink: what is copied from a pattern is what pyroute2 makes whole, and what we write we read."""

from __future__ import annotations

import errno
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.routes.kernel import messages
from twoway.routes.policy.reconciliation import DISCARD, Hop, Hops, How, Request, Slot

from .made import link_message

NETS4 = st.builds(
    lambda a, n: ipaddress.ip_network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
NETS6 = st.builds(
    lambda a, n: ipaddress.ip_network((ipaddress.IPv6Address(a), n), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
GATEWAYS4 = st.integers(1, 2**32 - 1).map(lambda a: str(ipaddress.IPv4Address(a)))
GATEWAYS6 = st.integers(1, 2**128 - 1).map(lambda a: str(ipaddress.IPv6Address(a)))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    family = draw(st.sampled_from([4, 6]))
    gateway = GATEWAYS4 if family == 4 else GATEWAYS6
    hop = st.builds(Hop, gateway | st.none(), st.integers(1, 99), st.integers(1, 256), st.booleans())
    hops: Hops = tuple(draw(st.lists(hop, max_size=16)))
    slot = Slot(
        family,
        str(draw(NETS4 if family == 4 else NETS6)),
        draw(st.integers(1, 2**32 - 1)),
        draw(st.integers(0, 2**32 - 1)),
    )
    return Request(draw(st.sampled_from(How)), slot, hops)


@given(requests(), st.integers(1, 255), st.integers(1, 2**31))
def test_a_copy_is_what_is_made_whole(request: Request, protocol: int, sequence: int) -> None:
    assert messages.route_request(request, protocol, sequence) == messages.encoded(request, protocol, sequence)


@given(requests(), st.integers(1, 255))
def test_what_is_written_is_read(request: Request, protocol: int) -> None:
    (one,) = messages.split(messages.encoded(request._replace(how=How.FIRST), protocol, 5))
    kind, _, sequence, _, message = one
    assert (kind, sequence) == (messages.RTM_NEWROUTE, 5)
    seen = messages.route_seen(message)
    assert seen is not None
    assert (seen.slot, seen.protocol, seen.gone) == (request.slot, protocol, False)
    assert [(hop.gateway, hop.index, hop.onlink) for hop in seen.hops] == [
        (hop.gateway, hop.index, hop.onlink) for hop in request.hops
    ]
    if len(request.hops) > 1:
        assert [hop.weight for hop in seen.hops] == [hop.weight for hop in request.hops]


def test_a_next_hop_whose_link_is_down_is_dead() -> None:
    slot = Slot(4, "203.0.113.0/24", 254, 1)
    octets = bytearray(messages.encoded(Request(How.FIRST, slot, (Hop("192.0.2.1", 2),)), 94, 1))
    flags_at = messages.HEADER.size + 8
    octets[flags_at : flags_at + 4] = struct.pack("=I", 0x10)
    seen = messages.route_seen(memoryview(octets))
    assert seen is not None
    assert seen.dead == {Hop("192.0.2.1", 2, 0)}


def test_entries_of_caches_and_of_other_families_are_passed_over() -> None:
    slot = Slot(6, "2001:db8::/32", 254, 1)
    octets = bytearray(messages.encoded(Request(How.FIRST, slot, DISCARD), 94, 1))
    flags_at = messages.HEADER.size + 8
    octets[flags_at : flags_at + 4] = struct.pack("=I", 0x200)
    assert messages.route_seen(memoryview(octets)) is None
    octets[flags_at : flags_at + 4] = bytes(4)
    octets[messages.HEADER.size] = 28  # AF_MPLS
    assert messages.route_seen(memoryview(octets)) is None


@given(st.binary(max_size=200))
def test_any_datagram_is_cut_into_messages_or_left(datagram: bytes) -> None:
    for _, _, _, _, message in messages.split(datagram):
        assert len(message) >= messages.HEADER.size


def answer(number: int, flags: int, rest: bytes = b"") -> memoryview:
    body = struct.pack("=i", -number) + messages.HEADER.pack(36, messages.RTM_NEWROUTE, 0, 3, 0) + rest
    return memoryview(messages.HEADER.pack(16 + len(body), messages.NLMSG_ERROR, flags, 3, 9) + body)


def test_what_the_kernel_says_beside_an_error_is_read() -> None:
    text = b"Nexthop has invalid gateway\0"
    attribute = struct.pack("=HH", 4 + len(text), messages.NLMSGERR_ATTR_MSG) + text
    capped = messages.NLM_F_CAPPED | messages.NLM_F_ACK_TLVS
    assert messages.error_of(answer(0, 0)) == (0, "")
    assert messages.error_of(answer(errno.EEXIST, 0)) == (errno.EEXIST, "")
    assert messages.error_of(answer(errno.EINVAL, capped, attribute)) == (errno.EINVAL, text[:-1].decode())
    whole = bytes(20) + attribute
    assert messages.error_of(answer(errno.EINVAL, messages.NLM_F_ACK_TLVS, whole)) == (errno.EINVAL, text[:-1].decode())
    assert messages.error_of(answer(errno.EINVAL, capped, struct.pack("=HH", 0, 1))) == (errno.EINVAL, "")


@pytest.mark.parametrize("table", [None, 1001])
def test_interfaces_and_vrfs_are_read(table: int | None) -> None:
    (one,) = messages.split(link_message(3, "wan0", table))
    assert messages.link_seen(one[4]) == messages.LinkSeen(3, "wan0", up=True, gone=False, vrf_table=table)
