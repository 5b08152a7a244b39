//! Packed summaries of probes that were never sent, for tests and benchmarks of what keeps summaries. They come out of a
//! real ledger, so each of them holds all that a real one does.

use twoway_wire::{RawTimestamp, TimestampFormat, WallNanos};

use crate::ledger::{Ledger, LedgerSpec, ReflectorMode, Reply, ReplyTlvs};
use crate::packed::pack_summary;
use crate::sample::{NoSamples, TimestampSource};

const TIMEOUT_NS: i64 = 1_000_000_000;
/// Of the time in the reflector, and of how late a probe leaves: so much is always there, as much again on average.
const RESIDENCE_NS: i64 = 20_000;
const LATENESS_NS: i64 = 5_000;
const TTL: u8 = 250;

/// The probes of one test-session.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// When the first leaves, by the wall clock.
    pub start_ns: i64,
    /// From one to the next.
    pub interval_ns: i64,
    /// Of each round trip the way there is so much, and some of what is more than twice that.
    pub forward_ns: i64,
    /// Probes of a summary.
    pub per_summary: usize,
}

impl Made {
    /// The summaries of probes with these round trips; `None`: lost.
    pub fn summaries(&self, round_trips_ns: &[Option<i64>]) -> Vec<Vec<u8>> {
        let mut ledger = Ledger::new(LedgerSpec {
            ring: (2 * TIMEOUT_NS / self.interval_ns.max(1)).clamp(8, 1 << 16) as usize,
            timeout_ns: TIMEOUT_NS,
            reflector_mode: ReflectorMode::Stateful,
            timestamp_format: TimestampFormat::Ntp,
            timestamps: TimestampSource::Kernel,
            stamp_wait_ns: 50_000_000,
            attribution_wait_ns: 4 * TIMEOUT_NS,
            attribution_capacity: 1024,
            follow_up_wait_ns: 0,
            replies_asked: 1,
            start: WallNanos(self.start_ns),
        });
        ledger.local_clock(true, Some(50_000));
        let mut packed = Vec::with_capacity(round_trips_ns.len() / self.per_summary.max(1) + 1);
        let (mut moment_ns, mut answered) = (0, 0);
        for (sequence, round_trip_ns) in (0..).zip(round_trips_ns) {
            let t1 = WallNanos(self.start_ns + moment_ns);
            ledger.expire(moment_ns, &mut NoSamples);
            let [share, stay, late] = chances(sequence);
            ledger.sent(sequence, moment_ns, t1, more(LATENESS_NS, late));
            ledger.transmit_stamp(sequence, t1, TimestampSource::Kernel, &mut NoSamples);
            if let Some(round_trip_ns) = round_trip_ns {
                let residence_ns = more(RESIDENCE_NS, stay);
                let arrives_ns = round_trip_ns + residence_ns;
                let queued_ns = (round_trip_ns - 2 * self.forward_ns).max(0);
                let forward_ns = self.forward_ns.min(*round_trip_ns) + (queued_ns as f64 * share) as i64;
                let t2 = WallNanos(t1.0 + forward_ns);
                let reply = Reply {
                    sender_sequence: sequence,
                    reflector_sequence: answered,
                    sender_timestamp: RawTimestamp::encode(t1, TimestampFormat::Ntp),
                    t2: Some(t2),
                    t3: Some(WallNanos(t2.0 + residence_ns)),
                    t4: WallNanos(t1.0 + arrives_ns),
                    t4_source: TimestampSource::Kernel,
                    far_synchronized: true,
                    far_error_ns: Some(2_000),
                    far_error_estimate_invalid: false,
                    sender_ttl: Some(TTL),
                    returned_ttl: Some(TTL),
                    far_dscp_ecn: None,
                    returned_dscp_ecn: Some(0),
                    ssid_zero: false,
                    tlvs: ReplyTlvs::default(),
                };
                ledger.reply(&reply, moment_ns + arrives_ns, &mut NoSamples);
                answered += 1;
            }
            moment_ns += self.interval_ns;
            if (sequence as usize + 1).is_multiple_of(self.per_summary.max(1)) {
                packed.push(pack_summary(&ledger.take_interval(WallNanos(self.start_ns + moment_ns))));
            }
        }
        packed
    }
}

/// Numbers from 0 up to 1 that are the same each time (`SplitMix64`).
fn chances<const N: usize>(sequence: u32) -> [f64; N] {
    let mut state = u64::from(sequence);
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    })
}

/// `least` and as much again on average, exponentially distributed.
fn more(least: i64, chance: f64) -> i64 {
    least - (least as f64 * (1.0 - chance).ln()) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::merge_packed;
    use crate::summary::{Counter, Measure};

    #[test]
    fn they_add_up_to_the_probes_that_they_were_made_of() {
        let made =
            Made { start_ns: 1_800_000_000_000_000_000, interval_ns: 1_000_000_000, forward_ns: 9, per_summary: 4 };
        let round_trips: Vec<_> = (0..100).map(|n| (n % 25 != 7).then_some(1_000_000 + n * 1_000)).collect();
        let packed = made.summaries(&round_trips);
        assert_eq!(packed.len(), 25);
        let whole = merge_packed(packed.iter().map(Vec::as_slice)).unwrap();
        assert_eq!((whole.start_ns(), whole.end_ns()), (made.start_ns, made.start_ns + 100 * made.interval_ns));
        let counted = [Counter::Sent, Counter::Received, Counter::LostForward, Counter::T1Kernel];
        assert_eq!(counted.map(|counter| whole.count(counter)), [100, 96, 4, 96]);
        assert_eq!(whole.measure(Measure::RoundTrip).max(), Some(1_099_000));
        let (forward, backward) = (whole.measure(Measure::Forward), whole.measure(Measure::Backward));
        assert!(forward.min().unwrap() >= 9 && backward.min().unwrap() >= 9);
        let both = forward.mean().unwrap() + backward.mean().unwrap();
        assert!((both - whole.measure(Measure::RoundTrip).mean().unwrap()).abs() < 1.0);
        for measure in [Measure::Residence, Measure::SendLateness] {
            let found = whole.measure(measure);
            assert!(found.min().unwrap() >= 5_000 && found.max().unwrap() > found.min().unwrap(), "{measure:?}");
        }
    }
}
