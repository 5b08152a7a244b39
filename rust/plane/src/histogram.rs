//! Base-2 exponential histogram of nanosecond values, of both signs, in bounded memory.
//!
//! Theory of operation. At scale s the bucket of index i holds the values v with base^i < v <= base^(i+1), where
//! base = 2^(2^-s): the indexing of OpenTelemetry's exponential and Prometheus' native histograms, so that buckets are
//! exported as they are. Halving the resolution merges the buckets 2i and 2i+1 into i: buckets of a coarser scale are
//! unions of finer ones, and an index of any scale is the index of scale 7 shifted right.
//!
//! That makes the state a function of the *set* of values, not of their order: the scale is the finest one (at most 7) at
//! which the occupied range of either sign fits into [`MAX_BUCKETS`], and the counts follow. Recording and merging in any
//! order and grouping therefore end in equal histograms (`tests/statistics.rs` holds this).
//!
//! Indexing takes no logarithm. A value's highest bit is the octave; within it the value, shifted left until its highest
//! bit is bit 63, is compared with the 128 boundaries 2^(63 + j/128) rounded down. For j > 0 a boundary is irrational, so
//! "greater than the boundary" and "greater than the boundary rounded down" are the same for integers: the index is
//! exact for every value, not only near powers of two.
//!
//! A sign's window of counts is dense between its lowest and highest occupied bucket, grows as values come, and its
//! counters begin as octets and widen when one overflows: a quiet test-session costs a few hundred octets, an empty
//! histogram none.

/// Finest scale: 128 buckets for each doubling, 0.27 % relative error.
pub const MAX_SCALE: u8 = 7;
/// Coarsest scale: the finest at which 63 octaves fit into [`MAX_BUCKETS`].
pub const MIN_SCALE: u8 = 2;
/// Most buckets of one sign.
pub const MAX_BUCKETS: usize = 320;
/// Windows grow by so many buckets at a time.
const GROWTH: usize = 16;
/// Buckets of an octave at the finest scale.
const OCTAVE: usize = 1 << MAX_SCALE;

