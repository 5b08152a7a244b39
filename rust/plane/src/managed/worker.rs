//! The thread that owns the ports of managed test-sessions.
//!
//! Theory of operation. Thousands of sockets, most of them idle: epoll says which have packets, and those are emptied a
//! batch at a time, in turns. Each request is answered by itself, with its own reading of the clock: managed sessions are
//! many and slow, so a batch seldom holds two packets. The departure of a reply is predicted by the same model as in the
//! stand-alone Session-Reflector (`reflector::departure`), one for the worker: its sockets share the machine, and each is
//! too quiet to learn by itself. A socket has at most one transmit stamp under way, so that an idle one needs no room for
//! more.

mod answering;
mod timing;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use twoway_wire::ErrorEstimate;

use super::inbox::{Command, Inbox};
use super::reflecting::{Arrival, Reflecting};
use super::{Disposition, End, PlaneCounter, PlaneShared, SessionShared};
use crate::clock::Clock;
use crate::reflector::departure::{DepartureHint, DepartureModel, Rhythm};
use crate::reflector::stamps::StampBudget;
use crate::sender::handle::News;
use crate::session_receiver::SessionReceiver;
use crate::sys::{ErrorQueue, Events, Poll, ReceiveBatch, SystemClock, UdpSocket, Waker};

/// Datagrams taken in one call.
const BATCH: usize = 16;
/// Octets for one packet: the largest UDP payload, and a cache line so that buffers do not begin in the same set.
const SLOT_LEN: usize = 65_536 + 64;
/// Calls to receive that may fail in a row before a socket is left alone until something new is announced.
const RECEIVE_ATTEMPTS: usize = 4;
/// After a pause as long as this the way of a packet through the kernel has gone cold.
const COLD_NS: i64 = 200_000;
/// How often the clock's state is read, and lost interfaces are looked for.
const TICK_NS: i64 = 1_000_000_000;

/// What a session does with its packets.
pub(super) enum Role {
    Reflector {
        reflecting: Reflecting,
        /// After a stop, packets are answered for so long.
        timeout_ns: i64,
        /// Without packets for so long, the session ends (RFC 5357 section 4.2).
        refwait_ns: Option<i64>,
    },
    Receiver(Box<SessionReceiver>),
}

/// One managed test-session.
pub(super) struct Session {
    pub id: u64,
    pub role: Role,
    /// Negotiated address and port of the Session-Sender; port 0 for any.
    pub peer: (IpAddr, u16),
    /// Traffic class octet of replies.
    pub dscp_ecn: u8,
    pub socket: Arc<UdpSocket>,
    /// Device or VRF that the socket is bound to.
    pub interface: Option<Arc<str>>,
    /// Whether departures can be stamped.
    pub stamped: bool,
    pub shared: Arc<SessionShared>,
    pub started_ns: Option<i64>,
    pub stop_ns: Option<i64>,
    pub last_packet_ns: i64,
    /// Moment of its current entry in the heap.
    pub scheduled_ns: Option<i64>,
}

/// A departure whose stamp is awaited.
struct Awaited {
    hint: DepartureHint,
    read_ns: i64,
    written_ns: i64,
}

/// One socket and the sessions behind it.
struct Port {
    socket: Arc<UdpSocket>,
    interface: Option<Arc<str>>,
    sessions: Vec<usize>,
    dscp_ecn: u8,
    stamped: bool,
    awaited: Option<Awaited>,
    /// The kernel's number of the next datagram that asks for a stamp, at least.
    next_stamp: u32,
    drops: u32,
    unread: bool,
    served_ns: i64,
}

pub(super) struct Worker {
    clock: SystemClock,
    poll: Poll,
    events: Events,
    inbox: Arc<Inbox>,
    news: Arc<News>,
    shared: Arc<PlaneShared>,
    ports: Vec<Option<Port>>,
    free_ports: Vec<usize>,
    by_socket: HashMap<i32, usize>,
    sessions: Vec<Option<Session>>,
    free_sessions: Vec<usize>,
    by_id: HashMap<u64, usize>,
    /// (port's place, negotiated address, negotiated port) to the session's place.
    by_peer: HashMap<(usize, IpAddr, u16), usize>,
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    unread: Vec<usize>,
    batch: ReceiveBatch,
    error_queue: ErrorQueue,
    model: DepartureModel,
    budget: StampBudget,
    /// Cost of writing one reply in ns, unauthenticated and authenticated.
    writing_ns: [f64; 2],
    stamps_seen: bool,
    stamps_lost: u32,
    error_estimate: ErrorEstimate,
    next_tick_ns: i64,
    exit: bool,
}

