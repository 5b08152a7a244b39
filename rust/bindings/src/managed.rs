//! Managed Session-Reflectors: specification in, handles out.

use std::collections::{BTreeMap, HashMap};

use pyo3::prelude::*;
use twoway_plane::clock::Moment;
use twoway_plane::managed::reflecting::ReflectingSpec;
use twoway_plane::managed::{ManagedPlane as Threads, ManagedReflector as Handle, ManagedReflectorSpec as Spec};
use twoway_wire::WallNanos;

use crate::errors;
use crate::fields::{self, PortFields};
use crate::owamp::{SessionReceiver, SessionReceiverSpec};
use crate::packet;
use crate::summary::Distribution;

/// What one managed Session-Reflector does.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct ManagedReflectorSpec(Spec);

#[pymethods]
impl ManagedReflectorSpec {
    #[new]
    #[pyo3(signature = (*, local, local_port, scope_id, interface, netns, sender, sender_port, format, twamp_aes_key,
        twamp_hmac_key, timestamp_format, symmetrical_size, dscp_ecn_monitoring, dscp_ecn, ttl, timeout_ns, refwait_ns,
        timestamps, receive_buffer))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python class")]
    fn new(
        local: &str,
        local_port: u16,
        scope_id: u32,
        interface: Option<String>,
        netns: Option<String>,
        sender: &str,
        sender_port: u16,
        format: &str,
        twamp_aes_key: Option<&[u8]>,
        twamp_hmac_key: Option<&[u8]>,
        timestamp_format: &str,
        symmetrical_size: bool,
        dscp_ecn_monitoring: bool,
        dscp_ecn: u8,
        ttl: u8,
        timeout_ns: i64,
        refwait_ns: Option<i64>,
        timestamps: &str,
        receive_buffer: usize,
    ) -> PyResult<Self> {
        let format = packet::format(format)?;
        if format.is_stamp() {
            return Err(errors::field("format", "STAMP is not negotiated"));
        }
        let keys = packet::keys(format, None, twamp_aes_key, twamp_hmac_key)?;
        let timestamp_format = fields::timestamp_format(timestamp_format)?;
        if timeout_ns < 0 {
            return Err(errors::field("timeout_ns", "must not be negative"));
        }
        if refwait_ns.is_some_and(|refwait_ns| refwait_ns <= 0) {
            return Err(errors::field("refwait_ns", "must be positive"));
        }
        let port = PortFields {
            local,
            local_port,
            scope_id,
            interface,
            netns,
            sender,
            sender_port,
            dscp_ecn,
            ttl,
            timestamps,
            receive_buffer,
        };
        let reflecting = ReflectingSpec { format, keys, timestamp_format, symmetrical_size, dscp_ecn_monitoring };
        Ok(Self(Spec { port: port.check()?, reflecting, timeout_ns, refwait_ns }))
    }
}

/// Worker threads that own the ports of managed test-sessions.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct ManagedPlane(Threads);

#[pymethods]
impl ManagedPlane {
    #[new]
    #[pyo3(signature = (*, workers))]
    fn new(workers: usize) -> PyResult<Self> {
        Threads::new(workers).map(Self).map_err(errors::plane)
    }

    /// Opens a Session-Reflector's port; it answers nobody before it is started.
    #[pyo3(signature = (spec, /))]
    fn open_reflector(&self, py: Python<'_>, spec: &ManagedReflectorSpec) -> PyResult<ManagedReflector> {
        let spec = spec.0.clone();
        py.detach(|| self.0.open_reflector(spec)).map(ManagedReflector).map_err(errors::plane)
    }

    /// Opens a Session-Receiver's port; it records nothing before it is started.
    #[pyo3(signature = (spec, /))]
    fn open_receiver(&self, py: Python<'_>, spec: &SessionReceiverSpec) -> PyResult<SessionReceiver> {
        py.detach(|| self.0.open_receiver(&spec.port, spec.receiver.clone()))
            .map(SessionReceiver)
            .map_err(errors::plane)
    }

    fn fileno(&self) -> i32 {
        self.0.fd()
    }

    /// Ids of the sessions with news since the last call.
    fn acknowledge(&self) -> Vec<u64> {
        self.0.acknowledge()
    }

    /// The plane's own counters.
    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.0.counters().collect()
    }

    /// Departure of replies minus the T3 written.
    fn transmit_prediction_error(&self) -> Distribution {
        Distribution(self.0.transmit_prediction_error())
    }

    /// Ends all threads.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

/// One managed Session-Reflector.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct ManagedReflector(Handle);

#[pymethods]
impl ManagedReflector {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id()
    }

    #[getter]
    fn local_address(&self) -> (String, u16) {
        fields::endpoint(self.0.local())
    }

    /// What was obtained in lesser form.
    #[getter]
    fn obtained(&self) -> HashMap<&'static str, String> {
        fields::obtained(self.0.obtained())
    }

    /// Start-Sessions is acknowledged.
    fn start(&self) {
        self.0.start(Moment::Now);
    }

    /// It answers from that wall time on.
    #[pyo3(signature = (wall_ns, /))]
    fn start_at(&self, wall_ns: i64) {
        self.0.start(Moment::Wall(WallNanos(wall_ns)));
    }

    /// Stop-Sessions was exchanged: it answers for the timeout still.
    fn stop(&self) {
        self.0.stop();
    }

    /// Ends it now.
    fn close(&self) {
        self.0.close();
    }

    /// Why it ended.
    #[getter]
    fn end(&self) -> &'static str {
        self.0.end().name()
    }

    /// Disposition -> packets.
    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.0.counters().collect()
    }
}
