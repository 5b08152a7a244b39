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
    /// Octets from there on that each reply must bring back (RFC 6038 section 4.2).
    pub reflected: usize,
}

impl Padding {
    /// Fills what follows the base packet of `packet`. `dscp_ecn`: replies carry S-DSCP-ECN (RFC 7750), so their header is
    /// longer. What must come back is made from `seed` and the packet's number, so that nothing has to be kept to know it.
    pub(super) fn write(
        self,
        format: PacketFormat,
        dscp_ecn: bool,
        random: &mut Random,
        (seed, sequence): (u64, u32),
        packet: &mut [u8],
    ) {
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
        let (reflected, rest) = padding.split_at_mut(padding.len().min(self.reflected));
        fill(rest);
        self.write_reflected(seed, sequence, reflected);
        if let Some(octets) = self.server_octets
            && let Some(first) = padding.get_mut(..octets.len())
        {
            first.copy_from_slice(&octets);
        }
    }

    fn write_reflected(self, seed: u64, sequence: u32, reflected: &mut [u8]) {
        if self.random {
            Random::new(seed ^ (u64::from(sequence) << 32 | u64::from(sequence))).fill(reflected);
        } else {
            reflected.fill(0);
        }
        if let Some(octets) = self.server_octets
            && let Some(first) = reflected.get_mut(..octets.len())
        {
            first.copy_from_slice(&octets);
        }
    }

    /// Whether what follows the header of a reply begins with what packet `sequence` had to be reflected.
    pub(super) fn came_back(self, seed: u64, sequence: u32, padding: &[u8]) -> bool {
        let Some(padding) = padding.get(..self.reflected) else { return false };
        let mut sent = vec![0; self.reflected];
        self.write_reflected(seed, sequence, &mut sent);
        padding == sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(padding: Padding, format: PacketFormat, dscp_ecn: bool) -> Vec<u8> {
        let mut packet = vec![0xEE; format.sender_len() + 100];
        padding.write(format, dscp_ecn, &mut Random::new(1), (7, 3), &mut packet);
        assert!(packet[..format.sender_len()].iter().all(|octet| *octet == 0xEE), "the base packet is not touched");
        packet.split_off(format.sender_len())
    }

    #[test]
    fn what_must_come_back_is_known_from_the_number() {
        for (random, server_octets) in [(false, None), (true, None), (false, Some([1, 2])), (true, Some([1, 2]))] {
            for symmetrical_size in [false, true] {
                let padding = Padding { random, symmetrical_size, server_octets, reflected: 20 };
                let sent = written(padding, PacketFormat::Twamp, false);
                let reflected = &sent[if symmetrical_size { 27 } else { 0 }..];
                assert!(padding.came_back(7, 3, reflected));
                assert!(padding.came_back(7, 3, &reflected[..20]));
                assert!(!padding.came_back(7, 3, &reflected[..19]));
                assert_eq!(padding.came_back(7, 4, reflected), !random);
                for at in 0..20 {
                    let mut changed = reflected.to_vec();
                    changed[at] ^= 1;
                    assert!(!padding.came_back(7, 3, &changed));
                }
                assert_eq!(reflected[20..].iter().any(|octet| *octet != 0), random);
            }
        }
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
                let padding =
                    written(Padding { random, symmetrical_size: true, server_octets, reflected: 0 }, format, dscp_ecn);
                assert!(padding[..zeros].iter().all(|octet| *octet == 0), "{format:?}");
                assert_eq!(padding[zeros..zeros + 2], [0xAB, 0xCD], "{format:?}");
                assert_eq!(padding[zeros + 2..].iter().any(|octet| *octet != 0), random, "{format:?}");
                let padding =
                    written(Padding { random, symmetrical_size: false, server_octets, reflected: 0 }, format, dscp_ecn);
                assert_eq!(padding[..2], [0xAB, 0xCD], "{format:?}");
                assert_eq!(padding[2..].iter().any(|octet| *octet != 0), random, "{format:?}");
            }
        }
    }
}