/// 2^(63 + j/128) rounded down, for j in 0..128.
#[rustfmt::skip]
const BOUNDARIES: [u64; OCTAVE] = [
    0x8000_0000_0000_0000, 0x80B1_ED4F_D999_AB6C, 0x8164_D1F3_BC03_0773, 0x8218_AF43_73FC_25EB,
    0x82CD_8698_AC2B_A1D7, 0x8383_594E_EFB6_EE36, 0x843A_28C3_ACDE_4046, 0x84F1_F656_379C_1A29,
    0x85AA_C367_CC48_7B14, 0x8664_915B_923F_BA03, 0x871F_6196_9E8D_1010, 0x87DB_357F_F698_D791,
    0x8898_0E80_92DA_8527, 0x8955_EE03_618E_5FDC, 0x8A14_D575_496E_FD9A, 0x8AD4_C645_2C72_8924,
    0x8B95_C1E3_EA8B_D6E6, 0x8C57_C9C4_646F_4DDD, 0x8D1A_DF5B_7E5B_A9E5, 0x8DDF_0420_22E6_9CD5,
    0x8EA4_398B_45CD_53C0, 0x8F6A_8117_E6C8_E5C4, 0x9031_DC43_1466_B1DC, 0x90FA_4C8B_EEE4_B12A,
    0x91C3_D373_AB11_C336, 0x928E_727D_9531_F9AC, 0x935A_2B2F_13E6_E92B, 0x9426_FF0F_AB1C_04B6,
    0x94F4_EFA8_FEF7_0961, 0x95C3_FE86_D6CC_7FEE, 0x9694_2D37_2018_5A00, 0x9765_7D49_F17A_B08E,
    0x9837_F051_8DB8_A96F, 0x990B_87E2_66C1_89A9, 0x99E0_4593_20B7_FA64, 0x9AB6_2AFC_94FF_864A,
    0x9B8D_39B9_D54E_5538, 0x9C65_7368_2EC3_2C2D, 0x9D3E_D9A7_2CFF_B750, 0x9E19_6E18_9D47_2420,
    0x9EF5_3260_91A1_11AD, 0x9FD2_2825_6400_DD05, 0xA0B0_510F_B971_4FC2, 0xA18F_AECA_8544_B6E3,
    0xA270_4303_0C49_6818, 0xA352_0F68_E802_BB92, 0xA435_15AE_09E6_809E, 0xA519_5786_BE9E_F339,
    0xA5FE_D6A9_B151_38EA, 0xA6E5_94CF_EEE8_6B1D, 0xA7CD_93B4_E965_3569, 0xA8B6_D516_7B32_0E08,
    0xA9A1_5AB4_EA7C_0EF8, 0xAA8D_2652_EC90_7629, 0xAB7A_39B5_A93E_D337, 0xAC68_96A4_BE3F_E929,
    0xAD58_3EEA_42A1_4AC6, 0xAE49_3452_CA35_B80E, 0xAF3B_78AD_690A_4374, 0xB02F_0DCB_B6E0_4583,
    0xB123_F581_D2AC_258F, 0xB21A_31A6_6618_FE3B, 0xB311_C412_A911_2489, 0xB40A_AEA2_654B_9840,
    0xB504_F333_F9DE_6484, 0xB600_93A8_5ED5_F76B, 0xB6FD_91E3_28D1_7791, 0xB7FB_EFCA_8CA4_1E7C,
    0xB8FB_AF47_62FB_9EE9, 0xB9FC_D245_2C0B_9DEA, 0xBAFF_5AB2_133E_45FB, 0xBC03_4A7E_F2E9_FB0C,
    0xBD08_A39F_580C_36BE, 0xBE0F_6809_8609_93E2, 0xBF17_99B6_7A73_1082, 0xC021_3AA1_F0D0_8DB0,
    0xC12C_4CCA_6670_9456, 0xC238_D231_1E3D_6672, 0xC346_CCDA_2497_6407, 0xC456_3ECC_5334_CB32,
    0xC567_2A11_5506_DADD, 0xC679_90B5_AA24_5F79, 0xC78D_74C8_ABB9_B15C, 0xC8A2_D85C_8FFE_2C45,
    0xC9B9_BD86_6E2F_27A2, 0xCAD2_265E_4290_774D, 0xCBEC_14FE_F272_7C5C, 0xCD07_8B86_503D_CDD1,
    0xCE24_8C15_1F84_80E3, 0xCF43_18CF_1919_18C1, 0xD063_33DA_EF2B_2594, 0xD184_DF62_5169_9AC6,
    0xD2A8_1D91_F12A_E45A, 0xD3CC_F099_859A_C379, 0xD4F3_5AAB_CFED_FA1F, 0xD61B_5DFE_9F9B_CE06,
    0xD744_FCCA_D69D_6AF4, 0xD870_394C_6DB3_2C84, 0xD99D_15C2_78AF_D7B5, 0xDACB_946F_2AC9_CC71,
    0xDBFB_B797_DAF2_3755, 0xDD2D_8185_0832_4C20, 0xDE60_F482_5E0E_9123, 0xDF96_12DE_B8F0_4420,
    0xE0CC_DEEC_2A94_E111, 0xE205_5AFF_FE83_D368, 0xE33F_8972_BE8A_5A51, 0xE47B_6CA0_373D_A88D,
    0xE5B9_06E7_7C83_48A8, 0xE6F8_5AAA_EE1F_CE22, 0xE839_6A50_3C4B_DC68, 0xE97C_3840_6C4F_8C56,
    0xEAC0_C6E7_DD24_392E, 0xEC07_18B6_4C1C_BDDC, 0xED4F_301E_D994_2B84, 0xEE99_0F98_0DA3_025B,
    0xEFE4_B99B_DCDA_F5CB, 0xF132_30A7_AD09_4509, 0xF281_773C_59FF_B139, 0xF3D2_8FDE_3A64_1A5A,
    0xF525_7D15_2486_CC2C, 0xF67A_416C_733F_846D, 0xF7D0_DF73_0AD1_3BB8, 0xF929_59BB_5DD4_BA74,
    0xFA83_B2DB_722A_033A, 0xFBDF_ED6C_E5F0_9C48, 0xFD3E_0C0C_F486_C174, 0xFE9E_115C_7B8F_884B,
];

/// For each 1/128 of an octave by value: the last boundary below its lowest value, where the search starts. A boundary
/// is at most two further up within the same 1/128.
const SEARCH_FROM: [u8; OCTAVE] = {
    let mut from = [0; OCTAVE];
    let mut cell = 1;
    while cell < OCTAVE {
        let lowest = (1 << 63) + ((cell as u64) << (63 - MAX_SCALE));
        let mut j = from[cell - 1];
        while (j as usize) + 1 < OCTAVE && BOUNDARIES[j as usize + 1] < lowest {
            j += 1;
        }
        from[cell] = j;
        cell += 1;
    }
    from
};

