//! The core's errors as the exceptions of `b24_messageservice._errors`.

use crate::names::spelled;
use b24_messageservice::tables::KINDS;
use b24_messageservice::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

/// The exception for `error`, ready to be raised.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    instance(py, error).map_or_else(|failure| failure, PyErr::from_value)
}

/// The exception for `error`, as an object: the outcome of an update in a batch.
pub(crate) fn instance<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let attributes = PyDict::new(py);
    attributes.set_item("portal_code", error.portal_code())?;
    attributes.set_item("description", error.description())?;
    attributes.set_item("http_status", error.http_status())?;
    attributes.set_item("retryable", error.is_retryable())?;
    attributes.set_item("retry_after", error.retry_after().map(|d| d.as_secs_f64()))?;
    MODULE
        .get_or_try_init(py, || {
            py.import("b24_messageservice._errors").map(Bound::unbind)
        })?
        .bind(py)
        .getattr(class_name(error.kind()))?
        .call((message(error),), Some(&attributes))
}

/// The error's message with the names that options have in Python. What the portal says in it stays
/// as the portal wrote it.
fn message(error: &Error) -> String {
    let description = error.description();
    if description.is_empty() {
        return spelled(error.message()).into_owned();
    }
    let ours: Vec<_> = error.message().split(description).map(spelled).collect();
    ours.join(description)
}

/// The exceptions of one batch. Successive updates that failed for the same reason share one.
#[derive(Default)]
pub(crate) struct Shared<'py>(Option<(Error, Bound<'py, PyAny>)>);

impl<'py> Shared<'py> {
    pub(crate) fn get(&mut self, py: Python<'py>, error: Error) -> PyResult<Bound<'py, PyAny>> {
        if let Some((last, exception)) = &self.0
            && *last == error
        {
            return Ok(exception.clone());
        }
        let exception = instance(py, &error)?;
        self.0 = Some((error, exception.clone()));
        Ok(exception)
    }
}

fn class_name(kind: ErrorKind) -> &'static str {
    let row = KINDS.iter().find(|row| row.kind == kind);
    row.map_or("InternalError", |row| row.class)
}
