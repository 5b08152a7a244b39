//! Samples as columns.

use pyo3::prelude::*;
use twoway_plane::sample::{MISSING, Sample, UNKNOWN};

use crate::buffer::{Column, Values};

/// Per-packet results, column by column.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct SampleBatch {
    rows: usize,
    columns: Vec<(&'static str, Py<Column>)>,
    /// The rows themselves, for collections.
    pub(crate) samples: Vec<Sample>,
}

/// Each column's name with where its values are in a sample: the one list of the columns.
macro_rules! columns {
    ($py:ident, $samples:ident, { $($name:ident: $kind:ident = $value:expr),+ $(,)? }) => {
        vec![$((
            stringify!($name),
            Py::new($py, Column::new(Values::$kind($samples.iter().map($value).collect())))?,
        )),+]
    };
}
pub(crate) use columns;

impl SampleBatch {
    pub(crate) fn new(py: Python<'_>, samples: Vec<Sample>) -> PyResult<Self> {
        let columns = columns!(py, samples, {
            sequence: Unsigned = |sample| sample.sequence,
            status: Octets = |sample| sample.status as u8,
            flags: Unsigned = |sample| u32::from(sample.flags),
            t1_ns: Signed = |sample| sample.t1_ns,
            t2_ns: Signed = |sample| sample.t2_ns,
            t3_ns: Signed = |sample| sample.t3_ns,
            t4_ns: Signed = |sample| sample.t4_ns,
            round_trip_ns: Signed = |sample| sample.round_trip_ns,
            forward_ns: Signed = |sample| sample.forward_ns,
            backward_ns: Signed = |sample| sample.backward_ns,
            residence_ns: Signed = |sample| sample.residence_ns,
            send_lateness_ns: Signed = |sample| sample.send_lateness_ns,
            reflector_sequence: Unsigned = |sample| sample.reflector_sequence,
            t1_source: Octets = |sample| sample.t1_source as u8,
            t3_source: Octets = |sample| sample.t3_source as u8,
            t4_source: Octets = |sample| sample.t4_source as u8,
            sender_ttl: Unsigned = |sample| sample.sender_ttl,
            returned_ttl: Unsigned = |sample| sample.returned_ttl,
            far_dscp_ecn: Unsigned = |sample| sample.far_dscp_ecn,
            returned_dscp_ecn: Unsigned = |sample| sample.returned_dscp_ecn,
        });
        Ok(Self { rows: samples.len(), columns, samples })
    }
}

/// The constants of a batch and a getter for each column: the names are those of the fields.
macro_rules! getters {
    ($batch:ident { $($constant:ident: $kind:ty = $value:expr),+ $(,)? }, $($name:ident),+ $(,)?) => {
        #[pymethods]
        impl $batch {
            $(
                /// What a column holds where a value cannot be known.
                #[classattr]
                const $constant: $kind = $value;
            )+

            fn __len__(&self) -> usize {
                self.rows
            }

            $(#[getter]
            fn $name(&self, py: Python<'_>) -> Py<Column> {
                self.column(py, stringify!($name))
            })+
        }

        impl $batch {
            fn column(&self, py: Python<'_>, name: &str) -> Py<Column> {
                let column = self.columns.iter().find(|(known, _)| *known == name);
                // Both lists are checked against the stub, and each getter is called, by the Python tests.
                column.expect("a getter for each column").1.clone_ref(py)
            }
        }
    };
}
pub(crate) use getters;

getters!(
    SampleBatch { MISSING: i64 = MISSING, UNKNOWN: u32 = UNKNOWN },
    sequence,
    status,
    flags,
    t1_ns,
    t2_ns,
    t3_ns,
    t4_ns,
    round_trip_ns,
    forward_ns,
    backward_ns,
    residence_ns,
    send_lateness_ns,
    reflector_sequence,
    t1_source,
    t3_source,
    t4_source,
    sender_ttl,
    returned_ttl,
    far_dscp_ecn,
    returned_dscp_ecn,
);
