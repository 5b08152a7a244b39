//! Time ends test-sessions: the timeout after a stop, REFWAIT without packets, the last packet of a schedule.
//!
//! A heap holds a moment for each session, which is looked at only then: a packet moves no entry (the latest packet's time
//! is compared when the moment has come). An entry that is not its session's current one means nothing any more.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;

use super::{Role, Worker};
use crate::managed::End;

/// Sessions looked at, and packets of one decided, before sockets are looked after again.
const TIMERS_AT_ONCE: usize = 256;
const DECIDED_AT_ONCE: usize = 4096;
/// A Session-Receiver's packets are decided in bundles at least this far apart.
const DECISION_NS: i64 = 50_000_000;

impl Worker {
    /// Puts the session's next moment into the heap.
    pub(super) fn reschedule(&mut self, at: usize, now_ns: i64) {
        let Some(session) = &mut self.sessions[at] else { return };
        let next = match &mut session.role {
            Role::Reflector { refwait_ns, .. } => session.stop_ns.or_else(|| {
                session.started_ns?;
                Some(session.last_packet_ns.saturating_add((*refwait_ns)?))
            }),
            Role::Receiver(receiver) => receiver.next_event().map(|moment| moment.max(now_ns + DECISION_NS)),
        };
        session.scheduled_ns = next;
        if let Some(moment) = next {
            self.heap.push(Reverse((moment, at)));
        }
    }

    /// The earliest current entry of the heap.
    pub(super) fn next_due(&mut self) -> Option<(i64, usize)> {
        while let Some(Reverse((moment, at))) = self.heap.peek().copied() {
            if self.sessions[at].as_ref().is_some_and(|session| session.scheduled_ns == Some(moment)) {
                return Some((moment, at));
            }
            self.heap.pop();
        }
        None
    }

    /// Ends what has had its time.
    pub(super) fn fire(&mut self, now_ns: i64) {
        for _ in 0..TIMERS_AT_ONCE {
            let Some((_, at)) = self.next_due().filter(|(moment, _)| *moment <= now_ns) else { return };
            self.heap.pop();
            // Packets that came in time, but were not read yet, count still.
            self.drain_port_of(at);
            let error_estimate = self.error_estimate;
            let Some(session) = &mut self.sessions[at] else { continue };
            session.scheduled_ns = None;
            let end = match &mut session.role {
                Role::Reflector { refwait_ns, .. } => {
                    let idle_ns = now_ns.saturating_sub(session.last_packet_ns);
                    if session.stop_ns.is_some_and(|stop_ns| stop_ns <= now_ns) {
                        Some(End::Stopped)
                    } else {
                        refwait_ns.is_some_and(|refwait_ns| idle_ns >= refwait_ns).then_some(End::Refwait)
                    }
                }
                Role::Receiver(receiver) => {
                    receiver.expire(now_ns, error_estimate, DECIDED_AT_ONCE);
                    if receiver.is_decided() {
                        session.shared.decided.store(true, Relaxed);
                        self.news.announce(session.id, &session.shared.news);
                    }
                    None
                }
            };
            match end {
                Some(end) => drop(self.end(at, end)),
                None => self.reschedule(at, now_ns),
            }
        }
    }
}
