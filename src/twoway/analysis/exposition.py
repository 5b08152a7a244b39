"""THE table of what Prometheus can scrape: every metric family by name, with its labels, meaning and how it is read.

Theory of operation. A family belongs to one scope: the daemon, its light Session-Reflectors, a control connection, a
tracked route, or a test-session, of which there may be ten thousand. Those of test-sessions are read either from a
`GlanceView` or from the `Summary` of everything since the daemon started, whose counters only grow. The exposition
(`export.prometheus`), its documents, the dashboard's and the rules' tests all iterate this table.

Units are Prometheus' base units: seconds, octets as `bytes`, ratios from 0 to 1. A test-session is two labels,
`connection` and `session`, and one of several paths a third, `path`, though its session is named `SESSION:PATH`
already; all else about it stands in `twoway_session_info`, to be joined, so that a target that changes makes no new
series of each metric. What cannot be known has no sample.

Classic histograms have bounds that are powers of two of a nanosecond: these are boundaries of the exponential histogram
at each of its scales, so that a bucket's count is exact, and never falls when the histogram has to become coarser,
which a scraper would take for a restart. Pure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from twoway.analysis.notices import NOTICES, STATUS, State
from twoway.analysis.views import STATUSES
from twoway.tlvs import TLVS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from twoway.analysis.result import Distribution, Summary
    from twoway.analysis.views import ControlView, GlanceView, HealthView, NextHopView, RouteView, Watched

NANOS = 1_000_000_000
_ANSWERED = next(iter(STATUS))


class Type(StrEnum):
    """Of a metric family, as OpenMetrics 1.0 names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Delays:
    """A histogram of times, in seconds when exposed."""

    distribution: Distribution


@dataclass(frozen=True, slots=True)
class Tally:
    """A histogram of whole numbers: value -> how often."""

    counts: Mapping[int, int]


Value: TypeAlias = int | float | Delays | Tally
Sample: TypeAlias = "tuple[tuple[str, ...], Value]"
"""Values of the family's own labels, in order, and what is measured."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table: `name` is the family's, without `_total`, `_info` or `_bucket`."""

    name: str
    type: Type
    meaning: str
    labels: tuple[str, ...] = ()
    """Beside those of its scope."""
    bounds: tuple[float, ...] = ()
    """Upper bounds of a classic histogram, ascending, without infinity."""

    @property
    def sample_name(self) -> str:
        """What a query selects; of a histogram the native one, whose classic series add a suffix."""
        return self.name + {Type.COUNTER: "_total", Type.INFO: "_info"}.get(self.type, "")

    @property
    def unit(self) -> str:
        """The base unit that the name ends with, empty for none."""
        return next((unit for unit in ("seconds", "bytes", "ratio") if self.name.endswith(f"_{unit}")), "")

    @property
    def series_names(self) -> tuple[str, ...]:
        """All names that a query can select."""
        if self.type is not Type.HISTOGRAM:
            return (self.sample_name,)
        return (self.name, *(f"{self.name}_{suffix}" for suffix in ("bucket", "sum", "count")))


@dataclass(frozen=True, slots=True)
class DaemonFamily(Family):
    """Of the daemon as a whole."""

    read: Callable[[Watched, HealthView], Iterable[Sample]] = lambda _watched, _health: ()


@dataclass(frozen=True, slots=True)
class ConnectionFamily(Family):
    """Of each control connection of the client: label `connection`."""

    read: Callable[[ControlView], Iterable[Sample]] = lambda _view: ()


@dataclass(frozen=True, slots=True)
class RouteFamily(Family):
    """Of each tracked route: labels `prefix` and `routing_instance`."""

    read: Callable[[RouteView], Iterable[Sample]] = lambda _view: ()


@dataclass(frozen=True, slots=True)
class GlanceFamily(Family):
    """Of each test-session of the client, as it is now: labels `connection` and `session`."""

    read: Callable[[GlanceView], Iterable[Sample]] = lambda _view: ()


