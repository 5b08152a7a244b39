"""OWAMP-Control (RFC 4656 sections 3.5 to 3.9), each rule by its section."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from twoway.control import codec
from twoway.control.configuration import SECOND, Limits
from twoway.control.connection import Timer
from twoway.control.events import (
    ConnectionClosed,
    EndReason,
    Event,
    FetchRefused,
    FetchRequested,
    ProtocolViolated,
    RequestRefused,
    SessionEnded,
    SessionFetched,
    SessionRefused,
    SessionRequested,
    SessionsStopped,
    StopReceived,
)
from twoway.control.negotiated import StoredSession
from twoway.control.owamp_codec import (
    LOST_SEND_ERROR,
    FetchAck,
    OwampStopSessions,
    PacketRecord,
    PacketRecords,
    RequestSession,
    ScheduleSlot,
    SendRecord,
    SkipRange,
)
from twoway.control.registry import Accept, Mode, Protocol
from twoway.control.rules import Rule
from twoway.control.transitions import State
from twoway.errors import LocalControlError

from .pair import (
    BACK,
    ONE_WAY,
    SERVER,
    Pair,
    client_configuration,
    make_client,
    make_server,
    owamp_pair,
    server_configuration,
)

if TYPE_CHECKING:
    from twoway.control.server import Server

NOW = 77 * SECOND
ZERO = bytes(16)
MODES = (Mode.UNAUTHENTICATED, Mode.AUTHENTICATED, Mode.ENCRYPTED)
ASKED = RequestSession(
    ip_version=4,
    conf_sender=False,
    conf_receiver=True,
    packets=5,
    sender_port=5000,
    receiver_port=0,
    sender_address=ZERO,
    receiver_address=ZERO,
    sid=ZERO,
    padding_length=0,
    start_time=0,
    timeout=1 << 32,
    type_p=0,
    slots=(ScheduleSlot(0, 1 << 32),),
)
RECORDS = [PacketRecord(n, 0x8001, 0x8002, 1000 + n, 2000 + n if n % 7 else 0, 255 - n % 9) for n in range(1000)]


def clear(message: object) -> bytes:
    return b"".join(segment + bytes(16) for segment in message.segments())  # type: ignore[attr-defined]  # any message


def ready(**changes: object) -> Server:
    server = make_server(server_configuration(protocol=Protocol.OWAMP, **changes))
    server.connection_made(NOW)
    server.receive_data(codec.SetUpResponse(1, bytes(80), bytes(64), bytes(16)).octets(), NOW)
    server.data_to_send()
    events(server)
    return server


def events(server: Server) -> list[Event]:
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


def refused(message: RequestSession, **changes: object) -> RequestRefused | None:
    """What a Server refuses of a request; None if it leaves the decision to its owner. The connection goes on."""
    server = ready(**changes)
    server.receive_data(clear(message), NOW)
    (event,) = events(server)
    assert not server.closed
    if isinstance(event, SessionRequested):
        return None
    assert isinstance(event, RequestRefused)
    assert server.data_to_send() == bytes([event.accept]) + bytes(47)
    return event


def running(mode: Mode = Mode.UNAUTHENTICATED, chunk: int = 1 << 20) -> tuple[Pair, bytes, bytes]:
    """A pair with a session each way, started; the SIDs of ours and of the Server's."""
    client = make_client(client_configuration(mode, protocol=Protocol.OWAMP))
    pair = Pair(client, make_server(server_configuration(protocol=Protocol.OWAMP)), chunk=chunk).connect()
    out, back = pair.request(ONE_WAY).sid, pair.request(BACK).sid
    pair.start()
    return pair, out, back


def stored(**changes: object) -> StoredSession:
    settings: dict[str, object] = {
        "request": replace(ASKED, receiver_port=9999, sid=b"sixteen octets!!"),
        "finished": True,
        "ended_normally": True,
        "next_seqno": 1000,
        "skip_ranges": (SkipRange(1, 2), SkipRange(7, 7), SkipRange(9, 12)),
        "record_count": len(RECORDS),
        "records": iter(RECORDS),
        **changes,
    }
    return StoredSession(**settings)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("mode", MODES)
