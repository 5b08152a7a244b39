//! Tests, collections and history against a naive second version: lists of everything, reckoned anew.

use proptest::collection::vec;
use proptest::prelude::*;
use twoway_plane::collections::{Collection, Collections, Limits, Probe, Quantity, Tally, Which};
use twoway_plane::distribution::Distribution;
use twoway_plane::sample::{MISSING, Sample, SampleFlag, SampleStatus};

const TIMEOUT_NS: i64 = 60;
const INTERVAL_NS: i64 = 10;

/// What becomes of a slot of the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    NotSent,
    /// Round trip and egress.
    Received(i64, i64),
    /// The same, while a clock is not synchronised.
    Adrift(i64, i64),
    Duplicated(i64),
    Late,
    Lost(SampleStatus),
}

fn fate() -> impl Strategy<Value = Fate> {
    use SampleStatus::{LostBackward, LostForward, LostUnattributed};
    prop_oneof![
        6 => (1_i64..50, -500_i64..500).prop_map(|(rtt_ns, egress_ns)| Fate::Received(rtt_ns, egress_ns)),
        2 => (1_i64..50, -500_i64..500).prop_map(|(rtt_ns, egress_ns)| Fate::Adrift(rtt_ns, egress_ns)),
        1 => (1_i64..50).prop_map(Fate::Duplicated),
        1 => Just(Fate::NotSent),
        1 => Just(Fate::Late),
        2 => prop::sample::select(vec![LostForward, LostBackward, LostUnattributed]).prop_map(Fate::Lost),
    ]
}

/// A row with the number of its slot.
#[derive(Clone, Copy, Debug)]
struct Row {
    slot: usize,
    sample: Sample,
}

fn sample(sequence: u32, status: SampleStatus, t1_ns: i64) -> Sample {
    Sample { t1_ns, send_lateness_ns: 0, ..Sample::bare(sequence, status) }
}

fn answered(sequence: u32, status: SampleStatus, t1_ns: i64, rtt_ns: i64, egress_ns: i64) -> Sample {
    Sample {
        t4_ns: t1_ns + rtt_ns,
        round_trip_ns: rtt_ns,
        forward_ns: egress_ns,
        backward_ns: rtt_ns - egress_ns,
        residence_ns: 0,
        reflector_sequence: sequence,
        clocks: true,
        ..sample(sequence, status, t1_ns)
    }
}

fn departure_ns(slot: usize) -> i64 {
    1_000 + slot as i64 * INTERVAL_NS
}

