//! What becomes known of a probe, as limits see it.

use super::limit::Metric;
use crate::ledger::Told;

/// What is known of one probe, as limits see it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    /// A reply in time.
    Received(Received),
    /// No reply within the timeout, or the kernel would not send it.
    Overdue,
    /// A reply that came too late for us to read it in time, though not on the wire: `Overdue` was wrong.
    NotOverdue,
    /// A reply after the timeout.
    Late,
    /// No reply at all; the direction, if it is known.
    Lost(Option<Way>),
    /// Another reply.
    Duplicate,
    /// What the TLVs of a reply say.
    Told(Told),
}

/// What a reply in time says of round trip, way there and way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) delays_ns: [Option<i64>; 3],
    /// Absolute differences from the probe that was sent before.
    pub(super) differences_ns: [Option<i64>; 3],
    pub(super) jitters_ns: [Option<i64>; 3],
    pub(super) residence_ns: Option<i64>,
    /// Both clocks are synchronised.
    pub(super) clocks: bool,
    pub(super) reordered: bool,
}

/// Where a probe was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Forward,
    Backward,
}

impl Received {
    /// The time that a metric is about.
    pub(super) fn time(&self, metric: Metric) -> Option<i64> {
        use Metric as M;
        match metric {
            M::RoundTrip | M::PdvRoundTrip => self.delays_ns[0],
            M::Forward => self.delays_ns[1].filter(|_| self.clocks),
            M::Backward => self.delays_ns[2].filter(|_| self.clocks),
            // The offset of the clocks is in the least, too.
            M::PdvForward => self.delays_ns[1],
            M::PdvBackward => self.delays_ns[2],
            M::Residence => self.residence_ns,
            M::IpdvRoundTrip => self.differences_ns[0],
            M::IpdvForward => self.differences_ns[1],
            M::IpdvBackward => self.differences_ns[2],
            M::JitterRoundTrip => self.jitters_ns[0],
            M::JitterForward => self.jitters_ns[1],
            M::JitterBackward => self.jitters_ns[2],
            _ => None,
        }
    }
}
