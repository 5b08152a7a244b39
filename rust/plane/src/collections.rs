//! The results of one test-session as an operator of a router knows them: tests, collections of tests, history.
//!
//! Theory of operation
//! ===================
//!
//! Fed with rows ([`Sample`]), each the fate of one probe, in the order in which fates become known. A *test* is
//! `probe_count` consecutive probes; one that could not be sent is one of them, so that tests and the groups of the
//! [`schedule`](crate::schedule) stay together. Rows of packets that were not sent bear the number of the next that is,
//! and come before that one is sent; so the sequence numbers of a test are known before the first of its rows. With
//! `probe_count` 0 a test is what left between two cuts, which rows tell by T1.
//!
//! A reply makes a row at once, a loss up to four timeouts after the departure. Probes of later tests come in between, so
//! several tests are *open* at once. A test ends when each of its probes has its row, and tests end in their order. The
//! *current test* is the newest of which a probe is known, with the probes that are known: loss of the last timeouts is not in it yet,
//! and neither are those probes among the sent. A probe that came back enters without delay.
//!
//! *Egress* and *ingress* are of the probes whose clocks at both ends can carry them; the others' stand apart, as they
//! include an offset that nobody knows. No limit is met by those.
//!
//! *Jitter* is the absolute difference from the probe received before, for round trip, egress and ingress each; losses do
//! not interrupt the chain. Within a test it begins with the test's first probe, in all tests it goes on from one to the
//! next; so it does in the history. Steps of our own clock interrupt the chains of one-way values.
//!
//! *All tests* has every row at once, open tests' too. The *moving average* is made from the history when somebody asks.
//! What is rarely read is kept packed: ten thousand of these fit into 100 MiB.
//!
//! Rows can be missing, if nobody took them in time: then a test that waits for one ends as *incomplete* when it is much
//! older than what comes now. So does what is open when the Session-Sender ends or another takes its place.

mod collection;
mod probe;
mod rows;
mod saved;

use std::collections::VecDeque;

pub use self::collection::{Collection, PATHS, Quantity, Tally};
pub use self::probe::Probe;

use self::collection::Run;
use self::rows::Rows;
use self::saved::VERSION;
use crate::packed::{Reader, Writer};
use crate::sample::{MISSING, Sample, SampleStatus, named};

/// Tests that are open at once; the oldest ends incomplete if there are more.
const MOST_OPEN: usize = 8192;
/// Tests that ended and were not taken; the oldest is forgotten if there are more.
const MOST_FINISHED: usize = 1024;
/// Room for history grows by so many probes: an ordinary one is made once, since ten thousand that grow step by step leave
/// megabytes of holes behind.
const GROWTH: usize = 64;

named! {
    /// The collections.
    pub enum Which {
        /// The newest test of which a probe is known, ended or not.
        Current = "current-test",
        /// The last test that ended.
        Last = "last-test",
        /// The last so many probes.
        Moving = "moving-average",
        /// Everything.
        All = "all-tests",
    }
}

/// Limits for single probes, 0 for none; a probe that meets one is worth a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Round trip.
    pub rtt_ns: i64,
    /// To the Session-Reflector.
    pub egress_ns: i64,
    /// From the Session-Reflector.
    pub ingress_ns: i64,
    /// Probes lost in a row.
    pub loss_run: u32,
}

/// What probes showed since the last look, those that met a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Probes whose fate became known, whether they met one or not.
    pub decided: u64,
    /// Greatest round trip, egress and ingress that met their limits.
    pub max_ns: [Option<i64>; 3],
    /// Probes lost in a row that end with the last one whose fate is known, met or not.
    pub loss_run: u32,
    /// Most probes in a row that were lost, or that the kernel refused, of runs that met the limit.
    pub longest_loss_run: u32,
    /// This host disturbed one of them.
    pub disturbed: bool,
    /// When the first of them left; of a run, when its first probe did.
    pub since_ns: Option<i64>,
}

/// A test that has not ended.
#[derive(Clone, Debug)]
struct Open {
    collection: Collection,
    /// When the first row came that is not of an earlier test.
    begun_ns: i64,
    /// Its first sequence number, counted on beyond 2^32.
    first: u64,
    not_sent: u64,
    /// Probes that left and have their row.
    decided: u64,
    /// The sequence number after its last, where a cut made it.
    end: Option<u64>,
    /// Departures from then on belong to the next test.
    cut_ns: Option<i64>,
}

