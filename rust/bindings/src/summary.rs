//! Distributions and summaries.

use std::collections::BTreeMap;

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use twoway_plane::distribution::Distribution as Values;
use twoway_plane::made::Made;
use twoway_plane::packed;
use twoway_plane::summary::{OctetCounts, SeenBy, Summary};

use crate::errors;

/// A mergeable distribution of nanosecond values.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Distribution(pub(crate) Values);

#[pymethods]
impl Distribution {
    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    #[getter]
    fn min_ns(&self) -> Option<i64> {
        self.0.min()
    }

    #[getter]
    fn max_ns(&self) -> Option<i64> {
        self.0.max()
    }

    #[getter]
    fn mean_ns(&self) -> Option<f64> {
        self.0.mean()
    }

    #[getter]
    fn stddev_ns(&self) -> Option<f64> {
        self.0.stddev()
    }

    #[getter]
    fn relative_error(&self) -> f64 {
        self.0.histogram().relative_error()
    }

    #[getter]
    fn scale(&self) -> u8 {
        self.0.histogram().scale()
    }

    #[getter]
    fn zero_count(&self) -> u64 {
        self.0.histogram().zero_count()
    }

    /// Smallest value x with F(x) >= q (RFC 2330 section 11.3).
    #[pyo3(signature = (q, /))]
    fn quantile(&self, q: f64) -> PyResult<Option<i64>> {
        if (0.0..=1.0).contains(&q) {
            Ok(self.0.quantile(q))
        } else {
            Err(PyValueError::new_err(format!("q must be from 0 to 1, not {q}")))
        }
    }

    /// Occupied buckets, ascending: (lower, upper, count).
    fn buckets(&self) -> Vec<(f64, f64, u64)> {
        self.0.buckets().map(|bucket| (bucket.lower_ns, bucket.upper_ns, bucket.count)).collect()
    }

    /// Both together.
    #[pyo3(signature = (other, /))]
    fn merge(&self, other: &Self) -> Self {
        let mut merged = self.0.clone();
        merged.merge(&other.0);
        Self(merged)
    }

    /// The distribution of these values.
    #[staticmethod]
    #[pyo3(signature = (values, /))]
    fn of(values: Vec<i64>) -> Self {
        Self(values.into_iter().collect())
    }

    /// All of it in few octets.
    fn pack<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &packed::pack_distribution(&self.0))
    }

    /// What `pack` made.
    #[staticmethod]
    #[pyo3(signature = (octets, /))]
    fn unpack(octets: &[u8]) -> PyResult<Self> {
        packed::unpack_distribution(octets).map(Self).map_err(errors::wire)
    }

    fn __repr__(&self) -> String {
        format!("Distribution(count={}, min_ns={:?}, max_ns={:?})", self.0.count(), self.0.min(), self.0.max())
    }
}

/// Everything known about a span of a test-session.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct IntervalSummary(pub(crate) Summary);

/// A field of Location.
#[derive(IntoPyObject)]
pub(crate) enum LocationField {
    Port(u16),
    Text(String),
}

fn octets(far: &OctetCounts, returned: &OctetCounts) -> BTreeMap<&'static str, BTreeMap<u8, u64>> {
    [("far", far), ("returned", returned)].into_iter().map(|(name, counts)| (name, counts.iter().collect())).collect()
}

#[pymethods]
impl IntervalSummary {
    #[getter]
    fn start_ns(&self) -> i64 {
        self.0.start_ns()
    }

    #[getter]
    fn end_ns(&self) -> i64 {
        self.0.end_ns()
    }

