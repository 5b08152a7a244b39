//! rtnetlink sockets: octets to the kernel's routing tables and back. What they mean is `next_hop::messages`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::check;

/// Room for the largest part of an answer (`NLMSG_GOODSIZE` is a page; a link with all its attributes stays below two).
const ROOM: usize = 32 << 10;
/// How long an answer may take. The kernel makes it before the request's system call returns, unless another process holds
/// the lock of its network configuration.
const PATIENCE: Duration = Duration::from_secs(2);
/// `RTMGRP_LINK`, `RTMGRP_NEIGH`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV4_RULE`, `RTMGRP_IPV6_IFADDR`,
/// `RTMGRP_IPV6_ROUTE`, and the group of IPv6 rules (`RTNLGRP_IPV6_RULE`, 19).
const CHANGES: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18;

/// A socket to the kernel's routing tables.
#[derive(Debug)]
pub struct RouteSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl RouteSocket {
    /// A socket for questions; reading an answer waits, but not for long.
    pub fn for_questions() -> io::Result<Self> {
        let socket = Self::open(0, 0)?;
        super::socket::set_receive_timeout(socket.fd(), PATIENCE)?;
        Ok(socket)
    }

    /// A socket that hears of every change of links, neighbours, addresses, routes and rules; reading never waits.
    pub fn for_changes() -> io::Result<Self> {
        Self::open(libc::SOCK_NONBLOCK, CHANGES)
    }

    fn open(flags: i32, groups: u32) -> io::Result<Self> {
        // SAFETY: socket takes integers; the descriptor returned is new and owned by nobody else.
        let fd = check(unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags, libc::NETLINK_ROUTE)
        })
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })?;
        // SAFETY: sockaddr_nl is integers, for which all zeroes is a value.
        let mut name: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        name.nl_family = libc::AF_NETLINK as u16;
        name.nl_groups = groups;
        // SAFETY: the name is ours, with its true length.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), size_of::<libc::sockaddr_nl>() as u32) })?;
        Ok(Self { fd, buffer: vec![0; ROOM] })
    }

    /// For epoll.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sends one request.
    pub fn send(&self, octets: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and length describe `octets`, which the kernel only reads.
        let sent = unsafe { libc::send(self.fd(), octets.as_ptr().cast(), octets.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next messages; none if there are none now. `ENOBUFS`: some were lost.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        // SAFETY: the pointer and length describe our own buffer.
        let len = unsafe { libc::recv(self.fd(), self.buffer.as_mut_ptr().cast(), self.buffer.len(), 0) };
        if len < 0 {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if nothing { Ok(&[]) } else { Err(error) };
        }
        Ok(&self.buffer[..len as usize])
    }
}
