//! An installation: what a client knows about the portal and the application.

use super::known_tokens::InstallationKey;
use super::method::Method;
use super::rate_limit::{self, RateLimit};
use crate::http::client::{self as http, HttpClient, HttpOptions};
use crate::options::{Config, Settings, invalid};
use crate::process::cancellation::CancelSource;
use crate::process::per_process::Process;
use crate::store::directory;
use crate::store::token_store::{InstallationQuery, Store};
use crate::values::LOG;
use crate::values::address::Origin;
use crate::values::callbacks::OnRenewal;
use crate::values::error::{Error, ErrorKind};
use crate::values::tokens::{Credentials, Tokens};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use ureq::http::uri::PathAndQuery;
use ureq::http::{HeaderValue, Uri};

/// One portal's installation of one application, as a client uses it: its settings, tokens and
/// address. It has no lock, so that none can stay locked after a fork.
pub(crate) struct Installation {
    pub(crate) settings: Settings,
    pub(crate) on_renewal: Option<OnRenewal>,
    pub(crate) cancel: Arc<CancelSource>,
    /// The configured one; the portal may have moved since.
    pub(crate) portal: Origin,
    pub(crate) user_agent: HeaderValue,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) credentials: ArcSwap<Credentials>,
    address: ArcSwap<Address>,
    endpoint: ArcSwapOption<Endpoint>,
}

/// A portal's address, and URLs with it.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) origin: Origin,
    /// For messages.
    pub(crate) name: String,
    base: Uri,
}

impl Address {
    fn new(origin: Origin) -> Result<Self, Error> {
        Ok(Self {
            name: origin.to_string(),
            base: origin.method_uri("")?,
            origin,
        })
    }

    /// The URL of a method.
    pub(crate) fn uri(&self, method: &Method) -> Result<Uri, Error> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(method.path));
        Uri::from_parts(parts)
            .map_err(|why| Error::new(ErrorKind::Internal, format!("{}: {why}", method.path)))
    }
}

/// The state of one process that a client uses.
#[derive(Debug)]
pub(crate) struct Endpoint {
    process_id: u64,
    pub(crate) address: Arc<Address>,
    pub(crate) http_client: Arc<HttpClient>,
    pub(crate) rate_limit: Arc<RateLimit>,
}

impl Installation {
    /// Reads the files that the configuration names, and the tokens that the store has. Nothing is
    /// sent.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let process = Process::current();
        let _active = process.enter();
        let settings = config.check()?.clone();
        let portal = settings
            .portal
            .clone()
            .ok_or_else(|| invalid("portal", "is missing"))?;
        let store = match &settings.state_dir {
            Some(path) => Some(directory::open(path).map_err(|error| error.at_opening())?),
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
        if let Some(store) = &store
            && let Some(record) = store
                .look_up(InstallationQuery {
                    client_id: &settings.client_id,
                    refresh_token: &settings.refresh_token,
                    portals: std::slice::from_ref(&portal),
                })
                .map_err(|error| error.at_opening())?
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
        let cancel = Arc::new(CancelSource::new(config.on_interrupt.clone()));
        let on_renewal = config.on_renewal.clone();
        let installation = Self::of(settings, portal, store, on_renewal, cancel, &credentials)?;
        // So that a wrong ca_file or proxy is found now and not at the first call.
        installation.endpoint(&process)?;
        Ok(installation)
    }

    /// One whose tokens and settings are known.
    pub(crate) fn of(
        settings: Settings,
        portal: Origin,
        store: Option<Arc<dyn Store>>,
        on_renewal: Option<OnRenewal>,
        cancel: Arc<CancelSource>,
        credentials: &Credentials,
    ) -> Result<Self, Error> {
        let installation = Self {
            user_agent: user_agent(&settings)?,
            cancel,
            on_renewal,
            address: ArcSwap::from_pointee(Address::new(portal.clone())?),
            portal,
            store,
            credentials: ArcSwap::from_pointee(Credentials::default()),
            endpoint: ArcSwapOption::empty(),
            settings,
        };
        installation.adopt(credentials);
        Ok(installation)
    }

