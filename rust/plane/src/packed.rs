//! Summaries and distributions as few octets as possible, for a store that keeps one for each test-session and second.
//!
//! Theory of operation
//! ===================
//!
//! An octet for the version, then bits, most significant first, filled up with zeros to an octet. What is usual costs
//! least: nearly everything in a summary of one second is zero, one, or follows from something already written.
//!
//! | name | bits | for |
//! | --- | --- | --- |
//! | `flag` | 1 | yes or no |
//! | `small(k)` | exponential Golomb code of order k: v = 0 takes k + 1 bits, doubling v takes two more | counts, gaps |
//! | `wide` | 6 of length (63: 8 more), then the bits below the highest | anything up to 192 bits |
//! | `signed` | `flag` for negative, then `wide` of the magnitude | delays |
//!
//! *Distribution*: `small` count. One value: itself. Two: the lesser, and their difference. More: the least value, the
//! range, and the sums of v - min and of (v - min)^2, which stay short however far apart two clocks are; then the
//! histogram. Its outermost buckets follow from minimum and maximum, and the number of its values is known, so it is the
//! scale, the number of zeros and of negative values, and for each sign, from the outermost bucket inwards, the count of
//! each occupied bucket and the gap to the next, in Golomb codes whose order is chosen by their mean.
//!
//! *Summary*: which counters are not zero, and their values; the distributions in the order of [`Measure`]; the rest as
//! [`put_summary`] says; last what TLVs told, [`put_tlvs`], which version 1 lacks. The codes of [`Counter`] and [`Measure`]
//! therefore are part of the format: new ones are only ever added behind the others, and what was packed by an older twoway
//! lacks them, but for the losses: up to version 2 they are the sum of their directions. Anything else that changes gets a
//! new version; older ones are read for ever, and who reads an unknown version refuses it by its number. `packed/tests.rs`
//! keeps octets of every version.
//!
//! Octets may be anything: a disk rots. Reading never panics, takes no more memory than a summary of that length can
//! need, and gives only what the rest of the crate can reckon with: sums that belong to no values are refused.

mod bits;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twoway_wire::tlv::{Location, TimestampInformation};

pub(crate) use self::bits::{Reader, Writer};
use crate::distribution::{Distribution, Moments};
use crate::histogram::{ExponentialHistogram, MAX_BUCKETS, MAX_SCALE, MIN_SCALE};
use crate::summary::{CLOCK_STEPS_KEPT, ClockQuality, Counter, FarEndFacts, Measure, OctetCounts, Summary};
use crate::u192::{U192, widening_mul};

/// Version of the encoding that is written.
pub(crate) const VERSION: u8 = 3;
/// Version from which on a summary ends with what TLVs told.
const WITH_TLVS: u8 = 2;
/// Version from which on losses are counted apart from their directions.
const WITH_LOSSES: u8 = 3;

/// Octets that are not what they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedError {
    /// There are none.
    Empty,
    /// They are of a version that is not known here.
    Version {
        /// Theirs.
        found: u8,
        /// What is read here.
        known: u8,
    },
    /// They end too early.
    Short,
    /// This part contradicts the others.
    Contradiction(&'static str),
    /// Something comes after the end.
    Trailing,
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "packed results: no octets"),
            Self::Version { found, known } => {
                write!(f, "packed results: version {found}, but this twoway reads version {known}")
            }
            Self::Short => write!(f, "packed results: too few octets"),
            Self::Contradiction(part) => write!(f, "packed results: the {part} cannot be"),
            Self::Trailing => write!(f, "packed results: octets after the end"),
        }
    }
}

impl std::error::Error for PackedError {}

/// Measures that every summary has. The others are of sessions with TLVs, and stand with what those told.
const FIRST_MEASURES: usize = Measure::SendLateness as usize + 1;

/// Write a summary.
pub fn pack_summary(summary: &Summary) -> Vec<u8> {
    let mut out = Writer::new(VERSION);
    put_summary(&mut out, summary);
    put_tlvs(&mut out, summary);
    out.finish()
}

