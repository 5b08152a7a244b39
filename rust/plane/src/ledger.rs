//! The packet ledger of one Session-Sender.

mod reply;

use twoway_wire::WallNanos;

pub use reply::{Direction, LedgerSpec, NotSent, ReflectorMode, Reply, ReplyVerdict};

use crate::sample::{SampleSink, TimestampSource};
use crate::summary::{Counter, Summary};

/// Every packet of one Session-Sender, from departure to its final fate.
#[derive(Clone, Debug)]
pub struct Ledger {
    spec: LedgerSpec,
    current: Summary,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(spec: LedgerSpec) -> Self {
        Self { spec, current: Summary::new() }
    }

    /// A packet was handed to the kernel. Sequence numbers are consecutive from the first one, `mono_ns` never decreases.
    /// `t1` is the moment written into the packet.
    pub fn sent(&mut self, _sequence: u32, _mono_ns: i64, _t1: WallNanos, _lateness_ns: i64) {
        self.current.add(Counter::Sent, 1);
    }

    /// A scheduled packet was never sent.
    pub fn not_sent(&mut self, why: NotSent, _sink: &mut impl SampleSink) {
        self.add(Counter::NotSent, 1);
        self.add(if why == NotSent::MissedSlot { Counter::MissedSlots } else { Counter::SendErrors }, 1);
    }

    /// The transmit stamp of a packet arrived. False if it was of no use (unknown, or the packet's numbers are final).
    pub fn transmit_stamp(
        &mut self,
        _seq: u32,
        _t1: WallNanos,
        _source: TimestampSource,
        _sink: &mut impl SampleSink,
    ) -> bool {
        false
    }

    /// A reply arrived.
    pub fn reply(&mut self, _reply: &Reply, _mono_ns: i64, _sink: &mut impl SampleSink) -> ReplyVerdict {
        ReplyVerdict::UnknownSequence
    }

    /// Give up what is due. Hand in all replies that the socket holds first.
    pub fn expire(&mut self, _mono_ns: i64, _sink: &mut impl SampleSink) {}

    /// Monotonic time at which `expire` next has something to do.
    pub fn next_expiry(&self) -> Option<i64> {
        None
    }

    /// Packets that await their first reply.
    pub fn outstanding(&self) -> usize {
        0
    }

    /// The test-session ends: every packet gets its final fate. `aborted`: packets younger than the timeout are pending,
    /// not lost.
    pub fn finish(&mut self, _mono_ns: i64, _aborted: bool, _sink: &mut impl SampleSink) {}

    /// The local wall clock stepped by `step_ns`. To be noticed (monotonic beside wall clock) after a batch was received
    /// and before its replies are handed in.
    pub fn clock_step(&mut self, _mono_ns: i64, wall: WallNanos, step_ns: i64) {
        self.current.clock_step(wall.0, step_ns);
    }

    /// What `adjtimex` says of the local clock from now on.
    pub fn local_clock(&mut self, _synchronized: bool, _error_ns: Option<u64>) {}

    /// Count what the ledger cannot see: rejected_short, rejected_hmac, rejected_mismatch (SSID), icmp_errors,
    /// socket_drops, samples_dropped.
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.current.add(counter, n);
    }

    /// The whole test-session so far.
    pub fn summary(&self, _now: WallNanos) -> Summary {
        self.current.clone()
    }

    /// What came since the last call or the start.
    pub fn take_interval(&mut self, _now: WallNanos) -> Summary {
        std::mem::take(&mut self.current)
    }

    /// Octets that the ledger occupies, itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.current.memory_bytes() + self.spec.ring
    }
}