    /// What this client uses in the given process, at its present address.
    pub(crate) fn endpoint(&self, process: &Arc<Process>) -> Result<Arc<Endpoint>, Error> {
        let address = self.address.load();
        if let Some(endpoint) = &*self.endpoint.load()
            && endpoint.process_id == process.id()
            && Arc::ptr_eq(&endpoint.address, &address)
        {
            return Ok(Arc::clone(endpoint));
        }
        let endpoint = Arc::new(self.bind(process, Arc::clone(&address))?);
        self.endpoint.store(Some(Arc::clone(&endpoint)));
        Ok(endpoint)
    }

    /// The same at another address, which the client does not keep yet.
    pub(crate) fn endpoint_at(
        &self,
        process: &Arc<Process>,
        origin: &Origin,
    ) -> Result<Arc<Endpoint>, Error> {
        let address = Arc::new(Address::new(origin.clone())?);
        Ok(Arc::new(self.bind(process, address)?))
    }

    /// Keeps an address at which a portal has answered.
    pub(crate) fn stay_at(&self, endpoint: &Arc<Endpoint>) {
        log::info!(target: LOG, "portal={} moved to {}", self.portal, endpoint.address.origin);
        self.address.store(Arc::clone(&endpoint.address));
        self.endpoint.store(Some(Arc::clone(endpoint)));
    }

    fn bind(&self, process: &Arc<Process>, address: Arc<Address>) -> Result<Endpoint, Error> {
        let options = HttpOptions::of(&self.settings, address.origin.is_https());
        Ok(Endpoint {
            process_id: process.id(),
            http_client: http::clients(process).get(&options)?,
            rate_limit: rate_limit::limits(process).get(&address.origin),
            address,
        })
    }

    pub(crate) fn oauth_client(&self, process: &Arc<Process>) -> Result<Arc<HttpClient>, Error> {
        http::clients(process).get(&HttpOptions::of(&self.settings, true))
    }

    pub(crate) fn tokens(&self) -> Tokens {
        let mut tokens = self.credentials.load().tokens.clone();
        tokens.client_endpoint = self.address.load().origin.client_endpoint();
        tokens
    }

    /// Whether an expired token can perhaps be renewed.
    pub(crate) fn can_renew(&self) -> bool {
        let may_have_some = self.store.as_ref().is_some_and(|store| store.has_tokens());
        may_have_some || !self.credentials.load().tokens.refresh_token.is_empty()
    }

    /// The name under which the process knows an installation with these credentials.
    pub(crate) fn key_of(&self, credentials: &Credentials) -> InstallationKey {
        InstallationKey::of(&self.settings.client_id, &self.portal, credentials)
    }

    /// The addresses under which this client knows the portal.
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

    /// Where the store is, if there is one.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.store.as_ref().map(|store| store.path())
    }

    /// From now on uses these credentials, at the address that came with them.
    pub(crate) fn adopt(&self, credentials: &Credentials) {
        match Origin::parse(&credentials.tokens.client_endpoint) {
            Ok(origin) if self.accepts(&origin) => {
                if let Err(error) = self.move_to(&origin) {
                    log::warn!(target: LOG, "the portal's new address is not used: {error}");
                }
            }
            Ok(origin) => {
                log::warn!(target: LOG, "portal={} the address {origin} of its tokens is not used: it is not https", self.portal);
            }
            Err(_) => {}
        }
        self.credentials.store(Arc::new(credentials.clone()));
    }

    /// Calls the portal at another address from now on.
    fn move_to(&self, origin: &Origin) -> Result<(), Error> {
        if self.address.load().origin != *origin {
            log::info!(target: LOG, "portal={} moved to {origin}", self.portal);
            self.address.store(Arc::new(Address::new(origin.clone())?));
        }
        Ok(())
    }
}

fn user_agent(settings: &Settings) -> Result<HeaderValue, Error> {
    let own = concat!("b24-messageservice/", env!("CARGO_PKG_VERSION"));
    let user_agent = format!("{} {own}", settings.user_agent);
    HeaderValue::from_str(user_agent.trim_start())
        .map_err(|_| invalid("user_agent", "cannot be sent in a header"))
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").finish_non_exhaustive()
    }
}
