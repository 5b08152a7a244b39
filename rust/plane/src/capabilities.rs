//! What this host can do for a measurement, found out by trying: real packets are sent to see which stamps come back.

use std::io;
use std::net::SocketAddr;
use std::sync::Once;

use crate::clock::Clock;
use crate::error::PlaneError;
use crate::sys::{
    ErrorQueue, Events, Outgoing, Poll, QueueEntry, ReceiveBatch, SendBatch, SocketName, SocketRequest, SystemClock,
    TimestampMode, UdpSocket, clock_state, probe,
};

/// A feature, whether it is there, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name, of [`NAMES`].
    pub name: &'static str,
    /// It can be used.
    pub available: bool,
    /// What the kernel said or did.
    pub seen: String,
}

/// All features that are tried.
pub const NAMES: &[&str] = &[
    "receive_stamps",
    "transmit_stamps",
    "interface_transmit_stamps",
    "hardware_stamps",
    "receive_buffer",
    "low_ports",
    "srv6",
    "srv6_receive",
    "packet_socket",
    "xdp",
    "net_admin",
    "clock_readable",
    "clock_synchronized",
];

/// Waits this long for a stamp that loopback delivers at once, if at all.
const PATIENCE_NS: i64 = 200_000_000;
/// The kernel's deferred job has begun to stamp within this time.
const ENABLE_NS: i64 = 30_000_000;
/// `CAP_NET_ADMIN` of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
/// What a reflector asks for, to ride out some tens of milliseconds at full rate.
const AMPLE_BUFFER: usize = 4 << 20;
/// The port of the `discard` service: an answer is not expected.
const DISCARD: u16 = 9;

/// Tries everything; `interface` adds what one interface can do.
pub fn capabilities(interface: Option<&str>) -> Vec<Capability> {
    let mut found = Vec::new();
    let mut note = |name, available, seen: String| found.push(Capability { name, available, seen });
    let mut buffer = None;
    match loopback(&mut buffer) {
        Ok((received, transmitted)) => {
            note("receive_stamps", received.is_some(), latency("receive stamp after", received));
            note("transmit_stamps", transmitted.is_some(), latency("transmit stamp after", transmitted));
        }
        Err(error) => {
            note("receive_stamps", false, error.to_string());
            note("transmit_stamps", false, error.to_string());
        }
    }
    if let Some(interface) = interface {
        match transmit(interface) {
            Ok(gap) => note("interface_transmit_stamps", gap.is_some(), latency("transmit stamp after", gap)),
            Err(error) => note("interface_transmit_stamps", false, error.to_string()),
        }
        let (available, seen) = hardware(interface);
        note("hardware_stamps", available, seen);
    } else {
        note("hardware_stamps", false, "name an interface to ask it".to_owned());
    }
    match buffer {
        None => note("receive_buffer", true, format!("{AMPLE_BUFFER} octets")),
        Some(granted) => note("receive_buffer", false, granted),
    }
    let mut tried = |name, result: io::Result<()>, seen: &str| match result {
        Ok(()) => note(name, true, seen.to_owned()),
        Err(error) => note(name, false, error.to_string()),
    };
    tried("low_ports", probe::low_port(862), "UDP port 862 may be bound");
    tried("srv6", probe::segment_routing_v6(), "a segment routing header may be set");
    let (takes, seen) = segments_taken();
    tried("packet_socket", probe::packet_socket(), "whole frames may be sent");
    tried("xdp", probe::xdp(), "AF_XDP sockets may be opened");
    note("srv6_receive", takes, seen);
    let admin = probe::capable(CAP_NET_ADMIN);
    note("net_admin", admin, if admin { "CAP_NET_ADMIN is held" } else { "CAP_NET_ADMIN is not held" }.to_owned());
    let state = clock_state();
    if state.errno == 0 {
        note("clock_readable", true, "adjtimex answers".to_owned());
    } else {
        note("clock_readable", false, io::Error::from_raw_os_error(state.errno).to_string());
    }
    let bound = state
        .error_ns
        .map_or_else(|| "the kernel says: not synchronised".to_owned(), |ns| format!("maximum error {} us", ns / 1000));
    note("clock_synchronized", state.synchronized, bound);
    found
}

/// Whether some interface takes packets with a segment routing header.
fn segments_taken() -> (bool, String) {
    match probe::interfaces_that_take_segments() {
        None => (false, "net.ipv6.conf.all.seg6_enabled is 0".to_owned()),
        Some(names) if names.is_empty() => (false, "seg6_enabled is 0 for each interface".to_owned()),
        Some(names) => (true, format!("packets with a segment routing header are taken by {}", names.join(", "))),
    }
}

fn latency(what: &str, gap_ns: Option<i64>) -> String {
    gap_ns.map_or_else(|| "none came".to_owned(), |gap| format!("{what} {}.{} us", gap / 1000, gap % 1000 / 100))
}

fn request(local: SocketAddr) -> SocketRequest {
    SocketRequest {
        local,
        peer: None,
        interface: None,
        reuse_port: false,
        ttl: 255,
        dscp_ecn: 0,
        receive_buffer: AMPLE_BUFFER,
        timestamps: TimestampMode::Kernel,
        stamp_all: true,
        packet_info: false,
        routing_header: Vec::new(),
    }
}

