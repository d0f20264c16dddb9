//! The `Provider` class.

// The doc comments below are Python docstrings, without Markdown.
#![allow(clippy::doc_markdown)]
// Every argument that Python has by name is one here.
#![allow(clippy::too_many_arguments)]

use crate::arguments::{self, Unsendable, type_name};
use crate::batch::{self, Batch};
use crate::client::Client;
use crate::limits::{CancelToken, limited};
use crate::options::Settings;
use crate::request::{self, Request};
use crate::{errors, options, results, unpicklable, waiting};
use b24_messageservice::tables::UsedBy;
use b24_messageservice::{Error, ErrorKind, Provider as CoreProvider, Reference};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString, PyType};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Does the whole job of a provider of messages, for any number of portals: keeps installations and
/// their tokens, checks the portals' requests, and keeps receipts until the portals have them.
///
/// What report has taken is at the portal in the end, or is counted as waiting, held or refused.
/// Receipts are sent by drain: call it in a loop, in one process or in several.
///
/// Any number of threads may use one provider at once, and any number of processes may have one on
/// the same store. It also works in a forked child. Nothing is sent when it is made, and it has no
/// thread of its own.
///
/// Every call takes two more keyword arguments: timeout, its deadline in seconds instead of that of
/// the options, from 0 to 7 days; and cancel, a CancelToken that ends it from another thread. What a
/// cancelled call was storing may have been stored. In drain, timeout limits the requests, not the
/// whole.
///
/// Options are keyword arguments; times are seconds. An option that is None is not set. store,
/// client_id and client_secret are required. A wrong one raises InvalidConfig, which names it and what
/// it takes, and an unknown one TypeError. All are the keys of ProviderOptions: see
/// help(b24_messageservice.ProviderOptions).
#[pyclass(frozen, weakref, module = "b24_messageservice")]
pub(crate) struct Provider {
    inner: CoreProvider,
    closed: AtomicBool,
}

#[pymethods]
impl Provider {
    #[new]
    #[pyo3(signature = (**options))]
    fn new(py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let has_on_renewal = options::take_callback(options)?.is_some();
        let settings = Settings::of_keywords("Provider", UsedBy::Provider, options)?;
        Self::open(py, &settings, has_on_renewal)
    }

    /// Makes a provider of what the environment says: B24_STORE, B24_CLIENT_ID, B24_CLIENT_SECRET and
    /// so on.
    ///
    /// The variables are those of the program b24-messageservice: B24_ and the option's name in upper
    /// case. A time is in milliseconds there, and its variable ends in _MS: B24_TIMEOUT_MS. What may be
    /// a secret (client_secret, store, proxy) may be in a file instead, which B24_CLIENT_SECRET_FILE and
    /// so on name. B24_CONFIG names a file of lines NAME=VALUE. An empty variable counts as not set.
    /// Keyword arguments win, and are those of Provider. Raises InvalidConfig, which names the variable
    /// and shows no secret.
    #[classmethod]
    #[pyo3(signature = (**options))]
    fn from_env(class: &Bound<'_, PyType>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let py = class.py();
        let has_on_renewal = options::take_callback(options)?.is_some();
        let owner = "Provider.from_env";
        let mut settings = Settings::of_keywords(owner, UsedBy::Provider, options)?;
        settings.add_environment(py, UsedBy::Provider)?;
        Self::open(py, &settings, has_on_renewal)
    }

    /// Reads a request that a portal has posted, and checks that it is the portal's. Returns a
    /// Request.
    ///
    /// content_type is the request's header of this name, or "" if it has none; body its body, as
    /// bytes, bytearray, memoryview or str. Installations and uninstallations are carried out before
    /// this returns. It answers nothing: the program answers the portal itself. Raises
    /// InvalidArgument if the request cannot be read (answer 400), AccessDenied if it is not proven
    /// to be the portal's (403), and any other B24Error, after which the portal should try again
    /// (503).
    #[pyo3(signature = (content_type, body, *, timeout = None, cancel = None))]
    fn receive(
        &self,
        py: Python<'_>,
        content_type: &Bound<'_, PyAny>,
        body: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Request> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let content_type =
            arguments::word("content_type", content_type).map_err(|fault| fault.raise(py))?;
        let body = request::body(body)?;
        let bytes = body.bytes();
        let inner = self.call(py, || inner.receive(&content_type, bytes))?;
        Ok(Request { inner })
    }

