//! The Session-Sender's protocol, without sockets and without clocks.
//!
//! Theory of operation. The worker asks when something is due ([`SessionSender::next_event`]), has packets built
//! ([`build`](SessionSender::build)) and says what became of each ([`departed`](SessionSender::departed),
//! [`refused`](SessionSender::refused)): only a packet that left takes a sequence number, so a hole in the numbers is always
//! the network's. Stamps and replies come in as they arrive; what they mean for loss, order and delay is the [`Ledger`]'s.
//!
//! OWAMP's packets are numbered by the schedule instead, which the Session-Receiver knows too: a packet that is more than
//! the timeout late, or that the kernel refuses, leaves a hole, and the holes are kept as Skip Ranges. Nobody answers, so
//! the session ends with its last packet.
//!
//! RFCs to read first: 8762 section 4, 8972 sections 3 and 4, 5357 section 4.1 and Appendix I, 6038 section 5, 4656
//! section 4.1.

pub mod extensions;
mod following;
mod padding;
mod receiving;
mod stamps;

use std::collections::VecDeque;

use twoway_wire::tlv::AccessReport;
use twoway_wire::{ErrorEstimate, PacketFormat, RawTimestamp, SenderPacket, TestKeys, TimestampFormat, WallNanos};

use self::extensions::{AccessProgress, TlvPlan};
pub use self::padding::Padding;
use self::stamps::STAMP_SKEW;
use crate::ledger::{Ledger, LedgerSpec, NotSent, Told};
use crate::sample::{NoSamples, Sample, SampleSink};
use crate::schedule::{Group, Random, Schedule, Spacing};
use crate::sender::handle::Shared;
use crate::slots::SkipRange;
use crate::summary::{Counter, Summary};
use crate::sys::TimestampMode;
use crate::watch::Watch;

/// Stamps come back within this time or are not waited for.
const STAMP_DELAY_NS: i64 = 10_000_000;
/// What a reply that was asked to have a length may be longer: rounding, and padding that has a header.
const LONGEST_ROUNDING: usize = 8;
/// Slots passed over in one go: a schedule that began long ago must not keep the worker from its other sessions.
const MISSED_AT_ONCE: u64 = 4096;
/// After the last reply a session stays this long, to see whether that was duplicated.
const LINGER_NS: i64 = 20_000_000;

/// How far a Session-Sender got in its schedule, as Stop-Sessions tells it (RFC 4656 section 3.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Next Seqno: number of the packet that would be sent next.
    pub next_sequence: u32,
    /// Packets before it that were not sent, in ascending order.
    pub skipped: Vec<SkipRange>,
}

/// What a Session-Sender sends.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub struct SessionSpec {
    /// Layout of its packets.
    pub format: PacketFormat,
    /// Keys that the format needs.
    pub keys: TestKeys,
    /// STAMP Session Identifier, 0 for none.
    pub ssid: u16,
    /// A reply without it ends the session: the far end knows no SSIDs (RFC 8972 section 3).
    pub require_ssid: bool,
    /// Format of T1.
    pub timestamp_format: TimestampFormat,
    /// Octets of UDP payload.
    pub payload_len: usize,
    /// What stands after the base packet, where there are no TLVs to ask for something.
    pub padding: Padding,
    /// STAMP TLVs, and Extra Padding to the end of the packet; empty for none.
    pub tlvs: TlvPlan,
    /// Nobody answers: packets are numbered by the schedule (OWAMP).
    pub one_way: bool,
    /// Packets to send; `None` for no end.
    pub count: Option<u64>,
    /// Spacing of the packets.
    pub spacing: Spacing,
    /// Groups with a pause between them; not with a slot list.
    pub group: Option<Group>,
    /// Mean gap between packets.
    pub interval_ns: i64,
    /// Seed of gaps and padding.
    pub seed: u64,
    /// The reply octet after Sender TTL is S-DSCP-ECN (RFC 7750).
    pub dscp_ecn_monitoring: bool,
    /// Stamps asked for.
    pub timestamps: TimestampMode,
    /// What the ledger must know; its start is set when the session starts.
    pub ledger: LedgerSpec,
    /// Whether anybody wants samples.
    pub samples: bool,
}

