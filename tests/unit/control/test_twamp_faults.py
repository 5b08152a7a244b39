"""What must not come, nor be asked of us, in TWAMP-Control: commands, octets and calls, each rule by its section."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from twoway.control import codec
from twoway.control.configuration import SECOND, Limits
from twoway.control.events import (
    CloseReason,
    CommandRefused,
    ConnectionClosed,
    EndReason,
    ProtocolViolated,
    SessionAccepted,
    SessionEnded,
    SessionRefused,
    SessionRequested,
    SessionStopped,
    StartRequested,
)
from twoway.control.registry import Accept, Mode
from twoway.control.rules import Rule
from twoway.control.transitions import State
from twoway.errors import LocalControlError

from .pair import (
    REQUEST,
    SECURITY,
    twamp_pair,
)
from .twamp import ASKED, NOW, ZERO, clear, events, ready

if TYPE_CHECKING:
    from twoway.control.negotiated import SessionRequest


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
    assert len(pair.server.sessions) == 1
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


def test_a_packet_of_a_session_that_does_not_wait_for_one() -> None:
    pair = twamp_pair(refwait_ns=0)
    session = pair.request()
    pair.start()
    pair.server.packet_seen(session.sid, pair.now_ns)
    assert not pair.server.timers
