//! Session-Senders and the threads that own them.

pub mod bulk;
pub mod event;
mod frames;
pub mod handle;
mod inbox;
pub mod pace;
mod way;
mod worker;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use twoway_wire::tlv::AccessReport;

use bulk::{Inquiry, Packed, Question};
use event::Event;
use handle::{News, Shared, lock};
use inbox::{Command, Following, Inbox};
use way::{Way, WayBackHere};
use worker::{Session, Worker};

use crate::capabilities::await_receive_stamps;
use crate::clock::{Clock, Moment};
use crate::collections::Collections;
use crate::error::PlaneError;
use crate::next_hop::NextHops;
use crate::path::ForwardPath;
use crate::sample::Sample;
use crate::session_sender::extensions::WayBack;
use crate::session_sender::{Progress, SessionSender, SessionSpec};
use crate::summary::Summary;
use crate::sys::{SocketRequest, SystemClock, TimestampMode, Waker, in_namespace};
use crate::watch::{Asked, Finding};

/// How long a question to a worker may wait. A worker looks at its commands after each batch, so only a machine that
/// stands still takes longer.
const ANSWER: Duration = Duration::from_secs(10);

/// Why a worker did not answer.
const fn why_unanswered(error: RecvTimeoutError) -> &'static str {
    match error {
        RecvTimeoutError::Timeout => "no answer within 10 s: this host is overloaded, or the packet plane is closed",
        RecvTimeoutError::Disconnected => "the packet plane is closed",
    }
}

/// A Session-Sender and the socket that it needs.
#[derive(Clone, Debug)]
pub struct SenderSpec {
    /// What it sends.
    pub session: SessionSpec,
    /// Its socket; the peer is the Session-Reflector.
    pub socket: SocketRequest,
    /// How its packets get there.
    pub path: ForwardPath,
    /// How long opening may wait for the link-layer address of a next hop. Later it is waited for while packets are due.
    pub next_hop_patience: Duration,
    /// Network namespace that the socket is opened in: a name of `ip netns`, or a path.
    pub netns: Option<String>,
    /// Samples kept until they are drained, 0 for none.
    pub sample_capacity: usize,
}

/// One worker thread, from outside.
#[derive(Debug)]
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

    fn end(&self) {
        let join = self.join.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(join) = join {
            self.tell(Command::Exit);
            // A panic there was printed by that thread; nothing here depends on its result.
            let _ = join.join();
        }
    }
}

/// Worker threads that own Session-Senders.
#[derive(Debug)]
pub struct Plane {
    threads: Vec<Arc<Thread>>,
    news: Arc<News>,
    alerts: Arc<News>,
    next_thread: AtomicUsize,
    next_id: AtomicU64,
    sessions: Arc<Registry>,
    next_hops: NextHops,
}

/// The sessions of a plane by their numbers.
type Registry = Mutex<HashMap<u64, Arc<Shared>>>;

impl Plane {
    /// Starts `workers` threads, at least one. With `busy_poll` they never sleep while a packet is to be sent.
    pub fn new(workers: usize, busy_poll: bool) -> Result<Self, PlaneError> {
        let failed = |error| PlaneError::system("start worker", "sender", &error);
        let news = Arc::new(News::new(Waker::new().map_err(failed)?));
        let alerts = Arc::new(News::new(Waker::new().map_err(failed)?));
        let threads = (0..workers.max(1))
            .map(|number| {
                let inbox = Arc::new(Inbox::default());
                let (worker, waker) =
                    Worker::new(inbox.clone(), (news.clone(), alerts.clone()), busy_poll).map_err(failed)?;
                let join = std::thread::Builder::new()
                    .name(format!("tw-sender-{number}"))
                    .spawn(move || worker.run())
                    .map_err(failed)?;
                Ok(Arc::new(Thread { inbox, waker, join: Mutex::new(Some(join)) }))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            threads,
            news,
            alerts,
            next_thread: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            sessions: Arc::default(),
            next_hops: NextHops::default(),
        })
    }

