//! The headers before a UDP datagram, found in a packet as it came in: for those who are to tell what it looked like.
//!
//! Order and lengths are those of RFC 8200 section 4 and RFC 791; a packet within a packet (RFC 2473, RFC 8986) has its
//! headers in the same chain, from the outside in.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::get;

/// Most headers that are followed; a packet with more has none.
pub const MOST_HEADERS: usize = 16;
/// Octets of a fixed IPv4 header.
const IPV4_LEN: usize = 20;
/// Octets of a fixed IPv6 header.
const IPV6_LEN: usize = 40;
/// Octets of a UDP header.
const UDP_LEN: usize = 8;

/// Protocol numbers (RFC 8200 section 4.1, IANA "Assigned Internet Protocol Numbers").
const HOP_BY_HOP: u8 = 0;
const IPV4: u8 = 4;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Where a header lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    at: u16,
    len: u16,
    extension: bool,
}

/// Where the headers of one packet lie; what they say stays in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeaders {
    spans: [Span; MOST_HEADERS],
    count: usize,
    udp_at: usize,
    innermost_at: usize,
}

impl IpHeaders {
    /// Follows the headers of a packet, or of as much of it as there is, up to that of UDP. `None` if there is none within
    /// reach: another protocol, a later fragment, an encrypted or a truncated packet.
    pub fn find(packet: &[u8]) -> Option<Self> {
        let mut found = Self { spans: [Span::default(); MOST_HEADERS], count: 0, udp_at: 0, innermost_at: 0 };
        let mut next = match packet.first()? >> 4 {
            4 => IPV4,
            6 => IPV6,
            _ => return None,
        };
        let mut at = 0;
        loop {
            let rest = packet.get(at..)?;
            let (len, fixed_len, following) = match next {
                UDP => {
                    rest.get(..UDP_LEN)?;
                    found.udp_at = at;
                    return Some(found);
                }
                IPV4 => {
                    let header = rest.get(..IPV4_LEN)?;
                    if header[0] >> 4 != 4 || u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
                        return None;
                    }
                    found.innermost_at = at;
                    (usize::from(header[0] & 0xf) * 4, IPV4_LEN, header[9])
                }
                IPV6 => {
                    let header = rest.get(..IPV6_LEN)?;
                    if header[0] >> 4 != 6 {
                        return None;
                    }
                    found.innermost_at = at;
                    (IPV6_LEN, IPV6_LEN, header[6])
                }
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 => {
                    let header = rest.get(..8)?;
                    ((usize::from(header[1]) + 1) * 8, 0, header[0])
                }
                FRAGMENT => {
                    let header = rest.get(..8)?;
                    if u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
                        return None;
                    }
                    (8, 0, header[0])
                }
                AUTHENTICATION => {
                    let header = rest.get(..8)?;
                    ((usize::from(header[1]) + 2) * 4, 0, header[0])
                }
                _ => return None,
            };
            if len < fixed_len || rest.len() < len {
                return None;
            }
            let span = found.spans.get_mut(found.count)?;
            let extension = fixed_len == 0;
            // Of an IPv4 header with options the fixed part.
            let shown = if extension { len } else { fixed_len };
            *span = Span { at: u16::try_from(at).ok()?, len: shown as u16, extension };
            found.count += 1;
            at += len;
            next = following;
        }
    }

    /// The fixed headers, or the extension headers, of the packet that they were found in, from the outside in.
    pub fn of_kind<'a>(&'a self, packet: &'a [u8], extension: bool) -> impl Iterator<Item = &'a [u8]> {
        self.spans[..self.count]
            .iter()
            .filter(move |span| span.extension == extension)
            .map_while(|span| packet.get(span.at.into()..)?.get(..span.len.into()))
    }

    /// Source address and port, by the innermost header and that of UDP.
    pub fn source(&self, packet: &[u8]) -> Option<(IpAddr, u16)> {
        let ip = packet.get(self.innermost_at..self.udp_at)?;
        let udp = packet.get(self.udp_at..self.udp_at + UDP_LEN)?;
        let address: IpAddr = if ip.first()? >> 4 == 4 {
            Ipv4Addr::from(get::<4>(ip.get(..IPV4_LEN)?, 12)).into()
        } else {
            Ipv6Addr::from(get::<16>(ip.get(..IPV6_LEN)?, 8)).into()
        };
        Some((address, u16::from_be_bytes([udp[0], udp[1]])))
    }

    /// Destination port.
    pub fn destination_port(&self, packet: &[u8]) -> Option<u16> {
        let udp = packet.get(self.udp_at..self.udp_at + UDP_LEN)?;
        Some(u16::from_be_bytes([udp[2], udp[3]]))
    }

    /// Octets of UDP payload that the UDP header announces, and those that are there.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let udp = packet.get(self.udp_at..)?;
        let announced = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?])).checked_sub(UDP_LEN)?;
        let payload = udp.get(UDP_LEN..)?;
        Some((announced, &payload[..payload.len().min(announced)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp() -> Vec<u8> {
        vec![0x9c, 0x40, 0x03, 0x5e, 0, 12, 0, 0, 1, 2, 3, 4]
    }

    fn v4(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0; 20];
        octets[0] = 0x45 + (options.len() / 4) as u8;
        octets[9] = protocol;
        octets[12..16].copy_from_slice(&[192, 0, 2, 7]);
        [&octets, options, payload].concat()
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0; 40];
        octets[0] = 0x60;
        octets[6] = next;
        octets[23] = 7;
        [&octets, payload].concat()
    }

    fn found(packet: &[u8]) -> (Vec<usize>, Vec<usize>) {
        let headers = IpHeaders::find(packet).expect("UDP");
        assert_eq!(headers.destination_port(packet), Some(862));
        assert_eq!(headers.payload(packet), Some((4, &[1, 2, 3, 4][..])));
        let lengths = |extension| headers.of_kind(packet, extension).map(<[u8]>::len).collect();
        (lengths(false), lengths(true))
    }

    /// RFC 791 section 3.1: options follow the fixed part.
    #[test]
    fn an_ipv4_header_is_its_fixed_part() {
        assert_eq!(found(&v4(17, &[], &udp())), (vec![20], vec![]));
        let packet = v4(17, &[1; 8], &udp());
        assert_eq!(found(&packet), (vec![20], vec![]));
        let headers = IpHeaders::find(&packet).unwrap();
        assert_eq!(headers.source(&packet), Some(("192.0.2.7".parse().unwrap(), 40_000)));
    }

    /// RFC 8200 section 4: each header names the next, and its length in 8 octets beyond the first.
    #[test]
    fn extension_headers_are_found_in_their_order() {
        let destination = [17, 0, 1, 4, 0, 0, 0, 0];
        let routing = [&[60, 2, 4, 0][..], &[0; 20]].concat();
        let hop_by_hop = [43, 0, 1, 4, 0, 0, 0, 0];
        let packet = v6(0, &[&hop_by_hop[..], &routing, &destination, &udp()].concat());
        assert_eq!(found(&packet), (vec![40], vec![8, 24, 8]));
        let headers = IpHeaders::find(&packet).unwrap();
        assert!(headers.of_kind(&packet, true).eq([&hop_by_hop[..], &routing, &destination]));
        assert_eq!(headers.source(&packet), Some(("::7".parse::<IpAddr>().unwrap(), 40_000)));
    }

    /// RFC 2473: a packet within a packet; the source is that of the inner one.
    #[test]
    fn packets_within_packets_are_opened() {
        let inner = v4(17, &[], &udp());
        let packet = v6(41, &v6(4, &inner));
        assert_eq!(found(&packet), (vec![40, 40, 20], vec![]));
        let headers = IpHeaders::find(&packet).unwrap();
        assert_eq!(headers.source(&packet).unwrap().0, "192.0.2.7".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn what_is_no_whole_chain_has_no_headers() {
        let mut later = v4(17, &[], &udp());
        later[7] = 1;
        for packet in [
            later,
            v4(6, &[], &udp()),
            v6(50, &udp()),
            v6(44, &[&[17, 0, 0, 8, 0, 0, 0, 0][..], &udp()].concat()),
            v6(60, &[17, 9, 0, 0, 0, 0, 0, 0]),
            v6(4, &v6(17, &udp())),
            v6(0, &[&[0, 0, 0, 0, 0, 0, 0, 0][..]; 20].concat()),
            vec![0x41; 40],
            vec![0x70; 40],
            Vec::new(),
        ] {
            assert_eq!(IpHeaders::find(&packet), None, "{packet:?}");
        }
        let whole = v6(60, &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp()].concat());
        for len in 0..56 {
            assert_eq!(IpHeaders::find(&whole[..len]), None, "{len}");
        }
        // A first fragment has it all.
        let first = v6(44, &[&[17, 0, 0, 1, 0, 0, 0, 0][..], &udp()].concat());
        assert_eq!(found(&first), (vec![40], vec![8]));
    }

    proptest::proptest! {
        #[test]
        fn no_octets_break_it(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            if let Some(headers) = IpHeaders::find(&octets) {
                let total: usize = [false, true].iter().flat_map(|kind| headers.of_kind(&octets, *kind)).map(<[u8]>::len).sum();
                assert!(total <= octets.len());
                let _ = (headers.source(&octets), headers.payload(&octets), headers.destination_port(&octets));
            }
        }
    }
}
