//! The bits of packed results, written and read.

use super::PackedError;
use crate::u192::U192;

/// Greatest count of anything: what is above was never counted.
pub(super) const MOST: u64 = 1 << 56;
/// Length that says that the real one follows.
const LONG: u32 = 63;
/// Bits that a look ahead shows, wherever in an octet it begins.
const AHEAD: u32 = 57;

/// Bits, most significant first.
#[derive(Debug)]
pub(crate) struct Writer {
    octets: Vec<u8>,
    /// Bits that do not fill an octet yet, fewer than 8.
    rest: u64,
    rest_len: u32,
}

impl Writer {
    pub(crate) fn new(version: u8) -> Self {
        Self::after(Vec::with_capacity(128), version)
    }

    /// Goes on behind what is there.
    pub(crate) fn after(mut octets: Vec<u8>, version: u8) -> Self {
        octets.push(version);
        Self { octets, rest: 0, rest_len: 0 }
    }

    /// The lowest `len` bits of `value`, at most 64; those above are zero.
    #[inline]
    pub(crate) fn bits(&mut self, len: u32, value: u64) {
        debug_assert!(len == 64 || value >> len == 0);
        if len > 32 {
            self.bits(len - 32, value >> 32);
            return self.bits(32, value & 0xFFFF_FFFF);
        }
        self.rest = self.rest << len | value;
        self.rest_len += len;
        while self.rest_len >= 8 {
            self.rest_len -= 8;
            self.octets.push((self.rest >> self.rest_len) as u8);
        }
        self.rest &= 0xFF;
    }

    #[inline]
    pub(crate) fn flag(&mut self, set: bool) {
        self.bits(1, set.into());
    }

    /// Exponential Golomb code: one less than the bits of `(value >> order) + 1` in zeros, then those bits.
    #[inline]
    pub(crate) fn small(&mut self, order: u32, value: u64) {
        let above = (value >> order).saturating_add(1);
        let len = above.ilog2();
        self.bits(len, 0);
        self.bits(1, 1);
        self.bits(len, above - (1 << len));
        self.bits(order, value & ((1 << order) - 1));
    }

    /// Length, then the bits below the highest.
    pub(crate) fn wide(&mut self, value: U192) {
        let len = value.bit_len();
        if len < LONG {
            self.bits(6, len.into());
        } else {
            self.bits(6, LONG.into());
            self.bits(8, len.into());
        }
        let mut left = len.saturating_sub(1);
        while left > 0 {
            let word = (left as usize - 1) / 64;
            let len = left - 64 * word as u32;
            self.bits(len, value.word(word) & (u64::MAX >> (64 - len)));
            left -= len;
        }
    }

    pub(crate) fn unsigned(&mut self, value: u64) {
        self.wide(U192::new(0, value.into()));
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.flag(value < 0);
        self.unsigned(value.unsigned_abs());
    }

    /// The octets, the last one filled up with zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.rest_len > 0 {
            self.bits(8 - self.rest_len, 0);
        }
        self.octets
    }
}

