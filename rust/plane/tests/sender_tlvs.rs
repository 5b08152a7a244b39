//! What a Session-Sender does about each STAMP TLV, packet by packet; the RFC section of each rule stands at its test.

mod sending;

use proptest::prelude::*;
use twoway_plane::ledger::ReflectorMode;
use twoway_plane::session_sender::extensions::{AccessRequest, ControlRequest, TlvPlan, TlvRequests, WayBack};
use twoway_plane::summary::{Fact, Measure};
use twoway_wire::tlv::access_report::{AccessId, ReturnCode};
use twoway_wire::tlv::{
    AccessReport, ClassOfService, DirectMeasurement, FollowUpTelemetry, MicroSessionId, ReflectedControl,
    TimestampingMethod, TlvChain, TlvFlags, TlvType, reflect_tlvs, sign_tlvs,
};
use twoway_wire::{PacketFormat, RawTimestamp, TimestampFormat, WallNanos};

use self::sending::{INTERVAL_NS, KEY, LEG_NS, MS, START, Sending, TIMEOUT_NS, chain, keys, told};

fn signed(mut covered: Vec<u8>, sequence: u32, key: &[u8]) -> Vec<u8> {
    let at = covered.len();
    covered.extend(told(TlvType::Hmac, &[0; 16]));
    sign_tlvs(&twoway_wire::StampKey::new(key).expect("key"), sequence, &mut covered, at);
    covered
}

/// The TLVs of a packet: (type, Value).
fn asked(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    TlvChain::new(&packet[44..])
        .map(|tlv| tlv.expect("well-formed"))
        .map(|tlv| (tlv.kind, tlv.value.to_vec()))
        .collect()
}

// --- what is sent ----------------------------------------------------------------------------------------------------

/// RFC 8972 section 4: U is set on transmission, the other flags are not.
#[test]
fn every_tlv_leaves_with_u_alone() {
    let requests = TlvRequests {
        location: true,
        timestamp_information: true,
        follow_up: true,
        extension_headers: vec![8, 24],
        fixed_header: Some(40),
        hmac: Some(keys()),
        ..TlvRequests::default()
    };
    let packet = Sending::new(requests, Some(300)).send();
    let tlvs: Vec<_> = TlvChain::new(&packet[44..]).map(|tlv| tlv.expect("well-formed")).collect();
    assert!(tlvs.iter().all(|tlv| tlv.flags == TlvFlags::UNRECOGNIZED));
    // RFC 8972 section 4.8: the HMAC TLV after all others; draft-ietf-ippm-stamp-ext-hdr: fixed headers first.
    assert_eq!(tlvs.iter().map(|tlv| tlv.kind).collect::<Vec<_>>(), [2, 3, 7, 247, 246, 246, 1, 8]);
    assert_eq!(packet.len(), 344);
}

/// RFC 8972 section 4.1: Extra Padding makes packets larger; there is none that leaves one to three octets.
#[test]
fn padding_fills_what_is_left_or_is_refused() {
    let requests = || TlvRequests { timestamp_information: true, ..TlvRequests::default() };
    assert_eq!(TlvPlan::least_len(&requests()), 8);
    assert!(TlvPlan::new(requests(), 7).is_err());
    for len in 9..12 {
        assert!(TlvPlan::new(requests(), len).is_err(), "{len}");
    }
    for len in [8, 12, 13, 1000] {
        assert_eq!(Sending::new(requests(), Some(len)).send().len(), 44 + len);
    }
}

/// RFC 8972 section 4.8: each packet's HMAC covers its own Sequence Number.
#[test]
fn each_packet_is_signed_anew() {
    let mut session = Sending::new(TlvRequests { location: true, hmac: Some(keys()), ..TlvRequests::default() }, None);
    let packets: Vec<_> = (0..3).map(|_| session.send()).collect();
    for (sequence, packet) in (0..).zip(&packets) {
        let covered = packet[44..packet.len() - 20].to_vec();
        let mut expected = signed(covered, sequence, KEY);
        let at = expected.len() - 20;
        expected[at] = TlvFlags::UNRECOGNIZED.0;
        assert_eq!(packet[44..], expected);
    }
}

