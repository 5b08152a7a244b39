"""What both ends of a control connection share: the verbs, the timers, and how it ends.

Theory of operation. The driver gives octets (`receive_data`, `receive_eof`) and time (`handle_timer`), takes octets
(`data_to_send`) and events (`next_event`), and waits no longer than `next_deadline_ns`. Times are nanoseconds of any
clock that does not go back. After *any* call there may be octets, events and another deadline.

No octet from the far end makes a call fail: a broken rule becomes the event `ProtocolViolated`, and the connection
closes. Calls that our own side may not make now raise `LocalControlError` and change nothing. Once `closed` is true,
the driver sends what is left and closes the transport; a Server's sessions may outlive that (RFC 5357 section 3.8), so
it goes on with the timers until `finished`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from enum import Enum
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, ClassVar, Generic

from twoway.control.codec import Message, Reader
from twoway.control.events import CloseReason, ConnectionClosed, ProtocolViolated
from twoway.control.rules import Rule, misuse, remote_error
from twoway.control.stream import Inbound, Outbound
from twoway.control.transitions import Role, State, Step, Table, Variant, table
from twoway.errors import RemoteControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from twoway.control.configuration import Address, Limits
    from twoway.control.events import Event


class Timer(Enum):
    """What a machine can wait for, besides octets."""

    SERVWAIT = "servwait"
    """Server: the connection is idle (RFC 5357 section 3.1)."""
    REFWAIT = "refwait"
    """Server: a session is (RFC 5357 section 4.2)."""
    TIMEOUT = "timeout"
    """Server: a stopped session's packets in transit (RFC 5357 section 3.8)."""
    MESSAGE = "message"
    """Server: set-up, or the rest of a message (RFC 4656 section 3)."""
    LIFETIME = "lifetime"
    """Server: the whole connection."""
    REPLY = "reply"
    """Control-Client: an answer."""


TimerKey = tuple[Timer, bytes]
"""A timer and the SID of its session, empty if it is the connection's."""


