//! The `Client` class.

// The doc comments below are Python docstrings, without Markdown.
#![allow(clippy::doc_markdown)]
// Every argument that Python has by name is one here.
#![allow(clippy::too_many_arguments)]

use crate::arguments::Unsendable;
use crate::batch::{self, Batch};
use crate::limits::{CancelToken, limited};
use crate::options::Settings;
use crate::{arguments, errors, options, renewal, unpicklable, waiting};
use b24_messageservice::tables::UsedBy;
use b24_messageservice::{Client as CoreClient, Config, Error, ErrorKind};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyType};
use std::sync::atomic::{AtomicBool, Ordering};

/// A light handle to one Bitrix24 portal. Nothing is sent until the first call.
///
/// Any number of threads may use one client at once, and it also works in a forked child.
/// Connections, rate limits and renewals belong to the process, not to the client, so you may make
/// one for each message.
///
/// Options are keyword arguments; times are seconds. An option that is None is not set. A wrong
/// one raises InvalidConfig, which names it and what it takes, and an unknown one TypeError. Every
/// value may also be given as text ("50/2", "true", "30"). from_env reads the environment.
///
/// Every call takes two more keyword arguments: timeout, its deadline in seconds instead of that of
/// the options, from 0 to 7 days; and cancel, a CancelToken that ends it from another thread. A call
/// that is cancelled, or whose deadline has passed, may have been executed by the portal.
///
/// portal: "portal.bitrix24.com", an origin, or the client_endpoint of the portal's request.
/// on_renewal: called with the new Tokens before they are used, and after they are written to
///     state_dir, if that is set. Store them in it. It runs on the renewal's own thread, possibly
///     after the call that started the renewal has ended, and must not make calls to the same
///     portal. An exception in it goes to sys.unraisablehook, and the new tokens are used.
/// All others are the keys of Options: see help(b24_messageservice.Options).
#[pyclass(frozen, weakref, module = "b24_messageservice")]
pub(crate) struct Client {
    inner: CoreClient,
    on_renewal: Option<Py<PyAny>>,
    closed: AtomicBool,
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (portal, **options))]
    fn new(portal: &Bound<'_, PyAny>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let from = From::Keywords("Client");
        make(portal.py(), from, Some(portal), options, CoreClient::new)
    }

    /// Makes a client of what the environment says: B24_PORTAL, B24_ACCESS_TOKEN and so on.
    ///
    /// The variables are those of the program b24-messageservice: B24_ and the option's name in upper
    /// case. A time is in milliseconds there, and its variable ends in _MS: B24_TIMEOUT_MS. What may be
    /// a secret (access_token, refresh_token, client_secret, proxy) may be in a file instead, which
    /// B24_ACCESS_TOKEN_FILE and so on name. B24_CONFIG names a file of lines NAME=VALUE. An empty
    /// variable counts as not set. Keyword arguments win, and are those of Client. Raises InvalidConfig,
    /// which names the variable and shows no secret.
    #[classmethod]
    #[pyo3(signature = (portal = None, **options))]
    fn from_env(
        class: &Bound<'_, PyType>,
        portal: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let from = From::Environment("Client.from_env");
        make(class.py(), from, portal, options, CoreClient::new)
    }

    /// Returns the client that the process keeps for an equal configuration, and makes it the first
    /// time.
    ///
    /// The arguments are those of Client. The process keeps it with its tokens after the last
    /// reference is gone, so a web handler that keeps nothing between requests uses the renewed
    /// ones. on_renewal is not part of the configuration: a renewal calls the one of the client
    /// whose call started it.
    #[classmethod]
    #[pyo3(signature = (portal, **options))]
    fn shared(
        class: &Bound<'_, PyType>,
        portal: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let from = From::Keywords("Client.shared");
        make(class.py(), from, Some(portal), options, CoreClient::shared)
    }

    /// Reports the status of one message.
    ///
    /// code is the provider code of the message; message_id the id that the portal posted to the
    /// provider's handler, a str or an int; status a Status or its text in any case. Reporting the
    /// same status again is harmless. Raises B24Error.
    ///
    /// Calls for one message are made one after the other, in the order in which they were begun,
    /// across all clients of the process for one portal. The last status stands. An attempt whose
    /// outcome is unknown may still be executed by the portal for up to 60 s.
    #[pyo3(signature = (code, message_id, status, *, timeout = None, cancel = None))]
    fn message_status_update(
        &self,
        py: Python<'_>,
        code: &Bound<'_, PyAny>,
        message_id: &Bound<'_, PyAny>,
        status: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let words = (|| {
            Ok((
                arguments::word("code", code)?,
                arguments::id(message_id)?,
                arguments::word("status", status)?,
            ))
        })();
        let (code, message_id, status) =
            words.map_err(|unsendable: Unsendable| unsendable.raise(py))?;
        self.call_once(py, || {
            inner.message_status_update(&code, &message_id, status)
        })
    }

    /// Reports the status of any number of messages, 50 in a request.
    ///
    /// updates is an iterable of (code, message_id, status), read to its end before anything is
    /// sent. Returns each update's outcome in the same order: None if it was applied, else the
    /// B24Error that a single call would have raised. The outcome of an update of a wrong type or
    /// length is InvalidArgument, and the others are sent nevertheless. Of several updates of one
    /// message only the last is sent. Updates that failed for the same reason may share one
    /// exception object.
    ///
    /// The deadline counts from when the updates have been read. An update takes its place in the
    /// order of the calls for its message when its slice is queued, at most 10,000 updates at a time.
    #[pyo3(signature = (updates, *, timeout = None, cancel = None))]
    fn message_status_update_batch<'py>(
        &self,
        py: Python<'py>,
        updates: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let Batch {
            sendable,
            unsendable,
        } = batch::read(updates, "updates", cancel, arguments::update)?;
        let sent = self.call(py, || inner.message_status_update_batch(sendable))?;
        batch::outcomes(py, sent, unsendable)
    }

    /// Asks for the status of one message.
    ///
    /// message_id is the portal's own number of the message, an int, not the id that the portal
    /// posted to the provider's handler. Returns the English name of the status, or "" if the
    /// message has none. Raises B24Error.
    #[pyo3(signature = (message_id, *, timeout = None, cancel = None))]
    fn message_status_get(
        &self,
        py: Python<'_>,
        message_id: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<String> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let number = arguments::number(message_id).map_err(|unsendable| unsendable.raise(py))?;
        self.call_once(py, || inner.message_status_get(number))
    }

    /// Registers an SMS provider with the portal, so that users can choose it.
    ///
    /// code is the provider code; handler the http or https address that the portal posts messages
    /// to; name and description the texts that users see, each a str or a mapping of languages to
    /// str, such as {"en": "...", "de": "..."}; type is "SMS". Raises B24Error.
    ///
    /// The portal refuses a code that is registered. So the list of senders is asked for first, and
    /// again if the answer is lost, to find out whether the sender was added. Therefore a
    /// PortalError with the portal_code ERROR_SENDER_ALREADY_INSTALLED means that the code was
    /// registered before.
    #[pyo3(
        signature = (code, handler, name, description = None, r#type = None, *, timeout = None, cancel = None),
        text_signature = "($self, code, handler, name, description=None, type=\"SMS\", *, timeout=None, cancel=None)"
    )]
    fn sender_add(
        &self,
        py: Python<'_>,
        code: &Bound<'_, PyAny>,
        handler: &Bound<'_, PyAny>,
        name: &Bound<'_, PyAny>,
        description: Option<&Bound<'_, PyAny>>,
        r#type: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let parts = [
            ("handler", Some(handler)),
            ("name", Some(name)),
            ("description", description),
            ("type", r#type),
        ];
        let sender = arguments::sender(code, &parts)?;
        self.call_once(py, || inner.sender_add(&sender))
    }

    /// Changes the handler, name or description of a registered sender.
    ///
    /// The arguments are those of sender_add; what is None stays as it is. Calling this twice is
    /// harmless. Raises B24Error, a PortalError with the portal_code ERROR_SENDER_NOT_FOUND if the
    /// code is not registered.
    #[pyo3(signature = (code, handler = None, name = None, description = None, *, timeout = None, cancel = None))]
    fn sender_update(
        &self,
        py: Python<'_>,
        code: &Bound<'_, PyAny>,
        handler: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        description: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let parts = [
            ("handler", handler),
            ("name", name),
            ("description", description),
        ];
        let sender = arguments::sender(code, &parts)?;
        self.call_once(py, || inner.sender_update(&sender))
    }

    /// Removes a sender from the portal, by its provider code.
    ///
    /// If the answer is lost, the list of senders is asked for, to find out whether the sender was
    /// removed. Raises B24Error, a PortalError with the portal_code ERROR_SENDER_NOT_FOUND if the
    /// code is not registered.
    #[pyo3(signature = (code, *, timeout = None, cancel = None))]
    fn sender_delete(
        &self,
        py: Python<'_>,
        code: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let code = arguments::word("code", code).map_err(|unsendable| unsendable.raise(py))?;
        self.call_once(py, || inner.sender_delete(&code))
    }

    /// Returns the provider codes of the senders that the application has registered with the
    /// portal, a list of str. Raises B24Error.
    #[pyo3(signature = (*, timeout = None, cancel = None))]
    fn sender_list(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Vec<String>> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        self.call_once(py, || inner.sender_list())
    }

    /// The current tokens, a Tokens.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        renewal::to_python(py, &waiting::detached(py, || self.inner.tokens())?)
    }

    /// Ends this client's calls that are under way, from any thread: they raise Cancelled. Calls
    /// made later are not affected.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        waiting::detached(py, || self.inner.cancel())
    }

    /// Ends the use of this client: later calls raise InvalidArgument. Calls that are under way are
    /// not affected. Connections stay open for other clients of the process.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().check_open(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (exc_type, exc_value, traceback))]
    fn __exit__(
        &self,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _ = (exc_type, exc_value, traceback);
        self.close();
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let tokens = waiting::detached(py, || self.inner.tokens())?;
        // Only the host, because the path of a webhook is a secret.
        let host = tokens
            .client_endpoint()
            .split('/')
            .nth(2)
            .unwrap_or_default();
        let closed = if self.closed.load(Ordering::Relaxed) {
            " closed"
        } else {
            ""
        };
        Ok(format!("<b24_messageservice.Client {host}{closed}>"))
    }

    fn __reduce_ex__(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = protocol;
        Err(unpicklable::refused(self, "Client", UNPICKLABLE))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.on_renewal)
    }
}