/// Index at the finest scale of a magnitude greater than zero.
#[inline]
fn index_of(magnitude: u64) -> i32 {
    let zeros = magnitude.leading_zeros();
    let octave = (63 - zeros) as i32 * OCTAVE as i32;
    let mantissa = magnitude << zeros;
    if mantissa == 1 << 63 {
        // A power of two is the greatest value of its bucket: upper boundaries are inclusive.
        return octave - 1;
    }
    let cell = (mantissa >> (63 - MAX_SCALE)) as usize & (OCTAVE - 1);
    let mut j = SEARCH_FROM[cell] as usize;
    while j + 1 < OCTAVE && BOUNDARIES[j + 1] < mantissa {
        j += 1;
    }
    octave + j as i32
}

/// Counters of one width, the narrowest that holds the greatest of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Counts {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
}

/// Evaluate `$body` with `$counts` bound to the vector, whatever its width.
macro_rules! each_width {
    ($value:expr, $counts:ident => $body:expr) => {
        match $value {
            Counts::U8($counts) => $body,
            Counts::U16($counts) => $body,
            Counts::U32($counts) => $body,
            Counts::U64($counts) => $body,
        }
    };
}

impl Counts {
    fn len(&self) -> usize {
        each_width!(self, counts => counts.len())
    }

    fn get(&self, at: usize) -> u64 {
        #[allow(clippy::useless_conversion)] // One arm of the macro converts a u64 into itself.
        {
            each_width!(self, counts => u64::from(counts[at]))
        }
    }

    /// Add `n` to the counter, widening all counters as often as that takes.
    #[inline]
    fn add(&mut self, at: usize, n: u64) {
        loop {
            let sum = self.get(at).saturating_add(n);
            let fits = match self {
                Self::U8(counts) => u8::try_from(sum).map(|sum| counts[at] = sum).is_ok(),
                Self::U16(counts) => u16::try_from(sum).map(|sum| counts[at] = sum).is_ok(),
                Self::U32(counts) => u32::try_from(sum).map(|sum| counts[at] = sum).is_ok(),
                Self::U64(counts) => {
                    counts[at] = sum;
                    true
                }
            };
            if fits {
                return;
            }
            self.widen();
        }
    }

    #[cold]
    fn widen(&mut self) {
        *self = match self {
            Self::U8(counts) => Self::U16(counts.iter().map(|&n| n.into()).collect()),
            Self::U16(counts) => Self::U32(counts.iter().map(|&n| n.into()).collect()),
            Self::U32(counts) => Self::U64(counts.iter().map(|&n| n.into()).collect()),
            Self::U64(counts) => Self::U64(std::mem::take(counts)),
        };
    }

    /// Put `front` zeros before the counters and `back` behind them.
    #[cold]
    fn grow(&mut self, front: usize, back: usize) {
        each_width!(self, counts => {
            let len = counts.len() + front + back;
            if len > counts.capacity() {
                counts.reserve_exact(len.next_multiple_of(GROWTH).min(MAX_BUCKETS).max(len) - counts.len());
            }
            counts.resize(len, 0);
            counts.rotate_right(front);
        });
    }

    fn memory(&self) -> usize {
        each_width!(self, counts => size_of_val(counts.as_slice()) / counts.len().max(1) * counts.capacity())
    }
}

/// The counts of one sign.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    /// Index of the first counter.
    first: i32,
    counts: Counts,
}

impl Window {
    const fn new() -> Self {
        Self { first: 0, counts: Counts::U8(Vec::new()) }
    }

    fn is_empty(&self) -> bool {
        self.counts.len() == 0
    }

    /// Index of the last counter. Only for windows that are not empty.
    fn last(&self) -> i32 {
        self.first + self.counts.len() as i32 - 1
    }

    /// How often the resolution must be halved so that this window and the indices from `low` to `high` fit.
    fn halvings(&self, mut low: i32, mut high: i32) -> u8 {
        if !self.is_empty() {
            low = low.min(self.first);
            high = high.max(self.last());
        }
        let mut halvings = 0;
        while (high >> halvings) - (low >> halvings) >= MAX_BUCKETS as i32 {
            halvings += 1;
        }
        halvings
    }

    /// Add to the counter of `index`; false, and nothing happened, if the window does not hold it.
    #[inline]
    fn add(&mut self, index: i32, n: u64) -> bool {
        let at = i64::from(index) - i64::from(self.first);
        let held = at >= 0 && at < self.counts.len() as i64;
        if held {
            self.counts.add(at as usize, n);
        }
        held
    }

