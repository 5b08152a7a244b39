//! A mergeable distribution of nanosecond values.
//!
//! Count, minimum, maximum, mean and deviation are exact: the sums of the values and of their squares are kept as whole
//! numbers (128 and 192 bits, which 2^64 values of 64 bits cannot overflow), not as running floating-point means. That
//! costs two multiplications instead of a division for each value, and makes merging associative to the last bit, so that
//! a day merged from hours equals a day merged from minutes, and a clock that is off by 50 years (a device at its epoch)
//! does not drown the microseconds. Quantiles come from the histogram.

use crate::histogram::{Bucket, ExponentialHistogram};
use crate::u192::{U192, widening_mul};

/// Everything of a distribution but its histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    /// Meaningful if `count` is not zero, as is `max`.
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) sum: i128,
    pub(crate) squares: U192,
}

/// Distribution of nanosecond values; the module says what is exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    histogram: ExponentialHistogram,
    count: u64,
    /// Meaningful if `count` is not zero, as is `max`.
    min: i64,
    max: i64,
    /// Sum of the values: 128 bits, two's complement, low word first.
    sum: [u64; 2],
    squares: U192,
}

impl Distribution {
    /// An empty distribution. Allocates nothing.
    pub const fn new() -> Self {
        Self { histogram: ExponentialHistogram::new(), count: 0, min: 0, max: 0, sum: [0; 2], squares: U192::ZERO }
    }

    /// Count one value.
    #[inline]
    pub fn record(&mut self, value_ns: i64) {
        self.extend(value_ns, value_ns, i128::from(value_ns), 1, U192::square_of(value_ns));
        self.histogram.record(value_ns);
    }

    /// Count all values of `other` too. Exact, associative and commutative.
    pub fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            self.extend(other.min, other.max, other.sum(), other.count, other.squares);
            self.histogram.merge(&other.histogram);
        }
    }

    #[inline]
    fn extend(&mut self, min: i64, max: i64, sum: i128, count: u64, squares: U192) {
        (self.min, self.max) = if self.count == 0 { (min, max) } else { (self.min.min(min), self.max.max(max)) };
        self.count = self.count.saturating_add(count);
        let sum = self.sum().wrapping_add(sum);
        self.sum = [sum as u64, (sum >> 64) as u64];
        self.squares = self.squares.plus(squares);
    }

    pub(crate) fn from_parts(histogram: ExponentialHistogram, moments: Moments) -> Self {
        let Moments { count, min, max, sum, squares } = moments;
        Self { histogram, count, min, max, sum: [sum as u64, (sum >> 64) as u64], squares }
    }

    pub(crate) fn moments(&self) -> Moments {
        let Self { count, min, max, squares, .. } = *self;
        Moments { count, min, max, sum: self.sum(), squares }
    }

    fn sum(&self) -> i128 {
        (u128::from(self.sum[1]) << 64 | u128::from(self.sum[0])) as i128
    }

    /// Keep at most so many buckets of each sign, for as far as [`ExponentialHistogram::coarsen`] goes. Count, extremes,
    /// mean and deviation stay exact.
    pub fn coarsen(&mut self, most: usize) {
        self.histogram.coarsen(most);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Least value.
    pub fn min(&self) -> Option<i64> {
        (self.count > 0).then_some(self.min)
    }

    /// Greatest value.
    pub fn max(&self) -> Option<i64> {
        (self.count > 0).then_some(self.max)
    }

    /// Arithmetic mean, in ns.
    pub fn mean(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        // Quotient and remainder apart: a mean of 2^60 ns would otherwise lose its last bits before the division.
        let count = i128::from(self.count);
        Some(self.sum().div_euclid(count) as f64 + self.sum().rem_euclid(count) as f64 / count as f64)
    }

    /// Population standard deviation, in ns.
    pub fn stddev(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        // n^2 variance = n * (sum of squares) - (sum)^2, in 256 bits, before anything is rounded.
        let count = u128::from(self.count);
        let (high, low) = widening_mul(count, self.squares.low());
        let high = high + count * u128::from(self.squares.high());
        let magnitude = self.sum().unsigned_abs();
        let (square_high, square_low) = widening_mul(magnitude, magnitude);
        let (low, borrow) = low.overflowing_sub(square_low);
        let high = high - square_high - u128::from(borrow);
        Some((high as f64 * 128_f64.exp2() + low as f64).sqrt() / self.count as f64)
    }

    /// Smallest value x with F(x) >= q (RFC 2330 section 11.3), within the histogram's relative error and never outside
    /// [minimum, maximum]; None when empty.
    pub fn quantile(&self, q: f64) -> Option<i64> {
        if q <= 0.0 {
            return self.min();
        }
        if q >= 1.0 {
            return self.max();
        }
        self.histogram.quantile(q).map(|value| value.clamp(self.min, self.max))
    }

    /// The buckets behind the quantiles.
    pub fn histogram(&self) -> &ExponentialHistogram {
        &self.histogram
    }

    /// Occupied buckets of either sign and the zero bucket (0, 0, n), ascending.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let zeros = self.histogram.zero_count();
        let zero = (zeros > 0).then_some(Bucket { lower_ns: 0.0, upper_ns: 0.0, count: zeros });
        self.histogram.negative().chain(zero).chain(self.histogram.positive())
    }

    /// Octets on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.histogram.memory_bytes()
    }
}

impl FromIterator<i64> for Distribution {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Self {
        let mut distribution = Self::new();
        for value in values {
            distribution.record(value);
        }
        distribution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_follow_rfc_2330() {
        let distribution: Distribution = [-5, 7, 18, 4, -2, 7].into_iter().collect();
        let at = |q| distribution.quantile(q);
        assert_eq!((at(0.5), at(0.25), at(1.0), at(0.0)), (Some(4), Some(-2), Some(18), Some(-5)));
        assert_eq!((distribution.min(), distribution.max()), (Some(-5), Some(18)));
        assert!((distribution.mean().unwrap() - 29.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn deviation_survives_an_offset_of_decades() {
        let offset = 1_800_000_000_000_000_000;
        let distribution: Distribution = [10, 20, 30, 40].into_iter().map(|value| offset + value).collect();
        assert!((distribution.stddev().unwrap() - 125_f64.sqrt()).abs() < 1e-9);
        let extremes: Distribution = [i64::MIN, i64::MAX].into_iter().collect();
        assert!((extremes.stddev().unwrap() / 2_f64.powi(63) - 1.0).abs() < 1e-12);
        assert!((extremes.mean().unwrap() + 0.5).abs() < 1e-12);
    }

    #[test]
    fn an_empty_distribution_knows_nothing() {
        let empty = Distribution::new();
        assert_eq!((empty.min(), empty.max(), empty.quantile(0.5)), (None, None, None));
        assert_eq!((empty.mean(), empty.stddev(), empty.buckets().count()), (None, None, 0));
    }
}
