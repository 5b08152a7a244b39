//! STAMP TLVs of Session-Senders: what a specification asks for.

use std::net::Ipv6Addr;

use pyo3::prelude::*;
use twoway_plane::sender::SenderSpec;
use twoway_plane::session_sender::SessionSpec;
use twoway_plane::session_sender::extensions::{
    AccessRequest, ControlRequest, TlvPlan, TlvRequests as Requests, WayBack,
};
use twoway_plane::sys::SocketRequest;
use twoway_wire::mpls::LabelStackEntry;
use twoway_wire::tlv::access_report::{AccessId, ReturnCode};
use twoway_wire::tlv::{AccessReport, MicroSessionId, ReflectedControl};
use twoway_wire::{StampKey, TestKeys};

use crate::errors;
use crate::fields::{LONGEST_PAYLOAD, address};

/// TTL of the label stack entries that a reply is to be sent with.
const LABEL_TTL: u8 = 255;

/// An Access Report by name and number.
pub(crate) fn access_report(access: &str, return_code: u8) -> PyResult<AccessReport> {
    let access = AccessId::from_name(access)
        .ok_or_else(|| errors::field("access_report", format!("{access:?} is neither 3gpp nor non-3gpp")))?;
    Ok(AccessReport { access, return_code: ReturnCode(return_code) })
}

fn way_back(kind: &str, to: Option<&str>, labels: &[u32], segments: &[String]) -> PyResult<WayBack> {
    let to = to.map(|text| address("return_path", text)).transpose()?;
    let refuse = |reason: String| Err(errors::field("return_path", reason));
    match kind {
        "none" => Ok(WayBack::NoReply),
        "same-link" => Ok(WayBack::SameLink),
        "address" => to.map_or_else(|| refuse("which address is missing".into()), |to| Ok(WayBack::Address(to))),
        "mpls" => {
            if let Err(error) = twoway_wire::mpls::check_labels(labels.iter().copied()) {
                return refuse(error.to_string());
            }
            let entry = |(at, label): (usize, &u32)| LabelStackEntry {
                label: *label,
                traffic_class: 0,
                bottom: at + 1 == labels.len(),
                ttl: LABEL_TTL,
            };
            let octets = labels.iter().enumerate().flat_map(|label| entry(label).to_octets()).collect();
            Ok(WayBack::Labels(octets, to))
        }
        "srv6" => {
            let mut octets = Vec::with_capacity(16 * segments.len());
            for text in segments {
                let segment: Ipv6Addr = match text.parse() {
                    Ok(segment) => segment,
                    Err(_) => return refuse(format!("{text:?} is not an IPv6 address")),
                };
                octets.extend(segment.octets());
            }
            if octets.is_empty() { refuse("there is no segment".into()) } else { Ok(WayBack::Segments(octets, to)) }
        }
        other => refuse(format!("{other:?} is none of none, same-link, address, mpls, srv6")),
    }
}

/// STAMP TLVs to ask for.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct TlvRequests {
    /// Class of Service without the DSCP sent, the HMAC TLV without its key.
    requests: Requests,
    class_of_service: Option<u8>,
    fixed_header: bool,
    hmac: bool,
    hmac_key: Option<StampKey>,
}

