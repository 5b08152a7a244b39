//! Managed test-sessions over loopback: both ends on real sockets, in each format and mode.

use std::net::{IpAddr, SocketAddr, UdpSocket as Std};
use std::time::{Duration, Instant};

use twoway_plane::clock::{Clock, Moment};
use twoway_plane::ledger::{LedgerSpec, ReflectorMode};
use twoway_plane::managed::reflecting::ReflectingSpec;
use twoway_plane::managed::{End, ManagedPlane, ManagedReceiver, ManagedReflector, ManagedReflectorSpec, PortSpec};
use twoway_plane::path::ForwardPath;
use twoway_plane::sample::{TimestampSource, UNKNOWN};
use twoway_plane::schedule::Spacing;
use twoway_plane::sender::{Plane, Sender, SenderSpec};
use twoway_plane::session_receiver::{Outcome, ReceiverSpec};
use twoway_plane::session_sender::extensions::TlvPlan;
use twoway_plane::session_sender::{Padding, SessionSpec};
use twoway_plane::slots::{SkipRange, Slot, SlotList};
use twoway_plane::summary::{Counter, Measure};
use twoway_plane::sys::{SocketRequest, SystemClock, TimestampMode};
use twoway_wire::{
    ErrorEstimate, PacketFormat, RawTimestamp, ReflectorPacket, SenderPacket, TestKeys, TimestampFormat, TwampKeys,
    WallNanos,
};

const PATIENCE: Duration = Duration::from_secs(20);
const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
const FORMATS: [PacketFormat; 3] =
    [PacketFormat::Twamp, PacketFormat::TwampAuthenticated, PacketFormat::TwampEncrypted];

fn keys(format: PacketFormat, seed: u8) -> TestKeys {
    match format {
        PacketFormat::Twamp => TestKeys::None,
        _ => TestKeys::Twamp(TwampKeys::derive([seed; 16], [2; 16], [3; 32])),
    }
}

/// Polls until `done`, which must come within `PATIENCE`.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn socket(local: SocketAddr, peer: Option<SocketAddr>) -> SocketRequest {
    SocketRequest {
        local,
        peer,
        interface: None,
        reuse_port: false,
        ttl: 255,
        dscp_ecn: 0xb8,
        receive_buffer: 1 << 18,
        timestamps: TimestampMode::Kernel,
        stamp_all: peer.is_some(),
        packet_info: local.ip().is_unspecified(),
        routing_header: Vec::new(),
    }
}

fn port(local: &str, sender: SocketAddr) -> PortSpec {
    PortSpec { socket: socket(local.parse().unwrap(), None), netns: None, sender }
}

/// A port that is free now: both ends must name their ports before either is open.
fn free_port(ip: &str) -> SocketAddr {
    Std::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap().local_addr().unwrap()
}

#[derive(Clone, Copy)]
struct Options {
    format: PacketFormat,
    symmetrical_size: bool,
    monitoring: bool,
    padding: usize,
}

fn reflecting(options: Options) -> ReflectingSpec {
    ReflectingSpec {
        format: options.format,
        keys: keys(options.format, 1),
        timestamp_format: TimestampFormat::Ntp,
        symmetrical_size: options.symmetrical_size,
        dscp_ecn_monitoring: options.monitoring,
    }
}

fn reflector(plane: &ManagedPlane, local: &str, sender: SocketAddr, options: Options) -> ManagedReflector {
    let port = port(local, sender);
    let spec = ManagedReflectorSpec {
        port,
        reflecting: reflecting(options),
        timeout_ns: SECOND / 5,
        refwait_ns: Some(60 * SECOND),
    };
    plane.open_reflector(spec).unwrap()
}

fn plain(format: PacketFormat) -> Options {
    Options { format, symmetrical_size: false, monitoring: false, padding: 0 }
}

