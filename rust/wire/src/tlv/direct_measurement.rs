//! Direct Measurement (RFC 8972 section 4.5): counters of the packets whose loss is measured, at both ends.

use super::u32_at;

/// Octets of the Value.
pub const LEN: usize = 12;
/// Offset of R_TxC in the Value.
pub const REFLECTOR_SENT_AT: usize = 8;

/// The Value. Counters wrap, so only their differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectMeasurement {
    /// S_TxC: packets that the Session-Sender sent.
    pub sender_sent: u32,
    /// R_RxC: packets that the Session-Reflector received; 0 in a request.
    pub reflector_received: u32,
    /// R_TxC: packets that the Session-Reflector sent; 0 in a request.
    pub reflector_sent: u32,
}

impl DirectMeasurement {
    /// Reads a Value; `None` if its Length is wrong.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        (value.len() == LEN).then(|| Self {
            sender_sent: u32_at(value, 0),
            reflector_received: u32_at(value, 4),
            reflector_sent: u32_at(value, REFLECTOR_SENT_AT),
        })
    }

    /// Writes a Value of the right Length.
    #[inline]
    pub fn write(self, value: &mut [u8]) {
        if let Some(value) = value.first_chunk_mut::<LEN>() {
            value[..4].copy_from_slice(&self.sender_sent.to_be_bytes());
            value[4..8].copy_from_slice(&self.reflector_received.to_be_bytes());
            value[8..].copy_from_slice(&self.reflector_sent.to_be_bytes());
        }
    }
}
