//! A request turned into its reply in the same buffer, and the guard against two reflectors answering each other.

use crate::auth::TestKeys;
use crate::error::WireError;
use crate::error_estimate::ErrorEstimate;
use crate::packet::{PacketFormat, ReflectorPacket, SenderPacket, get};
use crate::timestamp::{RawTimestamp, TimestampFormat, WallNanos};

/// What the Session-Reflector adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct ReflectInput {
    /// Its own count of replies in this session; `None` copies the Session-Sender's number (no state kept).
    pub sequence: Option<u32>,
    /// T2.
    pub receive_timestamp: WallNanos,
    /// T3.
    pub transmit_timestamp: WallNanos,
    /// Error Estimate of both; its Z bit chooses their format.
    pub error_estimate: ErrorEstimate,
    /// TTL or Hop Limit of the request on arrival; `None` if it could not be learnt (255 is written).
    pub ttl: Option<u8>,
    /// DSCP and ECN octet of the request on arrival, where RFC 7750 monitoring is in use; else `None`.
    pub dscp_ecn: Option<u8>,
    /// The request left room for the reply's header (RFC 6038 section 5.1.4), so its padding already stands where the
    /// reply's does. Only TWAMP formats look at it: a STAMP request always has that room.
    pub symmetrical_size: bool,
}

/// Octets of the reply to a request: as many as the request has, and at least the base packet.
///
/// That is the truncation of RFC 5357 section 4.2.1, the symmetrical size of RFC 6038 and the rule of RFC 8762 section
/// 4.3 alike. `dscp_ecn`: RFC 7750 monitoring is in use.
#[inline]
pub const fn reply_len(format: PacketFormat, request_len: usize, dscp_ecn: bool) -> usize {
    let base = format.reflector_len_with(dscp_ecn);
    if request_len > base { request_len } else { base }
}

/// Turn the request in `buf`, already parsed as `sender`, into its reply.
///
/// `buf` has `reply_len` octets; those beyond the request are overwritten. In STAMP what follows the base packet stays
/// (`reflect_tlvs` is for that). In TWAMP the request's padding moves behind the longer header and loses its end (RFC
/// 5357 section 4.2.1), so that the first octets of it come back whole (RFC 6038 section 4 builds on that).
#[inline]
pub fn reflect_in_place(
    format: PacketFormat,
    keys: &TestKeys,
    sender: &SenderPacket,
    input: &ReflectInput,
    buf: &mut [u8],
) -> Result<(), WireError> {
    keys.check(format.reflector_protection())?;
    let header_len = format.reflector_len_with(input.dscp_ecn.is_some());
    let have = buf.len();
    if have < header_len {
        return Err(WireError::BufferTooSmall { need: header_len, have });
    }
    if !format.is_stamp() && !input.symmetrical_size {
        let from = format.sender_len();
        buf.copy_within(from..from + (have - header_len), header_len);
    }
    let timestamps = input.error_estimate.format();
    let reply = ReflectorPacket {
        sequence: input.sequence.unwrap_or(sender.sequence),
        timestamp: RawTimestamp::encode(input.transmit_timestamp, timestamps),
        error_estimate: input.error_estimate,
        ssid: sender.ssid,
        receive_timestamp: RawTimestamp::encode(input.receive_timestamp, timestamps),
        sender_sequence: sender.sequence,
        sender_timestamp: sender.timestamp,
        sender_error_estimate: sender.error_estimate,
        sender_ttl: input.ttl,
        sender_dscp_ecn: input.dscp_ecn,
    };
    reply.emit(format, keys, buf)
}

/// Longest residence of a reply (T3 - T2) by which it is still known as one, in 2^-32 s.
const RESIDENCE_MAX: i64 = 10 << 32;
/// How far T3 may stand before T2 in a reply (a clock stepped back in between), in 2^-32 s.
const RESIDENCE_MIN: i64 = -(1 << 32);

/// Whether octets that came as a request look like a Session-Reflector's packet.
///
/// A forged request that bears another reflector's address would make two reflectors answer each other for ever. Every
/// reply carries T3 where a request has T1, and beside it T2, shortly before T3 and in the same format. A request has MBZ
/// or padding where T2 stands: zero is no timestamp, and random octets fall into the 11 s around T3 with probability
/// 11 * 2^32 / 2^64, less than 3 in 10^9 (for PTP, where most values are not even valid, less still). So replies are
/// known, except where a reflector kept the request for more than 10 s, which ends a loop by itself.
///
/// Encrypted TWAMP shows no timestamps, and there is no need: in both protected TWAMP formats a reply does not pass for a
/// request because the HMAC stands elsewhere. The result is then `false`. In authenticated STAMP it does pass, so the
/// guard is as necessary as without keys.
#[inline]
pub fn is_reply_shaped(format: PacketFormat, buf: &[u8]) -> bool {
    let layout = format.reflector_layout();
    if format == PacketFormat::TwampEncrypted || buf.len() < layout.receive_timestamp + 8 {
        return false;
    }
    let error_estimate = ErrorEstimate(u16::from_be_bytes(get(buf, layout.error_estimate)));
    let transmit = u64::from_be_bytes(get(buf, layout.timestamp));
    let receive = u64::from_be_bytes(get(buf, layout.receive_timestamp));
    if receive == 0 {
        return false;
    }
    // Differences are taken modulo 2^64 in units of 2^-32 s, so that eras do not matter. PTP's nanoseconds are first put
    // on that scale.
    let (transmit, receive) = match error_estimate.format() {
        TimestampFormat::Ntp => (transmit, receive),
        TimestampFormat::Ptp => match (ptp_to_fixed_point(transmit), ptp_to_fixed_point(receive)) {
            (Some(transmit), Some(receive)) => (transmit, receive),
            _ => return false,
        },
    };
    let residence = transmit.wrapping_sub(receive) as i64;
    (RESIDENCE_MIN..=RESIDENCE_MAX).contains(&residence)
}

/// Seconds in 32.32 fixed point, modulo 2^32 s; `None` if the nanoseconds are not below one second.
fn ptp_to_fixed_point(raw: u64) -> Option<u64> {
    let nanos = raw & 0xFFFF_FFFF;
    let fraction = (nanos << 32) / 1_000_000_000;
    (nanos < 1_000_000_000).then_some((raw & !0xFFFF_FFFF) | fraction)
}
