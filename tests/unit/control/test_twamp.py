"""TWAMP-Control after set-up (RFC 5357 section 3): a whole test, its start, stop and timeouts, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twoway.control import codec
from twoway.control.codec import interval_from_ns
from twoway.control.configuration import SECOND, Limits
from twoway.control.connection import Timer
from twoway.control.events import (
    CloseReason,
    CommandRefused,
    ConnectionClosed,
    EndReason,
    ProtocolViolated,
    RequestRefused,
    SessionEnded,
    SessionsStarted,
    SessionsStopped,
    SessionStopped,
    StartRefused,
    StartRequested,
)
from twoway.control.registry import SECURE_TEST, Accept, Mode
from twoway.control.rules import Rule
from twoway.control.transitions import State

from .pair import (
    REQUEST,
    SECURITY,
    Pair,
    client_configuration,
    make_client,
    twamp_pair,
)
from .twamp import NOW, clear, events, ready


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
@pytest.mark.parametrize("mode", SECURITY)
def test_a_whole_test(mode: Mode, chunk: int) -> None:
    pair = Pair(make_client(client_configuration(mode)), chunk=chunk).connect()
    sessions = [pair.request(), pair.request(replace(REQUEST, sender_port=5001))]
    assert list(pair.server.sessions) == sessions
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
    assert len(pair.server.sessions) == 2
    pair.later(2)
    assert [event.sid for event in pair.server_events if isinstance(event, SessionEnded)] == list(sids)
    # The connection can be used again (RFC 5357 section 3.8).
    pair.request()
    pair.start()
    assert pair.client.state is State.ACTIVE
    assert not any(isinstance(event, ProtocolViolated) for event in pair.client_events + pair.server_events)


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
    assert len(pair.server.sessions) == 1
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
