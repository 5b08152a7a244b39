"""What the daemon shows of itself: plain records, which the management API publishes as they are.

Everything that `twoway show`, the metrics and a script can know comes from these; nobody asks the daemon's parts. Wall
times are ns since the epoch, delays ns; None where a value cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence  # noqa: TC003  (the API makes its models of these annotations)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twoway.analysis.notices import Notice
    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey

STATUSES = ("testing", "negotiating", "connecting", "waiting", "failed", "idle", "stopped")
"""Of control connections and test-sessions of the client; a connection is said to do the first of these that one of its
sessions does."""


@dataclass(frozen=True, slots=True)
class ControlView:
    """One control connection, of the client or of the server."""

    name: str
    """Configured name at the client, number at the server."""
    client_address: str
    client_port: int
    server_address: str
    server_port: int
    active_tests: int
    status: str
    """`idle`, `connecting`, `negotiating`, `testing`, `waiting`, `stopped` or `failed`."""
    mode: str
    """`unauthenticated`, …; `none` for light."""
    retries: int
    """Connection attempts that failed since the last success."""
    since_ns: int
    reason: str | None
    """Why it is not testing, if it is not."""


@dataclass(frozen=True, slots=True)
class TestView:
    """One test-session, of the client or of the server."""

    connection: str
    name: str
    protocol: str
    sender_address: str
    sender_port: int
    reflector_address: str
    reflector_port: int
    status: str
    packets: int
    """Sent by us, or answered by us."""
    reason: str | None

    __test__ = False  # no test class, whatever pytest thinks


@dataclass(frozen=True, slots=True)
class MeasurementView:
    """One line of a collection: what Junos calls a measurement-type."""

    type: str
    """`rtt`, `egress` and `ingress`, each with `-jitter`: the absolute difference from the probe received before;
    `egress-with-offset` and `ingress-with-offset` where the offset between both clocks is not known."""
    samples: int
    """Probes that have it, received within their timeout; of a jitter pairs of them."""
    min_ns: int
    """The least of them, exact."""
    max_ns: int
    """The greatest of them, exact."""
    mean_ns: float
    """Their mean, exact but for the rounding of a float."""
    stddev_ns: float
    """Standard deviation of all of them (not of a sample)."""
    peak_to_peak_ns: int
    """Greatest less least: what a jitter threshold that is no average is compared with."""
    interarrival_ns: int | None = None
    """Of a jitter: RFC 3550's smoothed interarrival jitter at the end of the collection."""
    percentiles: Mapping[str, int] = field(default_factory=dict)
    """`p50`, `p95`, `p99`, `p99.9` in ns."""
    relative_error: float | None = None
    """Percentiles lie within this share of the exact values: 0.003, and twice as much each time that values are too far
    apart for it."""


@dataclass(frozen=True, slots=True)
class CollectionView:
    """One of the four collections."""

    collection: str
    """`current-test`, `last-test`, `moving-average` or `all-tests`."""
    test: int | None
    """Number of the test, from 1; null of the collections that are no test."""
    complete: bool | None
    """Of a test: whether the fate of each of its probes is known. False of one that is under way, or was interrupted
    and has no verdict."""
    started_ns: int
    """Wall time of the first departure."""
    ended_ns: int | None
    """Wall time of the last departure or arrival."""
    sent: int
    """Probes that left and whose fate is known: received, late, lost, or pending when their sender was ended."""
    received: int
    """Probes whose first reply came within the timeout."""
    late: int
    """Probes whose first reply came after the timeout: in `loss_ratio`, but not in `lost`."""
    lost: int
    """Probes without a reply within twice the timeout."""
    lost_egress: int | None
    """Of those, lost before they were reflected; null where the Session-Reflector does not number its replies."""
    lost_ingress: int | None
    """Of those, reflected and lost on the way back; null like `lost_egress`."""
    lost_unattributed: int
    """Of those, lost in a direction that nothing tells."""
    loss_ratio: float | None
    """Probes not back within the timeout (lost and late) of those whose fate is known, 0 to 1."""
    duplicates: int
    """Replies to a probe that had one already."""
    reordered: int
    """Received probes that came after one sent later (RFC 4737)."""
    not_sent: int
    """Probes that never left: their moment had passed (`own_faults`), or the kernel refused them."""
    bursts: int
    """Runs of consecutively sent probes that were lost (RFC 3357)."""
    longest_burst: int
    """Probes in the longest of them."""
    own_faults: Mapping[str, int]
    """Counter of this host's own faults -> how often; what is 0 is not there."""
    one_way_unknown: str | None
    """Why egress and ingress delays, or some of them, include the offset between both clocks; null where none does."""
    measurements: Sequence[MeasurementView]
    """In nanoseconds; what has no sample is not there."""


