//! A window with its limits: what it knows, and whether that is enough to judge by.

use std::collections::VecDeque;

use super::fact::Fact;
use super::limit::{Finding, Limit};
use super::watched::Watched;

/// One window with its limits.
#[derive(Clone, Debug)]
pub(super) struct Window {
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
    /// Of that length, where a probe is sent each `mean_gap_ns`.
    pub(super) fn new(length_ns: i64, limits: Vec<Limit>, mean_gap_ns: i64) -> Self {
        Self {
            length_ns,
            since_ns: None,
            least_facts: ((length_ns / mean_gap_ns.max(1) / 2).max(1)) as usize,
            fates: VecDeque::new(),
            undirected: VecDeque::new(),
            limits: limits.into_iter().map(Watched::new).collect(),
        }
    }

    /// Whether another looks for the same.
    fn asks_as(&self, other: &Self) -> bool {
        let limits = |window: &Self| window.limits.iter().map(|watched| watched.limit).collect::<Vec<_>>();
        self.length_ns == other.length_ns && limits(self) == limits(other)
    }

    /// Go on with the facts of that among others which looked for the same.
    pub(super) fn inherit(&mut self, others: &mut Vec<Self>) {
        if let Some(at) = others.iter().position(|known| known.asks_as(self)) {
            let known = others.swap_remove(at);
            *self = Self { least_facts: self.least_facts, ..known };
        }
    }

    /// It is looked at from now on.
    pub(super) fn begin(&mut self, now_ns: i64) {
        self.since_ns.get_or_insert(now_ns);
    }

    /// Begin anew.
    pub(super) fn restart(&mut self, now_ns: i64) {
        self.since_ns = Some(now_ns);
        self.fates.clear();
        self.undirected.clear();
        for limit in &mut self.limits {
            limit.clear();
        }
    }

    /// A fact is known now; `fate`: it says what became of a probe, for the first time. `directed`: losses of this
    /// session have a direction.
    pub(super) fn note(&mut self, now_ns: i64, fact: &Fact, fate: bool, directed: bool) {
        if fate {
            self.fates.push_back(now_ns);
        }
        if matches!(fact, Fact::Lost(None)) && !directed {
            self.undirected.push_back(now_ns);
        }
        for limit in &mut self.limits {
            limit.note(now_ns, fact);
        }
    }

    /// Compare. Returns whether a limit stands otherwise than before.
    pub(super) fn judge(&mut self, now_ns: i64) -> bool {
        let begin_ns = now_ns.saturating_sub(self.length_ns);
        for moments in [&mut self.fates, &mut self.undirected] {
            while moments.front().is_some_and(|known_ns| *known_ns < begin_ns) {
                moments.pop_front();
            }
        }
        let whole = self.since_ns.is_some_and(|since_ns| since_ns <= begin_ns);
        let known = whole && self.fates.len() >= self.least_facts;
        let undirected = !self.undirected.is_empty();
        let mut changed = false;
        for limit in &mut self.limits {
            limit.forget(begin_ns);
            changed |= limit.judge(known, undirected);
        }
        changed
    }

    /// How its limits stand.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.limits.iter().map(|limit| limit.finding).collect()
    }

    /// Octets on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.fates.capacity() + self.undirected.capacity()) * size_of::<i64>()
            + self.limits.capacity() * size_of::<Watched>()
            + self.limits.iter().map(Watched::memory_bytes).sum::<usize>()
    }
}
