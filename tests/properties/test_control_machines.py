"""TWAMP-Control and OWAMP-Control: any octets, any calls, any order, any pieces.

Invariants. No octets make a call fail. After any call a machine is in a state of its table, or closed. A closed machine
has said so once, its accepted sessions end exactly once, and its timers run out. What arrives in other pieces means the
same. A message that is written is read again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from twoway._native import derive_twamp_test_keys
from twoway.control import codec, owamp_codec
from twoway.control.configuration import SECOND, ClientConfiguration, Limits, ServerConfiguration
from twoway.control.control_client import ControlClient
from twoway.control.events import (
    ConnectionClosed,
    Event,
    FetchRequested,
    ProtocolViolated,
    SessionAccepted,
    SessionEnded,
    SessionRequested,
    SessionsStarted,
    SessionStopped,
    StartRequested,
    StopReceived,
)
from twoway.control.negotiated import NegotiatedSession, SessionRequest, StoredSession
from twoway.control.owamp_codec import PacketRecord, RequestSession, ScheduleSlot, SendRecord, SkipRange
from twoway.control.registry import Accept, Mode, Protocol
from twoway.control.rules import Rule
from twoway.control.security import Passphrase, PassphraseCredentials, SessionKeys
from twoway.control.server import Server
from twoway.control.stream import Inbound
from twoway.control.transitions import Role, State, Variant, table
from twoway.errors import LocalControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HERE, THERE = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
LIMITS = Limits(sessions=4, schedule_slots=8, skip_ranges=8, records=64, unread_octets=2048, unsent_octets=2048)
TWAMP_MODES = [Mode.UNAUTHENTICATED, Mode.AUTHENTICATED, Mode.MIXED]
FEATURES = [Mode(0), Mode.INDIVIDUAL_SESSION_CONTROL, Mode.REFLECT_OCTETS]
REQUEST = SessionRequest(sender_port=5000, receiver_port=6000, timeout=1 << 32)
SLOTS = (ScheduleSlot(0, 1 << 32), ScheduleSlot(1, 0))
ONE_WAY = replace(REQUEST, packets=10, slots=SLOTS)
SID = b"sixteen octets!!"
Machine = ControlClient | Server


def octets_of(seed: str) -> Callable[[int], bytes]:
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_128(f"{seed} {drawn}".encode()).digest(count)

    return draw


def make_pair(protocol: Protocol, mode: Mode, features: Mode) -> tuple[ControlClient, Server]:
    owamp = protocol is Protocol.OWAMP
    secret = Passphrase(b"secret")
    client = ControlClient(
        ClientConfiguration(
            protocol,
            (Mode.ENCRYPTED if owamp and mode is Mode.MIXED else mode,),
            features=Mode(0) if owamp else features,
            credentials=PassphraseCredentials("key", secret),
            limits=LIMITS,
        ),
        local_address=HERE,
        peer_address=THERE,
        random_octets=octets_of("client"),
    )
    server = Server(
        ServerConfiguration(
            0,
            protocol,
            Mode.UNAUTHENTICATED | Mode.AUTHENTICATED | Mode.ENCRYPTED if owamp else Mode(1023),
            count=1024,
            limits=LIMITS,
            refwait_ns=50 * SECOND,
        ),
        local_address=THERE,
        peer_address=HERE,
        random_octets=octets_of("server"),
        passphrase=lambda _: secret,
    )
    return client, server


def records_for(sessions: Sequence[NegotiatedSession], *, server_sends: bool) -> list[SendRecord]:
    return [SendRecord(s.sid, 3, (SkipRange(1, 1),)) for s in sessions if s.request.server_sends is server_sends]


STORED = StoredSession(
    RequestSession(
        ip_version=4,
        conf_sender=False,
        conf_receiver=True,
        packets=10,
        sender_port=1,
        receiver_port=2,
        sender_address=bytes(16),
        receiver_address=bytes(16),
        sid=SID,
        padding_length=0,
        start_time=0,
        timeout=0,
        type_p=0,
        slots=SLOTS,
    ),
    finished=True,
    ended_normally=True,
    next_seqno=10,
    skip_ranges=(SkipRange(0, 1),),
    record_count=3,
    records=[PacketRecord(n, 1, 1, 1, 1, 255) for n in range(3)],
)


MOSTLY = st.sampled_from([True, True, True, False])
"""Whether what was asked is answered at once."""
SELDOM = st.sampled_from([False, False, False, False, True])
"""Whether what may end the connection happens."""


class ConnectionMachine(RuleBasedStateMachine):
    """A pair whose owners and whose network do whatever they like."""

    @initialize(
        protocol=st.sampled_from(Protocol),
        mode=st.sampled_from(TWAMP_MODES),
        features=st.sampled_from(FEATURES),
        on=MOSTLY,
    )
    def connect(self, protocol: Protocol, mode: Mode, features: Mode, on: bool) -> None:
        self.protocol = protocol
        self.client, self.server = make_pair(protocol, mode, features)
        self.now_ns = 10**15
        self.client.connection_made(self.now_ns)
        self.server.connection_made(self.now_ns)
        self.seen: dict[Role, list[Event]] = {Role.CONTROL_CLIENT: [], Role.SERVER: []}
        self.accepted: list[NegotiatedSession] = []
        self.started: list[bytes] = []
        self.disturbed = False
        if on:
            self.settle()

    def machine(self, role: Role) -> Machine:
        return self.client if role is Role.CONTROL_CLIENT else self.server

    def gather(self) -> None:
        for role in Role:
            while (event := self.machine(role).next_event()) is not None:
                self.seen[role].append(event)
                if isinstance(event, SessionsStarted):
                    self.started += event.sids

    @rule(role=st.sampled_from(Role), chunk=st.sampled_from([1, 17, 4096]))
    def carry(self, role: Role, chunk: int) -> None:
        other = self.server if role is Role.CONTROL_CLIENT else self.client
        octets = self.machine(role).data_to_send()
        for at in range(0, len(octets), chunk):
            other.receive_data(octets[at : at + chunk], self.now_ns)
        self.gather()

    @rule()
    def settle(self) -> None:
        """Both ends say what they have to say, and the Server's owner agrees to everything."""
        for _ in range(8):
            self.carry(Role.CONTROL_CLIENT, 4096)
            if self.server.state in (State.DECIDING_REQUEST, State.DECIDING_START, State.DECIDING_FETCH):
                self.accept(7777, refuse=False)
            self.carry(Role.SERVER, 4096)

    @rule(port=st.integers(-1, 65536), refuse=st.booleans())
    def accept(self, port: int, refuse: bool) -> None:
        try:
            if self.server.state is State.DECIDING_REQUEST and refuse:
                self.server.refuse_session(Accept.FAILURE, self.now_ns)
            elif self.server.state is State.DECIDING_START:
                asked = next(event for event in reversed(self.seen[Role.SERVER]) if isinstance(event, StartRequested))
                self.server.answer_start(self.now_ns, {asked.sids[0]: Accept.TEMPORARY_LIMIT} if refuse else None)
            elif self.server.state is State.DECIDING_FETCH and refuse:
                self.server.refuse_fetch(Accept.FAILURE, self.now_ns)
            elif self.server.state is State.DECIDING_FETCH:
                self.server.answer_fetch(STORED, self.now_ns)
            else:
                self.accepted.append(self.server.accept_session(port, self.now_ns, timestamp=self.now_ns))
        except LocalControlError:
            pass
        self.gather()

    @rule(server_sends=st.booleans(), padding=st.sampled_from([0, 0, 100, 20000]), on=MOSTLY)
    def request(self, server_sends: bool, padding: int, on: bool) -> None:
        request = replace(ONE_WAY if self.protocol is Protocol.OWAMP else REQUEST, padding_length=padding)
        if self.protocol is Protocol.OWAMP:
            request = replace(request, server_sends=server_sends)
        self.try_to(lambda: self.client.request_session(request, self.now_ns, timestamp=self.now_ns), on=on)

    @rule(on=MOSTLY)
    def start(self, on: bool) -> None:
        self.try_to(lambda: self.client.start_sessions(self.now_ns), on=on)

    @rule(accept=st.sampled_from(Accept), on=MOSTLY)
    def stop(self, accept: Accept, on: bool) -> None:
        running = [session for session in self.client.sessions if session.sid in self.started]
        records = records_for(running, server_sends=False) if self.protocol is Protocol.OWAMP else []
        self.try_to(lambda: self.client.stop_sessions(self.now_ns, accept=accept, records=records), on=on)

    @rule(index=st.integers(0, 3), on=MOSTLY)
    def stop_one(self, index: int, on: bool) -> None:
        sids = [session.sid for session in self.client.sessions][index : index + 1]
        self.try_to(lambda: self.client.stop_sessions(self.now_ns, sids), on=on)

    @rule(on=MOSTLY)
    def server_stops(self, on: bool) -> None:
        running = list(self.server._sessions.unstopped)  # noqa: SLF001  (an owner knows)
        self.try_to(lambda: self.server.stop_sessions(self.now_ns, records_for(running, server_sends=True)), on=on)

    @rule(on=MOSTLY)
    def fetch(self, on: bool) -> None:
        self.try_to(lambda: self.client.fetch_session(SID, self.now_ns), on=on)

    @rule(index=st.integers(0, 5))
    def end_session(self, index: int) -> None:
        for session in self.accepted[index : index + 1]:
            self.server.end_session(session.sid, self.now_ns)
            self.server.packet_seen(session.sid, self.now_ns)
        self.gather()

    @rule(role=st.sampled_from(Role), octets=st.binary(max_size=200), really=SELDOM)
    @precondition(lambda self: len(self.seen[Role.SERVER]) > 3)
    def noise(self, role: Role, octets: bytes, really: bool) -> None:
        if really:
            self.disturbed = True
            self.machine(role).receive_data(octets, self.now_ns)
        self.gather()

    @rule(
        octets=st.sampled_from(
            [
                codec.StartSessions().segments(),
                codec.StopSessions(Accept.OK, 1).segments(),
                codec.StartNSessions((SID,)).segments(),
                codec.StopNSessions((SID, SID)).segments(),
                STORED.request.segments(),
                owamp_codec.FetchSession(0, 0, SID).segments(),
            ]
        ),
        really=SELDOM,
    )
    @precondition(lambda self: len(self.seen[Role.SERVER]) > 3)
    def out_of_place(self, octets: tuple[bytes, ...], really: bool) -> None:
        if not really:
            return
        self.disturbed = True
        self.server.receive_data(b"".join(segment + bytes(16) for segment in octets), self.now_ns)
        self.gather()

    @rule(seconds=st.sampled_from([0, 1, 1, 1, 2, 2, 29, 60, 901, -5]), on=MOSTLY)
    def later(self, seconds: int, on: bool) -> None:
        if on:
            self.settle()
        self.now_ns += seconds * SECOND
        self.client.handle_timer(self.now_ns)
        self.server.handle_timer(self.now_ns)
        self.gather()

    @rule(role=st.sampled_from(Role), lost=st.booleans(), really=SELDOM)
    @precondition(lambda self: len(self.seen[Role.SERVER]) > 6)
    def hang_up(self, role: Role, lost: bool, really: bool) -> None:
        if really:
            self.machine(role).receive_eof(self.now_ns, lost=lost)
        self.gather()

    def try_to(self, call: Callable[[], None], *, on: bool) -> None:
        """Do what our side may or may not do now; if it may not, nothing has happened."""
        before = self.client.state, self.server.state
        try:
            call()
        except LocalControlError:
            assert (self.client.state, self.server.state) == before
        self.gather()
        if on:
            self.settle()

    @invariant()
    def states_are_of_the_tables(self) -> None:
        for role in Role:
            machine = self.machine(role)
            variant = machine._variant  # noqa: SLF001  (which table)
            assert machine.state is State.CLOSED or machine.state in table(role, variant)
            assert variant is not Variant.OWAMP or self.protocol is Protocol.OWAMP

    @invariant()
    def the_end_is_told_once(self) -> None:
        for role in Role:
            told = sum(isinstance(event, ConnectionClosed) for event in self.seen[role])
            assert told == self.machine(role).closed
            violated = [event for event in self.seen[role] if isinstance(event, ProtocolViolated)]
            assert len(violated) <= told

    @invariant()
    def two_ends_of_ours_accuse_each_other_of_being_slow_at_most(self) -> None:
        accused = {e.rule for role in Role for e in self.seen[role] if isinstance(e, ProtocolViolated)}
        assert self.disturbed or accused <= {Rule.MESSAGE_TOO_SLOW, Rule.TRUNCATED}

    @invariant()
    def sessions_end_once(self) -> None:
        ended = [event.sid for event in self.seen[Role.SERVER] if isinstance(event, SessionEnded)]
        assert len(ended) == len(set(ended))
        accepted = [session.sid for session in self.accepted]
        assert len(accepted) - len(ended) == len(self.server.sessions)
        assert len(self.server.sessions) <= LIMITS.sessions

    @invariant()
    def memory_is_bounded(self) -> None:
        for role in Role:
            machine = self.machine(role)
            assert len(machine._inbound) <= 8192 + LIMITS.unread_octets  # noqa: SLF001  (what is kept)

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        for role in Role:
            machine = self.machine(role)
            machine.close(self.now_ns)
            machine.handle_timer(self.now_ns + 10**15)
        self.gather()
        assert self.client.finished
        assert self.server.finished
        self.the_end_is_told_once()
        self.sessions_end_once()
        assert len(self.server.sessions) == 0


ConnectionMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestConnection = ConnectionMachine.TestCase


def conversation(protocol: Protocol, mode: Mode, features: Mode) -> tuple[list[tuple[Role, bytes]], list[Event]]:
    """A whole conversation, in turns, and what the Server told of it."""
    client, server = make_pair(protocol, mode, features)
    owamp = protocol is Protocol.OWAMP
    turns: list[tuple[Role, bytes]] = []
    told: list[Event] = []
    client.connection_made(0)
    server.connection_made(0)
    commands: Iterator[Callable[[], None]] = iter(
        [
            lambda: client.request_session(ONE_WAY if owamp else REQUEST, 0),
            lambda: client.start_sessions(0),
            lambda: client.stop_sessions(0, records=records_for(client.sessions, server_sends=False) if owamp else []),
        ]
    )
    for _ in range(12):
        if octets := server.data_to_send():
            turns.append((Role.SERVER, octets))
            client.receive_data(octets, 0)
        idle = client.state in (State.READY, State.ACTIVE)
        if idle and (command := next(commands, None)) is not None:
            command()
        if octets := client.data_to_send():
            turns.append((Role.CONTROL_CLIENT, octets))
            told += fed(server, [octets])
    return turns, told


def fed(server: Server, pieces: Sequence[bytes]) -> list[Event]:
    """What a Server whose owner agrees to everything tells of these octets."""
    told: list[Event] = []
    for piece in pieces:
        server.receive_data(piece, 0)
        while (event := server.next_event()) is not None:
            told.append(event)
            match event:
                case SessionRequested():
                    server.accept_session(1000, 0, timestamp=5)
                case StartRequested():
                    server.answer_start(0)
                case StopReceived():
                    server.stop_sessions(0)
                case FetchRequested():
                    server.refuse_fetch(Accept.FAILURE, 0)
                case _:
                    pass
    return told


