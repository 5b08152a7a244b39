//! A running Session-Reflector: its parts around the engine (`session_reflector`), and the threads that own the sockets.
//!
//! [`Reflector::open`] checks the specification whole and opens every socket, so that every refusal is known before
//! anything runs. [`Reflector::start`] gives each worker its thread. A worker has one socket and waits in the call that
//! receives: one system call fewer per packet than with epoll, and the shortest way from arrival to answer. So each
//! listening address has its own workers; if more than one, they share its port (`SO_REUSEPORT`), and the kernel spreads
//! flows among them, so that a test-session stays with one.

pub mod allow;
pub mod arrivals;
mod bursts;
pub mod control;
pub mod counters;
pub mod departure;
pub mod dispositions;
pub mod extensions;
mod headers;
pub mod interfaces;
pub mod keys;
pub mod limits;
pub mod routes;
pub mod sessions;
pub mod spec;
pub mod stamps;
pub mod steering;
mod worker;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, JoinHandle};

use twoway_wire::StampKey;

use self::arrivals::Capture;
use self::counters::{OwnCounter, Rules, WorkerShared};
use self::dispositions::Disposition;
use self::extensions::TlvPolicy;
use self::limits::RateLimits;
use self::sessions::{SessionBudget, SessionTable};
pub use self::spec::{ControlSpec, ReflectorSpec, TlvSpec};
use self::steering::{Steering, Ways};
use self::worker::{Listener, Worker};
use crate::clock::Clock;
use crate::distribution::Distribution;
use crate::error::PlaneError;
use crate::members::MemberLinks;
use crate::next_hop::NextHops;
use crate::next_hop::kernel::Kernel;
use crate::next_hop::resolve::Tables;
use crate::session_reflector::{KEYS_PER_SSID, KeyRing, ReflectorKey, ReflectorPolicy, SessionReflector, TooManyKeys};
use crate::sys::{SocketRequest, SystemClock, TimestampMode, UdpSocket, in_namespace};

/// TTL or hop limit of replies (RFC 5357 section 4.2.1).
const REPLY_TTL: u8 = 255;
/// Most test-sessions that a reflector can be told to keep: address space for them is reserved when it opens.
pub const SESSIONS_MAX: u32 = 1 << 24;
/// The names that [`Reflector::distribution`] knows.
pub const DISTRIBUTIONS: [&str; 2] = ["transmit_prediction_error", "residence"];
/// The names of [`Reflector::own_counters`] beside those of [`OwnCounter`].
pub const OWN_GAUGES: [&str; 3] = ["sessions", "larger_replies", "workers_running"];