/// A packet that was built and is not yet known to have left.
#[derive(Clone, Debug)]
pub struct Built {
    sequence: u32,
    /// T1 as written.
    written: WallNanos,
    /// Clock reading that T1 was made from.
    wall: WallNanos,
    monotonic_ns: i64,
    lateness_ns: i64,
    /// Slots that were passed over before this one.
    missed: u64,
    /// It has the Access Report.
    access_report: bool,
    /// It or one built before it has.
    access_reported: bool,
    /// The schedule once this slot is taken.
    schedule: Schedule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Sending,
    /// All sent; replies may still come.
    Draining,
    Finished,
}

/// One Session-Sender.
#[derive(Debug)]
pub struct SessionSender {
    spec: SessionSpec,
    state: State,
    schedule: Schedule,
    random: Random,
    sequence: u32,
    /// Packets of a one-way session that were not sent.
    skipped: Vec<SkipRange>,
    /// Datagrams that left: the kernel's own numbering, but for what it refused.
    departures: u32,
    /// Our number of a datagram minus the kernel's.
    stamp_skew: i64,
    /// Clock readings of the last packets, by which their stamps are known: (number of the datagram, reading).
    readings: VecDeque<(u32, WallNanos)>,
    readings_kept: usize,
    last_departure_ns: i64,
    /// When a drained session ends.
    linger_until_ns: Option<i64>,
    error_estimate: ErrorEstimate,
    clock_error_ns: Option<u64>,
    clock_synchronized: bool,
    ledger: Ledger,
    samples: Sink,
    drops_seen: Option<u32>,
    /// Nobody answers its packets: one-way, or because they ask for no reply (RFC 9503 section 4.1.1).
    unanswered: bool,
}

impl SessionSender {
    /// A session that waits for [`start`](Self::start).
    pub fn new(spec: SessionSpec) -> Self {
        let schedule = Schedule::new(&spec.spacing, spec.interval_ns, spec.count, spec.seed, 0).grouped(spec.group);
        Self {
            random: Random::new(spec.seed ^ 0x5bd1_e995),
            state: State::Waiting,
            schedule,
            sequence: 0,
            skipped: Vec::new(),
            departures: 0,
            stamp_skew: 0,
            readings: VecDeque::new(),
            readings_kept: (STAMP_DELAY_NS / spec.interval_ns.max(1)).clamp(0, 4096) as usize + 2 * STAMP_SKEW as usize,
            last_departure_ns: 0,
            linger_until_ns: None,
            clock_error_ns: None,
            clock_synchronized: false,
            error_estimate: ErrorEstimate::new(false, spec.timestamp_format, None),
            ledger: Ledger::new(spec.ledger),
            samples: Sink { rows: Vec::new(), wanted: spec.samples, watch: None },
            drops_seen: None,
            unanswered: spec.one_way || spec.tlvs.asks_for_no_reply(),
            spec,
        }
    }

    /// Octets of UDP payload of each packet.
    pub fn payload_len(&self) -> usize {
        self.spec.payload_len
    }

    /// Room that any packet or honest reply of this session needs.
    pub fn longest_packet(&self) -> usize {
        let control = self.spec.tlvs.requests().control.as_ref();
        let asked = control.map_or(0, |request| usize::from(request.control.length) + LONGEST_ROUNDING);
        self.spec.payload_len.max(asked).max(self.spec.format.reflector_len_with(self.spec.dscp_ecn_monitoring))
    }

    /// The schedule begins at `at_ns`, which is `wall` on the wall clock. A moment that has passed means now, except in
    /// one-way sessions: their schedule is the other end's too, and what is due no more is skipped.
    pub fn start(&mut self, at_ns: i64, wall: WallNanos, now_ns: i64) {
        if self.state == State::Waiting {
            self.state = State::Sending;
            let begin_ns = if self.spec.one_way { at_ns } else { at_ns.max(now_ns) };
            let SessionSpec { spacing, group, interval_ns, count, seed, .. } = &self.spec;
            self.schedule = Schedule::new(spacing, *interval_ns, *count, *seed, begin_ns).grouped(*group);
            let start = WallNanos(wall.0.saturating_add(begin_ns.saturating_sub(at_ns)));
            self.ledger = Ledger::new(LedgerSpec { start, ..self.spec.ledger });
            self.ledger.local_clock(self.clock_synchronized, self.clock_error_ns);
        }
    }

