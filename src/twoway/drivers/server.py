"""A Server on an asyncio loop, for TWAMP (RFC 5357) and OWAMP (RFC 4656): `async with Server(options) as server: …`.

Theory of operation. Each listener accepts by itself, so limits are looked at before anything is made for a connection;
one that is over them gets a greeting that offers no mode, which is how a Server says no (RFC 4656 section 3.1). A
connection is a machine of `twoway.control.server` in a `ControlStream`; what the machine asks, `connection` answers
with sessions of the packet plane. A session's port is its own until the machine says that the session has ended, which
may be after the connection has.

Everything that a client can make grow has a bound: connections, sessions, ports, waiting octets, stored records, and
the list of things that happened. What happens is counted by name; what the far end breaks names its rule and section.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import count
from math import gcd
from typing import TYPE_CHECKING, Self

from twoway.analysis.server import ServerState
from twoway.config.endpoint import parse_network
from twoway.config.server import LISTEN, ServerOptions
from twoway.control.configuration import Limits, ServerConfiguration
from twoway.control.registry import OWAMP_MODES, Mode, Protocol
from twoway.control.security import Passphrase
from twoway.drivers.control_stream import LoopClock, address_of, keep_alive, mark, reason_of
from twoway.drivers.managed_plane import Place, ReceiverPlane, ReceiverSettings, SenderPlane, timestamp_of
from twoway.drivers.negotiation import mode_of
from twoway.drivers.server_connection import ServerConnection
from twoway.drivers.sockets import keep_syn, open_socket, syn_traffic_class
from twoway.errors import ControlConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from twoway.analysis.server import ConnectionState, SessionState
    from twoway.control.configuration import Address
    from twoway.drivers.control_stream import Clock
    from twoway.drivers.server_connection import Stored

_EVENTS = 1000
"""Events kept until taken; more are counted."""
_BACKLOG = 512
"""Connections that the kernel completes before we see them."""
_REBIND_S = 1.0
"""How often sockets are bound to the name of their interface again: one that came back has another index."""
_SHORT_OF_DESCRIPTORS_S = 0.1
"""How long a listener waits when the process has no descriptor left."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """Something that is worth a line in a log. It holds nothing secret and nothing of the client's own words."""

    at_ns: int
    """Wall time."""
    name: str
    """A stable name, as in the counters."""
    peer: str
    """Address and port of the client."""
    meaning: str
    section: str
    """Of the RFC, empty if no rule was broken."""


