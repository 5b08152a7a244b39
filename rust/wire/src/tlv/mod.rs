//! STAMP TLVs (RFC 8972 section 4): framing, flags, code points, and what each Value says.
//!
//! ```text
//! | 0           | 1           | 2           3 | 4 ...
//! | Flags       | Type        | Length        | Value (Length octets)
//! ```
//!
//! TLVs follow the base packet back to back, without alignment; a sub-TLV within a Value has the same four octets of
//! header. A chain ends where the packet ends.
//!
//! Here stands what can be said of octets alone: [`chain`] walks and writes chains, [`integrity`] signs and verifies
//! them, and each other module has the Value of one TLV, or of TLVs that belong together. What an end *does* about a TLV
//! is the packet plane's.
//!
//! A TLV is malformed if its Length goes past the end of what holds it or is not one that its type can have, and then so
//! is what holds it: nothing after it can be found, and a Value of which a part is missing says nothing.

pub mod access_report;
pub mod chain;
pub mod class_of_service;
pub mod direct_measurement;
pub mod follow_up_telemetry;
pub mod integrity;
pub mod location;
pub mod micro_session_id;
pub mod reflected_control;
pub mod reflected_headers;
pub mod return_path;
pub mod timestamp_information;

pub use access_report::AccessReport;
pub use chain::{
    HmacPlace, MalformedTlv, Survey, Tlv, TlvChain, TlvMut, TlvOutcome, TlvWriter, insert_extra_padding,
    mark_integrity, reflect_tlvs, strip_extra_padding, survey, write_extra_padding,
};
pub use class_of_service::ClassOfService;
pub use direct_measurement::DirectMeasurement;
pub use follow_up_telemetry::FollowUpTelemetry;
pub use integrity::{HMAC_TLV_LEN, sign_tlvs, verify_tlvs};
pub use location::{Location, LocationRequest};
pub use micro_session_id::MicroSessionId;
pub use reflected_control::{AddressGroup, ReflectedControl};
pub use reflected_headers::{HeaderKind, fill_reflected_header, header_dscp_ecn};
pub use return_path::{LabelStack, NodeAddress, ReturnPath, SegmentList, UnusableReturnPath, reflect_return_path};
pub use timestamp_information::{SyncSource, TimestampInformation, TimestampingMethod};

/// Octets of Flags, Type and Length.
pub const TLV_HEADER_LEN: usize = 4;
/// Offset of the Flags octet.
pub(crate) const FLAGS: usize = 0;
/// Offset of the Type octet.
pub(crate) const TYPE: usize = 1;
/// Offset of the Length field, 2 octets: those of the Value alone.
pub(crate) const LENGTH: usize = 2;

/// STAMP TLV Flags (RFC 8972 section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlvFlags(pub u8);

impl TlvFlags {
    /// None set.
    pub const NONE: Self = Self(0);
    /// U: not recognised by the Session-Reflector. The Session-Sender sets it, so that a reflector which knows no TLVs
    /// returns it set.
    pub const UNRECOGNIZED: Self = Self(0x80);
    /// M: malformed.
    pub const MALFORMED: Self = Self(0x40);
    /// I: the integrity check failed.
    pub const INTEGRITY: Self = Self(0x20);
    /// C: the reply could not be made as asked (RFC 10052 section 3).
    pub const CONFORMANT: Self = Self(0x10);

    /// Whether all flags of `other` are set here.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[must_use]
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The STAMP TLV Types with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TlvType {
    /// RFC 8972 section 4.1.
    ExtraPadding = 1,
    /// RFC 8972 section 4.2.
    Location = 2,
    /// RFC 8972 section 4.3.
    TimestampInformation = 3,
    /// RFC 8972 section 4.4.
    ClassOfService = 4,
    /// RFC 8972 section 4.5.
    DirectMeasurement = 5,
    /// RFC 8972 section 4.6.
    AccessReport = 6,
    /// RFC 8972 section 4.7.
    FollowUpTelemetry = 7,
    /// RFC 8972 section 4.8.
    Hmac = 8,
    /// RFC 9503 section 3.
    DestinationNodeAddress = 9,
    /// RFC 9503 section 4.
    ReturnPath = 10,
    /// RFC 9534 section 3.1.
    MicroSessionId = 11,
    /// RFC 10052 section 3.
    ReflectedTestPacketControl = 12,
    /// draft-ietf-ippm-stamp-ext-hdr section 4.1; an experimental code point.
    ReflectedIpv6ExtensionHeader = 246,
    /// draft-ietf-ippm-stamp-ext-hdr section 6.1; an experimental code point.
    ReflectedFixedHeader = 247,
}

impl TlvType {
    /// All known types, by code point.
    pub const ALL: [Self; 14] = [
        Self::ExtraPadding,
        Self::Location,
        Self::TimestampInformation,
        Self::ClassOfService,
        Self::DirectMeasurement,
        Self::AccessReport,
        Self::FollowUpTelemetry,
        Self::Hmac,
        Self::DestinationNodeAddress,
        Self::ReturnPath,
        Self::MicroSessionId,
        Self::ReflectedTestPacketControl,
        Self::ReflectedIpv6ExtensionHeader,
        Self::ReflectedFixedHeader,
    ];

