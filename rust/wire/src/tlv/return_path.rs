//! Destination Node Address and Return Path (RFC 9503): which node is meant, and which way its reply takes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::chain::{TlvChain, TlvWriter};
use super::{FLAGS, TLV_HEADER_LEN, TYPE, TlvFlags, TlvType, framed_len, u32_at};
use crate::error::WireError;
use crate::packet::get;

/// Control Code.
pub const CONTROL_CODE: u8 = 1;
/// Return Address.
pub const RETURN_ADDRESS: u8 = 2;
/// SR-MPLS Label Stack.
pub const SR_MPLS_LABEL_STACK: u8 = 3;
/// SRv6 Segment List.
pub const SRV6_SEGMENT_LIST: u8 = 4;

/// Control Code: no reply is sent.
pub const NO_REPLY: u32 = 0;
/// Control Code: the reply goes out by the link that the request came in by. All other bits are reserved.
pub const SAME_LINK: u32 = 1;

/// Octets of a label stack entry.
pub const LABEL_STACK_ENTRY_LEN: usize = 4;
/// Octets of an SRv6 segment.
pub const SEGMENT_LEN: usize = 16;

/// An empty segment list or label stack is a path that cannot be used, not a malformed TLV (RFC 9503 section 4.1.3).
pub(super) fn sub_tlv_has_length(kind: u8, length: usize) -> bool {
    match kind {
        CONTROL_CODE => length == 4,
        RETURN_ADDRESS => length == 4 || length == 16,
        SR_MPLS_LABEL_STACK => length.is_multiple_of(LABEL_STACK_ENTRY_LEN),
        SRV6_SEGMENT_LIST => length.is_multiple_of(SEGMENT_LEN),
        _ => true,
    }
}

/// An address as RFC 9503 writes it: 4 or 16 octets. The Value of Destination Node Address and of Return Address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress(pub IpAddr);

impl NodeAddress {
    /// Reads a Value; `None` if its Length is wrong.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value.len() {
            4 => Some(Self(Ipv4Addr::from(get::<4>(value, 0)).into())),
            16 => Some(Self(Ipv6Addr::from(get::<16>(value, 0)).into())),
            _ => None,
        }
    }

    /// Octets of the Value.
    pub const fn value_len(self) -> usize {
        if self.0.is_ipv4() { 4 } else { 16 }
    }

    /// Writes a Value of `value_len` octets.
    pub fn write(self, value: &mut [u8]) {
        match self.0 {
            IpAddr::V4(address) => value.copy_from_slice(&address.octets()),
            IpAddr::V6(address) => value.copy_from_slice(&address.octets()),
        }
    }
}

/// An SR-MPLS label stack, top entry first, as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelStack<'a>(&'a [u8]);

impl<'a> LabelStack<'a> {
    /// `None`: no whole number of entries, or none at all.
    pub fn new(octets: &'a [u8]) -> Option<Self> {
        (!octets.is_empty() && octets.len().is_multiple_of(LABEL_STACK_ENTRY_LEN)).then_some(Self(octets))
    }

    /// Entries.
    pub const fn len(self) -> usize {
        self.0.len() / LABEL_STACK_ENTRY_LEN
    }

    /// Never: a stack has an entry.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The entries, each with label, TC, bottom-of-stack bit and TTL (RFC 3032 section 2.1).
    pub fn entries(self) -> impl ExactSizeIterator<Item = u32> + Clone + 'a {
        self.0.chunks_exact(LABEL_STACK_ENTRY_LEN).map(|entry| u32_at(entry, 0))
    }

    /// The octets as they are.
    pub const fn octets(self) -> &'a [u8] {
        self.0
    }
}

/// An SRv6 segment list, first segment first, as it is on the wire (a routing header has them in reverse order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentList<'a>(&'a [u8]);

impl<'a> SegmentList<'a> {
    /// `None`: no whole number of segments, or none at all.
    pub fn new(octets: &'a [u8]) -> Option<Self> {
        (!octets.is_empty() && octets.len().is_multiple_of(SEGMENT_LEN)).then_some(Self(octets))
    }

    /// Segments.
    pub const fn len(self) -> usize {
        self.0.len() / SEGMENT_LEN
    }

    /// Never: a list has a segment.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The segments in the order in which they are visited.
    pub fn segments(self) -> impl ExactSizeIterator<Item = Ipv6Addr> + Clone + 'a {
        self.0.chunks_exact(SEGMENT_LEN).map(|segment| Ipv6Addr::from(get::<SEGMENT_LEN>(segment, 0)))
    }

    /// The octets as they are.
    pub const fn octets(self) -> &'a [u8] {
        self.0
    }
}

