//! The kernel's routing tables, asked over rtnetlink, and neighbours nudged to say their addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::messages::{Link, Message, Neighbour, Request, Route, messages};
use super::resolve::{Question, Tables};
use crate::error::PlaneError;
use crate::sys::{Outgoing, RouteSocket, SendBatch, SendControl, SocketName, SocketRequest, TimestampMode, UdpSocket};

/// Parts of an answer that are read before it is given up: a list of interfaces has some hundred.
const MOST_PARTS: usize = 4096;
/// Longest name of an interface (`IFNAMSIZ`, less its NUL).
const LONGEST_NAME: usize = 15;
/// The port of the `discard` service: an answer is not expected.
const DISCARD: u16 = 9;
/// Receive buffer of a socket that is never read.
const LITTLE: usize = 4096;

/// The routing tables of one network namespace.
#[derive(Debug)]
pub struct Kernel {
    socket: RouteSocket,
    sequence: u32,
}

impl Kernel {
    /// Those of the namespace that the calling thread is in.
    pub fn open() -> Result<Self, PlaneError> {
        let socket = RouteSocket::for_questions()
            .map_err(|error| PlaneError::system("ask the routing tables", "(rtnetlink)", &error))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn ask(&mut self, request: impl FnOnce(u32) -> Request) -> io::Result<Message> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.socket.send(&request(self.sequence).octets())?;
        for _ in 0..MOST_PARTS {
            let octets = self.socket.receive()?;
            if octets.is_empty() {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            // Answers to earlier questions that came too late are passed over.
            if let Some((_, message)) = messages(octets).find(|(sequence, _)| *sequence == self.sequence) {
                return Ok(message);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EPROTO))
    }

    fn refusal(outcome: io::Result<Message>) -> i32 {
        match outcome {
            Ok(Message::Error(errno)) if errno != 0 => errno,
            Ok(_) => libc::EPROTO,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// The interfaces that are members of `whole` (a bond, a team or a bridge), by number. Errors are errnos.
    pub fn members(&mut self, whole: u32) -> Result<Vec<Link>, i32> {
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.socket.send(&Request::links(self.sequence).octets()).map_err(errno)?;
        let mut members = Vec::new();
        for _ in 0..MOST_PARTS {
            let octets = self.socket.receive().map_err(errno)?;
            if octets.is_empty() {
                return Err(libc::ETIMEDOUT);
            }
            for (sequence, message) in messages(octets) {
                match message {
                    _ if sequence != self.sequence => {}
                    Message::Link(link) if link.master == whole => members.push(link),
                    Message::Done => {
                        members.sort_by_key(|link| link.interface);
                        return Ok(members);
                    }
                    Message::Error(errno) if errno != 0 => return Err(errno),
                    _ => {}
                }
            }
        }
        Err(libc::EPROTO)
    }
}

impl Tables for Kernel {
    fn route(&mut self, destination: IpAddr, source: Option<IpAddr>, interface: u32) -> Result<Route, i32> {
        // Bound to an interface that no IPv4 route leads by, the kernel takes everybody for a neighbour on its link.
        for matched in if interface != 0 && destination.is_ipv4() { &[true, false][..] } else { &[false] } {
            match self.ask(|sequence| Request::route(sequence, destination, source, interface, *matched)) {
                Ok(Message::Route(_)) if *matched => {}
                Ok(Message::Route(route)) => return Ok(route),
                other => return Err(Self::refusal(other)),
            }
        }
        Err(libc::ENETUNREACH)
    }

    fn neighbour(&mut self, address: IpAddr, interface: u32) -> Result<Option<Neighbour>, i32> {
        match self.ask(|sequence| Request::neighbour(sequence, address, interface)) {
            Ok(Message::Neighbour(neighbour)) => Ok(Some(neighbour)),
            Ok(Message::Error(libc::ENOENT)) => Ok(None),
            other => Err(Self::refusal(other)),
        }
    }

    fn link(&mut self, interface: u32) -> Result<Link, i32> {
        match self.ask(|sequence| Request::link(sequence, interface)) {
            Ok(Message::Link(link)) => Ok(link),
            other => Err(Self::refusal(other)),
        }
    }

    fn link_named(&mut self, name: &str) -> Result<Link, i32> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            return Err(libc::ENODEV);
        }
        match self.ask(|sequence| Request::link_named(sequence, name)) {
            Ok(Message::Link(link)) => Ok(link),
            other => Err(Self::refusal(other)),
        }
    }
}

/// Makes the kernel ask a neighbour for its link-layer address: by a datagram to the neighbour's discard port that goes no
/// further than its link. A request to the kernel (`NTF_USE`) would need `CAP_NET_ADMIN`.
pub struct Nudge {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    batch: SendBatch,
}

impl Nudge {
    /// In the namespace that the calling thread is in. A family that the host has not is not nudged.
    pub fn open() -> Self {
        let open = |local: IpAddr| {
            let request = SocketRequest {
                local: SocketAddr::new(local, 0),
                peer: None,
                interface: None,
                reuse_port: false,
                ttl: 1,
                dscp_ecn: 0,
                receive_buffer: LITTLE,
                timestamps: TimestampMode::User,
                stamp_all: false,
                packet_info: false,
                routing_header: Vec::new(),
            };
            UdpSocket::open(&request).ok()
        };
        Self {
            v4: open(Ipv4Addr::UNSPECIFIED.into()),
            v6: open(Ipv6Addr::UNSPECIFIED.into()),
            batch: SendBatch::new(1),
        }
    }

    /// Nudges one neighbour. What comes of it the neighbour's entry tells.
    pub fn neighbour(&mut self, question: &Question) {
        let (socket, to, any) = match question.address {
            IpAddr::V4(v4) => (&self.v4, SocketAddr::from((v4, DISCARD)), Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(v6) => {
                let to = SocketAddrV6::new(v6, DISCARD, 0, question.interface);
                (&self.v6, SocketAddr::V6(to), IpAddr::from(Ipv6Addr::UNSPECIFIED))
            }
        };
        let Some(socket) = socket else { return };
        let mut control = SendControl::new();
        control.source(any, question.interface);
        let name = SocketName::new(&to);
        let datagram = Outgoing { octets: &[], destination: Some(&name), control: Some(&control) };
        // The first call may only report what became of an earlier nudge.
        for _ in 0..2 {
            if self.batch.send(socket.fd(), &[datagram]).is_ok() {
                break;
            }
        }
    }
}
