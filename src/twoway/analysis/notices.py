"""THE table of what the daemon tells: every notice by name, with its severity, trap and meaning. Pure.

syslog, SNMP notifications, events in the store, the metrics of alarms and the documents all iterate it. Names are those
of Junos's `traps` statement where it has one (spec of traps and of DISMAN-PING-MIB, RFC 4560 section 4).
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (the API makes its models of these annotations)
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple


class Severity(IntEnum):
    """RFC 5424 section 6.2.1."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class State(StrEnum):
    """A condition begins and ends; other things happen once."""

    RAISED = "raised"
    CLEARED = "cleared"
    ONCE = "once"


class Scope(StrEnum):
    """What a notice is about."""

    SESSION = "test-session"
    CONNECTION = "control-connection"
    ROUTE = "tracked route"
    DAEMON = "daemon"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    name: str
    scope: Scope
    severity: Severity
    """When it is raised or happens; what is cleared is a NOTICE."""
    meaning: str
    trap: bool = False
    """Whether Junos's `traps` statement has it."""
    lasts: bool = False
    """Whether it is a condition, which is raised and cleared, and not something that happens once."""


_T, _L = True, True
_S, _C, _R, _D = Scope.SESSION, Scope.CONNECTION, Scope.ROUTE, Scope.DAEMON
_E, _W, _N, _I = Severity.ERROR, Severity.WARNING, Severity.NOTICE, Severity.INFO

# Rows stand as a table, unformatted.
# fmt: off
NOTICES: Mapping[str, Kind] = {row.name: row for row in (
    Kind("probe-failure", _S, _W, "Probes were lost in a row, as many as successive-loss says.", _T, _L),
    Kind("test-failure", _S, _E, "A test failed: its losses reached total-loss, or it could not be negotiated.",
        _T, _L),
    Kind("test-completion", _S, _I, "A test was completed.", _T),
    Kind("rtt-exceeded", _S, _W, "Round-trip time met or exceeded its threshold.", _T, _L),
    Kind("max-rtt-exceeded", _S, _W, "The greatest round-trip time of a test met or exceeded its threshold.", _T, _L),
    Kind("jitter-exceeded", _S, _W, "Round-trip jitter met or exceeded its threshold.", _T, _L),
    Kind("std-dev-exceeded", _S, _W, "The deviation of round-trip times met or exceeded its threshold.", _T, _L),
    Kind("egress-time-exceeded", _S, _W, "Delay to the Session-Reflector met or exceeded its threshold.", _T, _L),
    Kind("egress-jitter-exceeded", _S, _W, "Jitter to the Session-Reflector met or exceeded its threshold.", _T, _L),
    Kind("egress-std-dev-exceeded", _S, _W, "Deviation of delays to the Session-Reflector met or exceeded it.", _T, _L),
    Kind("ingress-time-exceeded", _S, _W, "Delay from the Session-Reflector met or exceeded its threshold.", _T, _L),
    Kind("ingress-jitter-exceeded", _S, _W, "Jitter from the Session-Reflector met or exceeded its threshold.", _T, _L),
    Kind("ingress-std-dev-exceeded", _S, _W, "Deviation of delays from the Session-Reflector met or exceeded it.",
        _T, _L),
    Kind("test-iteration-done", _C, _I, "Every test-session of the connection completed a test.", _T),
    Kind("control-connection-closed", _C, _W, "The control connection ended, or could not be made.", _T),
    Kind("control-connection-up", _C, _N, "The control connection was made and its test-sessions run."),
    Kind("session-failed", _S, _E, "A test-session could not be started: no such name, no socket, refused.", lasts=_L),
    Kind("route-changed", _R, _N, "Other next hops of a tracked route are used from now on.", _T),
    Kind("route-unavailable", _R, _E, "No next hop of a tracked route is good: it is not in the kernel's table.",
        _T, _L),
    Kind("route-refused", _R, _E, "The kernel does not take a tracked route as it should be; it is tried again.",
        _T, _L),
    Kind("route-suppressed", _R, _W, "A next hop that flaps is kept out of use (damping).", _T, _L),
    Kind("route-foreign-change", _R, _W, "Somebody else deleted or altered a tracked route.", _T),
    Kind("route-held", _R, _N, "A tracked route is held as it is, on request.", _T, _L),
    Kind("route-hook-failed", _R, _W, "The command that is run at a change failed, or was left out.", _T),
    Kind("routes-overrun", _R, _W, "The kernel's routes change faster than they are followed; all are read again."),
    Kind("next-hop-changed", _R, _I, "Tests decided about a next hop, whether or not a route uses it."),
    Kind("own-fault", _D, _W, "This host disturbed its measurements: lateness, drops, stolen time or a stepped clock.",
        lasts=_L),
    Kind("store-degraded", _D, _E, "Results cannot be kept; measuring goes on and what is lost is counted.", lasts=_L),
    Kind("state-lost", _D, _W, "What was saved before a restart could not be read: it begins anew."),
    Kind("receiver-degraded", _D, _W, "A receiver of syslog or notifications does not take them.", lasts=_L),
    Kind("notices-suppressed", _D, _W, "Notices over the rate limit were not sent to this receiver; sent to it alone."),
    Kind("configuration-reloaded", _D, _N, "A configuration was taken over."),
    Kind("configuration-refused", _D, _E, "A configuration has errors, and changed nothing."),
    Kind("started", _D, _N, "The daemon runs."),
    Kind("stopping", _D, _N, "The daemon ends."),
)}
# fmt: on


