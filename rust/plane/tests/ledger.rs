//! What the ledger says of single situations, one each; of directions, `ledger_directions` does.

mod path;

use twoway_plane::ledger::{Direction, Ledger, LedgerSpec, NotSent, ReflectorMode, Reply, ReplyVerdict};
use twoway_plane::sample::{MISSING, NoSamples, SampleFlag, SampleStatus, TimestampSource, UNKNOWN};
use twoway_plane::summary::{CLOCK_STEPS_KEPT, Counter, Fact, Measure, SeenBy, Summary};
use twoway_wire::{RawTimestamp, TimestampFormat, WallNanos};

use self::path::{FAR_OFFSET, MS, SECOND, Session, WALL, lost, spec};

#[test]
fn a_round_trip_leaves_out_the_residence() {
    let mut session = Session::stateful();
    session.send(0);
    assert_eq!(session.reply(0, 0), ReplyVerdict::Received);
    let row = session.rows[0];
    assert_eq!((row.round_trip_ns, row.residence_ns), (2 * MS, MS));
    assert_eq!((row.forward_ns, row.backward_ns), (MS + FAR_OFFSET, MS - FAR_OFFSET));
    assert_eq!((row.sender_ttl, row.returned_ttl), (250, 251));
    assert_eq!((row.far_dscp_ecn, row.returned_dscp_ecn), (184, UNKNOWN));
    assert_eq!((row.send_lateness_ns, row.flags), (1_000, 0));
    let summary = session.finish();
    assert_eq!(summary.ttls(SeenBy::Far).iter().collect::<Vec<_>>(), [(250, 1)]);
    assert_eq!(summary.dscp_ecns(SeenBy::Returned).iter().count(), 0);
    assert_eq!(summary.known(Fact::LastSequence), Some(0));
}

#[test]
fn a_late_reply_is_neither_received_nor_lost() {
    let mut session = Session::stateful();
    session.run(&[Some(0), None, Some(2)]);
    assert_eq!(session.hand_in(Session::reply_to(1, 1, 1_200 * MS)), ReplyVerdict::Late);
    assert_eq!(session.hand_in(Session::reply_to(1, 1, 1_300 * MS)), ReplyVerdict::Duplicate(Direction::Backward));
    let summary = session.finish();
    assert_eq!(lost(&summary), [0; 3]);
    assert_eq!((summary.count(Counter::Received), summary.count(Counter::Late)), (2, 1));
    assert_eq!(summary.measure(Measure::RoundTrip).count(), 2);
    assert_eq!(summary.measure(Measure::IpdvRoundTrip).count(), 0);
    assert_eq!(session.row(1).round_trip_ns, 1_200 * MS);
}

#[test]
fn our_own_slowness_makes_no_packet_late() {
    let mut session = Session::stateful();
    session.send(0);
    let (reply, _) = Session::reply_to(0, 0, 2 * MS);
    assert_eq!(session.ledger.reply(&reply, 1_800 * MS, &mut session.rows), ReplyVerdict::Received);
}

#[test]
fn no_verdict_is_taken_back() {
    let mut session = Session::stateful();
    session.run(&[Some(0), None, Some(1)]);
    session.ledger.expire(10 * SECOND, &mut session.rows);
    let before = session.summary();
    assert_eq!(session.reply(1, 5), ReplyVerdict::Expired);
    assert_eq!(session.reply(0, 0), ReplyVerdict::Expired);
    let after = session.summary();
    assert_eq!(lost(&before), lost(&after));
    assert_eq!(after.count(Counter::RejectedExpired), 2);
}

