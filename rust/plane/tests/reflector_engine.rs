//! The Session-Reflector's engine: each disposition, the reply's octets, loops, and any octets at all.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use twoway_plane::reflector::allow::AllowList;
use twoway_plane::reflector::arrivals::NoArrivals;
use twoway_plane::reflector::dispositions::Disposition;
use twoway_plane::reflector::extensions::{LocationPolicy, TlvPolicy};
use twoway_plane::reflector::limits::RateLimits;
use twoway_plane::reflector::routes::{PlainRoutes, ReturnPathPolicy};
use twoway_plane::reflector::sessions::{SessionBudget, SessionTable};
use twoway_plane::session_reflector::{
    KeyRing, PendingReply, ReflectorKey, ReflectorPolicy, RequestMeta, SessionReflector, Verdict,
};
use twoway_wire::packet::{PacketFormat, ReflectorPacket, SenderPacket};
use twoway_wire::timestamp::{RawTimestamp, TimestampFormat, WallNanos};
use twoway_wire::{ErrorEstimate, StampKey, TestKeys};

const NOW: WallNanos = WallNanos(1_800_000_000_123_456_789);
const SECOND: u64 = 1_000_000_000;
const KEY: &[u8] = b"a key of the operator";
const ROOM: usize = 2048;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn policy(keys: &[(Option<u16>, &[u8])]) -> ReflectorPolicy {
    let keys = keys.iter().map(|(ssid, key)| ReflectorKey { ssid: *ssid, key: StampKey::new(key).expect("key") });
    ReflectorPolicy {
        listening: vec![address("192.0.2.1:862"), address("[::]:862")],
        allow: AllowList::new(&[]).expect("everyone"),
        require_authentication: false,
        larger_replies: true,
        tlvs: None,
        dscp_ecn_monitoring: false,
        dscp: None,
        keys: KeyRing::new(keys).expect("few keys"),
    }
}

fn tlv_policy() -> TlvPolicy {
    TlvPolicy {
        require_hmac: false,
        location: LocationPolicy::Addresses,
        permitted_dscps: TlvPolicy::ANY_DSCP,
        sync_source: None,
        return_paths: ReturnPathPolicy::nobody(),
        reflect_headers: false,
        micro_sessions: Vec::new(),
        control: None,
    }
}

fn engine(policy: ReflectorPolicy) -> SessionReflector {
    SessionReflector::new(Arc::new(policy), Arc::new(RateLimits::new(0, 0)), None)
}

fn stateful(policy: ReflectorPolicy, capacity: u32) -> SessionReflector {
    let table = SessionTable::new(Arc::new(SessionBudget::new(capacity)), 100 * SECOND);
    SessionReflector::new(Arc::new(policy), Arc::new(RateLimits::new(0, 0)), Some(table))
}

fn stamp_keys(key: &[u8]) -> TestKeys {
    TestKeys::Stamp(StampKey::new(key).expect("key"))
}

