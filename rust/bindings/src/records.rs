//! OWAMP packet records as columns, and as Fetch-Session carries them.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use twoway_plane::sample::MISSING;
use twoway_plane::session_receiver::{RECORD_LEN, Record, summarize};
use twoway_plane::slots::SkipRange;
use twoway_wire::{ErrorEstimate, RawTimestamp, WallNanos};

use crate::buffer::{Column, Values};
use crate::errors;
use crate::summary::IntervalSummary;

/// Packet records of one OWAMP test-session.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct RecordBatch {
    records: Vec<Record>,
    /// Timestamps are read in the era closest to this.
    near: WallNanos,
}

impl RecordBatch {
    pub(crate) fn new(records: Vec<Record>, near: WallNanos) -> Self {
        Self { records, near }
    }

    fn column<T>(
        &self,
        py: Python<'_>,
        values: fn(Vec<T>) -> Values,
        value: impl Fn(&Record) -> T,
    ) -> PyResult<Py<Column>> {
        Py::new(py, Column::new(values(self.records.iter().map(value).collect())))
    }

    fn moment(&self, raw: RawTimestamp, error_estimate: ErrorEstimate) -> i64 {
        if raw.0 == 0 {
            return MISSING;
        }
        raw.decode(error_estimate.format(), self.near).map_or(MISSING, |moment| moment.0)
    }
}

/// Ranges as the plane has them.
pub(crate) fn skip_ranges(ranges: Vec<(u32, u32)>) -> PyResult<Vec<SkipRange>> {
    let ranges: Vec<_> = ranges.into_iter().map(|(first, last)| SkipRange { first, last }).collect();
    let ordered = ranges.iter().all(|range| range.first <= range.last)
        && ranges.windows(2).all(|pair| pair[0].last < pair[1].first);
    if ordered { Ok(ranges) } else { Err(errors::field("skip_ranges", "are not ascending and apart")) }
}

#[pymethods]
impl RecordBatch {
    /// What a nanosecond column holds where a value cannot be known.
    #[classattr]
    const MISSING: i64 = MISSING;

    fn __len__(&self) -> usize {
        self.records.len()
    }

    #[getter]
    fn sequence(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Unsigned, |record| record.sequence)
    }

    /// 1 for a packet that did not come.
    #[getter]
    fn lost(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Octets, |record| u8::from(record.is_lost()))
    }

    #[getter]
    fn send_ns(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Signed, |record| self.moment(record.send_timestamp, record.send_error_estimate))
    }

    #[getter]
    fn receive_ns(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Signed, |record| self.moment(record.receive_timestamp, record.receive_error_estimate))
    }

    #[getter]
    fn send_timestamp(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Wide, |record| record.send_timestamp.0)
    }

    #[getter]
    fn receive_timestamp(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Wide, |record| record.receive_timestamp.0)
    }

    #[getter]
    fn send_error_estimate(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Unsigned, |record| u32::from(record.send_error_estimate.0))
    }

    #[getter]
    fn receive_error_estimate(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Unsigned, |record| u32::from(record.receive_error_estimate.0))
    }

    #[getter]
    fn ttl(&self, py: Python<'_>) -> PyResult<Py<Column>> {
        self.column(py, Values::Octets, |record| record.ttl)
    }

    /// Those from `begin` to `end`, both included.
    #[pyo3(signature = (begin, end, /))]
    fn between(&self, begin: u32, end: u32) -> Self {
        let wanted = self.records.iter().filter(|record| (begin..=end).contains(&record.sequence));
        Self { records: wanted.copied().collect(), near: self.near }
    }

    /// The records, 25 octets each, one after the other.
    fn octets<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let octets: Vec<u8> = self.records.iter().flat_map(Record::octets).collect();
        PyBytes::new(py, &octets)
    }

    /// Reads records of 25 octets each.
    #[staticmethod]
    #[pyo3(signature = (octets, /, *, near_ns))]
    fn parse(octets: &[u8], near_ns: i64) -> PyResult<Self> {
        if !octets.len().is_multiple_of(RECORD_LEN) {
            return Err(errors::wire(format!("{} octets are no whole number of packet records", octets.len())));
        }
        let records = octets.chunks_exact(RECORD_LEN).filter_map(|record| record.try_into().ok().map(Record::parse));
        Ok(Self { records: records.collect(), near: WallNanos(near_ns) })
    }

    /// The records in numbers.
    #[pyo3(signature = (*, skip_ranges, start_ns, end_ns))]
    fn summary(
        &self,
        py: Python<'_>,
        skip_ranges: Vec<(u32, u32)>,
        start_ns: i64,
        end_ns: i64,
    ) -> PyResult<IntervalSummary> {
        let skipped = self::skip_ranges(skip_ranges)?;
        let (start, end) = (WallNanos(start_ns), WallNanos(end_ns));
        Ok(IntervalSummary(py.detach(|| summarize(&self.records, &skipped, start, end))))
    }
}
