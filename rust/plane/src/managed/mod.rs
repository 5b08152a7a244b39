//! Test-sessions that a control connection negotiated, seen from the far end: Session-Reflectors (TWAMP) and
//! Session-Receivers (OWAMP), thousands of them behind few threads.
//!
//! Unlike the stand-alone Session-Reflector, which answers whoever may ask, a session here has one peer, one format and
//! one set of keys, a beginning and an end. [`ManagedPlane::open_reflector`] and [`ManagedPlane::open_receiver`] open the
//! port, so that a refusal is known at once and can become an Accept value. Sessions whose local address and port are the
//! same share a socket and are told apart by the peer's address and port.

mod disposition;
mod inbox;
pub mod reflecting;
mod worker;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use twoway_wire::{ErrorEstimate, WallNanos};

pub use self::disposition::{Disposition, Dispositions};
use self::inbox::{Command, Inbox};
use self::reflecting::{Reflecting, ReflectingSpec};
use self::worker::{Role, Session, Worker};
use crate::capabilities::await_receive_stamps;
use crate::clock::{Clock, Moment};
use crate::distribution::Distribution;
use crate::error::PlaneError;
use crate::sample::named;
use crate::sender::handle::{News, Shared};
use crate::session_receiver::{Outcome, ReceiverSpec, Record, SessionReceiver, summarize};
use crate::slots::SkipRange;
use crate::summary::Summary;
use crate::sys::{SocketRequest, SystemClock, TimestampMode, UdpSocket, Waker, in_namespace};

/// How long a question to a worker may wait: only a machine that stands still takes longer.
const ANSWER: Duration = Duration::from_secs(10);

named! {
    /// A counter of the plane itself.
    pub enum PlaneCounter {
        /// Datagrams on a port that several sessions share which are none's.
        Unmatched = "unmatched",
        /// Datagrams that our sockets dropped for want of room.
        SocketDrops = "socket_drops",
        /// Datagrams without a kernel stamp: the worker read its clock.
        ReceiveStampsMissing = "receive_stamps_missing",
        /// System calls to send that failed, whether or not a second attempt succeeded.
        SendErrors = "send_errors",
        /// System calls to receive that failed.
        ReceiveErrors = "receive_errors",
        /// ICMP errors about replies.
        IcmpErrors = "icmp_errors",
    }
}

named! {
    /// Why a session ended.
    pub enum End {
        /// It has not.
        Running = "running",
        /// The timeout after Stop-Sessions is over.
        Stopped = "stopped",
        /// No packet came for REFWAIT (RFC 5357 section 4.2).
        Refwait = "refwait",
        /// It was closed from here.
        Closed = "closed",
        /// Its socket could not be watched.
        Failed = "failed",
    }
}

/// Where a session's packets come in, and from whom.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// Its socket: bound, without a peer.
    pub socket: SocketRequest,
    /// Network namespace that the socket is opened in: a name of `ip netns`, or a path.
    pub netns: Option<String>,
    /// Negotiated address and port of the Session-Sender. Port 0: any port of that address.
    pub sender: SocketAddr,
}

/// A Session-Reflector of a negotiated test-session.
#[derive(Clone, Debug)]
pub struct ManagedReflectorSpec {
    /// Where.
    pub port: PortSpec,
    /// How.
    pub reflecting: ReflectingSpec,
    /// After Stop-Sessions, packets are answered for so long.
    pub timeout_ns: i64,
    /// The session ends when no packet came for so long; `None` for never.
    pub refwait_ns: Option<i64>,
}

/// Counters of all workers together.
#[derive(Debug, Default)]
struct PlaneShared {
    counters: [AtomicU64; PlaneCounter::ALL.len()],
    /// Departure by the kernel's stamp minus the T3 written. Workers never wait for it.
    prediction_error: Mutex<Distribution>,
}

impl PlaneShared {
    fn add(&self, counter: PlaneCounter, by: u64) {
        self.counters[counter as usize].fetch_add(by, Ordering::Relaxed);
    }
}

/// One session as seen from both sides.
#[derive(Debug, Default)]
struct SessionShared {
    dispositions: Dispositions,
    news: Shared,
    end: AtomicU8,
    errno: AtomicI32,
    /// Start on the monotonic and on the wall clock. Here, and not in a command, so that a packet which follows
    /// Start-Ack at once finds it.
    start: OnceLock<(i64, WallNanos)>,
    /// Every packet of a Session-Receiver's schedule is received or lost.
    decided: AtomicBool,
}

