"""What a path of test packets is, out and back: segments, labels, next hop. Pure.

A path out is `plain` (as the kernel routes), `srv6` (RFC 8754), `mpls` (RFC 8660) or a `link` of a LAG; a way back is
what a Session-Reflector can be asked for in a Return Path TLV (RFC 9503 section 4). `str` of each is what people write
and `config.path` reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_LABEL = (1 << 20) - 1
FIRST_LABEL = 16
"""Labels 0 to 15 are special-purpose (RFC 3032 section 2.1, RFC 7274)."""
MOST_LABELS = 30
"""As the packet plane has it: a test compares them."""
MOST_SEGMENTS = 126
"""As the packet plane has it: what a routing header holds beside the destination."""


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """How test packets get to the Session-Reflector. Raises `ConfigError`."""

    kind: str = "plain"
    """`plain`, `srv6`, `mpls`, or `link`: as plain packets, but by this member of a LAG."""
    segments: tuple[str, ...] = ()
    """IPv6 addresses of the SRv6 segments, first one first, without the target."""
    labels: tuple[int, ...] = ()
    """SR-MPLS label stack, top first."""
    gateway: str | None = None
    """Address of the router that gets the frames; None: as the kernel would route to the target."""
    interface: str | None = None
    """Interface that the frames leave by; None: the one that leads to the gateway or the target."""

    def __post_init__(self) -> None:
        if self.kind not in ("plain", "srv6", "mpls", "link"):
            raise ConfigError("path", f"{self.kind!r} is none of plain, srv6, mpls, link")
        if self.kind != "srv6" and self.segments:
            raise ConfigError("path", f"{self.kind} has no segments")
        if self.kind != "mpls" and self.labels:
            raise ConfigError("path", f"{self.kind} has no labels")
        if self.kind == "srv6":
            check_segments(self.segments, "path")
        if self.kind == "mpls":
            check_labels(self.labels, "path")
        if self.kind == "link" and self.interface is None:
            raise ConfigError("path", "a link is named by its interface")
        if self.kind in ("plain", "srv6") and (self.gateway is not None or self.interface is not None):
            raise ConfigError("path", f"the next hop of {self.kind} packets is the kernel's choice")

    @property
    def framed(self) -> bool:
        """Whether packets leave as whole frames, which needs CAP_NET_RAW."""
        return self.kind in ("mpls", "link")

    def __str__(self) -> str:
        hop = "" if self.gateway is None else f"@{self.gateway}"
        out = "" if self.interface is None else f"%{self.interface}"
        match self.kind:
            case "srv6":
                return f"srv6:{','.join(self.segments)}"
            case "mpls":
                return f"mpls:{','.join(map(str, self.labels))}{hop}{out}"
            case "link":
                return f"link:{self.interface}{hop}"
        return self.kind


PLAIN = ForwardPath()


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """How the Session-Reflector is asked to reply (RFC 9503 section 4). Raises `ConfigError`."""

    kind: str
    """`srv6`, `mpls`, `address`, `same-link` or `none` (no reply)."""
    segments: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    address: str | None = None
    """Address of ours to reply to, instead of the one that we send from."""

    def __post_init__(self) -> None:
        if self.kind not in ("srv6", "mpls", "address", "same-link", "none"):
            raise ConfigError("return_path", f"{self.kind!r} is none of srv6, mpls, address, same-link, none")
        if self.kind == "srv6":
            check_segments(self.segments, "return_path")
        elif self.segments:
            raise ConfigError("return_path", f"{self.kind} has no segments")
        if self.kind == "mpls":
            check_labels(self.labels, "return_path")
        elif self.labels:
            raise ConfigError("return_path", f"{self.kind} has no labels")
        if self.kind == "address" and self.address is None:
            raise ConfigError("return_path", "which address is missing")
        if self.kind in ("same-link", "none") and self.address is not None:
            raise ConfigError("return_path", f"{self.kind} goes with no address (RFC 9503 section 4.1.1)")

    def __str__(self) -> str:
        where = "" if self.address is None else f"@{self.address}"
        match self.kind:
            case "srv6":
                return f"srv6:{','.join(self.segments)}{where}"
            case "mpls":
                return f"mpls:{','.join(map(str, self.labels))}{where}"
            case "address":
                return f"address:{self.address}"
        return self.kind


def check_segments(segments: Sequence[str], field: str) -> None:
    """Refuse what cannot be a list of SRv6 segments, by name. Raises `ConfigError`."""
    if not segments:
        raise ConfigError(field, "srv6 needs at least one segment")
    if len(segments) > MOST_SEGMENTS:
        raise ConfigError(
            field, f"{len(segments)} segments are more than the {MOST_SEGMENTS} that a routing header holds"
        )
    for segment in segments:
        _check_segment(segment, field)


def _check_segment(segment: str, field: str) -> None:
    import ipaddress  # here, because an ordinary measurement never needs it

    try:
        address = ipaddress.IPv6Address(segment)
    except ValueError:
        what = "a label" if segment.isdigit() else "no IPv6 address"
        raise ConfigError(field, f"{segment!r} is {what}: the segments of srv6 are IPv6 addresses") from None
    local = address.is_unspecified or address.is_loopback or address.is_link_local
    if local or address.is_multicast or address.ipv4_mapped is not None or address.scope_id is not None:
        raise ConfigError(field, f"{segment} is not an address that a segment can have")


def check_labels(labels: Sequence[int], field: str) -> None:
    """Refuse what cannot be an SR-MPLS label stack, by name. Raises `ConfigError`."""
    if not labels:
        raise ConfigError(field, "mpls needs at least one label")
    if len(labels) > MOST_LABELS:
        raise ConfigError(field, f"{len(labels)} labels are more than {MOST_LABELS}")
    for label in labels:
        if not 0 <= label <= LARGEST_LABEL:
            raise ConfigError(field, f"label {label} is not from {FIRST_LABEL} to {LARGEST_LABEL}")
        if label < FIRST_LABEL:
            raise ConfigError(field, f"label {label} is reserved: 0 to 15 are special-purpose (RFC 7274)")
