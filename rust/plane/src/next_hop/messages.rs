//! rtnetlink, as far as a next hop needs it: three questions, their answers, and notices of change (rtnetlink(7)).
//!
//! Plain octets in and out. Everything is in the machine's byte order but addresses; attributes are aligned to 4 octets. What
//! is not known is passed over, a length that lies ends the reading: a kernel newer than this code adds attributes to all
//! of these messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
/// `RTEXT_FILTER_SKIP_STATS`: counters are half of what a link has to say.
const SKIP_STATS: u32 = 1 << 3;
/// `NUD_PERMANENT`, `NUD_NOARP`, `NUD_REACHABLE`, `NUD_PROBE`, `NUD_STALE` and `NUD_DELAY`: the address can be sent to.
const NUD_VALID: u16 = 0x80 | 0x40 | 0x02 | 0x10 | 0x04 | 0x08;
const NUD_STALE: u16 = 0x04;
/// `RTM_F_FIB_MATCH`: the route that matched, and not what the kernel makes of there being none.
const FIB_MATCH: u32 = 0x2000;
/// Attribute types have flags in their upper two bits.
const ATTRIBUTE_TYPE: u16 = 0x3FFF;

/// A request, numbered, ready to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    octets: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: u16, sequence: u32, fixed: &[u8]) -> Self {
        let mut octets = vec![0; 4];
        octets.extend(kind.to_ne_bytes());
        octets.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        octets.extend(sequence.to_ne_bytes());
        octets.extend([0; 4]);
        octets.extend(fixed);
        Self { octets }
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.octets.extend((4 + value.len() as u16).to_ne_bytes());
        self.octets.extend(kind.to_ne_bytes());
        self.octets.extend(value);
        self.octets.resize(aligned(self.octets.len()), 0);
        self
    }

    fn address(self, kind: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attribute(kind, &v6.octets()),
        }
    }

    /// Which way a packet to `destination` goes, from `source` and bound to `interface` (0: to none); with `matched`, by which
    /// entry of the tables.
    pub fn route(sequence: u32, destination: IpAddr, source: Option<IpAddr>, interface: u32, matched: bool) -> Self {
        let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let mut fixed = [0; 12];
        fixed[..3].copy_from_slice(&[family(destination), bits(destination), source.map_or(0, bits)]);
        fixed[8..].copy_from_slice(&if matched { FIB_MATCH } else { 0 }.to_ne_bytes());
        let mut request = Self::new(RTM_GETROUTE, 0, sequence, &fixed).address(RTA_DST, destination);
        if let Some(source) = source {
            request = request.address(RTA_SRC, source);
        }
        if interface != 0 {
            request = request.attribute(RTA_OIF, &interface.to_ne_bytes());
        }
        request
    }

    /// The link-layer address of a neighbour.
    pub fn neighbour(sequence: u32, address: IpAddr, interface: u32) -> Self {
        let mut fixed = [0; 12];
        fixed[0] = family(address);
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        Self::new(RTM_GETNEIGH, 0, sequence, &fixed).address(NDA_DST, address)
    }

    /// An interface by its number.
    pub fn link(sequence: u32, interface: u32) -> Self {
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        Self::new(RTM_GETLINK, 0, sequence, &fixed).attribute(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes())
    }

    /// An interface by its name, of at most 15 octets.
    pub fn link_named(sequence: u32, name: &str) -> Self {
        let request = Self::new(RTM_GETLINK, 0, sequence, &[0; 16]);
        let name = [name.as_bytes(), &[0]].concat();
        request.attribute(IFLA_IFNAME, &name).attribute(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes())
    }

    /// All interfaces.
    pub fn links(sequence: u32) -> Self {
        Self::new(RTM_GETLINK, NLM_F_DUMP, sequence, &[0; 16]).attribute(IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes())
    }

    /// The octets, their length filled in.
    pub fn octets(mut self) -> Vec<u8> {
        let len = self.octets.len() as u32;
        self.octets[..4].copy_from_slice(&len.to_ne_bytes());
        self.octets
    }
}

const fn aligned(len: usize) -> usize {
    (len + 3) & !3
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// A way that a packet goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// `RTN_*`: unicast, local, blackhole, …
    pub kind: u8,
    /// Interface it leaves by.
    pub interface: u32,
    /// Router on that link; none: the destination is on it.
    pub gateway: Option<IpAddr>,
    /// Source address that the kernel would choose.
    pub source: Option<IpAddr>,
}

