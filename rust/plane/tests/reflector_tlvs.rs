//! What the Session-Reflector does about each STAMP TLV; the RFC section of each rule stands at its test.

mod asking;

use self::asking::*;

use proptest::prelude::*;
use twoway_plane::reflector::allow::AllowList;
use twoway_plane::reflector::arrivals::NoArrivals;
use twoway_plane::reflector::dispositions::Disposition;
use twoway_plane::reflector::extensions::{LocationPolicy, TlvPolicy};
use twoway_plane::reflector::routes::{PlainRoutes, ReplyRoute, ReturnPathPolicy};
use twoway_plane::session_reflector::{RequestMeta, SessionReflector, Verdict};
use twoway_wire::packet::PacketFormat;
use twoway_wire::timestamp::{TimestampFormat, WallNanos};
use twoway_wire::tlv::access_report::{AccessId, ReturnCode};
use twoway_wire::tlv::class_of_service::ReplyEcn;
use twoway_wire::tlv::return_path::SRV6_SEGMENT_LIST;
use twoway_wire::tlv::{
    AccessReport, ClassOfService, DirectMeasurement, FollowUpTelemetry, HMAC_TLV_LEN, HmacPlace, Location,
    LocationRequest, MicroSessionId, NodeAddress, ReturnPath, SegmentList, SyncSource, TimestampInformation,
    TimestampingMethod, TlvChain, TlvType, verify_tlvs,
};
use twoway_wire::{ErrorEstimate, TestKeys};

// --- framing and flags -----------------------------------------------------------------------------------------------

/// RFC 8972 section 4: every flag is derived anew, order, number and Values of what asks for nothing stay.
#[test]
fn a_chain_comes_back_in_its_order() {
    let mut octets = [tlv(TlvType::ExtraPadding, &[9; 5]), made(TlvType::ClassOfService, 4, |_| ())].concat();
    octets.extend([0xff, 200, 0, 1, 5]);
    octets.extend(tlv(TlvType::ExtraPadding, &[]));
    let answer = ask(&mut engine(), &octets);
    assert_eq!(answer.tlvs().iter().map(|tlv| tlv.kind).collect::<Vec<_>>(), [1, 4, 200, 1]);
    assert_eq!(answer.flags(), [NONE, NONE, U, NONE]);
    assert_eq!(answer.tlvs()[0].value, [9; 5]);
}

/// RFC 8972 section 4: at a malformed TLV processing stops, M is set, and the remainder is copied as it came.
#[test]
fn what_follows_a_malformed_tlv_is_copied() {
    let good = made(TlvType::TimestampInformation, 4, |_| ());
    for bad in [&[0x80, 7, 0, 15][..], &[0x80, 8, 0, 0], &[0x80, 11, 0, 3, 1, 2, 3], &[0x80, 254, 0, 3, 1, 2, 3]] {
        let mut octets = good.clone();
        let at = octets.len();
        octets.extend(bad);
        octets.extend([0; 15]);
        octets.extend(&good);
        let answer = ask(&mut engine(), &octets);
        assert_eq!((answer.chain[0], answer.chain[4]), (0, 1), "the TLV before it keeps its result");
        assert_eq!(answer.chain[at], M.0);
        assert_eq!(answer.chain[at + 1..], octets[at + 1..]);
    }
}

/// RFC 8972 section 4.7 (erratum 8339): in a Follow-Up Telemetry of the wrong Length both fields are zeroed.
#[test]
fn a_malformed_follow_up_is_zeroed() {
    let answer = ask(&mut engine(), &tlv(TlvType::FollowUpTelemetry, &[0xAA; 17]));
    assert_eq!(answer.chain[..4], [M.0, 7, 0, 17]);
    assert_eq!(answer.chain[4..], [&[0; 12][..], &[0xAA; 5]].concat());
}

