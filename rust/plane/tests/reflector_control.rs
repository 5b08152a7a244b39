//! Reflected Test Packet Control (RFC 10052): several replies to one request, and every reason for one.

mod asking;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use self::asking::*;
use twoway_plane::reflector::allow::AllowList;
use twoway_plane::reflector::arrivals::NoArrivals;
use twoway_plane::reflector::control::{ControlPolicy, Repeat};
use twoway_plane::reflector::dispositions::Disposition;
use twoway_plane::reflector::extensions::{LocationPolicy, TlvPolicy};
use twoway_plane::reflector::routes::PlainRoutes;
use twoway_plane::reflector::{ControlSpec, Reflector, ReflectorSpec, TlvSpec};
use twoway_plane::session_reflector::{RequestMeta, SessionReflector, Verdict};
use twoway_plane::sys::TimestampMode;
use twoway_wire::ErrorEstimate;
use twoway_wire::packet::PacketFormat;
use twoway_wire::timestamp::WallNanos;
use twoway_wire::tlv::{
    HmacPlace, ReflectedControl, ReturnPath, Tlv, TlvChain, TlvFlags, TlvType, survey, verify_tlvs,
};

const C: TlvFlags = TlvFlags::CONFORMANT;

/// Obeys 198.51.100.0/24: 10 replies of 1000 octets, 1 MB/s, 5000 octets for a request.
fn obeying() -> TlvPolicy {
    TlvPolicy {
        control: Some(ControlPolicy {
            allow: AllowList::new(&[(ip("198.51.100.0"), 24)]).expect("a network"),
            most_replies: 10,
            longest_reply: 1000,
            most_octets_per_s: 1_000_000,
            most_octets: 5000,
        }),
        ..tlvs()
    }
}

fn control(length: u16, count: u16, interval_ns: u32) -> Vec<u8> {
    made(TlvType::ReflectedTestPacketControl, 12, |value| {
        ReflectedControl { length, count, interval_ns }.write(value);
    })
}

/// The control with sub-TLVs instead of the filler.
fn control_for(count: u16, sub_tlvs: &[&[u8]]) -> Vec<u8> {
    let sub_tlvs = sub_tlvs.concat();
    let mut octets = made(TlvType::ReflectedTestPacketControl, 8 + sub_tlvs.len(), |value| {
        value[2..4].copy_from_slice(&count.to_be_bytes());
        value[4..8].copy_from_slice(&1_000_000u32.to_be_bytes());
        value[8..].copy_from_slice(&sub_tlvs);
    });
    octets[0] = 0x80;
    octets
}

/// What came back.
struct Reply {
    len: usize,
    chain: Vec<u8>,
    repeat: Option<Repeat>,
    sequences: Vec<u32>,
}

impl Reply {
    fn flags_of(&self, kind: TlvType) -> TlvFlags {
        self.tlvs().iter().find(|tlv| tlv.kind == kind.code()).expect("the TLV is there").flags
    }

    fn tlvs(&self) -> Vec<Tlv<'_>> {
        TlvChain::new(&self.chain).collect::<Result<_, _>>().expect("well-formed")
    }
}

fn burst_as(engine: &mut SessionReflector, octets: &[u8], meta: &RequestMeta) -> Result<Reply, Disposition> {
    let mut room = vec![0xee; ROOM];
    room[..octets.len()].copy_from_slice(octets);
    let meta = RequestMeta { len: octets.len(), ..*meta };
    let pending = match engine.handle(&mut room, &meta, SECOND, &mut PlainRoutes, &mut NoArrivals) {
        Verdict::Drop(disposition) => return Err(disposition),
        Verdict::Reply(pending) => pending,
    };
    let further = pending.repeat().map_or(0, |repeat| repeat.further);
    let sequences: Vec<u32> = (0..=further)
        .map(|at| {
            let departure = WallNanos(NOW.0 + i64::from(at) * 1000);
            engine.write(&pending, departure, ErrorEstimate::UNKNOWN, &mut room).expect("written")
        })
        .collect();
    let base = if pending.is_authenticated() { 112 } else { 44 };
    let chain = room[base..pending.len()].to_vec();
    if pending.is_authenticated() || chain.windows(4).any(|octets| octets == [0, 8, 0, 16]) {
        assert_signed(&chain, *sequences.last().expect("one"));
    }
    Ok(Reply { len: pending.len(), chain, repeat: pending.repeat(), sequences })
}

