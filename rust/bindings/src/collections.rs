//! Tests, collections of them, and history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use twoway_plane::collections::{
    Collection as Results, Collections as State, Limits, PATHS, Probe, Quantity, Seen, Tally, Which,
};
use twoway_plane::sample::MISSING;

use crate::buffer::{Column, Values};
use crate::errors;
use crate::samples::{SampleBatch, columns, getters};
use crate::summary::Distribution;

/// Probes whose fate is known, column by column.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct HistoryBatch {
    rows: usize,
    columns: Vec<(&'static str, Py<Column>)>,
}

impl HistoryBatch {
    fn new(py: Python<'_>, probes: &[Probe]) -> PyResult<Self> {
        let columns = columns!(py, probes, {
            sequence: Unsigned = |probe| probe.sequence,
            test: Unsigned = |probe| probe.test,
            status: Octets = |probe| probe.status as u8,
            flags: Unsigned = |probe| u32::from(probe.flags),
            t1_ns: Signed = |probe| probe.t1_ns,
            t4_ns: Signed = |probe| probe.t4_ns,
            rtt_ns: Signed = |probe| probe.rtt_ns,
            egress_ns: Signed = |probe| probe.one_way_ns()[0],
            ingress_ns: Signed = |probe| probe.one_way_ns()[1],
            residence_ns: Signed = Probe::residence_ns,
            rtt_jitter_ns: Signed = |probe| probe.jitter_ns[0],
            egress_jitter_ns: Signed = |probe| probe.jitter_ns[1],
            ingress_jitter_ns: Signed = |probe| probe.jitter_ns[2],
            t1_source: Octets = |probe| probe.t1_source as u8,
            t4_source: Octets = |probe| probe.t4_source as u8,
            disturbed: Octets = |probe| u8::from(probe.disturbed()),
        });
        Ok(Self { rows: probes.len(), columns })
    }
}

getters!(
    HistoryBatch { MISSING: i64 = MISSING },
    sequence,
    test,
    status,
    flags,
    t1_ns,
    t4_ns,
    rtt_ns,
    egress_ns,
    ingress_ns,
    residence_ns,
    rtt_jitter_ns,
    egress_jitter_ns,
    ingress_jitter_ns,
    t1_source,
    t4_source,
    disturbed,
);

/// Results of some probes in a row.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Collection(Results);

#[pymethods]
impl Collection {
    #[getter]
    fn test(&self) -> u32 {
        self.0.test()
    }

    #[getter]
    fn start_ns(&self) -> Option<i64> {
        self.0.start_ns()
    }

    #[getter]
    fn end_ns(&self) -> Option<i64> {
        self.0.end_ns()
    }

    #[getter]
    fn complete(&self) -> bool {
        self.0.is_complete()
    }

    #[getter]
    fn stateful(&self) -> Option<bool> {
        self.0.is_stateful().then_some(true)
    }

    /// A counter by name.
    #[pyo3(signature = (name, /))]
    fn counter(&self, name: &str) -> PyResult<u64> {
        let tally = Tally::from_name(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        Ok(self.0.tally(tally))
    }

    /// All counters.
    fn counters(&self) -> BTreeMap<&'static str, u64> {
        Tally::ALL.iter().map(|tally| (tally.name(), self.0.tally(*tally))).collect()
    }

