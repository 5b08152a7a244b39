"""The messages of connection set-up and of TWAMP-Control, both ways.

Theory of operation. A message is a frozen dataclass. What is sent after set-up is a tuple of *segments*, each of which
an HMAC field follows; `stream.Outbound` appends the HMACs and encrypts. What is received is read by a *reader*: a
generator that yields what it needs next, a number of octets or `Field.HMAC`, and returns the message. So a reader never
sees a partial field, an HMAC is checked before what follows it is looked at, and nothing is allocated for a count that
the limits forbid. OWAMP's own messages are in `owamp_codec`.

Fields that MUST be zero are written as zero and not looked at (RFC 4656 section 3.1). Timestamps stay the 64 bits that
they are on the wire. Sections: set-up RFC 4656 3.1; requests RFC 5357 3.5 and RFC 6038 4.2; start and stop RFC 4656 3.7
and RFC 5357 3.8; individual control RFC 5938 3.2 to 3.5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeVar

from twoway.control.registry import Accept, TwampCommand
from twoway.control.rules import Rule, violate

if TYPE_CHECKING:
    from twoway.control.configuration import Limits

BLOCK: Final = 16
"""Octets of a cipher block, of an HMAC field and of a SID; messages after set-up are multiples of it."""
KEY_ID_LEN: Final = 80
GREETING_LEN: Final = 64
SET_UP_RESPONSE_LEN: Final = 164
SERVER_START_CLEAR_LEN: Final = 32
"""Octets of Server-Start before the first encrypted block."""
ZERO_ADDRESS: Final = bytes(16)
"""In a request: the address of the control connection is meant (RFC 5357 section 3.5)."""
ZERO_SID: Final = bytes(16)


class Field(Enum):
    """What a reader can need besides a number of octets."""

    HMAC = auto()
    """The 16 octets that authenticate everything since the last HMAC field."""


Message = TypeVar("Message")
Need = int | Field
Reader = Generator[Need, bytes, Message]
Segments = tuple[bytes, ...]


def interval_ns(interval: int) -> int:
    """Nanoseconds of an interval in RFC 4656's format, 32 bits of seconds and 32 of fraction."""
    return interval * 1_000_000_000 >> 32


