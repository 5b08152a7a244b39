//! The ledger under replies that nobody sent, at any time and in any number: it neither panics nor loses count.

use proptest::collection::vec;
use proptest::prelude::*;
use twoway_plane::ledger::{Ledger, LedgerSpec, ReflectorMode, Reply, ReplyTlvs, ReplyVerdict};
use twoway_plane::sample::TimestampSource;
use twoway_plane::summary::Counter;
use twoway_wire::{RawTimestamp, TimestampFormat, WallNanos};

const WALL: i64 = 1_800_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

#[derive(Clone, Debug)]
enum Event {
    Send,
    /// Reply to a packet so many before the latest, with the right T1 or a wrong one.
    Reply {
        back: u32,
        right: bool,
        number: u32,
        far: [i64; 2],
        here: i64,
    },
    Stamp {
        back: u32,
        off: i64,
        hardware: bool,
    },
    ClockStep(i64),
    Expire,
}

/// Anything that 64 bits of a clock can say, and what is close to the truth.
fn moment() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), WALL - SECOND..WALL + 60 * SECOND]
}

fn event() -> impl Strategy<Value = Event> {
    let number = prop_oneof![any::<u32>(), 0_u32..200];
    let back = || prop_oneof![1_u32..8, any::<u32>()];
    prop_oneof![
        4 => Just(Event::Send),
        6 => (back(), prop::bool::weighted(0.9), number, [moment(), moment()], moment())
            .prop_map(|(back, right, number, far, here)| Event::Reply { back, right, number, far, here }),
        1 => (back(), moment(), any::<bool>()).prop_map(|(back, off, hardware)| Event::Stamp { back, off, hardware }),
        1 => any::<i64>().prop_map(Event::ClockStep),
        1 => Just(Event::Expire),
    ]
}

proptest! {
    #[test]
    fn every_datagram_and_every_packet_counts_once(
        events in vec((0_i64..SECOND, event()), 0..400),
        mode in 0_usize..3,
        first in prop_oneof![Just(0), any::<u32>()],
        aborted in any::<bool>(),
    ) {
        let mut ledger = Ledger::new(LedgerSpec {
            ring: 4,
            timeout_ns: 2 * SECOND,
            reflector_mode: ReflectorMode::ALL[mode],
            timestamp_format: TimestampFormat::Ptp,
            timestamps: TimestampSource::Hardware,
            stamp_wait_ns: SECOND / 10,
            attribution_wait_ns: 5 * SECOND,
            attribution_capacity: 8,
            follow_up_wait_ns: 0,
            replies_asked: 1,
            start: WallNanos(WALL),
        });
        let (mut now, mut next, mut replies, mut rows) = (0, first, 0, Vec::new());
        let mut carried = std::collections::BTreeMap::new();
        for (wait, event) in events {
            now += wait;
            match event {
                Event::Send => {
                    ledger.sent(next, now, WallNanos(WALL + now), wait);
                    carried.insert(next, WALL + now);
                    next = next.wrapping_add(1);
                }
                Event::Reply { back, right, number, far, here } => {
                    let sender_sequence = next.wrapping_sub(back);
                    let t1 = carried.get(&sender_sequence).map_or(0, |t1| t1 + i64::from(!right));
                    let reply = Reply {
                        sender_sequence,
                        reflector_sequence: number,
                        sender_timestamp: RawTimestamp::encode(WallNanos(t1), TimestampFormat::Ptp),
                        t2: Some(WallNanos(far[0])),
                        t3: Some(WallNanos(far[1])),
                        t4: WallNanos(here),
                        t4_source: TimestampSource::Kernel,
                        far_synchronized: right,
                        far_error_ns: Some(here.unsigned_abs()),
                        far_error_estimate_invalid: !right,
                        sender_ttl: Some(number as u8),
                        returned_ttl: Some(back as u8),
                        far_dscp_ecn: Some(number as u8),
                        returned_dscp_ecn: None,
                        ssid_zero: right,
                        tlvs: ReplyTlvs { unrecognized: right, malformed: right, ..ReplyTlvs::default() },
                    };
                    let verdict = ledger.reply(&reply, now, &mut rows);
                    let known = carried.contains_key(&sender_sequence);
                    prop_assert_eq!(!known, verdict == ReplyVerdict::UnknownSequence);
                    replies += 1;
                }
                Event::Stamp { back, off, hardware } => {
                    let source = if hardware { TimestampSource::Hardware } else { TimestampSource::Kernel };
                    ledger.transmit_stamp(next.wrapping_sub(back), WallNanos(off), source, &mut rows);
                }
                Event::ClockStep(step) => ledger.clock_step(now, WallNanos(WALL + now), step),
                Event::Expire => ledger.expire(now, &mut rows),
            }
        }
        ledger.finish(now, aborted, &mut rows);
        prop_assert_eq!((ledger.outstanding(), ledger.next_expiry()), (0, None));
        let summary = ledger.summary(WallNanos(WALL + now));
        let sum = |counters: &[Counter]| counters.iter().map(|counter| summary.count(*counter)).sum::<u64>();
        let first_copies = sum(&[Counter::Received, Counter::Late]);
        let lost = sum(&[Counter::LostForward, Counter::LostBackward, Counter::LostUnattributed]);
        let duplicates =
            sum(&[Counter::DuplicatesForward, Counter::DuplicatesBackward, Counter::DuplicatesUnattributed]);
        let rejected =
            sum(&[Counter::RejectedMismatch, Counter::RejectedUnknownSequence, Counter::RejectedExpired]);
        prop_assert_eq!(summary.count(Counter::Lost), lost);
        prop_assert_eq!(first_copies + lost + summary.count(Counter::Pending), carried.len() as u64);
        prop_assert_eq!(first_copies + duplicates + rejected, replies);
        prop_assert_eq!(rows.len() as u64, carried.len() as u64 + duplicates);
        prop_assert_eq!(sum(&[Counter::T1Hardware, Counter::T1Kernel, Counter::T1User]), first_copies);
        let runs: u64 = summary.loss_bursts().iter().map(|(&length, &n)| u64::from(length) * n).sum();
        prop_assert_eq!(runs, lost);
    }
}