/// RFC 8972 section 4.8: authenticated packets have an HMAC TLV, whether or not it is asked for.
#[test]
fn authenticated_packets_sign_their_tlvs_with_their_own_key() {
    let requests = TlvRequests { timestamp_information: true, hmac: Some(keys()), ..TlvRequests::default() };
    let mut session = Sending::with(requests, None, |spec| {
        (spec.format, spec.keys) = (PacketFormat::StampAuthenticated, keys());
    });
    let packet = session.send();
    assert_eq!(packet.len(), 112 + 8 + 20);
    let reply = session.reply(&packet, 0, &signed(told(TlvType::TimestampInformation, &[1, 2, 1, 2]), 0, KEY));
    session.now_ns += 3 * LEG_NS;
    session.receive(&reply, 0);
    assert_eq!(session.summary().known(Fact::FarTimestampIn), Some(2));
}

// --- what is read ----------------------------------------------------------------------------------------------------

/// RFC 8972 section 4: of a TLV with U, and of what follows one with M, nothing is used.
#[test]
fn flags_decide_what_is_used() {
    let requests = || TlvRequests { timestamp_information: true, location: true, ..TlvRequests::default() };
    let value = [1, 2, 1, 2];
    let (u, m) = (TlvFlags::UNRECOGNIZED, TlvFlags::MALFORMED);
    let kind = TlvType::TimestampInformation;
    for (tlvs, counter, used) in [
        (vec![(TlvFlags::NONE, kind, &value[..])], None, true),
        (vec![(u, kind, &value[..])], Some("tlv_unrecognized"), false),
        (vec![(m, TlvType::Location, &[][..]), (TlvFlags::NONE, kind, &value)], Some("tlv_malformed"), false),
        (vec![(u, TlvType::Location, &[0; 4][..]), (TlvFlags::NONE, kind, &value)], Some("tlv_unrecognized"), true),
    ] {
        let mut session = Sending::new(requests(), None);
        session.exchange(0, &chain(&tlvs));
        let summary = session.summary();
        assert_eq!(summary.known(Fact::FarTimestampIn).is_some(), used, "{tlvs:?}");
        for name in ["tlv_unrecognized", "tlv_malformed", "tlv_integrity_failed"] {
            assert_eq!(summary.counter(name), Some(u64::from(counter == Some(name))), "{name}");
        }
        assert_eq!(summary.counter("received"), Some(1), "the base packet counts in any case");
    }
}

/// RFC 8972 section 4.8: TLVs that are not authentic are not used, whatever they say.
#[test]
fn nothing_is_used_that_is_not_authentic() {
    let requests = || TlvRequests { timestamp_information: true, hmac: Some(keys()), ..TlvRequests::default() };
    let value = told(TlvType::TimestampInformation, &[1, 2, 1, 2]);
    let mut moved = signed(value.clone(), 5, KEY);
    moved.extend(told(TlvType::TimestampInformation, &[1, 2, 1, 2]));
    let mut said = signed(value.clone(), 5, KEY);
    said[0] = TlvFlags::INTEGRITY.0;
    let cases = [
        ("another key", signed(value.clone(), 5, b"another")),
        ("another number", signed(value.clone(), 4, KEY)),
        ("no HMAC TLV", value.clone()),
        ("not the last one", moved),
        ("the far end says so", said),
        ("nothing at all", Vec::new()),
    ];
    for (what, octets) in cases {
        let mut session = Sending::new(requests(), None);
        session.exchange(5, &octets);
        let summary = session.summary();
        assert_eq!(summary.counter("tlv_integrity_failed"), Some(1), "{what}");
        assert_eq!(summary.known(Fact::FarTimestampIn), None, "{what}");
    }
    let mut session = Sending::new(requests(), None);
    session.exchange(5, &signed(value, 5, KEY));
    assert_eq!(session.summary().known(Fact::FarTimestampIn), Some(2));
}

