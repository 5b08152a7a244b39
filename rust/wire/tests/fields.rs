//! Each field of each format by itself, every length that is too short, every octet of every HMAC, and what keys and errors
//! say about themselves.

use twoway_wire::auth::HMAC_LEN;
use twoway_wire::{
    ErrorEstimate, KeyError, PacketFormat, RawTimestamp, ReflectInput, ReflectorPacket, SenderPacket, StampKey,
    TestKeys, TimestampFormat, TlvChain, TlvFlags, TlvType, TwampKeys, WallNanos, WireError, is_reply_shaped,
    reflect_in_place, reply_len, write_extra_padding,
};

fn keys(format: PacketFormat) -> TestKeys {
    match format {
        PacketFormat::Stamp | PacketFormat::Twamp => TestKeys::None,
        PacketFormat::StampAuthenticated => TestKeys::Stamp(StampKey::new(b"sixteen or more octets").expect("a key")),
        PacketFormat::TwampAuthenticated | PacketFormat::TwampEncrypted => {
            TestKeys::Twamp(TwampKeys::new([0x5C; 16], [0xC5; 32]))
        }
    }
}

const SENDER: SenderPacket =
    SenderPacket { sequence: 0, timestamp: RawTimestamp(0), error_estimate: ErrorEstimate(0), ssid: 0 };

const REFLECTOR: ReflectorPacket = ReflectorPacket {
    sequence: 0,
    timestamp: RawTimestamp(0),
    error_estimate: ErrorEstimate(0),
    ssid: 0,
    receive_timestamp: RawTimestamp(0),
    sender_sequence: 0,
    sender_timestamp: RawTimestamp(0),
    sender_error_estimate: ErrorEstimate(0),
    sender_ttl: Some(0),
    sender_dscp_ecn: None,
};

const INPUT: ReflectInput = ReflectInput {
    sequence: None,
    receive_timestamp: WallNanos(1_700_000_000_000_000_000),
    transmit_timestamp: WallNanos(1_700_000_000_000_002_000),
    error_estimate: ErrorEstimate(0x8001),
    ttl: None,
    dscp_ecn: None,
    symmetrical_size: false,
};

/// 0, something in between and the largest value, cut to the width of the field.
const VALUES: [u64; 3] = [0, 0x0123_4567_89AB_CDEF, u64::MAX];

fn emitted(packet: &SenderPacket, format: PacketFormat) -> Vec<u8> {
    let mut buf = vec![0xA5; format.sender_len()];
    packet.emit(format, &keys(format), &mut buf).expect("room");
    buf
}

fn emitted_reply(packet: &ReflectorPacket, format: PacketFormat) -> Vec<u8> {
    let mut buf = vec![0xA5; format.reflector_len_with(packet.sender_dscp_ecn.is_some())];
    packet.emit(format, &keys(format), &mut buf).expect("room");
    buf
}

#[test]
fn lengths_are_those_of_the_rfcs() {
    let lengths = PacketFormat::ALL.map(|format| (format.sender_len(), format.reflector_len()));
    assert_eq!(lengths, [(44, 44), (112, 112), (14, 41), (48, 112), (48, 112)]);
    assert_eq!(PacketFormat::Twamp.reflector_len_with(true), 44);
    assert!(PacketFormat::Stamp.symmetrical_mbz(true).is_empty());
    assert!(PacketFormat::StampAuthenticated.symmetrical_mbz(true).is_empty());
    assert_eq!(PacketFormat::Twamp.symmetrical_mbz(false), 14..41);
    assert_eq!(PacketFormat::Twamp.symmetrical_mbz(true), 14..44);
    assert_eq!(PacketFormat::TwampEncrypted.symmetrical_mbz(false), 48..112);
    assert_eq!(reply_len(PacketFormat::Twamp, 14, false), 41);
    assert_eq!(reply_len(PacketFormat::Twamp, 42, false), 42);
    assert_eq!(reply_len(PacketFormat::Twamp, 42, true), 44);
    assert_eq!(reply_len(PacketFormat::TwampEncrypted, 111, false), 112);
    assert_eq!(reply_len(PacketFormat::Stamp, 14, false), 44);
    assert_eq!(reply_len(PacketFormat::Stamp, 1472, true), 1472);
}