impl SessionShared {
    fn end(&self, end: End) {
        self.end.store(end as u8, Ordering::Release);
        self.news.finish();
    }

    fn fail(&self, errno: i32) {
        self.errno.store(errno, Ordering::Relaxed);
        self.end(End::Failed);
    }

    fn how(&self) -> End {
        End::ALL[usize::from(self.end.load(Ordering::Acquire))]
    }
}

/// One worker thread, from outside.
struct Thread {
    inbox: Arc<Inbox>,
    waker: Waker,
    join: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    fn tell(&self, command: Command) {
        self.inbox.push(command);
        self.waker.wake();
    }
}

/// Sockets that can be shared, by where they were opened.
type Place = (Option<String>, Option<String>, SocketAddr);

/// A socket and who is behind it.
#[derive(Default)]
struct OpenPort {
    socket: Weak<UdpSocket>,
    thread: usize,
    peers: Vec<(IpAddr, u16, Weak<SessionShared>)>,
}

/// Worker threads that own the ports of managed test-sessions. Dropping it ends them.
pub struct ManagedPlane {
    threads: Vec<Arc<Thread>>,
    news: Arc<News>,
    shared: Arc<PlaneShared>,
    next_thread: AtomicUsize,
    next_id: AtomicU64,
    ports: Mutex<HashMap<Place, OpenPort>>,
    sessions: Mutex<HashMap<u64, Weak<SessionShared>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ManagedPlane {
    /// Starts `workers` threads, at least one.
    pub fn new(workers: usize) -> Result<Self, PlaneError> {
        let failed = |error| PlaneError::system("start worker", "managed sessions", &error);
        let news = Arc::new(News::new(Waker::new().map_err(failed)?));
        let shared = Arc::new(PlaneShared::default());
        let mut plane = Self {
            threads: Vec::new(),
            news: Arc::clone(&news),
            shared: Arc::clone(&shared),
            next_thread: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            ports: Mutex::default(),
            sessions: Mutex::default(),
        };
        for number in 0..workers.max(1) {
            let inbox = Arc::new(Inbox::default());
            let (worker, waker) =
                Worker::new(Arc::clone(&inbox), Arc::clone(&news), Arc::clone(&shared)).map_err(failed)?;
            let thread = std::thread::Builder::new().name(format!("tw-managed-{number}"));
            let join = thread.spawn(move || worker.run()).map_err(failed)?;
            plane.threads.push(Arc::new(Thread { inbox, waker, join: Mutex::new(Some(join)) }));
        }
        Ok(plane)
    }

    /// Opens a Session-Reflector's port; it answers nobody before it is started.
    pub fn open_reflector(&self, spec: ManagedReflectorSpec) -> Result<ManagedReflector, PlaneError> {
        let role = Role::Reflector {
            reflecting: Reflecting::new(spec.reflecting),
            timeout_ns: spec.timeout_ns,
            refwait_ns: spec.refwait_ns,
        };
        self.open(&spec.port, role).map(ManagedReflector)
    }

    /// Opens a Session-Receiver's port; it records nothing before it is started.
    pub fn open_receiver(&self, port: &PortSpec, spec: ReceiverSpec) -> Result<ManagedReceiver, PlaneError> {
        if spec.record_capacity < spec.packets as usize {
            let detail = format!("{} records cannot hold {} packets", spec.record_capacity, spec.packets);
            return Err(PlaneError::refused("open receiver", port.socket.local, detail));
        }
        let receiver = Box::new(SessionReceiver::new(spec));
        let handle = self.open(port, Role::Receiver(receiver))?;
        Ok(ManagedReceiver { handle, taken: Mutex::new(None) })
    }

    fn open(&self, spec: &PortSpec, role: Role) -> Result<Handle, PlaneError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(SessionShared::default());
        let peer = (spec.sender.ip(), spec.sender.port());
        let (socket, thread) = self.socket(spec, peer, &shared)?;
        let (local, obtained) = (socket.local(), socket.obtained.clone());
        let thread = Arc::clone(&self.threads[thread]);
        thread.tell(Command::Add(Box::new(Session {
            id,
            role,
            peer,
            dscp_ecn: spec.socket.dscp_ecn,
            socket,
            interface: spec.socket.interface.as_deref().map(Arc::from),
            stamped: spec.socket.timestamps != TimestampMode::User,
            shared: Arc::clone(&shared),
            started_ns: None,
            stop_ns: None,
            last_packet_ns: 0,
            scheduled_ns: None,
        })));
        lock(&self.sessions).insert(id, Arc::downgrade(&shared));
        Ok(Handle { id, local, obtained, shared, thread })
    }

