"""What a real Prometheus makes of the daemon's metrics, in text (OpenMetrics) and in protobuf with native histograms.

Debian's is 2.42: it asks for OpenMetrics, and with `--enable-feature=native-histograms` for protobuf, from which it
takes the native histograms alone and no classic buckets beside them. Text 0.0.4, which it asks nobody for, is read by
`promtool check metrics` in `tests/unit/export`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.exposition import FAMILIES, Type

from .scraping import FINITE, JOB, PROBES, TESTS, eventually

if TYPE_CHECKING:
    from .scraping import Labels, Prometheus, Scraped

VOICE = 'connection="near",session="voice"'
RTT = f'twoway_delay_seconds{{{VOICE},direction="roundtrip"}}'
NATIVE_ERROR = 0.045
"""Buckets of schema 4 are 4.4 % wide, and stand 1.56 % high; a percentile lies somewhere in its bucket."""


@pytest.fixture(params=["text", "native"])
def prometheus(request: pytest.FixtureRequest, watched: Scraped) -> Prometheus:
    return watched.text if request.param == "text" else watched.native


def of_finite(found: dict[Labels, float]) -> dict[Labels, float]:
    """Series of the test-sessions about which nothing changes any more."""
    keys = {(("connection", connection), ("session", session)) for connection, session in FINITE}
    return {labels: value for labels, value in found.items() if any(set(key) <= labels for key in keys)}


def histograms() -> set[str]:
    """Families of which a native histogram is exposed."""
    return {family.name for family in FAMILIES if family.type is Type.HISTOGRAM and "seconds" in family.name}


def is_classic(name: str) -> bool:
    """Whether it is a classic series of a family that has native histograms."""
    return any(name.startswith(f"{each}_") for each in histograms())


def test_up_follows_the_daemon(watched: Scraped) -> None:
    assert watched.up_before == ([0.0], [0.0])
    for each in (watched.text, watched.native):
        assert each.values("up") == [1.0]


def test_every_series_of_a_session_has_the_value_and_the_labels_that_were_exposed(
    watched: Scraped, prometheus: Prometheus
) -> None:
    native = prometheus is watched.native
    exposed = of_finite(watched.daemon.exposed())
    expected = {labels: value for labels, value in exposed.items() if not (native and is_classic(_name(labels)))}
    found: dict[Labels, float] = {}

    def same() -> bool:
        found.clear()
        for each in prometheus.query(f'{{__name__=~"twoway_.*",job="{JOB}",session!=""}}'):
            if not (native and each.labels["__name__"] in histograms()):
                found[frozenset(each.labels.items())] = each.value
        return of_finite(found) == expected

    assert len(expected) > 300 - 200 * native
    eventually(same, lambda: str(set(of_finite(found).items()) ^ set(expected.items())))


def _name(labels: Labels) -> str:
    return dict(labels)["__name__"]


def test_native_histograms_have_the_counts_and_sums_of_the_classic_ones(watched: Scraped) -> None:
    exposed = of_finite(watched.daemon.exposed())
    counts = {labels: value for labels, value in exposed.items() if _name(labels).endswith("_count")}
    compared = 0
    for labels, count in counts.items():
        name = _name(labels).removesuffix("_count")
        if name not in histograms():
            continue
        others = [f'{label}="{text}"' for label, text in labels if label != "__name__"]
        (found,) = watched.native.query(f"{name}{{{','.join(others)}}}")
        assert found.value == count
        assert sum(bucket[2] for bucket in found.buckets) == count
        total = exposed.get(labels - {("__name__", f"{name}_count")} | {("__name__", f"{name}_sum")})
        if total is not None:  # what is signed has none in text
            assert found.sum == pytest.approx(total, rel=1e-9)
        compared += 1
    assert compared > 15


@pytest.mark.parametrize(("connection", "session"), FINITE)
def test_counters_are_those_of_the_results(
    watched: Scraped, prometheus: Prometheus, connection: str, session: str
) -> None:
    total = watched.daemon.collection(connection, session)
    which = f'connection="{connection}",session="{session}"'

    def packets(result: str) -> float:
        return prometheus.one(f'sum(twoway_packets_total{{{which},result="{result}"}})')

    eventually(lambda: packets("sent") == total["sent"], lambda: f"{packets('sent')} of {total['sent']} sent")
    assert total["sent"] + total["not_sent"] == TESTS * PROBES
    for result, name in (("received", "received"), ("late", "late"), ("lost", "lost"), ("duplicate", "duplicates")):
        assert packets(result) == total[name], result
    assert prometheus.one(f"sum(twoway_tests_total{{{which}}})") == TESTS


def test_percentiles_are_those_of_the_results(watched: Scraped, prometheus: Prometheus) -> None:
    total = watched.daemon.collection("near", "voice")
    (rtt,) = [each for each in total["measurements"] if each["type"] == "rtt"]
    for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact = rtt["percentiles"][name] / 1e9
        if prometheus is watched.native:
            found = prometheus.one(f"histogram_quantile({quantile}, {RTT})")
            assert found == pytest.approx(exact, rel=NATIVE_ERROR)
        else:
            found = prometheus.one(f"histogram_quantile({quantile}, {RTT.replace('{', '_bucket{')})")
            # Classic buckets are powers of two of a nanosecond; the least goes to 4 µs.
            upper = max(2.0 ** math.ceil(math.log2(rtt["percentiles"][name])), 4096.0) / 1e9
            assert (0 if upper <= 4096e-9 else upper / 2) <= found <= upper
    count, total_s = (
        (f"histogram_count({RTT})", f"histogram_sum({RTT})")
        if prometheus is watched.native
        else (RTT.replace("{", "_count{"), RTT.replace("{", "_sum{"))
    )
    assert prometheus.one(count) == rtt["samples"]
    if rtt["min_ns"] >= 0 or prometheus is watched.native:  # else text has no sum
        assert prometheus.one(f"{total_s} / {count}") == pytest.approx(rtt["mean_ns"] / 1e9)


def test_native_histograms_of_several_sessions_merge(watched: Scraped) -> None:
    which = 'twoway_delay_seconds{direction="roundtrip",session=~"voice|bulk"}'
    samples = [
        measured["samples"]
        for key in (("near", "voice"), ("served", "bulk"))
        for measured in watched.daemon.collection(*key)["measurements"]
        if measured["type"] == "rtt"
    ]
    assert len(samples) == 2
    assert watched.native.one(f"histogram_count(sum({which}))") == sum(samples)
    assert watched.native.one(f"histogram_fraction(-Inf, +Inf, sum({which}))") == pytest.approx(1)


def test_what_is_measured_can_be_joined(prometheus: Prometheus) -> None:
    joined = "twoway_test_passed * on (connection, session) group_left (target, protocol) twoway_session_info"
    names = ("connection", "session", "protocol", "target")
    found = {tuple(each.labels[name] for name in names): each.value for each in prometheus.query(joined)}
    assert found["near", "voice", "stamp", "127.0.0.1"] == 1
    assert found["near", "gone", "stamp", "127.0.0.1"] == 0
    assert found["served", "bulk", "twamp", "127.0.0.1"] == 1


def test_types_and_meanings_are_those_of_the_table(watched: Scraped, prometheus: Prometheus) -> None:
    """Prometheus takes note of families that have a sample."""
    exposed = {_name(labels) for labels in watched.daemon.exposed()}
    metadata = {each["metric"]: each for each in prometheus.ask("targets/metadata", match_target=f'{{job="{JOB}"}}')}
    families = [family for family in FAMILIES if exposed.intersection(family.series_names)]
    assert len(families) > len(FAMILIES) - 3
    for family in families:
        said = metadata.get(family.name) or metadata.get(family.sample_name)
        assert said is not None, family.name
        assert said["help"] == family.meaning
        assert said["type"] == family.type or (family.type is Type.INFO and said["type"] == "gauge")
