// Any octets in any format parse to a value or an error, nothing past the base packet changes, and what was read is read again from what it emits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoway_fuzz::{keys, split};
use twoway_wire::{ReflectorPacket, WallNanos};

fuzz_target!(|input: &[u8]| {
    let Some((format, choice, packet)) = split(input) else {
        return;
    };
    let keys = keys(format);
    let dscp_ecn = choice & 1 != 0;
    let mut buf = packet.to_vec();
    let parsed = ReflectorPacket::parse(format, &keys, &mut buf, dscp_ecn);
    let base = format.reflector_len().min(buf.len());
    assert_eq!(buf[base..], packet[base..]);
    let Ok(mut parsed) = parsed else {
        return;
    };
    let near = WallNanos(i64::from_be_bytes([choice; 8]));
    for (timestamp, error_estimate) in [
        (parsed.timestamp, parsed.error_estimate),
        (parsed.receive_timestamp, parsed.error_estimate),
        (parsed.sender_timestamp, parsed.sender_error_estimate),
    ] {
        let _ = timestamp.decode(error_estimate.format(), near);
        let _ = error_estimate.error_ns();
    }
    let len = format.reflector_len_with(parsed.sender_dscp_ecn.is_some());
    let mut emitted = vec![0xA5; len + 1];
    parsed.emit(format, &keys, &mut emitted).expect("room for the base packet");
    assert_eq!(emitted.pop(), Some(0xA5));
    // A TTL that was not there is written as 255.
    parsed.sender_ttl = parsed.sender_ttl.or(Some(255));
    let dscp_ecn = parsed.sender_dscp_ecn.is_some();
    assert_eq!(ReflectorPacket::parse(format, &keys, &mut emitted, dscp_ecn), Ok(parsed));
});
