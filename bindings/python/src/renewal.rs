//! Tokens as `b24_messageservice.Tokens`, and the callback that is given renewed ones.

use crate::waiting;
use b24_messageservice::Tokens;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use std::cell::RefCell;

thread_local! {
    /// The `on_renewal` of the client that this thread calls at present.
    static CALLBACK: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
}

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

/// Makes a callback this thread's, for as long as the guard lives.
///
/// The core is given one and the same function for all clients ([`on_renewal`]), and the callbacks
/// stay with the Python objects: the garbage collector sees them there, and shared clients that
/// differ in nothing else are equal.
pub(crate) fn serve(callback: Option<Py<PyAny>>) -> Serving {
    Serving(CALLBACK.replace(callback))
}

/// Gives the thread its former callback back: a callback may call another client.
pub(crate) struct Serving(Option<Py<PyAny>>);

impl Drop for Serving {
    fn drop(&mut self) {
        // Dropped after the cell is free again: a finalizer may call a client.
        drop(CALLBACK.replace(self.0.take()));
    }
}

/// Called by the core, detached, on the thread whose call renewed.
pub(crate) fn on_renewal(tokens: &Tokens) {
    Python::try_attach(|py| {
        let callback = CALLBACK.with_borrow(|callback| callback.as_ref().map(|c| c.clone_ref(py)));
        if let Some(callback) = callback {
            let callback = callback.bind(py);
            if let Err(raised) = to_python(py, tokens).and_then(|tokens| callback.call1((tokens,)))
            {
                waiting::report(py, raised, Some(callback));
            }
        }
    });
}
