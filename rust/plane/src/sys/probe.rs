//! What this host lets this process do: asked of the kernel by doing it.

use std::io;
use std::mem::size_of;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check;

fn open(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket takes integers; the descriptor returned is new and owned by nobody else.
    check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a packet socket: whole frames, as MPLS needs them.
pub fn packet_socket() -> io::Result<()> {
    // Protocol 0: it receives nothing.
    open(libc::AF_PACKET, libc::SOCK_RAW, 0).map(drop)
}

/// Puts a segment routing header on a UDP socket, which needs no privilege.
pub fn segment_routing_v6() -> io::Result<()> {
    let socket = open(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    // struct ipv6_sr_hdr of linux/seg6.h with one segment: next header (the kernel's to fill), length in 8 octets beyond
    // the first, type 4, segments left 0, last entry 0, flags, tag.
    let mut header = [0u8; 24];
    header[1] = 2;
    header[2] = 4;
    header[8..].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
    // SAFETY: the kernel reads the announced length of our header.
    check(unsafe {
        let value = header.as_ptr().cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_RTHDR, value, header.len() as u32)
    })
    .map(drop)
}

/// Whether packets with a segment routing header are taken here (RFC 8754 section 4.3): the interfaces that do, in the network
/// namespace of this thread. None: `all` does not, or IPv6 is off.
pub fn interfaces_that_take_segments() -> Option<Vec<String>> {
    let enabled = |name: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/seg6_enabled");
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
    };
    if !enabled("all") {
        return None;
    }
    let folder = std::fs::read_dir("/proc/sys/net/ipv6/conf").ok()?;
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name != "all" && name != "default" && enabled(name)).collect();
    names.sort_unstable();
    Some(names)
}

/// Opens an `AF_XDP` socket, which tells whether the kernel has it and lets us.
pub fn xdp() -> io::Result<()> {
    open(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop)
}

/// Binds UDP port `port` on loopback. `EADDRINUSE` means that it would be allowed.
pub fn low_port(port: u16) -> io::Result<()> {
    let socket = open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let name = super::SocketName::new(&std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    // SAFETY: the name is ours, with its true length.
    match check(unsafe { libc::bind(socket.as_raw_fd(), name.as_ptr(), name.len()) }) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Ok(()),
        result => result.map(drop),
    }
}

/// `struct ethtool_ts_info` of linux/ethtool.h.
#[repr(C)]
struct StampInfo {
    cmd: u32,
    so_timestamping: u32,
    phc_index: i32,
    tx_types: u32,
    tx_reserved: [u32; 3],
    rx_filters: u32,
    rx_reserved: [u32; 3],
}

/// `ETHTOOL_GET_TS_INFO` and `SIOCETHTOOL` of linux/ethtool.h and linux/sockios.h.
const GET_TS_INFO: u32 = 0x41;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// What stamps an interface declares: (`SOF_TIMESTAMPING_*` flags, number of its clock or -1).
pub fn interface_stamps(interface: &str) -> io::Result<(u32, i32)> {
    let socket = open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut info = StampInfo {
        cmd: GET_TS_INFO,
        so_timestamping: 0,
        phc_index: -1,
        tx_types: 0,
        tx_reserved: [0; 3],
        rx_filters: 0,
        rx_reserved: [0; 3],
    };
    let mut request = super::socket::interface_request(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the request and what it points to are ours for the length of the call; the kernel writes no more than the
    // struct that the command is defined for.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
    Ok((info.so_timestamping, info.phc_index))
}

/// Whether the process's effective capabilities include number `capability` (linux/capability.h).
pub fn capable(capability: u32) -> bool {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .is_some_and(|mask| mask & (1 << capability) != 0)
}

const _: () = assert!(size_of::<StampInfo>() == 44);
