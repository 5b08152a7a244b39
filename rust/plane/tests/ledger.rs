//! What the ledger says of single situations, one each.

use twoway_plane::ledger::{Direction, Ledger, LedgerSpec, NotSent, ReflectorMode, Reply, ReplyTlvs, ReplyVerdict};
use twoway_plane::sample::{MISSING, NoSamples, Sample, SampleFlag, SampleStatus, TimestampSource, UNKNOWN};
use twoway_plane::summary::{CLOCK_STEPS_KEPT, Counter, Fact, Measure, SeenBy, Summary};
use twoway_wire::{RawTimestamp, TimestampFormat, WallNanos};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
const WALL: i64 = 1_800_000_000_000_000_000;
const FAR_OFFSET: i64 = 5_000 * MS;

fn spec(reflector_mode: ReflectorMode) -> LedgerSpec {
    LedgerSpec {
        ring: 8,
        timeout_ns: SECOND,
        reflector_mode,
        timestamp_format: TimestampFormat::Ntp,
        timestamps: TimestampSource::User,
        stamp_wait_ns: 50 * MS,
        attribution_wait_ns: i64::MAX,
        attribution_capacity: 1_000,
        follow_up_wait_ns: 0,
        replies_asked: 1,
        start: WallNanos(WALL),
    }
}

/// A ledger and the path that it measures: 1 ms there, 1 ms residence, 1 ms back, one packet each 100 ms.
struct Session {
    ledger: Ledger,
    rows: Vec<Sample>,
    /// What the wall clock is ahead of `WALL` + monotonic time.
    step: i64,
}

impl Session {
    fn new(spec: LedgerSpec) -> Self {
        Self { ledger: Ledger::new(spec), rows: Vec::new(), step: 0 }
    }

    fn stateful() -> Self {
        Self::new(spec(ReflectorMode::Stateful))
    }

    fn sent_at(sequence: u32) -> i64 {
        i64::from(sequence) * 100 * MS
    }

    fn send(&mut self, sequence: u32) {
        let now = Self::sent_at(sequence);
        self.ledger.expire(now, &mut self.rows);
        self.ledger.sent(sequence, now, WallNanos(WALL + now + self.step), 1_000);
    }

    fn reply_to(sequence: u32, reflector_sequence: u32, round_trip: i64) -> (Reply, i64) {
        let sent = Self::sent_at(sequence);
        let arrives = sent + round_trip + MS;
        let far = WALL + sent + round_trip / 2 + FAR_OFFSET;
        let reply = Reply {
            sender_sequence: sequence,
            reflector_sequence,
            sender_timestamp: RawTimestamp::encode(WallNanos(WALL + sent), TimestampFormat::Ntp),
            t2: Some(WallNanos(far)),
            t3: Some(WallNanos(far + MS)),
            t4: WallNanos(WALL + arrives),
            t4_source: TimestampSource::Kernel,
            far_synchronized: true,
            far_error_ns: Some(2_000),
            far_error_estimate_invalid: false,
            sender_ttl: Some(250),
            returned_ttl: Some(251),
            far_dscp_ecn: Some(184),
            returned_dscp_ecn: None,
            ssid_zero: false,
            tlvs: ReplyTlvs::default(),
        };
        (reply, arrives)
    }

    fn hand_in(&mut self, (reply, arrives): (Reply, i64)) -> ReplyVerdict {
        self.ledger.reply(&reply, arrives, &mut self.rows)
    }

    fn reply(&mut self, sequence: u32, reflector_sequence: u32) -> ReplyVerdict {
        self.hand_in(Self::reply_to(sequence, reflector_sequence, 2 * MS))
    }

    /// Send packets 0, 1, 2, ...: each with the number of its reply, or None if none comes.
    fn run(&mut self, numbers: &[Option<u32>]) {
        for (sequence, number) in (0..).zip(numbers) {
            self.send(sequence);
            if let Some(number) = *number {
                assert_eq!(self.reply(sequence, number), ReplyVerdict::Received);
            }
        }
    }

    fn finish(&mut self) -> Summary {
        self.ledger.finish(1_000 * SECOND, false, &mut self.rows);
        self.summary()
    }

