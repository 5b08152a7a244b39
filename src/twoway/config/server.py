"""What a person asks of one Server, with the defaults in place: limits by Junos's names. Pure.

Ranges begin where Junos's do. Where Junos stops at what a line card holds, we go on: 10,000 connections, 65,536
sessions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.config import defaults
from twoway.config.managed import (
    FEATURES,
    KEEP_COUNT,
    KEEP_IDLE_S,
    KEEP_INTERVAL_S,
    MODES,
    PORTS,
    SECURE_MODES,
)
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LISTEN = tuple(
    (protocol, host, port, 0)
    for protocol, port in PORTS.items()
    for host in ("0.0.0.0", "::")  # noqa: S104  (a server answers on every address unless told)
)
"""(protocol, address, port, scope id): both protocols, both families."""
PORT_RANGE = (20_000, 29_999)
"""UDP ports of test-sessions: below those that Linux gives to clients, and enough for 10,000."""
MAXIMUM_CONNECTIONS = 64
MAXIMUM_CONNECTIONS_PER_CLIENT = 64
MAXIMUM_SESSIONS = 64
MAXIMUM_SESSIONS_PER_CONNECTION = 64
MAXIMUM_SESSIONS_PER_CLIENT = 65_536
"""As many as there can be: Junos has no such limit, Junos Evolved has."""
SERVER_INACTIVITY_TIMEOUT_NS = 900 * defaults.NANOS
"""SERVWAIT (RFC 5357 section 3.1)."""
REFLECTOR_INACTIVITY_TIMEOUT_NS = 900 * defaults.NANOS
"""REFWAIT (RFC 5357 section 4.2)."""
MAX_CONNECTION_DURATION_NS = 0
COUNT = 2048
"""PBKDF2 iterations, as perfSONAR's."""
STORED_RECORDS = 1 << 20
"""Packet records kept for Fetch-Session, 40 octets each, before the oldest session's are forgotten."""
MAX_TIMEOUT_NS = 900 * defaults.NANOS
MAX_PADDING = 9000
MAX_PACKETS = 1_000_000
_HOUR_NS = 3600 * defaults.NANOS


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """One Server as asked for. Times are integer nanoseconds. Raises `ConfigError`."""

    listen: Sequence[tuple[str, str, int, int]] = ()
    """(`twamp` or `owamp`, numeric address, port, scope id); empty: TCP 862 and 861 of both families."""
    modes: tuple[str, ...] = ()
    """Security modes offered. Empty: `unauthenticated` without secrets, else every secure one."""
    features: tuple[str, ...] = FEATURES
    """What TWAMP's clients are offered beside a security mode."""
    secrets: Sequence[tuple[str, bytes]] = field(default=(), repr=False)
    """(KeyID, passphrase)."""
    secret_of: Callable[[bytes], bytes | None] | None = field(default=None, repr=False)
    """Asked for the passphrase of a KeyID that `secrets` do not have."""
    ikev2_key_of: Callable[[bytes, bytes], bytes | None] | None = field(default=None, repr=False)
    """The key of the IKEv2 security association with this SPIi and SPIr (RFC 7717); offered if it is there."""
    count: int = COUNT
    """PBKDF2 iterations asked of clients: a power of 2."""
    allow: Sequence[str] = ()
    """Networks whose clients are served (Junos: client-list); empty: all."""
    port_range: tuple[int, int] = PORT_RANGE
    """UDP ports of test-sessions, first and last."""
    any_sender_address: bool = False
    """Reflect to addresses other than the Control-Client's (RFC 4656 section 6.2 has reasons not to)."""
    maximum_connections: int = MAXIMUM_CONNECTIONS
    maximum_connections_per_client: int = MAXIMUM_CONNECTIONS_PER_CLIENT
    maximum_sessions: int = MAXIMUM_SESSIONS
    maximum_sessions_per_client: int = MAXIMUM_SESSIONS_PER_CLIENT
    """Of one address (Junos Evolved: test-per-client-limit)."""
    maximum_sessions_per_connection: int = MAXIMUM_SESSIONS_PER_CONNECTION
    max_connection_duration_ns: int = MAX_CONNECTION_DURATION_NS
    """0: no limit."""
    server_inactivity_timeout_ns: int = SERVER_INACTIVITY_TIMEOUT_NS
    """SERVWAIT; 0: never."""
    reflector_inactivity_timeout_ns: int = REFLECTOR_INACTIVITY_TIMEOUT_NS
    """REFWAIT; 0: never."""
    message_timeout_ns: int = 30 * defaults.NANOS
    """For set-up, and for the rest of a message that has begun."""
    tcp_keepidle_s: int = KEEP_IDLE_S
    tcp_keepintvl_s: int = KEEP_INTERVAL_S
    tcp_keepcnt: int = KEEP_COUNT
    max_padding: int = MAX_PADDING
    """Largest Padding Length."""
    max_timeout_ns: int = MAX_TIMEOUT_NS
    """Longest Timeout."""
    max_packets: int = MAX_PACKETS
    """OWAMP: largest Number of Packets."""
    stored_records: int = STORED_RECORDS
    """OWAMP: packet records kept for Fetch-Session."""
    interface: str | None = None
    """Device or VRF of listeners and test packets."""
    netns: str | None = None
    """Network namespace of both, as a name of `ip netns` or a path."""
    workers: int = 1
    """Threads for test packets."""
    timestamps: str = defaults.TIMESTAMPS
    clock_format: str = defaults.CLOCK_FORMAT
    """`ptp` stamps in PTPv2 format where that was negotiated (RFC 8186)."""
    receive_buffer: int = 1 << 18
    """Octets of socket buffer of each test-session."""

    def __post_init__(self) -> None:
        for protocol, _, port, _ in self.listen:
            if protocol not in PORTS:
                raise ConfigError("listen", f"{protocol!r} is none of {', '.join(PORTS)}")
            _within("listen", port, 0, 65535)
        for mode in self.modes:
            if mode not in MODES:
                raise ConfigError("modes", f"{mode!r} is none of {', '.join(MODES)}")
        for feature in self.features:
            if feature not in FEATURES:
                raise ConfigError("features", f"{feature!r} is none of {', '.join(FEATURES)}")
        secure = [mode for mode in self.modes if mode in SECURE_MODES]
        if secure and not self.has_secrets:
            raise ConfigError("modes", f"{secure[0]} needs secrets")
        if len({key_id for key_id, _ in self.secrets}) != len(self.secrets):
            raise ConfigError("secrets", "a KeyID is there twice")
        first, last = self.port_range
        if not 1 <= first <= last <= 65535:
            raise ConfigError("port_range", f"{first}-{last} is no range of ports from 1 to 65535")
        _within("maximum_connections", self.maximum_connections, 1, 10_000)
        _within("maximum_connections_per_client", self.maximum_connections_per_client, 1, 10_000)
        _within("maximum_sessions", self.maximum_sessions, 1, 65_536)
        _within("maximum_sessions_per_client", self.maximum_sessions_per_client, 1, 65_536)
        _within("maximum_sessions_per_connection", self.maximum_sessions_per_connection, 1, 65_536)
        _within("max_connection_duration_ns", self.max_connection_duration_ns, 0, 120 * _HOUR_NS)
        _within("server_inactivity_timeout_ns", self.server_inactivity_timeout_ns, 0, 24 * _HOUR_NS)
        _within("reflector_inactivity_timeout_ns", self.reflector_inactivity_timeout_ns, 0, 24 * _HOUR_NS)
        _within("message_timeout_ns", self.message_timeout_ns, 1, _HOUR_NS)
        _within("tcp_keepidle_s", self.tcp_keepidle_s, 1, 600)
        _within("tcp_keepintvl_s", self.tcp_keepintvl_s, 1, 600)
        _within("tcp_keepcnt", self.tcp_keepcnt, 1, 50)
        _within("max_padding", self.max_padding, 0, 65_507)
        _within("max_timeout_ns", self.max_timeout_ns, 0, 24 * _HOUR_NS)
        _within("max_packets", self.max_packets, 1, 2**32 - 1)
        _within("stored_records", self.stored_records, 0, 2**32 - 1)
        _within("workers", self.workers, 1, 256)
        _within("receive_buffer", self.receive_buffer, 1, 2**30)

    @property
    def has_secrets(self) -> bool:
        """Whether any client can authenticate itself."""
        return bool(self.secrets) or self.secret_of is not None or self.ikev2_key_of is not None

    @property
    def offered_modes(self) -> tuple[str, ...]:
        """`modes`, or what stands for it."""
        return self.modes or (SECURE_MODES if self.has_secrets else ("unauthenticated",))


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(name, f"{value} is not from {low} to {high}")