/// Write a summary behind other octets.
pub(crate) fn append_summary(octets: &mut Vec<u8>, summary: &Summary) {
    let mut out = Writer::after(std::mem::take(octets), VERSION);
    put_summary(&mut out, summary);
    put_tlvs(&mut out, summary);
    *octets = out.finish();
}

/// Read a summary, all of `octets`.
pub fn unpack_summary(octets: &[u8]) -> Result<Summary, PackedError> {
    let (mut from, version) = Reader::up_to(octets, VERSION)?;
    let mut summary = take_summary(&mut from)?;
    if version >= WITH_TLVS {
        take_tlvs(&mut from, &mut summary)?;
    }
    if version < WITH_LOSSES {
        for direction in [Counter::LostForward, Counter::LostBackward, Counter::LostUnattributed] {
            summary.add(Counter::Lost, summary.count(direction));
        }
    }
    from.end()?;
    Ok(summary)
}

/// Read summaries and add them up.
pub fn merge_packed<'a>(packed: impl IntoIterator<Item = &'a [u8]>) -> Result<Summary, PackedError> {
    packed.into_iter().try_fold(Summary::new(), |mut merged, octets| {
        merged.merge(&unpack_summary(octets)?);
        Ok(merged)
    })
}

/// Write a distribution.
pub fn pack_distribution(distribution: &Distribution) -> Vec<u8> {
    let mut out = Writer::new(VERSION);
    put_distribution(&mut out, distribution);
    out.finish()
}

/// Read a distribution, all of `octets`.
pub fn unpack_distribution(octets: &[u8]) -> Result<Distribution, PackedError> {
    // A distribution is the same in all versions.
    let (mut from, _) = Reader::up_to(octets, VERSION)?;
    let distribution = take_distribution(&mut from)?;
    from.end()?;
    Ok(distribution)
}

pub(crate) fn put_distribution(out: &mut Writer, distribution: &Distribution) {
    let Moments { count, min, max, sum, squares } = distribution.moments();
    out.small(0, count);
    if count == 0 {
        return;
    }
    out.signed(min);
    if count == 1 {
        return;
    }
    out.unsigned(max.abs_diff(min));
    if count == 2 {
        return;
    }
    let (above, above_squares) = shifted(count, min, sum, squares);
    out.wide(above);
    out.wide(above_squares);
    put_histogram(out, distribution.histogram(), min, max);
}

/// Sums of v - min and of (v - min)^2. All arithmetic is modulo 2^192, and the results are below that.
fn shifted(count: u64, min: i64, sum: i128, squares: U192) -> (U192, U192) {
    let (count, sum) = (U192::new(0, count.into()), U192::from_signed(sum));
    let twice = sum.times_signed(min).times(2);
    (sum.minus(count.times_signed(min)), squares.minus(twice).plus(count.times_signed(min).times_signed(min)))
}

/// The reverse of [`shifted`]: sums of v and of v^2.
fn unshifted(count: u64, min: i64, above: U192, above_squares: U192) -> (U192, U192) {
    let count = U192::new(0, count.into());
    let twice = above.times_signed(min).times(2);
    (above.plus(count.times_signed(min)), above_squares.plus(twice).plus(count.times_signed(min).times_signed(min)))
}

pub(crate) fn take_distribution(from: &mut Reader<'_>) -> Result<Distribution, PackedError> {
    let contradiction = PackedError::Contradiction("distribution");
    let count = from.small(0)?;
    if count == 0 {
        return Ok(Distribution::new());
    }
    let min = from.signed()?;
    if count == 1 {
        return Ok([min].into_iter().collect());
    }
    let range = from.unsigned()?;
    let max = min.checked_add_unsigned(range).ok_or(contradiction)?;
    if count == 2 {
        return Ok([min, max].into_iter().collect());
    }
    if count > bits::MOST {
        return Err(contradiction);
    }
    let (above, above_squares) = (from.wide()?, from.wide()?);
    // Of any values between minimum and maximum: sum <= n range, squares <= range sum, and n squares >= sum^2.
    let most = U192::new(0, u128::from(count) * u128::from(range));
    if above > most || above_squares > above.times(range) {
        return Err(contradiction);
    }
    let (high, low) = widening_mul(count.into(), above_squares.low());
    let product = (high + u128::from(count) * u128::from(above_squares.high()), low);
    if product < widening_mul(above.low(), above.low()) {
        return Err(contradiction);
    }
    let (sum, squares) = unshifted(count, min, above, above_squares);
    let histogram = take_histogram(from, count, min, max)?;
    Ok(Distribution::from_parts(histogram, Moments { count, min, max, sum: sum.low() as i128, squares }))
}