#[test]
fn names_lead_back_to_what_they_name() {
    for format in PacketFormat::ALL {
        assert_eq!(PacketFormat::from_name(format.name()), Some(format));
    }
    for format in TimestampFormat::ALL {
        assert_eq!(TimestampFormat::from_name(format.name()), Some(format));
    }
    for kind in TlvType::ALL {
        assert_eq!(TlvType::from_code(kind.code()), Some(kind));
    }
    assert_eq!(TlvType::ALL.map(TlvType::code), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 246, 247]);
    assert_eq!(PacketFormat::from_name("STAMP"), None);
    assert_eq!(TlvType::from_code(0), None);
}

#[test]
fn each_sender_field_stands_alone() {
    for format in PacketFormat::ALL {
        for value in VALUES {
            let alone = [
                SenderPacket { sequence: value as u32, ..SENDER },
                SenderPacket { timestamp: RawTimestamp(value), ..SENDER },
                SenderPacket { error_estimate: ErrorEstimate(value as u16), ..SENDER },
                SenderPacket { ssid: value as u16, ..SENDER },
            ];
            for mut packet in alone {
                let mut buf = emitted(&packet, format);
                let read = SenderPacket::parse(format, &keys(format), &mut buf);
                if !format.is_stamp() {
                    packet.ssid = 0;
                }
                assert_eq!(read, Ok(packet), "{format:?}");
            }
        }
    }
}

#[test]
fn each_reflector_field_stands_alone() {
    for format in PacketFormat::ALL {
        for value in VALUES {
            let mut alone = [REFLECTOR; 10];
            alone[0].sequence = value as u32;
            alone[1].timestamp = RawTimestamp(value);
            alone[2].error_estimate = ErrorEstimate(value as u16);
            alone[3].ssid = value as u16;
            alone[4].receive_timestamp = RawTimestamp(value);
            alone[5].sender_sequence = value as u32;
            alone[6].sender_timestamp = RawTimestamp(value);
            alone[7].sender_error_estimate = ErrorEstimate(value as u16);
            alone[8].sender_ttl = Some(value as u8);
            alone[9].sender_dscp_ecn = Some(value as u8);
            for mut packet in alone {
                let mut buf = emitted_reply(&packet, format);
                let dscp_ecn = packet.sender_dscp_ecn.is_some();
                let read = ReflectorPacket::parse(format, &keys(format), &mut buf, dscp_ecn);
                if !format.is_stamp() {
                    packet.ssid = 0;
                }
                assert_eq!(read, Ok(packet), "{format:?}");
            }
        }
    }
}

#[test]
fn a_ttl_that_is_not_known_is_sent_as_255() {
    let packet = ReflectorPacket { sender_ttl: None, ..REFLECTOR };
    assert_eq!(emitted_reply(&packet, PacketFormat::Stamp)[40], 255);
}

#[test]
fn every_length_below_the_shortest_is_too_short() {
    for format in PacketFormat::ALL {
        for have in 0..=format.sender_len() {
            let mut buf = emitted(&SENDER, format);
            buf.truncate(have);
            let read = SenderPacket::parse(format, &keys(format), &mut buf);
            let need = format.shortest_request();
            if have < need {
                assert_eq!(read, Err(WireError::TooShort { need, have }), "{format:?}");
            } else {
                assert_eq!(read, Ok(SENDER), "{format:?} {have}");
            }
        }
        for have in 0..=format.reflector_len() {
            let mut buf = emitted_reply(&REFLECTOR, format);
            buf.truncate(have);
            let read = ReflectorPacket::parse(format, &keys(format), &mut buf, true);
            let need = format.shortest_reply();
            if have < need {
                assert_eq!(read, Err(WireError::TooShort { need, have }), "{format:?}");
            } else {
                assert!(read.is_ok(), "{format:?} {have}");
            }
        }
    }
}

#[test]
fn every_buffer_below_the_base_packet_is_too_small() {
    for format in PacketFormat::ALL {
        let keys = keys(format);
        for have in 0..format.sender_len() {
            let need = format.sender_len();
            let written = SENDER.emit(format, &keys, &mut vec![0; have]);
            assert_eq!(written, Err(WireError::BufferTooSmall { need, have }));
        }
        for have in 0..format.reflector_len() {
            let need = format.reflector_len();
            let too_small = Err(WireError::BufferTooSmall { need, have });
            let mut buf = vec![0xA5; have];
            assert_eq!(REFLECTOR.emit(format, &keys, &mut buf), too_small);
            let reflected = reflect_in_place(format, &keys, &SENDER, &INPUT, &mut buf);
            assert_eq!(reflected, too_small);
            assert_eq!(buf, vec![0xA5; have], "left as it was");
        }
    }
    let monitored = ReflectorPacket { sender_dscp_ecn: Some(1), ..REFLECTOR };
    let written = monitored.emit(PacketFormat::Twamp, &TestKeys::None, &mut [0; 43]);
    assert_eq!(written, Err(WireError::BufferTooSmall { need: 44, have: 43 }));
}

