"""A TWAMP Server that is past set-up, for tests of what comes after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.control import codec
from twoway.control.codec import RequestTwSession
from twoway.control.configuration import SECOND
from twoway.control.events import (
    Event,
    RequestRefused,
    SessionRequested,
)
from twoway.control.registry import Mode
from twoway.control.transitions import State

from .pair import (
    make_server,
    server_configuration,
)

if TYPE_CHECKING:
    from twoway.control.server import Server

NOW = 77 * SECOND
ZERO = bytes(16)
ASKED = RequestTwSession(
    ip_version=4,
    sender_port=5000,
    receiver_port=6000,
    sender_address=ZERO,
    receiver_address=ZERO,
    padding_length=100,
    start_time=0,
    timeout=1 << 32,
    type_p=0,
)


def clear(message: object) -> bytes:
    """A message as it is sent in the clear."""
    return b"".join(segment + bytes(16) for segment in message.segments())  # type: ignore[attr-defined]  # any message


def ready(features: Mode = Mode.UNAUTHENTICATED, **changes: object) -> Server:
    """A Server without a client, after set-up in the clear."""
    server = make_server(server_configuration(**changes))
    server.connection_made(NOW)
    mode = Mode.UNAUTHENTICATED | features
    server.receive_data(codec.SetUpResponse(int(mode), bytes(80), bytes(64), bytes(16)).octets(), NOW)
    server.data_to_send()
    events(server)
    return server


def events(server: Server) -> list[Event]:
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


def refused(
    message: RequestTwSession, features: Mode = Mode.UNAUTHENTICATED, **changes: object
) -> RequestRefused | None:
    """What a Server refuses of a request; None if it leaves the decision to its owner. The connection goes on."""
    server = ready(features, **changes)
    server.receive_data(clear(message), NOW)
    (event,) = events(server)
    assert not server.closed
    if isinstance(event, SessionRequested):
        return None
    assert isinstance(event, RequestRefused)
    assert server.data_to_send() == bytes([event.accept]) + bytes(47)
    assert server.state is State.READY
    return event
