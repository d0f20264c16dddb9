//! The turn to write a SQLite store: the lock of a whole file, since std has none of single bytes.

use super::sqlite_file::{Pauses, lock_file, system_error};
use super::sqlite_user::try_lock;
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use std::fs::File;
use std::path::Path;

/// A lock that one process at a time has while it writes. SQLite excludes the others anyway; this is so
/// that they do not disturb it. Who comes next is by chance.
#[derive(Debug)]
pub(super) struct Turnstile(File);

impl Turnstile {
    pub(super) fn open(store: &Path) -> Result<Self, StoreError> {
        lock_file(store, "-turn").map(Self)
    }

    /// Waits for the lock.
    pub(super) fn pass(&self, store: &Path, call: &CallContext) -> Result<Passed<'_>, LockError> {
        let mut pauses = Pauses::new();
        while !try_lock(&self.0).map_err(|e| system_error(store, "cannot be locked", &e))? {
            pauses.next(call)?;
        }
        Ok(Passed(self))
    }
}

/// The lock of a turnstile, until this is dropped.
#[derive(Debug)]
pub(super) struct Passed<'a>(&'a Turnstile);

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        // If this fails, the lock ends with the process, and the others go on without it.
        let _ = self.0.0.unlock();
    }
}
