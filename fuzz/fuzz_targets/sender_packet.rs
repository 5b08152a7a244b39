// Any octets in any format parse to a value or an error, nothing past the base packet changes, and what was read is read again from what it emits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoway_fuzz::{keys, split};
use twoway_wire::SenderPacket;

fuzz_target!(|input: &[u8]| {
    let Some((format, _, packet)) = split(input) else {
        return;
    };
    let keys = keys(format);
    let mut buf = packet.to_vec();
    let parsed = SenderPacket::parse(format, &keys, &mut buf);
    let base = format.sender_len().min(buf.len());
    assert_eq!(buf[base..], packet[base..]);
    let Ok(parsed) = parsed else {
        return;
    };
    let mut emitted = vec![0xA5; format.sender_len() + 1];
    parsed.emit(format, &keys, &mut emitted).expect("room for the base packet");
    assert_eq!(emitted.pop(), Some(0xA5));
    assert_eq!(SenderPacket::parse(format, &keys, &mut emitted), Ok(parsed));
});