#[pymethods]
impl TlvRequests {
    #[new]
    #[pyo3(signature = (*, location, timestamp_information, class_of_service, direct_measurement, access_report, follow_up,
        destination_node, return_path, micro_session, control, layer_2_group, layer_3_group, fixed_header,
        extension_headers, hmac, hmac_key))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python class")]
    #[expect(clippy::fn_params_excessive_bools, reason = "each is a TLV of its own")]
    #[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands arguments over")]
    #[expect(clippy::type_complexity, reason = "tuples of Python")]
    fn new(
        location: bool,
        timestamp_information: bool,
        class_of_service: Option<u8>,
        direct_measurement: bool,
        access_report: Option<(String, u8, i64, u32)>,
        follow_up: bool,
        destination_node: Option<&str>,
        return_path: Option<(String, Option<String>, Vec<u32>, Vec<String>)>,
        micro_session: Option<(u16, u16)>,
        control: Option<(u16, u16, u32)>,
        layer_2_group: Option<(Vec<u8>, Vec<u8>)>,
        layer_3_group: Option<(String, u8)>,
        fixed_header: bool,
        extension_headers: Vec<u16>,
        hmac: bool,
        hmac_key: Option<&[u8]>,
    ) -> PyResult<Self> {
        let access_report = match access_report {
            None => None,
            Some((access, return_code, timer_ns, retransmissions)) => {
                Some(AccessRequest { report: self::access_report(&access, return_code)?, timer_ns, retransmissions })
            }
        };
        let return_path = match &return_path {
            None => None,
            Some((kind, to, labels, segments)) => Some(way_back(kind, to.as_deref(), labels, segments)?),
        };
        let layer_3 = match layer_3_group {
            None => None,
            Some((prefix, prefix_len)) => Some((address("control", &prefix)?, prefix_len)),
        };
        let control = control.map(|(length, count, interval_ns)| ControlRequest {
            control: ReflectedControl { length, count, interval_ns },
            layer_2: layer_2_group,
            layer_3,
        });
        let hmac_key = hmac_key
            .map(|key| StampKey::new(key).map_err(|error| errors::field("tlv_hmac", error.to_string())))
            .transpose()?;
        let requests = Requests {
            location,
            timestamp_information,
            class_of_service: None,
            direct_measurement,
            access_report,
            follow_up,
            destination_node: destination_node.map(|text| address("destination_node", text)).transpose()?,
            return_path,
            micro_session: micro_session.map(|(sender, reflector)| MicroSessionId { sender, reflector }),
            control,
            fixed_header: None,
            extension_headers,
            hmac: None,
        };
        Ok(Self { requests, class_of_service, fixed_header, hmac, hmac_key })
    }
}

impl TlvRequests {
    /// What a session of that format, family and traffic class asks for.
    fn of(&self, session: &SessionSpec, socket: &SocketRequest) -> PyResult<Requests> {
        // RFC 8972 section 4.8: the TLVs of authenticated packets are authenticated too, with the same key.
        let hmac = match (session.format.is_authenticated(), self.hmac, &self.hmac_key) {
            (true, ..) => Some(session.keys.clone()),
            (false, false, _) => None,
            (false, true, Some(key)) => Some(TestKeys::Stamp(key.clone())),
            (false, true, None) => return Err(errors::field("tlv_hmac", "an HMAC TLV needs a key")),
        };
        Ok(Requests {
            class_of_service: self.class_of_service.map(|wanted| (socket.dscp_ecn >> 2, wanted)),
            fixed_header: self.fixed_header.then_some(if socket.local.is_ipv6() { 40 } else { 20 }),
            hmac,
            ..self.requests.clone()
        })
    }

    /// `spec` with these TLVs, the rest of the payload filled with Extra Padding. With `grow`, the payload becomes as long as
    /// they need if it is shorter.
    pub(crate) fn ask(&self, spec: &mut SenderSpec, grow: bool) -> PyResult<()> {
        let session = &mut spec.session;
        if !session.format.is_stamp() || session.one_way {
            return Err(errors::field("tlvs", format!("packets of the format {} have none", session.format.name())));
        }
        let requests = self.of(session, &spec.socket)?;
        let base = session.format.sender_len();
        let least = base.saturating_add(TlvPlan::least_len(&requests));
        if least > LONGEST_PAYLOAD {
            return Err(errors::field("tlvs", format!("they need more than {LONGEST_PAYLOAD} octets of payload")));
        }
        if grow {
            session.payload_len = session.payload_len.max(least);
            // No TLV is shorter than its header.
            if (1..4).contains(&(session.payload_len - least)) {
                session.payload_len = least + 4;
            }
        }
        let have = session.payload_len;
        if have < least || (1..4).contains(&(have - least)) {
            let reason = format!("{have} octets: with these TLVs a packet has {least}, or {} and more", least + 4);
            return Err(errors::field("payload_len", reason));
        }
        session.ledger.replies_asked = requests.control.as_ref().map_or(1, |request| request.control.count.max(1));
        if requests.follow_up {
            // The reply that tells comes one interval later, or is not in time.
            session.ledger.follow_up_wait_ns = session.interval_ns.saturating_add(session.ledger.timeout_ns);
        }
        session.tlvs =
            TlvPlan::new(requests, have - base).map_err(|error| errors::field("payload_len", error.to_string()))?;
        Ok(())
    }
}
