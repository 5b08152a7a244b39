//! Reflected Test Packet Control (RFC 10052): how many replies to one request, how long and how far apart.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::chain::TlvChain;
use super::{FLAGS, TLV_HEADER_LEN, TYPE, TlvFlags, framed_len, u16_at, u32_at};
use crate::packet::get;

/// Octets of the shortest Value: the fields, and a sub-TLV that is as short as can be.
pub const LEAST_LEN: usize = 12;
/// Where sub-TLVs begin.
pub const SUB_TLVS_AT: usize = 8;

/// Layer 2 Address Group.
pub const LAYER_2_ADDRESS_GROUP: u8 = 10;
/// Layer 3 Address Group.
pub const LAYER_3_ADDRESS_GROUP: u8 = 11;
/// IPv6 Extension Header Control, an experimental code point (draft-ietf-ippm-stamp-ext-hdr section 5.2).
pub const EXTENSION_HEADER_CONTROL: u8 = 240;
/// Type of the sub-TLV without Value that fills a TLV with nothing else to say up to its least Length. Reserved.
const FILLER: u8 = 0;

pub(super) fn sub_tlv_has_length(kind: u8, length: usize) -> bool {
    match kind {
        LAYER_2_ADDRESS_GROUP => matches!(length, 4 | 12 | 16),
        LAYER_3_ADDRESS_GROUP => matches!(length, 8 | 20),
        EXTENSION_HEADER_CONTROL => length == 0,
        _ => true,
    }
}

/// What is asked of the Session-Reflector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReflectedControl {
    /// Length of the Reflected Packet: octets of STAMP payload of each reply.
    pub length: u16,
    /// Number of the Reflected Packets: replies to this request.
    pub count: u16,
    /// Interval Between the Reflected Packets, in ns.
    pub interval_ns: u32,
}

impl ReflectedControl {
    /// Reads the fields of a Value; `None` if it is too short.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        (value.len() >= LEAST_LEN).then(|| Self {
            length: u16_at(value, 0),
            count: u16_at(value, 2),
            interval_ns: u32_at(value, 4),
        })
    }

    /// Writes the fields, and a filler after them in a Value of `LEAST_LEN` octets.
    pub fn write(self, value: &mut [u8]) {
        if let Some((fields, rest)) = value.split_first_chunk_mut::<SUB_TLVS_AT>() {
            fields[..2].copy_from_slice(&self.length.to_be_bytes());
            fields[2..4].copy_from_slice(&self.count.to_be_bytes());
            fields[4..].copy_from_slice(&self.interval_ns.to_be_bytes());
            if let Some(filler) = rest.first_chunk_mut::<TLV_HEADER_LEN>() {
                *filler = [TlvFlags::UNRECOGNIZED.0, FILLER, 0, 0];
            }
        }
    }
}

/// A group of Session-Reflectors: those in it answer, the others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressGroup<'a> {
    /// MAC addresses that equal `group` where `mask` has ones; both of 2, 6 or 8 octets.
    Layer2 {
        /// MAC Address Group Mask.
        mask: &'a [u8],
        /// MAC Address Group.
        group: &'a [u8],
    },
    /// Addresses within a prefix.
    Layer3 {
        /// Prefix Length.
        prefix_len: u8,
        /// IP Prefix.
        prefix: IpAddr,
    },
}

impl AddressGroup<'_> {
    /// Whether a MAC address is in it. A group of two octets is about the address's last two.
    pub fn holds_mac(&self, mac: &[u8]) -> bool {
        let Self::Layer2 { mask, group } = self else { return false };
        let Some(skipped) = mac.len().checked_sub(mask.len()) else { return false };
        // Of six and eight octets the whole address is meant.
        (skipped == 0 || mask.len() == 2)
            && mac[skipped..].iter().zip(*mask).zip(*group).all(|((octet, mask), group)| octet & mask == *group)
    }

    /// Whether an IP address is in it.
    pub fn holds_ip(&self, address: IpAddr) -> bool {
        let Self::Layer3 { prefix_len, prefix } = self else { return false };
        match (prefix, address) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) if *prefix_len <= 32 => {
                let host = u32::MAX.checked_shr((*prefix_len).into()).unwrap_or(0);
                address.to_bits() & !host == prefix.to_bits()
            }
            (IpAddr::V6(prefix), IpAddr::V6(address)) if *prefix_len <= 128 => {
                let host = u128::MAX.checked_shr((*prefix_len).into()).unwrap_or(0);
                address.to_bits() & !host == prefix.to_bits()
            }
            _ => false,
        }
    }
}

/// The address groups in a well-formed Value, in order.
pub fn address_groups(value: &[u8]) -> impl Iterator<Item = AddressGroup<'_>> {
    let sub_tlvs = TlvChain::new(value.get(SUB_TLVS_AT..).unwrap_or_default()).map_while(Result::ok);
    sub_tlvs.filter_map(|tlv| match (tlv.kind, tlv.value.len()) {
        (LAYER_2_ADDRESS_GROUP, 4 | 12 | 16) => {
            let (mask, group) = tlv.value.split_at(tlv.value.len() / 2);
            Some(AddressGroup::Layer2 { mask, group })
        }
        (LAYER_3_ADDRESS_GROUP, 8) => Some(AddressGroup::Layer3 {
            prefix_len: tlv.value[0],
            prefix: Ipv4Addr::from(get::<4>(tlv.value, 4)).into(),
        }),
        (LAYER_3_ADDRESS_GROUP, 20) => Some(AddressGroup::Layer3 {
            prefix_len: tlv.value[0],
            prefix: Ipv6Addr::from(get::<16>(tlv.value, 4)).into(),
        }),
        _ => None,
    })
}

/// Derives the flags of the sub-TLVs of a well-formed Value: U where they are not known, C on each request for extension
/// headers in the replies, which are not added.
pub fn reflect_sub_tlvs(value: &mut [u8]) {
    let mut rest = value.get_mut(SUB_TLVS_AT..).unwrap_or_default();
    while let Some(length) = framed_len(rest) {
        let (sub, next) = rest.split_at_mut(TLV_HEADER_LEN + length);
        sub[FLAGS] = match sub[TYPE] {
            LAYER_2_ADDRESS_GROUP | LAYER_3_ADDRESS_GROUP => 0,
            EXTENSION_HEADER_CONTROL => TlvFlags::CONFORMANT.0,
            _ => TlvFlags::UNRECOGNIZED.0,
        };
        rest = next;
    }
}