impl Open {
    /// The sequence number after its last, if it is known.
    fn end(&self, probe_count: u64) -> Option<u64> {
        if probe_count > 0 { Some(self.first + probe_count.saturating_sub(self.not_sent)) } else { self.end }
    }

    fn is_decided(&self, probe_count: u64) -> bool {
        self.end(probe_count).is_some_and(|end| self.decided >= end - self.first)
    }
}

/// The results of one test-session; the module says how they come about.
#[derive(Clone, Debug)]
pub struct Collections {
    probe_count: u64,
    moving_average_size: usize,
    history_size: usize,
    /// How much later than a test's last probe another may leave before the test is given up.
    patience_ns: i64,
    /// Departures later than that are this host's fault.
    late_ns: i64,
    limits: Limits,
    seen: Seen,
    /// A limit was met.
    met: bool,
    open: VecDeque<Open>,
    /// Where the next test begins, if none is open.
    next_first: u64,
    /// Cuts that no departure has passed yet, but for the first.
    cuts: VecDeque<i64>,
    finished: VecDeque<Collection>,
    /// Tests that ended, and of those that nobody took in time.
    ended: u64,
    untaken: u64,
    /// The last test that ended, packed.
    last: Option<Box<[u8]>>,
    all: Collection,
    /// The last probes, in the order of their rows.
    probes: VecDeque<Probe>,
    /// So many of the last probes are in the history and in the moving average: what came before was cleared.
    in_history: usize,
    in_moving_average: usize,
    last_probe: Option<Probe>,
    /// Greatest sequence number so far.
    head: u64,
    /// Greatest sequence number that was not lost.
    answered: Option<u32>,
    run: Run,
    refused: Run,
    rows: Rows,
}

impl Collections {
    /// No probe yet. `probe_count` 0: tests end by [`Self::cut`].
    pub fn new(probe_count: u64, moving_average_size: usize, history_size: usize) -> Self {
        Self {
            probe_count,
            moving_average_size,
            history_size,
            patience_ns: i64::MAX,
            late_ns: i64::MAX,
            limits: Limits::default(),
            seen: Seen::default(),
            met: false,
            open: VecDeque::new(),
            next_first: 0,
            cuts: VecDeque::new(),
            finished: VecDeque::new(),
            ended: 0,
            untaken: 0,
            last: None,
            all: Collection::new(1),
            probes: VecDeque::new(),
            in_history: 0,
            in_moving_average: 0,
            last_probe: None,
            head: 0,
            answered: None,
            run: Run::default(),
            refused: Run::default(),
            rows: Rows::default(),
        }
    }

    /// What to look out for in single probes.
    pub fn watch(&mut self, limits: Limits, late_ns: i64) {
        self.limits = limits;
        self.late_ns = late_ns;
    }

    /// Another Session-Sender takes over, whose sequence numbers begin with 0 and whose replies are in time for that long.
    pub fn attach(&mut self, timeout_ns: i64) {
        self.interrupt();
        self.patience_ns = timeout_ns.saturating_mul(4).saturating_add(1_000_000_000);
    }

    /// The Session-Sender has ended: so do open tests, as they are.
    pub fn interrupt(&mut self) {
        while let Some(open) = self.open.pop_front() {
            // Nobody has seen a probe of a test that was begun for what came later.
            if open.decided > 0 || open.not_sent > 0 {
                self.finish(open);
            }
        }
        self.cuts.clear();
        // Who has not looked yet still sees how it ended.
        self.seen.loss_run = self.running_loss();
        (self.head, self.next_first, self.answered) = (0, 0, None);
        (self.run, self.refused) = Default::default();
        self.all.restart();
    }

    /// Takes rows in the order in which they were made; it is `wall_ns` now.
    pub fn add(&mut self, rows: &[Sample], wall_ns: i64) {
        self.rows.add(rows);
        for row in rows {
            self.note(row, wall_ns);
        }
    }

