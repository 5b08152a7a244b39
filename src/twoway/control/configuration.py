"""What the owner of a machine chooses: limits, timers, modes. Defaults are the RFCs' and Junos's."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from twoway.control.registry import FEATURES, OWAMP_MODES, SECURITY_MODES, Mode, Protocol
from twoway.control.security import LEAST_COUNT, MOST_COUNT, Ikev2Credentials, PassphraseCredentials
from twoway.errors import ConfigError

SECOND: Final = 1_000_000_000
"""In nanoseconds."""

LARGEST_COUNT: Final = 1 << 20
"""No Server asks for more: it would have to run it for anyone who connects."""
NO_FEATURE: Final = Mode(0)

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a peer can have, decided before anything is allocated for it (RFC 4656 section 6.5)."""

    sessions: int = 64
    """Test-sessions of a connection that have not been stopped (Junos: maximum-sessions-per-connection)."""
    padding_octets: int = 9000
    """Largest Padding Length."""
    timeout_ns: int = 900 * SECOND
    """Longest Timeout of a request."""
    packets: int = 1_000_000
    """OWAMP: largest Number of Packets."""
    schedule_slots: int = 1024
    """OWAMP: most slots of a schedule."""
    skip_ranges: int = 16384
    """OWAMP: most skip ranges of a message."""
    records: int = 4_000_000
    """OWAMP: most packet records of a fetched session, 25 octets each."""
    unread_octets: int = 65536
    """Octets that may wait while the machine cannot read on."""
    unsent_octets: int = 65536
    """With more than this waiting to be sent, the machine does not read on."""


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """A Server's choices, the same for all its connections. Raises `ConfigError`."""

    start_time: int
    """Timestamp of the Server's start: the same for every client (RFC 4656 section 3.1)."""
    protocol: Protocol = Protocol.TWAMP
    modes: Mode = Mode.UNAUTHENTICATED
    """What is offered: security modes and features. 0 refuses everyone (RFC 4656 section 3.1)."""
    count: int = 2048
    """PBKDF2 iterations asked of clients, and run for each of them here: a power of 2, 1024 to 1048576."""
    limits: Limits = field(default_factory=Limits)
    authenticated_limits: Limits | None = None
    """Those of clients that have proved who they are (RFC 4656 section 6.5 wants them apart); None: the same."""
    sid_address: bytes = bytes(4)
    """An address of this host whose last 4 octets begin its SIDs (RFC 4656 section 3.5)."""
    own_addresses: frozenset[Address] = frozenset()
    """Addresses of this host that may be tested, beside the one that the connection came to."""
    any_sender_address: bool = False
    """TWAMP: reflect to addresses that are not the Control-Client's, too (RFC 4656 section 6.2)."""
    servwait_ns: int = 900 * SECOND
    """SERVWAIT (RFC 5357 section 3.1); 0: never."""
    refwait_ns: int = 900 * SECOND
    """REFWAIT (RFC 5357 section 4.2); 0: never."""
    message_ns: int = 30 * SECOND
    """For connection set-up, and for the rest of a message that has begun (RFC 4656 section 3); 0: never."""
    connection_ns: int = 0
    """Longest life of a connection (Junos: max-connection-duration); 0: no limit."""

    def __post_init__(self) -> None:
        _check_count("count", self.count)
        if self.modes & Mode.IKEV2_DERIVED and not self.modes & SECURITY_MODES & ~Mode.UNAUTHENTICATED:
            raise ConfigError("modes", "IKEv2Derived needs a secure mode beside it (RFC 7717 section 5.1)")
        _check_protocol(self.protocol, self.modes)
        _check_timers(self, ("servwait_ns", "refwait_ns", "message_ns", "connection_ns"))


@dataclass(frozen=True, slots=True)
class ClientConfiguration:
    """A Control-Client's choices. Raises `ConfigError`."""

    protocol: Protocol = Protocol.TWAMP
    preference: tuple[Mode, ...] = (Mode.UNAUTHENTICATED,)
    """Security modes, best first: the first that the Server offers is taken."""
    features: Mode = Mode.PTPV2_TIMESTAMP
    """Features that are taken if the Server offers them (RFC 8186 section 2.2 wants its own taken)."""
    required: Mode = NO_FEATURE
    """Features without which there is no use in the connection."""
    credentials: PassphraseCredentials | None = None
    ikev2: Ikev2Credentials | None = None
    """Used rather than `credentials` where the Server offers IKEv2Derived."""
    least_count: int = LEAST_COUNT
    most_count: int = MOST_COUNT
    """Bounds of the Server's Count (RFC 4656 section 3.1, RFC 5357 section 6)."""
    limits: Limits = field(default_factory=Limits)
    sid_address: bytes = bytes(4)
    """OWAMP: as for the Server, where the Control-Client is the receiver."""
    reply_ns: int = 30 * SECOND
    """For each answer of the Server to arrive whole; 0: never."""

    def __post_init__(self) -> None:
        if not self.preference:
            raise ConfigError("mode", "none is given")
        for mode in self.preference:
            if mode not in (Mode.UNAUTHENTICATED, Mode.AUTHENTICATED, Mode.ENCRYPTED, Mode.MIXED):
                raise ConfigError("mode", f"{mode!r} is not one security mode")
            if mode is not Mode.UNAUTHENTICATED and self.credentials is None and self.ikev2 is None:
                raise ConfigError("mode", f"{(mode.name or '').lower()} needs a key")
            if self.protocol is Protocol.OWAMP and mode is Mode.MIXED:
                raise ConfigError("mode", "OWAMP has no mixed mode (RFC 5618 section 3.1)")
        if (self.features | self.required) & ~FEATURES:
            raise ConfigError("features", "they hold a security mode")
        if self.protocol is Protocol.OWAMP:
            _check_protocol(self.protocol, self.required)
        _check_timers(self, ("reply_ns",))
        if not LEAST_COUNT <= self.least_count <= self.most_count:
            raise ConfigError("count", f"its least is {LEAST_COUNT} or more and no more than its most")


def _check_count(name: str, count: int) -> None:
    if not LEAST_COUNT <= count <= LARGEST_COUNT or count & (count - 1):
        bounds = f"from {LEAST_COUNT} to {LARGEST_COUNT}"
        raise ConfigError(name, f"{count} is not a power of 2 {bounds} (RFC 4656 section 3.1)")


def _check_protocol(protocol: Protocol, modes: Mode) -> None:
    if protocol is Protocol.OWAMP and modes & ~OWAMP_MODES:
        raise ConfigError("modes", f"OWAMP has no {modes & ~OWAMP_MODES!r} (RFC 7718 section 3.2)")


def _check_timers(configuration: ServerConfiguration | ClientConfiguration, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(configuration, name) < 0:
            raise ConfigError(name, "a time cannot be negative")
