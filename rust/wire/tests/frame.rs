//! Frames read back by a reader that shares nothing with their writer, and what no frame can be made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;
use twoway_wire::frame::{ETHERNET_LEN, LONGEST_HEADER};
use twoway_wire::mpls::{LARGEST_LABEL, LONGEST_STACK, LabelStackEntry};
use twoway_wire::srv6::routing_header;
use twoway_wire::{FrameError, FrameHeader, FrameSpec};

/// What a frame says.
#[derive(Debug, PartialEq)]
struct Read {
    destination_mac: [u8; 6],
    source_mac: [u8; 6],
    stack: Vec<LabelStackEntry>,
    source: SocketAddr,
    destination: SocketAddr,
    dscp_ecn: u8,
    ttl: u8,
    payload: Vec<u8>,
}

/// RFC 1071, the slow way: the sum of a block with its checksum in place is all ones.
fn valid(parts: &[&[u8]]) -> bool {
    let mut sum = 0u32;
    let octets: Vec<u8> = parts.concat();
    for (at, octet) in octets.iter().enumerate() {
        sum += u32::from(*octet) << if at % 2 == 0 { 8 } else { 0 };
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum == 0xFFFF
}

fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

fn read(frame: &[u8]) -> Read {
    let mut ethertype = word(frame, 12);
    let mut at = ETHERNET_LEN;
    let mut stack = Vec::new();
    if ethertype == 0x8847 {
        loop {
            let entry = LabelStackEntry::from_octets(frame[at..at + 4].try_into().unwrap());
            at += 4;
            stack.push(entry);
            if entry.bottom {
                break;
            }
        }
        ethertype = if frame[at] >> 4 == 4 { 0x0800 } else { 0x86DD };
    }
    let ip = &frame[at..];
    let (source, destination, dscp_ecn, ttl, udp): (IpAddr, IpAddr, _, _, _) = if ethertype == 0x0800 {
        assert_eq!(ip[0], 0x45);
        assert!(valid(&[&ip[..20]]), "IPv4 header checksum");
        assert_eq!(usize::from(word(ip, 2)), ip.len());
        assert_eq!((word(ip, 4), word(ip, 6), ip[9]), (0, 0x4000, 17));
        let address = |at: usize| IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap()));
        (address(12), address(16), ip[1], ip[8], &ip[20..])
    } else {
        assert_eq!(ethertype, 0x86DD);
        assert_eq!(ip[0] >> 4, 6);
        assert_eq!(usize::from(word(ip, 4)), ip.len() - 40);
        assert_eq!(ip[6], 17);
        assert_ne!(u32::from_be_bytes(ip[..4].try_into().unwrap()) & 0xF_FFFF, 0, "flow label");
        let address = |at: usize| IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap()));
        (address(8), address(24), ip[0] << 4 | ip[1] >> 4, ip[7], &ip[40..])
    };
    assert_eq!(usize::from(word(udp, 4)), udp.len());
    assert_ne!(word(udp, 6), 0, "a UDP checksum is there");
    let addresses = match (source, destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => [a.octets(), b.octets()].concat(),
        (IpAddr::V6(a), IpAddr::V6(b)) => [a.octets(), b.octets()].concat(),
        _ => unreachable!(),
    };
    let tail = [0, 17, (udp.len() >> 8) as u8, udp.len() as u8];
    assert!(valid(&[&addresses, &tail, udp]), "UDP checksum");
    Read {
        destination_mac: frame[..6].try_into().unwrap(),
        source_mac: frame[6..12].try_into().unwrap(),
        stack,
        source: SocketAddr::new(source, word(udp, 0)),
        destination: SocketAddr::new(destination, word(udp, 2)),
        dscp_ecn,
        ttl,
        payload: udp[8..].to_vec(),
    }
}

fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
    prop_oneof![v4, v6]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_says_what_it_was_made_of(
        macs in any::<([u8; 6], [u8; 6])>(),
        labels in vec(0..=LARGEST_LABEL, 0..=LONGEST_STACK),
        (source, destination) in addresses(),
        (dscp_ecn, ttl) in any::<(u8, u8)>(),
        payload in vec(any::<u8>(), 0..300),
    ) {
        let spec = FrameSpec {
            source_mac: [0; 6],
            destination_mac: [0; 6],
            labels: &labels,
            source,
            destination,
            dscp_ecn,
            ttl,
        };
        let mut header = FrameHeader::new(&spec).unwrap();
        header.redirect(macs.0, macs.1);
        let mut frame = vec![0xA5; LONGEST_HEADER + payload.len()];
        let len = header.write(&payload, &mut frame).unwrap();
        prop_assert_eq!(len, header.len() + payload.len());
        prop_assert!(frame[len..].iter().all(|octet| *octet == 0xA5));
        let stack = labels.iter().enumerate().map(|(place, label)| LabelStackEntry {
            label: *label,
            traffic_class: dscp_ecn >> 5,
            bottom: place + 1 == labels.len(),
            ttl,
        });
        let expected = Read {
            source_mac: macs.0,
            destination_mac: macs.1,
            stack: stack.collect(),
            source,
            destination,
            dscp_ecn,
            ttl,
            payload,
        };
        prop_assert_eq!(read(&frame[..len]), expected);
    }
}

const SPEC: FrameSpec<'_> = FrameSpec {
    source_mac: [2; 6],
    destination_mac: [4; 6],
    labels: &[],
    source: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 862),
    destination: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 862),
    dscp_ecn: 0,
    ttl: 255,
};

#[test]
fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    // With a first payload word of each value, one sum must come out as zero.
    let header = FrameHeader::new(&SPEC).unwrap();
    let mut frame = [0; 100];
    let ones = (0..=u16::MAX).filter(|word| {
        let len = header.write(&word.to_be_bytes(), &mut frame).unwrap();
        read(&frame[..len]);
        frame[len - 4..len - 2] == [0xFF, 0xFF]
    });
    assert!(ones.count() > 0);
}

#[test]
fn what_no_frame_can_be_made_of_is_refused_by_name() {
    let mixed = FrameSpec { destination: "[2001:db8::1]:862".parse().unwrap(), ..SPEC };
    assert_eq!(FrameHeader::new(&mixed).unwrap_err(), FrameError::MixedFamilies);
    let labels = [16; LONGEST_STACK + 1];
    let tall = FrameSpec { labels: &labels, ..SPEC };
    assert_eq!(FrameHeader::new(&tall).unwrap_err(), FrameError::StackTooLong { have: 31 });
    let header = FrameHeader::new(&SPEC).unwrap();
    let need = header.len() + 10;
    assert_eq!(header.write(&[0; 10], &mut vec![0; need - 1]), Err(FrameError::BufferTooSmall { need }));
    let mut room = vec![0; 70_000];
    assert_eq!(header.write(&vec![0; 65_507], &mut room), Ok(65_507 + header.len()));
    assert_eq!(header.write(&vec![0; 65_508], &mut room), Err(FrameError::PayloadTooLong { have: 65_508 }));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    frame: Vec<FrameEntry>,
    routing_header: Vec<RoutingHeaderEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameEntry {
    name: String,
    reference: String,
    source_mac: String,
    destination_mac: String,
    labels: Vec<u32>,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    dscp_ecn: u8,
    ttl: u8,
    payload: String,
    octets: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutingHeaderEntry {
    name: String,
    reference: String,
    #[serde(rename = "note")]
    _note: String,
    segments: Vec<Ipv6Addr>,
    octets: String,
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal")).collect()
}

#[test]
fn frames_and_routing_headers_are_those_of_the_vectors() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/frames.toml");
    let vectors: Vectors = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(!vectors.frame.is_empty() && !vectors.routing_header.is_empty());
    for entry in vectors.frame {
        assert!(!entry.reference.is_empty());
        let spec = FrameSpec {
            source_mac: octets(&entry.source_mac).try_into().unwrap(),
            destination_mac: octets(&entry.destination_mac).try_into().unwrap(),
            labels: &entry.labels,
            source: SocketAddr::new(entry.source, entry.source_port),
            destination: SocketAddr::new(entry.destination, entry.destination_port),
            dscp_ecn: entry.dscp_ecn,
            ttl: entry.ttl,
        };
        let payload = octets(&entry.payload);
        let mut frame = vec![0; LONGEST_HEADER + payload.len()];
        let len = FrameHeader::new(&spec).unwrap().write(&payload, &mut frame).unwrap();
        assert_eq!(frame[..len], octets(&entry.octets), "{}", entry.name);
    }
    for entry in vectors.routing_header {
        assert!(!entry.reference.is_empty());
        assert_eq!(routing_header(&entry.segments).unwrap(), octets(&entry.octets), "{}", entry.name);
    }
}
