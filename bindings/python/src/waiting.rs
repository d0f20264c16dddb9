//! How the core is called: without the GIL, with signals answered, and with panics caught.

use crate::{errors, logging};
use b24_messageservice::{Error, ErrorKind};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// What a signal handler or a callback raised during this thread's present call.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// How many calls this thread is inside of; none on the thread of a renewal.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// Runs what may wait or take a lock of the core, detached from the interpreter.
///
/// Every entry into the core goes through here: a thread that held the GIL while it waited for a
/// lock of the core would deadlock with one that holds the lock and logs.
pub(crate) fn detached<T: Send>(py: Python<'_>, body: impl FnOnce() -> T + Send) -> PyResult<T> {
    logging::refresh(py);
    CALLS.set(CALLS.get() + 1);
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(body)));
    CALLS.set(CALLS.get() - 1);
    if let Some(raised) = RAISED.take() {
        return Err(raised);
    }
    outcome.map_err(|_| {
        // The panic's own text went to standard error; here it could carry anything.
        let fault = "a fault inside the library: please report it with the panic message that was \
                     written to standard error; the client stays usable";
        errors::exception(py, &Error::new(ErrorKind::Internal, fault))
    })
}

/// To be called at each turn of a loop that may be long: now and then lets other threads have the
/// GIL, and runs the handlers of pending signals.
pub(crate) fn give_way(py: Python<'_>, turn: usize) -> PyResult<()> {
    const EVERY: usize = 1000;
    if turn % EVERY == EVERY - 1 {
        py.detach(|| ());
        py.check_signals()?;
    }
    Ok(())
}

/// Asked by the core when a signal ended a wait on this thread: runs the Python handlers of the
/// signals that are pending, and tells whether one of them raised.
pub(crate) fn on_interrupt() -> bool {
    Python::try_attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(raised) => {
            raise_later(raised);
            true
        }
    })
    .unwrap_or(true)
}

/// Reports what a callback raised and nobody can catch: to `sys.unraisablehook`. Only
/// `KeyboardInterrupt` and its like are raised, when the call ends that the callback was made from;
/// on the thread of a renewal there is no such call.
pub(crate) fn report(py: Python<'_>, raised: PyErr, callback: Option<&Bound<'_, PyAny>>) {
    if CALLS.get() == 0 || raised.is_instance_of::<PyException>(py) {
        raised.write_unraisable(py, callback);
    } else {
        raise_later(raised);
    }
}

fn raise_later(raised: PyErr) {
    // The former is dropped after the cell is free again: a finalizer may call a client.
    drop(RAISED.replace(Some(raised)));
}
