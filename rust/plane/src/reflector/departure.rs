//! When a reply will leave: the time between writing T3 and the departure, learned from the kernel's transmit stamps.
//!
//! Theory of operation. T3 is written before the packet leaves, but should say when it leaves. The *gap* from the last
//! reading of the clock to the departure is a few microseconds, and on an idle machine it varies by as much: caches and
//! translation buffers have gone cold. How cold, shows: a request that has waited long between its arrival at the host
//! and its reply (its *age*: wake-up, system calls, our own work) met a cold machine, and its departure will be slow too.
//! Measured on a veth, the gap's correlation with the logarithm of the age is 0.7 to 0.85 at 100 packets/s.
//!
//! So the gap is predicted by a line over log2(age), fitted to the latest stamps with exponentially fading weights. A
//! preemption between clock and departure makes gaps of milliseconds that predict nothing, so a gap counts at most as far
//! from the line as a few times the usual deviation: it still moves the line if it comes again and again. Separate lines
//! serve a thread that has just waited and one that went straight on, whose age is queueing and says nothing of caches.
//!
//! After a longer pause the reply is given to the kernel in two parts: its first octets, which hold no time, before the
//! clock is read, and the rest after. What is cold on the first half of the way then costs residence, which is measured,
//! and not accuracy; the gap becomes shorter and varies less.
//!
//! In a batch, the packet at place `i` leaves about `i` times a *step* after the first; the step is learned in the same
//! way. What remains is the *spread*: the error that 95 % of the predictions stay below. It goes into the Error Estimate.
//!
//! The figures are floating point: they are estimates from the beginning, and never compared or accumulated.

/// Weight that a stamp keeps when the next one comes: the latest 20 or so count.
const FADING: f64 = 0.95;
/// Gaps are cut off at this many usual deviations from the prediction.
const CUT_DEVIATIONS: f64 = 3.0;
/// So many gaps cut off in a row, all on one side, are no outliers but a change: the next ones count in full.
const CUTS_OF_A_CHANGE: i32 = 3;
/// Weight that older stamps keep at such a change.
const FADING_AT_CHANGE: f64 = 0.5;
/// Gap, and step, from which a line starts to learn, and how far the first stamps may lead away from it, in ns. It has
/// next to no weight, but without it the first packet, which may have waited for a neighbour to be resolved, would rule.
const PRIOR_NS: f64 = 3000.0;
/// Usual deviation to start with, in ns.
const PRIOR_DEVIATION_NS: f64 = 2000.0;
/// Weight to start with.
const PRIOR_WEIGHT: f64 = 0.1;
/// Ages count at most so many standard deviations from their mean: beyond, a line is no guide.
const AGE_DEVIATIONS: f64 = 3.0;
/// Variance of log2(age) below which the slope is drawn towards zero: little variation proves no slope.
const LEAST_VARIANCE: f64 = 0.02;
/// The usual deviation never falls below this, so that a long calm does not make the next change an outlier, in ns.
const LEAST_DEVIATION_NS: f64 = 20.0;
/// Share of predictions whose error stays below the spread.
const SPREAD_QUANTILE: f64 = 0.95;
/// How fast the spread follows, as a share of itself for each stamp.
const SPREAD_RATE: f64 = 0.2;
/// Spread before anything has been learned: user space stamps are wrong by about 94 us at the median.
const UNLEARNED_SPREAD_NS: f64 = 100_000.0;
/// Oldest age that is told from older ones, in ns: above, a machine cannot get colder.
const AGE_MAX_NS: f64 = 1e8;
/// A stamp later than this after the clock reading is not of that packet, or says nothing of the next.
const GAP_MAX_NS: i64 = 1_000_000_000;

/// What the thread did before it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// It had been waiting for a packet.
    Woken,
    /// It had been waiting for long, and the kernel was given the beginning of the reply before the clock was read.
    Prepared,
    /// It went on from the batch before.
    Running,
}

/// What is known before a departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepartureHint {
    /// What the thread did before.
    pub rhythm: Rhythm,
    /// Time from the arrival of the batch's first request to the clock reading; 0 where the arrival is not stamped.
    pub age_ns: i64,
    /// Place in the batch, from 0.
    pub place: u32,
}

/// A line through fading points, and how far points usually lie from it.
#[derive(Clone, Copy, Debug, Default)]
struct FadingLine {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    deviation: f64,
    points: u32,
    /// Gaps cut off in a row, negative below the line.
    cuts: i32,
}

