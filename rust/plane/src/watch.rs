//! Limits for what the last probes of a test-session showed: met, met no more, or not known.
//!
//! Theory of operation
//! ===================
//!
//! Who moves traffic by a measurement wants to know the moment a limit is met, and wants to hear nothing as long as nothing
//! changes. So limits are looked at here, by the worker, whenever the fate of a probe becomes known; others are told of
//! changes only.
//!
//! **The window.** A limit looks back at the facts that became known within a span of time. A reply is a fact when it
//! comes. That a probe is *not back within its timeout* is one as soon as the timeout is over, though the ledger waits for
//! a late reply as long again before it calls the probe lost; the direction of a loss is one when the ledger finds it.
//! Each limit keeps the facts that concern it, with their sum and, where it compares the greatest, a queue of candidates
//! for it, so that a fact costs the same however long the window is.
//!
//! **Not known.** A limit says nothing before it has been looked at for as long as its window is, nor while the window has
//! less than half of the facts that it should have. A probe that this host disturbed (not sent in time, sent late, under
//! way while the clock stepped) is no fact at all, and replies that the kernel dropped for want of buffer begin
//! everything anew: a disturbed span so leaves the window with too few facts, and decides nothing. A delay one way is not
//! a fact unless both clocks are synchronised.
//!
//! **What TLVs tell** is a fact of its own, known with the reply and as undisturbed as its probe. Counters of Direct Measurement
//! are compared from one reply to the next, so a span that a drop of our own lies in is left out with both its ends.
//!
//! **Who sends may change.** A test-session outlives its Session-Senders: what one saw goes on with the next
//! ([`Watch::succeed`]), but for the packets that were under way. A window whose limits are asked for again keeps its facts.
//!
//! **Hysteresis.** A limit is met at `limit` and met no more below `recover`; in between it stays as it was.

mod fact;
mod limit;
mod watched;
mod window;

use std::collections::VecDeque;

use crate::ledger::Told;
use crate::sample::{MISSING, Sample, SampleFlag, SampleStatus, UNKNOWN};
use crate::variation::RtpJitter;

use self::fact::{Fact, Received, Way};
pub use self::limit::{Finding, Limit, Metric, State};
use self::window::Window;

/// A packet that is awaited.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    sent_ns: i64,
    answered: bool,
    disturbed: bool,
}

/// Which counters of Direct Measurement can be compared.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    /// Whether the reply before that told of some is one that the next can be compared with.
    known: bool,
    /// Replies to packets before this one may have been dropped here.
    dropped_before: Option<u32>,
}

/// The limits of one test-session.
#[derive(Clone, Debug)]
pub struct Watch {
    windows: Vec<Window>,
    late_ns: i64,
    timeout_ns: i64,
    /// The last moment that was handed in.
    now_ns: i64,
    awaited: VecDeque<Awaited>,
    /// Number of the first packet that is awaited.
    first: u32,
    /// Number of the first packet that was seen to leave, or one of [`LONG_AGO`]; None before it.
    begun: Option<u32>,
    /// The last reply: its number, the scale of the clock and its delays.
    last: Option<(u32, u8, [Option<i64>; 3])>,
    jitter: [RtpJitter; 3],
    counters: Counters,
    local_synchronized: bool,
    stateful: bool,
    changed: bool,
    /// When the findings were last shown.
    shown_ns: i64,
}

/// Packets that left so many packets ago are decided: numbers of 32 bits can be compared for ever with one that trails by this.
const LONG_AGO: u32 = 1 << 30;

/// Values are shown as often as this, though nothing changes.
const SHOWN_NS: i64 = 1_000_000_000;

/// The limits of one window, in ns, as they are asked for.
pub type Asked = (i64, Vec<Limit>);

impl Watch {
    /// Limits for a session whose replies are in time for `timeout_ns` and that sends a packet each `mean_gap_ns`, its
    /// pauses included. Departures later than `late_ns` are this host's fault.
    pub fn new(asked: Vec<Asked>, late_ns: i64, timeout_ns: i64, mean_gap_ns: i64) -> Self {
        let window = |(length_ns, limits)| Window::new(length_ns, limits, mean_gap_ns);
        Self {
            windows: asked.into_iter().map(window).collect(),
            late_ns,
            timeout_ns,
            now_ns: i64::MIN,
            awaited: VecDeque::new(),
            first: 0,
            begun: None,
            last: None,
            jitter: [RtpJitter::default(); 3],
            counters: Counters::default(),
            local_synchronized: false,
            stateful: false,
            changed: false,
            shown_ns: i64::MIN,
        }
    }

