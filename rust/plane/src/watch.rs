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
//! **Who sends may change.** A test-session outlives its Session-Senders: what one saw goes on with the next
//! ([`Watch::succeed`]), but for the packets that were under way. A window whose limits are asked for again keeps its facts.
//!
//! **Hysteresis.** A limit is met at `limit` and met no more below `recover`; in between it stays as it was.

use std::collections::VecDeque;

use crate::sample::{MISSING, Sample, SampleFlag, SampleStatus, UNKNOWN, named};
use crate::variation::RtpJitter;

named! {
    /// What a limit is about; the names are those of the table of metrics.
    pub enum Metric {
        /// Probes not back within the timeout, of those whose fate is known.
        LossRatio = "loss_ratio",
        /// Lost on the way there, of those of which the direction is known.
        LossForwardRatio = "loss_forward_ratio",
        /// Lost on the way back, of those that were answered.
        LossBackwardRatio = "loss_backward_ratio",
        /// Probes without any reply.
        Lost = "lost",
        /// Those lost on the way there.
        LostForward = "lost_forward",
        /// Those lost on the way back.
        LostBackward = "lost_backward",
        /// Probes whose reply came after the timeout.
        Late = "late",
        /// The same, of those whose fate is known.
        LateRatio = "late_ratio",
        /// Further replies.
        Duplicates = "duplicates",
        /// The same, in proportion to probes with a reply.
        DuplicatesRatio = "duplicates_ratio",
        /// Replies that came after one to a later probe.
        Reordered = "reordered_round_trip",
        /// The same, of those received in time.
        ReorderedRatio = "reordered_ratio",
        /// Round trip.
        RoundTrip = "round_trip",
        /// To the Session-Reflector.
        Forward = "forward",
        /// From the Session-Reflector.
        Backward = "backward",
        /// In the Session-Reflector.
        Residence = "residence",
        /// Round trip above the least of the window.
        PdvRoundTrip = "pdv_round_trip",
        /// The same of the way there.
        PdvForward = "pdv_forward",
        /// The same of the way back.
        PdvBackward = "pdv_backward",
        /// Absolute difference of round trips of probes sent one after the other.
        IpdvRoundTrip = "ipdv_round_trip",
        /// The same of the way there.
        IpdvForward = "ipdv_forward",
        /// The same of the way back.
        IpdvBackward = "ipdv_backward",
        /// RFC 3550 jitter of round trips, as it is now.
        JitterRoundTrip = "jitter_round_trip_ns",
        /// The same of the way there.
        JitterForward = "jitter_forward_ns",
        /// The same of the way back.
        JitterBackward = "jitter_backward_ns",
    }
}

named! {
    /// How a limit stands.
    pub enum State {
        /// Nobody knows.
        Unknown = "unknown",
        /// Not met.
        Good = "good",
        /// Met.
        Bad = "bad",
    }
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What is compared.
    pub metric: Metric,
    /// It is met when the value is this or more: ns, ratio or packets.
    pub limit: f64,
    /// It is met no more when the value is less than this.
    pub recover: f64,
    /// The greatest value is compared, else the mean. Of times only.
    pub maximum: bool,
}

/// How a limit stands, and the value that says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Whether it is met.
    pub state: State,
    /// The value, where there is one.
    pub value: Option<f64>,
}

/// What is known of one probe, as limits see it.
#[derive(Clone, Copy, Debug)]
enum Fact {
    /// A reply in time.
    Received(Received),
    /// No reply within the timeout, or the kernel would not send it.
    Overdue,
    /// A reply that came too late for us to read it in time, though not on the wire: `Overdue` was wrong.
    NotOverdue,
    /// A reply after the timeout.
    Late,
    /// No reply at all; the direction, if it is known.
    Lost(Option<Way>),
    /// Another reply.
    Duplicate,
}

/// What a reply in time says of round trip, way there and way back.
#[derive(Clone, Copy, Debug)]
struct Received {
    delays_ns: [Option<i64>; 3],
    /// Absolute differences from the probe that was sent before.
    differences_ns: [Option<i64>; 3],
    jitters_ns: [Option<i64>; 3],
    residence_ns: Option<i64>,
    /// Both clocks are synchronised.
    clocks: bool,
    reordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Forward,
    Backward,
}

