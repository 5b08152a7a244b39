//! The five test-packet formats, read and written.
//!
//! `SenderPacket` and `ReflectorPacket` hold what the fields mean. `emit` writes a base packet, all of its MBZ octets
//! zero, and leaves alone what follows it (padding, TLVs). `parse` is lenient where the RFCs or the peers in the field
//! are: MBZ octets and what follows the base packet are ignored, a Multiplier of 0 is left to the caller.

use core::ops::Range;

use crate::auth::{Protection, TestKeys};
use crate::error::WireError;
use crate::error_estimate::ErrorEstimate;
use crate::layout::{ReflectorLayout, SenderLayout};
use crate::timestamp::RawTimestamp;
use crate::{owamp_test, stamp, twamp_test};

/// A test-packet format. OWAMP-Test is TWAMP's Session-Sender side; mixed mode (RFC 5618) uses `Twamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketFormat {
    /// STAMP, unauthenticated. As a Session-Reflector it also serves TWAMP Light (RFC 8762 section 4.6).
    Stamp,
    /// STAMP, authenticated.
    StampAuthenticated,
    /// TWAMP-Test, unauthenticated or mixed mode.
    Twamp,
    /// TWAMP-Test, authenticated mode: sequence number protected.
    TwampAuthenticated,
    /// TWAMP-Test, encrypted mode: timestamps protected too.
    TwampEncrypted,
}

impl PacketFormat {
    /// All formats.
    pub const ALL: [Self; 5] =
        [Self::Stamp, Self::StampAuthenticated, Self::Twamp, Self::TwampAuthenticated, Self::TwampEncrypted];

    /// The name used in specifications, vectors and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stamp => "stamp",
            Self::StampAuthenticated => "stamp-authenticated",
            Self::Twamp => "twamp",
            Self::TwampAuthenticated => "twamp-authenticated",
            Self::TwampEncrypted => "twamp-encrypted",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Layout of the Session-Sender's base packet.
    #[inline]
    pub const fn sender_layout(self) -> &'static SenderLayout {
        match self {
            Self::Stamp => &stamp::SENDER_UNAUTHENTICATED,
            Self::StampAuthenticated => &stamp::SENDER_AUTHENTICATED,
            Self::Twamp => &owamp_test::SENDER_UNAUTHENTICATED,
            Self::TwampAuthenticated | Self::TwampEncrypted => &owamp_test::SENDER_AUTHENTICATED,
        }
    }

    /// Layout of the Session-Reflector's base packet.
    #[inline]
    pub const fn reflector_layout(self) -> &'static ReflectorLayout {
        match self {
            Self::Stamp => &stamp::REFLECTOR_UNAUTHENTICATED,
            Self::StampAuthenticated => &stamp::REFLECTOR_AUTHENTICATED,
            Self::Twamp => &twamp_test::REFLECTOR_UNAUTHENTICATED,
            Self::TwampAuthenticated | Self::TwampEncrypted => &twamp_test::REFLECTOR_AUTHENTICATED,
        }
    }

    /// Octets of the Session-Sender's base packet.
    #[inline]
    pub const fn sender_len(self) -> usize {
        self.sender_layout().length
    }

    /// Octets of the Session-Reflector's base packet without DSCP and ECN monitoring.
    #[inline]
    pub const fn reflector_len(self) -> usize {
        self.reflector_layout().length
    }

    /// Octets of the Session-Reflector's base packet, with DSCP and ECN monitoring (RFC 7750) or without.
    #[inline]
    pub const fn reflector_len_with(self, dscp_ecn: bool) -> usize {
        if dscp_ecn { self.reflector_layout().length_with_dscp_ecn } else { self.reflector_layout().length }
    }

    /// Octets of a request that stay zero, before its padding, where both directions have the same size (RFC 6038 section
    /// 5.1.4): the room for the reply's longer header. Empty in STAMP, whose base packet has that room.
    ///
    /// `emit` writes the base packet alone, so zeroing these is for whoever fills in the padding.
    pub const fn symmetrical_mbz(self, dscp_ecn: bool) -> Range<usize> {
        self.sender_len()..self.reflector_len_with(dscp_ecn)
    }

    /// Octets that a request must have to be read.
    ///
    /// Unauthenticated STAMP takes TWAMP Light's shorter requests too (RFC 8762 section 4.6).
    #[inline]
    pub const fn shortest_request(self) -> usize {
        match self {
            Self::Stamp => owamp_test::SENDER_UNAUTHENTICATED.length,
            _ => self.sender_len(),
        }
    }

    /// Octets that a reply must have to be read.
    #[inline]
    pub const fn shortest_reply(self) -> usize {
        match self {
            Self::Stamp | Self::Twamp => twamp_test::REFLECTOR_UNAUTHENTICATED_SHORTEST,
            _ => self.reflector_len(),
        }
    }

    /// Whether packets carry an HMAC, so that keys are needed.
    #[inline]
    pub const fn is_authenticated(self) -> bool {
        self.sender_layout().hmac.is_some()
    }

    /// Whether it is one of the two STAMP formats, whose base packet TLVs may follow.
    #[inline]
    pub const fn is_stamp(self) -> bool {
        matches!(self, Self::Stamp | Self::StampAuthenticated)
    }

    const fn sender_protection(self) -> Protection {
        match self {
            Self::Stamp | Self::Twamp => Protection::None,
            Self::StampAuthenticated => Protection::Stamp { covered: stamp::AUTHENTICATED_OCTETS },
            Self::TwampAuthenticated => Protection::Twamp { covered: owamp_test::AUTHENTICATED_OCTETS },
            Self::TwampEncrypted => Protection::Twamp { covered: owamp_test::SENDER_ENCRYPTED_OCTETS },
        }
    }

    pub(crate) const fn reflector_protection(self) -> Protection {
        match self {
            Self::TwampEncrypted => Protection::Twamp { covered: twamp_test::REFLECTOR_ENCRYPTED_OCTETS },
            _ => self.sender_protection(),
        }
    }
}

