"""Ports of this host that two want, and those that only look as if two wanted them."""

from __future__ import annotations

from pathlib import Path

import pytest

from twoway.config.check import check_text

LIGHT = "{control-type: light, %s test-session: {s: {target: %s, source-port: 5000, %s}}}"


def said(first: tuple[str, str, str], second: tuple[str, str, str]) -> list[str]:
    text = f"client: {{control-connection: {{a: {LIGHT % first}, b: {LIGHT % second}}}}}"
    found = check_text(text, "f.yaml", Path("/etc/twoway"))
    return [problem.message for problem in found.errors]


HERE = ("", "192.0.2.1", "")
COLLIDES = ["5000 is that of a.s already"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (HERE, COLLIDES),
        (("", "192.0.2.1", "source-address: 192.0.2.9"), COLLIDES),
        (("", "reflector.example.net", "source-address: 192.0.2.9"), COLLIDES),
        (("routing-instance: blue,", "192.0.2.1", ""), COLLIDES),
        (("routing-instance: {netns: blue},", "192.0.2.1", ""), []),
        (("", "2001:db8::1", ""), []),
        (("", "reflector.example.net", ""), []),
    ],
)
def test_two_sessions_send_from_one_port(other: tuple[str, str, str], message: list[str]) -> None:
    assert said(HERE, other) == message


def test_addresses_and_vrfs_of_their_own_have_ports_of_their_own() -> None:
    one, other = (("", "192.0.2.1", f"source-address: 192.0.2.{number}") for number in (8, 9))
    assert said(one, other) == []
    red, blue = ((f"routing-instance: {name},", "192.0.2.1", "") for name in ("red", "blue"))
    assert said(red, blue) == []


@pytest.mark.parametrize(
    ("server", "collides"),
    [
        ("light: {port: 5000}", True),
        ("light: {port: 5000, address: 0.0.0.0}", True),
        ("light: {port: 5000, address: '::'}", False),
        ("light: {port: 5000, routing-instance: {netns: blue}}", False),
        ("light: {port: 5001}", False),
    ],
)
def test_a_session_and_a_light_reflector(server: str, collides: bool) -> None:
    client = f"client: {{control-connection: {{a: {LIGHT % HERE}}}}}"
    found = check_text(f"{client}\nserver: {{{server}}}", "f.yaml", Path("/etc/twoway"))
    assert [problem.message for problem in found.errors] == (
        ["5000 is that of server.light already"] if collides else []
    )


@pytest.mark.parametrize(
    ("light", "collides"),
    [("", True), (", routing-instance: {netns: blue}", False), (", routing-instance: blue", True)],
)
def test_ports_of_the_servers_test_sessions(light: str, collides: bool) -> None:
    managed = "managed: {client-list: {all: 0.0.0.0/0}}"
    found = check_text(f"server: {{{managed}, light: {{port: 25000{light}}}}}", "f.yaml", Path("/etc/twoway"))
    assert [problem.message for problem in found.errors] == (
        ["25000 is in the port-range of server.managed, 20000-29999"] if collides else []
    )
