//! Wilcoxon's signed-rank test, exact, with the estimate and the interval that go with it.
//!
//! Values that differ from zero by chance alone are as often positive as negative, whatever their size: given the sizes, each
//! of the 2^n choices of signs is as likely as the others. The test adds up the ranks of the positive values and counts the
//! choices that lie as far from the middle. Equal sizes share their ranks, and zeros are left out, as Wilcoxon did; the count
//! is exact in either case, since it is made of the very ranks. Hollander and Wolfe, Nonparametric Statistical Methods,
//! section 3.1; section 3.3 for the interval.

/// Most values: 2^64 choices of signs are counted without rounding that matters.
pub const MOST_VALUES: usize = 64;
/// The interval holds the difference with this probability.
pub const CONFIDENCE: f64 = 0.95;

/// What values say about where their middle lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The pseudomedian: the median of the means of all pairs of values (Hodges and Lehmann).
    pub estimate: f64,
    /// The interval around it that the test does not reject at 1 - [`CONFIDENCE`]; `None`: so few values reject nothing.
    pub interval: Option<(f64, f64)>,
    /// How often chance alone brings the positive and the negative values as far out of balance, or further.
    pub p_value: f64,
}

/// Judges at most [`MOST_VALUES`] values, none of them NaN. `None`: there is none.
pub fn judge(values: &[f64]) -> Option<Judgement> {
    debug_assert!(values.len() <= MOST_VALUES && values.iter().all(|value| value.is_finite()));
    if values.is_empty() {
        return None;
    }
    let means = sorted_means(values);
    Some(Judgement { estimate: median(&means), interval: interval(values.len(), &means), p_value: p_value(values) })
}

/// The means of all pairs of values, each with itself too (Walsh averages), in ascending order.
fn sorted_means(values: &[f64]) -> Vec<f64> {
    let mut means = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (at, first) in values.iter().enumerate() {
        means.extend(values[at..].iter().map(|second| f64::midpoint(*first, *second)));
    }
    means.sort_unstable_by(f64::total_cmp);
    means
}

fn median(sorted: &[f64]) -> f64 {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    f64::midpoint(low, high)
}

/// Twice the rank of each size that is not zero, so that shared ranks are whole numbers; with whether the value is positive.
fn doubled_ranks(values: &[f64]) -> Vec<(usize, bool)> {
    let mut sizes: Vec<(f64, bool)> =
        values.iter().filter(|value| **value != 0.0).map(|value| (value.abs(), *value > 0.0)).collect();
    sizes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = Vec::with_capacity(sizes.len());
    let mut begin = 0;
    for group in sizes.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        // Ranks begin + 1 to begin + len, on average.
        let doubled = 2 * begin + group.len() + 1;
        ranks.extend(group.iter().map(|(_, positive)| (doubled, *positive)));
        begin += group.len();
    }
    ranks
}

/// How many choices of signs give each sum of doubled ranks, as shares of all choices.
fn distribution(ranks: impl Iterator<Item = usize>) -> Vec<f64> {
    let mut shares = vec![1.0];
    for rank in ranks {
        let mut next = vec![0.0; shares.len() + rank];
        for (sum, share) in shares.iter().enumerate() {
            next[sum] += share / 2.0;
            next[sum + rank] += share / 2.0;
        }
        shares = next;
    }
    shares
}

/// Two-sided.
fn p_value(values: &[f64]) -> f64 {
    let ranks = doubled_ranks(values);
    if ranks.is_empty() {
        return 1.0;
    }
    let positive: usize = ranks.iter().filter(|(_, positive)| *positive).map(|(rank, _)| rank).sum();
    let shares = distribution(ranks.iter().map(|(rank, _)| *rank));
    // The distribution is symmetric: the lesser tail, twice.
    let far = positive.min(shares.len() - 1 - positive);
    (2.0 * shares[..=far].iter().sum::<f64>()).min(1.0)
}

