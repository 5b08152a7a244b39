"""One control connection of a Server, and its test-sessions on the packet plane.

Theory of operation. The machine judges what the protocol can judge; what is left to decide here is whether there is
room: a session and a port. The port is held by a socket of ours while the session is accepted, because the session's
keys come from its SID and the SID is made with the acceptance; only then the packet plane can open it. Should that
fail, the session is ended at once, and its start is refused.

REFWAIT is the packet plane's to know, as only it sees packets: when the machine's timer is due, a session that the
packet plane still runs has had packets, and waits on.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from twoway.analysis.server import ConnectionState, SessionState
from twoway.config.managed import SessionRequest as Asked
from twoway.control import events
from twoway.control.connection import Timer
from twoway.control.negotiated import StoredSession
from twoway.control.owamp_codec import SendRecord
from twoway.control.registry import Accept, Protocol
from twoway.control.requests import Endpoints, owamp_message
from twoway.control.server import Server as Machine
from twoway.drivers.control_stream import ControlStream
from twoway.drivers.managed_ends import SessionReceiver, SessionReflector, SessionSender
from twoway.drivers.managed_plane import timestamp_of, wall_ns_of
from twoway.drivers.negotiation import mode_name
from twoway.drivers.sockets import host_of, reserve_port
from twoway.errors import ConfigError, PlaneError

if TYPE_CHECKING:
    from twoway.control.configuration import Address, ServerConfiguration
    from twoway.control.connection import TimerKey
    from twoway.control.negotiated import NegotiatedSession, SessionRequest
    from twoway.drivers.control_stream import Clock
    from twoway.drivers.managed_ends import FarEnd, Recorded
    from twoway.drivers.server import Server
    from twoway.drivers.sockets import ReservedPort

_ROLES = {SessionReflector: "reflector", SessionReceiver: "receiver", SessionSender: "sender"}
_PORTS_TRIED = 64
"""Ports of the range that may turn out to be another program's before a session is refused."""


@dataclass(slots=True)
class _Session:
    negotiated: NegotiatedSession
    far_end: FarEnd
    port: int
    start_ns: int | None
    """Start Time, None: at once."""
    state: str = "accepted"


@dataclass(frozen=True, slots=True)
class Stored:
    """Results that Fetch-Session can ask for."""

    session: NegotiatedSession
    recorded: Recorded

    @property
    def size(self) -> int:
        """In packet records."""
        return len(self.recorded.batch)