    fn summary(&self) -> Summary {
        self.ledger.summary(WallNanos(WALL + SECOND))
    }

    fn row(&self, sequence: u32) -> &Sample {
        self.rows.iter().find(|row| row.sequence == sequence).expect("a row of the packet")
    }
}

fn lost(summary: &Summary) -> [u64; 3] {
    [Counter::LostForward, Counter::LostBackward, Counter::LostUnattributed].map(|counter| summary.count(counter))
}

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
fn loss_has_a_direction_where_the_reflector_counts() {
    let mut session = Session::stateful();
    // 1 and 2 lost on the way there, 4 on the way back, 6 and 7 one each, 9 at the end.
    let numbers = [Some(0), None, None, Some(1), None, Some(3), None, None, Some(5), None];
    session.run(&numbers);
    let summary = session.finish();
    assert_eq!(lost(&summary), [3, 2, 1]);
    let status = |sequence| session.row(sequence).status;
    assert_eq!([1, 2].map(status), [SampleStatus::LostForward; 2]);
    assert_eq!(status(4), SampleStatus::LostBackward);
    // Of 6 and 7 nobody knows which was lost where, and 9 was the last.
    assert_eq!([6, 7, 9].map(status), [SampleStatus::LostUnattributed; 3]);
    assert_eq!(summary.loss_bursts().iter().map(|(&length, &n)| (length, n)).collect::<Vec<_>>(), [(1, 2), (2, 2)]);
}

#[test]
fn a_reflector_that_copies_tells_no_direction() {
    for mode in [ReflectorMode::Auto, ReflectorMode::Stateless] {
        let mut session = Session::new(spec(mode));
        session.run(&[Some(0), None, Some(2), None, Some(4)]);
        let summary = session.finish();
        assert_eq!(lost(&summary), [0, 0, 2]);
        let expected = if mode == ReflectorMode::Stateless { Some(0) } else { None };
        assert_eq!(summary.known(Fact::ReflectorStateful), expected);
    }
}

#[test]
fn the_first_number_of_its_own_tells_the_direction_of_earlier_losses() {
    let mut session = Session::new(spec(ReflectorMode::Auto));
    // 1 is lost backward: the numbers stay equal. 4 is lost forward: they do not.
    let mut numbers = vec![Some(0), None, Some(2), Some(3), None];
    numbers.extend((4..60).map(Some));
    session.run(&numbers[..4]);
    for sequence in 4..30 {
        // Long after packet 1 was given up its count still waits: nothing is guessed.
        session.send(sequence);
        assert_eq!(lost(&session.summary())[..2], [0, 0]);
    }
    // Whoever watches was told of it as soon as a window ended without telling.
    assert_eq!(session.row(1).status, SampleStatus::LostUnattributed);
    assert_eq!(session.reply(29, 28), ReplyVerdict::Received);
    assert_eq!(lost(&session.summary())[1], 1);
    assert_eq!(session.rows.iter().filter(|row| row.sequence == 1).count(), 1, "and is not told twice");
    assert_eq!(session.finish().known(Fact::ReflectorStateful), Some(1));
}

#[test]
fn waiting_for_a_direction_is_bounded_by_number_and_by_time() {
    let mut by_number = spec(ReflectorMode::Stateful);
    by_number.attribution_capacity = 2;
    let mut session = Session::new(by_number);
    session.run(&[Some(0), None, None, None, Some(4)]);
    // One of three was let go; the two that are left are known to be backward like it.
    assert_eq!(lost(&session.finish()), [0, 2, 1]);

    let mut by_time = spec(ReflectorMode::Stateful);
    by_time.attribution_wait_ns = 500 * MS;
    let mut session = Session::new(by_time);
    session.run(&[Some(0), None]);
    session.ledger.expire(2_599 * MS, &mut session.rows);
    assert_eq!(lost(&session.summary()), [0, 0, 1], "a summary shows it already");
    let interval = session.ledger.take_interval(WallNanos(0));
    assert_eq!((interval.count(Counter::Lost), lost(&interval)), (1, [0, 0, 0]), "an interval does not take back");
    assert_eq!(session.ledger.next_expiry(), Some(2_600 * MS));
    session.ledger.expire(2_600 * MS, &mut session.rows);
    let interval = session.ledger.take_interval(WallNanos(0));
    assert_eq!((interval.count(Counter::Lost), lost(&interval)), (0, [0, 0, 1]));
    assert_eq!(session.ledger.next_expiry(), None);
}

