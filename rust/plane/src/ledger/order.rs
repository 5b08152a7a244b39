//! The order in which packets reached the Session-Reflector, by its own numbers.
//!
//! A stateful Session-Reflector numbers its replies from 0 as it sends them, so its numbers r are the order of arrival on
//! the forward path, and the order of departure on the backward path. Three things are read from them:
//!
//! * *Numbering periods* ("epochs"). A Session-Reflector that restarts, or forgets the session, begins anew. A reply is of
//!   a new epoch if its number cannot continue the old one: it is not above a number that had already come back when the
//!   packet was sent (cause before effect, no threshold), or it is further away than packets under way can explain.
//! * *Backward reordering*: a reply is behind if a greater number came before it.
//! * *Forward reordering*: a packet x is overtaken if one sent after it has a smaller number. Where the number is the
//!   greatest so far, this is the case if any packet sent later has come back. Where it is not, the packets around it are
//!   looked at, as far as [`REACH`]: those sent later with a smaller number overtook x, and x overtook those sent earlier
//!   with a greater one. The distance is kept with the packet: no window of the loss attribution ends between the two.

use super::slot::{Mark, Ring};

/// How far, in packets, forward reordering is recognised when replies are reordered on the way back too.
pub(super) const REACH: u64 = 512;
/// Packets by which numbers may jump beyond what is under way before the Session-Reflector is taken to have restarted.
const SLACK: u64 = 1024;
/// Copies of packets beyond the first that are remembered at once.
const COPIES: usize = 256;

/// Another copy of a packet that reached the Session-Reflector more than once.
#[derive(Clone, Copy, Debug)]
struct Copy {
    sequence: u64,
    reflector_sequence: u32,
}

/// How a reply stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Numbering period that the number belongs to.
    pub(super) epoch: u8,
    /// A greater number of the same period came before it.
    pub(super) behind: bool,
}

/// The Session-Reflector's numbers so far.
#[derive(Clone, Debug, Default)]
pub(super) struct FarOrder {
    begun: bool,
    epoch: u8,
    /// Greatest number of the epoch, the packet that has it and when it came.
    high: u32,
    high_sequence: u64,
    high_mono_ns: i64,
    /// Greatest number of the epoch before, if there was one.
    previous_high: Option<u32>,
    /// The packet with which the epoch began.
    epoch_first: u64,
    /// Last sent of the packets that came back in this epoch.
    last_sent: u64,
    /// Further copies of open packets.
    copies: Vec<Copy>,
}

/// `a` minus `b` for numbers that wrap.
fn ahead(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b) as i32)
}

impl FarOrder {
    /// Place the number of a reply to an open packet that is not a copy of a known reply.
    pub(super) fn place(&mut self, ring: &Ring, sequence: u64, number: u32, sent_ns: i64, now_ns: i64) -> Standing {
        let ahead_of_high = ahead(number, self.high);
        let under_way = 2 * (ring.head() - ring.tail()) + SLACK;
        if !self.begun {
            self.begun = true;
            self.last_sent = sequence;
            self.epoch_first = sequence;
        } else if self.is_of_previous_epoch(sequence, number, under_way) {
            return Standing { epoch: self.epoch.wrapping_sub(1), behind: false };
        } else if ahead_of_high > 0 && ahead_of_high as u64 <= 2 * (ring.head() - self.high_sequence) + SLACK {
            // The usual case: the numbers go on.
        } else if ahead_of_high <= 0 && sent_ns <= self.high_mono_ns && ahead_of_high.unsigned_abs() <= under_way {
            return Standing { epoch: self.epoch, behind: true };
        } else {
            self.epoch = self.epoch.wrapping_add(1);
            self.previous_high = Some(self.high);
            self.epoch_first = sequence;
            self.last_sent = sequence;
        }
        self.high = number;
        self.high_sequence = sequence;
        self.high_mono_ns = now_ns;
        Standing { epoch: self.epoch, behind: false }
    }

    fn is_of_previous_epoch(&self, sequence: u64, number: u32, under_way: u64) -> bool {
        self.previous_high.is_some_and(|high| {
            let distance = ahead(number, high).unsigned_abs();
            sequence < self.epoch_first && distance <= under_way && distance < ahead(number, self.high).unsigned_abs()
        })
    }

