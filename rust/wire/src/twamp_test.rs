//! TWAMP-Test packets of the Session-Reflector (RFC 5357 section 4.2.1, RFC 7750 section 2.2); the Session-Sender's are
//! OWAMP's (`owamp_test`).
//!
//! The RFC prints 104 octets for the authenticated header; the figure adds up to 112 (erratum 5045), which is what
//! everybody sends.

use crate::layout::ReflectorLayout;

/// Unauthenticated (and mixed) mode. Octets 14..16 and 38..40 MBZ, Packet Padding from octet 41 (44 with DSCP and ECN
/// monitoring).
pub const REFLECTOR_UNAUTHENTICATED: ReflectorLayout = ReflectorLayout {
    sequence_number: 0,
    timestamp: 4,
    error_estimate: 12,
    receive_timestamp: 16,
    sender_sequence_number: 24,
    sender_timestamp: 28,
    sender_error_estimate: 36,
    sender_ttl: 40,
    length: 41,
    sender_dscp_ecn: 41,
    length_with_dscp_ecn: 44,
    ssid: None,
    hmac: None,
};

/// Authenticated and encrypted modes: one field to an AES block, the rest of each block MBZ. Packet Padding from 112.
pub const REFLECTOR_AUTHENTICATED: ReflectorLayout = ReflectorLayout {
    sequence_number: 0,
    timestamp: 16,
    error_estimate: 24,
    receive_timestamp: 32,
    sender_sequence_number: 48,
    sender_timestamp: 64,
    sender_error_estimate: 72,
    sender_ttl: 80,
    sender_dscp_ecn: 81,
    hmac: Some(96),
    length: 112,
    length_with_dscp_ecn: 112,
    ssid: None,
};

/// First octets of an encrypted Session-Reflector packet that are encrypted and covered by the HMAC.
pub const REFLECTOR_ENCRYPTED_OCTETS: usize = 96;
/// Shortest unauthenticated reply worth reading: up to and with the Sender Error Estimate. Reflectors that leave out
/// what follows exist.
pub const REFLECTOR_UNAUTHENTICATED_SHORTEST: usize = 38;