/// A far end that knows no TLVs sends all of them back as they came, the HMAC's among them: that is no forgery.
#[test]
fn a_far_end_without_tlvs_is_not_an_impostor() {
    let requests = TlvRequests { timestamp_information: true, hmac: Some(keys()), ..TlvRequests::default() };
    let mut session = Sending::new(requests, None);
    let packet = session.send();
    let reply = session.reply(&packet, 0, &packet[44..]);
    session.now_ns += 3 * LEG_NS;
    session.receive(&reply, 0);
    assert_eq!((session.count("tlv_integrity_failed"), session.count("tlv_unrecognized")), (0, 1));
}

/// RFC 8972 section 3: a zero SSID is that of a far end that knows none; whether to go on is the operator's to say.
#[test]
fn a_reply_without_ssid_ends_the_session_where_one_is_required() {
    for (required, finished) in [(false, false), (true, true)] {
        let mut session = Sending::with(TlvRequests::default(), None, |spec| spec.require_ssid = required);
        session.exchange(0, &[]);
        let packet = session.send();
        let mut reply = session.reply(&packet, 1, &[]);
        reply[14..16].fill(0);
        session.now_ns += 3 * LEG_NS;
        session.receive(&reply, 0);
        session.pass(50 * MS);
        assert_eq!(session.count("ssid_zero"), 1);
        assert_eq!(session.sender.is_finished(), finished);
    }
}

/// What was not asked for is not used.
#[test]
fn what_nobody_asked_for_says_nothing() {
    let mut session = Sending::new(TlvRequests { location: true, ..TlvRequests::default() }, None);
    let follow_up = FollowUpTelemetry {
        sequence: 0,
        timestamp: RawTimestamp::encode(START, TimestampFormat::Ntp),
        method: TimestampingMethod::SOFTWARE_LOCAL,
    };
    let mut value = [0; 16];
    follow_up.write(&mut value);
    session.exchange(0, &told(TlvType::FollowUpTelemetry, &value));
    session.exchange(1, &told(TlvType::TimestampInformation, &[1, 2, 1, 2]));
    let summary = session.summary();
    assert_eq!((summary.counter("followed_up"), summary.known(Fact::FarTimestampIn)), (Some(0), None));
}

// --- Class of Service ------------------------------------------------------------------------------------------------

/// RFC 8972 section 4.4: the DSCP that arrived tells of the way there, that of the reply of the way back.
#[test]
fn remarking_is_told_by_direction() {
    let (ef, af41) = (46, 34);
    for (received, reverse, returned, forward, backward, refused) in [
        (ef, 0, af41, 0, 0, 0),
        (0, 0, af41, 1, 0, 0),
        (ef, 0, 0, 0, 1, 0),
        (0, 0, 0, 1, 1, 0),
        // The far end did not use our DSCP: what the reply bears tells nothing.
        (ef, 1, ef, 0, 0, 1),
    ] {
        let requests = TlvRequests { class_of_service: Some((ef, af41)), ..TlvRequests::default() };
        let mut session = Sending::new(requests, None);
        let packet = session.send();
        let mut value = [0; 4];
        ClassOfService {
            wanted_dscp: af41,
            received_dscp: received,
            reverse_path: reverse,
            ..ClassOfService::default()
        }
        .write(&mut value);
        let reply = session.reply(&packet, 0, &told(TlvType::ClassOfService, &value));
        session.now_ns += 3 * LEG_NS;
        session.receive(&reply, returned << 2);
        let counts = ["remarked_forward", "remarked_backward", "dscp_refused"].map(|name| session.count(name));
        assert_eq!(counts, [forward, backward, refused]);
        assert_eq!(
            session.summary().dscp_ecns(twoway_plane::summary::SeenBy::Far).iter().next(),
            Some((received << 2, 1))
        );
    }
}

// --- Follow-Up Telemetry ---------------------------------------------------------------------------------------------

/// Tells that the reply with that number left `late_ns` after its T3, which was at `t3`.
fn follow_up(sequence: u32, t3: WallNanos, late_ns: i64) -> Vec<u8> {
    let mut value = [0; 16];
    FollowUpTelemetry {
        sequence,
        timestamp: RawTimestamp::encode(WallNanos(t3.0 + late_ns), TimestampFormat::Ntp),
        method: TimestampingMethod::SOFTWARE_LOCAL,
    }
    .write(&mut value);
    told(TlvType::FollowUpTelemetry, &value)
}

