//! Next hops of paths whose frames we make ourselves, found when a path is opened and followed while it is used.
//!
//! Theory of operation. [`NextHops::watch`] resolves a [`Target`] on the thread that asks (through an [`Asker`], which lives
//! in a network namespace), so that what cannot work is refused by name before anything is sent. From then on one thread, of all paths and namespaces together, listens to the
//! kernel's notices: at each that may matter it asks again what the way is, and publishes a change. A worker that sends
//! frames reads one atomic number before each batch, and takes the new hop where it has changed; it never waits for
//! netlink, whose answers may take long while somebody reconfigures the network.
//!
//! The kernel sends nothing to these neighbours on our behalf, so it does not notice when one falls silent: an address that
//! has become stale, or that is not known, is asked for ([`kernel::Nudge`]). All is asked again every ten seconds, whatever
//! the notices said.

pub mod kernel;
pub mod messages;
pub mod resolve;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use self::kernel::{Kernel, Nudge};
use self::messages::{Message, messages};
pub use self::resolve::{Hop, Missing, Question, Target};
use self::resolve::{Tables, leads_by};
use crate::clock::Clock;
use crate::error::PlaneError;
use crate::sys::{Events, Poll, RouteSocket, SystemClock, Waker};

/// Everything is asked again this often.
const LOOK_AGAIN_NS: i64 = 10_000_000_000;
/// A neighbour that is not known is asked this often.
const ASK_AGAIN_NS: i64 = 1_000_000_000;
/// A path is not resolved again sooner than this, however many notices come.
const PACE_NS: i64 = 10_000_000;
/// Notices taken in one go.
const NOTICES_AT_ONCE: usize = 256;
/// While a path is opened: how often the neighbour's entry is looked at.
const POLL: Duration = Duration::from_millis(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of one next hop, for the thread that sends to it.
#[derive(Debug)]
pub struct Published {
    /// Counts the changes.
    version: AtomicU32,
    state: Mutex<Result<Hop, Missing>>,
}

impl Published {
    fn new(state: Result<Hop, Missing>) -> Self {
        Self { version: AtomicU32::new(1), state: Mutex::new(state) }
    }

    /// Whether it has changed since the caller last took it; `seen` begins at 0.
    #[inline]
    pub fn changed(&self, seen: u32) -> bool {
        self.version.load(Ordering::Acquire) != seen
    }

    /// (number of this state, state), unless it is being written just now.
    pub fn try_take(&self) -> Option<(u32, Result<Hop, Missing>)> {
        let state = self.state.try_lock().ok()?;
        Some((self.version.load(Ordering::Acquire), state.clone()))
    }

    fn publish(&self, state: &Result<Hop, Missing>) {
        let mut published = lock(&self.state);
        if *published != *state {
            published.clone_from(state);
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}

/// A next hop that is followed until this is dropped.
#[derive(Debug)]
pub struct Watch {
    id: u64,
    published: Arc<Published>,
    inner: Arc<Inner>,
}

impl Watch {
    /// What is known of it.
    pub fn published(&self) -> &Published {
        &self.published
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.inner.tell(Command::Forget(self.id));
    }
}

/// A network namespace, by the number of its inode.
type Place = u64;

/// Who asks for next hops in one network namespace.
pub struct Asker {
    kernel: Kernel,
    nudge: Nudge,
    place: Place,
    /// While it lives, the thread keeps its sockets in this namespace.
    _alive: Arc<()>,
}

impl Asker {
    /// Whether packets from `source` to `destination` that are bound to `interface` leave by it.
    pub fn leads_by(&mut self, destination: IpAddr, source: IpAddr, interface: u32) -> bool {
        leads_by(&mut self.kernel, destination, source, interface)
    }

    /// Name of the interface with that number.
    pub fn name_of(&mut self, interface: u32) -> Option<String> {
        self.kernel.link(interface).ok().map(|link| link.name)
    }
}

/// The thread's sockets in one namespace.
struct Host {
    kernel: Kernel,
    changes: RouteSocket,
    nudge: Nudge,
    asked_by: Vec<Weak<()>>,
}

impl Host {
    fn open(asked_by: Weak<()>) -> Result<Self, PlaneError> {
        let changes = RouteSocket::for_changes()
            .map_err(|error| PlaneError::system("hear of changed routes", "(rtnetlink)", &error))?;
        Ok(Self { kernel: Kernel::open()?, changes, nudge: Nudge::open(), asked_by: vec![asked_by] })
    }
}

enum Command {
    Enter(Place, Box<Host>),
    Watch { id: u64, place: Place, target: Target, published: Arc<Published> },
    Forget(u64),
    Exit,
}

#[derive(Default)]
struct Inner {
    commands: Mutex<Vec<Command>>,
    /// Of the thread, once there is one.
    waker: Mutex<Option<Waker>>,
    next_id: AtomicU64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextHops").finish_non_exhaustive()
    }
}

impl Inner {
    fn tell(&self, command: Command) {
        lock(&self.commands).push(command);
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake();
        }
    }
}

/// All next hops of a plane. The thread starts with the first of them.
#[derive(Debug, Default)]
pub struct NextHops {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl NextHops {
    /// Opens the sockets for the network namespace that the calling thread is in.
    pub fn asker(&self) -> Result<Asker, PlaneError> {
        let alive = Arc::new(());
        let place = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |entry| entry.ino());
        let asker = Asker { kernel: Kernel::open()?, nudge: Nudge::open(), place, _alive: alive.clone() };
        let host = Box::new(Host::open(Arc::downgrade(&alive))?);
        self.begin()?;
        self.inner.tell(Command::Enter(place, host));
        Ok(asker)
    }

    /// Finds the next hop, and follows it from now on. A neighbour that has not said its address yet is waited for at most
    /// `patience`; what cannot work is an error.
    pub fn watch(&self, asker: &mut Asker, target: Target, patience: Duration) -> Result<Watch, PlaneError> {
        let mut state = resolve::resolve(&mut asker.kernel, &target);
        let give_up_ns = SystemClock.monotonic() + patience.as_nanos() as i64;
        if let Err(Missing::Neighbour(question, _)) = &state {
            asker.nudge.neighbour(question);
        }
        while let Err(Missing::Neighbour(..)) = &state
            && SystemClock.monotonic() < give_up_ns
        {
            std::thread::sleep(POLL);
            state = resolve::resolve(&mut asker.kernel, &target);
        }
        if let Err(missing) = &state
            && !missing.may_pass()
        {
            let mut error = PlaneError::refused("find next hop", target.destination, missing.to_string());
            error.errno = missing.errno();
            return Err(error);
        }
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let published = Arc::new(Published::new(state));
        self.inner.tell(Command::Watch { id, place: asker.place, target, published: published.clone() });
        Ok(Watch { id, published, inner: self.inner.clone() })
    }

    fn begin(&self) -> Result<(), PlaneError> {
        let mut thread = lock(&self.thread);
        if thread.is_some() {
            return Ok(());
        }
        let failed = |error| PlaneError::system("start worker", "next hops", &error);
        let follower = Follower::new(self.inner.clone()).map_err(failed)?;
        *lock(&self.inner.waker) = Some(follower.poll.waker());
        let named = std::thread::Builder::new().name("tw-next-hop".to_owned());
        *thread = Some(named.spawn(move || follower.run()).map_err(failed)?);
        Ok(())
    }
}

impl Drop for NextHops {
    fn drop(&mut self) {
        if let Some(thread) = lock(&self.thread).take() {
            self.inner.tell(Command::Exit);
            // A panic there was printed by that thread; nothing here depends on its result.
            let _ = thread.join();
        }
    }
}

/// One next hop as the thread follows it.
struct Followed {
    id: u64,
    place: Place,
    target: Target,
    published: Arc<Published>,
    due_ns: i64,
    last_ns: i64,
    nudged_ns: i64,
    /// What notices are compared with: the interface that frames leave by, and the neighbour.
    interface: u32,
    neighbour: Option<Question>,
}

impl Followed {
    /// Whether a notice may change it. Routes may always: which of them counts only a question tells.
    fn concerns(&self, message: &Message) -> bool {
        match message {
            Message::Neighbour(changed) | Message::NeighbourGone(changed) => {
                self.neighbour.is_none_or(|neighbour| Some(neighbour.address) == changed.address)
            }
            Message::Link(link) | Message::LinkGone(link) => {
                self.neighbour.is_none_or(|neighbour| [self.interface, neighbour.interface].contains(&link.interface))
                    || self.target.interface.as_ref() == Some(&link.name)
            }
            // An address that came or went is among what is not read here.
            _ => true,
        }
    }

    /// Has the neighbour asked for its address, if it was not a moment ago.
    fn nudge(&mut self, host: &mut Host, now_ns: i64) {
        if let Some(neighbour) = &self.neighbour
            && now_ns >= self.nudged_ns + ASK_AGAIN_NS
        {
            self.nudged_ns = now_ns;
            host.nudge.neighbour(neighbour);
        }
    }
}

/// The thread.
struct Follower {
    inner: Arc<Inner>,
    poll: Poll,
    events: Events,
    hosts: HashMap<Place, (u64, Box<Host>)>,
    next_token: u64,
    followed: Vec<Followed>,
}

impl Follower {
    fn new(inner: Arc<Inner>) -> io::Result<Self> {
        Ok(Self {
            inner,
            poll: Poll::new()?,
            events: Events::new(16),
            hosts: HashMap::new(),
            next_token: 0,
            followed: Vec::new(),
        })
    }

    fn run(mut self) {
        loop {
            let commands = std::mem::take(&mut *lock(&self.inner.commands));
            for command in commands {
                match command {
                    Command::Enter(place, host) => self.enter(place, host),
                    Command::Watch { id, place, target, published } => self.add(id, place, target, published),
                    Command::Forget(id) => self.forget(id),
                    Command::Exit => return,
                }
            }
            let now_ns = SystemClock.monotonic();
            for at in 0..self.followed.len() {
                if self.followed[at].due_ns <= now_ns {
                    self.look(at, now_ns);
                }
            }
            let due_ns = self.followed.iter().map(|followed| followed.due_ns).min();
            if self.poll.wait(&mut self.events, due_ns, SystemClock.monotonic()).is_err() {
                return;
            }
            self.hear();
        }
    }

    fn enter(&mut self, place: Place, host: Box<Host>) {
        if let Some((_, known)) = self.hosts.get_mut(&place) {
            // The sockets that are there do.
            known.asked_by.retain(|asker| asker.strong_count() > 0);
            known.asked_by.extend(host.asked_by);
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        // A socket that epoll refuses leaves the periodical look.
        let _ = self.poll.add(host.changes.fd(), token);
        self.hosts.insert(place, (token, host));
    }

    fn add(&mut self, id: u64, place: Place, target: Target, published: Arc<Published>) {
        // At once: it may have changed since it was resolved.
        self.followed.push(Followed {
            id,
            place,
            target,
            published,
            due_ns: 0,
            last_ns: 0,
            nudged_ns: 0,
            interface: 0,
            neighbour: None,
        });
    }

    fn forget(&mut self, id: u64) {
        self.followed.retain(|followed| followed.id != id);
        let followed = &self.followed;
        // Closing takes a socket out of epoll.
        self.hosts.retain(|place, (_, host)| {
            let asked = host.asked_by.iter().any(|asker| asker.strong_count() > 0);
            asked || followed.iter().any(|followed| followed.place == *place)
        });
    }

    /// Resolves one next hop again.
    fn look(&mut self, at: usize, now_ns: i64) {
        let followed = &mut self.followed[at];
        followed.last_ns = now_ns;
        followed.due_ns = now_ns + LOOK_AGAIN_NS;
        let Some((_, host)) = self.hosts.get_mut(&followed.place) else { return };
        let state = resolve::resolve(&mut host.kernel, &followed.target);
        (followed.interface, followed.neighbour) = match &state {
            Ok(hop) => (hop.interface, Some(hop.neighbour)),
            Err(Missing::Neighbour(neighbour, _)) => (neighbour.interface, Some(*neighbour)),
            Err(_) => (0, None),
        };
        if state.is_err() {
            followed.due_ns = now_ns + ASK_AGAIN_NS;
        }
        if state.as_ref().map_or(true, |hop| hop.stale) {
            followed.nudge(host, now_ns);
        }
        // That a neighbour is stale is ours to mend, and changes nothing for who sends.
        followed.published.publish(&state.map(|hop| Hop { stale: false, ..hop }));
    }

    /// Takes notices, and has what they concern resolved again.
    fn hear(&mut self) {
        let ready: Vec<u64> = self.events.iter().map(|event| event.token).collect();
        let Self { hosts, followed, .. } = self;
        for (place, (token, host)) in hosts {
            if !ready.contains(token) {
                continue;
            }
            let mut concerned = |wanted: &dyn Fn(&Followed) -> bool| {
                for followed in followed.iter_mut().filter(|followed| followed.place == *place && wanted(followed)) {
                    followed.due_ns = followed.due_ns.min(followed.last_ns + PACE_NS);
                }
            };
            let mut taken = 0;
            loop {
                match host.changes.receive() {
                    Ok([]) => break,
                    Ok(octets) if taken < NOTICES_AT_ONCE => {
                        for (_, message) in messages(octets) {
                            concerned(&|followed| followed.concerns(&message));
                        }
                    }
                    // Too many to be looked at one by one, or some were lost (ENOBUFS).
                    _ => concerned(&|_| true),
                }
                taken += 1;
                if taken > 4 * NOTICES_AT_ONCE {
                    break;
                }
            }
        }
    }
}