    fn reach_and_add(&mut self, index: i32, n: u64) {
        if !self.add(index, n) {
            self.reach(index);
            self.counts.add((index - self.first) as usize, n);
        }
    }

    #[cold]
    fn reach(&mut self, index: i32) {
        if self.is_empty() {
            self.first = index;
            self.counts.grow(0, 1);
        } else if index < self.first {
            self.counts.grow((self.first - index) as usize, 0);
            self.first = index;
        } else {
            self.counts.grow(0, (index - self.last()) as usize);
        }
    }

    /// Merge neighbours until the resolution is halved so often.
    fn downscale(&mut self, halvings: u8) {
        if self.is_empty() || halvings == 0 {
            return;
        }
        let mut coarse = Self::new();
        coarse.reach(self.first >> halvings);
        coarse.reach(self.last() >> halvings);
        for (index, n) in self.iter() {
            coarse.reach_and_add(index >> halvings, n);
        }
        *self = coarse;
    }

    /// (index, count) of each occupied bucket, ascending.
    fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + Clone + '_ {
        (0..self.counts.len()).map(|at| (self.first + at as i32, self.counts.get(at))).filter(|(_, n)| *n > 0)
    }
}

/// One occupied bucket: values v with `lower_ns` < v <= `upper_ns`, or mirrored for negative values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower end; exclusive for positive values, inclusive for negative ones.
    pub lower_ns: f64,
    /// Upper end; inclusive for positive values, exclusive for negative ones.
    pub upper_ns: f64,
    /// Values in the bucket.
    pub count: u64,
}

/// Histogram of nanosecond values; the module says how it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExponentialHistogram {
    positive: Window,
    negative: Window,
    zeros: u64,
    scale: u8,
}

impl Default for ExponentialHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl ExponentialHistogram {
    /// An empty histogram at the finest scale. Allocates nothing.
    pub const fn new() -> Self {
        Self { positive: Window::new(), negative: Window::new(), zeros: 0, scale: MAX_SCALE }
    }

    /// Count one value.
    #[inline]
    pub fn record(&mut self, value_ns: i64) {
        self.record_n(value_ns, 1);
    }

    /// Count a value `n` times.
    #[inline]
    pub fn record_n(&mut self, value_ns: i64, n: u64) {
        if n == 0 {
            return;
        }
        if value_ns == 0 {
            self.zeros = self.zeros.saturating_add(n);
            return;
        }
        let index = index_of(value_ns.unsigned_abs()) >> (MAX_SCALE - self.scale);
        let window = if value_ns > 0 { &mut self.positive } else { &mut self.negative };
        if !window.add(index, n) {
            self.widen_and_add(value_ns > 0, index, n);
        }
    }

    #[cold]
    fn widen_and_add(&mut self, positive: bool, index: i32, n: u64) {
        let window = if positive { &self.positive } else { &self.negative };
        let halvings = window.halvings(index, index);
        self.downscale(halvings);
        let window = if positive { &mut self.positive } else { &mut self.negative };
        window.reach_and_add(index >> halvings, n);
    }

