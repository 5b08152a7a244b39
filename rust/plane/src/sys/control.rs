//! Control messages as plain octets: built and read without a pointer (cmsg(3), `struct cmsghdr`).

use std::mem::size_of;
use std::net::IpAddr;

use twoway_wire::timestamp::WallNanos;

/// Length of `struct cmsghdr`: `size_t cmsg_len; int cmsg_level; int cmsg_type`.
const HEADER: usize = size_of::<libc::cmsghdr>();
/// Control messages are aligned to the machine word.
const ALIGN: usize = size_of::<usize>();

/// Room for all that we ask for on receive: stamps (64), packet info (40), TTL, class, drops (24 each), and error (64+).
pub const RECEIVE_ROOM: usize = 256;
/// Room for all that we send: packet info (40), traffic class (24), timestamping flags (24).
pub const SEND_ROOM: usize = 96;

/// Of `linux/if_packet.h`: what a packet socket's error queue has in place of `IP_RECVERR`.
const PACKET_TX_TIMESTAMP: i32 = 16;

const fn align(len: usize) -> usize {
    (len + ALIGN - 1) & !(ALIGN - 1)
}

/// Control octets for one datagram to be sent, aligned as the kernel wants them.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct SendControl {
    octets: [u8; SEND_ROOM],
    len: u8,
}

impl Default for SendControl {
    fn default() -> Self {
        Self::new()
    }
}

impl SendControl {
    /// No control message.
    pub const fn new() -> Self {
        Self { octets: [0; SEND_ROOM], len: 0 }
    }

    /// Forgets all messages.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The encoded messages.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    /// Appends one message. `SEND_ROOM` holds one of each that exist below, so this cannot run out of room unless a
    /// caller sets one twice, which panics in debug builds and is left out otherwise.
    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let at = usize::from(self.len);
        let end = at + align(HEADER + data.len());
        debug_assert!(end <= SEND_ROOM, "a control message was set twice");
        if end > SEND_ROOM {
            return;
        }
        self.octets[at..end].fill(0);
        self.octets[at..at + ALIGN].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        self.octets[at + ALIGN..at + ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
        self.octets[at + ALIGN + 4..at + ALIGN + 8].copy_from_slice(&kind.to_ne_bytes());
        self.octets[at + HEADER..at + HEADER + data.len()].copy_from_slice(data);
        self.len = end as u8;
    }

    /// Sends from `source`, and for IPv6 out of interface `interface` (0: as routed).
    pub fn source(&mut self, source: IpAddr, interface: u32) {
        match source {
            IpAddr::V4(v4) => {
                // struct in_pktinfo: int ipi_ifindex; struct in_addr ipi_spec_dst, ipi_addr.
                let mut info = [0; 12];
                info[..4].copy_from_slice(&interface.to_ne_bytes());
                info[4..8].copy_from_slice(&v4.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(v6) => {
                // struct in6_pktinfo: struct in6_addr ipi6_addr; unsigned ipi6_ifindex.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&v6.octets());
                info[16..].copy_from_slice(&interface.to_ne_bytes());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// Sends with this TOS or traffic class octet instead of the socket's.
    pub fn dscp_ecn(&mut self, v6: bool, octet: u8) {
        let value = i32::from(octet).to_ne_bytes();
        if v6 {
            self.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value);
        } else {
            self.push(libc::IPPROTO_IP, libc::IP_TOS, &value);
        }
    }

    /// Asks for a transmit stamp of this datagram alone; the socket must report software stamps.
    pub fn transmit_stamp(&mut self, hardware: bool) {
        let mut flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE;
        if hardware {
            flags |= libc::SOF_TIMESTAMPING_TX_HARDWARE;
        }
        self.push(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &flags.to_ne_bytes());
    }
}

/// Kernel stamps of one datagram. Hardware stamps are the NIC clock's, whatever that is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Taken by the network stack, wall clock.
    pub software: Option<WallNanos>,
    /// Taken by the NIC.
    pub hardware: Option<WallNanos>,
}

/// An error that the kernel reports beside a datagram (`struct sock_extended_err`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// What failed.
    pub errno: u32,
    /// `SO_EE_ORIGIN_*`.
    pub origin: u8,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// For stamps: which stamp (`SCM_TSTAMP_*`).
    pub info: u32,
    /// For stamps: the datagram's number on its socket (`SOF_TIMESTAMPING_OPT_ID`).
    pub data: u32,
}

/// What control messages beside a datagram say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Kernel stamps.
    pub stamps: Stamps,
    /// TTL or hop limit in the datagram's IP header.
    pub ttl: Option<u8>,
    /// TOS or traffic class octet.
    pub dscp_ecn: Option<u8>,
    /// Address the datagram was sent to.
    pub destination: Option<IpAddr>,
    /// Interface that it came in by.
    pub interface: u32,
    /// Datagrams that this socket has dropped so far for want of room (`SO_RXQ_OVFL`).
    pub drops: Option<u32>,
    /// Set on error-queue entries.
    pub error: Option<ExtendedError>,
}

fn number<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

fn stamp(data: &[u8], index: usize) -> Option<WallNanos> {
    let at = index * size_of::<libc::timespec>();
    let seconds = i64::from_ne_bytes(number(data, at)?);
    let nanoseconds = i64::from_ne_bytes(number(data, at + 8)?);
    (seconds != 0 || nanoseconds != 0).then(|| WallNanos(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)))
}

