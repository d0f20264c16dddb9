//! Moving a store from SQLite to PostgreSQL, while others report to it.
//!
//! Rows are copied in rounds, until few of them have changed since the last one. The last round is made
//! while nobody else can write, and ends with the tables having other names: whoever still uses the file
//! fails, and is told where the store is now. Nothing that was acknowledged before is left behind.

use super::database::{
    Access, Database, Parameter, Row, Transaction, Value, new_lease_id, parameters,
};
use super::schema::{ATTEMPT, MOVED, MOVING};
use super::token_store::{LockError, StoreError};
use crate::process::cancellation::CallContext;
use crate::process::per_process::Process;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// So many rows are read at a time, and written to the other store in one transaction.
const SLICE: i64 = 1000;
/// With fewer changed rows the last round is made.
const FEW: usize = 200;
/// But after so many rounds in any case.
const MOST_ROUNDS: usize = 20;
/// How long until it is looked again whether a renewal has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Clocks that differ by less are taken for the same one.
const CLOCKS_AGREE: i64 = 600_000;
/// The columns of times by the clock of a store. 0 stands for none.
const TIMES: &[&str] = &[
    "pair_at",
    "removed_at",
    "arrived_at",
    "happened_at",
    "due_at",
    "settled_at",
    "unknown_until",
    "tracked_at",
    "next_at",
    "wait_until",
    "oldest_at",
    "partial_at",
    "level_at",
];

/// A table that is moved: its name, the columns of its key, and the others. Leases stay behind.
struct Table {
    name: &'static str,
    keys: &'static [&'static str],
    values: &'static [&'static str],
    /// The columns of a lease, which are 0 where it is moved to.
    leases: &'static [&'static str],
}

const LEASE: &[&str] = &["lease_owner", "lease_id", "lease_until"];

const TABLES: &[Table] = &[
    Table {
        name: "b24_installation",
        keys: &["member_id"],
        values: &[
            "generation",
            "state",
            "client_endpoint",
            "pair",
            "pair_mark",
            "pair_at",
            "second_pair",
            "second_mark",
            "token_hash",
            "installed_ts",
            "removed_at",
        ],
        leases: LEASE,
    },
    Table {
        name: "b24_delivery",
        keys: &["mark"],
        values: &["pair", "claim", "asked", "arrived_at"],
        leases: LEASE,
    },
    Table {
        name: "b24_delivered",
        keys: &["mark"],
        values: &["member_id", "arrived_at"],
        leases: &[],
    },
    Table {
        name: "b24_receipt",
        keys: &["member_id", "code", "message_id"],
        values: &[
            "status",
            "happened_at",
            "arrived_at",
            "state",
            "version",
            "due_at",
            "tries",
            "settled_at",
            "unknown_status",
            "unknown_until",
            "reason",
        ],
        leases: &[],
    },
    Table {
        name: "b24_reference",
        keys: &["operator", "reference"],
        values: &[
            "member_id",
            "code",
            "message_id",
            "tracked_at",
            "status",
            "happened_at",
            "arrived_at",
            "state",
            "reason",
        ],
        leases: &[],
    },
    Table {
        name: "b24_lane",
        keys: &["member_id"],
        values: &[
            "next_at",
            "wait_until",
            "failures",
            "held",
            "reason",
            "oldest_at",
            "partial_at",
            "level",
            "level_at",
            "sending",
        ],
        leases: LEASE,
    },
];

/// The statements for a table.
struct Statements {
    first: String,
    next: String,
    put: String,
    count: String,
    has: String,
    delete: String,
    rename: String,
    keys: usize,
    /// Which of the columns are times.
    times: Vec<bool>,
}

static STATEMENTS: LazyLock<Vec<Statements>> =
    LazyLock::new(|| TABLES.iter().map(Table::statements).collect());

