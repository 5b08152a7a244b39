//! Which departures are stamped, and which departure a stamp is of.
//!
//! The kernel returns transmit stamps on the error queue, later and by number. [`StampBudget`] says when to ask for one,
//! [`StampLedger`] finds the departure that asked.

use super::departure::DepartureHint;
use super::sessions::SessionHandle;

/// How many transmit stamps are asked for in a second. Each costs the kernel a buffer and us a system call: at 20,000
/// packets/s about 1 % of the time spent on a packet.
pub const STAMPS_PER_S: u64 = 1000;
/// Stamps that may be asked for at once after a pause.
const STAMP_BURST: u64 = 16;

/// Decides which departures are stamped: all at a low rate, and so few at a high one that they cost next to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct StampBudget {
    full_ns: u64,
}

impl StampBudget {
    /// Whether to ask for one more stamp now (monotonic clock).
    pub fn take(&mut self, now_ns: u64) -> bool {
        const INTERVAL_NS: u64 = 1_000_000_000 / STAMPS_PER_S;
        let full_ns = self.full_ns.max(now_ns).saturating_add(INTERVAL_NS);
        let granted = full_ns - now_ns <= INTERVAL_NS * STAMP_BURST;
        if granted {
            self.full_ns = full_ns;
        }
        granted
    }
}

/// Departures stamped but not yet reported that one socket keeps in mind.
pub const OUTSTANDING_STAMPS: usize = 64;

/// A departure for which a stamp was asked.
#[derive(Clone, Copy, Debug)]
pub struct StampedDeparture {
    /// What was known before.
    pub hint: DepartureHint,
    /// The clock reading from which the gap counts, wall clock.
    pub read_ns: i64,
    /// The T3 that was written, wall clock.
    pub written_ns: i64,
    /// T3 - T2 as written.
    pub residence_ns: i64,
    /// The test-session that wants to know, and the reply's number in it.
    pub followed_up: Option<(SessionHandle, u32)>,
}

/// Pairs the stamps of one socket with the departures that asked for them, by the kernel's running number
/// (`SOF_TIMESTAMPING_OPT_ID`, which counts the datagrams that ask).
///
/// Kernels differ in whether a datagram that was refused uses up a number. After a refusal the numbering is therefore
/// learned again, from the stamp of a departure that was the only one under way. So it is when stamps do not come: they may
/// have come by numbers that nobody expected.
#[derive(Debug)]
pub struct StampLedger {
    departures: [Option<StampedDeparture>; OUTSTANDING_STAMPS],
    next: Option<u32>,
    lone: Option<StampedDeparture>,
    /// While the numbering is learned: stamps before this one are of departures given up.
    floor: u32,
    /// The number after the last one that was heard.
    heard: u32,
    under_way: u32,
    lost: u64,
}

impl Default for StampLedger {
    fn default() -> Self {
        Self {
            departures: [None; OUTSTANDING_STAMPS],
            next: Some(0),
            lone: None,
            floor: 0,
            heard: 0,
            under_way: 0,
            lost: 0,
        }
    }
}

impl StampLedger {
    /// Whether one more stamp can be asked for: not while the numbering is being learned.
    pub fn ready(&self) -> bool {
        self.next.is_some() || self.lone.is_none()
    }

    /// A departure that asked for a stamp has been sent.
    pub fn sent(&mut self, departure: StampedDeparture) {
        let replaced = match &mut self.next {
            Some(next) => {
                let place = *next as usize % OUTSTANDING_STAMPS;
                *next = next.wrapping_add(1);
                self.departures[place].replace(departure)
            }
            None => self.lone.replace(departure),
        };
        match replaced {
            Some(_) => self.lost += 1,
            None => self.under_way += 1,
        }
    }

    /// A departure that asked for a stamp was refused: from here on its number may or may not be used up.
    pub fn refused(&mut self) {
        let floor = self.next.unwrap_or(self.floor);
        self.learn_from(floor);
    }

    /// The kernel reports the stamp of datagram `id`; the departure it belongs to, if that is known.
    pub fn reported(&mut self, id: u32) -> Option<StampedDeparture> {
        self.heard = id.wrapping_add(1);
        let departure = match self.next {
            None if id.wrapping_sub(self.floor) > u32::MAX / 2 => None,
            None => {
                self.next = self.lone.is_some().then(|| id.wrapping_add(1));
                self.lone.take()
            }
            Some(next) if next.wrapping_sub(id).wrapping_sub(1) as usize >= OUTSTANDING_STAMPS => None,
            Some(_) => self.departures[id as usize % OUTSTANDING_STAMPS].take(),
        };
        self.under_way -= u32::from(departure.is_some());
        departure
    }

