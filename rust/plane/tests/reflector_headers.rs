//! Headers of the request, given back to the TLVs that ask for them (draft-ietf-ippm-stamp-ext-hdr), and the MAC address of the
//! last hop (RFC 8972 section 4.2).

mod asking;

use std::net::SocketAddr;

use self::asking::*;
use twoway_plane::reflector::arrivals::{Arrival, Arrivals, NoArrivals};
use twoway_plane::reflector::extensions::{LocationPolicy, TlvPolicy};
use twoway_plane::reflector::routes::PlainRoutes;
use twoway_plane::session_reflector::{RequestMeta, SessionReflector, Verdict};
use twoway_plane::sys::LinkAddress;
use twoway_wire::tlv::{Location, LocationRequest, TlvChain, TlvFlags, TlvType, TlvWriter};
use twoway_wire::{ErrorEstimate, IpHeaders, WallNanos};

const C: TlvFlags = TlvFlags::CONFORMANT;
/// Of the test packet's UDP datagram.
const UDP: [u8; 8] = [0x9c, 0x40, 0x03, 0x5e, 0, 8, 0, 0];
const HOP_BY_HOP: [u8; 8] = [43, 0, 5, 2, 0, 0, 1, 0];
const DESTINATION: [u8; 8] = [17, 0, 1, 4, 0, 0, 0, 0];

fn routing() -> Vec<u8> {
    [&[60, 2, 4, 1][..], &[0x20; 20]].concat()
}

/// IPv6, three extension headers, UDP.
fn packet() -> Vec<u8> {
    let mut fixed = vec![0x6b, 0x81, 0x23, 0x45, 0, 48, 0, 64];
    fixed.extend([0x20; 32]);
    [&fixed[..], &HOP_BY_HOP, &routing(), &DESTINATION, &UDP].concat()
}

/// Knows one arrival.
struct One {
    packet: Vec<u8>,
    headers: IpHeaders,
    last_hop: Option<LinkAddress>,
}

impl One {
    fn new(packet: Vec<u8>) -> Self {
        let headers = IpHeaders::find(&packet).expect("headers");
        Self { packet, headers, last_hop: Some(LinkAddress { value: 0x0200_5e00_5301, is_eui_64: false }) }
    }
}

impl Arrivals for One {
    fn of(&mut self, source: SocketAddr, payload: &[u8]) -> Option<Arrival<'_>> {
        assert_eq!((source, payload[..4].to_vec()), (meta().source, vec![0, 0, 0, 7]));
        Some(Arrival { last_hop: self.last_hop, headers: &self.headers, packet: &self.packet })
    }
}

fn reflecting() -> TlvPolicy {
    TlvPolicy { reflect_headers: true, ..tlvs() }
}

/// (type, flags, Value) of each TLV of the reply.
fn answer(policy: TlvPolicy, chain: &[u8], arrivals: &mut impl Arrivals) -> Vec<(u8, TlvFlags, Vec<u8>)> {
    let mut engine: SessionReflector = engine_with(policy, &[KEY], true);
    let octets = request(chain);
    let mut room = vec![0xee; ROOM];
    room[..octets.len()].copy_from_slice(&octets);
    let meta = RequestMeta { len: octets.len(), ..meta() };
    let Verdict::Reply(pending) = engine.handle(&mut room, &meta, SECOND, &mut PlainRoutes, arrivals) else {
        panic!("no reply")
    };
    engine.write(&pending, WallNanos(NOW.0 + 1000), ErrorEstimate::UNKNOWN, &mut room).expect("written");
    assert_eq!(pending.len(), octets.len());
    let chain = TlvChain::new(&room[44..pending.len()]).collect::<Result<Vec<_>, _>>().expect("well-formed");
    chain.iter().map(|tlv| (tlv.kind, tlv.flags, tlv.value.to_vec())).collect()
}

/// A request for a header of so many octets that begins so.
fn asking(kind: TlvType, len: usize, begins: &[u8]) -> Vec<u8> {
    made(kind, len, |value| value[..begins.len()].copy_from_slice(begins))
}

fn fixed(len: usize) -> Vec<u8> {
    asking(TlvType::ReflectedFixedHeader, len, &[])
}

fn extension(len: usize) -> Vec<u8> {
    asking(TlvType::ReflectedIpv6ExtensionHeader, len, &[])
}