/// A neighbour's link-layer address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Interface to its link.
    pub interface: u32,
    /// Its address on that link.
    pub address: Option<IpAddr>,
    /// Ethernet address, where one is known and may be sent to.
    pub mac: Option<[u8; 6]>,
    /// Nobody has confirmed it for a while.
    pub stale: bool,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub interface: u32,
    /// Its name.
    pub name: String,
    /// `ARPHRD_*`.
    pub kind: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// Its Ethernet address, where it has one.
    pub mac: Option<[u8; 6]>,
    /// Octets of the largest packet.
    pub mtu: u32,
    /// Interface that it is a member of, 0 for none.
    pub master: u32,
    /// What that is: `bond`, `bridge`, `vrf`, …; empty for none.
    pub member_of: String,
    /// What it is itself: `bond`, `vrf`, `veth`, …; empty for a card.
    pub is: String,
}

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Answer, or notice of a new route.
    Route(Route),
    /// A route is gone.
    RouteGone,
    /// Answer, or notice of a neighbour that changed.
    Neighbour(Neighbour),
    /// A neighbour is gone.
    NeighbourGone(Neighbour),
    /// Answer, or notice of an interface that changed.
    Link(Link),
    /// An interface is gone.
    LinkGone(Link),
    /// The kernel refused the request: errno, 0 for an acknowledgement.
    Error(i32),
    /// The end of a list.
    Done,
    /// Something else.
    Other,
}

fn take<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at + N)?.try_into().ok()
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    take(octets, at).map(u16::from_ne_bytes)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    take(octets, at).map(u32::from_ne_bytes)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => take::<4>(octets, 0).map(|v4| Ipv4Addr::from(v4).into()),
        16 => take::<16>(octets, 0).map(|v6| Ipv6Addr::from(v6).into()),
        _ => None,
    }
}

/// (type, value) of each attribute.
fn attributes(octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)?;
        let value = rest.get(4..len)?;
        rest = rest.get(aligned(len)..).unwrap_or_default();
        Some((kind & ATTRIBUTE_TYPE, value))
    })
}

/// The messages in what one call received, each with the number of the request it answers.
pub fn messages(octets: &[u8]) -> impl Iterator<Item = (u32, Message)> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let (kind, sequence) = (u16_at(rest, 4)?, u32_at(rest, 8)?);
        let body = rest.get(HEADER..len)?;
        rest = rest.get(aligned(len)..).unwrap_or_default();
        Some((sequence, message(kind, body).unwrap_or(Message::Other)))
    })
}

fn message(kind: u16, body: &[u8]) -> Option<Message> {
    Some(match kind {
        NLMSG_ERROR => Message::Error(take(body, 0).map(i32::from_ne_bytes)?.saturating_neg()),
        NLMSG_DONE => Message::Done,
        RTM_NEWROUTE => Message::Route(route(body)?),
        RTM_DELROUTE => Message::RouteGone,
        RTM_NEWNEIGH => Message::Neighbour(neighbour(body)?),
        RTM_DELNEIGH => Message::NeighbourGone(neighbour(body)?),
        RTM_NEWLINK => Message::Link(link(body)?),
        RTM_DELLINK => Message::LinkGone(link(body)?),
        _ => return None,
    })
}

/// `struct rtmsg` and its attributes.
fn route(body: &[u8]) -> Option<Route> {
    let mut route = Route { kind: *body.get(7)?, ..Route::default() };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            RTA_OIF => route.interface = u32_at(value, 0)?,
            RTA_GATEWAY => route.gateway = address(value),
            // struct rtvia: a gateway of the other family (RFC 5549).
            RTA_VIA => route.gateway = address(value.get(2..)?),
            RTA_PREFSRC => route.source = address(value),
            _ => {}
        }
    }
    Some(route)
}

/// `struct ndmsg` and its attributes.
fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let state = u16_at(body, 8)?;
    let mut neighbour =
        Neighbour { interface: u32_at(body, 4)?, stale: state & NUD_STALE != 0, ..Neighbour::default() };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            NDA_DST => neighbour.address = address(value),
            NDA_LLADDR if state & NUD_VALID != 0 => neighbour.mac = value.try_into().ok(),
            _ => {}
        }
    }
    Some(neighbour)
}