    /// Whether stamps are still to be reported.
    #[inline]
    pub fn outstanding(&self) -> bool {
        self.under_way > 0
    }

    /// Gives up the stamps still to be reported: they have not come for so long that they never will, by these numbers.
    pub fn forget(&mut self) {
        self.learn_from(self.heard);
    }

    /// What is under way is given up, and the numbering learned again from a stamp of this number or a later one.
    fn learn_from(&mut self, floor: u32) {
        self.floor = floor;
        self.next = None;
        self.lost += u64::from(self.under_way);
        self.under_way = 0;
        self.lone = None;
        self.departures.fill(None);
    }

    /// Stamps asked for that never came.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::super::departure::Rhythm;
    use super::*;

    #[test]
    fn stamps_are_asked_for_always_when_slow_and_within_the_budget_when_fast() {
        let mut budget = StampBudget::default();
        assert!((1..1000).all(|packet| budget.take(packet * 1_000_000)));
        let mut budget = StampBudget::default();
        let granted = (0..1_000_000_u64).filter(|packet| budget.take(packet * 4000)).count() as u64;
        assert!((STAMPS_PER_S * 4..=STAMPS_PER_S * 4 + STAMP_BURST).contains(&granted), "{granted}");
    }

    fn departure(written_ns: i64) -> StampedDeparture {
        let hint = DepartureHint { rhythm: Rhythm::Woken, age_ns: 0, place: 0 };
        StampedDeparture { hint, read_ns: 0, written_ns, residence_ns: 0, followed_up: None }
    }

    #[test]
    fn stamps_find_their_departures_in_any_order() {
        let mut ledger = StampLedger::default();
        (0..3).for_each(|number| ledger.sent(departure(number)));
        for id in [2, 0, 1] {
            assert_eq!(ledger.reported(id).map(|departure| departure.written_ns), Some(i64::from(id)));
        }
        assert!(!ledger.outstanding());
        for id in [0, 3, 77, u32::MAX] {
            assert!(ledger.reported(id).is_none(), "{id}");
        }
    }

    #[test]
    fn after_a_refusal_the_numbering_is_learned_from_a_lone_departure() {
        let mut ledger = StampLedger::default();
        ledger.sent(departure(0));
        ledger.refused();
        assert!(ledger.ready());
        ledger.sent(departure(1));
        assert!(!ledger.ready());
        // This kernel used up number 1 for the refused datagram.
        assert_eq!(ledger.reported(2).map(|departure| departure.written_ns), Some(1));
        ledger.sent(departure(2));
        assert_eq!(ledger.reported(3).map(|departure| departure.written_ns), Some(2));
        assert_eq!(ledger.lost(), 1);
    }

    #[test]
    fn a_stamp_of_before_the_refusal_teaches_nothing() {
        let mut ledger = StampLedger::default();
        ledger.sent(departure(0));
        ledger.refused();
        ledger.sent(departure(1));
        assert!(ledger.reported(0).is_none());
        assert_eq!(ledger.reported(1).map(|departure| departure.written_ns), Some(1));
    }

    #[test]
    fn a_numbering_that_has_gone_astray_is_found_again() {
        let mut ledger = StampLedger::default();
        // Three datagrams asked for stamps that nobody has noted.
        for number in 0..4 {
            ledger.sent(departure(number));
            assert!(ledger.reported(number as u32 + 3).is_none());
        }
        assert!(ledger.outstanding());
        ledger.forget();
        for number in 4..8 {
            ledger.sent(departure(number));
            assert_eq!(ledger.reported(number as u32 + 3).map(|departure| departure.written_ns), Some(number));
        }
        assert!(!ledger.outstanding());
        assert_eq!(ledger.lost(), 4);
    }

    #[test]
    fn stamps_that_never_come_are_counted() {
        let mut ledger = StampLedger::default();
        (0..OUTSTANDING_STAMPS as i64 + 5).for_each(|number| ledger.sent(departure(number)));
        assert_eq!(ledger.lost(), 5);
        assert!(ledger.reported(0).is_none());
        ledger.forget();
        assert_eq!(ledger.lost(), 5 + OUTSTANDING_STAMPS as u64);
    }
}