/// A Session-Reflector with its sockets open, and from `start` to `stop` its threads running.
pub struct Reflector {
    opened: Vec<Worker>,
    running: Vec<JoinHandle<()>>,
    shared: Vec<Arc<WorkerShared>>,
    budget: Option<Arc<SessionBudget>>,
    limits: Arc<RateLimits>,
    local_addresses: Vec<SocketAddr>,
    obtained: Vec<(&'static str, String)>,
    /// Of replies under labels; its thread starts with the first worker that may be asked for one.
    next_hops: Arc<NextHops>,
}

impl Reflector {
    /// Opens and binds all sockets. The error names the field that cannot be honoured, or the operation that failed.
    pub fn open(spec: &ReflectorSpec) -> Result<Self, PlaneError> {
        let listen = listening_addresses(spec)?;
        let policy = policy(spec)?;
        for (field, refused, why) in [
            ("workers", spec.workers == 0, "at least one is needed"),
            ("session-timeout", spec.stateful && spec.session_timeout_ns == 0, "test-sessions would end at once"),
            ("max-sessions", spec.stateful && spec.max_sessions == 0, "a stateful reflector needs room for one"),
            ("max-sessions", spec.stateful && spec.max_sessions > SESSIONS_MAX, "more than 16777216"),
            ("dscp", spec.dscp.is_some_and(|dscp| dscp > 63), "a DSCP has six bits"),
            (
                "control-allow",
                spec.asks_in_vain(),
                "several replies are sent to holders of a key, and there are no keys",
            ),
            ("control-allow", spec.counts_nothing(), "several replies need a stateful reflector (RFC 10052 section 5)"),
        ] {
            if refused {
                return Err(PlaneError::refused("reflector", field, why));
            }
        }
        let sockets = in_namespace(spec.netns.as_deref(), || open_sockets(spec, &listen))?;
        let local_addresses: Vec<_> = sockets[0].iter().map(UdpSocket::local).collect();
        let mut obtained: Vec<_> = sockets.iter().flatten().flat_map(|socket| socket.obtained.clone()).collect();
        if spec.timestamps == TimestampMode::Hardware {
            obtained
                .push(("timestamps", "kernel (T3 is predicted on the system clock, so T2 must be on it too)".into()));
        }
        obtained.sort_unstable();
        obtained.dedup();
        let policy = Arc::new(ReflectorPolicy { listening: local_addresses.clone(), ..policy });
        let limits = Arc::new(RateLimits::new(spec.rate_limit, spec.rate_limit_per_source));
        let budget = spec.stateful.then(|| Arc::new(SessionBudget::new(spec.max_sessions)));
        let interface: Option<Arc<str>> = spec.interface.as_deref().map(Into::into);
        let netns: Option<Arc<str>> = spec.netns.as_deref().map(Into::into);
        let stamped = spec.timestamps != TimestampMode::User;
        let mut reflector = Self {
            opened: Vec::new(),
            running: Vec::new(),
            shared: Vec::new(),
            budget,
            limits: Arc::clone(&limits),
            local_addresses,
            obtained,
            next_hops: Arc::default(),
        };
        for socket in sockets.into_iter().flatten() {
            let address = socket.local();
            let shared = Arc::new(WorkerShared::default());
            let table =
                reflector.budget.as_ref().map(|budget| SessionTable::new(Arc::clone(budget), spec.session_timeout_ns));
            let engine = SessionReflector::new(Arc::clone(&policy), Arc::clone(&limits), table);
            let mut listener = Listener::new(socket, interface.clone(), netns.clone(), stamped, dscp_ecn(spec));
            listener.members = member_links(spec, address.port())?;
            let steering = Steering::new(reflector.ways(spec)?);
            let capture = reflector.capture(&policy, spec.netns.as_deref(), address)?;
            let worker = Worker::new(listener, engine, steering, capture, Arc::clone(&shared))
                .map_err(|error| PlaneError::system("bound wait", address, &error))?;
            reflector.shared.push(shared);
            reflector.opened.push(worker);
        }
        Ok(reflector)
    }

    /// What a worker needs for the return paths of others, if anybody may ask for one. Who may, and cannot be answered so, gets
    /// the U flag (RFC 9503 section 4).
    fn ways(&mut self, spec: &ReflectorSpec) -> Result<Option<Ways>, PlaneError> {
        let Some(tlvs) = &spec.tlvs else { return Ok(None) };
        let listed = !tlvs.return_paths_allow.is_empty();
        let proved = tlvs.return_paths_authenticated && !spec.keys.is_empty();
        // RFC 9534: replies take the member link that their requests came by.
        if !listed && !proved && tlvs.micro_sessions.is_empty() {
            return Ok(None);
        }
        let ways = in_namespace(spec.netns.as_deref(), || Ways::open(&self.next_hops))?;
        let lesser = ("return-paths", "not by SR-MPLS labels, which need CAP_NET_RAW".to_owned());
        if listed && !ways.has_frames() && !self.obtained.contains(&lesser) {
            self.obtained.push(lesser);
        }
        Ok(Some(ways))
    }