def test_sessions_both_ways(mode: Mode, chunk: int) -> None:
    pair, out, back = running(mode, chunk)
    ours, theirs = pair.client.sessions
    assert (ours.sid, theirs.sid) == (out, back)
    assert ours.request.receiver_port == 20001
    assert theirs.request.sender_port == 20002
    assert theirs.request.receiver_port == BACK.receiver_port
    assert theirs.request.slots == BACK.slots
    assert theirs.request.sender_address == SERVER
    assert pair.server.sessions == (ours, theirs)
    skips = (SkipRange(0, 1), SkipRange(3, 3))
    pair.client.stop_sessions(pair.now_ns, records=[SendRecord(out, 5, skips)])
    pair.transfer()
    assert pair.server_event(StopReceived) == StopReceived(Accept.OK, (SendRecord(out, 5, skips),), owed=True)
    assert (pair.client.state, pair.server.state) == (State.AWAITING_STOP, State.OWING_STOP)
    pair.server.stop_sessions(pair.now_ns, [SendRecord(back, 7, (SkipRange(2, 6),))])
    pair.transfer()
    assert pair.client_event(StopReceived).records == (SendRecord(back, 7, (SkipRange(2, 6),)),)
    assert pair.client_event(SessionsStopped) == pair.server_event(SessionsStopped)
    assert pair.client_event(SessionsStopped) == SessionsStopped((out, back), Accept.OK)
    assert {e.sid: e.reason for e in pair.server_events if isinstance(e, SessionEnded)} == {
        out: EndReason.STOPPED,
        back: EndReason.STOPPED,
    }
    assert (pair.client.state, pair.server.state) == (State.READY, State.READY)
    pair.request(ONE_WAY)


def test_rfc4656_3_8_the_server_may_stop_first() -> None:
    pair, out, back = running()
    pair.server.stop_sessions(pair.now_ns, [SendRecord(back, 9)], accept=Accept.INTERNAL_ERROR)
    pair.transfer()
    assert pair.client_event(StopReceived) == StopReceived(Accept.INTERNAL_ERROR, (SendRecord(back, 9),), owed=True)
    assert pair.server.state is State.AWAITING_STOP
    assert (Timer.SERVWAIT, b"") in pair.server.timers
    pair.client.stop_sessions(pair.now_ns, records=[SendRecord(out, 5)])
    pair.transfer()
    assert pair.client_event(SessionsStopped).accept is Accept.INTERNAL_ERROR
    assert pair.server_event(SessionsStopped).accept is Accept.INTERNAL_ERROR


def test_rfc4656_3_8_both_may_stop_at_once() -> None:
    pair, out, back = running()
    pair.server.stop_sessions(pair.now_ns, [SendRecord(back, 9)])
    pair.client.stop_sessions(pair.now_ns, records=[SendRecord(out, 5)])
    pair.transfer()
    assert not pair.client_event(StopReceived).owed
    assert not pair.server_event(StopReceived).owed
    assert (pair.client.state, pair.server.state) == (State.READY, State.READY)