fn put_histogram(out: &mut Writer, histogram: &ExponentialHistogram, min: i64, max: i64) {
    out.bits(3, u64::from(MAX_SCALE - histogram.scale()));
    if min <= 0 && max >= 0 {
        out.small(0, histogram.zero_count());
    }
    if min < 0 {
        if max >= 0 {
            out.small(2, histogram.window(true).map(|(_, n)| n).sum());
        }
        put_window(out, histogram.window(true));
    }
    if max > 0 {
        put_window(out, histogram.window(false));
    }
}

/// The order of a Golomb code that suits values of this mean.
fn order(sum: u64, n: u64) -> u32 {
    (sum / n.max(1)).checked_ilog2().unwrap_or(0).min(15)
}

/// Occupied buckets, ascending: from the last, whose index follows from the extreme value, to the first.
fn put_window(out: &mut Writer, buckets: impl DoubleEndedIterator<Item = (i32, u64)> + Clone) {
    let (mut n, mut counts, mut first, mut last) = (0, 0_u64, i32::MAX, i32::MIN);
    for (index, count) in buckets.clone() {
        (n, counts) = (n + 1, counts.saturating_add(count));
        (first, last) = (first.min(index), last.max(index));
    }
    let gaps = if n == 0 { 0 } else { (last - first) as u64 };
    let (count_order, gap_order) = (order(counts - n, n), order(gaps.saturating_sub(n - 1), n));
    out.bits(4, count_order.into());
    out.bits(4, gap_order.into());
    let mut before = last;
    for (index, count) in buckets.rev() {
        if index != last {
            out.small(gap_order, (before - index - 1) as u64);
        }
        out.small(count_order, count - 1);
        before = index;
    }
}

fn take_histogram(from: &mut Reader<'_>, count: u64, min: i64, max: i64) -> Result<ExponentialHistogram, PackedError> {
    let contradiction = PackedError::Contradiction("histogram");
    let scale = u8::try_from(from.bits(3)?).ok().and_then(|coarser| MAX_SCALE.checked_sub(coarser));
    let scale = scale.filter(|scale| *scale >= MIN_SCALE).ok_or(contradiction)?;
    let zeros = if min <= 0 && max >= 0 { from.small(0)? } else { 0 };
    let left = count.checked_sub(zeros).ok_or(contradiction)?;
    let negatives = match (min < 0, max >= 0) {
        (false, _) => 0,
        (true, false) => left,
        (true, true) => from.small(2)?,
    };
    let positives = left.checked_sub(negatives).ok_or(contradiction)?;
    // Who has a least or greatest value of a sign has values of that sign, and so with zero.
    let zero_known = min == 0 || max == 0;
    if (min < 0) != (negatives > 0) || (max > 0) != (positives > 0) || (zero_known && zeros == 0) {
        return Err(contradiction);
    }
    let mut histogram = ExponentialHistogram::empty_at(scale, zeros);
    for (negative, values, extreme) in [(true, negatives, min), (false, positives, max)] {
        if values > 0 {
            // The other end is known if all values have this sign.
            let innermost = if negative && max < 0 {
                Some(max)
            } else if !negative && min > 0 {
                Some(min)
            } else {
                None
            };
            take_window(from, &mut histogram, negative, values, extreme, innermost)?;
        }
    }
    Ok(histogram)
}

