//! Which way packets were lost.
//!
//! Fed with final fates in the order of sending. A *window* runs from one boundary to the next; a boundary lies behind a
//! packet that came back and that no known packet sent later overtook on the forward path, so that all numbers r of the
//! packets before it are at most R, its greatest, and all numbers after it are greater. Within a window
//!
//! ```text
//! numbers the Session-Reflector gave out   R(end) - R(begin)
//! of these, seen                           V: distinct numbers of its packets, further copies included
//! missing                                  M = R(end) - R(begin) - V: replies that were lost
//! lost packets                             L
//! lost backward = min(M, L)                lost forward = L - lost backward
//! ```
//!
//! That is exact, in total and by window, if the Session-Reflector numbers this session's replies one by one and
//!
//! 1. of each packet that reached the Session-Reflector more than once, every copy's reply is seen here (the missing
//!    number of one that is not would pass for a lost packet's; `min` keeps forward loss from going below zero), and
//! 2. no packet whose reply was lost had overtaken, or was overtaken by, one beyond its window's boundaries (nobody can
//!    know: neither its reply nor the number exist here). Within a window the order does not matter.
//!
//! Losses before the first reply are read as if the numbers began with 0 at our first packet, if that is possible at all.
//! Losses after the last reply, and those in a window in which the numbers began anew or contradict each other, are
//! unattributed. If both directions lost packets within one window the counts are exact, but which packet was lost where
//! cannot be known: their rows say unattributed.
//!
//! Until the mode of the Session-Reflector is known, every number was a copy of ours. If it counts, all losses so far
//! were backward; if it copies, nothing is known. Such losses wait. All waiting is bounded, by number and by time: whoever
//! waits too long counts as unattributed, and no count is taken back later.
//!
//! Only counts wait as long as that. Somebody who watches is told of a loss soon: its row is given out as unattributed once
//! a window ends without telling, or a moment after the packet was given up, though its count may still find a direction.

use std::collections::VecDeque;

use super::reply::Direction;
use crate::sample::{Sample, SampleSink, SampleStatus, TimestampSource};
use crate::summary::{Counter, Summary};

/// Room for losses that is kept when none waits any more.
const ROOM_KEPT: usize = 16;
/// Numbers that a window may lack beyond its packets before they are taken to belong to something else.
const SURPLUS: i64 = 64;

/// A lost packet whose direction is not known yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    sequence: u32,
    t1_source: TimestampSource,
    sent_mono_ns: i64,
    t1_ns: i64,
    lateness_ns: i64,
}

impl Loss {
    /// Keep what the row of the packet will need.
    pub(super) fn new(row: &Sample, sent_mono_ns: i64) -> Self {
        Self {
            sequence: row.sequence,
            t1_source: row.t1_source,
            sent_mono_ns,
            t1_ns: row.t1_ns,
            lateness_ns: row.send_lateness_ns,
        }
    }
}

/// Where the numbers stood at the window's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Base {
    /// Before the first number of the session, which is 0 if the Session-Reflector had no state of it.
    #[default]
    Start,
    /// Nobody knows.
    Unknown,
    /// There.
    At(u32),
}

/// Fates since the last boundary, up to some packet.
#[derive(Clone, Copy, Debug, Default)]
struct Fates {
    lost: usize,
    /// Of those, already counted as unattributed because they waited too long.
    released: usize,
    pending: usize,
}

/// Receives what has been decided.
pub(super) struct Books<'a, S> {
    pub(super) summary: &'a mut Summary,
    pub(super) sink: &'a mut S,
}

/// The state of the attribution; the module says how it works.
#[derive(Clone, Debug, Default)]
pub(super) struct Attribution {
    base: Base,
    epoch: u8,
    /// Greatest number of the window, if a packet came back in it.
    high: Option<u32>,
    /// Distinct numbers seen in the window.
    seen: i64,
    received: usize,
    /// Before the last packet of the window that came back.
    inner: Fates,
    /// After it.
    outer: Fates,
    /// No boundary before this packet: an earlier one was overtaken by it.
    no_boundary_before: u64,
    /// Losses without a direction, in the order of sending: first those that wait for the mode of the Session-Reflector,
    /// then those of the window.
    waiting: VecDeque<Loss>,
    wait_for_mode: usize,
    /// So many of the first losses waiting have had their row.
    told: usize,
    /// A reply has come, so that another may tell directions.
    answered: bool,
}