fn sender_packet(sequence: u32, ssid: u16) -> SenderPacket {
    SenderPacket {
        sequence,
        timestamp: RawTimestamp::encode(WallNanos(NOW.0 - 1_000_000), TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::new(true, TimestampFormat::Ntp, Some(1000)),
        ssid,
    }
}

/// A request of `len` octets; what follows the base packet is a pattern.
fn request(format: PacketFormat, keys: &TestKeys, sequence: u32, ssid: u16, len: usize) -> Vec<u8> {
    let mut octets: Vec<u8> = (0..len.max(format.sender_len())).map(|at| at as u8).collect();
    sender_packet(sequence, ssid).emit(format, keys, &mut octets).expect("room");
    octets.truncate(len);
    octets
}

fn unauthenticated(len: usize) -> Vec<u8> {
    request(PacketFormat::Stamp, &TestKeys::None, 7, 0x1234, len)
}

fn authenticated(key: &[u8], ssid: u16) -> Vec<u8> {
    request(PacketFormat::StampAuthenticated, &stamp_keys(key), 7, ssid, 130)
}

fn meta(octets: &[u8]) -> RequestMeta {
    RequestMeta {
        source: address("198.51.100.9:40000"),
        destination: address("192.0.2.1:862"),
        interface: 2,
        ttl: Some(250),
        dscp_ecn: Some(0xbb),
        received: NOW,
        len: octets.len(),
        truncated: false,
    }
}

/// Puts a request before an engine: the reply as sent, or why there is none.
fn offer_as(
    engine: &mut SessionReflector,
    octets: &[u8],
    meta: &RequestMeta,
    now_ns: u64,
) -> Result<(Vec<u8>, PendingReply, Disposition), Disposition> {
    let mut room = vec![0xee; ROOM.max(octets.len())];
    room[..octets.len()].copy_from_slice(octets);
    match engine.handle(&mut room, meta, now_ns, &mut PlainRoutes, &mut NoArrivals) {
        Verdict::Drop(disposition) => Err(disposition),
        Verdict::Reply(pending) => {
            let departure = WallNanos(meta.received.0.saturating_add(20_000));
            engine.write(&pending, departure, ErrorEstimate::UNKNOWN, &mut room)?;
            room.truncate(pending.len());
            Ok((room, pending, engine.sent(&pending)))
        }
    }
}

fn offer(engine: &mut SessionReflector, octets: &[u8]) -> Result<(Vec<u8>, PendingReply, Disposition), Disposition> {
    offer_as(engine, octets, &meta(octets), SECOND)
}

fn refusal(engine: &mut SessionReflector, octets: &[u8]) -> Disposition {
    offer(engine, octets).map(|(_, _, disposition)| disposition).expect_err("a refusal")
}

fn refusal_as(engine: &mut SessionReflector, change: impl FnOnce(&mut RequestMeta)) -> Disposition {
    let octets = unauthenticated(44);
    let mut meta = meta(&octets);
    change(&mut meta);
    offer_as(engine, &octets, &meta, SECOND).map(|(_, _, disposition)| disposition).expect_err("a refusal")
}

fn parse(format: PacketFormat, keys: &TestKeys, reply: &[u8]) -> ReflectorPacket {
    ReflectorPacket::parse(format, keys, &mut reply.to_vec(), false).expect("a reply")
}

// --- replies ---------------------------------------------------------------------------------------------------------

/// RFC 8762 section 4.3.1: every field of the reply.
#[test]
fn an_unauthenticated_reply_says_everything() {
    let octets = unauthenticated(100);
    let (reply, pending, disposition) = offer(&mut engine(policy(&[])), &octets).expect("a reply");
    assert_eq!(disposition, Disposition::Reflected);
    assert_eq!(reply.len(), octets.len());
    assert_eq!(reply[44..], octets[44..]);
    let packet = parse(PacketFormat::Stamp, &TestKeys::None, &reply);
    let sent = sender_packet(7, 0x1234);
    assert_eq!(packet.sequence, 7);
    assert_eq!(packet.ssid, 0x1234);
    assert_eq!(packet.receive_timestamp, RawTimestamp::encode(NOW, TimestampFormat::Ntp));
    assert_eq!(packet.timestamp, RawTimestamp::encode(WallNanos(NOW.0 + 20_000), TimestampFormat::Ntp));
    assert_eq!(packet.error_estimate, ErrorEstimate::UNKNOWN);
    assert_eq!(
        (packet.sender_sequence, packet.sender_timestamp, packet.sender_error_estimate, packet.sender_ttl),
        (7, sent.timestamp, sent.error_estimate, Some(250))
    );
    // DSCP echoed, ECN Not-ECT (RFC 7750 section 2.2).
    assert_eq!(pending.dscp_ecn(), 0xb8);
}

#[test]
fn a_provisioned_dscp_replaces_the_echo() {
    let policy = ReflectorPolicy { dscp: Some(10), ..policy(&[]) };
    let (_, pending, _) = offer(&mut engine(policy), &unauthenticated(44)).expect("a reply");
    assert_eq!(pending.dscp_ecn(), 10 << 2);
}

/// RFC 8762 section 4.4: the reply is authenticated with the key of the request.
#[test]
fn an_authenticated_request_is_answered_with_its_own_key() {
    let mut engine = engine(policy(&[(None, b"another"), (Some(5), KEY), (Some(6), b"a third")]));
    let (reply, pending, disposition) = offer(&mut engine, &authenticated(KEY, 5)).expect("a reply");
    assert_eq!((disposition, reply.len(), pending.is_authenticated()), (Disposition::Reflected, 130, true));
    assert_eq!(parse(PacketFormat::StampAuthenticated, &stamp_keys(KEY), &reply).ssid, 5);
    let (reply, ..) = offer(&mut engine, &authenticated(b"another", 5)).expect("the key for any SSID");
    parse(PacketFormat::StampAuthenticated, &stamp_keys(b"another"), &reply);
}

/// RFC 8762 section 4.6: requests of TWAMP Light shorter than the base packet get exactly the base packet.
#[test]
fn short_requests_get_the_base_packet_unless_larger_replies_are_off() {
    let mut off = engine(ReflectorPolicy { larger_replies: false, ..policy(&[]) });
    for len in 14..44 {
        let (reply, _, disposition) = offer(&mut engine(policy(&[])), &unauthenticated(len)).expect("a reply");
        assert_eq!((reply.len(), disposition), (44, Disposition::ReflectedLarger));
        assert_eq!(parse(PacketFormat::Stamp, &TestKeys::None, &reply).sender_sequence, 7);
        assert_eq!(refusal(&mut off, &unauthenticated(len)), Disposition::LargerReplyOff);
    }
    assert!(offer(&mut off, &unauthenticated(44)).is_ok());
}

/// RFC 8972 section 4: with TLV processing the flags are derived anew; without, octets come back as they came.
#[test]
fn tlvs_are_processed_or_echoed() {
    let mut octets = unauthenticated(44);
    octets.extend([0x80, 1, 0, 2, 9, 9, 0x80, 200, 0, 1, 5]);
    let (reply, ..) = offer(&mut engine(policy(&[])), &octets).expect("a reply");
    assert_eq!(reply[44..], octets[44..]);
    let mut aware = engine(ReflectorPolicy { tlvs: Some(tlv_policy()), ..policy(&[]) });
    let (reply, ..) = offer(&mut aware, &octets).expect("a reply");
    assert_eq!(reply[44..], [0, 1, 0, 2, 9, 9, 0x80, 200, 0, 1, 5]);
    assert_eq!(aware.counters().tlvs.unrecognized, 1);
    octets.extend([0x80, 1, 0xff, 0xff, 1]);
    let (reply, ..) = offer(&mut aware, &octets).expect("a reply");
    assert_eq!((reply.len(), reply[55], aware.counters().tlvs.malformed), (octets.len(), 0x40, 1));
}

// --- dispositions ----------------------------------------------------------------------------------------------------

#[test]
fn requests_that_no_format_knows_are_too_short() {
    for len in 0..14 {
        assert_eq!(refusal(&mut engine(policy(&[])), &unauthenticated(len)), Disposition::TooShort);
    }
}

#[test]
fn a_wrong_key_gets_no_reply_of_any_kind() {
    let mut engine = engine(policy(&[(Some(5), KEY)]));
    assert_eq!(refusal(&mut engine, &authenticated(b"wrong", 5)), Disposition::BadHmac);
    assert_eq!(refusal(&mut engine, &authenticated(KEY, 6)), Disposition::UnknownKey);
    let mut damaged = authenticated(KEY, 5);
    damaged[3] ^= 1;
    assert_eq!(refusal(&mut engine, &damaged), Disposition::BadHmac);
}

#[test]
fn an_authenticated_request_to_a_reflector_without_keys_is_not_taken_for_another_format() {
    assert_eq!(refusal(&mut engine(policy(&[])), &authenticated(KEY, 5)), Disposition::UnknownKey);
}

#[test]
fn an_ssid_with_a_key_is_answered_with_authentication_only() {
    let mut engine = engine(policy(&[(Some(0x1234), KEY)]));
    assert_eq!(refusal(&mut engine, &unauthenticated(44)), Disposition::Unauthenticated);
    assert!(offer(&mut engine, &request(PacketFormat::Stamp, &TestKeys::None, 7, 0x1235, 44)).is_ok());
}

#[test]
fn required_authentication_refuses_everything_else() {
    let mut engine = engine(ReflectorPolicy { require_authentication: true, ..policy(&[(None, KEY)]) });
    for len in [14, 43, 44, 111, 112, 500] {
        assert_eq!(refusal(&mut engine, &unauthenticated(len)), Disposition::Unauthenticated);
    }
    assert_eq!(refusal(&mut engine, &authenticated(b"wrong", 5)), Disposition::BadHmac);
    assert!(offer(&mut engine, &authenticated(KEY, 5)).is_ok());
}

#[test]
fn addresses_decide_before_octets() {
    let allow = AllowList::new(&[(address("198.51.100.0:0").ip(), 24)]).expect("a network");
    let mut engine = engine(ReflectorPolicy { allow, ..policy(&[]) });
    for (source, expected) in [
        ("192.0.2.1:862", Disposition::OwnAddress),
        ("198.51.100.9:0", Disposition::Unanswerable),
        ("224.0.0.1:40000", Disposition::Unanswerable),
        ("255.255.255.255:40000", Disposition::Unanswerable),
        ("0.0.0.0:40000", Disposition::Unanswerable),
        ("[ff02::1]:40000", Disposition::Unanswerable),
        ("203.0.113.1:40000", Disposition::NotAllowed),
        ("[2001:db8::1]:40000", Disposition::NotAllowed),
    ] {
        assert_eq!(refusal_as(&mut engine, |meta| meta.source = address(source)), expected, "{source}");
    }
    let to_all = |meta: &mut RequestMeta| meta.destination = address("255.255.255.255:862");
    assert_eq!(refusal_as(&mut engine, to_all), Disposition::Unanswerable);
    assert_eq!(refusal_as(&mut engine, |meta| meta.truncated = true), Disposition::Truncated);
}

/// A wildcard socket knows its host's addresses by the packets that came for them.
#[test]
fn a_wildcard_socket_knows_itself() {
    let mut engine = engine(policy(&[]));
    let own = |meta: &mut RequestMeta| {
        (meta.source, meta.destination) = (address("[2001:db8::1]:862"), address("[2001:db8::1]:862"));
    };
    assert_eq!(refusal_as(&mut engine, own), Disposition::OwnAddress);
    let other_own = |meta: &mut RequestMeta| {
        (meta.source, meta.destination) = (address("[2001:db8::2]:862"), address("[2001:db8::1]:862"));
    };
    let octets = unauthenticated(44);
    let mut first = meta(&octets);
    other_own(&mut first);
    assert!(offer_as(&mut engine, &octets, &first, SECOND).is_ok(), "another host may use our port");
    let mut to_second = meta(&octets);
    (to_second.source, to_second.destination) = (address("[2001:db8::9]:5"), address("[2001:db8::2]:862"));
    assert!(offer_as(&mut engine, &octets, &to_second, SECOND).is_ok());
    assert_eq!(refusal_as(&mut engine, other_own), Disposition::OwnAddress);
}

#[test]
fn rate_limits_hold_for_one_source_and_for_all() {
    let octets = unauthenticated(44);
    let from = |host: u32| {
        let mut meta = meta(&octets);
        meta.source = SocketAddr::from((std::net::Ipv4Addr::from_bits(0xc633_6400 + host), 40_000));
        meta
    };
    let limits = Arc::new(RateLimits::new(200, 50));
    let mut engine = SessionReflector::new(Arc::new(policy(&[])), limits, None);
    let mut seen = std::collections::BTreeMap::new();
    for packet in 0..1000 {
        let host = if packet < 500 { 1 } else { packet };
        let disposition = match offer_as(&mut engine, &octets, &from(host), SECOND) {
            Ok((_, _, disposition)) | Err(disposition) => disposition,
        };
        *seen.entry(disposition.name()).or_insert(0) += 1;
    }
    // Bursts: 8 for the source, 20 for all.
    assert_eq!(seen["test_packet:reflected"], 20);
    assert_eq!(seen["rate_limited_source:dropped"], 492);
    assert_eq!(seen["rate_limited_global:dropped"], 488);
}

/// RFC 4656 section 4.1.2, with the exception that `decide` explains.
#[test]
fn a_zero_multiplier_is_corrupt_unless_the_whole_field_is_empty() {
    let mut engine = engine(policy(&[]));
    let mut octets = unauthenticated(44);
    for error_estimate in [0x8000_u16, 0x4000, 0x0100, 0xff00] {
        octets[12..14].copy_from_slice(&error_estimate.to_be_bytes());
        assert_eq!(refusal(&mut engine, &octets), Disposition::ZeroMultiplier, "{error_estimate:#06x}");
    }
    octets[12..14].fill(0);
    assert!(offer(&mut engine, &octets).is_ok());
    assert_eq!(engine.counters().zero_error_estimates, 1);
}

#[test]
fn a_request_beyond_the_room_is_malformed() {
    let octets = unauthenticated(100);
    let mut room = octets.clone();
    let mut meta = meta(&octets);
    meta.len = 101;
    assert!(matches!(
        engine(policy(&[])).handle(&mut room, &meta, 0, &mut PlainRoutes, &mut NoArrivals),
        Verdict::Drop(Disposition::Malformed)
    ));
}

// --- state -----------------------------------------------------------------------------------------------------------

/// RFC 8762 section 4.3.1: a stateful reflector counts the packets it transmits, for each test-session from 0.
#[test]
fn sequence_numbers_count_replies_sent() {
    let mut engine = stateful(policy(&[]), 10);
    let sequence = |reply: &[u8]| parse(PacketFormat::Stamp, &TestKeys::None, reply).sequence;
    let octets = unauthenticated(44);
    for expected in 0..3 {
        assert_eq!(sequence(&offer(&mut engine, &octets).expect("a reply").0), expected);
    }
    let other = request(PacketFormat::Stamp, &TestKeys::None, 7, 9, 44);
    assert_eq!(sequence(&offer(&mut engine, &other).expect("a reply").0), 0);

    // Three replies are written, the kernel takes one: the other numbers are used again.
    let mut room = [[0; ROOM]; 3];
    let pending: Vec<_> = room
        .iter_mut()
        .map(|room| {
            room[..44].copy_from_slice(&octets);
            match engine.handle(room, &meta(&octets), SECOND, &mut PlainRoutes, &mut NoArrivals) {
                Verdict::Reply(pending) => pending,
                Verdict::Drop(disposition) => panic!("{disposition:?}"),
            }
        })
        .collect();
    for (expected, (pending, room)) in (3..).zip(pending.iter().zip(&mut room)) {
        engine.write(pending, NOW, ErrorEstimate::UNKNOWN, room).expect("written");
        assert_eq!(sequence(&room[..44]), expected);
    }
    engine.take_back(&pending[2]);
    engine.take_back(&pending[1]);
    assert_eq!(engine.not_sent(&pending[1]), Disposition::SendFailed);
    engine.write(&pending[2], NOW, ErrorEstimate::UNKNOWN, &mut room[2]).expect("written again");
    let again = parse(PacketFormat::Stamp, &TestKeys::None, &room[2][..44]);
    assert_eq!((again.sequence, again.sender_sequence, again.ssid), (4, 7, 0x1234));
}

#[test]
fn a_forged_packet_does_not_touch_an_authenticated_session() {
    let mut engine = stateful(policy(&[(None, KEY)]), 10);
    let sequence = |reply: &[u8]| parse(PacketFormat::StampAuthenticated, &stamp_keys(KEY), reply).sequence;
    assert_eq!(sequence(&offer(&mut engine, &authenticated(KEY, 5)).expect("a reply").0), 0);
    assert_eq!(refusal(&mut engine, &authenticated(b"wrong", 5)), Disposition::BadHmac);
    assert!(offer(&mut engine, &request(PacketFormat::Stamp, &TestKeys::None, 7, 5, 44)).is_ok());
    assert_eq!(sequence(&offer(&mut engine, &authenticated(KEY, 5)).expect("a reply").0), 1);
}

#[test]
fn refused_packets_begin_no_session() {
    let mut engine = stateful(policy(&[(Some(5), KEY)]), 10);
    for octets in [authenticated(b"wrong", 5), authenticated(KEY, 9), unauthenticated(3)] {
        assert!(offer(&mut engine, &octets).is_err());
    }
    let mut small = stateful(policy(&[]), 1);
    assert!(offer(&mut small, &unauthenticated(44)).is_ok());
    let other = request(PacketFormat::Stamp, &TestKeys::None, 0, 77, 44);
    assert_eq!(refusal(&mut small, &other), Disposition::SessionTableFull);
}

// --- loops -----------------------------------------------------------------------------------------------------------

#[test]
fn a_handful_of_keys_serve_one_ssid() {
    let key = || ReflectorKey { ssid: Some(3), key: StampKey::new(KEY).expect("key") };
    assert!(KeyRing::new((0..4).map(|_| key())).is_ok());
    assert!(KeyRing::new((0..5).map(|_| key())).is_err());
}

/// One forged request between two reflectors: whoever gets a reply of the other must be silent.
#[test]
fn two_reflectors_do_not_answer_each_other() {
    for stateless in [true, false] {
        for keys in [&[][..], &[(None, KEY)]] {
            for ports in [(862, 862), (862, 5000), (40_000, 50_000)] {
                let first = SocketAddr::from(([192, 0, 2, 10], ports.0));
                let second = SocketAddr::from(([192, 0, 2, 20], ports.1));
                let make = |own: SocketAddr| {
                    let policy = ReflectorPolicy { listening: vec![own], ..policy(keys) };
                    if stateless { engine(policy) } else { stateful(policy, 10) }
                };
                let requests = [14, 30, 44, 45, 100, 1000].map(unauthenticated).into_iter();
                let requests = requests.chain((!keys.is_empty()).then(|| authenticated(KEY, 5)));
                for forged in requests {
                    let mut nodes = [(make(first), first), (make(second), second)];
                    let (mut octets, mut at, mut exchanged) = (forged, 0, 0);
                    loop {
                        let (source, destination) = (nodes[1 - at].1, nodes[at].1);
                        let received = WallNanos(NOW.0 + exchanged * 50_000);
                        let meta = RequestMeta { source, destination, received, ..meta(&octets) };
                        match offer_as(&mut nodes[at].0, &octets, &meta, SECOND) {
                            Ok((reply, ..)) => octets = reply,
                            Err(disposition) => {
                                assert_eq!(disposition, Disposition::ReplyShaped);
                                break;
                            }
                        }
                        (at, exchanged) = (1 - at, exchanged + 1);
                        assert!(exchanged < 2, "the exchange lives");
                    }
                    assert_eq!(exchanged, 1);
                }
            }
        }
    }
}

/// Reflectors in the field that bounce anything: with T1 and T3 in each other's place, with T2 = T3, cut short, and
/// with a clock that is far off.
#[test]
fn replies_of_strange_reflectors_to_our_replies_are_known() {
    for their_offset_s in [0, 3600, -86_400 * 400] {
        let theirs = |ns: i64| {
            RawTimestamp::encode(WallNanos(NOW.0 + their_offset_s * 1_000_000_000 + ns), TimestampFormat::Ntp)
        };
        let (ours, ..) = offer(&mut engine(policy(&[])), &unauthenticated(60)).expect("a reply");
        let mut swapped = ours.clone();
        swapped[16..24].copy_from_slice(&theirs(30_000).0.to_be_bytes());
        swapped[24..28].copy_from_slice(&ours[0..4]);
        swapped[28..36].copy_from_slice(&theirs(60_000).0.to_be_bytes());
        assert_eq!(refusal(&mut engine(policy(&[])), &swapped), Disposition::ReplyShaped);
        let mut short = ours.clone();
        short[4..12].copy_from_slice(&theirs(30_000).0.to_be_bytes());
        short[12..14].copy_from_slice(&[0, 1]);
        short[16..24].copy_from_slice(&theirs(30_000).0.to_be_bytes());
        short[24..38].copy_from_slice(&ours[..14]);
        short.truncate(38);
        assert_eq!(refusal(&mut engine(policy(&[])), &short), Disposition::ReplyShaped);
        // Slow, or stepped in between: T2 and T3 say nothing, but our own departure time comes back.
        let mut slow = ours.clone();
        slow[4..12].copy_from_slice(&theirs(60_000_000_000).0.to_be_bytes());
        slow[16..24].copy_from_slice(&theirs(0).0.to_be_bytes());
        slow[28..36].copy_from_slice(&ours[4..12]);
        assert_eq!(refusal(&mut engine(policy(&[])), &slow), Disposition::ReplyShaped);
    }
}

// --- anything --------------------------------------------------------------------------------------------------------

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<u32>(), any::<u16>()).prop_map(|(bits, port)| (std::net::Ipv4Addr::from_bits(bits), port).into()),
        (any::<u128>(), any::<u16>()).prop_map(|(bits, port)| (std::net::Ipv6Addr::from_bits(bits), port).into()),
        Just(address("192.0.2.1:862")),
        Just(address("[fe80::1%3]:862")),
    ]
}

