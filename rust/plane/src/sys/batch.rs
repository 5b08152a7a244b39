//! Datagrams in batches: `recvmmsg` and `sendmmsg` over memory that is allocated once.
//!
//! The kernel is given pointers into the batch's own vectors. They are written afresh before each call and are dead
//! after it, so moving a batch, or growing nothing, keeps them sound: no vector here ever changes its length.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr::null_mut;

use super::address::{LinkAddress, SocketName};
use super::control::{RECEIVE_ROOM, Received, SendControl, Stamps};

/// What is known of a received datagram beside its octets.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReceiveMeta {
    /// Where it came from; `None` for a family we did not open.
    pub source: Option<SocketAddr>,
    /// Where it was sent to, where the socket asks for that.
    pub destination: Option<IpAddr>,
    /// Interface that it came in by, 0 if unknown.
    pub interface: u32,
    /// TTL or hop limit as received.
    pub ttl: Option<u8>,
    /// TOS or traffic class octet as received.
    pub dscp_ecn: Option<u8>,
    /// Kernel receive stamps.
    pub stamps: Stamps,
    /// The socket's running count of datagrams dropped for want of room.
    pub drops: Option<u32>,
    /// The datagram was longer than the buffer.
    pub truncated: bool,
}

/// A call that brings no more than this is followed by one that asks for no more than this.
const FEW: usize = 8;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct ControlRoom([u8; RECEIVE_ROOM]);

fn empty_header() -> libc::mmsghdr {
    // SAFETY: mmsghdr is integers and pointers, for which all zeroes is a value (empty, null).
    unsafe { std::mem::zeroed() }
}

fn empty_slice() -> libc::iovec {
    libc::iovec { iov_base: null_mut(), iov_len: 0 }
}

/// A reply to one datagram of a [`ReceiveBatch`], to be sent from the same buffer to where it came from.
#[derive(Clone, Copy)]
pub struct Reply {
    /// Index in the batch.
    pub slot: usize,
    /// Octets of the slot's buffer to send.
    pub len: usize,
    /// Control messages to send it with.
    pub control: SendControl,
}

/// Room for a batch of datagrams.
pub struct ReceiveBatch {
    slot_len: usize,
    /// Slots laid out for the last call.
    asked: usize,
    received: usize,
    buffers: Vec<u8>,
    names: Vec<SocketName>,
    controls: Vec<ControlRoom>,
    slices: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    reply_slices: Vec<libc::iovec>,
    reply_headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in the headers are written before each system call and never followed outside it; all
// they point to is owned by the batch.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Room for `slots` datagrams of at most `slot_len` octets; longer ones are truncated and say so.
    pub fn new(slots: usize, slot_len: usize) -> Self {
        Self {
            slot_len,
            asked: slots,
            received: 0,
            buffers: vec![0; slots * slot_len],
            names: vec![SocketName::EMPTY; slots],
            controls: vec![ControlRoom([0; RECEIVE_ROOM]); slots],
            slices: vec![empty_slice(); slots],
            headers: vec![empty_header(); slots],
            reply_slices: vec![empty_slice(); slots],
            reply_headers: vec![empty_header(); slots],
        }
    }

    /// Takes what is queued on `socket` without waiting; `flags` may add `MSG_ERRQUEUE`. `Ok(0)`: nothing there.
    pub fn receive(&mut self, socket: RawFd, flags: i32) -> io::Result<usize> {
        self.take(socket, flags | libc::MSG_DONTWAIT)
    }

    /// Waits for a datagram as long as the socket's [`wait_at_most`](super::UdpSocket::wait_at_most) says, and takes what
    /// else is queued then. `Ok(0)`: nothing came.
    pub fn await_first(&mut self, socket: RawFd) -> io::Result<usize> {
        self.take(socket, libc::MSG_WAITFORONE)
    }

    fn take(&mut self, socket: RawFd, flags: i32) -> io::Result<usize> {
        // Laying out all slots takes longer than receiving one packet: as long as few come, few are laid out.
        let many = self.filled() || self.received > FEW;
        self.asked = if many { self.headers.len() } else { FEW.min(self.headers.len()) };
        self.received = 0;
        let name_len = SocketName::EMPTY.len();
        for slot in 0..self.asked {
            self.slices[slot] = libc::iovec {
                iov_base: self.buffers[slot * self.slot_len..].as_mut_ptr().cast(),
                iov_len: self.slot_len,
            };
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = self.names[slot].as_mut_ptr();
            header.msg_namelen = name_len;
            header.msg_iov = &raw mut self.slices[slot];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
            header.msg_controllen = RECEIVE_ROOM;
        }
        // SAFETY: `headers` holds at least the headers announced; each points to a name, a buffer and control room of
        // this batch, with their true lengths, set just above.
        let count = unsafe { libc::recvmmsg(socket, self.headers.as_mut_ptr(), self.asked as u32, flags, null_mut()) };
        if count < 0 {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if nothing { Ok(0) } else { Err(error) };
        }
        self.received = count as usize;
        for slot in 0..self.received {
            let len = self.headers[slot].msg_hdr.msg_namelen;
            self.names[slot].set_len(len);
        }
        Ok(self.received)
    }

