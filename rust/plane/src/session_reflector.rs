//! The Session-Reflector: what to do with a request, and the reply. No I/O, no clock, no allocation for a packet.
//!
//! Read first: RFC 8762 sections 4.3 to 4.6, RFC 8972 section 3, RFC 5357 section 4.2 and Appendix I.
//!
//! Theory of operation. A packet passes three steps, so that a batch can be decided first and its replies written last,
//! with a departure time as fresh as possible:
//!
//! 1. [`SessionReflector::handle`] decides, cheapest checks first. What can be told from addresses comes before any octet
//!    of the payload is read: own address, not answerable, allow list, rate limits. Then length, authentication, the loop
//!    guard, the Error Estimate, and last the test-session: no state changes before a packet is authentic.
//! 2. [`SessionReflector::write`] writes the reply over the request. It may be called again for the same packet with a
//!    later departure, after [`SessionReflector::take_back`].
//! 3. [`SessionReflector::sent`] or [`SessionReflector::not_sent`] closes the account: each received packet has exactly
//!    one [`Disposition`]. A sequence number is used up only by a reply that was sent.
//!
//! ## Authenticated and unauthenticated packets on one port
//!
//! The layouts tell themselves apart. Where an unauthenticated packet has its timestamp and Error Estimate (octets 4 to
//! 15), an authenticated one has zeros (MBZ); an unauthenticated packet with zeros there would have neither a time nor a
//! valid Error Estimate. So a packet of at least 112 octets with zeros in 4 to 15 is taken as authenticated, and then
//! answered only if the HMAC verifies with a key configured for its SSID (or for any SSID). It is never answered as
//! unauthenticated instead: a wrong key gets no reply. The reverse, an attacker who strips authentication, gets an
//! unauthenticated reply, which the authenticated Session-Sender refuses; it cannot touch the test-session, since
//! authenticated and unauthenticated ones are different test-sessions. An SSID for which a key is configured is answered
//! with authentication only, and `require_authentication` extends that to everything. HMACs are computed only for
//! packets in the authenticated layout, so that a flood of others does not cost them.
//!
//! ## Loops
//!
//! A forged request can make two reflectors answer each other for ever (one datagram is enough). Three guards: packets
//! from our own listening addresses, packets that look like a reply ([`is_reply_shaped`]), and packets that return our
//! own clock to us. The last one is for peers that put the fields of a reply in other places: whatever they shuffle, a
//! reply to one of our replies repeats the departure time which we wrote, and that is within seconds of now, while a
//! request has MBZ or padding there. Random padding is caught by mistake with probability below 10^-8.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use twoway_wire::packet::{PacketFormat, SenderPacket};
use twoway_wire::timestamp::{RawTimestamp, TimestampFormat, WallNanos};
use twoway_wire::tlv::{SyncSource, TimestampInformation, TimestampingMethod};
use twoway_wire::{ErrorEstimate, ReflectInput, TestKeys, is_reply_shaped, reflect_in_place};

use crate::reflector::allow::AllowList;
use crate::reflector::arrivals::{Arrival, Arrivals};
use crate::reflector::control::Repeat;
use crate::reflector::counters::Rules;
use crate::reflector::dispositions::Disposition;
use crate::reflector::extensions::{Extended, Extensions, Surroundings, TlvCounters, TlvPolicy, is_unicast};
use crate::reflector::interfaces::HostInterfaces;
pub use crate::reflector::keys::{KEYS_PER_SSID, KeyRing, ReflectorKey, TooManyKeys};
use crate::reflector::limits::{RateLimits, TokenReserve};
use crate::reflector::routes::{ReplyRoute, ReturnRoutes};
use crate::reflector::sessions::{Departure, SessionHandle, SessionKey, SessionTable};

/// Most local addresses that a wildcard socket remembers for the own-address guard.
const LOCAL_ADDRESSES: usize = 64;
/// How close to now a returned departure time is known as ours, in 2^-32 s: 10 s.
const RETURNED_CLOCK: i64 = 10 << 32;

