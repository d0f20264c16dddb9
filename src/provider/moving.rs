//! Moving a provider's store to another one.

use super::context::{Context, storage_error};
use super::results::Moved;
use crate::options::{Config, Durability, StoreUrl, invalid};
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use crate::store::database::{Access, Purpose};
use crate::store::installations::{bound_to_installation, pairs_after};
use crate::store::moving::Move;
use crate::values::error::Error;
use std::io::ErrorKind;

/// Moves everything from a store in SQLite to one in PostgreSQL.
pub(super) fn move_store(from: &Config, to: &Config) -> Result<Moved, Error> {
    let process = Process::current();
    let _active = process.enter();
    let [from, to] = [from, to].map(|config| {
        let mut config = config.clone();
        // What the old store kept for long would be lost with the last moment of the new one.
        config.settings.durability = Durability::Disk;
        config
    });
    let stores = (&from.check_provider()?.store, &to.check_provider()?.store);
    let (Some(StoreUrl::Sqlite(path)), Some(StoreUrl::Postgres(_))) = stores else {
        return Err(invalid(
            "store",
            "is moved from SQLite to PostgreSQL only: give sqlite: and a path for the old one, and \
             postgres:// and an address for the new one",
        ));
    };
    // A new one would be made, and moved instead of the one that was meant.
    if path
        .metadata()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        return Err(invalid(
            "store",
            &format!("is to be moved, but there is no file {}", path.display()),
        ));
    }
    let from = Context::open(&from, Purpose::Move, &process)?;
    let to = Context::open(&to, Purpose::Move, &process)?;
    let call = || from.call(&process);
    let move_of = Move {
        from: &from.store.database,
        to: &to.store.database,
        process: &process,
        call: &call,
    };
    let failed = |error| storage_error(&call(), error);
    if !move_of.is_renamed().map_err(failed)? {
        check_keys(&from, &to, &call)?;
    }
    let moved = move_of.run().map_err(failed)?;
    Ok(Moved {
        installations: moved.installations,
        receipts: moved.receipts,
    })
}

/// Fails if the keys of the new store do not open a pair: it would be lost. One that is
/// damaged is lost already.
fn check_keys(from: &Context, to: &Context, call: &dyn Fn() -> CallContext) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let pairs = from.run(&call(), Access::Read, |transaction| {
            pairs_after(transaction, &after)
        })?;
        let Some((last, _)) = pairs.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for (member_id, sealed) in &pairs {
            let bound_to = bound_to_installation(member_id);
            let Err(error) = to.store.unseal(sealed, &bound_to) else {
                continue;
            };
            if !from.store.is_damaged(sealed, &bound_to) {
                return Err(invalid(
                    "store_key_file",
                    &format!(
                        "of the new store does not open the tokens of the portal {member_id} \
                         ({error}): give it the same keys"
                    ),
                ));
            }
        }
    }
}