    /// The type with that code point.
    #[inline]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::ExtraPadding,
            2 => Self::Location,
            3 => Self::TimestampInformation,
            4 => Self::ClassOfService,
            5 => Self::DirectMeasurement,
            6 => Self::AccessReport,
            7 => Self::FollowUpTelemetry,
            8 => Self::Hmac,
            9 => Self::DestinationNodeAddress,
            10 => Self::ReturnPath,
            11 => Self::MicroSessionId,
            12 => Self::ReflectedTestPacketControl,
            246 => Self::ReflectedIpv6ExtensionHeader,
            247 => Self::ReflectedFixedHeader,
            _ => return None,
        })
    }

    /// The code point in the Type field.
    #[inline]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The registered name in lower case, words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExtraPadding => "extra-padding",
            Self::Location => "location",
            Self::TimestampInformation => "timestamp-information",
            Self::ClassOfService => "class-of-service",
            Self::DirectMeasurement => "direct-measurement",
            Self::AccessReport => "access-report",
            Self::FollowUpTelemetry => "follow-up-telemetry",
            Self::Hmac => "hmac",
            Self::DestinationNodeAddress => "destination-node-address",
            Self::ReturnPath => "return-path",
            Self::MicroSessionId => "micro-session-id",
            Self::ReflectedTestPacketControl => "reflected-test-packet-control",
            Self::ReflectedIpv6ExtensionHeader => "reflected-ipv6-extension-header",
            Self::ReflectedFixedHeader => "reflected-fixed-header",
        }
    }

    /// Where it is defined.
    pub const fn reference(self) -> &'static str {
        match self {
            Self::ExtraPadding => "RFC 8972 section 4.1",
            Self::Location => "RFC 8972 section 4.2",
            Self::TimestampInformation => "RFC 8972 section 4.3",
            Self::ClassOfService => "RFC 8972 section 4.4",
            Self::DirectMeasurement => "RFC 8972 section 4.5",
            Self::AccessReport => "RFC 8972 section 4.6",
            Self::FollowUpTelemetry => "RFC 8972 section 4.7",
            Self::Hmac => "RFC 8972 section 4.8",
            Self::DestinationNodeAddress => "RFC 9503 section 3",
            Self::ReturnPath => "RFC 9503 section 4",
            Self::MicroSessionId => "RFC 9534 section 3.1",
            Self::ReflectedTestPacketControl => "RFC 10052 section 3",
            Self::ReflectedIpv6ExtensionHeader => "draft-ietf-ippm-stamp-ext-hdr section 4.1",
            Self::ReflectedFixedHeader => "draft-ietf-ippm-stamp-ext-hdr section 6.1",
        }
    }

    /// Whether a packet may have several, each of which is processed. Of the others the first one counts (RFC 9503
    /// section 4 says so of Return Path, and nothing else says anything).
    #[inline]
    pub const fn may_repeat(self) -> bool {
        matches!(self, Self::ExtraPadding | Self::ReflectedIpv6ExtensionHeader | Self::ReflectedFixedHeader)
    }

    /// Whether the type can have a Value of that Length.
    #[inline]
    pub const fn has_length(self, length: usize) -> bool {
        match self {
            Self::ExtraPadding => true,
            Self::Location => length >= location::LEAST_LEN,
            Self::TimestampInformation => length >= timestamp_information::LEAST_LEN,
            Self::ClassOfService => length == class_of_service::LEN,
            Self::DirectMeasurement => length == direct_measurement::LEN,
            Self::AccessReport => length == access_report::LEN,
            Self::FollowUpTelemetry => length == follow_up_telemetry::LEN,
            Self::Hmac => length == crate::auth::HMAC_LEN,
            Self::DestinationNodeAddress => length == 4 || length == 16,
            Self::ReturnPath => length >= TLV_HEADER_LEN,
            Self::MicroSessionId => length == micro_session_id::LEN,
            Self::ReflectedTestPacketControl => length >= reflected_control::LEAST_LEN,
            // An IPv6 extension header is a multiple of eight octets.
            Self::ReflectedIpv6ExtensionHeader => length >= 8 && length.is_multiple_of(8),
            Self::ReflectedFixedHeader => length == 20 || length == 40,
        }
    }

    /// Where sub-TLVs begin in the Value, and how long one of each kind is. `None`: the type has none.
    #[inline]
    const fn sub_tlvs(self) -> Option<SubTlvs> {
        Some(match self {
            Self::Location => SubTlvs { at: location::LEAST_LEN, has_length: location::sub_tlv_has_length },
            Self::TimestampInformation => SubTlvs { at: timestamp_information::LEAST_LEN, has_length: |_, _| true },
            Self::ReturnPath => SubTlvs { at: 0, has_length: return_path::sub_tlv_has_length },
            Self::ReflectedTestPacketControl => {
                SubTlvs { at: reflected_control::SUB_TLVS_AT, has_length: reflected_control::sub_tlv_has_length }
            }
            _ => return None,
        })
    }
}