#[test]
fn each_altered_octet_that_is_protected_is_noticed() {
    for format in PacketFormat::ALL.into_iter().filter(|f| f.is_authenticated()) {
        let keys = keys(format);
        let request = emitted(&SENDER, format);
        let hmac_at = format.sender_layout().hmac.expect("authenticated");
        let covered = match format {
            PacketFormat::TwampAuthenticated => 16,
            _ => hmac_at,
        };
        for at in (0..covered).chain(hmac_at..hmac_at + HMAC_LEN) {
            let mut buf = request.clone();
            buf[at] ^= 1 << (at % 8);
            let read = SenderPacket::parse(format, &keys, &mut buf);
            assert_eq!(read, Err(WireError::BadHmac), "{format:?} octet {at}");
        }
        let reply = emitted_reply(&REFLECTOR, format);
        let hmac_at = format.reflector_layout().hmac.expect("authenticated");
        let covered = match format {
            PacketFormat::TwampAuthenticated => 16,
            _ => hmac_at,
        };
        for at in (0..covered).chain(hmac_at..hmac_at + HMAC_LEN) {
            let mut buf = reply.clone();
            buf[at] ^= 0x80 >> (at % 8);
            let read = ReflectorPacket::parse(format, &keys, &mut buf, false);
            assert_eq!(read, Err(WireError::BadHmac), "{format:?} octet {at}");
        }
    }
}

#[test]
fn mbz_octets_are_zero_as_sent() {
    let all_ones = ReflectorPacket {
        sequence: u32::MAX,
        timestamp: RawTimestamp(u64::MAX),
        error_estimate: ErrorEstimate(u16::MAX),
        ssid: u16::MAX,
        receive_timestamp: RawTimestamp(u64::MAX),
        sender_sequence: u32::MAX,
        sender_timestamp: RawTimestamp(u64::MAX),
        sender_error_estimate: ErrorEstimate(u16::MAX),
        sender_ttl: Some(u8::MAX),
        sender_dscp_ecn: None,
    };
    let zeros = |octets: &[u8]| -> Vec<usize> {
        let at = octets.iter().enumerate();
        at.filter(|(_, octet)| **octet == 0).map(|(at, _)| at).collect()
    };
    let mbz = |ranges: &[std::ops::Range<usize>]| -> Vec<usize> { ranges.iter().cloned().flatten().collect() };
    let stamp = emitted_reply(&all_ones, PacketFormat::Stamp);
    assert_eq!(zeros(&stamp), mbz(&[38..40, 41..44]));
    let twamp = emitted_reply(&all_ones, PacketFormat::Twamp);
    assert_eq!(zeros(&twamp), mbz(&[14..16, 38..40]));
    let authenticated = emitted_reply(&all_ones, PacketFormat::StampAuthenticated);
    let expected = mbz(&[4..16, 28..32, 40..48, 52..64, 74..80, 81..96]);
    assert_eq!(zeros(&authenticated[..96]), expected);
}

#[test]
fn keys_are_checked_before_anything_is_written() {
    for format in PacketFormat::ALL {
        for (other, error) in [
            (TestKeys::None, WireError::MissingKey),
            (keys(PacketFormat::StampAuthenticated), WireError::WrongKeyKind),
            (keys(PacketFormat::TwampEncrypted), WireError::WrongKeyKind),
        ] {
            let fits = !format.is_authenticated() || format!("{other:?}") == format!("{:?}", keys(format));
            let expected = if fits { Ok(()) } else { Err(error) };
            let mut buf = vec![0xA5; 112];
            assert_eq!(SENDER.emit(format, &other, &mut buf), expected);
            assert_eq!(REFLECTOR.emit(format, &other, &mut buf), expected);
            let reflected = reflect_in_place(format, &other, &SENDER, &INPUT, &mut buf);
            assert_eq!(reflected, expected);
            if !fits {
                assert_eq!(buf, vec![0xA5; 112]);
                let read = SenderPacket::parse(format, &other, &mut buf);
                assert_eq!(read, Err(error));
            }
        }
    }
}