#[test]
fn forged_replies_are_counted_and_change_nothing() {
    let mut session = Session::stateful();
    session.send(0);
    assert_eq!(session.reply(7, 0), ReplyVerdict::UnknownSequence);
    assert_eq!(session.reply(u32::MAX, 0), ReplyVerdict::UnknownSequence);
    let (mut forged, arrives) = Session::reply_to(0, 0, 2 * MS);
    forged.sender_timestamp = RawTimestamp(forged.sender_timestamp.0 ^ 1);
    assert_eq!(session.hand_in((forged, arrives)), ReplyVerdict::Mismatch);
    assert_eq!(session.reply(0, 0), ReplyVerdict::Received);
    let summary = session.finish();
    assert_eq!((summary.count(Counter::RejectedUnknownSequence), summary.count(Counter::RejectedMismatch)), (2, 1));
    assert_eq!(session.rows.len(), 1);
}

#[test]
fn an_aborted_session_leaves_young_packets_pending() {
    let mut session = Session::stateful();
    session.run(&[Some(0), None, Some(2), None]);
    // Packet 1 is past its timeout by then, packet 3 is not.
    session.ledger.finish(1_200 * MS, true, &mut session.rows);
    let summary = session.summary();
    assert_eq!((lost(&summary), summary.count(Counter::Pending)), ([0, 1, 0], 1));
    assert_eq!(session.row(3).status, SampleStatus::Pending);
    assert_eq!(session.ledger.outstanding(), 0);
}

#[test]
fn packets_that_were_never_sent_are_ours() {
    let mut session = Session::stateful();
    session.send(0);
    session.ledger.not_sent(NotSent::MissedSlot { lateness_ns: 30 }, &mut session.rows);
    session.ledger.not_sent(NotSent::SendError, &mut session.rows);
    let summary = session.finish();
    let counted = [Counter::Sent, Counter::NotSent, Counter::MissedSlots, Counter::SendErrors];
    assert_eq!(counted.map(|counter| summary.count(counter)), [1, 2, 1, 1]);
    let unsent = session.rows.iter().filter(|row| row.status == SampleStatus::NotSent);
    assert_eq!(unsent.map(|row| row.send_lateness_ns).collect::<Vec<_>>(), [30, MISSING]);
}

#[test]
fn far_timestamps_that_cannot_be_are_not_used() {
    let usual = Session::reply_to(0, 0, 2 * MS).0;
    let (t2, t3) = (usual.t2.unwrap(), usual.t3.unwrap());
    let cases = [(None, Some(t3)), (Some(t2), None), (Some(t3), Some(t2)), (Some(t2), Some(WallNanos(t2.0 + 5 * MS)))];
    for (t2, t3) in cases {
        let mut session = Session::stateful();
        session.send(0);
        assert_eq!(session.hand_in((Reply { t2, t3, ..usual }, 4 * MS)), ReplyVerdict::Received);
        let row = session.rows[0];
        assert!(row.has(SampleFlag::FarTimestampsUnusable));
        assert_eq!([row.round_trip_ns, row.forward_ns, row.backward_ns, row.residence_ns], [MISSING; 4]);
        let summary = session.finish();
        assert_eq!(summary.count(Counter::FarTimestampsUnusable), 1);
        assert_eq!(summary.measure(Measure::RoundTrip).count(), 0);
    }
}

#[test]
fn a_clock_step_is_taken_out_of_the_round_trip() {
    for step in [7 * SECOND, -7 * SECOND, 300 * MS] {
        let mut session = Session::stateful();
        session.run(&[Some(0), Some(1)]);
        session.send(2);
        session.send(3);
        // Packet 2 came back before the clock stepped but is read after it, packet 3 is under way.
        session.ledger.clock_step(305 * MS, WallNanos(WALL + 305 * MS + step), step);
        session.step = step;
        let (before, _) = Session::reply_to(2, 2, 2 * MS);
        session.hand_in((before, 305 * MS));
        let (mut after, arrives) = Session::reply_to(3, 3, 6 * MS);
        after.t4 = WallNanos(after.t4.0 + step);
        session.hand_in((after, arrives));
        for sequence in [2, 3] {
            let row = session.row(sequence);
            assert!(row.has(SampleFlag::ClockStep));
            assert_eq!((row.forward_ns, row.backward_ns), (MISSING, MISSING));
        }
        // Corrected: without it, 2 ms and 6 ms would be seconds.
        assert_eq!((session.row(2).round_trip_ns, session.row(3).round_trip_ns), (2 * MS, 6 * MS), "step {step}");
        let summary = session.finish();
        assert_eq!(summary.count(Counter::ClockStepAffected), 2);
        assert_eq!(summary.clock_steps(), [(WALL + 305 * MS + step, step)]);
        assert_eq!(summary.measure(Measure::IpdvForward).count(), 1);
        assert_eq!(summary.measure(Measure::IpdvRoundTrip).count(), 3);
        assert_eq!(summary.count(Counter::Received), 4);
    }
}

