//! The `Vocabulary` class: an operator's own words for statuses.

// The doc comments below are Python docstrings, without Markdown.
#![allow(clippy::doc_markdown)]

use crate::arguments::{Unsendable, type_name};
use crate::{arguments, errors, results, unpicklable};
use b24_messageservice::Vocabulary as CoreVocabulary;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

/// What an operator's own words for a status mean.
///
/// Vocabulary("smpp"), "gsm" and "twilio" are known. Vocabulary("mine", {"OK": "delivered"}) has
/// the words of a mapping; its name is for messages. Words compare without case and surrounding
/// spaces. Raises InvalidArgument for an unknown name or status.
#[pyclass(frozen, module = "b24_messageservice")]
pub(crate) struct Vocabulary {
    name: String,
    inner: CoreVocabulary,
}

#[pymethods]
impl Vocabulary {
    #[new]
    #[pyo3(signature = (name, table = None))]
    fn new(name: &Bound<'_, PyAny>, table: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let py = name.py();
        let raise = |fault: Unsendable| fault.raise(py);
        let name = arguments::word("name", name).map_err(raise)?;
        let Some(table) = table else {
            let inner = CoreVocabulary::named(&name).map_err(|e| errors::exception(py, &e))?;
            return Ok(Self { name, inner });
        };
        let mut inner = CoreVocabulary::new(&name);
        let table = table.cast::<PyMapping>().map_err(|_| {
            PyTypeError::new_err(format!(
                "table must be a mapping of words to statuses, not {}",
                type_name(table)
            ))
        })?;
        for item in table.items()? {
            let (word, status) = item.extract::<(Bound<'_, _>, Bound<'_, _>)>()?;
            let word = arguments::word_or_number("a word of table", &word).map_err(raise)?;
            let status =
                arguments::word(&format!("the status of {word:?}"), &status).map_err(raise)?;
            inner
                .set(&word, status)
                .map_err(|error| errors::exception(py, &error))?;
        }
        Ok(Self { name, inner })
    }

    /// Returns the Status that a word stands for, a str or an int. Raises InvalidArgument, which
    /// names the word, if it is unknown or says nothing about a delivery.
    #[pyo3(signature = (word))]
    fn status<'py>(
        &self,
        py: Python<'py>,
        word: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let word = arguments::word_or_number("word", word).map_err(|fault| fault.raise(py))?;
        let status = self
            .inner
            .status(&word)
            .map_err(|error| errors::exception(py, &error))?;
        results::status(py, status.as_str())
    }

    fn __reduce_ex__(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = protocol;
        let instead = "make one at import, in a module that each process imports";
        Err(unpicklable::refused(self, "Vocabulary", instead))
    }

    fn __repr__(&self) -> String {
        format!("<b24_messageservice.Vocabulary {:?}>", self.name)
    }
}
