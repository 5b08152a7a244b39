"""The statements of tracked routes: static routes that follow measured quality (Junos: `routing-options sla-tracking`).

`track` may stand in `routes`, in a route and in a next hop: each statement in it counts where it is written nearest.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from twoway.config import defaults
from twoway.config.model.network_values import DEVICE, NAMESPACE
from twoway.config.model.route_values import (
    Amount,
    Command,
    NextHopName,
    Prefix,
    Protocol,
    Ratio,
    Require,
    TestName,
)
from twoway.config.model.statements import Presence, Short, Statements
from twoway.config.model.values import NAME, Choice, Duration, Integer, ListOf, Switch
from twoway.config.route_plan import MOST_METRIC, MOST_PREFERENCE, MOST_WEIGHT, PROTOCOL

_MS = 1_000_000
_HOUR_NS = 3_600 * defaults.NANOS
_TIME = Duration(1_000, 60 * defaults.NANOS, bare="us", off=True)
_DELAY = Duration(_MS, 24 * _HOUR_NS, off=True)
_COUNT = Integer(0, 2**32)
_TESTS = ListOf(TestName(), longest=64)

ROUTE_TRAPS = (
    "route-changed",
    "route-unavailable",
    "route-refused",
    "route-suppressed",
    "route-foreign-change",
    "route-held",
    "route-hook-failed",
)


class TimeLimit(Statements):
    """A limit for a time. Alone, a value is its limit-value."""

    limit_value: Annotated[int, _TIME] = Field(default=0, examples=["80ms"])
    """What is met or exceeded over the window; 0: off. A bare number is microseconds, as in thresholds."""
    maximum: Annotated[bool, Switch()] = False
    """Compare the greatest value of the window with it, not the mean."""
    recover: Annotated[int | None, _TIME] = Field(default=None, examples=["60ms"])
    """It is good again below this; below the limit-value unless written."""


class CurrentLimit(Statements):
    """A limit for a running value. Alone, a value is its limit-value."""

    limit_value: Annotated[int, _TIME] = Field(default=0, examples=["10ms"])
    """What is met or exceeded; 0: off. A bare number is microseconds."""
    recover: Annotated[int | None, _TIME] = Field(default=None, examples=["5ms"])
    """It is good again below this; below the limit-value unless written."""


class RatioLimit(Statements):
    """A limit for a share of packets. Alone, a value is its limit-value."""

    limit_value: Annotated[float, Ratio()] = Field(default=0.0, examples=["10%"])
    """What is met or exceeded over the window; 0%: off."""
    recover: Annotated[float | None, Ratio()] = Field(default=None, examples=["5%"])
    """It is good again below this; below the limit-value unless written."""


class CountLimit(Statements):
    """A limit for a number of packets. Alone, a value is its limit-value."""

    limit_value: Annotated[int, _COUNT] = Field(default=0, examples=[5])
    """What is met or exceeded over the window; 0: off."""
    recover: Annotated[int | None, _COUNT] = Field(default=None, examples=[2])
    """It is good again below this; below the limit-value unless written."""


class AmountLimit(Statements):
    """A limit for a share or a number of packets. Alone, a value is its limit-value."""

    limit_value: Annotated[float | int, Amount()] = Field(default=0, examples=["5%"])
    """What is met or exceeded over the window; 0: off."""
    recover: Annotated[float | int | None, Amount()] = Field(default=None, examples=["2%"])
    """It is good again below this; below the limit-value unless written."""


_Time = Annotated[TimeLimit, Short("limit-value", _TIME)]
_Current = Annotated[CurrentLimit, Short("limit-value", _TIME)]
_Ratio = Annotated[RatioLimit, Short("limit-value", Ratio())]
_Count = Annotated[CountLimit, Short("limit-value", _COUNT)]
_Amount = Annotated[AmountLimit, Short("limit-value", Amount())]


def _limit(model: type[Statements], example: object) -> Any:  # noqa: ANN401  (as pydantic's own Field)
    """A limit that is off."""
    return Field(default_factory=model, examples=[example])


class Limits(Statements):
    """What makes a test bad over the window; any one of them does. The names are those of `--fail-if`."""

    loss: _Ratio = _limit(RatioLimit, "10%")
    """Probes not back within their timeout, of those whose fate is known."""
    loss_forward: _Ratio = _limit(RatioLimit, "10%")
    """Probes lost on the way to a Session-Reflector that numbers its replies."""
    loss_backward: _Ratio = _limit(RatioLimit, "10%")
    """Probes lost on the way back from one."""
    lost: _Count = _limit(CountLimit, 5)
    """Probes without any reply."""
    lost_forward: _Count = _limit(CountLimit, 5)
    """Probes lost on the way there."""
    lost_backward: _Count = _limit(CountLimit, 5)
    """Probes lost on the way back."""
    late: _Amount = _limit(AmountLimit, "5%")
    """Probes whose reply came after the timeout."""
    duplicates: _Amount = _limit(AmountLimit, "5%")
    """Replies to a probe that had one already."""
    reordered: _Amount = _limit(AmountLimit, "5%")
    """Replies that came after one to a later probe."""
    rtt: _Time = _limit(TimeLimit, "80ms")
    """Round-trip time."""
    forward: _Time = _limit(TimeLimit, "40ms")
    """Delay to the Session-Reflector; decides nothing while a clock at either end is not synchronised."""
    backward: _Time = _limit(TimeLimit, "40ms")
    """Delay from the Session-Reflector; likewise."""
    residence: _Time = _limit(TimeLimit, "5ms")
    """Time in the Session-Reflector."""
    pdv: _Time = _limit(TimeLimit, {"limit-value": "20ms", "maximum": True})
    """Round-trip time above the least of the window (RFC 5481 section 4.2)."""
    pdv_forward: _Time = _limit(TimeLimit, {"limit-value": "20ms", "maximum": True})
    """The same of the delay to the Session-Reflector; no clock matters."""
    pdv_backward: _Time = _limit(TimeLimit, {"limit-value": "20ms", "maximum": True})
    """The same of the delay from the Session-Reflector."""
    ipdv: _Time = _limit(TimeLimit, "5ms")
    """Absolute difference from the round-trip time of the probe sent before (RFC 5481 section 4.1)."""
    ipdv_forward: _Time = _limit(TimeLimit, "5ms")
    """The same of the delay to the Session-Reflector."""
    ipdv_backward: _Time = _limit(TimeLimit, "5ms")
    """The same of the delay from the Session-Reflector."""
    jitter: _Current = _limit(CurrentLimit, "5ms")
    """Smoothed jitter of round-trip time as it is now (RFC 3550 section 6.4.1)."""
    jitter_forward: _Current = _limit(CurrentLimit, "5ms")
    """The same of the delay to the Session-Reflector."""
    jitter_backward: _Current = _limit(CurrentLimit, "5ms")
    """The same of the delay from the Session-Reflector."""
    remarked_forward: _Count = _limit(CountLimit, 5)
    """Probes that came with another DSCP than they were sent with; for tests with the TLV cos, as the next."""
    remarked_backward: _Count = _limit(CountLimit, 5)
    """Replies that came with another DSCP than they were sent with."""
    direct_loss_forward: _Ratio = _limit(RatioLimit, "10%")
    """Loss on the way there by the counters of both ends; for tests with the TLV direct-measurement, as the next."""
    direct_loss_backward: _Ratio = _limit(RatioLimit, "10%")
    """Loss on the way back by the counters of both ends."""


class Damping(Statements):
    """Penalties for a next hop that flaps (after RFC 2439): each time it goes down costs 1000, and half is forgiven
    each half-life."""

    half_life: Annotated[int, Duration(defaults.NANOS, 24 * _HOUR_NS)] = 900 * defaults.NANOS
    """After so long half of the penalty is left."""
    reuse: Annotated[int, Integer(1, 20_000)] = 750
    """A suppressed next hop is used again below this."""
    suppress: Annotated[int, Integer(1, 20_000)] = 3_000
    """Above this it is not used, though its tests are good."""
    max_suppress: Annotated[int, Duration(defaults.NANOS, 24 * _HOUR_NS)] = _HOUR_NS
    """So long after it last went down it is used again in any case."""


class Track(Statements):
    """How tests decide about a next hop."""

    require: Annotated[str | int, Require()] = "all"
    """How many of the tests must be good."""
    limits: Annotated[Limits | None, Presence()] = None
    """Limits for what was measured over the window; unless written, a test is good or bad as its last one passed or
    failed by the test-session's thresholds."""
    window: Annotated[int, Duration(100 * _MS, _HOUR_NS)] = 10 * defaults.NANOS
    """The time that limits look back; a test says nothing before it has been measured for so long."""
    up_delay: Annotated[int, _DELAY] = 0
    """A next hop that was down is used again when its tests have been good for so long without a break."""
    down_delay: Annotated[int, _DELAY] = 0
    """A next hop is given up when its tests have been bad for so long without a break."""
    damping: Annotated[Damping | None, Presence(switch=True)] = None
    """Keep a flapping next hop out of use, `on` will do; none unless written."""
    initial_state: Annotated[str, Choice(("up", "down", "wait"))] = "wait"
    """Before the first result: use the next hop (up), do not (down), or leave what the kernel has as it is (wait)."""
    use_when: Annotated[str, Choice(("pass", "fail"))] = "pass"
    """fail: use the next hop while its tests are bad, as a backup route of Junos's ip-monitoring."""


