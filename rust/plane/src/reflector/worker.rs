//! The thread that owns a socket and answers what comes in.
//!
//! Theory of operation. The worker waits in the call that receives. What has queued then is taken in a batch, decided and
//! answered from the buffers it came in; no packet waits for a lock, an allocation or another thread.
//!
//! The departure of a reply is predicted (`departure`), and the nearer the clock reading, the better: each reply has its
//! own, and only under full load do replies go out in chunks, of which each has one. After a pause the kernel is given the
//! beginning of the reply before the clock is read. All else (control messages, addresses) is prepared before. If the
//! kernel takes only part of a chunk, the rest is taken back and written again with later times.
//!
//! A send or receive call also reports errors of earlier packets (ICMP answers that sit in the error queue, `IP_RECVERR`).
//! They say nothing about the packet at hand: the error queue is read, and the call made again, once.

mod load;
mod repeating;
mod upkeep;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use twoway_wire::ErrorEstimate;
use twoway_wire::timestamp::WallNanos;

use self::load::Load;
use self::repeating::Repeating;
use super::arrivals::Capture;
use super::counters::{OwnCounter, WorkerShared};
use super::departure::{DepartureHint, DepartureModel, Rhythm};
use super::dispositions::Disposition;
use super::routes::ReplyRoute;
use super::stamps::{StampBudget, StampLedger, StampedDeparture};
use super::steering::Steering;
use crate::clock::{Clock, StepDetector};
use crate::members::MemberLinks;
use crate::session_reflector::{PendingReply, RequestMeta, SessionReflector, Verdict};
use crate::sys::{ErrorQueue, QueueEntry, ReceiveBatch, Reply, SendControl, SystemClock, UdpSocket};

/// Requests taken in one call.
const BATCH: usize = 64;
/// Octets for one packet: the largest UDP payload, and one cache line more, so that the buffers of a batch do not all
/// begin in the same set of the cache.
const SLOT_LEN: usize = 65_536 + 64;
/// Replies sent after one reading of the clock, under full load.
const CHUNK: usize = 16;
/// A batch as large as this, or as many packets in a millisecond before it, are full load: replies then share calls and
/// readings of the clock. Below, each has its own, since the time between two departures within one call is hard to know.
const FULL_LOAD: usize = 32;
/// After a pause as long as this the way of a packet through the kernel has gone cold.
const COLD_NS: u64 = 200_000;
/// Octets of a reply that hold no time: the sequence number.
const TIMELESS: usize = 4;
/// Entries of an error queue taken in one call.
const ERROR_QUEUE_SLOTS: usize = 8;
/// Calls to read one error queue before packets are looked after again.
const ERROR_QUEUE_ROUNDS: usize = 16;
/// Calls to receive that may fail in a row before the socket is left alone until something new is announced, or a tick.
const RECEIVE_ATTEMPTS: usize = 8;
/// Longest wait for a packet: how soon a worker notices that it is to stop.
const WAIT: Duration = Duration::from_millis(200);
/// How often slow things are looked after: the clock's state, sessions that have ended, lost interfaces.
const TICK_NS: i64 = 1_000_000_000;
/// Weight of the latest measurement in the cost of writing a reply.
const WRITING_COST_RATE: f64 = 0.05;

/// One listening socket.
pub(super) struct Listener {
    pub(super) socket: UdpSocket,
    /// Device to bind to again when it has gone and come back.
    pub(super) interface: Option<Arc<str>>,
    /// Network namespace that the socket is in.
    pub(super) netns: Option<Arc<str>>,
    /// Whether departures can be stamped.
    pub(super) stamped: bool,
    /// TOS or traffic class octet that the socket sends with unless told otherwise.
    pub(super) dscp_ecn: u8,
    ledger: StampLedger,
    /// When replies leave this socket: it is one address, so nearly always one device.
    model: DepartureModel,
    drops: u32,
    quiet_ticks: u32,
    stale_ticks: u32,
    /// Tells by which member of a LAG requests came, where that matters.
    pub(super) members: Option<MemberLinks>,
}

