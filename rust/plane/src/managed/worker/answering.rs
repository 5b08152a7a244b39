//! Replies of managed Session-Reflectors, each with its own reading of the clock, and the stamps of their departures.

use std::net::IpAddr;

use twoway_wire::{ErrorEstimate, TimestampFormat, WallNanos};

use super::{Awaited, Role, Worker};
use crate::clock::Clock;
use crate::managed::reflecting::Pending;
use crate::managed::{Disposition, PlaneCounter};
use crate::reflector::departure::{DepartureHint, Rhythm};
use crate::sys::{QueueEntry, ReceiveMeta, Reply, SendControl, clock_state};

/// Octets of a reply that hold no time: the sequence number.
const TIMELESS: usize = 4;
/// A transmit stamp that has not come by then will not come.
const STAMP_PATIENCE_NS: i64 = 2_000_000_000;
/// Stamps that may be lost, none having come, before no more are asked for.
const STAMPS_IN_VAIN: u32 = 256;
/// Weight of the latest measurement in the cost of writing a reply.
const WRITING_COST_RATE: f64 = 0.05;

impl Worker {
    /// Writes one reply and sends it.
    pub(super) fn answer(
        &mut self,
        (place, at): (usize, usize),
        slot: usize,
        meta: &ReceiveMeta,
        pending: &Pending,
        rhythm: Rhythm,
        now_ns: i64,
    ) -> Disposition {
        let (Some(port), Some(session)) = (&mut self.ports[place], &mut self.sessions[at]) else {
            return Disposition::SendFailed;
        };
        let Role::Reflector { reflecting, .. } = &mut session.role else { return Disposition::SendFailed };
        let local = port.socket.local();
        let mut control = SendControl::new();
        if session.dscp_ecn != port.dscp_ecn {
            control.dscp_ecn(local.is_ipv6(), session.dscp_ecn);
        }
        if local.ip().is_unspecified()
            && let Some(destination) = meta.destination
        {
            // Link-local addresses mean nothing without their link; others leave as they are routed.
            let link_local = matches!(destination, IpAddr::V6(v6) if v6.is_unicast_link_local());
            control.source(destination, if link_local { meta.interface } else { 0 });
        }
        let hopeless = !self.stamps_seen && self.stamps_lost > STAMPS_IN_VAIN;
        if let Some(awaited) = &port.awaited
            && self.clock.wall().0.saturating_sub(awaited.read_ns) > STAMP_PATIENCE_NS
        {
            port.awaited = None;
            port.next_stamp = port.next_stamp.wrapping_add(1);
            self.stamps_lost += 1;
        }
        let stamped = port.stamped && !hopeless && port.awaited.is_none() && self.budget.take(now_ns as u64);
        if stamped {
            control.transmit_stamp(false);
        }
        let fd = port.socket.fd();
        let mut reply = [Reply { slot, len: pending.reply_len(), control }];
        let room = self.batch.room(slot);
        // After a pause the kernel is given the octets that hold no time before the clock is read.
        let begun = rhythm == Rhythm::Woken
            && reflecting.write(pending, meta.stamps.software.unwrap_or_default(), self.error_estimate, room).is_ok()
            && self.batch.begin(fd, &reply[0], TIMELESS).is_ok();
        let rhythm = if begun { Rhythm::Prepared } else { rhythm };
        let writing_ns = &mut self.writing_ns[usize::from(reflecting.is_authenticated())];
        let read = self.clock.wall();
        let age_ns = meta.stamps.software.map_or(0, |received| read.since(received));
        let hint = DepartureHint { rhythm, age_ns, place: 0 };
        let start_ns = read.0.saturating_add(*writing_ns as i64);
        let departure = WallNanos(start_ns.saturating_add(self.model.gap_ns(&hint)));
        let written = reflecting.write(pending, departure, self.error_estimate, self.batch.room(slot));
        if let Err(disposition) = written {
            return disposition;
        }
        let took_ns = self.clock.wall().since(read) as f64;
        *writing_ns += WRITING_COST_RATE * (took_ns.clamp(0.0, (*writing_ns * 4.0).max(1000.0)) - *writing_ns);
        let mut outcome = if begun {
            self.batch.finish(fd, &reply[0], TIMELESS)
        } else {
            self.batch.reply(fd, &mut reply).map(|_| ())
        };
        // A call also reports the ICMP error of an earlier reply, which says nothing of this one: once more.
        if let Err(error) = &outcome
            && !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::EMSGSIZE))
        {
            self.shared.add(PlaneCounter::SendErrors, 1);
            outcome = self.batch.reply(fd, &mut reply).map(|_| ());
        }
        if outcome.is_err() {
            self.shared.add(PlaneCounter::SendErrors, 1);
            return Disposition::SendFailed;
        }
        reflecting.sent();
        if stamped {
            port.awaited = Some(Awaited { hint, read_ns: start_ns, written_ns: departure.0 });
            // Software stamps are there at once.
            self.read_error_queue(place);
        }
        Disposition::Reflected
    }

    /// Takes transmit stamps and ICMP errors off a socket's error queue.
    pub(super) fn read_error_queue(&mut self, place: usize) {
        let Self { ports, error_queue, shared, model, stamps_seen, .. } = self;
        let Some(port) = &mut ports[place] else { return };
        let fd = port.socket.fd();
        // What does not come out in these rounds is announced again.
        for _ in 0..4 {
            let read = error_queue.read(fd, |entry| match entry {
                QueueEntry::TransmitStamp { id, stamps } => {
                    // The number of a datagram that was given up, or refused, is below or above: later ones go on from it.
                    if (id.wrapping_sub(port.next_stamp) as i32) < 0 {
                        return;
                    }
                    port.next_stamp = id.wrapping_add(1);
                    let (Some(awaited), Some(left)) = (port.awaited.take(), stamps.software) else { return };
                    *stamps_seen = true;
                    let error_ns = left.0 - awaited.written_ns;
                    model.learn(&awaited.hint, left.0 - awaited.read_ns, error_ns);
                    // While somebody reads, this figure is left out rather than waited for.
                    if let Ok(mut prediction_error) = shared.prediction_error.try_lock() {
                        prediction_error.record(error_ns);
                    }
                }
                QueueEntry::Icmp { .. } => shared.add(PlaneCounter::IcmpErrors, 1),
                QueueEntry::Local { .. } => {}
            });
            if !(read.is_ok() && error_queue.filled()) {
                break;
            }
        }
    }

    /// Error Estimate of T2 and T3: the clock's error by the kernel, and the spread of predicted departures.
    pub(super) fn judge_clock(&mut self) {
        let state = clock_state();
        let error_ns = state.error_ns.map(|error_ns| error_ns.saturating_add(self.model.spread_ns()));
        self.error_estimate = ErrorEstimate::new(state.synchronized, TimestampFormat::Ntp, error_ns);
    }
}