    fn note(&mut self, row: &Sample, wall_ns: i64) {
        // A further reply that was asked for decides about no probe, and is no fault of the network either.
        if row.status == SampleStatus::FurtherReply {
            return;
        }
        // The number closest to the greatest so far.
        let ahead = i64::from(row.sequence.wrapping_sub(self.head as u32) as i32);
        let sequence = self.head.saturating_add_signed(ahead);
        self.head = self.head.max(sequence);
        let moment_ns = if row.t1_ns == MISSING { wall_ns } else { row.t1_ns };
        let open = self.place(sequence, row, moment_ns);
        let test = open.map_or(self.newest_ended(), |at| self.open[at].collection.test);
        let mut probe = Probe::new(row, test, self.late_ns);
        let not_sent = probe.status == SampleStatus::NotSent;
        if let Some(at) = open {
            let open = &mut self.open[at];
            open.collection.note(&probe);
            open.not_sent += u64::from(not_sent);
            open.decided += u64::from(!not_sent && !probe.is_duplicate());
            if not_sent {
                open.collection.reach(wall_ns);
            }
        }
        self.all.test = self.all.test.max(test);
        probe.jitter_ns = self.all.note(&probe);
        if not_sent {
            self.all.reach(wall_ns);
        }
        if !probe.is_duplicate() {
            self.see(&probe, moment_ns);
            self.remember(probe);
        }
        self.finish_decided(moment_ns);
    }

    /// The open test that a row belongs to; tests up to that one are begun. None for a test that has ended.
    fn place(&mut self, sequence: u64, row: &Sample, moment_ns: i64) -> Option<usize> {
        if self.probe_count == 0 {
            return self.place_by_cuts(sequence, row, moment_ns);
        }
        self.leap(sequence);
        loop {
            let end = self.open.back().map_or(Some(self.next_first), |newest| newest.end(self.probe_count));
            let Some(end) = end.filter(|end| sequence >= *end) else { break };
            if self.open.len() == MOST_OPEN
                && let Some(oldest) = self.open.pop_front()
            {
                self.finish(oldest);
            }
            self.begin(end, moment_ns);
        }
        self.open.iter().rposition(|open| open.first <= sequence)
    }

    /// Rows of more tests are missing than can be open: those that are end, and what comes is counted from there.
    fn leap(&mut self, sequence: u64) {
        let end = self.open.back().map_or(Some(self.next_first), |newest| newest.end(self.probe_count));
        let missing = end.map_or(0, |end| sequence.saturating_sub(end) / self.probe_count);
        if missing > MOST_OPEN as u64 {
            while let Some(open) = self.open.pop_front() {
                self.finish(open);
            }
            self.next_first = end.unwrap_or_default() + missing * self.probe_count;
        }
    }

    fn place_by_cuts(&mut self, sequence: u64, row: &Sample, moment_ns: i64) -> Option<usize> {
        if self.open.is_empty() {
            self.begin(self.next_first, moment_ns);
        }
        if row.t1_ns != MISSING {
            // An older test whose cut this departure has passed begins the next one earlier than was thought.
            let at = self.open.iter().rposition(|open| open.first <= sequence)?;
            for at in at..self.open.len() - 1 {
                if self.open[at].cut_ns.is_none_or(|cut_ns| row.t1_ns < cut_ns) {
                    return Some(at);
                }
                self.open[at].end = Some(sequence);
                self.open[at + 1].first = sequence;
            }
            while let Some(newest) = self.open.back_mut()
                && newest.cut_ns.is_some_and(|cut_ns| row.t1_ns >= cut_ns)
            {
                newest.end = Some(sequence);
                self.begin(sequence, moment_ns);
            }
        }
        Some(self.open.len() - 1)
    }

    fn begin(&mut self, first: u64, begun_ns: i64) {
        let before = self.open.back().map_or(self.newest_ended(), |newest| newest.collection.test);
        let cut_ns = self.cuts.pop_front();
        let collection = Collection::new(before.saturating_add(1));
        self.open.push_back(Open { collection, begun_ns, first, not_sent: 0, decided: 0, end: None, cut_ns });
    }

    /// Number of the newest test that ended, 0 if there is none.
    fn newest_ended(&self) -> u32 {
        self.ended as u32
    }

    /// What leaves from now on belongs to the next test.
    pub fn cut(&mut self, wall_ns: i64) {
        if self.probe_count > 0 {
            return;
        }
        match self.open.back_mut() {
            Some(newest) if newest.cut_ns.is_none() => newest.cut_ns = Some(wall_ns),
            _ if self.cuts.len() < MOST_OPEN => self.cuts.push_back(wall_ns),
            _ => {}
        }
    }

