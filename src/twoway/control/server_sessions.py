"""The test-sessions of one control connection, as its Server keeps account of them.

A session that has ended may still count. The client does not know of an end that REFWAIT or our owner brought about, so
Start-Sessions still means that session, and Stop-Sessions must still account for it: none has terminated it. With
individual control neither counts, for each session is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.control.transitions import SESSION, SessionState, SessionStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.control.negotiated import NegotiatedSession


@dataclass(slots=True)
class ServerSession:
    """A session that has not ended, and where it is."""

    negotiated: NegotiatedSession
    start_delay_ns: int
    """From the start to the first packet that REFWAIT waits for."""
    state: SessionState = SessionState.ACCEPTED


class ServerSessions:
    """Those that have not ended, in the order of their requests; and what the client may count beside them."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, ServerSession] = {}
        self._unstarted: dict[bytes, NegotiatedSession] = {}
        """Accepted, and not started; ended or not."""
        self._unstopped: dict[bytes, NegotiatedSession] = {}
        """Started, and not terminated by a Stop-Sessions; ended or not."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._sessions)

    def __contains__(self, sid: bytes) -> bool:
        return sid in self._sessions

    @property
    def negotiated(self) -> tuple[NegotiatedSession, ...]:
        """What was agreed on, for each."""
        return tuple(session.negotiated for session in self._sessions.values())

    def accept(self, negotiated: NegotiatedSession, start_delay_ns: int, *, started_together: bool) -> None:
        """A new one. `started_together`: Start-Sessions will start it with all others (no individual control)."""
        self._sessions[negotiated.sid] = ServerSession(negotiated, start_delay_ns)
        if started_together:
            self._unstarted[negotiated.sid] = negotiated

    def taken(self) -> set[bytes]:
        """The SIDs of sessions that the client believes to have, but for those that were started and ended since."""
        return self._sessions.keys() | self._unstarted.keys()

    def is_accepted(self, sid: bytes) -> bool:
        """Whether it waits to be started."""
        return sid in self._sessions and self._sessions[sid].state is SessionState.ACCEPTED

    def started(self) -> list[bytes]:
        """Those that run and were not stopped."""
        return [sid for sid, session in self._sessions.items() if session.state is SessionState.STARTED]

    def allows(self, sid: bytes, step: SessionStep) -> bool:
        """Whether there is such a session, and the table has this step where it is."""
        return sid in self._sessions and step in SESSION[self._sessions[sid].state]

    def step(self, sid: bytes, step: SessionStep) -> ServerSession:
        """Move it as the table says."""
        session = self._sessions[sid]
        session.state = SESSION[session.state][step]
        return session

    def forget(self, sid: bytes) -> None:
        """It has ended."""
        del self._sessions[sid]

    def all_started(self) -> None:
        """Start-Sessions was acknowledged."""
        self._unstopped, self._unstarted = self._unstarted, {}

    @property
    def unstopped(self) -> tuple[NegotiatedSession, ...]:
        """Those that the next Stop-Sessions must account for, ended or not."""
        return tuple(self._unstopped.values())

    def all_stopped(self) -> None:
        """Stop-Sessions has accounted for them."""
        self._unstopped.clear()

    def to_account_for(self, *, server_sends: bool) -> dict[bytes, int]:
        """OWAMP: SID -> Number of Packets of the sessions of one direction that a Stop-Sessions must describe."""
        return {
            sid: session.request.packets
            for sid, session in self._unstopped.items()
            if session.request.server_sends is server_sends
        }
