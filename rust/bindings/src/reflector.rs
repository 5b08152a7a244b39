//! Session-Reflectors: specification in, handle out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use twoway_plane::reflector::extensions::LocationPolicy;
use twoway_plane::reflector::{ControlSpec, Reflector as Handle, ReflectorSpec as Spec, TlvSpec};
use twoway_wire::tlv::SyncSource;

use crate::errors;
use crate::fields::{address, timestamps};
use crate::summary::Distribution;

/// What one Session-Reflector does.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct ReflectorSpec(Spec);

#[pymethods]
impl ReflectorSpec {
    #[new]
    #[pyo3(signature = (*, listen, interface, netns, workers, stateful, max_sessions, session_timeout_ns, keys,
        require_authentication, allow, rate_limit, rate_limit_per_source, dscp, larger_replies, dscp_ecn_monitoring,
        timestamps, receive_buffer))]
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
        dscp_ecn_monitoring: bool,
        timestamps: &str,
        receive_buffer: usize,
    ) -> PyResult<Self> {
        let listen = listen
            .into_iter()
            .map(|(text, port, scope_id)| Ok((address("listen", &text)?, port, scope_id)))
            .collect::<PyResult<_>>()?;
        let allow = networks("allow", allow)?;
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
            tlvs: None,
            dscp_ecn_monitoring,
            timestamps: self::timestamps(timestamps)?,
            receive_buffer,
        }))
    }

    /// The same, but STAMP TLVs are processed, and may ask for this.
    #[pyo3(signature = (*, require_hmac, location, permitted_dscps, sync_source, return_paths_authenticated,
        return_paths_allow, reflect_headers, micro_sessions, control))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python method")]
    fn with_tlvs(
        &self,
        require_hmac: bool,
        location: &str,
        permitted_dscps: Option<Vec<u8>>,
        sync_source: Option<&str>,
        return_paths_authenticated: bool,
        return_paths_allow: Vec<(String, u8)>,
        reflect_headers: bool,
        micro_sessions: Vec<(String, u16)>,
        control: Option<Control>,
    ) -> PyResult<Self> {
        let location = LocationPolicy::from_name(location).ok_or_else(|| {
            errors::field("location", format!("{location:?} is none of all, addresses, ports, nothing"))
        })?;
        let sync_source = match sync_source {
            None => None,
            Some(name) => Some(SyncSource::from_name(name).ok_or_else(|| {
                let known: Vec<_> = SyncSource::NAMES.iter().map(|(_, name)| *name).collect();
                errors::field("sync_source", format!("{name:?} is none of {}", known.join(", ")))
            })?),
        };
        let return_paths_allow = networks("return_paths_allow", return_paths_allow)?;
        let control = match control {
            None => None,
            Some((allow, most_replies, longest_reply, most_octets_per_s, most_octets)) => Some(ControlSpec {
                allow: networks("control_allow", allow)?,
                most_replies,
                longest_reply,
                most_octets_per_s,
                most_octets,
            }),
        };
        let tlvs = TlvSpec {
            require_hmac,
            location,
            permitted_dscps,
            sync_source,
            return_paths_authenticated,
            return_paths_allow,
            reflect_headers,
            micro_sessions,
            control,
        };
        Ok(Self(Spec { tlvs: Some(tlvs), ..self.0.clone() }))
    }
}

/// Several replies to one request: (network, prefix length) of whom they are sent to; most replies, octets of each, octets a
/// second and octets in all.
type Control = (Vec<(String, u8)>, u16, u16, u64, u64);

/// The networks of that field.
fn networks(field: &'static str, networks: Vec<(String, u8)>) -> PyResult<Vec<(IpAddr, u8)>> {
    networks.into_iter().map(|(text, len)| Ok((address(field, &text)?, len))).collect()
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

    /// Goes by other keys, another allow list and other rate limits.
    #[pyo3(signature = (spec, /))]
    fn change(&self, py: Python<'_>, spec: &ReflectorSpec) -> PyResult<()> {
        py.detach(|| self.lock().change(&spec.0)).map_err(errors::plane)
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
