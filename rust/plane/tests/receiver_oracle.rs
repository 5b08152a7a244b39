//! The Session-Receiver against a naive oracle: the same arrivals, judged with the whole schedule at hand.

use proptest::prelude::*;
use twoway_plane::managed::Disposition;
use twoway_plane::session_receiver::{Outcome, ReceiverSpec, Record, SessionReceiver, summarize};
use twoway_plane::slots::{SkipRange, Slot, SlotList};
use twoway_plane::summary::{Counter, Measure};
use twoway_wire::{
    ErrorEstimate, PacketFormat, RawTimestamp, SenderPacket, TestKeys, TimestampFormat, TwampKeys, WallNanos,
};

const MS: i64 = 1_000_000;
const START: WallNanos = WallNanos(1_700_000_000_000_000_000);
/// The monotonic clock at the start: another number, so that mixing up both clocks shows.
const START_NS: i64 = 77_777;
const ERROR: ErrorEstimate = ErrorEstimate(0x8001);

fn fixed(ns: i64) -> u64 {
    ((i128::from(ns) << 32) / 1_000_000_000) as u64
}

#[derive(Clone, Debug)]
struct Arrival {
    sequence: u32,
    /// Of departure, after the scheduled time.
    late_ns: i64,
    delay_ns: i64,
}

#[derive(Clone, Debug)]
struct Case {
    slots: Vec<Slot>,
    packets: u32,
    timeout_ns: i64,
    room: usize,
    arrivals: Vec<Arrival>,
    end_ns: i64,
    next_sequence: u32,
    skipped: Vec<SkipRange>,
}

fn case() -> impl Strategy<Value = Case> {
    let slot = prop_oneof![
        (0..50 * MS).prop_map(|ns| Slot::Fixed(fixed(ns))),
        (0..50 * MS).prop_map(|ns| Slot::Exponential(fixed(ns))),
    ];
    let slots = prop::collection::vec(slot, 1..4);
    (slots, 1_u32..40, 1..300_i64, 0_usize..6).prop_flat_map(|(slots, packets, timeout, room)| {
        let timeout_ns = timeout * MS;
        let offset = -timeout_ns * 3 / 2..timeout_ns * 3 / 2;
        let arrival = (0..packets + 2, prop_oneof![Just(0), offset.clone()], offset)
            .prop_map(|(sequence, late_ns, delay_ns)| Arrival { sequence, late_ns, delay_ns });
        let arrivals = prop::collection::vec(arrival, 0..60);
        let skipped = prop::collection::btree_set(0..packets, 0..4);
        (arrivals, 0..4_000_i64, packets / 2..=packets, skipped).prop_map(
            move |(arrivals, end, next_sequence, skipped)| {
                let mut ranges = Vec::new();
                for at in skipped {
                    SkipRange::append(&mut ranges, at, at);
                }
                let slots = slots.clone();
                Case { slots, packets, timeout_ns, room, arrivals, end_ns: end * MS, next_sequence, skipped: ranges }
            },
        )
    })
}

/// (received: number and arrival, in the order of arrival; lost numbers, ascending; outcome)
type Judged = (Vec<(u32, i64)>, Vec<u32>, Outcome);

fn oracle(case: &Case, schedule: &[i64], arrivals: &[(i64, u32, i64)]) -> Judged {
    let mut kept: Vec<(u32, i64)> = Vec::new();
    let mut duplicates = 0;
    for (received, sequence, sent) in arrivals {
        let Some(due) = schedule.get(*sequence as usize) else { continue };
        if (received - sent).abs() > case.timeout_ns || (sent - due).abs() > case.timeout_ns {
            continue;
        }
        if kept.iter().any(|(known, _)| known == sequence) {
            if duplicates == case.room {
                continue;
            }
            duplicates += 1;
        }
        kept.push((*sequence, *received));
    }
    if kept.iter().any(|(sequence, _)| *sequence >= case.next_sequence) {
        return (Vec::new(), Vec::new(), Outcome::Invalid);
    }
    let counts = |sequence: u32| schedule[sequence as usize] <= case.end_ns - case.timeout_ns;
    let lost = (0..case.next_sequence)
        .filter(|at| counts(*at) && !kept.iter().any(|(known, _)| known == at))
        .filter(|at| !case.skipped.iter().any(|range| (range.first..=range.last).contains(at)))
        .collect();
    kept.retain(|(sequence, _)| counts(*sequence));
    (kept, lost, Outcome::Complete)
}

