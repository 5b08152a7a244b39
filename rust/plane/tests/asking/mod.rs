//! A Session-Reflector that is asked with STAMP TLVs, for tests.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use twoway_plane::reflector::allow::AllowList;
use twoway_plane::reflector::arrivals::NoArrivals;
use twoway_plane::reflector::dispositions::Disposition;
use twoway_plane::reflector::extensions::{LocationPolicy, TlvPolicy};
use twoway_plane::reflector::interfaces::HostInterfaces;
use twoway_plane::reflector::limits::RateLimits;
use twoway_plane::reflector::routes::{PlainRoutes, ReturnPathPolicy};
use twoway_plane::reflector::sessions::{SessionBudget, SessionTable};
use twoway_plane::session_reflector::{
    KeyRing, PendingReply, ReflectorKey, ReflectorPolicy, RequestMeta, SessionReflector, Verdict,
};
use twoway_plane::sys::InterfaceAddress;
use twoway_wire::packet::{PacketFormat, SenderPacket};
use twoway_wire::timestamp::{RawTimestamp, TimestampFormat, WallNanos};
use twoway_wire::tlv::{ReturnPath, Tlv, TlvChain, TlvFlags, TlvType, TlvWriter, sign_tlvs};
use twoway_wire::{ErrorEstimate, StampKey, TestKeys};

pub(crate) const NOW: WallNanos = WallNanos(1_800_000_000_123_456_789);
pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const KEY: &[u8] = b"a key of the operator";
pub(crate) const OTHER_KEY: &[u8] = b"a key of nobody";
pub(crate) const ROOM: usize = 4096;
pub(crate) const NONE: TlvFlags = TlvFlags::NONE;
pub(crate) const U: TlvFlags = TlvFlags::UNRECOGNIZED;
pub(crate) const M: TlvFlags = TlvFlags::MALFORMED;
pub(crate) const I: TlvFlags = TlvFlags::INTEGRITY;

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

pub(crate) fn stamp_key(key: &[u8]) -> StampKey {
    StampKey::new(key).expect("key")
}

pub(crate) fn tlvs() -> TlvPolicy {
    TlvPolicy {
        require_hmac: false,
        location: LocationPolicy::Addresses,
        permitted_dscps: TlvPolicy::ANY_DSCP,
        sync_source: None,
        return_paths: ReturnPathPolicy { authenticated: false, allow: AllowList::new(&[]).expect("everyone") },
        reflect_headers: false,
        micro_sessions: Vec::new(),
        control: None,
    }
}

/// A stateful Session-Reflector at 192.0.2.1 and 192.0.2.2.
pub(crate) fn engine_with(tlvs: TlvPolicy, keys: &[&[u8]], stateful: bool) -> SessionReflector {
    let keys = keys.iter().map(|key| ReflectorKey { ssid: None, key: stamp_key(key) });
    let policy = ReflectorPolicy {
        listening: vec![address("192.0.2.1:862")],
        allow: AllowList::new(&[]).expect("everyone"),
        require_authentication: false,
        larger_replies: true,
        tlvs: Some(tlvs),
        dscp_ecn_monitoring: false,
        dscp: None,
        keys: KeyRing::new(keys).expect("few keys"),
    };
    let sessions = stateful.then(|| SessionTable::new(Arc::new(SessionBudget::new(100)), 100 * SECOND));
    let mut engine = SessionReflector::new(Arc::new(policy), Arc::new(RateLimits::new(0, 0)), sessions);
    let device = |index, name: &str, at: &str| InterfaceAddress {
        index,
        name: name.into(),
        ip: Some(ip(at)),
        mac: Some([2, 0, 0, 0, 0, index as u8]),
        mtu: 1500,
    };
    engine.know_interfaces(HostInterfaces::new([device(2, "eth0", "192.0.2.1"), device(3, "eth1", "192.0.2.2")]));
    engine.know_clock(true);
    engine
}

pub(crate) fn engine() -> SessionReflector {
    engine_with(tlvs(), &[KEY], true)
}

