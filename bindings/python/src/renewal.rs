//! Tokens as `b24_messageservice.Tokens`, and the callback that receives renewed ones.

// The doc comment of the function is a Python docstring, without Markdown.
#![allow(clippy::doc_markdown)]

use crate::{arguments, errors, raised, waiting};
use b24_messageservice::{ErrorKind, Tokens};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use std::cell::RefCell;
use std::time::{Duration, Instant};

thread_local! {
    /// The `on_renewal` of the client that this thread calls at present.
    static CALLBACK: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
}

/// The function that receives a renewed pair.
type Listener = Box<dyn FnOnce(&Tokens) + Send>;

/// The tokens as an instance of the package's `Tokens` class.
pub(crate) fn to_python<'py>(py: Python<'py>, tokens: &Tokens) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS
        .import(py, "b24_messageservice._tokens", "Tokens")?
        .call1((
            tokens.access_token(),
            tokens.refresh_token(),
            tokens.client_endpoint(),
            tokens.member_id(),
            tokens.expires(),
        ))
}

/// Makes a callback the one of this thread, as long as the guard exists.
///
/// All clients give the core the same function ([`callback_of_this_thread`]), and the callbacks
/// stay in the Python objects. So the garbage collector sees them, and shared clients that differ
/// only in their callback are equal.
pub(crate) fn serve(callback: Option<Py<PyAny>>) -> Serving {
    Serving(CALLBACK.replace(callback))
}

/// Restores the former callback of the thread, since a callback may call another client.
pub(crate) struct Serving(Option<Py<PyAny>>);

impl Drop for Serving {
    fn drop(&mut self) {
        // Dropped after the cell is released, since a finalizer may call a client.
        drop(CALLBACK.replace(self.0.take()));
    }
}

/// The core calls this, detached, on the thread whose call starts a renewal. The result receives
/// the new pair, on the renewal's own thread.
pub(crate) fn callback_of_this_thread() -> Option<Listener> {
    let callback = Python::try_attach(|py| {
        CALLBACK.with_borrow(|callback| callback.as_ref().map(|c| c.clone_ref(py)))
    });
    let callback = callback??;
    Some(Box::new(move |tokens| {
        Python::try_attach(|py| {
            let callback = callback.into_bound(py);
            if let Err(exception) =
                to_python(py, tokens).and_then(|tokens| callback.call1((tokens,)))
            {
                raised::report(py, exception, Some(&callback));
            }
        });
    }))
}

/// A signal does not end this wait of the core. So it is interrupted this often to look for
/// signals.
const SLICE: Duration = Duration::from_millis(100);

/// Waits until no renewal of tokens is under way in this process, for timeout seconds at most.
///
/// A renewal may take longer than the call that started it. Once its request has been sent, only
/// the answer has tokens that work, so a thread of its own waits for it and stores it. When the
/// interpreter ends, this function is called with 45.0. Call it yourself before os._exit, and at
/// the end of a worker process that was forked by multiprocessing or Celery. After a fork, renewals
/// stay with the parent, which finishes them. Raises CallTimeout if a renewal is still under way;
/// at once if timeout is 0.
#[pyfunction]
pub(crate) fn renewals_wait(py: Python<'_>, timeout: f64) -> PyResult<()> {
    let timeout = arguments::seconds("timeout", timeout).map_err(|fault| fault.raise(py))?;
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        let outcome = waiting::detached(py, || b24_messageservice::renewals_wait(left.min(SLICE)))?;
        py.check_signals()?;
        match outcome {
            Err(error) if left <= SLICE => return Err(errors::exception(py, &error)),
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            outcome => return outcome.map_err(|error| errors::exception(py, &error)),
        }
    }
}
