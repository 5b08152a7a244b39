//! The packet ledger of one Session-Sender: every packet from departure to its final fate, exactly once.
//!
//! Theory of operation
//! ===================
//!
//! **Fates.** A packet is open from `sent` until two timeouts later or the end of the test-session, whichever is first.
//! Its first reply makes it *received* (travelled at most the timeout) or *late*; without one it is *lost*, or *pending*
//! if the test-session is aborted before the timeout. No verdict is ever taken back: what comes for a packet that is no
//! longer open is *expired*. How long a packet travelled is read from T1 and T4 where they agree with the monotonic clock,
//! so that our own slowness to read the socket makes no packet late.
//!
//! **Order of closing.** Packets close strictly in the order of sending, which is what loss runs (RFC 3357) and the
//! attribution of loss need. [`attribution`] and [`order`] say which way packets are lost, copied and reordered, and on
//! what conditions that is exact.
//!
//! **Numbers.** Delays are final when T1 is. Where transmit stamps are expected, a reply that comes before its stamp waits,
//! for a bounded time; its T1 then falls back to the one that the packet carries. IPDV pairs are formed when the second of
//! two consecutive packets is final; RFC 3550 jitter is fed in the order in which packets become final, which is that of
//! arrival unless a stamp was late. Only packets received within the timeout enter distributions, jitter and reordering;
//! header fields, stamp sources and far-end faults are counted for every first reply, received or late.
//!
//! **Far timestamps.** T2 and T3 are used together or not at all: not if one is absent, if T3 is before T2, or if the
//! residence exceeds T4 - T1 by more than [`RESIDENCE_TOLERANCE_NS`] (prediction of T3 and clock rates explain less than
//! that). Then no delay of that packet is known: T4 - T1 alone is another quantity, and does not belong in the same
//! distribution.
//!
//! **Clock steps.** Wall time is read beside monotonic time by the caller, after it received a batch and before it hands
//! it in; `clock_step` is told of a difference. Packets answered before that are on the old scale, packets sent after it
//! on the new one. Those in between are *stepped*: one-way delays are left out, and the round trip is corrected by the
//! step if T4 is on the new scale and T1 on the old one, which the monotonic clock tells. IPDV and jitter of one-way
//! delays begin anew.
//!
//! **Spans.** `current` collects since the last `take_interval`, `past` what was taken before; the cumulative summary is
//! their merge, so both always agree.

mod attribution;
mod closing;
mod delays;
pub mod extensions;
mod further;
mod order;
mod reply;
mod slot;
mod waiting;

use twoway_wire::{RawTimestamp, WallNanos};

pub use delays::RESIDENCE_TOLERANCE_NS;
pub use extensions::{FollowUp, FollowedUp, ReplyClass, ReplyTlvs, Told};
pub use reply::{Direction, LedgerSpec, NotSent, ReflectorMode, Reply, ReplyVerdict};

use self::attribution::{Attribution, Books};
use self::delays::{ClockSteps, Delays, row, travelled_ns};
use self::extensions::FarEnd;
use self::further::Further;
use self::order::FarOrder;
use self::slot::{Mark, Place, Ring, Slot};
use self::waiting::{First, Waiting, WaitingRoom};
use crate::patterns::{LossRuns, Reordering};
use crate::sample::{DepartureSource, MISSING, Sample, SampleFlag, SampleSink, SampleStatus, TimestampSource};
use crate::summary::{Counter, Measure, Path, SeenBy, Summary};
use crate::variation::{RtpJitter, ipdv};

