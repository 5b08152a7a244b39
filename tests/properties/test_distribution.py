"""`Distribution` against a naive oracle: the one place where statistics exist a second time, on purpose."""

import itertools
import math
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway._native import Distribution
from twoway.errors import TwowayError

# Delays of up to a day of either sign (clocks are wrong), with many near zero and many powers of two, where a bucket's
# edge is; and the ends of what fits into an integer of nanoseconds.
_DAY_NS = 86_400 * 10**9
_NANOSECONDS = st.one_of(
    st.integers(-_DAY_NS, _DAY_NS),
    st.integers(-1000, 1000),
    st.builds(
        lambda power, sign, by: sign * 2**power + by, st.integers(0, 46), st.sampled_from([1, -1]), st.integers(-1, 1)
    ),
)
_ANY = st.one_of(_NANOSECONDS, st.integers(-(2**63), 2**63 - 1))
_VALUES = st.lists(_NANOSECONDS, max_size=60)


@given(st.lists(_ANY, max_size=60))
def test_count_minimum_and_maximum_are_exact(values: list[int]) -> None:
    distribution = Distribution.of(values)
    assert distribution.count == len(values)
    assert distribution.min_ns == min(values, default=None)
    assert distribution.max_ns == max(values, default=None)
    assert distribution.zero_count == values.count(0)


@given(_VALUES)
def test_mean_and_deviation_agree_with_exact_arithmetic(values: list[int]) -> None:
    distribution = Distribution.of(values)
    if not values:
        assert distribution.mean_ns is None
        assert distribution.stddev_ns is None
        return
    largest = max(abs(value) for value in values)
    assert distribution.mean_ns == pytest.approx(
        float(Fraction(sum(values), len(values))), rel=1e-9, abs=1e-9 * largest
    )
    assert distribution.stddev_ns == pytest.approx(statistics.pstdev(values), rel=1e-6, abs=1e-6 * largest)


@given(st.lists(_ANY, min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_within_the_relative_error(values: list[int], q: float) -> None:
    """RFC 2330 section 11.3: the smallest x of which F(x) >= q."""
    distribution = Distribution.of(values)
    ordered = sorted(values)
    # q times the count is not exact in binary: next to an integer, both ranks are right.
    exact = Fraction(q) * len(values)
    ranks = {max(1, math.ceil(exact + by)) for by in (Fraction(-1, 10**9), 0, Fraction(1, 10**9))}
    wanted = [ordered[min(rank, len(values)) - 1] for rank in ranks]
    got = distribution.quantile(q)
    assert got is not None
    assert ordered[0] <= got <= ordered[-1]
    assert any(abs(got - value) <= (distribution.relative_error + 1e-12) * abs(value) + 1 for value in wanted)


@given(st.lists(_ANY, min_size=1, max_size=60))
def test_the_ends_are_the_minimum_and_the_maximum(values: list[int]) -> None:
    distribution = Distribution.of(values)
    assert distribution.quantile(1) == max(values)
    lowest = distribution.quantile(0)
    assert lowest is not None
    assert abs(lowest - min(values)) <= distribution.relative_error * abs(min(values)) + 1


def test_an_empty_distribution_has_no_value() -> None:
    empty = Distribution.of([])
    assert (empty.count, empty.min_ns, empty.max_ns, empty.quantile(0.5), empty.buckets()) == (0, None, None, None, [])


@pytest.mark.parametrize("q", [-0.001, 1.001, math.nan, math.inf])
def test_a_quantile_outside_of_0_to_1_is_refused(q: float) -> None:
    with pytest.raises((ValueError, TwowayError), match="q"):
        Distribution.of([1]).quantile(q)


@given(st.lists(_ANY, max_size=60))
def test_buckets_hold_every_value_once_in_order(values: list[int]) -> None:
    distribution = Distribution.of(values)
    buckets = distribution.buckets()
    assert sum(count for _, _, count in buckets) == len(values)
    for lower, upper, count in buckets:
        assert count > 0
        assert lower <= upper
    for (_, upper, _), (lower, _, _) in itertools.pairwise(buckets):
        assert upper <= lower
    # Edges are floats: a value at an edge may be off by the rounding of the edge itself.
    slack = 1e-9
    for lower, upper, count in buckets:
        reach = slack * max(abs(lower), abs(upper))
        assert sum(1 for value in values if lower - reach <= value <= upper + reach) >= count


def _same(one: Distribution, other: Distribution) -> None:
    assert one.count == other.count
    assert (one.min_ns, one.max_ns) == (other.min_ns, other.max_ns)
    assert (one.scale, one.zero_count, one.buckets()) == (other.scale, other.zero_count, other.buckets())
    for q in (0.0, 0.05, 0.5, 0.95, 0.99, 1.0):
        assert one.quantile(q) == other.quantile(q)
    if one.count == 0:
        assert (one.mean_ns, one.stddev_ns, other.mean_ns, other.stddev_ns) == (None, None, None, None)
        return
    largest = max(abs(one.min_ns or 0), abs(one.max_ns or 0))
    assert one.mean_ns == pytest.approx(other.mean_ns, rel=1e-9, abs=1e-9 * largest)
    assert one.stddev_ns == pytest.approx(other.stddev_ns, rel=1e-6, abs=1e-6 * largest)


@given(_VALUES, _VALUES, _VALUES)
def test_merging_is_associative(first: list[int], second: list[int], third: list[int]) -> None:
    a, b, c = Distribution.of(first), Distribution.of(second), Distribution.of(third)
    _same(a.merge(b).merge(c), a.merge(b.merge(c)))


@given(_VALUES, _VALUES)
def test_merging_is_commutative(first: list[int], second: list[int]) -> None:
    a, b = Distribution.of(first), Distribution.of(second)
    _same(a.merge(b), b.merge(a))


@given(_VALUES, _VALUES)
def test_a_merge_is_the_distribution_of_all_values(first: list[int], second: list[int]) -> None:
    a, b = Distribution.of(first), Distribution.of(second)
    _same(a.merge(b), Distribution.of(first + second))
    assert (a.count, b.count) == (len(first), len(second)), "merging leaves its operands as they were"
