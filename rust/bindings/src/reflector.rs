//! Session-Reflectors: specification in, handle out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use twoway_plane::reflector::{Reflector as Handle, ReflectorSpec as Spec};

use crate::errors;
use crate::sender::{address, timestamps};
use crate::summary::Distribution;

/// What one Session-Reflector does.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct ReflectorSpec(Spec);

#[pymethods]
impl ReflectorSpec {
    #[new]
    #[pyo3(signature = (*, listen, interface, netns, workers, stateful, max_sessions, session_timeout_ns, keys,
        require_authentication, allow, rate_limit, rate_limit_per_source, dscp, larger_replies, process_tlvs, dscp_ecn_monitoring, timestamps,
        receive_buffer))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python class")]
    #[expect(clippy::fn_params_excessive_bools, reason = "keyword arguments of a Python class")]
    fn new(
        listen: Vec<(String, u16, u32)>,
        interface: Option<String>,
        netns: Option<String>,
        workers: usize,
        stateful: bool,
        max_sessions: u32,
        session_timeout_ns: u64,
        keys: Vec<(String, Option<u16>, Vec<u8>)>,
        require_authentication: bool,
        allow: Vec<(String, u8)>,
        rate_limit: u64,
        rate_limit_per_source: u64,
        dscp: Option<u8>,
        larger_replies: bool,
        process_tlvs: bool,
        dscp_ecn_monitoring: bool,
        timestamps: &str,
        receive_buffer: usize,
    ) -> PyResult<Self> {
        let listen = listen
            .into_iter()
            .map(|(text, port, scope_id)| Ok((address("listen", &text)?, port, scope_id)))
            .collect::<PyResult<_>>()?;
        let allow =
            allow.into_iter().map(|(text, len)| Ok((address("allow", &text)?, len))).collect::<PyResult<_>>()?;
        Ok(Self(Spec {
            listen,
            interface,
            netns,
            workers,
            stateful,
            max_sessions,
            session_timeout_ns,
            keys,
            require_authentication,
            allow,
            rate_limit,
            rate_limit_per_source,
            dscp,
            larger_replies,
            process_tlvs,
            dscp_ecn_monitoring,
            timestamps: self::timestamps(timestamps)?,
            receive_buffer,
        }))
    }
}

/// A running Session-Reflector. Its workers never take this lock.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Reflector(Mutex<Handle>);

impl Reflector {
    fn lock(&self) -> MutexGuard<'_, Handle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Reflector {
    #[new]
    #[pyo3(signature = (spec, /))]
    fn new(py: Python<'_>, spec: &ReflectorSpec) -> PyResult<Self> {
        py.detach(|| Handle::open(&spec.0)).map(|handle| Self(Mutex::new(handle))).map_err(errors::plane)
    }

    /// Gives each worker its thread.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().start()).map_err(errors::plane)
    }

    #[getter]
    fn local_addresses(&self) -> Vec<(String, u16)> {
        self.lock().local_addresses().iter().map(|address| (address.ip().to_string(), address.port())).collect()
    }

    /// What was obtained in lesser form.
    #[getter]
    fn obtained(&self) -> HashMap<&'static str, String> {
        self.lock().obtained().iter().cloned().collect()
    }

    /// Disposition -> packets.
    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counters().collect()
    }

    /// The reflector's own state.
    fn own_counters(&self) -> BTreeMap<&'static str, u64> {
        self.lock().own_counters().collect()
    }

    /// A distribution by name.
    #[pyo3(signature = (name, /))]
    fn distribution(&self, name: &str) -> PyResult<Distribution> {
        self.lock().distribution(name).map(Distribution).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    /// Answers what is queued for at most `drain_ns`, then ends.
    #[pyo3(signature = (drain_ns, /))]
    fn stop(&self, py: Python<'_>, drain_ns: u64) {
        py.detach(|| self.lock().stop(drain_ns));
    }
}
