//! What was packed is what is unpacked, whatever the order; and nothing that comes from a disk can panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::summary::{Fact, Path, SeenBy};

/// Delays: of one path, around zero, or anything.
fn values() -> impl Strategy<Value = Vec<i64>> {
    let value = prop_oneof![
        4 => 80_000_i64..140_000,
        1 => -300_i64..300,
        1 => (0_u32..64, any::<i64>()).prop_map(|(shift, bits)| bits >> shift),
        1 => prop_oneof![Just(0), Just(i64::MIN), Just(i64::MAX)],
    ];
    let offset = prop_oneof![Just(0), Just(-1_800_000_000_000_000_000_i64)];
    (vec(value, 0..40), offset)
        .prop_map(|(values, offset)| values.into_iter().map(|value| value.saturating_add(offset)).collect())
}

prop_compose! {
    fn clock()(
        synchronized in any::<Option<bool>>(), error_unknown in any::<bool>(), error_ns in any::<Option<u64>>(),
    ) -> ClockQuality {
        ClockQuality { synchronized, error_unknown, error_ns }
    }
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 4 => 0_u64..100, 1 => any::<u32>().prop_map(u64::from)]
}

prop_compose! {
    /// What TLVs told, if there were any.
    fn far_end()(
        told in any::<bool>(),
        location in any::<Option<(i64, u16, u16, Option<u64>, bool, Option<IpAddr>, Option<IpAddr>)>>(),
        timestamps in any::<Option<(i64, [u8; 4])>>(),
    ) -> Option<Box<FarEndFacts>> {
        let location = location.map(|(at_ns, destination_port, source_port, source_mac, eui_64, destination, source)| {
            let location = Location {
                destination_port, source_port, source_mac, source_mac_is_eui_64: eui_64, destination, source,
            };
            (at_ns, location)
        });
        let timestamps = timestamps.map(|(at_ns, codes)| (at_ns, TimestampInformation::parse(&codes).unwrap()));
        told.then(|| Box::new(FarEndFacts { location, timestamps }))
    }
}

prop_compose! {
    fn summary()(
        span in prop_oneof![Just((i64::MAX, i64::MIN)), any::<(i64, u32)>().prop_map(|(start, len)| {
            let start = start >> 3;
            (start, start + i64::from(len))
        })],
        counters in vec(count(), Counter::ALL.len()),
        distributions in vec(values(), Measure::ALL.len()),
        jitters in any::<[Option<(bool, i64)>; 3]>(),
        clocks in [clock(), clock()],
        reflector_stateful in any::<Option<bool>>(),
        last_sequence in any::<Option<u64>>(),
        bursts in vec((1_u32..50, 1_u64..9), 0..4),
        octets in any::<[Vec<(u8, u16)>; 4]>(),
        (steps, far_end) in (vec(any::<(i64, i64)>(), 0..3), far_end()),
    ) -> Summary {
        let mut summary = Summary::new();
        summary.start_ns = span.0;
        for (counter, n) in Counter::ALL.iter().zip(counters) {
            summary.add(*counter, n);
        }
        for (measure, values) in Measure::ALL.iter().zip(distributions) {
            *summary.measure_mut(*measure) = values.into_iter().collect();
        }
        for (into, jitter) in summary.jitter.iter_mut().zip(jitters) {
            *into = jitter.map(|(old, jitter_ns)| (span.1.saturating_sub(i64::from(old)), jitter_ns));
        }
        summary.end_ns = span.1;
        [summary.local_clock, summary.far_clock] = clocks;
        summary.reflector_stateful = reflector_stateful;
        summary.last_sequence = last_sequence;
        for (length, n) in bursts {
            *summary.loss_bursts.entry(length).or_default() += n;
        }
        let replies = first_replies(&summary);
        for (at, counts) in octets.iter().enumerate() {
            for (octet, n) in counts.iter().take(3) {
                let n = if n % 2 == 0 { replies.max(1) } else { u64::from(*n) };
                (if at < 2 { &mut summary.ttls[at] } else { &mut summary.dscp_ecns[at - 2] }).add(*octet, n);
            }
        }
        for (wall_ns, step_ns) in steps {
            summary.keep_clock_step(wall_ns, step_ns);
        }
        summary.far_end = far_end;
        summary
    }
}