fn session(format: PacketFormat, spacing: Spacing, interval_ns: i64, count: u64) -> SessionSpec {
    SessionSpec {
        format,
        keys: keys(format, 1),
        ssid: 0,
        require_ssid: false,
        timestamp_format: TimestampFormat::Ntp,
        payload_len: format.sender_len(),
        padding: Padding { random: true, symmetrical_size: false, server_octets: None, reflected: 0 },
        tlvs: TlvPlan::default(),
        one_way: matches!(spacing, Spacing::Slots(_)),
        count: Some(count),
        spacing,
        group: None,
        interval_ns,
        seed: 5,
        dscp_ecn_monitoring: false,
        timestamps: TimestampMode::Kernel,
        ledger: LedgerSpec {
            ring: 1024,
            timeout_ns: SECOND / 2,
            reflector_mode: ReflectorMode::Stateful,
            timestamp_format: TimestampFormat::Ntp,
            timestamps: TimestampSource::Kernel,
            stamp_wait_ns: 50 * MS,
            attribution_wait_ns: i64::MAX,
            attribution_capacity: 1024,
            follow_up_wait_ns: 0,
            replies_asked: 1,
            start: WallNanos(0),
        },
        samples: true,
    }
}

fn sender(plane: &Plane, local: SocketAddr, target: SocketAddr, session: SessionSpec) -> Sender {
    let socket = socket(local, Some(target));
    plane
        .open_sender(SenderSpec {
            session,
            socket,
            path: ForwardPath::Routed,
            next_hop_patience: Duration::ZERO,
            netns: None,
            sample_capacity: 1000,
        })
        .unwrap()
}

fn count(counters: impl Iterator<Item = (&'static str, u64)>, name: &str) -> u64 {
    counters.into_iter().find(|(of, _)| *of == name).expect("a known counter").1
}

/// RFC 6038 section 4.2: what does not come back as it was sent is counted. Here a Session-Reflector that did not learn
/// of symmetrical size sends back the zeros instead.
#[test]
fn padding_that_is_not_reflected_is_counted() {
    let (managed, senders) = (ManagedPlane::new(1).unwrap(), Plane::new(1, false).unwrap());
    let options = Options { format: PacketFormat::Twamp, symmetrical_size: false, monitoring: false, padding: 100 };
    let local = free_port("127.0.0.1");
    let far = reflector(&managed, "127.0.0.1:0", local, options);
    let mut session = session(PacketFormat::Twamp, Spacing::Periodic, MS, 10);
    session.payload_len = PacketFormat::Twamp.sender_len() + options.padding;
    session.padding = Padding { random: true, symmetrical_size: true, server_octets: None, reflected: 8 };
    let near = sender(&senders, local, far.local(), session);
    far.start(Moment::Now);
    near.start(Moment::Monotonic(SystemClock.monotonic() + 50 * MS));
    eventually("all packets are answered", || near.is_finished());
    let summary = near.summary().unwrap();
    assert!(summary.count(Counter::Received) > 0);
    assert_eq!(summary.count(Counter::PaddingChanged), summary.count(Counter::Received));
}

/// RFC 5357 section 4 with each feature of RFC 6038 and 7750, in each mode, on both families.
#[test]
fn a_negotiated_round_trip_works_in_each_format() {
    let (managed, senders) = (ManagedPlane::new(2).unwrap(), Plane::new(1, false).unwrap());
    let mut tests = Vec::new();
    for format in FORMATS {
        for (symmetrical_size, monitoring) in [(false, false), (true, false), (false, true), (true, true)] {
            for ip in ["127.0.0.1", "::1"] {
                let options = Options { format, symmetrical_size, monitoring, padding: 100 };
                let local = free_port(ip);
                let far = reflector(&managed, &SocketAddr::new(ip.parse().unwrap(), 0).to_string(), local, options);
                let mut session = session(format, Spacing::Periodic, 5 * MS, 20);
                session.payload_len = format.sender_len() + options.padding;
                session.padding.symmetrical_size = symmetrical_size;
                session.padding.server_octets = Some([0xAB, 0xCD]);
                session.padding.reflected = 30;
                session.dscp_ecn_monitoring = monitoring;
                let near = sender(&senders, local, far.local(), session);
                far.start(Moment::Now);
                near.start(Moment::Monotonic(SystemClock.monotonic() + 50 * MS));
                tests.push((format!("{format:?} {ip} {symmetrical_size} {monitoring}"), monitoring, far, near));
            }
        }
    }
    for (name, monitoring, far, near) in tests {
        eventually(&name, || near.is_finished());
        let summary = near.summary().unwrap();
        // A busy machine may miss a slot; nothing that was sent is lost.
        let sent = summary.count(Counter::Sent);
        assert_eq!(sent + summary.count(Counter::NotSent), 20, "{name}");
        assert!(sent > 0 && summary.count(Counter::Received) == sent, "{name}");
        assert_eq!(summary.count(Counter::RejectedMismatch) + summary.count(Counter::RejectedHmac), 0);
        assert_eq!(summary.count(Counter::PaddingChanged), 0, "{name}");
        assert_eq!(summary.measure(Measure::RoundTrip).count(), sent, "{name}");
        let far_octets: Vec<_> = summary.dscp_ecns(twoway_plane::summary::SeenBy::Far).iter().collect();
        assert_eq!(far_octets, if monitoring { vec![(0xb8, sent)] } else { vec![] }, "{name}");
        let last =
            near.take_samples().iter().map(|row| row.reflector_sequence).filter(|number| *number != UNKNOWN).max();
        assert_eq!(last.map(u64::from), Some(sent - 1), "{name}: its own count, from 0");
        assert_eq!(count(far.counters(), "test_packet:reflected"), sent, "{name}");
        // Stop-Sessions: it answers for the timeout still, then the port is closed.
        far.stop();
        eventually("stopped", || far.end() == End::Stopped);
    }
    assert!(managed.counters().all(|(name, value)| name == "receive_stamps_missing" || value == 0));
    assert!(!managed.acknowledge().is_empty());
}

struct Client(Std, PacketFormat, TestKeys);

impl Client {
    fn new(local: SocketAddr, format: PacketFormat, seed: u8) -> Self {
        let socket = Std::bind(local).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket, format, keys(format, seed))
    }

    fn request(&self, sequence: u32, padding: &[u8]) -> Vec<u8> {
        let packet = SenderPacket {
            sequence,
            timestamp: RawTimestamp::encode(SystemClock.wall(), TimestampFormat::Ntp),
            error_estimate: ErrorEstimate::UNKNOWN,
            ssid: 0,
        };
        let mut octets = vec![0; self.1.sender_len()];
        packet.emit(self.1, &self.2, &mut octets).unwrap();
        octets.extend(padding);
        octets
    }

    fn ask(&self, to: SocketAddr, sequence: u32) -> ReflectorPacket {
        self.0.send_to(&self.request(sequence, &[9; 40]), to).unwrap();
        let mut octets = [0; 512];
        let (len, source) = self.0.recv_from(&mut octets).unwrap();
        assert_eq!(source, to);
        ReflectorPacket::parse(self.1, &self.2, &mut octets[..len], false).unwrap()
    }
}

