//! One row of per-packet results, and who takes it.
//!
//! The fields are the columns of `SampleBatch` in the Python stub; the codes of `status`, `flags` and the timestamp
//! sources are listed by name for `catalogue()`, so that Python never repeats a number.

use crate::ledger::Told;

/// A nanosecond column's value where the truth cannot be known.
pub const MISSING: i64 = i64::MIN;
/// The value of a 32-bit column where the truth cannot be known (TTL, DSCP/ECN, reflector sequence of a lost packet).
pub const UNKNOWN: u32 = u32::MAX;

/// An enumeration whose variants are numbered from 0 and named for Python, from one list.
macro_rules! named {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// All variants in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// The name of each variant, at the index of its code.
            pub const NAMES: &[&str] = &[$($text),+];

            /// The name that Python and the reports use.
            pub const fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }

            /// The variant of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::NAMES.iter().position(|known| *known == name).map(|code| Self::ALL[code])
            }
        }
    };
}
pub(crate) use named;

named! {
    /// What became of a packet, or what kind of reply a row stands for.
    pub enum SampleStatus {
        /// The first reply came within the timeout.
        Received = "received",
        /// The first reply came after the timeout and before the packet was given up.
        Late = "late",
        /// Lost before the Session-Reflector answered it.
        LostForward = "lost_forward",
        /// Answered by the Session-Reflector, and the answer lost.
        LostBackward = "lost_backward",
        /// Lost, and nothing says where.
        LostUnattributed = "lost_unattributed",
        /// Another reply to a packet that reached the Session-Reflector more than once.
        DuplicateForward = "duplicate_forward",
        /// Another copy of a reply that the Session-Reflector sent once.
        DuplicateBackward = "duplicate_backward",
        /// Another reply, and nothing says which way it was copied.
        DuplicateUnattributed = "duplicate_unattributed",
        /// Scheduled, but never left us.
        NotSent = "not_sent",
        /// Still awaited when the test-session was aborted.
        Pending = "pending",
        /// One of the further replies that were asked for (RFC 10052).
        FurtherReply = "further_reply",
    }
}

named! {
    /// Bits of [`Sample::flags`]: the variant's code is the number of its bit.
    pub enum SampleFlag {
        /// The local clock stepped while the packet was under way: one-way values are left out, the round trip is
        /// corrected by the step.
        ClockStep = "clock_step",
        /// Reordered on the round trip (RFC 4737 section 3.3).
        Reordered = "reordered",
        /// T1 is of a lesser source than was asked for.
        T1FellBack = "t1_fell_back",
        /// T4 is of a lesser source than was asked for.
        T4FellBack = "t4_fell_back",
        /// The Session-Reflector says that its clock is not synchronized (S = 0).
        FarUnsynchronized = "far_unsynchronized",
        /// The Session-Reflector's Error Estimate breaks its own rules (Multiplier 0).
        FarErrorEstimateInvalid = "far_error_estimate_invalid",
        /// The reply's SSID is zero though ours was not (RFC 8972 section 3).
        SsidZero = "ssid_zero",
        /// T2 or T3 is absent, or they contradict each other or our own stamps.
        FarTimestampsUnusable = "far_timestamps_unusable",
    }
}

impl SampleFlag {
    /// The flag as a bit mask.
    pub const fn mask(self) -> u8 {
        1 << self as u8
    }
}

named! {
    /// Where a timestamp was taken. A greater code is closer to the wire.
    pub enum TimestampSource {
        /// There is no timestamp.
        None = "none",
        /// By this process.
        User = "user",
        /// By the kernel, beside the driver.
        Kernel = "kernel",
        /// By the network interface.
        Hardware = "hardware",
    }
}

named! {
    /// Where T3 comes from.
    pub enum DepartureSource {
        /// There is no T3.
        None = "none",
        /// The reply itself, which was written before it left.
        Reply = "reply",
        /// A later reply: the Session-Reflector's own transmit stamp (Follow-Up Telemetry, RFC 8972 section 4.7).
        FollowUp = "follow_up",
    }
}

