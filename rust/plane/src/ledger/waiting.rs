//! First replies whose numbers are not final yet: the transmit stamp of their packet may still come, or the next reply may
//! tell when this one really left (Follow-Up Telemetry, RFC 8972 section 4.7).
//!
//! Both come within a moment or not at all, so a reply waits for each of them for a bounded time, and so many replies at
//! most. They leave in the order of their arrival unless one of them has to wait longer.

use twoway_wire::WallNanos;

use super::extensions::FollowedUp;
use super::reply::Reply;

/// Replies that wait at once; the oldest falls back on what it has when there are more.
const CAPACITY: usize = 256;
/// How far a Follow-Up Timestamp may lie after the T3 that it replaces: beyond, it is not of that reply.
const CORRECTION_MAX_NS: i64 = 1_000_000_000;

/// What is known of a first reply beside its octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) sequence: u64,
    pub(super) arrived_mono_ns: i64,
    pub(super) reordered: bool,
    /// What the follow-up moved T3 by, if it came.
    pub(super) correction_ns: Option<i64>,
    /// A follow-up was promised, whether or not it came.
    pub(super) follow_up_promised: bool,
}

/// A first reply whose numbers are not final.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) first: First,
    pub(super) reply: Reply,
    /// Until when the transmit stamp is waited for; `None`: not.
    pub(super) stamp_until_ns: Option<i64>,
    /// Until when the follow-up is waited for; `None`: not.
    pub(super) follow_up_until_ns: Option<i64>,
}

impl Waiting {
    /// Nothing is waited for any more.
    pub(super) fn is_ready(&self) -> bool {
        self.stamp_until_ns.is_none() && self.follow_up_until_ns.is_none()
    }

    fn until_ns(&self) -> i64 {
        let until = |moment: Option<i64>| moment.unwrap_or(i64::MAX);
        until(self.stamp_until_ns).min(until(self.follow_up_until_ns))
    }

    /// Gives up what has been waited for long enough.
    fn expire(&mut self, mono_ns: i64) {
        self.stamp_until_ns = self.stamp_until_ns.filter(|until| *until > mono_ns);
        self.follow_up_until_ns = self.follow_up_until_ns.filter(|until| *until > mono_ns);
    }

    /// Takes the departure that the far end's kernel saw, unless it cannot be this reply's.
    fn follow_up(&mut self, left: WallNanos) {
        self.follow_up_until_ns = None;
        let (Some(t2), Some(t3)) = (self.reply.t2, self.reply.t3) else { return };
        let correction_ns = left.since(t3);
        if left >= t2 && correction_ns <= CORRECTION_MAX_NS {
            self.reply.t3 = Some(left);
            self.first.correction_ns = Some(correction_ns);
        }
    }
}

/// All of them, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitingRoom(Vec<Waiting>);

impl WaitingRoom {
    /// Lets one more wait. Returns the oldest if there is no room for both.
    pub(super) fn push(&mut self, waiting: &Waiting) -> Option<Waiting> {
        let crowded = (self.0.len() == CAPACITY).then(|| self.0.remove(0));
        self.0.push(*waiting);
        crowded
    }

    /// The transmit stamp of that packet has come. Returns its reply, if that waited for nothing else.
    pub(super) fn stamped(&mut self, sequence: u64) -> Option<Waiting> {
        let at = self.0.iter().position(|waiting| waiting.first.sequence == sequence)?;
        self.0[at].stamp_until_ns = None;
        self.0[at].is_ready().then(|| self.0.remove(at))
    }

    /// The far end tells when an earlier reply left. Returns that reply, if it waited for nothing else.
    pub(super) fn followed_up(&mut self, told: &FollowedUp) -> Option<Waiting> {
        // The newest first: it usually is the one before.
        let at = self.0.iter().rposition(|waiting| {
            waiting.follow_up_until_ns.is_some() && waiting.reply.reflector_sequence == told.sequence
        })?;
        self.0[at].follow_up(told.left);
        self.0[at].is_ready().then(|| self.0.remove(at))
    }

    /// The first reply that has waited long enough by then.
    pub(super) fn expired(&mut self, mono_ns: i64) -> Option<Waiting> {
        self.0.iter_mut().for_each(|waiting| waiting.expire(mono_ns));
        let at = self.0.iter().position(Waiting::is_ready)?;
        Some(self.0.remove(at))
    }

    /// The oldest, whatever it waits for.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    /// That packet's reply, whatever it waits for.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Waiting> {
        let at = self.0.iter().position(|waiting| waiting.first.sequence == sequence)?;
        Some(self.0.remove(at))
    }

    /// Until when that packet's reply waits for a follow-up.
    pub(super) fn follow_up_until_ns(&self, sequence: u64) -> Option<i64> {
        self.0.iter().find(|waiting| waiting.first.sequence == sequence)?.follow_up_until_ns
    }

    /// When the first of them has waited enough for something.
    pub(super) fn next_expiry(&self) -> Option<i64> {
        self.0.iter().map(Waiting::until_ns).min()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Waiting>()
    }
}
