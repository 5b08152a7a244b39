//! Taking what comes back: transmit stamps, ICMP errors and replies, a batch of each at a time.

use std::os::fd::RawFd;

use twoway_wire::WallNanos;

use super::super::event::{Event, EventKind};
use super::{Session, Worker, pending_error};
use crate::clock::Clock;
use crate::sys::QueueEntry;

impl Worker {
    /// Takes stamps and replies, one batch of each socket that has some.
    pub(super) fn collect(&mut self) {
        let mut ready = std::mem::take(&mut self.unread);
        for event in self.events.iter() {
            let at = event.token as usize;
            if let Some(Some(session)) = self.sessions.get_mut(at)
                && !session.unread
            {
                session.unread = true;
                ready.push(at);
            }
        }
        if ready.is_empty() {
            return;
        }
        for at in ready.drain(..) {
            let more = self.collect_from(at);
            if let Some(session) = &mut self.sessions[at] {
                session.unread = more;
                if more {
                    self.unread.push(at);
                }
            }
            self.settle(at);
        }
        if self.unread.is_empty() {
            // Keep the allocation.
            self.unread = ready;
        }
    }

    /// Whether the socket may hold more.
    pub(super) fn collect_from(&mut self, at: usize) -> bool {
        self.tell_clock_state(at);
        let Some(session) = &mut self.sessions[at] else { return false };
        let wall = self.clock.wall();
        let gap = &mut self.gap;
        let Session { engine, way, shared, .. } = session;
        let mut more = false;
        for fd in way.queues() {
            let stamps = self.error_queue.read(fd, |entry| match entry {
                QueueEntry::TransmitStamp { id, stamps } => {
                    if let Some(gap_ns) = engine.transmit_stamp(id, &stamps) {
                        gap.observe(gap_ns);
                    }
                }
                QueueEntry::Icmp { errno, .. } => {
                    engine.icmp_error();
                    shared.event(Event::new(wall, EventKind::IcmpUnreachable, errno));
                }
                QueueEntry::Local { errno } => shared.event(Event::new(wall, EventKind::SocketError, errno)),
            });
            more |= stamps.is_ok() && self.error_queue.filled();
        }
        for fd in way.arrivals() {
            more |= self.take_replies(at, fd, wall);
        }
        more
    }

    /// Takes one batch of replies off a socket; whether it may hold more.
    fn take_replies(&mut self, at: usize, fd: RawFd, wall: WallNanos) -> bool {
        let count = match self.receive.receive(fd, 0) {
            Ok(count) => count,
            // The error queue tells what it was about; the socket itself is well.
            Err(error) if pending_error(&error) => return true,
            Err(error) => {
                if let Some(session) = &self.sessions[at] {
                    let errno = error.raw_os_error().unwrap_or(0);
                    session.shared.event(Event::new(wall, EventKind::SocketError, errno));
                }
                return false;
            }
        };
        if count == 0 {
            return false;
        }
        // A step is to be known before the stamps that it moved.
        self.check_for_step();
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        if let Some(session) = &mut self.sessions[at] {
            session.way.taken(now);
            for slot in 0..count {
                let mut meta = self.receive.meta(slot);
                meta.drops = session.way.drops(fd, meta.drops);
                meta.strayed = session.way.strayed(meta.source, self.receive.octets(slot));
                session.engine.receive(self.receive.octets(slot), &meta, now, wall);
            }
        }
        self.receive.filled()
    }
}
