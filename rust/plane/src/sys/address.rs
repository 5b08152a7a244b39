//! Socket addresses as the kernel writes them.

use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// Its octets, the last one lowest.
    pub value: u64,
    /// It has eight octets, not six.
    pub is_eui_64: bool,
}

/// A `sockaddr_in`, `sockaddr_in6` or `sockaddr_ll` in kernel form, kept as octets so that no union is ever read.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct SocketName {
    octets: [u8; size_of::<libc::sockaddr_in6>()],
    len: u32,
}

impl Default for SocketName {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl SocketName {
    /// Room for the kernel to write a name into.
    pub const EMPTY: Self =
        Self { octets: [0; size_of::<libc::sockaddr_in6>()], len: size_of::<libc::sockaddr_in6>() as u32 };

    /// Kernel form of `address`.
    pub fn new(address: &SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        let port = offset_of!(libc::sockaddr_in, sin_port);
        match address {
            SocketAddr::V4(v4) => {
                name.octets[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                name.octets[port..port + 2].copy_from_slice(&v4.port().to_be_bytes());
                let at = offset_of!(libc::sockaddr_in, sin_addr);
                name.octets[at..at + 4].copy_from_slice(&v4.ip().octets());
                name.len = size_of::<libc::sockaddr_in>() as u32;
            }
            SocketAddr::V6(v6) => {
                name.octets[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                name.octets[port..port + 2].copy_from_slice(&v6.port().to_be_bytes());
                let at = offset_of!(libc::sockaddr_in6, sin6_addr);
                name.octets[at..at + 16].copy_from_slice(&v6.ip().octets());
                let at = offset_of!(libc::sockaddr_in6, sin6_scope_id);
                name.octets[at..at + 4].copy_from_slice(&v6.scope_id().to_ne_bytes());
                name.len = size_of::<libc::sockaddr_in6>() as u32;
            }
        }
        name
    }

    /// Kernel form of a frame's way out: interface, and `EtherType` and address that its header has (packet(7)).
    pub fn link(interface: u32, ethertype: u16, mac: [u8; 6]) -> Self {
        let mut name = Self::EMPTY;
        name.octets[..2].copy_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
        let at = offset_of!(libc::sockaddr_ll, sll_protocol);
        name.octets[at..at + 2].copy_from_slice(&ethertype.to_be_bytes());
        let at = offset_of!(libc::sockaddr_ll, sll_ifindex);
        name.octets[at..at + 4].copy_from_slice(&interface.to_ne_bytes());
        name.octets[offset_of!(libc::sockaddr_ll, sll_halen)] = mac.len() as u8;
        let at = offset_of!(libc::sockaddr_ll, sll_addr);
        name.octets[at..at + mac.len()].copy_from_slice(&mac);
        name.len = size_of::<libc::sockaddr_ll>() as u32;
        name
    }

    /// The address, unless the family is neither IPv4 nor IPv6 (a frame's way out, or nothing was written).
    pub fn address(&self) -> Option<SocketAddr> {
        let family = i32::from(u16::from_ne_bytes([self.octets[0], self.octets[1]]));
        let port = offset_of!(libc::sockaddr_in, sin_port);
        let port = u16::from_be_bytes([self.octets[port], self.octets[port + 1]]);
        match family {
            libc::AF_INET => {
                let at = offset_of!(libc::sockaddr_in, sin_addr);
                let ip: [u8; 4] = self.octets[at..at + 4].try_into().ok()?;
                Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)))
            }
            libc::AF_INET6 => {
                let at = offset_of!(libc::sockaddr_in6, sin6_addr);
                let ip: [u8; 16] = self.octets[at..at + 16].try_into().ok()?;
                let at = offset_of!(libc::sockaddr_in6, sin6_scope_id);
                let scope = u32::from_ne_bytes(self.octets[at..at + 4].try_into().ok()?);
                Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope)))
            }
            _ => None,
        }
    }

    /// The link-layer address that a packet came from, if this is that of a packet socket and it has six or eight octets.
    pub fn link_address(&self) -> Option<LinkAddress> {
        let family = i32::from(u16::from_ne_bytes([self.octets[0], self.octets[1]]));
        let len = usize::from(self.octets[offset_of!(libc::sockaddr_ll, sll_halen)]);
        let at = offset_of!(libc::sockaddr_ll, sll_addr);
        let address = self.octets.get(at..at + len).filter(|_| family == libc::AF_PACKET)?;
        let value = address.iter().fold(0, |value, octet| value << 8 | u64::from(*octet));
        // Loopback and tunnels have none.
        (matches!(len, 6 | 8) && value != 0).then_some(LinkAddress { value, is_eui_64: len == 8 })
    }

    /// Where the kernel reads or writes the name, for `msg_name`.
    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.octets.as_mut_ptr().cast()
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        self.octets.as_ptr().cast()
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u32) {
        self.len = len.min(size_of::<libc::sockaddr_in6>() as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_every_part_of_an_address() {
        for text in ["192.0.2.1:862", "0.0.0.0:0", "[2001:db8::1]:65535", "[fe80::1%7]:862", "[::]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketName::new(&address).address(), Some(address));
        }
        assert_eq!(SocketName::EMPTY.address(), None);
    }

    #[test]
    fn a_link_has_an_address_where_it_is_one() {
        let name = SocketName::link(3, 0x0800, [2, 0, 0, 0, 1, 7]);
        assert_eq!(name.link_address(), Some(LinkAddress { value: 0x0200_0000_0107, is_eui_64: false }));
        assert_eq!(SocketName::link(3, 0x0800, [0; 6]).link_address(), None);
        assert_eq!(SocketName::new(&"192.0.2.1:862".parse().unwrap()).link_address(), None);
    }
}
