//! Follow-Up Telemetry (RFC 8972 section 4.7, with erratum 8339): when the previous reply really left.

use super::timestamp_information::TimestampingMethod;
use super::u32_at;
use crate::packet::get;
use crate::timestamp::RawTimestamp;

/// Octets of the Value.
pub const LEN: usize = 16;
/// Octets of Sequence Number and Follow-Up Timestamp, which a Session-Reflector zeroes in a TLV of the wrong Length.
pub(crate) const ZEROED_LEN: usize = 12;

/// The Value. A Session-Sender sends zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowUpTelemetry {
    /// Sequence Number that the Session-Reflector gave to the reply it tells about.
    pub sequence: u32,
    /// When that reply left, in the format that the Error Estimate of the packet says; 0 where it is not known.
    pub timestamp: RawTimestamp,
    /// How the timestamp was obtained.
    pub method: TimestampingMethod,
}

impl FollowUpTelemetry {
    /// Reads a Value; `None` if its Length is wrong.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        (value.len() == LEN).then(|| Self {
            sequence: u32_at(value, 0),
            timestamp: RawTimestamp(u64::from_be_bytes(get(value, 4))),
            method: TimestampingMethod(value[ZEROED_LEN]),
        })
    }

    /// Writes a Value of the right Length, reserved octets zero.
    #[inline]
    pub fn write(self, value: &mut [u8]) {
        if let Some(value) = value.first_chunk_mut::<LEN>() {
            value[..4].copy_from_slice(&self.sequence.to_be_bytes());
            value[4..ZEROED_LEN].copy_from_slice(&self.timestamp.0.to_be_bytes());
            value[ZEROED_LEN..].copy_from_slice(&[self.method.0, 0, 0, 0]);
        }
    }
}
