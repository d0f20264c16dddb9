//! The provider's handle: installations, the portals' requests, and receipts that are kept until the
//! portals have them.

pub(crate) mod request;

use crate::Client;
use crate::options::Config;
use crate::values::error::{Error, ErrorKind};
use crate::values::receipt::{Receipt, Reference};
use crate::values::status::Update;
use request::RequestKind;
use std::borrow::Borrow;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Does the whole job of a provider of messages, for any number of portals.
#[derive(Clone, Debug)]
pub struct Provider {}

fn later() -> Error {
    Error::new(ErrorKind::Internal, "not built yet")
}

/// A request of a portal, which was checked to be the portal's.
#[derive(Clone, Debug)]
pub struct Request {}

impl Request {
    /// What the portal wants.
    pub fn kind(&self) -> RequestKind {
        RequestKind::Message
    }

    /// The portal's permanent id; empty if a frame does not say it.
    pub fn member_id(&self) -> &str {
        ""
    }

    /// The portal's REST address as the request says it; empty if it does not.
    pub fn client_endpoint(&self) -> &str {
        ""
    }

    /// A field of the request under the portal's own name, such as `message_id` or
    /// `auth[user_id]`. `None` if there is none.
    pub fn get(&self, _name: &str) -> Option<&str> {
        None
    }

    /// All fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }
}

/// What a drain has done, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// How many receipts portals have stored.
    pub sent: u64,
    /// How many were refused for good. [`Provider::refused`] lists them with their reasons.
    pub refused: u64,
    /// How many are in the store for portals that are held.
    pub held: u64,
    /// How many others are in the store.
    pub waiting: u64,
    /// How long until the first of those can be sent; `None` if there is none.
    pub next_due: Option<Duration>,
}

/// What the store has about a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortalState {
    /// The portal's permanent id.
    pub member_id: String,
    /// Its REST address; empty if it is not known.
    pub client_endpoint: String,
    /// `active`, `waiting` (after a failure of the portal), `held`, `uninstalled` or `unknown`.
    pub state: &'static str,
    /// Why it is waiting or held; empty otherwise.
    pub reason: String,
    /// Receipts that are not sent yet, held ones included.
    pub waiting: u64,
    /// Receipts that were refused and are kept with the reason.
    pub refused: u64,
    /// How old the oldest of those that wait is.
    pub oldest: Option<Duration>,
    /// How long until the next can be sent.
    pub next_due: Option<Duration>,
}

/// A receipt that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedReceipt {
    /// What to give to [`Provider::refused`] to get those after this one.
    pub cursor: String,
    /// The portal's permanent id; empty for a reference that was never tracked.
    pub member_id: String,
    /// The provider code.
    pub code: String,
    /// The portal's id of the message.
    pub message_id: String,
    /// The operator's reference, if it was reported by that and never tracked.
    pub reference: String,
    /// The status that was not sent.
    pub status: &'static str,
    /// When the status came about, in Unix milliseconds.
    pub at_ms: i64,
    /// Why: the portal's code, or what happened.
    pub reason: String,
}

impl Provider {
    /// Opens the store: checks it, and makes or updates it.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option.
    pub fn open(_config: &Config) -> Result<Self, Error> {
        Err(later())
    }

    /// Reads a request of a portal and checks that it is the portal's.
    ///
    /// # Errors
    /// `InvalidArgument` if it cannot be read, `AccessDenied` if it is not proven to be the portal's.
    pub fn receive(&self, _content_type: &str, _body: &[u8]) -> Result<Request, Error> {
        Err(later())
    }

    /// Installs.
    ///
    /// # Errors
    /// `AccessDenied` if the authorization server does not confirm it.
    pub fn install(&self, _auth_json: &str, _application_token: &str) -> Result<(), Error> {
        Err(later())
    }

