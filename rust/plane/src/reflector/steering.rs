//! Replies that take a path of their own: which can, and how they are sent (RFC 9503 section 4).
//!
//! - Another address, or the link of arrival: the listening socket does it, with another destination or a control message.
//!   Whether that link would be taken is asked of the kernel, which else sends by another without a word.
//! - `SRv6`: the listening socket, too, with a routing header on it for the length of one call. The kernel takes that header
//!   only as an option of the socket; a second socket on the same address and port would be given a share of the requests.
//! - SR-MPLS: a frame of our own through a packet socket ([`wire::frame`](twoway_wire::frame)), to the next hop on the way to
//!   the requester, which is asked for once and followed from then on ([`next_hop`](crate::next_hop)).
//!
//! What a request can make us do is bounded: so many segments, so many next hops kept, so many looked up in a second.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use twoway_wire::frame::LONGEST_HEADER;
use twoway_wire::mpls::{FIRST_ORDINARY_LABEL, LabelStackEntry};
use twoway_wire::srv6::append_routing_header;
use twoway_wire::tlv::{LabelStack, ReturnPath, SegmentList};
use twoway_wire::{FrameHeader, FrameSpec};

use super::REPLY_TTL;
use super::routes::{PlainRoutes, ReplyRoute, ReturnRoutes, RouteRequest};
use crate::clock::Clock;
use crate::error::PlaneError;
use crate::next_hop::{Asker, Hop, NextHops, Target, Watch};
use crate::sys::{
    Outgoing, PacketSocket, ReceiveBatch, Reply, SendBatch, SocketName, SystemClock, TimestampMode, UdpSocket,
};

/// Most segments or labels of a return path: each is work for a router, and one request can ask for all of it.
pub const LONGEST_RETURN_PATH: usize = 16;
/// Next hops of SR-MPLS replies that are kept, and links of arrival that are known to lead back.
const KEPT: usize = 256;
/// So many of either are looked up in a second at most: each takes some questions to the kernel.
const LOOKUPS_PER_SECOND: u32 = 64;
/// What is known of a link holds so long; a next hop that is to make room has not been used for so long.
const SECOND_NS: i64 = 1_000_000_000;
/// Explicit null of IPv4 and IPv6 (RFC 3032 section 2.1): has a meaning at the bottom of a stack.
const EXPLICIT_NULL: [u32; 2] = [0, 2];

/// What is needed to know the ways of replies, and to reply under a label stack.
pub(super) struct Ways {
    next_hops: Arc<NextHops>,
    asker: Asker,
    /// None: not without `CAP_NET_RAW`.
    frames: Option<PacketSocket>,
}

impl Ways {
    /// Opens the sockets, on a thread that is in the reflector's namespace.
    pub(super) fn open(next_hops: &Arc<NextHops>) -> Result<Self, PlaneError> {
        let frames = match PacketSocket::open(TimestampMode::User) {
            Ok(socket) => Some(socket),
            Err(error) if matches!(error.errno, libc::EPERM | libc::EACCES | libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { asker: next_hops.asker()?, next_hops: next_hops.clone(), frames })
    }

    /// Whether replies can go under labels.
    pub(super) fn has_frames(&self) -> bool {
        self.frames.is_some()
    }
}

/// Between which addresses a reply goes, and by which interface; 0 for whichever the kernel would choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    source: IpAddr,
    destination: IpAddr,
    interface: u32,
}

/// Whether replies leave by the link that their requests came in by.
struct KnownLink {
    way: Way,
    leads: bool,
    asked_ns: i64,
}

/// A next hop, towards one requester.
struct KnownHop {
    way: Way,
    watch: Watch,
    /// Number of the state that `hop` is.
    seen: u32,
    hop: Option<Hop>,
    used_ns: i64,
}

/// How one reply of the batch is sent.
#[derive(Clone, Debug)]
enum Steered {
    /// With a routing header, which stands here among the headers of the batch.
    Segments(Range<usize>),
    /// As a frame, under labels which stand here among those of the batch, from this address to that one, by this next hop.
    Frame { labels: Range<usize>, local: SocketAddr, destination: SocketAddr, hop: Hop },
}

/// Finds the routes of replies, and sends those that the listening socket cannot send as it is.
pub(super) struct Steering {
    /// None: nobody may ask for a path.
    ways: Option<Ways>,
    hops: Vec<KnownHop>,
    links: Vec<KnownLink>,
    /// Of the batch at hand; a [`ReplyRoute::Steered`] is a place in it.
    steered: Vec<Steered>,
    headers: Vec<u8>,
    stacks: Vec<u32>,
    sender: SendBatch,
    frame: Vec<u8>,
    /// What goes before the reply that was made ready for, and where to, if it goes as a frame.
    framed: Option<(FrameHeader, SocketName)>,
    lookups: u32,
    lookups_since_ns: i64,
}

