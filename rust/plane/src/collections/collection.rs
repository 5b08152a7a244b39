//! Results of some probes in a row.

use super::probe::Probe;
use crate::distribution::Distribution;
use crate::packed::{PackedError, Reader, Writer, put_distribution, take_distribution};
use crate::sample::{MISSING, SampleFlag, SampleStatus, named};
use crate::variation::RtpJitter;

named! {
    /// What a collection counts.
    pub enum Tally {
        /// Probes that left and whose fate is known.
        Sent = "sent",
        /// Of those: answered within the timeout.
        Received = "received",
        /// Of those: answered after the timeout.
        Late = "late",
        /// Of those: still awaited when the test-session was aborted.
        Pending = "pending",
        /// Of those: lost, in all directions.
        Lost = "lost",
        /// Lost before the Session-Reflector answered.
        LostForward = "lost_forward",
        /// Answered, and the answer lost.
        LostBackward = "lost_backward",
        /// Lost, nothing says where.
        LostUnattributed = "lost_unattributed",
        /// Further replies, in all directions.
        Duplicates = "duplicates",
        /// Received, and reordered on the round trip.
        Reordered = "reordered",
        /// Probes that never left us.
        NotSent = "not_sent",
        /// Runs of consecutively sent probes that were lost.
        Bursts = "bursts",
        /// Length of the longest of them.
        LongestBurst = "longest_burst",
        /// Probes that left later than is allowed.
        LateDepartures = "late_departures",
        /// Probes under way while the local clock stepped.
        ClockSteps = "clock_steps",
        /// Probes whose T1 is of a lesser source than was asked for.
        T1FellBack = "t1_fell_back",
        /// Probes whose T4 is of a lesser source than was asked for.
        T4FellBack = "t4_fell_back",
        /// Of the probes that never left us: those whose moment had passed.
        MissedSlots = "missed_slots",
        /// Of the probes that never left us: most in a row that the kernel refused.
        LongestRefused = "longest_refused",
    }
}

named! {
    /// What is kept as a distribution, in ns, of probes received within the timeout.
    pub enum Quantity {
        /// Round trip without the residence.
        Rtt = "rtt",
        /// Absolute difference from the round trip of the probe received before.
        RttJitter = "rtt_jitter",
        /// To the Session-Reflector, where both clocks can carry it.
        Egress = "egress",
        /// The same of the egress.
        EgressJitter = "egress_jitter",
        /// From the Session-Reflector, where both clocks can carry it.
        Ingress = "ingress",
        /// The same of the ingress.
        IngressJitter = "ingress_jitter",
        /// To the Session-Reflector as both clocks have it, where their offset is not known.
        EgressWithOffset = "egress_with_offset",
        /// From the Session-Reflector as both clocks have it, where their offset is not known.
        IngressWithOffset = "ingress_with_offset",
    }
}

/// Names of the paths, in the order of [`Probe::delays`].
pub const PATHS: &[&str] = &["rtt", "egress", "ingress"];

/// Runs of consecutive probes that reached nobody: of those sent that were lost, fed in the order of sending, or of those
/// that the kernel refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// The sequence number that would go on with it.
    next: Option<u32>,
    length: u32,
    since_ns: i64,
}

impl Run {
    /// A probe was lost that left then. Returns the length of the run that it ends.
    pub(super) fn lost(&mut self, sequence: u32, sent_ns: i64) -> u32 {
        self.grow(sequence, sequence.wrapping_add(1), sent_ns)
    }

    /// A probe was refused then; the next one has that number.
    pub(super) fn refused(&mut self, next: u32, at_ns: i64) -> u32 {
        self.grow(next, next, at_ns)
    }

    fn grow(&mut self, sequence: u32, next: u32, at_ns: i64) -> u32 {
        if self.next == Some(sequence) {
            self.length = self.length.saturating_add(1);
        } else {
            (self.length, self.since_ns) = (1, at_ns);
        }
        self.next = Some(next);
        self.length
    }

    /// When its first probe left.
    pub(super) fn since_ns(&self) -> i64 {
        self.since_ns
    }

