//! Test-packet formats.
#![forbid(unsafe_code)]
