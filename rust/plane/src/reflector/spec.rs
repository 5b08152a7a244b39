//! What a Session-Reflector is told to do.

use std::collections::HashSet;
use std::net::IpAddr;

use twoway_wire::tlv::SyncSource;

use super::allow::AllowList;
use super::control::ControlPolicy;
use super::extensions::{LocationPolicy, TlvPolicy};
use super::routes::ReturnPathPolicy;
use crate::error::PlaneError;
use crate::sys::TimestampMode;

/// What one Session-Reflector does. Every field is the caller's to decide: there are no defaults here.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the operator's, independent of the others")]
pub struct ReflectorSpec {
    /// (numeric address, port, scope id) to listen on; port 0 for any.
    pub listen: Vec<(IpAddr, u16, u32)>,
    /// Device or VRF to bind to.
    pub interface: Option<String>,
    /// Network namespace to open the sockets in: name or path.
    pub netns: Option<String>,
    /// Worker threads of each listening address.
    pub workers: usize,
    /// Count sequence numbers for each test-session, instead of copying the Session-Sender's.
    pub stateful: bool,
    /// Most test-sessions kept at a time, by all workers together.
    pub max_sessions: u32,
    /// A test-session idle for so long has ended, in ns.
    pub session_timeout_ns: u64,
    /// (key id, SSID or `None` for any, HMAC key) for authenticated STAMP.
    pub keys: Vec<(String, Option<u16>, Vec<u8>)>,
    /// Answer only authenticated packets.
    pub require_authentication: bool,
    /// (network address, prefix length); empty for all.
    pub allow: Vec<(IpAddr, u8)>,
    /// Packets/s answered in total, 0 for no limit.
    pub rate_limit: u64,
    /// Packets/s answered to one source (IPv4 address or IPv6 /64), 0 for no limit.
    pub rate_limit_per_source: u64,
    /// DSCP of replies, `None` to echo.
    pub dscp: Option<u8>,
    /// Answer requests shorter than the shortest reply.
    pub larger_replies: bool,
    /// What STAMP TLVs may ask; `None`: they are echoed as they came.
    pub tlvs: Option<TlvSpec>,
    /// Tell the request's DSCP and ECN in unauthenticated replies (RFC 7750).
    pub dscp_ecn_monitoring: bool,
    /// Stamps to use.
    pub timestamps: TimestampMode,
    /// Receive buffer of each socket, in octets.
    pub receive_buffer: usize,
}

/// What STAMP TLVs may ask of a Session-Reflector.
#[derive(Clone, Debug)]
pub struct TlvSpec {
    /// TLVs of unauthenticated requests need an HMAC TLV.
    pub require_hmac: bool,
    /// What Location is told.
    pub location: LocationPolicy,
    /// DSCPs that a reply may bear on request; `None` for all.
    pub permitted_dscps: Option<Vec<u8>>,
    /// What the clock follows; `None`: NTP or nothing, as the kernel knows.
    pub sync_source: Option<SyncSource>,
    /// Return paths of authenticated requests are obeyed.
    pub return_paths_authenticated: bool,
    /// (network address, prefix length) of sources whose return paths are obeyed in any case; empty for none.
    pub return_paths_allow: Vec<(IpAddr, u8)>,
    /// Reflect headers of the IP packet (experimental code points).
    pub reflect_headers: bool,
    /// (device, Micro-session ID) of the member links of an aggregation.
    pub micro_sessions: Vec<(String, u16)>,
    /// Several replies to one request; `None`: never.
    pub control: Option<ControlSpec>,
}

/// For whom several replies are sent to one request, and how many.
#[derive(Clone, Debug)]
pub struct ControlSpec {
    /// (network address, prefix length) of the sources; at least one.
    pub allow: Vec<(IpAddr, u8)>,
    /// Most replies to one request.
    pub most_replies: u16,
    /// Most octets of UDP payload of each.
    pub longest_reply: u16,
    /// Most octets of UDP payload a second.
    pub most_octets_per_s: u64,
    /// Most octets of UDP payload for one request.
    pub most_octets: u64,
}

impl TlvSpec {
    /// Packets must tell which interface they came in by.
    pub(super) fn needs_interface(&self) -> bool {
        !self.micro_sessions.is_empty()
            || self.control.is_some()
            || self.return_paths_authenticated
            || !self.return_paths_allow.is_empty()
    }

    pub(super) fn policy(&self) -> Result<TlvPolicy, PlaneError> {
        let allow = if self.return_paths_allow.is_empty() {
            AllowList::nobody()
        } else {
            allow_list("return-paths-allow", &self.return_paths_allow)?
        };
        let mut permitted_dscps = TlvPolicy::ANY_DSCP;
        if let Some(dscps) = &self.permitted_dscps {
            permitted_dscps = 0;
            for dscp in dscps {
                if *dscp > 63 {
                    return Err(PlaneError::refused("permit-dscp", dscp, "a DSCP has six bits"));
                }
                permitted_dscps |= 1 << dscp;
            }
        }
        let mut seen = HashSet::new();
        for (device, id) in &self.micro_sessions {
            if *id == 0 {
                return Err(PlaneError::refused("micro-session", device, "0 is no Micro-session ID"));
            }
            if !seen.insert(device) {
                return Err(PlaneError::refused("micro-session", device, "is given twice"));
            }
        }
        let control = match &self.control {
            None => None,
            Some(control) if control.allow.is_empty() => {
                return Err(PlaneError::refused("control-allow", "no network", "nobody could ask for it"));
            }
            Some(control) => Some(ControlPolicy {
                allow: allow_list("control-allow", &control.allow)?,
                most_replies: control.most_replies,
                longest_reply: control.longest_reply,
                most_octets_per_s: control.most_octets_per_s,
                most_octets: control.most_octets,
            }),
        };
        Ok(TlvPolicy {
            require_hmac: self.require_hmac,
            location: self.location,
            permitted_dscps,
            sync_source: self.sync_source,
            return_paths: ReturnPathPolicy { authenticated: self.return_paths_authenticated, allow },
            reflect_headers: self.reflect_headers,
            micro_sessions: self.micro_sessions.clone(),
            control,
        })
    }
}

/// The list of that option.
pub(super) fn allow_list(option: &'static str, networks: &[(IpAddr, u8)]) -> Result<AllowList, PlaneError> {
    AllowList::new(networks).map_err(|(network, prefix_len)| {
        PlaneError::refused(option, network, format!("has no prefix length {prefix_len}"))
    })
}

impl ReflectorSpec {
    fn has_control(&self) -> bool {
        self.tlvs.as_ref().is_some_and(|tlvs| tlvs.control.is_some())
    }

    pub(super) fn asks_in_vain(&self) -> bool {
        self.has_control() && self.keys.is_empty()
    }

    pub(super) fn counts_nothing(&self) -> bool {
        self.has_control() && !self.stateful
    }
}
