//! The thread that owns Session-Senders.
//!
//! Theory of operation. One loop: send what is due, wait until something is ready or the next packet is due, collect
//! transmit stamps, collect replies. Nothing in it blocks but the wait. Sending comes first in each round, and collecting
//! is cut into batches between which the loop looks at the clock, so neither stamps nor replies delay a packet by more
//! than one batch; and replies are taken in every round, so that a schedule however tight never leaves them in the
//! socket. Replies carry the kernel's stamp: how long they wait for us changes no figure.
//!
//! Sessions are kept in a slab and their next events in a heap; a session's entry in the heap is current only if its
//! moment is the one noted beside the session (others are passed over), so rescheduling needs no search.

mod collecting;
mod following;
mod inquiries;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use super::bulk::Inquiry;
use super::event::{Event, EventKind};
use super::handle::{News, Shared};
use super::inbox::{Command, Inbox};
use super::pace::{TransmitGap, WakeMargin};
use super::way::Way;
use crate::clock::{Clock, StepDetector};
use crate::session_sender::{Built, SessionSender};
use crate::sys::{ErrorQueue, Events, Outgoing, Poll, ReceiveBatch, SendBatch, SystemClock, Waker, clock_state};

/// Packets of one session built and sent in one system call.
pub(super) const BATCH: usize = 32;
/// Packets sent before stamps and replies are looked at again, and as many of each taken then: making up for a stall, the
/// worker never gets further ahead of its sockets than this.
const ROUND: usize = 64;
/// Samples are handed to Python no more often than this: each time wakes a thread of it, and nobody reads faster.
const HANDOVER_NS: i64 = 50_000_000;
/// The clock's error bound grows slowly (500 ppm): once a second is often enough.
const CLOCK_STATE_NS: i64 = 1_000_000_000;
/// A wait shorter than this is not worth a sleep: waking takes longer.
const SHORTEST_SLEEP_NS: i64 = 5_000;
/// After a pause of the whole process longer than this, what waits in the sockets is taken before anything is given up.
const STALL_NS: i64 = 50_000_000;

/// One Session-Sender with its sockets.
#[derive(Debug)]
pub(super) struct Session {
    /// Number within the process.
    pub id: u64,
    /// Protocol and bookkeeping.
    pub engine: SessionSender,
    /// How its packets leave, and where replies come in.
    pub way: Way,
    /// What Python sees of it.
    pub shared: Arc<Shared>,
    /// Moment of its current entry in the heap.
    scheduled_ns: Option<i64>,
    /// It has replies or stamps that did not fit into one batch.
    unread: bool,
    /// It has samples to hand over.
    dirty: bool,
    /// It ended before its last interval was taken.
    last_interval_taken: bool,
    /// Which state of the clock it knows, by when that was read.
    clock_told_ns: i64,
    /// Which limits it looks out for (`Shared::follow`).
    following: u64,
}

impl Session {
    /// A session that waits to be handed to a worker.
    pub(super) fn new(id: u64, engine: SessionSender, way: Way, shared: Arc<Shared>) -> Self {
        Self {
            id,
            engine,
            way,
            shared,
            scheduled_ns: None,
            unread: false,
            dirty: false,
            last_interval_taken: false,
            clock_told_ns: 0,
            following: 0,
        }
    }
}

/// The state of one worker thread.
pub(super) struct Worker {
    clock: SystemClock,
    poll: Poll,
    events: Events,
    inbox: Arc<Inbox>,
    news: Arc<News>,
    alerts: Arc<News>,
    busy_poll: bool,
    sessions: Vec<Option<Session>>,
    places: HashMap<u64, usize>,
    free: Vec<usize>,
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    unread: Vec<usize>,
    /// Sessions with samples not yet handed over.
    dirty: Vec<usize>,
    /// Questions to many sessions that are not answered yet.
    inquiries: VecDeque<Inquiry>,
    handed_over_ns: i64,
    receive: ReceiveBatch,
    receive_len: usize,
    send: SendBatch,
    /// Packets being built, `BATCH` of the longest payload.
    scratch: Vec<u8>,
    built: Vec<Built>,
    error_queue: ErrorQueue,
    margin: WakeMargin,
    gap: TransmitGap,
    steps: StepDetector,
    clock_error_ns: Option<u64>,
    clock_synchronized: bool,
    clock_read_ns: i64,
    last_send_ns: i64,
    caught_up_ns: i64,
    exit: bool,
}

