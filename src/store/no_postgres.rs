//! Instead of PostgreSQL, on systems on which its socket cannot be waited for yet.

use super::database::{Database, Purpose};
use super::token_store::{LockError, StoreError};
use crate::options::Settings;
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use crate::values::postgres_url::PostgresUrl;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn open(
    url: &PostgresUrl,
    _: &Settings,
    _: &Arc<Process>,
    _: &CallContext,
    _: Purpose,
) -> Result<Arc<dyn Database>, LockError> {
    let path = Path::new(&url.name);
    Err(StoreError::of_database(path, "a store is not available on this system yet").into())
}
