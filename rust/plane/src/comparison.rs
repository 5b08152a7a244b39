//! Several paths, measured at the same moments: how much they differ, and whether that is more than chance.
//!
//! Theory of operation. Packets of the same slot of the schedule left within one interval of each other, so the difference of
//! their fates is free of what befell all paths at that time: load, a clock that drifts, a busy far end. Delays one way are
//! compared as well as round trips, since what the clocks of both ends are apart is in both and cancels: no
//! synchronisation is needed for a difference.
//!
//! What a path does at one moment it often does at the next, too. To count each packet as a witness of its own would take a
//! minute's congestion for a proof. So the run is cut into at most 64 stretches of equal length, each of which has one say:
//! the mean of its differences. When there are 64, neighbours are joined, so memory stays constant and a longer run has
//! longer stretches, which depend less and less on each other. The says are judged by the signed-rank test
//! ([`signed_rank`]), for delays and for loss alike; it asks for no shape of distribution, and one wild stretch has one rank.
//! Where several paths are compared with the first, each difference has to be the more certain the more there are (Holm).
//!
//! A row of samples says which packet it is about; which slot that packet had follows from the rows of packets that were not
//! sent, each of which took a slot without a number.

pub mod signed_rank;

use std::collections::BTreeMap;

use self::signed_rank::{Judgement, MOST_VALUES, judge};
use crate::sample::{MISSING, Sample, SampleStatus, named};

/// Slots that may wait for the other paths' packets: what bounds memory when one path sends nothing.
const WAITING: usize = 1 << 16;

named! {
    /// What is compared.
    pub enum Compared {
        /// (T4 - T1) - (T3 - T2), in ns.
        RoundTrip = "round_trip",
        /// T2 - T1, in ns.
        Forward = "forward",
        /// T4 - T3, in ns.
        Backward = "backward",
        /// Share of packets lost.
        Loss = "loss",
    }
}

/// Fate of one packet, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Round trip, forward and backward delay in ns; [`MISSING`] where unknown.
    Answered([i64; 3]),
    Lost,
    /// It says nothing of the path: it was not sent, or its fate is not known.
    Void,
}

impl Fate {
    fn of(sample: &Sample) -> Option<Self> {
        Some(match sample.status {
            SampleStatus::Received | SampleStatus::Late => {
                Self::Answered([sample.round_trip_ns, sample.forward_ns, sample.backward_ns])
            }
            SampleStatus::LostForward | SampleStatus::LostBackward | SampleStatus::LostUnattributed => Self::Lost,
            SampleStatus::NotSent | SampleStatus::Pending => Self::Void,
            SampleStatus::DuplicateForward
            | SampleStatus::DuplicateBackward
            | SampleStatus::DuplicateUnattributed
            | SampleStatus::FurtherReply => return None,
        })
    }
}

/// Differences of one kind between two paths, in stretches.
#[derive(Clone, Debug, Default)]
struct Stretches {
    /// Each stretch is 2^this slots.
    shift: u32,
    /// Sum of differences, and how many.
    sums: Vec<(f64, u64)>,
    pairs: u64,
}

impl Stretches {
    fn add(&mut self, slot: u64, difference: f64) {
        while slot >> self.shift >= MOST_VALUES as u64 {
            self.shift += 1;
            let joined = |pair: &[(f64, u64)]| pair.iter().fold((0.0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
            self.sums = self.sums.chunks(2).map(joined).collect();
        }
        let at = (slot >> self.shift) as usize;
        if self.sums.len() <= at {
            self.sums.resize(at + 1, (0.0, 0));
        }
        self.sums[at].0 += difference;
        self.sums[at].1 += 1;
        self.pairs += 1;
    }

    /// Of all differences.
    fn mean(&self) -> f64 {
        self.sums.iter().map(|(sum, _)| sum).sum::<f64>() / self.pairs as f64
    }

    /// What each stretch says that has anything to say.
    fn says(&self) -> Vec<f64> {
        self.sums.iter().filter(|(_, count)| *count > 0).map(|(sum, count)| sum / *count as f64).collect()
    }
}

/// How one path differs from the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Number of the path, from 1.
    pub path: usize,
    /// In what.
    pub compared: Compared,
    /// Slots in which both have a value.
    pub pairs: u64,
    /// Stretches that were judged.
    pub stretches: usize,
    /// That path's value less the first one's; of loss the share in all pairs, without an interval. `None` without pairs.
    pub judgement: Option<Judgement>,
    /// The p-value once it is known how many paths are compared (Holm).
    pub adjusted_p_value: Option<f64>,
}

/// One path's rows on their way into slots.
#[derive(Clone, Debug, Default)]
struct Numbering {
    /// (number of the next packet sent, slots without a number up to there), in ascending order.
    gaps: Vec<(u32, u64)>,
}

impl Numbering {
    /// The slot of a row. Rows of packets that were not sent come before those of packets sent after them.
    fn slot(&mut self, sample: &Sample) -> u64 {
        let number = u64::from(sample.sequence);
        if sample.status == SampleStatus::NotSent {
            let before = self.gaps.last().map_or(0, |(_, gaps)| *gaps);
            match self.gaps.last_mut() {
                Some(last) if last.0 == sample.sequence => last.1 += 1,
                _ => self.gaps.push((sample.sequence, before + 1)),
            }
            return number + before;
        }
        let at = self.gaps.partition_point(|(next, _)| *next <= sample.sequence);
        number + if at == 0 { 0 } else { self.gaps[at - 1].1 }
    }
}

/// Compares paths as their samples come.
#[derive(Clone, Debug)]
pub struct Comparison {
    numberings: Vec<Numbering>,
    waiting: BTreeMap<u64, Vec<Option<Fate>>>,
    /// For each path but the first, by [`Compared`].
    differences: Vec<[Stretches; 4]>,
    unpaired: u64,
}

impl Comparison {
    /// Of so many paths, at least two.
    pub fn new(paths: usize) -> Self {
        Self {
            numberings: vec![Numbering::default(); paths],
            waiting: BTreeMap::new(),
            differences: vec![Default::default(); paths.saturating_sub(1)],
            unpaired: 0,
        }
    }