    /// Whether the local clock is synchronised.
    pub fn local_clock(&mut self, synchronized: bool) {
        self.local_synchronized = synchronized;
    }

    /// It is that moment now.
    pub fn at(&mut self, now_ns: i64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// A packet left.
    pub fn sent(&mut self, sequence: u32, now_ns: i64, lateness_ns: i64) {
        self.at(now_ns);
        self.begin(now_ns);
        let trailing = |number: u32| {
            if sequence.wrapping_sub(number) > LONG_AGO { sequence.wrapping_sub(LONG_AGO) } else { number }
        };
        self.begun = Some(trailing(self.begun.unwrap_or(sequence)));
        self.counters.dropped_before = self.counters.dropped_before.map(trailing);
        if self.awaited.is_empty() {
            self.first = sequence;
        }
        let disturbed = lateness_ns > self.late_ns;
        self.awaited.push_back(Awaited { sent_ns: now_ns, answered: false, disturbed });
    }

    fn begin(&mut self, now_ns: i64) {
        self.windows.iter_mut().for_each(|window| window.begin(now_ns));
    }

    /// Go on from what another saw of the same test-session: windows with the same limits keep their facts and how they
    /// stand, which is news. The packets that it awaits are of no more interest.
    pub fn succeed(&mut self, before: Watch) {
        self.now_ns = before.now_ns;
        self.changed = true;
        let mut old = before.windows;
        for window in &mut self.windows {
            window.inherit(&mut old);
        }
    }

    /// Take the place of one that looked at the same packets.
    pub fn replace(&mut self, mut before: Watch) {
        self.awaited = std::mem::take(&mut before.awaited);
        (self.first, self.begun, self.last, self.jitter) = (before.first, before.begun, before.last, before.jitter);
        self.stateful = before.stateful;
        self.counters = before.counters;
        self.succeed(before);
    }

    /// The kernel dropped replies: what is missing may be missing here. Everything begins anew.
    pub fn restart(&mut self) {
        self.windows.iter_mut().for_each(|window| window.restart(self.now_ns));
        for packet in &mut self.awaited {
            packet.disturbed = true;
        }
        self.counters.known = false;
        self.counters.dropped_before = self.begun.map(|_| self.first.wrapping_add(self.awaited.len() as u32));
        self.judge();
    }

    /// A row was made.
    pub fn row(&mut self, row: &Sample) {
        let before = |begun: u32| (row.sequence.wrapping_sub(begun) as i32) < 0;
        if row.status != SampleStatus::NotSent && self.begun.is_none_or(before) {
            return; // it left before anybody looked
        }
        let disturbed = row.send_lateness_ns > self.late_ns || row.has(SampleFlag::ClockStep);
        match row.status {
            SampleStatus::Received => {
                let overdue = self.answered(row.sequence);
                self.note_received(row, disturbed, overdue);
            }
            SampleStatus::Late => {
                let overdue = self.answered(row.sequence);
                if disturbed {
                    return;
                }
                if !overdue {
                    self.note(&Fact::Overdue, true);
                }
                self.note(&Fact::Late, false);
            }
            SampleStatus::LostForward => self.note_lost(disturbed, Some(Way::Forward)),
            SampleStatus::LostBackward => self.note_lost(disturbed, Some(Way::Backward)),
            SampleStatus::LostUnattributed => self.note_lost(disturbed, None),
            SampleStatus::DuplicateForward | SampleStatus::DuplicateBackward | SampleStatus::DuplicateUnattributed => {
                self.note(&Fact::Duplicate, false);
            }
            // A slot that was missed is this host's fault; what the kernel refused reached nobody.
            SampleStatus::NotSent if row.send_lateness_ns == MISSING => {
                self.begin(self.now_ns);
                self.note(&Fact::Overdue, true);
                self.note(&Fact::Lost(None), false);
            }
            SampleStatus::NotSent | SampleStatus::Pending | SampleStatus::FurtherReply => {}
        }
    }

    /// The TLVs of the first reply to a packet say this.
    pub fn told(&mut self, sequence: u32, told: &Told) {
        let before = |number: u32| (sequence.wrapping_sub(number) as i32) < 0;
        if self.begun.is_none_or(before) {
            return;
        }
        let at = sequence.wrapping_sub(self.first) as usize;
        let disturbed = self.awaited.get(at).is_some_and(|packet| packet.disturbed);
        let mut told = *told;
        if told.direct[0].is_some() || told.direct[1].is_some() {
            // The first that tells is what the next is compared with: what it is compared with itself lies too far back.
            let comparable = self.counters.known;
            self.counters.known = !self.counters.dropped_before.is_some_and(before);
            if !comparable || !self.counters.known {
                told.direct = [None; 2];
            }
        }
        if !disturbed {
            self.note(&Fact::Told(told), false);
        }
    }

    /// A packet has its reply. Returns whether it was overdue already.
    fn answered(&mut self, sequence: u32) -> bool {
        let at = sequence.wrapping_sub(self.first) as usize;
        match self.awaited.get_mut(at) {
            Some(packet) => {
                packet.answered = true;
                false
            }
            None => true,
        }
    }

    fn note_received(&mut self, row: &Sample, disturbed: bool, overdue: bool) {
        self.stateful |= row.reflector_sequence != UNKNOWN && row.reflector_sequence != row.sequence;
        if self.last.is_some_and(|(_, scale, _)| scale != row.clock_scale) {
            // Our clock stepped.
            self.jitter[1..].iter_mut().for_each(RtpJitter::restart);
            self.last = None;
            self.restart();
        }
        if disturbed {
            self.last = None;
            return;
        }
        let known = |ns: i64| (ns != MISSING).then_some(ns);
        let delays_ns = [row.round_trip_ns, row.forward_ns, row.backward_ns].map(known);
        let before = self.last.replace((row.sequence, row.clock_scale, delays_ns));
        let mut differences_ns = [None; 3];
        let mut jitters_ns = [None; 3];
        for path in 0..3 {
            if let Some((sequence, _, before)) = before
                && sequence.wrapping_add(1) == row.sequence
            {
                let differ = |(now, then): (i64, i64)| now.saturating_sub(then).saturating_abs();
                differences_ns[path] = delays_ns[path].zip(before[path]).map(differ);
            }
            let jitter = delays_ns[path].and_then(|ns| self.jitter[path].observe(ns));
            jitters_ns[path] = jitter.map(|ns| ns.round() as i64);
        }
        if overdue {
            self.note(&Fact::NotOverdue, false);
        }
        let received = Received {
            delays_ns,
            differences_ns,
            jitters_ns,
            residence_ns: known(row.residence_ns),
            clocks: self.local_synchronized && !row.has(SampleFlag::FarUnsynchronized),
            reordered: row.has(SampleFlag::Reordered),
        };
        self.note(&Fact::Received(received), !overdue);
    }

    fn note_lost(&mut self, disturbed: bool, way: Option<Way>) {
        self.stateful |= way.is_some();
        if !disturbed {
            self.note(&Fact::Lost(way), false);
        }
    }

    /// A fact is known now; `fate`: it says what became of a probe, for the first time.
    fn note(&mut self, fact: &Fact, fate: bool) {
        for window in &mut self.windows {
            window.note(self.now_ns, fact, fate, self.stateful);
        }
        self.judge();
    }

    /// Notice what is overdue at `now_ns`.
    pub fn expire(&mut self, now_ns: i64) {
        self.at(now_ns);
        while let Some(packet) = self.awaited.front().copied() {
            let due = packet.sent_ns.saturating_add(self.timeout_ns) <= now_ns;
            if !packet.answered && !due {
                break;
            }
            self.awaited.pop_front();
            self.first = self.first.wrapping_add(1);
            if !packet.answered && !packet.disturbed {
                self.note(&Fact::Overdue, true);
            }
        }
    }

    /// When `expire` next has something to do.
    pub fn next_event(&self) -> Option<i64> {
        let first = self.awaited.iter().find(|packet| !packet.answered)?;
        Some(first.sent_ns.saturating_add(self.timeout_ns))
    }

    fn judge(&mut self) {
        for window in &mut self.windows {
            self.changed |= window.judge(self.now_ns);
        }
    }

    /// Whether whoever looks should be shown how the limits stand: when one stands otherwise, and now and then.
    pub fn is_news(&self) -> bool {
        self.changed || self.now_ns.saturating_sub(self.shown_ns) >= SHOWN_NS
    }

    /// Whether a limit stands otherwise than when this was last asked. Asked whenever the findings are shown.
    pub fn take_changed(&mut self) -> bool {
        self.shown_ns = self.now_ns;
        std::mem::take(&mut self.changed)
    }

    /// How all limits stand, window by window.
    pub fn findings(&self) -> Vec<Vec<Finding>> {
        self.windows.iter().map(Window::findings).collect()
    }

    /// Octets on the heap.
    pub fn memory_bytes(&self) -> usize {
        let windows: usize = self.windows.iter().map(Window::memory_bytes).sum();
        windows + self.awaited.capacity() * size_of::<Awaited>()
    }
}
