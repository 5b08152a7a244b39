//! Reflected IPv6 Extension Header and Reflected Fixed Header (draft-ietf-ippm-stamp-ext-hdr, revision 13 and later).
//!
//! A Value is as long as the header that it asks for. It begins with the Requested field, eight octets for an extension
//! header and four for a fixed one, which selects the header that begins so; zeros select the first of that length. The
//! Session-Reflector copies the header into the Value. The code points are experimental.

/// Which of the two TLVs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderKind {
    /// A fixed IP header.
    Fixed,
    /// An IPv6 extension header.
    Extension,
}

impl HeaderKind {
    /// Octets of the Requested field.
    pub const fn requested_len(self) -> usize {
        match self {
            Self::Fixed => 4,
            Self::Extension => 8,
        }
    }
}

/// TOS or traffic class octet of a fixed header that came back.
pub fn header_dscp_ecn(header: &[u8]) -> Option<u8> {
    let [first, second, ..] = *header else { return None };
    match first >> 4 {
        4 => Some(second),
        6 => Some(first << 4 | second >> 4),
        _ => None,
    }
}

/// Copies into `value` the header that it asks for, of `headers` in the order from the outside in. `used` has a bit for
/// each of them that an earlier TLV of the packet was given. False if there is none: the Value stays as it is.
pub fn fill_reflected_header<'a>(
    kind: HeaderKind,
    value: &mut [u8],
    headers: impl Iterator<Item = &'a [u8]>,
    used: &mut u32,
) -> bool {
    let Some(requested) = value.get(..kind.requested_len()) else { return false };
    let any = requested.iter().all(|octet| *octet == 0);
    let wanted = |header: &[u8]| header.len() == value.len() && (any || header.starts_with(requested));
    let found = headers.zip(0_u32..u32::BITS).find(|(header, at)| *used & (1 << at) == 0 && wanted(header));
    let Some((header, at)) = found else { return false };
    *used |= 1 << at;
    value.copy_from_slice(header);
    true
}
