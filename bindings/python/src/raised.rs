//! What Python code raises while the core calls it: kept until the call of the core ends.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};

thread_local! {
    /// What a signal handler or a callback raised during this thread's present call.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// How many calls this thread is inside of; none on the thread of a renewal.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// Runs a call of the core, which must not panic; what was raised meanwhile is its outcome.
pub(crate) fn during<T>(call: impl FnOnce() -> T) -> PyResult<T> {
    CALLS.set(CALLS.get() + 1);
    let outcome = call();
    CALLS.set(CALLS.get() - 1);
    match RAISED.take() {
        Some(raised) => Err(raised),
        None => Ok(outcome),
    }
}

/// Reports what a callback raised and nobody can catch: to `sys.unraisablehook`. Only
/// `KeyboardInterrupt` and its like are raised, when the call ends that the callback was made from;
/// on the thread of a renewal there is no such call.
pub(crate) fn report(py: Python<'_>, raised: PyErr, callback: Option<&Bound<'_, PyAny>>) {
    if CALLS.get() == 0 || raised.is_instance_of::<PyException>(py) {
        raised.write_unraisable(py, callback);
    } else {
        at_the_end(raised);
    }
}

/// Keeps an exception for the end of this thread's present call.
pub(crate) fn at_the_end(raised: PyErr) {
    // The former is dropped after the cell is free again: a finalizer may call a client.
    drop(RAISED.replace(Some(raised)));
}
