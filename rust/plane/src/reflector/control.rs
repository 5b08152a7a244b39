//! Several replies to one request, longer than it and some time apart: Reflected Test Packet Control (RFC 10052).
//!
//! A reflector that does this makes much of little, which is what an attacker wants who can forge a source address. So it
//! is off unless the operator names the sources it is done for, and then it is done only for requests that prove to hold
//! a key, once for each sequence number, and within limits that the operator sets (RFC 10052 sections 3 and 5). Whatever is
//! refused gets one reply: with U if such requests are not obeyed at all, with C if this one asks for too much.

use std::net::IpAddr;

use twoway_wire::tlv::reflected_control::{address_groups, reflect_sub_tlvs};
use twoway_wire::tlv::{
    AddressGroup, HMAC_TLV_LEN, HmacPlace, ReflectedControl, Survey, TLV_HEADER_LEN, TlvFlags, TlvType,
    insert_extra_padding, strip_extra_padding, survey,
};

use super::allow::AllowList;
use super::dispositions::Disposition;
use super::extensions::{Extended, Surroundings, value_at};
use super::interfaces::HostInterfaces;
use super::routes::ReplyRoute;

/// Octets of UDP header.
const UDP_HEADER_LEN: usize = 8;

/// For whom it is done, and how much of it.
#[derive(Clone, Debug)]
pub struct ControlPolicy {
    /// Sources whose requests are obeyed, if they are authentic.
    pub allow: AllowList,
    /// Most replies to one request.
    pub most_replies: u16,
    /// Most octets of UDP payload of each.
    pub longest_reply: u16,
    /// Most octets of UDP payload a second.
    pub most_octets_per_s: u64,
    /// Most octets of UDP payload for one request.
    pub most_octets: u64,
}

/// Replies that follow the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// How many.
    pub further: u16,
    /// How far apart.
    pub interval_ns: u32,
}

/// What a request for several replies comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// There is no such request.
    None,
    /// It is not obeyed: U.
    Refused,
    /// It asks for too much: C, and one reply of at least that many octets of payload.
    TooMuch { reply_len: usize },
    /// Replies of at least that many octets of payload.
    Granted { reply_len: usize, repeat: Option<Repeat> },
}

impl Control {
    /// Derives the flags of the sub-TLVs, and those of the TLV.
    pub(crate) fn reflect(self, value: &mut [u8]) -> TlvFlags {
        match self {
            Self::None | Self::Refused => TlvFlags::UNRECOGNIZED,
            Self::TooMuch { .. } => {
                reflect_sub_tlvs(value);
                TlvFlags::CONFORMANT
            }
            Self::Granted { .. } => {
                reflect_sub_tlvs(value);
                TlvFlags::NONE
            }
        }
    }
}

/// Who asks, and which way the reply goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// The request comes from a holder of a key.
    pub(crate) authentic: bool,
    /// The way of the reply.
    pub(crate) route: ReplyRoute,
}

/// Decides about the Reflected Test Packet Control of a chain. `new`: whether the number of the request is new, asked once
/// and for good. The error says why there is no reply.
pub(crate) fn decide(
    chain: &[u8],
    found: &Survey,
    request: &Extended<'_>,
    around: &Surroundings<'_>,
    from: Asker,
    new: impl FnOnce() -> bool,
) -> Result<Control, Disposition> {
    let Some(value) = found.first(TlvType::ReflectedTestPacketControl).and_then(|at| value_at(chain, at)) else {
        return Ok(Control::None);
    };
    let (Some(policy), Some(asked)) = (&around.policy.control, ReflectedControl::parse(value)) else {
        return Ok(Control::Refused);
    };
    if !from.authentic || !policy.allow.allows(request.meta.source.ip()) {
        return Ok(Control::Refused);
    }
    if !in_groups(value, around.interfaces) {
        return Err(Disposition::OtherGroup);
    }
    if !new() {
        return Ok(Control::Refused);
    }
    if asked.count == 0 {
        return Err(Disposition::NoReplyRequested);
    }
    let own_len = request.base + without_padding(chain);
    let asked_len = usize::from(asked.length).next_multiple_of(4);
    let reply_len = own_len.max(asked_len);
    let longest = longest_payload(request.meta.interface, request.meta.source.ip(), around.interfaces)
        .min(usize::from(policy.longest_reply));
    if reply_len > longest {
        return Ok(Control::TooMuch { reply_len: longest.max(own_len) });
    }
    let octets = reply_len as u64 * u64::from(asked.count);
    let further = asked.count - 1;
    let too_fast =
        further > 0 && reply_len as u64 * 1_000_000_000 > policy.most_octets_per_s * u64::from(asked.interval_ns);
    // Replies beyond the first go to where the request came from (RFC 10052 section 4.2), by ordinary routing.
    let elsewhere = further > 0 && from.route != ReplyRoute::Ordinary;
    if found.malformed() || elsewhere || asked.count > policy.most_replies || octets > policy.most_octets || too_fast {
        return Ok(Control::TooMuch { reply_len });
    }
    let repeat = (further > 0).then_some(Repeat { further, interval_ns: asked.interval_ns });
    Ok(Control::Granted { reply_len, repeat })
}

