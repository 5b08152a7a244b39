"""Names into addresses, with the resolver's answers written down."""

from __future__ import annotations

import asyncio
import socket

import pytest

from twoway.config.endpoint import parse_endpoint
from twoway.drivers.resolve import Address, numeric_family, resolve, resolve_async
from twoway.errors import ResolveError

V4 = (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 862))
V6 = (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("2001:db8::1", 862, 0, 0))
SCOPED = (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("fe80::1%eth0", 862, 0, 7))


@pytest.mark.parametrize(
    ("text", "family", "address"),
    [
        ("192.0.2.1", None, Address("192.0.2.1", 862, 0, 4)),
        ("192.0.2.1:99", 4, Address("192.0.2.1", 99, 0, 4)),
        ("[2001:db8::1]:99", 6, Address("2001:db8::1", 99, 0, 6)),
        ("fe80::1%lo", None, Address("fe80::1", 862, socket.if_nametoindex("lo"), 6)),
        ("fe80::1%42", None, Address("fe80::1", 862, 42, 6)),
    ],
)
def test_numeric_addresses_ask_nobody(
    monkeypatch: pytest.MonkeyPatch, text: str, family: int | None, address: Address
) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert resolve(parse_endpoint(text), 862, family) == address
    assert asyncio.run(resolve_async(parse_endpoint(text), 862, family)) == address


@pytest.mark.parametrize(
    ("text", "family", "message"),
    [
        ("192.0.2.1", 6, "resolve 192.0.2.1: this is an IPv4 address, but IPv6 was asked for (-6)"),
        ("2001:db8::1", 4, "resolve 2001:db8::1: this is an IPv6 address, but IPv4 was asked for (-4)"),
        (
            "fe80::1%nope0",
            None,
            (
                "resolve fe80::1%nope0: no interface nope0 here: `ip link` lists those there are "
                "(inside --netns, write its number)"
            ),
        ),
        ("12345::1::%1", None, "resolve 12345::1::%1: not an IPv6 address"),
    ],
)
def test_numeric_refusals(text: str, family: int | None, message: str) -> None:
    with pytest.raises(ResolveError) as caught:
        resolve(parse_endpoint(text), 862, family)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("answers", "address"),
    [
        ([V6, V4], Address("2001:db8::1", 99, 0, 6)),
        ([V4, V6], Address("192.0.2.1", 99, 0, 4)),
        ([SCOPED], Address("fe80::1", 99, 7, 6)),
    ],
)
def test_the_systems_first_choice(
    monkeypatch: pytest.MonkeyPatch, answers: list[tuple[object, ...]], address: Address
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    assert resolve(parse_endpoint("reflector.example.net:99"), 862, None) == address
    assert asyncio.run(resolve_async(parse_endpoint("reflector.example.net:99"), 862, None)) == address


@pytest.mark.parametrize(
    ("error", "family", "reason"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "x"),
            None,
            "no such name: check the spelling, or `getent ahosts some.host`",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "x"),
            6,
            "no such name, or it has no IPv6 address: try without -6",
        ),
        (
            socket.gaierror(socket.EAI_AGAIN, "x"),
            None,
            "no answer from the name server: check /etc/resolv.conf and the network",
        ),
        (UnicodeError("label too long"), None, "not a host name"),
    ],
)
def test_failures_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception, family: int | None, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ResolveError) as caught:
        resolve(parse_endpoint("some.host"), 862, family)
    assert str(caught.value) == f"resolve some.host: {reason}"
    with pytest.raises(ResolveError) as caught:
        asyncio.run(resolve_async(parse_endpoint("some.host"), 862, family))
    assert str(caught.value) == f"resolve some.host: {reason}"


def test_numeric_families() -> None:
    assert [numeric_family(text) for text in ("192.0.2.1", "::1", "host", "1.2.3", "a\0b")] == [4, 6, None, None, None]
