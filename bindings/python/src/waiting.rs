//! Calls the core without the GIL, runs handlers of signals, and catches panics.

use crate::{errors, logging, raised};
use b24_messageservice::{Error, ErrorKind};
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Runs `body`, which may wait or take a lock of the core, detached from the interpreter.
///
/// Every call of the core goes through here. If a thread held the GIL while it waited for a lock of
/// the core, it would deadlock with a thread that holds the lock and logs.
pub(crate) fn detached<T: Send>(py: Python<'_>, body: impl FnOnce() -> T + Send) -> PyResult<T> {
    logging::refresh(py);
    let outcome = raised::during(|| py.detach(|| catch_unwind(AssertUnwindSafe(body))))?;
    outcome.map_err(|_| {
        // The panic's text went to standard error. It is not repeated here, because it may contain
        // anything.
        let fault = "a fault inside the library: please report it with the panic message that was \
                     written to standard error; the client can still be used";
        errors::exception(py, &Error::new(ErrorKind::Internal, fault))
    })
}

/// For each turn of a loop that may be long: from time to time it releases the GIL for other
/// threads and runs the handlers of pending signals. Returns whether this was such a turn.
pub(crate) fn give_way(py: Python<'_>, turn: usize) -> PyResult<bool> {
    const EVERY: usize = 1000;
    let is_time = turn % EVERY == EVERY - 1;
    if is_time {
        // Without a pause this thread would have the GIL again before a thread that waits for it,
        // such as that of an event loop, has woken up.
        py.detach(|| std::thread::sleep(Duration::from_micros(20)));
        py.check_signals()?;
    }
    Ok(is_time)
}

/// The core calls this when a signal ended a wait on this thread. Runs the Python handlers of
/// pending signals, and returns whether one of them raised.
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