proptest! {
    #[test]
    fn unpacking_is_the_reverse_of_packing(summary in summary()) {
        prop_assert_eq!(unpack_summary(&pack_summary(&summary)), Ok(summary));
    }

    #[test]
    fn distributions_pack_alone(values in values()) {
        let distribution: Distribution = values.into_iter().collect();
        prop_assert_eq!(unpack_distribution(&pack_distribution(&distribution)), Ok(distribution));
    }

    #[test]
    fn merging_may_come_before_or_after(summaries in vec(summary(), 1..4)) {
        let mut merged = Summary::new();
        let mut unpacked = Summary::new();
        for summary in &summaries {
            merged.merge(summary);
            unpacked.merge(&unpack_summary(&pack_summary(summary)).unwrap());
        }
        prop_assert_eq!(&unpacked, &merged);
        prop_assert_eq!(unpack_summary(&pack_summary(&merged)), Ok(merged));
    }

    #[test]
    fn rotten_octets_are_refused_or_harmless(
        summary in summary(), rot in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let whole = pack_summary(&summary);
        let mut octets = whole.clone();
        for (at, octet) in rot {
            let at = 1 + at.index(octets.len() - 1);
            octets[at] = octet;
        }
        use_all(&octets);
        use_all(&octets[..cut.index(octets.len())]);
        let shorter = &whole[..cut.index(whole.len())];
        prop_assert!(unpack_summary(shorter).is_err());
    }
}

/// Everything that anybody does with a summary.
fn use_all(octets: &[u8]) {
    let Ok(summary) = unpack_summary(octets) else { return };
    for measure in Measure::ALL {
        let distribution = summary.measure(*measure);
        let _ = (distribution.mean(), distribution.stddev(), distribution.quantile(0.99));
        assert_eq!(distribution.buckets().map(|bucket| bucket.count).sum::<u64>(), distribution.count());
    }
    for fact in Fact::ALL {
        let _ = summary.known(*fact);
    }
    let mut twice = summary.clone();
    twice.merge(&summary);
    assert_eq!(unpack_summary(&pack_summary(&summary)), Ok(summary));
}

/// One packet of a second, by kernel stamps, over a path of about 100 us.
fn second(number: i64, delay_ns: i64) -> Summary {
    let mut summary = Summary::new();
    summary.start_ns = 1_795_000_000_123_456_789 + number * 1_000_000_000;
    for counter in [Counter::Sent, Counter::Received, Counter::T1Kernel, Counter::T4Kernel] {
        summary.add(counter, 1);
    }
    let forward_ns = delay_ns / 2 + 3_217;
    for (measure, value_ns) in [
        (Measure::RoundTrip, delay_ns),
        (Measure::Forward, forward_ns),
        (Measure::Backward, delay_ns - forward_ns),
        (Measure::Residence, 21_345 + delay_ns % 1000),
        (Measure::IpdvRoundTrip, delay_ns - 100_000),
        (Measure::IpdvForward, (delay_ns - 100_000) / 2),
        (Measure::IpdvBackward, (delay_ns - 100_000) / 2),
        (Measure::SendLateness, 4_000 + delay_ns % 3000),
    ] {
        summary.record(measure, value_ns);
    }
    for path in [Path::RoundTrip, Path::Forward, Path::Backward] {
        summary.set_jitter(path, delay_ns as f64 / 9.0);
    }
    summary.local_clock.note(true, Some(1_234_000));
    summary.far_clock.note(true, Some(2_441_406));
    summary.reflector_stateful = Some(true);
    summary.last_sequence = Some(100_000 + number as u64);
    for seen_by in [SeenBy::Far, SeenBy::Returned] {
        summary.ttls[seen_by as usize].add(64, 1);
    }
    summary.dscp_ecns[SeenBy::Returned as usize].add(0, 1);
    summary.end(summary.start_ns + 1_000_100_000);
    summary
}

#[test]
fn a_second_is_some_dozens_of_octets_and_a_minute_some_hundreds() {
    let mut idle = Summary::new();
    idle.start_ns = 1_795_000_000_123_456_789;
    idle.end(idle.start_ns + 1_000_100_000);
    assert!(pack_summary(&idle).len() <= 20, "{}", pack_summary(&idle).len());
    assert!(pack_summary(&second(0, 104_321)).len() <= 66, "{}", pack_summary(&second(0, 104_321)).len());
    let mut random = crate::schedule::Random::new(1);
    let mut minute = Summary::new();
    for number in 0..60 {
        // A tail as schedulers make it.
        let jitter_ns = (random.next_u64() % 20_000) + if random.next_u64().is_multiple_of(20) { 300_000 } else { 0 };
        minute.merge(&second(number, 90_000 + jitter_ns as i64));
    }
    assert!(pack_summary(&minute).len() <= 400, "{}", pack_summary(&minute).len());
}

