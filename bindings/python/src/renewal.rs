//! Tokens as `b24_messageservice.Tokens`, and the callback that is given renewed ones.

use crate::waiting;
use b24_messageservice::Tokens;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use std::sync::{Arc, Mutex, PoisonError};

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

/// The `on_renewal` of one client.
///
/// The callback is often a method of the object that owns the client. That cycle can be collected
/// only if the garbage collector sees the callback, so the Python object shares it with the core
/// instead of giving it away.
#[derive(Clone, Default)]
pub(crate) struct OnRenewal(Arc<Mutex<Option<Py<PyAny>>>>);

impl OnRenewal {
    pub(crate) fn new(callback: Py<PyAny>) -> Self {
        Self(Arc::new(Mutex::new(Some(callback))))
    }

    /// Called by the core, detached, on the thread whose call renewed.
    pub(crate) fn call(&self, tokens: &Tokens) {
        Python::try_attach(|py| {
            // Not called under the lock: the callback may drop the client.
            let callback = self.with(|callback| callback.as_ref().map(|c| c.clone_ref(py)));
            if let Some(callback) = callback {
                let callback = callback.bind(py);
                if let Err(raised) = to_python(py, tokens).and_then(|t| callback.call1((t,))) {
                    waiting::report(py, raised, Some(callback));
                }
            }
        });
    }

    /// For the garbage collector: what is held, if no other thread holds the lock now.
    pub(crate) fn visit<T: Default>(&self, visit: impl FnOnce(&Option<Py<PyAny>>) -> T) -> T {
        self.0
            .try_lock()
            .map_or_else(|_| T::default(), |callback| visit(&callback))
    }

    pub(crate) fn clear(&self) {
        // Dropped after the lock is released: a finalizer may run.
        let _callback = self.with(Option::take);
    }

    fn with<T>(&self, body: impl FnOnce(&mut Option<Py<PyAny>>) -> T) -> T {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
