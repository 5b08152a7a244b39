//! Replies that are still to follow others: when each is due (RFC 10052 section 3).

use std::net::IpAddr;

use crate::session_reflector::PendingReply;
use crate::sys::{SendControl, SocketName};

/// Bursts of one worker at a time. Who asks for more gets the first reply only.
const BURSTS: usize = 64;

/// The rest of a burst.
pub(super) struct Burst {
    /// When the next one is due, monotonic.
    pub(super) due_ns: i64,
    pub(super) interval_ns: i64,
    /// How many are to come.
    pub(super) left: u16,
    pub(super) pending: PendingReply,
    /// The reply, as it was last written.
    pub(super) octets: Vec<u8>,
    pub(super) requester: IpAddr,
    pub(super) destination: SocketName,
    pub(super) control: SendControl,
}

/// All of a worker.
#[derive(Default)]
pub(super) struct Bursts(Vec<Burst>);

impl Bursts {
    /// Whether nothing is to follow.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one more. False: there are too many.
    pub(super) fn push(&mut self, burst: Burst) -> bool {
        let room = self.0.len() < BURSTS;
        if room {
            self.0.push(burst);
        }
        room
    }

    /// Drops all. Returns how many replies will not follow.
    pub(super) fn drop_all(&mut self) -> u64 {
        self.0.drain(..).map(|burst| u64::from(burst.left)).sum()
    }

    /// When the next reply is due.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.0.iter().map(|burst| burst.due_ns).min()
    }

    /// Takes out the burst whose next reply is the first of those due by then; `put_back` when it has been sent.
    pub(super) fn take_due(&mut self, now_ns: i64) -> Option<Burst> {
        let (at, burst) = self.0.iter().enumerate().min_by_key(|(_, burst)| burst.due_ns)?;
        (burst.due_ns <= now_ns).then(|| self.0.swap_remove(at))
    }

    /// Puts a burst back, one reply less to come.
    pub(super) fn put_back(&mut self, mut burst: Burst) {
        burst.left -= 1;
        // Each one an interval after the one before, so that lateness does not make bursts of its own.
        burst.due_ns = burst.due_ns.saturating_add(burst.interval_ns);
        if burst.left > 0 {
            self.0.push(burst);
        }
    }
}