/// What all workers of a reflector have in common.
#[derive(Debug)]
pub struct ReflectorPolicy {
    /// Listening addresses, for the own-address guard.
    pub listening: Vec<SocketAddr>,
    /// Who is answered.
    pub allow: AllowList,
    /// Answer only packets that authenticate.
    pub require_authentication: bool,
    /// Answer requests that are shorter than the shortest reply.
    pub larger_replies: bool,
    /// What STAMP TLVs may ask; `None`: what follows the base packet is echoed as it came.
    pub tlvs: Option<TlvPolicy>,
    /// Tell in unauthenticated replies which DSCP and ECN the request came with, in the octet after its TTL (RFC 7750):
    /// for TWAMP Light, since STAMP has zeros there.
    pub dscp_ecn_monitoring: bool,
    /// DSCP of replies; `None` echoes the request's.
    pub dscp: Option<u8>,
    /// Keys for authenticated packets.
    pub keys: KeyRing,
}

/// What is known of a received packet beside its octets.
#[derive(Clone, Copy, Debug)]
pub struct RequestMeta {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// Interface it came in by, 0 if unknown.
    pub interface: u32,
    /// The same, but where that is a LAG and the member of it is known, the member.
    pub link: u32,
    /// TTL or hop limit as received.
    pub ttl: Option<u8>,
    /// TOS or traffic class octet as received.
    pub dscp_ecn: Option<u8>,
    /// Receive stamp: T2.
    pub received: WallNanos,
    /// Octets received.
    pub len: usize,
    /// The packet was longer than the buffer.
    pub truncated: bool,
}

/// A request that will be answered.
#[derive(Clone, Copy, Debug)]
pub struct PendingReply {
    sender: SenderPacket,
    received: WallNanos,
    session: Option<SessionHandle>,
    len: u16,
    key: Option<u32>,
    ttl: Option<u8>,
    dscp_ecn: u8,
    request_dscp_ecn: Option<u8>,
    larger: bool,
    extensions: Option<Extensions>,
}

impl PendingReply {
    /// Octets of the reply.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never: a reply has at least its base packet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// TOS or traffic class octet to send it with: DSCP as policy or a TLV says, ECN Not-ECT (RFC 7750 section 2.2) but
    /// for a TLV that asks for another.
    pub fn dscp_ecn(&self) -> u8 {
        self.dscp_ecn
    }

    /// Which way to send it.
    pub fn route(&self) -> ReplyRoute {
        self.extensions.map_or(ReplyRoute::Ordinary, |extensions| extensions.route)
    }

    /// Address to send it from, where that is not the one that the request was sent to.
    pub fn source(&self) -> Option<IpAddr> {
        self.extensions.and_then(|extensions| extensions.source)
    }

    /// Replies that are to follow this one: the same octets, each written anew.
    pub fn repeat(&self) -> Option<Repeat> {
        self.extensions.and_then(|extensions| extensions.repeat)
    }

    /// The test-session whose next reply tells when this one left, if it is asked to: [`SessionReflector::departed`] wants
    /// to know.
    pub fn followed_up(&self) -> Option<SessionHandle> {
        self.session.filter(|_| self.extensions.is_some_and(|extensions| extensions.followed_up))
    }

    /// When the request was received.
    pub fn received(&self) -> WallNanos {
        self.received
    }

    /// Whether writing it includes an HMAC.
    pub fn is_authenticated(&self) -> bool {
        self.key.is_some()
    }

    fn format(&self) -> PacketFormat {
        if self.key.is_some() { PacketFormat::StampAuthenticated } else { PacketFormat::Stamp }
    }
}

/// A request that is authentic as far as it has to be.
struct Asked<'a> {
    meta: &'a RequestMeta,
    sender: &'a SenderPacket,
    key: Option<u32>,
    session: Option<SessionHandle>,
    received: Option<u32>,
    arrival: Option<Arrival<'a>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// It is answered; its disposition follows from whether the reply is sent.
    Reply(PendingReply),
    /// It is not.
    Drop(Disposition),
}

/// What one engine has seen beside dispositions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Requests whose Error Estimate was all zeros and that were answered nevertheless.
    pub zero_error_estimates: u64,
    /// What TLVs came to.
    pub tlvs: TlvCounters,
}