/// From the sorted means: those that the test does not reject (it ranks values without ties, as measured ones hardly have).
fn interval(count: usize, means: &[f64]) -> Option<(f64, f64)> {
    let shares = distribution((1..=count).map(|rank| 2 * rank));
    let mut tail = 0.0;
    let mut left_out = 0;
    // Sums are even here: every other place.
    for share in shares.iter().step_by(2) {
        tail += share;
        if tail > (1.0 - CONFIDENCE) / 2.0 {
            break;
        }
        left_out += 1;
    }
    // So many at either end would be rejected; without one, no value is.
    (left_out > 0).then(|| (means[left_out - 1], means[means.len() - left_out]))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are whole, or the very same")]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// By trying every choice of signs.
    fn by_enumeration(values: &[f64]) -> f64 {
        let ranks = {
            let sizes: Vec<f64> = values.iter().filter(|value| **value != 0.0).map(|value| value.abs()).collect();
            // A rank by its definition: how many are smaller, and half of those that are equal.
            let rank = |size: f64| {
                let smaller = sizes.iter().filter(|other| **other < size).count();
                let equal = sizes.iter().filter(|other| **other == size).count();
                smaller as f64 + 0.5 * (equal as f64 + 1.0)
            };
            values
                .iter()
                .filter(|value| **value != 0.0)
                .map(|value| (rank(value.abs()), *value > 0.0))
                .collect::<Vec<_>>()
        };
        let middle = ranks.iter().map(|(rank, _)| rank).sum::<f64>() / 2.0;
        let seen = ranks.iter().filter(|(_, positive)| *positive).map(|(rank, _)| rank).sum::<f64>();
        let choices = 1u32 << ranks.len();
        let as_far = (0..choices).filter(|signs| {
            let sum: f64 =
                ranks.iter().enumerate().filter(|(at, _)| signs >> at & 1 == 1).map(|(_, (rank, _))| rank).sum();
            (sum - middle).abs() >= (seen - middle).abs()
        });
        as_far.count() as f64 / f64::from(choices)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_count_is_that_of_all_choices_of_signs(values in vec(-6i32..=6, 1..=11)) {
            // Small numbers, so that ties and zeros abound.
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let judged = judge(&values).unwrap();
            prop_assert!((judged.p_value - by_enumeration(&values)).abs() < 1e-12);
        }

        #[test]
        fn the_interval_is_what_the_test_does_not_reject(values in vec(-1e6..1e6f64, 6..=11)) {
            let judged = judge(&values).unwrap();
            let (low, high) = judged.interval.expect("six values can reject");
            prop_assert!(low <= judged.estimate && judged.estimate <= high);
            let rejected = |theta: f64| {
                let moved: Vec<f64> = values.iter().map(|value| value - theta).collect();
                by_enumeration(&moved) <= 1.0 - CONFIDENCE
            };
            let width = (high - low).max(1.0);
            prop_assert!(!rejected(low + width * 1e-9) && !rejected(high - width * 1e-9));
            prop_assert!(rejected(low - width * 1e-9) && rejected(high + width * 1e-9));
        }

        #[test]
        fn a_shift_moves_the_estimate_and_a_change_of_sign_turns_it_round(
            values in vec(-1000i32..1000, 1..=MOST_VALUES), shift in -1000i32..1000,
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let moved: Vec<f64> = values.iter().map(|value| value + f64::from(shift)).collect();
            let turned: Vec<f64> = values.iter().map(|value| -value).collect();
            let [judged, moved, turned] = [&values, &moved, &turned].map(|values| judge(values).unwrap());
            prop_assert!((moved.estimate - judged.estimate - f64::from(shift)).abs() < 1e-9);
            prop_assert!((turned.estimate + judged.estimate).abs() < 1e-9);
            prop_assert!((turned.p_value - judged.p_value).abs() < 1e-12);
            prop_assert!(judged.p_value > 0.0 && judged.p_value <= 1.0);
        }
    }

    #[test]
    fn few_values_and_zeros_prove_nothing() {
        assert_eq!(judge(&[]), None);
        assert_eq!(judge(&[0.0; 10]).unwrap().p_value, 1.0);
        let five = judge(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!((five.interval, five.p_value), (None, 2.0 / 32.0));
        let six = judge(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!((six.interval, six.p_value), (Some((1.0, 6.0)), 2.0 / 64.0));
    }

    #[test]
    fn a_table_of_the_text_books_is_reproduced() {
        // Critical values of the signed-rank sum at 5 %, two-sided: for n values the sum that is just rejected.
        for (count, critical) in [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (15, 25), (20, 52), (25, 89), (30, 137)] {
            let shares = distribution((1..=count).map(|rank| 2 * rank));
            let two_sided = |sum: usize| 2.0 * shares[..=2 * sum].iter().sum::<f64>();
            assert!(two_sided(critical) <= 0.05 && two_sided(critical + 1) > 0.05, "n = {count}");
        }
    }
}