impl Table {
    fn statements(&self) -> Statements {
        let numbered = |from: usize, count: usize| {
            let marks: Vec<String> = (from..from + count).map(|at| format!("${at}")).collect();
            marks.join(", ")
        };
        let name = self.name;
        let keys = self.keys.join(", ");
        let copied = [self.keys, self.values].concat();
        let columns = copied.join(", ");
        let updates: Vec<String> = self
            .values
            .iter()
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let leases = [&[""], self.leases].concat().join(", ");
        let zeros = ", 0".repeat(self.leases.len());
        let limit = self.keys.len() + 1;
        let is_one: Vec<String> = (1..limit)
            .zip(self.keys)
            .map(|(at, key)| format!("{key} = ${at}"))
            .collect();
        let is_one = is_one.join(" AND ");
        Statements {
            first: format!("SELECT {columns} FROM {name} ORDER BY {keys} LIMIT $1"),
            next: format!(
                "SELECT {columns} FROM {name} WHERE ({keys}) > ({}) ORDER BY {keys} LIMIT ${limit}",
                numbered(1, self.keys.len())
            ),
            put: format!(
                "INSERT INTO {name} ({columns}{leases}) VALUES ({}{zeros})
                 ON CONFLICT ({keys}) DO UPDATE SET {}",
                numbered(1, copied.len()),
                updates.join(", ")
            ),
            count: format!("SELECT count(*) FROM {name}"),
            has: format!("SELECT 1 FROM {name} WHERE {is_one}"),
            delete: format!("DELETE FROM {name} WHERE {is_one}"),
            rename: format!(
                "ALTER TABLE {name} RENAME TO b24_moved{}",
                name.trim_start_matches("b24")
            ),
            keys: self.keys.len(),
            times: copied.iter().map(|column| TIMES.contains(column)).collect(),
        }
    }
}

/// What was moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) installations: u64,
    pub(crate) receipts: u64,
}

/// The two stores.
pub(crate) struct Move<'m> {
    pub(crate) from: &'m Arc<dyn Database>,
    pub(crate) to: &'m Arc<dyn Database>,
    pub(crate) process: &'m Arc<Process>,
    /// Makes the context of a step.
    pub(crate) call: &'m dyn Fn() -> CallContext,
}

/// What the other store has: for each row, as hashes, its key and what was copied last. A row may become
/// again what it was before.
type Copied = HashMap<u64, u64>;

/// An attempt to fill the other store.
struct Attempt {
    /// Stands for it there.
    id: String,
    /// How far the clock there is ahead, in milliseconds. That of a file is days off if the machine's was
    /// when it was started.
    shift: i64,
}

