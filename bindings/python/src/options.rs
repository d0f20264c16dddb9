//! Turns keyword arguments, and variables of the environment, into the texts of the core's options.

use crate::arguments::type_name;
use crate::names::refuse_unknown;
use crate::{errors, renewal, waiting};
use b24_messageservice::tables::{OPTIONS, UsedBy};
use b24_messageservice::{Config, Error, ErrorKind};
use b24_messageservice_cli::{from_environment, variable_name};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::borrow::Cow;
use std::ffi::OsString;
use std::sync::LazyLock;

/// The options of a client or provider, as texts.
#[derive(Default)]
pub(crate) struct Settings {
    rows: Vec<Setting>,
    /// Whether those that are missing could have been variables.
    from_environment: bool,
}

struct Setting {
    /// Its name in Python.
    keyword: String,
    value: String,
    /// The variable or file that it comes from, whose unit of time is the core's.
    place: Option<String>,
}

impl Settings {
    /// All options that are not `None`. `owner` is what they were given to, for a `TypeError`.
    pub(crate) fn of_keywords(
        owner: &str,
        takes: UsedBy,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut settings = Self::default();
        let Some(options) = options else {
            return Ok(settings);
        };
        refuse_unknown(owner, takes, options, &[])?;
        for (name, value) in options {
            if !value.is_none() {
                settings.add(&name.cast::<PyString>()?.to_cow()?, &value)?;
            }
        }
        Ok(settings)
    }

    /// Adds an option, unless its value is `None`.
    pub(crate) fn add(&mut self, keyword: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !value.is_none() {
            self.rows.push(Setting {
                keyword: keyword.to_owned(),
                value: text(keyword, value)?,
                place: None,
            });
        }
        Ok(())
    }

    /// Adds what the environment gives and keywords do not.
    pub(crate) fn add_environment(&mut self, py: Python<'_>, takes: UsedBy) -> PyResult<()> {
        let invalid = |fault| errors::exception(py, &Error::new(ErrorKind::InvalidConfig, fault));
        // The variables as the program sees them, whatever the process's own are.
        let environment = py.import("os")?.getattr("environ")?;
        let lookup = |name: &str| {
            let value = environment.call_method1(intern!(py, "get"), (name,)).ok()?;
            value.extract::<OsString>().ok()
        };
        for row in OPTIONS.iter().filter(|row| row.keyword() != row.name) {
            let (near, right) = (variable_name(row.keyword()), variable_name(row.name));
            if lookup(&near).is_some_and(|value| !value.is_empty()) {
                return Err(invalid(format!(
                    "{near} is set, which is no variable of this library; set {right}, in milliseconds"
                )));
            }
        }
        let given = from_environment(takes, &lookup).map_err(|e| errors::exception(py, &e))?;
        for option in given {
            let keyword = option.row.keyword();
            if self.rows.iter().all(|row| row.keyword != keyword) {
                self.rows.push(Setting {
                    keyword: keyword.to_owned(),
                    value: option.value,
                    place: Some(option.place),
                });
            }
        }
        self.from_environment = true;
        Ok(())
    }

    /// The configuration of a client with these options.
    pub(crate) fn of_client(&self) -> Result<Config, Error> {
        // Clones of one configuration have equal callbacks, so that a shared client is found again.
        static BASE: LazyLock<Config> = LazyLock::new(|| {
            let mut config = Config::new();
            config.on_interrupt(waiting::on_interrupt);
            config.on_renewal_of_caller(renewal::callback_of_this_thread);
            config
        });
        self.set(BASE.clone())
    }

    /// The configuration of a provider with these options.
    pub(crate) fn of_provider(&self, has_on_renewal: bool) -> Result<Config, Error> {
        let mut config = Config::new();
        config.on_interrupt(waiting::on_interrupt);
        if has_on_renewal {
            // The core says that a provider takes none.
            config.on_renewal(|_| ());
        }
        self.set(config)
    }

    fn set(&self, mut config: Config) -> Result<Config, Error> {
        for row in &self.rows {
            match &row.place {
                None => config.set_keyword(&row.keyword, &row.value).map(drop)?,
                Some(place) => {
                    let named = OPTIONS.iter().find(|known| known.keyword() == row.keyword);
                    let name = named.map_or(row.keyword.as_str(), |named| named.name);
                    config.set(name, &row.value).map_err(|error| {
                        Error::new(error.kind(), format!("{error} (from {place})"))
                    })?;
                }
            }
        }
        Ok(config)
    }

    /// The error of a client or provider with these options, which says where a missing one belongs.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let name = error.message().split(' ').next().unwrap_or_default();
        if !self.from_environment
            || error.kind() != ErrorKind::InvalidConfig
            || !error.message().contains(" is missing")
            || OPTIONS.iter().all(|row| row.name != name)
        {
            return error;
        }
        let variable = variable_name(name);
        Error::new(
            error.kind(),
            format!("{error} (set {variable}, or give {name}=)"),
        )
    }
}

/// What the constructors of the classes for asyncio refuse at once, since the others are made only when
/// those are opened. What an environment says is read then as well.
#[pyfunction]
pub(crate) fn check_options(
    owner: &str,
    portal: Option<&Bound<'_, PyAny>>,
    options: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let is_provider = owner.starts_with("AsyncProvider");
    let takes = if is_provider {
        UsedBy::Provider
    } else {
        UsedBy::Client
    };
    refuse_unknown(owner, takes, options, &["max_threads"])?;
    // They are needed once more.
    let options = options.copy()?;
    let has_on_renewal = take_callback(Some(&options))?.is_some();
    let mut settings = Settings::of_keywords(owner, takes, Some(&options))?;
    if let Some(portal) = portal {
        settings.add("portal", portal)?;
    }
    let config = if is_provider {
        settings.of_provider(has_on_renewal)
    } else {
        settings.of_client()
    };
    let checked = config.and_then(|config| {
        if owner.ends_with("from_env") {
            Ok(())
        } else {
            config.check_for(takes)
        }
    });
    checked.map_err(|error| errors::exception(options.py(), &error))
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
    text.to_cow().map(Cow::into_owned).map_err(|_| {
        let fault = format!("{name} holds a lone surrogate, which is no text");
        errors::exception(text.py(), &Error::new(ErrorKind::InvalidConfig, fault))
    })
}
