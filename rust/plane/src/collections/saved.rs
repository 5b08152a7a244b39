//! What of the collections survives a restart, packed (`packed.rs` says how).

use super::collection::Collection;
use super::probe::Probe;
use super::{Collections, Which};
use crate::packed::{PackedError, Reader, Writer};
use crate::sample::{MISSING, SampleStatus, TimestampSource};

/// Version of what is written here. Version 1 had a tally fewer, version 2 no delays with an offset; neither was released.
pub(super) const VERSION: u8 = 3;

impl Collections {
    /// What survives a restart: all tests, last test, the last probes and the number of tests.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = Writer::new(VERSION);
        // An open test will not go on, but its number is taken.
        out.unsigned(self.open.back().map_or(self.ended, |newest| newest.collection.test.into()));
        self.all.put(&mut out);
        out.flag(self.last.is_some());
        if let Some(last) = self.collection(Which::Last) {
            last.put(&mut out);
        }
        for count in [self.in_history, self.in_moving_average] {
            out.small(0, count as u64);
        }
        let probes: Vec<&Probe> = self.last_probes(self.in_history.max(self.in_moving_average)).collect();
        out.small(0, probes.len() as u64);
        let mut before_ns = 0;
        for probe in probes {
            probe.put(&mut out, before_ns);
            before_ns = if probe.t1_ns == MISSING { before_ns } else { probe.t1_ns };
        }
        out.finish()
    }

    /// Take up what [`Self::pack`] made; not after the first probe. If it cannot be read nothing changes.
    pub fn restore(&mut self, octets: &[u8]) -> Result<(), PackedError> {
        let mut from = Reader::new(octets, VERSION)?;
        let mut restored = Self::new(self.probe_count, self.moving_average_size, self.history_size);
        (restored.patience_ns, restored.late_ns, restored.limits) = (self.patience_ns, self.late_ns, self.limits);
        restored.rows = self.rows.clone();
        restored.ended = from.unsigned()?;
        restored.all = Collection::take(&mut from)?;
        if from.flag()? {
            let mut out = Writer::new(VERSION);
            Collection::take(&mut from)?.put(&mut out);
            restored.last = Some(out.finish().into_boxed_slice());
        }
        let (in_history, in_moving_average) = (from.small(0)?, from.small(0)?);
        let mut before_ns = 0;
        for _ in 0..from.small(0)? {
            let probe = Probe::take(&mut from, before_ns)?;
            before_ns = if probe.t1_ns == MISSING { before_ns } else { probe.t1_ns };
            restored.remember(probe);
        }
        from.end()?;
        restored.in_history = restored.in_history.min(in_history as usize);
        restored.in_moving_average = restored.in_moving_average.min(in_moving_average as usize);
        *self = restored;
        Ok(())
    }
}

impl Probe {
    /// Write it; the one before left at `before_ns`.
    fn put(&self, out: &mut Writer, before_ns: i64) {
        let known = |ns: i64| ns != MISSING;
        out.bits(4, self.status as u64);
        out.bits(8, self.flags.into());
        out.bits(2, self.t1_source as u64);
        out.bits(2, self.t4_source as u64);
        out.flag(self.late_departure);
        out.flag(self.stateful);
        out.flag(self.clocks);
        out.flag(self.clock_scale != 0);
        if self.clock_scale != 0 {
            out.bits(8, self.clock_scale.into());
        }
        out.unsigned(self.sequence.into());
        out.unsigned(self.test.into());
        let arrival = self.t4_ns.wrapping_sub(self.t1_ns);
        for (value, shown) in
            [(self.t1_ns, self.t1_ns.wrapping_sub(before_ns)), (self.t4_ns, arrival), (self.rtt_ns, self.rtt_ns)]
        {
            out.flag(known(value));
            if known(value) {
                out.signed(shown);
            }
        }
        for value in [self.egress_ns].into_iter().chain(self.jitter_ns) {
            out.flag(known(value));
            if known(value) {
                out.signed(value);
            }
        }
    }

    /// Read what [`Self::put`] wrote.
    fn take(from: &mut Reader<'_>, before_ns: i64) -> Result<Self, PackedError> {
        let contradiction = PackedError::Contradiction("probe");
        let status = *SampleStatus::ALL.get(from.bits(4)? as usize).ok_or(contradiction)?;
        let flags = from.bits(8)? as u8;
        let t1_source = TimestampSource::ALL[from.bits(2)? as usize];
        let t4_source = TimestampSource::ALL[from.bits(2)? as usize];
        let (late_departure, stateful, clocks) = (from.flag()?, from.flag()?, from.flag()?);
        let clock_scale = if from.flag()? { from.bits(8)? as u8 } else { 0 };
        let mut narrow = || u32::try_from(from.unsigned()?).map_err(|_| contradiction);
        let (sequence, test) = (narrow()?, narrow()?);
        let mut next = || if from.flag()? { from.signed() } else { Ok(MISSING) };
        let mut shown = [0; 7];
        for value in &mut shown {
            *value = next()?;
        }
        let [t1, t4, rtt_ns, egress_ns, jitter_ns @ ..] = shown;
        let t1_ns = if t1 == MISSING { MISSING } else { before_ns.wrapping_add(t1) };
        let t4_ns = if t4 == MISSING { MISSING } else { t1_ns.wrapping_add(t4) };
        Ok(Self {
            t1_ns,
            t4_ns,
            rtt_ns,
            egress_ns,
            jitter_ns,
            sequence,
            test,
            status,
            flags,
            t1_source,
            t4_source,
            clock_scale,
            late_departure,
            stateful,
            clocks,
        })
    }
}
