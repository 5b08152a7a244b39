//! A Session-Sender that asks with STAMP TLVs, and a far end in one function, for tests.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;

use twoway_plane::ledger::{LedgerSpec, ReflectorMode};
use twoway_plane::sample::TimestampSource;
use twoway_plane::schedule::Spacing;
use twoway_plane::sender::handle::Shared;
use twoway_plane::session_sender::extensions::{TlvPlan, TlvRequests};
use twoway_plane::session_sender::{Padding, SessionSender, SessionSpec};
use twoway_plane::summary::Summary;
use twoway_plane::sys::{ReceiveMeta, TimestampMode};
use twoway_wire::tlv::{TlvFlags, TlvType, TlvWriter};
use twoway_wire::{
    ErrorEstimate, PacketFormat, ReflectInput, SenderPacket, StampKey, TestKeys, TimestampFormat, WallNanos,
    reflect_in_place,
};

pub(crate) const MS: i64 = 1_000_000;
/// When the session begins.
pub(crate) const START: WallNanos = WallNanos(1_800_000_000_000_000_000);
pub(crate) const INTERVAL_NS: i64 = 10 * MS;
pub(crate) const TIMEOUT_NS: i64 = 1000 * MS;
/// From T1 to T2, from T2 to T3, and from T3 to T4.
pub(crate) const LEG_NS: i64 = MS;
pub(crate) const KEY: &[u8] = b"a key of the operator";

pub(crate) fn keys() -> TestKeys {
    TestKeys::Stamp(StampKey::new(KEY).expect("key"))
}

/// TLVs of a reply: (flags, type, Value).
pub(crate) fn chain(tlvs: &[(TlvFlags, TlvType, &[u8])]) -> Vec<u8> {
    let mut octets = vec![0; 4096];
    let mut writer = TlvWriter::new(&mut octets);
    let mut at = Vec::new();
    for (_, kind, value) in tlvs {
        at.push(writer.len());
        writer.push(kind.code(), value.len(), |room| room.copy_from_slice(value)).expect("room");
    }
    let mut written = writer.written().to_vec();
    for (at, (flags, ..)) in at.into_iter().zip(tlvs) {
        written[at] = flags.0;
    }
    written
}

/// The same of one without flags.
pub(crate) fn told(kind: TlvType, value: &[u8]) -> Vec<u8> {
    chain(&[(TlvFlags::NONE, kind, value)])
}

/// A Session-Sender, and the clock that it lives by.
pub(crate) struct Sending {
    pub(crate) sender: SessionSender,
    shared: Shared,
    format: PacketFormat,
    pub(crate) now_ns: i64,
}

impl Sending {
    /// Unauthenticated packets whose TLVs are `len` octets, or as long as they have to be.
    pub(crate) fn new(requests: TlvRequests, len: Option<usize>) -> Self {
        Self::with(requests, len, |_| ())
    }

    /// The same, the specification as `change` leaves it.
    pub(crate) fn with(requests: TlvRequests, len: Option<usize>, change: impl FnOnce(&mut SessionSpec)) -> Self {
        let len = len.unwrap_or_else(|| TlvPlan::least_len(&requests));
        let mut spec = SessionSpec {
            format: PacketFormat::Stamp,
            keys: TestKeys::None,
            ssid: 0x1234,
            require_ssid: false,
            timestamp_format: TimestampFormat::Ntp,
            payload_len: 0,
            padding: Padding { random: false, symmetrical_size: true, server_octets: None, reflected: 0 },
            tlvs: TlvPlan::default(),
            one_way: false,
            count: Some(100),
            spacing: Spacing::Periodic,
            group: None,
            interval_ns: INTERVAL_NS,
            seed: 1,
            dscp_ecn_monitoring: false,
            timestamps: TimestampMode::User,
            ledger: LedgerSpec {
                ring: 1024,
                timeout_ns: TIMEOUT_NS,
                reflector_mode: ReflectorMode::Auto,
                timestamp_format: TimestampFormat::Ntp,
                timestamps: TimestampSource::User,
                stamp_wait_ns: 0,
                attribution_wait_ns: i64::MAX,
                attribution_capacity: 4096,
                follow_up_wait_ns: if requests.follow_up { 5 * INTERVAL_NS } else { 0 },
                replies_asked: requests.control.as_ref().map_or(1, |request| request.control.count),
                start: START,
            },
            samples: true,
        };
        spec.tlvs = TlvPlan::new(requests, len).expect("they have room");
        change(&mut spec);
        spec.payload_len = spec.format.sender_len() + len;
        let format = spec.format;
        let mut sender = SessionSender::new(spec);
        sender.start(0, START, 0);
        sender.clock_state(Some(1000), true);
        Self { sender, shared: Shared::new(1000), format, now_ns: 0 }
    }

