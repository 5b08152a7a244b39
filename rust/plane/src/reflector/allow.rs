//! Which source addresses are answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks whose hosts are answered, as disjoint ascending ranges: a look-up is a binary search, however long the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    everyone: bool,
    v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    v6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

impl AllowList {
    /// (network address, prefix length) each; an empty list allows everyone. Host bits set in a network address are
    /// ignored. The error is the entry whose prefix length does not exist in its family.
    pub fn new(networks: &[(IpAddr, u8)]) -> Result<Self, (IpAddr, u8)> {
        let mut list = Self { everyone: networks.is_empty(), v4: Vec::new(), v6: Vec::new() };
        for &(network, prefix_len) in networks {
            match network {
                IpAddr::V4(address) if prefix_len <= 32 => {
                    let host = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
                    let bits = address.to_bits();
                    list.v4.push(((bits & !host).into(), (bits | host).into()));
                }
                IpAddr::V6(address) if prefix_len <= 128 => {
                    let host = u128::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
                    let bits = address.to_bits();
                    list.v6.push(((bits & !host).into(), (bits | host).into()));
                }
                _ => return Err((network, prefix_len)),
            }
        }
        join(&mut list.v4);
        join(&mut list.v6);
        Ok(list)
    }

    /// A list on which nobody is.
    pub const fn nobody() -> Self {
        Self { everyone: false, v4: Vec::new(), v6: Vec::new() }
    }

    /// Whether nobody is on it.
    pub fn is_nobody(&self) -> bool {
        !self.everyone && self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether this source is answered.
    #[inline]
    pub fn allows(&self, source: IpAddr) -> bool {
        self.everyone
            || match source {
                IpAddr::V4(address) => holds(&self.v4, &address),
                IpAddr::V6(address) => holds(&self.v6, &address),
            }
    }
}

/// Sorts ranges and lets one that lies in another (networks never overlap otherwise) vanish in it.
fn join<A: Ord + Copy>(ranges: &mut Vec<(A, A)>) {
    ranges.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    ranges.dedup_by(|next, range| next.1 <= range.1);
}

fn holds<A: Ord>(ranges: &[(A, A)], address: &A) -> bool {
    let after = ranges.partition_point(|(first, _)| first <= address);
    after > 0 && *address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_list_allows_everyone_and_another_only_its_networks() {
        assert!(AllowList::new(&[]).unwrap().allows(ip("192.0.2.1")));
        let list =
            AllowList::new(&[(ip("10.1.2.3"), 8), (ip("10.9.0.0"), 16), (ip("192.0.2.7"), 32), (ip("2001:db8::"), 32)])
                .unwrap();
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8:ffff::1"] {
            assert!(list.allows(ip(inside)), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::", "::ffff:10.0.0.1"] {
            assert!(!list.allows(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn a_prefix_of_zero_is_the_whole_family_and_one_too_long_is_refused() {
        let list = AllowList::new(&[(ip("0.0.0.0"), 0)]).unwrap();
        assert!(list.allows(ip("255.255.255.255")) && !list.allows(ip("::1")));
        assert_eq!(AllowList::new(&[(ip("10.0.0.0"), 33)]), Err((ip("10.0.0.0"), 33)));
        assert_eq!(AllowList::new(&[(ip("::"), 129)]), Err((ip("::"), 129)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_comparing_prefixes(
            networks in proptest::collection::vec((any::<u32>(), 0_u8..=32), 1..20),
            addresses in proptest::collection::vec(any::<u32>(), 50),
        ) {
            let list: Vec<_> = networks.iter().map(|(bits, len)| (IpAddr::V4((*bits).into()), *len)).collect();
            let list = AllowList::new(&list).unwrap();
            for address in addresses.into_iter().chain(networks.iter().map(|(bits, _)| bits ^ 1)) {
                let expected = networks.iter().any(|(bits, len)| {
                    *len == 0 || (bits ^ address) >> (32 - u32::from(*len)) == 0
                });
                prop_assert_eq!(list.allows(IpAddr::V4(address.into())), expected);
            }
        }
    }
}
