//! What is remembered of one probe.

use crate::sample::{MISSING, Sample, SampleFlag, SampleStatus, TimestampSource, UNKNOWN};

/// One probe whose fate is known, in 72 octets: the history of ten thousand test-sessions is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Departure, or [`MISSING`] if it never left.
    pub t1_ns: i64,
    /// Arrival of the reply, or [`MISSING`].
    pub t4_ns: i64,
    /// Round trip, or [`MISSING`].
    pub rtt_ns: i64,
    /// To the Session-Reflector, or [`MISSING`].
    pub egress_ns: i64,
    /// Of round trip, egress and ingress: difference from the probe received before, or [`MISSING`].
    pub jitter_ns: [i64; 3],
    /// Session-Sender sequence number.
    pub sequence: u32,
    /// Number of its test.
    pub test: u32,
    /// Its fate.
    pub status: SampleStatus,
    /// Bits of [`SampleFlag`].
    pub flags: u8,
    /// Where T1 was taken.
    pub t1_source: TimestampSource,
    /// Where T4 was taken.
    pub t4_source: TimestampSource,
    /// Scale of the local clock.
    pub clock_scale: u8,
    /// It left later than is allowed; if it was not sent: because its moment had passed.
    pub late_departure: bool,
    /// The reply proves that the Session-Reflector numbers its replies.
    pub stateful: bool,
    /// Both clocks can carry a one-way delay; else egress and ingress include their offset.
    pub clocks: bool,
}

impl Probe {
    /// The probe of a row. `late_ns`: departures later than that are late ones.
    pub(super) fn new(sample: &Sample, test: u32, late_ns: i64) -> Self {
        let counted = sample.reflector_sequence != UNKNOWN && sample.reflector_sequence != sample.sequence;
        // What the kernel refused has no lateness: that is the network's doing, as far as is known here.
        let missed = sample.status == SampleStatus::NotSent && sample.send_lateness_ns != MISSING;
        let directed = matches!(sample.status, SampleStatus::LostForward | SampleStatus::LostBackward);
        Self {
            t1_ns: sample.t1_ns,
            t4_ns: sample.t4_ns,
            rtt_ns: sample.round_trip_ns,
            egress_ns: sample.forward_ns,
            jitter_ns: [MISSING; 3],
            sequence: sample.sequence,
            test,
            status: sample.status,
            flags: sample.flags,
            t1_source: sample.t1_source,
            t4_source: sample.t4_source,
            clock_scale: sample.clock_scale,
            late_departure: missed || sample.send_lateness_ns > late_ns,
            stateful: counted || directed,
            clocks: sample.clocks,
        }
    }

    /// Whether it carries that flag.
    pub const fn has(&self, flag: SampleFlag) -> bool {
        self.flags & flag.mask() != 0
    }

    /// From the Session-Reflector, or [`MISSING`]. Round trip = egress + ingress, as the residence is in neither.
    pub const fn ingress_ns(&self) -> i64 {
        if self.rtt_ns == MISSING || self.egress_ns == MISSING {
            MISSING
        } else {
            self.rtt_ns.wrapping_sub(self.egress_ns)
        }
    }

    /// T3 - T2, or [`MISSING`]; unknown if the clock stepped while the probe was under way.
    pub const fn residence_ns(&self) -> i64 {
        if self.rtt_ns == MISSING || self.has(SampleFlag::ClockStep) {
            MISSING
        } else {
            self.t4_ns.wrapping_sub(self.t1_ns).wrapping_sub(self.rtt_ns)
        }
    }

    /// What the network took one way: egress and ingress where both clocks can carry them, [`MISSING`] elsewhere.
    pub const fn one_way_ns(&self) -> [i64; 2] {
        if self.clocks { [self.egress_ns, self.ingress_ns()] } else { [MISSING; 2] }
    }

    /// Round trip, egress and ingress, where they are known; one way with the offset between both clocks.
    pub(super) fn delays(&self) -> [Option<i64>; 3] {
        [self.rtt_ns, self.egress_ns, self.ingress_ns()].map(|ns| (ns != MISSING).then_some(ns))
    }

    /// It is another reply to a probe whose fate was known.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(
            self.status,
            SampleStatus::DuplicateForward | SampleStatus::DuplicateBackward | SampleStatus::DuplicateUnattributed
        )
    }

    /// The kernel refused it: nobody was reached.
    pub(super) fn is_refused(&self) -> bool {
        self.status == SampleStatus::NotSent && !self.late_departure
    }

    /// It was not sent, as its moment had passed.
    pub(super) fn is_missed_slot(&self) -> bool {
        self.status == SampleStatus::NotSent && self.late_departure
    }

    /// This host disturbed it: it left late, its moment passed, or the clock stepped.
    pub const fn disturbed(&self) -> bool {
        self.late_departure || self.has(SampleFlag::ClockStep)
    }
}
