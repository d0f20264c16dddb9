//! A store of tokens: it is kept after the process has ended, and all clients of an installation
//! share it.

use super::token_record::TokenRecord;
use crate::process::cancellation::{CallContext, Interrupt};
use crate::values::address::Origin;
use crate::values::error::{Error, ErrorKind};
use crate::values::rate::{Level, Rate};
use crate::values::tokens::Credentials;
use std::fmt;
use std::path::{Path, PathBuf};

/// Keeps the tokens of installations, and how much of the rate limits of portals is used.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Where it is, which tells it from other stores.
    fn path(&self) -> &Path;

    /// Whether it has tokens, and not only the levels of rate limits.
    fn has_tokens(&self) -> bool {
        true
    }

    /// The record of an installation, if anybody has stored one. Nothing is locked: it may be
    /// replaced at any moment.
    fn look_up(&self, query: InstallationQuery<'_>) -> Result<Option<TokenRecord>, StoreError>;

    /// Waits until nobody else renews the tokens of this installation, and reads them. `go_on` is
    /// called from time to time and says whether anybody still waits for them.
    fn lock(
        &self,
        query: InstallationQuery<'_>,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Box<dyn LockedInstallation + '_>, LockError>;

    /// Changes the level of a portal's rate limit, drained up to now. Within one process, only one
    /// caller at a time may call this for a portal.
    fn change_level(
        &self,
        portal: &Origin,
        rate: Rate,
        call: &CallContext,
        change: &mut dyn FnMut(&mut Level),
    ) -> Result<(), LockError>;
}

/// An installation whose tokens nobody else changes until this is dropped.
pub(crate) trait LockedInstallation {
    /// What is stored about it.
    fn record(&self) -> Option<&TokenRecord>;

    /// A further pair of the installation, to be used from now on instead of the first, whose refresh
    /// token the authorization server has refused. Most stores have none.
    fn second_pair(&mut self) -> Result<Option<Credentials>, StoreError> {
        Ok(None)
    }

    /// Reserves space for the answer, before the refresh token is used for it.
    fn make_room(&mut self) -> Result<(), StoreError>;

    /// Stores the pair that the renewal of `used` has returned, and the fingerprints of the refresh
    /// tokens before it. When this returns, the pair is not lost even if the machine fails.
    fn store(
        self: Box<Self>,
        used: &Credentials,
        fresh: &Credentials,
        former: &[u64],
        call: &CallContext,
    ) -> Result<(), StoreError>;
}

/// The installation that is searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstallationQuery<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) refresh_token: &'a str,
    /// The addresses under which the client knows the portal.
    pub(crate) portals: &'a [Origin],
}

/// An error of a store or of a file in it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{option} {}: {what}", shown(path))]
pub(crate) struct StoreError {
    /// The option that names the store.
    pub(super) option: &'static str,
    pub(super) path: PathBuf,
    pub(super) what: String,
    /// Whether it may disappear without anybody changing the directory.
    pub(super) passing: bool,
}

/// A path as its user would write it, also where Windows has a longer form.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    match text.strip_prefix(r"\\?\") {
        Some(plain) if cfg!(windows) => plain.to_owned(),
        _ => text,
    }
}

impl StoreError {
    pub(super) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self {
            option: "state_dir",
            path: path.to_owned(),
            what: what.into(),
            passing: false,
        }
    }

    /// The same of a provider's store.
    #[cfg(feature = "provider")]
    pub(crate) fn of_database(path: &Path, what: impl Into<String>) -> Self {
        Self {
            option: "store",
            ..Self::new(path, what)
        }
    }

    /// The same, if it may disappear without anybody changing the store.
    #[cfg(feature = "provider")]
    pub(crate) fn that_passes(self) -> Self {
        Self {
            passing: true,
            ..self
        }
    }

    /// The error when a client is made: one that does not disappear by itself is a mistake in the
    /// configuration.
    pub(crate) fn at_opening(&self) -> Error {
        if self.passing {
            self.in_a_call()
        } else {
            Error::new(ErrorKind::InvalidConfig, self.to_string())
        }
    }

    /// The error of a call.
    pub(crate) fn in_a_call(&self) -> Error {
        Error::new(ErrorKind::Storage, self.to_string()).with_retryable(self.passing)
    }
}

/// Why a lock was not obtained.
#[derive(Debug)]
pub(crate) enum LockError {
    Interrupted(Interrupt),
    Storage(StoreError),
}

impl From<StoreError> for LockError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

impl From<Interrupt> for LockError {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}
