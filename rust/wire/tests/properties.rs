//! What holds for all packets, all octets and all moments.

use proptest::collection::vec;
use proptest::prelude::*;
use twoway_wire::{
    ErrorEstimate, PacketFormat, RawTimestamp, ReflectInput, ReflectorPacket, SenderPacket, StampKey, TestKeys,
    TimestampFormat, TlvChain, TlvFlags, TwampKeys, WallNanos, is_reply_shaped, reflect_in_place, reflect_tlvs,
    reply_len, survey,
};

/// Years 1700 to 2240: what an `i64` holds, less the width of an era.
const MOMENTS_NS: std::ops::Range<i64> = -8_500_000_000_000_000_000..8_500_000_000_000_000_000;
/// The era is found from a moment up to 68 years off.
const HALF_ERA_NS: i64 = (1 << 31) * 1_000_000_000 - 2_000_000_000;

fn keys(format: PacketFormat) -> TestKeys {
    match format {
        PacketFormat::Stamp | PacketFormat::Twamp => TestKeys::None,
        PacketFormat::StampAuthenticated => TestKeys::Stamp(StampKey::new(&[0x77; 20]).expect("a key")),
        PacketFormat::TwampAuthenticated | PacketFormat::TwampEncrypted => {
            TestKeys::Twamp(TwampKeys::derive([1; 16], [2; 16], [3; 32]))
        }
    }
}

fn formats() -> impl Strategy<Value = PacketFormat> {
    proptest::sample::select(PacketFormat::ALL.to_vec())
}

fn timestamp_formats() -> impl Strategy<Value = TimestampFormat> {
    proptest::sample::select(TimestampFormat::ALL.to_vec())
}

fn senders() -> impl Strategy<Value = SenderPacket> {
    any::<(u32, u64, u16, u16)>().prop_map(|(sequence, timestamp, error_estimate, ssid)| SenderPacket {
        sequence,
        timestamp: RawTimestamp(timestamp),
        error_estimate: ErrorEstimate(error_estimate),
        ssid,
    })
}

fn reflectors() -> impl Strategy<Value = ReflectorPacket> {
    let own = any::<(u32, u64, u16, u16, u64)>();
    let sender = any::<(u32, u64, u16, u8, Option<u8>)>();
    (own, sender).prop_map(|(own, sender)| ReflectorPacket {
        sequence: own.0,
        timestamp: RawTimestamp(own.1),
        error_estimate: ErrorEstimate(own.2),
        ssid: own.3,
        receive_timestamp: RawTimestamp(own.4),
        sender_sequence: sender.0,
        sender_timestamp: RawTimestamp(sender.1),
        sender_error_estimate: ErrorEstimate(sender.2),
        sender_ttl: Some(sender.3),
        sender_dscp_ecn: sender.4,
    })
}

