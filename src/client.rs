//! The client: a light handle over what the process shares.

use crate::address::Origin;
use crate::bucket::Bucket;
use crate::config::{Config, OnRenewal, Settings, invalid};
use crate::installations::Name;
use crate::process::Process;
use crate::run::Method;
#[cfg(unix)]
use crate::state::Seeker;
use crate::state::StateDir;
use crate::status::{Checked, Update};
use crate::tokens::{Credentials, Tokens};
use crate::transport::{Options, Transport};
use crate::wait::Control;
use crate::{Error, VERSION, batch, single};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ureq::http::{HeaderValue, Uri};

/// Tells one portal what became of messages.
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
pub struct Client(Arc<Inner>);

/// What a client is. It has no lock, so that a fork can leave none of them held.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) on_renewal: Option<OnRenewal>,
    pub(crate) control: Arc<Control>,
    /// As it is configured; it may have moved since.
    pub(crate) portal: Origin,
    pub(crate) user_agent: HeaderValue,
    pub(crate) state: Option<Arc<StateDir>>,
    pub(crate) credentials: ArcSwap<Credentials>,
    address: ArcSwap<Address>,
    bound: ArcSwapOption<Bound>,
}

/// A portal's address, and the URLs that are made of it.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) origin: Origin,
    /// For messages.
    pub(crate) name: String,
    update: Uri,
    batch: Uri,
}

impl Address {
    fn new(origin: Origin) -> Result<Self, Error> {
        Ok(Self {
            name: origin.to_string(),
            update: origin.method_uri(Method::Update.name())?,
            batch: origin.method_uri(Method::Batch.name())?,
            origin,
        })
    }

    pub(crate) fn uri(&self, method: Method) -> &Uri {
        match method {
            Method::Update => &self.update,
            Method::Batch => &self.batch,
        }
    }
}

/// What a client uses of one process's state.
#[derive(Debug)]
pub(crate) struct Bound {
    process_id: u64,
    pub(crate) address: Arc<Address>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) bucket: Arc<Bucket>,
}

