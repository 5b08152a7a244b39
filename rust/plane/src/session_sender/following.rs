//! Limits that somebody acts on (`watch`), for a Session-Sender.

use super::SessionSender;
use crate::schedule::Group;
use crate::watch::{Asked, Watch};

impl SessionSender {
    /// Look out for limits from now on, in place of others; `late_ns`: departures later than that are this host's fault;
    /// `before`: what another Session-Sender saw of the same test-session.
    pub fn follow(&mut self, asked: Vec<Asked>, late_ns: i64, before: Option<Watch>) {
        let gap_ns = match self.spec.group {
            Some(Group { count, pause_ns }) => {
                let gaps = i64::try_from(count).unwrap_or(i64::MAX).saturating_sub(1);
                gaps.saturating_mul(self.spec.interval_ns).saturating_add(pause_ns) / gaps.saturating_add(1)
            }
            None => self.spec.interval_ns,
        };
        let mut watch = Watch::new(asked, late_ns, self.spec.ledger.timeout_ns, gap_ns);
        watch.local_clock(self.clock_synchronized);
        if let Some(own) = self.samples.watch.take() {
            watch.replace(*own);
        } else if let Some(before) = before {
            watch.succeed(before);
        }
        self.samples.watch = Some(Box::new(watch));
    }

    /// What it saw of the limits, for the Session-Sender that follows it. It looks out for none any more.
    pub fn bequeath(&mut self) -> Option<Watch> {
        self.samples.watch.take().map(|watch| *watch)
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
