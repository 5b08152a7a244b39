//! Which way packets were lost, copied and reordered, by single situations, one each.

mod path;

use twoway_plane::ledger::{Direction, LedgerSpec, ReflectorMode, ReplyVerdict};
use twoway_plane::sample::{SampleFlag, SampleStatus};
use twoway_plane::summary::{Counter, Fact, Measure};
use twoway_wire::WallNanos;

use self::path::{MS, SECOND, Session, WALL, lost, spec};

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