    /// A distribution by name.
    #[pyo3(signature = (name, /))]
    fn distribution(&self, name: &str) -> PyResult<Distribution> {
        let quantity = Quantity::from_name(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        Ok(Distribution(self.0.quantity(quantity).clone()))
    }

    /// RFC 3550 jitter of a path.
    #[pyo3(signature = (name, /))]
    fn interarrival_jitter_ns(&self, name: &str) -> PyResult<Option<i64>> {
        let path = PATHS.iter().position(|path| *path == name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        Ok(self.0.interarrival_jitter_ns(path))
    }
}

/// What probes showed since the last look.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Probes(Seen);

#[pymethods]
impl Probes {
    #[getter]
    fn decided(&self) -> u64 {
        self.0.decided
    }

    #[getter]
    fn max_rtt_ns(&self) -> Option<i64> {
        self.0.max_ns[0]
    }

    #[getter]
    fn max_egress_ns(&self) -> Option<i64> {
        self.0.max_ns[1]
    }

    #[getter]
    fn max_ingress_ns(&self) -> Option<i64> {
        self.0.max_ns[2]
    }

    #[getter]
    fn loss_run(&self) -> u32 {
        self.0.loss_run
    }

    #[getter]
    fn longest_loss_run(&self) -> u32 {
        self.0.longest_loss_run
    }

    #[getter]
    fn disturbed(&self) -> bool {
        self.0.disturbed
    }

    #[getter]
    fn since_ns(&self) -> Option<i64> {
        self.0.since_ns
    }
}

/// The results of one test-session.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Collections(pub(crate) Arc<Mutex<State>>);

impl Collections {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Collections {
    #[new]
    #[pyo3(signature = (*, probe_count, moving_average_size, history_size))]
    fn new(probe_count: u64, moving_average_size: usize, history_size: usize) -> PyResult<Self> {
        sizes(moving_average_size, history_size)?;
        if probe_count > MOST_PROBES {
            return Err(errors::field("probe_count", format!("{probe_count} is more than {MOST_PROBES}")));
        }
        Ok(Self(Arc::new(Mutex::new(State::new(probe_count, moving_average_size, history_size)))))
    }

    /// Takes the samples.
    #[pyo3(signature = (batch, /))]
    fn add(&self, py: Python<'_>, batch: &SampleBatch) {
        let wall_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        py.detach(|| self.state().add(&batch.samples, wall_ns));
    }

    /// Limits for single probes.
    #[pyo3(signature = (*, rtt_ns, egress_ns, ingress_ns, loss_run, late_ns))]
    fn watch(&self, rtt_ns: i64, egress_ns: i64, ingress_ns: i64, loss_run: u32, late_ns: i64) {
        self.state().watch(Limits { rtt_ns, egress_ns, ingress_ns, loss_run }, late_ns);
    }

    /// What probes showed since the last call.
    fn probes(&self) -> Probes {
        Probes(self.state().take_seen())
    }

    /// Runs of losses that are judged begin anew.
    fn forget_run(&self) {
        self.state().forget_run();
    }

    /// What leaves from now on belongs to the next test.
    #[pyo3(signature = (wall_ns, /))]
    fn cut(&self, wall_ns: i64) {
        self.state().cut(wall_ns);
    }

    /// Open tests end as they are.
    fn interrupt(&self) {
        self.state().interrupt();
    }

    /// The tests that ended since the last call.
    fn take_finished(&self) -> Vec<Collection> {
        self.state().take_finished().into_iter().map(Collection).collect()
    }

    /// A collection by name.
    #[pyo3(signature = (name, /))]
    fn collection(&self, name: &str) -> PyResult<Option<Collection>> {
        let which = Which::from_name(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        Ok(self.state().collection(which).map(Collection))
    }

    #[getter]
    fn tests(&self) -> u64 {
        self.state().tests().0
    }

    #[getter]
    fn untaken(&self) -> u64 {
        self.state().tests().1
    }

    /// The last probes.
    #[pyo3(signature = (since_ns, limit, /))]
    fn history(&self, py: Python<'_>, since_ns: Option<i64>, limit: Option<usize>) -> PyResult<HistoryBatch> {
        let probes = self.state().history(since_ns, limit);
        HistoryBatch::new(py, &probes)
    }

    /// The last probe sent whose fate is known.
    fn last_probe(&self, py: Python<'_>) -> PyResult<HistoryBatch> {
        let last: Vec<Probe> = self.state().last_probe().copied().into_iter().collect();
        HistoryBatch::new(py, &last)
    }

    /// Rows are also kept as they come.
    #[pyo3(signature = (most, /))]
    fn keep_rows(&self, most: usize) {
        self.state().keep_rows(most);
    }

    /// The rows that came since the last call.
    fn take_rows(&self, py: Python<'_>) -> PyResult<SampleBatch> {
        let rows = self.state().take_rows();
        SampleBatch::new(py, rows)
    }

    /// Rows that nobody took in time.
    #[getter]
    fn rows_dropped(&self) -> u64 {
        self.state().rows_dropped()
    }

    /// Other sizes from now on.
    #[pyo3(signature = (*, moving_average_size, history_size))]
    fn resize(&self, moving_average_size: usize, history_size: usize) -> PyResult<()> {
        sizes(moving_average_size, history_size)?;
        self.state().resize(moving_average_size, history_size);
        Ok(())
    }

    /// Begin anew with "results" or "history".
    #[pyo3(signature = (what, /))]
    fn clear(&self, what: &str) -> PyResult<()> {
        match what {
            "results" => self.state().clear_results(),
            "history" => self.state().clear_history(),
            other => return Err(PyValueError::new_err(format!("{other:?} is neither results nor history"))),
        }
        Ok(())
    }

    /// What survives a restart.
    fn pack<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.state().pack())
    }

    /// Take up what `pack` made.
    #[pyo3(signature = (octets, /))]
    fn restore(&self, octets: &[u8]) -> PyResult<()> {
        self.state().restore(octets).map_err(errors::wire)
    }

    fn memory_bytes(&self) -> usize {
        self.state().memory_bytes()
    }
}

/// Longest test: sequence numbers count to 2^32.
const MOST_PROBES: u64 = 1 << 32;
/// Most probes that are remembered.
const MOST_KEPT: usize = 1 << 20;

fn sizes(moving_average_size: usize, history_size: usize) -> PyResult<()> {
    for (field, size) in [("moving_average_size", moving_average_size), ("history_size", history_size)] {
        if size > MOST_KEPT {
            return Err(errors::field(field, format!("{size} is more than {MOST_KEPT}")));
        }
    }
    Ok(())
}
