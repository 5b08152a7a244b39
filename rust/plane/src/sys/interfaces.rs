//! Devices and addresses of the network namespace: getifaddrs(3).

use std::ffi::CStr;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use super::check;

/// An address of a device: one of IP, or of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Index of the device.
    pub index: u32,
    /// Name of the device.
    pub name: String,
    /// IP address, if that is what it is.
    pub ip: Option<IpAddr>,
    /// MAC address of six octets, if that is what it is.
    pub mac: Option<[u8; 6]>,
    /// Octets of the largest packet that the device sends, with its IP header; 0 if unknown.
    pub mtu: u32,
}

/// Frees the list that getifaddrs made.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the pointer is the one that getifaddrs gave, and is freed once.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// All devices with all their addresses, in the network namespace of this thread.
pub fn list_interfaces() -> io::Result<Vec<InterfaceAddress>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer, which `List` frees.
    check(unsafe { libc::getifaddrs(&raw mut first) })?;
    let list = List(first);
    let mut found = Vec::new();
    let mut at = list.0;
    // SAFETY: each pointer of the list is null or points to an entry that lives until `list` is dropped.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        // SAFETY: a name of the list is a string that ends in a zero, and lives as long.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        // SAFETY: if_nametoindex reads that string.
        let index = unsafe { libc::if_nametoindex(entry.ifa_name) };
        // SAFETY: an address is null or at least a family long; it is read as what its family says it is.
        let family = unsafe { entry.ifa_addr.as_ref() }.map(|address| i32::from(address.sa_family));
        let (mut ip, mut mac) = (None, None);
        match family {
            Some(libc::AF_INET) => {
                // SAFETY: the family says that it is one.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                ip = Some(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()));
            }
            Some(libc::AF_INET6) => {
                // SAFETY: as above.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                ip = Some(IpAddr::from(address.sin6_addr.s6_addr));
            }
            Some(libc::AF_PACKET) => {
                // SAFETY: as above.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_ll>().read_unaligned() };
                mac = (address.sll_halen == 6).then(|| {
                    let mut mac = [0; 6];
                    mac.copy_from_slice(&address.sll_addr[..6]);
                    mac
                });
            }
            _ => {}
        }
        if index != 0 {
            found.push(InterfaceAddress { index, name: name.to_string_lossy().into_owned(), ip, mac, mtu: mtu(name) });
        }
    }
    Ok(found)
}

/// MTU of a device; 0 where the kernel does not say.
fn mtu(name: &CStr) -> u32 {
    // Any socket will do to ask by.
    let Ok(socket) = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)) else { return 0 };
    // SAFETY: ifreq is integers, characters and a union of such, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let octets = name.to_bytes();
    if octets.len() >= request.ifr_name.len() {
        return 0;
    }
    for (to, octet) in request.ifr_name.iter_mut().zip(octets) {
        *to = *octet as libc::c_char;
    }
    // SAFETY: SIOCGIFMTU reads the name, which ends in a zero, and writes the integer of the union.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) };
    // SAFETY: the kernel has written that integer.
    if asked < 0 { 0 } else { unsafe { request.ifr_ifru.ifru_mtu }.max(0) as u32 }
}