fn take_window(
    from: &mut Reader<'_>,
    histogram: &mut ExponentialHistogram,
    negative: bool,
    values: u64,
    extreme: i64,
    innermost: Option<i64>,
) -> Result<(), PackedError> {
    let contradiction = PackedError::Contradiction("histogram");
    let (count_order, gap_order) = (from.bits(4)? as u32, from.bits(4)? as u32);
    let last = histogram.index(extreme);
    let mut buckets = [(0_i32, 0_u64); MAX_BUCKETS];
    let (mut n, mut left, mut index) = (0, values, last);
    loop {
        let count = from.small(count_order)?.checked_add(1).filter(|count| *count <= left).ok_or(contradiction)?;
        buckets[n] = (index, count);
        (n, left) = (n + 1, left - count);
        if left == 0 {
            break;
        }
        let gap = i32::try_from(from.small(gap_order)?).map_err(|_| contradiction)?;
        index = index.checked_sub(gap).and_then(|index| index.checked_sub(1)).ok_or(contradiction)?;
        // The least magnitude is 1, whose index is -1 at every scale.
        if index < -1 || last - index >= MAX_BUCKETS as i32 {
            return Err(contradiction);
        }
    }
    if innermost.is_some_and(|innermost| histogram.index(innermost) != index) {
        return Err(contradiction);
    }
    histogram.set_window(negative, &buckets[..n]);
    Ok(())
}

fn put_summary(out: &mut Writer, summary: &Summary) {
    let begun = summary.start_ns != i64::MAX;
    let ended = summary.end_ns != i64::MIN;
    out.flag(begun);
    out.flag(ended);
    if begun {
        out.signed(summary.start_ns);
    }
    if ended {
        out.signed(summary.end_ns.wrapping_sub(if begun { summary.start_ns } else { 0 }));
    }
    let mut next = 0;
    for counter in Counter::ALL {
        let n = summary.count(*counter);
        if n > 0 {
            let code = *counter as u64;
            out.small(2, code - next + 1);
            out.small(0, n - 1);
            next = code + 1;
        }
    }
    out.small(2, 0);
    for measure in &Measure::ALL[..FIRST_MEASURES] {
        put_distribution(out, summary.measure(*measure));
    }
    for jitter in summary.jitter {
        out.flag(jitter.is_some());
        if let Some((at_ns, jitter_ns)) = jitter {
            let before_end = summary.end_ns.wrapping_sub(at_ns);
            out.flag(before_end != 0);
            if before_end != 0 {
                out.signed(before_end);
            }
            out.signed(jitter_ns);
        }
    }
    put_clock(out, summary.local_clock);
    put_clock(out, summary.far_clock);
    out.bits(2, summary.reflector_stateful.map_or(0, |stateful| 1 + u64::from(stateful)));
    out.flag(summary.last_sequence.is_some());
    if let Some(sequence) = summary.last_sequence {
        out.unsigned(sequence);
    }
    out.small(0, summary.loss_bursts().len() as u64);
    let mut before = 0;
    for (length, n) in summary.loss_bursts() {
        out.small(0, u64::from(length - before));
        out.small(0, n - 1);
        before = *length;
    }
    // Usually all first replies had one and the same.
    let replies = first_replies(summary);
    for counts in summary.ttls.iter().chain(&summary.dscp_ecns) {
        out.small(0, counts.iter().count() as u64);
        for (octet, n) in counts.iter() {
            out.bits(8, octet.into());
            out.flag(n == replies);
            if n != replies {
                out.small(0, n);
            }
        }
    }
    out.small(0, summary.clock_steps().len() as u64);
    for &(wall_ns, step_ns) in summary.clock_steps() {
        out.signed(wall_ns);
        out.signed(step_ns);
    }
}

