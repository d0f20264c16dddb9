//! What the core is told around a fork. The package registers these with `os.register_at_fork`.

use crate::waiting;
use pyo3::prelude::*;

/// Waits until no thread uses a store, and keeps it so until the fork is over.
///
/// A thread that uses one may need the interpreter before it is done, so this waits detached.
#[pyfunction]
pub(crate) fn before_fork(py: Python<'_>) -> PyResult<()> {
    waiting::detached(py, b24_messageservice::before_fork)
}

/// In the parent as in the child.
#[pyfunction]
pub(crate) fn after_fork(py: Python<'_>) -> PyResult<()> {
    waiting::detached(py, b24_messageservice::after_fork)
}