    /// What a worker needs to tell how requests came in, where TLVs may ask for that. Who asks, and cannot be told, gets the C
    /// flag, or no MAC address.
    fn capture(
        &mut self,
        policy: &ReflectorPolicy,
        netns: Option<&str>,
        local: SocketAddr,
    ) -> Result<Option<Capture>, PlaneError> {
        if !policy.tlvs.as_ref().is_some_and(TlvPolicy::wants_arrivals) {
            return Ok(None);
        }
        let open = || Capture::open(local).map_err(|error| PlaneError::system("watch arrivals", local, &error));
        match in_namespace(netns, open) {
            Ok(capture) => Ok(Some(capture)),
            Err(error) if matches!(error.errno, libc::EPERM | libc::EACCES | libc::EAFNOSUPPORT) => {
                let lesser = ("headers", "not told, nor MAC addresses: that needs CAP_NET_RAW".to_owned());
                if !self.obtained.contains(&lesser) {
                    self.obtained.push(lesser);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives each worker its thread. Does nothing when they have theirs.
    pub fn start(&mut self) -> Result<(), PlaneError> {
        for worker in self.opened.drain(..) {
            let name = format!("reflector-{}", self.running.len());
            let thread = Builder::new().name(name.clone()).spawn(move || worker.run());
            self.running.push(thread.map_err(|error| PlaneError::system("start thread", name, &error))?);
        }
        Ok(())
    }

    /// Goes by the keys, the allow list, the rate limits and the need of authentication of `spec` from the next packet on.
    /// Test-sessions go on with their numbers, and counters with their counts; further replies that were to follow do not. All
    /// else in `spec` has to be as it was, and that there are keys at all. Refused as by [`Self::open`]; then nothing has changed.
    pub fn change(&mut self, spec: &ReflectorSpec) -> Result<(), PlaneError> {
        let policy = Arc::new(ReflectorPolicy { listening: self.local_addresses.clone(), ..policy(spec)? });
        let limits = RateLimits::new(spec.rate_limit, spec.rate_limit_per_source);
        if !limits.are_as(&self.limits) {
            self.limits = Arc::new(limits);
        }
        for shared in &self.shared {
            shared.change(Rules { policy: Arc::clone(&policy), limits: Arc::clone(&self.limits) });
        }
        Ok(())
    }

    /// Addresses listened on, with the ports that the kernel chose.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.local_addresses
    }

    /// What was asked but obtained in lesser form: (option, what stands instead).
    pub fn obtained(&self) -> &[(&'static str, String)] {
        &self.obtained
    }

    /// Packets by disposition.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Disposition::ALL.iter().map(|disposition| (disposition.name(), self.count_of(*disposition)))
    }

    /// The reflector's own state by name.
    pub fn own_counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let running = self.shared.iter().filter(|shared| shared.running.load(Relaxed)).count() as u64;
        let sessions = self.budget.as_ref().map_or(0, |budget| u64::from(budget.used()));
        let gauges = [sessions, self.count_of(Disposition::ReflectedLarger), running];
        OwnCounter::ALL
            .iter()
            .map(|counter| (counter.name(), self.shared.iter().map(|shared| shared.get(*counter)).sum()))
            .chain(OWN_GAUGES.into_iter().zip(gauges))
    }

    /// One of [`DISTRIBUTIONS`], merged over the workers; `None` for another name.
    pub fn distribution(&self, name: &str) -> Option<Distribution> {
        let mut merged = Distribution::default();
        for shared in &self.shared {
            // A worker that panicked while it recorded leaves what it had recorded before.
            let measured = shared.measured.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            merged.merge(match name {
                "transmit_prediction_error" => &measured.transmit_prediction_error,
                "residence" => &measured.residence,
                _ => return None,
            });
        }
        Some(merged)
    }

    /// Answers what is already queued for at most `drain_ns`, then ends the workers and closes the sockets. Idempotent.
    pub fn stop(&mut self, drain_ns: u64) {
        let now_ns = SystemClock.monotonic();
        let stop_by_ns = now_ns.saturating_add(i64::try_from(drain_ns).unwrap_or(i64::MAX)).max(1);
        for shared in &self.shared {
            shared.stop_by_ns.store(stop_by_ns, Relaxed);
        }
        self.opened.clear();
        for thread in self.running.drain(..) {
            // A worker that panicked has ended too; `workers_running` has said so.
            let _ = thread.join();
        }
    }

    fn count_of(&self, disposition: Disposition) -> u64 {
        self.shared.iter().map(|shared| shared.dispositions.get(disposition)).sum()
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop(0);
    }
}

/// What tells by which member of a LAG requests to `port` come, if there are members and they can be listened at.
fn member_links(spec: &ReflectorSpec, port: u16) -> Result<Option<MemberLinks>, PlaneError> {
    let members = spec.tlvs.as_ref().map_or(&[][..], |tlvs| &tlvs.micro_sessions);
    if members.is_empty() {
        return Ok(None);
    }
    in_namespace(spec.netns.as_deref(), || {
        let opened = MemberLinks::listen(members.iter().map(|(name, _)| &**name), port);
        let forbidden =
            opened.as_ref().is_err_and(|error| matches!(error.errno, libc::EPERM | libc::EACCES | libc::EAFNOSUPPORT));
        // The socket itself knows its interface, unless that is a member of another.
        let mut kernel = Kernel::open()?;
        let mut link = |name: &str| kernel.link_named(name).ok();
        let within = members.iter().any(|(name, _)| link(name).is_some_and(|link| link.master != 0));
        if forbidden && !within { Ok(None) } else { opened.map(Some) }
    })
}

/// The octet that sockets send with: the DSCP of the specification, or CS0 where the request's is echoed.
fn dscp_ecn(spec: &ReflectorSpec) -> u8 {
    spec.dscp.unwrap_or(0) << 2
}

fn listening_addresses(spec: &ReflectorSpec) -> Result<Vec<SocketAddr>, PlaneError> {
    let mut seen = HashSet::new();
    let addresses: Vec<_> = spec
        .listen
        .iter()
        .map(|&(ip, port, scope_id)| match ip {
            IpAddr::V4(ip) => SocketAddr::from((ip, port)),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope_id)),
        })
        .collect();
    if addresses.is_empty() {
        return Err(PlaneError::refused("reflector", "listen", "at least one address is needed"));
    }
    // SO_REUSEPORT would take the same address twice without a word.
    match addresses.iter().find(|address| address.port() != 0 && !seen.insert(**address)) {
        Some(twice) => Err(PlaneError::refused("listen", twice, "is given twice")),
        None => Ok(addresses),
    }
}

/// Whom it answers and how, but for where it listens.
fn policy(spec: &ReflectorSpec) -> Result<ReflectorPolicy, PlaneError> {
    if spec.require_authentication && spec.keys.is_empty() {
        return Err(PlaneError::refused("reflector", "require-authentication", "there are no keys"));
    }
    Ok(ReflectorPolicy {
        listening: Vec::new(),
        allow: spec::allow_list("allow", &spec.allow)?,
        require_authentication: spec.require_authentication,
        larger_replies: spec.larger_replies,
        tlvs: spec.tlvs.as_ref().map(TlvSpec::policy).transpose()?,
        dscp_ecn_monitoring: spec.dscp_ecn_monitoring,
        dscp: spec.dscp,
        keys: keys(spec)?,
    })
}

fn keys(spec: &ReflectorSpec) -> Result<KeyRing, PlaneError> {
    let mut keys = Vec::with_capacity(spec.keys.len());
    for (key_id, ssid, octets) in &spec.keys {
        let key = StampKey::new(octets).map_err(|error| PlaneError::refused("keys", key_id, error.to_string()))?;
        keys.push(ReflectorKey { ssid: *ssid, key });
    }
    KeyRing::new(keys).map_err(|TooManyKeys(ssid)| {
        let ssid = ssid.map_or_else(|| "any SSID".into(), |ssid| format!("SSID {ssid}"));
        PlaneError::refused("keys", ssid, format!("has more than {KEYS_PER_SSID} keys"))
    })
}

/// One socket for each listening address, for each worker.
fn open_sockets(spec: &ReflectorSpec, listen: &[SocketAddr]) -> Result<Vec<Vec<UdpSocket>>, PlaneError> {
    let request = |local: SocketAddr, reuse_port| SocketRequest {
        local,
        peer: None,
        interface: spec.interface.clone(),
        reuse_port,
        ttl: REPLY_TTL,
        dscp_ecn: dscp_ecn(spec),
        receive_buffer: spec.receive_buffer,
        timestamps: match spec.timestamps {
            TimestampMode::User => TimestampMode::User,
            TimestampMode::Kernel | TimestampMode::Hardware => TimestampMode::Kernel,
        },
        stamp_all: false,
        packet_info: local.ip().is_unspecified() || spec.tlvs.as_ref().is_some_and(TlvSpec::needs_interface),
        routing_header: Vec::new(),
    };
    let share = spec.workers > 1;
    let mut first = Vec::with_capacity(listen.len());
    for local in listen {
        // A port that somebody else shares would be shared with us too: ask for it alone once.
        let alone = UdpSocket::open(&request(*local, false))?;
        if share {
            let local = alone.local();
            drop(alone);
            first.push(UdpSocket::open(&request(local, true))?);
        } else {
            first.push(alone);
        }
    }
    let locals: Vec<_> = first.iter().map(UdpSocket::local).collect();
    let mut sockets = vec![first];
    for _ in 1..spec.workers {
        let more: Result<Vec<_>, _> = locals.iter().map(|local| UdpSocket::open(&request(*local, true))).collect();
        sockets.push(more?);
    }
    Ok(sockets)
}
