"""What a person asks of a control connection and of the test-sessions on it, with the defaults in place. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.config import defaults
from twoway.errors import ConfigError
from twoway.path import PLAIN, ForwardPath

if TYPE_CHECKING:
    from collections.abc import Callable

PORTS = {"twamp": 862, "owamp": 861}
"""Protocol -> TCP port of its Server (RFC 5357 section 3.1, RFC 4656 section 3)."""
MODES = ("unauthenticated", "authenticated", "encrypted", "mixed")
"""Security modes (RFC 4656 section 3.1, RFC 5618 section 3.1); OWAMP has no mixed mode."""
SECURE_MODES = ("authenticated", "encrypted", "mixed")
FEATURES = (
    "individual-session-control",
    "reflect-octets",
    "symmetrical-size",
    "dscp-ecn-monitoring",
    "ptpv2-timestamp",
)
"""What can be negotiated beside a security mode (RFC 5938, 6038, 7750, 8186); OWAMP has none of them."""
CONNECT_NS = 10 * defaults.NANOS
"""For the transport to be connected."""
REPLY_NS = 30 * defaults.NANOS
"""For each answer of the Server."""
KEEP_IDLE_S, KEEP_INTERVAL_S, KEEP_COUNT = 120, 5, 6
"""TCP keepalive: Junos's tcp-keepidle, tcp-keepintvl and tcp-keepcnt."""
CONTROL_DSCP = 0
START_DELAY_NS = defaults.NANOS
"""OWAMP: how long before the start, beside three round trips, a session is asked for."""


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """One control connection as asked for. Times are integer nanoseconds. Raises `ConfigError`."""

    protocol: str = "twamp"
    """`twamp` or `owamp`."""
    modes: tuple[str, ...] = ("unauthenticated",)
    """Security modes, best first: the first that the Server offers is taken."""
    features: tuple[str, ...] = ("ptpv2-timestamp",)
    """Taken if the Server offers them."""
    required: tuple[str, ...] = ()
    """Features without which the connection is of no use."""
    key_id: str | None = None
    """Which secret a secure mode uses: 1 to 80 octets of UTF-8."""
    passphrase: Callable[[], bytes] | None = field(default=None, repr=False)
    """Called once, when the connection is made."""
    ikev2: tuple[bytes, bytes, Callable[[], bytes]] | None = field(default=None, repr=False)
    """SPIi, SPIr, and the key derived from that IKEv2 security association (RFC 7717), used where the Server offers
    IKEv2Derived."""
    family: int | None = None
    """4 or 6 to force the address family."""
    source: str | None = None
    """Numeric address to connect and to send from."""
    interface: str | None = None
    """Device or VRF for the connection and the test packets."""
    netns: str | None = None
    """Network namespace of both, as a name of `ip netns` or a path. Names are resolved outside."""
    dscp: int = CONTROL_DSCP
    """Code point of the control connection's packets."""
    tcp_keepidle_s: int = KEEP_IDLE_S
    tcp_keepintvl_s: int = KEEP_INTERVAL_S
    tcp_keepcnt: int = KEEP_COUNT
    connect_ns: int = CONNECT_NS
    reply_ns: int = REPLY_NS

    def __post_init__(self) -> None:
        if self.protocol not in PORTS:
            raise ConfigError("protocol", f"{self.protocol!r} is none of {', '.join(PORTS)}")
        if not self.modes:
            raise ConfigError("mode", "none is given")
        for mode in self.modes:
            if mode not in MODES:
                raise ConfigError("mode", f"{mode!r} is none of {', '.join(MODES)}")
            if mode == "mixed" and self.protocol == "owamp":
                raise ConfigError("mode", "OWAMP has no mixed mode (RFC 5618 section 3.1)")
            if mode in SECURE_MODES and self.passphrase is None and self.ikev2 is None:
                raise ConfigError("mode", f"{mode} needs a key")
        if self.passphrase is not None and self.key_id is None:
            raise ConfigError("key_id", "a passphrase goes with a KeyID")
        for feature in (*self.features, *self.required):
            if feature not in FEATURES:
                raise ConfigError("features", f"{feature!r} is none of {', '.join(FEATURES)}")
        if self.required and self.protocol == "owamp":
            raise ConfigError("features", "OWAMP has none of them (RFC 7718 section 3.2)")
        if self.family not in (None, 4, 6):
            raise ConfigError("family", f"{self.family!r} is neither 4 nor 6")
        if not 0 <= self.dscp <= 63:
            raise ConfigError("dscp", f"{self.dscp} is not from 0 to 63")
        if self.connect_ns <= 0 or self.reply_ns <= 0:
            raise ConfigError("timeout_ns", "a time to wait is more than 0")
        _within("tcp_keepidle_s", self.tcp_keepidle_s, 1, 600)
        _within("tcp_keepintvl_s", self.tcp_keepintvl_s, 1, 600)
        _within("tcp_keepcnt", self.tcp_keepcnt, 1, 50)


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """One test-session of a control connection, as asked for. Times are integer nanoseconds. Raises `ConfigError`.

    With TWAMP the schedule is ours alone; with OWAMP both ends follow it (RFC 4656 section 3.6).
    """

    count: int | None = defaults.API_COUNT
    """Packets to send. None, until stopped, is TWAMP's alone."""
    interval_ns: int = defaults.INTERVAL_NS
    """Between departures; the mean of a Poisson schedule."""
    schedule: str = defaults.SCHEDULE
    """`periodic` or `poisson`."""
    slots: tuple[tuple[str, int], ...] = ()
    """OWAMP: (`fixed` or `exponential`, ns) run through again and again; empty: one slot, of `interval_ns` and
    `schedule`."""
    server_sends: bool = False
    """OWAMP: the Server is the Session-Sender and we receive (Conf-Sender), else we send (Conf-Receiver)."""
    timeout_ns: int = defaults.TIMEOUT_NS
    """TWAMP: a reply after this is late; the Session-Reflector goes on for so long after the stop. OWAMP: a packet
    after this is lost."""
    start_ns: int | None = None
    """Start Time, wall clock; 0: at once. None: TWAMP at once; OWAMP in a second and three round trips, as both ends
    follow one schedule and must be ready for it."""
    padding_length: int | None = None
    """Octets after the 14 or 48 of the header. None: `payload_len`."""
    payload_len: int | None = None
    """Octets of UDP payload. None: TWAMP's smallest for which request and reply are equally long; OWAMP's header."""
    fill: str = defaults.FILL
    """`zeros` or `random` padding."""
    dscp: int = 0
    """Type-P: code point of the test packets both ways."""
    ecn: int = 0
    """ECN of what we send."""
    ttl: int = defaults.TTL
    sender_port: int = 0
    """UDP port of the Session-Sender; 0: any. Where the Server sends, its choice."""
    receiver_port: int = 0
    """UDP port wanted at the Session-Reflector or Session-Receiver; the Server may choose another."""
    sender_address: str | None = None
    """Numeric address named in the request. None: TWAMP none, OWAMP that of the control connection, as Servers want it
    named; `0.0.0.0` or `::` leaves it to the Server, as for NAT on the way."""
    receiver_address: str | None = None
    octets_to_reflect: int = 0
    """RFC 6038 section 4.2: 16 bits that Accept-Session must carry back."""
    padding_to_reflect: int = 0
    """RFC 6038 section 4.2: octets of padding that each reply must carry back."""
    seed: int | None = None
    """Makes a Poisson schedule of TWAMP and random fill repeatable."""
    timestamps: str = defaults.TIMESTAMPS
    """`kernel`, `hardware` or `user`."""
    clock_format: str = defaults.CLOCK_FORMAT
    """`ntp` or `ptp` timestamps in what we send."""
    reflector_mode: str = defaults.REFLECTOR_MODE
    receive_buffer: int = defaults.SENDER_RECEIVE_BUFFER
    path: ForwardPath = PLAIN
    """TWAMP: how packets get to the Session-Reflector."""
    sample_capacity: int = defaults.SAMPLE_CAPACITY
    """Samples kept until taken."""
    percentiles: tuple[float, ...] = defaults.PERCENTILES
    """Percentiles of the report, from 0 to 100."""

    def __post_init__(self) -> None:
        _within("interval_ns", self.interval_ns, 1, 2**61)
        _within("timeout_ns", self.timeout_ns, 1, 2**61)
        _within("dscp", self.dscp, 0, 63)
        _within("ecn", self.ecn, 0, 3)
        _within("ttl", self.ttl, 1, 255)
        for name in ("sender_port", "receiver_port", "octets_to_reflect", "padding_to_reflect"):
            _within(name, getattr(self, name), 0, 0xFFFF)
        if self.count is not None:
            _within("count", self.count, 1, 2**32 - 1)
        if self.schedule not in ("periodic", "poisson"):
            raise ConfigError("schedule", f"{self.schedule!r} is neither periodic nor poisson")
        for kind, time_ns in self.slots:
            if kind not in ("fixed", "exponential"):
                raise ConfigError("slots", f"{kind!r} is neither fixed nor exponential")
            _within("slots", time_ns, 0, 2**61)
        if self.slots and not any(time_ns for _, time_ns in self.slots):
            raise ConfigError("slots", "a schedule takes some time")
        if self.padding_length is not None and self.payload_len is not None:
            raise ConfigError("payload_len", "it is given by the padding length")


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(name, f"{value} is not from {low} to {high}")
