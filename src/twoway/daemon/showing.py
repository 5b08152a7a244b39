"""Test-sessions as views: what `show`, the metrics and scripts see of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis.clock import offset_unknown
from twoway.analysis.metrics import BY_NAME, Section, in_section
from twoway.analysis.views import CollectionView, GlanceView, MeasurementView, ResultsView
from twoway.daemon import probes
from twoway.drivers.session_plane import unpack_summary
from twoway.export import json_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twoway.daemon.session import WatchedSession
    from twoway.drivers.session_plane import Collection
    from twoway.export.fields import JsonValue

_TESTS = ("current-test", "last-test")
COLLECTIONS = (*_TESTS, "moving-average", "all-tests")
MEASUREMENTS = (
    "rtt",
    "rtt_jitter",
    "egress",
    "egress_with_offset",
    "egress_jitter",
    "ingress",
    "ingress_with_offset",
    "ingress_jitter",
)
"""Distributions of a collection, in Junos's order; hyphens for underscores make its measurement types."""
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
OWN_FAULTS = ("missed_slots", "late_departures", "clock_steps", "t1_fell_back", "t4_fell_back")
"""Counters of a collection that are this host's own faults."""
CLOCK_FACTS = (
    "local_synchronized",
    "local_error_ns",
    "far_synchronized",
    "far_error_ns",
    "one_way_error_bound_ns",
)

TLV_METRICS = (
    *in_section(Section.TLVS),
    *(BY_NAME[f"tlv_{flag}"] for flag in ("unrecognized", "malformed", "integrity_failed")),
)
"""What is told of TLVs."""
TLV_PERCENTILES = (50.0, 95.0, 99.0)


def collection_view(name: str, collection: Collection, offset: str | None) -> CollectionView:
    """One of the four collections. `offset`: why the offset between both clocks is not known now."""
    counters = collection.counters()
    one_way = collection.stateful is True
    unknown = collection.distribution("egress_with_offset").count > 0
    return CollectionView(
        collection=name,
        test=collection.test if name in _TESTS else None,
        complete=collection.complete if name in _TESTS else None,
        started_ns=collection.start_ns or 0,
        ended_ns=collection.end_ns,
        sent=counters["sent"],
        received=counters["received"],
        late=counters["late"],
        lost=counters["lost"],
        lost_egress=counters["lost_forward"] if one_way else None,
        lost_ingress=counters["lost_backward"] if one_way else None,
        lost_unattributed=counters["lost_unattributed"],
        loss_ratio=_loss_ratio(collection),
        duplicates=counters["duplicates"],
        reordered=counters["reordered"],
        not_sent=counters["not_sent"],
        bursts=counters["bursts"],
        longest_burst=counters["longest_burst"],
        own_faults={fault: counters[fault] for fault in OWN_FAULTS if counters.get(fault)},
        one_way_unknown=(offset or "the offset was not known when they were measured") if unknown else None,
        measurements=[view for kind in MEASUREMENTS if (view := measurement_view(kind, collection)) is not None],
    )


def _loss_ratio(test: Collection) -> float | None:
    """What was not back within the timeout, of what has a fate: as the metric of that name."""
    missing = test.counter("lost") + test.counter("late")
    decided = test.counter("received") + missing
    return missing / decided if decided else None


def measurement_view(kind: str, collection: Collection) -> MeasurementView | None:
    """One line of a collection, None where there is no sample."""
    values = collection.distribution(kind)
    least, greatest, mean, deviation = values.min_ns, values.max_ns, values.mean_ns, values.stddev_ns
    if least is None or greatest is None or mean is None or deviation is None:
        return None
    path, jitter, _ = kind.partition("_jitter")
    percentiles = {name: value for name, q in PERCENTILES.items() if (value := values.quantile(q)) is not None}
    return MeasurementView(
        type=kind.replace("_", "-"),
        samples=values.count,
        min_ns=least,
        max_ns=greatest,
        mean_ns=mean,
        stddev_ns=deviation,
        peak_to_peak_ns=greatest - least,
        interarrival_ns=collection.interarrival_jitter_ns(path) if jitter else None,
        percentiles=percentiles,
        relative_error=values.relative_error,
    )


def protocol_of(session: WatchedSession) -> str:
    """`stamp`, `light` or `twamp`."""
    return "twamp" if session.plan.light is None else session.plan.light.protocol