impl FadingLine {
    fn mean_x(&self) -> f64 {
        self.x / self.weight
    }

    fn variance(&self) -> f64 {
        (self.xx / self.weight - self.mean_x() * self.mean_x()).max(0.0)
    }

    /// `x` drawn into the range that the line has been learned from.
    fn within_reach(&self, x: f64) -> f64 {
        let reach = AGE_DEVIATIONS * self.variance().max(LEAST_VARIANCE).sqrt();
        x.clamp(self.mean_x() - reach, self.mean_x() + reach)
    }

    fn at(&self, x: f64) -> f64 {
        if self.points == 0 {
            return 0.0;
        }
        let (mean_x, mean_y) = (self.mean_x(), self.y / self.weight);
        let covariance = self.xy / self.weight - mean_x * mean_y;
        mean_y + covariance / (self.variance() + LEAST_VARIANCE) * (self.within_reach(x) - mean_x)
    }

    fn learn(&mut self, x: f64, y: f64) {
        if self.points == 0 {
            let weight = PRIOR_WEIGHT;
            *self = Self {
                weight,
                x: weight * x,
                y: weight * PRIOR_NS,
                xx: weight * x * x,
                xy: weight * x * PRIOR_NS,
                deviation: PRIOR_DEVIATION_NS,
                points: 1,
                cuts: 0,
            };
        }
        let predicted = self.at(x);
        let x = self.within_reach(x);
        let off = y - predicted;
        let cut = CUT_DEVIATIONS * self.deviation;
        let seen = off.abs().min(4.0 * self.deviation);
        self.deviation = (self.deviation + (1.0 - FADING) * (seen - self.deviation)).max(LEAST_DEVIATION_NS);
        let side = if off < 0.0 { -1 } else { 1 };
        self.cuts = match (off.abs() > cut, self.cuts * side >= 0) {
            (false, _) => 0,
            (true, true) => (self.cuts + side).clamp(-CUTS_OF_A_CHANGE, CUTS_OF_A_CHANGE),
            (true, false) => side,
        };
        let changed = self.cuts.abs() >= CUTS_OF_A_CHANGE;
        let y = if changed { y } else { predicted + off.clamp(-cut, cut) };
        let fading = if changed { FADING_AT_CHANGE } else { FADING };
        self.weight = self.weight * fading + 1.0;
        self.x = self.x * fading + x;
        self.y = self.y * fading + y;
        self.xx = self.xx * fading + x * x;
        self.xy = self.xy * fading + x * y;
        self.points = self.points.saturating_add(1);
    }
}

/// Learns when replies leave. One for each worker: the figures are of a thread and its sockets.
#[derive(Clone, Debug)]
pub struct DepartureModel {
    woken: FadingLine,
    prepared: FadingLine,
    running: FadingLine,
    step: FadingLine,
    spread_ns: f64,
}

impl Default for DepartureModel {
    fn default() -> Self {
        Self {
            woken: FadingLine::default(),
            prepared: FadingLine::default(),
            running: FadingLine::default(),
            step: FadingLine::default(),
            spread_ns: UNLEARNED_SPREAD_NS,
        }
    }
}

impl DepartureModel {
    /// Expected time from the clock reading to the departure, in ns. 0 while nothing has been learned.
    pub fn gap_ns(&self, hint: &DepartureHint) -> i64 {
        let first = self.line(hint.rhythm).at(log_age(hint.age_ns)).max(0.0);
        (first + f64::from(hint.place) * self.step_ns()) as i64
    }

    /// Expected time between two departures of a batch, in ns.
    pub fn step_ns(&self) -> f64 {
        self.step.at(0.0).max(0.0)
    }

    /// Learns from one transmit stamp: `gap_ns` from the clock reading to the departure, `error_ns` from the T3 written to
    /// the departure.
    pub fn learn(&mut self, hint: &DepartureHint, gap_ns: i64, error_ns: i64) {
        // A clock step between reading and stamp makes gaps that are none.
        if !(0..GAP_MAX_NS).contains(&gap_ns) {
            return;
        }
        if hint.place == 0 {
            let x = log_age(hint.age_ns);
            match hint.rhythm {
                Rhythm::Woken => self.woken.learn(x, gap_ns as f64),
                Rhythm::Prepared => self.prepared.learn(x, gap_ns as f64),
                Rhythm::Running => self.running.learn(x, gap_ns as f64),
            }
        } else {
            let first = self.line(hint.rhythm).at(log_age(hint.age_ns));
            let step = (gap_ns as f64 - first).max(0.0) / f64::from(hint.place);
            self.step.learn(0.0, step);
        }
        self.widen_or_narrow(error_ns.unsigned_abs() as f64);
    }

