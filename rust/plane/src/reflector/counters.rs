//! What one worker publishes: its dispositions, its own state, and how well it predicted departures.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use super::dispositions::{DispositionCounters, increase};
use super::limits::RateLimits;
use crate::distribution::Distribution;
use crate::session_reflector::ReflectorPolicy;

macro_rules! own_counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// A counter of the reflector's own state, as opposed to the fate of a packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum OwnCounter {
            $($(#[$doc])* $variant,)+
        }

        impl OwnCounter {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

own_counters! {
    /// Requests that our sockets dropped for want of room (`SO_RXQ_OVFL`), never seen by a worker.
    SocketDrops = "socket_drops",
    /// System calls to send that failed, whether or not a second attempt succeeded.
    SendErrors = "send_errors",
    /// System calls to receive that failed (an interface that is down, an ICMP error that surfaced there).
    ReceiveErrors = "receive_errors",
    /// ICMP errors about replies.
    IcmpErrors = "icmp_errors",
    /// Live test-sessions whose place was given to another before their time.
    SessionEvictions = "session_evictions",
    /// Test-sessions that ended by the session timeout.
    SessionExpirations = "session_expirations",
    /// Requests with an Error Estimate of all zeros that were answered.
    ZeroErrorEstimates = "zero_error_estimates",
    /// TLVs returned as not recognized: of a type that is not honoured, or asking for what is not done.
    TlvUnrecognized = "tlv_unrecognized",
    /// Requests whose TLVs end in something malformed.
    TlvMalformed = "tlv_malformed",
    /// Requests whose TLVs failed the integrity check.
    TlvIntegrityFailed = "tlv_integrity_failed",
    /// Return paths that were not taken, by policy or because they cannot be.
    ReturnPathsRefused = "return_paths_refused",
    /// Requests for a DSCP in the reply that policy does not permit.
    DscpsRefused = "dscps_refused",
    /// Requests for several replies that got one (C or U flag), by policy or because they were replayed.
    ControlsRefused = "controls_refused",
    /// Further replies sent, beside those that requests are counted by.
    FurtherReplies = "further_replies",
    /// Further replies that were due and not sent: above a rate limit, or refused by the kernel.
    FurtherRepliesFailed = "further_replies_failed",
    /// Access Reports that say that a network is available.
    AccessAvailable = "access_available",
    /// Access Reports that say anything else.
    AccessUnavailable = "access_unavailable",
    /// Replies whose departure the kernel stamped.
    TransmitStamps = "transmit_stamps",
    /// Departure stamps that were asked for and never came.
    TransmitStampsLost = "transmit_stamps_lost",
    /// Requests without a kernel stamp: T2 was read by the worker.
    ReceiveStampsMissing = "receive_stamps_missing",
    /// Steps of the wall clock.
    ClockSteps = "clock_steps",
}

const OWN_COUNTERS: usize = OwnCounter::ALL.len();

/// What the worker has measured about itself.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Departure by the kernel's stamp minus the T3 written.
    pub transmit_prediction_error: Distribution,
    /// T3 - T2 of replies whose departure was stamped.
    pub residence: Distribution,
}

/// Shared between one worker, the only writer, and whoever reads.
#[derive(Debug)]
#[repr(align(128))] // two cache lines: see DispositionCounters
pub struct WorkerShared {
    /// What became of each packet.
    pub dispositions: DispositionCounters,
    own: [AtomicU64; OWN_COUNTERS],
    /// Written by the worker with `try_lock` only: a reader never makes a packet wait.
    pub measured: Mutex<Measured>,
    /// The worker's thread is there.
    pub running: AtomicBool,
    /// 0, or the monotonic time by which the worker must have ended.
    pub stop_by_ns: AtomicI64,
    /// Whom to answer from the next packet on, where that has changed.
    rules: Mutex<Option<Rules>>,
    /// Whether it has.
    changed: AtomicBool,
}

/// Whom a Session-Reflector answers, and how often.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Keys and allow list among others.
    pub policy: Arc<ReflectorPolicy>,
    /// Rate limits.
    pub limits: Arc<RateLimits>,
}

impl Default for WorkerShared {
    fn default() -> Self {
        Self {
            dispositions: DispositionCounters::default(),
            own: [const { AtomicU64::new(0) }; OWN_COUNTERS],
            measured: Mutex::default(),
            running: AtomicBool::new(false),
            stop_by_ns: AtomicI64::new(0),
            rules: Mutex::default(),
            changed: AtomicBool::new(false),
        }
    }
}

impl WorkerShared {
    /// The worker goes by these rules from the next packet on.
    pub fn change(&self, rules: Rules) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules);
        self.changed.store(true, Release);
    }

    /// Rules that are to be followed from now on; the worker's thread only.
    #[inline]
    pub fn take_change(&self) -> Option<Rules> {
        if !self.changed.load(Relaxed) || !self.changed.swap(false, Acquire) {
            return None;
        }
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds to a counter; the worker's thread only.
    pub fn add(&self, counter: OwnCounter, by: u64) {
        increase(&self.own[counter as usize], by);
    }

    /// Sets a counter that is kept elsewhere; the worker's thread only.
    pub fn set(&self, counter: OwnCounter, value: u64) {
        self.own[counter as usize].store(value, Relaxed);
    }

    /// The counter so far.
    pub fn get(&self, counter: OwnCounter) -> u64 {
        self.own[counter as usize].load(Relaxed)
    }
}
