//! The host: its clock, its network namespaces, and what it can do.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::IntoRawFd;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use twoway_plane::collections::{Quantity, Tally, Which};
use twoway_plane::comparison::Compared;
use twoway_plane::managed;
use twoway_plane::reflector::counters::OwnCounter;
use twoway_plane::reflector::dispositions::Disposition;
use twoway_plane::reflector::{DISTRIBUTIONS, OWN_GAUGES};
use twoway_plane::sample::{DepartureSource, SampleFlag, SampleStatus, TimestampSource};
use twoway_plane::sender::bulk::OwnFault;
use twoway_plane::sender::event::EventKind;
use twoway_plane::sender::handle::Notable;
use twoway_plane::session_receiver::Outcome;
use twoway_plane::summary::Summary;
use twoway_plane::watch::{Metric, State};
use twoway_wire::{PacketFormat, TlvType};

use crate::errors;

/// What `adjtimex` says of the wall clock.
#[pyfunction]
pub(crate) fn clock_state() -> HashMap<&'static str, Option<i64>> {
    let state = twoway_plane::sys::clock_state();
    let bounded = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let readable = state.errno == 0;
    let known = |value: i64| readable.then_some(value);
    HashMap::from([
        ("synchronized", known(i64::from(state.synchronized))),
        ("error_ns", state.error_ns.map(bounded)),
        ("estimated_error_ns", known(bounded(state.estimated_error_ns))),
        ("offset_ns", known(state.offset_ns)),
        ("frequency_ppb", known(state.frequency_ppb)),
        ("tai_offset_s", known(i64::from(state.tai_offset_s))),
    ])
}

/// Feature -> (available, what was seen).
#[pyfunction]
#[pyo3(signature = (interface, /))]
pub(crate) fn capabilities(py: Python<'_>, interface: Option<&str>) -> BTreeMap<&'static str, (bool, String)> {
    py.detach(|| twoway_plane::capabilities::capabilities(interface))
        .into_iter()
        .map(|capability| (capability.name, (capability.available, capability.seen)))
        .collect()
}

/// A socket of a network namespace, as a descriptor that is the caller's.
#[pyfunction]
#[pyo3(signature = (netns, /, *, ipv6, stream))]
pub(crate) fn open_socket(py: Python<'_>, netns: &str, ipv6: bool, stream: bool) -> PyResult<i32> {
    py.detach(|| twoway_plane::sys::open_bare(Some(netns), ipv6, stream))
        .map(IntoRawFd::into_raw_fd)
        .map_err(errors::plane)
}

/// All names and code points that the packet plane knows.
#[pyfunction]
pub(crate) fn catalogue(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let catalogue = PyDict::new(py);
    let formats: Vec<_> =
        PacketFormat::ALL.iter().map(|format| (format.name(), (format.sender_len(), format.reflector_len()))).collect();
    catalogue.set_item("packet_formats", formats.into_iter().collect::<BTreeMap<_, _>>())?;
    catalogue.set_item("summary_counters", Summary::COUNTERS)?;
    catalogue.set_item("summary_distributions", Summary::DISTRIBUTIONS)?;
    catalogue.set_item("summary_facts", Summary::FACTS)?;
    catalogue.set_item("collections", Which::NAMES)?;
    catalogue.set_item("collection_counters", Tally::NAMES)?;
    catalogue.set_item("collection_distributions", Quantity::NAMES)?;
    catalogue.set_item("sample_status", SampleStatus::NAMES)?;
    catalogue.set_item("sample_flags", SampleFlag::NAMES)?;
    catalogue.set_item("timestamp_source", TimestampSource::NAMES)?;
    catalogue.set_item("departure_source", DepartureSource::NAMES)?;
    catalogue.set_item("events", EventKind::NAMES)?;
    catalogue.set_item("news", Notable::NAMES)?;
    catalogue.set_item("watch_metrics", Metric::NAMES)?;
    catalogue.set_item("watch_states", State::NAMES)?;
    catalogue.set_item("own_faults", OwnFault::NAMES)?;
    catalogue.set_item("capabilities", twoway_plane::capabilities::NAMES)?;
    catalogue.set_item("compared", Compared::NAMES)?;
    let dispositions: Vec<_> = Disposition::ALL.iter().map(|disposition| disposition.name()).collect();
    catalogue.set_item("dispositions", dispositions)?;
    let own: Vec<_> = OwnCounter::ALL.iter().map(|counter| counter.name()).chain(OWN_GAUGES).collect();
    catalogue.set_item("reflector_counters", own)?;
    catalogue.set_item("reflector_distributions", DISTRIBUTIONS)?;
    catalogue.set_item("managed_dispositions", managed::Disposition::NAMES)?;
    catalogue.set_item("managed_counters", managed::PlaneCounter::NAMES)?;
    catalogue.set_item("managed_ends", managed::End::NAMES)?;
    catalogue.set_item("receiver_outcomes", Outcome::ALL.map(Outcome::name))?;
    let tlvs: BTreeMap<_, _> = TlvType::ALL.iter().map(|tlv| (tlv.name(), (tlv.code(), tlv.reference()))).collect();
    catalogue.set_item("tlv_types", tlvs)?;
    Ok(catalogue)
}
