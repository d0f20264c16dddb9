//! The `Request` class: what a portal has posted.

// The doc comments below are Python docstrings, without Markdown.
#![allow(clippy::doc_markdown)]

use crate::arguments::{self, Unsendable, type_name};
use crate::unpicklable;
use b24_messageservice::Request as CoreRequest;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString, PyType};

/// A request of a portal, as Provider.receive returns it: checked to be the portal's, except a frame.
///
/// The fields are under the portal's own names, nested ones in PHP's notation such as
/// auth[user_id], and are all str. request[name] raises KeyError if there is none of this name, get
/// returns a default. The repr shows no values of fields.
#[pyclass(frozen, mapping, module = "b24_messageservice")]
pub(crate) struct Request {
    pub(crate) inner: CoreRequest,
}

#[pymethods]
impl Request {
    /// What the portal wants: "message" (send one), "install" or "uninstall" (it is done already),
    /// or "frame" (a page of the application was opened; nothing was stored).
    #[getter]
    fn kind(&self) -> &'static str {
        self.inner.kind().as_str()
    }

    /// The portal's permanent id; empty if a frame does not say it.
    #[getter]
    fn member_id(&self) -> &str {
        self.inner.member_id()
    }

    /// The portal's REST address as the request says it; empty if it does not.
    #[getter]
    fn client_endpoint(&self) -> &str {
        self.inner.client_endpoint()
    }

    /// All fields, a Fields: a mapping of names to str. There are tokens among them.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let fields = PyDict::new(py);
        for (name, value) in self.inner.fields() {
            fields.set_item(name, value)?;
        }
        CLASS
            .import(py, "b24_messageservice._provider", "Fields")?
            .call1((fields,))
    }

    /// The field of this name, or default if there is none.
    #[pyo3(signature = (name, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self.field(name)? {
            Some(value) => Some(PyString::new(py, value).into_any()),
            None => default,
        })
    }

    fn __getitem__(&self, name: &Bound<'_, PyAny>) -> PyResult<&str> {
        self.field(name)?
            .ok_or_else(|| PyKeyError::new_err(name.clone().unbind()))
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.field(name)?.is_some())
    }

    fn __reduce_ex__(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = protocol;
        let instead = "pass on the fields that are needed; dict(request.fields) is all, with the tokens \
                       among them";
        Err(unpicklable::refused(self, "Request", instead))
    }

    fn __repr__(&self) -> String {
        format!(
            "<b24_messageservice.Request {} {}>",
            self.kind(),
            self.member_id()
        )
    }
}

impl Request {
    fn field(&self, name: &Bound<'_, PyAny>) -> PyResult<Option<&str>> {
        let field = arguments::word("name", name).map_err(|fault| fault.raise(name.py()))?;
        Ok(self.inner.get(&field))
    }
}

/// The bytes of a request's body.
pub(crate) fn body<'py>(value: &Bound<'py, PyAny>) -> PyResult<Body<'py>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        Ok(Body::Borrowed(bytes.clone()))
    } else if let Ok(bytes) = value.cast::<PyByteArray>() {
        Ok(Body::Copied(bytes.to_vec()))
    } else if value.is_instance_of::<PyMemoryView>() {
        Ok(Body::Borrowed(value.call_method0("tobytes")?.cast_into()?))
    } else if value.is_instance_of::<PyString>() {
        arguments::word("body", value)
            .map(|text| Body::Copied(text.into_bytes()))
            .map_err(|fault| fault.raise(value.py()))
    } else {
        let fault = format!(
            "body must be bytes, bytearray, memoryview or str, not {}",
            type_name(value)
        );
        Err(Unsendable::Type(fault).raise(value.py()))
    }
}

/// Bytes that do not change while the interpreter is not held.
pub(crate) enum Body<'py> {
    Borrowed(Bound<'py, PyBytes>),
    Copied(Vec<u8>),
}

impl Body<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes.as_bytes(),
            Self::Copied(bytes) => bytes,
        }
    }
}
