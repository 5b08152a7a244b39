//! What went wrong below Python: always an operation, the address it was for, and the kernel's errno.

use std::fmt;

/// An operation of the packet plane that failed. The remedy for each (operation, errno) is Python's to word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneError {
    /// What was attempted: `bind`, `connect`, `bind to interface`, …
    pub operation: &'static str,
    /// The address, interface or namespace it was attempted on.
    pub address: String,
    /// The kernel's errno, 0 where the kernel was not asked.
    pub errno: i32,
    /// What cannot be said by the errno alone; may be empty.
    pub detail: String,
}

impl PlaneError {
    /// An error of our own, which the kernel has no number for.
    pub fn refused(operation: &'static str, address: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self { operation, address: address.to_string(), errno: 0, detail: detail.into() }
    }

    /// Names the operation and the address of a failed system call.
    pub fn system(operation: &'static str, address: impl fmt::Display, error: &std::io::Error) -> Self {
        Self {
            operation,
            address: address.to_string(),
            errno: error.raw_os_error().unwrap_or(0),
            detail: String::new(),
        }
    }
}

impl fmt::Display for PlaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.address)?;
        if self.errno != 0 {
            write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlaneError {}
