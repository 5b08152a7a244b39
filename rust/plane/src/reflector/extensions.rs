//! What the Session-Reflector does about the TLVs of a request.
//!
//! Read first: RFC 8972 section 4, RFC 9503 sections 3 and 4, RFC 9534 section 3.2.
//!
//! Theory of operation. The TLVs of a reply are made in the buffer that the request came in, in the order of what may stop
//! what:
//!
//! 1. The chain is looked over: where the well-formed TLVs end, and where each type first stands.
//! 2. The integrity is verified before any Value is used. If it fails, every TLV gets I and nothing else is done.
//! 3. Micro-session ID and Return Path may say that there is no reply at all.
//! 4. Each TLV gets its flags, and its Value as far as that is known now.
//!
//! What is known only when the reply is written (its Sequence Number, what has been heard of the previous reply, and the
//! HMAC over all of it) is filled in by [`Extensions::finish`], for which the places are kept. A type that may stand once
//! is processed where it first stands; the others of it are returned as they came, with U.
//!
//! All work is bounded by the octets of the packet: three passes, and one HMAC for each key that may serve.

use std::net::{IpAddr, SocketAddr};

use twoway_wire::TestKeys;
use twoway_wire::timestamp::{RawTimestamp, TimestampFormat};
use twoway_wire::tlv::class_of_service::ReplyEcn;
use twoway_wire::tlv::direct_measurement::REFLECTOR_SENT_AT;
use twoway_wire::tlv::{
    AccessReport, ClassOfService, DirectMeasurement, FollowUpTelemetry, HmacPlace, Location, MicroSessionId,
    NodeAddress, ReturnPath, Survey, SyncSource, TLV_HEADER_LEN, TimestampInformation, TimestampingMethod, TlvFlags,
    TlvMut, TlvType, mark_integrity, reflect_return_path, reflect_tlvs, sign_tlvs, survey, verify_tlvs,
};

use super::arrivals::Arrival;
use super::control::{self, Asker, Control, ControlPolicy, Repeat};
use super::dispositions::Disposition;
use super::headers::Headers;
use super::interfaces::HostInterfaces;
use super::keys::KeyRing;
use super::routes::{ReplyRoute, ReturnPathPolicy, ReturnRoutes, RouteRequest};
use super::sessions::Departure;
use crate::session_reflector::RequestMeta;

/// What a Location TLV is told (RFC 8972 section 4.2.2: an implementation must let that be decided).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocationPolicy {
    /// Ports, addresses, and the MAC address of the last hop.
    All,
    /// Ports and addresses.
    #[default]
    Addresses,
    /// Ports alone; the addresses are zero.
    Ports,
    /// Nothing: all zero.
    Nothing,
}

impl LocationPolicy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::All, Self::Addresses, Self::Ports, Self::Nothing];

    /// "all", "addresses", "ports" or "nothing".
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Addresses => "addresses",
            Self::Ports => "ports",
            Self::Nothing => "nothing",
        }
    }

    /// The policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// What TLVs may ask of a Session-Reflector.
#[derive(Clone, Debug)]
pub struct TlvPolicy {
    /// TLVs of unauthenticated requests need an HMAC TLV as well (RFC 8972 section 4.8).
    pub require_hmac: bool,
    /// What Location is told.
    pub location: LocationPolicy,
    /// A bit for each DSCP that a reply may bear because a Class of Service TLV asks for it.
    pub permitted_dscps: u64,
    /// What the clock follows, where the operator says so; otherwise NTP or nothing, as the kernel knows.
    pub sync_source: Option<SyncSource>,
    /// Whose return paths are obeyed.
    pub return_paths: ReturnPathPolicy,
    /// Reflect headers of the IP packet.
    pub reflect_headers: bool,
    /// (device, Micro-session ID) of the member links of an aggregation.
    pub micro_sessions: Vec<(String, u16)>,
    /// Several replies to one request; `None`: not done.
    pub control: Option<ControlPolicy>,
}

