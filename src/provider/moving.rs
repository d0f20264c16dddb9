//! Moving a provider's store to another one.

use super::context::{Context, storage_error};
use super::results::Moved;
use crate::options::{Config, StoreUrl, invalid};
use crate::process::per_process::Process;
use crate::store::database::{Access, Purpose};
use crate::store::installations::{bound_to_installation, first_pair};
use crate::store::moving::Move;
use crate::values::error::Error;

/// Moves everything from a store in SQLite to one in PostgreSQL.
pub(super) fn move_store(from: &Config, to: &Config) -> Result<Moved, Error> {
    let process = Process::current();
    let _active = process.enter();
    let [from, to] = [from, to].map(|config| Context::open(config, Purpose::Move, &process));
    let (from, to) = (from?, to?);
    if !matches!(from.settings.store, Some(StoreUrl::Sqlite(_)))
        || !matches!(to.settings.store, Some(StoreUrl::Postgres(_)))
    {
        return Err(invalid(
            "store",
            "is moved from SQLite to PostgreSQL only: give sqlite: and a path for the old one, and \
             postgres:// and an address for the new one",
        ));
    }
    let call = || from.call(&process);
    // A pair that cannot be opened there would be lost.
    let pair = from.run(&call(), Access::Read, first_pair);
    // A store that was moved already has none.
    if let Ok(Some((member_id, sealed))) = pair {
        to.store
            .unseal(&sealed, &bound_to_installation(&member_id))
            .map_err(|error| {
                invalid(
                    "store_key_file",
                    &format!(
                        "of the new store does not open the tokens of the old one ({error}): give it \
                         the same keys"
                    ),
                )
            })?;
    }
    let moved = Move {
        from: &from.store.database,
        to: &to.store.database,
        process: &process,
        call: &call,
    }
    .run()
    .map_err(|error| storage_error(&call(), error))?;
    Ok(Moved {
        installations: moved.installations,
        receipts: moved.receipts,
    })
}
