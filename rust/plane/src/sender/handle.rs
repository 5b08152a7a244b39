//! What crosses from a worker to Python: samples, events, news of them. Locks here are held for the move of a vector, never
//! while anything is computed, and a worker takes none on the path of a packet: it tries, and comes again later.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::event::Event;
use crate::collections::Collections;
use crate::sample::{Sample, named};
use crate::sys::Waker;
use crate::watch::Finding;

named! {
    /// Why somebody should look at a session.
    pub enum Notable {
        /// Tests ended.
        Tests = "tests",
        /// A probe met a limit.
        Probes = "probes",
        /// It has events.
        Events = "events",
        /// Its last packet is decided.
        Finished = "finished",
        /// It has samples that nobody collects.
        Samples = "samples",
        /// A limit that is looked out for stands otherwise.
        Limits = "limits",
    }
}

/// Events kept until somebody takes them; more are counted only.
const EVENTS_KEPT: usize = 64;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One session as seen from both sides.
#[derive(Debug, Default)]
pub struct Shared {
    samples: Mutex<Vec<Sample>>,
    capacity: usize,
    dropped: AtomicU64,
    events: Mutex<VecDeque<Event>>,
    finished: AtomicBool,
    /// Where `Plane::collect` puts the samples.
    collections: Mutex<Option<Arc<Mutex<Collections>>>>,
    /// Its id is already among the news.
    announced: AtomicBool,
    /// Somebody acts on what it shows: samples go to the collections at once, and what is notable is an alert.
    followed: AtomicBool,
    /// Bits of [`Notable`] that are alerts; its id is among the alerts if there are some.
    alerts: AtomicU8,
    /// How the limits stand that are looked out for, and which limits these are.
    findings: Mutex<(u64, Vec<Vec<Finding>>)>,
}

impl Shared {
    /// Keeps at most `capacity` samples until they are taken.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Moves `samples` here unless Python is looking just now (`false`: try again later). What does not fit is dropped and
    /// counted.
    pub fn offer(&self, samples: &mut Vec<Sample>) -> bool {
        let Ok(mut kept) = self.samples.try_lock() else { return false };
        if kept.is_empty() && samples.len() <= self.capacity {
            std::mem::swap(&mut *kept, samples);
        } else {
            let room = self.capacity.saturating_sub(kept.len());
            let left_out = samples.len().saturating_sub(room);
            self.dropped.fetch_add(left_out as u64, Ordering::Relaxed);
            kept.extend(samples.drain(..).take(room));
        }
        samples.clear();
        true
    }

    /// Takes the samples gathered so far.
    pub fn take_samples(&self) -> Vec<Sample> {
        std::mem::take(&mut *lock(&self.samples))
    }

    /// Samples that found no room since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Notes an event; of a run of the same kind only the first is kept until the events are taken.
    pub fn event(&self, event: Event) {
        let Ok(mut events) = self.events.try_lock() else { return };
        if events.len() < EVENTS_KEPT && !events.iter().any(|known| known.same_kind(&event)) {
            events.push_back(event);
        }
    }

