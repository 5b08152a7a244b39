//! STAMP TLVs (RFC 8972 section 4): framing, flags and the code points.
//!
//! ```text
//! | 0           | 1           | 2           3 | 4 ...
//! | Flags       | Type        | Length        | Value (Length octets)
//! ```
//!
//! TLVs follow the base packet back to back, without alignment. A chain ends where the packet ends; a TLV whose Length
//! goes past that, or fewer octets than a header, are malformed and end the chain too.
//!
//! What a Session-Reflector does with a chain (RFC 8972 section 4): all flags of each TLV are derived anew; a type that it
//! does not honour is returned as it came with U set; at a malformed TLV it sets M, stops, and returns the rest unchanged.
//! Of the types only Extra Padding, which asks for nothing, is honoured here. A type that gains a behaviour is added to
//! `TlvType::is_honoured` and given its code in `reflect_tlvs`.

use crate::error::WireError;

/// Octets of Flags, Type and Length.
pub const TLV_HEADER_LEN: usize = 4;
/// Offset of the Flags octet.
const FLAGS: usize = 0;
/// Offset of the Type octet.
const TYPE: usize = 1;
/// Offset of the Length field, 2 octets: those of the Value alone.
const LENGTH: usize = 2;

/// STAMP TLV Flags (RFC 8972 section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlvFlags(pub u8);

impl TlvFlags {
    /// U: not recognised by the Session-Reflector. The Session-Sender sets it, so that a reflector which knows no TLVs
    /// returns it set.
    pub const UNRECOGNIZED: Self = Self(0x80);
    /// M: malformed.
    pub const MALFORMED: Self = Self(0x40);
    /// I: the integrity check failed.
    pub const INTEGRITY: Self = Self(0x20);
    /// C: the reply could not be made as asked (RFC 10052).
    pub const CONFORMANT: Self = Self(0x10);

    /// Whether all flags of `other` are set here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// STAMP TLV Types with a meaning, of which there are more than this crate honours.
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
}

impl TlvType {
    /// All known types, by code point.
    pub const ALL: [Self; 12] = [
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
    ];

    /// The type with that code point.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The code point in the Type field.
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
        }
    }

    /// Whether `reflect_tlvs` does what the type asks for; all others come back with U set.
    pub const fn is_honoured(self) -> bool {
        matches!(self, Self::ExtraPadding)
    }
}

/// One TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Flags as they are on the wire, reserved bits included.
    pub flags: TlvFlags,
    /// Type: see `TlvType::from_code`.
    pub kind: u8,
    /// Value.
    pub value: &'a [u8],
}

/// Octets after the base packet that are no TLV: a Length past the end of the packet, or less than a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedTlv<'a> {
    /// Everything from the malformed TLV on.
    pub rest: &'a [u8],
}

/// The TLVs after a base packet, in order. A malformed TLV is the last item.
#[derive(Clone, Debug)]
pub struct TlvChain<'a> {
    rest: &'a [u8],
}

impl<'a> TlvChain<'a> {
    /// `octets`: all that follows the base packet.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }
}

impl<'a> Iterator for TlvChain<'a> {
    type Item = Result<Tlv<'a>, MalformedTlv<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.rest);
        let Some(value_len) = well_formed_value_len(rest) else {
            return Some(Err(MalformedTlv { rest }));
        };
        let (tlv, rest) = rest.split_at(TLV_HEADER_LEN + value_len);
        self.rest = rest;
        Some(Ok(Tlv { flags: TlvFlags(tlv[FLAGS]), kind: tlv[TYPE], value: &tlv[TLV_HEADER_LEN..] }))
    }
}

impl core::iter::FusedIterator for TlvChain<'_> {}

/// What `reflect_tlvs` met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlvOutcome {
    /// Well-formed TLVs.
    pub count: u32,
    /// Those of them that were returned with U set.
    pub unrecognized: u32,
    /// The chain ended in something malformed.
    pub malformed: bool,
}

/// Make the TLVs of a request those of its reply, in place. `buf`: all octets after the base packet.
///
/// Only Flags octets are written. The tail of a chain that is too short for a header has none and stays as it is.
pub fn reflect_tlvs(buf: &mut [u8]) -> TlvOutcome {
    let mut outcome = TlvOutcome::default();
    let mut rest = buf;
    while !rest.is_empty() {
        let Some(value_len) = well_formed_value_len(rest) else {
            if rest.len() >= TLV_HEADER_LEN {
                rest[FLAGS] = TlvFlags::MALFORMED.0;
            }
            outcome.malformed = true;
            break;
        };
        let honoured = TlvType::from_code(rest[TYPE]).is_some_and(TlvType::is_honoured);
        rest[FLAGS] = if honoured { 0 } else { TlvFlags::UNRECOGNIZED.0 };
        outcome.count += 1;
        outcome.unrecognized += u32::from(!honoured);
        rest = &mut rest[TLV_HEADER_LEN + value_len..];
    }
    outcome
}

/// Fill `buf` with one Extra Padding TLV (RFC 8972 section 4.1) as a Session-Sender sends it.
///
/// `fill` writes the Value: zeros or pseudo-random octets. An empty `buf` takes no TLV; one of 1 to 3 octets cannot.
pub fn write_extra_padding(buf: &mut [u8], fill: impl FnOnce(&mut [u8])) -> Result<(), WireError> {
    let have = buf.len();
    if have == 0 {
        return Ok(());
    }
    let Some((header, value)) = buf.split_first_chunk_mut::<TLV_HEADER_LEN>() else {
        return Err(WireError::BufferTooSmall { need: TLV_HEADER_LEN, have });
    };
    let length = u16::try_from(value.len()).map_err(|_| WireError::TlvTooLong { have: value.len() })?;
    header[FLAGS] = TlvFlags::UNRECOGNIZED.0;
    header[TYPE] = TlvType::ExtraPadding.code();
    header[LENGTH..].copy_from_slice(&length.to_be_bytes());
    fill(value);
    Ok(())
}

/// Length of the Value of the TLV at the beginning of `octets`, if header and Value are there.
#[inline]
fn well_formed_value_len(octets: &[u8]) -> Option<usize> {
    let header = octets.first_chunk::<TLV_HEADER_LEN>()?;
    let value_len = usize::from(u16::from_be_bytes([header[LENGTH], header[LENGTH + 1]]));
    (value_len <= octets.len() - TLV_HEADER_LEN).then_some(value_len)
}
