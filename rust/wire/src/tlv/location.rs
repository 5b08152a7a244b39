//! Location (RFC 8972 section 4.2): what the Session-Reflector sees of the last hop.
//!
//! A Session-Sender asks with generic sub-TLVs, all of whose variants have one size, so that the Session-Reflector can put
//! the specific one in its place: Source MAC Address becomes EUI-48 or EUI-64, an IP address IPv4 or IPv6.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::chain::{TlvChain, TlvWriter};
use super::{FLAGS, TLV_HEADER_LEN, TYPE, TlvFlags, TlvType, framed_len, u16_at};
use crate::error::WireError;
use crate::packet::get;

/// Octets of the two ports, after which sub-TLVs begin.
pub const LEAST_LEN: usize = 4;

/// Source MAC Address: a request.
pub const SOURCE_MAC: u8 = 1;
/// Source EUI-48 Address.
pub const SOURCE_EUI_48: u8 = 2;
/// Source EUI-64 Address.
pub const SOURCE_EUI_64: u8 = 3;
/// Destination IP Address: a request.
pub const DESTINATION_IP: u8 = 4;
/// Destination IPv4 Address.
pub const DESTINATION_IPV4: u8 = 5;
/// Destination IPv6 Address.
pub const DESTINATION_IPV6: u8 = 6;
/// Source IP Address: a request.
pub const SOURCE_IP: u8 = 7;
/// Source IPv4 Address.
pub const SOURCE_IPV4: u8 = 8;
/// Source IPv6 Address.
pub const SOURCE_IPV6: u8 = 9;

/// Octets of the Value of a MAC address sub-TLV.
const MAC_LEN: usize = 8;
/// Octets of the Value of an IP address sub-TLV.
const IP_LEN: usize = 16;

pub(super) fn sub_tlv_has_length(kind: u8, length: usize) -> bool {
    match kind {
        SOURCE_MAC..=SOURCE_EUI_64 => length == MAC_LEN,
        DESTINATION_IP..=SOURCE_IPV6 => length == IP_LEN,
        _ => true,
    }
}

/// Which sub-TLVs a Session-Sender asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocationRequest {
    /// Source MAC Address: the last hop.
    pub source_mac: bool,
    /// Destination IP Address.
    pub destination_ip: bool,
    /// Source IP Address.
    pub source_ip: bool,
}

impl LocationRequest {
    /// Every sub-TLV there is.
    pub const ALL: Self = Self { source_mac: true, destination_ip: true, source_ip: true };

    /// Octets of the Value.
    pub const fn value_len(self) -> usize {
        LEAST_LEN
            + self.source_mac as usize * (TLV_HEADER_LEN + MAC_LEN)
            + (self.destination_ip as usize + self.source_ip as usize) * (TLV_HEADER_LEN + IP_LEN)
    }

    /// Writes the whole TLV.
    pub fn write(self, writer: &mut TlvWriter<'_>) -> Result<(), WireError> {
        let mut written = Ok(());
        writer.push(TlvType::Location.code(), self.value_len(), |value| {
            let mut sub = TlvWriter::new(&mut value[LEAST_LEN..]);
            let wanted = [
                (self.source_mac, SOURCE_MAC, MAC_LEN),
                (self.destination_ip, DESTINATION_IP, IP_LEN),
                (self.source_ip, SOURCE_IP, IP_LEN),
            ];
            for (_, kind, length) in wanted.into_iter().filter(|(wanted, ..)| *wanted) {
                if let Err(error) = sub.push(kind, length, |_| ()) {
                    written = Err(error);
                }
            }
        })?;
        written
    }
}

/// What a Session-Reflector answers. What its policy keeps back, or what it does not know, is zero on the wire and `None`
/// or 0 here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// UDP destination port of the request on arrival.
    pub destination_port: u16,
    /// UDP source port of the request on arrival.
    pub source_port: u16,
    /// Source MAC address on arrival, in the last six or all eight octets: that of the last hop.
    pub source_mac: Option<u64>,
    /// Whether that is an EUI-64.
    pub source_mac_is_eui_64: bool,
    /// Destination IP address on arrival.
    pub destination: Option<IpAddr>,
    /// Source IP address on arrival.
    pub source: Option<IpAddr>,
}

