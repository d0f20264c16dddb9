//! The native part of the Python package `b24_messageservice`: the binding to the core crate.
//!
//! It converts types, errors and lifetimes, and decides nothing: options, arguments and retries are
//! handled by the core. The exceptions, `Status` and `Tokens` are written in Python, in the package
//! beside this crate.
#![forbid(unsafe_code)]

mod arguments;
mod client;
mod errors;
mod logging;
mod options;
mod raised;
mod renewal;
mod waiting;

use pyo3::prelude::*;

/// The native module. Private: use `b24_messageservice`.
#[pymodule(gil_used = false)]
mod _native {
    use super::{Bound, PyModule, PyResult, logging};
    use pyo3::types::PyModuleMethods;

    #[pymodule_export]
    use super::client::Client;

    #[pymodule_export]
    use super::renewal::renewals_wait;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        logging::install();
        module.add("__version__", b24_messageservice::VERSION)
    }
}