/// What TLVs told; one bit if that is nothing.
fn put_tlvs(out: &mut Writer, summary: &Summary) {
    let measures = &Measure::ALL[FIRST_MEASURES..];
    let far_end = summary.far_end.as_deref().copied().unwrap_or_default();
    let empty = measures.iter().all(|measure| summary.measure(*measure).count() == 0) && summary.far_end.is_none();
    out.flag(!empty);
    if empty {
        return;
    }
    for measure in measures {
        put_distribution(out, summary.measure(*measure));
    }
    out.flag(summary.far_end.is_some());
    if summary.far_end.is_none() {
        return;
    }
    out.flag(far_end.location.is_some());
    if let Some((at_ns, location)) = far_end.location {
        out.signed(at_ns);
        out.bits(16, location.destination_port.into());
        out.bits(16, location.source_port.into());
        out.flag(location.source_mac_is_eui_64);
        put_option(out, location.source_mac, |out, mac| out.bits(64, mac));
        for address in [location.destination, location.source] {
            put_option(out, address, put_address);
        }
    }
    out.flag(far_end.timestamps.is_some());
    if let Some((at_ns, timestamps)) = far_end.timestamps {
        out.signed(at_ns);
        let TimestampInformation { sync_source_in, timestamp_in, sync_source_out, timestamp_out } = timestamps;
        for code in [sync_source_in.0, timestamp_in.0, sync_source_out.0, timestamp_out.0] {
            out.bits(8, code.into());
        }
    }
}

fn take_tlvs(from: &mut Reader<'_>, summary: &mut Summary) -> Result<(), PackedError> {
    if !from.flag()? {
        return Ok(());
    }
    for measure in &Measure::ALL[FIRST_MEASURES..] {
        *summary.measure_mut(*measure) = take_distribution(from)?;
    }
    if !from.flag()? {
        return Ok(());
    }
    let mut far_end = FarEndFacts::default();
    if from.flag()? {
        let at_ns = from.signed()?;
        let (destination_port, source_port) = (from.bits(16)? as u16, from.bits(16)? as u16);
        let source_mac_is_eui_64 = from.flag()?;
        let source_mac = take_option(from, |from| from.bits(64))?;
        let destination = take_option(from, take_address)?;
        let source = take_option(from, take_address)?;
        let location =
            Location { destination_port, source_port, source_mac, source_mac_is_eui_64, destination, source };
        far_end.location = Some((at_ns, location));
    }
    if from.flag()? {
        let at_ns = from.signed()?;
        let mut codes = [0_u8; 4];
        for code in &mut codes {
            *code = from.bits(8)? as u8;
        }
        let timestamps = TimestampInformation::parse(&codes).ok_or(PackedError::Contradiction("timestamps"))?;
        far_end.timestamps = Some((at_ns, timestamps));
    }
    summary.far_end = Some(Box::new(far_end));
    Ok(())
}