class ServerConnection:
    """A control connection and what was negotiated on it."""

    def __init__(
        self,
        server: Server,
        number: int,
        configuration: ServerConfiguration,
        clock: Clock,
        client: Address,
        local: Address,
        peer: str,
    ) -> None:
        self._server = server
        self.number = number
        self.client = client
        self._peer = peer
        self._since_ns = time.time_ns()
        self.server_port = 0
        """TCP port of our end."""
        self._protocol = configuration.protocol
        self._sessions: dict[bytes, _Session] = {}
        self._machine = Machine(
            configuration,
            local_address=local,
            peer_address=client,
            random_octets=os.urandom,
            passphrase=server.passphrase,
            ikev2_shared_key=server.ikev2_key,
        )
        self.stream = ControlStream(
            self._machine,
            clock,
            on_event=self._on_event,
            on_finished=self._on_finished,
            before_timers=self._before_timers,
        )

    def abort(self) -> None:
        """End everything at once."""
        self.stream.abort()
        for sid in list(self._sessions):
            self._end(sid, lost=True)

    def state(self) -> ConnectionState:
        """What it is."""
        host, _, port = self._peer.rpartition(":")
        return ConnectionState(
            number=self.number,
            client=(host.strip("[]"), int(port)),
            server=(str(self._machine.local_address), self.server_port),
            mode=mode_name(self._machine.mode),
            sessions=len(self._sessions),
            since_ns=self._since_ns,
        )

    def session_states(self) -> list[SessionState]:
        """Its test-sessions."""
        states = []
        for sid, session in self._sessions.items():
            agreed = session.negotiated.request
            state = SessionState(
                sid=sid,
                protocol=self._protocol.value,
                role=_ROLES[type(session.far_end)],
                connection=self.number,
                client=self._peer,
                mode=mode_name(session.negotiated.mode),
                sender=(_host(agreed.sender_address), agreed.sender_port),
                receiver=(_host(agreed.receiver_address), agreed.receiver_port),
                state=session.state,
                packets=session.far_end.counters(),
                obtained=session.far_end.obtained,
            )
            states.append(state)
        return states

    # What the machine says.

    def _on_event(self, event: events.Event) -> None:
        count, note, peer = self._server.counts, self._server.note, self._peer
        match event:
            case events.SetUpCompleted():
                count["set_up"] += 1
            case events.SetUpRefused():
                if event.rule.counter != "modes_zero":
                    note(f"set_up_refused:{event.rule.counter}", peer, event.rule.meaning, event.rule.section)
            case events.SessionRequested():
                self._decide(event.request)
            case events.RequestRefused():
                note(f"request_refused:{event.rule.counter}", peer, event.rule.meaning, event.rule.section)
            case events.CommandRefused():
                note(f"command_refused:{event.rule.counter}", peer, event.rule.meaning, event.rule.section)
            case events.StartRequested():
                self._start(event.sids)
            case events.SessionStopped():
                self._stop(event)
            case events.StopReceived():
                self._stop_received(event)
            case events.SessionEnded():
                count[f"session_ended:{event.reason.name.lower()}"] += 1
                self._end(event.sid, lost=event.reason is not events.EndReason.STOPPED)
            case events.FetchRequested():
                self._fetch(event)
            case events.ProtocolViolated():
                rule = event.rule
                note(f"violated:{rule.counter}", peer, rule.meaning, rule.section)
            case events.ConnectionClosed():
                count[f"connection_closed:{event.reason.name.lower()}"] += 1
            case _:
                pass

    def _on_finished(self) -> None:
        self._server.gone(self)

    def _before_timers(self, due: tuple[TimerKey, ...]) -> None:
        now_ns = self.stream.clock.now_ns()
        for timer, sid in due:
            if timer is Timer.REFWAIT and sid in self._sessions and self._sessions[sid].far_end.running:
                self._machine.packet_seen(sid, now_ns)

    # Sessions.

    def _decide(self, request: SessionRequest) -> None:
        """Accept the request if there is room for it (RFC 4656 section 6.5)."""
        server, now_ns = self._server, self.stream.clock.now_ns()
        full = server.full(self.client, 0 if request.server_sends else request.packets)
        if full is not None:
            server.note(full, self._peer, "as many as there may be", "RFC 4656 section 6.5")
            self._machine.refuse_session(Accept.TEMPORARY_LIMIT, now_ns)
            return
        wall_ns = time.time_ns()
        start_ns = wall_ns_of(request.start_time, wall_ns) if request.start_time else wall_ns
        delay_ns = max(0, start_ns - wall_ns)
        try:
            with self._port(request) as port:
                timestamp = timestamp_of(wall_ns)
                session = self._machine.accept_session(
                    port.number, now_ns, timestamp=timestamp, start_delay_ns=delay_ns
                )
        except PlaneError as error:
            # A range that is used up will have room again; an address that cannot be bound will not.
            used_up = error.errno == errno.EADDRINUSE
            server.note("no_port", self._peer, "no port is free" if used_up else str(error), "RFC 4656 section 6.5")
            self._machine.refuse_session(Accept.TEMPORARY_LIMIT if used_up else Accept.INTERNAL_ERROR, now_ns)
            return
        try:
            far_end = self._open(session)
        except (ConfigError, PlaneError) as error:
            server.note("session_not_opened", self._peer, str(error))
            self._machine.end_session(session.sid, now_ns)
            return
        server.enter(self.client, port.number, 0 if request.server_sends else request.packets)
        self._sessions[session.sid] = _Session(session, far_end, port.number, start_ns if delay_ns else None)
        if isinstance(far_end, SessionReflector):
            far_end.news = lambda: self._reflector_news(session.sid)

    def _open(self, session: NegotiatedSession) -> FarEnd:
        """What the Server runs for a session. Raises `ConfigError` and `PlaneError`."""
        server, agreed = self._server, session.request
        if session.protocol is Protocol.TWAMP:
            return server.plane.open_reflector(session, server.settings)
        if not agreed.server_sends:
            # A few more than there are packets, for duplicates.
            return server.plane.open_receiver(session, server.settings, agreed.packets + 64)
        options = server.options
        asked = Asked(
            timeout_ns=max(1, agreed.timeout_ns),
            dscp=agreed.dscp,
            timestamps=options.timestamps,
            clock_format=options.clock_format,
            receive_buffer=options.receive_buffer,
            sample_capacity=0,
        )
        return server.senders.open(session, asked, self._peer, server.place)

    def _reflector_news(self, sid: bytes) -> None:
        """The packet plane ended a session by itself: by REFWAIT, or because its socket failed."""
        session = self._sessions.get(sid)
        if session is not None and isinstance(session.far_end, SessionReflector):
            end = session.far_end.end
            if end in ("refwait", "failed"):
                self._server.counts[f"reflector_ended:{end}"] += 1
                self._machine.end_session(sid, self.stream.clock.now_ns())
                self.stream.pump()

    def _port(self, request: SessionRequest) -> ReservedPort:
        """A port of ours that is free. Raises `PlaneError`."""
        if request.server_sends:
            wanted, address = request.sender_port, request.sender_address
        else:
            wanted, address = request.receiver_port, request.receiver_address
        for number in islice(self._server.ports.candidates(wanted), _PORTS_TRIED):
            try:
                return reserve_port(str(address), number, self._server.options.netns)
            except PlaneError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
        raise PlaneError("bind", str(address), errno.EADDRINUSE)

    def _start(self, sids: tuple[bytes, ...]) -> None:
        for sid in sids:
            session = self._sessions.get(sid)
            if session is not None:
                session.far_end.start(session.start_ns)
                session.state = "started"
        self._machine.answer_start(self.stream.clock.now_ns())

    def _stop(self, event: events.SessionStopped) -> None:
        """TWAMP: packets in transit are still reflected (RFC 5357 section 3.8)."""
        session = self._sessions.get(event.sid)
        if session is not None:
            session.state = "stopping"
            session.far_end.stop()
        if event.accept is not Accept.OK:
            self._server.note("stopped_invalid", self._peer, "the client says that its results are not valid")

    def _end(self, sid: bytes, *, lost: bool) -> None:
        session = self._sessions.pop(sid, None)
        if session is None:
            return
        if lost and isinstance(session.far_end, SessionReceiver) and session.state == "started":
            session.far_end.abandon()
            self._server.store(sid, Stored(session.negotiated, session.far_end.recorded()))
        session.far_end.close()
        agreed = session.negotiated.request
        self._server.leave(self.client, session.port, 0 if agreed.server_sends else agreed.packets)

    # OWAMP.

    def _stop_received(self, event: events.StopReceived) -> None:
        """The client accounts for what it sent; we do the same (RFC 4656 section 3.8)."""
        for record in event.records:
            session = self._sessions.get(record.sid)
            if session is None or not isinstance(session.far_end, SessionReceiver):
                continue
            outcome = session.far_end.complete(record.next_seqno, record.skip_ranges)
            session.state = "stopping"
            if outcome == "invalid":
                self._server.note(
                    "stopped_invalid", self._peer, "more packets came than were sent", "RFC 4656 section 3.8"
                )
            elif event.accept is Accept.OK:
                self._server.store(record.sid, Stored(session.negotiated, session.far_end.recorded()))
        if event.owed:
            self._machine.stop_sessions(self.stream.clock.now_ns(), self._account())

    def _account(self) -> list[SendRecord]:
        """What was sent from here, now that it ends."""
        records = []
        for sid, session in self._sessions.items():
            if isinstance(session.far_end, SessionSender) and session.state == "started":
                session.far_end.abort()
                records.append(SendRecord(sid, *session.far_end.progress()))
        return records

    def _fetch(self, event: events.FetchRequested) -> None:
        server, now_ns, fetch = self._server, self.stream.clock.now_ns(), event.fetch
        stored = server.stored.get(fetch.sid)
        running = self._sessions.get(fetch.sid)
        if stored is None and running is not None and isinstance(running.far_end, SessionReceiver):
            stored = Stored(running.negotiated, running.far_end.recorded())
        if stored is None:
            server.note("fetch_refused", self._peer, "there are no results of this SID", "RFC 4656 section 3.9")
            self._machine.refuse_fetch(Accept.FAILURE, now_ns)
            return
        recorded = stored.recorded.between(fetch.begin, fetch.end)
        agreed = stored.session.request
        if agreed.sender_address is None or agreed.receiver_address is None:
            raise ValueError("a negotiated session has both addresses")
        ends = Endpoints(client=agreed.sender_address, server=agreed.receiver_address)
        self._machine.answer_fetch(
            StoredSession(
                request=replace(owamp_message(agreed, ends, fetch.sid), sid=fetch.sid),
                finished=recorded.outcome != "running",
                ended_normally=recorded.outcome == "complete",
                next_seqno=recorded.next_seqno,
                skip_ranges=recorded.skip_ranges,
                record_count=len(recorded.batch),
                records=recorded.records,
            ),
            now_ns,
        )


def _host(address: Address | None) -> str:
    return "" if address is None else host_of(address)
