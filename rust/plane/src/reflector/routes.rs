//! Which way a reply goes, where a Return Path TLV asks for another than the ordinary one (RFC 9503 section 4).
//!
//! Theory of operation. Whether a reply can take a path must be known before it is written, because the U flag of its
//! Return Path TLV says so. So the engine, which decides whose return paths are obeyed at all, asks [`ReturnRoutes`] for a
//! [`ReplyRoute`] while it decides about the request; the worker, which owns the sockets, carries the route out when it
//! sends. A route is small and owns nothing: what it refers to is kept by whoever gave it, at least until the batch of
//! requests that it was asked for has been answered.

use std::net::{IpAddr, SocketAddr};

use twoway_wire::tlv::ReturnPath;

use super::allow::AllowList;

/// Which way a reply goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyRoute {
    /// To where the request came from, by ordinary routing.
    #[default]
    Ordinary,
    /// To where the request came from, by that interface.
    Link(u32),
    /// To another address, by ordinary routing.
    Address(SocketAddr),
    /// To that address along a path of segments or labels, which whoever gave the route keeps at this place.
    Steered {
        /// Which of them.
        place: u16,
        /// Where the reply ends up.
        destination: SocketAddr,
    },
}

/// A reply that is to take a path of its own.
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest<'a> {
    /// The path; never [`ReturnPath::NoReply`], for which there is nothing to do.
    pub path: ReturnPath<'a>,
    /// Where the request came from. A path to another address keeps this port.
    pub requester: SocketAddr,
    /// Where the reply comes from: the address that the request was sent to.
    pub local: SocketAddr,
    /// Interface that the request came in by, or the member of the LAG that this is; 0 if unknown.
    pub link: u32,
}

impl RouteRequest<'_> {
    /// Where the reply ends up: at the address in the path, if there is one, else at the requester's.
    pub fn destination(&self) -> SocketAddr {
        let address = match self.path {
            ReturnPath::NoReply | ReturnPath::SameLink => None,
            ReturnPath::Address(address) => Some(address),
            ReturnPath::SrMpls(_, address) | ReturnPath::Srv6(_, address) => address,
        };
        match address {
            Some(address) => SocketAddr::new(address, self.requester.port()),
            None => self.requester,
        }
    }
}

/// Finds routes for replies.
pub trait ReturnRoutes {
    /// The route for a reply, or `None` if it cannot go that way: it is then sent the ordinary way, with the U flag.
    fn route(&mut self, request: &RouteRequest<'_>) -> Option<ReplyRoute>;
}

/// What an ordinary UDP socket can do: another address of the same family, and the link that the request came in by.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainRoutes;

impl ReturnRoutes for PlainRoutes {
    fn route(&mut self, request: &RouteRequest<'_>) -> Option<ReplyRoute> {
        match request.path {
            ReturnPath::SameLink => (request.link != 0).then_some(ReplyRoute::Link(request.link)),
            ReturnPath::Address(address) => (address.is_ipv4() == request.local.is_ipv4())
                .then(|| ReplyRoute::Address(SocketAddr::new(address, request.requester.port()))),
            ReturnPath::NoReply | ReturnPath::SrMpls(..) | ReturnPath::Srv6(..) => None,
        }
    }
}

/// Whose return paths are obeyed. A return path makes a reflector send where it is told, so by default it is only that of
/// requests which prove that they come from a holder of a key.
#[derive(Clone, Debug)]
pub struct ReturnPathPolicy {
    /// Requests that are authenticated, by themselves or by their HMAC TLV.
    pub authenticated: bool,
    /// Sources whose return paths are obeyed without that.
    pub allow: AllowList,
}

impl ReturnPathPolicy {
    /// Nobody's.
    pub fn nobody() -> Self {
        Self { authenticated: false, allow: AllowList::nobody() }
    }

    /// Whether somebody's may be.
    pub fn is_anybodys(&self) -> bool {
        self.authenticated || !self.allow.is_nobody()
    }

    /// Whether those of this request are.
    pub fn obeys(&self, source: IpAddr, authenticated: bool) -> bool {
        (self.authenticated && authenticated) || self.allow.allows(source)
    }
}