/// The rows of these slots in the order in which they become known.
fn rows(fates: &[Fate]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut sequence = 0;
    for (slot, fate) in fates.iter().enumerate() {
        let t1_ns = departure_ns(slot);
        let mut push = |after_ns: i64, sample: Sample| rows.push((t1_ns + after_ns, Row { slot, sample }));
        match *fate {
            Fate::NotSent => push(0, Sample::bare(sequence, SampleStatus::NotSent)),
            Fate::Received(rtt_ns, egress_ns) => {
                push(rtt_ns, answered(sequence, SampleStatus::Received, t1_ns, rtt_ns, egress_ns));
            }
            Fate::Adrift(rtt_ns, egress_ns) => {
                let reply = answered(sequence, SampleStatus::Received, t1_ns, rtt_ns, egress_ns);
                push(rtt_ns, Sample { clocks: false, ..reply });
            }
            Fate::Duplicated(rtt_ns) => {
                push(rtt_ns, answered(sequence, SampleStatus::Received, t1_ns, rtt_ns, 3));
                push(rtt_ns + 1, answered(sequence, SampleStatus::DuplicateForward, t1_ns, rtt_ns + 1, 3));
            }
            Fate::Late => {
                push(TIMEOUT_NS + 1, answered(sequence, SampleStatus::Late, t1_ns, TIMEOUT_NS + 1, 3));
            }
            Fate::Lost(status) => push(2 * TIMEOUT_NS, sample(sequence, status, t1_ns)),
        }
        sequence += u32::from(*fate != Fate::NotSent);
    }
    rows.sort_by_key(|(at_ns, _)| *at_ns);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Results by their definitions.
#[derive(Debug, Default, PartialEq)]
struct Naive {
    tallies: [u64; 12],
    distributions: [Distribution; 8],
    start_ns: Option<i64>,
}

fn naive<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Naive {
    let of = |status: SampleStatus| rows.clone().filter(|row| row.sample.status == status).count() as u64;
    let received: Vec<&Sample> =
        rows.clone().map(|row| &row.sample).filter(|sample| sample.status == SampleStatus::Received).collect();
    let values = |of: fn(&Sample) -> i64| -> [Distribution; 3] {
        let with = |clocks: bool| received.iter().filter(|one| one.clocks == clocks).map(|one| of(one)).collect();
        let values: Vec<i64> = received.iter().map(|sample| of(sample)).collect();
        let jitter = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        [with(true), jitter, with(false)]
    };
    let is_lost = |status| {
        matches!(status, SampleStatus::LostForward | SampleStatus::LostBackward | SampleStatus::LostUnattributed)
    };
    let mut lost: Vec<u32> =
        rows.clone().filter(|row| is_lost(row.sample.status)).map(|row| row.sample.sequence).collect();
    lost.sort_unstable();
    let bursts: Vec<usize> = lost.chunk_by(|a, b| a + 1 == *b).map(<[u32]>::len).collect();
    let [forward, backward, unattributed] =
        [SampleStatus::LostForward, SampleStatus::LostBackward, SampleStatus::LostUnattributed].map(of);
    let lost = forward + backward + unattributed;
    let (received_count, late) = (received.len() as u64, of(SampleStatus::Late));
    let [mut rtt, rtt_jitter, adrift] = values(|sample| sample.round_trip_ns);
    rtt.merge(&adrift);
    let [egress, egress_jitter, egress_offset] = values(|sample| sample.forward_ns);
    let [ingress, ingress_jitter, ingress_offset] = values(|sample| sample.backward_ns);
    Naive {
        tallies: [
            received_count + late + lost,
            received_count,
            late,
            lost,
            forward,
            backward,
            unattributed,
            of(SampleStatus::DuplicateForward),
            of(SampleStatus::NotSent),
            bursts.len() as u64,
            bursts.iter().max().copied().unwrap_or(0) as u64,
            0,
        ],
        distributions: [rtt, rtt_jitter, egress, egress_jitter, ingress, ingress_jitter, egress_offset, ingress_offset],
        start_ns: rows.map(|row| row.sample.t1_ns).filter(|t1_ns| *t1_ns != MISSING).min(),
    }
}

fn shown(collection: &Collection) -> Naive {
    let tallies = [
        Tally::Sent,
        Tally::Received,
        Tally::Late,
        Tally::Lost,
        Tally::LostForward,
        Tally::LostBackward,
        Tally::LostUnattributed,
        Tally::Duplicates,
        Tally::NotSent,
        Tally::Bursts,
        Tally::LongestBurst,
        Tally::Pending,
    ];
    let quantities: Vec<Distribution> =
        Quantity::ALL.iter().map(|quantity| collection.quantity(*quantity).clone()).collect();
    Naive {
        tallies: tallies.map(|tally| collection.tally(tally)),
        distributions: quantities.try_into().unwrap(),
        start_ns: collection.start_ns(),
    }
}

/// Probes that never left have no moment of their own: their tests begin when they become known.
fn without_start(mut naive: Naive) -> Naive {
    if naive.tallies[8] > 0 {
        naive.start_ns = None;
    }
    naive
}

proptest! {
    #[test]
    fn tests_and_collections_are_what_their_probes_say(
        probe_count in 1_usize..6, fates in vec(fate(), 0..60), moving in 0_usize..12, history in 0_usize..12,
        batch in 1_usize..9, seen in 0_usize..200,
    ) {
        let rows = rows(&fates);
        let mut collections = Collections::new(probe_count as u64, moving, history);
        let fed = &rows[..seen.min(rows.len())];
        for batch in fed.chunks(batch) {
            collections.add(&batch.iter().map(|row| row.sample).collect::<Vec<_>>(), 7);
        }
        let test_of = |row: &Row| row.slot / probe_count;
        let fate_known = |slot: usize| {
            fed.iter().any(|row| row.slot == slot && row.sample.status != SampleStatus::DuplicateForward)
        };
        let mut finished = collections.take_finished().into_iter();
        let mut test = 0;
        // In their order: one that waits for a loss holds up those behind it.
        while (test * probe_count..(test + 1) * probe_count).all(fate_known) {
            let ended = finished.next().expect("the test has ended");
            // A duplicate that came when the test had ended is not in it.
            let last = fed.iter().rposition(|row| {
                test_of(row) <= test && row.sample.status != SampleStatus::DuplicateForward
            });
            let its = fed[..=last.unwrap()].iter().filter(|row| test_of(row) == test);
            prop_assert_eq!(without_start(shown(&ended)), without_start(naive(its)));
            prop_assert_eq!((ended.test() as usize, ended.is_complete()), (test + 1, true));
            test += 1;
        }
        prop_assert_eq!(finished.next(), None);
        prop_assert_eq!(collections.tests(), (test as u64, 0));

        if let Some(newest) = fed.iter().map(test_of).max() {
            prop_assert_eq!(without_start(shown(&collections.collection(Which::All).unwrap())), without_start(naive(fed.iter())));
            let current = collections.collection(Which::Current).unwrap();
            prop_assert_eq!(current.test() as usize, newest + 1);
            if newest >= test {
                let its = fed.iter().filter(|row| test_of(row) == newest);
                prop_assert_eq!(without_start(shown(&current)), without_start(naive(its)));
            }
        }
        prop_assert_eq!(collections.collection(Which::Last).map(|last| last.test() as usize), (test > 0).then_some(test));

        let probes: Vec<Row> =
            fed.iter().filter(|row| row.sample.status != SampleStatus::DuplicateForward).copied().collect();
        let window = &probes[probes.len().saturating_sub(moving)..];
        let average = collections.collection(Which::Moving).map(|average| without_start(shown(&average)));
        prop_assert_eq!(average, (!window.is_empty()).then(|| without_start(naive(window.iter()))));

        let mut kept = probes[probes.len().saturating_sub(history)..].to_vec();
        kept.sort_by_key(|row| row.slot);
        let listed = collections.history(None, None);
        prop_assert_eq!(
            listed.iter().map(|probe| (probe.sequence, probe.status, probe.rtt_ns)).collect::<Vec<_>>(),
            kept.iter().map(|row| (row.sample.sequence, row.sample.status, row.sample.round_trip_ns)).collect::<Vec<_>>()
        );
        prop_assert!(listed.iter().zip(&kept).all(|(probe, row)| probe.test as usize == test_of(row) + 1));
        for (probe, Row { sample, .. }) in listed.iter().zip(&kept) {
            prop_assert_eq!((probe.ingress_ns(), probe.residence_ns()), (sample.backward_ns, sample.residence_ns));
        }
        prop_assert_eq!(collections.last_probe().map(|probe| probe.sequence), probes.iter().max_by_key(|row| row.slot).map(|row| row.sample.sequence));

        let mut restored = Collections::new(probe_count as u64, moving, history);
        restored.restore(&collections.pack()).unwrap();
        prop_assert_eq!(restored.pack(), collections.pack());
        prop_assert_eq!(restored.history(None, None), listed);
        for which in [Which::All, Which::Last, Which::Moving] {
            let both = [&restored, &collections].map(|collections| collections.collection(which).map(|one| shown(&one)));
            prop_assert_eq!(&both[0], &both[1]);
        }
    }

    #[test]
    fn rotten_octets_change_nothing(
        fates in vec(fate(), 0..20), rot in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let mut collections = Collections::new(3, 5, 5);
        collections.add(&rows(&fates).iter().map(|row| row.sample).collect::<Vec<_>>(), 0);
        let whole = collections.pack();
        prop_assert!(Collections::new(3, 5, 5).restore(&whole[..cut.index(whole.len())]).is_err());
        let mut octets = whole;
        for (at, octet) in rot {
            let at = 1 + at.index(octets.len() - 1);
            octets[at] = octet;
        }
        let mut other = Collections::new(3, 5, 5);
        let before = other.pack();
        if other.restore(&octets).is_err() {
            prop_assert_eq!(other.pack(), before);
        }
        other.add(&[sample(0, SampleStatus::Received, 5), sample(1, SampleStatus::LostForward, 6)], 7);
        let _ = (other.history(None, None), other.collection(Which::All), other.pack());
    }

    #[test]
    fn cuts_end_tests_by_departure(fates in vec(fate(), 1..40), mut cuts in vec(0_usize..40, 1..5)) {
        let fates: Vec<Fate> = fates.into_iter().filter(|fate| *fate != Fate::NotSent).collect();
        cuts.sort_unstable();
        let rows = rows(&fates);
        let mut collections = Collections::new(0, 0, 0);
        let mut left = cuts.as_slice();
        for row in &rows {
            // A cut becomes known before anything that left after it.
            while let Some((first, rest)) = left.split_first()
                && *first <= row.slot
            {
                collections.cut(departure_ns(*first));
                left = rest;
            }
            collections.add(&[row.sample], 0);
        }
        let finished = collections.take_finished();
        let mut ends = cuts.iter().copied().filter(|cut| *cut < fates.len());
        let mut first = 0;
        for ended in &finished {
            let end = ends.next().expect("no more tests than cuts");
            let its = rows.iter().filter(|row| (first..end).contains(&row.slot));
            let (mut found, mut expected) = (shown(ended), naive(its));
            // A duplicate may come when its test has ended.
            (found.tallies[7], expected.tallies[7]) = (0, 0);
            prop_assert_eq!(found, expected);
            first = end;
        }
        prop_assert_eq!(ends.next(), None);
    }
}

fn received(sequence: u32, t1_ns: i64, rtt_ns: i64) -> Sample {
    answered(sequence, SampleStatus::Received, t1_ns, rtt_ns, rtt_ns / 2)
}

/// As in the published output of a router, whose figures can be reckoned anew.
#[test]
fn jitter_is_the_difference_from_the_probe_received_before_whatever_was_lost() {
    let mut collections = Collections::new(3, 0, 50);
    collections.add(
        &[
            received(0, 100, 100),
            received(2, 300, 66),
            sample(1, SampleStatus::LostForward, 200),
            received(3, 400, 78),
            received(4, 500, 78),
        ],
        0,
    );
    let jitter = |collection: &Collection| {
        let jitter = collection.quantity(Quantity::RttJitter);
        (jitter.count(), jitter.min(), jitter.max())
    };
    let tests = collections.take_finished();
    assert_eq!(
        tests.iter().map(jitter).collect::<Vec<_>>(),
        [(1, Some(34), Some(34))],
        "the chain begins with the test"
    );
    assert_eq!(
        jitter(&collections.collection(Which::All).unwrap()),
        (3, Some(0), Some(34)),
        "and goes on in all tests"
    );
    let signed: Vec<i64> = collections.history(None, None).iter().map(|probe| probe.jitter_ns[0]).collect();
    assert_eq!(signed, [MISSING, MISSING, -34, 12, 0]);
}

#[test]
fn a_step_of_the_clock_is_no_jitter() {
    let hour_ns = 3_600_000_000_000;
    let mut collections = Collections::new(2, 0, 9);
    let stepped = |sequence, egress_ns| Sample {
        clock_scale: 1,
        ..answered(sequence, SampleStatus::Received, hour_ns, 100, egress_ns)
    };
    collections.add(&[received(0, 0, 90), stepped(1, hour_ns), stepped(2, hour_ns + 5)], 0);
    let all = collections.collection(Which::All).unwrap();
    assert_eq!(all.quantity(Quantity::RttJitter).max(), Some(10), "the round trip is corrected");
    assert_eq!(
        (all.quantity(Quantity::EgressJitter).max(), all.quantity(Quantity::EgressJitter).count()),
        (Some(5), 1)
    );
}

#[test]
fn limits_of_single_probes_are_met_or_not() {
    let mut collections = Collections::new(10, 0, 0);
    let limits = Limits { rtt_ns: 100, loss_run: 2, ..Limits::default() };
    collections.watch(limits, 1000);
    collections.add(&[received(0, 0, 99)], 0);
    assert!(!collections.has_met());
    collections.add(&[received(1, 0, 100)], 0);
    assert!(collections.has_met());
    let seen = collections.take_seen();
    assert_eq!((seen.decided, seen.max_ns, seen.disturbed), (2, [Some(100), None, None], false));
    assert!(!collections.has_met());
    let lost = |sequence| sample(sequence, SampleStatus::LostUnattributed, i64::from(sequence));
    collections.add(&[lost(2), Sample { send_lateness_ns: 1001, ..received(5, 0, 1) }], 0);
    assert!(!collections.has_met());
    collections.add(&[lost(3)], 0);
    assert!(collections.has_met());
    let seen = collections.take_seen();
    assert_eq!((seen.loss_run, seen.longest_loss_run), (0, 2), "a later probe came back before the loss was known");
    assert_eq!((seen.disturbed, seen.since_ns), (false, Some(2)), "what met no limit does not excuse what does");
    collections.add(&[lost(6), lost(7), lost(8)], 0);
    assert_eq!(collections.take_seen().loss_run, 3);
    collections.add(&[Sample { send_lateness_ns: 1001, ..received(9, 40, 100) }], 0);
    let seen = collections.take_seen();
    assert_eq!((seen.disturbed, seen.since_ns), (true, Some(40)));
    collections.add(&[lost(10)], 0);
    collections.forget_run();
    collections.add(&[lost(11)], 0);
    assert!(!collections.has_met(), "what was lost before proves nothing");
}

#[test]
fn a_delay_with_an_offset_that_nobody_knows_meets_no_limit() {
    let mut collections = Collections::new(10, 0, 9);
    collections.watch(Limits { egress_ns: 10, ingress_ns: 10, ..Limits::default() }, 1000);
    let hour_ns = 3_600_000_000_000;
    let adrift = answered(0, SampleStatus::Received, 0, 20, hour_ns);
    collections.add(&[Sample { clocks: false, ..adrift }], 0);
    assert!(!collections.has_met());
    let history = collections.history(None, None);
    assert_eq!((history[0].one_way_ns(), history[0].rtt_ns), ([MISSING; 2], 20));
    collections.add(&[answered(1, SampleStatus::Received, 30, 20, 12)], 0);
    let seen = collections.take_seen();
    assert_eq!((seen.max_ns, seen.since_ns), ([None, Some(12), None], Some(30)));
}

#[test]
fn what_the_kernel_refuses_in_a_row_meets_the_limit_of_losses_in_a_row() {
    let mut collections = Collections::new(2, 0, 0);
    collections.watch(Limits { loss_run: 3, ..Limits::default() }, 1000);
    let refused = |next| Sample::bare(next, SampleStatus::NotSent);
    collections.add(&[refused(0), refused(0)], 70);
    assert!(!collections.has_met());
    collections.add(&[received(0, 75, 1), refused(1), refused(1)], 80);
    assert!(!collections.has_met(), "one left in between");
    collections.add(&[refused(1)], 90);
    let seen = collections.take_seen();
    assert_eq!((seen.longest_loss_run, seen.since_ns, seen.disturbed), (3, Some(80), false));
    let longest: Vec<u64> = collections.take_finished().iter().map(|test| test.tally(Tally::LongestRefused)).collect();
    assert_eq!(longest, [2, 1, 2]);
    assert_eq!(collections.collection(Which::All).unwrap().tally(Tally::LongestRefused), 3);
}

#[test]
fn a_test_without_all_its_rows_ends_incomplete() {
    let second_ns = 1_000_000_000;
    let mut collections = Collections::new(2, 0, 0);
    collections.attach(second_ns);
    // The rows of 1, 2 and 3 were dropped.
    collections.add(&[received(0, 0, 5), received(4, 4 * second_ns, 5), received(5, 5 * second_ns, 5)], 0);
    assert_eq!(collections.take_finished(), []);
    collections.add(&[received(6, 12 * second_ns, 5)], 0);
    let ended: Vec<_> = collections.take_finished().iter().map(|test| (test.test(), test.is_complete())).collect();
    assert_eq!(ended, [(1, false), (2, false), (3, true)]);
}

#[test]
fn rows_of_ever_so_many_tests_may_be_missing() {
    let mut collections = Collections::new(1, 0, 0);
    collections.add(&[received(0, 0, 5), received(2_000_000_000, 10, 5), received(2_000_000_001, 20, 5)], 0);
    let ended: Vec<u32> = collections.take_finished().iter().map(Collection::test).collect();
    assert_eq!(ended, [1, 2, 3]);
}

#[test]
fn another_session_sender_interrupts_open_tests_and_goes_on_with_the_rest() {
    let mut collections = Collections::new(2, 0, 9);
    collections.add(&[received(0, 100, 5), received(1, 200, 5), received(2, 300, 5)], 0);
    collections.attach(1);
    collections.add(&[received(0, 900, 50), received(1, 1000, 70)], 0);
    let ended: Vec<_> = collections.take_finished().iter().map(|test| (test.test(), test.is_complete())).collect();
    assert_eq!(ended, [(1, true), (2, false), (3, true)]);
    let all = collections.collection(Which::All).unwrap();
    assert_eq!((all.tally(Tally::Received), all.quantity(Quantity::RttJitter).count()), (5, 3));
    assert_eq!(collections.history(Some(900), Some(1)).iter().map(|probe| probe.sequence).collect::<Vec<_>>(), [1]);
}

#[test]
fn probes_that_could_not_be_sent_are_of_their_test() {
    let mut collections = Collections::new(2, 0, 9);
    let not_sent = |sequence| Sample::bare(sequence, SampleStatus::NotSent);
    collections.add(&[not_sent(0), not_sent(0), not_sent(0), received(0, 700, 5)], 600);
    let ended = collections.take_finished();
    assert_eq!(ended.iter().map(|test| test.tally(Tally::NotSent)).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((ended[0].start_ns(), ended[1].tally(Tally::Received)), (Some(600), 1));
    assert_eq!(collections.history(Some(500), None).len(), 1, "what never left has no moment");
}

#[test]
fn a_missed_slot_is_this_host_s_fault_and_what_the_kernel_refused_is_not() {
    let mut collections = Collections::new(2, 0, 9);
    let refused = Sample::bare(0, SampleStatus::NotSent);
    let missed = Sample { send_lateness_ns: 11_000_000, ..refused };
    collections.add(&[refused, refused, missed, refused], 600);
    let disturbed: Vec<bool> = collections.history(None, None).iter().map(Probe::disturbed).collect();
    assert_eq!(disturbed, [false, false, true, false]);
    let count = |tally| collections.clone().take_finished().iter().map(|test| test.tally(tally)).collect::<Vec<_>>();
    assert_eq!(count(Tally::NotSent), [2, 2]);
    assert_eq!(count(Tally::MissedSlots), [0, 1]);
    assert_eq!(count(Tally::LateDepartures), [0, 0]);
    let mut restored = Collections::new(2, 0, 9);
    restored.restore(&collections.pack()).unwrap();
    assert_eq!(restored.collection(Which::Last).unwrap().tally(Tally::MissedSlots), 1);
    assert_eq!(restored.history(None, None), collections.history(None, None));
}

#[test]
fn rows_are_kept_as_they_come_as_far_as_there_is_room_also_over_a_restart() {
    let rows = |numbers: std::ops::Range<u32>| numbers.map(|n| received(n, i64::from(n), 5)).collect::<Vec<_>>();
    let mut collections = Collections::new(2, 0, 0);
    collections.add(&rows(0..3), 0);
    assert!(collections.take_rows().is_empty());
    collections.keep_rows(4);
    collections.restore(&Collections::new(2, 0, 0).pack()).unwrap();
    collections.add(&rows(3..6), 0);
    collections.add(&rows(6..9), 0);
    assert_eq!((collections.take_rows(), collections.rows_dropped()), (rows(3..7), 2));
    collections.add(&rows(9..10), 0);
    assert_eq!(collections.take_rows(), rows(9..10));
    collections.keep_rows(0);
    collections.add(&rows(10..11), 0);
    assert!(collections.take_rows().is_empty());
    assert_eq!(collections.rows_dropped(), 2);
}

#[test]
fn an_aborted_probe_leaves_its_test_incomplete() {
    let mut collections = Collections::new(2, 0, 0);
    collections.add(&[received(0, 0, 5), sample(1, SampleStatus::Pending, 10)], 0);
    let ended = collections.take_finished();
    assert_eq!((ended[0].tally(Tally::Pending), ended[0].is_complete()), (1, false));
}

#[test]
fn clearing_leaves_running_tests_and_numbers() {
    let mut collections = Collections::new(2, 4, 4);
    collections.add(&[received(0, 0, 5), received(1, 10, 6), received(2, 20, 7)], 0);
    collections.clear_results();
    assert_eq!(collections.collection(Which::Last), None);
    assert_eq!(collections.collection(Which::All), None);
    assert_eq!(collections.collection(Which::Moving), None);
    assert_eq!(collections.history(None, None).len(), 3);
    collections.clear_history();
    collections.add(&[received(3, 30, 8)], 0);
    assert_eq!(collections.collection(Which::Last).unwrap().test(), 2);
    assert_eq!(collections.collection(Which::Moving).unwrap().tally(Tally::Received), 1);
    assert_eq!(collections.history(None, None).len(), 1);
    collections.resize(0, 1);
    assert_eq!((collections.collection(Which::Moving), collections.history(None, None).len()), (None, 1));
}

#[test]
fn own_faults_are_counted() {
    let mut collections = Collections::new(4, 0, 0);
    collections.watch(Limits::default(), 50);
    let mut fell_back = Sample { send_lateness_ns: 51, ..received(0, 0, 5) };
    fell_back.flag(SampleFlag::T1FellBack, true);
    fell_back.flag(SampleFlag::ClockStep, true);
    collections.add(&[fell_back], 0);
    let all = collections.collection(Which::All).unwrap();
    let faults = [Tally::LateDepartures, Tally::ClockSteps, Tally::T1FellBack, Tally::T4FellBack];
    assert_eq!(faults.map(|tally| all.tally(tally)), [1, 1, 1, 0]);
    assert!(!all.is_stateful());
    collections.add(&[Sample { reflector_sequence: 9, ..received(1, 0, 5) }], 0);
    assert!(collections.collection(Which::All).unwrap().is_stateful());
}

#[test]
fn a_quiet_session_costs_a_few_kib() {
    let mut collections = Collections::new(10, 0, 50);
    let mut random = twoway_plane::schedule::Random::new(3);
    for sequence in 0..5000 {
        let rtt_ns = 90_000 + (random.next_u64() % 30_000) as i64;
        collections.add(&[received(sequence, i64::from(sequence) * 1_000_000_000, rtt_ns)], 0);
        collections.take_finished();
    }
    assert!(collections.memory_bytes() < 10 * 1024, "{}", collections.memory_bytes());
}