/// RFC 8972 section 4: "will indicate specific TLVs that it did not process by setting the U flag".
#[test]
fn the_second_of_a_kind_is_not_processed() {
    let cos = made(TlvType::ClassOfService, 4, |_| ());
    let answer = ask(&mut engine(), &[cos.clone(), cos.clone()].concat());
    assert_eq!(answer.flags(), [NONE, U]);
    assert_eq!(answer.tlvs()[1].value, [0; 4]);
}

#[test]
fn a_chain_of_a_thousand_is_one_pass() {
    let octets = [0x80, 9, 0, 0].repeat(900);
    assert_eq!(ask(&mut engine(), &octets).chain[0], M.0, "Destination Node Address has 4 or 16 octets");
    let octets = tlv(TlvType::ExtraPadding, &[]).repeat(900);
    assert!(ask(&mut engine(), &octets).flags().iter().all(|flags| *flags == NONE));
    // Nested: every sub-TLV is answered, and the last, which goes beyond its parent, takes the parent with it.
    let nested = |last: &[u8]| tlv(TlvType::Location, &[&[0; 4], &[0x80, 77, 0, 0].repeat(900)[..], last].concat());
    let answer = ask(&mut engine(), &nested(&[]));
    assert_eq!(answer.flags(), [NONE]);
    assert!(TlvChain::new(&answer.value()[4..]).flatten().all(|sub| sub.flags == U));
    let answer = ask(&mut engine(), &nested(&[0x80, 4, 0, 16]));
    assert_eq!((answer.flags(), answer.value()[4 + 4 * 900]), (vec![M], M.0));
    assert_eq!(answer.value()[..4], [0; 4], "nothing of it was done");
}

// --- Location --------------------------------------------------------------------------------------------------------

/// RFC 8972 section 4.2.2: ports and addresses of the request as it arrived, specific sub-TLVs in place of generic ones.
#[test]
fn location_tells_what_arrived() {
    let asked = chain(|writer| LocationRequest::ALL.write(writer).expect("room"));
    let answer = ask(&mut engine(), &asked);
    assert_eq!(answer.flags(), [NONE]);
    let told = Location::parse(answer.value()).expect("a Location");
    assert_eq!((told.destination_port, told.source_port), (862, 40_000));
    assert_eq!((told.destination, told.source), (Some(ip("192.0.2.1")), Some(ip("198.51.100.9"))));
    let kinds: Vec<_> = TlvChain::new(&answer.value()[4..]).flatten().map(|tlv| (tlv.flags, tlv.kind)).collect();
    // A socket does not know the MAC address: an EUI-64 of zeros, as for a packet that has none.
    assert_eq!(kinds, [(NONE, 3), (NONE, 5), (NONE, 8)]);
    assert_eq!(answer.value()[8..16], [0; 8]);

    let six = RequestMeta { source: address("[2001:db8::9]:5"), destination: address("[2001:db8::1]:862"), ..meta() };
    let answer = ask_as(&mut engine(), &request(&asked), &six).expect("a reply");
    let told = Location::parse(answer.value()).expect("a Location");
    assert_eq!((told.destination, told.source), (Some(ip("2001:db8::1")), Some(ip("2001:db8::9"))));
}

/// RFC 8972 section 4.2.2: policy may keep fields back, which are then zero.
#[test]
fn location_is_kept_back_by_policy() {
    let asked = chain(|writer| LocationRequest::ALL.write(writer).expect("room"));
    for (location, ports) in [(LocationPolicy::Ports, (862, 40_000)), (LocationPolicy::Nothing, (0, 0))] {
        let answer = ask(&mut engine_with(TlvPolicy { location, ..tlvs() }, &[], true), &asked);
        let told = Location::parse(answer.value()).expect("a Location");
        assert_eq!((told.destination_port, told.source_port), ports);
        assert_eq!((told.destination, told.source, told.source_mac), (None, None, None));
    }
}

