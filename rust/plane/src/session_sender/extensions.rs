//! The TLVs of a Session-Sender: what it asks for, in octets, and what the replies say.
//!
//! Read first: RFC 8972 section 4, RFC 9503, RFC 9534 section 3.2, RFC 10052.
//!
//! Theory of operation. All packets of a session have the same TLVs in the same places, so they are made once
//! ([`TlvPlan`]); for each packet the octets are copied, and what changes is written over them: the count of Direct
//! Measurement, the fill of Extra Padding, and last the HMAC. An Access Report is in some packets only: in the others an
//! Extra Padding of the same size stands in its place.
//!
//! Of a reply nothing is used that this end did not ask for. U skips a TLV, M ends reading, I and a wrong HMAC discard all
//! (RFC 8972 sections 4 and 4.8); the base packet, which has its own integrity, counts in any case.

use std::net::IpAddr;
use std::ops::Range;

use twoway_wire::tlv::access_report::LEN as ACCESS_REPORT_LEN;
use twoway_wire::tlv::reflected_control::{LAYER_2_ADDRESS_GROUP, LAYER_3_ADDRESS_GROUP, SUB_TLVS_AT};
use twoway_wire::tlv::{
    AccessReport, ClassOfService, DirectMeasurement, FollowUpTelemetry, HMAC_TLV_LEN, HmacPlace, LabelStack, Location,
    LocationRequest, MicroSessionId, NodeAddress, ReflectedControl, ReturnPath, SegmentList, Survey, TLV_HEADER_LEN,
    TimestampInformation, Tlv, TlvChain, TlvFlags, TlvType, TlvWriter, class_of_service, direct_measurement,
    follow_up_telemetry, header_dscp_ecn, micro_session_id, sign_tlvs, survey, timestamp_information, verify_tlvs,
};
use twoway_wire::{RawTimestamp, TestKeys, TimestampFormat, WallNanos, WireError};

use crate::ledger::{FollowUp, FollowedUp, ReplyClass, ReplyTlvs};

/// A return path to ask for, in octets of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// No reply.
    NoReply,
    /// By the link that the packet came in by.
    SameLink,
    /// To another address.
    Address(IpAddr),
    /// Under a label stack, as it is on the wire; to another address if there is one.
    Labels(Vec<u8>, Option<IpAddr>),
    /// By way of `SRv6` segments, as they are on the wire; to another address if there is one.
    Segments(Vec<u8>, Option<IpAddr>),
}

impl WayBack {
    /// Where replies go, if not to where the packet comes from.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::NoReply | Self::SameLink => None,
            Self::Address(address) => Some(*address),
            Self::Labels(_, address) | Self::Segments(_, address) => *address,
        }
    }

    /// As the wire crate has it; `None` if a list is empty or of no whole entries.
    fn path(&self) -> Option<ReturnPath<'_>> {
        Some(match self {
            Self::NoReply => ReturnPath::NoReply,
            Self::SameLink => ReturnPath::SameLink,
            Self::Address(address) => ReturnPath::Address(*address),
            Self::Labels(octets, address) => ReturnPath::SrMpls(LabelStack::new(octets)?, *address),
            Self::Segments(octets, address) => ReturnPath::Srv6(SegmentList::new(octets)?, *address),
        })
    }
}

/// Replies to ask for with each packet (RFC 10052).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRequest {
    /// How many, how long, how far apart.
    pub control: ReflectedControl,
    /// (mask, group) of MAC addresses that answer.
    pub layer_2: Option<(Vec<u8>, Vec<u8>)>,
    /// (prefix, prefix length) of addresses that answer.
    pub layer_3: Option<(IpAddr, u8)>,
}

/// An Access Report, and how hard it is tried to bring it home (RFC 8972 section 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    /// What is reported.
    pub report: AccessReport,
    /// How long an acknowledgement is waited for.
    pub timer_ns: i64,
    /// How often it is sent again.
    pub retransmissions: u32,
}