fn asking_for_follow_ups() -> Sending {
    Sending::with(TlvRequests { follow_up: true, ..TlvRequests::default() }, None, |spec| {
        spec.ledger.reflector_mode = ReflectorMode::Stateful;
    })
}

/// T3 of the reply to packet `number`.
fn t3(number: i64) -> WallNanos {
    WallNanos(START.0 + number * INTERVAL_NS + 2 * LEG_NS)
}

/// RFC 8972 section 4.7: the Follow-Up Timestamp is the T3 of the reply with that number, and what was measured is by it.
#[test]
fn a_follow_up_corrects_the_reply_before() {
    let mut session = asking_for_follow_ups();
    session.exchange(0, &told(TlvType::FollowUpTelemetry, &[0; 16]));
    assert_eq!(
        session.summary().distribution("round_trip").map(twoway_plane::distribution::Distribution::count),
        Some(0),
        "it waits"
    );
    session.exchange(1, &follow_up(0, t3(0), 200_000));
    let summary = session.summary();
    let backward = summary.distribution("backward").expect("known");
    // The reply left later than it said, so the way back took less time, and the far end more.
    assert_eq!((backward.count(), backward.max()), (1, Some(LEG_NS - 200_000)));
    assert_eq!(
        summary.distribution("residence").and_then(twoway_plane::distribution::Distribution::max),
        Some(LEG_NS + 200_000)
    );
    assert_eq!(
        summary.distribution("follow_up_correction").and_then(twoway_plane::distribution::Distribution::max),
        Some(200_000)
    );
    assert_eq!((summary.counter("followed_up"), summary.counter("not_followed_up")), (Some(1), Some(0)));
}

/// A follow-up that never comes leaves the reply its own T3, and is counted.
#[test]
fn a_reply_that_nothing_follows_keeps_its_t3() {
    let mut session = asking_for_follow_ups();
    session.exchange(0, &told(TlvType::FollowUpTelemetry, &[0; 16]));
    // The next one is lost; the one after tells of the lost one.
    session.send();
    session.exchange(2, &follow_up(1, t3(1), 100_000));
    session.pass(6 * INTERVAL_NS);
    let summary = session.summary();
    let backward = summary.distribution("backward").expect("known");
    assert_eq!((backward.min(), backward.max()), (Some(LEG_NS), Some(LEG_NS)));
    assert_eq!((summary.counter("followed_up"), summary.counter("not_followed_up")), (Some(0), Some(2)));
}

/// A departure before the arrival, or long after T3, is not of that reply.
#[test]
fn what_cannot_be_a_departure_changes_nothing() {
    for late_ns in [-LEG_NS - 1, 2_000_000_000] {
        let mut session = asking_for_follow_ups();
        session.exchange(0, &told(TlvType::FollowUpTelemetry, &[0; 16]));
        session.exchange(1, &follow_up(0, t3(0), late_ns));
        session.pass(6 * INTERVAL_NS);
        let summary = session.summary();
        assert_eq!(
            summary.distribution("backward").and_then(twoway_plane::distribution::Distribution::max),
            Some(LEG_NS),
            "{late_ns}"
        );
        assert_eq!(summary.counter("followed_up"), Some(0), "{late_ns}");
    }
}

/// RFC 8972 section 4.7: a Session-Reflector without state has nothing to tell, and nothing is waited for.
#[test]
fn a_far_end_without_state_is_not_waited_for() {
    let mut session = Sending::with(TlvRequests { follow_up: true, ..TlvRequests::default() }, None, |spec| {
        spec.ledger.reflector_mode = ReflectorMode::Stateless;
    });
    session.exchange(0, &told(TlvType::FollowUpTelemetry, &[0; 16]));
    assert_eq!(
        session.summary().distribution("round_trip").map(twoway_plane::distribution::Distribution::count),
        Some(1)
    );
}

