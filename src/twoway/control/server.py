"""The Server's end of a control connection, for TWAMP and for OWAMP.

Theory of operation. The machine authenticates by itself, with callbacks for the secrets, and judges each request by
itself; what passes goes to its owner as an event, and nothing more is read until the owner has answered, so commands
are answered one by one and in order. Commands that may not come now are read whole and answered with Accept 3, and the
connection and its sessions go on (RFC 5357 section 3.5); a command number without a meaning has no length, so after
that answer the connection closes.

Sessions are this machine's business until `SessionEnded`: after a stop they go on for their Timeout (RFC 5357 section
3.8), and the end of the connection does not change that; sessions that were not stopped end with the connection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from twoway.control import codec
from twoway.control.codec import BLOCK, AcceptSession, SetUpResponse, StartAck, UnknownCommand
from twoway.control.connection import Connection, Timer
from twoway.control.events import (
    CloseReason,
    CommandRefused,
    EndReason,
    FetchRequested,
    RequestRefused,
    SessionEnded,
    SessionRequested,
    SessionsStopped,
    SessionStopped,
    SetUpCompleted,
    SetUpRefused,
    StartRequested,
    StopReceived,
)
from twoway.control.negotiated import NegotiatedSession, SessionRequest, StoredSession
from twoway.control.owamp_codec import (
    WHOLE_SESSION,
    FetchAck,
    FetchSession,
    OwampCommandMessage,
    OwampStopSessions,
    RequestSession,
    SendRecord,
    ordered,
    read_owamp_command,
    record_octets,
    record_pieces,
    skip_ranges_segment,
)
from twoway.control.registry import (
    SECURE_TEST,
    Accept,
    Mode,
    Protocol,
    modes_to_wire,
)
from twoway.control.requests import Endpoints, judge_owamp, judge_twamp
from twoway.control.rules import Rule, misuse, remote_error, violate
from twoway.control.security import (
    CHALLENGE_LEN,
    Opener,
    Sealer,
    SessionKeys,
    make_sid,
)
from twoway.control.server_sessions import ServerSessions
from twoway.control.set_up import Granted, Ikev2KeyOf, PassphraseOf, judge_set_up
from twoway.control.stopping import check_records, records_problem
from twoway.control.transitions import Role, SessionState, SessionStep, State, Step, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from twoway.control.codec import Reader
    from twoway.control.configuration import Address, ServerConfiguration

ClientMessage = SetUpResponse | codec.TwampCommandMessage | OwampCommandMessage


class Server(Connection[ClientMessage]):
    """The Server's end of one control connection. See `connection` for the verbs that drive it."""

    ROLE: ClassVar[Role] = Role.SERVER

    def __init__(
        self,
        configuration: ServerConfiguration,
        *,
        local_address: Address,
        peer_address: Address,
        random_octets: Callable[[int], bytes],
        passphrase: PassphraseOf = lambda _key_id: None,
        ikev2_shared_key: Ikev2KeyOf = lambda _spi_i, _spi_r: None,
    ) -> None:
        super().__init__(
            Variant.OWAMP if configuration.protocol is Protocol.OWAMP else Variant.TWAMP,
            State.CONNECTED,
            configuration.limits,
            local_address=local_address,
            peer_address=peer_address,
            random_octets=random_octets,
        )
        self._configuration = configuration
        self._passphrase = passphrase
        self._ikev2_shared_key = ikev2_shared_key
        self._mode = Mode(0)
        self._greeting = codec.ServerGreeting(
            modes_to_wire(configuration.protocol, configuration.modes),
            random_octets(CHALLENGE_LEN),
            random_octets(BLOCK),
            configuration.count,
        )
        self._keys: SessionKeys | None = None
        self._sessions = ServerSessions()
        self._pending: SessionRequest | None = None
        self._pending_sid = codec.ZERO_SID
        self._pending_octets = 0
        self._pending_start: tuple[bytes, ...] = ()
        self._pending_unknown: tuple[bytes, ...] = ()
        self._pending_fetch: FetchSession | None = None
        self._stop_accept = Accept.OK

    @property
    def mode(self) -> Mode:
        """What was negotiated; 0 before that."""
        return self._mode

    @property
    def sessions(self) -> tuple[NegotiatedSession, ...]:
        """Sessions that have not ended, in the order of their requests."""
        return self._sessions.negotiated

    def connection_made(self, now_ns: int) -> None:
        """The transport is connected: greet (RFC 4656 section 3.1)."""
        self._advance(now_ns)
        self._require(Step.SEND_GREETING, "RFC 4656 section 3.1")
        self._outbound.add(self._greeting.octets())
        self._step(Step.SEND_GREETING)
        self._set_timer(Timer.LIFETIME, self._configuration.connection_ns)
        if not self._greeting.modes:
            self._emit(SetUpRefused(Accept.OK, Rule.MODES_ZERO))
            self._close(CloseReason.REFUSED)
        self._watch()

    # Answers of our owner.

    def accept_session(
        self, port: int, now_ns: int, *, timestamp: int, start_delay_ns: int = 0, server_octets: int = 0
    ) -> NegotiatedSession:
        """Accept the request; packets are taken at (or, where we send, come from) `port`, which is open.

        `timestamp` goes into the SID. REFWAIT begins `start_delay_ns` after the start, for a Start Time in the future.
        `server_octets` begin the padding to be reflected (RFC 6038 section 4.3). Raises `LocalControlError`.
        """
        self._advance(now_ns)
        self._require(Step.SEND_ACCEPT_SESSION, "RFC 4656 section 3.5")
        request = self._pending
        if request is None or not 1 <= port <= 0xFFFF or not 0 <= server_octets <= 0xFFFF:
            raise misuse("accept a session", f"port {port} or Server octets out of range", "RFC 5357 section 3.5")
        if server_octets and not self._mode & Mode.REFLECT_OCTETS:
            raise misuse("accept a session", "Reflect Octets mode was not negotiated", "RFC 6038 section 4.3")
        sid = self._pending_sid if request.server_sends else self._new_sid(timestamp)
        sends = request.server_sends
        sender_port, receiver_port = (port, request.receiver_port) if sends else (request.sender_port, port)
        negotiated = NegotiatedSession(
            sid=sid,
            protocol=self._configuration.protocol,
            mode=self._mode,
            request=replace(request, sender_port=sender_port, receiver_port=receiver_port),
            keys=self._keys.for_test(sid) if self._keys is not None and self._mode & SECURE_TEST else None,
            server_octets=server_octets,
        )
        self._sessions.accept(negotiated, start_delay_ns, started_together=self._variant is not Variant.INDIVIDUAL)
        self._answer_request(AcceptSession(Accept.OK, port, sid, self._pending_octets, server_octets))
        return negotiated

    def refuse_session(self, accept: Accept, now_ns: int) -> None:
        """Refuse the request. Raises `LocalControlError`."""
        self._advance(now_ns)
        self._require(Step.SEND_ACCEPT_SESSION, "RFC 4656 section 3.5")
        if accept in (Accept.OK, Accept.NO_IKEV2_SA):
            raise misuse("refuse a session", f"{accept!r} is no refusal", "RFC 4656 section 3.3")
        self._answer_request(AcceptSession(accept))

    def answer_start(self, now_ns: int, refused: Mapping[bytes, Accept] | None = None) -> None:
        """Acknowledge the start of the sessions of `StartRequested`, all but those `refused`.

        Without individual control one refusal refuses them all. Raises `LocalControlError`.
        """
        self._advance(now_ns)
        refused = dict(refused or {})
        individual = self._variant is Variant.INDIVIDUAL
        self._require(Step.SEND_START_N_ACKS if individual else Step.SEND_START_ACK, "RFC 4656 section 3.7")
        if not set(refused) <= set(self._pending_start) or not all(refused.values()):
            raise misuse("answer a start", "a refusal of another session, or with Accept 0", "RFC 4656 section 3.7")
        # A session may have been ended by its owner meanwhile.
        present = [sid for sid in self._pending_start if sid in self._sessions]
        if individual:
            gone = {sid: Accept.FAILURE for sid in self._pending_start if sid not in self._sessions}
            unknown = dict.fromkeys(self._pending_unknown, Accept.NOT_SUPPORTED)
            self._start(sid for sid in present if sid not in refused)
            order = self._pending_start + self._pending_unknown
            self._acknowledge(codec.StartNAck, order, {**refused, **gone, **unknown})
            self._step(Step.SEND_START_N_ACKS)
        elif refused or not present:
            accept = next(iter(refused.values()), Accept.FAILURE)
            self._outbound.add_segments(StartAck(accept).segments())
            self._step(Step.REFUSE_START)
        else:
            self._start(present)
            self._sessions.all_started()
            self._outbound.add_segments(StartAck(Accept.OK).segments())
            self._step(Step.SEND_START_ACK)
        self._pending_start = self._pending_unknown = ()
        self._read()

    def stop_sessions(self, now_ns: int, records: Sequence[SendRecord] = (), *, accept: Accept = Accept.OK) -> None:
        """OWAMP: stop from our side. `records` describe exactly the sessions that we send.

        Raises `LocalControlError`.
        """
        self._advance(now_ns)
        self._require(Step.SEND_STOP, "RFC 4656 section 3.8")
        check_records(records, self._sessions.to_account_for(server_sends=True))
        if accept is not Accept.OK:
            self._stop_accept = accept
        self._outbound.add_segments(OwampStopSessions(accept, tuple(records)).segments())
        self._step(Step.SEND_STOP)
        if self._state is State.READY:
            self._both_stopped()
        self._read()

    def answer_fetch(self, stored: StoredSession, now_ns: int) -> None:
        """Send the results asked for. A complete session that has not ended normally is refused (RFC 4656 section 3.9).

        Raises `LocalControlError`.
        """
        self._advance(now_ns)
        self._require(Step.SEND_FETCH_ACK, "RFC 4656 section 3.9")
        fetch = self._pending_fetch
        whole = fetch is not None and (fetch.begin, fetch.end) == WHOLE_SESSION
        if whole and not (stored.finished and stored.ended_normally):
            self._emit(RequestRefused(Accept.FAILURE, Rule.FETCH_INCOMPLETE))
            self.refuse_fetch(Accept.FAILURE, now_ns)
            return
        if not ordered(stored.skip_ranges):
            raise misuse("answer a fetch", Rule.SKIP_RANGES.meaning, "RFC 4656 section 3.9")
        skip_ranges = stored.skip_ranges if stored.finished else ()
        next_seqno = stored.next_seqno if stored.finished else 0
        ack = FetchAck(Accept.OK, stored.finished, next_seqno, len(skip_ranges), stored.record_count)
        self._outbound.add_segments(ack.segments())
        self._outbound.add_segments((*stored.request.segments(), skip_ranges_segment(skip_ranges)))
        self._source = self._send_records(stored)
        self._pending_fetch = None
        self._step(Step.SEND_FETCH_ACK)
        self._watch()

    def refuse_fetch(self, accept: Accept, now_ns: int) -> None:
        """Refuse to send results. Raises `LocalControlError`."""
        self._advance(now_ns)
        self._require(Step.REFUSE_FETCH, "RFC 4656 section 3.9")
        if accept in (Accept.OK, Accept.NO_IKEV2_SA):
            raise misuse("refuse a fetch", f"{accept!r} is no refusal", "RFC 4656 section 3.3")
        self._outbound.add_segments(FetchAck(accept).segments())
        self._pending_fetch = None
        self._step(Step.REFUSE_FETCH)
        self._read()

    def packet_seen(self, sid: bytes, at_ns: int) -> None:
        """The session's last packet came at this moment: REFWAIT begins again (RFC 5357 section 4.2)."""
        refwait_ns = self._configuration.refwait_ns
        if (Timer.REFWAIT, sid) in self._timers:
            self._timers[Timer.REFWAIT, sid] = max(self._timers[Timer.REFWAIT, sid], at_ns + refwait_ns)

    def end_session(self, sid: bytes, now_ns: int) -> None:
        """End a session from our side, for instance because its socket failed. Nothing if it has ended."""
        self._advance(now_ns)
        self._end(sid, SessionStep.GIVE_UP, EndReason.LOCAL)
        self._watch()

    # What comes.

    def _wants_octets(self) -> bool:
        return self._state in (State.AWAITING_SET_UP_RESPONSE, State.READY, State.ACTIVE, State.AWAITING_STOP)

    def _next_reader(self) -> Reader[ClientMessage]:
        if self._state is State.AWAITING_SET_UP_RESPONSE:
            return codec.read_set_up_response()
        if self._variant is Variant.OWAMP:
            return read_owamp_command(self._limits)
        return codec.read_twamp_command(self._limits)

    def _handle(self, message: ClientMessage) -> None:
        match message:
            case SetUpResponse():
                self._step(Step.RECEIVE_SET_UP_RESPONSE)
                self._authenticate(message)
            case UnknownCommand():
                self._outbound.add_segments(AcceptSession(Accept.NOT_SUPPORTED).segments())
                self._fail(remote_error(Rule.COMMAND_UNKNOWN, f"number {message.number}"))
            case codec.RequestTwSession() if self._receives(Step.RECEIVE_REQUEST):
                self._judge(self._judge_twamp(message))
            case RequestSession() if self._receives(Step.RECEIVE_OW_REQUEST):
                self._judge(self._judge_owamp(message))
            case codec.StartSessions() if self._receives(Step.RECEIVE_START):
                self._start_asked()
            case codec.StopSessions() if self._receives(Step.RECEIVE_STOP):
                self._stopped(message)
            case OwampStopSessions() if self._allows(Step.RECEIVE_STOP):
                self._stop_received(message)
            case FetchSession() if self._receives(Step.RECEIVE_FETCH):
                self._pending_fetch = message
                self._emit(FetchRequested(message))
            case codec.StartNSessions() if message.sids and self._receives(Step.RECEIVE_START_N):
                self._start_n_asked(message.sids)
            case codec.StopNSessions() if message.sids and self._receives(Step.RECEIVE_STOP_N):
                self._stop_n(message.sids)
            case codec.StopSessions() | OwampStopSessions() if self._variant is not Variant.INDIVIDUAL:
                violate(Rule.STOP_COUNT, "no session is in progress")
            case codec.StartNSessions() | codec.StopNSessions() if self._variant is Variant.INDIVIDUAL:
                self._refuse_command(type(message).__name__, Rule.NO_SIDS)
            case _:
                self._refuse_command(type(message).__name__, Rule.COMMAND_UNEXPECTED)

    def _receives(self, step: Step) -> bool:
        """Move, if the table has this step here."""
        if not self._allows(step):
            return False
        self._step(step)
        return True

    def _refuse_command(self, command: str, rule: Rule) -> None:
        """RFC 5357 section 3.5: Accept 3, in an Accept-Session message."""
        self._outbound.add_segments(AcceptSession(Accept.NOT_SUPPORTED).segments())
        self._emit(CommandRefused(command, rule))

    # Set-up.

    def _authenticate(self, message: SetUpResponse) -> None:
        if not message.mode:
            self._emit(SetUpRefused(Accept.OK, Rule.NO_COMMON_MODE))
            self._close(CloseReason.GIVEN_UP)
            return
        ours = self._configuration
        judged = judge_set_up(message, self._greeting, ours, self._passphrase, self._ikev2_shared_key)
        if isinstance(judged, Granted):
            self._go_on(judged, message.client_iv)
        else:
            self._refuse_set_up(judged)

    def _refuse_set_up(self, refused: SetUpRefused) -> None:
        """A refusing Server-Start is in the clear, without a Start-Time (RFC 4656 section 3.1)."""
        refusal = codec.ServerStart(refused.accept, bytes(BLOCK), 0)
        self._outbound.add(refusal.clear_octets() + refusal.rest())
        self._step(Step.REFUSE_SET_UP)
        self._emit(refused)
        self._close(CloseReason.REFUSED)

    def _go_on(self, granted: Granted, client_iv: bytes) -> None:
        self._mode, self._keys = granted.mode, granted.keys
        if granted.keys is not None and self._configuration.authenticated_limits is not None:
            self._limits = self._configuration.authenticated_limits
        server_iv = bytes(BLOCK) if granted.keys is None else self._random_octets(BLOCK)
        start = codec.ServerStart(Accept.OK, server_iv, self._configuration.start_time)
        self._outbound.add(start.clear_octets())
        if granted.keys is not None:
            self._outbound.secure(Sealer(granted.keys, server_iv))
            self._inbound.secure(Opener(granted.keys, client_iv))
        self._outbound.add(start.rest())
        self._step(Step.SEND_SERVER_START)
        if granted.mode & Mode.INDIVIDUAL_SESSION_CONTROL:
            self._choose_variant(Variant.INDIVIDUAL)
        self._emit(SetUpCompleted(granted.mode, granted.key_id, start.start_time))

    # Requests.

    def _ends(self) -> Endpoints:
        return Endpoints(client=self.peer_address, server=self.local_address)

    def _judge_twamp(self, message: codec.RequestTwSession) -> SessionRequest | RequestRefused:
        count = len(self._sessions.taken())
        return judge_twamp(message, self._configuration, self._limits, self._mode, self._ends(), count)

    def _judge_owamp(self, message: RequestSession) -> SessionRequest | RequestRefused:
        taken = self._sessions.taken()
        judged = judge_owamp(message, self._configuration, self._limits, self._ends(), len(taken))
        self._pending_sid = message.sid
        if isinstance(judged, SessionRequest) and judged.server_sends and message.sid in taken:
            return RequestRefused(Accept.NOT_SUPPORTED, Rule.SID_IN_USE)
        return judged

    def _judge(self, judged: SessionRequest | RequestRefused) -> None:
        if isinstance(judged, RequestRefused):
            self._outbound.add_segments(AcceptSession(judged.accept).segments())
            self._step(Step.SEND_ACCEPT_SESSION)
            self._emit(judged)
            return
        self._pending = judged
        self._pending_octets = judged.octets_to_reflect
        self._emit(SessionRequested(judged))

    def _answer_request(self, answer: AcceptSession) -> None:
        self._outbound.add_segments(answer.segments())
        self._pending = None
        self._step(Step.SEND_ACCEPT_SESSION)
        self._read()

    def _new_sid(self, timestamp: int) -> bytes:
        while (sid := make_sid(self._configuration.sid_address, timestamp, self._random_octets(4))) in self._sessions:
            pass
        return sid

    # Start and stop.

    def _start_asked(self) -> None:
        self._pending_start = tuple(sid for sid in self._sessions if self._sessions.is_accepted(sid))
        if self._pending_start:
            self._emit(StartRequested(self._pending_start))
            return
        self._outbound.add_segments(StartAck(Accept.FAILURE).segments())
        self._step(Step.REFUSE_START)
        self._emit(CommandRefused("StartSessions", Rule.NOTHING_TO_START))

    def _start_n_asked(self, sids: tuple[bytes, ...]) -> None:
        once = tuple(dict.fromkeys(sids))
        known = tuple(sid for sid in once if self._sessions.is_accepted(sid))
        self._pending_start = known
        self._pending_unknown = tuple(sid for sid in once if sid not in known)
        if self._pending_unknown:
            self._emit(CommandRefused("StartNSessions", Rule.SID_UNKNOWN))
        if known:
            self._emit(StartRequested(known))
            return
        self._acknowledge(codec.StartNAck, once, dict.fromkeys(once, Accept.NOT_SUPPORTED))
        self._pending_unknown = ()
        self._step(Step.SEND_START_N_ACKS)

    def _acknowledge(
        self,
        kind: type[codec.StartNAck | codec.StopNAck],
        sids: Iterable[bytes],
        refused: Mapping[bytes, Accept],
    ) -> None:
        """One message for each Accept value (RFC 5938 section 3.3)."""
        groups: dict[Accept, list[bytes]] = {}
        for sid in sids:
            groups.setdefault(refused.get(sid, Accept.OK), []).append(sid)
        for accept, group in groups.items():
            self._outbound.add_segments(kind(tuple(group), accept).segments())

    def _start(self, sids: Iterable[bytes]) -> None:
        for sid in sids:
            session = self._sessions.step(sid, SessionStep.START)
            if self._variant is not Variant.OWAMP and self._configuration.refwait_ns:
                self._set_timer(Timer.REFWAIT, session.start_delay_ns + self._configuration.refwait_ns, sid)

    def _stopped(self, message: codec.StopSessions) -> None:
        """TWAMP: all sessions, which must be as many as it says (RFC 5357 section 3.8)."""
        if message.sessions != len(self._sessions.unstopped):
            violate(Rule.STOP_COUNT, f"{message.sessions} for {len(self._sessions.unstopped)}")
        self._sessions.all_stopped()
        for sid in self._sessions.started():
            self._stop(sid, message.accept)

    def _stop_n(self, sids: tuple[bytes, ...]) -> None:
        """RFC 5938 sections 3.4 and 3.5. An accepted session that was never started is simply given up."""
        once = tuple(dict.fromkeys(sids))
        refused = {}
        for sid in once:
            if self._sessions.allows(sid, SessionStep.STOP):
                self._stop(sid, Accept.OK)
            else:
                refused[sid] = Accept.NOT_SUPPORTED
        if refused:
            self._emit(CommandRefused("StopNSessions", Rule.SID_UNKNOWN))
        self._acknowledge(codec.StopNAck, once, refused)
        self._step(Step.SEND_STOP_N_ACKS)

    def _stop(self, sid: bytes, accept: Accept) -> None:
        """Reflect what arrives within Timeout, and no more (RFC 5357 section 3.8)."""
        session = self._sessions.step(sid, SessionStep.STOP)
        self._clear_timer(Timer.REFWAIT, sid)
        timeout_ns = session.negotiated.request.timeout_ns
        self._emit(SessionStopped(sid, accept, timeout_ns))
        if session.state is SessionState.STOPPING and timeout_ns:
            self._set_timer(Timer.TIMEOUT, timeout_ns, sid)
        else:
            self._forget(sid, EndReason.STOPPED)

    def _stop_received(self, message: OwampStopSessions) -> None:
        """OWAMP: the client describes what it sent (RFC 4656 section 3.8)."""
        rule = records_problem(message.records, self._sessions.to_account_for(server_sends=False))
        if rule is not None:
            violate(rule)
        self._step(Step.RECEIVE_STOP)
        if message.accept is not Accept.OK:
            self._stop_accept = message.accept
        self._emit(StopReceived(message.accept, message.records, owed=self._state is State.OWING_STOP))
        if self._state is State.READY:
            self._both_stopped()

    def _both_stopped(self) -> None:
        """OWAMP: sessions end at once; Timeout has another meaning there."""
        sids = tuple(session.sid for session in self._sessions.unstopped)
        self._sessions.all_stopped()
        accept, self._stop_accept = self._stop_accept, Accept.OK
        self._emit(SessionsStopped(sids, accept))
        for sid in sids:
            self._end(sid, SessionStep.BOTH_STOP, EndReason.STOPPED)

    def _end(self, sid: bytes, step: SessionStep, reason: EndReason) -> None:
        """End a session, if there still is one and the table lets it end so."""
        if self._sessions.allows(sid, step):
            self._forget(sid, reason)

    def _forget(self, sid: bytes, reason: EndReason) -> None:
        self._sessions.forget(sid)
        self._clear_timer(Timer.REFWAIT, sid)
        self._clear_timer(Timer.TIMEOUT, sid)
        self._emit(SessionEnded(sid, reason))

    # Fetch-Session.

    def _send_records(self, stored: StoredSession) -> Iterator[None]:
        octets = 0
        for piece in record_pieces(stored.records):
            octets += len(piece)
            self._outbound.add(piece)
            yield
        if octets != record_octets(stored.record_count):
            # What was announced cannot be taken back, so the connection is of no use.
            self._close(CloseReason.LOCAL)
            raise misuse("answer a fetch", f"there are not {stored.record_count} records", "RFC 4656 section 3.9")
        self._outbound.add_hmac()
        yield

    def _source_exhausted(self) -> None:
        self._step(Step.FINISH_RESULTS)

    # Timers.

    def _heard(self) -> None:
        self._clear_timer(Timer.SERVWAIT)

    def _watch(self) -> None:
        if self.closed:
            return
        ours = self._configuration
        set_up = self._state in (State.CONNECTED, State.AWAITING_SET_UP_RESPONSE, State.AUTHENTICATING)
        if not (set_up or (self._inbound.inside_message and self.reading)):
            self._clear_timer(Timer.MESSAGE)
        elif (Timer.MESSAGE, b"") not in self._timers:
            self._set_timer(Timer.MESSAGE, ours.message_ns)
        if set_up or self._in_progress():
            self._clear_timer(Timer.SERVWAIT)
        elif (Timer.SERVWAIT, b"") not in self._timers:
            self._set_timer(Timer.SERVWAIT, ours.servwait_ns)

    def _in_progress(self) -> bool:
        """Whether SERVWAIT is suspended: some session runs (RFC 5357 section 3.1, RFC 5938 section 3.6).

        OWAMP has no SERVWAIT of its own; there it is suspended until one end has stopped.
        """
        if self._variant is Variant.OWAMP:
            return self._state in (State.ACTIVE, State.OWING_STOP)
        return bool(self._sessions.started())

    def _expired(self, timer: Timer, sid: bytes) -> None:
        match timer:
            case Timer.MESSAGE:
                self._fail(remote_error(Rule.MESSAGE_TOO_SLOW))
            case Timer.SERVWAIT:
                self._close(CloseReason.SERVWAIT)
            case Timer.LIFETIME:
                self._close(CloseReason.LIFETIME)
            case Timer.REFWAIT:
                self._end(sid, SessionStep.REFWAIT, EndReason.REFWAIT)
            case _:
                self._end(sid, SessionStep.TIMEOUT, EndReason.STOPPED)

    def _lose_sessions(self) -> None:
        for sid in list(self._sessions):
            self._end(sid, SessionStep.LOSE_CONNECTION, EndReason.CONNECTION)
