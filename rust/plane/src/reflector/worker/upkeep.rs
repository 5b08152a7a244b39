//! What a worker looks after once a second: the clock, the host's addresses, lost interfaces, and what others can see.

use twoway_wire::ErrorEstimate;
use twoway_wire::timestamp::TimestampFormat;

use super::super::counters::OwnCounter;
use super::super::extensions::TlvCounters;
use super::super::interfaces::HostInterfaces;
use super::{TICK_NS, Worker};
use crate::error::PlaneError;
use crate::sys::{clock_state, in_namespace};

/// Test-sessions ended in one tick at most.
const EXPIRE_PER_TICK: usize = 4096;
/// Departure stamps that may be lost, none having come, before no more are asked for.
const STAMPS_IN_VAIN: u64 = 256;

impl Worker {
    /// What is due once a second.
    pub(super) fn tick(&mut self, now_ns: i64) {
        self.next_tick_ns = now_ns + TICK_NS;
        self.engine.expire(now_ns as u64, EXPIRE_PER_TICK);
        if self.steps.check(&self.clock).is_some() {
            self.shared.add(OwnCounter::ClockSteps, 1);
        }
        self.judge_clock();
        let questions = self.engine.counters().tlvs.host_questions;
        if std::mem::replace(&mut self.host_questions, questions) != questions {
            self.read_interfaces();
        }
        if let Some(members) = &mut self.listener.members {
            members.tend();
        }
        let in_vain = self.shared.get(OwnCounter::TransmitStamps) == 0;
        let listener = &mut self.listener;
        // A device without transmit stamps is not asked for ever.
        listener.stamped &= !(in_vain && listener.ledger.lost() > STAMPS_IN_VAIN);
        // Stamps that a driver has not reported within two ticks will not come.
        listener.stale_ticks = if listener.ledger.outstanding() { listener.stale_ticks + 1 } else { 0 };
        if listener.stale_ticks >= 2 {
            listener.ledger.forget();
            listener.stale_ticks = 0;
        }
        // A device that was taken away and came back has another index: a socket bound to the old one hears nothing.
        // Binding again by name is harmless where nothing has changed, and refused while it is away.
        if let Some(interface) = listener.interface.as_ref().filter(|_| listener.quiet_ticks > 0) {
            let _ = listener.socket.bind_to_interface(interface);
        }
        listener.quiet_ticks = listener.quiet_ticks.saturating_add(1);
        self.publish();
    }

    /// Error Estimate of T2 and T3: the clock's error by the kernel, and the spread of predicted departures.
    pub(super) fn judge_clock(&mut self) {
        let state = clock_state();
        let spread_ns = self.listener.model.spread_ns();
        let error_ns = state.error_ns.map(|error_ns| error_ns.saturating_add(spread_ns));
        self.error_estimate = ErrorEstimate::new(state.synchronized, TimestampFormat::Ntp, error_ns);
        self.engine.know_clock(state.synchronized);
    }

    /// Tells the engine which addresses and devices the host has. Fails only where the namespace is gone: then what is
    /// known stays.
    pub(super) fn read_interfaces(&mut self) {
        let read = || HostInterfaces::read().map_err(|error| PlaneError::system("list", "interfaces", &error));
        if let Ok(interfaces) = in_namespace(self.listener.netns.as_deref(), read) {
            self.engine.know_interfaces(interfaces);
        }
    }

    /// Makes counters that are kept without atomics visible.
    pub(super) fn publish(&self) {
        let counters = self.engine.counters();
        self.shared.set(OwnCounter::ZeroErrorEstimates, counters.zero_error_estimates);
        for (counter, value) in tlv_counters(&counters.tlvs) {
            self.shared.set(counter, value);
        }
        self.shared.set(OwnCounter::TransmitStampsLost, self.listener.ledger.lost());
        if let Some(sessions) = self.engine.sessions() {
            self.shared.set(OwnCounter::SessionEvictions, sessions.evictions());
            self.shared.set(OwnCounter::SessionExpirations, sessions.expirations());
        }
    }
}

fn tlv_counters(counters: &TlvCounters) -> [(OwnCounter, u64); 8] {
    [
        (OwnCounter::TlvUnrecognized, counters.unrecognized),
        (OwnCounter::TlvMalformed, counters.malformed),
        (OwnCounter::TlvIntegrityFailed, counters.integrity_failed),
        (OwnCounter::ReturnPathsRefused, counters.return_paths_refused),
        (OwnCounter::DscpsRefused, counters.dscps_refused),
        (OwnCounter::ControlsRefused, counters.controls_refused),
        (OwnCounter::AccessAvailable, counters.access_available),
        (OwnCounter::AccessUnavailable, counters.access_unavailable),
    ]
}
