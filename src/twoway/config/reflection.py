"""What a person asks of one Session-Reflector, with the defaults in place. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from twoway.config import defaults

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ControlReflection:
    """For whom several replies are sent to one request (RFC 10052), and how much of it. They need a key as well."""

    allow: Sequence[str]
    """Networks whose requests are obeyed, as `192.0.2.0/24`; at least one."""
    max_replies: int = 16
    """Most replies to one request."""
    max_length: int = 1472
    """Most octets of UDP payload of each."""
    max_rate: int = 125_000
    """Most octets of UDP payload a second."""
    max_volume: int = 1 << 16
    """Most octets of UDP payload for one request."""


@dataclass(frozen=True, slots=True)
class TlvReflection:
    """What STAMP TLVs may ask of a Session-Reflector."""

    require_hmac: bool = False
    """Use the TLVs of an unauthenticated packet only with an HMAC TLV that verifies (RFC 8972 section 4.8)."""
    location: str = "addresses"
    """What a Location TLV is told: `all` (with the MAC address of the last hop, which takes `CAP_NET_RAW`),
    `addresses`, `ports` or `nothing`."""
    permit_dscp: Sequence[int] | None = None
    """Code points that a reply may bear because a Class of Service TLV asks for it; None: all, unless `dscp` of the
    reflector fixes one."""
    sync_source: str | None = None
    """What this host's clock follows: `ntp`, `ptp`, `ssu-bits`, `gps`, `free-running`; None: as the kernel knows."""
    return_paths: str = "authenticated"
    """Whose Return Path TLV is obeyed: `authenticated` (and whoever `return_path_allow` names) or `off`."""
    return_path_allow: Sequence[str] = ()
    """Networks whose return paths are obeyed without authentication."""
    reflect_headers: bool = False
    """Give back headers of the IP packet to TLVs that ask for them (draft-ietf-ippm-stamp-ext-hdr, experimental code
    points); takes `CAP_NET_RAW`."""
    micro_sessions: Sequence[tuple[str, int]] = ()
    """(device, Micro-session ID) of each member link of an aggregation (RFC 9534)."""
    control: ControlReflection | None = None
    """Several replies to one request; None: never."""


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
    tlvs: TlvReflection | None = TlvReflection()
    """What STAMP TLVs may ask (RFC 8972 section 4); None: send back what came."""
    dscp_ecn_monitoring: bool = False
    """Tell in unauthenticated replies which DSCP and ECN the request arrived with (RFC 7750), where STAMP has zeros."""
    timestamps: str = defaults.TIMESTAMPS
    receive_buffer: int = defaults.REFLECTOR_RECEIVE_BUFFER

    def differs_in_rules(self, other: Reflection) -> bool:
        """Whether one that runs becomes `other` by going by other keys, another allow list or other rate limits.
        Whether there are keys at all is no such thing."""
        rules = ("keys", "require_authentication", "allow", "rate_limit", "rate_limit_per_source")
        return (
            self != other
            and bool(self.keys) == bool(other.keys)
            and replace(self, **{name: getattr(other, name) for name in rules}) == other
        )


def rules_changed(old: Sequence[Reflection], new: Sequence[Reflection]) -> list[tuple[Reflection, Reflection]]:
    """Those that go on by other rules, with what they become."""
    fresh = [one for one in new if one not in old]
    pairs = []
    for before in (one for one in old if one not in new):
        after = next((one for one in fresh if before.differs_in_rules(one)), None)
        if after is not None:
            fresh.remove(after)
            pairs.append((before, after))
    return pairs