@dataclass(frozen=True, slots=True)
class SummaryFamily(Family):
    """Of each test-session of the client, since the daemon started: labels `connection` and `session`."""

    read: Callable[[Summary], Iterable[Sample]] = lambda _summary: ()
    asked: frozenset[str] | None = None
    """It is that of test-sessions which ask for one of these STAMP TLVs; None: of all."""

    def of(self, tlvs: Iterable[str]) -> bool:
        """Whether it is read for a test-session that asks for these TLVs."""
        return self.asked is None or not self.asked.isdisjoint(tlvs)


def _powers(first: int, last: int, step: int = 1) -> tuple[float, ...]:
    """Powers of two of a nanosecond, in seconds."""
    return tuple(2**exponent / NANOS for exponent in range(first, last + 1, step))


_DELAY_BOUNDS = _powers(12, 32)
"""4 µs to 4.3 s."""
_LATENESS_BOUNDS = _powers(12, 30, 2)
_VARIATION_BOUNDS = (*(-bound for bound in reversed(_powers(12, 28, 2))), 0.0, *_powers(12, 28, 2))
"""Of either sign, to 0.27 s."""
_BURST_BOUNDS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)

_ANY_TLV = frozenset(tlv for tlv, _ in TLVS)

_DIRECTIONS = {"roundtrip": "round_trip", "forward": "forward", "backward": "backward"}
"""Value of the label `direction` -> suffix of the packet plane's names."""


# How rows are read


def _packets(summary: Summary) -> Iterator[Sample]:
    for result in ("sent", "received", "late"):
        yield ("roundtrip", result), summary.counter(result)
    for result, counter in (("lost", "lost"), ("duplicate", "duplicates")):
        for direction in ("forward", "backward", "unattributed"):
            yield (direction, result), summary.counter(f"{counter}_{direction}")
    for direction, suffix in _DIRECTIONS.items():
        yield (direction, "reordered"), summary.counter(f"reordered_{suffix}")


def _counters(*names: str, prefix: str = "") -> Callable[[Summary], Iterator[Sample]]:
    """Counters of the packet plane whose names, without `prefix`, are the one label's values."""

    def read(summary: Summary) -> Iterator[Sample]:
        for name in names:
            yield (name.removeprefix(prefix),), summary.counter(name)

    return read


def _stamps(summary: Summary) -> Iterator[Sample]:
    for stamp in ("t1", "t4"):
        for source in ("hardware", "kernel", "user"):
            yield (stamp, source), summary.counter(f"{stamp}_{source}")


def _delays(prefix: str = "") -> Callable[[Summary], Iterator[Sample]]:
    def read(summary: Summary) -> Iterator[Sample]:
        for direction, suffix in _DIRECTIONS.items():
            distribution = summary.distribution(prefix + suffix)
            if distribution.count or direction == "roundtrip":
                yield (direction,), Delays(distribution)

    return read


def _distribution(name: str) -> Callable[[Summary], Iterator[Sample]]:
    def read(summary: Summary) -> Iterator[Sample]:
        yield (), Delays(summary.distribution(name))

    return read


def _tlv_outcomes(summary: Summary) -> Iterator[Sample]:
    for flag in ("unrecognized", "malformed", "integrity_failed"):
        yield (flag,), summary.counter(f"tlv_{flag}")
    for outcome in ("return_path_refused", "dscp_refused", "control_refused", "headers_refused", "other_node"):
        yield (outcome,), summary.counter(outcome)


def _direct(summary: Summary) -> Iterator[Sample]:
    for direction, results in (("forward", ("sent", "received")), ("backward", ("reflected", "returned"))):
        for result, counter in zip(("sent", "received"), results, strict=True):
            yield (direction, result), summary.counter(f"direct_{counter}")


def _bursts(summary: Summary) -> Iterator[Sample]:
    yield (), Tally(summary.loss_bursts)


