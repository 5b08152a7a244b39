//! How a packet layout is described: the octet at which each field of an RFC figure begins.
//!
//! The tables themselves stand in `owamp_test`, `twamp_test` and `stamp`, one per figure. A layout is always a constant,
//! so that the offsets and the bounds checks on them are resolved when the code is compiled.

/// Offsets of a Session-Sender packet.
#[derive(Clone, Copy, Debug)]
pub struct SenderLayout {
    /// Octets of the base packet: padding or TLVs follow.
    pub length: usize,
    /// Sequence Number, 4 octets.
    pub sequence_number: usize,
    /// Timestamp (T1), 8 octets.
    pub timestamp: usize,
    /// Error Estimate of T1, 2 octets.
    pub error_estimate: usize,
    /// SSID, 2 octets (RFC 8972 section 3), where the format has one.
    pub ssid: Option<usize>,
    /// HMAC, 16 octets, where the format has one.
    pub hmac: Option<usize>,
}

/// Offsets of a Session-Reflector packet.
#[derive(Clone, Copy, Debug)]
pub struct ReflectorLayout {
    /// Octets of the base packet: padding or TLVs follow.
    pub length: usize,
    /// Sequence Number, 4 octets.
    pub sequence_number: usize,
    /// Timestamp (T3), 8 octets.
    pub timestamp: usize,
    /// Error Estimate of T3 and T2, 2 octets.
    pub error_estimate: usize,
    /// SSID, 2 octets (RFC 8972 section 3), where the format has one.
    pub ssid: Option<usize>,
    /// Receive Timestamp (T2), 8 octets.
    pub receive_timestamp: usize,
    /// Sender Sequence Number, 4 octets.
    pub sender_sequence_number: usize,
    /// Sender Timestamp (T1), 8 octets.
    pub sender_timestamp: usize,
    /// Sender Error Estimate, 2 octets.
    pub sender_error_estimate: usize,
    /// Sender TTL, 1 octet.
    pub sender_ttl: usize,
    /// S-DSCP-ECN, 1 octet, where DSCP and ECN monitoring is in use (RFC 7750 section 2.2); else MBZ or padding.
    pub sender_dscp_ecn: usize,
    /// Octets of the base packet with DSCP and ECN monitoring.
    pub length_with_dscp_ecn: usize,
    /// HMAC, 16 octets, where the format has one.
    pub hmac: Option<usize>,
}