#[test]
fn only_the_negotiated_sender_is_answered_and_only_between_start_and_end() {
    let plane = ManagedPlane::new(1).unwrap();
    let (local, other) = (free_port("127.0.0.1"), free_port("127.0.0.1"));
    let far = reflector(&plane, "127.0.0.1:0", local, plain(PacketFormat::Twamp));
    let (client, stranger) = (Client::new(local, PacketFormat::Twamp, 1), Client::new(other, PacketFormat::Twamp, 1));
    client.0.send_to(&client.request(0, &[]), far.local()).unwrap();
    eventually("not started", || count(far.counters(), "not_started:dropped") == 1);
    far.start(Moment::Now);
    stranger.0.send_to(&stranger.request(0, &[]), far.local()).unwrap();
    eventually("another sender", || count(far.counters(), "other_sender:dropped") == 1);
    for sequence in [7, 7, 3] {
        let reply = client.ask(far.local(), sequence);
        assert_eq!(reply.sender_sequence, sequence, "copies and reordered packets are answered too");
    }
    assert_eq!(client.ask(far.local(), 4).sequence, 3, "numbers are its own, and of what it sent");
    far.stop();
    assert_eq!(client.ask(far.local(), 5).sequence, 4, "still answered for the timeout");
    eventually("ended", || far.end() == End::Stopped);
    // Its port is free again.
    eventually("closed", || Std::bind(far.local()).is_ok());
}

