//! Chains of TLVs: read, looked over, turned into those of a reply, and written.
//!
//! A Session-Reflector goes through a chain twice. [`survey`] changes nothing and finds where the well-formed TLVs end and
//! where the HMAC TLV stands, which must be known before any Value is used (RFC 8972 section 4.8). [`reflect_tlvs`] then
//! derives all flags anew, asks its caller about each well-formed TLV, sets M on the malformed one and leaves alone what
//! follows that (RFC 8972 section 4). Both take time in proportion to the octets, however many TLVs they are cut into.

use super::{
    FLAGS, LENGTH, TLV_HEADER_LEN, TYPE, TlvFlags, TlvType, framed_len, kind_has_length, malformed_sub_tlv,
    well_formed_len,
};
use crate::error::WireError;

/// One TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Flags as they are on the wire, reserved bits included.
    pub flags: TlvFlags,
    /// Type: see `TlvType::from_code`.
    pub kind: u8,
    /// Value.
    pub value: &'a [u8],
}

/// Octets that are no TLV: a Length past the end of what holds them, or less than a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedTlv<'a> {
    /// Everything from the malformed TLV on.
    pub rest: &'a [u8],
}

/// TLVs after a base packet, or sub-TLVs, in order. What cannot be a TLV is the last item; whether a Value suits its type
/// is not looked at.
#[derive(Clone, Debug)]
pub struct TlvChain<'a> {
    rest: &'a [u8],
}

impl<'a> TlvChain<'a> {
    /// `octets`: all that follows the base packet.
    #[inline]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }
}

impl<'a> Iterator for TlvChain<'a> {
    type Item = Result<Tlv<'a>, MalformedTlv<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.rest);
        let Some(value_len) = framed_len(rest) else {
            return Some(Err(MalformedTlv { rest }));
        };
        let (tlv, rest) = rest.split_at(TLV_HEADER_LEN + value_len);
        self.rest = rest;
        Some(Ok(Tlv { flags: TlvFlags(tlv[FLAGS]), kind: tlv[TYPE], value: &tlv[TLV_HEADER_LEN..] }))
    }
}

impl core::iter::FusedIterator for TlvChain<'_> {}

/// Where the HMAC TLV stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HmacPlace {
    /// There is none.
    #[default]
    Absent,
    /// At this offset in the chain, and only Extra Padding follows.
    At(usize),
    /// Where it must not be: something other than Extra Padding follows, or it is not the only one.
    Misplaced,
}

/// Code points below this have a place in [`Survey::first`].
const PLACES: usize = TlvType::ReflectedTestPacketControl.code() as usize + 1;

/// What a chain is, found out without changing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Well-formed TLVs before the first malformed one.
    pub count: u32,
    /// Octets of these. The malformed TLV, if there is one, begins here.
    pub well_formed_octets: usize,
    /// Of the chain.
    pub octets: usize,
    /// The HMAC TLV.
    pub hmac: HmacPlace,
    /// There is one TLV, an Extra Padding, which needs no HMAC TLV in authenticated mode (RFC 8972 section 4.8).
    pub padding_alone: bool,
    /// One more than the offset of the first well-formed TLV of each type, by code point; 0 for none. A chain is part of
    /// a UDP payload, so that fits.
    firsts: [u16; PLACES],
}

impl Survey {
    /// Offset of the first well-formed TLV of a type that counts once.
    #[inline]
    pub fn first(&self, kind: TlvType) -> Option<usize> {
        self.firsts.get(usize::from(kind.code()))?.checked_sub(1).map(usize::from)
    }

    /// Whether the TLV of that type at offset `at` is to be processed: the first one, unless the type may repeat.
    #[inline]
    pub fn counts(&self, kind: TlvType, at: usize) -> bool {
        kind.may_repeat() || self.first(kind) == Some(at)
    }

    /// The chain ends in something malformed.
    pub const fn malformed(&self) -> bool {
        self.well_formed_octets < self.octets
    }
}

