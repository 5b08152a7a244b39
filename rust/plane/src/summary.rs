//! Everything known about a span of a test-session, mergeable.
//!
//! Summaries of adjoining spans merge to what one summary of the joined span would have been, in any grouping. Each number
//! therefore is of one of these kinds: a count of something that happens once and is never taken back, a distribution, a
//! maximum, an "all of them" or a "latest". A packet counts in the span in which its fate became known, which may be
//! later than the one in which it was sent. The direction of a loss may become known later still: it then counts in that
//! span, and in the one in which the packet was given up counts the loss alone.

use std::collections::BTreeMap;

use twoway_wire::tlv::{Location, TimestampInformation};

use crate::distribution::Distribution;
use crate::sample::named;

named! {
    /// What is counted. Once a test-session is finished, sent = received + late + pending + lost, and lost is the sum of its
    /// directions; every reply datagram is exactly one of received, late, duplicates (any direction) and rejected (any
    /// reason).
    pub enum Counter {
        /// Test packets handed to the kernel.
        Sent = "sent",
        /// Scheduled packets that never left us, for any reason.
        NotSent = "not_sent",
        /// Of those: we came too late for their moment.
        MissedSlots = "missed_slots",
        /// Of those: the kernel refused them.
        SendErrors = "send_errors",
        /// Packets whose first reply came within the timeout.
        Received = "received",
        /// Packets whose first reply came after the timeout and before they were given up.
        Late = "late",
        /// Packets still awaited when the test-session was aborted.
        Pending = "pending",
        /// Packets lost before the Session-Reflector answered.
        LostForward = "lost_forward",
        /// Packets whose answer was lost.
        LostBackward = "lost_backward",
        /// Packets lost, nothing says where.
        LostUnattributed = "lost_unattributed",
        /// Further replies to packets that reached the Session-Reflector more than once.
        DuplicatesForward = "duplicates_forward",
        /// Further copies of one reply.
        DuplicatesBackward = "duplicates_backward",
        /// Further replies, nothing says which way they were copied.
        DuplicatesUnattributed = "duplicates_unattributed",
        /// Received packets that are reordered by our sequence number in order of arrival here.
        ReorderedRoundTrip = "reordered_round_trip",
        /// Received packets that are reordered by our sequence number in order of arrival at the Session-Reflector.
        ReorderedForward = "reordered_forward",
        /// Received packets whose replies are reordered by the Session-Reflector's number in order of arrival here.
        ReorderedBackward = "reordered_backward",
        /// Datagrams shorter than a reply.
        RejectedShort = "rejected_short",
        /// Replies that failed authentication.
        RejectedHmac = "rejected_hmac",
        /// Replies whose SSID or echoed T1 is not ours.
        RejectedMismatch = "rejected_mismatch",
        /// Replies to a sequence number that was not sent.
        RejectedUnknownSequence = "rejected_unknown_sequence",
        /// Replies to packets whose fate was final.
        RejectedExpired = "rejected_expired",
        /// ICMP errors that came back for test packets.
        IcmpErrors = "icmp_errors",
        /// First replies whose packet has a T1 of the network interface.
        T1Hardware = "t1_hardware",
        /// First replies whose packet has a T1 of the kernel.
        T1Kernel = "t1_kernel",
        /// First replies whose packet has a T1 of this process.
        T1User = "t1_user",
        /// First replies with a T4 of the network interface.
        T4Hardware = "t4_hardware",
        /// First replies with a T4 of the kernel.
        T4Kernel = "t4_kernel",
        /// First replies with a T4 of this process.
        T4User = "t4_user",
        /// Datagrams that the socket's receive buffer had no room for.
        SocketDrops = "socket_drops",
        /// Rows that the sample buffer had no room for.
        SamplesDropped = "samples_dropped",
        /// Steps of the local clock.
        ClockSteps = "clock_steps",
        /// First replies that were under way while the local clock stepped.
        ClockStepAffected = "clock_step_affected",
        /// First replies that say the far clock is not synchronized.
        FarUnsynchronized = "far_unsynchronized",
        /// First replies with an Error Estimate that breaks its own rules.
        FarErrorEstimateInvalid = "far_error_estimate_invalid",
        /// First replies whose SSID is zero though ours was not.
        SsidZero = "ssid_zero",
        /// First replies with a TLV that the far end does not know.
        TlvUnrecognized = "tlv_unrecognized",
        /// First replies with TLVs that are malformed.
        TlvMalformed = "tlv_malformed",
        /// First replies without the padding that had to be reflected (RFC 6038 section 4.2).
        PaddingChanged = "padding_changed",
        /// First replies whose T2 and T3 cannot be used.
        FarTimestampsUnusable = "far_timestamps_unusable",
        /// First replies whose TLVs failed the integrity check, at either end.
        TlvIntegrityFailed = "tlv_integrity_failed",
        /// Replies whose Micro-session ID is not that of their member link.
        RejectedMicroSession = "rejected_micro_session",
        /// First replies of which a later one told when they left.
        FollowedUp = "followed_up",
        /// First replies of which no later one told it, though that was promised.
        NotFollowedUp = "not_followed_up",
        /// Packets that the far end says to have counted as sent by us, from the first reply that told to the last.
        DirectSent = "direct_sent",
        /// Of those, packets that it counted as received.
        DirectReceived = "direct_received",
        /// Packets that it counted as sent to us in the same time.
        DirectReflected = "direct_reflected",
        /// Of those, packets received here.
        DirectReturned = "direct_returned",
        /// First replies that say that the packet came with another DSCP than it was sent with.
        RemarkedForward = "remarked_forward",
        /// First replies that came with another DSCP than the far end sent them with.
        RemarkedBackward = "remarked_backward",
        /// First replies whose DSCP the far end did not let us choose.
        DscpRefused = "dscp_refused",
        /// First replies whose Location is another than that of the reply before.
        LocationChanges = "location_changes",
        /// First replies that did not take the return path that they should.
        ReturnPathRefused = "return_path_refused",
        /// First replies of another node than the one that was meant.
        OtherNode = "other_node",
        /// Access Reports sent.
        AccessReportsSent = "access_reports_sent",
        /// Access Reports acknowledged.
        AccessReportsAcknowledged = "access_reports_acknowledged",
        /// Access Reports given up after as many retransmissions as there may be.
        AccessReportsAbandoned = "access_reports_abandoned",
        /// Further replies that the far end said to send.
        FurtherExpected = "further_expected",
        /// Further replies that came.
        FurtherReplies = "further_replies",
        /// First replies that say that replies are not as they were asked for.
        ControlRefused = "control_refused",
        /// Headers of our packets that came back as they arrived.
        HeadersReflected = "headers_reflected",
        /// Headers of our packets that the far end could not give back.
        HeadersRefused = "headers_refused",
        /// Packets lost, whichever way.
        Lost = "lost",
    }
}

