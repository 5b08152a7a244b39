"""Every figure of a collection against its definition, reckoned anew from the single probes that the daemon shows.

The path loses, delays, copies and reorders packets at the edges of tests, loses a whole one and brings some back late.
What the daemon says of single probes (`history-results`) is taken as given here; tests, collections and their
arithmetic are not. Which probes the forwarder harmed is known, too, by their numbers.
"""

import math
import shutil
import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from .daemon_program import DaemonProgram
from .programs import ForwarderProgram, ReflectorProgram
from .test_daemon_scenarios import forwarding, light, session
from .topology import Topology

TESTS, PROBES, MOVING = 12, 10, 25
_IMPAIRMENTS: list[dict[str, Any]] = [
    {"direction": "forward", "packets": "9-11", "action": "drop"},  # over the end of a test
    {"direction": "forward", "packets": "19", "action": "reorder", "behind": 1},  # by the next test
    {"direction": "backward", "packets": "26", "action": "drop"},  # the reply to 29, as three did not get there
    {"direction": "backward", "packets": "27-30", "action": "delay", "delay": "5ms"},
    {"direction": "forward", "packets": "40-49", "action": "drop"},  # a whole test
    {"direction": "backward", "packets": "60", "action": "duplicate", "copies": 2},
    {"direction": "forward", "packets": "70-71", "action": "delay", "delay": "300ms"},
]
LOST_EGRESS, LOST_INGRESS, LATE = {*range(9, 12), *range(40, 50)}, {29}, {70, 71}
COPIES, REORDERED = 2, 1

pytestmark = pytest.mark.skipif(shutil.which("snmptrapd") is None, reason="snmptrapd is not installed")
Probe = dict[str, Any]


def measured(values: Sequence[float]) -> dict[str, float]:
    """Least, greatest, mean, deviation of the population, and percentiles without interpolation."""
    ordered = sorted(values)
    exact = {
        "samples": len(values),
        "min_ns": ordered[0],
        "max_ns": ordered[-1],
        "peak_to_peak_ns": ordered[-1] - ordered[0],
        "mean_ns": math.fsum(values) / len(values),
        "stddev_ns": statistics.pstdev(values),
    }
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
    return exact | {name: ordered[max(0, math.ceil(share * len(values)) - 1)] for name, share in ranks.items()}


def smoothed(values: Iterable[int]) -> int:
    """RFC 3550 section 6.4.1."""
    jitter = 0.0
    for before, after in pairwise(values):
        jitter += (abs(after - before) - jitter) / 16
    return round(jitter)


def runs(numbers: Iterable[int]) -> list[int]:
    """Lengths of runs of consecutive numbers."""
    lengths: list[int] = []
    last = None
    for number in sorted(numbers):
        if last is not None and number == last + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
        last = number
    return lengths


def check_times(shown: dict[str, Any], probes: Sequence[Probe]) -> None:
    """The lines of a collection are those of its probes."""
    arrived = sorted((p for p in probes if p["status"] == "response-received"), key=lambda p: p["received_ns"])
    lines = {line["type"]: line for line in shown["measurements"]}
    one_way = "" if shown["one_way_unknown"] is None else "-with-offset"
    assert {f"egress{one_way}", f"ingress{one_way}"} <= set(lines) or not arrived
    assert len(lines) == (6 if len(arrived) > 1 else 3 if arrived else 0)
    for path in ("rtt", "egress", "ingress"):
        delays = [p[f"{path}_ns"] for p in arrived]
        if not arrived or (one_way and path != "rtt"):
            continue
        compare(lines[path], measured(delays))
        assert lines[path]["interarrival_ns"] is None
        if len(arrived) > 1:
            compare(lines[f"{path}-jitter"], measured([abs(b - a) for a, b in pairwise(delays)]))
            assert lines[f"{path}-jitter"]["interarrival_ns"] == pytest.approx(smoothed(delays), abs=1)


