"""What a person asks of one measurement, with the defaults in place. Pure.

The command line and the Python interface both end here; drivers turn it into a complete `twoway.session.SessionSpec`
once the name is resolved.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twoway.config import defaults
from twoway.errors import ConfigError
from twoway.path import PLAIN, ForwardPath
from twoway.tlvs import NO_TLVS, Tlvs


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
    require_ssid: bool = False
    """End at a reply whose SSID is zero: of a Session-Reflector that knows neither SSIDs nor TLVs."""
    key: bytes | None = field(default=None, repr=False)
    """HMAC key: STAMP packets are then authenticated (RFC 8762 section 4.4)."""
    source: str | None = None
    """Numeric address to send from."""
    source_port: int = 0
    interface: str | None = None
    """Device or VRF to bind to."""
    netns: str | None = None
    """Network namespace to open the socket in: a name of `ip netns` or a path. Names resolve outside of it."""
    tlvs: Tlvs = NO_TLVS
    """What is asked for in STAMP TLVs (RFC 8972 section 4)."""
    tlv_key: bytes | None = field(default=None, repr=False)
    """Key of the HMAC over the TLVs of unauthenticated packets; authenticated ones use theirs."""
    path: ForwardPath = PLAIN
    """How packets get to the Session-Reflector."""
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
        if self.tlvs and self.protocol != "stamp":
            raise ConfigError("tlvs", "only STAMP packets have TLVs")
        if self.tlv_key is not None and self.key is not None:
            raise ConfigError("tlv_key", "authenticated packets have one key for everything")
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
        return defaults.PAYLOAD_LEN[self.packet_format] if self.payload_len is None else self.payload_len

    @property
    def packet_count(self) -> int | None:
        """Packets to send, `duration_ns` of a periodic schedule reckoned in; None: until stopped or the time is up."""
        if self.duration_ns is None or self.schedule != "periodic":
            return self.count
        in_duration = -(-self.duration_ns // self.interval_ns)
        return in_duration if self.count is None else min(self.count, in_duration)
