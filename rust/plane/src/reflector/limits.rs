//! Rate limits: how many packets per second are answered, in total and for one source.
//!
//! Theory of operation. Each bucket is one integer, the *full time*: the monotonic moment (ns) at which the bucket will be
//! full again. Taking a token moves that moment one emission interval into the future; a token is refused when that would
//! put it further ahead of `now` than the burst allows (the virtual scheduling form of the token bucket). One integer
//! means that a bucket can be an atomic: all workers share the same buckets, without locks, and the limits hold for the
//! reflector as a whole however the kernel spreads a source's flows over the workers.
//!
//! The interval is rounded up to whole nanoseconds, so a limit is never exceeded; at 300,000 packets/s it is 0.02 % low.
//!
//! Sources are IPv4 addresses and IPv6 /64 prefixes (a host commands its whole /64). Their buckets lie in a table of fixed
//! size, in sets of a few ways found by a keyed hash that an attacker cannot aim. A bucket that is full again is
//! indistinguishable from a new one, so it is free to be reused; where all ways of a set are in use, the fullest bucket is
//! forgotten. A flood from more sources than the table holds therefore weakens the per-source limit, never locks a source
//! out; it is the total limit that bounds such a flood.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sets of the source table.
const SOURCE_SETS: usize = 4096;
/// Buckets in one set: a set is one cache line.
const SOURCE_WAYS: usize = 4;
/// Burst that a bucket holds, as a share of a second.
const BURST_DIVISOR: u64 = 10;
/// Burst that a bucket holds at the least, in packets.
const BURST_MIN: u64 = 8;
/// Most tokens of the total limit that one worker takes ahead, so that workers seldom meet at the shared bucket.
const CHUNK_MAX: u64 = 64;

/// A rate, as the two durations that its buckets need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    /// Nanoseconds between packets at exactly this rate.
    interval_ns: u64,
    /// How far ahead of the present a bucket's full time may lie.
    burst_ns: u64,
}

impl Rate {
    /// `None` for 0 packets/s, which stands for no limit.
    fn new(packets_per_s: u64) -> Option<Self> {
        if packets_per_s == 0 {
            return None;
        }
        let interval_ns = 1_000_000_000_u64.div_ceil(packets_per_s);
        let burst = (packets_per_s / BURST_DIVISOR).max(BURST_MIN);
        Some(Self { interval_ns, burst_ns: interval_ns.saturating_mul(burst) })
    }

    /// The full time after `tokens` more tokens, or `None` where the bucket does not hold them.
    fn take(self, full_ns: u64, now_ns: u64, tokens: u64) -> Option<u64> {
        let next_ns = full_ns.max(now_ns).saturating_add(self.interval_ns.saturating_mul(tokens));
        (next_ns - now_ns <= self.burst_ns).then_some(next_ns)
    }
}

/// One source's bucket. A `tag` of 0 marks a bucket never used.
#[derive(Debug, Default)]
struct SourceBucket {
    tag: AtomicU64,
    full_ns: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct SourceSet([SourceBucket; SOURCE_WAYS]);

#[derive(Debug)]
struct SourceLimit {
    rate: Rate,
    hasher: RandomState,
    sets: Box<[SourceSet]>,
}

impl SourceLimit {
    fn admit(&self, source: IpAddr, now_ns: u64) -> bool {
        let tag = match source {
            IpAddr::V4(address) => self.hasher.hash_one((4_u8, u64::from(address.to_bits()))),
            IpAddr::V6(address) => self.hasher.hash_one((6_u8, (address.to_bits() >> 64) as u64)),
        }
        .max(1);
        let ways = &self.sets[(tag >> 32) as usize % SOURCE_SETS].0;
        // Two workers may race for one bucket; the worst outcome is one token too many or one source forgotten.
        let bucket = ways.iter().find(|bucket| bucket.tag.load(Relaxed) == tag).unwrap_or_else(|| {
            let fullest = ways[1..].iter().fold(&ways[0], |fullest, bucket| {
                if bucket.full_ns.load(Relaxed) < fullest.full_ns.load(Relaxed) { bucket } else { fullest }
            });
            fullest.full_ns.store(0, Relaxed);
            fullest.tag.store(tag, Relaxed);
            fullest
        });
        bucket.full_ns.fetch_update(Relaxed, Relaxed, |full_ns| self.rate.take(full_ns, now_ns, 1)).is_ok()
    }
}

#[derive(Debug)]
struct TotalLimit {
    rate: Rate,
    chunk: u64,
    full_ns: AtomicU64,
}

/// The rate limits of one reflector, shared by its workers.
#[derive(Debug)]
pub struct RateLimits {
    total: Option<TotalLimit>,
    source: Option<SourceLimit>,
}

/// Tokens of the total limit that one worker has taken ahead.
#[derive(Debug, Default)]
pub struct TokenReserve(u64);

impl RateLimits {
    /// Limits in packets/s; 0 stands for no limit. Allocates the source table (256 KiB) only where it is needed.
    pub fn new(total_per_s: u64, per_source_per_s: u64) -> Self {
        Self {
            total: Rate::new(total_per_s).map(|rate| TotalLimit {
                rate,
                chunk: (total_per_s / 1000).clamp(1, CHUNK_MAX),
                full_ns: AtomicU64::new(0),
            }),
            source: Rate::new(per_source_per_s).map(|rate| SourceLimit {
                rate,
                hasher: RandomState::new(),
                sets: (0..SOURCE_SETS).map(|_| SourceSet::default()).collect(),
            }),
        }
    }