    /// Installs: keeps the tokens of an answer of the authorization server.
    ///
    /// auth is that answer, or the auth of an event, as JSON text or as a mapping;
    /// application_token the portal's, if it is known. The authorization server is asked to confirm
    /// it. Raises AccessDenied if it does not.
    #[pyo3(
        signature = (auth, application_token = None, *, timeout = None, cancel = None),
        text_signature = "($self, auth, application_token=\"\", *, timeout=None, cancel=None)"
    )]
    fn install(
        &self,
        py: Python<'_>,
        auth: &Bound<'_, PyAny>,
        application_token: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let auth = json("auth", auth)?;
        let token =
            optional("application_token", application_token).map_err(|fault| fault.raise(py))?;
        self.call(py, || inner.install(&auth, &token))
    }

    /// Installs with the tokens of a request of the kind "frame".
    ///
    /// Call this on the page of your application's installation wizard, and nowhere else: a later
    /// opening brings the tokens of whoever opened it. Raises as install.
    #[pyo3(signature = (frame, *, timeout = None, cancel = None))]
    fn install_request(
        &self,
        py: Python<'_>,
        frame: &Bound<'_, Request>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let frame = &frame.get().inner;
        self.call(py, || inner.install_request(frame))
    }

    /// Moves the installations of a client's state_dir to the store, and returns how many. Plain
    /// clients of that directory then fail, and say so.
    #[pyo3(signature = (path, *, timeout = None, cancel = None))]
    fn import_state_dir(
        &self,
        py: Python<'_>,
        path: PathBuf,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<usize> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        self.call(py, move || inner.import_state_dir(&path))
    }

    /// Returns a Client of the portal with this member_id, with the tokens of the store. Raises
    /// InvalidArgument if the portal is not installed.
    #[pyo3(signature = (member_id, *, timeout = None, cancel = None))]
    fn client(
        &self,
        py: Python<'_>,
        member_id: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Client> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let member_id = arguments::word("member_id", member_id).map_err(|fault| fault.raise(py))?;
        let inner = self.call(py, || inner.client(&member_id))?;
        Ok(Client::new_of(inner, None))
    }

    /// Says which message an operator's reference stands for, so that report_reference finds it.
    ///
    /// reference is what the operator calls the message by, 1 to 255 bytes. If you have several
    /// operators, operator says whose it is, at most 64 bytes. Several references may stand for one
    /// message that was sent in parts.
    #[pyo3(
        signature = (reference, member_id, code, message_id, *, operator = None, timeout = None, cancel = None),
        text_signature = "($self, reference, member_id, code, message_id, *, operator=\"\", timeout=None, cancel=None)"
    )]
    fn track(
        &self,
        py: Python<'_>,
        reference: &Bound<'_, PyAny>,
        member_id: &Bound<'_, PyAny>,
        code: &Bound<'_, PyAny>,
        message_id: &Bound<'_, PyAny>,
        operator: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let words = (|| {
            Ok((
                arguments::word("reference", reference)?,
                optional("operator", operator)?,
                arguments::word("member_id", member_id)?,
                arguments::word("code", code)?,
                arguments::id(message_id)?,
            ))
        })();
        let (reference, operator, member_id, code, message_id) =
            words.map_err(|fault: Unsendable| fault.raise(py))?;
        self.call(py, || {
            let reference = Reference::new(&reference).of_operator(&operator);
            inner.track(reference, &member_id, &code, &message_id)
        })
    }

    /// Keeps the status of a message, for drain to send. When this returns, it is stored durably.
    ///
    /// member_id, code and message_id (a str or an int) are those of the portal's message; status is
    /// a Status or its text in any case; at is when the status came about, an aware datetime or Unix
    /// seconds, or None for now. A status never replaces one of a higher rank: queued, sent, then
    /// delivered, undelivered and failed. Of the same rank the later one stands. Raises
    /// StorageError if it cannot be stored: tell the operator to deliver the receipt again.
    #[pyo3(signature = (member_id, code, message_id, status, at = None, *, timeout = None, cancel = None))]
    fn report(
        &self,
        py: Python<'_>,
        member_id: &Bound<'_, PyAny>,
        code: &Bound<'_, PyAny>,
        message_id: &Bound<'_, PyAny>,
        status: &Bound<'_, PyAny>,
        at: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let words = (|| {
            Ok((
                arguments::word("member_id", member_id)?,
                arguments::word("code", code)?,
                arguments::id(message_id)?,
                arguments::word("status", status)?,
                at.map_or(Ok(None), arguments::time)?,
            ))
        })();
        let (member_id, code, message_id, status, at) =
            words.map_err(|fault: Unsendable| fault.raise(py))?;
        self.call(py, || {
            inner.report(&member_id, &code, &message_id, status, at)
        })
    }

    /// Keeps the statuses of any number of messages of one portal, as report does.
    ///
    /// updates is an iterable of (code, message_id, status), read to its end before anything is
    /// stored. Returns each update's outcome in the same order: None if it is stored, else the
    /// B24Error that report would have raised. The outcome of an update of a wrong type or length is
    /// InvalidArgument, and the others are stored nevertheless. Updates that failed for the same
    /// reason may share one exception object.
    #[pyo3(signature = (member_id, updates, *, timeout = None, cancel = None))]
    fn report_batch<'py>(
        &self,
        py: Python<'py>,
        member_id: &Bound<'py, PyAny>,
        updates: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let member_id = arguments::word("member_id", member_id).map_err(|fault| fault.raise(py))?;
        let Batch {
            sendable,
            unsendable,
        } = batch::read(updates, "updates", cancel, arguments::update)?;
        let stored = waiting::detached(py, || inner.report_batch(&member_id, sendable))?;
        batch::outcomes(py, stored, unsendable)
    }

    /// Keeps the statuses of any number of messages of any portals, as report does.
    ///
    /// receipts is an iterable of (member_id, code, message_id, status) or
    /// (member_id, code, message_id, status, at). Otherwise as report_batch.
    #[pyo3(signature = (receipts, *, timeout = None, cancel = None))]
    fn report_many<'py>(
        &self,
        py: Python<'py>,
        receipts: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.check_open(py)?;
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let Batch {
            sendable,
            unsendable,
        } = batch::read(receipts, "receipts", cancel, arguments::receipt)?;
        let stored = waiting::detached(py, || inner.report_many(sendable))?;
        batch::outcomes(py, stored, unsendable)
    }

    /// Keeps the status of the message that an operator's reference stands for.
    ///
    /// It may come before track: it then waits for an hour. reference and operator are those of
    /// track, status and at those of report, which it raises as.
    #[pyo3(
        signature = (reference, status, at = None, *, operator = None, timeout = None, cancel = None),
        text_signature = "($self, reference, status, at=None, *, operator=\"\", timeout=None, cancel=None)"
    )]
    fn report_reference(
        &self,
        py: Python<'_>,
        reference: &Bound<'_, PyAny>,
        status: &Bound<'_, PyAny>,
        at: Option<&Bound<'_, PyAny>>,
        operator: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let words = (|| {
            Ok((
                arguments::word("reference", reference)?,
                optional("operator", operator)?,
                arguments::word("status", status)?,
                at.map_or(Ok(None), arguments::time)?,
            ))
        })();
        let (reference, operator, status, at) =
            words.map_err(|fault: Unsendable| fault.raise(py))?;
        self.call(py, || {
            let reference = Reference::new(&reference).of_operator(&operator);
            inner.report_reference(reference, status, at)
        })
    }

    /// Sends receipts to the portals for so many seconds, and waits while none is due. Returns a
    /// Drained.
    ///
    /// No request starts later, and this returns within the option timeout after that. Call it in a
    /// loop, from any number of threads and processes: each portal is served by one of them at a
    /// time. Raises StorageError if the store fails, Cancelled after cancel.
    #[pyo3(signature = (seconds, *, timeout = None, cancel = None))]
    fn drain<'py>(
        &self,
        py: Python<'py>,
        seconds: f64,
        timeout: Option<f64>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let budget = arguments::seconds("seconds", seconds).map_err(|fault| fault.raise(py))?;
        let drained = self.call(py, || inner.drain(budget))?;
        results::drained(py, &drained)
    }

    /// Returns what the store has about each portal, a list of PortalState.
    #[pyo3(signature = (*, timeout = None, cancel = None))]
    fn inspect<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let portals = self.call(py, || inner.inspect())?;
        let list = PyList::empty(py);
        for (index, portal) in portals.iter().enumerate() {
            waiting::give_way(py, index)?;
            list.append(results::portal_state(py, portal)?)?;
        }
        Ok(list)
    }

    /// Returns receipts that were given up, a list of RefusedReceipt in a fixed order: at most limit of
    /// those after the one with the cursor after, which is "" for the first.
    #[pyo3(
        signature = (after = None, limit = None, *, timeout = None, cancel = None),
        text_signature = "($self, after=\"\", limit=1000, *, timeout=None, cancel=None)"
    )]
    fn refused<'py>(
        &self,
        py: Python<'py>,
        after: Option<&Bound<'py, PyAny>>,
        limit: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let after = optional("after", after).map_err(|fault| fault.raise(py))?;
        let limit = limit.map_or(Ok(1000), |limit| arguments::count("limit", limit));
        let limit = limit.map_err(|fault| fault.raise(py))?;
        let receipts = self.call(py, || inner.refused(&after, limit))?;
        let list = PyList::empty(py);
        for (index, receipt) in receipts.iter().enumerate() {
            waiting::give_way(py, index)?;
            list.append(results::refused_receipt(py, receipt)?)?;
        }
        Ok(list)
    }

    /// Lets drain send the receipts of a portal again that is held, or that waits after a failure.
    /// Raises InvalidArgument if the store does not know the portal.
    #[pyo3(signature = (member_id, *, timeout = None, cancel = None))]
    fn resume(
        &self,
        py: Python<'_>,
        member_id: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let member_id = arguments::word("member_id", member_id).map_err(|fault| fault.raise(py))?;
        self.call(py, || inner.resume(&member_id))
    }

    /// Removes refused receipts, and references, that are older than so many seconds. What is settled
    /// is remembered for 72 hours in any case; what waits is not removed.
    #[pyo3(signature = (keep_seconds, *, timeout = None, cancel = None))]
    fn prune(
        &self,
        py: Python<'_>,
        keep_seconds: f64,
        timeout: Option<f64>,
        cancel: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let inner = limited(py, &self.inner, timeout, cancel)?;
        let keep =
            arguments::seconds("keep_seconds", keep_seconds).map_err(|fault| fault.raise(py))?;
        self.call(py, || inner.prune(keep))
    }

    /// Ends drains and other calls of this provider that are under way, from any thread: they raise
    /// Cancelled. Calls made later are not affected.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        waiting::detached(py, || self.inner.cancel())
    }

    /// Ends the use of this provider: later calls raise InvalidArgument. Drains that are under way
    /// end after their requests, and this waits for them. What is stored stays stored.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.closed.store(true, Ordering::Relaxed);
        waiting::detached(py, || self.inner.close())
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
    ) -> PyResult<()> {
        let _ = (exc_type, exc_value);
        self.close(traceback.py())
    }

    // The options are not shown, because the address of a store may contain a password.
    fn __repr__(&self) -> &'static str {
        if self.closed.load(Ordering::Relaxed) {
            "<b24_messageservice.Provider closed>"
        } else {
            "<b24_messageservice.Provider>"
        }
    }

    fn __reduce_ex__(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let _ = protocol;
        let instead = "make another one where it is needed, from the same options or by from_env(): any \
                       number of processes may have one on the same store, and any number of threads \
                       may share this one";
        Err(unpicklable::refused(self, "Provider", instead))
    }
}

