"""Paths as people write them: what is taken, how it is written back, and what is refused by name."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.config.path import MOST_PATHS, NamedPath, lag_paths, named_paths, parse_path, parse_return_path
from twoway.errors import ConfigError
from twoway.path import FIRST_LABEL, LARGEST_LABEL, MOST_LABELS, MOST_SEGMENTS, PLAIN, ForwardPath, ReturnPath

_native = pytest.importorskip("twoway._native", reason="the extension module is not built")

_SEGMENTS = st.lists(st.ip_addresses(v=6, network="2001:db8::/32").map(str), min_size=1, max_size=MOST_SEGMENTS).map(
    tuple
)
_LABELS = st.lists(st.integers(FIRST_LABEL, LARGEST_LABEL), min_size=1, max_size=MOST_LABELS).map(tuple)
_GATEWAY = st.none() | st.sampled_from(["192.0.2.1", "fe80::1", "2001:db8::1"])
_INTERFACE = st.none() | st.sampled_from(["eth0", "bond0.10", "veth-a_b"])


@given(st.builds(ForwardPath, st.just("srv6"), _SEGMENTS))
def test_segments_are_written_back_as_they_are_read(path: ForwardPath) -> None:
    assert parse_path(str(path)) == path


@given(labels=_LABELS, gateway=_GATEWAY, interface=_INTERFACE)
def test_labels_are_written_back_as_they_are_read(
    labels: tuple[int, ...], gateway: str | None, interface: str | None
) -> None:
    path = ForwardPath("mpls", labels=labels, gateway=gateway, interface=interface)
    assert parse_path(str(path)) == path


@given(segments=_SEGMENTS, labels=_LABELS, address=st.none() | st.ip_addresses(v=6, network="2001:db8::/32").map(str))
def test_ways_back_are_written_back_as_they_are_read(
    segments: tuple[str, ...], labels: tuple[int, ...], address: str | None
) -> None:
    for path in (
        ReturnPath("srv6", segments=segments, address=address),
        ReturnPath("mpls", labels=labels, address=address),
        ReturnPath("address", address=address or "192.0.2.1"),
        ReturnPath("same-link"),
        ReturnPath("none"),
    ):
        assert parse_return_path(str(path)) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("plain", PLAIN),
        (" srv6:2001:DB8::1,fd00::2 ", ForwardPath("srv6", segments=("2001:db8::1", "fd00::2"))),
        ("mpls:16", ForwardPath("mpls", labels=(16,))),
        ("mpls:16001,16002@192.0.2.254", ForwardPath("mpls", labels=(16001, 16002), gateway="192.0.2.254")),
        ("mpls:16001@fe80::1%eth0", ForwardPath("mpls", labels=(16001,), gateway="fe80::1", interface="eth0")),
        ("mpls:16001%eth0", ForwardPath("mpls", labels=(16001,), interface="eth0")),
        ("link:eth1", ForwardPath("link", interface="eth1")),
        ("link:eth1@192.0.2.9", ForwardPath("link", gateway="192.0.2.9", interface="eth1")),
    ],
)
def test_paths(text: str, path: ForwardPath) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is none of srv6:SID,SID"),
        ("srv6", "is none of srv6:SID,SID"),
        ("srv6:", "is none of srv6:SID,SID"),
        ("ipv6:2001:db8::1", "is none of srv6:SID,SID"),
        ("plain:x", "is none of srv6:SID,SID"),
        ("srv6:2001:db8::1,", "'' is no IPv6 address"),
        ("srv6:192.0.2.1", "'192.0.2.1' is no IPv6 address"),
        ("srv6:2001:db8::1,16001", "'16001' is a label: the segments of srv6 are IPv6 addresses"),
        ("srv6:fe80::1", "fe80::1 is not an address that a segment can have"),
        ("srv6:ff02::1", "is not an address that a segment can have"),
        ("srv6:::1", "is not an address that a segment can have"),
        ("srv6:::ffff:192.0.2.1", "is not an address that a segment can have"),
        ("srv6:" + ",".join(["2001:db8::1"] * 127), "127 segments are more than the 126"),
        ("mpls:2001:db8::1", "'2001:db8::1' is an address: the segments of mpls are labels"),
        ("mpls:16001,2001:db8::1", "is an address: the segments of mpls are labels"),
        ("mpls:x", "'x' is no number"),
        ("mpls:-1", "'-1' is no number"),
        ("mpls:1048576", "label 1048576 is not from 16 to 1048575"),
        ("mpls:16,3", "label 3 is reserved"),
        ("mpls:0", "label 0 is reserved"),
        ("mpls:" + ",".join(["16"] * 31), "31 labels are more than 30"),
        ("mpls:16@", "after @ comes the address of a router"),
        ("mpls:16@router", "'router' is no address"),
        ("mpls:16@ff02::1", "ff02::1 is not the address of one host"),
        ("mpls:16%", "'' is no name of an interface"),
        ("mpls:16%a-name-of-16-chr", "is no name of an interface"),
        ("link:eth0%eth1", "names two interfaces"),
    ],
)
def test_what_cannot_be_a_path_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_path(text)
    assert raised.value.field == "path"
    assert reason in raised.value.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("plain", "is none of srv6:SID"),
        ("same-link@192.0.2.1", "is none of srv6:SID"),
        ("address:", "is none of srv6:SID"),
        ("address:host", "'host' is no address"),
        ("srv6:2001:db8::1@", "'' is no address"),
        ("mpls:15", "label 15 is reserved"),
        ("srv6:16001", "'16001' is a label"),
    ],
)
def test_what_cannot_be_a_way_back_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_return_path(text)
    assert raised.value.field == "return_path"
    assert reason in raised.value.reason


def test_a_path_has_what_its_kind_has() -> None:
    for wrong in (
        lambda: ForwardPath("srv6", segments=("2001:db8::1",), gateway="192.0.2.1"),
        lambda: ForwardPath("mpls", labels=(16,), segments=("2001:db8::1",)),
        lambda: ForwardPath("plain", interface="eth0"),
        lambda: ForwardPath("link"),
        lambda: ForwardPath("mpls"),
        lambda: ForwardPath("other"),
        lambda: ReturnPath("none", address="192.0.2.1"),
        lambda: ReturnPath("same-link", labels=(16,)),
        lambda: ReturnPath("address"),
        lambda: ReturnPath("plain"),
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_several_paths_have_names_and_a_way_back_each_or_one_for_all() -> None:
    back = ReturnPath("same-link")
    assert named_paths([], []) == (NamedPath(None),)
    assert named_paths(["mpls:16"], ["same-link"]) == (NamedPath(None, ForwardPath("mpls", labels=(16,)), back),)
    assert named_paths(["a=mpls:16", "b=plain"], ["same-link"]) == (
        NamedPath("a", ForwardPath("mpls", labels=(16,)), back),
        NamedPath("b", PLAIN, back),
    )
    assert named_paths(["a=mpls:16", "b=plain"], ["same-link", "b=none"])[1].return_path == ReturnPath("none")


@pytest.mark.parametrize(
    ("there", "back", "reason"),
    [
        (["mpls:16", "b=plain"], [], "of several paths each has a name"),
        (["mpls:16", "plain"], [], "there is another one without a name"),
        (["a=plain", "a=mpls:16"], [], "there is another one named a"),
        (["=plain"], [], "'' is no name of a path"),
        (["a b=plain"], [], "'a b' is no name of a path"),
        ([f"p{n}=plain" for n in range(MOST_PATHS + 1)], [], "17 paths are more than 16"),
        (["a=plain"], ["b=none"], "there is no path b"),
    ],
)
def test_sets_that_make_no_sense_are_refused(there: list[str], back: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        named_paths(there, back)


def test_the_packet_plane_knows_the_same_limits() -> None:
    segments = [str(ipaddress.IPv6Address("2001:db8::1") + n) for n in range(MOST_SEGMENTS)]
    assert len(_native.make_routing_header(segments)) == 8 + 16 * (MOST_SEGMENTS + 1)
    with pytest.raises(ConfigError):
        _native.make_routing_header([*segments, "2001:db8::ffff"])


def members_of(interface: str) -> list[str]:
    return {"bond0": ["eth1", "eth2"]}.get(interface, [])


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("bond0", {"eth1": (1, 0), "eth2": (2, 0)}),
        ("eth1,eth2", {"eth1": (1, 0), "eth2": (2, 0)}),
        ("eth7=7,eth2=65535:9", {"eth7": (7, 0), "eth2": (65535, 9)}),
        ("eth1=5", {"eth1": (5, 0)}),
        ("eth2,eth1=5,eth3", {"eth2": (1, 0), "eth1": (5, 0), "eth3": (3, 0)}),
    ],
)
def test_a_lag_is_a_path_by_each_member(text: str, members: dict[str, tuple[int, int]]) -> None:
    found = lag_paths(text, members_of)
    assert {path.name: path.micro_session for path in found} == members
    assert [path.path for path in found] == [ForwardPath("link", interface=name) for name in members]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eth1", "eth1 has no members: name them, as in eth1,eth2"),
        ("eth1,", "'' is no name of an interface"),
        ("eth1,eth1", "two members have the name eth1"),
        ("eth1=2,eth2=2", "two members have the number 2"),
        ("eth2,eth1=1", "two members have the number 1"),
        ("eth1=", "'' is no number from 1 to 65535 of a member"),
        ("eth1=65536", "'65536' is no number from 1 to 65535 of a member"),
        ("eth1=1:0", "'0' is no number from 1 to 65535 of a member"),
        ("eth1=1:", "'' is no number from 1 to 65535 of a member"),
        (",".join(f"e{number}" for number in range(17)), "17 members are more than 16"),
    ],
)
def test_what_is_no_lag_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        lag_paths(text, members_of)
