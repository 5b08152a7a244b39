//! Paths: what goes before a test packet, for tests, and what a host says of its links.

use std::net::Ipv6Addr;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use twoway_plane::comparison::Comparison;
use twoway_plane::error::PlaneError;
use twoway_plane::next_hop::kernel::Kernel;
use twoway_plane::next_hop::resolve::Tables;
use twoway_plane::sys::in_namespace;
use twoway_wire::frame::{FrameHeader, FrameSpec, LONGEST_HEADER};
use twoway_wire::srv6::routing_header;

use crate::errors;
use crate::fields::{address, socket_address};
use crate::samples::SampleBatch;

/// How one path differs from the first: (path, what is compared, pairs, stretches, estimate, interval, p-value, adjusted).
type Difference = (usize, &'static str, u64, usize, Option<f64>, Option<(f64, f64)>, Option<f64>, Option<f64>);

/// Compares paths that were measured at the same moments.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct PathComparison(Mutex<Comparison>);

#[pymethods]
impl PathComparison {
    #[new]
    #[pyo3(signature = (*, paths))]
    fn new(paths: usize) -> PyResult<Self> {
        if paths == 0 {
            return Err(errors::field("paths", "there is no path"));
        }
        Ok(Self(Mutex::new(Comparison::new(paths))))
    }

    /// Takes samples of the path of that number.
    #[pyo3(signature = (path, batch, /))]
    fn add(&self, path: usize, batch: &SampleBatch) {
        self.lock().add(path, &batch.samples);
    }

    /// Slots of which some path was not heard of in time.
    #[getter]
    fn unpaired(&self) -> u64 {
        self.lock().unpaired()
    }

    /// How each path differs from the first so far.
    fn differences(&self) -> Vec<Difference> {
        let rows = self.lock().differences().into_iter().map(|difference| {
            let judgement = difference.judgement;
            (
                difference.path,
                difference.compared.name(),
                difference.pairs,
                difference.stretches,
                judgement.map(|judgement| judgement.estimate),
                judgement.and_then(|judgement| judgement.interval),
                judgement.map(|judgement| judgement.p_value),
                difference.adjusted_p_value,
            )
        });
        rows.collect()
    }
}

impl PathComparison {
    fn lock(&self) -> std::sync::MutexGuard<'_, Comparison> {
        // Nothing under this lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The frame that carries `payload` under a label stack, or under none.
#[pyfunction]
#[pyo3(signature = (payload, /, *, source_mac, destination_mac, labels, source, destination, dscp_ecn, ttl))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python function")]
#[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands arguments over")]
pub(crate) fn make_frame<'py>(
    py: Python<'py>,
    payload: &[u8],
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    labels: Vec<u32>,
    source: (String, u16),
    destination: (String, u16),
    dscp_ecn: u8,
    ttl: u8,
) -> PyResult<Bound<'py, PyBytes>> {
    let end = |field, (host, port): &(String, u16)| Ok::<_, PyErr>(socket_address(address(field, host)?, *port, 0));
    let spec = FrameSpec {
        source_mac,
        destination_mac,
        labels: &labels,
        source: end("source", &source)?,
        destination: end("destination", &destination)?,
        dscp_ecn,
        ttl,
    };
    let mut frame = vec![0; LONGEST_HEADER + payload.len()];
    let len = FrameHeader::new(&spec)
        .and_then(|header| header.write(payload, &mut frame))
        .map_err(|error| errors::field("frame", error.to_string()))?;
    Ok(PyBytes::new(py, &frame[..len]))
}

/// The routing header that leads through `segments`.
#[pyfunction]
#[pyo3(signature = (segments, /))]
#[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands arguments over")]
pub(crate) fn make_routing_header(py: Python<'_>, segments: Vec<String>) -> PyResult<Bound<'_, PyBytes>> {
    let parsed: Result<Vec<Ipv6Addr>, _> = segments.iter().map(|text| text.parse()).collect();
    let parsed = parsed.map_err(|_| errors::field("segments", "not all are IPv6 addresses"))?;
    let header = routing_header(&parsed).map_err(|error| errors::field("segments", error.to_string()))?;
    Ok(PyBytes::new(py, &header))
}

/// Names of the interfaces that are members of `interface`, in the order of their numbers.
#[pyfunction]
#[pyo3(signature = (interface, /, *, netns))]
pub(crate) fn lag_members(py: Python<'_>, interface: &str, netns: Option<&str>) -> PyResult<Vec<String>> {
    let refused = |errno| {
        let error = std::io::Error::from_raw_os_error(errno);
        PlaneError::system("list member links", interface, &error)
    };
    let members = py.detach(|| {
        in_namespace(netns, || {
            let mut kernel = Kernel::open()?;
            let whole = kernel.link_named(interface).map_err(refused)?;
            kernel.members(whole.interface).map_err(refused)
        })
    });
    Ok(members.map_err(errors::plane)?.into_iter().map(|link| link.name).collect())
}