impl TlvPolicy {
    /// Every DSCP.
    pub const ANY_DSCP: u64 = u64::MAX;

    /// Whether it matters what requests looked like when they came in.
    pub fn wants_arrivals(&self) -> bool {
        self.reflect_headers || self.location == LocationPolicy::All
    }

    fn permits(&self, dscp: u8) -> bool {
        self.permitted_dscps >> (dscp & 63) & 1 != 0
    }
}

/// Times the extensions of requests were met, for [`EngineCounters`](crate::session_reflector::EngineCounters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlvCounters {
    /// TLVs returned as not recognised: of a type that is not honoured, or asking for what is not done.
    pub unrecognized: u64,
    /// Requests whose TLVs end in something malformed.
    pub malformed: u64,
    /// Requests whose TLVs failed the integrity check.
    pub integrity_failed: u64,
    /// Return paths that were not obeyed, by policy or because they cannot be taken.
    pub return_paths_refused: u64,
    /// Requests whose DSCP1 policy does not permit.
    pub dscps_refused: u64,
    /// Requests for several replies that got one.
    pub controls_refused: u64,
    /// Access Reports that say that a network is available.
    pub access_available: u64,
    /// Access Reports that say anything else.
    pub access_unavailable: u64,
    /// Requests whose TLVs are about this host's addresses or devices.
    pub host_questions: u64,
}

/// A request whose TLVs are processed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extended<'a> {
    pub(crate) meta: &'a RequestMeta,
    /// Sequence Number of the request.
    pub(crate) sequence: u32,
    /// Key by which the base packet was authenticated.
    pub(crate) key: Option<u32>,
    /// Requests of this test-session so far, with this one; `None` where no state is kept.
    pub(crate) received: Option<u32>,
    /// DSCP of replies that policy fixes.
    pub(crate) dscp: Option<u8>,
    /// Our own listening addresses, to which no reply may be sent.
    pub(crate) listening: &'a [SocketAddr],
    /// Octets of its base packet.
    pub(crate) base: usize,
    /// What it looked like when it came in, where that is known.
    pub(crate) arrival: Option<Arrival<'a>>,
}

/// What is known beside the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) policy: &'a TlvPolicy,
    pub(crate) keys: &'a KeyRing,
    pub(crate) interfaces: &'a HostInterfaces,
    pub(crate) timestamps: TimestampInformation,
}

/// What the TLVs of a request came to: what is left to fill in, and how the reply is to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extensions {
    /// Which way the reply goes.
    pub(crate) route: ReplyRoute,
    /// Address to send from, where that is not the one that the request was sent to.
    pub(crate) source: Option<IpAddr>,
    /// Traffic class octet that a Class of Service TLV chose.
    pub(crate) dscp_ecn: Option<u8>,
    /// Whether the next reply wants to tell when this one left.
    pub(crate) followed_up: bool,
    /// Replies that follow this one.
    pub(crate) repeat: Option<Repeat>,
    /// Octets of the TLVs of the reply, where they are not as many as those of the request.
    pub(crate) chain_len: Option<u16>,
    /// Key of the HMAC TLV.
    key: Option<u32>,
    /// Offset of the HMAC TLV, where it is to be signed.
    hmac_at: Option<u16>,
    /// Offset of R_TxC.
    reflector_sent_at: Option<u16>,
    /// Offset of the Value of Follow-Up Telemetry.
    follow_up_at: Option<u16>,
    /// Offset of the Return Path that is obeyed.
    return_path_at: Option<u16>,
}

