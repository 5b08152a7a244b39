//! OWAMP's send schedule, which both ends compute alike (RFC 4656 sections 3.6 and 4.1.1).
//!
//! A schedule is a list of slots, run through again and again: wait as the slot says, then send a packet. Waits are added
//! up as the unsigned 32.32 seconds that they are on the wire, and only sums become nanoseconds, so that rounding never
//! accumulates and both ends agree to the nanosecond after any number of packets.

use std::sync::Arc;

use twoway_wire::ExponentialGenerator;

/// How long to wait before a packet, in unsigned 32.32 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Type 0: an exponentially distributed time of this mean.
    Exponential(u64),
    /// Type 1: this time.
    Fixed(u64),
}

impl Slot {
    /// The slot of that type code, `None` for a type that does not exist.
    pub const fn from_code(code: u8, parameter: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Exponential(parameter)),
            1 => Some(Self::Fixed(parameter)),
            _ => None,
        }
    }

    /// Mean wait.
    const fn mean(self) -> u64 {
        match self {
            Self::Exponential(parameter) | Self::Fixed(parameter) => parameter,
        }
    }
}

/// The slots of a test-session and the SID that seeds the exponential ones. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotList {
    slots: Arc<[Slot]>,
    sid: [u8; 16],
}

impl SlotList {
    /// `None` if there is no slot: such a schedule has no packet (RFC 4656 section 3.5 demands at least one).
    pub fn new(slots: &[Slot], sid: [u8; 16]) -> Option<Self> {
        (!slots.is_empty()).then(|| Self { slots: slots.into(), sid })
    }

    /// Mean gap between packets in nanoseconds, at least 1.
    pub fn mean_gap_ns(&self) -> i64 {
        let sum: u128 = self.slots.iter().map(|slot| u128::from(slot.mean())).sum();
        nanoseconds(u64::try_from(sum / self.slots.len() as u128).unwrap_or(u64::MAX)).max(1)
    }

    /// When each of the first `count` packets is due, in nanoseconds after the start.
    pub fn offsets_ns(&self, count: u32) -> impl Iterator<Item = i64> {
        let mut schedule = SlotSchedule::new(self);
        (0..count).map(move |_| schedule.advance())
    }
}

/// Packets that were due but not sent, first and last number of a run (RFC 4656 section 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipRange {
    /// First Seqno Skipped.
    pub first: u32,
    /// Last Seqno Skipped, not below the first.
    pub last: u32,
}

impl SkipRange {
    /// Adds the packets `first..=last`, which come after all of `ranges`.
    pub fn append(ranges: &mut Vec<Self>, first: u32, last: u32) {
        match ranges.last_mut() {
            Some(before) if before.last.checked_add(1) == Some(first) => before.last = last,
            _ => ranges.push(Self { first, last }),
        }
    }
}

/// Unsigned 32.32 seconds as nanoseconds, rounded to the nearest: at most 2^32 s, which an `i64` holds twice over.
pub const fn nanoseconds(fixed: u64) -> i64 {
    (fixed >> 32) as i64 * 1_000_000_000 + (((fixed & 0xFFFF_FFFF) * 1_000_000_000 + (1 << 31)) >> 32) as i64
}

/// A walk through a schedule.
#[derive(Clone, Debug)]
pub struct SlotSchedule {
    slots: Arc<[Slot]>,
    place: usize,
    generator: ExponentialGenerator,
    /// Waits so far.
    sum: u64,
}

impl SlotSchedule {
    /// Before the first packet.
    pub fn new(list: &SlotList) -> Self {
        Self { slots: list.slots.clone(), place: 0, generator: ExponentialGenerator::new(list.sid), sum: 0 }
    }

    /// When the next packet is due, in nanoseconds after the start; goes on to the one after. Never less than before:
    /// what lies beyond 136 years is due then.
    pub fn advance(&mut self) -> i64 {
        let wait = match self.slots[self.place] {
            Slot::Exponential(mean) => self.generator.next(mean),
            Slot::Fixed(wait) => wait,
        };
        self.place = (self.place + 1) % self.slots.len();
        self.sum = self.sum.saturating_add(wait);
        nanoseconds(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1 << 32;

    fn offsets(slots: &[Slot], count: u32) -> Vec<i64> {
        SlotList::new(slots, [1; 16]).unwrap().offsets_ns(count).collect()
    }

    #[test]
    fn a_wait_comes_before_each_packet_and_the_list_is_circular() {
        let slots = [Slot::Fixed(SECOND), Slot::Fixed(0), Slot::Fixed(SECOND / 2)];
        let half = 500_000_000;
        assert_eq!(offsets(&slots, 5), [2 * half, 2 * half, 3 * half, 5 * half, 5 * half]);
        assert_eq!(SlotList::new(&slots, [1; 16]).unwrap().mean_gap_ns(), half);
        assert_eq!(SlotList::new(&[], [1; 16]), None);
    }

    /// RFC 4656 section 3.6: only exponential slots take numbers from the generator.
    #[test]
    fn fixed_slots_leave_the_generator_alone() {
        let single = offsets(&[Slot::Exponential(SECOND / 100)], 50);
        let pairs = offsets(&[Slot::Exponential(SECOND / 100), Slot::Fixed(0)], 100);
        assert_eq!(pairs.chunks(2).map(|pair| pair[0]).collect::<Vec<_>>(), single);
        assert!(pairs.chunks(2).all(|pair| pair[0] == pair[1]));
    }

    /// RFC 4656 Appendix B once more, by way of a schedule.
    #[test]
    fn the_last_of_a_million_packets_is_due_at_the_rfcs_sum() {
        let sid = 0xdead_beef_dead_beef_dead_beef_dead_beef_u128.to_be_bytes();
        let list = SlotList::new(&[Slot::Exponential(SECOND)], sid).unwrap();
        assert_eq!(list.offsets_ns(1_000_000).last(), Some(nanoseconds(0x000f_416c_8884_d2d3)));
    }

    #[test]
    fn rounding_does_not_add_up() {
        // A third of a second is no multiple of 2^-32 s.
        let third = SECOND / 3;
        let last = *offsets(&[Slot::Fixed(third)], 3_000_000).last().unwrap();
        assert_eq!(last, nanoseconds(3_000_000 * third));
        assert_eq!(offsets(&[Slot::Fixed(u64::MAX)], 2), [nanoseconds(u64::MAX); 2], "the sum does not wrap");
    }
}