@pytest.mark.parametrize("ranges", range(6))
def test_rfc4656_3_8_a_record_ends_on_a_block(ranges: int) -> None:
    record = SendRecord(b"sixteen octets!!", 99, tuple(SkipRange(9 * n, 9 * n + n) for n in range(ranges)))
    octets = clear(OwampStopSessions(Accept.OK, (record, record)))
    length = -(-(24 + 8 * ranges) // 16) * 16
    assert len(octets) == 16 + 2 * length + 16
    assert octets[16 + 24 + 8 * ranges : 16 + length] == bytes(length - 24 - 8 * ranges)


@pytest.mark.parametrize(
    ("records", "rule"),
    [
        ([], Rule.STOP_COUNT),
        (["out", "out"], Rule.STOP_COUNT),
        (["back"], Rule.STOP_SESSION_UNKNOWN),
        (["beyond"], Rule.SKIP_RANGES),
        (["overlap"], Rule.SKIP_RANGES),
        (["disorder"], Rule.SKIP_RANGES),
        (["empty"], Rule.SKIP_RANGES),
        (["late"], Rule.SKIP_RANGES),
    ],
)
def test_rfc4656_3_8_a_stop_that_does_not_account_for_its_sessions(records: list[str], rule: Rule) -> None:
    pair, out, back = running()
    choice = {
        "out": SendRecord(out, 5),
        "back": SendRecord(back, 5),
        "beyond": SendRecord(out, 6),
        "overlap": SendRecord(out, 5, (SkipRange(0, 2), SkipRange(2, 3))),
        "disorder": SendRecord(out, 5, (SkipRange(3, 3), SkipRange(1, 1))),
        "empty": SendRecord(out, 5, (SkipRange(3, 2),)),
        "late": SendRecord(out, 4, (SkipRange(4, 4),)),
    }
    chosen = tuple(choice[name] for name in records)
    with pytest.raises(LocalControlError):
        pair.client.stop_sessions(pair.now_ns, records=chosen)
    pair.server.receive_data(clear(OwampStopSessions(Accept.OK, chosen)), pair.now_ns)
    pair.transfer()
    assert pair.server_event(ProtocolViolated).rule is rule
    assert pair.server.closed
    assert not any(isinstance(event, StopReceived) for event in pair.server_events)


def test_rfc4656_6_5_skip_ranges_are_bounded_before_they_are_read() -> None:
    pair, out, _ = running()
    header = bytes([3, 0, 0, 0]) + (1).to_bytes(4) + bytes(8) + out + (5).to_bytes(4) + (0xFFFFFFFF).to_bytes(4)
    pair.server.receive_data(header + bytes(8), pair.now_ns)
    pair.transfer()
    assert pair.server_event(ProtocolViolated).rule is Rule.TOO_MANY_SKIP_RANGES
    pair, _, _ = running()
    pair.server.receive_data(bytes([3, 0, 0, 0]) + (0xFFFFFFFF).to_bytes(4) + bytes(8), pair.now_ns)
    pair.transfer()
    assert pair.server_event(ProtocolViolated).rule is Rule.STOP_COUNT


def test_rfc4656_3_4_only_stop_sessions_while_active() -> None:
    pair, _, _ = running()
    pair.server.receive_data(clear(ASKED), pair.now_ns)
    assert pair.server.data_to_send() == b"\3" + bytes(47)
    assert pair.server.state is State.ACTIVE


def test_rfc4656_3_4_a_server_sends_no_other_command() -> None:
    pair, _, _ = running()
    pair.client.receive_data(bytes([2]) + bytes(31), pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is Rule.COMMAND_UNEXPECTED


@pytest.mark.parametrize(
    ("changes", "accept", "rule"),
    [
        ({"conf_receiver": False}, Accept.NOT_SUPPORTED, Rule.CONF_NEITHER),
        ({"conf_sender": True}, Accept.NOT_SUPPORTED, Rule.CONF_BOTH),
        ({"packets": 0}, Accept.NOT_SUPPORTED, Rule.NO_SLOTS),
        ({"slots": ()}, Accept.NOT_SUPPORTED, Rule.NO_SLOTS),
        ({"slots": (ScheduleSlot(2, 0),)}, Accept.NOT_SUPPORTED, Rule.SLOT_TYPE),
        ({"packets": 0xFFFFFFFF}, Accept.PERMANENT_LIMIT, Rule.TOO_MANY_PACKETS),
        ({"padding_length": 0xFFFFFFFF}, Accept.NOT_SUPPORTED, Rule.PADDING_TOO_LONG),
        ({"timeout": 2**64 - 1}, Accept.PERMANENT_LIMIT, Rule.TIMEOUT_TOO_LONG),
        ({"ip_version": 6}, Accept.NOT_SUPPORTED, Rule.IP_VERSION),
        ({"receiver_address": b"\x7f\0\0\1" + bytes(12)}, Accept.NOT_SUPPORTED, Rule.ADDRESS_POLICY),
        ({"slots": (ScheduleSlot(1, 0),) * 1025}, Accept.PERMANENT_LIMIT, Rule.TOO_MANY_SLOTS),
    ],
)
def test_rfc4656_3_5_requests_that_are_refused(changes: dict[str, object], accept: Accept, rule: Rule) -> None:
    assert refused(replace(ASKED, **changes)) == RequestRefused(accept, rule)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, None),
        ({"receiver_port": 0}, Rule.SENDER_PORT_ZERO),
        ({"type_p": 1 << 30}, Rule.TYPE_P),
        ({"receiver_address": b"\x7f\0\0\1" + bytes(12)}, Rule.ADDRESS_POLICY),
        ({"sender_address": b"\x7f\0\0\1" + bytes(12)}, Rule.ADDRESS_POLICY),
    ],
)
def test_rfc4656_3_5_requests_for_the_server_to_send(changes: dict[str, object], rule: Rule | None) -> None:
    asked = replace(ASKED, conf_sender=True, conf_receiver=False, receiver_port=7, sid=b"sixteen octets!!")
    found = refused(replace(asked, **changes))  # type: ignore[arg-type]  # fields by name
    assert (found and found.rule) is rule


