//! The Segment Routing Header (RFC 8754 section 2) as Linux takes it for a socket: without TLVs, so without HMAC.
//!
//! The header lists the segments backwards: place 0 is the last one, the final destination. On a socket that place is the
//! kernel's, which writes each packet's destination there (`ipv6_push_rthdr4`); the first segment becomes the destination in
//! the IPv6 header.

use core::fmt;
use core::net::Ipv6Addr;

/// Octets before the segment list.
pub const FIXED_LEN: usize = 8;
/// Octets of a segment.
pub const SEGMENT_LEN: usize = 16;
/// Most segments before the destination: Linux takes 2040 octets of routing header on a socket, which are 127 places, and
/// the destination has one of them.
pub const LONGEST_SEGMENT_LIST: usize = 126;
/// Routing Type (RFC 8754 section 8).
const ROUTING_TYPE: u8 = 4;

/// Why addresses cannot be a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// There is none.
    Empty,
    /// More than [`LONGEST_SEGMENT_LIST`].
    TooMany {
        /// Segments that are there.
        have: usize,
    },
    /// No node has it: unspecified, loopback, multicast, link-local, or an IPv4 address in IPv6 form.
    NotRoutable {
        /// The segment.
        segment: Ipv6Addr,
    },
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no segment"),
            Self::TooMany { have } => {
                write!(f, "{have} segments are more than the {LONGEST_SEGMENT_LIST} that a routing header holds")
            }
            Self::NotRoutable { segment } => write!(f, "{segment} is not an address that a segment can have"),
        }
    }
}

impl core::error::Error for SegmentError {}

/// Whether these addresses, first one first, can be the segments of a path.
pub fn check_segments(mut segments: impl ExactSizeIterator<Item = Ipv6Addr>) -> Result<(), SegmentError> {
    let have = segments.len();
    if have == 0 {
        return Err(SegmentError::Empty);
    }
    if have > LONGEST_SEGMENT_LIST {
        return Err(SegmentError::TooMany { have });
    }
    let routable = |segment: &Ipv6Addr| {
        let local = segment.is_unspecified() || segment.is_loopback() || segment.is_unicast_link_local();
        !local && !segment.is_multicast() && segment.to_ipv4_mapped().is_none()
    };
    match segments.find(|segment| !routable(segment)) {
        Some(segment) => Err(SegmentError::NotRoutable { segment }),
        None => Ok(()),
    }
}

/// Appends the routing header that leads a packet through `segments`, in this order, and then to its destination. Next
/// Header is the kernel's to fill, as is the last place. On failure nothing is appended.
pub fn append_routing_header(
    segments: impl ExactSizeIterator<Item = Ipv6Addr> + Clone,
    headers: &mut Vec<u8>,
) -> Result<(), SegmentError> {
    check_segments(segments.clone())?;
    let places = segments.len() + 1;
    let begin = headers.len();
    headers.resize(begin + FIXED_LEN + places * SEGMENT_LEN, 0);
    let header = &mut headers[begin..];
    // Hdr Ext Len: units of 8 octets beyond the first.
    header[1] = (2 * places) as u8;
    header[2] = ROUTING_TYPE;
    // Segments Left and Last Entry.
    header[3] = segments.len() as u8;
    header[4] = segments.len() as u8;
    for (behind, segment) in segments.enumerate() {
        let at = FIXED_LEN + (places - 1 - behind) * SEGMENT_LEN;
        header[at..at + SEGMENT_LEN].copy_from_slice(&segment.octets());
    }
    Ok(())
}

/// That header alone.
pub fn routing_header(segments: &[Ipv6Addr]) -> Result<Vec<u8>, SegmentError> {
    let mut header = Vec::new();
    append_routing_header(segments.iter().copied(), &mut header)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(count: usize) -> Vec<Ipv6Addr> {
        (0..count).map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16 + 1)).collect()
    }

    #[test]
    fn the_list_stands_backwards_behind_the_place_of_the_destination() {
        let header = routing_header(&segments(2)).unwrap();
        assert_eq!(header.len(), 8 + 3 * 16);
        assert_eq!(header[..8], [0, 6, 4, 2, 2, 0, 0, 0]);
        assert_eq!(header[8..24], [0; 16]);
        assert_eq!((header[39], header[55]), (2, 1));
    }

    #[test]
    fn the_longest_list_fills_the_header_and_one_more_is_refused() {
        let header = routing_header(&segments(LONGEST_SEGMENT_LIST)).unwrap();
        assert_eq!((header.len(), header[1]), (2040, 254));
        let have = LONGEST_SEGMENT_LIST + 1;
        assert_eq!(routing_header(&segments(have)), Err(SegmentError::TooMany { have }));
        assert_eq!(routing_header(&[]), Err(SegmentError::Empty));
    }

    #[test]
    fn what_no_node_can_have_is_no_segment() {
        for text in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1"] {
            let segment: Ipv6Addr = text.parse().unwrap();
            assert_eq!(check_segments([segment].into_iter()), Err(SegmentError::NotRoutable { segment }));
        }
    }
}