    /// A socket for that place and the worker that owns it: one that is open there already, or a new one.
    fn socket(
        &self,
        spec: &PortSpec,
        peer: (IpAddr, u16),
        shared: &Arc<SessionShared>,
    ) -> Result<(Arc<UdpSocket>, usize), PlaneError> {
        let place = |local| (spec.netns.clone(), spec.socket.interface.clone(), local);
        let newcomer = (peer.0, peer.1, Arc::downgrade(shared));
        let mut ports = lock(&self.ports);
        if let Some(port) = ports.get_mut(&place(spec.socket.local))
            && let Some(socket) = port.socket.upgrade()
        {
            port.peers.retain(|(.., known)| known.upgrade().is_some_and(|known| known.how() == End::Running));
            if port.peers.iter().any(|(ip, number, _)| (*ip, *number) == peer) {
                let detail = format!("a test-session from {} is open there", spec.sender);
                return Err(PlaneError::refused("bind", spec.socket.local, detail));
            }
            port.peers.push(newcomer);
            return Ok((socket, port.thread));
        }
        let socket = Arc::new(in_namespace(spec.netns.as_deref(), || UdpSocket::open(&spec.socket))?);
        if spec.socket.timestamps != TimestampMode::User {
            await_receive_stamps();
        }
        let thread = self.next_thread.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        // Once in a while those that have been closed are swept out.
        if ports.len().is_power_of_two() {
            ports.retain(|_, port| port.socket.strong_count() > 0);
        }
        let port = OpenPort { socket: Arc::downgrade(&socket), thread, peers: vec![newcomer] };
        ports.insert(place(socket.local()), port);
        Ok((socket, thread))
    }

    /// Readable when a session has ended, or a Session-Receiver's last packet is decided.
    pub fn fd(&self) -> RawFd {
        self.news.waker().fd()
    }

    /// Ids of the sessions with news since the last call.
    pub fn acknowledge(&self) -> Vec<u64> {
        let ids = self.news.take();
        let mut sessions = lock(&self.sessions);
        for id in &ids {
            match sessions.get(id).and_then(Weak::upgrade) {
                Some(shared) => News::clear(&shared.news),
                None => drop(sessions.remove(id)),
            }
        }
        ids
    }

    /// The plane's own counters by name.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        PlaneCounter::NAMES.iter().copied().zip(self.shared.counters.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Departure of replies by the kernel's stamp minus the T3 written, of those that were stamped.
    pub fn transmit_prediction_error(&self) -> Distribution {
        lock(&self.shared.prediction_error).clone()
    }

    /// Ends all threads and with them all sessions.
    pub fn close(&self) {
        for thread in &self.threads {
            if let Some(join) = lock(&thread.join).take() {
                thread.tell(Command::Exit);
                // A panic there was printed by that thread; nothing here depends on its result.
                let _ = join.join();
            }
        }
    }
}

impl Drop for ManagedPlane {
    fn drop(&mut self) {
        self.close();
    }
}

