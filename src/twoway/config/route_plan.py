"""What tracked routes a configuration comes to: a part of `config.plan.Plan`. Pure.

Each part is frozen and compares by value: a reload is a difference of two plans, and next hops whose `TrackPlan` is
equal are judged together, however many routes they stand in. Times are integer nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOL = 94
"""`rtm_protocol` of our routes (rtnetlink(7)): 862 in its lower octet, and nobody's in linux/rtnetlink.h or FRR."""
MOST_ROUTES = 10_000
MOST_NEXT_HOPS = 16
"""Both as Junos's."""
MOST_METRIC = 16
MOST_PREFERENCE = 2**28 - 1
"""As far as `priority` fits into the kernel's 32 bits."""
MOST_WEIGHT = 256
MOST_WINDOW_PROBES = 100_000
"""Probes in a window: some 3 MiB for each limit."""

TestKey = tuple[str, str]
"""Control-connection and test-session, by name."""


@dataclass(frozen=True, slots=True)
class LimitPlan:
    """A value over a window that makes a test bad, and what makes it good again."""

    metric: str
    """A name of `analysis.metrics.METRICS`."""
    limit: float
    """Bad when met or exceeded: ns, ratio or packets, as the metric's unit is."""
    recover: float
    """Good again when below; at most the limit."""
    maximum: bool = False
    """Of a time: the greatest value of the window is compared, else the mean."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """What the last probes of a test-session are judged by."""

    window_ns: int
    limits: tuple[LimitPlan, ...]


@dataclass(frozen=True, slots=True)
class DampingPlan:
    """Penalties for a next hop that goes up and down (after RFC 2439): 1000 each time that it goes down."""

    half_life_ns: int
    reuse: int
    """Suppression ends when the penalty is below this."""
    suppress: int
    """Suppression begins when the penalty is above this."""
    max_suppress_ns: int
    """Longest suppression after the last time that it went down."""


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """What decides whether a next hop is used."""

    tests: tuple[TestKey, ...]
    require: int
    """So many of the tests must be good."""
    window: WindowPlan | None
    """None: each test is good or bad as its last test passed or failed."""
    up_delay_ns: int = 0
    down_delay_ns: int = 0
    damping: DampingPlan | None = None
    initial: str = "wait"
    """Before the first result: `up`, `down`, or `wait`, which leaves the kernel's table as it is."""
    inverted: bool = False
    """Used while its tests are bad."""


@dataclass(frozen=True, slots=True)
class NextHopPlan:
    """One next hop of a route."""

    name: str
    """As written, and shown: an address, `ADDRESS%INTERFACE`, an interface, or `discard`."""
    gateway: str | None
    interface: str | None
    """Both None: packets are discarded."""
    track: TrackPlan | None
    """None: it is always good."""
    preference: int = 1
    """Of the next hops that are good, those with the least are used."""
    weight: int = 1
    onlink: bool = False
    """The gateway is taken to be on the interface's link, whatever addresses that has."""

    @property
    def discards(self) -> bool:
        """Whether packets end here."""
        return self.gateway is None and self.interface is None


@dataclass(frozen=True, slots=True)
class InstancePlan:
    """Where routes are: a table of a network namespace."""

    name: str
    """Empty for where the daemon itself is."""
    netns: str | None = None
    vrf: str | None = None
    """The table is this device's."""
    table: int | None = None
    """None with no vrf: the main table."""


RouteKey = tuple[str, str]
"""Instance and prefix."""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One tracked route."""

    instance: str
    prefix: str
    """Canonical, such as `192.0.2.0/24` or `2001:db8::/32`."""
    next_hops: tuple[NextHopPlan, ...]
    metric: int = 1
    preference: int = 1
    tag: int = 0
    no_preempt: bool = False
    dry_run: bool = False

    @property
    def key(self) -> RouteKey:
        """What it is known by."""
        return (self.instance, self.prefix)

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.prefix else 4

    @property
    def priority(self) -> int:
        """The kernel's metric: see `priority_of`."""
        return priority_of(self.family, self.preference, self.metric)


@dataclass(frozen=True, slots=True)
class HookPlan:
    """A command that is run when a route changes."""

    command: tuple[str, ...]
    timeout_ns: int
    queue: int
    """Runs that may wait; more are dropped and counted."""


@dataclass(frozen=True, slots=True)
class RoutesPlan:
    """All tracked routes."""

    routes: tuple[RoutePlan, ...]
    instances: tuple[InstancePlan, ...]
    protocol: int = PROTOCOL
    withdraw_on_exit: bool = False
    restore: bool = True
    """Whether what others do to our routes is put right, else it is only reported."""
    hook: HookPlan | None = None
    traps: frozenset[str] = frozenset()
    """Names of `analysis.notices.NOTICES` that are also sent as SNMP notifications."""

    def windows(self) -> Mapping[TestKey, tuple[WindowPlan, ...]]:
        """Every test that decides about a next hop -> the windows it is judged by; none: by its tests."""
        found: dict[TestKey, dict[WindowPlan, None]] = {}
        for track in self.tracks():
            for test in track.tests:
                windows = found.setdefault(test, {})
                if track.window is not None:
                    windows[track.window] = None
        return {test: tuple(windows) for test, windows in found.items()}

    def tracks(self) -> tuple[TrackPlan, ...]:
        """Each kind of judgement once, in the order of the routes."""
        tracks = (hop.track for route in self.routes for hop in route.next_hops)
        return tuple(dict.fromkeys(track for track in tracks if track is not None))


def priority_of(family: int, preference: int, metric: int) -> int:
    """Linux's one metric, of which the least wins, from Junos's two: preference first, then metric.

    Preference 1 and metric 1, the defaults, become the least that there is: 0 for IPv4, where that is also what a route
    has of which nothing is said (ours is put before it); 1 for IPv6, where 0 stands for 1024.
    """
    return (max(preference, 1) - 1) * MOST_METRIC + (metric - 1) + (1 if family == 6 else 0)