@dataclass(frozen=True, slots=True)
class ProbeView:
    """One probe of the history."""

    sequence: int
    """Session-Sender sequence number; of one that never left that of the next that did."""
    test: int
    """Number of its test."""
    status: str
    """`response-received`; `request-timed-out` if lost or late (a late one has `received_ns`); of one that never left
    why, or `internal-error` if its moment had passed; `unknown` if its sender ended before it could know."""
    sent_ns: int | None
    """Wall time of departure; null if it never left."""
    received_ns: int | None
    """Wall time at which the reply arrived; null without one."""
    rtt_ns: int | None
    """Round trip without the time inside the reflector."""
    egress_ns: int | None
    """To the reflector; null where the offset between both clocks is not known, as is `ingress_ns`."""
    ingress_ns: int | None
    """From the reflector."""
    rtt_jitter_ns: int | None
    """Absolute difference of `rtt_ns` from that of the probe received before."""
    egress_jitter_ns: int | None
    """The same of the delay to the reflector; no offset disturbs it."""
    ingress_jitter_ns: int | None
    """The same of the delay from the reflector."""
    residence_ns: int | None
    """Time inside the reflector, by its own clock."""
    t1_source: str | None
    """Who stamped the departure: `kernel`, `hardware` or `user`."""
    t4_source: str | None
    """Who stamped the arrival of the reply."""
    disturbed: bool = False
    """This host disturbed it: it left late, its moment passed before it was sent, or the clock was stepped."""


@dataclass(frozen=True, slots=True)
class ResultsView:
    """Everything known of one test-session."""

    connection: str
    """Its control-connection: what Junos calls owner."""
    session: str
    """Its name."""
    target: str
    """As configured."""
    source: str | None
    """The address that its probes leave from; null while there are none."""
    protocol: str
    """`stamp`, `light` or `twamp`."""
    probe_count: int
    """Probes of a test; 0 of a continuous session."""
    verdict: str
    """Of the last test: `pass`, `fail`, or `unknown` before there is one."""
    verdict_reasons: Sequence[str]
    """Each threshold that it met, with both numbers."""
    alarms: Sequence[str]
    """Notices that are raised now."""
    tests_run: int
    """Tests that were completed and judged, or that could not be negotiated."""
    tests_passed: int
    """Of those, without a threshold that was met."""
    tests_failed: int
    """Of those, the others."""
    tests_disturbed: int
    """Of those, tests that this host disturbed, and which therefore raised and cleared nothing."""
    last_probe: ProbeView | None
    """The last probe sent whose fate is known."""
    collections: Sequence[CollectionView]
    """Those that there are, in Junos's order."""
    clock: Mapping[str, int | None]
    """The facts of both clocks as the last second with replies saw them: `local_synchronized`, `local_error_ns`,
    `far_synchronized`, `far_error_ns`, `one_way_error_bound_ns`."""
    timestamps: str
    """What was obtained, such as `kernel`."""
    path: str | None = None
    """Which of its test-session's paths this is, None where there is one."""
    forward_path: str = "plain"
    """The way of its probes, as `twoway ping --path` takes it."""
    return_path: str | None = None
    """The way that replies are asked to take, as `twoway ping --return-path` takes it."""
    tlvs: Sequence[str] = ()
    """STAMP TLVs that probes ask for, by their registered names."""
    last_test_disturbed: bool = False
    """Whether this host disturbed the test that the verdict is of, which then raised and cleared nothing unless
    own-faults has it judged. Of a test before a restart that is not known, and false."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What came of them since the daemon started: the metrics of the section `tlvs` of the result document (see
    `twoway schema result`), null where nothing told it, and its counters of flags. Empty where none is asked for."""