    /// Length of the run of losses, if its last probe is newer than that one.
    pub(super) fn newer_than(&self, answered: Option<u32>) -> u32 {
        let newer = |next: u32| answered.is_none_or(|answered| next.wrapping_sub(answered) as i32 > 1);
        if self.next.is_some_and(newer) { self.length } else { 0 }
    }
}

/// Where a delay of that one of [`PATHS`] belongs. `clocks`: both clocks can carry it.
const fn quantity_of(path: usize, clocks: bool) -> Quantity {
    match (path, clocks) {
        (0, _) => Quantity::Rtt,
        (1, true) => Quantity::Egress,
        (1, false) => Quantity::EgressWithOffset,
        (_, true) => Quantity::Ingress,
        (_, false) => Quantity::IngressWithOffset,
    }
}

/// Results of some probes in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Number of the test.
    pub(super) test: u32,
    start_ns: i64,
    end_ns: i64,
    pub(super) complete: bool,
    stateful: bool,
    tallies: [u64; Tally::ALL.len()],
    distributions: [Distribution; Quantity::ALL.len()],
    /// Of each path; they remember the probe received before.
    jitter: [RtpJitter; 3],
    clock_scale: u8,
    run: Run,
    refused: Run,
}

impl Collection {
    /// No probe yet.
    pub(super) fn new(test: u32) -> Self {
        Self {
            test,
            start_ns: MISSING,
            end_ns: MISSING,
            complete: false,
            stateful: false,
            tallies: [0; Tally::ALL.len()],
            distributions: [const { Distribution::new() }; Quantity::ALL.len()],
            jitter: [RtpJitter::default(); 3],
            clock_scale: 0,
            run: Run::default(),
            refused: Run::default(),
        }
    }

    /// A probe's fate is known. Returns how its delays differ from those of the probe received before.
    pub(super) fn note(&mut self, probe: &Probe) -> [i64; 3] {
        let mut differences = [MISSING; 3];
        self.stateful |= probe.stateful;
        if probe.is_duplicate() {
            self.count(Tally::Duplicates, true);
            return differences;
        }
        self.count(Tally::MissedSlots, probe.is_missed_slot());
        self.count(Tally::LateDepartures, probe.late_departure && !probe.is_missed_slot());
        self.count(Tally::ClockSteps, probe.has(SampleFlag::ClockStep));
        self.count(Tally::T1FellBack, probe.has(SampleFlag::T1FellBack));
        self.count(Tally::T4FellBack, probe.has(SampleFlag::T4FellBack));
        for moment_ns in [probe.t1_ns, probe.t4_ns] {
            self.reach(moment_ns);
        }
        match probe.status {
            SampleStatus::NotSent => {
                self.count(Tally::NotSent, true);
                if probe.is_refused() {
                    let length = self.refused.refused(probe.sequence, MISSING);
                    self.reach_length(Tally::LongestRefused, length);
                }
                return differences;
            }
            SampleStatus::Received => {
                self.count(Tally::Received, true);
                self.count(Tally::Reordered, probe.has(SampleFlag::Reordered));
                differences = self.note_delays(probe);
            }
            SampleStatus::Late => self.count(Tally::Late, true),
            SampleStatus::Pending => self.count(Tally::Pending, true),
            SampleStatus::LostForward => self.note_loss(probe, Tally::LostForward),
            SampleStatus::LostBackward => self.note_loss(probe, Tally::LostBackward),
            SampleStatus::LostUnattributed => self.note_loss(probe, Tally::LostUnattributed),
            SampleStatus::DuplicateForward
            | SampleStatus::DuplicateBackward
            | SampleStatus::DuplicateUnattributed
            | SampleStatus::FurtherReply => return differences,
        }
        self.count(Tally::Sent, true);
        differences
    }

    #[inline]
    fn count(&mut self, tally: Tally, when: bool) {
        self.tallies[tally as usize] += u64::from(when);
    }

    /// The span comprises that moment.
    pub(super) fn reach(&mut self, moment_ns: i64) {
        if moment_ns != MISSING {
            self.start_ns = if self.start_ns == MISSING { moment_ns } else { self.start_ns.min(moment_ns) };
            self.end_ns = self.end_ns.max(moment_ns);
        }
    }

