//! The tables of a provider's store. They are private, and migrations only add to them.

use super::database::{Purpose, Transaction, parameters};
use super::token_store::StoreError;
use std::fmt;

/// The version of the schema that this library makes.
const VERSION: i64 = 1;

/// A row of `b24_meta` in a store whose content was moved: where it is now.
pub(super) const MOVED: &str = "moved";
/// In one that is being filled: from where.
pub(super) const MOVING: &str = "moving";
/// Beside that: a number that stands for the attempt that fills it.
pub(super) const ATTEMPT: &str = "attempt";

/// The statements that lead from each version to the next. `/*CLUSTERED*/` at the end of a table
/// makes SQLite keep its rows in the order of their keys.
///
/// Times are milliseconds by the clock of the store, unless they say otherwise.
const MIGRATIONS: &[&[&str]] = &[&[
    // What applies to the whole store: client_id, clock, and levels that processes share.
    "CREATE TABLE b24_meta (
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    ) /*CLUSTERED*/",
    // Installations. `generation` counts the pairs of tokens. Pairs are sealed, so no column of
    // them is ever compared; their marks are fingerprints of the refresh tokens.
    "CREATE TABLE b24_installation (
        member_id TEXT NOT NULL PRIMARY KEY,
        generation BIGINT NOT NULL,
        state BIGINT NOT NULL,
        client_endpoint TEXT NOT NULL,
        pair BLOB,
        pair_mark BIGINT NOT NULL,
        pair_at BIGINT NOT NULL,
        second_pair BLOB,
        second_mark BIGINT NOT NULL,
        token_hash TEXT NOT NULL,
        installed_ts BIGINT NOT NULL,
        removed_at BIGINT NOT NULL,
        lease_owner BIGINT NOT NULL,
        lease_id BIGINT NOT NULL,
        lease_until BIGINT NOT NULL
    ) /*CLUSTERED*/",
    "CREATE INDEX b24_installation_pair_at ON b24_installation (pair_at)",
    // Deliveries that are not confirmed yet.
    "CREATE TABLE b24_delivery (
        mark BIGINT NOT NULL PRIMARY KEY,
        pair BLOB,
        claim BLOB NOT NULL,
        asked BIGINT NOT NULL,
        arrived_at BIGINT NOT NULL,
        lease_owner BIGINT NOT NULL,
        lease_id BIGINT NOT NULL,
        lease_until BIGINT NOT NULL
    ) /*CLUSTERED*/",
    // The refresh tokens that were delivered, as fingerprints.
    "CREATE TABLE b24_delivered (
        mark BIGINT NOT NULL PRIMARY KEY,
        member_id TEXT NOT NULL,
        arrived_at BIGINT NOT NULL
    ) /*CLUSTERED*/",
    // One row a message: its newest status.
    "CREATE TABLE b24_receipt (
        member_id TEXT NOT NULL,
        code TEXT NOT NULL,
        message_id TEXT NOT NULL,
        status BIGINT NOT NULL,
        happened_at BIGINT NOT NULL,
        arrived_at BIGINT NOT NULL,
        state BIGINT NOT NULL,
        version BIGINT NOT NULL,
        due_at BIGINT NOT NULL,
        tries BIGINT NOT NULL,
        settled_at BIGINT NOT NULL,
        unknown_status BIGINT,
        unknown_until BIGINT NOT NULL,
        reason TEXT,
        PRIMARY KEY (member_id, code, message_id)
    ) /*CLUSTERED*/",
    "CREATE INDEX b24_receipt_due ON b24_receipt (member_id, due_at, arrived_at) WHERE state = 0",
    "CREATE INDEX b24_receipt_refused ON b24_receipt (member_id, code, message_id) WHERE state = 2",
    "CREATE INDEX b24_receipt_settled ON b24_receipt (settled_at) WHERE state <> 0",
    // What operators call messages by, and the receipts that came before it was known which message
    // that is.
    "CREATE TABLE b24_reference (
        operator TEXT NOT NULL,
        reference TEXT NOT NULL,
        member_id TEXT NOT NULL,
        code TEXT NOT NULL,
        message_id TEXT NOT NULL,
        tracked_at BIGINT NOT NULL,
        status BIGINT,
        happened_at BIGINT NOT NULL,
        arrived_at BIGINT NOT NULL,
        state BIGINT NOT NULL,
        reason TEXT,
        PRIMARY KEY (operator, reference)
    ) /*CLUSTERED*/",
    "CREATE INDEX b24_reference_waiting ON b24_reference (arrived_at) WHERE state = 0",
    "CREATE INDEX b24_reference_tracked ON b24_reference (tracked_at)",
    // Lanes: the sending of one portal's receipts, which one drain at a time does. `next_at` is when
    // there is something to do; none if nothing is. `wait_until` is the earliest time for that
    // after a failure of the portal.
    "CREATE TABLE b24_lane (
        member_id TEXT NOT NULL PRIMARY KEY,
        next_at BIGINT,
        wait_until BIGINT NOT NULL,
        failures BIGINT NOT NULL,
        held BIGINT NOT NULL,
        reason TEXT,
        oldest_at BIGINT NOT NULL,
        partial_at BIGINT NOT NULL,
        level BIGINT NOT NULL,
        level_at BIGINT NOT NULL,
        sending TEXT,
        lease_owner BIGINT NOT NULL,
        lease_id BIGINT NOT NULL,
        lease_until BIGINT NOT NULL
    ) /*CLUSTERED*/",
    "CREATE INDEX b24_lane_next ON b24_lane (next_at)",
    "CREATE INDEX b24_lane_oldest ON b24_lane (oldest_at)",
    "CREATE INDEX b24_lane_lease ON b24_lane (lease_owner) WHERE lease_owner <> 0",
]];

