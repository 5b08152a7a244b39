"""The protobuf exposition, decoded by other code: what it says is what the text says, and its native histograms hold
every value within the error that is promised.
"""

from __future__ import annotations

import math

import pytest

from twoway import _native
from twoway.analysis.exposition import FAMILIES, Type
from twoway.export.prometheus import Exposition, expose
from twoway.export.prometheus_buckets import ZERO_THRESHOLD, native
from twoway.export.prometheus_protobuf import varint, zigzag
from twoway.tlvs import TLVS

from ..measured import Span
from ..watched import FakeDaemon
from .decoding import COUNTER, GAUGE, HISTOGRAM, DecodedFamily, DecodedHistogram, families
from .test_prometheus import NativeSpan, asked, series, text_of


def decoded(daemon: FakeDaemon) -> list[DecodedFamily]:
    return families(b"".join(expose(daemon, Exposition.PROTOBUF, asked(daemon))))


def histogram_of(values: list[int]) -> DecodedHistogram:
    found = decoded(FakeDaemon([("a", "b")], NativeSpan({}, {"round_trip": values})))
    (family,) = [each for each in found if each.name == "twoway_delay_seconds"]
    (metric,) = family.metrics
    assert isinstance(metric.value, DecodedHistogram)
    return metric.value


@pytest.mark.parametrize(
    ("value", "octets"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ffffffffffffffffff01")],
)
def test_varints(value: int, octets: str) -> None:
    assert varint(value).hex() == octets


@pytest.mark.parametrize(
    ("value", "octets"),
    [(0, "00"), (-1, "01"), (1, "02"), (-2, "03"), (2**31 - 1, "feffffff0f"), (-(2**31), "ffffffff0f")],
)
def test_zigzag(value: int, octets: str) -> None:
    assert zigzag(value).hex() == octets


def test_it_says_what_the_text_says() -> None:
    daemon = FakeDaemon(loss={("core-fra", "bulk"): 0.2}, tlvs=[name for name, _ in TLVS])
    text = series(text_of(daemon))
    types = {Type.COUNTER: COUNTER, Type.GAUGE: GAUGE, Type.INFO: GAUGE, Type.HISTOGRAM: HISTOGRAM}
    found = decoded(daemon)
    assert [(each.name, each.meaning, each.type) for each in found] == [
        (each.sample_name, each.meaning, types[each.type]) for each in FAMILIES
    ]
    said = {}
    for family in found:
        for metric in family.metrics:
            labels = frozenset(metric.labels.items())
            value = metric.value
            if not isinstance(value, DecodedHistogram):
                said[family.name, labels] = value
                continue
            buckets = {repr(bound): count for bound, count in value.classic.items()} | {"+Inf": value.count}
            said |= {(f"{family.name}_bucket", labels | {("le", bound)}): n for bound, n in buckets.items()}
            said[f"{family.name}_count", labels] = value.count
            if (f"{family.name}_sum", labels) in text:
                said[f"{family.name}_sum", labels] = value.sum
    assert said == text


@pytest.mark.parametrize(
    "values",
    [
        [200_000 + 1009 * n for n in range(990)],
        [1],
        [0, 0, 5],
        [-9_000, -9_001, -70_000_000, 0, 3, 4_096, 10**9],
        [1 << n for n in range(62)],
        [7, 9 * 10**18],
    ],
    ids=["narrow", "one", "zeros", "both-signs", "octaves", "widest"],
)
def test_native_buckets_hold_each_value_within_the_error_that_is_promised(values: list[int]) -> None:
    histogram = histogram_of(values)
    scale = _native.Distribution.of(values).scale
    assert histogram.schema == min(scale, 5)
    assert histogram.zero_threshold == ZERO_THRESHOLD
    assert histogram.zero_count == values.count(0)
    assert histogram.count == len(values)
    assert histogram.count == histogram.zero_count + sum([*histogram.positive.values(), *histogram.negative.values()])
    assert histogram.sum == pytest.approx(sum(values) / 1e9, rel=1e-6)
    assert 0 not in (*histogram.positive.values(), *histogram.negative.values())
    base = 2**2**-histogram.schema
    shifted = 0.93 if histogram.schema == 2 else 1.016
    for sign, buckets in ((1, histogram.positive), (-1, histogram.negative)):
        # Values in their order stand in the buckets in theirs.
        magnitudes = iter(sorted(value * sign for value in values if value * sign > 0))
        for index, count in sorted(buckets.items()):
            for _ in range(count):
                seconds = next(magnitudes) / 1e9 * shifted
                assert base ** (index - 1) * 0.995 <= seconds <= base**index * 1.005


def test_buckets_of_a_coarser_histogram_are_unions_of_the_finer_ones() -> None:
    values = [100_000 + 7919 * n for n in range(900)]
    fine = native(_native.Distribution.of(values))
    coarse = histogram_of([*values, *(1 << n for n in range(0, 40, 2))])
    assert coarse.schema is not None
    assert coarse.schema < fine.schema
    merged: dict[int, int] = {}
    for index, count in histogram_of(values).positive.items():
        index_there = math.ceil(index / 2 ** (fine.schema - coarse.schema))
        merged[index_there] = merged.get(index_there, 0) + count
    assert all(coarse.positive[index] >= count for index, count in merged.items())
    extra = sum(coarse.positive.values()) - sum(merged.values())
    assert extra == 20


def test_an_empty_histogram_is_still_a_native_one() -> None:
    found = decoded(FakeDaemon([("a", "b")], Span()))
    (family,) = [each for each in found if each.name == "twoway_delay_seconds"]
    histogram = family.metrics[0].value
    assert isinstance(histogram, DecodedHistogram)
    assert histogram.zero_threshold > 0  # by this a scraper tells a native histogram without values
    assert (histogram.count, histogram.positive, histogram.negative) == (0, {}, {})


def test_a_large_family_goes_in_several_messages() -> None:
    daemon = FakeDaemon([(f"connection-{number}", "s") for number in range(1001)])
    found = [each for each in decoded(daemon) if each.name == "twoway_test_passed"]
    assert [len(each.metrics) for each in found] == [1000, 1]