CASES = [
    pytest.param(protocol, mode, features, id=f"{protocol.value}-{mode}-{features}")
    for protocol in Protocol
    for mode in TWAMP_MODES
    for features in (FEATURES if protocol is Protocol.TWAMP else FEATURES[:1])
]


@pytest.mark.parametrize(("protocol", "mode", "features"), CASES)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_pieces_do_not_matter(protocol: Protocol, mode: Mode, features: Mode, data: st.DataObject) -> None:
    """The same octets, whole and in any pieces, and with any octet of theirs changed, are told of the same."""
    turns, told = conversation(protocol, mode, features)
    assert any(isinstance(event, SessionStopped | StopReceived) for event in told)
    octets = bytearray(b"".join(octets for role, octets in turns if role is Role.CONTROL_CLIENT))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(0, 255))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(octets)), max_size=20)))
    pieces = [bytes(octets[a:b]) for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    results = []
    ways: list[list[bytes]] = [[bytes(octets)], pieces, [bytes([octet]) for octet in octets]]
    for chosen in ways:
        _, server = make_pair(protocol, mode, features)
        server.connection_made(0)
        events = fed(server, chosen)
        results.append(([repr(event) for event in events], server.data_to_send(), server.state))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("protocol", Protocol)
@given(octets=st.binary(max_size=600), set_up=st.booleans())
def test_any_octets_to_a_server(protocol: Protocol, octets: bytes, set_up: bool) -> None:
    _, server = make_pair(protocol, Mode.UNAUTHENTICATED, Mode(0))
    server.connection_made(0)
    if set_up:
        octets = codec.SetUpResponse(1, bytes(80), bytes(64), bytes(16)).octets() + octets
    fed(server, [octets])
    server.receive_eof(0)
    assert server.closed


@pytest.mark.parametrize("protocol", Protocol)
@given(octets=st.binary(max_size=600), set_up=st.booleans(), asked=st.integers(0, 3))
def test_any_octets_to_a_control_client(
    protocol: Protocol,
    octets: bytes,
    set_up: bool,
    asked: int,
) -> None:
    client, _ = make_pair(protocol, Mode.UNAUTHENTICATED, Mode(0))
    client.connection_made(0)
    if set_up:
        greeting = codec.ServerGreeting(1, bytes(16), bytes(16), 0).octets()
        client.receive_data(greeting + bytes(48), 0)
        request = ONE_WAY if protocol is Protocol.OWAMP else REQUEST
        if asked == 1:
            client.request_session(request, 0)
        elif asked == 2 and protocol is Protocol.OWAMP:
            client.fetch_session(SID, 0)
        elif asked == 3:
            client.request_session(request, 0)
            client.receive_data(b"".join(codec.AcceptSession(Accept.OK, 1, SID).segments()) + bytes(16), 0)
            client.start_sessions(0)
            client.receive_data(bytes(32), 0)
    client.receive_data(octets, 0)
    client.receive_eof(0)
    assert client.closed
    while (event := client.next_event()) is not None:
        assert not isinstance(event, SessionAccepted) or event.session.request.receiver_port


U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
SIXTEEN = st.binary(min_size=16, max_size=16)
ACCEPT = st.sampled_from([accept for accept in Accept if accept is not Accept.NO_IKEV2_SA])
SIDS = st.lists(SIXTEEN, min_size=1, max_size=4).map(tuple)
RANGES = st.lists(st.builds(SkipRange, U32, U32), max_size=3).map(tuple)


@given(
    message=st.one_of(
        st.builds(
            codec.RequestTwSession,
            ip_version=st.integers(0, 15),
            sender_port=U16,
            receiver_port=U16,
            sender_address=SIXTEEN,
            receiver_address=SIXTEEN,
            padding_length=U32,
            start_time=U64,
            timeout=U64,
            type_p=U32,
            octets_to_reflect=U16,
            padding_to_reflect=U16,
            conf_sender=st.integers(0, 255),
            conf_receiver=st.integers(0, 255),
            schedule_slots=U32,
            packets=U32,
            sid=SIXTEEN,
        ),
        st.builds(codec.StopSessions, ACCEPT, U32),
        st.builds(codec.StartNSessions, SIDS),
        st.builds(codec.StopNSessions, SIDS),
    ),
    trailing=st.binary(max_size=20),
)
def test_twamp_commands_are_read_as_they_were_written(message: codec.TwampCommandMessage, trailing: bytes) -> None:
    inbound: Inbound[codec.TwampCommandMessage] = Inbound()
    inbound.begin(codec.read_twamp_command(LIMITS))
    assert not isinstance(message, codec.UnknownCommand)
    inbound.feed(b"".join(segment + bytes(16) for segment in message.segments()) + trailing)
    assert inbound.proceed() == message
    assert len(inbound) == len(trailing)


@given(
    message=st.one_of(
        st.builds(
            RequestSession,
            ip_version=st.integers(0, 15),
            conf_sender=st.booleans(),
            conf_receiver=st.booleans(),
            packets=U32,
            sender_port=U16,
            receiver_port=U16,
            sender_address=SIXTEEN,
            receiver_address=SIXTEEN,
            sid=SIXTEEN,
            padding_length=U32,
            start_time=U64,
            timeout=U64,
            type_p=U32,
            slots=st.lists(st.builds(ScheduleSlot, st.integers(0, 255), U64), max_size=8).map(tuple),
        ),
        st.builds(
            owamp_codec.OwampStopSessions,
            ACCEPT,
            st.lists(st.builds(SendRecord, SIXTEEN, U32, RANGES), max_size=2).map(tuple),
        ),
        st.builds(owamp_codec.FetchSession, U32, U32, SIXTEEN),
    ),
    trailing=st.binary(max_size=20),
)
def test_owamp_commands_are_read_as_they_were_written(
    message: RequestSession | owamp_codec.OwampStopSessions | owamp_codec.FetchSession, trailing: bytes
) -> None:
    inbound: Inbound[owamp_codec.OwampCommandMessage] = Inbound()
    inbound.begin(owamp_codec.read_owamp_command(LIMITS))
    inbound.feed(b"".join(segment + bytes(16) for segment in message.segments()) + trailing)
    assert inbound.proceed() == message
    assert len(inbound) == len(trailing)


@given(records=st.lists(st.builds(PacketRecord, U32, U16, U16, U64, U64, st.integers(0, 255)), max_size=400))
@settings(max_examples=20, deadline=None)
def test_packet_records_are_read_as_they_were_written(records: list[PacketRecord]) -> None:
    pieces = list(owamp_codec.record_pieces(records))
    assert all(len(piece) % 16 == 0 for piece in pieces)
    octets = b"".join(pieces)
    assert list(owamp_codec.PacketRecords(octets[: 25 * len(records)])) == records
    assert not any(octets[25 * len(records) :])


@given(sid=SIXTEEN, aes=SIXTEEN, hmac=st.binary(min_size=32, max_size=32))
def test_keys_of_a_test_session_are_those_of_the_packet_plane(sid: bytes, aes: bytes, hmac: bytes) -> None:
    keys = SessionKeys(aes, hmac).for_test(sid)
    assert (keys.aes, keys.hmac) == derive_twamp_test_keys(sid, aes, hmac)