/// Looks a chain over. `octets`: all that follows the base packet.
pub fn survey(octets: &[u8]) -> Survey {
    let mut found = Survey { octets: octets.len(), ..Survey::default() };
    let mut at = 0;
    while let Some(value_len) = octets.get(at..).filter(|rest| !rest.is_empty()).and_then(well_formed_len) {
        let kind = octets[at + TYPE];
        found.count += 1;
        if let Some(first @ 0) = found.firsts.get_mut(usize::from(kind)) {
            *first = u16::try_from(at + 1).unwrap_or(0);
        }
        if kind == TlvType::Hmac.code() {
            found.hmac = if found.hmac == HmacPlace::Absent { HmacPlace::At(at) } else { HmacPlace::Misplaced };
        } else if kind != TlvType::ExtraPadding.code() && found.hmac != HmacPlace::Absent {
            found.hmac = HmacPlace::Misplaced;
        }
        at += TLV_HEADER_LEN + value_len;
    }
    found.well_formed_octets = at;
    // What follows the HMAC TLV and is no TLV is not Extra Padding either.
    if found.malformed() && found.hmac != HmacPlace::Absent {
        found.hmac = HmacPlace::Misplaced;
    }
    found.padding_alone = found.count == 1 && !found.malformed() && octets[TYPE] == TlvType::ExtraPadding.code();
    found
}

/// What `reflect_tlvs` met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlvOutcome {
    /// Well-formed TLVs.
    pub count: u32,
    /// Those of them that are returned with U set.
    pub unrecognized: u32,
    /// The chain ended in something malformed.
    pub malformed: bool,
}

/// A well-formed TLV of a request, whose Value is to become that of the reply.
#[derive(Debug)]
pub struct TlvMut<'a> {
    /// Offset of the TLV in the chain.
    pub at: usize,
    /// Type, where it is known.
    pub kind: Option<TlvType>,
    /// Value.
    pub value: &'a mut [u8],
}

