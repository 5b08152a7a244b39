//! What goes into the ledger and what it answers.

use twoway_wire::{RawTimestamp, TimestampFormat, WallNanos};

use super::extensions::ReplyTlvs;
use crate::sample::{TimestampSource, named};

named! {
    /// Whether the Session-Reflector numbers its own packets (RFC 8762 section 4: stateful) or copies our number.
    pub enum ReflectorMode {
        /// Find out: the first reply whose number is not a copy of ours proves that it counts.
        Auto = "auto",
        /// It copies: loss has no direction.
        Stateless = "stateless",
        /// It counts.
        Stateful = "stateful",
    }
}

/// Why a scheduled packet was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// We came too late for its moment.
    MissedSlot {
        /// So late.
        lateness_ns: i64,
    },
    /// The kernel refused it.
    SendError,
}

/// What the ledger of one Session-Sender must know beforehand.
#[derive(Clone, Copy, Debug)]
pub struct LedgerSpec {
    /// Packets that may be outstanding at once: two timeouts at the send rate, and a margin. Rounded up to a power of
    /// two; memory grows beyond it rather than give up a packet early.
    pub ring: usize,
    /// How long a reply is in time. A packet is given up at twice this.
    pub timeout_ns: i64,
    /// What is known about the Session-Reflector.
    pub reflector_mode: ReflectorMode,
    /// Format of the T1 that goes into packets, by which an echo is compared.
    pub timestamp_format: TimestampFormat,
    /// The best source that T1 and T4 can be expected from; what comes from a lesser one fell back.
    pub timestamps: TimestampSource,
    /// How long a received packet waits for its transmit stamp if `timestamps` is better than user space.
    pub stamp_wait_ns: i64,
    /// How long after a packet is given up its loss may wait for a direction (a later reply tells it) before it counts as
    /// unattributed. `i64::MAX`: until the test-session ends.
    pub attribution_wait_ns: i64,
    /// Losses that may wait for their direction at once; the oldest counts as unattributed when there are more.
    pub attribution_capacity: usize,
    /// How long a received packet waits for the reply that tells when its own really left, where Follow-Up Telemetry is
    /// asked for; 0 where it is not.
    pub follow_up_wait_ns: i64,
    /// Replies asked for with each packet (RFC 10052); 1 unless more are.
    pub replies_asked: u16,
    /// Wall time at which the test-session begins.
    pub start: WallNanos,
}

/// One reply datagram that passed the format, key and SSID checks.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent findings about one datagram, each counted by itself.
pub struct Reply {
    /// Our sequence number, as echoed.
    pub sender_sequence: u32,
    /// The Session-Reflector's own sequence number.
    pub reflector_sequence: u32,
    /// Our T1, as echoed.
    pub sender_timestamp: RawTimestamp,
    /// T2; None where it is zero or not a valid timestamp.
    pub t2: Option<WallNanos>,
    /// T3; None where it is zero or not a valid timestamp.
    pub t3: Option<WallNanos>,
    /// T4.
    pub t4: WallNanos,
    /// Where T4 was taken.
    pub t4_source: TimestampSource,
    /// S bit of the far Error Estimate.
    pub far_synchronized: bool,
    /// Error that the far Error Estimate declares; None where it declares none.
    pub far_error_ns: Option<u64>,
    /// The far Error Estimate has Multiplier 0.
    pub far_error_estimate_invalid: bool,
    /// TTL of our packet at the far end.
    pub sender_ttl: Option<u8>,
    /// TTL of the reply here.
    pub returned_ttl: Option<u8>,
    /// Traffic class octet of our packet at the far end (RFC 7750).
    pub far_dscp_ecn: Option<u8>,
    /// Traffic class octet of the reply here.
    pub returned_dscp_ecn: Option<u8>,
    /// The SSID came back as zero though ours was not.
    pub ssid_zero: bool,
    /// What its TLVs say.
    pub tlvs: ReplyTlvs,
}

/// Which way something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the Session-Sender to the Session-Reflector.
    Forward,
    /// From the Session-Reflector to the Session-Sender.
    Backward,
    /// Nothing says which.
    Unattributed,
}

/// What a reply turned out to be. Each reply is exactly one of these, and counted as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyVerdict {
    /// First reply, in time.
    Received,
    /// First reply, after the timeout.
    Late,
    /// One of the further replies that were asked for.
    Further,
    /// Not the first.
    Duplicate(Direction),
    /// No packet of that sequence number was sent.
    UnknownSequence,
    /// The echoed T1 is not what was sent under that sequence number.
    Mismatch,
    /// The packet's fate was already final.
    Expired,
}
