//! Delays of one reply, and what steps of the local clock do to them.

use twoway_wire::WallNanos;

use super::reply::Reply;
use super::slot::Slot;
use crate::sample::{DepartureSource, MISSING, Sample, SampleFlag, SampleStatus, TimestampSource, UNKNOWN};

/// What a residence may exceed the whole round trip by before it is not believed.
pub const RESIDENCE_TOLERANCE_NS: i64 = 1_000_000;
/// Steps of the local clock that are remembered for packets under way.
const RECENT_STEPS: usize = 16;

/// The latest steps of the local clock.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockSteps {
    /// (monotonic time at which it was noticed, step).
    recent: Vec<(i64, i64)>,
    /// All of them, modulo 256.
    count: u8,
}

impl ClockSteps {
    pub(super) fn note(&mut self, mono_ns: i64, step_ns: i64) {
        if self.recent.len() == RECENT_STEPS {
            self.recent.remove(0);
        }
        self.recent.push((mono_ns, step_ns));
        self.count = self.count.wrapping_add(1);
    }

    /// The scale of the local clock at that moment.
    fn scale_at(&self, mono_ns: i64) -> u8 {
        let later = self.recent.iter().rev().take_while(|&&(at, _)| at > mono_ns).count();
        self.count.wrapping_sub(later as u8)
    }

    /// Whether no step was noticed after that moment.
    pub(super) fn none_after(&self, mono_ns: i64) -> bool {
        self.recent.last().is_none_or(|&(at, _)| at <= mono_ns)
    }

    /// Steps noticed from a packet's departure to a moment.
    fn between(&self, sent_mono_ns: i64, mono_ns: i64) -> &[(i64, i64)] {
        let end = self.recent.partition_point(|&(at, _)| at <= mono_ns);
        let first = self.recent[..end].partition_point(|&(at, _)| at < sent_mono_ns);
        &self.recent[first..end]
    }

    /// How much of the wall clock's advance from T1 to T4 is a step.
    ///
    /// Which of the steps lie between T1 and T4 is not known to the moment; that some of them do, in sequence, is. The
    /// assumption is best with which the wall clock advanced closest to what the monotonic clock did.
    fn between_stamps(&self, slot: &Slot, t4: WallNanos, mono_ns: i64) -> i64 {
        let steps = self.between(slot.sent_mono_ns, mono_ns);
        let excess_ns = t4.since(WallNanos(slot.t1_carried_ns)).saturating_sub(mono_ns - slot.sent_mono_ns);
        let mut best: i64 = 0;
        for from in 0..steps.len() {
            let mut sum: i64 = 0;
            for &(_, step_ns) in &steps[from..] {
                sum = sum.saturating_add(step_ns);
                if excess_ns.saturating_sub(sum).saturating_abs() < excess_ns.saturating_sub(best).saturating_abs() {
                    best = sum;
                }
            }
        }
        best
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.recent.capacity() * size_of::<(i64, i64)>()
    }
}

/// Time from departure to arrival: by T1 and T4 where the monotonic clock does not contradict them.
pub(super) fn travelled_ns(slot: &Slot, reply: &Reply, mono_ns: i64, steps: &ClockSteps) -> i64 {
    let elapsed_ns = mono_ns - slot.sent_mono_ns;
    let stepped_ns = steps.between_stamps(slot, reply.t4, mono_ns);
    let stamped_ns = reply.t4.since(WallNanos(slot.t1_ns)).saturating_sub(stepped_ns);
    if (0..=elapsed_ns).contains(&stamped_ns) { stamped_ns } else { elapsed_ns }
}

/// Delays of one reply, [`MISSING`] where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delays {
    pub(super) round_trip_ns: i64,
    pub(super) forward_ns: i64,
    pub(super) backward_ns: i64,
    pub(super) residence_ns: i64,
    /// T2 and T3 make sense.
    pub(super) far_usable: bool,
    /// The local clock stepped while the packet was under way.
    pub(super) stepped: bool,
    /// Of the local clock, when the reply arrived.
    clock_scale: u8,
}

impl Delays {
    /// Delays of a reply that was read at `mono_ns`.
    pub(super) fn of(slot: &Slot, reply: &Reply, mono_ns: i64, steps: &ClockSteps) -> Self {
        let mut delays = Self {
            round_trip_ns: MISSING,
            forward_ns: MISSING,
            backward_ns: MISSING,
            residence_ns: MISSING,
            far_usable: false,
            stepped: !steps.between(slot.sent_mono_ns, mono_ns).is_empty(),
            clock_scale: steps.scale_at(mono_ns),
        };
        let (Some(t2), Some(t3)) = (reply.t2, reply.t3) else { return delays };
        let t1 = WallNanos(slot.t1_ns);
        let span_ns = reply.t4.since(t1).saturating_sub(steps.between_stamps(slot, reply.t4, mono_ns));
        let residence_ns = t3.since(t2);
        if residence_ns < 0 || residence_ns > span_ns.saturating_add(RESIDENCE_TOLERANCE_NS) {
            return delays;
        }
        delays.far_usable = true;
        delays.residence_ns = residence_ns;
        delays.round_trip_ns = span_ns - residence_ns;
        if !delays.stepped {
            delays.forward_ns = t2.since(t1);
            delays.backward_ns = reply.t4.since(t3);
        }
        delays
    }
}

/// The row of a reply. `asked`: the source that was asked for T1 and T4.
pub(super) fn row(slot: &Slot, status: SampleStatus, reply: &Reply, delays: &Delays, asked: TimestampSource) -> Sample {
    let octet = |value: Option<u8>| value.map_or(UNKNOWN, u32::from);
    let mut sample = Sample {
        t2_ns: reply.t2.map_or(MISSING, |t2| t2.0),
        t3_ns: reply.t3.map_or(MISSING, |t3| t3.0),
        t4_ns: reply.t4.0,
        round_trip_ns: delays.round_trip_ns,
        forward_ns: delays.forward_ns,
        backward_ns: delays.backward_ns,
        residence_ns: delays.residence_ns,
        reflector_sequence: reply.reflector_sequence,
        t3_source: if reply.t3.is_some() { DepartureSource::Reply } else { DepartureSource::None },
        t4_source: reply.t4_source,
        sender_ttl: octet(reply.sender_ttl),
        returned_ttl: octet(reply.returned_ttl),
        far_dscp_ecn: octet(reply.far_dscp_ecn),
        returned_dscp_ecn: octet(reply.returned_dscp_ecn),
        clock_scale: delays.clock_scale,
        ..unanswered(reply.sender_sequence, status, slot)
    };
    sample.flag(SampleFlag::ClockStep, delays.stepped);
    sample.flag(SampleFlag::T1FellBack, sample.t1_source < asked);
    sample.flag(SampleFlag::T4FellBack, sample.t4_source < asked);
    sample.flag(SampleFlag::FarUnsynchronized, !reply.far_synchronized);
    sample.flag(SampleFlag::FarErrorEstimateInvalid, reply.far_error_estimate_invalid);
    sample.flag(SampleFlag::SsidZero, reply.ssid_zero);
    sample.flag(SampleFlag::FarTimestampsUnusable, !delays.far_usable);
    sample
}

/// The row of a packet without a reply.
pub(super) fn unanswered(sequence: u32, status: SampleStatus, slot: &Slot) -> Sample {
    Sample {
        t1_ns: slot.t1_ns,
        t1_source: slot.t1_source(),
        send_lateness_ns: slot.lateness_ns(),
        ..Sample::bare(sequence, status)
    }
}