proptest! {
    /// Whichever follow-ups come, each reply is measured once, by the one that is its own or by its own T3.
    #[test]
    fn every_reply_is_measured_once(fates in proptest::collection::vec((any::<bool>(), any::<bool>(), 0..900_000i64), 1..40)) {
        let mut session = asking_for_follow_ups();
        let mut expected = Vec::new();
        let mut number = 0u32;
        let mut previous: Option<(u32, WallNanos)> = None;
        for (at, (comes, tells, late_ns)) in (0i64..).zip(&fates) {
            if !comes {
                session.send();
                // The far end answered: the next one tells of this reply, which nobody has seen.
                previous = Some((number, t3(at)));
                number += 1;
                continue;
            }
            let mut octets = told(TlvType::FollowUpTelemetry, &[0; 16]);
            if let Some((before, when)) = previous.filter(|_| *tells) {
                octets = follow_up(before, when, *late_ns);
                if let Some((_, correction)) = expected.iter_mut().find(|(known, _)| *known == before) {
                    *correction = *late_ns;
                }
            }
            session.exchange(number, &octets);
            expected.push((number, 0));
            previous = Some((number, t3(at)));
            number += 1;
        }
        session.pass(6 * INTERVAL_NS);
        let summary = session.summary();
        let backward = summary.distribution("backward").expect("known");
        prop_assert_eq!(backward.count(), expected.len() as u64);
        let told: i64 = expected.iter().map(|(_, correction)| correction).sum();
        let corrected = summary.measure(Measure::FollowUpCorrection);
        let sum = corrected.mean().map_or(0.0, |mean| mean * corrected.count() as f64);
        prop_assert!((sum - told as f64).abs() < 1000.0, "{} {}", sum, told);
        let counted = summary.counter("followed_up").zip(summary.counter("not_followed_up")).map(|(a, b)| a + b);
        prop_assert_eq!(counted, Some(expected.len() as u64));
    }
}

// --- Direct Measurement ----------------------------------------------------------------------------------------------

/// RFC 8972 section 4.5: loss by the counters of both ends, between two replies that tell them.
#[test]
fn loss_is_counted_by_both_ends() {
    let requests = TlvRequests { direct_measurement: true, ..TlvRequests::default() };
    let mut session = Sending::new(requests, None);
    let mut far = (0u32, 0u32);
    let value_of = |packet: &[u8], far: &mut (u32, u32)| {
        far.0 += 1;
        far.1 += 1;
        let sender_sent = u32::from_be_bytes(asked(packet)[0].1[..4].try_into().expect("four"));
        let mut value = [0; 12];
        DirectMeasurement { sender_sent, reflector_received: far.0, reflector_sent: far.1 }.write(&mut value);
        value
    };
    // Of twenty packets, 3 are lost on the way there, 2 replies on the way back.
    for number in 0..20 {
        let packet = session.send();
        assert_eq!(asked(&packet)[0].1[..4], (number + 1u32).to_be_bytes(), "S_TxC: test packets with this one");
        if [3, 4, 9].contains(&number) {
            continue;
        }
        let value = value_of(&packet, &mut far);
        if [7, 12].contains(&number) {
            continue;
        }
        let reply = session.reply(&packet, far.1 - 1, &told(TlvType::DirectMeasurement, &value));
        session.now_ns += 3 * LEG_NS;
        session.receive(&reply, 0);
    }
    let names = ["direct_sent", "direct_received", "direct_reflected", "direct_returned"];
    assert_eq!(names.map(|name| session.count(name)), [19, 16, 16, 14]);
}

/// Counters that wrap, and a far end that begins anew.
#[test]
fn counters_are_compared_modulo_their_size() {
    let requests = || TlvRequests { direct_measurement: true, ..TlvRequests::default() };
    let exchange = |session: &mut Sending, counts: [u32; 2], sequence| {
        let mut value = [0; 12];
        DirectMeasurement { sender_sent: sequence + 1, reflector_received: counts[0], reflector_sent: counts[1] }
            .write(&mut value);
        session.exchange(sequence, &told(TlvType::DirectMeasurement, &value));
    };
    let mut session = Sending::new(requests(), None);
    exchange(&mut session, [u32::MAX, u32::MAX], 0);
    exchange(&mut session, [0, 0], 1);
    assert_eq!(["direct_sent", "direct_received", "direct_reflected"].map(|name| session.count(name)), [1, 1, 1]);
    let mut session = Sending::new(requests(), None);
    exchange(&mut session, [1000, 1000], 0);
    exchange(&mut session, [1, 1], 1);
    exchange(&mut session, [2, 2], 2);
    assert_eq!(["direct_sent", "direct_received", "direct_reflected"].map(|name| session.count(name)), [1, 1, 1]);
}