/// `struct ifinfomsg` and its attributes.
fn link(body: &[u8]) -> Option<Link> {
    let mut link =
        Link { kind: u16_at(body, 2)?, interface: u32_at(body, 4)?, flags: u32_at(body, 8)?, ..Link::default() };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_MASTER => link.master = u32_at(value, 0)?,
            IFLA_LINKINFO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        IFLA_INFO_KIND => link.is = text(value),
                        IFLA_INFO_SLAVE_KIND => link.member_of = text(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// A name, which ends with a NUL octet.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message as the kernel writes it: a request is laid out the same way.
    fn written(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let start = Request::new(kind, 0, 7, fixed);
        attributes.iter().fold(start, |request, (kind, value)| request.attribute(*kind, value)).octets()
    }

    #[test]
    fn a_route_with_a_gateway_of_the_other_family_is_read() {
        let mut fixed = [0; 12];
        fixed[7] = libc::RTN_UNICAST;
        let via = [&(libc::AF_INET6 as u16).to_ne_bytes()[..], &Ipv6Addr::LOCALHOST.octets()].concat();
        let octets = written(
            RTM_NEWROUTE,
            &fixed,
            &[(RTA_OIF, &3u32.to_ne_bytes()), (RTA_VIA, &via), (RTA_PREFSRC, &[192, 0, 2, 1]), (999, &[1])],
        );
        let expected = Route {
            kind: libc::RTN_UNICAST,
            interface: 3,
            gateway: Some(Ipv6Addr::LOCALHOST.into()),
            source: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
        };
        assert_eq!(messages(&octets).collect::<Vec<_>>(), [(7, Message::Route(expected))]);
    }

    #[test]
    fn a_neighbour_has_a_mac_only_while_it_may_be_sent_to() {
        let mac = [2, 0, 0, 0, 0, 1];
        for (state, known, stale) in
            [(0x02, true, false), (0x04, true, true), (0x20, false, false), (0x01, false, false)]
        {
            let mut fixed = [0; 12];
            fixed[4] = 5;
            fixed[8] = state;
            let octets = written(RTM_NEWNEIGH, &fixed, &[(NDA_DST, &[192, 0, 2, 9]), (NDA_LLADDR, &mac)]);
            let Some((7, Message::Neighbour(neighbour))) = messages(&octets).next() else { panic!("no neighbour") };
            assert_eq!((neighbour.interface, neighbour.stale), (u32::from_ne_bytes([5, 0, 0, 0]), stale));
            assert_eq!(neighbour.mac, known.then_some(mac), "state {state:#x}");
        }
    }

    #[test]
    fn a_link_and_the_end_of_a_list_are_read_from_one_buffer() {
        let mut fixed = [0; 16];
        fixed[2..4].copy_from_slice(&1u16.to_ne_bytes());
        fixed[4..8].copy_from_slice(&4u32.to_ne_bytes());
        let mut octets = written(
            RTM_NEWLINK,
            &fixed,
            &[(IFLA_IFNAME, b"eth0\0"), (IFLA_ADDRESS, &[2; 6]), (IFLA_MTU, &1500u32.to_ne_bytes())],
        );
        octets.extend(written(NLMSG_DONE, &[0; 4], &[]));
        let expected =
            Link { interface: 4, name: "eth0".to_owned(), kind: 1, mac: Some([2; 6]), mtu: 1500, ..Link::default() };
        assert_eq!(messages(&octets).collect::<Vec<_>>(), [(7, Message::Link(expected)), (7, Message::Done)]);
    }

    #[test]
    fn a_refusal_carries_its_errno() {
        let octets = written(NLMSG_ERROR, &(-libc::ENETUNREACH).to_ne_bytes(), &[]);
        assert_eq!(messages(&octets).next(), Some((7, Message::Error(libc::ENETUNREACH))));
    }

    proptest! {
        #[test]
        fn no_octets_break_the_reader(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(messages(&octets).count() <= octets.len() / HEADER);
        }

        #[test]
        fn no_altered_octet_breaks_the_reader(at in 0..200usize, to: u8) {
            let mut octets = written(RTM_NEWLINK, &[0; 16], &[(IFLA_IFNAME, b"eth0\0"), (IFLA_ADDRESS, &[2; 6])]);
            octets.extend(written(RTM_NEWROUTE, &[0; 12], &[(RTA_GATEWAY, &[192, 0, 2, 1])]));
            if let Some(octet) = octets.get_mut(at) {
                *octet = to;
            }
            prop_assert!(messages(&octets).count() <= 2 + octets.len() / HEADER);
        }
    }
}