/// A session from outside, whatever it does.
struct Handle {
    id: u64,
    local: SocketAddr,
    obtained: Vec<(&'static str, String)>,
    shared: Arc<SessionShared>,
    thread: Arc<Thread>,
}

impl Handle {
    fn ask<T>(&self, question: impl FnOnce(u64, SyncSender<T>) -> Command) -> Result<T, PlaneError> {
        let (reply, answer) = sync_channel(1);
        self.thread.tell(question(self.id, reply));
        let gone = |_| PlaneError::refused("read records", self.local, "the test-session is closed");
        answer.recv_timeout(ANSWER).map_err(gone)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.thread.tell(Command::Remove(self.id));
    }
}

/// What both kinds of handle tell.
macro_rules! handle {
    ($name:ident, $($handle:tt)+) => {
        impl $name {
            /// Number within the plane.
            pub fn id(&self) -> u64 {
                self.$($handle)+.id
            }

            /// Address and port that packets are to be sent to.
            pub fn local(&self) -> SocketAddr {
                self.$($handle)+.local
            }

            /// Options that were obtained in lesser form.
            pub fn obtained(&self) -> &[(&'static str, String)] {
                &self.$($handle)+.obtained
            }

            /// Start-Sessions was acknowledged: packets count from that moment on. Only the first call counts.
            pub fn start(&self, when: Moment) {
                let clock = SystemClock;
                let start = when.on_both_clocks(clock.monotonic(), clock.wall());
                if self.$($handle)+.shared.start.set(start).is_ok() {
                    self.$($handle)+.thread.tell(Command::Start(self.$($handle)+.id));
                }
            }

            /// Ends it now and closes its port.
            pub fn close(&self) {
                self.$($handle)+.thread.tell(Command::Remove(self.$($handle)+.id));
            }

            /// Why it ended, [`End::Running`] while it has not.
            pub fn end(&self) -> End {
                self.$($handle)+.shared.how()
            }

            /// The kernel's number for why it [`End::Failed`], else 0.
            pub fn errno(&self) -> i32 {
                self.$($handle)+.shared.errno.load(Ordering::Relaxed)
            }

            /// Disposition -> packets.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                self.$($handle)+.shared.dispositions.iter()
            }
        }
    };
}

/// A Session-Reflector, from outside. Dropping it closes its port.
pub struct ManagedReflector(Handle);

handle!(ManagedReflector, 0);

impl ManagedReflector {
    /// Stop-Sessions was exchanged: it answers for the timeout still, then ends. Before a start it ends at once.
    pub fn stop(&self) {
        self.0.thread.tell(Command::Stop(self.0.id));
    }
}

/// A Session-Receiver, from outside. Dropping it closes its port and forgets its records.
pub struct ManagedReceiver {
    handle: Handle,
    /// The receiver once it has ended, taken from its worker.
    taken: Mutex<Option<Box<SessionReceiver>>>,
}

handle!(ManagedReceiver, handle);

/// What a Session-Receiver has recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// In the order of arrival, losses where they became known.
    pub records: Vec<Record>,
    /// How the session ended.
    pub outcome: Outcome,
    /// Next Seqno of Stop-Sessions.
    pub next_sequence: u32,
    /// Skip Ranges of Stop-Sessions.
    pub skipped: Vec<SkipRange>,
    /// Start of the schedule; now, if it was never started.
    pub start: WallNanos,
}

impl ManagedReceiver {
    /// Whether every packet of the schedule is received or lost: nothing more can come.
    pub fn is_decided(&self) -> bool {
        self.handle.shared.decided.load(Ordering::Relaxed)
    }

    /// Stop-Sessions came: the Session-Sender got as far as `next_sequence` and left out `skipped`, in ascending order.
    pub fn complete(&self, next_sequence: u32, skipped: &[SkipRange]) -> Result<Outcome, PlaneError> {
        self.finish(|receiver, now_ns, error| receiver.complete(next_sequence, skipped, now_ns, error))
    }

    /// The control connection broke before Stop-Sessions.
    pub fn abandon(&self) -> Result<Outcome, PlaneError> {
        self.finish(|receiver, _, _| receiver.abandon())
    }

    /// Takes the receiver from its worker, whose other sessions do not wait for what is done with the records.
    fn finish(
        &self,
        end: impl FnOnce(&mut SessionReceiver, i64, ErrorEstimate) -> Outcome,
    ) -> Result<Outcome, PlaneError> {
        let mut taken = lock(&self.taken);
        if let Some(receiver) = &*taken {
            return Ok(receiver.outcome());
        }
        let (mut receiver, now_ns, error_estimate) = self.handle.ask(Command::Take)?;
        let outcome = end(&mut receiver, now_ns, error_estimate);
        *taken = Some(receiver);
        Ok(outcome)
    }

    fn look<T>(&self, read: impl FnOnce(&SessionReceiver) -> T) -> Result<T, PlaneError> {
        let taken = lock(&self.taken);
        match &*taken {
            Some(receiver) => Ok(read(receiver)),
            None => Ok(read(&*self.handle.ask(Command::Look)?)),
        }
    }

    /// The records so far, or for good once it has ended.
    pub fn recorded(&self) -> Result<Recorded, PlaneError> {
        self.look(|receiver| Recorded {
            records: receiver.records().to_vec(),
            outcome: receiver.outcome(),
            next_sequence: receiver.next_sequence(),
            skipped: receiver.skipped().to_vec(),
            start: receiver.started().unwrap_or_else(|| SystemClock.wall()),
        })
    }

    /// The records so far in numbers.
    pub fn summary(&self) -> Result<Summary, PlaneError> {
        let now = SystemClock.wall();
        self.look(|receiver| {
            let start = receiver.started().unwrap_or(now);
            summarize(receiver.records(), receiver.skipped(), start, now)
        })
    }
}