def test_rfc4656_3_5_any_conf_value_but_zero_is_one() -> None:
    octets = bytearray(clear(ASKED))
    octets[3] = 0xFE
    server = ready()
    server.receive_data(bytes(octets), NOW)
    assert isinstance(events(server)[0], SessionRequested)


def test_rfc4656_3_5_type_p_of_a_client_that_sends_is_only_declared() -> None:
    assert refused(replace(ASKED, type_p=0xFFFFFFFF)) is None


def test_rfc4656_3_5_the_slots_of_a_refused_request_are_read() -> None:
    server = ready(limits=Limits(schedule_slots=4))
    server.receive_data(clear(replace(ASKED, slots=ASKED.slots * 5000)) + clear(ASKED), NOW)
    refused_, requested = events(server)
    assert refused_ == RequestRefused(Accept.PERMANENT_LIMIT, Rule.TOO_MANY_SLOTS)
    assert isinstance(requested, SessionRequested)


def test_rfc4656_3_5_a_sid_of_the_clients_is_not_taken_twice() -> None:
    server = ready()
    asked = replace(ASKED, conf_sender=True, conf_receiver=False, receiver_port=7, sid=b"sixteen octets!!")
    server.receive_data(clear(asked), NOW)
    assert isinstance(server.next_event(), SessionRequested)
    assert server.accept_session(8, NOW, timestamp=0).sid == b"sixteen octets!!"
    server.receive_data(clear(asked), NOW)
    assert server.next_event() == RequestRefused(Accept.NOT_SUPPORTED, Rule.SID_IN_USE)


@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
@pytest.mark.parametrize("mode", MODES)
def test_rfc4656_3_9_fetching_a_session(mode: Mode, chunk: int) -> None:
    pair = owamp_pair(mode)
    pair.chunk = chunk
    pair.client.fetch_session(b"sixteen octets!!", pair.now_ns)
    pair.transfer()
    requested = pair.server_event(FetchRequested).fetch
    assert (requested.begin, requested.end, requested.sid) == (0, 0xFFFFFFFF, b"sixteen octets!!")
    session = stored()
    pair.server.answer_fetch(session, pair.now_ns)
    assert pair.server.state is State.SENDING_RESULTS
    pair.transfer()
    fetched = pair.client_event(SessionFetched).fetched
    assert fetched.request == session.request
    assert fetched.ack == FetchAck(Accept.OK, finished=True, next_seqno=1000, skip_ranges=3, records=1000)
    assert fetched.skip_ranges == session.skip_ranges
    assert list(fetched.records) == RECORDS
    assert (pair.client.state, pair.server.state) == (State.READY, State.READY)


def test_results_are_sent_a_piece_at_a_time() -> None:
    taken = 0

    def records() -> object:
        nonlocal taken
        for record in RECORDS:
            taken += 1
            yield record

    pair = owamp_pair()
    pair.client.fetch_session(b"sixteen octets!!", pair.now_ns)
    pair.transfer()
    pair.server.answer_fetch(stored(records=records()), pair.now_ns)
    assert taken == 0
    pair.server.data_to_send()
    assert taken == 0
    assert len(pair.server.data_to_send()) <= 4096 + 32
    assert 0 < taken < 200


@pytest.mark.parametrize("changes", [{"finished": False}, {"ended_normally": False}])
def test_rfc4656_3_9_a_complete_session_must_have_ended_normally(changes: dict[str, object]) -> None:
    pair = owamp_pair()
    pair.client.fetch_session(b"sixteen octets!!", pair.now_ns)
    pair.transfer()
    pair.server.answer_fetch(stored(**changes), pair.now_ns)
    pair.transfer()
    assert pair.client_event(FetchRefused).accept is Accept.FAILURE
    assert pair.sent[-1][1] == b"\1" + bytes(31)
    assert pair.server_event(RequestRefused).rule is Rule.FETCH_INCOMPLETE