/// What a Session-Sender's packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderPacket {
    /// Sequence Number: from 0, one more for each packet sent.
    pub sequence: u32,
    /// Timestamp: T1, the departure.
    pub timestamp: RawTimestamp,
    /// Error Estimate of T1.
    pub error_estimate: ErrorEstimate,
    /// STAMP session identifier (RFC 8972 section 3); 0 where there is none, as always in TWAMP.
    pub ssid: u16,
}

/// What a Session-Reflector's packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectorPacket {
    /// Sequence Number: the Session-Reflector's own count, or a copy of the Session-Sender's if it keeps no state.
    pub sequence: u32,
    /// Timestamp: T3, the departure of the reply.
    pub timestamp: RawTimestamp,
    /// Error Estimate of T3 and T2.
    pub error_estimate: ErrorEstimate,
    /// SSID as copied; 0 from a reflector that does not know RFC 8972, and always in TWAMP.
    pub ssid: u16,
    /// Receive Timestamp: T2, the arrival of the request.
    pub receive_timestamp: RawTimestamp,
    /// Sender Sequence Number, copied.
    pub sender_sequence: u32,
    /// Sender Timestamp: T1, copied.
    pub sender_timestamp: RawTimestamp,
    /// Sender Error Estimate, copied.
    pub sender_error_estimate: ErrorEstimate,
    /// Sender TTL: TTL or Hop Limit of the request on arrival. `None` is written as 255 (RFC 5357 section 4.2.1), and read
    /// from replies too short to have the field.
    pub sender_ttl: Option<u8>,
    /// S-DSCP-ECN: the request's DSCP and ECN octet on arrival (RFC 7750 section 2.2); `None` without that monitoring.
    pub sender_dscp_ecn: Option<u8>,
}

impl SenderPacket {
    /// Write the base packet to the beginning of `buf`; nothing after it is touched.
    #[inline]
    pub fn emit(&self, format: PacketFormat, keys: &TestKeys, buf: &mut [u8]) -> Result<(), WireError> {
        // One constant layout in each arm: the compiler then knows every offset.
        match format {
            PacketFormat::Stamp => self.emit_as(PacketFormat::Stamp, keys, buf),
            PacketFormat::Twamp => self.emit_as(PacketFormat::Twamp, keys, buf),
            _ => self.emit_as(format, keys, buf),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "offsets become constants in the caller")]
    fn emit_as(&self, format: PacketFormat, keys: &TestKeys, buf: &mut [u8]) -> Result<(), WireError> {
        let layout = format.sender_layout();
        let protection = format.sender_protection();
        keys.check(protection)?;
        let base = base_mut(buf, layout.length)?;
        base.fill(0);
        put(base, layout.sequence_number, self.sequence.to_be_bytes());
        put(base, layout.timestamp, self.timestamp.0.to_be_bytes());
        put(base, layout.error_estimate, self.error_estimate.0.to_be_bytes());
        if let Some(at) = layout.ssid {
            put(base, at, self.ssid.to_be_bytes());
        }
        match layout.hmac {
            Some(at) => keys.seal(protection, at, base),
            None => Ok(()),
        }
    }

    /// Read the base packet. Encrypted octets are decrypted in place, whether or not the HMAC then matches.
    ///
    /// Unauthenticated STAMP reads requests from 14 octets on; below 44 they can only be TWAMP Light's (whose padding
    /// stands where STAMP has the SSID), so their SSID is 0.
    #[inline]
    pub fn parse(format: PacketFormat, keys: &TestKeys, buf: &mut [u8]) -> Result<Self, WireError> {
        match format {
            PacketFormat::Stamp => Self::parse_as(PacketFormat::Stamp, keys, buf),
            PacketFormat::Twamp => Self::parse_as(PacketFormat::Twamp, keys, buf),
            _ => Self::parse_as(format, keys, buf),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "offsets become constants in the caller")]
    fn parse_as(format: PacketFormat, keys: &TestKeys, buf: &mut [u8]) -> Result<Self, WireError> {
        let layout = format.sender_layout();
        let need = format.shortest_request();
        let have = buf.len();
        if have < need {
            return Err(WireError::TooShort { need, have });
        }
        if let Some(at) = layout.hmac {
            keys.open(format.sender_protection(), at, &mut buf[..layout.length])?;
        }
        let ssid = match layout.ssid {
            Some(at) if have >= layout.length => u16::from_be_bytes(get(buf, at)),
            _ => 0,
        };
        Ok(Self {
            sequence: u32::from_be_bytes(get(buf, layout.sequence_number)),
            timestamp: RawTimestamp(u64::from_be_bytes(get(buf, layout.timestamp))),
            error_estimate: ErrorEstimate(u16::from_be_bytes(get(buf, layout.error_estimate))),
            ssid,
        })
    }
}