impl Worker {
    pub(super) fn new(inbox: Arc<Inbox>, news: Arc<News>, shared: Arc<PlaneShared>) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = poll.waker();
        let mut worker = Self {
            clock: SystemClock,
            poll,
            events: Events::new(256),
            inbox,
            news,
            shared,
            ports: Vec::new(),
            free_ports: Vec::new(),
            by_socket: HashMap::new(),
            sessions: Vec::new(),
            free_sessions: Vec::new(),
            by_id: HashMap::new(),
            by_peer: HashMap::new(),
            heap: BinaryHeap::new(),
            unread: Vec::new(),
            batch: ReceiveBatch::new(BATCH, SLOT_LEN),
            error_queue: ErrorQueue::new(8),
            model: DepartureModel::default(),
            budget: StampBudget::default(),
            writing_ns: [0.0; 2],
            stamps_seen: false,
            stamps_lost: 0,
            error_estimate: ErrorEstimate::UNKNOWN,
            next_tick_ns: 0,
            exit: false,
        };
        worker.judge_clock();
        Ok((worker, waker))
    }

    /// The worker's thread.
    pub(super) fn run(mut self) {
        loop {
            self.obey();
            if self.exit {
                return;
            }
            let now_ns = self.clock.monotonic();
            if now_ns >= self.next_tick_ns {
                self.next_tick_ns = now_ns + TICK_NS;
                self.judge_clock();
                self.rebind(now_ns);
            }
            self.fire(now_ns);
            let until_ns = if self.unread.is_empty() {
                self.next_due().map_or(self.next_tick_ns, |(moment, _)| moment.min(self.next_tick_ns))
            } else {
                now_ns
            };
            if self.poll.wait(&mut self.events, Some(until_ns), now_ns).is_err() {
                // epoll on descriptors of our own fails only if the kernel is out of memory: look at every socket.
                self.unread = (0..self.ports.len()).filter(|at| self.ports[*at].is_some()).collect();
            }
            self.serve();
        }
    }

    /// A device that was taken away and came back has another index: ports that hear nothing are bound to its name again.
    fn rebind(&self, now_ns: i64) {
        for port in self.ports.iter().flatten() {
            if let Some(interface) = &port.interface
                && now_ns.saturating_sub(port.served_ns) >= TICK_NS
            {
                // Still gone: the next tick tries again.
                let _ = port.socket.bind_to_interface(interface);
            }
        }
    }

    fn obey(&mut self) {
        for command in self.inbox.take() {
            match command {
                Command::Add(session) => self.add(*session),
                Command::Start(id) => {
                    if let Some(at) = self.by_id.get(&id).copied() {
                        self.start(at);
                    }
                }
                Command::Stop(id) => self.stop(id),
                Command::Remove(id) => {
                    if let Some(at) = self.by_id.get(&id).copied() {
                        self.end(at, End::Closed);
                    }
                }
                Command::Look(id, reply) => {
                    if let Some(Role::Receiver(receiver)) = self.role(id) {
                        // The asker may have gone; then nobody misses the answer.
                        let _ = reply.try_send(receiver.clone());
                    }
                }
                Command::Take(id, reply) => {
                    let Some(at) = self.by_id.get(&id).copied() else { continue };
                    // What has come in time is not left in the socket.
                    self.drain_port_of(at);
                    let now_ns = self.clock.monotonic();
                    if let Some(Session { role: Role::Receiver(receiver), .. }) = self.end(at, End::Closed) {
                        let _ = reply.try_send((receiver, now_ns, self.error_estimate));
                    }
                }
                Command::Exit => self.exit = true,
            }
        }
    }

    fn role(&self, id: u64) -> Option<&Role> {
        self.sessions[*self.by_id.get(&id)?].as_ref().map(|session| &session.role)
    }

    fn add(&mut self, session: Session) {
        let port = match self.by_socket.get(&session.socket.fd()) {
            Some(port) => *port,
            None => match self.add_port(&session) {
                Ok(port) => port,
                Err(error) => {
                    self.shared.add(PlaneCounter::ReceiveErrors, 1);
                    session.shared.fail(error.raw_os_error().unwrap_or(0));
                    self.news.announce(session.id, &session.shared.news);
                    return;
                }
            },
        };
        let at = self.free_sessions.pop().unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        if let Some(port) = &mut self.ports[port] {
            port.sessions.push(at);
        }
        self.by_peer.insert((port, session.peer.0, session.peer.1), at);
        self.by_id.insert(session.id, at);
        self.sessions[at] = Some(session);
    }

    fn add_port(&mut self, session: &Session) -> io::Result<usize> {
        let at = self.free_ports.pop().unwrap_or_else(|| {
            self.ports.push(None);
            self.ports.len() - 1
        });
        let socket = Arc::clone(&session.socket);
        if let Err(error) = self.poll.add(socket.fd(), at as u64) {
            self.free_ports.push(at);
            return Err(error);
        }
        self.by_socket.insert(socket.fd(), at);
        self.ports[at] = Some(Port {
            socket,
            interface: session.interface.clone(),
            sessions: Vec::with_capacity(1),
            dscp_ecn: session.dscp_ecn,
            stamped: session.stamped,
            awaited: None,
            next_stamp: 0,
            drops: 0,
            unread: false,
            served_ns: 0,
        });
        Ok(at)
    }

    /// Starts the session if that has been asked for.
    fn start(&mut self, at: usize) {
        let now_ns = self.clock.monotonic();
        let Some(session) = &mut self.sessions[at] else { return };
        let Some((start_ns, start)) = session.shared.start.get().copied() else { return };
        if session.started_ns.is_some() {
            return;
        }
        session.started_ns = Some(start_ns);
        session.last_packet_ns = now_ns.max(start_ns);
        if let Role::Receiver(receiver) = &mut session.role {
            receiver.start(start, start_ns);
        }
        self.reschedule(at, now_ns);
    }

    fn stop(&mut self, id: u64) {
        let now_ns = self.clock.monotonic();
        let Some(at) = self.by_id.get(&id).copied() else { return };
        let Some(session) = &mut self.sessions[at] else { return };
        if let Role::Reflector { timeout_ns, .. } = session.role {
            let timeout_ns = if session.started_ns.is_some() { timeout_ns } else { 0 };
            session.stop_ns.get_or_insert(now_ns.saturating_add(timeout_ns));
            self.reschedule(at, now_ns);
        }
    }

    /// Takes the session out, and its port if it was the last there.
    fn end(&mut self, at: usize, end: End) -> Option<Session> {
        let session = self.sessions[at].take()?;
        self.free_sessions.push(at);
        self.by_id.remove(&session.id);
        if let Some(place) = self.by_socket.get(&session.socket.fd()).copied() {
            self.by_peer.remove(&(place, session.peer.0, session.peer.1));
            if let Some(port) = &mut self.ports[place] {
                port.sessions.retain(|other| *other != at);
                if port.sessions.is_empty() {
                    self.close(place);
                }
            }
        }
        session.shared.end(end);
        self.news.announce(session.id, &session.shared.news);
        Some(session)
    }

    fn close(&mut self, place: usize) {
        if let Some(port) = self.ports[place].take() {
            // A session that is just being opened on this socket keeps it; it is then added again.
            let _ = self.poll.remove(port.socket.fd());
            self.by_socket.remove(&port.socket.fd());
            self.unread.retain(|other| *other != place);
            self.free_ports.push(place);
        }
    }

    fn drain_port_of(&mut self, at: usize) {
        let Some(session) = &self.sessions[at] else { return };
        let Some(place) = self.by_socket.get(&session.socket.fd()).copied() else { return };
        // Bounded by what a receive buffer usually holds; a flood is not waited out.
        for _ in 0..64 {
            if !self.take_batch(place, Rhythm::Running) {
                break;
            }
        }
    }

    /// Takes a batch from each socket that has something.
    fn serve(&mut self) {
        let mut ready = std::mem::take(&mut self.unread);
        for event in self.events.iter() {
            let place = event.token as usize;
            if let Some(Some(port)) = self.ports.get_mut(place)
                && !port.unread
            {
                port.unread = true;
                ready.push(place);
            }
        }
        let mut rhythm = Rhythm::Woken;
        for place in ready {
            let more = self.take_batch(place, rhythm);
            rhythm = Rhythm::Running;
            if let Some(port) = &mut self.ports[place] {
                port.unread = more;
                if more {
                    self.unread.push(place);
                }
            }
        }
    }

    /// Whether the socket may hold more.
    fn take_batch(&mut self, place: usize, mut rhythm: Rhythm) -> bool {
        self.read_error_queue(place);
        let Some(port) = &mut self.ports[place] else { return false };
        let fd = port.socket.fd();
        let mut count = 0;
        for _ in 0..RECEIVE_ATTEMPTS {
            match self.batch.receive(fd, 0) {
                Ok(taken) => {
                    count = taken;
                    break;
                }
                // Of an earlier reply, or of the interface: it has been taken off the socket, and hides what may be queued
                // behind it.
                Err(_) => self.shared.add(PlaneCounter::ReceiveErrors, 1),
            }
        }
        if count == 0 {
            return false;
        }
        let more = self.batch.filled();
        // A packet on a shared port may be here before the command that adds its session.
        for command in self.inbox.take_additions() {
            if let Command::Add(session) = command {
                self.add(*session);
            }
        }
        let Some(port) = &mut self.ports[place] else { return false };
        let now_ns = self.clock.monotonic();
        if rhythm == Rhythm::Woken && now_ns.saturating_sub(port.served_ns) <= COLD_NS {
            rhythm = Rhythm::Running;
        }
        port.served_ns = now_ns;
        for slot in 0..count {
            self.handle(place, slot, rhythm, now_ns);
            rhythm = Rhythm::Running;
        }
        more
    }

    fn handle(&mut self, place: usize, slot: usize, rhythm: Rhythm, now_ns: i64) {
        let meta = self.batch.meta(slot);
        let Some(port) = &mut self.ports[place] else { return };
        if let Some(drops) = meta.drops {
            self.shared.add(PlaneCounter::SocketDrops, u64::from(drops.wrapping_sub(port.drops)));
            port.drops = drops;
        }
        let Some(source) = meta.source else { return self.shared.add(PlaneCounter::Unmatched, 1) };
        let (ip, number) = (source.ip(), source.port());
        let at = self.by_peer.get(&(place, ip, number)).or_else(|| self.by_peer.get(&(place, ip, 0))).copied();
        let Some(at) = at.filter(|_| number != 0) else {
            // A port with one session is that session's; on a shared one nobody knows whose packet it was.
            if let [only] = port.sessions[..]
                && let Some(session) = &self.sessions[only]
            {
                session.shared.dispositions.count(Disposition::OtherSender);
            } else {
                self.shared.add(PlaneCounter::Unmatched, 1);
            }
            return;
        };
        let received = meta.stamps.software.unwrap_or_else(|| {
            self.shared.add(PlaneCounter::ReceiveStampsMissing, 1);
            self.clock.wall()
        });
        // A packet may be here before the command that starts its session.
        if self.sessions[at].as_ref().is_some_and(|session| session.started_ns.is_none()) {
            self.start(at);
        }
        let Some(session) = &mut self.sessions[at] else { return };
        let started = session.started_ns.is_some_and(|started_ns| started_ns <= now_ns);
        let disposition = if meta.truncated {
            Disposition::Truncated
        } else {
            match &mut session.role {
                Role::Receiver(engine) => {
                    let octets = self.batch.octets(slot);
                    engine.receive(octets, received, meta.ttl, self.error_estimate)
                }
                Role::Reflector { .. } if !started => Disposition::NotStarted,
                Role::Reflector { reflecting, .. } => {
                    let len = self.batch.octets(slot).len();
                    let arrival = Arrival { received, ttl: meta.ttl, dscp_ecn: meta.dscp_ecn, len };
                    match reflecting.decide(self.batch.room(slot), arrival) {
                        Err(disposition) => disposition,
                        Ok(pending) => {
                            // Only what is authentic keeps a session alive.
                            session.last_packet_ns = now_ns;
                            self.answer((place, at), slot, &meta, &pending, rhythm, now_ns)
                        }
                    }
                }
            }
        };
        if let Some(session) = &self.sessions[at] {
            session.shared.dispositions.count(disposition);
        }
    }
}
