//! Patterns in what arrives: runs of lost packets (RFC 3357) and reordering (RFC 4737).

/// Runs of consecutively sent packets that were lost: the loss periods of RFC 3357 section 4.
///
/// Fed with fates in the order of sending. A packet that came too late to count as received was not lost, and ends a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossRuns {
    length: u32,
}

impl LossRuns {
    /// The next packet was lost.
    pub fn lost(&mut self) {
        self.length = self.length.saturating_add(1);
    }

    /// The next packet was not lost, or there is none. Returns the length of the run that this ended.
    pub fn ended(&mut self) -> Option<u32> {
        let length = std::mem::take(&mut self.length);
        (length > 0).then_some(length)
    }
}

/// The in-order test of RFC 4737 section 3.3: a packet is reordered if its number is below the next one expected.
///
/// Fed with the numbers of first copies in the order of arrival, counted on beyond 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reordering {
    next_expected: u64,
}

impl Reordering {
    /// A packet arrived. Returns whether it is reordered.
    #[inline]
    pub fn observe(&mut self, sequence: u64) -> bool {
        if sequence >= self.next_expected {
            self.next_expected = sequence + 1;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_runs_follow_rfc_3357() {
        // Packets 2, 5, 7, 9 and 10 of 10 are lost: four loss periods, of lengths 1, 1, 1 and 2.
        let mut runs = LossRuns::default();
        let mut lengths = Vec::new();
        for packet in 1..=10 {
            if [2, 5, 7, 9, 10].contains(&packet) {
                runs.lost();
            } else {
                lengths.extend(runs.ended());
            }
        }
        lengths.extend(runs.ended());
        assert_eq!(lengths, [1, 1, 1, 2]);
    }

    #[test]
    fn reordering_follows_rfc_4737() {
        let reordered = |arrivals: &[u64]| {
            let mut order = Reordering::default();
            arrivals.iter().copied().filter(|&sequence| order.observe(sequence)).collect::<Vec<_>>()
        };
        // Tables 1 to 3 of RFC 4737 section 7.
        assert_eq!(reordered(&[1, 2, 3, 5, 6, 7, 8, 4, 9, 10]), [4]);
        assert_eq!(reordered(&[1, 2, 3, 4, 7, 5, 6, 8, 9, 10]), [5, 6]);
        assert_eq!(reordered(&[1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11]), [4, 5, 6]);
        // A gap is no reordering.
        assert_eq!(reordered(&[3, 9, 10]), Vec::<u64>::new());
    }
}
