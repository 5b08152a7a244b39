"""What a machine tells its driver: things that have happened, in order.

Some ask for an answer, and the machine reads nothing more until it has it: `SessionRequested`, `StartRequested`,
`FetchRequested`, and OWAMP's `StopReceived` if our own Stop-Sessions is still owed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twoway.control.negotiated import NegotiatedSession, SessionRequest
    from twoway.control.owamp_codec import FetchedSession, FetchSession, SendRecord
    from twoway.control.registry import Accept, Mode
    from twoway.control.rules import Rule
    from twoway.errors import RemoteControlError


class CloseReason(Enum):
    """Why a control connection is over."""

    LOCAL = "closed here"
    PEER = "closed by the far end"
    LOST = "the transport failed"
    VIOLATION = "the far end broke a rule"
    REFUSED = "set-up or start was refused"
    GIVEN_UP = "the Control-Client chose no mode"
    SERVWAIT = "idle for SERVWAIT"
    REPLY = "no answer in time"
    LIFETIME = "its longest life is over"


class EndReason(Enum):
    """Why a test-session is over."""

    STOPPED = "stopped, and Timeout has passed"
    REFWAIT = "no packet for REFWAIT"
    CONNECTION = "the control connection closed"
    LOCAL = "ended here"


@dataclass(frozen=True, slots=True)
class SetUpCompleted:
    """The connection is ready for commands."""

    mode: Mode
    key_id: bytes
    """The KeyID field without trailing zeros; empty if unauthenticated."""
    server_start_time: int
    """A timestamp."""


@dataclass(frozen=True, slots=True)
class SetUpRefused:
    """There will be no connection: one end does not want it. `ConnectionClosed` follows."""

    accept: Accept
    """What Server-Start said; OK if it did not come to that."""
    rule: Rule


@dataclass(frozen=True, slots=True)
class SessionRequested:
    """Server: answer with `accept_session` or `refuse_session`. The request is within all limits and policies."""

    request: SessionRequest
    """With both addresses."""


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """Server: a request that it refused by itself; nothing is to be done."""

    accept: Accept
    rule: Rule


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """Server: a command that is not allowed now, or none at all, was answered with Accept 3 (RFC 5357 section 3.5)."""

    command: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class SessionAccepted:
    """Control-Client: the Server accepted the request."""

    session: NegotiatedSession


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """Control-Client: the Server refused the request."""

    accept: Accept


@dataclass(frozen=True, slots=True)
class StartRequested:
    """Server: start these sessions, then answer with `answer_start`."""

    sids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SessionsStarted:
    """Control-Client: the Server started these sessions."""

    sids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StartRefused:
    """Control-Client: the Server did not start these sessions."""

    sids: tuple[bytes, ...]
    accept: Accept


@dataclass(frozen=True, slots=True)
class SessionStopped:
    """Server, TWAMP: the Control-Client stopped a session; go on reflecting until `SessionEnded`."""

    sid: bytes
    accept: Accept
    """Not OK: the results should be considered invalid (RFC 5357 section 3.8)."""
    timeout_ns: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over: nothing may be reflected, its port is free."""

    sid: bytes
    reason: EndReason


@dataclass(frozen=True, slots=True)
class SessionsStopped:
    """Control-Client, and OWAMP's Server: these sessions have been stopped by both ends."""

    sids: tuple[bytes, ...]
    accept: Accept
    """OK unless either end said otherwise: then the results should be considered invalid."""


@dataclass(frozen=True, slots=True)
class StopRefused:
    """Control-Client: the Server could not stop these sessions (RFC 5938 section 3.5)."""

    sids: tuple[bytes, ...]
    accept: Accept


@dataclass(frozen=True, slots=True)
class StopReceived:
    """OWAMP: the far end's Stop-Sessions, valid. Apply the records to what was received (RFC 4656 section 3.8)."""

    accept: Accept
    records: tuple[SendRecord, ...]
    owed: bool
    """Whether ours must still be sent, with `stop_sessions`."""


@dataclass(frozen=True, slots=True)
class FetchRequested:
    """Server, OWAMP: answer with `answer_fetch` or `refuse_fetch`."""

    fetch: FetchSession


@dataclass(frozen=True, slots=True)
class FetchRefused:
    """Fetch-Client: the Server refused."""

    accept: Accept


@dataclass(frozen=True, slots=True)
class SessionFetched:
    """Fetch-Client: a session's results, authenticated if the connection is."""

    fetched: FetchedSession


@dataclass(frozen=True, slots=True)
class ProtocolViolated:
    """The far end broke a rule. `ConnectionClosed` follows."""

    rule: Rule
    error: RemoteControlError


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The last event about the connection: send what is left to send, then close the transport."""

    reason: CloseReason


Event = (
    SetUpCompleted
    | SetUpRefused
    | SessionRequested
    | RequestRefused
    | CommandRefused
    | SessionAccepted
    | SessionRefused
    | StartRequested
    | SessionsStarted
    | StartRefused
    | SessionStopped
    | SessionEnded
    | SessionsStopped
    | StopRefused
    | StopReceived
    | FetchRequested
    | FetchRefused
    | SessionFetched
    | ProtocolViolated
    | ConnectionClosed
)
