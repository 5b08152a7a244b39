"""Requests of test-sessions in TWAMP-Control (RFC 5357 section 3.5, RFC 6038, RFC 8545), each rule by its section."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from twoway.control import codec
from twoway.control.codec import interval_from_ns, interval_ns
from twoway.control.configuration import Limits
from twoway.control.events import (
    RequestRefused,
    SessionAccepted,
    SessionRefused,
    SessionRequested,
)
from twoway.control.registry import Accept, Mode
from twoway.control.rules import Rule
from twoway.control.server import Server
from twoway.control.transitions import State
from twoway.errors import LocalControlError

from .pair import (
    CLIENT,
    REQUEST,
    SECURITY,
    SERVER,
    START_TIME,
    Pair,
    client_configuration,
    make_client,
    make_server,
    server_configuration,
    twamp_pair,
)
from .twamp import ASKED, NOW, clear, events, refused


def test_rfc5357_3_5_the_port_of_accept_session_is_obeyed() -> None:
    pair = twamp_pair()
    session = pair.request(replace(REQUEST, receiver_port=862))
    assert session.request.receiver_port == pair.next_port != 862


@pytest.mark.parametrize(("local", "peer"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
def test_rfc5357_3_5_zero_addresses_are_those_of_the_control_connection(local: str, peer: str) -> None:
    here, there = ip_address(local), ip_address(peer)
    client, server = make_client(local=here, peer=there), make_server(peer=here, local=there)
    pair = Pair(client, server).connect()
    session = pair.request()
    octets = pair.sent[3][1]
    assert octets[1] == here.version
    assert octets[16:48] == bytes(32)
    for request in (session.request, pair.server_event(SessionRequested).request):
        assert (request.sender_address, request.receiver_address) == (here, there)


def test_a_link_local_address_has_the_interface_of_the_control_connection() -> None:
    here, there = ip_address("fe80::1%eth0"), ip_address("fe80::2%eth1")
    pair = Pair(make_client(local=here, peer=there), make_server(peer=here, local=there)).connect()
    pair.request(replace(REQUEST, sender_address=ip_address("fe80::1"), receiver_address=ip_address("fe80::2")))
    request = pair.server_event(SessionRequested).request
    assert (str(request.sender_address), str(request.receiver_address)) == ("fe80::1%eth0", "fe80::2%eth1")


@pytest.mark.parametrize("field", ["conf_sender", "conf_receiver"])
@pytest.mark.parametrize("value", [1, 2, 255])
def test_rfc5357_3_5_conf_fields_that_are_not_zero_are_accept_3(field: str, value: int) -> None:
    message = replace(ASKED, **{field: value})  # type: ignore[arg-type]  # integers both
    assert refused(message) == RequestRefused(Accept.NOT_SUPPORTED, Rule.CONF_NOT_ZERO)


@pytest.mark.parametrize("field", ["schedule_slots", "packets"])
def test_rfc5357_3_5_slots_and_packets_must_be_zero(field: str) -> None:
    message = replace(ASKED, **{field: 1})  # type: ignore[arg-type]  # integers both
    assert refused(message) == RequestRefused(Accept.NOT_SUPPORTED, Rule.SCHEDULE_NOT_ZERO)


@pytest.mark.parametrize("version", [0, 5, 6, 15])
def test_rfc4656_3_5_ipvn_must_be_that_of_the_connection_where_addresses_are_zero(version: int) -> None:
    assert refused(replace(ASKED, ip_version=version)) == RequestRefused(Accept.NOT_SUPPORTED, Rule.IP_VERSION)


def test_rfc4656_3_5_what_follows_an_ipv4_address_is_ignored() -> None:
    address = CLIENT.packed + b"whatever...."
    assert refused(replace(ASKED, sender_address=address)) is None


@pytest.mark.parametrize("field", ["sender_address", "receiver_address"])
def test_rfc4656_6_2_third_parties_are_refused(field: str) -> None:
    victim = ip_address("198.51.100.7").packed.ljust(16, b"\0")
    message = replace(ASKED, **{field: victim})  # type: ignore[arg-type]  # octets both
    assert refused(message) == RequestRefused(Accept.NOT_SUPPORTED, Rule.ADDRESS_POLICY)


def test_rfc4656_6_2_unless_otherwise_configured() -> None:
    other = ip_address("198.51.100.7")
    octets = other.packed.ljust(16, b"\0")
    assert refused(replace(ASKED, sender_address=octets), any_sender_address=True) is None
    assert refused(replace(ASKED, receiver_address=octets), own_addresses=frozenset({other})) is None


def test_a_sender_port_of_zero_is_refused() -> None:
    assert refused(replace(ASKED, sender_port=0)) == RequestRefused(Accept.NOT_SUPPORTED, Rule.SENDER_PORT_ZERO)
    assert refused(replace(ASKED, receiver_port=0)) is None


@pytest.mark.parametrize("type_p", [1 << 30, 2 << 30, 3 << 30, 0xFFFFFFFF])
def test_rfc5357_3_5_type_p_can_only_be_a_dscp(type_p: int) -> None:
    assert refused(replace(ASKED, type_p=type_p)) == RequestRefused(Accept.NOT_SUPPORTED, Rule.TYPE_P)


@pytest.mark.parametrize("dscp", [0, 10, 46, 63])
def test_rfc4656_3_5_the_dscp_is_in_the_first_octet_of_type_p(dscp: int) -> None:
    pair = twamp_pair()
    assert pair.request(replace(REQUEST, dscp=dscp)).request.dscp == dscp
    assert pair.sent[3][1][84:88] == bytes([dscp, 0, 0, 0])
    assert pair.server_event(SessionRequested).request.dscp == dscp


def test_rfc4656_6_5_a_padding_length_of_all_ones_costs_nothing() -> None:
    assert refused(replace(ASKED, padding_length=0xFFFFFFFF)) == RequestRefused(
        Accept.NOT_SUPPORTED, Rule.PADDING_TOO_LONG
    )
    assert refused(replace(ASKED, padding_length=9001)) == RequestRefused(Accept.PERMANENT_LIMIT, Rule.PADDING_TOO_LONG)


def test_rfc4656_6_5_a_timeout_has_a_longest() -> None:
    assert refused(replace(ASKED, timeout=2**64 - 1)) == RequestRefused(Accept.PERMANENT_LIMIT, Rule.TIMEOUT_TOO_LONG)
    assert refused(replace(ASKED, timeout=900 << 32)) is None


def test_rfc4656_6_5_sessions_of_a_connection_are_limited() -> None:
    pair = twamp_pair(limits=Limits(sessions=2))
    pair.request()
    pair.request()
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    assert pair.client_event(SessionRefused).accept is Accept.TEMPORARY_LIMIT
    assert pair.server_event(RequestRefused).rule is Rule.TOO_MANY_SESSIONS
    # A refusal closes nothing (RFC 4656 section 3.5).
    pair.start()
    assert pair.client.state is State.ACTIVE


def test_rfc5357_3_5_a_refusal_has_port_and_sid_zero() -> None:
    pair = twamp_pair()
    pair.answers = False
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    pair.server.refuse_session(Accept.TEMPORARY_LIMIT, pair.now_ns)
    pair.transfer()
    assert pair.sent[-1][1] == bytes([5]) + bytes(47)
    assert pair.client_event(SessionRefused).accept is Accept.TEMPORARY_LIMIT
    pair.answers = True
    pair.request()


def test_rfc4656_3_5_the_sid_is_address_timestamp_and_chance() -> None:
    pair = twamp_pair(sid_address=SERVER.packed)
    first, second = pair.request().sid, pair.request().sid
    assert first[:12] == second[:12] == SERVER.packed + START_TIME.to_bytes(8)
    assert first[12:] != second[12:]


@pytest.mark.parametrize("mode", [Mode.UNAUTHENTICATED, Mode.ENCRYPTED])
@pytest.mark.parametrize("monitored", [False, True])
def test_rfc6038_4_3_padding_must_have_room_for_what_is_reflected(mode: Mode, monitored: bool) -> None:
    features = Mode.REFLECT_OCTETS | (Mode.DSCP_ECN_MONITORING if monitored else Mode(0))
    least = (64 if mode is Mode.ENCRYPTED else 30 if monitored else 27) + 8
    enough = replace(REQUEST, padding_to_reflect=8, octets_to_reflect=0xABCD, padding_length=least)
    pair = twamp_pair(mode, features)
    session = pair.request(enough)
    assert session.request.padding_to_reflect == 8
    with pytest.raises(LocalControlError, match="RFC 6038 section 4"):
        pair.client.request_session(replace(enough, padding_length=least - 1), pair.now_ns)
    if mode is Mode.UNAUTHENTICATED:
        message = replace(ASKED, padding_to_reflect=8, padding_length=least - 1)
        assert refused(message, features) == RequestRefused(Accept.NOT_SUPPORTED, Rule.PADDING_TOO_SHORT)


def test_rfc6038_4_3_octets_are_reflected_and_server_octets_are_passed_on() -> None:
    pair = twamp_pair(features=Mode.REFLECT_OCTETS)
    pair.answers = False
    pair.client.request_session(replace(REQUEST, octets_to_reflect=0xABCD), pair.now_ns)
    pair.transfer()
    pair.server.accept_session(9999, pair.now_ns, timestamp=0, server_octets=0x1234)
    pair.transfer()
    assert pair.sent[-1][1][20:24] == bytes.fromhex("abcd1234")
    assert pair.client_event(SessionAccepted).session.server_octets == 0x1234


def test_rfc6038_4_2_without_reflect_octets_these_fields_must_be_zero() -> None:
    assert refused(replace(ASKED, octets_to_reflect=7, padding_to_reflect=65535)) is None
    pair = twamp_pair()
    with pytest.raises(LocalControlError, match="Reflect Octets mode was not negotiated"):
        pair.client.request_session(replace(REQUEST, octets_to_reflect=7), pair.now_ns)
    pair.answers = False
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    with pytest.raises(LocalControlError, match="Reflect Octets mode was not negotiated"):
        pair.server.accept_session(1, pair.now_ns, timestamp=0, server_octets=1)


@pytest.mark.parametrize("nanoseconds", [0, 1, 59, 10**9, 299_999_999, 2**32 * 10**9 - 1])
def test_intervals_are_never_shorter_than_asked(nanoseconds: int) -> None:
    assert interval_ns(interval_from_ns(nanoseconds)) == nanoseconds


@pytest.mark.parametrize("nanoseconds", [-1, 2**32 * 10**9])
def test_intervals_have_32_bits_of_seconds(nanoseconds: int) -> None:
    with pytest.raises(ValueError, match="no interval"):
        interval_from_ns(nanoseconds)


def test_our_own_limit_of_sessions() -> None:
    client = make_client(client_configuration(limits=Limits(sessions=1)))
    pair = Pair(client).connect()
    pair.request()
    with pytest.raises(LocalControlError, match=r"RFC 4656 section 6\.5"):
        pair.client.request_session(REQUEST, pair.now_ns)
    assert pair.client.mode == pair.server.mode == Mode.UNAUTHENTICATED


def test_sids_that_chance_repeats_are_drawn_again() -> None:
    draws = iter([bytes(16), bytes(16), b"same", b"same", b"else"])
    server = Server(
        server_configuration(), local_address=SERVER, peer_address=CLIENT, random_octets=lambda _count: next(draws)
    )
    server.connection_made(NOW)
    server.receive_data(codec.SetUpResponse(1, bytes(80), bytes(64), bytes(16)).octets() + clear(ASKED) * 2, NOW)
    events(server)
    first = server.accept_session(1, NOW, timestamp=0).sid
    second = server.accept_session(1, NOW, timestamp=0).sid
    assert (first[12:], second[12:]) == (b"same", b"else")


@pytest.mark.parametrize("mode", SECURITY)
def test_rfc4656_6_5_authenticated_clients_have_limits_of_their_own(mode: Mode) -> None:
    pair = twamp_pair(mode, limits=Limits(sessions=1), authenticated_limits=Limits(sessions=2))
    pair.request()
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    assert len(pair.client.sessions) == (1 if mode is Mode.UNAUTHENTICATED else 2)