    /// Between two departures; the mean of random ones.
    pub fn interval_ns(&self) -> i64 {
        self.spec.interval_ns
    }

    /// Sends no more. What is outstanding is awaited for its timeout.
    pub fn stop(&mut self, now_ns: i64) {
        self.schedule.end();
        if self.state == State::Waiting {
            self.state = State::Finished;
        }
        self.expire(now_ns);
    }

    /// Ends now: what is outstanding stays undecided.
    pub fn abort(&mut self, now_ns: i64) {
        self.schedule.end();
        match self.state {
            State::Waiting => self.state = State::Finished,
            State::Sending | State::Draining => self.finish(now_ns, true),
            State::Finished => {}
        }
    }

    /// It has not been started.
    pub fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// Nothing more will happen.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    fn finish(&mut self, now_ns: i64, aborted: bool) {
        self.state = State::Finished;
        let (ledger, sink) = self.split();
        ledger.finish(now_ns, aborted, sink);
    }

    /// The ledger and where it puts samples.
    fn split(&mut self) -> (&mut Ledger, &mut Sink) {
        (&mut self.ledger, &mut self.samples)
    }

    /// When something is due next, on the monotonic clock: a packet, or the end of a wait for a reply.
    pub fn next_event(&self) -> Option<i64> {
        let watched = self.samples.watch.as_ref().and_then(|watch| watch.next_event());
        let expiry = earliest(self.ledger.next_expiry(), watched);
        match self.state {
            State::Waiting | State::Finished => None,
            State::Sending => earliest(self.schedule.next(), expiry),
            State::Draining => earliest(Some(self.end_ns()), expiry),
        }
    }

    /// When a session that sends no more ends: the last packet's timeout, or soon after the last reply.
    fn end_ns(&self) -> i64 {
        let timeout = self.last_departure_ns.saturating_add(self.spec.ledger.timeout_ns);
        self.linger_until_ns.map_or(timeout, |linger| linger.min(timeout))
    }

    /// Decides packets whose time is over, and notices the end of the session.
    pub fn expire(&mut self, now_ns: i64) {
        if matches!(self.state, State::Waiting | State::Finished) {
            return;
        }
        let (ledger, sink) = self.split();
        if let Some(watch) = &mut sink.watch {
            watch.expire(now_ns);
        }
        ledger.expire(now_ns, sink);
        if self.schedule.next().is_some() {
            return;
        }
        if self.spec.one_way {
            return self.finish(now_ns, false);
        }
        self.state = State::Draining;
        if self.ledger.outstanding() == 0 {
            self.linger_until_ns.get_or_insert(now_ns + LINGER_NS);
        }
        // The last timeout ends the session: what is overdue by then has had its time.
        if now_ns >= self.end_ns() {
            self.finish(now_ns, false);
        }
    }

    /// Builds the packet that is due after `before` (or first) into `packet`, which is `payload_len` octets. `None`: no
    /// packet is due. T1 is written for `gap_ns` after `wall`, when the packet is expected to leave.
    pub fn build(
        &mut self,
        before: Option<&Built>,
        now_ns: i64,
        wall: WallNanos,
        gap_ns: i64,
        packet: &mut [u8],
    ) -> Option<Built> {
        if self.state != State::Sending {
            return None;
        }
        let (mut schedule, sequence) = match before {
            Some(built) => (built.schedule.clone(), built.sequence.wrapping_add(1)),
            None => (self.schedule.clone(), self.sequence),
        };
        // RFC 4656 section 4.1.1: what is late by more than the timeout MUST NOT be sent, the rest SHOULD be.
        let patience_ns = if self.spec.one_way { self.spec.ledger.timeout_ns } else { schedule.patience_ns() };
        let mut missed = 0;
        let due = loop {
            let due = schedule.next().filter(|due| *due <= now_ns);
            let Some(due) = due else {
                // All that was due is too long ago: there is nothing to build, but the slots are gone.
                if missed > 0 {
                    self.note_missed(self.sequence, missed, now_ns);
                    self.schedule = schedule;
                }
                return None;
            };
            schedule.advance();
            if now_ns - due <= patience_ns {
                break due;
            }
            missed += 1;
            if missed == MISSED_AT_ONCE {
                self.note_missed(self.sequence, missed, now_ns);
                self.schedule = schedule;
                return None;
            }
        };
        // In OWAMP a slot is a number, whether or not its packet is sent.
        let sequence = if self.spec.one_way { sequence.wrapping_add(missed as u32) } else { sequence };
        let written = WallNanos(wall.0.saturating_add(gap_ns));
        let base = SenderPacket {
            sequence,
            timestamp: RawTimestamp::encode(written, self.spec.timestamp_format),
            error_estimate: self.error_estimate,
            ssid: self.spec.ssid,
        };
        let access_reported = before.is_some_and(|built| built.access_reported);
        let access_report = !access_reported && self.spec.tlvs.access_report_due(now_ns);
        let Self { spec, random, .. } = self;
        if spec.tlvs.is_empty() {
            spec.padding.write(spec.format, spec.dscp_ecn_monitoring, random, (spec.seed, sequence), packet);
        } else {
            let fill = |octets: &mut [u8]| {
                if spec.padding.random {
                    random.fill(octets);
                }
            };
            spec.tlvs.emit(sequence, access_report, &mut packet[spec.format.sender_len()..], fill);
        }
        // The specification was checked when the session was opened: length and keys fit the format.
        let emitted = base.emit(self.spec.format, &self.spec.keys, packet);
        debug_assert_eq!(emitted, Ok(()));
        Some(Built {
            sequence,
            written,
            wall,
            monotonic_ns: now_ns,
            lateness_ns: now_ns - due,
            missed,
            access_report,
            access_reported: access_report || access_reported,
            schedule,
        })
    }

    /// The schedule's next slots are passed over: too late. In one-way sessions `first` is the number of the first of them.
    fn note_missed(&mut self, first: u32, missed: u64, now_ns: i64) {
        if self.spec.one_way && missed > 0 {
            let last = first.wrapping_add(missed as u32 - 1);
            SkipRange::append(&mut self.skipped, first, last);
            self.sequence = last.wrapping_add(1);
        }
        if missed == 0 {
            return;
        }
        let mut schedule = self.schedule.clone();
        for _ in 0..missed {
            // A stop in between has ended the schedule: then nobody knows better than that it was too late.
            let late = schedule.next().map_or_else(|| schedule.patience_ns(), |due| now_ns.saturating_sub(due));
            self.note_not_sent(NotSent::MissedSlot { lateness_ns: late });
            schedule.advance();
        }
    }

    fn note_not_sent(&mut self, why: NotSent) {
        if self.unanswered {
            self.ledger.not_sent(why, &mut NoSamples);
        } else {
            let (ledger, sink) = self.split();
            ledger.not_sent(why, sink);
        }
    }

    /// The packet left.
    pub fn departed(&mut self, built: &Built) {
        self.take_slot(built);
        if self.unanswered {
            self.ledger.sent_one_way(built.sequence, built.lateness_ns);
        } else {
            self.ledger.sent(built.sequence, built.monotonic_ns, built.written, built.lateness_ns);
            if let Some(watch) = &mut self.samples.watch {
                watch.sent(built.sequence, built.monotonic_ns, built.lateness_ns);
            }
        }
        match self.spec.tlvs.departed(built.monotonic_ns, built.access_report) {
            Some(AccessProgress::Sent) => self.ledger.add(Counter::AccessReportsSent, 1),
            Some(AccessProgress::Abandoned) => self.ledger.add(Counter::AccessReportsAbandoned, 1),
            None => {}
        }
        self.sequence = built.sequence.wrapping_add(1);
        self.last_departure_ns = built.monotonic_ns;
        if self.spec.timestamps != TimestampMode::User {
            if self.readings.len() >= self.readings_kept {
                self.readings.pop_front();
            }
            self.readings.push_back((self.departures, built.wall));
        }
        self.departures = self.departures.wrapping_add(1);
    }

    /// The kernel refused the packet. Packets built after it must be built again.
    pub fn refused(&mut self, built: &Built) {
        self.take_slot(built);
        self.last_departure_ns = built.monotonic_ns;
        if self.spec.one_way {
            SkipRange::append(&mut self.skipped, built.sequence, built.sequence);
            self.sequence = built.sequence.wrapping_add(1);
        }
        self.note_not_sent(NotSent::SendError);
    }

    fn take_slot(&mut self, built: &Built) {
        self.note_missed(built.sequence.wrapping_sub(built.missed as u32), built.missed, built.monotonic_ns);
        // A stop in between has ended the schedule for good.
        if self.schedule.next().is_some() {
            self.schedule = built.schedule.clone();
        }
    }

    /// How far it got; final once it has been stopped or has finished.
    pub fn progress(&self) -> Progress {
        Progress { next_sequence: self.sequence, skipped: self.skipped.clone() }
    }

    /// Reports that state of the access network from the next packet on, until it is acknowledged (RFC 8972 section 4.6).
    pub fn report_access(&mut self, report: AccessReport) {
        self.spec.tlvs.report_access(report);
    }

    /// An ICMP error came back.
    pub fn icmp_error(&mut self) {
        self.ledger.add(Counter::IcmpErrors, 1);
    }

    /// The wall clock jumped by `step_ns`.
    pub fn clock_step(&mut self, now_ns: i64, wall: WallNanos, step_ns: i64) {
        self.ledger.clock_step(now_ns, wall, step_ns);
    }

    /// What the kernel says of the local clock now.
    pub fn clock_state(&mut self, error_ns: Option<u64>, synchronized: bool) {
        self.error_estimate = ErrorEstimate::new(synchronized, self.spec.timestamp_format, error_ns);
        (self.clock_synchronized, self.clock_error_ns) = (synchronized, error_ns);
        self.ledger.local_clock(synchronized, error_ns);
        if let Some(watch) = &mut self.samples.watch {
            watch.local_clock(synchronized);
        }
    }

    /// Whether there is something to hand over.
    pub fn has_samples(&self) -> bool {
        !self.samples.rows.is_empty()
    }

    /// Hands the samples over, unless the other side is busy with them just now.
    pub fn hand_over(&mut self, shared: &Shared) -> bool {
        shared.offer(&mut self.samples.rows)
    }

    fn note_dropped(&mut self, shared: &Shared) {
        self.ledger.add(Counter::SamplesDropped, shared.take_dropped());
    }

    /// The whole session so far.
    pub fn summary(&mut self, shared: &Shared, wall: WallNanos) -> Summary {
        self.note_dropped(shared);
        self.ledger.summary(wall)
    }

    /// What came since the last of these.
    pub fn take_interval(&mut self, shared: &Shared, wall: WallNanos) -> Summary {
        self.note_dropped(shared);
        self.ledger.take_interval(wall)
    }
}

/// The earlier of two moments, either of which may never come.
fn earliest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Takes samples where they are wanted.
#[derive(Debug)]
struct Sink {
    rows: Vec<Sample>,
    wanted: bool,
    watch: Option<Box<Watch>>,
}

impl SampleSink for Sink {
    fn sample(&mut self, sample: &Sample) {
        if let Some(watch) = &mut self.watch {
            watch.row(sample);
        }
        if self.wanted {
            if self.rows.capacity() == 0 {
                // Most sessions have one when it is handed over.
                self.rows.reserve_exact(1);
            }
            self.rows.push(*sample);
        }
    }

    fn told(&mut self, sequence: u32, told: &Told) {
        if let Some(watch) = &mut self.watch {
            watch.told(sequence, told);
        }
    }
}
