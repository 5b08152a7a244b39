//! The HMAC TLV (RFC 8972 section 4.8): HMAC-SHA-256, cut to 16 octets, over the Sequence Number of the base packet and
//! all TLVs before the HMAC TLV, as they are on the wire, headers and flags included.

use super::chain::HmacPlace;
use super::{LENGTH, TLV_HEADER_LEN, TYPE, TlvType};
use crate::auth::{HMAC_LEN, StampKey, TestKeys, same_octets};

/// Octets of an HMAC TLV.
pub const HMAC_TLV_LEN: usize = TLV_HEADER_LEN + HMAC_LEN;

/// Writes the Value of the HMAC TLV at offset `at` of the chain `tlvs`, for a packet that is sent with Sequence Number
/// `sequence`. Does nothing if there is no HMAC TLV.
#[inline]
pub fn sign_tlvs(key: &StampKey, sequence: u32, tlvs: &mut [u8], at: usize) {
    if !is_hmac_tlv(tlvs, at) {
        return;
    }
    let (covered, hmac_tlv) = tlvs.split_at_mut(at);
    let hmac = key.hmac_over(&[&sequence.to_be_bytes(), covered]);
    hmac_tlv[TLV_HEADER_LEN..HMAC_TLV_LEN].copy_from_slice(&hmac);
}

/// Whether the HMAC TLV stands where it may and its Value is right for a packet that came with Sequence Number
/// `sequence`. A chain without one does not verify.
#[inline]
pub fn verify_tlvs(keys: &TestKeys, sequence: u32, tlvs: &[u8], place: HmacPlace) -> bool {
    let (TestKeys::Stamp(key), HmacPlace::At(at)) = (keys, place) else { return false };
    if !is_hmac_tlv(tlvs, at) {
        return false;
    }
    let hmac = key.hmac_over(&[&sequence.to_be_bytes(), &tlvs[..at]]);
    same_octets(&hmac, &tlvs[at + TLV_HEADER_LEN..at + HMAC_TLV_LEN])
}

fn is_hmac_tlv(tlvs: &[u8], at: usize) -> bool {
    let expected = (HMAC_LEN as u16).to_be_bytes();
    tlvs.get(at..)
        .and_then(|rest| rest.get(..HMAC_TLV_LEN))
        .is_some_and(|tlv| tlv[TYPE] == TlvType::Hmac.code() && tlv[LENGTH..TLV_HEADER_LEN] == expected)
}
