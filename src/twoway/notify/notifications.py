"""THE table of SNMP notifications: which notice is sent as what, with which objects, and where their values come from.

Pure: a notice in, object identifiers and values out. `snmp.py` sends them, `docs/notices.md` is generated from it.

DISMAN-PING-MIB (RFC 4560) has three notifications; what Junos has beside them, for thresholds and for control
connections, stands in JUNIPER-PING-MIB and JUNIPER-TWAMP-MIB, and is sent to receivers that ask for it. Neither has one
for the end of a condition: what is cleared is not sent, nor is a notice that has no row here.

Nobody's MIB has notifications for tracked routes, so these are our own (docs/mib/TWOWAY-ROUTE-MIB.txt), and tell the
end of a condition, too. twoway has no enterprise number: they stand under the one that is set aside for documentation
(RFC 5612), or under that of whoever runs it (`enterprise-number`).

The objects of a test-session have the instance `connection.session`: pingCtlOwnerIndex and pingCtlTestName, two strings
of at most 32 octets, each with its length before it (RFC 2578 section 7.7). Longer names are cut, with a checksum of
the whole name for an end, so that two of them stay two.

Values that a type cannot hold are held to its bounds: microseconds of a delay that the two clocks' offset makes
negative are 0. Milliseconds are rounded, but not to 0, which means that there was no reply.
"""

from __future__ import annotations

import ipaddress
import socket
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from twoway.analysis.notices import Figures, State
from twoway.config.endpoint import parse_endpoint
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twoway.analysis.notices import Notice

Oid = tuple[int, ...]
MAX_NAME = 32
"""Octets of an owner and of a test's name (RFC 4560: SnmpAdminString (SIZE(0..32)))."""
_MAX_U32 = 2**32 - 1
_NO_TIME = bytes(8)
"""DateAndTime where there is none."""


class Syntax(StrEnum):
    """Types of values (RFC 2578 section 7.1)."""

    INTEGER = "Integer32"
    UNSIGNED = "Unsigned32"
    GAUGE = "Gauge32"
    OCTETS = "OCTET STRING"


@dataclass(frozen=True, slots=True)
class Value:
    """One variable binding."""

    oid: Oid
    syntax: Syntax
    value: int | bytes


@dataclass(frozen=True, slots=True)
class Object:
    """A column, its type, and what is put into it."""

    name: str
    oid: Oid
    syntax: Syntax
    value: Callable[[Notice, Figures], int | bytes]


@dataclass(frozen=True, slots=True)
class Notification:
    """What a notice is sent as."""

    name: str
    oid: Oid
    module: str
    objects: tuple[Object, ...]
    by_session: bool = True
    """Whether the instance is that of a test-session, else of its control connection."""

    @property
    def juniper(self) -> bool:
        """Whether only receivers with `juniper` get it."""
        return self.module.startswith("JUNIPER-")

    @property
    def own(self) -> bool:
        """Whether it is of our own MIB."""
        return self.module == _TWOWAY_ROUTE


def _address(text: str) -> tuple[int, bytes]:
    """InetAddressType and InetAddress (RFC 4001) of what was written: an address, or else a name of DNS."""
    try:
        endpoint = parse_endpoint(text)
    except ConfigError:
        return 0, b""
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return 16, endpoint.host.encode(errors="replace")[:255]
    if endpoint.scope is not None:
        zone = _zone(endpoint.scope)
        return (4, address.packed + zone.to_bytes(4, "big")) if zone else (2, address.packed)
    return 1 if address.version == 4 else 2, address.packed


def _zone(scope: str) -> int:
    """Index of the interface of a link-local address; 0 if it is not known."""
    try:
        return int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    except (OSError, ValueError):
        return 0


def _u32(value: float) -> int:
    return min(max(round(value), 0), _MAX_U32)


def _microseconds(value_ns: int | None) -> int:
    return 0 if value_ns is None else _u32(value_ns / 1000)


def _milliseconds(value_ns: int | None) -> int:
    return 0 if value_ns is None else max(_u32(value_ns / 1_000_000), 1)