/// RFC 8972 section 4.2.1: flags of sub-TLVs as of TLVs; one that goes beyond its parent makes that malformed too.
#[test]
fn sub_tlvs_have_flags_of_their_own() {
    let unknown = tlv(TlvType::Location, &[0, 0, 0, 0, 0x80, 77, 0, 1, 5]);
    let answer = ask(&mut engine(), &unknown);
    assert_eq!((answer.chain[0], answer.chain[8..].to_vec()), (0, vec![U.0, 77, 0, 1, 5]));
    for bad in [&[0x80, 4, 0, 17][..], &[0x80, 1, 0, 4, 0, 0, 0, 0], &[0x80, 77, 0xff, 0xff]] {
        let asked = tlv(TlvType::Location, &[&[0; 4], bad].concat());
        let answer = ask(&mut engine(), &asked);
        assert_eq!((answer.chain[0], answer.chain[8]), (M.0, M.0));
        assert_eq!(answer.chain[4..8], [0; 4], "a malformed TLV is not processed");
    }
}

// --- Timestamp Information -------------------------------------------------------------------------------------------

/// RFC 8972 section 4.3: all four fields are about the Session-Reflector.
#[test]
fn timestamp_information_tells_of_this_clock() {
    let asked = made(TlvType::TimestampInformation, 4, |_| ());
    let told = |engine: &mut SessionReflector| TimestampInformation::parse(ask(engine, &asked).value()).expect("4");
    let by_kernel = told(&mut engine());
    assert_eq!((by_kernel.sync_source_in, by_kernel.sync_source_out), (SyncSource::NTP, SyncSource::NTP));
    assert_eq!(by_kernel.timestamp_in, TimestampingMethod::SOFTWARE_LOCAL);
    assert_eq!(by_kernel.timestamp_out, TimestampingMethod::SOFTWARE_LOCAL);
    let mut free = engine();
    free.know_clock(false);
    assert_eq!(told(&mut free).sync_source_in, SyncSource::FREE_RUNNING);
    let mut said = engine_with(TlvPolicy { sync_source: Some(SyncSource::PTP), ..tlvs() }, &[], true);
    said.know_clock(true);
    assert_eq!(told(&mut said).sync_source_out, SyncSource::PTP);
}

// --- Class of Service ------------------------------------------------------------------------------------------------

fn class_of_service(engine: &mut SessionReflector, asked: ClassOfService) -> (ClassOfService, u8) {
    let answer = ask(engine, &made(TlvType::ClassOfService, 4, |value| asked.write(value)));
    assert_eq!(answer.flags(), [NONE]);
    (ClassOfService::parse(answer.value()).expect("4 octets"), answer.pending.dscp_ecn())
}

/// RFC 8972 section 4.4 (erratum 8199): DSCP and ECN as they arrived, and DSCP1 in the reply's header if permitted.
#[test]
fn class_of_service_chooses_the_reply_and_tells_what_arrived() {
    let (told, sent) = class_of_service(&mut engine(), ClassOfService { wanted_dscp: 34, ..ClassOfService::default() });
    assert_eq!((told.wanted_dscp, told.received_dscp, told.received_ecn), (34, 46, 0b01));
    assert_eq!((told.reverse_path, told.reply_ecn), (0, ReplyEcn::UNUSED));
    assert_eq!(sent, 34 << 2);
}

/// RFC 8972 section 4.4: otherwise the DSCP that arrived, and RP is 1.
#[test]
fn a_dscp_that_is_not_permitted_is_not_used() {
    let mut engine = engine_with(TlvPolicy { permitted_dscps: 1 << 10, ..tlvs() }, &[], true);
    let (told, sent) = class_of_service(&mut engine, ClassOfService { wanted_dscp: 34, ..ClassOfService::default() });
    assert_eq!((told.reverse_path, told.received_dscp, sent), (1, 46, 46 << 2));
    assert_eq!(engine.counters().tlvs.dscps_refused, 1);
    let (told, sent) = class_of_service(&mut engine, ClassOfService { wanted_dscp: 10, ..ClassOfService::default() });
    assert_eq!((told.reverse_path, sent), (0, 10 << 2));
}