def _only(value: float | None) -> Iterator[Sample]:
    """A sample without labels of its own, if the value is known."""
    if value is not None:
        yield (), value


def _seconds(value_ns: float | None) -> float | None:
    return None if value_ns is None else value_ns / NANOS


def _answered(view: GlanceView) -> Iterator[Sample]:
    if view.last_status is not None:
        yield (), int(view.last_status == _ANSWERED)


def _verdict(view: GlanceView) -> Iterator[Sample]:
    if view.verdict in ("pass", "fail"):
        yield (), int(view.verdict == "pass")


def _tests(view: GlanceView) -> Iterator[Sample]:
    passed, failed, _ = view.tests_forgotten
    yield ("pass",), passed + view.tests_passed
    yield ("fail",), failed + view.tests_failed


def _alarms(view: GlanceView) -> Iterator[Sample]:
    for name in view.alarms:
        yield (name,), 1


def _clock_error(view: GlanceView) -> Iterator[Sample]:
    for end in ("local", "far"):
        error_ns = view.clock.get(f"{end}_error_ns")
        if error_ns is not None:
            yield (end,), error_ns / NANOS


def _clock_synchronized(view: GlanceView) -> Iterator[Sample]:
    for end in ("local", "far"):
        synchronized = view.clock.get(f"{end}_synchronized")
        if synchronized is not None:
            yield (end,), synchronized


def _sessions(_watched: Watched, health: HealthView) -> Iterator[Sample]:
    for status in dict.fromkeys((*STATUSES, *health.sessions)):
        yield (status,), health.sessions.get(status, 0)


def _notices(watched: Watched, _health: HealthView) -> Iterator[Sample]:
    """All that there are, from 0 on: the increase to the first is none where there was no sample before."""
    counts = {
        (kind.name, state.value): 0
        for kind in NOTICES.values()
        for state in ((State.RAISED, State.CLEARED) if kind.lasts else (State.ONCE,))
    }
    yield from {**counts, **watched.notice_counts()}.items()


_OWN = "own:"
"""What a Session-Reflector counts of itself, beside the dispositions of packets."""
_REFLECTOR_STATE = ("sessions", "workers_running")
"""Of that, what is a state and no counter."""


def _reflected(watched: Watched, _health: HealthView) -> Iterator[Sample]:
    for address, counters in watched.reflector_counters().items():
        for disposition, count in counters.items():
            if not disposition.startswith(_OWN):
                reason, _, action = disposition.partition(":")
                yield (address, reason, action), count


def _reflector_events(watched: Watched, _health: HealthView) -> Iterator[Sample]:
    for address, counters in watched.reflector_counters().items():
        for name, count in counters.items():
            event = name.removeprefix(_OWN)
            if event != name and event not in _REFLECTOR_STATE:
                yield (address, event), count


def _reflector_state(name: str) -> Callable[[Watched, HealthView], Iterator[Sample]]:
    def read(watched: Watched, _health: HealthView) -> Iterator[Sample]:
        for address, counters in watched.reflector_counters().items():
            if (value := counters.get(_OWN + name)) is not None:
                yield (address,), value

    return read


def _state(state: Mapping[str, int | str | bool]) -> Iterator[Sample]:
    """Whether a part that says how it is says `ok`."""
    if state.get("state") not in (None, "off"):
        yield (), int(state["state"] == "ok")


def _number(name: str) -> Callable[[Watched, HealthView], Iterator[Sample]]:
    """A number of the store's state."""

    def read(_watched: Watched, health: HealthView) -> Iterator[Sample]:
        value = health.store.get(name)
        if isinstance(value, int):
            yield (), value

    return read


def _numbers(prefix: str, *names: str) -> Callable[[Watched, HealthView], Iterator[Sample]]:
    """Numbers of the store's state whose names begin so, and others."""

    def read(_watched: Watched, health: HealthView) -> Iterator[Sample]:
        for name, value in health.store.items():
            if isinstance(value, int) and (name in names or (prefix and name.startswith(prefix))):
                yield (name.removeprefix(prefix),), value

    return read


