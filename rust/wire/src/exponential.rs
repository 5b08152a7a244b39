//! Exponentially distributed pseudo-random numbers that both ends of an OWAMP test-session compute alike (RFC 4656 section
//! 5 and Appendices A and B).
//!
//! Numbers are unsigned 32.32 fixed point: 2^32 stands for 1. Knuth's algorithm S turns uniform 32-bit fractions into
//! exponential deviates with shifts and comparisons alone, so every implementation gets the same ones. The fractions are
//! AES-128 in counter mode under the SID. The RFC's counter counts fractions, four to a block, and a block is encrypted
//! whenever the counter is divisible by four: the blocks encrypted are 0, 4, 8, …, as Appendix B's values prove.
//!
//! This is no secret: whoever knows the SID knows the schedule, which is the purpose.

use core::fmt;
use std::sync::Arc;

use aes::Aes128;
use cbc::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// Q\[k\], k from 1, as the RFC prescribes them; Q\[1\] is ln 2.
const Q: [u64; 11] = [
    0xB172_17F8,
    0xEEF1_93F7,
    0xFD27_1862,
    0xFF9D_6DD0,
    0xFFF4_CFD0,
    0xFFFE_E819,
    0xFFFF_E7FF,
    0xFFFF_FE2B,
    0xFFFF_FFE0,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
];
const LN2: u64 = Q[0];

/// Product of two 32.32 numbers, computed exactly and cut (RFC 4656 section 5.2). A product beyond 2^32 becomes the
/// greatest number there is: no timestamp can say it.
const fn multiply(u: u64, v: u64) -> u64 {
    let product = (u as u128 * v as u128) >> 32;
    if product > u64::MAX as u128 { u64::MAX } else { product as u64 }
}

/// The generator of one test-session. Clones go on from the same place, and share the key schedule.
#[derive(Clone)]
pub struct ExponentialGenerator {
    key: Arc<Aes128>,
    /// Uniform numbers taken so far.
    counter: u64,
    block: [u8; 16],
}

impl fmt::Debug for ExponentialGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExponentialGenerator").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl ExponentialGenerator {
    /// The generator of the test-session with that SID.
    pub fn new(sid: [u8; 16]) -> Self {
        Self { key: Arc::new(Aes128::new(&Array(sid))), counter: 0, block: [0; 16] }
    }

    /// The next uniform 32-bit fraction (algorithm Unif).
    fn uniform(&mut self) -> u32 {
        let quartet = (self.counter % 4) as usize;
        if quartet == 0 {
            let mut block = Array::default();
            block[8..].copy_from_slice(&self.counter.to_be_bytes());
            self.key.encrypt_block(&mut block);
            self.block = block.into();
        }
        self.counter = self.counter.wrapping_add(1);
        let mut octets = [0; 4];
        octets.copy_from_slice(&self.block[quartet * 4..][..4]);
        u32::from_be_bytes(octets)
    }

    /// The next deviate of mean 1 (algorithm S).
    fn unit(&mut self) -> u64 {
        let first = self.uniform();
        let ones = first.leading_ones();
        if ones == 32 {
            return multiply(32 << 32, LN2);
        }
        let shift = u64::from(ones) << 32;
        // In 64 bits, as a shift by all 32 would be none of u32's.
        let rest = (u64::from(first) << (ones + 1)) & 0xFFFF_FFFF;
        if rest < LN2 {
            return multiply(shift, LN2) + rest;
        }
        // At least one bit was shifted out, so the last one is 0, and Q[11] is greater.
        let k = Q.iter().position(|q| rest < *q).map_or(Q.len(), |at| at + 1);
        let smallest = (0..k).map(|_| self.uniform()).min().unwrap_or(0);
        multiply(shift + u64::from(smallest), LN2)
    }

    /// The next deviate of that mean, both as 32.32 seconds.
    pub fn next(&mut self, mean: u64) -> u64 {
        multiply(self.unit(), mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 1 << 32;

    /// RFC 4656 Appendix B: the sum of a million deviates of mean 1.
    #[test]
    fn sums_of_a_million_deviates_are_those_of_appendix_b() {
        for (sid, sum) in [
            (0x2872_9793_03ab_47ee_ac02_8dab_3829_dab2_u128, 0x000f_4479_bd31_7381_u64),
            (0x0102_0304_0506_0708_090a_0b0c_0d0e_0f00, 0x000f_4336_8646_6a62),
            (0xdead_beef_dead_beef_dead_beef_dead_beef, 0x000f_416c_8884_d2d3),
            (0xfeed_0fee_d1fe_ed2f_eed3_feed_4fee_d5ab, 0x000f_3f0b_4b41_6ec8),
        ] {
            let mut generator = ExponentialGenerator::new(sid.to_be_bytes());
            let total = (0..1_000_000).fold(0_u64, |total, _| total.wrapping_add(generator.next(ONE)));
            assert_eq!(total, sum, "SID {sid:032x}");
        }
    }

    #[test]
    fn the_mean_scales_a_deviate_and_zero_makes_it_zero() {
        let mut generator = ExponentialGenerator::new([7; 16]);
        let mut same = generator.clone();
        assert_eq!(generator.next(ONE / 4), multiply(same.next(ONE), ONE / 4));
        assert_eq!(generator.next(0), 0);
        assert_eq!(multiply(u64::MAX, u64::MAX), u64::MAX, "what no timestamp can say is cut, not wrapped");
    }
}
