//! Packet sockets that listen: the head of each UDP datagram to one port, as it comes in by one interface (packet(7)).
//!
//! Such a socket sees a frame before the interface hands it to the LAG or the bridge that it is a member of, and before
//! any UDP socket has it. Its filter is in place before it listens, so that nothing else ever gets in. They need
//! `CAP_NET_RAW`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::address::SocketName;
use super::check;
use super::socket::interface_request;
use crate::error::PlaneError;

/// Octets of a datagram, from its IP header on, that are copied.
pub const HEAD: usize = 128;
/// Room for heads that wait. The kernel reckons some 800 octets for each.
const RECEIVE_ROOM: i32 = 1 << 20;
/// `ETH_P_ALL`: before the frame is anybody else's.
const EVERYTHING: u16 = 0x0003;
/// `PACKET_IGNORE_OUTGOING` and `PACKET_STATISTICS` of `linux/if_packet.h`.
const IGNORE_OUTGOING: i32 = 23;
const STATISTICS: i32 = 6;

/// A packet socket that listens.
#[derive(Debug)]
pub struct PacketTap {
    fd: OwnedFd,
}

impl PacketTap {
    /// Opens one for datagrams to that UDP port; it hears nothing yet.
    pub fn open(port: u16) -> Result<Self, PlaneError> {
        let failed = |error| PlaneError::system("open packet socket", "to see by which link packets come", &error);
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket takes integers; the descriptor returned is new and owned by nobody else. Protocol 0: none.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .map_err(failed)?;
        let tap = Self { fd };
        let mut code = udp_to(port);
        let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
        // SAFETY: the option is a sock_fprog, which points to as many instructions as it says.
        unsafe { tap.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }.map_err(failed)?;
        // SAFETY: the options are integers. Frames of ours are not arrivals; more room is a wish.
        unsafe { tap.set(libc::SOL_PACKET, IGNORE_OUTGOING, &1) }.map_err(failed)?;
        let _ = unsafe { tap.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_ROOM) };
        Ok(tap)
    }

    /// # Safety
    ///
    /// `value` must be what the option takes.
    unsafe fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        // SAFETY: the pointer and length describe `value`, which the kernel only reads.
        let set = unsafe {
            libc::setsockopt(self.fd(), level, option, (&raw const *value).cast(), size_of::<T>() as libc::socklen_t)
        };
        check(set).map(drop)
    }

    /// Listens at the interface of that name, in the namespace that the socket was opened in, and nowhere else. Returns
    /// its number.
    pub fn listen_at(&self, interface: &str) -> io::Result<u32> {
        let mut request = interface_request(interface)?;
        // SAFETY: the request is ours for the length of the call, which fills in the number.
        check(unsafe { libc::ioctl(self.fd(), libc::SIOCGIFINDEX, &raw mut request) })?;
        // SAFETY: SIOCGIFINDEX has just written this member of the union.
        let number = unsafe { request.ifr_ifru.ifru_ifindex } as u32;
        let name = SocketName::link(number, EVERYTHING, [0; 6]);
        // SAFETY: the name is ours, with its true length.
        check(unsafe { libc::bind(self.fd(), name.as_ptr(), name.len()) })?;
        Ok(number)
    }

    /// Datagrams dropped for want of room since the last call.
    pub fn dropped(&self) -> u32 {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointers describe our own variables.
        let read = unsafe {
            libc::getsockopt(self.fd(), libc::SOL_PACKET, STATISTICS, (&raw mut statistics).cast(), &raw mut len)
        };
        if read == 0 { statistics.tp_drops } else { 0 }
    }

    /// The descriptor, which stays this socket's.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A classic BPF program that keeps the heads of unfragmented UDP datagrams to `port`, which begin with their IP header.
fn udp_to(port: u16) -> [libc::sock_filter; 17] {
    const LOAD_OCTET: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const LOAD_PAIR: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const LOAD_PAIR_BEHIND: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
    const LOAD_HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let branch = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let (udp, port) = (libc::IPPROTO_UDP as u32, u32::from(port));
    [
        step(LOAD_OCTET, 0),
        step(AND, 0xf0),
        branch(IF_EQUAL, 0x40, 0, 7), // else to the question for IPv6
        step(LOAD_OCTET, 9),
        branch(IF_EQUAL, udp, 0, 11),
        step(LOAD_PAIR, 6),
        branch(IF_ANY, 0x1fff, 9, 0), // a fragment that is not the first
        step(LOAD_HEADER_LENGTH, 0),
        step(LOAD_PAIR_BEHIND, 2),
        branch(IF_EQUAL, port, 5, 6),
        branch(IF_EQUAL, 0x60, 0, 5),
        step(LOAD_OCTET, 6),
        branch(IF_EQUAL, udp, 0, 3),
        step(LOAD_PAIR, 42),
        branch(IF_EQUAL, port, 0, 1),
        step(RETURN, HEAD as u32),
        step(RETURN, 0),
    ]
}
