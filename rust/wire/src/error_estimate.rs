//! Error Estimate: how wrong a timestamp may be, and in which format it is (RFC 4656 section 4.1.2, RFC 8186 section 2.3,
//! RFC 8762 section 4.2.1).
//!
//! ```text
//!  0                   1
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |S|Z|   Scale   |   Multiplier  |   error = Multiplier * 2^(Scale - 32) seconds
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! It is an upper bound, so every rounding here goes up.

use crate::timestamp::TimestampFormat;

const S_BIT: u16 = 0x8000;
const Z_BIT: u16 = 0x4000;
const SCALE_SHIFT: u32 = 8;
const SCALE_MASK: u16 = 0x3F00;
const MULTIPLIER_MASK: u16 = 0x00FF;
const NANOS: u128 = 1_000_000_000;

/// The 16 bits of an Error Estimate field. Any value may arrive; Multiplier 0 is invalid (RFC 4656 section 4.1.2) and is
/// left to the caller to judge, because reflectors that send it exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorEstimate(pub u16);

impl ErrorEstimate {
    /// An unsynchronised clock of unknown error: the widest bound that the field can say.
    pub const UNKNOWN: Self = Self(SCALE_MASK | MULTIPLIER_MASK);

    /// The smallest Error Estimate that is not below `error_ns`; `None` for an error that is not known.
    ///
    /// `synchronized`: the clock follows UTC by an external source (S bit).
    pub const fn new(synchronized: bool, format: TimestampFormat, error_ns: Option<u64>) -> Self {
        let magnitude = match error_ns {
            None => Self::UNKNOWN.0,
            Some(error_ns) => {
                let mut multiplier = ((error_ns as u128) << 32).div_ceil(NANOS);
                if multiplier == 0 {
                    multiplier = 1;
                }
                let mut scale = 0;
                // A u64 of nanoseconds needs at most Scale 59, so neither the field nor UNKNOWN is ever reached.
                while multiplier > MULTIPLIER_MASK as u128 {
                    multiplier = multiplier.div_ceil(2);
                    scale += 1;
                }
                (scale << SCALE_SHIFT) | multiplier as u16
            }
        };
        let s = if synchronized { S_BIT } else { 0 };
        let z = match format {
            TimestampFormat::Ntp => 0,
            TimestampFormat::Ptp => Z_BIT,
        };
        Self(s | z | magnitude)
    }

    /// The same bound for timestamps of another format.
    #[must_use]
    pub const fn with_format(self, format: TimestampFormat) -> Self {
        match format {
            TimestampFormat::Ntp => Self(self.0 & !Z_BIT),
            TimestampFormat::Ptp => Self(self.0 | Z_BIT),
        }
    }

    /// S: the clock is synchronised to UTC by an external source.
    #[inline]
    pub const fn synchronized(self) -> bool {
        self.0 & S_BIT != 0
    }

    /// Z: the format of every timestamp that this Error Estimate governs.
    #[inline]
    pub const fn format(self) -> TimestampFormat {
        if self.0 & Z_BIT == 0 { TimestampFormat::Ntp } else { TimestampFormat::Ptp }
    }

    /// Scale, 0..=63.
    pub const fn scale(self) -> u8 {
        ((self.0 & SCALE_MASK) >> SCALE_SHIFT) as u8
    }

    /// Multiplier; 0 is invalid.
    #[inline]
    pub const fn multiplier(self) -> u8 {
        (self.0 & MULTIPLIER_MASK) as u8
    }

    /// The bound in nanoseconds, rounded up; `None` when the Multiplier is 0 (invalid) or the bound is the widest that
    /// there is (`UNKNOWN`, whatever S and Z).
    pub const fn error_ns(self) -> Option<u64> {
        let unknown = self.0 & Self::UNKNOWN.0 == Self::UNKNOWN.0;
        if self.multiplier() == 0 || unknown {
            return None;
        }
        // At most 8 + 30 + 63 bits.
        let scaled = (self.multiplier() as u128 * NANOS) << self.scale();
        let error_ns = scaled.div_ceil(1 << 32);
        Some(if error_ns > u64::MAX as u128 { u64::MAX } else { error_ns as u64 })
    }
}