impl Extensions {
    /// Turns the first `len` octets of `room`, all that follows the base packet of a request, into what follows that of its
    /// reply, as far as it is known. `new` says whether a request for several replies has a number that none before it had.
    /// The error says why there is no reply.
    pub(crate) fn process(
        room: &mut [u8],
        len: usize,
        request: &Extended<'_>,
        around: &Surroundings<'_>,
        routes: &mut impl ReturnRoutes,
        counters: &mut TlvCounters,
        new: impl FnOnce() -> bool,
    ) -> Result<Self, Disposition> {
        let chain = &mut room[..len];
        let mut found = survey(chain);
        counters.malformed += u64::from(found.malformed());
        let Ok(key) = integrity(chain, &found, request, around) else {
            counters.integrity_failed += 1;
            mark_integrity(chain);
            return Ok(Self::default());
        };
        let mut made = Self { key, ..Self::default() };
        counters.host_questions += u64::from(ABOUT_HOST.iter().any(|kind| found.first(*kind).is_some()));
        let micro_session = micro_session(chain, &found, request.meta, around)?;
        let conflict = control_conflicts(chain, &found);
        let obeyed = !conflict && made.take_return_path(chain, &found, request, around, routes)?;
        if micro_session.is_some() && made.route == ReplyRoute::Ordinary {
            // RFC 9534 section 3.2: the reply takes the member link that the request came by.
            let RequestMeta { source: requester, destination: local, interface, .. } = *request.meta;
            let asked = RouteRequest { path: ReturnPath::SameLink, requester, local, interface };
            made.route = routes.route(&asked).unwrap_or_default();
        }
        let control = if conflict {
            Control::Refused
        } else {
            let asker = Asker { authentic: request.key.is_some() || key.is_some(), route: made.route };
            control::decide(chain, &found, request, around, asker, new)?
        };
        let len = made.take_control(control, room, len, request.base, &mut found);
        let mut headers = Headers::new(request.arrival);
        let outcome = reflect_tlvs(&mut room[..len], |tlv| {
            let Some(kind) = tlv.kind.filter(|kind| found.counts(*kind, tlv.at)) else {
                return TlvFlags::UNRECOGNIZED;
            };
            let honoured = match kind {
                TlvType::ReturnPath => {
                    reflect_return_path(tlv.value, obeyed);
                    counters.return_paths_refused += u64::from(!obeyed);
                    made.return_path_at = obeyed.then_some(tlv.at as u16);
                    obeyed
                }
                TlvType::MicroSessionId => reflect_micro_session(tlv.value, micro_session),
                TlvType::ReflectedFixedHeader | TlvType::ReflectedIpv6ExtensionHeader
                    if around.policy.reflect_headers =>
                {
                    return headers.reflect(kind, tlv.value);
                }
                TlvType::ReflectedTestPacketControl => {
                    counters.controls_refused += u64::from(!matches!(control, Control::Granted { .. }));
                    return control.reflect(tlv.value);
                }
                _ => made.reflect(kind, tlv, request, around, counters),
            };
            if honoured { TlvFlags::NONE } else { TlvFlags::UNRECOGNIZED }
        });
        counters.unrecognized += u64::from(outcome.unrecognized);
        Ok(made)
    }

    /// Gives the TLVs the length that was granted. Returns it; `found` is about them from then on.
    fn take_control(
        &mut self,
        control: Control,
        room: &mut [u8],
        len: usize,
        base: usize,
        found: &mut Survey,
    ) -> usize {
        let (reply_len, repeat) = match control {
            Control::None | Control::Refused => return len,
            Control::TooMuch { reply_len } => (reply_len, None),
            Control::Granted { reply_len, repeat } => (reply_len, repeat),
        };
        // What is malformed is copied as it came, so its length stays too.
        let reshaped = if found.malformed() { None } else { control::reshape(room, len, reply_len - base) };
        let Some(reshaped) = reshaped else { return len };
        *found = survey(&room[..reshaped]);
        self.chain_len = Some(reshaped as u16);
        self.repeat = repeat;
        reshaped
    }