#[test]
fn sessions_on_one_port_are_told_apart_by_their_senders() {
    let plane = ManagedPlane::new(3).unwrap();
    let shared = free_port("127.0.0.1").to_string();
    let senders: Vec<_> = (0..5).map(|_| free_port("127.0.0.1")).collect();
    let sessions: Vec<_> = senders
        .iter()
        .enumerate()
        .map(|(at, sender)| reflector(&plane, &shared, *sender, plain(FORMATS[at % 3])))
        .collect();
    let clash = ManagedReflectorSpec {
        port: port(&shared, senders[0]),
        reflecting: reflecting(plain(PacketFormat::Twamp)),
        timeout_ns: SECOND,
        refwait_ns: None,
    };
    assert_eq!(plane.open_reflector(clash.clone()).err().unwrap().operation, "bind");
    for (at, session) in sessions.iter().enumerate() {
        session.start(Moment::Now);
        let client = Client::new(senders[at], FORMATS[at % 3], 1);
        for sequence in 0..=at as u32 {
            assert_eq!(client.ask(session.local(), sequence).sequence, sequence, "a count of its own");
        }
    }
    let stranger = Client::new(free_port("127.0.0.1"), PacketFormat::Twamp, 1);
    stranger.0.send_to(&stranger.request(0, &[]), sessions[0].local()).unwrap();
    eventually("nobody's", || count(plane.counters(), "unmatched") == 1);
    // One goes, the others stay; its place can be taken again.
    sessions[0].close();
    eventually("closed", || sessions[0].end() == End::Closed);
    let again = plane.open_reflector(clash).unwrap();
    again.start(Moment::Now);
    let client = Client::new(senders[0], PacketFormat::Twamp, 1);
    assert_eq!(client.ask(again.local(), 0).sequence, 0);
}

#[test]
fn any_port_of_the_sender_is_answered_where_none_was_negotiated() {
    let plane = ManagedPlane::new(1).unwrap();
    let far = reflector(&plane, "0.0.0.0:0", "127.0.0.1:0".parse().unwrap(), plain(PacketFormat::Twamp));
    far.start(Moment::Now);
    let to = SocketAddr::new("127.0.0.1".parse().unwrap(), far.local().port());
    for sequence in 0..3 {
        let client = Client::new(free_port("127.0.0.1"), PacketFormat::Twamp, 1);
        assert_eq!(client.ask(to, sequence).sequence, sequence);
    }
}

/// RFC 5357 section 4.2, REFWAIT.
#[test]
fn a_session_without_packets_ends_by_refwait_and_forgeries_do_not_keep_it() {
    let plane = ManagedPlane::new(1).unwrap();
    let local = free_port("127.0.0.1");
    let format = PacketFormat::TwampEncrypted;
    let spec = ManagedReflectorSpec {
        port: port("127.0.0.1:0", local),
        reflecting: reflecting(plain(format)),
        timeout_ns: SECOND,
        refwait_ns: Some(300 * MS),
    };
    let far = plane.open_reflector(spec).unwrap();
    far.start(Moment::Now);
    let (right, wrong) = (Client::new(local, format, 1), keys(format, 9));
    let forger = Client(right.0.try_clone().unwrap(), format, wrong);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        right.ask(far.local(), 0);
    }
    eventually("refwait", || {
        forger.0.send_to(&forger.request(0, &[]), far.local()).unwrap();
        far.end() == End::Refwait
    });
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert!(count(far.counters(), "bad_hmac:dropped") > 0);
}