/// The HMAC TLV of the last reply covers its Sequence Number and all that stands before it.
fn assert_signed(chain: &[u8], sequence: u32) {
    let found = survey(chain);
    assert!(matches!(found.hmac, HmacPlace::At(_)));
    assert!(verify_tlvs(&twoway_wire::TestKeys::Stamp(stamp_key(KEY)), sequence, chain, found.hmac));
}

/// Asks as a holder of the key does, with an HMAC TLV.
fn burst_numbered(engine: &mut SessionReflector, sequence: u32, chain: &[u8]) -> Result<Reply, Disposition> {
    let chain = signed(KEY, sequence, chain, &[]);
    burst_as(engine, &request_numbered(PacketFormat::Stamp, sequence, &chain), &meta())
}

fn burst(chain: &[u8]) -> Result<Reply, Disposition> {
    burst_numbered(&mut engine_with(obeying(), &[KEY], true), 7, chain)
}

/// RFC 10052 section 3: so many replies, so far apart, each with the next Sequence Number and an HMAC of its own.
#[test]
fn a_request_gets_the_replies_that_it_asks_for() {
    let reply = burst(&control(200, 5, 2_000_000)).expect("a reply");
    assert_eq!(reply.flags_of(TlvType::ReflectedTestPacketControl), NONE);
    assert_eq!(reply.repeat, Some(Repeat { further: 4, interval_ns: 2_000_000 }));
    assert_eq!((reply.len, reply.sequences), (200, vec![0, 1, 2, 3, 4]));
}

/// RFC 10052 section 3: the longer of what the TLVs need without their padding, and the Length rounded up to 4 octets.
#[test]
fn replies_have_the_length_that_was_asked_for() {
    let control_and_hmac = 16 + 20;
    for (asked, padding, len) in [
        (0, 0, 44 + control_and_hmac),
        (10, 500, 44 + control_and_hmac),
        (81, 0, 84),
        (84, 500, 84),
        (85, 0, 88),
        (900, 0, 900),
        (999, 0, 1000),
    ] {
        let chain = [tlv(TlvType::ExtraPadding, &vec![1; padding]), control(asked, 2, 2_000_000)].concat();
        let reply = burst(&chain).expect("a reply");
        assert_eq!((reply.len, reply.repeat.map(|repeat| repeat.further)), (len, Some(1)), "{asked} {padding}");
        assert_eq!(reply.flags_of(TlvType::ReflectedTestPacketControl), NONE);
        let kinds: Vec<_> = reply.tlvs().iter().map(|tlv| tlv.kind).collect();
        assert_eq!(kinds, if len > 44 + control_and_hmac { vec![12, 1, 8] } else { vec![12, 8] });
    }
}

/// The base packet's own HMAC proves the key as well.
#[test]
fn authenticated_packets_are_obeyed() {
    let mut engine = engine_with(obeying(), &[KEY], true);
    let chain = signed(KEY, 7, &control(300, 3, 5_000_000), &[]);
    let octets = request_numbered(PacketFormat::StampAuthenticated, 7, &chain);
    let reply = burst_as(&mut engine, &octets, &meta()).expect("a reply");
    assert_eq!((reply.len, reply.repeat), (300, Some(Repeat { further: 2, interval_ns: 5_000_000 })));
}

/// RFC 10052 section 3: support MUST be off by default, and then the TLV is one that is not recognised.
#[test]
fn it_is_off_unless_the_operator_says_for_whom() {
    let ask = |engine: &mut SessionReflector, meta: &RequestMeta| {
        let chain = signed(KEY, 7, &control(500, 5, 2_000_000), &[]);
        burst_as(engine, &request_numbered(PacketFormat::Stamp, 7, &chain), meta).expect("a reply")
    };
    let elsewhere = RequestMeta { source: address("203.0.113.1:5000"), ..meta() };
    for (policy, meta, what) in [(tlvs(), meta(), "off"), (obeying(), elsewhere, "not on the list")] {
        let reply = ask(&mut engine_with(policy, &[KEY], true), &meta);
        assert_eq!((reply.len, reply.repeat), (44 + 36, None), "{what}");
        assert_eq!(reply.flags_of(TlvType::ReflectedTestPacketControl), U, "{what}");
    }
    // Without state nobody knows which numbers have been seen.
    let reply = ask(&mut engine_with(obeying(), &[KEY], false), &meta());
    assert_eq!((reply.repeat, reply.flags_of(TlvType::ReflectedTestPacketControl)), (None, U));
}