def test_rfc4656_3_9_part_of_a_session_in_progress_has_no_end() -> None:
    pair = owamp_pair()
    pair.client.fetch_session(b"sixteen octets!!", pair.now_ns, begin=3, end=9)
    pair.transfer()
    assert pair.server_event(FetchRequested).fetch.begin == 3
    pair.server.answer_fetch(stored(finished=False, record_count=2, records=RECORDS[3:5]), pair.now_ns)
    pair.transfer()
    fetched = pair.client_event(SessionFetched).fetched
    assert fetched.ack == FetchAck(Accept.OK, finished=False, next_seqno=0, skip_ranges=0, records=2)
    assert fetched.skip_ranges == ()
    assert list(fetched.records) == RECORDS[3:5]


def test_a_refused_fetch() -> None:
    pair = owamp_pair()
    pair.client.fetch_session(ZERO, pair.now_ns)
    pair.transfer()
    with pytest.raises(LocalControlError, match="no refusal"):
        pair.server.refuse_fetch(Accept.OK, NOW)
    pair.server.refuse_fetch(Accept.FAILURE, pair.now_ns)
    pair.transfer()
    assert pair.client_event(FetchRefused).accept is Accept.FAILURE
    pair.request(ONE_WAY)


@pytest.mark.parametrize(
    ("ack", "rule"),
    [
        (FetchAck(Accept.OK, finished=True, skip_ranges=0xFFFFFFFF), Rule.TOO_MANY_SKIP_RANGES),
        (FetchAck(Accept.OK, finished=True, records=0xFFFFFFFF), Rule.TOO_MANY_RECORDS),
        (FetchAck(Accept.OK, finished=True), Rule.FETCH_REQUEST),
    ],
)
def test_rfc4656_6_5_results_are_bounded_before_they_are_read(ack: FetchAck, rule: Rule) -> None:
    pair = owamp_pair()
    pair.client.fetch_session(ZERO, pair.now_ns)
    pair.client.data_to_send()
    pair.client.receive_data(clear(ack) + bytes(16), pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is rule


def test_rfc4656_3_9_overlapping_skip_ranges_are_invalid() -> None:
    pair = owamp_pair()
    pair.client.fetch_session(ZERO, pair.now_ns)
    pair.client.data_to_send()
    ranges = bytes(4) + (5).to_bytes(4) + (5).to_bytes(4) + (9).to_bytes(4)
    octets = clear(FetchAck(Accept.OK, finished=True, skip_ranges=2)) + clear(ASKED) + ranges + ZERO + ZERO
    pair.client.receive_data(octets, pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is Rule.SKIP_RANGES


def test_a_slow_but_steady_answer_is_waited_for() -> None:
    pair = owamp_pair()
    pair.client.fetch_session(b"sixteen octets!!", pair.now_ns)
    pair.transfer()
    pair.server.answer_fetch(stored(), pair.now_ns)
    while octets := pair.server.data_to_send():
        pair.now_ns += 29 * SECOND
        pair.client.handle_timer(pair.now_ns)
        pair.client.receive_data(octets, pair.now_ns)
    pair.transfer()
    assert pair.client_event(SessionFetched)


def test_rfc4656_3_9_records_of_lost_packets() -> None:
    lost = PacketRecord(3, LOST_SEND_ERROR, 0x8002, 77, 0, 255)
    assert lost.lost
    assert lost.octets() == bytes.fromhex("0000000300018002") + (77).to_bytes(8) + bytes(8) + b"\xff"
    records = PacketRecords(lost.octets() * 3)
    assert records[0] == records[-1] == lost
    assert records[1:] == [lost, lost]
    assert repr(records) == "<3 packet records>"
    assert records == PacketRecords(lost.octets() * 3)
    assert records != [lost]
    assert len({records, PacketRecords(records.octets)}) == 1
    with pytest.raises(IndexError):
        records[3]


def test_requests_that_our_side_must_not_make() -> None:
    pair = owamp_pair()
    for wrong in (
        replace(ONE_WAY, packets=0),
        replace(ONE_WAY, slots=()),
        replace(ONE_WAY, octets_to_reflect=1),
        replace(ONE_WAY, receiver_address=ip_address("::1")),
    ):
        with pytest.raises(LocalControlError):
            pair.client.request_session(wrong, pair.now_ns)
    with pytest.raises(LocalControlError, match="no SID"):
        pair.client.fetch_session(b"short", pair.now_ns)
    with pytest.raises(LocalControlError, match="not while ready"):
        pair.server.stop_sessions(pair.now_ns)
    pair.request(ONE_WAY)


def test_the_server_can_refuse_a_session_and_the_connection_goes_on() -> None:
    pair = owamp_pair()
    pair.answers = False
    pair.client.request_session(ONE_WAY, pair.now_ns)
    pair.transfer()
    pair.server.refuse_session(Accept.PERMANENT_LIMIT, pair.now_ns)
    pair.transfer()
    assert pair.client_event(SessionRefused).accept is Accept.PERMANENT_LIMIT
    assert pair.client.state is State.READY


def test_a_lost_connection_ends_the_servers_sessions() -> None:
    pair, out, back = running()
    pair.server.receive_eof(pair.now_ns)
    pair.transfer()
    assert {event.sid for event in pair.server_events if isinstance(event, SessionEnded)} == {out, back}
    assert pair.server_event(ConnectionClosed)
    assert pair.server.finished


def test_rfc4656_3_8_a_session_that_its_owner_ended_is_accounted_for_all_the_same() -> None:
    pair, out, back = running()
    pair.server.end_session(out, pair.now_ns)
    pair.server.end_session(back, pair.now_ns)
    pair.client.stop_sessions(pair.now_ns, records=[SendRecord(out, 5)])
    pair.transfer()
    pair.server.stop_sessions(pair.now_ns, [SendRecord(back, 1)])
    pair.transfer()
    assert pair.client_event(SessionsStopped) == SessionsStopped((out, back), Accept.OK)
    reasons = [event.reason for event in pair.server_events if isinstance(event, SessionEnded)]
    assert reasons == [EndReason.LOCAL, EndReason.LOCAL]


@pytest.mark.parametrize("count", [999, 1001])
def test_results_that_are_not_as_many_as_announced_end_the_connection(count: int) -> None:
    pair = owamp_pair()
    pair.client.fetch_session(b"sixteen octets!!", pair.now_ns)
    pair.transfer()
    pair.server.answer_fetch(stored(record_count=count), pair.now_ns)
    with pytest.raises(LocalControlError, match="there are not"):
        pair.transfer()
    assert pair.server.closed


def test_rfc5357_3_5_an_unknown_command_ends_an_owamp_connection_as_well() -> None:
    server = ready()
    server.receive_data(bytes([254]) + bytes(15), NOW)
    assert server.data_to_send() == b"\3" + bytes(47)
    assert server.closed


def test_rfc4656_3_8_the_client_checks_what_the_server_describes() -> None:
    pair, out, _ = running()
    pair.client.receive_data(clear(OwampStopSessions(Accept.OK, (SendRecord(out, 5),))), pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is Rule.STOP_SESSION_UNKNOWN


def test_rfc4656_3_8_a_client_that_says_that_it_failed() -> None:
    pair, out, back = running()
    pair.client.stop_sessions(pair.now_ns, records=[SendRecord(out, 2)], accept=Accept.FAILURE)
    pair.transfer()
    pair.server.stop_sessions(pair.now_ns, [SendRecord(back, 3)])
    pair.transfer()
    assert pair.client_event(SessionsStopped).accept is Accept.FAILURE
    assert pair.server_event(SessionsStopped).accept is Accept.FAILURE


def test_skip_ranges_out_of_order_are_not_sent() -> None:
    pair = owamp_pair()
    pair.client.fetch_session(b"sixteen octets!!", pair.now_ns)
    pair.transfer()
    with pytest.raises(LocalControlError, match="skip ranges"):
        pair.server.answer_fetch(stored(skip_ranges=(SkipRange(5, 5), SkipRange(1, 1))), pair.now_ns)
    pair.server.answer_fetch(stored(skip_ranges=(), records=[], record_count=0), pair.now_ns)
    pair.transfer()
    assert len(pair.client_event(SessionFetched).fetched.records) == 0


def test_rfc4656_6_5_the_schedule_of_a_fetched_session_is_bounded() -> None:
    pair = owamp_pair()
    pair.client.fetch_session(ZERO, pair.now_ns)
    pair.client.data_to_send()
    long = replace(ASKED, slots=ASKED.slots * 1025)
    pair.client.receive_data(clear(FetchAck(Accept.OK, finished=True)) + clear(long), pair.now_ns)
    pair.transfer()
    assert pair.client_event(ProtocolViolated).rule is Rule.TOO_MANY_SLOTS
