//! Turns arguments of calls into text and numbers for the core, or into an exception that says what
//! is wrong with them.

use crate::errors;
use crate::options::type_name;
use b24_messageservice::{Error, ErrorKind, Sender, Update};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyList, PyMapping, PyString, PyTuple};

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

    /// In a batch, neither stops the other updates.
    pub(crate) fn outcome(self, index: usize) -> Error {
        match self {
            Self::Type(message) => Error::new(
                ErrorKind::InvalidArgument,
                format!("updates[{index}]: {message}"),
            ),
            Self::Error(error) => error,
        }
    }
}

/// An update of a batch.
pub(crate) fn update(item: &Bound<'_, PyAny>) -> Result<Update, Unsendable> {
    let list = item.cast::<PyList>().map(PyListMethods::to_tuple);
    let Ok(tuple) = list.as_ref().or_else(|_| item.cast::<PyTuple>()) else {
        return Err(Unsendable::Type(format!(
            "an update is a tuple (code, message_id, status), not {}",
            type_name(item)
        )));
    };
    let Ok((code, message_id, status)) =
        tuple.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>)>()
    else {
        let fault = match tuple.len() {
            0 => "code, message_id and status are missing".to_owned(),
            1 => "message_id and status are missing".to_owned(),
            2 => "status is missing".to_owned(),
            more => format!("{more} values are too many"),
        };
        let rule = "an update is (code, message_id, status)";
        return Err(Unsendable::Type(format!("{fault}: {rule}")));
    };
    Ok(Update::new(
        word("code", &code)?,
        id(&message_id)?,
        word("status", &status)?,
    ))
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
    if value.is_instance_of::<PyString>() {
        return word("message_id", value);
    }
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(Unsendable::Type(format!(
            "message_id must be a str or an int, not {}",
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
        let fault = format!("message_id cannot be written in decimal: {refused}");
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
