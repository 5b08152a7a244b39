"""Session-Senders of negotiated test-sessions on the plane that the daemon's light ones are on.

A Control-Client opens its Session-Senders by a `SenderPlane`; this one stands in for it, and adds what was not
negotiated: pauses between tests, and collections for the samples. Nothing here reads samples or events, which
`SessionPlane` does for all sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.drivers.managed_ends import SessionSender
from twoway.drivers.managed_plane import SenderPlane, describe, session_spec, two_way_spec

if TYPE_CHECKING:
    from twoway.config.managed import SessionRequest
    from twoway.control.negotiated import NegotiatedSession
    from twoway.drivers.managed_plane import Place
    from twoway.drivers.session_plane import Collections, PlaneSession, SessionPlane


class ManagedSenders(SenderPlane):
    """For one control connection. Each request is announced by `expect` and found by `opened`."""

    def __init__(self, plane: SessionPlane) -> None:  # the base's own plane is what this does without
        self._shared = plane
        self._expected: dict[int, tuple[tuple[int, int] | None, Collections]] = {}
        self._opened: dict[int, PlaneSession] = {}

    def expect(self, request: SessionRequest, group: tuple[int, int] | None, into: Collections) -> None:
        """This very request will be made: `group` and `into` as in `SessionPlane.open`."""
        self._expected[id(request)] = group, into

    def opened(self, request: SessionRequest) -> PlaneSession | None:
        """What has become of this very request, None if it was not accepted."""
        return self._opened.get(id(request))

    def open(self, session: NegotiatedSession, request: SessionRequest, target: str, place: Place) -> SessionSender:
        """Open a Session-Sender that waits to be started. Raises `ConfigError` and `PlaneError`."""
        spec = session_spec(session, request, place)
        group, into = self._expected[id(request)]
        opened = self._shared.open_native(two_way_spec(session, spec), group=group, into=into)
        self._opened[id(request)] = opened
        return SessionSender(opened.native, describe(session, spec, target, opened.obtained), request.percentiles)

    def close(self) -> None:
        """The plane is others' too."""
