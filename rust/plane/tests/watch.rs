//! Limits over windows of facts: against a naive oracle that looks at all facts again each time, and by example.

use proptest::prelude::*;
use twoway_plane::ledger::Told;
use twoway_plane::sample::{Sample, SampleFlag, SampleStatus};
use twoway_plane::watch::{Finding, Limit, Metric, State, Watch};

const MS: i64 = 1_000_000;
const TIMEOUT: i64 = 100 * MS;
const GAP: i64 = 10 * MS;
const LATE: i64 = 50 * MS;

fn limit(metric: Metric, limit: f64) -> Limit {
    Limit { metric, limit, recover: limit, maximum: false }
}

fn watch(window_ns: i64, limits: Vec<Limit>) -> Watch {
    let mut watch = Watch::new(vec![(window_ns, limits)], LATE, TIMEOUT, GAP);
    watch.local_clock(true);
    watch
}

fn received(sequence: u32, rtt_ns: i64) -> Sample {
    let mut row = Sample::bare(sequence, SampleStatus::Received);
    (row.round_trip_ns, row.forward_ns, row.backward_ns) = (rtt_ns, rtt_ns / 2, rtt_ns - rtt_ns / 2);
    (row.residence_ns, row.send_lateness_ns) = (MS, 0);
    row
}

fn state(watch: &Watch) -> State {
    watch.findings()[0][0].state
}

/// Probes that all come back after 2 ms, until that moment.
fn go_on(watch: &mut Watch, first: u32, count: u32, rtt_ns: i64) -> i64 {
    let mut now = i64::from(first) * GAP;
    for sequence in first..first + count {
        now = i64::from(sequence) * GAP;
        watch.expire(now);
        watch.sent(sequence, now, 0);
        watch.at(now + 2 * MS);
        watch.told(sequence, &told(false, 0));
        watch.row(&received(sequence, rtt_ns));
    }
    now + 2 * MS
}

/// TLVs of a reply, of both ways the same: remarked or not, and so many of one packet lost.
fn told(remarked: bool, lost: i64) -> Told {
    Told { remarked: [Some(remarked); 2], direct: [Some((lost, 1)); 2] }
}

#[test]
fn nothing_is_known_before_the_window_is_full() {
    let mut watch = watch(500 * MS, vec![limit(Metric::LossRatio, 0.1)]);
    go_on(&mut watch, 0, 50, 5 * MS);
    assert_eq!(state(&watch), State::Unknown);
    go_on(&mut watch, 50, 1, 5 * MS);
    assert_eq!(watch.findings()[0][0], Finding { state: State::Good, value: Some(0.0) });
    assert!(watch.take_changed());
    assert!(!watch.take_changed());
}

#[test]
fn what_is_not_back_in_time_counts_at_its_timeout() {
    let mut watch = watch(500 * MS, vec![limit(Metric::LossRatio, 0.1)]);
    go_on(&mut watch, 0, 60, 5 * MS);
    // From here on nothing comes back.
    for sequence in 60..70 {
        let now = i64::from(sequence) * GAP;
        watch.expire(now);
        watch.sent(sequence, now, 0);
    }
    let first = 60 * GAP + TIMEOUT;
    assert_eq!(watch.next_event(), Some(first));
    watch.expire(first - 1);
    assert_eq!(state(&watch), State::Good);
    let mut met = None;
    for sequence in 70..90 {
        let now = i64::from(sequence) * GAP;
        watch.expire(now);
        watch.sent(sequence, now, 0);
        if state(&watch) == State::Bad && met.is_none() {
            met = Some(now - 60 * GAP);
        }
    }
    // Ten of a hundred, of which the window has but fifty and fewer and fewer: five are enough.
    assert!(met.is_some_and(|after| after <= TIMEOUT + 60 * MS), "{met:?}");
}