impl Worker {
    /// A worker that takes its commands from `inbox`; the waker ends its waits.
    pub(super) fn new(
        inbox: Arc<Inbox>,
        (news, alerts): (Arc<News>, Arc<News>),
        busy_poll: bool,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = poll.waker();
        let clock = SystemClock;
        let mut worker = Self {
            steps: StepDetector::new(&clock),
            clock,
            poll,
            events: Events::new(256),
            inbox,
            news,
            alerts,
            busy_poll,
            sessions: Vec::new(),
            places: HashMap::new(),
            free: Vec::new(),
            heap: BinaryHeap::new(),
            unread: Vec::new(),
            dirty: Vec::new(),
            inquiries: VecDeque::new(),
            handed_over_ns: 0,
            receive: ReceiveBatch::new(ROUND, 2048),
            receive_len: 2048,
            send: SendBatch::new(BATCH),
            scratch: vec![0; BATCH * 2048],
            built: Vec::with_capacity(BATCH),
            error_queue: ErrorQueue::new(ROUND),
            margin: WakeMargin::default(),
            gap: TransmitGap::default(),
            clock_error_ns: None,
            clock_synchronized: false,
            clock_read_ns: 0,
            last_send_ns: 0,
            caught_up_ns: 0,
            exit: false,
        };
        worker.read_clock_state(clock.monotonic());
        Ok((worker, waker))
    }

    /// Runs until told to exit.
    pub(super) fn run(mut self) {
        loop {
            self.obey();
            if self.exit {
                break;
            }
            let now = self.clock.monotonic();
            if now - self.clock_read_ns >= CLOCK_STATE_NS {
                self.read_clock_state(now);
            }
            self.check_for_step();
            if self.next_due().is_some_and(|(moment, _)| now - moment > STALL_NS) {
                self.catch_up(now);
            }
            self.fire(now);
            self.answer();
            if self.wait().is_err() {
                // epoll_wait fails only for a descriptor or pointer that is not one: ours are.
                debug_assert!(false, "epoll_wait: {}", io::Error::last_os_error());
                break;
            }
            self.collect();
            self.hand_over(false);
        }
        self.hand_over(true);
    }

    fn obey(&mut self) {
        // Only after a wake, so that a busy loop takes no lock.
        if !self.events.woken {
            return;
        }
        for command in self.inbox.take() {
            match command {
                Command::Add(session) => self.add(*session),
                Command::Start(id, when) => self.with(id, |worker, at| {
                    let now = worker.clock.monotonic();
                    let wall = worker.clock.wall();
                    let (error, synchronized) = (worker.clock_error_ns, worker.clock_synchronized);
                    if let Some(session) = &mut worker.sessions[at] {
                        session.engine.clock_state(error, synchronized);
                        let (at_ns, at_wall) = when.on_both_clocks(now, wall);
                        session.engine.start(at_ns, at_wall, now);
                    }
                    worker.reschedule(at);
                }),
                Command::Stop(id) => self.with(id, |worker, at| {
                    if let Some(session) = &mut worker.sessions[at] {
                        session.engine.stop(worker.clock.monotonic());
                    }
                    worker.settle(at);
                }),
                Command::Abort(id) => self.with(id, |worker, at| {
                    if let Some(session) = &mut worker.sessions[at] {
                        session.engine.abort(worker.clock.monotonic());
                    }
                    worker.settle(at);
                }),
                Command::Report(id, report) => self.with(id, |worker, at| {
                    if let Some(session) = &mut worker.sessions[at] {
                        session.engine.report_access(report);
                    }
                }),
                Command::Remove(id) => self.with(id, Self::remove),
                Command::Summary(id, reply) => self.with(id, |worker, at| {
                    let wall = worker.clock.wall();
                    if let Some(session) = &mut worker.sessions[at] {
                        // The asker may have gone; then nobody misses the answer.
                        let _ = reply.try_send(session.engine.summary(&session.shared, wall));
                    }
                }),
                Command::Interval(id, reply) => self.with(id, |worker, at| {
                    let wall = worker.clock.wall();
                    if let Some(session) = &mut worker.sessions[at] {
                        let _ = reply.try_send(session.engine.take_interval(&session.shared, wall));
                    }
                }),
                Command::Ask(inquiry) => self.inquiries.push_back(*inquiry),
                Command::Follow(id, asked) => self.with(id, |worker, at| {
                    if let Some(session) = &mut worker.sessions[at] {
                        match asked {
                            Some(following) => {
                                session.following = following.number;
                                session.engine.follow(following.asked, following.late_ns, following.before);
                            }
                            None => session.engine.follow_no_more(),
                        }
                    }
                    worker.reschedule(at);
                }),
                Command::Bequeath(id, reply) => self.with(id, |worker, at| {
                    if let Some(session) = &mut worker.sessions[at] {
                        let _ = reply.try_send(session.engine.bequeath());
                    }
                }),
                Command::Progress(id, reply) => self.with(id, |worker, at| {
                    if let Some(session) = &worker.sessions[at] {
                        let _ = reply.try_send(session.engine.progress());
                    }
                }),
                Command::Exit => self.exit = true,
            }
        }
    }

