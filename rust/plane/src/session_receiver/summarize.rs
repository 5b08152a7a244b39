//! Packet records in numbers, by the definitions that round trips use: everything is the forward direction's.

use twoway_wire::WallNanos;

use super::Record;
use crate::patterns::{LossRuns, Reordering};
use crate::slots::SkipRange;
use crate::summary::{Counter, Measure, Path, SeenBy, Summary};
use crate::variation::{RtpJitter, ipdv};

/// The summary of what a Session-Receiver has recorded, wherever the records come from (our own, or fetched). `start` is
/// the beginning of the schedule and must be within 68 years of the truth, `end` the moment of asking.
///
/// A packet is sent, and received or lost, when there is a record of it; further records of a packet that came are forward
/// duplicates. The far clock is the Session-Sender's. TTLs are as the packets came in, "far" as in a round trip.
pub fn summarize(records: &[Record], skipped: &[SkipRange], start: WallNanos, end: WallNanos) -> Summary {
    let mut summary = Summary::new();
    summary.start_ns = start.0;
    // Fetched records may name any number: nothing here is as large as the numbers are.
    let mut by_number: Vec<usize> = (0..records.len()).collect();
    by_number.sort_by_key(|at| records[*at].sequence);
    let packets = || by_number.chunk_by(|a, b| records[*a].sequence == records[*b].sequence);
    let mut standings = vec![Standing::Further; records.len()];
    for copies in packets() {
        match copies.iter().find(|at| !records[**at].is_lost()) {
            Some(first) => standings[*first] = Standing::First,
            None => standings[copies[0]] = Standing::Lost,
        }
    }
    let mut delays = vec![None; records.len()];
    let mut order = Reordering::default();
    let mut jitter = RtpJitter::default();
    for (at, record) in records.iter().enumerate() {
        match standings[at] {
            Standing::First => {
                delays[at] = received(&mut summary, record, start);
                if order.observe(u64::from(record.sequence)) {
                    summary.add(Counter::ReorderedForward, 1);
                }
                if let Some(delay_ns) = delays[at]
                    && let Some(jitter_ns) = jitter.observe(delay_ns)
                {
                    summary.set_jitter(Path::Forward, jitter_ns);
                }
            }
            Standing::Lost => {
                summary.add(Counter::Sent, 1);
                summary.add(Counter::Lost, 1);
                summary.add(Counter::LostForward, 1);
            }
            Standing::Further => summary.add(Counter::DuplicatesForward, u64::from(!record.is_lost())),
        }
    }
    let mut runs = LossRuns::default();
    let mut before = None;
    for copies in packets() {
        let sequence = records[copies[0]].sequence;
        // A packet that was not sent neither ends a run nor lengthens it: runs are of packets sent.
        let first = copies.iter().find(|at| standings[**at] == Standing::First);
        let delay_ns = first.and_then(|at| delays[*at]);
        if first.is_none() {
            runs.lost();
        } else if let Some(length) = runs.ended() {
            summary.loss_burst(length);
        }
        let previous_ns = before.filter(|(at, _)| sequence.checked_sub(1) == Some(*at)).and_then(|(_, delay)| delay);
        if let Some(variation_ns) = ipdv(previous_ns, delay_ns) {
            summary.record(Measure::IpdvForward, variation_ns);
        }
        before = Some((sequence, delay_ns));
    }
    if let Some(length) = runs.ended() {
        summary.loss_burst(length);
    }
    summary.last_sequence = before.map(|(sequence, _)| u64::from(sequence));
    let not_sent: u64 = skipped.iter().map(|range| u64::from(range.last.saturating_sub(range.first)) + 1).sum();
    summary.add(Counter::NotSent, not_sent);
    summary.end(end.0);
    summary
}

/// What a record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The first copy of a packet that came.
    First,
    /// A packet that did not come.
    Lost,
    /// Another record of either.
    Further,
}

/// Counts the first copy of a packet; its delay.
fn received(summary: &mut Summary, record: &Record, near: WallNanos) -> Option<i64> {
    summary.add(Counter::Sent, 1);
    summary.add(Counter::Received, 1);
    summary.ttls[SeenBy::Far as usize].add(record.ttl, 1);
    let (local, far) = (record.receive_error_estimate, record.send_error_estimate);
    summary.local_clock.note(local.synchronized(), local.error_ns());
    summary.far_clock.note(far.synchronized(), far.error_ns());
    summary.add(Counter::FarUnsynchronized, u64::from(!far.synchronized()));
    summary.add(Counter::FarErrorEstimateInvalid, u64::from(far.multiplier() == 0));
    let arrived = record.receive_timestamp.decode(local.format(), near);
    let sent = record.send_timestamp.decode(far.format(), near);
    let (Ok(arrived), Ok(sent)) = (arrived, sent) else {
        summary.add(Counter::FarTimestampsUnusable, 1);
        return None;
    };
    let delay_ns = arrived.since(sent);
    summary.record(Measure::Forward, delay_ns);
    Some(delay_ns)
}
