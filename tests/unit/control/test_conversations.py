"""Recorded connections, with our machine in the place of either end: it must say, octet for octet, what was said.

Chance and time are the recording's: keys, IVs and the random parts of SIDs are dealt as the peer drew them. A last
connection, of what the recorded peer does not have, was computed from the RFCs without twoway.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.control.configuration import SECOND, ClientConfiguration, ServerConfiguration
from twoway.control.control_client import ControlClient
from twoway.control.events import (
    Event,
    FetchRequested,
    ProtocolViolated,
    SessionAccepted,
    SessionFetched,
    SessionRequested,
    SessionsStarted,
    SessionsStopped,
    SessionStopped,
    SetUpCompleted,
    StartRequested,
    StopReceived,
)
from twoway.control.negotiated import NegotiatedSession, SessionRequest, StoredSession
from twoway.control.owamp_codec import PacketRecord, PacketRecords, RequestSession, ScheduleSlot, SendRecord
from twoway.control.registry import SECURE_CONTROL, Accept, Mode, Protocol
from twoway.control.security import Ikev2Credentials, Passphrase, PassphraseCredentials
from twoway.control.server import Server

from .conversation import Conversation, conversations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BY_NAME = {conversation.name: conversation for conversation in conversations()}
EXTENDED = BY_NAME.pop("individual-control-with-every-feature")
ALL = [pytest.param(conversation, id=name) for name, conversation in BY_NAME.items()]
TIMEOUT_NS = 299_999_999
"""perfSONAR's 0.3 s, as 32 bits of fraction."""
NOW = 5000 * SECOND


def dealt(*draws: bytes) -> Callable[[int], bytes]:
    """Draws as recorded, which must be asked for in this order and length."""
    remaining = list(draws)

    def draw(count: int) -> bytes:
        octets = remaining.pop(0)
        assert len(octets) == count
        return octets

    return draw


def pieces(octets: bytes, chunk: int) -> list[bytes]:
    """In chunks; 0 for one."""
    return [octets[at : at + chunk] for at in range(0, len(octets), chunk)] if chunk else [octets]


def drain(machine: ControlClient | Server) -> Iterator[Event]:
    """All events that wait, and those that come of how they are answered."""
    while (event := machine.next_event()) is not None:
        yield event


def everything(machine: ControlClient | Server) -> bytes:
    """All octets that wait."""
    said = b""
    while octets := machine.data_to_send():
        said += octets
    return said


