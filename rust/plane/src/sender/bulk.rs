//! What many sessions are asked at once, and what they answer: packed, one after the other.

use std::sync::mpsc::SyncSender;

use crate::sample::named;
use crate::summary::{Counter, Measure, Summary};

named! {
    /// What this host did to its own measurement in a span.
    pub enum OwnFault {
        /// A packet was not sent because we came too late for its moment.
        MissedSlots = "missed_slots",
        /// The kernel refused a packet.
        SendErrors = "send_errors",
        /// The socket's receive buffer had no room for a datagram.
        SocketDrops = "socket_drops",
        /// Nobody took the samples in time.
        SamplesDropped = "samples_dropped",
        /// The local clock was stepped.
        ClockSteps = "clock_steps",
        /// A packet left later than is allowed.
        LateDepartures = "late_departures",
    }
}

impl OwnFault {
    /// Those of a span, as a bit each.
    pub fn of(summary: &Summary, late_ns: i64) -> u8 {
        let happened = |fault: &Self| match fault {
            Self::MissedSlots => summary.count(Counter::MissedSlots) > 0,
            Self::SendErrors => summary.count(Counter::SendErrors) > 0,
            Self::SocketDrops => summary.count(Counter::SocketDrops) > 0,
            Self::SamplesDropped => summary.count(Counter::SamplesDropped) > 0,
            Self::ClockSteps => summary.count(Counter::ClockSteps) > 0,
            Self::LateDepartures => summary.measure(Measure::SendLateness).max().is_some_and(|most| most > late_ns),
        };
        Self::ALL.iter().filter(|fault| happened(fault)).fold(0, |bits, fault| bits | 1 << *fault as u8)
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// Everything so far.
    Summary,
    /// What came since the last time. Departures later than that are a fault of this host.
    Interval { late_ns: i64 },
}

/// Some or all sessions of a worker are asked.
#[derive(Debug)]
pub(super) struct Inquiry {
    pub(super) question: Question,
    /// Their numbers; None for all that have been started.
    pub(super) ids: Option<Vec<u64>>,
    pub(super) reply: SyncSender<Packed>,
    /// So many of them have answered.
    pub(super) done: usize,
    pub(super) answer: Packed,
}

/// One session's answer.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: u64,
    /// Where its octets end.
    end: usize,
    own_faults: u8,
}

/// Packed summaries of several sessions.
#[derive(Debug, Default)]
pub struct Packed {
    octets: Vec<u8>,
    parts: Vec<Part>,
}

impl Packed {
    /// Adds a session's summary.
    pub(super) fn push(&mut self, id: u64, summary: &Summary, own_faults: u8) {
        crate::packed::append_summary(&mut self.octets, summary);
        self.parts.push(Part { id, end: self.octets.len(), own_faults });
    }

    /// Number of the session, its packed summary, and bits of [`OwnFault`].
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8], u8)> {
        let mut begin = 0;
        self.parts.iter().map(move |part| {
            let octets = &self.octets[begin..part.end];
            begin = part.end;
            (part.id, octets, part.own_faults)
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}
