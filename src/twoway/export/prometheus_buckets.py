"""Our exponential histograms as Prometheus' two sorts: classic, with bounds, and native, with a schema and spans.

A classic bucket's bound is a power of two of a nanosecond and so a boundary of the exponential histogram: its count is
exact (`analysis.exposition` says why that matters).

A native histogram has the buckets of ours: at schema s, bucket i holds what is greater than 2^((i-1)/2^s) and at most
2^(i/2^s). But ours are of nanoseconds and Prometheus' base unit is the second, and 10^9 is no power of any of the
bases: an index has to be moved by log2(10^-9) * 2^s, which is -239.18 for schema 3. We move by -239, and by its doubles
for finer schemas, so that buckets stay whole and one schema's buckets remain unions of the finer one's, which a scraper
relies on when a histogram becomes coarser. All boundaries stand 1.56 % high thereby, the sum not at all. Schemas beyond
5 (buckets 2.2 % wide) would feign a precision that this does not have. Values that span more than 2^40 force schema 2,
where boundaries stand 6.9 % low, buckets being 19 % wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from twoway.analysis.exposition import NANOS, Delays, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twoway.analysis.result import Distribution

ZERO_THRESHOLD = 2.0**-128
"""Half the width of the zero bucket: that of Prometheus' own library. Ours holds exactly 0."""
_FINEST = 5
_SHIFT = {2: -120, 3: -239, 4: -478, 5: -956}
"""Schema -> what is added to an index of nanoseconds to have that of seconds. 64 bits never need a schema below 2."""


def at_bounds(value: Delays | Tally, bounds: Sequence[float]) -> list[int]:
    """How many values are at most each of `bounds`, which are ascending; of a time they are seconds."""
    if isinstance(value, Tally):
        return [sum(count for number, count in value.counts.items() if number <= bound) for bound in bounds]
    buckets = value.distribution.buckets()
    counts, total, position = [], 0, 0
    for bound in bounds:
        # The boundaries are equal but for the rounding of floating point, and buckets are far wider than that.
        limit = bound * NANOS + abs(bound)
        while position < len(buckets) and buckets[position][1] <= limit:
            total += buckets[position][2]
            position += 1
        counts.append(total)
    return counts


def count_and_sum(value: Delays | Tally) -> tuple[int, float]:
    """Of all values of a histogram; of times the sum is in seconds."""
    if isinstance(value, Tally):
        return sum(value.counts.values()), float(sum(number * count for number, count in value.counts.items()))
    distribution = value.distribution
    return distribution.count, (distribution.mean_ns or 0.0) * distribution.count / NANOS


@dataclass(frozen=True, slots=True)
class Side:
    """The occupied buckets of one sign."""

    spans: list[tuple[int, int]]
    """(buckets skipped since the last span, or the first index; buckets in the span)."""
    deltas: list[int]
    """Count of each bucket less that of the one before."""


@dataclass(frozen=True, slots=True)
class Native:
    """A native histogram, but for its count and sum."""

    schema: int
    zero_count: int
    negative: Side
    positive: Side


def native(distribution: Distribution) -> Native:
    """The native histogram in seconds of a distribution in nanoseconds."""
    schema = min(distribution.scale, _FINEST)
    positive: dict[int, int] = {}
    negative: dict[int, int] = {}
    for lower, upper, count in distribution.buckets():
        if upper > 0:
            index = _index(upper, distribution.scale)
            positive[index] = positive.get(index, 0) + count
        elif lower < 0:
            index = _index(-lower, distribution.scale)
            negative[index] = negative.get(index, 0) + count
    return Native(schema, distribution.zero_count, _side(sorted(negative.items())), _side(positive.items()))


@lru_cache(maxsize=8192)
def _index(outer_ns: float, scale: int) -> int:
    """The native bucket of ours with this outer boundary: there are but a few hundred boundaries of an octave."""
    schema = min(scale, _FINEST)
    return -(-round(math.log2(outer_ns) * (1 << scale)) >> (scale - schema)) + _SHIFT[schema]


def _side(buckets: Iterable[tuple[int, int]]) -> Side:
    """From (index, count) in ascending order."""
    spans: list[tuple[int, int]] = []
    deltas: list[int] = []
    next_index, last = 0, 0
    for index, count in buckets:
        if spans and index == next_index:
            offset, length = spans[-1]
            spans[-1] = (offset, length + 1)
        else:
            spans.append((index - next_index, 1))
        deltas.append(count - last)
        next_index, last = index + 1, count
    return Side(spans, deltas)
