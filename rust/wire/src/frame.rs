//! A whole frame around a test packet: Ethernet, a label stack, IPv4 or IPv6, UDP.
//!
//! For paths that the kernel does not know how to take: SR-MPLS needs no MPLS in the kernel if the frame is made here.
//! [`FrameHeader`] is made once for a path and a next hop; [`FrameHeader::write`] puts it before a payload, with the lengths
//! and checksums of that payload. The IP packet is the one that the kernel would have sent from a UDP socket: "don't
//! fragment" set and identification 0 (RFC 6864), a flow label that stays with the addresses and ports (RFC 6437).
//!
//! Traffic Class of the labels is the upper three bits of the DSCP (RFC 5462, RFC 3270 section 4.2), their TTL that of the IP
//! packet (RFC 3443, uniform model).

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::mpls::{ENTRY_LEN, LONGEST_STACK, LabelStackEntry};

/// Octets of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
/// Most octets before the payload.
pub const LONGEST_HEADER: usize = ETHERNET_LEN + LONGEST_STACK * ENTRY_LEN + IPV6_LEN + UDP_LEN;
const UDP: u8 = 17;
const DONT_FRAGMENT: u16 = 0x4000;
/// `EtherType`s (IEEE 802).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const MPLS_UNICAST: u16 = 0x8847;

/// What a frame carries beside the payload.
#[derive(Clone, Copy, Debug)]
pub struct FrameSpec<'a> {
    /// Ethernet address of the interface that it leaves by.
    pub source_mac: [u8; 6],
    /// Ethernet address of the next hop.
    pub destination_mac: [u8; 6],
    /// Labels, top first; none for a plain IP packet.
    pub labels: &'a [u32],
    /// Source of the UDP datagram.
    pub source: SocketAddr,
    /// Its destination.
    pub destination: SocketAddr,
    /// TOS or traffic class octet.
    pub dscp_ecn: u8,
    /// TTL or hop limit, and TTL of each label.
    pub ttl: u8,
}

/// Why no frame can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// One address is IPv4, the other IPv6.
    MixedFamilies,
    /// More labels than [`LONGEST_STACK`].
    StackTooLong {
        /// Labels that are there.
        have: usize,
    },
    /// More than an IP packet can carry.
    PayloadTooLong {
        /// Octets of payload.
        have: usize,
    },
    /// The buffer is shorter than the frame.
    BufferTooSmall {
        /// Octets of the frame.
        need: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MixedFamilies => f.write_str("source and destination are of different address families"),
            Self::StackTooLong { have } => write!(f, "{have} labels are more than {LONGEST_STACK}"),
            Self::PayloadTooLong { have } => write!(f, "{have} octets of payload fit into no UDP datagram"),
            Self::BufferTooSmall { need } => write!(f, "the buffer holds less than the {need} octets of the frame"),
        }
    }
}

impl core::error::Error for FrameError {}

/// All that stands before the payload, lengths and checksums left open.
#[derive(Clone, Debug)]
pub struct FrameHeader {
    octets: [u8; LONGEST_HEADER],
    len: usize,
    v6: bool,
    /// Sum of what the UDP checksum covers beside length, payload and the header's own length field.
    pseudo: u64,
}