/// Nobody without a key makes us send more than was received.
#[test]
fn who_proves_no_key_gets_one_reply_of_the_size_of_the_request() {
    let mut engine = engine_with(obeying(), &[KEY], true);
    let octets = request(&control(1000, 10, 1_000_000));
    let reply = burst_as(&mut engine, &octets, &meta()).expect("a reply");
    assert_eq!((reply.len, reply.repeat), (octets.len(), None));
    assert_eq!(reply.flags_of(TlvType::ReflectedTestPacketControl), U);
    let forged = signed(OTHER_KEY, 7, &control(1000, 10, 1_000_000), &[]);
    let octets = request(&forged);
    let mut room = vec![0; ROOM];
    room[..octets.len()].copy_from_slice(&octets);
    let meta = RequestMeta { len: octets.len(), ..meta() };
    let Verdict::Reply(pending) = engine.handle(&mut room, &meta, SECOND, &mut PlainRoutes, &mut NoArrivals) else {
        panic!("no reply")
    };
    assert_eq!((pending.len(), pending.repeat()), (octets.len(), None));
    assert_eq!(engine.counters().tlvs.controls_refused, 1);
}

/// RFC 10052 section 5: a number that is not above all before it gets one reply, and U.
#[test]
fn a_request_that_is_repeated_gets_one_reply() {
    let mut engine = engine_with(obeying(), &[KEY], true);
    let mut further_of = |sequence| {
        let reply = burst_numbered(&mut engine, sequence, &control(200, 3, 2_000_000)).expect("a reply");
        (reply.repeat.is_some(), reply.flags_of(TlvType::ReflectedTestPacketControl))
    };
    assert_eq!(further_of(7), (true, NONE));
    assert_eq!(further_of(7), (false, U));
    assert_eq!(further_of(6), (false, U));
    assert_eq!(further_of(8), (true, NONE));
    // The numbers go round.
    assert_eq!(further_of(0x7000_0000), (true, NONE));
    assert_eq!(further_of(0xe000_0000), (true, NONE));
    assert_eq!(further_of(3), (true, NONE));
    assert_eq!(further_of(0xffff_ffff), (false, U));
}

/// RFC 10052 section 3: zero replies are asked for with 0.
#[test]
fn none_is_sent_where_none_is_asked_for() {
    assert_eq!(burst(&control(200, 0, 0)).err(), Some(Disposition::NoReplyRequested));
}

/// RFC 10052 sections 3 and 5: above a limit there is one reply, with C.
#[test]
fn beyond_its_limits_there_is_one_reply() {
    for (what, asked, len) in [
        ("number", control(100, 11, 1_000_000), 100),
        ("volume", control(600, 9, 1_000_000), 600),
        ("rate", control(1000, 3, 999_999), 1000),
        ("no interval", control(1000, 2, 0), 1000),
        ("length", control(1001, 1, 0), 1000),
        ("length beyond any datagram", control(65_535, 1, 0), 1000),
    ] {
        let reply = burst(&asked).expect("a reply");
        assert_eq!((reply.len, reply.repeat), (len, None), "{what}");
        assert_eq!(reply.flags_of(TlvType::ReflectedTestPacketControl), C, "{what}");
    }
    let within = burst(&control(1000, 5, 1_000_000)).expect("a reply");
    assert_eq!((within.repeat.map(|repeat| repeat.further), within.sequences.len()), (Some(4), 5));
}

/// RFC 10052 section 3: what does not fit the MTU gets a reply of the size of the MTU, with C.
#[test]
fn a_reply_fits_the_device_that_it_leaves_by() {
    let policy = TlvPolicy {
        control: obeying().control.map(|control| ControlPolicy { longest_reply: 9000, most_octets: 90_000, ..control }),
        ..obeying()
    };
    for (asked, len, flags) in [(1472, 1472, NONE), (1473, 1472, C), (4000, 1472, C)] {
        let mut engine = engine_with(policy.clone(), &[KEY], true);
        let reply = burst_numbered(&mut engine, 7, &control(asked, 1, 0)).expect("a reply");
        assert_eq!((reply.len, reply.flags_of(TlvType::ReflectedTestPacketControl)), (len, flags), "{asked}");
    }
}

