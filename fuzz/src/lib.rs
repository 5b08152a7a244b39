//! What the fuzz targets share: how an input chooses a packet format and its keys.
//!
//! Octet 0 of an input chooses the format, octet 1 is for the target's own choices, the rest is the packet. The keys are
//! those of `vectors/`, so that its authenticated packets are accepted as seeds.
#![forbid(unsafe_code)]

use twoway_wire::{PacketFormat, StampKey, TestKeys, TwampKeys};

/// Octets of an input before the packet.
pub const PREFIX_LEN: usize = 2;

/// Format, choice octet and packet of an input; `None` if it is too short to choose.
pub fn split(input: &[u8]) -> Option<(PacketFormat, u8, &[u8])> {
    let (prefix, packet) = input.split_first_chunk::<PREFIX_LEN>()?;
    let format = PacketFormat::ALL[usize::from(prefix[0]) % PacketFormat::ALL.len()];
    Some((format, prefix[1], packet))
}

/// The keys of the known-answer vectors, of the kind that the format wants.
pub fn keys(format: PacketFormat) -> TestKeys {
    let octets = |first: u8| std::array::from_fn(|i| first + i as u8);
    match format {
        PacketFormat::Stamp | PacketFormat::Twamp => TestKeys::None,
        PacketFormat::StampAuthenticated => {
            let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
            TestKeys::Stamp(StampKey::new(&key).expect("32 octets"))
        }
        PacketFormat::TwampAuthenticated | PacketFormat::TwampEncrypted => {
            let hmac_ctl = std::array::from_fn(|i| 0x30 + i as u8);
            TestKeys::Twamp(TwampKeys::derive(octets(0x50), octets(0x20), hmac_ctl))
        }
    }
}
