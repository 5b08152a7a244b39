"""The Control-Client's end of a control connection, and the Fetch-Client's (RFC 4656 section 1.2).

Theory of operation. The machine answers the Server-Greeting by itself, from its configuration. Then our caller gives
one command at a time: the table in `transitions` has no command in a state that awaits an answer, except that more
Start-N-Sessions and Stop-N-Sessions may follow those not yet acknowledged (RFC 5938 section 3.2). Answers that say
nothing about which request they answer (RFC 4656 section 3.5) are therefore never ambiguous, and a Server that reads
one message at a time is not confused. Where the Server has nothing to say, any octet of its is a violation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from twoway.control import codec, owamp_codec
from twoway.control.codec import BLOCK, KEY_ID_LEN, AcceptSession, ServerGreeting, ServerStart, StartAck
from twoway.control.connection import Connection, Timer
from twoway.control.events import (
    CloseReason,
    FetchRefused,
    SessionAccepted,
    SessionFetched,
    SessionRefused,
    SessionsStarted,
    SessionsStopped,
    SetUpCompleted,
    SetUpRefused,
    StartRefused,
    StopReceived,
    StopRefused,
)
from twoway.control.negotiated import NegotiatedSession, SessionRequest
from twoway.control.owamp_codec import WHOLE_SESSION, FetchedSession, FetchSession, OwampStopSessions, SendRecord
from twoway.control.registry import (
    SECURE_CONTROL,
    SECURE_TEST,
    Accept,
    Mode,
    Protocol,
    modes_to_wire,
)
from twoway.control.requests import Endpoints, owamp_message, resolved, twamp_message
from twoway.control.rules import Rule, misuse, remote_error, violate
from twoway.control.security import (
    HMAC_KEY_LEN,
    KEY_LEN,
    TOKEN_LEN,
    Opener,
    Sealer,
    SessionKeys,
    check_count,
    ikev2_key,
    make_sid,
    make_token,
)
from twoway.control.set_up import choose_mode
from twoway.control.stopping import check_records, records_problem
from twoway.control.transitions import Role, State, Step, Variant
from twoway.errors import RemoteControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.control.codec import Reader
    from twoway.control.configuration import Address, ClientConfiguration

ServerMessage = (
    ServerGreeting
    | ServerStart
    | AcceptSession
    | StartAck
    | codec.StartNAck
    | codec.StopNAck
    | OwampStopSessions
    | FetchedSession
)
_SILENT: Final = frozenset({State.READY, State.OWING_STOP, State.CHOOSING})
"""States in which a Server has nothing to say; TWAMP's ACTIVE is another."""


