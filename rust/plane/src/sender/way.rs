//! How a session's packets leave, and where its stamps and replies come back: one socket, or more where the path asks for it.
//!
//! - As routed: one connected UDP socket does everything.
//! - `SRv6`: the same, with a routing header on the socket.
//! - Whole frames: a packet socket sends and has the departures' stamps; replies and ICMP errors come to the UDP socket.
//! - A member link of a LAG: the same, and another packet socket sees which replies come by it.
//! - Replies to another address of this host: a second UDP socket there, on the same port. A Session-Reflector that does not
//!   obey replies to the first.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::time::Duration;

use twoway_wire::WallNanos;
use twoway_wire::srv6::routing_header;

use super::event::Event;
use super::frames::Frames;
use crate::error::PlaneError;
use crate::members::MemberLinks;
use crate::next_hop::NextHops;
use crate::path::{ForwardPath, FramePath};
use crate::sys::{Outgoing, SendBatch, SocketRequest, UdpSocket, probe};

/// How often a session whose interface went away tries to bind to it again.
const REBIND_NS: i64 = 500_000_000;

/// What a return path means for this end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WayBackHere {
    /// Another address of ours that replies go to.
    pub(super) address: Option<IpAddr>,
    /// They come with a routing header, unless somebody removes it.
    pub(super) segments: bool,
    /// They must come by the link that frames leave by (RFC 9534 section 3.2).
    pub(super) same_link: bool,
}

/// Where replies come in that were asked to another address.
#[derive(Debug)]
struct Elsewhere {
    socket: UdpSocket,
    /// Datagrams that either socket has dropped, the first one's first.
    drops: [u32; 2],
}

/// One session's sockets.
#[derive(Debug)]
pub(super) struct Way {
    /// Connected to the Session-Reflector.
    socket: UdpSocket,
    /// Options that were obtained in lesser form.
    obtained: Vec<(&'static str, String)>,
    frames: Option<Box<Frames>>,
    elsewhere: Option<Box<Elsewhere>>,
    /// The link that replies must come by.
    member: Option<Box<MemberLinks>>,
    tend_after_ns: i64,
    /// Device that the socket is bound to.
    interface: Option<String>,
    rebind_after_ns: i64,
}

impl Way {
    /// Opens them, on a thread that is in the session's namespace. A next hop whose link-layer address is not known
    /// is waited for at most `patience`.
    pub(super) fn open(
        request: &SocketRequest,
        path: &ForwardPath,
        back: WayBackHere,
        longest_payload: usize,
        (next_hops, patience): (&NextHops, Duration),
    ) -> Result<Self, PlaneError> {
        path.check(request.local.is_ipv6())?;
        let mut request = request.clone();
        if let ForwardPath::Segments(segments) = path {
            request.routing_header =
                routing_header(segments).map_err(|error| PlaneError::refused("path", "", error.to_string()))?;
        }
        let socket = UdpSocket::open(&request)?;
        let frames = match path {
            ForwardPath::Frames(path) => {
                let ends = (socket.local(), request.peer.unwrap_or(request.local));
                let frames = Frames::open(&request, ends, path, longest_payload, (next_hops, patience))?;
                Some(Box::new(frames))
            }
            ForwardPath::Routed | ForwardPath::Segments(_) => None,
        };
        let mut obtained = socket.obtained.clone();
        if back.segments && probe::interfaces_that_take_segments().is_none_or(|names| names.is_empty()) {
            let lesser = "replies that still have their routing header are dropped here (net.ipv6.conf.*.seg6_enabled)";
            obtained.push(("return-path", lesser.to_owned()));
        }
        let elsewhere = match back.address {
            Some(address) if address != socket.local().ip() => {
                let local = SocketAddr::new(address, socket.local().port());
                let request = SocketRequest { local, routing_header: Vec::new(), ..request.clone() };
                Some(Box::new(Elsewhere { socket: UdpSocket::open(&request)?, drops: [0; 2] }))
            }
            _ => None,
        };
        let member = match path {
            ForwardPath::Frames(FramePath { interface: Some(name), .. }) if back.same_link => {
                Some(Box::new(MemberLinks::listen([&**name], socket.local().port())?))
            }
            _ => None,
        };
        let interface = request.interface;
        Ok(Self { socket, obtained, frames, elsewhere, member, tend_after_ns: 0, interface, rebind_after_ns: 0 })
    }

    /// Address and port that packets come from and replies go to.
    pub(super) fn local(&self) -> SocketAddr {
        self.socket.local()
    }

    /// Options that were obtained in lesser form.
    pub(super) fn obtained(&self) -> &[(&'static str, String)] {
        &self.obtained
    }

    /// Sends datagrams to the Session-Reflector; as [`SendBatch::send`].
    #[inline]
    pub(super) fn send(&mut self, batch: &mut SendBatch, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        match &mut self.frames {
            None => batch.send(self.socket.fd(), datagrams),
            Some(frames) => frames.send(batch, datagrams),
        }
    }

    /// Where replies come in: at the first of them, unless they were asked to another address.
    #[inline]
    pub(super) fn arrivals(&self) -> impl Iterator<Item = RawFd> + use<> {
        std::iter::once(self.socket.fd()).chain(self.elsewhere.as_ref().map(|elsewhere| elsewhere.socket.fd()))
    }

    /// Sockets whose error queues have stamps and errors; to be waited for, too.
    #[inline]
    pub(super) fn queues(&self) -> impl Iterator<Item = RawFd> + use<> {
        self.arrivals().chain(self.frames.as_ref().map(|frames| frames.fd()))
    }

    /// Replies were taken off a socket: before [`Self::strayed`] is asked about them.
    #[inline]
    pub(super) fn taken(&mut self, now_ns: i64) {
        if let Some(member) = &mut self.member {
            if now_ns >= self.tend_after_ns {
                self.tend_after_ns = now_ns + REBIND_NS;
                member.tend();
            }
            member.gather();
        }
    }

    /// Whether a reply came by another link than it had to.
    #[inline]
    pub(super) fn strayed(&mut self, source: Option<SocketAddr>, octets: &[u8]) -> bool {
        let Some(member) = &mut self.member else { return false };
        source.is_some_and(|source| member.came_by(source, octets).is_none()) && !member.is_blind()
    }

    /// Datagrams that all sockets have dropped so far, where the one that replies come in at says `drops` of itself.
    #[inline]
    pub(super) fn drops(&mut self, fd: RawFd, drops: Option<u32>) -> Option<u32> {
        let (Some(elsewhere), Some(drops)) = (&mut self.elsewhere, drops) else { return drops };
        elsewhere.drops[usize::from(fd != self.socket.fd())] = drops;
        Some(elsewhere.drops[0].wrapping_add(elsewhere.drops[1]))
    }

    /// What to say of a packet that was refused with `errno`. A device that was taken away and came back has another index:
    /// the socket binds to its name again. Frames name theirs each time.
    pub(super) fn refused(&mut self, errno: i32, wall: WallNanos, now_ns: i64) -> Event {
        if let Some(interface) = &self.interface
            && matches!(errno, libc::ENODEV | libc::ENXIO)
            && now_ns >= self.rebind_after_ns
        {
            self.rebind_after_ns = now_ns + REBIND_NS;
            // Still gone: the next refused packet tries again.
            let _ = self.socket.bind_to_interface(interface);
        }
        Event::refused(wall, errno, self.frames.is_some())
    }
}