class Connection(ABC, Generic[Message]):
    """One control connection, seen from one end. `Message` is what this end receives."""

    ROLE: ClassVar[Role]

    def __init__(
        self,
        variant: Variant,
        initial: State,
        limits: Limits,
        *,
        local_address: Address,
        peer_address: Address,
        random_octets: Callable[[int], bytes],
    ) -> None:
        self.local_address = _plain(local_address)
        self.peer_address = _plain(peer_address)
        self._random_octets = random_octets
        self._limits = limits
        self._variant = variant
        self._table: Table = table(self.ROLE, variant)
        self._state = initial
        self._inbound: Inbound[Message] = Inbound()
        self._outbound = Outbound()
        self._source: Iterator[None] | None = None
        """Adds to the outbound octets, a piece at a time: an answer too long to be kept whole."""
        self._events: deque[Event] = deque()
        self._timers: dict[TimerKey, int] = {}
        self._now_ns = 0

    @property
    def state(self) -> State:
        """Where the connection is."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether the connection is over: send what is left to send, then close the transport."""
        return self._state is State.CLOSED

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do here at all."""
        return self.closed and not self._timers and not self._events

    @property
    def reading(self) -> bool:
        """Whether octets are wanted. While not, more of them than `Limits.unread_octets` close the connection."""
        return not self.closed and len(self._outbound) <= self._limits.unsent_octets and self._wants_octets()

    @property
    def timers(self) -> Mapping[TimerKey, int]:
        """Every timer that runs, and its deadline."""
        return dict(self._timers)

    def next_event(self) -> Event | None:
        """What happened next, None if that is all."""
        return self._events.popleft() if self._events else None

    def next_deadline_ns(self) -> int | None:
        """When `handle_timer` is wanted, None if never."""
        return min(self._timers.values(), default=None)

    def receive_data(self, octets: bytes, now_ns: int) -> None:
        """Take octets that the far end sent. After the end of the connection they are nothing to us."""
        self._advance(now_ns)
        if self.closed or not octets:
            return
        self._inbound.feed(octets)
        self._heard()
        self._read()
        if not self.closed and len(self._inbound) > self._limits.unread_octets and not self.reading:
            self._fail(remote_error(Rule.TOO_MUCH_UNREAD))

    def receive_eof(self, now_ns: int, *, lost: bool = False) -> None:
        """Take notice that the far end will say no more, or that the transport was lost."""
        self._advance(now_ns)
        if self.closed:
            return
        if self._inbound.inside_message and not lost and self.reading:
            self._fail(remote_error(Rule.TRUNCATED))
        else:
            self._close(CloseReason.LOST if lost else CloseReason.PEER)

    def data_to_send(self) -> bytes:
        """Octets for the far end, empty if there are none. Take more only when these are on their way."""
        while self._source is not None and not len(self._outbound):
            try:
                next(self._source)
            except StopIteration:
                self._source = None
                self._source_exhausted()
        octets = self._outbound.take()
        self._read()
        return octets

    def due(self, now_ns: int) -> tuple[TimerKey, ...]:
        """The timers that `handle_timer` would find expired, the earliest first."""
        expired = [(deadline, key) for key, deadline in self._timers.items() if deadline <= now_ns]
        return tuple(key for _, key in sorted(expired, key=lambda entry: entry[0]))

    def handle_timer(self, now_ns: int) -> None:
        """Do what is due. Harmless if nothing is."""
        self._advance(now_ns)
        for key in self.due(self._now_ns):
            # An earlier one may have ended what this one was for.
            if self._timers.pop(key, None) is not None:
                self._expired(*key)
        self._watch()

    def close(self, now_ns: int) -> None:
        """End the connection from our side."""
        self._advance(now_ns)
        if not self.closed:
            self._close(CloseReason.LOCAL)

    # What an end must say of itself.

    @abstractmethod
    def _next_reader(self) -> Reader[Message]:
        """What is to come from the far end, in a state in which octets are wanted."""

    @abstractmethod
    def _wants_octets(self) -> bool:
        """Whether this state has something to read."""

    @abstractmethod
    def _handle(self, message: Message) -> None:
        """Do what a message says. May raise `RemoteControlError`."""

    @abstractmethod
    def _expired(self, timer: Timer, sid: bytes) -> None:
        """Do what a timer is for."""

    @abstractmethod
    def _watch(self) -> None:
        """Set and clear timers as the state wants them."""

    @abstractmethod
    def _lose_sessions(self) -> None:
        """End what does not outlive the connection."""

    def _heard(self) -> None:
        """Octets have come."""

    def _source_exhausted(self) -> None:
        """The last piece of a long answer was added."""

    # What ends use.

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _allows(self, step: Step) -> bool:
        return step in self._table.get(self._state, {})

    def _step(self, step: Step) -> None:
        """Move as the table says. Only after `_require` or `_allows`."""
        self._state = self._table[self._state][step]

    def _require(self, step: Step, section: str) -> None:
        """Raise `LocalControlError` if our caller may not do this now."""
        if not self._allows(step):
            raise misuse(step.value, f"not while {self._state.value} ({self._variant.value})", section)

    def _choose_variant(self, variant: Variant) -> None:
        self._variant = variant
        self._table = table(self.ROLE, variant)

    def _set_timer(self, timer: Timer, duration_ns: int, sid: bytes = b"") -> None:
        """Wait for so long; 0: not at all."""
        if duration_ns:
            self._timers[timer, sid] = self._now_ns + duration_ns

    def _clear_timer(self, timer: Timer, sid: bytes = b"") -> None:
        self._timers.pop((timer, sid), None)

    def _fail(self, error: RemoteControlError) -> None:
        """The far end broke a rule: close."""
        self._emit(ProtocolViolated(Rule[error.rule.upper()], error))
        self._close(CloseReason.VIOLATION)

    def _close(self, reason: CloseReason) -> None:
        self._state = State.CLOSED
        self._source = None
        self._lose_sessions()
        self._timers = {key: deadline for key, deadline in self._timers.items() if key[0] is Timer.TIMEOUT}
        self._emit(ConnectionClosed(reason))

    def _advance(self, now_ns: int) -> None:
        """Time does not go back here, whatever the caller's clock does."""
        self._now_ns = max(self._now_ns, now_ns)

    def _read(self) -> None:
        """Read as many messages as are here and wanted."""
        try:
            while self.reading and (self._inbound.reading or len(self._inbound)):
                if not self._inbound.reading:
                    self._inbound.begin(self._next_reader())
                message = self._inbound.proceed()
                if message is None:
                    break
                self._clear_timer(Timer.MESSAGE)
                self._handle(message)
        except RemoteControlError as error:
            self._fail(error)
        self._watch()


def _plain(address: Address) -> Address:
    """An IPv4 address that came through an IPv6 socket as what it is."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