    /// Installs from the page of the installation wizard.
    ///
    /// # Errors
    /// As [`Provider::install`].
    pub fn install_request(&self, _frame: &Request) -> Result<(), Error> {
        Err(later())
    }

    /// Moves the installations of a `state_dir` to the store. Returns how many.
    ///
    /// # Errors
    /// `Storage`.
    pub fn import_state_dir(&self, _path: &Path) -> Result<usize, Error> {
        Err(later())
    }

    /// A client of a portal, with the tokens of the store.
    ///
    /// # Errors
    /// `InvalidArgument` if the portal is not installed.
    pub fn client(&self, _member_id: &str) -> Result<Client, Error> {
        Err(later())
    }

    /// Says which message an operator's reference stands for.
    ///
    /// # Errors
    /// `InvalidArgument`, `Storage`.
    pub fn track<'a>(
        &self,
        _reference: impl Into<Reference<'a>>,
        _member_id: &str,
        _code: &str,
        _message_id: &str,
    ) -> Result<(), Error> {
        Err(later())
    }

    /// Stores a receipt, to be sent by a drain.
    ///
    /// # Errors
    /// `InvalidArgument`, `Storage`.
    pub fn report(
        &self,
        _member_id: &str,
        _code: &str,
        _message_id: &str,
        _status: impl AsRef<str>,
        _at: Option<SystemTime>,
    ) -> Result<(), Error> {
        Err(later())
    }

    /// Stores the receipts of one portal.
    pub fn report_batch<U: Borrow<Update>>(
        &self,
        _member_id: &str,
        updates: impl IntoIterator<Item = U>,
    ) -> Vec<Result<(), Error>> {
        updates.into_iter().map(|_| Err(later())).collect()
    }

    /// Stores receipts of any portals.
    pub fn report_many<R: Borrow<Receipt>>(
        &self,
        receipts: impl IntoIterator<Item = R>,
    ) -> Vec<Result<(), Error>> {
        receipts.into_iter().map(|_| Err(later())).collect()
    }

    /// Stores a receipt under the operator's reference.
    ///
    /// # Errors
    /// `InvalidArgument`, `Storage`.
    pub fn report_reference<'a>(
        &self,
        _reference: impl Into<Reference<'a>>,
        _status: impl AsRef<str>,
        _at: Option<SystemTime>,
    ) -> Result<(), Error> {
        Err(later())
    }

    /// Sends receipts for so long.
    ///
    /// # Errors
    /// `Storage`, `Cancelled`.
    pub fn drain(&self, _budget: Duration) -> Result<Drained, Error> {
        Err(later())
    }

    /// What the store has about each portal.
    ///
    /// # Errors
    /// `Storage`.
    pub fn inspect(&self) -> Result<Vec<PortalState>, Error> {
        Err(later())
    }

    /// The receipts that were given up, in order; those after the one with the cursor `after`.
    ///
    /// # Errors
    /// `Storage`.
    pub fn refused(&self, _after: &str, _limit: usize) -> Result<Vec<RefusedReceipt>, Error> {
        Err(later())
    }

    /// Sends the receipts of a portal again that is held.
    ///
    /// # Errors
    /// `Storage`, `InvalidArgument`.
    pub fn resume(&self, _member_id: &str) -> Result<(), Error> {
        Err(later())
    }

    /// Removes what is older.
    ///
    /// # Errors
    /// `Storage`.
    pub fn prune(&self, _keep: Duration) -> Result<(), Error> {
        Err(later())
    }

    /// Ends drains and calls that are under way, with `Cancelled`.
    pub fn cancel(&self) {}

    /// Ends drains after their requests, and waits for them.
    pub fn close(&self) {}
}

/// For language bindings that are told of a fork beforehand: waits until no thread uses a store, and
/// keeps it so until [`after_fork`].
#[doc(hidden)]
pub fn before_fork() {}

/// For language bindings, after a fork, in the parent as in the child.
#[doc(hidden)]
pub fn after_fork() {}