def compare(line: dict[str, Any], expected: dict[str, float]) -> None:
    assert 0 < line["relative_error"] < 0.1
    for name, value in expected.items():
        if name.startswith("p") and name != "peak_to_peak_ns":
            assert line["percentiles"][name] == pytest.approx(value, rel=line["relative_error"], abs=1), name
        else:
            assert line[name] == pytest.approx(value, rel=1e-9), name


def check_counts(shown: dict[str, Any], probes: Sequence[Probe]) -> None:
    """The counters of a collection are those of its probes."""

    def count(keep: Callable[[Probe], bool]) -> int:
        return sum(map(keep, probes))

    timed_out = [p for p in probes if p["status"] == "request-timed-out"]
    late = [p for p in timed_out if p["received_ns"] is not None]
    lost = [p["sequence"] for p in timed_out if p["received_ns"] is None]
    received = count(lambda p: p["status"] == "response-received")
    sent = count(lambda p: p["sent_ns"] is not None)
    counts = {
        "sent": sent,
        "received": received,
        "late": len(late),
        "lost": len(lost),
        "not_sent": len(probes) - sent,
        "bursts": len(runs(lost)),
        "longest_burst": max(runs(lost), default=0),
    }
    assert {name: shown[name] for name in counts} == counts
    assert sent == received + len(late) + len(lost)
    assert shown["loss_ratio"] == pytest.approx((len(late) + len(lost)) / sent)
    if shown["lost_egress"] is not None:
        assert shown["lost_egress"] + shown["lost_ingress"] + shown["lost_unattributed"] == len(lost)


def test_every_figure_of_every_collection_is_what_its_probes_say(topology: Topology, tmp_path: Path) -> None:
    thresholds = {"total-loss": 2, "successive-loss": 0}
    probe = session(timeout="200ms", thresholds=thresholds, history_size=TESTS * PROBES, moving_average_size=MOVING)
    with (
        ForwarderProgram(topology.middle, tmp_path, forwarding(tmp_path, _IMPAIRMENTS)),
        ReflectorProgram(topology.server, tmp_path, "--stateful"),
        DaemonProgram(topology.client, tmp_path, light({"probe": probe}, test_count=TESTS)) as daemon,
    ):
        daemon.await_tests(TESTS)
        results = daemon.results()
        (history,) = daemon.api.get("/v1/client/history-results", {"control-connection": "near"})["histories"]
        probes: list[Probe] = history["probes"]
        assert daemon.stop() == 0
    collections = {each["collection"]: each for each in results["collections"]}
    assert set(collections) == {"current-test", "last-test", "moving-average", "all-tests"}
    assert [p["test"] for p in probes] == [1 + at // PROBES for at in range(TESTS * PROBES)]
    # Packets have the numbers that the forwarder knows them by, also where this host missed the moments of some.
    by_number = {p["sequence"]: p["status"] for p in probes if p["sent_ns"] is not None}
    timed_out = {number for number, status in by_number.items() if status == "request-timed-out"}
    assert timed_out == LOST_EGRESS | LOST_INGRESS | LATE
    everything = collections["all-tests"]
    assert (everything["duplicates"], everything["reordered"]) == (COPIES, REORDERED)
    # Whoever watches is told of a loss before its direction is certain, where that takes long (decision 8).
    assert everything["lost_ingress"] == len(LOST_INGRESS)
    assert everything["lost_egress"] + everything["lost_unattributed"] == len(LOST_EGRESS)
    last = [p for p in probes if p["test"] == TESTS]
    # Of the newest probes none is lost or late: their fates became known in the order of sending.
    for name, its in (("last-test", last), ("all-tests", probes), ("moving-average", probes[-MOVING:])):
        check_counts(collections[name], its)
        check_times(collections[name], its)
    assert collections["current-test"] == {**collections["last-test"], "collection": "current-test"}
    by_test = [[p for p in probes if p["test"] == test] for test in range(1, TESTS + 1)]
    failed = sum(sum(p["status"] != "response-received" for p in test) >= 2 for test in by_test)
    assert (results["tests_run"], results["tests_failed"]) == (TESTS, failed)
