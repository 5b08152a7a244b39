//! The ledger against a naive history of a simulated path that knows what really happened to every packet.
//!
//! The path loses, copies, delays and reorders in each direction; the Session-Reflector counts or copies. The oracle sees
//! the truth, the ledger only replies. Counts by direction must be exact under the conditions that
//! `ledger/attribution.rs` states; the generator keeps to them and to nothing more.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use twoway_plane::distribution::Distribution;
use twoway_plane::ledger::{Ledger, LedgerSpec, ReflectorMode, Reply, ReplyTlvs};
use twoway_plane::sample::{Sample, SampleStatus, TimestampSource};
use twoway_plane::summary::{Counter, Measure, Summary};
use twoway_wire::{RawTimestamp, TimestampFormat, WallNanos};

const MS: i64 = 1_000_000;
const INTERVAL: i64 = 10 * MS;
const TIMEOUT: i64 = 1_000 * MS;
/// Wall time at monotonic time 0, here and at the far end.
const WALL: i64 = 1_800_000_000_000_000_000;
const FAR_WALL: i64 = WALL - 77_777_777_777;

/// What the path does to one packet.
#[derive(Clone, Debug)]
struct Fate {
    /// Delay of each copy that reaches the Session-Reflector; none: lost forward.
    forward: Vec<i64>,
    /// Of each of these copies' replies, delays of the copies that come back; none: lost backward.
    backward: Vec<Vec<i64>>,
    residence: i64,
    /// Kernel stamp after the T1 that the packet carries, and when it is read after sending; None: it never comes.
    stamp: Option<(i64, i64)>,
}

fn delay() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 5 * MS..6 * MS, 1 => 5 * MS..60 * MS, 1 => Just(300 * MS)]
}

fn fate() -> impl Strategy<Value = Fate> {
    let copies = || prop_oneof![2 => Just(0_usize), 12 => Just(1), 1 => Just(2), 1 => Just(3)];
    let stamp = prop_oneof![1 => Just(None), 9 => (10_000_i64..90_000, 100_000_i64..MS).prop_map(Some),
        1 => (10_000_i64..90_000, 20 * MS..40 * MS).prop_map(Some)];
    (copies(), vec(delay(), 3), vec((copies(), vec(delay(), 3)), 3), 1_000_i64..MS, stamp).prop_map(
        |(copies, mut forward, backward, residence, stamp)| {
            forward.truncate(copies);
            let backward = backward.into_iter().take(copies).map(|(copies, mut delays)| {
                delays.truncate(copies);
                delays
            });
            Fate { forward, backward: backward.collect(), residence, stamp }
        },
    )
}

#[derive(Clone, Debug)]
struct Setting {
    stateful: bool,
    told: bool,
    first_sequence: u32,
    first_number: u32,
    intervals: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let sequence = prop_oneof![Just(0), Just(u32::MAX - 7)];
    let number = prop_oneof![2 => Just(0), 1 => Just(u32::MAX - 3), 1 => Just(1_000_000)];
    (any::<bool>(), any::<bool>(), sequence, number, any::<bool>()).prop_map(
        |(stateful, told, first_sequence, first_number, intervals)| {
            // A reflector that copies has no number of its own; a packet numbered by us from elsewhere tells it apart.
            Setting { stateful, told, first_sequence, first_number, intervals }
        },
    )
}

/// One reply on its way.
#[derive(Clone, Debug)]
struct Arrival {
    packet: usize,
    number: u32,
    far_ns: i64,
    arrives_ns: i64,
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    fn add(&mut self, counter: Counter) {
        *self.0.entry(counter.name()).or_default() += 1;
    }

    fn of(summary: &Summary, counters: &[Counter]) -> Self {
        let counts = counters.iter().map(|counter| (counter.name(), summary.count(*counter)));
        Self(counts.filter(|(_, n)| *n > 0).collect())
    }
}

const COMPARED: [Counter; 13] = [
    Counter::Sent,
    Counter::Received,
    Counter::Lost,
    Counter::LostForward,
    Counter::LostBackward,
    Counter::LostUnattributed,
    Counter::DuplicatesForward,
    Counter::DuplicatesBackward,
    Counter::DuplicatesUnattributed,
    Counter::ReorderedRoundTrip,
    Counter::ReorderedForward,
    Counter::ReorderedBackward,
    Counter::T1User,
];

