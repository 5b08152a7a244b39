//! The last thing that happens to a packet: when it is due, and what it is then.

use super::Ledger;
use super::attribution::{Arrival, Books, Loss};
use super::delays::unanswered;
use super::slot::Mark;
use crate::sample::{SampleSink, SampleStatus};
use crate::summary::Counter;

impl Ledger {
    /// Give up what is due at `mono_ns`. Hand in all replies and stamps that the socket holds first.
    pub fn expire(&mut self, mono_ns: i64, sink: &mut impl SampleSink) {
        while let Some(ready) = self.waiting.expired(mono_ns) {
            self.complete(&ready.first, &ready.reply, sink);
        }
        while self.closes_at().is_some_and(|closes_at| closes_at <= mono_ns) {
            self.close(None, sink);
        }
        while self.tells_at().is_some_and(|tells_at| tells_at <= mono_ns) {
            self.attribution.tell(&mut Books { summary: &mut self.current, sink });
        }
        while self.attributes_at().is_some_and(|attributes_at| attributes_at <= mono_ns) {
            self.attribution.release(&mut Books { summary: &mut self.current, sink });
        }
    }

    /// Monotonic time at which `expire` next has something to do; None as long as nothing is open.
    pub fn next_expiry(&self) -> Option<i64> {
        [self.waiting.next_expiry(), self.closes_at(), self.tells_at(), self.attributes_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the oldest open packet closes.
    fn closes_at(&self) -> Option<i64> {
        let open = self.ring.tail() < self.ring.head();
        let tail = self.ring.tail();
        let slot = open.then(|| self.ring.get(tail)).flatten()?;
        let closes_at = slot.sent_mono_ns.saturating_add(self.spec.timeout_ns.saturating_mul(2));
        // The reply that tells when this one left comes an interval later, which may be longer than that.
        let told_by = if slot.is(Mark::Complete) { None } else { self.waiting.follow_up_until_ns(tail) };
        Some(closes_at.max(told_by.unwrap_or(closes_at)))
    }

    /// When somebody is to be told of a loss though its direction is not known.
    fn tells_at(&self) -> Option<i64> {
        let sent_ns = self.attribution.untold_ns(self.spec.timeout_ns)?;
        Some(sent_ns.saturating_add(self.spec.timeout_ns.saturating_mul(2)))
    }

    /// When the loss that waited longest for its direction has waited enough.
    fn attributes_at(&self) -> Option<i64> {
        let lost_after_ns = self.spec.timeout_ns.saturating_mul(2);
        let sent_ns = self.attribution.oldest_waiting_ns()?;
        let at = sent_ns.saturating_add(lost_after_ns).saturating_add(self.spec.attribution_wait_ns);
        (at < i64::MAX).then_some(at)
    }

    /// The oldest open packet gets its final fate: pending if sent after `pending_since`.
    fn close(&mut self, pending_since: Option<i64>, sink: &mut impl SampleSink) {
        let sequence = self.ring.tail();
        let slot = *self.ring.open(sequence);
        if slot.is(Mark::Answered) {
            if !slot.is(Mark::Complete)
                && let Some(waiting) = self.waiting.take(sequence)
            {
                self.complete(&waiting.first, &waiting.reply, sink);
            }
            self.end_run();
            if self.stateful != Some(false) {
                let arrival = Arrival {
                    sequence,
                    epoch: slot.epoch,
                    number: slot.reflector_sequence,
                    copies: self.far_order.copies(sequence),
                    overtaker: sequence + u64::from(slot.overtaken_by),
                };
                self.attribution.received(arrival, self.stateful, &mut Books { summary: &mut self.current, sink });
                self.far_order.forget_copies(sequence);
            }
        } else {
            self.awaited -= 1;
            if pending_since.is_some_and(|since| slot.sent_mono_ns > since) {
                self.end_run();
                self.current.add(Counter::Pending, 1);
                self.attribution.pending();
                sink.sample(&unanswered(sequence as u32, SampleStatus::Pending, &slot));
            } else {
                self.runs.lost();
                self.current.add(Counter::Lost, 1);
                // Whether the direction can ever be known decides whether it is waited for.
                let capacity = if self.stateful == Some(false) { 0 } else { self.spec.attribution_capacity };
                let row = unanswered(sequence as u32, SampleStatus::LostUnattributed, &slot);
                let loss = Loss::new(&row, slot.sent_mono_ns);
                self.attribution.lost(loss, capacity, &mut Books { summary: &mut self.current, sink });
            }
        }
        if self.spec.replies_asked > 1 {
            self.further.forget(sequence);
        }
        self.ring.close();
    }

    fn end_run(&mut self) {
        if let Some(length) = self.runs.ended() {
            self.current.loss_burst(length);
        }
    }

    /// The test-session ends: every packet gets its final fate. `aborted`: packets younger than the timeout are pending,
    /// not lost.
    pub fn finish(&mut self, mono_ns: i64, aborted: bool, sink: &mut impl SampleSink) {
        while let Some(waiting) = self.waiting.pop() {
            self.complete(&waiting.first, &waiting.reply, sink);
        }
        let pending_since = aborted.then(|| mono_ns.saturating_sub(self.spec.timeout_ns));
        while self.ring.tail() < self.ring.head() {
            self.close(pending_since, sink);
        }
        self.end_run();
        self.attribution.finish(self.stateful, &mut Books { summary: &mut self.current, sink });
    }
}