/// draft-ietf-ippm-stamp-cos-ecn section 3.2: EC1 in the reply's header, and RPE says so.
#[test]
fn an_ecn_is_applied_on_request() {
    let asked = ClassOfService { wanted_dscp: 10, wanted_ecn: 0b10, ..ClassOfService::default() };
    let (told, sent) = class_of_service(&mut engine(), asked);
    assert_eq!((told.wanted_ecn, told.reply_ecn, sent), (0b10, ReplyEcn::APPLIED, 10 << 2 | 0b10));
}

// --- Direct Measurement ----------------------------------------------------------------------------------------------

/// RFC 8972 section 4.5: S_TxC is copied, R_RxC and R_TxC are this end's.
#[test]
fn direct_measurement_counts_the_session() {
    let mut engine = engine();
    for number in 1..5 {
        if number == 3 {
            // One whose reply the kernel refuses: received, but not sent.
            let mut room = vec![0; ROOM];
            let octets = request(&[]);
            room[..octets.len()].copy_from_slice(&octets);
            let meta = RequestMeta { len: octets.len(), ..meta() };
            let Verdict::Reply(pending) = engine.handle(&mut room, &meta, SECOND, &mut PlainRoutes, &mut NoArrivals)
            else {
                panic!("a reply")
            };
            engine.write(&pending, NOW, ErrorEstimate::UNKNOWN, &mut room).expect("written");
            engine.take_back(&pending);
            engine.not_sent(&pending);
            continue;
        }
        let asked = DirectMeasurement { sender_sent: 1000 + number, ..DirectMeasurement::default() };
        let answer = ask(&mut engine, &made(TlvType::DirectMeasurement, 12, |value| asked.write(value)));
        let told = DirectMeasurement::parse(answer.value()).expect("12 octets");
        let sent = if number > 3 { number - 1 } else { number };
        assert_eq!((told.sender_sent, told.reflector_received, told.reflector_sent), (1000 + number, number, sent));
    }
}

/// Nothing is counted where no state is kept.
#[test]
fn a_stateless_reflector_does_not_count() {
    let mut engine = engine_with(tlvs(), &[], false);
    let answer = ask(&mut engine, &made(TlvType::DirectMeasurement, 12, |_| ()));
    assert_eq!((answer.flags(), answer.value().to_vec()), (vec![U], vec![0; 12]));
}

// --- Access Report ---------------------------------------------------------------------------------------------------

/// RFC 8972 section 4.6: Access ID and Return Code come back; any other Access ID is to be discarded.
#[test]
fn access_reports_are_acknowledged() {
    let mut engine = engine();
    for (access, return_code) in [
        (AccessId::ThreeGpp, ReturnCode::AVAILABLE),
        (AccessId::NonThreeGpp, ReturnCode::UNAVAILABLE),
        (AccessId::ThreeGpp, ReturnCode(130)),
    ] {
        let report = AccessReport { access, return_code };
        let answer = ask(&mut engine, &made(TlvType::AccessReport, 4, |value| report.write(value)));
        assert_eq!((answer.flags(), AccessReport::parse(answer.value())), (vec![NONE], Some(report)));
    }
    let answer = ask(&mut engine, &tlv(TlvType::AccessReport, &[0x30, 1, 0, 0]));
    assert_eq!(answer.flags(), [U]);
    let counters = engine.counters().tlvs;
    assert_eq!((counters.access_available, counters.access_unavailable), (1, 2));
}

// --- Follow-Up Telemetry ---------------------------------------------------------------------------------------------

fn follow_up(engine: &mut SessionReflector) -> (FollowUpTelemetry, Answer) {
    let answer = ask(engine, &tlv(TlvType::FollowUpTelemetry, &[0xAB; 16]));
    assert_eq!(answer.flags(), [NONE]);
    (FollowUpTelemetry::parse(answer.value()).expect("16 octets"), answer)
}