/// Every packet of one Session-Sender; the module says how it works.
#[derive(Clone, Debug)]
pub struct Ledger {
    spec: LedgerSpec,
    ring: Ring,
    awaited: usize,
    /// Whether the Session-Reflector counts: what was said, or what was found out.
    stateful: Option<bool>,
    far_order: FarOrder,
    attribution: Attribution,
    /// Backward reorderings that stand if the Session-Reflector turns out to count.
    backward_if_stateful: u64,
    order: Reordering,
    runs: LossRuns,
    jitter: [RtpJitter; 3],
    waiting: WaitingRoom,
    far_end: FarEnd,
    further: Further,
    steps: ClockSteps,
    local_clock: Option<(bool, Option<u64>)>,
    current: Summary,
    past: Option<Box<Summary>>,
}

impl Ledger {
    /// An empty ledger. Memory for packets is taken when the first one is sent.
    pub fn new(spec: LedgerSpec) -> Self {
        let mut current = Summary::new();
        current.start_ns = spec.start.0;
        Self {
            spec,
            ring: Ring::default(),
            awaited: 0,
            stateful: match spec.reflector_mode {
                // Where several replies answer one packet, their numbers are no count of packets.
                _ if spec.replies_asked > 1 => Some(false),
                ReflectorMode::Auto => None,
                ReflectorMode::Stateless => Some(false),
                ReflectorMode::Stateful => Some(true),
            },
            far_order: FarOrder::default(),
            attribution: Attribution::default(),
            backward_if_stateful: 0,
            order: Reordering::default(),
            runs: LossRuns::default(),
            jitter: [RtpJitter::default(); 3],
            waiting: WaitingRoom::default(),
            far_end: FarEnd::default(),
            further: Further::default(),
            steps: ClockSteps::default(),
            local_clock: None,
            current,
            past: None,
        }
    }

    /// A packet was handed to the kernel at `mono_ns`, which never decreases, `lateness_ns` after its scheduled moment.
    /// Sequence numbers are consecutive from the first one. `t1` is the moment written into the packet.
    pub fn sent(&mut self, sequence: u32, mono_ns: i64, t1: WallNanos, lateness_ns: i64) {
        self.ring.push(sequence, self.spec.ring, Slot::new(mono_ns, t1.0, lateness_ns));
        self.awaited += 1;
        self.current.add(Counter::Sent, 1);
        self.current.record(Measure::SendLateness, lateness_ns);
        self.current.last_sequence = Some(self.ring.head() - 1);
    }

    /// A packet that nobody answers was handed to the kernel (OWAMP): it is counted and has no fate here.
    pub fn sent_one_way(&mut self, sequence: u32, lateness_ns: i64) {
        self.current.add(Counter::Sent, 1);
        self.current.record(Measure::SendLateness, lateness_ns);
        self.current.last_sequence = Some(u64::from(sequence));
    }

    /// A scheduled packet was never sent. Its row has the number that the next packet sent will have.
    pub fn not_sent(&mut self, why: NotSent, sink: &mut impl SampleSink) {
        self.current.add(Counter::NotSent, 1);
        let mut sample = Sample::bare(self.ring.head() as u32, SampleStatus::NotSent);
        match why {
            NotSent::MissedSlot { lateness_ns } => {
                self.current.add(Counter::MissedSlots, 1);
                sample.send_lateness_ns = lateness_ns;
            }
            NotSent::SendError => self.current.add(Counter::SendErrors, 1),
        }
        sink.sample(&sample);
    }

    /// The transmit stamp of a packet arrived. False if it is of no use: the packet is unknown or its numbers are final.
    pub fn transmit_stamp(
        &mut self,
        sequence: u32,
        t1: WallNanos,
        source: TimestampSource,
        sink: &mut impl SampleSink,
    ) -> bool {
        let Place::Open(sequence) = self.ring.place(sequence) else { return false };
        let slot = self.ring.open(sequence);
        if slot.is(Mark::Complete) || slot.t1_source() > source {
            return false;
        }
        slot.stamp(t1.0, source);
        if let Some(ready) = self.waiting.stamped(sequence) {
            self.complete(&ready.first, &ready.reply, sink);
        }
        true
    }