#[test]
fn a_sample_waits_for_its_transmit_stamp() {
    let kernel = LedgerSpec { timestamps: TimestampSource::Kernel, ..spec(ReflectorMode::Stateful) };
    let mut session = Session::new(kernel);
    session.run(&[Some(0)]);
    assert!(session.rows.is_empty());
    let stamp = WallNanos(WALL + 50_000);
    assert!(session.ledger.transmit_stamp(0, stamp, TimestampSource::Kernel, &mut session.rows));
    assert_eq!((session.rows[0].round_trip_ns, session.rows[0].t1_source), (2 * MS - 50_000, TimestampSource::Kernel));
    // The stamp of packet 1 does not come in time.
    session.send(1);
    session.reply(1, 1);
    assert_eq!(session.ledger.next_expiry(), Some(Session::sent_at(1) + 3 * MS + 50 * MS));
    session.ledger.expire(Session::sent_at(1) + 53 * MS, &mut session.rows);
    assert!(session.rows[1].has(SampleFlag::T1FellBack));
    assert!(!session.ledger.transmit_stamp(1, stamp, TimestampSource::Kernel, &mut session.rows));
    let summary = session.finish();
    assert_eq!((summary.count(Counter::T1Kernel), summary.count(Counter::T1User)), (1, 1));
    assert_eq!(summary.count(Counter::T4Kernel), 2);
}

#[test]
fn the_error_bound_needs_both_clocks() {
    let bound = |local: Option<(bool, Option<u64>)>, far: &[(bool, Option<u64>)]| {
        let mut session = Session::stateful();
        if let Some((synchronized, error_ns)) = local {
            session.ledger.local_clock(synchronized, error_ns);
        }
        for (sequence, &(far_synchronized, far_error_ns)) in (0..).zip(far) {
            session.send(sequence);
            let (reply, arrives) = Session::reply_to(sequence, sequence, 2 * MS);
            session.hand_in((Reply { far_synchronized, far_error_ns, ..reply }, arrives));
        }
        session.finish().known(Fact::OneWayErrorBound)
    };
    let good = Some((true, Some(1_000)));
    assert_eq!(bound(good, &[(true, Some(2_000)), (true, Some(500))]), Some(3_000));
    assert_eq!(bound(good, &[(true, Some(2_000)), (false, Some(500))]), None);
    assert_eq!(bound(good, &[(true, Some(2_000)), (true, None)]), None);
    assert_eq!(bound(Some((false, Some(1_000))), &[(true, Some(2_000))]), None);
    assert_eq!(bound(None, &[(true, Some(2_000))]), None);
    assert_eq!(bound(good, &[]), None);
}

