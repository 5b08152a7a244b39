//! Class of Service (RFC 8972 section 4.4, with erratum 8199): which DSCP and ECN arrived, and which the reply is to bear.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   DSCP1   |   DSCP2   |ECN| RP|EC1|RPE|       Reserved        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! EC1 and RPE are reserved in RFC 8972; draft-ietf-ippm-stamp-cos-ecn gives them their meaning.

/// Octets of the Value.
pub const LEN: usize = 4;

/// What the RPE field says (draft-ietf-ippm-stamp-cos-ecn section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyEcn(pub u8);

impl ReplyEcn {
    /// Nothing: the field is not used.
    pub const UNUSED: Self = Self(0b00);
    /// The reply could not bear EC1, and bears Not-ECT.
    pub const NOT_APPLIED: Self = Self(0b10);
    /// The reply bears EC1.
    pub const APPLIED: Self = Self(0b11);
}

/// The Value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassOfService {
    /// DSCP1: what the reply is to bear.
    pub wanted_dscp: u8,
    /// DSCP2: what the request arrived with.
    pub received_dscp: u8,
    /// ECN: what the request arrived with.
    pub received_ecn: u8,
    /// RP: 1 if the reply does not bear DSCP1 but what arrived.
    pub reverse_path: u8,
    /// EC1: ECN that the reply is to bear; 0 by RFC 8972.
    pub wanted_ecn: u8,
    /// RPE: what became of EC1.
    pub reply_ecn: ReplyEcn,
}

impl ClassOfService {
    /// Reads a Value; `None` if its Length is wrong.
    #[inline]
    pub const fn parse(value: &[u8]) -> Option<Self> {
        let [a, b, c, _] = *value else { return None };
        Some(Self {
            wanted_dscp: a >> 2,
            received_dscp: (a & 0b11) << 4 | b >> 4,
            received_ecn: b >> 2 & 0b11,
            reverse_path: b & 0b11,
            wanted_ecn: c >> 6,
            reply_ecn: ReplyEcn(c >> 4 & 0b11),
        })
    }

    /// Writes a Value of the right Length, reserved bits zero. Fields are cut to their width.
    #[inline]
    pub fn write(self, value: &mut [u8]) {
        if let Some(value) = value.first_chunk_mut::<LEN>() {
            *value = [
                self.wanted_dscp << 2 | self.received_dscp >> 4 & 0b11,
                self.received_dscp << 4 | (self.received_ecn & 0b11) << 2 | self.reverse_path & 0b11,
                self.wanted_ecn << 6 | (self.reply_ecn.0 & 0b11) << 4,
                0,
            ];
        }
    }

    /// The traffic class octet that the request arrived with.
    pub const fn received_dscp_ecn(self) -> u8 {
        self.received_dscp << 2 | self.received_ecn
    }
}
