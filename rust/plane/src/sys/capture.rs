//! Packets as they come in, headers and all, by a packet socket (packet(7), `CAP_NET_RAW`): copies of those that UDP gets.
//!
//! The socket is given each packet of its protocol before the layers above are, so the copy of a datagram is there when the
//! datagram is. A filter (classic BPF) lets through only datagrams to one port, of IPv6 also those with extension headers,
//! whose port a filter without loops cannot find.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;
use super::socket::set;

/// Octets copied of a packet without extension headers: its longest IP header, that of UDP, and a base packet.
const SHORT: u32 = 128;
/// Octets copied of others.
pub const LONGEST_CAPTURE: usize = 2048;
/// Octets of packets that the kernel keeps for us.
const RECEIVE_BUFFER: i32 = 1 << 20;

const fn instruction(code: u32, if_true: u8, if_false: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k: value }
}

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const LOAD_HALF_AT_INDEX: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
const INDEX_HEADER_LEN: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_ANY: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const TAKE: u32 = libc::BPF_RET | libc::BPF_K;

/// UDP to `port`, but for later fragments. Offsets are from the IP header.
fn filter_v4(port: u16) -> [libc::sock_filter; 9] {
    [
        instruction(LOAD_BYTE, 0, 0, 9),
        instruction(IF_EQUAL, 0, 6, libc::IPPROTO_UDP as u32),
        instruction(LOAD_HALF, 0, 0, 6),
        instruction(IF_ANY, 4, 0, 0x1fff),
        instruction(INDEX_HEADER_LEN, 0, 0, 0),
        instruction(LOAD_HALF_AT_INDEX, 0, 0, 2),
        instruction(IF_EQUAL, 0, 1, u32::from(port)),
        instruction(TAKE, 0, 0, SHORT),
        instruction(TAKE, 0, 0, 0),
    ]
}

/// UDP to `port`, and whatever has extension headers.
fn filter_v6(port: u16) -> [libc::sock_filter; 11] {
    [
        instruction(LOAD_BYTE, 0, 0, 6),
        instruction(IF_EQUAL, 0, 2, libc::IPPROTO_UDP as u32),
        instruction(LOAD_HALF, 0, 0, 42),
        instruction(IF_EQUAL, 5, 6, u32::from(port)),
        instruction(IF_EQUAL, 3, 0, libc::IPPROTO_HOPOPTS as u32),
        instruction(IF_EQUAL, 2, 0, libc::IPPROTO_ROUTING as u32),
        instruction(IF_EQUAL, 1, 0, libc::IPPROTO_FRAGMENT as u32),
        instruction(IF_EQUAL, 0, 2, libc::IPPROTO_DSTOPTS as u32),
        instruction(TAKE, 0, 0, LONGEST_CAPTURE as u32),
        instruction(TAKE, 0, 0, SHORT),
        instruction(TAKE, 0, 0, 0),
    ]
}

/// An open socket, non-blocking. What it receives begins with the IP header; the source of it is the last hop.
#[derive(Debug)]
pub struct CaptureSocket(OwnedFd);

impl CaptureSocket {
    /// Opens one for datagrams to that port.
    pub fn open(v6: bool, port: u16) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket takes integers; the descriptor returned is new and owned by nobody else. Protocol 0: nothing is
        // received before the filter is there.
        let fd =
            check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) }).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })?;
        let socket = Self(fd);
        let protocol = if v6 {
            socket.attach(&mut filter_v6(port))?;
            libc::ETH_P_IPV6
        } else {
            socket.attach(&mut filter_v4(port))?;
            libc::ETH_P_IP
        };
        // A small buffer loses copies under load, which those who look for them notice.
        let _ = set(socket.fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER);
        let name = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (protocol as u16).to_be(),
            sll_ifindex: 0,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the kernel reads the announced length of our name.
        check(unsafe {
            libc::bind(socket.fd(), (&raw const name).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
        })?;
        Ok(socket)
    }

    /// The descriptor, which stays this socket's.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn attach(&self, filter: &mut [libc::sock_filter]) -> io::Result<()> {
        // SAFETY: the kernel copies the announced number of instructions of our filter during the call.
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        set(self.fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }
}