/// RFC 8972 section 4.7: number and departure of the previous reply; nothing about the first, nothing that is not known.
#[test]
fn follow_up_tells_when_the_reply_before_left() {
    let mut engine = engine();
    let (told, first) = follow_up(&mut engine);
    assert_eq!(told, FollowUpTelemetry::default());
    let left = WallNanos(NOW.0 + 25_000);
    engine.departed(first.pending.followed_up().expect("asked for"), first.sequence, left);
    let (told, second) = follow_up(&mut engine);
    assert_eq!((told.sequence, told.method), (0, TimestampingMethod::SOFTWARE_LOCAL));
    assert_eq!(told.timestamp.decode(TimestampFormat::Ntp, NOW), Ok(left));
    assert_eq!(second.sequence, 1);
    // Its own departure has not been reported: that of an earlier reply would be another answer.
    let (told, _) = follow_up(&mut engine);
    assert_eq!(told, FollowUpTelemetry::default());
}

/// RFC 8972 section 4.7: a stateless Session-Reflector zeroes both fields.
#[test]
fn a_stateless_reflector_has_nothing_to_follow_up() {
    let (told, answer) = follow_up(&mut engine_with(tlvs(), &[], false));
    assert_eq!((told, answer.pending.followed_up()), (FollowUpTelemetry::default(), None));
}

// --- HMAC ------------------------------------------------------------------------------------------------------------

/// RFC 8972 section 4.8: verified before use; the reply's is over its own Sequence Number and its own TLVs.
#[test]
fn an_hmac_tlv_is_verified_and_made_anew() {
    for after in [&[][..], &tlv(TlvType::ExtraPadding, &[1; 9])] {
        let mut engine = engine();
        ask(&mut engine, &[]);
        let asked = signed(KEY, 7, &made(TlvType::TimestampInformation, 4, |_| ()), after);
        let answer = ask(&mut engine, &asked);
        assert!(answer.flags().iter().all(|flags| *flags == NONE));
        assert_eq!((answer.sequence, answer.chain[4]), (1, 1));
        let place = HmacPlace::At(8);
        assert!(verify_tlvs(&TestKeys::Stamp(stamp_key(KEY)), 1, &answer.chain, place));
        assert!(!verify_tlvs(&TestKeys::Stamp(stamp_key(KEY)), 7, &answer.chain, place));
    }
}

/// RFC 8972 section 4.8: a failed verification stops processing, and sets I in each TLV that is copied.
#[test]
fn nothing_of_what_does_not_verify_is_used() {
    let cos = made(TlvType::ClassOfService, 4, |value| value[0] = 34 << 2);
    let right = signed(KEY, 7, &cos, &[]);
    let mut damaged = right.clone();
    damaged[5] ^= 1;
    let wrong_key = signed(OTHER_KEY, 7, &cos, &[]);
    let wrong_number = signed(KEY, 8, &cos, &[]);
    let misplaced = signed(KEY, 7, &[], &cos);
    let twice = signed(KEY, 7, &right, &[]);
    let malformed_after = [&right[..], &[0x80, 1, 0, 9]].concat();
    for failed in [&damaged, &wrong_key, &wrong_number, &misplaced, &twice, &malformed_after] {
        let mut engine = engine();
        let answer = ask(&mut engine, failed);
        let flags: Vec<_> = TlvChain::new(&answer.chain).flatten().map(|tlv| tlv.flags).collect();
        assert!(flags.iter().all(|flags| flags.contains(I)), "{flags:?}");
        let without_flags = |octets: &[u8]| -> Vec<_> {
            TlvChain::new(octets).flatten().map(|tlv| (tlv.kind, tlv.value.to_vec())).collect()
        };
        assert_eq!(without_flags(&answer.chain), without_flags(failed), "copied, and not signed anew");
        assert_eq!(answer.pending.dscp_ecn(), 46 << 2, "DSCP1 is not used");
        assert_eq!(engine.counters().tlvs.integrity_failed, 1);
    }
    // Nobody has a key.
    let answer = ask(&mut engine_with(tlvs(), &[], true), &right);
    assert_eq!(answer.flags(), [I, I]);
}

