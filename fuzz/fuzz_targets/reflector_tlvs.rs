// A Session-Reflector that honours every TLV is asked with any octets: it answers with as many, but for Reflected Test Packet Control, and with flags of its own.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use twoway_plane::reflector::allow::AllowList;
use twoway_plane::reflector::arrivals::{Arrival, Arrivals};
use twoway_plane::reflector::control::ControlPolicy;
use twoway_plane::reflector::extensions::{LocationPolicy, TlvPolicy};
use twoway_plane::reflector::interfaces::HostInterfaces;
use twoway_plane::reflector::limits::RateLimits;
use twoway_plane::reflector::routes::{PlainRoutes, ReturnPathPolicy};
use twoway_plane::reflector::sessions::{SessionBudget, SessionTable};
use twoway_plane::session_reflector::{KeyRing, ReflectorKey, ReflectorPolicy, RequestMeta, SessionReflector, Verdict};
use twoway_plane::sys::InterfaceAddress;
use twoway_wire::tlv::{HmacPlace, sign_tlvs, verify_tlvs};
use twoway_wire::{
    ErrorEstimate, IpHeaders, PacketFormat, RawTimestamp, SenderPacket, StampKey, TestKeys, TimestampFormat, TlvChain,
    TlvFlags, WallNanos, survey,
};

const NOW: WallNanos = WallNanos(1_800_000_000_000_000_000);
const KEY: &[u8] = b"a key of the operator";
const LONGEST_REPLY: usize = 1400;

/// An IPv6 packet with two extension headers, up to the UDP header.
fn packet() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, 0, 64];
    packet.extend([0x20; 32]);
    packet.extend([60, 0, 5, 2, 0, 0, 1, 0]);
    packet.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    packet.extend([0x9c, 0x40, 0x03, 0x5e, 0, 8, 0, 0]);
    packet
}

struct CameIn(Vec<u8>, IpHeaders);

impl Arrivals for CameIn {
    fn of(&mut self, _source: SocketAddr, _payload: &[u8]) -> Option<Arrival<'_>> {
        Some(Arrival { last_hop: None, headers: &self.1, packet: &self.0 })
    }
}

fn engine(choice: u8) -> SessionReflector {
    let everyone = || AllowList::new(&[]).expect("everyone");
    let policy = ReflectorPolicy {
        listening: vec!["192.0.2.1:862".parse().expect("address")],
        allow: everyone(),
        require_authentication: false,
        larger_replies: true,
        tlvs: Some(TlvPolicy {
            require_hmac: choice & 1 != 0,
            location: LocationPolicy::All,
            permitted_dscps: TlvPolicy::ANY_DSCP & !(1 << 12),
            sync_source: None,
            return_paths: ReturnPathPolicy { authenticated: true, allow: everyone() },
            reflect_headers: true,
            micro_sessions: vec![("eth0".to_owned(), 11)],
            control: Some(ControlPolicy {
                allow: everyone(),
                most_replies: 100,
                longest_reply: LONGEST_REPLY as u16,
                most_octets_per_s: u64::MAX / (1 << 32),
                most_octets: 1 << 20,
            }),
        }),
        dscp_ecn_monitoring: false,
        dscp: None,
        keys: KeyRing::new([ReflectorKey { ssid: None, key: StampKey::new(KEY).expect("a key") }]).expect("one key"),
    };
    let sessions = (choice & 2 != 0).then(|| SessionTable::new(Arc::new(SessionBudget::new(4)), 1_000_000_000));
    let mut engine = SessionReflector::new(Arc::new(policy), Arc::new(RateLimits::new(0, 0)), sessions);
    engine.know_interfaces(HostInterfaces::new([InterfaceAddress {
        index: 2,
        name: "eth0".to_owned(),
        ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
    }]));
    engine.know_clock(true);
    engine
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, chain)) = input.split_first() else { return };
    let authenticated = choice & 4 != 0;
    let format = if authenticated { PacketFormat::StampAuthenticated } else { PacketFormat::Stamp };
    let key = StampKey::new(KEY).expect("a key");
    let mut octets = vec![0; format.sender_len()];
    let base = octets.len();
    SenderPacket {
        sequence: 7,
        timestamp: RawTimestamp::encode(NOW, TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: 3,
    }
    .emit(format, &if authenticated { TestKeys::Stamp(key.clone()) } else { TestKeys::None }, &mut octets)
    .expect("room");
    octets.extend(chain);
    let asked = survey(chain);
    if choice & 8 != 0
        && let HmacPlace::At(at) = asked.hmac
    {
        // What proves a key goes further.
        sign_tlvs(&key, 7, &mut octets[base..], at);
    }
    let mut room = octets.clone();
    room.resize(octets.len().max(LONGEST_REPLY) + 64, 0xEE);
    let meta = RequestMeta {
        source: "198.51.100.9:40000".parse().expect("address"),
        destination: "192.0.2.1:862".parse().expect("address"),
        interface: 2,
        link: 2,
        ttl: Some(250),
        dscp_ecn: Some(0xb9),
        received: WallNanos(NOW.0 + 1_000_000_000_000),
        len: octets.len(),
        truncated: false,
    };
    let packet = packet();
    let headers = IpHeaders::find(&packet).expect("headers");
    let mut engine = engine(*choice);
    let verdict = engine.handle(&mut room, &meta, 1, &mut PlainRoutes, &mut CameIn(packet, headers));
    let Verdict::Reply(pending) = verdict else { return };
    let departure = WallNanos(meta.received.0 + 1000);
    let sequence = engine.write(&pending, departure, ErrorEstimate::UNKNOWN, &mut room).expect("written");
    // Written again for another moment, as the worker does.
    engine.take_back(&pending);
    assert_eq!(engine.write(&pending, departure, ErrorEstimate::UNKNOWN, &mut room), Ok(sequence));

    let reply = &room[base..pending.len()];
    if pending.len() != octets.len() || pending.repeat().is_some() {
        // Only Reflected Test Packet Control may do that, within its bounds.
        assert!(TlvChain::new(reply).flatten().any(|tlv| tlv.kind == 12));
        assert!(pending.len() <= LONGEST_REPLY.max(octets.len()));
    } else {
        // Order, number and size stay.
        let shape = |chain: &[u8]| TlvChain::new(chain).flatten().map(|tlv| tlv.value.len()).collect::<Vec<_>>();
        assert_eq!(shape(reply), shape(chain));
    }
    let known = TlvFlags::UNRECOGNIZED.0 | TlvFlags::MALFORMED.0 | TlvFlags::INTEGRITY.0 | TlvFlags::CONFORMANT.0;
    let answered = survey(reply);
    let mut failed = false;
    for tlv in TlvChain::new(&reply[..answered.well_formed_octets]).flatten() {
        assert_eq!(tlv.flags.0 & !known, 0);
        failed |= tlv.flags.contains(TlvFlags::INTEGRITY);
    }
    if let HmacPlace::At(_) = answered.hmac
        && !failed
    {
        assert!(
            verify_tlvs(&TestKeys::Stamp(key), sequence, reply, answered.hmac),
            "an answer that is not I is signed"
        );
    }
});