    /// The error of T3 that 95 % of the replies stay below, in ns.
    pub fn spread_ns(&self) -> u64 {
        self.spread_ns as u64
    }

    /// The line for a rhythm; one that has seen something while this has not.
    fn line(&self, rhythm: Rhythm) -> &FadingLine {
        let (line, others) = match rhythm {
            Rhythm::Woken => (&self.woken, [&self.running, &self.prepared]),
            Rhythm::Prepared => (&self.prepared, [&self.running, &self.woken]),
            Rhythm::Running => (&self.running, [&self.prepared, &self.woken]),
        };
        if line.points > 0 { line } else { others.into_iter().find(|other| other.points > 0).unwrap_or(line) }
    }

    /// Moves the spread so that it comes to rest where the wanted share of errors lies below it.
    fn widen_or_narrow(&mut self, error_ns: f64) {
        let direction = if error_ns > self.spread_ns { SPREAD_QUANTILE } else { SPREAD_QUANTILE - 1.0 };
        self.spread_ns = (self.spread_ns * (SPREAD_RATE * direction).exp()).clamp(1.0, GAP_MAX_NS as f64);
    }
}

fn log_age(age_ns: i64) -> f64 {
    (age_ns as f64).clamp(1.0, AGE_MAX_NS).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator: deviation-like noise without a dependency.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// Roughly normal with deviation 1.
        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.next()).sum::<f64>() - 6.0
        }
    }

    fn hint(age_ns: i64, place: u32) -> DepartureHint {
        DepartureHint { rhythm: Rhythm::Woken, age_ns, place }
    }

    /// Runs a series of (age, place, gap) through a model; the errors of its predictions, in order.
    fn errors(model: &mut DepartureModel, series: impl IntoIterator<Item = (i64, u32, i64)>) -> Vec<i64> {
        series
            .into_iter()
            .map(|(age_ns, place, gap_ns)| {
                let hint = hint(age_ns, place);
                let error = gap_ns - model.gap_ns(&hint);
                model.learn(&hint, gap_ns, error);
                error
            })
            .collect()
    }

    fn quantile(errors: &[i64], q: f64) -> i64 {
        let mut sizes: Vec<_> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_unstable();
        sizes[(q * sizes.len() as f64) as usize]
    }

    #[test]
    fn a_steady_gap_is_learned_from_the_first_stamps() {
        let mut model = DepartureModel::default();
        let errors = errors(&mut model, std::iter::repeat_n((20_000, 0, 2000), 50));
        assert!(errors[1..].iter().all(|error| error.abs() <= 100), "{errors:?}");
        assert!(errors[10..].iter().all(|error| error.abs() <= 10), "{errors:?}");
    }

    #[test]
    fn a_first_packet_that_waited_for_its_neighbour_does_not_rule() {
        let first = std::iter::once((20_000, 0, 280_000));
        let errors = errors(&mut DepartureModel::default(), first.chain(std::iter::repeat_n((20_000, 0, 2500), 50)));
        assert!(errors[1..].iter().all(|error| error.abs() < 7000), "{errors:?}");
        assert!(errors[20..].iter().all(|error| error.abs() < 300), "{errors:?}");
    }

    #[test]
    fn an_age_never_seen_does_not_stretch_the_line() {
        let mut noise = Noise(5);
        let mut model = DepartureModel::default();
        let series = (0..500).map(|_| {
            let doublings = noise.next();
            ((20_000.0 * doublings.exp2()) as i64, 0, (2000.0 + 1000.0 * doublings) as i64)
        });
        errors(&mut model, series);
        assert!(model.gap_ns(&hint(50_000_000, 0)) < 4000);
    }

    #[test]
    fn noise_costs_little_more_than_itself() {
        let mut noise = Noise(1);
        let series: Vec<_> = (0..5000).map(|_| (20_000, 0, 3000 + (noise.normal() * 300.0) as i64)).collect();
        let errors = errors(&mut DepartureModel::default(), series);
        assert!(quantile(&errors[50..], 0.5) < 300 * 7 / 10, "{}", quantile(&errors[50..], 0.5));
    }

    #[test]
    fn an_old_request_predicts_a_slow_departure() {
        let mut noise = Noise(2);
        let series: Vec<_> = (0..3000)
            .map(|_| {
                let doublings = noise.next() * 3.0;
                let age_ns = (15_000.0 * doublings.exp2()) as i64;
                (age_ns, 0, (2000.0 + 1500.0 * doublings + noise.normal() * 100.0) as i64)
            })
            .collect();
        let errors = errors(&mut DepartureModel::default(), series);
        assert!(quantile(&errors[50..], 0.5) < 120, "{}", quantile(&errors[50..], 0.5));
        assert!(quantile(&errors[50..], 0.99) < 500, "{}", quantile(&errors[50..], 0.99));
    }

    #[test]
    fn a_preemption_now_and_then_does_not_move_the_prediction() {
        let mut noise = Noise(3);
        let series: Vec<_> = (0..3000)
            .map(|index| {
                let preempted = if index % 23 == 22 { 4_000_000 } else { 0 };
                (20_000, 0, 2500 + (noise.normal() * 100.0) as i64 + preempted)
            })
            .collect();
        let errors = errors(&mut DepartureModel::default(), series);
        assert!(quantile(&errors[50..], 0.5) < 300, "{}", quantile(&errors[50..], 0.5));
    }

    #[test]
    fn a_lasting_change_is_followed_within_a_few_dozen_stamps() {
        let mut model = DepartureModel::default();
        let before = std::iter::repeat_n((20_000, 0, 2000), 500);
        let errors = errors(&mut model, before.chain(std::iter::repeat_n((20_000, 0, 9000), 100)));
        assert!(errors[560..].iter().all(|error| error.abs() < 200), "{:?}", &errors[500..]);
    }

    #[test]
    fn places_in_a_batch_are_a_step_apart() {
        let mut model = DepartureModel::default();
        errors(&mut model, (0..200).map(|index| (20_000, index % 16, 2000 + i64::from(index % 16) * 900)));
        assert!((model.step_ns() - 900.0).abs() < 20.0, "{}", model.step_ns());
        assert!((model.gap_ns(&hint(20_000, 10)) - 11_000).abs() < 200);
    }

    #[test]
    fn a_rhythm_not_seen_yet_borrows_the_other() {
        let mut model = DepartureModel::default();
        errors(&mut model, std::iter::repeat_n((20_000, 0, 2000), 50));
        let running = DepartureHint { rhythm: Rhythm::Running, ..hint(20_000, 0) };
        assert!((model.gap_ns(&running) - 2000).abs() <= 10);
    }

    #[test]
    fn the_spread_covers_about_95_percent() {
        let mut noise = Noise(4);
        let series: Vec<_> = (0..20_000).map(|_| (20_000, 0, 3000 + (noise.normal() * 200.0) as i64)).collect();
        let mut model = DepartureModel::default();
        assert_eq!(model.spread_ns(), 100_000);
        let (mut covered, mut counted) = (0, 0);
        for (index, (age_ns, place, gap_ns)) in series.into_iter().enumerate() {
            let hint = hint(age_ns, place);
            let error = gap_ns - model.gap_ns(&hint);
            if index > 1000 {
                counted += 1;
                covered += usize::from(error.unsigned_abs() <= model.spread_ns());
            }
            model.learn(&hint, gap_ns, error);
        }
        let share = f64::from(covered as u32) / f64::from(counted as u32);
        assert!((0.92..0.98).contains(&share), "{share}");
    }

    #[test]
    fn nonsense_is_not_learned() {
        let mut model = DepartureModel::default();
        errors(&mut model, std::iter::repeat_n((20_000, 0, 2000), 50));
        for gap_ns in [-1, i64::MIN, i64::MAX, GAP_MAX_NS] {
            model.learn(&hint(20_000, 0), gap_ns, gap_ns);
        }
        assert!((model.gap_ns(&hint(20_000, 0)) - 2000).abs() <= 10);
        for age_ns in [i64::MIN, -1, 0, 1, i64::MAX] {
            model.learn(&hint(age_ns, 0), 2000, 0);
            let gap_ns = model.gap_ns(&hint(age_ns, u32::MAX));
            assert!((0..i64::MAX).contains(&gap_ns));
        }
    }
}