/// The share of a fact in a limit's sums.
#[derive(Clone, Copy, Debug)]
struct Entry {
    known_ns: i64,
    /// A time, or what is counted.
    part: i64,
    /// What it is a part of.
    whole: i64,
}

/// One limit and the facts of its window.
#[derive(Clone, Debug)]
struct Watched {
    limit: Limit,
    finding: Finding,
    entries: VecDeque<Entry>,
    part: i128,
    whole: i64,
    /// Candidates for the greatest and for the least value, each with those that it will outlive gone.
    greatest: VecDeque<(i64, i64)>,
    least: VecDeque<(i64, i64)>,
}

impl Received {
    /// The time that a metric is about.
    fn time(&self, metric: Metric) -> Option<i64> {
        use Metric as M;
        match metric {
            M::RoundTrip | M::PdvRoundTrip => self.delays_ns[0],
            M::Forward => self.delays_ns[1].filter(|_| self.clocks),
            M::Backward => self.delays_ns[2].filter(|_| self.clocks),
            // The offset of the clocks is in the least, too.
            M::PdvForward => self.delays_ns[1],
            M::PdvBackward => self.delays_ns[2],
            M::Residence => self.residence_ns,
            M::IpdvRoundTrip => self.differences_ns[0],
            M::IpdvForward => self.differences_ns[1],
            M::IpdvBackward => self.differences_ns[2],
            M::JitterRoundTrip => self.jitters_ns[0],
            M::JitterForward => self.jitters_ns[1],
            M::JitterBackward => self.jitters_ns[2],
            _ => None,
        }
    }
}

impl Watched {
    fn new(limit: Limit) -> Self {
        Self {
            limit,
            finding: Finding { state: State::Unknown, value: None },
            entries: VecDeque::new(),
            part: 0,
            whole: 0,
            greatest: VecDeque::new(),
            least: VecDeque::new(),
        }
    }

    /// What the fact adds: a part and a whole. None: it is no concern of this limit.
    fn share(&self, fact: &Fact) -> Option<(i64, i64)> {
        use Metric as M;
        let metric = self.limit.metric;
        match (metric, fact) {
            // One that counts in the proportion, and one that does not.
            (M::LossRatio, Fact::Overdue) | (M::LossBackwardRatio, Fact::Lost(Some(Way::Backward))) => Some((1, 1)),
            (M::LossForwardRatio, Fact::Lost(Some(way))) => Some((i64::from(*way == Way::Forward), 1)),
            (M::ReorderedRatio, Fact::Received(reply)) => Some((reply.reordered.into(), 1)),
            (
                M::LossRatio | M::LateRatio | M::DuplicatesRatio | M::LossForwardRatio | M::LossBackwardRatio,
                Fact::Received(_),
            )
            | (M::LateRatio, Fact::Overdue)
            | (M::DuplicatesRatio | M::LossForwardRatio | M::LossBackwardRatio, Fact::Late) => Some((0, 1)),
            (M::LossRatio, Fact::NotOverdue) => Some((-1, 0)),
            // Those that are only counted.
            (M::Lost, Fact::Lost(_))
            | (M::LostForward, Fact::Lost(Some(Way::Forward)))
            | (M::LostBackward, Fact::Lost(Some(Way::Backward)))
            | (M::LateRatio | M::Late, Fact::Late)
            | (M::DuplicatesRatio | M::Duplicates, Fact::Duplicate) => Some((1, 0)),
            (M::Reordered, Fact::Received(reply)) => reply.reordered.then_some((1, 0)),
            (_, Fact::Received(reply)) => reply.time(metric).map(|ns| (ns, 1)),
            _ => None,
        }
    }

    fn note(&mut self, known_ns: i64, fact: &Fact) {
        let Some((part, whole)) = self.share(fact) else { return };
        self.entries.push_back(Entry { known_ns, part, whole });
        self.part += i128::from(part);
        self.whole += whole;
        if self.limit.maximum {
            while self.greatest.back().is_some_and(|(_, value)| *value <= part) {
                self.greatest.pop_back();
            }
            self.greatest.push_back((known_ns, part));
        }
        if self.is_pdv() {
            while self.least.back().is_some_and(|(_, value)| *value >= part) {
                self.least.pop_back();
            }
            self.least.push_back((known_ns, part));
        }
    }