named! {
    /// What is kept as a distribution, in ns, of packets received within the timeout (send lateness: of packets sent).
    pub enum Measure {
        /// (T4 - T1) - (T3 - T2).
        RoundTrip = "round_trip",
        /// T2 - T1.
        Forward = "forward",
        /// T4 - T3.
        Backward = "backward",
        /// T3 - T2.
        Residence = "residence",
        /// Round trip minus that of the packet sent before it (RFC 5481 section 4.1).
        IpdvRoundTrip = "ipdv_round_trip",
        /// The same of the forward delay.
        IpdvForward = "ipdv_forward",
        /// The same of the backward delay.
        IpdvBackward = "ipdv_backward",
        /// Departure after the scheduled moment.
        SendLateness = "send_lateness",
        /// What Follow-Up Telemetry moved T3 by.
        FollowUpCorrection = "follow_up_correction",
        /// T4 - T3 of further replies.
        FurtherBackward = "further_backward",
    }
}

named! {
    /// Single values, each None where it cannot be known.
    pub enum Fact {
        /// RFC 3550 jitter of the round trip at the end of the span.
        JitterRoundTrip = "jitter_round_trip_ns",
        /// RFC 3550 jitter of the forward delay at the end of the span.
        JitterForward = "jitter_forward_ns",
        /// RFC 3550 jitter of the backward delay at the end of the span.
        JitterBackward = "jitter_backward_ns",
        /// 1 if the local clock was synchronized for every first reply, else 0.
        LocalSynchronized = "local_synchronized",
        /// 1 if the far clock said that it is synchronized in every first reply, else 0.
        FarSynchronized = "far_synchronized",
        /// Greatest error bound of the local clock.
        LocalError = "local_error_ns",
        /// Greatest error bound that the far end declared.
        FarError = "far_error_ns",
        /// Greatest possible error of a one-way delay, if both clocks are synchronized and say how well.
        OneWayErrorBound = "one_way_error_bound_ns",
        /// 1 if the Session-Reflector numbers its own packets, 0 if it copies our numbers.
        ReflectorStateful = "reflector_stateful",
        /// Greatest sequence number sent.
        LastSequence = "last_sequence",
        /// What the far end's clock follows that takes T2 (RFC 8972 section 5.4).
        FarSyncSourceIn = "far_sync_source_in",
        /// How the far end takes T2 (RFC 8972 section 5.5).
        FarTimestampIn = "far_timestamp_in",
        /// What the far end's clock follows that takes T3.
        FarSyncSourceOut = "far_sync_source_out",
        /// How the far end takes T3.
        FarTimestampOut = "far_timestamp_out",
    }
}

