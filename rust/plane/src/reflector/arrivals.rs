//! What requests looked like when they came in: their IP headers, and who sent them on the last link.
//!
//! Theory of operation. A UDP socket tells neither, so where an operator lets TLVs ask for them, a second socket is given
//! copies of what comes for the port ([`CaptureSocket`]), which are there before the datagrams are. They are taken over
//! before each batch and found again by source, length and the first octets of the payload; of equal ones the oldest is
//! meant. A copy that is missing (the kernel had no room for it) is no error: the TLV then comes back with the C flag.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use twoway_wire::IpHeaders;

use crate::sys::{CaptureSocket, LONGEST_CAPTURE, LinkAddress, ReceiveBatch};

/// Copies that wait to be looked for; the oldest goes when there are more.
const KEPT: usize = 1024;
/// Copies taken in one call, and calls before one batch.
const BATCH: usize = 64;
const ROUNDS: usize = KEPT / BATCH;

/// How one request came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Link-layer address of whoever sent it on its last link.
    pub last_hop: Option<LinkAddress>,
    /// Its headers.
    pub headers: &'a IpHeaders,
    /// The packet, at least up to the UDP header.
    pub packet: &'a [u8],
}

/// Knows how requests came in.
pub trait Arrivals {
    /// How the request came in that has this source and payload, if that is known. Each arrival is told once.
    fn of(&mut self, source: SocketAddr, payload: &[u8]) -> Option<Arrival<'_>>;
}

/// Knows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoArrivals;

impl Arrivals for NoArrivals {
    fn of(&mut self, _source: SocketAddr, _payload: &[u8]) -> Option<Arrival<'_>> {
        None
    }
}

/// A copy of a packet.
#[derive(Debug)]
struct Kept {
    source: (IpAddr, u16),
    last_hop: Option<LinkAddress>,
    headers: IpHeaders,
    octets: Vec<u8>,
}

impl Kept {
    /// Whether it is a copy of that datagram, as far as it goes.
    fn is(&self, source: SocketAddr, payload: &[u8]) -> bool {
        self.source == (source.ip(), source.port())
            && self
                .headers
                .payload(&self.octets)
                .is_some_and(|(announced, start)| announced == payload.len() && payload.starts_with(start))
    }
}

/// What is kept of the packets that came in.
#[derive(Debug, Default)]
struct Copies {
    kept: VecDeque<Kept>,
    told: Option<Kept>,
    /// Buffers of those that are no more.
    spare: Vec<Vec<u8>>,
}

impl Copies {
    fn take(&mut self, packet: &[u8], port: u16, last_hop: Option<LinkAddress>) {
        let Some(headers) = IpHeaders::find(packet) else { return };
        let (Some(source), Some(to)) = (headers.source(packet), headers.destination_port(packet)) else { return };
        if to != port {
            return;
        }
        if self.kept.len() == KEPT {
            self.spare.extend(self.kept.pop_front().map(|oldest| oldest.octets));
        }
        let mut octets = self.spare.pop().unwrap_or_default();
        octets.clear();
        octets.extend_from_slice(packet);
        self.kept.push_back(Kept { source, last_hop, headers, octets });
    }

    fn of(&mut self, source: SocketAddr, payload: &[u8]) -> Option<Arrival<'_>> {
        let at = self.kept.iter().position(|kept| kept.is(source, payload))?;
        let found = self.kept.remove(at)?;
        self.spare.extend(self.told.take().map(|told| told.octets));
        let Kept { last_hop, headers, octets, .. } = self.told.insert(found);
        Some(Arrival { last_hop: *last_hop, headers, packet: octets })
    }
}

/// What comes in for one port.
pub(super) struct Capture {
    socket: CaptureSocket,
    port: u16,
    batch: ReceiveBatch,
    copies: Copies,
}

impl Capture {
    /// Begins to watch; on a thread that is in the reflector's namespace.
    pub(super) fn open(local: SocketAddr) -> io::Result<Self> {
        let socket = CaptureSocket::open(local.is_ipv6(), local.port())?;
        let batch = ReceiveBatch::new(BATCH, LONGEST_CAPTURE);
        Ok(Self { socket, port: local.port(), batch, copies: Copies::default() })
    }

    /// Takes over what has come.
    pub(super) fn gather(&mut self) {
        for _ in 0..ROUNDS {
            let Ok(count) = self.batch.receive(self.socket.fd(), 0) else { return };
            for slot in 0..count {
                let last_hop = self.batch.link_address(slot);
                self.copies.take(self.batch.octets(slot), self.port, last_hop);
            }
            if !self.batch.filled() {
                return;
            }
        }
    }
}

/// What a worker knows of arrivals: nothing, unless it watches.
impl Arrivals for Option<Capture> {
    fn of(&mut self, source: SocketAddr, payload: &[u8]) -> Option<Arrival<'_>> {
        self.as_mut().and_then(|capture| capture.copies.of(source, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source_port: u16, port: u16, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0; 20];
        octets[0] = 0x45;
        octets[9] = 17;
        octets[12..16].copy_from_slice(&[192, 0, 2, 7]);
        octets.extend(source_port.to_be_bytes());
        octets.extend(port.to_be_bytes());
        octets.extend((payload.len() as u16 + 8).to_be_bytes());
        octets.extend([0, 0]);
        octets.extend(payload);
        octets
    }

    fn hop(value: u64) -> LinkAddress {
        LinkAddress { value, is_eui_64: false }
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 7], port))
    }

    #[test]
    fn a_copy_is_found_by_source_length_and_the_octets_that_it_has() {
        let mut copies = Copies::default();
        let payload: Vec<u8> = (0..200).collect();
        // The kernel copies the beginning.
        copies.take(&packet(40_000, 862, &payload)[..128], 862, Some(hop(1)));
        copies.take(&packet(40_000, 863, &payload), 862, Some(hop(2)));
        assert!(copies.of(from(40_001), &payload).is_none());
        assert!(copies.of(from(40_000), &payload[..199]).is_none());
        assert!(copies.of(from(40_000), &[9; 200]).is_none());
        let arrival = copies.of(from(40_000), &payload).expect("the copy");
        assert_eq!(arrival.last_hop, Some(hop(1)));
        assert_eq!(arrival.headers.of_kind(arrival.packet, false).next().map(<[u8]>::len), Some(20));
        assert!(copies.of(from(40_000), &payload).is_none(), "told once");
    }

    #[test]
    fn of_equal_ones_the_oldest_is_meant() {
        let mut copies = Copies::default();
        for value in 1..=2 {
            copies.take(&packet(7, 862, b"the same"), 862, Some(hop(value)));
        }
        for value in 1..=2 {
            assert_eq!(copies.of(from(7), b"the same").expect("a copy").last_hop, Some(hop(value)));
        }
    }

    #[test]
    fn so_many_are_kept_and_their_memory_is_used_again() {
        let mut copies = Copies::default();
        for number in 0..2 * KEPT as u32 {
            copies.take(&packet(7, 862, &number.to_be_bytes()), 862, None);
        }
        assert_eq!((copies.kept.len(), copies.spare.len()), (KEPT, 0));
        assert!(copies.of(from(7), &(KEPT as u32 - 1).to_be_bytes()).is_none());
        assert!(copies.of(from(7), &(KEPT as u32).to_be_bytes()).is_some());
        assert!(copies.of(from(7), &(KEPT as u32 + 1).to_be_bytes()).is_some());
        assert_eq!((copies.kept.len(), copies.spare.len()), (KEPT - 2, 1));
    }
}
