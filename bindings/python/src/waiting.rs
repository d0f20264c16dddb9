//! How the core is called: without the GIL, with signals answered, and with panics caught.

use crate::{errors, logging, raised};
use b24_messageservice::{Error, ErrorKind};
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what may wait or take a lock of the core, detached from the interpreter.
///
/// Every entry into the core goes through here: a thread that held the GIL while it waited for a
/// lock of the core would deadlock with one that holds the lock and logs.
pub(crate) fn detached<T: Send>(py: Python<'_>, body: impl FnOnce() -> T + Send) -> PyResult<T> {
    logging::refresh(py);
    let outcome = raised::during(|| py.detach(|| catch_unwind(AssertUnwindSafe(body))))?;
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
        Err(exception) => {
            raised::at_the_end(exception);
            true
        }
    })
    .unwrap_or(true)
}
