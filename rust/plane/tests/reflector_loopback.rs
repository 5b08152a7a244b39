//! The running Session-Reflector over loopback: real sockets, threads, stamps and refusals.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use twoway_plane::clock::Clock;
use twoway_plane::reflector::{Reflector, ReflectorSpec};
use twoway_plane::sys::{
    self, Events, Outgoing, Poll, ReceiveBatch, ReceiveMeta, SendBatch, SocketRequest, SystemClock, TimestampMode,
};
use twoway_wire::packet::{PacketFormat, ReflectorPacket, SenderPacket};
use twoway_wire::timestamp::{RawTimestamp, TimestampFormat};
use twoway_wire::{ErrorEstimate, StampKey, TestKeys};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(10);
const SECOND_NS: u64 = 1_000_000_000;

fn spec(listen: &[&str]) -> ReflectorSpec {
    ReflectorSpec {
        listen: listen.iter().map(|ip| (ip.parse::<IpAddr>().expect("address"), 0, 0)).collect(),
        interface: None,
        netns: None,
        workers: 1,
        stateful: false,
        max_sessions: 100,
        session_timeout_ns: 100 * SECOND_NS,
        keys: Vec::new(),
        require_authentication: false,
        allow: Vec::new(),
        rate_limit: 0,
        rate_limit_per_source: 0,
        dscp: None,
        larger_replies: true,
        dscp_ecn_monitoring: false,
        tlvs: None,
        timestamps: TimestampMode::Kernel,
        receive_buffer: 1 << 20,
    }
}

fn running(spec: &ReflectorSpec) -> Reflector {
    let mut reflector = Reflector::open(spec).expect("open");
    reflector.start().expect("start");
    reflector
}