/// Whether this host is in every group that the request is for.
fn in_groups(value: &[u8], interfaces: &HostInterfaces) -> bool {
    address_groups(value).all(|group| match group {
        AddressGroup::Layer2 { .. } => interfaces.macs().any(|mac| group.holds_mac(mac)),
        AddressGroup::Layer3 { .. } => interfaces.addresses().any(|address| group.holds_ip(address)),
    })
}

/// Octets of UDP payload that leave by a device in one piece; as many as there can be where its MTU is not known.
fn longest_payload(interface: u32, source: IpAddr, interfaces: &HostInterfaces) -> usize {
    let headers = UDP_HEADER_LEN + if source.is_ipv4() { 20 } else { 40 };
    interfaces.mtu_of(interface).unwrap_or(usize::from(u16::MAX)).saturating_sub(headers)
}

/// Octets of a well-formed chain but for its Extra Padding.
fn without_padding(chain: &[u8]) -> usize {
    twoway_wire::TlvChain::new(chain)
        .map(|tlv| match tlv {
            Ok(tlv) if tlv.kind == TlvType::ExtraPadding.code() => 0,
            Ok(tlv) => TLV_HEADER_LEN + tlv.value.len(),
            Err(rest) => rest.rest.len(),
        })
        .sum()
}

/// Gives the chain of `len` octets at the beginning of `room` another length, by its Extra Padding: `wanted`, or a few more
/// where no TLV is that short. Returns the length, or `None` if there is no room: then nothing is changed.
pub(crate) fn reshape(room: &mut [u8], len: usize, wanted: usize) -> Option<usize> {
    let own = without_padding(room.get(..len)?);
    let padding = match wanted.saturating_sub(own) {
        0 => 0,
        few @ ..TLV_HEADER_LEN => few.next_multiple_of(TLV_HEADER_LEN),
        more => more,
    };
    if own + padding > room.len() || padding > usize::from(u16::MAX) {
        return None;
    }
    let own = strip_extra_padding(&mut room[..len]);
    if padding == 0 {
        return Some(own);
    }
    // Before the HMAC TLV, which then covers it too.
    let at = match survey(&room[..own]).hmac {
        HmacPlace::At(at) if at + HMAC_TLV_LEN == own => at,
        _ => own,
    };
    insert_extra_padding(room, own, at, padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(len: usize) -> Vec<u8> {
        // Padding, Class of Service, padding, and an HMAC TLV.
        let mut octets = vec![0x80, 1, 0, 2, 9, 9, 0x80, 4, 0, 4, 1, 2, 3, 4, 0x80, 1, 0, 0, 0x80, 8, 0, 16];
        octets.extend([7; 16]);
        octets.resize(len.max(octets.len()), 0xEE);
        octets
    }

    #[test]
    fn a_chain_is_given_its_length_by_its_padding() {
        let len = chain(0).len();
        for (wanted, reached) in [(0, 28), (28, 28), (29, 32), (31, 32), (32, 32), (33, 33), (100, 100)] {
            let mut room = chain(200);
            assert_eq!(reshape(&mut room, len, wanted), Some(reached), "{wanted}");
            let kinds: Vec<_> = twoway_wire::TlvChain::new(&room[..reached]).flatten().map(|tlv| tlv.kind).collect();
            assert_eq!(kinds, if reached == 28 { vec![4, 8] } else { vec![4, 1, 8] });
            assert_eq!(room[4..8], [1, 2, 3, 4]);
            assert_eq!(room[reached - 16..reached], [7; 16]);
        }
    }

    #[test]
    fn where_there_is_no_room_nothing_changes() {
        let mut room = chain(50);
        let before = room.clone();
        assert_eq!(reshape(&mut room, chain(0).len(), 51), None);
        assert_eq!(room, before);
    }
}