def _receivers_up(_watched: Watched, health: HealthView) -> Iterator[Sample]:
    for receiver in health.receivers:
        for _, up in _state(receiver):
            yield (str(receiver.get("receiver", "")),), up


def _receivers(_watched: Watched, health: HealthView) -> Iterator[Sample]:
    for receiver in health.receivers:
        for name in ("sent", "suppressed", "dropped", "failures"):
            value = receiver.get(name)
            if isinstance(value, int):
                yield (str(receiver.get("receiver", "")), name), value


def _routes(_watched: Watched, health: HealthView) -> Iterator[Sample]:
    if health.routes is not None:
        counts = asdict(health.routes)
        yield from _mapping({name: counts[name] for name in counts if name not in ("protocol", "raised")})


def _next_hops(read: Callable[[NextHopView], int | None]) -> Callable[[RouteView], Iterator[Sample]]:
    """A value of each next hop; None: it has none."""

    def samples(view: RouteView) -> Iterator[Sample]:
        for hop in view.next_hops:
            if (value := read(hop)) is not None:
                yield (hop.next_hop,), value

    return samples


def _unavailable(view: RouteView) -> bool:
    return not any(hop.used for hop in view.next_hops) and any(hop.use_when == "pass" for hop in view.next_hops)


def _up(hop: NextHopView) -> int | None:
    return None if hop.state in ("unknown", "untracked") else int(hop.state == "up")


def _mapping(counts: Mapping[str, int]) -> Iterator[Sample]:
    for name, count in counts.items():
        yield (name,), count


# The table.

# Rows stand as a table, unformatted.
# fmt: off
_C, _G, _H, _I = Type.COUNTER, Type.GAUGE, Type.HISTOGRAM, Type.INFO