/// Which way a reply is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnPath<'a> {
    /// No reply (Control Code 0).
    NoReply,
    /// By the link that the request came in by (Control Code 1).
    SameLink,
    /// To another address, by ordinary routing.
    Address(IpAddr),
    /// Along an SR-MPLS path, to another address if there is one.
    SrMpls(LabelStack<'a>, Option<IpAddr>),
    /// Along an SRv6 path, to another address if there is one.
    Srv6(SegmentList<'a>, Option<IpAddr>),
}

/// A Return Path that names no path: it has no sub-TLV that says where to, or an empty list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusableReturnPath;

impl<'a> ReturnPath<'a> {
    /// Reads a well-formed Value (RFC 9503 section 4.1). Of each kind of sub-TLV the first counts, of the two kinds of
    /// segment list the first of either; beside a Control Code everything else is ignored.
    pub fn parse(value: &'a [u8]) -> Result<Self, UnusableReturnPath> {
        let mut control = None;
        let mut address = None;
        let mut segments = None;
        for tlv in TlvChain::new(value).map_while(Result::ok) {
            if !sub_tlv_has_length(tlv.kind, tlv.value.len()) {
                return Err(UnusableReturnPath);
            }
            match tlv.kind {
                CONTROL_CODE if control.is_none() => control = Some(u32_at(tlv.value, 0)),
                RETURN_ADDRESS if address.is_none() => address = NodeAddress::parse(tlv.value),
                SR_MPLS_LABEL_STACK | SRV6_SEGMENT_LIST if segments.is_none() => segments = Some(tlv),
                _ => {}
            }
        }
        if let Some(code) = control {
            return Ok(if code & SAME_LINK == 0 { Self::NoReply } else { Self::SameLink });
        }
        let address = address.map(|NodeAddress(address)| address);
        match (segments, address) {
            (Some(tlv), address) if tlv.kind == SR_MPLS_LABEL_STACK => {
                LabelStack::new(tlv.value).map(|labels| Self::SrMpls(labels, address)).ok_or(UnusableReturnPath)
            }
            (Some(tlv), address) => {
                SegmentList::new(tlv.value).map(|list| Self::Srv6(list, address)).ok_or(UnusableReturnPath)
            }
            (None, Some(address)) => Ok(Self::Address(address)),
            (None, None) => Err(UnusableReturnPath),
        }
    }

    /// Octets of the TLV's Value.
    pub const fn value_len(self) -> usize {
        const fn address_len(address: Option<IpAddr>) -> usize {
            match address {
                Some(address) => TLV_HEADER_LEN + NodeAddress(address).value_len(),
                None => 0,
            }
        }
        match self {
            Self::NoReply | Self::SameLink => TLV_HEADER_LEN + 4,
            Self::Address(address) => address_len(Some(address)),
            Self::SrMpls(labels, address) => TLV_HEADER_LEN + labels.0.len() + address_len(address),
            Self::Srv6(segments, address) => TLV_HEADER_LEN + segments.0.len() + address_len(address),
        }
    }

    /// Writes the whole TLV.
    pub fn write(self, writer: &mut TlvWriter<'_>) -> Result<(), WireError> {
        let mut written = Ok(());
        writer.push(TlvType::ReturnPath.code(), self.value_len(), |value| {
            let mut sub = TlvWriter::new(value);
            written = self.write_sub_tlvs(&mut sub);
        })?;
        written
    }

    fn write_sub_tlvs(self, sub: &mut TlvWriter<'_>) -> Result<(), WireError> {
        let (kind, octets, address): (u8, &[u8], _) = match self {
            Self::NoReply => (CONTROL_CODE, &NO_REPLY.to_be_bytes(), None),
            Self::SameLink => (CONTROL_CODE, &SAME_LINK.to_be_bytes(), None),
            Self::Address(address) => (0, &[], Some(address)),
            Self::SrMpls(labels, address) => (SR_MPLS_LABEL_STACK, labels.0, address),
            Self::Srv6(segments, address) => (SRV6_SEGMENT_LIST, segments.0, address),
        };
        if let Some(address) = address {
            let address = NodeAddress(address);
            sub.push(RETURN_ADDRESS, address.value_len(), |value| address.write(value))?;
        }
        if kind != 0 {
            sub.push(kind, octets.len(), |value| value.copy_from_slice(octets))?;
        }
        Ok(())
    }
}

/// Derives the flags of the sub-TLVs of a well-formed Return Path: U on those that nobody knows, and on all if the path is
/// not used.
pub fn reflect_return_path(value: &mut [u8], used: bool) {
    let mut rest = value;
    while let Some(length) = framed_len(rest) {
        let (sub, next) = rest.split_at_mut(TLV_HEADER_LEN + length);
        let known = (CONTROL_CODE..=SRV6_SEGMENT_LIST).contains(&sub[TYPE]);
        sub[FLAGS] = if used && known { 0 } else { TlvFlags::UNRECOGNIZED.0 };
        rest = next;
    }
}
