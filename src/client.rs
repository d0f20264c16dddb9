//! The client: a light handle to state that the process shares.

use crate::engine::installation::Installation;
use crate::methods::{batch, sender, status_get, status_update};
use crate::options::{Config, Settings};
use crate::process::cancellation::{CancelToken, Limits};
use crate::process::per_process::{PerProcess, Process};
use crate::process::registry::{Entry, Registry};
use crate::values::error::Error;
use crate::values::sender::Sender;
use crate::values::status::{Update, ValidUpdate};
use crate::values::tokens::Tokens;
use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Makes calls to one portal.
///
/// Cheap to make and to clone: connections, TLS sessions, the rate limit and renewals belong to
/// the process and are shared by all its clients. Any number of threads may use one client at
/// once. A client made before a `fork` works in parent and child, which share no connection.
///
/// ```no_run
/// use b24_messageservice::{Client, Config, Status};
///
/// let mut config = Config::new();
/// config.portal("portal.bitrix24.com").access_token("ACCESS_TOKEN");
/// let client = Client::new(&config)?;
/// client.message_status_update(
///     "provider1",
///     "65575980fa531ac284c2ee68f81ebebd",
///     Status::Delivered,
/// )?;
/// # Ok::<(), b24_messageservice::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    installation: Arc<Installation>,
    limits: Limits,
}