impl FrameHeader {
    /// The header for a path.
    pub fn new(spec: &FrameSpec<'_>) -> Result<Self, FrameError> {
        if spec.labels.len() > LONGEST_STACK {
            return Err(FrameError::StackTooLong { have: spec.labels.len() });
        }
        let v6 = spec.destination.is_ipv6();
        let mut header = Self { octets: [0; LONGEST_HEADER], len: 0, v6, pseudo: u64::from(UDP) };
        header.push(&spec.destination_mac);
        header.push(&spec.source_mac);
        let network = if v6 { IPV6 } else { IPV4 };
        header.push(&if spec.labels.is_empty() { network } else { MPLS_UNICAST }.to_be_bytes());
        for (place, label) in spec.labels.iter().enumerate() {
            let entry = LabelStackEntry {
                label: *label,
                traffic_class: spec.dscp_ecn >> 5,
                bottom: place + 1 == spec.labels.len(),
                ttl: spec.ttl,
            };
            header.push(&entry.to_octets());
        }
        let ports = [spec.source.port().to_be_bytes(), spec.destination.port().to_be_bytes()];
        let ports = ports.as_flattened();
        match (spec.source.ip(), spec.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let addresses = [source.octets(), destination.octets()];
                header.push(&[0x45, spec.dscp_ecn, 0, 0, 0, 0]);
                header.push(&DONT_FRAGMENT.to_be_bytes());
                header.push(&[spec.ttl, UDP, 0, 0]);
                header.push(addresses.as_flattened());
                header.pseudo += sum(addresses.as_flattened());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let addresses = [source.octets(), destination.octets()];
                let first = 6 << 28 | u32::from(spec.dscp_ecn) << 20 | flow_label(addresses.as_flattened(), ports);
                header.push(&first.to_be_bytes());
                header.push(&[0, 0, UDP, spec.ttl]);
                header.push(addresses.as_flattened());
                header.pseudo += sum(addresses.as_flattened());
            }
            _ => return Err(FrameError::MixedFamilies),
        }
        header.push(ports);
        header.push(&[0; 4]);
        header.pseudo += sum(ports);
        Ok(header)
    }

    fn push(&mut self, octets: &[u8]) {
        self.octets[self.len..self.len + octets.len()].copy_from_slice(octets);
        self.len += octets.len();
    }

    /// Octets before the payload.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// What the Ethernet header says that it carries.
    pub const fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.octets[ETHERNET_LEN - 2], self.octets[ETHERNET_LEN - 1]])
    }

    /// Never: there is always a UDP header.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Goes to another next hop, or out of another interface.
    pub fn redirect(&mut self, source_mac: [u8; 6], destination_mac: [u8; 6]) {
        self.octets[..6].copy_from_slice(&destination_mac);
        self.octets[6..12].copy_from_slice(&source_mac);
    }

    /// Writes the frame of `payload` to the beginning of `frame`; returns its octets.
    pub fn write(&self, payload: &[u8], frame: &mut [u8]) -> Result<usize, FrameError> {
        let ip_len = if self.v6 { 0 } else { IPV4_LEN };
        let udp_len = UDP_LEN + payload.len();
        if ip_len + udp_len > usize::from(u16::MAX) {
            return Err(FrameError::PayloadTooLong { have: payload.len() });
        }
        let need = self.len + payload.len();
        let frame = frame.get_mut(..need).ok_or(FrameError::BufferTooSmall { need })?;
        let (header, body) = frame.split_at_mut(self.len);
        header.copy_from_slice(&self.octets[..self.len]);
        body.copy_from_slice(payload);
        let udp_at = self.len - UDP_LEN;
        let length = (udp_len as u16).to_be_bytes();
        header[udp_at + 4..udp_at + 6].copy_from_slice(&length);
        // The length counts twice: in the UDP header and in the pseudo-header.
        let checksum = match fold(self.pseudo + 2 * udp_len as u64 + sum(payload)) {
            // RFC 768: all zeros would mean that there is none.
            0 => u16::MAX,
            checksum => checksum,
        };
        header[udp_at + 6..udp_at + 8].copy_from_slice(&checksum.to_be_bytes());
        if self.v6 {
            let at = udp_at - IPV6_LEN;
            header[at + 4..at + 6].copy_from_slice(&length);
        } else {
            let ip = &mut header[udp_at - IPV4_LEN..udp_at];
            ip[2..4].copy_from_slice(&((ip_len + udp_len) as u16).to_be_bytes());
            let checksum = fold(sum(ip));
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        Ok(need)
    }
}

/// Sum of 16-bit words, an odd octet filled up with zero (RFC 1071).
fn sum(octets: &[u8]) -> u64 {
    let words = octets.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |last| u64::from(*last) << 8);
    odd + words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>()
}

/// The checksum that such a sum makes.
fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

/// 20 bits that differ between flows and not within one (RFC 6437 section 3); never 0.
fn flow_label(addresses: &[u8], ports: &[u8]) -> u32 {
    // FNV-1a.
    let hash = addresses
        .iter()
        .chain(ports)
        .fold(0x811C_9DC5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
    ((hash >> 12) ^ (hash & 0xFFF)).max(1)
}
