//! The octets after a Session-Sender's base packet.

use twoway_wire::{PacketFormat, write_extra_padding};

use crate::schedule::Random;

/// What stands after the base packet. STAMP fills a TLV with it; `symmetrical_size` and `server_octets` are TWAMP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Pseudo-random rather than zero.
    pub random: bool,
    /// Zeros where the reply has its longer header (RFC 6038 section 5.1.4); they count as padding.
    pub symmetrical_size: bool,
    /// What the Server wants back first of all (RFC 6038 section 5.1.3): first in the padding, or after those zeros.
    pub server_octets: Option<[u8; 2]>,
}

impl Padding {
    /// Fills what follows the base packet of `packet`. `dscp_ecn`: replies carry S-DSCP-ECN (RFC 7750), so their header is
    /// longer.
    pub(super) fn write(self, format: PacketFormat, dscp_ecn: bool, random: &mut Random, packet: &mut [u8]) {
        let Some(padding) = packet.get_mut(format.sender_len()..) else { return };
        let mut fill = |octets: &mut [u8]| if self.random { random.fill(octets) } else { octets.fill(0) };
        if format.is_stamp() {
            // STAMP is enlarged by a TLV, not by raw octets (RFC 8972 section 4.1). Lengths that no TLV can fill were refused
            // when the session was opened.
            let written = write_extra_padding(padding, fill);
            debug_assert_eq!(written, Ok(()));
            return;
        }
        let zeros = if self.symmetrical_size { padding.len().min(format.symmetrical_mbz(dscp_ecn).len()) } else { 0 };
        let (zeros, padding) = padding.split_at_mut(zeros);
        zeros.fill(0);
        fill(padding);
        if let Some(octets) = self.server_octets
            && let Some(first) = padding.get_mut(..octets.len())
        {
            first.copy_from_slice(&octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(padding: Padding, format: PacketFormat, dscp_ecn: bool) -> Vec<u8> {
        let mut packet = vec![0xEE; format.sender_len() + 100];
        padding.write(format, dscp_ecn, &mut Random::new(1), &mut packet);
        assert!(packet[..format.sender_len()].iter().all(|octet| *octet == 0xEE), "the base packet is not touched");
        packet.split_off(format.sender_len())
    }

    /// RFC 6038 sections 5.1.3 to 5.1.5, with RFC 5357's 112 octets of authenticated header (erratum 5045).
    #[test]
    fn server_octets_come_first_in_the_padding_after_the_zeros_of_symmetrical_size() {
        let server_octets = Some([0xAB, 0xCD]);
        for (format, dscp_ecn, zeros) in [
            (PacketFormat::Twamp, false, 27),
            (PacketFormat::Twamp, true, 30),
            (PacketFormat::TwampAuthenticated, false, 64),
            (PacketFormat::TwampEncrypted, true, 64),
        ] {
            for random in [false, true] {
                let padding = written(Padding { random, symmetrical_size: true, server_octets }, format, dscp_ecn);
                assert!(padding[..zeros].iter().all(|octet| *octet == 0), "{format:?}");
                assert_eq!(padding[zeros..zeros + 2], [0xAB, 0xCD], "{format:?}");
                assert_eq!(padding[zeros + 2..].iter().any(|octet| *octet != 0), random, "{format:?}");
                let padding = written(Padding { random, symmetrical_size: false, server_octets }, format, dscp_ecn);
                assert_eq!(padding[..2], [0xAB, 0xCD], "{format:?}");
                assert_eq!(padding[2..].iter().any(|octet| *octet != 0), random, "{format:?}");
            }
        }
    }
}