DAEMON: tuple[DaemonFamily, ...] = (
    DaemonFamily("twoway_build", _I, "Version of twoway that runs.", ("version",),
        read=lambda _, health: [((health.version,), 1)]),
    DaemonFamily("twoway_start_time_seconds", _G, "When the daemon started, since the epoch.",
        read=lambda _, health: _only(health.started_ns / NANOS)),
    DaemonFamily("twoway_config_last_reload_successful", _G, "Whether the last configuration offered was taken over.",
        read=lambda _, health: _only(int(health.reload_ok))),
    DaemonFamily("twoway_config_last_reload_success_timestamp_seconds", _G,
        "When the configuration that runs was taken over, since the epoch.",
        read=lambda _, health: _only(health.configuration_loaded_ns / NANOS)),
    DaemonFamily("twoway_sessions", _G, "Test-sessions of the client.", ("status",), read=_sessions),
    DaemonFamily("twoway_own_faults", _C, "What this host did to disturb its own measurements.", ("fault",),
        read=lambda _, health: _mapping(health.own_faults)),
    DaemonFamily("twoway_event_loop_lag_seconds", _G, "Greatest lag of the event loop in the last minute.",
        read=lambda _, health: _only(health.loop_lag_ns / NANOS)),
    DaemonFamily("twoway_cpu_steal_ratio", _G, "Share of this machine's processor time that its host gave to others.",
        read=lambda _, health: _only(health.cpu_steal_ratio)),
    DaemonFamily("twoway_resident_memory_bytes", _G, "Memory of the daemon that is resident.",
        read=lambda _, health: _only(health.rss_octets)),
    DaemonFamily("twoway_notices", _C, "Notices: alarms raised and cleared, and what happened once.", ("name", "state"),
        read=_notices),
    DaemonFamily("twoway_receiver_up", _G, "Whether a receiver of syslog or notifications takes them.", ("receiver",),
        read=_receivers_up),
    DaemonFamily("twoway_receiver_notices", _C, "Notices sent, suppressed by the rate limit, dropped; and failures.",
        ("receiver", "result"), read=_receivers),
    DaemonFamily("twoway_store_up", _G, "Whether results are kept: 0 while the store is degraded.",
        read=lambda _, health: _state(health.store)),
    DaemonFamily("twoway_store_size_bytes", _G, "Size of the store on disk.", read=_number("octets")),
    DaemonFamily("twoway_store_disk_free_bytes", _G, "What is free on the store's file system.",
        read=_number("disk_free_octets")),
    DaemonFamily("twoway_store_queue", _G, "Writes that wait for the disk.", read=_number("queue_items")),
    DaemonFamily("twoway_store_written", _C, "Rows that the store wrote.", ("what",), read=_numbers("written_")),
    DaemonFamily("twoway_store_lost", _C, "What the store could not keep, by reason.", ("reason",),
        read=_numbers("lost_")),
    DaemonFamily("twoway_store_faults", _C, "Rows that could not be read, writes tried again, and files set aside.",
        ("fault",), read=_numbers("", "unreadable", "retries", "set_aside")),
    DaemonFamily("twoway_api", _C, "What the management API counts: requests, and those that it refused or cut off.",
        ("event",), read=lambda _, health: _mapping(health.api)),
    DaemonFamily("twoway_reflector_packets", _C, "Packets that light Session-Reflectors received: each counts once.",
        ("reflector", "reason", "action"), read=_reflected),
    DaemonFamily("twoway_reflector_events", _C, "What light Session-Reflectors count of themselves: their own faults.",
        ("reflector", "event"), read=_reflector_events),
    DaemonFamily("twoway_reflector_sessions", _G, "Test-sessions that stateful light Session-Reflectors remember.",
        ("reflector",), read=_reflector_state("sessions")),
    DaemonFamily("twoway_reflector_workers", _G, "Threads of light Session-Reflectors that run.", ("reflector",),
        read=_reflector_state("workers_running")),
    DaemonFamily("twoway_route_tracking", _C,
        "What tracking routes came to: changes, requests to the kernel and those that it refused, changes by others, "
        "overruns, and runs of the hook, those that failed and those that were dropped.", ("event",), read=_routes),
    DaemonFamily("twoway_server_connections", _G, "Control connections of the Server.",
        read=lambda watched, _: _only(len(watched.server_connections()))),
    DaemonFamily("twoway_server_sessions", _G, "Test-sessions of the Server.",
        read=lambda watched, _: _only(len(watched.server_tests()))),
    DaemonFamily("twoway_server_events", _C, "What the Server counts: connections, sessions, refusals, broken rules.",
        ("event",), read=lambda watched, _: _mapping(watched.server_counters())),
)

CONNECTION: tuple[ConnectionFamily, ...] = (
    ConnectionFamily("twoway_control_connection_up", _G, "Whether the control connection's test-sessions run.",
        read=lambda view: _only(int(view.status == "testing"))),
    ConnectionFamily("twoway_control_connection_sessions", _G, "Test-sessions that run on the control connection.",
        read=lambda view: _only(view.active_tests)),
    ConnectionFamily("twoway_control_connection_retries", _G,
        "Attempts to connect that failed since the last that succeeded.",
        read=lambda view: _only(view.retries)),
)