/// Which stamps of a round trip a jitter belongs to; the index of its accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// There and back, without the residence.
    RoundTrip,
    /// To the Session-Reflector.
    Forward,
    /// From the Session-Reflector.
    Backward,
}

/// The end of a span that has not ended.
const OPEN: i64 = i64::MAX;

/// How well a clock is known over all packets of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockQuality {
    /// False once a packet met an unsynchronized clock; None before the first packet.
    pub(crate) synchronized: Option<bool>,
    /// A packet met a clock of unknown error.
    pub(crate) error_unknown: bool,
    /// Greatest error of the packets that met a known one.
    pub(crate) error_ns: Option<u64>,
}

impl ClockQuality {
    pub(crate) fn note(&mut self, synchronized: bool, error_ns: Option<u64>) {
        self.merge(Self { synchronized: Some(synchronized), error_unknown: error_ns.is_none(), error_ns });
    }

    fn merge(&mut self, other: Self) {
        self.synchronized = match (self.synchronized, other.synchronized) {
            (Some(ours), Some(theirs)) => Some(ours && theirs),
            (ours, theirs) => ours.or(theirs),
        };
        self.error_unknown |= other.error_unknown;
        self.error_ns = self.error_ns.max(other.error_ns);
    }

    fn error(self) -> Option<u64> {
        self.error_ns.filter(|_| !self.error_unknown)
    }
}

/// Octet value -> packets. Sorted; a session sees one or two values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OctetCounts(Vec<(u8, u64)>);

impl OctetCounts {
    pub(crate) fn add(&mut self, octet: u8, n: u64) {
        match self.0.binary_search_by_key(&octet, |entry| entry.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(n),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (octet, n));
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for &(octet, n) in &other.0 {
            self.add(octet, n);
        }
    }

    /// (value, packets), ascending by value.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        self.0.iter().copied()
    }
}

/// Which end saw a header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenBy {
    /// The Session-Reflector, on our packet.
    Far,
    /// We, on the reply.
    Returned,
}