/// RFC 10052 section 3.1: who is in no group that a request is for does not answer it.
#[test]
fn only_the_groups_that_are_asked_answer() {
    let mac = |group: [u8; 6]| [&[0x80, 10, 0, 12, 0xff, 0xff, 0, 0, 0, 0xff][..], &group].concat();
    let prefix = |len: u8, prefix: [u8; 4]| [&[0x80, 11, 0, 8, len, 0, 0, 0][..], &prefix].concat();
    let (ours, others) = (mac([2, 0, 0, 0, 0, 2]), mac([2, 0, 0, 0, 0, 9]));
    let (our_net, other_net) = (prefix(24, [192, 0, 2, 0]), prefix(24, [203, 0, 113, 0]));
    for sub_tlvs in [&[&ours[..]][..], &[&our_net], &[&ours, &our_net], &[&prefix(0, [0; 4])]] {
        let reply = burst(&control_for(2, sub_tlvs)).expect("a reply");
        assert_eq!(reply.repeat.map(|repeat| repeat.further), Some(1));
        let control = reply.tlvs()[0];
        assert_eq!(control.value[8] & 0xf0, 0, "U of a sub-TLV that is known");
    }
    for sub_tlvs in [&[&others[..]][..], &[&other_net], &[&ours, &other_net], &[&prefix(33, [192, 0, 2, 0])]] {
        assert_eq!(burst(&control_for(2, sub_tlvs)).err(), Some(Disposition::OtherGroup), "{sub_tlvs:?}");
    }
}

/// draft-ietf-ippm-stamp-ext-hdr section 5.2: extension headers are not added, and the sub-TLV says so.
#[test]
fn extension_headers_are_not_added_to_replies() {
    let reply = burst(&control_for(2, &[&[0x80, 240, 0, 0], &[0x80, 99, 0, 0]])).expect("a reply");
    assert_eq!(reply.flags_of(TlvType::ReflectedTestPacketControl), NONE);
    let control = reply.tlvs()[0];
    assert_eq!((control.value[8], control.value[12]), (C.0, U.0));
}

/// RFC 10052 section 4.3: with a Return Path that asks for no reply neither is obeyed, and there is one reply.
#[test]
fn no_reply_and_several_replies_exclude_each_other() {
    let policy = TlvPolicy { return_paths: permissive(), ..obeying() };
    let mut engine = engine_with(policy.clone(), &[KEY], true);
    let chain = [return_path(ReturnPath::NoReply), control(200, 3, 2_000_000)].concat();
    let reply = burst_numbered(&mut engine, 7, &chain).expect("a reply");
    assert_eq!(reply.repeat, None);
    assert_eq!((reply.flags_of(TlvType::ReturnPath), reply.flags_of(TlvType::ReflectedTestPacketControl)), (U, U));
    // Section 4.2: further replies go to where the request came from.
    let elsewhere = ReturnPath::Address(ip("198.51.100.77"));
    let chain = [return_path(elsewhere), control(200, 3, 2_000_000)].concat();
    let reply = burst_numbered(&mut engine_with(policy, &[KEY], true), 7, &chain).expect("a reply");
    assert_eq!((reply.repeat, reply.flags_of(TlvType::ReflectedTestPacketControl)), (None, C));
}

/// What cannot be read is copied as it came, and asks for nothing more.
#[test]
fn a_malformed_chain_gets_one_reply_of_its_own_length() {
    let mut engine = engine_with(obeying(), &[KEY], true);
    let octets = [signed(KEY, 7, &control(500, 3, 2_000_000), &[]), vec![0x80, 1, 0, 9, 1]].concat();
    let mut room = vec![0; ROOM];
    let octets = request(&octets);
    room[..octets.len()].copy_from_slice(&octets);
    let meta = RequestMeta { len: octets.len(), ..meta() };
    let Verdict::Reply(pending) = engine.handle(&mut room, &meta, SECOND, &mut PlainRoutes, &mut NoArrivals) else {
        panic!("no reply")
    };
    assert_eq!((pending.len(), pending.repeat()), (octets.len(), None));
}