/// Make the TLVs of a request those of its reply, in place. `buf`: all octets after the base packet.
///
/// `reflect` is asked about each well-formed TLV in order; it may write the Value, and returns the flags of the reply's
/// TLV. The tail of a chain that is too short for a header has no flags and stays as it is.
pub fn reflect_tlvs(buf: &mut [u8], mut reflect: impl FnMut(&mut TlvMut<'_>) -> TlvFlags) -> TlvOutcome {
    let mut outcome = TlvOutcome::default();
    let mut at = 0;
    while at < buf.len() {
        let rest = &mut buf[at..];
        let Some(value_len) = well_formed_len(rest) else {
            mark_malformed(rest);
            outcome.malformed = true;
            break;
        };
        let kind = TlvType::from_code(rest[TYPE]);
        let value = &mut rest[TLV_HEADER_LEN..TLV_HEADER_LEN + value_len];
        let flags = reflect(&mut TlvMut { at, kind, value });
        rest[FLAGS] = flags.0;
        outcome.count += 1;
        outcome.unrecognized += u32::from(flags.contains(TlvFlags::UNRECOGNIZED));
        at += TLV_HEADER_LEN + value_len;
    }
    outcome
}

/// Sets M on the malformed TLV at the beginning of `rest`, and on the sub-TLV that makes it so.
fn mark_malformed(rest: &mut [u8]) {
    if rest.len() < TLV_HEADER_LEN {
        return;
    }
    rest[FLAGS] = TlvFlags::MALFORMED.0;
    let (kind, framed) = (rest[TYPE], framed_len(rest));
    let Some(value_len) = framed else { return };
    let value = &mut rest[TLV_HEADER_LEN..TLV_HEADER_LEN + value_len];
    if kind == TlvType::FollowUpTelemetry.code() {
        // RFC 8972 section 4.7: Sequence Number and Follow-Up Timestamp are zeroed, as far as they are there.
        value.iter_mut().take(super::follow_up_telemetry::ZEROED_LEN).for_each(|octet| *octet = 0);
    }
    if kind_has_length(kind, value_len)
        && let Some(sub) = TlvType::from_code(kind).and_then(TlvType::sub_tlvs)
        && let Some(at) = malformed_sub_tlv(value, &sub)
        && value.len() - at >= TLV_HEADER_LEN
    {
        value[at + FLAGS] = TlvFlags::MALFORMED.0;
    }
}

/// Make the TLVs of a request that failed its integrity check those of its reply: I set in each, nothing else of them
/// used or changed (RFC 8972 section 4.8). Types that nobody knows have U beside it.
pub fn mark_integrity(buf: &mut [u8]) -> TlvOutcome {
    let mut outcome = reflect_tlvs(buf, |tlv| {
        let unknown = if tlv.kind.is_none() { TlvFlags::UNRECOGNIZED } else { TlvFlags::NONE };
        TlvFlags::INTEGRITY.with(unknown)
    });
    if outcome.malformed {
        // The malformed TLV is copied as the others are.
        let at = survey(buf).well_formed_octets;
        if buf.len() - at >= TLV_HEADER_LEN {
            buf[at + FLAGS] |= TlvFlags::INTEGRITY.0;
        }
    }
    outcome.unrecognized = 0;
    outcome
}

/// Takes all Extra Padding out of a well-formed chain. Returns how many octets are left of it.
pub fn strip_extra_padding(chain: &mut [u8]) -> usize {
    let (mut from, mut to) = (0, 0);
    while let Some(value_len) = chain.get(from..).filter(|rest| !rest.is_empty()).and_then(framed_len) {
        let len = TLV_HEADER_LEN + value_len;
        if chain[from + TYPE] != TlvType::ExtraPadding.code() {
            chain.copy_within(from..from + len, to);
            to += len;
        }
        from += len;
    }
    to
}

/// Puts an Extra Padding of zeros, `padding_len` octets with its header, at offset `at` of the chain of `len` octets at the
/// beginning of `room`. Returns the length of the chain then, or `None` if there is no room, or no such TLV.
pub fn insert_extra_padding(room: &mut [u8], len: usize, at: usize, padding_len: usize) -> Option<usize> {
    let value_len = u16::try_from(padding_len.checked_sub(TLV_HEADER_LEN)?).ok()?;
    let longer = len.checked_add(padding_len).filter(|longer| *longer <= room.len() && at <= len)?;
    room.copy_within(at..len, at + padding_len);
    let padding = &mut room[at..at + padding_len];
    padding.fill(0);
    padding[TYPE] = TlvType::ExtraPadding.code();
    padding[LENGTH..TLV_HEADER_LEN].copy_from_slice(&value_len.to_be_bytes());
    Some(longer)
}

/// Writes TLVs as a Session-Sender sends them, U set, one after the other into a buffer.
#[derive(Debug)]
pub struct TlvWriter<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl<'a> TlvWriter<'a> {
    /// Begins at the beginning of `buf`.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Octets written so far.
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// The buffer so far.
    pub fn written(&self) -> &[u8] {
        &self.buf[..self.at]
    }

    /// Appends a TLV, or a sub-TLV, of type `kind`; its Value has `value_len` octets, is zeroed and then filled by `fill`.
    /// Returns the offset of the Value.
    pub fn push(&mut self, kind: u8, value_len: usize, fill: impl FnOnce(&mut [u8])) -> Result<usize, WireError> {
        let length = u16::try_from(value_len).map_err(|_| WireError::TlvTooLong { have: value_len })?;
        let have = self.buf.len() - self.at;
        let need = TLV_HEADER_LEN + value_len;
        let Some(tlv) = self.buf.get_mut(self.at..self.at + need) else {
            return Err(WireError::BufferTooSmall { need, have });
        };
        let (header, value) = tlv.split_at_mut(TLV_HEADER_LEN);
        header[FLAGS] = TlvFlags::UNRECOGNIZED.0;
        header[TYPE] = kind;
        header[LENGTH..].copy_from_slice(&length.to_be_bytes());
        value.fill(0);
        fill(value);
        let value_at = self.at + TLV_HEADER_LEN;
        self.at += need;
        Ok(value_at)
    }
}

/// Fill `buf` with one Extra Padding TLV (RFC 8972 section 4.1) as a Session-Sender sends it.
///
/// `fill` writes the Value: zeros or pseudo-random octets. An empty `buf` takes no TLV; one of 1 to 3 octets cannot.
pub fn write_extra_padding(buf: &mut [u8], fill: impl FnOnce(&mut [u8])) -> Result<(), WireError> {
    let have = buf.len();
    if have == 0 {
        return Ok(());
    }
    let Some((header, value)) = buf.split_first_chunk_mut::<TLV_HEADER_LEN>() else {
        return Err(WireError::BufferTooSmall { need: TLV_HEADER_LEN, have });
    };
    let length = u16::try_from(value.len()).map_err(|_| WireError::TlvTooLong { have: value.len() })?;
    header[FLAGS] = TlvFlags::UNRECOGNIZED.0;
    header[TYPE] = TlvType::ExtraPadding.code();
    header[LENGTH..].copy_from_slice(&length.to_be_bytes());
    fill(value);
    Ok(())
}