class Server:
    """A Server. Its listeners are open once `start` returns; a context manager starts and closes it.

    Raises `ConfigError`, and `ControlConnectionError` for an address that cannot be listened on.
    """

    def __init__(self, options: ServerOptions | None = None, /, *, clock: Clock | None = None) -> None:
        self.options = options or ServerOptions()
        self._clock = clock
        self._passphrases = {key_id.encode(): Passphrase(octets) for key_id, octets in self.options.secrets}
        self._networks = [ip_network(parse_network(text)) for text in self.options.allow]
        self._configurations: dict[Protocol, ServerConfiguration] = {}
        self._listeners: list[tuple[str, socket.socket, asyncio.Task[None]]] = []
        self._connections: set[ServerConnection] = set()
        self._per_client: Counter[Address] = Counter()
        self._numbers = 0
        self._events: deque[ServerEvent] = deque(maxlen=_EVENTS)
        self.counts: Counter[str] = Counter()
        self.on_event: Callable[[ServerEvent], None] | None = None
        """Called with each event, which is then not kept."""
        self.ports = Ports(*self.options.port_range)
        self.place = Place(self.options.interface, self.options.netns)
        self.settings = ReceiverSettings(
            place=self.place,
            timestamps=self.options.timestamps,
            clock_format=self.options.clock_format,
            receive_buffer=self.options.receive_buffer,
            refwait_ns=self.options.reflector_inactivity_timeout_ns,
        )
        self.stored: OrderedDict[bytes, Stored] = OrderedDict()
        """OWAMP's results for Fetch-Session, the oldest first."""
        self._session_count = 0
        self._sessions_per_client: Counter[Address] = Counter()
        self._awaited = 0
        """Packet records that running Session-Receivers may come to."""
        self._plane: ReceiverPlane | None = None
        self._senders: SenderPlane | None = None
        self._rebinding: asyncio.Task[None] | None = None

    # Beginning and end.

    async def start(self) -> None:
        """Open the listeners and accept connections from now on."""
        self._clock = self._clock or LoopClock()
        self._configurations = {
            Protocol(protocol): self._configuration(Protocol(protocol))
            for protocol in {where[0] for where in self.options.listen or LISTEN}
        }
        self._plane = ReceiverPlane(workers=self.options.workers)
        try:
            opened = self._open()
        except BaseException:
            self._plane.close()
            raise
        for protocol, listener in opened:
            task = asyncio.create_task(self._accept(Protocol(protocol), listener))
            self._listeners.append((protocol, listener, task))
        if self.options.interface is not None:
            self._rebinding = asyncio.create_task(self._rebind(self.options.interface.encode()))

    def _open(self) -> list[tuple[str, socket.socket]]:
        opened: list[tuple[str, socket.socket]] = []
        try:
            for where in self.options.listen or LISTEN:
                try:
                    opened.append((where[0], self._listener(*where[1:])))
                except OSError as error:
                    host = f"[{where[1]}]" if ":" in where[1] else where[1]
                    no_ipv6 = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and where[1] == "::"
                    if not (no_ipv6 and not self.options.listen):
                        raise ControlConnectionError(f"{host}:{where[2]}", f"listen: {reason_of(error)}") from None
        except BaseException:
            for _, listener in opened:
                listener.close()
            raise
        return opened

    def _listener(self, host: str, port: int, scope_id: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = open_socket(6 if family == socket.AF_INET6 else 4, socket.SOCK_STREAM, self.options.netns)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if self.options.interface is not None:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.options.interface.encode())
            listener.bind((host, port, 0, scope_id) if family == socket.AF_INET6 else (host, port))
            keep_syn(listener)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        return listener

    async def _rebind(self, interface: bytes) -> None:
        while True:
            await asyncio.sleep(_REBIND_S)
            listeners = [listener for _, listener, _ in self._listeners]
            connections = [connection.stream.socket for connection in self._connections]
            for held in (*listeners, *connections):
                if held is not None:
                    # Still gone: the next time will tell.
                    with contextlib.suppress(OSError):
                        held.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface)

    async def close(self) -> None:
        """Close every listener and connection, and end every session. Idempotent."""
        if self._rebinding is not None:
            self._rebinding.cancel()
        listeners, self._listeners = self._listeners, []
        for _, listener, task in listeners:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            listener.close()
        for connection in list(self._connections):
            connection.abort()
        self._connections.clear()
        if self._senders is not None:
            self._senders.close()
        if self._plane is not None:
            self._plane.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # What it is doing.

    @property
    def local_addresses(self) -> list[tuple[str, str, int]]:
        """(protocol, address, port) of each listener."""
        return [(protocol, *listener.getsockname()[:2]) for protocol, listener, _ in self._listeners]

    @property
    def connections(self) -> int:
        """Control connections that are open, or whose stopped sessions still run."""
        return len(self._connections)

    def counters(self) -> dict[str, int]:
        """Name -> how often. Names of broken rules are `violated:`, `refused_request:` … and the rule's."""
        plane = {} if self._plane is None else {f"plane:{name}": n for name, n in self._plane.counters().items()}
        return dict(sorted({**self.counts, **plane}.items()))

    def connection_states(self) -> list[ConnectionState]:
        """Every control connection, the oldest first."""
        return [connection.state() for connection in sorted(self._connections, key=lambda one: one.number)]

    def close_connection(self, number: int) -> bool:
        """End one connection and its sessions at once; whether there was one of this number."""
        for connection in list(self._connections):
            if connection.number == number:
                self.note("closed_by_operator", str(connection.client), "the operator has closed the connection")
                connection.abort()
                self.gone(connection)
                return True
        return False

    def sessions(self) -> list[SessionState]:
        """Every test-session that has not ended."""
        return [state for connection in self._connections for state in connection.session_states()]

    def state(self) -> ServerState:
        """Everything at once."""
        return ServerState(self.local_addresses, self.counters(), self.connections, self.sessions(), time.time_ns())

    def take_events(self) -> list[ServerEvent]:
        """The events since the last call: at most 1000, the newest."""
        events = list(self._events)
        self._events.clear()
        return events

    # For its connections.

    @property
    def plane(self) -> ReceiverPlane:
        """Session-Reflectors and Session-Receivers."""
        if self._plane is None:
            raise RuntimeError("the Server has not been started")
        return self._plane

    @property
    def senders(self) -> SenderPlane:
        """Session-Senders of OWAMP, made when the first is wanted."""
        if self._senders is None:
            self._senders = SenderPlane()
        return self._senders

    def note(self, name: str, peer: str, meaning: str, section: str = "") -> None:
        """Count something, and tell of it."""
        self.counts[name] += 1
        event = ServerEvent(time.time_ns(), name, peer, meaning, section)
        if self.on_event is not None:
            self.on_event(event)
        else:
            if len(self._events) == _EVENTS:
                self.counts["events_forgotten"] += 1
            self._events.append(event)

    def full(self, client: Address, records: int) -> str | None:
        """The limit that one more session of this client, of so many packet records, would break."""
        if self._session_count >= self.options.maximum_sessions:
            return "maximum_sessions"
        if self._sessions_per_client[client] >= self.options.maximum_sessions_per_client:
            return "maximum_sessions_per_client"
        return "stored_records" if self._awaited + records > self.options.stored_records else None

    def enter(self, client: Address, port: int, records: int) -> None:
        """A session has been opened."""
        self.ports.take(port)
        self._session_count += 1
        self._sessions_per_client[client] += 1
        self._awaited += records
        self.counts["sessions"] += 1
        self._make_room()

    def leave(self, client: Address, port: int, records: int) -> None:
        """A session has ended."""
        self.ports.give_back(port)
        self._session_count -= 1
        _one_less(self._sessions_per_client, client)
        self._awaited -= records

    def store(self, sid: bytes, stored: Stored) -> None:
        """Keep results for Fetch-Session, as long as there is room."""
        self.stored[sid] = stored
        self._make_room()

    def _make_room(self) -> None:
        """Forget the oldest results where those to come need their place."""
        held = sum(kept.size for kept in self.stored.values())
        while self.stored and held + self._awaited > self.options.stored_records:
            _, forgotten = self.stored.popitem(last=False)
            held -= forgotten.size
            self.counts["results_forgotten"] += 1

    def gone(self, connection: ServerConnection) -> None:
        """Nothing of a connection is left."""
        if connection in self._connections:
            self._connections.discard(connection)
            _one_less(self._per_client, connection.client)

    # Accepting.

    async def _accept(self, protocol: Protocol, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, where = await loop.sock_accept(listener)
            except OSError as error:
                self.counts["accept_failed"] += 1
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await asyncio.sleep(_SHORT_OF_DESCRIPTORS_S)
                continue
            try:
                await self._begin(protocol, accepted, where)
            except OSError:
                # The client is gone already.
                self.counts["accept_failed"] += 1
                accepted.close()

    async def _begin(self, protocol: Protocol, accepted: socket.socket, where: tuple[object, ...]) -> None:
        client, local = address_of(where), address_of(accepted.getsockname())
        text = f"[{client}]:{where[1]}" if client.version == 6 else f"{client}:{where[1]}"
        self.counts["connections"] += 1
        if self._networks and not any(client in network for network in self._networks):
            self.note("not_allowed", text, "the client is in no allowed network", "RFC 4656 section 6.2")
            accepted.close()
            return
        configuration = replace(self._configurations[protocol], sid_address=local.packed[-4:])
        full = self._full(client)
        if full is not None:
            self.note(full, text, "as many connections as there may be", "RFC 4656 section 6.5")
            configuration = replace(configuration, modes=Mode(0))
        keep_alive(accepted, self.options.tcp_keepidle_s, self.options.tcp_keepintvl_s, self.options.tcp_keepcnt)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Our end of the connection has the client's DSCP (RFC 5357 section 3.1); its ECN bits are TCP's to set.
        mark(accepted, syn_traffic_class(accepted) & ~3)
        self._numbers += 1
        connection = ServerConnection(self, self._numbers, configuration, self.clock, client, local, text)
        connection.server_port = accepted.getsockname()[1]
        if full is None:
            self._connections.add(connection)
            self._per_client[client] += 1
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection.stream, accepted)
        except BaseException:
            self.gone(connection)
            raise

    @property
    def clock(self) -> Clock:
        """The clock of timers."""
        if self._clock is None:
            raise RuntimeError("the Server has not been started")
        return self._clock

    def _full(self, client: Address) -> str | None:
        """The limit that one more connection of this client would break."""
        if len(self._connections) >= self.options.maximum_connections:
            return "maximum_connections"
        if self._per_client[client] >= self.options.maximum_connections_per_client:
            return "maximum_connections_per_client"
        return None

    def change_secrets(self, options: ServerOptions) -> None:
        """Go by the secrets of these options, which are ours but for that: connections that stand are not disturbed."""
        self.options = options
        self._passphrases = {key_id.encode(): Passphrase(octets) for key_id, octets in options.secrets}

    def passphrase(self, key_id: bytes) -> Passphrase | None:
        """The secret of a KeyID."""
        known = self._passphrases.get(key_id)
        if known is None and self.options.secret_of is not None:
            octets = self.options.secret_of(key_id)
            return None if octets is None else Passphrase(octets)
        return known

    def ikev2_key(self, spi_i: bytes, spi_r: bytes) -> bytes | None:
        """The key of an IKEv2 security association."""
        return None if self.options.ikev2_key_of is None else self.options.ikev2_key_of(spi_i, spi_r)

    def _configuration(self, protocol: Protocol) -> ServerConfiguration:
        options = self.options
        modes = mode_of((*options.offered_modes, *options.features))
        if options.ikev2_key_of is not None:
            modes |= Mode.IKEV2_DERIVED
        if protocol is Protocol.OWAMP:
            modes &= OWAMP_MODES
        return ServerConfiguration(
            start_time=timestamp_of(time.time_ns()),
            protocol=protocol,
            modes=modes,
            count=options.count,
            limits=Limits(
                sessions=options.maximum_sessions_per_connection,
                padding_octets=options.max_padding,
                timeout_ns=options.max_timeout_ns,
                packets=options.max_packets,
            ),
            any_sender_address=options.any_sender_address,
            servwait_ns=options.server_inactivity_timeout_ns,
            refwait_ns=options.reflector_inactivity_timeout_ns,
            message_ns=options.message_timeout_ns,
            connection_ns=options.max_connection_duration_ns,
        )


