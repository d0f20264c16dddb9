//! What limits one call: its timeout, and the token that cancels it.

// The doc comments below are Python docstrings, without Markdown.
#![allow(clippy::doc_markdown)]

use crate::{arguments, unpicklable, waiting};
use b24_messageservice::CancelToken as CoreToken;
use b24_messageservice::{Client, Provider};
use pyo3::prelude::*;
use std::time::Duration;

/// Cancels calls one by one: those that were given it as cancel.
///
/// One token may be given to any number of calls, of any clients and providers. Once it is
/// cancelled, it stays so: a call that begins later raises Cancelled at once and sends nothing. In
/// a forked child it is a token of the child's own.
#[pyclass(frozen, weakref, module = "b24_messageservice")]
pub(crate) struct CancelToken {
    pub(crate) inner: CoreToken,
}

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self {
            inner: CoreToken::new(),
        }
    }

    /// Ends the calls that were given this token, from any thread, whatever they wait for: they
    /// raise Cancelled. An update that is cancelled may have been stored.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        waiting::detached(py, || self.inner.cancel())
    }

    /// Whether it was cancelled.
    fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    fn __repr__(&self) -> &'static str {
        if self.inner.is_cancelled() {
            "<b24_messageservice.CancelToken cancelled>"
        } else {
            "<b24_messageservice.CancelToken>"
        }
    }

    fn __reduce_ex__(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = protocol;
        let instead =
            "it ends calls of its own process only; make one there, or give the call a timeout";
        Err(unpicklable::refused(self, "CancelToken", instead))
    }
}

/// A handle of the core whose calls can be limited.
pub(crate) trait Limited: Clone {
    fn with_timeout(&self, timeout: Duration) -> Self;
    fn with_cancel(&self, token: &CoreToken) -> Self;
}

impl Limited for Client {
    fn with_timeout(&self, timeout: Duration) -> Self {
        Self::with_timeout(self, timeout)
    }

    fn with_cancel(&self, token: &CoreToken) -> Self {
        Self::with_cancel(self, token)
    }
}

impl Limited for Provider {
    fn with_timeout(&self, timeout: Duration) -> Self {
        Self::with_timeout(self, timeout)
    }

    fn with_cancel(&self, token: &CoreToken) -> Self {
        Self::with_cancel(self, token)
    }
}

/// The handle for a call with these arguments.
pub(crate) fn limited<H: Limited>(
    py: Python<'_>,
    handle: &H,
    timeout: Option<f64>,
    cancel: Option<&Bound<'_, CancelToken>>,
) -> PyResult<H> {
    let mut handle = handle.clone();
    if let Some(timeout) = timeout {
        let timeout = arguments::seconds("timeout", timeout).map_err(|fault| fault.raise(py))?;
        handle = handle.with_timeout(timeout);
    }
    if let Some(token) = cancel {
        handle = handle.with_cancel(&token.get().inner);
    }
    Ok(handle)
}
