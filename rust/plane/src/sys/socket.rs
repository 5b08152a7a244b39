//! UDP sockets as a measurement needs them.
//!
//! Each option is tried. What the kernel refuses is either an error that names the option (the measurement would be
//! another one without it) or a note in `obtained` (it is still the same measurement, with a lesser source).
//! Never set: `UDP_GRO`, `UDP_SEGMENT` (one stamp would cover many packets).

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::address::SocketName;
use super::check;
use super::namespace::in_namespace;
use crate::error::PlaneError;

/// Which stamps to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampMode {
    /// None: the process reads its clock.
    User,
    /// Of the network stack.
    Kernel,
    /// Of the NIC, beside those of the network stack.
    Hardware,
}

/// What socket to open.
#[derive(Clone, Debug)]
pub struct SocketRequest {
    /// Local address; port 0 for any.
    pub local: SocketAddr,
    /// Peer, for a socket that hears nobody else.
    pub peer: Option<SocketAddr>,
    /// Interface or VRF device to bind to.
    pub interface: Option<String>,
    /// Share the port with other sockets of ours, which the kernel balances.
    pub reuse_port: bool,
    /// TTL or hop limit to send with.
    pub ttl: u8,
    /// TOS or traffic class octet to send with.
    pub dscp_ecn: u8,
    /// Receive buffer asked for, in octets.
    pub receive_buffer: usize,
    /// Which stamps.
    pub timestamps: TimestampMode,
    /// Stamp each departure, not only those whose control message asks.
    pub stamp_all: bool,
    /// Tell each datagram's destination address and interface.
    pub packet_info: bool,
    /// Routing header that each datagram carries (`wire::srv6`); empty for none. IPv6 only.
    pub routing_header: Vec<u8>,
}

/// An open UDP socket, non-blocking.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
    /// What was obtained in lesser form: (option, what stands instead).
    pub obtained: Vec<(&'static str, String)>,
}

/// Opens a socket that nothing is set on, for whoever brings it on himself: TCP where `stream`, else UDP.
pub fn open_bare(netns: Option<&str>, v6: bool, stream: bool) -> Result<OwnedFd, PlaneError> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = if stream { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
    in_namespace(netns, || {
        // SAFETY: socket takes integers; the descriptor returned is new and owned by nobody else.
        check(unsafe { libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .map_err(|error| PlaneError::system("open socket", netns.unwrap_or_default(), &error))
    })
}

pub(super) fn set<T>(fd: RawFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads size_of::<T>() octets of `value`; all callers pass integers or structs of them.
    check(unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), size_of::<T>() as u32) })
        .map(drop)
}

/// Bounds how long a receive call of a blocking socket waits.
pub(super) fn set_receive_timeout(fd: RawFd, limit: Duration) -> io::Result<()> {
    let limit = libc::timeval { tv_sec: limit.as_secs() as i64, tv_usec: i64::from(limit.subsec_micros()) };
    set(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &limit)
}

/// Asks the kernel for stamps; with `all`, of each departure, else of those whose control message asks.
pub(super) fn ask_for_stamps(fd: RawFd, timestamps: TimestampMode, all: bool) -> io::Result<()> {
    if timestamps == TimestampMode::User {
        return Ok(());
    }
    let mut flags = libc::SOF_TIMESTAMPING_SOFTWARE
        | libc::SOF_TIMESTAMPING_RX_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_ID
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    if all {
        flags |= libc::SOF_TIMESTAMPING_TX_SOFTWARE;
    }
    if timestamps == TimestampMode::Hardware {
        flags |= libc::SOF_TIMESTAMPING_RAW_HARDWARE
            | libc::SOF_TIMESTAMPING_RX_HARDWARE
            | libc::SOF_TIMESTAMPING_OPT_TX_SWHW;
        if all {
            flags |= libc::SOF_TIMESTAMPING_TX_HARDWARE;
        }
    }
    set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &flags)
}

