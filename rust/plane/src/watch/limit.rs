//! What a limit is about, and how it stands.

use crate::sample::named;

named! {
    /// What a limit is about; the names are those of the table of metrics.
    pub enum Metric {
        /// Probes not back within the timeout, of those whose fate is known.
        LossRatio = "loss_ratio",
        /// Lost on the way there, of those of which the direction is known.
        LossForwardRatio = "loss_forward_ratio",
        /// Lost on the way back, of those that were answered.
        LossBackwardRatio = "loss_backward_ratio",
        /// Probes without any reply.
        Lost = "lost",
        /// Those lost on the way there.
        LostForward = "lost_forward",
        /// Those lost on the way back.
        LostBackward = "lost_backward",
        /// Probes whose reply came after the timeout.
        Late = "late",
        /// The same, of those whose fate is known.
        LateRatio = "late_ratio",
        /// Further replies.
        Duplicates = "duplicates",
        /// The same, in proportion to probes with a reply.
        DuplicatesRatio = "duplicates_ratio",
        /// Replies that came after one to a later probe.
        Reordered = "reordered_round_trip",
        /// The same, of those received in time.
        ReorderedRatio = "reordered_ratio",
        /// Round trip.
        RoundTrip = "round_trip",
        /// To the Session-Reflector.
        Forward = "forward",
        /// From the Session-Reflector.
        Backward = "backward",
        /// In the Session-Reflector.
        Residence = "residence",
        /// Round trip above the least of the window.
        PdvRoundTrip = "pdv_round_trip",
        /// The same of the way there.
        PdvForward = "pdv_forward",
        /// The same of the way back.
        PdvBackward = "pdv_backward",
        /// Absolute difference of round trips of probes sent one after the other.
        IpdvRoundTrip = "ipdv_round_trip",
        /// The same of the way there.
        IpdvForward = "ipdv_forward",
        /// The same of the way back.
        IpdvBackward = "ipdv_backward",
        /// RFC 3550 jitter of round trips, as it is now.
        JitterRoundTrip = "jitter_round_trip_ns",
        /// The same of the way there.
        JitterForward = "jitter_forward_ns",
        /// The same of the way back.
        JitterBackward = "jitter_backward_ns",
        /// Probes that reached the Session-Reflector with another DSCP than they were sent with, as replies say.
        RemarkedForward = "remarked_forward",
        /// Replies that came with another DSCP than they were sent with.
        RemarkedBackward = "remarked_backward",
        /// Loss on the way there, by the counters of both ends.
        DirectLossForwardRatio = "direct_loss_forward_ratio",
        /// Loss on the way back, likewise.
        DirectLossBackwardRatio = "direct_loss_backward_ratio",
    }
}

named! {
    /// How a limit stands.
    pub enum State {
        /// Nobody knows.
        Unknown = "unknown",
        /// Not met.
        Good = "good",
        /// Met.
        Bad = "bad",
    }
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What is compared.
    pub metric: Metric,
    /// It is met when the value is this or more: ns, ratio or packets.
    pub limit: f64,
    /// It is met no more when the value is less than this.
    pub recover: f64,
    /// The greatest value is compared, else the mean. Of times only.
    pub maximum: bool,
}

/// How a limit stands, and the value that says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Whether it is met.
    pub state: State,
    /// The value, where there is one.
    pub value: Option<f64>,
}