def _one_less(per_client: Counter[Address], client: Address) -> None:
    per_client[client] -= 1
    if per_client[client] <= 0:
        del per_client[client]


class Ports:
    """Which UDP ports of the range are free. One session a port.

    They are gone through in strides that come to each of them once, as another program's ports stand side by side.
    """

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        span = last - first + 1
        # Drawn, as two Servers that share a range must not meet its ports in the same order.
        drawn = int.from_bytes(os.urandom(4), "big") % span
        self._stride = next(stride for stride in count(drawn + 1) if gcd(stride, span) == 1)
        self._taken: set[int] = set()
        # Not at the same port after each start: what still arrives for the sessions of before is not for these.
        self._next = first + int.from_bytes(os.urandom(4), "big") % (last - first + 1)

    def candidates(self, wanted: int) -> Iterator[int]:
        """Free ports, the wanted one first if it is one."""
        if self._first <= wanted <= self._last and wanted not in self._taken:
            yield wanted
        span = self._last - self._first + 1
        for _ in range(span):
            port, self._next = self._next, self._first + (self._next - self._first + self._stride) % span
            if port not in self._taken and port != wanted:
                yield port

    def take(self, port: int) -> None:
        """This one is in use."""
        self._taken.add(port)

    def give_back(self, port: int) -> None:
        """This one is free."""
        self._taken.discard(port)
