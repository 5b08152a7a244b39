"""One octet altered on the way, each in its turn: whole conversations of secure connections, in both directions.

What came whole before the altered octet has had its effect; the message that holds it, and all that follow, have none,
and the end that received it closes. That takes in every octet of every HMAC, of the Token, of the IVs and of the
KeyID. Not taken in is what no HMAC covers (RFC 4656 section 3.1): the greeting, Mode, and the first 16 octets of
Server-Start, which say whether there will be a connection at all.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from twoway.control.codec import BLOCK
from twoway.control.events import (
    CloseReason,
    ConnectionClosed,
    Event,
    FetchRequested,
    ProtocolViolated,
    SessionAccepted,
    SessionFetched,
    SessionRequested,
    SessionsStarted,
    SessionStopped,
    SetUpRefused,
    StartRequested,
    StopReceived,
)
from twoway.control.negotiated import StoredSession
from twoway.control.owamp_codec import PacketRecord, RequestSession, ScheduleSlot, SendRecord, SkipRange
from twoway.control.registry import Mode, Protocol
from twoway.control.rules import Rule
from twoway.control.security import Passphrase
from twoway.errors import LocalControlError

from .pair import BACK, ONE_WAY, REQUEST, Pair, client_configuration, make_client, make_server, server_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.control.connection import Connection

EFFECTS = (
    FetchRequested,
    SessionAccepted,
    SessionFetched,
    SessionRequested,
    SessionsStarted,
    SessionStopped,
    StartRequested,
    StopReceived,
)
"""What a message of the far end can bring about."""
UNPROTECTED = {"client": 4, "server": 64 + 16}
"""Octets of each end's stream that no HMAC covers."""
GARBLED = (
    Rule.ACK_UNEXPECTED,
    Rule.COMMAND_UNEXPECTED,
    Rule.COMMAND_UNKNOWN,
    Rule.FETCH_REQUEST,
    Rule.KEY_ID_UNKNOWN,
    Rule.MESSAGE_TOO_SLOW,
    Rule.TOO_MANY_RECORDS,
    Rule.TOO_MANY_SIDS,
    Rule.TOO_MANY_SKIP_RANGES,
    Rule.TOO_MANY_SLOTS,
)
"""What else an altered octet may break, where it garbles what a message is or how long."""
STORED = StoredSession(
    RequestSession(
        ip_version=4,
        conf_sender=False,
        conf_receiver=True,
        packets=5,
        sender_port=1,
        receiver_port=2,
        sender_address=bytes(16),
        receiver_address=bytes(16),
        sid=b"sixteen octets!!",
        padding_length=0,
        start_time=0,
        timeout=0,
        type_p=0,
        slots=(ScheduleSlot(0, 1 << 32),),
    ),
    finished=True,
    ended_normally=True,
    next_seqno=5,
    skip_ranges=(SkipRange(0, 1),),
    record_count=3,
    records=[PacketRecord(number, 1, 1, 1, 1, 255) for number in range(3)],
)


@pytest.fixture(autouse=True)
def _derive_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """PBKDF2 of the same secret, Salt and Count is the same each time, and the only slow thing here."""
    monkeypatch.setattr(Passphrase, "key", cache(Passphrase.key))


@dataclass
class MeddledPair(Pair):
    """A pair with somebody between who alters one octet of what `meddled` says."""

    meddled: str = ""
    at: int = -1
    carried: dict[str, int] = field(default_factory=lambda: {"client": 0, "server": 0})
    """Octets that each end has said."""
    effects: list[tuple[int, type[Event]]] = field(default_factory=list)
    """What the messages of `meddled` brought about, and how many octets of it had come by then."""

    def _carry(self, sender: str) -> bool:
        source, target = (self.client, self.server) if sender == "client" else (self.server, self.client)
        octets = bytearray(source.data_to_send())
        if not octets:
            return False
        begin = self.carried[sender]
        self.carried[sender] += len(octets)
        if sender == self.meddled and begin <= self.at < self.carried[sender]:
            octets[self.at - begin] ^= 1 << self.at % 8
        target.receive_data(bytes(octets), self.now_ns)
        return True

    def _answer(self) -> bool:
        told = {"client": len(self.server_events), "server": len(self.client_events)}[self.meddled]
        asked = len(self.server_events)
        answered = super()._answer()
        heard = self.server_events if self.meddled == "client" else self.client_events
        self.effects += [(self.carried[self.meddled], type(e)) for e in heard[told:] if isinstance(e, EFFECTS)]
        if any(isinstance(event, FetchRequested) for event in self.server_events[asked:]):
            self.server.answer_fetch(STORED, self.now_ns)
            answered = True
        return answered


