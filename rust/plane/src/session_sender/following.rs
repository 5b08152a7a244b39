//! Limits that somebody acts on (`watch`), for a Session-Sender.

use super::SessionSender;
use crate::schedule::Group;
use crate::watch::{Asked, Watch};

impl SessionSender {
    /// Look out for limits from now on, in place of others; `late_ns`: departures later than that are this host's fault.
    pub fn follow(&mut self, asked: Vec<Asked>, late_ns: i64) {
        let gap_ns = match self.spec.group {
            Some(Group { count, pause_ns }) => {
                let gaps = i64::try_from(count).unwrap_or(i64::MAX).saturating_sub(1);
                gaps.saturating_mul(self.spec.interval_ns).saturating_add(pause_ns) / gaps.saturating_add(1)
            }
            None => self.spec.interval_ns,
        };
        let mut watch = Watch::new(asked, late_ns, self.spec.ledger.timeout_ns, gap_ns);
        watch.local_clock(self.clock_synchronized);
        self.samples.watch = Some(Box::new(watch));
    }

    /// Look out for no limits any more.
    pub fn follow_no_more(&mut self) {
        self.samples.watch = None;
    }

    /// The limits that are looked out for.
    pub fn watch(&mut self) -> Option<&mut Watch> {
        self.samples.watch.as_deref_mut()
    }
}