fn octets(sequence: u32, sent: WallNanos) -> [u8; 14] {
    let mut octets = [0; 14];
    let timestamp = RawTimestamp::encode(sent, TimestampFormat::Ntp);
    let packet = SenderPacket { sequence, timestamp, error_estimate: ERROR, ssid: 0 };
    packet.emit(PacketFormat::Twamp, &TestKeys::None, &mut octets).unwrap();
    octets
}

fn list(case: &Case) -> SlotList {
    SlotList::new(&case.slots, [9; 16]).unwrap()
}

fn receiver(case: &Case) -> SessionReceiver {
    let mut receiver = SessionReceiver::new(ReceiverSpec {
        format: PacketFormat::Twamp,
        keys: TestKeys::None,
        slots: list(case),
        packets: case.packets,
        timeout_ns: case.timeout_ns,
        record_capacity: case.packets as usize + case.room,
    });
    receiver.start(START, START_NS);
    receiver
}

/// Arrivals up to the end as (arrival, number, departure), in order, after the start.
fn arrivals(case: &Case, schedule: &[i64]) -> Vec<(i64, u32, i64)> {
    let mut arrivals: Vec<_> = case
        .arrivals
        .iter()
        .map(|arrival| {
            let due = schedule.get(arrival.sequence as usize).copied().unwrap_or(0);
            let sent = due + arrival.late_ns;
            (sent + arrival.delay_ns, arrival.sequence, sent)
        })
        .filter(|(received, ..)| *received <= case.end_ns)
        .collect();
    arrivals.sort_unstable();
    arrivals
}