ROUTE: tuple[RouteFamily, ...] = (
    RouteFamily("twoway_route_active", _G, "Whether the kernel's table has the tracked route.",
        read=lambda view: _only(int(view.kernel is not None))),
    RouteFamily("twoway_route_unavailable", _G, "Whether no next hop is good of a route that is no mere backup.",
        read=lambda view: _only(int(_unavailable(view)))),
    RouteFamily("twoway_route_degraded", _G, "Whether the kernel's table has other next hops than was decided.",
        read=lambda view: _only(int(view.state == "degraded"))),
    RouteFamily("twoway_route_held", _G, "Whether the route is held for maintenance.",
        read=lambda view: _only(int(view.held))),
    RouteFamily("twoway_route_changes", _C, "Decisions that changed the next hops in use.",
        read=lambda view: _only(view.changes)),
    RouteFamily("twoway_route_last_change_timestamp_seconds", _G, "When the last of them was made, since the epoch.",
        read=lambda view: _only(_seconds(view.changed_ns))),
    RouteFamily("twoway_route_next_hop_up", _G, "Whether the tests of a next hop say that it may be used.",
        ("next_hop",), read=_next_hops(_up)),
    RouteFamily("twoway_route_next_hop_active", _G, "Whether the kernel's table has the next hop.", ("next_hop",),
        read=_next_hops(lambda hop: int(hop.active))),
    RouteFamily("twoway_route_next_hop_flaps", _C, "How often the next hop went down.", ("next_hop",),
        read=_next_hops(lambda hop: None if hop.state == "untracked" else hop.flaps)),
    RouteFamily("twoway_route_next_hop_penalty", _G, "Penalty of a next hop that flaps.", ("next_hop",),
        read=_next_hops(lambda hop: None if hop.state == "untracked" else hop.penalty)),
)

GLANCE: tuple[GlanceFamily, ...] = (
    GlanceFamily("twoway_session", _I, "What is measured, and how: to be joined.",
        ("protocol", "source", "target", "timestamping"),
        read=lambda view: [((view.protocol, view.source or "", view.target, view.timestamps), 1)]),
    GlanceFamily("twoway_session_up", _G, "Whether the last probe whose fate is known was answered.", read=_answered),
    GlanceFamily("twoway_test_passed", _G, "Whether the last test passed.", read=_verdict),
    GlanceFamily("twoway_tests", _C, "Tests that were completed and judged.", ("verdict",), read=_tests),
    GlanceFamily("twoway_tests_disturbed", _C, "Tests that this host disturbed, which raised and cleared nothing.",
        read=lambda view: _only(view.tests_forgotten[2] + view.tests_disturbed)),
    GlanceFamily("twoway_last_test_loss_ratio", _G, "Probes of the last test that were lost or late.",
        read=lambda view: _only(view.loss_ratio)),
    GlanceFamily("twoway_last_test_delay_seconds", _G, "Mean round-trip time of the last test.",
        read=lambda view: _only(_seconds(view.rtt_mean_ns))),
    GlanceFamily("twoway_alarms", _G, "Alarms that are raised.", read=lambda view: _only(len(view.alarms))),
    GlanceFamily("twoway_alarm_raised", _G, "1 for each alarm that is raised, by the name of its notice.", ("name",),
        read=_alarms),
    GlanceFamily("twoway_clock_error_seconds", _G, "Bound of the error of the clock at either end, as that end says.",
        ("end",), read=_clock_error),
    GlanceFamily("twoway_clock_synchronized", _G,
        "Whether the clock at either end is synchronised: without both, one-way delays include their offset.",
        ("end",), read=_clock_synchronized),
)

