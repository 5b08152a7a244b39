"""A daemon without packets for those who ask it: complete, deterministic, of any size; its summaries may be real."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.analysis.notices import Notice, State
from twoway.analysis.views import (
    CollectionView,
    ControlView,
    GlanceView,
    HealthView,
    MeasurementView,
    NextHopView,
    ProbeView,
    RequestView,
    ResultsView,
    RoutesView,
    RouteView,
    TestView,
)

from .measured import MS, START_NS, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey

SECOND = 1000 * MS
TYPES = ("rtt", "rtt-jitter", "egress", "egress-jitter", "ingress", "ingress-jitter")
CLOCK = {
    "local_synchronized": 1,
    "local_error_ns": 400_000,
    "far_synchronized": 1,
    "far_error_ns": 250_000,
    "one_way_error_bound_ns": 650_000,
}


def keys_of(connections: Sequence[str], sessions: Sequence[str]) -> list[SessionKey]:
    return [(connection, session) for connection in connections for session in sessions]


def next_hop_view(name: str, *, up: bool = True) -> NextHopView:
    """One that core-fra voice decides about; one that is down is about to come up."""
    return NextHopView(
        next_hop=name,
        sla_source="stamp",
        tests=("core-fra/voice",),
        require=1,
        use_when="pass",
        state="up" if up else "down",
        used=up,
        active=up,
        dead=False,
        refused=None,
        preference=1,
        weight=1,
        reason="core-fra/voice: loss 0% over 10s, limit 10%" if up else "core-fra/voice: loss 34% over 10s, limit 10%",
        changed_ns=START_NS,
        flaps=int(not up),
        penalty=0 if up else 1000,
        turning=None if up else "up",
        turns_in_ns=None if up else 12_345_678_901,
        votes={"core-fra/voice": "loss 0% over 10s, limit 10%" if up else "loss 34% over 10s, limit 10%"},
    )


def route_view(destination: str, instance: str, next_hops: Sequence[NextHopView]) -> RouteView:
    """One that the kernel has as it was decided."""
    used = [hop.next_hop for hop in next_hops if hop.used]
    return RouteView(
        destination=destination,
        instance=instance,
        table="blue" if instance else "main",
        metric=1,
        preference=1,
        tag=7,
        priority=1,
        state="active" if used else "inactive",
        held=bool(instance),
        dry_run=False,
        no_preempt=bool(instance),
        kernel=used or None,
        refused=None,
        reason=next_hops[-1].reason,
        changed_ns=START_NS,
        changes=2,
        next_hops=next_hops,
    )


@dataclass
class FakeDaemon:
    """`analysis.views.Watched`. What is asked of it is written down in `requests`."""

    sessions: list[SessionKey] = field(default_factory=lambda: keys_of(("core-fra", "core-par"), ("voice", "bulk")))
    measured: Summary = field(
        default_factory=lambda: Span(
            {"sent": 1000, "received": 990, "late": 2, "lost_forward": 5, "lost_backward": 3, "t1_kernel": 992},
            {"round_trip": [200_000 + 1000 * i for i in range(990)], "ipdv_round_trip": [-5000, 0, 0, 7000]},
            loss_bursts={1: 4, 2: 2},
        )
    )
    loss: Mapping[SessionKey, float] = field(default_factory=dict)
    requests: list[tuple[object, ...]] = field(default_factory=list)
    answer: RequestView = field(default_factory=lambda: RequestView(ok=True, message="done", affected=("core-fra",)))
    paths: Mapping[SessionKey, str] = field(default_factory=dict)
    """Of sessions that are one path of several."""
    tlvs: Sequence[str] = ()
    """What the sessions ask for in TLVs."""
    gone: set[SessionKey] = field(default_factory=set)
    """Listed by `keys`, and not there any more when asked for."""
    failure: Exception | None = None
    """Raised by `health`."""

    def __post_init__(self) -> None:
        self._numbers = {key: number for number, key in enumerate(self.sessions)}

    def _check(self, key: SessionKey) -> None:
        if key not in self._numbers or key in self.gone:
            raise KeyError(key)

    def keys(self) -> Sequence[SessionKey]:
        return list(self.sessions)

    def client_connections(self) -> Sequence[ControlView]:
        names = dict.fromkeys(connection for connection, _ in self.sessions)
        return [
            ControlView(
                name=name,
                client_address="192.0.2.1",
                client_port=50_000 + number,
                server_address=f"198.51.100.{number % 250 + 1}",
                server_port=862,
                active_tests=sum(connection == name for connection, _ in self.sessions),
                status="testing" if number == 0 else "waiting",
                mode="authenticated" if number == 0 else "none",
                retries=number,
                since_ns=START_NS,
                reason=None if number == 0 else "connection refused",
            )
            for number, name in enumerate(names)
        ]

    def client_tests(self) -> Sequence[TestView]:
        return [
            TestView(
                connection=connection,
                name=session,
                protocol="stamp",
                sender_address="192.0.2.1",
                sender_port=49_152,
                reflector_address="198.51.100.1",
                reflector_port=862,
                status="testing",
                packets=1000,
                reason=None,
            )
            for connection, session in self.sessions
        ]

    def server_connections(self) -> Sequence[ControlView]:
        return [
            ControlView("7", "2001:db8::2", 40_000, "2001:db8::1", 862, 1, "testing", "encrypted", 0, START_NS, None)
        ]

    def server_tests(self) -> Sequence[TestView]:
        return [
            TestView("7", "0a000001", "twamp", "2001:db8::2", 40_002, "2001:db8::1", 10_000, "testing", 55, None),
        ]

    def results(self, key: SessionKey) -> ResultsView:
        self._check(key)
        glance = self.glance(key)
        return ResultsView(
            connection=key[0],
            session=key[1],
            target=glance.target,
            source=glance.source,
            protocol=glance.protocol,
            probe_count=10,
            verdict=glance.verdict,
            verdict_reasons=("total-loss: 2 of 10 probes lost",) if glance.verdict == "fail" else (),
            alarms=glance.alarms,
            tests_run=12,
            tests_passed=11,
            tests_failed=1,
            tests_disturbed=0,
            last_probe=self.history(key)[-1],
            collections=[self._collection(name, key) for name in ("current-test", "last-test", "all-tests")],
            clock=CLOCK,
            timestamps="kernel",
        )

    def _collection(self, name: str, key: SessionKey) -> CollectionView:
        lost = round(10 * self.loss.get(key, 0.0))
        return CollectionView(
            collection=name,
            test=None if name == "all-tests" else 12,
            complete=None if name == "all-tests" else name == "last-test",
            started_ns=START_NS,
            ended_ns=None if name == "current-test" else START_NS + 10 * SECOND,
            sent=10,
            received=10 - lost,
            late=0,
            lost=lost,
            lost_egress=lost,
            lost_ingress=0,
            lost_unattributed=0,
            loss_ratio=lost / 10,
            duplicates=0,
            reordered=0,
            not_sent=0,
            bursts=min(lost, 1),
            longest_burst=lost,
            own_faults={},
            one_way_unknown=None,
            measurements=[
                MeasurementView(
                    type=kind,
                    samples=10 - lost,
                    min_ns=200_000,
                    max_ns=260_000,
                    mean_ns=221_500.5,
                    stddev_ns=12_000.0,
                    peak_to_peak_ns=60_000,
                    percentiles={"p50": 220_000, "p95": 255_000, "p99": 260_000, "p99.9": 260_000},
                )
                for kind in TYPES
            ],
        )

    def history(self, key: SessionKey, since_ns: int | None = None, limit: int | None = None) -> Sequence[ProbeView]:
        self._check(key)
        probes = [self._probe(number) for number in range(20)]
        probes = [probe for probe in probes if since_ns is None or (probe.sent_ns or 0) >= since_ns]
        return probes if limit is None else probes[-limit:]

    @staticmethod
    def _probe(number: int) -> ProbeView:
        lost = number == 7
        return ProbeView(
            sequence=number,
            test=number // 10 + 1,
            status="request-timed-out" if lost else "response-received",
            sent_ns=START_NS + number * SECOND,
            received_ns=None if lost else START_NS + number * SECOND + 220_000,
            rtt_ns=None if lost else 215_000 + 1000 * number,
            egress_ns=None if lost else 110_000,
            ingress_ns=None if lost else 105_000,
            rtt_jitter_ns=None if lost else 1000,
            egress_jitter_ns=None if lost else 600,
            ingress_jitter_ns=None if lost else 400,
            residence_ns=None if lost else 5000,
            t1_source="kernel",
            t4_source=None if lost else "kernel",
        )

    def glance(self, key: SessionKey) -> GlanceView:
        self._check(key)
        number, loss = self._numbers[key], self.loss.get(key, 0.0)
        return GlanceView(
            connection=key[0],
            session=key[1],
            target=f"198.51.100.{number % 250 + 1}",
            source="192.0.2.1",
            protocol="stamp",
            timestamps="kernel",
            status="testing",
            verdict="fail" if loss else "pass",
            alarms=("test-failure",) if loss else (),
            tests_run=12,
            tests_passed=11,
            tests_failed=1,
            tests_disturbed=0,
            last_status="response-received",
            last_rtt_ns=215_000 + 10_000 * number,
            sent=10,
            lost=round(10 * loss),
            loss_ratio=loss,
            rtt_mean_ns=221_500.5 + 10_000 * number,
            rtt_max_ns=260_000 + 10_000 * number,
            rtt_jitter_ns=4000.0,
            egress_mean_ns=110_000.0,
            ingress_mean_ns=105_000.0,
            clock=CLOCK,
            path=self.paths.get(key),
            tlvs=self.tlvs,
        )

    def summary(self, key: SessionKey) -> Summary:
        self._check(key)
        return self.measured

    def notices(self, since_ns: int | None, limit: int) -> Sequence[Notice]:
        raised = Notice(
            START_NS + SECOND,
            "rtt-exceeded",
            State.RAISED,
            "core-fra voice: rtt 6.100 ms met or exceeded 5.000 ms",
            connection="core-fra",
            session="voice",
            threshold_ns=5 * MS,
            value_ns=6_100_000,
        )
        every = [Notice(START_NS, "started", State.ONCE, "twoway 0.1 runs 4 test-sessions"), raised]
        return [notice for notice in every if since_ns is None or notice.at_ns >= since_ns][-limit:]

    def notice_counts(self) -> Mapping[tuple[str, str], int]:
        return {("started", "once"): 1, ("rtt-exceeded", "raised"): 1}

    def reflector_counters(self) -> Mapping[str, Mapping[str, int]]:
        packets = {"test_packet:reflected": 77, "too_short:dropped": 3}
        return {"192.0.2.1:862": {**packets, "own:sessions": 2, "own:workers_running": 4, "own:socket_drops": 5}}

    def server_counters(self) -> Mapping[str, int]:
        return {"connections_accepted": 3, "sessions_accepted": 5}

    def health(self) -> HealthView:
        if self.failure is not None:
            raise self.failure
        return HealthView(
            version="0.1.0",
            started_ns=START_NS,
            configuration="/etc/twoway/twoway.yaml",
            configuration_loaded_ns=START_NS,
            reload_ok=True,
            reload_errors=(),
            sessions={"testing": len(self.sessions)},
            own_faults={"socket_drops": 0, "missed_slots": 2},
            loop_lag_ns=1_200_000,
            cpu_steal_ratio=0.0,
            rss_octets=64 << 20,
            store={
                "state": "ok",
                "reason": "",
                "path": "/var/lib/twoway/twoway.db",
                "octets": 1 << 20,
                "disk_free_octets": 1 << 30,
                "queue_items": 0,
                "written_seconds": 3600,
                "lost_queue_full_seconds": 0,
                "retries": 0,
            },
            receivers=[
                {
                    "receiver": "syslog udp 192.0.2.9:514",
                    "state": "ok",
                    "sent": 4,
                    "queued": 0,
                    "suppressed": 0,
                    "dropped": 1,
                    "failures": 0,
                    "last_error": "",
                }
            ],
            routes=RoutesView(
                protocol=94,
                changes=3,
                requests=9,
                refused=1,
                foreign_changes=1,
                overruns=0,
                hook_runs=3,
                hook_failures=0,
                hook_dropped=0,
            ),
        )

    def routes(self) -> Iterator[RouteView]:
        yield route_view("203.0.113.0/24", "", (next_hop_view("192.0.2.1"), next_hop_view("192.0.2.2", up=False)))
        yield route_view("2001:db8::/32", "blue", (next_hop_view("fe80::1%wan0", up=False),))

    async def hold(self, prefix: str, instance: str, next_hops: Sequence[str] | None) -> RequestView:
        self.requests.append(("hold", prefix, instance, next_hops))
        return self.answer

    async def release(self, prefix: str, instance: str) -> RequestView:
        self.requests.append(("release", prefix, instance))
        return self.answer

    async def start(self, connection: str | None, repeat: int | None) -> RequestView:
        self.requests.append(("start", connection, repeat))
        return self.answer

    async def stop(self, connection: str | None) -> RequestView:
        self.requests.append(("stop", connection))
        return self.answer

    async def clear(self, what: str, name: str | None) -> RequestView:
        self.requests.append(("clear", what, name))
        return self.answer

    async def reload(self) -> RequestView:
        self.requests.append(("reload",))
        return self.answer
