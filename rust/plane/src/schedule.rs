//! When packets are due: periodic (RFC 3432) or Poisson (RFC 2330 section 11.1.1), always as absolute moments, so that a
//! late packet does not push the ones after it. OWAMP's slot lists are in `slots`.

use crate::slots::{SlotList, SlotSchedule};

/// Spacing of a test-session's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// One packet each interval.
    Periodic,
    /// Exponentially distributed gaps whose mean is the interval.
    Poisson,
    /// A schedule that the receiving end knows too (RFC 4656 section 3.6).
    Slots(SlotList),
}

/// Packets in groups, with a pause between them: the probes of one test, then those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Slots of a group, at least 1.
    pub count: u64,
    /// From the last slot of a group to the first of the next.
    pub pause_ns: i64,
}

/// A small, fast generator (`SplitMix64`) for gaps and padding. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `octets`.
    pub fn fill(&mut self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_ne_bytes()[..chunk.len()]);
        }
    }

    /// An exponentially distributed value of this mean, cut at 64 means (which one in 10^27 would pass).
    fn exponential(&mut self, mean: f64) -> f64 {
        // (0, 1]: the logarithm of zero must not happen.
        let uniform = ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-uniform.ln()).min(64.0) * mean
    }
}

/// The moments at which one test-session's packets are due, on the monotonic clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    gaps: Gaps,
    interval_ns: i64,
    /// Slots not yet taken; `None` for no end.
    left: Option<u64>,
    group: Option<Group>,
    /// Slots of the group not yet taken.
    left_of_group: u64,
    next_ns: i64,
}

/// Where the gaps come from.
#[derive(Clone, Debug)]
enum Gaps {
    Periodic,
    Poisson(Random),
    Slots { start_ns: i64, slots: SlotSchedule },
}

impl Schedule {
    /// `count` slots, the first due at `start_ns`, or that much later than its slot list says.
    pub fn new(spacing: &Spacing, interval_ns: i64, count: Option<u64>, seed: u64, start_ns: i64) -> Self {
        let (gaps, next_ns) = match spacing {
            Spacing::Periodic => (Gaps::Periodic, start_ns),
            Spacing::Poisson => (Gaps::Poisson(Random::new(seed)), start_ns),
            Spacing::Slots(list) => {
                let mut slots = SlotSchedule::new(list);
                let first_ns = start_ns.saturating_add(slots.advance());
                (Gaps::Slots { start_ns, slots }, first_ns)
            }
        };
        Self { gaps, interval_ns: interval_ns.max(1), left: count, group: None, left_of_group: 0, next_ns }
    }

    /// The same with a pause after each group. Not for slot lists, whose gaps the other end knows.
    #[must_use]
    pub fn grouped(self, group: Option<Group>) -> Self {
        Self { group, left_of_group: group.map_or(0, |group| group.count), ..self }
    }

    /// When the next packet is due; `None` when all slots are taken.
    #[inline]
    pub fn next(&self) -> Option<i64> {
        (self.left != Some(0)).then_some(self.next_ns)
    }

    /// Takes the slot that is due next.
    #[inline]
    pub fn advance(&mut self) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        if let Some(group) = self.group {
            self.left_of_group = self.left_of_group.saturating_sub(1);
            if self.left_of_group == 0 {
                self.left_of_group = group.count;
                self.next_ns = self.next_ns.saturating_add(group.pause_ns);
                return;
            }
        }
        self.next_ns = match &mut self.gaps {
            Gaps::Periodic => self.next_ns.saturating_add(self.interval_ns),
            Gaps::Poisson(random) => self.next_ns.saturating_add(random.exponential(self.interval_ns as f64) as i64),
            Gaps::Slots { start_ns, slots } => start_ns.saturating_add(slots.advance()),
        };
    }

    /// No further slots.
    pub fn end(&mut self) {
        self.left = Some(0);
    }

    /// How late a slot may be and still be taken: long enough to make up for a stall of the machine without a change of
    /// the mean rate, short enough that no one is flooded with what should have been sent long ago.
    pub fn patience_ns(&self) -> i64 {
        self.interval_ns.clamp(10_000_000, 1_000_000_000)
    }

    /// Mean gap between slots.
    pub fn interval_ns(&self) -> i64 {
        self.interval_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periodic_slots_never_drift() {
        let mut schedule = Schedule::new(&Spacing::Periodic, 333_333, Some(3), 0, 10);
        let mut moments = Vec::new();
        while let Some(moment) = schedule.next() {
            moments.push(moment);
            schedule.advance();
        }
        assert_eq!(moments, [10, 333_343, 666_676]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_deviation_of_an_exponential() {
        let mut schedule = Schedule::new(&Spacing::Poisson, 1_000_000, None, 7, 0);
        let (mut last, mut gaps) = (0, Vec::new());
        for _ in 0..20_000 {
            schedule.advance();
            let next = schedule.next().unwrap();
            gaps.push((next - last) as f64);
            last = next;
        }
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((mean / 1e6 - 1.0).abs() < 0.03, "{mean}");
        assert!((deviation / mean - 1.0).abs() < 0.03, "{deviation}");
        let short = gaps.iter().filter(|gap| **gap < 693_147.0).count() as f64 / gaps.len() as f64;
        assert!((short - 0.5).abs() < 0.02, "the median of an exponential is ln 2 of its mean: {short}");
    }

    /// The first `count` moments.
    fn moments(mut schedule: Schedule, count: usize) -> Vec<i64> {
        let mut moments = Vec::new();
        while let Some(moment) = schedule.next().filter(|_| moments.len() < count) {
            moments.push(moment);
            schedule.advance();
        }
        moments
    }

    #[test]
    fn after_each_group_comes_a_pause() {
        let schedule = |count| Schedule::new(&Spacing::Periodic, 10, Some(7), 0, 100).grouped(count);
        let three = schedule(Some(Group { count: 3, pause_ns: 1000 }));
        assert_eq!(moments(three, 9), [100, 110, 120, 1120, 1130, 1140, 2140], "the count is of all groups");
        let one = schedule(Some(Group { count: 1, pause_ns: 7 }));
        assert_eq!(moments(one, 3), [100, 107, 114]);
        assert_eq!(moments(schedule(None), 4), [100, 110, 120, 130]);
    }

    #[test]
    fn a_pause_takes_no_gap_of_a_poisson_schedule() {
        let poisson = || Schedule::new(&Spacing::Poisson, 1_000_000, None, 7, 0);
        let plain = moments(poisson(), 7);
        let grouped = moments(poisson().grouped(Some(Group { count: 4, pause_ns: 5 })), 8);
        assert_eq!(grouped[..4], plain[..4]);
        assert_eq!(grouped[4] - grouped[3], 5);
        let gaps = |moments: &[i64]| moments.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
        assert_eq!(gaps(&grouped[4..]), gaps(&plain[3..]));
    }

    #[test]
    fn an_ended_schedule_has_no_slot() {
        let mut schedule = Schedule::new(&Spacing::Periodic, 1, None, 0, 0);
        schedule.end();
        assert_eq!(schedule.next(), None);
    }
}
