//! `twoway._native`: the packet plane as Python sees it. Conversion only: whatever decides something lives in
//! `twoway-plane` and `twoway-wire`. The contract is `src/twoway/_native.pyi`.

mod buffer;
mod collections;
mod errors;
mod fields;
mod host;
mod managed;
mod owamp;
mod packet;
mod records;
mod reflector;
mod samples;
mod sender;
mod steering;
mod summary;
mod tlvs;

use pyo3::pymodule;

#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::buffer::Column;
    #[pymodule_export]
    use super::collections::{Collection, Collections, HistoryBatch, Probes};
    #[pymodule_export]
    use super::host::{capabilities, catalogue, clock_state, open_socket};
    #[pymodule_export]
    use super::managed::{ManagedPlane, ManagedReflector, ManagedReflectorSpec};
    #[pymodule_export]
    use super::owamp::{OneWaySenderSpec, SessionReceiver, SessionReceiverSpec, owamp_schedule};
    #[pymodule_export]
    use super::packet::{DecodedPacket, decode_test_packet, derive_twamp_test_keys, encode_test_packet};
    #[pymodule_export]
    use super::records::RecordBatch;
    #[pymodule_export]
    use super::reflector::{Reflector, ReflectorSpec};
    #[pymodule_export]
    use super::samples::SampleBatch;
    #[pymodule_export]
    use super::sender::{Plane, Sender, SenderSpec};
    #[pymodule_export]
    use super::steering::{PathComparison, lag_members, make_frame, make_routing_header};
    #[pymodule_export]
    use super::summary::{Distribution, IntervalSummary};
    #[pymodule_export]
    use super::tlvs::TlvRequests;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
