//! How many packets come: above full load replies share calls and readings of the clock.

use super::FULL_LOAD;

/// How many packets come, judged a millisecond at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    since_ns: u64,
    packets: usize,
    full: bool,
}

impl Load {
    /// Counts a batch; returns whether the last whole millisecond brought full load.
    pub(super) fn note(&mut self, now_ns: u64, packets: usize) -> bool {
        let elapsed_ms = now_ns.saturating_sub(self.since_ns) / 1_000_000;
        if elapsed_ms > 0 {
            self.full = self.packets as u64 >= FULL_LOAD as u64 * elapsed_ms;
            self.since_ns = now_ns;
            self.packets = 0;
        }
        self.packets += packets;
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_load_is_many_packets_a_millisecond_and_ends_with_them() {
        let mut load = Load::default();
        let mut now_ns = 0;
        let mut run = |packets_per_ms: usize| {
            (0..5).fold(false, |_, _| {
                now_ns += 1_000_000;
                load.note(now_ns, packets_per_ms)
            })
        };
        assert!(!run(20));
        assert!(run(160));
        assert!(!run(1));
    }

    #[test]
    fn a_burst_after_a_pause_is_no_full_load() {
        let mut load = Load::default();
        load.note(1_000_000, 30);
        assert!(!load.note(101_000_000, 1), "30 packets in 100 ms");
    }
}