prop_compose! {
    fn any_meta()(
        source in any_address(),
        destination in any_address(),
        interface in any::<u32>(),
        ttl in any::<Option<u8>>(),
        dscp_ecn in any::<Option<u8>>(),
        received in any::<i64>(),
        truncated in any::<bool>(),
    ) -> RequestMeta {
        RequestMeta { source, destination, interface, ttl, dscp_ecn, received: WallNanos(received), len: 0, truncated }
    }
}

/// Octets that come near to something: random ones, and real requests with random damage.
fn any_octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        (14_usize..300, any::<usize>(), any::<u8>()).prop_map(|(len, at, octet)| {
            let mut octets = unauthenticated(len);
            let at = at % octets.len();
            octets[at] = octet;
            octets
        }),
        (any::<u16>(), any::<usize>(), any::<bool>()).prop_map(|(ssid, at, damage)| {
            let mut octets = authenticated(KEY, ssid);
            let at = at % octets.len();
            octets[at] ^= u8::from(damage);
            octets
        }),
    ]
}

proptest! {
    /// No octets and no addresses panic; each packet is answered or has a reason; no reply is larger than its request,
    /// but for the shortest ones, which are counted apart.
    #[test]
    fn any_packet_has_exactly_one_fate(
        packets in proptest::collection::vec((any_octets(), any_meta()), 1..20),
        require_authentication in any::<bool>(),
        larger_replies in any::<bool>(),
        process_tlvs in any::<bool>(),
        capacity in 0_u32..4,
        keep_state in any::<bool>(),
    ) {
        let policy = ReflectorPolicy {
            require_authentication, larger_replies, tlvs: process_tlvs.then(tlv_policy),
            ..policy(&[(None, KEY), (Some(1), b"other")])
        };
        let mut engine = if keep_state { stateful(policy, capacity) } else { engine(policy) };
        for (at, (octets, meta)) in packets.into_iter().enumerate() {
            let meta = RequestMeta { len: octets.len(), ..meta };
            match offer_as(&mut engine, &octets, &meta, at as u64 * SECOND) {
                Ok((reply, _, Disposition::Reflected)) => prop_assert_eq!(reply.len(), octets.len()),
                Ok((reply, _, disposition)) => {
                    prop_assert_eq!(disposition, Disposition::ReflectedLarger);
                    prop_assert!(larger_replies && octets.len() < 44 && reply.len() == 44);
                }
                Err(disposition) => prop_assert!(
                    !matches!(disposition, Disposition::Reflected | Disposition::ReflectedLarger)
                ),
            }
        }
    }

    /// What one engine answers, the other never does, whoever asks and whatever the question was.
    #[test]
    fn no_reply_is_answered(octets in any_octets(), meta in any_meta()) {
        let policy = || policy(&[(None, KEY)]);
        let meta = RequestMeta { len: octets.len(), received: NOW, truncated: false, ..meta };
        if let Ok((reply, ..)) = offer_as(&mut engine(policy()), &octets, &meta, SECOND) {
            let back = RequestMeta { source: address("203.0.113.5:862"), len: reply.len(), ..meta };
            let back = RequestMeta { destination: address("203.0.113.6:862"), ..back };
            prop_assert!(offer_as(&mut engine(policy()), &reply, &back, SECOND).is_err());
        }
    }
}
