//! Leaving on time: how early to wake, and when a packet really departs.
//!
//! Theory of operation. A sleeping thread runs some tens of microseconds after its timer fires: the core leaves its idle
//! state, the scheduler switches. That lateness is much alike from wake to wake, so the worker learns it and sets the
//! timer as much earlier; if it then wakes early, it waits out the rest, awake. The wait is bounded by a share of the gap
//! to the packet before, so that a core is never kept busy by it.
//!
//! Likewise a packet leaves some microseconds after the clock was read to stamp it. The Session-Sender's own figures use
//! the kernel's transmit stamp, but the far end only sees what is written: T1 is therefore written for the moment of
//! departure, by the gap learned from the stamps of the packets before.

/// The most that a thread is woken early.
const LONGEST_MARGIN_NS: i64 = 120_000;
/// Share of the gap between two wakes that may be spent awake, waiting.
const AWAKE_SHARE: i64 = 12;

/// A quantile of a noisy value, followed in constant space: each observation moves the estimate by a step, up for what lies
/// above it and down for what lies below, in the ratio that balances at the quantile. Outliers move it no further than
/// any other value does.
#[derive(Clone, Copy, Debug)]
struct Follower {
    estimate_ns: i64,
    /// Of 16 observations this many lie below the estimate.
    below: i64,
}

impl Follower {
    const fn new(estimate_ns: i64, below: i64) -> Self {
        Self { estimate_ns, below }
    }

    fn observe(&mut self, value_ns: i64) {
        let step = (self.estimate_ns / 128).max(16);
        if value_ns > self.estimate_ns {
            self.estimate_ns += step * self.below / 8;
        } else {
            self.estimate_ns -= step * (16 - self.below) / 8;
        }
    }
}

/// Learns how late this thread wakes.
#[derive(Clone, Copy, Debug)]
pub struct WakeMargin {
    lateness: Follower,
}

impl Default for WakeMargin {
    fn default() -> Self {
        // Three quarters of the wakes should come in time: each part more is paid for with waiting awake, at every wake. To
        // begin with, a wake takes about 50 µs.
        Self { lateness: Follower::new(50_000, 12) }
    }
}

impl WakeMargin {
    /// The timer was set for `until_ns`, the thread ran at `now_ns`.
    pub fn woke(&mut self, until_ns: i64, now_ns: i64) {
        self.lateness.observe((now_ns - until_ns).clamp(0, LONGEST_MARGIN_NS));
        self.lateness.estimate_ns = self.lateness.estimate_ns.clamp(0, LONGEST_MARGIN_NS);
    }

    /// How much before the due moment to set the timer, where the wait before it is `gap_ns` long.
    pub fn margin_ns(&self, gap_ns: i64) -> i64 {
        self.lateness.estimate_ns.min(gap_ns / AWAKE_SHARE).max(0)
    }
}

/// Learns the gap between reading the clock and the kernel's transmit stamp.
#[derive(Clone, Copy, Debug)]
pub struct TransmitGap {
    gap: Follower,
}

impl Default for TransmitGap {
    fn default() -> Self {
        Self { gap: Follower::new(5_000, 8) }
    }
}

impl TransmitGap {
    /// A packet that was stamped by the process at one moment left `gap_ns` later.
    pub fn observe(&mut self, gap_ns: i64) {
        self.gap.observe(gap_ns.clamp(0, 1_000_000));
    }

    /// What to add to the clock's reading.
    pub fn expected_ns(&self) -> i64 {
        self.gap.estimate_ns.max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_finds_the_usual_lateness_and_forgets_outliers() {
        let mut margin = WakeMargin::default();
        for round in 0..2_000 {
            let late = if round % 100 == 0 { 5_000_000 } else { 30_000 + (round % 7) * 100 };
            margin.woke(0, late);
        }
        let learned = margin.margin_ns(10_000_000);
        assert!((29_000..34_000).contains(&learned), "{learned}");
        assert_eq!(margin.margin_ns(120_000), 10_000, "never more than its share of the gap");
    }

    #[test]
    fn the_transmit_gap_is_a_median() {
        let mut gap = TransmitGap::default();
        for round in 0..2_000 {
            gap.observe(if round % 3 == 0 { 9_000 } else { 12_000 });
        }
        let learned = gap.expected_ns();
        assert!((11_500..12_500).contains(&learned), "{learned}");
    }
}