def request_of(octets: bytes, conversation: Conversation) -> SessionRequest:
    """A recorded request, read with nothing but offsets."""
    request = SessionRequest(
        sender_address=conversation.address,
        receiver_address=conversation.address,
        sender_port=int.from_bytes(octets[12:14]),
        receiver_port=int.from_bytes(octets[14:16]),
        padding_length=int.from_bytes(octets[64:68]),
        start_time=int.from_bytes(octets[68:76]),
        timeout=int.from_bytes(octets[76:84]),
    )
    if octets[0] == 5:
        return request
    slot = ScheduleSlot(octets[112], int.from_bytes(octets[120:128]))
    return replace(request, server_sends=octets[2] == 1, packets=int.from_bytes(octets[8:12]), slots=(slot,))


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize("conversation", ALL)
def test_our_server_says_what_the_recorded_server_said(conversation: Conversation, chunk: int) -> None:
    server_said, plain = conversation.octets("server"), conversation.plain["server"]
    owamp = conversation.protocol == "owamp"
    answers = plain[112:]
    secure = bool(Mode(conversation.mode) & SECURE_CONTROL)
    draws = [server_said[16:32], server_said[32:48], *([server_said[80:96]] if secure else []), answers[16:20]]
    server = Server(
        ServerConfiguration(
            start_time=int.from_bytes(plain[96:104]),
            protocol=Protocol(conversation.protocol),
            modes=Mode(conversation.server_modes),
            count=conversation.count,
            sid_address=answers[4:8],
        ),
        local_address=conversation.address,
        peer_address=conversation.address,
        random_octets=dealt(*draws),
        passphrase=lambda key_id: Passphrase(conversation.passphrase) if key_id == b"alice" else None,
    )
    server.connection_made(NOW)
    said = everything(server)
    at = 112
    sids: list[bytes] = []
    stored: RequestSession | None = None
    seen: list[Event] = []
    for speaker, octets in conversation.turns:
        if speaker == "server":
            said += everything(server)
            continue
        for piece in pieces(octets, chunk):
            server.receive_data(piece, NOW)
            for event in drain(server):
                seen.append(event)
                match event:
                    case SessionRequested():
                        accept = plain[at : at + 48]
                        at += 48
                        session = server.accept_session(
                            int.from_bytes(accept[2:4]), NOW, timestamp=int.from_bytes(accept[8:16])
                        )
                        assert session.sid == accept[4:20]
                        assert session.request.sender_address == session.request.receiver_address
                        sids.append(session.sid)
                    case StartRequested():
                        assert list(event.sids) == sids
                        server.answer_start(NOW)
                    case StopReceived():
                        assert event.accept is Accept.OK
                        assert event.records == (SendRecord(sids[0], 5),)
                        server.stop_sessions(NOW, [SendRecord(sids[1], 5)])
                    case FetchRequested():
                        stored, records = stored_session(plain)
                        assert event.fetch.sid == stored.sid == sids[0]
                        server.answer_fetch(
                            StoredSession(
                                stored,
                                finished=True,
                                ended_normally=True,
                                next_seqno=5,
                                skip_ranges=(),
                                record_count=len(records),
                                records=records,
                            ),
                            NOW,
                        )
    said += everything(server)
    mismatch = next((i for i, (a, b) in enumerate(zip(said, server_said, strict=False)) if a != b), None)
    assert (mismatch, len(said)) == (None, len(server_said))
    assert not any(isinstance(event, ProtocolViolated) for event in seen)
    completed = next(event for event in seen if isinstance(event, SetUpCompleted))
    assert completed.mode == conversation.mode
    assert completed.key_id == conversation.key_id.encode()
    if owamp:
        assert any(isinstance(event, SessionsStopped) and set(event.sids) == set(sids) for event in seen)
        assert stored is not None
    else:
        assert [event.timeout_ns for event in seen if isinstance(event, SessionStopped)] == [TIMEOUT_NS]
        server.receive_eof(NOW)
        server.handle_timer(NOW + SECOND)
        seen += drain(server)
        assert server.finished