    /// A reply arrived and was read at `mono_ns`. Its verdict is counted here.
    pub fn reply(&mut self, reply: &Reply, mono_ns: i64, sink: &mut impl SampleSink) -> ReplyVerdict {
        let sequence = match self.ring.place(reply.sender_sequence) {
            Place::Open(sequence) => sequence,
            Place::Unknown => {
                self.current.add(Counter::RejectedUnknownSequence, 1);
                return ReplyVerdict::UnknownSequence;
            }
            Place::Expired => {
                self.current.add(Counter::RejectedExpired, 1);
                return ReplyVerdict::Expired;
            }
        };
        let slot = self.ring.open(sequence);
        let carried = RawTimestamp::encode(WallNanos(slot.t1_carried_ns), self.spec.timestamp_format);
        if carried != reply.sender_timestamp {
            self.current.add(Counter::RejectedMismatch, 1);
            return ReplyVerdict::Mismatch;
        }
        let answered = slot.is(Mark::Answered);
        if self.stateful.is_none() && reply.reflector_sequence != reply.sender_sequence {
            self.found_stateful(sink);
        }
        if let FollowUp::Told(told) = &reply.tlvs.follow_up
            && let Some(ready) = self.waiting.followed_up(told)
        {
            self.complete(&ready.first, &ready.reply, sink);
        }
        if !answered {
            self.first(sequence, reply, mono_ns, sink)
        } else if self.spec.replies_asked > 1 && self.is_further(sequence, reply) {
            self.further(sequence, reply, mono_ns, sink)
        } else {
            self.duplicate(sequence, reply, mono_ns, sink)
        }
    }

    fn found_stateful(&mut self, sink: &mut impl SampleSink) {
        self.stateful = Some(true);
        self.current.add(Counter::ReorderedBackward, std::mem::take(&mut self.backward_if_stateful));
        self.attribution.known_stateful(&mut Books { summary: &mut self.current, sink });
    }

    fn first(&mut self, sequence: u64, reply: &Reply, mono_ns: i64, sink: &mut impl SampleSink) -> ReplyVerdict {
        self.awaited -= 1;
        let slot = self.ring.open(sequence);
        let in_time = travelled_ns(slot, reply, mono_ns, &self.steps) <= self.spec.timeout_ns;
        slot.set(Mark::Answered);
        slot.reflector_sequence = reply.reflector_sequence;
        if !in_time {
            slot.set(Mark::Late);
        }
        self.current.add(if in_time { Counter::Received } else { Counter::Late }, 1);
        self.note_header(reply);
        let told = self.far_end.note(&reply.tlvs, reply.t4.0, &mut self.current);
        if told != Told::default() {
            sink.told(reply.sender_sequence, &told);
        }
        if reply.tlvs.further > 0 {
            self.further.expect(sequence, self.spec.replies_asked, reply.tlvs.further);
        }
        if let Some((synchronized, error_ns)) = self.local_clock {
            self.current.local_clock.note(synchronized, error_ns);
        }
        let reordered = in_time && self.order.observe(sequence);
        self.current.add(Counter::ReorderedRoundTrip, reordered.into());
        if self.stateful != Some(false) {
            let behind = self.place(sequence, reply.reflector_sequence, mono_ns, true, in_time);
            if self.stateful.is_some() {
                self.current.add(Counter::ReorderedBackward, (behind && in_time).into());
            } else {
                self.backward_if_stateful += u64::from(behind && in_time);
            }
        }
        let stamped = self.ring.open(sequence).t1_source() > TimestampSource::User;
        let awaits_stamp = self.spec.timestamps > TimestampSource::User && !stamped;
        // A Session-Reflector that copies our numbers has none by which its replies could be told apart.
        let promised =
            self.spec.follow_up_wait_ns > 0 && reply.tlvs.follow_up != FollowUp::None && self.stateful != Some(false);
        let first =
            First { sequence, arrived_mono_ns: mono_ns, reordered, correction_ns: None, follow_up_promised: promised };
        if !awaits_stamp && !promised {
            // Nearly all: stamps are read before replies are.
            self.complete(&first, reply, sink);
        } else {
            let until = |wait_ns: i64| mono_ns.saturating_add(wait_ns);
            let waiting = Waiting {
                first,
                reply: *reply,
                stamp_until_ns: awaits_stamp.then(|| until(self.spec.stamp_wait_ns)),
                follow_up_until_ns: promised.then(|| until(self.spec.follow_up_wait_ns)),
            };
            if let Some(crowded) = self.waiting.push(&waiting) {
                self.complete(&crowded.first, &crowded.reply, sink);
            }
        }
        if in_time { ReplyVerdict::Received } else { ReplyVerdict::Late }
    }