    /// Opens the sockets here, so that a refusal is known now, and gives the session to a worker. It waits to be started.
    pub fn open_sender(&self, spec: SenderSpec) -> Result<Sender, PlaneError> {
        let netns = spec.netns.as_deref();
        let hops = (&self.next_hops, spec.next_hop_patience);
        let longest = spec.session.payload_len;
        let asked = spec.session.tlvs.requests();
        let back = WayBackHere {
            address: asked.return_path.as_ref().and_then(WayBack::address),
            segments: matches!(asked.return_path, Some(WayBack::Segments(..))),
            same_link: asked.micro_session.is_some(),
        };
        let way = in_namespace(netns, || Way::open(&spec.socket, &spec.path, back, longest, hops))?;
        if spec.socket.timestamps != TimestampMode::User {
            await_receive_stamps();
        }
        let (local, obtained) = (way.local(), way.obtained().to_vec());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared::new(spec.sample_capacity));
        let timeout_ns = spec.session.ledger.timeout_ns;
        let engine = SessionSender::new(spec.session);
        let thread = self.threads[self.next_thread.fetch_add(1, Ordering::Relaxed) % self.threads.len()].clone();
        let session = Session::new(id, engine, way, shared.clone());
        thread.tell(Command::Add(Box::new(session)));
        lock(&self.sessions).insert(id, shared.clone());
        Ok(Sender { id, local, obtained, timeout_ns, shared, thread, sessions: self.sessions.clone() })
    }

    /// Readable when a session has samples, events or its end to tell.
    pub fn fd(&self) -> RawFd {
        self.news.waker().fd()
    }

    /// Ids of the sessions with news since the last call.
    pub fn acknowledge(&self) -> Vec<u64> {
        let ids = self.news.take();
        let sessions = lock(&self.sessions);
        for id in &ids {
            if let Some(shared) = sessions.get(id) {
                News::clear(shared);
            }
        }
        ids
    }

    /// Readable when something of a session that is followed should be known at once.
    pub fn alert_fd(&self) -> RawFd {
        self.alerts.waker().fd()
    }

    /// The sessions with alerts since the last call, bits of [`handle::Notable`], and how their limits stand.
    pub fn take_alerts(&self) -> Vec<(u64, u8, Vec<Vec<Finding>>)> {
        let ids = self.alerts.take();
        let sessions = lock(&self.sessions);
        let known = ids.into_iter().filter_map(|id| Some((id, sessions.get(&id)?)));
        known.map(|(id, shared)| (id, News::take_alerts(shared), shared.findings())).collect()
    }

    /// Puts all samples into the collections that are attached. Returns the sessions to look at, and bits of [`Notable`].
    pub fn collect(&self) -> Vec<(u64, u8)> {
        let ids = self.news.take();
        let fresh: Vec<(u64, Arc<Shared>)> = {
            let sessions = lock(&self.sessions);
            ids.into_iter().filter_map(|id| Some((id, sessions.get(&id)?.clone()))).collect()
        };
        let wall_ns = SystemClock.wall().0;
        let looked = fresh.into_iter().map(|(id, shared)| {
            News::clear(&shared);
            (id, shared.collect(wall_ns))
        });
        looked.filter(|(_, notable)| *notable != 0).collect()
    }

    /// What came since the last time, of these sessions or of all that have been started. Departures later than `late_ns`
    /// are faults of this host.
    pub fn take_intervals(&self, ids: Option<&[u64]>, late_ns: i64) -> Result<Vec<Packed>, PlaneError> {
        self.ask(Question::Interval { late_ns }, ids)
    }

    /// Everything so far, of these sessions or of all that have been started.
    pub fn summaries(&self, ids: Option<&[u64]>) -> Result<Vec<Packed>, PlaneError> {
        self.ask(Question::Summary, ids)
    }

    /// Ask all threads, which answer at the same time.
    fn ask(&self, question: Question, ids: Option<&[u64]>) -> Result<Vec<Packed>, PlaneError> {
        let answers: Vec<_> = self
            .threads
            .iter()
            .map(|thread| {
                let (reply, answer) = sync_channel(1);
                let ids = ids.map(<[u64]>::to_vec);
                let inquiry = Inquiry { question, ids, reply, done: 0, answer: Packed::default() };
                thread.tell(Command::Ask(Box::new(inquiry)));
                answer
            })
            .collect();
        let unanswered = |error| PlaneError::refused("read summaries", "all sessions", why_unanswered(error));
        answers.into_iter().map(|answer| answer.recv_timeout(ANSWER).map_err(unanswered)).collect()
    }

    /// Ends all threads and with them all sessions.
    pub fn close(&self) {
        for thread in &self.threads {
            thread.end();
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.close();
    }
}