    fn is_pdv(&self) -> bool {
        matches!(self.limit.metric, Metric::PdvRoundTrip | Metric::PdvForward | Metric::PdvBackward)
    }

    /// Facts known before `since_ns` are of no more interest.
    fn forget(&mut self, since_ns: i64) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.known_ns < since_ns) {
            self.part -= i128::from(entry.part);
            self.whole -= entry.whole;
            self.entries.pop_front();
        }
        for candidates in [&mut self.greatest, &mut self.least] {
            while candidates.front().is_some_and(|(known_ns, _)| *known_ns < since_ns) {
                candidates.pop_front();
            }
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.greatest.clear();
        self.least.clear();
        (self.part, self.whole) = (0, 0);
    }

    /// The value now, where there is one. `undirected`: losses of the window of which nobody knows the direction.
    fn value(&self, undirected: bool) -> Option<f64> {
        use Metric as M;
        let mean = || (self.whole > 0).then(|| self.part as f64 / self.whole as f64);
        match self.limit.metric {
            M::LossForwardRatio | M::LossBackwardRatio | M::LostForward | M::LostBackward if undirected => None,
            M::Lost | M::LostForward | M::LostBackward | M::Late | M::Duplicates | M::Reordered => {
                Some(self.part as f64)
            }
            M::JitterRoundTrip | M::JitterForward | M::JitterBackward => {
                self.entries.back().map(|last| last.part as f64)
            }
            _ if self.limit.maximum => {
                let greatest = self.greatest.front().map(|(_, value)| *value)?;
                let above = if self.is_pdv() { self.least.front().map_or(0, |(_, value)| *value) } else { 0 };
                Some(greatest.saturating_sub(above) as f64)
            }
            _ if self.is_pdv() => Some(mean()? - self.least.front().map(|(_, value)| *value)? as f64),
            _ => mean(),
        }
    }

    /// Compare. Returns whether it stands otherwise than before.
    fn judge(&mut self, known: bool, undirected: bool) -> bool {
        let value = if known { self.value(undirected) } else { None };
        let state = match value {
            None => State::Unknown,
            Some(value) if value >= self.limit.limit => State::Bad,
            Some(value) if value < self.limit.recover => State::Good,
            // In between; what was not known before is not bad.
            Some(_) if self.finding.state == State::Bad => State::Bad,
            Some(_) => State::Good,
        };
        let changed = state != self.finding.state;
        self.finding = Finding { state, value };
        changed
    }
}

/// One window with its limits.
#[derive(Clone, Debug)]
struct Window {
    length_ns: i64,
    /// Since when it has been looked at without a break; None before the first packet.
    since_ns: Option<i64>,
    /// Half of the facts that it has when nothing disturbs.
    least_facts: usize,
    /// When the facts became known that are probes' fates.
    fates: VecDeque<i64>,
    /// When losses without direction became known.
    undirected: VecDeque<i64>,
    limits: Vec<Watched>,
}

impl Window {
    /// Whether another looks for the same.
    fn asks_as(&self, other: &Self) -> bool {
        let limits = |window: &Self| window.limits.iter().map(|watched| watched.limit).collect::<Vec<_>>();
        self.length_ns == other.length_ns && limits(self) == limits(other)
    }
}

/// A packet that is awaited.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    sent_ns: i64,
    answered: bool,
    disturbed: bool,
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
    /// Number of the first packet that was seen to leave; None before it.
    begun: Option<u32>,
    /// The last reply: its number, the scale of the clock and its delays.
    last: Option<(u32, u8, [Option<i64>; 3])>,
    jitter: [RtpJitter; 3],
    local_synchronized: bool,
    stateful: bool,
    changed: bool,
    /// When the findings were last shown.
    shown_ns: i64,
}

/// Values are shown as often as this, though nothing changes.
const SHOWN_NS: i64 = 1_000_000_000;

/// The limits of one window, in ns, as they are asked for.
pub type Asked = (i64, Vec<Limit>);