impl Location {
    /// Reads the Value of a reply. Sub-TLVs with U or M set, and generic ones, say nothing. `None` if there is no room for
    /// the ports.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let sub_tlvs = value.get(LEAST_LEN..)?;
        let mut location =
            Self { destination_port: u16_at(value, 0), source_port: u16_at(value, 2), ..Self::default() };
        for tlv in TlvChain::new(sub_tlvs).map_while(Result::ok) {
            if tlv.flags.contains(TlvFlags::MALFORMED) {
                break;
            }
            if tlv.flags.contains(TlvFlags::UNRECOGNIZED) || !sub_tlv_has_length(tlv.kind, tlv.value.len()) {
                continue;
            }
            match tlv.kind {
                SOURCE_EUI_48 | SOURCE_EUI_64 => {
                    let octets = u64::from_be_bytes(get(tlv.value, 0));
                    location.source_mac_is_eui_64 = tlv.kind == SOURCE_EUI_64;
                    let mac = if location.source_mac_is_eui_64 { octets } else { octets >> 16 };
                    location.source_mac = (mac != 0).then_some(mac);
                }
                DESTINATION_IPV4 => location.destination = v4(tlv.value),
                DESTINATION_IPV6 => location.destination = v6(tlv.value),
                SOURCE_IPV4 => location.source = v4(tlv.value),
                SOURCE_IPV6 => location.source = v6(tlv.value),
                _ => {}
            }
        }
        Some(location)
    }

    /// Turns the Value of a well-formed request into that of its reply.
    pub fn reflect(&self, value: &mut [u8]) {
        let Some((ports, mut rest)) = value.split_first_chunk_mut::<LEAST_LEN>() else { return };
        ports[..2].copy_from_slice(&self.destination_port.to_be_bytes());
        ports[2..].copy_from_slice(&self.source_port.to_be_bytes());
        while let Some(length) = framed_len(rest) {
            let (sub, next) = rest.split_at_mut(TLV_HEADER_LEN + length);
            let (header, value) = sub.split_at_mut(TLV_HEADER_LEN);
            // A specific sub-TLV in a request asks for nothing that is defined.
            let answered = match header[TYPE] {
                kind if !sub_tlv_has_length(kind, value.len()) => None,
                SOURCE_MAC => Some(self.reflect_mac(value)),
                DESTINATION_IP => Some(reflect_ip(self.destination, value, DESTINATION_IPV4, DESTINATION_IPV6)),
                SOURCE_IP => Some(reflect_ip(self.source, value, SOURCE_IPV4, SOURCE_IPV6)),
                _ => None,
            };
            header[FLAGS] = if answered.is_some() { 0 } else { TlvFlags::UNRECOGNIZED.0 };
            header[TYPE] = answered.unwrap_or(header[TYPE]);
            rest = next;
        }
    }

    fn reflect_mac(&self, value: &mut [u8]) -> u8 {
        let (kind, octets) = match self.source_mac {
            Some(mac) if self.source_mac_is_eui_64 => (SOURCE_EUI_64, mac),
            Some(mac) => (SOURCE_EUI_48, mac << 16),
            // RFC 8972 section 4.2.2: a packet without a source MAC address has zeros in an EUI-64 sub-TLV.
            None => (SOURCE_EUI_64, 0),
        };
        value.copy_from_slice(&octets.to_be_bytes());
        kind
    }
}

/// The family of an address that is kept back is IPv6: sixteen zeros are an address of that family.
fn reflect_ip(address: Option<IpAddr>, value: &mut [u8], v4: u8, v6: u8) -> u8 {
    value.fill(0);
    match address {
        Some(IpAddr::V4(address)) => {
            value[..4].copy_from_slice(&address.octets());
            v4
        }
        Some(IpAddr::V6(address)) => {
            value.copy_from_slice(&address.octets());
            v6
        }
        None => v6,
    }
}

fn v4(value: &[u8]) -> Option<IpAddr> {
    let address = Ipv4Addr::from(get::<4>(value, 0));
    (!address.is_unspecified()).then_some(IpAddr::V4(address))
}

fn v6(value: &[u8]) -> Option<IpAddr> {
    let address = Ipv6Addr::from(get::<16>(value, 0));
    (!address.is_unspecified()).then_some(IpAddr::V6(address))
}