    /// Writes the Value of the reply's TLV. False: what it asks for is not done.
    fn reflect(
        &mut self,
        kind: TlvType,
        tlv: &mut TlvMut<'_>,
        request: &Extended<'_>,
        around: &Surroundings<'_>,
        counters: &mut TlvCounters,
    ) -> bool {
        let value_at = (tlv.at + TLV_HEADER_LEN) as u16;
        let (at, value) = (tlv.at, &mut *tlv.value);
        match kind {
            TlvType::ExtraPadding => {}
            TlvType::Location => location(request, around.policy.location).reflect(value),
            TlvType::TimestampInformation => {
                around.timestamps.write(value);
                // No sub-TLV is defined.
                mark_sub_tlvs(&mut value[twoway_wire::tlv::timestamp_information::LEAST_LEN..]);
            }
            TlvType::ClassOfService => return self.reflect_class_of_service(value, request, around, counters),
            TlvType::DirectMeasurement => {
                // Without state nothing is counted by test-session.
                let (Some(asked), Some(received)) = (DirectMeasurement::parse(value), request.received) else {
                    return false;
                };
                DirectMeasurement { reflector_received: received, reflector_sent: 0, ..asked }.write(value);
                self.reflector_sent_at = Some(value_at + REFLECTOR_SENT_AT as u16);
            }
            TlvType::AccessReport => {
                // An unknown Access ID: the TLV is to be discarded, which in a reply of the same size means not used.
                let Some(report) = AccessReport::parse(value) else { return false };
                let available = report.return_code == twoway_wire::tlv::access_report::ReturnCode::AVAILABLE;
                counters.access_available += u64::from(available);
                counters.access_unavailable += u64::from(!available);
                report.write(value);
            }
            TlvType::FollowUpTelemetry => {
                FollowUpTelemetry::default().write(value);
                if request.received.is_some() {
                    self.followed_up = true;
                    self.follow_up_at = Some(value_at);
                }
            }
            TlvType::Hmac => self.hmac_at = Some(at as u16),
            TlvType::DestinationNodeAddress => {
                let Some(NodeAddress(address)) = NodeAddress::parse(value) else { return false };
                let destination = request.meta.destination.ip();
                if address != destination {
                    if !around.interfaces.holds(address) {
                        return false;
                    }
                    self.source = (address.is_ipv4() == destination.is_ipv4()).then_some(address);
                }
            }
            // Decided before, or off.
            TlvType::ReturnPath
            | TlvType::MicroSessionId
            | TlvType::ReflectedTestPacketControl
            | TlvType::ReflectedIpv6ExtensionHeader
            | TlvType::ReflectedFixedHeader => return false,
        }
        true
    }

    /// RFC 8972 section 4.4, with erratum 8199; EC1 and RPE by draft-ietf-ippm-stamp-cos-ecn, whose fields stay zero for a
    /// Session-Sender that does not use them.
    fn reflect_class_of_service(
        &mut self,
        value: &mut [u8],
        request: &Extended<'_>,
        around: &Surroundings<'_>,
        counters: &mut TlvCounters,
    ) -> bool {
        let (Some(asked), Some(arrived)) = (ClassOfService::parse(value), request.meta.dscp_ecn) else {
            return false;
        };
        let permitted = around.policy.permits(asked.wanted_dscp);
        let dscp = if permitted { asked.wanted_dscp } else { request.dscp.unwrap_or(arrived >> 2) };
        counters.dscps_refused += u64::from(!permitted);
        self.dscp_ecn = Some(dscp << 2 | asked.wanted_ecn);
        let reply_ecn = if asked.wanted_ecn == 0 { ReplyEcn::UNUSED } else { ReplyEcn::APPLIED };
        ClassOfService {
            received_dscp: arrived >> 2,
            received_ecn: arrived & 0b11,
            reverse_path: u8::from(!permitted),
            reply_ecn,
            ..asked
        }
        .write(value);
        true
    }