// --- running ---------------------------------------------------------------------------------------------------------

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(10);

fn running(control: Option<ControlSpec>) -> Result<Reflector, twoway_plane::error::PlaneError> {
    let spec = ReflectorSpec {
        listen: vec![(ip("127.0.0.1"), 0, 0)],
        interface: None,
        netns: None,
        workers: 1,
        stateful: true,
        max_sessions: 100,
        session_timeout_ns: 100 * SECOND,
        keys: vec![("test".to_owned(), None, KEY.to_vec())],
        require_authentication: false,
        allow: Vec::new(),
        rate_limit: 0,
        rate_limit_per_source: 0,
        dscp: None,
        larger_replies: true,
        dscp_ecn_monitoring: false,
        tlvs: Some(TlvSpec {
            require_hmac: false,
            location: LocationPolicy::Addresses,
            permitted_dscps: None,
            sync_source: None,
            return_paths_authenticated: false,
            return_paths_allow: Vec::new(),
            reflect_headers: false,
            micro_sessions: Vec::new(),
            control,
        }),
        timestamps: TimestampMode::Kernel,
        receive_buffer: 1 << 20,
    };
    Reflector::open(&spec)
}

fn local() -> ControlSpec {
    ControlSpec {
        allow: vec![(ip("127.0.0.0"), 8)],
        most_replies: 100,
        longest_reply: 1500,
        most_octets_per_s: 10_000_000,
        most_octets: 1_000_000,
    }
}

fn counted(counters: impl Iterator<Item = (&'static str, u64)>, name: &str) -> u64 {
    counters.into_iter().find(|(of, _)| *of == name).expect("a known counter").1
}

#[test]
fn further_replies_leave_at_their_times_while_others_are_answered() {
    let mut reflector = running(Some(local())).expect("open");
    reflector.start().expect("start");
    let to = reflector.local_addresses()[0];
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(to).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let chain = signed(KEY, 1, &control(400, 5, 20_000_000), &[]);
    socket.send(&request_numbered(PacketFormat::Stamp, 1, &chain)).expect("send");
    let begun = Instant::now();
    let mut room = [0; 2048];
    let mut receive = |expected: u32, len: usize| {
        assert_eq!(socket.recv(&mut room).expect("a reply"), len);
        assert_eq!(room[..4], expected.to_be_bytes());
        let chain = &room[44..len];
        if !chain.is_empty() {
            assert_signed(chain, expected);
        }
    };
    receive(0, 400);
    // In between, another request of the same test-session takes the next number.
    socket.send(&request_numbered(PacketFormat::Stamp, 2, &[])).expect("send");
    receive(1, 44);
    for sequence in 2..6 {
        receive(sequence, 400);
    }
    assert!(begun.elapsed() >= Duration::from_millis(80), "four intervals of 20 ms");
    reflector.stop(0);
    assert_eq!(counted(reflector.own_counters(), "further_replies"), 4);
    assert_eq!(counted(reflector.own_counters(), "further_replies_failed"), 0);
    assert_eq!(counted(reflector.counters(), "test_packet:reflected"), 1);
    assert_eq!(counted(reflector.counters(), "test_packet:reflected_larger"), 1);
}

#[test]
fn what_is_still_to_follow_when_the_reflector_stops_is_counted() {
    let mut reflector = running(Some(local())).expect("open");
    reflector.start().expect("start");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(reflector.local_addresses()[0]).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let chain = signed(KEY, 1, &control(100, 3, 4_000_000_000), &[]);
    socket.send(&request_numbered(PacketFormat::Stamp, 1, &chain)).expect("send");
    assert_eq!(socket.recv(&mut [0; 2048]).expect("the first reply"), 100);
    reflector.stop(0);
    assert_eq!(counted(reflector.own_counters(), "further_replies_failed"), 2);
}

#[test]
fn it_is_not_opened_for_nobody() {
    let nobody = ControlSpec { allow: Vec::new(), ..local() };
    let error = running(Some(nobody)).err().expect("refused");
    assert!(error.to_string().contains("control-allow"), "{error}");
    assert!(running(None).is_ok());
}