impl ReflectorPacket {
    /// Write the base packet to the beginning of `buf`; nothing after it is touched.
    #[inline]
    pub fn emit(&self, format: PacketFormat, keys: &TestKeys, buf: &mut [u8]) -> Result<(), WireError> {
        match format {
            PacketFormat::Stamp => self.emit_as(PacketFormat::Stamp, keys, buf),
            PacketFormat::Twamp => self.emit_as(PacketFormat::Twamp, keys, buf),
            _ => self.emit_as(format, keys, buf),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "offsets become constants in the caller")]
    fn emit_as(&self, format: PacketFormat, keys: &TestKeys, buf: &mut [u8]) -> Result<(), WireError> {
        let layout = format.reflector_layout();
        let protection = format.reflector_protection();
        keys.check(protection)?;
        let base = base_mut(buf, format.reflector_len_with(self.sender_dscp_ecn.is_some()))?;
        base.fill(0);
        put(base, layout.sequence_number, self.sequence.to_be_bytes());
        put(base, layout.timestamp, self.timestamp.0.to_be_bytes());
        put(base, layout.error_estimate, self.error_estimate.0.to_be_bytes());
        if let Some(at) = layout.ssid {
            put(base, at, self.ssid.to_be_bytes());
        }
        put(base, layout.receive_timestamp, self.receive_timestamp.0.to_be_bytes());
        put(base, layout.sender_sequence_number, self.sender_sequence.to_be_bytes());
        put(base, layout.sender_timestamp, self.sender_timestamp.0.to_be_bytes());
        put(base, layout.sender_error_estimate, self.sender_error_estimate.0.to_be_bytes());
        put(base, layout.sender_ttl, [self.sender_ttl.unwrap_or(255)]);
        if let Some(dscp_ecn) = self.sender_dscp_ecn {
            put(base, layout.sender_dscp_ecn, [dscp_ecn]);
        }
        match layout.hmac {
            Some(at) => keys.seal(protection, at, base),
            None => Ok(()),
        }
    }

    /// Read the base packet. Encrypted octets are decrypted in place, whether or not the HMAC then matches.
    ///
    /// `dscp_ecn`: the session monitors DSCP and ECN (RFC 7750), so the octet after the Sender TTL has a meaning.
    /// Unauthenticated replies are read from 38 octets on, because such peers exist; fields beyond the end are `None`.
    #[inline]
    pub fn parse(format: PacketFormat, keys: &TestKeys, buf: &mut [u8], dscp_ecn: bool) -> Result<Self, WireError> {
        let layout = format.reflector_layout();
        let need = format.shortest_reply();
        let have = buf.len();
        if have < need {
            return Err(WireError::TooShort { need, have });
        }
        if let Some(at) = layout.hmac {
            keys.open(format.reflector_protection(), at, &mut buf[..layout.length])?;
        }
        Ok(Self {
            sequence: u32::from_be_bytes(get(buf, layout.sequence_number)),
            timestamp: RawTimestamp(u64::from_be_bytes(get(buf, layout.timestamp))),
            error_estimate: ErrorEstimate(u16::from_be_bytes(get(buf, layout.error_estimate))),
            ssid: match layout.ssid {
                Some(at) => u16::from_be_bytes(get(buf, at)),
                None => 0,
            },
            receive_timestamp: RawTimestamp(u64::from_be_bytes(get(buf, layout.receive_timestamp))),
            sender_sequence: u32::from_be_bytes(get(buf, layout.sender_sequence_number)),
            sender_timestamp: RawTimestamp(u64::from_be_bytes(get(buf, layout.sender_timestamp))),
            sender_error_estimate: ErrorEstimate(u16::from_be_bytes(get(buf, layout.sender_error_estimate))),
            sender_ttl: buf.get(layout.sender_ttl).copied(),
            sender_dscp_ecn: buf.get(layout.sender_dscp_ecn).copied().filter(|_| dscp_ecn),
        })
    }
}

/// The base packet within a buffer to be written.
#[inline]
pub(crate) fn base_mut(buf: &mut [u8], need: usize) -> Result<&mut [u8], WireError> {
    let have = buf.len();
    buf.get_mut(..need).ok_or(WireError::BufferTooSmall { need, have })
}

#[inline]
fn put<const N: usize>(base: &mut [u8], at: usize, octets: [u8; N]) {
    base[at..at + N].copy_from_slice(&octets);
}

/// The caller has checked that the field lies within `buf`.
#[inline]
pub(crate) fn get<const N: usize>(buf: &[u8], at: usize) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(&buf[at..at + N]);
    octets
}