/// RFC 8972 section 4.8: authenticated packets need it, but for a lone Extra Padding; others where policy says so.
#[test]
fn an_hmac_tlv_is_missed_where_it_must_be() {
    let padding = tlv(TlvType::ExtraPadding, &[0; 8]);
    let cos = made(TlvType::ClassOfService, 4, |_| ());
    let authenticated = |chain: &[u8]| {
        let octets = request_numbered(PacketFormat::StampAuthenticated, 7, chain);
        ask_as(&mut engine(), &octets, &meta()).expect("a reply").flags()
    };
    assert_eq!(authenticated(&padding), [NONE]);
    assert_eq!(authenticated(&[padding.clone(), padding.clone()].concat()), [I, I]);
    assert_eq!(authenticated(&cos), [I]);
    assert_eq!(authenticated(&signed(KEY, 7, &cos, &[])), [NONE, NONE]);
    let mut strict = engine_with(TlvPolicy { require_hmac: true, ..tlvs() }, &[KEY], true);
    assert_eq!(ask(&mut strict, &cos).flags(), [I]);
    assert_eq!(ask(&mut strict, &padding).flags(), [NONE]);
    assert_eq!(ask(&mut strict, &signed(KEY, 7, &cos, &[])).flags(), [NONE, NONE]);
}

// --- Destination Node Address ----------------------------------------------------------------------------------------

/// RFC 9503 section 3: U if it is another node's; else the reply comes from there.
#[test]
fn the_reply_comes_from_the_node_that_was_meant() {
    let asked = |address: &str| {
        let node = NodeAddress(ip(address));
        made(TlvType::DestinationNodeAddress, node.value_len(), |value| node.write(value))
    };
    let answer = ask(&mut engine(), &asked("192.0.2.2"));
    assert_eq!((answer.flags(), answer.pending.source()), (vec![NONE], Some(ip("192.0.2.2"))));
    let answer = ask(&mut engine(), &asked("192.0.2.1"));
    assert_eq!((answer.flags(), answer.pending.source()), (vec![NONE], None));
    for other in ["192.0.2.3", "2001:db8::1"] {
        let answer = ask(&mut engine(), &asked(other));
        assert_eq!((answer.flags(), answer.pending.source()), (vec![U], None));
    }
}

// --- Return Path -----------------------------------------------------------------------------------------------------

/// RFC 9503 section 4.1.1: no reply at all.
#[test]
fn no_reply_is_sent_where_none_is_wanted() {
    let mut engine = engine();
    let refused = ask_as(&mut engine, &request(&return_path(ReturnPath::NoReply)), &meta()).map(|_| ());
    assert_eq!(refused, Err(Disposition::NoReplyRequested));
}

/// RFC 9503 sections 4.1.1 and 4.1.2: by the link that it came by, and to another address.
#[test]
fn a_reply_takes_the_path_that_it_is_told() {
    let answer = ask(&mut engine(), &return_path(ReturnPath::SameLink));
    assert_eq!((answer.flags(), answer.pending.route()), (vec![NONE], ReplyRoute::Link(2)));
    let answer = ask(&mut engine(), &return_path(ReturnPath::Address(ip("203.0.113.5"))));
    assert_eq!(answer.flags(), [NONE]);
    assert_eq!(answer.pending.route(), ReplyRoute::Address(address("203.0.113.5:40000")));
    assert_eq!(answer.chain[4], 0, "the sub-TLV was understood as well");
}