def twamp(pair: Pair) -> Iterator[None]:
    """A TWAMP session from request to stop; what is said at each step is carried by the caller."""
    pair.client.request_session(REQUEST, pair.now_ns)
    yield
    pair.client.start_sessions(pair.now_ns)
    yield
    pair.client.stop_sessions(pair.now_ns)
    yield


def owamp(pair: Pair) -> Iterator[None]:
    """OWAMP sessions each way, stopped by both ends, and a fetch."""
    pair.client.request_session(ONE_WAY, pair.now_ns)
    yield
    pair.client.request_session(BACK, pair.now_ns)
    yield
    pair.client.start_sessions(pair.now_ns)
    yield
    out, back = (session.sid for session in pair.client.sessions)
    pair.server.stop_sessions(pair.now_ns, [SendRecord(back, 9, (SkipRange(2, 6),))])
    yield
    pair.client.stop_sessions(pair.now_ns, records=[SendRecord(out, 5)])
    yield
    pair.client.fetch_session(STORED.request.sid, pair.now_ns)
    yield


def conversation(mode: Mode, protocol: Protocol, meddled: str, at: int = -1) -> MeddledPair:
    """One connection from end to end, as far as it gets with that octet of `meddled` altered."""
    modes = {"protocol": protocol, "features": Mode.INDIVIDUAL_SESSION_CONTROL & mode}
    client = make_client(client_configuration(mode & ~Mode.INDIVIDUAL_SESSION_CONTROL, **modes))
    pair = MeddledPair(client, make_server(server_configuration(protocol=protocol)), meddled=meddled, at=at)
    pair.connect()
    with suppress(LocalControlError, ValueError):
        # What is not possible any more is refused here, or has no session to be about.
        for _ in owamp(pair) if protocol is Protocol.OWAMP else twamp(pair):
            pair.transfer()
    return pair


@pytest.mark.parametrize("meddled", ["client", "server"])
@pytest.mark.parametrize(
    ("protocol", "mode"),
    [
        (Protocol.TWAMP, Mode.AUTHENTICATED),
        (Protocol.TWAMP, Mode.ENCRYPTED),
        (Protocol.TWAMP, Mode.MIXED),
        (Protocol.TWAMP, Mode.ENCRYPTED | Mode.INDIVIDUAL_SESSION_CONTROL),
        (Protocol.OWAMP, Mode.AUTHENTICATED),
        (Protocol.OWAMP, Mode.ENCRYPTED),
    ],
)
def test_rfc4656_3_2_no_octet_can_be_altered(protocol: Protocol, mode: Mode, meddled: str) -> None:
    clean = conversation(mode, protocol, meddled)
    assert not clean.client.closed
    assert not clean.server.closed
    assert len(clean.effects) >= 2
    rules: Counter[Rule] = Counter()
    for at in range(UNPROTECTED[meddled], clean.carried[meddled]):
        pair = conversation(mode, protocol, meddled, at)
        # Whole before the altered octet, so it counted.
        assert pair.effects == [effect for effect in clean.effects if effect[0] <= at], at
        machine: Connection[Any] = pair.server if meddled == "client" else pair.client
        if not machine.closed:
            # A garbled number has it wait for octets that nobody sends.
            pair.later(31)
            assert pair.effects == [effect for effect in clean.effects if effect[0] <= at], at
        assert machine.closed, at
        heard = pair.server_events if meddled == "client" else pair.client_events
        (closed,) = [event.reason for event in heard if isinstance(event, ConnectionClosed)]
        broken = [event.rule for event in heard if isinstance(event, ProtocolViolated | SetUpRefused)]
        assert len(broken) == (closed is not CloseReason.REPLY), at
        assert not broken or broken[0] is Rule.HMAC or broken[0] in GARBLED, at
        rules.update(broken)
    assert rules[Rule.HMAC] > len(clean.effects) * BLOCK
