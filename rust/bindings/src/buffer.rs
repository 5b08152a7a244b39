//! Columns of a sample batch: a read-only buffer that `NumPy`, Arrow and `memoryview` read without a copy.
#![expect(unsafe_code, reason = "the buffer protocol is raw pointers; the one block says what keeps them sound")]

use std::ffi::{CStr, c_int, c_void};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// The integers of one column, never changed after they were made.
#[derive(Debug)]
pub(crate) enum Values {
    /// Nanoseconds.
    Signed(Vec<i64>),
    /// Numbers, TTLs, flags.
    Unsigned(Vec<u32>),
    /// 64 bits as they are on the wire.
    Wide(Vec<u64>),
    /// Codes.
    Octets(Vec<u8>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Signed(values) => values.len(),
            Self::Unsigned(values) => values.len(),
            Self::Wide(values) => values.len(),
            Self::Octets(values) => values.len(),
        }
    }

    /// The struct module's code, and the octets of one item.
    fn layout(&self) -> (&'static CStr, isize) {
        match self {
            Self::Signed(_) => (c"q", 8),
            Self::Unsigned(_) => (c"I", 4),
            Self::Wide(_) => (c"Q", 8),
            Self::Octets(_) => (c"B", 1),
        }
    }

    fn pointer(&self) -> *const c_void {
        match self {
            Self::Signed(values) => values.as_ptr().cast(),
            Self::Unsigned(values) => values.as_ptr().cast(),
            Self::Wide(values) => values.as_ptr().cast(),
            Self::Octets(values) => values.as_ptr().cast(),
        }
    }
}

/// One column of a `SampleBatch`.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Column {
    values: Values,
    shape: [isize; 1],
    strides: [isize; 1],
}

impl Column {
    pub(crate) fn new(values: Values) -> Self {
        let (shape, strides) = ([values.len() as isize], [values.layout().1]);
        Self { values, shape, strides }
    }
}

#[pymethods]
impl Column {
    /// Struct code of one item.
    #[getter]
    fn format(&self) -> &'static str {
        self.values.layout().0.to_str().unwrap_or_default()
    }

    fn __len__(&self) -> usize {
        self.values.len()
    }

    /// All values as Python integers.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match &self.values {
            Values::Signed(values) => PyList::new(py, values),
            Values::Unsigned(values) => PyList::new(py, values),
            Values::Wide(values) => PyList::new(py, values),
            Values::Octets(values) => PyList::new(py, values),
        }
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("view is null"));
        }
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("a column of samples is read-only"));
        }
        let column = slf.get();
        let (format, item) = column.values.layout();
        let length = column.shape[0] * item;
        let wanted = |flag: c_int| flags & flag == flag;
        let format = if wanted(ffi::PyBUF_FORMAT) { format.as_ptr().cast_mut() } else { std::ptr::null_mut() };
        let shape = if wanted(ffi::PyBUF_ND) { column.shape.as_ptr().cast_mut() } else { std::ptr::null_mut() };
        let strides =
            if wanted(ffi::PyBUF_STRIDES) { column.strides.as_ptr().cast_mut() } else { std::ptr::null_mut() };
        let buf = column.values.pointer().cast_mut();
        // SAFETY: `view` is the caller's to fill and not null. What it is filled with (values, shape, strides) lives in a
        // frozen object that never changes or moves, and that `obj` keeps alive until the consumer releases the view;
        // the format is static. The consumer was told that the memory is read-only.
        unsafe {
            (*view).buf = buf;
            (*view).len = length;
            (*view).itemsize = item;
            (*view).readonly = 1;
            (*view).ndim = 1;
            (*view).format = format;
            (*view).shape = shape;
            (*view).strides = strides;
            (*view).suboffsets = std::ptr::null_mut();
            (*view).internal = std::ptr::null_mut();
            (*view).obj = slf.into_any().into_ptr();
        }
        Ok(())
    }
}