#[test]
fn hostile_datagrams_are_dropped_by_name() {
    let plane = ManagedPlane::new(1).unwrap();
    let local = free_port("127.0.0.1");
    let far = reflector(&plane, "127.0.0.1:0", local, plain(PacketFormat::Twamp));
    far.start(Moment::Now);
    let client = Client::new(local, PacketFormat::Twamp, 1);
    for len in 0..14 {
        client.0.send_to(&client.request(0, &[])[..len], far.local()).unwrap();
    }
    let mut corrupt = client.request(0, &[0; 60]);
    corrupt[13] = 0;
    client.0.send_to(&corrupt, far.local()).unwrap();
    let mut reply = client.request(0, &[0; 60]);
    reply.copy_within(4..12, 16);
    client.0.send_to(&reply, far.local()).unwrap();
    eventually("too short", || count(far.counters(), "too_short:dropped") == 14);
    eventually("reply", || count(far.counters(), "reply_shaped:dropped") == 1);
    assert_eq!(count(far.counters(), "zero_multiplier:dropped"), 1);
    assert_eq!(client.ask(far.local(), 1).sequence, 0);
    // The largest datagram there is comes back whole.
    let largest = client.request(2, &vec![7; 65_507 - 14]);
    client.0.send_to(&largest, far.local()).unwrap();
    let mut octets = vec![0; 65_536];
    assert_eq!(client.0.recv(&mut octets).unwrap(), 65_507);
    assert!(octets[41..65_507].iter().all(|octet| *octet == 7));
}

fn slots(slots: &[(bool, i64)], seed: u8) -> SlotList {
    let fixed = |ns: i64| ((i128::from(ns) << 32) / i128::from(SECOND)) as u64;
    let slots: Vec<_> = slots
        .iter()
        .map(|(exponential, ns)| if *exponential { Slot::Exponential(fixed(*ns)) } else { Slot::Fixed(fixed(*ns)) })
        .collect();
    SlotList::new(&slots, [seed; 16]).unwrap()
}

fn receiver(
    plane: &ManagedPlane,
    sender: SocketAddr,
    format: PacketFormat,
    slots: SlotList,
    packets: u32,
) -> ManagedReceiver {
    let local = SocketAddr::new(sender.ip(), 0).to_string();
    let spec = ReceiverSpec {
        format,
        keys: keys(format, 1),
        slots,
        packets,
        timeout_ns: SECOND / 2,
        record_capacity: packets as usize + 10,
    };
    plane.open_receiver(&port(&local, sender), spec).unwrap()
}

/// RFC 4656 sections 3.6 to 4.2, both ends, in each mode.
#[test]
fn a_one_way_session_works_in_each_format() {
    let (managed, senders) = (ManagedPlane::new(1).unwrap(), Plane::new(1, false).unwrap());
    let began = SystemClock.wall();
    let mut tests = Vec::new();
    for format in FORMATS {
        for (ip, list) in [("127.0.0.1", vec![(true, 4 * MS)]), ("::1", vec![(true, 8 * MS), (false, 0)])] {
            let (local, list) = (free_port(ip), slots(&list, 3));
            let far = receiver(&managed, local, format, list.clone(), 50);
            let mut session = session(format, Spacing::Slots(list.clone()), list.mean_gap_ns(), 50);
            session.payload_len += 30;
            let near = sender(&senders, local, far.local(), session);
            let start = Moment::Wall(WallNanos(SystemClock.wall().0 + 50 * MS));
            far.start(start);
            near.start(start);
            tests.push((format.name(), near, far));
        }
    }
    for (name, near, far) in tests {
        eventually(name, || near.is_finished());
        let progress = near.progress().unwrap();
        assert_eq!((progress.next_sequence, progress.skipped.len()), (50, 0), "{name}");
        assert_eq!(near.summary().unwrap().count(Counter::Sent), 50);
        eventually("decided", || far.is_decided());
        assert_eq!(far.recorded().unwrap().outcome, Outcome::Running);
        assert_eq!(far.complete(progress.next_sequence, &progress.skipped).unwrap(), Outcome::Complete);
        let recorded = far.recorded().unwrap();
        assert_eq!(recorded.records.len(), 50, "{name}");
        assert!(recorded.records.iter().all(|record| record.ttl == 255 && !record.is_lost()));
        let summary = far.summary().unwrap();
        assert_eq!((summary.count(Counter::Received), summary.count(Counter::LostForward)), (50, 0), "{name}");
        let delay = summary.measure(Measure::Forward);
        // However slow this host is, no packet travelled for longer than this has run.
        let passed_ns = SystemClock.wall().since(began);
        assert!(delay.count() == 50 && delay.quantile(0.5).unwrap() < passed_ns, "{name}: {:?}", delay.quantile(0.5));
        assert_eq!(far.complete(1, &[]).unwrap(), Outcome::Complete, "the first end stands");
    }
}