    /// Place a copy's number in the order of the Session-Reflector. Returns whether a greater one came before it.
    fn place(&mut self, sequence: u64, number: u32, mono_ns: i64, first: bool, in_time: bool) -> bool {
        let sent_ns = self.ring.open(sequence).sent_mono_ns;
        let standing = self.far_order.place(&self.ring, sequence, number, sent_ns, mono_ns);
        if first {
            self.ring.open(sequence).epoch = standing.epoch;
        }
        // As long as every number is a copy of ours, the order at the far end is that of sending.
        if self.stateful.is_some() || !standing.behind {
            let counts = first && in_time;
            let found = self.far_order.overtaking(&mut self.ring, sequence, number, standing, counts);
            self.current.add(Counter::ReorderedForward, found);
        }
        standing.behind
    }

    fn duplicate(&mut self, sequence: u64, reply: &Reply, mono_ns: i64, sink: &mut impl SampleSink) -> ReplyVerdict {
        let number = reply.reflector_sequence;
        let direction = if self.stateful != Some(true) {
            Direction::Unattributed
        } else if self.ring.open(sequence).reflector_sequence == number || self.far_order.knows_copy(sequence, number) {
            Direction::Backward
        } else if self.far_order.remember_copy(sequence, number) {
            self.place(sequence, number, mono_ns, false, false);
            Direction::Forward
        } else {
            Direction::Unattributed
        };
        let (counter, status) = match direction {
            Direction::Forward => (Counter::DuplicatesForward, SampleStatus::DuplicateForward),
            Direction::Backward => (Counter::DuplicatesBackward, SampleStatus::DuplicateBackward),
            Direction::Unattributed => (Counter::DuplicatesUnattributed, SampleStatus::DuplicateUnattributed),
        };
        self.current.add(counter, 1);
        if direction == Direction::Forward {
            self.far_end.note_further();
        }
        let slot = self.ring.open(sequence);
        let delays = Delays::of(slot, reply, mono_ns, &self.steps);
        let mut sample = row(slot, status, reply, &delays, self.spec.timestamps);
        sample.send_lateness_ns = MISSING;
        sink.sample(&sample);
        ReplyVerdict::Duplicate(direction)
    }

    /// Whether a reply that is not the first is one of those that were asked for.
    fn is_further(&mut self, sequence: u64, reply: &Reply) -> bool {
        let first = self.ring.open(sequence).reflector_sequence;
        let asked = self.spec.replies_asked;
        self.further.take(sequence, asked, reply.reflector_sequence, first, reply.sender_sequence)
    }

    fn further(&mut self, sequence: u64, reply: &Reply, mono_ns: i64, sink: &mut impl SampleSink) -> ReplyVerdict {
        self.current.add(Counter::FurtherReplies, 1);
        self.far_end.note_further();
        let slot = self.ring.open(sequence);
        let delays = Delays::of(slot, reply, mono_ns, &self.steps);
        if delays.backward_ns != MISSING {
            self.current.record(Measure::FurtherBackward, delays.backward_ns);
        }
        let mut sample = row(slot, SampleStatus::FurtherReply, reply, &delays, self.spec.timestamps);
        sample.send_lateness_ns = MISSING;
        sink.sample(&sample);
        ReplyVerdict::Further
    }