def interval_from_ns(nanoseconds: int) -> int:
    """The interval nearest to, and not shorter than, so many nanoseconds. Raises `ValueError` out of its range."""
    interval = -(-(nanoseconds << 32) // 1_000_000_000)
    if not 0 <= interval < 1 << 64:
        raise ValueError(f"{nanoseconds} ns is no interval of 32 bits of seconds")
    return interval


def pad_key_id(key_id: str) -> bytes:
    """A KeyID as its field. Raises `ValueError` if it is longer than 80 octets of UTF-8, empty, or holds NUL."""
    octets = key_id.encode()
    if not 1 <= len(octets) <= KEY_ID_LEN or b"\0" in octets:
        raise ValueError("a KeyID has 1 to 80 octets of UTF-8, none of them NUL")
    return octets.ljust(KEY_ID_LEN, b"\0")


_GREETING = struct.Struct("!12xI16s16sI12x")
_SET_UP_RESPONSE = struct.Struct("!I80s64s16s")
_SERVER_START_CLEAR = struct.Struct("!15xB16s")
_SERVER_START_REST = struct.Struct("!Q8x")


@dataclass(frozen=True, slots=True)
class ServerGreeting:
    """The Server's first words (RFC 4656 section 3.1)."""

    modes: int
    challenge: bytes
    salt: bytes
    count: int

    def octets(self) -> bytes:
        """All 64 of them."""
        return _GREETING.pack(self.modes, self.challenge, self.salt, self.count)


@dataclass(frozen=True, slots=True)
class SetUpResponse:
    """The Control-Client's choice and proof (RFC 4656 section 3.1)."""

    mode: int
    key_id: bytes
    """The whole field: UTF-8 padded with zeros, or SPIi and SPIr (RFC 7717 section 5.3)."""
    token: bytes = field(repr=False)
    client_iv: bytes

    def octets(self) -> bytes:
        """All 164 of them."""
        return _SET_UP_RESPONSE.pack(self.mode, self.key_id, self.token, self.client_iv)


@dataclass(frozen=True, slots=True)
class ServerStart:
    """Whether the Server goes on (RFC 4656 section 3.1)."""

    accept: Accept
    server_iv: bytes
    start_time: int
    """When the Server started, a timestamp."""

    def clear_octets(self) -> bytes:
        """What is never encrypted."""
        return _SERVER_START_CLEAR.pack(self.accept, self.server_iv)

    def rest(self) -> bytes:
        """The first encrypted block of a secure connection."""
        return _SERVER_START_REST.pack(self.start_time)


def read_greeting() -> Reader[ServerGreeting]:
    """Server-Greeting; any octets are one."""
    return ServerGreeting(*_GREETING.unpack((yield GREETING_LEN)))


def read_set_up_response() -> Reader[SetUpResponse]:
    """Set-Up-Response; any octets are one."""
    return SetUpResponse(*_SET_UP_RESPONSE.unpack((yield SET_UP_RESPONSE_LEN)))


def read_server_start(secure: Callable[[bytes], None]) -> Reader[ServerStart]:
    """Server-Start. `secure` is called with the Server-IV if what follows it is encrypted, which a refusal's is not."""
    accept_octet, server_iv = _SERVER_START_CLEAR.unpack((yield SERVER_START_CLEAR_LEN))
    accept = Accept.from_wire(accept_octet, server_start=True)
    if accept is Accept.OK:
        secure(server_iv)
    (start_time,) = _SERVER_START_REST.unpack((yield BLOCK))
    return ServerStart(accept, server_iv, start_time)


_REQUEST_TW = struct.Struct("!BBBBIIHH16s16s16sIQQIHH4x")
_ACCEPT_SESSION = struct.Struct("!BxH16sHH8x")
_START_SESSIONS = struct.Struct("!B15x")
_START_ACK = struct.Struct("!B15x")
_STOP_SESSIONS = struct.Struct("!BBxxI8x")
_N_HEADER = struct.Struct("!BB10xI")


@dataclass(frozen=True, slots=True)
class RequestTwSession:
    """Request-TW-Session (RFC 5357 section 3.5, RFC 6038 section 4.2). The fields that MUST be zero can be others."""

    ip_version: int
    sender_port: int
    receiver_port: int
    sender_address: bytes
    """16 octets; an IPv4 address is in the first four."""
    receiver_address: bytes
    padding_length: int
    start_time: int
    """A timestamp."""
    timeout: int
    """An interval: how long to reflect after Stop-Sessions."""
    type_p: int
    octets_to_reflect: int = 0
    """RFC 6038: 16 bits that come back in Accept-Session."""
    padding_to_reflect: int = 0
    """RFC 6038: octets of padding that come back in each test packet."""
    conf_sender: int = 0
    conf_receiver: int = 0
    schedule_slots: int = 0
    packets: int = 0
    sid: bytes = ZERO_SID

    def segments(self) -> Segments:
        """96 octets and an HMAC."""
        return (
            _REQUEST_TW.pack(
                TwampCommand.REQUEST_TW_SESSION,
                self.ip_version,
                self.conf_sender,
                self.conf_receiver,
                self.schedule_slots,
                self.packets,
                self.sender_port,
                self.receiver_port,
                self.sender_address,
                self.receiver_address,
                self.sid,
                self.padding_length,
                self.start_time,
                self.timeout,
                self.type_p,
                self.octets_to_reflect,
                self.padding_to_reflect,
            ),
        )


@dataclass(frozen=True, slots=True)
class AcceptSession:
    """The answer to a request (RFC 4656 section 3.5, RFC 6038 section 4.3), and to an unexpected command."""

    accept: Accept
    port: int = 0
    sid: bytes = ZERO_SID
    reflected_octets: int = 0
    server_octets: int = 0

    def segments(self) -> Segments:
        """32 octets and an HMAC."""
        return (_ACCEPT_SESSION.pack(self.accept, self.port, self.sid, self.reflected_octets, self.server_octets),)


@dataclass(frozen=True, slots=True)
class StartSessions:
    """Start-Sessions (RFC 4656 section 3.7)."""

    def segments(self) -> Segments:
        """16 octets and an HMAC."""
        return (_START_SESSIONS.pack(TwampCommand.START_SESSIONS),)


@dataclass(frozen=True, slots=True)
class StartAck:
    """Start-Ack (RFC 4656 section 3.7)."""

    accept: Accept

    def segments(self) -> Segments:
        """16 octets and an HMAC."""
        return (_START_ACK.pack(self.accept),)


@dataclass(frozen=True, slots=True)
class StopSessions:
    """TWAMP's Stop-Sessions, which stops all of them (RFC 5357 section 3.8)."""

    accept: Accept
    sessions: int

    def segments(self) -> Segments:
        """16 octets and an HMAC."""
        return (_STOP_SESSIONS.pack(TwampCommand.STOP_SESSIONS, self.accept, self.sessions),)


@dataclass(frozen=True, slots=True)
class _Named:
    """A message about the sessions with these SIDs (RFC 5938 section 3)."""

    sids: tuple[bytes, ...]

    def _segments(self, command: TwampCommand, accept: Accept) -> Segments:
        return (_N_HEADER.pack(command, accept, len(self.sids)) + b"".join(self.sids),)


@dataclass(frozen=True, slots=True)
class StartNSessions(_Named):
    """Start-N-Sessions (RFC 5938 section 3.2)."""

    def segments(self) -> Segments:
        """A block, the SIDs and an HMAC."""
        return self._segments(TwampCommand.START_N_SESSIONS, Accept.OK)


@dataclass(frozen=True, slots=True)
class StopNSessions(_Named):
    """Stop-N-Sessions (RFC 5938 section 3.4)."""

    def segments(self) -> Segments:
        """A block, the SIDs and an HMAC."""
        return self._segments(TwampCommand.STOP_N_SESSIONS, Accept.OK)


@dataclass(frozen=True, slots=True)
class StartNAck(_Named):
    """Start-N-Ack (RFC 5938 section 3.3)."""

    accept: Accept

    def segments(self) -> Segments:
        """A block, the SIDs and an HMAC."""
        return self._segments(TwampCommand.START_N_ACK, self.accept)


@dataclass(frozen=True, slots=True)
class StopNAck(_Named):
    """Stop-N-Ack (RFC 5938 section 3.5)."""

    accept: Accept

    def segments(self) -> Segments:
        """A block, the SIDs and an HMAC."""
        return self._segments(TwampCommand.STOP_N_ACK, self.accept)


@dataclass(frozen=True, slots=True)
class UnknownCommand:
    """The first block of something whose length cannot be known (RFC 5357 section 3.5)."""

    number: int


TwampCommandMessage = RequestTwSession | StartSessions | StopSessions | StartNSessions | StopNSessions | UnknownCommand


def read_twamp_command(limits: Limits) -> Reader[TwampCommandMessage]:
    """Whatever a Control-Client says after set-up."""
    block = yield BLOCK
    match block[0]:
        case TwampCommand.REQUEST_TW_SESSION:
            return (yield from _read_request(block))
        case TwampCommand.START_SESSIONS:
            yield Field.HMAC
            return StartSessions()
        case TwampCommand.STOP_SESSIONS:
            yield Field.HMAC
            _, accept, sessions = _STOP_SESSIONS.unpack(block)
            return StopSessions(Accept.from_wire(accept), sessions)
        case TwampCommand.START_N_SESSIONS:
            return StartNSessions((yield from _read_sids(block, limits)))
        case TwampCommand.STOP_N_SESSIONS:
            return StopNSessions((yield from _read_sids(block, limits)))
        case number:
            return UnknownCommand(number)


def _read_request(block: bytes) -> Reader[RequestTwSession]:
    rest = yield _REQUEST_TW.size - BLOCK
    yield Field.HMAC
    (
        _,
        version,
        conf_sender,
        conf_receiver,
        slots,
        packets,
        sender_port,
        receiver_port,
        sender_address,
        receiver_address,
        sid,
        padding_length,
        start_time,
        timeout,
        type_p,
        octets_to_reflect,
        padding_to_reflect,
    ) = _REQUEST_TW.unpack(block + rest)
    return RequestTwSession(
        ip_version=version & 15,
        sender_port=sender_port,
        receiver_port=receiver_port,
        sender_address=sender_address,
        receiver_address=receiver_address,
        padding_length=padding_length,
        start_time=start_time,
        timeout=timeout,
        type_p=type_p,
        octets_to_reflect=octets_to_reflect,
        padding_to_reflect=padding_to_reflect,
        conf_sender=conf_sender,
        conf_receiver=conf_receiver,
        schedule_slots=slots,
        packets=packets,
        sid=sid,
    )


def _read_sids(block: bytes, limits: Limits) -> Reader[tuple[bytes, ...]]:
    """The SIDs that a header announces: at least one, and no more than there can be sessions (RFC 5938 section 3.2)."""
    _, _, count = _N_HEADER.unpack(block)
    if count > limits.sessions:
        violate(Rule.TOO_MANY_SIDS, f"{count}")
    octets = (yield count * BLOCK) if count else b""
    yield Field.HMAC
    return tuple(octets[at : at + BLOCK] for at in range(0, len(octets), BLOCK))


def read_accept_session() -> Reader[AcceptSession]:
    """Accept-Session; the HMAC aside, any octets are one."""
    accept, port, sid, reflected_octets, server_octets = _ACCEPT_SESSION.unpack((yield _ACCEPT_SESSION.size))
    yield Field.HMAC
    return AcceptSession(Accept.from_wire(accept), port, sid, reflected_octets, server_octets)


def read_start_ack() -> Reader[StartAck]:
    """Start-Ack; the HMAC aside, any octets are one."""
    (accept,) = _START_ACK.unpack((yield BLOCK))
    yield Field.HMAC
    return StartAck(Accept.from_wire(accept))


def read_n_ack(limits: Limits) -> Reader[StartNAck | StopNAck]:
    """Start-N-Ack or Stop-N-Ack; anything else is not what was asked for."""
    block = yield BLOCK
    number, accept, _ = _N_HEADER.unpack(block)
    if number not in (TwampCommand.START_N_ACK, TwampCommand.STOP_N_ACK):
        violate(Rule.ACK_UNEXPECTED, f"first octet {number}")
    sids = yield from _read_sids(block, limits)
    if not sids:
        violate(Rule.NO_SIDS)
    meaning = Accept.from_wire(accept)
    return StartNAck(sids, meaning) if number == TwampCommand.START_N_ACK else StopNAck(sids, meaning)