/// All replies in order of arrival, with the numbers that the Session-Reflector gave in order of arrival there.
fn travel(fates: &[Fate], setting: &Setting) -> Vec<Arrival> {
    let mut far: Vec<(i64, usize, usize)> = Vec::new();
    for (packet, fate) in fates.iter().enumerate() {
        let sent = packet as i64 * INTERVAL;
        far.extend(fate.forward.iter().enumerate().map(|(copy, delay)| (sent + delay, packet, copy)));
    }
    far.sort_unstable();
    let mut arrivals = Vec::new();
    for (nth, (far_ns, packet, copy)) in far.into_iter().enumerate() {
        let number = if setting.stateful {
            setting.first_number.wrapping_add(nth as u32)
        } else {
            setting.first_sequence.wrapping_add(packet as u32)
        };
        for delay in &fates[packet].backward[copy] {
            let arrives_ns = far_ns + fates[packet].residence + delay;
            arrivals.push(Arrival { packet, number, far_ns, arrives_ns });
        }
    }
    arrivals.sort_by_key(|arrival| (arrival.arrives_ns, arrival.packet, arrival.number));
    arrivals
}

/// Bring the fates within the conditions under which attribution is exact.
fn keep_to_conditions(fates: &mut [Fate], setting: &Setting) {
    for fate in fates.iter_mut().filter(|fate| fate.forward.len() > 1) {
        // 1: of a packet that was copied on the way there, every copy's reply is seen.
        for replies in fate.backward.iter_mut().filter(|replies| replies.is_empty()) {
            replies.push(5 * MS);
        }
    }
    if setting.first_number != 0 {
        // Without a number 0 there is nothing before the first reply to count from.
        fates[0].forward = vec![5 * MS];
        fates[0].backward = vec![vec![5 * MS]];
    }
    // 2: a packet whose reply was lost neither overtook nor was overtaken.
    let reaches: Vec<Vec<i64>> = (0..)
        .zip(fates.iter())
        .map(|(n, fate)| fate.forward.iter().map(|delay| n * INTERVAL + delay).collect())
        .collect();
    for packet in 0..fates.len() {
        if fates[packet].forward.len() != 1 || !fates[packet].backward[0].is_empty() {
            continue;
        }
        let here = reaches[packet][0];
        let before = reaches[..packet].iter().flatten().all(|other| *other < here);
        let after = reaches[packet + 1..].iter().flatten().all(|other| *other > here);
        if !before || !after {
            fates[packet].backward[0].push(5 * MS);
        }
    }
}

/// What the ledger should say of this history.
struct Truth {
    counts: Counts,
    bursts: BTreeMap<u32, u64>,
    measures: BTreeMap<&'static str, Vec<i64>>,
    statuses: BTreeMap<u32, SampleStatus>,
}

fn truth(fates: &[Fate], arrivals: &[Arrival], setting: &Setting, stamp_wait: i64) -> Truth {
    let mut counts = Counts::default();
    let sequence = |packet: usize| setting.first_sequence.wrapping_add(packet as u32);
    let differs = |arrival: &Arrival| arrival.number != sequence(arrival.packet);
    // From which reply on it is known that the Session-Reflector counts.
    let known_from = match (setting.told, setting.stateful) {
        (true, true) => Some(0),
        (true, false) => None,
        (false, _) => arrivals.iter().position(differs),
    };
    let mut first: BTreeMap<usize, &Arrival> = BTreeMap::new();
    let mut numbers: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
    let mut highest: Option<u32> = None;
    for (nth, arrival) in arrivals.iter().enumerate() {
        let is_first = !first.contains_key(&arrival.packet);
        let new_number = numbers.entry(arrival.packet).or_default().insert(arrival.number);
        let known = known_from.is_some_and(|from| nth >= from);
        if is_first {
            counts.add(Counter::Received);
            if first.last_key_value().is_some_and(|(latest, _)| *latest > arrival.packet) {
                counts.add(Counter::ReorderedRoundTrip);
            }
            let behind = highest.is_some_and(|highest| (arrival.number.wrapping_sub(highest) as i32) < 0);
            if behind && known_from.is_some() {
                counts.add(Counter::ReorderedBackward);
            }
            first.insert(arrival.packet, arrival);
        } else {
            counts.add(match (known, new_number) {
                (false, _) => Counter::DuplicatesUnattributed,
                (true, true) => Counter::DuplicatesForward,
                (true, false) => Counter::DuplicatesBackward,
            });
        }
        let higher = highest.is_none_or(|highest| arrival.number.wrapping_sub(highest) as i32 > 0);
        highest = if higher { Some(arrival.number) } else { highest };
    }
    if known_from.is_some() {
        for (packet, arrival) in &first {
            let overtaken = arrivals
                .iter()
                .any(|other| other.packet > *packet && (other.number.wrapping_sub(arrival.number) as i32) < 0);
            if overtaken {
                counts.add(Counter::ReorderedForward);
            }
        }
    }

    let last_back = first.last_key_value().map(|(packet, _)| *packet);
    let (mut bursts, mut run, mut statuses) = (BTreeMap::new(), 0, BTreeMap::new());
    for (packet, fate) in fates.iter().enumerate() {
        counts.add(Counter::Sent);
        if first.contains_key(&packet) {
            if run > 0 {
                *bursts.entry(run).or_default() += 1;
            }
            run = 0;
            statuses.insert(sequence(packet), SampleStatus::Received);
            continue;
        }
        run += 1;
        let (counter, status) = if known_from.is_none() || last_back.is_none_or(|last| packet > last) {
            (Counter::LostUnattributed, SampleStatus::LostUnattributed)
        } else if fate.forward.is_empty() {
            (Counter::LostForward, SampleStatus::LostForward)
        } else {
            (Counter::LostBackward, SampleStatus::LostBackward)
        };
        counts.add(Counter::Lost);
        counts.add(counter);
        statuses.insert(sequence(packet), status);
    }
    if run > 0 {
        *bursts.entry(run).or_default() += 1;
    }

    let mut measures: BTreeMap<&'static str, Vec<i64>> = BTreeMap::new();
    let mut delays: BTreeMap<usize, [i64; 3]> = BTreeMap::new();
    for (packet, arrival) in &first {
        let fate = &fates[*packet];
        let sent = *packet as i64 * INTERVAL;
        let stamp = fate.stamp.filter(|(_, read)| sent + read <= arrival.arrives_ns + stamp_wait);
        if stamp.is_none() {
            counts.add(Counter::T1User);
        }
        let t1 = sent + stamp.map_or(0, |(stamp, _)| stamp);
        let forward = arrival.far_ns + FAR_WALL - WALL - t1;
        let backward = arrival.arrives_ns - (arrival.far_ns + fate.residence) + WALL - FAR_WALL;
        delays.insert(*packet, [forward + backward, forward, backward]);
        measures.entry("residence").or_default().push(fate.residence);
    }
    for (packet, delays_of) in &delays {
        for (name, delay) in ["round_trip", "forward", "backward"].into_iter().zip(delays_of) {
            measures.entry(name).or_default().push(*delay);
        }
        if let Some(before) = packet.checked_sub(1).and_then(|before| delays.get(&before)) {
            let names = ["ipdv_round_trip", "ipdv_forward", "ipdv_backward"];
            for ((name, delay), before) in names.into_iter().zip(delays_of).zip(before) {
                measures.entry(name).or_default().push(delay - before);
            }
        }
    }
    Truth { counts, bursts, measures, statuses }
}

