"""TWAMP-Control after set-up (RFC 5357 section 3, RFC 6038, RFC 8545), each rule by its section."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from twoway.control import codec
from twoway.control.codec import RequestTwSession, interval_from_ns, interval_ns
from twoway.control.configuration import SECOND, Limits
from twoway.control.connection import Timer
from twoway.control.events import (
    CloseReason,
    CommandRefused,
    ConnectionClosed,
    EndReason,
    Event,
    ProtocolViolated,
    RequestRefused,
    SessionAccepted,
    SessionEnded,
    SessionRefused,
    SessionRequested,
    SessionsStarted,
    SessionsStopped,
    SessionStopped,
    StartRefused,
    StartRequested,
)
from twoway.control.registry import SECURE_TEST, Accept, Mode
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

if TYPE_CHECKING:
    from twoway.control.negotiated import SessionRequest

NOW = 77 * SECOND
ZERO = bytes(16)
ASKED = RequestTwSession(
    ip_version=4,
    sender_port=5000,
    receiver_port=6000,
    sender_address=ZERO,
    receiver_address=ZERO,
    padding_length=100,
    start_time=0,
    timeout=1 << 32,
    type_p=0,
)


def clear(message: object) -> bytes:
    """A message as it is sent in the clear."""
    return b"".join(segment + bytes(16) for segment in message.segments())  # type: ignore[attr-defined]  # any message


def ready(features: Mode = Mode.UNAUTHENTICATED, **changes: object) -> Server:
    """A Server without a client, after set-up in the clear."""
    server = make_server(server_configuration(**changes))
    server.connection_made(NOW)
    mode = Mode.UNAUTHENTICATED | features
    server.receive_data(codec.SetUpResponse(int(mode), bytes(80), bytes(64), bytes(16)).octets(), NOW)
    server.data_to_send()
    events(server)
    return server


def events(server: Server) -> list[Event]:
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


def refused(
    message: RequestTwSession, features: Mode = Mode.UNAUTHENTICATED, **changes: object
) -> RequestRefused | None:
    """What a Server refuses of a request; None if it leaves the decision to its owner. The connection goes on."""
    server = ready(features, **changes)
    server.receive_data(clear(message), NOW)
    (event,) = events(server)
    assert not server.closed
    if isinstance(event, SessionRequested):
        return None
    assert isinstance(event, RequestRefused)
    assert server.data_to_send() == bytes([event.accept]) + bytes(47)
    assert server.state is State.READY
    return event


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
@pytest.mark.parametrize("mode", SECURITY)
def test_a_whole_test(mode: Mode, chunk: int) -> None:
    pair = Pair(make_client(client_configuration(mode)), chunk=chunk).connect()
    sessions = [pair.request(), pair.request(replace(REQUEST, sender_port=5001))]
    server_side = pair.server._sessions  # noqa: SLF001  (both ends must hold the same)
    assert [server_side[session.sid].negotiated for session in sessions] == sessions
    assert (sessions[0].keys is not None) == bool(mode & SECURE_TEST)
    assert sessions[0].packet_format == (
        "twamp-encrypted"
        if mode == Mode.ENCRYPTED
        else "twamp-authenticated"
        if mode == Mode.AUTHENTICATED
        else "twamp"
    )
    sids = tuple(session.sid for session in sessions)
    pair.start()
    assert pair.client_event(SessionsStarted).sids == sids
    assert (pair.client.state, pair.server.state) == (State.ACTIVE, State.ACTIVE)
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.client_event(SessionsStopped) == SessionsStopped(sids, Accept.OK)
    assert [event.sid for event in pair.server_events if isinstance(event, SessionStopped)] == list(sids)
    assert pair.server.session_count == 2
    pair.later(2)
    assert [event.sid for event in pair.server_events if isinstance(event, SessionEnded)] == list(sids)
    # The connection can be used again (RFC 5357 section 3.8).
    pair.request()
    pair.start()
    assert pair.client.state is State.ACTIVE
    assert not any(isinstance(event, ProtocolViolated) for event in pair.client_events + pair.server_events)


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


@pytest.mark.parametrize("number", [0, 1, 4, 6, 8, 10, 11, 12, 99, 255])
def test_rfc5357_3_5_an_unknown_command_is_accept_3_and_the_end(number: int) -> None:
    server = ready()
    server.receive_data(bytes([number]) + bytes(15), NOW)
    assert server.data_to_send() == b"\3" + bytes(47)
    kinds = [type(event) for event in events(server)]
    assert kinds == [ProtocolViolated, ConnectionClosed]


@pytest.mark.parametrize("mode", SECURITY)
def test_rfc5357_3_5_an_unexpected_command_is_accept_3_and_nothing_else_happens(mode: Mode) -> None:
    pair = twamp_pair(mode)
    pair.request()
    pair.start()
    # Our own client refuses to say it, so it is made to forget that it is active.
    pair.client._state = State.READY  # noqa: SLF001  (a client that breaks the rules)
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    assert pair.server_event(CommandRefused) == CommandRefused("RequestTwSession", Rule.COMMAND_UNEXPECTED)
    assert pair.client_event(SessionRefused).accept is Accept.NOT_SUPPORTED
    assert pair.server.state.name == "ACTIVE"
    assert pair.server.session_count == 1
    pair.client._state = State.ACTIVE  # noqa: SLF001  (as above)
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.server.state.name == "READY"


@pytest.mark.parametrize("message", [codec.StartNSessions((ZERO,)), codec.StopNSessions((ZERO,))])
def test_rfc5938_3_1_n_commands_without_individual_control_are_unexpected(message: object) -> None:
    server = ready()
    server.receive_data(clear(message) + clear(ASKED), NOW)
    assert server.data_to_send() == b"\3" + bytes(47)
    assert [type(event) for event in events(server)] == [CommandRefused, SessionRequested]


def test_rfc4656_3_7_a_start_of_nothing_is_refused() -> None:
    server = ready()
    server.receive_data(clear(codec.StartSessions()), NOW)
    assert server.data_to_send() == b"\1" + bytes(31)
    assert events(server) == [CommandRefused("StartSessions", Rule.NOTHING_TO_START)]
    assert server.state is State.READY


def test_rfc4656_3_7_a_refused_start_closes_the_client() -> None:
    pair = twamp_pair()
    session = pair.request()
    pair.answers = False
    pair.start()
    pair.server.answer_start(pair.now_ns, {session.sid: Accept.TEMPORARY_LIMIT})
    pair.transfer()
    assert pair.client_event(StartRefused) == StartRefused((session.sid,), Accept.TEMPORARY_LIMIT)
    assert pair.client_event(ConnectionClosed).reason is CloseReason.REFUSED
    assert pair.server.state is State.READY


@pytest.mark.parametrize("count", [0, 1, 3, 0xFFFFFFFF])
def test_rfc5357_3_8_stop_sessions_must_count_exactly(count: int) -> None:
    pair = twamp_pair()
    sids = {pair.request().sid, pair.request().sid}
    pair.start()
    pair.server.receive_data(clear(codec.StopSessions(Accept.OK, count)), pair.now_ns)
    pair.transfer()
    assert pair.server_event(ProtocolViolated).rule is Rule.STOP_COUNT
    ended = {event.sid: event.reason for event in pair.server_events if isinstance(event, SessionEnded)}
    assert ended == dict.fromkeys(sids, EndReason.CONNECTION)
    assert pair.server.closed


def test_rfc5357_3_8_stop_sessions_without_sessions_is_invalid() -> None:
    server = ready()
    server.receive_data(clear(codec.StopSessions(Accept.OK, 0)), NOW)
    assert [type(event) for event in events(server)] == [ProtocolViolated, ConnectionClosed]


def test_rfc5357_3_8_a_stop_that_is_not_ok_says_so() -> None:
    pair = twamp_pair()
    pair.request()
    pair.start()
    pair.client.stop_sessions(pair.now_ns, accept=Accept.INTERNAL_ERROR)
    pair.transfer()
    assert pair.server_event(SessionStopped).accept is Accept.INTERNAL_ERROR


def test_rfc5357_3_8_reflection_goes_on_for_timeout_and_no_longer() -> None:
    pair = twamp_pair()
    session = pair.request(replace(REQUEST, timeout=interval_from_ns(3 * SECOND)))
    pair.start()
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    # The client may be gone by then: what perfSONAR does.
    pair.server.receive_eof(pair.now_ns)
    assert pair.server.closed
    assert not pair.server.finished
    assert pair.server.timers == {(Timer.TIMEOUT, session.sid): pair.now_ns + 3 * SECOND}
    pair.later(2.9)
    assert pair.server.session_count == 1
    pair.later(0.1)
    assert pair.server_event(SessionEnded) == SessionEnded(session.sid, EndReason.STOPPED)
    assert pair.server.finished


def test_a_timeout_of_zero_ends_at_once() -> None:
    pair = twamp_pair()
    pair.request(replace(REQUEST, timeout=0))
    pair.start()
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.server_event(SessionEnded).reason is EndReason.STOPPED


def test_a_client_that_vanishes_takes_its_sessions_along() -> None:
    pair = twamp_pair()
    session = pair.request()
    pair.start()
    pair.server.receive_eof(pair.now_ns, lost=True)
    pair.transfer()
    assert pair.server_event(SessionEnded) == SessionEnded(session.sid, EndReason.CONNECTION)
    assert pair.server_event(ConnectionClosed).reason is CloseReason.LOST
    assert pair.server.finished


def test_rfc5357_3_1_servwait_ends_an_idle_connection_and_its_sessions() -> None:
    pair = twamp_pair()
    pair.request()
    pair.later(899.9)
    assert not pair.server.closed
    pair.later(0.2)
    assert pair.server_event(ConnectionClosed).reason is CloseReason.SERVWAIT
    assert pair.server_event(SessionEnded).reason is EndReason.CONNECTION


def test_rfc5357_3_1_servwait_is_suspended_from_start_to_stop() -> None:
    pair = twamp_pair(refwait_ns=0)
    pair.request()
    pair.start()
    assert not pair.server.timers
    pair.later(100_000)
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.server.timers[Timer.SERVWAIT, b""] == pair.now_ns + 900 * SECOND


def test_rfc5357_3_1_servwait_resumes_when_refwait_has_ended_every_session() -> None:
    pair = twamp_pair(servwait_ns=60 * SECOND, refwait_ns=10 * SECOND)
    first, second = pair.request(), pair.request()
    pair.start()
    pair.later(5)
    pair.server.packet_seen(second.sid, pair.now_ns)
    pair.later(5)
    assert pair.server_event(SessionEnded) == SessionEnded(first.sid, EndReason.REFWAIT)
    assert (Timer.SERVWAIT, b"") not in pair.server.timers
    pair.later(5)
    assert pair.server_event(SessionEnded) == SessionEnded(second.sid, EndReason.REFWAIT)
    assert pair.server.timers == {(Timer.SERVWAIT, b""): pair.now_ns + 60 * SECOND}
    # The client knows nothing of that, and its Stop-Sessions still has to count them.
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.server.state is State.READY


def test_refwait_waits_for_a_start_in_the_future() -> None:
    pair = twamp_pair(refwait_ns=10 * SECOND)
    pair.answers = False
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    sid = pair.server.accept_session(9, pair.now_ns, timestamp=0, start_delay_ns=3600 * SECOND).sid
    pair.answers = True
    pair.transfer()
    pair.start()
    assert pair.server.timers == {(Timer.REFWAIT, sid): pair.now_ns + 3610 * SECOND}


def test_a_connection_can_have_a_longest_life() -> None:
    pair = twamp_pair(connection_ns=100 * SECOND)
    pair.request()
    pair.start()
    pair.later(100)
    assert pair.server_event(ConnectionClosed).reason is CloseReason.LIFETIME
    assert pair.server_event(SessionEnded).reason is EndReason.CONNECTION


def test_rfc4656_3_a_message_that_does_not_end() -> None:
    server = ready(message_ns=30 * SECOND)
    octets = clear(ASKED)
    for at in range(29):
        server.receive_data(octets[at : at + 1], NOW + at * SECOND)
        server.handle_timer(NOW + at * SECOND)
    assert not server.closed
    server.handle_timer(NOW + 30 * SECOND)
    violated, closed = events(server)
    assert isinstance(violated, ProtocolViolated)
    assert violated.rule is Rule.MESSAGE_TOO_SLOW
    assert isinstance(closed, ConnectionClosed)


@pytest.mark.parametrize("mode", [Mode.AUTHENTICATED, Mode.ENCRYPTED, Mode.MIXED])
@pytest.mark.parametrize("octet", [0, 1, 17, 95, 96, 111])
def test_rfc4656_3_2_an_octet_altered_closes_without_an_answer(mode: Mode, octet: int) -> None:
    pair = twamp_pair(mode)
    pair.client.request_session(REQUEST, pair.now_ns)
    octets = bytearray(pair.client.data_to_send())
    octets[octet] ^= 0x40
    pair.server.receive_data(bytes(octets), pair.now_ns)
    said = pair.server.data_to_send()
    pair.transfer()
    assert pair.server.closed
    # Where the command number itself was hit there may be no known length, so it is answered as an unknown command.
    rule = pair.server_event(ProtocolViolated).rule
    assert rule in ((Rule.HMAC, Rule.COMMAND_UNKNOWN) if octet < 16 else (Rule.HMAC,))
    assert rule is Rule.COMMAND_UNKNOWN or not said


@pytest.mark.parametrize("mode", [Mode.AUTHENTICATED, Mode.ENCRYPTED, Mode.MIXED])
def test_rfc4656_3_2_an_answer_altered_closes_the_client(mode: Mode) -> None:
    for octet in range(48):
        pair = twamp_pair(mode)
        pair.answers = False
        pair.client.request_session(REQUEST, pair.now_ns)
        pair.transfer()
        pair.server.accept_session(9, pair.now_ns, timestamp=0)
        octets = bytearray(pair.server.data_to_send())
        octets[octet] ^= 1
        pair.client.receive_data(bytes(octets), pair.now_ns)
        pair.transfer()
        assert pair.client_event(ProtocolViolated).rule is Rule.HMAC
        assert not any(isinstance(event, SessionAccepted) for event in pair.client_events)


def test_rfc4656_3_2_hmacs_in_the_clear_are_ignored() -> None:
    server = ready()
    server.receive_data(ASKED.segments()[0] + b"not an hmac here", NOW)
    assert isinstance(events(server)[0], SessionRequested)


def test_commands_are_answered_in_order_however_many_come_at_once() -> None:
    server = ready()
    server.receive_data(clear(ASKED) * 3 + clear(codec.StartSessions()), NOW)
    for number in range(3):
        (event,) = events(server)
        assert isinstance(event, SessionRequested)
        assert not server.reading
        server.accept_session(1000 + number, NOW, timestamp=number)
    (started,) = events(server)
    assert isinstance(started, StartRequested)
    server.answer_start(NOW)
    octets = server.data_to_send()
    assert [octets[at + 2 : at + 4] for at in (0, 48, 96)] == [(1000 + n).to_bytes(2) for n in range(3)]
    assert len(octets) == 3 * 48 + 32


def test_rfc4656_6_5_unread_octets_are_limited() -> None:
    server = ready()
    server.receive_data(clear(ASKED) * 500, NOW)
    assert isinstance(events(server)[0], SessionRequested)
    server.receive_data(clear(ASKED) * 500, NOW)
    violated = events(server)[0]
    assert isinstance(violated, ProtocolViolated)
    assert violated.rule is Rule.TOO_MUCH_UNREAD


def test_rfc4656_6_5_a_client_that_does_not_read_is_not_read() -> None:
    server = ready(limits=Limits(unsent_octets=1000))
    improper = clear(replace(ASKED, conf_sender=1))
    server.receive_data(improper * 100, NOW)
    assert len(server._outbound) <= 1048  # noqa: SLF001  (what is kept)
    answers = 0
    while octets := server.data_to_send():
        answers += len(octets) // 48
    assert answers == 100
    assert not server.closed


@pytest.mark.parametrize("state", ["ready", "active", "starting"])
def test_octets_that_nobody_asked_for_close_the_client(state: str) -> None:
    pair = twamp_pair()
    pair.request()
    if state == "active":
        pair.start()
    elif state == "starting":
        pair.client.start_sessions(pair.now_ns)
    pair.client.receive_data(bytes(33), pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is Rule.UNEXPECTED_OCTETS
    assert pair.client_event(ConnectionClosed).reason is CloseReason.VIOLATION


def test_rfc5357_3_5_a_session_accepted_without_a_port_is_none() -> None:
    pair = twamp_pair()
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.client.receive_data(bytes(48), pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is Rule.PORT_ZERO


def test_one_sid_for_two_sessions_is_none() -> None:
    pair = twamp_pair()
    for _ in range(2):
        pair.client.request_session(REQUEST, pair.now_ns)
        pair.client.data_to_send()
        pair.client.receive_data(clear(codec.AcceptSession(Accept.OK, 7, b"sixteen octets!!")), pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is Rule.SID_IN_USE


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, sender_port=0),
        replace(REQUEST, sender_port=65536),
        replace(REQUEST, receiver_port=-1),
        replace(REQUEST, dscp=64),
        replace(REQUEST, padding_length=65508),
        replace(REQUEST, timeout=1 << 64),
        replace(REQUEST, packets=1),
        replace(REQUEST, sender_address=ip_address("::1")),
        replace(REQUEST, sender_address=ip_address("::1"), receiver_address=ip_address("127.0.0.1")),
    ],
)
def test_requests_that_our_side_must_not_make(request_: SessionRequest) -> None:
    pair = twamp_pair()
    with pytest.raises(LocalControlError):
        pair.client.request_session(request_, pair.now_ns)
    assert not pair.client.data_to_send()
    pair.request()


def test_answers_that_our_side_must_not_give() -> None:
    pair = twamp_pair()
    pair.answers = False
    with pytest.raises(LocalControlError, match="not while ready"):
        pair.server.accept_session(1, NOW, timestamp=0)
    with pytest.raises(LocalControlError):
        pair.server.answer_start(NOW)
    with pytest.raises(LocalControlError):
        pair.server.stop_sessions(NOW)
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    for port in (0, -1, 65536):
        with pytest.raises(LocalControlError, match="out of range"):
            pair.server.accept_session(port, NOW, timestamp=0)
    with pytest.raises(LocalControlError, match="no refusal"):
        pair.server.refuse_session(Accept.OK, NOW)
    pair.server.accept_session(1, NOW, timestamp=0)
    pair.transfer()
    pair.client.start_sessions(pair.now_ns)
    pair.transfer()
    with pytest.raises(LocalControlError):
        pair.server.answer_start(NOW, {b"another session!": Accept.FAILURE})
    pair.server.answer_start(NOW)


def test_commands_that_our_side_must_not_give() -> None:
    pair = twamp_pair()
    with pytest.raises(LocalControlError, match="no accepted session"):
        pair.client.start_sessions(NOW)
    with pytest.raises(LocalControlError, match="not while ready"):
        pair.client.stop_sessions(NOW)
    with pytest.raises(LocalControlError):
        pair.client.fetch_session(ZERO, NOW)
    pair.request()
    with pytest.raises(LocalControlError, match="without individual control"):
        pair.client.start_sessions(NOW, [ZERO])
    pair.start()
    with pytest.raises(LocalControlError, match="not while active"):
        pair.client.request_session(REQUEST, NOW)
    with pytest.raises(LocalControlError, match="without individual control"):
        pair.client.stop_sessions(NOW, [ZERO])


def test_a_session_that_its_owner_ends() -> None:
    pair = twamp_pair()
    first, second = pair.request(), pair.request()
    pair.start()
    pair.server.end_session(first.sid, pair.now_ns)
    pair.server.end_session(first.sid, pair.now_ns)
    pair.transfer()
    assert pair.server_event(SessionEnded) == SessionEnded(first.sid, EndReason.LOCAL)
    # It was started and no Stop-Sessions has terminated it, so it counts (RFC 5357 section 3.8).
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.server_event(SessionStopped).sid == second.sid


def test_closing_from_our_side() -> None:
    pair = twamp_pair()
    pair.request()
    pair.client.close(pair.now_ns)
    pair.client.close(pair.now_ns)
    pair.server.close(pair.now_ns)
    pair.transfer()
    assert pair.client_event(ConnectionClosed).reason is CloseReason.LOCAL
    assert pair.server_event(SessionEnded).reason is EndReason.CONNECTION
    assert pair.client.finished
    assert pair.server.finished
    pair.server.receive_data(b"too late", pair.now_ns)
    pair.server.receive_eof(pair.now_ns)
    assert pair.server.next_event() is None


def test_a_clock_that_goes_back_stops_nothing() -> None:
    pair = twamp_pair()
    pair.request()
    deadline = pair.server.next_deadline_ns()
    pair.server.handle_timer(0)
    assert pair.server.next_deadline_ns() == deadline
    pair.now_ns = 0
    pair.start()
    assert pair.client.state is State.ACTIVE


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


def test_a_packet_of_a_session_that_does_not_wait_for_one() -> None:
    pair = twamp_pair(refwait_ns=0)
    session = pair.request()
    pair.start()
    pair.server.packet_seen(session.sid, pair.now_ns)
    assert not pair.server.timers


def test_two_timers_at_once() -> None:
    pair = twamp_pair(connection_ns=100 * SECOND, servwait_ns=100 * SECOND)
    pair.later(100)
    assert sum(isinstance(event, ConnectionClosed) for event in pair.server_events) == 1


def test_sessions_of_an_earlier_round_go_on_for_their_timeout() -> None:
    pair = twamp_pair()
    first = pair.request(replace(REQUEST, timeout=10 << 32)).sid
    pair.start()
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    second = pair.request().sid
    pair.start()
    assert pair.server_event(StartRequested).sids == (second,)
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.server.timers[Timer.TIMEOUT, first] == pair.now_ns + 10 * SECOND
    assert [event.sid for event in pair.server_events if isinstance(event, SessionStopped)] == [first, second]
    pair.later(2)
    assert pair.server_event(SessionEnded).sid == second
    pair.later(8)
    assert pair.server_event(SessionEnded).sid == first


@pytest.mark.parametrize("mode", SECURITY)
def test_rfc4656_6_5_authenticated_clients_have_limits_of_their_own(mode: Mode) -> None:
    pair = twamp_pair(mode, limits=Limits(sessions=1), authenticated_limits=Limits(sessions=2))
    pair.request()
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    assert len(pair.client.sessions) == (1 if mode is Mode.UNAUTHENTICATED else 2)


@pytest.mark.parametrize("when", ["before the start", "during the start"])
def test_rfc5357_3_8_a_session_ended_before_it_started_is_counted_all_the_same(when: str) -> None:
    pair = twamp_pair()
    first, second = pair.request().sid, pair.request().sid
    if when == "before the start":
        pair.server.end_session(first, pair.now_ns)
        pair.start()
    else:
        pair.answers = False
        pair.start()
        pair.server.end_session(first, pair.now_ns)
        pair.server.answer_start(pair.now_ns)
        pair.transfer()
    # The Control-Client must account for each accepted request, and knows of two.
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert not pair.server.closed
    assert pair.server_event(SessionStopped).sid == second


def test_a_start_of_which_nothing_is_left_is_refused() -> None:
    pair = twamp_pair()
    sid = pair.request().sid
    pair.answers = False
    pair.start()
    pair.server.end_session(sid, pair.now_ns)
    pair.server.answer_start(pair.now_ns)
    pair.transfer()
    assert pair.client_event(StartRefused).accept is Accept.FAILURE


def test_sessions_ended_before_they_started_make_no_room_for_more() -> None:
    pair = twamp_pair(limits=Limits(sessions=1))
    pair.server.end_session(pair.request().sid, pair.now_ns)
    pair.client.request_session(REQUEST, pair.now_ns)
    pair.transfer()
    assert pair.server_event(RequestRefused).rule is Rule.TOO_MANY_SESSIONS
