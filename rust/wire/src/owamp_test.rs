//! OWAMP-Test packets (RFC 4656 section 4.1.2). TWAMP's Session-Sender sends the same ones (RFC 5357 section 4.1.2).
//!
//! Authenticated and encrypted packets share a layout and differ in what is protected:
//!
//! | | HMAC covers | AES-128 encrypts |
//! |---|---|---|
//! | authenticated | octets 0..16 | octets 0..16 |
//! | encrypted | octets 0..32 | octets 0..32, CBC with a zero IV for each packet |

use crate::layout::SenderLayout;

/// Unauthenticated (and mixed) mode. Packet Padding from octet 14.
pub const SENDER_UNAUTHENTICATED: SenderLayout =
    SenderLayout { sequence_number: 0, timestamp: 4, error_estimate: 12, length: 14, ssid: None, hmac: None };

/// Authenticated and encrypted modes. Octets 4..16 and 26..32 MBZ, Packet Padding from octet 48.
pub const SENDER_AUTHENTICATED: SenderLayout =
    SenderLayout { sequence_number: 0, timestamp: 16, error_estimate: 24, hmac: Some(32), length: 48, ssid: None };

/// First octets of an authenticated packet that are encrypted and covered by the HMAC.
pub const AUTHENTICATED_OCTETS: usize = 16;
/// First octets of an encrypted Session-Sender packet that are encrypted and covered by the HMAC.
pub const SENDER_ENCRYPTED_OCTETS: usize = 32;