impl Move<'_> {
    /// Moves everything.
    pub(crate) fn run(&self) -> Result<Moved, LockError> {
        if self.is_renamed()? {
            // It was interrupted just before its end.
            self.open_target()?;
            return self.there();
        }
        let attempt = self.begin()?;
        let mut copied = Copied::new();
        for _ in 0..MOST_ROUNDS {
            if self.round(&mut copied, &attempt)? <= FEW {
                break;
            }
        }
        let moved = loop {
            match self.last_round(&copied, &attempt)? {
                Some(moved) => break moved,
                // Somebody is renewing tokens, and could not store them.
                None => (self.call)().sleep(LOOK_AGAIN)?,
            }
        };
        self.open_target()?;
        Ok(moved)
    }

    /// Whether another move did everything but letting others use the new store.
    pub(crate) fn is_renamed(&self) -> Result<bool, LockError> {
        let call = (self.call)();
        self.from.run(
            self.process,
            &call,
            Access::Read,
            |transaction| match transaction.query(SELECT_META, parameters![MOVED])?.first() {
                None => Ok(false),
                Some(to) if to.text(0) == self.to.path().to_string_lossy() => Ok(true),
                Some(to) => {
                    let what = format!("was moved to {} already", to.text(0));
                    Err(self.from.error(&what))
                }
            },
        )
    }

    /// Does work in the old store while nobody else can write there. It may use the other one, too.
    fn alone<T>(
        &self,
        mut work: impl FnMut(&mut dyn Transaction) -> Result<T, LockError>,
    ) -> Result<T, LockError> {
        let call = (self.call)();
        let mut failed = None;
        let done = self
            .from
            .run(self.process, &call, Access::Write, |transaction| {
                failed = None;
                work(transaction).map_err(|error| match error {
                    LockError::Storage(error) => error,
                    interrupted @ LockError::Interrupted(_) => {
                        failed = Some(interrupted);
                        self.to.error("was not reached in time").that_passes()
                    }
                })
            });
        failed.map_or(done, Err)
    }

    /// Begins to fill the other store, which nobody else uses then. It must be empty, or be what an
    /// earlier attempt has left. That is removed: it may not be in the old store any more. An earlier
    /// attempt that has only stood still cannot go on. Returns what stands for this one.
    fn begin(&self) -> Result<Attempt, LockError> {
        let id = new_lease_id().to_string();
        // So no other attempt is in its last round.
        let (is_repeated, shift) = self.alone(|source| {
            if !source.query(SELECT_META, parameters![MOVED])?.is_empty() {
                return Err(self.from.error("was moved meanwhile").into());
            }
            let (is_repeated, now) = self.mark(&id)?;
            Ok((is_repeated, now - source.now()))
        })?;
        let shift = if shift.abs() < CLOCKS_AGREE { 0 } else { shift };
        let attempt = Attempt { id, shift };
        if is_repeated {
            let call = (self.call)();
            self.to.run(self.process, &call, Access::Add, |target| {
                self.check(target, &attempt)?;
                target.execute(&CLEAR, parameters![]).map(drop)
            })?;
        }
        Ok(attempt)
    }

    /// Marks the other store as one that this attempt fills. Returns whether another one did before, and
    /// the time there.
    fn mark(&self, id: &str) -> Result<(bool, i64), LockError> {
        let call = (self.call)();
        self.to.run(self.process, &call, Access::Add, |transaction| {
            transaction.lock("move")?;
            transaction.execute(
                "INSERT INTO b24_meta (name, value) VALUES ($1, $2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                parameters![ATTEMPT, id],
            )?;
            let now = transaction.now();
            let mark = transaction.query(SELECT_META, parameters![MOVING])?;
            let source = self.from.path().to_string_lossy();
            match mark.first() {
                Some(mark) if mark.text(0) == source => return Ok((true, now)),
                Some(_) => return Err(self.to.error("is being filled from another store")),
                None => {}
            }
            // Whoever has opened it before writes nothing from now on, or is seen.
            for statement in LOCK_OUT.iter() {
                transaction.execute(statement, parameters![])?;
            }
            let used = transaction.query(
                "SELECT 1 FROM b24_installation UNION ALL SELECT 1 FROM b24_receipt
                 UNION ALL SELECT 1 FROM b24_reference UNION ALL SELECT 1 FROM b24_delivery LIMIT 1",
                parameters![],
            )?;
            if !used.is_empty() {
                return Err(self.to.error("is in use: move to an empty one"));
            }
            transaction
                .execute(
                    "INSERT INTO b24_meta (name, value) VALUES ($1, $2)",
                    parameters![MOVING, source.as_ref()],
                )
                .map(|_| (false, now))
        })
    }

    /// Whether this attempt is still the one that fills the other store. Nobody begins another one
    /// before the transaction has ended, which may write there.
    fn check(&self, target: &mut dyn Transaction, attempt: &Attempt) -> Result<(), StoreError> {
        target.query("SELECT set_config('b24.moving', 'on', true)", parameters![])?;
        let rows = target.query(
            "SELECT value FROM b24_meta WHERE name = $1 /*LOCKED*/",
            parameters![ATTEMPT],
        )?;
        if rows.first().is_some_and(|row| row.text(0) == attempt.id) {
            return Ok(());
        }
        Err(self.to.error("is filled by a move that was begun later"))
    }

    /// Copies what is not in the other store yet. Returns how many rows that were.
    fn round(&self, copied: &mut Copied, attempt: &Attempt) -> Result<usize, LockError> {
        let mut count = 0;
        for statements in STATEMENTS.iter() {
            let mut after: Option<Row> = None;
            loop {
                let call = (self.call)();
                let rows = self
                    .from
                    .run(self.process, &call, Access::Read, |transaction| {
                        read(transaction, statements, after.as_ref())
                    })?;
                let Some(last) = rows.last() else { break };
                after = Some(last.clone());
                let changed: Vec<&Row> = rows
                    .iter()
                    .filter(|row| !has(copied, statements, row))
                    .collect();
                self.put(statements, &changed, attempt)?;
                count += changed.len();
                copied.extend(changed.iter().map(|row| hashes_of(statements, row)));
            }
        }
        Ok(count)
    }

    fn put(
        &self,
        statements: &'static Statements,
        rows: &[&Row],
        attempt: &Attempt,
    ) -> Result<(), LockError> {
        if rows.is_empty() {
            return Ok(());
        }
        let call = (self.call)();
        self.to
            .run(self.process, &call, Access::Add, |transaction| {
                self.check(transaction, attempt)?;
                let values: Vec<Vec<Parameter<'_>>> = rows
                    .iter()
                    .map(|row| shifted(statements, row, attempt.shift))
                    .collect();
                transaction.execute_many(&statements.put, &values).map(drop)
            })
    }

    /// Copies the rest while nobody else can write, and gives the tables other names. None if tokens are
    /// being renewed: the renewal has to be stored first.
    fn last_round(&self, copied: &Copied, attempt: &Attempt) -> Result<Option<Moved>, LockError> {
        self.alone(|transaction| {
            let now = transaction.now();
            let renewals = transaction.query(
                "SELECT lease_owner FROM b24_installation WHERE lease_owner <> 0 AND lease_until > $1
                 UNION ALL
                 SELECT lease_owner FROM b24_delivery WHERE lease_owner <> 0 AND lease_until > $1",
                parameters![now],
            )?;
            if renewals.iter().any(|row| !self.from.has_ended(row.integer(0))) {
                return Ok(None);
            }
            let mut moved = Moved::default();
            self.copy_rest(transaction, copied, attempt, &mut moved)?;
            for statements in STATEMENTS.iter() {
                transaction.execute(&statements.rename, parameters![])?;
            }
            transaction.execute(
                "INSERT INTO b24_meta (name, value) VALUES ($1, $2)",
                parameters![MOVED, self.to.path().to_string_lossy().as_ref()],
            )?;
            Ok(Some(moved))
        })
    }

    fn copy_rest(
        &self,
        transaction: &mut dyn Transaction,
        copied: &Copied,
        attempt: &Attempt,
        moved: &mut Moved,
    ) -> Result<(), LockError> {
        // What was confirmed since is not to be confirmed again.
        let call = (self.call)();
        self.to.run(self.process, &call, Access::Write, |target| {
            self.check(target, attempt)?;
            target
                .execute("DELETE FROM b24_delivery", parameters![])
                .map(drop)
        })?;
        for (table, statements) in TABLES.iter().zip(STATEMENTS.iter()) {
            let is_emptied = table.name == "b24_delivery";
            let mut count = 0;
            let mut after: Option<Row> = None;
            loop {
                let rows = read(transaction, statements, after.as_ref())?;
                let Some(last) = rows.last() else { break };
                after = Some(last.clone());
                count += rows.len() as u64;
                let changed: Vec<&Row> = rows
                    .iter()
                    .filter(|row| is_emptied || !has(copied, statements, row))
                    .collect();
                self.put(statements, &changed, attempt)?;
            }
            self.remove_deleted(transaction, statements, attempt, count)?;
            match table.name {
                "b24_installation" => moved.installations = count,
                "b24_receipt" => moved.receipts = count,
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes from the other store what was deleted in the old one after it was copied: a receipt that
    /// was given up and pruned would be sent once more. If both have the same number of rows, `count`,
    /// nothing was.
    fn remove_deleted(
        &self,
        source: &mut dyn Transaction,
        statements: &'static Statements,
        attempt: &Attempt,
        count: u64,
    ) -> Result<(), LockError> {
        let mut after: Option<Row> = None;
        loop {
            let call = (self.call)();
            let last = self.to.run(self.process, &call, Access::Add, |target| {
                self.check(target, attempt)?;
                if after.is_none() {
                    let rows = target.query(&statements.count, parameters![])?;
                    let there = rows.first().map_or(0, |row| row.integer(0));
                    if u64::try_from(there) == Ok(count) {
                        return Ok(None);
                    }
                }
                let rows = read(target, statements, after.as_ref())?;
                for row in &rows {
                    let key = key_of(statements, row);
                    if source.query(&statements.has, &key)?.is_empty() {
                        target.execute(&statements.delete, &key)?;
                    }
                }
                Ok(rows.last().cloned())
            })?;
            let Some(last) = last else { return Ok(()) };
            after = Some(last);
        }
    }

    /// What is in the other store.
    fn there(&self) -> Result<Moved, LockError> {
        let call = (self.call)();
        self.to
            .run(self.process, &call, Access::Read, |transaction| {
                let mut count = |sql| {
                    let rows = transaction.query(sql, parameters![])?;
                    let count = rows.first().map_or(0, |row| row.integer(0));
                    Ok::<_, StoreError>(u64::try_from(count).unwrap_or_default())
                };
                Ok(Moved {
                    installations: count("SELECT count(*) FROM b24_installation")?,
                    receipts: count("SELECT count(*) FROM b24_receipt")?,
                })
            })
    }

    /// Lets others use the other store.
    fn open_target(&self) -> Result<(), LockError> {
        let call = (self.call)();
        self.to
            .run(self.process, &call, Access::Write, |transaction| {
                transaction.execute(LET_IN, parameters![])?;
                transaction
                    .execute(
                        "DELETE FROM b24_meta WHERE name IN ($1, $2)",
                        parameters![MOVING, ATTEMPT],
                    )
                    .map(drop)
            })
    }
}

/// Nobody but a move writes to the tables: a program that was started too early would store what is not
/// in the old store, and the end of the move would remove it.
static LOCK_OUT: LazyLock<Vec<String>> = LazyLock::new(|| {
    let function =
        "CREATE OR REPLACE FUNCTION b24_moving() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
            IF current_setting('b24.moving', true) IS DISTINCT FROM 'on' THEN
                RAISE EXCEPTION 'this store is being filled from another one'
                    USING ERRCODE = 'object_not_in_prerequisite_state';
            END IF;
            RETURN NULL;
         END $f$";
    let triggers = TABLES.iter().map(|table| {
        format!(
            "CREATE TRIGGER b24_moving BEFORE INSERT OR UPDATE OR DELETE ON {}
             FOR EACH STATEMENT EXECUTE FUNCTION b24_moving()",
            table.name
        )
    });
    std::iter::once(function.to_owned())
        .chain(triggers)
        .collect()
});

/// Lets others write again.
const LET_IN: &str = "DROP FUNCTION IF EXISTS b24_moving() CASCADE";

/// Removes everything that is moved.
static CLEAR: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    format!("TRUNCATE {}", names.join(", "))
});

