//! Whole numbers of 192 bits, modulo 2^192, in two's complement where they are signed: enough for the sum of the squares
//! of 2^64 values of 64 bits.

use std::cmp::Ordering;

/// A number of 192 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct U192 {
    /// The lower bits, low word first: a 128-bit integer would align whatever holds this to 16 octets.
    low: [u64; 2],
    /// The bits from 128 on.
    high: u64,
}

impl U192 {
    pub(crate) const ZERO: Self = Self { low: [0; 2], high: 0 };

    #[inline]
    pub(crate) const fn new(high: u64, low: u128) -> Self {
        Self { low: [low as u64, (low >> 64) as u64], high }
    }

    /// The square of a value.
    #[inline]
    pub(crate) fn square_of(value: i64) -> Self {
        let magnitude = u128::from(value.unsigned_abs());
        Self::new(0, magnitude * magnitude)
    }

    /// A signed number.
    pub(crate) const fn from_signed(value: i128) -> Self {
        Self::new(if value < 0 { u64::MAX } else { 0 }, value as u128)
    }

    /// The lower 128 bits.
    #[inline]
    pub(crate) fn low(self) -> u128 {
        u128::from(self.low[1]) << 64 | u128::from(self.low[0])
    }

    /// The upper 64 bits.
    #[inline]
    pub(crate) const fn high(self) -> u64 {
        self.high
    }

    #[inline]
    pub(crate) fn plus(self, other: Self) -> Self {
        let (low, carry) = self.low().overflowing_add(other.low());
        Self::new(self.high.wrapping_add(other.high).wrapping_add(u64::from(carry)), low)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        let (low, borrow) = self.low().overflowing_sub(other.low());
        Self::new(self.high.wrapping_sub(other.high).wrapping_sub(u64::from(borrow)), low)
    }

    pub(crate) fn times(self, factor: u64) -> Self {
        let factor = u128::from(factor);
        let lowest = u128::from(self.low[0]) * factor;
        let middle = u128::from(self.low[1]) * factor + (lowest >> 64);
        let high = u128::from(self.high).wrapping_mul(factor).wrapping_add(middle >> 64);
        Self { low: [lowest as u64, middle as u64], high: high as u64 }
    }

    pub(crate) fn times_signed(self, factor: i64) -> Self {
        let product = self.times(factor.unsigned_abs());
        if factor < 0 { Self::ZERO.minus(product) } else { product }
    }

    /// Bits up to the highest that is set.
    pub(crate) fn bit_len(self) -> u32 {
        if self.high > 0 { 192 - self.high.leading_zeros() } else { 128 - self.low().leading_zeros() }
    }

    /// The 64 bits of weight 2^(64 n).
    pub(crate) const fn word(self, n: usize) -> u64 {
        if n == 2 { self.high } else { self.low[n] }
    }
}

impl PartialOrd for U192 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As unsigned numbers.
impl Ord for U192 {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.high, self.low()).cmp(&(other.high, other.low()))
    }
}

/// The 256-bit product of two 128-bit numbers as (high, low).
pub(crate) const fn widening_mul(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, cross, other, high) = (a0 * b0, a1 * b0, a0 * b1, a1 * b1);
    let middle = (low >> 64) + (cross & LOW) + (other & LOW);
    (high + (cross >> 64) + (other >> 64) + (middle >> 64), (middle << 64) | (low & LOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_that_of_whole_numbers() {
        let most = i64::MAX as u64;
        let square = U192::square_of(i64::MIN);
        assert_eq!((square.high(), square.low()), (0, 1 << 126));
        let product = square.times(u64::MAX);
        assert_eq!((product.high(), product.low()), ((1 << 62) - 1, u128::MAX << 126));
        assert_eq!(product.plus(square), U192::new(1 << 62, 0));
        assert_eq!(U192::from_signed(-3).times_signed(-5), U192::new(0, 15));
        assert_eq!(U192::from_signed(-3).times(most), U192::from_signed(-3 * i128::from(most)));
        assert_eq!(U192::ZERO.minus(U192::new(0, 1)), U192::from_signed(-1));
        assert_eq!((U192::ZERO.bit_len(), square.bit_len(), product.bit_len()), (0, 127, 190));
        assert!(square < product && U192::ZERO < square);
    }
}
