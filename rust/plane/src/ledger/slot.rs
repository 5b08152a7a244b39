//! What the ledger remembers of a packet, and the ring of them.

use crate::sample::{MISSING, TimestampSource};

/// One packet, in 48 octets: ten thousand test-sessions keep one for each packet of two timeouts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// Monotonic time of departure.
    pub(super) sent_mono_ns: i64,
    /// T1 as written into the packet, which an echo must repeat.
    pub(super) t1_carried_ns: i64,
    /// The best T1 known.
    pub(super) t1_ns: i64,
    /// Send lateness while the packet's numbers are open, then the forward delay for IPDV ([`MISSING`] if undefined).
    lateness_or_forward_ns: i64,
    /// Round trip for IPDV once the packet's numbers are final.
    round_trip_ns: i64,
    /// Number that the Session-Reflector gave to the first reply.
    pub(super) reflector_sequence: u32,
    /// How many packets further on was the last one known to have overtaken a copy of this one on the forward path.
    pub(super) overtaken_by: u16,
    state: u8,
    /// Numbering period of the Session-Reflector that `reflector_sequence` belongs to.
    pub(super) epoch: u8,
}

/// Bits of [`Slot::state`] beside the two for the source of T1.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Mark {
    /// The first reply arrived.
    Answered = 1 << 2,
    /// The packet's numbers are final.
    Complete = 1 << 3,
    /// The first reply arrived after the timeout.
    Late = 1 << 4,
    /// Counted as reordered on the forward path.
    FarReordered = 1 << 5,
}

const SOURCE_BITS: u8 = 0b11;

impl Slot {
    pub(super) fn new(sent_mono_ns: i64, t1_ns: i64, lateness_ns: i64) -> Self {
        Self {
            sent_mono_ns,
            t1_carried_ns: t1_ns,
            t1_ns,
            lateness_or_forward_ns: lateness_ns,
            state: TimestampSource::User as u8,
            ..Self::default()
        }
    }

    #[inline]
    pub(super) fn is(&self, mark: Mark) -> bool {
        self.state & mark as u8 != 0
    }

    #[inline]
    pub(super) fn set(&mut self, mark: Mark) {
        self.state |= mark as u8;
    }

    #[inline]
    pub(super) fn t1_source(&self) -> TimestampSource {
        TimestampSource::ALL[usize::from(self.state & SOURCE_BITS)]
    }

    #[inline]
    pub(super) fn stamp(&mut self, t1_ns: i64, source: TimestampSource) {
        self.t1_ns = t1_ns;
        self.state = self.state & !SOURCE_BITS | source as u8;
    }

    /// Departure after the scheduled moment, or [`MISSING`] once the packet's numbers are final.
    pub(super) fn lateness_ns(&self) -> i64 {
        if self.is(Mark::Complete) { MISSING } else { self.lateness_or_forward_ns }
    }

    /// The packet's numbers are final: keep those that its neighbours' IPDV needs ([`MISSING`] for none).
    #[inline]
    pub(super) fn complete(&mut self, round_trip_ns: i64, forward_ns: i64) {
        self.set(Mark::Complete);
        self.round_trip_ns = round_trip_ns;
        self.lateness_or_forward_ns = forward_ns;
    }

    /// One-way delays from here on are of another clock scale than this packet's.
    pub(super) fn forget_one_way(&mut self) {
        if self.is(Mark::Complete) {
            self.lateness_or_forward_ns = MISSING;
        }
    }

    /// (round trip, forward, backward) for IPDV.
    #[inline]
    pub(super) fn delays(&self) -> [Option<i64>; 3] {
        let known = |ns: i64| (self.is(Mark::Complete) && ns != MISSING).then_some(ns);
        let (round_trip, forward) = (known(self.round_trip_ns), known(self.lateness_or_forward_ns));
        // Round trip = forward + backward, as T3 - T2 is in both; without a forward delay there is no backward one.
        let backward = round_trip.zip(forward).map(|(round_trip, forward)| round_trip.wrapping_sub(forward));
        [round_trip, forward, backward]
    }
}

/// Where a sequence number of the wire leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Never sent.
    Unknown,
    /// Sent, and its fate is final.
    Expired,
    /// Open, under this number counted on beyond 2^32.
    Open(u64),
}

/// Packets by sequence number, counted on beyond 2^32: from `tail` to `head` their fate is open. Those just before are
/// still there to be compared with, until their place is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    slots: Box<[Slot]>,
    /// Number of the very first packet.
    start: u64,
    /// Number before which nothing is there.
    first: u64,
    tail: u64,
    head: u64,
}

impl Ring {
    /// Number of the oldest packet whose fate is open.
    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    /// Number of the next packet to be sent.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Add a packet as number `head`; the first one decides at which number the ring begins. The ring holds `capacity`
    /// from the first packet on, and doubles when that does not do.
    #[inline]
    pub(super) fn push(&mut self, sequence: u32, capacity: usize, slot: Slot) {
        if self.head - self.tail == self.slots.len() as u64 {
            self.grow(sequence, capacity);
        }
        debug_assert_eq!(sequence, self.head as u32, "sequence numbers are consecutive");
        let at = self.at(self.head);
        self.slots[at] = slot;
        self.head += 1;
    }

    #[cold]
    fn grow(&mut self, sequence: u32, capacity: usize) {
        if self.slots.is_empty() {
            // Four at least, so that the packet before is always there for IPDV.
            self.slots = vec![Slot::default(); capacity.next_power_of_two().max(4)].into_boxed_slice();
            self.start = sequence.into();
            (self.first, self.tail, self.head) = (self.start, self.start, self.start);
            return;
        }
        let mut larger = Self { slots: vec![Slot::default(); self.slots.len() * 2].into_boxed_slice(), ..*self };
        for sequence in self.tail..self.head {
            let at = larger.at(sequence);
            larger.slots[at] = self.slots[self.at(sequence)];
        }
        // What was before the tail is not carried over, and must not be found.
        larger.first = self.tail;
        *self = larger;
    }

    #[inline]
    fn at(&self, sequence: u64) -> usize {
        sequence as usize & (self.slots.len() - 1)
    }

    /// The packet, open or not, if it is still there.
    #[inline]
    pub(super) fn get(&self, sequence: u64) -> Option<&Slot> {
        let here = sequence >= self.first && sequence < self.head && self.head - sequence <= self.slots.len() as u64;
        here.then(|| &self.slots[self.at(sequence)])
    }

    /// The packet under a number that [`Self::place`] or [`Self::tail`] gave.
    #[inline]
    pub(super) fn open(&mut self, sequence: u64) -> &mut Slot {
        debug_assert!((self.tail..self.head).contains(&sequence));
        let at = self.at(sequence);
        &mut self.slots[at]
    }

    /// All packets that are still there, open or not.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut()
    }

    /// What the wire's 32 bits mean: the number closest to the last one sent.
    #[inline]
    pub(super) fn place(&self, sequence: u32) -> Place {
        let sequence = self.head as i64 + i64::from(sequence.wrapping_sub(self.head as u32) as i32);
        match u64::try_from(sequence) {
            Ok(open) if (self.tail..self.head).contains(&open) => Place::Open(open),
            Ok(before) if before < self.tail && before >= self.start => Place::Expired,
            _ => Place::Unknown,
        }
    }

    /// Close the oldest open packet.
    #[inline]
    pub(super) fn close(&mut self) {
        self.tail += 1;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }
}
