//! SQLite, for the processes of one machine.
//!
//! A process has one connection to a file, which its threads use in turn. A forked child closes the
//! one that it inherits, before it opens its own: SQLite's table of locks is inherited with it, and
//! with an entry for the parent's connection the child would take no locks of its own. If a thread
//! of the parent was using SQLite at the fork, the child cannot use it at all.

use super::database::{
    Access, Database, Parameter, Purpose, Row, Transaction, Value, Work, parameters,
};
use super::schema::{SchemaFault, migrate};
use super::sqlite_file::{
    Pauses, beside, check, check_room, create, id_of, refuse_network, system_error,
};
use super::sqlite_turn::Turnstile;
use super::sqlite_user::User;
use super::store_clock::StoreClock;
use super::system::{FileId, NOTHING, boot_id, full_name};
use super::token_store::{LockError, StoreError};
use crate::options::{Durability, Settings};
use crate::process::cancellation::CallContext;
use crate::process::keyed_queue;
use crate::process::per_process::{Local, PerProcess, Process};
use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, TransactionBehavior};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Marks the file as one of this library: "b24m".
const APPLICATION_ID: i64 = 0x6232_346D;

/// So many pages of the log are written back at a time, by whoever has added the last of them.
const CHECKPOINT_PAGES: i64 = 2000;

/// A store in a file.
#[derive(Debug)]
struct Sqlite {
    path: PathBuf,
    durability: Durability,
    max_megabytes: Option<u32>,
}

static CONNECTIONS: PerProcess<Connections> = PerProcess::made_by(Connections::made_from);

/// The connections of one process.
#[derive(Default)]
struct Connections {
    slots: Mutex<HashMap<PathBuf, Arc<Mutex<Option<Opened>>>>>,
    /// The process as the user of each store. It stays one when the connection is closed, so that
    /// others do not take it for one that has ended.
    user_of: Mutex<HashMap<PathBuf, Arc<User>>>,
    /// How many threads are inside of SQLite, or are about to be.
    users: AtomicUsize,
    /// Whether the process is about to fork, so that nobody may begin to use SQLite.
    forking: AtomicBool,
    /// Whether a thread of the parent was inside of SQLite at the fork.
    torn: bool,
}

/// A connection that is open.
struct Opened {
    connection: Connection,
    file: FileId,
    /// The log and its index.
    log: Option<[FileId; 2]>,
    /// What `synchronous` is set to.
    durability: Durability,
    clock: StoreClock,
    user: Arc<User>,
    turnstile: Arc<Turnstile>,
}

impl Connections {
    /// Those of a new process. A child closes what it has inherited.
    fn made_from(parent: Option<&Self>) -> Self {
        let Some(parent) = parent else {
            return Self::default();
        };
        if parent.torn || parent.users.load(Ordering::SeqCst) > 0 {
            return Self {
                torn: true,
                ..Self::default()
            };
        }
        // Nobody had a lock at the fork, or it would have been counted.
        for slot in lock(&parent.slots).values() {
            drop(lock(slot).take());
        }
        lock(&parent.user_of).clear();
        Self::default()
    }

    fn user_of(&self, path: &Path) -> Result<Arc<User>, StoreError> {
        let mut users = lock(&self.user_of);
        if let Some(user) = users.get(path).filter(|user| user.is_seen(path)) {
            return Ok(Arc::clone(user));
        }
        let user = Arc::new(User::enter(path)?);
        users.insert(path.to_owned(), Arc::clone(&user));
        Ok(user)
    }

    fn slot(&self, path: &Path) -> Arc<Mutex<Option<Opened>>> {
        Arc::clone(lock(&self.slots).entry(path.to_owned()).or_default())
    }

