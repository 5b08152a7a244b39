//! Session-Senders on real sockets over loopback, against a Session-Reflector of this test's own.

use std::net::{SocketAddr, UdpSocket as Std};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use twoway_plane::clock::{Clock, Moment};
use twoway_plane::ledger::{LedgerSpec, ReflectorMode};
use twoway_plane::path::ForwardPath;
use twoway_plane::sample::{Sample, SampleStatus, TimestampSource};
use twoway_plane::schedule::Spacing;
use twoway_plane::sender::event::EventKind;
use twoway_plane::sender::handle::Shared;
use twoway_plane::sender::{Plane, Sender, SenderSpec};
use twoway_plane::session_sender::extensions::{TlvPlan, TlvRequests, WayBack};
use twoway_plane::session_sender::{Padding, SessionSender, SessionSpec};
use twoway_plane::sys::{SocketRequest, SystemClock, TimestampMode};
use twoway_wire::{
    ErrorEstimate, PacketFormat, ReflectInput, SenderPacket, TestKeys, TimestampFormat, WallNanos, reflect_in_place,
    reply_len,
};

/// Answers STAMP packets; `drop` names the sequence numbers that it does not answer.
struct Far {
    address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Far {
    fn start(bind: &str, drop: impl Fn(u32) -> bool + Send + 'static) -> Self {
        let socket = Std::bind(bind).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let (mut octets, mut count) = ([0; 2048], 0);
            while !ended.load(Ordering::Relaxed) {
                let Ok((len, source)) = socket.recv_from(&mut octets) else { continue };
                let now = SystemClock.wall();
                let request = SenderPacket::parse(PacketFormat::Stamp, &TestKeys::None, &mut octets[..len]).unwrap();
                if drop(request.sequence) {
                    continue;
                }
                let input = ReflectInput {
                    sequence: Some(count),
                    receive_timestamp: now,
                    transmit_timestamp: SystemClock.wall(),
                    error_estimate: ErrorEstimate::new(true, TimestampFormat::Ntp, Some(1000)),
                    ttl: Some(64),
                    dscp_ecn: None,
                    symmetrical_size: false,
                };
                count += 1;
                let len = reply_len(PacketFormat::Stamp, len, false);
                reflect_in_place(PacketFormat::Stamp, &TestKeys::None, &request, &input, &mut octets[..len]).unwrap();
                socket.send_to(&octets[..len], source).unwrap();
            }
        });
        Self { address, end, thread: Some(thread) }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn spec(target: SocketAddr, count: Option<u64>, interval_ns: i64) -> SenderSpec {
    let timeout_ns = 300_000_000;
    let local: SocketAddr = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let ledger = LedgerSpec {
        ring: 1024,
        timeout_ns,
        reflector_mode: ReflectorMode::Stateful,
        timestamp_format: TimestampFormat::Ntp,
        timestamps: TimestampSource::Kernel,
        stamp_wait_ns: 50_000_000,
        attribution_wait_ns: i64::MAX,
        attribution_capacity: 4096,
        follow_up_wait_ns: 0,
        replies_asked: 1,
        start: WallNanos(0),
    };
    let session = SessionSpec {
        format: PacketFormat::Stamp,
        keys: TestKeys::None,
        ssid: 7,
        require_ssid: false,
        timestamp_format: TimestampFormat::Ntp,
        payload_len: 100,
        padding: Padding { random: true, symmetrical_size: true, server_octets: None, reflected: 0 },
        tlvs: TlvPlan::default(),
        one_way: false,
        count,
        spacing: Spacing::Periodic,
        group: None,
        interval_ns,
        seed: 1,
        dscp_ecn_monitoring: false,
        timestamps: TimestampMode::Kernel,
        ledger,
        samples: true,
    };
    let socket = SocketRequest {
        local,
        peer: Some(target),
        interface: None,
        reuse_port: false,
        ttl: 255,
        dscp_ecn: 0,
        receive_buffer: 1 << 20,
        timestamps: TimestampMode::Kernel,
        stamp_all: true,
        packet_info: false,
        routing_header: Vec::new(),
    };
    SenderSpec {
        session,
        socket,
        path: ForwardPath::Routed,
        next_hop_patience: Duration::ZERO,
        netns: None,
        sample_capacity: 100_000,
    }
}

/// Polls, with a bound, until the session is finished; returns all its samples.
fn finish(plane: &Plane, sender: &Sender) -> Vec<Sample> {
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(20) {
        let finished = sender.is_finished();
        plane.acknowledge();
        samples.extend(sender.take_samples());
        if finished {
            return samples;
        }
        std::thread::yield_now();
    }
    panic!("not finished: {:?}", sender.summary().unwrap());
}

#[test]
fn every_packet_comes_back_with_kernel_stamps() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let far = Far::start(bind, |_| false);
        let plane = Plane::new(1, false).unwrap();
        let sender = plane.open_sender(spec(far.address, Some(200), 200_000)).unwrap();
        sender.start(Moment::Now);
        let samples = finish(&plane, &sender);
        let summary = sender.summary().unwrap();
        let counter = |name| summary.counter(name).unwrap();
        // A machine that stands still for a while misses slots: then they are counted.
        let sent = counter("sent");
        assert_eq!((sent + counter("missed_slots"), counter("received")), (200, sent));
        assert_eq!((counter("t1_kernel"), counter("t4_kernel")), (sent, sent), "no stamp fell back");
        let samples: Vec<_> = samples.into_iter().filter(|sample| sample.status != SampleStatus::NotSent).collect();
        let mut sequences: Vec<_> = samples.iter().map(|sample| sample.sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, (0..sent as u32).collect::<Vec<_>>());
        for sample in &samples {
            assert_eq!((sample.status, sample.sender_ttl), (SampleStatus::Received, 64));
            assert!(sample.round_trip_ns > 0 && sample.t1_ns < sample.t4_ns, "{sample:?}");
        }
        assert_eq!(summary.distribution("round_trip").unwrap().count(), sent);
    }
}

