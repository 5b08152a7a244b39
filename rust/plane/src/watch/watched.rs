//! One limit and the facts of its window: sums, candidates for the extremes, and the comparison.

use std::collections::VecDeque;

use super::fact::{Fact, Way};
use super::limit::{Finding, Limit, Metric, State};

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
pub(super) struct Watched {
    pub(super) limit: Limit,
    pub(super) finding: Finding,
    entries: VecDeque<Entry>,
    part: i128,
    whole: i64,
    /// Candidates for the greatest and for the least value, each with those that it will outlive gone.
    greatest: VecDeque<(i64, i64)>,
    least: VecDeque<(i64, i64)>,
}

impl Watched {
    pub(super) fn new(limit: Limit) -> Self {
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
            (M::RemarkedForward, Fact::Told(told)) => told.remarked[0].map(|remarked| (remarked.into(), 1)),
            (M::RemarkedBackward, Fact::Told(told)) => told.remarked[1].map(|remarked| (remarked.into(), 1)),
            (M::DirectLossForwardRatio, Fact::Told(told)) => told.direct[0],
            (M::DirectLossBackwardRatio, Fact::Told(told)) => told.direct[1],
            (_, Fact::Received(reply)) => reply.time(metric).map(|ns| (ns, 1)),
            _ => None,
        }
    }

    pub(super) fn note(&mut self, known_ns: i64, fact: &Fact) {
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
    pub(super) fn forget(&mut self, since_ns: i64) {
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

    pub(super) fn clear(&mut self) {
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
            // Nobody knows unless replies tell.
            M::RemarkedForward | M::RemarkedBackward => (self.whole > 0).then_some(self.part as f64),
            M::DirectLossForwardRatio | M::DirectLossBackwardRatio => mean().map(|ratio| ratio.max(0.0)),
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
    pub(super) fn judge(&mut self, known: bool, undirected: bool) -> bool {
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

    /// Octets on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + (self.greatest.capacity() + self.least.capacity()) * size_of::<(i64, i64)>()
    }
}
