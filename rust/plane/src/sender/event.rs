//! What befell a test-session beside its packets.

use twoway_wire::WallNanos;

use crate::sample::named;

named! {
    /// Kinds of event.
    pub enum EventKind {
        /// The kernel refused a packet.
        SendError = "send_error",
        /// An ICMP error came back about a packet of ours.
        IcmpUnreachable = "icmp_unreachable",
        /// The interface or the network is down.
        InterfaceDown = "interface_down",
        /// The wall clock was stepped.
        ClockStep = "clock_step",
        /// Reading the socket failed.
        SocketError = "socket_error",
        /// The next hop of the path has not said its link-layer address.
        NextHopUnresolved = "next_hop_unresolved",
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Wall time.
    pub at: WallNanos,
    /// What.
    pub kind: EventKind,
    /// The kernel's number for it, 0 where it has none.
    pub errno: i32,
}

impl Event {
    /// An event of kind `kind` now.
    pub fn new(at: WallNanos, kind: EventKind, errno: i32) -> Self {
        Self { at, kind, errno }
    }

    /// A refused packet: what the kernel calls it decides the kind. `framed`: we made the frame, so it was for us to know the
    /// next hop.
    pub fn refused(at: WallNanos, errno: i32, framed: bool) -> Self {
        let down =
            matches!(errno, libc::ENETDOWN | libc::ENETUNREACH | libc::ENODEV | libc::ENXIO | libc::EADDRNOTAVAIL);
        if framed && errno == libc::EHOSTUNREACH {
            // The kernel was not asked: its number would only repeat the kind.
            return Self::new(at, EventKind::NextHopUnresolved, 0);
        }
        Self::new(at, if down { EventKind::InterfaceDown } else { EventKind::SendError }, errno)
    }

    /// Whether the other says nothing new.
    pub fn same_kind(&self, other: &Self) -> bool {
        (self.kind, self.errno) == (other.kind, other.errno)
    }
}