proptest! {
    #[test]
    fn records_are_those_of_the_oracle(case in case(), timely in any::<bool>()) {
        let schedule: Vec<i64> = list(&case).offsets_ns(case.packets).collect();
        let arrivals = arrivals(&case, &schedule);
        let mut receiver = receiver(&case);
        for (received, sequence, sent) in &arrivals {
            // Whether the worker looked at the clock often or never changes nothing.
            if timely {
                receiver.expire(START_NS + received, ERROR, usize::MAX);
            }
            let mut packet = octets(*sequence, WallNanos(START.0 + sent));
            receiver.receive(&mut packet, WallNanos(START.0 + received), Some(64), ERROR);
        }
        if timely {
            receiver.expire(START_NS + case.end_ns, ERROR, usize::MAX);
        }
        prop_assert!(receiver.records().len() <= case.packets as usize + case.room);
        let outcome = receiver.complete(case.next_sequence, &case.skipped, START_NS + case.end_ns, ERROR);
        let (kept, lost, expected) = oracle(&case, &schedule, &arrivals);
        prop_assert_eq!(outcome, expected);
        let near = |raw: RawTimestamp| raw.decode(TimestampFormat::Ntp, START).unwrap().since(START);
        let recorded: Vec<_> = receiver
            .records()
            .iter()
            .filter(|record| !record.is_lost())
            .map(|record| (record.sequence, near(record.receive_timestamp)))
            .collect();
        prop_assert_eq!(&recorded, &kept);
        let losses: Vec<_> = receiver.records().iter().filter(|record| record.is_lost()).collect();
        for record in &losses {
            prop_assert_eq!(near(record.send_timestamp), schedule[record.sequence as usize], "the presumed send time");
            prop_assert_eq!((record.send_error_estimate, record.ttl), (ErrorEstimate(1), 255));
        }
        prop_assert_eq!(losses.iter().map(|record| record.sequence).collect::<Vec<_>>(), &*lost);

        // And the summary counts each packet once.
        let summary = summarize(receiver.records(), receiver.skipped(), START, WallNanos(START.0 + case.end_ns));
        let mut firsts: Vec<_> = kept.iter().map(|(sequence, _)| *sequence).collect();
        firsts.sort_unstable();
        firsts.dedup();
        prop_assert_eq!(summary.count(Counter::Received), firsts.len() as u64);
        prop_assert_eq!(summary.count(Counter::DuplicatesForward), (kept.len() - firsts.len()) as u64);
        prop_assert_eq!(summary.count(Counter::Lost), lost.len() as u64);
        prop_assert_eq!(summary.count(Counter::LostForward), lost.len() as u64);
        prop_assert_eq!(summary.count(Counter::Sent), (firsts.len() + lost.len()) as u64);
        prop_assert_eq!(summary.measure(Measure::Forward).count(), firsts.len() as u64);
        let runs: u64 = summary.loss_bursts().iter().map(|(length, n)| u64::from(*length) * n).sum();
        prop_assert_eq!(runs, lost.len() as u64);
    }

    #[test]
    fn an_abandoned_session_ends_with_what_came(case in case()) {
        let schedule: Vec<i64> = list(&case).offsets_ns(case.packets).collect();
        let mut receiver = receiver(&case);
        for (received, sequence, sent) in arrivals(&case, &schedule) {
            receiver.expire(START_NS + received, ERROR, usize::MAX);
            let mut packet = octets(sequence, WallNanos(START.0 + sent));
            receiver.receive(&mut packet, WallNanos(START.0 + received), None, ERROR);
        }
        receiver.expire(START_NS + case.end_ns, ERROR, usize::MAX);
        let highest = receiver.records().iter().filter(|record| !record.is_lost()).map(|record| record.sequence).max();
        prop_assert_eq!(receiver.abandon(), Outcome::Abandoned);
        prop_assert!(receiver.records().iter().all(|record| Some(record.sequence) <= highest));
        prop_assert_eq!(receiver.complete(0, &[], i64::MAX, ERROR), Outcome::Abandoned);
    }

    /// Octets of any length and value: never a panic, and never a record that the rules forbid.
    #[test]
    fn hostile_datagrams_leave_nothing(
        mut octets in prop::collection::vec(any::<u8>(), 0..80),
        format in prop::sample::select(vec![
            PacketFormat::Twamp, PacketFormat::TwampAuthenticated, PacketFormat::TwampEncrypted]),
        now in any::<i64>(),
    ) {
        let keys = match format {
            PacketFormat::Twamp => TestKeys::None,
            _ => TestKeys::Twamp(TwampKeys::new([1; 16], [2; 32])),
        };
        let slots = SlotList::new(&[Slot::Exponential(u64::MAX), Slot::Fixed(0)], [3; 16]).unwrap();
        let spec = ReceiverSpec { format, keys, slots, packets: u32::MAX, timeout_ns: MS, record_capacity: usize::MAX };
        let mut receiver = SessionReceiver::new(spec);
        let before = receiver.receive(&mut octets.clone(), WallNanos(now), None, ERROR);
        prop_assert_eq!(before, Disposition::NotStarted);
        receiver.start(START, START_NS);
        receiver.receive(&mut octets, WallNanos(now), None, ERROR);
        prop_assert!(receiver.memory_bytes() < 4096, "a forged number takes no memory");
        prop_assert!(receiver.records().is_empty());
    }

    /// Fetched records are the far end's: any numbers at all.
    #[test]
    fn any_records_can_be_summarized(
        rows in prop::collection::vec((any::<u32>(), any::<u16>(), any::<u16>(), any::<u64>(), any::<u64>()), 0..50),
        first in any::<u32>(), last in any::<u32>(),
    ) {
        let records: Vec<_> = rows
            .into_iter()
            .map(|(sequence, sent, received, send, receive)| Record {
                sequence,
                send_error_estimate: ErrorEstimate(sent),
                receive_error_estimate: ErrorEstimate(received),
                send_timestamp: RawTimestamp(send),
                receive_timestamp: RawTimestamp(receive),
                ttl: 1,
            })
            .collect();
        for record in &records {
            prop_assert_eq!(Record::parse(&record.octets()), *record);
        }
        let summary = summarize(&records, &[SkipRange { first, last }], START, START);
        let whole = summary.count(Counter::Sent) + summary.count(Counter::DuplicatesForward);
        prop_assert!(whole <= records.len() as u64);
    }
}

#[test]
fn every_packet_is_decided_two_timeouts_after_it_was_due() {
    let case = Case {
        slots: vec![Slot::Fixed(1 << 26)], // 2^-6 s: a whole number of nanoseconds
        packets: 3,
        timeout_ns: 100 * MS,
        room: 0,
        arrivals: Vec::new(),
        end_ns: 0,
        next_sequence: 0,
        skipped: Vec::new(),
    };
    let mut receiver = receiver(&case);
    for at in 1..=3 {
        let due = receiver.next_event().unwrap();
        assert_eq!(due, START_NS + at * 15_625_000 + 200 * MS + 1);
        receiver.expire(due - 1, ERROR, 10);
        assert_eq!(receiver.records().len(), at as usize - 1);
        assert!(!receiver.is_decided());
        receiver.expire(due, ERROR, 10);
        assert_eq!(receiver.records().len(), at as usize);
    }
    assert!(receiver.is_decided());
    assert_eq!(receiver.next_event(), None);
}