class Condition(NamedTuple):
    """What a notice that is raised or cleared is about: it lasts from the one to the other."""

    name: str
    connection: str | None = None
    session: str | None = None
    route: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The current numbers of a test-session, for those who want them beside a notice: RFC 4560's results.

    Times are in ns; None where they cannot be known.
    """

    target: str
    """As configured."""
    address: str | None
    """The numeric address that is measured."""
    status: str
    """Of the last probe: a name of `STATUS`."""
    sent: int
    received: int
    rtt: tuple[int, int, int, int] | None
    """Least, greatest, mean, standard deviation."""
    egress: tuple[int, int, int, int] | None
    ingress: tuple[int, int, int, int] | None
    rtt_sum_of_squares_ms2: int
    last_rtt_ns: int | None
    last_good_ns: int | None
    """Wall time of the last reply."""


STATUS = {
    "response-received": 1,
    "unknown": 2,
    "internal-error": 3,
    "request-timed-out": 4,
    "unknown-destination-address": 5,
    "no-route-to-target": 6,
    "interface-inactive-to-target": 7,
    "arp-failure": 8,
    "max-concurrent-limit-reached": 9,
    "unable-to-resolve-dns-name": 10,
    "invalid-host-address": 11,
}
"""OperationResponseStatus of DISMAN-PING-MIB (RFC 4560 section 4)."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened."""

    at_ns: int
    """Wall time."""
    name: str
    """A name of `NOTICES`."""
    state: State
    message: str
    """One line for a person: what, where, how much."""
    connection: str | None = None
    session: str | None = None
    threshold_ns: int | None = None
    value_ns: int | None = None
    count: int | None = None
    """Lost probes, where it is about loss."""
    route: str | None = None
    """Prefix of the tracked route that it is about, with `@` and its routing-instance unless that is the main one."""
    next_hops: str | None = None
    """Those that are used now, or the one that it is about."""
    figures: Figures | None = None
    trap: bool = False
    """Whether its session or connection wants it sent as an SNMP notification, too."""

    @property
    def condition(self) -> Condition:
        """What it begins or ends."""
        return Condition(self.name, self.connection, self.session, self.route)

    @property
    def kind(self) -> Kind:
        """Its row of the table."""
        return NOTICES[self.name]

    @property
    def severity(self) -> Severity:
        """As sent."""
        return Severity.NOTICE if self.state is State.CLEARED else self.kind.severity
