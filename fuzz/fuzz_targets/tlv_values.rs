// Octet 0 chooses a type, the rest is its Value: what is read of it can be written, and a Session-Reflector's answer has its length.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use twoway_wire::tlv::reflected_control::{address_groups, reflect_sub_tlvs};
use twoway_wire::tlv::{
    AccessReport, ClassOfService, DirectMeasurement, FollowUpTelemetry, HeaderKind, Location, MicroSessionId,
    NodeAddress, ReflectedControl, ReturnPath, TimestampInformation, TlvWriter, fill_reflected_header, header_dscp_ecn,
    reflect_return_path,
};
use twoway_wire::{IpHeaders, TlvChain, TlvType};

/// Whether a Value of a type with fixed fields reads the same once it has been written.
macro_rules! round_trip {
    ($kind:ty, $value:expr) => {
        if let Some(read) = <$kind>::parse($value) {
            let mut written = $value.to_vec();
            read.write(&mut written);
            assert_eq!(<$kind>::parse(&written), Some(read));
        }
    };
}

fuzz_target!(|input: &[u8]| {
    let Some((code, value)) = input.split_first() else { return };
    let kind = TlvType::from_code(*code);
    let well_formed = kind.is_some_and(|kind| kind.has_length(value.len()));
    match kind {
        Some(TlvType::Location) => location(value, well_formed),
        Some(TlvType::TimestampInformation) => round_trip!(TimestampInformation, value),
        Some(TlvType::ClassOfService) => round_trip!(ClassOfService, value),
        Some(TlvType::DirectMeasurement) => round_trip!(DirectMeasurement, value),
        Some(TlvType::AccessReport) => round_trip!(AccessReport, value),
        Some(TlvType::FollowUpTelemetry) => round_trip!(FollowUpTelemetry, value),
        Some(TlvType::DestinationNodeAddress) => round_trip!(NodeAddress, value),
        Some(TlvType::ReturnPath) => return_path(value),
        Some(TlvType::MicroSessionId) => round_trip!(MicroSessionId, value),
        Some(TlvType::ReflectedTestPacketControl) => control(value),
        Some(TlvType::ReflectedFixedHeader) => headers(value, HeaderKind::Fixed),
        Some(TlvType::ReflectedIpv6ExtensionHeader) => headers(value, HeaderKind::Extension),
        Some(TlvType::ExtraPadding | TlvType::Hmac) | None => {}
    }
});

fn location(value: &[u8], well_formed: bool) {
    let _ = Location::parse(value);
    let told = Location {
        destination_port: 862,
        source_port: 40_000,
        source_mac: Some(0x0200_5e00_5301),
        source_mac_is_eui_64: false,
        destination: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        source: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    };
    let mut reflected = value.to_vec();
    told.reflect(&mut reflected);
    assert_eq!(reflected.len(), value.len());
    if well_formed {
        let read = Location::parse(&reflected).expect("a location");
        assert_eq!((read.destination_port, read.source_port), (862, 40_000));
        // The framing of the sub-TLVs stays.
        let lengths =
            |octets: &[u8]| TlvChain::new(&octets[4..]).flatten().map(|tlv| tlv.value.len()).collect::<Vec<_>>();
        assert_eq!(lengths(value), lengths(&reflected));
    }
}

fn return_path(value: &[u8]) {
    for honoured in [false, true] {
        let mut reflected = value.to_vec();
        reflect_return_path(&mut reflected, honoured);
        assert_eq!(reflected.len(), value.len());
    }
    let Ok(path) = ReturnPath::parse(value) else { return };
    let mut room = vec![0; value.len() + 64];
    let mut writer = TlvWriter::new(&mut room);
    path.write(&mut writer).expect("no longer than what it was read from");
    assert_eq!(ReturnPath::parse(&writer.written()[4..]), Ok(path));
}

fn control(value: &[u8]) {
    if let Some(read) = ReflectedControl::parse(value) {
        let mut written = value.to_vec();
        read.write(&mut written);
        assert_eq!(ReflectedControl::parse(&written), Some(read));
    }
    for group in address_groups(value) {
        let _ = group.holds_mac(&[2, 0, 0, 0, 0, 1]);
        let _ = group.holds_mac(&[2, 0, 0, 0xff, 0xfe, 0, 0, 1]);
        let _ = group.holds_ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let _ = group.holds_ip(IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
    let mut reflected = value.to_vec();
    reflect_sub_tlvs(&mut reflected);
    assert_eq!(reflected.len(), value.len());
}

/// The octets are the packet that came in, and the header that is asked for.
fn headers(octets: &[u8], kind: HeaderKind) {
    let _ = header_dscp_ecn(octets);
    let (asked, packet) = octets.split_at(octets.len().min(8));
    let Some(found) = IpHeaders::find(packet) else { return };
    let extension = kind == HeaderKind::Extension;
    let total: usize = found.of_kind(packet, extension).map(<[u8]>::len).sum();
    assert!(total <= packet.len());
    let _ = (found.source(packet), found.destination_port(packet), found.payload(packet));
    let mut used = 0;
    for header in found.of_kind(packet, extension) {
        let mut value = vec![0; header.len()];
        let begin = asked.len().min(value.len());
        value[..begin].copy_from_slice(&asked[..begin]);
        if fill_reflected_header(kind, &mut value, found.of_kind(packet, extension), &mut used) {
            assert!(found.of_kind(packet, extension).any(|header| header == value));
        }
    }
    assert!(used.count_ones() as usize <= found.of_kind(packet, extension).count());
}