    /// Decides about the Return Path. False: there is none, or it is not taken, and the reply goes the ordinary way.
    fn take_return_path(
        &mut self,
        chain: &[u8],
        found: &Survey,
        request: &Extended<'_>,
        around: &Surroundings<'_>,
        routes: &mut impl ReturnRoutes,
    ) -> Result<bool, Disposition> {
        let Some(value) = found.first(TlvType::ReturnPath).and_then(|at| value_at(chain, at)) else {
            return Ok(false);
        };
        let Ok(path) = ReturnPath::parse(value) else { return Ok(false) };
        let source = request.meta.source.ip();
        if !around.policy.return_paths.obeys(source, request.key.is_some() || self.key.is_some()) {
            return Ok(false);
        }
        if path == ReturnPath::NoReply {
            return Err(Disposition::NoReplyRequested);
        }
        let meta = request.meta;
        let asked = RouteRequest { path, requester: meta.source, local: meta.destination, interface: meta.interface };
        let destination = asked.destination();
        // To ourselves would be a loop.
        let ours = |own: &SocketAddr| {
            own.port() == destination.port() && (own.ip().is_unspecified() || own.ip() == destination.ip())
        };
        let loops = request.listening.iter().any(ours)
            && (destination.ip() == meta.destination.ip() || around.interfaces.holds(destination.ip()));
        if loops || !is_unicast(destination.ip()) {
            return Ok(false);
        }
        let Some(route) = routes.route(&asked) else { return Ok(false) };
        self.route = route;
        Ok(true)
    }

    /// The reply cannot take the path after all: it goes the ordinary way, and its Return Path says so. False: it has none
    /// that was to be obeyed.
    pub(crate) fn divert(&mut self, chain: &mut [u8], counters: &mut TlvCounters) -> bool {
        let Some(at) = self.return_path_at.take().map(usize::from) else { return false };
        let Some(length) = value_at(chain, at).map(<[u8]>::len) else { return false };
        chain[at] = TlvFlags::UNRECOGNIZED.0;
        reflect_return_path(&mut chain[at + TLV_HEADER_LEN..][..length], false);
        self.route = ReplyRoute::Ordinary;
        counters.return_paths_refused += 1;
        counters.unrecognized += 1;
        true
    }

    /// Fills in what is known now that the reply is written: it has this Sequence Number, and `previous` is what was heard
    /// of the departure of the reply before it. Writes the same again if called again.
    pub(crate) fn finish(&self, chain: &mut [u8], keys: &KeyRing, sequence: u32, previous: Option<Departure>) {
        if let Some(field) = self.reflector_sent_at.and_then(|at| chain.get_mut(usize::from(at)..)) {
            // Replies sent are numbered from 0, so with this one they are one more.
            let sent = sequence.wrapping_add(1);
            if let Some(field) = field.first_chunk_mut::<4>() {
                *field = sent.to_be_bytes();
            }
        }
        if let Some(value) = self.follow_up_at.and_then(|at| chain.get_mut(usize::from(at)..)) {
            let told = previous.filter(|departure| departure.sequence.wrapping_add(1) == sequence);
            told.map_or(FollowUpTelemetry::default(), |departure| FollowUpTelemetry {
                sequence: departure.sequence,
                timestamp: RawTimestamp::encode(departure.left, TimestampFormat::Ntp),
                method: TimestampingMethod::SOFTWARE_LOCAL,
            })
            .write(value);
        }
        if let (Some(at), Some(place)) = (self.hmac_at, self.key)
            && let TestKeys::Stamp(key) = keys.at(place)
        {
            sign_tlvs(key, sequence, chain, usize::from(at));
        }
    }
}

/// TLVs that are about this host's addresses or devices.
const ABOUT_HOST: [TlvType; 4] = [
    TlvType::DestinationNodeAddress,
    TlvType::ReturnPath,
    TlvType::MicroSessionId,
    TlvType::ReflectedTestPacketControl,
];

/// Whether a request asks for several replies and for none: then it gets one, and U in both TLVs (RFC 10052 section 4.3).
fn control_conflicts(chain: &[u8], found: &Survey) -> bool {
    let path = found.first(TlvType::ReturnPath).and_then(|at| value_at(chain, at)).map(ReturnPath::parse);
    path == Some(Ok(ReturnPath::NoReply)) && found.first(TlvType::ReflectedTestPacketControl).is_some()
}

/// The integrity check failed.
struct IntegrityFailed;

