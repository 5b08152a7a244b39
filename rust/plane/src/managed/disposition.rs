//! What became of each packet of a managed test-session.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sample::named;

named! {
    /// Reason and action. Every datagram that came in on a port of ours has exactly one.
    pub enum Disposition {
        /// Answered.
        Reflected = "test_packet:reflected",
        /// Recorded: the first copy of its number.
        Recorded = "test_packet:recorded",
        /// Recorded: another copy.
        RecordedDuplicate = "duplicate:recorded",
        /// Not from the negotiated address and port.
        OtherSender = "other_sender:dropped",
        /// Before Start-Sessions was acknowledged (RFC 5357 section 4.2).
        NotStarted = "not_started:dropped",
        /// Shorter than its format.
        TooShort = "too_short:dropped",
        /// The HMAC does not verify (RFC 4656 section 4.2).
        BadHmac = "bad_hmac:dropped",
        /// Error Estimate with a Multiplier of 0 (RFC 4656 section 4.1.2: corrupt).
        ZeroMultiplier = "zero_multiplier:dropped",
        /// Itself the reply of a Session-Reflector: answering would start a loop.
        ReplyShaped = "reply_shaped:dropped",
        /// Refused for another reason.
        Malformed = "malformed:dropped",
        /// Larger than any UDP payload: its tail is missing.
        Truncated = "truncated:dropped",
        /// The reply was made but the kernel did not take it.
        SendFailed = "send_failed:dropped",
        /// A number at or beyond the Number of Packets.
        UnknownSequence = "unknown_sequence:dropped",
        /// Sent more than the timeout ago, or in the future, by its own timestamp (RFC 4656 section 4.2).
        SendTimeImplausible = "send_time_implausible:dropped",
        /// Sent more than the timeout off the scheduled time of its number (RFC 4656 section 4.2).
        OffSchedule = "off_schedule:dropped",
        /// A duplicate for which the store has no room.
        RecordsFull = "records_full:dropped",
    }
}

/// Packets by disposition: a worker counts, anyone reads.
#[derive(Debug)]
pub struct Dispositions([AtomicU64; Disposition::ALL.len()]);

impl Default for Dispositions {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Disposition::ALL.len()])
    }
}

impl Dispositions {
    /// Counts one packet.
    pub fn count(&self, disposition: Disposition) {
        self.0[disposition as usize].fetch_add(1, Relaxed);
    }

    /// (name, packets) of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Disposition::NAMES.iter().copied().zip(self.0.iter().map(|packets| packets.load(Relaxed)))
    }
}