fn inputs() -> impl Strategy<Value = ReflectInput> {
    (
        any::<Option<u32>>(),
        MOMENTS_NS,
        -1_000_000_000..10_000_000_000_i64,
        any::<u16>(),
        any::<(Option<u8>, Option<u8>, bool)>(),
    )
        .prop_map(|(sequence, receive_ns, residence_ns, error_estimate, (ttl, dscp_ecn, symmetrical_size))| {
            ReflectInput {
                sequence,
                receive_timestamp: WallNanos(receive_ns),
                transmit_timestamp: WallNanos(receive_ns + residence_ns),
                error_estimate: ErrorEstimate(error_estimate),
                ttl,
                dscp_ecn,
                symmetrical_size,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sender_packets_survive_the_wire(format in formats(), packet in senders(), padding in vec(any::<u8>(), 0..64)) {
        let mut buf = vec![0xA5; format.sender_len()];
        buf.extend_from_slice(&padding);
        packet.emit(format, &keys(format), &mut buf).unwrap();
        prop_assert_eq!(&buf[format.sender_len()..], &padding[..]);
        let read = SenderPacket::parse(format, &keys(format), &mut buf).unwrap();
        let ssid = if format.is_stamp() { packet.ssid } else { 0 };
        prop_assert_eq!(read, SenderPacket { ssid, ..packet });
        prop_assert_eq!(&buf[format.sender_len()..], &padding[..]);
    }

    #[test]
    fn reflector_packets_survive_the_wire(format in formats(), packet in reflectors(), padding in vec(any::<u8>(), 0..64)) {
        let monitored = packet.sender_dscp_ecn.is_some();
        let header_len = format.reflector_len_with(monitored);
        let mut buf = vec![0xA5; header_len];
        buf.extend_from_slice(&padding);
        packet.emit(format, &keys(format), &mut buf).unwrap();
        let read = ReflectorPacket::parse(format, &keys(format), &mut buf, monitored).unwrap();
        let ssid = if format.is_stamp() { packet.ssid } else { 0 };
        prop_assert_eq!(read, ReflectorPacket { ssid, ..packet });
        prop_assert_eq!(&buf[header_len..], &padding[..]);
    }

    #[test]
    fn any_octets_are_read_or_refused(format in formats(), octets in vec(any::<u8>(), 0..256), dscp_ecn: bool) {
        let keys = keys(format);
        is_reply_shaped(format, &octets);
        let mut buf = octets.clone();
        let sender = SenderPacket::parse(format, &keys, &mut buf);
        prop_assert_eq!(sender.is_ok(), !format.is_authenticated() && octets.len() >= format.shortest_request());
        let mut buf = octets.clone();
        let reflector = ReflectorPacket::parse(format, &keys, &mut buf, dscp_ecn);
        prop_assert_eq!(reflector.is_ok(), !format.is_authenticated() && octets.len() >= format.shortest_reply());
        if !format.is_authenticated() {
            prop_assert_eq!(buf, octets);
        }
    }

    #[test]
    fn any_request_is_reflected_within_its_buffer(
        format in formats(), sender in senders(), tail in vec(any::<u8>(), 0..200), input in inputs(), shortened in 0_usize..31,
    ) {
        let keys = keys(format);
        let mut request = vec![0; format.sender_len()];
        sender.emit(format, &keys, &mut request).unwrap();
        request.extend_from_slice(&tail);
        if format == PacketFormat::Stamp {
            request.truncate(request.len() - shortened.min(request.len()));
        }
        let sender = SenderPacket::parse(format, &keys, &mut request).unwrap();
        let monitored = input.dscp_ecn.is_some();
        let len = reply_len(format, request.len(), monitored);
        // A guard behind the reply, and what an earlier packet left behind the request.
        let mut buf = request.clone();
        buf.resize(len + 32, 0xA5);
        reflect_in_place(format, &keys, &sender, &input, &mut buf[..len]).unwrap();
        prop_assert!(buf[len..].iter().all(|octet| *octet == 0xA5));
        buf.truncate(len);
        prop_assume!(RawTimestamp::encode(input.receive_timestamp, input.error_estimate.format()).0 != 0);
        prop_assert_eq!(is_reply_shaped(format, &buf), format != PacketFormat::TwampEncrypted);

        let header_len = format.reflector_len_with(monitored);
        let padding = if format.is_stamp() || input.symmetrical_size {
            request.get(header_len..).unwrap_or_default()
        } else {
            &request[format.sender_len()..][..len - header_len]
        };
        prop_assert_eq!(&buf[header_len..], padding);
        if !format.is_stamp() && format.is_authenticated() {
            prop_assert!(SenderPacket::parse(format, &keys, &mut buf.clone()).is_err());
        }
        let reply = ReflectorPacket::parse(format, &keys, &mut buf, monitored).unwrap();
        prop_assert_eq!(reply.sequence, input.sequence.unwrap_or(sender.sequence));
        prop_assert_eq!(reply.sender_sequence, sender.sequence);
        prop_assert_eq!(reply.sender_timestamp, sender.timestamp);
        prop_assert_eq!(reply.sender_error_estimate, sender.error_estimate);
        prop_assert_eq!(reply.ssid, sender.ssid);
        prop_assert_eq!(reply.sender_ttl, Some(input.ttl.unwrap_or(255)));
        prop_assert_eq!(reply.sender_dscp_ecn, input.dscp_ecn);
        let timestamps = input.error_estimate.format();
        let near = input.transmit_timestamp;
        prop_assert_eq!(reply.receive_timestamp.decode(timestamps, near), Ok(input.receive_timestamp));
        prop_assert_eq!(reply.timestamp.decode(timestamps, near), Ok(input.transmit_timestamp));
    }

    #[test]
    fn requests_with_random_padding_are_not_taken_for_replies(sender in senders(), padding in vec(any::<u8>(), 0..100)) {
        let mut buf = vec![0; 14];
        sender.emit(PacketFormat::Twamp, &TestKeys::None, &mut buf).unwrap();
        buf.extend_from_slice(&padding);
        prop_assert!(!is_reply_shaped(PacketFormat::Twamp, &buf));
        prop_assert!(!is_reply_shaped(PacketFormat::Stamp, &buf));
    }

    #[test]
    fn chains_of_any_octets_end_and_keep_their_length(octets in vec(any::<u8>(), 0..300)) {
        let octets_in_items: usize = TlvChain::new(&octets)
            .map(|item| item.map_or_else(|tail| tail.rest.len(), |tlv| 4 + tlv.value.len()))
            .sum();
        prop_assert_eq!(octets_in_items, octets.len());
        let mut reflected = octets.clone();
        let mut seen = 0;
        let outcome = reflect_tlvs(&mut reflected, |_| {
            seen += 1;
            TlvFlags::UNRECOGNIZED
        });
        // The first whose Value does not suit its type ends the chain.
        prop_assert_eq!((outcome.count, outcome.unrecognized), (seen, seen));
        prop_assert!(seen as usize <= TlvChain::new(&octets).flatten().count());
        let found = survey(&octets);
        prop_assert_eq!((found.count, found.malformed()), (seen, outcome.malformed));
        let kinds_and_values = |octets: &[u8]| -> Vec<(u8, Vec<u8>)> {
            TlvChain::new(octets).flatten().map(|tlv| (tlv.kind, tlv.value.to_vec())).collect()
        };
        let whole = |octets: &[u8]| kinds_and_values(octets).into_iter().take(seen as usize).collect::<Vec<_>>();
        prop_assert_eq!(whole(&reflected), whole(&octets));
    }

    #[test]
    fn timestamps_survive_the_wire_in_every_era(
        moment_ns in MOMENTS_NS, off_ns in -HALF_ERA_NS..HALF_ERA_NS, format in timestamp_formats(),
    ) {
        let near = WallNanos(moment_ns.saturating_add(off_ns));
        let field = RawTimestamp::encode(WallNanos(moment_ns), format);
        prop_assert_eq!(field.decode(format, near), Ok(WallNanos(moment_ns)));
    }

    #[test]
    fn any_timestamp_is_read_near_any_moment(field: u64, near_ns: i64, format in timestamp_formats()) {
        match RawTimestamp(field).decode(format, WallNanos(near_ns)) {
            Err(error) => prop_assert_eq!((error.nanoseconds, format), (field as u32, TimestampFormat::Ptp)),
            Ok(moment) => {
                let off_ns = moment.since(WallNanos(near_ns)).unsigned_abs();
                prop_assert!(off_ns <= (1 << 31) * 1_000_000_000 + 2_000_000_000);
            }
        }
    }

    #[test]
    fn error_estimates_are_never_below_the_error(
        synchronized: bool, format in timestamp_formats(), error_ns in any::<u64>(), shift in 0..64_u32,
    ) {
        let error_ns = error_ns >> shift;
        let field = ErrorEstimate::new(synchronized, format, Some(error_ns));
        prop_assert_eq!((field.synchronized(), field.format()), (synchronized, format));
        prop_assert!(field.multiplier() > 0);
        let bound_ns = field.error_ns().unwrap();
        prop_assert!(bound_ns >= error_ns);
        // At most 1/128 and one nanosecond wider.
        prop_assert!(u128::from(bound_ns) <= u128::from(error_ns) + u128::from(error_ns) / 128 + 1);
    }

    #[test]
    fn any_error_estimate_is_read(field: u16) {
        let field = ErrorEstimate(field);
        prop_assert_eq!(field.error_ns().is_none(), field.multiplier() == 0 || field.0 & 0x3FFF == 0x3FFF);
        let rebuilt = u16::from(field.synchronized()) << 15
            | u16::from(field.format() == TimestampFormat::Ptp) << 14
            | u16::from(field.scale()) << 8
            | u16::from(field.multiplier());
        prop_assert_eq!(rebuilt, field.0);
    }
}