/// The engine of one worker.
#[derive(Debug)]
pub struct SessionReflector {
    policy: Arc<ReflectorPolicy>,
    limits: Arc<RateLimits>,
    reserve: TokenReserve,
    sessions: Option<SessionTable>,
    local: Vec<IpAddr>,
    interfaces: HostInterfaces,
    timestamps: TimestampInformation,
    counters: EngineCounters,
}

impl SessionReflector {
    /// An engine; with a session table it counts its own sequence numbers, without one it copies the Session-Sender's.
    pub fn new(policy: Arc<ReflectorPolicy>, limits: Arc<RateLimits>, sessions: Option<SessionTable>) -> Self {
        Self {
            policy,
            limits,
            reserve: TokenReserve::default(),
            sessions,
            local: Vec::with_capacity(LOCAL_ADDRESSES),
            interfaces: HostInterfaces::default(),
            timestamps: TimestampInformation::default(),
            counters: EngineCounters::default(),
        }
    }

    /// Go by other rules: other keys, another allow list, other rate limits. Test-sessions go on. Not between
    /// [`Self::handle`] and [`Self::write`] of a packet.
    pub fn follow(&mut self, rules: Rules) {
        if !Arc::ptr_eq(&self.limits, &rules.limits) {
            self.reserve = TokenReserve::default();
        }
        (self.policy, self.limits) = (rules.policy, rules.limits);
    }

    /// What it has seen beside dispositions.
    pub fn counters(&self) -> EngineCounters {
        self.counters
    }

    /// The test-sessions, where it keeps any.
    pub fn sessions(&self) -> Option<&SessionTable> {
        self.sessions.as_ref()
    }

    /// Tells it which addresses and devices the host has now.
    pub fn know_interfaces(&mut self, interfaces: HostInterfaces) {
        self.interfaces = interfaces;
    }

    /// Tells it whether an external source synchronises the clock that T2 and T3 are read from.
    pub fn know_clock(&mut self, synchronized: bool) {
        let by_kernel = if synchronized { SyncSource::NTP } else { SyncSource::FREE_RUNNING };
        let source = self.policy.tlvs.as_ref().and_then(|tlvs| tlvs.sync_source).unwrap_or(by_kernel);
        // T2 is the kernel's software stamp, T3 is predicted from such stamps.
        self.timestamps = TimestampInformation {
            sync_source_in: source,
            timestamp_in: TimestampingMethod::SOFTWARE_LOCAL,
            sync_source_out: source,
            timestamp_out: TimestampingMethod::SOFTWARE_LOCAL,
        };
    }

    /// A reply of that test-session left then, by the kernel's stamp; `sequence` is what [`Self::write`] gave it.
    pub fn departed(&mut self, session: SessionHandle, sequence: u32, left: WallNanos) {
        if let Some(sessions) = &mut self.sessions {
            sessions.note_departure(session, Departure { sequence, left });
        }
    }

    /// Ends test-sessions whose time has come, at most `limit`.
    pub fn expire(&mut self, now_ns: u64, limit: usize) {
        if let Some(sessions) = &mut self.sessions {
            sessions.expire(now_ns, limit);
        }
    }

    /// Decides on the request in `buf[..meta.len]`. `buf` is the room for the reply too, `now_ns` the monotonic clock;
    /// `routes` knows which return paths can be taken, and `arrivals` how requests came in.
    pub fn handle(
        &mut self,
        buf: &mut [u8],
        meta: &RequestMeta,
        now_ns: u64,
        routes: &mut impl ReturnRoutes,
        arrivals: &mut impl Arrivals,
    ) -> Verdict {
        match self.decide(buf, meta, now_ns, routes, arrivals) {
            Ok(pending) => Verdict::Reply(pending),
            Err(disposition) => Verdict::Drop(disposition),
        }
    }