    /// Counts a thread that uses SQLite, until the guard is dropped.
    fn enter(&self) -> Using<'_> {
        let give_up = Instant::now() + FORK_WAIT;
        loop {
            self.users.fetch_add(1, Ordering::SeqCst);
            if !self.forking.load(Ordering::SeqCst) || Instant::now() >= give_up {
                return Using(self);
            }
            self.users.fetch_sub(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

struct Using<'a>(&'a Connections);

impl Drop for Using<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long a fork and the calls of other threads wait for each other.
const FORK_WAIT: Duration = Duration::from_secs(5);

/// Waits until no thread is inside of SQLite, and lets none in until [`after_fork`].
pub(crate) fn before_fork() {
    let process = Process::current();
    let _active = process.enter();
    let connections = CONNECTIONS.of(&process);
    connections.forking.store(true, Ordering::SeqCst);
    let give_up = Instant::now() + FORK_WAIT;
    while connections.users.load(Ordering::SeqCst) > 0 && Instant::now() < give_up {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Lets threads use SQLite again.
pub(crate) fn after_fork() {
    let process = Process::current();
    CONNECTIONS
        .of(&process)
        .forking
        .store(false, Ordering::SeqCst);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks the file, makes or updates it, and closes it again.
pub(crate) fn open(
    path: &Path,
    settings: &Settings,
    process: &Arc<Process>,
    call: &CallContext,
    purpose: Purpose,
) -> Result<Arc<dyn Database>, LockError> {
    Ok(Arc::new(Sqlite::open(
        path, settings, process, call, purpose,
    )?))
}

impl Sqlite {
    fn open(
        path: &Path,
        settings: &Settings,
        process: &Arc<Process>,
        call: &CallContext,
        purpose: Purpose,
    ) -> Result<Self, LockError> {
        let failed = |what: String| StoreError::of_database(path, what);
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(failed("is not the path of a file".to_owned()).into()),
        };
        let directory = full_name(directory)
            .map_err(|e| failed(format!("is in a directory that cannot be used: {e}")))?;
        let name = path
            .file_name()
            .ok_or_else(|| failed("is not the path of a file".to_owned()))?;
        let path = directory.join(name);
        refuse_network(&directory)?;
        {
            let turnstile = Turnstile::open(&path)?;
            let _passed = turnstile.pass(&path, call)?;
            create(&path)?;
        }
        // Another name of the same file would be another store to this process.
        let path = full_name(&path).map_err(|e| failed(format!("cannot be used: {e}")))?;
        let store = Self {
            path,
            durability: settings.durability,
            max_megabytes: settings.store_max_mb,
        };
        let connections = CONNECTIONS.of(process);
        let slot = connections.slot(&store.path);
        let is_open = || {
            let _using = connections.enter();
            lock(&slot).is_some()
        };
        let was_open = is_open();
        store.with_connection(&connections, process, call, |opened| {
            store.migrate(opened, &settings.client_id, purpose, call)
        })?;
        if !was_open {
            // Most programs that fork open a provider before they do, and use it afterwards.
            let _using = connections.enter();
            drop(lock(&slot).take());
        }
        Ok(store)
    }

    fn fault(&self, what: impl Into<String>) -> StoreError {
        StoreError::of_database(&self.path, what)
    }

    /// Calls `work` with the connection of this process, when no other thread uses it.
    fn with_connection<T>(
        &self,
        connections: &Local<Connections>,
        process: &Arc<Process>,
        call: &CallContext,
        work: impl FnOnce(&mut Opened) -> Result<T, LockError>,
    ) -> Result<T, LockError> {
        if connections.torn {
            return Err(self
                .fault(
                    "was being used by another thread when this process was forked: restart this \
                     worker, and fork before other threads use the provider",
                )
                .into());
        }
        let queues = keyed_queue::queues(process);
        let turn = queues.queue_up(queues.key(("store", &self.path)));
        turn.wait(call)?;
        let _using = connections.enter();
        let slot = connections.slot(&self.path);
        let mut slot = lock(&slot);
        if let Some(opened) = slot.as_ref() {
            let present = match check(&self.path) {
                Ok(present) => present,
                Err(error) => {
                    // It is opened again when somebody has mended it, or made it anew.
                    *slot = None;
                    return Err(error.into());
                }
            };
            let replaced = present != opened.file;
            if replaced || self.log() != opened.log || !opened.user.is_seen(&self.path) {
                *slot = None;
                let what = "was replaced while it was open, and what was written since may be \
                            lost; try again, which opens the new one";
                return Err(self.fault(what).that_passes().into());
            }
        }
        let opened = match slot.as_mut() {
            Some(opened) => opened,
            None => slot.insert(self.connect(connections, call)?),
        };
        if opened.durability != self.durability {
            self.repeat(call, "be used", || {
                set_durability(&opened.connection, self.durability)
            })?;
            opened.durability = self.durability;
        }
        let result = work(opened);
        if matches!(&result, Err(LockError::Storage(error)) if !error.passing) {
            // It is opened again by the next call, when perhaps somebody has mended it.
            *slot = None;
        }
        result
    }

    fn connect(&self, connections: &Connections, call: &CallContext) -> Result<Opened, LockError> {
        let file = check(&self.path)?;
        let user = connections.user_of(&self.path)?;
        let turnstile = Arc::new(Turnstile::open(&self.path)?);
        let failed = |e: rusqlite::Error| self.sql_error(&e, "be opened");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        let configured = || -> rusqlite::Result<()> {
            connection.busy_timeout(Duration::ZERO)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.set_prepared_statement_cache_capacity(64);
            connection.pragma_update(None, "cache_size", -2000)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            set_durability(&connection, self.durability)
        };
        self.repeat(call, "be opened", configured)?;
        self.set_up_log(&connection, &turnstile, call)?;
        let mut opened = Opened {
            connection,
            file,
            log: None,
            durability: self.durability,
            clock: StoreClock::default(),
            user,
            turnstile,
        };
        self.read_clock(&mut opened, call)?;
        if check(&self.path)? != opened.file {
            let what = "was replaced while it was opened; try again";
            return Err(self.fault(what).that_passes().into());
        }
        Ok(opened)
    }

    /// Makes the file a database with a write-ahead log, if it is a new one or a copy of a store.
    fn set_up_log(
        &self,
        connection: &Connection,
        turnstile: &Turnstile,
        call: &CallContext,
    ) -> Result<(), LockError> {
        let mode = self.repeat(call, "be read", || {
            connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
        })?;
        if mode == "wal" {
            return Ok(());
        }
        let _passed = turnstile.pass(&self.path, call)?;
        let tables = self.repeat(call, "be read", || {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, i64>(0)
            })
        })?;
        // A copy that `VACUUM INTO` has made has the tables, but no log.
        let id = self.repeat(call, "be read", || {
            connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))
        })?;
        if tables > 0 && id != APPLICATION_ID {
            return Err(self.not_ours().into());
        }
        let mode = self.repeat(call, "be made", || {
            connection
                .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
        })?;
        if mode == "wal" {
            Ok(())
        } else {
            let what = "is on a file system without shared memory; use another one";
            Err(self.fault(what).into())
        }
    }

