// A request that parses becomes a reply of max(request, base) octets, which the Session-Sender reads as an answer to that request and no reflector answers again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoway_fuzz::{keys, split};
use twoway_wire::{
    ErrorEstimate, PacketFormat, ReflectInput, ReflectorPacket, SenderPacket, TimestampFormat, TlvFlags, WallNanos,
    is_reply_shaped, reflect_in_place, reflect_tlvs, reply_len,
};

fuzz_target!(|input: &[u8]| {
    let Some((format, choice, packet)) = split(input) else {
        return;
    };
    let keys = keys(format);
    let mut buf = packet.to_vec();
    is_reply_shaped(format, &buf);
    let Ok(sender) = SenderPacket::parse(format, &keys, &mut buf) else {
        return;
    };
    let timestamps = if choice & 1 == 0 { TimestampFormat::Ntp } else { TimestampFormat::Ptp };
    let dscp_ecn = (choice & 2 != 0).then_some(choice);
    let receive_ns = 1_700_000_000_000_000_000 + i64::from(choice);
    let reflect = ReflectInput {
        sequence: (choice & 4 != 0).then_some(u32::from(choice)),
        receive_timestamp: WallNanos(receive_ns),
        transmit_timestamp: WallNanos(receive_ns + 1_000),
        error_estimate: ErrorEstimate::new(true, timestamps, Some(1_000)),
        ttl: (choice & 8 != 0).then_some(64),
        dscp_ecn,
        symmetrical_size: choice & 16 != 0,
    };
    let len = reply_len(format, packet.len(), dscp_ecn.is_some());
    assert!(len == packet.len() || len == format.reflector_len_with(dscp_ecn.is_some()));
    buf.resize(len, 0);
    reflect_in_place(format, &keys, &sender, &reflect, &mut buf).expect("room for the reply");
    if format.is_stamp() {
        reflect_tlvs(&mut buf[format.reflector_len()..], |_| TlvFlags::UNRECOGNIZED);
    }

    assert!(is_reply_shaped(format, &buf) != (format == PacketFormat::TwampEncrypted));
    if !matches!(format, PacketFormat::Stamp | PacketFormat::StampAuthenticated | PacketFormat::Twamp) {
        assert!(SenderPacket::parse(format, &keys, &mut buf.clone()).is_err());
    }
    let reply = ReflectorPacket::parse(format, &keys, &mut buf, dscp_ecn.is_some()).expect("a reply");
    assert_eq!(
        (reply.sender_sequence, reply.sender_timestamp, reply.sender_error_estimate, reply.ssid),
        (sender.sequence, sender.timestamp, sender.error_estimate, sender.ssid),
    );
    assert_eq!(reply.sequence, reflect.sequence.unwrap_or(sender.sequence));
    let near = WallNanos(receive_ns);
    assert_eq!(reply.receive_timestamp.decode(timestamps, near), Ok(reflect.receive_timestamp));
    assert_eq!(reply.timestamp.decode(timestamps, near), Ok(reflect.transmit_timestamp));
});
