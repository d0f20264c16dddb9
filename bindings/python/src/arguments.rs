//! Turns arguments of calls into text and numbers for the core, or into an exception that says what
//! is wrong with them.

use crate::errors;
use b24_messageservice::{Error, ErrorKind, Receipt, Sender, Update};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple, PyType};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why an argument cannot be passed to the core: a wrong type, or a value of the right type that is
/// not valid text.
pub(crate) enum Unsendable {
    Type(String),
    Error(Error),
}

impl Unsendable {
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Type(message) => PyTypeError::new_err(message),
            Self::Error(error) => errors::exception(py, &error),
        }
    }

    /// In a batch, neither stops the other items. `place` names this one.
    pub(crate) fn outcome(self, place: &str) -> Error {
        match self {
            Self::Type(message) => {
                Error::new(ErrorKind::InvalidArgument, format!("{place}: {message}"))
            }
            Self::Error(error) => error,
        }
    }
}

/// What an item of a batch is: a tuple or a list of values with these names.
struct Shape {
    what: &'static str,
    rule: &'static str,
    names: &'static [&'static str],
    /// How many of them there must be.
    least: usize,
}

const UPDATE: Shape = Shape {
    what: "an update",
    rule: "(code, message_id, status)",
    names: &["code", "message_id", "status"],
    least: 3,
};

const RECEIPT: Shape = Shape {
    what: "a receipt",
    rule: "(member_id, code, message_id, status[, at])",
    names: &["member_id", "code", "message_id", "status", "at"],
    least: 4,
};

impl Shape {
    fn values<'py>(&self, item: &Bound<'py, PyAny>) -> Result<Vec<Bound<'py, PyAny>>, Unsendable> {
        let list = item.cast::<PyList>().map(PyListMethods::to_tuple);
        let tuple = list.as_ref().or_else(|_| item.cast::<PyTuple>());
        tuple.map(|tuple| tuple.iter().collect()).map_err(|_| {
            let Self { what, rule, .. } = self;
            Unsendable::Type(format!("{what} is a tuple {rule}, not {}", type_name(item)))
        })
    }

    /// Why this many values are no such item.
    fn wrong_count(&self, given: usize) -> Unsendable {
        let fault = match self.names.get(given..self.least) {
            Some([name]) => format!("{name} is missing"),
            Some([names @ .., last]) => format!("{} and {last} are missing", names.join(", ")),
            _ => format!("{given} values are too many"),
        };
        Unsendable::Type(format!("{fault}: {} is {}", self.what, self.rule))
    }
}

/// An update of a batch.
pub(crate) fn update(item: &Bound<'_, PyAny>) -> Result<Update, Unsendable> {
    match UPDATE.values(item)?.as_slice() {
        [code, message_id, status] => Ok(Update::new(
            word("code", code)?,
            id(message_id)?,
            word("status", status)?,
        )),
        values => Err(UPDATE.wrong_count(values.len())),
    }
}

/// A receipt of any portal.
pub(crate) fn receipt(item: &Bound<'_, PyAny>) -> Result<Receipt, Unsendable> {
    let values = RECEIPT.values(item)?;
    let (parts, at) = match values.as_slice() {
        [parts @ .., at] if values.len() == RECEIPT.names.len() => (parts, time(at)?),
        parts => (parts, None),
    };
    let [member_id, code, message_id, status] = parts else {
        return Err(RECEIPT.wrong_count(values.len()));
    };
    let receipt = Receipt::new(
        word("member_id", member_id)?,
        word("code", code)?,
        id(message_id)?,
        word("status", status)?,
    );
    Ok(match at {
        Some(at) => receipt.at(at),
        None => receipt,
    })
}

/// When a status came about: an aware datetime or Unix seconds. `None` stands for now.
pub(crate) fn time(value: &Bound<'_, PyAny>) -> Result<Option<SystemTime>, Unsendable> {
    static DATETIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if value.is_none() {
        return Ok(None);
    }
    let invalid = |fault: String| {
        Unsendable::Error(Error::new(
            ErrorKind::InvalidArgument,
            format!("at {fault}"),
        ))
    };
    let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    let seconds = if is_number && !value.is_instance_of::<PyBool>() {
        value.extract::<f64>()
    } else if DATETIME
        .import(value.py(), "datetime", "datetime")
        .and_then(|class| value.is_instance(class))
        .unwrap_or(false)
    {
        value.call_method0("utcoffset").and_then(|offset| {
            if offset.is_none() {
                let fault = "is a naive datetime, which does not say in which time zone it is: give an aware \
                             one, such as datetime.now(timezone.utc)";
                return Err(PyValueError::new_err(fault));
            }
            value.call_method0("timestamp")?.extract::<f64>()
        })
    } else {
        return Err(Unsendable::Type(format!(
            "at must be an aware datetime or Unix seconds, not {}",
            type_name(value)
        )));
    };
    let seconds = seconds.map_err(|refused| invalid(refused.value(value.py()).to_string()))?;
    instant(seconds)
        .map(Some)
        .ok_or_else(|| invalid(format!("cannot be {seconds}: give Unix seconds")))
}

