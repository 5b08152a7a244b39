//! From a path's first hop to the interface and the Ethernet addresses of a frame: three questions to the kernel.
//!
//! The way is the kernel's own choice (policy rules, VRFs and all), asked for with the session's addresses, unless the path
//! names a gateway or an interface. Where the interface is a member of a bond, a team or a bridge, the addresses and the
//! neighbours are those of the whole, and only the frame leaves by the member (IEEE 802.1AX; RFC 9534 section 3).

use std::fmt;
use std::net::IpAddr;

use super::messages::{Link, Neighbour, Route};

/// `IFF_UP` and `IFF_RUNNING` of `linux/if.h`.
const UP: u32 = 0x1;
const RUNNING: u32 = 0x40;
/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ETHERNET: u16 = 1;

/// What frames are to reach first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where the test packets go.
    pub destination: IpAddr,
    /// Where they come from.
    pub source: Option<IpAddr>,
    /// The router that gets the frames; none: as the kernel would route to `destination`.
    pub gateway: Option<IpAddr>,
    /// Interface that they leave by, or VRF that they are routed in.
    pub interface: Option<String>,
}

/// A neighbour, as it is asked for its link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its IP address.
    pub address: IpAddr,
    /// The interface to its link.
    pub interface: u32,
}

/// Where frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Interface that they leave by.
    pub interface: u32,
    /// Its Ethernet address.
    pub source_mac: [u8; 6],
    /// That of the next hop.
    pub mac: [u8; 6],
    /// Who that is.
    pub neighbour: Question,
    /// Nobody has confirmed the next hop's address for a while.
    pub stale: bool,
}

/// Why frames cannot go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No interface has that name.
    Interface(String),
    /// The kernel has no way to this address, or none by the interface that is wanted: errno.
    Route(IpAddr, i32),
    /// The gateway is on no link of this host.
    OffLink(IpAddr),
    /// The destination is this host.
    OwnAddress(IpAddr),
    /// Frames there have no Ethernet addresses.
    NotEthernet(String),
    /// The interface is down.
    Down(String),
    /// The next hop has not said its Ethernet address (yet).
    Neighbour(Question, String),
}

impl Missing {
    /// The kernel's number for it, as a packet that was refused would have it.
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Interface(_) => libc::ENODEV,
            Self::Route(_, errno) => *errno,
            Self::OffLink(_) | Self::OwnAddress(_) => libc::ENETUNREACH,
            Self::NotEthernet(_) => libc::EAFNOSUPPORT,
            Self::Down(_) => libc::ENETDOWN,
            Self::Neighbour(..) => libc::EHOSTUNREACH,
        }
    }

    /// Whether waiting may help: the neighbour has been asked.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Neighbour(..) | Self::Down(_))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "there is no interface {name}"),
            Self::Route(_, _) => f.write_str("neither a router nor a link leads there"),
            Self::OffLink(address) => write!(f, "{address} is on no link of this host, so it cannot be the next hop"),
            Self::OwnAddress(address) => write!(f, "{address} is this host's own: there is no next hop"),
            Self::NotEthernet(name) => write!(f, "{name} has no Ethernet frames, which such a path needs"),
            Self::Down(name) => write!(f, "{name} is down"),
            Self::Neighbour(question, name) => {
                write!(f, "{} on {name} does not say its link-layer address", question.address)
            }
        }
    }
}

/// The kernel's routing tables. Errors are errnos.
pub trait Tables {
    /// Which way a packet goes.
    fn route(&mut self, destination: IpAddr, source: Option<IpAddr>, interface: u32) -> Result<Route, i32>;
    /// A neighbour; `None` if the kernel knows nothing of it.
    fn neighbour(&mut self, address: IpAddr, interface: u32) -> Result<Option<Neighbour>, i32>;
    /// An interface by its number.
    fn link(&mut self, interface: u32) -> Result<Link, i32>;
    /// An interface by its name.
    fn link_named(&mut self, name: &str) -> Result<Link, i32>;
}

/// Whether packets from `source` to `destination` that are bound to `interface` leave by it. By the loopback device they do
/// to addresses of this host.
pub fn leads_by(tables: &mut impl Tables, destination: IpAddr, source: IpAddr, interface: u32) -> bool {
    let route = tables.route(destination, Some(source), interface);
    route.is_ok_and(|route| route.interface == interface && matches!(route.kind, libc::RTN_UNICAST | libc::RTN_LOCAL))
}