@dataclass(frozen=True, slots=True)
class GlanceView:
    """The little of one test-session that a table of all of them, or a scrape, can afford: no percentile in it."""

    connection: str
    session: str
    target: str
    source: str | None
    protocol: str
    timestamps: str
    status: str
    """As in `TestView`."""
    verdict: str
    """Of the last test: `pass`, `fail` or `unknown`."""
    alarms: Sequence[str]
    """Notices that are raised now."""
    tests_run: int
    tests_passed: int
    tests_failed: int
    tests_disturbed: int
    last_status: str | None
    """Of the last probe: a name of `analysis.notices.STATUS`; None before there is one."""
    last_rtt_ns: int | None
    """Of the last probe that was answered."""
    sent: int
    """Probes of the last test, or of the current one while there is no last."""
    lost: int
    loss_ratio: float | None
    """As in `CollectionView`."""
    rtt_mean_ns: float | None
    rtt_max_ns: int | None
    rtt_jitter_ns: float | None
    """Mean difference between neighbours."""
    egress_mean_ns: float | None
    ingress_mean_ns: float | None
    clock: Mapping[str, int | None]
    """As in `ResultsView`."""
    path: str | None = None
    """As in `ResultsView`."""
    tlvs: Sequence[str] = ()
    """As in `ResultsView`."""
    tests_forgotten: tuple[int, int, int] = (0, 0, 0)
    """Passed, failed and disturbed, before results were cleared: a counter for Prometheus has them, too."""


@dataclass(frozen=True, slots=True)
class NextHopView:
    """One next hop of a tracked route."""

    next_hop: str
    """As configured: an address, ADDRESS%INTERFACE, an interface, or `discard`."""
    sla_source: str
    """How its tests measure: `twamp`, `stamp` or `light`; empty if no test decides about it."""
    tests: Sequence[str]
    """Test-sessions that decide about it, as CONTROL-CONNECTION/TEST-SESSION."""
    require: int
    """So many of them must be good."""
    use_when: str
    """`pass`; `fail` for one that is used while they are not."""
    state: str
    """What was decided: `up`, `down`, `suppressed` (damping), `unknown` before the first result, or `untracked`."""
    used: bool
    """Whether the route is to use it."""
    active: bool
    """Whether the kernel's table has it."""
    dead: bool
    """Whether the kernel does not send there, as its link is down."""
    refused: str | None
    """Why the kernel does not take it."""
    preference: int
    weight: int
    reason: str
    """Why it is in its state."""
    changed_ns: int | None
    """When its state last changed."""
    flaps: int
    """How often it went down since the daemon started."""
    penalty: int
    """Of damping."""
    turning: str | None
    """`up` or `down` if its state is about to change, when a delay has passed."""
    turns_in_ns: int | None
    votes: Mapping[str, str]
    """Test -> what it says, in words."""


@dataclass(frozen=True, slots=True)
class RouteView:
    """One tracked route."""

    destination: str
    instance: str
    """Routing-instance, empty for the main one."""
    table: str
    """Routing table: `main`, a number, or a VRF; before it the network namespace, if that is another."""
    metric: int
    preference: int
    tag: int
    priority: int
    """The kernel's metric."""
    state: str
    """`active` if the kernel has it as decided, `inactive` if it has not and should not, `degraded` if it should have
    more than it has, or less; `dry-run` if the kernel is left alone."""
    held: bool
    dry_run: bool
    no_preempt: bool
    kernel: Sequence[str] | None
    """Next hops that the kernel's table has; null if it has no route of ours."""
    refused: str | None
    """Why the kernel does not take the route at all."""
    reason: str
    """Of the last decision."""
    changed_ns: int | None
    """When it was made."""
    changes: int
    """Decisions that changed the next hops in use, since the daemon started."""
    next_hops: Sequence[NextHopView]