    /// End the tests that are decided, and those that wait for a row that will not come. Now a probe of that moment came.
    fn finish_decided(&mut self, moment_ns: i64) {
        while let Some(oldest) = self.open.front() {
            let decided = oldest.is_decided(self.probe_count);
            let last_ns = oldest.collection.end_ns().map_or(oldest.begun_ns, |end_ns| end_ns.max(oldest.begun_ns));
            // The newest test has nothing after it that could have come instead.
            let given_up = self.open.len() > 1 && moment_ns.saturating_sub(last_ns) > self.patience_ns;
            if !(decided || given_up) {
                break;
            }
            if let Some(mut oldest) = self.open.pop_front() {
                self.next_first = oldest.end(self.probe_count).unwrap_or(self.next_first);
                oldest.collection.complete = decided && oldest.collection.tally(Tally::Pending) == 0;
                self.finish(oldest);
            }
        }
    }

    fn finish(&mut self, open: Open) {
        let mut out = Writer::new(VERSION);
        open.collection.put(&mut out);
        self.last = Some(out.finish().into_boxed_slice());
        self.ended = u64::from(open.collection.test);
        if self.finished.len() == MOST_FINISHED {
            self.finished.pop_front();
            self.untaken += 1;
        }
        self.finished.push_back(open.collection);
    }

    /// Note what a single probe shows, which left at `sent_ns` if it did.
    fn see(&mut self, probe: &Probe, sent_ns: i64) {
        self.seen.decided += 1;
        match probe.status {
            SampleStatus::Received => {
                let limits = [self.limits.rtt_ns, self.limits.egress_ns, self.limits.ingress_ns];
                let [egress_ns, ingress_ns] = probe.one_way_ns();
                for (path, (limit, delay_ns)) in
                    limits.into_iter().zip([probe.rtt_ns, egress_ns, ingress_ns]).enumerate()
                {
                    if limit > 0 && delay_ns != MISSING && delay_ns >= limit {
                        let most = &mut self.seen.max_ns[path];
                        *most = (*most).max(Some(delay_ns));
                        self.meet(probe, sent_ns);
                    }
                }
            }
            SampleStatus::LostForward | SampleStatus::LostBackward | SampleStatus::LostUnattributed => {
                let length = self.run.lost(probe.sequence, sent_ns);
                self.see_run(probe, length, self.run.since_ns());
                return;
            }
            SampleStatus::NotSent => {
                if probe.is_refused() {
                    let length = self.refused.refused(probe.sequence, sent_ns);
                    self.see_run(probe, length, self.refused.since_ns());
                }
                return;
            }
            _ => {}
        }
        let newer = |answered: u32| probe.sequence.wrapping_sub(answered) as i32 > 0;
        if self.answered.is_none_or(newer) {
            self.answered = Some(probe.sequence);
        }
    }

    /// A run of probes that reached nobody has grown to that length.
    fn see_run(&mut self, probe: &Probe, length: u32, since_ns: i64) {
        if self.limits.loss_run > 0 && length >= self.limits.loss_run {
            self.seen.longest_loss_run = self.seen.longest_loss_run.max(length);
            self.meet(probe, since_ns);
        }
    }

    /// A probe met a limit with what began then.
    fn meet(&mut self, probe: &Probe, since_ns: i64) {
        self.met = true;
        self.seen.disturbed |= probe.disturbed();
        self.seen.since_ns = Some(self.seen.since_ns.map_or(since_ns, |earlier| earlier.min(since_ns)));
    }

    /// What was lost so far proves nothing: runs of losses that are judged begin anew.
    pub fn forget_run(&mut self) {
        (self.run, self.refused) = Default::default();
    }

    fn remember(&mut self, probe: Probe) {
        self.last_probe = match self.last_probe {
            Some(last) if (last.test, last.sequence) > (probe.test, probe.sequence) => Some(last),
            _ => Some(probe),
        };
        let size = self.history_size.max(self.moving_average_size);
        if size == 0 {
            return;
        }
        while self.probes.len() >= size {
            self.probes.pop_front();
        }
        if self.probes.len() == self.probes.capacity() {
            self.probes.reserve_exact(GROWTH.min(size - self.probes.len()));
        }
        self.probes.push_back(probe);
        self.in_history = (self.in_history + 1).min(self.history_size);
        self.in_moving_average = (self.in_moving_average + 1).min(self.moving_average_size);
    }

    /// The tests that ended since the last call, in their order.
    pub fn take_finished(&mut self) -> Vec<Collection> {
        std::mem::take(&mut self.finished).into()
    }

    /// Whether [`Self::take_finished`] has something to take.
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Whether a probe met one of the limits since the last [`Self::take_seen`].
    pub fn has_met(&self) -> bool {
        self.met
    }