#[test]
fn a_reply_that_we_were_slow_to_read_was_not_overdue() {
    let mut watch = watch(200 * MS, vec![limit(Metric::LossRatio, 0.01)]);
    go_on(&mut watch, 0, 30, 5 * MS);
    watch.sent(30, 300 * MS, 0);
    watch.expire(300 * MS + TIMEOUT);
    assert_eq!(state(&watch), State::Bad);
    for sequence in 31..45 {
        let now = i64::from(sequence) * GAP + TIMEOUT;
        watch.sent(sequence, now, 0);
        watch.at(now + MS);
        watch.row(&received(sequence, 5 * MS));
    }
    assert_eq!(state(&watch), State::Bad);
    watch.row(&received(30, 5 * MS));
    assert_eq!(watch.findings()[0][0], Finding { state: State::Good, value: Some(0.0) });
}

#[test]
fn a_limit_has_hysteresis() {
    let rtt = Limit { metric: Metric::RoundTrip, limit: 50e6, recover: 30e6, maximum: false };
    let mut watch = watch(100 * MS, vec![rtt]);
    go_on(&mut watch, 0, 20, 40 * MS);
    assert_eq!(state(&watch), State::Good);
    go_on(&mut watch, 20, 20, 50 * MS);
    assert_eq!(state(&watch), State::Bad);
    go_on(&mut watch, 40, 20, 40 * MS);
    assert_eq!(state(&watch), State::Bad);
    go_on(&mut watch, 60, 20, 29 * MS);
    assert_eq!(state(&watch), State::Good);
}

#[test]
fn the_greatest_leaves_with_the_window() {
    let greatest = Limit { metric: Metric::RoundTrip, limit: 50e6, recover: 50e6, maximum: true };
    let mut watch = watch(100 * MS, vec![greatest]);
    go_on(&mut watch, 0, 20, 5 * MS);
    let at = go_on(&mut watch, 20, 1, 60 * MS);
    assert_eq!(watch.findings()[0][0], Finding { state: State::Bad, value: Some(60e6) });
    let end = go_on(&mut watch, 21, 10, 5 * MS);
    assert!(end - at <= 100 * MS);
    assert_eq!(state(&watch), State::Bad);
    go_on(&mut watch, 31, 1, 5 * MS);
    assert_eq!(state(&watch), State::Good);
}

#[test]
fn what_this_host_disturbed_is_no_fact() {
    let mut watch = watch(100 * MS, vec![limit(Metric::LossRatio, 0.1), limit(Metric::RoundTrip, 50e6)]);
    go_on(&mut watch, 0, 20, 5 * MS);
    for sequence in 20..40 {
        let now = i64::from(sequence) * GAP;
        watch.expire(now);
        watch.sent(sequence, now, LATE + 1);
        if sequence % 2 == 0 {
            let mut row = received(sequence, 500 * MS);
            row.send_lateness_ns = LATE + 1;
            watch.row(&row);
        }
        let mut missed = Sample::bare(sequence + 1, SampleStatus::NotSent);
        missed.send_lateness_ns = 60 * MS;
        watch.row(&missed);
        assert!(watch.findings()[0].iter().all(|finding| finding.state != State::Bad));
    }
    // The next undisturbed facts find a window that is nearly empty.
    watch.expire(60 * GAP);
    assert_eq!(state(&watch), State::Good); // no fact, no judgement: as it was
    go_on(&mut watch, 61, 1, 500 * MS);
    assert_eq!(state(&watch), State::Unknown);
}

#[test]
fn a_packet_that_the_kernel_refuses_is_lost() {
    let mut watch = watch(100 * MS, vec![limit(Metric::LossRatio, 0.5), limit(Metric::Lost, 6.0)]);
    go_on(&mut watch, 0, 20, 5 * MS);
    for sequence in 20..30 {
        watch.at(i64::from(sequence) * GAP);
        watch.row(&Sample::bare(20, SampleStatus::NotSent));
    }
    assert!(watch.findings()[0].iter().all(|finding| finding.state == State::Bad));
}