    fn decide(
        &mut self,
        buf: &mut [u8],
        meta: &RequestMeta,
        now_ns: u64,
        routes: &mut impl ReturnRoutes,
        arrivals: &mut impl Arrivals,
    ) -> Result<PendingReply, Disposition> {
        self.check_addresses(meta, now_ns)?;
        if meta.truncated {
            return Err(Disposition::Truncated);
        }
        let room = buf.len();
        let octets = buf.get_mut(..meta.len).ok_or(Disposition::Malformed)?;
        if octets.len() < PacketFormat::Stamp.shortest_request() {
            return Err(Disposition::TooShort);
        }
        let (sender, key) = self.authenticate(octets)?;
        let format = if key.is_some() { PacketFormat::StampAuthenticated } else { PacketFormat::Stamp };
        if is_reply_shaped(format, octets) || returns_our_clock(format, octets, meta.received) {
            return Err(Disposition::ReplyShaped);
        }
        // RFC 4656 section 4.1.2: a Multiplier of 0 SHOULD be treated as corrupt. Session-Senders that leave the whole
        // field empty exist; all that we do with it is to copy it, so they are answered, and counted.
        if sender.error_estimate.multiplier() == 0 {
            if sender.error_estimate.0 != 0 {
                return Err(Disposition::ZeroMultiplier);
            }
            self.counters.zero_error_estimates += 1;
        }
        let base = format.reflector_len();
        let larger = meta.len < base;
        if larger && !self.policy.larger_replies {
            return Err(Disposition::LargerReplyOff);
        }
        let len = meta.len.max(base);
        if len > room || len > usize::from(u16::MAX) {
            return Err(Disposition::Malformed);
        }
        let (session, received) = match &mut self.sessions {
            None => (None, None),
            Some(sessions) => {
                let session =
                    SessionKey::new(meta.source, meta.destination, meta.interface, sender.ssid, key.is_some());
                let session = sessions.find_or_begin(&session, now_ns).ok_or(Disposition::SessionTableFull)?;
                (Some(session), Some(sessions.count_received(session)))
            }
        };
        let wanted = len > base && self.policy.tlvs.as_ref().is_some_and(TlvPolicy::wants_arrivals);
        let arrival = if wanted { arrivals.of(meta.source, &buf[..meta.len]) } else { None };
        let asked = Asked { meta, sender: &sender, key, session, received, arrival };
        let extensions = if len > base { self.extend(&mut buf[base..], len - base, &asked, routes)? } else { None };
        let len = extensions.and_then(|extensions| extensions.chain_len).map_or(len, |chain| base + usize::from(chain));
        let chosen = extensions.and_then(|extensions| extensions.dscp_ecn);
        Ok(PendingReply {
            sender,
            received: meta.received,
            session,
            len: len as u16,
            key,
            ttl: meta.ttl,
            dscp_ecn: chosen
                .or(self.policy.dscp.map(|dscp| dscp << 2))
                .unwrap_or_else(|| meta.dscp_ecn.unwrap_or(0) & !3),
            request_dscp_ecn: meta.dscp_ecn,
            larger: len > meta.len,
            extensions,
        })
    }

    /// Processes what follows the base packet, `len` octets of `room`, if that is done at all.
    fn extend(
        &mut self,
        room: &mut [u8],
        len: usize,
        asked: &Asked<'_>,
        routes: &mut impl ReturnRoutes,
    ) -> Result<Option<Extensions>, Disposition> {
        let policy = &*self.policy;
        let Some(tlvs) = &policy.tlvs else { return Ok(None) };
        let format = if asked.key.is_some() { PacketFormat::StampAuthenticated } else { PacketFormat::Stamp };
        let request = Extended {
            meta: asked.meta,
            sequence: asked.sender.sequence,
            key: asked.key,
            received: asked.received,
            dscp: policy.dscp,
            listening: &policy.listening,
            base: format.reflector_len(),
            arrival: asked.arrival,
        };
        let around = Surroundings {
            policy: tlvs,
            keys: &policy.keys,
            interfaces: &self.interfaces,
            timestamps: self.timestamps,
        };
        // Without state nobody knows what has been seen before.
        let sessions = &mut self.sessions;
        let new = || match (asked.session, sessions) {
            (Some(session), Some(sessions)) => sessions.take_control(session, request.sequence),
            _ => false,
        };
        Extensions::process(room, len, &request, &around, routes, &mut self.counters.tlvs, new).map(Some)
    }