/// A packet that came back, as the attribution sees it.
pub(super) struct Arrival<C> {
    pub(super) sequence: u64,
    pub(super) epoch: u8,
    pub(super) number: u32,
    /// Numbers of further copies.
    pub(super) copies: C,
    /// The last packet known to have overtaken a copy of this one.
    pub(super) overtaker: u64,
}

impl Attribution {
    /// The next packet was lost.
    pub(super) fn lost(&mut self, loss: Loss, capacity: usize, books: &mut Books<'_, impl SampleSink>) {
        self.outer.lost += 1;
        self.waiting.push_back(loss);
        while self.waiting.len() > capacity {
            self.release(books);
        }
    }

    /// The next packet was still awaited when the test-session was aborted.
    pub(super) fn pending(&mut self) {
        self.outer.pending += 1;
    }

    /// The next packet came back. `stateful`: whether the Session-Reflector is known to count.
    pub(super) fn received(
        &mut self,
        arrival: Arrival<impl Iterator<Item = u32>>,
        stateful: Option<bool>,
        books: &mut Books<'_, impl SampleSink>,
    ) {
        self.answered = true;
        let newer = arrival.epoch.wrapping_sub(self.epoch) as i8;
        if newer > 0 {
            self.epoch = arrival.epoch;
            self.take_in_outer();
            self.decide(0, None, books);
            self.begin_window(Base::Unknown);
            self.no_boundary_before = 0;
        }
        self.take_in_outer();
        self.received += 1;
        self.no_boundary_before = self.no_boundary_before.max(arrival.overtaker);
        if newer >= 0 {
            for number in std::iter::once(arrival.number).chain(arrival.copies) {
                self.seen += 1;
                let higher = self.high.is_none_or(|high| number.wrapping_sub(high) as i32 > 0);
                self.high = if higher { Some(number) } else { self.high };
            }
        }
        if arrival.sequence >= self.no_boundary_before {
            self.boundary(stateful, books);
        }
    }

    /// The Session-Reflector turned out to count, after a time in which each number was the same as ours.
    pub(super) fn known_stateful(&mut self, books: &mut Books<'_, impl SampleSink>) {
        let waited = std::mem::take(&mut self.wait_for_mode);
        let told = self.told.min(waited);
        self.told -= told;
        for loss in self.waiting.drain(..waited).skip(told) {
            emit(&loss, Direction::Backward, books);
        }
        count(Direction::Backward, waited, books);
        self.give_back_room();
    }

    /// Monotonic time at which the loss that waited longest was sent.
    pub(super) fn oldest_waiting_ns(&self) -> Option<i64> {
        self.waiting.front().map(|loss| loss.sent_mono_ns)
    }

    /// Monotonic time at which the first loss that nobody was told of was sent, and how long after it was given up its row
    /// may wait: not at all as long as nothing answers, for then nothing will tell.
    pub(super) fn untold_ns(&self, wait_ns: i64) -> Option<i64> {
        let wait_ns = if self.answered { wait_ns } else { 0 };
        self.waiting.get(self.told).map(|loss| loss.sent_mono_ns.saturating_add(wait_ns))
    }

    /// Give out the row of the first loss that nobody was told of.
    pub(super) fn tell(&mut self, books: &mut Books<'_, impl SampleSink>) {
        if let Some(loss) = self.waiting.get(self.told) {
            emit(loss, Direction::Unattributed, books);
            self.told += 1;
        }
    }