#[test]
fn stamp_keys_have_1_to_64_octets() {
    assert_eq!(StampKey::new(b"").err(), Some(KeyError::Empty));
    assert!(StampKey::new(&[7; 1]).is_ok());
    assert!(StampKey::new(&[7; 64]).is_ok());
    assert_eq!(StampKey::new(&[7; 65]).err(), Some(KeyError::TooLong { have: 65 }));
}

#[test]
fn debug_output_shows_no_key() {
    let shown = format!(
        "{:?} {:?} {:?}",
        TestKeys::None,
        keys(PacketFormat::StampAuthenticated),
        keys(PacketFormat::TwampEncrypted)
    );
    assert_eq!(shown, "TestKeys::None TestKeys::Stamp(..) TestKeys::Twamp(..)");
    assert!(format!("{:?}", TwampKeys::new([1; 16], [2; 32])).ends_with("(..)"));
    assert!(format!("{:?}", StampKey::new(&[3; 9])).contains("(..)"));
}

#[test]
fn errors_say_what_is_wrong() {
    for (error, name, words) in [
        (WireError::TooShort { need: 44, have: 3 }, "too_short", "3 octets"),
        (WireError::BufferTooSmall { need: 44, have: 3 }, "buffer_too_small", "3 octets"),
        (WireError::TlvTooLong { have: 65536 }, "tlv_too_long", "65536"),
        (WireError::MissingKey, "missing_key", "needs a key"),
        (WireError::WrongKeyKind, "wrong_key_kind", "another protocol"),
        (WireError::BadHmac, "bad_hmac", "HMAC"),
    ] {
        assert_eq!(error.name(), name);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn extra_padding_fills_what_it_is_given() {
    let mut buf = [0xA5; 9];
    write_extra_padding(&mut buf, |value| value.fill(7)).expect("room");
    assert_eq!(buf, [0x80, 1, 0, 5, 7, 7, 7, 7, 7]);
    let tlvs: Vec<_> = TlvChain::new(&buf).collect::<Result<_, _>>().expect("well-formed");
    assert_eq!(tlvs.len(), 1);
    assert!(tlvs[0].flags.contains(TlvFlags::UNRECOGNIZED));

    assert_eq!(write_extra_padding(&mut [], |_| ()), Ok(()));
    for have in 1..4 {
        let written = write_extra_padding(&mut vec![0; have], |_| ());
        assert_eq!(written, Err(WireError::BufferTooSmall { need: 4, have }));
    }
    assert_eq!(write_extra_padding(&mut vec![0; 4 + 65535], |_| ()), Ok(()));
    assert_eq!(write_extra_padding(&mut vec![0; 4 + 65536], |_| ()), Err(WireError::TlvTooLong { have: 65536 }));
}

/// A reply whose T2 is that many nanoseconds before its T3.
fn reply_after(format: PacketFormat, timestamps: TimestampFormat, residence_ns: i64) -> Vec<u8> {
    let receive = WallNanos(2_085_978_496_000_000_000 - 500_000_000);
    let mut buf = vec![0; format.reflector_len()];
    let input = ReflectInput {
        receive_timestamp: receive,
        transmit_timestamp: WallNanos(receive.0 + residence_ns),
        error_estimate: ErrorEstimate::new(true, timestamps, Some(1)),
        ..INPUT
    };
    reflect_in_place(format, &keys(format), &SENDER, &input, &mut buf).expect("room");
    buf
}

#[test]
fn replies_are_known_by_their_residence_even_where_the_era_changes() {
    for format in PacketFormat::ALL {
        for timestamps in TimestampFormat::ALL {
            for (residence_ns, known) in [
                (0, true),
                (1_000, true),
                (1_000_000_000, true),
                (10_000_000_000, true),
                (-1_000_000_000, true),
                (10_000_001_000, false),
                (-1_000_001_000, false),
                (37_000_000_000, false),
            ] {
                let reply = reply_after(format, timestamps, residence_ns);
                assert_eq!(
                    is_reply_shaped(format, &reply),
                    known && format != PacketFormat::TwampEncrypted,
                    "{format:?} {timestamps:?} {residence_ns}"
                );
            }
        }
    }
}

#[test]
fn no_timestamp_is_no_reply() {
    for format in PacketFormat::ALL {
        for len in 0..=112 {
            assert!(!is_reply_shaped(format, &vec![0; len]));
        }
    }
    let mut invalid_nanoseconds = reply_after(PacketFormat::Stamp, TimestampFormat::Ptp, 0);
    invalid_nanoseconds[8..12].fill(0xFF);
    assert!(!is_reply_shaped(PacketFormat::Stamp, &invalid_nanoseconds));
}