#[test]
fn an_outage_is_in_the_intervals_in_which_its_losses_were_certain_whatever_is_learnt_of_them_later() {
    let mut session = Session::new(spec(ReflectorMode::Stateful));
    session.run(&[Some(0), None, None, None, Some(3)]);
    let mut intervals = Vec::new();
    for now_ns in [2_099 * MS, 2_100 * MS, 2_200 * MS, 2_300 * MS, 2_400 * MS] {
        session.ledger.expire(now_ns, &mut session.rows);
        let interval = session.ledger.take_interval(WallNanos(0));
        intervals.push((interval.count(Counter::Lost), lost(&interval)));
    }
    assert_eq!(intervals, [(0, [0; 3]), (1, [0; 3]), (1, [0; 3]), (1, [0; 3]), (0, [1, 2, 0])]);
    let whole = session.finish();
    assert_eq!((whole.count(Counter::Lost), lost(&whole)), (3, [1, 2, 0]));
}

#[test]
fn whoever_watches_is_told_of_a_loss_soon() {
    // Nothing answers: as soon as the packet is given up.
    let mut session = Session::new(spec(ReflectorMode::Auto));
    session.run(&[None]);
    session.ledger.expire(1_999 * MS, &mut session.rows);
    assert!(session.rows.is_empty());
    session.ledger.expire(2_000 * MS, &mut session.rows);
    assert_eq!(session.row(0).status, SampleStatus::LostUnattributed);
    // Something did: one more timeout for a reply that tells the direction.
    let mut session = Session::stateful();
    session.run(&[Some(0), None]);
    let answered = session.rows.len();
    session.ledger.expire(3_099 * MS, &mut session.rows);
    assert_eq!(session.rows.len(), answered);
    session.ledger.expire(3_100 * MS, &mut session.rows);
    assert_eq!(session.row(1).status, SampleStatus::LostUnattributed);
    let rows = session.rows.len();
    session.finish();
    assert_eq!(session.rows.len(), rows);
}

#[test]
fn numbers_that_began_before_us_say_nothing_of_the_first_losses() {
    let mut session = Session::stateful();
    session.run(&[None, Some(500), None, Some(502)]);
    assert_eq!(lost(&session.finish()), [0, 1, 1]);
    // Numbers that begin with 0 do.
    let mut session = Session::stateful();
    session.run(&[None, None, Some(1), Some(2)]);
    assert_eq!(lost(&session.finish()), [1, 1, 0]);
}

#[test]
fn a_restart_of_the_reflector_leaves_its_gap_unattributed() {
    let mut session = Session::stateful();
    let mut numbers: Vec<_> = (0..20).map(Some).collect();
    numbers[5] = None;
    numbers.extend([None, None, Some(0), Some(1), None, Some(2)]);
    session.run(&numbers);
    assert_eq!(lost(&session.finish()), [1, 1, 2]);
}

#[test]
fn numbers_that_do_not_count_attribute_nothing() {
    let mut session = Session::stateful();
    session.run(&[Some(0), None, Some(0), Some(0), None, Some(0)]);
    assert_eq!(lost(&session.finish()), [0, 0, 2]);
    let mut session = Session::stateful();
    session.run(&[Some(0), None, Some(90_000), Some(7), None, Some(u32::MAX)]);
    assert_eq!(lost(&session.finish()), [0, 0, 2]);
}

