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
    /// So many are to come, by the first reply.
    promised: u16,
    /// A bit for each number, from `asked - 1` below that of the first reply to as many above.
    numbers: Vec<u64>,
}

impl Seen {
    fn new(asked: u16) -> Self {
        let words = (2 * usize::from(asked.saturating_sub(1)) + 1).div_ceil(64);
        Self { count: 0, promised: 0, numbers: vec![0; words] }
    }

    fn outstanding(&self) -> usize {
        self.promised.saturating_sub(self.count).into()
    }
}

/// Further replies to open packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Further {
    seen: BTreeMap<u64, Seen>,
    outstanding: usize,
}

impl Further {
    /// The first reply to a packet promises so many of the `asked` beside itself.
    pub(super) fn expect(&mut self, sequence: u64, asked: u16, promised: u16) {
        let seen = self.seen.entry(sequence).or_insert_with(|| Seen::new(asked));
        seen.promised = promised;
        self.outstanding += seen.outstanding();
    }

    /// Those that were promised and have not come, for packets that are still open.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

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
        let seen = self.seen.entry(sequence).or_insert_with(|| Seen::new(asked));
        let outstanding = seen.outstanding();
        let at = (offset + reach) as usize;
        let bit = 1 << (at % 64);
        let word = &mut seen.numbers[at / 64];
        if seen.count == most || (!same && *word & bit != 0) {
            return false;
        }
        *word |= bit;
        seen.count += 1;
        self.outstanding -= outstanding - seen.outstanding();
        true
    }

    /// The packet is not open any more.
    pub(super) fn forget(&mut self, sequence: u64) {
        if let Some(seen) = self.seen.remove(&sequence) {
            self.outstanding -= seen.outstanding();
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.seen.values().map(|seen| size_of::<(u64, Seen)>() + size_of_val(&*seen.numbers)).sum()
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
    fn those_that_were_promised_are_awaited() {
        let mut further = Further::default();
        further.expect(7, 5, 4);
        further.expect(8, 5, 4);
        assert_eq!(further.outstanding(), 8);
        assert!(further.take(7, 5, 13, 12, 7));
        assert!(!further.take(7, 5, 13, 12, 7));
        assert_eq!(further.outstanding(), 7);
        further.forget(8);
        assert_eq!(further.outstanding(), 3);
        // More than were promised owe nothing.
        further.expect(9, 5, 1);
        assert!((13..16).all(|number| further.take(9, 5, number, 12, 9)));
        assert_eq!(further.outstanding(), 3);
        further.forget(9);
        further.forget(7);
        assert_eq!(further.outstanding(), 0);
    }

    #[test]
    fn numbers_wrap() {
        assert!(Further::default().take(7, 3, 1, u32::MAX, 7));
        assert!(!Further::default().take(7, 3, 2, u32::MAX, 7));
    }
}