    /// Note who overtook whom, now that this copy's standing is known. Returns how many packets counted as received are
    /// found to be reordered on the forward path that were not before. `first`: the first copy, and received in time.
    pub(super) fn overtaking(
        &mut self,
        ring: &mut Ring,
        sequence: u64,
        number: u32,
        standing: Standing,
        first: bool,
    ) -> u64 {
        if standing.epoch != self.epoch {
            return 0;
        }
        let last_sent = self.last_sent;
        self.last_sent = last_sent.max(sequence);
        let mut found = 0;
        let overtaker = if standing.behind {
            found += self.overtaken_by_this(ring, sequence, number);
            self.last_to_overtake(ring, sequence, number, last_sent)
        } else {
            (sequence < last_sent).then_some(last_sent)
        };
        if let Some(overtaker) = overtaker {
            found += u64::from(mark_overtaken(ring, sequence, overtaker, first));
        }
        found
    }

    /// The last sent of the packets that came back with a smaller number though they were sent later.
    fn last_to_overtake(&self, ring: &Ring, sequence: u64, number: u32, last_sent: u64) -> Option<u64> {
        let until = last_sent.min(sequence + REACH);
        let of_first_copies = (sequence + 1..=until).rev().find(|&later| {
            ring.get(later).is_some_and(|slot| {
                slot.is(Mark::Answered) && slot.epoch == self.epoch && ahead(slot.reflector_sequence, number) < 0
            })
        });
        let others = self.copies.iter().filter(|copy| copy.sequence > sequence && copy.sequence <= until);
        let of_others =
            others.filter(|copy| ahead(copy.reflector_sequence, number) < 0).map(|copy| copy.sequence).max();
        of_first_copies.max(of_others)
    }

    /// Mark the packets sent before this one that have a greater number.
    fn overtaken_by_this(&self, ring: &mut Ring, sequence: u64, number: u32) -> u64 {
        let mut found = 0;
        for earlier in ring.tail().max(sequence.saturating_sub(REACH))..sequence {
            let slot = ring.open(earlier);
            let here = slot.is(Mark::Answered) && slot.epoch == self.epoch;
            if here && ahead(slot.reflector_sequence, number) > 0 {
                found += u64::from(mark_overtaken(ring, earlier, sequence, true));
            }
        }
        for copy in &self.copies {
            if copy.sequence < sequence && ahead(copy.reflector_sequence, number) > 0 {
                mark_overtaken(ring, copy.sequence, sequence, false);
            }
        }
        found
    }

    /// Whether a reply with this number is a known further copy of the packet.
    pub(super) fn knows_copy(&self, sequence: u64, number: u32) -> bool {
        self.copies.iter().any(|copy| copy.sequence == sequence && copy.reflector_sequence == number)
    }

    /// Remember a further copy; false if there are too many.
    pub(super) fn remember_copy(&mut self, sequence: u64, number: u32) -> bool {
        let room = self.copies.len() < COPIES;
        if room {
            self.copies.push(Copy { sequence, reflector_sequence: number });
        }
        room
    }

    /// Numbers of the packet's further copies.
    pub(super) fn copies(&self, sequence: u64) -> impl Iterator<Item = u32> + '_ {
        self.copies.iter().filter(move |copy| copy.sequence == sequence).map(|copy| copy.reflector_sequence)
    }

    /// The packet's fate is final: its further copies are of no more interest.
    pub(super) fn forget_copies(&mut self, sequence: u64) {
        if !self.copies.is_empty() {
            self.copies.retain(|copy| copy.sequence != sequence);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.copies.capacity() * size_of::<Copy>()
    }
}

/// Keep with the packet that it was overtaken; true if it now counts as reordered and did not before.
fn mark_overtaken(ring: &mut Ring, sequence: u64, overtaker: u64, counts: bool) -> bool {
    let slot = ring.open(sequence);
    let distance = u16::try_from(overtaker - sequence).unwrap_or(u16::MAX);
    slot.overtaken_by = slot.overtaken_by.max(distance);
    let counts = counts && !slot.is(Mark::Late) && !slot.is(Mark::FarReordered);
    if counts {
        slot.set(Mark::FarReordered);
    }
    counts
}
