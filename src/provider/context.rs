//! What the parts of a provider share: its settings, its store, and how it makes clients.

use crate::engine::installation::Installation;
use crate::http::client::{self as http, HttpOptions};
use crate::options::{Config, Settings, StoreUrl, invalid};
use crate::process::cancellation::{CallContext, CancelSource, Limits};
use crate::process::per_process::Process;
use crate::store::database::{Access, Purpose, Transaction};
use crate::store::installations::{ProviderStore, StoredInstallation};
use crate::store::postgres;
use crate::store::shared_tokens::{Place, SharedTokens};
use crate::store::sqlite;
use crate::store::token_store::{LockError, Store, StoreError};
use crate::values::address::Origin;
use crate::values::callbacks::OnInterrupt;
use crate::values::error::{Error, ErrorKind};
use crate::values::rate::Rate;
use crate::values::tokens::Credentials;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a caller is told to do when the deadline has passed.
const AFTER_TIMEOUT: &str = "try again";

/// A provider, as its parts use it. A call with limits of its own has one of its own.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) settings: Settings,
    /// The option, whatever the limits of this call are.
    pub(super) usual_timeout: Duration,
    pub(super) on_interrupt: Option<OnInterrupt>,
    pub(super) store: Arc<ProviderStore>,
    /// For calls of the provider itself. A drain has its own.
    pub(super) cancel: Arc<CancelSource>,
    pub(super) closed: Arc<AtomicBool>,
}

impl Context {
    /// Opens the store of a configuration.
    pub(super) fn open(
        config: &Config,
        purpose: Purpose,
        process: &Arc<Process>,
    ) -> Result<Self, Error> {
        let settings = config.check_provider()?.clone();
        let cancel = Arc::new(CancelSource::new(config.on_interrupt.clone()));
        // So that a wrong ca_file or proxy is found now, and not when it stops every portal.
        http::clients(process).get(&HttpOptions::of(&settings, true))?;
        let call = CallContext::new(
            process,
            Arc::clone(&cancel),
            settings.timeout,
            settings.connect_timeout,
            AFTER_TIMEOUT,
        );
        let opened = match &settings.store {
            Some(StoreUrl::Sqlite(path)) => sqlite::open(path, &settings, process, &call, purpose),
            Some(StoreUrl::Postgres(url)) => {
                postgres::open(url, &settings, process, &call, purpose)
            }
            None => return Err(invalid("store", "is missing")),
        };
        let database = opened.map_err(|error| match error {
            LockError::Storage(error) => error.at_opening(),
            interrupted @ LockError::Interrupted(_) => storage_error(&call, interrupted),
        })?;
        let key_file = settings.store_key_file.clone();
        let store = ProviderStore::new(database, &settings.client_id, key_file)?;
        Ok(Self {
            usual_timeout: settings.timeout,
            settings,
            on_interrupt: config.on_interrupt.clone(),
            store: Arc::new(store),
            cancel,
            closed: Arc::new(AtomicBool::new(false)),
        })
    }

    /// The same for one call with these limits, all parts of which end by `until`.
    pub(super) fn limited(&self, limits: &Limits, until: Option<Instant>) -> Self {
        let mut own = self.clone();
        own.cancel = limits.source(&self.cancel, until);
        if let Some(timeout) = limits.timeout() {
            own.settings.timeout = timeout;
        }
        own
    }

    /// The timeout of a step that must be made however short the call's own is.
    pub(super) fn sure_timeout(&self) -> Duration {
        self.usual_timeout.max(self.settings.timeout)
    }

    /// Whether both are of one provider.
    pub(super) fn is_of_same_provider(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.closed, &other.closed)
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the provider was closed: open another",
            ));
        }
        Ok(())
    }

    /// A call of the provider, which ends by its timeout.
    pub(super) fn call(&self, process: &Arc<Process>) -> CallContext {
        self.call_of(process, &self.cancel, self.settings.timeout)
    }

    pub(super) fn call_of(
        &self,
        process: &Arc<Process>,
        cancel: &Arc<CancelSource>,
        timeout: Duration,
    ) -> CallContext {
        CallContext::new(
            process,
            Arc::clone(cancel),
            timeout,
            self.settings.connect_timeout,
            AFTER_TIMEOUT,
        )
    }

    /// Does work in a transaction of the store.
    pub(super) fn run<T>(
        &self,
        call: &CallContext,
        access: Access,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        self.store
            .run(call, access, work)
            .map_err(|error| storage_error(call, error))
    }

    /// An installation whose tokens are in the store, under these settings.
    pub(super) fn installation(
        &self,
        settings: Settings,
        member_id: &str,
        stored: &StoredInstallation,
        cancel: &Arc<CancelSource>,
    ) -> Result<Option<Installation>, Error> {
        let Some(pair) = &stored.pair else {
            return Ok(None);
        };
        let mut pair = pair.clone();
        pair.tokens
            .client_endpoint
            .clone_from(&stored.client_endpoint);
        member_id.clone_into(&mut pair.tokens.member_id);
        let portal = Origin::parse(&stored.client_endpoint).map_err(|fault| {
            Error::new(
                ErrorKind::Storage,
                format!(
                    "the store has an address of portal {member_id} that cannot be used: {fault}"
                ),
            )
        })?;
        self.make(
            settings,
            portal,
            Place::Installation(member_id.to_owned()),
            cancel,
            &pair,
        )
        .map(Some)
    }

    /// An installation at any address with any pair.
    pub(super) fn make(
        &self,
        settings: Settings,
        portal: Origin,
        place: Place,
        cancel: &Arc<CancelSource>,
        pair: &Credentials,
    ) -> Result<Installation, Error> {
        let store: Arc<dyn Store> = Arc::new(SharedTokens::new(
            Arc::clone(&self.store),
            place,
            settings.connect_timeout,
        ));
        let settings = Settings {
            portal: Some(portal.clone()),
            access_token: pair.tokens.access_token.clone(),
            refresh_token: pair.tokens.refresh_token.clone(),
            ..settings
        };
        Installation::of(
            settings,
            portal,
            Some(store),
            None,
            Arc::clone(cancel),
            pair,
        )
    }

    /// The settings under which the authorization server is asked.
    pub(super) fn settings_for_confirmation(&self) -> Settings {
        /// Many installations at once are rare, and whoever forges many is slowed down.
        const CONFIRMATIONS: Rate = Rate {
            burst: 100.0,
            drain: 10.0,
        };
        Settings {
            rate_limit: Some(CONFIRMATIONS),
            ..self.settings.clone()
        }
    }
}

/// The error of a call that could not use the store.
pub(super) fn storage_error(call: &CallContext, error: LockError) -> Error {
    use crate::process::cancellation::Interrupt;
    match error {
        LockError::Storage(error) => error.in_a_call(),
        LockError::Interrupted(Interrupt::Deadline) => Error::new(
            ErrorKind::Storage,
            "the store was used by others until the deadline (timeout_ms): try again, and check \
             that no process that uses it hangs",
        )
        .with_retryable(true),
        LockError::Interrupted(Interrupt::NoDescriptor) => Error::new(
            ErrorKind::Storage,
            "the store cannot be waited for, as no file descriptor is left: raise the limit of open \
             files",
        )
        .with_retryable(true),
        LockError::Interrupted(interrupt) => call.error(interrupt, "waiting for the store"),
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