const SELECT_META: &str = "SELECT value FROM b24_meta WHERE name = $1";

/// The next rows of a table.
fn read(
    transaction: &mut dyn Transaction,
    statements: &'static Statements,
    after: Option<&Row>,
) -> Result<Vec<Row>, StoreError> {
    let Some(after) = after else {
        return transaction.query(&statements.first, parameters![SLICE]);
    };
    let mut values = key_of(statements, after);
    values.push(SLICE.into());
    transaction.query(&statements.next, &values)
}

fn key_of<'r>(statements: &Statements, row: &'r Row) -> Vec<Parameter<'r>> {
    let mut key = parameters_of(row);
    key.truncate(statements.keys);
    key
}

fn parameters_of(row: &Row) -> Vec<Parameter<'_>> {
    row.0
        .iter()
        .map(|value| match value {
            Value::Null => Parameter::Null,
            Value::Integer(value) => Parameter::Integer(*value),
            Value::Text(value) => Parameter::Text(value),
            Value::Blob(value) => Parameter::Blob(value),
        })
        .collect()
}

/// The values of a row, with times by a clock that is so far ahead.
fn shifted<'r>(statements: &Statements, row: &'r Row, shift: i64) -> Vec<Parameter<'r>> {
    let mut values = parameters_of(row);
    for (value, is_time) in values.iter_mut().zip(&statements.times) {
        if let (Parameter::Integer(time @ 1..), true) = (value, *is_time) {
            *time = time.saturating_add(shift).max(1);
        }
    }
    values
}

/// Whether the other store has this row as it is.
fn has(copied: &Copied, statements: &Statements, row: &Row) -> bool {
    let (key, content) = hashes_of(statements, row);
    copied.get(&key) == Some(&content)
}

/// Stand for the key of a row, and for its content.
fn hashes_of(statements: &Statements, row: &Row) -> (u64, u64) {
    let hash = |values: &[Value]| {
        let mut hasher = DefaultHasher::new();
        statements.put.hash(&mut hasher);
        for value in values {
            match value {
                Value::Null => 0.hash(&mut hasher),
                Value::Integer(value) => (1, value).hash(&mut hasher),
                Value::Text(value) => (2, value).hash(&mut hasher),
                Value::Blob(value) => (3, value).hash(&mut hasher),
            }
        }
        hasher.finish()
    };
    let key = row.0.get(..statements.keys).unwrap_or(&row.0);
    (hash(key), hash(&row.0))
}