    fn note_delays(&mut self, probe: &Probe) -> [i64; 3] {
        if probe.clock_scale != self.clock_scale {
            self.clock_scale = probe.clock_scale;
            for one_way in &mut self.jitter[1..] {
                one_way.restart();
            }
        }
        let mut differences = [MISSING; 3];
        for (path, delay_ns) in probe.delays().into_iter().enumerate() {
            let Some(delay_ns) = delay_ns else { continue };
            self.distributions[quantity_of(path, probe.clocks) as usize].record(delay_ns);
            if let Some(last_ns) = self.jitter[path].last_ns() {
                // Never the code for "missing".
                differences[path] = delay_ns.saturating_sub(last_ns).max(-i64::MAX);
                self.distributions[2 * path + 1].record(differences[path].abs());
            }
            self.jitter[path].observe(delay_ns);
        }
        differences
    }

    fn note_loss(&mut self, probe: &Probe, direction: Tally) {
        self.count(Tally::Lost, true);
        self.count(direction, true);
        let length = self.run.lost(probe.sequence, probe.t1_ns);
        self.count(Tally::Bursts, length == 1);
        self.reach_length(Tally::LongestBurst, length);
    }

    fn reach_length(&mut self, longest: Tally, length: u32) {
        let longest = &mut self.tallies[longest as usize];
        *longest = (*longest).max(length.into());
    }

    /// What comes is of another Session-Sender: nothing is compared with what was before.
    pub(super) fn restart(&mut self) {
        (self.run, self.refused) = Default::default();
        for path in &mut self.jitter {
            path.restart();
        }
    }

    /// Number of the test, from 1.
    pub fn test(&self) -> u32 {
        self.test
    }

    /// Wall time of the first departure, if there was one.
    pub fn start_ns(&self) -> Option<i64> {
        (self.start_ns != MISSING).then_some(self.start_ns)
    }

    /// Wall time of the last departure or arrival.
    pub fn end_ns(&self) -> Option<i64> {
        (self.end_ns != MISSING).then_some(self.end_ns)
    }

    /// The fate of each probe of the test is known.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether the Session-Reflector is known to number its replies.
    pub fn is_stateful(&self) -> bool {
        self.stateful
    }

    /// A tally's value.
    pub fn tally(&self, tally: Tally) -> u64 {
        self.tallies[tally as usize]
    }

    /// A quantity's distribution.
    pub fn quantity(&self, quantity: Quantity) -> &Distribution {
        &self.distributions[quantity as usize]
    }

    /// RFC 3550 jitter of that one of [`PATHS`], from the second probe on.
    pub fn interarrival_jitter_ns(&self, path: usize) -> Option<i64> {
        (self.distributions[2 * path + 1].count() > 0).then(|| self.jitter[path].jitter_ns().round() as i64)
    }

    /// Octets on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.distributions.iter().map(Distribution::memory_bytes).sum()
    }

    /// Write it. What connects it with the next probe is left out, and so is the fraction of a jitter's nanosecond.
    pub(super) fn put(&self, out: &mut Writer) {
        out.unsigned(self.test.into());
        out.signed(self.start_ns);
        out.signed(self.end_ns.wrapping_sub(self.start_ns));
        out.flag(self.complete);
        out.flag(self.stateful);
        for tally in self.tallies {
            out.small(0, tally);
        }
        for distribution in &self.distributions {
            put_distribution(out, distribution);
        }
        for jitter in &self.jitter {
            out.unsigned(jitter.jitter_ns().round() as u64);
        }
    }

    /// Read what [`Self::put`] wrote.
    pub(super) fn take(from: &mut Reader<'_>) -> Result<Self, PackedError> {
        let test = u32::try_from(from.unsigned()?).map_err(|_| PackedError::Contradiction("number of a test"))?;
        let mut collection = Self::new(test);
        collection.start_ns = from.signed()?;
        collection.end_ns = from.signed()?.wrapping_add(collection.start_ns);
        collection.complete = from.flag()?;
        collection.stateful = from.flag()?;
        for tally in &mut collection.tallies {
            *tally = from.count("count of probes")?;
        }
        for distribution in &mut collection.distributions {
            *distribution = take_distribution(from)?;
        }
        for jitter in &mut collection.jitter {
            *jitter = RtpJitter::resumed(from.unsigned()? as f64);
        }
        Ok(collection)
    }
}