/// What to do instead of pickling a client.
const UNPICKLABLE: &str = "make another one where it is needed, from the same options or by \
    from_env(), which takes microseconds; in one process, any number of threads may share this one";

impl Client {
    /// A client of the core, as one of Python.
    pub(crate) fn new_of(inner: CoreClient, on_renewal: Option<Py<PyAny>>) -> Self {
        Self {
            inner,
            on_renewal,
            closed: AtomicBool::new(false),
        }
    }

    /// Makes a call of the core that may renew the tokens.
    fn call<T: Send>(&self, py: Python<'_>, body: impl FnOnce() -> T + Send) -> PyResult<T> {
        let _serving = renewal::serve(self.on_renewal.as_ref().map(|c| c.clone_ref(py)));
        waiting::detached(py, body)
    }

    /// Makes a call of the core that has one outcome.
    fn call_once<T: Send>(
        &self,
        py: Python<'_>,
        body: impl FnOnce() -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        self.call(py, body)?
            .map_err(|error| errors::exception(py, &error))
    }

    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed.load(Ordering::Relaxed) {
            let fault = "the client is closed: make a new one";
            return Err(errors::exception(
                py,
                &Error::new(ErrorKind::InvalidArgument, fault),
            ));
        }
        Ok(())
    }
}

/// Where the options of a client come from, and the function that they are given to.
#[derive(Clone, Copy)]
enum From {
    Keywords(&'static str),
    Environment(&'static str),
}

fn make(
    py: Python<'_>,
    from: From,
    portal: Option<&Bound<'_, PyAny>>,
    options: Option<&Bound<'_, PyDict>>,
    constructor: fn(&Config) -> Result<CoreClient, Error>,
) -> PyResult<Client> {
    let on_renewal = options::take_callback(options)?;
    let (From::Keywords(owner) | From::Environment(owner)) = from;
    let mut settings = Settings::of_keywords(owner, UsedBy::Client, options)?;
    if let Some(portal) = portal {
        settings.add("portal", portal)?;
    }
    if let From::Environment(_) = from {
        settings.add_environment(py, UsedBy::Client)?;
    }
    let inner = waiting::detached(py, || constructor(&settings.of_client()?))?
        .map_err(|error| errors::exception(py, &settings.explain(error)))?;
    Ok(Client::new_of(inner, on_renewal))
}