/// Let the ledger live through the history. Returns its summary, its intervals and the rows.
fn live(fates: &[Fate], arrivals: &[Arrival], setting: &Setting, stamp_wait: i64) -> (Summary, Summary, Vec<Sample>) {
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Stamp(usize),
        Reply(usize),
        Expire,
        Send(usize),
        Interval,
    }
    let mut events: Vec<(i64, Event)> = Vec::new();
    for (packet, fate) in fates.iter().enumerate() {
        let sent = packet as i64 * INTERVAL;
        events.push((sent, Event::Send(packet)));
        events.extend(fate.stamp.map(|(_, read)| (sent + read, Event::Stamp(packet))));
    }
    events.extend(arrivals.iter().enumerate().map(|(nth, arrival)| (arrival.arrives_ns, Event::Reply(nth))));
    let end = fates.len() as i64 * INTERVAL + 2 * TIMEOUT;
    events.extend((0..end / (7 * MS)).map(|nth| (nth * 7 * MS, Event::Expire)));
    if setting.intervals {
        events.extend((0..end / (90 * MS)).map(|nth| (nth * 90 * MS, Event::Interval)));
    }
    events.sort_unstable();

    let mut ledger = Ledger::new(LedgerSpec {
        ring: 16,
        timeout_ns: TIMEOUT,
        reflector_mode: match (setting.told, setting.stateful) {
            (false, _) => ReflectorMode::Auto,
            (true, true) => ReflectorMode::Stateful,
            (true, false) => ReflectorMode::Stateless,
        },
        timestamp_format: TimestampFormat::Ntp,
        timestamps: TimestampSource::Kernel,
        stamp_wait_ns: stamp_wait,
        attribution_wait_ns: i64::MAX,
        attribution_capacity: 10_000,
        follow_up_wait_ns: 0,
        replies_asked: 1,
        start: WallNanos(WALL),
    });
    let (mut rows, mut merged) = (Vec::new(), Summary::new());
    for (now, event) in events {
        // As an engine does: first what is due.
        while let Some(due) = ledger.next_expiry().filter(|due| *due < now) {
            ledger.expire(due, &mut rows);
        }
        match event {
            Event::Send(packet) => {
                ledger.sent(setting.first_sequence.wrapping_add(packet as u32), now, WallNanos(WALL + now), 50);
            }
            Event::Stamp(packet) => {
                let sequence = setting.first_sequence.wrapping_add(packet as u32);
                let stamp = fates[packet].stamp.expect("only packets with a stamp have this event").0;
                let t1 = WallNanos(WALL + packet as i64 * INTERVAL + stamp);
                ledger.transmit_stamp(sequence, t1, TimestampSource::Kernel, &mut rows);
            }
            Event::Reply(nth) => {
                let arrival = &arrivals[nth];
                let sent = WallNanos(WALL + arrival.packet as i64 * INTERVAL);
                let reply = Reply {
                    sender_sequence: setting.first_sequence.wrapping_add(arrival.packet as u32),
                    reflector_sequence: arrival.number,
                    sender_timestamp: RawTimestamp::encode(sent, TimestampFormat::Ntp),
                    t2: Some(WallNanos(FAR_WALL + arrival.far_ns)),
                    t3: Some(WallNanos(FAR_WALL + arrival.far_ns + fates[arrival.packet].residence)),
                    t4: WallNanos(WALL + arrival.arrives_ns),
                    t4_source: TimestampSource::Kernel,
                    far_synchronized: true,
                    far_error_ns: Some(1_000),
                    far_error_estimate_invalid: false,
                    sender_ttl: Some(255),
                    returned_ttl: Some(254),
                    far_dscp_ecn: None,
                    returned_dscp_ecn: Some(0),
                    ssid_zero: false,
                    tlvs: ReplyTlvs::default(),
                };
                ledger.reply(&reply, now, &mut rows);
            }
            Event::Expire => ledger.expire(now, &mut rows),
            Event::Interval => merged.merge(&ledger.take_interval(WallNanos(WALL + now))),
        }
    }
    ledger.finish(end, false, &mut rows);
    merged.merge(&ledger.take_interval(WallNanos(WALL + end)));
    assert_eq!(ledger.outstanding(), 0);
    (ledger.summary(WallNanos(WALL + end)), merged, rows)
}