def timestamps_of(session: WatchedSession) -> str:
    """What was obtained: `kernel`, `hardware` or `user`."""
    if session.plan.light is not None:
        asked = session.plan.light.timestamps
    else:
        asked = "kernel" if session.plan.managed is None else session.plan.managed.timestamps
    return asked if session.sender is None else session.sender.obtained.get("timestamps", asked)


def source_of(session: WatchedSession) -> str | None:
    """The address that its probes leave from, None while there are none."""
    return None if session.sender is None else session.sender.local_address[0]


def clock_of(session: WatchedSession) -> Mapping[str, int | None]:
    """Both clocks, as the last second with replies saw them."""
    packed = session.last_packed
    if packed is None:
        return dict.fromkeys(CLOCK_FACTS)
    summary = unpack_summary(packed)
    return {name: summary.fact(name) for name in CLOCK_FACTS}


def told_by(session: WatchedSession) -> Mapping[str, JsonValue]:
    """What came of the TLVs that its probes ask for."""
    summary = session.summary() if session.plan.tlvs else None
    if summary is None:
        return {}
    return {metric.name: json_result.value(metric, summary, TLV_PERCENTILES) for metric in TLV_METRICS}


def results_view(session: WatchedSession) -> ResultsView:
    """Everything known of a session."""
    offset = None if session.last_packed is None else offset_unknown(unpack_summary(session.last_packed))
    collections = [
        collection_view(name, collection, offset)
        for name in COLLECTIONS
        if (collection := session.collections.collection(name)) is not None
    ]
    last = probes.rows(session.collections.last_probe(), session.last_errno)
    return ResultsView(
        connection=session.plan.connection,
        session=session.plan.name,
        target=session.plan.target,
        source=source_of(session),
        protocol=protocol_of(session),
        probe_count=session.plan.probe_count,
        verdict=session.last_verdict,
        verdict_reasons=session.last_reasons,
        alarms=session.alarms.raised,
        tests_run=session.tests_passed + session.tests_failed,
        tests_passed=session.tests_passed,
        tests_failed=session.tests_failed,
        tests_disturbed=session.tests_disturbed,
        last_probe=last[0] if last else None,
        collections=collections,
        clock=clock_of(session),
        timestamps=timestamps_of(session),
        path=None if session.plan.lane is None else session.plan.lane.path,
        forward_path=str(session.plan.forward_path),
        return_path=None if session.plan.return_path is None else str(session.plan.return_path),
        tlvs=session.plan.tlvs,
        last_test_disturbed=session.last_disturbed,
        told=told_by(session),
    )


def glance_view(session: WatchedSession) -> GlanceView:
    """The little that a table of all sessions can afford."""
    test = session.collections.collection("last-test") or session.collections.collection("current-test")
    last = probes.rows(session.collections.last_probe(), session.last_errno)
    return GlanceView(
        connection=session.plan.connection,
        session=session.plan.name,
        target=session.plan.target,
        source=source_of(session),
        protocol=protocol_of(session),
        timestamps=timestamps_of(session),
        status=session.status,
        verdict=session.last_verdict,
        alarms=session.alarms.raised,
        tests_run=session.tests_passed + session.tests_failed,
        tests_passed=session.tests_passed,
        tests_failed=session.tests_failed,
        tests_disturbed=session.tests_disturbed,
        last_status=last[0].status if last else None,
        last_rtt_ns=last[0].rtt_ns if last else None,
        sent=0 if test is None else test.counter("sent"),
        lost=0 if test is None else test.counter("lost"),
        loss_ratio=None if test is None else _loss_ratio(test),
        rtt_mean_ns=_mean(test, "rtt"),
        rtt_max_ns=None if test is None else test.distribution("rtt").max_ns,
        rtt_jitter_ns=_mean(test, "rtt_jitter"),
        egress_mean_ns=_mean(test, "egress"),
        ingress_mean_ns=_mean(test, "ingress"),
        clock=clock_of(session),
        path=None if session.plan.lane is None else session.plan.lane.path,
        tlvs=session.plan.tlvs,
        tests_forgotten=session.tests_forgotten,
    )


def _mean(test: Collection | None, kind: str) -> float | None:
    return None if test is None else test.distribution(kind).mean_ns