/// Why a store cannot be used.
#[derive(Debug)]
pub(crate) enum SchemaFault {
    /// It needs a newer library.
    TooNew {
        min_version: i64,
    },
    /// It is another application's.
    OtherApplication,
    /// What it held is in another store now.
    Moved {
        to: String,
    },
    /// It is being filled from another store.
    Moving,
    Storage(StoreError),
}

impl fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooNew { min_version } => write!(
                f,
                "needs a newer version of this library (version {min_version} of its tables): update \
                 this program"
            ),
            Self::OtherApplication => f.write_str(
                "belongs to another application (client_id); use one store for each application",
            ),
            Self::Moved { to } => write!(f, "was moved to {to}: give that address"),
            Self::Moving => f.write_str(
                "is being filled from another store: wait until the command move has ended, or start \
                 it again if it was interrupted",
            ),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

/// Whether the tables are at least of the version that this library makes.
pub(crate) fn is_current(transaction: &mut dyn Transaction) -> Result<bool, StoreError> {
    let rows = transaction.query(
        "SELECT value FROM b24_meta WHERE name = 'version'",
        parameters![],
    )?;
    let version = rows.first().and_then(|row| row.text(0).parse().ok());
    Ok(version.is_some_and(|version: i64| version >= VERSION))
}

impl From<StoreError> for SchemaFault {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

/// Makes the tables, or adds what they lack. `execute` runs statements that are not in the form of
/// [`Transaction::execute`].
pub(crate) fn migrate(
    transaction: &mut dyn Transaction,
    is_new: bool,
    client_id: &str,
    purpose: Purpose,
    execute: &mut dyn FnMut(&mut dyn Transaction, &'static str) -> Result<(), StoreError>,
) -> Result<(), SchemaFault> {
    let mut version = 0;
    if !is_new {
        let rows = transaction.query(
            "SELECT name, value FROM b24_meta
             WHERE name IN ('version', 'min_version', 'client_id', 'moved', 'moving')",
            parameters![],
        )?;
        for row in rows {
            match (row.text(0), row.text(1)) {
                ("version", value) => version = value.parse().unwrap_or_default(),
                ("min_version", value) => {
                    let min_version = value.parse().unwrap_or(i64::MAX);
                    if min_version > VERSION {
                        return Err(SchemaFault::TooNew { min_version });
                    }
                }
                ("client_id", value) if value != client_id => {
                    return Err(SchemaFault::OtherApplication);
                }
                (MOVED, to) if purpose == Purpose::Use => {
                    return Err(SchemaFault::Moved { to: to.to_owned() });
                }
                (MOVING, _) if purpose == Purpose::Use => return Err(SchemaFault::Moving),
                _ => {}
            }
        }
    }
    for (statements, number) in MIGRATIONS.iter().zip(1..) {
        if number > version {
            for statement in *statements {
                execute(transaction, statement)?;
            }
        }
    }
    if version < VERSION {
        let version = VERSION.to_string();
        for (name, value) in [("version", version.as_str()), ("client_id", client_id)] {
            transaction.execute(
                "INSERT INTO b24_meta (name, value) VALUES ($1, $2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                parameters![name, value],
            )?;
        }
        // A library of the first version can use every later one, until a migration says otherwise.
        transaction.execute(
            "INSERT INTO b24_meta (name, value) VALUES ('min_version', '1')
             ON CONFLICT (name) DO NOTHING",
            parameters![],
        )?;
    }
    Ok(())
}
