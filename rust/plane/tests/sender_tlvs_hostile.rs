//! What a Session-Sender makes of TLVs that lie, come twice, are nested too deep or are too many.

mod sending;

use proptest::prelude::*;
use twoway_plane::session_sender::extensions::{AccessRequest, TlvRequests, WayBack};
use twoway_plane::summary::Fact;
use twoway_wire::tlv::access_report::{AccessId, ReturnCode};
use twoway_wire::tlv::{AccessReport, MicroSessionId, TlvFlags, TlvType};

use self::sending::{INTERVAL_NS, Sending, TIMEOUT_NS, chain, told};

fn everything() -> TlvRequests {
    TlvRequests {
        location: true,
        timestamp_information: true,
        class_of_service: Some((46, 34)),
        direct_measurement: true,
        access_report: Some(AccessRequest {
            report: AccessReport { access: AccessId::ThreeGpp, return_code: ReturnCode::AVAILABLE },
            timer_ns: INTERVAL_NS,
            retransmissions: 4,
        }),
        follow_up: true,
        destination_node: Some("192.0.2.1".parse().expect("address")),
        return_path: Some(WayBack::SameLink),
        micro_session: Some(MicroSessionId { sender: 7, reflector: 0 }),
        control: None,
        fixed_header: Some(20),
        extension_headers: vec![8],
        hmac: None,
    }
}

proptest! {
    /// Whatever stands where the TLVs of a reply are, the packet's fate is known and nothing breaks.
    #[test]
    fn no_tlvs_break_a_session(chains in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..10)) {
        let mut session = Sending::new(everything(), None);
        for (sequence, octets) in (0..).zip(&chains) {
            session.exchange(sequence, octets);
        }
        session.pass(3 * TIMEOUT_NS);
        let sent = session.count("sent");
        let names = ["received", "late", "lost_forward", "lost_backward", "lost_unattributed", "pending"];
        prop_assert_eq!(sent, chains.len() as u64);
        prop_assert_eq!(names.map(|name| session.count(name)).iter().sum::<u64>(), sent);
    }
}

/// RFC 8972 section 4: of what is malformed, and of what follows it, nothing is used, whether or not the far end says so.
#[test]
fn what_lies_about_its_length_is_not_used() {
    let good = told(TlvType::TimestampInformation, &[1, 2, 1, 2]);
    let location = |sub_tlvs: &[u8]| told(TlvType::Location, &[&[0x03, 0x5e, 0x9c, 0x40][..], sub_tlvs].concat());
    for (what, bad) in [
        ("past the end", vec![0, 2, 0xff, 0xff, 0, 0, 0, 0]),
        ("not of its type", told(TlvType::FollowUpTelemetry, &[0; 15])),
        ("nested beyond its parent", location(&[0, 8, 0, 17, 192, 0, 2, 9])),
        ("a sub-TLV of a wrong length", location(&[0, 8, 0, 4, 192, 0, 2, 9])),
        ("a sub-TLV that is cut off", location(&[0, 8, 0])),
        ("nested too short", told(TlvType::ReturnPath, &[0, 1, 0, 3, 0, 0, 0])),
    ] {
        for (before, used) in [(true, Some(2)), (false, None)] {
            let octets = if before { [&good[..], &bad].concat() } else { [&bad[..], &good].concat() };
            let requests = TlvRequests { location: true, timestamp_information: true, ..TlvRequests::default() };
            let mut session = Sending::new(requests, None);
            session.exchange(0, &octets);
            let summary = session.summary();
            assert_eq!((summary.counter("tlv_malformed"), summary.counter("received")), (Some(1), Some(1)), "{what}");
            assert_eq!(summary.known(Fact::FarTimestampIn), used, "{what}");
            assert_eq!(summary.location(), None, "{what}");
        }
    }
}

/// A TLV that was asked for once and comes again: the first counts.
#[test]
fn the_second_of_a_kind_says_nothing() {
    let mut session = Sending::new(TlvRequests { timestamp_information: true, ..TlvRequests::default() }, None);
    let [first, second] = [[1, 2, 1, 2], [2, 1, 2, 1]].map(|value| told(TlvType::TimestampInformation, &value));
    session.exchange(0, &[first, second].concat());
    assert_eq!(session.summary().known(Fact::FarTimestampIn), Some(2));
}

/// A thousand TLVs in one reply, or a thousand sub-TLVs in one TLV: all are read, once.
#[test]
fn a_thousand_tlvs_are_read() {
    let requests = || TlvRequests { timestamp_information: true, location: true, ..TlvRequests::default() };
    let value = [1, 2, 1, 2];
    let unknown = chain(&[(TlvFlags::NONE, TlvType::ExtraPadding, &[])]).repeat(1000);
    let octets = [&unknown[..], &told(TlvType::TimestampInformation, &value)].concat();
    let mut session = Sending::new(requests(), None);
    session.exchange(0, &octets);
    assert_eq!(session.summary().known(Fact::FarTimestampIn), Some(2));
    let nested = [&[0x03, 0x5e, 0x9c, 0x40][..], &[0, 77, 0, 0].repeat(1000)].concat();
    let mut octets = vec![0, 2];
    octets.extend((nested.len() as u16).to_be_bytes());
    octets.extend(nested);
    let mut session = Sending::new(requests(), None);
    session.exchange(0, &octets);
    assert_eq!(session.summary().location().map(|told| told.source_port), Some(40_000));
    assert_eq!(session.count("tlv_malformed"), 0);
}