@dataclass(frozen=True, slots=True)
class RoutesView:
    """What tracking routes has cost and met with, since the daemon started."""

    protocol: int
    changes: int
    """Decisions that changed the next hops in use."""
    requests: int
    """Requests to the kernel."""
    refused: int
    """Of those, refused."""
    foreign_changes: int
    overruns: int
    """Times that the kernel could not tell of all changes."""
    hook_runs: int
    hook_failures: int
    hook_dropped: int
    raised: Mapping[str, int] = field(default_factory=dict)
    """Notices about routes that are raised now, and of how many routes."""


@dataclass(frozen=True, slots=True)
class HealthView:
    """The daemon's own state."""

    version: str
    started_ns: int
    configuration: str
    configuration_loaded_ns: int
    reload_ok: bool
    reload_errors: Sequence[str]
    sessions: Mapping[str, int]
    """Status -> test-sessions."""
    own_faults: Mapping[str, int]
    """Since the start."""
    loop_lag_ns: int
    """Greatest lag of the event loop in the last minute."""
    cpu_steal_ratio: float | None
    rss_octets: int
    store: Mapping[str, int | str | bool]
    """Its state: `state`, `octets`, rows written, what was lost and why."""
    receivers: Sequence[Mapping[str, int | str]]
    """Each receiver of notices: what was sent, dropped, failed, and the last error."""
    api: Mapping[str, int] = field(default_factory=dict)
    """What the management API counts of itself; it fills this in."""
    routes: RoutesView | None = None
    """Of tracked routes; null without any."""
    alarms: int = 0
    """Test-sessions with an alarm that is raised."""


@dataclass(frozen=True, slots=True)
class RequestView:
    """What a request came to."""

    ok: bool
    message: str
    affected: Sequence[str] = ()


class Watched(Protocol):
    """The daemon as those see it who ask it. Raises `KeyError` for a name that it does not have."""

    def client_connections(self) -> Sequence[ControlView]: ...
    def client_tests(self) -> Sequence[TestView]: ...
    def server_connections(self) -> Sequence[ControlView]: ...
    def server_tests(self) -> Sequence[TestView]: ...
    def results(self, key: SessionKey) -> ResultsView: ...
    def glance(self, key: SessionKey) -> GlanceView:
        """Asked for each test-session at each scrape: it costs a few microseconds."""

    def keys(self) -> Sequence[SessionKey]: ...
    def history(
        self, key: SessionKey, since_ns: int | None = None, limit: int | None = None
    ) -> Sequence[ProbeView]: ...
    def summary(self, key: SessionKey) -> Summary:
        """Everything since the daemon started, for counters that only grow."""

    def notices(self, since_ns: int | None, limit: int) -> Sequence[Notice]: ...
    def notice_counts(self) -> Mapping[tuple[str, str], int]:
        """(name, state) -> how often."""

    def reflector_counters(self) -> Mapping[str, Mapping[str, int]]:
        """Address of each light Session-Reflector -> disposition -> packets."""

    def server_counters(self) -> Mapping[str, int]: ...
    def health(self) -> HealthView: ...
    def routes(self) -> Iterator[RouteView]:
        """The tracked routes, in the order of the configuration, each looked at when it is asked for."""

    async def hold(self, prefix: str, instance: str, next_hops: Sequence[str] | None) -> RequestView:
        """Keep a tracked route as it is, or in use with these next hops, until it is released."""

    async def release(self, prefix: str, instance: str) -> RequestView: ...
    async def start(self, connection: str | None, repeat: int | None) -> RequestView: ...
    async def stop(self, connection: str | None) -> RequestView: ...
    async def clear(self, what: str, name: str | None) -> RequestView:
        """`what`: `results`, `history`, `events` or `server-control`."""

    async def reload(self) -> RequestView: ...
