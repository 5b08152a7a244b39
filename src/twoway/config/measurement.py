"""What a person asks of one measurement or of one Session-Reflector, with the defaults in place. Pure.

The command line and the Python interface both end here; drivers turn it into a complete `twoway.session.SessionSpec` or
`ReflectorSpec` once names are resolved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from twoway.config import defaults
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class MeasurementOptions(TypedDict, total=False):
    """The keyword arguments of `measure`, `measure_async` and `stream`: the fields of `Measurement`, all optional."""

    protocol: str
    family: int | None
    count: int | None
    duration_ns: int | None
    interval_ns: int
    schedule: str
    seed: int | None
    timeout_ns: int
    payload_len: int | None
    fill: str
    dscp_ecn: int
    ttl: int
    ssid: int
    key: bytes | None
    source: str | None
    source_port: int
    interface: str | None
    netns: str | None
    timestamps: str
    clock_format: str
    reflector_mode: str
    dscp_ecn_monitoring: bool
    receive_buffer: int
    sample_capacity: int
    busy_poll: bool
    percentiles: tuple[float, ...]


class ReflectionOptions(TypedDict, total=False):
    """The keyword arguments of `Reflector`: the fields of `Reflection`, all optional."""

    listen: Sequence[str | tuple[str, int, int]]
    interface: str | None
    netns: str | None
    workers: int | None
    stateful: bool
    max_sessions: int
    session_timeout_ns: int
    keys: Sequence[tuple[str, int | None, bytes]]
    require_authentication: bool
    allow: Sequence[str]
    rate_limit: int
    rate_limit_per_source: int
    dscp: int | None
    larger_replies: bool
    process_tlvs: bool
    timestamps: str
    receive_buffer: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement as asked for. Times are integer nanoseconds."""

    target: str
    """`host`, `host:port`, a numeric address or `[v6%scope]:port`; UDP port 862 unless written."""
    protocol: str = defaults.PROTOCOL
    """`stamp` (RFC 8762) or `light` (TWAMP Light, RFC 5357 appendix I)."""
    family: int | None = None
    """4 or 6 to force the address family."""
    count: int | None = defaults.COUNT
    """Packets to send; None: until stopped."""
    duration_ns: int | None = None
    """How long to send; None: until `count`, or until stopped."""
    interval_ns: int = defaults.INTERVAL_NS
    """Between departures; the mean of a Poisson schedule."""
    schedule: str = defaults.SCHEDULE
    """`periodic` or `poisson`."""
    seed: int | None = None
    """Makes a Poisson schedule and random fill repeatable; None: different each time."""
    timeout_ns: int = defaults.TIMEOUT_NS
    """A reply after this is late."""
    payload_len: int | None = None
    """Octets of UDP payload; None: the smallest for which request and reply are equally long."""
    fill: str = defaults.FILL
    """`zeros` or `random`, beyond the header."""
    dscp_ecn: int = defaults.DSCP_ECN
    """Traffic class octet: DSCP in the upper six bits, ECN in the lower two."""
    ttl: int = defaults.TTL
    ssid: int = defaults.SSID
    """STAMP Session Identifier (RFC 8972 section 3), 0 for none."""
    key: bytes | None = field(default=None, repr=False)
    """HMAC key: STAMP packets are then authenticated (RFC 8762 section 4.4)."""
    source: str | None = None
    """Numeric address to send from."""
    source_port: int = 0
    interface: str | None = None
    """Device or VRF to bind to."""
    netns: str | None = None
    """Network namespace to open the socket in: a name of `ip netns` or a path. Names resolve outside of it."""
    timestamps: str = defaults.TIMESTAMPS
    """`kernel`, `hardware` or `user`."""
    clock_format: str = defaults.CLOCK_FORMAT
    """`ntp` or `ptp` timestamps in what we send."""
    reflector_mode: str = defaults.REFLECTOR_MODE
    """`auto`, `stateless` or `stateful`: whether the replies' own numbers tell forward from backward loss."""
    dscp_ecn_monitoring: bool = False
    """TWAMP Light replies carry the traffic class as it arrived (RFC 7750)."""
    receive_buffer: int = defaults.SENDER_RECEIVE_BUFFER
    """Octets of socket buffer to ask for."""
    sample_capacity: int = defaults.SAMPLE_CAPACITY
    """Samples kept until taken."""
    busy_poll: bool = False
    """Spin on the sockets instead of sleeping: exact departures for a whole CPU."""
    percentiles: tuple[float, ...] = defaults.PERCENTILES
    """Percentiles of the report, from 0 to 100."""

    def __post_init__(self) -> None:
        if self.protocol not in ("stamp", "light"):
            raise ConfigError("protocol", f"{self.protocol!r} is none of stamp, light")
        if self.family not in (None, 4, 6):
            raise ConfigError("family", f"{self.family!r} is neither 4 nor 6")
        if self.key is not None and self.protocol != "stamp":
            raise ConfigError("key", "only STAMP packets can be authenticated without a control connection")
        if self.duration_ns is not None and self.duration_ns <= 0:
            raise ConfigError("duration_ns", f"{self.duration_ns} ns is not more than 0")
        if self.interval_ns <= 0:
            raise ConfigError("interval_ns", f"{self.interval_ns} ns is not more than 0")

    @property
    def packet_format(self) -> str:
        """The packet format that protocol and key come to."""
        if self.protocol == "light":
            return "twamp"
        return "stamp" if self.key is None else "stamp-authenticated"

    @property
    def packet_size(self) -> int:
        """`payload_len`, or the default of the packet format."""
        if self.payload_len is not None:
            return self.payload_len
        if self.packet_format == "twamp" and self.dscp_ecn_monitoring:
            return defaults.PAYLOAD_LEN_DSCP_ECN
        return defaults.PAYLOAD_LEN[self.packet_format]

    @property
    def packet_count(self) -> int | None:
        """Packets to send, `duration_ns` of a periodic schedule reckoned in; None: until stopped or the time is up."""
        if self.duration_ns is None or self.schedule != "periodic":
            return self.count
        in_duration = -(-self.duration_ns // self.interval_ns)
        return in_duration if self.count is None else min(self.count, in_duration)


@dataclass(frozen=True, slots=True)
class Reflection:
    """One Session-Reflector as asked for."""

    listen: Sequence[str | tuple[str, int, int]] = ()
    """`ADDR:PORT`, `[v6%scope]:PORT` or (numeric address, port, scope id); empty: port 862 of both families."""
    interface: str | None = None
    netns: str | None = None
    workers: int | None = None
    """Threads with a socket each (`SO_REUSEPORT`); None: one per CPU, at most `defaults.MAX_WORKERS`."""
    stateful: bool = False
    """Number the replies, so that senders can tell forward from backward loss (RFC 8762 section 4.3)."""
    max_sessions: int = defaults.MAX_SESSIONS
    session_timeout_ns: int = defaults.SESSION_TIMEOUT_NS
    keys: Sequence[tuple[str, int | None, bytes]] = field(default=(), repr=False)
    """(key id, SSID or None for any, HMAC key) for authenticated STAMP."""
    require_authentication: bool = False
    allow: Sequence[str] = ()
    """Networks that are answered, as `192.0.2.0/24`; empty: all."""
    rate_limit: int = defaults.RATE_LIMIT
    rate_limit_per_source: int = defaults.RATE_LIMIT_PER_SOURCE
    dscp: int | None = None
    """Code point of the replies; None: as it arrived."""
    larger_replies: bool = True
    """Answer requests shorter than the shortest reply (14 octets of TWAMP Light get 44)."""
    process_tlvs: bool = True
    """Process STAMP TLVs (RFC 8972 section 4); False: send back what came."""
    timestamps: str = defaults.TIMESTAMPS
    receive_buffer: int = defaults.REFLECTOR_RECEIVE_BUFFER
