//! Statistics against naive oracles: sorted vectors and floating-point sums.

use proptest::collection::vec;
use proptest::prelude::*;
use twoway_plane::distribution::Distribution;
use twoway_plane::histogram::{ExponentialHistogram, MAX_BUCKETS, MIN_SCALE};

/// Values of every order of magnitude and either sign, small ones and repeated ones as likely as large ones.
fn value() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        -300_i64..300,
        900_000_i64..1_100_000,
        (0_u32..64, any::<i64>()).prop_map(|(shift, bits)| bits >> shift),
        (0_u32..63, -1_i64..=1).prop_map(|(exponent, off)| (1_i64 << exponent) + off),
        Just(i64::MIN),
        Just(i64::MAX),
    ]
}

fn histogram(values: &[i64]) -> ExponentialHistogram {
    let mut histogram = ExponentialHistogram::new();
    for &value in values {
        histogram.record(value);
    }
    histogram
}

/// RFC 2330 section 11.3 by its words: the smallest x with F(x) >= q.
fn percentile(sorted: &[i64], q_of_1000: usize) -> i64 {
    let rank = (q_of_1000 * sorted.len()).div_ceil(1000).max(1);
    sorted[rank - 1]
}

proptest! {
    #[test]
    fn every_value_lies_in_its_bucket(values in vec(value(), 1..50)) {
        let whole = histogram(&values);
        for value in values {
            let magnitude = value.unsigned_abs() as f64;
            // Floating-point boundaries are off by parts in 10^15, integers beyond 2^53 are rounded.
            let (below, above) = (magnitude * (1.0 - 1e-12), magnitude * (1.0 + 1e-12));
            let found = match value.signum() {
                0 => whole.zero_count() > 0,
                1 => whole.positive().any(|bucket| bucket.lower_ns < above && below <= bucket.upper_ns),
                _ => whole.negative().any(|bucket| -bucket.upper_ns < above && below <= -bucket.lower_ns),
            };
            prop_assert!(found, "{value}");
        }
    }

    #[test]
    fn the_scale_is_the_finest_that_fits(values in vec(value(), 1..50)) {
        let whole = histogram(&values);
        let span = |mut ends: Vec<f64>| {
            ends.sort_by(f64::total_cmp);
            ends.first().zip(ends.last()).map_or(1.0, |(least, greatest)| (greatest / least).log2())
        };
        let positive = span(whole.positive().map(|bucket| bucket.upper_ns).collect());
        let negative = span(whole.negative().map(|bucket| -bucket.lower_ns).collect());
        let buckets = (positive.max(negative) * f64::from(1 << whole.scale())).round() as usize + 1;
        prop_assert!(buckets <= MAX_BUCKETS);
        prop_assert!(whole.scale() == 7 || 2 * buckets + 1 >= MAX_BUCKETS);
    }

    #[test]
    fn merging_is_recording(parts in vec(vec(value(), 0..40), 1..6), order in any::<u64>()) {
        let all: Vec<i64> = parts.concat();
        let mut merged: Vec<Distribution> = parts.into_iter().map(|part| part.into_iter().collect()).collect();
        // Merge any two neighbours or strangers, in an order that the test case chooses.
        let mut choice = order;
        while merged.len() > 1 {
            let from = merged.swap_remove(choice as usize % merged.len());
            let into = (choice >> 8) as usize % merged.len();
            merged[into].merge(&from);
            choice = choice.rotate_right(11);
        }
        let whole: Distribution = all.into_iter().collect();
        prop_assert_eq!(&merged[0], &whole);
        prop_assert_eq!(merged[0].stddev(), whole.stddev());
    }

    #[test]
    fn coarsening_does_not_mind_the_order_of_merging(
        one in vec(value(), 0..60), other in vec(value(), 0..60), most in 1_usize..100
    ) {
        let coarse = |values: &[i64]| {
            let mut coarse: Distribution = values.iter().copied().collect();
            coarse.coarsen(most);
            coarse
        };
        let mut merged = coarse(&one);
        merged.merge(&coarse(&other));
        merged.coarsen(most);
        let whole = coarse(&[one, other].concat());
        prop_assert_eq!(&merged, &whole);
        let histogram = whole.histogram();
        let occupied = histogram.positive().count().max(histogram.negative().count());
        prop_assert!(occupied <= most || histogram.scale() == MIN_SCALE);
    }

    #[test]
    fn quantiles_are_within_their_error(values in vec(value(), 1..200), q in 0_usize..=1000) {
        let distribution: Distribution = values.iter().copied().collect();
        let mut sorted = values;
        sorted.sort_unstable();
        let truth = percentile(&sorted, q);
        let estimate = distribution.quantile(q as f64 / 1000.0).unwrap();
        let error = (estimate as f64 - truth as f64).abs();
        let bound = distribution.histogram().relative_error() * truth.unsigned_abs() as f64 * 1.000_001 + 0.5;
        prop_assert!(error <= bound, "{estimate} for {truth}");
        prop_assert!((sorted[0]..=*sorted.last().unwrap()).contains(&estimate));
    }

    #[test]
    fn moments_are_those_of_the_values(values in vec(-1_000_000_i64..1_000_000, 1..200), offset in value()) {
        let offset = offset / 2;
        let distribution: Distribution = values.iter().map(|value| value + offset).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<i64>() as f64 / count;
        let variance = values.iter().map(|&value| (value as f64 - mean).powi(2)).sum::<f64>() / count;
        prop_assert_eq!(distribution.count(), values.len() as u64);
        prop_assert_eq!(distribution.min(), values.iter().min().map(|least| least + offset));
        prop_assert_eq!(distribution.max(), values.iter().max().map(|greatest| greatest + offset));
        prop_assert!((distribution.mean().unwrap() - offset as f64 - mean).abs() <= 1e-6 + offset.unsigned_abs() as f64 * 1e-15);
        prop_assert!((distribution.stddev().unwrap() - variance.sqrt()).abs() < 1e-3);
    }
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut worst = ExponentialHistogram::new();
    for exponent in 0..63 {
        for value in [1_i64 << exponent, 3 << exponent >> 1, -1 << exponent] {
            worst.record_n(value, u64::from(u32::MAX) + 1);
        }
    }
    assert!(worst.memory_bytes() <= 2 * MAX_BUCKETS * size_of::<u64>());
    let usual: Distribution = (0..10_000).map(|n| 150_000 + n * 7 % 60_000).collect();
    assert!(usual.memory_bytes() <= 256, "{}", usual.memory_bytes());
}
