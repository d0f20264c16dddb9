//! What cannot be pickled or copied says what to do instead.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The exception of `__reduce_ex__`, which pickle, copy and multiprocessing call.
pub(crate) fn refused<T>(_object: &T, what: &str, instead: &str) -> PyErr {
    PyTypeError::new_err(format!("cannot pickle or copy a {what}: {instead}"))
}
