//! The kernel, as this crate needs it: the only place with unsafe code.
//!
//! Theory of operation. A [`UdpSocket`] is opened by a [`SocketRequest`] on the thread that asks for it, so every
//! refusal is known before a worker sees the descriptor. Workers move datagrams in batches ([`ReceiveBatch`],
//! [`SendBatch`]) whose memory is allocated once; control messages are encoded and decoded as plain octets
//! ([`control`]), without pointers. Transmit stamps and ICMP errors come back over the socket's error queue
//! ([`error_queue`]). Waiting is epoll over edge-triggered descriptors and one absolute timer ([`poll`]). Whole frames leave by
//! a [`PacketSocket`]; where to is asked of the routing tables through a [`RouteSocket`]. What a datagram looked like when it came
//! in shows a [`CaptureSocket`].
//!
//! Kernel behaviour relied on: `Documentation/networking/timestamping.rst`, ip(7), ipv6(7), udp(7), socket(7).
#![expect(unsafe_code, reason = "system calls; each block states what keeps it sound")]

pub mod address;
pub mod batch;
pub mod capture;
pub mod clock;
pub mod control;
pub mod error_queue;
pub mod interfaces;
pub mod namespace;
pub mod netlink;
pub mod packet;
pub mod poll;
pub mod probe;
pub mod socket;

pub use address::{LinkAddress, SocketName};
pub use batch::{Outgoing, ReceiveBatch, ReceiveMeta, Reply, SendBatch};
pub use capture::{CaptureSocket, LONGEST_CAPTURE};
pub use clock::{ClockState, SystemClock, clock_state};
pub use control::SendControl;
pub use error_queue::{ErrorQueue, QueueEntry};
pub use interfaces::{InterfaceAddress, list_interfaces};
pub use namespace::in_namespace;
pub use netlink::RouteSocket;
pub use packet::PacketSocket;
pub use poll::{Events, Poll, Waker};
pub use socket::{SocketRequest, TimestampMode, UdpSocket, open_bare};

use std::io;

/// Turns a libc return value into a result.
fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