    /// A counter by name.
    #[pyo3(signature = (name, /))]
    fn counter(&self, name: &str) -> PyResult<u64> {
        self.0.counter(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    /// A distribution by name.
    #[pyo3(signature = (name, /))]
    fn distribution(&self, name: &str) -> PyResult<Distribution> {
        self.0.distribution(name).cloned().map(Distribution).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    /// A fact by name, None where it cannot be known.
    #[pyo3(signature = (name, /))]
    fn fact(&self, name: &str) -> PyResult<Option<i64>> {
        self.0.fact(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }

    /// Length of a run of lost packets -> how many such runs.
    #[getter]
    fn loss_bursts(&self) -> BTreeMap<u32, u64> {
        self.0.loss_bursts().clone()
    }

    /// TTL -> packets, by who saw it.
    #[getter]
    fn ttls(&self) -> BTreeMap<&'static str, BTreeMap<u8, u64>> {
        octets(self.0.ttls(SeenBy::Far), self.0.ttls(SeenBy::Returned))
    }

    /// Traffic class octet -> packets, by who saw it.
    #[getter]
    fn dscp_ecns(&self) -> BTreeMap<&'static str, BTreeMap<u8, u64>> {
        octets(self.0.dscp_ecns(SeenBy::Far), self.0.dscp_ecns(SeenBy::Returned))
    }

    /// What the far end sees of the last hop, field -> value, empty where it has not said.
    #[getter]
    fn location(&self) -> BTreeMap<&'static str, LocationField> {
        self.0.location().map_or_else(BTreeMap::new, |location| {
            let mac = location.source_mac.map(|mac| {
                let octets = mac.to_be_bytes();
                let first = if location.source_mac_is_eui_64 { 0 } else { 2 };
                octets[first..].iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
            });
            let port = |port: u16| (port != 0).then_some(LocationField::Port(port));
            let text = |text: Option<String>| text.map(LocationField::Text);
            [
                ("destination", text(location.destination.map(|address| address.to_string()))),
                ("destination_port", port(location.destination_port)),
                ("source", text(location.source.map(|address| address.to_string()))),
                ("source_port", port(location.source_port)),
                ("source_mac", text(mac)),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
        })
    }

    /// (wall time, step) of the steps of the local clock.
    #[getter]
    fn clock_steps(&self) -> Vec<(i64, i64)> {
        self.0.clock_steps().to_vec()
    }

    /// Both spans as one.
    #[pyo3(signature = (other, /))]
    fn merge(&self, other: &Self) -> Self {
        let mut merged = self.0.clone();
        merged.merge(&other.0);
        Self(merged)
    }

    /// The same with coarser histograms.
    #[pyo3(signature = (max_buckets, /))]
    fn coarsened(&self, max_buckets: usize) -> Self {
        let mut coarse = self.0.clone();
        coarse.coarsen(max_buckets);
        Self(coarse)
    }

    /// All of it in few octets.
    fn pack<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &packed::pack_summary(&self.0))
    }

    /// Packed summaries of probes that were never sent.
    #[staticmethod]
    #[pyo3(signature = (*, start_ns, interval_ns, round_trips_ns, forward_ns, per_summary))]
    #[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands arguments over")]
    fn made(
        py: Python<'_>,
        start_ns: i64,
        interval_ns: i64,
        round_trips_ns: Vec<Option<i64>>,
        forward_ns: i64,
        per_summary: usize,
    ) -> Vec<Bound<'_, PyBytes>> {
        let made = Made { start_ns, interval_ns, forward_ns, per_summary };
        let packed = py.detach(|| made.summaries(&round_trips_ns));
        packed.iter().map(|octets| PyBytes::new(py, octets)).collect()
    }

    /// What `pack` made.
    #[staticmethod]
    #[pyo3(signature = (octets, /))]
    fn unpack(octets: &[u8]) -> PyResult<Self> {
        packed::unpack_summary(octets).map(Self).map_err(errors::wire)
    }

    /// All of them as one.
    #[staticmethod]
    #[pyo3(signature = (packed, /))]
    fn merge_packed(py: Python<'_>, packed: Vec<PyBackedBytes>) -> PyResult<Self> {
        py.detach(move || packed::merge_packed(packed.iter().map(|octets| &**octets))).map(Self).map_err(errors::wire)
    }
}