    /// Count all values of `other` too. Exact, associative and commutative.
    pub fn merge(&mut self, other: &Self) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        let scale = self.scale.min(other.scale);
        self.downscale(self.scale - scale);
        let shift = other.scale - scale;
        let pairs = [(&self.positive, &other.positive), (&self.negative, &other.negative)];
        let halvings = pairs
            .into_iter()
            .filter(|(_, theirs)| !theirs.is_empty())
            .fold(0, |most, (ours, theirs)| most.max(ours.halvings(theirs.first >> shift, theirs.last() >> shift)));
        self.downscale(halvings);
        let shift = shift + halvings;
        for (ours, theirs) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            for (index, n) in theirs.iter() {
                ours.reach_and_add(index >> shift, n);
            }
        }
    }

    /// Zeros alone, at a scale that occupied buckets then need not force.
    pub(crate) fn empty_at(scale: u8, zeros: u64) -> Self {
        Self { zeros, scale, ..Self::new() }
    }

    /// The occupied buckets of one sign as (index, count), ascending by magnitude.
    pub(crate) fn window(&self, negative: bool) -> impl DoubleEndedIterator<Item = (i32, u64)> + Clone + '_ {
        if negative { self.negative.iter() } else { self.positive.iter() }
    }

    /// Fill the buckets of one sign, which are within [`MAX_BUCKETS`] of each other. The first one is the greatest.
    pub(crate) fn set_window(&mut self, negative: bool, buckets: &[(i32, u64)]) {
        let window = if negative { &mut self.negative } else { &mut self.positive };
        *window = Window::new();
        if let (Some((last, _)), Some((first, _))) = (buckets.first(), buckets.last()) {
            window.reach(*first);
            window.reach(*last);
        }
        for &(index, n) in buckets {
            window.reach_and_add(index, n);
        }
    }

    /// Index of a value's bucket among those of its sign. Not for zero.
    pub(crate) fn index(&self, value_ns: i64) -> i32 {
        index_of(value_ns.unsigned_abs()) >> (MAX_SCALE - self.scale)
    }

    /// Halve the resolution until the occupied range of either sign fits into `most` buckets, but not below the scale
    /// [`MIN_SCALE`]. The state is then still a function of the set of values.
    pub fn coarsen(&mut self, most: usize) {
        let range = |window: &Window, halvings: u8| {
            if window.is_empty() { 0 } else { (window.last() >> halvings) - (window.first >> halvings) + 1 }
        };
        let mut halvings = 0;
        while self.scale - halvings > MIN_SCALE
            && range(&self.positive, halvings).max(range(&self.negative, halvings)) as usize > most
        {
            halvings += 1;
        }
        self.downscale(halvings);
    }

    fn downscale(&mut self, halvings: u8) {
        self.positive.downscale(halvings);
        self.negative.downscale(halvings);
        self.scale -= halvings;
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        let windows = self.positive.iter().chain(self.negative.iter());
        windows.fold(self.zeros, |sum, (_, n)| sum.saturating_add(n))
    }

    /// Scale s of base = 2^(2^-s); from 7 down to 2, the finest at which 63 octaves fit into 320 buckets.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// How often zero was counted.
    pub fn zero_count(&self) -> u64 {
        self.zeros
    }

    /// Bound of |quantile - value| / value: (base - 1) / (base + 1), beside rounding to whole nanoseconds.
    pub fn relative_error(&self) -> f64 {
        let base = self.boundary(1);
        (base - 1.0) / (base + 1.0)
    }

    /// Occupied buckets of positive values, ascending.
    pub fn positive(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.positive.iter().map(|(index, count)| Bucket {
            lower_ns: self.boundary(index),
            upper_ns: self.boundary(index + 1),
            count,
        })
    }

    /// Occupied buckets of negative values, ascending (the most negative first).
    pub fn negative(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.negative.iter().rev().map(|(index, count)| Bucket {
            lower_ns: -self.boundary(index + 1),
            upper_ns: -self.boundary(index),
            count,
        })
    }

    /// Smallest value x of those counted with F(x) >= q (RFC 2330 section 11.3), within [`Self::relative_error`]; None if
    /// nothing was counted. `q` is taken as the nearest of 0 to 1; 0 gives the least value.
    pub fn quantile(&self, q: f64) -> Option<i64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let mut left = rank(q, count);
        for (index, n) in self.negative.iter().rev() {
            if left <= n {
                return Some(self.middle(index).wrapping_neg() as i64);
            }
            left -= n;
        }
        if left <= self.zeros {
            return Some(0);
        }
        left -= self.zeros;
        let mut last = 0;
        for (index, n) in self.positive.iter() {
            last = index;
            if left <= n {
                break;
            }
            left -= n;
        }
        Some(i64::try_from(self.middle(last)).unwrap_or(i64::MAX))
    }

    /// Lower end of the bucket `index`.
    fn boundary(&self, index: i32) -> f64 {
        (f64::from(index) / f64::from(1_u32 << self.scale)).exp2()
    }

    /// The magnitude that stands for a bucket: the harmonic mean of its ends, which has the least relative error, or what
    /// integer in the bucket is closest to it.
    fn middle(&self, index: i32) -> u64 {
        let (lower, upper) = (self.boundary(index), self.boundary(index + 1));
        // The conversions saturate: 2^64 is beyond what any bucket but the last can reach.
        let (least, greatest) = (lower.floor() as u64 + 1, upper.floor() as u64);
        ((2.0 * lower * upper / (lower + upper)).round() as u64).clamp(least.min(greatest), greatest).min(1 << 63)
    }

    /// Octets on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.positive.counts.memory() + self.negative.counts.memory()
    }
}

