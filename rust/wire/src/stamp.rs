//! STAMP base packets (RFC 8762 sections 4.2 and 4.3) with the SSID of RFC 8972 section 3. TLVs follow the base packet.
//!
//! Requests and replies have the same size. In authenticated mode HMAC-SHA-256, cut to 16 octets, covers octets 0..96 as
//! they are on the wire; nothing is encrypted.

use crate::layout::{ReflectorLayout, SenderLayout};

/// Session-Sender, unauthenticated. Octets 16..44 MBZ.
pub const SENDER_UNAUTHENTICATED: SenderLayout =
    SenderLayout { sequence_number: 0, timestamp: 4, error_estimate: 12, ssid: Some(14), length: 44, hmac: None };

/// Session-Reflector, unauthenticated. Octets 38..40 and 41..44 MBZ.
pub const REFLECTOR_UNAUTHENTICATED: ReflectorLayout = ReflectorLayout {
    sequence_number: 0,
    timestamp: 4,
    error_estimate: 12,
    ssid: Some(14),
    receive_timestamp: 16,
    sender_sequence_number: 24,
    sender_timestamp: 28,
    sender_error_estimate: 36,
    sender_ttl: 40,
    sender_dscp_ecn: 41,
    length: 44,
    length_with_dscp_ecn: 44,
    hmac: None,
};

/// Session-Sender, authenticated. Octets 4..16 and 28..96 MBZ.
pub const SENDER_AUTHENTICATED: SenderLayout =
    SenderLayout { sequence_number: 0, timestamp: 16, error_estimate: 24, ssid: Some(26), hmac: Some(96), length: 112 };

/// Session-Reflector, authenticated. Octets 4..16, 28..32, 40..48, 52..64, 74..80 and 81..96 MBZ.
pub const REFLECTOR_AUTHENTICATED: ReflectorLayout = ReflectorLayout {
    sequence_number: 0,
    timestamp: 16,
    error_estimate: 24,
    ssid: Some(26),
    receive_timestamp: 32,
    sender_sequence_number: 48,
    sender_timestamp: 64,
    sender_error_estimate: 72,
    sender_ttl: 80,
    sender_dscp_ecn: 81,
    hmac: Some(96),
    length: 112,
    length_with_dscp_ecn: 112,
};

/// First octets of an authenticated packet that the HMAC covers (RFC 8762 section 4.4).
pub const AUTHENTICATED_OCTETS: usize = 96;