/// RFC 4656 section 4.1.1: what is late by more than the timeout is not sent, and is told.
#[test]
fn packets_that_are_too_late_become_skip_ranges() {
    let (managed, senders) = (ManagedPlane::new(1).unwrap(), Plane::new(1, false).unwrap());
    let (local, list) = (free_port("127.0.0.1"), slots(&[(false, 100 * MS)], 3));
    let format = PacketFormat::TwampAuthenticated;
    let far = receiver(&managed, local, format, list.clone(), 20);
    let near = sender(&senders, local, far.local(), session(format, Spacing::Slots(list), 100 * MS, 20));
    // Packets are due 900, 800, … ms ago: those up to number 3 more than the timeout of 500 ms.
    let start = Moment::Wall(WallNanos(SystemClock.wall().0 - SECOND));
    far.start(start);
    near.start(start);
    eventually("finished", || near.is_finished());
    let progress = near.progress().unwrap();
    assert_eq!(progress.next_sequence, 20);
    let [SkipRange { first: 0, last }] = progress.skipped[..] else { panic!("{:?}", progress.skipped) };
    assert!((3..=8).contains(&last), "{last}");
    eventually("decided", || far.is_decided());
    assert_eq!(far.complete(progress.next_sequence, &progress.skipped).unwrap(), Outcome::Complete);
    let recorded = far.recorded().unwrap();
    assert_eq!(recorded.records.len(), 19 - last as usize, "no loss is recorded for what was not sent");
    assert_eq!(far.summary().unwrap().count(Counter::NotSent), u64::from(last) + 1);
}

#[test]
fn a_stop_before_the_end_tells_where_the_schedule_got() {
    let (managed, senders) = (ManagedPlane::new(1).unwrap(), Plane::new(1, false).unwrap());
    let (local, list) = (free_port("127.0.0.1"), slots(&[(false, 20 * MS)], 3));
    let far = receiver(&managed, local, PacketFormat::Twamp, list.clone(), 1000);
    let near = sender(&senders, local, far.local(), session(PacketFormat::Twamp, Spacing::Slots(list), 20 * MS, 1000));
    far.start(Moment::Now);
    near.start(Moment::Now);
    eventually("some", || count(far.counters(), "test_packet:recorded") >= 5);
    near.stop();
    let progress = near.progress().unwrap();
    eventually("finished", || near.is_finished());
    assert!((5..1000).contains(&progress.next_sequence));
    eventually("all", || count(far.counters(), "test_packet:recorded") == u64::from(progress.next_sequence));
    // At once: all was due less than the timeout ago, so all is discarded (RFC 4656 section 3.8).
    let before = far.recorded().unwrap().records.len();
    far.complete(progress.next_sequence, &progress.skipped).unwrap();
    assert!(far.recorded().unwrap().records.len() < before);
}

#[test]
fn a_receiver_refuses_more_packets_than_it_can_record() {
    let plane = ManagedPlane::new(1).unwrap();
    let spec = ReceiverSpec {
        format: PacketFormat::Twamp,
        keys: TestKeys::None,
        slots: slots(&[(false, MS)], 1),
        packets: 1001,
        timeout_ns: SECOND,
        record_capacity: 1000,
    };
    let error = plane.open_receiver(&port("127.0.0.1:0", free_port("127.0.0.1")), spec).err().unwrap();
    assert_eq!(error.operation, "open receiver");
}

/// Issue's scale: thousands of sessions in one process, few threads.
#[test]
fn thousands_of_sessions_share_two_threads() {
    let plane = ManagedPlane::new(2).unwrap();
    let local = free_port("127.0.0.1");
    let client = Client::new(local, PacketFormat::Twamp, 1);
    let mut sessions = Vec::new();
    for _ in 0..500 {
        let session = reflector(&plane, "127.0.0.1:0", local, plain(PacketFormat::Twamp));
        session.start(Moment::Now);
        sessions.push(session);
    }
    for round in 0..2 {
        for session in &sessions {
            assert_eq!(client.ask(session.local(), round).sequence, round);
        }
    }
    sessions.iter().for_each(ManagedReflector::stop);
    eventually("all stopped", || sessions.iter().all(|session| session.end() == End::Stopped));
}