class NextHop(Statements):
    """A next hop."""

    test: Annotated[tuple[str, ...], _TESTS] = Field(default=(), examples=[["isp-a/edge"]])
    """Test-sessions that decide about it, as CONTROL-CONNECTION/TEST-SESSION; those of the route unless written."""
    preference: Annotated[int, Integer(1, 255)] = 1
    """Of the next hops that are good those with the least preference are used, all of them at once."""
    weight: Annotated[int, Integer(1, MOST_WEIGHT)] = 1
    """Its share of the flows beside others."""
    onlink: Annotated[bool, Switch()] = False
    """Take the gateway to be on the link, whatever addresses the interface has."""
    track: Track = Field(default_factory=Track)
    """How its tests decide."""


class Route(Statements):
    """A tracked route: it is in the kernel's table with those of its next hops that are good, and is not if none is."""

    next_hop: dict[Annotated[str, NextHopName()], NextHop] = Field(
        default_factory=dict, examples=[{"192.0.2.1": {"test": "isp-a/edge"}}]
    )
    """Next hops, 1 to 16: an address, ADDRESS%INTERFACE, an interface, or discard."""
    test: Annotated[tuple[str, ...], _TESTS] = Field(default=(), examples=[["isp-a/edge"]])
    """Test-sessions of the next hops that name none."""
    metric: Annotated[int, Integer(1, MOST_METRIC)] = 1
    """The least wins among routes of the same preference."""
    preference: Annotated[int, Integer(0, MOST_PREFERENCE)] = 1
    """The least wins. With the default the route goes before any other to the same prefix. The kernel's metric is 16
    times (preference - 1), plus (metric - 1), and 1 more for IPv6."""
    tag: Annotated[int, Integer(0, 2**32 - 1)] = 0
    """A number that is shown with the route; Linux has no place for it."""
    no_preempt: Annotated[bool, Switch()] = False
    """Next hops in use stay alone in use as long as one of them is good, whoever recovers, until
    `twoway request routes release`."""
    dry_run: Annotated[bool, Switch()] = False
    """Decide and tell, but leave the kernel's table alone."""
    track: Track = Field(default_factory=Track)
    """How tests decide about its next hops."""