#[test]
fn drops_of_our_own_socket_begin_everything_anew() {
    let mut watch = watch(100 * MS, vec![limit(Metric::LossRatio, 0.1)]);
    go_on(&mut watch, 0, 20, 5 * MS);
    watch.sent(20, 200 * MS, 0);
    watch.restart();
    assert_eq!(state(&watch), State::Unknown);
    watch.expire(200 * MS + TIMEOUT);
    assert_eq!(watch.findings()[0][0].value, None);
    go_on(&mut watch, 31, 20, 5 * MS);
    assert_eq!(watch.findings()[0][0], Finding { state: State::Good, value: Some(0.0) });
}

#[test]
fn a_step_of_the_clock_begins_everything_anew() {
    let mut watch = watch(100 * MS, vec![limit(Metric::PdvForward, 1e9)]);
    go_on(&mut watch, 0, 20, 5 * MS);
    assert_eq!(state(&watch), State::Good);
    watch.sent(20, 200 * MS, 0);
    let mut row = received(20, 5 * MS);
    row.flag(SampleFlag::ClockStep, true);
    row.clock_scale = 1;
    watch.row(&row);
    assert_eq!(state(&watch), State::Unknown);
}

#[test]
fn the_ways_one_way_need_both_clocks() {
    let limits = vec![limit(Metric::Forward, 1e6), limit(Metric::PdvForward, 1e9), limit(Metric::RoundTrip, 1e9)];
    let mut watch = watch(100 * MS, limits);
    watch.local_clock(false);
    go_on(&mut watch, 0, 20, 5 * MS);
    let states: Vec<_> = watch.findings()[0].iter().map(|finding| finding.state).collect();
    assert_eq!(states, [State::Unknown, State::Good, State::Good]);
    watch.local_clock(true);
    go_on(&mut watch, 20, 20, 5 * MS);
    assert_eq!(state(&watch), State::Bad);
}

#[test]
fn the_direction_of_loss_is_known_or_it_is_not() {
    let mut watch = watch(
        200 * MS,
        vec![
            limit(Metric::LossForwardRatio, 0.2),
            limit(Metric::LossBackwardRatio, 0.2),
            limit(Metric::LostForward, 3.0),
        ],
    );
    let end = go_on(&mut watch, 0, 30, 5 * MS);
    for sequence in 20..25 {
        watch.at(end);
        watch.row(&Sample::bare(sequence, SampleStatus::LostForward));
    }
    let states: Vec<_> = watch.findings()[0].iter().map(|finding| finding.state).collect();
    assert_eq!(states, [State::Good, State::Good, State::Bad]);
    watch.row(&Sample::bare(25, SampleStatus::LostForward));
    assert_eq!(state(&watch), State::Bad);
    let mut stateless = self::watch(200 * MS, vec![limit(Metric::LossForwardRatio, 0.2)]);
    let end = go_on(&mut stateless, 0, 30, 5 * MS);
    assert_eq!(state(&stateless), State::Good);
    stateless.at(end);
    stateless.row(&Sample::bare(20, SampleStatus::LostUnattributed));
    assert_eq!(state(&stateless), State::Unknown);
}

#[test]
fn another_session_sender_goes_on_with_the_facts() {
    let limits = || vec![limit(Metric::LossRatio, 0.1)];
    let mut before = watch(500 * MS, limits());
    let now = go_on(&mut before, 0, 60, 5 * MS);
    before.sent(60, now, 0);
    let mut after = watch(500 * MS, limits());
    after.succeed(before.clone());
    assert_eq!(after.findings(), before.findings());
    assert_eq!(after.next_event(), None, "what was under way says nothing");
    // Its packets begin at 0 again. Ten of fifty that are lost are too many.
    for sequence in 0..10 {
        after.sent(sequence, now + i64::from(sequence) * GAP, 0);
    }
    after.expire(now + 9 * GAP + TIMEOUT);
    assert_eq!(state(&after), State::Bad);

    let mut other = watch(400 * MS, limits());
    other.succeed(before);
    assert_eq!(state(&other), State::Unknown, "another window begins anew");
}