SUMMARY: tuple[SummaryFamily, ...] = (
    SummaryFamily("twoway_packets", _C,
        "Packets by what became of them: sent, received, late, lost, duplicate or reordered.", ("direction", "result"),
        read=_packets),
    SummaryFamily("twoway_packets_not_sent", _C, "Packets that were due and did not leave.", ("reason",),
        read=_counters("missed_slots", "send_errors")),
    SummaryFamily("twoway_packets_rejected", _C, "Datagrams that came and are no reply to a packet in flight.",
        ("reason",), read=_counters("rejected_short", "rejected_hmac", "rejected_mismatch", "rejected_unknown_sequence",
                                    "rejected_expired", "rejected_micro_session", prefix="rejected_")),
    SummaryFamily("twoway_local_drops", _C,
        "Replies that this host dropped (socket), and rows of single packets that it did not keep (samples).",
        ("where",), read=lambda summary: [(("socket",), summary.counter("socket_drops")),
                                          (("samples",), summary.counter("samples_dropped"))]),
    SummaryFamily("twoway_timestamps", _C, "Departures (t1) and arrivals (t4) of answered packets by who stamped them.",
        ("stamp", "source"), read=_stamps),
    SummaryFamily("twoway_delay_seconds", _H,
        "Delay of packets received in time; one way by both clocks, whose offset it includes.", ("direction",),
        _DELAY_BOUNDS, read=_delays()),
    SummaryFamily("twoway_delay_variation_seconds", _H,
        "Difference of a packet's delay from that of the packet sent before it (IPDV, RFC 5481 section 4.1); signed.",
        ("direction",), _VARIATION_BOUNDS, read=_delays("ipdv_")),
    SummaryFamily("twoway_loss_burst_packets", _H, "Length of runs of lost packets.", (), _BURST_BOUNDS,
        read=_bursts),
    SummaryFamily("twoway_send_lateness_seconds", _H, "Departure after the scheduled moment: this host's own fault.",
        (), _LATENESS_BOUNDS, read=_distribution("send_lateness")),
    SummaryFamily("twoway_tlv_replies", _C,
        "Replies by what came of the STAMP TLVs that were asked for, where that is not what was asked.", ("outcome",),
        read=_tlv_outcomes, asked=_ANY_TLV),
    SummaryFamily("twoway_remarked_replies", _C,
        "Replies that show that a DSCP was changed on the way (Class of Service TLV).", ("direction",),
        read=_counters("remarked_forward", "remarked_backward", prefix="remarked_"),
        asked=frozenset({"class-of-service"})),
    SummaryFamily("twoway_direct_measurement_packets", _C,
        "Test packets by the counters of both ends (Direct Measurement TLV): sent and received in each direction.",
        ("direction", "result"), read=_direct, asked=frozenset({"direct-measurement"})),
    SummaryFamily("twoway_follow_up_replies", _C,
        "Replies whose T3 is the reflector's own transmit stamp (followed_up), or is not (Follow-Up Telemetry TLV).",
        ("result",), read=_counters("followed_up", "not_followed_up"), asked=frozenset({"follow-up-telemetry"})),
    SummaryFamily("twoway_follow_up_correction_seconds", _H,
        "What Follow-Up Telemetry moved T3 by: how wrong the T3 in the replies was; signed.", (), _VARIATION_BOUNDS,
        read=_distribution("follow_up_correction"), asked=frozenset({"follow-up-telemetry"})),
    SummaryFamily("twoway_location_changes", _C,
        "Times that probes reached the reflector by another last hop, or by another mapping of a NAT (Location TLV).",
        read=lambda summary: _only(summary.counter("location_changes")), asked=frozenset({"location"})),
    SummaryFamily("twoway_access_reports", _C, "Access Reports sent, acknowledged, and given up.", ("result",),
        read=_counters("access_reports_sent", "access_reports_acknowledged", "access_reports_abandoned",
                       prefix="access_reports_"), asked=frozenset({"access-report"})),
    SummaryFamily("twoway_further_replies", _C,
        "Replies beyond the first to a probe (Reflected Test Packet Control TLV): expected, and received.", ("result",),
        read=lambda summary: [(("expected",), summary.counter("further_expected")),
                              (("received",), summary.counter("further_replies"))],
        asked=frozenset({"reflected-test-packet-control"})),
)
# fmt: on

SCOPES: Mapping[str, tuple[tuple[str, ...], tuple[Family, ...]]] = {
    "The daemon": ((), DAEMON),
    "Each control connection of the client": (("connection",), CONNECTION),
    "Each tracked route": (("prefix", "routing_instance"), ROUTE),
    "Each test-session, as it is now": (("connection", "session"), GLANCE),
    "Each test-session, since the daemon started": (("connection", "session"), SUMMARY),
}
"""Heading -> labels that all families of the scope have, and the families. Order is the order of exposition."""

FAMILIES: tuple[Family, ...] = tuple(family for _, families in SCOPES.values() for family in families)
"""The whole table."""