_Routes = dict[Annotated[str, Prefix()], Route]


class RoutesInstance(Statements):
    """Another table than the main one of where the daemon is."""

    vrf: Annotated[str | None, DEVICE] = Field(default=None, examples=["blue"])
    """VRF device whose table it is."""
    netns: Annotated[str | None, NAMESPACE] = Field(default=None, examples=["blue"])
    """Network namespace."""
    table: Annotated[int | None, Integer(1, 2**32 - 1)] = Field(default=None, examples=[100])
    """Number of the table, if it is not that of a VRF."""
    route: _Routes = Field(default_factory=dict)
    """Tracked routes by prefix."""


class Hook(Statements):
    """A command that is run when a route changes."""

    command: Annotated[tuple[str, ...] | None, Command()] = Field(
        default=None, examples=[["/usr/local/sbin/route-changed"]]
    )
    """Program and arguments, without a shell. What happened is in its environment: TWOWAY_EVENT (changed or
    unavailable), TWOWAY_PREFIX, TWOWAY_INSTANCE, TWOWAY_TABLE, TWOWAY_NEXT_HOPS, TWOWAY_PREVIOUS_NEXT_HOPS,
    TWOWAY_METRIC, TWOWAY_TAG, TWOWAY_REASON, TWOWAY_TIME. Must be there."""
    timeout: Annotated[int, Duration(100 * _MS, 600 * defaults.NANOS)] = 10 * defaults.NANOS
    """It is killed after this."""
    queue: Annotated[int, Integer(1, 10_000)] = 100
    """Changes that wait for it, as one runs at a time; more are dropped and counted."""


class Routes(Statements):
    """Static routes that follow measured quality."""

    protocol: Annotated[int, Protocol()] = PROTOCOL
    """Number under which the kernel's table has our routes (`ip route show proto 94`); every route with it is taken for
    ours."""
    on_exit: Annotated[str, Choice(("keep", "withdraw"))] = "keep"
    """Whether routes stay in the kernel's table when the daemon ends: the next start takes them over."""
    foreign_change: Annotated[str, Choice(("restore", "report"))] = "restore"
    """What to do when somebody else deletes or alters one of our routes."""
    dry_run: Annotated[bool, Switch()] = False
    """Decide and tell, but leave the kernel's table alone; for all routes."""
    track: Track = Field(default_factory=Track)
    """How tests decide, where neither route nor next hop says otherwise."""
    traps: Annotated[tuple[str, ...], ListOf(Choice(ROUTE_TRAPS))] = Field(default=(), examples=[["route-changed"]])
    """Notices about routes that are sent as SNMP notifications, too."""
    hook: Annotated[Hook | None, Presence()] = None
    """Command that is run when a route changes; none unless written."""
    route: _Routes = Field(default_factory=dict)
    """Tracked routes of the main table by prefix."""
    routing_instance: dict[Annotated[str, NAME], RoutesInstance] = Field(default_factory=dict)
    """Other tables by name."""
