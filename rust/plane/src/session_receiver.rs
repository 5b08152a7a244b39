//! The Session-Receiver of OWAMP: which packets came, which did not. No I/O, no clock.
//!
//! Read first: RFC 4656 sections 3.8, 3.9 and 4.2.
//!
//! Theory of operation. The receiver walks through the same schedule as the Session-Sender. Scheduled times are needed for
//! the packets between the `tail`, before which everything is decided, and the `head`, up to which the schedule has been
//! computed; they lie in a window. An arriving packet pulls the head ahead, but only as far as a packet with its
//! timestamp can be scheduled, so a forged number costs nothing but what the schedule holds anyway. Time pushes the tail:
//! a packet sent up to a timeout late and up to a timeout under way is still recorded, so what has not come two timeouts
//! after its scheduled time is lost, and no record is ever taken back by a later arrival.
//!
//! Each packet has at most one lost record or one record as first copy. Room for those is set aside: duplicates, which
//! anybody on the path can make, only fill the rest of the store, and what finds no room there is counted.
//!
//! Stop-Sessions ends a test-session: [`SessionReceiver::complete`] discards what the RFC says must not count, so that
//! losses, duplicates and delays are of the same packets. Without a proper end it is [`SessionReceiver::abandon`].

mod summarize;

use std::collections::VecDeque;

use twoway_wire::{
    ErrorEstimate, PacketFormat, RawTimestamp, SenderPacket, TestKeys, TimestampFormat, WallNanos, WireError,
};

pub use self::summarize::summarize;
use crate::managed::Disposition;
use crate::slots::{SkipRange, SlotList, SlotSchedule};

/// Error Estimate of the presumed send time of a lost packet: Multiplier 1, Scale 64, S 0 (RFC 4656 section 3.9), of which
/// six bits can only say Scale 0.
const LOST_ERROR_ESTIMATE: ErrorEstimate = ErrorEstimate(1);
/// TTL of a lost packet, and of one whose TTL is not known.
const UNKNOWN_TTL: u8 = 255;

/// What a Session-Receiver expects.
#[derive(Clone, Debug)]
pub struct ReceiverSpec {
    /// Layout of the packets.
    pub format: PacketFormat,
    /// Keys that the format needs.
    pub keys: TestKeys,
    /// Their schedule.
    pub slots: SlotList,
    /// Number of Packets.
    pub packets: u32,
    /// After this a packet is lost.
    pub timeout_ns: i64,
    /// Most records kept; at least `packets`. What is more is for duplicates.
    pub record_capacity: usize,
}

/// A packet record as Fetch-Session carries it (RFC 4656 section 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Sequence number.
    pub sequence: u32,
    /// Error Estimate of the send timestamp.
    pub send_error_estimate: ErrorEstimate,
    /// Error Estimate of the receive timestamp.
    pub receive_error_estimate: ErrorEstimate,
    /// T1 as sent; the scheduled time of a lost packet.
    pub send_timestamp: RawTimestamp,
    /// Arrival; all zeros for a lost packet.
    pub receive_timestamp: RawTimestamp,
    /// TTL or hop limit on arrival; 255 if unknown or lost.
    pub ttl: u8,
}

/// Octets of a packet record on the wire.
pub const RECORD_LEN: usize = 25;

impl Record {
    /// The record on the wire.
    pub fn octets(&self) -> [u8; RECORD_LEN] {
        let mut octets = [0; RECORD_LEN];
        octets[..4].copy_from_slice(&self.sequence.to_be_bytes());
        octets[4..6].copy_from_slice(&self.send_error_estimate.0.to_be_bytes());
        octets[6..8].copy_from_slice(&self.receive_error_estimate.0.to_be_bytes());
        octets[8..16].copy_from_slice(&self.send_timestamp.0.to_be_bytes());
        octets[16..24].copy_from_slice(&self.receive_timestamp.0.to_be_bytes());
        octets[24] = self.ttl;
        octets
    }

    /// Reads a record. Any octets are one.
    pub fn parse(octets: &[u8; RECORD_LEN]) -> Self {
        let word = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let half = |at: usize| (u64::from(word(at)) << 16) | u64::from(word(at + 2));
        let timestamp = |at: usize| RawTimestamp((half(at) << 32) | half(at + 4));
        Self {
            sequence: half(0) as u32,
            send_error_estimate: ErrorEstimate(word(4)),
            receive_error_estimate: ErrorEstimate(word(6)),
            send_timestamp: timestamp(8),
            receive_timestamp: timestamp(16),
            ttl: octets[24],
        }
    }

    /// Whether the packet did not come.
    pub const fn is_lost(&self) -> bool {
        self.receive_timestamp.0 == 0
    }
}

/// How a test-session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet.
    Running,
    /// By Stop-Sessions: the records are whole.
    Complete,
    /// The control connection broke: losses at the end are left out, as they may never have been sent.
    Abandoned,
    /// The Session-Sender says that it sent less than came. There are no results.
    Invalid,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Complete, Self::Abandoned, Self::Invalid];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Abandoned => "abandoned",
            Self::Invalid => "invalid",
        }
    }
}