impl Provider {
    fn open(py: Python<'_>, settings: &Settings, has_on_renewal: bool) -> PyResult<Self> {
        let open = || CoreProvider::open(&settings.of_provider(has_on_renewal)?);
        let inner = waiting::detached(py, open)?
            .map_err(|error| errors::exception(py, &settings.explain(error)))?;
        Ok(Self {
            inner,
            closed: AtomicBool::new(false),
        })
    }

    /// Makes a call of the core.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        body: impl FnOnce() -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        self.check_open(py)?;
        waiting::detached(py, body)?.map_err(|error| errors::exception(py, &error))
    }

    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed.load(Ordering::Relaxed) {
            let fault = "the provider is closed: make a new one";
            return Err(errors::exception(
                py,
                &Error::new(ErrorKind::InvalidArgument, fault),
            ));
        }
        Ok(())
    }
}

/// An argument that is text, empty if it is not given.
fn optional(name: &str, value: Option<&Bound<'_, PyAny>>) -> Result<String, Unsendable> {
    value.map_or_else(|| Ok(String::new()), |value| arguments::word(name, value))
}

/// An argument that is JSON: its text, or a mapping.
fn json(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let text = if value.is_instance_of::<PyString>() {
        value.clone()
    } else if let Ok(mapping) = value.cast::<PyMapping>() {
        let plain = py.get_type::<PyDict>().call1((mapping,))?;
        py.import("json")?.call_method1("dumps", (plain,))?
    } else {
        return Err(PyTypeError::new_err(format!(
            "{name} must be JSON, a str or a mapping, not {}",
            type_name(value)
        )));
    };
    arguments::word(name, &text).map_err(|fault| fault.raise(py))
}
