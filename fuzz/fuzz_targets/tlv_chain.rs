// A chain of any octets ends, its items lie within it in order, and reflecting it changes nothing but Flags, up to the first malformed TLV.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoway_wire::tlv::mark_integrity;
use twoway_wire::{TlvChain, TlvFlags, reflect_tlvs, survey};

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

    // What suits no type ends the chain for a Session-Reflector, so it sees no more TLVs than there are.
    let found = survey(octets);
    assert!(found.count <= count && (found.malformed() || !malformed));
    let mut reflected = octets.to_vec();
    let mut seen = 0;
    let outcome = reflect_tlvs(&mut reflected, |tlv| {
        assert_eq!(flags_at[seen], tlv.at);
        seen += 1;
        TlvFlags::UNRECOGNIZED
    });
    assert_eq!((outcome.count, outcome.unrecognized, outcome.malformed), (found.count, found.count, found.malformed()));
    assert_eq!(seen, found.count as usize);
    // Nothing changes before the malformed TLV but Flags, and after it nothing at all but what marks it.
    let mut expected = octets.to_vec();
    for at in &flags_at[..seen] {
        expected[*at] = TlvFlags::UNRECOGNIZED.0;
    }
    let end = found.well_formed_octets;
    assert_eq!(reflected[..end], expected[..end]);
    if octets.len() >= end + 4 {
        assert_eq!(reflected[end], TlvFlags::MALFORMED.0);
        assert_eq!(reflected[end + 1..end + 4], octets[end + 1..end + 4]);
    }

    // Reflecting a reply changes nothing more.
    let mut again = reflected.clone();
    assert_eq!(reflect_tlvs(&mut again, |_| TlvFlags::UNRECOGNIZED), outcome);
    assert_eq!(again, reflected);
    let mut failed = octets.to_vec();
    mark_integrity(&mut failed);
    for at in flags_at.iter().take(seen) {
        assert!(TlvFlags(failed[*at]).contains(TlvFlags::INTEGRITY));
    }
});