/// Steps of the local clock that are kept with their time; all are counted.
pub const CLOCK_STEPS_KEPT: usize = 16;

/// A span of a test-session in numbers; the module says how they merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// First and last moment; reversed extremes while no span is set.
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
    counters: [u64; Counter::ALL.len()],
    distributions: [Distribution; Measure::ALL.len()],
    /// Of each path: end of the span of the last update ([`OPEN`] in a span that has not ended) and the jitter then.
    pub(crate) jitter: [Option<(i64, i64)>; 3],
    pub(crate) local_clock: ClockQuality,
    pub(crate) far_clock: ClockQuality,
    /// Greater is more certain: known to copy, known to count.
    pub(crate) reflector_stateful: Option<bool>,
    /// Greatest sequence number sent, counted on beyond 2^32.
    pub(crate) last_sequence: Option<u64>,
    pub(crate) loss_bursts: BTreeMap<u32, u64>,
    pub(crate) ttls: [OctetCounts; 2],
    pub(crate) dscp_ecns: [OctetCounts; 2],
    clock_steps: Vec<(i64, i64)>,
    /// The latest answers to TLVs that ask about the far end, and when they came. Few sessions have them.
    pub(crate) far_end: Option<Box<FarEndFacts>>,
}

/// What a Session-Reflector says of itself in TLVs, with the wall time at which it said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FarEndFacts {
    pub(crate) location: Option<(i64, Location)>,
    pub(crate) timestamps: Option<(i64, TimestampInformation)>,
}

impl Default for Summary {
    fn default() -> Self {
        Self::new()
    }
}

impl Summary {
    /// Names of [`Counter`], for `catalogue()`.
    pub const COUNTERS: &[&str] = Counter::NAMES;
    /// Names of [`Measure`], for `catalogue()`.
    pub const DISTRIBUTIONS: &[&str] = Measure::NAMES;
    /// Names of [`Fact`], for `catalogue()`.
    pub const FACTS: &[&str] = Fact::NAMES;

    /// The summary of nothing, which changes nothing it is merged with. Allocates nothing.
    pub const fn new() -> Self {
        Self {
            start_ns: i64::MAX,
            end_ns: i64::MIN,
            counters: [0; Counter::ALL.len()],
            distributions: [const { Distribution::new() }; Measure::ALL.len()],
            jitter: [None; 3],
            local_clock: ClockQuality { synchronized: None, error_unknown: false, error_ns: None },
            far_clock: ClockQuality { synchronized: None, error_unknown: false, error_ns: None },
            reflector_stateful: None,
            last_sequence: None,
            loss_bursts: BTreeMap::new(),
            ttls: [const { OctetCounts(Vec::new()) }; 2],
            dscp_ecns: [const { OctetCounts(Vec::new()) }; 2],
            clock_steps: Vec::new(),
            far_end: None,
        }
    }

    /// Wall time at which the span began; 0 if it never did.
    pub fn start_ns(&self) -> i64 {
        if self.start_ns == i64::MAX { 0 } else { self.start_ns }
    }

    /// Wall time at which the span ended; 0 if it never began.
    pub fn end_ns(&self) -> i64 {
        if self.end_ns == i64::MIN { 0 } else { self.end_ns }
    }