impl Received {
    /// Reads all control messages in `control`; unknown ones are passed over, a length that lies ends the reading.
    #[inline]
    pub fn parse(control: &[u8]) -> Self {
        let mut received = Self::default();
        let mut rest = control;
        while let Some(len) = number(rest, 0).map(usize::from_ne_bytes) {
            let (Some(level), Some(kind)) = (number(rest, ALIGN), number(rest, ALIGN + 4)) else { break };
            let Some(data) = rest.get(HEADER..len) else { break };
            received.take(i32::from_ne_bytes(level), i32::from_ne_bytes(kind), data);
            let Some(next) = rest.get(align(len)..) else { break };
            rest = next;
        }
        received
    }

    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            // struct scm_timestamping: software, (deprecated), hardware.
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                self.stamps = Stamps { software: stamp(data, 0), hardware: stamp(data, 2) };
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => self.drops = number(data, 0).map(u32::from_ne_bytes),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                self.ttl = number(data, 0).map(|n| i32::from_ne_bytes(n) as u8);
            }
            // The kernel writes IP_TOS as one octet, IPV6_TCLASS as an int.
            (libc::IPPROTO_IP, libc::IP_TOS) => self.dscp_ecn = data.first().copied(),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.dscp_ecn = number(data, 0).map(|n| i32::from_ne_bytes(n) as u8);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                self.interface = number(data, 0).map_or(0, u32::from_ne_bytes);
                // ipi_addr, the destination in the header; ipi_spec_dst differs for broadcasts.
                self.destination = number::<4>(data, 8).map(IpAddr::from);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                self.destination = number::<16>(data, 0).map(IpAddr::from);
                self.interface = number(data, 16).map_or(0, u32::from_ne_bytes);
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR)
            | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            | (libc::SOL_PACKET, PACKET_TX_TIMESTAMP) => {
                if let (Some(errno), Some([origin, kind, code, _]), Some(info), Some(value)) =
                    (number(data, 0), number(data, 4), number(data, 8), number(data, 12))
                {
                    let (errno, info) = (u32::from_ne_bytes(errno), u32::from_ne_bytes(info));
                    self.error =
                        Some(ExtendedError { errno, origin, kind, code, info, data: u32::from_ne_bytes(value) });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// Writes a control message as the kernel would.
    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut octets = (HEADER + data.len()).to_ne_bytes().to_vec();
        octets.extend(level.to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(data);
        octets.resize(align(octets.len()), 0);
        octets
    }

    #[test]
    fn all_that_the_kernel_says_is_read() {
        let mut stamps = Vec::new();
        for value in [5i64, 7, 0, 0, 9, 11] {
            stamps.extend(value.to_ne_bytes());
        }
        let mut control = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, &stamps);
        control.extend(message(libc::IPPROTO_IP, libc::IP_TTL, &254i32.to_ne_bytes()));
        control.extend(message(libc::IPPROTO_IP, libc::IP_TOS, &[0xb8]));
        control.extend(message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &3u32.to_ne_bytes()));
        control.extend(message(99, 98, &[1, 2, 3]));
        control.extend(message(libc::IPPROTO_IP, libc::IP_PKTINFO, &[2, 0, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1]));
        let received = Received::parse(&control);
        assert_eq!(received.stamps.software, Some(WallNanos(5_000_000_007)));
        assert_eq!(received.stamps.hardware, Some(WallNanos(9_000_000_011)));
        assert_eq!((received.ttl, received.dscp_ecn, received.drops), (Some(254), Some(0xb8), Some(3)));
        assert_eq!((received.destination, received.interface), (Some(IpAddr::from(Ipv4Addr::new(10, 0, 0, 1))), 2));
    }

    #[test]
    fn a_transmit_stamp_is_told_by_its_error() {
        let mut error = 42u32.to_ne_bytes().to_vec();
        error.extend([libc::SO_EE_ORIGIN_TIMESTAMPING, 0, 0, 0]);
        error.extend(0u32.to_ne_bytes());
        error.extend(77u32.to_ne_bytes());
        let received = Received::parse(&message(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &error));
        let error = received.error.unwrap();
        assert_eq!((error.errno, error.origin, error.data), (42, libc::SO_EE_ORIGIN_TIMESTAMPING, 77));
    }

    #[test]
    fn what_we_encode_reads_back() {
        let mut control = SendControl::new();
        control.source(IpAddr::from(Ipv6Addr::LOCALHOST), 4);
        control.dscp_ecn(true, 0x2e);
        control.transmit_stamp(true);
        let received = Received::parse(control.octets());
        assert_eq!((received.destination, received.interface), (Some(IpAddr::from(Ipv6Addr::LOCALHOST)), 4));
        assert_eq!(received.dscp_ecn, Some(0x2e));
    }

    proptest! {
        #[test]
        fn no_octets_break_the_reader(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Received::parse(&octets);
        }
    }
}
