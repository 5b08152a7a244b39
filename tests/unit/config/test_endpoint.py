"""Targets and networks as people write them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.config.endpoint import Endpoint, parse_endpoint, parse_network
from twoway.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("reflector.example.net", Endpoint("reflector.example.net", None, None)),
        ("reflector.example.net:8620", Endpoint("reflector.example.net", 8620, None)),
        ("192.0.2.1", Endpoint("192.0.2.1", None, None)),
        ("192.0.2.1:1", Endpoint("192.0.2.1", 1, None)),
        ("192.0.2.1:65535", Endpoint("192.0.2.1", 65535, None)),
        ("2001:db8::1", Endpoint("2001:db8::1", None, None)),
        ("::1", Endpoint("::1", None, None)),
        ("[2001:db8::1]", Endpoint("2001:db8::1", None, None)),
        ("[2001:db8::1]:862", Endpoint("2001:db8::1", 862, None)),
        ("fe80::1%eth0", Endpoint("fe80::1", None, "eth0")),
        ("[fe80::1%eth0.10]:862", Endpoint("fe80::1", 862, "eth0.10")),
        ("[fe80::1%2]", Endpoint("fe80::1", None, "2")),
        ("::ffff:192.0.2.1", Endpoint("::ffff:192.0.2.1", None, None)),
        (" localhost ", Endpoint("localhost", None, None)),
    ],
)
def test_targets(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' names no host"),
        (":862", "':862' names no host"),
        ("a b", "'a b' names no host"),
        ("-c", "'-c' names no host"),
        ("host:", "'host:': '' is not a port from 1 to 65535"),
        ("host:0", "'host:0': '0' is not a port from 1 to 65535"),
        ("host:65536", "'host:65536': '65536' is not a port from 1 to 65535"),
        ("host:862x", "'host:862x': '862x' is not a port from 1 to 65535"),
        ("host:٨", "'host:٨': '٨' is not a port from 1 to 65535"),
        ("[::1", "'[::1': write an IPv6 address with a port as [ADDRESS]:PORT"),
        ("[::1]862", "'[::1]862': write an IPv6 address with a port as [ADDRESS]:PORT"),
        ("[192.0.2.1]:862", "'[192.0.2.1]:862': only an IPv6 address goes into brackets"),
        ("fe80::1%", "'fe80::1%': %INTERFACE goes with an IPv6 address, as in fe80::1%eth0"),
        ("host%eth0", "'host%eth0': %INTERFACE goes with an IPv6 address, as in fe80::1%eth0"),
    ],
)
def test_what_is_no_target(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text)
    assert str(caught.value) == f"target: {reason}"


def test_a_listener_may_leave_the_port_to_the_kernel() -> None:
    assert parse_endpoint("127.0.0.1:0", "listen", lowest_port=0).port == 0


@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,8}){0,3}", fullmatch=True),
    ),
    st.none() | st.integers(1, 65535),
)
def test_an_endpoint_reads_back(host: str, port: int | None) -> None:
    endpoint = Endpoint(host, port, None)
    assert parse_endpoint(str(endpoint)) == endpoint


def endpoint_or_refusal(text: str) -> Endpoint | str:
    try:
        return parse_endpoint(text)
    except ConfigError as error:
        return str(error)


@given(st.text())
def test_any_text_is_an_endpoint_or_one_line(text: str) -> None:
    endpoint = endpoint_or_refusal(text)
    if isinstance(endpoint, str):
        assert endpoint.isprintable()
    else:
        assert endpoint.host
        assert endpoint.port is None or 1 <= endpoint.port <= 65535


@given(st.ip_addresses(), st.integers(0, 32))
def test_networks(address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int) -> None:
    network = ipaddress.ip_network((address, prefix), strict=False)
    assert parse_network(str(network)) == (str(network.network_address), prefix)


def test_a_single_address_is_a_network() -> None:
    assert parse_network("192.0.2.1") == ("192.0.2.1", 32)
    assert parse_network("2001:db8::1") == ("2001:db8::1", 128)


@pytest.mark.parametrize("text", ["", "192.0.2.1/24", "192.0.2.0/33", "example.net", "192.0.2.0/24/8"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no network such as 192\.0\.2\.0/24"):
        parse_network(text)
