//! The socket's error queue: transmit stamps and ICMP errors.
//!
//! A datagram sent with `SOF_TIMESTAMPING_TX_*` comes back here as an entry without payload (`OPT_TSONLY`) that names
//! it by its number on the socket (`OPT_ID`: 0 for the first datagram after the option was set, counting only datagrams
//! that asked for a stamp when asked per message). With `IP_RECVERR` ICMP errors queue here too.

use std::io;
use std::os::fd::RawFd;

use super::batch::ReceiveBatch;
use super::control::Stamps;

/// One entry of an error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueEntry {
    /// A transmit stamp of datagram `id`.
    TransmitStamp {
        /// The datagram's number on its socket.
        id: u32,
        /// When it left.
        stamps: Stamps,
    },
    /// An ICMP error about a datagram we sent.
    Icmp {
        /// The errno that Linux makes of it.
        errno: i32,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// A local error (for instance a datagram larger than the MTU).
    Local {
        /// What failed.
        errno: i32,
    },
}

/// Reads error queues. One serves any number of sockets.
pub struct ErrorQueue {
    batch: ReceiveBatch,
}

impl ErrorQueue {
    /// Takes at most `slots` entries a call.
    pub fn new(slots: usize) -> Self {
        // OPT_TSONLY entries have no payload; ICMP errors quote the datagram, whose octets we do not need.
        Self { batch: ReceiveBatch::new(slots, 64) }
    }

    /// Hands the queued entries of `socket` to `take`; returns how many there were, at most the slots of one call.
    pub fn read(&mut self, socket: RawFd, mut take: impl FnMut(QueueEntry)) -> io::Result<usize> {
        let count = self.batch.receive(socket, libc::MSG_ERRQUEUE)?;
        for slot in 0..count {
            let received = self.batch.received(slot);
            let Some(error) = received.error else { continue };
            take(match error.origin {
                libc::SO_EE_ORIGIN_TIMESTAMPING => {
                    QueueEntry::TransmitStamp { id: error.data, stamps: received.stamps }
                }
                libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => {
                    QueueEntry::Icmp { errno: error.errno as i32, kind: error.kind, code: error.code }
                }
                _ => QueueEntry::Local { errno: error.errno as i32 },
            });
        }
        Ok(count)
    }

    /// Whether the last call may have left entries behind.
    pub fn filled(&self) -> bool {
        self.batch.filled()
    }
}