impl Steering {
    pub(super) fn new(ways: Option<Ways>) -> Self {
        Self {
            ways,
            hops: Vec::new(),
            links: Vec::new(),
            steered: Vec::new(),
            headers: Vec::new(),
            stacks: Vec::new(),
            sender: SendBatch::new(1),
            frame: Vec::new(),
            framed: None,
            lookups: 0,
            lookups_since_ns: 0,
        }
    }

    /// Another batch begins: routes given before are no more.
    pub(super) fn clear(&mut self) {
        self.steered.clear();
        self.headers.clear();
        self.stacks.clear();
    }

    /// Whether some reply of the batch is steered.
    pub(super) fn is_used(&self) -> bool {
        !self.steered.is_empty()
    }

    fn keep(&mut self, steered: Steered, destination: SocketAddr) -> ReplyRoute {
        self.steered.push(steered);
        ReplyRoute::Steered { place: self.steered.len() as u16 - 1, destination }
    }

    fn by_segments(&mut self, list: SegmentList<'_>, request: &RouteRequest<'_>) -> Option<ReplyRoute> {
        let destination = request.destination();
        if list.len() > LONGEST_RETURN_PATH || !request.local.is_ipv6() || !destination.is_ipv6() {
            return None;
        }
        let begin = self.headers.len();
        append_routing_header(list.segments(), &mut self.headers).ok()?;
        Some(self.keep(Steered::Segments(begin..self.headers.len()), destination))
    }

    fn by_labels(&mut self, stack: LabelStack<'_>, request: &RouteRequest<'_>) -> Option<ReplyRoute> {
        let (local, destination) = (request.local, request.destination());
        if stack.len() > LONGEST_RETURN_PATH || destination.is_ipv4() != local.is_ipv4() {
            return None;
        }
        // The bottom is where the stack ends, whatever its bits say; Traffic Class and TTL are the reply's.
        let labels = stack.entries().map(|entry| LabelStackEntry::from_octets(entry.to_be_bytes()).label);
        let bottom = stack.len() - 1;
        let usable = |(place, label): (usize, u32)| {
            label >= FIRST_ORDINARY_LABEL || (place == bottom && EXPLICIT_NULL.contains(&label))
        };
        if !labels.clone().enumerate().all(usable) {
            return None;
        }
        let hop = self.hop(Way { source: local.ip(), destination: destination.ip(), interface: 0 })?;
        let begin = self.stacks.len();
        self.stacks.extend(labels);
        let labels = begin..self.stacks.len();
        Some(self.keep(Steered::Frame { labels, local, destination, hop }, destination))
    }

    /// The next hop on that way, if it is known.
    fn hop(&mut self, way: Way) -> Option<Hop> {
        let now_ns = SystemClock.monotonic();
        let place = match self.hops.iter().position(|known| known.way == way) {
            Some(place) => place,
            None => self.look_up(way, now_ns)?,
        };
        let known = &mut self.hops[place];
        known.used_ns = now_ns;
        if known.watch.published().changed(known.seen)
            && let Some((seen, state)) = known.watch.published().try_take()
        {
            known.seen = seen;
            known.hop = state.ok();
        }
        known.hop
    }

    /// Whether another question may be asked in this second.
    fn may_ask(&mut self, now_ns: i64) -> bool {
        if now_ns - self.lookups_since_ns >= SECOND_NS {
            (self.lookups, self.lookups_since_ns) = (0, now_ns);
        }
        self.lookups += 1;
        self.lookups <= LOOKUPS_PER_SECOND
    }

    fn look_up(&mut self, way: Way, now_ns: i64) -> Option<usize> {
        if self.ways.as_ref().is_none_or(|ways| !ways.has_frames()) || !self.may_ask(now_ns) {
            return None;
        }
        if self.hops.len() >= KEPT {
            let (oldest, known) = self.hops.iter().enumerate().min_by_key(|(_, known)| known.used_ns)?;
            if now_ns - known.used_ns < SECOND_NS {
                return None;
            }
            self.hops.swap_remove(oldest);
        }
        let ways = self.ways.as_mut()?;
        let interface = match way.interface {
            0 => None,
            number => Some(ways.asker.name_of(number)?),
        };
        let target = Target { destination: way.destination, source: Some(way.source), gateway: None, interface };
        // What cannot work is asked for again at the next request, within the bound above.
        let watch = ways.next_hops.watch(&mut ways.asker, target, Duration::ZERO).ok()?;
        self.hops.push(KnownHop { way, watch, seen: 0, hop: None, used_ns: now_ns });
        Some(self.hops.len() - 1)
    }

