//! The addresses and devices of this host, as far as TLVs ask about them.

use std::net::IpAddr;

use crate::sys::interfaces::{InterfaceAddress, list_interfaces};

/// The addresses and devices of a network namespace at some moment.
#[derive(Clone, Debug, Default)]
pub struct HostInterfaces {
    /// In ascending order.
    addresses: Vec<IpAddr>,
    /// (index, name, MTU) in ascending order.
    devices: Vec<(u32, String, u32)>,
    /// MAC addresses that are not all zeros.
    macs: Vec<[u8; 6]>,
}

impl HostInterfaces {
    /// As they are now, in the network namespace of this thread.
    pub fn read() -> std::io::Result<Self> {
        Ok(Self::new(list_interfaces()?))
    }

    /// Of this list.
    pub fn new(list: impl IntoIterator<Item = InterfaceAddress>) -> Self {
        let mut host = Self::default();
        for InterfaceAddress { index, name, ip, mac, mtu } in list {
            host.addresses.extend(ip);
            host.macs.extend(mac.filter(|mac| *mac != [0; 6]));
            host.devices.push((index, name, mtu));
        }
        host.addresses.sort_unstable();
        host.addresses.dedup();
        host.devices.sort_unstable();
        host.devices.dedup();
        host.macs.sort_unstable();
        host.macs.dedup();
        host
    }

    /// Whether it is one of this host's addresses. All of 127/8 are.
    pub fn holds(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.binary_search(&address).is_ok()
    }

    /// The device of that index.
    pub fn name_of(&self, index: u32) -> Option<&str> {
        self.device(index).map(|(_, name, _)| &**name)
    }

    /// Octets of the largest packet that the device of that index sends, where that is known.
    pub fn mtu_of(&self, index: u32) -> Option<usize> {
        self.device(index).map(|(.., mtu)| *mtu as usize).filter(|mtu| *mtu > 0)
    }

    fn device(&self, index: u32) -> Option<&(u32, String, u32)> {
        let at = self.devices.binary_search_by_key(&index, |(index, ..)| *index).ok()?;
        self.devices.get(at)
    }

    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().copied()
    }

    /// The MAC addresses.
    pub fn macs(&self) -> impl Iterator<Item = &[u8; 6]> {
        self.macs.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_loopback() {
        let host = HostInterfaces::read().expect("getifaddrs");
        assert!(host.holds(IpAddr::from([127, 0, 0, 1])) && host.holds(IpAddr::from([127, 9, 9, 9])));
        assert!(!host.holds(IpAddr::from([192, 0, 2, 1])));
        assert_eq!((host.name_of(1), host.mtu_of(1)), (Some("lo"), Some(65_536)));
        assert_eq!(host.name_of(u32::MAX), None);
    }
}