#[test]
fn other_windows_of_the_same_packets_leave_those_that_stay_alone() {
    let mut watch = watch(500 * MS, vec![limit(Metric::LossRatio, 0.1)]);
    let now = go_on(&mut watch, 0, 60, 5 * MS);
    watch.sent(60, now, 0);
    let asked = vec![(900 * MS, vec![limit(Metric::Late, 3.0)]), (500 * MS, vec![limit(Metric::LossRatio, 0.1)])];
    let mut more = Watch::new(asked, LATE, TIMEOUT, GAP);
    more.replace(watch);
    assert_eq!(more.findings()[0][0].state, State::Unknown);
    assert_eq!(more.findings()[1][0].state, State::Good);
    assert_eq!(more.next_event(), Some(now + TIMEOUT));
}

#[test]
fn what_left_before_anybody_looked_says_nothing() {
    let mut watch = watch(100 * MS, vec![limit(Metric::LossRatio, 0.1)]);
    watch.at(0);
    watch.row(&received(7, 5 * MS));
    watch.sent(100, 0, 0);
    watch.row(&Sample::bare(99, SampleStatus::LostUnattributed));
    watch.row(&received(98, 5 * MS));
    assert_eq!(watch.findings()[0][0].value, None);
    assert!(watch.memory_bytes() > 0);
}

#[test]
fn what_no_reply_tells_is_not_known() {
    let limits = vec![limit(Metric::RemarkedForward, 3.0), limit(Metric::DirectLossBackwardRatio, 0.1)];
    let mut watch = watch(100 * MS, limits);
    for sequence in 0..40 {
        let now = i64::from(sequence) * GAP;
        watch.expire(now);
        watch.sent(sequence, now, 0);
        watch.at(now + 2 * MS);
        let refused = Told { remarked: [None, Some(true)], direct: [Some((1, 1)), None] };
        watch.told(sequence, &refused);
        watch.row(&received(sequence, 5 * MS));
    }
    assert!(watch.findings()[0].iter().all(|finding| finding.value.is_none()), "{:?}", watch.findings());
}

#[test]
fn counters_are_not_compared_across_what_this_host_dropped() {
    let mut watch = watch(100 * MS, vec![limit(Metric::DirectLossBackwardRatio, 0.1)]);
    let end = go_on(&mut watch, 0, 20, 5 * MS);
    assert_eq!(watch.findings()[0][0], Finding { state: State::Good, value: Some(0.0) });
    watch.sent(20, end, 0);
    watch.restart();
    // Replies to packets that were under way, and the first one after them, are compared with what came before the drop.
    for sequence in 20..40 {
        let now = end + i64::from(sequence - 20) * GAP;
        if sequence > 20 {
            watch.expire(now);
            watch.sent(sequence, now, 0);
        }
        watch.at(now + 2 * MS);
        watch.told(sequence, &told(false, if sequence < 22 { 9 } else { 0 }));
        watch.row(&received(sequence, 5 * MS));
    }
    assert_eq!(watch.findings()[0][0], Finding { state: State::Good, value: Some(0.0) });
}

#[test]
fn a_reply_that_overtook_another_is_no_loss_for_long() {
    let mut watch = watch(100 * MS, vec![limit(Metric::DirectLossBackwardRatio, 0.5)]);
    go_on(&mut watch, 0, 20, 5 * MS);
    for (sequence, lost) in [(20, 1), (21, -1)] {
        watch.sent(sequence, i64::from(sequence) * GAP, 0);
        watch.at(i64::from(sequence) * GAP + 2 * MS);
        watch.told(sequence, &told(false, lost));
        watch.row(&received(sequence, 5 * MS));
    }
    assert_eq!(watch.findings()[0][0], Finding { state: State::Good, value: Some(0.0) });
    let end = go_on(&mut watch, 22, 8, 5 * MS);
    // The window has let the first of both go.
    watch.at(end + 20 * MS);
    go_on(&mut watch, 32, 1, 5 * MS);
    assert_eq!(watch.findings()[0][0].value, Some(0.0));
}