fn put_option<T>(out: &mut Writer, value: Option<T>, put: impl FnOnce(&mut Writer, T)) {
    out.flag(value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

fn take_option<T>(
    from: &mut Reader<'_>,
    take: impl FnOnce(&mut Reader<'_>) -> Result<T, PackedError>,
) -> Result<Option<T>, PackedError> {
    if from.flag()? { take(from).map(Some) } else { Ok(None) }
}

fn put_address(out: &mut Writer, address: IpAddr) {
    out.flag(address.is_ipv6());
    match address {
        IpAddr::V4(address) => out.bits(32, address.to_bits().into()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            out.bits(64, (bits >> 64) as u64);
            out.bits(64, bits as u64);
        }
    }
}

fn take_address(from: &mut Reader<'_>) -> Result<IpAddr, PackedError> {
    if !from.flag()? {
        return Ok(Ipv4Addr::from_bits(from.bits(32)? as u32).into());
    }
    let (high, low) = (from.bits(64)?, from.bits(64)?);
    Ok(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into())
}

fn first_replies(summary: &Summary) -> u64 {
    summary.count(Counter::Received).saturating_add(summary.count(Counter::Late))
}

fn put_clock(out: &mut Writer, clock: ClockQuality) {
    out.bits(2, clock.synchronized.map_or(0, |synchronized| 1 + u64::from(synchronized)));
    out.flag(clock.error_unknown);
    out.flag(clock.error_ns.is_some());
    if let Some(error_ns) = clock.error_ns {
        out.unsigned(error_ns);
    }
}

fn take_clock(from: &mut Reader<'_>) -> Result<ClockQuality, PackedError> {
    let synchronized = take_bool(from, "clock")?;
    let error_unknown = from.flag()?;
    let error_ns = if from.flag()? { Some(from.unsigned()?) } else { None };
    Ok(ClockQuality { synchronized, error_unknown, error_ns })
}

fn take_bool(from: &mut Reader<'_>, part: &'static str) -> Result<Option<bool>, PackedError> {
    match from.bits(2)? {
        0 => Ok(None),
        1 => Ok(Some(false)),
        2 => Ok(Some(true)),
        _ => Err(PackedError::Contradiction(part)),
    }
}

/// A count of at least one.
fn take_count(from: &mut Reader<'_>, part: &'static str) -> Result<u64, PackedError> {
    Ok(from.count(part)? + 1)
}

fn take_summary(from: &mut Reader<'_>) -> Result<Summary, PackedError> {
    let mut summary = Summary::new();
    let (begun, ended) = (from.flag()?, from.flag()?);
    if begun {
        summary.start_ns = from.signed()?;
    }
    if ended {
        let after = from.signed()?;
        summary.end_ns = after.wrapping_add(if begun { summary.start_ns } else { 0 });
    }
    let mut next = 0;
    loop {
        let gap = from.small(2)?;
        if gap == 0 {
            break;
        }
        let counter = usize::try_from(gap - 1).ok().and_then(|gap| Counter::ALL.get(gap.checked_add(next)?));
        let counter = *counter.ok_or(PackedError::Contradiction("list of counters"))?;
        summary.add(counter, take_count(from, "counter")?);
        next = counter as usize + 1;
    }
    for measure in &Measure::ALL[..FIRST_MEASURES] {
        *summary.measure_mut(*measure) = take_distribution(from)?;
    }
    for jitter in 0..summary.jitter.len() {
        if from.flag()? {
            let before_end = if from.flag()? { from.signed()? } else { 0 };
            summary.jitter[jitter] = Some((summary.end_ns.wrapping_sub(before_end), from.signed()?));
        }
    }
    summary.local_clock = take_clock(from)?;
    summary.far_clock = take_clock(from)?;
    summary.reflector_stateful = take_bool(from, "mode of the Session-Reflector")?;
    if from.flag()? {
        summary.last_sequence = Some(from.unsigned()?);
    }
    summary.loss_bursts = take_loss_bursts(from)?;
    let replies = first_replies(&summary);
    for seen_by in 0..2 {
        summary.ttls[seen_by] = take_octets(from, replies)?;
    }
    for seen_by in 0..2 {
        summary.dscp_ecns[seen_by] = take_octets(from, replies)?;
    }
    let steps = from.small(0)?;
    if steps > CLOCK_STEPS_KEPT as u64 {
        return Err(PackedError::Contradiction("list of clock steps"));
    }
    for _ in 0..steps {
        let (wall_ns, step_ns) = (from.signed()?, from.signed()?);
        summary.keep_clock_step(wall_ns, step_ns);
    }
    Ok(summary)
}

fn take_loss_bursts(from: &mut Reader<'_>) -> Result<BTreeMap<u32, u64>, PackedError> {
    let contradiction = PackedError::Contradiction("list of loss bursts");
    let mut bursts = BTreeMap::new();
    let mut before = 0_u32;
    for _ in 0..from.small(0)? {
        let further = u32::try_from(from.small(0)?).ok().filter(|further| *further > 0).ok_or(contradiction)?;
        before = before.checked_add(further).ok_or(contradiction)?;
        bursts.insert(before, take_count(from, "list of loss bursts")?);
    }
    Ok(bursts)
}

fn take_octets(from: &mut Reader<'_>, replies: u64) -> Result<OctetCounts, PackedError> {
    let contradiction = PackedError::Contradiction("list of header octets");
    let mut counts = OctetCounts::default();
    let mut before = None;
    for _ in 0..from.small(0)? {
        let octet = from.bits(8)? as u8;
        let n = if from.flag()? { replies } else { from.small(0)? };
        if before.is_some_and(|before| before >= octet) || n == 0 || n > 2 * (bits::MOST + 1) {
            return Err(contradiction);
        }
        counts.add(octet, n);
        before = Some(octet);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests;
