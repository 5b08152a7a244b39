//! Transmit stamps of a Session-Sender: which packet each belongs to, and which clock is believed.

use twoway_wire::WallNanos;

use super::SessionSender;
use crate::sample::TimestampSource;
use crate::sys::TimestampMode;
use crate::sys::control::Stamps;

/// A NIC's stamp is believed if it is this near to the kernel's: a clock that nobody disciplines says nothing of ours.
const HARDWARE_AGREES_NS: i64 = 1_000_000;
/// How far the kernel's numbering of datagrams may have run off ours (it counts some that it then refuses).
pub(super) const STAMP_SKEW: i64 = 8;
/// A stamp cannot lie before the clock was read to build the packet, nor this much after.
const STAMP_WINDOW_NS: i64 = 2_000_000_000;

impl SessionSender {
    /// A transmit stamp of the datagram that the kernel numbers `id`. Returns the gap between the clock reading and the
    /// kernel's stamp.
    ///
    /// The kernel may number a datagram that it then refuses (before Linux 6.2), so a number alone proves nothing: the stamp
    /// must also lie after the clock reading of the packet that it is given to and before that of the next.
    pub fn transmit_stamp(&mut self, id: u32, stamps: &Stamps) -> Option<i64> {
        let software = stamps.software?;
        let expected = i64::from(id) + self.stamp_skew;
        let (skew, gap) = self.fit(software, expected, 0).or_else(|| {
            (1..=STAMP_SKEW).flat_map(|skew| [-skew, skew]).find_map(|skew| self.fit(software, expected, skew))
        })?;
        self.stamp_skew += skew;
        if self.unanswered {
            return Some(gap);
        }
        let (stamp, source) = self.select(stamps)?;
        let (ledger, sink) = self.split();
        ledger.transmit_stamp((expected + skew) as u32, stamp, source, sink);
        Some(gap)
    }

    /// Whether a stamp can be that of the datagram numbered `expected + skew`: (skew, gap to the clock reading).
    fn fit(&self, stamp: WallNanos, expected: i64, skew: i64) -> Option<(i64, i64)> {
        let sequence = (expected + skew) as u32;
        let (first, _) = self.readings.front()?;
        let at = sequence.wrapping_sub(*first) as usize;
        let (_, read) = self.readings.get(at)?;
        let gap = stamp.since(*read);
        // Packets of one batch share a reading: those do not bound each other.
        let bounded = self.readings.get(at + 1).is_none_or(|(_, next)| stamp <= *next || next == read);
        ((0..STAMP_WINDOW_NS).contains(&gap) && bounded).then_some((skew, gap))
    }

    /// The best stamp that can be believed.
    pub(super) fn select(&self, stamps: &Stamps) -> Option<(WallNanos, TimestampSource)> {
        let software = stamps.software?;
        if self.spec.timestamps == TimestampMode::Hardware
            && let Some(hardware) = stamps.hardware
            && hardware.since(software).abs() < HARDWARE_AGREES_NS
        {
            return Some((hardware, TimestampSource::Hardware));
        }
        Some((software, TimestampSource::Kernel))
    }
}
