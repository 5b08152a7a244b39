"""The result of one measurement, and what analysis needs to see of the packet plane's objects.

The protocols here mirror `twoway._native`, of which this layer may know nothing: the native classes satisfy them as
they are, and a test may pass plain Python objects. Times are integer nanoseconds; wall times count from the Unix epoch
(UTC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Distribution(Protocol):
    """A distribution of nanosecond values, as `twoway._native.Distribution`. Only packets with a value are in it."""

    @property
    def count(self) -> int: ...
    @property
    def min_ns(self) -> int | None: ...
    @property
    def max_ns(self) -> int | None: ...
    @property
    def mean_ns(self) -> float | None: ...
    @property
    def stddev_ns(self) -> float | None: ...
    @property
    def relative_error(self) -> float: ...
    @property
    def scale(self) -> int: ...
    @property
    def zero_count(self) -> int: ...
    def quantile(self, q: float, /) -> int | None: ...
    def buckets(self) -> list[tuple[float, float, int]]: ...


class Summary(Protocol):
    """Everything known about a span of a test-session, as `twoway._native.IntervalSummary`."""

    @property
    def start_ns(self) -> int: ...
    @property
    def end_ns(self) -> int: ...
    def counter(self, name: str, /) -> int: ...
    def distribution(self, name: str, /) -> Distribution: ...
    def fact(self, name: str, /) -> int | None: ...
    @property
    def loss_bursts(self) -> dict[int, int]: ...
    @property
    def ttls(self) -> dict[str, dict[int, int]]: ...
    @property
    def dscp_ecns(self) -> dict[str, dict[int, int]]: ...
    @property
    def location(self) -> dict[str, int | str]: ...
    @property
    def clock_steps(self) -> list[tuple[int, int]]: ...


class Event(NamedTuple):
    """Something that happened while measuring. The packet plane's tuples become events by `Event(*item)`."""

    at_ns: int
    """Wall time."""
    name: str
    """A name of `catalogue()["events"]` or of `CONTROL_EVENTS`."""
    errno: int
    """The kernel's number, 0 where it gave none."""
    detail: str = ""
    """What name and number cannot say."""


CONTROL_EVENTS = {
    "connection_lost": "nothing is sent for now",
    "reconnect_failed": "still nothing is sent",
    "reconnected": "the sessions run again",
    "results_lost": "the Server no longer has what it received before the outage",
}
"""Events of a control connection -> what a person reads."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without control connection, and so without test packets."""

    began_ns: int
    """Wall time."""
    ended_ns: int | None
    """Wall time; None if it has not ended."""
    reason: str
    """What ended the connection."""


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """What was asked of one Session-Sender, beside what it obtained."""

    protocol: str
    """`stamp` or `light` (TWAMP Light, RFC 5357 Appendix I)."""
    target: str
    """What the person asked for: a name or an address."""
    address: str
    """The numeric address that was measured."""
    port: int
    local_address: str
    local_port: int
    ssid: int
    """STAMP Session-Sender Identifier (RFC 8972 section 3), 0 for none."""
    format: str
    """A name of `catalogue()["packet_formats"]`."""
    dscp_ecn: int
    """The traffic class octet sent: DSCP in the upper six bits, ECN in the lower two."""
    ttl: int
    """TTL or hop limit sent."""
    payload_len: int
    """Octets of UDP payload in each test packet."""
    interval_ns: int
    """Time between two packets; the mean of it if `schedule` is `poisson`."""
    schedule: str
    """`periodic` or `poisson`."""
    count: int | None
    """Packets asked for, None for until stopped."""
    timeout_ns: int
    """A packet without reply after this long is late, and lost if none comes (RFC 7680's Tmax)."""
    timestamps: str
    """Timestamps asked for: `kernel`, `hardware` or `user`."""
    reflector_mode: str
    """`auto`, `stateless` or `stateful`, as asked."""
    tlvs: Sequence[str]
    """Registered names of the STAMP TLVs that were asked for."""
    reply_dscp: int | None
    """DSCP that replies were asked to bear (Class of Service); None: that of what is sent."""
    path: str
    """How packets get to the far end: `plain`, or the segments, labels or link as people write them."""
    return_path: str | None
    """The way back that the far end is asked for, as people write it; None: none."""
    obtained: Mapping[str, str]
    """Option -> what stands instead, for each option that was granted in lesser form."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished (or interrupted) measurement: the one input of every rendering."""

    session: SessionDescription
    summary: Summary
    clock: Mapping[str, int | None]
    """The local clock at the end of the measurement, as `clock_state()` gives it."""
    events: Sequence[Event]
    started_ns: int
    ended_ns: int
    interrupted: bool
    """Whether it ended before it was complete."""
    percentiles: Sequence[float]
    """Percentiles asked for, from 0 to 100, ascending. The median is always reported beside them."""
    outages: Sequence[Outage] = ()
    """When no packet was sent, because the Server was not there."""
