//! Timestamps of test packets: NTP (RFC 5905, RFC 4656 section 4.1.2) and truncated PTP version 2 (RFC 8186 section 2.1).
//!
//! Both have 32 bits of seconds and repeat: NTP every 2^32 s from 1900 (era 1 begins 2036-02-07 06:28:16 UTC), PTP every
//! 2^32 s from 1970 (2106-02-07). The wire does not say which era it means, so decoding takes a moment near the truth
//! and chooses the era closest to it; that is right as long as both are within 68 years.
//!
//! PTP timestamps are read and written as UTC. A peer whose clock really counts TAI is ahead by TAI - UTC; the caller,
//! who is told so by its operator, shifts before encoding and after decoding. The format bit says nothing about it.

use crate::error::InvalidTimestamp;

/// Nanoseconds in a second.
const NANOS: i64 = 1_000_000_000;
/// Seconds from 1900-01-01 (NTP era 0) to 1970-01-01 (Unix), RFC 5905 figure 4.
const NTP_TO_UNIX_S: i64 = 2_208_988_800;

/// Format of the timestamps that an Error Estimate governs: its Z bit (RFC 8186 section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampFormat {
    /// Z = 0: seconds since 1900 and a binary fraction of 2^-32 s.
    #[default]
    Ntp,
    /// Z = 1: seconds since 1970 and nanoseconds.
    Ptp,
}

impl TimestampFormat {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Ntp, Self::Ptp];

    /// "ntp" or "ptp".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ntp => "ntp",
            Self::Ptp => "ptp",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// A moment of the wall clock: nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallNanos(pub i64);

impl WallNanos {
    /// Nanoseconds from `earlier` to this moment (negative if `earlier` is later), at most what an `i64` holds.
    #[inline]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The 64 bits of a timestamp field. Their format is known from the Error Estimate beside it, never from the bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RawTimestamp(pub u64);

impl RawTimestamp {
    /// Write a moment, rounded to the nearest step of the format (NTP: 0.23 ns; PTP: exact).
    #[inline]
    pub const fn encode(moment: WallNanos, format: TimestampFormat) -> Self {
        let unix_s = moment.0.div_euclid(NANOS);
        let nanos = moment.0.rem_euclid(NANOS) as u64;
        let (seconds, low) = match format {
            // 999 999 999 ns rounds to 2^32 - 4, so the fraction never carries into the seconds.
            TimestampFormat::Ntp => {
                (unix_s.wrapping_add(NTP_TO_UNIX_S) as u32, ((nanos << 32) + NANOS as u64 / 2) / NANOS as u64)
            }
            TimestampFormat::Ptp => (unix_s as u32, nanos),
        };
        Self(((seconds as u64) << 32) | low)
    }

    /// Read a moment, in the era closest to `near`. Undoes `encode` exactly.
    ///
    /// A moment that an `i64` of nanoseconds cannot hold (years 1678 to 2262) becomes the nearest one that it can.
    #[inline]
    pub const fn decode(self, format: TimestampFormat, near: WallNanos) -> Result<WallNanos, InvalidTimestamp> {
        let seconds = (self.0 >> 32) as u32;
        let low = self.0 as u32;
        let near_s = near.0.div_euclid(NANOS);
        let (offset_s, nanos) = match format {
            TimestampFormat::Ntp => (NTP_TO_UNIX_S, ((low as u64 * NANOS as u64 + (1 << 31)) >> 32) as i64),
            TimestampFormat::Ptp if (low as i64) < NANOS => (0, low as i64),
            TimestampFormat::Ptp => return Err(InvalidTimestamp { nanoseconds: low }),
        };
        // The signed distance modulo 2^32 s picks the era: RFC 5905 section 6.
        let distance_s = seconds.wrapping_sub((near_s + offset_s) as u32) as i32;
        let unix_s = near_s + distance_s as i64;
        Ok(WallNanos(unix_s.saturating_mul(NANOS).saturating_add(nanos)))
    }
}