#[test]
fn intervals_merge_in_any_grouping() {
    let mut session = Session::stateful();
    let mut intervals = Vec::new();
    for sequence in 0..60 {
        session.send(sequence);
        if sequence % 7 != 3 {
            session.hand_in(Session::reply_to(sequence, sequence - sequence / 14, i64::from(sequence % 5 + 1) * MS));
        }
        if sequence % 20 == 10 {
            session.ledger.clock_step(Session::sent_at(sequence) + 50 * MS, WallNanos(WALL), 0);
        }
        if sequence % 6 == 5 {
            let now = WallNanos(WALL + Session::sent_at(sequence) + 60 * MS);
            intervals.push(session.ledger.take_interval(now));
        }
    }
    session.ledger.finish(100 * SECOND, false, &mut session.rows);
    let end = WallNanos(WALL + 100 * SECOND);
    intervals.push(session.ledger.take_interval(end));
    let whole = session.ledger.summary(end);
    let fold = |intervals: &[Summary]| {
        intervals.iter().fold(Summary::new(), |mut merged, interval| {
            merged.merge(interval);
            merged
        })
    };
    assert_eq!(fold(&intervals), whole);
    for split in 0..=intervals.len() {
        let (early, late) = intervals.split_at(split);
        assert_eq!(fold(&[fold(late), fold(early)]), whole);
    }
    assert_eq!((whole.start_ns(), whole.end_ns()), (WALL, end.0));
}

#[test]
fn clock_steps_are_all_counted_and_some_kept() {
    let mut session = Session::stateful();
    for nth in 0..40 {
        session.ledger.clock_step(nth, WallNanos(WALL + nth), 1 + nth);
    }
    let summary = session.finish();
    assert_eq!(summary.count(Counter::ClockSteps), 40);
    assert_eq!((summary.clock_steps().len(), summary.clock_steps()[0]), (CLOCK_STEPS_KEPT, (WALL, 1)));
}

#[test]
fn a_session_of_one_packet_a_second_is_small() {
    for intervals in [false, true] {
        let mut ledger = Ledger::new(LedgerSpec { ring: 8, timeout_ns: 2 * SECOND, ..spec(ReflectorMode::Auto) });
        let mut noise: u64 = 1;
        for sequence in 0..1_000 {
            // Delays of some hundred microseconds with a tail, all different.
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = |bits: u32| (noise >> bits) as i64 & 0xFFFF;
            let sent = i64::from(sequence) * SECOND;
            let tail = if noise >> 60 == 0 { random(8) * 20 } else { 0 };
            let (there, residence, back) = (150_000 + random(20), 20_000 + random(40) / 8, 140_000 + random(30) + tail);
            ledger.expire(sent, &mut NoSamples);
            ledger.sent(sequence, sent, WallNanos(WALL + sent), 30_000 + random(10));
            let (reply, _) = Session::reply_to(0, sequence, 0);
            let reply = Reply {
                sender_sequence: sequence,
                sender_timestamp: RawTimestamp::encode(WallNanos(WALL + sent), TimestampFormat::Ntp),
                t2: Some(WallNanos(WALL + sent + there)),
                t3: Some(WallNanos(WALL + sent + there + residence)),
                t4: WallNanos(WALL + sent + there + residence + back),
                ..reply
            };
            ledger.reply(&reply, sent + there + residence + back, &mut NoSamples);
            if intervals && sequence % 60 == 59 {
                ledger.take_interval(WallNanos(WALL + sent));
            }
        }
        let summary = ledger.summary(WallNanos(WALL));
        assert_eq!(summary.measure(Measure::RoundTrip).count(), 1_000);
        let bytes = ledger.memory_bytes();
        println!("intervals {intervals}: {bytes} octets, of which the ledger itself {}", size_of::<Ledger>());
        assert!(bytes < if intervals { 12_288 } else { 8_192 }, "{bytes}");
    }
}

#[test]
fn all_names_lead_somewhere() {
    let summary = Summary::new();
    assert!(Summary::COUNTERS.iter().all(|name| summary.counter(name) == Some(0)));
    assert!(Summary::DISTRIBUTIONS.iter().all(|name| summary.distribution(name).is_some()));
    assert!(Summary::FACTS.iter().all(|name| summary.fact(name) == Some(None)));
    assert_eq!((summary.counter("x"), summary.fact("x")), (None, None));
    assert_eq!(summary.memory_bytes(), 0);
}