    /// Whether both hold the same rates.
    pub fn are_as(&self, other: &Self) -> bool {
        let rates = |limits: &Self| {
            (limits.total.as_ref().map(|total| total.rate), limits.source.as_ref().map(|source| source.rate))
        };
        rates(self) == rates(other)
    }

    /// Takes a token of this source's bucket; false when it has none.
    pub fn admit_source(&self, source: IpAddr, now_ns: u64) -> bool {
        self.source.as_ref().is_none_or(|limit| limit.admit(source, now_ns))
    }

    /// Takes a token of the total limit, from the worker's reserve or else from the shared bucket.
    pub fn admit_total(&self, reserve: &mut TokenReserve, now_ns: u64) -> bool {
        let Some(limit) = &self.total else { return true };
        if reserve.0 == 0 {
            for tokens in [limit.chunk, 1] {
                let taken =
                    limit.full_ns.fetch_update(Relaxed, Relaxed, |full_ns| limit.rate.take(full_ns, now_ns, tokens));
                if taken.is_ok() {
                    reserve.0 = tokens;
                    break;
                }
            }
        }
        let admitted = reserve.0 > 0;
        reserve.0 = reserve.0.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const SECOND: u64 = 1_000_000_000;

    fn v4(octet: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + octet))
    }

    /// Packets admitted of `offered` per second over ten seconds after the burst has been spent.
    fn steady(offered: u64, mut admit: impl FnMut(u64) -> bool) -> u64 {
        let start = 5 * SECOND;
        for _ in 0..1_000_000 {
            if !admit(start) {
                break;
            }
        }
        (1..=offered * 10).filter(|packet| admit(start + packet * SECOND / offered)).count() as u64
    }

    #[test]
    fn no_limit_admits_everything() {
        let limits = RateLimits::new(0, 0);
        let mut reserve = TokenReserve::default();
        for _ in 0..100_000 {
            assert!(limits.admit_source(v4(1), 7));
            assert!(limits.admit_total(&mut reserve, 7));
        }
    }

    #[test]
    fn the_source_rate_holds_exactly_and_is_never_exceeded() {
        for rate in [1, 10, 1000, 30_000] {
            let limits = RateLimits::new(0, rate);
            let admitted = steady(rate * 3, |now_ns| limits.admit_source(v4(1), now_ns));
            assert!(admitted <= rate * 10, "{admitted} of {rate}/s");
            assert!(admitted >= rate * 10 * 999 / 1000 - 1, "{admitted} of {rate}/s");
        }
    }

    #[test]
    fn the_total_rate_holds_over_all_workers() {
        let rate = 50_000;
        let limits = RateLimits::new(rate, 0);
        let mut reserves = [TokenReserve::default(), TokenReserve::default(), TokenReserve::default()];
        let mut turn = 0;
        let admitted = steady(rate * 2, |now_ns| {
            turn += 1;
            limits.admit_total(&mut reserves[turn % 3], now_ns)
        });
        let allowed = rate * 10 + 3 * CHUNK_MAX;
        assert!((rate * 10 * 999 / 1000..=allowed).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_burst_is_a_tenth_of_a_second_and_at_least_eight() {
        for (rate, burst) in [(1, 8), (10_000, 1000)] {
            let limits = RateLimits::new(0, rate);
            let admitted = (0..5000).filter(|_| limits.admit_source(v4(9), SECOND)).count() as u64;
            assert_eq!(admitted, burst);
        }
    }

    #[test]
    fn one_source_does_not_spend_the_tokens_of_another() {
        let limits = RateLimits::new(0, 10);
        while limits.admit_source(v4(1), SECOND) {}
        assert!(limits.admit_source(v4(2), SECOND));
    }

    #[test]
    fn an_ipv6_source_is_its_64_bit_prefix() {
        let limits = RateLimits::new(0, 10);
        let host = |host: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + host));
        let mut last = 0;
        while limits.admit_source(host(last), SECOND) {
            last += 1;
        }
        assert_eq!(last, 8);
        assert!(limits.admit_source(host(1 << 64), SECOND));
    }

    #[test]
    fn more_sources_than_buckets_lock_nobody_out() {
        let limits = RateLimits::new(0, 1);
        for source in 0..200_000 {
            assert!(limits.admit_source(v4(source), SECOND));
        }
    }

    #[test]
    fn a_clock_at_its_end_does_not_overflow() {
        let limits = RateLimits::new(1, 1);
        let mut reserve = TokenReserve::default();
        for now_ns in [0, u64::MAX - 1, u64::MAX, 0] {
            let _ = limits.admit_source(v4(1), now_ns);
            let _ = limits.admit_total(&mut reserve, now_ns);
        }
    }
}