    /// Takes rows of the path of that number.
    pub fn add(&mut self, path: usize, samples: &[Sample]) {
        let paths = self.numberings.len();
        let Some(numbering) = self.numberings.get_mut(path) else { return };
        for sample in samples {
            let Some(fate) = Fate::of(sample) else { continue };
            let slot = numbering.slot(sample);
            let fates = self.waiting.entry(slot).or_insert_with(|| vec![None; paths]);
            fates[path] = Some(fate);
            if fates.iter().all(Option::is_some) {
                let fates = self.waiting.remove(&slot).unwrap_or_default();
                Self::compare(&mut self.differences, slot, &fates);
            }
        }
        while self.waiting.len() > WAITING
            && let Some((slot, fates)) = self.waiting.pop_first()
        {
            self.unpaired += 1;
            Self::compare(&mut self.differences, slot, &fates);
        }
    }

    fn compare(differences: &mut [[Stretches; 4]], slot: u64, fates: &[Option<Fate>]) {
        let Some((Some(first), others)) = fates.split_first() else { return };
        for (stretches, other) in differences.iter_mut().zip(others) {
            let Some(other) = other else { continue };
            let lost = |fate: &Fate| match fate {
                Fate::Answered(_) => Some(0.0),
                Fate::Lost => Some(1.0),
                Fate::Void => None,
            };
            if let (Some(first), Some(other)) = (lost(first), lost(other)) {
                stretches[Compared::Loss as usize].add(slot, other - first);
            }
            if let (Fate::Answered(first), Fate::Answered(other)) = (first, other) {
                for (stretches, (first, other)) in stretches.iter_mut().zip(first.iter().zip(other)) {
                    if *first != MISSING && *other != MISSING {
                        stretches.add(slot, other.wrapping_sub(*first) as f64);
                    }
                }
            }
        }
    }

    /// Slots of which some path's packet was not heard of in time to be compared.
    pub fn unpaired(&self) -> u64 {
        self.unpaired
    }

    /// How each path differs from the first so far, by path and then by [`Compared`]. Slots that still wait for a path are
    /// not in it.
    pub fn differences(&self) -> Vec<Difference> {
        let mut all = Vec::with_capacity(4 * self.differences.len());
        for (at, stretches) in self.differences.iter().enumerate() {
            for compared in Compared::ALL {
                let stretches = &stretches[*compared as usize];
                let says = stretches.says();
                let mut judgement = judge(&says);
                if *compared == Compared::Loss
                    && let Some(judgement) = &mut judgement
                {
                    // Most stretches lose nothing, so their middle is nothing: what differs is the share in all.
                    (judgement.estimate, judgement.interval) = (stretches.mean(), None);
                }
                all.push(Difference {
                    path: at + 1,
                    compared: *compared,
                    pairs: stretches.pairs,
                    stretches: says.len(),
                    judgement,
                    adjusted_p_value: None,
                });
            }
        }
        for compared in Compared::ALL {
            adjust(all.iter_mut().filter(|difference| difference.compared == *compared).collect());
        }
        all
    }
}

/// Holm's rule: of n p-values the smallest counts n-fold, the next (n-1)-fold, and so on, and none less than one before it.
fn adjust(mut differences: Vec<&mut Difference>) {
    differences.retain(|difference| difference.judgement.is_some());
    let p_value = |difference: &Difference| difference.judgement.map_or(1.0, |judgement| judgement.p_value);
    differences.sort_by(|a, b| p_value(a).total_cmp(&p_value(b)));
    let count = differences.len();
    let mut least: f64 = 0.0;
    for (before, difference) in differences.into_iter().enumerate() {
        least = least.max((p_value(difference) * (count - before) as f64).min(1.0));
        difference.adjusted_p_value = Some(least);
    }
}
