// A Session-Sender that asks for everything reads any octets where the TLVs of replies stand: each packet has one fate, and the books balance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoway_plane::ledger::{LedgerSpec, ReflectorMode};
use twoway_plane::sample::TimestampSource;
use twoway_plane::schedule::Spacing;
use twoway_plane::sender::handle::Shared;
use twoway_plane::session_sender::extensions::{AccessRequest, TlvPlan, TlvRequests, WayBack};
use twoway_plane::session_sender::{Padding, SessionSender, SessionSpec};
use twoway_plane::sys::{ReceiveMeta, TimestampMode};
use twoway_wire::tlv::access_report::{AccessId, ReturnCode};
use twoway_wire::tlv::{AccessReport, HmacPlace, MicroSessionId, sign_tlvs};
use twoway_wire::{
    ErrorEstimate, PacketFormat, ReflectInput, SenderPacket, StampKey, TestKeys, TimestampFormat, WallNanos,
    reflect_in_place, survey,
};

const START: WallNanos = WallNanos(1_800_000_000_000_000_000);
const KEY: &[u8] = b"a key of the operator";
const INTERVAL_NS: i64 = 1_000_000;
const TIMEOUT_NS: i64 = 10_000_000;
const FATES: [&str; 6] = ["received", "late", "lost_forward", "lost_backward", "lost_unattributed", "pending"];

fn session(choice: u8, count: u64) -> SessionSender {
    let key = || TestKeys::Stamp(StampKey::new(KEY).expect("a key"));
    let requests = TlvRequests {
        location: true,
        timestamp_information: true,
        class_of_service: Some((46, 34)),
        direct_measurement: true,
        access_report: Some(AccessRequest {
            report: AccessReport { access: AccessId::ThreeGpp, return_code: ReturnCode::AVAILABLE },
            timer_ns: INTERVAL_NS,
            retransmissions: 4,
        }),
        follow_up: true,
        destination_node: Some([192, 0, 2, 1].into()),
        return_path: Some(WayBack::SameLink),
        micro_session: Some(MicroSessionId { sender: 7, reflector: 0 }),
        control: None,
        fixed_header: Some(20),
        extension_headers: vec![8],
        hmac: (choice & 1 != 0).then(key),
    };
    let len = TlvPlan::least_len(&requests);
    let mode = if choice & 2 != 0 { ReflectorMode::Stateful } else { ReflectorMode::Auto };
    SessionSender::new(SessionSpec {
        format: PacketFormat::Stamp,
        keys: TestKeys::None,
        ssid: 3,
        require_ssid: false,
        timestamp_format: TimestampFormat::Ntp,
        payload_len: 44 + len,
        padding: Padding { random: false, symmetrical_size: true, server_octets: None, reflected: 0 },
        tlvs: TlvPlan::new(requests, len).expect("room"),
        one_way: false,
        count: Some(count),
        spacing: Spacing::Periodic,
        group: None,
        interval_ns: INTERVAL_NS,
        seed: 1,
        dscp_ecn_monitoring: false,
        timestamps: TimestampMode::User,
        ledger: LedgerSpec {
            ring: 16,
            timeout_ns: TIMEOUT_NS,
            reflector_mode: mode,
            timestamp_format: TimestampFormat::Ntp,
            timestamps: TimestampSource::User,
            stamp_wait_ns: 0,
            attribution_wait_ns: i64::MAX,
            attribution_capacity: 16,
            follow_up_wait_ns: 3 * INTERVAL_NS,
            replies_asked: 1,
            start: START,
        },
        samples: false,
    })
}

/// The reply to `packet` with Sequence Number `sequence` and these TLVs; signed where `sign` is set and they end in an HMAC.
fn reply(packet: &[u8], sequence: u32, chain: &[u8], sign: bool) -> Vec<u8> {
    let mut octets = packet[..44].to_vec();
    let sender = SenderPacket::parse(PacketFormat::Stamp, &TestKeys::None, &mut octets).expect("our packet");
    let t1 = sender.timestamp.decode(TimestampFormat::Ntp, START).expect("T1");
    octets.extend(chain);
    let input = ReflectInput {
        sequence: Some(sequence),
        receive_timestamp: WallNanos(t1.0 + 100_000),
        transmit_timestamp: WallNanos(t1.0 + 200_000),
        error_estimate: ErrorEstimate::UNKNOWN,
        ttl: Some(64),
        dscp_ecn: None,
        symmetrical_size: true,
    };
    reflect_in_place(PacketFormat::Stamp, &TestKeys::None, &sender, &input, &mut octets).expect("room");
    if sign && let HmacPlace::At(at) = survey(chain).hmac {
        sign_tlvs(&StampKey::new(KEY).expect("a key"), sequence, &mut octets[44..], at);
    }
    octets
}

// Octet 0 chooses the session; then come replies: a choice, a length of the TLVs, the TLVs.
fuzz_target!(|input: &[u8]| {
    let Some((choice, mut rest)) = input.split_first() else { return };
    let mut replies = Vec::new();
    while let [how, low, high, octets @ ..] = rest
        && replies.len() < 32
    {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(octets.len());
        replies.push((*how, &octets[..len]));
        rest = &octets[len..];
    }
    let mut session = session(*choice, replies.len().max(1) as u64);
    let shared = Shared::new(0);
    session.start(0, START, 0);
    let mut now_ns = 0;
    let mut packet = vec![0; session.payload_len()];
    for (sequence, (how, chain)) in (0..).zip(&replies) {
        now_ns = now_ns.max(sequence * INTERVAL_NS);
        session.expire(now_ns);
        let wall = WallNanos(START.0 + now_ns);
        let Some(built) = session.build(None, now_ns, wall, 0, &mut packet) else { continue };
        session.departed(&built);
        if how & 1 != 0 {
            continue;
        }
        now_ns += 300_000;
        let number = if how & 2 != 0 { sequence as u32 / 2 } else { sequence as u32 };
        let mut octets = reply(&packet, number, chain, how & 4 != 0);
        let meta = ReceiveMeta { dscp_ecn: Some(*how), ..ReceiveMeta::default() };
        let copies = if how & 8 != 0 { 2 } else { 1 };
        for _ in 0..copies {
            session.receive(&mut octets.clone(), &meta, now_ns, WallNanos(START.0 + now_ns));
        }
        octets.clear();
    }
    for _ in 0..10 {
        now_ns += TIMEOUT_NS;
        session.expire(now_ns);
    }
    let summary = session.summary(&shared, WallNanos(START.0 + now_ns));
    let count = |name: &str| summary.counter(name).expect("a counter");
    assert_eq!(FATES.map(count).iter().sum::<u64>(), count("sent"));
    assert!(count("followed_up") + count("not_followed_up") <= count("received") + count("late"));
});
