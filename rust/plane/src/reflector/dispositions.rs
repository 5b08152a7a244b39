//! What became of each received packet: one disposition (reason and action) per packet, counted without locks.
//!
//! A worker thread is the only writer of its own [`DispositionCounters`], so a count is a relaxed load and a relaxed store,
//! not a locked read-modify-write. Readers in other threads see each counter a moment late but never torn; the sum over all
//! dispositions equals the packets received once the workers have ended.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! dispositions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Reason and action for one received packet. Every received packet gets exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Disposition {
            $($(#[$doc])* $variant,)+
        }

        impl Disposition {
            /// Every disposition, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name "reason:action" that counters and reports carry.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

dispositions! {
    /// Answered with a reply no larger than the request.
    Reflected = "test_packet:reflected",
    /// Answered with a reply that is larger than the request: the shortest there is (44 octets, RFC 8762 section 4.6), or one
    /// that was asked to be (RFC 10052).
    ReflectedLarger = "test_packet:reflected_larger",
    /// Shorter than any test packet (14 octets).
    TooShort = "too_short:dropped",
    /// In the authenticated layout, a key is configured for its SSID, and the HMAC does not verify.
    BadHmac = "bad_hmac:dropped",
    /// Unauthenticated where authentication is required, in general or for its SSID.
    Unauthenticated = "unauthenticated:dropped",
    /// In the authenticated layout, and no key is configured for its SSID.
    UnknownKey = "unknown_key:dropped",
    /// The source address is outside the allow list.
    NotAllowed = "not_allowed:dropped",
    /// Above the rate limit of the whole reflector.
    RateLimitedGlobal = "rate_limited_global:dropped",
    /// Above the rate limit of one source (an IPv4 address or an IPv6 /64).
    RateLimitedSource = "rate_limited_source:dropped",
    /// Sent, or forged to look as if sent, by one of this reflector's own listening sockets.
    OwnAddress = "own_address:dropped",
    /// No reply can be addressed: source port 0, or a source or destination that is not unicast.
    Unanswerable = "unanswerable:dropped",
    /// Itself the reply of a Session-Reflector: answering would start a loop.
    ReplyShaped = "reply_shaped:dropped",
    /// Shorter than the shortest reply, and larger replies are switched off.
    LargerReplyOff = "larger_reply_off:dropped",
    /// A new test-session while the session table is full of live ones.
    SessionTableFull = "session_table_full:dropped",
    /// Error Estimate with a Multiplier of 0 in a field that is otherwise filled (RFC 4656 section 4.1.2: corrupt).
    ZeroMultiplier = "zero_multiplier:dropped",
    /// Refused by the packet format for another reason.
    Malformed = "malformed:dropped",
    /// Larger than the receive buffer: its tail is missing.
    Truncated = "truncated:dropped",
    /// Its Return Path TLV asks for no reply (RFC 9503 section 4.1.1), or its Reflected Test Packet Control for none (RFC
    /// 10052 section 3), and policy obeys it.
    NoReplyRequested = "no_reply_requested:not_answered",
    /// Its Reflected Test Packet Control is for another group of addresses (RFC 10052 section 3.1).
    OtherGroup = "other_group:not_answered",
    /// Its Micro-session ID is not that of the member link that it came by (RFC 9534 section 3.2).
    MicroSessionMismatch = "micro_session_mismatch:dropped",
    /// The reply was made but the kernel did not take it.
    SendFailed = "send_failed:dropped",
}

/// Number of dispositions.
pub const DISPOSITION_COUNT: usize = Disposition::ALL.len();

/// Packets by disposition, written by one worker and read by anyone.
#[derive(Debug)]
#[repr(align(128))] // two cache lines: the adjacent-line prefetcher must not couple two workers' counters
pub struct DispositionCounters {
    packets: [AtomicU64; DISPOSITION_COUNT],
}

impl Default for DispositionCounters {
    fn default() -> Self {
        Self { packets: [const { AtomicU64::new(0) }; DISPOSITION_COUNT] }
    }
}

impl DispositionCounters {
    /// Counts one packet. Call only from the one thread that owns these counters.
    pub fn count(&self, disposition: Disposition) {
        increase(&self.packets[disposition as usize], 1);
    }

    /// Packets with this disposition so far.
    pub fn get(&self, disposition: Disposition) -> u64 {
        self.packets[disposition as usize].load(Relaxed)
    }

    /// Packets received so far, whatever became of them.
    pub fn total(&self) -> u64 {
        self.packets.iter().map(|packets| packets.load(Relaxed)).sum()
    }
}

/// Adds to a counter that has a single writer: no locked instruction is needed.
pub(crate) fn increase(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_of_the_form_reason_action() {
        let names: HashSet<_> = Disposition::ALL.iter().map(|disposition| disposition.name()).collect();
        assert_eq!(names.len(), DISPOSITION_COUNT);
        for name in names {
            let (reason, action) = name.split_once(':').expect("reason:action");
            assert!(!reason.is_empty() && !action.is_empty());
        }
    }

    #[test]
    fn the_order_of_all_is_the_index_of_the_counter() {
        for (index, disposition) in Disposition::ALL.iter().enumerate() {
            assert_eq!(*disposition as usize, index);
        }
    }

    #[test]
    fn each_count_lands_in_its_own_counter() {
        let counters = DispositionCounters::default();
        for (times, disposition) in Disposition::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.count(*disposition));
        }
        for (times, disposition) in Disposition::ALL.iter().enumerate() {
            assert_eq!(counters.get(*disposition), times as u64);
        }
        assert_eq!(counters.total(), (0..DISPOSITION_COUNT as u64).sum());
    }
}