#[test]
fn both_counters_may_wrap() {
    let mut session = Session::stateful();
    let first = u32::MAX - 2;
    for offset in 0..8_u32 {
        let sequence = first.wrapping_add(offset);
        let now = i64::from(offset) * 100 * MS;
        session.ledger.sent(sequence, now, WallNanos(WALL + now), 0);
        if offset == 3 || offset == 5 {
            continue;
        }
        // Packet 3 is lost forward, 5 backward.
        let number = first.wrapping_add(offset - u32::from(offset > 3));
        let (mut reply, _) = Session::reply_to(offset, number, 2 * MS);
        reply.sender_sequence = sequence;
        assert_eq!(session.ledger.reply(&reply, now + 3 * MS, &mut session.rows), ReplyVerdict::Received);
    }
    let summary = session.finish();
    assert_eq!(lost(&summary), [1, 1, 0]);
    assert_eq!(summary.count(Counter::ReorderedRoundTrip), 0);
    assert_eq!(summary.known(Fact::LastSequence), Some(4));
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
fn duplicates_have_a_direction() {
    let mut session = Session::stateful();
    session.send(0);
    session.reply(0, 0);
    assert_eq!(session.reply(0, 1), ReplyVerdict::Duplicate(Direction::Forward));
    assert_eq!(session.reply(0, 0), ReplyVerdict::Duplicate(Direction::Backward));
    assert_eq!(session.reply(0, 1), ReplyVerdict::Duplicate(Direction::Backward));
    assert_eq!(session.reply(0, 2), ReplyVerdict::Duplicate(Direction::Forward));
    // Packet 1 is lost forward: the numbers of the copies do not hide it.
    session.send(1);
    session.send(2);
    session.reply(2, 3);
    let summary = session.finish();
    assert_eq!(lost(&summary), [1, 0, 0]);
    assert_eq!(summary.count(Counter::Received), 2);
    assert_eq!(summary.measure(Measure::RoundTrip).count(), 2);
}

#[test]
fn four_packets_three_times_each_are_the_example_of_rfc_5560() {
    let mut session = Session::stateful();
    for sequence in 0..4 {
        session.send(sequence);
        session.reply(sequence, sequence);
        for _ in 0..2 {
            session.reply(sequence, sequence);
        }
    }
    let summary = session.finish();
    let arrived = summary.count(Counter::Received) + summary.count(Counter::DuplicatesBackward);
    assert_eq!(arrived / summary.count(Counter::Received) - 1, 2);
}

#[test]
fn reordering_has_a_direction() {
    // The packets of RFC 4737 table 1, numbered from 0: packet 3 arrives after 7.
    let there = [0, 1, 2, 4, 5, 6, 7, 3, 8, 9];
    for (backward, numbered) in [(false, there), (true, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])] {
        let mut session = Session::stateful();
        let number = |sequence| numbered.iter().position(|packet| *packet == sequence).unwrap() as u32;
        for sequence in 0..10 {
            session.send(sequence);
        }
        for sequence in there {
            assert_eq!(
                session.hand_in(Session::reply_to(sequence, number(sequence), 990 * MS)),
                ReplyVerdict::Received
            );
        }
        let summary = session.finish();
        let counted = [Counter::ReorderedRoundTrip, Counter::ReorderedForward, Counter::ReorderedBackward];
        let expected = if backward { [1, 0, 1] } else { [1, 1, 0] };
        assert_eq!(counted.map(|counter| summary.count(counter)), expected);
        assert!(session.row(3).has(SampleFlag::Reordered) && !session.row(4).has(SampleFlag::Reordered));
    }
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
fn an_outage_grows_memory_no_further_than_allowed() {
    let mut session = Session::new(LedgerSpec { attribution_capacity: 64, ..spec(ReflectorMode::Auto) });
    session.run(&[Some(0)]);
    for sequence in 1..5_000 {
        session.send(sequence);
    }
    assert!(session.ledger.memory_bytes() < 16_384, "{}", session.ledger.memory_bytes());
    let summary = session.finish();
    assert_eq!(lost(&summary), [0, 0, 4_999]);
    assert_eq!(summary.loss_bursts().get(&4_999), Some(&1));
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

#[test]
fn memory_taken_in_an_outage_is_given_back() {
    let mut session = Session::stateful();
    session.run(&[Some(0)]);
    let before = session.ledger.memory_bytes();
    for sequence in 1..1_000 {
        session.send(sequence);
    }
    session.reply(999, 1);
    session.ledger.expire(200 * SECOND, &mut session.rows);
    assert_eq!(lost(&session.summary()), [998, 0, 0]);
    assert!(session.ledger.memory_bytes() < before + 4_096, "{before} {}", session.ledger.memory_bytes());
}