/// TLVs as a Session-Sender writes them.
pub(crate) fn chain(write: impl FnOnce(&mut TlvWriter<'_>)) -> Vec<u8> {
    let mut octets = vec![0xEE; ROOM];
    let mut writer = TlvWriter::new(&mut octets);
    write(&mut writer);
    writer.written().to_vec()
}

pub(crate) fn tlv(kind: TlvType, value: &[u8]) -> Vec<u8> {
    chain(|writer| {
        writer.push(kind.code(), value.len(), |room| room.copy_from_slice(value)).expect("room");
    })
}

/// One TLV whose Value is written by `write`.
pub(crate) fn made(kind: TlvType, len: usize, write: impl FnOnce(&mut [u8])) -> Vec<u8> {
    chain(|writer| {
        writer.push(kind.code(), len, write).expect("room");
    })
}

pub(crate) fn return_path(path: ReturnPath<'_>) -> Vec<u8> {
    chain(|writer| path.write(writer).expect("room"))
}

/// An HMAC TLV after `covered`, then `after`.
pub(crate) fn signed(key: &[u8], sequence: u32, covered: &[u8], after: &[u8]) -> Vec<u8> {
    let mut octets = [covered, &tlv(TlvType::Hmac, &[0; 16])[..]].concat();
    sign_tlvs(&stamp_key(key), sequence, &mut octets, covered.len());
    octets.extend_from_slice(after);
    octets
}

pub(crate) fn request_numbered(format: PacketFormat, sequence: u32, chain: &[u8]) -> Vec<u8> {
    let keys = if format.is_authenticated() { TestKeys::Stamp(stamp_key(KEY)) } else { TestKeys::None };
    let mut octets = vec![0; format.sender_len()];
    SenderPacket {
        sequence,
        timestamp: RawTimestamp::encode(WallNanos(NOW.0 - 1_000_000), TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::new(true, TimestampFormat::Ntp, Some(1000)),
        ssid: 0x1234,
    }
    .emit(format, &keys, &mut octets)
    .expect("room");
    octets.extend_from_slice(chain);
    octets
}

pub(crate) fn request(chain: &[u8]) -> Vec<u8> {
    request_numbered(PacketFormat::Stamp, 7, chain)
}

pub(crate) fn meta() -> RequestMeta {
    RequestMeta {
        source: address("198.51.100.9:40000"),
        destination: address("192.0.2.1:862"),
        interface: 2,
        ttl: Some(250),
        dscp_ecn: Some(46 << 2 | 0b01),
        received: NOW,
        len: 0,
        truncated: false,
    }
}

/// A reply: what follows its base packet, and how it is to be sent.
pub(crate) struct Answer {
    pub chain: Vec<u8>,
    pub pending: PendingReply,
    pub sequence: u32,
}

impl Answer {
    pub(crate) fn tlvs(&self) -> Vec<Tlv<'_>> {
        TlvChain::new(&self.chain).collect::<Result<_, _>>().expect("well-formed")
    }

    pub(crate) fn flags(&self) -> Vec<TlvFlags> {
        self.tlvs().iter().map(|tlv| tlv.flags).collect()
    }

    /// Value of the only TLV.
    pub(crate) fn value(&self) -> &[u8] {
        &self.chain[4..]
    }
}

pub(crate) fn ask_as(engine: &mut SessionReflector, octets: &[u8], meta: &RequestMeta) -> Result<Answer, Disposition> {
    let mut room = vec![0xee; ROOM];
    room[..octets.len()].copy_from_slice(octets);
    let meta = RequestMeta { len: octets.len(), ..*meta };
    match engine.handle(&mut room, &meta, SECOND, &mut PlainRoutes, &mut NoArrivals) {
        Verdict::Drop(disposition) => Err(disposition),
        Verdict::Reply(pending) => {
            // As the worker does: what is written for another moment first is taken back.
            let write = |engine: &mut SessionReflector, room: &mut [u8], after_ns| {
                engine.write(&pending, WallNanos(NOW.0 + after_ns), ErrorEstimate::UNKNOWN, room).expect("written")
            };
            write(engine, &mut room, 0);
            engine.take_back(&pending);
            let sequence = write(engine, &mut room, 20_000);
            assert_eq!(pending.len(), octets.len(), "RFC 8762 section 4.3: symmetrical");
            let base = if pending.is_authenticated() { 112 } else { 44 };
            let chain = room[base..pending.len()].to_vec();
            engine.sent(&pending);
            Ok(Answer { chain, pending, sequence })
        }
    }
}

pub(crate) fn ask(engine: &mut SessionReflector, chain: &[u8]) -> Answer {
    ask_as(engine, &request(chain), &meta()).expect("a reply")
}

/// Obeys the return paths of everyone.
pub(crate) fn permissive() -> ReturnPathPolicy {
    ReturnPathPolicy { authenticated: true, allow: AllowList::new(&[]).expect("everyone") }
}
