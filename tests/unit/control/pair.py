"""Two machines back to back in memory: what one sends, the other receives, in pieces of any size.

`Pair` answers a Server's questions as a driver would, unless told otherwise, and keeps every event of both ends.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, TypeVar

from twoway.control.configuration import SECOND, ClientConfiguration, ServerConfiguration
from twoway.control.control_client import ControlClient
from twoway.control.events import Event, SessionAccepted, SessionRequested, StartRequested
from twoway.control.negotiated import NegotiatedSession, SessionRequest
from twoway.control.owamp_codec import ScheduleSlot
from twoway.control.registry import Mode, Protocol, SlotType
from twoway.control.security import Ikev2Credentials, Passphrase, PassphraseCredentials
from twoway.control.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.control.configuration import Address

CLIENT = IPv4Address("192.0.2.1")
SERVER = IPv4Address("192.0.2.2")
START_TIME = 0xE8000000_80000000
SECRET = b"correct horse"
IKEV2 = Ikev2Credentials(b"initiate", b"responds", bytes(range(20)))
EVERY_MODE = Mode(1023)
SECURITY = (Mode.UNAUTHENTICATED, Mode.AUTHENTICATED, Mode.ENCRYPTED, Mode.MIXED)
REQUEST = SessionRequest(sender_port=5000, receiver_port=6000, timeout=2 << 32)
ONE_WAY = SessionRequest(
    sender_port=5000, receiver_port=0, timeout=1 << 32, packets=5, slots=(ScheduleSlot(SlotType.FIXED, 1 << 31),)
)
BACK = SessionRequest(
    sender_port=0,
    receiver_port=7000,
    timeout=1 << 32,
    packets=9,
    slots=(ScheduleSlot(SlotType.EXPONENTIAL, 1 << 30), ScheduleSlot(SlotType.FIXED, 0)),
    server_sends=True,
)
E = TypeVar("E", bound=Event)


def octets_of(seed: str) -> Callable[[int], bytes]:
    """Random octets that are the same each time."""
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_128(f"{seed} {drawn}".encode()).digest(count)

    return draw


def passphrase(key_id: bytes) -> Passphrase | None:
    """The Server's only KeyID."""
    return Passphrase(SECRET) if key_id == b"alice" else None


def shared_key(spi_i: bytes, spi_r: bytes) -> bytes | None:
    """The Server's only security association."""
    return IKEV2.shared_key if (spi_i, spi_r) == (IKEV2.initiator_spi, IKEV2.responder_spi) else None


def client_configuration(mode: Mode = Mode.UNAUTHENTICATED, **changes: object) -> ClientConfiguration:
    """A Control-Client of one security mode, with `alice`'s passphrase."""
    settings: dict[str, object] = {
        "preference": (mode,),
        "features": Mode(0),
        "credentials": PassphraseCredentials("alice", Passphrase(SECRET)),
        **changes,
    }
    return ClientConfiguration(**settings)  # type: ignore[arg-type]  # fields by name


def server_configuration(**changes: object) -> ServerConfiguration:
    """A Server that offers everything its protocol has."""
    owamp = changes.get("protocol") is Protocol.OWAMP
    modes = Mode.UNAUTHENTICATED | Mode.AUTHENTICATED | Mode.ENCRYPTED | Mode.IKEV2_DERIVED if owamp else EVERY_MODE
    settings: dict[str, object] = {"start_time": START_TIME, "modes": modes, "count": 1024, **changes}
    return ServerConfiguration(**settings)  # type: ignore[arg-type]  # fields by name


def make_server(
    configuration: ServerConfiguration | None = None,
    peer: Address = CLIENT,
    local: Address = SERVER,
    seed: str = "server",
) -> Server:
    """A Server with one KeyID and one IKEv2 security association."""
    return Server(
        configuration or server_configuration(),
        local_address=local,
        peer_address=peer,
        random_octets=octets_of(seed),
        passphrase=passphrase,
        ikev2_shared_key=shared_key,
    )