// --- Access Report ---------------------------------------------------------------------------------------------------

const AVAILABLE: AccessReport = AccessReport { access: AccessId::ThreeGpp, return_code: ReturnCode::AVAILABLE };

fn reporting(timer_ns: i64, retransmissions: u32) -> Sending {
    let request = AccessRequest { report: AVAILABLE, timer_ns, retransmissions };
    Sending::new(TlvRequests { access_report: Some(request), ..TlvRequests::default() }, None)
}

fn reports(packet: &[u8]) -> bool {
    asked(packet).iter().any(|(kind, _)| *kind == TlvType::AccessReport.code())
}

/// RFC 8972 section 4.6: sent again when the timer expires, so often, and then given up.
#[test]
fn an_access_report_is_sent_again_and_then_given_up() {
    let mut session = reporting(3 * INTERVAL_NS, 2);
    let sent: Vec<_> = (0..12).map(|_| reports(&session.send())).collect();
    let expected = [true, false, false, true, false, false, true, false, false, false, false, false];
    assert_eq!(sent, expected);
    let names = ["access_reports_sent", "access_reports_acknowledged", "access_reports_abandoned"];
    assert_eq!(names.map(|name| session.count(name)), [3, 0, 1]);
}

/// RFC 8972 section 4.6: a reply with the TLV disarms the timer; packets keep their length without it.
#[test]
fn an_acknowledged_report_is_not_sent_again() {
    let mut session = reporting(3 * INTERVAL_NS, 4);
    let packet = session.exchange(0, &told(TlvType::AccessReport, &[0x10, 1, 0, 0]));
    let after: Vec<_> = (0..8).map(|_| session.send()).collect();
    assert!(after.iter().all(|later| !reports(later) && later.len() == packet.len()));
    assert_eq!(asked(&after[0]), [(1, vec![0; 4])], "Extra Padding in its place");
    // Another state is reported from the next packet on; the old acknowledgement is not one of it.
    let gone = AccessReport { return_code: ReturnCode::UNAVAILABLE, ..AVAILABLE };
    session.sender.report_access(gone);
    let packet = session.exchange(1, &told(TlvType::AccessReport, &[0x10, 1, 0, 0]));
    assert_eq!(asked(&packet), [(6, vec![0x10, 2, 0, 0])]);
    let acknowledged = session.count("access_reports_acknowledged");
    session.pass(3 * INTERVAL_NS);
    let packet = session.exchange(2, &told(TlvType::AccessReport, &[0x10, 2, 0, 0]));
    assert!(reports(&packet));
    assert_eq!((acknowledged, session.count("access_reports_acknowledged")), (1, 2));
}

// --- Destination Node Address, Return Path, Micro-session ID, Reflected Test Packet Control --------------------------------

/// RFC 9503 sections 3 and 4: U says another node, and that the reply went the ordinary way.
#[test]
fn what_was_refused_is_counted_by_its_name() {
    for (requests, kind, value, counter) in [
        (
            TlvRequests { destination_node: Some("192.0.2.1".parse().expect("address")), ..TlvRequests::default() },
            TlvType::DestinationNodeAddress,
            vec![192, 0, 2, 1],
            "other_node",
        ),
        (
            TlvRequests { return_path: Some(WayBack::SameLink), ..TlvRequests::default() },
            TlvType::ReturnPath,
            vec![0x80, 1, 0, 4, 0, 0, 0, 1],
            "return_path_refused",
        ),
        (
            TlvRequests { fixed_header: Some(20), ..TlvRequests::default() },
            TlvType::ReflectedFixedHeader,
            vec![0; 20],
            "headers_refused",
        ),
    ] {
        for (flags, expected) in [(TlvFlags::NONE, 0), (TlvFlags::UNRECOGNIZED, 1)] {
            let mut session = Sending::new(requests.clone(), None);
            session.exchange(0, &chain(&[(flags, kind, &value)]));
            assert_eq!(session.count(counter), expected, "{counter}");
        }
    }
}

