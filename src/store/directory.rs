//! The state directory: a store for the processes of one machine.
//!
//! For each installation there is a file of tokens, and links that lead to it (`links.rs`). For
//! each portal there is a file with the level of its rate limit (`level.rs`). Locks are those of
//! the kernel, which a killed process does not leave behind (`file_lock.rs`).

use super::state_dir::StateDir;
use super::token_record::TokenRecord;
use super::token_store::{InstallationQuery, LockError, LockedInstallation, Store, StoreError};
use crate::process::cancellation::CallContext;
use crate::values::address::Origin;
use crate::values::rate::{Level, Rate};
use std::path::Path;
use std::sync::Arc;

/// Opens a state directory, and makes it if its parent exists.
pub(crate) fn open(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(StateDir::open(path)?))
}

/// Moves the tokens of an application's installations elsewhere: `keep` gets each newest pair, while
/// nobody else can renew it, with what is known of those before it, and returns whether it has kept it. Returns how many were moved.
#[cfg(feature = "provider")]
pub(crate) fn move_tokens<E: From<LockError>>(
    path: &Path,
    client_id: &str,
    call: &CallContext,
    mut keep: impl FnMut(&TokenRecord) -> Result<bool, E>,
) -> Result<usize, E> {
    let storage = |error| E::from(LockError::Storage(error));
    let directory = StateDir::open_present(path).map_err(storage)?;
    let mut moved = 0;
    for pair in directory.pairs(client_id).map_err(storage)? {
        let portals: Vec<_> = Origin::parse(&pair.tokens.client_endpoint)
            .into_iter()
            .collect();
        let query = InstallationQuery {
            client_id,
            refresh_token: &pair.tokens.refresh_token,
            portals: &portals,
        };
        let mut locked = directory.lock_installation(query, call, &|| true)?;
        let Some(record) = locked.record() else {
            continue;
        };
        let record = record.clone();
        if keep(&record)? {
            locked.move_to_store().map_err(storage)?;
            moved += 1;
        }
    }
    Ok(moved)
}

impl Store for StateDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn look_up(&self, query: InstallationQuery<'_>) -> Result<Option<TokenRecord>, StoreError> {
        self.find(query)
    }

    fn lock(
        &self,
        query: InstallationQuery<'_>,
        call: &CallContext,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Box<dyn LockedInstallation + '_>, LockError> {
        let locked = self.lock_installation(query, call, go_on)?;
        Ok(Box::new(locked))
    }

    fn change_level(
        &self,
        portal: &Origin,
        rate: Rate,
        call: &CallContext,
        change: &mut dyn FnMut(&mut Level),
    ) -> Result<(), LockError> {
        self.change_level_in_file(portal, rate, call, change)
    }
}

/// Reads a content as each kind of file in the directory.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(content: &[u8]) {
    super::level::fuzz(content);
    super::links::fuzz(content);
    if let Some(record) = TokenRecord::from_bytes(content) {
        let bytes = record.to_bytes().unwrap_or_default();
        assert_eq!(TokenRecord::from_bytes(&bytes), Some(record));
    }
}