def make_client(
    configuration: ClientConfiguration | None = None, local: Address = CLIENT, peer: Address = SERVER
) -> ControlClient:
    """A Control-Client."""
    return ControlClient(
        configuration or client_configuration(),
        local_address=local,
        peer_address=peer,
        random_octets=octets_of("client"),
    )


@dataclass
class Pair:
    """A Control-Client and a Server, connected."""

    client: ControlClient = field(default_factory=make_client)
    server: Server = field(default_factory=make_server)
    chunk: int = 1 << 20
    """Octets that arrive at once."""
    answers: bool = True
    """Whether requests and starts are accepted."""
    now_ns: int = 1000 * SECOND
    client_events: list[Event] = field(default_factory=list)
    server_events: list[Event] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    """Who sent what, in order."""
    next_port: int = 20000

    def connect(self) -> Pair:
        """Both ends have their transport."""
        self.client.connection_made(self.now_ns)
        self.server.connection_made(self.now_ns)
        return self.transfer()

    def transfer(self) -> Pair:
        """Carry octets and answer questions until nothing moves."""
        moved = True
        while moved:
            moved = self._carry("client") | self._carry("server")
            moved |= self._answer()
        return self

    def _carry(self, sender: str) -> bool:
        source, target = (self.client, self.server) if sender == "client" else (self.server, self.client)
        octets = source.data_to_send()
        if not octets:
            return False
        self.sent.append((sender, octets))
        for at in range(0, len(octets), self.chunk):
            target.receive_data(octets[at : at + self.chunk], self.now_ns)
        return True

    def _answer(self) -> bool:
        while (event := self.client.next_event()) is not None:
            self.client_events.append(event)
        answered = False
        while (event := self.server.next_event()) is not None:
            self.server_events.append(event)
            if isinstance(event, SessionRequested) and self.answers:
                self.next_port += 1
                self.server.accept_session(self.next_port, self.now_ns, timestamp=START_TIME)
                answered = True
            elif isinstance(event, StartRequested) and self.answers:
                self.server.answer_start(self.now_ns)
                answered = True
        return answered

    def request(self, request: SessionRequest = REQUEST) -> NegotiatedSession:
        """Negotiate a session; the Server accepts it."""
        self.client.request_session(request, self.now_ns, timestamp=START_TIME)
        self.transfer()
        return self.client_event(SessionAccepted).session

    def start(self, sids: tuple[bytes, ...] | None = None) -> Pair:
        """Start sessions; the Server agrees."""
        self.client.start_sessions(self.now_ns, sids)
        return self.transfer()

    def later(self, seconds: float) -> Pair:
        """Time passes, and both ends see to their timers."""
        self.now_ns += int(seconds * SECOND)
        self.client.handle_timer(self.now_ns)
        self.server.handle_timer(self.now_ns)
        return self.transfer()

    def client_event(self, kind: type[E]) -> E:
        """The Control-Client's last event of a kind."""
        return next(event for event in reversed(self.client_events) if isinstance(event, kind))

    def server_event(self, kind: type[E]) -> E:
        """The Server's last event of a kind."""
        return next(event for event in reversed(self.server_events) if isinstance(event, kind))


def owamp_pair(mode: Mode = Mode.UNAUTHENTICATED, **changes: object) -> Pair:
    """Both ends of an OWAMP connection, connected."""
    client = make_client(client_configuration(mode, protocol=Protocol.OWAMP))
    server = make_server(server_configuration(protocol=Protocol.OWAMP, **changes))
    return Pair(client, server).connect()


def twamp_pair(mode: Mode = Mode.UNAUTHENTICATED, features: Mode = Mode(0), **changes: object) -> Pair:  # noqa: B008  (a constant)
    """Both ends of a TWAMP connection, connected."""
    client = make_client(client_configuration(mode, features=features))
    return Pair(client, make_server(server_configuration(**changes))).connect()
