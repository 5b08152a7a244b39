//! By which member link of a LAG a datagram came (RFC 9534 section 3.2): a UDP socket knows of the LAG alone.
//!
//! Theory of operation. A [`PacketTap`] on each member sees a datagram before the UDP socket has it. So whoever has taken
//! datagrams off that socket [gathers](MemberLinks::gather) what the taps have, and finds each of them among it by where it
//! came from, its length and its first octets. What is not found came by no member, unless a tap had no room for it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::PlaneError;
use crate::sys::{PacketTap, ReceiveBatch, TAP_HEAD};

/// Heads taken in one call.
const BATCH: usize = 64;
/// Calls to read one tap before datagrams are looked after again.
const ROUNDS: usize = 16;
/// Datagrams that were seen and not asked for yet; what the UDP socket refused stays among them until it is old.
const KEPT: usize = 1024;
/// Octets of UDP payload by which datagrams are told apart: numbers and times.
const PREFIX: usize = 32;
/// A header of UDP.
const UDP_HEADER: usize = 8;

/// What a datagram is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    /// Without a zone, which a frame does not have.
    source: (IpAddr, u16),
    /// Octets of UDP payload.
    len: usize,
    /// The first of them, zeros behind what there is.
    prefix: [u8; PREFIX],
}

impl Identity {
    fn new(source: (IpAddr, u16), len: usize, payload: &[u8]) -> Self {
        let mut prefix = [0; PREFIX];
        let payload = &payload[..payload.len().min(len).min(PREFIX)];
        prefix[..payload.len()].copy_from_slice(payload);
        Self { source, len, prefix }
    }

    /// Of the head of a datagram, from its IP header on.
    fn of_head(head: &[u8]) -> Option<Self> {
        let (source, header) = match head.first()? >> 4 {
            4 => {
                let octets = *head.get(12..)?.first_chunk::<4>()?;
                (IpAddr::from(Ipv4Addr::from(octets)), usize::from(head[0] & 0x0f) * 4)
            }
            6 => {
                let octets = *head.get(8..)?.first_chunk::<16>()?;
                (IpAddr::from(Ipv6Addr::from(octets)), 40)
            }
            _ => return None,
        };
        let udp = head.get(header..)?;
        let port = u16::from_be_bytes([*udp.first()?, *udp.get(1)?]);
        let len = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
        Some(Self::new((source, port), len.checked_sub(UDP_HEADER)?, udp.get(UDP_HEADER..)?))
    }
}

/// A member link.
struct Member {
    name: String,
    tap: PacketTap,
    /// Number of the interface; 0 while it is away.
    interface: u32,
}

impl Member {
    /// Listens again after the interface was away.
    fn tend(&mut self) {
        if self.interface == 0 {
            self.interface = self.tap.listen_at(&self.name).unwrap_or(0);
        }
    }
}

/// What came in by member links at one UDP port.
pub(crate) struct MemberLinks {
    members: Vec<Member>,
    batch: ReceiveBatch,
    seen: VecDeque<(Identity, u32)>,
}

impl std::fmt::Debug for MemberLinks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.members.iter().map(|member| &member.name)).finish()
    }
}

impl MemberLinks {
    /// Listens at these interfaces of the namespace that the calling thread is in, for datagrams to `port`. One that is
    /// away is listened at as soon as it is there and [`Self::tend`] is called.
    pub(crate) fn listen<'a>(names: impl IntoIterator<Item = &'a str>, port: u16) -> Result<Self, PlaneError> {
        let mut members = Vec::new();
        for name in names {
            let mut member = Member { name: name.to_owned(), tap: PacketTap::open(port)?, interface: 0 };
            member.tend();
            members.push(member);
        }
        Ok(Self { members, batch: ReceiveBatch::new(BATCH, TAP_HEAD), seen: VecDeque::with_capacity(KEPT) })
    }

    /// Listens again at interfaces that were away and are there.
    pub(crate) fn tend(&mut self) {
        self.members.iter_mut().for_each(Member::tend);
    }

    /// Takes what has come in by now.
    pub(crate) fn gather(&mut self) {
        for member in &mut self.members {
            for _ in 0..ROUNDS {
                let Ok(count) = self.batch.receive(member.tap.fd(), 0) else {
                    // The interface went away, and the kernel says so once.
                    member.interface = 0;
                    break;
                };
                for slot in 0..count {
                    let Some(identity) = Identity::of_head(self.batch.octets(slot)) else { continue };
                    if self.seen.len() >= KEPT {
                        self.seen.pop_front();
                    }
                    self.seen.push_back((identity, member.interface));
                }
                if !self.batch.filled() {
                    break;
                }
            }
        }
    }

    /// Number of the member that a datagram came by which was taken off the UDP socket before the last call of
    /// [`Self::gather`].
    pub(crate) fn came_by(&mut self, source: SocketAddr, payload: &[u8]) -> Option<u32> {
        // What was gathered last is asked for; what stays unasked for is older.
        let wanted = Identity::new((source.ip(), source.port()), payload.len(), payload);
        let at = self.seen.iter().rposition(|(identity, _)| *identity == wanted)?;
        self.seen.remove(at).map(|(_, interface)| interface)
    }

    /// Whether something may have come in by a member that is not known of: it was away, or its tap had no room.
    pub(crate) fn is_blind(&self) -> bool {
        self.members.iter().any(|member| member.interface == 0 || member.tap.dropped() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(v6: bool, payload: &[u8]) -> Vec<u8> {
        let udp_len = (UDP_HEADER + payload.len()) as u16;
        let mut octets = if v6 {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
            header.extend(Ipv6Addr::LOCALHOST.octets());
            header.extend(Ipv6Addr::UNSPECIFIED.octets());
            header
        } else {
            let mut header = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
            header.extend([192, 0, 2, 1, 192, 0, 2, 2, 1, 1, 1, 0]);
            header
        };
        octets.extend(5000u16.to_be_bytes());
        octets.extend(862u16.to_be_bytes());
        octets.extend(udp_len.to_be_bytes());
        octets.extend([0, 0]);
        octets.extend(payload);
        octets.truncate(TAP_HEAD);
        octets
    }

    #[test]
    fn a_datagram_is_known_by_its_head() {
        for (v6, source) in [(false, "192.0.2.1:5000"), (true, "[::1]:5000")] {
            let source: SocketAddr = source.parse().unwrap();
            for len in [0, 1, 31, 32, 33, 44, 1400] {
                let payload: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_add(1)).collect();
                let identity = Identity::of_head(&head(v6, &payload)).unwrap();
                assert_eq!(identity, Identity::new((source.ip(), source.port()), len, &payload));
                let other = SocketAddr::new(source.ip(), 5001);
                assert_ne!(identity, Identity::new((other.ip(), other.port()), len, &payload));
            }
        }
    }

    #[test]
    fn no_octets_are_too_odd() {
        let whole = head(false, &[7; 44]);
        for end in 0..whole.len() {
            let known = Identity::of_head(&whole[..end]);
            assert!(end >= 32 || known.is_none(), "{end}");
        }
        for first in 0..=u8::MAX {
            for len in [1, 8, 28, 48, TAP_HEAD] {
                let mut octets = vec![0xff; len];
                octets[0] = first;
                Identity::of_head(&octets);
            }
        }
    }
}