    fn note_header(&mut self, reply: &Reply) {
        let summary = &mut self.current;
        for (seen_by, ttl, dscp_ecn) in [
            (SeenBy::Far, reply.sender_ttl, reply.far_dscp_ecn),
            (SeenBy::Returned, reply.returned_ttl, reply.returned_dscp_ecn),
        ] {
            if let Some(ttl) = ttl {
                summary.ttls[seen_by as usize].add(ttl, 1);
            }
            if let Some(dscp_ecn) = dscp_ecn {
                summary.dscp_ecns[seen_by as usize].add(dscp_ecn, 1);
            }
        }
        summary.far_clock.note(reply.far_synchronized, reply.far_error_ns);
        for (counter, seen) in [
            (Counter::FarUnsynchronized, !reply.far_synchronized),
            (Counter::FarErrorEstimateInvalid, reply.far_error_estimate_invalid),
            (Counter::SsidZero, reply.ssid_zero),
        ] {
            summary.add(counter, seen.into());
        }
    }

    /// The packet's T1 is as good as it gets: record its numbers.
    fn complete(&mut self, first: &First, reply: &Reply, sink: &mut impl SampleSink) {
        let First { sequence, arrived_mono_ns, reordered, correction_ns, follow_up_promised } = *first;
        let slot = self.ring.open(sequence);
        let delays = Delays::of(slot, reply, arrived_mono_ns, &self.steps);
        let in_time = !slot.is(Mark::Late);
        let status = if in_time { SampleStatus::Received } else { SampleStatus::Late };
        let mut sample = row(slot, status, reply, &delays, self.spec.timestamps);
        sample.clocks = reply.far_synchronized && reply.far_error_ns.is_some() && self.local_clock_is_known();
        sample.flag(SampleFlag::Reordered, reordered);
        if let Some(correction_ns) = correction_ns {
            sample.t3_source = DepartureSource::FollowUp;
            self.current.add(Counter::FollowedUp, 1);
            self.current.record(Measure::FollowUpCorrection, correction_ns);
        } else if follow_up_promised {
            self.current.add(Counter::NotFollowedUp, 1);
        }
        sink.sample(&sample);

        let source = |source, hardware, kernel, user| match source {
            TimestampSource::Hardware => hardware,
            TimestampSource::Kernel => kernel,
            TimestampSource::User | TimestampSource::None => user,
        };
        self.current.add(source(sample.t1_source, Counter::T1Hardware, Counter::T1Kernel, Counter::T1User), 1);
        self.current.add(source(sample.t4_source, Counter::T4Hardware, Counter::T4Kernel, Counter::T4User), 1);
        self.current.add(Counter::FarTimestampsUnusable, (!delays.far_usable).into());
        self.current.add(Counter::ClockStepAffected, delays.stepped.into());

        let slot = self.ring.open(sequence);
        if !in_time {
            slot.complete(MISSING, MISSING);
            return;
        }
        // A packet that waited for its stamp while the clock stepped is on the old scale: its one-way delays are right,
        // but must not be compared with those of the packets that follow.
        let comparable = self.steps.none_after(arrived_mono_ns);
        slot.complete(delays.round_trip_ns, if comparable { delays.forward_ns } else { MISSING });
        let measured = [
            (Path::RoundTrip, Measure::RoundTrip, delays.round_trip_ns),
            (Path::Forward, Measure::Forward, delays.forward_ns),
            (Path::Backward, Measure::Backward, delays.backward_ns),
        ];
        for (path, measure, delay_ns) in measured {
            if delay_ns != MISSING {
                self.current.record(measure, delay_ns);
                if (comparable || path == Path::RoundTrip)
                    && let Some(jitter_ns) = self.jitter[path as usize].observe(delay_ns)
                {
                    self.current.set_jitter(path, jitter_ns);
                }
            }
        }
        if delays.residence_ns != MISSING {
            self.current.record(Measure::Residence, delays.residence_ns);
        }
        self.record_ipdv(sequence.wrapping_sub(1), sequence);
        self.record_ipdv(sequence, sequence + 1);
    }

