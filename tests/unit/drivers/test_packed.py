"""Packed summaries across the boundary; the encoding itself is tested in `rust/plane/src/packed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

import twoway
from twoway.errors import WireError

if TYPE_CHECKING:
    from twoway.drivers.plane import IntervalSummary

_native = pytest.importorskip("twoway._native", reason="the extension module is not built")


def measured(count: int) -> IntervalSummary:
    """The summary of a measurement on loopback."""
    with twoway.Reflector(listen=["127.0.0.1:0"], workers=1) as reflector:
        port = reflector.local_addresses[0][1]
        return cast("IntervalSummary", twoway.measure(f"127.0.0.1:{port}", count=count, interval_ns=1_000_000).summary)


def test_a_distribution_is_unpacked_as_it_was() -> None:
    distribution = _native.Distribution.of([-5, 7, 18, 4, -2, 7, 0, 10**18])
    unpacked = _native.Distribution.unpack(distribution.pack())
    assert unpacked.buckets() == distribution.buckets()
    assert (unpacked.mean_ns, unpacked.stddev_ns) == (distribution.mean_ns, distribution.stddev_ns)


def test_packed_summaries_merge_without_objects() -> None:
    first, second = measured(2), measured(3)
    merged = _native.IntervalSummary.merge_packed([first.pack(), second.pack()])
    assert merged.pack() == first.merge(second).pack() == _native.IntervalSummary.unpack(merged.pack()).pack()
    assert merged.counter("sent") == 5
    assert merged.distribution("round_trip").count == merged.counter("received")
    assert _native.IntervalSummary.merge_packed([]).counter("sent") == 0


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (b"", "no octets"),
        (b"\x09\x00", "version 9, but this twoway reads version 3"),
        (b"\x02\x00", "too few octets"),
        (b"\x02" + bytes(40), "the length of a number cannot be"),
    ],
)
def test_what_is_no_summary_is_refused_by_name(octets: bytes, rule: str) -> None:
    for unpack in (_native.IntervalSummary.unpack, _native.Distribution.unpack):
        with pytest.raises(WireError, match=rule):
            unpack(octets)
    with pytest.raises(WireError, match=rule):
        _native.IntervalSummary.merge_packed([octets])