/// The 1-based rank of the q-quantile of `count` values: ceil(q * count), at least 1.
///
/// The product is taken down by some of its last bits first: 0.07 * 100 is a little more than 7 in binary, and must not
/// become 8.
pub(crate) fn rank(q: f64, count: u64) -> u64 {
    let product = q.clamp(0.0, 1.0) * count as f64;
    ((product * (1.0 - 4.0 * f64::EPSILON)).ceil() as u64).clamp(1, count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index by its definition, in whole numbers: v^(2^s) against powers of two cannot overflow here.
    fn naive_index(magnitude: u64, scale: u32) -> i32 {
        let exact = (magnitude as f64).log2() * f64::from(1 << scale);
        exact.ceil() as i32 - 1
    }

    #[test]
    fn powers_of_two_are_the_greatest_of_their_bucket() {
        for exponent in 0..64 {
            let power = 1_u64 << exponent;
            assert_eq!(index_of(power), exponent * 128 - 1);
            if power < u64::MAX / 2 {
                assert_eq!(
                    index_of(power + 1),
                    if exponent == 0 { 127 } else { naive_index(power + 1, 7).max(exponent * 128) }
                );
            }
            if exponent > 1 {
                assert_eq!(index_of(power - 1), naive_index(power - 1, 7).min(exponent * 128 - 1));
            }
        }
    }

    #[test]
    fn indices_agree_with_logarithms_where_those_are_exact_enough() {
        for magnitude in 1..1_000_000 {
            assert_eq!(index_of(magnitude), naive_index(magnitude, 7), "of {magnitude}");
        }
    }

    #[test]
    fn boundaries_are_the_square_roots_of_each_other() {
        // 2^(63 + j/128) squared is 2^(63 + 2j/128) * 2^63: rounding down costs less than one part in 2^63.
        for j in 1..OCTAVE / 2 {
            let square = u128::from(BOUNDARIES[j]).pow(2) >> 63;
            let above = (u128::from(BOUNDARIES[j]) + 1).pow(2) >> 63;
            assert!((square..=above).contains(&u128::from(BOUNDARIES[2 * j])), "boundary {j}");
        }
        assert_eq!(u128::from(BOUNDARIES[64]), 2_u128.pow(127).isqrt());
        assert!(BOUNDARIES.is_sorted());
    }

    #[test]
    fn an_empty_histogram_allocates_nothing_and_knows_nothing() {
        let histogram = ExponentialHistogram::new();
        assert_eq!(histogram.memory_bytes(), 0);
        assert_eq!(histogram.quantile(0.5), None);
        assert_eq!(histogram.count(), 0);
    }

    #[test]
    fn counters_widen_without_losing_a_count() {
        let mut histogram = ExponentialHistogram::new();
        for n in [200, 200, 65_000, 65_000, u64::from(u32::MAX), 7] {
            histogram.record_n(1000, n);
            histogram.record_n(1100, 1);
        }
        assert_eq!(histogram.count(), 400 + 130_000 + u64::from(u32::MAX) + 7 + 6);
        assert_eq!(
            histogram.positive().map(|bucket| bucket.count).max(),
            Some(400 + 130_000 + u64::from(u32::MAX) + 7)
        );
    }

    #[test]
    fn the_whole_range_fits() {
        let mut histogram = ExponentialHistogram::new();
        for value in [1, i64::MAX, -1, i64::MIN, 0] {
            histogram.record(value);
        }
        assert_eq!(histogram.scale(), 2);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.quantile(0.5), Some(0));
        assert!(histogram.positive().chain(histogram.negative()).all(|bucket| bucket.lower_ns < bucket.upper_ns));
    }

    #[test]
    fn small_whole_numbers_are_exact() {
        let mut histogram = ExponentialHistogram::new();
        for value in [-5, -2, 4, 7, 7, 18] {
            histogram.record(value);
        }
        // The worked example of RFC 2330 section 11.3.
        assert_eq!(histogram.quantile(0.5), Some(4));
        assert_eq!(histogram.quantile(0.25), Some(-2));
        assert_eq!(histogram.quantile(1.0), Some(18));
    }

    #[test]
    fn ranks_do_not_suffer_from_binary_fractions() {
        assert_eq!(rank(0.07, 100), 7);
        assert_eq!(rank(0.95, 100), 95);
        assert_eq!(rank(0.999, 1000), 999);
        assert_eq!(rank(0.951, 100), 96);
        assert_eq!(rank(0.0, 9), 1);
        assert_eq!(rank(1.0, 9), 9);
    }
}