#[test]
fn a_session_is_looked_at_however_long_it_lasts() {
    let mut watch = watch(100 * MS, vec![limit(Metric::LossRatio, 0.1), limit(Metric::DirectLossForwardRatio, 0.1)]);
    let mut now = go_on(&mut watch, 0, 20, 5 * MS);
    watch.restart();
    // A packet each millisecond makes so many in a month.
    for long in 1..6u32 {
        let first = long << 30;
        for sequence in first..first + 20 {
            now += GAP;
            watch.expire(now);
            watch.sent(sequence, now, 0);
            watch.at(now + 2 * MS);
            watch.told(sequence, &told(false, 0));
            watch.row(&received(sequence, 5 * MS));
        }
        now += TIMEOUT;
        watch.expire(now);
        let good = Finding { state: State::Good, value: Some(0.0) };
        assert_eq!(watch.findings()[0], [good, good], "after {first} packets");
    }
}

/// The way that a time is about: the round trip, there, back; none for what is no time of a way.
fn way_of(metric: Metric) -> Option<usize> {
    use Metric as M;
    match metric {
        M::RoundTrip | M::PdvRoundTrip | M::IpdvRoundTrip | M::JitterRoundTrip => Some(0),
        M::Forward | M::PdvForward | M::IpdvForward | M::JitterForward => Some(1),
        M::Backward | M::PdvBackward | M::IpdvBackward | M::JitterBackward => Some(2),
        _ => None,
    }
}

/// What is seen of a probe while a metric is bad.
fn rows(metric: Metric, sequence: u32) -> Vec<Sample> {
    use Metric as M;
    let mut row = received(sequence, 4 * MS);
    let more = if sequence.is_multiple_of(2) { 40 * MS } else { 0 };
    match way_of(metric) {
        Some(0) => row.round_trip_ns += more,
        Some(1) => row.forward_ns += more,
        Some(_) => row.backward_ns += more,
        None => {}
    }
    match metric {
        M::LossRatio => return Vec::new(),
        M::Lost | M::LostForward | M::LossForwardRatio => {
            return vec![Sample::bare(sequence, SampleStatus::LostForward)];
        }
        M::LostBackward | M::LossBackwardRatio => return vec![Sample::bare(sequence, SampleStatus::LostBackward)],
        M::Late | M::LateRatio => return vec![Sample::bare(sequence, SampleStatus::Late)],
        M::Duplicates | M::DuplicatesRatio => {
            return vec![row, Sample::bare(sequence, SampleStatus::DuplicateBackward)];
        }
        M::Reordered | M::ReorderedRatio => row.flag(SampleFlag::Reordered, true),
        M::Residence => row.residence_ns += more,
        _ => {}
    }
    vec![row]
}

/// Whether only TLVs say it.
fn by_tlvs(metric: Metric) -> bool {
    use Metric as M;
    matches!(metric, M::RemarkedForward | M::RemarkedBackward | M::DirectLossForwardRatio | M::DirectLossBackwardRatio)
}

/// What TLVs say while a metric is bad.
fn tlvs(metric: Metric) -> Option<Told> {
    use Metric as M;
    let way = |forward: bool| [forward, !forward];
    let remarked = |forward| Told { remarked: way(forward).map(Some), ..told(false, 0) };
    let lost = |forward| Told { direct: way(forward).map(|lost| Some((lost.into(), 2))), ..told(false, 0) };
    match metric {
        M::RemarkedForward => Some(remarked(true)),
        M::RemarkedBackward => Some(remarked(false)),
        M::DirectLossForwardRatio => Some(lost(true)),
        M::DirectLossBackwardRatio => Some(lost(false)),
        // No reply, nothing told.
        M::LossRatio | M::Lost | M::LostForward | M::LostBackward | M::LossForwardRatio | M::LossBackwardRatio => None,
        _ => Some(told(false, 0)),
    }
}

