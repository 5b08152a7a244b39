//! Rows as they came, for who wants every probe kept: a bounded buffer until somebody takes them.

use crate::sample::Sample;

/// See above. Nothing is kept until there is room for something.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    kept: Vec<Sample>,
    most: usize,
    dropped: u64,
}

impl Rows {
    /// At most so many rows wait from now on; 0: none are kept, and those that wait are forgotten.
    pub(super) fn keep(&mut self, most: usize) {
        self.most = most;
        if most == 0 {
            self.kept = Vec::new();
        }
    }

    /// Keep these, as far as there is room.
    pub(super) fn add(&mut self, rows: &[Sample]) {
        if self.most == 0 {
            return;
        }
        let room = self.most.saturating_sub(self.kept.len()).min(rows.len());
        self.kept.extend_from_slice(&rows[..room]);
        self.dropped += (rows.len() - room) as u64;
    }

    /// Those that wait, in the order in which fates became known.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.kept)
    }

    /// How many found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Octets on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<Sample>()
    }
}
