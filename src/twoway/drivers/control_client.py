"""The Control-Client and its Session-Senders on an asyncio loop: TWAMP's (RFC 5357) and OWAMP's (RFC 4656).

    async with await ControlClient.connect("192.0.2.1") as client:
        session = await client.request_session(SessionRequest(count=100, interval_ns=10_000_000))
        await client.start()
        async for batch in session:
            ...
        await client.stop()
        print(session.result().summary.counter("received"))

Theory of operation. The machine of `twoway.control.control_client` knows the protocol; here its events complete what
callers wait for. Commands are given one at a time. The packets are the packet plane's: a session is opened when the
Server accepts it, because only then its SID, keys and port are known, and its sender's port is held by a socket of ours
until then, because the request must name it.

A connection that breaks fails whatever waits for the Server and ends the sessions: they keep what they measured, and
their results say that they were interrupted.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self

from twoway.aside import Aside
from twoway.config import defaults
from twoway.config.endpoint import parse_endpoint
from twoway.config.managed import PORTS, START_DELAY_NS, ControlOptions, SessionRequest
from twoway.control import events
from twoway.control.control_client import ControlClient as Machine
from twoway.control.owamp_codec import WHOLE_SESSION
from twoway.control.registry import Accept
from twoway.drivers.control_stream import ControlStream, LoopClock, address_of, keep_alive, mark, reason_of
from twoway.drivers.managed_ends import recorded_of
from twoway.drivers.managed_plane import (
    Place,
    ReceiverPlane,
    ReceiverSettings,
    SenderPlane,
    describe,
    session_spec,
    timestamp_of,
)
from twoway.drivers.managed_session import TestSession
from twoway.drivers.negotiation import (
    ACCEPT_REASONS,
    client_configuration,
    feature_names,
    mode_name,
    negotiable,
    numeric_address,
)
from twoway.drivers.resolve import resolve_async
from twoway.drivers.sockets import open_socket, reserve_port
from twoway.errors import ConfigError, ControlConnectionError, SessionRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from twoway.control.configuration import Address, ClientConfiguration
    from twoway.control.negotiated import NegotiatedSession
    from twoway.drivers.control_stream import Clock
    from twoway.drivers.managed_ends import Recorded
    from twoway.drivers.resolve import Address as Resolved

__all__ = ["ControlClient", "SessionRequest", "TestSession"]


class ControlClient:
    """A control connection, made by `connect`. Leaving its context closes it and ends its sessions."""

    def __init__(
        self,
        options: ControlOptions,
        address: Resolved,
        clock: Clock,
        plane: SenderPlane | None = None,
        receivers: ReceiverPlane | None = None,
    ) -> None:
        self._options = options
        self._address = address
        self._peer = f"[{address.host}]:{address.port}" if address.family == 6 else f"{address.host}:{address.port}"
        self._target = self._peer
        self._place = Place(options.interface, options.netns)
        self._clock = clock
        self._plane = plane
        self._receivers = receivers
        self._own: list[SenderPlane | ReceiverPlane] = []
        """Planes that are not shared: they end with this connection."""
        self._sessions: dict[bytes, TestSession] = {}
        self._opened: list[TestSession] = []
        self._lock = asyncio.Lock()
        self._waiter: asyncio.Future[events.Event] | None = None
        self._unanswered: set[bytes] = set()
        self._refused: dict[bytes, Accept] = {}
        self._failure: Exception | None = None
        self._round_trip_ns = 0
        self._machine: Machine
        self._stream: ControlStream
        self.local_port = 0
        """TCP port of our end, once it is connected."""

    # Making a connection.

    @classmethod
    async def connect(
        cls,
        target: str,
        options: ControlOptions | None = None,
        *,
        protocol: str = "twamp",
        modes: Sequence[str] = ("unauthenticated",),
        features: Sequence[str] = ("ptpv2-timestamp",),
        required: Sequence[str] = (),
        key_id: str | None = None,
        passphrase: Callable[[], bytes] | None = None,
        ikev2: tuple[bytes, bytes, Callable[[], bytes]] | None = None,
        source: str | None = None,
        family: int | None = None,
        interface: str | None = None,
        netns: str | None = None,
        dscp: int = 0,
        plane: SenderPlane | None = None,
        receivers: ReceiverPlane | None = None,
    ) -> Self:
        """Connect and negotiate. `target` is as everywhere; its TCP port is 862, OWAMP's 861, unless written.

        `options` hold all that follows them and more. `plane` and `receivers` are threads to share with other
        connections: a connection without them makes its own, one for each of the two that it needs. Raises
        `ConfigError`, `ResolveError`, `ControlConnectionError`, `SessionRefusedError` and `RemoteProtocolError`.
        """
        chosen = options or ControlOptions(
            protocol=protocol,
            modes=tuple(modes),
            features=tuple(features),
            required=tuple(required),
            key_id=key_id,
            passphrase=passphrase,
            ikev2=ikev2,
            source=source,
            family=family,
            interface=interface,
            netns=netns,
            dscp=dscp,
        )
        address = await resolve_async(parse_endpoint(target), PORTS[chosen.protocol], chosen.family)
        client = cls(chosen, address, LoopClock(), plane, receivers)
        client._target = target
        try:
            await client._connect()
        except BaseException:
            client.close()
            raise
        return client

    async def _connect(self) -> None:
        configuration = await self._configuration()
        waiter = self._expect()

        def make() -> ControlStream:
            local, peer = connection.getsockname(), connection.getpeername()
            self.local_port = local[1]
            # SIDs of sessions that we receive begin with an address of ours (RFC 4656 section 3.5).
            self._machine = Machine(
                replace(configuration, sid_address=address_of(local).packed[-4:]),
                local_address=address_of(local),
                peer_address=address_of(peer),
                random_octets=os.urandom,
            )
            self._stream = ControlStream(
                self._machine, self._clock, on_event=self._on_event, on_finished=self._on_finished, pauses=False
            )
            return self._stream

        asked_ns = time.monotonic_ns()
        try:
            async with asyncio.timeout(self._options.connect_ns / defaults.NANOS):
                connection = await self._dial()
                self._round_trip_ns = time.monotonic_ns() - asked_ns
        except TimeoutError:
            raise ControlConnectionError(
                self._peer, "no answer to the connection request: is the address right, and no firewall between?"
            ) from None
        except OSError as error:
            raise ControlConnectionError(self._peer, reason_of(error)) from None
        await asyncio.get_running_loop().create_connection(make, sock=connection)
        await self._answer(waiter)

    async def _configuration(self) -> ClientConfiguration:
        """With the secret, whose file is read anew for each connection. Raises `ConfigError`."""
        if self._options.passphrase is None and self._options.ikev2 is None:
            return client_configuration(self._options)
        bound_s = self._options.connect_ns / defaults.NANOS
        try:
            async with asyncio.timeout(bound_s):
                return await Aside("read a secret").run(client_configuration, self._options)
        except TimeoutError:
            reason = f"its secret could not be read within {bound_s:g} s: is the file's disk there?"
            raise ControlConnectionError(self._peer, reason) from None

    async def _dial(self) -> socket.socket:
        source = numeric_address(self._options.source)
        if source is not None and source.version != self._address.family:
            raise ConfigError("source", f"{source} and {self._peer} are of different families")
        connection = open_socket(self._address.family, socket.SOCK_STREAM, self._options.netns)
        try:
            options = self._options
            keep_alive(connection, options.tcp_keepidle_s, options.tcp_keepintvl_s, options.tcp_keepcnt)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._options.dscp:
                mark(connection, self._options.dscp << 2)
            if self._options.interface is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._options.interface.encode())
            if self._options.source is not None:
                connection.bind((self._options.source, 0))
            where: tuple[str, int] | tuple[str, int, int, int] = (self._address.host, self._address.port)
            if self._address.family == 6:
                where = (self._address.host, self._address.port, 0, self._address.scope_id)
            await asyncio.get_running_loop().sock_connect(connection, where)
        except BaseException:
            connection.close()
            raise
        return connection

    # What it is.

    @property
    def mode(self) -> str:
        """The security mode: `unauthenticated`, `authenticated`, `encrypted` or `mixed`."""
        return mode_name(self._machine.mode)

    @property
    def features(self) -> tuple[str, ...]:
        """What was negotiated beside the security mode."""
        return feature_names(self._machine.mode)

    @property
    def local_address(self) -> Address:
        """Our end of the control connection."""
        return self._machine.local_address

    @property
    def peer_address(self) -> Address:
        """The Server's end."""
        return self._machine.peer_address

    @property
    def round_trip_ns(self) -> int:
        """How long the Server took to answer the connection request."""
        return self._round_trip_ns

    @property
    def sessions(self) -> tuple[TestSession, ...]:
        """Those accepted and not stopped."""
        return tuple(self._sessions.values())

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self._machine.closed

    def check(self) -> None:
        """Raise what ended the connection, if something did."""
        if self._failure is not None:
            raise self._failure

    # Commands.

    async def request_session(self, request: SessionRequest) -> TestSession:
        """Ask for a test-session and open its Session-Sender.

        Raises `SessionRefusedError`, `ConfigError`, `PlaneError`, and what ended the connection.
        """
        async with self._lock:
            self.check()
            if self._one_way:
                request = self._scheduled(request)
            ours = request.receiver_address if request.server_sends else request.sender_address
            wanted = request.receiver_port if request.server_sends else request.sender_port
            if ours is None or not int(ip_address(ours)):
                ours = str(self.local_address)
            with reserve_port(ours, wanted, self._options.netns) as port:
                asked = negotiable(request, port.number, self._machine.mode, one_way=self._one_way)
                waiter = self._expect()
                now_ns = self._clock.now_ns()
                self._machine.request_session(asked, now_ns, timestamp=timestamp_of(time.time_ns()))
                self._stream.pump()
                event = await self._answer(waiter)
                if not isinstance(event, events.SessionAccepted):
                    raise self._refusal("request a test-session", event)
            session = self._open(event.session, request)
            self._sessions[session.sid] = session
            self._opened = [opened for opened in self._opened if not opened.at_rest]
            self._opened.append(session)
            return session

    def _scheduled(self, request: SessionRequest) -> SessionRequest:
        """With what perfSONAR's Server wants to be told, and whatever both ends must know alike."""
        start_ns = request.start_ns
        if start_ns is None:
            start_ns = time.time_ns() + START_DELAY_NS + 3 * self._round_trip_ns
        ends = (str(self.local_address), str(self.peer_address))
        sender, receiver = reversed(ends) if request.server_sends else ends
        return replace(
            request,
            start_ns=start_ns,
            sender_address=request.sender_address or sender,
            receiver_address=request.receiver_address or receiver,
        )

    def _open(self, agreed: NegotiatedSession, request: SessionRequest) -> TestSession:
        """Our end of a session, on the packet plane."""
        if not agreed.request.server_sends:
            if self._plane is None:
                self._plane = SenderPlane()
                self._own.append(self._plane)
            sender = self._plane.open(agreed, request, self._target, self._place)
            return TestSession(self.check, agreed, request, sender.description, sender)
        if self._receivers is None:
            self._receivers = ReceiverPlane()
            self._own.append(self._receivers)
        settings = ReceiverSettings(
            place=self._place,
            timestamps=request.timestamps,
            receive_buffer=request.receive_buffer,
        )
        packets = agreed.request.packets
        receiver = self._receivers.open_receiver(agreed, settings, packets + packets // 8 + 64)
        spec = session_spec(agreed, request, self._place)
        description = describe(agreed, spec, self._target, receiver.obtained)
        return TestSession(self.check, agreed, request, description, receiver)

    async def start(self, sessions: Sequence[TestSession] | None = None) -> None:
        """Start the sessions that have not been; individual session control can start some of them.

        Raises `SessionRefusedError` if any was not started: the others run.
        """
        async with self._lock:
            self.check()
            chosen = [session.sid for session in sessions] if sessions is not None else None
            waiting = chosen or [sid for sid, session in self._sessions.items() if not session.started]
            for sid in waiting:
                self._sessions[sid].prepare()
            await self._command_sids(waiting, lambda: self._machine.start_sessions(self._clock.now_ns(), chosen))
            for sid, accept in self._refused.items():
                self._sessions.pop(sid, None)
                raise SessionRefusedError("start a test-session", self._peer, accept, ACCEPT_REASONS[accept])

    async def stop(self, sessions: Sequence[TestSession] | None = None, *, accept: Accept = Accept.OK) -> None:
        """Tell the Server that the sessions are over, all of them or, with individual session control, some.

        Their senders are stopped if they have not finished. `accept` other than OK declares the results invalid.
        """
        async with self._lock:
            self.check()
            chosen = [session.sid for session in sessions] if sessions is not None else None
            stopping = [sid for sid, session in self._sessions.items() if session.started]
            if chosen is not None:
                stopping = chosen
            for sid in stopping:
                if not self._sessions[sid].finished:
                    self._sessions[sid].abort()
            stopped = [self._sessions[sid] for sid in stopping]
            records = [record for session in stopped if self._one_way and (record := session.progress()) is not None]
            await self._command_sids(
                stopping,
                lambda: self._machine.stop_sessions(self._clock.now_ns(), chosen, accept=accept, records=records),
            )
            for session in stopped:
                del self._sessions[session.sid]
            if self._one_way:
                for session in stopped:
                    session.settle()
                for session in stopped:
                    if session.direction == "forward":
                        await self._fetch(session)

    async def fetch(self, sid: bytes, begin: int = 0, end: int = 0xFFFFFFFF) -> Recorded:
        """OWAMP: what the Server received of a session, all of it or some sequence numbers (RFC 4656 section 3.9).

        Raises `SessionRefusedError` and what ended the connection.
        """
        async with self._lock:
            self.check()
            return await self._fetched(sid, begin, end)

    async def _fetch(self, session: TestSession) -> None:
        """The results of a session that was just stopped, where the Server has them."""
        try:
            session.fetched(await self._fetched(session.sid, *WHOLE_SESSION))
        except SessionRefusedError as error:
            session.refusal = error

    async def _fetched(self, sid: bytes, begin: int, end: int) -> Recorded:
        waiter = self._expect()
        self._machine.fetch_session(sid, self._clock.now_ns(), begin=begin, end=end)
        self._stream.pump()
        event = await self._answer(waiter)
        if not isinstance(event, events.SessionFetched):
            raise self._refusal("fetch a test-session", event)
        fetched = event.fetched
        return recorded_of(fetched.records, fetched.ack.next_seqno, fetched.skip_ranges)

    @property
    def _one_way(self) -> bool:
        return self._options.protocol == "owamp"

    def close(self) -> None:
        """Close the connection without a word; sessions that run are aborted. Idempotent."""
        if hasattr(self, "_stream"):
            self._stream.close()
        for session in self._opened:
            session.close()
        for plane in self._own:
            plane.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Inside.

    def _expect(self) -> asyncio.Future[events.Event]:
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    async def _answer(self, waiter: asyncio.Future[events.Event]) -> events.Event:
        try:
            return await waiter
        finally:
            self._waiter = None

    async def _command_sids(self, sids: Sequence[bytes], command: Callable[[], None]) -> None:
        """Give a command about these sessions and wait until each has its answer."""
        self._refused = {}
        self._unanswered = set(sids)
        waiter = self._expect()
        command()
        self._stream.pump()
        await self._answer(waiter)

    def _answered(self, sids: Sequence[bytes], event: events.Event) -> None:
        self._unanswered -= set(sids)
        if not self._unanswered:
            self._complete(event)

    def _complete(self, event: events.Event) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(event)

    def _refusal(self, operation: str, event: events.Event) -> Exception:
        accept = Accept.FAILURE
        if isinstance(event, events.SessionRefused | events.FetchRefused):
            accept = event.accept
        return SessionRefusedError(operation, self._peer, accept, ACCEPT_REASONS[accept])

    def _on_event(self, event: events.Event) -> None:
        match event:
            case (
                events.SetUpCompleted()
                | events.SessionAccepted()
                | events.SessionRefused()
                | events.SessionFetched()
                | events.FetchRefused()
            ):
                self._complete(event)
            case events.SetUpRefused():
                if event.accept is Accept.OK:
                    reason = f"{event.rule.meaning} ({event.rule.section})"
                    self._failure = ControlConnectionError(self._peer, reason)
                else:
                    why = ACCEPT_REASONS[event.accept]
                    if event.accept is Accept.FAILURE and self._options.ikev2 is not None:
                        why = "the key of the IKEv2 security association may be wrong, or this mode is not for you"
                    elif event.accept is Accept.FAILURE and self._options.key_id is not None:
                        why = "the KeyID or its secret may be wrong, or this mode is not for you"
                    self._failure = SessionRefusedError("set up a control connection", self._peer, event.accept, why)
            case events.SessionsStarted():
                for sid in event.sids:
                    self._sessions[sid].begin()
                self._answered(event.sids, event)
            case events.StartRefused() | events.StopRefused():
                self._refused.update(dict.fromkeys(event.sids, event.accept))
                self._answered(event.sids, event)
            case events.SessionsStopped():
                self._answered(event.sids, event)
            case events.StopReceived():
                for record in event.records:
                    self._sessions[record.sid].account = record
            case events.ProtocolViolated():
                self._failure = event.error
            case events.ConnectionClosed():
                self._lost(event.reason)
            case _:
                pass

    def _lost(self, reason: events.CloseReason) -> None:
        if self._failure is None and reason is not events.CloseReason.LOCAL:
            self._failure = ControlConnectionError(self._peer, reason.value)
        for session in self._sessions.values():
            session.connection_lost()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._failure or ControlConnectionError(self._peer, reason.value))

    def _on_finished(self) -> None:
        """The transport is closed."""