    /// Losses in no count yet.
    pub(super) fn undecided(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Count the loss that waited longest as unattributed.
    pub(super) fn release(&mut self, books: &mut Books<'_, impl SampleSink>) {
        let Some(loss) = self.waiting.pop_front() else { return };
        if self.wait_for_mode > 0 {
            self.wait_for_mode -= 1;
        } else if self.inner.lost > self.inner.released {
            self.inner.released += 1;
        } else {
            self.outer.released += 1;
        }
        if self.told > 0 {
            self.told -= 1;
        } else {
            emit(&loss, Direction::Unattributed, books);
        }
        count(Direction::Unattributed, 1, books);
        self.give_back_room();
    }

    /// All packets have been fed: decide what can be, and count the rest as unattributed.
    pub(super) fn finish(&mut self, stateful: Option<bool>, books: &mut Books<'_, impl SampleSink>) {
        self.boundary(stateful, books);
        while !self.waiting.is_empty() {
            self.release(books);
        }
    }

    fn take_in_outer(&mut self) {
        let outer = std::mem::take(&mut self.outer);
        self.inner.lost += outer.lost;
        self.inner.released += outer.released;
        self.inner.pending += outer.pending;
    }

    fn begin_window(&mut self, base: Base) {
        self.base = base;
        self.inner = Fates::default();
        self.high = None;
        self.seen = 0;
        self.received = 0;
    }

    /// End the window behind the last packet that came back.
    fn boundary(&mut self, stateful: Option<bool>, books: &mut Books<'_, impl SampleSink>) {
        let Some(high) = self.high else { return };
        if self.inner.lost > 0 {
            match self.missing(high).filter(|_| stateful != Some(false)) {
                None => self.decide(0, None, books),
                // Every number so far equals ours: wait until one does not.
                Some(_) if stateful.is_none() => {
                    self.wait_for_mode += self.inner.lost - self.inner.released;
                    while self.told < self.wait_for_mode {
                        self.tell(books);
                    }
                }
                Some(missing) => {
                    let backward = missing.min(self.inner.lost);
                    self.decide(backward, Some(self.inner.lost - backward), books);
                }
            }
        }
        self.begin_window(Base::At(high));
    }

    /// Replies that were lost in the window, or None if the numbers cannot tell.
    fn missing(&self, high: u32) -> Option<usize> {
        let (begin, most) = match self.base {
            Base::Unknown => return None,
            // If the numbers did not begin with 0 they are beyond what our packets explain.
            Base::Start => (u32::MAX, self.inner.lost as i64),
            Base::At(number) => (number, (2 * self.inner.lost + self.received) as i64 + SURPLUS),
        };
        let missing = i64::from(high.wrapping_sub(begin) as i32) - self.seen;
        // A packet still under way may be the one whose reply is missing.
        let certain = self.inner.pending == 0 || missing == 0;
        (certain && (0..=most).contains(&missing)).then_some(missing as usize)
    }

    /// Give the window's losses their direction: so many backward and forward, or unattributed for None.
    fn decide(&mut self, backward: usize, forward: Option<usize>, books: &mut Books<'_, impl SampleSink>) {
        let left = self.inner.lost - self.inner.released;
        let direction = match forward {
            Some(0) => Direction::Backward,
            Some(_) if backward == 0 => Direction::Forward,
            _ => Direction::Unattributed,
        };
        let told = self.told.saturating_sub(self.wait_for_mode);
        self.told -= told.min(left);
        for loss in self.waiting.drain(self.wait_for_mode..self.wait_for_mode + left).skip(told) {
            emit(&loss, direction, books);
        }
        match forward {
            // Both directions, and all still here: the counts are known though the packets are not.
            Some(forward) if direction == Direction::Unattributed && self.inner.released == 0 => {
                count(Direction::Forward, forward, books);
                count(Direction::Backward, backward, books);
            }
            _ => count(direction, left, books),
        }
        self.give_back_room();
    }

    /// An outage must not leave its mark on the memory of ten thousand test-sessions.
    fn give_back_room(&mut self) {
        if self.waiting.is_empty() {
            self.waiting.shrink_to(ROOM_KEPT);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.waiting.capacity() * size_of::<Loss>()
    }
}

fn count(direction: Direction, packets: usize, books: &mut Books<'_, impl SampleSink>) {
    let counter = match direction {
        Direction::Forward => Counter::LostForward,
        Direction::Backward => Counter::LostBackward,
        Direction::Unattributed => Counter::LostUnattributed,
    };
    books.summary.add(counter, packets as u64);
}

fn emit(loss: &Loss, direction: Direction, books: &mut Books<'_, impl SampleSink>) {
    let status = match direction {
        Direction::Forward => SampleStatus::LostForward,
        Direction::Backward => SampleStatus::LostBackward,
        Direction::Unattributed => SampleStatus::LostUnattributed,
    };
    let mut sample = Sample::bare(loss.sequence, status);
    sample.t1_ns = loss.t1_ns;
    sample.t1_source = loss.t1_source;
    sample.send_lateness_ns = loss.lateness_ns;
    books.sink.sample(&sample);
}
