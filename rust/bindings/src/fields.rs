//! Fields that several specifications have, as Python writes them: what they come to, or what is wrong with one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use pyo3::prelude::*;
use twoway_plane::managed::PortSpec;
use twoway_plane::sys::{SocketRequest, TimestampMode};
use twoway_wire::{PacketFormat, TimestampFormat};

use crate::errors;

/// The longest UDP payload that fits an IPv4 packet.
pub(crate) const LONGEST_PAYLOAD: usize = 65_507;
/// How long a packet waits for its transmit stamp: software stamps are there before the send returns, a NIC's follow
/// within milliseconds.
pub(crate) const STAMP_WAIT: Duration = Duration::from_millis(50);

/// A numeric address.
pub(crate) fn address(field: &'static str, text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| errors::field(field, format!("{text:?} is not a numeric address")))
}

/// An address with a port, and a scope where it is a link-local one.
pub(crate) fn socket_address(ip: IpAddr, port: u16, scope_id: u32) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(v6) => SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope_id)),
    }
}

/// Which stamps to ask for, by name.
pub(crate) fn timestamps(name: &str) -> PyResult<TimestampMode> {
    match name {
        "user" => Ok(TimestampMode::User),
        "kernel" => Ok(TimestampMode::Kernel),
        "hardware" => Ok(TimestampMode::Hardware),
        other => Err(errors::field("timestamps", format!("{other:?} is none of kernel, hardware, user"))),
    }
}

/// Format of the timestamps in packets, by name.
pub(crate) fn timestamp_format(name: &str) -> PyResult<TimestampFormat> {
    TimestampFormat::from_name(name)
        .ok_or_else(|| errors::field("timestamp_format", format!("{name:?} is neither ntp nor ptp")))
}

/// Whether padding is random, by the name of what it is filled with.
pub(crate) fn random_fill(name: &str) -> PyResult<bool> {
    match name {
        "zeros" => Ok(false),
        "random" => Ok(true),
        other => Err(errors::field("fill", format!("{other:?} is neither zeros nor random"))),
    }
}

/// A packet of that format has room in so many octets of payload, and they fit a datagram.
pub(crate) fn check_payload_len(format: PacketFormat, payload_len: usize) -> PyResult<()> {
    let base = format.sender_len();
    if (base..=LONGEST_PAYLOAD).contains(&payload_len) {
        return Ok(());
    }
    let reason = format!("{payload_len} octets: {} needs {base} to {LONGEST_PAYLOAD}", format.name());
    Err(errors::field("payload_len", reason))
}

/// An address and port as Python has them.
pub(crate) fn endpoint(address: SocketAddr) -> (String, u16) {
    (address.ip().to_string(), address.port())
}

/// Option -> what was obtained in lesser form.
pub(crate) fn obtained(lesser: &[(&'static str, String)]) -> HashMap<&'static str, String> {
    lesser.iter().cloned().collect()
}

/// Where a Session-Sender's packets go, and where from.
pub(crate) struct EndFields<'a> {
    pub target: &'a str,
    pub target_port: u16,
    pub scope_id: u32,
    pub source: Option<&'a str>,
    pub source_port: u16,
    pub interface: Option<String>,
    pub dscp_ecn: u8,
    pub ttl: u8,
    pub timestamps: TimestampMode,
    pub receive_buffer: usize,
}

impl EndFields<'_> {
    pub(crate) fn check(self) -> PyResult<SocketRequest> {
        let target = address("target", self.target)?;
        let local = match self.source {
            Some(source) => address("source", source)?,
            None => twoway_plane::sys::socket::unspecified(target),
        };
        if local.is_ipv4() != target.is_ipv4() {
            return Err(errors::field("source", format!("{local} and the target {target} are of different families")));
        }
        Ok(SocketRequest {
            local: socket_address(local, self.source_port, self.scope_id),
            peer: Some(socket_address(target, self.target_port, self.scope_id)),
            interface: self.interface,
            reuse_port: false,
            ttl: self.ttl,
            dscp_ecn: self.dscp_ecn,
            receive_buffer: self.receive_buffer,
            timestamps: self.timestamps,
            stamp_all: true,
            packet_info: false,
            routing_header: Vec::new(),
        })
    }
}

/// Where packets come in, as both kinds of managed session name it.
pub(crate) struct PortFields<'a> {
    pub local: &'a str,
    pub local_port: u16,
    pub scope_id: u32,
    pub interface: Option<String>,
    pub netns: Option<String>,
    pub sender: &'a str,
    pub sender_port: u16,
    pub dscp_ecn: u8,
    pub ttl: u8,
    pub timestamps: &'a str,
    pub receive_buffer: usize,
}

impl PortFields<'_> {
    pub(crate) fn check(self) -> PyResult<PortSpec> {
        let (local, sender) = (address("local", self.local)?, address("sender", self.sender)?);
        if local.is_ipv4() != sender.is_ipv4() {
            return Err(errors::field("sender", format!("{sender} and {local} are of different families")));
        }
        if sender.is_unspecified() || sender.is_multicast() {
            let reason = format!("{sender} is nobody's: zero means the control connection's (RFC 5357 section 3.5)");
            return Err(errors::field("sender", reason));
        }
        let socket = SocketRequest {
            local: socket_address(local, self.local_port, self.scope_id),
            peer: None,
            interface: self.interface,
            reuse_port: false,
            ttl: self.ttl,
            dscp_ecn: self.dscp_ecn,
            receive_buffer: self.receive_buffer,
            timestamps: timestamps(self.timestamps)?,
            stamp_all: false,
            packet_info: local.is_unspecified(),
            routing_header: Vec::new(),
        };
        Ok(PortSpec { socket, netns: self.netns, sender: socket_address(sender, self.sender_port, 0) })
    }
}
