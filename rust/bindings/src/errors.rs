//! Rust errors as the exceptions that `twoway.errors` defines: the one place where they meet.

use pyo3::import_exception;
use pyo3::prelude::*;
use twoway_plane::error::PlaneError;

mod python {
    use super::import_exception;
    import_exception!(twoway.errors, ConfigError);
    import_exception!(twoway.errors, PlaneError);
    import_exception!(twoway.errors, WireError);
}

/// A failed operation of the packet plane.
pub(crate) fn plane(error: PlaneError) -> PyErr {
    python::PlaneError::new_err((error.operation, error.address, error.errno, error.detail))
}

/// A field of a specification that cannot be honoured.
pub(crate) fn field(name: &'static str, reason: impl Into<String>) -> PyErr {
    python::ConfigError::new_err((name, reason.into()))
}

/// Octets that are not the packet they were taken for.
pub(crate) fn wire(rule: impl std::fmt::Display) -> PyErr {
    python::WireError::new_err((rule.to_string(),))
}
