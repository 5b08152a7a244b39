// A chain of any octets ends, its items lie within it in order, and reflecting it changes nothing but Flags, the same as the chain has TLVs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoway_wire::{TlvChain, TlvFlags, reflect_tlvs};

fuzz_target!(|octets: &[u8]| {
    let mut flags_at = Vec::new();
    let (mut at, mut count, mut malformed) = (0, 0, false);
    for item in TlvChain::new(octets) {
        assert!(!malformed, "nothing follows a malformed TLV");
        match item {
            Ok(tlv) => {
                count += 1;
                flags_at.push(at);
                assert_eq!(octets[at..at + 2], [tlv.flags.0, tlv.kind]);
                assert_eq!(octets[at + 4..][..tlv.value.len()], *tlv.value);
                at += 4 + tlv.value.len();
            }
            Err(tail) => {
                malformed = true;
                assert_eq!(&octets[at..], tail.rest);
                if tail.rest.len() >= 4 {
                    flags_at.push(at);
                }
                at += tail.rest.len();
            }
        }
    }
    assert_eq!(at, octets.len());

    let mut reflected = octets.to_vec();
    let outcome = reflect_tlvs(&mut reflected);
    assert_eq!((outcome.count, outcome.malformed), (count, malformed));
    assert!(outcome.unrecognized <= outcome.count);
    let allowed = TlvFlags::UNRECOGNIZED.0 | TlvFlags::MALFORMED.0;
    let mut expected = octets.to_vec();
    for at in flags_at {
        assert_eq!(reflected[at] & !allowed, 0);
        expected[at] = reflected[at];
    }
    assert_eq!(reflected, expected);

    // Reflecting a reply changes nothing more.
    let mut again = reflected.clone();
    assert_eq!(reflect_tlvs(&mut again), outcome);
    assert_eq!(again, reflected);
});