def _date(at_ns: int | None) -> bytes:
    """DateAndTime in UTC (RFC 2579)."""
    if at_ns is None:
        return _NO_TIME
    moment = datetime.fromtimestamp(at_ns // 10**9, UTC)
    fields = (moment.month, moment.day, moment.hour, moment.minute, moment.second, at_ns % 10**9 // 10**8)
    return moment.year.to_bytes(2, "big") + bytes(fields) + b"+\0\0"


def _status(notice: Notice, _figures: Figures) -> int:
    """pingResultsOperStatus: enabled(1) while a test runs, completed(3) at its end."""
    return 3 if notice.name in ("test-failure", "test-completion") else 1


def _of(direction: str, index: int, unit: Callable[[int | None], int]) -> Callable[[Notice, Figures], int]:
    def value(_notice: Notice, figures: Figures) -> int:
        numbers: tuple[int, int, int, int] | None = getattr(figures, direction)
        return unit(numbers and numbers[index])

    return value


def _threshold(notice: Notice, _figures: Figures) -> int:
    return _microseconds(notice.threshold_ns)


def _offending(notice: Notice, _figures: Figures) -> int:
    return _microseconds(notice.value_ns)


def _route_state(notice: Notice, _figures: Figures) -> int:
    return {State.RAISED: 1, State.CLEARED: 2, State.ONCE: 3}[notice.state]


def _octets(text: str | None) -> bytes:
    """A DisplayString or SnmpAdminString, cut where it has to be."""
    return (text or "").encode(errors="replace")[:255]


DOCUMENTATION = 32473
"""The enterprise number of examples (RFC 5612)."""
_ENTERPRISE = (1, 3, 6, 1, 4, 1, DOCUMENTATION)


def under(oid: Oid, enterprise: int) -> Oid:
    """An identifier of our own MIB under somebody's enterprise number; others as they are."""
    if oid[: len(_ENTERPRISE)] != _ENTERPRISE:
        return oid
    return (*_ENTERPRISE[:-1], enterprise, *oid[len(_ENTERPRISE) :])


_ROUTE_MIB = (*_ENTERPRISE, 862, 1)
_TWOWAY_ROUTE = "TWOWAY-ROUTE-MIB"
_PING_CTL = (1, 3, 6, 1, 2, 1, 80, 1, 2, 1)
_PING_RESULTS = (1, 3, 6, 1, 2, 1, 80, 1, 3, 1)
_JNX_PING_CTL = (1, 3, 6, 1, 4, 1, 2636, 3, 7, 1, 2, 1)
_JNX_PING_RESULTS = (1, 3, 6, 1, 4, 1, 2636, 3, 7, 1, 3, 1)
_DISMAN, _JNX_PING, _JNX_TWAMP = "DISMAN-PING-MIB", "JUNIPER-PING-MIB", "JUNIPER-TWAMP-MIB"
_I, _U, _G, _O = Syntax.INTEGER, Syntax.UNSIGNED, Syntax.GAUGE, Syntax.OCTETS

# Rows stand as tables, unformatted.
# fmt: off
_TARGET = (
    Object("pingCtlTargetAddressType", (*_PING_CTL, 3), _I, lambda _, f: _address(f.target)[0]),
    Object("pingCtlTargetAddress", (*_PING_CTL, 4), _O, lambda _, f: _address(f.target)[1]),
    Object("pingResultsOperStatus", (*_PING_RESULTS, 1), _I, _status),
    Object("pingResultsIpTargetAddressType", (*_PING_RESULTS, 2), _I, lambda _, f: _address(f.address or "")[0]),
    Object("pingResultsIpTargetAddress", (*_PING_RESULTS, 3), _O, lambda _, f: _address(f.address or "")[1]),
)
_DISMAN_RTT = (
    Object("pingResultsMinRtt", (*_PING_RESULTS, 4), _U, _of("rtt", 0, _milliseconds)),
    Object("pingResultsMaxRtt", (*_PING_RESULTS, 5), _U, _of("rtt", 1, _milliseconds)),
    Object("pingResultsAverageRtt", (*_PING_RESULTS, 6), _U, _of("rtt", 2, _milliseconds)),
)
_PROBES = (
    Object("pingResultsProbeResponses", (*_PING_RESULTS, 7), _G, lambda _, f: _u32(f.received)),
    Object("pingResultsSentProbes", (*_PING_RESULTS, 8), _G, lambda _, f: _u32(f.sent)),
)
_SQUARES = Object("pingResultsRttSumOfSquares", (*_PING_RESULTS, 9), _U, lambda _, f: _u32(f.rtt_sum_of_squares_ms2))
_LAST_GOOD = Object("pingResultsLastGoodProbe", (*_PING_RESULTS, 10), _O, lambda _, f: _date(f.last_good_ns))

_RTT = (
    Object("jnxPingResultsMinRttUs", (*_JNX_PING_RESULTS, 3), _U, _of("rtt", 0, _microseconds)),
    Object("jnxPingResultsMaxRttUs", (*_JNX_PING_RESULTS, 4), _U, _of("rtt", 1, _microseconds)),
    Object("jnxPingResultsAvgRttUs", (*_JNX_PING_RESULTS, 5), _U, _of("rtt", 2, _microseconds)),
    *_PROBES, _SQUARES, _LAST_GOOD,
)
_EGRESS = (
    Object("jnxPingResultsMinEgressUs", (*_JNX_PING_RESULTS, 8), _U, _of("egress", 0, _microseconds)),
    Object("jnxPingResultsMaxEgressUs", (*_JNX_PING_RESULTS, 9), _U, _of("egress", 1, _microseconds)),
    Object("jnxPingResultsAvgEgressUs", (*_JNX_PING_RESULTS, 10), _U, _of("egress", 2, _microseconds)),
    *_PROBES, _LAST_GOOD,
)
_INGRESS = (
    Object("jnxPingResultsMinIngressUs", (*_JNX_PING_RESULTS, 13), _U, _of("ingress", 0, _microseconds)),
    Object("jnxPingResultsMaxIngressUs", (*_JNX_PING_RESULTS, 14), _U, _of("ingress", 1, _microseconds)),
    Object("jnxPingResultsAvgIngressUs", (*_JNX_PING_RESULTS, 15), _U, _of("ingress", 2, _microseconds)),
    *_PROBES, _LAST_GOOD,
)
_EGRESS_STDDEV = Object("jnxPingResultsStddevEgressUs", (*_JNX_PING_RESULTS, 11), _U, _offending)


def _disman(name: str, number: int) -> Notification:
    objects = (*_TARGET, *_DISMAN_RTT, *_PROBES, _SQUARES, _LAST_GOOD)
    return Notification(name, (1, 3, 6, 1, 2, 1, 80, 0, number), _DISMAN, objects)


def _jnx_ping(name: str, number: int, figures: tuple[Object, ...], control: tuple[str, int],
              results: tuple[str, int]) -> Notification:
    crossed = (
        Object(control[0], (*_JNX_PING_CTL, control[1]), _U, _threshold),
        Object(results[0], (*_JNX_PING_RESULTS, results[1]), _U, _offending),
    )
    return Notification(name, (1, 3, 6, 1, 4, 1, 2636, 4, 9, 0, number), _JNX_PING, (*_TARGET, *figures, *crossed))


def _jnx_twamp(name: str, number: int) -> Notification:
    objects = (Object("jnxTwampClientCCName", (1, 3, 6, 1, 4, 1, 2636, 3, 77, 1, 1, 7, 1, 2), _O,
                      lambda notice, _: (notice.connection or "").encode(errors="replace")[:255]),)
    return Notification(name, (1, 3, 6, 1, 4, 1, 2636, 4, 27, 1, number), _JNX_TWAMP, objects, by_session=False)


_ROUTE = (
    Object("twowayRoutePrefix", (*_ROUTE_MIB, 1, 1), _O, lambda notice, _: _octets(notice.route)),
    Object("twowayRouteCondition", (*_ROUTE_MIB, 1, 2), _I, _route_state),
    Object("twowayRouteNextHops", (*_ROUTE_MIB, 1, 3), _O, lambda notice, _: _octets(notice.next_hops)),
    Object("twowayRouteReason", (*_ROUTE_MIB, 1, 4), _O, lambda notice, _: _octets(notice.message)),
)


def _own(name: str, number: int) -> Notification:
    return Notification(name, (*_ROUTE_MIB, 0, number), _TWOWAY_ROUTE, _ROUTE, by_session=False)


NOTIFICATIONS: Mapping[str, Notification] = {
    "probe-failure": _disman("pingProbeFailed", 1),
    "test-failure": _disman("pingTestFailed", 2),
    "test-completion": _disman("pingTestCompleted", 3),
    "rtt-exceeded": _jnx_ping("jnxPingRttThresholdExceeded", 1, _RTT,
        ("jnxPingCtlRttThreshold", 7), ("jnxPingResultsRttUs", 1)),
    "std-dev-exceeded": _jnx_ping("jnxPingRttStdDevThresholdExceeded", 2, _RTT,
        ("jnxPingCtlRttStdDevThreshold", 8), ("jnxPingResultsStdDevRttUs", 6)),
    "jitter-exceeded": _jnx_ping("jnxPingRttJitterThresholdExceeded", 3, _RTT,
        ("jnxPingCtlRttJitterThreshold", 9), ("jnxPingResultsJitterRttUs", 17)),
    "egress-time-exceeded": _jnx_ping("jnxPingEgressThresholdExceeded", 4, _EGRESS,
        ("jnxPingCtlEgressTimeThreshold", 10), ("jnxPingResultsEgressUs", 7)),
    # The MIB lists the deviation twice for this one, before and after the threshold.
    "egress-std-dev-exceeded": _jnx_ping("jnxPingEgressStdDevThresholdExceeded", 5, (*_EGRESS, _EGRESS_STDDEV),
        ("jnxPingCtlEgressStdDevThreshold", 11), ("jnxPingResultsStddevEgressUs", 11)),
    "egress-jitter-exceeded": _jnx_ping("jnxPingEgressJitterThresholdExceeded", 6, _EGRESS,
        ("jnxPingCtlEgressJitterThreshold", 12), ("jnxPingResultsJitterEgressUs", 18)),
    "ingress-time-exceeded": _jnx_ping("jnxPingIngressThresholdExceeded", 7, _INGRESS,
        ("jnxPingCtlIngressTimeThreshold", 13), ("jnxPingResultsIngressUs", 12)),
    "ingress-std-dev-exceeded": _jnx_ping("jnxPingIngressStddevThresholdExceeded", 8, _INGRESS,
        ("jnxPingCtlIngressStddevThreshold", 14), ("jnxPingResultsStddevIngressUs", 16)),
    "ingress-jitter-exceeded": _jnx_ping("jnxPingIngressJitterThresholdExceeded", 9, _INGRESS,
        ("jnxPingCtlIngressJitterThreshold", 15), ("jnxPingResultsJitterIngressUs", 19)),
    # The MIB has no threshold of its own for the greatest round-trip time of a test.
    "max-rtt-exceeded": _jnx_ping("jnxPingMaxRttThresholdExceeded", 10, _RTT,
        ("jnxPingCtlRttThreshold", 7), ("jnxPingResultsRttUs", 1)),
    "control-connection-closed": _jnx_twamp("jnxTwampClientControlConnectionClosed", 1),
    "test-iteration-done": _jnx_twamp("jnxTwampClientTestIterationFinished", 2),
    "route-changed": _own("twowayRouteChanged", 1),
    "route-unavailable": _own("twowayRouteUnavailable", 2),
    "route-refused": _own("twowayRouteRefused", 3),
    "route-suppressed": _own("twowayRouteSuppressed", 4),
    "route-foreign-change": _own("twowayRouteForeignChange", 5),
    "route-held": _own("twowayRouteHeld", 6),
    "route-hook-failed": _own("twowayRouteHookFailed", 7),
}
"""Name of a notice -> its notification."""
# fmt: on

_NOTHING = Figures("", None, "unknown", 0, 0, None, None, None, 0, None, None)
"""Of a test-session that has no numbers yet."""


def notification_of(notice: Notice, *, juniper: bool) -> Notification | None:
    """What it is sent as; None if it is not sent."""
    found = NOTIFICATIONS.get(notice.name)
    if not notice.trap or found is None or (found.juniper and not juniper):
        return None
    return None if notice.state is State.CLEARED and not found.own else found


def values_of(notice: Notice, notification: Notification, enterprise: int = DOCUMENTATION) -> list[Value]:
    """The variable bindings after sysUpTime and snmpTrapOID, in the order of the MIB; our own under this number."""
    instance: Oid = (0,)
    if not notification.own:
        instance = _index(notice.connection or "")
        if notification.by_session:
            instance += _index(notice.session or "")
    figures = notice.figures or _NOTHING
    return [
        Value((*under(each.oid, enterprise), *instance), each.syntax, each.value(notice, figures))
        for each in notification.objects
    ]


def _index(name: str) -> Oid:
    """A string of variable length as part of an instance (RFC 2578 section 7.7)."""
    octets = name.encode(errors="replace")
    if len(octets) > MAX_NAME:
        checksum = b"~%08x" % zlib.crc32(octets)
        octets = octets[: MAX_NAME - len(checksum)] + checksum
    return (len(octets), *octets)