fn check(fates: &[Fate], setting: &Setting, stamp_wait: i64) -> Result<(), TestCaseError> {
    let arrivals = travel(fates, setting);
    let truth = truth(fates, &arrivals, setting, stamp_wait);
    let (summary, merged, rows) = live(fates, &arrivals, setting, stamp_wait);
    prop_assert_eq!(Counts::of(&summary, &COMPARED), truth.counts);
    prop_assert_eq!(summary.loss_bursts(), &truth.bursts);
    prop_assert_eq!(&merged, &summary);
    for measure in Measure::ALL.iter().filter(|measure| **measure != Measure::SendLateness) {
        let values = truth.measures.get(measure.name()).cloned().unwrap_or_default();
        prop_assert_eq!(summary.measure(*measure), &values.into_iter().collect::<Distribution>(), "{}", measure.name());
    }
    let duplicates =
        [SampleStatus::DuplicateForward, SampleStatus::DuplicateBackward, SampleStatus::DuplicateUnattributed];
    let statuses: Vec<_> = rows.iter().filter(|row| !duplicates.contains(&row.status)).collect();
    prop_assert_eq!(statuses.len(), truth.statuses.len());
    for row in statuses {
        let status = truth.statuses[&row.sequence];
        // Where one window lost packets both ways the row does not guess.
        let withheld = row.status == SampleStatus::LostUnattributed && status != SampleStatus::Received;
        prop_assert!(row.status == status || withheld, "{}: {:?} for {:?}", row.sequence, row.status, status);
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_count_is_the_truth(mut fates in vec(fate(), 1..120), setting in setting()) {
        keep_to_conditions(&mut fates, &setting);
        check(&fates, &setting, 25 * MS)?;
    }

    /// Beyond the conditions the sum over directions is exact still, and nothing is negative or counted twice.
    #[test]
    fn the_sum_is_the_truth_without_conditions(fates in vec(fate(), 1..120), setting in setting()) {
        let arrivals = travel(&fates, &setting);
        let truth = truth(&fates, &arrivals, &setting, 25 * MS);
        let (summary, merged, rows) = live(&fates, &arrivals, &setting, 25 * MS);
        let sum = |counters: &[Counter]| counters.iter().map(|counter| summary.count(*counter)).sum::<u64>();
        let lost = sum(&[Counter::LostForward, Counter::LostBackward, Counter::LostUnattributed]);
        prop_assert_eq!(summary.count(Counter::Lost), lost);
        prop_assert_eq!(lost + summary.count(Counter::Received), fates.len() as u64);
        prop_assert_eq!(summary.count(Counter::Received), truth.counts.0.get("received").copied().unwrap_or_default());
        let duplicates =
            sum(&[Counter::DuplicatesForward, Counter::DuplicatesBackward, Counter::DuplicatesUnattributed]);
        prop_assert_eq!(summary.count(Counter::Received) + duplicates, arrivals.len() as u64);
        prop_assert_eq!(rows.len() as u64, fates.len() as u64 + duplicates);
        prop_assert_eq!(merged, summary);
    }
}