    /// What probes showed since the last call.
    pub fn take_seen(&mut self) -> Seen {
        self.met = false;
        let loss_run = self.running_loss();
        Seen { loss_run, ..std::mem::take(&mut self.seen) }
    }

    fn running_loss(&self) -> u32 {
        let begun = self.answered.is_some() || self.run != Run::default();
        if begun { self.run.newer_than(self.answered) } else { self.seen.loss_run }
    }

    /// A collection, if there is one.
    pub fn collection(&self, which: Which) -> Option<Collection> {
        match which {
            Which::Current => match self.open.back() {
                Some(newest) => Some(newest.collection.clone()),
                None => self.collection(Which::Last),
            },
            Which::Last => {
                let mut from = Reader::new(self.last.as_ref()?, VERSION).ok()?;
                Collection::take(&mut from).ok()
            }
            Which::Moving => {
                let probes = self.last_probes(self.in_moving_average);
                let mut moving = Collection::new(self.all.test);
                for probe in probes {
                    moving.note(probe);
                }
                (self.in_moving_average > 0).then_some(moving)
            }
            Which::All => (self.all.start_ns().is_some()).then(|| self.all.clone()),
        }
    }

    fn last_probes(&self, count: usize) -> impl Iterator<Item = &Probe> {
        self.probes.iter().skip(self.probes.len() - count)
    }

    /// Tests that ended, and how many of them nobody took before they were too many.
    pub fn tests(&self) -> (u64, u64) {
        (self.ended, self.untaken)
    }

    /// Probes of the history in the order of sending: those that left since `since_ns`, at most the last `limit` of them.
    pub fn history(&self, since_ns: Option<i64>, limit: Option<usize>) -> Vec<Probe> {
        let mut probes: Vec<Probe> = self.last_probes(self.in_history).copied().collect();
        probes.sort_by_key(|probe| (probe.test, probe.sequence));
        if let Some(since_ns) = since_ns {
            // One that never left is as old as the one before it.
            let mut recent = false;
            probes.retain(|probe| {
                recent = if probe.t1_ns == MISSING { recent } else { probe.t1_ns >= since_ns };
                recent
            });
        }
        let excess = limit.map_or(0, |limit| probes.len().saturating_sub(limit));
        probes.drain(..excess);
        probes
    }

    /// The last probe sent whose fate is known.
    pub fn last_probe(&self) -> Option<&Probe> {
        self.last_probe.as_ref()
    }

    /// Other sizes from now on.
    pub fn resize(&mut self, moving_average_size: usize, history_size: usize) {
        (self.moving_average_size, self.history_size) = (moving_average_size, history_size);
        let excess = self.probes.len().saturating_sub(moving_average_size.max(history_size));
        self.probes.drain(..excess);
        self.probes.shrink_to_fit();
        self.in_history = self.in_history.min(history_size);
        self.in_moving_average = self.in_moving_average.min(moving_average_size);
    }

    /// Last test, moving average and all tests begin anew; running tests and the numbering go on.
    pub fn clear_results(&mut self) {
        self.last = None;
        self.all = Collection::new(self.all.test);
        self.in_moving_average = 0;
    }

    /// The history begins anew.
    pub fn clear_history(&mut self) {
        self.in_history = 0;
    }

    /// Rows are also kept as they come, at most so many until [`Self::take_rows`]; 0: they are not.
    pub fn keep_rows(&mut self, most: usize) {
        self.rows.keep(most);
    }

    /// The rows that came since the last call, in the order in which fates became known.
    pub fn take_rows(&mut self) -> Vec<Sample> {
        self.rows.take()
    }

    /// Rows that nobody took before there were too many.
    pub fn rows_dropped(&self) -> u64 {
        self.rows.dropped()
    }

    /// Octets that it occupies, itself included.
    pub fn memory_bytes(&self) -> usize {
        let open = self.open.capacity() * size_of::<Open>();
        let finished = self.finished.capacity() * size_of::<Collection>();
        let last = self.last.as_ref().map_or(0, |last| last.len());
        let collections = self.open.iter().map(|open| &open.collection).chain(&self.finished).chain([&self.all]);
        let heap: usize = collections.map(Collection::memory_bytes).sum();
        let rows = self.rows.memory_bytes();
        size_of::<Self>() + open + finished + last + heap + rows + self.probes.capacity() * size_of::<Probe>()
    }
}
