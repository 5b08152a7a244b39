//! What the TLVs of replies say (RFC 8972 section 4), as far as it goes into the books.

use twoway_wire::WallNanos;
use twoway_wire::tlv::{DirectMeasurement, Location, TimestampInformation};

use crate::summary::{Counter, Summary};

/// When an earlier reply left, by the far end's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowedUp {
    /// Number that the Session-Reflector gave to that reply.
    pub sequence: u32,
    /// When it left.
    pub left: WallNanos,
}

/// What became of a request for Follow-Up Telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FollowUp {
    /// None was made, or it is not honoured.
    #[default]
    None,
    /// It is honoured, but there is nothing to tell: the first reply has none before it.
    Nothing,
    /// It is honoured.
    Told(FollowedUp),
}

/// DSCPs by which remarking is recognised: what was sent, and what was asked for the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyClass {
    /// What the packet was sent with.
    pub sent_dscp: u8,
    /// What it arrived with at the far end.
    pub received_dscp: u8,
    /// What the reply was to bear.
    pub wanted_dscp: u8,
    /// What it bears on arrival here, where that is known.
    pub returned_dscp: Option<u8>,
    /// The far end's policy did not permit it.
    pub refused: bool,
}

/// What the TLVs of one reply say: those that this end asked for, that the far end honoured and that are authentic where
/// they have to be.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent findings about one datagram, each counted by itself")]
pub struct ReplyTlvs {
    /// A TLV came back with the U flag.
    pub unrecognized: bool,
    /// A TLV came back with the M flag, or the TLVs cannot be parsed.
    pub malformed: bool,
    /// A TLV came back with the I flag, or their HMAC is wrong here: nothing of them is used.
    pub integrity_failed: bool,
    /// What the far end sees of the last hop.
    pub location: Option<Location>,
    /// How it obtained T2 and T3.
    pub timestamps: Option<TimestampInformation>,
    /// Class of Service.
    pub class: Option<ReplyClass>,
    /// Counters of the packets whose loss is measured.
    pub direct: Option<DirectMeasurement>,
    /// When an earlier reply left.
    pub follow_up: FollowUp,
    /// The Return Path was not taken.
    pub return_path_refused: bool,
    /// The packet reached another node than the one it was meant for.
    pub other_node: bool,
    /// Further replies that the far end sends for this packet, beside this one.
    pub further: u16,
    /// Replies were not to be as they were asked for.
    pub control_refused: bool,
    /// Headers of the packet that came back, as they arrived.
    pub headers_reflected: u8,
    /// Headers that the far end could not give.
    pub headers_refused: u8,
}

/// What the TLVs of one reply say of the path, for who acts on it at once. The ways are forward and backward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether the packet, and its reply, came with another DSCP than they were sent with (Class of Service).
    pub remarked: [Option<bool>; 2],
    /// What was sent and did not arrive since the reply before that told, and what was sent (Direct Measurement). Less
    /// than none where a reply overtook another.
    pub direct: [Option<(i64, i64)>; 2],
}

/// What is kept of one session's TLVs from reply to reply.
#[derive(Clone, Debug, Default)]
pub(super) struct FarEnd {
    location: Option<Location>,
    direct: Option<Direct>,
    /// Replies received, of which Direct Measurement needs the difference.
    replies: u32,
}

/// Counters of both ends at one moment.
#[derive(Clone, Copy, Debug)]
struct Direct {
    told: DirectMeasurement,
    replies: u32,
}

/// Counters that differ by more than this have begun anew.
const DIRECT_MAX: u32 = 1 << 31;

impl FarEnd {
    /// Notes what the TLVs of a first reply say, at wall time `at_ns`. Returns what of it is about the path.
    pub(super) fn note(&mut self, tlvs: &ReplyTlvs, at_ns: i64, summary: &mut Summary) -> Told {
        let mut told = Told::default();
        self.replies = self.replies.wrapping_add(1);
        for (counter, n) in [
            (Counter::TlvUnrecognized, tlvs.unrecognized.into()),
            (Counter::TlvMalformed, tlvs.malformed.into()),
            (Counter::TlvIntegrityFailed, tlvs.integrity_failed.into()),
            (Counter::ReturnPathRefused, tlvs.return_path_refused.into()),
            (Counter::OtherNode, tlvs.other_node.into()),
            (Counter::FurtherExpected, tlvs.further.into()),
            (Counter::ControlRefused, tlvs.control_refused.into()),
            (Counter::HeadersReflected, tlvs.headers_reflected.into()),
            (Counter::HeadersRefused, tlvs.headers_refused.into()),
        ] {
            summary.add(counter, n);
        }
        if let Some(location) = tlvs.location {
            let changed = self.location.replace(location).is_some_and(|before| before != location);
            summary.add(Counter::LocationChanges, changed.into());
            summary.note_location(at_ns, location);
        }
        if let Some(timestamps) = tlvs.timestamps {
            summary.note_timestamp_information(at_ns, timestamps);
        }
        if let Some(class) = tlvs.class {
            let back = class.returned_dscp.filter(|_| !class.refused).map(|returned| returned != class.wanted_dscp);
            told.remarked = [Some(class.received_dscp != class.sent_dscp), back];
            for (counter, remarked) in
                [Counter::RemarkedForward, Counter::RemarkedBackward].into_iter().zip(told.remarked)
            {
                summary.add(counter, u64::from(remarked == Some(true)));
            }
            summary.add(Counter::DscpRefused, class.refused.into());
        }
        if let Some(direct) = tlvs.direct {
            told.direct = self.measure(direct, summary);
        }
        told
    }

    /// A reply that is not the first one, but a packet that the far end sent nevertheless.
    pub(super) fn note_further(&mut self) {
        self.replies = self.replies.wrapping_add(1);
    }

    /// RFC 8972 section 4.5: what both ends counted since the last reply that told. A reply that was overtaken tells nothing
    /// new, and is in the next difference.
    fn measure(&mut self, told: DirectMeasurement, summary: &mut Summary) -> [Option<(i64, i64)>; 2] {
        let now = Direct { told, replies: self.replies };
        let Some(before) = self.direct else {
            self.direct = Some(now);
            return [None; 2];
        };
        let since = |now: u32, before: u32| now.wrapping_sub(before);
        let reflected = since(told.reflector_sent, before.told.reflector_sent);
        let sent = since(told.sender_sent, before.told.sender_sent);
        let received = since(told.reflector_received, before.told.reflector_received);
        if sent > DIRECT_MAX {
            return [None; 2];
        }
        self.direct = Some(now);
        if reflected > DIRECT_MAX || received > DIRECT_MAX {
            // The far end has begun anew: from here on its counters can be compared again.
            return [None; 2];
        }
        let returned = since(now.replies, before.replies);
        for (counter, n) in [
            (Counter::DirectSent, sent),
            (Counter::DirectReceived, received),
            (Counter::DirectReflected, reflected),
            (Counter::DirectReturned, returned),
        ] {
            summary.add(counter, n.into());
        }
        [(sent, received), (reflected, returned)]
            .map(|(left, arrived)| Some((i64::from(left) - i64::from(arrived), i64::from(left))))
    }
}