/// The time so many Unix seconds after, or before, 1970.
fn instant(seconds: f64) -> Option<SystemTime> {
    let distance = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    // At the present time a float is exact to a quarter of a microsecond. Not rounded, a time that was
    // given in milliseconds could become one millisecond less.
    let microseconds = u64::try_from((distance.as_nanos() + 500) / 1000).ok()?;
    let distance = Duration::from_micros(microseconds);
    if seconds < 0.0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    }
}

/// A length of time in seconds.
pub(crate) fn seconds(name: &str, value: f64) -> Result<Duration, Unsendable> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        let fault = format!("{name} must be a number of seconds, 0 or more");
        Unsendable::Error(Error::new(ErrorKind::InvalidArgument, fault))
    })
}

/// An argument that is text.
pub(crate) fn word(name: &str, value: &Bound<'_, PyAny>) -> Result<String, Unsendable> {
    let text = value
        .cast::<PyString>()
        .map_err(|_| Unsendable::Type(format!("{name} must be a str, not {}", type_name(value))))?;
    text.to_cow()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| {
            let fault = format!("{name} contains a lone surrogate, which is not valid text");
            Unsendable::Error(Error::new(ErrorKind::InvalidArgument, fault))
        })
}

/// A message id: text, or an integer written in decimal.
pub(crate) fn id(value: &Bound<'_, PyAny>) -> Result<String, Unsendable> {
    word_or_number("message_id", value)
}

/// An argument that is text, or an integer, which is written in decimal.
pub(crate) fn word_or_number(name: &str, value: &Bound<'_, PyAny>) -> Result<String, Unsendable> {
    if value.is_instance_of::<PyString>() {
        return word(name, value);
    }
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(Unsendable::Type(format!(
            "{name} must be a str or an int, not {}",
            type_name(value)
        )));
    }
    // The repr of int itself, since that of an IntEnum is not the number.
    let decimal = value
        .py()
        .get_type::<PyInt>()
        .call_method1("__repr__", (value,))
        .and_then(|text| text.extract::<String>());
    decimal.map_err(|refused| {
        let fault = format!("{name} cannot be written in decimal: {refused}");
        Unsendable::Error(Error::new(ErrorKind::InvalidArgument, fault))
    })
}

/// The portal's own number of a message.
pub(crate) fn number(value: &Bound<'_, PyAny>) -> Result<u64, Unsendable> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(Unsendable::Type(format!(
            "message_id must be an int, the portal's own number of the message, not {}",
            type_name(value)
        )));
    }
    value.extract().map_err(|_| {
        let fault = "message_id must be a message's number, from 1 to 2**64 - 1";
        Unsendable::Error(Error::new(ErrorKind::InvalidArgument, fault))
    })
}

/// How many of something.
pub(crate) fn count(name: &str, value: &Bound<'_, PyAny>) -> Result<usize, Unsendable> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(Unsendable::Type(format!(
            "{name} must be an int, not {}",
            type_name(value)
        )));
    }
    value.extract().map_err(|_| {
        let fault = format!("{name} must be a number, 0 or more");
        Unsendable::Error(Error::new(ErrorKind::InvalidArgument, fault))
    })
}

/// A sender of these parts; those that are None stay unset.
pub(crate) fn sender(
    code: &Bound<'_, PyAny>,
    parts: &[(&str, Option<&Bound<'_, PyAny>>)],
) -> PyResult<Sender> {
    let py = code.py();
    let raise = |unsendable: Unsendable| unsendable.raise(py);
    let mut sender = Sender::new(word("code", code).map_err(raise)?);
    let mut set =
        |name: &str, language: Option<&str>, text: &str| match sender.set(name, language, text) {
            Ok(_) => Ok(()),
            Err(error) => Err(errors::exception(py, &error)),
        };
    for (name, value) in parts {
        let Some(value) = value else { continue };
        let is_shown = ["name", "description"].contains(name);
        match value.cast::<PyMapping>() {
            Ok(texts) if is_shown => {
                for item in texts.items()? {
                    let (language, text) = item.extract::<(Bound<'_, _>, Bound<'_, _>)>()?;
                    let language =
                        word(&format!("a language of {name}"), &language).map_err(raise)?;
                    let text = word(&format!("{name} in {language:?}"), &text).map_err(raise)?;
                    set(name, Some(&language), &text)?;
                }
            }
            Err(_) if is_shown && !value.is_instance_of::<PyString>() => {
                return Err(PyTypeError::new_err(format!(
                    "{name} must be a str, or a mapping of languages to str, not {}",
                    type_name(value)
                )));
            }
            _ => set(name, None, &word(name, value).map_err(raise)?)?,
        }
    }
    Ok(sender)
}

/// The name of a value's class, for a `TypeError`.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value
        .get_type()
        .name()
        .map_or_else(|_| "another type".to_owned(), |name| name.to_string())
}
