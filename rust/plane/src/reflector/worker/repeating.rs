//! Replies that follow the first one to a request (RFC 10052 section 3), which leave at times of their own.
//!
//! While some are to follow, the worker waits no longer in the call that receives but for whatever comes first: a packet,
//! or the moment of the next one.

use std::io;
use std::time::Duration;

use super::super::bursts::{Burst, Bursts};
use super::super::counters::OwnCounter;
use super::super::departure::{DepartureHint, Rhythm};
use super::{WAIT, Worker};
use twoway_wire::timestamp::WallNanos;

use crate::clock::Clock;
use crate::sys::{Events, Outgoing, Poll, SendBatch, SocketName, UdpSocket};

/// Replies that are sent in a row before requests are looked after.
const IN_A_ROW: usize = 16;

/// What a worker needs to send further replies.
pub(super) struct Repeating {
    bursts: Bursts,
    poll: Poll,
    events: Events,
    sender: SendBatch,
}

impl Repeating {
    pub(super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(socket.fd(), 0)?;
        Ok(Self { bursts: Bursts::default(), poll, events: Events::new(1), sender: SendBatch::new(1) })
    }

    /// Whether replies are to follow.
    pub(super) fn is_pending(&self) -> bool {
        !self.bursts.is_empty()
    }
}

impl Worker {
    /// The reply at `at` has been sent: others follow it if it says so.
    pub(super) fn begin_burst(&mut self, at: usize) {
        let answer = self.answers[at];
        let (Some(repeat), Some(repeating)) = (answer.pending.repeat(), &mut self.repeating) else { return };
        let meta = self.batch.meta(answer.slot);
        let Some(requester) = meta.source else { return };
        let interval_ns = i64::from(repeat.interval_ns);
        let destination = meta.destination.unwrap_or(self.listener.socket.local().ip());
        let burst = Burst {
            due_ns: self.clock.monotonic() + interval_ns,
            interval_ns,
            left: repeat.further,
            pending: answer.pending,
            octets: self.batch.room(answer.slot)[..answer.pending.len()].to_vec(),
            requester: requester.ip(),
            destination: SocketName::new(&requester),
            // Made anew: that of the first reply may ask for a stamp, which nobody would expect of these.
            control: self.listener.reply(answer.slot, &answer.pending, destination, meta.interface).control,
        };
        if !repeating.bursts.push(burst) {
            self.shared.add(OwnCounter::FurtherRepliesFailed, u64::from(repeat.further));
        }
    }

    /// Sends what is due and answers what has come; if there is neither, waits for either.
    pub(super) fn answer_between(&mut self) {
        self.send_due();
        if self.answer_batch(false) {
            return;
        }
        let Some(repeating) = &mut self.repeating else { return };
        let now_ns = self.clock.monotonic();
        let latest_ns = now_ns + WAIT.as_nanos() as i64;
        let until_ns = repeating.bursts.next_due().map_or(latest_ns, |due_ns| due_ns.min(latest_ns));
        // If it fails, the time is spent nevertheless, and nothing is missed: the next round looks at everything.
        if repeating.poll.wait(&mut repeating.events, Some(until_ns), now_ns).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn send_due(&mut self) {
        for _ in 0..IN_A_ROW {
            let now_ns = self.clock.monotonic();
            let due = self.repeating.as_mut().and_then(|repeating| repeating.bursts.take_due(now_ns));
            let Some(mut burst) = due else { return };
            let sent = self.engine.admit_further(burst.requester, now_ns as u64) && self.send_further(&mut burst);
            self.shared.add(if sent { OwnCounter::FurtherReplies } else { OwnCounter::FurtherRepliesFailed }, 1);
            if let Some(repeating) = &mut self.repeating {
                repeating.bursts.put_back(burst);
            }
        }
    }

    /// Writes and sends one reply of a burst. Whether it was sent.
    fn send_further(&mut self, burst: &mut Burst) -> bool {
        let hint = DepartureHint { rhythm: Rhythm::Woken, age_ns: 0, place: 0 };
        let departure = WallNanos(self.clock.wall().0.saturating_add(self.listener.model.gap_ns(&hint)));
        if self.engine.write(&burst.pending, departure, self.error_estimate, &mut burst.octets).is_err() {
            return false;
        }
        let Some(repeating) = &mut self.repeating else { return false };
        let fd = self.listener.socket.fd();
        let further =
            [Outgoing { octets: &burst.octets, destination: Some(&burst.destination), control: Some(&burst.control) }];
        let mut sent = repeating.sender.send(fd, &further).is_ok();
        if !sent {
            // As likely as not the error was of an earlier packet, and has been taken off the socket.
            self.read_error_queue();
            sent = self.repeating.as_mut().is_some_and(|repeating| repeating.sender.send(fd, &further).is_ok());
        }
        if !sent {
            self.shared.add(OwnCounter::SendErrors, 1);
            self.engine.take_back(&burst.pending);
        }
        sent
    }

    /// What was to follow, and now never will.
    pub(super) fn drop_bursts(&mut self) {
        if let Some(repeating) = &mut self.repeating {
            self.shared.add(OwnCounter::FurtherRepliesFailed, repeating.bursts.drop_all());
        }
    }
}