def stored_session(server_plain: bytes) -> tuple[RequestSession, list[PacketRecord]]:
    """What perfSONAR sent after its Fetch-Ack: Request-Session with one slot, an HMAC, five records, an HMAC."""
    data = server_plain[-304:]
    head, slot, records = data[:96], data[112:128], data[160:285]
    request = RequestSession(
        ip_version=head[1],
        conf_sender=bool(head[2]),
        conf_receiver=bool(head[3]),
        packets=int.from_bytes(head[8:12]),
        sender_port=int.from_bytes(head[12:14]),
        receiver_port=int.from_bytes(head[14:16]),
        sender_address=head[16:32],
        receiver_address=head[32:48],
        sid=head[48:64],
        padding_length=int.from_bytes(head[64:68]),
        start_time=int.from_bytes(head[68:76]),
        timeout=int.from_bytes(head[76:84]),
        type_p=int.from_bytes(head[84:88]),
        slots=(ScheduleSlot(slot[0], int.from_bytes(slot[8:])),),
    )
    return request, list(PacketRecords(records))


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize("conversation", ALL)
def test_our_control_client_says_what_the_recorded_client_said(conversation: Conversation, chunk: int) -> None:
    client_said, plain = conversation.octets("client"), conversation.plain["client"]
    answers = conversation.plain["server"][112:]
    owamp = conversation.protocol == "owamp"
    requests = [plain[164:276]] if not owamp else [plain[164:308], plain[308:452]]
    draws = []
    if conversation.passphrase:
        draws += [conversation.aes_session_key, conversation.hmac_session_key, client_said[148:164]]
    if owamp:
        draws.append(requests[1][60:64])
    client = ControlClient(
        ClientConfiguration(
            protocol=Protocol(conversation.protocol),
            preference=(Mode(conversation.mode),),
            credentials=PassphraseCredentials(conversation.key_id, Passphrase(conversation.passphrase))
            if conversation.passphrase
            else None,
            sid_address=conversation.address.packed,
        ),
        local_address=conversation.address,
        peer_address=conversation.address,
        random_octets=dealt(*draws),
    )
    client.connection_made(NOW)
    seen: list[Event] = []
    wanted = [request_of(octets, conversation) for octets in requests]

    def ask() -> None:
        if wanted:
            octets = requests[-len(wanted)]
            client.request_session(wanted.pop(0), NOW, timestamp=int.from_bytes(octets[52:60]))
        else:
            client.start_sessions(NOW)

    said = b""
    stopped = False
    for speaker, octets in conversation.turns:
        if speaker == "client":
            if any(isinstance(event, SessionsStarted) for event in seen) and not stopped:
                # perfSONAR's client stops first.
                records = [SendRecord(client.sessions[0].sid, 5)] if owamp else []
                client.stop_sessions(NOW, records=records)
                stopped = True
            said += everything(client)
            continue
        for piece in pieces(octets, chunk):
            client.receive_data(piece, NOW)
            for event in drain(client):
                seen.append(event)
                match event:
                    case SetUpCompleted() | SessionAccepted():
                        ask()
                    case SessionsStopped() if owamp:
                        client.fetch_session(event.sids[0], NOW)
    said += everything(client)
    seen += drain(client)
    assert said == client_said
    assert not any(isinstance(event, ProtocolViolated) for event in seen)
    sessions = [event.session for event in seen if isinstance(event, SessionAccepted)]
    assert [session.sid for session in sessions] == [answers[48 * i + 4 : 48 * i + 20] for i in range(len(requests))]
    assert sessions[0].request.receiver_port == int.from_bytes(answers[2:4])
    if owamp:
        assert sessions[1].request.sender_port == int.from_bytes(answers[50:52])
        fetched = next(event.fetched for event in seen if isinstance(event, SessionFetched))
        request, packets = stored_session(conversation.plain["server"])
        assert fetched.request == request
        assert list(fetched.records) == packets
        assert [packet.sequence for packet in packets] == [0, 1, 2, 3, 4]
        assert not any(packet.lost for packet in packets)


EXTENSIONS = (
    Mode.INDIVIDUAL_SESSION_CONTROL
    | Mode.REFLECT_OCTETS
    | Mode.SYMMETRICAL_SIZE
    | Mode.DSCP_ECN_MONITORING
    | Mode.PTPV2_TIMESTAMP
)