    fn with(&mut self, id: u64, act: impl FnOnce(&mut Self, usize)) {
        if let Some(at) = self.places.get(&id).copied() {
            act(self, at);
        }
    }

    fn add(&mut self, session: Session) {
        let longest = session.engine.longest_packet().max(64);
        if longest > self.receive_len {
            self.receive_len = longest;
            self.receive = ReceiveBatch::new(ROUND, longest);
            self.scratch = vec![0; BATCH * longest];
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        for fd in session.way.queues() {
            if let Err(error) = self.poll.add(fd, at as u64) {
                let event = Event::new(self.clock.wall(), EventKind::SocketError, error.raw_os_error().unwrap_or(0));
                session.shared.event(event);
            }
        }
        self.places.insert(session.id, at);
        self.sessions[at] = Some(session);
    }

    fn remove(&mut self, at: usize) {
        if let Some(session) = self.sessions[at].take() {
            for fd in session.way.queues() {
                // The descriptor closes with the session, which takes it out of epoll too; a failure here changes nothing.
                let _ = self.poll.remove(fd);
            }
            self.unread.retain(|other| *other != at);
            self.dirty.retain(|other| *other != at);
            self.places.remove(&session.id);
            self.free.push(at);
        }
    }

    fn read_clock_state(&mut self, now: i64) {
        self.clock_read_ns = now;
        let state = clock_state();
        (self.clock_error_ns, self.clock_synchronized) = (state.error_ns, state.synchronized);
    }

    /// Tells the session what the kernel says of the clock, when it is its turn: to tell all at once would hold up packets
    /// for milliseconds if they are thousands.
    fn tell_clock_state(&mut self, at: usize) {
        if let Some(session) = &mut self.sessions[at]
            && session.clock_told_ns != self.clock_read_ns
        {
            session.clock_told_ns = self.clock_read_ns;
            session.engine.clock_state(self.clock_error_ns, self.clock_synchronized);
        }
    }

    fn check_for_step(&mut self) {
        let Some(step_ns) = self.steps.check(&self.clock) else { return };
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        for session in self.sessions.iter_mut().flatten() {
            session.engine.clock_step(now, wall, step_ns);
            session.shared.event(Event::new(wall, EventKind::ClockStep, 0));
        }
    }

    /// Puts the session's next event into the heap.
    fn reschedule(&mut self, at: usize) {
        let Some(session) = &mut self.sessions[at] else { return };
        let next = session.engine.next_event();
        if next != session.scheduled_ns {
            session.scheduled_ns = next;
            if let Some(moment) = next {
                self.heap.push(Reverse((moment, at)));
            }
        }
    }

    /// The earliest current entry of the heap.
    fn next_due(&mut self) -> Option<(i64, usize)> {
        while let Some(Reverse((moment, at))) = self.heap.peek().copied() {
            if self.sessions[at].as_ref().is_some_and(|session| session.scheduled_ns == Some(moment)) {
                return Some((moment, at));
            }
            self.heap.pop();
        }
        None
    }

    /// A process that was stopped, or a machine that slept, has replies waiting that came in time: they are read before the
    /// clock gives up their packets. At most once a second, so that a machine merely too slow is not made slower.
    fn catch_up(&mut self, now: i64) {
        if now < self.caught_up_ns + CLOCK_STATE_NS {
            return;
        }
        self.caught_up_ns = now;
        for at in 0..self.sessions.len() {
            // Bounded by what a receive buffer can hold.
            for _ in 0..ROUND {
                if !self.collect_from(at) {
                    break;
                }
            }
        }
    }

    /// Does what is due. A packet due in a moment is waited for.
    fn fire(&mut self, mut now: i64) {
        let mut sent = 0;
        while sent < ROUND {
            let Some((moment, at)) = self.next_due() else { return };
            let awake_ns =
                if self.busy_poll { SHORTEST_SLEEP_NS } else { self.margin.margin_ns(moment - self.last_send_ns) };
            if moment > now + awake_ns.max(SHORTEST_SLEEP_NS) {
                return;
            }
            self.heap.pop();
            while now < moment {
                std::hint::spin_loop();
                now = self.clock.monotonic();
            }
            if now - moment > STALL_NS {
                // It may have been here that the process was stopped.
                self.catch_up(now);
            }
            if let Some(session) = &mut self.sessions[at] {
                session.scheduled_ns = None;
            }
            sent += self.transmit(at, now).max(1);
            if let Some(session) = &mut self.sessions[at] {
                // After the sends: the last slot may have been one that was missed or refused.
                session.engine.expire(now);
            }
            self.settle(at);
            now = self.clock.monotonic();
        }
    }

    /// Sends the packets of one session that are due, in one call; returns how many left.
    fn transmit(&mut self, at: usize, now: i64) -> usize {
        self.tell_clock_state(at);
        let Some(session) = &mut self.sessions[at] else { return 0 };
        let len = session.engine.payload_len();
        let stride = self.receive_len;
        let (wall, gap_ns) = (self.clock.wall(), self.gap.expected_ns());
        self.built.clear();
        for packet in self.scratch.chunks_exact_mut(stride).take(BATCH) {
            match session.engine.build(self.built.last(), now, wall, gap_ns, &mut packet[..len]) {
                Some(built) => self.built.push(built),
                None => break,
            }
        }
        let count = self.built.len();
        if count == 0 {
            return 0;
        }
        let mut outgoing = [Outgoing { octets: &[], destination: None, control: None }; BATCH];
        for (datagram, packet) in outgoing.iter_mut().zip(self.scratch.chunks_exact(stride)).take(count) {
            datagram.octets = &packet[..len];
        }
        self.last_send_ns = now;
        let (mut done, mut retried) = (0, false);
        while done < count {
            match session.way.send(&mut self.send, &outgoing[done..count]) {
                Ok(sent) => {
                    for built in &self.built[done..done + sent] {
                        session.engine.departed(built);
                    }
                    done += sent;
                }
                // An ICMP error about an earlier packet is reported once by the next call; it says nothing of this packet.
                Err(error) if !retried && pending_error(&error) => retried = true,
                Err(error) => {
                    // What was built after it carries sequence numbers that would leave a hole: it is built again.
                    session.engine.refused(&self.built[done]);
                    let errno = error.raw_os_error().unwrap_or(0);
                    session.shared.event(session.way.refused(errno, wall, now));
                    break;
                }
            }
        }
        done
    }

    /// After anything that changed a session: hand over, reschedule, notice the end.
    fn settle(&mut self, at: usize) {
        let Some(session) = &mut self.sessions[at] else { return };
        if session.shared.is_followed() {
            following::follow(session, &self.alerts, self.clock.wall());
        }
        let finished = session.engine.is_finished() && !session.shared.is_finished();
        if (session.engine.has_samples() || finished) && !session.dirty {
            session.dirty = true;
            self.dirty.push(at);
        }
        self.reschedule(at);
        if finished {
            self.hand_over(true);
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        if self.busy_poll && !self.heap.is_empty() {
            return self.poll.look(&mut self.events);
        }
        let next = self.next_due().map(|(moment, _)| moment);
        let now = self.clock.monotonic();
        let margin = next.map_or(0, |moment| self.margin.margin_ns(moment - self.last_send_ns));
        let wake = next.map(|moment| moment - margin);
        let hand_over = (!self.dirty.is_empty()).then_some(self.handed_over_ns + HANDOVER_NS);
        let until = match (wake, hand_over) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let busy = !self.unread.is_empty() || !self.inquiries.is_empty();
        if busy || until.is_some_and(|until| until <= now + SHORTEST_SLEEP_NS) {
            return self.poll.look(&mut self.events);
        }
        self.poll.wait(&mut self.events, until, now)?;
        if self.events.timer
            && let Some(until) = until
        {
            self.margin.woke(until, self.clock.monotonic());
        }
        Ok(())
    }

    /// Moves samples to where Python takes them, without ever waiting for it.
    fn hand_over(&mut self, now: bool) {
        if self.dirty.is_empty() {
            return;
        }
        let time = self.clock.monotonic();
        if !now && time - self.handed_over_ns < HANDOVER_NS {
            return;
        }
        self.handed_over_ns = time;
        let (sessions, news) = (&mut self.sessions, &self.news);
        self.dirty.retain(|at| {
            let Some(session) = &mut sessions[*at] else { return false };
            session.dirty = !session.engine.hand_over(&session.shared);
            if !session.dirty && session.engine.is_finished() {
                // Only now: who sees the end finds all samples.
                session.shared.finish();
            }
            news.announce(session.id, &session.shared);
            session.dirty
        });
    }
}

/// Errors that an earlier packet's ICMP answer leaves on a connected socket.
fn pending_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EINTR
        )
    )
}