impl Client {
    /// Makes a client. Nothing is sent; files named in the configuration are read.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), naming the option and what it takes.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self::of(Installation::new(config)?))
    }

    pub(crate) fn of(installation: Installation) -> Self {
        Self {
            installation: Arc::new(installation),
            limits: Limits::default(),
        }
    }

    /// The client that the process keeps for an equal configuration. It is kept, with its tokens,
    /// even if nobody uses it, for programs that keep nothing between requests. If there are more
    /// than 256 such clients, those that were not asked for longest are dropped. Configurations
    /// with callbacks are equal if they are clones of one.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn shared(config: &Config) -> Result<Self, Error> {
        let process = Process::current();
        let _active = process.enter();
        SHARED.of(&process).get(config)
    }

    /// Reports the status of one message, and returns when the portal has stored it
    /// (`messageservice.message.status.update`). Reporting it again is harmless.
    ///
    /// Calls for one message are made one after the other, in the order in which they were begun,
    /// across all clients of the process for one portal. The last status stands. An attempt whose
    /// outcome is unknown may still be executed by the portal for up to 60 s.
    ///
    /// `code` is the provider code, `[A-Za-z0-9._-]+`; `message_id` what the portal sent to the
    /// provider's handler, 1 to 128 characters; `status` a [`Status`](crate::Status) or its name
    /// in any case.
    ///
    /// # Errors
    /// Each [`ErrorKind`](crate::ErrorKind) says when it occurs. If it is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without a portal code, nothing was
    /// sent.
    pub fn message_status_update(
        &self,
        code: &str,
        message_id: &str,
        status: impl AsRef<str>,
    ) -> Result<(), Error> {
        let update = ValidUpdate::new(code, message_id, status.as_ref())?;
        status_update::update(&self.installation, &self.limits, update)
    }

    /// Reports the status of any number of messages, 50 in a request. The outcomes are in the order
    /// of the updates. The outcome of an update that cannot be sent is `InvalidArgument`, and the
    /// others are sent nevertheless. If a message occurs more than once, only its last status is
    /// sent, and all its updates get that outcome.
    ///
    /// `updates` is read to its end first. Then the deadline of the whole call starts
    /// (`timeout_ms`). An update takes its place in the order of the calls for its message when its
    /// slice is queued, at most 10,000 updates at a time.
    pub fn message_status_update_batch<U: Borrow<Update>>(
        &self,
        updates: impl IntoIterator<Item = U>,
    ) -> Vec<Result<(), Error>> {
        let updates: Vec<U> = updates.into_iter().collect();
        let updates: Vec<&Update> = updates.iter().map(Borrow::borrow).collect();
        batch::update(&self.installation, &self.limits, &updates)
    }

    /// Registers an SMS provider with the portal (`messageservice.sender.add`), so that users can
    /// choose it and the portal sends its messages to the sender's handler.
    ///
    /// Not idempotent: the portal refuses a code that is registered. So the list of senders is
    /// asked for first, and again if the answer is lost. A sender that is in it now and was not
    /// before counts as registered by this call. (The list has only codes: if another program adds
    /// the same code at that moment, it may be the other's.)
    ///
    /// # Errors
    /// `InvalidArgument` before anything is sent if the code, handler or name is missing or cannot
    /// be sent. A code that was there before is the portal's `ERROR_SENDER_ALREADY_INSTALLED`.
    pub fn sender_add(&self, sender: &Sender) -> Result<(), Error> {
        sender::add(&self.installation, &self.limits, sender)
    }

    /// Changes the handler, name or description of a registered sender
    /// (`messageservice.sender.update`). What is not set stays as it is. Calling this again is
    /// harmless.
    ///
    /// # Errors
    /// `InvalidArgument` before anything is sent if nothing is to be changed.
    pub fn sender_update(&self, sender: &Sender) -> Result<(), Error> {
        sender::update(&self.installation, &self.limits, sender)
    }

    /// Removes a sender (`messageservice.sender.delete`). If the answer is lost, the list of
    /// senders shows whether it was removed.
    ///
    /// # Errors
    /// A code that is not registered is the portal's `ERROR_SENDER_NOT_FOUND`.
    pub fn sender_delete(&self, code: &str) -> Result<(), Error> {
        sender::delete(&self.installation, &self.limits, code)
    }

    /// The codes of the senders that this application has registered
    /// (`messageservice.sender.list`).
    ///
    /// # Errors
    /// As every call.
    pub fn sender_list(&self) -> Result<Vec<String>, Error> {
        sender::list(&self.installation, &self.limits)
    }

    /// The English name of a message's status, or an empty text if it has none
    /// (`messageservice.message.status.get`). `message_id` is the portal's own number of the
    /// message, not the id that it sends to the provider.
    ///
    /// # Errors
    /// `InvalidArgument` before anything is sent if `message_id` is 0.
    pub fn message_status_get(&self, message_id: u64) -> Result<String, Error> {
        status_get::get(&self.installation, &self.limits, message_id)
    }

    /// The same client, whose calls end after so long instead of after `timeout_ms`: at most 7 days.
    /// With 0 a call ends at once and sends nothing. Clones share everything else, and cost little
    /// enough to make one for each call.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            installation: Arc::clone(&self.installation),
            limits: self.limits.with_timeout(timeout),
        }
    }

    /// The same client, whose calls also end when the token is cancelled, with
    /// [`Cancelled`](crate::ErrorKind::Cancelled). An update that is cancelled may have been stored.
    /// If there are several tokens, each ends the calls.
    #[must_use]
    pub fn with_cancel(&self, token: &CancelToken) -> Self {
        Self {
            installation: Arc::clone(&self.installation),
            limits: self.limits.with_cancel(token),
        }
    }

    /// Ends the calls of this client and of its clones that are under way, whatever they wait for, with
    /// [`Cancelled`](crate::ErrorKind::Cancelled). For any thread; calls made later are not
    /// affected.
    pub fn cancel(&self) {
        let process = Process::current();
        let _active = process.enter();
        self.installation.cancel.cancel(&process);
    }

    /// The current tokens.
    pub fn tokens(&self) -> Tokens {
        self.installation.tokens()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("portal", &self.installation.tokens().client_endpoint)
            .field("version", &env!("CARGO_PKG_VERSION"))
            .finish_non_exhaustive()
    }
}

static SHARED: PerProcess<SharedClients> = PerProcess::new();

/// The shared clients, which are kept even if nobody uses them.
#[derive(Debug, Default)]
struct SharedClients(Mutex<Registry<Identity, Client>>);

/// What makes two configurations equal.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    settings: Settings,
    callbacks: [usize; 2],
}

impl SharedClients {
    fn lock(&self) -> MutexGuard<'_, Registry<Identity, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, config: &Config) -> Result<Client, Error> {
        let identity = Identity {
            settings: config.check()?.clone(),
            callbacks: [
                config.on_renewal.as_ref().map_or(0, address_of),
                config.on_interrupt.as_ref().map_or(0, address_of),
            ],
        };
        if let Some(client) = self.lock().get(&identity) {
            return Ok(client.clone());
        }
        // Files are read here, without the lock that every request of the process takes.
        let client = Client::new(config)?;
        // Another thread may have made it in the meantime.
        Ok(self.lock().get_or_insert_with(identity, || client).clone())
    }
}

impl Entry for Client {
    const MAX_ENTRIES: usize = 256;

    /// Whether nobody but the process holds it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.installation) == 1
    }
}

fn address_of<T: ?Sized>(callback: &Arc<T>) -> usize {
    Arc::as_ptr(callback).cast::<()>() as usize
}