    /// Everything that can be decided without reading the packet.
    fn check_addresses(&mut self, meta: &RequestMeta, now_ns: u64) -> Result<(), Disposition> {
        if self.is_own(meta) {
            return Err(Disposition::OwnAddress);
        }
        let source = meta.source.ip();
        if meta.source.port() == 0 || !is_unicast(source) || !is_unicast(meta.destination.ip()) {
            return Err(Disposition::Unanswerable);
        }
        if !self.policy.allow.allows(source) {
            return Err(Disposition::NotAllowed);
        }
        // The source's own limit first: what it refuses does not spend the tokens of all the others.
        if !self.limits.admit_source(source, now_ns) {
            return Err(Disposition::RateLimitedSource);
        }
        if !self.limits.admit_total(&mut self.reserve, now_ns) {
            return Err(Disposition::RateLimitedGlobal);
        }
        Ok(())
    }

    /// Whether the source is one of our own listening sockets. A wildcard socket does not know its host's addresses; it
    /// learns them as packets arrive for them, which is before they can be part of a loop.
    fn is_own(&mut self, meta: &RequestMeta) -> bool {
        let (source, destination) = (meta.source, meta.destination.ip());
        let mut wildcard = false;
        for own in &self.policy.listening {
            if own.is_ipv4() != source.is_ipv4() {
                continue;
            }
            if own.ip().is_unspecified() {
                wildcard = true;
                if own.port() == source.port()
                    && (source.ip() == destination || source.ip().is_loopback() || self.local.contains(&source.ip()))
                {
                    return true;
                }
            } else if own.port() == source.port() && own.ip() == source.ip() && same_scope(*own, source) {
                return true;
            }
        }
        if wildcard
            && self.local.last() != Some(&destination)
            && self.local.len() < LOCAL_ADDRESSES
            && is_unicast(destination)
            && !self.local.contains(&destination)
        {
            self.local.push(destination);
        }
        false
    }

    /// Reads the request; the key's place if it is authenticated.
    fn authenticate(&self, octets: &mut [u8]) -> Result<(SenderPacket, Option<u32>), Disposition> {
        let policy = &*self.policy;
        let layout = PacketFormat::StampAuthenticated.sender_layout();
        let long_enough = octets.len() >= layout.length;
        let in_authenticated_layout = long_enough && octets[4..16] == [0; 12];
        if in_authenticated_layout || (long_enough && policy.require_authentication) {
            let ssid = layout.ssid.map_or(0, |at| u16::from_be_bytes([octets[at], octets[at + 1]]));
            let mut known = false;
            for place in policy.keys.places_of(Some(ssid)).chain(policy.keys.places_of(None)) {
                known = true;
                let parsed =
                    SenderPacket::parse(PacketFormat::StampAuthenticated, policy.keys.at(place as u32), octets);
                if let Ok(sender) = parsed {
                    return Ok((sender, Some(place as u32)));
                }
            }
            return Err(match (in_authenticated_layout, known) {
                (true, true) => Disposition::BadHmac,
                (true, false) => Disposition::UnknownKey,
                (false, _) => Disposition::Unauthenticated,
            });
        }
        if policy.require_authentication {
            return Err(Disposition::Unauthenticated);
        }
        let sender =
            SenderPacket::parse(PacketFormat::Stamp, &TestKeys::None, octets).map_err(|_| Disposition::Malformed)?;
        if sender.ssid != 0 && !policy.keys.places_of(Some(sender.ssid)).is_empty() {
            return Err(Disposition::Unauthenticated);
        }
        Ok((sender, None))
    }