fn get_int(fd: RawFd, level: i32, option: i32) -> io::Result<i32> {
    let (mut value, mut len) = (0i32, size_of::<i32>() as u32);
    // SAFETY: the kernel writes at most `len` octets into `value`.
    check(unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

impl UdpSocket {
    /// Opens, binds and (with a peer) connects; the first refusal is the error.
    pub fn open(request: &SocketRequest) -> Result<Self, PlaneError> {
        let v6 = request.local.is_ipv6();
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let subject = request.peer.unwrap_or(request.local);
        // SAFETY: socket takes integers; the descriptor returned is new and owned by nobody else.
        let fd = check(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .map_err(|error| PlaneError::system("open socket", subject, &error))?;
        let mut socket = Self { fd, local: request.local, obtained: Vec::new() };
        socket.configure(request, v6)?;
        socket.bind(request)?;
        if let Some(peer) = &request.peer {
            let name = SocketName::new(peer);
            // SAFETY: the name is ours, with its true length.
            check(unsafe { libc::connect(socket.fd(), name.as_ptr(), name.len()) })
                .map_err(|error| PlaneError::system("connect", peer, &error))?;
        }
        socket.local = socket.local_name().map_err(|error| PlaneError::system("read address", subject, &error))?;
        // Last, so that the numbering of datagrams (OPT_ID) starts at the first one sent.
        socket.request_stamps(request)?;
        Ok(socket)
    }

    /// The descriptor, which stays this socket's.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Lets a receive call that may wait do so, but not for longer.
    pub fn wait_at_most(&self, limit: Duration) -> io::Result<()> {
        set_receive_timeout(self.fd(), limit)?;
        // SAFETY: both calls take integers only.
        unsafe {
            let flags = check(libc::fcntl(self.fd(), libc::F_GETFL))?;
            check(libc::fcntl(self.fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK)).map(drop)
        }
    }

    /// Address and port it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    fn configure(&mut self, request: &SocketRequest, v6: bool) -> Result<(), PlaneError> {
        let fd = self.fd();
        let option = |name: &'static str, level, option, value: i32| {
            set(fd, level, option, &value).map_err(|error| PlaneError::system(name, request.local, &error))
        };
        if request.reuse_port {
            option("share port", libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        option("count drops", libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        let (ttl, class) = (i32::from(request.ttl), i32::from(request.dscp_ecn));
        if v6 {
            option("separate IPv6 from IPv4", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            option("set hop limit", libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl)?;
            option("set traffic class", libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)?;
            option("receive hop limit", libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
            option("receive traffic class", libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            option("receive ICMP errors", libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
            if request.packet_info {
                option("receive destination", libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
        } else {
            option("set TTL", libc::IPPROTO_IP, libc::IP_TTL, ttl)?;
            option("set TOS", libc::IPPROTO_IP, libc::IP_TOS, class)?;
            option("receive TTL", libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
            option("receive TOS", libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
            option("receive ICMP errors", libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
            if request.packet_info {
                option("receive destination", libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            }
        }
        if !request.routing_header.is_empty() {
            self.set_routing_header(&request.routing_header)
                .map_err(|error| PlaneError::system("set segment routing header", request.local, &error))?;
        }
        self.enlarge_buffer(request.receive_buffer);
        if let Some(interface) = &request.interface {
            self.bind_to_interface(interface)?;
        }
        Ok(())
    }

    /// Gives each datagram from now on a routing header, or none if it is empty: taking one away cannot fail. Before
    /// `connect`, which then looks for the way to the first segment. The kernel takes one as an option of the socket from
    /// anybody; beside a single datagram it refuses one of this type.
    pub fn set_routing_header(&self, header: &[u8]) -> io::Result<()> {
        let (value, len) = (header.as_ptr().cast(), header.len() as u32);
        // SAFETY: the kernel reads the announced length of `header`.
        check(unsafe { libc::setsockopt(self.fd(), libc::IPPROTO_IPV6, libc::IPV6_RTHDR, value, len) }).map(drop)
    }

    /// Asks for a receive buffer; a smaller one than asked is noted. `SO_RCVBUFFORCE` passes `net.core.rmem_max` with
    /// `CAP_NET_ADMIN`. The kernel doubles what it is asked for, to pay for its own bookkeeping.
    fn enlarge_buffer(&mut self, octets: usize) {
        let fd = self.fd();
        let wanted = i32::try_from(octets).unwrap_or(i32::MAX);
        if set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &wanted).is_err() {
            // The setting is clamped silently; what stands is read back below.
            let _ = set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &wanted);
        }
        let granted = get_int(fd, libc::SOL_SOCKET, libc::SO_RCVBUF).unwrap_or(0) / 2;
        if granted < wanted {
            self.obtained.push(("receive-buffer", format!("{granted} octets (net.core.rmem_max)")));
        }
    }

    /// Binds to the device named, also again after it was taken away and came back under another index.
    pub fn bind_to_interface(&self, interface: &str) -> Result<(), PlaneError> {
        let name = CString::new(interface)
            .map_err(|_| PlaneError::refused("bind to interface", interface, "the name holds a NUL octet"))?;
        // SAFETY: the kernel reads the announced length of our string.
        check(unsafe {
            let octets = name.as_bytes_with_nul();
            libc::setsockopt(
                self.fd(),
                libc::SOL_SOCKET,
                libc::SO_BINDTODEVICE,
                octets.as_ptr().cast(),
                octets.len() as u32,
            )
        })
        .map(drop)
        .map_err(|error| PlaneError::system("bind to interface", interface, &error))
    }

    fn bind(&self, request: &SocketRequest) -> Result<(), PlaneError> {
        let name = SocketName::new(&request.local);
        // SAFETY: the name is ours, with its true length.
        check(unsafe { libc::bind(self.fd(), name.as_ptr(), name.len()) })
            .map(drop)
            .map_err(|error| PlaneError::system("bind", request.local, &error))
    }

    fn local_name(&self) -> io::Result<SocketAddr> {
        let mut name = SocketName::EMPTY;
        let mut len = name.len();
        // SAFETY: the kernel writes at most `len` octets, the room that the name has.
        check(unsafe { libc::getsockname(self.fd(), name.as_mut_ptr().cast(), &raw mut len) })?;
        name.set_len(len);
        name.address().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    }

    fn request_stamps(&mut self, request: &SocketRequest) -> Result<(), PlaneError> {
        if request.timestamps == TimestampMode::Hardware {
            self.enable_hardware(request);
        }
        ask_for_stamps(self.fd(), request.timestamps, request.stamp_all)
            .map_err(|error| PlaneError::system("ask for kernel timestamps", request.local, &error))
    }

    /// Asks the NIC to stamp all packets; needs `CAP_NET_ADMIN`, and a NIC that can. Without, the kernel's stamps stand.
    fn enable_hardware(&mut self, request: &SocketRequest) {
        let Some(interface) = &request.interface else {
            self.obtained.push(("timestamps", "kernel (hardware stamps need an interface: -I)".to_owned()));
            return;
        };
        if let Err(error) = set_hardware_stamps(self.fd(), interface) {
            self.obtained.push(("timestamps", format!("kernel (SIOCSHWTSTAMP {interface}: {error})")));
        }
    }
}

/// `struct hwtstamp_config` of `linux/net_tstamp.h`.
#[repr(C)]
struct HardwareStampConfig {
    flags: i32,
    tx_type: i32,
    rx_filter: i32,
}

/// `HWTSTAMP_TX_ON` and `HWTSTAMP_FILTER_ALL` of `linux/net_tstamp.h`.
const TX_ON: i32 = 1;
const FILTER_ALL: i32 = 1;

/// An ioctl request about the interface of that name.
pub(super) fn interface_request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is integers, octets and a pointer, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn set_hardware_stamps(fd: RawFd, interface: &str) -> io::Result<()> {
    let mut config = HardwareStampConfig { flags: 0, tx_type: TX_ON, rx_filter: FILTER_ALL };
    let mut request = interface_request(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut config).cast();
    // SAFETY: the request and the configuration it points to are ours for the length of the call.
    check(unsafe { libc::ioctl(fd, libc::SIOCSHWTSTAMP, &raw mut request) }).map(drop)
}

/// The address that every socket of `address`'s family may bind to.
pub fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::sys::{ErrorQueue, Events, Outgoing, Poll, QueueEntry, ReceiveBatch, SendBatch, SystemClock};

    fn request(local: &str) -> SocketRequest {
        SocketRequest {
            local: local.parse().unwrap(),
            peer: None,
            interface: None,
            reuse_port: false,
            ttl: 255,
            dscp_ecn: 0xb8,
            receive_buffer: 1 << 20,
            timestamps: TimestampMode::Kernel,
            stamp_all: true,
            packet_info: true,
            routing_header: Vec::new(),
        }
    }

    /// Sends over loopback and reads everything the kernel tells of it, on both families.
    #[test]
    fn a_datagram_comes_with_stamps_ttl_class_and_destination() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let far = UdpSocket::open(&request(local)).unwrap();
            let near = UdpSocket::open(&SocketRequest { peer: Some(far.local()), ..request(local) }).unwrap();
            crate::capabilities::await_receive_stamps();
            let before = SystemClock.wall();
            let sent = SendBatch::new(2)
                .send(near.fd(), &[Outgoing { octets: b"ab", destination: None, control: None }; 2])
                .unwrap();
            assert_eq!(sent, 2);
            let mut poll = Poll::new().unwrap();
            poll.add(far.fd(), 0).unwrap();
            let now = SystemClock.monotonic();
            poll.wait(&mut Events::new(1), Some(now + 5_000_000_000), now).unwrap();
            let mut batch = ReceiveBatch::new(4, 64);
            assert_eq!(batch.receive(far.fd(), 0).unwrap(), 2);
            let meta = batch.meta(1);
            assert_eq!(batch.octets(1), b"ab");
            assert_eq!(meta.source, Some(near.local()));
            assert_eq!(meta.destination, Some(far.local().ip()));
            assert_eq!((meta.ttl, meta.dscp_ecn), (Some(255), Some(0xb8)));
            assert!(meta.stamps.software.unwrap() >= before);
            let mut ids = Vec::new();
            ErrorQueue::new(8)
                .read(near.fd(), |entry| match entry {
                    QueueEntry::TransmitStamp { id, stamps } => {
                        assert!(stamps.software.unwrap() >= before);
                        ids.push(id);
                    }
                    other => panic!("{other:?}"),
                })
                .unwrap();
            assert_eq!(ids, [0, 1]);
        }
    }

    #[test]
    fn refusals_name_the_operation_and_the_address() {
        let taken = UdpSocket::open(&request("127.0.0.1:0")).unwrap();
        let error = UdpSocket::open(&request(&taken.local().to_string())).unwrap_err();
        assert_eq!((error.operation, error.errno), ("bind", libc::EADDRINUSE));
        assert_eq!(error.address, taken.local().to_string());
        let missing = SocketRequest { interface: Some("no-such-dev".to_owned()), ..request("127.0.0.1:0") };
        let error = UdpSocket::open(&missing).unwrap_err();
        assert_eq!((error.operation, error.errno), ("bind to interface", libc::ENODEV));
    }
}