    fn not_ours(&self) -> StoreError {
        self.fault("is a database of another program; give the path of a file of its own")
    }

    /// Repeats what another process may disturb.
    fn repeat<T>(
        &self,
        call: &CallContext,
        doing: &str,
        mut attempt: impl FnMut() -> rusqlite::Result<T>,
    ) -> Result<T, LockError> {
        let mut pauses = Pauses::new();
        loop {
            match attempt() {
                Err(error) if is_busy(&error) => pauses.next(call)?,
                result => return result.map_err(|e| self.sql_error(&e, doing).into()),
            }
        }
    }

    fn migrate(
        &self,
        opened: &mut Opened,
        client_id: &str,
        purpose: Purpose,
        call: &CallContext,
    ) -> Result<(), LockError> {
        let count = |sql: &str| {
            self.repeat(call, "be read", || {
                opened
                    .connection
                    .query_row(sql, [], |row| row.get::<_, i64>(0))
            })
        };
        let is_new = count("SELECT count(*) FROM sqlite_schema")? == 0;
        if !is_new && count("PRAGMA application_id")? != APPLICATION_ID {
            return Err(self.not_ours().into());
        }
        let mut fault = None;
        self.write(opened, call, &mut |transaction| {
            let is_new = transaction
                .query("SELECT 1 FROM sqlite_schema LIMIT 1", parameters![])?
                .is_empty();
            let mut run = |transaction: &mut dyn Transaction, sql: &'static str| {
                transaction.execute(sql, parameters![]).map(drop)
            };
            if is_new {
                run(transaction, "PRAGMA application_id = 0x6232346D")?;
            }
            match migrate(transaction, is_new, client_id, purpose, &mut run) {
                Ok(()) => Ok(()),
                Err(SchemaFault::Storage(error)) => Err(error),
                Err(other) => {
                    fault = Some(other);
                    Ok(())
                }
            }
        })?;
        match fault {
            // The clock is stored with the tables.
            None => self.read_clock(opened, call),
            Some(fault) => Err(self.fault(fault.to_string()).into()),
        }
    }

    fn write(
        &self,
        opened: &mut Opened,
        call: &CallContext,
        work: &mut Work<'_>,
    ) -> Result<(), LockError> {
        let turnstile = Arc::clone(&opened.turnstile);
        let _passed = turnstile.pass(&self.path, call)?;
        // With another index of the log than others have, it would overwrite what they have written.
        self.check_is_same(opened)?;
        self.begin(opened, TransactionBehavior::Immediate, call, work)?;
        // If a file has been removed, what was just written is lost.
        Ok(self.check_is_same(opened)?)
    }

    fn check_is_same(&self, opened: &Opened) -> Result<(), StoreError> {
        if check(&self.path)? == opened.file && self.log() == opened.log {
            return Ok(());
        }
        let what = "was replaced while it was open; try again, which opens the new one";
        Err(self.fault(what).that_passes())
    }

    fn log(&self) -> Option<[FileId; 2]> {
        let id = |suffix| id_of(&beside(&self.path, suffix));
        Some([id("-wal")?, id("-shm")?])
    }

    fn begin(
        &self,
        opened: &mut Opened,
        behavior: TransactionBehavior,
        call: &CallContext,
        work: &mut Work<'_>,
    ) -> Result<(), LockError> {
        const FIRST_READ: &str = "SELECT 1 FROM sqlite_schema LIMIT 1";
        let mut pauses = Pauses::new();
        let Opened {
            connection,
            clock,
            user,
            ..
        } = opened;
        let transaction = loop {
            let begun = rusqlite::Transaction::new_unchecked(connection, behavior);
            // A read begins with the first statement, when another process may be repairing the log.
            let begun = begun.and_then(|transaction| {
                if matches!(behavior, TransactionBehavior::Deferred) {
                    transaction.prepare_cached(FIRST_READ)?.exists([])?;
                }
                Ok(transaction)
            });
            match begun {
                Err(error) if is_busy(&error) => pauses.next(call)?,
                Err(error) => return Err(self.sql_error(&error, "be used").into()),
                Ok(transaction) => break transaction,
            }
        };
        let mut under_way = UnderWay {
            store: self,
            transaction,
            now: clock.now(),
            process: user.number(),
        };
        // If it fails, dropping the transaction rolls it back.
        work(&mut under_way)?;
        let UnderWay { transaction, .. } = under_way;
        transaction
            .commit()
            .map_err(|e| self.sql_error(&e, "be written").into())
    }

    fn read_clock(&self, opened: &mut Opened, call: &CallContext) -> Result<(), LockError> {
        const READ: &str = "SELECT value FROM b24_meta WHERE name = 'clock'";
        let has_tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'b24_lane_lease'";
        let present = self.repeat(call, "be read", || {
            opened
                .connection
                .query_row(has_tables, [], |row| row.get::<_, i64>(0))
        })?;
        // Reading has made them, if there were none.
        opened.log = self.log();
        if present == 0 {
            return Ok(());
        }
        let boot = boot_id().map_err(|e| {
            system_error(
                &self.path,
                "has a clock, for which the boot id cannot be read",
                &e,
            )
        })?;
        let stored = self.repeat(call, "be read", || {
            let mut statement = opened.connection.prepare_cached(READ)?;
            let mut rows = statement.query([])?;
            rows.next()?.map(|row| row.get::<_, String>(0)).transpose()
        })?;
        if let Some(clock) = stored
            .as_deref()
            .and_then(|text| StoreClock::read(text, &boot))
        {
            opened.clock = clock;
            return Ok(());
        }
        // The first use since the machine was started.
        let mut chosen = None;
        self.write(opened, call, &mut |transaction| {
            let rows = transaction.query(READ, parameters![])?;
            let stored = rows.first().map(|row| row.text(0)).unwrap_or_default();
            if let Some(clock) = StoreClock::read(stored, &boot) {
                chosen = Some(clock);
                return Ok(());
            }
            let newest = transaction.query(
                "SELECT max(arrived_at), max(level_at) FROM
                 (SELECT 0 AS level_at, max(arrived_at) AS arrived_at FROM b24_receipt WHERE state = 0
                  UNION ALL SELECT max(level_at), 0 FROM b24_lane
                  UNION ALL SELECT 0, max(settled_at) FROM b24_receipt WHERE state <> 0) AS times",
                parameters![],
            )?;
            let newest = newest.first();
            let newest = newest.map_or(0, |row| row.integer(0).max(row.integer(1)));
            let clock = StoreClock::started_at(newest, &boot);
            transaction.execute(
                "INSERT INTO b24_meta (name, value) VALUES ('clock', $1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                parameters![&clock.to_string()],
            )?;
            chosen = Some(clock);
            Ok(())
        })?;
        if let Some(clock) = chosen {
            opened.clock = clock;
        }
        Ok(())
    }

    fn sql_error(&self, error: &rusqlite::Error, doing: &str) -> StoreError {
        let rusqlite::Error::SqliteFailure(failure, text) = error else {
            return self.fault(format!("cannot {doing}: {error}"));
        };
        let text = text.as_deref().unwrap_or_default();
        let passes = |what: String| self.fault(what).that_passes();
        match failure.code {
            ErrorCode::DiskFull => passes(format!(
                "cannot {doing}, as the disk is full: free some of it, and try again"
            )),
            ErrorCode::CannotOpen if no_descriptor_left() => passes(format!(
                "cannot {doing}, as no file descriptor is left: raise the limit of open files"
            )),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly => self.fault(format!(
                "cannot {doing} ({error}): check that the file system is writable and that the file, \
                 its -wal and -shm files and their directory belong to the user of this process"
            )),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => self.fault(format!(
                "is damaged or is not a database ({text}): restore it from a backup"
            )),
            ErrorCode::SystemIoFailure
                if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ =>
            {
                passes(format!(
                    "cannot {doing}: it or its -wal or -shm file was removed while other processes \
                     have it open: restart those"
                ))
            }
            ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked => {
                passes(format!("cannot {doing} ({error}): check the disk, and try again"))
            }
            _ if text.starts_with("no such table: b24_") => passes(
                "was moved to another store: restart this program with the address of that one"
                    .to_owned(),
            ),
            _ => self.fault(format!("cannot {doing}: {error}")),
        }
    }
}

