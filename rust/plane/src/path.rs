//! The path that test packets take, as it is asked for.

use std::net::{IpAddr, Ipv6Addr};

use twoway_wire::mpls::check_labels;
use twoway_wire::srv6::check_segments;

use crate::error::PlaneError;

/// How packets get to the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ForwardPath {
    /// As the kernel routes them.
    #[default]
    Routed,
    /// By way of these segments of `SRv6`, in this order, in a routing header (RFC 8754).
    Segments(Vec<Ipv6Addr>),
    /// In frames that are made here.
    Frames(FramePath),
}

/// Where frames go, and what they carry before the IP packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FramePath {
    /// SR-MPLS label stack, top first; empty for a plain IP packet.
    pub labels: Vec<u32>,
    /// The router that gets them; none: as the kernel would route to their destination.
    pub gateway: Option<IpAddr>,
    /// Interface that they leave by.
    pub interface: Option<String>,
}

impl ForwardPath {
    /// Refuses by name what no path can be. `v6`: the packets are IPv6.
    pub fn check(&self, v6: bool) -> Result<(), PlaneError> {
        let refused = |reason: String| Err(PlaneError::refused("path", "", reason));
        match self {
            Self::Routed => Ok(()),
            Self::Segments(_) if !v6 => {
                refused("SRv6 leads IPv6 packets, and the target is an IPv4 address".to_owned())
            }
            Self::Segments(segments) => {
                check_segments(segments.iter().copied()).or_else(|error| refused(error.to_string()))
            }
            // A frame without a label names its interface, or it would be an ordinary packet made with effort.
            Self::Frames(FramePath { labels, interface: Some(_), .. }) if labels.is_empty() => Ok(()),
            Self::Frames(frames) => {
                check_labels(frames.labels.iter().copied()).or_else(|error| refused(error.to_string()))
            }
        }
    }
}
