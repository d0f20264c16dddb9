//! The native part of the Python package `b24_messageservice`: the binding to the core crate.
//!
//! It converts types, errors and lifetimes, and decides nothing: options, arguments and retries are
//! handled by the core. The exceptions, `Status`, `Tokens` and what a provider returns are written in
//! Python, in the package beside this crate.
#![forbid(unsafe_code)]

mod arguments;
mod batch;
mod client;
mod errors;
mod fork;
mod limits;
mod logging;
mod names;
mod options;
mod provider;
mod raised;
mod renewal;
mod request;
mod results;
mod shell;
mod unpicklable;
mod vocabulary;
mod waiting;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The native module. Private: use `b24_messageservice`.
#[pymodule(gil_used = false)]
mod _native {
    use super::{Bound, PyModule, PyResult, logging, refuse_other_interpreters};
    use pyo3::types::PyModuleMethods;

    #[pymodule_export]
    use super::client::Client;

    #[pymodule_export]
    use super::limits::CancelToken;

    #[pymodule_export]
    use super::provider::Provider;

    #[pymodule_export]
    use super::request::Request;

    #[pymodule_export]
    use super::vocabulary::Vocabulary;

    #[pymodule_export]
    use super::fork::{after_fork, before_fork};

    #[pymodule_export]
    use super::options::check_options;

    #[pymodule_export]
    use super::renewal::renewals_wait;

    #[pymodule_export]
    use super::shell::run_shell;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        refuse_other_interpreters(module.py())?;
        logging::install();
        module.add("__version__", b24_messageservice::VERSION)
    }
}

/// What this module keeps, such as the classes of exceptions, belongs to one interpreter. In another
/// one of the process it would be used by the wrong one, and after the end of its own.
fn refuse_other_interpreters(py: Python<'_>) -> PyResult<()> {
    // Each interpreter has a module `sys` of its own.
    static FIRST: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let own = py.import("sys")?;
    if FIRST.get_or_init(py, || own.clone().unbind()).is(&own) {
        Ok(())
    } else {
        Err(PyImportError::new_err(
            "b24_messageservice works in one interpreter of a process, and another one has imported \
             it already: do not use it in a subinterpreter",
        ))
    }
}
