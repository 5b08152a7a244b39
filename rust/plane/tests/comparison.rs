//! Comparisons of paths, against a naive second version and against chance.

use proptest::collection::vec;
use proptest::prelude::*;
use twoway_plane::comparison::signed_rank::judge;
use twoway_plane::comparison::{Compared, Comparison, Difference};
use twoway_plane::sample::{MISSING, Sample, SampleStatus};
use twoway_plane::schedule::Random;

/// What became of a slot.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Answered(i64),
    Lost,
    NotSent,
}

/// The rows of a path, in the order in which a Session-Sender hands them over: losses come late.
fn rows(slots: &[Slot]) -> Vec<Sample> {
    let (mut prompt, mut late) = (Vec::new(), Vec::new());
    let mut sequence = 0;
    for slot in slots {
        match slot {
            Slot::Answered(delay_ns) => {
                prompt.push(Sample {
                    round_trip_ns: *delay_ns,
                    forward_ns: *delay_ns / 2 + 1_000_000_000,
                    backward_ns: MISSING,
                    ..Sample::bare(sequence, SampleStatus::Received)
                });
                sequence += 1;
            }
            Slot::Lost => {
                late.push(Sample::bare(sequence, SampleStatus::LostForward));
                sequence += 1;
            }
            Slot::NotSent => prompt.push(Sample::bare(sequence, SampleStatus::NotSent)),
        }
    }
    prompt.extend(late);
    prompt
}

fn find(differences: &[Difference], path: usize, compared: Compared) -> Difference {
    *differences.iter().find(|difference| (difference.path, difference.compared) == (path, compared)).unwrap()
}

/// Means of stretches of equal length, of which there are at most 64, by going over all pairs.
fn naive(pairs: &[(usize, f64)]) -> Vec<f64> {
    let mut length = 1;
    while pairs.iter().any(|(slot, _)| slot / length >= 64) {
        length *= 2;
    }
    let says = (0..64).map(|stretch| {
        let within: Vec<f64> =
            pairs.iter().filter(|(slot, _)| slot / length == stretch).map(|(_, difference)| *difference).collect();
        (!within.is_empty()).then(|| within.iter().sum::<f64>() / within.len() as f64)
    });
    says.flatten().collect()
}

