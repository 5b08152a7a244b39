"""What is answered beside the daemon's own views: their lists, and what the API computes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003  (models are made of these annotations)
from dataclasses import dataclass
from typing import Any

from twoway.analysis.views import (
    ControlView,
    GlanceView,
    ProbeView,
    RequestView,
    ResultsView,
    RouteView,
    TestView,
)


@dataclass(frozen=True, slots=True)
class ControlInfo:
    """Control connections."""

    connections: Sequence[ControlView]


@dataclass(frozen=True, slots=True)
class TestInfo:
    """Test-sessions."""

    sessions: Sequence[TestView]

    __test__ = False  # no test class, whatever pytest thinks


@dataclass(frozen=True, slots=True)
class ProbeResults:
    """Results of test-sessions."""

    results: Sequence[ResultsView]


@dataclass(frozen=True, slots=True)
class History:
    """The probes of one test-session, the oldest first."""

    connection: str
    session: str
    target: str
    probes: Sequence[ProbeView]


@dataclass(frozen=True, slots=True)
class HistoryResults:
    """Probes of test-sessions."""

    histories: Sequence[History]


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One row of the table of all test-sessions."""

    glance: GlanceView
    recent_rtt_ns: Sequence[int | None]
    """Round-trip times of the latest probes, the oldest first; null for one that was not answered."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """A part of the table of all test-sessions."""

    total: int
    """Rows there are with this filter."""
    failing: int
    """Those of them whose last test failed."""
    alarms: int
    """Alarms raised in all of them."""
    rows: Sequence[SessionRow]


@dataclass(frozen=True, slots=True)
class EventView:
    """A notice."""

    at_ns: int
    """Wall time."""
    name: str
    severity: str
    """`error`, `warning`, `notice` or `info`."""
    state: str
    """`raised`, `cleared` or `once`."""
    message: str
    connection: str | None
    session: str | None
    threshold_ns: int | None
    value_ns: int | None
    count: int | None
    """Lost probes, where it is about loss."""
    route: str | None
    """Prefix of the tracked route that it is about, with `@` and its routing-instance unless that is the main one."""
    next_hops: str | None
    """Those that are used now, or the one that it is about."""


@dataclass(frozen=True, slots=True)
class Events:
    """Notices, the oldest first."""

    events: Sequence[EventView]


@dataclass(frozen=True, slots=True)
class Routes:
    """Tracked routes."""

    routes: Sequence[RouteView]


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that this machine may be able to do."""

    name: str
    available: bool
    seen: str
    """What trying it showed."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the daemon, in its own sandbox, can measure with."""

    features: Sequence[Feature]


@dataclass(frozen=True, slots=True)
class Window:
    """Everything measured in a window of time, merged exactly."""

    connection: str
    session: str
    start_ns: int
    """Begin of what was merged: where only minutes or hours are left, it may lie before what was asked for."""
    end_ns: int
    metrics: Mapping[str, Any]
    """The sections of the result document, with percentiles (see `twoway schema result`)."""


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A test-session that the store has heard of, configured now or not."""

    connection: str
    session: str


@dataclass(frozen=True, slots=True)
class KeptSessions:
    """Test-sessions of the store."""

    sessions: Sequence[KeptSession]


@dataclass(frozen=True, slots=True)
class Series:
    """What was measured in each step of a window; steps in which nothing was measured have no row."""

    connection: str
    session: str
    columns: Sequence[str]
    """`start_ns` and `end_ns` of the step, then metrics as `twoway export` names them."""
    rows: Sequence[Sequence[int | float | bool | str | None]]


@dataclass(frozen=True, slots=True)
class KeptProbes:
    """Single probes in the order in which their fate became known, which is that of their numbers."""

    connection: str
    session: str
    next: int
    """The number to go on with, now or later: so each probe is seen once, whatever comes or goes meanwhile."""
    more: bool
    """Whether more may be there now."""
    columns: Sequence[str]
    """`number`, which is the probe's for good, then as `twoway export` names them."""
    rows: Sequence[Sequence[int | float | bool | str | None]]


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """A notice of the store."""

    number: int
    """Grows with each notice: tells two of the same moment apart."""
    at_ns: int
    """Wall time."""
    name: str
    state: str | None
    connection: str | None
    session: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class KeptEvents:
    """Notices of the store, the oldest first."""

    events: Sequence[KeptEvent]


@dataclass(frozen=True, slots=True)
class ProblemView:
    """What is wrong, in one line (RFC 9457)."""

    title: str
    status: int
    detail: str
    affected: Sequence[str] = ()


__all__ = [
    "Capabilities",
    "ControlInfo",
    "EventView",
    "Events",
    "Feature",
    "History",
    "HistoryResults",
    "KeptEvent",
    "KeptEvents",
    "KeptProbes",
    "KeptSession",
    "KeptSessions",
    "ProbeResults",
    "ProblemView",
    "RequestView",
    "Routes",
    "Series",
    "SessionRow",
    "Sessions",
    "TestInfo",
    "Window",
]
