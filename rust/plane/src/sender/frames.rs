//! Test packets as whole frames: for paths that the kernel does not take (SR-MPLS), and for single members of a LAG.
//!
//! The frames leave by a packet socket, with the addresses and ports of the session's UDP socket, so that replies reach that
//! one. Who the next hop is comes from [`next_hop`](crate::next_hop), whose thread follows the routing tables: here one
//! atomic number is read before a batch.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use twoway_wire::frame::LONGEST_HEADER;
use twoway_wire::{FrameHeader, FrameSpec};

use super::worker::BATCH;
use crate::error::PlaneError;
use crate::next_hop::{Hop, Missing, NextHops, Target, Watch};
use crate::path::FramePath;
use crate::sys::{Outgoing, PacketSocket, SendBatch, SocketName, SocketRequest};

/// Makes and sends the frames of one session.
#[derive(Debug)]
pub(super) struct Frames {
    socket: PacketSocket,
    header: FrameHeader,
    watch: Watch,
    /// Number of the next hop's state that `to` is made of.
    seen: u32,
    /// Where frames go now, or why they cannot.
    to: Result<SocketName, i32>,
    /// `BATCH` frames, each of `stride` octets at most.
    room: Vec<u8>,
    stride: usize,
}

impl Frames {
    /// Opens the packet socket and finds the next hop. To be called in the session's namespace, with the addresses that its
    /// UDP socket got.
    pub(super) fn open(
        request: &SocketRequest,
        (source, destination): (SocketAddr, SocketAddr),
        path: &FramePath,
        longest_payload: usize,
        (next_hops, patience): (&NextHops, Duration),
    ) -> Result<Self, PlaneError> {
        let socket = PacketSocket::open(request.timestamps)?;
        let target = Target {
            destination: destination.ip(),
            source: Some(source.ip()),
            gateway: path.gateway,
            interface: path.interface.clone().or_else(|| request.interface.clone()),
        };
        let spec = FrameSpec {
            source_mac: [0; 6],
            destination_mac: [0; 6],
            labels: &path.labels,
            source,
            destination,
            dscp_ecn: request.dscp_ecn,
            ttl: request.ttl,
        };
        let header = FrameHeader::new(&spec)
            .map_err(|error| PlaneError::refused("make frames", destination, error.to_string()))?;
        let watch = next_hops.watch(&mut next_hops.asker()?, target, patience)?;
        let stride = LONGEST_HEADER + longest_payload;
        let room = vec![0; BATCH * stride];
        Ok(Self { socket, header, watch, seen: 0, to: Err(libc::EHOSTUNREACH), room, stride })
    }

    /// The packet socket, on whose error queue the departures' stamps come back.
    pub(super) fn fd(&self) -> i32 {
        self.socket.fd()
    }

    /// As [`SendBatch::send`], for the payloads in `datagrams`.
    pub(super) fn send(&mut self, batch: &mut SendBatch, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        if self.watch.published().changed(self.seen)
            && let Some((seen, state)) = self.watch.published().try_take()
        {
            self.seen = seen;
            self.turn_to(&state);
        }
        let to = self.to.as_ref().map_err(|errno| io::Error::from_raw_os_error(*errno))?;
        let mut frames = [Outgoing { octets: &[], destination: Some(to), control: None }; BATCH];
        let mut made = 0;
        for (room, datagram) in self.room.chunks_exact_mut(self.stride).zip(datagrams) {
            let len =
                self.header.write(datagram.octets, room).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
            frames[made].octets = &room[..len];
            made += 1;
        }
        batch.send(self.socket.fd(), &frames[..made])
    }

    fn turn_to(&mut self, state: &Result<Hop, Missing>) {
        self.to = match state {
            Ok(hop) => {
                self.header.redirect(hop.source_mac, hop.mac);
                Ok(SocketName::link(hop.interface, self.header.ether_type(), hop.mac))
            }
            Err(missing) => Err(missing.errno()),
        };
    }
}
