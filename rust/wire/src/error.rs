//! What can be wrong with a test packet, a timestamp or a key.

use core::fmt;

/// The rule that octets (or a request to write them) break.
///
/// A variant never carries octets from the wire, so it can be counted and printed without care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The packet is shorter than the base packet of its format.
    TooShort {
        /// Octets that the format needs.
        need: usize,
        /// Octets that are there.
        have: usize,
    },
    /// The buffer to write into is shorter than what is to be written.
    BufferTooSmall {
        /// Octets to be written.
        need: usize,
        /// Octets that the buffer holds.
        have: usize,
    },
    /// The Value of a TLV would not fit its 16-bit Length field.
    TlvTooLong {
        /// Octets that the Value would have.
        have: usize,
    },
    /// The format is authenticated or encrypted and no key was given.
    MissingKey,
    /// A STAMP key was given for a TWAMP format, or the reverse.
    WrongKeyKind,
    /// The HMAC does not match: a forged or damaged packet, or another key (RFC 4656 section 4.2, RFC 8762 section 4.4).
    BadHmac,
}

impl WireError {
    /// A short fixed name, the same in vectors, counters and Python.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::BufferTooSmall { .. } => "buffer_too_small",
            Self::TlvTooLong { .. } => "tlv_too_long",
            Self::MissingKey => "missing_key",
            Self::WrongKeyKind => "wrong_key_kind",
            Self::BadHmac => "bad_hmac",
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { need, have } => {
                write!(f, "packet of {have} octets is shorter than the {need} of its format")
            }
            Self::BufferTooSmall { need, have } => {
                write!(f, "buffer of {have} octets cannot hold the {need} to be written")
            }
            Self::TlvTooLong { have } => {
                write!(f, "TLV value of {have} octets exceeds its length field")
            }
            Self::MissingKey => f.write_str("this packet format needs a key"),
            Self::WrongKeyKind => f.write_str("the key belongs to another protocol"),
            Self::BadHmac => f.write_str("HMAC does not match"),
        }
    }
}

impl core::error::Error for WireError {}

/// A PTP timestamp whose nanoseconds are not below one second (RFC 8186 section 2.1, IEEE 1588).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimestamp {
    /// The nanoseconds field as received.
    pub nanoseconds: u32,
}

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTP timestamp with {} ns in its second", self.nanoseconds)
    }
}

impl core::error::Error for InvalidTimestamp {}

/// Why octets cannot serve as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// A key of no octets authenticates nothing.
    Empty,
    /// A STAMP key may have at most 64 octets, the block of SHA-256: HMAC would silently replace a longer one by its hash.
    TooLong {
        /// Octets of the key.
        have: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("key is empty"),
            Self::TooLong { have } => write!(f, "key of {have} octets exceeds 64"),
        }
    }
}

impl core::error::Error for KeyError {}