/// RFC 9503 section 4.1.1: who asks for no reply expects none, and loses nothing.
#[test]
fn packets_that_ask_for_no_reply_are_not_lost() {
    let requests = TlvRequests { return_path: Some(WayBack::NoReply), ..TlvRequests::default() };
    let mut session = Sending::with(requests, None, |spec| spec.count = Some(3));
    (0..3).for_each(|_| drop(session.send()));
    session.pass(3 * TIMEOUT_NS);
    assert!(session.sender.is_finished());
    let lost: u64 = ["lost_forward", "lost_backward", "lost_unattributed"].map(|name| session.count(name)).iter().sum();
    assert_eq!((session.count("sent"), lost), (3, 0));
}

/// RFC 9534 section 3.2: a reply of another member link is discarded; the reflector's ID is learned from the first one.
#[test]
fn replies_of_another_link_are_discarded() {
    let requests =
        TlvRequests { micro_session: Some(MicroSessionId { sender: 7, reflector: 0 }), ..TlvRequests::default() };
    let mut session = Sending::new(requests, None);
    let id = |sender: u16, reflector: u16| {
        told(TlvType::MicroSessionId, &[sender.to_be_bytes(), reflector.to_be_bytes()].concat())
    };
    session.exchange(0, &id(8, 11));
    session.exchange(1, &id(7, 0));
    assert_eq!(session.count("rejected_micro_session"), 2);
    let packet = session.exchange(2, &id(7, 11));
    assert_eq!(asked(&packet), [(11, vec![0, 7, 0, 0])]);
    let packet = session.exchange(3, &id(7, 12));
    assert_eq!(asked(&packet), [(11, vec![0, 7, 0, 11])], "learned");
    assert_eq!((session.count("rejected_micro_session"), session.count("received")), (3, 1));
}

/// RFC 10052 section 3: further replies are no duplicates, and those that are missing are counted.
#[test]
fn further_replies_are_awaited_and_counted() {
    let control = ReflectedControl { length: 0, count: 3, interval_ns: 1_000_000 };
    let requests = TlvRequests {
        control: Some(ControlRequest { control, layer_2: None, layer_3: None }),
        ..TlvRequests::default()
    };
    let mut session = Sending::with(requests, None, |spec| spec.count = Some(2));
    let mut number = 0;
    for missing in [0, 1] {
        let packet = session.send();
        let mut octets = packet[44..].to_vec();
        reflect_tlvs(&mut octets, |_| TlvFlags::NONE);
        for _ in 0..3 - missing {
            let reply = session.reply(&packet, number, &octets);
            session.now_ns += MS;
            session.receive(&reply, 0);
            number += 1;
        }
    }
    session.pass(30 * MS);
    assert!(!session.sender.is_finished(), "one is still awaited");
    session.pass(TIMEOUT_NS);
    assert!(session.sender.is_finished());
    let names = ["received", "further_expected", "further_replies", "duplicates_unattributed", "control_refused"];
    assert_eq!(names.map(|name| session.count(name)), [2, 4, 3, 0, 0]);
}

/// RFC 10052 section 3: C and U say that there is one reply.
#[test]
fn a_refused_control_promises_nothing() {
    let control = ReflectedControl { length: 0, count: 3, interval_ns: 1_000_000 };
    let requests = TlvRequests {
        control: Some(ControlRequest { control, layer_2: None, layer_3: None }),
        ..TlvRequests::default()
    };
    for flags in [TlvFlags::CONFORMANT, TlvFlags::UNRECOGNIZED] {
        let mut session = Sending::with(requests.clone(), None, |spec| spec.count = Some(1));
        let packet = session.send();
        let mut octets = packet[44..].to_vec();
        octets[0] = flags.0;
        let reply = session.reply(&packet, 0, &octets);
        session.now_ns += 3 * LEG_NS;
        session.receive(&reply, 0);
        session.pass(30 * MS);
        assert!(session.sender.is_finished());
        assert_eq!((session.count("control_refused"), session.count("further_expected")), (1, 0));
    }
}