fn slots() -> impl Strategy<Value = Slot> {
    prop_oneof![
        8 => (0..1_000_000i64).prop_map(Slot::Answered),
        1 => Just(Slot::Lost),
        1 => Just(Slot::NotSent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_comparison_is_that_of_the_same_slots(
        paths in (0..400usize).prop_flat_map(|count| vec(vec(slots(), count), 3)),
        batch in 1..50usize,
    ) {
        let mut comparison = Comparison::new(3);
        let rows: Vec<_> = paths.iter().map(|slots| rows(slots)).collect();
        let most = rows.iter().map(Vec::len).max().unwrap_or(0);
        // In turns, as they come.
        for begin in (0..most).step_by(batch) {
            for (path, rows) in rows.iter().enumerate() {
                comparison.add(path, &rows[begin.min(rows.len())..(begin + batch).min(rows.len())]);
            }
        }
        let differences = comparison.differences();
        for path in 1..3 {
            let both: Vec<_> = paths[0].iter().zip(&paths[path]).enumerate().collect();
            let loss: Vec<_> = both.iter().filter_map(|(slot, pair)| {
                let lost = |slot: &Slot| match slot {
                    Slot::Answered(_) => Some(0.0),
                    Slot::Lost => Some(1.0),
                    Slot::NotSent => None,
                };
                Some((*slot, lost(pair.1)? - lost(pair.0)?))
            }).collect();
            let delay: Vec<_> = both.iter().filter_map(|(slot, pair)| match pair {
                (Slot::Answered(a), Slot::Answered(b)) => Some((*slot, (b - a) as f64)),
                _ => None,
            }).collect();
            for (compared, pairs) in [(Compared::Loss, &loss), (Compared::RoundTrip, &delay)] {
                let difference = find(&differences, path, compared);
                let says = naive(pairs);
                prop_assert_eq!((difference.pairs, difference.stretches), (pairs.len() as u64, says.len()));
                match (difference.judgement, judge(&says)) {
                    (Some(got), Some(wanted)) => {
                        let mean = pairs.iter().map(|(_, difference)| difference).sum::<f64>() / pairs.len() as f64;
                        let estimate = if compared == Compared::Loss { mean } else { wanted.estimate };
                        prop_assert!((got.estimate - estimate).abs() < 1e-3);
                        prop_assert!((got.p_value - wanted.p_value).abs() < 1e-9);
                    }
                    (got, wanted) => prop_assert_eq!(got, wanted),
                }
            }
            prop_assert_eq!(find(&differences, path, Compared::Backward).pairs, 0);
            prop_assert_eq!(find(&differences, path, Compared::Forward).pairs, delay.len() as u64);
        }
    }
}

/// A delay that depends on the one before it, around 1 ms, as queues make it.
fn wandering(random: &mut Random, count: usize) -> Vec<i64> {
    let mut value = 0.0;
    (0..count)
        .map(|_| {
            let noise = (0..4).map(|_| (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 - 0.5).sum::<f64>();
            value = 0.9 * value + 20_000.0 * noise;
            1_000_000 + value as i64
        })
        .collect()
}

fn compared(a: &[i64], b: &[i64]) -> Difference {
    let mut comparison = Comparison::new(2);
    for (path, delays) in [a, b].into_iter().enumerate() {
        let slots: Vec<Slot> = delays.iter().map(|delay| Slot::Answered(*delay)).collect();
        comparison.add(path, &rows(&slots));
    }
    find(&comparison.differences(), 1, Compared::RoundTrip)
}

#[test]
fn equal_paths_whose_delays_wander_are_seldom_called_different() {
    let mut random = Random::new(7);
    let runs = 400;
    let called = (0..runs).filter(|_| {
        let (a, b) = (wandering(&mut random, 4096), wandering(&mut random, 4096));
        compared(&a, &b).judgement.unwrap().p_value < 0.05
    });
    // 5 % are 20. Each packet taken for a witness of its own, it would be more than half of all runs.
    let called = called.count();
    assert!((5..=40).contains(&called), "{called} of {runs}");
}

#[test]
fn a_small_difference_is_found_and_measured() {
    let mut random = Random::new(8);
    let (a, b) = (wandering(&mut random, 4096), wandering(&mut random, 4096));
    let later: Vec<i64> = b.iter().map(|delay| delay + 20_000).collect();
    let judgement = compared(&a, &later).judgement.unwrap();
    assert!(judgement.p_value < 0.001, "{judgement:?}");
    let (low, high) = judgement.interval.unwrap();
    assert!(low < 20_000.0 && 20_000.0 < high && high - low < 20_000.0, "{judgement:?}");
}

#[test]
fn one_burst_of_loss_proves_nothing_and_loss_throughout_does() {
    let judge_loss = |lost: &dyn Fn(usize) -> bool| {
        let mut comparison = Comparison::new(2);
        let slots = |lost: &dyn Fn(usize) -> bool| -> Vec<Slot> {
            (0..1024).map(|slot| if lost(slot) { Slot::Lost } else { Slot::Answered(1_000_000) }).collect()
        };
        comparison.add(0, &rows(&slots(&|_| false)));
        comparison.add(1, &rows(&slots(lost)));
        find(&comparison.differences(), 1, Compared::Loss).judgement.unwrap()
    };
    let burst = judge_loss(&|slot| (100..150).contains(&slot));
    assert!(burst.p_value > 0.05, "{burst:?}");
    let throughout = judge_loss(&|slot| slot % 20 == 3);
    assert!(throughout.p_value < 0.001, "{throughout:?}");
    assert_eq!((throughout.estimate * 1024.0, throughout.interval), (52.0, None));
}

#[test]
fn the_more_paths_the_more_certain_each_difference_has_to_be() {
    let mut random = Random::new(9);
    let base = wandering(&mut random, 512);
    let mut comparison = Comparison::new(4);
    for path in 0..4 {
        let delays = if path == 0 { base.clone() } else { wandering(&mut random, 512) };
        let slots: Vec<Slot> = delays.iter().map(|delay| Slot::Answered(delay + 1_000 * path as i64)).collect();
        comparison.add(path, &rows(&slots));
    }
    let mut round_trips: Vec<_> = comparison
        .differences()
        .into_iter()
        .filter(|difference| difference.compared == Compared::RoundTrip)
        .map(|difference| (difference.judgement.unwrap().p_value, difference.adjusted_p_value.unwrap()))
        .collect();
    round_trips.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut least: f64 = 0.0;
    for (before, (raw, adjusted)) in round_trips.iter().enumerate() {
        least = least.max((raw * (3 - before) as f64).min(1.0));
        assert!((adjusted - least).abs() < 1e-12);
    }
}

#[test]
fn a_path_that_sends_nothing_holds_nothing_up_and_memory_is_bounded() {
    let mut comparison = Comparison::new(2);
    let silent: Vec<Slot> = (0..200_000).map(|_| Slot::Answered(1)).collect();
    comparison.add(0, &rows(&silent));
    assert!(comparison.unpaired() >= 130_000);
    let difference = find(&comparison.differences(), 1, Compared::RoundTrip);
    assert_eq!((difference.pairs, difference.judgement, difference.adjusted_p_value), (0, None, None));
}