/// Every metric, the mean and the greatest, is met when it is bad, and met no more when its window is clear of it; what
/// is about another way is not touched.
#[test]
fn each_metric_is_about_what_its_name_says() {
    let all: Vec<Limit> = Metric::ALL
        .iter()
        .flat_map(|metric| {
            let time = way_of(*metric).is_some() || *metric == Metric::Residence;
            let bound = match metric.name() {
                name if name.ends_with("_ratio") => 0.1,
                _ if time => 10e6,
                _ => 3.0,
            };
            let mean = limit(*metric, bound);
            let greatest = Limit { maximum: true, limit: 30e6, recover: 30e6, ..mean };
            let running = metric.name().starts_with("jitter");
            [Some(mean), (time && !running).then_some(greatest)].into_iter().flatten()
        })
        .collect();
    for bad in Metric::ALL {
        let mut watch = watch(200 * MS, all.clone());
        let stand = |watch: &Watch, wanted: State| -> Vec<Limit> {
            let findings = watch.findings().remove(0);
            all.iter().zip(findings).filter(|(_, finding)| finding.state == wanted).map(|(limit, _)| *limit).collect()
        };
        go_on(&mut watch, 0, 30, 4 * MS);
        assert_eq!(stand(&watch, State::Good), all, "before {bad:?}");
        for sequence in 30..55 {
            let now = i64::from(sequence) * GAP;
            watch.expire(now);
            watch.sent(sequence, now, 0);
            watch.at(now + 2 * MS);
            if let Some(told) = tlvs(*bad) {
                watch.told(sequence, &told);
            }
            for row in rows(*bad, sequence) {
                watch.row(&row);
            }
        }
        let met = stand(&watch, State::Bad);
        let own: Vec<_> = all.iter().filter(|limit| limit.metric == *bad).collect();
        assert!(own.iter().all(|limit| met.contains(limit)), "{bad:?}: {met:?}");
        for limit in &met {
            let (one, other) = (way_of(*bad), way_of(limit.metric));
            assert!(one.is_none() || one == other, "{bad:?} made {limit:?} bad");
            assert!(!by_tlvs(limit.metric) || limit.metric == *bad, "{bad:?} made {limit:?} bad");
        }
        go_on(&mut watch, 55, 70, 4 * MS);
        assert_eq!(stand(&watch, State::Good), all, "after {bad:?}");
    }
}

/// What befalls a probe.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Back { after_ms: i64, rtt_ms: i64 },
    Lost,
    Duplicate,
    Refused,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let one = prop_oneof![
        5 => (1i64..140, 1i64..90).prop_map(|(after_ms, rtt_ms)| Fate::Back { after_ms, rtt_ms }),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Duplicate),
        1 => Just(Fate::Refused),
    ];
    prop::collection::vec(one, 1..150)
}

/// Facts of the oracle: when, and what it says of each metric.
struct Naive {
    facts: Vec<(i64, &'static str, i64)>,
}

impl Naive {
    fn count(&self, name: &str, since: i64) -> i64 {
        self.facts.iter().filter(|(at, what, _)| *at >= since && *what == name).count() as i64
    }