fn request(sequence: u32, len: usize) -> Vec<u8> {
    let mut octets = vec![0; len.max(44)];
    SenderPacket {
        sequence,
        timestamp: RawTimestamp::encode(SystemClock.wall(), TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: 1,
    }
    .emit(PacketFormat::Stamp, &TestKeys::None, &mut octets)
    .expect("room");
    octets.truncate(len);
    octets
}

fn parse(reply: &mut [u8]) -> ReflectorPacket {
    ReflectorPacket::parse(PacketFormat::Stamp, &TestKeys::None, reply, false).expect("a reply")
}

fn sender(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((sys::socket::unspecified(to.ip()), 0)).expect("bind");
    socket.connect(to).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket
}

fn ask(socket: &UdpSocket, octets: &[u8]) -> Vec<u8> {
    socket.send(octets).expect("send");
    let mut reply = vec![0; 65_536];
    let len = socket.recv(&mut reply).expect("a reply");
    reply.truncate(len);
    reply
}

fn counter(counters: impl Iterator<Item = (&'static str, u64)>, name: &str) -> u64 {
    counters.into_iter().find(|(of, _)| *of == name).expect("a known counter").1
}

/// Polls until `done`, which must come within `PATIENCE`.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// Sends over our own sockets, which tell everything that the kernel knows of the reply.
fn ask_in_detail(to: SocketAddr, dscp_ecn: u8, octets: &[u8]) -> (Vec<u8>, ReceiveMeta) {
    let socket = sys::UdpSocket::open(&SocketRequest {
        local: SocketAddr::new(sys::socket::unspecified(to.ip()), 0),
        peer: Some(to),
        interface: None,
        reuse_port: false,
        ttl: 77,
        dscp_ecn,
        receive_buffer: 1 << 16,
        timestamps: TimestampMode::Kernel,
        stamp_all: false,
        packet_info: false,
        routing_header: Vec::new(),
    })
    .expect("open");
    SendBatch::new(1).send(socket.fd(), &[Outgoing { octets, destination: None, control: None }]).expect("send");
    let mut poll = Poll::new().expect("epoll");
    poll.add(socket.fd(), 0).expect("add");
    let now = SystemClock.monotonic();
    poll.wait(&mut Events::new(1), Some(now + PATIENCE.as_nanos() as i64), now).expect("wait");
    let mut batch = ReceiveBatch::new(1, 2048);
    assert_eq!(batch.receive(socket.fd(), 0).expect("receive"), 1);
    (batch.octets(0).to_vec(), batch.meta(0))
}

#[test]
fn replies_come_from_the_address_asked_with_ttl_255_and_the_dscp_of_the_request() {
    let mut reflector = running(&spec(&["127.0.0.1", "::1", "0.0.0.0", "::"]));
    let ports: Vec<_> = reflector.local_addresses().iter().map(SocketAddr::port).collect();
    let targets = [
        ("127.0.0.1", ports[0]),
        ("::1", ports[1]),
        ("127.0.0.1", ports[2]),
        ("127.9.8.7", ports[2]),
        ("::1", ports[3]),
    ];
    for (ip, port) in targets {
        let target = SocketAddr::new(ip.parse().expect("address"), port);
        let before = SystemClock.wall();
        let (mut reply, meta) = ask_in_detail(target, 0xbb, &request(9, 200));
        assert_eq!(meta.source, Some(target));
        assert_eq!((meta.ttl, meta.dscp_ecn, reply.len()), (Some(255), Some(0xb8), 200), "{target}");
        let packet = parse(&mut reply);
        assert_eq!((packet.sequence, packet.sender_sequence, packet.sender_ttl), (9, 9, Some(77)));
        let t2 = packet.receive_timestamp.decode(TimestampFormat::Ntp, before).expect("T2");
        let t3 = packet.timestamp.decode(TimestampFormat::Ntp, before).expect("T3");
        let t4 = meta.stamps.software.expect("T4");
        // T3 is a prediction: the first ones may miss by what has yet to be learned.
        assert!(before <= t2 && t2 <= t3 && t3.since(t4) < 50_000, "{before:?} {t2:?} {t3:?} {t4:?}");
    }
    reflector.stop(0);
    assert_eq!(counter(reflector.counters(), "test_packet:reflected"), targets.len() as u64);
    assert_eq!(counter(reflector.own_counters(), "receive_stamps_missing"), 0);
}

#[test]
fn replies_have_the_size_of_their_requests_up_to_the_largest_datagram() {
    let mut reflector = running(&spec(&["127.0.0.1"]));
    let socket = sender(reflector.local_addresses()[0]);
    for len in [14, 43, 44, 45, 112, 1500, 9000, 65_507] {
        assert_eq!(ask(&socket, &request(1, len)).len(), len.max(44));
    }
    socket.send(&request(1, 13)).expect("send");
    socket.send(&[]).expect("send");
    assert_eq!(ask(&socket, &request(1, 44)).len(), 44);
    reflector.stop(0);
    for (name, expected) in
        [("test_packet:reflected", 7), ("test_packet:reflected_larger", 2), ("too_short:dropped", 2)]
    {
        assert_eq!(counter(reflector.counters(), name), expected, "{name}");
    }
    assert_eq!(counter(reflector.own_counters(), "larger_replies"), 2);
}

#[test]
fn authenticated_requests_are_answered_with_the_key_of_their_ssid() {
    let key = b"sixteen octets!!";
    let mut reflector = running(&ReflectorSpec {
        keys: vec![("blue".to_owned(), Some(1), key.to_vec())],
        require_authentication: true,
        ..spec(&["::1"])
    });
    let socket = sender(reflector.local_addresses()[0]);
    let packet = SenderPacket {
        sequence: 3,
        timestamp: RawTimestamp::encode(SystemClock.wall(), TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::UNKNOWN,
        ssid: 1,
    };
    let sealed = |key: &[u8]| {
        let mut octets = vec![0; 112];
        let keys = TestKeys::Stamp(StampKey::new(key).expect("key"));
        packet.emit(PacketFormat::StampAuthenticated, &keys, &mut octets).expect("room");
        (octets, keys)
    };
    socket.send(&request(1, 112)).expect("send");
    socket.send(&sealed(b"another key").0).expect("send");
    let (octets, keys) = sealed(key);
    let mut reply = ask(&socket, &octets);
    let parsed = ReflectorPacket::parse(PacketFormat::StampAuthenticated, &keys, &mut reply, false).expect("authentic");
    assert_eq!((parsed.sender_sequence, parsed.ssid), (3, 1));
    reflector.stop(0);
    for name in ["test_packet:reflected", "unauthenticated:dropped", "bad_hmac:dropped"] {
        assert_eq!(counter(reflector.counters(), name), 1, "{name}");
    }
}

#[test]
fn workers_share_the_port_and_each_session_counts_from_zero() {
    let mut reflector = running(&ReflectorSpec { workers: 3, stateful: true, ..spec(&["127.0.0.1", "::1"]) });
    let mut replies = 0;
    // Kept open: a port that is given out again would go on with the test-session of its last owner.
    let mut sockets = Vec::new();
    for target in reflector.local_addresses().to_vec() {
        for _ in 0..20 {
            sockets.push(sender(target));
            let socket = &sockets[sockets.len() - 1];
            for round in 0..3 {
                let mut reply = ask(socket, &request(100 + round, 60));
                let packet = parse(&mut reply);
                assert_eq!((packet.sequence, packet.sender_sequence), (round, 100 + round));
                replies += 1;
            }
        }
    }
    assert_eq!(counter(reflector.own_counters(), "sessions"), 40);
    // Three for each of the two addresses.
    assert_eq!(counter(reflector.own_counters(), "workers_running"), 6);
    reflector.stop(0);
    assert_eq!(counter(reflector.counters(), "test_packet:reflected"), replies);
    assert_eq!(counter(reflector.own_counters(), "workers_running"), 0);
    assert_eq!(counter(reflector.own_counters(), "sessions"), 0);
}

#[test]
fn stopping_answers_what_is_queued() {
    let mut reflector = Reflector::open(&spec(&["127.0.0.1"])).expect("open");
    let socket = sender(reflector.local_addresses()[0]);
    // Queued before any worker runs, so that all of it is left to the drain if the stop comes first.
    for sequence in 0..500 {
        socket.send(&request(sequence, 44)).expect("send");
    }
    reflector.start().expect("start");
    reflector.stop(10 * SECOND_NS);
    assert_eq!(reflector.counters().map(|(_, packets)| packets).sum::<u64>(), 500);
    assert_eq!(counter(reflector.counters(), "test_packet:reflected"), 500);
    reflector.stop(0);
}

#[test]
fn departures_are_stamped_and_the_predictions_judged() {
    let mut reflector = running(&spec(&["127.0.0.1"]));
    let socket = sender(reflector.local_addresses()[0]);
    // As fast as loopback goes, only a share of the replies is stamped.
    eventually("stamps", || {
        ask(&socket, &request(1, 44));
        counter(reflector.own_counters(), "transmit_stamps") >= 100
    });
    reflector.stop(0);
    let errors = reflector.distribution("transmit_prediction_error").expect("a known name");
    assert!(errors.count() >= 100);
    assert!(reflector.distribution("residence").expect("a known name").min().expect("some") >= 0);
    assert!(reflector.distribution("nothing").is_none());
    // No statement about the machine's speed, but that predictions are of the right kind.
    assert!(errors.quantile(0.5).expect("some").abs() < 1_000_000);
}

#[test]
fn a_sender_that_has_gone_away_disturbs_nobody_else() {
    let mut reflector = running(&spec(&["127.0.0.1"]));
    let target = reflector.local_addresses()[0];
    let socket = sender(target);
    let mut gone = 0;
    eventually("an ICMP error", || {
        let absent = sender(target);
        absent.send(&request(1, 44)).expect("send");
        drop(absent);
        gone += 1;
        assert_eq!(ask(&socket, &request(2, 44)).len(), 44);
        counter(reflector.own_counters(), "icmp_errors") > 0
    });
    reflector.stop(SECOND_NS);
    let reflected = counter(reflector.counters(), "test_packet:reflected");
    let failed = counter(reflector.counters(), "send_failed:dropped");
    assert_eq!((reflected, failed), (2 * gone, 0));
}

#[test]
fn user_timestamps_need_no_stamps_of_the_kernel() {
    let mut reflector = running(&ReflectorSpec { timestamps: TimestampMode::User, ..spec(&["127.0.0.1"]) });
    let socket = sender(reflector.local_addresses()[0]);
    let before = SystemClock.wall();
    let packet = parse(&mut ask(&socket, &request(1, 44)));
    let t2 = packet.receive_timestamp.decode(TimestampFormat::Ntp, before).expect("T2");
    assert!(before <= t2 && t2 <= SystemClock.wall());
    assert_eq!(packet.timestamp.decode(TimestampFormat::Ntp, before).map(|t3| t3 >= t2), Ok(true));
    reflector.stop(0);
    assert_eq!(counter(reflector.own_counters(), "receive_stamps_missing"), 1);
    assert_eq!(counter(reflector.own_counters(), "transmit_stamps"), 0);
}

/// One forged datagram between two reflectors of flesh and blood: the exchange dies with the first reply.
#[test]
fn a_forged_packet_between_two_reflectors_dies() {
    let mut first = running(&spec(&["127.0.0.1"]));
    let port = first.local_addresses()[0].port();
    // The second one listens where the forged packet claims to come from; an ordinary socket there sends it first.
    let forger = UdpSocket::bind("127.0.0.2:0").expect("bind");
    let claimed = forger.local_addr().expect("address");
    forger.send_to(&request(1, 44), first.local_addresses()[0]).expect("send");
    let mut reply = [0; 100];
    forger.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let (len, from) = forger.recv_from(&mut reply).expect("the reply that the second reflector would get");
    drop(forger);
    let listen = vec![(claimed.ip(), claimed.port(), 0)];
    let mut second = running(&ReflectorSpec { listen, ..spec(&[]) });
    let bouncer = UdpSocket::bind("127.0.0.3:0").expect("bind");
    bouncer.send_to(&reply[..len], claimed).expect("send");
    eventually("the second reflector's verdict", || counter(second.counters(), "reply_shaped:dropped") == 1);
    second.stop(SECOND_NS);
    first.stop(SECOND_NS);
    assert_eq!(from.port(), port);
    assert_eq!(second.counters().map(|(_, packets)| packets).sum::<u64>(), 1);
    assert_eq!(first.counters().map(|(_, packets)| packets).sum::<u64>(), 1);
}

#[test]
fn refusals_name_what_cannot_be() {
    let taken = Reflector::open(&spec(&["127.0.0.1"])).expect("open");
    let port = taken.local_addresses()[0].port();
    let local = "127.0.0.1".parse().expect("address");
    let base = || spec(&["127.0.0.1"]);
    for workers in [1, 2] {
        let again = ReflectorSpec { listen: vec![(local, port, 0)], workers, ..base() };
        let error = Reflector::open(&again).map(drop).expect_err("a port in use");
        assert_eq!((error.operation, error.address), ("bind", format!("127.0.0.1:{port}")));
    }
    let key = |ssid| ("k".to_owned(), ssid, vec![1; 16]);
    let cases: HashMap<&str, ReflectorSpec> = HashMap::from([
        ("listen", ReflectorSpec { listen: Vec::new(), ..base() }),
        ("is given twice", ReflectorSpec { listen: vec![(local, 9999, 0); 2], ..base() }),
        ("workers", ReflectorSpec { workers: 0, ..base() }),
        ("max-sessions", ReflectorSpec { stateful: true, max_sessions: 0, ..base() }),
        ("session-timeout", ReflectorSpec { stateful: true, session_timeout_ns: 0, ..base() }),
        ("dscp", ReflectorSpec { dscp: Some(64), ..base() }),
        ("require-authentication", ReflectorSpec { require_authentication: true, ..base() }),
        ("prefix length 33", ReflectorSpec { allow: vec![(local, 33)], ..base() }),
        ("key is empty", ReflectorSpec { keys: vec![("k".to_owned(), None, Vec::new())], ..base() }),
        ("more than 4 keys", ReflectorSpec { keys: vec![key(Some(1)); 5], ..base() }),
        ("no-such-device", ReflectorSpec { interface: Some("no-such-device".to_owned()), ..base() }),
        ("no-such-netns", ReflectorSpec { netns: Some("no-such-netns".to_owned()), ..base() }),
    ]);
    for (named, refused) in cases {
        let error = Reflector::open(&refused).map(drop).expect_err(named).to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
    let hardware = Reflector::open(&ReflectorSpec { timestamps: TimestampMode::Hardware, ..base() }).expect("open");
    assert!(hardware.obtained().iter().any(|(option, _)| *option == "timestamps"));
}

#[test]
fn a_reflector_that_was_never_started_stops_too() {
    let mut reflector = Reflector::open(&spec(&["127.0.0.1"])).expect("open");
    let address = reflector.local_addresses()[0];
    reflector.stop(0);
    // Its socket is closed: the port is free again.
    drop(UdpSocket::bind(address).expect("a free port"));
}