    /// The next packet, which leaves when it is due.
    pub(crate) fn send(&mut self) -> Vec<u8> {
        let mut packet = vec![0xEE; self.sender.payload_len()];
        let mut built = None;
        for _ in 0..1000 {
            let due_ns = self.sender.next_event().expect("something is due");
            self.now_ns = self.now_ns.max(due_ns);
            self.sender.expire(self.now_ns);
            let wall = WallNanos(START.0 + self.now_ns);
            built = self.sender.build(None, self.now_ns, wall, 0, &mut packet);
            if built.is_some() {
                break;
            }
        }
        self.sender.departed(&built.expect("a packet is due"));
        packet
    }

    /// The reply to a packet, with that Sequence Number and those TLVs.
    pub(crate) fn reply(&self, packet: &[u8], sequence: u32, chain: &[u8]) -> Vec<u8> {
        let keys = if self.format.is_authenticated() { keys() } else { TestKeys::None };
        let mut octets = packet[..self.format.sender_len()].to_vec();
        let sender = SenderPacket::parse(self.format, &keys, &mut octets).expect("our packet");
        let t1 = sender.timestamp.decode(TimestampFormat::Ntp, START).expect("T1");
        octets.extend(chain);
        let input = ReflectInput {
            sequence: Some(sequence),
            receive_timestamp: WallNanos(t1.0 + LEG_NS),
            transmit_timestamp: WallNanos(t1.0 + 2 * LEG_NS),
            error_estimate: ErrorEstimate::new(true, TimestampFormat::Ntp, Some(1000)),
            ttl: Some(250),
            dscp_ecn: None,
            symmetrical_size: true,
        };
        reflect_in_place(self.format, &keys, &sender, &input, &mut octets).expect("room");
        octets
    }

    /// A reply comes in now, under that traffic class octet.
    pub(crate) fn receive(&mut self, octets: &[u8], dscp_ecn: u8) {
        let source: SocketAddr = "192.0.2.1:862".parse().expect("address");
        let meta =
            ReceiveMeta { source: Some(source), ttl: Some(251), dscp_ecn: Some(dscp_ecn), ..ReceiveMeta::default() };
        let wall = WallNanos(START.0 + self.now_ns);
        self.sender.receive(&mut octets.to_vec(), &meta, self.now_ns, wall);
    }

    /// Sends a packet, and receives its reply with those TLVs as soon as it can be there.
    pub(crate) fn exchange(&mut self, sequence: u32, chain: &[u8]) -> Vec<u8> {
        let packet = self.send();
        let reply = self.reply(&packet, sequence, chain);
        self.now_ns += 3 * LEG_NS;
        self.receive(&reply, 0);
        packet
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, ns: i64) {
        self.now_ns += ns;
        self.sender.expire(self.now_ns);
    }

    pub(crate) fn summary(&mut self) -> Summary {
        self.sender.summary(&self.shared, WallNanos(START.0 + self.now_ns))
    }

    pub(crate) fn count(&mut self, name: &str) -> u64 {
        self.summary().counter(name).unwrap_or_else(|| panic!("{name} is a counter"))
    }
}