    fn values(&self, since: i64) -> Vec<i64> {
        self.facts.iter().filter(|(at, what, _)| *at >= since && *what == "back").map(|(_, _, value)| *value).collect()
    }
}

proptest! {
    /// Each value, whenever it is known, is that of a model that goes through all facts again.
    #[test]
    fn values_are_those_of_the_naive_model(fates in fates(), window_ms in 20i64..400) {
        let window_ns = window_ms * MS;
        let metrics = [Metric::LossRatio, Metric::Late, Metric::LateRatio, Metric::Duplicates, Metric::Lost];
        let mut limits: Vec<_> = metrics.map(|metric| limit(metric, 1e18)).into();
        for metric in [Metric::RoundTrip, Metric::PdvRoundTrip] {
            limits.push(limit(metric, 1e18));
            limits.push(Limit { maximum: true, ..limit(metric, 1e18) });
        }
        let mut watch = watch(window_ns, limits);
        let mut naive = Naive { facts: Vec::new() };
        // What happens when, in the order of time; at one moment replies are read first.
        let mut happenings: Vec<(i64, u8, u32, Fate)> = Vec::new();
        let mut sequence = 0;
        for (slot, fate) in fates.iter().enumerate() {
            let at = slot as i64 * GAP;
            happenings.push((at, 1, sequence, *fate));
            match fate {
                Fate::Refused => continue,
                Fate::Back { after_ms, .. } => happenings.push((at + after_ms * MS + 1, 0, sequence, *fate)),
                Fate::Lost => happenings.push((at + 2 * TIMEOUT, 0, sequence, *fate)),
                Fate::Duplicate => happenings.push((at + 2 * MS, 0, sequence, *fate)),
            }
            sequence += 1;
        }
        happenings.sort_by_key(|(at, order, sequence, _)| (*at, *order, *sequence));
        let mut overdue: Vec<(i64, u32)> = Vec::new();
        for (at, order, sequence, fate) in happenings {
            while let Some(due) = watch.next_event().filter(|due| *due <= at) {
                watch.expire(due);
            }
            watch.expire(at);
            overdue.retain(|(due, _)| {
                if *due <= at { naive.facts.push((*due, "overdue", 0)); }
                *due > at
            });
            if order == 1 {
                if matches!(fate, Fate::Refused) {
                    watch.row(&Sample::bare(sequence, SampleStatus::NotSent));
                    naive.facts.push((at, "overdue", 0));
                    naive.facts.push((at, "lost", 0));
                } else {
                    watch.sent(sequence, at, 0);
                    overdue.push((at + TIMEOUT, sequence));
                }
            } else {
                let known = overdue.iter().position(|(_, one)| *one == sequence);
                match fate {
                    Fate::Back { rtt_ms, .. } => {
                        if let Some(place) = known {
                            overdue.remove(place);
                            watch.row(&received(sequence, rtt_ms * MS));
                            naive.facts.push((at, "back", rtt_ms * MS));
                        } else {
                            watch.row(&Sample::bare(sequence, SampleStatus::Late));
                            naive.facts.push((at, "late", 0));
                        }
                    }
                    Fate::Lost => {
                        watch.row(&Sample::bare(sequence, SampleStatus::LostUnattributed));
                        naive.facts.push((at, "lost", 0));
                    }
                    Fate::Duplicate => {
                        if let Some(place) = known {
                            overdue.remove(place);
                            watch.row(&received(sequence, MS));
                            naive.facts.push((at, "back", MS));
                        }
                        watch.row(&Sample::bare(sequence, SampleStatus::DuplicateUnattributed));
                        naive.facts.push((at, "duplicate", 0));
                    }
                    Fate::Refused => {}
                }
            }
            // Judged at the last fact, which the window is counted back from.
            let Some(now) = naive.facts.iter().map(|(at, ..)| *at).max() else { continue };
            let since = now - window_ns;
            let back = naive.values(since);
            let fates = back.len() as i64 + naive.count("overdue", since);
            let known = since >= 0 && fates >= (window_ns / GAP / 2).max(1);
            let findings = &watch.findings()[0];
            let late = naive.count("late", since);
            let total = back.iter().sum::<i64>() as f64;
            let mean = (!back.is_empty()).then(|| total / back.len() as f64);
            let (least, most) = (back.iter().min().copied(), back.iter().max().copied());
            let ratio = |part: i64| (fates > 0).then(|| part as f64 / fates as f64);
            let expected = [
                ratio(naive.count("overdue", since)),
                Some(late as f64),
                ratio(late),
                Some(naive.count("duplicate", since) as f64),
                Some(naive.count("lost", since) as f64),
                mean,
                most.map(|most| most as f64),
                mean.zip(least).map(|(mean, least)| mean - least as f64),
                most.zip(least).map(|(most, least)| (most - least) as f64),
            ];
            for (finding, expected) in findings.iter().zip(expected) {
                let expected = expected.filter(|_| known);
                match (finding.value, expected) {
                    (Some(value), Some(expected)) => prop_assert!((value - expected).abs() < 1e-6, "{value} {expected}"),
                    (value, expected) => prop_assert_eq!(value, expected),
                }
                prop_assert_eq!(finding.state, if expected.is_some() { State::Good } else { State::Unknown });
            }
        }
    }
}