/// One Session-Sender, from outside.
#[derive(Debug)]
pub struct Sender {
    id: u64,
    local: SocketAddr,
    obtained: Vec<(&'static str, String)>,
    timeout_ns: i64,
    shared: Arc<Shared>,
    thread: Arc<Thread>,
    sessions: Arc<Registry>,
}

impl Sender {
    /// Number within the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Address and port that it sends from.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Options that were obtained in lesser form.
    pub fn obtained(&self) -> &[(&'static str, String)] {
        &self.obtained
    }

    /// Begins its schedule at that moment; only the first call counts.
    pub fn start(&self, when: Moment) {
        self.thread.tell(Command::Start(self.id, when));
    }

    /// Sends no more, and awaits what is outstanding.
    pub fn stop(&self) {
        self.thread.tell(Command::Stop(self.id));
    }

    /// Ends at once.
    pub fn abort(&self) {
        self.thread.tell(Command::Abort(self.id));
    }

    /// Reports that state of the access network from the next packet on (RFC 8972 section 4.6). Means nothing to a session
    /// that was opened without an Access Report.
    pub fn report_access(&self, report: AccessReport) {
        self.thread.tell(Command::Report(self.id, report));
    }

    /// Whether its last packet is decided.
    pub fn is_finished(&self) -> bool {
        self.shared.is_finished()
    }

    /// The samples gathered so far.
    pub fn take_samples(&self) -> Vec<Sample> {
        self.shared.take_samples()
    }

    /// Its samples go there by [`Plane::collect`]. Tests that are open there are interrupted.
    pub fn attach(&self, collections: Arc<Mutex<Collections>>) {
        lock(&collections).attach(self.timeout_ns);
        self.shared.attach(collections);
    }

    /// Moves what it has by now into its collections, without waiting for [`Plane::collect`].
    pub fn collect(&self) {
        self.shared.collect(SystemClock.wall().0);
    }

    /// What befell it, each kind once.
    pub fn take_events(&self) -> Vec<Event> {
        self.shared.take_events()
    }

    /// The whole session so far.
    pub fn summary(&self) -> Result<Summary, PlaneError> {
        self.ask(Command::Summary)
    }

    /// What came since the last of these.
    pub fn take_interval(&self) -> Result<Summary, PlaneError> {
        self.ask(Command::Interval)
    }

    /// Look out for these limits from now on, and alert when one stands otherwise, when a test ends and when a probe meets a
    /// limit of its collections; departures later than `late_ns` are this host's fault. What `before` saw of the same
    /// test-session goes on here.
    pub fn follow(&self, asked: Vec<Asked>, late_ns: i64, before: Option<&Self>) {
        let before = before.and_then(|before| before.ask(Command::Bequeath).ok().flatten());
        let number = self.shared.follow(true);
        self.thread.tell(Command::Follow(self.id, Some(Box::new(Following { number, asked, late_ns, before }))));
    }

    /// Look out for nothing any more.
    pub fn follow_no_more(&self) {
        self.shared.follow(false);
        self.thread.tell(Command::Follow(self.id, None));
    }

    /// How the limits that are looked out for stood last.
    pub fn findings(&self) -> Vec<Vec<Finding>> {
        self.shared.findings()
    }

    /// How far its schedule got; final after a `stop` or the end.
    pub fn progress(&self) -> Result<Progress, PlaneError> {
        self.ask(Command::Progress)
    }

    fn ask<T>(&self, question: fn(u64, SyncSender<T>) -> Command) -> Result<T, PlaneError> {
        let (reply, answer) = sync_channel(1);
        self.thread.tell(question(self.id, reply));
        answer
            .recv_timeout(ANSWER)
            .map_err(|error| PlaneError::refused("read summary", self.local, why_unanswered(error)))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        lock(&self.sessions).remove(&self.id);
        self.thread.tell(Command::Remove(self.id));
    }
}
