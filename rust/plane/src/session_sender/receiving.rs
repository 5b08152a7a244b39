//! Datagrams from the Session-Reflector: whether each is a reply to this session, and what it tells.

use twoway_wire::{RawTimestamp, ReflectorPacket, WallNanos, WireError};

use super::extensions::{ReadTlvs, ReplyFacts};
use super::{SessionSender, State};
use crate::ledger::{Reply, ReplyVerdict};
use crate::sample::TimestampSource;
use crate::summary::Counter;
use crate::sys::ReceiveMeta;

impl SessionSender {
    /// A datagram came in on the session's socket, whose peer is the Session-Reflector.
    pub fn receive(&mut self, octets: &mut [u8], meta: &ReceiveMeta, now_ns: i64, wall: WallNanos) {
        if let Some(drops) = meta.drops {
            let fresh = drops.wrapping_sub(self.drops_seen.replace(drops).unwrap_or(0));
            self.ledger.add(Counter::SocketDrops, fresh.into());
            if fresh > 0
                && let Some(watch) = &mut self.samples.watch
            {
                watch.restart();
            }
        }
        if let Some(watch) = &mut self.samples.watch {
            watch.at(now_ns);
        }
        if self.state == State::Waiting {
            return;
        }
        if self.spec.one_way {
            // Nobody has anything to say to a one-way Session-Sender.
            return self.ledger.add(Counter::RejectedMismatch, 1);
        }
        let (t4, t4_source) = self.select(&meta.stamps).unwrap_or((wall, TimestampSource::User));
        let packet =
            match ReflectorPacket::parse(self.spec.format, &self.spec.keys, octets, self.spec.dscp_ecn_monitoring) {
                Ok(packet) => packet,
                Err(WireError::TooShort { .. }) => return self.ledger.add(Counter::RejectedShort, 1),
                Err(_) => return self.ledger.add(Counter::RejectedHmac, 1),
            };
        // A zero SSID is that of a reflector which knows no SSIDs (RFC 8972 section 3); another one is another session's.
        if packet.ssid != self.spec.ssid && packet.ssid != 0 {
            return self.ledger.add(Counter::RejectedMismatch, 1);
        }
        let far = packet.error_estimate;
        let decode = |raw: RawTimestamp| (raw.0 != 0).then(|| raw.decode(far.format(), t4).ok()).flatten();
        let facts =
            ReplyFacts { sequence: packet.sequence, format: far.format(), t4, returned_dscp_ecn: meta.dscp_ecn };
        let chain = octets.get(self.spec.format.reflector_len()..).filter(|_| self.spec.format.is_stamp());
        let read = chain.map_or(ReadTlvs::default(), |chain| self.spec.tlvs.read(chain, &facts));
        if self.unanswered {
            // It asks for no reply, and gets one from who does not do that for it.
            let refused = read.tlvs.return_path_refused;
            return self.ledger.add(if refused { Counter::ReturnPathRefused } else { Counter::RejectedMismatch }, 1);
        }
        if meta.strayed || !self.spec.tlvs.came_by_its_link(read.micro_session) {
            return self.ledger.add(Counter::RejectedMicroSession, 1);
        }
        let reply = Reply {
            sender_sequence: packet.sender_sequence,
            reflector_sequence: packet.sequence,
            sender_timestamp: packet.sender_timestamp,
            t2: decode(packet.receive_timestamp),
            t3: decode(packet.timestamp),
            t4,
            t4_source,
            far_synchronized: far.synchronized(),
            far_error_ns: far.error_ns(),
            far_error_estimate_invalid: far.multiplier() == 0,
            sender_ttl: packet.sender_ttl,
            returned_ttl: meta.ttl,
            far_dscp_ecn: packet.sender_dscp_ecn.or(read.far_dscp_ecn),
            returned_dscp_ecn: meta.dscp_ecn,
            ssid_zero: self.spec.ssid != 0 && packet.ssid == 0,
            tlvs: read.tlvs,
        };
        let (ledger, sink) = self.split();
        let verdict = ledger.reply(&reply, now_ns, sink);
        if matches!(verdict, ReplyVerdict::Received | ReplyVerdict::Late) {
            self.note_extensions(&read);
        }
        if self.spec.require_ssid && reply.ssid_zero {
            self.stop(now_ns);
        }
        let Self { spec, ledger, .. } = self;
        let header = spec.format.reflector_len_with(spec.dscp_ecn_monitoring);
        if spec.padding.reflected > 0
            && matches!(verdict, ReplyVerdict::Received | ReplyVerdict::Late)
            && !spec.padding.came_back(spec.seed, reply.sender_sequence, octets.get(header..).unwrap_or_default())
        {
            ledger.add(Counter::PaddingChanged, 1);
        }
        if self.schedule.next().is_none() {
            // The last reply ends the session at once.
            self.expire(now_ns);
        }
    }

    /// What the TLVs of the first reply to one of our packets change here.
    fn note_extensions(&mut self, read: &ReadTlvs) {
        if let Some(id) = read.micro_session {
            self.spec.tlvs.know_micro_session(id);
        }
        if read.access.is_some_and(|report| self.spec.tlvs.access_acknowledged(report)) {
            self.ledger.add(Counter::AccessReportsAcknowledged, 1);
        }
    }
}