    /// Writes the reply into `buf`, the same room that `handle` saw, for a departure at `departure` (T3). Uses the next
    /// sequence number of the test-session, and returns it. The error closes the account: call nothing more for this packet.
    pub fn write(
        &mut self,
        pending: &PendingReply,
        departure: WallNanos,
        error_estimate: ErrorEstimate,
        buf: &mut [u8],
    ) -> Result<u32, Disposition> {
        let sequence = match (pending.session, &mut self.sessions) {
            (Some(session), Some(sessions)) => {
                Some(sessions.take_sequence(session).ok_or(Disposition::SessionTableFull)?)
            }
            _ => None,
        };
        let monitored = self.policy.dscp_ecn_monitoring && !pending.is_authenticated();
        let input = ReflectInput {
            sequence,
            receive_timestamp: pending.received,
            transmit_timestamp: departure,
            error_estimate,
            ttl: pending.ttl,
            dscp_ecn: if monitored { pending.request_dscp_ecn } else { None },
            symmetrical_size: true,
        };
        let sequence = sequence.unwrap_or(pending.sender.sequence);
        let keys = pending.key.map_or(&TestKeys::None, |place| self.policy.keys.at(place));
        let written = buf.get_mut(..pending.len()).is_some_and(|reply| {
            if let Some(extensions) = &pending.extensions {
                let previous = pending
                    .followed_up()
                    .and_then(|session| self.sessions.as_ref().and_then(|table| table.latest_departure(session)));
                let chain = &mut reply[pending.format().reflector_len()..];
                extensions.finish(chain, &self.policy.keys, sequence, previous);
            }
            reflect_in_place(pending.format(), keys, &pending.sender, &input, reply).is_ok()
        });
        if written {
            Ok(sequence)
        } else {
            self.take_back(pending);
            Err(Disposition::Malformed)
        }
    }

    /// The reply cannot take the path that a TLV asked for: it is to go the ordinary way, and to say so (RFC 9503 section
    /// 4). `buf` is the room that `handle` saw; `write` follows. False: it was to go the ordinary way anyway.
    pub fn divert(&mut self, pending: &mut PendingReply, buf: &mut [u8]) -> bool {
        let (base, len) = (pending.format().reflector_len(), pending.len());
        match (&mut pending.extensions, buf.get_mut(base..len)) {
            (Some(extensions), Some(chain)) => extensions.divert(chain, &mut self.counters.tlvs),
            _ => false,
        }
    }

    /// Undoes `write` for a reply that has not been sent. Replies are taken back from the last one written on.
    pub fn take_back(&mut self, pending: &PendingReply) {
        if let (Some(session), Some(sessions)) = (pending.session, &mut self.sessions) {
            sessions.give_back_sequence(session);
        }
    }

    /// Whether a request may get several replies.
    pub fn repeats(&self) -> bool {
        self.policy.tlvs.as_ref().is_some_and(|tlvs| tlvs.control.is_some())
    }

    /// Whether one more reply may be sent to that source now, by the rate limits (monotonic clock).
    pub fn admit_further(&mut self, source: IpAddr, now_ns: u64) -> bool {
        self.limits.admit_source(source, now_ns) && self.limits.admit_total(&mut self.reserve, now_ns)
    }

    /// The reply has been sent.
    pub fn sent(&self, pending: &PendingReply) -> Disposition {
        if pending.larger { Disposition::ReflectedLarger } else { Disposition::Reflected }
    }

    /// The kernel refused the reply, which has been taken back.
    pub fn not_sent(&self, _pending: &PendingReply) -> Disposition {
        Disposition::SendFailed
    }
}

/// Link-local addresses are the same only on the same link.
fn same_scope(own: SocketAddr, source: SocketAddr) -> bool {
    match (own, source) {
        (SocketAddr::V6(own), SocketAddr::V6(source)) => own.scope_id() == 0 || own.scope_id() == source.scope_id(),
        _ => true,
    }
}

/// Whether the place of the Sender Timestamp in a reply holds a time close to now, or close to what stands in the place of
/// the Receive Timestamp. We write NTP timestamps, so that is what a reply to our reply returns.
fn returns_our_clock(format: PacketFormat, octets: &[u8], now: WallNanos) -> bool {
    let layout = format.reflector_layout();
    let timestamp_at =
        |at: usize| octets.get(at..at + 8).and_then(|field| field.try_into().ok()).map(u64::from_be_bytes);
    let (Some(receive), Some(sender)) = (timestamp_at(layout.receive_timestamp), timestamp_at(layout.sender_timestamp))
    else {
        return false;
    };
    if sender == 0 {
        return false;
    }
    let near = |other: u64| (sender.wrapping_sub(other) as i64).unsigned_abs() <= RETURNED_CLOCK as u64;
    (receive != 0 && near(receive)) || near(RawTimestamp::encode(now, TimestampFormat::Ntp).0)
}
