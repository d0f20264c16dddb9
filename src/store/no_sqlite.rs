//! Instead of SQLite, on systems for which its file cannot be checked and locked yet.

use super::database::{Database, Purpose};
use super::token_store::{LockError, StoreError};
use crate::options::Settings;
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn open(
    path: &Path,
    _: &Settings,
    _: &Arc<Process>,
    _: &CallContext,
    _: Purpose,
) -> Result<Arc<dyn Database>, LockError> {
    Err(StoreError::of_database(path, "a store is not available on this system yet").into())
}

pub(crate) fn before_fork() {}

pub(crate) fn after_fork() {}
