"""The automata of control connections and test-sessions, as tables.

Theory of operation. Everything that changes a state is in this file, as data: for each end and each variant of the
protocol, what can be done in a state and where it leads. The machines look a step up before they do anything; what is
not in the table is refused: our caller gets a `LocalProtocolError`, a Server answers Accept-Session with Accept 3 (RFC
5357 section 3.5), and a Control-Client closes the connection. `CLOSED` is reached from everywhere and left for nowhere,
so the tables do not name it unless a message alone leads there. The diagrams in docs/state-machines.md are made from
these tables.

There are three variants after set-up: TWAMP, TWAMP with individual session control, in which Start-Sessions and
Stop-Sessions do not exist and sessions are started and stopped at any time (RFC 5938 section 3.1), and OWAMP, in which
both ends stop (RFC 4656 section 3.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Final


class Role(Enum):
    """The two ends of a control connection."""

    CONTROL_CLIENT = "Control-Client"
    SERVER = "Server"


class Variant(Enum):
    """What was negotiated, as far as it changes what may follow."""

    TWAMP = "TWAMP"
    """RFC 5357."""
    INDIVIDUAL = "TWAMP with individual session control"
    """RFC 5938."""
    OWAMP = "OWAMP"
    """RFC 4656."""


class State(Enum):
    """Where a control connection is. Which of them an end can be in, its table says."""

    CONNECTED = "connected"
    """Server: nothing has been said."""
    AWAITING_GREETING = "awaiting Server-Greeting"
    CHOOSING = "choosing"
    """Control-Client: which mode, with which key."""
    AWAITING_SET_UP_RESPONSE = "awaiting Set-Up-Response"
    AUTHENTICATING = "authenticating"
    """Server: the Set-Up-Response is here."""
    AWAITING_SERVER_START = "awaiting Server-Start"
    READY = "ready"
    """Between commands."""
    AWAITING_ACCEPT_SESSION = "awaiting Accept-Session"
    DECIDING_REQUEST = "deciding on a request"
    """Server: its owner accepts or refuses a session."""
    AWAITING_START_ACK = "awaiting Start-Ack"
    DECIDING_START = "deciding on a start"
    """Server: its owner starts the sessions."""
    ACTIVE = "active"
    """Between Start-Sessions and Stop-Sessions: conducting active measurements (RFC 4656 section 3.4)."""
    AWAITING_STOP = "awaiting Stop-Sessions"
    """OWAMP: ours is sent."""
    OWING_STOP = "owing Stop-Sessions"
    """OWAMP: theirs is here."""
    AWAITING_N_ACKS = "awaiting acknowledgements"
    """Individual control: of some Start-N-Sessions or Stop-N-Sessions."""
    ACKNOWLEDGING_STOP = "acknowledging a stop"
    AWAITING_FETCH_ACK = "awaiting Fetch-Ack and data"
    DECIDING_FETCH = "deciding on a fetch"
    """Server: its owner looks for the session."""
    SENDING_RESULTS = "sending results"
    CLOSED = "closed"


class Step(Enum):
    """What moves a connection."""

    SEND_GREETING = "send Server-Greeting"
    RECEIVE_GREETING = "receive Server-Greeting"
    SEND_SET_UP_RESPONSE = "send Set-Up-Response"
    RECEIVE_SET_UP_RESPONSE = "receive Set-Up-Response"
    SEND_SERVER_START = "send Server-Start"
    RECEIVE_SERVER_START = "receive Server-Start"
    REFUSE_SET_UP = "send refusing Server-Start"
    RECEIVE_SET_UP_REFUSAL = "receive refusing Server-Start"
    SEND_REQUEST = "send Request-TW-Session"
    RECEIVE_REQUEST = "receive Request-TW-Session"
    SEND_OW_REQUEST = "send Request-Session"
    RECEIVE_OW_REQUEST = "receive Request-Session"
    SEND_ACCEPT_SESSION = "send Accept-Session"
    RECEIVE_ACCEPT_SESSION = "receive Accept-Session"
    SEND_START = "send Start-Sessions"
    RECEIVE_START = "receive Start-Sessions"
    SEND_START_ACK = "send Start-Ack"
    RECEIVE_START_ACK = "receive Start-Ack"
    REFUSE_START = "send refusing Start-Ack"
    RECEIVE_START_REFUSAL = "receive refusing Start-Ack"
    SEND_STOP = "send Stop-Sessions"
    RECEIVE_STOP = "receive Stop-Sessions"
    SEND_START_N = "send Start-N-Sessions"
    RECEIVE_START_N = "receive Start-N-Sessions"
    SEND_START_N_ACKS = "send Start-N-Acks"
    SEND_STOP_N = "send Stop-N-Sessions"
    RECEIVE_STOP_N = "receive Stop-N-Sessions"
    SEND_STOP_N_ACKS = "send Stop-N-Acks"
    RECEIVE_N_ACK = "receive an acknowledgement"
    RECEIVE_LAST_N_ACK = "receive the last acknowledgement"
    SEND_FETCH = "send Fetch-Session"
    RECEIVE_FETCH = "receive Fetch-Session"
    SEND_FETCH_ACK = "send Fetch-Ack"
    REFUSE_FETCH = "send refusing Fetch-Ack"
    FINISH_RESULTS = "send the last of the data"
    RECEIVE_RESULTS = "receive Fetch-Ack and all data"


Table = Mapping[State, Mapping[Step, State]]

SET_UP: Final[Mapping[Role, Table]] = {
    Role.CONTROL_CLIENT: {
        State.AWAITING_GREETING: {Step.RECEIVE_GREETING: State.CHOOSING},
        State.CHOOSING: {Step.SEND_SET_UP_RESPONSE: State.AWAITING_SERVER_START},
        State.AWAITING_SERVER_START: {
            Step.RECEIVE_SERVER_START: State.READY,
            Step.RECEIVE_SET_UP_REFUSAL: State.CLOSED,
        },
    },
    Role.SERVER: {
        State.CONNECTED: {Step.SEND_GREETING: State.AWAITING_SET_UP_RESPONSE},
        State.AWAITING_SET_UP_RESPONSE: {Step.RECEIVE_SET_UP_RESPONSE: State.AUTHENTICATING},
        State.AUTHENTICATING: {Step.SEND_SERVER_START: State.READY, Step.REFUSE_SET_UP: State.CLOSED},
    },
}
"""Connection set-up, the same for all variants (RFC 4656 section 3.1)."""

COMMANDS: Final[Mapping[Role, Mapping[Variant, Table]]] = {
    Role.CONTROL_CLIENT: {
        Variant.TWAMP: {
            State.READY: {Step.SEND_REQUEST: State.AWAITING_ACCEPT_SESSION, Step.SEND_START: State.AWAITING_START_ACK},
            State.AWAITING_ACCEPT_SESSION: {Step.RECEIVE_ACCEPT_SESSION: State.READY},
            State.AWAITING_START_ACK: {
                Step.RECEIVE_START_ACK: State.ACTIVE,
                Step.RECEIVE_START_REFUSAL: State.CLOSED,
            },
            State.ACTIVE: {Step.SEND_STOP: State.READY},
        },
        Variant.INDIVIDUAL: {
            State.READY: {
                Step.SEND_REQUEST: State.AWAITING_ACCEPT_SESSION,
                Step.SEND_START_N: State.AWAITING_N_ACKS,
                Step.SEND_STOP_N: State.AWAITING_N_ACKS,
            },
            State.AWAITING_ACCEPT_SESSION: {Step.RECEIVE_ACCEPT_SESSION: State.READY},
            State.AWAITING_N_ACKS: {
                Step.SEND_START_N: State.AWAITING_N_ACKS,
                Step.SEND_STOP_N: State.AWAITING_N_ACKS,
                Step.RECEIVE_N_ACK: State.AWAITING_N_ACKS,
                Step.RECEIVE_LAST_N_ACK: State.READY,
            },
        },
        Variant.OWAMP: {
            State.READY: {
                Step.SEND_OW_REQUEST: State.AWAITING_ACCEPT_SESSION,
                Step.SEND_START: State.AWAITING_START_ACK,
                Step.SEND_FETCH: State.AWAITING_FETCH_ACK,
            },
            State.AWAITING_ACCEPT_SESSION: {Step.RECEIVE_ACCEPT_SESSION: State.READY},
            State.AWAITING_START_ACK: {
                Step.RECEIVE_START_ACK: State.ACTIVE,
                Step.RECEIVE_START_REFUSAL: State.CLOSED,
            },
            State.ACTIVE: {Step.SEND_STOP: State.AWAITING_STOP, Step.RECEIVE_STOP: State.OWING_STOP},
            State.AWAITING_STOP: {Step.RECEIVE_STOP: State.READY},
            State.OWING_STOP: {Step.SEND_STOP: State.READY},
            State.AWAITING_FETCH_ACK: {Step.RECEIVE_RESULTS: State.READY},
        },
    },
    Role.SERVER: {
        Variant.TWAMP: {
            State.READY: {Step.RECEIVE_REQUEST: State.DECIDING_REQUEST, Step.RECEIVE_START: State.DECIDING_START},
            State.DECIDING_REQUEST: {Step.SEND_ACCEPT_SESSION: State.READY},
            State.DECIDING_START: {Step.SEND_START_ACK: State.ACTIVE, Step.REFUSE_START: State.READY},
            State.ACTIVE: {Step.RECEIVE_STOP: State.READY},
        },
        Variant.INDIVIDUAL: {
            State.READY: {
                Step.RECEIVE_REQUEST: State.DECIDING_REQUEST,
                Step.RECEIVE_START_N: State.DECIDING_START,
                Step.RECEIVE_STOP_N: State.ACKNOWLEDGING_STOP,
            },
            State.DECIDING_REQUEST: {Step.SEND_ACCEPT_SESSION: State.READY},
            State.DECIDING_START: {Step.SEND_START_N_ACKS: State.READY},
            State.ACKNOWLEDGING_STOP: {Step.SEND_STOP_N_ACKS: State.READY},
        },
        Variant.OWAMP: {
            State.READY: {
                Step.RECEIVE_OW_REQUEST: State.DECIDING_REQUEST,
                Step.RECEIVE_START: State.DECIDING_START,
                Step.RECEIVE_FETCH: State.DECIDING_FETCH,
            },
            State.DECIDING_REQUEST: {Step.SEND_ACCEPT_SESSION: State.READY},
            State.DECIDING_START: {Step.SEND_START_ACK: State.ACTIVE, Step.REFUSE_START: State.READY},
            State.ACTIVE: {Step.RECEIVE_STOP: State.OWING_STOP, Step.SEND_STOP: State.AWAITING_STOP},
            State.OWING_STOP: {Step.SEND_STOP: State.READY},
            State.AWAITING_STOP: {Step.RECEIVE_STOP: State.READY},
            State.DECIDING_FETCH: {Step.SEND_FETCH_ACK: State.SENDING_RESULTS, Step.REFUSE_FETCH: State.READY},
            State.SENDING_RESULTS: {Step.FINISH_RESULTS: State.READY},
        },
    },
}
"""What follows set-up."""


class SessionState(Enum):
    """Where a test-session is."""

    ACCEPTED = "accepted"
    STARTED = "started"
    STOPPING = "stopping"
    """Server: stopped, but packets in transit are reflected for Timeout (RFC 5357 section 3.8)."""
    ENDED = "ended"


class SessionStep(Enum):
    """What moves a test-session."""

    START = "started"
    STOP = "Stop-Sessions or Stop-N-Sessions"
    BOTH_STOP = "Stop-Sessions both ways (OWAMP)"
    TIMEOUT = "Timeout after the stop"
    REFWAIT = "REFWAIT without a packet"
    LOSE_CONNECTION = "the connection closed"
    GIVE_UP = "ended by its owner"


SESSION: Final[Mapping[SessionState, Mapping[SessionStep, SessionState]]] = {
    SessionState.ACCEPTED: {
        SessionStep.START: SessionState.STARTED,
        SessionStep.STOP: SessionState.ENDED,
        SessionStep.LOSE_CONNECTION: SessionState.ENDED,
        SessionStep.GIVE_UP: SessionState.ENDED,
    },
    SessionState.STARTED: {
        SessionStep.STOP: SessionState.STOPPING,
        SessionStep.BOTH_STOP: SessionState.ENDED,
        SessionStep.REFWAIT: SessionState.ENDED,
        SessionStep.LOSE_CONNECTION: SessionState.ENDED,
        SessionStep.GIVE_UP: SessionState.ENDED,
    },
    SessionState.STOPPING: {
        SessionStep.TIMEOUT: SessionState.ENDED,
        SessionStep.GIVE_UP: SessionState.ENDED,
    },
    SessionState.ENDED: {},
}
"""Test-sessions as a Server keeps them. The loss of the connection does not shorten Timeout."""


@cache
def table(role: Role, variant: Variant) -> Table:
    """Everything that one end can do in one variant."""
    return {**SET_UP[role], **COMMANDS[role][variant]}