/// Where frames to `target` go now.
pub fn resolve(tables: &mut impl Tables, target: &Target) -> Result<Hop, Missing> {
    let bound = match &target.interface {
        None => None,
        Some(name) => Some(tables.link_named(name).map_err(|_| Missing::Interface(name.clone()))?),
    };
    let is_vrf = bound.as_ref().is_some_and(|link| link.is == "vrf");
    if let Some(link) = bound.as_ref().filter(|link| link.kind != ETHERNET && !is_vrf) {
        return Err(Missing::NotEthernet(link.name.clone()));
    }
    // Of a member the whole has the addresses; a VRF's member has its own.
    let member = bound.as_ref().filter(|link| link.master != 0 && link.member_of != "vrf");
    let asked_by = bound.as_ref().map_or(0, |link| if member.is_some() { link.master } else { link.interface });
    let towards = target.gateway.unwrap_or(target.destination);
    // For an IPv6 packet with a source address the interface is only a wish, which a better route overrides; without one it
    // is meant.
    let strict = asked_by != 0 && towards.is_ipv6();
    let source = target.source.filter(|source| source.is_ipv4() == towards.is_ipv4() && !strict);
    let neighbour = match target.gateway {
        // Its link is named, so nothing has to be looked up: it may be link-local, or one that no route leads to.
        Some(gateway) if asked_by != 0 => Question { address: gateway, interface: asked_by },
        _ => {
            let route = tables.route(towards, source, asked_by).map_err(|errno| Missing::Route(towards, errno))?;
            // An IPv6 route by another interface is taken where there is none by this one. A VRF's leads by its members.
            let elsewhere = asked_by != 0 && route.interface != asked_by;
            if elsewhere && !is_vrf {
                return Err(Missing::Route(towards, libc::ENETUNREACH));
            }
            match route.kind {
                libc::RTN_UNICAST => {}
                libc::RTN_LOCAL => return Err(Missing::OwnAddress(towards)),
                _ => return Err(Missing::Route(towards, libc::ENETUNREACH)),
            }
            if target.gateway.is_some() && route.gateway.is_some() {
                return Err(Missing::OffLink(towards));
            }
            Question { address: route.gateway.unwrap_or(towards), interface: route.interface }
        }
    };
    let out = member.map_or(neighbour.interface, |link| link.interface);
    let link = match bound {
        Some(link) if link.interface == out => link,
        _ => tables.link(out).map_err(|errno| Missing::Route(towards, errno))?,
    };
    let Some(source_mac) = link.mac.filter(|_| link.kind == ETHERNET) else {
        return Err(Missing::NotEthernet(link.name));
    };
    if link.flags & (UP | RUNNING) != UP | RUNNING {
        return Err(Missing::Down(link.name));
    }
    match tables.neighbour(neighbour.address, neighbour.interface) {
        Ok(Some(Neighbour { mac: Some(mac), stale, .. })) => {
            Ok(Hop { interface: link.interface, source_mac, mac, neighbour, stale })
        }
        // An errno here is that of a device that has just gone.
        _ => Err(Missing::Neighbour(neighbour, link.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEM: [u8; 6] = [2, 0, 0, 0, 0, 2];

    /// Tables that say what a test put into them.
    #[derive(Default)]
    struct Written {
        /// (destination, bound to) -> way.
        routes: Vec<((IpAddr, u32), Route)>,
        links: Vec<Link>,
        neighbours: Vec<Neighbour>,
    }

    impl Tables for Written {
        fn route(&mut self, destination: IpAddr, _: Option<IpAddr>, interface: u32) -> Result<Route, i32> {
            let way = self.routes.iter().find(|(key, _)| *key == (destination, interface));
            way.map(|(_, route)| route.clone()).ok_or(libc::ENETUNREACH)
        }

        fn neighbour(&mut self, address: IpAddr, interface: u32) -> Result<Option<Neighbour>, i32> {
            let known = |neighbour: &&Neighbour| (neighbour.address, neighbour.interface) == (Some(address), interface);
            Ok(self.neighbours.iter().find(known).cloned())
        }

        fn link(&mut self, interface: u32) -> Result<Link, i32> {
            self.links.iter().find(|link| link.interface == interface).cloned().ok_or(libc::ENODEV)
        }

        fn link_named(&mut self, name: &str) -> Result<Link, i32> {
            self.links.iter().find(|link| link.name == name).cloned().ok_or(libc::ENODEV)
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(interface: u32, name: &str) -> Link {
        let flags = UP | RUNNING;
        Link { interface, name: name.to_owned(), kind: ETHERNET, flags, mac: Some(US), mtu: 1500, ..Link::default() }
    }

    fn unicast(interface: u32, gateway: Option<&str>) -> Route {
        Route { kind: libc::RTN_UNICAST, interface, gateway: gateway.map(ip), source: None }
    }

    fn neighbour(address: &str, interface: u32) -> Neighbour {
        Neighbour { interface, address: Some(ip(address)), mac: Some(THEM), stale: false }
    }

    fn target(gateway: Option<&str>, interface: Option<&str>) -> Target {
        Target {
            destination: ip("192.0.2.1"),
            source: None,
            gateway: gateway.map(ip),
            interface: interface.map(str::to_owned),
        }
    }

    fn hop(address: &str, interface: u32) -> Hop {
        let neighbour = Question { address: ip(address), interface };
        Hop { interface: 2, source_mac: US, mac: THEM, neighbour, stale: false }
    }

    #[test]
    fn a_path_that_names_nothing_goes_as_the_kernel_routes() {
        let mut tables = Written {
            routes: vec![((ip("192.0.2.1"), 0), unicast(2, Some("fe80::9")))],
            links: vec![link(2, "eth0")],
            neighbours: vec![neighbour("fe80::9", 2)],
        };
        assert_eq!(resolve(&mut tables, &target(None, None)), Ok(hop("fe80::9", 2)));
        // On the link itself.
        tables.routes[0].1.gateway = None;
        let question = Question { address: ip("192.0.2.1"), interface: 2 };
        assert_eq!(resolve(&mut tables, &target(None, None)), Err(Missing::Neighbour(question, "eth0".to_owned())));
        tables.neighbours.push(neighbour("192.0.2.1", 2));
        assert_eq!(resolve(&mut tables, &target(None, None)), Ok(hop("192.0.2.1", 2)));
    }

    #[test]
    fn a_gateway_must_be_on_a_link_and_with_an_interface_needs_no_route() {
        let mut tables = Written {
            routes: vec![((ip("198.51.100.1"), 0), unicast(2, Some("192.0.2.254")))],
            links: vec![link(2, "eth0")],
            neighbours: vec![neighbour("198.51.100.1", 2), neighbour("fe80::9", 2)],
        };
        let gateway = target(Some("198.51.100.1"), None);
        assert_eq!(resolve(&mut tables, &gateway), Err(Missing::OffLink(ip("198.51.100.1"))));
        tables.routes[0].1.gateway = None;
        assert_eq!(resolve(&mut tables, &gateway), Ok(hop("198.51.100.1", 2)));
        assert_eq!(resolve(&mut tables, &target(Some("fe80::9"), Some("eth0"))), Ok(hop("fe80::9", 2)));
    }

    #[test]
    fn a_member_sends_what_the_whole_has_the_addresses_of() {
        let member = Link { master: 7, member_of: "bond".to_owned(), ..link(2, "eth0") };
        let mut tables = Written {
            routes: vec![((ip("192.0.2.1"), 7), unicast(7, None))],
            links: vec![member, link(7, "bond0")],
            neighbours: vec![neighbour("192.0.2.1", 7)],
        };
        assert_eq!(resolve(&mut tables, &target(None, Some("eth0"))), Ok(hop("192.0.2.1", 7)));
        // A VRF's member has addresses of its own.
        tables.links[0].member_of = "vrf".to_owned();
        tables.routes[0].0.1 = 2;
        tables.routes[0].1.interface = 2;
        tables.neighbours[0].interface = 2;
        assert_eq!(resolve(&mut tables, &target(None, Some("eth0"))), Ok(hop("192.0.2.1", 2)));
    }

    #[test]
    fn an_interface_that_no_route_leads_by_is_no_way_but_a_vrf_leads_by_its_members() {
        let mut tables = Written {
            // As the kernel answers for IPv6: by another interface than was asked for.
            routes: vec![((ip("192.0.2.1"), 3), unicast(2, None))],
            links: vec![link(2, "eth0"), link(3, "eth1")],
            neighbours: vec![neighbour("192.0.2.1", 2)],
        };
        let asked = target(None, Some("eth1"));
        assert_eq!(resolve(&mut tables, &asked), Err(Missing::Route(ip("192.0.2.1"), libc::ENETUNREACH)));
        let source = ip("192.0.2.9");
        assert!(!leads_by(&mut tables, ip("192.0.2.1"), source, 3));
        tables.links[1].is = "vrf".to_owned();
        assert_eq!(resolve(&mut tables, &asked), Ok(hop("192.0.2.1", 2)));
        tables.routes[0].1.interface = 3;
        assert!(leads_by(&mut tables, ip("192.0.2.1"), source, 3));
        // A requester on this host, by the loopback device.
        tables.routes[0].1.kind = libc::RTN_LOCAL;
        assert!(leads_by(&mut tables, ip("192.0.2.1"), source, 3));
        tables.routes[0].1.kind = libc::RTN_BLACKHOLE;
        assert!(!leads_by(&mut tables, ip("192.0.2.1"), source, 3));
    }

    #[test]
    fn what_has_no_next_hop_says_why() {
        let mut tables = Written { links: vec![link(2, "eth0")], ..Written::default() };
        let ask = |tables: &mut Written, interface| resolve(tables, &target(None, interface)).unwrap_err();
        assert_eq!(ask(&mut tables, Some("eth9")), Missing::Interface("eth9".to_owned()));
        assert_eq!(ask(&mut tables, None), Missing::Route(ip("192.0.2.1"), libc::ENETUNREACH));
        tables.routes = vec![((ip("192.0.2.1"), 0), Route { kind: libc::RTN_LOCAL, ..unicast(1, None) })];
        assert_eq!(ask(&mut tables, None), Missing::OwnAddress(ip("192.0.2.1")));
        tables.routes[0].1 = unicast(2, None);
        tables.links[0].flags = UP;
        assert_eq!(ask(&mut tables, None), Missing::Down("eth0".to_owned()));
        tables.links[0].kind = 65534;
        assert_eq!(ask(&mut tables, None), Missing::NotEthernet("eth0".to_owned()));
    }
}