/// A session that asks for a way back.
fn asking(target: SocketAddr, way_back: WayBack) -> SenderSpec {
    let mut spec = spec(target, Some(50), 1_000_000);
    let requests = TlvRequests { return_path: Some(way_back), ..TlvRequests::default() };
    spec.session.tlvs = TlvPlan::new(requests, spec.session.payload_len - PacketFormat::Stamp.sender_len()).unwrap();
    spec
}

#[test]
fn replies_are_received_at_the_address_that_was_asked_for_and_at_the_first_one() {
    // This far end obeys nothing, so replies come to the first address; a stranger's come to neither.
    let far = Far::start("127.0.0.1:0", |_| false);
    let plane = Plane::new(1, false).unwrap();
    let elsewhere = "127.0.0.9".parse().unwrap();
    let sender = plane.open_sender(asking(far.address, WayBack::Address(elsewhere))).unwrap();
    // The port is the same at both.
    let taken = Std::bind((elsewhere, sender.local().port())).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    sender.start(Moment::Now);
    finish(&plane, &sender);
    let summary = sender.summary().unwrap();
    let sent = summary.counter("sent").unwrap();
    assert_eq!(summary.counter("received").unwrap(), sent);
    let nowhere = asking(far.address, WayBack::Address("192.0.2.1".parse().unwrap()));
    let refused = plane.open_sender(nowhere).unwrap_err();
    assert_eq!((refused.operation, refused.errno), ("bind", libc::EADDRNOTAVAIL));
}

#[test]
fn who_asks_for_no_reply_misses_none() {
    let far = Far::start("127.0.0.1:0", |sequence| sequence % 2 == 0);
    let plane = Plane::new(1, false).unwrap();
    let sender = plane.open_sender(asking(far.address, WayBack::NoReply)).unwrap();
    let begun = Instant::now();
    sender.start(Moment::Now);
    assert_eq!(finish(&plane, &sender), []);
    assert!(begun.elapsed() < Duration::from_secs(3));
    let summary = sender.summary().unwrap();
    let counter = |name| summary.counter(name).unwrap();
    assert_eq!(counter("sent") + counter("missed_slots"), 50);
    assert_eq!((counter("received"), counter("lost_unattributed"), counter("pending")), (0, 0, 0));
    // A far end that knows no TLVs answers, and returns the U flag that we set: it has refused.
    assert!(counter("return_path_refused") > 0);
}

#[test]
fn what_is_not_answered_is_lost_forward_and_the_session_ends_at_the_last_timeout() {
    let far = Far::start("127.0.0.1:0", |sequence| sequence % 10 == 3);
    let plane = Plane::new(1, false).unwrap();
    let sender = plane.open_sender(spec(far.address, Some(100), 1_000_000)).unwrap();
    let begun = Instant::now();
    sender.start(Moment::Now);
    let samples = finish(&plane, &sender);
    assert!(begun.elapsed() < Duration::from_secs(3));
    let summary = sender.summary().unwrap();
    let counter = |name| summary.counter(name).unwrap();
    let (sent, lost) = (counter("sent"), counter("lost_forward"));
    assert_eq!((sent + counter("missed_slots"), counter("received") + lost), (100, sent));
    assert_eq!(lost, (0..sent).filter(|sequence| sequence % 10 == 3).count() as u64);
    let rows: Vec<_> = samples.iter().filter(|sample| sample.status == SampleStatus::LostForward).collect();
    assert_eq!(rows.len() as u64, lost);
    assert!(rows.iter().all(|sample| sample.sequence % 10 == 3));
    assert_eq!(summary.loss_bursts().get(&1), Some(&lost));
}

