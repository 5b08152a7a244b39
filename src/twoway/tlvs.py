"""What a STAMP test-session asks for in TLVs (RFC 8972 section 4 and its successors). Pure.

Each field of `Tlvs` is a TLV; `config.tlvs` reads what people write. What is asked of the other end may be refused by
it: then the TLV comes back with a flag, which the metrics count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.errors import ConfigError

if TYPE_CHECKING:
    from twoway.path import ReturnPath

ACCESS_NETWORKS = ("3gpp", "non-3gpp")
"""Access IDs (RFC 8972 section 4.6)."""
RETURN_CODES = {"available": 1, "unavailable": 2}
"""Registered return codes (RFC 8972 section 5.6)."""
ACCESS_TIMER_NS = 3_000_000_000
"""How long an Access Report waits for its acknowledgement: the RFC's default."""
ACCESS_RETRANSMISSIONS = 4
"""How often it is sent again: the RFC's default."""
LOCATIONS = ("all", "addresses", "ports", "nothing")
"""What a Location TLV may be told."""
SYNC_SOURCES = ("ntp", "ptp", "ssu-bits", "gps", "free-running")
"""What a clock may follow, in the order of their codes from 1 (RFC 8972 section 5.4)."""
MOST_FURTHER = 1000
"""Replies to one packet that can be asked for."""


@dataclass(frozen=True, slots=True)
class AccessReport:
    """The state of an access network, told until it is acknowledged (RFC 8972 section 4.6). Raises `ConfigError`."""

    access: str
    """`3gpp` or `non-3gpp`."""
    return_code: int
    """A code of `RETURN_CODES`, or another one."""
    timer_ns: int = ACCESS_TIMER_NS
    retransmissions: int = ACCESS_RETRANSMISSIONS

    def __post_init__(self) -> None:
        if self.access not in ACCESS_NETWORKS:
            raise ConfigError("access_report", f"{self.access!r} is none of {', '.join(ACCESS_NETWORKS)}")
        _within("access_report", self.return_code, 1, 254)
        _within("access_timer_ns", self.timer_ns, 1, 2**61)
        _within("access_retransmissions", self.retransmissions, 0, 2**16)


@dataclass(frozen=True, slots=True)
class ReflectedControl:
    """How many replies to each packet, how long and how far apart (RFC 10052). Raises `ConfigError`."""

    count: int
    length: int = 0
    """Octets of UDP payload; 0: as long as they are without that."""
    interval_ns: int = 1_000_000
    layer_2_group: tuple[bytes, bytes] | None = None
    """(mask, group) of the MAC addresses that answer, each of 2, 6 or 8 octets."""
    layer_3_group: tuple[str, int] | None = None
    """(network address, prefix length) of the addresses that answer."""

    def __post_init__(self) -> None:
        _within("control", self.count, 1, MOST_FURTHER)
        _within("control", self.length, 0, 65_507)
        _within("control", self.interval_ns, 0, 2**32 - 1)
        if self.layer_2_group is not None:
            mask, group = self.layer_2_group
            if len(mask) != len(group) or len(mask) not in (2, 6, 8):
                raise ConfigError("control", "a group of MAC addresses has a mask and a group of 2, 6 or 8 octets")

    @property
    def lasts_ns(self) -> int:
        """From the first of the replies to the last."""
        return (self.count - 1) * self.interval_ns


@dataclass(frozen=True, slots=True)
class Tlvs:
    """What is asked for. Raises `ConfigError`."""

    location: bool = False
    """What the other end sees of the last hop: addresses, ports, MAC address (RFC 8972 section 4.2)."""
    timestamp_information: bool = False
    """How it takes T2 and T3, and what its clock follows (section 4.3)."""
    class_of_service: int | None = None
    """DSCP that replies are to bear; with it the DSCP and ECN that arrived come back (section 4.4)."""
    direct_measurement: bool = False
    """Counters of the test packets at both ends (section 4.5)."""
    access_report: AccessReport | None = None
    """State of an access network here (section 4.6)."""
    follow_up: bool = False
    """When the reply before really left, which then is its T3 (section 4.7)."""
    destination_node: str | None = None
    """Address of the node that is meant, where packets go to another (RFC 9503 section 3)."""
    return_path: ReturnPath | None = None
    """The way that replies are to take (RFC 9503 section 4)."""
    micro_session: tuple[int, int] | None = None
    """Member link here and there, 0 where that is not known (RFC 9534)."""
    control: ReflectedControl | None = None
    """Several replies to each packet (RFC 10052)."""
    fixed_header: bool = False
    """The packet's IP header as it arrived (draft-ietf-ippm-stamp-ext-hdr, experimental)."""
    extension_headers: tuple[int, ...] = ()
    """Octets of each IPv6 extension header that is to come back as it arrived (the same draft)."""
    hmac: bool = False
    """An HMAC over the TLVs of unauthenticated packets (section 4.8); authenticated ones always have it."""

    def __post_init__(self) -> None:
        if self.class_of_service is not None:
            _within("class_of_service", self.class_of_service, 0, 63)
        if self.micro_session is not None:
            ours, theirs = self.micro_session
            _within("micro_session", ours, 1, 0xFFFF)
            _within("micro_session", theirs, 0, 0xFFFF)
        for length in self.extension_headers:
            if not 8 <= length <= 2048 or length % 8:
                raise ConfigError("extension_headers", f"{length} octets: an extension header has 8, 16, … 2048")
        if self.control is None:
            return
        if self.return_path is not None and self.return_path.kind == "none":
            raise ConfigError("control", "it goes with no return path that asks for no reply (RFC 10052 section 4.3)")
        if self.follow_up:
            raise ConfigError("control", "it does not go with follow-up: the reply before is one of several")

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return self != NO_TLVS

    @property
    def names(self) -> tuple[str, ...]:
        """Registered names of the TLVs, in the order of their code points."""
        return tuple(name for name, field in TLVS if _asked(getattr(self, field)))


TLVS = (
    ("location", "location"),
    ("timestamp-information", "timestamp_information"),
    ("class-of-service", "class_of_service"),
    ("direct-measurement", "direct_measurement"),
    ("access-report", "access_report"),
    ("follow-up-telemetry", "follow_up"),
    ("hmac", "hmac"),
    ("destination-node-address", "destination_node"),
    ("return-path", "return_path"),
    ("micro-session-id", "micro_session"),
    ("reflected-test-packet-control", "control"),
    ("reflected-ipv6-extension-header", "extension_headers"),
    ("reflected-fixed-header", "fixed_header"),
)
"""(registered name, field of `Tlvs`) of each that can be asked for, in the order of their code points."""
NO_TLVS = Tlvs()


def _asked(value: object) -> bool:
    """Whether a field of `Tlvs` asks for something: code point 0 does."""
    return value is not None and value is not False and value != ()


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(name, f"{value} is not from {low} to {high}")