    /// The counter's value.
    pub fn count(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// The measure's distribution.
    pub fn measure(&self, measure: Measure) -> &Distribution {
        &self.distributions[measure as usize]
    }

    /// The fact's value, None where it cannot be known.
    pub fn known(&self, fact: Fact) -> Option<i64> {
        let jitter = |path: Path| self.jitter[path as usize].map(|(_, jitter_ns)| jitter_ns);
        let whole = |error_ns: u64| i64::try_from(error_ns).unwrap_or(i64::MAX);
        match fact {
            Fact::JitterRoundTrip => jitter(Path::RoundTrip),
            Fact::JitterForward => jitter(Path::Forward),
            Fact::JitterBackward => jitter(Path::Backward),
            Fact::LocalSynchronized => self.local_clock.synchronized.map(i64::from),
            Fact::FarSynchronized => self.far_clock.synchronized.map(i64::from),
            Fact::LocalError => self.local_clock.error().map(whole),
            Fact::FarError => self.far_clock.error().map(whole),
            Fact::OneWayErrorBound => {
                let both = self.local_clock.synchronized? && self.far_clock.synchronized?;
                let bound = self.local_clock.error()?.saturating_add(self.far_clock.error()?);
                both.then_some(whole(bound))
            }
            Fact::ReflectorStateful => self.reflector_stateful.map(i64::from),
            Fact::LastSequence => self.last_sequence.map(|sequence| i64::from(sequence as u32)),
            Fact::FarSyncSourceIn => self.timestamp_information().map(|far| far.sync_source_in.0.into()),
            Fact::FarTimestampIn => self.timestamp_information().map(|far| far.timestamp_in.0.into()),
            Fact::FarSyncSourceOut => self.timestamp_information().map(|far| far.sync_source_out.0.into()),
            Fact::FarTimestampOut => self.timestamp_information().map(|far| far.timestamp_out.0.into()),
        }
    }

    fn timestamp_information(&self) -> Option<TimestampInformation> {
        self.far_end.as_ref()?.timestamps.map(|(_, timestamps)| timestamps)
    }

    /// The latest Location that the far end told.
    pub fn location(&self) -> Option<Location> {
        self.far_end.as_ref()?.location.map(|(_, location)| location)
    }

    /// The counter of that name of [`Self::COUNTERS`].
    pub fn counter(&self, name: &str) -> Option<u64> {
        Counter::from_name(name).map(|counter| self.count(counter))
    }

    /// The distribution of that name of [`Self::DISTRIBUTIONS`].
    pub fn distribution(&self, name: &str) -> Option<&Distribution> {
        Measure::from_name(name).map(|measure| self.measure(measure))
    }

    /// The fact of that name of [`Self::FACTS`]: None for no such name, Some(None) for what cannot be known.
    pub fn fact(&self, name: &str) -> Option<Option<i64>> {
        Fact::from_name(name).map(|fact| self.known(fact))
    }

    /// Length of a run of consecutively sent packets that were lost -> how many such runs ended (RFC 3357 section 6).
    pub fn loss_bursts(&self) -> &BTreeMap<u32, u64> {
        &self.loss_bursts
    }

    /// TTL or hop limit -> packets.
    pub fn ttls(&self, seen_by: SeenBy) -> &OctetCounts {
        &self.ttls[seen_by as usize]
    }

    /// Traffic class octet -> packets.
    pub fn dscp_ecns(&self, seen_by: SeenBy) -> &OctetCounts {
        &self.dscp_ecns[seen_by as usize]
    }

    /// (wall time in ns, step in ns) of the first [`CLOCK_STEPS_KEPT`] steps of the local clock.
    pub fn clock_steps(&self) -> &[(i64, i64)] {
        &self.clock_steps
    }

    /// Add what `other` knows of another span. Associative and commutative.
    pub fn merge(&mut self, other: &Self) {
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
        for (ours, theirs) in self.counters.iter_mut().zip(&other.counters) {
            *ours = ours.saturating_add(*theirs);
        }
        for (ours, theirs) in self.distributions.iter_mut().zip(&other.distributions) {
            ours.merge(theirs);
        }
        for (ours, theirs) in self.jitter.iter_mut().zip(&other.jitter) {
            // The latest stands; None is before everything.
            *ours = (*ours).max(*theirs);
        }
        self.local_clock.merge(other.local_clock);
        self.far_clock.merge(other.far_clock);
        self.reflector_stateful = self.reflector_stateful.max(other.reflector_stateful);
        self.last_sequence = self.last_sequence.max(other.last_sequence);
        for (&length, &n) in &other.loss_bursts {
            let ours = self.loss_bursts.entry(length).or_default();
            *ours = ours.saturating_add(n);
        }
        for seen_by in 0..2 {
            self.ttls[seen_by].merge(&other.ttls[seen_by]);
            self.dscp_ecns[seen_by].merge(&other.dscp_ecns[seen_by]);
        }
        for &(wall_ns, step_ns) in &other.clock_steps {
            self.keep_clock_step(wall_ns, step_ns);
        }
        if let Some(theirs) = &other.far_end {
            // The latest stands; None is before everything.
            let ours = self.far_end.get_or_insert_default();
            ours.location = ours.location.max(theirs.location);
            ours.timestamps = ours.timestamps.max(theirs.timestamps);
        }
    }

    /// Keep at most so many buckets of each sign of each distribution ([`Distribution::coarsen`]).
    pub fn coarsen(&mut self, most: usize) {
        for distribution in &mut self.distributions {
            distribution.coarsen(most);
        }
    }

    pub(crate) fn add(&mut self, counter: Counter, n: u64) {
        self.counters[counter as usize] += n;
    }

    #[inline]
    pub(crate) fn record(&mut self, measure: Measure, value_ns: i64) {
        self.distributions[measure as usize].record(value_ns);
    }

    pub(crate) fn measure_mut(&mut self, measure: Measure) -> &mut Distribution {
        &mut self.distributions[measure as usize]
    }

    /// The jitter from now on.
    pub(crate) fn set_jitter(&mut self, path: Path, jitter_ns: f64) {
        self.jitter[path as usize] = Some((OPEN, jitter_ns.round() as i64));
    }

    /// The span ends: its jitters are older than those of later spans.
    pub(crate) fn end(&mut self, end_ns: i64) {
        self.end_ns = end_ns;
        for (at_ns, _) in self.jitter.iter_mut().flatten() {
            *at_ns = (*at_ns).min(end_ns);
        }
    }

    pub(crate) fn note_location(&mut self, at_ns: i64, location: Location) {
        let facts = self.far_end.get_or_insert_default();
        facts.location = facts.location.max(Some((at_ns, location)));
    }

    pub(crate) fn note_timestamp_information(&mut self, at_ns: i64, timestamps: TimestampInformation) {
        let facts = self.far_end.get_or_insert_default();
        facts.timestamps = facts.timestamps.max(Some((at_ns, timestamps)));
    }

    pub(crate) fn loss_burst(&mut self, length: u32) {
        *self.loss_bursts.entry(length).or_default() += 1;
    }

    pub(crate) fn clock_step(&mut self, wall_ns: i64, step_ns: i64) {
        self.add(Counter::ClockSteps, 1);
        self.keep_clock_step(wall_ns, step_ns);
    }

    /// Keep the earliest steps: which they are does not depend on the order of merging.
    pub(crate) fn keep_clock_step(&mut self, wall_ns: i64, step_ns: i64) {
        let at = self.clock_steps.partition_point(|&kept| kept <= (wall_ns, step_ns));
        if at < CLOCK_STEPS_KEPT {
            self.clock_steps.insert(at, (wall_ns, step_ns));
            self.clock_steps.truncate(CLOCK_STEPS_KEPT);
        }
    }

    /// Octets on the heap, but for the nodes of the loss burst map, which is empty without loss.
    pub fn memory_bytes(&self) -> usize {
        let distributions: usize = self.distributions.iter().map(Distribution::memory_bytes).sum();
        let octets = self.ttls.iter().chain(&self.dscp_ecns);
        let octets: usize = octets.map(|counts| counts.0.capacity() * size_of::<(u8, u64)>()).sum();
        let far_end = self.far_end.as_ref().map_or(0, |_| size_of::<FarEndFacts>());
        distributions + octets + self.clock_steps.capacity() * size_of::<(i64, i64)>() + far_end
    }
}