/// The sub-TLVs of a type.
struct SubTlvs {
    at: usize,
    /// Whether a sub-TLV of that type can have that Length.
    has_length: fn(u8, usize) -> bool,
}

/// The first types and sub-types for private use; 255 is reserved (RFC 8972 sections 5.1 and 5.3).
const PRIVATE_USE: core::ops::RangeInclusive<u8> = 252..=254;
/// Octets of the SMI Private Enterprise Number with which a Value for private use begins.
const ENTERPRISE_NUMBER_LEN: usize = 4;

/// Whether a type of that code, known or not, can have a Value of that Length.
#[inline]
fn kind_has_length(kind: u8, length: usize) -> bool {
    match TlvType::from_code(kind) {
        Some(known) => known.has_length(length),
        None => length >= ENTERPRISE_NUMBER_LEN || !PRIVATE_USE.contains(&kind),
    }
}

/// Length of the Value of the TLV at the beginning of `octets`, if header and Value are there.
#[inline]
fn framed_len(octets: &[u8]) -> Option<usize> {
    let header = octets.first_chunk::<TLV_HEADER_LEN>()?;
    let value_len = usize::from(u16::from_be_bytes([header[LENGTH], header[LENGTH + 1]]));
    (value_len <= octets.len() - TLV_HEADER_LEN).then_some(value_len)
}

/// The same, if the Value is moreover one that the type can have.
#[inline]
fn well_formed_len(octets: &[u8]) -> Option<usize> {
    let value_len = framed_len(octets)?;
    let kind = octets[TYPE];
    if !kind_has_length(kind, value_len) {
        return None;
    }
    let sub_tlvs = TlvType::from_code(kind).and_then(TlvType::sub_tlvs);
    let value = &octets[TLV_HEADER_LEN..TLV_HEADER_LEN + value_len];
    sub_tlvs.is_none_or(|sub| malformed_sub_tlv(value, &sub).is_none()).then_some(value_len)
}

/// Offset in a Value of its first malformed sub-TLV.
fn malformed_sub_tlv(value: &[u8], sub: &SubTlvs) -> Option<usize> {
    let mut at = sub.at;
    while at < value.len() {
        let rest = &value[at..];
        let private = rest.get(TYPE).is_some_and(|kind| PRIVATE_USE.contains(kind));
        match framed_len(rest) {
            Some(length) if (sub.has_length)(rest[TYPE], length) && (!private || length >= ENTERPRISE_NUMBER_LEN) => {
                at += TLV_HEADER_LEN + length;
            }
            _ => return Some(at),
        }
    }
    None
}

/// Two octets of a Value; the caller has checked that they are there.
#[inline]
fn u16_at(value: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(crate::packet::get(value, at))
}

/// Four octets of a Value; the caller has checked that they are there.
#[inline]
fn u32_at(value: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(crate::packet::get(value, at))
}