/// Packet numbers, a bit each.
#[derive(Clone, Debug, Default)]
struct Numbers(Vec<u64>);

impl Numbers {
    fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Returns whether it is new.
    fn insert(&mut self, number: u32) -> bool {
        let place = number as usize / 64;
        if place >= self.0.len() {
            self.0.resize(place + 1, 0);
        }
        let new = self.0[place] & (1 << (number % 64)) == 0;
        self.0[place] |= 1 << (number % 64);
        new
    }
}

/// One Session-Receiver; the module says how it works.
#[derive(Clone, Debug)]
pub struct SessionReceiver {
    spec: ReceiverSpec,
    /// Start on the wall and on the monotonic clock.
    start: Option<(WallNanos, i64)>,
    schedule: SlotSchedule,
    /// Scheduled times after the start of the packets from `tail` on.
    window: VecDeque<i64>,
    tail: u32,
    seen: Numbers,
    highest: Option<u32>,
    duplicates: usize,
    records: Vec<Record>,
    outcome: Outcome,
    next_sequence: u32,
    skipped: Vec<SkipRange>,
}

impl SessionReceiver {
    /// A receiver that waits to be started.
    pub fn new(spec: ReceiverSpec) -> Self {
        Self {
            start: None,
            schedule: SlotSchedule::new(&spec.slots),
            window: VecDeque::new(),
            tail: 0,
            seen: Numbers::default(),
            highest: None,
            duplicates: 0,
            records: Vec::new(),
            outcome: Outcome::Running,
            next_sequence: 0,
            skipped: Vec::new(),
            spec,
        }
    }

    /// The schedule begins at `start`, which the monotonic clock shows as `start_ns`. Only the first call counts.
    pub fn start(&mut self, start: WallNanos, start_ns: i64) {
        self.start.get_or_insert((start, start_ns));
    }

    /// Octets that a packet needs at least.
    pub fn format(&self) -> PacketFormat {
        self.spec.format
    }

    /// Records so far, received ones in the order of arrival.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Next Seqno of Stop-Sessions, 0 before.
    pub fn next_sequence(&self) -> u32 {
        self.next_sequence
    }

    /// Skip Ranges of Stop-Sessions, none before.
    pub fn skipped(&self) -> &[SkipRange] {
        &self.skipped
    }

    /// Start of the schedule on the wall clock.
    pub fn started(&self) -> Option<WallNanos> {
        self.start.map(|(start, _)| start)
    }

    fn head(&self) -> u32 {
        self.tail + self.window.len() as u32
    }

    /// Scheduled time, after the start, of packet `tail`; `None` if all are decided.
    fn oldest(&mut self) -> Option<i64> {
        if self.window.is_empty() && self.tail < self.spec.packets {
            self.window.push_back(self.schedule.advance());
        }
        self.window.front().copied()
    }

    /// Scheduled time, after the start, of packet `sequence`, if it is undecided and due by `latest_ns`.
    fn scheduled(&mut self, sequence: u32, latest_ns: i64) -> Option<i64> {
        let place = sequence.checked_sub(self.tail)? as usize;
        while self.window.len() <= place {
            if self.window.back().is_some_and(|last| *last > latest_ns) {
                return None;
            }
            self.window.push_back(self.schedule.advance());
        }
        self.window.get(place).copied()
    }

    /// A datagram came in at `received`. Encrypted octets are decrypted in place.
    pub fn receive(
        &mut self,
        octets: &mut [u8],
        received: WallNanos,
        ttl: Option<u8>,
        error_estimate: ErrorEstimate,
    ) -> Disposition {
        let Some((start, _)) = self.start else { return Disposition::NotStarted };
        let packet = match SenderPacket::parse(self.spec.format, &self.spec.keys, octets) {
            Ok(packet) => packet,
            Err(WireError::TooShort { .. }) => return Disposition::TooShort,
            Err(_) => return Disposition::BadHmac,
        };
        if packet.error_estimate.multiplier() == 0 {
            return Disposition::ZeroMultiplier;
        }
        if packet.sequence >= self.spec.packets {
            return Disposition::UnknownSequence;
        }
        let Ok(sent) = packet.timestamp.decode(packet.error_estimate.format(), received) else {
            return Disposition::Malformed;
        };
        // The three rules of RFC 4656 section 4.2 by which a packet MUST be discarded; the third is the HMAC's.
        let timeout_ns = self.spec.timeout_ns;
        if received.since(sent).saturating_abs() > timeout_ns {
            return Disposition::SendTimeImplausible;
        }
        let sent_ns = sent.since(start);
        let scheduled_ns = self.scheduled(packet.sequence, sent_ns.saturating_add(timeout_ns));
        if scheduled_ns.is_none_or(|due_ns| sent_ns.saturating_sub(due_ns).saturating_abs() > timeout_ns) {
            return Disposition::OffSchedule;
        }
        let duplicate = self.seen.contains(packet.sequence);
        if duplicate && self.duplicates >= self.spec.record_capacity.saturating_sub(self.spec.packets as usize) {
            return Disposition::RecordsFull;
        }
        self.records.push(Record {
            sequence: packet.sequence,
            send_error_estimate: packet.error_estimate,
            receive_error_estimate: error_estimate,
            send_timestamp: packet.timestamp,
            receive_timestamp: RawTimestamp::encode(received, error_estimate.format()),
            ttl: ttl.unwrap_or(UNKNOWN_TTL),
        });
        if duplicate {
            self.duplicates += 1;
            return Disposition::RecordedDuplicate;
        }
        self.seen.insert(packet.sequence);
        self.highest = self.highest.max(Some(packet.sequence));
        Disposition::Recorded
    }

