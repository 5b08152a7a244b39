"""What one test-session is, complete: the hinge between whoever asks for it and the packet plane.

STAMP and TWAMP Light sessions come from what a person wrote, TWAMP and OWAMP sessions from a negotiation; all end as
the same frozen `SessionSpec`, in which nothing is left to a default. Here stands only what is true of every session;
what the packet plane cannot honour it refuses itself, by the field's name. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.errors import ConfigError
from twoway.tlvs import LOCATIONS, SYNC_SOURCES

if TYPE_CHECKING:
    from twoway.path import ForwardPath
    from twoway.tlvs import Tlvs

PROTOCOL_FORMATS = {"stamp": "stamp", "light": "twamp"}
"""Protocol as a person names it -> packet format without authentication."""


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """One test-session as its Session-Sender runs it. Raises `ConfigError` for a value out of its range."""

    target: str
    """Numeric address of the Session-Reflector."""
    target_port: int
    scope_id: int
    """Interface index of a link-local target (RFC 4007), else 0."""
    source: str | None
    """Numeric address to send from, None for the kernel's choice."""
    source_port: int
    """0 for the kernel's choice."""
    interface: str | None
    """Device or VRF that the packets are bound to."""
    netns: str | None
    """Network namespace, as a name of `ip netns` or a path."""
    format: str
    """Packet format: `stamp`, `stamp-authenticated`, `twamp`, `twamp-authenticated` or `twamp-encrypted`."""
    stamp_key: bytes | None = field(repr=False)
    """HMAC key of authenticated STAMP (RFC 8762 section 4.4)."""
    twamp_aes_key: bytes | None = field(repr=False)
    """Test-session AES key (RFC 4656 section 4.1.2), 16 octets."""
    twamp_hmac_key: bytes | None = field(repr=False)
    """Test-session HMAC key, 32 octets."""
    ssid: int
    """Session-Sender identifier (RFC 8972 section 3), 0 for none."""
    timestamp_format: str
    """`ntp` or `ptp` (RFC 8186)."""
    payload_len: int
    """Octets of UDP payload."""
    fill: str
    """`zeros` or `random`, beyond the header."""
    count: int | None
    """Packets to send, None until stopped."""
    schedule: str
    """`periodic` or `poisson` (RFC 2330 section 11.1.1)."""
    interval_ns: int
    """Between departures; the mean of a Poisson schedule."""
    seed: int
    """Of the schedule's and the fill's pseudo-random numbers."""
    timeout_ns: int
    """After this a reply is late."""
    dscp_ecn: int
    """Traffic class octet of what is sent."""
    ttl: int
    timestamps: str
    """`kernel`, `hardware` or `user`."""
    reflector_mode: str
    """`auto`, `stateless` or `stateful`."""
    dscp_ecn_monitoring: bool
    """Whether replies carry the traffic class as it arrived (RFC 7750)."""
    sample_capacity: int
    """Samples kept until taken; 0 keeps none."""
    receive_buffer: int
    """Octets of socket buffer to ask for."""
    path: ForwardPath
    """How packets get to the Session-Reflector."""
    tlvs: Tlvs
    """What is asked for in STAMP TLVs."""
    tlv_key: bytes | None = field(repr=False)
    """Key of the HMAC TLV of unauthenticated packets."""
    payload_grows: bool
    """Whether the payload becomes as long as the TLVs need, where they need more."""
    next_hop_patience_ns: int
    """How long opening may wait for the link-layer address of a path's next hop."""
    require_ssid: bool
    """Whether a reply whose SSID is zero ends the session (RFC 8972 section 3)."""

    def __post_init__(self) -> None:
        _within("target_port", self.target_port, 1, 65535)
        _within("source_port", self.source_port, 0, 65535)
        _within("scope_id", self.scope_id, 0, 2**32 - 1)
        _within("ssid", self.ssid, 0, 0xFFFF)
        _within("payload_len", self.payload_len, 1, 65507)
        _within("interval_ns", self.interval_ns, 1, 2**62)
        _within("timeout_ns", self.timeout_ns, 1, 2**61)
        _within("dscp_ecn", self.dscp_ecn, 0, 255)
        _within("ttl", self.ttl, 1, 255)
        _within("receive_buffer", self.receive_buffer, 1, 2**30)
        _within("sample_capacity", self.sample_capacity, 0, 2**24)
        _within("seed", self.seed, 0, 2**64 - 1)
        _within("next_hop_patience_ns", self.next_hop_patience_ns, 0, 2**62)
        if self.count is not None:
            _within("count", self.count, 1, 2**32)
        _one_of("fill", self.fill, ("zeros", "random"))
        _one_of("schedule", self.schedule, ("periodic", "poisson"))
        _one_of("timestamp_format", self.timestamp_format, ("ntp", "ptp"))
        _one_of("timestamps", self.timestamps, ("kernel", "hardware", "user"))
        _one_of("reflector_mode", self.reflector_mode, ("auto", "stateless", "stateful"))
        if self.format == "stamp-authenticated" and self.stamp_key is None:
            raise ConfigError("stamp_key", "authenticated STAMP needs one")
        if self.stamp_key is not None and self.format != "stamp-authenticated":
            raise ConfigError("stamp_key", f"the format {self.format} has no use for it")
        if self.ssid and not self.format.startswith("stamp"):
            raise ConfigError("ssid", "only STAMP packets carry one")
        if self.require_ssid and not self.ssid:
            raise ConfigError("require_ssid", "it is about the replies to packets with an SSID")
        if self.dscp_ecn_monitoring and not self.format.startswith("twamp"):
            raise ConfigError("dscp_ecn_monitoring", "only TWAMP packets carry it (RFC 7750); STAMP has a TLV for it")
        self._check_path("path", self.path.kind)
        if self.tlvs:
            self._check_tlvs()

    def _check_path(self, field: str, kind: str) -> None:
        if kind == "srv6" and ":" not in self.target:
            raise ConfigError(field, f"srv6 leads IPv6 packets, and {self.target} is an IPv4 address")

    def _check_tlvs(self) -> None:
        if not self.format.startswith("stamp"):
            raise ConfigError("tlvs", "only STAMP packets have TLVs")
        if self.tlvs.hmac and self.tlv_key is None and self.stamp_key is None:
            raise ConfigError("tlv_hmac", "an HMAC over the TLVs needs a key")
        if self.tlvs.destination_node is not None and not self.ssid:
            raise ConfigError("ssid", "a destination node address goes with an SSID (RFC 9503 section 3)")
        back = self.tlvs.return_path
        if back is not None:
            self._check_path("return_path", back.kind)
            if back.address is not None and (":" in back.address) != (":" in self.target):
                raise ConfigError("return_path", f"{back.address} and {self.target} are not of the same address family")
        control = self.tlvs.control
        if control is not None and control.lasts_ns > self.interval_ns:
            raise ConfigError(
                "tlvs",
                f"{control.count} replies take {control.lasts_ns} ns, so the next packet would come before they are "
                f"all sent (interval {self.interval_ns} ns; RFC 10052 section 5)",
            )
        if control is not None and control.lasts_ns > self.timeout_ns:
            raise ConfigError(
                "tlvs",
                f"{control.count} replies take {control.lasts_ns} ns, longer than the timeout ({self.timeout_ns} ns)",
            )