impl Database for Sqlite {
    fn path(&self) -> &Path {
        &self.path
    }

    fn transact(
        &self,
        process: &Arc<Process>,
        call: &CallContext,
        access: Access,
        work: &mut Work<'_>,
    ) -> Result<(), LockError> {
        let connections = CONNECTIONS.of(process);
        self.with_connection(&connections, process, call, |opened| match access {
            Access::Read => self.begin(opened, TransactionBehavior::Deferred, call, work),
            Access::Write => self.write(opened, call, work),
            Access::Add => {
                check_room(&self.path, self.max_megabytes)?;
                self.write(opened, call, work)
            }
        })
    }

    fn has_ended(&self, number: i64) -> bool {
        let process = Process::current();
        let connections = CONNECTIONS.of(&process);
        if connections.torn {
            return false;
        }
        let _using = connections.enter();
        let slot = connections.slot(&self.path);
        let slot = lock(&slot);
        slot.as_ref()
            .is_some_and(|opened| opened.user.has_ended(&self.path, number))
    }
}

struct UnderWay<'a> {
    store: &'a Sqlite,
    transaction: rusqlite::Transaction<'a>,
    now: i64,
    process: i64,
}

impl Transaction for UnderWay<'_> {
    fn execute(
        &mut self,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<usize, StoreError> {
        let run = || -> rusqlite::Result<usize> {
            let sql = sql
                .replace("/*CLUSTERED*/", "WITHOUT ROWID")
                .replace('$', "?");
            let mut statement = self.transaction.prepare_cached(&sql)?;
            statement.execute(rusqlite::params_from_iter(parameters))
        };
        run().map_err(|e| self.store.sql_error(&e, "be written"))
    }

    fn query(
        &mut self,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let run = || -> rusqlite::Result<Vec<Row>> {
            let mut statement = self.transaction.prepare_cached(&sql.replace('$', "?"))?;
            let columns = statement.column_count();
            let rows = statement.query_map(rusqlite::params_from_iter(parameters), |row| {
                (0..columns)
                    .map(|column| {
                        Ok(match row.get::<_, SqlValue>(column)? {
                            SqlValue::Null => Value::Null,
                            SqlValue::Integer(value) => Value::Integer(value),
                            #[allow(clippy::cast_possible_truncation, reason = "none is stored")]
                            SqlValue::Real(value) => Value::Integer(value as i64),
                            SqlValue::Text(value) => Value::Text(value),
                            SqlValue::Blob(value) => Value::Blob(value),
                        })
                    })
                    .collect::<rusqlite::Result<_>>()
                    .map(Row)
            })?;
            rows.collect()
        };
        run().map_err(|e| self.store.sql_error(&e, "be read"))
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn process(&self) -> i64 {
        self.process
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

fn set_durability(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::Disk => "FULL",
        Durability::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // macOS's plain flush leaves data in the memory of the disk. Other systems know one kind only.
    connection.pragma_update(None, "fullfsync", durability == Durability::Disk)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                // It gives up waiting for a process that stands still.
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

fn no_descriptor_left() -> bool {
    std::fs::File::open(NOTHING).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What only macOS heeds is asked for everywhere, so that it can be seen here.
    #[test]
    fn what_must_survive_the_machine_is_flushed_to_the_disk_itself() {
        let connection = Connection::open_in_memory().expect("a database");
        let asked = |name: &str| -> i64 {
            let value = connection.pragma_query_value(None, name, |row| row.get(0));
            value.expect("a pragma")
        };
        for (durability, expected) in [(Durability::Disk, (2, 1)), (Durability::Process, (1, 0))] {
            set_durability(&connection, durability).expect("pragmas");
            assert_eq!((asked("synchronous"), asked("fullfsync")), expected);
        }
    }
}