impl Watch {
    /// Limits for a session whose replies are in time for `timeout_ns` and that sends a packet each `mean_gap_ns`, its
    /// pauses included. Departures later than `late_ns` are this host's fault.
    pub fn new(asked: Vec<Asked>, late_ns: i64, timeout_ns: i64, mean_gap_ns: i64) -> Self {
        let windows = asked
            .into_iter()
            .map(|(length_ns, limits)| Window {
                length_ns,
                since_ns: None,
                least_facts: ((length_ns / mean_gap_ns.max(1) / 2).max(1)) as usize,
                fates: VecDeque::new(),
                undirected: VecDeque::new(),
                limits: limits.into_iter().map(Watched::new).collect(),
            })
            .collect();
        Self {
            windows,
            late_ns,
            timeout_ns,
            now_ns: i64::MIN,
            awaited: VecDeque::new(),
            first: 0,
            begun: None,
            last: None,
            jitter: [RtpJitter::default(); 3],
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
        self.begun.get_or_insert(sequence);
        if self.awaited.is_empty() {
            self.first = sequence;
        }
        let disturbed = lateness_ns > self.late_ns;
        self.awaited.push_back(Awaited { sent_ns: now_ns, answered: false, disturbed });
    }

    fn begin(&mut self, now_ns: i64) {
        for window in &mut self.windows {
            window.since_ns.get_or_insert(now_ns);
        }
    }

    /// Go on from what another saw of the same test-session: windows with the same limits keep their facts and how they
    /// stand, which is news. The packets that it awaits are of no more interest.
    pub fn succeed(&mut self, before: Watch) {
        self.now_ns = before.now_ns;
        self.changed = true;
        let mut old = before.windows;
        for window in &mut self.windows {
            if let Some(at) = old.iter().position(|known| known.asks_as(window)) {
                let known = old.swap_remove(at);
                *window = Window { least_facts: window.least_facts, ..known };
            }
        }
    }

    /// Take the place of one that looked at the same packets.
    pub fn replace(&mut self, mut before: Watch) {
        self.awaited = std::mem::take(&mut before.awaited);
        (self.first, self.begun, self.last, self.jitter) = (before.first, before.begun, before.last, before.jitter);
        self.stateful = before.stateful;
        self.succeed(before);
    }

    /// The kernel dropped replies: what is missing may be missing here. Everything begins anew.
    pub fn restart(&mut self) {
        for window in &mut self.windows {
            window.since_ns = Some(self.now_ns);
            window.fates.clear();
            window.undirected.clear();
            for limit in &mut window.limits {
                limit.clear();
            }
        }
        for packet in &mut self.awaited {
            packet.disturbed = true;
        }
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
        let now_ns = self.now_ns;
        for window in &mut self.windows {
            if fate {
                window.fates.push_back(now_ns);
            }
            if matches!(fact, Fact::Lost(None)) && !self.stateful {
                window.undirected.push_back(now_ns);
            }
            for limit in &mut window.limits {
                limit.note(now_ns, fact);
            }
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
        let now_ns = self.now_ns;
        for window in &mut self.windows {
            let begin_ns = now_ns.saturating_sub(window.length_ns);
            for moments in [&mut window.fates, &mut window.undirected] {
                while moments.front().is_some_and(|known_ns| *known_ns < begin_ns) {
                    moments.pop_front();
                }
            }
            let whole = window.since_ns.is_some_and(|since_ns| since_ns <= begin_ns);
            let known = whole && window.fates.len() >= window.least_facts;
            let undirected = !window.undirected.is_empty();
            for limit in &mut window.limits {
                limit.forget(begin_ns);
                self.changed |= limit.judge(known, undirected);
            }
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
        self.windows.iter().map(|window| window.limits.iter().map(|limit| limit.finding).collect()).collect()
    }

    /// Octets on the heap.
    pub fn memory_bytes(&self) -> usize {
        let limit = |limit: &Watched| {
            limit.entries.capacity() * size_of::<Entry>()
                + (limit.greatest.capacity() + limit.least.capacity()) * size_of::<(i64, i64)>()
        };
        let window = |window: &Window| {
            (window.fates.capacity() + window.undirected.capacity()) * size_of::<i64>()
                + window.limits.capacity() * size_of::<Watched>()
                + window.limits.iter().map(limit).sum::<usize>()
        };
        self.windows.iter().map(window).sum::<usize>() + self.awaited.capacity() * size_of::<Awaited>()
    }
}