    /// Record IPDV of a pair of consecutively sent packets, if the numbers of both are final.
    fn record_ipdv(&mut self, earlier: u64, later: u64) {
        let (Some(earlier), Some(later)) = (self.ring.get(earlier), self.ring.get(later)) else { return };
        let measures = [Measure::IpdvRoundTrip, Measure::IpdvForward, Measure::IpdvBackward];
        for ((measure, earlier_ns), later_ns) in measures.into_iter().zip(earlier.delays()).zip(later.delays()) {
            if let Some(variation_ns) = ipdv(earlier_ns, later_ns) {
                self.current.record(measure, variation_ns);
            }
        }
    }

    /// Replies that are awaited: the first ones to packets, and those that the far end promised beside them.
    pub fn outstanding(&self) -> usize {
        self.awaited + self.further.outstanding()
    }

    /// The local wall clock stepped by `step_ns`. To be noticed, at `mono_ns` and at `wall` of the new scale, after a batch
    /// was received and before it is handed in.
    pub fn clock_step(&mut self, mono_ns: i64, wall: WallNanos, step_ns: i64) {
        self.current.clock_step(wall.0, step_ns);
        self.steps.note(mono_ns, step_ns);
        for slot in self.ring.iter_mut() {
            slot.forget_one_way();
        }
        for path in [Path::Forward, Path::Backward] {
            self.jitter[path as usize].restart();
        }
    }

    /// What `adjtimex` says of the local clock from now on: whether it is synchronized and its greatest error.
    pub fn local_clock(&mut self, synchronized: bool, error_ns: Option<u64>) {
        self.local_clock = Some((synchronized, error_ns));
    }

    /// Whether one-way delays may be told from T1 and T4, within the error that the kernel names.
    fn local_clock_is_known(&self) -> bool {
        matches!(self.local_clock, Some((true, Some(_))))
    }

    /// Count what the ledger cannot see: datagrams rejected for their length, authentication or SSID, ICMP errors, drops
    /// of the socket and of the sample buffer.
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.current.add(counter, n);
    }

    /// The whole test-session until `now`. Losses whose direction is still waited for are shown as unattributed here, and
    /// under no direction in any interval yet.
    pub fn summary(&self, now: WallNanos) -> Summary {
        let mut summary = self.current.clone();
        summary.add(Counter::LostUnattributed, self.attribution.undecided());
        self.close_span(&mut summary, now);
        if let Some(past) = &self.past {
            summary.merge(past);
        }
        summary
    }

    /// What came since the last call, or since the start. All intervals merge to [`Self::summary`].
    pub fn take_interval(&mut self, now: WallNanos) -> Summary {
        let mut interval = std::mem::take(&mut self.current);
        self.current.start_ns = now.0;
        self.close_span(&mut interval, now);
        self.past.get_or_insert_default().merge(&interval);
        interval
    }

    fn close_span(&self, span: &mut Summary, now: WallNanos) {
        span.end(now.0);
        span.reflector_stateful = self.stateful;
    }

    /// Octets that the ledger occupies, itself included.
    pub fn memory_bytes(&self) -> usize {
        let past = self.past.as_ref().map_or(0, |past| size_of::<Summary>() + past.memory_bytes());
        let waiting = self.waiting.memory_bytes();
        let parts = self.further.memory_bytes()
            + self.ring.memory_bytes()
            + self.far_order.memory_bytes()
            + self.attribution.memory_bytes();
        size_of::<Self>() + self.current.memory_bytes() + past + waiting + self.steps.memory_bytes() + parts
    }
}