    /// When a packet is to be decided next, on the monotonic clock; `None` once all are.
    pub fn next_event(&mut self) -> Option<i64> {
        let (_, start_ns) = self.start?;
        let due_ns = start_ns.saturating_add(self.oldest()?);
        Some(due_ns.saturating_add(self.spec.timeout_ns.saturating_mul(2)).saturating_add(1))
    }

    /// Whether every packet is decided.
    pub fn is_decided(&self) -> bool {
        self.start.is_some() && self.tail == self.spec.packets
    }

    /// Decides what has had its time, at most `limit` packets.
    pub fn expire(&mut self, now_ns: i64, error_estimate: ErrorEstimate, limit: usize) {
        let Some((_, start_ns)) = self.start else { return };
        let latest_ns =
            now_ns.saturating_sub(start_ns).saturating_sub(self.spec.timeout_ns.saturating_mul(2)).saturating_sub(1);
        for _ in 0..limit {
            if self.oldest().is_none_or(|due_ns| due_ns > latest_ns) {
                break;
            }
            self.decide(error_estimate);
        }
    }

    /// The oldest packet has come or is lost.
    fn decide(&mut self, error_estimate: ErrorEstimate) {
        let (Some((start, _)), Some(due_ns)) = (self.start, self.window.pop_front()) else { return };
        let sequence = self.tail;
        self.tail += 1;
        if !self.seen.contains(sequence) {
            let due = WallNanos(start.0.saturating_add(due_ns));
            self.records.push(Record {
                sequence,
                send_error_estimate: LOST_ERROR_ESTIMATE,
                receive_error_estimate: error_estimate,
                send_timestamp: RawTimestamp::encode(due, TimestampFormat::Ntp),
                receive_timestamp: RawTimestamp(0),
                ttl: UNKNOWN_TTL,
            });
        }
    }

    /// Stop-Sessions: the Session-Sender got as far as `next_sequence` and left out `skipped`, which is in ascending order.
    pub fn complete(
        &mut self,
        next_sequence: u32,
        skipped: &[SkipRange],
        now_ns: i64,
        error_estimate: ErrorEstimate,
    ) -> Outcome {
        if self.outcome != Outcome::Running {
            return self.outcome;
        }
        self.next_sequence = next_sequence;
        self.skipped = skipped.to_vec();
        if self.highest.is_some_and(|highest| highest >= next_sequence) {
            self.records = Vec::new();
            self.outcome = Outcome::Invalid;
            return self.outcome;
        }
        if let Some((_, start_ns)) = self.start {
            let latest_ns = now_ns.saturating_sub(start_ns).saturating_sub(self.spec.timeout_ns);
            while self.head().min(self.tail) < next_sequence && self.oldest().is_some_and(|due_ns| due_ns <= latest_ns)
            {
                self.decide(error_estimate);
            }
        }
        // What was due less than a timeout ago: some of it may still be under way.
        let tail = self.tail;
        let was_skipped = |sequence: u32| {
            let after = skipped.partition_point(|range| range.first <= sequence);
            after > 0 && sequence <= skipped[after - 1].last
        };
        self.records.retain(|record| {
            let counts = !record.is_lost() || (record.sequence < next_sequence && !was_skipped(record.sequence));
            record.sequence < tail && counts
        });
        self.outcome = Outcome::Complete;
        self.outcome
    }

    /// The control connection broke before Stop-Sessions: the Session-Sender may have stopped after the last packet that
    /// came, so losses after it are none (RFC 4656 section 3.8).
    pub fn abandon(&mut self) -> Outcome {
        if self.outcome == Outcome::Running {
            let highest = self.highest;
            self.records.retain(|record| Some(record.sequence) <= highest);
            self.next_sequence = highest.map_or(0, |highest| highest.saturating_add(1));
            self.outcome = Outcome::Abandoned;
        }
        self.outcome
    }

    /// Octets on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.window.capacity() * size_of::<i64>()
            + self.seen.0.capacity() * size_of::<u64>()
            + self.records.capacity() * size_of::<Record>()
    }
}