/// What to ask for. Each field is a TLV.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a TLV of its own")]
pub struct TlvRequests {
    /// Location.
    pub location: bool,
    /// Timestamp Information.
    pub timestamp_information: bool,
    /// Class of Service: (DSCP that packets are sent with, DSCP wanted of replies).
    pub class_of_service: Option<(u8, u8)>,
    /// Direct Measurement of the test packets themselves.
    pub direct_measurement: bool,
    /// Access Report.
    pub access_report: Option<AccessRequest>,
    /// Follow-Up Telemetry.
    pub follow_up: bool,
    /// Destination Node Address.
    pub destination_node: Option<IpAddr>,
    /// Return Path.
    pub return_path: Option<WayBack>,
    /// Micro-session ID; 0 for the reflector's where that is not known.
    pub micro_session: Option<MicroSessionId>,
    /// Reflected Test Packet Control.
    pub control: Option<ControlRequest>,
    /// Octets of the fixed IP header to be reflected: 20 or 40.
    pub fixed_header: Option<u8>,
    /// Octets of each IPv6 extension header to be reflected, from the outside in.
    pub extension_headers: Vec<u16>,
    /// Key of the HMAC TLV.
    pub hmac: Option<TestKeys>,
}

/// An Access Report under way.
#[derive(Clone, Copy, Debug)]
struct Access {
    request: AccessRequest,
    /// Offset of its TLV.
    at: usize,
    /// When it is due, on the monotonic clock; `None`: acknowledged or given up.
    due_ns: Option<i64>,
    /// Times it was sent.
    sent: u32,
}

/// What sending or receiving an Access Report came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessProgress {
    /// It is in the packet.
    Sent,
    /// It was given up.
    Abandoned,
}

/// The TLVs of a session's packets.
#[derive(Clone, Debug, Default)]
pub struct TlvPlan {
    requests: TlvRequests,
    /// All of them, as they are sent.
    chain: Vec<u8>,
    /// Where S_TxC stands.
    sender_sent_at: Option<usize>,
    /// Value of the Extra Padding that fills up the packet.
    padding: Option<Range<usize>>,
    /// Where the HMAC TLV stands.
    hmac_at: Option<usize>,
    access: Option<Access>,
    /// Value of the Micro-session ID.
    micro_session_at: Option<usize>,
    /// Micro-session ID of the reflector, once a reply has told it.
    reflector_micro_session: u16,
}

impl TlvPlan {
    /// Octets that the TLVs need at the least.
    pub fn least_len(requests: &TlvRequests) -> usize {
        let mut room = vec![0; usize::from(u16::MAX)];
        // What does not fit into the largest packet there is does not fit into a smaller one either.
        Self::write(requests, &mut room).map_or(usize::MAX, |(plan, len)| len + plan.trailer_len())
    }