/// What [`Writer`] wrote, or whatever came instead.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    octets: &'a [u8],
    /// Bits read of the octets.
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8], version: u8) -> Result<Self, PackedError> {
        match octets.split_first() {
            None => Err(PackedError::Empty),
            Some((found, octets)) if *found == version => Ok(Self { octets, at: 0 }),
            Some((found, _)) => Err(PackedError::Version { found: *found, known: version }),
        }
    }

    /// Reads octets of that version or an older one, which is returned.
    pub(super) fn up_to(octets: &'a [u8], version: u8) -> Result<(Self, u8), PackedError> {
        let found = *octets.first().ok_or(PackedError::Empty)?;
        let known = if (1..=version).contains(&found) { found } else { version };
        Ok((Self::new(octets, known)?, found))
    }

    /// At least the next [`AHEAD`] bits from the highest bit on, with zeros where there are no more.
    #[inline]
    fn ahead(&self) -> u64 {
        let octets = self.octets.get(self.at / 8..).unwrap_or_default();
        let word = octets.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..octets.len()].copy_from_slice(octets);
            word
        });
        u64::from_be_bytes(word) << (self.at % 8)
    }

    /// Go on by that many bits, which must be there.
    #[inline]
    fn skip(&mut self, len: u32) -> Result<(), PackedError> {
        self.at += len as usize;
        if self.at > 8 * self.octets.len() { Err(PackedError::Short) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn bits(&mut self, len: u32) -> Result<u64, PackedError> {
        if len > 32 {
            let high = self.bits(len - 32)?;
            return Ok(high << 32 | self.bits(32)?);
        }
        let value = self.ahead() >> 1 >> (63 - len);
        self.skip(len)?;
        Ok(value)
    }

    #[inline]
    pub(crate) fn flag(&mut self) -> Result<bool, PackedError> {
        Ok(self.bits(1)? == 1)
    }

    #[inline]
    pub(crate) fn small(&mut self, order: u32) -> Result<u64, PackedError> {
        let ahead = self.ahead();
        let len = ahead.leading_zeros();
        let above_len = 2 * len + 1;
        if above_len + order > AHEAD {
            return self.long_small(order);
        }
        self.skip(above_len + order)?;
        let above = (ahead << len >> (63 - len)) - 1;
        Ok(above << order | ahead << above_len >> 1 >> (63 - order))
    }

    /// One that [`AHEAD`] bits do not hold.
    #[cold]
    fn long_small(&mut self, order: u32) -> Result<u64, PackedError> {
        let mut len = 0;
        while !self.flag()? {
            len += 1;
            if len > 63 {
                return Err(PackedError::Contradiction("length of a number"));
            }
        }
        let above = (1 << len | self.bits(len)?) - 1;
        if above.leading_zeros() < order {
            return Err(PackedError::Contradiction("length of a number"));
        }
        Ok(above << order | self.bits(order)?)
    }

    /// A count that was written as `small(0)`.
    pub(crate) fn count(&mut self, part: &'static str) -> Result<u64, PackedError> {
        Some(self.small(0)?).filter(|count| *count <= MOST).ok_or(PackedError::Contradiction(part))
    }

    pub(crate) fn wide(&mut self) -> Result<U192, PackedError> {
        let mut len = self.bits(6)? as u32;
        if len == LONG {
            len = self.bits(8)? as u32;
        }
        if len > 192 {
            return Err(PackedError::Contradiction("length of a number"));
        }
        let mut words = [0; 3];
        if len > 0 {
            let highest = len as usize - 1;
            words[highest / 64] = 1 << (highest % 64);
        }
        let mut left = len.saturating_sub(1);
        while left > 0 {
            let word = (left as usize - 1) / 64;
            let len = left - 64 * word as u32;
            words[word] |= self.bits(len)?;
            left -= len;
        }
        Ok(U192::new(words[2], u128::from(words[1]) << 64 | u128::from(words[0])))
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, PackedError> {
        let value = self.wide()?;
        let narrow = u64::try_from(value.low()).ok().filter(|_| value.high() == 0);
        narrow.ok_or(PackedError::Contradiction("length of a number"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, PackedError> {
        let negative = self.flag()?;
        let magnitude = self.unsigned()?;
        let value = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
        value.ok_or(PackedError::Contradiction("length of a number"))
    }

    /// Nothing is left but zeros that fill the last octet.
    pub(crate) fn end(mut self) -> Result<(), PackedError> {
        let left = 8 * self.octets.len() - self.at;
        if left >= 8 || self.bits(left as u32)? != 0 { Err(PackedError::Trailing) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let numbers = [0, 1, 2, 5, 63, 64, 1 << 31, (1 << 62) - 1, 1 << 62, u64::MAX >> 1, u64::MAX - 1];
        let wide = [U192::ZERO, U192::square_of(i64::MIN), U192::from_signed(-1), U192::new(1, 0)];
        let mut out = Writer::new(7);
        for number in numbers {
            for order in [0, 2, 15] {
                out.small(order, number);
            }
            out.unsigned(number);
            out.signed(number as i64);
            out.bits(64, number);
        }
        for number in wide {
            out.wide(number);
        }
        let octets = out.finish();
        let mut from = Reader::new(&octets, 7).unwrap();
        for number in numbers {
            for order in [0, 2, 15] {
                assert_eq!(from.small(order), Ok(number));
            }
            assert_eq!((from.unsigned(), from.signed(), from.bits(64)), (Ok(number), Ok(number as i64), Ok(number)));
        }
        for number in wide {
            assert_eq!(from.wide(), Ok(number));
        }
        from.end().unwrap();
    }

    #[test]
    fn a_number_ends_where_its_bits_end_wherever_it_begins() {
        for skew in 0..8 {
            for number in (0..63).map(|bits| (1_u64 << bits) + bits) {
                for order in [0, 1, 7, 15] {
                    let mut out = Writer::new(7);
                    out.bits(skew, 0);
                    out.small(order, number);
                    let written = 8 * (out.octets.len() - 1) + out.rest_len as usize;
                    let octets = out.finish();
                    let mut from = Reader::new(&octets, 7).unwrap();
                    assert_eq!((from.bits(skew), from.small(order), from.at), (Ok(0), Ok(number), written));
                    let mut short = Reader::new(&octets[..octets.len() - 1], 7).unwrap();
                    assert_eq!(short.bits(skew).and_then(|_| short.small(order)), Err(PackedError::Short));
                }
            }
        }
    }

    #[test]
    fn common_numbers_are_short() {
        let len = |write: fn(&mut Writer)| {
            let mut out = Writer::new(0);
            write(&mut out);
            out.octets.len() * 8 - 8 + out.rest_len as usize
        };
        assert_eq!(len(|out| out.small(0, 0)), 1);
        assert_eq!(len(|out| out.small(3, 7)), 4);
        assert_eq!(len(|out| out.signed(100_000)), 1 + 6 + 16);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let reader = |octets| Reader::new(octets, 1).unwrap();
        assert_eq!(Reader::new(&[], 1).err(), Some(PackedError::Empty));
        assert_eq!(Reader::new(&[2, 0], 1).err(), Some(PackedError::Version { found: 2, known: 1 }));
        assert_eq!(reader(&[1, 0xFF]).bits(9), Err(PackedError::Short));
        assert!(matches!(reader(&[1; 20]).end(), Err(PackedError::Trailing)));
        let zeros = [&[1][..], &[0; 20]].concat();
        assert!(matches!(reader(&zeros).small(0), Err(PackedError::Contradiction(_))));
        assert_eq!(reader(&zeros[..4]).small(0), Err(PackedError::Short));
    }
}