impl Client {
    /// Makes a client. Nothing is sent; files named in the configuration are read.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), naming the option and what it takes.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let process = Process::current();
        let _active = process.enter();
        let settings = config.check()?.clone();
        let portal = settings
            .portal
            .clone()
            .ok_or_else(|| invalid("portal", "is missing"))?;
        let own = concat!("b24-messageservice/", env!("CARGO_PKG_VERSION"));
        let user_agent = format!("{} {own}", settings.user_agent);
        let user_agent = HeaderValue::from_str(user_agent.trim_start())
            .map_err(|_| invalid("user_agent", "makes no header"))?;
        let state = match &settings.state_dir {
            Some(path) => {
                let opened = StateDir::open(path).map_err(|fault| fault.at_opening())?;
                Some(Arc::new(opened))
            }
            None => None,
        };
        let mut credentials = Credentials {
            tokens: Tokens {
                access_token: settings.access_token.clone(),
                refresh_token: settings.refresh_token.clone(),
                client_endpoint: portal.client_endpoint(),
                ..Tokens::default()
            },
            expires_here: None,
        };
        #[cfg(unix)]
        if let Some(state) = &state
            && let Some(record) = state
                .look_up(Seeker {
                    client_id: &settings.client_id,
                    refresh_token: &settings.refresh_token,
                    portals: std::slice::from_ref(&portal),
                })
                .map_err(|fault| fault.at_opening())?
            && record.replaces(&settings.client_id, &credentials)
        {
            credentials = record.credentials;
        }
        if credentials.tokens.access_token.is_empty() {
            return Err(invalid(
                "access_token",
                "is missing, and state_dir holds none for this portal and client_id yet",
            ));
        }
        let client = Self(Arc::new(Inner {
            control: Arc::new(Control::new(config.on_interrupt.clone())),
            on_renewal: config.on_renewal.clone(),
            portal: portal.clone(),
            user_agent,
            state,
            credentials: ArcSwap::from_pointee(Credentials::default()),
            address: ArcSwap::from_pointee(Address::new(portal)?),
            bound: ArcSwapOption::empty(),
            settings,
        }));
        client.0.adopt(&credentials);
        // Finds a bad ca_file or proxy now rather than at the first call.
        client.0.bound(&process)?;
        Ok(client)
    }

    /// The process's one client for an equal configuration. It is kept, with its tokens, after its
    /// last user is gone, for hosts that forget everything between requests. Of clients that
    /// nobody uses, the least recently asked for go first when there are more than 256.
    /// Configurations with callbacks are equal if they are clones of one.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn shared(config: &Config) -> Result<Self, Error> {
        let process = Process::current();
        let _active = process.enter();
        process.shared_clients.get(config)
    }

    /// Tells the portal the status of one message, and returns when the portal has stored it
    /// (`messageservice.message.status.update`). Doing so again is harmless.
    ///
    /// Calls for one message are made one after the other, in the order in which they were begun,
    /// across all clients of the process for one portal; what is told last stands. An attempt
    /// whose outcome is unknown may still be executed by the portal for up to 60 s.
    ///
    /// `code` is the provider code, `[A-Za-z0-9._-]+`; `message_id` what the portal sent to the
    /// provider's handler, 1 to 128 characters; `status` a [`Status`](crate::Status) or its name
    /// in any case.
    ///
    /// # Errors
    /// Every [`ErrorKind`](crate::ErrorKind) says when it occurs. Nothing is sent if it is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without a portal code.
    pub fn message_status_update(
        &self,
        code: &str,
        message_id: &str,
        status: impl AsRef<str>,
    ) -> Result<(), Error> {
        let update = Checked::new(code, message_id, status.as_ref())?;
        single::update(&self.0, update)
    }

    /// Tells the portal the status of any number of messages, 50 a request. The outcomes come in
    /// the order of the updates. What cannot be sent has `InvalidArgument` as its outcome, and the
    /// others are sent all the same. If a message is there more than once, the last status is sent
    /// and stands, and its outcome is that of all.
    ///
    /// `updates` is read to its end first; then the deadline of the whole call begins, `timeout_ms`.
    /// An update takes its place in the order of the calls for its message when its slice is
    /// queued, at most 10,000 updates at a time.
    pub fn message_status_update_batch<U: Borrow<Update>>(
        &self,
        updates: impl IntoIterator<Item = U>,
    ) -> Vec<Result<(), Error>> {
        let updates: Vec<U> = updates.into_iter().collect();
        let updates: Vec<&Update> = updates.iter().map(Borrow::borrow).collect();
        batch::update(&self.0, &updates)
    }

    /// Ends the calls of this client that are in flight, in whatever they wait for, with
    /// [`Cancelled`](crate::ErrorKind::Cancelled). For any thread; calls made later are not
    /// affected.
    pub fn cancel(&self) {
        let process = Process::current();
        let _active = process.enter();
        self.0.control.cancel(&process);
    }

    /// The tokens as they are now.
    pub fn tokens(&self) -> Tokens {
        self.0.tokens()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("portal", &self.0.address.load().origin)
            .field("version", &VERSION)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// What this client uses in the given process, at its present address.
    pub(crate) fn bound(&self, process: &Process) -> Result<Arc<Bound>, Error> {
        let address = self.address.load();
        if let Some(bound) = &*self.bound.load()
            && bound.process_id == process.id()
            && Arc::ptr_eq(&bound.address, &address)
        {
            return Ok(Arc::clone(bound));
        }
        let bound = Arc::new(self.bind(process, Arc::clone(&address))?);
        self.bound.store(Some(Arc::clone(&bound)));
        Ok(bound)
    }

    /// The same at another address, which the client does not take over yet.
    pub(crate) fn bound_at(&self, process: &Process, origin: &Origin) -> Result<Arc<Bound>, Error> {
        let address = Arc::new(Address::new(origin.clone())?);
        Ok(Arc::new(self.bind(process, address)?))
    }

    /// Takes over an address at which a portal has answered.
    pub(crate) fn stay_at(&self, bound: &Arc<Bound>) {
        log::info!(target: crate::LOG, "portal={} moved to {}", self.portal, bound.address.origin);
        self.address.store(Arc::clone(&bound.address));
        self.bound.store(Some(Arc::clone(bound)));
    }

    fn bind(&self, process: &Process, address: Arc<Address>) -> Result<Bound, Error> {
        let options = Options::of(&self.settings, address.origin.is_https());
        Ok(Bound {
            process_id: process.id(),
            transport: process.transports.get(&options)?,
            bucket: process.buckets.get(&address.origin),
            address,
        })
    }

    pub(crate) fn oauth_transport(&self, process: &Process) -> Result<Arc<Transport>, Error> {
        process.transports.get(&Options::of(&self.settings, true))
    }

    pub(crate) fn tokens(&self) -> Tokens {
        let mut tokens = self.credentials.load().tokens.clone();
        tokens.client_endpoint = self.address.load().origin.client_endpoint();
        tokens
    }

    /// Whether there may be something to renew an expired token with.
    pub(crate) fn can_renew(&self) -> bool {
        self.state.is_some() || !self.credentials.load().tokens.refresh_token.is_empty()
    }

    /// What the process knows an installation with these credentials by.
    pub(crate) fn installation_name(&self, credentials: &Credentials) -> Name {
        Name::of(&self.settings.client_id, &self.portal, credentials)
    }

    /// The addresses under which this client knows the portal.
    #[cfg(unix)]
    pub(crate) fn portals(&self) -> Vec<Origin> {
        let mut portals = vec![self.portal.clone()];
        let present = &self.address.load().origin;
        if !portals.contains(present) {
            portals.push(present.clone());
        }
        portals
    }

    /// Whether the token may be sent there.
    pub(crate) fn accepts(&self, origin: &Origin) -> bool {
        origin.is_https() || self.settings.allow_http
    }

    /// Where the client's state directory is, if it has one.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.state.as_ref().map(|directory| directory.path())
    }

    /// Uses these credentials from now on, at the address they came with.
    pub(crate) fn adopt(&self, credentials: &Credentials) {
        match Origin::parse(&credentials.tokens.client_endpoint) {
            Ok(origin) if self.accepts(&origin) => {
                if let Err(fault) = self.move_to(&origin) {
                    log::warn!(target: crate::LOG, "the portal's new address was not taken over: {fault}");
                }
            }
            Ok(origin) => {
                log::warn!(target: crate::LOG, "portal={} the address {origin} of its tokens is not used: it is not https", self.portal);
            }
            Err(_) => {}
        }
        self.credentials.store(Arc::new(credentials.clone()));
    }

    /// Calls the portal at another address from now on.
    fn move_to(&self, origin: &Origin) -> Result<(), Error> {
        if self.address.load().origin != *origin {
            log::info!(target: crate::LOG, "portal={} moved to {origin}", self.portal);
            self.address.store(Arc::new(Address::new(origin.clone())?));
        }
        Ok(())
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

/// The clients that outlive their users.
#[derive(Debug, Default)]
pub(crate) struct SharedClients(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    clients: HashMap<Identity, (Client, u64)>,
    /// Counts the requests for clients: who was asked for with the lowest count goes first.
    clock: u64,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// What makes two configurations equal.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    settings: Settings,
    callbacks: [usize; 2],
}

impl SharedClients {
    const MAX_IDLE: usize = 256;

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, identity: &Identity) -> Option<Client> {
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        let (client, used) = kept.clients.get_mut(identity)?;
        *used = now;
        Some(client.clone())
    }

    fn get(&self, config: &Config) -> Result<Client, Error> {
        let identity = Identity {
            settings: config.check()?.clone(),
            callbacks: [
                config.on_renewal.as_ref().map_or(0, address_of),
                config.on_interrupt.as_ref().map_or(0, address_of),
            ],
        };
        if let Some(client) = self.find(&identity) {
            return Ok(client);
        }
        // Files are read here: not under the lock, which every request of the process takes.
        let client = Client::new(config)?;
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        if let Some((other, used)) = kept.clients.get_mut(&identity) {
            // Another thread has made it meanwhile.
            *used = now;
            return Ok(other.clone());
        }
        if kept.clients.len() >= Self::MAX_IDLE {
            let idle = kept.clients.values().filter(|(c, _)| c.is_idle());
            let oldest = idle.map(|(_, used)| *used).min();
            kept.clients.retain(|_, (_, used)| Some(*used) != oldest);
        }
        kept.clients.insert(identity, (client.clone(), now));
        Ok(client)
    }
}

impl Client {
    /// Whether only the process holds it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

fn address_of<T: ?Sized>(callback: &Arc<T>) -> usize {
    Arc::as_ptr(callback).cast::<()>() as usize
}
