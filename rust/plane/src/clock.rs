//! Time as the engines see it: always an argument or a trait, never read behind their back.

use twoway_wire::timestamp::WallNanos;

/// A wall clock for timestamps beside a monotonic clock for intervals.
pub trait Clock {
    /// Nanoseconds since the Unix epoch, which may be stepped at any moment.
    fn wall(&self) -> WallNanos;
    /// Nanoseconds that only ever advance.
    fn monotonic(&self) -> i64;
}

/// When something is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At once.
    Now,
    /// When the wall clock reads this, as it goes now: a later step moves nothing.
    Wall(WallNanos),
    /// When the monotonic clock reads this.
    Monotonic(i64),
    /// The same, and if that has passed, a whole number of intervals later: in step with others.
    InStep(i64),
}

impl Moment {
    /// The moment, of something that happens at intervals and has not begun.
    #[must_use]
    pub fn in_step(self, now_ns: i64, interval_ns: i64) -> Self {
        let Self::InStep(at_ns) = self else { return self };
        let late_ns = now_ns.saturating_sub(at_ns).max(0);
        let intervals = (late_ns / interval_ns.max(1)).saturating_add(i64::from(late_ns % interval_ns.max(1) > 0));
        Self::Monotonic(at_ns.saturating_add(intervals.saturating_mul(interval_ns)))
    }

    /// The moment on the monotonic and on the wall clock, which read `now_ns` and `wall` now.
    pub fn on_both_clocks(self, now_ns: i64, wall: WallNanos) -> (i64, WallNanos) {
        match self {
            Self::Now => (now_ns, wall),
            Self::Wall(at) => (now_ns.saturating_add(at.since(wall)), at),
            Self::Monotonic(at_ns) | Self::InStep(at_ns) => {
                (at_ns, WallNanos(wall.0.saturating_add(at_ns.saturating_sub(now_ns))))
            }
        }
    }
}

/// Sees steps of the wall clock by reading it beside the monotonic clock.
///
/// Both clocks are slewed alike by the time daemon, so their difference moves only when somebody steps the wall clock
/// (or by the few tens of nanoseconds between both readings, or by a preemption there: hence the smallest of three).
#[derive(Clone, Copy, Debug)]
pub struct StepDetector {
    offset_ns: i64,
}

/// A smaller change of the clocks' difference is noise of the readings.
pub const SMALLEST_STEP_NS: i64 = 20_000;

impl StepDetector {
    /// Starts from the present difference of both clocks.
    pub fn new(clock: &impl Clock) -> Self {
        Self { offset_ns: offset(clock) }
    }

    /// The step since the last call, if there was one: positive where the wall clock jumped ahead.
    pub fn check(&mut self, clock: &impl Clock) -> Option<i64> {
        // One reading is enough to see that nothing happened.
        let quick = clock.wall().0 - clock.monotonic() - self.offset_ns;
        if quick.abs() < SMALLEST_STEP_NS {
            return None;
        }
        let now = offset(clock);
        let step = now - self.offset_ns;
        if step.abs() < SMALLEST_STEP_NS {
            return None;
        }
        self.offset_ns = now;
        Some(step)
    }
}

fn offset(clock: &impl Clock) -> i64 {
    // A preemption between the readings makes the pair wide: take the narrowest of three.
    (0..3)
        .map(|_| {
            let before = clock.monotonic();
            let wall = clock.wall().0;
            let after = clock.monotonic();
            (after - before, wall - i64::midpoint(before, after))
        })
        .min_by_key(|(width, _)| *width)
        .map_or(0, |(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Manual {
        wall: Cell<i64>,
        monotonic: Cell<i64>,
    }

    impl Clock for Manual {
        fn wall(&self) -> WallNanos {
            WallNanos(self.wall.get())
        }
        fn monotonic(&self) -> i64 {
            self.monotonic.get()
        }
    }

    #[test]
    fn a_step_is_seen_once_and_running_time_is_not_a_step() {
        let clock = Manual { wall: Cell::new(1_000_000_000), monotonic: Cell::new(5) };
        let mut detector = StepDetector::new(&clock);
        clock.wall.set(3_000_000_000);
        clock.monotonic.set(2_000_000_005);
        assert_eq!(detector.check(&clock), None);
        clock.wall.set(3_000_000_000 - 250_000_000);
        assert_eq!(detector.check(&clock), Some(-250_000_000));
        assert_eq!(detector.check(&clock), None);
    }

    #[test]
    fn in_step_is_never_in_the_past_and_always_whole_intervals_later() {
        for (at, now, interval, begins) in [
            (100, 50, 10, 100),
            (100, 100, 10, 100),
            (100, 101, 10, 110),
            (100, 110, 10, 110),
            (100, 1_000_001, 10, 1_000_010),
            (100, 101, i64::MAX, i64::MAX),
        ] {
            let found = Moment::InStep(at).in_step(now, interval);
            assert!(
                matches!(found, Moment::Monotonic(at) if at == begins || begins == i64::MAX && at >= 0),
                "{at} {now} {interval}: {found:?}"
            );
        }
        assert_eq!(Moment::Monotonic(100).in_step(200, 10), Moment::Monotonic(100));
        assert_eq!(Moment::Now.in_step(200, 10), Moment::Now);
    }
}