    /// The link of arrival: by the listening socket if the kernel would send by it a reply that is bound to it, which it does
    /// not for an IPv6 packet that has a better route elsewhere; else as a frame.
    fn by_link(&mut self, request: &RouteRequest<'_>) -> Option<ReplyRoute> {
        let (local, destination, interface) = (request.local, request.requester, request.link);
        if interface == 0 {
            return None;
        }
        let way = Way { source: local.ip(), destination: destination.ip(), interface };
        if self.leads(way)? {
            return Some(ReplyRoute::Link(interface));
        }
        let hop = self.hop(way)?;
        let labels = self.stacks.len()..self.stacks.len();
        Some(self.keep(Steered::Frame { labels, local, destination, hop }, destination))
    }

    /// Whether the kernel sends that way; `None` if that is not known, and must not be asked now.
    fn leads(&mut self, way: Way) -> Option<bool> {
        let now_ns = SystemClock.monotonic();
        let known = self.links.iter().position(|link| link.way == way);
        if let Some(at) = known
            && now_ns - self.links[at].asked_ns < SECOND_NS
        {
            return Some(self.links[at].leads);
        }
        if !self.may_ask(now_ns) {
            return None;
        }
        let leads = self.ways.as_mut()?.asker.leads_by(way.destination, way.source, way.interface);
        let link = KnownLink { way, leads, asked_ns: now_ns };
        if let Some(at) = known {
            self.links[at] = link;
        } else {
            if self.links.len() >= KEPT {
                // Old ones are of no use, and there are no more young ones than may be asked for.
                self.links.retain(|link| now_ns - link.asked_ns < SECOND_NS);
            }
            self.links.push(link);
        }
        Some(leads)
    }

    /// Makes ready all of the route at `place` that holds no time, for a reply from `source` (where that is not the address
    /// that the request was sent to) marked `dscp_ecn`. [`Self::send`] and [`Self::release`] follow.
    pub(super) fn prepare(
        &mut self,
        place: u16,
        listener: &UdpSocket,
        source: Option<IpAddr>,
        dscp_ecn: u8,
    ) -> io::Result<()> {
        match &self.steered[usize::from(place)] {
            Steered::Segments(header) => listener.set_routing_header(&self.headers[header.clone()]),
            Steered::Frame { labels, local, destination, hop } => {
                let spec = FrameSpec {
                    source_mac: hop.source_mac,
                    destination_mac: hop.mac,
                    labels: &self.stacks[labels.clone()],
                    source: SocketAddr::new(source.unwrap_or(local.ip()), local.port()),
                    destination: *destination,
                    dscp_ecn,
                    ttl: REPLY_TTL,
                };
                let header = FrameHeader::new(&spec).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
                let to = SocketName::link(hop.interface, header.ether_type(), hop.mac);
                self.framed = Some((header, to));
                Ok(())
            }
        }
    }

    /// Sends the reply that was made ready for, which lies in `batch`; as [`ReceiveBatch::reply`].
    pub(super) fn send(
        &mut self,
        listener: &UdpSocket,
        batch: &mut ReceiveBatch,
        replies: &mut [Reply],
    ) -> io::Result<usize> {
        let frames = self.ways.as_ref().and_then(|ways| ways.frames.as_ref());
        let (Some((header, to)), Some(socket), [reply, ..]) = (&self.framed, frames, &*replies) else {
            return batch.reply(listener.fd(), replies);
        };
        let octets = &batch.room(reply.slot)[..reply.len];
        self.frame.resize(LONGEST_HEADER + octets.len(), 0);
        let len = header.write(octets, &mut self.frame).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
        let frame = Outgoing { octets: &self.frame[..len], destination: Some(to), control: None };
        self.sender.send(socket.fd(), &[frame])
    }

    /// The next reply goes the ordinary way.
    pub(super) fn release(&mut self, listener: &UdpSocket) {
        if self.framed.take().is_none() {
            let cleared = listener.set_routing_header(&[]);
            debug_assert!(cleared.is_ok(), "{cleared:?}");
        }
    }
}

impl ReturnRoutes for Steering {
    fn route(&mut self, request: &RouteRequest<'_>) -> Option<ReplyRoute> {
        match request.path {
            ReturnPath::Srv6(list, _) => self.by_segments(list, request),
            ReturnPath::SrMpls(stack, _) => self.by_labels(stack, request),
            ReturnPath::SameLink => self.by_link(request),
            ReturnPath::NoReply | ReturnPath::Address(_) => PlainRoutes.route(request),
        }
    }
}