/// Sections 4.1 and 6.1: the header that has the length, and the next one that has it for the next TLV.
#[test]
fn each_header_is_given_once_from_the_outside_in() {
    let chain = [fixed(40), extension(8), extension(24), extension(8)].concat();
    let headers = answer(reflecting(), &chain, &mut One::new(packet()));
    let expected = [&packet()[..40], &HOP_BY_HOP, &routing(), &DESTINATION];
    for ((_, flags, value), expected) in headers.iter().zip(expected) {
        assert_eq!((*flags, &value[..]), (NONE, expected));
    }
    assert_eq!(headers.len(), 4);
}

/// The Requested field chooses the header that begins so.
#[test]
fn a_header_is_chosen_by_how_it_begins() {
    let chain = asking(TlvType::ReflectedIpv6ExtensionHeader, 8, &DESTINATION);
    assert_eq!(answer(reflecting(), &chain, &mut One::new(packet())), [(246, NONE, DESTINATION.to_vec())]);
    let chain = asking(TlvType::ReflectedFixedHeader, 40, &[0x6b, 0x81, 0x23, 0x45]);
    assert_eq!(answer(reflecting(), &chain, &mut One::new(packet())), [(247, NONE, packet()[..40].to_vec())]);
}

/// What cannot be reflected has C, and its Value stays.
#[test]
fn what_is_not_there_is_not_made_up() {
    let other = asking(TlvType::ReflectedIpv6ExtensionHeader, 8, &[99, 0, 0, 0, 0, 0, 0, 1]);
    for chain in [fixed(20), extension(16), other, [extension(24), extension(24)].concat()] {
        let headers = answer(reflecting(), &chain, &mut One::new(packet()));
        let (_, flags, value) = headers.last().expect("a TLV");
        assert_eq!((*flags, &value[..]), (C, &chain[chain.len() - value.len()..]));
    }
    let headers = answer(reflecting(), &[fixed(40), extension(8)].concat(), &mut NoArrivals);
    assert!(headers.iter().all(|(_, flags, value)| *flags == C && value.iter().all(|octet| *octet == 0)));
}

/// All requests for a fixed header stand before those for extension headers.
#[test]
fn a_fixed_header_after_an_extension_header_is_out_of_order() {
    let chain = [fixed(40), extension(16), fixed(40)].concat();
    let flags: Vec<_> =
        answer(reflecting(), &chain, &mut One::new(packet())).into_iter().map(|(_, flags, _)| flags).collect();
    assert_eq!(flags, [NONE, C, C]);
}

/// Experimental code points are not honoured unless the operator says so: U.
#[test]
fn headers_are_kept_back_unless_told() {
    let chain = [fixed(40), extension(8)].concat();
    let headers = answer(tlvs(), &chain, &mut One::new(packet()));
    assert!(headers.iter().all(|(_, flags, value)| *flags == U && value.iter().all(|octet| *octet == 0)));
}

/// RFC 8972 section 4.2.2: EUI-48, EUI-64, and zeros in an EUI-64 sub-TLV where there is none or it is kept back.
#[test]
fn the_last_hop_is_told_where_policy_lets_it() {
    let eui_48 = LinkAddress { value: 0x0200_5e00_5301, is_eui_64: false };
    let eui_64 = LinkAddress { value: 0x0200_5eff_fe00_5301, is_eui_64: true };
    let asked = {
        let mut octets = vec![0; 64];
        let mut writer = TlvWriter::new(&mut octets);
        LocationRequest { source_mac: true, ..LocationRequest::default() }.write(&mut writer).expect("room");
        writer.written().to_vec()
    };
    for (policy, last_hop, expected) in [
        (LocationPolicy::All, Some(eui_48), Some(eui_48)),
        (LocationPolicy::All, Some(eui_64), Some(eui_64)),
        (LocationPolicy::All, None, None),
        (LocationPolicy::Addresses, Some(eui_48), None),
        (LocationPolicy::Nothing, Some(eui_48), None),
    ] {
        let mut arrivals = One { last_hop, ..One::new(packet()) };
        let tlvs = answer(TlvPolicy { location: policy, ..tlvs() }, &asked, &mut arrivals);
        let location = Location::parse(&tlvs[0].2).expect("a location");
        let told = location.source_mac.map(|value| LinkAddress { value, is_eui_64: location.source_mac_is_eui_64 });
        assert_eq!((tlvs[0].1, told), (NONE, expected), "{policy:?}");
        if expected.is_none() {
            assert_eq!(tlvs[0].2[4..], [0, 3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}
