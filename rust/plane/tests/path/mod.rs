//! A ledger, and a path that does what a test says to each packet, for tests.
#![allow(dead_code, reason = "each test uses its part")]

use twoway_plane::ledger::{Ledger, LedgerSpec, ReflectorMode, Reply, ReplyTlvs, ReplyVerdict};
use twoway_plane::sample::{Sample, TimestampSource};
use twoway_plane::summary::{Counter, Summary};
use twoway_wire::{RawTimestamp, TimestampFormat, WallNanos};

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000 * MS;
pub(crate) const WALL: i64 = 1_800_000_000_000_000_000;
pub(crate) const FAR_OFFSET: i64 = 5_000 * MS;

pub(crate) fn spec(reflector_mode: ReflectorMode) -> LedgerSpec {
    LedgerSpec {
        ring: 8,
        timeout_ns: SECOND,
        reflector_mode,
        timestamp_format: TimestampFormat::Ntp,
        timestamps: TimestampSource::User,
        stamp_wait_ns: 50 * MS,
        attribution_wait_ns: i64::MAX,
        attribution_capacity: 1_000,
        follow_up_wait_ns: 0,
        replies_asked: 1,
        start: WallNanos(WALL),
    }
}

/// A ledger and the path that it measures: 1 ms there, 1 ms residence, 1 ms back, one packet each 100 ms.
pub(crate) struct Session {
    pub(crate) ledger: Ledger,
    pub(crate) rows: Vec<Sample>,
    /// What the wall clock is ahead of `WALL` + monotonic time.
    pub(crate) step: i64,
}

impl Session {
    pub(crate) fn new(spec: LedgerSpec) -> Self {
        Self { ledger: Ledger::new(spec), rows: Vec::new(), step: 0 }
    }

    pub(crate) fn stateful() -> Self {
        Self::new(spec(ReflectorMode::Stateful))
    }

    pub(crate) fn sent_at(sequence: u32) -> i64 {
        i64::from(sequence) * 100 * MS
    }

    pub(crate) fn send(&mut self, sequence: u32) {
        let now = Self::sent_at(sequence);
        self.ledger.expire(now, &mut self.rows);
        self.ledger.sent(sequence, now, WallNanos(WALL + now + self.step), 1_000);
    }

    pub(crate) fn reply_to(sequence: u32, reflector_sequence: u32, round_trip: i64) -> (Reply, i64) {
        let sent = Self::sent_at(sequence);
        let arrives = sent + round_trip + MS;
        let far = WALL + sent + round_trip / 2 + FAR_OFFSET;
        let reply = Reply {
            sender_sequence: sequence,
            reflector_sequence,
            sender_timestamp: RawTimestamp::encode(WallNanos(WALL + sent), TimestampFormat::Ntp),
            t2: Some(WallNanos(far)),
            t3: Some(WallNanos(far + MS)),
            t4: WallNanos(WALL + arrives),
            t4_source: TimestampSource::Kernel,
            far_synchronized: true,
            far_error_ns: Some(2_000),
            far_error_estimate_invalid: false,
            sender_ttl: Some(250),
            returned_ttl: Some(251),
            far_dscp_ecn: Some(184),
            returned_dscp_ecn: None,
            ssid_zero: false,
            tlvs: ReplyTlvs::default(),
        };
        (reply, arrives)
    }

    pub(crate) fn hand_in(&mut self, (reply, arrives): (Reply, i64)) -> ReplyVerdict {
        self.ledger.reply(&reply, arrives, &mut self.rows)
    }

    pub(crate) fn reply(&mut self, sequence: u32, reflector_sequence: u32) -> ReplyVerdict {
        self.hand_in(Self::reply_to(sequence, reflector_sequence, 2 * MS))
    }

    /// Send packets 0, 1, 2, ...: each with the number of its reply, or None if none comes.
    pub(crate) fn run(&mut self, numbers: &[Option<u32>]) {
        for (sequence, number) in (0..).zip(numbers) {
            self.send(sequence);
            if let Some(number) = *number {
                assert_eq!(self.reply(sequence, number), ReplyVerdict::Received);
            }
        }
    }

    pub(crate) fn finish(&mut self) -> Summary {
        self.ledger.finish(1_000 * SECOND, false, &mut self.rows);
        self.summary()
    }

    pub(crate) fn summary(&self) -> Summary {
        self.ledger.summary(WallNanos(WALL + SECOND))
    }

    pub(crate) fn row(&self, sequence: u32) -> &Sample {
        self.rows.iter().find(|row| row.sequence == sequence).expect("a row of the packet")
    }
}

pub(crate) fn lost(summary: &Summary) -> [u64; 3] {
    [Counter::LostForward, Counter::LostBackward, Counter::LostUnattributed].map(|counter| summary.count(counter))
}