/// One row: a packet whose fate is known, or a duplicate. Wall times count from the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Session-Sender sequence number.
    pub sequence: u32,
    /// What the row stands for.
    pub status: SampleStatus,
    /// Bits of [`SampleFlag`].
    pub flags: u8,
    /// Departure at the Session-Sender, or [`MISSING`].
    pub t1_ns: i64,
    /// Arrival at the Session-Reflector, or [`MISSING`].
    pub t2_ns: i64,
    /// Departure at the Session-Reflector, or [`MISSING`].
    pub t3_ns: i64,
    /// Arrival at the Session-Sender, or [`MISSING`].
    pub t4_ns: i64,
    /// (T4 - T1) - (T3 - T2), or [`MISSING`].
    pub round_trip_ns: i64,
    /// T2 - T1, or [`MISSING`].
    pub forward_ns: i64,
    /// T4 - T3, or [`MISSING`].
    pub backward_ns: i64,
    /// T3 - T2, or [`MISSING`].
    pub residence_ns: i64,
    /// Departure after the scheduled moment. Of a packet that was not sent: how late it was when it was given up, or
    /// [`MISSING`] if the kernel refused it. [`MISSING`] for duplicates, too.
    pub send_lateness_ns: i64,
    /// Sequence number that the Session-Reflector put in its reply, or [`UNKNOWN`].
    pub reflector_sequence: u32,
    /// Where T1 was taken.
    pub t1_source: TimestampSource,
    /// Where T3 comes from.
    pub t3_source: DepartureSource,
    /// Where T4 was taken.
    pub t4_source: TimestampSource,
    /// TTL that the far end saw on our packet, or [`UNKNOWN`].
    pub sender_ttl: u32,
    /// TTL that we saw on the reply, or [`UNKNOWN`].
    pub returned_ttl: u32,
    /// Traffic class octet that the far end saw, or [`UNKNOWN`].
    pub far_dscp_ecn: u32,
    /// Traffic class octet that we saw on the reply, or [`UNKNOWN`].
    pub returned_dscp_ecn: u32,
    /// Steps of the local clock so far, modulo 256: one-way values of different scales must not be compared. No column.
    pub clock_scale: u8,
    /// Both clocks are synchronised and say how wrong they may be: one-way delays are the network's, within that. No
    /// column.
    pub clocks: bool,
}

impl Sample {
    /// A row of which nothing is known but its packet and what it stands for.
    pub const fn bare(sequence: u32, status: SampleStatus) -> Self {
        Self {
            sequence,
            status,
            flags: 0,
            t1_ns: MISSING,
            t2_ns: MISSING,
            t3_ns: MISSING,
            t4_ns: MISSING,
            round_trip_ns: MISSING,
            forward_ns: MISSING,
            backward_ns: MISSING,
            residence_ns: MISSING,
            send_lateness_ns: MISSING,
            reflector_sequence: UNKNOWN,
            t1_source: TimestampSource::None,
            t3_source: DepartureSource::None,
            t4_source: TimestampSource::None,
            sender_ttl: UNKNOWN,
            returned_ttl: UNKNOWN,
            far_dscp_ecn: UNKNOWN,
            returned_dscp_ecn: UNKNOWN,
            clock_scale: 0,
            clocks: false,
        }
    }

    /// Whether the row carries that flag.
    pub const fn has(&self, flag: SampleFlag) -> bool {
        self.flags & flag.mask() != 0
    }

    /// Give the row that flag if `when` holds.
    pub const fn flag(&mut self, flag: SampleFlag, when: bool) {
        if when {
            self.flags |= flag.mask();
        }
    }
}

/// Who takes the rows. Called on the path of a packet: must neither block nor fail; a sink that is full counts what it
/// drops.
pub trait SampleSink {
    /// Take one row.
    fn sample(&mut self, sample: &Sample);

    /// Take what the TLVs of the first reply to packet `sequence` say of the path: told before the row, which may wait.
    fn told(&mut self, sequence: u32, told: &Told) {
        let _ = (sequence, told);
    }
}

impl SampleSink for Vec<Sample> {
    fn sample(&mut self, sample: &Sample) {
        self.push(*sample);
    }
}

/// A sink for who wants no rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSamples;

impl SampleSink for NoSamples {
    fn sample(&mut self, _: &Sample) {}
}