    /// TLVs of `len` octets together: those asked for, and Extra Padding before the HMAC TLV for what is left.
    pub fn new(requests: TlvRequests, len: usize) -> Result<Self, WireError> {
        let mut chain = vec![0; len];
        let (mut plan, at) = Self::write(&requests, &mut chain)?;
        let left = len
            .checked_sub(at + plan.trailer_len())
            .ok_or(WireError::BufferTooSmall { need: at + plan.trailer_len(), have: len })?;
        let mut writer = TlvWriter::new(&mut chain[at..]);
        if left > 0 {
            let value_len = left
                .checked_sub(TLV_HEADER_LEN)
                .ok_or(WireError::BufferTooSmall { need: len - left + TLV_HEADER_LEN, have: len })?;
            let value_at = at + writer.push(TlvType::ExtraPadding.code(), value_len, |_| ())?;
            plan.padding = Some(value_at..value_at + value_len);
        }
        if requests.hmac.is_some() {
            plan.hmac_at = Some(at + writer.len());
            writer.push(TlvType::Hmac.code(), HMAC_TLV_LEN - TLV_HEADER_LEN, |_| ())?;
        }
        plan.reflector_micro_session = requests.micro_session.map_or(0, |id| id.reflector);
        plan.chain = chain;
        plan.requests = requests;
        Ok(plan)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// What they ask for.
    pub fn requests(&self) -> &TlvRequests {
        &self.requests
    }

    /// Whether replies are not wanted.
    pub fn asks_for_no_reply(&self) -> bool {
        self.requests.return_path == Some(WayBack::NoReply)
    }

    fn trailer_len(&self) -> usize {
        if self.requests.hmac.is_some() { HMAC_TLV_LEN } else { 0 }
    }

    /// Writes what is asked for to the beginning of `chain`; how many octets that are.
    fn write(requests: &TlvRequests, chain: &mut [u8]) -> Result<(Self, usize), WireError> {
        let mut plan =
            Self { requests: TlvRequests { hmac: requests.hmac.clone(), ..TlvRequests::default() }, ..Self::default() };
        let mut writer = TlvWriter::new(chain);
        let write = &mut writer;
        if let Some(id) = requests.micro_session {
            let at = write.push(TlvType::MicroSessionId.code(), micro_session_id::LEN, |value| id.write(value))?;
            plan.micro_session_at = Some(at);
        }
        if let Some(address) = requests.destination_node {
            let node = NodeAddress(address);
            write.push(TlvType::DestinationNodeAddress.code(), node.value_len(), |value| node.write(value))?;
        }
        if let Some(way_back) = &requests.return_path {
            way_back.path().ok_or(WireError::TlvTooLong { have: 0 })?.write(write)?;
        }
        if let Some(control) = &requests.control {
            write_control(control, write)?;
        }
        if let Some((_, wanted_dscp)) = requests.class_of_service {
            let asked = ClassOfService { wanted_dscp, ..ClassOfService::default() };
            write.push(TlvType::ClassOfService.code(), class_of_service::LEN, |value| asked.write(value))?;
        }
        if requests.location {
            LocationRequest::ALL.write(write)?;
        }
        if requests.timestamp_information {
            write.push(TlvType::TimestampInformation.code(), timestamp_information::LEAST_LEN, |_| ())?;
        }
        if requests.direct_measurement {
            let at = write.push(TlvType::DirectMeasurement.code(), direct_measurement::LEN, |_| ())?;
            plan.sender_sent_at = Some(at);
        }
        if let Some(request) = requests.access_report {
            let at = write.len();
            write.push(TlvType::AccessReport.code(), ACCESS_REPORT_LEN, |value| request.report.write(value))?;
            plan.access = Some(Access { request, at, due_ns: Some(i64::MIN), sent: 0 });
        }
        if requests.follow_up {
            write.push(TlvType::FollowUpTelemetry.code(), follow_up_telemetry::LEN, |_| ())?;
        }
        // All fixed headers come before all extension headers (draft-ietf-ippm-stamp-ext-hdr section 6.2).
        if let Some(len) = requests.fixed_header {
            write.push(TlvType::ReflectedFixedHeader.code(), len.into(), |_| ())?;
        }
        for len in &requests.extension_headers {
            write.push(TlvType::ReflectedIpv6ExtensionHeader.code(), usize::from(*len), |_| ())?;
        }
        let len = writer.len();
        Ok((plan, len))
    }

    /// Writes the TLVs of packet `sequence` into `room`, which is as long as they are. `fill` fills what is padding.
    pub(super) fn emit(&self, sequence: u32, with_access_report: bool, room: &mut [u8], fill: impl FnOnce(&mut [u8])) {
        room.copy_from_slice(&self.chain);
        if let Some(at) = self.sender_sent_at {
            // Only packets that left have a number, from 0: with this one they are one more.
            DirectMeasurement { sender_sent: sequence.wrapping_add(1), ..DirectMeasurement::default() }
                .write(&mut room[at..at + direct_measurement::LEN]);
        }
        if let Some(access) = &self.access
            && !with_access_report
        {
            let tlv = &mut room[access.at..access.at + TLV_HEADER_LEN + ACCESS_REPORT_LEN];
            tlv[1] = TlvType::ExtraPadding.code();
            tlv[TLV_HEADER_LEN..].fill(0);
        }
        if let Some(padding) = self.padding.clone() {
            fill(&mut room[padding]);
        }
        if let (Some(at), Some(TestKeys::Stamp(key))) = (self.hmac_at, &self.requests.hmac) {
            sign_tlvs(key, sequence, room, at);
        }
    }

    /// Whether a packet built now is to have the Access Report.
    pub(super) fn access_report_due(&self, now_ns: i64) -> bool {
        self.access.is_some_and(|access| access.due_ns.is_some_and(|due_ns| due_ns <= now_ns) && !access.is_spent())
    }

    /// A packet left, with the Access Report or without.
    pub(super) fn departed(&mut self, now_ns: i64, with_access_report: bool) -> Option<AccessProgress> {
        let access = self.access.as_mut()?;
        if with_access_report {
            access.sent += 1;
            access.due_ns = Some(now_ns.saturating_add(access.request.timer_ns));
            return Some(AccessProgress::Sent);
        }
        // The timer of the last retransmission has run out.
        let over = access.is_spent() && access.due_ns.is_some_and(|due_ns| due_ns <= now_ns);
        if over {
            access.due_ns = None;
        }
        over.then_some(AccessProgress::Abandoned)
    }

    /// Reports something else from now on, or the same once more. False if the session has no Access Report.
    pub fn report_access(&mut self, report: AccessReport) -> bool {
        let Some(access) = &mut self.access else { return false };
        access.request.report = report;
        (access.due_ns, access.sent) = (Some(i64::MIN), 0);
        report.write(&mut self.chain[access.at + TLV_HEADER_LEN..access.at + TLV_HEADER_LEN + ACCESS_REPORT_LEN]);
        true
    }

    /// The far end has acknowledged the report. True if that was awaited.
    pub(super) fn access_acknowledged(&mut self, report: AccessReport) -> bool {
        let Some(access) = &mut self.access else { return false };
        let awaited = access.due_ns.is_some() && access.sent > 0 && access.request.report == report;
        if awaited {
            access.due_ns = None;
        }
        awaited
    }

    /// A reply that answers one of our packets has told the reflector's Micro-session ID. Packets have it from now on (RFC
    /// 9534 section 3.2).
    pub(super) fn know_micro_session(&mut self, id: MicroSessionId) {
        if self.reflector_micro_session == 0 {
            self.reflector_micro_session = id.reflector;
            if let (Some(at), Some(ours)) = (self.micro_session_at, self.requests.micro_session) {
                MicroSessionId { reflector: id.reflector, ..ours }
                    .write(&mut self.chain[at..at + micro_session_id::LEN]);
            }
        }
    }

    /// Reads the TLVs of a reply that came with Sequence Number `sequence`, at `t4`.
    pub(super) fn read(&self, chain: &[u8], reply: &ReplyFacts) -> ReadTlvs {
        let mut read = ReadTlvs::default();
        let found = survey(chain);
        read.tlvs.malformed = found.malformed();
        if self.is_empty() {
            read.tlvs.unrecognized = flags_of(chain).contains(TlvFlags::UNRECOGNIZED);
            read.tlvs.malformed |= flags_of(chain).contains(TlvFlags::MALFORMED);
            read.tlvs.integrity_failed = flags_of(chain).contains(TlvFlags::INTEGRITY);
            return read;
        }
        if flags_of(chain).contains(TlvFlags::INTEGRITY) || !self.verifies(chain, &found, reply.sequence) {
            read.tlvs.integrity_failed = true;
            return read;
        }
        let mut at = 0;
        for tlv in TlvChain::new(&chain[..found.well_formed_octets]).flatten() {
            if tlv.flags.contains(TlvFlags::MALFORMED) {
                read.tlvs.malformed = true;
                break;
            }
            // Of a repeated TLV the first counts, as at a Session-Reflector.
            if TlvType::from_code(tlv.kind).is_none_or(|kind| found.counts(kind, at)) {
                self.read_one(&tlv, reply, &mut read);
            }
            at += TLV_HEADER_LEN + tlv.value.len();
        }
        read
    }

    /// Whether the TLVs of a reply are authentic, as far as they have to be. An HMAC TLV that the far end does not know
    /// proves nothing, but then nothing else of it is known either: all have U.
    fn verifies(&self, chain: &[u8], found: &Survey, sequence: u32) -> bool {
        let Some(keys) = &self.requests.hmac else { return true };
        if let HmacPlace::At(at) = found.hmac
            && TlvFlags(chain[at]).contains(TlvFlags::UNRECOGNIZED)
        {
            return TlvChain::new(chain).flatten().all(|tlv| tlv.flags.contains(TlvFlags::UNRECOGNIZED));
        }
        verify_tlvs(keys, sequence, chain, found.hmac)
    }

    fn read_one(&self, tlv: &Tlv<'_>, reply: &ReplyFacts, read: &mut ReadTlvs) {
        let requests = &self.requests;
        let unrecognized = tlv.flags.contains(TlvFlags::UNRECOGNIZED);
        let conformant = !tlv.flags.contains(TlvFlags::CONFORMANT);
        let Some(kind) = TlvType::from_code(tlv.kind) else {
            read.tlvs.unrecognized |= unrecognized;
            return;
        };
        if unrecognized {
            match kind {
                TlvType::ReturnPath => read.tlvs.return_path_refused = true,
                TlvType::DestinationNodeAddress => read.tlvs.other_node = true,
                TlvType::ReflectedTestPacketControl => read.tlvs.control_refused = true,
                TlvType::ReflectedFixedHeader | TlvType::ReflectedIpv6ExtensionHeader => {
                    read.tlvs.headers_refused = read.tlvs.headers_refused.saturating_add(1);
                }
                _ => {}
            }
            read.tlvs.unrecognized = true;
            return;
        }
        match kind {
            TlvType::Location if requests.location => read.tlvs.location = Location::parse(tlv.value),
            TlvType::TimestampInformation if requests.timestamp_information => {
                read.tlvs.timestamps = TimestampInformation::parse(tlv.value);
            }
            TlvType::ClassOfService => {
                if let (Some((sent_dscp, wanted_dscp)), Some(told)) =
                    (requests.class_of_service, ClassOfService::parse(tlv.value))
                {
                    read.far_dscp_ecn = Some(told.received_dscp_ecn());
                    read.tlvs.class = Some(ReplyClass {
                        sent_dscp,
                        received_dscp: told.received_dscp,
                        wanted_dscp,
                        returned_dscp: reply.returned_dscp_ecn.map(|octet| octet >> 2),
                        refused: told.reverse_path != 0,
                    });
                }
            }
            TlvType::DirectMeasurement if requests.direct_measurement => {
                read.tlvs.direct = DirectMeasurement::parse(tlv.value);
            }
            TlvType::AccessReport => read.access = AccessReport::parse(tlv.value),
            TlvType::FollowUpTelemetry if requests.follow_up => {
                read.tlvs.follow_up =
                    FollowUpTelemetry::parse(tlv.value).map_or(FollowUp::None, |told| followed_up(&told, reply));
            }
            TlvType::MicroSessionId => read.micro_session = MicroSessionId::parse(tlv.value),
            TlvType::ReflectedTestPacketControl => {
                if let Some(request) = &requests.control {
                    read.tlvs.control_refused |= !conformant;
                    read.tlvs.further = if conformant { request.control.count.saturating_sub(1) } else { 0 };
                }
            }
            TlvType::ReflectedFixedHeader | TlvType::ReflectedIpv6ExtensionHeader => {
                let count = if conformant { &mut read.tlvs.headers_reflected } else { &mut read.tlvs.headers_refused };
                *count = count.saturating_add(1);
                if kind == TlvType::ReflectedFixedHeader && conformant {
                    read.far_dscp_ecn = read.far_dscp_ecn.or(header_dscp_ecn(tlv.value));
                }
            }
            _ => {}
        }
    }

    /// Whether a reply came by the member link that its packet was sent by (RFC 9534 section 3.2). One that does not say
    /// cannot be judged.
    pub(super) fn came_by_its_link(&self, told: Option<MicroSessionId>) -> bool {
        match (self.requests.micro_session, told) {
            (Some(ours), Some(told)) => {
                let known = self.reflector_micro_session;
                told.sender == ours.sender && told.reflector != 0 && (known == 0 || told.reflector == known)
            }
            _ => true,
        }
    }
}

impl Access {
    /// It has been sent as often as it may be.
    fn is_spent(&self) -> bool {
        self.sent > self.request.retransmissions
    }
}

/// What is known of a reply beside its TLVs.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyFacts {
    /// The Session-Reflector's Sequence Number.
    pub(super) sequence: u32,
    /// Format of the far end's timestamps.
    pub(super) format: TimestampFormat,
    /// When it came.
    pub(super) t4: WallNanos,
    /// Traffic class octet that it came with.
    pub(super) returned_dscp_ecn: Option<u8>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadTlvs {
    pub(super) tlvs: ReplyTlvs,
    /// Traffic class octet that the packet reached the far end with.
    pub(super) far_dscp_ecn: Option<u8>,
    /// Access Report that came back.
    pub(super) access: Option<AccessReport>,
    /// Micro-session ID that came back.
    pub(super) micro_session: Option<MicroSessionId>,
}

/// The Value of a reply: nothing in it means that there is nothing to tell.
fn followed_up(told: &FollowUpTelemetry, reply: &ReplyFacts) -> FollowUp {
    if told.timestamp == RawTimestamp(0) {
        return FollowUp::Nothing;
    }
    // A time that is none is as good as nothing.
    told.timestamp
        .decode(reply.format, reply.t4)
        .map_or(FollowUp::Nothing, |left| FollowUp::Told(FollowedUp { sequence: told.sequence, left }))
}

fn write_control(request: &ControlRequest, writer: &mut TlvWriter<'_>) -> Result<(), WireError> {
    let groups = [
        request.layer_2.as_ref().map(|(mask, group)| (LAYER_2_ADDRESS_GROUP, [&mask[..], group].concat())),
        request.layer_3.map(|(prefix, prefix_len)| {
            let mut value = vec![prefix_len, 0, 0, 0];
            match prefix {
                IpAddr::V4(prefix) => value.extend(prefix.octets()),
                IpAddr::V6(prefix) => value.extend(prefix.octets()),
            }
            (LAYER_3_ADDRESS_GROUP, value)
        }),
    ];
    let sub_tlvs: usize = groups.iter().flatten().map(|(_, value)| TLV_HEADER_LEN + value.len()).sum();
    let value_len = SUB_TLVS_AT + sub_tlvs.max(TLV_HEADER_LEN);
    let mut written = Ok(());
    writer.push(TlvType::ReflectedTestPacketControl.code(), value_len, |value| {
        request.control.write(value);
        let mut sub = TlvWriter::new(&mut value[SUB_TLVS_AT..]);
        for (kind, octets) in groups.iter().flatten() {
            if let Err(error) = sub.push(*kind, octets.len(), |room| room.copy_from_slice(octets)) {
                written = Err(error);
            }
        }
    })?;
    written
}

/// The flags of all TLVs together.
fn flags_of(chain: &[u8]) -> TlvFlags {
    TlvChain::new(chain).flatten().fold(TlvFlags::NONE, |flags, tlv| flags.with(tlv.flags))
}
