//! Replies beyond the first, where several were asked for with each packet (RFC 10052).
//!
//! A Session-Reflector that counts gives each of them a number of its own, all close together, so a copy that the network
//! made is known by its number. One that copies our numbers gives all of them the same: then as many are taken for further
//! replies as were asked for, and what comes beyond that is a copy.

use std::collections::BTreeMap;

/// What has come for one packet.
#[derive(Clone, Debug)]
struct Seen {
    count: u16,
    /// A bit for each number, from `asked - 1` below that of the first reply to as many above.
    numbers: Vec<u64>,
}

/// Further replies to open packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Further(BTreeMap<u64, Seen>);

impl Further {
    /// Whether a reply is one of the `asked`, of which one has come before; it is remembered. `number` is its own, `first`
    /// that of the first reply, `copied` the one that a Session-Reflector without state would give.
    pub(super) fn take(&mut self, sequence: u64, asked: u16, number: u32, first: u32, copied: u32) -> bool {
        let most = asked.saturating_sub(1);
        let reach = i64::from(most);
        let offset = i64::from(number.wrapping_sub(first) as i32);
        let same = offset == 0;
        if offset.abs() > reach || (same && number != copied) {
            return false;
        }
        let words = (2 * usize::from(most) + 1).div_ceil(64);
        let seen = self.0.entry(sequence).or_insert_with(|| Seen { count: 0, numbers: vec![0; words] });
        let at = (offset + reach) as usize;
        let bit = 1 << (at % 64);
        let word = &mut seen.numbers[at / 64];
        if seen.count == most || (!same && *word & bit != 0) {
            return false;
        }
        *word |= bit;
        seen.count += 1;
        true
    }

    /// The packet is not open any more.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.0.remove(&sequence);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.values().map(|seen| size_of::<(u64, Seen)>() + size_of_val(&*seen.numbers)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once_in_any_order() {
        let mut further = Further::default();
        // The third of five came first.
        for (number, expected) in
            [(13, true), (11, true), (13, false), (10, true), (14, true), (12, false), (17, false), (10, false)]
        {
            assert_eq!(further.take(7, 5, number, 12, 7), expected, "{number}");
        }
        further.forget(7);
        assert_eq!(further.memory_bytes(), 0);
    }

    #[test]
    fn of_a_reflector_that_copies_as_many_count_as_were_asked_for() {
        let mut further = Further::default();
        let taken = (0..5).filter(|_| further.take(7, 3, 7, 7, 7)).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn numbers_wrap() {
        assert!(Further::default().take(7, 3, 1, u32::MAX, 7));
        assert!(!Further::default().take(7, 3, 2, u32::MAX, 7));
    }
}
