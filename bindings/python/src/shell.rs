//! The program `b24-messageservice`, for `python -m b24_messageservice`.

use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs the program with these arguments, and returns its exit code. It writes to the process's own
/// streams, and waits for SIGINT and SIGTERM itself: Python sees neither of them meanwhile.
#[pyfunction]
pub(crate) fn run_shell(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| b24_messageservice_cli::run(arguments))
}
