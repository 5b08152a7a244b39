// A frame of any path and payload says what it was made of: read back by a reader of its own, its checksums hold; and the kernel's messages of any octets are read to their end.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use twoway_plane::next_hop::messages::messages;
use twoway_wire::frame::LONGEST_HEADER;
use twoway_wire::mpls::{LARGEST_LABEL, LONGEST_STACK, LabelStackEntry};
use twoway_wire::{FrameHeader, FrameSpec};

/// Octets that the fixed parts of a path take: choices, addresses, ports.
const FIXED: usize = 3 + 32 + 4;

fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// RFC 1071, octet by octet.
fn valid(octets: impl Iterator<Item = u8>) -> bool {
    let mut sum = 0u32;
    for (at, octet) in octets.enumerate() {
        sum += u32::from(octet) << if at % 2 == 0 { 8 } else { 0 };
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum == 0xFFFF
}

fuzz_target!(|octets: &[u8]| {
    assert!(messages(octets).count() <= octets.len() / 16);

    let Some((fixed, rest)) = octets.split_at_checked(FIXED) else { return };
    let v6 = fixed[0] & 1 != 0;
    let labels_len = usize::from(fixed[0] >> 1) % (LONGEST_STACK + 2);
    let (dscp_ecn, ttl) = (fixed[1], fixed[2]);
    let address = |at: usize, port: usize| {
        let port = word(fixed, port);
        if v6 {
            SocketAddr::from((<[u8; 16]>::try_from(&fixed[at..at + 16]).unwrap(), port))
        } else {
            SocketAddr::from((<[u8; 4]>::try_from(&fixed[at..at + 4]).unwrap(), port))
        }
    };
    let (source, destination) = (address(3, 35), address(19, 37));
    let Some((labels, payload)) = rest.split_at_checked(4 * labels_len) else { return };
    let labels: Vec<u32> =
        labels.chunks_exact(4).map(|four| u32::from_be_bytes(four.try_into().unwrap()) & LARGEST_LABEL).collect();
    let spec =
        FrameSpec { source_mac: [2; 6], destination_mac: [4; 6], labels: &labels, source, destination, dscp_ecn, ttl };
    let made = FrameHeader::new(&spec);
    assert_eq!(made.is_ok(), labels_len <= LONGEST_STACK);
    let Ok(header) = made else { return };
    let mut frame = vec![0xA5; LONGEST_HEADER + payload.len() + 8];
    let len = header.write(payload, &mut frame).expect("room enough");
    assert!(frame[len..].iter().all(|octet| *octet == 0xA5));
    let frame = &frame[..len];
    let mut at = 14;
    for (place, label) in labels.iter().enumerate() {
        let entry = LabelStackEntry::from_octets(frame[at..at + 4].try_into().unwrap());
        let bottom = place + 1 == labels.len();
        assert_eq!(entry, LabelStackEntry { label: *label, traffic_class: dscp_ecn >> 5, bottom, ttl });
        at += 4;
    }
    let ethertype = if !labels.is_empty() {
        0x8847
    } else if v6 {
        0x86DD
    } else {
        0x0800
    };
    assert_eq!(word(frame, 12), ethertype);
    let ip = &frame[at..];
    let (addresses, udp) = if v6 {
        assert_eq!(usize::from(word(ip, 4)), ip.len() - 40);
        (&ip[8..40], &ip[40..])
    } else {
        assert_eq!(usize::from(word(ip, 2)), ip.len());
        assert!(valid(ip[..20].iter().copied()));
        (&ip[12..20], &ip[20..])
    };
    assert_eq!((word(udp, 0), word(udp, 2)), (source.port(), destination.port()));
    assert_eq!(usize::from(word(udp, 4)), udp.len());
    let pseudo = [0, 17, udp[4], udp[5]];
    assert!(valid(addresses.iter().chain(&pseudo).chain(udp).copied()));
    assert_eq!(&udp[8..], payload);
});
