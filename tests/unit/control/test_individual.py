"""Individual session control (RFC 5938), each rule by its section."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twoway.control import codec
from twoway.control.configuration import SECOND, Limits
from twoway.control.connection import Timer
from twoway.control.events import (
    CommandRefused,
    EndReason,
    ProtocolViolated,
    SessionEnded,
    SessionRequested,
    SessionsStarted,
    SessionsStopped,
    SessionStopped,
    StartRefused,
    StartRequested,
    StopRefused,
)
from twoway.control.registry import Accept, Mode
from twoway.control.rules import Rule
from twoway.control.transitions import State
from twoway.errors import LocalControlError

from .pair import REQUEST, SECURITY, Pair, client_configuration, make_client, twamp_pair

INDIVIDUAL = Mode.INDIVIDUAL_SESSION_CONTROL
UNKNOWN = b"no such session!"


def clear(message: codec.StartNSessions | codec.StopNSessions | codec.StartNAck | codec.StopNAck) -> bytes:
    return b"".join(segment + bytes(16) for segment in message.segments())


@pytest.mark.parametrize("chunk", [1, 1 << 20])
@pytest.mark.parametrize("mode", SECURITY)
def test_sessions_start_and_stop_one_by_one(mode: Mode, chunk: int) -> None:
    pair = Pair(make_client(client_configuration(mode, features=INDIVIDUAL)), chunk=chunk).connect()
    first, second = pair.request().sid, pair.request().sid
    pair.start((second,))
    assert pair.client_event(SessionsStarted).sids == (second,)
    # Requests go on while a session runs.
    third = pair.request().sid
    pair.start()
    assert pair.client_event(SessionsStarted).sids == (first, third)
    pair.client.stop_sessions(pair.now_ns, [second])
    pair.transfer()
    assert pair.client_event(SessionsStopped).sids == (second,)
    assert pair.server_event(SessionStopped).sid == second
    pair.later(2)
    assert pair.server_event(SessionEnded) == SessionEnded(second, EndReason.STOPPED)
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.client_event(SessionsStopped).sids == (first, third)
    assert pair.client.sessions == ()
    assert (pair.client.state, pair.server.state) == (State.READY, State.READY)


def test_rfc5938_3_3_one_acknowledgement_for_each_accept_value() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    sids = [pair.request().sid for _ in range(4)]
    pair.answers = False
    pair.start()
    assert pair.server_event(StartRequested).sids == tuple(sids)
    pair.server.answer_start(pair.now_ns, {sids[2]: Accept.TEMPORARY_LIMIT})
    pair.transfer()
    ok = bytes([8, 0]) + bytes(10) + (3).to_bytes(4) + sids[0] + sids[1] + sids[3] + bytes(16)
    busy = bytes([8, 5]) + bytes(10) + (1).to_bytes(4) + sids[2] + bytes(16)
    assert pair.sent[-1][1] == ok + busy
    assert pair.client_event(SessionsStarted).sids == (sids[0], sids[1], sids[3])
    assert pair.client_event(StartRefused) == StartRefused((sids[2],), Accept.TEMPORARY_LIMIT)
    # It can be tried again.
    pair.answers = True
    pair.start((sids[2],))
    assert pair.client_event(SessionsStarted).sids == (sids[2],)


def test_rfc5938_3_2_several_commands_may_await_their_acknowledgements() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    first, second = pair.request().sid, pair.request().sid
    pair.client.start_sessions(pair.now_ns, [second])
    pair.client.start_sessions(pair.now_ns, [first])
    assert pair.client.state.name == "AWAITING_N_ACKS"
    # In whatever order they come.
    pair.client.receive_data(clear(codec.StartNAck((first,), Accept.OK)), pair.now_ns)
    assert pair.client.state.name == "AWAITING_N_ACKS"
    pair.client.receive_data(clear(codec.StartNAck((second,), Accept.OK)), pair.now_ns)
    assert pair.client.state.name == "READY"


def test_rfc5938_3_2_an_unknown_sid_is_not_affirmed() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    known = pair.request().sid
    pair.server.receive_data(clear(codec.StartNSessions((UNKNOWN, known, known))), pair.now_ns)
    assert isinstance(pair.server.next_event(), CommandRefused)
    assert pair.server.next_event() == StartRequested((known,))
    pair.server.answer_start(pair.now_ns)
    acks = clear(codec.StartNAck((known,), Accept.OK)) + clear(codec.StartNAck((UNKNOWN,), Accept.NOT_SUPPORTED))
    assert pair.server.data_to_send() == acks


@pytest.mark.parametrize("kind", [codec.StartNSessions, codec.StopNSessions])
def test_rfc5938_only_unknown_sids(kind: type[codec.StartNSessions | codec.StopNSessions]) -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    pair.server.receive_data(clear(kind((UNKNOWN,))), pair.now_ns)
    answer = codec.StartNAck if kind is codec.StartNSessions else codec.StopNAck
    assert pair.server.data_to_send() == clear(answer((UNKNOWN,), Accept.NOT_SUPPORTED))
    assert pair.server.state is State.READY


@pytest.mark.parametrize("number", [7, 9])
def test_rfc5938_3_2_number_of_sessions_must_be_one_or_greater(number: int) -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    pair.server.receive_data(bytes([number]) + bytes(31), pair.now_ns)
    # There is no SID to acknowledge; it is not affirmed, and the connection goes on.
    assert pair.server.data_to_send() == b"\3" + bytes(47)
    event = pair.server.next_event()
    assert isinstance(event, CommandRefused)
    assert event.rule is Rule.NO_SIDS
    pair.request()


@pytest.mark.parametrize("count", [65, 0xFFFFFFFF])
@pytest.mark.parametrize("number", [7, 9])
def test_rfc4656_6_5_the_number_of_sids_is_bounded_before_they_are_read(number: int, count: int) -> None:
    pair = twamp_pair(features=INDIVIDUAL, limits=Limits(sessions=64))
    pair.server.receive_data(bytes([number]) + bytes(11) + count.to_bytes(4), pair.now_ns)
    pair.transfer()
    assert pair.server_event(ProtocolViolated).rule is Rule.TOO_MANY_SIDS
    assert pair.server.closed


@pytest.mark.parametrize("message", [codec.StartSessions(), codec.StopSessions(Accept.OK, 0)])
def test_rfc5938_3_1_start_and_stop_sessions_must_not_be_used(
    message: codec.StartSessions | codec.StopSessions,
) -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    pair.request()
    pair.server.receive_data(message.segments()[0] + bytes(16), pair.now_ns)
    assert pair.server.data_to_send() == b"\3" + bytes(47)
    event = pair.server.next_event()
    assert isinstance(event, CommandRefused)
    assert event.rule is Rule.COMMAND_UNEXPECTED
    assert not pair.server.closed


def test_rfc5938_3_5_what_cannot_be_stopped_is_not_affirmed() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    sid = pair.request().sid
    pair.start()
    pair.server.end_session(sid, pair.now_ns)
    pair.client.stop_sessions(pair.now_ns)
    pair.transfer()
    assert pair.client_event(StopRefused) == StopRefused((sid,), Accept.NOT_SUPPORTED)
    assert pair.client.sessions == ()


def test_a_session_can_be_given_up_before_it_starts() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    sid = pair.request().sid
    pair.client.stop_sessions(pair.now_ns, [sid])
    pair.transfer()
    assert pair.server_event(SessionEnded) == SessionEnded(sid, EndReason.STOPPED)
    assert len(pair.server.sessions) == 0


def test_a_session_ended_between_the_start_and_its_answer_is_not_affirmed() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    sid = pair.request().sid
    pair.answers = False
    pair.start()
    pair.server.end_session(sid, pair.now_ns)
    pair.server.answer_start(pair.now_ns)
    pair.transfer()
    assert pair.client_event(StartRefused) == StartRefused((sid,), Accept.FAILURE)


@pytest.mark.parametrize(
    "octets",
    [
        clear(codec.StartNAck((UNKNOWN,), Accept.OK)),
        clear(codec.StopNAck((UNKNOWN,), Accept.OK)),
        b"\3" + bytes(47),
        bytes([8]) + bytes(31),
    ],
)
def test_rfc5938_3_3_an_acknowledgement_that_was_not_asked_for(octets: bytes) -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    pair.request()
    pair.client.start_sessions(pair.now_ns)
    pair.client.receive_data(octets, pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule in (Rule.ACK_UNEXPECTED, Rule.NO_SIDS)


def test_rfc5938_3_6_servwait_is_suspended_while_any_session_runs() -> None:
    pair = twamp_pair(features=INDIVIDUAL, refwait_ns=50 * SECOND)
    first, second = pair.request().sid, pair.request().sid
    servwait = (Timer.SERVWAIT, b"")
    assert servwait in pair.server.timers
    pair.start((first,))
    assert servwait not in pair.server.timers
    pair.start((second,))
    pair.client.stop_sessions(pair.now_ns, [first])
    pair.transfer()
    assert servwait not in pair.server.timers
    pair.later(50)
    assert pair.server_event(SessionEnded) == SessionEnded(second, EndReason.REFWAIT)
    assert servwait in pair.server.timers


def test_sids_that_our_side_must_not_name() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    sid = pair.request().sid
    for sids in ([], [UNKNOWN], [sid, sid]):
        with pytest.raises(LocalControlError, match="RFC 5938"):
            pair.client.start_sessions(pair.now_ns, sids)
    with pytest.raises(LocalControlError):
        pair.client.stop_sessions(pair.now_ns)
    pair.start()
    with pytest.raises(LocalControlError):
        pair.client.start_sessions(pair.now_ns, [sid])


def test_a_request_awaits_no_acknowledgements() -> None:
    pair = twamp_pair(features=INDIVIDUAL)
    pair.request()
    pair.client.start_sessions(pair.now_ns)
    with pytest.raises(LocalControlError, match="not while awaiting acknowledgements"):
        pair.client.request_session(replace(REQUEST, sender_port=1), pair.now_ns)
    pair.transfer()
    pair.request()
    assert pair.server_event(SessionRequested)