@pytest.mark.parametrize("chunk", [0, 1, 7])
def test_our_server_says_what_the_rfcs_say_of_every_feature(chunk: int) -> None:
    server_said, plain = EXTENDED.octets("server"), EXTENDED.plain["server"]
    sids = [plain[116:132], plain[164:180]]
    server = Server(
        ServerConfiguration(
            start_time=int.from_bytes(plain[96:104]),
            modes=Mode(EXTENDED.server_modes),
            count=EXTENDED.count,
            sid_address=sids[0][:4],
        ),
        local_address=EXTENDED.address,
        peer_address=EXTENDED.address,
        random_octets=dealt(server_said[16:32], server_said[32:48], server_said[80:96], sids[0][12:], sids[1][12:]),
        ikev2_shared_key=lambda spi_i, spi_r: (
            EXTENDED.ikev2_shared_key if (spi_i, spi_r) == (EXTENDED.spi_i, EXTENDED.spi_r) else None
        ),
    )
    server.connection_made(NOW)
    said = everything(server)
    answers: list[Callable[[], object]] = [
        lambda: server.accept_session(19001, NOW, timestamp=int.from_bytes(sids[0][4:12]), server_octets=0xCAFE),
        lambda: server.accept_session(19002, NOW, timestamp=int.from_bytes(sids[1][4:12])),
        lambda: server.refuse_session(Accept.TEMPORARY_LIMIT, NOW),
        lambda: server.answer_start(NOW, {sids[1]: Accept.TEMPORARY_LIMIT}),
        lambda: server.answer_start(NOW),
    ]
    seen: list[Event] = []
    for speaker, octets in EXTENDED.turns:
        if speaker == "server":
            said += everything(server)
            continue
        for piece in pieces(octets, chunk):
            server.receive_data(piece, NOW)
            for event in drain(server):
                seen.append(event)
                if isinstance(event, SessionRequested | StartRequested):
                    answers.pop(0)()
    assert said + everything(server) == server_said
    assert not answers
    stopped = {event.sid: event.timeout_ns for event in seen if isinstance(event, SessionStopped)}
    assert stopped == {sids[0]: 1_500_000_000, sids[1]: 1_000_000_000}
    assert next(event.request.dscp for event in seen if isinstance(event, SessionRequested)) == 46


@pytest.mark.parametrize("chunk", [0, 1, 7])
def test_our_control_client_says_what_the_rfcs_say_of_every_feature(chunk: int) -> None:
    client_said = EXTENDED.octets("client")
    client = ControlClient(
        ClientConfiguration(
            preference=(Mode.AUTHENTICATED,),
            features=EXTENSIONS,
            ikev2=Ikev2Credentials(EXTENDED.spi_i, EXTENDED.spi_r, EXTENDED.ikev2_shared_key),
        ),
        local_address=EXTENDED.address,
        peer_address=EXTENDED.address,
        random_octets=dealt(EXTENDED.aes_session_key, EXTENDED.hmac_session_key, client_said[148:164]),
    )
    client.connection_made(NOW)
    plain = SessionRequest(sender_port=5002, receiver_port=862, timeout=1 << 32, padding_length=64)
    reflected = SessionRequest(
        sender_port=5001,
        receiver_port=862,
        timeout=3 << 31,
        padding_length=100,
        dscp=46,
        octets_to_reflect=0xBEEF,
        padding_to_reflect=20,
    )
    sessions: list[NegotiatedSession] = []
    commands: list[Callable[[], None]] = [
        lambda: client.request_session(reflected, NOW),
        lambda: client.request_session(plain, NOW),
        lambda: client.request_session(replace(plain, sender_port=5003), NOW),
        lambda: client.start_sessions(NOW),
        lambda: client.start_sessions(NOW, [sessions[1].sid]),
        lambda: client.stop_sessions(NOW, [sessions[1].sid, sessions[0].sid]),
    ]
    said = b""
    seen: list[Event] = []
    for speaker, octets in EXTENDED.turns:
        if speaker == "client":
            if len(said) > 0:
                commands.pop(0)()
            said += everything(client)
            continue
        for piece in pieces(octets, chunk):
            client.receive_data(piece, NOW)
            for event in drain(client):
                seen.append(event)
                if isinstance(event, SessionAccepted):
                    sessions.append(event.session)
    assert said == client_said
    assert not commands
    assert client.mode == EXTENDED.mode
    assert (sessions[0].server_octets, sessions[0].request.receiver_port) == (0xCAFE, 19001)
    kinds = [type(event).__name__ for event in seen]
    assert kinds == [
        "SetUpCompleted",
        "SessionAccepted",
        "SessionAccepted",
        "SessionRefused",
        "SessionsStarted",
        "StartRefused",
        "SessionsStarted",
        "SessionsStopped",
    ]
    assert client.sessions == ()
