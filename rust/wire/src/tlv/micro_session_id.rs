//! Micro-session ID (RFC 9534 section 3.1): over which member link of an aggregation a packet goes.

use super::u16_at;

/// Octets of the Value.
pub const LEN: usize = 4;

/// The Value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MicroSessionId {
    /// Member link at the Session-Sender.
    pub sender: u16,
    /// Member link at the Session-Reflector; 0 in a request whose sender does not know it.
    pub reflector: u16,
}

impl MicroSessionId {
    /// Reads a Value; `None` if its Length is wrong.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        (value.len() == LEN).then(|| Self { sender: u16_at(value, 0), reflector: u16_at(value, 2) })
    }

    /// Writes a Value of the right Length.
    #[inline]
    pub fn write(self, value: &mut [u8]) {
        if let Some(value) = value.first_chunk_mut::<LEN>() {
            value[..2].copy_from_slice(&self.sender.to_be_bytes());
            value[2..].copy_from_slice(&self.reflector.to_be_bytes());
        }
    }
}
