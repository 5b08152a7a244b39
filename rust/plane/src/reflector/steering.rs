//! Replies that take a path of their own: which can, and how they are sent (RFC 9503 section 4).
//!
//! - Another address, or the link of arrival: the listening socket does it, with another destination or a control message.
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
/// Next hops kept for SR-MPLS replies.
const HOPS_KEPT: usize = 256;
/// Next hops looked up in a second at most, since each takes some questions to the kernel.
const LOOKUPS_PER_SECOND: u32 = 64;
/// A next hop that is to make room has not been used for so long.
const IDLE_NS: i64 = 1_000_000_000;
/// `ETH_P_MPLS_UC` of `linux/if_ether.h`.
const MPLS: u16 = 0x8847;
/// Explicit null of IPv4 and IPv6 (RFC 3032 section 2.1): has a meaning at the bottom of a stack.
const EXPLICIT_NULL: [u32; 2] = [0, 2];

/// What is needed to reply under a label stack.
pub(super) struct Labels {
    socket: PacketSocket,
    next_hops: Arc<NextHops>,
    asker: Asker,
}

impl Labels {
    /// Opens the sockets, on a thread that is in the reflector's namespace. Needs `CAP_NET_RAW`.
    pub(super) fn open(next_hops: &Arc<NextHops>) -> Result<Self, PlaneError> {
        let socket = PacketSocket::open(TimestampMode::User)?;
        Ok(Self { socket, asker: next_hops.asker()?, next_hops: next_hops.clone() })
    }
}

/// A next hop, towards one requester.
struct KnownHop {
    source: IpAddr,
    destination: IpAddr,
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
    /// Under labels, which stand here among those of the batch, from this address to that one, by this next hop.
    Labels { labels: Range<usize>, local: SocketAddr, destination: SocketAddr, hop: Hop },
}

/// Finds the routes of replies, and sends those that the listening socket cannot send as it is.
pub(super) struct Steering {
    labels: Option<Labels>,
    hops: Vec<KnownHop>,
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
    pub(super) fn new(labels: Option<Labels>) -> Self {
        Self {
            labels,
            hops: Vec::new(),
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
        let hop = self.hop(local.ip(), destination.ip())?;
        let begin = self.stacks.len();
        self.stacks.extend(labels);
        let labels = begin..self.stacks.len();
        Some(self.keep(Steered::Labels { labels, local, destination, hop }, destination))
    }

    /// The next hop on the way to `destination`, if it is known.
    fn hop(&mut self, source: IpAddr, destination: IpAddr) -> Option<Hop> {
        let now_ns = SystemClock.monotonic();
        let place = self.hops.iter().position(|known| (known.source, known.destination) == (source, destination));
        let place = match place {
            Some(place) => place,
            None => self.look_up(source, destination, now_ns)?,
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

    fn look_up(&mut self, source: IpAddr, destination: IpAddr, now_ns: i64) -> Option<usize> {
        let labels = self.labels.as_mut()?;
        if now_ns - self.lookups_since_ns >= 1_000_000_000 {
            (self.lookups, self.lookups_since_ns) = (0, now_ns);
        }
        if self.lookups >= LOOKUPS_PER_SECOND {
            return None;
        }
        if self.hops.len() >= HOPS_KEPT {
            let (oldest, known) = self.hops.iter().enumerate().min_by_key(|(_, known)| known.used_ns)?;
            if now_ns - known.used_ns < IDLE_NS {
                return None;
            }
            self.hops.swap_remove(oldest);
        }
        self.lookups += 1;
        let target = Target { destination, source: Some(source), gateway: None, interface: None };
        // What cannot work is asked for again at the next request, within the bound above.
        let watch = labels.next_hops.watch(&mut labels.asker, target, Duration::ZERO).ok()?;
        self.hops.push(KnownHop { source, destination, watch, seen: 0, hop: None, used_ns: now_ns });
        Some(self.hops.len() - 1)
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
            Steered::Labels { labels, local, destination, hop } => {
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
                self.framed = Some((header, SocketName::link(hop.interface, MPLS, hop.mac)));
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
        let (Some((header, to)), Some(Labels { socket, .. }), [reply, ..]) = (&self.framed, &self.labels, &*replies)
        else {
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
            ReturnPath::NoReply | ReturnPath::SameLink | ReturnPath::Address(_) => PlainRoutes.route(request),
        }
    }
}