@dataclass(frozen=True, slots=True)
class TlvReflectorSpec:
    """What STAMP TLVs may ask of a Session-Reflector. Raises `ConfigError` for a value out of its range."""

    require_hmac: bool
    """Whether TLVs of unauthenticated packets need an HMAC TLV (RFC 8972 section 4.8)."""
    location: str
    """What a Location TLV is told: `all`, `addresses`, `ports` or `nothing` (section 4.2.2)."""
    permitted_dscps: tuple[int, ...] | None
    """Code points that a reply may bear because a Class of Service TLV asks for it (section 4.4), None for all."""
    sync_source: str | None
    """What the clock follows (section 4.3), None for NTP or nothing, as the kernel knows."""
    return_paths_authenticated: bool
    """Whether return paths of authenticated packets are obeyed (RFC 9503 section 4)."""
    return_paths_allow: tuple[tuple[str, int], ...]
    """(network address, prefix length) of sources whose return paths are obeyed in any case."""
    reflect_headers: bool
    """Whether headers of the IP packet are reflected (experimental code points)."""
    micro_sessions: tuple[tuple[str, int], ...]
    """(device, Micro-session ID) of the member links of an aggregation (RFC 9534)."""
    control: tuple[tuple[tuple[str, int], ...], int, int, int, int] | None
    """Whom several replies to one request are sent to (networks as above), most replies, and most octets of payload of
    each, a second and in all (RFC 10052); None: nobody."""

    def __post_init__(self) -> None:
        _one_of("location", self.location, LOCATIONS)
        if self.sync_source is not None:
            _one_of("sync_source", self.sync_source, SYNC_SOURCES)
        for dscp in self.permitted_dscps or ():
            _within("permit_dscp", dscp, 0, 63)
        for _, number in self.micro_sessions:
            _within("micro_sessions", number, 1, 0xFFFF)
        if self.control is not None:
            _, replies, octets, octets_per_s, octets_in_all = self.control
            _within("control_replies", replies, 1, 0xFFFF)
            _within("control_length", octets, 1, 0xFFFF)
            _within("control_rate", octets_per_s, 1, 1 << 40)
            _within("control_volume", octets_in_all, 1, 1 << 40)


