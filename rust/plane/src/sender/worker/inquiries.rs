//! Questions to many sessions, answered between packets.
//!
//! Ten thousand sessions take some tens of milliseconds to answer, and no packet shall wait for that: after each answer
//! the worker looks at the clock, and goes on later if something is due.

use super::super::bulk::{Inquiry, OwnFault, Question};
use super::Worker;
use crate::clock::Clock;

/// Answers at a time, so that replies are not left in the sockets for long.
const AT_ONCE: usize = 32;

impl Worker {
    /// Answers as much as there is time for.
    pub(super) fn answer(&mut self) {
        let Some(mut inquiry) = self.inquiries.pop_front() else { return };
        for _ in 0..AT_ONCE {
            let places = inquiry.ids.as_ref().map_or(self.sessions.len(), Vec::len);
            if inquiry.done >= places {
                // The asker may have gone; then nobody misses the answer.
                let _ = inquiry.reply.try_send(inquiry.answer);
                return;
            }
            let at = match &inquiry.ids {
                None => Some(inquiry.done),
                Some(ids) => self.places.get(&ids[inquiry.done]).copied(),
            };
            inquiry.done += 1;
            if let Some(at) = at {
                self.answer_for(at, &mut inquiry);
            }
            let due = self.next_due().map(|(moment, _)| moment);
            if due.is_some_and(|due| due - self.margin.margin_ns(due - self.last_send_ns) <= self.clock.monotonic()) {
                break;
            }
        }
        self.inquiries.push_front(inquiry);
    }

    fn answer_for(&mut self, at: usize, inquiry: &mut Inquiry) {
        let wall = self.clock.wall();
        let Some(session) = &mut self.sessions[at] else { return };
        if session.engine.is_waiting() {
            return;
        }
        match inquiry.question {
            Question::Summary => {
                let summary = session.engine.summary(&session.shared, wall);
                inquiry.answer.push(session.id, &summary, 0);
            }
            Question::Interval { late_ns } => {
                // What has ended has nothing to add to its last interval.
                if session.last_interval_taken {
                    return;
                }
                session.last_interval_taken = session.engine.is_finished();
                let interval = session.engine.take_interval(&session.shared, wall);
                inquiry.answer.push(session.id, &interval, OwnFault::of(&interval, late_ns));
            }
        }
    }
}