    /// Whether the last call took all that it had room for, so that more may be queued.
    pub fn filled(&self) -> bool {
        self.received == self.asked
    }

    fn len(&self, slot: usize) -> usize {
        (self.headers[slot].msg_len as usize).min(self.slot_len)
    }

    /// Octets of the datagram in `slot`, which must be below what `receive` returned.
    #[inline]
    pub fn octets(&mut self, slot: usize) -> &mut [u8] {
        let len = self.len(slot);
        &mut self.buffers[slot * self.slot_len..][..len]
    }

    /// The whole buffer of `slot`, whose first octets are the datagram: a reply may be longer than its request.
    #[inline]
    pub fn room(&mut self, slot: usize) -> &mut [u8] {
        &mut self.buffers[slot * self.slot_len..][..self.slot_len]
    }

    /// What the kernel says of the datagram in `slot`.
    #[inline]
    pub fn meta(&self, slot: usize) -> ReceiveMeta {
        let received = self.received(slot);
        ReceiveMeta {
            source: self.names[slot].address(),
            destination: received.destination,
            interface: received.interface,
            ttl: received.ttl,
            dscp_ecn: received.dscp_ecn,
            stamps: received.stamps,
            drops: received.drops,
            truncated: self.headers[slot].msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    /// Where the packet in `slot` of a packet socket came from.
    pub fn link_address(&self, slot: usize) -> Option<LinkAddress> {
        self.names[slot].link_address()
    }

    /// All control messages beside the datagram in `slot`.
    #[inline]
    pub fn received(&self, slot: usize) -> Received {
        let len = self.headers[slot].msg_hdr.msg_controllen.min(RECEIVE_ROOM);
        Received::parse(&self.controls[slot].0[..len])
    }

    /// The reply to the datagram in `slot` goes there instead of to where that came from.
    pub fn redirect(&mut self, slot: usize, destination: &SocketAddr) {
        self.names[slot] = SocketName::new(destination);
    }

    /// Hands the first `len` octets of a reply to the kernel, with its control messages, and holds them there
    /// (`MSG_MORE`): route, buffer and headers are made, and [`Self::finish`] has little left to do. On failure nothing is
    /// held.
    pub fn begin(&mut self, socket: RawFd, reply: &Reply, len: usize) -> io::Result<()> {
        self.send_part(socket, reply, 0..len, libc::MSG_MORE)
    }

    /// Sends what [`Self::begin`] held with the rest of the reply, as one datagram. On failure the kernel drops it whole.
    pub fn finish(&mut self, socket: RawFd, reply: &Reply, begun: usize) -> io::Result<()> {
        self.send_part(socket, &Reply { control: SendControl::new(), ..*reply }, begun..reply.len, 0)
    }

    fn send_part(&mut self, socket: RawFd, reply: &Reply, part: Range<usize>, flags: i32) -> io::Result<()> {
        let buffer = &mut self.buffers[reply.slot * self.slot_len..][..self.slot_len];
        let octets = buffer.get_mut(part).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        self.reply_slices[0] = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
        let header = &mut self.reply_headers[0].msg_hdr;
        header.msg_name = self.names[reply.slot].as_mut_ptr();
        header.msg_namelen = self.names[reply.slot].len();
        header.msg_iov = &raw mut self.reply_slices[0];
        header.msg_iovlen = 1;
        (header.msg_control, header.msg_controllen) = control_pointer(&reply.control);
        header.msg_flags = 0;
        // SAFETY: the header was set just above to a name and a buffer of this batch, and a control that is borrowed for
        // the length of the call.
        let sent = unsafe { libc::sendmsg(socket, header, flags | libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends `replies` (at most as many as there are slots) from the batch's buffers to their requests' sources. Returns how many went
    /// out before the first that failed; `Err` if the first one failed.
    pub fn reply(&mut self, socket: RawFd, replies: &mut [Reply]) -> io::Result<usize> {
        let count = replies.len().min(self.headers.len());
        for (at, reply) in replies[..count].iter_mut().enumerate() {
            let len = reply.len.min(self.slot_len);
            self.reply_slices[at] =
                libc::iovec { iov_base: self.buffers[reply.slot * self.slot_len..].as_mut_ptr().cast(), iov_len: len };
            let header = &mut self.reply_headers[at].msg_hdr;
            header.msg_name = self.names[reply.slot].as_mut_ptr();
            header.msg_namelen = self.names[reply.slot].len();
            header.msg_iov = &raw mut self.reply_slices[at];
            header.msg_iovlen = 1;
            (header.msg_control, header.msg_controllen) = control_pointer(&reply.control);
            header.msg_flags = 0;
        }
        // SAFETY: `count` headers were set just above to names and buffers of this batch and controls of `replies`,
        // which is borrowed for the length of the call.
        let sent = unsafe { libc::sendmmsg(socket, self.reply_headers.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}

/// The kernel only reads control messages on send, though `msghdr` has no const pointer.
fn control_pointer(control: &SendControl) -> (*mut libc::c_void, usize) {
    let octets = control.octets();
    if octets.is_empty() { (null_mut(), 0) } else { (octets.as_ptr().cast_mut().cast(), octets.len()) }
}

/// One datagram to be sent.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// UDP payload.
    pub octets: &'a [u8],
    /// Destination; `None` on a connected socket.
    pub destination: Option<&'a SocketName>,
    /// Control messages.
    pub control: Option<&'a SendControl>,
}

/// Headers for sending a batch of datagrams.
pub struct SendBatch {
    slices: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: as for ReceiveBatch.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Room for `slots` datagrams in one call.
    pub fn new(slots: usize) -> Self {
        Self { slices: vec![empty_slice(); slots], headers: vec![empty_header(); slots] }
    }

    /// Sends at most `slots` datagrams without waiting. Returns how many went out before the first that failed; `Err`
    /// if the first one failed.
    pub fn send(&mut self, socket: RawFd, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        let count = datagrams.len().min(self.headers.len());
        for (at, datagram) in datagrams[..count].iter().enumerate() {
            self.slices[at] =
                libc::iovec { iov_base: datagram.octets.as_ptr().cast_mut().cast(), iov_len: datagram.octets.len() };
            let header = &mut self.headers[at].msg_hdr;
            (header.msg_name, header.msg_namelen) =
                datagram.destination.map_or((null_mut(), 0), |name| (name.as_ptr().cast_mut().cast(), name.len()));
            header.msg_iov = &raw mut self.slices[at];
            header.msg_iovlen = 1;
            (header.msg_control, header.msg_controllen) = datagram.control.map_or((null_mut(), 0), control_pointer);
            header.msg_flags = 0;
        }
        // SAFETY: `count` headers were set just above to memory that `datagrams` borrows for the length of the call;
        // sendmmsg writes only `msg_len` of our own headers.
        let sent = unsafe { libc::sendmmsg(socket, self.headers.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::sys::{ErrorQueue, Events, Poll, QueueEntry, SocketRequest, SystemClock, TimestampMode, UdpSocket};

    fn open(local: &str, peer: Option<SocketAddr>) -> UdpSocket {
        UdpSocket::open(&SocketRequest {
            local: local.parse().unwrap(),
            peer,
            interface: None,
            reuse_port: false,
            ttl: 255,
            dscp_ecn: 0,
            receive_buffer: 1 << 16,
            timestamps: TimestampMode::Kernel,
            stamp_all: false,
            packet_info: false,
            routing_header: Vec::new(),
        })
        .unwrap()
    }

    fn receive(batch: &mut ReceiveBatch, socket: &UdpSocket) -> usize {
        let mut poll = Poll::new().unwrap();
        poll.add(socket.fd(), 0).unwrap();
        let now = SystemClock.monotonic();
        poll.wait(&mut Events::new(1), Some(now + 5_000_000_000), now).unwrap();
        batch.receive(socket.fd(), 0).unwrap()
    }

    #[test]
    fn a_reply_in_two_parts_is_one_datagram_with_one_stamp() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let far = open(local, None);
            let near = open(local, Some(far.local()));
            let mut batch = ReceiveBatch::new(2, 64);
            for id in 0..3 {
                let request = Outgoing { octets: b"0123456789", destination: None, control: None };
                SendBatch::new(1).send(near.fd(), &[request]).unwrap();
                assert_eq!(receive(&mut batch, &far), 1);
                let mut control = SendControl::new();
                control.transmit_stamp(false);
                let reply = Reply { slot: 0, len: 10, control };
                batch.begin(far.fd(), &reply, 4).unwrap();
                // Written between the parts, as T3 is.
                batch.room(0)[4] = b'T';
                batch.finish(far.fd(), &reply, 4).unwrap();
                let mut answer = ReceiveBatch::new(2, 64);
                assert_eq!(receive(&mut answer, &near), 1);
                assert_eq!(answer.octets(0), b"0123T56789");
                let mut ids = Vec::new();
                let take = |entry| {
                    if let QueueEntry::TransmitStamp { id, .. } = entry {
                        ids.push(id);
                    }
                };
                ErrorQueue::new(4).read(far.fd(), take).unwrap();
                assert_eq!(ids, [id]);
            }
        }
    }
}