/// Verifies the HMAC TLV (RFC 8972 section 4.8); the key that did, if there is one.
///
/// An HMAC TLV that no key can verify has failed: nothing may be used that is not verified. One that is missing has failed
/// where it has to be there.
fn integrity(
    chain: &[u8],
    found: &Survey,
    request: &Extended<'_>,
    around: &Surroundings<'_>,
) -> Result<Option<u32>, IntegrityFailed> {
    if found.hmac == HmacPlace::Absent {
        let required = (request.key.is_some() || around.policy.require_hmac) && !found.padding_alone;
        return if required { Err(IntegrityFailed) } else { Ok(None) };
    }
    let verifies =
        |place: u32| verify_tlvs(around.keys.at(place), request.sequence, chain, found.hmac).then_some(place);
    match request.key {
        Some(place) => verifies(place),
        // Where an SSID has a key of its own, unauthenticated packets have been refused before.
        None => around.keys.places_of(None).find_map(|place| verifies(place as u32)),
    }
    .map(Some)
    .ok_or(IntegrityFailed)
}

/// What the Micro-session ID comes to (RFC 9534 section 3.2): the reply's Value, `None` if there is no such TLV or the
/// request came by no member link. A request that came by another member link than it says is discarded.
fn micro_session(
    chain: &[u8],
    found: &Survey,
    meta: &RequestMeta,
    around: &Surroundings<'_>,
) -> Result<Option<MicroSessionId>, Disposition> {
    let Some(asked) =
        found.first(TlvType::MicroSessionId).and_then(|at| value_at(chain, at)).and_then(MicroSessionId::parse)
    else {
        return Ok(None);
    };
    if around.policy.micro_sessions.is_empty() {
        return Ok(None);
    }
    let member = around
        .interfaces
        .name_of(meta.interface)
        .and_then(|name| around.policy.micro_sessions.iter().find(|(device, _)| device == name));
    match member {
        Some((_, id)) if asked.reflector == 0 || asked.reflector == *id => {
            Ok(Some(MicroSessionId { reflector: *id, ..asked }))
        }
        None if asked.reflector == 0 => Ok(None),
        _ => Err(Disposition::MicroSessionMismatch),
    }
}

fn reflect_micro_session(value: &mut [u8], id: Option<MicroSessionId>) -> bool {
    if let Some(id) = id {
        id.write(value);
    }
    id.is_some()
}

/// What a Location TLV is told of this request.
fn location(request: &Extended<'_>, policy: LocationPolicy) -> Location {
    let meta = request.meta;
    let last_hop = request.arrival.and_then(|arrival| arrival.last_hop).filter(|_| policy == LocationPolicy::All);
    let ports = |location: Location| Location {
        destination_port: meta.destination.port(),
        source_port: meta.source.port(),
        ..location
    };
    match policy {
        LocationPolicy::Nothing => Location::default(),
        LocationPolicy::Ports => ports(Location::default()),
        LocationPolicy::Addresses | LocationPolicy::All => ports(Location {
            destination: Some(meta.destination.ip()),
            source: Some(meta.source.ip()),
            source_mac: last_hop.map(|address| address.value),
            source_mac_is_eui_64: last_hop.is_some_and(|address| address.is_eui_64),
            ..Location::default()
        }),
    }
}

/// U on all sub-TLVs of a well-formed Value: none is known.
fn mark_sub_tlvs(sub_tlvs: &mut [u8]) {
    reflect_tlvs(sub_tlvs, |_| TlvFlags::UNRECOGNIZED);
}

/// Value of the well-formed TLV at offset `at`.
pub(super) fn value_at(chain: &[u8], at: usize) -> Option<&[u8]> {
    let length = chain.get(at + 2..at + TLV_HEADER_LEN)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    chain.get(at + TLV_HEADER_LEN..at + TLV_HEADER_LEN + length)
}

/// Whether a reply can be sent to that address, or have come from it.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(broadcast || address.is_multicast() || address.is_unspecified())
}
