//! Turns keyword arguments into the texts of the core's options.

use crate::arguments::type_name;
use crate::{errors, renewal, waiting};
use b24_messageservice::tables::OPTIONS;
use b24_messageservice::{Config, Error, ErrorKind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::sync::LazyLock;

/// The name and the text of one option of the core.
type Setting = (String, String);

/// All options that are not `None`, by the core's names.
pub(crate) fn settings(options: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<Setting>> {
    let mut settings = Vec::new();
    for (name, value) in options.into_iter().flatten() {
        if !value.is_none() {
            settings.push(setting(&name.cast::<PyString>()?.to_cow()?, &value)?);
        }
    }
    Ok(settings)
}

/// The setting of the portal, which is an argument of its own.
pub(crate) fn portal(portal: &Bound<'_, PyAny>) -> PyResult<Option<Setting>> {
    if portal.is_none() {
        return Ok(None);
    }
    Ok(Some(("portal".to_owned(), text("portal", portal)?)))
}

/// Removes the option `on_renewal`, which is no text, from the others.
pub(crate) fn take_callback(options: Option<&Bound<'_, PyDict>>) -> PyResult<Option<Py<PyAny>>> {
    let Some(options) = options else {
        return Ok(None);
    };
    let Some(callback) = options.get_item("on_renewal")? else {
        return Ok(None);
    };
    options.del_item("on_renewal")?;
    if callback.is_none() {
        Ok(None)
    } else if callback.is_callable() {
        Ok(Some(callback.unbind()))
    } else {
        Err(PyTypeError::new_err(format!(
            "on_renewal must be callable or None, not {}",
            type_name(&callback)
        )))
    }
}

/// The configuration of a client with these options.
pub(crate) fn of_client(settings: &[Setting]) -> Result<Config, Error> {
    // Clones of one configuration have equal callbacks, so that a shared client is found again.
    static BASE: LazyLock<Config> = LazyLock::new(|| {
        let mut config = Config::new();
        config.on_interrupt(waiting::on_interrupt);
        config.on_renewal_of_caller(renewal::callback_of_this_thread);
        config
    });
    with(BASE.clone(), settings)
}

/// The configuration of a provider with these options.
pub(crate) fn of_provider(settings: &[Setting], has_on_renewal: bool) -> Result<Config, Error> {
    let mut config = Config::new();
    config.on_interrupt(waiting::on_interrupt);
    if has_on_renewal {
        // The core says that a provider takes none.
        config.on_renewal(|_| ());
    }
    with(config, settings)
}

fn with(mut config: Config, settings: &[Setting]) -> Result<Config, Error> {
    for (name, value) in settings {
        config.set(name, value)?;
    }
    Ok(config)
}

fn setting(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Setting> {
    let in_seconds = OPTIONS
        .iter()
        .find(|row| row.name.strip_suffix("_ms") == Some(name));
    match in_seconds {
        Some(row) => Ok((row.name.to_owned(), milliseconds(name, value)?)),
        None => Ok((name.to_owned(), text(name, value)?)),
    }
}

/// Turns seconds, a number or text, into milliseconds. What is not a number stays unchanged, and
/// the core refuses it.
fn milliseconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = text(name, value)?;
    Ok(text
        .parse::<f64>()
        .map_or(text, |seconds| (seconds * 1000.0).round().to_string()))
}

/// The text of an option's value.
fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = value.cast::<PyString>() {
        utf8(name, text)
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Ok(flag.is_true().to_string())
    } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        utf8(name, &value.repr()?)
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let items: Vec<String> = value
            .try_iter()?
            .map(|item| text(name, &item?))
            .collect::<PyResult<_>>()?;
        Ok(items.join(","))
    } else {
        path(name, value)
    }
}

fn path(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let path = value
        .py()
        .import("os")?
        .call_method1("fspath", (value,))
        .ok()
        .filter(|path| !path.is_instance_of::<PyBytes>())
        .ok_or_else(|| {
            PyTypeError::new_err(format!(
                "{name} must be a str, a number, a bool, a path, or a list of str, not {}",
                type_name(value)
            ))
        })?;
    utf8(name, path.cast::<PyString>()?)
}

fn utf8(name: &str, text: &Bound<'_, PyString>) -> PyResult<String> {
    text.to_cow()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| {
            let fault = format!("{name} holds a lone surrogate, which is no text");
            errors::exception(text.py(), &Error::new(ErrorKind::InvalidConfig, fault))
        })
}