/// RFC 9503 section 4: what cannot be done is answered the ordinary way, with U.
#[test]
fn a_path_that_cannot_be_taken_is_said_to_be_so() {
    let segments = [0x20_u8, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let srv6 = return_path(ReturnPath::Srv6(SegmentList::new(&segments).expect("one"), None));
    let empty_list = tlv(TlvType::ReturnPath, &[0x80, SRV6_SEGMENT_LIST, 0, 0]);
    let other_family = return_path(ReturnPath::Address(ip("2001:db8::1")));
    let not_unicast = return_path(ReturnPath::Address(ip("255.255.255.255")));
    let to_itself = return_path(ReturnPath::Address(ip("192.0.2.1")));
    let unknown = tlv(TlvType::ReturnPath, &[0x80, 99, 0, 0]);
    for asked in [&srv6, &empty_list, &other_family, &not_unicast, &unknown] {
        let mut engine = engine();
        let answer = ask(&mut engine, asked);
        assert_eq!((answer.flags(), answer.pending.route()), (vec![U], ReplyRoute::Ordinary), "{asked:x?}");
        assert_eq!(engine.counters().tlvs.return_paths_refused, 1);
    }
    let from_862 = RequestMeta { source: address("198.51.100.9:862"), ..meta() };
    let answer = ask_as(&mut engine(), &request(&to_itself), &from_862).expect("a reply");
    assert_eq!((answer.flags(), answer.pending.route()), (vec![U], ReplyRoute::Ordinary));
}

/// RFC 9503 section 4: the first one counts, and the others are ignored; section 4.1.1: beside a Control Code nothing else.
#[test]
fn one_return_path_counts() {
    let [away, same_link] = [ReturnPath::Address(ip("203.0.113.5")), ReturnPath::SameLink].map(return_path);
    let answer = ask(&mut engine(), &[same_link.clone(), away.clone()].concat());
    assert_eq!((answer.flags(), answer.pending.route()), (vec![NONE, U], ReplyRoute::Link(2)));
    let both = tlv(TlvType::ReturnPath, &[&away[4..], &same_link[4..]].concat());
    assert_eq!(ask(&mut engine(), &both).pending.route(), ReplyRoute::Link(2));
}

/// By default only who proves to hold a key is obeyed, and who is listed.
#[test]
fn policy_decides_whose_return_path_is_obeyed() {
    let away = return_path(ReturnPath::Address(ip("203.0.113.5")));
    let listed = AllowList::new(&[(ip("198.51.100.0"), 24)]).expect("a list");
    let policy = |authenticated, allow: AllowList| TlvPolicy {
        return_paths: ReturnPathPolicy { authenticated, allow },
        ..tlvs()
    };
    for (authenticated, allow, plain, with_hmac) in [
        (false, AllowList::nobody(), false, false),
        (true, AllowList::nobody(), false, true),
        (false, listed.clone(), true, true),
        (true, listed, true, true),
    ] {
        for (chain, obeyed) in [(away.clone(), plain), (signed(KEY, 7, &away, &[]), with_hmac)] {
            let mut engine = engine_with(policy(authenticated, allow.clone()), &[KEY], true);
            let answer = ask(&mut engine, &chain);
            assert_eq!(answer.flags()[0], if obeyed { NONE } else { U });
            assert_eq!(answer.pending.route() != ReplyRoute::Ordinary, obeyed);
        }
        let octets = request_numbered(PacketFormat::StampAuthenticated, 7, &signed(KEY, 7, &away, &[]));
        let mut engine = engine_with(policy(authenticated, allow), &[KEY], true);
        let answer = ask_as(&mut engine, &octets, &meta()).expect("a reply");
        assert_eq!(answer.pending.route() != ReplyRoute::Ordinary, with_hmac);
    }
}

// --- Micro-session ID ------------------------------------------------------------------------------------------------

fn member_links() -> TlvPolicy {
    TlvPolicy { micro_sessions: vec![("eth0".into(), 11), ("eth1".into(), 12)], ..tlvs() }
}

/// RFC 9534 section 3.2: both identifiers come back, and the reply takes the same member link.
#[test]
fn a_micro_session_is_told_its_member_link() {
    let mut engine = engine_with(member_links(), &[], true);
    for reflector in [0, 11] {
        let asked = MicroSessionId { sender: 5, reflector };
        let answer = ask(&mut engine, &made(TlvType::MicroSessionId, 4, |value| asked.write(value)));
        assert_eq!(MicroSessionId::parse(answer.value()), Some(MicroSessionId { sender: 5, reflector: 11 }));
        assert_eq!((answer.flags(), answer.pending.route()), (vec![NONE], ReplyRoute::Link(2)));
    }
}

/// RFC 9534 section 3.2: one that came by another link than it says is discarded.
#[test]
fn a_micro_session_of_another_link_is_discarded() {
    let asked = made(TlvType::MicroSessionId, 4, |value| MicroSessionId { sender: 5, reflector: 12 }.write(value));
    let mut engine = engine_with(member_links(), &[], true);
    for link in [2, 99, 0] {
        let meta = RequestMeta { link, ..meta() };
        let refused = ask_as(&mut engine, &request(&asked), &meta).map(|_| ());
        assert_eq!(refused, Err(Disposition::MicroSessionMismatch));
    }
    // By no member link, and it does not claim one; and where there are none at all.
    let unclaimed = made(TlvType::MicroSessionId, 4, |value| MicroSessionId { sender: 5, reflector: 0 }.write(value));
    let elsewhere = RequestMeta { link: 99, ..meta() };
    assert_eq!(ask_as(&mut engine, &request(&unclaimed), &elsewhere).expect("a reply").flags(), [U]);
    assert_eq!(ask(&mut self::engine(), &asked).flags(), [U]);
}

// --- anything --------------------------------------------------------------------------------------------------------

proptest! {
    /// Any octets after a base packet: no panic, and a reply of the same size whose types and lengths are those of the
    /// request, unless there is a reason for none.
    #[test]
    fn any_chain_has_a_reply_of_its_size(
        mut octets in proptest::collection::vec(any::<u8>(), 0..400),
        kinds in proptest::collection::vec((1_u8..14, 0_usize..40, any::<u8>()), 0..12),
        structured in any::<bool>(),
        stateful in any::<bool>(),
        link in 0_u32..5,
    ) {
        if structured {
            octets = chain(|writer| {
                for (kind, len, octet) in &kinds {
                    writer.push(*kind, *len, |value| value.fill(*octet)).expect("room");
                }
            });
        }
        let mut engine = engine_with(member_links(), &[KEY], stateful);
        match ask_as(&mut engine, &request(&octets), &RequestMeta { link, ..meta() }) {
            Ok(answer) => {
                let shape = |octets: &[u8]| -> Vec<_> {
                    TlvChain::new(octets).flatten().map(|tlv| (tlv.kind, tlv.value.len())).collect()
                };
                prop_assert_eq!(shape(&answer.chain), shape(&octets));
            }
            Err(disposition) => prop_assert!(matches!(
                disposition,
                Disposition::NoReplyRequested | Disposition::MicroSessionMismatch
            )),
        }
    }

    /// A single octet altered anywhere in what is signed is noticed.
    #[test]
    fn any_alteration_of_signed_tlvs_is_noticed(at in 0_usize..(8 + HMAC_TLV_LEN), change in 1_u8..=255) {
        let mut octets = signed(KEY, 7, &made(TlvType::ClassOfService, 4, |_| ()), &[]);
        octets[at] ^= change;
        let answer = ask(&mut engine_with(TlvPolicy { require_hmac: true, ..tlvs() }, &[KEY], true), &octets);
        let used = TlvChain::new(&answer.chain).flatten().any(|tlv| tlv.kind == 4 && tlv.flags == NONE);
        // The HMAC TLV's own flags are covered by nothing.
        prop_assert!(!used || at == 8);
    }
}
