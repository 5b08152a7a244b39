//! Packet sockets: whole frames out of an interface (packet(7)). They need `CAP_NET_RAW`.
//!
//! Such a socket here only sends: bound to no protocol it is given no frame. The kernel stamps departures as it does those
//! of datagrams and numbers them alike (`OPT_ID`); the stamps come back in a control message of the packet level.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;
use super::socket::{TimestampMode, ask_for_stamps};
use crate::error::PlaneError;

/// An open packet socket, non-blocking.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens one whose every frame is stamped as asked for.
    pub fn open(timestamps: TimestampMode) -> Result<Self, PlaneError> {
        let failed = |operation, error| PlaneError::system(operation, "for whole frames (SR-MPLS)", &error);
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket takes integers; the descriptor returned is new and owned by nobody else. Protocol 0: none.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .map_err(|error| failed("open packet socket", error))?;
        let socket = Self { fd };
        ask_for_stamps(socket.fd(), timestamps, true).map_err(|error| failed("ask for kernel timestamps", error))?;
        Ok(socket)
    }

    /// The descriptor, which stays this socket's.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
