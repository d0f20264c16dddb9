//! What a provider's methods return, as the package's own classes.

use crate::names::spelled;
use b24_messageservice::{Drained, PortalState, RefusedReceipt};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyType};
use std::time::Duration;

/// A member of the package's enum `Status`.
pub(crate) fn status<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS
        .import(py, "b24_messageservice._status", "Status")?
        .call1((text,))
}

pub(crate) fn drained<'py>(py: Python<'py>, drained: &Drained) -> PyResult<Bound<'py, PyAny>> {
    module(py)?.getattr("Drained")?.call1((
        drained.sent,
        drained.refused,
        drained.held,
        drained.waiting,
        seconds(drained.next_due),
    ))
}

pub(crate) fn portal_state<'py>(
    py: Python<'py>,
    portal: &PortalState,
) -> PyResult<Bound<'py, PyAny>> {
    module(py)?.getattr("PortalState")?.call1((
        &portal.member_id,
        &portal.client_endpoint,
        portal.state,
        spelled(&portal.reason),
        portal.waiting,
        portal.refused,
        seconds(portal.oldest),
        seconds(portal.next_due),
    ))
}

pub(crate) fn refused_receipt<'py>(
    py: Python<'py>,
    receipt: &RefusedReceipt,
) -> PyResult<Bound<'py, PyAny>> {
    let module = module(py)?;
    module.getattr("RefusedReceipt")?.call1((
        &receipt.cursor,
        &receipt.member_id,
        &receipt.code,
        &receipt.message_id,
        &receipt.operator,
        &receipt.reference,
        status(py, receipt.status)?,
        module.call_method1("_time", (receipt.at_ms,))?,
        spelled(&receipt.reason),
    ))
}

fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || {
        py.import("b24_messageservice._provider").map(Bound::unbind)
    })?;
    Ok(module.bind(py))
}

fn seconds(length: Option<Duration>) -> Option<f64> {
    length.map(|length| length.as_secs_f64())
}