impl Listener {
    pub(super) fn new(
        socket: UdpSocket,
        interface: Option<Arc<str>>,
        netns: Option<Arc<str>>,
        stamped: bool,
        dscp_ecn: u8,
    ) -> Self {
        Self {
            socket,
            interface,
            netns,
            stamped,
            dscp_ecn,
            ledger: StampLedger::default(),
            model: DepartureModel::default(),
            drops: 0,
            quiet_ticks: 0,
            stale_ticks: 0,
            members: None,
        }
    }
}

impl Listener {
    /// How the reply to a request in `slot` is sent that came to `destination` by an interface.
    fn reply(&self, slot: usize, pending: &PendingReply, destination: IpAddr, arrived_by: u32) -> Reply {
        let local = self.socket.local();
        let mut control = SendControl::new();
        if pending.dscp_ecn() != self.dscp_ecn {
            control.dscp_ecn(local.is_ipv6(), pending.dscp_ecn());
        }
        let interface = match pending.route() {
            ReplyRoute::Link(link) => link,
            // Link-local addresses mean nothing without their link; others leave as they are routed.
            ReplyRoute::Ordinary if is_link_local(destination) => arrived_by,
            ReplyRoute::Ordinary | ReplyRoute::Address(_) | ReplyRoute::Steered { .. } => 0,
        };
        if local.ip().is_unspecified() || interface != 0 || pending.source().is_some() {
            control.source(pending.source().unwrap_or(destination), interface);
        }
        Reply { slot, len: pending.len(), control }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// A request that is answered, and where it lies.
#[derive(Clone, Copy)]
struct Answer {
    slot: usize,
    pending: PendingReply,
    /// Number that the reply was last written with.
    sequence: u32,
}

/// One worker with its socket; `run` is its thread.
pub(super) struct Worker {
    listener: Listener,
    engine: SessionReflector,
    /// Finds and keeps the routes of replies that take a path of their own.
    routes: Steering,
    /// None: nothing is to be told of how requests came in.
    arrivals: Option<Capture>,
    /// None: each request gets one reply at most.
    repeating: Option<Repeating>,
    shared: Arc<WorkerShared>,
    batch: ReceiveBatch,
    error_queue: ErrorQueue,
    answers: Vec<Answer>,
    replies: Vec<Reply>,
    /// (slot, where its request came from) of replies that go to another address.
    redirected: Vec<(usize, SocketAddr)>,
    clock: SystemClock,
    steps: StepDetector,
    budget: StampBudget,
    /// Cost of writing one reply in ns, unauthenticated and authenticated.
    writing_ns: [f64; 2],
    /// Turns through the places of a batch, so that each is stamped in time.
    turn: usize,
    error_estimate: ErrorEstimate,
    /// Questions about the host's addresses when they were last read.
    host_questions: u64,
    next_tick_ns: i64,
    /// When a batch was last answered, monotonic.
    served_ns: u64,
    load: Load,
}

impl Worker {
    pub(super) fn new(
        listener: Listener,
        engine: SessionReflector,
        routes: Steering,
        arrivals: Option<Capture>,
        shared: Arc<WorkerShared>,
    ) -> io::Result<Self> {
        listener.socket.wait_at_most(WAIT)?;
        let repeating = if engine.repeats() { Some(Repeating::new(&listener.socket)?) } else { None };
        let clock = SystemClock;
        let mut worker = Self {
            listener,
            engine,
            routes,
            arrivals,
            repeating,
            shared,
            batch: ReceiveBatch::new(BATCH, SLOT_LEN),
            error_queue: ErrorQueue::new(ERROR_QUEUE_SLOTS),
            answers: Vec::with_capacity(BATCH),
            replies: Vec::with_capacity(BATCH),
            redirected: Vec::new(),
            clock,
            steps: StepDetector::new(&clock),
            budget: StampBudget::default(),
            writing_ns: [0.0; 2],
            turn: 0,
            error_estimate: ErrorEstimate::UNKNOWN,
            host_questions: 0,
            next_tick_ns: 0,
            served_ns: 0,
            load: Load::default(),
        };
        worker.judge_clock();
        worker.read_interfaces();
        Ok(worker)
    }

    /// The worker's thread: answers until it is told to stop, then what is queued, at most until its deadline.
    pub(super) fn run(mut self) {
        self.shared.running.store(true, Relaxed);
        let _running = RunningGuard(Arc::clone(&self.shared));
        self.next_tick_ns = self.clock.monotonic() + TICK_NS;
        while self.shared.stop_by_ns.load(Relaxed) == 0 {
            if self.repeating.as_ref().is_some_and(Repeating::is_pending) {
                self.answer_between();
            } else {
                self.answer_batch(true);
            }
            let now_ns = self.clock.monotonic();
            if now_ns >= self.next_tick_ns {
                self.tick(now_ns);
            }
        }
        while self.clock.monotonic() < self.shared.stop_by_ns.load(Relaxed) && self.answer_batch(false) {}
        self.drop_bursts();
        self.read_error_queue();
        self.publish();
    }

    /// Takes one batch and answers it; with `wait`, waits for its first packet. Returns whether there was one.
    fn answer_batch(&mut self, wait: bool) -> bool {
        let before = self.clock.wall();
        let Some(count) = self.receive(wait) else { return false };
        let now_ns = self.clock.monotonic() as u64;
        self.decide(count, now_ns);
        if !self.answers.is_empty() {
            // What had arrived before we asked was not waited for.
            let queued = self.answers[0].pending.received() < before;
            self.send(if queued { Rhythm::Running } else { Rhythm::Woken }, now_ns);
        }
        true
    }

    /// Takes one batch; `None` if nothing came.
    fn receive(&mut self, wait: bool) -> Option<usize> {
        for _ in 0..RECEIVE_ATTEMPTS {
            let socket = self.listener.socket.fd();
            let received = if wait { self.batch.await_first(socket) } else { self.batch.receive(socket, 0) };
            match received {
                Ok(0) => {
                    // Stamps of slow devices, and ICMP errors, end no wait.
                    self.read_error_queue();
                    return None;
                }
                Ok(count) => return Some(count),
                Err(_) => {
                    // Of an earlier reply, or of the interface. It has been taken off the socket.
                    self.shared.add(OwnCounter::ReceiveErrors, 1);
                    self.read_error_queue();
                }
            }
        }
        None
    }

    /// Hands each packet of a batch to the engine; gathers those that are answered.
    fn decide(&mut self, count: usize, now_ns: u64) {
        if let Some(rules) = self.shared.take_change() {
            // Those that are to follow know their key by its place among others.
            self.drop_bursts();
            self.engine.follow(rules);
        }
        let listener = &mut self.listener;
        listener.quiet_ticks = 0;
        let local = listener.socket.local();
        self.answers.clear();
        self.replies.clear();
        self.redirected.clear();
        self.routes.clear();
        if let Some(members) = &mut listener.members {
            members.gather();
        }
        if let Some(capture) = &mut self.arrivals {
            capture.gather();
        }
        let mut taken = None;
        for slot in 0..count {
            let meta = self.batch.meta(slot);
            if let Some(drops) = meta.drops {
                self.shared.add(OwnCounter::SocketDrops, u64::from(drops.wrapping_sub(listener.drops)));
                listener.drops = drops;
            }
            let received = meta.stamps.software.unwrap_or_else(|| {
                self.shared.add(OwnCounter::ReceiveStampsMissing, 1);
                *taken.get_or_insert_with(|| self.clock.wall())
            });
            let Some(source) = meta.source else {
                self.shared.dispositions.count(Disposition::Malformed);
                continue;
            };
            let member = listener.members.as_mut().and_then(|links| links.came_by(source, self.batch.octets(slot)));
            let request = RequestMeta {
                source,
                destination: SocketAddr::new(meta.destination.unwrap_or(local.ip()), local.port()),
                interface: meta.interface,
                link: member.unwrap_or(meta.interface),
                ttl: meta.ttl,
                dscp_ecn: meta.dscp_ecn,
                received,
                len: self.batch.octets(slot).len(),
                truncated: meta.truncated,
            };
            let Self { engine, batch, routes, arrivals, .. } = self;
            match engine.handle(batch.room(slot), &request, now_ns, routes, arrivals) {
                Verdict::Drop(disposition) => self.shared.dispositions.count(disposition),
                Verdict::Reply(pending) => {
                    if let ReplyRoute::Address(to) | ReplyRoute::Steered { destination: to, .. } = pending.route() {
                        self.redirected.push((slot, source));
                        self.batch.redirect(slot, &to);
                    }
                    self.answers.push(Answer { slot, pending, sequence: 0 });
                    self.replies.push(listener.reply(slot, &pending, request.destination.ip(), meta.interface));
                }
            }
        }
    }

    /// Writes and sends all answers, chunk by chunk.
    fn send(&mut self, rhythm: Rhythm, now_ns: u64) {
        let cold = rhythm == Rhythm::Woken && now_ns.saturating_sub(self.served_ns) > COLD_NS;
        self.served_ns = now_ns;
        let full = self.load.note(now_ns, self.answers.len()) || self.answers.len() >= FULL_LOAD;
        // A reply that tells of the one before it can do so only if that has left.
        let told = self.answers.iter().any(|answer| answer.pending.followed_up().is_some());
        // One that is steered goes alone, since the way is set before it and taken away after it.
        let chunk = if full && !told && !self.routes.is_used() { CHUNK } else { 1 };
        let fd = self.listener.socket.fd();
        let mut stamped = None;
        let mut retried = false;
        let mut rhythm = rhythm;
        let mut from = 0;
        while from < self.answers.len() {
            let first_received = self.answers[from].pending.received();
            let to = (from + chunk).min(self.answers.len());
            let steered = self.make_way(from);
            if stamped.is_none_or(|at| at < from) {
                stamped = self.choose_stamped(from, to, now_ns);
            }
            let begun = cold && rhythm == Rhythm::Woken && chunk == 1 && !steered && self.begin(from);
            if begun {
                rhythm = Rhythm::Prepared;
            }
            let read = self.clock.wall();
            let hint = DepartureHint { rhythm, age_ns: read.since(first_received), place: 0 };
            let (start, written_to) = self.write(from, to, read, &hint);
            if written_to < to {
                // Places have shifted: which reply is stamped is no longer known.
                self.listener.ledger.refused();
                stamped = None;
            }
            // What has begun is finished: the same reply was written a moment ago, so it can be written again.
            debug_assert!(!begun || written_to == to);
            let to = written_to;
            if from == to {
                if steered {
                    self.routes.release(&self.listener.socket);
                }
                continue;
            }
            let outcome = if begun {
                self.batch.finish(fd, &self.replies[from], TIMELESS).map(|()| 1)
            } else if steered {
                self.routes.send(&self.listener.socket, &mut self.batch, &mut self.replies[from..to])
            } else {
                self.batch.reply(fd, &mut self.replies[from..to])
            };
            if steered {
                self.routes.release(&self.listener.socket);
            }
            let (sent, refused) = match outcome {
                Ok(sent) => (sent, None),
                Err(error) => (0, Some(error)),
            };
            let done = from + sent;
            for answer in &self.answers[from..done] {
                self.shared.dispositions.count(self.engine.sent(&answer.pending));
            }
            if self.repeating.is_some() {
                (from..done).for_each(|at| self.begin_burst(at));
            }
            for answer in self.answers[done..to].iter().rev() {
                self.engine.take_back(&answer.pending);
            }
            if let Some(at) = stamped {
                self.note_stamped(at, from..done, start, &hint);
            }
            from = done;
            if let Some(error) = refused {
                self.shared.add(OwnCounter::SendErrors, 1);
                let full = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
                let passing = !full && error.raw_os_error() != Some(libc::EMSGSIZE);
                if passing && !retried {
                    self.read_error_queue();
                    retried = true;
                } else if !full && self.divert(from) {
                    retried = false;
                } else {
                    self.shared.dispositions.count(self.engine.not_sent(&self.answers[from].pending));
                    from += 1;
                    retried = false;
                }
            } else {
                retried = false;
            }
            // Software stamps are there at once. Those of other packets, and of devices that are slower, epoll announces;
            // where the thread never gets to wait, they are found here the next time.
            if stamped.is_some_and(|at| at < from) && self.listener.ledger.outstanding() {
                self.read_error_queue();
                stamped = None;
            }
            rhythm = Rhythm::Running;
        }
    }

    /// Notes that the reply at `at` was to be stamped, after those of `sent` have left.
    fn note_stamped(&mut self, at: usize, sent: Range<usize>, start: i64, hint: &DepartureHint) {
        let listener = &mut self.listener;
        if at < sent.end {
            let hint = DepartureHint { place: (at - sent.start) as u32, ..*hint };
            let written_ns = start + listener.model.gap_ns(&hint);
            let Answer { pending, sequence, .. } = &self.answers[at];
            listener.ledger.sent(StampedDeparture {
                hint,
                read_ns: start,
                written_ns,
                residence_ns: written_ns - pending.received().0,
                followed_up: pending.followed_up().map(|session| (session, *sequence)),
            });
        } else if at == sent.end {
            listener.ledger.refused();
        }
    }

    /// Makes the way of a steered reply ready. Returns whether it is steered: one whose way the kernel refuses is not.
    fn make_way(&mut self, at: usize) -> bool {
        let pending = &self.answers[at].pending;
        let ReplyRoute::Steered { place, .. } = pending.route() else { return false };
        let ready = self.routes.prepare(place, &self.listener.socket, pending.source(), pending.dscp_ecn());
        if ready.is_err() {
            self.shared.add(OwnCounter::SendErrors, 1);
            self.divert(at);
        }
        ready.is_ok()
    }

    /// The kernel does not send a reply the way that was asked for: it goes the ordinary way instead, with the U flag. False:
    /// it was to go there anyway.
    fn divert(&mut self, at: usize) -> bool {
        let Answer { slot, pending, .. } = &mut self.answers[at];
        if !self.engine.divert(pending, self.batch.room(*slot)) {
            return false;
        }
        if let Some((_, requester)) = self.redirected.iter().find(|(redirected, _)| redirected == slot) {
            self.batch.redirect(*slot, requester);
        }
        let meta = self.batch.meta(*slot);
        let destination = meta.destination.unwrap_or(self.listener.socket.local().ip());
        self.replies[at] = self.listener.reply(*slot, pending, destination, meta.interface);
        true
    }

    /// Gives the kernel the octets of a reply that hold no time. False if it cannot: then the reply is sent whole.
    fn begin(&mut self, at: usize) -> bool {
        let Answer { slot, pending, .. } = &self.answers[at];
        // Written for no departure in particular: `write` does it again with the clock read.
        let written = self.engine.write(pending, pending.received(), self.error_estimate, self.batch.room(*slot));
        if written.is_err() {
            return false;
        }
        self.engine.take_back(pending);
        self.batch.begin(self.listener.socket.fd(), &self.replies[at], TIMELESS).is_ok()
    }

    /// Chooses the reply of a chunk whose departure is stamped, if any, and asks for it.
    fn choose_stamped(&mut self, from: usize, to: usize, now_ns: u64) -> Option<usize> {
        let listener = &self.listener;
        if !listener.stamped || !listener.ledger.ready() {
            return None;
        }
        // The way of a steered reply is longer, and that of a frame is another socket's: neither tells of the others.
        if matches!(self.answers[from].pending.route(), ReplyRoute::Steered { .. }) {
            return None;
        }
        // Who asked for the departure gets it, whatever it costs; the others share a budget.
        if self.answers[from].pending.followed_up().is_none() && !self.budget.take(now_ns) {
            return None;
        }
        // Every other time the first one, from which all predictions start.
        self.turn = self.turn.wrapping_add(1);
        let at = from + if self.turn.is_multiple_of(2) { 0 } else { (self.turn / 2) % (to - from) };
        self.replies[at].control.transmit_stamp(false);
        Some(at)
    }

    /// Writes the replies of a chunk for their departures; those that cannot be written are taken out of the batch.
    /// Returns the moment (wall clock, ns) from which the gaps of this chunk count, and its end.
    fn write(&mut self, from: usize, to: usize, read: WallNanos, hint: &DepartureHint) -> (i64, usize) {
        let authenticated = self.answers[from].pending.is_authenticated();
        let writing_ns = &mut self.writing_ns[usize::from(authenticated)];
        let model = &self.listener.model;
        let count = (to - from) as f64;
        let start = read.0.saturating_add((*writing_ns * count) as i64);
        let first_ns = start.saturating_add(model.gap_ns(hint));
        let step_ns = model.step_ns();
        let (mut at, mut end) = (from, to);
        while at < end {
            let departure = WallNanos(first_ns.saturating_add(((at - from) as f64 * step_ns) as i64));
            let Answer { slot, pending, .. } = &self.answers[at];
            match self.engine.write(pending, departure, self.error_estimate, self.batch.room(*slot)) {
                Ok(sequence) => {
                    self.answers[at].sequence = sequence;
                    at += 1;
                }
                Err(disposition) => {
                    self.shared.dispositions.count(disposition);
                    self.answers.remove(at);
                    self.replies.remove(at);
                    end -= 1;
                }
            }
        }
        let took_ns = self.clock.wall().since(read) as f64 / count;
        let believable_ns = took_ns.clamp(0.0, (*writing_ns * 4.0).max(1000.0));
        *writing_ns += WRITING_COST_RATE * (believable_ns - *writing_ns);
        (start, end)
    }

    /// Takes transmit stamps and ICMP errors off a socket's error queue.
    fn read_error_queue(&mut self) {
        let Self { listener, error_queue, shared, engine, .. } = self;
        let Listener { socket, ledger, model, .. } = listener;
        for _ in 0..ERROR_QUEUE_ROUNDS {
            let read = error_queue.read(socket.fd(), |entry| match entry {
                QueueEntry::TransmitStamp { id, stamps } => {
                    let Some(departure) = ledger.reported(id) else { return };
                    let Some(left) = stamps.software else { return };
                    learn(model, shared, &departure, left);
                    if let Some((session, sequence)) = departure.followed_up {
                        engine.departed(session, sequence, left);
                    }
                }
                QueueEntry::Icmp { .. } => shared.add(OwnCounter::IcmpErrors, 1),
                QueueEntry::Local { .. } => {}
            });
            if read.is_err() || !error_queue.filled() {
                break;
            }
        }
    }
}

/// Learns from one departure and keeps the account of how good the prediction was.
fn learn(model: &mut DepartureModel, shared: &WorkerShared, departure: &StampedDeparture, left: WallNanos) {
    let error_ns = left.0 - departure.written_ns;
    model.learn(&departure.hint, left.0 - departure.read_ns, error_ns);
    shared.add(OwnCounter::TransmitStamps, 1);
    // While somebody reads, this figure is left out rather than waited for.
    if let Ok(mut measured) = shared.measured.try_lock() {
        measured.transmit_prediction_error.record(error_ns);
        measured.residence.record(departure.residence_ns);
    }
}

/// Says that the thread has ended, however it ends.
struct RunningGuard(Arc<WorkerShared>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.running.store(false, Relaxed);
    }
}