#[test]
fn a_target_that_is_not_there_is_an_event_and_a_loss() {
    let closed = Std::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plane = Plane::new(1, false).unwrap();
    let sender = plane.open_sender(spec(closed, Some(20), 1_000_000)).unwrap();
    sender.start(Moment::Now);
    finish(&plane, &sender);
    let summary = sender.summary().unwrap();
    let counter = |name| summary.counter(name).unwrap();
    // A busy host may come too late for a slot.
    assert_eq!(counter("sent") + counter("missed_slots"), 20);
    assert_eq!(counter("send_errors"), 0, "an ICMP error about one packet does not stop the next");
    assert_eq!(counter("lost_unattributed") + counter("lost_forward"), counter("sent"));
    assert!(counter("icmp_errors") > 0);
    assert!(sender.take_events().iter().any(|event| event.kind == EventKind::IcmpUnreachable));
}

#[test]
fn a_stop_awaits_what_is_outstanding_and_an_abort_does_not() {
    let far = Far::start("127.0.0.1:0", |_| true);
    let plane = Plane::new(1, false).unwrap();
    for (abort, name) in [(false, "lost_unattributed"), (true, "pending")] {
        let sender = plane.open_sender(spec(far.address, None, 1_000_000)).unwrap();
        sender.start(Moment::Now);
        let begun = Instant::now();
        while sender.summary().unwrap().counter("sent") < Some(5) {
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
        if abort {
            sender.abort();
        } else {
            sender.stop();
        }
        finish(&plane, &sender);
        let summary = sender.summary().unwrap();
        let sent = summary.counter("sent").unwrap();
        assert!(sent >= 5);
        assert_eq!(summary.counter(name), Some(sent), "{summary:?}");
    }
}

#[test]
fn a_thousand_sessions_share_one_thread() {
    let far = Far::start("127.0.0.1:0", |_| false);
    let plane = Plane::new(1, false).unwrap();
    let senders: Vec<_> =
        (0..1000).map(|_| plane.open_sender(spec(far.address, Some(3), 50_000_000)).unwrap()).collect();
    for sender in &senders {
        sender.start(Moment::Now);
    }
    for sender in &senders {
        finish(&plane, sender);
    }
    let total =
        |name: &str| -> u64 { senders.iter().map(|sender| sender.summary().unwrap().counter(name).unwrap()).sum() };
    // They all start in the same moment: what we came too late for, and what this test's own reflector had no room for,
    // is accounted for.
    assert_eq!(total("sent") + total("missed_slots"), 3000);
    let lost = total("lost_forward") + total("lost_backward") + total("lost_unattributed");
    assert_eq!(total("received") + total("late") + lost, total("sent"));
}

#[test]
fn a_session_whose_packets_are_all_refused_still_ends() {
    let plane = Plane::new(1, false).unwrap();
    // Larger than an IPv4 packet can be: the kernel refuses each one.
    let mut refused = spec("127.0.0.1:9".parse().unwrap(), Some(3), 1_000_000);
    refused.session.payload_len = 65_515;
    let sender = plane.open_sender(refused).unwrap();
    sender.start(Moment::Now);
    finish(&plane, &sender);
    let summary = sender.summary().unwrap();
    let counter = |name| summary.counter(name).unwrap();
    // A busy host may come too late for a slot, though hardly for all of them.
    assert_eq!((counter("sent"), counter("send_errors") + counter("missed_slots")), (0, 3));
    let events = sender.take_events();
    assert!(
        events.iter().any(|event| (event.kind, event.errno) == (EventKind::SendError, libc::EMSGSIZE)),
        "{events:?}"
    );
}

#[test]
fn a_slot_whose_moment_has_passed_says_by_how_much() {
    let interval_ns = 20_000_000;
    let target = "127.0.0.1:862".parse().unwrap();
    let mut engine = SessionSender::new(spec(target, Some(6), interval_ns).session);
    engine.start(0, WallNanos(0), 0);
    let mut packet = [0; 100];
    // Slots at 0, 20, 40, 60, 80 and 100 ms, and nobody looked until now.
    let built = engine.build(None, 75_000_000, WallNanos(75_000_000), 0, &mut packet).unwrap();
    engine.departed(&built);
    let shared = Shared::new(10);
    assert!(engine.hand_over(&shared));
    let rows: Vec<_> = shared.take_samples().iter().map(|row| (row.status, row.send_lateness_ns)).collect();
    let missed = |lateness_ns| (SampleStatus::NotSent, lateness_ns);
    assert_eq!(rows, [missed(75_000_000), missed(55_000_000), missed(35_000_000)]);
    // And not until all of them were over.
    assert!(engine.build(None, 200_000_000, WallNanos(200_000_000), 0, &mut packet).is_none());
    assert!(engine.hand_over(&shared));
    let rows: Vec<_> = shared.take_samples().iter().map(|row| (row.status, row.send_lateness_ns)).collect();
    assert_eq!(rows, [missed(120_000_000), missed(100_000_000)]);
}