    /// Takes the events.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.events)).into()
    }

    /// Whether there are events to take.
    pub fn has_events(&self) -> bool {
        !lock(&self.events).is_empty()
    }

    /// Samples go there from now on.
    pub fn attach(&self, collections: Arc<Mutex<Collections>>) {
        *lock(&self.collections) = Some(collections);
    }

    /// Whether somebody acts on what it shows. Returns a number for what is looked out for from now on: what was found
    /// before is of other limits.
    pub fn follow(&self, followed: bool) -> u64 {
        self.followed.store(followed, Ordering::Release);
        let mut findings = lock(&self.findings);
        *findings = (findings.0 + 1, Vec::new());
        findings.0
    }

    /// Whether somebody acts on what it shows.
    pub fn is_followed(&self) -> bool {
        self.followed.load(Ordering::Acquire)
    }

    /// Puts the samples where they belong, unless somebody is busy with them just now: then they stay for
    /// [`Self::collect`]. Returns bits of [`Notable`] that somebody should know at once.
    pub fn collect_now(&self, wall_ns: i64) -> u8 {
        let Ok(collections) = self.collections.try_lock() else { return 0 };
        let Some(collections) = &*collections else { return 0 };
        let (Ok(mut collections), Ok(mut samples)) = (collections.try_lock(), self.samples.try_lock()) else {
            return 0;
        };
        collections.add(&samples, wall_ns);
        samples.clear();
        let tests = u8::from(collections.has_finished()) << Notable::Tests as u8;
        tests | u8::from(collections.has_met()) << Notable::Probes as u8
    }

    /// How the limits of this number stand now, unless somebody is reading that just now.
    pub fn found(&self, number: u64, findings: Vec<Vec<Finding>>) -> bool {
        let Ok(mut known) = self.findings.try_lock() else { return false };
        if known.0 == number {
            known.1 = findings;
        }
        true
    }

    /// How the limits stood last; nothing before anything was looked at.
    pub fn findings(&self) -> Vec<Vec<Finding>> {
        lock(&self.findings).1.clone()
    }

    /// Puts the samples where they belong. Returns bits of [`Notable`].
    pub fn collect(&self, wall_ns: i64) -> u8 {
        // In this order: who sees the end finds all samples.
        let finished = self.is_finished();
        let mut notable = 0;
        let mut note = |what: Notable, when: bool| notable |= u8::from(when) << what as u8;
        let mut attached = lock(&self.collections);
        if let Some(collections) = &*attached {
            let samples = self.take_samples();
            let mut results = lock(collections);
            results.add(&samples, wall_ns);
            if finished {
                results.interrupt();
            }
            note(Notable::Tests, results.has_finished());
            note(Notable::Probes, results.has_met());
            drop(results);
            if finished {
                // Another Session-Sender may go on with them.
                *attached = None;
            }
        } else {
            note(Notable::Samples, !lock(&self.samples).is_empty());
        }
        note(Notable::Events, self.has_events());
        note(Notable::Finished, finished);
        notable
    }

    /// Marks the end.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// Whether no more will come.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

/// The ids of sessions that have something to tell, and the descriptor that says so.
#[derive(Debug)]
pub struct News {
    ids: Mutex<Vec<u64>>,
    pending: AtomicBool,
    waker: Waker,
}

impl News {
    /// No news.
    pub fn new(waker: Waker) -> Self {
        Self { ids: Mutex::default(), pending: AtomicBool::new(false), waker }
    }

    /// Readable when there are some.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// A session has something to tell. Called at most once a handover, and takes the lock only if the session is not
    /// among the news yet.
    pub fn announce(&self, id: u64, shared: &Shared) {
        if shared.announced.swap(true, Ordering::AcqRel) {
            return;
        }
        lock(&self.ids).push(id);
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Takes the ids; `clear` is then called for each session that is looked at.
    pub fn take(&self) -> Vec<u64> {
        self.waker.clear();
        self.pending.store(false, Ordering::Release);
        std::mem::take(&mut *lock(&self.ids))
    }

    /// Something of a session should be known at once. Called where these are the alerts.
    pub fn alert(&self, id: u64, shared: &Shared, notable: u8) {
        if shared.alerts.fetch_or(notable, Ordering::AcqRel) != 0 {
            return;
        }
        lock(&self.ids).push(id);
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// What of a session should be known: bits of [`Notable`].
    pub fn take_alerts(shared: &Shared) -> u8 {
        shared.alerts.swap(0, Ordering::AcqRel)
    }

    /// The session's next sample is news again. Before its samples are taken, or one may go unannounced.
    pub fn clear(shared: &Shared) {
        shared.announced.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::SampleStatus;

    #[test]
    fn what_finds_no_room_is_counted() {
        let shared = Shared::new(3);
        let mut samples = vec![Sample::bare(0, SampleStatus::Received); 2];
        assert!(shared.offer(&mut samples));
        assert!(samples.is_empty());
        samples = vec![Sample::bare(0, SampleStatus::Received); 2];
        assert!(shared.offer(&mut samples));
        assert_eq!((shared.take_samples().len(), shared.take_dropped()), (3, 1));
    }

    #[test]
    fn a_session_is_news_once_until_it_is_looked_at() {
        let news = News::new(Waker::new().unwrap());
        let shared = Shared::new(1);
        news.announce(4, &shared);
        news.announce(4, &shared);
        assert_eq!(news.take(), [4]);
        News::clear(&shared);
        news.announce(4, &shared);
        assert_eq!(news.take(), [4]);
    }
}