/// Sends datagrams over loopback until one comes with a receive stamp: gaps from the clock reading to the receive and to the
/// transmit stamp.
///
/// The kernel begins to stamp what it receives when the first socket of the host asks, but by a deferred job
/// (`netstamp_wanted` in net/core/dev.c): for some milliseconds nothing is stamped yet.
fn loopback(buffer: &mut Option<String>) -> Result<(Option<i64>, Option<i64>), PlaneError> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let failed = |error: io::Error| PlaneError::system("send", local, &error);
    let far = UdpSocket::open(&request(local))?;
    *buffer = far.obtained.iter().find(|(option, _)| *option == "receive-buffer").map(|(_, seen)| seen.clone());
    let near = UdpSocket::open(&SocketRequest { peer: Some(far.local()), ..request(local) })?;
    let mut batch = ReceiveBatch::new(1, 64);
    let give_up_ns = SystemClock.monotonic() + ENABLE_NS;
    loop {
        let before = SystemClock.wall();
        SendBatch::new(1)
            .send(near.fd(), &[Outgoing { octets: b"twoway", destination: None, control: None }])
            .map_err(failed)?;
        await_ready(&far).map_err(failed)?;
        let received = match batch.receive(far.fd(), 0).map_err(failed)? {
            0 => None,
            _ => batch.meta(0).stamps.software.map(|stamp| stamp.since(before)),
        };
        let transmitted = transmit_stamp(&near, before).map_err(failed)?;
        if received.is_some() || SystemClock.monotonic() > give_up_ns {
            return Ok((received, transmitted));
        }
    }
}

/// Waits, not long, until the kernel stamps what it receives. To be called while a socket that asks for stamps is open,
/// which keeps it so; once a process is enough.
pub fn await_receive_stamps() {
    static ONCE: Once = Once::new();
    // Without loopback nothing is found out; then the first packets fall back to our own clock, and are counted.
    ONCE.call_once(|| drop(loopback(&mut None)));
}

/// Sends one datagram that stays on the interface's link, to see whether its departure is stamped.
fn transmit(interface: &str) -> Result<Option<i64>, PlaneError> {
    let failed = |error: io::Error| PlaneError::system("send", interface, &error);
    let local = SocketAddr::from(([0, 0, 0, 0], 0));
    let ask = SocketRequest { interface: Some(interface.to_owned()), ttl: 1, ..request(local) };
    let socket = UdpSocket::open(&ask)?;
    // All hosts on this link; nobody forwards it, and nobody listens to discard.
    let all_hosts = SocketName::new(&SocketAddr::from(([224, 0, 0, 1], DISCARD)));
    let before = SystemClock.wall();
    SendBatch::new(1)
        .send(socket.fd(), &[Outgoing { octets: b"twoway", destination: Some(&all_hosts), control: None }])
        .map_err(failed)?;
    transmit_stamp(&socket, before).map_err(failed)
}

fn transmit_stamp(socket: &UdpSocket, before: twoway_wire::WallNanos) -> io::Result<Option<i64>> {
    await_ready(socket)?;
    let mut gap = None;
    ErrorQueue::new(4).read(socket.fd(), |entry| {
        if let QueueEntry::TransmitStamp { stamps, .. } = entry {
            gap = stamps.software.map(|stamp| stamp.since(before));
        }
    })?;
    Ok(gap)
}

fn await_ready(socket: &UdpSocket) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.add(socket.fd(), 0)?;
    let now = SystemClock.monotonic();
    poll.wait(&mut Events::new(1), Some(now + PATIENCE_NS), now)
}

fn hardware(interface: &str) -> (bool, String) {
    match probe::interface_stamps(interface) {
        Ok((flags, clock)) => {
            let both = libc::SOF_TIMESTAMPING_TX_HARDWARE | libc::SOF_TIMESTAMPING_RX_HARDWARE;
            let able = flags & both == both && clock >= 0;
            let seen =
                if able { format!("clock /dev/ptp{clock}") } else { format!("{interface} has no stamping clock") };
            (able, seen)
        }
        Err(error) => (false, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_answered_once_and_loopback_stamps_both_ways() {
        let found = capabilities(Some("lo"));
        let mut names: Vec<_> = found.iter().map(|capability| capability.name).collect();
        assert_eq!(names.len(), NAMES.len());
        names.sort_unstable();
        let mut expected = NAMES.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected);
        for name in ["receive_stamps", "transmit_stamps"] {
            let stamp = found.iter().find(|capability| capability.name == name).unwrap();
            assert!(stamp.available, "{stamp:?}");
        }
    }

    #[test]
    fn an_interface_that_does_not_exist_says_so() {
        let found = capabilities(Some("no-such-dev"));
        let stamps = found.iter().find(|capability| capability.name == "interface_transmit_stamps").unwrap();
        assert!(!stamps.available && stamps.seen.contains("no-such-dev"), "{stamps:?}");
    }
}