#[test]
fn another_version_is_refused_by_its_number() {
    let mut octets = pack_summary(&second(0, 1));
    octets[0] = 9;
    let error = unpack_summary(&octets).unwrap_err();
    assert_eq!(error.to_string(), "packed results: version 9, but this twoway reads version 3");
    octets[0] = VERSION;
    octets.push(0);
    assert_eq!(unpack_summary(&octets), Err(PackedError::Trailing));
    assert_eq!(unpack_summary(&[]), Err(PackedError::Empty));
}

#[test]
fn sums_that_belong_to_no_values_are_refused() {
    let packed = |above: u64, above_squares: u64| {
        let mut out = Writer::new(VERSION);
        out.small(0, 3);
        out.signed(10);
        out.unsigned(4);
        out.unsigned(above);
        out.unsigned(above_squares);
        put_histogram(&mut out, [10_i64, 12, 14].into_iter().collect::<Distribution>().histogram(), 10, 14);
        unpack_distribution(&out.finish())
    };
    assert_eq!(packed(6, 20), Ok([10, 12, 14].into_iter().collect()));
    for (above, above_squares) in [(13, 20), (6, 25), (6, 11)] {
        assert_eq!(packed(above, above_squares), Err(PackedError::Contradiction("distribution")));
    }
}

fn octets_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect()
}

#[test]
fn octets_of_version_2_keep_their_meaning() {
    let mut summary = second(0, 104_321);
    for correction_ns in [-120, 40, 900] {
        summary.record(Measure::FollowUpCorrection, correction_ns);
    }
    summary.add(Counter::FollowedUp, 3);
    let location = Location {
        destination_port: 862,
        source_port: 40_000,
        source_mac: Some(0x02_00_5e_10_00_01),
        source_mac_is_eui_64: false,
        destination: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
        source: Some("2001:db8::9".parse().unwrap()),
    };
    summary.note_location(1_795_000_000_123_456_789, location);
    summary.note_timestamp_information(1_795_000_000_123_456_790, TimestampInformation::parse(&[1, 2, 5, 2]).unwrap());
    let hex = "02dec748f7eb197a68a9edce28505a25fe4dc4465e0510b0a2883f3043d4a24343850c0e0860704362c61cd4787351e1cd47954b5142\
        562a05f5461a82902903401c91f82bf85938a822081d0083d9ff7b1d23dfac65e9a2a06bd3880800001002f080000d80000403900086\
        dc000000000000000000000004dec748f7eb197a68b008102810";
    assert_eq!(unpack_summary(&octets_of(hex)), Ok(summary));
}

#[test]
fn losses_of_version_2_are_the_sum_of_their_directions_and_those_of_version_3_are_their_own() {
    let mut summary = second(0, 104_321);
    for (counter, n) in [(Counter::LostForward, 3), (Counter::LostBackward, 2), (Counter::LostUnattributed, 1)] {
        summary.add(counter, n);
    }
    let mut octets = pack_summary(&summary);
    assert_eq!(unpack_summary(&octets), Ok(summary.clone()), "whose losses were certain in another second");
    octets[0] = 2;
    assert_eq!(unpack_summary(&octets).unwrap().count(Counter::Lost), 6);
    summary.add(Counter::Lost, 4);
    assert_eq!(unpack_summary(&pack_summary(&summary)), Ok(summary));
}

/// What was once written must be read for as long as a store keeps it.
#[test]
fn octets_of_version_1_keep_their_meaning() {
    let hex = "01dec748f7eb197a68aa065a3c9415a1977dc206ba32e9494866e339d673c1582e099920c95884ba546433a139d738ea20d852\
        8524c8ea84ba5464336139d5ae991a01019120f4d8494125e119e520015c94619a51974a4a433719ceb39e0a34020f6364a10cd109748\
        8c8664273a82ea034020f6364a10cd1097488c8664273a82ea034020f636419f5cc1b46839b0204c5402732be0740e81d2a96a284ac54\
        0bea8c35152052068030";
    let mut summary = second(0, 104_321);
    summary.merge(&second(1, 101_000));
    summary.merge(&second(2, 55));
    assert_eq!(unpack_summary(&octets_of(hex)), Ok(summary));
}