class ControlClient(Connection[ServerMessage]):
    """The client's end of one control connection. See `connection` for the verbs that drive it."""

    ROLE: ClassVar[Role] = Role.CONTROL_CLIENT

    def __init__(
        self,
        configuration: ClientConfiguration,
        *,
        local_address: Address,
        peer_address: Address,
        random_octets: Callable[[int], bytes],
    ) -> None:
        variant = Variant.OWAMP if configuration.protocol is Protocol.OWAMP else Variant.TWAMP
        super().__init__(
            variant,
            State.AWAITING_GREETING,
            configuration.limits,
            local_address=local_address,
            peer_address=peer_address,
            random_octets=random_octets,
        )
        self._configuration = configuration
        self._mode = Mode(0)
        self._key_id = b""
        self._keys: SessionKeys | None = None
        self._pending: SessionRequest | None = None
        self._pending_sid = codec.ZERO_SID
        self._sessions: dict[bytes, NegotiatedSession] = {}
        """Accepted, and not stopped."""
        self._started: list[bytes] = []
        self._starting: list[bytes] = []
        """Individual control: sent, not acknowledged."""
        self._stopping: list[bytes] = []
        self._stop_accept = Accept.OK

    @property
    def mode(self) -> Mode:
        """What was negotiated; 0 before that."""
        return self._mode

    @property
    def sessions(self) -> tuple[NegotiatedSession, ...]:
        """Sessions that were accepted and not stopped."""
        return tuple(self._sessions.values())

    def connection_made(self, now_ns: int) -> None:
        """The transport is connected: wait for the Server-Greeting."""
        self._advance(now_ns)
        self._watch()

    # Commands.

    def request_session(self, request: SessionRequest, now_ns: int, *, timestamp: int = 0) -> None:
        """Ask for a test-session; `SessionAccepted` or `SessionRefused` answers.

        `timestamp` goes into the SID of a session that we receive (OWAMP). Raises `LocalControlError`.
        """
        self._advance(now_ns)
        one_way = self._variant is Variant.OWAMP
        step = Step.SEND_OW_REQUEST if one_way else Step.SEND_REQUEST
        self._require(step, "RFC 4656 section 3.5" if one_way else "RFC 5357 section 3.5")
        if len(self._sessions) >= self._limits.sessions:
            raise misuse(
                "request a session", f"the connection has {len(self._sessions)}", Rule.TOO_MANY_SESSIONS.section
            )
        ends = self._ends()
        if one_way:
            sid = self._new_sid(timestamp) if request.server_sends else codec.ZERO_SID
            segments = owamp_message(request, ends, sid).segments()
            self._pending_sid = sid
        else:
            segments = twamp_message(request, ends, self._mode).segments()
        self._pending = request
        self._command(step, segments)

    def start_sessions(self, now_ns: int, sids: Sequence[bytes] | None = None) -> None:
        """Start every accepted session; with individual control those of `sids`, or all that are not started.

        `SessionsStarted` or `StartRefused` answers, with individual control one or more of them. Raises
        `LocalControlError`.
        """
        self._advance(now_ns)
        waiting = [sid for sid in self._sessions if sid not in self._started and sid not in self._starting]
        if self._variant is not Variant.INDIVIDUAL:
            self._require(Step.SEND_START, "RFC 4656 section 3.7")
            if not waiting:
                raise misuse("start sessions", Rule.NOTHING_TO_START.meaning, Rule.NOTHING_TO_START.section)
            if sids is not None and set(sids) != set(waiting):
                raise misuse("start sessions", "without individual control all are started", "RFC 5357 section 3.7")
            self._command(Step.SEND_START, codec.StartSessions().segments())
            return
        self._require(Step.SEND_START_N, "RFC 5938 section 3.2")
        chosen = self._chosen("start sessions", sids, waiting)
        self._starting += chosen
        self._command(Step.SEND_START_N, codec.StartNSessions(chosen).segments())

    def stop_sessions(
        self,
        now_ns: int,
        sids: Sequence[bytes] | None = None,
        *,
        accept: Accept = Accept.OK,
        records: Sequence[SendRecord] = (),
    ) -> None:
        """Stop every started session; with individual control those of `sids`, or all that are started.

        `accept` not OK says that the results are not to be trusted. OWAMP: `records` describe exactly the sessions that
        we send (RFC 4656 section 3.8). `SessionsStopped` says when both ends have stopped; with individual control
        `SessionsStopped` or `StopRefused` answers, one or more of them. Raises `LocalControlError`.
        """
        self._advance(now_ns)
        if self._variant is Variant.INDIVIDUAL:
            self._require(Step.SEND_STOP_N, "RFC 5938 section 3.4")
            known = [sid for sid in self._sessions if sid not in self._stopping and sid not in self._starting]
            chosen = self._chosen("stop sessions", sids, known if sids is not None else self._started)
            self._stopping += chosen
            self._command(Step.SEND_STOP_N, codec.StopNSessions(chosen).segments())
            return
        self._require(Step.SEND_STOP, "RFC 4656 section 3.8")
        if sids is not None and set(sids) != set(self._started):
            raise misuse("stop sessions", "without individual control all are stopped", "RFC 5357 section 3.8")
        if self._variant is Variant.TWAMP:
            self._command(Step.SEND_STOP, codec.StopSessions(accept, len(self._started)).segments())
            self._stop_accept = accept
            self._all_stopped()
            return
        sending = {sid: self._sessions[sid].request.packets for sid in self._started if not self._receives(sid)}
        check_records(records, sending)
        if accept is not Accept.OK:
            self._stop_accept = accept
        self._command(Step.SEND_STOP, OwampStopSessions(accept, tuple(records)).segments())
        if self._state is State.READY:
            self._all_stopped()

    def fetch_session(
        self, sid: bytes, now_ns: int, *, begin: int = WHOLE_SESSION[0], end: int = WHOLE_SESSION[1]
    ) -> None:
        """Ask for the results of a session that was received there; `SessionFetched` or `FetchRefused` answers.

        Raises `LocalControlError`.
        """
        self._advance(now_ns)
        self._require(Step.SEND_FETCH, "RFC 4656 section 3.9")
        if len(sid) != BLOCK or not 0 <= begin <= end <= WHOLE_SESSION[1]:
            raise misuse("fetch a session", "no SID, or no range of sequence numbers", "RFC 4656 section 3.9")
        self._command(Step.SEND_FETCH, FetchSession(begin, end, sid).segments())

    # What comes.

    def _wants_octets(self) -> bool:
        return self._state not in _SILENT and not (self._state is State.ACTIVE and self._variant is not Variant.OWAMP)

    def _read(self) -> None:
        super()._read()
        if not self.closed and len(self._inbound) and not self._wants_octets():
            self._fail(remote_error(Rule.UNEXPECTED_OCTETS, f"while {self._state.value}"))

    def _next_reader(self) -> Reader[ServerMessage]:
        match self._state:
            case State.AWAITING_GREETING:
                return codec.read_greeting()
            case State.AWAITING_SERVER_START:
                return codec.read_server_start(self._secure_inbound)
            case State.AWAITING_ACCEPT_SESSION:
                return codec.read_accept_session()
            case State.AWAITING_START_ACK:
                return codec.read_start_ack()
            case State.AWAITING_N_ACKS:
                return codec.read_n_ack(self._limits)
            case State.AWAITING_FETCH_ACK:
                return owamp_codec.read_fetched_session(self._limits)
            case _:
                return owamp_codec.read_stop_sessions(self._limits)

    def _handle(self, message: ServerMessage) -> None:
        self._clear_timer(Timer.REPLY)
        match message:
            case ServerGreeting():
                self._step(Step.RECEIVE_GREETING)
                self._choose(message)
            case ServerStart():
                self._server_started(message)
            case AcceptSession():
                self._step(Step.RECEIVE_ACCEPT_SESSION)
                self._answered(message)
            case StartAck():
                self._start_answered(message.accept)
            case codec.StartNAck() | codec.StopNAck():
                self._acknowledged(message)
            case OwampStopSessions():
                self._stop_received(message)
            case FetchedSession():
                self._step(Step.RECEIVE_RESULTS)
                if message.ack.accept is Accept.OK:
                    self._emit(SessionFetched(message))
                else:
                    self._emit(FetchRefused(message.ack.accept))

    def _choose(self, greeting: ServerGreeting) -> None:
        """Answer the greeting with the best mode that both ends have (RFC 4656 section 3.1)."""
        chosen = choose_mode(greeting, self._configuration)
        if isinstance(chosen, Rule):
            self._refuse_set_up(chosen, say_so=chosen is Rule.NO_COMMON_MODE)
            return
        try:
            self._respond(chosen, greeting)
        except RemoteControlError as error:
            self._refuse_set_up(Rule[error.rule.upper()])

    def _respond(self, mode: Mode, greeting: ServerGreeting) -> None:
        """Send Set-Up-Response. Raises `RemoteControlError` for a Count that PBKDF2 must not be run with."""
        key_id, token, client_iv = bytes(KEY_ID_LEN), bytes(TOKEN_LEN), bytes(BLOCK)
        ours = self._configuration
        if mode & SECURE_CONTROL:
            if mode & Mode.IKEV2_DERIVED and ours.ikev2 is not None:
                key_id, key = ours.ikev2.key_id(), ikev2_key(ours.ikev2.shared_key)
                self._key_id = key_id[:BLOCK]
            elif ours.credentials is not None:
                check_count(greeting.count, ours.least_count, ours.most_count)
                key_id = codec.pad_key_id(ours.credentials.key_id)
                key = ours.credentials.passphrase.key(greeting.salt, greeting.count)
                self._key_id = key_id.rstrip(b"\0")
            else:  # a mode is only chosen if there is a key for it
                violate(Rule.NO_COMMON_MODE)
            keys = SessionKeys(self._random_octets(KEY_LEN), self._random_octets(HMAC_KEY_LEN))
            token = make_token(key, greeting.challenge, keys)
            client_iv = self._random_octets(BLOCK)
            self._keys = keys
        self._mode = mode
        self._step(Step.SEND_SET_UP_RESPONSE)
        wire = modes_to_wire(ours.protocol, mode)
        self._outbound.add(codec.SetUpResponse(wire, key_id, token, client_iv).octets())
        if self._keys is not None:
            self._outbound.secure(Sealer(self._keys, client_iv))

    def _refuse_set_up(self, rule: Rule, *, say_so: bool = False) -> None:
        """Do not go on; with Mode zero the Server is told (RFC 4656 section 3.1)."""
        if say_so:
            nothing = codec.SetUpResponse(0, bytes(KEY_ID_LEN), bytes(TOKEN_LEN), bytes(BLOCK))
            self._outbound.add(nothing.octets())
        self._emit(SetUpRefused(Accept.OK, rule))
        self._close(CloseReason.REFUSED)

    def _secure_inbound(self, server_iv: bytes) -> None:
        if self._keys is not None:
            self._inbound.secure(Opener(self._keys, server_iv))

    def _server_started(self, message: ServerStart) -> None:
        if message.accept is not Accept.OK:
            self._step(Step.RECEIVE_SET_UP_REFUSAL)
            rule = Rule.IKEV2_SA_UNKNOWN if message.accept is Accept.NO_IKEV2_SA else Rule.SERVER_REFUSED
            self._emit(SetUpRefused(message.accept, rule))
            self._close(CloseReason.REFUSED)
            return
        self._step(Step.RECEIVE_SERVER_START)
        if self._mode & Mode.INDIVIDUAL_SESSION_CONTROL:
            self._choose_variant(Variant.INDIVIDUAL)
        self._emit(SetUpCompleted(self._mode, self._key_id, message.start_time))

    def _answered(self, message: AcceptSession) -> None:
        request, self._pending = self._pending, None
        if request is None:  # AWAITING_ACCEPT_SESSION is only entered with one
            violate(Rule.UNEXPECTED_OCTETS)
        if message.accept is not Accept.OK:
            self._emit(SessionRefused(message.accept))
            return
        if not message.port:
            violate(Rule.PORT_ZERO)
        sid = self._pending_sid if request.server_sends else message.sid
        if sid in self._sessions:
            violate(Rule.SID_IN_USE)
        near, far = self.local_address, self.peer_address
        session = NegotiatedSession(
            sid=sid,
            protocol=self._configuration.protocol,
            mode=self._mode,
            request=replace(
                request,
                sender_address=resolved(request.sender_address, far if request.server_sends else near),
                receiver_address=resolved(request.receiver_address, near if request.server_sends else far),
                sender_port=message.port if request.server_sends else request.sender_port,
                receiver_port=request.receiver_port if request.server_sends else message.port,
            ),
            keys=self._keys.for_test(sid) if self._keys is not None and self._mode & SECURE_TEST else None,
            server_octets=message.server_octets if self._mode & Mode.REFLECT_OCTETS else 0,
        )
        self._sessions[sid] = session
        self._emit(SessionAccepted(session))

    def _start_answered(self, accept: Accept) -> None:
        sids = tuple(sid for sid in self._sessions if sid not in self._started)
        if accept is not Accept.OK:
            self._step(Step.RECEIVE_START_REFUSAL)
            self._emit(StartRefused(sids, accept))
            self._close(CloseReason.REFUSED)
            return
        self._step(Step.RECEIVE_START_ACK)
        self._started += sids
        self._emit(SessionsStarted(sids))

    def _acknowledged(self, message: codec.StartNAck | codec.StopNAck) -> None:
        """Some of what was asked is answered, by SID and in any order (RFC 5938 sections 3.3 and 3.5)."""
        start = isinstance(message, codec.StartNAck)
        asked = self._starting if start else self._stopping
        if len(set(message.sids)) != len(message.sids) or not set(message.sids) <= set(asked):
            violate(Rule.ACK_UNEXPECTED)
        for sid in message.sids:
            asked.remove(sid)
        refused = message.accept is not Accept.OK
        if start and refused:
            self._emit(StartRefused(message.sids, message.accept))
        elif start:
            self._started += message.sids
            self._emit(SessionsStarted(message.sids))
        else:
            # A session that the Server could not stop is none that we could go on with either.
            self._forget(message.sids)
            if refused:
                self._emit(StopRefused(message.sids, message.accept))
            else:
                self._emit(SessionsStopped(message.sids, Accept.OK))
        self._step(Step.RECEIVE_N_ACK if self._starting or self._stopping else Step.RECEIVE_LAST_N_ACK)

    def _stop_received(self, message: OwampStopSessions) -> None:
        """The Server describes what it sent (RFC 4656 section 3.8)."""
        receiving = {sid: self._sessions[sid].request.packets for sid in self._started if self._receives(sid)}
        rule = records_problem(message.records, receiving)
        if rule is not None:
            violate(rule)
        self._step(Step.RECEIVE_STOP)
        if message.accept is not Accept.OK:
            self._stop_accept = message.accept
        self._emit(StopReceived(message.accept, message.records, owed=self._state is State.OWING_STOP))
        if self._state is State.READY:
            self._all_stopped()

    # Small parts.

    def _ends(self) -> Endpoints:
        return Endpoints(self.local_address, self.peer_address)

    def _receives(self, sid: bytes) -> bool:
        """Whether we are the receiver of a one-way session."""
        return self._sessions[sid].request.server_sends

    def _new_sid(self, timestamp: int) -> bytes:
        while (sid := make_sid(self._configuration.sid_address, timestamp, self._random_octets(4))) in self._sessions:
            pass
        return sid

    def _chosen(self, operation: str, sids: Sequence[bytes] | None, possible: Sequence[bytes]) -> tuple[bytes, ...]:
        """The sessions that a command with SIDs is about: at least one (RFC 5938 sections 3.2 and 3.4)."""
        chosen = tuple(possible if sids is None else sids)
        if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(possible):
            raise misuse(operation, "a SID twice, none, or one that is not in this state", Rule.SID_UNKNOWN.section)
        return chosen

    def _command(self, step: Step, segments: codec.Segments) -> None:
        self._outbound.add_segments(segments)
        self._step(step)
        self._clear_timer(Timer.REPLY)
        self._watch()

    def _forget(self, sids: Sequence[bytes]) -> None:
        for sid in sids:
            del self._sessions[sid]
        self._started = [sid for sid in self._started if sid in self._sessions]

    def _all_stopped(self) -> None:
        sids, self._started = tuple(self._started), []
        self._forget(sids)
        accept, self._stop_accept = self._stop_accept, Accept.OK
        self._emit(SessionsStopped(sids, accept))

    def _heard(self) -> None:
        if self._state is State.AWAITING_FETCH_ACK:
            # However long the data are, they must keep coming.
            self._clear_timer(Timer.REPLY)

    def _watch(self) -> None:
        awaiting = not self.closed and self._state is not State.ACTIVE and self._wants_octets()
        if not awaiting:
            self._clear_timer(Timer.REPLY)
        elif (Timer.REPLY, b"") not in self._timers:
            self._set_timer(Timer.REPLY, self._configuration.reply_ns)

    def _expired(self, timer: Timer, sid: bytes) -> None:
        del timer, sid  # there is but one
        self._close(CloseReason.REPLY)

    def _lose_sessions(self) -> None:
        """Sessions are the driver's to end: the results of a connection that broke may still be of use."""
        self._timers.clear()