@dataclass(frozen=True, slots=True)
class ReflectorSpec:
    """What one Session-Reflector does, complete. Raises `ConfigError` for a value out of its range."""

    listen: tuple[tuple[str, int, int], ...]
    """(numeric address, port, scope id) of each socket."""
    interface: str | None
    netns: str | None
    workers: int
    stateful: bool
    """Whether it numbers its replies itself, which tells forward from backward loss (RFC 8762 section 4.3)."""
    max_sessions: int
    session_timeout_ns: int
    keys: tuple[tuple[str, int | None, bytes], ...] = field(repr=False)
    """(key id, SSID or None for any, HMAC key)."""
    require_authentication: bool
    allow: tuple[tuple[str, int], ...]
    """(network address, prefix length) that it answers; empty for all."""
    rate_limit: int
    """Packets a second, 0 for no limit."""
    rate_limit_per_source: int
    dscp: int | None
    """Code point of the replies, None to echo what arrived."""
    larger_replies: bool
    """Whether a request shorter than the shortest reply is answered."""
    tlvs: TlvReflectorSpec | None
    """What STAMP TLVs may ask (RFC 8972 section 4); None: they are sent back as they came."""
    dscp_ecn_monitoring: bool
    """Whether unauthenticated replies tell the request's DSCP and ECN (RFC 7750)."""
    timestamps: str
    receive_buffer: int

    def __post_init__(self) -> None:
        if not self.listen:
            raise ConfigError("listen", "at least one address is needed")
        for _, port, _ in self.listen:
            _within("listen", port, 0, 65535)
        _within("workers", self.workers, 1, 256)
        _within("max_sessions", self.max_sessions, 1, 2**24)
        _within("session_timeout_ns", self.session_timeout_ns, 1, 2**62)
        _within("rate_limit", self.rate_limit, 0, 2**32 - 1)
        _within("rate_limit_per_source", self.rate_limit_per_source, 0, 2**32 - 1)
        _within("receive_buffer", self.receive_buffer, 1, 2**30)
        if self.dscp is not None:
            _within("dscp", self.dscp, 0, 63)
        _one_of("timestamps", self.timestamps, ("kernel", "hardware", "user"))
        if self.require_authentication and not self.keys:
            raise ConfigError("require_authentication", "it is required, but there is no key")


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(name, f"{value} is not from {low} to {high}")


def _one_of(name: str, value: str, names: tuple[str, ...]) -> None:
    if value not in names:
        raise ConfigError(name, f"{value!r} is none of {', '.join(names)}")
